"""SQL of Flink (sql/flink) and of ClickHouse (sql/clickhouse: numbered migrations, and views.md, which describes the views)."""
