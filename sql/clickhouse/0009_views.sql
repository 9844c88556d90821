-- The first views for analysts; views.md describes each: grain, columns, checks.

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

CREATE OR REPLACE VIEW executions AS
SELECT
    event_date,
    execution_time,
    trade_id,
    event_id,
    order_id,
    contra_order_id,
    account_id,
    symbol,
    side,
    liquidity,
    venue,
    quantity,
    execution_price,
    toDecimal128(execution_price, 4) * quantity AS notional,
    commission,
    if(side = 'BUY', -1, 1) * notional - commission AS cash_change,
    if(side = 'BUY', quantity, -quantity) AS position_change,
    bid_price,
    ask_price,
    (toFloat64(bid_price) + toFloat64(ask_price)) / 2 AS mid_price,
    2 * if(side = 'BUY', 1, -1) * (toFloat64(execution_price) - mid_price) AS effective_spread,
    if(side = 'BUY', toDecimal128(ask_price, 4) - execution_price, execution_price - toDecimal128(bid_price, 4)) AS price_improvement
FROM trade_events
COMMENT 'Grain: one side of one execution, beside the national best bid and offer known then.';

CREATE OR REPLACE VIEW rejects_by_reason AS
SELECT
    event_date,
    if(event_type = 'STATUS', 'ORDER', toString(event_type)) AS what,
    splitByChar('_', toString(reason))[1] AS stage,
    reason,
    count() AS rejects,
    uniqExact(order_id) AS orders,
    uniqExact(account_id) AS accounts,
    sum(quantity) AS shares,
    any(reason_text) AS example
FROM order_events
WHERE (event_type = 'STATUS' AND status = 'REJECTED') OR event_type IN ('CANCEL_REJECTED', 'REPLACE_REJECTED')
GROUP BY event_date, what, stage, reason
COMMENT 'Grain: one day, kind of refusal and reason.';

CREATE OR REPLACE VIEW account_positions AS
SELECT
    account_id,
    symbol,
    sum(position_change) AS position_change,
    sumIf(quantity, side = 'BUY') AS bought,
    sumIf(quantity, side != 'BUY') AS sold,
    sumIf(notional, side = 'BUY') AS bought_notional,
    sumIf(notional, side != 'BUY') AS sold_notional,
    sum(commission) AS commission,
    sum(cash_change) AS cash_change,
    count() AS executions,
    max(execution_time) AS last_execution_at
FROM executions
GROUP BY account_id, symbol
COMMENT 'Grain: one account and symbol. What its executions changed; opening positions and cash are not in it.';

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
