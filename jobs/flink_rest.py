"""A small client of Flink's REST API: the calls that the command line, the demo and the tests need, typed.

Times are milliseconds since the epoch, durations milliseconds. Every method raises FlinkError, whose message is one line
that says what to do.
"""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

TERMINAL: Final = frozenset({"FINISHED", "CANCELED", "FAILED"})
"""Job states that a job never leaves."""
_POLL_S: Final = 0.3
_SETTLE_S: Final = 1.0
_SETTLE_AFTER_FAILURE_S: Final = 10.0


class FlinkError(RuntimeError):
    """The cluster refused, failed or cannot be reached."""


@dataclass(frozen=True, slots=True)
class Overview:
    """The cluster as a whole."""

    version: str
    taskmanagers: int
    slots: int
    slots_free: int


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the job list."""

    id: str
    name: str
    state: str
    start_ms: int
    end_ms: int
    """-1 while it runs."""
    duration_ms: int
    tasks_total: int
    tasks_running: int

    @property
    def live(self) -> bool:
        """Whether it runs, starts, restarts or stops: it may still write."""
        return self.state not in TERMINAL


@dataclass(frozen=True, slots=True)
class Vertex:
    """One task of a job's graph, all its parallel instances together."""

    id: str
    name: str
    status: str
    parallelism: int
    records_in: int
    records_out: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A completed checkpoint or savepoint."""

    id: int
    completed_ms: int
    duration_ms: int
    state_bytes: int
    path: str


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoint statistics of a job."""

    completed: int
    failed: int
    last: Checkpoint | None
    last_savepoint: Checkpoint | None


