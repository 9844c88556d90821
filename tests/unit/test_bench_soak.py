"""`tradestream bench soak`: slopes, verdicts and what is read of processes; the runs themselves need a stack and minutes."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from jobs.bench_growth import Allowance, Growth, Point, growth_of, judged, render, slope, summary
from jobs.bench_memory import MeasureError, anonymous_outside, measure_process, parse_jcmd
from jobs.bench_soak import ALLOWANCES, cramped, short, told
from jobs.chaos_faults import JOBS

SEEDS = range(300)
LIMIT = [Allowance("", "heap MB", "restarts", 1.0)]


def points(values: list[float], figure: str = "heap MB", process: str = "jobmanager") -> list[Point]:
    """A measurement at the start and one after each restart, three minutes apart, 5,000 orders each."""
    return [
        Point(180.0 * number, {"restarts": number, "orders": 5_000 * number}, {process: {figure: value}})
        for number, value in enumerate(values)
    ]


def one(values: list[float], allowances: list[Allowance] = LIMIT) -> Growth:
    """The verdict on one figure."""
    (found,) = growth_of(points(values), allowances)
    return found


def noise(seed: int, count: int = 22, sigma: float = 2.0) -> list[float]:
    """A constant with noise, in which one value of ten is far off."""
    rng = random.Random(f"noise-{seed}")
    return [60 + rng.gauss(0, sigma) + (25 if rng.random() < 0.1 else 0) for _ in range(count)]


def test_slope_of_a_line_is_its_slope_whatever_a_quarter_of_the_points_is() -> None:
    line = [(x, 3.0 * x + 7) for x in range(12)]
    assert slope(line) == 3.0
    odd = [(x, y + 500 if x in (2, 9, 10) else y) for x, y in line]
    assert slope(odd) == pytest.approx(3.0, abs=0.01)


def test_slope_without_two_places_is_none() -> None:
    assert slope([(1.0, 5.0), (1.0, 9.0)]) == 0.0


def test_judged_leaves_the_first_third_out() -> None:
    assert [point.counts["restarts"] for point in judged(points([1.0] * 22))] == list(range(8, 22))
    assert len(judged(points([1.0] * 6))) == 4


def test_judged_too_few_measurements_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        judged(points([1.0] * 5))


def test_growth_of_a_constant_with_noise_does_not_grow() -> None:
    assert [seed for seed in SEEDS if one(noise(seed)).grows] == []


def test_growth_of_a_leak_of_three_mb_a_restart_is_seen_through_the_same_noise() -> None:
    leaking = {seed: [value + 3.0 * number for number, value in enumerate(noise(seed))] for seed in SEEDS}
    assert [seed for seed, values in leaking.items() if not one(values).grows] == []


def test_growth_of_a_leak_is_told_each_restart_and_each_hour() -> None:
    found = one([60 + 2.0 * number for number in range(22)])
    assert (found.per_restart, found.late_per_restart) == (2.0, 2.0)
    assert found.per_hour == pytest.approx(40.0)
    assert (found.first, found.last, found.grows) == (79.0, 99.0, True)


def test_growth_of_what_fills_up_and_stays_does_not_grow() -> None:
    # A cache that is full after two thirds of the time.
    assert not one([60 + 3.0 * min(number, 14) for number in range(22)]).grows


def test_growth_of_what_begins_late_and_goes_on_is_seen() -> None:
    assert one([60 + 4.0 * max(0, number - 12) for number in range(22)]).grows


def test_growth_of_warm_up_alone_does_not_grow() -> None:
    assert not one([10.0 * min(number, 7) for number in range(22)]).grows


@pytest.mark.parametrize(("leak", "grows"), [(0.0, False), (2.0, True)])
def test_growth_that_the_orders_explain_is_allowed_and_no_more(leak: float, grows: bool) -> None:
    allowances = [*LIMIT, Allowance("(trading)", "heap MB", "orders", 0.001)]
    values = [60 + (5.0 + leak) * number for number in range(22)]
    (found,) = growth_of(points(values, process="taskmanager-2 (trading)"), allowances)
    assert found.allowed_per_restart == pytest.approx(6.0)
    assert found.grows is grows
    (other,) = growth_of(points(values, process="taskmanager-1 (archive)"), allowances)
    assert other.grows, "the orders explain nothing of another process"


def test_growth_of_one_thread_each_restart_is_seen() -> None:
    (found,) = growth_of(points([80.0 + number for number in range(22)], "threads"), list(ALLOWANCES))
    assert found.grows


def test_growth_of_figures_without_an_allowance_is_not_judged() -> None:
    assert growth_of(points([float(number) for number in range(22)], "rss MB"), LIMIT) == []


def test_render_has_a_line_for_each_figure_and_marks_what_grows() -> None:
    held = [{"kafka": {"heap MB": 100.0 + 5 * number, "threads": 70.0}} for number in range(22)]
    allowances = [*LIMIT, Allowance("", "threads", "restarts", 0.5)]
    found = growth_of([Point(180.0 * n, {"restarts": n}, one) for n, one in enumerate(held)], allowances)
    lines = render(found).splitlines()
    assert lines[-2].split() == ["kafka", "heap", "MB", "147.50", "197.50", "5.00", "5.00", "100.00", "1.00", "GROWS"]
    assert lines[-1].split() == ["threads", "70.00", "70.00", "0.00", "0.00", "0.00", "0.50"]
    assert [(row["figure"], row["grows"]) for row in summary(found)] == [("heap MB", True), ("threads", False)]


def test_told_names_what_grows() -> None:
    series = points([60 + 2.0 * number for number in range(22)])
    text = told(growth_of(series, LIMIT), series, 3)
    assert "21 restarts of every job, 63 minutes, 105,000 orders, 3 violations" in text
    assert "GROWS: heap MB of jobmanager" in text
    assert "nothing grows" in told([], series, 0)


def test_short_tells_heap_and_native_memory() -> None:
    held = {"kafka": {"heap MB": 120.4, "native MB": 99.7}, "clickhouse": {"native MB": 400.2}}
    assert short(Point(0, {}, held)) == "heap+native MB: kafka 120+100, clickhouse 400"


def test_allowances_of_counts_are_below_one_a_restart() -> None:
    for allowance in ALLOWANCES:
        if allowance.figure in ("threads", "files") and allowance.each == "restarts":
            assert allowance.amount < 1, "one that each restart leaves must be seen"


def test_allowances_by_job_name_jobs_as_processes_are_named() -> None:
    for allowance in ALLOWANCES:
        if "(" in allowance.process:
            assert any(f"({job})" in allowance.process for job in JOBS)


PARALLEL = """4711:
Command executed successfully
Command executed successfully
 PSYoungGen      total 152064K, used 1310K [0x00000000ed500000, 0x00000000f7e80000, 0x0000000100000000)
  eden space 131072K, 1% used [0x00000000ed500000,0x00000000ed647b78,0x00000000f5500000)
  from space 20992K, 0% used [0x00000000f5500000,0x00000000f5500000,0x00000000f6980000)
 ParOldGen       total 306176K, used 59242K [0x00000000c8000000, 0x00000000dab00000, 0x00000000ed500000)
  object space 306176K, 19% used [0x00000000c8000000,0x00000000cb9daa10,0x00000000dab00000)
 Metaspace       used 88810K, committed 89920K, reserved 1179648K
  class space    used 11021K, committed 11520K, reserved 1048576K
