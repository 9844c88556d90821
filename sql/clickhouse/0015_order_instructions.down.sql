-- What was archived in these columns is lost; Kafka has it for as long as the topic keeps it.
ALTER TABLE orders
    DROP COLUMN IF EXISTS do_not_reduce,
    DROP COLUMN IF EXISTS imbalance_only;
