"""The chDB engine of the gateway: one data folder, many connections, sessions, and queries with their figures.

A chDB connection is cheap (about 0.2 ms) and has its own settings, current database and temporary tables, and
connections run side by side. So every request without a session gets a connection of its own, and every HTTP session
keeps one, which only one request at a time may use.

chDB starts with an overlay that shows the machine's files as tables of the database `default`. The engine here replaces
it by an ordinary Atomic database and is configured without grants on external sources, so that no statement, whoever
sends it, reads or writes anything but the data folder.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from xml.sax.saxutils import escape as xml_escape

from infra.clickhouse_errors import GatewayError, from_engine
from infra.clickhouse_policy import READER_LIMITS, Kind, Policy
from infra.clickhouse_sql import Statement, escape, quote_identifier

_INSERT_CHUNK_BYTES = 1 << 20

_CONFIG = """<clickhouse>
  <users_config>{private}/users.xml</users_config>
  <user_files_path>{private}/empty/</user_files_path>
  <user_scripts_path>{private}/empty/</user_scripts_path>
  <format_schema_path>{private}/empty/</format_schema_path>
</clickhouse>
"""
# Inserts are acknowledged when their rows are in the table, so that an acknowledged row survives a kill.
# Grants are those of roles, because a connection can put roles aside (SET ROLE), and a user's own grants it cannot.
_USERS = """<clickhouse>
  <profiles><default>
    <async_insert>0</async_insert><implicit_select>0</implicit_select>
    <mutations_sync>1</mutations_sync><alter_sync>1</alter_sync>
  </default></profiles>
  <quotas><default></default></quotas>
  <roles>
    <everything><grants>
      <query>GRANT ALL ON *.*</query>
      <query>REVOKE SOURCES ON *.*</query>
      <query>REVOKE ACCESS MANAGEMENT ON *.*</query>
    </grants></everything>
    {roles}
  </roles>
  <users><default>
    <password></password><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>
    <grants><query>GRANT everything</query>{granted}</grants>
  </default></users>
</clickhouse>
"""


def _users_xml(limited: Mapping[str, str], tables: Mapping[str, Sequence[str]]) -> str:
    """The engine's one user, with a role for each user of the gateway that may read some tables only."""
    roles = "".join(
        f"<{role}><grants>{''.join(f'<query>GRANT SELECT, SHOW ON {table}</query>' for table in tables[user])}</grants></{role}>"
        for user, role in limited.items()
    )
    return _USERS.format(roles=roles, granted="".join(f"<query>GRANT {role}</query>" for role in limited.values()))


class FolderError(RuntimeError):
    """The data folder cannot be opened; the text says why and what to do."""


@dataclass(slots=True)
class Figures:
    """What a query did, in the fields of X-ClickHouse-Summary (rows and bytes)."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    result_bytes: int = 0
    started: float = field(default_factory=time.monotonic)

    def add(self, result: Any) -> None:
        """Add the figures of one engine result or of one chunk of it."""
        self.read_rows += result.storage_rows_read()
        self.read_bytes += result.storage_bytes_read()
        self.written_rows += result.rows_written()
        self.written_bytes += result.bytes_written()
        self.result_rows += result.rows_read()
        self.result_bytes += result.bytes_read()

    def summary(self) -> dict[str, str]:
        """The header's object; ClickHouse writes every figure as a string."""
        return {
            "read_rows": str(self.read_rows),
            "read_bytes": str(self.read_bytes),
            "written_rows": str(self.written_rows),
            "written_bytes": str(self.written_bytes),
            "total_rows_to_read": str(self.read_rows),
            "result_rows": str(self.result_rows),
            "result_bytes": str(self.result_bytes),
            "elapsed_ns": str(int((time.monotonic() - self.started) * 1e9)),
        }


