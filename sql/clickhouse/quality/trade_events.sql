-- What must hold in trade_events beyond what its schema says. Each statement selects the rows that break its rule.

-- rule: references: an execution is the fill that its order's event reports
SELECT event_id, trade_id, order_id, order_sequence, quantity
FROM {batch}
WHERE (trade_id, order_id, account_id, order_sequence, quantity, execution_price) NOT IN
    (SELECT assumeNotNull(trade_id), order_id, account_id, sequence, last_quantity, assumeNotNull(last_price)
     FROM order_events WHERE last_quantity > 0)

-- rule: quantities: an execution has shares
SELECT event_id, quantity FROM {batch} WHERE quantity <= 0

-- rule: session: an execution happens on a trading day between the opening and the close
SELECT event_id, execution_time
FROM {batch}
-- The closing auction is held at the first input after the close; an order that came just before the opening keeps its time.
WHERE toUnixTimestamp64Nano(execution_time) < $open - $closing OR toUnixTimestamp64Nano(execution_time) > $close + $closing

-- rule: pairs: a trade in our book has a buyer and a seller of the same shares at the same price; one elsewhere has one side
SELECT trade_id, count() AS sides, groupArray(toString(side)) AS which, groupArray(quantity) AS shares,
    groupArray(execution_price) AS prices
FROM {batch}
GROUP BY trade_id
HAVING uniqExact(symbol) != 1 OR uniqExact(venue) != 1 OR uniqExact(quantity) != 1 OR uniqExact(execution_price) != 1
    OR if(any(venue) = '$own_venue', sides != 2 OR countIf(side = 'BUY') != 1 OR countIf(contra_order_id IS NULL) != 0,
        sides != 1 OR countIf(contra_order_id IS NOT NULL) != 0)

-- rule: money: what buyers pay in our book is what sellers get, and what they receive is what was sold
SELECT symbol, sum(if(side = 'BUY', -1, 1) * toDecimal128(execution_price, 4) * quantity) AS money,
    sum(if(side = 'BUY', quantity, -quantity)) AS shares
FROM {batch}
WHERE venue = '$own_venue'
GROUP BY symbol
HAVING money != 0 OR shares != 0

-- rule: money: an order's executions are worth what its events say it was filled for
SELECT order_id, account_id, sum(told) AS order_events_say, sum(traded) AS trade_events_say
FROM
(
    SELECT order_id, account_id, toDecimal128(execution_price, 4) * quantity AS traded, toDecimal128(0, 4) AS told FROM {batch}
    UNION ALL
    SELECT order_id, account_id, toDecimal128(0, 4), toDecimal128(assumeNotNull(last_price), 4) * last_quantity
    FROM order_events WHERE last_quantity > 0 AND event_date IN (SELECT DISTINCT event_date FROM {batch})
)
GROUP BY order_id, account_id
HAVING order_events_say != trade_events_say

-- rule: money: only sales pay regulatory fees, which are within what was charged
SELECT event_id, side, fees, commission
FROM {batch}
WHERE fees IS NOT NULL AND (fees <= 0 OR fees > commission OR side = 'BUY')
