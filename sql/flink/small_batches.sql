-- Cuts batches into parts of at most ${most} records, in their order, so that what comes beside them, an order, never waits for long:
-- reference data comes by the thousand. Grain: one part of a batch. The last part takes what is left, however much.
-- In: what micro_batch.sql makes.
SELECT
    shard,
    source,
    ARRAY_SLICE(payloads, first, IF(first = ${last}, CARDINALITY(payloads), first + ${most} - 1)) AS payloads,
    ARRAY_SLICE(positions, first, IF(first = ${last}, CARDINALITY(positions), first + ${most} - 1)) AS positions,
    newest_ms
FROM (${batches}) CROSS JOIN UNNEST(
    CASE WHEN CARDINALITY(payloads) <= ${most} THEN ARRAY[1] ELSE ${firsts} END
) AS part (first)
WHERE first <= CARDINALITY(payloads)
