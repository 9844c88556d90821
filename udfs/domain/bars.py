"""Bars of trades in event time: open, high, low, close, volume, turnover and count of one symbol and one length.

A bar covers [start, end). Starts are multiples of the length since the Unix epoch in UTC, not since the opening of an
exchange: bars of one length are the same for every market, and each length divides the longer ones. An hour of New York
begins at a full UTC hour in summer and winter, so the bar of 09:00 holds what trades from 09:30 on.

Ordering: trades may come in any order. The open is the earliest trade, the close the latest; of trades at the same
nanosecond the first to come opens and the last to come closes. Bars are given in the order of their starts.
The watermark is the highest time seen less `out_of_order_ns`: a bar is given (revision 0) when the watermark has passed
its end. A trade that comes later is late: up to `lateness_ns` after its bar's end, by the watermark, it is applied
and the bar is given again with the next revision; after that it is refused (LATE), for the caller to publish.
Corrections and cancels: a builder that keeps its trades changes one or takes it back (`change`) while its bar can still
change, and makes the bar anew of what is left. A bar that was given and has lost its last trade is given as one without trades.
Invariants: windows that never had a trade have no bar; the trades that were taken make the same last revisions in whatever
order they came, but for the ties above; longer bars are equal to the merged shorter ones.
Known limits: a time far in the future moves the watermark and makes all that follows late: refuse such times before.
While lateness_ns is not above the length, only the bar given last can be revised.
Complexity: constant a trade, linear in the trades of the bar for a change. Memory: the bars that can still change,
(out of order + lateness) / length + 2, and a number for each of their trades where they are kept.
"""

from typing import Final

from udfs.domain.bar_trades import BarTrades
from udfs.domain.state_codec import StateReader, StateWriter

SECOND_NS: Final = 1_000_000_000
MINUTE_NS: Final = 60 * SECOND_NS
HOUR_NS: Final = 60 * MINUTE_NS
LENGTHS_NS: Final = (SECOND_NS, MINUTE_NS, 5 * MINUTE_NS, 15 * MINUTE_NS, HOUR_NS)

TAKEN: Final = 0
REVISED: Final = 1
LATE: Final = 2
UNKNOWN: Final = 3
"""A change of a trade that its bar does not have."""

TRADES_VERSION: Final = 2
"""Snapshots of earlier versions have no trades."""
PENDING: Final = -1
"""The revision of a bar that was not given yet."""
_LONG_AGO: Final = -(2**62)
_NOTHING_DUE: Final = 2**62


