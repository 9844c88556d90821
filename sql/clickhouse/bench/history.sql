-- A made-up history for `tradestream bench archive`: one statement a table and day, generated inside the engine.
-- Each begins with "-- table: NAME share"; share: of the rows of a day. Placeholders: day (YYYY-MM-DD), number (of the day, 0, 1
-- ...), rows (of this table on the day), symbols. All numbers come from hashes of the row's number: every run makes the same.
-- Skewed: one symbol in ten has almost a third of the ticks (the square of a uniform number). A session is 6.5 hours, from 14:30 UTC.

-- table: market_data 0.46
INSERT INTO market_data (event_id, kind, symbol, exchange, bid_price, bid_size, ask_price, ask_size, last_price, volume,
    suspicious, sequence, source, timestamp, eligible, event_date, _topic, _partition, _offset, _kafka_time)
SELECT
    concat('sim-', toString(n)),
    if(quote, 'QUOTE', 'TRADE'),
    concat('S', leftPad(toString(s), 4, '0')),
    arrayElement(['XNYS', 'XNAS', 'ARCX', 'BATS', 'EDGX', 'IEXG'], 1 + h % 6),
    if(quote, toDecimal64(cents - 1, 4) / 100, NULL),
    if(quote, 100 * (1 + h % 19), 0),
    if(quote, toDecimal64(cents + 1, 4) / 100, NULL),
    if(quote, 100 * (1 + h % 23), 0),
    if(quote, NULL, toDecimal64(cents, 4) / 100),
    if(quote, 0, 1 + h % 500),
    false, n, 'simulator', at, if(quote, NULL, true), toDate('${day}'),
    'market-data', s % 4, n, toDateTime64(at, 3, 'UTC') + toIntervalMillisecond(3 + h % 17)
FROM
(
    SELECT
        number + ${number} * 1000000000 AS n,
        cityHash64(n) AS h,
        h % 5 != 0 AS quote,
        toUInt32(floor(${symbols} * pow((h % 1000003) / 1000003, 2))) AS s,
        2000 + s * 37 % 20000 + toInt64(300 * sin(number / ${rows} * 9 + s)) + toInt64(intDiv(h, 7) % 9) AS cents,
        fromUnixTimestamp64Nano(toInt64(toUnixTimestamp(toDateTime('${day} 14:30:00', 'UTC'))) * 1000000000
            + toInt64(number / ${rows} * 23400e9), 'UTC') AS at
    FROM numbers(${rows})
)
SETTINGS max_insert_block_size = 2000000, min_insert_block_size_rows = 2000000, min_insert_block_size_bytes = 2000000000;

-- table: nbbo 0.24
INSERT INTO nbbo (event_id, symbol, bid_price, bid_size, bid_exchange, ask_price, ask_size, ask_exchange, quotes.exchange,
    quotes.bid_price, quotes.bid_size, quotes.ask_price, quotes.ask_size, quotes.timestamp, last_price, sequence, timestamp,
    event_date, _topic, _partition, _offset, _kafka_time)
SELECT
    concat(symbol, '-', toString(n)), symbol, bid, 100 * (1 + h % 19), 'XNYS', ask, 100 * (1 + h % 23), 'XNAS',
    ['XNYS', 'XNAS', 'ARCX'],
    [bid, bid - toDecimal64(1, 4) / 100, bid - toDecimal64(2, 4) / 100], [100 * (1 + h % 19), 200, 300],
    [ask + toDecimal64(1, 4) / 100, ask, ask + toDecimal64(2, 4) / 100], [400, 100 * (1 + h % 23), 100],
    [at, at - toIntervalMillisecond(h % 900), at - toIntervalMillisecond(h % 1300)],
    toDecimal64(cents, 4) / 100, n, at, toDate('${day}'),
    'nbbo', s % 4, n, toDateTime64(at, 3, 'UTC') + toIntervalMillisecond(5 + h % 17)
FROM
(
    SELECT
        number + ${number} * 1000000000 AS n,
        cityHash64(n, 'nbbo') AS h,
        toUInt32(floor(${symbols} * pow((h % 1000003) / 1000003, 2))) AS s,
        concat('S', leftPad(toString(s), 4, '0')) AS symbol,
        2000 + s * 37 % 20000 + toInt64(300 * sin(number / ${rows} * 9 + s)) + toInt64(intDiv(h, 7) % 9) AS cents,
        toDecimal64(cents - 1, 4) / 100 AS bid,
        toDecimal64(cents + 1, 4) / 100 AS ask,
        fromUnixTimestamp64Nano(toInt64(toUnixTimestamp(toDateTime('${day} 14:30:00', 'UTC'))) * 1000000000
            + toInt64(number / ${rows} * 23400e9), 'UTC') AS at
    FROM numbers(${rows})
)
SETTINGS max_insert_block_size = 1000000, min_insert_block_size_rows = 1000000, min_insert_block_size_bytes = 2000000000;

-- Four events an order: validated, approved and routed, or refused; filled in full, or cancelled. One order in ten is refused.
-- table: order_events 0.18
INSERT INTO order_events (event_id, event_type, order_id, account_id, symbol, side, order_type, time_in_force, quantity, price,
    status, reason, reason_text, cum_quantity, leaves_quantity, last_quantity, last_price, trade_id, venue, sequence, cause_id,
    timestamp, event_date, _topic, _partition, _offset, _kafka_time)
