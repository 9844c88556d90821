"""The faults of `tradestream chaos`. Each is a function of the arena and a random generator that strikes and returns.

A fault returns what was done. What it broke the arena's supervisor mends, as systemd or Kubernetes would: a dead process is
started again at once, and a job that is gone is resumed from its newest checkpoint. What a fault takes away on purpose
for a while (`Arena.away`) is left alone until the fault gives it back; recovery is timed from the moment when it returns.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Protocol

import psutil

from infra.stack import Stack, StackError
from jobs.config import Config

JOBS: Final = ("market_data", "trading", "archive")
_QUOTA_BYTES: Final = 1_024
_LONG_CHECKPOINT_MS: Final = 10_000
_TIMEOUT_MS: Final = 30_000
"""Of trading's transactions while the broker is away for longer: three checkpoints, so that a busy machine keeps it."""


class Arena(Protocol):
    """What a fault may use."""

    stack: Stack
    away: set[str]
    """Components that the supervisor leaves alone."""

    def job_config(self, job: str) -> Config:
        """The settings that a job is submitted with."""
        ...

    def change_job(self, job: str, config: Config) -> None:
        """The settings that it is submitted with from now on."""
        ...

    def taskmanagers(self, job: str) -> list[str]:
        """The components that run tasks of a job. Raises FlinkError."""
        ...

    def move(self, job: str) -> None:
        """Stop a job with a savepoint and resume it from there, with its settings of now."""
        ...

    def after_commit(self) -> None:
        """Wait until trading has just committed its transactions, so that none is sealed and open."""
        ...

    def recovered(self) -> None:
        """Wait until the system has recovered, and time it from now: for faults that go on after that."""
        ...

    def returned(self) -> None:
        """From this moment the system has everything that it needs to recover."""
        ...

    def stop_jobs(self) -> None:
        """Stop all jobs with savepoints."""
        ...

    def supervise(self, seconds: float) -> None:
        """Let so much time pass, mending meanwhile what is not away."""
        ...

    def failed_checkpoints(self) -> int:
        """Failed checkpoints and restarts of all jobs so far."""
        ...

    def skew(self, milliseconds: int) -> None:
        """Shift the clock of the producer."""
        ...

    def poison(self, rng: random.Random) -> int:
        """Write poisoned records to every topic of outsiders; return how many."""
        ...

    def say(self, text: str) -> None:
        """A line of progress."""
        ...


Fault = Callable[[Arena, random.Random], str]


def _kill(name: str) -> Fault:
    def strike(arena: Arena, rng: random.Random) -> str:
        target = _victim(arena, rng, name)
        arena.stack.kill_component(target)
        return f"kill -9 {target}"

    return strike


def _pause(name: str, short_s: tuple[float, float], long_s: tuple[float, float]) -> Fault:
    """SIGSTOP for a while that is short, or long enough that others take it for dead."""

    def strike(arena: Arena, rng: random.Random) -> str:
        target = _victim(arena, rng, name)
        seconds = rng.uniform(*(long_s if rng.random() < 0.4 else short_s))
        with _stopped(arena, target):
            arena.supervise(seconds)
        return f"SIGSTOP {target}, SIGCONT after {seconds:.0f} s"

    return strike


@contextlib.contextmanager
def _stopped(arena: Arena, name: str) -> Iterator[None]:
    process = arena.stack.processes.find(name)
    arena.stack.kill_component(name, signal.SIGSTOP)
    arena.away.add(name)
    try:
        yield
    finally:
        if process is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)
        arena.away.discard(name)


def _victim(arena: Arena, rng: random.Random, name: str) -> str:
    """A component; of the TaskManagers one that works."""
    if name != "taskmanager":
        return name
    return rng.choice(sorted(arena.taskmanagers(rng.choice(JOBS))))


def _kill_everything(arena: Arena, rng: random.Random) -> str:
    names = arena.stack.component_names()
    rng.shuffle(names)
    for name in names:
        with contextlib.suppress(StackError):  # one that ended because another did is as dead as it should be
            arena.stack.kill_component(name)
    return "kill -9 of every process, in this order: " + ", ".join(names)


