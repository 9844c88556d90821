-- Input that could not be used, byte for byte. Grain: one record. Rows with _topic = dead-letter were refused by the
-- job in the column job. Rows with another _topic are records of that topic which the archive itself could not
-- decode; they are in no other table, so a topic's count is its table plus these.
-- Key: What was refused, by topic and reason.
-- ReplacingMergeTree is the backstop of the archive's fence: two rows of one Kafka position collapse when parts
-- merge.
-- The projection answers counts and last offsets by partition, which the fence asks for, from one row a part.
CREATE TABLE IF NOT EXISTS dead_letters
(
    event_id String CODEC(ZSTD(1)) COMMENT 'Identity: source topic, partition and offset joined by dashes.',
    job LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Job that refused it.',
    stage LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Stage of the job that refused it.',
    source_topic LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Topic that it was read from.',
    source_partition Int32 CODEC(T64, ZSTD(1)) COMMENT 'Partition that it was read from.',
    source_offset Int64 CODEC(T64, ZSTD(1)) COMMENT 'Offset that it was read at.',
    source_timestamp DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Kafka''s timestamp of the record, UTC.',
    reason LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Why, for counting.',
    detail String CODEC(ZSTD(1)) COMMENT 'Why, for people: what was wrong and at which byte.',
    schema_id Nullable(Int32) CODEC(T64, ZSTD(1)) COMMENT 'Schema id of the record''s frame; null when it could not be read.',
    record_key Nullable(String) CODEC(ZSTD(3)) COMMENT 'The record''s key; null when it had none.',
    payload String CODEC(ZSTD(3)) COMMENT 'The record''s value, byte for byte.',
    timestamp DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Time of the input that was being processed, UTC.',
    event_date Date CODEC(ZSTD(1)) COMMENT 'UTC day of timestamp, the partition; the day of arrival when timestamp is before 2000 or more than a year after arrival.',
    _topic LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Kafka topic that the row was read from.',
    _partition UInt16 CODEC(ZSTD(1)) COMMENT 'Kafka partition.',
    _offset UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Kafka offset; with _topic and _partition the identity of the row.',
    _kafka_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Timestamp of the Kafka record.',
    PROJECTION positions (SELECT _topic, _partition, min(_offset), max(_offset), count() GROUP BY _topic, _partition)
)
ENGINE = ReplacingMergeTree
PARTITION BY event_date
ORDER BY (source_topic, reason, _topic, _partition, _offset)
SETTINGS deduplicate_merge_projection_mode = 'rebuild'
COMMENT 'Input that could not be used, byte for byte. Grain: one record. Rows with _topic = dead-letter were refused by the job in the column job. Rows with another _topic are records of that topic which the archive itself could not decode; they are in no other table, so a topic''s count is its table plus these.';
