-- Where the operator's report of each batch goes: counted by Flink's metrics of the operator, kept nowhere.
-- Grain: one batch. Columns: topic, rows written, rows that were there already, rows that became dead letters.
CREATE TEMPORARY TABLE archive_progress (
    topic STRING,
    written BIGINT,
    known BIGINT,
    refused BIGINT
) WITH ('connector' = 'blackhole')
