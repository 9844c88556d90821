"""Validation of an order against reference data and the rules of form: the first check that fails gives the reason.

Ordering of the checks: account, symbol, expiry, type, self-trade prevention, time in force, side, quantity, price, stop
price, increments, session, auction cut-off, marking. (The order id is checked before, by the desk.)
Invariant: pure; an order that passes has everything that risk and matching rely on.
Marking (Rule 200 of Regulation SHO): a margin account's sale is long when it holds the shares and has not offered them,
else short; a wrong mark is refused. A cash account cannot sell short, so there it is a matter of risk. Options and
futures have no short mark.
Complexity: constant.
"""

from typing import Final

from schemas.messages.enums import (
    ASSET_CLASS_NAMES,
    ORDER_TYPE_LIMIT,
    ORDER_TYPE_NAMES,
    ORDER_TYPE_STOP,
    ORDER_TYPE_STOP_LIMIT,
    ORDER_TYPE_UNKNOWN,
    REASON_CODE_VALIDATION_ACCOUNT_INACTIVE,
    REASON_CODE_VALIDATION_AUCTION_CUTOFF,
    REASON_CODE_VALIDATION_INSTRUMENT_EXPIRED,
    REASON_CODE_VALIDATION_PRICE_INCREMENT,
    REASON_CODE_VALIDATION_PRICE_MISSING,
    REASON_CODE_VALIDATION_PRICE_NOT_ALLOWED,
    REASON_CODE_VALIDATION_PRICE_NOT_POSITIVE,
    REASON_CODE_VALIDATION_QUANTITY_NOT_POSITIVE,
    REASON_CODE_VALIDATION_QUANTITY_TOO_LARGE,
    REASON_CODE_VALIDATION_SESSION_CLOSED,
    REASON_CODE_VALIDATION_SHORT_MARKING,
    REASON_CODE_VALIDATION_STOP_PRICE_INVALID,
    REASON_CODE_VALIDATION_STOP_PRICE_MISSING,
    REASON_CODE_VALIDATION_SYMBOL_INACTIVE,
    REASON_CODE_VALIDATION_UNKNOWN_ACCOUNT,
    REASON_CODE_VALIDATION_UNKNOWN_SYMBOL,
    REASON_CODE_VALIDATION_UNSUPPORTED_ORDER_TYPE,
    REASON_CODE_VALIDATION_UNSUPPORTED_SIDE,
    REASON_CODE_VALIDATION_UNSUPPORTED_TIME_IN_FORCE,
    SIDE_BUY,
    SIDE_NAMES,
    SIDE_SELL,
    SIDE_UNKNOWN,
    STP_MODE_NAMES,
    STP_MODE_UNKNOWN,
    TIME_IN_FORCE_NAMES,
    TIME_IN_FORCE_OPG,
    TIME_IN_FORCE_UNKNOWN,
)
from schemas.messages.orders import OrderCommand
from udfs.domain.holdings import AccountState, Position
from udfs.domain.instruments import InstrumentState
from udfs.domain.money import money_text, optional_money_text
from udfs.domain.refusal import Refusal
from udfs.domain.rules import (
    MAX_PRICE_E4,
    MAX_QUANTITY,
    SUB_DOLLAR_E4,
    TICK_FLOORS,
    auction_cutoff_ns,
    minimum_increment,
)
from udfs.domain.sessions import SessionTimes

_HIGHEST_FLOOR_E4: Final = max([row.increment_e4 for row in TICK_FLOORS])
"""No row of Rule 612 asks for a larger tick, so that the usual one needs no look at the table."""


def validate(
    command: OrderCommand,
    account: AccountState | None,
    instrument: InstrumentState | None,
    session: SessionTimes | None,
    clock_ns: int,
) -> Refusal | None:
    """The first thing that is wrong with an order, or None; `session` takes orders at the order's time."""
    if account is None:
        return Refusal(REASON_CODE_VALIDATION_UNKNOWN_ACCOUNT, "account=" + command.account_id)
    if not account.active:
        return Refusal(REASON_CODE_VALIDATION_ACCOUNT_INACTIVE, "account=" + command.account_id)
    if (
        instrument is None
        or not instrument.listed
        or not instrument.tradable()
        or instrument.expiry_ns <= clock_ns
        or instrument.expiry_ns <= command.timestamp
    ):
        return validate_instrument(command, instrument, clock_ns)
    ordinary = (
        command.order_type <= ORDER_TYPE_LIMIT
        and command.time_in_force < TIME_IN_FORCE_OPG
        and command.side <= SIDE_SELL
        and command.stp < STP_MODE_UNKNOWN
        and not command.imbalance_only
    )
    refusal: Refusal | None = None
    if not ordinary:
        refusal = _validate_kind(command, instrument)
    if refusal is None:
        refusal = validate_terms(command, instrument)
    if refusal is None and (session is None or clock_ns >= session.close_ns or not ordinary):
        refusal = validate_session(command, session, clock_ns, instrument.listing)
    if refusal is not None:
        return refusal
    if account.margin is not None and not instrument.is_option and not instrument.is_future:
        return _validate_marking(command, account, instrument)
    return None


