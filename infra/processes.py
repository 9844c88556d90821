"""Start, find and end the long-running processes of the local stack, surely and only ours.

Each process runs in a session of its own, so that neither Ctrl-C nor a closed terminal reaches it. A record file holds
its pid and start time. Each process and all its children also carry two marks in their environment, the state folder
and the component: a recycled pid is never taken for ours, and nothing orphaned is left behind, whatever its parent did.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from jobs.config import process_environment

_STATE_MARK = "_TRADESTREAM_STACK_STATE"
_COMPONENT_MARK = "_TRADESTREAM_STACK_COMPONENT"
_START_TIME_TOLERANCE_S = 5.0
_OUTPUT_LIMIT_BYTES = 8 * 2**20

# Children of this very process, kept so that an ended one is reaped instead of staying a zombie.
_children: dict[int, subprocess.Popen[bytes]] = {}


class StackError(RuntimeError):
    """The stack cannot do what was asked; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Spec:
    """How to run one component and how to know that it answers."""

    name: str
    command: tuple[str, ...]
    ready: Callable[[], bool]
    """True when the component answers; False or an OSError when it does not yet."""
    environment: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    """The setting that changes a port, to the port."""
    url: str = ""
    stop_timeout_s: float = 20.0
    note: str = ""
    """Kept in the record: what the probe needs to recognise this run of the component."""
    metrics_port: int = 0
    """Where Prometheus finds its metrics; 0 without monitoring."""


@dataclass(frozen=True, slots=True)
class _Record:
    """The contents of a record file."""

    pid: int
    started: float
    """Seconds since the epoch."""
    note: str


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of one state folder."""

    state_dir: Path
    log_dir: Path

    def spawn(self, spec: Spec) -> int:
        """Start a component and record it; return its pid. Raises StackError when its program cannot be run."""
        self._records.mkdir(parents=True, exist_ok=True)
        self.log_dir.mkdir(parents=True, exist_ok=True)
        output = self.output_file(spec.name)
        if output.exists() and output.stat().st_size > _OUTPUT_LIMIT_BYTES:
            output.replace(output.with_suffix(".out.1"))
        marks = {_STATE_MARK: str(self.state_dir), _COMPONENT_MARK: spec.name}
        environment = process_environment({**spec.environment, **marks})
        with output.open("ab") as log:
            try:
                child = subprocess.Popen(
                    spec.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.state_dir,
                    env=environment,
                    start_new_session=True,
                )
            except OSError as error:
                raise StackError(f"{spec.name}: cannot run {spec.command[0]}: {error.strerror}") from error
        _children[child.pid] = child
        with suppress(psutil.NoSuchProcess):
            record = _Record(child.pid, psutil.Process(child.pid).create_time(), spec.note)
            temporary = self._record(spec.name).with_suffix(".tmp")
            temporary.write_text(json.dumps(asdict(record)), encoding="utf-8")
            temporary.replace(self._record(spec.name))
        return child.pid

    def find(self, name: str) -> psutil.Process | None:
        """The running process of a component, or None."""
        record = self._read(name)
        if record is None:
            return None
        return _same_process(record.pid, record.started, str(self.state_dir))

    def note(self, name: str) -> str:
        """The note of the component's last start."""
        record = self._read(name)
        return "" if record is None else record.note

    def names(self) -> list[str]:
        """Components that have a record, running or not."""
        return sorted(path.stem for path in self._records.glob("*.json"))

    def stop(self, name: str, timeout_s: float) -> None:
        """End a component and what it started: SIGTERM, then SIGKILL after `timeout_s`. Does nothing if it is gone."""
        process = self.find(name)
        if process is not None:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
            if not _wait_gone(process, timeout_s):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
                _wait_gone(process, 10.0)
        self.sweep(name)
        self._record(name).unlink(missing_ok=True)

    def kill(self, name: str, signal_number: int = signal.SIGKILL) -> None:
        """Send a signal to a component only, as a fault would. Raises StackError when it is not running.

        Its record stays, so that `status` tells that it died. After SIGKILL this returns when the process is gone.
        """
        process = self.find(name)
        if process is None:
            raise StackError(f"{name} is not running")
        process.send_signal(signal_number)
        if signal_number == signal.SIGKILL:
            _wait_gone(process, 10.0)

    def sweep(self, name: str | None = None) -> list[int]:
        """Kill every process that carries our marks (of one component, or all); return their pids."""
        killed = []
        for process in self._marked(name):
            with suppress(psutil.NoSuchProcess):
                process.kill()
                killed.append(process.pid)
                _wait_gone(process, 10.0)
        return killed

    def output_file(self, name: str) -> Path:
        """What a component printed."""
        return self.log_dir / f"{name}.out"

    def log_file(self, name: str) -> Path:
        """What a component logged, rolled by itself."""
        return self.log_dir / f"{name}.log"

    @property
    def _records(self) -> Path:
        return self.state_dir / "processes"

    def _record(self, name: str) -> Path:
        return self._records / f"{name}.json"

    def _read(self, name: str) -> _Record | None:
        try:
            fields = json.loads(self._record(name).read_text(encoding="utf-8"))
            return _Record(pid=fields["pid"], started=fields["started"], note=fields["note"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise StackError(f"{self._record(name)} is damaged ({error}); delete it and run `stack down`") from error

    def _marked(self, name: str | None) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            if process.pid == os.getpid():
                continue
            marks = _environment(process)
            if marks.get(_STATE_MARK) == str(self.state_dir) and name in (None, marks.get(_COMPONENT_MARK)):
                yield process


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True


def port_owner(port: int) -> str:
    """Who listens on a port, as far as the system tells us: "pid 123 (java)", or ""."""
    with suppress(psutil.AccessDenied):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if listens and connection.pid:
                with suppress(psutil.Error):
                    return f"pid {connection.pid} ({psutil.Process(connection.pid).name()})"
    return ""


def _same_process(pid: int, started: float, state_dir: str) -> psutil.Process | None:
    """The process, if it is the one that was started then and carries our mark."""
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]
        return None
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE or abs(process.create_time() - started) > _START_TIME_TOLERANCE_S:
            return None
        try:
            environment = process.environ()
            # Empty means that the program is being loaded at this moment, which a busy machine can draw out.
            deadline = time.monotonic() + 2.0
            while not environment and time.monotonic() < deadline:
                time.sleep(0.01)
                environment = process.environ()
        except psutil.AccessDenied:
            # A system that hides it: the start time has to do.
            return process
        if environment.get(_STATE_MARK) == state_dir:
            return process
    return None


def _environment(process: psutil.Process) -> dict[str, str]:
    """The environment a process was started with; empty when it cannot be read."""
    with suppress(psutil.Error, OSError):
        return process.environ()
    return {}


def _wait_gone(process: psutil.Process, timeout_s: float) -> bool:
    """Wait until a process has ended with all its threads, so that its ports are free; reap it when it is our child."""
    deadline = time.monotonic() + timeout_s
    while not _is_gone(process):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True


def _is_gone(process: psutil.Process) -> bool:
    child = _children.get(process.pid)
    if child is not None:
        if child.poll() is None:
            return False
        del _children[process.pid]
        return True
    try:
        if not process.is_running():
            return True
        # A killed JVM is a zombie at once, but holds its sockets until its last thread has ended.
        return process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1
    except psutil.NoSuchProcess:
        return True
