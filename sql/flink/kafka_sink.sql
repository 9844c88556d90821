-- One sink for all topics of a job: one transaction a checkpoint commits everything that the job says, together.
-- Grain: one Kafka record. Columns: topic (one of the listed), record_key, payload (Confluent frame).
CREATE TEMPORARY TABLE ${table} (
    topic STRING NOT NULL METADATA,
    record_key BYTES,
    payload BYTES
) WITH (
    'connector' = 'kafka',
    'topic' = '${topics}',
    'key.format' = 'raw',
    'key.fields' = 'record_key',
    'value.format' = 'raw',
    'value.fields-include' = 'EXCEPT_KEY',
    ${options}
)
