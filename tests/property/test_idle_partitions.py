"""Bars of silent partitions: in the end nothing is other than without them, and until then they are what has come so far."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from idle_days import IDLE_S, IdlePlay, Key, key_of, partition_of, said, shuffled
from test_bar_corrections import NAMES_ALL, SPECS, Change, day_with_changes
from tick_days import OPENING_NS, SECOND_NS, Tick, expected_bars, random_day

from schemas.messages.enums import INDICATOR_NAMES
from udfs.domain.analytics_settings import INDICATOR_LENGTHS_NS
from udfs.domain.bars import LENGTHS_NS
from udfs.domain.indicator_specs import IndicatorSet, parse_indicators

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
    play.feed([Tick(10**6 + n, "OTHER", 10_000, 0, end + n * 7 * SECOND_NS) for n in range(1, 1_100)])

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
        frames, disturbed = disturbed.frames, IdlePlay()
        disturbed.shard.restore(state)
        disturbed.frames = frames
    assert disturbed.frames == undisturbed.frames
    assert disturbed.shard.snapshot() == undisturbed.shard.snapshot()
    assert any(key_of(record)[3] == "NONE0" and record.revision > 0 for record in undisturbed.records())


def test_names_of_indicators_are_those_of_the_topic() -> None:
    assert {name.rstrip("0123456789") for name in NAMES_ALL if name} <= set(INDICATOR_NAMES)
    assert partition_of(Tick(0, "OTHER", 1, 1, OPENING_NS)) == 3
    assert partition_of(replace(Tick(0, "S4", 1, 1, OPENING_NS))) == 1 and IDLE_S == 60
