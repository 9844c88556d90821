"""The reference of `tradestream match --rules bare`: the book alone, written to be read, not to be fast.

Ordering: one command at a time; its lines come in the order in which things happened. Every look at the book filters and
sorts the list of all live orders anew, and prices are Decimals. Nothing here is shared with udfs/domain.
Invariants, asserted after every command: no book is crossed; filled + open + cancelled = quantity of every order; both
sides of all trades sum up to the same; nobody was passed over by a trade; no stop waits whose condition the last print
met; the trigger queue is empty.
Known limits: rows have the thirteen cells of the header; the header itself is not its business.
Complexity: a command costs the number of live orders times its logarithm for each order that it meets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from match_rows import ORDER_TYPES, SIDES, STP_MODES, TIMES_IN_FORCE, Command, Line

NUMBER: Final = re.compile(r"-?[0-9]+")
PRICE: Final = re.compile(r"-?[0-9]+(\.[0-9]{1,4})?")


class Order:
    """An accepted order. `state`: waiting for its stop price, queued after it, resting in the book, or ended."""

    def __init__(self, c: Command) -> None:
        self.id, self.account, self.symbol, self.side = c.order_id, c.account_id, c.symbol, c.side
        self.type, self.tif, self.stp = c.order_type, c.time_in_force, c.stp or "NONE"
        self.price = Decimal(c.price) if c.price else None
        self.stop = Decimal(c.stop_price) if c.stop_price else None
        self.quantity = self.open = int(c.quantity)
        self.filled = self.cancelled = 0
        self.arrival = 0
        self.state = "new"
        self.triggered = False

    def is_buy(self) -> bool:
        return self.side == "BUY"

    def is_stop(self) -> bool:
        return self.type in ("STOP", "STOP_LIMIT")

    def total(self) -> int:
        """What the order is for now: what DECREMENT took off is no longer part of it."""
        return self.filled + self.open

    def crosses(self, price: Decimal) -> bool:
        """Whether the order may trade at `price`; without a limit it may trade at any."""
        if self.price is None:
            return True
        return price <= self.price if self.is_buy() else price >= self.price

    def stop_met(self, last: Decimal | None) -> bool:
        """Whether a print at `last` triggers the stop."""
        if last is None:
            return False
        return last >= self.stop if self.is_buy() else last <= self.stop


def price_text(price: Decimal | None) -> str:
    """Decimal text with at least two places and at most four, "" for no price."""
    if price is None:
        return ""
    whole, _, places = f"{price:.4f}".partition(".")
    return f"{whole}.{places[:2]}{places[2:].rstrip('0')}"


class ReferenceMatch:
    """The book alone. The small methods are there for the broken variants of the tests to replace."""

    def __init__(self, checks: bool = True) -> None:
        self.checks = checks
        self.orders: dict[str, Order] = {}
        self.live: list[Order] = []
        self.queue: list[Order] = []
        self.last: dict[str, Decimal] = {}
        self.arrivals = 0
        self.lines: list[Line] = []
        self.seq = ""
        self.bought = self.sold = 0
        self.seen: set[str] = set()

    def apply(self, c: Command) -> list[Line]:
        """Apply one command; returns the lines that it caused."""
        self.lines, self.seq = [], c.seq
        before = {o.id: (o, o.arrival) for o in self.live if o.state == "resting"} if self.checks else {}
        handle = {"NEW": self.new, "CANCEL": self.cancel, "REPLACE": self.replace}.get(c.command)
        if handle is None or not self.is_readable(c):
            self.reject(c, "VALIDATION_MALFORMED")
        else:
            handle(c)
        self.work_off_queue()
        self.live = [o for o in self.live if o.state != "ended"]
        if self.checks:
            self.check(before)
        return self.lines

    # Commands.

    def is_readable(self, c: Command) -> bool:
        """Whether the cells that the command needs hold what they must. A cancel needs none, a replacement no mode."""
        if c.command == "CANCEL":
            return True
        prices = all(text == "" or PRICE.fullmatch(text) for text in (c.price, c.stop_price))
        mode = c.command == "REPLACE" or c.stp == "" or c.stp in STP_MODES
        return bool(prices and NUMBER.fullmatch(c.quantity) and mode)

    def new(self, c: Command) -> None:
        reason = self.refusal(c)
        if reason:
            self.reject(c, reason)
            return
        order = self.orders[c.order_id] = Order(c)
        self.live.append(order)
        self.say("ACCEPTED", order, order.price, order.quantity, order.open)
        if order.is_stop():
            self.wait(order)
        else:
            self.enter(order)

    def refusal(self, c: Command) -> str:
        """Why a new order is refused, or ""."""
        if c.order_id == "":
            return "VALIDATION_ORDER_ID_INVALID"
        if c.order_id in self.orders:
            return "VALIDATION_DUPLICATE_ORDER_ID"
        if c.side not in SIDES:
            return "VALIDATION_UNSUPPORTED_SIDE"
        if c.order_type not in ORDER_TYPES:
            return "VALIDATION_UNSUPPORTED_ORDER_TYPE"
        if c.time_in_force not in TIMES_IN_FORCE:
            return "VALIDATION_UNSUPPORTED_TIME_IN_FORCE"
        if int(c.quantity) <= 0:
            return "VALIDATION_QUANTITY_NOT_POSITIVE"
        return self.price_refusal(c, c.order_type) or self.stop_price_refusal(c, c.order_type, needed=True)

    def price_refusal(self, c: Command, order_type: str) -> str:
        if order_type in ("LIMIT", "STOP_LIMIT"):
            if c.price == "":
                return "VALIDATION_PRICE_MISSING"
            return "" if Decimal(c.price) > 0 else "VALIDATION_PRICE_NOT_POSITIVE"
        return "VALIDATION_PRICE_NOT_ALLOWED" if c.price else ""

    def stop_price_refusal(self, c: Command, order_type: str, needed: bool) -> str:
        if order_type in ("STOP", "STOP_LIMIT"):
            if c.stop_price == "":
                return "VALIDATION_STOP_PRICE_MISSING" if needed else ""
            return "" if Decimal(c.stop_price) > 0 else "VALIDATION_STOP_PRICE_INVALID"
        return "VALIDATION_PRICE_NOT_ALLOWED" if c.stop_price else ""

    def refused_target(self, c: Command, unknown: str, too_late: str) -> str:
        """Why the order that a cancel or a replacement names cannot be its target, or "". No account is the owner's."""
        order = self.orders.get(c.order_id)
        if order is None:
            return unknown
        if order.state == "ended":
            return too_late
        return "" if c.account_id in ("", order.account) else "CANCEL_WRONG_ACCOUNT"

    def cancel(self, c: Command) -> None:
        reason = self.refused_target(c, "CANCEL_UNKNOWN_ORDER", "CANCEL_TOO_LATE")
        if reason:
            self.reject(c, reason)
        else:
            self.note(f"cancel {self.orders[c.order_id].state}")
            self.take_off(self.orders[c.order_id], "CANCEL_REQUESTED")

    def replace(self, c: Command) -> None:
        reason = self.refused_target(c, "REPLACE_UNKNOWN_ORDER", "REPLACE_TOO_LATE")
        if reason:
            self.reject(c, reason)
            return
        order, total = self.orders[c.order_id], int(c.quantity)
        if total <= 0:
            self.reject(c, "VALIDATION_QUANTITY_NOT_POSITIVE")
            return
        acts_as = "LIMIT" if order.triggered else order.type
        reason = self.price_refusal(c, acts_as) or self.stop_price_refusal(c, acts_as, needed=False)
        if reason:
            self.reject(c, reason)
            return
        if total <= order.filled:
            self.take_off(order, "REPLACE_FILLED")
            return
        price = Decimal(c.price) if c.price else None
        stop = Decimal(c.stop_price) if c.stop_price else order.stop
        keeps = self.keeps_place(order, total, price, stop)
        self.note(f"replace {order.state} {'keeps' if keeps else 'loses'} its place")
        if order.state == "resting" and price == order.price and order.total() < total <= order.quantity:
            self.note("replace asks back what DECREMENT took off")
        order.price = price
        if order.state == "waiting":
            order.stop = stop
        order.quantity, order.open, order.cancelled = total, total - order.filled, 0
        self.say("REPLACED", order, order.price, total, order.open)
        if order.state == "waiting":
            self.wait(order, keeps)
        elif not keeps:
            order.state = "new"
            self.enter(order)

    def keeps_place(self, order: Order, total: int, price: Decimal | None, stop: Decimal | None) -> bool:
        """Whether a replacement leaves the order where it stands."""
        same = stop == order.stop if order.state == "waiting" else price == order.price
        return same and total <= order.total()

    # Stops.

    def wait(self, order: Order, keeps: bool = False) -> None:
        """Let a stop wait, or queue it when the last print meets its condition already."""
        order.state = "waiting"
        if not keeps:
            order.arrival = self.next_arrival()
        if order.stop_met(self.last.get(order.symbol)):
            self.note("stop triggered on arrival")
            order.state = "queued"
            self.queue.append(order)

    def print_at(self, symbol: str, price: Decimal) -> None:
        """Look at one print: the stops that it triggers leave the stop book for the queue."""
        self.last[symbol] = price
        met = [o for o in self.live if o.state == "waiting" and o.symbol == symbol and o.stop_met(price)]
        for order in self.trigger_order(met):
            order.state = "queued"
            self.queue.append(order)

    def trigger_order(self, met: list[Order]) -> list[Order]:
        """Buys before sells; buys from the lowest stop price, sells from the highest; then by arrival."""
        buys = sorted((o for o in met if o.is_buy()), key=lambda o: (o.stop, o.arrival))
        sells = sorted((o for o in met if not o.is_buy()), key=lambda o: (-o.stop, o.arrival))
        if buys and sells:
            self.note("one print triggers both sides")
        if len({o.stop for o in met}) < len(met):
            self.note("one print triggers two at one stop price")
        return buys + sells

    def work_off_queue(self) -> None:
        """First in, first out; what a triggered order prints may append more."""
        length = 0
        while self.queue:
            length += 1
            order = self.queue.pop(0)
            order.triggered = True
            self.say("TRIGGERED", order, order.stop, order.open, order.open)
            self.note(f"triggered {order.type} {order.tif}")
            waiting = len(self.queue)
            self.enter(order)
            if len(self.queue) > waiting > 0:
                self.note("triggered while others are queued")
        if length > 5:
            self.note("cascade of more than five")

    # The book.

    def enter(self, order: Order) -> None:
        """An incoming order meets the book; what is left of it rests or is cancelled."""
        order.arrival = self.next_arrival()
        if order.tif == "FOK" and not self.can_fill(order):
            self.take_off(order, "MATCH_FOK_UNFILLED")
            return
        makers = 0
        while order.open > 0:
            maker = self.next_maker(order)
            if maker is None:
                break
            if order.stp != "NONE" and order.account == maker.account:
                self.prevent(order, maker)
            else:
                makers += 1
                self.trade(order, maker)
        if makers > 1 and order.tif == "FOK":
            self.note("FOK filled by several")
        if order.open == 0:
            order.state = "ended"
        elif self.rests(order):
            order.state = "resting"
        else:
            self.take_off(order, "MATCH_NO_LIQUIDITY" if order.price is None else "MATCH_IOC_REMAINDER")

    def rests(self, order: Order) -> bool:
        return order.price is not None and order.tif in ("DAY", "GTC")

    def side(self, symbol: str, buys: bool) -> list[Order]:
        """One side of a book, the next to trade first."""
        orders = [o for o in self.live if o.state == "resting" and o.symbol == symbol and o.is_buy() == buys]
        return sorted(orders, key=self.priority)

    def priority(self, order: Order) -> tuple[Decimal, int]:
        """Price, then time."""
        return (-order.price if order.is_buy() else order.price, order.arrival)

    def next_maker(self, order: Order) -> Order | None:
        """The resting order that `order` would meet next."""
        makers = self.side(order.symbol, not order.is_buy())
        return makers[0] if makers and order.crosses(makers[0].price) else None

    def can_fill(self, order: Order) -> bool:
        """The scan of a fill-or-kill order: whether all of it can trade now, without a self-trade."""
        found = 0
        for maker in self.side(order.symbol, not order.is_buy()):
            if found >= order.open or not order.crosses(maker.price):
                break
            if order.stp != "NONE" and maker.account == order.account:
                self.note(f"FOK scan meets its own, {order.stp}")
                if order.stp != "EXPIRE_MAKER":
                    break
            else:
                found += maker.open
        return found >= order.open

    def trade(self, taker: Order, maker: Order) -> None:
        quantity = min(taker.open, maker.open)
        for order in (taker, maker):
            order.open -= quantity
            order.filled += quantity
            if order.is_buy():
                self.bought += quantity
            else:
                self.sold += quantity
        if maker.open == 0:
            maker.state = "ended"
        price = self.trade_price(taker, maker)
        self.say("TRADE", taker, price, quantity, taker.open, contra=maker.id)
        self.print_at(taker.symbol, price)

    def trade_price(self, taker: Order, maker: Order) -> Decimal:
        return maker.price

    def prevent(self, taker: Order, maker: Order) -> None:
        """Self-trade prevention, in the incoming order's mode."""
        self.note(f"self-trade {taker.stp} {'limit' if taker.price is not None else 'market'}")
        if taker.stp == "DECREMENT":
            overlap = self.overlap(taker, maker)
            self.note(
                f"decrement {'equal' if taker.open == maker.open else 'maker' if overlap == maker.open else 'taker'}"
            )
            self.take_off(maker, "MATCH_SELF_TRADE", overlap)
            self.take_off(taker, "MATCH_SELF_TRADE", overlap)
            return
        if taker.stp in ("EXPIRE_MAKER", "EXPIRE_BOTH"):
            self.take_off(maker, "MATCH_SELF_TRADE")
        if taker.stp in ("EXPIRE_TAKER", "EXPIRE_BOTH"):
            self.take_off(taker, "MATCH_SELF_TRADE")

    def overlap(self, taker: Order, maker: Order) -> int:
        return min(taker.open, maker.open)

    def take_off(self, order: Order, reason: str, quantity: int | None = None) -> None:
        """Cancel `quantity` of the open shares, or all of them."""
        quantity = order.open if quantity is None else quantity
        order.open -= quantity
        order.cancelled += quantity
        if order.open == 0:
            order.state = "ended"
        self.say("CANCELLED", order, order.price, quantity, order.open, reason=reason)

    def next_arrival(self) -> int:
        self.arrivals += 1
        return self.arrivals

    # Output.

    def say(
        self,
        event: str,
        o: Order,
        price: Decimal | None,
        quantity: int,
        leaves: int,
        contra: str = "",
        reason: str = "",
    ) -> None:
        self.lines.append(
            Line(self.seq, event, o.id, contra, o.symbol, o.side, price_text(price), str(quantity), str(leaves), reason)
        )

    def reject(self, c: Command, reason: str) -> None:
        self.lines.append(Line(c.seq, "REJECTED", c.order_id, "", c.symbol, c.side, c.price, c.quantity, "0", reason))

    def note(self, situation: str) -> None:
        """Remember that a situation came up: the streams have to reach all of SITUATIONS."""
        self.seen.add(situation)

    # Invariants.

    def check(self, before: dict[str, tuple[Order, int]]) -> None:
        """Assert what holds after every command; `before` is the book as it was, with everybody's arrival."""
        assert not self.queue
        assert self.bought == self.sold
        touched = {line.order_id for line in self.lines} | {line.contra_order_id for line in self.lines}
        for order in [*self.live, *(self.orders[name] for name in touched if name in self.orders)]:
            assert min(order.filled, order.open, order.cancelled) >= 0, order.id
            assert order.filled + order.open + order.cancelled == order.quantity, order.id
            assert (order.open == 0) == (order.state == "ended"), order.id
            assert order.state in ("waiting", "resting", "ended"), order.id
            if order.state == "resting":
                assert order.price is not None and order.tif in ("DAY", "GTC"), order.id
                assert order.triggered == order.is_stop(), order.id
            if order.state == "waiting":
                assert not order.stop_met(self.last.get(order.symbol)), order.id
        for symbol in {line.symbol for line in self.lines}:
            bids, asks = self.side(symbol, True), self.side(symbol, False)
            if bids and asks:
                assert bids[0].price < asks[0].price, f"{symbol} is crossed"
        self.check_priorities(before)

    def check_priorities(self, before: dict[str, tuple[Order, int]]) -> None:
        """Nobody who stood in the book before this command was passed over by a trade, and still stands there."""
        kept = [o for o, arrival in before.values() if o.state == "resting" and o.arrival == arrival]
        for line in self.lines:
            if line.event != "TRADE" or line.contra_order_id not in before:
                continue
            maker, arrival = before[line.contra_order_id]
            for other in kept:
                if other.symbol != maker.symbol or other.is_buy() != maker.is_buy() or other is maker:
                    continue
                price = Decimal(line.price)
                better = other.price > price if other.is_buy() else other.price < price
                earlier = other.price == price and other.arrival < arrival
                assert not better and not earlier, f"{other.id} was passed over by {line}"


def run(commands: Iterable[Command], engine: type[ReferenceMatch] = ReferenceMatch, checks: bool = True) -> list[Line]:
    """All lines that `commands` cause in an empty book."""
    book = engine(checks)
    return [line for command in commands for line in book.apply(command)]
