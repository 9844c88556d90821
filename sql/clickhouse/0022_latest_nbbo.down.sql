CREATE OR REPLACE VIEW latest_prices AS
SELECT
    symbol,
    -- In a tuple, because argMax passes over a null, and the last state may be the one that has none.
    tupleElement(argMax(tuple(bid_price), sequence), 1) AS best_bid,
    tupleElement(argMax(tuple(ask_price), sequence), 1) AS best_ask,
    (toFloat64(best_bid) + toFloat64(best_ask)) / 2 AS mid_price,
    tupleElement(argMax(tuple(last_price), sequence), 1) AS last_trade_price,
    argMax(timestamp, sequence) AS as_of,
    max(sequence) AS last_sequence
FROM nbbo
GROUP BY symbol
COMMENT 'Grain: one symbol. Its newest national best bid and offer, and the last trade price known with it.';

DROP VIEW IF EXISTS latest_nbbo_feed SYNC;
DROP TABLE IF EXISTS latest_nbbo SYNC;
