-- Views of the market and of who traded; views.md describes each: grain, columns, checks.

CREATE OR REPLACE VIEW latest_prices AS
SELECT
    symbol,
    -- In a tuple, because argMax passes over a null, and the last state may be the one that has none.
    tupleElement(argMax(tuple(bid_price), sequence), 1) AS best_bid,
    tupleElement(argMax(tuple(ask_price), sequence), 1) AS best_ask,
    (toFloat64(best_bid) + toFloat64(best_ask)) / 2 AS mid_price,
    tupleElement(argMax(tuple(last_price), sequence), 1) AS last_trade_price,
    argMax(timestamp, sequence) AS as_of,
    max(sequence) AS last_sequence
FROM nbbo
GROUP BY symbol
COMMENT 'Grain: one symbol. Its newest national best bid and offer, and the last trade price known with it.';

CREATE OR REPLACE VIEW fills_by_venue AS
SELECT
    event_date,
    venue,
    count() AS executions,
    uniqExact(order_id, account_id) AS orders,
    sum(quantity) AS shares,
    sum(notional) AS total_notional,
    sum(commission) AS total_commission,
    -- By shares, over the executions that have an NBBO; null when none has one.
    sumOrNull(effective_spread * quantity) / sumIf(quantity, isNotNull(effective_spread)) AS average_effective_spread
FROM executions
GROUP BY event_date, venue
COMMENT 'Grain: one day and venue of execution. How much was filled there, and how well.';

CREATE OR REPLACE VIEW account_activity AS
SELECT
    event_date,
    account_id,
    uniqExactIf(order_id, event_type = 'STATUS') AS orders,
    uniqExactIf(order_id, event_type = 'STATUS' AND status = 'REJECTED') AS rejected_orders,
    uniqExactIf(order_id, event_type = 'STATUS' AND status = 'CANCELLED') AS cancelled_orders,
    uniqExactIf(order_id, last_quantity > 0) AS filled_orders,
    countIf(last_quantity > 0) AS fills,
    sumIf(last_quantity, last_quantity > 0) AS filled_shares,
    sumIf(toDecimal128(assumeNotNull(last_price), 4) * last_quantity, last_quantity > 0) AS filled_notional,
    countIf(event_type IN ('CANCEL_REJECTED', 'REPLACE_REJECTED')) AS refused_commands,
    max(timestamp) AS last_event_at
FROM order_events
GROUP BY event_date, account_id
COMMENT 'Grain: one day and account. What became of its orders on that day.';
