-- What must hold in market_status beyond what its schema says. Each statement selects the rows that break its rule.

-- rule: prices: the reference of price bands lies between them
SELECT event_id, lower_band, reference_price, upper_band
FROM {batch}
WHERE lower_band > upper_band OR reference_price NOT BETWEEN lower_band AND upper_band

-- rule: quantities: shares were traded in an auction when it has a price
SELECT event_id, auction_price, auction_quantity
FROM {batch}
WHERE (auction_price IS NULL) != (auction_quantity = 0)
