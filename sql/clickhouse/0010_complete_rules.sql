-- What the contracts grew by: columns at the place of their fields. A table of the release before keeps its rows, which are
-- null in the new columns, and a writer of the release before goes on writing while this runs.

ALTER TABLE orders
    ADD COLUMN IF NOT EXISTS locate_id Nullable(String) CODEC(ZSTD(1)) COMMENT 'Where the shares of a short sale were located (Rule 203 of Regulation SHO); null when the instrument is easy to borrow or the order is no short sale.' AFTER timestamp;

ALTER TABLE nbbo
    ADD COLUMN IF NOT EXISTS trade_high Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Highest eligible trade since the record before, in the currency; null when there was none.' AFTER timestamp,
    ADD COLUMN IF NOT EXISTS trade_low Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Lowest eligible trade since the record before, in the currency; null when there was none.' AFTER trade_high,
    ADD COLUMN IF NOT EXISTS trade_count Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Eligible trades since the record before; null for none.' AFTER trade_low,
    ADD COLUMN IF NOT EXISTS trade_price_sum Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Sum of the prices of those trades, in the currency; null for none.' AFTER trade_count;

ALTER TABLE risk_events
    ADD COLUMN IF NOT EXISTS control_id Nullable(String) CODEC(ZSTD(1)) COMMENT 'The control that was applied or refused; null for other types.' AFTER timestamp,
    ADD COLUMN IF NOT EXISTS issued_by LowCardinality(Nullable(String)) CODEC(ZSTD(1)) COMMENT 'Who issued the control; null for other types.' AFTER control_id,
    ADD COLUMN IF NOT EXISTS quantity Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Shares or contracts that a position changed by, signed; null when none did.' AFTER issued_by,
    ADD COLUMN IF NOT EXISTS cash_change Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Money that moved, in the currency, signed; null when none did.' AFTER quantity;

ALTER TABLE routing_decisions
    ADD COLUMN IF NOT EXISTS venue_fee Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Fee of the venue, in the currency per share, as known then; negative for a rebate; null when nothing is paid.' AFTER timestamp;
