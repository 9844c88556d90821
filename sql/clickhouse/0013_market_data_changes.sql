-- Changes of trades and the state of feeds in market_data: columns at the place of their fields. A table of the release
-- before keeps its rows, which are null in the new columns, and a writer of the release before goes on writing while this
-- runs.

ALTER TABLE market_data
    ADD COLUMN IF NOT EXISTS eligible Nullable(Bool) CODEC(ZSTD(1)) COMMENT 'Whether the trade may set the last price, bars and triggers, of a CORRECTION the corrected one: its sale condition allows it, it is a round lot and not suspicious. Null for other kinds, and for what an earlier release wrote.' AFTER timestamp,
    ADD COLUMN IF NOT EXISTS trade_id Nullable(String) CODEC(ZSTD(1)) COMMENT 'The source''s own identity of the trade; null when it gives none.' AFTER eligible,
    ADD COLUMN IF NOT EXISTS original_event_id Nullable(String) CODEC(ZSTD(1)) COMMENT 'Set for CORRECTION and CANCEL: event_id of the trade that is changed.' AFTER trade_id,
    ADD COLUMN IF NOT EXISTS original_price Nullable(Decimal(18, 4)) CODEC(Delta, ZSTD(1)) COMMENT 'Set with original_event_id: the price that no longer holds, in the currency.' AFTER original_event_id,
    ADD COLUMN IF NOT EXISTS original_volume Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Set with original_event_id: the shares that no longer hold.' AFTER original_price,
    ADD COLUMN IF NOT EXISTS original_timestamp Nullable(DateTime64(9, 'UTC')) CODEC(Delta, ZSTD(1)) COMMENT 'Set with original_event_id: time of the trade, UTC.' AFTER original_volume,
    ADD COLUMN IF NOT EXISTS original_eligible Nullable(Bool) CODEC(ZSTD(1)) COMMENT 'Set with original_event_id: whether the trade had been eligible.' AFTER original_timestamp,
    ADD COLUMN IF NOT EXISTS missing Nullable(Int64) CODEC(T64, ZSTD(1)) COMMENT 'Set for GAP: how many numbers are missing, the last of them the one before sequence.' AFTER original_eligible,
    COMMENT COLUMN IF EXISTS kind 'What it says, QUOTE, TRADE, CORRECTION, CANCEL, GAP or STALE; it decides which of the other columns are set.',
    COMMENT COLUMN IF EXISTS exchange 'Exchange that showed the quote or printed the trade, ISO 10383; empty for GAP and STALE.',
    COMMENT COLUMN IF EXISTS last_price 'Price of the trade, of a CORRECTION the right one, in the currency; null for other kinds.',
    COMMENT COLUMN IF EXISTS volume 'Shares of this trade, of a CORRECTION the right number; 0 for other kinds.',
    COMMENT COLUMN IF EXISTS source 'Source of the raw record: lean, simulator, itch.';
