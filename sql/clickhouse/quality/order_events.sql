-- What must hold in order_events beyond what its schema says. Each statement selects the rows that break its rule.

-- rule: keys: the events of an order are numbered 1, 2, 3 without a hole
SELECT account_id, order_id, min(sequence) AS first, max(sequence) AS last, count() AS events
FROM {batch}
WHERE event_type NOT IN ('CANCEL_REJECTED', 'REPLACE_REJECTED')
GROUP BY account_id, order_id
HAVING last - first + 1 != events OR uniqExact(sequence) != events
    -- An order that lives for several days goes on where the day before ended.
    OR (first > 1 AND (account_id, order_id, first - 1) NOT IN (SELECT account_id, order_id, sequence FROM order_events))

-- rule: references: an event is about an order that was sent, by the account that sent it
SELECT event_id, order_id, account_id
FROM {batch}
WHERE (order_id, account_id) NOT IN (SELECT order_id, account_id FROM orders)
    OR (event_type NOT IN ('CANCEL_REJECTED', 'REPLACE_REJECTED')
        AND (order_id, account_id) NOT IN (SELECT order_id, account_id FROM orders WHERE command = 'NEW'))

-- rule: prices: an order that was not rejected has a positive quantity and no price that is not
SELECT event_id, quantity, price, stop_price
FROM {batch}
WHERE event_type NOT IN ('CANCEL_REJECTED', 'REPLACE_REJECTED') AND status != 'REJECTED'
    -- What was validated and then refused by risk is fit to trade too.
    AND (quantity <= 0 OR price <= 0 OR stop_price <= 0)

-- rule: prices: a fill has a positive price, and nothing else has one
SELECT event_id, last_quantity, last_price, trade_id
FROM {batch}
WHERE if(last_quantity > 0, ifNull(last_price <= 0, true) OR trade_id IS NULL, last_price IS NOT NULL OR trade_id IS NOT NULL)

-- rule: quantities: filled and open shares are within what was ordered, and nothing is open in a final state
SELECT event_id, status, quantity, cum_quantity, leaves_quantity
FROM {batch}
WHERE event_type NOT IN ('CANCEL_REJECTED', 'REPLACE_REJECTED') AND status != 'REJECTED'
    AND (cum_quantity + leaves_quantity > quantity
        OR (status IN ('EXECUTED', 'CANCELLED', 'EXPIRED') AND leaves_quantity != 0))

-- rule: quantities: the shares filled so far grow by the fill that is reported, and by nothing else
SELECT event_id, before, last_quantity, cum_quantity
FROM
(
    SELECT event_id, sequence, last_quantity, cum_quantity,
        lagInFrame(cum_quantity) OVER (PARTITION BY account_id, order_id ORDER BY sequence, _offset
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS before,
        row_number() OVER (PARTITION BY account_id, order_id ORDER BY sequence, _offset) AS number
    FROM {batch}
    WHERE event_type NOT IN ('CANCEL_REJECTED', 'REPLACE_REJECTED')
)
WHERE (number > 1 OR sequence = 1) AND before + last_quantity != cum_quantity

-- rule: statuses: an order goes only from a state to one that may follow it
SELECT event_id, before, status
FROM
(
    SELECT event_id, event_type, sequence, toString(status) AS status,
        lagInFrame(toString(status)) OVER (PARTITION BY account_id, order_id ORDER BY sequence, _offset
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS last,
        if(sequence = 1, 'PENDING', last) AS before
    FROM {batch}
    WHERE event_type NOT IN ('CANCEL_REJECTED', 'REPLACE_REJECTED')
)
-- A trigger or a restatement leaves the state as it was. The first row of a day may have its predecessor on another.
WHERE before != '' AND if(event_type = 'STATUS', (before, status) NOT IN ($transitions), before != status)

-- rule: times: the events of an order were written in the order of their numbers
-- Their times are those of what caused them, and inputs of several topics race; Kafka's order is what readers see.
SELECT event_id, before, _offset
FROM
(
    SELECT event_id, _offset,
        lagInFrame(toNullable(_offset)) OVER (PARTITION BY account_id, order_id ORDER BY sequence, _offset
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS before
    FROM {batch}
    WHERE event_type NOT IN ('CANCEL_REJECTED', 'REPLACE_REJECTED')
)
WHERE _offset < before

-- rule: pairs: every fill that an order is told of is a trade event of the same shares and price
SELECT event_id, trade_id, order_id, last_quantity, last_price
FROM {batch}
WHERE last_quantity > 0 AND (assumeNotNull(trade_id), order_id, account_id, last_quantity, assumeNotNull(last_price)) NOT IN
    (SELECT trade_id, order_id, account_id, quantity, execution_price FROM trade_events)