def _restart_everything(arena: Arena, rng: random.Random) -> str:
    arena.stop_jobs()
    arena.stack.down()
    return "jobs stopped with savepoints, every process stopped and started again"


def _full_disk(arena: Arena, rng: random.Random) -> str:
    """Flink's processes reach the quota of their file size: every longer file they write fails, half written."""
    seconds = rng.uniform(4.0, 12.0)
    before = arena.failed_checkpoints()
    limited: list[psutil.Process] = []
    try:
        for name in arena.stack.component_names():
            if name == "jobmanager" or name.startswith("taskmanager"):
                process = arena.stack.processes.find(name)
                if process is not None:
                    hard = process.rlimit(psutil.RLIMIT_FSIZE)[1]
                    process.rlimit(psutil.RLIMIT_FSIZE, (_QUOTA_BYTES, hard))
                    limited.append(process)
        arena.supervise(seconds)
        failed = arena.failed_checkpoints() - before
    finally:
        for process in limited:
            with contextlib.suppress(psutil.NoSuchProcess):
                hard = process.rlimit(psutil.RLIMIT_FSIZE)[1]
                process.rlimit(psutil.RLIMIT_FSIZE, (hard, hard))
    return (
        f"no file of Flink may grow over {_QUOTA_BYTES} bytes for {seconds:.0f} s: {failed} checkpoints or runs failed"
    )


def _rescale(arena: Arena, rng: random.Random) -> str:
    before = arena.job_config("trading")
    for parallelism in (2, 1):
        arena.change_job("trading", _with_flink(arena.job_config("trading"), parallelism=parallelism))
        arena.move("trading")
        arena.say(f"trading runs with parallelism {parallelism}")
        arena.supervise(rng.uniform(2.0, 6.0))
    arena.change_job("trading", before)
    return "trading moved by savepoints from 1 to 2 TaskManagers and back to 1"


def _new_release(arena: Arena, rng: random.Random) -> str:
    """Another release: other settings; the state is that of the one before."""
    config = arena.job_config("trading")
    window_ms, interval_ms = rng.choice((5, 20, 35)), rng.choice((700, 1_000, 1_500))
    config = _with_flink(config, checkpoint_interval_ms=interval_ms)
    arena.change_job(
        "trading", dataclasses.replace(config, trading=dataclasses.replace(config.trading, window_ms=window_ms))
    )
    arena.move("trading")
    changed = f"checkpoints every {interval_ms} ms and batches of {window_ms} ms"
    return f"trading resumed from its savepoint by a release with {changed}"


def _broker_away(arena: Arena, rng: random.Random) -> str:
    """The broker is away until every transaction that is open has timed out, and the job has restarted meanwhile.

    What a checkpoint has sealed and nobody has committed when the broker goes would be lost by Kafka's and Flink's protocol, so
    the broker goes just after a commit. In an outage as long as the default timeout producers give up (after two minutes) and
    the job restarts from its checkpoint; with the short timeout of this fault the loss of its TaskManager makes it restart.
    """
    before = arena.job_config("trading")
    arena.change_job(
        "trading", _with_flink(before, checkpoint_interval_ms=_LONG_CHECKPOINT_MS, transaction_timeout_ms=_TIMEOUT_MS)
    )
    arena.move("trading")
    arena.after_commit()
    arena.stack.kill_component("kafka")
    arena.away.add("kafka")
    began = time.monotonic()
    try:
        target = rng.choice(sorted(arena.taskmanagers("trading")))
        arena.supervise(rng.uniform(1.0, 5.0))
        arena.stack.kill_component(target)
        arena.supervise(_TIMEOUT_MS / 1_000 + rng.uniform(2.0, 5.0) - (time.monotonic() - began))
    finally:
        arena.away.discard("kafka")
    away_s = time.monotonic() - began
    arena.recovered()
    arena.change_job("trading", before)
    arena.move("trading")
    return f"no broker for {away_s:.0f} s, transactions time out after {_TIMEOUT_MS // 1_000} s; kill -9 {target} meanwhile"


