-- What was archived in this column is lost; Kafka has it for as long as the topic keeps it.
CREATE OR REPLACE VIEW executions AS
SELECT
    event_date,
    execution_time,
    trade_id,
    event_id,
    order_id,
    contra_order_id,
    account_id,
    symbol,
    side,
    liquidity,
    venue,
    quantity,
    execution_price,
    toDecimal128(execution_price, 4) * quantity AS notional,
    commission,
    if(side = 'BUY', -1, 1) * notional - commission AS cash_change,
    if(side = 'BUY', quantity, -quantity) AS position_change,
    bid_price,
    ask_price,
    (toFloat64(bid_price) + toFloat64(ask_price)) / 2 AS mid_price,
    2 * if(side = 'BUY', 1, -1) * (toFloat64(execution_price) - mid_price) AS effective_spread,
    if(side = 'BUY', toDecimal128(ask_price, 4) - execution_price, execution_price - toDecimal128(bid_price, 4)) AS price_improvement
FROM trade_events
COMMENT 'Grain: one side of one execution, beside the national best bid and offer known then.';

ALTER TABLE order_outcomes
    COMMENT COLUMN IF EXISTS `outcomes.commission` 'One entry for each order that changed. Commission of those fills, in the currency.';

ALTER TABLE trade_events
    COMMENT COLUMN IF EXISTS commission 'Commission charged to the account, in the currency.',
    DROP COLUMN IF EXISTS fees;
