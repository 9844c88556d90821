"""One HTTP request as ClickHouse reads it: parameters, credentials, body, external tables."""

from __future__ import annotations

import base64
import binascii
import io
import lzma
import re
import tempfile
import zlib
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import parse_qsl

import zstandard

from infra.clickhouse_errors import GatewayError
from infra.clickhouse_formats import decompressed
from infra.clickhouse_sql import InsertWithData, insert_with_data, names

# Parameters that steer the protocol. They are not passed on to the engine as settings.
PROTOCOL_PARAMETERS = names(
    "query query_id database default_format user password session_id session_timeout session_check close_session "
    "quota_key stacktrace role compress decompress wait_end_of_query buffer_size client_protocol_version "
    "enable_http_compression http_zlib_compression_level send_progress_in_http_headers "
    "http_headers_progress_interval_ms cancel_http_readonly_queries_on_client_close add_http_cors_header "
    "http_write_exception_in_output_format http_response_buffer_size http_wait_end_of_query "
    "http_native_compression_disable_checksumming_on_decompress"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_BODY_IN_MEMORY_BYTES = 8 << 20
_COPY_BYTES = 1 << 18
_PREFIX_BYTES = 1 << 18
_DAMAGED = (zlib.error, lzma.LZMAError, zstandard.ZstdError, EOFError, OSError, RuntimeError)


@dataclass(slots=True)
class ExternalTable:
    """A temporary table that comes with the request (multipart form): columns as SQL, rows in a format."""

    name: str
    structure: str
    format: str
    data: bytes


@dataclass(slots=True)
class Request:
    """A request's parameters: `settings` for the engine, `params` for substitutions, the rest for the protocol."""

    protocol: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    external: list[ExternalTable] = field(default_factory=list)

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean parameter: 1 and true are on."""
        value = self.protocol.get(name)
        return default if value is None else value.lower() in ("1", "true")

    def number(self, name: str, default: int) -> int:
        """An integer parameter. Raises GatewayError for anything else."""
        value = self.protocol.get(name)
        if value is None:
            return default
        if not value.isdecimal():
            raise GatewayError(36, f"Invalid {name}: {value!r} is not a number")
        return int(value)


def parse(query_string: str, external_names: frozenset[str] = frozenset()) -> Request:
    """Sort the URL's parameters. Raises UNKNOWN_SETTING for a name that cannot be a setting."""
    request = Request()
    for name, value in parse_qsl(query_string, keep_blank_values=True):
        _sort(request, name, value, external_names)
    return request


def _sort(request: Request, name: str, value: str, external_names: frozenset[str] = frozenset()) -> None:
    stem, _, suffix = name.rpartition("_")
    if name in PROTOCOL_PARAMETERS:
        request.protocol[name] = value
    elif name.startswith("param_"):
        if not _NAME.fullmatch(name[6:]):
            raise GatewayError(36, f"Invalid name of a query parameter: {name!r}")
        request.params[name[6:]] = value
    elif suffix in ("structure", "types", "format") and stem in external_names:
        request.protocol[name] = value
    elif _SETTING.fullmatch(name):
        request.settings[name] = value
    else:
        raise GatewayError(115, f"Unknown setting {name!r}", name="UNKNOWN_SETTING")


def credentials(headers: Message, request: Request) -> tuple[str, str, bool]:
    """User, password, and whether any credentials were given. Raises when two ways are mixed or one is malformed."""
    authorization = headers.get("Authorization")
    by_header = headers.get("X-ClickHouse-User") is not None or headers.get("X-ClickHouse-Key") is not None
    by_url = "user" in request.protocol or "password" in request.protocol
    if by_header + by_url + (authorization is not None) > 1:
        raise GatewayError(
            516, "Invalid authentication: credentials were given in more than one way (headers, Authorization, URL)"
        )
    if by_header:
        return headers.get("X-ClickHouse-User", "default"), headers.get("X-ClickHouse-Key", ""), True
    if authorization is not None:
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic":
            raise GatewayError(516, f"Invalid authentication: '{scheme}' HTTP Authorization scheme is not supported")
        try:
            user, _, password = base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise GatewayError(516, "Invalid authentication: the Basic credentials cannot be decoded") from error
        return user or "default", password, True
    return request.protocol.get("user", "default"), request.protocol.get("password", ""), by_url


class Body(io.RawIOBase):
    """The raw body of a request from its socket: by length or by chunks. Raises EOFError when it is cut off."""

    def __init__(self, source: IO[bytes], headers: Message, *, required: bool) -> None:
        self._source = source
        self._chunked = "chunked" in headers.get("Transfer-Encoding", "").lower()
        length = headers.get("Content-Length")
        if not self._chunked and length is None and required:
            raise GatewayError(381, "The Content-Length header or the chunked transfer encoding is needed", close=True)
        if length is not None and not length.strip().isdecimal():
            raise GatewayError(36, f"Invalid Content-Length: {length!r}", close=True)
        self._left = 0 if self._chunked else int(length or 0)
        self.finished = not self._chunked and self._left == 0

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        if self.finished:
            return 0
        if self._chunked and self._left == 0 and not self._next_chunk():
            return 0
        data = self._source.read(min(len(target), self._left))
        if not data:
            raise EOFError("the connection was closed in the middle of the request's body")
        target[: len(data)] = data
        self._left -= len(data)
        if self._chunked and self._left == 0:
            self._source.readline(8)
        elif self._left == 0:
            self.finished = True
        return len(data)

    def _next_chunk(self) -> bool:
        line = self._source.readline(1024)
        size = line.partition(b";")[0].strip()
        if not size or not all(byte in b"0123456789abcdefABCDEF" for byte in size):
            raise EOFError("the request's chunked body is damaged or was cut off")
        self._left = int(size, 16)
        if self._left == 0:
            while self._source.readline(8192).strip():
                pass  # Trailer fields carry nothing for us.
            self.finished = True
        return self._left > 0

    def drain(self, limit: int) -> None:
        """Throw away what is left, up to `limit` bytes, so that the client can read the answer."""
        while limit > 0 and not self.finished:
            data = self.read(min(limit, _COPY_BYTES))
            if not data:
                return
            limit -= len(data)


def read_body(body: Body, encoding: str, limit: int, spool: Path) -> IO[bytes]:
    """Take in the whole decoded body (in memory when small, otherwise on disk), and return it at its start.

    Only a complete body is worked on: an INSERT whose upload breaks off has no effect at all.
    """
    kept = cast(IO[bytes], tempfile.SpooledTemporaryFile(_BODY_IN_MEMORY_BYTES, dir=str(spool)))  # noqa: SIM115
    size = 0
    try:
        reader = decompressed(encoding, io.BufferedReader(body, _COPY_BYTES))
        while chunk := reader.read(_COPY_BYTES):
            size += len(chunk)
            if size > limit:
                raise GatewayError(
                    223,
                    f"The request's body is larger than {limit >> 20} MiB: send it in parts, or raise --max-body-mb",
                    name="QUERY_IS_TOO_LARGE",
                    close=True,
                )
            kept.write(chunk)
        body.drain(_COPY_BYTES)
    except GatewayError:
        kept.close()
        raise
    except TimeoutError as error:
        kept.close()
        raise GatewayError(209, "Timeout while the request's body was read", close=True) from error
    except _DAMAGED as error:
        kept.close()
        raise GatewayError(354, f"The request's body cannot be read: {error}", status=400, close=True) from error
    kept.seek(0)
    return kept


def multipart(content_type: str, query_string: str, body: bytes) -> Request:
    """Read a multipart form: fields are parameters like those of the URL, files are external tables."""
    found = re.search(r'boundary="?([^";]+)"?', content_type)
    if found is None:
        raise GatewayError(36, "The multipart form has no boundary")
    fields: list[tuple[str, str]] = []
    files: dict[str, bytes] = {}
    for part in (b"\r\n" + body).split(b"\r\n--" + found.group(1).encode())[1:]:
        if part.startswith(b"--"):
            break
        head, _, content = part.lstrip(b"\r\n").partition(b"\r\n\r\n")
        name = re.search(rb'[; ]name="([^"]*)"', head)
        if name is None:
            raise GatewayError(36, "A part of the multipart form has no name")
        if re.search(rb"[; ]filename=", head):
            files[name.group(1).decode()] = content
        else:
            fields.append((name.group(1).decode(), content.decode("utf-8")))
    request = parse(query_string, frozenset(files))
    for key, value in fields:
        _sort(request, key, value, frozenset(files))
    for table, data in files.items():
        request.external.append(_external(request, table, data))
    return request


def _external(request: Request, table: str, data: bytes) -> ExternalTable:
    if not _NAME.fullmatch(table):
        raise GatewayError(36, f"Invalid name of an external table: {table!r}")
    structure = request.protocol.get(f"{table}_structure")
    types = request.protocol.get(f"{table}_types")
    if structure is None and types is not None:
        structure = ", ".join(f"_{index} {kind}" for index, kind in enumerate(_split_types(types), 1))
    if not structure:
        raise GatewayError(36, f"The external table {table} needs {table}_structure or {table}_types")
    fmt = request.protocol.get(f"{table}_format", "TabSeparated")
    if not _NAME.fullmatch(fmt):
        raise GatewayError(73, f"Unknown format {fmt!r}", name="UNKNOWN_FORMAT")
    return ExternalTable(table, structure, fmt, data)


def _split_types(types: str) -> list[str]:
    parts, depth, current = [], 0, ""
    for char in types:
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            parts.append(current.strip())
            current = ""
        else:
            current += char
    return [*parts, current.strip()]


def sql_prefix(request: Request, data: IO[bytes]) -> tuple[str, int]:
    """The beginning of the SQL text, long enough to recognise an INSERT, and where the unread body goes on."""
    url_query = request.protocol.get("query", "")
    if insert_with_data(url_query) is not None:
        return url_query, 0
    body = data.read(_PREFIX_BYTES)
    return (f"{url_query}\n" if url_query and body else url_query) + body.decode("utf-8", "surrogateescape"), len(body)


def whole_sql(head: str, data: IO[bytes], rest_start: int) -> str:
    data.seek(rest_start)
    raw = head.encode("utf-8", "surrogateescape") + data.read()
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise GatewayError(62, f"Syntax error: the query is not valid UTF-8 at byte {error.start}") from error


def insert_rows(insert: InsertWithData, head: str, rest_start: int, data: IO[bytes]) -> tuple[IO[bytes], bool]:
    """The rows of an INSERT: what follows the statement in the text, then the rest of the body."""
    tail = head[insert.data_start :].encode("utf-8", "surrogateescape")
    data.seek(0, 2)
    size = data.tell()
    data.seek(rest_start)
    return cast(IO[bytes], _Joined(tail, data)), not tail.strip(b" \t\r\n;") and size == rest_start


class _Joined:
    def __init__(self, tail: bytes, rest: IO[bytes]) -> None:
        self._tail = tail
        self._rest = rest

    def read(self, size: int) -> bytes:
        if self._tail:
            part, self._tail = self._tail, b""
            return part
        return self._rest.read(size)
