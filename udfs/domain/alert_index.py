"""Which rules a new value fires: an update touches only those whose threshold lies between the old value and the new one.

A machine is one rule for one symbol. It is low until the value reaches `up`, then high until the value is below `down`; the
machines of a value that may rise wait in a heap by `up`, those that may fall in one by `down`. Rules for values that fall have
their signs turned (`Level` two of a `Series`), so there is one kind of machine.
Invariants: a live machine is in exactly one place: new, low or high. What moves in one update comes out in the order of the
machines' numbers, so heaps may be rebuilt in any shape, as after a restore, and nothing that is written changes.
Known limits: a machine that is removed stays in its heap until it comes up or half of the heap is such machines.
Complexity: constant for an update that fires nothing; logarithmic for a machine that moves.
"""

from heapq import heapify, heappop, heappush
from typing import Final

from schemas.messages.alert_rules import AlertRule
from udfs.domain.alert_rules import Watched

NEW: Final = 0
LOW: Final = 1
HIGH: Final = 2
NEVER: Final = -(2**62)
_FEW: Final = 16


class Machine:
    """One rule for one symbol.

    number: unique in a shard, in the order in which machines were made. both: fires when it falls too, and not by its first
    value. last_ns: when it last gave an alert. clock, token: which entry of which heap of silences is its own.
    """

    __slots__ = ("alive", "both", "clock", "down", "last_ns", "number", "rule", "state", "symbol", "token", "up")

    def __init__(self, number: int, rule: AlertRule, symbol: str, up: int, down: int, both: bool) -> None:
        self.number = number
        self.rule = rule
        self.symbol = symbol
        self.up = up
        self.down = down
        self.both = both
        self.state: int = NEW
        self.last_ns: int = NEVER
        self.alive: bool = True
        self.clock: object | None = None
        self.token: int = 0


class Level:
    """Machines that watch a value rise."""

    __slots__ = ("dead", "high", "low", "new")

    def __init__(self) -> None:
        self.new: list[Machine] = []
        self.low: list[tuple[int, int, Machine]] = []
        self.high: list[tuple[int, int, Machine]] = []
        self.dead: int = 0

    def add(self, machine: Machine) -> None:
        """Take a machine in the state that it is in."""
        if machine.state == NEW:
            self.new.append(machine)
        elif machine.state == LOW:
            heappush(self.low, (machine.up, machine.number, machine))
        else:
            heappush(self.high, (-machine.down, machine.number, machine))

    def remove(self, machine: Machine) -> None:
        """Forget a machine."""
        machine.alive = False
        self.dead += 1
        if self.dead > _FEW and self.dead * 2 > len(self.new) + len(self.low) + len(self.high):
            self.new = [each for each in self.new if each.alive]
            self.low = [entry for entry in self.low if entry[2].alive]
            self.high = [entry for entry in self.high if entry[2].alive]
            heapify(self.low)
            heapify(self.high)
            self.dead = 0

    def update(self, value: int, moved: list[Machine]) -> None:
        """Move what the value moves, and add to `moved` those that may give an alert, in no order."""
        if self.new:
            self._place(value, moved)
        low, high = self.low, self.high
        while low and low[0][0] <= value:
            machine = heappop(low)[2]
            if machine.alive:
                machine.state = HIGH
                heappush(high, (-machine.down, machine.number, machine))
                moved.append(machine)
            else:
                self.dead -= 1
        while high and high[0][0] < -value:
            machine = heappop(high)[2]
            if machine.alive:
                machine.state = LOW
                heappush(low, (machine.up, machine.number, machine))
                if machine.both:
                    moved.append(machine)
            else:
                self.dead -= 1

    def _place(self, value: int, moved: list[Machine]) -> None:
        """The first value of new machines."""
        for machine in self.new:
            if not machine.alive:
                self.dead -= 1
                continue
            machine.state = HIGH if value >= machine.up else LOW
            self.add(machine)
            if machine.state == HIGH and not machine.both:
                moved.append(machine)
        self.new = []


class Series:
    """One value of one symbol and the machines that watch it.

    value: the last one. machines: how many live ones there are. The rest is for values made of analytics: start of the last
    window, and of two indicators the windows, revisions and values last seen.
    """

    __slots__ = (
        "falling",
        "first",
        "first_at",
        "known",
        "machines",
        "rising",
        "second",
        "second_at",
        "start_ns",
        "value",
        "watched",
    )

    def __init__(self, watched: Watched) -> None:
        self.watched = watched
        self.rising = Level()
        self.falling = Level()
        self.machines: int = 0
        self.known: bool = False
        self.value: int = 0
        self.start_ns: int = NEVER
        self.first: int = 0
        self.first_at: tuple[int, int] = (NEVER, 0)
        self.second: int = 0
        self.second_at: tuple[int, int] = (NEVER, 0)

    def update(self, value: int) -> list[Machine]:
        """Take a value; the machines that may give an alert, in the order of their numbers."""
        moved: list[Machine] = []
        self.rising.update(value, moved)
        self.falling.update(-value, moved)
        self.value = value
        self.known = True
        if len(moved) > 1:
            moved.sort(key=_number)
        return moved


def _number(machine: Machine) -> int:
    return machine.number
