"""What the gateway's handlers share: the engine, the users, the limits, the access log and the running requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO

from infra.clickhouse_engine import Engine, Figures, Sessions
from infra.clickhouse_errors import GatewayError
from infra.clickhouse_users import Users

_QUEUE_SECONDS = 10.0


@dataclass(slots=True)
class Exchange:
    """What the access log tells of one request."""

    query_id: str
    user: str = "-"
    sql: str = ""
    status: int = 0
    code: int = 0
    sent_bytes: int = 0
    begun: bool = False
    started: float = field(default_factory=time.monotonic)
    figures: Figures = field(default_factory=Figures)


class Gateway:
    """What all handlers share: the engine, the users, the limits, the log, and the count of running requests."""

    def __init__(self, engine: Engine, users: Users, *, log: IO[str] | None, max_body: int, max_queries: int) -> None:
        self.engine = engine
        self.users = users
        self.sessions = Sessions(engine)
        self.max_body = max_body
        self.display_name = "tradestream"
        self.draining = False
        self._log = log
        self._places = threading.BoundedSemaphore(max_queries)
        self._change = threading.Condition()
        self._running: set[str] = set()
        self._requests = 0

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request as running until its answer is sent; refuse it while the gateway is being stopped."""
        with self._change:
            if self.draining:
                raise GatewayError(236, "The gateway is being stopped", close=True)
            self._requests += 1
        try:
            yield
        finally:
            with self._change:
                self._requests -= 1
                self._change.notify_all()

    @contextmanager
    def query(self, query_id: str) -> Iterator[None]:
        """Hold one of the places for running queries, under a query id that no other running query has."""
        with self._change:
            if query_id in self._running:
                raise GatewayError(
                    216, f"Query with id = {query_id} is already running", name="QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING"
                )
            self._running.add(query_id)
        try:
            if not self._places.acquire(timeout=_QUEUE_SECONDS):
                raise GatewayError(202, f"Too many simultaneous queries; none ended within {_QUEUE_SECONDS:.0f} s")
            try:
                yield
            finally:
                self._places.release()
        finally:
            with self._change:
                self._running.discard(query_id)

    def drain(self, seconds: float) -> bool:
        """Refuse new requests and wait for the running ones; True when all of them ended in time."""
        with self._change:
            self.draining = True
            return self._change.wait_for(lambda: self._requests == 0, seconds)

    def write_log(self, line: str) -> None:
        """Write one line to the access log, when there is one."""
        if self._log is not None:
            self._log.write(line + "\n")
            self._log.flush()
