-- Surveillance, audit, reports, and the internal feedback of trading.
-- As in every archive table, ReplacingMergeTree is the backstop of the archive's fence, and the projection answers it.

-- Suspicious patterns with their evidence. Grain: one finding.
-- Key: The findings of a pattern or symbol in a period.
CREATE TABLE IF NOT EXISTS surveillance_alerts
(
    event_id String CODEC(ZSTD(1)) COMMENT 'Identity: pattern, accounts, symbol and first event; the same after a replay.',
    pattern LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Which pattern.',
    rule_version Int32 CODEC(T64, ZSTD(1)) COMMENT 'Version of the rule that found it.',
    severity LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'How urgent it is.',
    score_e4 Int64 CODEC(T64, ZSTD(1)) COMMENT 'How clear the case is, 0 to 10,000.',
    account_ids Array(String) CODEC(ZSTD(1)) COMMENT 'Accounts concerned.',
    symbol LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Instrument symbol.',
    window_start DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'First event of the pattern, UTC.',
    window_end DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Last event of the pattern, UTC.',
    evidence Array(String) CODEC(ZSTD(1)) COMMENT 'Event ids that make up the pattern, in order.',
    detail Nullable(String) CODEC(ZSTD(1)) COMMENT 'Numbers behind it as key=value pairs; null when there are none.',
    timestamp DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Time of the event that completed it, UTC.',
    event_date Date CODEC(ZSTD(1)) COMMENT 'UTC day of timestamp, the partition; the day of arrival when timestamp is before 2000 or more than a year after arrival.',
    _topic LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Kafka topic that the row was read from.',
    _partition UInt16 CODEC(ZSTD(1)) COMMENT 'Kafka partition.',
    _offset UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Kafka offset; with _topic and _partition the identity of the row.',
    _kafka_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Timestamp of the Kafka record.',
    PROJECTION positions (SELECT _topic, _partition, min(_offset), max(_offset), count() GROUP BY _topic, _partition)
)
ENGINE = ReplacingMergeTree
PARTITION BY event_date
ORDER BY (pattern, symbol, timestamp, _partition, _offset)
SETTINGS deduplicate_merge_projection_mode = 'rebuild'
COMMENT 'Suspicious patterns with their evidence. Grain: one finding.';

-- Links of the hash chains over all topics. Grain: one Kafka record that was chained.
-- Key: The chain of a partition in order.
CREATE TABLE IF NOT EXISTS audit_records
(
    event_id String CODEC(ZSTD(1)) COMMENT 'Identity: topic, partition and offset joined by dashes.',
    source LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'What kind of record it is.',
    source_topic LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Topic of the record.',
    source_partition Int32 CODEC(T64, ZSTD(1)) COMMENT 'Partition of the record.',
    source_offset Int64 CODEC(T64, ZSTD(1)) COMMENT 'Offset of the record.',
    record_hash String CODEC(ZSTD(3)) COMMENT 'SHA-256 of the record''s key and value.',
    chain_hash String CODEC(ZSTD(3)) COMMENT 'SHA-256 of the chain hash before it and recordHash.',
    actor Nullable(String) CODEC(ZSTD(1)) COMMENT 'Who caused it, when the record says so.',
    timestamp DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Time of the record, UTC.',
    event_date Date CODEC(ZSTD(1)) COMMENT 'UTC day of timestamp, the partition; the day of arrival when timestamp is before 2000 or more than a year after arrival.',
    _topic LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Kafka topic that the row was read from.',
    _partition UInt16 CODEC(ZSTD(1)) COMMENT 'Kafka partition.',
    _offset UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Kafka offset; with _topic and _partition the identity of the row.',
    _kafka_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Timestamp of the Kafka record.',
    PROJECTION positions (SELECT _topic, _partition, min(_offset), max(_offset), count() GROUP BY _topic, _partition)
)
ENGINE = ReplacingMergeTree
PARTITION BY event_date
ORDER BY (source_topic, source_partition, source_offset, _partition, _offset)
SETTINGS deduplicate_merge_projection_mode = 'rebuild'
COMMENT 'Links of the hash chains over all topics. Grain: one Kafka record that was chained.';

