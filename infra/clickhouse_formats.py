"""Result formats and content encodings of the gateway.

The engine streams a result as blocks, each a document of its own. Formats without frame are the blocks one after the
other; formats with a header need it once; ArrowStream needs one schema and one end. Every other format (JSON, Parquet,
Arrow files, ...) is written by the engine into a spool file and sent from there, so that memory stays bounded too.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, Protocol, cast

import lz4.frame  # type: ignore[import-untyped]
import pyarrow as pa
import zstandard

from infra.clickhouse_errors import GatewayError
from infra.clickhouse_sql import names

# Formats of which a result is the plain concatenation of its blocks; names in lower case.
_PLAIN = names(
    "csv tsv tabseparated tsvraw tabseparatedraw native rowbinary jsoneachrow jsonlines ndjson jsonstringseachrow "
    "jsoncompacteachrow jsoncompactstringseachrow lineasstring tskv bsoneachrow msgpack"
)
# Formats whose first 1 or 2 rows are a header, by how a header line is ended.
_HEADER_LINES = {
    **dict.fromkeys(("csvwithnames", "csvwithnamesandtypes"), "csv"),
    **dict.fromkeys(("tsvwithnames", "tabseparatedwithnames", "tsvrawwithnames", "tabseparatedrawwithnames"), "line"),
    **dict.fromkeys(("tsvwithnamesandtypes", "tabseparatedwithnamesandtypes"), "line"),
    **dict.fromkeys(("tsvrawwithnamesandtypes", "tabseparatedrawwithnamesandtypes"), "line"),
    **dict.fromkeys(("jsoncompacteachrowwithnames", "jsoncompacteachrowwithnamesandtypes"), "line"),
    **dict.fromkeys(("rowbinarywithnames", "rowbinarywithnamesandtypes"), "binary"),
}
_CONTENT_TYPES = {
    "csv": "text/csv; charset=UTF-8; header=absent",
    "csvwithnames": "text/csv; charset=UTF-8; header=present",
    "csvwithnamesandtypes": "text/csv; charset=UTF-8; header=present",
    "arrowstream": "application/vnd.apache.arrow.stream",
    "arrow": "application/vnd.apache.arrow.file",
    "xml": "application/xml; charset=UTF-8",
    "markdown": "text/markdown; charset=UTF-8",
    "parquet": "application/octet-stream",
    "orc": "application/octet-stream",
    "native": "application/octet-stream",
    "jsoneachrow": "application/x-ndjson; charset=UTF-8",
    "ndjson": "application/x-ndjson; charset=UTF-8",
    "jsonlines": "application/x-ndjson; charset=UTF-8",
}


def content_type(fmt: str) -> str:
    """The Content-Type of a format."""
    name = fmt.lower()
    if name in _CONTENT_TYPES:
        return _CONTENT_TYPES[name]
    if name.startswith("json"):
        return "application/json; charset=UTF-8"
    if name.startswith(("rowbinary", "msgpack", "avro", "protobuf", "bson", "rawblob")):
        return "application/octet-stream"
    return (
        "text/tab-separated-values; charset=UTF-8" if name.startswith(("tab", "tsv")) else "text/plain; charset=UTF-8"
    )


def streams(fmt: str) -> bool:
    """Whether results in this format can be joined from the engine's blocks."""
    return fmt.lower() in _PLAIN or fmt.lower() in _HEADER_LINES or fmt.lower() == "arrowstream"


