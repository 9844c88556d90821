"""The order book of one symbol: price-time priority.

Ordering: better prices first; at one price, the order that came first. A fill keeps an order's place.
Invariants: an order is in at most one level, with a positive open quantity; a level's `quantity` and `count` are the
sums over its orders; while trading is continuous the best bid is below the best ask (checked by `Book.check`, because
matching has to keep it).
Known limits: all orders are displayed; reserve and hidden orders do not exist.
Complexity: add, cancel and fill cost O(1) at a price that has a level, and O(log levels) at a new one; `available` costs
O(k log k) for the k levels that it has to look at. Nothing depends on the number of orders, and nothing is put off: no
single command pays for many before it. A level that has become empty stays for a while, because its price is often used
again: it goes when it comes to the top of the heap, or when `_KEPT` others have become empty after it.
"""

from __future__ import annotations

import heapq
from typing import Final

from schemas.messages.enums import STP_MODE_EXPIRE_MAKER, STP_MODE_NONE
from schemas.messages.order_outcomes import OrderOutcome

_KEPT: Final = 32

RESTING: Final = 1
WAITING: Final = 2
QUEUED: Final = 3
"""Where a live order is: in the book, among the waiting stops, in the queue for an auction."""


class InvariantViolation(Exception):
    """The engine's own state contradicts itself: a bug, never bad input. The job must stop."""


class Order:
    """An order in the match stage; money in 1/10,000 of the currency, quantities in shares, times in UTC ns.

    worst_price: the limit, or the collar of a market order: no execution goes beyond it. While a stop waits it is what
    risk has reserved for. origin: identity of the command that placed it (ids.order_origin). stp_key: orders of one key
    do not trade with each other when the incoming one asks for it. place: RESTING, WAITING, QUEUED or 0. rank: time
    priority, the highest is the youngest. placed_ns: its owner's time of its terms.
    imbalance_only, do_not_reduce: the client's instructions, as OrderCommand has them. pays_fees: its fills are charged
    the regulatory fees of a sale (fees.py). terms, kafka_key, sequence, status,
    decisions belong to the reporter, and outcome is its line in the running batch's report to the risk stage.
    """

    __slots__ = (
        "account_id",
        "account_shard",
        "close_ns",
        "commission_e4",
        "cum_quantity",
        "decisions",
        "do_not_reduce",
        "imbalance_only",
        "is_buy",
        "kafka_key",
        "key",
        "level",
        "limit_price",
        "next",
        "order_id",
        "order_type",
        "origin",
        "outcome",
        "pays_fees",
        "place",
        "placed_ns",
        "prev",
        "quantity",
        "rank",
        "routed",
        "sequence",
        "side",
        "status",
        "stop_price",
        "stp",
        "stp_key",
        "symbol",
        "terms",
        "time_in_force",
        "triggered",
        "worst_price",
    )

    def __init__(
        self,
        key: str,
        origin: str,
        order_id: str,
        account_id: str,
        symbol: str,
        side: int,
        is_buy: bool,
        order_type: int,
        time_in_force: int,
        quantity: int,
        limit_price: int | None,
        worst_price: int,
        commission_e4: int = 0,
        account_shard: int = 0,
        close_ns: int = 0,
        stop_price: int | None = None,
        stp: int = STP_MODE_NONE,
        stp_key: str = "",
    ) -> None:
        self.key = key
        self.origin = origin
        self.order_id = order_id
        self.account_id = account_id
        self.symbol = symbol
        self.side = side
        self.is_buy = is_buy
        self.order_type = order_type
        self.time_in_force = time_in_force
        self.quantity = quantity
        self.limit_price: int | None = limit_price
        self.worst_price = worst_price
        self.commission_e4 = commission_e4
        self.account_shard = account_shard
        self.close_ns = close_ns
        self.stop_price: int | None = stop_price
        self.stp = stp
        self.stp_key: str = stp_key if stp_key else account_id
        self.cum_quantity: int = 0
        self.place: int = 0
        self.rank: int = 0
        self.placed_ns: int = 0
        self.routed: bool = False
        self.triggered: bool = False
        self.imbalance_only: bool = False
        self.do_not_reduce: bool = False
        self.pays_fees: bool = False
        self.terms: bytes = b""
        self.kafka_key: bytes = b""
        self.sequence: int = 0
        self.status: int = 0
        self.decisions: int = 0
        self.outcome: OrderOutcome | None = None
        self.level: Level | None = None
        self.prev: Order | None = None
        self.next: Order | None = None


class Level:
    """The orders at one price, oldest first, as a doubly linked list through the orders themselves.

    signed: the price, negated for bids, so that the lowest is the best. at: its place in the heap, -1 when it is out.
    """

    __slots__ = ("at", "count", "head", "price", "quantity", "signed", "tail")

    def __init__(self, price: int, signed: int) -> None:
        self.price = price
        self.signed = signed
        self.at: int = -1
        self.quantity: int = 0
        self.count: int = 0
        self.head: Order | None = None
        self.tail: Order | None = None


