-- The views of the release before.
DROP VIEW IF EXISTS controls_audit SYNC;
DROP VIEW IF EXISTS market_states SYNC;

CREATE OR REPLACE VIEW order_lifecycle AS
SELECT
    order_id,
    any(account_id) AS account_id,
    any(symbol) AS symbol,
    any(side) AS side,
    any(order_type) AS order_type,
    any(time_in_force) AS time_in_force,
    argMax(quantity, sequence) AS quantity,
    argMax(price, sequence) AS limit_price,
    argMax(stop_price, sequence) AS stop_price,
    argMaxIf(status, sequence, event_type = 'STATUS') AS final_status,
    final_status IN ('EXECUTED', 'REJECTED', 'CANCELLED', 'REPLACED', 'EXPIRED') AS is_final,
    argMaxIf(reason, sequence, event_type = 'STATUS') AS final_reason,
    argMaxIf(reason_text, sequence, event_type = 'STATUS') AS final_reason_text,
    argMax(cum_quantity, sequence) AS filled_quantity,
    argMax(leaves_quantity, sequence) AS open_quantity,
    countIf(last_quantity > 0) AS fills,
    sumIf(toDecimal128(last_price, 4) * last_quantity, last_quantity > 0) AS filled_notional,
    if(filled_quantity > 0, toFloat64(filled_notional) / filled_quantity, NULL) AS average_price,
    arraySort(groupUniqArrayIf(venue, last_quantity > 0)) AS venues,
    countIf(event_type = 'CANCEL_REJECTED') AS refused_cancels,
    countIf(event_type = 'REPLACE_REJECTED') AS refused_replaces,
    min(timestamp) AS placed_at,
    minIfOrNull(timestamp, last_quantity > 0) AS first_fill_at,
    max(timestamp) AS last_event_at,
    min(event_date) AS placed_date,
    count() AS events,
    max(sequence) AS last_sequence
FROM order_events
GROUP BY order_id
COMMENT 'Grain: one order. Its state after its last event, and how it came there.';

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
    FROM market_data GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM nbbo GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM orders GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM order_events GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM trade_events GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM risk_events GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM routing_decisions GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), _topic != 'dead-letter' FROM dead_letters GROUP BY _topic, _partition
)
GROUP BY topic, partition
COMMENT 'Grain: one Kafka partition of an archived topic. How many of its committed records are in ClickHouse.';
