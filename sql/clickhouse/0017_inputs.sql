-- What comes from outside: feeds, reference data, controls, corporate actions, files of the street.
-- As in every archive table, ReplacingMergeTree is the backstop of the archive's fence, and the projection answers it.

-- What each source of market data sent, byte for byte. Grain: one line or message of one source.
-- Key: What a source sent about a symbol, in its order.
CREATE TABLE IF NOT EXISTS raw_feed
(
    source LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Which source it came from: lean, simulator, itch.',
    format LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'How payload is to be read.',
    feed_id LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'The file or session within the source, of one symbol; sequence counts within it. A source that begins anew, or sends its whole book again, takes a new one.',
    sequence Int64 CODEC(T64, ZSTD(1)) COMMENT 'Position in the feed: 1, 2, 3 ... without holes, so that a gap is visible.',
    symbol LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Instrument symbol; the source''s spelling is understood. * for messages about the whole market.',
    base_time_ns DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Midnight in New York of the trading day, UTC; times in payload are relative to it.',
    payload String CODEC(ZSTD(3)) COMMENT 'The source''s line or packet, byte for byte.',
    event_date Date CODEC(ZSTD(1)) COMMENT 'UTC day of base_time_ns, the partition; the day of arrival when base_time_ns is before 2000 or more than a year after arrival.',
    _topic LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Kafka topic that the row was read from.',
    _partition UInt16 CODEC(ZSTD(1)) COMMENT 'Kafka partition.',
    _offset UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Kafka offset; with _topic and _partition the identity of the row.',
    _kafka_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Timestamp of the Kafka record.',
    PROJECTION positions (SELECT _topic, _partition, min(_offset), max(_offset), count() GROUP BY _topic, _partition)
)
ENGINE = ReplacingMergeTree
PARTITION BY event_date
ORDER BY (symbol, feed_id, sequence, _partition, _offset)
TTL if(_kafka_time BETWEEN toDateTime64('2020-01-01', 3, 'UTC') AND toDateTime64('2099-12-31', 3, 'UTC'), toDateTime(_kafka_time, 'UTC') + INTERVAL 1095 DAY, toDateTime('2105-12-31 00:00:00', 'UTC'))
SETTINGS deduplicate_merge_projection_mode = 'rebuild', ttl_only_drop_parts = 1
COMMENT 'What each source of market data sent, byte for byte. Grain: one line or message of one source.';

