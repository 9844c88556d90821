-- Deletions of compacted topics, with the key that they delete. A record without a value holds nothing that could be a row of
-- the topic's table, and is no error either, so it had been a dead letter without its key until now. Those stay where they are:
-- archived records are never changed, and Kafka may no longer know their keys.
-- Key: The deletions of a topic in Kafka's order.
-- ReplacingMergeTree is the backstop of the archive's fence: two rows of one Kafka position collapse when parts
-- merge.
-- The projection answers counts and last offsets by partition, which the fence asks for, from one row a part.
CREATE TABLE IF NOT EXISTS tombstones
(
    record_key Nullable(String) CODEC(ZSTD(1)) COMMENT 'Key that was deleted, byte for byte; null when the record had none.',
    event_date Date CODEC(ZSTD(1)) COMMENT 'UTC day of arrival, the partition: a deletion has no other time.',
    _topic LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Kafka topic that the row was read from.',
    _partition UInt16 CODEC(ZSTD(1)) COMMENT 'Kafka partition.',
    _offset UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Kafka offset; with _topic and _partition the identity of the row.',
    _kafka_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Timestamp of the Kafka record.',
    PROJECTION positions (SELECT _topic, _partition, min(_offset), max(_offset), count() GROUP BY _topic, _partition)
)
ENGINE = ReplacingMergeTree
PARTITION BY event_date
ORDER BY (_topic, _partition, _offset)
SETTINGS deduplicate_merge_projection_mode = 'rebuild'
COMMENT 'Deletions of keys of compacted topics. Grain: one Kafka record without a value. They are in no other table, so a topic''s count is its table plus its records among dead_letters plus these.';

CREATE OR REPLACE VIEW pipeline_counts AS
SELECT
    topic,
    partition,
    sumIf(rows, what = 'row') AS archived_rows,
    sumIf(rows, what = 'refused') AS undecodable_rows,
    sumIf(rows, what = 'tombstone') AS tombstone_rows,
    archived_rows + undecodable_rows + tombstone_rows AS kafka_records,
    min(first) AS first_offset,
    max(last) AS last_offset
FROM
(
    SELECT _topic AS topic, _partition AS partition, count() AS rows, min(_offset) AS first, max(_offset) AS last, 'row' AS what
    FROM raw_feed GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), 'row' FROM market_data GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), 'row' FROM nbbo GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), 'row' FROM orders GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), 'row' FROM reference_data GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), 'row' FROM controls GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), 'row' FROM order_events GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), 'row' FROM trade_events GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), 'row' FROM risk_events GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), 'row' FROM routing_decisions GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), 'row' FROM market_status GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), 'row' FROM order_outcomes GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), 'row' FROM market_analytics GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), 'row' FROM alerts GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), 'row' FROM alert_rules GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), 'row' FROM market_depth GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), 'row' FROM position_events GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), 'row' FROM portfolio_events GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), 'row' FROM prices GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), 'row' FROM corporate_actions GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), 'row' FROM settlement_events GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), 'row' FROM street_files GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), 'row' FROM surveillance_alerts GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), 'row' FROM audit_records GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), 'row' FROM audit_roots GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), 'row' FROM report_events GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), if(_topic = 'dead-letter', 'row', 'refused') FROM dead_letters GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), 'tombstone' FROM tombstones GROUP BY _topic, _partition
)
GROUP BY topic, partition
COMMENT 'Grain: one Kafka partition of an archived topic. How many of its committed records are in ClickHouse.';
