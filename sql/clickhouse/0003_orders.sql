-- Commands of clients as they sent them: new, cancel, replace. Grain: one command.
-- Key: The activity of an account; a single order is found by the bloom filter on order_id.
-- ReplacingMergeTree is the backstop of the archive's fence: two rows of one Kafka position collapse when parts
-- merge.
-- The projection answers counts and last offsets by partition, which the fence asks for, from one row a part.
CREATE TABLE IF NOT EXISTS orders
(
    command LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'What is asked for.',
    order_id String CODEC(ZSTD(1)) COMMENT 'The client''s identity of the order, unique for ever; a second NEW with the same id is a duplicate.',
    account_id String CODEC(ZSTD(1)) COMMENT 'Account that the order is for.',
    symbol LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Instrument symbol.',
    side LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Buy or sell.',
    order_type LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Market, limit, stop or stop limit.',
    time_in_force LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'How long the order lives.',
    quantity Int64 CODEC(T64, ZSTD(1)) COMMENT 'Shares.',
    price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Limit price, in the currency; null when the type has none.',
    stop_price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Stop price, in the currency; null when the type has none.',
    stp LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Self-trade prevention asked for.',
    client_id Nullable(String) CODEC(ZSTD(1)) COMMENT 'Free text of the client, carried along.',
    timestamp DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When the client sent it, UTC.',
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
COMMENT 'Commands of clients as they sent them: new, cancel, replace. Grain: one command.';
