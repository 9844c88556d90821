"""Indicators of a series of closes: simple and exponential averages, RSI and MACD, as TA-Lib defines them.

The forms here are what every indicator has in common; volatility.py, vwap.py and spread.py hold the others.

Source: TA-Lib (ta-lib.org) in its default settings: no unstable period, no Metastock compatibility. Indices count from 0.
- SMA n: first at n-1.
- EMA n: factor 2/(n+1); begins at n-1 with the mean of the first n.
- RSI n (Wilder): begins at n with the mean gain and the mean loss of the first n changes, goes on with
  (before * (n-1) + x) / n; 100 * gain / (gain + loss), and 0 while there is neither.
- MACD f, s, g: both averages begin at s-1, the fast one with the mean of the bars s-f to s-1; the signal is the EMA g of
  their difference and begins at s+g-2; the histogram is the difference less the signal.

Ordering: oldest value first. `revise` replaces the last value, any number of times.
Invariants: None until defined; the same values give the same bits, whether a value was revised on its way or not, and
whether a snapshot was taken in between or not. Averages with a memory without end (EMA, Wilder) forget their rounding
errors as they forget values.
Choices: periods of 1 are allowed everywhere (TA-Lib wants 2 for RSI, MACD and bands). The MACD line is given from where
it is defined, s-1; TA-Lib's function holds it back until there is a signal.
Known limits: values must be finite. A revision reaches one update back: a value before the last one needs a replay.
Complexity: constant an update, memory of a window for SMA, constant for the others.
"""

from typing import Final

from udfs.domain.rolling import (
    NothingToRevise,
    RollingSum,
    check_period,
    expect,
    put_float,
    put_optional,
    take_float,
    take_optional,
)
from udfs.domain.state_codec import StateReader, StateWriter

# Below this, what Wilder's averages have left of old changes has no digits any more.
_NOTHING_LEFT: Final = 1e-300


class Indicator:
    """What all have: `value` after the last update, None until defined; and a state."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float | None = None

    def put_values(self, into: list[float | None]) -> None:
        """Append all outputs, in the order of their names."""
        into.append(self.value)

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        raise NotImplementedError

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot, as `write` of one with the same parameters put it. Raises StateError."""
        raise NotImplementedError


class BarIndicator(Indicator):
    """One that is fed with bars."""

    __slots__ = ()

    def begin_session(self) -> None:
        """The next bar is the first of a session; matters to those that start anew with each."""

    def update_bar(self, high: float, low: float, close: float, volume: float) -> None:
        """Take a bar."""
        raise NotImplementedError

    def revise_bar(self, high: float, low: float, close: float, volume: float) -> None:
        """Take a bar in the place of the last one. Raises NothingToRevise."""
        raise NotImplementedError


class SeriesIndicator(BarIndicator):
    """One that is fed with single values; of a bar it takes the close."""

    __slots__ = ()

    def update(self, value: float) -> float | None:
        """Take a value; returns the indicator."""
        raise NotImplementedError

    def revise(self, value: float) -> float | None:
        """Take a value in the place of the last one; returns the indicator. Raises NothingToRevise."""
        raise NotImplementedError

    def update_bar(self, high: float, low: float, close: float, volume: float) -> None:
        """Take the close of a bar."""
        self.update(close)

    def revise_bar(self, high: float, low: float, close: float, volume: float) -> None:
        """Take the close of a bar in the place of the last one."""
        self.revise(close)


class Sma(SeriesIndicator):
    """Simple moving average."""

    __slots__ = ("_window", "period")

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = check_period(period, 1)
        self._window = RollingSum(period)

    def update(self, value: float) -> float | None:
        """Take a value; returns the mean of the last ones."""
        self._window.push(value)
        return self._look()

    def revise(self, value: float) -> float | None:
        """Replace the last value."""
        self._window.replace(value)
        return self._look()

    def _look(self) -> float | None:
        if self._window.full():
            self.value = self._window.total() / self.period
        return self.value

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        put_optional(out, self.value)
        self._window.write(out)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot."""
        self.value = take_optional(reader)
        self._window.read(reader)


class Ema(SeriesIndicator):
    """Exponential moving average."""

    __slots__ = ("_before", "_count", "_current", "_factor", "period")

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = check_period(period, 1)
        self._factor: float = 2.0 / (period + 1)
        self._count: int = 0
        # While values are counted for the beginning: their sum.
        self._current: float = 0.0
        self._before: float = 0.0

    def update(self, value: float) -> float | None:
        """Take a value; returns the average."""
        self._count += 1
        self._before = self._current
        return self._apply(value)

    def revise(self, value: float) -> float | None:
        """Replace the last value."""
        if self._count == 0:
            raise NothingToRevise()
        return self._apply(value)

    def _apply(self, value: float) -> float | None:
        if self._count > self.period:
            self._current = (value - self._before) * self._factor + self._before
            self.value = self._current
        elif self._count == self.period:
            self._current = (self._before + value) / self.period
            self.value = self._current
        else:
            self._current = self._before + value
        return self.value

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        out.put(self.period)
        put_optional(out, self.value)
        out.put(self._count)
        put_float(out, self._current)
        put_float(out, self._before)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot."""
        expect(reader, self.period)
        self.value = take_optional(reader)
        self._count = reader.take()
        self._current = take_float(reader)
        self._before = take_float(reader)