SELECT
    concat('o-', toString(o), '-', toString(step)), 'STATUS', concat('o-', toString(o)), concat('A', leftPad(toString(account), 5, '0')),
    concat('S', leftPad(toString(s), 4, '0')), if(h % 2 = 0, 'BUY', 'SELL'), if(h % 4 = 0, 'MARKET', 'LIMIT'), 'DAY', shares,
    if(h % 4 = 0, NULL, toDecimal64(cents, 4) / 100),
    multiIf(h % 10 = 0 AND step = 4, 'REJECTED', step = 1, 'PENDING', step = 2, 'VALIDATED', step = 3, 'ROUTED', filled, 'EXECUTED', 'CANCELLED'),
    if(h % 10 = 0 AND step = 4, 'RISK_BUYING_POWER', 'NONE'), if(h % 10 = 0 AND step = 4, concat('needed=', toString(cents * shares)), NULL),
    if(filled AND step = 4, shares, 0), if(step = 4, 0, shares), if(filled AND step = 4, shares, 0),
    if(filled AND step = 4, toDecimal64(cents, 4) / 100, NULL), if(filled AND step = 4, concat('t-', toString(o)), NULL),
    if(filled AND step = 4, if(h % 3 = 0, 'TRDS', 'XNYS'), NULL), step, concat('orders-', toString(o % 4), '-', toString(o)),
    at, toDate('${day}'), 'order-events', o % 4, n, toDateTime64(at, 3, 'UTC') + toIntervalMillisecond(20 + h % 50)
FROM
(
    SELECT
        number + ${number} * 1000000000 AS n,
        intDiv(number, 4) + ${number} * 250000000 AS o,
        1 + number % 4 AS step,
        cityHash64(o, 'order') AS h,
        h % 10 != 0 AND h % 7 != 0 AS filled,
        intDiv(h, 11) % 5000 AS account,
        toUInt32(floor(${symbols} * pow((h % 1000003) / 1000003, 2))) AS s,
        2000 + s * 37 % 20000 + toInt64(300 * sin(number / ${rows} * 9 + s)) + toInt64(intDiv(h, 7) % 9) AS cents,
        100 * (1 + intDiv(h, 13) % 20) AS shares,
        fromUnixTimestamp64Nano(toInt64(toUnixTimestamp(toDateTime('${day} 14:30:00', 'UTC'))) * 1000000000
            + toInt64(intDiv(number, 4) * 4 / ${rows} * 23400e9), 'UTC') AS at
    FROM numbers(${rows})
)
SETTINGS max_insert_block_size = 1000000, min_insert_block_size_rows = 1000000, min_insert_block_size_bytes = 2000000000;

-- The fills of those orders, made from their events.
-- table: trade_events 0
INSERT INTO trade_events (event_id, trade_id, order_id, account_id, symbol, side, quantity, execution_price, commission,
    execution_time, venue, liquidity, bid_price, ask_price, order_sequence, cause_id, event_date, _topic, _partition, _offset,
    _kafka_time)
SELECT
    concat(assumeNotNull(trade_id), '-', side), assumeNotNull(trade_id), order_id, account_id, symbol, side, last_quantity,
    assumeNotNull(last_price), toDecimal64(last_quantity, 4) / 200, timestamp, assumeNotNull(venue),
    if(venue = 'TRDS', 'REMOVED', 'ROUTED'), last_price - toDecimal64(1, 4) / 100, last_price + toDecimal64(1, 4) / 100,
    sequence, cause_id, event_date, 'trade-events', _partition, _offset, _kafka_time
FROM order_events
WHERE event_date = '${day}' AND last_quantity > 0
SETTINGS max_insert_block_size = 1000000;

-- table: orders 0
INSERT INTO orders (command, order_id, account_id, symbol, side, order_type, time_in_force, quantity, price, timestamp,
    event_date, _topic, _partition, _offset, _kafka_time)
SELECT
    'NEW', order_id, account_id, symbol, side, order_type, time_in_force, quantity, price, timestamp, event_date, 'orders',
    _partition, _offset, _kafka_time - toIntervalMillisecond(15)
FROM order_events
WHERE event_date = '${day}' AND sequence = 1
SETTINGS max_insert_block_size = 1000000;

-- Bars of a minute, from the trades; bar_states follows by its materialised view.
-- table: market_analytics 0
INSERT INTO market_analytics (event_id, kind, symbol, window_start, window_end, revision, open_price, high_price, low_price,
    close_price, vwap_price, volume, trade_count, indicator, period, timestamp, event_date, _topic, _partition, _offset, _kafka_time)
SELECT
    concat(symbol, '-', toString(minute)), 'BAR', symbol, minute, minute + INTERVAL 60 SECOND, 0,
    argMin(assumeNotNull(last_price), timestamp), max(assumeNotNull(last_price)), min(assumeNotNull(last_price)),
    argMax(assumeNotNull(last_price), timestamp), toDecimal64(sum(toDecimal128(assumeNotNull(last_price), 4) * volume) / sum(volume), 4),
    sum(volume), count(), 'NONE', 0, max(timestamp), toDate('${day}'), 'market-analytics', any(_partition),
    toUInt64(${number} * 1000000000) + min(_offset) % 1000000000, max(_kafka_time)
FROM (SELECT *, toDateTime64(toStartOfMinute(timestamp), 9, 'UTC') AS minute FROM market_data WHERE event_date = '${day}' AND kind = 'TRADE')
GROUP BY symbol, minute
SETTINGS max_insert_block_size = 1000000;
