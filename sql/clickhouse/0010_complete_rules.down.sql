-- What was archived in these columns is lost; Kafka has it for as long as the topics keep it.
ALTER TABLE routing_decisions DROP COLUMN IF EXISTS venue_fee;
ALTER TABLE risk_events
    DROP COLUMN IF EXISTS cash_change,
    DROP COLUMN IF EXISTS quantity,
    DROP COLUMN IF EXISTS issued_by,
    DROP COLUMN IF EXISTS control_id;
ALTER TABLE nbbo
    DROP COLUMN IF EXISTS trade_price_sum,
    DROP COLUMN IF EXISTS trade_count,
    DROP COLUMN IF EXISTS trade_low,
    DROP COLUMN IF EXISTS trade_high;
ALTER TABLE orders DROP COLUMN IF EXISTS locate_id;