-- Merkle roots of the hash chains. Grain: one root of one chain.
-- Key: The roots of a chain in order.
CREATE TABLE IF NOT EXISTS audit_roots
(
    event_id String CODEC(ZSTD(1)) COMMENT 'Identity: chain and date.',
    chain LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Topic and partition joined by a dash; * for the root over all chains.',
    date LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Date in New York, YYYY-MM-DD.',
    first_offset Int64 CODEC(T64, ZSTD(1)) COMMENT 'Offset of the first record.',
    last_offset Int64 CODEC(T64, ZSTD(1)) COMMENT 'Offset of the last record.',
    record_count Int64 CODEC(T64, ZSTD(1)) COMMENT 'Records in between, both included.',
    merkle_root String CODEC(ZSTD(3)) COMMENT 'SHA-256 Merkle root of the record hashes.',
    chain_hash String CODEC(ZSTD(3)) COMMENT 'Chain hash after the last record.',
    previous_root Nullable(String) CODEC(ZSTD(3)) COMMENT 'Merkle root of the day before; null for the first.',
    timestamp DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Time of the last record, UTC.',
    event_date Date CODEC(ZSTD(1)) COMMENT 'UTC day of timestamp, the partition; the day of arrival when timestamp is before 2000 or more than a year after arrival.',
    _topic LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Kafka topic that the row was read from.',
    _partition UInt16 CODEC(ZSTD(1)) COMMENT 'Kafka partition.',
    _offset UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Kafka offset; with _topic and _partition the identity of the row.',
    _kafka_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Timestamp of the Kafka record.',
    PROJECTION positions (SELECT _topic, _partition, min(_offset), max(_offset), count() GROUP BY _topic, _partition)
)
ENGINE = ReplacingMergeTree
PARTITION BY event_date
ORDER BY (chain, date, last_offset, _partition, _offset)
SETTINGS deduplicate_merge_projection_mode = 'rebuild'
COMMENT 'Merkle roots of the hash chains. Grain: one root of one chain.';

-- Steps of reports. Grain: one step of one report.
-- Key: The life of a report.
CREATE TABLE IF NOT EXISTS report_events
(
    event_id String CODEC(ZSTD(1)) COMMENT 'Identity: report and step; the same after a replay.',
    report_id String CODEC(ZSTD(1)) COMMENT 'Report: kind, period and subject.',
    kind LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Which report.',
    status LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Which step.',
    subject Nullable(String) CODEC(ZSTD(1)) COMMENT 'Account or firm that it is about; null for all.',
    period_start DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the period, inclusive, UTC.',
    period_end DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'End of the period, exclusive, UTC.',
    location Nullable(String) CODEC(ZSTD(1)) COMMENT 'Where the file is; null before there is one.',
    content_hash Nullable(String) CODEC(ZSTD(3)) COMMENT 'SHA-256 of the file; null before there is one.',
    row_count Int64 CODEC(T64, ZSTD(1)) COMMENT 'Rows in the file.',
    detail Nullable(String) CODEC(ZSTD(1)) COMMENT 'What went wrong, or numbers as key=value pairs; null when there is nothing to say.',
    timestamp DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Time of the last input of the report, UTC.',
    event_date Date CODEC(ZSTD(1)) COMMENT 'UTC day of timestamp, the partition; the day of arrival when timestamp is before 2000 or more than a year after arrival.',
    _topic LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Kafka topic that the row was read from.',
    _partition UInt16 CODEC(ZSTD(1)) COMMENT 'Kafka partition.',
    _offset UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Kafka offset; with _topic and _partition the identity of the row.',
    _kafka_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Timestamp of the Kafka record.',
    PROJECTION positions (SELECT _topic, _partition, min(_offset), max(_offset), count() GROUP BY _topic, _partition)
)
ENGINE = ReplacingMergeTree
PARTITION BY event_date
ORDER BY (kind, report_id, timestamp, _partition, _offset)
SETTINGS deduplicate_merge_projection_mode = 'rebuild'
COMMENT 'Steps of reports. Grain: one step of one report.';

