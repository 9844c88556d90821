"""Pre-trade risk of an order that is valid: limits of the order, then the account's shares and money.

Ordering of the checks: order quantity, reference price, order notional, position, buying power; the first that fails
counts.
Invariants: pure, nothing is reserved here; an approved purchase can always be paid at its worst price with commission,
an approved sale can always be delivered.
Source: the structure of checks follows Rule 15c3-5(c)(1), financial thresholds and erroneous-order limits before
routing.
Complexity: constant.
"""

from schemas.messages.enums import (
    ORDER_TYPE_LIMIT,
    REASON_CODE_RISK_BUYING_POWER,
    REASON_CODE_RISK_INSUFFICIENT_POSITION,
    REASON_CODE_RISK_NO_REFERENCE_PRICE,
    REASON_CODE_RISK_ORDER_NOTIONAL,
    REASON_CODE_RISK_ORDER_QUANTITY,
    REASON_CODE_RISK_POSITION_LIMIT,
    SIDE_BUY,
)
from schemas.messages.orders import OrderCommand
from udfs.domain.accounts import AccountState
from udfs.domain.money import money_text
from udfs.domain.reference import InstrumentState
from udfs.domain.rules import collar_price
from udfs.domain.validation import Refusal


def worst_price(command: OrderCommand, instrument: InstrumentState) -> int:
    """The price that an order never executes beyond: its limit, or a market order's collar; 0 when there is none."""
    price = command.price
    if command.order_type == ORDER_TYPE_LIMIT and price is not None:
        return price
    is_buy = command.side == SIDE_BUY
    reference = instrument.ask_e4 if is_buy else instrument.bid_e4
    if reference == 0:
        return 0
    return collar_price(is_buy, reference, instrument.tick_e4, command.timestamp)


def reserve_per_share(is_buy: bool, worst_e4: int, commission_e4: int) -> int:
    """Money that each share of an order reserves.

    A purchase reserves its worst price and the commission. A sale brings at least its worst price, so it reserves only
    what the commission may take beyond that; with it no fill can make the free cash negative.
    """
    if is_buy:
        return worst_e4 + commission_e4
    return commission_e4 - worst_e4 if commission_e4 > worst_e4 else 0


def assess(command: OrderCommand, account: AccountState, instrument: InstrumentState, worst_e4: int) -> Refusal | None:
    """The first limit that an order breaks, or None; `worst_e4` is its `worst_price`."""
    quantity = command.quantity
    is_buy = command.side == SIDE_BUY
    if quantity > account.max_order_quantity:
        return Refusal(
            REASON_CODE_RISK_ORDER_QUANTITY,
            f"quantity={quantity} max_order_quantity={account.max_order_quantity}",
            account.max_order_quantity,
            quantity,
        )
    if worst_e4 == 0:
        side = "ask" if is_buy else "bid"
        return Refusal(REASON_CODE_RISK_NO_REFERENCE_PRICE, f"symbol={command.symbol} national_best_{side}=none")
    # A market sale is worth what the market bids; the collar is only the least that it may bring.
    valued_at = worst_e4 if is_buy or command.order_type == ORDER_TYPE_LIMIT else instrument.bid_e4
    notional = quantity * valued_at
    if notional > account.max_order_notional_e4:
        return Refusal(
            REASON_CODE_RISK_ORDER_NOTIONAL,
            f"notional={money_text(notional)} max_order_notional={money_text(account.max_order_notional_e4)} "
            f"price={money_text(valued_at)}",
            account.max_order_notional_e4,
            notional,
        )
    held = 0
    open_buys = 0
    open_sells = 0
    position = account.positions.get(command.symbol)
    if position is not None:
        held = position.quantity
        open_buys = position.open_buys
        open_sells = position.open_sells
    if is_buy:
        if held + open_buys + quantity > account.max_position:
            return Refusal(
                REASON_CODE_RISK_POSITION_LIMIT,
                f"position={held} open_buys={open_buys} quantity={quantity} max_position={account.max_position}",
                account.max_position,
                held + open_buys + quantity,
            )
    elif held - open_sells < quantity:
        return Refusal(
            REASON_CODE_RISK_INSUFFICIENT_POSITION,
            f"position={held} open_sells={open_sells} quantity={quantity}",
            held - open_sells,
            quantity,
        )
    required = quantity * reserve_per_share(is_buy, worst_e4, account.commission_e4)
    available = account.buying_power()
    if required > 0 and required > available:
        return Refusal(
            REASON_CODE_RISK_BUYING_POWER,
            f"required={money_text(required)} available={money_text(available)} cash={money_text(account.cash_e4)} "
            f"reserved={money_text(account.reserved_e4)}",
            available,
            required,
        )
    return None