class Bar:
    """One bar. Prices in 1/10,000; turnover is the sum of price * volume, exactly; `revision` is 0 for the first."""

    __slots__ = (
        "close_e4",
        "end_ns",
        "first_ns",
        "high_e4",
        "last_ns",
        "low_e4",
        "open_e4",
        "revision",
        "start_ns",
        "trades",
        "turnover_e4",
        "volume",
    )

    def __init__(self, start_ns: int, end_ns: int) -> None:
        self.start_ns = start_ns
        self.end_ns = end_ns
        self.open_e4: int = 0
        self.high_e4: int = 0
        self.low_e4: int = 0
        self.close_e4: int = 0
        self.volume: int = 0
        self.turnover_e4: int = 0
        self.trades: int = 0
        self.first_ns: int = 0
        """Time of the trade that opens."""
        self.last_ns: int = 0
        """Time of the trade that closes."""
        self.revision: int = PENDING

    def add(self, price_e4: int, volume: int, time_ns: int) -> None:
        """Take a trade of the bar's time."""
        if self.trades == 0:
            self.open_e4 = price_e4
            self.high_e4 = price_e4
            self.low_e4 = price_e4
            self.close_e4 = price_e4
            self.first_ns = time_ns
            self.last_ns = time_ns
        else:
            if price_e4 > self.high_e4:
                self.high_e4 = price_e4
            elif price_e4 < self.low_e4:
                self.low_e4 = price_e4
            if time_ns >= self.last_ns:
                self.close_e4 = price_e4
                self.last_ns = time_ns
            elif time_ns < self.first_ns:
                self.open_e4 = price_e4
                self.first_ns = time_ns
        self.trades += 1
        self.volume += volume
        self.turnover_e4 += price_e4 * volume

    def merge(self, other: "Bar") -> None:
        """Take all trades of a bar that lies within this one, as if they came after those that are here."""
        if other.trades == 0:
            return
        if self.trades == 0:
            self.open_e4 = other.open_e4
            self.high_e4 = other.high_e4
            self.low_e4 = other.low_e4
            self.close_e4 = other.close_e4
            self.first_ns = other.first_ns
            self.last_ns = other.last_ns
        else:
            if other.high_e4 > self.high_e4:
                self.high_e4 = other.high_e4
            if other.low_e4 < self.low_e4:
                self.low_e4 = other.low_e4
            if other.last_ns >= self.last_ns:
                self.close_e4 = other.close_e4
                self.last_ns = other.last_ns
            if other.first_ns < self.first_ns:
                self.open_e4 = other.open_e4
                self.first_ns = other.first_ns
        self.trades += other.trades
        self.volume += other.volume
        self.turnover_e4 += other.turnover_e4

    def clear(self) -> None:
        """Forget the trades; what window it is and how often it was given stays."""
        self.open_e4 = 0
        self.high_e4 = 0
        self.low_e4 = 0
        self.close_e4 = 0
        self.volume = 0
        self.turnover_e4 = 0
        self.trades = 0
        self.first_ns = 0
        self.last_ns = 0

    def vwap_e4(self) -> int | None:
        """Turnover divided by volume, rounded half to even; None without volume."""
        if self.volume <= 0:
            return None
        whole = self.turnover_e4 // self.volume
        twice = 2 * (self.turnover_e4 - whole * self.volume)
        if twice > self.volume or (twice == self.volume and whole % 2 != 0):
            whole += 1
        return whole

    def same_trades(self, other: "Bar") -> bool:
        """Whether two bars of one window say the same of their trades."""
        return (
            self.trades == other.trades
            and self.volume == other.volume
            and self.turnover_e4 == other.turnover_e4
            and self.open_e4 == other.open_e4
            and self.high_e4 == other.high_e4
            and self.low_e4 == other.low_e4
            and self.close_e4 == other.close_e4
            and self.last_ns == other.last_ns
        )

    def copy(self) -> "Bar":
        """The bar as it is now."""
        bar = Bar(self.start_ns, self.end_ns)
        bar.merge(self)
        bar.revision = self.revision
        return bar

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        out.put(self.start_ns)
        out.put(self.end_ns)
        out.put(self.open_e4)
        out.put(self.high_e4)
        out.put(self.low_e4)
        out.put(self.close_e4)
        out.put(self.volume)
        out.put_wide(self.turnover_e4)
        out.put(self.trades)
        out.put(self.first_ns)
        out.put(self.last_ns)
        out.put(self.revision)


def read_bar(reader: StateReader) -> Bar:
    """A bar from a snapshot, as `Bar.write` put it."""
    start_ns = reader.take()
    bar = Bar(start_ns, reader.take())
    bar.open_e4 = reader.take()
    bar.high_e4 = reader.take()
    bar.low_e4 = reader.take()
    bar.close_e4 = reader.take()
    bar.volume = reader.take()
    bar.turnover_e4 = reader.take_wide()
    bar.trades = reader.take()
    bar.first_ns = reader.take()
    bar.last_ns = reader.take()
    bar.revision = reader.take()
    return bar