-- Instruments, accounts and sessions, every version of them. Grain: one published version; the highest offset of a
-- key holds, unless the key was deleted after it (deletions).
-- Key: The versions of an instrument, account or session.
CREATE TABLE IF NOT EXISTS reference_data
(
    kind LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Which body below is set.',
    key String CODEC(ZSTD(1)) COMMENT 'The record''s Kafka key: account:ID, instrument:SYMBOL, session:YYYY-MM-DD or snapshot-end.',
    instrument_symbol LowCardinality(Nullable(String)) CODEC(ZSTD(1)) COMMENT 'Instrument symbol.',
    instrument_name Nullable(String) CODEC(ZSTD(1)) COMMENT 'Full name.',
    instrument_asset_class LowCardinality(Nullable(String)) CODEC(ZSTD(1)) COMMENT 'Asset class.',
    instrument_currency LowCardinality(Nullable(String)) CODEC(ZSTD(1)) COMMENT 'ISO 4217 code of the currency that prices are in.',
    instrument_primary_exchange LowCardinality(Nullable(String)) CODEC(ZSTD(1)) COMMENT 'Primary listing exchange.',
    instrument_tick_size Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Smallest price step, in the currency.',
    instrument_round_lot Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Shares in a round lot.',
    instrument_prior_close Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Close of the day before, in the currency; 0 when unknown.',
    instrument_active Nullable(Bool) CODEC(ZSTD(1)) COMMENT 'Orders are accepted.',
    instrument_sector LowCardinality(Nullable(String)) CODEC(ZSTD(1)) COMMENT 'Sector, for limits of concentration; null when unknown.',
    instrument_luld_tier Nullable(Int32) CODEC(T64, ZSTD(1)) COMMENT 'Tier of the limit up-limit down plan, 1 or 2; null when the plan does not cover the instrument.',
    instrument_leverage Nullable(Int32) CODEC(T64, ZSTD(1)) COMMENT 'Leverage of an exchange-traded product, which multiplies its bands; null for 1.',
    instrument_average_volume Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Average shares traded a day; null when unknown.',
    instrument_easy_to_borrow Nullable(Bool) CODEC(ZSTD(1)) COMMENT 'On the easy-to-borrow list: a short sale needs no locate of its own; null for no.',
    instrument_contract_underlying LowCardinality(Nullable(String)) CODEC(ZSTD(1)) COMMENT 'Symbol of the underlying.',
    instrument_contract_multiplier Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Units of the underlying in one contract.',
    instrument_contract_expiry_time Nullable(DateTime64(9, 'UTC')) CODEC(Delta, ZSTD(1)) COMMENT 'When it expires, UTC.',
    instrument_contract_right LowCardinality(Nullable(String)) CODEC(ZSTD(1)) COMMENT 'Call or put.',
    instrument_contract_strike Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Strike, in the currency; 0 for a future.',
    instrument_contract_broad_index Nullable(Bool) CODEC(ZSTD(1)) COMMENT 'An option on a broad index: lower margin, settled in cash.',
    instrument_contract_maintenance_margin Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Maintenance margin of one future, in the currency; 0 for an option.',
    instrument_contract_settlement_price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Last settlement price, in the currency; 0 before the first.',
    instrument_contract_settlement_time Nullable(DateTime64(9, 'UTC')) CODEC(Delta, ZSTD(1)) COMMENT 'When that price was struck, UTC; a later one causes variation margin.',
    account_account_id Nullable(String) CODEC(ZSTD(1)) COMMENT 'Account.',
    account_name Nullable(String) CODEC(ZSTD(1)) COMMENT 'Name for people.',
    account_desk LowCardinality(Nullable(String)) CODEC(ZSTD(1)) COMMENT 'Desk or group that the account belongs to.',
    account_cash Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Opening cash, in the currency.',
    `account_positions.symbol` Array(LowCardinality(String)) CODEC(ZSTD(1)) COMMENT 'Opening positions. Instrument symbol.',
    `account_positions.quantity` Array(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Opening positions. Shares; negative when short.',
    account_max_order_quantity Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Most shares in one order.',
    account_max_order_notional Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Most money in one order, in the currency.',
    account_max_position Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Most shares of one symbol, long or short.',
    account_commission_per_share Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Commission, in the currency per share.',
    account_active Nullable(Bool) CODEC(ZSTD(1)) COMMENT 'Orders are accepted.',
    account_account_type LowCardinality(Nullable(String)) CODEC(ZSTD(1)) COMMENT 'Type; null for CASH.',
    account_intraday_rule LowCardinality(Nullable(String)) CODEC(ZSTD(1)) COMMENT 'For a margin account; null for INTRADAY_MARGIN.',
    account_stp_group Nullable(String) CODEC(ZSTD(1)) COMMENT 'Accounts of one group do not trade with each other when self-trade prevention is asked for; null for the account alone.',
    account_max_daily_notional Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Most money of approved orders in a session, in the currency; null for no limit.',
    account_max_orders_per_second Nullable(Int32) CODEC(T64, ZSTD(1)) COMMENT 'Most orders in any second of order time; null for no limit.',
    account_max_open_orders Nullable(Int32) CODEC(T64, ZSTD(1)) COMMENT 'Most orders open at once; null for no limit.',
    account_max_concentration Nullable(Int32) CODEC(T64, ZSTD(1)) COMMENT 'Largest share of one symbol in the account''s equity, 1/10,000 of it; null for no limit.',
    account_max_price_deviation Nullable(Int32) CODEC(T64, ZSTD(1)) COMMENT 'How far a limit price may be beyond the market, 1/10,000 of the market''s price; null for no limit.',
    account_duplicate_window_ms Nullable(Int32) CODEC(T64, ZSTD(1)) COMMENT 'An order with the terms of one that is at most so many milliseconds old is refused as a duplicate; null for no check.',
    session_date LowCardinality(Nullable(String)) CODEC(ZSTD(1)) COMMENT 'Date in New York, YYYY-MM-DD.',
    session_open_time Nullable(DateTime64(9, 'UTC')) CODEC(Delta, ZSTD(1)) COMMENT 'Opening, UTC.',
    session_close_time Nullable(DateTime64(9, 'UTC')) CODEC(Delta, ZSTD(1)) COMMENT 'Close, UTC.',
    session_half_day Nullable(Bool) CODEC(ZSTD(1)) COMMENT 'Early close.',
    session_pre_open_time Nullable(DateTime64(9, 'UTC')) CODEC(Delta, ZSTD(1)) COMMENT 'From when orders are taken for the opening auction, UTC; null for the opening.',
    effective_from DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'From when it holds, UTC.',
    timestamp DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When it was published, UTC.',
    event_date Date CODEC(ZSTD(1)) COMMENT 'UTC day of timestamp, the partition; the day of arrival when timestamp is before 2000 or more than a year after arrival.',
    _topic LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Kafka topic that the row was read from.',
    _partition UInt16 CODEC(ZSTD(1)) COMMENT 'Kafka partition.',
    _offset UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Kafka offset; with _topic and _partition the identity of the row.',
    _kafka_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Timestamp of the Kafka record.',
    PROJECTION positions (SELECT _topic, _partition, min(_offset), max(_offset), count() GROUP BY _topic, _partition)
)
ENGINE = ReplacingMergeTree
PARTITION BY event_date
ORDER BY (key, _partition, _offset)
SETTINGS deduplicate_merge_projection_mode = 'rebuild'
COMMENT 'Instruments, accounts and sessions, every version of them. Grain: one published version; the highest offset of a key holds, unless the key was deleted after it (deletions).';

-- Commands of operators and schedulers to the running system. Grain: one control as it was issued.
-- Key: What was issued about a target; a control by bloom filter.
CREATE TABLE IF NOT EXISTS controls
(
    control_id String CODEC(ZSTD(1)) COMMENT 'Identity of the control; applying it twice is the same as once.',
    kind LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'What to do.',
    scope LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Everything, one account or one symbol.',
    target Nullable(String) CODEC(ZSTD(1)) COMMENT 'The account or the symbol; null for ALL.',
    value Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'A number that kind and limit explain: the new limit of a LIMIT_CHANGE, shares of a LOCATE, the level of an INDEX_LEVEL in 1/10,000 of a point; else null.',
    issued_by LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Person or system that issued it.',
    reason String CODEC(ZSTD(1)) COMMENT 'Why, for the audit.',
    timestamp DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When it was issued; for CLOCK the time that has been reached. UTC.',
    symbol LowCardinality(Nullable(String)) CODEC(ZSTD(1)) COMMENT 'The symbol of a RESTRICT or LOCATE whose target is an account, and of an INDEX_LEVEL; else null.',
    limit LowCardinality(Nullable(String)) CODEC(ZSTD(1)) COMMENT 'Set for LIMIT_CHANGE.',
    event_date Date CODEC(ZSTD(1)) COMMENT 'UTC day of timestamp, the partition; the day of arrival when timestamp is before 2000 or more than a year after arrival.',
    _topic LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Kafka topic that the row was read from.',
    _partition UInt16 CODEC(ZSTD(1)) COMMENT 'Kafka partition.',
    _offset UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Kafka offset; with _topic and _partition the identity of the row.',
    _kafka_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Timestamp of the Kafka record.',
    INDEX control_id_bloom control_id TYPE bloom_filter(0.01) GRANULARITY 4,
    PROJECTION positions (SELECT _topic, _partition, min(_offset), max(_offset), count() GROUP BY _topic, _partition)
)
ENGINE = ReplacingMergeTree
PARTITION BY event_date
ORDER BY (kind, ifNull(target, ''), timestamp, _partition, _offset)
SETTINGS deduplicate_merge_projection_mode = 'rebuild'
COMMENT 'Commands of operators and schedulers to the running system. Grain: one control as it was issued.';

-- Corporate actions as announced, every version of them. Grain: one version of one action; the highest version of an
-- action holds.
-- Key: The versions of an action.
CREATE TABLE IF NOT EXISTS corporate_actions
(
    action_id String CODEC(ZSTD(1)) COMMENT 'Identity of the action.',
    version Int32 CODEC(T64, ZSTD(1)) COMMENT '1, 2, 3 ...; a lower one than known is old news.',
    type LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'What happens.',
    symbol LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Instrument concerned.',
    new_symbol LowCardinality(Nullable(String)) CODEC(ZSTD(1)) COMMENT 'Instrument received or new name; null when there is none.',
    cash_per_share Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Cash for one share held, in the currency; null when there is none.',
    ratio_numerator Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Shares received for ratioDenominator shares held; null when there is none.',
    ratio_denominator Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'See ratioNumerator.',
    ex_date LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Ex date in New York, YYYY-MM-DD.',
    record_date LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Record date, YYYY-MM-DD.',
    pay_date LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Payment date, YYYY-MM-DD.',
    cancelled Bool CODEC(ZSTD(1)) COMMENT 'The action was withdrawn.',
    timestamp DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When this version was announced, UTC.',
    event_date Date CODEC(ZSTD(1)) COMMENT 'UTC day of timestamp, the partition; the day of arrival when timestamp is before 2000 or more than a year after arrival.',
    _topic LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Kafka topic that the row was read from.',
    _partition UInt16 CODEC(ZSTD(1)) COMMENT 'Kafka partition.',
    _offset UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Kafka offset; with _topic and _partition the identity of the row.',
    _kafka_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Timestamp of the Kafka record.',
    PROJECTION positions (SELECT _topic, _partition, min(_offset), max(_offset), count() GROUP BY _topic, _partition)
)
ENGINE = ReplacingMergeTree
PARTITION BY event_date
ORDER BY (action_id, version, _partition, _offset)
SETTINGS deduplicate_merge_projection_mode = 'rebuild'
COMMENT 'Corporate actions as announced, every version of them. Grain: one version of one action; the highest version of an action holds.';

-- Files of custodians, brokers and depositories, byte for byte. Grain: one line of one file.
-- Key: A file, line by line.
CREATE TABLE IF NOT EXISTS street_files
(
    event_id String CODEC(ZSTD(1)) COMMENT 'Identity: file and line.',
    kind LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'How the line is to be read.',
    counterparty LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Who sent the file.',
    file_name String CODEC(ZSTD(1)) COMMENT 'Name of the file.',
    line_number Int64 CODEC(T64, ZSTD(1)) COMMENT 'Line in the file, from 1.',
    business_date LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Date that the file is about, YYYY-MM-DD.',
    payload String CODEC(ZSTD(3)) COMMENT 'The line, byte for byte.',
    timestamp DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When the file was received, UTC.',
    event_date Date CODEC(ZSTD(1)) COMMENT 'UTC day of timestamp, the partition; the day of arrival when timestamp is before 2000 or more than a year after arrival.',
    _topic LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Kafka topic that the row was read from.',
    _partition UInt16 CODEC(ZSTD(1)) COMMENT 'Kafka partition.',
    _offset UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Kafka offset; with _topic and _partition the identity of the row.',
    _kafka_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Timestamp of the Kafka record.',
    PROJECTION positions (SELECT _topic, _partition, min(_offset), max(_offset), count() GROUP BY _topic, _partition)
)
ENGINE = ReplacingMergeTree
PARTITION BY event_date
ORDER BY (counterparty, business_date, file_name, line_number, _partition, _offset)
SETTINGS deduplicate_merge_projection_mode = 'rebuild'
COMMENT 'Files of custodians, brokers and depositories, byte for byte. Grain: one line of one file.';
