"""The client of Flink's REST API against a server of canned answers."""

from __future__ import annotations

import json
import math
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from jobs import flink_rest
from jobs.flink_rest import FlinkError, FlinkRest, root_cause


class FakeFlink:
    """Answers by (method, path); a list of answers is given out one by one, its last one for ever."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Any] = {}
        self.bodies: list[tuple[str, str, Any]] = []
        self.url = ""

    def answer(self, method: str, path: str) -> tuple[int, Any]:
        found = self.answers.get((method, path))
        if found is None:
            return 404, {"errors": [f"Not found: {path}"]}
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        return found if isinstance(found, tuple) else (200, found)


@pytest.fixture
def flink(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeFlink]:
    fake = FakeFlink()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            fake.bodies.append((self.command, self.path, body))
            status, value = fake.answer(self.command, self.path)
            text = value.encode() if isinstance(value, str) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = _serve

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    for name, value in (("_POLL_S", 0.001), ("_SETTLE_S", 0.01), ("_SETTLE_AFTER_FAILURE_S", 0.05)):
        monkeypatch.setattr(flink_rest, name, value)
    yield fake
    server.shutdown()
    server.server_close()
    thread.join()


def _row(job_id: str, name: str, state: str, start: int) -> dict[str, Any]:
    tasks = {"total": 3, "running": 3 if state == "RUNNING" else 0}
    times = {"start-time": start, "end-time": -1, "duration": 10}
    return {"jid": job_id, "name": name, "state": state, "tasks": tasks} | times


JOBS = {
    "jobs": [
        _row("aaaa1111", "trading", "FINISHED", 1),
        _row("aaaa2222", "trading", "RUNNING", 3),
        _row("bbbb3333", "archive", "RESTARTING", 2),
    ]
}


def _detail(state: str, *statuses: str) -> dict[str, Any]:
    vertices = [{"id": str(n), "name": f"v{n}", "status": s, "parallelism": 2} for n, s in enumerate(statuses)]
    return {"state": state, "vertices": vertices}


def _exceptions(*traces: str) -> dict[str, Any]:
    return {"exceptionHistory": {"entries": [{"stacktrace": t, "taskName": "normalise -> sink"} for t in traces]}}


def test_jobs_are_listed_newest_first(flink: FakeFlink) -> None:
    flink.answers["GET", "/jobs/overview"] = JOBS

    jobs = FlinkRest(flink.url + "/").jobs()

    assert [(job.id, job.live) for job in jobs] == [("aaaa2222", True), ("bbbb3333", True), ("aaaa1111", False)]


def test_find_takes_names_and_beginnings_of_ids(flink: FakeFlink) -> None:
    flink.answers["GET", "/jobs/overview"] = JOBS
    rest = FlinkRest(flink.url)

    assert rest.find("trading").id == "aaaa2222"
    assert rest.find("BBBB").name == "archive"
    with pytest.raises(FlinkError, match=r"no running job aaaa1.*there are: trading, archive"):
        rest.find("aaaa1")
    with pytest.raises(FlinkError, match="several job ids"):
        rest.find("aaaa", live_only=False)


def test_wait_until_running_wants_every_task_and_a_moment_of_rest(flink: FakeFlink) -> None:
    starting = _detail("RUNNING", "RUNNING", "INITIALIZING")
    flink.answers["GET", "/jobs/j"] = [_detail("CREATED"), starting, _detail("RUNNING", "RUNNING", "RUNNING")]
    flink.answers["GET", "/jobs/j/exceptions?maxExceptions=1"] = _exceptions()

    FlinkRest(flink.url).wait_until_running("j", 5)

    assert len(flink.answers["GET", "/jobs/j"]) == 1


def test_wait_until_running_reports_the_root_cause_of_a_failed_job(flink: FakeFlink) -> None:
    trace = "a.Outer: outer\n\tat a.b.C.d(C.java:1)\nCaused by: org.x.KafkaException: no topic\n\tat x.Y.z(Y.java:2)"
    flink.answers["GET", "/jobs/j"] = [_detail("RESTARTING", "CANCELED"), _detail("FAILED", "FAILED")]
    flink.answers["GET", "/jobs/j/exceptions?maxExceptions=1"] = _exceptions(trace)
    told: list[str] = []

    with pytest.raises(FlinkError, match=r"job j is FAILED: KafkaException: no topic\n  in task normalise$"):
        FlinkRest(flink.url).wait_until_running("j", 5, told.append)

    assert told == ["it failed and Flink restarts it: KafkaException: no topic\n  in task normalise"]


def test_wait_until_running_says_when_slots_are_missing(flink: FakeFlink) -> None:
    flink.answers["GET", "/jobs/j"] = _detail("CREATED", "SCHEDULED")
    flink.answers["GET", "/jobs/j/exceptions?maxExceptions=1"] = _exceptions()
    overview = {"flink-version": "2.3.0", "taskmanagers": 2, "slots-total": 2, "slots-available": 0}
    flink.answers["GET", "/overview"] = overview

    with pytest.raises(FlinkError, match=r"waits for slots \(all 2 are taken\)"):
        FlinkRest(flink.url).wait_until_running("j", 0.05)


def test_wait_until_running_says_which_tasks_do_not_run(flink: FakeFlink) -> None:
    flink.answers["GET", "/jobs/j"] = _detail("RUNNING", "RUNNING", "INITIALIZING")
    flink.answers["GET", "/jobs/j/exceptions?maxExceptions=1"] = _exceptions()
    overview = {"flink-version": "2.3.0", "taskmanagers": 4, "slots-total": 4, "slots-available": 1}
    flink.answers["GET", "/overview"] = overview

    with pytest.raises(FlinkError, match=r"it is RUNNING, 1 of 4 slots are free; \w+ is INITIALIZING$"):
        FlinkRest(flink.url).wait_until_running("j", 0.05)


def test_stop_polls_the_savepoint_and_waits_for_the_end(flink: FakeFlink) -> None:
    flink.answers["POST", "/jobs/j/stop"] = (202, {"request-id": "t"})
    done = {"status": {"id": "COMPLETED"}, "operation": {"location": "file:/s/1"}}
    flink.answers["GET", "/jobs/j/savepoints/t"] = [{"status": {"id": "IN_PROGRESS"}}, done]
    flink.answers["GET", "/jobs/j"] = [_detail("RUNNING"), _detail("FINISHED")]

    assert FlinkRest(flink.url).stop("j", "file:///s") == "file:/s/1"
    assert ("POST", "/jobs/j/stop", {"targetDirectory": "file:///s", "drain": False}) in flink.bodies


def test_savepoint_that_fails_gives_its_cause(flink: FakeFlink) -> None:
    flink.answers["POST", "/jobs/j/savepoints"] = (202, {"request-id": "t"})
    cause = {
        "class": "X",
        "stack-trace": "a.B: outer\n\tat a.b(C.java:1)\nCaused by: java.io.IOException: disk is full\n",
    }
    failed = {"status": {"id": "COMPLETED"}, "operation": {"failure-cause": cause}}
    flink.answers["GET", "/jobs/j/savepoints/t"] = failed

    with pytest.raises(FlinkError, match="savepoint of job j failed: IOException: disk is full"):
        FlinkRest(flink.url).savepoint("j", "file:///s")


def test_checkpoints_are_read_and_absent_ones_are_none(flink: FakeFlink) -> None:
    last = {
        "id": 7,
        "latest_ack_timestamp": 99,
        "end_to_end_duration": 5,
        "state_size": 1024,
        "external_path": "file:/c",
    }
    counts = {"completed": 7, "failed": 1}
    flink.answers["GET", "/jobs/j/checkpoints"] = {"counts": counts, "latest": {"completed": last, "savepoint": None}}

    stats = FlinkRest(flink.url).checkpoints("j")

    assert stats.last is not None
    assert (stats.completed, stats.failed, stats.last_savepoint) == (7, 1, None)
    assert (stats.last.completed_ms, stats.last.duration_ms, stats.last.state_bytes) == (99, 5, 1024)


def test_recent_checkpoints_are_completed_ones_oldest_first_without_savepoints(flink: FakeFlink) -> None:
    rows = [
        {
            "id": number,
            "status": outcome,
            "is_savepoint": savepoint,
            "latest_ack_timestamp": 100 * number,
            "end_to_end_duration": number,
            "state_size": 10 * number,
        }
        for number, outcome, savepoint in (
            (5, "IN_PROGRESS", False),
            (4, "COMPLETED", False),
            (3, "COMPLETED", True),
            (2, "FAILED", False),
            (1, "COMPLETED", False),
        )
    ]
    flink.answers["GET", "/jobs/j/checkpoints"] = {"counts": {}, "latest": {}, "history": rows}

    found = FlinkRest(flink.url).recent_checkpoints("j")

    assert [(one.id, one.completed_ms, one.duration_ms, one.state_bytes) for one in found] == [
        (1, 100, 1, 10),
        (4, 400, 4, 40),
    ]


def test_histogram_adds_up_the_buckets_of_all_tasks_that_have_it(flink: FakeFlink) -> None:
    bucket = "route.tradestream.route.le.{}.order_latency_seconds_bucket"
    other = "route.tradestream.route.le.0_025.trade_latency_seconds_bucket"
    flink.answers["GET", "/jobs/j"] = _detail("RUNNING", "RUNNING", "RUNNING", "RUNNING")
    for number, bounds in enumerate((("0_025", "+Inf"), (), ("0_025", "+Inf"))):
        ids = [*map(bucket.format, bounds), other, "numRecordsIn"]
        path = f"/jobs/j/vertices/{number}/subtasks/metrics"
        flink.answers["GET", path] = (200, [{"id": name} for name in ids])
        for bound, count in (("0_025", 3.0), ("+Inf", 5.0)):
            asked = urllib.parse.urlencode({"get": bucket.format(bound), "agg": "sum"})
            flink.answers["GET", f"{path}?{asked}"] = (200, [{"id": bucket.format(bound), "sum": count}])

    assert FlinkRest(flink.url).histogram("j", "order_latency_seconds") == {0.025: 6.0, math.inf: 10.0}


def test_refusal_is_one_line_in_flinks_words(flink: FakeFlink) -> None:
    trace = "o.x.NotFound: outer\n\tat a.b(C.java:1)\nCaused by: o.a.JobNotFound: Could not find job j\n\tat x.Y.z(Y.java:2)"
    flink.answers["GET", "/jobs/j"] = (404, {"errors": ["Not found", trace]})

    with pytest.raises(FlinkError, match=r"refused GET .*/jobs/j \(404\): JobNotFound: Could not find job j$"):
        FlinkRest(flink.url).job("j")


def test_answer_of_something_else_is_told_apart(flink: FakeFlink) -> None:
    flink.answers["GET", "/overview"] = "<html>hello</html>"

    with pytest.raises(FlinkError, match="does not speak Flink's REST API"):
        FlinkRest(flink.url).overview()


def test_unreachable_cluster_says_what_to_look_at() -> None:
    with pytest.raises(FlinkError, match=r"does not answer at http://127.0.0.1:9 .*flink.rest_url"):
        FlinkRest("http://127.0.0.1:9").overview()


PYTHON_CLIENT = """Traceback (most recent call last):
  File "/p/jobs/trading.py", line 9, in <module>
    main()
  File "/p/jobs/runtime.py", line 4, in schema_ids
    raise RegistryError("no subject orders-value")
