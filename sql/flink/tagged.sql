-- A view's records with the tag of their source, so that several inputs can share a window. Grain: one record.
-- In: a view with shard, payload, position, kafka_time, processed.
SELECT ${source} AS source, shard, payload, `position`, kafka_time, processed
FROM ${view}
