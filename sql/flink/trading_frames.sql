-- The frames of the risk stage as an input of the match stage. Grain: the frames that one batch of an account shard sends to
-- one symbol shard (a journal entry). Frames carry their own position.
CREATE TEMPORARY VIEW frames_by_symbol AS
SELECT shard, payload, CAST(0 AS BIGINT) AS `position`, TO_TIMESTAMP_LTZ(newest_ms, 3) AS kafka_time, processed
FROM frames
