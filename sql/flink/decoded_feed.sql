-- A topic whose records are RawFeedRecord, decoded and encoded by the JVM: what `tradestream bench market-data` compares with.
-- Grain: one Kafka record. Columns: record_key (utf-8), then the fields of schemas/avro/raw-feed.avsc in their order.
CREATE TEMPORARY TABLE ${table} (
    record_key STRING,
    `source` STRING NOT NULL,
    `format` STRING NOT NULL,
    `feedId` STRING NOT NULL,
    `sequence` BIGINT NOT NULL,
    `symbol` STRING NOT NULL,
    `baseTimeNs` BIGINT NOT NULL,
    `payload` BYTES NOT NULL
) WITH (
    'connector' = 'kafka',
    'topic' = '${topics}',
    'key.format' = 'raw',
    'key.fields' = 'record_key',
    'value.format' = 'avro-confluent',
    'value.fields-include' = 'EXCEPT_KEY',
    ${options}
)
