"""Bars of trades in event time: open, high, low, close, volume, turnover and count of one symbol and one length.

A bar covers [start, end). Starts are multiples of the length since the Unix epoch in UTC, not since the opening of an
exchange: bars of one length are the same for every market, and each length divides the longer ones. An hour of New York
begins at a full UTC hour in summer and winter, so the bar of 09:00 holds what trades from 09:30 on.

Ordering: trades may come in any order. The open is the earliest trade, the close the latest; of trades at the same
nanosecond the first to come opens and the last to come closes. Bars are given in the order of their starts.
The watermark is the highest time seen less `out_of_order_ns`: a bar is given (revision 0) when the watermark has passed
its end. A trade that comes later is late: up to `lateness_ns` after its bar's end, by the watermark, it is applied
and the bar is given again with the next revision; after that it is refused (LATE), for the caller to publish.
Invariants: a bar has at least one trade, windows without trades have none; the trades that were taken make the
same last revisions in whatever order they came, but for the ties above; longer bars are equal to the merged shorter ones.
Known limits: trades cannot be taken out again (high and low do not know the second best): a cancelled trade needs its
bar built anew. A time far in the future moves the watermark and makes all that follows late: refuse such times before.
While lateness_ns is not above the length, only the bar given last can be revised.
Complexity: constant a trade. Memory: the bars that can still change, (out of order + lateness) / length + 2.
"""

from typing import Final

from udfs.domain.state_codec import StateReader, StateWriter

SECOND_NS: Final = 1_000_000_000
MINUTE_NS: Final = 60 * SECOND_NS
HOUR_NS: Final = 60 * MINUTE_NS
LENGTHS_NS: Final = (SECOND_NS, MINUTE_NS, 5 * MINUTE_NS, 15 * MINUTE_NS, HOUR_NS)

TAKEN: Final = 0
REVISED: Final = 1
LATE: Final = 2

_PENDING: Final = -1
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
        self.revision: int = _PENDING

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

    def vwap_e4(self) -> int | None:
        """Turnover divided by volume, rounded half to even; None without volume."""
        if self.volume <= 0:
            return None
        whole = self.turnover_e4 // self.volume
        twice = 2 * (self.turnover_e4 - whole * self.volume)
        if twice > self.volume or (twice == self.volume and whole % 2 != 0):
            whole += 1
        return whole

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
        out.put(self.turnover_e4)
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
    bar.turnover_e4 = reader.take()
    bar.trades = reader.take()
    bar.first_ns = reader.take()
    bar.last_ns = reader.take()
    bar.revision = reader.take()
    return bar


