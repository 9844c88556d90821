-- All archived topics as one source of raw bytes with their position: one consumer, however many topics there are, and a topic
-- that is made later is found within a minute; one that does not exist is no error.
-- Grain: one Kafka record. Columns: payload (Confluent frame; empty for a tombstone), topic, lane (a share of the topic's
-- partitions), position (partition * 2^48 + offset), kafka_ms (Kafka's timestamp, milliseconds since the epoch), processed
-- (processing time, for the micro-batch window).
CREATE TEMPORARY TABLE archive_source (
    record_value BYTES,
    topic STRING METADATA VIRTUAL,
    kafka_partition INT METADATA FROM 'partition' VIRTUAL,
    kafka_offset BIGINT METADATA FROM 'offset' VIRTUAL,
    kafka_time TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,
    payload AS COALESCE(record_value, X''),
    lane AS MOD(kafka_partition, ${lanes}),
    `position` AS CAST(kafka_partition AS BIGINT) * 281474976710656 + kafka_offset,
    kafka_ms AS EXTRACT(EPOCH FROM kafka_time) * 1000 + EXTRACT(MILLISECOND FROM kafka_time),
    processed AS PROCTIME()
) WITH (
    'connector' = 'kafka',
    'topic-pattern' = '${topics}',
    'value.format' = 'raw',
    ${options}
)
