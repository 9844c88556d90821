-- Which corporate actions changed an order: a field of the list of outcomes, whose columns do not come by themselves.

ALTER TABLE order_outcomes
    ADD COLUMN IF NOT EXISTS `outcomes.action_ids` Array(Nullable(String)) CODEC(ZSTD(1)) COMMENT 'One entry for each order that changed. Corporate actions that gave the order new terms in the batch, one identity a line; empty when the session''s actions left them as they were; null when none looked at it.' AFTER `outcomes.replaces_refused`;
