"""What the open orders of a margin account can take of its excess, together.

Orders on one underlying form a group: its shares and all options on it; a future is a group of its own. Orders of a
group depend on each other, because shares cover calls and long options limit the loss of written ones; what one order
may take depends on which others are filled. So a group reserves the most that any combination of its orders, filled at
their worst prices, takes of the excess as things are marked now. That is found by trying them: for each instrument all
orders on a side are filled or none. Requirements are convex in what is held, so partial fills take no more than that,
and whatever is filled in whatever order, the excess less what stays reserved never falls while marks stand still. The
one exception is cover, which comes and goes a contract at a time: shares that are to be bought cover nothing yet, and a
sale of shares is also tried as if it took the cover away and brought nothing, which no part of it can surpass.
A resting order is filled when the market has come to it: what it buys is not marked above its price, what it sells short
not below, so that it never gains by its fill.
Ordering: none. Invariants: pure; a reservation is never negative.
Known limits: at most `MAX_AXES` sides of instruments of one group can have orders at once; a further one is refused.
Complexity: linear in the group's orders, and in the account's positions where there are options on it; 2 to the power of these
sides, times the options of the group squared; a stock or future without options has two sides at most.
"""

from typing import Final

from udfs.domain.corporate_actions import scaled_price
from udfs.domain.holdings import AccountState, OpenOrder, Position
from udfs.domain.instruments import InstrumentState
from udfs.domain.margin import (
    OptionLeg,
    futures_initial,
    futures_maintenance,
    options_requirement,
    stock_initial,
    stock_maintenance,
)
from udfs.domain.margin_check import Cost, option_mark
from udfs.domain.margin_rules import futures_margin, option_margin, stock_margin

MAX_AXES: Final = 8
_KINDS: Final = 3
_BUY: Final = 0
_SELL: Final = 1
_UNCOVER: Final = 2


class Work:
    """Shares of an order that may be filled, and the worst price of it; `order` is what it stands for, if any."""

    __slots__ = ("instrument", "is_buy", "quantity", "worst_e4")

    def __init__(self, instrument: InstrumentState, is_buy: bool, quantity: int, worst_e4: int) -> None:
        self.instrument = instrument
        self.is_buy = is_buy
        self.quantity = quantity
        self.worst_e4 = worst_e4


