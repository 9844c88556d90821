"""Limits of Rule 15c3-5(c)(1) that an account may have beyond those of a single order, and how they are changed.

Ordering of the checks: price deviation, order rate, duplicates, open orders, value approved in the session; the first
that fails counts. Concentration and firm capital come after the account's position limit, before its money.
Invariants: the checks change nothing; `count_order` and `record_order` are what they look at later.
Choices: the rate is of order time, the client's: an order is refused when the account's N-th last order lies less than
a second from it, on either side. A duplicate is an order with the same terms as one that was approved at most the
window before. The value approved in a session is not given back when an order ends unfilled. Firm capital is the value
of what is open and of what was filled in the session, all accounts together; each account shard has an equal part of
it, because no shard can wait for the others before it answers.
Known limits: concentration is of one symbol and of its sector (`CONCENTRATION` has the multiple), in the equity of the
account; futures have no value and are limited by their margin.
Complexity: constant, but concentration, which is linear in the account's positions.
"""

from typing import Final

from schemas.messages.enums import (
    LIMIT_KIND_CONCENTRATION,
    LIMIT_KIND_DAILY_NOTIONAL,
    LIMIT_KIND_OPEN_ORDERS,
    LIMIT_KIND_ORDER_NOTIONAL,
    LIMIT_KIND_ORDER_QUANTITY,
    LIMIT_KIND_ORDER_RATE,
    LIMIT_KIND_POSITION,
    LIMIT_KIND_PRICE_DEVIATION,
    ORDER_TYPE_LIMIT,
    ORDER_TYPE_STOP_LIMIT,
    REASON_CODE_RISK_CONCENTRATION,
    REASON_CODE_RISK_DAILY_NOTIONAL,
    REASON_CODE_RISK_DUPLICATE_ORDER,
    REASON_CODE_RISK_FIRM_CAPITAL,
    REASON_CODE_RISK_OPEN_ORDERS,
    REASON_CODE_RISK_ORDER_RATE,
    REASON_CODE_RISK_PRICE_DEVIATION,
    SIDE_BUY,
)
from schemas.messages.orders import OrderCommand
from schemas.messages.reference_data import Account
from udfs.domain.holdings import NO_LIMIT, AccountState
from udfs.domain.instruments import InstrumentState
from udfs.domain.money import money_text
from udfs.domain.refusal import Refusal

SECOND_NS: Final = 1_000_000_000
MAX_RATE: Final = 1_000_000
FIRST_LIMIT: Final = LIMIT_KIND_ORDER_QUANTITY
"""Limits are kept in the order of LimitKind, from this one on."""


class ConcentrationRow:
    """How far an account's concentration limit goes beyond one symbol, in 1/10,000; 0 is not checked."""

    __slots__ = ("effective_from_ns", "sector_multiple", "source", "volume_share")

    def __init__(self, effective_from_ns: int, sector_multiple: int, volume_share: int, source: str) -> None:
        self.effective_from_ns = effective_from_ns
        self.sector_multiple = sector_multiple
        self.volume_share = volume_share
        self.source = source


CONCENTRATION: Final[list[ConcentrationRow]] = [
    ConcentrationRow(0, 20_000, 2_500, "house policy; no regulator sets a number"),
]
"""Of an account with a concentration limit: a sector may have `sector_multiple` times the limit of one symbol, and an
order `volume_share` of the average daily volume."""


def published_limits(account: Account) -> list[int]:
    """The limits of an account's record in the order of LimitKind; `NO_LIMIT` where it has none."""
    return [
        account.max_order_quantity,
        account.max_order_notional,
        account.max_position,
        NO_LIMIT if account.max_daily_notional is None else account.max_daily_notional,
        NO_LIMIT if account.max_orders_per_second is None else account.max_orders_per_second,
        NO_LIMIT if account.max_open_orders is None else account.max_open_orders,
        NO_LIMIT if account.max_concentration is None else account.max_concentration,
        NO_LIMIT if account.max_price_deviation is None else account.max_price_deviation,
    ]


