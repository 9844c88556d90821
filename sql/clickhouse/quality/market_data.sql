-- What must hold in market_data beyond what its schema says. Each statement selects the rows that break its rule.

-- rule: prices: a trade has a price and shares, a quote has none
SELECT event_id, kind, last_price, volume
FROM {batch}
WHERE (kind IN ('TRADE', 'CORRECTION') AND (last_price IS NULL OR volume <= 0))
    OR (kind = 'QUOTE' AND (last_price IS NOT NULL OR volume != 0))

-- rule: session: a tick is of a trading day, between 04:00 and 20:00 New York
SELECT event_id, timestamp
FROM {batch}
WHERE kind IN ('QUOTE', 'TRADE')
    AND (toUnixTimestamp64Nano(timestamp) < $early OR toUnixTimestamp64Nano(timestamp) > $late)
