-- One sink for all topics of a job, or of a stage: one transaction of a subtask and checkpoint commits what it says, together.
-- Grain: one Kafka record. Columns: topic (one of the listed; the connector has it when there are several), record_key,
-- payload (Confluent frame).
CREATE TEMPORARY TABLE ${table} (
    ${topic_column}
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