class BookSide:
    """One side of a book: levels by price, and a heap of them with the best on top.

    The heap is our own, because each level knows its place in it: so one that is empty can be taken out from anywhere.
    """

    __slots__ = ("blocked", "emptied", "empty", "heap", "is_bid", "levels", "next_emptied", "top")

    def __init__(self, is_bid: bool) -> None:
        self.is_bid = is_bid
        self.levels: dict[int, Level] = {}
        # The same levels, each exactly once; the one at i is not worse than those at 2i + 1 and 2i + 2.
        self.heap: list[Level] = []
        self.empty: int = 0
        # The levels that became empty last, in a ring. All that are empty are in it.
        self.emptied: list[Level] = []
        self.next_emptied: int = 0
        # Price at which the last call of `available` met an own order that stops the incoming one; 0 for none.
        self.blocked: int = 0
        # The best level that holds orders, when it is known; None means "look at the heap".
        self.top: Level | None = None

    def best(self) -> Level | None:
        """The best level that holds orders, or None."""
        top = self.top
        if top is not None:
            return top
        heap = self.heap
        while heap:
            level = heap[0]
            if level.count > 0:
                self.top = level
                return level
            self._drop(level)
        return None

    def add(self, order: Order, price: int, leaves: int) -> None:
        """Put an order with `leaves` open shares at the end of its price's queue."""
        level = self.levels.get(price)
        if level is None:
            level = Level(price, -price if self.is_bid else price)
            self.levels[price] = level
            self.heap.append(level)
            self._rise(level, len(self.heap) - 1)
        elif level.count == 0:
            self.empty -= 1
        tail = level.tail
        if tail is None:
            level.head = order
        else:
            tail.next = order
            order.prev = tail
        level.tail = order
        order.level = level
        level.count += 1
        level.quantity += leaves
        top = self.top
        if top is not None and (price > top.price if self.is_bid else price < top.price):
            self.top = level

    def reduce(self, order: Order, quantity: int) -> None:
        """Take filled or withdrawn shares off an order's level; the order stays in its place."""
        level = order.level
        if level is None or quantity > level.quantity:
            raise InvariantViolation(f"order {order.order_id} gives up {quantity} shares that its level does not hold")
        level.quantity -= quantity

    def remove(self, order: Order, leaves: int) -> None:
        """Take an order out, with the open shares that it still has."""
        level = order.level
        if level is None:
            raise InvariantViolation(f"order {order.order_id} is not in the book")
        before = order.prev
        after = order.next
        if before is None:
            level.head = after
        else:
            before.next = after
        if after is None:
            level.tail = before
        else:
            after.prev = before
        # Links are cut, so that nothing cyclic is left to the garbage collector, which is off in the hot process.
        order.prev = None
        order.next = None
        order.level = None
        level.quantity -= leaves
        level.count -= 1
        if level.count == 0:
            self.empty += 1
            if self.top is level:
                self.top = None
            self._keep_empty(level)

    def _keep_empty(self, level: Level) -> None:
        """A level has become empty: it stays, and the one that has been empty for longest goes."""
        if len(self.emptied) < _KEPT:
            self.emptied.append(level)
            return
        at = self.next_emptied
        oldest = self.emptied[at]
        self.emptied[at] = level
        self.next_emptied = at + 1 if at + 1 < _KEPT else 0
        # It may hold orders again, be out already, or be the one that has just become empty once more.
        if oldest.count == 0 and oldest.at >= 0 and oldest is not level:
            self._drop(oldest)

    def _drop(self, level: Level) -> None:
        """Take an empty level out."""
        at = level.at
        last = self.heap.pop()
        if last is not level:
            if at > 0 and last.signed < self.heap[(at - 1) // 2].signed:
                self._rise(last, at)
            else:
                self._sink(last, at)
        level.at = -1
        del self.levels[level.price]
        self.empty -= 1

    def _rise(self, level: Level, at: int) -> None:
        """Put a level into the heap at `at`, or above when it is better than what is there."""
        heap = self.heap
        signed = level.signed
        while at > 0:
            above = (at - 1) // 2
            other = heap[above]
            if other.signed <= signed:
                break
            heap[at] = other
            other.at = at
            at = above
        heap[at] = level
        level.at = at

    def _sink(self, level: Level, at: int) -> None:
        """Put a level into the heap at `at`, or below when it is worse than what is there."""
        heap = self.heap
        size = len(heap)
        signed = level.signed
        child = 2 * at + 1
        while child < size:
            other = heap[child]
            if child + 1 < size and heap[child + 1].signed < other.signed:
                child += 1
                other = heap[child]
            if signed <= other.signed:
                break
            heap[at] = other
            other.at = at
            at = child
            child = 2 * at + 1
        heap[at] = level
        level.at = at

    def available(self, worst_price: int, need: int, stp: int, stp_key: str) -> int:
        """Shares that an incoming order could get here at `worst_price` or better; stops counting at `need`.

        Orders of the same self-trade key do not count, and those behind them only when the mode lets the incoming order
        go on; `blocked` is the price of the one that does not.
        """
        self.blocked = 0
        heap = self.heap
        size = len(heap)
        found = 0
        # The best prices of a heap are found from its top down: the children of a looked-at entry are candidates.
        candidates: list[tuple[int, int]] = []
        if size > 0:
            candidates.append((heap[0].signed, 0))
        while candidates and found < need:
            index = heapq.heappop(candidates)[1]
            level = heap[index]
            price = level.price
            if (price < worst_price) if self.is_bid else (price > worst_price):
                break
            child = 2 * index + 1
            if child < size:
                heapq.heappush(candidates, (heap[child].signed, child))
            if child + 1 < size:
                heapq.heappush(candidates, (heap[child + 1].signed, child + 1))
            if stp == STP_MODE_NONE:
                found += level.quantity
                continue
            order = level.head
            while order is not None and found < need:
                if order.stp_key != stp_key:
                    found += order.quantity - order.cum_quantity
                elif stp != STP_MODE_EXPIRE_MAKER:
                    self.blocked = price
                    return found
                order = order.next
        return found

    def displayed(self, lot: int) -> int:
        """The price that this side adds to the national best: the best one at which, with better ones, a round lot rests.

        0 when all of it is less. Source: 17 CFR 242.600(b), under which a bid or offer is for a round lot at least;
        exchanges put odd lots together and show them at the worst of their prices.
        """
        best = self.best()
        if best is None or best.quantity >= lot:
            return 0 if best is None else best.price
        heap = self.heap
        size = len(heap)
        found = 0
        candidates: list[tuple[int, int]] = [(heap[0].signed, 0)]
        while candidates:
            index = heapq.heappop(candidates)[1]
            found += heap[index].quantity
            if found >= lot:
                return heap[index].price
            child = 2 * index + 1
            if child < size:
                heapq.heappush(candidates, (heap[child].signed, child))
            if child + 1 < size:
                heapq.heappush(candidates, (heap[child + 1].signed, child + 1))
        return 0

    def orders(self) -> list[Order]:
        """All orders in priority order (for auctions, snapshots and checks; linear)."""
        result: list[Order] = []
        for price in sorted(self.levels, reverse=self.is_bid):
            order = self.levels[price].head
            while order is not None:
                result.append(order)
                order = order.next
        return result

    def check(self) -> None:
        """Raise InvariantViolation when sums, links or the heap are wrong."""
        if len(self.heap) != len(self.levels):
            raise InvariantViolation("the heap does not hold each level exactly once")
        for at, level in enumerate(self.heap):
            if level.at != at or self.levels.get(level.price) is not level:
                raise InvariantViolation(f"the level at {level.price} is not where it believes to be")
            if at > 0 and self.heap[(at - 1) // 2].signed > level.signed:
                raise InvariantViolation(f"the level at {level.price} is better than the one above it in the heap")
        empty = 0
        best: Level | None = None
        for price in sorted(self.levels, reverse=self.is_bid):
            level = self.levels[price]
            if level.count == 0:
                empty += 1
                if level not in self.emptied:
                    raise InvariantViolation(f"the empty level at {price} was forgotten")
            elif best is None:
                best = level
            quantity = 0
            count = 0
            before: Order | None = None
            order = level.head
            while order is not None:
                leaves = order.quantity - order.cum_quantity
                if order.level is not level or order.prev is not before or leaves <= 0 or order.worst_price != price:
                    raise InvariantViolation(f"order {order.order_id} is badly linked, filled or at a wrong price")
                if before is not None and before.rank >= order.rank:
                    raise InvariantViolation(f"order {order.order_id} stands behind one that came after it")
                quantity += leaves
                count += 1
                before = order
                order = order.next
            if level.tail is not before or level.count != count or level.quantity != quantity:
                raise InvariantViolation(f"the level at {price} does not sum up")
        if empty != self.empty or self.best() is not best:
            raise InvariantViolation("the count of empty levels or the best level is wrong")


class Book:
    """Both sides of one symbol."""

    __slots__ = ("asks", "bids")

    def __init__(self) -> None:
        self.bids = BookSide(True)
        self.asks = BookSide(False)

    def best_bid(self) -> int:
        """The best resting bid, or 0."""
        level = self.bids.best()
        return 0 if level is None else level.price

    def best_ask(self) -> int:
        """The best resting ask, or 0."""
        level = self.asks.best()
        return 0 if level is None else level.price

    def is_crossed(self) -> bool:
        """Whether a bid meets an ask."""
        bid = self.best_bid()
        ask = self.best_ask()
        return bid > 0 and ask > 0 and bid >= ask

    def check(self, may_cross: bool = False) -> None:
        """Raise InvariantViolation when a side is inconsistent, or the book is crossed or locked and may not be."""
        self.bids.check()
        self.asks.check()
        if not may_cross and self.is_crossed():
            raise InvariantViolation(f"the book is crossed: bid {self.best_bid()}, ask {self.best_ask()}")
