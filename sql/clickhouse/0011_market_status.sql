-- The state of trading in each symbol on our venue. Grain: one change of one symbol.
-- Key: The state of a symbol at a time (ASOF JOIN): the key is symbol, then time.
-- ReplacingMergeTree is the backstop of the archive's fence: two rows of one Kafka position collapse when parts
-- merge.
-- The projection answers counts and last offsets by partition, which the fence asks for, from one row a part.
CREATE TABLE IF NOT EXISTS market_status
(
    event_id String CODEC(ZSTD(1)) COMMENT 'Identity of the event, the same after a replay.',
    symbol LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Instrument symbol.',
    state LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'State from now on.',
    cause LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'What changed it.',
    reference_price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Reference of the bands, in the currency; null when there are none.',
    lower_band Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Lower price band, in the currency; null when there is none.',
    upper_band Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Upper price band, in the currency; null when there is none.',
    auction_price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Price of the auction that was held, in the currency; null when nothing traded.',
    auction_quantity Int64 CODEC(T64, ZSTD(1)) COMMENT 'Shares that the auction executed.',
    imbalance Int64 CODEC(T64, ZSTD(1)) COMMENT 'Shares left at the auction''s price, positive for buys.',
    short_sale_restricted Bool CODEC(ZSTD(1)) COMMENT 'Rule 201 is in force for the symbol.',
    resume_time Nullable(DateTime64(9, 'UTC')) CODEC(Delta, ZSTD(1)) COMMENT 'When a pause or a halt may end, UTC; null when it is not known.',
    detail Nullable(String) CODEC(ZSTD(1)) COMMENT 'The numbers behind it, for people; null when there are none.',
    cause_id String CODEC(ZSTD(1)) COMMENT 'Identity of the input that caused it.',
    timestamp DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Time of that input, UTC.',
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
COMMENT 'The state of trading in each symbol on our venue. Grain: one change of one symbol.';