class _Holding:
    """One instrument of the group: what is held, what may be bought and sold, for how much, and marked at what."""

    __slots__ = (
        "bought",
        "bought_value_e4",
        "got_e4",
        "instrument",
        "long_mark",
        "paid_e4",
        "quantity",
        "short_mark",
        "sold",
        "sold_value_e4",
    )

    def __init__(self, instrument: InstrumentState, quantity: int, underlying: InstrumentState | None) -> None:
        self.instrument = instrument
        self.quantity = quantity
        self.long_mark: int = instrument.long_mark()
        self.short_mark: int = (
            option_mark(instrument, -1, underlying) if instrument.is_option else instrument.short_mark()
        )
        self.bought: int = 0
        self.bought_value_e4: int = 0
        self.paid_e4: int = 0
        self.sold: int = 0
        self.sold_value_e4: int = 0
        self.got_e4: int = 0

    def add(self, is_buy: bool, quantity: int, worst_e4: int) -> None:
        """Count an order in."""
        if is_buy:
            self.bought += quantity
            self.bought_value_e4 += quantity * min(worst_e4, self.long_mark)
            self.paid_e4 += quantity * worst_e4
        else:
            self.sold += quantity
            self.sold_value_e4 += quantity * max(worst_e4, self.short_mark)
            self.got_e4 += quantity * worst_e4

    def mark_after(self, quantity: int, bought: bool, sold: bool) -> int:
        """The mark of what is held or owed after fills: the average of what was there and what came, against us."""
        if quantity > 0:
            if not bought:
                return self.long_mark
            held = max(self.quantity, 0)
            return (held * self.long_mark + self.bought_value_e4) // (held + self.bought)
        if not sold:
            return self.short_mark
        owed = max(-self.quantity, 0)
        return -(-(owed * self.short_mark + self.sold_value_e4) // (owed + self.sold))


class _Need:
    """Requirements of a group, initial and maintenance, and what its instruments are worth."""

    __slots__ = ("initial_e4", "maintenance_e4", "value_e4")

    def __init__(self) -> None:
        self.initial_e4: int = 0
        self.maintenance_e4: int = 0
        self.value_e4: int = 0


def group_of(instrument: InstrumentState) -> str:
    """The name of an instrument's group."""
    return instrument.underlying if instrument.is_option else instrument.symbol


def in_group(instrument: InstrumentState, group: str) -> bool:
    """Whether an instrument belongs to a group."""
    return instrument.symbol == group if not instrument.is_option else instrument.underlying == group


def work_of(order: OpenOrder) -> Work:
    """What may be filled of an open order, under its own terms or those of any replacement that waits."""
    worst = order.worst_e4
    for terms in order.pending or []:
        worst = max(worst, terms.worst_e4) if order.is_buy else min(worst, terms.worst_e4)
    if not order.is_buy:
        for waiting in order.awaited or []:
            worst = min(worst, scaled_price(worst, waiting.action))
    return Work(order.position.instrument, order.is_buy, order.held_shares, worst)


def group_reservation(
    account: AccountState,
    instruments: dict[str, InstrumentState],
    group: str,
    extra: Work | None,
    without: OpenOrder | None,
    time_ns: int,
) -> Cost | None:
    """The most that the group's open orders can take, with `extra` and without one of them; None: too many sides."""
    basis = instruments.get(group)
    if basis is not None and basis.symbol == group and not (basis.has_options or basis.is_option or basis.is_future):
        return _stock_reservation(account, basis, extra, without, time_ns)
    works: list[Work] = []
    positions = _positions(account, instruments, group)
    for position in positions:
        for order in position.orders.values():
            if order is not without and order.held_shares > 0:
                works.append(work_of(order))
    if extra is not None:
        works.append(extra)
    if not works:
        return Cost(0, 0)
    holdings = _holdings(positions, instruments, group, works)
    calls = False
    for holding in holdings:
        instrument = holding.instrument
        if instrument.is_option and instrument.is_call and holding.quantity - holding.sold < 0:
            calls = True
    axes: list[int] = []
    for index, holding in enumerate(holdings):
        if holding.bought:
            axes.append(_KINDS * index + _BUY)
        if holding.sold:
            axes.append(_KINDS * index + _SELL)
            if calls and holding.instrument.symbol == group:
                axes.append(_KINDS * index + _UNCOVER)
    if len(axes) > MAX_AXES:
        return None
    most = Cost(0, 0)
    before = _need_now(holdings, instruments, group, time_ns)
    for chosen in range(1, 1 << len(axes)):
        cost = _cost(holdings, axes, chosen, before, instruments, group, time_ns)
        most.initial_e4 = max(most.initial_e4, cost.initial_e4)
        most.maintenance_e4 = max(most.maintenance_e4, cost.maintenance_e4)
    return most


def _stock_reservation(
    account: AccountState, stock: InstrumentState, extra: Work | None, without: OpenOrder | None, time_ns: int
) -> Cost:
    """The same for a stock without options, which most groups are: its purchases, its sales, or both are filled."""
    own = account.positions.get(stock.symbol)
    holding = _Holding(stock, 0 if own is None else own.quantity, None)
    if own is not None:
        for order in own.orders.values():
            if order is without or order.held_shares == 0:
                continue
            if order.pending is None and order.awaited is None:
                holding.add(order.is_buy, order.held_shares, order.worst_e4)
            else:
                work = work_of(order)
                holding.add(work.is_buy, work.quantity, work.worst_e4)
    if extra is not None:
        holding.add(extra.is_buy, extra.quantity, extra.worst_e4)
    most = Cost(0, 0)
    rules = stock_margin(time_ns)
    held = holding.quantity
    mark = holding.mark_after(held, False, False)
    value = held * mark
    initial = stock_initial(rules, held, mark)
    maintenance = stock_maintenance(rules, held, mark)
    for filled in range(1, 4):
        bought = filled & 1 != 0
        sold = filled & 2 != 0
        if (bought and holding.bought == 0) or (sold and holding.sold == 0):
            continue
        after = held
        fall = value
        if bought:
            after += holding.bought
            fall += holding.paid_e4
        if sold:
            after -= holding.sold
            fall -= holding.got_e4
        mark = holding.mark_after(after, bought, sold)
        fall -= after * mark
        most.initial_e4 = max(most.initial_e4, fall + stock_initial(rules, after, mark) - initial)
        most.maintenance_e4 = max(most.maintenance_e4, fall + stock_maintenance(rules, after, mark) - maintenance)
    return most


def change_cost(account: AccountState, instruments: dict[str, InstrumentState], work: Work, time_ns: int) -> Cost:
    """What one trade alone takes of the excess; negative when it gives back."""
    group = group_of(work.instrument)
    holdings = _holdings(_positions(account, instruments, group), instruments, group, [work])
    axis = 0
    for index, holding in enumerate(holdings):
        if holding.instrument is work.instrument:
            axis = _KINDS * index + (_BUY if work.is_buy else _SELL)
    before = _need_now(holdings, instruments, group, time_ns)
    return _cost(holdings, [axis], 1, before, instruments, group, time_ns)


def _positions(account: AccountState, instruments: dict[str, InstrumentState], group: str) -> list[Position]:
    """The positions of a group, in the account's order; of a group without options it is one at most."""
    basis = instruments.get(group)
    if basis is None or basis.has_options:
        return [position for position in account.positions.values() if in_group(position.instrument, group)]
    own = account.positions.get(group)
    return [own] if own is not None and in_group(own.instrument, group) else []


def _holdings(
    positions: list[Position], instruments: dict[str, InstrumentState], group: str, works: list[Work]
) -> list[_Holding]:
    """The instruments of a group that are held or ordered."""
    underlying = instruments.get(group)
    found: dict[str, _Holding] = {}
    for position in positions:
        instrument = position.instrument
        if position.quantity != 0:
            found[instrument.symbol] = _Holding(instrument, position.quantity, underlying)
    for work in works:
        instrument = work.instrument
        holding = found.get(instrument.symbol)
        if holding is None:
            holding = _Holding(instrument, 0, underlying)
            found[instrument.symbol] = holding
        holding.add(work.is_buy, work.quantity, work.worst_e4)
    return list(found.values())


def _cost(
    holdings: list[_Holding],
    axes: list[int],
    chosen: int,
    before: _Need,
    instruments: dict[str, InstrumentState],
    group: str,
    time_ns: int,
) -> Cost:
    """What the excess falls by when the chosen sides are filled."""
    quantities = [holding.quantity for holding in holdings]
    bought = [False] * len(holdings)
    sold = [False] * len(holdings)
    fall = before.value_e4
    uncovered = 0
    for bit, axis in enumerate(axes):
        if chosen >> bit & 1:
            index = axis // _KINDS
            kind = axis % _KINDS
            holding = holdings[index]
            multiplier = holding.instrument.multiplier
            future = holding.instrument.is_future
            if kind == _BUY:
                bought[index] = True
                quantities[index] += holding.bought
                fall += (holding.paid_e4 - (holding.bought_value_e4 if future else 0)) * multiplier
            elif kind == _UNCOVER:
                uncovered = holding.sold
                fall += holding.sold_value_e4 - holding.got_e4
            else:
                sold[index] = True
                quantities[index] -= holding.sold
                fall += ((holding.sold_value_e4 if future else 0) - holding.got_e4) * multiplier
    marks: list[int] = []
    for index, holding in enumerate(holdings):
        marks.append(holding.mark_after(quantities[index], bought[index], sold[index]))
    after = _need(holdings, quantities, marks, uncovered, instruments, group, time_ns)
    fall -= after.value_e4
    return Cost(
        fall + after.initial_e4 - before.initial_e4,
        fall + after.maintenance_e4 - before.maintenance_e4,
    )


def _need_now(holdings: list[_Holding], instruments: dict[str, InstrumentState], group: str, time_ns: int) -> _Need:
    """Requirements and value of what is held."""
    quantities = [holding.quantity for holding in holdings]
    marks = [holding.mark_after(holding.quantity, False, False) for holding in holdings]
    return _need(holdings, quantities, marks, 0, instruments, group, time_ns)


def _need(
    holdings: list[_Holding],
    quantities: list[int],
    marks: list[int],
    uncovered: int,
    instruments: dict[str, InstrumentState],
    group: str,
    time_ns: int,
) -> _Need:
    """Requirements and value of the group when these quantities are held; `uncovered` shares cover nothing."""
    need = _Need()
    legs: list[OptionLeg] = []
    shares = 0
    for index, holding in enumerate(holdings):
        quantity = quantities[index]
        if quantity == 0:
            continue
        instrument = holding.instrument
        mark = marks[index]
        if instrument.is_future:
            need.initial_e4 += futures_initial(futures_margin(time_ns), quantity, instrument.maintenance_e4)
            need.maintenance_e4 += futures_maintenance(quantity, instrument.maintenance_e4)
            continue
        need.value_e4 += quantity * mark * instrument.multiplier
        if instrument.is_option:
            legs.append(
                OptionLeg(
                    instrument.is_call,
                    instrument.strike_e4,
                    instrument.expiry_ns,
                    instrument.multiplier,
                    instrument.broad_index,
                    quantity,
                    mark,
                )
            )
        else:
            # Shares that were bought on the way do not cover yet.
            shares = min(quantity, holding.quantity - uncovered)
            rules = stock_margin(time_ns)
            need.initial_e4 += stock_initial(rules, quantity, mark)
            need.maintenance_e4 += stock_maintenance(rules, quantity, mark)
    if legs:
        basis = instruments.get(group)
        price = 0 if basis is None else basis.mark()
        options = options_requirement(option_margin(time_ns), legs, shares, price, time_ns)
        need.initial_e4 += options
        need.maintenance_e4 += options
    return need
