-- Executions. Grain: one side of one execution; a match in our book has two rows with one trade_id, a fill at another
-- venue has one.
-- Key: Trades of a symbol between two times; an account or order by bloom filter.
-- ReplacingMergeTree is the backstop of the archive's fence: two rows of one Kafka position collapse when parts
-- merge.
-- The projection answers counts and last offsets by partition, which the fence asks for, from one row a part.
CREATE TABLE IF NOT EXISTS trade_events
(
    event_id String CODEC(ZSTD(1)) COMMENT 'Identity of the event: trade and side, the same after a replay.',
    trade_id String CODEC(ZSTD(1)) COMMENT 'Identity of the match, shared by its two sides.',
    order_id String CODEC(ZSTD(1)) COMMENT 'Order that was filled.',
    contra_order_id Nullable(String) CODEC(ZSTD(1)) COMMENT 'Order on the other side; null when another venue filled it.',
    account_id String CODEC(ZSTD(1)) COMMENT 'Account of the order.',
    symbol LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Instrument symbol.',
    side LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Side of the order.',
    quantity Int64 CODEC(T64, ZSTD(1)) COMMENT 'Shares.',
    execution_price Decimal(18, 4) CODEC(Delta, ZSTD(1)) COMMENT 'Price per share, in the currency.',
    commission Decimal(18, 4) CODEC(Delta, ZSTD(1)) COMMENT 'Commission charged to the account, in the currency.',
    execution_time DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Time of the input that caused the execution, UTC.',
    venue LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Where it was executed: our own book, or the exchange''s code.',
    liquidity LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Whether the order added, removed or was routed.',
    bid_price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'National best bid known then, in the currency; null when there was none.',
    ask_price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'National best ask known then, in the currency; null when there was none.',
    order_sequence Int32 CODEC(T64, ZSTD(1)) COMMENT 'Sequence of the order event that reports this fill.',
    cause_id String CODEC(ZSTD(1)) COMMENT 'The input that caused it.',
    event_date Date CODEC(ZSTD(1)) COMMENT 'UTC day of execution_time, the partition; the day of arrival when execution_time is before 2000 or more than a year after arrival.',
    _topic LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Kafka topic that the row was read from.',
    _partition UInt16 CODEC(ZSTD(1)) COMMENT 'Kafka partition.',
    _offset UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Kafka offset; with _topic and _partition the identity of the row.',
    _kafka_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Timestamp of the Kafka record.',
    INDEX account_id_bloom account_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX order_id_bloom order_id TYPE bloom_filter(0.01) GRANULARITY 4,
    PROJECTION positions (SELECT _topic, _partition, min(_offset), max(_offset), count() GROUP BY _topic, _partition)
)
ENGINE = ReplacingMergeTree
PARTITION BY event_date
ORDER BY (symbol, execution_time, _partition, _offset)
SETTINGS deduplicate_merge_projection_mode = 'rebuild'
COMMENT 'Executions. Grain: one side of one execution; a match in our book has two rows with one trade_id, a fill at another venue has one.';
