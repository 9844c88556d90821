-- The newest NBBO of each symbol, kept as it arrives, so that latest_prices and pnl_inputs read one row a symbol and not all
-- of nbbo; views.md describes them.

-- A state that takes the highest sequence, and of rows that repeat one the last in Kafka: the row itself decides, neither the
-- order of inserts nor how often it comes. So what a retried block repeats changes nothing, and filling it again from nbbo
-- repairs whatever a crash between the two tables left out. No TTL and no partitions: it has as many rows as there are symbols.
CREATE TABLE IF NOT EXISTS latest_nbbo
(
    symbol LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Instrument symbol.',
    newest AggregateFunction(argMax, Tuple(Nullable(Decimal(18, 4)), Nullable(Decimal(18, 4)), Nullable(Decimal(18, 4)), DateTime64(9, 'UTC'), Int64), Tuple(Int64, UInt64)) CODEC(ZSTD(1)) COMMENT 'Best bid, best ask, last trade price, time and sequence of the row of nbbo with the highest sequence and, of those that repeat it, the highest offset.'
)
ENGINE = AggregatingMergeTree
ORDER BY symbol
COMMENT 'Grain: one symbol. Its newest national best bid and offer, as states to be merged; read it through latest_prices.';

CREATE MATERIALIZED VIEW IF NOT EXISTS latest_nbbo_feed TO latest_nbbo AS
SELECT
    symbol,
    -- Prices in a tuple, because argMax passes over a null, and the last state may be the one that has none.
    argMaxState((bid_price, ask_price, last_price, timestamp, sequence), (sequence, _offset)) AS newest
FROM nbbo
GROUP BY symbol
COMMENT 'Grain: one symbol of one insert. Feeds latest_nbbo.';

-- What is there already; what arrives meanwhile is fed twice, which changes nothing.
INSERT INTO latest_nbbo
SELECT symbol, argMaxState((bid_price, ask_price, last_price, timestamp, sequence), (sequence, _offset))
FROM nbbo
GROUP BY symbol;

CREATE OR REPLACE VIEW latest_prices AS
SELECT
    symbol,
    tupleElement(state, 1) AS best_bid,
    tupleElement(state, 2) AS best_ask,
    (toFloat64(best_bid) + toFloat64(best_ask)) / 2 AS mid_price,
    tupleElement(state, 3) AS last_trade_price,
    tupleElement(state, 4) AS as_of,
    tupleElement(state, 5) AS last_sequence
FROM (SELECT symbol, argMaxMerge(newest) AS state FROM latest_nbbo GROUP BY symbol)
COMMENT 'Grain: one symbol. Its newest national best bid and offer, and the last trade price known with it.';
