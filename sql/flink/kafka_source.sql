-- A Kafka topic as raw bytes with their position; decoding happens in the domain.
-- Grain: one Kafka record. Columns: record_key (utf-8), payload (Confluent frame), position (partition * 2^48 + offset),
-- kafka_time (as the producer or the broker stamped it), processed (processing time, for the micro-batch window); and for jobs
-- that ask how far they have read, `reached`: each partition's watermark, and the lowest of all is the source's.
CREATE TEMPORARY TABLE ${table} (${topic_column}
    record_key STRING,
    payload BYTES,
    kafka_partition INT METADATA FROM 'partition' VIRTUAL,
    kafka_offset BIGINT METADATA FROM 'offset' VIRTUAL,
    kafka_time TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,
    `position` AS CAST(kafka_partition AS BIGINT) * 281474976710656 + kafka_offset,
    processed AS PROCTIME()${reached}
) WITH (
    'connector' = 'kafka',
    'topic' = '${topics}',
    'key.format' = 'raw',
    'key.fields' = 'record_key',
    'value.format' = 'raw',
    'value.fields-include' = 'EXCEPT_KEY',
    ${options}
)