-- Internal feedback from matching to risk, kept to follow a fault. Grain: one batch of one account shard.
-- Key: What happened in a shard between two times.
CREATE TABLE IF NOT EXISTS order_outcomes
(
    shard Int32 CODEC(T64, ZSTD(1)) COMMENT 'Account shard, 0 to shards - 1.',
    `outcomes.account_id` Array(String) CODEC(ZSTD(1)) COMMENT 'One entry for each order that changed. Account of the order.',
    `outcomes.order_id` Array(String) CODEC(ZSTD(1)) COMMENT 'One entry for each order that changed. Order.',
    `outcomes.symbol` Array(LowCardinality(String)) CODEC(ZSTD(1)) COMMENT 'One entry for each order that changed. Instrument symbol.',
    `outcomes.side` Array(LowCardinality(String)) CODEC(ZSTD(1)) COMMENT 'One entry for each order that changed. Side of the order.',
    `outcomes.filled_quantity` Array(Int64) CODEC(T64, ZSTD(1)) COMMENT 'One entry for each order that changed. Shares filled in this batch.',
    `outcomes.filled_notional` Array(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'One entry for each order that changed. Sum of price times shares of those fills, in the currency.',
    `outcomes.commission` Array(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'One entry for each order that changed. Commission of those fills, in the currency.',
    `outcomes.leaves_quantity` Array(Int64) CODEC(T64, ZSTD(1)) COMMENT 'One entry for each order that changed. Shares still open after the batch.',
    `outcomes.terminal` Array(Bool) CODEC(ZSTD(1)) COMMENT 'One entry for each order that changed. The order is in a final state: release what is left of its reservation.',
    `outcomes.quantity` Array(Nullable(Int64)) CODEC(T64, ZSTD(1)) COMMENT 'One entry for each order that changed. Total shares of the order after the batch; null when the batch did not change it.',
    `outcomes.replaces_applied` Array(Nullable(Int32)) CODEC(T64, ZSTD(1)) COMMENT 'One entry for each order that changed. Replacements that took effect in the batch; null for none.',
    `outcomes.replaces_refused` Array(Nullable(Int32)) CODEC(T64, ZSTD(1)) COMMENT 'One entry for each order that changed. Replacements that were refused in the batch; null for none.',
    timestamp DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Time of the last input of the batch, UTC.',
    session_open Nullable(DateTime64(9, 'UTC')) CODEC(Delta, ZSTD(1)) COMMENT 'Opening of the session that the match stage was in, UTC: shares of a record before a split are not those after it. Null when no session has begun.',
    event_date Date CODEC(ZSTD(1)) COMMENT 'UTC day of timestamp, the partition; the day of arrival when timestamp is before 2000 or more than a year after arrival.',
    _topic LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Kafka topic that the row was read from.',
    _partition UInt16 CODEC(ZSTD(1)) COMMENT 'Kafka partition.',
    _offset UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Kafka offset; with _topic and _partition the identity of the row.',
    _kafka_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Timestamp of the Kafka record.',
    PROJECTION positions (SELECT _topic, _partition, min(_offset), max(_offset), count() GROUP BY _topic, _partition)
)
ENGINE = ReplacingMergeTree
PARTITION BY event_date
ORDER BY (shard, timestamp, _partition, _offset)
TTL if(_kafka_time BETWEEN toDateTime64('2020-01-01', 3, 'UTC') AND toDateTime64('2099-12-31', 3, 'UTC'), toDateTime(_kafka_time, 'UTC') + INTERVAL 1095 DAY, toDateTime('2105-12-31 00:00:00', 'UTC'))
SETTINGS deduplicate_merge_projection_mode = 'rebuild', ttl_only_drop_parts = 1
COMMENT 'Internal feedback from matching to risk, kept to follow a fault. Grain: one batch of one account shard.';