def set_limit(account: AccountState, index: int, value: int) -> None:
    """Set the limit with this index in `published_limits`."""
    kind = index + FIRST_LIMIT
    if kind == LIMIT_KIND_ORDER_QUANTITY:
        account.max_order_quantity = value
    elif kind == LIMIT_KIND_ORDER_NOTIONAL:
        account.max_order_notional_e4 = value
    elif kind == LIMIT_KIND_POSITION:
        account.max_position = value
    elif kind == LIMIT_KIND_DAILY_NOTIONAL:
        account.max_daily_notional_e4 = value
    elif kind == LIMIT_KIND_ORDER_RATE:
        account.max_orders_per_second = min(value, MAX_RATE)
        # The newest orders that the new limit looks at, oldest first.
        times = account.order_times[account.order_times_at :] + account.order_times[: account.order_times_at]
        keep = min(len(times), max(account.max_orders_per_second, 0))
        account.order_times = times[len(times) - keep :]
        account.order_times_at = 0
    elif kind == LIMIT_KIND_OPEN_ORDERS:
        account.max_open_orders = value
    elif kind == LIMIT_KIND_CONCENTRATION:
        account.max_concentration = value
    elif kind == LIMIT_KIND_PRICE_DEVIATION:
        account.max_price_deviation = value


