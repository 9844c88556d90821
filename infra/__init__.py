"""The local stack (Kafka, registry, Flink, ClickHouse engine) and what runs on it: demo, load generator, dashboards."""
