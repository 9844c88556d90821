-- The view as 0025 had made it.

CREATE OR REPLACE VIEW executions_nbbo AS
SELECT
    e.event_date AS event_date,
    e.event_id AS event_id,
    e.trade_id AS trade_id,
    e.order_id AS order_id,
    e.account_id AS account_id,
    e.symbol AS symbol,
    e.side AS side,
    e.venue AS venue,
    e.quantity AS quantity,
    e.execution_price AS execution_price,
    e.received_at AS received_at,
    e.execution_time AS execution_time,
    n.bid_price AS receipt_bid,
    n.ask_price AS receipt_ask,
    e.bid_price AS execution_bid,
    e.ask_price AS execution_ask,
    (toFloat64(n.bid_price) + toFloat64(n.ask_price)) / 2 AS receipt_mid,
    2 * if(e.side = 'BUY', 1, -1) * (toFloat64(e.execution_price) - receipt_mid) AS effective_spread
FROM
(
    SELECT t.*, received.received_at AS received_at
    FROM (SELECT * FROM trade_events WHERE event_date = {day:Date}) AS t
    INNER JOIN
    (
        -- An order that lives for several days was received on another one.
        SELECT account_id, order_id, timestamp AS received_at
        FROM order_events
        WHERE sequence = 1 AND order_id IN (SELECT order_id FROM trade_events WHERE event_date = {day:Date})
    ) AS received ON received.order_id = t.order_id AND received.account_id = t.account_id
) AS e
ASOF LEFT JOIN (SELECT symbol, timestamp, bid_price, ask_price FROM nbbo WHERE event_date = {day:Date}) AS n
    ON n.symbol = e.symbol AND n.timestamp <= e.received_at
COMMENT 'Grain: one side of one execution of the UTC day that is given, with the NBBO at the receipt of its order and at the execution.';
