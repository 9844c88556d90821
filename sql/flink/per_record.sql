-- Every record of a view as a batch of its own. Grain: one record. For comparison: Python is called once a record.
-- In: a view with shard, payload, position, kafka_time, processed.
SELECT
    shard,
    ${source} AS source,
    ARRAY[payload] AS payloads,
    ARRAY[`position`] AS positions,
    -- Milliseconds since the epoch; the session's time zone is UTC.
    UNIX_TIMESTAMP(CAST(kafka_time AS STRING)) * 1000 + EXTRACT(MILLISECOND FROM kafka_time) AS newest_ms
FROM ${view}
