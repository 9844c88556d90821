"""Bars of several lengths from the same trades: the shortest is built, the longer ones are put together from it.

Gives exactly what a builder for each length would give (bars.py), at little more than the cost of one. A trade that is too
late for its shortest bar may still count in longer ones, as it would there. The bars of one call come shortest first.

Corrections and cancels: a trade can be changed while its shortest bar can. A longer bar is then made anew of what is final in
it (`_settled`, one bar that shorter bars are merged into when they can no longer change, and trades that came too late for
theirs) and of the shorter bars that are still kept with their trades. So a change of a trade that is older than the lateness
is refused even for the hour's bar, which would take a late trade of that time.

Ordering, watermark, invariants: those of bars.py.
Complexity: constant a trade; a change costs the trades of its shortest bar and the shorter bars that are kept.
"""

from typing import Final

from udfs.domain.bars import LATE, PENDING, REVISED, TAKEN, TRADES_VERSION, Bar, BarBuilder, read_bar
from udfs.domain.state_codec import StateReader, StateWriter

_NOTHING_DUE: Final = 2**62


class _Settled:
    """What is final within each bar of one longer builder, by the bar's start."""

    __slots__ = ("bars", "builder")

    def __init__(self, builder: BarBuilder) -> None:
        self.builder = builder
        self.bars: dict[int, Bar] = {}

    def bar_at(self, time_ns: int) -> Bar:
        """What is final of the bar of a time."""
        length_ns = self.builder.length_ns
        start_ns = time_ns - time_ns % length_ns
        bar = self.bars.get(start_ns)
        if bar is None:
            bar = Bar(start_ns, start_ns + length_ns)
            self.bars[start_ns] = bar
        return bar

    def forget_old(self) -> None:
        """Forget what belongs to bars that can no longer change."""
        builder = self.builder
        for start_ns in list(self.bars):
            if start_ns + builder.length_ns + builder.lateness_ns <= builder.watermark_ns():
                del self.bars[start_ns]


