-- All archived topics as one source of raw bytes with their position: one consumer, however many topics there are, and a topic
-- that is made later is found within a minute; one that does not exist is no error.
-- Grain: one Kafka record. Columns: payload (Confluent frame; null for a tombstone), null_key (the key of a record without a
-- value; of every other it is null here already, so that no key is carried to the writer and kept in a window for nothing),
-- topic, lane (a share of the topic's partitions), position (partition * 2^48 + offset), kafka_ms (Kafka's timestamp,
-- milliseconds since the epoch), processed (processing time, for the micro-batch window).
CREATE TEMPORARY TABLE archive_source (
    record_key BYTES,
    payload BYTES,
    topic STRING METADATA VIRTUAL,
    kafka_partition INT METADATA FROM 'partition' VIRTUAL,
    kafka_offset BIGINT METADATA FROM 'offset' VIRTUAL,
    kafka_time TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,
    null_key AS CASE WHEN payload IS NULL THEN record_key END,
    lane AS MOD(kafka_partition, ${lanes}),
    `position` AS CAST(kafka_partition AS BIGINT) * 281474976710656 + kafka_offset,
    kafka_ms AS EXTRACT(EPOCH FROM kafka_time) * 1000 + EXTRACT(MILLISECOND FROM kafka_time),
    processed AS PROCTIME()
) WITH (
    'connector' = 'kafka',
    'topic-pattern' = '${topics}',
    'key.format' = 'raw',
    'key.fields' = 'record_key',
    'value.format' = 'raw',
    'value.fields-include' = 'EXCEPT_KEY',
    ${options}
)