schemas.registry.RegistryError: no subject orders-value
org.apache.flink.client.program.ProgramAbortException: java.lang.RuntimeException: Python process exits with code: 1
\tat org.apache.flink.client.python.PythonDriver.main(PythonDriver.java:140)
Caused by: java.lang.RuntimeException: Python process exits with code: 1
\t... 14 more
"""
PEMJA = """java.lang.reflect.InvocationTargetException
\tat java.base/java.lang.reflect.Method.invoke(Method.java:569)
Caused by: pemja.core.PythonException: <class 'TypeError'>: None object expected
\tat udfs/domain/normalise.parse_quote(normalise.py:259)
\tat udfs/domain/market_shard.apply(market_shard.py:133)
"""
BEAM = """java.lang.RuntimeException: Failed to close remote bundle
\tat org.apache.X.finishBundle(X.java:1)
Caused by: java.lang.RuntimeException: Error received from SDK harness: Traceback (most recent call last):
  File "/p/udfs/operators/run_shard.py", line 175, in process_element
    self.apply(value)
ValueError: bad shard
\tat java.base/java.util.concurrent.CompletableFuture.reportGet(CompletableFuture.java:396)
"""


@pytest.mark.parametrize(
    ("trace", "cause"),
    [
        ("", ""),
        ("a.b.Simple: only this", "Simple: only this"),
        (
            "a.B: x\n\tat c.d(E.java:1)\nCaused by: f.G: several\nlines\n\n\tat h.I.j(I.java:3)\n\t... 3 more",
            "G: several\nlines",
        ),
        (
            PYTHON_CLIENT,
            'schemas.registry.RegistryError: no subject orders-value\n  File "/p/jobs/runtime.py", line 4, in schema_ids',
        ),
        (PEMJA, "<class 'TypeError'>: None object expected\n  at udfs/domain/normalise.parse_quote(normalise.py:259)"),
        (BEAM, 'ValueError: bad shard\n  File "/p/udfs/operators/run_shard.py", line 175, in process_element'),
    ],
    ids=["empty", "no frames", "java", "python client", "thread mode", "process mode"],
)
def test_root_cause_leaves_the_frames_out(trace: str, cause: str) -> None:
    assert root_cause(trace) == cause
