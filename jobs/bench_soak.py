"""`tradestream bench soak`: does anything grow that should not, in processes that live on while jobs restart in them?

1. Start a stack of three TaskManagers and the steady load of `tradestream chaos`, with its checker; market_data, trading and
   archive take a slot each.
2. Restart every job again and again, evenly over the time, by turns with a savepoint and by a failover, one job after the
   other, so that each comes back to the TaskManager that it left.
3. After each restart hold the load until everything is settled and checked, and measure every process of the stack.
4. At the end measure again, close the session, check all of it, and judge the slopes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from infra.stack import terminate_as_interrupt
from jobs.bench_growth import Allowance, Growth, Point, growth_of, render, summary
from jobs.bench_memory import MB, find_jcmd, measure
from jobs.chaos import ending
from jobs.chaos_faults import JOBS, Arena, Fault
from jobs.chaos_run import ChaosRun, Options
from jobs.cli_common import EXIT_FAILED, META_OVERRIDES, load_config, status
from jobs.config import Config
from jobs.flink_rest import FlinkError
from jobs.sealed_transactions import transactions
from jobs.submit import SubmitError

JOURNAL_BYTES: Final = 64 * 1024
"""Of each shard, so that journals are as long as they get before the warm-up is over: at the default it would take hours."""
LIMIT_S: Final = 600.0
"""How long a recovery and a settling may take: it is not time that is measured here, and the machine may be busy."""
QUICK: Final = 10
"""How many times as much a short run allows, in which pools and caches are not full yet. Eight files a restart are seen still."""
ENOUGH: Final = 6
"""Measurements that a verdict needs, on a machine too slow for all restarts."""
_SETTLING_S: Final = 15.0
"""Load before the first measurement."""
_NAME: Final = 200
_FAIL_S: Final = 240.0
"""How long a job may take to fail after its stop has."""


@click.command()
@click.option(
    "--minutes",
    type=click.FloatRange(min=1),
    default=60,
    show_default=True,
    help="How long it lasts: restarts that do not fit in are left out.",
)
@click.option(
    "--restarts", type=click.IntRange(4, 10_000), default=20, show_default=True, help="Restarts of every job meanwhile."
)
@click.option("--seed", default=1, show_default=True, help="Draws the orders.")
@click.option("--quick", is_flag=True, help="6 minutes and 4 restarts: shows a leak that is large, and no more.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line.")
@click.pass_context
def soak(ctx: click.Context, minutes: float, restarts: int, seed: int, quick: bool, as_json: bool) -> None:
    """Restart the jobs again and again under load in processes that live on, and see that nothing grows.

    Memory is measured after a forced collection, beside classes, threads and open files, of every process of
    a stack of its own. The checker of `tradestream chaos` runs along. Exit code 1 when something grows beyond
    what the orders explain, or when a promise was broken.

    Example: tradestream bench soak --quick
    """
    if quick:
        minutes, restarts = min(minutes, 6.0), min(restarts, 4)
    base = load_config(ctx)
    find_jcmd(base)
    began = time.monotonic()

    def say(text: str) -> None:
        status(f"[{time.monotonic() - began:7.1f} s] {text}")

    folder = Path(tempfile.mkdtemp(prefix="tradestream-soak-"))
    options = Options(restarts, seed, limit_s=LIMIT_S, lasts_s=minutes * 60 + 600, taskmanagers=len(JOBS), apart=1)
    settings = ctx.meta.get(META_OVERRIDES, {})
    with terminate_as_interrupt(), ending(SoakRun(base, folder, options, say, settings), folder) as run:
        run.start()
        run.soak(minutes * 60)
        factor = QUICK if quick else 1
        found = growth_of(run.points, [one._replace(amount=one.amount * factor) for one in ALLOWANCES])
        click.echo(render(found))
        click.echo(told(found, run.points, run.ledger.violation_count))
        for violation in run.ledger.violations:
            say(f"VIOLATION {violation.kind}: {violation.text}")
        if as_json:
            click.echo(json.dumps(result(run, found)))
    if run.ledger.violation_count or any(one.grows for one in found):
        ctx.exit(EXIT_FAILED)


class SoakRun(ChaosRun):
    """A chaos run whose faults leave every process alive, and which measures them."""

    def __init__(
        self,
        base: Config,
        folder: Path,
        options: Options,
        say: Callable[[str], None],
        settings: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(base, folder, options, say, settings=settings)
        self.points: list[Point] = []
        self.threads: list[dict[str, dict[str, int]]] = []
        """By name, of each process at each measurement: what to look at when their number grows."""
        self.restarted = 0
        self.hosts: dict[str, str] = {}
        """Which job a TaskManager had at the start."""
        self._pids: dict[str, int] = {}
        self._cramped = folder / "cramped"
        self._record = folder / "measured.jsonl"

    def soak(self, seconds: float) -> None:
        """The restarts, evenly over a time; then the end of the session and the last checks."""
        began = time.monotonic()
        self.supervise(_SETTLING_S)
        self.settle("the start")
        count = self.options.faults
        for number in range(1, count + 1):
            self.supervise(began + number * seconds / (count + 1) - time.monotonic())
            if time.monotonic() > began + seconds and len(self.points) + 1 >= ENOUGH:
                self.say(f"the time is over: {number - 1} of {count} restarts fitted into it")
                break
            kind, fault = KINDS[(number - 1) % len(KINDS)]
            self.restarted = number
            struck = self.inflict(kind, fault, random.Random(f"soak-{number}"))
            recovered = "NO RECOVERY" if struck.recovery_s is None else f"recovered after {struck.recovery_s:.1f} s"
            self.say(
                f"restart {number} of {count}, {struck.what}: {recovered}, {struck.violations} violations, "
                f"{struck.orders:,} orders; {short(self.points[-1])}"
            )
        self.supervise(began + seconds - time.monotonic())
        # Its first step is to settle, where everything is measured for the last time.
        self.finish()

    def submit_all(self) -> None:
        """Start all jobs afresh, with short journals."""
        for job in self.jobs.values():
            job.config = dataclasses.replace(
                job.config, flink=dataclasses.replace(job.config.flink, journal_bytes=JOURNAL_BYTES)
            )
        super().submit_all()

    def held(self, what: str) -> None:
        """Measure all processes; each must be the one that it was at the start."""
        alive = {name: process for name in self.stack.component_names() if (process := self.stack.processes.find(name))}
        hosts = {name: job for job in JOBS for name in self.taskmanagers(job)}
        self.hosts = self.hosts or hosts
        if hosts != self.hosts:
            self.say(f"  jobs have moved: {hosts}, at the start {self.hosts}")
        found = {}
        for name, held in measure(self.config, alive).items():
            if self._pids.setdefault(name, held.pid) != held.pid:
                self.ledger.report("process", f"{name} is not the process that it was at the start, {what}")
            found[f"{name} ({self.hosts[name]})" if name in self.hosts else name] = held
        counts = {
            "restarts": self.restarted,
            "orders": len(self.ledger.orders.lives),
            "finished jobs": sum(not job.live for job in self.rest().jobs()),
            "transactional ids": len(transactions(self.config)),
        }
        figures = {name: held.figures for name, held in found.items()}
        self.points.append(Point(time.monotonic() - self._began, counts, figures))
        self.threads.append({name: dict(held.threads) for name, held in found.items()})
        # For whoever looks for the reason when the run breaks off: the folder is kept then.
        with self._record.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps([self.points[-1]._asdict(), self.threads[-1]]) + "\n")

    def restart(self, job: str) -> None:
        """Stop a job with a savepoint and resume it; what does not succeed the supervisor mends."""
        try:
            self.move(job)
        except (FlinkError, SubmitError) as error:
            self.say(f"{job} is left to the supervisor: {str(error).splitlines()[0]}")

    def fail_over(self, job: str) -> None:
        """Make a job fail and come back from its newest checkpoint, by a stop whose savepoint cannot be written.

        All processes live on. The folder's path leaves room for the savepoint's own folder and for no file in it, so that
        Flink begins, its tasks end their input and then hear that it was for nothing.
        """
        rest = self.rest()
        running = rest.find(job).id
        before = rest.restarts(running)
        with contextlib.suppress(FlinkError):
            rest.stop(running, cramped(self._cramped).as_uri(), self.limit_s)
        deadline = time.monotonic() + _FAIL_S
        while rest.restarts(running) == before:
            if time.monotonic() > deadline:
                self.ledger.report("process", f"{job} did not fail within {_FAIL_S:.0f} s of a stop that failed")
                return
            time.sleep(0.2)
        self.returned()


def _by_savepoint(run: Arena, _rng: random.Random) -> str:
    assert isinstance(run, SoakRun)
    for job in JOBS:
        run.restart(job)
    return "stopped with savepoints and resumed"


def _by_failover(run: Arena, _rng: random.Random) -> str:
    assert isinstance(run, SoakRun)
    for job in JOBS:
        run.fail_over(job)
    return "failed and restarted by Flink"


KINDS: Final[tuple[tuple[str, Fault], ...]] = (("savepoint", _by_savepoint), ("failover", _by_failover))
"""The first is a new job to Flink: a new class loader, new tasks, new clients, and what the old one had must go. In the second
the job and its class loader stay, the tasks are new, and what ends them is an error in the middle of their work."""


def cramped(folder: Path) -> Path:
    """Make a folder below `folder` with a path so long that a savepoint's folder fits into it, and no file into that."""
    longest = os.pathconf(folder.parent, "PC_PATH_MAX") - 1
    # Flink's name of a savepoint's folder, and half of what "/_metadata" takes.
    wanted = longest - len("/savepoint-012345-0123456789ab") - 5
    target = str(folder)
    while len(target) < wanted:
        target += "/" + "x" * min(_NAME, wanted - len(target) - 1)
    Path(target).mkdir(parents=True, exist_ok=True)
    return Path(target)


