-- What was archived in these columns is lost; Kafka has it for as long as the topic keeps it.
ALTER TABLE market_data
    COMMENT COLUMN kind 'Quote or trade; it decides which of the fields below are set.',
    COMMENT COLUMN exchange 'Exchange that showed the quote or printed the trade.',
    COMMENT COLUMN last_price 'Price of the trade, in the currency; null for a quote.',
    COMMENT COLUMN volume 'Shares of this trade; 0 for a quote.',
    COMMENT COLUMN source 'Source of the raw record: lean, simulator.';
ALTER TABLE market_data
    DROP COLUMN IF EXISTS missing,
    DROP COLUMN IF EXISTS original_eligible,
    DROP COLUMN IF EXISTS original_timestamp,
    DROP COLUMN IF EXISTS original_volume,
    DROP COLUMN IF EXISTS original_price,
    DROP COLUMN IF EXISTS original_event_id,
    DROP COLUMN IF EXISTS trade_id,
    DROP COLUMN IF EXISTS eligible;
