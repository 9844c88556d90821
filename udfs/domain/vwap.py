"""Prices weighted by volume (VWAP), of a session and of a window; and volume against its average.

- VWAP: the sum of price * volume divided by the sum of volume. For ticks the price is the trade price, for bars the
  typical price, (high + low + close) / 3. None where there was no volume.
- Relative volume n: a bar's volume divided by the mean volume of the n bars before it, from n on (counted from 0). The
  bar itself is not in the mean, so that a spike does not hide itself. None where those n bars had no volume.

Ordering, invariants and revisions are those of indicators.py.
Choices: a session begins when the caller says so (`begin_session`, seen by the next update), because what a session is
depends on the market.
Known limits: values must be finite; volumes in windows must not be negative. In a session a negative volume takes a
cancelled trade out again.
Complexity: constant an update, amortised; memory of a window, constant for sessions.
"""

from udfs.domain.indicators import BarIndicator
from udfs.domain.rolling import (
    NothingToRevise,
    RollingSum,
    RunningSum,
    check_period,
    expect,
    put_optional,
    take_optional,
)
from udfs.domain.state_codec import StateReader, StateWriter


class SessionVwap(BarIndicator):
    """VWAP since the session began."""

    __slots__ = ("_any", "_fresh", "_turnover", "_volume")

    def __init__(self) -> None:
        super().__init__()
        self._turnover = RunningSum()
        self._volume = RunningSum()
        self._any: bool = False
        self._fresh: bool = False

    def begin_session(self) -> None:
        """The next update is the first of a session. Until then the last one can still be revised."""
        self._fresh = True

    def update(self, price: float, volume: float) -> float | None:
        """Take a trade, or a bar with its typical price; returns the VWAP."""
        if self._fresh:
            self._turnover.clear()
            self._volume.clear()
            self._fresh = False
        self._any = True
        self._turnover.push(price * volume)
        self._volume.push(volume)
        return self._look()

    def revise(self, price: float, volume: float) -> float | None:
        """Replace the last update."""
        if not self._any:
            raise NothingToRevise()
        self._turnover.replace(price * volume)
        self._volume.replace(volume)
        return self._look()

    def _look(self) -> float | None:
        volume = self._volume.total()
        self.value = self._turnover.total() / volume if volume > 0.0 else None
        return self.value

    def update_bar(self, high: float, low: float, close: float, volume: float) -> None:
        """Take a bar at its typical price."""
        self.update((high + low + close) / 3.0, volume)

    def revise_bar(self, high: float, low: float, close: float, volume: float) -> None:
        """Replace the last bar."""
        self.revise((high + low + close) / 3.0, volume)

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        put_optional(out, self.value)
        out.put_flag(self._any)
        out.put_flag(self._fresh)
        self._turnover.write(out)
        self._volume.write(out)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot."""
        self.value = take_optional(reader)
        self._any = reader.take_flag()
        self._fresh = reader.take_flag()
        self._turnover.read(reader)
        self._volume.read(reader)


class RollingVwap(BarIndicator):
    """VWAP of the last `period` bars or trades, from the first full window on."""

    __slots__ = ("_turnover", "_volume", "period")

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = check_period(period, 1)
        self._turnover = RollingSum(period)
        self._volume = RollingSum(period)

    def update(self, price: float, volume: float) -> float | None:
        """Take a trade, or a bar with its typical price; returns the VWAP."""
        self._turnover.push(price * volume)
        self._volume.push(volume)
        return self._look()

    def revise(self, price: float, volume: float) -> float | None:
        """Replace the last update."""
        self._turnover.replace(price * volume)
        self._volume.replace(volume)
        return self._look()

    def _look(self) -> float | None:
        if self._volume.full():
            volume = self._volume.total()
            self.value = self._turnover.total() / volume if volume > 0.0 else None
        return self.value

    def update_bar(self, high: float, low: float, close: float, volume: float) -> None:
        """Take a bar at its typical price."""
        self.update((high + low + close) / 3.0, volume)

    def revise_bar(self, high: float, low: float, close: float, volume: float) -> None:
        """Replace the last bar."""
        self.revise((high + low + close) / 3.0, volume)

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        put_optional(out, self.value)
        self._turnover.write(out)
        self._volume.write(out)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot."""
        self.value = take_optional(reader)
        self._turnover.read(reader)
        self._volume.read(reader)


class RelativeVolume(BarIndicator):
    """A bar's volume against the mean volume of the `period` bars before it: 2.0 is twice as much as usual."""

    __slots__ = ("_average", "_volumes", "period")

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = check_period(period, 1)
        self._volumes = RollingSum(period)
        # Of the bars before the last one.
        self._average: float | None = None

    def update(self, volume: float) -> float | None:
        """Take a bar's volume; returns the ratio."""
        self._average = self._volumes.total() / self.period if self._volumes.full() else None
        self._volumes.push(volume)
        return self._look(volume)

    def revise(self, volume: float) -> float | None:
        """Replace the last volume."""
        self._volumes.replace(volume)
        return self._look(volume)

    def _look(self, volume: float) -> float | None:
        average = self._average
        self.value = volume / average if average is not None and average > 0.0 else None
        return self.value

    def update_bar(self, high: float, low: float, close: float, volume: float) -> None:
        """Take the volume of a bar."""
        self.update(volume)

    def revise_bar(self, high: float, low: float, close: float, volume: float) -> None:
        """Replace the volume of the last bar."""
        self.revise(volume)

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        out.put(self.period)
        put_optional(out, self.value)
        put_optional(out, self._average)
        self._volumes.write(out)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot."""
        expect(reader, self.period)
        self.value = take_optional(reader)
        self._average = take_optional(reader)
        self._volumes.read(reader)