class BarBuilder:
    """Bars of one length. `ready` holds the bars that are to be given, until `take`.

    keep_trades: trades can be changed; `final` then holds the bars that can no longer change, until `take_final`.
    """

    __slots__ = (
        "bars",
        "due_ns",
        "final",
        "highest_ns",
        "keep_trades",
        "kept",
        "late",
        "lateness_ns",
        "length_ns",
        "out_of_order_ns",
        "ready",
        "settled",
    )

    def __init__(
        self, length_ns: int, out_of_order_ns: int = 0, lateness_ns: int = 0, keep_trades: bool = False
    ) -> None:
        if length_ns <= 0 or out_of_order_ns < 0 or lateness_ns < 0:
            raise ValueError("a bar needs a positive length, and delays that are not negative")
        self.length_ns = length_ns
        self.out_of_order_ns = out_of_order_ns
        self.lateness_ns = lateness_ns
        self.highest_ns: int = _LONG_AGO
        # The watermark at which there is something to do.
        self.due_ns: int = _NOTHING_DUE
        self.late: int = 0
        """Trades that were refused because they came too late."""
        self.ready: list[Bar] = []
        self.bars: dict[int, Bar] = {}
        """Bars that can still change, by start."""
        self.keep_trades = keep_trades
        self.kept: dict[int, BarTrades] = {}
        """Their trades, where they are kept."""
        self.settled: dict[int, bool] = {}
        """Bars of a snapshot without trades that had been given: a ladder has them as final."""
        self.final: list[Bar] = []

    def watermark_ns(self) -> int:
        """The time before which no more trades are expected."""
        return self.highest_ns - self.out_of_order_ns

    def add(self, price_e4: int, volume: int, time_ns: int) -> int:
        """Take a trade. TAKEN: in a bar that was not given yet; REVISED: its bar is given at once; LATE: refused."""
        bar = self._bar_at(time_ns)
        if bar is None:
            self.late += 1
            return LATE
        bar.add(price_e4, volume, time_ns)
        if self.keep_trades:
            kept = self.kept.get(bar.start_ns)
            if kept is not None:
                kept.add(price_e4, volume, time_ns - bar.start_ns)
        return self._added(bar, time_ns)

    def change(self, time_ns: int, price_e4: int, volume: int, new_price_e4: int, new_volume: int) -> int:
        """Give the trade of this time, price and volume another price and volume; `new_volume` 0 takes it back.

        TAKEN: its bar was not given yet; REVISED: its bar is given at once; LATE: it can no longer change, or its trades
        are not kept; UNKNOWN: it has no such trade.
        """
        start_ns = time_ns - time_ns % self.length_ns
        bar = self.bars.get(start_ns)
        if bar is None:
            return LATE if self.is_final(time_ns) else UNKNOWN
        kept = self.kept.get(start_ns)
        if kept is None:
            return LATE
        if not kept.change(time_ns - start_ns, price_e4, volume, new_price_e4, new_volume):
            return UNKNOWN
        bar.clear()
        for place in range(kept.count()):
            bar.add(kept.price_e4(place), kept.volume(place), start_ns + kept.offset_ns(place))
        return self.remade(bar)

    def remade(self, bar: Bar) -> int:
        """What follows from a bar that was made anew: TAKEN or REVISED."""
        if bar.revision != PENDING:
            bar.revision += 1
            self.ready.append(bar.copy())
            return REVISED
        if bar.trades == 0:
            self._forget(bar.start_ns)
        return TAKEN

    def _forget(self, start_ns: int) -> None:
        del self.bars[start_ns]
        if start_ns in self.kept:
            del self.kept[start_ns]
        if start_ns in self.settled:
            del self.settled[start_ns]

    def take_final(self) -> list[Bar]:
        """The bars that can no longer change since they were last taken."""
        final = self.final
        if final:
            self.final = []
        return final

    def add_bar(self, shorter: Bar) -> int:
        """Take a bar that lies within one of these, instead of its trades. Raises ValueError when it does not.

        A later revision of it must not come this way, it would count twice: give `add` the late trade.
        """
        bar = self._bar_at(shorter.start_ns)
        if bar is None:
            self.late += shorter.trades
            return LATE
        if shorter.end_ns > bar.end_ns:
            raise ValueError(f"a bar to {shorter.end_ns} does not lie within one to {bar.end_ns}")
        bar.merge(shorter)
        return self._added(bar, shorter.last_ns)

    def advance(self, time_ns: int) -> None:
        """Time has come so far elsewhere, on another symbol or by a clock of the feed."""
        if time_ns > self.highest_ns:
            self.highest_ns = time_ns
            if time_ns - self.out_of_order_ns >= self.due_ns:
                self._pass()

    def finish(self) -> None:
        """Give all bars that were not given: there will be no more trades."""
        for bar in list(self.bars.values()):
            self.advance(bar.end_ns + self.out_of_order_ns)

    def take(self) -> list[Bar]:
        """The bars that became ready since they were last taken."""
        ready = self.ready
        if ready:
            self.ready = []
        return ready

    def is_final(self, time_ns: int) -> bool:
        """Whether the bar of a time can no longer change."""
        end_ns = time_ns - time_ns % self.length_ns + self.length_ns
        return end_ns + self.lateness_ns <= self.watermark_ns()

    def _bar_at(self, time_ns: int) -> Bar | None:
        """The bar of a time, or None when it can no longer change."""
        start_ns = time_ns - time_ns % self.length_ns
        bar = self.bars.get(start_ns)
        if bar is not None:
            return bar
        if self.is_final(time_ns):
            return None
        end_ns = start_ns + self.length_ns
        bar = Bar(start_ns, end_ns)
        self.bars[start_ns] = bar
        if self.keep_trades:
            self.kept[start_ns] = BarTrades()
        if end_ns < self.due_ns:
            self.due_ns = end_ns
        return bar

    def _added(self, bar: Bar, time_ns: int) -> int:
        """What follows from a bar that has grown."""
        status = TAKEN
        if bar.end_ns <= self.watermark_ns():
            bar.revision += 1
            self.ready.append(bar.copy())
            status = REVISED
        if time_ns > self.highest_ns:
            self.highest_ns = time_ns
        if self.watermark_ns() >= self.due_ns:
            self._pass()
        return status

    def _pass(self) -> None:
        """Give the bars whose end the watermark has passed, and forget those that can no longer change."""
        watermark = self.watermark_ns()
        due = _NOTHING_DUE
        for start_ns in sorted(self.bars):
            bar = self.bars[start_ns]
            next_ns = bar.end_ns
            if watermark >= next_ns:
                if bar.revision == PENDING:
                    bar.revision = 0
                    self.ready.append(bar.copy())
                next_ns += self.lateness_ns
            if watermark >= next_ns:
                if self.keep_trades and start_ns not in self.settled:
                    self.final.append(bar)
                self._forget(start_ns)
            elif next_ns < due:
                due = next_ns
        self.due_ns = due

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        out.put(self.highest_ns)
        out.put(self.due_ns)
        out.put(self.late)
        out.put(len(self.bars))
        for start_ns in sorted(self.bars):
            self.bars[start_ns].write(out)
        out.put(len(self.ready))
        for bar in self.ready:
            bar.write(out)
        if self.keep_trades:
            for start_ns in sorted(self.bars):
                kept = self.kept.get(start_ns)
                out.put_flag(kept is not None)
                if kept is not None:
                    kept.write(out)
                out.put_flag(start_ns in self.settled)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot, as `write` of a builder with the same settings put it."""
        self.highest_ns = reader.take()
        self.due_ns = reader.take()
        self.late = reader.take()
        self.bars = {}
        for _ in range(reader.take()):
            bar = read_bar(reader)
            self.bars[bar.start_ns] = bar
        self.ready = []
        for _ in range(reader.take()):
            self.ready.append(read_bar(reader))
        self.kept = {}
        self.settled = {}
        self.final = []
        if self.keep_trades:
            self._read_trades(reader)

    def _read_trades(self, reader: StateReader) -> None:
        for start_ns in sorted(self.bars):
            if reader.version < TRADES_VERSION:
                if self.bars[start_ns].revision != PENDING:
                    self.settled[start_ns] = True
                continue
            if reader.take_flag():
                kept = BarTrades()
                kept.read(reader)
                self.kept[start_ns] = kept
            if reader.take_flag():
                self.settled[start_ns] = True
