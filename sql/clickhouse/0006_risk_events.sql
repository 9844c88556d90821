-- What the risk stage reported. Grain: one report.
-- Key: The history of an account.
-- ReplacingMergeTree is the backstop of the archive's fence: two rows of one Kafka position collapse when parts
-- merge.
-- The projection answers counts and last offsets by partition, which the fence asks for, from one row a part.
CREATE TABLE IF NOT EXISTS risk_events
(
    event_id String CODEC(ZSTD(1)) COMMENT 'Identity of the event, the same after a replay.',
    type LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'What happened.',
    account_id String CODEC(ZSTD(1)) COMMENT 'Account concerned; * when it concerns all.',
    order_id Nullable(String) CODEC(ZSTD(1)) COMMENT 'Order concerned; null when there is none.',
    symbol LowCardinality(Nullable(String)) CODEC(ZSTD(1)) COMMENT 'Symbol concerned; null when there is none.',
    reason LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'The rule that was applied.',
    detail Nullable(String) CODEC(ZSTD(1)) COMMENT 'The numbers behind it as key=value pairs.',
    limit_value Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'The limit: money in 1/10,000 (divide by 10,000) or shares, as the reason says.',
    observed_value Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'What was found, in the unit of limit_value.',
    buying_power Decimal(18, 4) CODEC(Delta, ZSTD(1)) COMMENT 'Buying power of the account after the event, in the currency.',
    timestamp DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Time of the input that caused it, UTC.',
    event_date Date CODEC(ZSTD(1)) COMMENT 'UTC day of timestamp, the partition; the day of arrival when timestamp is before 2000 or more than a year after arrival.',
    _topic LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Kafka topic that the row was read from.',
    _partition UInt16 CODEC(ZSTD(1)) COMMENT 'Kafka partition.',
    _offset UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Kafka offset; with _topic and _partition the identity of the row.',
    _kafka_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Timestamp of the Kafka record.',
    INDEX order_id_bloom order_id TYPE bloom_filter(0.01) GRANULARITY 4,
    PROJECTION positions (SELECT _topic, _partition, min(_offset), max(_offset), count() GROUP BY _topic, _partition)
)
ENGINE = ReplacingMergeTree
PARTITION BY event_date
ORDER BY (account_id, timestamp, _partition, _offset)
SETTINGS deduplicate_merge_projection_mode = 'rebuild'
COMMENT 'What the risk stage reported. Grain: one report.';
