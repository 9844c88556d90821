-- Normalised quotes and trades of every exchange. Grain: one tick of one exchange.
-- Key: What happened in a symbol between two times: the key is symbol, then time.
-- ReplacingMergeTree is the backstop of the archive's fence: two rows of one Kafka position collapse when parts
-- merge.
-- The projection answers counts and last offsets by partition, which the fence asks for, from one row a part.
CREATE TABLE IF NOT EXISTS market_data
(
    event_id String CODEC(ZSTD(1)) COMMENT 'Identity of the event: a pure function of the feed and its sequence, the same after a replay.',
    kind LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Quote or trade; it decides which of the fields below are set.',
    symbol LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Instrument symbol.',
    exchange LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Exchange that showed the quote or printed the trade.',
    bid_price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Bid, in the currency; null when the exchange shows no bid, and for a trade.',
    bid_size Int64 CODEC(T64, ZSTD(1)) COMMENT 'Shares at the bid; 0 when there is no bid.',
    ask_price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Ask, in the currency; null when the exchange shows no ask, and for a trade.',
    ask_size Int64 CODEC(T64, ZSTD(1)) COMMENT 'Shares at the ask; 0 when there is no ask.',
    last_price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Price of the trade, in the currency; null for a quote.',
    volume Int64 CODEC(T64, ZSTD(1)) COMMENT 'Shares of this trade; 0 for a quote.',
    sale_condition LowCardinality(Nullable(String)) CODEC(ZSTD(1)) COMMENT 'Sale condition codes as the source gave them; null when there are none.',
    suspicious Bool CODEC(ZSTD(1)) COMMENT 'The source marked the tick as suspicious; it takes no part in the NBBO.',
    sequence Int64 CODEC(T64, ZSTD(1)) COMMENT 'Sequence of the raw feed record, within its feed.',
    source LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Source of the raw record: lean, simulator.',
    timestamp DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Time of the tick at the source, UTC.',
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
COMMENT 'Normalised quotes and trades of every exchange. Grain: one tick of one exchange.';
