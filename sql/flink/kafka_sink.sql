-- One sink for all topics of a job: one transaction a checkpoint commits everything that the job says, together.
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
