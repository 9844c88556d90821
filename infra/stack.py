"""The local stack: Kafka, schema registry, Flink and the ClickHouse engine as processes of this machine.

One `Stack` is one state folder. Components: ``kafka``, ``registry``, ``clickhouse``, ``jobmanager`` and
``taskmanager-1`` ..., the last two kinds together also called ``flink``. Everything listens on loopback only.

    stack = Stack(Config.load(), progress=print)
    stack.up()                        # starts what is missing; calling it again is free
    stack.kill_component("taskmanager-1")
    stack.up()                        # repairs
    stack.down()                      # leaves no process; the data stays, unless wipe=True

`up` and `down` exclude each other through a lock in the state folder. When `up` fails or is interrupted it ends what it
started itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from infra import artifacts, prometheus, stack_files, stack_specs
from infra.processes import Processes, Spec, StackError, port_is_free, port_owner
from jobs.config import Config

__all__ = ["ComponentStatus", "Progress", "Stack", "StackError", "free_port_offset", "terminate_as_interrupt"]

Progress = Callable[[str], None]
_DATA = ("kafka", "registry", "clickhouse", "flink", "prometheus", "logs", "processes")


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """What `status` knows about one component."""

    name: str
    state: str
    """``healthy``, ``unhealthy`` (runs, does not answer), ``dead`` (ended by itself or by a fault) or ``stopped``."""
    pid: int | None = None
    port: int | None = None
    url: str = ""
    memory_mb: int | None = None
    """Resident memory with its children."""
    uptime_s: float | None = None


class Stack:
    """The components of one state folder. Methods raise StackError with a message that says what to do."""

    def __init__(self, config: Config, progress: Progress = lambda _line: None) -> None:
        self.config = config
        self.progress = progress
        self.processes = Processes(config.state_dir, config.log_dir)

    # ------------------------------------------------------------------------------------------- the whole stack

    def up(self, components: Sequence[str] | None = None) -> None:
        """Start what is not running (of `components`, default all), wait until all answers, write the endpoints."""
        names = self._expand(components)
        with self._lock():
            self._refuse_other_ports()
            programs = artifacts.ensure(self.config, self.progress)
            if prometheus.NAME in names:
                prometheus.program(self.config, progress=self.progress)
            started: list[str] = []
            try:
                self._start(names, programs, started)
                self._write_endpoints()
            except BaseException:
                with _uninterrupted():
                    self._stop(started)
                    if not self._running():
                        self.config.endpoints_file.unlink(missing_ok=True)
                raise

    def down(self, wipe: bool = False) -> None:
        """End every process of this state folder, Kafka last; `wipe` also deletes data, logs and passwords."""
        if not self.config.state_dir.is_dir():
            return
        with self._lock():
            self.config.endpoints_file.unlink(missing_ok=True)
            self._stop(self.processes.names())
            for pid in self.processes.sweep():
                self.progress(f"killed the leftover process {pid}")
            if wipe:
                for name in _DATA:
                    shutil.rmtree(self.config.state_dir / name, ignore_errors=True)
        if wipe:
            (self.config.state_dir / "lock").unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                # Files that are not ours stay, and then so does the folder.
                self.config.state_dir.rmdir()

    def status(self) -> list[ComponentStatus]:
        """The state of every component that is configured or was started."""
        return [self.component_status(name) for name in self.component_names()]

    def component_status(self, name: str) -> ComponentStatus:
        """The state of one component, probed now."""
        process = self.processes.find(name)
        if process is None:
            return ComponentStatus(name, "dead" if name in self.processes.names() else "stopped")
        spec = self._spec(name)
        with contextlib.suppress(psutil.NoSuchProcess):
            family = [process, *process.children(recursive=True)]
            memory = 0
            for member in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    memory += member.memory_info().rss
            return ComponentStatus(
                name,
                "healthy" if spec.ready() else "unhealthy",
                process.pid,
                next(iter(spec.ports.values()), None),
                spec.url,
                memory // 2**20,
                time.time() - process.create_time(),
            )
        return ComponentStatus(name, "dead")

    def component_names(self) -> list[str]:
        """Configured components, then TaskManagers that were added."""
        configured = ["kafka", "registry", "clickhouse", "jobmanager"]
        configured += [f"taskmanager-{n}" for n in range(1, self.config.stack.taskmanagers + 1)]
        configured += [prometheus.NAME] if self.config.stack.monitoring else []
        return configured + [name for name in self.processes.names() if name not in configured]

    # ------------------------------------------------------------------------------------------- one component

    def start_component(self, name: str) -> None:
        """Start one component with the data it had, and wait until it answers. Nothing happens if it runs."""
        self.up([name])

    def stop_component(self, name: str) -> None:
        """End one component in order, as an operator would."""
        self._require_known(name)
        with self._lock():
            self._stop([name])

    def kill_component(self, name: str, signal_number: int = signal.SIGKILL) -> None:
        """Send a signal, SIGKILL by default, to the component's main process, as a fault would."""
        self._require_known(name)
        self.processes.kill(name, signal_number)

    def add_taskmanager(self) -> str:
        """Start one more TaskManager, wait until the JobManager has its slot, return its name."""
        taken = [int(name.removeprefix("taskmanager-")) for name in self.component_names() if _is_taskmanager(name)]
        name = f"taskmanager-{max(taken, default=0) + 1}"
        self.up([name])
        return name

    # --------------------------------------------------------------------------------------------------- inside

    def _start(self, names: Sequence[str], programs: artifacts.Artifacts, started: list[str]) -> None:
        """Start the missing ones at once and wait for all; `started` grows as they start."""
        missing = [name for name in names if self.processes.find(name) is None]
        specs = [self._spec(name) for name in missing]
        for spec in specs:
            # What a killed predecessor left (Python workers) would hold its files and ports.
            self.processes.sweep(spec.name)
            self._check_ports(spec)
        for name in missing:
            stack_files.prepare(name, self.config, programs)
        begin = time.monotonic()
        for spec in specs:
            started.append(spec.name)
            if spec.metrics_port:
                prometheus.write_target(self.config, spec.name, spec.metrics_port)
            self.processes.spawn(spec)
        waiting = {spec.name: spec for spec in specs}
        waiting |= {name: self._spec(name) for name in names if name not in waiting}
        self._wait(waiting, begin, fresh=set(missing))

    def _wait(self, waiting: dict[str, Spec], begin: float, fresh: set[str]) -> None:
        """Probe until every component answers; report each as it does."""
        deadline = begin + self.config.stack.start_timeout_s
        while waiting:
            for name, spec in list(waiting.items()):
                if spec.ready():
                    del waiting[name]
                    state = f"ready after {time.monotonic() - begin:.1f} s" if name in fresh else "was running"
                    self.progress(f"{name:<14} {state}  {spec.url}".rstrip())
                elif self.processes.find(name) is None:
                    raise StackError(f"{name} ended while it was starting.\n{self.last_words(name)}")
            if waiting and time.monotonic() > deadline:
                name = next(iter(waiting))
                raise StackError(
                    f"{', '.join(waiting)} did not answer within {self.config.stack.start_timeout_s} s "
                    f"(stack.start_timeout_s).\n{self.last_words(name)}"
                )
            if waiting:
                time.sleep(0.2)

    def _stop(self, names: Sequence[str]) -> None:
        """End components in parallel, Kafka after its clients."""
        for group in ([name for name in names if name != "kafka"], [name for name in names if name == "kafka"]):
            if group:
                with ThreadPoolExecutor(max_workers=len(group)) as pool:
                    list(pool.map(self._stop_one, group))

    def _stop_one(self, name: str) -> None:
        begin = time.monotonic()
        was_running = self.processes.find(name) is not None
        self.processes.stop(name, timeout_s=30.0 if name in ("kafka", "clickhouse") else 12.0)
        if was_running:
            self.progress(f"{name:<14} stopped after {time.monotonic() - begin:.1f} s")

    def _spec(self, name: str) -> Spec:
        programs = artifacts.locate(self.config)
        if name == "kafka":
            return stack_specs.kafka(self.config, programs)
        if name == "registry":
            return stack_specs.registry(self.config, programs)
        if name == "clickhouse":
            return stack_specs.clickhouse(self.config)
        if name == "jobmanager":
            return stack_specs.jobmanager(self.config)
        if name == prometheus.NAME:
            return prometheus.spec(self.config, lambda url: stack_specs.http_get(url) is not None)
        return stack_specs.taskmanager(self.config, name, self.processes)

    def _expand(self, components: Sequence[str] | None) -> list[str]:
        """Component names in starting order, ``flink`` spelt out."""
        if components is None:
            return self.component_names()
        names: list[str] = []
        for component in components:
            if component == "flink":
                names += [name for name in self.component_names() if name == "jobmanager" or _is_taskmanager(name)]
            else:
                self._require_known(component)
                names.append(component)
        return list(dict.fromkeys(names))

    def _require_known(self, name: str) -> None:
        if name not in self.component_names() and not _is_taskmanager(name):
            known = ", ".join([*self.component_names(), "flink"])
            raise StackError(f"there is no component {name}; there are {known}")

    def _check_ports(self, spec: Spec) -> None:
        for setting, port in spec.ports.items():
            owner = _holder_of(port)
            if owner is not None:
                raise StackError(
                    f"port {port} ({spec.name}) is taken{f' by {owner}' if owner else ''}. Free it, or choose another "
                    f"with {setting}, or move all ports of this checkout with stack.port_offset "
                    f"(TRADESTREAM_STACK_PORT_OFFSET)"
                )

    def _refuse_other_ports(self) -> None:
        """A running stack keeps the ports it was started with."""
        file = self.config.endpoints_file
        if not file.is_file() or not self._running():
            return
        recorded = tomllib.loads(file.read_text(encoding="utf-8")).get("stack", {})
        if recorded and recorded.pop("monitoring", False) != self.config.stack.monitoring:
            raise StackError("monitoring cannot be turned on or off while the stack runs: run `stack down` first")
        if recorded and recorded != self._port_settings():
            raise StackError("the stack is running on other ports than are configured now: run `stack down` first")

    def _port_settings(self) -> dict[str, int]:
        stack = self.config.stack
        return {"port_offset": stack.port_offset} | {
            f"{n}_port": getattr(stack, f"{n}_port") for n in stack.port_names()
        }

    def _running(self) -> list[str]:
        return [name for name in self.processes.names() if self.processes.find(name) is not None]

    def _write_endpoints(self) -> None:
        """Tell other commands where the stack is, in the words of the configuration file."""
        stack = self.config.stack
        url = f"http://127.0.0.1:{stack.port('clickhouse')}"
        secret = stack_files.password_file(self.config, "default")
        tables: dict[str, dict[str, str | int | bool]] = {
            "kafka": {"bootstrap": f"127.0.0.1:{stack.port('kafka')}"},
            "registry": {"url": f"http://127.0.0.1:{stack.port('registry')}/apis/ccompat/v7"},
            "flink": {"rest_url": f"http://127.0.0.1:{stack.port('flink_rest')}"},
            "clickhouse": {"url": url, "username": "default", "password_file": str(secret)},
            "stack": {**self._port_settings(), "monitoring": stack.monitoring},
        }
        if not secret.is_file():
            del tables["clickhouse"]
        lines = ["# Written by `stack up`, removed by `stack down`."]
        for table, values in tables.items():
            lines += [f"[{table}]", *(f"{key} = {_toml(value)}" for key, value in values.items()), ""]
        stack_files.write_private(self.config.endpoints_file, "\n".join(lines))

    def last_words(self, name: str, lines: int = 12) -> str:
        """The end of a component's output and log, for an error message."""
        parts = []
        for file in self.log_files(name):
            text = file.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
            parts.append(f"--- the end of {file}\n" + "\n".join(text))
        return "\n".join(parts) or f"It wrote nothing to {self.config.log_dir}."

    def log_files(self, name: str | None = None) -> list[Path]:
        """The log files of one component, or of all, that are not empty."""
        if name is not None:
            self._require_known(name)
        names = self.component_names() if name is None else [name]
        files = [file for each in names for file in (self.processes.output_file(each), self.processes.log_file(each))]
        return [file for file in files if file.is_file() and file.stat().st_size]

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Exclude another `up` or `down` of this state folder; the lock ends with the process that holds it."""
        self.config.state_dir.mkdir(parents=True, exist_ok=True)
        with (self.config.state_dir / "lock").open("a") as file:
            deadline = time.monotonic() + 5.0
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise StackError(
                            f"another `stack up` or `stack down` is at work in {self.config.state_dir}; wait for it"
                        ) from None
                    time.sleep(0.2)
            yield


_claims: dict[int, IO[bytes]] = {}
"""Port offsets that this process has been given, and the locked files that keep them from others until it ends."""


def free_port_offset(config: Config, start: int = 200, step: int = 20) -> int:
    """A `stack.port_offset` at which every port of the stack is free now, other than the default stack's.

    It is this process's until it ends: two that search at the same moment find different ones.
    """
    offset = start
    base = [config.stack.port(name) - config.stack.port_offset for name in config.stack.port_names()]
    while not (all(port_is_free(port + offset) for port in base) and _claim(offset)):
        offset += step
        if max(base) + offset > 32_000:
            raise StackError("there is no room for another stack: stop one of those that run")
    return offset


def _claim(offset: int) -> bool:
    """Whether no other process of this user has been given the offset; from now on it is ours."""
    if offset in _claims:
        return True
    file = (Path(tempfile.gettempdir()) / f"tradestream-{os.getuid()}-ports-{offset}.lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    _claims[offset] = file
    return True


@contextlib.contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Within this block SIGTERM and SIGHUP raise KeyboardInterrupt, so that a closed terminal cleans up like Ctrl-C."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let no second Ctrl-C break the cleaning up (which has a bounded time)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _holder_of(port: int, patience_s: float = 5.0) -> str | None:
    """None for a free port, else who holds it; "" when nobody can be named.

    A port that nobody holds is often one whose holder is just ending: it is given a moment.
    """
    deadline = time.monotonic() + patience_s
    while not port_is_free(port):
        owner = port_owner(port)
        if owner or time.monotonic() > deadline:
            return owner
        time.sleep(0.2)
    return None


def _is_taskmanager(name: str) -> bool:
    return name.startswith("taskmanager-") and name.removeprefix("taskmanager-").isdigit()


def _toml(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
