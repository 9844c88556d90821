-- Batches with the key that stands for their shard, as PyFlink's keyed operators take them. Grain: one batch.
SELECT
    ${keys}[shard + 1] AS shard_key,
    CAST(
        ROW(shard, source, payloads, positions, newest_ms)
        AS ROW<shard INT, source INT, payloads ARRAY<BYTES>, positions ARRAY<BIGINT>, newest_ms BIGINT>
    ) AS batch
FROM (${batches})
