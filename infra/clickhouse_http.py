"""The HTTP side of the ClickHouse gateway: one handler for all requests, on the standard library's threading server.

A request is read to its end, checked, run on a connection of its own (or its session's), and answered: small results
with their length and final figures, large ones in chunks as the engine makes them. An error in the middle of a chunked
answer is written as ClickHouse does it (the exception block with the tag that the headers announced), and the
connection is cut, so that no client can take the part for the whole.
"""

from __future__ import annotations

import json
import secrets
import string
import sys
import tempfile
import time
import traceback
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import parse_qsl, urlsplit

from infra.clickhouse_engine import Connection, Figures
from infra.clickhouse_errors import GatewayError
from infra.clickhouse_formats import Compressor, content_type, join_blocks, negotiate, streams
from infra.clickhouse_policy import check_settings
from infra.clickhouse_request import (
    Body,
    ExternalTable,
    Request,
    credentials,
    insert_rows,
    multipart,
    parse,
    read_body,
    sql_prefix,
    whole_sql,
)
from infra.clickhouse_shared import Exchange, Gateway
from infra.clickhouse_sql import InsertWithData, escape, insert_with_data, statement, tokens
from infra.clickhouse_users import Role, User

_LOOK_AHEAD_BYTES = 1 << 18
_SEND_BYTES = 1 << 18
_DRAIN_BYTES = 16 << 20
_TAG_LETTERS = string.ascii_lowercase + string.digits


class Server(ThreadingHTTPServer):
    """The listening socket; it knows its open connections, so that a stop can end the idle ones."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], gateway: Gateway) -> None:
        self.gateway = gateway
        super().__init__(address, Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is the client's affair; anything else is logged with its trace."""
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError)):
            self.gateway.write_log(f"unexpected error for {client_address}: {traceback.format_exc()}")
            traceback.print_exc()