def join_blocks(fmt: str, blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Make one document of the engine's blocks. Only for formats that `streams`."""
    name = fmt.lower()
    if name == "arrowstream":
        yield from _join_arrow(blocks)
        return
    style = _HEADER_LINES.get(name)
    rows = 2 if name.endswith("types") else 1
    header: bytes | None = None
    for block in blocks:
        if style is None:
            yield block
        elif header is None:
            header = block[: _header_length(style, rows, block)]
            yield block
        elif block.startswith(header):
            yield block[len(header) :]
        else:
            # A block of totals and extremes: it has no rows, and the engine puts the header behind it.
            yield block.removesuffix(header)


def _header_length(style: str, rows: int, block: bytes) -> int:
    if style == "binary":
        count, position = _varint(block, 0)
        for _ in range(count * rows):
            length, position = _varint(block, position)
            position += length
        return position
    position = 0
    for _ in range(rows):
        end = block.find(b"\n", position)
        # A line end inside a quoted CSV name does not end the header: then its quotes are not balanced yet.
        while style == "csv" and end >= 0 and block.count(b'"', position, end) % 2:
            end = block.find(b"\n", end + 1)
        position = end + 1 if end >= 0 else len(block)
    return position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _join_arrow(blocks: Iterable[bytes]) -> Iterator[bytes]:
    for index, block in enumerate(blocks):
        parts: list[bytes] = []
        for message in pa.ipc.MessageReader.open_stream(pa.py_buffer(block)):
            if message.type != "schema" or index == 0:
                parts.append(message.serialize().to_pybytes())
        yield b"".join(parts)
    yield b"\xff\xff\xff\xff\x00\x00\x00\x00"


class Compressor(Protocol):
    """An incremental encoder."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Lz4:
    def __init__(self) -> None:
        self._frame = lz4.frame.LZ4FrameCompressor()
        self._begun = False

    def compress(self, data: bytes, /) -> bytes:
        head = b"" if self._begun else cast(bytes, self._frame.begin())
        self._begun = True
        return head + cast(bytes, self._frame.compress(data))

    def flush(self) -> bytes:
        head = b"" if self._begun else cast(bytes, self._frame.begin())
        return head + cast(bytes, self._frame.flush())


_COMPRESSORS: dict[str, Callable[[], Any]] = {
    "lz4": _Lz4,
    "zstd": lambda: zstandard.ZstdCompressor(level=1).compressobj(),
    "gzip": lambda: zlib.compressobj(3, zlib.DEFLATED, 31),
    "deflate": lambda: zlib.compressobj(3),
    "xz": lambda: lzma.LZMACompressor(preset=1),
    "bz2": lambda: bz2.BZ2Compressor(1),
}


def negotiate(accept: str) -> tuple[str, Compressor] | None:
    """Choose the response's encoding from Accept-Encoding: the first one that the client names and we have."""
    for item in accept.lower().split(","):
        name, _, quality = item.strip().partition(";")
        if name.strip() in _COMPRESSORS and quality.replace(" ", "") not in ("q=0", "q=0.0"):
            return name.strip(), _COMPRESSORS[name.strip()]()
    return None


def decompressed(encoding: str, source: IO[bytes]) -> IO[bytes]:
    """A reader of the request's body without its Content-Encoding."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return source
    if name in ("gzip", "x-gzip"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=source))
    if name == "deflate":
        return io.BufferedReader(_Inflate(source))
    if name == "zstd":
        return cast(IO[bytes], zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True))
    if name == "lz4":
        return cast(IO[bytes], lz4.frame.LZ4FrameFile(source))
    if name == "xz":
        return lzma.LZMAFile(source)
    if name == "bz2":
        return bz2.BZ2File(source)
    known = ", ".join(sorted(_COMPRESSORS))
    raise GatewayError(48, f"Unknown Content-Encoding {name!r}; this server reads {known}", close=True)


class _Inflate(io.RawIOBase):
    """A zlib stream as a file; raises EOFError when the stream is cut off."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._state = zlib.decompressobj()
        self._pending = b""

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._pending and not self._state.eof:
            raw = self._state.unconsumed_tail or self._source.read(1 << 16)
            if not raw:
                raise EOFError("the compressed body ended before its stream did")
            self._pending = self._state.decompress(raw, 1 << 20)
        taken = self._pending[: len(target)]
        target[: len(taken)] = taken
        self._pending = self._pending[len(taken) :]
        return len(taken)
