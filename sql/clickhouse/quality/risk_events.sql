-- What must hold in risk_events beyond what its schema says. Each statement selects the rows that break its rule.

-- rule: references: the order that is named was sent
SELECT event_id, type, order_id
FROM {batch}
WHERE order_id IS NOT NULL AND assumeNotNull(order_id) NOT IN (SELECT order_id FROM orders)
