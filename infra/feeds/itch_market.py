"""A Nasdaq that does not exist but sends what the real one would: seeded, deterministic, lazy ITCH messages.

Each symbol has a mid price that walks; orders are added around it, executed, reduced, replaced and deleted, so that every
message refers to what was sent before. Now and then there are trades with hidden orders, crosses, broken trades, halts and
the messages that are for information only.

Each step comes with what it says in plain values, so that a test can build its own book from them and compare.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from infra.feeds import itch_writer as itch

_OPEN_NS: Final = 34_200_000_000_000
_CENT: Final = 100


@dataclass(frozen=True, slots=True)
class ItchStep:
    """One message: its bytes, its symbol (empty: the whole market), its time, and the values that it carries."""

    kind: str
    symbol: str
    time_ns: int
    message: bytes
    order: int = 0
    new_order: int = 0
    is_bid: bool = False
    shares: int = 0
    price: int = 0
    match: int = 0
    printable: bool = True


@dataclass(slots=True)
class _Order:
    is_bid: bool
    price: int
    shares: int


@dataclass(slots=True)
class _Stock:
    """One symbol's market. `matches`: trades that were printed and not broken."""

    name: str
    locate: int
    mid: int
    orders: dict[int, _Order] = field(default_factory=dict)
    matches: list[int] = field(default_factory=list)
    halted: bool = False


