"""Alerts on the real stack: rules that change, quotes, halts and a disordered day, with a TaskManager killed in its middle.

What committed readers see of alerts must be, byte by byte, what an undisturbed engine says of the records as Kafka has them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import time
from collections import Counter
from collections.abc import Iterable
from itertools import count, repeat
from typing import Final

import confluent_kafka
import pytest
from alert_streams import rule
from conftest import RunningStack
from test_exactly_once import PATIENCE_S, Run, read_committed, wait_until
from tick_days import OPENING_NS, SECOND_NS, Tick, random_day

from infra.feeds.partitions import kafka_partition
from jobs.analytics import engine_settings
from jobs.submit import submit_job
from schemas.catalogue import TOPICS
from schemas.messages import alert_rules, alerts, dead_letter, market_analytics, market_status, nbbo
from schemas.messages.enums import ALERT_CONDITION_NAMES, MARKET_CAUSE_CODES, MARKET_STATE_CODES
from udfs.domain.alerting_analytics import AlertingAnalytics
from udfs.domain.sharding import shard_of
from udfs.domain.sources import ALERT_RULES, MARKET_DATA, MARKET_STATUS, NBBO

TICKS: Final = 8_000
SYMBOLS: Final = 12
SOURCES: Final = {"market-data": MARKET_DATA, "alert-rules": ALERT_RULES, "nbbo": NBBO, "market-status": MARKET_STATUS}
Item = tuple[str, str, bytes]
"""Topic, key, value."""
Placed = tuple[str, str, bytes, int, int]
"""The same, and the partition and offset that Kafka gave it."""


def produce(run: Run, items: list[Item], times_ms: Iterable[int] = repeat(0)) -> list[Placed]:
    """Send records in order, with Kafka timestamps, 0: now; they come back with their places."""
    placed: list[Placed] = []
    failures: list[str] = []

    def delivered(error: confluent_kafka.KafkaError | None, message: confluent_kafka.Message) -> None:
        if error is not None:
            failures.append(str(error))
        else:
            key = message.key().decode()
            placed.append((message.topic(), key, message.value(), message.partition(), message.offset()))

    producer = confluent_kafka.Producer({**run.config.kafka.confluent(), "enable.idempotence": True, "linger.ms": 5})
    for (topic, key, value), time_ms in zip(items, times_ms, strict=False):
        producer.produce(topic, key=key, value=value, timestamp=time_ms, on_delivery=delivered)
        producer.poll(0)
    assert producer.flush(60) == 0 and not failures, failures[:3]
    return placed


def taken(run: Run, *topics: str) -> None:
    """Wait until the job has applied all of these topics, for good."""
    wait_until(f"{topics} are read", lambda: run.probe.group_lag("analytics", topics) == 0, 120)
    wanted = run.probe.health("analytics").checkpoints + 3
    wait_until("checkpoints are made", lambda: run.probe.health("analytics").checkpoints >= wanted, 120)


def rules_of(run: Run, day: list[Tick], seed: int) -> list[Item]:
    """Rules of every kind, about the prices of the day, some of them changed or removed by those of a later seed."""
    chance = random.Random(seed)
    found = []
    for number in range(120):
        tick = chance.choice(day)
        name = ALERT_CONDITION_NAMES[1:][number % 13]
        fields = {"thresholdE4": 0, "windowSeconds": 0, "cooldownSeconds": chance.choice([0, 0, 60])}
        if name.startswith("PRICE"):
            fields |= {"thresholdE4": tick.price_e4, "hysteresisE4": chance.choice([0, 200])}
        elif name.startswith(("CHANGE", "MOVE")):
            fields |= {"thresholdE4": 3_000 * (-1 if name == "CHANGE_BELOW" else 1), "windowSeconds": 300}
        elif name.startswith("VOLUME"):
            fields |= {"thresholdE4": chance.randrange(100, 3_000) * 10_000, "windowSeconds": 60}
        elif name == "INDICATOR_CROSS":
            fields |= {"indicator": "SMA", "period": 20, "secondIndicator": "EMA", "secondPeriod": 20}
            fields |= {"windowSeconds": 300}
        elif name.startswith("INDICATOR"):
            fields |= {"indicator": "SMA", "period": 20, "windowSeconds": 300, "thresholdE4": tick.price_e4}
        elif name == "SPREAD_ABOVE":
            fields |= {"thresholdE4": 5_000}
        elif name == "STALE":
            fields |= {"windowSeconds": chance.choice([5, 20, 60]), "cooldownSeconds": 120}
        symbol = "*" if chance.random() < 0.05 else tick.symbol
        changed = rule(f"e2e-{number}", name, symbol, **fields, version=seed, active=chance.random() < 0.9)
        found.append(("alert-rules", changed.rule_id, alert_rules.encode(changed, run.ids["alert-rules"])))
    return found


def around(run: Run, day: list[Tick], first: int) -> list[Item]:
    """The ticks of a part of the day, with quotes and trading states between them."""
    items: list[Item] = []
    for number, tick in enumerate(day, first):
        items.append(("market-data", tick.symbol, tick.frame(run.ids["market-data"])))
        if number % 10 == 0:
            half = tick.price_e4 * (number % 7) // 2_000
            quote = nbbo.Nbbo(
                f"{tick.symbol}-{number}", tick.symbol, tick.price_e4 - half, 1, "XNYS", tick.price_e4 + half, 1,
                "XNYS", [], None, number, tick.time_ns,
            )  # fmt: skip
            items.append(("nbbo", tick.symbol, nbbo.encode(quote, run.ids["nbbo"])))
        if number % 100 == 0:
            state = MARKET_STATE_CODES["HALTED" if number % 200 else "OPEN"]
            status = market_status.MarketStatus(
                f"status-{tick.symbol}-{number}", tick.symbol, state, MARKET_CAUSE_CODES["CONTROL"],
                None, None, None, None, 0, 0, False, None, "news", "c", tick.time_ns,
            )  # fmt: skip
            items.append(("market-status", tick.symbol, market_status.encode(status, run.ids["market-status"])))
    return items


def expected(run: Run, phases: list[list[Placed]]) -> list[tuple[bytes, bytes]]:
    """What engines say that nothing disturbs: one for each partition and shard, as their clocks are."""
    shards, settings = run.config.analytics.symbol_shards, engine_settings(run.config.analytics)
    homes = {key: partition for part in phases for topic, key, _, partition, _ in part if topic == "market-data"}
    engines = {
        (partition, shard_of(key, shards)): AlertingAnalytics(shard_of(key, shards), shards, run.ids, **settings)
        for key, partition in homes.items()
    }
    for topic, key, value, partition, offset in (placed for part in phases for placed in part):
        wanted = list(engines) if topic == "alert-rules" else [(homes[key], shard_of(key, shards))]
        for home in wanted:
            engines[home].apply(SOURCES[topic], value, partition, offset, 0)
    written = [engine.outbox.alerts for engine in engines.values()]
    return [pair for lane in written for pair in zip(lane.keys, lane.values, strict=True)]


@pytest.mark.timeout(600)
def test_alerts_killed_in_the_middle_equal_an_undisturbed_engine(stack: RunningStack) -> None:
    day = random_day(random.Random(23), TICKS, SYMBOLS, 3.0)
    final = max(tick.time_ns for tick in day) + 7_200 * SECOND_NS
    closing = [Tick(TICKS + n, f"S{n}", 10_000, 0, final) for n in range(SYMBOLS)]
    bad = rule("e2e-bad", "PRICE_ABOVE", "S0", thresholdE4=-1, timestamp=OPENING_NS)
    with Run(stack) as run:
        # Few shards, so that symbols share a clock and silence is told; what is told early depends on how partitions mix.
        run.config = one = dataclasses.replace(
            run.config,
            flink=dataclasses.replace(run.config.flink, parallelism=1),
            analytics=dataclasses.replace(run.config.analytics, symbol_shards=2, idle_s=0),
        )
        job = run.job_ids["analytics"] = submit_job(one, "analytics", timeout_s=PATIENCE_S)
        run.probe.job_ids = dict(run.job_ids)
        refused = [("alert-rules", "e2e-bad", alert_rules.encode(bad, run.ids["alert-rules"]))]
        phases = [produce(run, rules_of(run, day, 1) + refused)]
        taken(run, "alert-rules")
        phases.append(produce(run, around(run, day[: TICKS // 2], 0)))
        taken(run, "market-data", "nbbo", "market-status")
        phases.append(produce(run, rules_of(run, day, 2)))
        taken(run, "alert-rules")
        phases.append(produce(run, around(run, day[TICKS // 2 : TICKS * 3 // 4], TICKS // 2)))
        run.kill_taskmanager(job, "analyse")
        phases.append(produce(run, around(run, [*day[TICKS * 3 // 4 :], *closing], TICKS * 3 // 4)))

        wanted = expected(run, phases)
        # A record too few or too many is for the comparison below to tell.
        with contextlib.suppress(AssertionError):
            wait_until("all are committed", lambda: len(read_committed(run.config, "alerts")) >= len(wanted), 120)
        seen = read_committed(run.config, "alerts")
        letters = [dead_letter.decode(value) for _, value in read_committed(run.config, "dead-letter")]

    missing, extra = Counter(wanted) - Counter(seen), Counter(seen) - Counter(wanted)
    assert not missing and not extra, (
        f"{missing.total()} missing, {extra.total()} extra of {len(wanted)}; "
        f"{[alerts.decode(value).event_id for _, value in [*list(missing)[:3], *list(extra)[:3]]]}"
    )
    found = [alerts.decode(value) for _, value in seen]
    assert len({alert.event_id for alert in found}) == len(found)
    assert {ALERT_CONDITION_NAMES[alert.condition] for alert in found} == set(ALERT_CONDITION_NAMES[1:])
    assert {alert.rule_version for alert in found} == {1, 2}
    of_rules = [letter.detail for letter in letters if letter.source_topic == "alert-rules"]
    assert len(of_rules) == 1 and of_rules[0].startswith("rule e2e-bad of me is not in force"), of_rules


@pytest.mark.timeout(600)
def test_symbol_whose_source_dies_is_told_by_the_ticks_of_other_shards_and_its_last_bar_too(
    stack: RunningStack,
) -> None:
    settings = stack.config.analytics
    quiet = "QUIET"
    # Of another shard, so that the symbol's own hears of nobody.
    loud = next(
        name
        for name in (f"LOUD{number}" for number in range(100))
        if shard_of(name, settings.symbol_shards) != shard_of(quiet, settings.symbol_shards)
    )
    with Run(stack) as run:
        run.config = dataclasses.replace(
            run.config,
            flink=dataclasses.replace(run.config.flink, parallelism=1),
            analytics=dataclasses.replace(settings, idle_s=3),
        )
        run.job_ids["analytics"] = submit_job(run.config, "analytics", timeout_s=PATIENCE_S)
        run.probe.job_ids = dict(run.job_ids)
        watch = rule("dead", "STALE", "*", windowSeconds=2)
        produce(run, [("alert-rules", "dead", alert_rules.encode(watch, run.ids["alert-rules"]))])
        taken(run, "alert-rules")
        frame_id = run.ids["market-data"]
        produce(run, [("market-data", quiet, Tick(0, quiet, 10_000, 100, OPENING_NS).frame(frame_id))])
        numbers = count(1)
        places: set[tuple[int, int]] = set()

        def written(topic: str) -> list[bytes]:
            """What there is after one more tick. Its own time stands still: only Kafka's goes on."""
            tick = Tick(next(numbers), loud, 10_000, 100, OPENING_NS)
            places.update(placed[3:] for placed in produce(run, [("market-data", loud, tick.frame(frame_id))]))
            return [value for _, value in read_committed(run.config, topic)]

        wait_until("the last bar is told", lambda: bool(written("market-analytics")), 120)
        wait_until("the silence is told", lambda: bool(written("alerts")), 120)
        (alert,) = map(alerts.decode, written("alerts"))
        bars = [market_analytics.decode(value) for value in written("market-analytics")]
    assert (alert.rule_id, alert.symbol) == ("dead", quiet)
    assert alert.observed_e4 >= 30_000 and alert.timestamp >= OPENING_NS + 3 * SECOND_NS
    assert (alert.cause_partition, alert.cause_offset) in places
    assert (quiet, SECOND_NS, 0) in {(bar.symbol, bar.window_end - bar.window_start, bar.revision) for bar in bars}


