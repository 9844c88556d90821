CREATE OR REPLACE VIEW pipeline_counts AS
SELECT
    topic,
    partition,
    sumIf(rows, NOT refused) AS archived_rows,
    sumIf(rows, refused) AS undecodable_rows,
    archived_rows + undecodable_rows AS kafka_records,
    min(first) AS first_offset,
    max(last) AS last_offset
FROM
(
    SELECT _topic AS topic, _partition AS partition, count() AS rows, min(_offset) AS first, max(_offset) AS last, false AS refused
    FROM raw_feed GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM market_data GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM nbbo GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM orders GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM reference_data GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM controls GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM order_events GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM trade_events GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM risk_events GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM routing_decisions GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM market_status GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM order_outcomes GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM market_analytics GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM alerts GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM alert_rules GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM market_depth GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM position_events GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM portfolio_events GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM prices GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM corporate_actions GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM settlement_events GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM street_files GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM surveillance_alerts GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM audit_records GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM audit_roots GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM report_events GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), _topic != 'dead-letter' FROM dead_letters GROUP BY _topic, _partition
)
GROUP BY topic, partition
COMMENT 'Grain: one Kafka partition of an archived topic. How many of its committed records are in ClickHouse.';

DROP TABLE IF EXISTS tombstones SYNC;
