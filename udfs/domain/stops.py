"""The stop orders of one symbol that wait for their price.

Ordering: a print triggers buys from the lowest stop price up, then sells from the highest down; at one price, the order
that came first.
Invariant: every waiting order has exactly one entry with its current rank; other entries are stale and are skipped.
Known limits: prints only, never quotes (FINRA Rule 5350).
Complexity: O(log waiting) to add and to trigger, O(1) to remove; stale entries are dropped when they are the majority.
"""

from __future__ import annotations

import heapq
from typing import Final

from udfs.domain.book import WAITING, InvariantViolation, Order

_COMPACT_AT: Final = 64


class StopBook:
    """Two heaps of (signed stop price, rank, order)."""

    __slots__ = ("buys", "sells", "waiting")

    def __init__(self) -> None:
        self.buys: list[tuple[int, int, Order]] = []
        self.sells: list[tuple[int, int, Order]] = []
        self.waiting: int = 0

    def add(self, order: Order, stop_price: int) -> None:
        """Let an order wait; its rank is its place among those of the same price."""
        order.place = WAITING
        self.waiting += 1
        if order.is_buy:
            heapq.heappush(self.buys, (stop_price, order.rank, order))
        else:
            heapq.heappush(self.sells, (-stop_price, order.rank, order))

    def remove(self, order: Order) -> None:
        """An order no longer waits; its entry is dropped later."""
        order.place = 0
        order.rank = 0
        self.waiting -= 1
        if len(self.buys) + len(self.sells) > _COMPACT_AT + 2 * self.waiting:
            self.buys = [entry for entry in self.buys if _is_current(entry)]
            self.sells = [entry for entry in self.sells if _is_current(entry)]
            heapq.heapify(self.buys)
            heapq.heapify(self.sells)

    def take_triggered(self, price: int, into: list[Order]) -> None:
        """Take out what a print at `price` triggers, in the order of triggering."""
        buys = self.buys
        while buys and (buys[0][0] <= price or not _is_current(buys[0])):
            entry = heapq.heappop(buys)
            if _is_current(entry):
                self._take(entry[2], into)
        sells = self.sells
        while sells and (-sells[0][0] >= price or not _is_current(sells[0])):
            entry = heapq.heappop(sells)
            if _is_current(entry):
                self._take(entry[2], into)

    def _take(self, order: Order, into: list[Order]) -> None:
        order.place = 0
        order.rank = 0
        self.waiting -= 1
        into.append(order)

    def orders(self) -> list[Order]:
        """All waiting orders, oldest first."""
        found: list[tuple[int, Order]] = []
        for entry in self.buys:
            if _is_current(entry):
                found.append((entry[1], entry[2]))
        for entry in self.sells:
            if _is_current(entry):
                found.append((entry[1], entry[2]))
        found.sort(key=_rank)
        return [order for _, order in found]

    def check(self) -> None:
        """Raise InvariantViolation when an order waits twice, or not where it should."""
        orders = self.orders()
        if len(orders) != self.waiting:
            raise InvariantViolation(f"{self.waiting} stops wait, {len(orders)} are found")
        for order in orders:
            if order.place != WAITING or order.stop_price is None or order.quantity <= order.cum_quantity:
                raise InvariantViolation(f"order {order.order_id} waits as a stop that it is not")


def _rank(entry: tuple[int, Order]) -> int:
    return entry[0]


def _is_current(entry: tuple[int, int, Order]) -> bool:
    """Whether the entry is its order's, and not one from before a cancel or a replacement."""
    return entry[2].place == WAITING and entry[2].rank == entry[1]
