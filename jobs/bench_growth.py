"""Whether figures that are measured again and again grow: slopes that a few odd values do not move, limits, and a table.

A figure grows when its slope over all measurements after the warm-up, and still over the last half of them, is above what is
allowed. Slopes are Theil's and Sen's: the median of the slopes between all pairs of points, which is right as long as
fewer than 29% of the points are odd. The second condition is for what fills up and then stays: a cache, an arena, compiled code.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

WARM_UP: Final = 1 / 3
"""The share of the measurements that are left out at the beginning."""
LEAST: Final = 4
"""Fewer measurements than these say nothing about growth."""


class Point(NamedTuple):
    """All figures of all processes at one moment.

    counts: what had been done by then: `restarts`, and whatever else a process may grow with. held: figures by process.
    """

    at_s: float
    counts: Mapping[str, float]
    held: Mapping[str, Mapping[str, float]]


class Allowance(NamedTuple):
    """What a process may grow by, of one figure, for each of something that is counted."""

    process: str
    """A part of its name; empty: all."""
    figure: str
    each: str
    amount: float


class Growth(NamedTuple):
    """One figure of one process. first, last: medians of the first and the last third of what is judged."""

    process: str
    figure: str
    first: float
    last: float
    per_restart: float
    per_hour: float
    late_per_restart: float
    """Over the last half of what is judged."""
    allowed_per_restart: float

    @property
    def grows(self) -> bool:
        """Whether it grew beyond what is allowed, and went on with it."""
        return min(self.per_restart, self.late_per_restart) > self.allowed_per_restart


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Theil's and Sen's slope; 0 when no two points differ in x."""
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in itertools.combinations(points, 2) if x1 != x2]
    return statistics.median(slopes) if slopes else 0.0


def judged(points: Sequence[Point]) -> list[Point]:
    """The measurements after the warm-up. Raises ValueError when they are too few."""
    left = list(points[math.ceil(len(points) * WARM_UP) :])
    if len(left) < LEAST:
        raise ValueError(f"{len(points)} measurements are too few: {LEAST} must be left after the warm-up")
    return left


def growth_of(points: Sequence[Point], allowances: Sequence[Allowance]) -> list[Growth]:
    """Every figure that has an allowance, in the order of the processes and their figures. Raises ValueError."""
    left = judged(points)
    found = []
    for process, figures in left[-1].held.items():
        for figure in figures:
            mine = [one for one in allowances if one.figure == figure and one.process in process]
            if mine and all(figure in point.held.get(process, {}) for point in left):
                found.append(_growth(left, process, figure, mine))
    return found


def _growth(points: Sequence[Point], process: str, figure: str, allowances: Sequence[Allowance]) -> Growth:
    values = [point.held[process][figure] for point in points]
    third = max(1, len(values) // 3)
    late = points[len(points) // 2 :] if len(points) > LEAST else points

    def along(some: Sequence[Point]) -> float:
        return slope([(point.counts["restarts"], point.held[process][figure]) for point in some])

    begin, end = points[0].counts, points[-1].counts
    restarts = max(1.0, end["restarts"] - begin["restarts"])
    allowed = sum(one.amount * (end[one.each] - begin[one.each]) for one in allowances) / restarts
    return Growth(
        process,
        figure,
        statistics.median(values[:third]),
        statistics.median(values[-third:]),
        along(points),
        slope([(point.at_s / 3600, value) for point, value in zip(points, values, strict=True)]),
        along(late),
        allowed,
    )


def render(found: Sequence[Growth]) -> str:
    """The table for a person."""
    width = max(len(one.process) for one in found)
    head = ("first", "last", "a restart", "still", "an hour", "allowed")
    lines = ["", f"{'process':<{width}}  {'figure':<13}" + "".join(f"{name:>11}" for name in head)]
    previous = ""
    for one in found:
        numbers = (one.first, one.last, one.per_restart, one.late_per_restart, one.per_hour, one.allowed_per_restart)
        name = "" if one.process == previous else one.process
        previous = one.process
        lines.append(
            f"{name:<{width}}  {one.figure:<13}"
            + "".join(f"{number:>11,.{0 if abs(number) >= 1_000 else 2}f}" for number in numbers)
            + ("  GROWS" if one.grows else "")
        )
    return "\n".join(lines)


def summary(found: Sequence[Growth]) -> list[dict[str, Any]]:
    """The figures for a machine."""
    return [
        {
            **{name: round(value, 3) if isinstance(value, float) else value for name, value in one._asdict().items()},
            "grows": one.grows,
        }
        for one in found
    ]
