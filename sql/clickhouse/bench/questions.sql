-- The common questions of analysts, asked by `tradestream bench archive` of a history of twenty days and more.
-- Each begins with "-- question: WORDS". Placeholders: day (the last one), noon (its middle, UTC), symbol, account, order.

-- question: latest price of every symbol
SELECT * FROM latest_prices;

-- question: NBBO of every symbol at a moment
SELECT * FROM nbbo_as_of(moment = '${noon}');

-- question: bars of a minute of one symbol and day
SELECT window_start, open_price, high_price, low_price, close_price, volume FROM bars
WHERE symbol = '${symbol}' AND seconds = 60 AND window_date = '${day}' ORDER BY window_start;

-- question: daily bars of one symbol
SELECT * FROM daily_bars WHERE symbol = '${symbol}' ORDER BY trading_day;

-- question: bars of five minutes of one symbol and day, from its ticks
SELECT toStartOfInterval(timestamp, INTERVAL 5 MINUTE) AS bar, argMin(last_price, (timestamp, sequence)) AS open, max(last_price) AS high,
    min(last_price) AS low, argMax(last_price, (timestamp, sequence)) AS close, sum(volume) AS shares
FROM market_data WHERE kind = 'TRADE' AND symbol = '${symbol}' AND event_date = '${day}' GROUP BY bar ORDER BY bar;

-- question: top movers of a day
SELECT * FROM top_movers WHERE event_date = '${day}' ORDER BY abs(average_change_percent) DESC LIMIT 10;

-- question: the life of one order
SELECT * FROM order_lifecycle WHERE order_id = '${order}';

-- question: the orders of one account on a day
SELECT order_id, argMax(status, sequence) AS final, max(cum_quantity) AS filled FROM order_events
WHERE account_id = '${account}' AND event_date = '${day}' GROUP BY order_id;

-- question: executions of one symbol and day with their NBBO
SELECT count(), sum(notional), avg(effective_spread) FROM executions WHERE symbol = '${symbol}' AND event_date = '${day}';

-- question: fills by venue on a day
SELECT * FROM fills_by_venue WHERE event_date = '${day}';

-- question: rejects by reason on a day
SELECT * FROM rejects_by_reason WHERE event_date = '${day}';

-- question: activity of one account on a day
SELECT * FROM account_activity WHERE event_date = '${day}' AND account_id = '${account}';

-- question: positions of one account
SELECT * FROM account_positions WHERE account_id = '${account}';

-- question: profit of one account at the newest prices
SELECT * FROM pnl_inputs WHERE account_id = '${account}';

-- question: effective spread of a day by venue, NBBO at receipt
SELECT venue, count(), avg(effective_spread) FROM executions_nbbo(day = '${day}') GROUP BY venue;

-- question: realised spread of a day by venue after five minutes
SELECT venue, count(), avg(realised_spread) FROM realised_spreads(day = '${day}', seconds = 300) GROUP BY venue;

-- question: is everything here
SELECT * FROM pipeline_health;
