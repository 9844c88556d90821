"""What the benchmarks of jobs share: empty topics, one run of a job over records that lie in Kafka, and its rates.

A rate is that of the middle of a run, from 20% to 90% of its output: how a job starts and ends is not what it can do.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

import click
import psutil

from infra.processes import Processes
from infra.stack import Stack, terminate_as_interrupt
from jobs import topics
from jobs.bench_cpu import each_us, stage_times
from jobs.cli_common import META_OVERRIDES, load_config, status
from jobs.cli_schemas import SETUP_TIMEOUT_S, open_registry, register_all
from jobs.config import Config
from jobs.demo_setup import demo_config
from jobs.demo_watch import Probe
from jobs.flink_rest import FlinkRest
from jobs.submit import submit_job
from schemas.catalogue import TOPICS

STALLED_S: Final = 120
FROM_SHARE, TO_SHARE = 0.2, 0.9


class BenchError(RuntimeError):
    """A benchmark that could not be run to its end."""


class Cpu(NamedTuple):
    """CPU seconds so far: of the TaskManagers, of the whole stack and this process, of the machine."""

    taskmanagers: float
    ours: float
    machine: float


class Point(NamedTuple):
    """How far a run is: seconds of a clock, records written, CPU."""

    at_s: float
    written: int
    cpu: Cpu
    stages: Mapping[str, int] = {}
    """CPU nanoseconds by stage (jobs.bench_cpu)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """One run of a job over all its input records."""

    inputs_per_s: float
    records: int
    records_per_s: float
    bytes_per_record: float
    seconds: float
    cores: float
    """CPU that the TaskManagers had."""
    others_cores: float
    """CPU that had nothing to do with the stack: more than a tenth of a core disturbs."""
    cpu_us: dict[str, float] = dataclasses.field(default_factory=dict)
    """CPU microseconds an input record by stage."""

    @property
    def inputs_per_core_s(self) -> float:
        """Input records for each CPU second of the TaskManagers; of the broker's share nothing is in it."""
        return self.inputs_per_s / self.cores if self.cores else 0.0


def middle(points: list[Point], count: int, bytes_per_record: float = 0.0, from_share: float = FROM_SHARE) -> Measured:
    """The rates between `from_share` and `TO_SHARE` of the output of a run over `count` input records."""
    total = points[-1].written
    # A fast job makes much between two looks at it: the look before the middle begins counts, unless that saw nothing yet.
    before = [point for point in points if 0 < point.written <= from_share * total]
    begin = before[-1] if before else next(point for point in points if point.written >= from_share * total)
    end = next(point for point in points if point.written >= TO_SHARE * total)
    seconds = end.at_s - begin.at_s
    if seconds <= 0:
        raise BenchError(f"{total:,} records came at once: too few to measure, take more of them")
    written = end.written - begin.written
    used = Cpu(*(after - before for before, after in zip(begin.cpu, end.cpu, strict=True)))
    return Measured(
        inputs_per_s=count * written / total / seconds,
        records=total,
        records_per_s=written / seconds,
        bytes_per_record=bytes_per_record,
        seconds=seconds,
        cores=used.taskmanagers / seconds,
        others_cores=max(0.0, used.machine - used.ours) / seconds,
        cpu_us=each_us(begin.stages, end.stages, count * written / total),
    )


def bench_config(ctx: click.Context, taskmanagers: int, apart: int | None = None) -> Config:
    """The settings of a benchmark's own stack, with so many TaskManagers and as many subtasks of each operator.

    apart: that of `demo_config`; by default one for each subtask.
    """
    base = load_config(ctx)
    own = dataclasses.replace(base, state_dir=base.state_dir / "bench")
    config = demo_config(
        own, taskmanagers, ctx.meta.get(META_OVERRIDES, {}), apart=taskmanagers if apart is None else apart
    )
    return dataclasses.replace(config, flink=dataclasses.replace(config.flink, parallelism=taskmanagers))