class BarLadder:
    """Bars of several lengths. `ready` holds the bars that are to be given, until `take`."""

    __slots__ = ("_due_ns", "_lengths", "_longer", "_settled", "_shortest", "ready")

    def __init__(self, lengths_ns: list[int], out_of_order_ns: int = 0, lateness_ns: int = 0) -> None:
        shortest = min(lengths_ns)
        for length_ns in lengths_ns:
            if length_ns % shortest:
                raise ValueError(f"bars of {shortest} ns do not make bars of {length_ns} ns")
        self._lengths: list[int] = sorted(set(lengths_ns))
        self._shortest = BarBuilder(shortest, out_of_order_ns, lateness_ns, True)
        self._longer: list[BarBuilder] = []
        self._settled: list[_Settled] = []
        for length_ns in self._lengths:
            if length_ns != shortest:
                builder = BarBuilder(length_ns, out_of_order_ns, lateness_ns)
                self._longer.append(builder)
                self._settled.append(_Settled(builder))
        # The watermark at which a longer bar is to be given or forgotten.
        self._due_ns: int = _NOTHING_DUE
        self.ready: list[Bar] = []

    def add(self, price_e4: int, volume: int, time_ns: int) -> int:
        """Take a trade; returns what it was for its shortest bar: TAKEN, REVISED or LATE."""
        shortest = self._shortest
        status = shortest.add(price_e4, volume, time_ns)
        if shortest.final:
            self._settle()
        if status != TAKEN:
            # Its bar has been handed on before: the longer bars take the trade itself.
            self.ready.extend(shortest.take())
            start_ns = time_ns - time_ns % shortest.length_ns
            final = status == LATE or start_ns in shortest.settled
            for settled in self._settled:
                settled.builder.advance(shortest.highest_ns)
                if settled.builder.add(price_e4, volume, time_ns) != LATE and final:
                    settled.bar_at(time_ns).add(price_e4, volume, time_ns)
            self._collect()
        elif shortest.ready or shortest.watermark_ns() >= self._due_ns:
            self._hand_on()
        return status

    def change(self, time_ns: int, price_e4: int, volume: int, new_price_e4: int, new_volume: int) -> int:
        """Change a trade in the bars of all lengths, or take it back with `new_volume` 0; returns what BarBuilder.change does."""
        shortest = self._shortest
        status = shortest.change(time_ns, price_e4, volume, new_price_e4, new_volume)
        if status == REVISED:
            self.ready.extend(shortest.take())
            for settled in self._settled:
                self._remake(settled, time_ns)
            self._collect()
        return status

    def is_final(self, time_ns: int) -> bool:
        """Whether the shortest bar of a time can no longer change."""
        return self._shortest.is_final(time_ns)

    def advance(self, time_ns: int) -> None:
        """Time has come so far elsewhere."""
        shortest = self._shortest
        shortest.advance(time_ns)
        if shortest.final:
            self._settle()
        # A clock calls this for every symbol and second, mostly for nothing.
        if shortest.ready or shortest.watermark_ns() >= self._due_ns:
            self._hand_on()

    def finish(self) -> None:
        """Give all bars that were not given: there will be no more trades."""
        self._shortest.finish()
        self._settle()
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

    def watermark_ns(self) -> int:
        """The time before which no more trades are expected."""
        return self._shortest.watermark_ns()

    def pending(self, time_ns: int) -> list[Bar]:
        """The bars that end by a time and were not given, as they are now, shorter ones first; they stay as they are."""
        shortest = self._shortest
        parts = [shortest.bars[start] for start in sorted(shortest.bars) if shortest.bars[start].revision == PENDING]
        found = [part.copy() for part in parts if part.end_ns <= time_ns]
        for builder in self._longer:
            length_ns = builder.length_ns
            bars = {start: bar.copy() for start, bar in builder.bars.items() if bar.revision == PENDING}
            # A shorter bar that was not given lies in a longer one that was not given either.
            for part in parts:
                start_ns = part.start_ns - part.start_ns % length_ns
                if start_ns not in bars:
                    bars[start_ns] = Bar(start_ns, start_ns + length_ns)
                bars[start_ns].merge(part)
            found.extend([bars[start] for start in sorted(bars) if start + length_ns <= time_ns])
        return found

    def pending_end_ns(self, time_ns: int) -> int:
        """The first end after a time of a bar that was not given; far in the future when there is none."""
        first = _NOTHING_DUE
        for bar in self._shortest.bars.values():
            if bar.revision == PENDING:
                # It is not given in any longer bar either.
                for length_ns in self._lengths:
                    end_ns = bar.start_ns - bar.start_ns % length_ns + length_ns
                    if time_ns < end_ns < first:
                        first = end_ns
        for builder in self._longer:
            for bar in builder.bars.values():
                if bar.revision == PENDING and time_ns < bar.end_ns < first:
                    first = bar.end_ns
        return first

    def _settle(self) -> None:
        """Merge the shortest bars that can no longer change into what is final of the longer ones."""
        final = self._shortest.take_final()
        for settled in self._settled:
            builder = settled.builder
            for bar in final:
                # Before the longer builders' time passes: their bars cannot change for at least as long.
                if bar.trades > 0:
                    settled.bar_at(bar.start_ns).merge(bar)
            if len(settled.bars) > len(builder.bars):
                settled.forget_old()

    def _remake(self, settled: _Settled, time_ns: int) -> None:
        """Make the longer bar of a time anew."""
        builder = settled.builder
        start_ns = time_ns - time_ns % builder.length_ns
        bar = builder.bars.get(start_ns)
        if bar is None:
            return
        bar.clear()
        final = settled.bars.get(start_ns)
        if final is not None:
            bar.merge(final)
        shortest = self._shortest
        for part_ns in sorted(shortest.bars):
            part = shortest.bars[part_ns]
            if start_ns <= part_ns < bar.end_ns and part.revision != PENDING and part_ns not in shortest.settled:
                bar.merge(part)
        builder.remade(bar)

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
        for settled in self._settled:
            settled.builder.write(out)
            out.put(len(settled.bars))
            for start_ns in sorted(settled.bars):
                settled.bars[start_ns].write(out)
        out.put(len(self.ready))
        for bar in self.ready:
            bar.write(out)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot, as `write` of a ladder with the same settings put it."""
        self._due_ns = reader.take()
        self._shortest.read(reader)
        for settled in self._settled:
            settled.builder.read(reader)
            settled.bars = {}
            if reader.version < TRADES_VERSION:
                # What was given until then can no longer be changed.
                for start_ns, bar in settled.builder.bars.items():
                    settled.bars[start_ns] = bar.copy()
                continue
            for _ in range(reader.take()):
                bar = read_bar(reader)
                settled.bars[bar.start_ns] = bar
        self.ready = []
        for _ in range(reader.take()):
            self.ready.append(read_bar(reader))
