"""What the alerts of one symbol look at: its values with the machines that watch them, and the windows of moves.

Ordering: prices come in the order of their times. Complexity: constant an update for each length of move that a rule asks for.
"""

from typing import Final

from udfs.domain.alert_index import LOW, NEVER, Level, Machine, Series
from udfs.domain.alert_rules import FALL, HALT, INDICATOR, MOVE, PRICE, RISE, SILENCE, SPREAD, VOLUME, Watched
from udfs.domain.state_codec import StateReader, StateWriter

STEPS: Final = 60
"""A move's window is counted in so many steps, and holds the step that runs and as many before it."""
_NS_PER_S: Final = 1_000_000_000
_RATIO: Final = 1_000_000


class MoveWindow:
    """The lowest and the highest price of the last `length_s` seconds: at most a sixtieth more."""

    __slots__ = ("highs", "lows", "step_ns")

    def __init__(self, length_s: int) -> None:
        self.step_ns: int = length_s * _NS_PER_S // STEPS
        # (step, price): later ones are higher in `lows` and lower in `highs`, one for a step.
        self.lows: list[tuple[int, int]] = []
        self.highs: list[tuple[int, int]] = []

    def add(self, price: int, time_ns: int) -> None:
        """Take a price; times do not fall."""
        step = time_ns // self.step_ns
        lows, highs = self.lows, self.highs
        while lows and lows[0][0] < step - STEPS:
            lows.pop(0)
        while highs and highs[0][0] < step - STEPS:
            highs.pop(0)
        while lows and lows[-1][1] >= price:
            lows.pop()
        if not lows or lows[-1][0] != step:
            lows.append((step, price))
        while highs and highs[-1][1] <= price:
            highs.pop()
        if not highs or highs[-1][0] != step:
            highs.append((step, price))

    def value(self, kind: int, price: int) -> tuple[int, int]:
        """Of the last price taken: the move in 1/10,000 percent, towards 0, and the price that it began at."""
        low, high = self.lows[0][1], self.highs[0][1]
        rise, fall = (price - low) * _RATIO // low, (high - price) * _RATIO // high
        if kind == RISE:
            return rise, low
        if kind == FALL:
            return -fall, high
        return (rise, low) if rise >= fall else (fall, high)

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        for entries in (self.lows, self.highs):
            out.put(len(entries))
            for step, price in entries:
                out.put(step)
                out.put(price)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot."""
        for entries in (self.lows, self.highs):
            entries.clear()
            for _ in range(reader.take()):
                step = reader.take()
                entries.append((step, reader.take()))


class AlertSymbol:
    """One symbol that a rule watches.

    machines: how many there are. moves: the values that a price changes besides itself. outputs: the values that analytics
    change, by window in seconds, indicator and period (0, 0 for the bar). silent: machines for its silence by number, idle: those
    of them that wait for a record of it. partition, seen_ns: where its last record was, and its newest time.
    """

    __slots__ = (
        "halt",
        "idle",
        "key",
        "machines",
        "moves",
        "name",
        "outputs",
        "partition",
        "price",
        "price_ns",
        "seen_ns",
        "sequence",
        "series",
        "silent",
        "spread",
        "windows",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.key: bytes = name.encode("utf-8")
        self.machines: int = 0
        self.series: dict[Watched, Series] = {}
        self.price: Series | None = None
        self.spread: Series | None = None
        self.halt: Series | None = None
        self.moves: list[Series] = []
        self.outputs: dict[tuple[int, int, int], list[Series]] = {}
        self.windows: dict[int, MoveWindow] = {}
        self.silent: dict[int, Machine] = {}
        self.idle: list[Machine] = []
        self.partition: int = -1
        self.seen_ns: int = NEVER
        self.price_ns: int = NEVER
        self.sequence: int = NEVER

    def add(self, machine: Machine, watched: Watched, falls: bool) -> None:
        """Watch a value, in the state that the machine is in. `falls`: it waits for a value that falls."""
        self.machines += 1
        if watched[0] == SILENCE:
            self.silent[machine.number] = machine
            if machine.state != LOW:
                self.idle.append(machine)
            return
        series = self.series.get(watched) or self.open(watched)
        series.machines += 1
        _level(series, falls).add(machine)

    def remove(self, machine: Machine, watched: Watched, falls: bool) -> None:
        """Watch no more; a value that nobody watches is forgotten."""
        self.machines -= 1
        if watched[0] == SILENCE:
            machine.alive = False
            del self.silent[machine.number]
            self.idle = [each for each in self.idle if each.alive]
            return
        series = self.series[watched]
        _level(series, falls).remove(machine)
        series.machines -= 1
        if series.machines == 0:
            del self.series[watched]
            self._index()

    def open(self, watched: Watched) -> Series:
        """A value that was not watched."""
        series = self.series[watched] = Series(watched)
        if watched[0] in (RISE, FALL, MOVE) and watched[1] not in self.windows:
            self.windows[watched[1]] = MoveWindow(watched[1])
        self._index()
        return series

    def write(self, out: StateWriter) -> None:
        """Put all but the machines into a snapshot."""
        out.put_text(self.name)
        for number in (self.partition, self.seen_ns, self.price_ns, self.sequence, len(self.series), len(self.windows)):
            out.put(number)
        for watched, series in self.series.items():
            for number in (*watched, series.value, series.start_ns, series.first, *series.first_at):
                out.put(number)
            for number in (series.second, *series.second_at):
                out.put(number)
            out.put_flag(series.known)
        for length, window in self.windows.items():
            out.put(length)
            window.write(out)

    def read(self, reader: StateReader) -> None:
        """Take what `write` put after the name."""
        self.partition, self.seen_ns, self.price_ns = reader.take(), reader.take(), reader.take()
        self.sequence = reader.take()
        series_count, window_count = reader.take(), reader.take()
        take = reader.take
        for _ in range(series_count):
            watched = (take(), take(), take(), take(), take(), take())
            series = self.series[watched] = Series(watched)
            series.value, series.start_ns, series.first = take(), take(), take()
            series.first_at = (take(), take())
            series.second = take()
            series.second_at = (take(), take())
            series.known = reader.take_flag()
        for _ in range(window_count):
            length = take()
            self.windows[length] = MoveWindow(length)
            self.windows[length].read(reader)
        self._index()

    def _index(self) -> None:
        """Find values fast, and forget windows that no value needs."""
        self.price = self.spread = self.halt = None
        self.moves = []
        self.outputs = {}
        lengths = set()
        for watched, series in self.series.items():
            kind, length, code, period, second, second_period = watched
            if kind == PRICE:
                self.price = series
            elif kind == SPREAD:
                self.spread = series
            elif kind == HALT:
                self.halt = series
            elif kind == VOLUME:
                self.outputs.setdefault((length, 0, 0), []).append(series)
            elif kind == INDICATOR:
                self.outputs.setdefault((length, code, period), []).append(series)
                if second:
                    self.outputs.setdefault((length, second, second_period), []).append(series)
            else:
                self.moves.append(series)
                lengths.add(length)
        for length in [each for each in self.windows if each not in lengths]:
            del self.windows[length]


def _level(series: Series, falls: bool) -> Level:
    return series.falling if falls else series.rising
