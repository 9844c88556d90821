-- Views for orders that are replaced, restated and triggered, for the state of trading and for controls; views.md describes
-- each: grain, columns, checks. REPLACED is a live state now: the order goes on with its new terms.

CREATE OR REPLACE VIEW order_lifecycle AS
SELECT
    order_id,
    account_id,
    anyIf(symbol, own) AS symbol,
    anyIf(side, own) AS side,
    argMinIf(order_type, sequence, own) AS order_type,
    anyIf(time_in_force, own) AS time_in_force,
    argMaxIf(quantity, sequence, own) AS quantity,
    -- In a tuple, because argMax passes over a null, and the last event may be the one that has none.
    tupleElement(argMaxIf(tuple(price), sequence, own), 1) AS limit_price,
    tupleElement(argMaxIf(tuple(stop_price), sequence, own), 1) AS stop_price,
    argMaxIf(status, sequence, own) AS final_status,
    final_status IN ('EXECUTED', 'REJECTED', 'CANCELLED', 'EXPIRED') AS is_final,
    argMaxIf(reason, sequence, own) AS final_reason,
    tupleElement(argMaxIf(tuple(reason_text), sequence, own), 1) AS final_reason_text,
    argMaxIf(cum_quantity, sequence, own) AS filled_quantity,
    argMaxIf(leaves_quantity, sequence, own) AS open_quantity,
    countIf(last_quantity > 0) AS fills,
    sumIf(toDecimal128(assumeNotNull(last_price), 4) * last_quantity, last_quantity > 0) AS filled_notional,
    if(filled_quantity > 0, toFloat64(filled_notional) / filled_quantity, NULL) AS average_price,
    arraySort(groupUniqArrayIf(venue, last_quantity > 0)) AS venues,
    countIf(event_type = 'STATUS' AND status = 'REPLACED') AS replaces,
    countIf(event_type = 'RESTATED') AS restatements,
    countIf(event_type = 'CANCEL_REJECTED') AS refused_cancels,
    countIf(event_type = 'REPLACE_REJECTED') AS refused_replaces,
    minIf(timestamp, own) AS placed_at,
    minIfOrNull(timestamp, event_type = 'TRIGGERED') AS triggered_at,
    minIfOrNull(timestamp, last_quantity > 0) AS first_fill_at,
    maxIf(timestamp, own) AS last_event_at,
    minIf(event_date, own) AS placed_date,
    countIf(own) AS events,
    maxIf(sequence, own) AS last_sequence
FROM
(
    -- A refused command changes no order; there may not even be one.
    SELECT *, event_type NOT IN ('CANCEL_REJECTED', 'REPLACE_REJECTED') AS own FROM order_events
)
GROUP BY order_id, account_id
HAVING events > 0
COMMENT 'Grain: one order. Its state after its last event, and how it came there.';

CREATE OR REPLACE VIEW market_states AS
SELECT
    event_date,
    symbol,
    state,
    cause,
    timestamp AS since,
    leadInFrame(toNullable(timestamp)) OVER later AS until,
    lower_band,
    upper_band,
    reference_price,
    auction_price,
    auction_quantity,
    imbalance,
    short_sale_restricted,
    resume_time,
    detail,
    cause_id,
    event_id
FROM market_status
WINDOW later AS (PARTITION BY symbol ORDER BY timestamp, _partition, _offset ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)
COMMENT 'Grain: one state of one symbol, from its beginning to its end. Bands, pauses, halts and auctions of our venue.';

CREATE OR REPLACE VIEW controls_audit AS
SELECT
    event_date,
    timestamp AS applied_at,
    control_id,
    issued_by,
    type = 'CONTROL_APPLIED' AS applied,
    account_id,
    symbol,
    reason,
    detail,
    limit_value,
    observed_value,
    event_id
FROM risk_events
WHERE type IN ('CONTROL_APPLIED', 'CONTROL_REJECTED')
COMMENT 'Grain: one answer to one control: what it did, who issued it and why.';

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
    SELECT _topic, _partition, count(), min(_offset), max(_offset), false FROM market_status GROUP BY _topic, _partition
    UNION ALL
    SELECT _topic, _partition, count(), min(_offset), max(_offset), _topic != 'dead-letter' FROM dead_letters GROUP BY _topic, _partition
)
GROUP BY topic, partition
COMMENT 'Grain: one Kafka partition of an archived topic. How many of its committed records are in ClickHouse.';
