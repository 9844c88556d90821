-- Why an order, or a part of it, went where it went. Grain: one decision.
-- Key: Decisions beside the market of the same symbol and time; an order by bloom filter.
-- ReplacingMergeTree is the backstop of the archive's fence: two rows of one Kafka position collapse when parts
-- merge.
-- The projection answers counts and last offsets by partition, which the fence asks for, from one row a part.
CREATE TABLE IF NOT EXISTS routing_decisions
(
    event_id String CODEC(ZSTD(1)) COMMENT 'Identity of the event: order and index of the decision, the same after a replay.',
    order_id String CODEC(ZSTD(1)) COMMENT 'Order.',
    account_id String CODEC(ZSTD(1)) COMMENT 'Account of the order.',
    symbol LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Instrument symbol.',
    side LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Side of the order.',
    quantity Int64 CODEC(T64, ZSTD(1)) COMMENT 'Shares that this decision is about.',
    limit_price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Limit of the order, in the currency; null for a market order.',
    venue LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Venue chosen.',
    action LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'What was done.',
    price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Price expected or got, in the currency; null when posted without one.',
    bid_price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'National best bid known then, in the currency.',
    bid_size Int64 CODEC(T64, ZSTD(1)) COMMENT 'Shares at that bid.',
    ask_price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'National best ask known then, in the currency.',
    ask_size Int64 CODEC(T64, ZSTD(1)) COMMENT 'Shares at that ask.',
    book_bid_price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Best bid in our own book, in the currency.',
    book_ask_price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Best ask in our own book, in the currency.',
    nbbo_event_id Nullable(String) CODEC(ZSTD(1)) COMMENT 'The nbbo event that was looked at; null when none was known.',
    timestamp DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Time of the input that caused the decision, UTC.',
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
ORDER BY (symbol, timestamp, _partition, _offset)
SETTINGS deduplicate_merge_projection_mode = 'rebuild'
COMMENT 'Why an order, or a part of it, went where it went. Grain: one decision.';
