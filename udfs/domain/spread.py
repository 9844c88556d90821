"""What a quote says of liquidity: the spread between bid and ask, and which side of the book is heavier.

Ordering, invariants and revisions are those of indicators.py; each value depends on the last quote alone, so a revision
is an update.
Choices: a side that is missing (0 or less) leaves the spread without a value; a crossed quote has a negative spread.
Complexity: constant, linear in the levels for the imbalance of a book.
"""

from udfs.domain.indicators import Indicator
from udfs.domain.rolling import put_optional, take_optional
from udfs.domain.state_codec import StateReader, StateWriter


class Spread(Indicator):
    """Ask less bid: `value` in the unit of the prices, `basis_points` in 1/10,000 of the mid."""

    __slots__ = ("basis_points",)

    def __init__(self) -> None:
        super().__init__()
        self.basis_points: float | None = None

    def update(self, bid: float, ask: float) -> float | None:
        """Take a quote; returns the spread."""
        if bid > 0.0 and ask > 0.0:
            width = ask - bid
            self.value = width
            self.basis_points = width / ((bid + ask) / 2.0) * 10_000.0
        else:
            self.value = None
            self.basis_points = None
        return self.value

    def revise(self, bid: float, ask: float) -> float | None:
        """Replace the last quote."""
        return self.update(bid, ask)

    def put_values(self, into: list[float | None]) -> None:
        """Append the spread and the spread in basis points."""
        into.append(self.value)
        into.append(self.basis_points)

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        put_optional(out, self.value)
        put_optional(out, self.basis_points)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot."""
        self.value = take_optional(reader)
        self.basis_points = take_optional(reader)


class DepthImbalance(Indicator):
    """(bid size - ask size) / (bid size + ask size): 1 when all size bids, -1 when all is offered, None when none is."""

    __slots__ = ()

    def update(self, bid_size: float, ask_size: float) -> float | None:
        """Take the sizes of both sides; returns the imbalance."""
        size = bid_size + ask_size
        self.value = (bid_size - ask_size) / size if size > 0.0 else None
        return self.value

    def revise(self, bid_size: float, ask_size: float) -> float | None:
        """Replace the last sizes."""
        return self.update(bid_size, ask_size)

    def update_levels(self, bid_sizes: list[int], ask_sizes: list[int], levels: int) -> float | None:
        """Take a book, best level first, of which the first `levels` of each side count."""
        return self.update(float(sum(bid_sizes[:levels])), float(sum(ask_sizes[:levels])))

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        put_optional(out, self.value)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot."""
        self.value = take_optional(reader)