def numbers(text: str, option: str) -> list[int]:
    """The numbers of a comma-separated list. Raises click.BadParameter."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of numbers", param_hint=option) from None


@contextlib.contextmanager
def own_stack(config: Config) -> Iterator[None]:
    """Kafka, registry and Flink for a benchmark; ended and wiped whatever happens."""
    stack = Stack(config, progress=status)
    with terminate_as_interrupt():
        try:
            status("starting Kafka, registry and Flink")
            stack.up(("kafka", "registry", "flink"))
            yield
        finally:
            stack.down(wipe=True)


class BenchRun:
    """Runs of jobs on a running stack; progress is what they write to `outputs`, the end is when they have read `inputs`."""

    def __init__(self, config: Config, count: int, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        self.config = config
        self.count = count
        self.inputs = inputs
        self.outputs = outputs
        self.rest = FlinkRest(config.flink.rest_url)
        self.probe = Probe(config, {})
        self.points: list[Point] = []
        """The last run, as it went."""
        self.from_share = FROM_SHARE
        """What of a run's output is warm-up."""
        self.last_written: dict[tuple[str, int], float] = {}
        """When in the last run each partition of the outputs got its last record."""
        self._processes = Processes(config.state_dir, config.log_dir)

    def fresh_topics(self) -> dict[str, int]:
        """Empty topics; the registry's ids of their schemas."""
        every = list(TOPICS.values())
        with topics.admin(self.config) as admin:
            topics.delete(admin, list(topics.existing(admin, every)))
            wait(lambda: not topics.existing(admin, every), "the old topics are not deleted")
            topics.create(admin, self.config, every)
        return register_all(open_registry(self.config, SETUP_TIMEOUT_S))

    def measure(self, job: str, config: Config | None = None, cut: tuple[float, float] | None = None) -> Measured:
        """Run a job over all input records and cancel it at their end. config: other settings than the run's.

        cut: so many seconds after its first output it is cancelled in its middle; and how many records an input record
        causes, as another run has shown, because nobody knows how many of them it has taken by then.
        """
        job_id, measured = self.start(job, config, cut)
        self.rest.cancel(job_id)
        return measured

    def warm_up(self, job: str, seconds: float, config: Config | None = None) -> None:
        """Run a job for so long, unmeasured: the JVM's compilers need half a minute for code that stays the same.

        config: other settings than the run's.
        """
        status(f"warming up with {job} for {seconds:.0f} s")
        before, job_id = self.written(), submit_job(config or self.config, job, timeout_s=300)
        wait(lambda: self.written() > before, f"{job} has written nothing")
        began = time.monotonic()
        while time.monotonic() - began < seconds and self.probe.group_lag(job, self.inputs) != 0:
            time.sleep(0.5)
        self.rest.cancel(job_id)

    def start(
        self, job: str, config: Config | None = None, cut: tuple[float, float] | None = None
    ) -> tuple[str, Measured]:
        """Run a job over all input records and leave it running; its id, and what was measured."""
        status(f"running {job}")
        size_before = self._bytes()
        ends = self._ends()
        before = sum(ends.values())
        points: list[Point] = []
        self.points, self.last_written = points, {}
        last_change = time.monotonic()
        # A fast job has written everything before Flink's client says that it runs: look from the beginning.
        pool = ThreadPoolExecutor(1)
        submitting = pool.submit(submit_job, config or self.config, job, timeout_s=300)
        # Not waited for when this is interrupted: the client ends with the stack.
        pool.shutdown(wait=False)
        # The job has everything when it has read all input and its output stands still.
        while True:
            now, found = time.monotonic(), self._ends()
            written = sum(found.values()) - before
            submitted = submitting.done()
            if submitted and submitting.exception() is not None:
                break
            if not points or written != points[-1].written:
                points.append(self.point(now, written))
                last_change = now
                self.last_written.update({part: now for part, end in found.items() if end != ends[part]})
                ends = found
            elif not submitted:
                last_change = now
            elif now - last_change > 5 and written and self.probe.group_lag(job, self.inputs) == 0:
                break
            elif now - last_change > STALLED_S:
                failure = self.rest.failure(submitting.result()) or "no failure"
                raise BenchError(f"{job} stands still at {written:,} records: {failure}")
            first = next((point.at_s for point in points if point.written), now)
            if submitted and cut is not None and now - first > cut[0]:
                break
            time.sleep(0.2)
        job_id = submitting.result()
        taken = self.count if cut is None else round(points[-1].written / cut[1])
        measured = middle(points, taken, (self._bytes() - size_before) / points[-1].written, self.from_share)
        status(
            f"  {job}: {measured.inputs_per_s:,.0f} {self.inputs[0]}/s, {measured.records_per_s:,.0f} records/s "
            f"over {measured.seconds:.1f} s"
        )
        return job_id, measured

    def written(self, names: tuple[str, ...] = ()) -> int:
        """Records in the output topics, committed or not (a transaction's marker counts as one)."""
        return sum(self._ends(names).values())

    def _ends(self, names: tuple[str, ...] = ()) -> dict[tuple[str, int], int]:
        return self.probe.ends(names or self.outputs, committed=False)

    def taskmanagers(self) -> list[psutil.Process]:
        """The TaskManagers that live."""
        return [process for name, process in self._alive().items() if name.startswith("taskmanager")]

    def _alive(self) -> dict[str, psutil.Process]:
        """The stack's processes that live, by component."""
        found = {name: self._processes.find(name) for name in self._processes.names()}
        return {name: process for name, process in found.items() if process is not None}

    def point(self, at_s: float, written: int) -> Point:
        """How far the run is, and the CPU that it has used, from one look at the stack's processes."""
        alive = self._alive()
        managers = [process for name, process in alive.items() if name.startswith("taskmanager")]
        broker = alive.get("kafka")
        others = [process for process in alive.values() if process not in managers]
        stages = stage_times([process.pid for process in managers], broker.pid if broker else None)
        return Point(at_s, written, _cpu(managers, [psutil.Process(), *others]), stages)

    def _bytes(self) -> int:
        """Bytes of the output topics on the broker's disk, compressed."""
        data = self.config.state_dir / "kafka" / "data"
        # The broker renames the folders of a deleted topic at once and deletes them a minute later.
        folders = (folder for topic in self.outputs for folder in data.glob(f"{topic}-[0-9]*"))
        files = (file for folder in folders if not folder.name.endswith("-delete") for file in folder.glob("*.log"))
        return sum(map(_size, files))


