"""The indicators of the bars of one symbol and one length, of which the last bar can be revised or taken back.

Ordering: bars come in the order of their starts; the last one may come again, changed, and without trades when all of them
were taken back.
Invariants: the values are those of a series in which the last bar had been right from the start, or had never been.
Known limits: a bar before the last one changes no indicator any more.
Complexity: that of the indicators, and their state written down once a bar.
"""

from typing import Final

from udfs.domain.bars import TRADES_VERSION, Bar
from udfs.domain.indicator_specs import IndicatorSet, IndicatorSpec
from udfs.domain.state_codec import StateReader, StateWriter

_LONG_AGO: Final = -(2**62)
_KIND: Final = 10
_VERSION: Final = 1
_E4: Final = 10_000.0


class IndicatorSeries:
    """`last_start_ns` is the bar that can be revised."""

    __slots__ = ("_before", "_earlier_ns", "_indicators", "last_start_ns")

    def __init__(self, specs: list[IndicatorSpec]) -> None:
        self.last_start_ns: int = _LONG_AGO
        self._indicators = IndicatorSet(specs)
        # The state before the last bar, and the bar before it.
        self._before = b""
        self._earlier_ns: int = _LONG_AGO

    def follow(self, bar: Bar) -> list[float | None] | None:
        """Take a bar; returns all outputs, None where one is not defined. No list: the bar changes nothing."""
        if bar.trades == 0 or bar.start_ns < self.last_start_ns:
            return None
        high, low, close = bar.high_e4 / _E4, bar.low_e4 / _E4, bar.close_e4 / _E4
        if bar.start_ns == self.last_start_ns:
            return self._indicators.revise_bar(high, low, close, float(bar.volume))
        out = StateWriter()
        self._indicators.write(out)
        self._before = out.finish(_VERSION, _KIND)
        self._earlier_ns = self.last_start_ns
        self.last_start_ns = bar.start_ns
        return self._indicators.update_bar(high, low, close, float(bar.volume))

    def take_back(self, bar: Bar) -> list[float | None] | None:
        """The last bar has lost all its trades; returns the outputs that it had. No list: it is not the last bar."""
        if bar.start_ns != self.last_start_ns or not self._before:
            return None
        values = self._indicators.values()
        self._indicators.read(StateReader(self._before, _KIND, _VERSION))
        self.last_start_ns = self._earlier_ns
        self._before = b""
        return values

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        out.put(self.last_start_ns)
        self._indicators.write(out)
        out.put(self._earlier_ns)
        out.put_bytes(self._before)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot of a series with the same indicators."""
        self.last_start_ns = reader.take()
        self._indicators.read(reader)
        if reader.version >= TRADES_VERSION:
            self._earlier_ns = reader.take()
            self._before = reader.take_bytes()