def _poison(arena: Arena, rng: random.Random) -> str:
    return f"{arena.poison(rng)} poisoned records, in every topic that outsiders write"


def _clock(arena: Arena, rng: random.Random) -> str:
    """Kafka refuses stamps that lie more than an hour ahead, so forward jumps stay below."""
    jumps = [rng.choice((-1, 1)) * rng.randint(60, 3_000) * 1_000 for _ in range(3)] + [-rng.randint(4, 20) * 3_600_000]
    rng.shuffle(jumps)
    for milliseconds in jumps:
        arena.skew(milliseconds)
        arena.supervise(2.0)
    arena.skew(0)
    return "the producer's clock jumps by " + ", ".join(f"{jump / 60_000:+.0f}" for jump in jumps) + " min"


def _with_flink(config: Config, **changes: object) -> Config:
    return dataclasses.replace(config, flink=dataclasses.replace(config.flink, **changes))  # type: ignore[arg-type]


FAULTS: Final[Mapping[str, tuple[Fault, str]]] = {
    "kill-taskmanager": (_kill("taskmanager"), "kill -9 of a TaskManager that works"),
    "pause-taskmanager": (
        _pause("taskmanager", (2.0, 8.0), (34.0, 40.0)),
        "SIGSTOP of one, shortly or until the job has moved away from it, then SIGCONT",
    ),
    "kill-jobmanager": (_kill("jobmanager"), "kill -9 of the JobManager; jobs resume from their newest checkpoint"),
    "pause-jobmanager": (_pause("jobmanager", (2.0, 8.0), (34.0, 40.0)), "SIGSTOP, SIGCONT of the JobManager"),
    "kill-broker": (_kill("kafka"), "kill -9 of the Kafka broker"),
    "pause-broker": (_pause("kafka", (2.0, 8.0), (20.0, 35.0)), "SIGSTOP, SIGCONT of the broker"),
    "broker-away": (_broker_away, "no broker for longer than transactions may stay open (a timeout of 30 s for this)"),
    "kill-registry": (_kill("registry"), "kill -9 of the schema registry"),
    "pause-registry": (_pause("registry", (2.0, 8.0), (10.0, 15.0)), "SIGSTOP, SIGCONT of the registry"),
    "kill-gateway": (_kill("clickhouse"), "kill -9 of ClickHouse's gateway, and of the engine in it"),
    "pause-gateway": (_pause("clickhouse", (2.0, 8.0), (20.0, 30.0)), "SIGSTOP, SIGCONT of the gateway"),
    "kill-everything": (_kill_everything, "kill -9 of all processes, in any order"),
    "restart-everything": (_restart_everything, "an orderly stop of jobs and processes, and a start"),
    "full-disk": (_full_disk, "Flink cannot write checkpoints: a quota on file sizes, files end half written"),
    "rescale": (_rescale, "savepoint, trading 1 → 2 → 1 TaskManagers"),
    "new-release": (_new_release, "savepoint, trading resumes as another release: other settings"),
    "poison": (_poison, "bytes that nobody can decode, in every topic that outsiders write"),
    "clock": (_clock, "the producer's clock jumps back and forth"),
}
"""Every kind of fault, and what it is in a line."""
PATIENCE: Final[Mapping[str, float]] = {"kill-everything": 2.0, "restart-everything": 2.0}
"""How many times the limit a recovery may take that includes the start of every process; once for the other kinds."""


def draw(rng: random.Random, count: int, only: tuple[str, ...] = ()) -> list[str]:
    """Kinds of `count` faults: every kind once in random order before any comes again."""
    kinds = list(only or FAULTS)
    drawn: list[str] = []
    while len(drawn) < count:
        rng.shuffle(kinds)
        drawn += kinds
    return drawn[:count]