@pytest.mark.timeout(600)
def test_history_with_one_partition_ten_minutes_ahead_tells_no_silence_that_was_none(stack: RunningStack) -> None:
    partitions = TOPICS["market-data"].partitions_local
    ahead = "AHEAD"
    behind = next(
        name
        for name in (f"BEHIND{number}" for number in range(100))
        if kafka_partition(name.encode(), partitions) != kafka_partition(ahead.encode(), partitions)
    )
    began_ms = int(time.time() * 1_000) - 1_800_000
    with Run(stack) as run:
        run.config = dataclasses.replace(
            run.config,
            flink=dataclasses.replace(run.config.flink, parallelism=1),
            analytics=dataclasses.replace(run.config.analytics, idle_s=40),
        )
        run.job_ids["analytics"] = submit_job(run.config, "analytics", timeout_s=PATIENCE_S)
        run.probe.job_ids = dict(run.job_ids)
        # All inputs have one watermark, and what is read while market-data says nothing moves it: the rule is of then too.
        watch = rule("still", "STALE", "*", windowSeconds=10)
        produce(run, [("alert-rules", "still", alert_rules.encode(watch, run.ids["alert-rules"]))], [began_ms])
        taken(run, "alert-rules")
        frame_id = run.ids["market-data"]

        def history(symbol: str, seconds: range) -> None:
            """A tick every five seconds of the market's time, which Kafka's was too."""
            ticks = [Tick(second, symbol, 10_000, 100, OPENING_NS + second * SECOND_NS) for second in seconds[::5]]
            items = [("market-data", symbol, tick.frame(frame_id)) for tick in ticks]
            produce(run, items, [began_ms + second * 1_000 for second in seconds[::5]])

        def told() -> list[alerts.Alert]:
            return [alerts.decode(value) for _, value in read_committed(run.config, "alerts")]

        history(behind, range(60))
        history(ahead, range(660))
        for at_s in range(60, 660, 120):
            # Each by itself, so that there are seconds in which the topic has records of the one only.
            history(ahead, range(600 + at_s, 720 + at_s))
            time.sleep(1.1)
            history(behind, range(at_s, at_s + 120))
            time.sleep(1.1)
        taken(run, "market-data")
        bars = [market_analytics.decode(value) for _, value in read_committed(run.config, "market-analytics")]
        assert {bar.symbol for bar in bars} == {ahead, behind} and not any(bar.revision for bar in bars)
        assert told() == []

        # The source of the one dies; the other goes on, ten minutes ahead as before.
        numbers = count(1_260, 5)

        def told_in_the_end() -> bool:
            second = next(numbers)
            history(ahead, range(second, second + 5))
            return bool(told())

        wait_until("the silence is told", told_in_the_end, 120)
        (alert,) = told()
    assert (alert.rule_id, alert.symbol) == ("still", behind)
    assert alert.timestamp >= OPENING_NS + (655 + 40) * SECOND_NS