def _cpu(taskmanagers: list[psutil.Process], own: list[psutil.Process]) -> Cpu:
    """CPU seconds used so far. The stack's processes are children of this one: each counts once."""
    managers = _used(taskmanagers)
    machine = psutil.cpu_times()
    return Cpu(
        sum(managers.values()),
        sum((managers | _used(own)).values()),
        sum(machine) - machine.idle - getattr(machine, "iowait", 0.0),
    )


def _used(processes: list[psutil.Process]) -> dict[int, float]:
    """User and system time of processes and their children, by process id; those that have just ended are left out."""
    used = {}
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            for member in [process, *process.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    used[member.pid] = sum(member.cpu_times()[:2])
    return used


def _size(file: Path) -> int:
    return file.stat().st_size


def wait(done: Callable[[], bool], what: str) -> None:
    """Poll until `done`. Raises BenchError with what did not happen."""
    deadline = time.monotonic() + STALLED_S
    while not done():
        if time.monotonic() > deadline:
            raise BenchError(f"{what} after {STALLED_S} s")
        time.sleep(0.5)


def is_disturbed(load_before: float, others_cores: float) -> bool:
    """Whether something else was at work: before the run by the load, meanwhile by the cores that others took."""
    return load_before > 1.0 or others_cores > 0.1


def load_now() -> float:
    """The machine's load, 1-minute average."""
    return os.getloadavg()[0]
