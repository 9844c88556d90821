-- Asks every shard to look how far the records of a view have come, also those that got none of them: each reads Flink's
-- watermark, which has come to it behind the records (udfs/operators/run_shard.py).
-- Grain: one batch of one record without payload for each shard, once in each second in which the view had records.
-- In: a view of micro-batches with the time at which they were made. Its payloads are asked for, although they are never empty,
-- because a plan without them would be another one, and Kafka would be read twice.
SELECT
    place.shard AS shard,
    ${source} AS source,
    ARRAY[CAST(X'' AS BYTES)] AS payloads,
    ARRAY[`position`] AS positions,
    newest_ms
FROM (
    SELECT MIN(newest_ms) AS newest_ms, MAX(positions[1]) AS `position`
    FROM TABLE(TUMBLE(TABLE ${view}, DESCRIPTOR(made), INTERVAL '1' SECOND))
    WHERE CARDINALITY(payloads) > 0 AND shard >= 0
    GROUP BY window_start, window_end
) CROSS JOIN UNNEST(
    -- An array of constants would be planned as a join, which keeps every record in its state for ever.
    CASE WHEN newest_ms IS NULL THEN ARRAY[0] ELSE ${all_shards} END
) AS place (shard)
