"""Frames of other schema versions, turned into frames of the current one: the slow path beside the codec.

The generated decoders read one schema. A record of an older writer (or of a newer one, during an upgrade) carries
another id; the operator gives it to a Resolver, which reads it with the writer's schema, resolves it to the current
one with fastavro, and encodes it again. New fields get their defaults, unknown enum symbols the enum's default.

Hostile input: the frame's size is bounded before anything is read; a writer's schema that recurses or has array items
of no bytes is refused, since fastavro would follow it until memory or the stack ends; whatever fastavro raises on bad
bytes becomes a DecodeError. That the registry cannot be reached is no fault of the record, and is raised as it is.
"""

from __future__ import annotations

import importlib
import io
import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import fastavro
from fastavro.schema import SchemaParseException

from schemas.catalogue import TOPICS
from schemas.errors import UNDECODABLE, UNKNOWN_SCHEMA, DecodeError, EncodeError
from schemas.registry import NOT_FOUND, RegistryError
from schemas.wire import HEADER_BYTES, check_frame, schema_id_of

MAX_SCHEMA_BYTES: Final = 1 << 20
MAX_WRITERS: Final = 256
"""Writer schemas, and unknown ids, that are remembered."""


class Resolver:
    """Reads frames of any compatible version of one topic.

    topic: name in the catalogue. schema_id: id of the current schema. fetch: text of a schema by id, raising
    RegistryError (Registry.schema does). An id that the registry does not know is remembered for `retries` frames,
    so that a flood of bad records is not a flood of requests, and a schema registered later is still found. What is said of
    such a frame does not depend on what was read before it: the archive's dead letters are compared with a second reading.
    """

    def __init__(self, topic: str, schema_id: int, fetch: Callable[[int], str], retries: int = 1000) -> None:
        entry = TOPICS[topic]
        self.topic = topic
        self.schema_id = schema_id
        self._fetch = fetch
        self._retries = retries
        self._module = importlib.import_module(entry.module)
        self._reader = fastavro.parse_schema(json.loads(entry.schema_file.read_text("utf-8")))
        self._writers: OrderedDict[int, Any] = OrderedDict()
        self._unknown: OrderedDict[int, tuple[int, str]] = OrderedDict()

    def resolve(self, data: bytes) -> bytes:
        """Return the frame in the current schema; DecodeError when it cannot be read, RegistryError when the
        registry cannot be asked."""
        check_frame(data, -1, self._module.MAX_BYTES)
        writer_id = schema_id_of(data)
        if writer_id == self.schema_id:
            return data
        try:
            message = self._module.from_dict(self._read(data, self._writer(writer_id)))
            return bytes(self._module.encode(message, self.schema_id))
        except EncodeError as error:
            raise DecodeError(error.reason, error.message, HEADER_BYTES, error.field) from error

    def _read(self, data: bytes, writer: Any) -> Any:
        source = io.BytesIO(data)
        source.seek(HEADER_BYTES)
        try:
            value = fastavro.schemaless_reader(source, writer, self._reader)
        except Exception as error:
            # fastavro has no exception of its own for bad bytes: what its C code raises depends on what they hit.
            detail = f"{type(error).__name__}: {error}".removesuffix(": ")
            raise DecodeError(UNDECODABLE, f"fastavro cannot read it ({detail[:500]})", source.tell()) from error
        if source.tell() != len(data):
            raise DecodeError(UNDECODABLE, f"{len(data) - source.tell()} bytes follow the record", source.tell())
        return value

    def _writer(self, writer_id: int) -> Any:
        if writer_id in self._writers:
            return self._writers[writer_id]
        self._check_known(writer_id)
        try:
            text = self._fetch(writer_id)
        except RegistryError as error:
            if error.status != NOT_FOUND:
                raise
            raise self._refusal(writer_id, f"schema id {writer_id} is not registered") from error
        try:
            writer = self._parsed(text)
        except (ValueError, KeyError, TypeError, RecursionError, SchemaParseException) as error:
            raise self._refusal(writer_id, f"schema id {writer_id} is of no use here: {error}") from error
        _remember(self._writers, writer_id, writer)
        return writer

    def _refusal(self, writer_id: int, why: str) -> DecodeError:
        """The error for an id that cannot be read, which is remembered."""
        _remember(self._unknown, writer_id, (self._retries, why))
        return DecodeError(UNKNOWN_SCHEMA, why, 1)

    def _check_known(self, writer_id: int) -> None:
        if writer_id not in self._unknown:
            return
        left, why = self._unknown[writer_id]
        if left > 0:
            self._unknown[writer_id] = left - 1, why
            raise DecodeError(UNKNOWN_SCHEMA, why, 1)
        del self._unknown[writer_id]

    def _parsed(self, text: str) -> Any:
        if len(text) > MAX_SCHEMA_BYTES:
            raise ValueError(f"it has {len(text)} characters, limit {MAX_SCHEMA_BYTES}")
        schema = json.loads(text)
        check_safe(schema)
        name = schema.get("name") if isinstance(schema, dict) else None
        expected = TOPICS[self.topic].record
        if name != expected:
            raise ValueError(f"it describes {name}, not {expected}")
        return fastavro.parse_schema(schema)


def check_safe(schema: Any) -> None:
    """Refuse (ValueError) a schema whose data could be made to nest or to repeat without end."""
    _least(schema, {}, ())


def _least(node: Any, known: dict[str, int], open_names: tuple[str, ...]) -> int:
    """Return the fewest bytes that a value of the schema takes, checking it on the way."""
    if isinstance(node, list):
        return 1 + min((_least(branch, known, open_names) for branch in node), default=0)
    if isinstance(node, str):
        name = node.rsplit(".", 1)[-1]
        if name in open_names:
            raise ValueError(f"type {name} contains itself")
        if name in known:
            return known[name]
        return {"null": 0, "double": 8, "float": 4}.get(node, 1)
    kind = node["type"]
    if isinstance(kind, dict | list):
        return _least(kind, known, open_names)
    name = str(node.get("name", ""))
    if kind == "record":
        inner = (*open_names, name)
        known[name] = sum([_least(field["type"], known, inner) for field in node["fields"]])
        return known[name]
    if kind == "array":
        if _least(node["items"], known, open_names) < 1:
            raise ValueError("an array has items of no bytes")
        return 1
    if kind == "map":
        _least(node["values"], known, open_names)
        return 1
    if kind == "fixed":
        known[name] = int(node["size"])
        return known[name]
    if kind == "enum":
        known[name] = 1
        return 1
    return _least(kind, known, open_names)


def _remember(cache: OrderedDict[int, Any], key: int, value: Any) -> None:
    cache[key] = value
    if len(cache) > MAX_WRITERS:
        cache.popitem(last=False)