CodeHeap 'non-profiled nmethods': size=120036Kb used=10000Kb max_used=12000Kb free=110036Kb
 bounds [0x00007f0000000000, 0x00007f0000a00000, 0x00007f0007539000]
CodeHeap 'profiled nmethods': size=120032Kb used=20000Kb max_used=21000Kb free=100032Kb
CodeHeap 'non-nmethods': size=5692Kb used=1500Kb max_used=1600Kb free=4192Kb
 total_blobs=13811 nmethods=12820 adapters=897

Total Usage - 665 loaders, 13581 classes (1325 shared):
"""
G1 = """12:
 garbage-first heap   total 393216K, used 30822K [0x00000000d0000000, 0x0000000100000000)
  region size 1024K, 3 young (3072K), 3 survivors (3072K)
 Metaspace       used 50000K, committed 50500K, reserved 1114112K
CodeCache: size=49152Kb used=8192Kb max_used=8200Kb free=40960Kb
Total Usage - 28 loaders, 9000 classes (1043 shared):
"""


def test_parse_jcmd_of_the_parallel_collector() -> None:
    found = parse_jcmd(PARALLEL)
    assert found.heap == (1310 + 59242) * 1024
    assert (found.heap_from, found.heap_to) == (0xC8000000, 0x100000000)
    assert (found.metaspace, found.metaspace_committed) == (88810 * 1024, 89920 * 1024)
    assert found.code == 31_500 * 1024
    assert found.classes == 13_581


def test_parse_jcmd_of_g1() -> None:
    found = parse_jcmd(G1)
    assert (found.heap, found.code, found.classes) == (30822 * 1024, 8192 * 1024, 9000)
    assert (found.heap_from, found.heap_to) == (0xD0000000, 0x100000000)


def test_parse_jcmd_of_anything_else_is_refused() -> None:
    with pytest.raises(MeasureError, match="something else"):
        parse_jcmd("4711:\nCould not find any processes")


SMAPS = """c8000000-100000000 rw-p 00000000 00:00 0
Rss:              400000 kB
Anonymous:        400000 kB
7f0000000000-7f0000010000 r--p 00000000 08:01 99 /usr/lib/libc.so.6
Rss:                  64 kB
Anonymous:             0 kB
7f0000010000-7f0000020000 rw-p 00000000 00:00 0
Anonymous:            48 kB
AnonHugePages:         0 kB
7f0000020000-7f0000030000 rw-p 00000000 00:00 0 [heap]
Anonymous:            16 kB
"""


def test_anonymous_outside_leaves_out_the_heap_and_pages_of_files() -> None:
    assert anonymous_outside(io.StringIO(SMAPS), 0xC8000000, 0x100000000) == 64 * 1024


HOLDING = """
import sys, threading, time
held = bytearray(80_000_000)
files = [open(sys.argv[1], "w") for _ in range(40)]
for _ in range(5):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print("there", flush=True)
time.sleep(60)
"""


def test_measure_process_of_a_python_counts_what_it_holds(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", HOLDING, str(tmp_path / "file")], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None and child.stdout.readline() == "there\n"
        figures = measure_process("no jcmd is needed", psutil.Process(child.pid)).figures
    finally:
        child.kill()
        child.wait()
    assert 80 < figures["native MB"] < 160
    assert figures["native MB"] <= figures["rss MB"]
    assert figures["threads"] == 6
    assert 43 <= figures["files"] <= 60
    assert "heap MB" not in figures


def test_measure_process_that_is_gone_is_refused() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(child.pid)
    child.wait()
    with pytest.raises(MeasureError, match=str(child.pid)):
        measure_process("no jcmd is needed", process)


def test_cramped_folder_takes_a_folder_and_no_file_in_it(tmp_path: Path) -> None:
    folder = cramped(tmp_path / "cramped") / "savepoint-012345-0123456789ab"
    folder.mkdir()
    with pytest.raises(OSError, match="too long"):
        (folder / "_metadata").write_text("state")
    assert len(os.fsencode(folder)) < os.pathconf(tmp_path, "PC_PATH_MAX")