class Handler(BaseHTTPRequestHandler):
    """One client connection."""

    protocol_version = "HTTP/1.1"
    server_version = "tradestream-clickhouse-gateway"
    sys_version = ""
    disable_nagle_algorithm = True
    timeout = 300.0  # Seconds without a byte in either direction.

    @property
    def gateway(self) -> Gateway:
        """The shared state."""
        return cast(Server, self.server).gateway

    def log_message(self, format: str, *args: Any) -> None:
        """The access log is written once for each request, in `_handle`."""

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_HEAD(self) -> None:
        self._handle()

    def _handle(self) -> None:
        url = urlsplit(self.path)
        exchange = Exchange(query_id=str(uuid.uuid4()))
        body: Body | None = None
        try:
            with self.gateway.request():
                try:
                    body = Body(cast(IO[bytes], self.rfile), self.headers, required=self.command == "POST")
                    self._route(url.path, url.query, body, exchange)
                except GatewayError as error:
                    self._answer_error(error, exchange, body)
        except GatewayError as error:
            self._answer_error(error, exchange, body)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
            exchange.status = exchange.status or 499
            raise
        finally:
            self._log_exchange(url.path, exchange)

    def _log_exchange(self, path: str, exchange: Exchange) -> None:
        elapsed_ms = (time.monotonic() - exchange.started) * 1000
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        sql = " ".join(exchange.sql[:300].split())
        self.gateway.write_log(
            f"{stamp}Z {self.client_address[0]} {exchange.user} {self.command} {path} {exchange.status} "
            f"code={exchange.code} bytes={exchange.sent_bytes} ms={elapsed_ms:.1f} id={exchange.query_id} {sql}"
        )

    def _route(self, path: str, query: str, body: Body, exchange: Exchange) -> None:
        if path == "/ping" or path == "/replicas_status" or (path == "/" and self.command != "POST" and not query):
            self._send(exchange, 200, b"Ok.\n", {"Content-Type": "text/html; charset=UTF-8"})
        elif path == "/":
            self._query(query, body, exchange)
        else:
            text = f"There is no handle {path}\n\nUse / or /ping for health checks, / for queries.\n"
            body.drain(_DRAIN_BYTES)
            self._send(exchange, 404, text.encode(), {"Content-Type": "text/plain; charset=UTF-8"})

    def _query(self, query_string: str, body: Body, exchange: Exchange) -> None:
        content = self.headers.get("Content-Type", "")
        is_form = content.lower().startswith("multipart/form-data")
        # In a form the names of external tables are only known after the body; who asks must be known before it.
        request = Request(parse_protocol(query_string)) if is_form else parse(query_string)
        exchange.query_id = request.protocol.get("query_id") or exchange.query_id
        name, password, given = credentials(self.headers, request)
        user = self.gateway.users.authenticate(name, password, given=given)
        exchange.user = user.name
        for flag, hint in (("compress", "use Accept-Encoding"), ("decompress", "use Content-Encoding")):
            if request.flag(flag):
                raise GatewayError(48, f"{flag}=1 (native compressed blocks) is not available here: {hint}", close=True)
        encoding = self.headers.get("Content-Encoding", "")
        with read_body(body, encoding, self.gateway.max_body, self.gateway.engine.spool) as data:
            if is_form:
                request = multipart(content, query_string, data.read())
                data.seek(0)
                data.truncate()
            with self.gateway.query(exchange.query_id):
                self._run(request, user, data, exchange)

    def _run(self, request: Request, user: User, data: IO[bytes], exchange: Exchange) -> None:
        head, rest_start = sql_prefix(request, data)
        insert = insert_with_data(head)
        exchange.sql = insert.head if insert else head
        restricted = self._restricted(request, user)
        level = 2 if user.role is Role.READONLY else 0
        session = request.protocol.get("session_id", "")
        with ExitStack() as stack:
            if session:
                timeout_s, must = request.number("session_timeout", 60), request.flag("session_check")
                held = self.gateway.sessions.use(
                    user.name, session, readonly=level, timeout_s=timeout_s, must_exist=must
                )
                connection = stack.enter_context(held)
            else:
                connection = self.gateway.engine.connect(user.name, readonly=level)
                stack.callback(connection.close)
            database = request.protocol.get("database") or self.headers.get("X-ClickHouse-Database") or ""
            first = next(tokens(head), None)
            if not session:
                connection.apply(database, request.settings)
            elif first is not None and first.is_word("SET", "USE"):
                connection.revert()  # The statement changes the session itself, not this request's view of it.
            else:
                connection.overlay(database, request.settings)
            for table in request.external:
                self._load_external(connection, table, user.role, exchange.figures)
                if session:
                    stack.callback(connection.scalar, f"DROP TEMPORARY TABLE `{table.name}`")
            if insert is not None:
                self._insert(connection, request, user.role, restricted, insert, head, rest_start, data, exchange)
            else:
                text = whole_sql(head, data, rest_start)
                self._statement(connection, request, user.role, restricted, text, exchange)
        if session and request.flag("close_session"):
            self.gateway.sessions.end(user.name, session)

    def _restricted(self, request: Request, user: User) -> bool:
        """Whether the request asked to be read-only itself: by GET, or by readonly=1 or 2 as a setting."""
        level = request.settings.pop("readonly", None)
        if level is not None and user.role is Role.READONLY and level != "2":
            raise GatewayError(164, "Cannot modify 'readonly' setting in readonly mode")
        check_settings(request.settings, user.role)
        return self.command in ("GET", "HEAD") or level in ("1", "2")

    def _load_external(self, connection: Connection, table: ExternalTable, role: Role, figures: Figures) -> None:
        create = statement(f"CREATE TEMPORARY TABLE `{table.name}` ({table.structure})")
        self.gateway.engine.policy.check(create, connection.classify(create.text), role, is_get=False)
        connection.scalar(create.text)
        with tempfile.SpooledTemporaryFile() as rows:
            rows.write(table.data)
            rows.seek(0)
            connection.insert(f"INSERT INTO `{table.name}`", table.format, cast(IO[bytes], rows), Figures())

    def _insert(
        self,
        connection: Connection,
        request: Request,
        role: Role,
        restricted: bool,
        insert: InsertWithData,
        head: str,
        rest_start: int,
        data: IO[bytes],
        exchange: Exchange,
    ) -> None:
        checked = statement(f"{insert.head} FORMAT {insert.format}")
        kind = connection.classify(checked.text)
        if kind.name == "UNKNOWN":
            raise self.gateway.engine.syntax_error(checked)
        self.gateway.engine.policy.check(checked, kind, role, is_get=restricted)
        if request.params:
            # The engine's streaming insert takes no parameters; as settings they are bound all the same.
            pairs = ", ".join(f"param_{name} = '{escape(value)}'" for name, value in request.params.items())
            connection.scalar(f"SET {pairs}")
        rows, empty = insert_rows(insert, head, rest_start, data)
        if empty:
            raise GatewayError(108, "No data to insert")
        connection.insert(insert.head, insert.format, rows, exchange.figures)
        self._send(exchange, 200, b"", self._result_headers(exchange, "TabSeparated"))

    def _statement(
        self, connection: Connection, request: Request, role: Role, restricted: bool, text: str, exchange: Exchange
    ) -> None:
        parsed = statement(text)
        if not parsed.tokens:
            raise GatewayError(62, "Syntax error: Empty query")
        kind = connection.classify(parsed.text)
        if kind.name == "UNKNOWN":
            raise self.gateway.engine.syntax_error(parsed)
        self.gateway.engine.policy.check(parsed, kind, role, is_get=restricted)
        default = request.protocol.get("default_format") or self.headers.get("X-ClickHouse-Format") or "TabSeparated"
        if not default.isalnum():
            raise GatewayError(73, f"Unknown format {default!r}", name="UNKNOWN_FORMAT")
        fmt = parsed.format or default
        selects = kind.name == "READ_ONLY" and parsed.lead in ("SELECT", "WITH", "FROM")
        if not selects:
            result = connection.query(parsed.text, default, request.params, exchange.figures)
            self._respond(request, exchange, fmt, iter((result,)))
        elif streams(fmt):
            blocks = connection.stream(parsed.text, default, request.params, exchange.figures)
            try:
                self._respond(request, exchange, fmt, join_blocks(fmt, blocks))
            finally:
                blocks.close()  # type: ignore[attr-defined]  # It is a generator; closing it cancels the query.
        else:
            path = self.gateway.engine.spool_path()
            try:
                sql = parsed.with_outfile(str(path), default)
                connection.query(sql, default, request.params, exchange.figures)
                self._respond(request, exchange, fmt, _file_blocks(path))
            finally:
                path.unlink(missing_ok=True)

    def _respond(self, request: Request, exchange: Exchange, fmt: str, blocks: Iterator[bytes]) -> None:
        headers = {}
        encoder: Compressor | None = None
        if request.flag("enable_http_compression", default=True):
            chosen = negotiate(self.headers.get("Accept-Encoding", ""))
            if chosen is not None:
                headers["Content-Encoding"], encoder = chosen
        wait = request.flag("wait_end_of_query") or request.flag("http_wait_end_of_query")
        limit = None if wait else _LOOK_AHEAD_BYTES
        encoded = _encode(blocks, encoder)
        with tempfile.SpooledTemporaryFile(max_size=4 << 20, dir=str(self.gateway.engine.spool)) as kept:
            size, complete = 0, True
            for block in encoded:
                kept.write(block)
                size += len(block)
                if limit is not None and size > limit:
                    complete = False
                    break
            kept.seek(0)
            headers |= self._result_headers(exchange, fmt)
            if complete:
                self._send_head(exchange, 200, headers | {"Content-Length": str(size)})
                self._write(exchange, kept.read(_SEND_BYTES))
                while part := kept.read(_SEND_BYTES):
                    self._write(exchange, part)
                return
            first = kept.read()
        self._send_chunks(exchange, headers, first, encoded, encoder)

    def _send_chunks(
        self,
        exchange: Exchange,
        headers: dict[str, str],
        first: bytes,
        rest: Iterator[bytes],
        encoder: Compressor | None,
    ) -> None:
        chunked = self.request_version != "HTTP/1.0"
        tag = "".join(secrets.choice(_TAG_LETTERS) for _ in range(16))
        headers["X-ClickHouse-Exception-Tag"] = tag
        if chunked:
            headers["Transfer-Encoding"] = "chunked"
        else:
            self.close_connection = True
        self._send_head(exchange, 200, headers)

        def send(part: bytes) -> None:
            if part:
                self._write(exchange, b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)

        send(first)
        try:
            for part in rest:
                send(part)
        except GatewayError as error:
            exchange.code = error.code
            text = error.body(self.gateway.engine.version)
            block = b"\r\n__exception__\r\n%b\r\n%b%d %b\r\n__exception__\r\n" % (
                *(tag.encode(), text, len(text), tag.encode()),
            )
            if encoder is not None:
                block = encoder.compress(block) + encoder.flush()
            send(block)
            self.close_connection = True  # Without the last chunk: the client sees that the answer is not whole.
            return
        if chunked:
            self._write(exchange, b"0\r\n\r\n")

    def _result_headers(self, exchange: Exchange, fmt: str) -> dict[str, str]:
        return {
            "Content-Type": content_type(fmt),
            "X-ClickHouse-Format": fmt,
            "X-ClickHouse-Timezone": self.gateway.engine.timezone,
            "X-ClickHouse-Summary": json.dumps(exchange.figures.summary(), separators=(",", ":")),
        }

    def _answer_error(self, error: GatewayError, exchange: Exchange, body: Body | None) -> None:
        exchange.code = error.code
        if exchange.begun:
            # The head is out, so nothing more can be said than by cutting the connection.
            self.close_connection = True
            return
        if error.close or (body is not None and not body.finished):
            self.close_connection = True
            if body is not None:
                try:
                    body.drain(_DRAIN_BYTES)
                except (EOFError, OSError):
                    body.finished = True  # The client is gone or talks nonsense; the answer is sent all the same.
        headers = {
            "Content-Type": "text/plain; charset=UTF-8",
            "X-ClickHouse-Exception-Code": str(error.code),
            "X-ClickHouse-Summary": json.dumps(exchange.figures.summary(), separators=(",", ":")),
        }
        if error.status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
        self._send(exchange, error.status, error.body(self.gateway.engine.version), headers)

    def _send(self, exchange: Exchange, status: int, payload: bytes, headers: dict[str, str]) -> None:
        self._send_head(exchange, status, headers | {"Content-Length": str(len(payload))})
        self._write(exchange, payload)

    def _send_head(self, exchange: Exchange, status: int, headers: dict[str, str]) -> None:
        exchange.status = status
        exchange.begun = True
        if self.gateway.draining:
            self.close_connection = True
        self.send_response_only(status)
        self.send_header("Date", self.date_time_string())
        self.send_header("X-ClickHouse-Server-Display-Name", self.gateway.display_name)
        self.send_header("X-ClickHouse-Query-Id", _header_safe(exchange.query_id))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close" if self.close_connection else "Keep-Alive")
        # The head stays in the buffer until the first part of the body, so that a small answer is one packet.
        self._headers_buffer: list[bytes]
        self._headers_buffer.append(b"\r\n")

    def _write(self, exchange: Exchange, part: bytes) -> None:
        head = b"".join(self._headers_buffer)
        self._headers_buffer.clear()
        if self.command == "HEAD":
            part = b""
        self.wfile.write(head + part)
        exchange.sent_bytes += len(part)


def parse_protocol(query_string: str) -> dict[str, str]:
    """The URL's parameters without sorting them (used before a form's body is known)."""
    return dict(parse_qsl(query_string, keep_blank_values=True))


def _header_safe(value: str) -> str:
    return "".join(char if " " <= char <= "~" else "?" for char in value)


def _encode(blocks: Iterator[bytes], encoder: Compressor | None) -> Iterator[bytes]:
    for block in blocks:
        if encoder is None:
            yield block
        elif packed := encoder.compress(block):
            yield packed
    if encoder is not None:
        yield encoder.flush()


def _file_blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as result:
        while block := result.read(_SEND_BYTES):
            yield block
