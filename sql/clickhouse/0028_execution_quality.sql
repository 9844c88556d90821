-- Execution quality in the amended form of Rule 605 (17 CFR 242.605), day by day; views.md describes each view: grain, columns,
-- checks. Every view of a day reads that day alone, so memory goes with the day; a month is the sum of its days.

CREATE OR REPLACE VIEW rule_605_terms AS
SELECT
    toDate('2026-08-01') AS since,
    [0, 250, 1000, 5000, 10000, 20000, 50000, 200000] AS notional_bands,
    [100000, 1000000, 10000000, 1000000000, 10000000000, 30000000000, 300000000000] AS speed_steps_ns,
    [50000000, 1000000000, 15000000000, 60000000000, 300000000000] AS horizons_ns,
    [250, 1000, 10000] AS lot_prices,
    [100, 40, 10, 1] AS lot_shares,
    'Rel. 34-99679 (89 FR 26428), compliance date of Rel. 34-104147, layout of Rel. 34-103939, round lots of Rel. 34-101070' AS source
COMMENT 'Grain: one version of the numbers of Rule 605: size bands, steps of speed, horizons, round lots. A change is a row more.';

CREATE OR REPLACE VIEW quotes_605 AS
SELECT
    symbol,
    timestamp,
    tupleElement(state, 1) AS bid,
    tupleElement(state, 2) AS bid_size,
    tupleElement(state, 3) AS ask,
    tupleElement(state, 4) AS ask_size,
    bid > 0 AND ask > 0 AS two_sided
FROM
(
    SELECT
        symbol,
        timestamp,
        argMax((ifNull(bid_price, toDecimal64(0, 4)), bid_size, ifNull(ask_price, toDecimal64(0, 4)), ask_size), (sequence, _offset)) AS state
    FROM nbbo
    WHERE event_date = {day:Date}
    GROUP BY symbol, timestamp
)
COMMENT 'Grain: one symbol and time of the UTC day that is given: the NBBO from then on. An empty side is 0.';

CREATE OR REPLACE VIEW receipts_605 AS
WITH
    (
        SELECT if(count() > 0, (max(assumeNotNull(session_open_time)), max(assumeNotNull(session_close_time))), (
            toTimeZone(toDateTime64(concat(toString({day:Date}), ' 09:30:00'), 9, 'America/New_York'), 'UTC'),
            toTimeZone(toDateTime64(concat(toString({day:Date}), ' 16:00:00'), 9, 'America/New_York'), 'UTC')))
        FROM reference_data
        WHERE key = concat('session:', toString({day:Date})) AND isNotNull(session_open_time) AND isNotNull(session_close_time)
    ) AS hours
SELECT
    k.order_id AS order_id,
    k.account_id AS account_id,
    k.version AS version,
    k.symbol AS symbol,
    k.side AS side,
    k.time_in_force AS time_in_force,
    k.is_stop AS is_stop,
    k.is_market AS is_market,
    k.limit_price AS limit_price,
    k.shares AS shares,
    k.received_at AS received_at,
    k.triggered_at AS triggered_at,
    k.ended_at AS ended_at,
    k.open_shares AS open_shares,
    k.is_rejected AS is_rejected,
    k.fills AS fills,
    k.opens AS opens,
    k.closes AS closes,
    -- A quote of both sides at receipt, or else the first one after it.
    k.known OR f.two_sided AS is_classified,
    if(k.known, k.moment, f.timestamp) AS classified_at,
    if(k.known, k.bid, f.bid) AS bid,
    if(k.known, k.ask, f.ask) AS ask,
    k.known AND k.received_at >= k.opens AND k.received_at < k.closes AS in_regular_hours
