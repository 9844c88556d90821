"""Sums, means and spreads over the last values of a series, and over all of them, in floating point that does not drift.

Method: values are held in blocks of the window's size. Of the block before, the sums from each place to its end are
kept, of the present block the sum of what has come. A window is one of the former and one of the latter, so a value
that leaves is never subtracted, and no error outlives the block that it was made in. Mean and squared deviations are
added the same way (Welford's update within a block, Chan's formula for two parts), so equal values have exactly no
spread, whatever came before them.
Ordering: oldest value first; only the last one can be replaced.
Invariants: a window depends on nothing but the values in it and on where its block began; replacing the last value, or
going on from a snapshot, gives the same bits as if nothing of it had happened.
Known limits: values must be finite.
Complexity: constant, amortised: the sums of a block are made once, when it is complete. Memory: the window, once for
sums and twice for moments.
"""

import struct
from typing import Final

from udfs.domain.state_codec import StateError, StateReader, StateWriter

_DOUBLE: Final = struct.Struct("<d")
_LONG: Final = struct.Struct("<q")
MAX_WINDOW: Final = 100_000
"""TA-Lib's longest period."""


class NothingToRevise(ValueError):
    """The last update is to be replaced, and there was none."""

    def __init__(self) -> None:
        super().__init__("there is no update that could be revised")


def check_period(period: int, lowest: int) -> int:
    """`period` when it is from `lowest` to MAX_WINDOW; else ValueError."""
    if period < lowest or period > MAX_WINDOW:
        raise ValueError(f"a period of {period} is not between {lowest} and {MAX_WINDOW}")
    return period


def put_float(out: StateWriter, value: float) -> None:
    """Put a float into a snapshot, by its bits."""
    bits: int = _LONG.unpack(_DOUBLE.pack(value))[0]
    out.put(bits)


def take_float(reader: StateReader) -> float:
    """The float that `put_float` put."""
    value: float = _DOUBLE.unpack(_LONG.pack(reader.take()))[0]
    return value


def put_optional(out: StateWriter, value: float | None) -> None:
    """Put a float or None into a snapshot."""
    out.put_flag(value is not None)
    put_float(out, 0.0 if value is None else value)


def take_optional(reader: StateReader) -> float | None:
    """What `put_optional` put."""
    known = reader.take_flag()
    value = take_float(reader)
    return value if known else None


def expect(reader: StateReader, wanted: int) -> None:
    """Raise StateError unless the next integer is the one of this object's own parameters."""
    found = reader.take()
    if found != wanted:
        raise StateError(f"the snapshot is one of an indicator with {found}, where this one has {wanted}")


