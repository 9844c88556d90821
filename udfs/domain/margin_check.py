"""What a margin account is worth and what its positions need.

Equity: cash, and all positions at marks (instruments.py); of a future only what it has lost since its last settlement,
because a gain has no loan value until it is paid. Excess: equity less what the positions need; what open orders have
reserved of it is taken off by the caller.
Ordering: none. Invariants: pure, but for the account's cushion (cushion.py), which is brought up to date by looking at it.
Complexity: linear in the account's positions, quadratic in its options on one underlying; a cushion that stands is
constant.
"""

from __future__ import annotations

from udfs.domain.cushion import Cushion
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
        need = options_need(account, instruments, underlying, time_ns)
        initial += need
        maintenance += need
    return Worth(equity, initial, maintenance, unmarked)


def cushion_of(account: AccountState, time_ns: int) -> Cushion | None:
    """What the positions of a margin account are worth at least; None when it holds contracts, or what has no price."""
    rules = stock_margin(time_ns)
    cushion = account.cushion
    if cushion is None:
        cushion = Cushion(rules)
        account.cushion = cushion
    elif cushion.stands and cushion.rules is rules:
        return cushion
    cushion.begin(rules)
    for position in account.positions.values():
        if position.quantity != 0:
            band = position.counted_band(cushion)
            if band is None:
                return None
            cushion.count(position.quantity, band, 1)
    cushion.stands = True
    return cushion


def options_need(account: AccountState, instruments: dict[str, InstrumentState], underlying: str, time_ns: int) -> int:
    """Requirement of all options on one underlying."""
    legs: list[OptionLeg] = []
    shares = 0
    basis = instruments.get(underlying)
    for position in account.positions.values():
        instrument = position.instrument
        quantity = position.quantity
        if instrument.symbol == underlying:
            shares = quantity
        elif instrument.is_option and instrument.underlying == underlying and quantity != 0:
            legs.append(
                OptionLeg(
                    instrument.is_call,
                    instrument.strike_e4,
                    instrument.expiry_ns,
                    instrument.multiplier,
                    instrument.broad_index,
                    quantity,
                    option_mark(instrument, quantity, basis),
                )
            )
    price = 0 if basis is None else basis.mark()
    return options_requirement(option_margin(time_ns), legs, shares, price, time_ns)


def power_of(account: AccountState, instruments: dict[str, InstrumentState], time_ns: int) -> int:
    """Buying power for people: free cash, or of a margin account what its excess buys of stock at the initial rate."""
    if account.margin is None:
        return account.buying_power()
    return margin_power(account, worth_of(account, instruments, time_ns), time_ns)


def margin_power(account: AccountState, worth: Worth, time_ns: int) -> int:
    """The same when the account's worth is known."""
    return (worth.excess() - account.reserved_e4) * 10_000 // stock_margin(time_ns).initial_long
