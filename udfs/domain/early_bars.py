"""Bars that are given before their own clock has closed them, because their source is silent and others have gone on.

Such a bar is provisional: its clock closes it later all the same, and it is then given again, whatever it is by then. This keeps
which bars of one symbol were given so, and numbers their revisions on, so that the highest one is always the last word.

Ordering: a bar is told early any number of times, then numbered each time that its own clock gives it.
Invariants: revisions of one bar are 0, 1, 2 ... without a gap; a bar that was told early is given once more when its clock passes
its end, without trades when they were all taken back. What was never told early is numbered as its builder has it.
Complexity: constant a bar. Memory: the bars told early that can still change.
"""

from typing import Final

from udfs.domain.bars import Bar, read_bar
from udfs.domain.state_codec import StateReader, StateWriter

EARLY_VERSION: Final = 4
"""Snapshots of earlier versions have no bars that were told early."""
HEARD_VERSION: Final = 5
"""Snapshots of earlier versions do not have Kafka's timestamp of a partition's last record."""
COUNTED_VERSION: Final = 6
"""Snapshots of earlier versions do not count a partition's silence, and have what was told by others of the same shard."""


class _Told:
    """A bar as it was last given. outputs: which values of indicators came with it. closed: its own clock has given it."""

    __slots__ = ("bar", "closed", "outputs")

    def __init__(self, bar: Bar) -> None:
        self.bar = bar
        self.outputs: int = 0
        self.closed: bool = False


class EarlyBars:
    """The bars of one symbol that were told early, by length and start."""

    __slots__ = ("told",)

    def __init__(self) -> None:
        self.told: dict[tuple[int, int], _Told] = {}

    def news(self, pending: list[Bar]) -> list[Bar]:
        """Those of these bars, in the order of their starts, that are to be told, numbered: from the first that has changed."""
        found: list[Bar] = []
        for bar in pending:
            key = (bar.end_ns - bar.start_ns, bar.start_ns)
            told = self.told.get(key)
            if told is None:
                bar.revision = 0
                self.told[key] = _Told(bar)
            elif found or not bar.same_trades(told.bar):
                # The indicators of later bars follow from this one.
                bar.revision = told.bar.revision + 1
                told.bar = bar
            else:
                continue
            found.append(bar)
        return found

    def put_outputs(self, bar: Bar, outputs: int) -> None:
        """Remember which values were given with a bar that was told, a bit for each."""
        self.told[bar.end_ns - bar.start_ns, bar.start_ns].outputs |= outputs

    def number(self, bar: Bar) -> int:
        """Number a bar that its own clock gives; returns which values were told early and not given since."""
        told = self.told.get((bar.end_ns - bar.start_ns, bar.start_ns))
        if told is None:
            return 0
        bar.revision = told.bar.revision + 1
        outputs = told.outputs
        told.bar = bar
        told.outputs = 0
        told.closed = True
        return outputs

    def lost(self, watermark_ns: int) -> list[Bar]:
        """Bars that were told, that a watermark has passed, and that their own clock has not given: without their trades."""
        found: list[Bar] = []
        for told in self.told.values():
            if not told.closed and told.bar.end_ns <= watermark_ns:
                found.append(Bar(told.bar.start_ns, told.bar.end_ns))
        return found

    def forget(self, final_ns: int) -> None:
        """Forget bars that end by a time and can no longer change."""
        for key in list(self.told):
            told = self.told[key]
            if told.closed and told.bar.end_ns <= final_ns:
                del self.told[key]

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        out.put(len(self.told))
        for told in self.told.values():
            told.bar.write(out)
            out.put(told.outputs)
            out.put_flag(told.closed)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot, as `write` put it."""
        self.told = {}
        for _ in range(reader.take()):
            bar = read_bar(reader)
            told = self.told[bar.end_ns - bar.start_ns, bar.start_ns] = _Told(bar)
            told.outputs = reader.take()
            told.closed = reader.take_flag()
