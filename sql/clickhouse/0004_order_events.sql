-- The public truth about every order. Grain: one transition of one order.
-- Key: The life of an order, and all lives of a day: both read the key in order.
-- ReplacingMergeTree is the backstop of the archive's fence: two rows of one Kafka position collapse when parts
-- merge.
-- The projection answers counts and last offsets by partition, which the fence asks for, from one row a part.
CREATE TABLE IF NOT EXISTS order_events
(
    event_id String CODEC(ZSTD(1)) COMMENT 'Identity of the event: order and sequence, the same after a replay.',
    event_type LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Whether the order changed, or a command about it was refused.',
    order_id String CODEC(ZSTD(1)) COMMENT 'Order.',
    account_id String CODEC(ZSTD(1)) COMMENT 'Account of the order.',
    symbol LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Instrument symbol.',
    side LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Buy or sell.',
    order_type LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Type of the order.',
    time_in_force LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'How long the order lives.',
    quantity Int64 CODEC(T64, ZSTD(1)) COMMENT 'Shares ordered.',
    price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Limit price, in the currency; null when the type has none.',
    stop_price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Stop price, in the currency; null when the type has none.',
    status LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'State of the order after this event.',
    reason LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Why; NONE for the ordinary course.',
    reason_text Nullable(String) CODEC(ZSTD(1)) COMMENT 'The numbers behind the reason as key=value pairs; null when there are none.',
    cum_quantity Int64 CODEC(T64, ZSTD(1)) COMMENT 'Shares filled so far.',
    leaves_quantity Int64 CODEC(T64, ZSTD(1)) COMMENT 'Shares still open; 0 in a final state.',
    last_quantity Int64 CODEC(T64, ZSTD(1)) COMMENT 'Shares of the fill that this event reports; 0 when it reports none.',
    last_price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Price of that fill, in the currency; null when there is none.',
    trade_id Nullable(String) CODEC(ZSTD(1)) COMMENT 'Trade of that fill; null when there is none.',
    venue LowCardinality(Nullable(String)) CODEC(ZSTD(1)) COMMENT 'Where the fill happened or the order was sent; null when neither.',
    sequence Int32 CODEC(T64, ZSTD(1)) COMMENT '1, 2, 3 ... within the order, without holes.',
    cause_id String CODEC(ZSTD(1)) COMMENT 'The input that caused it, so that a chain of events can be followed back.',
    timestamp DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Time of that input, UTC.',
    event_date Date CODEC(ZSTD(1)) COMMENT 'UTC day of timestamp, the partition; the day of arrival when timestamp is before 2000 or more than a year after arrival.',
    _topic LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Kafka topic that the row was read from.',
    _partition UInt16 CODEC(ZSTD(1)) COMMENT 'Kafka partition.',
    _offset UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Kafka offset; with _topic and _partition the identity of the row.',
    _kafka_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Timestamp of the Kafka record.',
    INDEX account_id_bloom account_id TYPE bloom_filter(0.01) GRANULARITY 4,
    PROJECTION positions (SELECT _topic, _partition, min(_offset), max(_offset), count() GROUP BY _topic, _partition)
)
ENGINE = ReplacingMergeTree
PARTITION BY event_date
ORDER BY (order_id, sequence, _partition, _offset)
SETTINGS deduplicate_merge_projection_mode = 'rebuild'
COMMENT 'The public truth about every order. Grain: one transition of one order.';