class Connection:
    """One chDB connection. Every engine error leaves as a GatewayError. Not for two threads at a time."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._overlay: tuple[object, ...] = ("",)
        self._undo: list[str] = []

    def classify(self, sql: str) -> Kind:
        """What the engine's parser makes of the text, without running it."""
        report = self._raw.classify_query(sql)
        return Kind(report["query_class"].name, int(report["statement_count"]))

    def query(self, sql: str, fmt: str, params: Mapping[str, str], figures: Figures) -> bytes:
        """Run a statement and return its whole result."""
        try:
            result = self._raw.query(sql, fmt, params=dict(params))
        except Exception as error:
            raise from_engine(error) from error
        if result.has_error():
            raise from_engine(result.error_message())
        figures.add(result)
        return bytes(result.bytes())

    def scalar(self, sql: str) -> str:
        """The text of a small result without its line end."""
        return self.query(sql, "TSVRaw", {}, Figures()).decode().rstrip("\n")

    def stream(self, sql: str, fmt: str, params: Mapping[str, str], figures: Figures) -> Iterator[bytes]:
        """Run a SELECT and yield its blocks, each as a document of its own; closing the iterator cancels the query."""
        handle = None
        finished = False
        try:
            handle = self._raw.send_query(sql, fmt, params=dict(params))
            while True:
                result = self._raw.streaming_fetch_result(handle)
                if result.has_error():
                    raise from_engine(result.error_message())
                figures.add(result)
                block = bytes(result.bytes())
                if not block:
                    finished = True
                    return
                yield block
        except (GatewayError, GeneratorExit):
            raise
        except Exception as error:
            finished = True
            raise from_engine(error) from error
        finally:
            if handle is not None and not finished:
                self._raw.streaming_cancel_query(handle)

    def insert(self, head: str, fmt: str, data: IO[bytes], figures: Figures) -> None:
        """Run an INSERT over encoded rows, from the data's position to its end, in constant memory."""
        handle = None
        try:
            handle = self._raw.send_insert(head, fmt)
            while chunk := data.read(_INSERT_CHUNK_BYTES):
                self._raw.insert_append(handle, chunk)
            result = self._raw.insert_done(handle)
        except Exception as error:
            if handle is not None:
                self._abandon(handle)
            raise from_engine(error) from error
        figures.add(result)
        figures.read_rows, figures.read_bytes = figures.written_rows, figures.written_bytes

    def _abandon(self, handle: Any) -> None:
        # The engine has usually ended the insert itself when it raised; then there is nothing left to cancel.
        try:
            self._raw.insert_cancel(handle)
        except RuntimeError:
            return

    def close(self) -> None:
        """Close the connection; a running stream is cancelled and temporary tables go."""
        self._raw.close()

    def apply(self, database: str, settings: Mapping[str, str]) -> None:
        """Put a request's database and settings in force, for a connection that is used once."""
        if database:
            self.scalar(f"USE {quote_identifier(database)}")
        if settings:
            self.scalar("SET " + ", ".join(f"{name} = '{escape(value)}'" for name, value in settings.items()))

    def overlay(self, database: str, settings: Mapping[str, str]) -> None:
        """Put a request's database and settings in force over those of the session.

        The same overlay as the last request's is left as it is, because clients send the same settings each time;
        another one first gives way to the session's own values.
        """
        wanted = (database, *settings.items())
        if wanted == self._overlay:
            return
        self.revert()
        undo: list[str] = []
        if database and (old := self.scalar("SELECT currentDatabase()")) != database:
            undo.append(f"USE {quote_identifier(old)}")
        if settings:
            undo.extend(self._resets(settings))
        self._undo = undo
        try:
            self.apply(database, settings)
        except GatewayError:
            self.revert()
            raise
        self._overlay = wanted

    def revert(self) -> None:
        """Give the session its own database and settings back."""
        self._overlay = ("",)
        while self._undo:
            self.scalar(self._undo.pop())

    def _resets(self, settings: Mapping[str, str]) -> Iterator[str]:
        names = ", ".join(f"'{escape(name)}'" for name in settings)
        rows = self.scalar(f"SELECT name, changed, hex(value) FROM system.settings WHERE name IN ({names})")
        for line in rows.splitlines():
            name, changed, value = line.split("\t")
            old = escape(bytes.fromhex(value).decode())
            yield f"SET {name} = '{old}'" if changed == "1" else f"SET {name} = DEFAULT"


