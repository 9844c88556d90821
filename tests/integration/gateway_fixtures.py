"""A ClickHouse gateway process for tests, or an external ClickHouse server when `--clickhouse-url` names one."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import clickhouse_connect
import urllib3

ROOT = Path(__file__).resolve().parents[2]
READY = re.compile(r"^ready url=(http://\S+) path=(\S.*) version=(\S+) pid=(\d+)$")
START_SECONDS = 60.0

USERS = """
[[user]]
name = "default"
role = "admin"
no_password = true

[[user]]
name = "writer"
role = "writer"
password_file = "writer.secret"

[[user]]
name = "analyst"
role = "readonly"
# sha256 of "look"
password_sha256 = "3c01eba119e00d79c82b6f65d70bc5f1044d568618bf41377e6d1432023fc2b8"

[[user]]
name = "auditor"
role = "readonly"
password_sha256 = "3c01eba119e00d79c82b6f65d70bc5f1044d568618bf41377e6d1432023fc2b8"
tables = ["default.other"]
"""


@dataclass
class GatewayProcess:
    """A running gateway: its URL, its folder and its process."""

    url: str
    folder: Path
    process: subprocess.Popen[str]
    pool: urllib3.PoolManager

    def send(self, sql: str | bytes, *, user: str = "", password: str = "", **params: Any) -> urllib3.BaseHTTPResponse:
        """POST a statement and return the response, whatever its status."""
        headers = {"X-ClickHouse-User": user, "X-ClickHouse-Key": password} if user else {}
        return post(self.pool, self.url, sql, headers, params)

    def sql(self, sql: str | bytes, **params: Any) -> str:
        """POST a statement that must succeed, and return its text."""
        answer = self.send(sql, **params)
        assert answer.status == 200, answer.data.decode()
        return answer.data.decode().rstrip("\n")

    def client(self, **options: Any) -> Any:
        """A clickhouse-connect client."""
        return connect(self.url, **options)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 40.0) -> int:
        """Send a signal and wait; returns the exit status."""
        self.process.send_signal(number)
        return self.process.wait(seconds)


def post(
    pool: urllib3.PoolManager, url: str, sql: str | bytes, headers: dict[str, str], params: dict[str, Any]
) -> urllib3.BaseHTTPResponse:
    """POST a statement as the body."""
    body = sql.encode() if isinstance(sql, str) else sql
    target = f"{url}/?{urlencode(params)}"
    return pool.request("POST", target, body=body, headers=headers, retries=False, timeout=60)


def connect(url: str, **options: Any) -> Any:
    """A clickhouse-connect client with a pool of its own."""
    parts = urlsplit(url)
    options.setdefault("username", parts.username or "default")
    options.setdefault("password", parts.password or "")
    options.setdefault("send_receive_timeout", 60)
    return clickhouse_connect.get_client(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 8123,
        secure=parts.scheme == "https",
        pool_mgr=urllib3.PoolManager(maxsize=4),
        **options,
    )


def start_gateway(folder: Path, *options: str) -> GatewayProcess:
    """Start a gateway on a free port and wait for its ready line."""
    command = [sys.executable, "-m", "infra.clickhouse_gateway", "--path", str(folder), "--port", "0", *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    deadline = time.monotonic() + START_SECONDS
    seen = ""
    while time.monotonic() < deadline:
        readable, _, _ = select.select([process.stdout], [], [], 1.0)
        if readable:
            line = process.stdout.readline()
            seen += line
            if found := READY.match(line.rstrip("\n")):
                assert int(found.group(4)) == process.pid
                return GatewayProcess(found.group(1), folder, process, urllib3.PoolManager(maxsize=16))
            if not line:
                break
    process.kill()
    raise AssertionError(f"the gateway did not become ready (exit status {process.wait(10)}): {seen}")


def end_gateway(gateway: GatewayProcess) -> None:
    """Stop a gateway that a test may have stopped already."""
    if gateway.process.poll() is None:
        gateway.process.terminate()
        try:
            gateway.process.wait(40)
        except subprocess.TimeoutExpired:
            gateway.process.kill()
            gateway.process.wait(10)
    gateway.pool.clear()
    if gateway.process.stdout is not None:
        gateway.process.stdout.close()


def resident_mib(pid: int) -> int:
    """The resident memory of a process, in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20
