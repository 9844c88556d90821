"""What an account is worth, what its positions need, and what one more order would take of it.

Equity: cash, and all positions at marks (instruments.py); of a future only what it has lost since its last settlement,
because a gain has no loan value until it is paid. Excess: equity less what the positions need; what open orders have
reserved of it is taken off by the caller.
What an order takes: the fall of the excess when all of it is filled at its worst price, as things are marked now, with
every other open order in its way already filled: those on its own side in its instrument, and all sales of the shares
and options that its group of an underlying relies on. Requirements are convex in the quantity of one instrument, so
that a part of a fill takes at most its part of this, and orders on both sides at most the sum of theirs.
Ordering: none. Invariants: pure.
Complexity: linear in the account's positions, quadratic in its options on one underlying.
"""

from __future__ import annotations

from udfs.domain.holdings import AccountState
from udfs.domain.instruments import InstrumentState
from udfs.domain.margin import (
    OptionLeg,
    futures_initial,
    futures_maintenance,
    options_requirement,
    stock_initial,
    stock_maintenance,
)
from udfs.domain.margin_rules import futures_margin, option_margin, stock_margin


class Worth:
    """Equity of an account and what its positions need, in 1/10,000.

    `unmarked`: a stock or future has no price at all, so that nothing should follow from the numbers.
    """

    __slots__ = ("equity_e4", "initial_e4", "maintenance_e4", "unmarked")

    def __init__(self, equity_e4: int, initial_e4: int, maintenance_e4: int, unmarked: bool) -> None:
        self.unmarked = unmarked
        self.equity_e4 = equity_e4
        self.initial_e4 = initial_e4
        self.maintenance_e4 = maintenance_e4

    def excess(self) -> int:
        """Equity above the initial requirement."""
        return self.equity_e4 - self.initial_e4

    def maintenance_excess(self) -> int:
        """Equity above the maintenance requirement."""
        return self.equity_e4 - self.maintenance_e4


class Cost:
    """What an order takes of the excess over the initial and over the maintenance requirement."""

    __slots__ = ("initial_e4", "maintenance_e4")

    def __init__(self, initial_e4: int, maintenance_e4: int) -> None:
        self.initial_e4 = initial_e4
        self.maintenance_e4 = maintenance_e4


def option_mark(option: InstrumentState, quantity: int, underlying: InstrumentState | None) -> int:
    """The mark of an option held or owed; one that is owed and not offered counts at least what it is worth exercised."""
    if quantity >= 0:
        return option.long_mark()
    mark = option.short_mark()
    if option.ask_e4 == 0 and underlying is not None:
        return max(mark, intrinsic(option, underlying.mark()))
    return mark


def intrinsic(option: InstrumentState, underlying_e4: int) -> int:
    """What exercising one unit is worth; never negative."""
    if underlying_e4 == 0:
        return 0
    value = underlying_e4 - option.strike_e4 if option.is_call else option.strike_e4 - underlying_e4
    return value if value > 0 else 0


def equity_of(account: AccountState, instruments: dict[str, InstrumentState]) -> int:
    """Cash and all positions at their marks."""
    equity = account.cash_e4
    for position in account.positions.values():
        quantity = position.quantity
        instrument = position.instrument
        if instrument.is_future:
            equity += futures_loss(instrument, quantity, position.basis_e4, position.unpriced)
        elif quantity == 0:
            continue
        elif instrument.is_option:
            mark = option_mark(instrument, quantity, instruments.get(instrument.underlying))
            equity += quantity * mark * instrument.multiplier
        else:
            equity += quantity * (instrument.long_mark() if quantity > 0 else instrument.short_mark())
    return equity


def futures_loss(future: InstrumentState, quantity: int, basis_e4: int, unpriced: int) -> int:
    """What a futures position has lost since its last settlement: 0 or less."""
    priced = quantity - unpriced
    mark = future.long_mark() if quantity >= 0 else future.short_mark()
    if mark == 0:
        return 0
    gain = (priced * mark - basis_e4) * future.multiplier
    return gain if gain < 0 else 0


def worth_of(account: AccountState, instruments: dict[str, InstrumentState], time_ns: int) -> Worth:
    """Equity and requirements of the account's positions."""
    equity = equity_of(account, instruments)
    initial = 0
    maintenance = 0
    unmarked = False
    written_on: dict[str, bool] = {}
    stock_rules = stock_margin(time_ns)
    for position in account.positions.values():
        quantity = position.quantity
        if quantity == 0:
            continue
        instrument = position.instrument
        if instrument.is_option:
            written_on[instrument.underlying] = True
        elif instrument.is_future:
            initial += futures_initial(futures_margin(time_ns), quantity, instrument.maintenance_e4)
            maintenance += futures_maintenance(quantity, instrument.maintenance_e4)
            unmarked = unmarked or instrument.mark() == 0
        else:
            mark = instrument.long_mark() if quantity > 0 else instrument.short_mark()
            unmarked = unmarked or mark == 0
            initial += stock_initial(stock_rules, quantity, mark)
            maintenance += stock_maintenance(stock_rules, quantity, mark)
    for underlying in written_on:
        need = options_need(account, instruments, underlying, False, "", 0, 0, time_ns)
        initial += need
        maintenance += need
    return Worth(equity, initial, maintenance, unmarked)