class Engine:
    """The owner of a data folder. Raises FolderError when another process owns it.

    tables: of each user that is limited, the tables (database.table) that it may read.
    """

    def __init__(self, folder: Path, tables: Mapping[str, Sequence[str]] | None = None) -> None:
        self.folder = folder.resolve()
        limited = tables or {}
        self._roles = {user: f"reader_{number}" for number, user in enumerate(limited, 1)}
        if set("?&%#") & set(str(self.folder)):
            raise FolderError(f"the data folder's path may not hold any of ? & % #: {self.folder}")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock_file = self._take_lock()
        private = self.folder / ".gateway"
        (private / "empty").mkdir(parents=True, exist_ok=True)
        (private / "config.xml").write_text(_CONFIG.format(private=xml_escape(str(private))), encoding="utf-8")
        (private / "users.xml").write_text(_users_xml(self._roles, limited), encoding="utf-8")
        self.spool = private / "spool"
        shutil.rmtree(self.spool, ignore_errors=True)
        self.spool.mkdir()
        # A relative path that slips through somewhere must not reach the caller's folder.
        os.chdir(private / "empty")
        # Loading the engine takes a second; the lock's message must come before it.
        self._connect: Any = importlib.import_module("chdb._chdb").connect
        try:
            self._master = Connection(self._connect(f"{self.folder}?config-file={private}/config.xml"))
            self._replace_overlay()
        except (RuntimeError, GatewayError) as error:
            raise FolderError(f"the engine cannot open {self.folder}: {error}") from error
        self.version = self._master.scalar("SELECT version()")
        self.timezone = self._master.scalar("SELECT timezone()")
        self.policy = Policy(
            set(self._master.scalar("SELECT name FROM system.table_functions").splitlines()),
            set(self._master.scalar("SELECT name FROM system.functions").splitlines()),
        )

    def _take_lock(self) -> IO[str]:
        handle = (self.folder / ".gateway.lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            owner = handle.read().strip() or "unknown"
            handle.close()
            raise FolderError(
                f"the data folder {self.folder} is owned by another gateway (process {owner}); "
                "stop that one or choose another folder"
            ) from None
        handle.truncate(0)
        handle.write(f"{os.getpid()}\n")
        handle.flush()
        return handle

    def _replace_overlay(self) -> None:
        engine = self._master.scalar("SELECT engine FROM system.databases WHERE name = 'default'")
        if engine != "Overlay":
            return
        self._master.scalar("DETACH DATABASE default")
        definition = self.folder / "metadata" / "default.sql"
        known = (self.folder / "metadata" / "default").exists()
        if not known:
            # A database that never held a table has a definition without a folder, and cannot be attached again.
            definition.unlink(missing_ok=True)
        self._master.scalar("ATTACH DATABASE default" if known else "CREATE DATABASE default ENGINE = Atomic")
        found = self._master.scalar("SELECT engine FROM system.databases WHERE name = 'default'")
        if found != "Atomic":
            raise FolderError(f"the database default has the engine {found or 'none'} instead of Atomic")

    def connect(self, user: str = "", *, readonly: int = 0) -> Connection:
        """A new connection; `readonly` 1 or 2 is the engine's own setting and cannot be lowered on it.

        user: the gateway's, of which a limited one reads its tables only, by grants of the engine.
        """
        suffix = f"&readonly={readonly}" if readonly else ""
        try:
            connection = Connection(self._connect(f"{self.folder}?database=default{suffix}"))
        except RuntimeError as error:
            raise from_engine(error) from error
        if readonly == 2:
            connection.scalar("SET " + ", ".join(f"{name} = {most}" for name, most in READER_LIMITS.items()))
        if (role := self._roles.get(user)) is not None:
            connection.scalar(f"SET ROLE {role}")
        return connection

    def spool_path(self) -> Path:
        """A path in the spool folder that does not exist yet."""
        return self.spool / f"{uuid.uuid4().hex}.out"

    def syntax_error(self, statement: Statement) -> GatewayError:
        """The engine's own words for a text that its parser refuses, run where it could do no harm."""
        connection = self.connect(readonly=1)
        try:
            connection.query(statement.text, "TSV", {}, Figures())
        except GatewayError as error:
            return error
        finally:
            connection.close()
        return GatewayError(62, "Syntax error: the statement is empty or not complete")

    def cancel_everything(self) -> None:
        """Ask every running query to stop; each one then ends with an error to its client."""
        self._master.scalar("KILL QUERY WHERE query_id != queryID() ASYNC")

    def close(self) -> None:
        """Close the engine and let go of the folder."""
        self._master.close()
        self._lock_file.close()


class Session:
    """An HTTP session: one connection with its settings and temporary tables, for one request at a time."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.lock = threading.Lock()
        self.expires = 0.0


class Sessions:
    """The open sessions, each belonging to one user."""

    MAX_TIMEOUT_S = 3600

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._guard = threading.Lock()
        self._sessions: dict[tuple[str, str], Session] = {}

    @contextmanager
    def use(self, user: str, name: str, *, readonly: int, timeout_s: int, must_exist: bool) -> Iterator[Connection]:
        """Hold the session for one request. Raises SESSION_IS_LOCKED or SESSION_NOT_FOUND as a server does."""
        if not 0 < timeout_s <= self.MAX_TIMEOUT_S:
            raise GatewayError(466, f"Session timeout must be between 1 and {self.MAX_TIMEOUT_S} seconds: {timeout_s}")
        self.expire()
        with self._guard:
            session = self._sessions.get((user, name))
            if session is None:
                if must_exist:
                    raise GatewayError(372, "Session not found", status=404)
                session = self._sessions[(user, name)] = Session(self._engine.connect(user, readonly=readonly))
            if not session.lock.acquire(blocking=False):
                raise GatewayError(373, f"Session {name} is locked by a concurrent client")
        try:
            yield session.connection
        finally:
            session.expires = time.monotonic() + timeout_s
            session.lock.release()

    def end(self, user: str, name: str) -> None:
        """Close a session now (close_session=1); a session that is not there is fine."""
        with self._guard:
            session = self._sessions.pop((user, name), None)
        if session is not None:
            session.connection.close()

    def expire(self) -> None:
        """Close the sessions whose time is over; called with every request and by the gateway's housekeeping."""
        now = time.monotonic()
        over: list[Session] = []
        with self._guard:
            for key, session in list(self._sessions.items()):
                if session.expires and session.expires < now and session.lock.acquire(blocking=False):
                    over.append(self._sessions.pop(key))
        for session in over:
            session.connection.close()

    def close(self) -> None:
        """Close every session that is not in use."""
        with self._guard:
            sessions = list(self._sessions.values())
            self._sessions.clear()
        for session in sessions:
            if session.lock.acquire(blocking=False):
                session.connection.close()
