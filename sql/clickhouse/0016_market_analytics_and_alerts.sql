-- Bars, indicators and alerts.
-- As in every archive table, ReplacingMergeTree is the backstop of the archive's fence, and the projection answers it.

-- Bars and indicators of every symbol. Grain: one revision of one window of one bar or indicator; the highest
-- revision of a window is its truth.
-- Key: The bars, or one indicator, of a symbol between two times.
CREATE TABLE IF NOT EXISTS market_analytics
(
    event_id String CODEC(ZSTD(1)) COMMENT 'Identity: symbol, kind, indicator, window and revision; the same after a replay.',
    kind LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Bar or indicator.',
    symbol LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Instrument symbol.',
    window_start DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the window, inclusive, UTC.',
    window_end DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'End of the window, exclusive, UTC.',
    revision Int32 CODEC(T64, ZSTD(1)) COMMENT '0 for the first result of the window, rising when late ticks correct it; the highest wins.',
    open_price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'First trade price, in the currency; null for an indicator and for a window without trades.',
    high_price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Highest trade price, in the currency.',
    low_price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Lowest trade price, in the currency.',
    close_price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Last trade price, in the currency.',
    vwap_price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Volume-weighted average price, in the currency, rounded half even.',
    volume Int64 CODEC(T64, ZSTD(1)) COMMENT 'Shares traded in the window.',
    trade_count Int64 CODEC(T64, ZSTD(1)) COMMENT 'Trades in the window.',
    indicator LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Which indicator; NONE for a bar.',
    period Int32 CODEC(T64, ZSTD(1)) COMMENT 'Length of the indicator in windows; 0 for a bar.',
    value Nullable(Float64) CODEC(Gorilla, ZSTD(1)) COMMENT 'Value of the indicator in its own unit (RSI: 0 to 100; averages: currency). Not money: never booked. Null for a bar.',
    timestamp DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Time of the last tick of the window, UTC.',
    event_date Date CODEC(ZSTD(1)) COMMENT 'UTC day of timestamp, the partition; the day of arrival when timestamp is before 2000 or more than a year after arrival.',
    _topic LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Kafka topic that the row was read from.',
    _partition UInt16 CODEC(ZSTD(1)) COMMENT 'Kafka partition.',
    _offset UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Kafka offset; with _topic and _partition the identity of the row.',
    _kafka_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Timestamp of the Kafka record.',
    PROJECTION positions (SELECT _topic, _partition, min(_offset), max(_offset), count() GROUP BY _topic, _partition)
)
ENGINE = ReplacingMergeTree
PARTITION BY event_date
ORDER BY (symbol, kind, indicator, period, window_start, revision, _partition, _offset)
TTL if(_kafka_time BETWEEN toDateTime64('2020-01-01', 3, 'UTC') AND toDateTime64('2099-12-31', 3, 'UTC'), toDateTime(_kafka_time, 'UTC') + INTERVAL 1095 DAY, toDateTime('2105-12-31 00:00:00', 'UTC'))
SETTINGS deduplicate_merge_projection_mode = 'rebuild', ttl_only_drop_parts = 1
COMMENT 'Bars and indicators of every symbol. Grain: one revision of one window of one bar or indicator; the highest revision of a window is its truth.';

-- Rules of users that were met. Grain: one alert.
-- Key: The alerts of a symbol or rule in a period.
CREATE TABLE IF NOT EXISTS alerts
(
    event_id String CODEC(ZSTD(1)) COMMENT 'Identity: rule and the event that met it; the same after a replay.',
    rule_id String CODEC(ZSTD(1)) COMMENT 'Rule that was met.',
    rule_version Int32 CODEC(T64, ZSTD(1)) COMMENT 'Version of the rule then in force.',
    owner LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Who is to be told.',
    symbol LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Instrument symbol.',
    condition LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'What was compared.',
    severity LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'How urgent it is.',
    threshold_e4 Int64 CODEC(T64, ZSTD(1)) COMMENT 'Threshold of the rule, 1/10,000 of its unit.',
    observed_e4 Int64 CODEC(T64, ZSTD(1)) COMMENT 'Value found, 1/10,000 of its unit.',
    cause_id String CODEC(ZSTD(1)) COMMENT 'Event that met the rule.',
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
ORDER BY (symbol, rule_id, timestamp, _partition, _offset)
SETTINGS deduplicate_merge_projection_mode = 'rebuild'
COMMENT 'Rules of users that were met. Grain: one alert.';

-- Rules of users, every version of them. Grain: one version of one rule; the highest offset of a rule holds.
-- Key: The versions of a rule.
CREATE TABLE IF NOT EXISTS alert_rules
(
    rule_id String CODEC(ZSTD(1)) COMMENT 'Identity of the rule.',
    version Int32 CODEC(T64, ZSTD(1)) COMMENT '1, 2, 3 ...; a lower one than known is old news.',
    owner LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Who is to be told.',
    symbol LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Instrument symbol; * for every symbol.',
    condition LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'What to compare.',
    indicator LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Which indicator, for the conditions about one; else NONE.',
    period Int32 CODEC(T64, ZSTD(1)) COMMENT 'Length of the indicator in windows; 0 when there is none.',
    window_seconds Int32 CODEC(T64, ZSTD(1)) COMMENT 'Window that the condition looks at, seconds: 300, 900 or 3600.',
    threshold_e4 Int64 CODEC(T64, ZSTD(1)) COMMENT 'Threshold, 1/10,000 of its unit (price: currency; change: percent; volume: shares).',
    severity LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'How urgent an alert of this rule is.',
    cooldown_seconds Int32 CODEC(T64, ZSTD(1)) COMMENT 'Least time between two alerts of this rule for one symbol, seconds.',
    active Bool CODEC(ZSTD(1)) COMMENT 'The rule is in force.',
    timestamp DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When it was changed, UTC.',
    event_date Date CODEC(ZSTD(1)) COMMENT 'UTC day of timestamp, the partition; the day of arrival when timestamp is before 2000 or more than a year after arrival.',
    _topic LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Kafka topic that the row was read from.',
    _partition UInt16 CODEC(ZSTD(1)) COMMENT 'Kafka partition.',
    _offset UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Kafka offset; with _topic and _partition the identity of the row.',
    _kafka_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Timestamp of the Kafka record.',
    PROJECTION positions (SELECT _topic, _partition, min(_offset), max(_offset), count() GROUP BY _topic, _partition)
)
ENGINE = ReplacingMergeTree
PARTITION BY event_date
ORDER BY (rule_id, version, _partition, _offset)
SETTINGS deduplicate_merge_projection_mode = 'rebuild'
COMMENT 'Rules of users, every version of them. Grain: one version of one rule; the highest offset of a rule holds.';