def check_deviation(command: OrderCommand, account: AccountState, instrument: InstrumentState) -> Refusal | None:
    """A limit price too far beyond the market, or beyond the stop price that precedes it, is taken for an error."""
    allowed = account.max_price_deviation
    price = command.price
    if allowed < 0 or price is None:
        return None
    is_buy = command.side == SIDE_BUY
    reference = 0
    if command.order_type == ORDER_TYPE_LIMIT:
        reference = instrument.short_mark() if is_buy else instrument.long_mark()
    elif command.order_type == ORDER_TYPE_STOP_LIMIT:
        reference = command.stop_price or 0
    if reference == 0:
        return None
    beyond = price - reference if is_buy else reference - price
    if beyond * 10_000 <= reference * allowed:
        return None
    found = -(-beyond * 10_000 // reference)
    return Refusal(
        REASON_CODE_RISK_PRICE_DEVIATION,
        f"price={money_text(price)} reference={money_text(reference)} max_deviation_bp={allowed} deviation_bp={found}",
        allowed,
        found,
    )


def check_rate(command: OrderCommand, account: AccountState) -> Refusal | None:
    """Too many orders in a second of order time."""
    limit = account.max_orders_per_second
    if limit < 0 or len(account.order_times) < limit:
        return None
    if limit > 0:
        away = command.timestamp - account.order_times[account.order_times_at]
        if away >= SECOND_NS or away <= -SECOND_NS:
            return None
    return Refusal(
        REASON_CODE_RISK_ORDER_RATE,
        f"orders_in_a_second={limit + 1} max_orders_per_second={limit}",
        limit,
        limit + 1,
    )


def count_order(command: OrderCommand, account: AccountState) -> None:
    """Remember the time of an order or replacement that was judged and not refused for its rate."""
    limit = account.max_orders_per_second
    if limit <= 0:
        return
    times = account.order_times
    if len(times) < limit:
        times.append(command.timestamp)
        return
    times[account.order_times_at] = command.timestamp
    account.order_times_at += 1
    if account.order_times_at == limit:
        account.order_times_at = 0


def terms_key(command: OrderCommand) -> str:
    """What makes two orders the same, as a text."""
    return (
        f"{command.symbol}\n{command.side},{command.order_type},{command.time_in_force},{command.quantity},"
        f"{command.price},{command.stop_price}"
    )


def check_duplicate(command: OrderCommand, account: AccountState) -> Refusal | None:
    """An order with the terms of one that was approved a moment ago."""
    window = account.duplicate_window_ms
    if window < 0:
        return None
    last = account.recent_terms.get(terms_key(command))
    if last is None:
        return None
    age_ns = command.timestamp - last
    if age_ns > window * 1_000_000 or age_ns < -window * 1_000_000:
        return None
    return Refusal(
        REASON_CODE_RISK_DUPLICATE_ORDER,
        f"age_ms={age_ns // 1_000_000} duplicate_window_ms={window}",
        window,
        age_ns // 1_000_000,
    )


def record_order(command: OrderCommand, account: AccountState) -> None:
    """Remember the terms of an approved order while the window lasts."""
    window_ns = account.duplicate_window_ms * 1_000_000
    if window_ns < 0:
        return
    recent = account.recent_terms
    key = terms_key(command)
    if key in recent:
        del recent[key]
    recent[key] = command.timestamp
    while True:
        oldest = next(iter(recent))
        if recent[oldest] + window_ns >= command.timestamp:
            return
        del recent[oldest]


def check_open_orders(account: AccountState) -> Refusal | None:
    """Too many orders at once."""
    limit = account.max_open_orders
    if limit < 0 or account.open_orders < limit:
        return None
    return Refusal(
        REASON_CODE_RISK_OPEN_ORDERS,
        f"open_orders={account.open_orders} max_open_orders={limit}",
        limit,
        account.open_orders + 1,
    )


def check_daily_notional(account: AccountState, notional_e4: int) -> Refusal | None:
    """The value approved in the session, with this order."""
    limit = account.max_daily_notional_e4
    if limit < 0 or account.day_notional_e4 + notional_e4 <= limit:
        return None
    return Refusal(
        REASON_CODE_RISK_DAILY_NOTIONAL,
        f"approved_today={money_text(account.day_notional_e4)} notional={money_text(notional_e4)} "
        f"max_daily_notional={money_text(limit)}",
        limit,
        account.day_notional_e4 + notional_e4,
    )


def check_firm(used_e4: int, value_e4: int, limit_e4: int, shards: int) -> Refusal | None:
    """This shard's part of the firm's capital threshold."""
    if limit_e4 < 0:
        return None
    part = limit_e4 // shards
    if used_e4 + value_e4 <= part:
        return None
    return Refusal(
        REASON_CODE_RISK_FIRM_CAPITAL,
        f"used={money_text(used_e4)} value={money_text(value_e4)} firm_capital={money_text(limit_e4)} shards={shards} "
        f"part={money_text(part)}",
        part,
        used_e4 + value_e4,
    )


def check_concentration(
    account: AccountState, instrument: InstrumentState, is_buy: bool, added: int, equity_e4: int, time_ns: int
) -> Refusal | None:
    """The share of one symbol, of its sector and of its daily volume, after `added` more units on the order's side."""
    limit = account.max_concentration
    if limit < 0 or instrument.is_future:
        return None
    after = _units_after(account, instrument.symbol, is_buy, added)
    if after == 0:
        return None
    value = after * (instrument.short_mark() or instrument.long_mark()) * instrument.multiplier
    if value * 10_000 > equity_e4 * limit:
        return _concentrated("symbol", instrument.symbol, value, equity_e4, limit)
    row = CONCENTRATION[0]
    for candidate in CONCENTRATION:
        if candidate.effective_from_ns <= time_ns:
            row = candidate
    volume_part = instrument.average_volume * row.volume_share // 10_000
    if volume_part > 0 and added > volume_part:
        return Refusal(
            REASON_CODE_RISK_CONCENTRATION,
            f"quantity={added} average_volume={instrument.average_volume} max_share_bp={row.volume_share}",
            volume_part,
            added,
        )
    if instrument.sector and row.sector_multiple > 0:
        for position in account.positions.values():
            other = position.instrument
            if other.sector == instrument.sector and other is not instrument and not other.is_future:
                value += abs(position.quantity) * other.mark() * other.multiplier
        sector_limit = limit * row.sector_multiple // 10_000
        if value * 10_000 > equity_e4 * sector_limit:
            return _concentrated("sector", instrument.sector, value, equity_e4, sector_limit)
    return None


def _units_after(account: AccountState, symbol: str, is_buy: bool, added: int) -> int:
    """Units held or owed when all open orders on the order's side and the order are filled; 0 when it only closes."""
    position = account.positions.get(symbol)
    if position is None:
        return added
    open_orders = position.open_buys if is_buy else position.offered()
    held = position.quantity if is_buy else -position.quantity
    return max(held + open_orders + added, 0)


def _concentrated(what: str, name: str, value_e4: int, equity_e4: int, limit: int) -> Refusal:
    """The refusal of too large a part."""
    share = 10_000 * value_e4 // equity_e4 if equity_e4 > 0 else 10_000
    return Refusal(
        REASON_CODE_RISK_CONCENTRATION,
        f"{what}={name} value={money_text(value_e4)} equity={money_text(equity_e4)} max_share_bp={limit}",
        limit,
        share,
    )
