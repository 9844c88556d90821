-- What each stage of the trading job reads, with the shard it goes to. Statements are separated by a line of dashes.
-- A tombstone is bad input like any other: no bytes. It is also what makes the arrays of all shards depend on the record:
-- over a constant array Flink plans a join with a table of values, which keeps every record in its state for ever.

-- Orders go to the shard of their account, which is the record's key. A record without a key goes to the shard of '',
-- where the domain refuses it if that is not its account's.
CREATE TEMPORARY VIEW orders_by_account AS
SELECT ${account_shard_of_key} AS shard, COALESCE(payload, X'') AS payload, `position`, kafka_time, processed
FROM orders_source
----
-- Accounts go to their own shard and to the first, which answers for what cannot be decoded; instruments, sessions and the end
-- of the snapshot go to all. One scan, so that the order of the topic is kept.
CREATE TEMPORARY VIEW reference_by_account AS
SELECT place.shard AS shard, COALESCE(payload, X'') AS payload, `position`, kafka_time, PROCTIME() AS processed
FROM reference_source CROSS JOIN UNNEST(
    CASE WHEN record_key LIKE 'account:%' THEN ARRAY_DISTINCT(ARRAY[0, ${account_shard_of_reference}])
        ELSE ${all_account_shards} END
) AS place (shard)
----
-- To the match stage: an instrument goes to its symbol's shard, sessions and the end of the snapshot go to all, accounts to
-- none. One scan again. What has no bytes or another key is left out: the risk stage answers for it.
CREATE TEMPORARY VIEW reference_by_symbol AS
SELECT place.shard AS shard, payload, `position`, kafka_time, PROCTIME() AS processed
FROM ${symbol_inputs}reference_source CROSS JOIN UNNEST(
    CASE WHEN record_key LIKE 'instrument:%' THEN ARRAY[${symbol_shard_of_reference}] ELSE ${all_symbol_shards} END
) AS place (shard)
WHERE payload IS NOT NULL
    AND (record_key LIKE 'instrument:%' OR record_key LIKE 'session:%' OR record_key = 'snapshot-end')
----
-- Controls and the clock go to every shard of both stages.
CREATE TEMPORARY VIEW controls_by_account AS
SELECT place.shard AS shard, COALESCE(payload, X'') AS payload, `position`, kafka_time, PROCTIME() AS processed
FROM controls_source CROSS JOIN UNNEST(
    CASE WHEN payload IS NULL THEN ARRAY[0] ELSE ${all_account_shards} END
) AS place (shard)
----
CREATE TEMPORARY VIEW controls_by_symbol AS
SELECT place.shard AS shard, COALESCE(payload, X'') AS payload, `position`, kafka_time, PROCTIME() AS processed
FROM ${symbol_inputs}controls_source CROSS JOIN UNNEST(
    CASE WHEN payload IS NULL THEN ARRAY[0] ELSE ${all_symbol_shards} END
) AS place (shard)
----
-- Corporate actions go to every shard of both stages: their key is their own identity, and their symbol is known to the domain.
CREATE TEMPORARY VIEW actions_by_account AS
SELECT place.shard AS shard, COALESCE(payload, X'') AS payload, `position`, kafka_time, PROCTIME() AS processed
FROM actions_source CROSS JOIN UNNEST(
    CASE WHEN payload IS NULL THEN ARRAY[0] ELSE ${all_account_shards} END
) AS place (shard)
----
CREATE TEMPORARY VIEW actions_by_symbol AS
SELECT place.shard AS shard, COALESCE(payload, X'') AS payload, `position`, kafka_time, PROCTIME() AS processed
FROM ${symbol_inputs}actions_source CROSS JOIN UNNEST(
    CASE WHEN payload IS NULL THEN ARRAY[0] ELSE ${all_symbol_shards} END
) AS place (shard)
----
CREATE TEMPORARY VIEW outcomes_by_account AS
SELECT CAST(record_key AS INT) AS shard, COALESCE(payload, X'') AS payload, `position`, kafka_time, processed
FROM outcomes_source
----
CREATE TEMPORARY VIEW nbbo_by_symbol AS
SELECT ${symbol_shard_of_key} AS shard, COALESCE(payload, X'') AS payload, `position`, kafka_time, processed
FROM nbbo_source
----
-- Reference prices for the risk stage: the last NBBO of each symbol in a window, to every account shard. Conflated first,
-- because each is read by all shards.
CREATE TEMPORARY VIEW nbbo_last AS
SELECT
    LAST_VALUE(payload) AS payload,
    MAX(`position`) AS `position`,
    MAX(kafka_time) AS kafka_time
FROM TABLE(TUMBLE(TABLE nbbo_source, DESCRIPTOR(processed), INTERVAL '${reference_price_window}' SECOND))
GROUP BY window_start, window_end, record_key
----
CREATE TEMPORARY VIEW nbbo_by_account AS
SELECT place.shard AS shard, COALESCE(payload, X'') AS payload, `position`, kafka_time, PROCTIME() AS processed
FROM nbbo_last CROSS JOIN UNNEST(
    CASE WHEN payload IS NULL THEN ARRAY[0] ELSE ${all_account_shards} END
) AS place (shard)
