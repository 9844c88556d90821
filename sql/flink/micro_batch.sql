-- Groups the records of a view by shard into windows of a few milliseconds, so that Python is called once a batch.
-- The JVM does the work per record. Grain: one row a window and ${keys}, for those that got records.
-- In: a view with shard, payload, position, kafka_time, processed; or the union of several (tagged.sql) with the source of each.
SELECT
    shard,
    ${source} AS source,
    ARRAY_AGG(payload) AS payloads,
    ARRAY_AGG(`position`) AS positions,
    -- Milliseconds since the epoch; the session's time zone is UTC.
    UNIX_TIMESTAMP(CAST(MAX(kafka_time) AS STRING)) * 1000 + EXTRACT(MILLISECOND FROM MAX(kafka_time)) AS newest_ms
FROM TABLE(TUMBLE(TABLE ${view}, DESCRIPTOR(processed), INTERVAL '${window}' SECOND))
GROUP BY window_start, window_end, ${keys}