def validate_instrument(command: OrderCommand, instrument: InstrumentState | None, clock_ns: int) -> Refusal | None:
    """The symbol has to be known, traded and not expired."""
    if instrument is None or not instrument.listed:
        return Refusal(REASON_CODE_VALIDATION_UNKNOWN_SYMBOL, "symbol=" + command.symbol)
    if not instrument.tradable():
        return Refusal(REASON_CODE_VALIDATION_SYMBOL_INACTIVE, "symbol=" + command.symbol)
    if instrument.expiry_ns <= clock_ns or instrument.expiry_ns <= command.timestamp:
        return Refusal(
            REASON_CODE_VALIDATION_INSTRUMENT_EXPIRED,
            f"symbol={command.symbol} expiry_ns={instrument.expiry_ns} timestamp_ns={command.timestamp} "
            f"clock_ns={clock_ns}",
        )
    return None


def _validate_kind(command: OrderCommand, instrument: InstrumentState) -> Refusal | None:
    """Type, self-trade prevention, time in force and side."""
    order_type = command.order_type
    time_in_force = command.time_in_force
    if order_type == ORDER_TYPE_UNKNOWN:
        return Refusal(REASON_CODE_VALIDATION_UNSUPPORTED_ORDER_TYPE, "order_type=" + ORDER_TYPE_NAMES[order_type])
    if command.stp == STP_MODE_UNKNOWN:
        return Refusal(REASON_CODE_VALIDATION_UNSUPPORTED_ORDER_TYPE, "stp=" + STP_MODE_NAMES[command.stp])
    if time_in_force == TIME_IN_FORCE_UNKNOWN:
        return Refusal(
            REASON_CODE_VALIDATION_UNSUPPORTED_TIME_IN_FORCE, "time_in_force=" + TIME_IN_FORCE_NAMES[time_in_force]
        )
    if time_in_force >= TIME_IN_FORCE_OPG and order_type >= ORDER_TYPE_STOP:
        return Refusal(
            REASON_CODE_VALIDATION_UNSUPPORTED_TIME_IN_FORCE,
            f"time_in_force={TIME_IN_FORCE_NAMES[time_in_force]} order_type={ORDER_TYPE_NAMES[order_type]}",
        )
    if command.imbalance_only:
        if order_type != ORDER_TYPE_LIMIT:
            text = f"order_type={ORDER_TYPE_NAMES[order_type]} imbalance_only"
            return Refusal(REASON_CODE_VALIDATION_UNSUPPORTED_ORDER_TYPE, text)
        if time_in_force < TIME_IN_FORCE_OPG:
            text = f"time_in_force={TIME_IN_FORCE_NAMES[time_in_force]} imbalance_only"
            return Refusal(REASON_CODE_VALIDATION_UNSUPPORTED_TIME_IN_FORCE, text)
    if command.side == SIDE_UNKNOWN:
        return Refusal(REASON_CODE_VALIDATION_UNSUPPORTED_SIDE, "side=" + SIDE_NAMES[command.side])
    if command.side > SIDE_SELL and (instrument.is_option or instrument.is_future):
        return Refusal(
            REASON_CODE_VALIDATION_UNSUPPORTED_SIDE,
            f"side={SIDE_NAMES[command.side]} asset_class={ASSET_CLASS_NAMES[instrument.asset_class]}",
        )
    return None


def validate_terms(command: OrderCommand, instrument: InstrumentState) -> Refusal | None:
    """Quantity and prices: those that the type takes, and those that it does not."""
    if command.quantity <= 0:
        return Refusal(REASON_CODE_VALIDATION_QUANTITY_NOT_POSITIVE, "quantity=" + str(command.quantity))
    if command.quantity > MAX_QUANTITY:
        return Refusal(
            REASON_CODE_VALIDATION_QUANTITY_TOO_LARGE, f"quantity={command.quantity} max_quantity={MAX_QUANTITY}"
        )
    order_type = command.order_type
    price = command.price
    takes_price = takes_limit(order_type)
    takes_stop = order_type >= ORDER_TYPE_STOP
    if (command.stop_price is not None and not takes_stop) or (price is not None and not takes_price):
        return Refusal(
            REASON_CODE_VALIDATION_PRICE_NOT_ALLOWED,
            f"order_type={ORDER_TYPE_NAMES[order_type]} price={optional_money_text(price)} "
            f"stop_price={optional_money_text(command.stop_price)}",
        )
    if takes_price:
        refusal = _validate_limit(command, instrument)
        if refusal is not None:
            return refusal
    if takes_stop:
        return _validate_stop(command, instrument)
    return None


def takes_limit(order_type: int) -> bool:
    """Whether an order type has a limit price."""
    if order_type == ORDER_TYPE_LIMIT:
        return True
    return order_type == ORDER_TYPE_STOP_LIMIT


