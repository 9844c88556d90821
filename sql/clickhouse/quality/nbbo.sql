-- What must hold in nbbo beyond what its schema says. Each statement selects the rows that break its rule.

-- rule: times: of one symbol, a higher sequence is not earlier by more than a late tick may be
SELECT symbol, sequence, before, timestamp
FROM
(
    SELECT symbol, sequence, timestamp,
        lagInFrame(timestamp) OVER (PARTITION BY symbol ORDER BY sequence, _offset
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS before
    FROM {batch}
)
WHERE timestamp < before - INTERVAL $regress SECOND

-- rule: quantities: a side has shares when it has a price, and only then
SELECT event_id, bid_price, bid_size, ask_price, ask_size
FROM {batch}
WHERE (bid_price IS NULL) != (bid_size = 0) OR (ask_price IS NULL) != (ask_size = 0)

-- rule: session: a quote is of a trading day, between 04:00 and 20:00 New York
SELECT event_id, timestamp
FROM {batch}
WHERE toUnixTimestamp64Nano(timestamp) < $early OR toUnixTimestamp64Nano(timestamp) > $late

-- rule: freshness: what latest_prices shows of a symbol is not older than its rows
SELECT rows.symbol AS symbol, rows.newest AS newest, latest.last_sequence AS shown
FROM (SELECT symbol, max(sequence) AS newest FROM {batch} GROUP BY symbol) AS rows
LEFT JOIN latest_prices AS latest ON latest.symbol = rows.symbol
-- A symbol that is not there at all has an empty one beside it.
WHERE latest.symbol != rows.symbol OR rows.newest > latest.last_sequence