class ItchMarket:
    """Makes the messages of one day. One use: `steps()` may be iterated once."""

    def __init__(
        self,
        symbols: Sequence[str],
        seed: int = 1,
        round_lots: Sequence[int] = (100,),
        halts: bool = True,
        spread: int = 6,
        may_cross: bool = False,
    ) -> None:
        """spread: how many cents from the mid orders are added. may_cross: orders of both sides may overlap."""
        self._rng = random.Random(f"itch-{seed}")
        self._halts = halts
        self._spread = spread
        self._may_cross = may_cross
        self._stocks = [
            _Stock(name, locate, self._rng.randint(20, 400) * 100 * _CENT)
            for locate, name in enumerate(symbols, start=1)
        ]
        self._lots = [round_lots[at % len(round_lots)] for at in range(len(self._stocks))]
        self._order = 0
        self._match = 0
        self._time_ns = _OPEN_NS

    def steps(self, count: int) -> Iterator[ItchStep]:
        """The directory, then so many messages of the day."""
        yield ItchStep("S", "", self._time_ns, itch.system_event(self._time_ns, b"O"))
        for stock, lot in zip(self._stocks, self._lots, strict=True):
            message = itch.stock_directory(stock.locate, self._tick(), stock.name, lot)
            yield ItchStep("R", stock.name, self._time_ns, message, shares=lot)
            message = itch.trading_action(stock.locate, self._tick(), stock.name, b"T")
            yield ItchStep("H", stock.name, self._time_ns, message, printable=True)
        for _ in range(count):
            yield self._next(self._rng.choice(self._stocks))

    def _tick(self) -> int:
        self._time_ns += self._rng.randint(0, 2_000_000)
        return self._time_ns

    def _next(self, stock: _Stock) -> ItchStep:
        rng = self._rng
        now = self._tick()
        if rng.random() < 0.1:
            stock.mid = max(100 * _CENT, stock.mid + rng.choice((-1, 1)) * _CENT)
        if not self._may_cross:
            # Whom the market has left behind goes first, as arbitrageurs see to it.
            for number, order in stock.orders.items():
                if order.price >= stock.mid if order.is_bid else order.price <= stock.mid:
                    return self._execute(stock, now, number, order, order.shares)
        choice = rng.random()
        if choice < 0.04:
            return self._rare(stock, now)
        if choice < 0.45 or not stock.orders:
            return self._add(stock, now)
        number = rng.choice(list(stock.orders)) if len(stock.orders) < 64 else next(iter(stock.orders))
        order = stock.orders[number]
        if choice < 0.58:
            return self._execute(stock, now, number, order, rng.randint(1, order.shares))
        if choice < 0.64:
            return self._execute_at(stock, now, number, order)
        if choice < 0.74 and order.shares > 1:
            shares = rng.randint(1, order.shares - 1)
            order.shares -= shares
            message = itch.order_reduced(stock.locate, now, number, shares)
            return ItchStep("X", stock.name, now, message, order=number, shares=shares)
        if choice < 0.86:
            return self._replace(stock, now, number, order)
        del stock.orders[number]
        return ItchStep("D", stock.name, now, itch.order_deleted(stock.locate, now, number), order=number)

    def _price(self, stock: _Stock, is_bid: bool) -> int:
        distance = self._rng.randint(-2 if self._may_cross else 1, self._spread) * _CENT
        return stock.mid - distance if is_bid else stock.mid + distance

    def _shares(self) -> int:
        rng = self._rng
        return rng.choice((100, 100, 200, 300, 500, rng.randint(1, 99), rng.randint(1, 99), rng.randint(100, 999)))

    def _add(self, stock: _Stock, now: int) -> ItchStep:
        is_bid = self._rng.random() < 0.5
        self._order += self._rng.randint(1, 5)
        order = _Order(is_bid, self._price(stock, is_bid), self._shares())
        stock.orders[self._order] = order
        participant = "NITE" if self._rng.random() < 0.1 else ""
        message = itch.order_added(
            stock.locate,
            now,
            self._order,
            itch.BUY if is_bid else itch.SELL,
            order.shares,
            stock.name,
            order.price,
            participant,
        )
        kind = "F" if participant else "A"
        return ItchStep(
            kind, stock.name, now, message, order=self._order, is_bid=is_bid, shares=order.shares, price=order.price
        )

    def _take(self, stock: _Stock, number: int, order: _Order, shares: int) -> None:
        order.shares -= shares
        if order.shares == 0:
            del stock.orders[number]

    def _execute(self, stock: _Stock, now: int, number: int, order: _Order, shares: int) -> ItchStep:
        self._match += 1
        stock.matches.append(self._match)
        self._take(stock, number, order, shares)
        message = itch.order_executed(stock.locate, now, number, shares, self._match)
        return ItchStep(
            "E", stock.name, now, message, order=number, shares=shares, price=order.price, match=self._match
        )

    def _execute_at(self, stock: _Stock, now: int, number: int, order: _Order) -> ItchStep:
        self._match += 1
        printable = self._rng.random() < 0.7
        if printable:
            stock.matches.append(self._match)
        shares = self._rng.randint(1, order.shares)
        price = order.price + self._rng.choice((-1, 1)) * _CENT // 2
        self._take(stock, number, order, shares)
        message = itch.order_executed_at(stock.locate, now, number, shares, self._match, price, printable)
        return ItchStep(
            "C",
            stock.name,
            now,
            message,
            order=number,
            shares=shares,
            price=price,
            match=self._match,
            printable=printable,
        )

    def _replace(self, stock: _Stock, now: int, number: int, order: _Order) -> ItchStep:
        self._order += 1
        new = _Order(order.is_bid, self._price(stock, order.is_bid), self._shares())
        del stock.orders[number]
        stock.orders[self._order] = new
        message = itch.order_replaced(stock.locate, now, number, self._order, new.shares, new.price)
        return ItchStep(
            "U", stock.name, now, message, order=number, new_order=self._order, shares=new.shares, price=new.price
        )

    def _rare(self, stock: _Stock, now: int) -> ItchStep:
        rng = self._rng
        locate, name = stock.locate, stock.name
        kind = rng.choice("PPPQBBHIYLNKJOVWSh")
        self._match += 1
        if kind == "P":
            shares, price = self._shares(), stock.mid + rng.randint(-150, 150)
            stock.matches.append(self._match)
            message = itch.trade(locate, now, shares, name, price, self._match)
            return ItchStep("P", name, now, message, shares=shares, price=price, match=self._match)
        if kind == "Q":
            shares = rng.choice((0, 12_300))
            if shares:
                stock.matches.append(self._match)
            message = itch.cross(locate, now, shares, name, stock.mid, self._match, rng.choice((b"O", b"C", b"H")))
            return ItchStep("Q", name, now, message, shares=shares, price=stock.mid, match=self._match)
        if kind == "B" and stock.matches:
            match = stock.matches.pop(rng.randrange(len(stock.matches)))
            return ItchStep("B", name, now, itch.broken_trade(locate, now, match), match=match)
        if kind == "H" and self._halts:
            stock.halted = not stock.halted
            message = itch.trading_action(locate, now, name, b"H" if stock.halted else b"T", "T1")
            return ItchStep("H", name, now, message, printable=not stock.halted)
        others = {
            "Y": itch.reg_sho(locate, now, name, b"0"),
            "L": itch.participant_position(locate, now, name, "NITE"),
            "N": itch.retail_interest(locate, now, name, b"A"),
            "K": itch.ipo_quoting(locate, now, name, 36_000, stock.mid),
            "J": itch.auction_collar(locate, now, name, stock.mid, stock.mid + 500, stock.mid - 500),
            "O": itch.direct_listing(locate, now, name, stock.mid),
        }
        if kind in others:
            return ItchStep(kind, name, now, others[kind])
        whole = {
            "V": itch.breaker_levels(now, (10**12, 9 * 10**11, 8 * 10**11)),
            "W": itch.breaker_status(now, b"1"),
            "S": itch.system_event(now, b"Q"),
        }
        if kind in whole:
            return ItchStep(kind, "", now, whole[kind])
        return ItchStep("I", name, now, itch.imbalance(locate, now, name, 5_000, 300, stock.mid))
