"""The indicators of the bars of one symbol and one length, of which the last bar can be revised or taken back.

`session_vwap` is the turnover divided by the volume of all bars of a day in New York up to the last one, exactly.

Ordering: bars come in the order of their starts; the last one may come again, changed, and without trades when all of them
were taken back.
Invariants: the values are those of a series in which the last bar had been right from the start, or had never been.
Known limits: a bar before the last one changes no indicator any more.
Complexity: that of the indicators, and their state written down once a bar.
"""

from typing import Final

from udfs.domain.bars import TRADES_VERSION, Bar
from udfs.domain.indicator_specs import IndicatorSet, IndicatorSpec
from udfs.domain.new_york import new_york_day
from udfs.domain.state_codec import StateReader, StateWriter

_LONG_AGO: Final = -(2**62)
_KIND: Final = 10
_VERSION: Final = 1
_E4: Final = 10_000.0
SESSIONS_VERSION: Final = 3
"""Snapshots of earlier versions have no totals of the day: those begin with the first bar after it."""


class IndicatorSeries:
    """`last_start_ns` is the bar that can be revised."""

    __slots__ = (
        "_before",
        "_day",
        "_earlier_ns",
        "_indicators",
        "_last_turnover_e4",
        "_last_volume",
        "_turnover_e4",
        "_volume",
        "last_start_ns",
    )

    def __init__(self, specs: list[IndicatorSpec]) -> None:
        self.last_start_ns: int = _LONG_AGO
        self._indicators = IndicatorSet(specs)
        # The state before the last bar, and the bar before it.
        self._before = b""
        self._earlier_ns: int = _LONG_AGO
        # The day of the last bar; totals of its bars before the last one, and those of the last one.
        self._day: int = 0
        self._turnover_e4: int = 0
        self._volume: int = 0
        self._last_turnover_e4: int = 0
        self._last_volume: int = 0

    def follow(self, bar: Bar) -> list[float | None] | None:
        """Take a bar; returns all outputs, None where one is not defined. No list: the bar changes nothing."""
        if bar.trades == 0 or bar.start_ns < self.last_start_ns:
            return None
        high, low, close = bar.high_e4 / _E4, bar.low_e4 / _E4, bar.close_e4 / _E4
        if bar.start_ns == self.last_start_ns:
            self._last_turnover_e4, self._last_volume = bar.turnover_e4, bar.volume
            return self._indicators.revise_bar(high, low, close, float(bar.volume))
        out = StateWriter()
        self._indicators.write(out)
        self._before = out.finish(_VERSION, _KIND)
        self._earlier_ns = self.last_start_ns
        self.last_start_ns = bar.start_ns
        self._begin_bar(bar)
        return self._indicators.update_bar(high, low, close, float(bar.volume))

    def take_back(self, bar: Bar) -> list[float | None] | None:
        """The last bar has lost all its trades; returns the outputs that it had. No list: it is not the last bar."""
        if bar.start_ns != self.last_start_ns or not self._before:
            return None
        values = self._indicators.values()
        self._indicators.read(StateReader(self._before, _KIND, _VERSION))
        self.last_start_ns = self._earlier_ns
        self._before = b""
        self._last_turnover_e4 = self._last_volume = 0
        return values

    def session_vwap(self) -> float | None:
        """Mean price in currency, weighted by volume, of the day's trades up to the last bar; None without volume."""
        volume = self._volume + self._last_volume
        if volume <= 0:
            return None
        return (self._turnover_e4 + self._last_turnover_e4) / (volume * 10_000)

    def _begin_bar(self, bar: Bar) -> None:
        """Put the last bar with those before it, or begin a new day."""
        day = new_york_day(bar.start_ns)
        if day != self._day:
            self._day = day
            self._turnover_e4 = self._volume = 0
        else:
            self._turnover_e4 += self._last_turnover_e4
            self._volume += self._last_volume
        self._last_turnover_e4, self._last_volume = bar.turnover_e4, bar.volume

    def copy(self, specs: list[IndicatorSpec]) -> "IndicatorSeries":
        """One that is as this is now; `specs` as it was made with."""
        out = StateWriter()
        self.write(out)
        copy = IndicatorSeries(specs)
        copy.read(StateReader(out.finish(SESSIONS_VERSION, _KIND), _KIND, SESSIONS_VERSION))
        return copy

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        out.put(self.last_start_ns)
        self._indicators.write(out)
        out.put(self._earlier_ns)
        out.put_bytes(self._before)
        out.put(self._day)
        out.put_wide(self._turnover_e4)
        out.put(self._volume)
        out.put_wide(self._last_turnover_e4)
        out.put(self._last_volume)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot of a series with the same indicators."""
        self.last_start_ns = reader.take()
        self._indicators.read(reader)
        if reader.version >= TRADES_VERSION:
            self._earlier_ns = reader.take()
            self._before = reader.take_bytes()
        if reader.version >= SESSIONS_VERSION:
            self._day = reader.take()
            self._turnover_e4 = reader.take_wide()
            self._volume = reader.take()
            self._last_turnover_e4 = reader.take_wide()
            self._last_volume = reader.take()
