"""What a stage tells Flink's metrics: histograms of seconds, as Prometheus understands them.

PyFlink's own distribution keeps one value and has no quantiles. A Prometheus histogram is a counter for each bucket, which
counts what was not slower; the bucket's bound is the label `le`, which Flink makes of a group with a value. Counts are
gathered here and handed to the JVM ten times a second at most (small batches: fifty), because each call across costs as much
as an order; the last ones of a burst are handed over with the batch that comes next, whatever its source.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of the buckets."""
DURATION_BOUNDS_S: Final = (0.000001, 0.0000025, 0.000005, 0.00001, 0.000025, 0.00005, 0.0001, 0.001, 0.01)
PUBLISH_S: Final = 0.1
SMALL_BATCH: Final = 16
SMALL_PUBLISH_S: Final = 0.02
"""A batch so small says that there is time: its counts are handed over sooner, so that a quiet stage's are never old. Not at
once, because a busy stage with many shards has small batches too."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A histogram of a stage.

    age: how old the newest record of a batch is when its results are handed on, by Kafka's timestamp.
    duration: the time that a record takes in the engine: its share of the batch's.
    source: the source tag of the batches that count. lane: the topic whose records are counted; none counts the batch's.
    """

    name: str
    source: int
    what: Literal["age", "duration"] = "age"
    lane: str = ""


class Histogram:
    """Counts of one measure, on their way to the JVM."""

    __slots__ = ("_bounds", "_counters", "_counts")

    def __init__(self, group: Any, name: str, bounds_s: Sequence[float]) -> None:
        self._bounds = tuple(bounds_s)
        labels = [*(f"{bound:g}" for bound in bounds_s), "+Inf"]
        self._counters = [group.add_group("le", label).counter(f"{name}_bucket") for label in labels]
        self._counts = [0] * len(labels)

    def count(self, seconds: float, times: int) -> None:
        """Count a value so many times."""
        counts, place = self._counts, len(self._bounds)
        counts[place] += times
        while place > 0 and seconds <= self._bounds[place - 1]:
            place -= 1
            counts[place] += times

    def publish(self) -> None:
        """Hand the counts over."""
        for place, count in enumerate(self._counts):
            if count:
                self._counters[place].inc(count)
                self._counts[place] = 0


class StageMetrics:
    """The histograms of one stage, counted batch by batch. Clocks: for tests."""

    __slots__ = ("_measures", "_monotonic", "_published", "_wall")

    def __init__(
        self,
        group: Any,
        measures: Sequence[Measure],
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._measures = [
            (measure, Histogram(group, measure.name, BOUNDS_S if measure.what == "age" else DURATION_BOUNDS_S))
            for measure in measures
        ]
        self._wall = wall
        self._monotonic = monotonic
        self._published = monotonic() - PUBLISH_S

    def count(self, source: int, records: int, newest_ms: int, applied_s: float, lanes: dict[str, int]) -> None:
        """Count a batch. newest_ms: Kafka's timestamp of its newest record. applied_s: the engine's time for all of it.
        lanes: records written by topic.
        """
        if not self._measures or not records:
            return
        age_s = max(0.0, self._wall() - newest_ms / 1_000)
        for measure, histogram in self._measures:
            if measure.source == source:
                times = lanes.get(measure.lane, 0) if measure.lane else records
                if times:
                    histogram.count(age_s if measure.what == "age" else applied_s / records, times)
        now = self._monotonic()
        if now - self._published >= (SMALL_PUBLISH_S if records <= SMALL_BATCH else PUBLISH_S):
            self._published = now
            for _, histogram in self._measures:
                histogram.publish()