class BarBuilder:
    """Bars of one length. `ready` holds the bars that are to be given, until `take`."""

    __slots__ = ("_bars", "due_ns", "highest_ns", "late", "lateness_ns", "length_ns", "out_of_order_ns", "ready")

    def __init__(self, length_ns: int, out_of_order_ns: int = 0, lateness_ns: int = 0) -> None:
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
        # Bars that can still change, by start.
        self._bars: dict[int, Bar] = {}

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
        return self._added(bar, time_ns)

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
        for bar in list(self._bars.values()):
            self.advance(bar.end_ns + self.out_of_order_ns)

    def take(self) -> list[Bar]:
        """The bars that became ready since they were last taken."""
        ready = self.ready
        if ready:
            self.ready = []
        return ready

    def _bar_at(self, time_ns: int) -> Bar | None:
        """The bar of a time, or None when it can no longer change."""
        start_ns = time_ns - time_ns % self.length_ns
        bar = self._bars.get(start_ns)
        if bar is not None:
            return bar
        end_ns = start_ns + self.length_ns
        if end_ns + self.lateness_ns <= self.watermark_ns():
            return None
        bar = Bar(start_ns, end_ns)
        self._bars[start_ns] = bar
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
        for start_ns in sorted(self._bars):
            bar = self._bars[start_ns]
            next_ns = bar.end_ns
            if watermark >= next_ns:
                if bar.revision == _PENDING:
                    bar.revision = 0
                    self.ready.append(bar.copy())
                next_ns += self.lateness_ns
            if watermark >= next_ns:
                del self._bars[start_ns]
            elif next_ns < due:
                due = next_ns
        self.due_ns = due

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        out.put(self.highest_ns)
        out.put(self.due_ns)
        out.put(self.late)
        out.put(len(self._bars))
        for start_ns in sorted(self._bars):
            self._bars[start_ns].write(out)
        out.put(len(self.ready))
        for bar in self.ready:
            bar.write(out)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot, as `write` of a builder with the same settings put it."""
        self.highest_ns = reader.take()
        self.due_ns = reader.take()
        self.late = reader.take()
        self._bars = {}
        for _ in range(reader.take()):
            bar = read_bar(reader)
            self._bars[bar.start_ns] = bar
        self.ready = []
        for _ in range(reader.take()):
            self.ready.append(read_bar(reader))


class BarLadder:
    """Bars of several lengths from the same trades: the shortest is built, the longer ones are put together from it.

    Gives exactly what a builder for each length would give, at little more than the cost of one. A trade that is too
    late for its shortest bar may still count in longer ones, as it would there. The bars of one call come shortest first.
    """

    __slots__ = ("_due_ns", "_longer", "_shortest", "ready")

    def __init__(self, lengths_ns: list[int], out_of_order_ns: int = 0, lateness_ns: int = 0) -> None:
        shortest = min(lengths_ns)
        for length_ns in lengths_ns:
            if length_ns % shortest:
                raise ValueError(f"bars of {shortest} ns do not make bars of {length_ns} ns")
        self._shortest = BarBuilder(shortest, out_of_order_ns, lateness_ns)
        self._longer: list[BarBuilder] = []
        for length_ns in sorted(set(lengths_ns)):
            if length_ns != shortest:
                self._longer.append(BarBuilder(length_ns, out_of_order_ns, lateness_ns))
        # The watermark at which a longer bar is to be given or forgotten.
        self._due_ns: int = _NOTHING_DUE
        self.ready: list[Bar] = []

    def add(self, price_e4: int, volume: int, time_ns: int) -> int:
        """Take a trade; returns what it was for its shortest bar: TAKEN, REVISED or LATE."""
        shortest = self._shortest
        status = shortest.add(price_e4, volume, time_ns)
        if status != TAKEN:
            # Its bar has been handed on before: the longer bars take the trade itself.
            self.ready.extend(shortest.take())
            for builder in self._longer:
                builder.advance(shortest.highest_ns)
                builder.add(price_e4, volume, time_ns)
            self._collect()
        elif shortest.ready or shortest.watermark_ns() >= self._due_ns:
            self._hand_on()
        return status

    def advance(self, time_ns: int) -> None:
        """Time has come so far elsewhere."""
        shortest = self._shortest
        shortest.advance(time_ns)
        # A clock calls this for every symbol and second, mostly for nothing.
        if shortest.ready or shortest.watermark_ns() >= self._due_ns:
            self._hand_on()

    def finish(self) -> None:
        """Give all bars that were not given: there will be no more trades."""
        self._shortest.finish()
        self._hand_on()
        for builder in self._longer:
            builder.finish()
        self._collect()

    def take(self) -> list[Bar]:
        """The bars that became ready since they were last taken."""
        ready = self.ready
        if ready:
            self.ready = []
        return ready

    def _hand_on(self) -> None:
        """Merge the bars that became ready into the longer ones, and let time pass there too."""
        done = self._shortest.take()
        self.ready.extend(done)
        for builder in self._longer:
            for bar in done:
                builder.add_bar(bar)
            builder.advance(self._shortest.highest_ns)
        self._collect()

    def _collect(self) -> None:
        """Gather what the longer ones give, and when they next have to be looked at."""
        due_ns = _NOTHING_DUE
        for builder in self._longer:
            if builder.ready:
                self.ready.extend(builder.take())
            if builder.due_ns < due_ns:
                due_ns = builder.due_ns
        self._due_ns = due_ns

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        out.put(self._due_ns)
        self._shortest.write(out)
        for builder in self._longer:
            builder.write(out)
        out.put(len(self.ready))
        for bar in self.ready:
            bar.write(out)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot, as `write` of a ladder with the same settings put it."""
        self._due_ns = reader.take()
        self._shortest.read(reader)
        for builder in self._longer:
            builder.read(reader)
        self.ready = []
        for _ in range(reader.take()):
            self.ready.append(read_bar(reader))
