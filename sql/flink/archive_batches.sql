-- Groups the records of each lane into windows, so that Python is called once for a block of ClickHouse, with the key that PyFlink's
-- keyed operators take them by.
-- Grain: one row for each lane and window that got records. The arrays of a batch belong together, index by index; only null_keys
-- has no more entries than there are records without a value, in the same order. It is empty when there are none, not null: in
-- thread mode PyFlink cannot hand over an array that is null (only its elements may be), and SQL has no shorter word for empty.
SELECT
    CONCAT(topic, '#', CAST(lane AS STRING)) AS batch_key,
    CAST(
        ROW(topic, lane, payloads, positions, kafka_ms, null_keys)
        AS ROW<topic STRING, lane INT, payloads ARRAY<BYTES>, positions ARRAY<BIGINT>, kafka_ms ARRAY<BIGINT>,
            null_keys ARRAY<BYTES>>
    ) AS batch
FROM (
    SELECT
        topic,
        lane,
        ARRAY_AGG(payload) AS payloads,
        ARRAY_AGG(`position`) AS positions,
        ARRAY_AGG(kafka_ms) AS kafka_ms,
        COALESCE(
            ARRAY_AGG(null_key) FILTER (WHERE payload IS NULL),
            ARRAY_REMOVE(ARRAY[CAST(X'' AS BYTES)], CAST(X'' AS BYTES))
        ) AS null_keys
    FROM TABLE(TUMBLE(TABLE archive_source, DESCRIPTOR(processed), INTERVAL '${window}' SECOND))
    GROUP BY window_start, window_end, topic, lane
)
