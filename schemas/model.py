"""Avro schemas as the code generator sees them: parsed, checked against what the codec supports.

Supported: null, boolean, int, long, double, string, bytes, enum, union [null, T], array of T, record. Refused, with
the place named: recursion (a hostile frame could nest without end), arrays of items that may take no bytes (a frame of
a few bytes could claim millions), other unions, maps, fixed, float, enums without a default, fields without a doc.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

NAMESPACE: Final = "tradestream"
PRIMITIVES: Final = frozenset({"boolean", "int", "long", "double", "string", "bytes"})
RESERVED: Final = frozenset(
    {"branch", "count", "data", "end", "fields", "mapping", "message", "pos", "record", "registry_id", "stop", "writer"}
)
"""Attributes that would collide with a local of the generated functions."""
LEAST_BYTES: Final = {"boolean": 1, "int": 1, "long": 1, "double": 8, "string": 1, "bytes": 1}

DEFAULT_MAX_LENGTH: Final = {"string": 4096, "bytes": 1 << 20}
"""Bytes of a string or of a bytes field whose schema has no maxLength."""
DEFAULT_MAX_ITEMS: Final = 1024
"""Items of an array whose schema has no maxItems."""
DEFAULT_MAX_BYTES: Final = 1 << 20
"""Bytes of a frame, header included, of a record without maxBytes."""


class SchemaError(ValueError):
    """A schema that the codec does not support; the message names file and place."""


@dataclass(frozen=True, slots=True)
class EnumType:
    name: str
    doc: str
    symbols: tuple[str, ...]
    default: str


@dataclass(frozen=True, slots=True)
class ArrayType:
    items: Type
    max_items: int


@dataclass(frozen=True, slots=True)
class Field:
    """One field; `max_length` bounds the bytes of its string or bytes."""

    name: str
    type: Type
    optional: bool
    max_length: int
    doc: str

    @property
    def attribute(self) -> str:
        """The name in Python: orderId -> order_id, unrealizedPnL -> unrealized_pnl."""
        return snake(self.name)


@dataclass(frozen=True, slots=True)
class RecordType:
    name: str
    doc: str
    fields: tuple[Field, ...]
    max_bytes: int


Type = str | EnumType | ArrayType | RecordType


@dataclass(slots=True)
class Schema:
    """One file: its main record, and every named type in it, inner ones first."""

    topic: str
    root: RecordType
    records: list[RecordType] = field(default_factory=list)
    enums: list[EnumType] = field(default_factory=list)


def snake(name: str) -> str:
    """camelCase or PascalCase -> snake_case; a trailing PnL counts as one word."""
    name = name.replace("PnL", "Pnl")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def least_bytes(kind: Type) -> int:
    """Return the fewest bytes that a value takes on the wire."""
    if isinstance(kind, str):
        return LEAST_BYTES[kind]
    if isinstance(kind, RecordType):
        return sum(1 if item.optional else least_bytes(item.type) for item in kind.fields)
    return 1


def load(path: Path) -> Schema:
    """Parse schemas/avro/<topic>.avsc; SchemaError when it uses what the codec does not support."""
    parser = _Parser(path.stem)
    root = parser.record(json.loads(path.read_text(encoding="utf-8")), path.stem)
    return Schema(path.stem, root, parser.records, parser.enums)


class _Parser:
    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.records: list[RecordType] = []
        self.enums: list[EnumType] = []
        self.named: dict[str, EnumType | RecordType] = {}
        self.open: list[str] = []

    def fail(self, where: str, message: str) -> SchemaError:
        return SchemaError(f"{self.topic}.avsc, {where}: {message}")

    def record(self, node: dict[str, Any], where: str) -> RecordType:
        name = self.declare(node, where)
        self.open.append(name)
        fields = tuple(self.field(item, f"{name}.{item.get('name', '?')}") for item in node["fields"])
        self.open.pop()
        if len({item.attribute for item in fields}) != len(fields):
            raise self.fail(name, "two fields have the same name")
        result = RecordType(name, node["doc"], fields, int(node.get("maxBytes", DEFAULT_MAX_BYTES)))
        self.named[name] = result
        self.records.append(result)
        return result

    def declare(self, node: dict[str, Any], where: str) -> str:
        name = str(node["name"])
        if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", name):
            raise self.fail(where, f"type name {name!r} is not PascalCase")
        if name in self.named or name in self.open:
            raise self.fail(where, f"{name} is declared twice")
        if node.get("namespace") != NAMESPACE:
            raise self.fail(where, f"{name} must state the namespace {NAMESPACE}")
        if not node.get("doc"):
            raise self.fail(where, f"{name} has no doc")
        return name

    def field(self, node: dict[str, Any], where: str) -> Field:
        if not re.fullmatch(r"[a-z][A-Za-z0-9]*", node["name"]):
            raise self.fail(where, "field name is not camelCase")
        if not node.get("doc"):
            raise self.fail(where, "no doc")
        if snake(node["name"]) in RESERVED:
            raise self.fail(where, "the generated code uses that name itself")
        kind, optional = node["type"], False
        if isinstance(kind, list):
            if len(kind) != 2 or kind[0] != "null":
                raise self.fail(where, f"union {kind} is not [null, T]")
            if "default" not in node or node["default"] is not None:
                raise self.fail(where, "an optional field must have the default null")
            kind, optional = kind[1], True
        elif "default" in node:
            raise self.fail(where, "only optional fields may have a default: a missing value must be visible")
        parsed = self.type(kind, node, where)
        limit = int(node.get("maxLength", DEFAULT_MAX_LENGTH.get(parsed, 0) if isinstance(parsed, str) else 0))
        if isinstance(parsed, ArrayType) and parsed.items in DEFAULT_MAX_LENGTH:
            limit = int(node.get("maxLength", DEFAULT_MAX_LENGTH[str(parsed.items)]))
        return Field(str(node["name"]), parsed, optional, limit, str(node["doc"]))

    def type(self, node: Any, owner: dict[str, Any], where: str) -> Type:
        if isinstance(node, str):
            if node in PRIMITIVES:
                return node
            name = node.removeprefix(f"{NAMESPACE}.")
            if name in self.open:
                raise self.fail(where, f"{name} contains itself; recursive schemas are refused")
            if name in self.named:
                return self.named[name]
            raise self.fail(where, f"type {node!r} is not supported or not declared before")
        if not isinstance(node, dict):
            raise self.fail(where, f"{node!r} is not supported here")
        if node["type"] == "record":
            return self.record(node, where)
        if node["type"] == "enum":
            return self.enum(node, where)
        if node["type"] == "array":
            items = self.type(node["items"], owner, where)
            if isinstance(items, ArrayType) or least_bytes(items) < 1:
                raise self.fail(where, "array items must be records or primitives that take at least one byte")
            return ArrayType(items, int(owner.get("maxItems", DEFAULT_MAX_ITEMS)))
        raise self.fail(where, f"type {node['type']!r} is not supported")

    def enum(self, node: dict[str, Any], where: str) -> EnumType:
        name = self.declare(node, where)
        symbols = tuple(node["symbols"])
        if node.get("default") not in symbols:
            raise self.fail(where, f"enum {name} needs a default that is one of its symbols")
        result = EnumType(name, node["doc"], symbols, node["default"])
        self.named[name] = result
        self.enums.append(result)
        return result