def options_need(
    account: AccountState,
    instruments: dict[str, InstrumentState],
    underlying: str,
    sold: bool,
    symbol: str,
    quantity: int,
    mark_e4: int,
    time_ns: int,
) -> int:
    """Requirement of all options on one underlying.

    sold: count every open sale as filled. symbol, quantity, mark_e4: one instrument of the group (an option or the
    underlying itself) whose quantity and, when it is not 0, mark are given instead.
    """
    legs: list[OptionLeg] = []
    shares = 0
    seen = symbol == "" or symbol == underlying
    for position in account.positions.values():
        instrument = position.instrument
        if instrument.symbol == underlying:
            shares = position.quantity - (position.offered() if sold else 0)
        elif instrument.is_option and instrument.underlying == underlying:
            units = position.quantity - (position.offered() if sold else 0)
            given = 0
            if instrument.symbol == symbol:
                seen = True
                units = quantity
                given = mark_e4
            if units != 0:
                legs.append(_leg(instrument, units, given, instruments))
    if symbol == underlying:
        shares = quantity
    elif not seen and quantity != 0:
        legs.append(_leg(instruments[symbol], quantity, mark_e4, instruments))
    if not legs:
        return 0
    basis = instruments.get(underlying)
    price = 0 if basis is None else basis.mark()
    return options_requirement(option_margin(time_ns), legs, shares, price, time_ns)


def _leg(option: InstrumentState, quantity: int, mark_e4: int, instruments: dict[str, InstrumentState]) -> OptionLeg:
    """A leg at the given mark, or at its own when that is 0."""
    mark = mark_e4 if mark_e4 else option_mark(option, quantity, instruments.get(option.underlying))
    return OptionLeg(
        option.is_call, option.strike_e4, option.expiry_ns, option.multiplier, option.broad_index, quantity, mark
    )


def order_cost(
    account: AccountState,
    instruments: dict[str, InstrumentState],
    instrument: InstrumentState,
    is_buy: bool,
    quantity: int,
    worst_e4: int,
    without: int,
    time_ns: int,
) -> Cost:
    """What an order for `quantity` takes at its worst price; `without`: open shares of it that are not to be counted."""
    position = account.positions.get(instrument.symbol)
    held = 0
    if position is not None:
        held = position.quantity
        held += position.open_buys - without if is_buy else without - position.offered()
    after = held + quantity if is_buy else held - quantity
    fees = quantity * account.commission_e4
    if instrument.is_future:
        return _future_cost(instrument, is_buy, held, after, worst_e4, fees, time_ns)
    long_mark = instrument.long_mark()
    underlying = instruments.get(instrument.underlying) if instrument.is_option else None
    short_mark = option_mark(instrument, -1, underlying) if instrument.is_option else instrument.short_mark()
    # A resting order is filled when the market has come to it, so what is opened is not marked better than its price.
    if is_buy and worst_e4 < long_mark:
        long_mark = worst_e4
    if not is_buy and worst_e4 > short_mark:
        short_mark = worst_e4
    paid = quantity * worst_e4 if is_buy else -quantity * worst_e4
    before_mark = long_mark if held > 0 else short_mark
    after_mark = long_mark if after > 0 else short_mark
    fall = (paid + held * before_mark - after * after_mark) * instrument.multiplier + fees
    if instrument.is_option:
        need = options_need(
            account, instruments, instrument.underlying, True, instrument.symbol, after, after_mark, time_ns
        ) - options_need(
            account, instruments, instrument.underlying, True, instrument.symbol, held, before_mark, time_ns
        )
        return Cost(fall + need, fall + need)
    rules = stock_margin(time_ns)
    need = 0
    if _has_options(account, instrument.symbol):
        need = options_need(
            account, instruments, instrument.symbol, True, instrument.symbol, after, 0, time_ns
        ) - options_need(account, instruments, instrument.symbol, True, instrument.symbol, held, 0, time_ns)
    return Cost(
        fall + need + stock_initial(rules, after, after_mark) - stock_initial(rules, held, before_mark),
        fall + need + stock_maintenance(rules, after, after_mark) - stock_maintenance(rules, held, before_mark),
    )


def _future_cost(
    future: InstrumentState, is_buy: bool, held: int, after: int, worst_e4: int, fees: int, time_ns: int
) -> Cost:
    """Margin of the contracts that are opened, and what the worst price is away from the mark."""
    rules = futures_margin(time_ns)
    mark = future.long_mark() if is_buy else future.short_mark()
    slip = 0
    if mark:
        slip = worst_e4 - mark if is_buy else mark - worst_e4
    fall = fees + max(slip, 0) * abs(after - held) * future.multiplier
    maintenance = future.maintenance_e4
    return Cost(
        fall + futures_initial(rules, after, maintenance) - futures_initial(rules, held, maintenance),
        fall + futures_maintenance(after, maintenance) - futures_maintenance(held, maintenance),
    )


def _has_options(account: AccountState, underlying: str) -> bool:
    """Whether the account holds, owes or offers options on it."""
    for position in account.positions.values():
        instrument = position.instrument
        if instrument.is_option and instrument.underlying == underlying and (position.quantity or position.offered()):
            return True
    return False


def power_of(account: AccountState, instruments: dict[str, InstrumentState], time_ns: int) -> int:
    """Buying power for people: free cash, or of a margin account what its excess buys of stock at the initial rate."""
    if account.margin is None:
        return account.buying_power()
    return margin_power(account, worth_of(account, instruments, time_ns), time_ns)


def margin_power(account: AccountState, worth: Worth, time_ns: int) -> int:
    """The same when the account's worth is known."""
    return (worth.excess() - account.reserved_e4) * 10_000 // stock_margin(time_ns).initial_long
