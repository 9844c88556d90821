-- National best bid and offer. Grain: one published state of one symbol. It is written to Kafka at least once and
-- conflated, so the highest sequence of a symbol is its truth.
-- Key: The state of a symbol at a time (ASOF JOIN): the key is symbol, then time.
-- ReplacingMergeTree is the backstop of the archive's fence: two rows of one Kafka position collapse when parts
-- merge.
-- The projection answers counts and last offsets by partition, which the fence asks for, from one row a part.
CREATE TABLE IF NOT EXISTS nbbo
(
    event_id String CODEC(ZSTD(1)) COMMENT 'Identity: symbol and sequence.',
    symbol LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Instrument symbol.',
    bid_price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Best bid, in the currency; null when no exchange bids.',
    bid_size Int64 CODEC(T64, ZSTD(1)) COMMENT 'Shares at the best bid on bid_exchange; 0 when there is none.',
    bid_exchange LowCardinality(Nullable(String)) CODEC(ZSTD(1)) COMMENT 'Exchange with the best bid; null when there is none.',
    ask_price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Best ask, in the currency; null when no exchange offers.',
    ask_size Int64 CODEC(T64, ZSTD(1)) COMMENT 'Shares at the best ask on ask_exchange; 0 when there is none.',
    ask_exchange LowCardinality(Nullable(String)) CODEC(ZSTD(1)) COMMENT 'Exchange with the best ask; null when there is none.',
    `quotes.exchange` Array(LowCardinality(String)) CODEC(ZSTD(1)) COMMENT 'One entry for each exchange that has a live quote. Exchange code.',
    `quotes.bid_price` Array(Nullable(Decimal(18, 4))) CODEC(Delta, ZSTD(1)) COMMENT 'One entry for each exchange that has a live quote. Bid, in the currency; null when the exchange shows no bid.',
    `quotes.bid_size` Array(Int64) CODEC(T64, ZSTD(1)) COMMENT 'One entry for each exchange that has a live quote. Shares at the bid; 0 when there is no bid.',
    `quotes.ask_price` Array(Nullable(Decimal(18, 4))) CODEC(Delta, ZSTD(1)) COMMENT 'One entry for each exchange that has a live quote. Ask, in the currency; null when the exchange shows no ask.',
    `quotes.ask_size` Array(Int64) CODEC(T64, ZSTD(1)) COMMENT 'One entry for each exchange that has a live quote. Shares at the ask; 0 when there is no ask.',
    `quotes.timestamp` Array(DateTime64(9, 'UTC')) CODEC(Delta, ZSTD(1)) COMMENT 'One entry for each exchange that has a live quote. Time of the exchange''s last quote, UTC.',
    last_price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Price of the last trade seen, in the currency; null before the first.',
    sequence Int64 CODEC(T64, ZSTD(1)) COMMENT 'Rising number per symbol; a lower one than seen before is old news.',
    timestamp DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Time of the tick that caused it, UTC.',
    event_date Date CODEC(ZSTD(1)) COMMENT 'UTC day of timestamp, the partition; the day of arrival when timestamp is before 2000 or more than a year after arrival.',
    _topic LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Kafka topic that the row was read from.',
    _partition UInt16 CODEC(ZSTD(1)) COMMENT 'Kafka partition.',
    _offset UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Kafka offset; with _topic and _partition the identity of the row.',
    _kafka_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Timestamp of the Kafka record.',
    PROJECTION positions (SELECT _topic, _partition, min(_offset), max(_offset), count() GROUP BY _topic, _partition)
)
ENGINE = ReplacingMergeTree
PARTITION BY event_date
ORDER BY (symbol, timestamp, _partition, _offset)
SETTINGS deduplicate_merge_projection_mode = 'rebuild'
COMMENT 'National best bid and offer. Grain: one published state of one symbol. It is written to Kafka at least once and conflated, so the highest sequence of a symbol is its truth.';