class FlinkRest:
    """Calls on one cluster. `timeout_s` bounds each HTTP request."""

    def __init__(self, url: str, timeout_s: float = 10.0) -> None:
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        host = urllib.parse.urlsplit(self.url).hostname or ""
        # A proxy for the outside world must not be asked for this machine.
        proxies = [urllib.request.ProxyHandler({})] if is_loopback(host) else []
        self._opener = urllib.request.build_opener(*proxies)

    # ------------------------------------------------------------------------------------------------ reading

    def overview(self) -> Overview:
        """TaskManagers and slots."""
        body = self._call("GET", "/overview")
        return Overview(
            str(body["flink-version"]),
            int(body["taskmanagers"]),
            int(body["slots-total"]),
            int(body["slots-available"]),
        )

    def jobs(self) -> list[Job]:
        """All jobs that the cluster remembers, newest first."""
        rows = self._call("GET", "/jobs/overview")["jobs"]
        return sorted((_job(row) for row in rows), key=lambda job: job.start_ms, reverse=True)

    def find(self, name_or_id: str, *, live_only: bool = True) -> Job:
        """The newest job of that name, or the job whose id begins so.

        Raises FlinkError when there is none, or when several ids begin so.
        """
        everything = [job for job in self.jobs() if job.live or not live_only]
        named = [job for job in everything if job.name == name_or_id]
        if named:
            return named[0]
        by_id = [job for job in everything if len(name_or_id) >= 4 and job.id.startswith(name_or_id.lower())]
        if len(by_id) == 1:
            return by_id[0]
        if by_id:
            raise FlinkError(f"several job ids begin with {name_or_id}: {', '.join(job.id for job in by_id)}")
        known = ", ".join(dict.fromkeys(job.name for job in everything)) or "none"
        kind = "running job" if live_only else "job"
        raise FlinkError(f"there is no {kind} {name_or_id} on {self.url}; there are: {known}")

    def job(self, job_id: str) -> tuple[str, list[Vertex]]:
        """State and tasks of one job."""
        body = self._call("GET", f"/jobs/{job_id}")
        return str(body["state"]), [_vertex(row) for row in body["vertices"]]

    def taskmanagers(self, job_id: str) -> set[str]:
        """The resource ids of the TaskManagers that run tasks of a job."""
        found: set[str] = set()
        for vertex in self.job(job_id)[1]:
            rows = self._call("GET", f"/jobs/{job_id}/vertices/{vertex.id}/taskmanagers")["taskmanagers"]
            found.update(str(row["taskmanager-id"]) for row in rows)
        # What Flink calls the place of a task that waits for one.
        return found - {"(unassigned)"}

    def checkpoints(self, job_id: str) -> Checkpoints:
        """Counts, and the newest completed checkpoint and savepoint."""
        body = self._call("GET", f"/jobs/{job_id}/checkpoints")
        counts, latest = body["counts"], body["latest"]
        return Checkpoints(
            int(counts["completed"]),
            int(counts["failed"]),
            _checkpoint(latest.get("completed")),
            _checkpoint(latest.get("savepoint")),
        )

    def recent_checkpoints(self, job_id: str) -> list[Checkpoint]:
        """The completed checkpoints, without savepoints, that Flink remembers, oldest first (web.checkpoints.history: 10)."""
        rows = self._call("GET", f"/jobs/{job_id}/checkpoints")["history"]
        found = [_checkpoint(row) for row in reversed(rows) if row["status"] == "COMPLETED" and not row["is_savepoint"]]
        return [checkpoint for checkpoint in found if checkpoint is not None]

    def restarts(self, job_id: str) -> int:
        """How often the job failed and was restarted.

        Counted from the failures that Flink remembers (web.exception-history-size, 16 by default) and from its metric,
        whichever is more: the metric of a job that restarted in part stays 0.
        """
        rows = self._call("GET", f"/jobs/{job_id}/metrics?get=numRestarts")
        counted = next((int(float(row["value"])) for row in rows if "value" in row), 0)
        history = self._call("GET", f"/jobs/{job_id}/exceptions").get("exceptionHistory", {})
        return max(counted, len(history.get("entries", [])))

    def sum_metric(self, job_id: str, vertex_id: str, metric: str) -> float | None:
        """The sum of a metric over a task's parallel instances, or None when nobody reports it."""
        query = urllib.parse.urlencode({"get": metric, "agg": "sum"})
        rows = self._call("GET", f"/jobs/{job_id}/vertices/{vertex_id}/subtasks/metrics?{query}")
        return next((float(row["sum"]) for row in rows if "sum" in row), None)

    def histogram(self, job_id: str, metric: str) -> dict[float, float]:
        """A histogram of our stages (udfs.operators.stage_metrics): how many values were not above each bound, in seconds.

        Flink's REST shows what metrics were up to ten seconds ago (metrics.fetcher.update-interval).
        """
        found: dict[float, float] = {}
        for vertex in self.job(job_id)[1]:
            rows = self._call("GET", f"/jobs/{job_id}/vertices/{vertex.id}/subtasks/metrics")
            for name in (str(row["id"]) for row in rows):
                if name.endswith(f".{metric}_bucket"):
                    # Flink writes "_" for a dot within a name.
                    bound = float(name.rpartition(".le.")[2].partition(".")[0].replace("_", "."))
                    found[bound] = found.get(bound, 0.0) + (self.sum_metric(job_id, vertex.id, name) or 0.0)
        return found

    def failure(self, job_id: str) -> str | None:
        """The root cause of the newest failure in a few lines, or None when nothing failed."""
        body = self._call("GET", f"/jobs/{job_id}/exceptions?maxExceptions=1")
        entries = body.get("exceptionHistory", {}).get("entries", [])
        if not entries:
            return None
        newest = entries[0]
        cause = root_cause(str(newest.get("stacktrace") or newest.get("exceptionName") or ""))
        task = _first_operator(str(newest.get("taskName") or ""))
        return f"{cause}\n  in task {task}" if task else cause

    # ------------------------------------------------------------------------------------------------ acting

    def cancel(self, job_id: str) -> None:
        """Ask for a cancellation without a savepoint; `wait_for` tells when it is done."""
        self._call("PATCH", f"/jobs/{job_id}?mode=cancel")

    def savepoint(self, job_id: str, directory: str, timeout_s: float = 600.0) -> str:
        """Take a savepoint while the job goes on; return its path."""
        body = {"target-directory": directory, "cancel-job": False}
        return self._await_savepoint(job_id, self._call("POST", f"/jobs/{job_id}/savepoints", body), timeout_s)

    def stop(self, job_id: str, directory: str, timeout_s: float = 600.0) -> str:
        """Stop with a savepoint, so that every transaction is committed; return its path.

        Windows are not drained: what they hold is in the savepoint.
        """
        body = {"targetDirectory": directory, "drain": False}
        path = self._await_savepoint(job_id, self._call("POST", f"/jobs/{job_id}/stop", body), timeout_s)
        self.wait_for(job_id, lambda state: state in TERMINAL, timeout_s)
        return path

    def wait_for(self, job_id: str, wanted: Callable[[str], bool], timeout_s: float) -> str:
        """Wait until `wanted(state)`; return the state. Raises FlinkError after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while True:
            state, _ = self.job(job_id)
            if wanted(state):
                return state
            if time.monotonic() > deadline:
                raise FlinkError(f"job {job_id} is still {state} after {timeout_s:.0f} s")
            time.sleep(_POLL_S)

    def wait_until_running(self, job_id: str, timeout_s: float, progress: Callable[[str], None] | None = None) -> None:
        """Wait until every task runs. A failure on the way is told to `progress`; Flink may restart the job from it.

        Raises FlinkError with the root cause when the job ends, or is not running after `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        told = ""
        running_since: float | None = None
        while True:
            state, vertices = self.job(job_id)
            if state in TERMINAL and state != "FINISHED":
                raise FlinkError(f"job {job_id} is {state}: {self.failure(job_id) or 'Flink gives no reason'}")
            up = state == "RUNNING" and all(vertex.status in ("RUNNING", "FINISHED") for vertex in vertices)
            running_since = (running_since or time.monotonic()) if up else None
            cause = self.failure(job_id) or ""
            # A job that fails at its first records runs for a moment at each attempt.
            settled = running_since is not None and time.monotonic() - running_since >= (
                _SETTLE_AFTER_FAILURE_S if cause else _SETTLE_S
            )
            if state == "FINISHED" or settled:
                return
            if cause and cause != told and progress:
                progress(f"it failed and Flink restarts it: {cause}")
                told = cause
            if time.monotonic() > deadline:
                raise FlinkError(
                    f"job {job_id} is not running after {timeout_s:.0f} s: {self._obstacle(state, vertices, cause)}"
                )
            time.sleep(_POLL_S)

    # ------------------------------------------------------------------------------------------------ inside

    def _obstacle(self, state: str, vertices: Sequence[Vertex], cause: str) -> str:
        if cause:
            return cause
        overview = self.overview()
        if overview.slots_free == 0:
            return f"it waits for slots (all {overview.slots} are taken): add TaskManagers or stop another job"
        waiting = [
            f"{_first_operator(v.name)} is {v.status}" for v in vertices if v.status not in ("RUNNING", "FINISHED")
        ]
        return "; ".join([f"it is {state}, {overview.slots_free} of {overview.slots} slots are free", *waiting])

    def _await_savepoint(self, job_id: str, answer: Any, timeout_s: float) -> str:
        trigger = str(answer["request-id"])
        deadline = time.monotonic() + timeout_s
        while True:
            body = self._call("GET", f"/jobs/{job_id}/savepoints/{trigger}")
            if body["status"]["id"] == "COMPLETED":
                operation = body.get("operation", {})
                if "location" in operation:
                    return str(operation["location"])
                cause = root_cause(str(operation.get("failure-cause", {}).get("stack-trace", "")))
                raise FlinkError(f"the savepoint of job {job_id} failed: {cause or 'Flink gives no reason'}")
            if time.monotonic() > deadline:
                raise FlinkError(f"the savepoint of job {job_id} is not complete after {timeout_s:.0f} s")
            time.sleep(_POLL_S)

    def _call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.url}{path}", data=data, method=method, headers={"Content-Type": "application/json"}
        )
        try:
            with self._opener.open(request, timeout=self._timeout_s) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            raise FlinkError(_refusal(method, self.url + path, error)) from error
        except (urllib.error.URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            raise FlinkError(
                f"Flink does not answer at {self.url} ({reason}): is it running (`tradestream stack status`), and is "
                "flink.rest_url right (`tradestream config`)?"
            ) from error
        try:
            return json.loads(text) if text else {}
        except ValueError as error:
            raise FlinkError(
                f"{self.url} does not speak Flink's REST API (flink.rest_url); it said {text[:80]!r}"
            ) from error


def is_loopback(host: str) -> bool:
    """Whether a host name means this machine."""
    return host in ("localhost", "::1") or host.startswith("127.")


_FRAME = re.compile(r"^\s*(at \S+\(|\.\.\. \d+ (common frames|more))")
_PYTHON_TRACE: Final = "Traceback (most recent call last):"
_PACKAGE = re.compile(r"^(?:[a-z_][\w$]*\.)+(?=[A-Z])")


def root_cause(trace: str, lines_max: int = 6) -> str:
    """The deepest cause of a Java stack trace, or the error of the Python traceback within it, without the frames."""
    # What the Java side adds about a Python process that failed says nothing more.
    cut = re.split(r"\n.*(?:Python process exits with code|The program finished with the following exception)", trace)
    useful = cut[0] if _PYTHON_TRACE in cut[0] else trace
    lines = useful.strip().splitlines()
    starts = [number for number, line in enumerate(lines) if line.lstrip().startswith("Caused by: ")]
    start = starts[-1] if starts else 0
    if not starts and any(_PYTHON_TRACE in line for line in lines):
        return _python_error(lines, lines_max)
    block = [lines[start]] if lines else []
    for line in lines[start + 1 :]:
        if _FRAME.match(line):
            break
        block.append(line)
    if any(_PYTHON_TRACE in line for line in block):
        return _python_error(block, lines_max)
    text = [line.rstrip() for line in block if line.strip()]
    if text:
        text[0] = _PACKAGE.sub("", text[0].strip().removeprefix("Caused by: "))
    if text and text[0].startswith("PythonException: ") and start + len(block) < len(lines):
        # Thread mode: the Python frames stand where Java's would, innermost first.
        text = [text[0].removeprefix("PythonException: "), *text[1:], f"  {lines[start + len(block)].strip()}"]
    return "\n".join(text[:lines_max])


def _python_error(lines: list[str], lines_max: int) -> str:
    """The exception of the last traceback and the place that raised it."""
    start = max(number for number, line in enumerate(lines) if _PYTHON_TRACE in line)
    place = ""
    for number, line in enumerate(lines[start + 1 :], start + 1):
        if line.startswith("  File "):
            place = line.strip()
        elif line.strip() and not line.startswith(" "):
            message = [item.rstrip() for item in lines[number:] if item.strip() and not _FRAME.match(item)]
            return "\n".join([*message[:lines_max], *([f"  {place}"] if place else [])])
    return lines[-1].strip()


def _refusal(method: str, url: str, error: urllib.error.HTTPError) -> str:
    """Flink's own words for an HTTP error, in a line."""
    text = error.read().decode("utf-8", "replace")
    try:
        messages = [str(item) for item in json.loads(text).get("errors", [])]
    except (ValueError, AttributeError):
        messages = [text[:200]]
    # The first message says what was wanted, the last holds the stack trace when there is one.
    detail = root_cause(messages[-1]) if messages else error.reason
    return f"Flink refused {method} {url} ({error.code}): {detail}"


def _job(row: Mapping[str, Any]) -> Job:
    tasks = row.get("tasks", {})
    return Job(
        id=str(row["jid"]),
        name=str(row["name"]),
        state=str(row["state"]),
        start_ms=int(row["start-time"]),
        end_ms=int(row["end-time"]),
        duration_ms=int(row["duration"]),
        tasks_total=int(tasks.get("total", 0)),
        tasks_running=int(tasks.get("running", 0)),
    )


def _vertex(row: Mapping[str, Any]) -> Vertex:
    metrics = row.get("metrics", {})
    return Vertex(
        id=str(row["id"]),
        name=str(row["name"]),
        status=str(row["status"]),
        parallelism=int(row["parallelism"]),
        records_in=int(metrics.get("read-records", 0)),
        records_out=int(metrics.get("write-records", 0)),
    )


def _first_operator(task: str) -> str:
    """What names a task well enough: of a chain the first, and no instance, so that the same trouble reads the same again."""
    return re.split(r" -> | \(\d+/", task)[0]


def _checkpoint(row: Mapping[str, Any] | None) -> Checkpoint | None:
    if not row:
        return None
    return Checkpoint(
        id=int(row["id"]),
        completed_ms=int(row["latest_ack_timestamp"]),
        duration_ms=int(row["end_to_end_duration"]),
        state_bytes=int(row.get("state_size", 0)),
        path=str(row.get("external_path") or ""),
    )
