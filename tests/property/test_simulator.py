"""The trading job simulated from seeds: crashes at any step lose, repeat and change nothing; and broken jobs are caught.

The ordinary run takes some seeds; `--simulator-seeds N` takes N, in `--trading-workers` processes. A failure names its seed,
and `simulate(seed)` repeats it.
"""

from __future__ import annotations

import gc
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
from pyflink.common import Row
from simulator import Faults, Simulator
from simulator_check import Violation, simulate

from udfs.domain import sources
from udfs.domain.book import InvariantViolation
from udfs.operators.run_shard import Engine, RunShard

SEEDS_COMPILED = 150
SEEDS_INTERPRETED = 40
SEEDS_BROKEN = 25


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """The operators switch the garbage collector off, and a crash does not close them."""
    yield
    gc.enable()
    gc.unfreeze()
    gc.collect()


def seen(run: Simulator) -> Counter[str]:
    """What happened in a run."""
    result = Counter(f"committed {record.topic}" for record in run.committed())
    result["crashes"] = run.crashes
    result["checkpoints"] = run.checkpoints
    result["commits after a restore"] = run.uncommitted_restores
    result["aborted records"] = sum(run.states[record.transaction] == "aborted" for record in run.log)
    result["rescales"] = run.rescales
    result["batches that waited"] = run.joined
    result["snapshots"] = sum("snapshot" in s for t in run.tasks.values() for s in t.handles.state.values())
    return result


def run_seed(seed: int) -> Counter[str]:
    """A run that must keep every promise; what failed says the seed."""
    try:
        return seen(simulate(seed))
    except Exception as error:
        raise AssertionError(f"simulate({seed}): {error!r}") from error


def test_simulated_crashes_keep_every_promise(compiled: bool) -> None:
    total: Counter[str] = Counter()
    for seed in range(SEEDS_COMPILED if compiled else SEEDS_INTERPRETED):
        total += run_seed(seed)
    # The runs are worth something only if all of this happened in them.
    for what in ("order-events", "trade-events", "risk-events", "routing-decisions", "order-outcomes", "market-status"):
        assert total[f"committed {what}"] > 20, what
    for what in ("crashes", "checkpoints", "aborted records", "rescales", "snapshots", "batches that waited"):
        assert total[what] > 20, what
    assert total["commits after a restore"] > 5


def test_simulated_run_of_a_seed_repeats_itself() -> None:
    first, second = simulate(3, crash_rate=0.01), simulate(3, crash_rate=0.01)
    assert first.crashes > 0
    assert first.log == second.log
    assert first.states == second.states


def test_snapshot_of_a_release_that_did_not_compress_is_restored() -> None:
    run = next(run for run in map(simulate, range(40)) if "snapshot" in run.tasks["match0"].handles.state["match", 0])
    task = run.tasks["match0"]
    state = task.handles.state["match", 0]
    state["snapshot"] = zlib.decompress(state["snapshot"][1:])
    task.handles.key = ("match", 0)
    assert task.operator is not None
    restored = RunShard(task.operator.stage)
    restored.open(task.handles)
    assert list(restored.process_element(Row(0, sources.CONTROLS, [], [], 0), task)) == []
    assert restored.shards[0].engine.snapshot() == task.operator.shards[0].engine.snapshot()


def test_simulated_crashes_many_seeds_on_demand(
    pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds = pytestconfig.getoption("--simulator-seeds")
    if not seeds:
        pytest.skip("--simulator-seeds N simulates N runs of the trading job")
    begin = time.monotonic()
    total: Counter[str] = Counter()
    with ProcessPoolExecutor(pytestconfig.getoption("--trading-workers")) as pool:
        for number, found in enumerate(pool.map(run_seed, range(seeds), chunksize=20), 1):
            total += found
            if number % 1_000 == 0 or number == seeds:
                with capsys.disabled():
                    passed = time.monotonic() - begin
                    print(f"{number} of {seeds} runs, {number / passed * 60:.0f} a minute: {dict(total)}", flush=True)


class CountingEngine:
    """An engine whose ids come from a counter that no snapshot holds, instead of the command's position.

    Without a crash it counts every order of its shard once, so its ids are unique then.
    """

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.count = 0

    def apply(self, source: int, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        """Apply one record, an order under the counter's number."""
        if source == sources.ORDERS:
            partition, offset = self.engine.shard, self.count
            self.count += 1
        self.engine.apply(source, payload, partition, offset, kafka_timestamp_ms)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)


def count_ids(engine: Engine) -> Engine:
    """The risk engine with a counter for its ids."""
    return CountingEngine(engine) if hasattr(engine, "desk") else engine


BROKEN = {
    "at-least-once sink": Faults(at_least_once=True),
    "journal dropped at a restore": Faults(drop_journal=True),
    "commit skipped after a restore": Faults(skip_commit=True),
    "input repeated after a restore": Faults(repeat_input=True),
    "ids from a counter that is not restored": Faults(wrap=count_ids),
}


def caught(faults: Faults, crash_rate: float) -> list[str]:
    """What the seeds found: the checker's violations, and what the engines themselves refused to go on with."""
    found = []
    for seed in range(SEEDS_BROKEN):
        try:
            simulate(seed, faults, crash_rate)
        except (Violation, InvariantViolation) as error:
            found.append(f"{type(error).__name__}: {error}")
    return found


@pytest.mark.parametrize("name", BROKEN)
def test_simulated_job_that_is_broken_is_caught_once_it_crashes(name: str) -> None:
    # Without a crash a broken recovery does no harm: what is caught below is the recovery, not the simulator.
    assert all(simulate(seed, BROKEN[name], crash_rate=0.0).crashes == 0 for seed in range(5))
    found = caught(BROKEN[name], crash_rate=0.01)
    assert len(found) > SEEDS_BROKEN // 10
    assert any(line.startswith("Violation") for line in found)
