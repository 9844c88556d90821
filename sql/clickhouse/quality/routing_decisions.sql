-- What must hold in routing_decisions beyond what its schema says. Each statement selects the rows that break its rule.

-- rule: references: a decision is about an order that is known
SELECT event_id, order_id, account_id
FROM {batch}
WHERE (order_id, account_id) NOT IN (SELECT order_id, account_id FROM order_events)

-- rule: references: the national best bid and offer that was looked at is there
SELECT event_id, nbbo_event_id
FROM {batch}
WHERE nbbo_event_id IS NOT NULL AND assumeNotNull(nbbo_event_id) NOT IN (SELECT event_id FROM nbbo)

-- rule: quantities: a decision is about shares
SELECT event_id, quantity FROM {batch} WHERE quantity <= 0
