-- What was archived in this column is lost; Kafka has it for as long as the topic keeps it.
ALTER TABLE order_outcomes DROP COLUMN IF EXISTS `outcomes.action_ids`;
