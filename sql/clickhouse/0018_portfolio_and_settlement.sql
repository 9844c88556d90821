-- Depth, prices, positions, portfolios, settlement.
-- As in every archive table, ReplacingMergeTree is the backstop of the archive's fence, and the projection answers it.

-- Depth of books, ours and those of exchanges. Grain: one published state of one book. It is written to Kafka at
-- least once and conflated, so the highest sequence of a symbol and venue is its truth.
-- Key: The book of a symbol at a time.
CREATE TABLE IF NOT EXISTS market_depth
(
    event_id String CODEC(ZSTD(1)) COMMENT 'Identity: venue, symbol and sequence.',
    symbol LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Instrument symbol.',
    venue LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Whose book it is.',
    `bids.price` Array(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Bids, best first. Price, in the currency.',
    `bids.quantity` Array(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Bids, best first. Shares shown at it.',
    `bids.order_count` Array(Int32) CODEC(T64, ZSTD(1)) COMMENT 'Bids, best first. Orders that make them up; 0 when the source does not say.',
    `asks.price` Array(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Asks, best first. Price, in the currency.',
    `asks.quantity` Array(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Asks, best first. Shares shown at it.',
    `asks.order_count` Array(Int32) CODEC(T64, ZSTD(1)) COMMENT 'Asks, best first. Orders that make them up; 0 when the source does not say.',
    sequence Int64 CODEC(T64, ZSTD(1)) COMMENT 'Rising number per venue and symbol.',
    timestamp DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Time of the change that it shows, UTC.',
    event_date Date CODEC(ZSTD(1)) COMMENT 'UTC day of timestamp, the partition; the day of arrival when timestamp is before 2000 or more than a year after arrival.',
    _topic LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Kafka topic that the row was read from.',
    _partition UInt16 CODEC(ZSTD(1)) COMMENT 'Kafka partition.',
    _offset UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Kafka offset; with _topic and _partition the identity of the row.',
    _kafka_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Timestamp of the Kafka record.',
    PROJECTION positions (SELECT _topic, _partition, min(_offset), max(_offset), count() GROUP BY _topic, _partition)
)
ENGINE = ReplacingMergeTree
PARTITION BY event_date
ORDER BY (symbol, venue, timestamp, _partition, _offset)
TTL if(_kafka_time BETWEEN toDateTime64('2020-01-01', 3, 'UTC') AND toDateTime64('2099-12-31', 3, 'UTC'), toDateTime(_kafka_time, 'UTC') + INTERVAL 1095 DAY, toDateTime('2105-12-31 00:00:00', 'UTC'))
SETTINGS deduplicate_merge_projection_mode = 'rebuild', ttl_only_drop_parts = 1
COMMENT 'Depth of books, ours and those of exchanges. Grain: one published state of one book. It is written to Kafka at least once and conflated, so the highest sequence of a symbol and venue is its truth.';

-- Reference prices for valuation. Grain: one published price of one symbol. It is written to Kafka at least once, so
-- the highest sequence of a symbol is its truth.
-- Key: The price of a symbol at a time.
CREATE TABLE IF NOT EXISTS prices
(
    symbol LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Instrument symbol.',
    kind LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'What price it is.',
    price Decimal(18, 4) CODEC(Delta, ZSTD(1)) COMMENT 'Price, in the currency.',
    currency LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'ISO 4217 code.',
    source LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Where it comes from.',
    sequence Int64 CODEC(T64, ZSTD(1)) COMMENT 'Rising number per symbol.',
    cause_id String CODEC(ZSTD(1)) COMMENT 'Event that it was taken from.',
    timestamp DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Time of that event, UTC.',
    event_date Date CODEC(ZSTD(1)) COMMENT 'UTC day of timestamp, the partition; the day of arrival when timestamp is before 2000 or more than a year after arrival.',
    _topic LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Kafka topic that the row was read from.',
    _partition UInt16 CODEC(ZSTD(1)) COMMENT 'Kafka partition.',
    _offset UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Kafka offset; with _topic and _partition the identity of the row.',
    _kafka_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Timestamp of the Kafka record.',
    PROJECTION positions (SELECT _topic, _partition, min(_offset), max(_offset), count() GROUP BY _topic, _partition)
)
ENGINE = ReplacingMergeTree
PARTITION BY event_date
ORDER BY (symbol, kind, timestamp, _partition, _offset)
SETTINGS deduplicate_merge_projection_mode = 'rebuild'
COMMENT 'Reference prices for valuation. Grain: one published price of one symbol. It is written to Kafka at least once, so the highest sequence of a symbol is its truth.';

-- Positions of every account. Grain: one change of one position.
-- Key: The life of a position, and all positions of an account.
CREATE TABLE IF NOT EXISTS position_events
(
    event_id String CODEC(ZSTD(1)) COMMENT 'Identity: account, symbol and sequence; the same after a replay.',
    account_id String CODEC(ZSTD(1)) COMMENT 'Account.',
    symbol LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Instrument symbol.',
    change LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'What changed it.',
    quantity_delta Int64 CODEC(T64, ZSTD(1)) COMMENT 'Shares by which it changed; 0 for a revaluation.',
    quantity Int64 CODEC(T64, ZSTD(1)) COMMENT 'Shares after the change; negative when short.',
    avg_price Decimal(18, 4) CODEC(Delta, ZSTD(1)) COMMENT 'Average cost of a share, in the currency, rounded half even; 0 when flat.',
    cost_basis Decimal(18, 4) CODEC(Delta, ZSTD(1)) COMMENT 'Cost of the position, in the currency; exact, unlike avgPrice times quantity.',
    market_price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Price it is valued at, in the currency; null when none is known.',
    market_value Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Value at that price, in the currency; null when none is known.',
    unrealized_pnl Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Market value less cost, in the currency; null when no price is known.',
    realized_pnl Decimal(18, 4) CODEC(Delta, ZSTD(1)) COMMENT 'Realised since the opening of the books, in the currency.',
    realized_pnl_delta Decimal(18, 4) CODEC(Delta, ZSTD(1)) COMMENT 'Realised by this change, in the currency.',
    sequence Int64 CODEC(T64, ZSTD(1)) COMMENT '1, 2, 3 ... per account and symbol.',
    cause_id String CODEC(ZSTD(1)) COMMENT 'Event that caused it: trade, corporate action or price.',
    timestamp DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Time of that event, UTC.',
    event_date Date CODEC(ZSTD(1)) COMMENT 'UTC day of timestamp, the partition; the day of arrival when timestamp is before 2000 or more than a year after arrival.',
    _topic LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Kafka topic that the row was read from.',
    _partition UInt16 CODEC(ZSTD(1)) COMMENT 'Kafka partition.',
    _offset UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Kafka offset; with _topic and _partition the identity of the row.',
    _kafka_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Timestamp of the Kafka record.',
    INDEX cause_id_bloom cause_id TYPE bloom_filter(0.01) GRANULARITY 4,
    PROJECTION positions (SELECT _topic, _partition, min(_offset), max(_offset), count() GROUP BY _topic, _partition)
)
ENGINE = ReplacingMergeTree
PARTITION BY event_date
ORDER BY (account_id, symbol, sequence, _partition, _offset)
SETTINGS deduplicate_merge_projection_mode = 'rebuild'
COMMENT 'Positions of every account. Grain: one change of one position.';

-- Value, performance and rebalancing of portfolios. Grain: one report of one portfolio.
-- Key: The reports of a portfolio in order.
CREATE TABLE IF NOT EXISTS portfolio_events
(
    event_id String CODEC(ZSTD(1)) COMMENT 'Identity: account and sequence; the same after a replay.',
    type LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'What it reports.',
    account_id String CODEC(ZSTD(1)) COMMENT 'Account that holds the portfolio.',
    cash Decimal(18, 4) CODEC(Delta, ZSTD(1)) COMMENT 'Cash, in the currency.',
    market_value Decimal(18, 4) CODEC(Delta, ZSTD(1)) COMMENT 'Value of the positions, in the currency.',
    realized_pnl Decimal(18, 4) CODEC(Delta, ZSTD(1)) COMMENT 'Realised since the opening of the books, in the currency.',
    unrealized_pnl Decimal(18, 4) CODEC(Delta, ZSTD(1)) COMMENT 'Unrealised, in the currency.',
    period_start Nullable(DateTime64(9, 'UTC')) CODEC(Delta, ZSTD(1)) COMMENT 'Start of the period measured, UTC; null when there is none.',
    time_weighted_return_e6 Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Time-weighted return of the period, 1/1,000,000; null when there is none.',
    `legs.symbol` Array(LowCardinality(String)) CODEC(ZSTD(1)) COMMENT 'Orders proposed; empty for other types. Instrument symbol.',
    `legs.side` Array(LowCardinality(String)) CODEC(ZSTD(1)) COMMENT 'Orders proposed; empty for other types. Buy or sell.',
    `legs.quantity` Array(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Orders proposed; empty for other types. Shares.',
    `legs.target_weight_e6` Array(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Orders proposed; empty for other types. Weight wanted, 1/1,000,000 of the portfolio.',
    `legs.current_weight_e6` Array(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Orders proposed; empty for other types. Weight found, 1/1,000,000 of the portfolio.',
    detail Nullable(String) CODEC(ZSTD(1)) COMMENT 'Numbers behind it as key=value pairs; null when there are none.',
    sequence Int64 CODEC(T64, ZSTD(1)) COMMENT '1, 2, 3 ... per account.',
    cause_id String CODEC(ZSTD(1)) COMMENT 'Event that caused it.',
    timestamp DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Time of that event, UTC.',
    event_date Date CODEC(ZSTD(1)) COMMENT 'UTC day of timestamp, the partition; the day of arrival when timestamp is before 2000 or more than a year after arrival.',
    _topic LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Kafka topic that the row was read from.',
    _partition UInt16 CODEC(ZSTD(1)) COMMENT 'Kafka partition.',
    _offset UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Kafka offset; with _topic and _partition the identity of the row.',
    _kafka_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Timestamp of the Kafka record.',
    PROJECTION positions (SELECT _topic, _partition, min(_offset), max(_offset), count() GROUP BY _topic, _partition)
)
ENGINE = ReplacingMergeTree
PARTITION BY event_date
ORDER BY (account_id, sequence, _partition, _offset)
SETTINGS deduplicate_merge_projection_mode = 'rebuild'
COMMENT 'Value, performance and rebalancing of portfolios. Grain: one report of one portfolio.';

-- Settlement, step by step. Grain: one step of one obligation.
-- Key: The life of an obligation; an account or trade by bloom filter.
CREATE TABLE IF NOT EXISTS settlement_events
(
    event_id String CODEC(ZSTD(1)) COMMENT 'Identity: obligation and step; the same after a replay.',
    type LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Which step.',
    obligation_id String CODEC(ZSTD(1)) COMMENT 'Obligation that it belongs to.',
    net_obligation_id Nullable(String) CODEC(ZSTD(1)) COMMENT 'Net obligation that it was netted into; null before.',
    trade_id Nullable(String) CODEC(ZSTD(1)) COMMENT 'Trade; null for a net obligation.',
    account_id String CODEC(ZSTD(1)) COMMENT 'Account.',
    symbol LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Instrument symbol.',
    side LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Side of the trade, or of the net.',
    quantity Int64 CODEC(T64, ZSTD(1)) COMMENT 'Shares to receive or deliver.',
    amount Decimal(18, 4) CODEC(Delta, ZSTD(1)) COMMENT 'Money to pay (negative) or to receive (positive), in the currency.',
    fees Decimal(18, 4) CODEC(Delta, ZSTD(1)) COMMENT 'Regulatory fees and commission within amount, in the currency.',
    currency LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'ISO 4217 code.',
    trade_date LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Trade date in New York, YYYY-MM-DD.',
    settlement_date LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Settlement date due, YYYY-MM-DD; T+1.',
    detail Nullable(String) CODEC(ZSTD(1)) COMMENT 'Numbers behind it as key=value pairs; null when there are none.',
    sequence Int32 CODEC(T64, ZSTD(1)) COMMENT '1, 2, 3 ... per obligation.',
    cause_id String CODEC(ZSTD(1)) COMMENT 'Event that caused it.',
    timestamp DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Time of that event, UTC.',
    event_date Date CODEC(ZSTD(1)) COMMENT 'UTC day of timestamp, the partition; the day of arrival when timestamp is before 2000 or more than a year after arrival.',
    _topic LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Kafka topic that the row was read from.',
    _partition UInt16 CODEC(ZSTD(1)) COMMENT 'Kafka partition.',
    _offset UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Kafka offset; with _topic and _partition the identity of the row.',
    _kafka_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Timestamp of the Kafka record.',
    INDEX account_id_bloom account_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX trade_id_bloom trade_id TYPE bloom_filter(0.01) GRANULARITY 4,
    PROJECTION positions (SELECT _topic, _partition, min(_offset), max(_offset), count() GROUP BY _topic, _partition)
)
ENGINE = ReplacingMergeTree
PARTITION BY event_date
ORDER BY (obligation_id, sequence, _partition, _offset)
SETTINGS deduplicate_merge_projection_mode = 'rebuild'
COMMENT 'Settlement, step by step. Grain: one step of one obligation.';
