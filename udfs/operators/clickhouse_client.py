"""How operators and commands reach ClickHouse over HTTP."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import clickhouse_connect

# Longer than the server's own limit for an insert, so that it is the server that gives up first and says so.
ANSWER_TIMEOUT_S: Final = 90
CONNECT_TIMEOUT_S: Final = 10
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A database of a ClickHouse server. It travels in the job graph; the password is never printed."""

    url: str
    username: str
    password: str = field(repr=False)
    database: str

    def connect(self, database: str | None = None) -> Any:
        """Return a clickhouse-connect client. Raises ClickHouseError when the server does not answer or refuses.

        database: another one than the endpoint's; an empty string: the user's default.
        """
        parts = urlsplit(self.url)
        secure = parts.scheme == "https"
        host = parts.hostname or ""
        wanted = self.database if database is None else database
        return clickhouse_connect.get_client(
            host=host,
            port=parts.port or (8443 if secure else 8123),
            secure=secure,
            proxy_path=parts.path.strip("/"),
            username=self.username,
            password=self.password,
            database=wanted or None,
            connect_timeout=CONNECT_TIMEOUT_S,
            send_receive_timeout=ANSWER_TIMEOUT_S,
            compress=host not in _LOOPBACK,
            # Without a session the server runs requests side by side and forgets nothing when it restarts.
            autogenerate_session_id=False,
            # A client that is replaced after an error must not hand its broken connections on.
            dedicated_pool=True,
        )
