"""Validation of an order against reference data and the rules of form: the first check that fails gives the reason.

Ordering of the checks: account, symbol, type, time in force, side, quantity, price, increment, session. (The order id
is checked before, by the shard.)
Invariant: pure; an order that passes has everything that risk and matching rely on.
Known limits: market and limit orders, DAY and IOC, buy and sell; self-trade prevention is refused as unsupported.
Complexity: constant.
"""

from schemas.messages.enums import (
    ORDER_TYPE_LIMIT,
    ORDER_TYPE_MARKET,
    ORDER_TYPE_NAMES,
    REASON_CODE_VALIDATION_ACCOUNT_INACTIVE,
    REASON_CODE_VALIDATION_PRICE_INCREMENT,
    REASON_CODE_VALIDATION_PRICE_MISSING,
    REASON_CODE_VALIDATION_PRICE_NOT_ALLOWED,
    REASON_CODE_VALIDATION_PRICE_NOT_POSITIVE,
    REASON_CODE_VALIDATION_QUANTITY_NOT_POSITIVE,
    REASON_CODE_VALIDATION_QUANTITY_TOO_LARGE,
    REASON_CODE_VALIDATION_SESSION_CLOSED,
    REASON_CODE_VALIDATION_SYMBOL_INACTIVE,
    REASON_CODE_VALIDATION_UNKNOWN_ACCOUNT,
    REASON_CODE_VALIDATION_UNKNOWN_SYMBOL,
    REASON_CODE_VALIDATION_UNSUPPORTED_ORDER_TYPE,
    REASON_CODE_VALIDATION_UNSUPPORTED_SIDE,
    REASON_CODE_VALIDATION_UNSUPPORTED_TIME_IN_FORCE,
    SIDE_BUY,
    SIDE_NAMES,
    SIDE_SELL,
    STP_MODE_NAMES,
    STP_MODE_NONE,
    TIME_IN_FORCE_DAY,
    TIME_IN_FORCE_IOC,
    TIME_IN_FORCE_NAMES,
)
from schemas.messages.orders import OrderCommand
from udfs.domain.accounts import AccountState
from udfs.domain.money import money_text, optional_money_text
from udfs.domain.reference import InstrumentState
from udfs.domain.rules import MAX_PRICE_E4, MAX_QUANTITY, price_increment
from udfs.domain.sessions import SessionTimes


class Refusal:
    """Why an order is refused: the reason, its numbers as text, and (for risk) the limit and what was found."""

    __slots__ = ("limit", "observed", "reason", "text")

    def __init__(self, reason: int, text: str, limit: int | None = None, observed: int | None = None) -> None:
        self.reason = reason
        self.text = text
        self.limit: int | None = limit
        self.observed: int | None = observed


def validate(
    command: OrderCommand,
    account: AccountState | None,
    instrument: InstrumentState | None,
    session: SessionTimes | None,
    clock_ns: int,
) -> Refusal | None:
    """The first thing that is wrong with an order, or None; `session` is the one open at the order's time."""
    if account is None:
        return Refusal(REASON_CODE_VALIDATION_UNKNOWN_ACCOUNT, "account=" + command.account_id)
    if not account.active:
        return Refusal(REASON_CODE_VALIDATION_ACCOUNT_INACTIVE, "account=" + command.account_id)
    if instrument is None or not instrument.listed:
        return Refusal(REASON_CODE_VALIDATION_UNKNOWN_SYMBOL, "symbol=" + command.symbol)
    if not instrument.active:
        return Refusal(REASON_CODE_VALIDATION_SYMBOL_INACTIVE, "symbol=" + command.symbol)
    if command.order_type != ORDER_TYPE_LIMIT and command.order_type != ORDER_TYPE_MARKET:
        return Refusal(
            REASON_CODE_VALIDATION_UNSUPPORTED_ORDER_TYPE, "order_type=" + ORDER_TYPE_NAMES[command.order_type]
        )
    if command.stp != STP_MODE_NONE:
        return Refusal(REASON_CODE_VALIDATION_UNSUPPORTED_ORDER_TYPE, "stp=" + STP_MODE_NAMES[command.stp])
    if command.time_in_force != TIME_IN_FORCE_DAY and command.time_in_force != TIME_IN_FORCE_IOC:
        return Refusal(
            REASON_CODE_VALIDATION_UNSUPPORTED_TIME_IN_FORCE,
            "time_in_force=" + TIME_IN_FORCE_NAMES[command.time_in_force],
        )
    if command.side != SIDE_BUY and command.side != SIDE_SELL:
        return Refusal(REASON_CODE_VALIDATION_UNSUPPORTED_SIDE, "side=" + SIDE_NAMES[command.side])
    if command.quantity <= 0:
        return Refusal(REASON_CODE_VALIDATION_QUANTITY_NOT_POSITIVE, "quantity=" + str(command.quantity))
    if command.quantity > MAX_QUANTITY:
        return Refusal(
            REASON_CODE_VALIDATION_QUANTITY_TOO_LARGE, f"quantity={command.quantity} max_quantity={MAX_QUANTITY}"
        )
    refusal = _validate_price(command, instrument)
    if refusal is not None:
        return refusal
    if session is None:
        return Refusal(REASON_CODE_VALIDATION_SESSION_CLOSED, f"timestamp_ns={command.timestamp} session=none")
    if clock_ns >= session.close_ns:
        return Refusal(
            REASON_CODE_VALIDATION_SESSION_CLOSED,
            f"timestamp_ns={command.timestamp} session={session.date} close_ns={session.close_ns} clock_ns={clock_ns}",
        )
    return None


def _validate_price(command: OrderCommand, instrument: InstrumentState) -> Refusal | None:
    """Check the prices that the order type takes, and those that it does not."""
    price = command.price
    if command.stop_price is not None or (price is not None and command.order_type == ORDER_TYPE_MARKET):
        return Refusal(
            REASON_CODE_VALIDATION_PRICE_NOT_ALLOWED,
            f"order_type={ORDER_TYPE_NAMES[command.order_type]} price={optional_money_text(price)} "
            f"stop_price={optional_money_text(command.stop_price)}",
        )
    if command.order_type == ORDER_TYPE_MARKET:
        return None
    if price is None:
        return Refusal(REASON_CODE_VALIDATION_PRICE_MISSING, "order_type=LIMIT price=none")
    if price <= 0:
        return Refusal(REASON_CODE_VALIDATION_PRICE_NOT_POSITIVE, "price=" + money_text(price))
    if price > MAX_PRICE_E4:
        return Refusal(
            REASON_CODE_VALIDATION_PRICE_NOT_ALLOWED,
            f"price={money_text(price)} max_price={money_text(MAX_PRICE_E4)}",
        )
    increment = price_increment(price, instrument.tick_e4)
    if price % increment != 0:
        return Refusal(
            REASON_CODE_VALIDATION_PRICE_INCREMENT, f"price={money_text(price)} increment={money_text(increment)}"
        )
    return None