def _validate_limit(command: OrderCommand, instrument: InstrumentState) -> Refusal | None:
    """The limit price."""
    price = command.price
    if price is None:
        return Refusal(
            REASON_CODE_VALIDATION_PRICE_MISSING, f"order_type={ORDER_TYPE_NAMES[command.order_type]} price=none"
        )
    if price <= 0:
        return Refusal(REASON_CODE_VALIDATION_PRICE_NOT_POSITIVE, "price=" + money_text(price))
    if price > MAX_PRICE_E4:
        return Refusal(
            REASON_CODE_VALIDATION_PRICE_NOT_ALLOWED,
            f"price={money_text(price)} max_price={money_text(MAX_PRICE_E4)}",
        )
    increment = increment_of(price, instrument, command.timestamp)
    if price % increment != 0:
        return Refusal(
            REASON_CODE_VALIDATION_PRICE_INCREMENT, f"price={money_text(price)} increment={money_text(increment)}"
        )
    return None


def _validate_stop(command: OrderCommand, instrument: InstrumentState) -> Refusal | None:
    """The stop price."""
    price = command.stop_price
    if price is None:
        return Refusal(
            REASON_CODE_VALIDATION_STOP_PRICE_MISSING,
            f"order_type={ORDER_TYPE_NAMES[command.order_type]} stop_price=none",
        )
    if price <= 0 or price > MAX_PRICE_E4:
        return Refusal(
            REASON_CODE_VALIDATION_STOP_PRICE_INVALID,
            f"stop_price={money_text(price)} max_price={money_text(MAX_PRICE_E4)}",
        )
    increment = increment_of(price, instrument, command.timestamp)
    if price % increment != 0:
        return Refusal(
            REASON_CODE_VALIDATION_STOP_PRICE_INVALID,
            f"stop_price={money_text(price)} increment={money_text(increment)}",
        )
    return None


def increment_of(price_e4: int, instrument: InstrumentState, time_ns: int) -> int:
    """The step of prices: Rule 612 for stocks; options and futures have the tick of their contract only."""
    tick = instrument.tick_e4
    if instrument.is_option or instrument.is_future or (price_e4 >= SUB_DOLLAR_E4 and tick >= _HIGHEST_FLOOR_E4):
        return tick
    return minimum_increment(price_e4, tick, time_ns)


def validate_session(
    command: OrderCommand, session: SessionTimes | None, clock_ns: int, listing: str
) -> Refusal | None:
    """Orders are taken from a session's pre-open to its close, those for an auction until its cut-off.

    listing: the exchange that lists the instrument, which sets the cut-off.
    """
    if session is None:
        return Refusal(REASON_CODE_VALIDATION_SESSION_CLOSED, f"timestamp_ns={command.timestamp} session=none")
    if clock_ns >= session.close_ns:
        return Refusal(
            REASON_CODE_VALIDATION_SESSION_CLOSED,
            f"timestamp_ns={command.timestamp} session={session.date} close_ns={session.close_ns} clock_ns={clock_ns}",
        )
    time_in_force = command.time_in_force
    if time_in_force >= TIME_IN_FORCE_OPG:
        imbalance_only = command.imbalance_only is True
        cutoff_ns = auction_cutoff_ns(
            time_in_force, command.order_type, session.open_ns, session.close_ns, imbalance_only, listing
        )
        if command.timestamp >= cutoff_ns or clock_ns >= cutoff_ns:
            return Refusal(
                REASON_CODE_VALIDATION_AUCTION_CUTOFF,
                f"time_in_force={TIME_IN_FORCE_NAMES[time_in_force]} cutoff_ns={cutoff_ns} "
                f"timestamp_ns={command.timestamp} clock_ns={clock_ns}",
            )
    return None


def _validate_marking(command: OrderCommand, account: AccountState, instrument: InstrumentState) -> Refusal | None:
    """The mark of a margin account's sale of stock."""
    side = command.side
    if side == SIDE_BUY:
        return None
    position = account.positions.get(command.symbol)
    if side == SIDE_SELL:
        return validate_long_sale(account, position or Position(instrument), command.quantity)
    if position is not None and position.quantity > 0:
        return _wrong_mark(side, position, command.quantity)
    return None


def validate_long_sale(account: AccountState, position: Position, quantity: int) -> Refusal | None:
    """A margin account's sale of stock is long only as far as it holds shares that no open sale may take first."""
    instrument = position.instrument
    if account.margin is None or instrument.is_option or instrument.is_future or quantity <= 0:
        return None
    if position.quantity - position.offered() < quantity:
        return _wrong_mark(SIDE_SELL, position, quantity)
    return None


def _wrong_mark(side: int, position: Position, quantity: int) -> Refusal:
    """The refusal of a mark."""
    return Refusal(
        REASON_CODE_VALIDATION_SHORT_MARKING,
        f"side={SIDE_NAMES[side]} position={position.quantity} offered={position.offered()} quantity={quantity}",
    )
