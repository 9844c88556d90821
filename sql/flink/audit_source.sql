-- All audited topics as one source of raw bytes: keys, values, positions and times.
-- Grain: one Kafka record. Columns: record_key and record_value (bytes, null when there are none), topic, position (partition
-- * 2^48 + offset), kafka_time (as the producer or the broker stamped it), processed (processing time, for the micro-batch).
CREATE TEMPORARY TABLE audit_source (
    record_key BYTES,
    record_value BYTES,
    topic STRING METADATA VIRTUAL,
    kafka_partition INT METADATA FROM 'partition' VIRTUAL,
    kafka_offset BIGINT METADATA FROM 'offset' VIRTUAL,
    kafka_time TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,
    `position` AS CAST(kafka_partition AS BIGINT) * 281474976710656 + kafka_offset,
    processed AS PROCTIME()
) WITH (
    'connector' = 'kafka',
    'topic' = '${topics}',
    'key.format' = 'raw',
    'key.fields' = 'record_key',
    'value.format' = 'raw',
    'value.fields-include' = 'EXCEPT_KEY',
    ${options}
)
----
-- Each record in an envelope (udfs/domain/audit_shard.py), with the shard of its partition's chain: a micro-batch has one
-- array of payloads, and the chain needs topic, key and time of each record too. SQL joins texts, not bytes, so bytes become
-- text and back: ISO-8859-1 is the charset whose 256 characters are the bytes.
CREATE TEMPORARY VIEW audit_inputs AS
SELECT
    ${shard} AS shard,
    ENCODE(
        CONCAT(
            topic, ' ', COALESCE(CAST(CHAR_LENGTH(DECODE(record_key, 'ISO-8859-1')) AS STRING), '-1'), ' ',
            CASE WHEN record_value IS NULL THEN '0' ELSE '1' END, ' ',
            CAST(EXTRACT(EPOCH FROM kafka_time) * 1000 + EXTRACT(MILLISECOND FROM kafka_time) AS STRING), ' ',
            COALESCE(DECODE(record_key, 'ISO-8859-1'), ''), COALESCE(DECODE(record_value, 'ISO-8859-1'), '')
        ),
        'ISO-8859-1'
    ) AS payload,
    `position`,
    kafka_time,
    processed
FROM audit_source
