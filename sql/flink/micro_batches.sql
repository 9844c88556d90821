-- As micro_batch.sql, over several inputs in one window. Grain: one row a source, shard and window, for those that got records.
-- In: the union of tagged.sql.
SELECT
    shard,
    source,
    ARRAY_AGG(payload) AS payloads,
    ARRAY_AGG(`position`) AS positions,
    -- Milliseconds since the epoch; the session's time zone is UTC.
    UNIX_TIMESTAMP(CAST(MAX(kafka_time) AS STRING)) * 1000 + EXTRACT(MILLISECOND FROM MAX(kafka_time)) AS newest_ms
FROM TABLE(TUMBLE(TABLE ${view}, DESCRIPTOR(processed), INTERVAL '${window}' SECOND))
GROUP BY window_start, window_end, shard, source
