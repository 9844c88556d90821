"""The mean price of the trades of the last minutes.

Ordering: trades come in the order of their times.
Invariant: totals are those of the seconds that are kept.
Known limits: trades are kept by the second, so the window reaches up to a second further back than it should.
Complexity: each second enters and leaves once; memory is bounded by the seconds of the window.
"""

from typing import Final

from udfs.domain.state_codec import StateReader, StateWriter

SECOND_NS: Final = 1_000_000_000


class TradeWindow:
    """Trades by second, oldest first, with the totals of all: `price_sum` e4 and `count`."""

    __slots__ = ("_counts", "_seconds", "_sums", "count", "price_sum")

    def __init__(self) -> None:
        self._seconds: list[int] = []
        self._sums: list[int] = []
        self._counts: list[int] = []
        self.price_sum: int = 0
        self.count: int = 0

    def clear(self) -> None:
        """Forget all trades."""
        self._seconds = []
        self._sums = []
        self._counts = []
        self.price_sum = 0
        self.count = 0

    def add(self, price_sum: int, count: int, time_ns: int) -> None:
        """Add trades of a time that is not before the last one."""
        second = time_ns // SECOND_NS
        if self._seconds and self._seconds[-1] == second:
            self._sums[-1] += price_sum
            self._counts[-1] += count
        else:
            self._seconds.append(second)
            self._sums.append(price_sum)
            self._counts.append(count)
        self.price_sum += price_sum
        self.count += count

    def drop_before(self, time_ns: int) -> None:
        """Forget the seconds that were over before a time."""
        first = time_ns // SECOND_NS
        old = 0
        for second in self._seconds:
            if second >= first:
                break
            self.price_sum -= self._sums[old]
            self.count -= self._counts[old]
            old += 1
        if old:
            self._seconds = self._seconds[old:]
            self._sums = self._sums[old:]
            self._counts = self._counts[old:]

    def mean_e4(self) -> int:
        """The mean, half a unit up; there must be a trade."""
        return (2 * self.price_sum + self.count) // (2 * self.count)

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        out.put(len(self._seconds))
        for at in range(len(self._seconds)):
            out.put(self._seconds[at])
            out.put(self._sums[at])
            out.put(self._counts[at])

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot, as `write` put it."""
        self.clear()
        for _ in range(reader.take()):
            second = reader.take()
            price_sum = reader.take()
            self.add(price_sum, reader.take(), second * SECOND_NS)
