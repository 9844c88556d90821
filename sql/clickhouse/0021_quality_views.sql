-- Bars rolled up as they arrive, and views of execution quality, profit and the pipeline; views.md describes each: grain,
-- columns, checks.

-- A state that takes the highest revision: what is inserted twice changes nothing, so filling it again from
-- market_analytics repairs whatever a crash between the two tables left out.
CREATE TABLE IF NOT EXISTS bar_states
(
    symbol LowCardinality(String) COMMENT 'Instrument symbol.',
    seconds UInt32 COMMENT 'Length of the bar.',
    window_start DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the bar, inclusive, UTC.',
    window_date Date COMMENT 'UTC day of window_start, the partition.',
    bar AggregateFunction(argMax, Tuple(Decimal(18, 4), Decimal(18, 4), Decimal(18, 4), Decimal(18, 4), Decimal(18, 4), Int64, Int64), Int32) COMMENT 'Open, high, low, close, VWAP, volume and trades of the highest revision.'
)
ENGINE = AggregatingMergeTree
PARTITION BY window_date
ORDER BY (symbol, seconds, window_start)
COMMENT 'Grain: one bar of one symbol and length, as states to be merged; read it through bars.';

CREATE MATERIALIZED VIEW IF NOT EXISTS bar_states_feed TO bar_states AS
SELECT
    symbol,
    toUInt32(dateDiff('second', window_start, window_end)) AS seconds,
    window_start,
    toDate(window_start) AS window_date,
    argMaxState((assumeNotNull(open_price), assumeNotNull(high_price), assumeNotNull(low_price), assumeNotNull(close_price), assumeNotNull(vwap_price), volume, trade_count), revision) AS bar
FROM market_analytics
WHERE kind = 'BAR' AND isNotNull(open_price)
GROUP BY symbol, seconds, window_start, window_date
COMMENT 'Grain: one bar of one symbol and length of one insert. Feeds bar_states.';

CREATE OR REPLACE VIEW bars AS
SELECT
    symbol,
    seconds,
    window_start,
    window_date,
    argMaxMerge(bar) AS highest,
    tupleElement(highest, 1) AS open_price,
    tupleElement(highest, 2) AS high_price,
    tupleElement(highest, 3) AS low_price,
    tupleElement(highest, 4) AS close_price,
    tupleElement(highest, 5) AS vwap_price,
    tupleElement(highest, 6) AS volume,
    tupleElement(highest, 7) AS trades
FROM bar_states
GROUP BY symbol, seconds, window_start, window_date
COMMENT 'Grain: one bar of one symbol and length: its highest revision.';

CREATE OR REPLACE VIEW daily_bars AS
SELECT
    toDate(b.window_start, 'America/New_York') AS trading_day,
    b.symbol AS symbol,
    argMin(b.open_price, b.window_start) AS open_price,
    max(b.high_price) AS high_price,
    min(b.low_price) AS low_price,
    argMax(b.close_price, b.window_start) AS close_price,
    sum(b.volume) AS volume,
    sum(b.trades) AS trades,
    sum(toFloat64(b.vwap_price) * b.volume) / sum(b.volume) AS average_price
FROM (SELECT * FROM bars WHERE seconds = 60) AS b
GROUP BY trading_day, b.symbol
COMMENT 'Grain: one symbol and day of New York. Rolled up from the bars of a minute.';

CREATE OR REPLACE VIEW top_movers AS
SELECT
    event_date,
    symbol,
    argMin(assumeNotNull(last_price), (timestamp, sequence)) AS first_price,
    argMax(assumeNotNull(last_price), (timestamp, sequence)) AS final_price,
    min(assumeNotNull(last_price)) AS low_price,
    max(assumeNotNull(last_price)) AS high_price,
    100 * (toFloat64(final_price) / toFloat64(first_price) - 1) AS average_change_percent,
    sum(volume) AS shares,
    count() AS trades
FROM market_data
WHERE kind = 'TRADE' AND eligible AND isNotNull(last_price)
GROUP BY event_date, symbol
COMMENT 'Grain: one day and symbol. How far its price went from the first eligible trade to the last.';

