"""Where CPU time goes: threads of a real process, and their stages."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from jobs.bench_cpu import BROKER, OTHER, each_us, stage_of, stage_times, thread_times


@pytest.mark.parametrize(
    ("thread", "stage"),
    [
        ("check_risk -> (", "risk"),
        ("route_and_match", "match"),
        ("Source: orders_", "sources"),
        ("GroupWindowAggr", "batching"),
        ("C2 CompilerThre", "JIT compiler"),
        ("G1 Main Marker", "garbage collection"),
        ("flink-pekko.act", OTHER),
    ],
)
def test_stage_of_thread_names_as_linux_cuts_them(thread: str, stage: str) -> None:
    assert stage_of(thread) == stage


def test_thread_times_of_a_busy_thread_grow_and_those_of_an_idle_one_do_not() -> None:
    stop = threading.Event()
    ids: dict[str, int] = {}

    def busy() -> None:
        ids["busy"] = threading.get_native_id()
        while not stop.is_set():
            sum(range(1_000))

    def idle() -> None:
        ids["idle"] = threading.get_native_id()
        stop.wait()

    threads = [threading.Thread(target=busy), threading.Thread(target=idle)]
    for thread in threads:
        thread.start()
    try:
        deadline = time.monotonic() + 60
        while thread_times(os.getpid()).get(ids.get("busy", 0), ("", 0))[1] < 200_000_000:
            assert time.monotonic() < deadline, "a busy thread used no CPU time in a minute"
            time.sleep(0.05)
        times = thread_times(os.getpid())
        assert times[ids["idle"]][1] < 100_000_000
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_thread_times_name_with_blanks_and_parentheses_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "7" / "task" / "9"
    folder.mkdir(parents=True)
    (folder / "stat").write_text("9 (Sink: (a) b) S 1 1 1 0 -1 0 0 0 0 0 30 12 0 0 20 0 1 0\n")
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    assert thread_times(7, tmp_path) == {9: ("Sink: (a) b", 42 * tick_ns)}


def test_thread_times_of_a_process_that_is_gone_are_none(tmp_path: Path) -> None:
    assert thread_times(12, tmp_path) == {}


def test_stage_times_count_the_broker_apart() -> None:
    read = stage_times([], os.getpid())
    assert set(read) == {BROKER} and read[BROKER] > 0


def test_each_us_leaves_out_what_used_nothing_and_begins_with_the_largest() -> None:
    before = Counter({"risk": 1_000, "match": 500, "sources": 10})
    after = Counter({"risk": 5_000, "match": 16_500, "sources": 10, "batching": 2_000})
    assert list(each_us(before, after, 2).items()) == [("match", 8.0), ("risk", 2.0), ("batching", 1.0)]