class RollingSum:
    """The sum of the last `size` values."""

    __slots__ = ("_at", "_before", "_items", "_sum", "_turned", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        # Up to `_at` the values of the present block; from there on the block before: sums from each place to its end.
        self._items: list[float] = [0.0] * size
        self._at: int = 0
        self._turned: bool = False
        self._sum: float = 0.0
        self._before: float = 0.0

    def push(self, value: float) -> None:
        """Add a value."""
        at = self._at
        if at == self.size:
            self._turn()
            at = 0
        self._items[at] = value
        self._at = at + 1
        self._before = self._sum
        self._sum += value

    def replace(self, value: float) -> None:
        """Put a value in the place of the last one."""
        if self._at == 0:
            raise NothingToRevise()
        self._items[self._at - 1] = value
        self._sum = self._before + value

    def full(self) -> bool:
        """Whether as many values have come as the window holds."""
        return self._turned or self._at == self.size

    def total(self) -> float:
        """The sum of the window, or of what has come while it is not full."""
        if self._at < self.size:
            return self._sum + self._items[self._at]
        return self._sum

    def _turn(self) -> None:
        items = self._items
        tail = 0.0
        for at in range(self.size - 1, -1, -1):
            tail += items[at]
            items[at] = tail
        self._at = 0
        self._turned = True
        self._sum = 0.0

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        out.put(self.size)
        out.put(self._at)
        out.put_flag(self._turned)
        put_float(out, self._sum)
        put_float(out, self._before)
        for item in self._items:
            put_float(out, item)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot, as `write` put it."""
        expect(reader, self.size)
        self._at = reader.take()
        self._turned = reader.take_flag()
        self._sum = take_float(reader)
        self._before = take_float(reader)
        for at in range(self.size):
            self._items[at] = take_float(reader)


class RollingMoments:
    """Mean and squared deviations of the last `size` values."""

    __slots__ = (
        "_at",
        "_mean",
        "_mean_before",
        "_means",
        "_spreads",
        "_square",
        "_square_before",
        "_turned",
        "size",
    )

    def __init__(self, size: int) -> None:
        self.size = size
        # Up to `_at` the values of the present block; from there on means of the block before, from each place on.
        self._means: list[float] = [0.0] * size
        # From `_at` on the squared deviations of the block before, from each place on.
        self._spreads: list[float] = [0.0] * size
        self._at: int = 0
        self._turned: bool = False
        self._mean: float = 0.0
        self._mean_before: float = 0.0
        self._square: float = 0.0
        self._square_before: float = 0.0

    def push(self, value: float) -> None:
        """Add a value."""
        if self._at == self.size:
            self._turn()
        self._at += 1
        self._mean_before = self._mean
        self._square_before = self._square
        self.replace(value)

    def replace(self, value: float) -> None:
        """Put a value in the place of the last one."""
        at = self._at
        if at == 0:
            raise NothingToRevise()
        self._means[at - 1] = value
        mean = self._mean_before
        gap = value - mean
        mean += gap / at
        self._mean = mean
        self._square = self._square_before + gap * (value - mean)

    def full(self) -> bool:
        """Whether as many values have come as the window holds."""
        return self._turned or self._at == self.size

    def squares(self) -> float:
        """The sum of the squared deviations from the mean; the window must be full."""
        at = self._at
        size = self.size
        if at == size:
            return self._square
        gap = self._means[at] - self._mean
        return self._square + self._spreads[at] + gap * gap * at * (size - at) / size

    def _turn(self) -> None:
        mean = 0.0
        square = 0.0
        for at in range(self.size - 1, -1, -1):
            value = self._means[at]
            gap = value - mean
            mean += gap / (self.size - at)
            square += gap * (value - mean)
            self._means[at] = mean
            self._spreads[at] = square
        self._at = 0
        self._turned = True
        self._mean = 0.0
        self._square = 0.0

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        out.put(self.size)
        out.put(self._at)
        out.put_flag(self._turned)
        put_float(out, self._mean)
        put_float(out, self._mean_before)
        put_float(out, self._square)
        put_float(out, self._square_before)
        for at in range(self.size):
            put_float(out, self._means[at])
            put_float(out, self._spreads[at])

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot, as `write` put it."""
        expect(reader, self.size)
        self._at = reader.take()
        self._turned = reader.take_flag()
        self._mean = take_float(reader)
        self._mean_before = take_float(reader)
        self._square = take_float(reader)
        self._square_before = take_float(reader)
        for at in range(self.size):
            self._means[at] = take_float(reader)
            self._spreads[at] = take_float(reader)


class RunningSum:
    """The sum of all values since `clear`, compensated (Neumaier), so that its error does not grow with their count."""

    __slots__ = ("_lost", "_lost_before", "_sum", "_sum_before")

    def __init__(self) -> None:
        self._sum: float = 0.0
        self._lost: float = 0.0
        self._sum_before: float = 0.0
        self._lost_before: float = 0.0

    def clear(self) -> None:
        """Begin anew; the next value is the first."""
        self._sum = 0.0
        self._lost = 0.0

    def push(self, value: float) -> None:
        """Add a value."""
        self._sum_before = self._sum
        self._lost_before = self._lost
        self.replace(value)

    def replace(self, value: float) -> None:
        """Put a value in the place of the last one."""
        before = self._sum_before
        total = before + value
        if abs(before) >= abs(value):
            self._lost = self._lost_before + ((before - total) + value)
        else:
            self._lost = self._lost_before + ((value - total) + before)
        self._sum = total

    def total(self) -> float:
        """The sum."""
        return self._sum + self._lost

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        put_float(out, self._sum)
        put_float(out, self._lost)
        put_float(out, self._sum_before)
        put_float(out, self._lost_before)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot, as `write` put it."""
        self._sum = take_float(reader)
        self._lost = take_float(reader)
        self._sum_before = take_float(reader)
        self._lost_before = take_float(reader)