FROM
(
    SELECT v.*, n.bid AS bid, n.ask AS ask, n.two_sided AND v.moment < v.closes AS known, if(known, '', v.symbol) AS unknown_symbol
    FROM
    (
        SELECT
            order_id,
            account_id,
            version,
            any(symbol) AS symbol,
            any(side) AS side,
            any(time_in_force) AS time_in_force,
            -- A stop order that was triggered before it was replaced is one no more.
            argMin(order_type, sequence) IN ('STOP', 'STOP_LIMIT') AND argMin(triggers, sequence) = 0 AS is_stop,
            argMin(order_type, sequence) IN ('MARKET', 'STOP') AS is_market,
            ifNull(tupleElement(argMin(tuple(price), sequence), 1), toDecimal64(0, 4)) AS limit_price,
            argMin(if(sequence = 1, quantity, leaves_quantity), sequence) AS shares,
            -- By sequence: input times of one order need not rise.
            argMin(timestamp, sequence) AS received_at,
            minIf(timestamp, event_type = 'TRIGGERED') AS triggered_at,
            any(next_begin) AS replaced_at,
            if(replaced_at > 0, 0, argMax(leaves_quantity, sequence)) AS open_shares,
            multiIf(replaced_at > 0, replaced_at, open_shares > 0, closes, argMax(timestamp, sequence)) AS ended_at,
            max(status = 'REJECTED') AS is_rejected,
            arraySort(groupArrayIf((timestamp, sequence, ifNull(last_price, toDecimal64(0, 4)), last_quantity, ifNull(toString(venue), '')), last_quantity > 0)) AS fills,
            -- What a subquery gives as a value may be null for ClickHouse; this one has a row.
            assumeNotNull(tupleElement(hours, 1)) AS opens,
            assumeNotNull(tupleElement(hours, 2)) AS closes,
            greatest(if(is_stop, triggered_at, received_at), opens) AS moment
        FROM
        (
            SELECT
                *,
                max(if(begins, sequence, 0)) OVER (PARTITION BY order_id, account_id ORDER BY sequence) AS version,
                sum(event_type = 'TRIGGERED') OVER (PARTITION BY order_id, account_id ORDER BY sequence) AS triggers,
                minIf(timestamp, begins) OVER (PARTITION BY order_id, account_id ORDER BY sequence ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS next_begin
            FROM
            (
                SELECT
                    order_id, account_id, symbol, side, time_in_force, order_type, price, quantity, leaves_quantity, timestamp, sequence,
                    event_type, status, last_price, last_quantity, venue,
                    -- A replacement ends the order and begins it anew: it is received once more, for what is open.
                    sequence = 1 OR (event_type = 'STATUS' AND status = 'REPLACED') AS begins
                FROM order_events
                WHERE event_date = {day:Date} AND event_type NOT IN ('CANCEL_REJECTED', 'REPLACE_REJECTED')
            )
        )
        WHERE version > 0
        GROUP BY order_id, account_id, version
    ) AS v
    ASOF LEFT JOIN quotes_605(day = {day:Date}) AS n ON n.symbol = v.symbol AND n.timestamp <= v.moment
) AS k
ASOF LEFT JOIN
(
    SELECT *
    FROM quotes_605(day = {day:Date})
    WHERE two_sided AND timestamp >= assumeNotNull(tupleElement(hours, 1)) AND timestamp < assumeNotNull(tupleElement(hours, 2))
) AS f ON f.symbol = k.unknown_symbol AND f.timestamp >= k.moment
COMMENT 'Grain: one order of the UTC day that is given, from its receipt or its replacement on, with the NBBO by which it is classified.';

CREATE OR REPLACE VIEW orders_605 AS
WITH
    (SELECT argMax((notional_bands, lot_prices, lot_shares), since) FROM rule_605_terms WHERE since <= {day:Date}) AS terms
SELECT
    o.order_id AS order_id,
    o.account_id AS account_id,
    o.version AS version,
    o.symbol AS symbol,
    o.side AS side,
    o.order_type AS order_type,
    if(empty(tupleElement(terms, 1)), 0, arrayElement(tupleElement(terms, 1), -1 + arrayFirstIndex(step -> step > o.notional, arrayPushBack(tupleElement(terms, 1), 9000000000000)))) AS order_size,
    multiIf(
        o.shares < arrayElement(tupleElement(terms, 3), arrayFirstIndex(top -> toDecimal64(top, 4) >= o.lot_price, arrayPushBack(tupleElement(terms, 2), 9000000000))), 'ODD',
        'ROUND') AS lot_size,
    o.shares AS shares,
    o.notional AS notional,
    o.received_at AS received_at,
    o.executable_at AS executable_at,
    o.closes AS closes,
    b.bid AS bid,
    b.bid_size AS bid_size,
    b.ask AS ask,
    b.ask_size AS ask_size,
    o.fills AS fills,
    arraySum(fill -> tupleElement(fill, 4), o.fills) AS executed_shares,
    o.shares - executed_shares - o.open_shares AS cancelled_shares,
    o.open_shares AS open_shares,
    multiIf(
        empty(tupleElement(terms, 1)), 'RULE_NOT_IN_FORCE',
        o.is_rejected, 'REJECTED',
        o.is_contract, 'NOT_A_STOCK',
        o.time_in_force IN ('OPG', 'CLS'), 'OPENING_OR_CLOSING_PRICE',
        o.time_in_force = 'FOK', 'ALL_OR_NONE',
        o.side = 'SELL_SHORT' AND o.is_restricted, 'SHORT_SALE_PRICE_TEST',
        arrayExists(fill -> tupleElement(fill, 1) < o.opens OR tupleElement(fill, 1) >= o.closes, o.fills), 'EXECUTED_OUTSIDE_HOURS',
        o.is_stop AND (o.triggered_at < o.opens OR o.triggered_at >= o.closes), 'NEVER_EXECUTABLE',
        NOT o.is_classified, 'NO_NBBO',
        NOT o.is_stop AND NOT o.in_regular_hours AND (o.received_at < o.opens OR o.received_at >= o.closes) AND (o.is_market OR o.is_marketable), 'RECEIVED_OUTSIDE_HOURS',
        NOT o.is_stop AND NOT o.in_regular_hours AND (o.is_market OR o.is_marketable), 'NO_NBBO_AT_RECEIPT',
        o.executable_at < o.opens, 'NEVER_EXECUTABLE',
        '') AS exclusion
FROM
(
    SELECT
        r.*,
        r.side = 'BUY' AS buys,
        NOT r.is_market AND if(buys, r.limit_price >= r.ask, r.limit_price <= r.bid) AS is_marketable,
        NOT r.is_market AND if(buys, 2 * r.limit_price >= r.bid + r.ask, 2 * r.limit_price <= r.bid + r.ask) AS is_within_midpoint,
        -- Market or limit; marketable; at the midpoint or better; immediate or cancel; stop.
        concat(
            if(r.is_market, 'MXX', if(is_marketable, 'LYN', if(is_within_midpoint AND NOT r.is_stop, 'LNY', 'LNN'))),
            if(r.time_in_force = 'IOC' AND NOT r.is_market AND NOT r.is_stop, 'Y', 'N'),
            if(r.is_stop, 'Y', 'N')) AS order_type,
        -- What the limit does not reach waits until the quote comes to it, or until somebody trades at it.
        NOT r.is_market AND NOT r.is_stop AND NOT if(buys, r.limit_price >= r.bid, r.limit_price <= r.ask) AS waits,
        multiIf(
            NOT waits, r.classified_at,
            w.found_at > 0 AND (empty(r.fills) OR w.found_at < tupleElement(r.fills[1], 1)), w.found_at,
            notEmpty(r.fills), tupleElement(r.fills[1], 1),
            toDateTime64(0, 9, 'UTC')) AS executable_at,
        toDecimal128(if(r.is_market, if(buys, r.ask, r.bid), r.limit_price), 4) * r.shares AS notional,
        if(i.prior_close > 0, i.prior_close, (r.bid + r.ask) / 2) AS lot_price,
        is_contract,
        is_restricted
    FROM receipts_605(day = {day:Date}) AS r
    LEFT JOIN
    (
        SELECT c.order_id AS found_order, c.account_id AS found_account, c.version AS found_version, min(q.timestamp) AS found_at
        FROM
        (
            SELECT
                d.order_id, d.account_id, d.version, d.symbol, d.buys, d.limit_price, d.classified_at, d.until,
                arrayJoin([toStartOfMinute(d.classified_at), minIf(m.minute, m.minute > toStartOfMinute(d.classified_at))]) AS minute
            FROM
            (
                SELECT order_id, account_id, version, symbol, side = 'BUY' AS buys, limit_price, classified_at, least(ended_at, closes) AS until
                FROM receipts_605(day = {day:Date})
                WHERE is_classified AND NOT is_market AND NOT is_stop AND NOT if(buys, limit_price >= bid, limit_price <= ask)
            ) AS d
            INNER JOIN
            (
                SELECT symbol, toStartOfMinute(timestamp) AS minute, min(bid) AS lowest_bid, max(ask) AS highest_ask
                FROM quotes_605(day = {day:Date})
                WHERE two_sided
                GROUP BY symbol, minute
            ) AS m ON m.symbol = d.symbol
            WHERE m.minute >= toStartOfMinute(d.classified_at) AND m.minute <= d.until
                AND if(d.buys, d.limit_price >= m.lowest_bid, d.limit_price <= m.highest_ask)
            GROUP BY d.order_id, d.account_id, d.version, d.symbol, d.buys, d.limit_price, d.classified_at, d.until
        ) AS c
        INNER JOIN (SELECT *, toStartOfMinute(timestamp) AS minute FROM quotes_605(day = {day:Date}) WHERE two_sided) AS q
            ON q.symbol = c.symbol AND q.minute = c.minute
        WHERE q.timestamp > c.classified_at AND q.timestamp <= c.until AND if(c.buys, c.limit_price >= q.bid, c.limit_price <= q.ask)
        GROUP BY found_order, found_account, found_version
    ) AS w ON w.found_order = r.order_id AND w.found_account = r.account_id AND w.found_version = r.version
    LEFT JOIN
    (
        SELECT
            assumeNotNull(instrument_symbol) AS instrument,
            argMax(ifNull(instrument_prior_close, toDecimal64(0, 4)), (effective_from, _offset)) AS prior_close,
            argMax(ifNull(toString(instrument_asset_class), 'STOCK') IN ('OPTION', 'FUTURE', 'INDEX'), (effective_from, _offset)) AS is_contract
        FROM reference_data
        WHERE isNotNull(instrument_symbol) AND effective_from < toDateTime64({day:Date} + 1, 9, 'UTC')
        GROUP BY instrument
    ) AS i ON i.instrument = r.symbol
    ASOF LEFT JOIN
    (
        SELECT symbol AS restricted_symbol, timestamp AS restricted_at, argMax(short_sale_restricted, _offset) AS is_restricted
        FROM market_status WHERE event_date = {day:Date} GROUP BY restricted_symbol, restricted_at
    ) AS s ON s.restricted_symbol = r.symbol AND s.restricted_at <= r.received_at
) AS o
ASOF LEFT JOIN quotes_605(day = {day:Date}) AS b ON b.symbol = o.symbol AND b.timestamp <= o.executable_at
COMMENT 'Grain: one order of the UTC day that is given, from its receipt or its replacement on: its category in Rule 605, or why it has none.';

CREATE OR REPLACE VIEW order_fills_605 AS
WITH
    (SELECT argMax(horizons_ns, since) FROM rule_605_terms WHERE since <= {day:Date}) AS horizons
SELECT
    e.order_id AS order_id,
    e.account_id AS account_id,
    e.version AS version,
    e.symbol AS symbol,
    e.side AS side,
    e.order_type AS order_type,
    e.order_size AS order_size,
    e.lot_size AS lot_size,
    e.shares AS shares,
    e.notional AS notional,
    e.cancelled_shares AS cancelled_shares,
    e.displayed_shares AS displayed_shares,
    e.bid AS bid,
    e.ask AS ask,
    e.fill_number AS fill_number,
    e.sequence AS sequence,
    e.venue AS venue,
    e.quantity AS quantity,
    e.price AS price,
    e.executed_at AS executed_at,
    greatest(0, toUnixTimestamp64Nano(e.executed_at) - toUnixTimestamp64Nano(e.executable_at)) AS waited_ns,
    if(e.bid > 0 AND e.ask > 0, toNullable(e.ask - e.bid), NULL) AS quoted_spread,
    if(isNull(quoted_spread), NULL, if(e.side = 'BUY', 1, -1) * (2 * e.price - e.bid - e.ask)) AS effective_spread,
    if(isNull(quoted_spread), NULL, if(e.side = 'BUY', e.ask - e.price, e.price - e.bid)) AS improvement,
    arrayMap(found -> tupleElement(found, 2), arraySort(found -> tupleElement(found, 1), groupArray((
        e.horizon_ns, if(n.two_sided, toNullable(if(e.side = 'BUY', 1, -1) * (2 * e.price - n.bid - n.ask)), NULL))))) AS realised_spreads
FROM
(
    SELECT
        *,
        arrayJoin(horizons) AS horizon_ns,
        -- The last quote of regular hours where the horizon ends after them.
        least(addNanoseconds(executed_at, horizon_ns), subtractNanoseconds(closes, 1)) AS measured_at
    FROM
    (
        SELECT
            order_id, account_id, version, symbol, side, order_type, order_size, lot_size, executable_at, closes, bid, ask,
            shares, notional, cancelled_shares, if(side = 'BUY', ask_size, bid_size) AS displayed_shares,
            arrayJoin(arrayZip(arrayEnumerate(known), known)) AS numbered,
            if(empty(fills), [(executable_at, toInt32(0), toDecimal64(0, 4), toInt64(0), '')], fills) AS known,
            tupleElement(numbered, 1) AS fill_number,
            tupleElement(tupleElement(numbered, 2), 1) AS executed_at,
            tupleElement(tupleElement(numbered, 2), 2) AS sequence,
            tupleElement(tupleElement(numbered, 2), 3) AS price,
            tupleElement(tupleElement(numbered, 2), 4) AS quantity,
            tupleElement(tupleElement(numbered, 2), 5) AS venue
        FROM orders_605(day = {day:Date})
        WHERE exclusion = ''
    )
) AS e
ASOF LEFT JOIN quotes_605(day = {day:Date}) AS n ON n.symbol = e.symbol AND n.timestamp <= e.measured_at
GROUP BY ALL
COMMENT 'Grain: one execution of a covered order of the UTC day that is given, or a row without one for an order that had none.';

CREATE OR REPLACE VIEW executions_605 AS
SELECT
    order_id, account_id, version, sequence, symbol, side, order_type, order_size, lot_size, venue, quantity, price, executed_at, waited_ns,
    bid, ask, quoted_spread, effective_spread, improvement, realised_spreads
FROM order_fills_605(day = {day:Date})
WHERE sequence > 0
COMMENT 'Grain: one execution of a covered order of the UTC day that is given, against the quote when it became executable and later ones.';

CREATE OR REPLACE VIEW execution_quality_605 AS
WITH
    (SELECT argMax(speed_steps_ns, since) FROM rule_605_terms WHERE since <= {day:Date}) AS steps
SELECT
    symbol,
    lot_size,
    order_size,
    order_type,
    countIf(fill_number = 1) AS covered_orders,
    sumIf(notional, fill_number = 1) AS covered_notional,
    sumIf(shares, fill_number = 1) AS covered_shares,
    sumIf(f.cancelled_shares, fill_number = 1) AS cancelled_shares,
    countIf(fill_number = 1 AND sequence > 0) AS filled_orders,
    -- The rest was executed by another market centre; our own is TRDS.
    sumIf(quantity, venue = 'TRDS') AS executed_shares,
    sumIf(quantity, venue != 'TRDS') AS executed_away_shares,
    sumForEach(arrayMap(place -> if(place = arrayCount(step -> step <= waited_ns, steps), quantity, 0), range(length(steps) + 1))) AS speed_shares,
    sum(toInt128(waited_ns) * quantity) AS share_ns,
    sumForEach(arrayMap(spread -> if(isNull(spread), 0, quantity), realised_spreads)) AS realised_shares,
    sumForEach(arrayMap(spread -> ifNull(spread, toDecimal64(0, 4)) * quantity, realised_spreads)) AS realised_amounts,
    sumIf(quantity, quoted) AS quoted_shares,
    sumIf((bid + ask) * quantity, quoted) AS bid_ask_amount,
    sum(ifNull(quoted_spread, 0) * quantity) AS quoted_amount,
    sum(ifNull(effective_spread, 0) * quantity) AS effective_amount,
    sumIf(quantity, quoted AND better > 0) AS improved_shares,
    sumIf(better * quantity, quoted AND better > 0) AS improved_amount,
    sumIf(toInt128(waited_ns) * quantity, quoted AND better > 0) AS improved_share_ns,
    sumIf(quantity, quoted AND better = 0) AS at_quote_shares,
    sumIf(toInt128(waited_ns) * quantity, quoted AND better = 0) AS at_quote_share_ns,
    sumIf(quantity, quoted AND better < 0) AS outside_shares,
    sumIf(-better * quantity, quoted AND better < 0) AS outside_amount,
    sumIf(toInt128(waited_ns) * quantity, quoted AND better < 0) AS outside_share_ns,
    -- The displayed size beside each execution, at most what the order asked for; and what more than it the order got as well or better.
    sumIf(least(shares, displayed_shares), fill_number = 1 AND sequence > 0) AS benchmark_shares,
    sumIf(greatest(0, executed_well - displayed_shares), fill_number = 1 AND shares > displayed_shares) AS outsized_shares
FROM
(
    SELECT
        *,
        isNotNull(improvement) AS quoted,
        ifNull(improvement, 0) AS better,
        sumIf(quantity, quoted AND better >= 0) OVER (PARTITION BY order_id, account_id, version) AS executed_well
    FROM order_fills_605(day = {day:Date})
) AS f
GROUP BY symbol, lot_size, order_size, order_type
COMMENT 'Grain: one symbol, lot size, size band and order type of the UTC day that is given: the sums behind every statistic of Rule 605.';
