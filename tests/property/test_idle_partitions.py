"""Bars of silent partitions: in the end nothing is other than without them, and until then they are what has come so far."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import accumulate
from random import Random

import pytest
from alert_streams import IDS as ALERT_IDS
from alert_streams import rule
from idle_days import IDLE_S, IdlePlay, Key, key_of, partition_of, said, shuffled
from test_bar_corrections import NAMES_ALL, SPECS, Change, day_with_changes
from tick_days import OPENING_NS, SECOND_NS, Tick, expected_bars, random_day

from schemas.messages import alert_rules, alerts
from schemas.messages.enums import INDICATOR_NAMES
from udfs.domain.alerting_analytics import AlertingAnalytics
from udfs.domain.analytics_settings import INDICATOR_LENGTHS_NS
from udfs.domain.bars import LENGTHS_NS
from udfs.domain.indicator_specs import IndicatorSet, parse_indicators
from udfs.domain.sources import ALERT_RULES, MARKET_DATA, PROGRESS

SYMBOLS = 6


def closing(records: list[Tick | Change]) -> list[Tick | Change]:
    """A quote in each partition whose time closes all bars."""
    end = max(record.time_ns for record in records) + 7_200 * SECOND_NS
    return [Tick(10**7 + n, f"S{n}", 10_000, 0, end) for n in range(3)]


@pytest.mark.parametrize("seed", range(3))
def test_bars_told_early_end_as_if_every_partition_had_been_waited_for(seed: int) -> None:
    day, _ = day_with_changes(400 + seed, 900, SYMBOLS, 6.0)
    records = shuffled(Random(seed), day)
    records += closing(records)
    early, patient = IdlePlay().feed(records), IdlePlay(idle_s=0).feed(records)

    found, expected = early.last(), patient.last()
    # A value that was told and is no more is null in the end: of a window that the other never spoke of.
    nulled = {key for key in found.keys() - expected.keys() if found[key].value is None and not found[key].trade_count}
    assert {key: said(record) for key, record in found.items() if key not in nulled} == {
        key: said(record) for key, record in expected.items()
    }
    assert early.letters == patient.letters
    ids = [record.event_id for record in early.records()]
    assert len(set(ids)) == len(ids) > len(patient.frames), f"seed {seed}: nothing was told early"
    for record in early.records():
        if record.indicator == 0:
            assert record.revision <= found[key_of(record)].revision
    seen: dict[Key, list[int]] = {}
    for record in early.records():
        if key_of(record)[3] == "NONE0":
            seen.setdefault(key_of(record), []).append(record.revision)
    assert all(revisions == list(range(len(revisions))) for revisions in seen.values())


@pytest.mark.parametrize("seed", range(3))
def test_bars_of_silent_partitions_equal_a_recomputation_of_what_has_come(seed: int) -> None:
    # No trade is late, so that every one counts; then partition 3 goes on alone.
    day = random_day(Random(500 + seed), 1_200, SYMBOLS, 5.0)
    late = {letter.source_offset for letter in IdlePlay(idle_s=0).feed([*day]).letters}
    day = [tick for tick in day if tick.number not in late]
    end = max(tick.time_ns for tick in day)
    play = IdlePlay().feed([*day])
    waiting = {key for key, record in play.last().items() if record.indicator == 0}
    for n in range(1, 1_100):
        play.go_on((end + n * 7 * SECOND_NS) // 1_000_000)
        play.feed([Tick(10**6 + n, "OTHER", 10_000, 0, end + n * 7 * SECOND_NS)])

    last = play.last()
    assert len({key for key, record in last.items() if record.indicator == 0} - waiting) > SYMBOLS
    for length in LENGTHS_NS:
        bars = {
            (symbol, start): record
            for (symbol, start, of, name), record in last.items()
            if (of, name) == (length, "NONE0")
        }
        assert {key: said(record)[:7] for key, record in bars.items()} == expected_bars(day, length)
        if length not in INDICATOR_LENGTHS_NS:
            continue
        series = {f"S{n}": IndicatorSet(parse_indicators(SPECS)) for n in range(SYMBOLS)}
        expected: dict[Key, float | None] = {}
        for (symbol, start), bar in sorted(bars.items()):
            high, low, close = bar.high_price or 0, bar.low_price or 0, bar.close_price or 0
            values = series[symbol].update_bar(high / 1e4, low / 1e4, close / 1e4, float(bar.volume))
            for name, value in zip(NAMES_ALL, values, strict=True):
                if name and value is not None:
                    expected[symbol, start, length, name] = value
        values_of = {key: r.value for key, r in last.items() if key[2] == length and r.indicator and r.period}
        assert values_of == expected and len(expected) > 50


@pytest.mark.parametrize("seed", range(3))
def test_engine_restored_between_bars_told_early_gives_the_same_bytes(seed: int) -> None:
    random = Random(600 + seed)
    day, _ = day_with_changes(600 + seed, 500, SYMBOLS, 4.0)
    records = shuffled(random, day)
    undisturbed, disturbed = IdlePlay().feed(records), IdlePlay()
    places = sorted({random.randrange(len(records)) for _ in range(8)})
    for first, after in zip([0, *places], [*places, len(records)], strict=True):
        disturbed.feed(records[first:after])
        state = disturbed.shard.snapshot()
        disturbed.shard = IdlePlay().shard
        disturbed.shard.restore(state)
    assert disturbed.frames == undisturbed.frames
    assert disturbed.shard.snapshot() == undisturbed.shard.snapshot()
    assert any(key_of(record)[3] == "NONE0" and record.revision > 0 for record in undisturbed.records())


@pytest.mark.parametrize("seed", range(3))
def test_partition_read_ten_minutes_ahead_makes_no_other_silent(seed: int) -> None:
    """Half an hour in which every symbol ticks within 20 s, until the partition of S2 dies and the others go on."""
    random = Random(700 + seed)
    records = [
        Tick(0, f"S{n}", 10_000 + random.randrange(50), 100, OPENING_NS + int(second * SECOND_NS))
        for n in range(SYMBOLS)
        for second in accumulate(random.choice((0.5, 3.0, 19.0)) for _ in range(600))
        if second < 1_800
    ]
    dead_ns = OPENING_NS + 900 * SECOND_NS
    records = [tick for tick in records if partition_of(tick) != 2 or tick.time_ns < dead_ns]
    # What is read of partition 1 happens ten minutes later than what is read of the others.
    records.sort(key=lambda tick: tick.time_ns - (600 * SECOND_NS if partition_of(tick) == 1 else 0))
    records = [replace(tick, number=number) for number, tick in enumerate(records)]

    engine = AlertingAnalytics(0, 1, ALERT_IDS, SECOND_NS, 300 * SECOND_NS, SPECS, IDLE_S * SECOND_NS)
    patient = AlertingAnalytics(0, 1, ALERT_IDS, SECOND_NS, 300 * SECOND_NS, SPECS, 0)
    watch = alert_rules.encode(rule("still", "STALE", "*", windowSeconds=20), ALERT_IDS["alert-rules"])
    for each in (engine, patient):
        each.apply(ALERT_RULES, watch, 0, 0, 0)
    left = Counter(map(partition_of, records))
    read_ms: dict[int, int] = {}
    frames: tuple[list[bytes], list[bytes]] = ([], [])
    dead = False
    for place, tick in enumerate(records):
        partition, kafka_ms = partition_of(tick), tick.time_ns // 1_000_000
        read_ms[partition] = kafka_ms
        left[partition] -= 1
        for each, written in zip((engine, patient), frames, strict=True):
            each.apply(MARKET_DATA, tick.frame(ALERT_IDS["market-data"]), partition, place, kafka_ms)
            # One that has nothing more to read no longer holds the watermark back.
            going_on = [read for number, read in read_ms.items() if left[number]]
            if len(read_ms) == 3 and going_on:
                each.apply(PROGRESS, b"", partition, place, min(going_on))
            written += [*each.outbox.market_analytics.values, *each.outbox.alerts.values]
            told = {alerts.decode(value).symbol for value in each.outbox.alerts.values}
            dead = dead or bool(told)
            assert told <= {"S2", "S5"}, f"seed {seed}, record {place}: {told} are not silent"
            each.outbox.clear()
        if not dead:
            assert frames[0] == frames[1], f"seed {seed}, record {place}: something was told early"
        if random.random() < 0.01:
            state = engine.snapshot()
            engine = AlertingAnalytics(0, 1, ALERT_IDS, SECOND_NS, 300 * SECOND_NS, SPECS, IDLE_S * SECOND_NS)
            engine.restore(state)
    assert dead, f"seed {seed}: nobody was told that a source has died"


def test_names_of_indicators_are_those_of_the_topic() -> None:
    assert {name.rstrip("0123456789") for name in NAMES_ALL if name} <= set(INDICATOR_NAMES)
    assert partition_of(Tick(0, "OTHER", 1, 1, OPENING_NS)) == 3
    assert partition_of(replace(Tick(0, "S4", 1, 1, OPENING_NS))) == 1 and IDLE_S == 60