def short(point: Point) -> str:
    """The memory of a measurement in a line: the heap of each JVM and the native rest, in MB."""
    parts = []
    for name, figures in point.held.items():
        heap = f"{figures['heap MB']:.0f}+" if "heap MB" in figures else ""
        parts.append(f"{name} {heap}{figures['native MB']:.0f}")
    return "heap+native MB: " + ", ".join(parts)


def told(found: Sequence[Growth], points: Sequence[Point], violations: int) -> str:
    """The verdict in a few lines."""
    begin, end = points[0], points[-1]
    grown = [f"{one.figure} of {one.process}" for one in found if one.grows]
    return "\n".join(
        (
            "",
            f"{end.counts['restarts']:.0f} restarts of every job, {(end.at_s - begin.at_s) / 60:.0f} minutes, "
            f"{end.counts['orders']:,.0f} orders, {violations} violations",
            f"GROWS: {', '.join(grown)}" if grown else "nothing grows beyond what is allowed",
        )
    )


def result(run: SoakRun, found: Sequence[Growth]) -> dict[str, Any]:
    """The figures for a machine."""
    return {
        **{name: value for name, value in run.result().items() if name != "struck"},
        "restarts": run.restarted,
        "minutes": round((run.points[-1].at_s - run.points[0].at_s) / 60, 1),
        "grown": [f"{one.process}: {one.figure}" for one in found if one.grows],
        "growth": summary(found),
        "points": [point._asdict() for point in run.points],
        "threads": [run.threads[0], run.threads[-1]],
    }


