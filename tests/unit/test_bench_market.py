"""`tradestream bench market-data`: its ticks, its rates, what the report says. No figure of this machine is asserted."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter

import psutil
import pytest

from infra.feeds.sessions import DEFAULT_DAY, trading_day
from infra.feeds.tick_load import TickLoad
from jobs import bench_run
from jobs.bench_market import RATES_PER_S, Live, render, summary
from jobs.bench_run import BenchError, Cpu, Measured, Point, middle
from schemas.messages import market_data, raw_feed
from schemas.messages.enums import MARKET_DATA_KIND_NAMES
from udfs.domain.market_shard import MarketShard
from udfs.domain.normalise import MarketLimits

IDS = {"raw-feed": 11, "market-data": 12, "nbbo": 13, "dead-letter": 14, "market-depth": 15, "controls": 16}


def test_ticks_of_the_load_are_all_taken_one_event_each() -> None:
    load = TickLoad(trading_day(DEFAULT_DAY), 11, symbols=16)
    shard = MarketShard(0, 1, IDS, MarketLimits())
    items = [*load.ticks(1_500, 2_000.0), *load.ticks(500, 100.0)]
    for number, (_, _, frame, _) in enumerate(items):
        shard.apply(7, frame, 0, number, 5)
    shard.flush()

    assert not shard.outbox.dead_letter.values
    kinds = Counter(
        MARKET_DATA_KIND_NAMES[market_data.decode(value, 12).kind] for value in shard.outbox.market_data.values
    )
    assert kinds.keys() == {"QUOTE", "TRADE"} and kinds.total() == 2_000
    assert 250 < kinds["TRADE"] < 550
    assert dict(shard.counters.items())["crossed"] == 0
    times = [time_ns for _, _, _, time_ns in items]
    assert times == sorted(times) and times[-1] - times[0] == 1_499 * 500_000 + 500 * 10_000_000


@pytest.mark.parametrize(("share", "fewest", "most"), [(0.5, 1_850, 2_150), (None, 150, 350)])
def test_first_symbol_of_the_load_has_its_share(share: float | None, fewest: int, most: int) -> None:
    load = TickLoad(trading_day(DEFAULT_DAY), 11, symbols=16, first_share=share)
    found = Counter(raw_feed.decode(frame, 11).symbol for _, _, frame, _ in load.ticks(4_000, 1_000.0))
    assert fewest < found[load.symbols[0]] < most
    assert len(found) == 16


@pytest.mark.parametrize(("symbols", "share"), [(0, None), (3, 1.5), (3, -0.1)])
def test_load_that_makes_no_sense_is_refused(symbols: int, share: float | None) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        TickLoad(trading_day(DEFAULT_DAY), 11, symbols=symbols, first_share=share)


def test_cpu_of_a_process_that_is_a_child_of_another_counts_once() -> None:
    # By its own clock, however fast the machine is.
    busy = "import time\nwhile time.process_time() < 0.5: pass\ninput()"
    with subprocess.Popen([sys.executable, "-c", busy], stdin=subprocess.PIPE) as child:
        manager = psutil.Process(child.pid)
        while sum(manager.cpu_times()[:2]) < 0.4:
            time.sleep(0.01)
        before = bench_run._used([psutil.Process()])
        used = bench_run._cpu([manager], [psutil.Process()])
        child.communicate(b"\n")
    assert child.pid in before
    assert 0.4 <= used.taskmanagers <= used.ours
    # Twice the child would be more than the whole family has used.
    assert used.ours == pytest.approx(sum(before.values()), abs=0.2)


def test_rates_are_those_of_the_middle_of_a_run() -> None:
    # Slow at both ends: 100 records in ten seconds, then 800 in four, then 100 in ten.
    points = [
        Point(0.0, 0, Cpu(0.0, 0.0, 0.0)),
        Point(10.0, 200, Cpu(5.0, 8.0, 10.0)),
        Point(12.0, 600, Cpu(8.0, 12.0, 14.0)),
        Point(14.0, 900, Cpu(11.0, 15.0, 18.0)),
        Point(24.0, 1_000, Cpu(12.0, 16.0, 30.0)),
    ]
    found = middle(points, 2_000)
    assert (found.records_per_s, found.inputs_per_s, found.seconds) == (175.0, 350.0, 4.0)
    assert (found.cores, found.others_cores) == (1.5, 0.25)
    assert found.inputs_per_core_s == pytest.approx(350 / 1.5)


def test_run_that_is_too_short_to_measure_says_so() -> None:
    with pytest.raises(BenchError, match="too few"):
        middle([Point(0.0, 0, Cpu(0, 0, 0)), Point(1.0, 50, Cpu(0, 0, 0))], 50)


def run(rate: float, others: float = 0.0, caught_up_s: float = 0.1) -> dict[str, object]:
    def measured(per_s: float, cores: float) -> Measured:
        return Measured(per_s, 1_000, per_s, 50.0, 10.0, cores, others)

    return {
        "market_data": measured(rate, 1.5),
        "passthrough": measured(100_000.0, 1.0),
        "skewed": measured(rate / 2, 1.0),
        "one_symbol": measured(rate / 4, 1.0),
        "others_done": 0.6,
        "live": [Live(per_s, per_s * 5, per_s // 20, caught_up_s) for per_s in RATES_PER_S],
    }


def test_summary_has_medians_and_the_ratio_of_each_run() -> None:
    found = summary(1_000, 2, [run(30_000.0), run(60_000.0), run(50_000.0)], 0.2)
    assert (found["ticks_per_s"], found["ratio"], found["ratios"]) == (50_000, 0.5, [0.3, 0.6, 0.5])
    assert found["ticks_per_core_s"] == 33_333
    assert found["ratio_per_core"] == 0.333
    assert (found["skewed_ticks_per_s"], found["skewed_others_done"]) == (25_000, 0.6)
    assert [live["most_behind_ms"] for live in found["one_symbol_live"]] == [50, 50, 50]
    assert not found["disturbed"]
    text = render(found)
    assert "ratio 0.5 of the JVM's" in text and "keeps up" in text
    assert "disturbed" not in text and "FALLS BEHIND" not in text


@pytest.mark.parametrize(("load", "others"), [(3.0, 0.0), (0.1, 0.4)])
def test_disturbed_run_says_so(load: float, others: float) -> None:
    found = summary(1_000, 2, [run(50_000.0), run(50_000.0, others)], load)
    assert found["disturbed"]
    assert f"disturbed: the load was {load} at the start, and others used up to {others} cores" in render(found)


def test_live_run_that_is_seconds_behind_does_not_keep_up() -> None:
    found = summary(1_000, 2, [run(50_000.0), run(50_000.0, caught_up_s=1.2)], 0.1)
    assert [live["keeps_up"] for live in found["one_symbol_live"]] == [False, False, False]
    assert "1,200 ms after the last tick: FALLS BEHIND" in render(found)
