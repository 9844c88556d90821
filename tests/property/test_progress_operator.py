"""The operator of the analytics job: the topic's progress is Flink's watermark, and comes back from the journal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import pytest
from alert_streams import IDS, rule
from pyflink.common import Row
from simulator_state import Handles
from tick_days import OPENING_NS, SECOND_NS, Tick

from schemas.messages import alert_rules, alerts
from udfs.domain.alerting_analytics import AlertingAnalytics
from udfs.domain.sources import ALERT_RULES, MARKET_DATA, PROGRESS
from udfs.operators.run_shard import RunShard, Stage

NONE_YET: Final = -(2**63)
STAGE: Final = Stage(
    name="analyse",
    new_engine=partial(
        AlertingAnalytics, shards=1, schema_ids=IDS, out_of_order_ns=SECOND_NS, lateness_ns=0, indicators="sma:2",
        idle_ns=60 * SECOND_NS,
    ),
    progress=PROGRESS,
)  # fmt: skip


class Context:
    """What RunShard asks Flink for at a batch."""

    def __init__(self) -> None:
        self.watermark = NONE_YET

    def timer_service(self) -> Context:
        return self

    def current_watermark(self) -> int:
        return self.watermark


@contextmanager
def running(handles: Handles) -> Iterator[RunShard]:
    """The operator of a job that was started with the state that there is."""
    operator = RunShard(STAGE)
    operator.open(handles)
    try:
        yield operator
    finally:
        operator.close()


def feed(
    operator: RunShard, context: Context, source: int, frame: bytes, offset: int, newest_ms: int
) -> list[alerts.Alert]:
    """Alerts of a batch of one record."""
    written = list(operator.process_element(Row(0, source, [frame], [offset], newest_ms), context))
    return [alerts.decode(value) for topic, _, values in written for value in values if topic == "alerts"]


@pytest.mark.parametrize("stopped_at_s", [None, 0, 30, 59, 60])
def test_progress_is_the_watermark_and_a_restored_job_goes_on_counting(stopped_at_s: int | None) -> None:
    handles, context = Handles(drop_journal=False), Context()
    handles.key = ("analyse", 0)
    watch = alert_rules.encode(rule("still", "STALE", windowSeconds=5), IDS["alert-rules"])
    told: list[tuple[int, str, int]] = []

    def go_on(operator: RunShard, seconds: range) -> None:
        for second in seconds:
            context.watermark = 1_000 * second
            # What SQL says of the batch, the newest timestamp of a record somewhere, does not count.
            found = feed(operator, context, PROGRESS, b"", second, 10**9)
            told.extend((second, alert.symbol, alert.observed_e4) for alert in found)

    with running(handles) as operator:
        feed(operator, context, ALERT_RULES, watch, 0, 0)
        feed(operator, context, MARKET_DATA, Tick(1, "A", 10_000, 100, OPENING_NS).frame(IDS["market-data"]), 0, 1_000)
        # A watermark that nobody has yet is no progress.
        assert feed(operator, context, PROGRESS, b"", 0, 10**9) == []
        go_on(operator, range(1, 2 + (100 if stopped_at_s is None else stopped_at_s)))
    if stopped_at_s is not None:
        with running(handles) as operator:
            # It begins to learn how far the topic has come anew.
            context.watermark = NONE_YET
            assert feed(operator, context, PROGRESS, b"", 0, 10**9) == []
            go_on(operator, range(1, 102))
    # Kafka's time of the tick was 1 s.
    assert told == [(61, "A", 600_000)]