CREATE OR REPLACE VIEW nbbo_as_of AS
SELECT
    symbol,
    tupleElement(argMax(tuple(bid_price), sequence), 1) AS best_bid,
    argMax(bid_size, sequence) AS best_bid_size,
    tupleElement(argMax(tuple(ask_price), sequence), 1) AS best_ask,
    argMax(ask_size, sequence) AS best_ask_size,
    tupleElement(argMax(tuple(last_price), sequence), 1) AS last_trade_price,
    argMax(timestamp, sequence) AS as_of
FROM nbbo
WHERE event_date = toDate({moment:DateTime64(9, 'UTC')}) AND timestamp <= {moment:DateTime64(9, 'UTC')}
GROUP BY symbol
COMMENT 'Grain: one symbol. Its national best bid and offer at the moment that is given, of the same UTC day.';

CREATE OR REPLACE VIEW executions_nbbo AS
WITH received AS
(
    SELECT account_id, order_id, min(timestamp) AS received_at
    FROM order_events
    WHERE (account_id, order_id) IN (SELECT account_id, order_id FROM trade_events WHERE event_date = {day:Date})
    GROUP BY account_id, order_id
)
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
    INNER JOIN received ON received.account_id = t.account_id AND received.order_id = t.order_id
) AS e
ASOF LEFT JOIN (SELECT symbol, timestamp, bid_price, ask_price FROM nbbo WHERE event_date = {day:Date}) AS n
    ON n.symbol = e.symbol AND n.timestamp <= e.received_at
COMMENT 'Grain: one side of one execution of the UTC day that is given, with the NBBO at the receipt of its order and at the execution.';

CREATE OR REPLACE VIEW realised_spreads AS
WITH last AS (SELECT symbol, max(timestamp) AS last_state_at FROM nbbo WHERE event_date = {day:Date} GROUP BY symbol)
SELECT
    e.event_id AS event_id,
    e.trade_id AS trade_id,
    e.order_id AS order_id,
    e.account_id AS account_id,
    e.symbol AS symbol,
    e.side AS side,
    e.venue AS venue,
    e.quantity AS quantity,
    e.execution_price AS execution_price,
    e.execution_time AS execution_time,
    e.later AS measured_at,
    -- What the market was later is known only when it went on until then.
    if(e.last_state_at >= e.later, (toFloat64(n.bid_price) + toFloat64(n.ask_price)) / 2, NULL) AS later_mid,
    2 * if(e.side = 'BUY', 1, -1) * (toFloat64(e.execution_price) - later_mid) AS realised_spread
FROM
(
    SELECT t.*, t.execution_time + toIntervalSecond({seconds:UInt32}) AS later, last.last_state_at AS last_state_at
    FROM (SELECT * FROM trade_events WHERE event_date = {day:Date}) AS t
    LEFT JOIN last ON last.symbol = t.symbol
) AS e
ASOF LEFT JOIN (SELECT symbol, timestamp, bid_price, ask_price FROM nbbo WHERE event_date = {day:Date}) AS n
    ON n.symbol = e.symbol AND n.timestamp <= e.later
COMMENT 'Grain: one side of one execution of the UTC day that is given, against the middle of the NBBO so many seconds later.';

CREATE OR REPLACE VIEW pnl_inputs AS
SELECT
    p.account_id AS account_id,
    p.symbol AS symbol,
    p.position_change AS position_change,
    p.bought AS bought,
    p.sold AS sold,
    p.bought_notional AS bought_notional,
    p.sold_notional AS sold_notional,
    p.commission AS commission,
    p.cash_change AS cash_change,
    l.mid_price AS mid_price,
    l.last_trade_price AS last_trade_price,
    l.as_of AS as_of,
    p.cash_change + toDecimal128(l.last_trade_price, 4) * p.position_change AS trading_result
FROM account_positions AS p
LEFT JOIN latest_prices AS l ON l.symbol = p.symbol
COMMENT 'Grain: one account and symbol. What its executions changed, valued at the last trade price of the market.';

CREATE OR REPLACE VIEW pipeline_health AS
SELECT
    topic,
    count() AS partitions,
    sum(kafka_records) AS records,
    sum(undecodable_rows) AS undecodable_records,
    undecodable_records / records AS undecodable_share,
    max(last_offset) AS highest_offset
FROM pipeline_counts
GROUP BY topic
COMMENT 'Grain: one topic that has records. How much of it is archived, and how much of that could not be decoded.';
