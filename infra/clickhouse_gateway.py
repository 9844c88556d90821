"""The ClickHouse HTTP gateway: serves one chDB data folder over the ClickHouse HTTP protocol.

    python -m infra.clickhouse_gateway --path DIR --port 8123

One process owns one folder (a lock file sees to it). When it is ready it prints one line on its standard output:

    ready url=http://127.0.0.1:8123 path=DIR version=26.9.2.1 pid=4711

SIGTERM and SIGINT stop it: no new requests, the running ones get --grace-seconds to end, then they are cancelled with
an error, the engine is closed and the process exits with 0. Exit status 2 is a setup that cannot work (port, folder,
users file), explained in one line on standard error.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import signal
import sys
import threading
from pathlib import Path
from typing import IO

import click

from infra.clickhouse_engine import Engine, FolderError
from infra.clickhouse_http import Server
from infra.clickhouse_shared import Gateway
from infra.clickhouse_users import Users, UsersFileError, default_users, load_users

_CANCEL_SECONDS = 5.0
_CLOSE_SECONDS = 20.0
_HOUSEKEEPING_SECONDS = 5.0


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _fail(text: str) -> None:
    print(f"clickhouse gateway: {text}", file=sys.stderr, flush=True)
    sys.exit(2)


def _users(path: Path | None, host: str) -> Users:
    users = load_users(path) if path is not None else default_users()
    if users.has_open_user and not _is_loopback(host):
        raise UsersFileError(f"a user without a password is only served on loopback, not on {host}: give --users FILE")
    return users


def serve(server: Server, gateway: Gateway, engine: Engine, grace_seconds: float) -> int:
    """Serve until a signal; returns the exit status (1 when something did not end in the bounded time)."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    host, port = server.server_address[:2]
    print(
        f"ready url=http://{host!s}:{port} path={engine.folder} version={engine.version} pid={os.getpid()}", flush=True
    )
    while not stop.wait(_HOUSEKEEPING_SECONDS):
        gateway.sessions.expire()
    server.shutdown()
    server.server_close()
    if not gateway.drain(grace_seconds):
        engine.cancel_everything()
        gateway.drain(_CANCEL_SECONDS)
    closer = threading.Thread(target=_close, args=(gateway, engine), daemon=True)
    closer.start()
    closer.join(_CLOSE_SECONDS)
    return 1 if closer.is_alive() else 0


def _close(gateway: Gateway, engine: Engine) -> None:
    gateway.sessions.close()
    engine.close()


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--path", type=click.Path(path_type=Path), required=True, help="Data folder; made when it is missing.")
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8123, help="Port to listen on; 0 picks a free one.")
@click.option("--users", type=click.Path(path_type=Path), help="Users file (TOML). Without it: default, no password.")
@click.option("--log", type=click.Path(path_type=Path), help="Access log, appended to.")
@click.option("--max-body-mb", type=click.IntRange(1), default=1024, help="Largest decoded request body, MiB.")
@click.option("--max-queries", type=click.IntRange(1), default=64, help="Queries that run side by side.")
@click.option("--grace-seconds", type=click.FloatRange(0), default=10.0, help="Time for running queries at a stop.")
def main(
    path: Path,
    host: str,
    port: int,
    users: Path | None,
    log: Path | None,
    max_body_mb: int,
    max_queries: int,
    grace_seconds: float,
) -> None:
    """Serve a chDB data folder over the ClickHouse HTTP protocol."""
    log = log.resolve() if log is not None else None
    try:
        known = _users(users, host)
    except UsersFileError as error:
        _fail(str(error))
    with contextlib.ExitStack() as stack:
        log_file: IO[str] | None = None
        if log is not None:
            try:
                log_file = stack.enter_context(log.open("a", encoding="utf-8"))
            except OSError as error:
                _fail(f"cannot write the log {log}: {error.strerror}")
        try:
            engine = Engine(path, known.limited)
        except FolderError as error:
            _fail(str(error))
        gateway = Gateway(engine, known, log=log_file, max_body=max_body_mb << 20, max_queries=max_queries)
        try:
            server = Server((host, port), gateway)
        except OSError as error:
            engine.close()
            if error.errno == errno.EADDRINUSE:
                _fail(f"port {port} on {host} is taken by another process; choose another --port (0 picks a free one)")
            _fail(f"cannot listen on {host}:{port}: {error.strerror}")
        status = serve(server, gateway, engine, grace_seconds)
        print("stopped", flush=True)
    # Threads that wait on idle client connections must not hold up the exit; everything is closed by now.
    os._exit(status)


if __name__ == "__main__":
    main()
