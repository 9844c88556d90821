"""The book that one would write first: sorted lists, and a list for each side of each symbol.

It does what the engine does for the orders of the benchmark (no self-trade prevention, no exchanges), so that both can be
compared, in speed and in what they trade. Every order that comes or goes moves all that are behind it in the list.
"""

from __future__ import annotations

from bisect import bisect_left, insort

from jobs.bench_flow import Command
from schemas.messages.enums import (
    COMMAND_TYPE_CANCEL,
    COMMAND_TYPE_NEW,
    ORDER_TYPE_LIMIT,
    ORDER_TYPE_STOP_LIMIT,
    TIME_IN_FORCE_DAY,
    TIME_IN_FORCE_FOK,
    TIME_IN_FORCE_GTC,
)

Entry = tuple[int, int, "Resting"]
"""Price, negated where the highest comes first; rank; order."""


class Resting:
    """An order, and where it stands: in a list under an entry, or nowhere."""

    __slots__ = ("command", "entry", "is_limit", "leaves", "price", "total", "where")

    def __init__(self, command: Command) -> None:
        self.command = command
        self.total = self.leaves = command.quantity
        self.price = command.worst_price
        self.is_limit = command.order_type in (ORDER_TYPE_LIMIT, ORDER_TYPE_STOP_LIMIT)
        self.where: list[Entry] = []
        self.entry: Entry = (0, 0, self)


class NaiveBooks:
    """Books of all symbols. `trades` counts, `traded` sums up shares."""

    def __init__(self) -> None:
        self.sides: dict[tuple[str, bool], list[Entry]] = {}
        self.stops: dict[tuple[str, bool], list[Entry]] = {}
        self.last: dict[str, int] = {}
        self.live: dict[str, Resting] = {}
        self.triggered: list[Resting] = []
        self.rank = self.trades = self.traded = 0

    def apply(self, command: Command) -> None:
        """Run one command."""
        if command.kind == COMMAND_TYPE_NEW:
            self.place(Resting(command))
        elif command.kind == COMMAND_TYPE_CANCEL:
            self.cancel(command.order_id)
        else:
            self.replace(command)
        while self.triggered:
            self.arrive(self.triggered.pop(0))

    def place(self, order: Resting) -> None:
        command = order.command
        stop = command.stop_price
        if stop is None:
            self.arrive(order)
            return
        last = self.last.get(command.symbol, 0)
        if last and (last >= stop if command.is_buy else last <= stop):
            self.triggered.append(order)
            return
        stops = self.stops.setdefault((command.symbol, command.is_buy), [])
        self.stand(order, stops, stop if command.is_buy else -stop)

    def cancel(self, order_id: str) -> None:
        order = self.live.pop(order_id)
        del order.where[bisect_left(order.where, order.entry)]

    def replace(self, command: Command) -> None:
        order = self.live[command.order_id]
        filled = order.total - order.leaves
        stays = command.price == order.price and command.quantity <= order.total
        if not stays:
            self.cancel(command.order_id)
        order.total, order.leaves = command.quantity, command.quantity - filled
        if not stays:
            order.price = command.worst_price
            self.arrive(order)

    def arrive(self, order: Resting) -> None:
        command = order.command
        is_buy, symbol = command.is_buy, command.symbol
        opposite = self.sides.setdefault((symbol, not is_buy), [])
        worst = order.price if is_buy else -order.price
        if command.time_in_force == TIME_IN_FORCE_FOK:
            within = (maker.leaves for price, _, maker in opposite if price <= worst)
            if sum(within) < order.leaves:
                return
        while order.leaves and opposite and opposite[0][0] <= worst:
            maker = opposite[0][2]
            part = min(order.leaves, maker.leaves)
            order.leaves -= part
            maker.leaves -= part
            self.trades += 1
            self.traded += part
            if not maker.leaves:
                del opposite[0]
                del self.live[maker.command.order_id]
            self.print(symbol, maker.price)
        if order.leaves and order.is_limit and command.time_in_force in (TIME_IN_FORCE_DAY, TIME_IN_FORCE_GTC):
            own = self.sides.setdefault((symbol, is_buy), [])
            self.stand(order, own, -order.price if is_buy else order.price)

    def stand(self, order: Resting, where: list[Entry], price: int) -> None:
        """Put an order into a list, behind all of its price."""
        self.rank += 1
        order.where, order.entry = where, (price, self.rank, order)
        insort(where, order.entry)
        self.live[order.command.order_id] = order

    def print(self, symbol: str, price: int) -> None:
        """A trade may trigger stops."""
        self.last[symbol] = price
        for is_buy in (True, False):
            stops = self.stops.get((symbol, is_buy))
            while stops and stops[0][0] <= (price if is_buy else -price):
                order = stops.pop(0)[2]
                del self.live[order.command.order_id]
                self.triggered.append(order)
