"""What the analytics engine knows of one symbol, and of the symbols that share a Kafka partition and so a clock.

Ordering: that of the state's parts. Complexity: holds state, and writes and reads it.
"""

from typing import Final

from udfs.domain.analytics_settings import INDICATOR_LENGTHS_NS, AnalyticsSettings
from udfs.domain.bar_ladder import BarLadder
from udfs.domain.bars import LENGTHS_NS
from udfs.domain.early_bars import EARLY_VERSION, EarlyBars
from udfs.domain.indicator_series import SESSIONS_VERSION, IndicatorSeries
from udfs.domain.partition_silence import PartitionSilence
from udfs.domain.quote_board import QuoteBoard
from udfs.domain.state_codec import StateReader, StateWriter

LONG_AGO: Final = -(2**62)


class AnalyticsSymbol:
    """What is known of one symbol.

    quoted_ns: the time of its clock when its last quote came. early: bars that were told before their clock closed them, and
    quotes_told: by length, the end of the last window of quotes that was.
    """

    __slots__ = ("board", "early", "key", "ladder", "name", "quoted_ns", "quotes_told", "series")

    def __init__(self, name: str, settings: AnalyticsSettings) -> None:
        self.name = name
        self.key: bytes = name.encode("utf-8")
        self.board = QuoteBoard()
        self.quoted_ns: int = LONG_AGO
        self.early = EarlyBars()
        self.quotes_told: dict[int, int] = {}
        self.ladder = BarLadder(list(LENGTHS_NS), settings.out_of_order_ns, settings.lateness_ns)
        self.series: dict[int, IndicatorSeries] = {
            length: IndicatorSeries(settings.specs) for length in INDICATOR_LENGTHS_NS
        }

    def write(self, out: StateWriter) -> None:
        """Put all but the name into a snapshot."""
        self.ladder.write(out)
        for length in INDICATOR_LENGTHS_NS:
            self.series[length].write(out)
        out.put(self.quoted_ns)
        self.board.write(out)
        self.early.write(out)
        for length in INDICATOR_LENGTHS_NS:
            out.put(self.quotes_told.get(length, LONG_AGO))

    def read(self, reader: StateReader) -> None:
        """Take what `write` put, in this release or an earlier one."""
        self.ladder.read(reader)
        for length in INDICATOR_LENGTHS_NS:
            self.series[length].read(reader)
        if reader.version >= SESSIONS_VERSION:
            self.quoted_ns = reader.take()
            self.board.read(reader)
        if reader.version >= EARLY_VERSION:
            self.early.read(reader)
            for length in INDICATOR_LENGTHS_NS:
                self.quotes_told[length] = reader.take()


class AnalyticsPartition:
    """A clock and its symbols. `closed_ns`: the second up to which bars were looked at; `quotes_ns`: the time of quotes.

    silence: how long the topic has gone on without it. due_ns: the time of the clock, silence included, at which there may be
    something to tell early, as long as this partition is silent.
    """

    __slots__ = ("closed_ns", "due_ns", "newest_ns", "quotes_ns", "silence", "symbols")

    def __init__(self) -> None:
        self.newest_ns: int = LONG_AGO
        self.closed_ns: int = LONG_AGO
        self.quotes_ns: int = LONG_AGO
        self.due_ns: int = LONG_AGO
        self.silence = PartitionSilence()
        self.symbols: dict[str, AnalyticsSymbol] = {}
