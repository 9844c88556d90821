"""Starting, stopping and dying of the gateway: what was acknowledged is there afterwards, whatever happened."""

from __future__ import annotations

import gzip
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from tests.integration.gateway_fixtures import ROOT, USERS, GatewayProcess, end_gateway, start_gateway


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    made = start_gateway(tmp_path / "data", "--grace-seconds", "2")
    yield made
    end_gateway(made)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One gateway for the tests that do not stop it."""
    made = start_gateway(tmp_path_factory.mktemp("lasting") / "data", "--max-body-mb", "4")
    yield made
    end_gateway(made)


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "infra.clickhouse_gateway", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def load(gateway: GatewayProcess, acknowledged: list[int], thread: int) -> None:
    """Insert single rows until the gateway is gone; note every row whose insert was acknowledged."""
    pool = urllib3.PoolManager()
    for n in range(thread, 1_000_000, 10):
        try:
            body = f"INSERT INTO kept VALUES ({n})"
            if pool.request("POST", gateway.url, body=body, retries=False, timeout=30).status == 200:
                acknowledged.append(n)
        except (urllib3.exceptions.HTTPError, OSError):
            return


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_acknowledged_rows_survive_a_stop_under_load(gateway: GatewayProcess, number: signal.Signals) -> None:
    gateway.sql("CREATE TABLE kept (n Int64) ENGINE = MergeTree ORDER BY n")
    gateway.sql("CREATE VIEW kept_view AS SELECT n FROM kept")
    acknowledged: list[int] = []
    threads = [threading.Thread(target=load, args=(gateway, acknowledged, thread)) for thread in range(4)]
    for thread in threads:
        thread.start()
    while len(acknowledged) < 40:
        time.sleep(0.01)
    status = gateway.stop(number)
    for thread in threads:
        thread.join(30)
    assert status == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    again = start_gateway(gateway.folder)
    try:
        rows = [int(line) for line in again.sql("SELECT n FROM kept_view ORDER BY n").split()]
        assert len(rows) == len(set(rows))
        assert set(acknowledged) <= set(rows)
        # One insert for each thread may have been applied without its answer getting through.
        assert len(rows) <= len(acknowledged) + len(threads)
    finally:
        end_gateway(again)


def test_stop_cancels_long_queries_within_bounded_time(gateway: GatewayProcess) -> None:
    answers: list[int] = []
    long = (
        "SELECT sum(sleepEachRow(0.1)) FROM numbers(3000) "
        "SETTINGS max_block_size = 1, function_sleep_max_microseconds_per_block = 0"
    )
    query = threading.Thread(target=lambda: answers.append(gateway.send(long).status))
    idle = urllib3.PoolManager()
    assert idle.request("GET", gateway.url + "/ping").status == 200
    query.start()
    time.sleep(1.0)
    began = time.monotonic()
    assert gateway.stop(signal.SIGINT) == 0
    assert time.monotonic() - began < 15
    query.join(10)
    assert answers
    assert answers[0] >= 500


def test_broken_upload_has_no_effect(lasting: GatewayProcess) -> None:
    lasting.sql("CREATE TABLE uploads (n Int64) ENGINE = MergeTree ORDER BY n")
    host, port = lasting.url.removeprefix("http://").split(":")
    for head in ("Content-Length: 1000", "Transfer-Encoding: chunked"):
        with socket.create_connection((host, int(port))) as raw:
            body = "1\r\n2\r\n" if "Length" in head else "4\r\n1\n2\n\r\n"
            path = "/?query=INSERT%20INTO%20uploads%20FORMAT%20CSV"
            raw.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n{body}".encode())
            raw.shutdown(socket.SHUT_WR)
            assert b" 400 " in raw.recv(1000)
    assert lasting.sql("SELECT count() FROM uploads") == "0"


def test_body_over_the_limit_is_refused(lasting: GatewayProcess) -> None:
    lasting.sql("CREATE TABLE large (s String) ENGINE = MergeTree ORDER BY s")
    answer = lasting.send(b"x" * (5 << 20), query="INSERT INTO large FORMAT RawBLOB")
    assert answer.status == 413
    assert b"--max-body-mb" in answer.data
    bomb = gzip.compress(bytes(64 << 20))
    packed = lasting.pool.request(
        "POST", f"{lasting.url}/?query=INSERT%20INTO%20large%20FORMAT%20RawBLOB", body=bomb,
        headers={"Content-Encoding": "gzip"}, retries=False,
    )  # fmt: skip
    assert packed.status == 413
    assert lasting.sql("SELECT count() FROM large") == "0"


def test_taken_port_and_folder_are_clear_messages(lasting: GatewayProcess, tmp_path: Path) -> None:
    port = lasting.url.rsplit(":", 1)[1]
    taken = run("--path", str(tmp_path / "elsewhere"), "--port", port)
    assert taken.returncode == 2
    assert f"port {port} on 127.0.0.1 is taken" in taken.stderr
    owned = run("--path", str(lasting.folder), "--port", "0")
    assert owned.returncode == 2
    assert f"owned by another gateway (process {lasting.process.pid})" in owned.stderr
    assert lasting.sql("SELECT 1") == "1"


def test_setup_faults_are_refused(tmp_path: Path) -> None:
    (tmp_path / "users.toml").write_text(USERS)
    missing = run("--path", str(tmp_path / "d"), "--users", str(tmp_path / "users.toml"))
    assert missing.returncode == 2
    assert "writer.secret" in missing.stderr
    exposed = run("--path", str(tmp_path / "d"), "--host", "0.0.0.0")
    assert exposed.returncode == 2
    assert "loopback" in exposed.stderr
    assert not (tmp_path / "d").exists()
    assert "--max-body-mb" in run("--help").stdout


def test_sessions_end_after_their_timeout(lasting: GatewayProcess) -> None:
    session = {"session_id": "short", "session_timeout": 1}
    lasting.sql("CREATE TEMPORARY TABLE t (a Int8)", **session)
    assert lasting.sql("SELECT count() FROM t", **session) == "0"
    time.sleep(1.2)
    assert lasting.send("SELECT 1", session_check=1, **session).headers["X-ClickHouse-Exception-Code"] == "372"
    assert lasting.send("SELECT 1", session_id="x", session_timeout=9999).status == 400


def test_no_spool_files_are_left(lasting: GatewayProcess) -> None:
    lasting.sql("SELECT number FROM numbers(1000000) FORMAT JSON")
    lasting.send("SELECT throwIf(number = 900000) FROM numbers(1000000) FORMAT Parquet")
    assert os.listdir(lasting.folder / ".gateway" / "spool") == []
