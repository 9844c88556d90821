"""Histograms of a stage: buckets that add up as Prometheus wants them, handed over when there is time."""

from __future__ import annotations

import pytest

from udfs.operators.stage_metrics import BOUNDS_S, Histogram, Measure, StageMetrics


class Metrics:
    """A metric group that keeps counters by name and label."""

    def __init__(self, values: dict[tuple[str, str], int] | None = None, label: str = "") -> None:
        self.values = {} if values is None else values
        self.label = label
        self.calls = 0

    def add_group(self, name: str, value: str) -> Metrics:
        assert name == "le"
        return Metrics(self.values, value)

    def counter(self, name: str) -> Counter:
        return Counter(self.values, (name, self.label))


class Counter:
    def __init__(self, values: dict[tuple[str, str], int], key: tuple[str, str]) -> None:
        self.values, self.key = values, key

    def inc(self, n: int) -> None:
        assert n > 0
        self.values[self.key] = self.values.get(self.key, 0) + n


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "within"), [(0.0, BOUNDS_S), (0.01, BOUNDS_S[3:]), (0.0101, BOUNDS_S[4:]), (11.0, ())]
)
def test_histogram_value_is_counted_in_every_bucket_that_it_is_not_slower_than(
    seconds: float, within: tuple[float, ...]
) -> None:
    group = Metrics()
    histogram = Histogram(group, "latency", BOUNDS_S)
    histogram.count(seconds, 3)
    histogram.publish()
    histogram.publish()  # What was handed over is not counted again.
    assert group.values == {("latency_bucket", label): 3 for label in [*(f"{bound:g}" for bound in within), "+Inf"]}


def test_age_is_of_the_newest_record_and_counts_all_of_the_batch_or_a_lane() -> None:
    group, wall = Metrics(), Clock()
    metrics = StageMetrics(group, [Measure("order", 5), Measure("trade", 5, lane="trade-events")], wall, Clock())
    metrics.count(5, 10, int(wall.now * 1_000) - 20, 0.0, {"trade-events": 4, "order-events": 9})
    assert group.values["order_bucket", "0.025"] == 10
    assert ("order_bucket", "0.01") not in group.values
    assert group.values["trade_bucket", "+Inf"] == 4


def test_duration_is_a_records_share_of_the_batch() -> None:
    group = Metrics()
    metrics = StageMetrics(group, [Measure("risk", 5, "duration")], Clock(), Clock())
    metrics.count(5, 10, 0, 0.000_08, {})
    assert group.values["risk_bucket", "1e-05"] == 10
    assert ("risk_bucket", "5e-06") not in group.values


def test_other_sources_and_empty_batches_count_nothing() -> None:
    group = Metrics()
    metrics = StageMetrics(group, [Measure("order", 5)], Clock(), Clock())
    metrics.count(6, 10, 0, 0.0, {})
    metrics.count(5, 0, 0, 0.0, {})
    assert group.values == {}


def test_large_batches_are_handed_over_ten_times_a_second_and_small_ones_fifty_times() -> None:
    group, monotonic = Metrics(), Clock()
    metrics = StageMetrics(group, [Measure("order", 5)], Clock(), monotonic)
    steps = (
        (0.0, 500, 500),
        (0.05, 500, 500),
        (0.06, 500, 1_500),
        (0.01, 2, 1_500),
        (0.02, 2, 1_504),
        (0.03, 500, 1_504),
    )
    for later_s, records, handed_over in steps:
        monotonic.now += later_s
        metrics.count(5, records, 0, 0.0, {})
        assert group.values["order_bucket", "+Inf"] == handed_over
    monotonic.now += 0.1
    metrics.count(6, 1, 0, 0.0, {})  # A batch of another source takes the last ones along.
    assert group.values["order_bucket", "+Inf"] == 2_004