class WilderMean:
    """Wilder's average: begins with the mean of the first `period` values, then (before * (n-1) + x) / n."""

    __slots__ = ("_before", "_count", "current", "period")

    def __init__(self, period: int) -> None:
        self.period = period
        self._count: int = 0
        self.current: float = 0.0
        self._before: float = 0.0

    def push(self, value: float) -> None:
        """Take a value."""
        self._count += 1
        self._before = self.current
        self.replace(value)

    def replace(self, value: float) -> None:
        """Put a value in the place of the last one, of which there must be one."""
        if self._count > self.period:
            self.current = (self._before * (self.period - 1) + value) / self.period
        elif self._count == self.period:
            self.current = (self._before + value) / self.period
        else:
            self.current = self._before + value

    def full(self) -> bool:
        """Whether `current` is the average; before that it is the sum of what has come."""
        return self._count >= self.period

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        out.put(self.period)
        out.put(self._count)
        put_float(out, self.current)
        put_float(out, self._before)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot."""
        expect(reader, self.period)
        self._count = reader.take()
        self.current = take_float(reader)
        self._before = take_float(reader)


class Rsi(SeriesIndicator):
    """Relative strength index, 0 to 100."""

    __slots__ = ("_before", "_count", "_gain", "_last", "_loss", "period")

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = check_period(period, 1)
        self._count: int = 0
        self._last: float = 0.0
        self._before: float = 0.0
        self._gain = WilderMean(period)
        self._loss = WilderMean(period)

    def update(self, value: float) -> float | None:
        """Take a value; returns the index."""
        self._count += 1
        self._before = self._last
        self._last = value
        if self._count > 1:
            change = value - self._before
            self._gain.push(change if change > 0.0 else 0.0)
            self._loss.push(-change if change < 0.0 else 0.0)
        return self._look()

    def revise(self, value: float) -> float | None:
        """Replace the last value."""
        if self._count == 0:
            raise NothingToRevise()
        self._last = value
        if self._count > 1:
            change = value - self._before
            self._gain.replace(change if change > 0.0 else 0.0)
            self._loss.replace(-change if change < 0.0 else 0.0)
        return self._look()

    def _look(self) -> float | None:
        if self._count > self.period:
            gain = self._gain.current
            moved = gain + self._loss.current
            self.value = 100.0 * (gain / moved) if moved > _NOTHING_LEFT else 0.0
        return self.value

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        put_optional(out, self.value)
        out.put(self._count)
        put_float(out, self._last)
        put_float(out, self._before)
        self._gain.write(out)
        self._loss.write(out)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot."""
        self.value = take_optional(reader)
        self._count = reader.take()
        self._last = take_float(reader)
        self._before = take_float(reader)
        self._gain.read(reader)
        self._loss.read(reader)


class Macd(SeriesIndicator):
    """Moving average convergence and divergence: `value` is the line, with `signal` and `histogram`."""

    __slots__ = ("_count", "_fast", "_skipped", "_slow", "_smooth", "histogram", "signal")

    def __init__(self, fast: int, slow: int, signal: int) -> None:
        super().__init__()
        if fast >= slow:
            raise ValueError(f"the fast period, {fast}, is not shorter than the slow one, {slow}")
        self.signal: float | None = None
        self.histogram: float | None = None
        self._fast = Ema(fast)
        self._slow = Ema(slow)
        self._smooth = Ema(signal)
        # Bars that the fast average does not see, so that both begin at the same bar.
        self._skipped: int = slow - fast
        self._count: int = 0

    def update(self, value: float) -> float | None:
        """Take a value; returns the line."""
        self._count += 1
        slow = self._slow.update(value)
        if self._count > self._skipped:
            fast = self._fast.update(value)
            if fast is not None and slow is not None:
                self._set(fast - slow, self._smooth.update(fast - slow))
        return self.value

    def revise(self, value: float) -> float | None:
        """Replace the last value."""
        slow = self._slow.revise(value)
        if self._count > self._skipped:
            fast = self._fast.revise(value)
            if fast is not None and slow is not None:
                self._set(fast - slow, self._smooth.revise(fast - slow))
        return self.value

    def _set(self, line: float, signal: float | None) -> None:
        self.value = line
        self.signal = signal
        self.histogram = None if signal is None else line - signal

    def put_values(self, into: list[float | None]) -> None:
        """Append the line, the signal and the histogram."""
        into.append(self.value)
        into.append(self.signal)
        into.append(self.histogram)

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        put_optional(out, self.value)
        put_optional(out, self.signal)
        put_optional(out, self.histogram)
        out.put(self._count)
        self._fast.write(out)
        self._slow.write(out)
        self._smooth.write(out)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot."""
        self.value = take_optional(reader)
        self.signal = take_optional(reader)
        self.histogram = take_optional(reader)
        self._count = reader.take()
        self._fast.read(reader)
        self._slow.read(reader)
        self._smooth.read(reader)
