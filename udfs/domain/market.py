"""One symbol in the match stage: our book, waiting stops, orders for an auction, the street, and what may be done now.

Ordering: none of its own. Invariant: `trading` is False outside continuous trading, and then the book may be crossed.
"""

from __future__ import annotations

from typing import Final

from udfs.domain.book import Book, Order
from udfs.domain.stops import StopBook
from udfs.domain.street import Street

NO_PRICE: Final = 2**62
"""Above every price: the worst price of a buy order that has none."""


class Market:
    """A symbol; prices in 1/10,000 of the currency, 0 for none.

    low, high: price bands, no execution beyond them. last_price: last print that may trigger stops, and print_lot the
    fewest shares that make one: a round lot, which is also the least of our book that counts in the national best.
    print_count, print_sum, print_low: what was printed since the guard last looked.
    short_restricted: Rule 201 is in force. queue: orders for the next auction, oldest first.
    """

    __slots__ = (
        "book",
        "high",
        "kafka_key",
        "last_price",
        "low",
        "print_count",
        "print_lot",
        "print_low",
        "print_sum",
        "queue",
        "short_restricted",
        "stops",
        "street",
        "symbol",
        "tick_e4",
        "trading",
    )

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.kafka_key: bytes = symbol.encode("utf-8")
        self.book = Book()
        self.stops = StopBook()
        self.street = Street()
        self.queue: list[Order] = []
        self.trading: bool = True
        self.low: int = 0
        self.high: int = 0
        self.last_price: int = 0
        self.print_lot: int = 1
        self.tick_e4: int = 100
        self.short_restricted: bool = False
        self.print_count: int = 0
        self.print_sum: int = 0
        self.print_low: int = 0
