"""The alerts engine against a plain one that evaluates every rule at every record, with rules that change while it runs."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from alert_streams import IDS, INDICATORS, Record, random_records
from reference_alerts import Fired, ReferenceAlerts
from tick_days import SECOND_NS

from schemas.messages import alert_rules, alerts, market_analytics, market_data, market_status, nbbo
from schemas.messages.enums import ALERT_CONDITION_NAMES
from udfs.domain.alerting_analytics import AlertingAnalytics
from udfs.domain.sources import ALERT_RULES, MARKET_DATA, NBBO, PROGRESS

SYMBOLS = 4
RECORDS = 2_000
IDLE_S = 3


def engine() -> AlertingAnalytics:
    return AlertingAnalytics(0, 1, IDS, SECOND_NS, 300 * SECOND_NS, INDICATORS, IDLE_S * SECOND_NS)


class Both:
    """The engine and the reference, fed with the same records; `feed` says where they do not agree."""

    def __init__(self) -> None:
        self.engine: Any = engine()
        self.reference = ReferenceAlerts(IDLE_S)
        self.elsewhere = 0
        """Silences that only another partition could tell."""
        self.conditions: Counter[str] = Counter()
        self.frames: list[bytes] = []

    def feed(self, record: Record) -> str:
        source, frame, partition, offset, kafka_ms = record
        self.engine.apply(source, frame, partition, offset, kafka_ms)
        outbox = self.engine.outbox
        self.reference.fired.clear()
        if source == ALERT_RULES:
            self.reference.change(alert_rules.decode(frame), usable=True)
        elif source == MARKET_DATA:
            event = market_data.decode(frame)
            self.reference.market(event, partition, kafka_ms)
            for written in outbox.market_analytics.values:
                self.reference.analysed(market_analytics.decode(written), event.timestamp, partition)
        elif source == PROGRESS:
            self.reference.progress(f"market-data-{partition}-{offset}", kafka_ms)
            self.elsewhere += len(self.reference.fired)
            for bar in map(market_analytics.decode, outbox.market_analytics.values):
                self.reference.analysed(bar, bar.window_end, partition)
        elif source == NBBO:
            self.reference.quote(nbbo.decode(frame))
        else:
            self.reference.status(market_status.decode(frame))
        given = [alerts.decode(value, IDS["alerts"]) for value in outbox.alerts.values]
        self.frames += outbox.alerts.values
        letters = outbox.dead_letter.values
        outbox.clear()
        self.conditions.update(ALERT_CONDITION_NAMES[alert.condition] for alert in given)
        found = sorted(map(facts, given), key=repr)
        expected = sorted(self.reference.fired, key=repr)
        placed = all((alert.cause_partition, alert.cause_offset) == (partition, offset) for alert in given)
        if found == expected and placed and (source == MARKET_DATA or not letters):
            return ""
        return f"record {record[0]} {record[3]}: {found} instead of {expected}"


def facts(alert: alerts.Alert) -> Fired:
    return (
        alert.rule_id,
        alert.symbol,
        alert.rule_version,
        alert.observed_e4,
        alert.previous_e4,
        alert.reference_e4,
        alert.cause_id,
        alert.timestamp,
        alert.cause_topic or "",
    )


def difference_of(seed: int) -> str:
    """The first difference of a random day, or an empty text."""
    both = Both()
    for record in random_records(Random(seed), RECORDS, SYMBOLS, 60):
        difference = both.feed(record)
        if difference:
            return f"seed {seed}: {difference}"
    ids = [alerts.decode(frame).event_id for frame in both.frames]
    assert len(set(ids)) == len(ids) > 200
    assert both.elsewhere > 20, f"seed {seed}: no silence was told by another partition"
    # Each of them fired, so that agreeing means something.
    missing = set(ALERT_CONDITION_NAMES[1:]) - both.conditions.keys()
    assert not missing, f"seed {seed}: {missing} never fired"
    return ""


@pytest.mark.parametrize("seed", range(4))
def test_alerts_of_a_random_day_equal_every_rule_evaluated_at_every_record(seed: int) -> None:
    assert difference_of(seed) == ""


@pytest.mark.parametrize("seed", range(3))
def test_engine_restored_at_random_places_gives_the_same_bytes(seed: int) -> None:
    random = Random(1_000 + seed)
    records = list(random_records(random, 1_000, SYMBOLS, 40))
    places = {random.randrange(len(records)) for _ in range(12)}
    undisturbed, disturbed = engine(), engine()
    for place, (source, frame, partition, offset, kafka_ms) in enumerate(records):
        if place in places:
            state = disturbed.snapshot()
            assert state == undisturbed.snapshot(), f"seed {seed}, record {place}"
            disturbed = engine()
            disturbed.restore(state)
        lanes = []
        for each in (undisturbed, disturbed):
            each.apply(source, frame, partition, offset, kafka_ms)
            lanes.append([(lane.topic, list(lane.keys), list(lane.values)) for lane in each.outbox.lanes()])
            each.outbox.clear()
        assert lanes[0] == lanes[1], f"seed {seed}, record {place}"