ALLOWANCES: Final = (
    # What measuring again and again cannot tell from nothing.
    Allowance("", "heap MB", "restarts", 1.0),
    Allowance("", "metaspace MB", "restarts", 0.25),
    Allowance("", "native MB", "restarts", 2.0),
    # One thread or file that every second restart leaves is seen, and the classes that Flink generates for the smallest job.
    Allowance("", "classes", "restarts", 10),
    # Not of ClickHouse: its busiest moment fills the engine's pool of threads, each with three files.
    *(
        Allowance(process, figure, "restarts", 0.4)
        for process in ("jobmanager", "taskmanager", "kafka", "registry")
        for figure in ("threads", "files")
    ),
    # What the state of an order is: 690 bytes in the engines, which are Python, and 236 bytes in snapshots on the heap, beside
    # which a journal of the same length may lie.
    Allowance("(trading)", "native MB", "orders", 690 / MB),
    Allowance("(trading)", "heap MB", "orders", 2 * 236 / MB),
    # The caches of ClickHouse: no more than its tables take on its disk, seven rows an order (bench archive).
    Allowance("clickhouse", "native MB", "orders", 300 / MB),
    # Flink remembers a job that has ended for an hour (jobstore.expiration-time): its plan, its tasks, its checkpoints.
    Allowance("jobmanager", "heap MB", "finished jobs", 1.75),
    # Flink's sinks name each transaction anew. The broker knows each name for seven days (transactional.id.expiration.ms), in
    # 0.5 KB, and in each of the six partitions that it wrote to its producer for a day (producer.id.expiration.ms), in 0.2 KB.
    Allowance("kafka", "heap MB", "transactional ids", 2_000 / MB),
)
"""What may grow, and by how much; jobs/bench.md says what a restart would leave if nothing were let go of."""
