"""How far prices move: true range, ATR, Bollinger bands (as TA-Lib defines them) and realised volatility.

Indices count from 0.
- True range: from bar 1; the largest of high - low, |high - close before| and |low - close before|.
- ATR n (Wilder): begins at n with the mean of the true ranges 1 to n, goes on with (before * (n-1) + range) / n.
- Bollinger bands n, k: from n-1; the mean of n, and k population deviations (divided by n) above and below it.
- Realised volatility n: from n; the sample deviation (divided by n-1) of the last n log returns, times the square root
  of the periods in a year. Not one of TA-Lib's.

Ordering, invariants and revisions are those of indicators.py.
Choices: bands of equal prices lie exactly on their mean. A log return from or to a price that is not positive does not
exist; there is no volatility until n returns in a row do.
Known limits: values must be finite.
Complexity: constant an update, amortised; memory of a window for bands and realised volatility.
"""

import math

from udfs.domain.indicators import BarIndicator, SeriesIndicator, WilderMean
from udfs.domain.rolling import (
    NothingToRevise,
    RollingMoments,
    RollingSum,
    check_period,
    expect,
    put_float,
    put_optional,
    take_float,
    take_optional,
)
from udfs.domain.state_codec import StateReader, StateWriter


class TrueRange(BarIndicator):
    """The range of a bar, with the gap from the close before it."""

    __slots__ = ("_before", "_count", "_last")

    def __init__(self) -> None:
        super().__init__()
        self._count: int = 0
        self._last: float = 0.0
        self._before: float = 0.0

    def update(self, high: float, low: float, close: float) -> float | None:
        """Take a bar; returns its true range."""
        self._count += 1
        self._before = self._last
        return self._apply(high, low, close)

    def revise(self, high: float, low: float, close: float) -> float | None:
        """Replace the last bar."""
        if self._count == 0:
            raise NothingToRevise()
        return self._apply(high, low, close)

    def _apply(self, high: float, low: float, close: float) -> float | None:
        self._last = close
        if self._count > 1:
            widest = high - low
            up = abs(high - self._before)
            down = abs(low - self._before)
            if up > widest:
                widest = up
            if down > widest:
                widest = down
            self.value = widest
        return self.value

    def update_bar(self, high: float, low: float, close: float, volume: float) -> None:
        """Take a bar."""
        self.update(high, low, close)

    def revise_bar(self, high: float, low: float, close: float, volume: float) -> None:
        """Replace the last bar."""
        self.revise(high, low, close)

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        put_optional(out, self.value)
        out.put(self._count)
        put_float(out, self._last)
        put_float(out, self._before)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot."""
        self.value = take_optional(reader)
        self._count = reader.take()
        self._last = take_float(reader)
        self._before = take_float(reader)


class Atr(BarIndicator):
    """Average true range."""

    __slots__ = ("_mean", "_range", "period")

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = check_period(period, 1)
        self._range = TrueRange()
        self._mean = WilderMean(period)

    def update(self, high: float, low: float, close: float) -> float | None:
        """Take a bar; returns the average."""
        reach = self._range.update(high, low, close)
        if reach is not None:
            self._mean.push(reach)
            self._look()
        return self.value

    def revise(self, high: float, low: float, close: float) -> float | None:
        """Replace the last bar."""
        reach = self._range.revise(high, low, close)
        if reach is not None:
            self._mean.replace(reach)
            self._look()
        return self.value

    def _look(self) -> None:
        if self._mean.full():
            self.value = self._mean.current

    def update_bar(self, high: float, low: float, close: float, volume: float) -> None:
        """Take a bar."""
        self.update(high, low, close)

    def revise_bar(self, high: float, low: float, close: float, volume: float) -> None:
        """Replace the last bar."""
        self.revise(high, low, close)

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        put_optional(out, self.value)
        self._range.write(out)
        self._mean.write(out)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot."""
        self.value = take_optional(reader)
        self._range.read(reader)
        self._mean.read(reader)


class BollingerBands(SeriesIndicator):
    """A simple moving average (`value`) between two bands, `upper` and `lower`."""

    __slots__ = ("_deviations", "_moments", "_window", "lower", "period", "upper")

    def __init__(self, period: int, deviations: float) -> None:
        super().__init__()
        self.period = check_period(period, 1)
        self._deviations = deviations
        # The middle has the bits of Sma, which a mean of the moments would not have.
        self._window = RollingSum(period)
        self._moments = RollingMoments(period)
        self.upper: float | None = None
        self.lower: float | None = None

    def update(self, value: float) -> float | None:
        """Take a value; returns the middle."""
        self._window.push(value)
        self._moments.push(value)
        return self._look()

    def revise(self, value: float) -> float | None:
        """Replace the last value."""
        self._window.replace(value)
        self._moments.replace(value)
        return self._look()

    def _look(self) -> float | None:
        if self._window.full():
            middle = self._window.total() / self.period
            reach = self._deviations * math.sqrt(self._moments.squares() / self.period)
            self.value = middle
            self.upper = middle + reach
            self.lower = middle - reach
        return self.value

    def put_values(self, into: list[float | None]) -> None:
        """Append the upper band, the middle and the lower band."""
        into.append(self.upper)
        into.append(self.value)
        into.append(self.lower)

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        put_optional(out, self.upper)
        put_optional(out, self.value)
        put_optional(out, self.lower)
        self._window.write(out)
        self._moments.write(out)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot."""
        self.upper = take_optional(reader)
        self.value = take_optional(reader)
        self.lower = take_optional(reader)
        self._window.read(reader)
        self._moments.read(reader)


class RealisedVolatility(SeriesIndicator):
    """The deviation of log returns, scaled to a year of `periods_per_year` bars: 0.2 is 20% a year."""

    __slots__ = ("_before", "_count", "_last", "_moments", "_periods", "_run", "_run_before", "period")

    def __init__(self, period: int, periods_per_year: float = 252.0) -> None:
        super().__init__()
        self.period = check_period(period, 2)
        self._periods = periods_per_year
        self._moments = RollingMoments(period)
        self._count: int = 0
        self._last: float = 0.0
        self._before: float = 0.0
        # How many of the last returns in a row exist.
        self._run: int = 0
        self._run_before: int = 0

    def update(self, value: float) -> float | None:
        """Take a price; returns the volatility."""
        self._count += 1
        self._before = self._last
        self._run_before = self._run
        self._last = value
        if self._count > 1:
            self._moments.push(self._return())
            self._look()
        return self.value

    def revise(self, value: float) -> float | None:
        """Replace the last price."""
        if self._count == 0:
            raise NothingToRevise()
        self._last = value
        if self._count > 1:
            self._moments.replace(self._return())
            self._look()
        return self.value

    def _return(self) -> float:
        """The last log return; 0, with a run that is broken, where there is none."""
        if self._last > 0.0 and self._before > 0.0:
            self._run = self._run_before + 1
            return math.log(self._last / self._before)
        self._run = 0
        return 0.0

    def _look(self) -> None:
        if self._run >= self.period:
            self.value = math.sqrt(self._moments.squares() / (self.period - 1) * self._periods)
        else:
            self.value = None

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        out.put(self.period)
        put_optional(out, self.value)
        out.put(self._count)
        put_float(out, self._last)
        put_float(out, self._before)
        out.put(self._run)
        out.put(self._run_before)
        self._moments.write(out)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot."""
        expect(reader, self.period)
        self.value = take_optional(reader)
        self._count = reader.take()
        self._last = take_float(reader)
        self._before = take_float(reader)
        self._run = reader.take()
        self._run_before = reader.take()
        self._moments.read(reader)
