-- Rules for alerts go to every shard: their key is their own identity, and their symbol is known to the domain.
-- A tombstone is bad input like any other: no bytes. It is also what makes the arrays of all shards depend on the record, as
-- trading_inputs.sql explains.
CREATE TEMPORARY VIEW rules_by_symbol AS
SELECT place.shard AS shard, COALESCE(payload, X'') AS payload, `position`, kafka_time, PROCTIME() AS processed
FROM rules_source CROSS JOIN UNNEST(
    CASE WHEN payload IS NULL THEN ARRAY[0] ELSE ${all_shards} END
) AS place (shard)
