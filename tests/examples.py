"""The example payloads of schemas/examples, and random values of every schema."""

from __future__ import annotations

import importlib
import io
import json
import random
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import fastavro
from hypothesis import strategies as st

from schemas.catalogue import AVRO, TOPICS
from schemas.model import ArrayType, EnumType, Field, RecordType, Schema, Type, load

EXAMPLES = AVRO.parent / "examples"
TOPIC_NAMES = sorted(TOPICS)
SCHEMA_ID = 7


def module_of(topic: str) -> ModuleType:
    """Return the generated module of a topic."""
    return importlib.import_module(TOPICS[topic].module)


@cache
def model_of(topic: str) -> Schema:
    """Return the parsed schema of a topic."""
    return load(TOPICS[topic].schema_file)


@cache
def fastavro_schema(topic: str) -> Any:
    """Return the schema of a topic as fastavro wants it."""
    return fastavro.parse_schema(json.loads(TOPICS[topic].schema_file.read_text("utf-8")))


def example_files(kind: str) -> list[Path]:
    """Return the example files: `valid` or `invalid`."""
    return sorted(EXAMPLES.glob(f"*/{kind}/*.json"))


def fastavro_bytes(topic: str, value: Any) -> bytes:
    """Return the Avro body that fastavro writes."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro_schema(topic), value)
    return out.getvalue()


def fastavro_value(topic: str, body: bytes) -> Any:
    """Return what fastavro reads from a body."""
    return fastavro.schemaless_reader(io.BytesIO(body), fastavro_schema(topic), None)


def values_of(topic: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy of every value that the schema of a topic can hold."""
    return _record(model_of(topic).root)


def _record(record: RecordType) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({field.name: _field(field) for field in record.fields})


def _field(field: Field) -> st.SearchStrategy[Any]:
    value = _value(field.type, field)
    return st.none() | value if field.optional else value


def _value(kind: Type, field: Field) -> st.SearchStrategy[Any]:
    if isinstance(kind, EnumType):
        return st.sampled_from(kind.symbols)
    if isinstance(kind, ArrayType):
        return st.lists(_value(kind.items, field), max_size=min(kind.max_items, 3))
    if isinstance(kind, RecordType):
        return _record(kind)
    limit = field.max_length
    integers = {"int": (-(2**31), 2**31 - 1), "long": (-(2**63), 2**63 - 1)}
    if kind in integers:
        low, high = integers[kind]
        edges = [low, high, 0, -1, 63, 64, -64, -65, 8191, 8192, -(2**62), 2**62, 2**62 - 1, -(2**62) - 1]
        return st.integers(low, high) | st.sampled_from([edge for edge in edges if low <= edge <= high])
    if kind == "string":
        # A character has at most four bytes.
        return st.text(st.characters(exclude_categories=("Cs",)), max_size=limit // 4)
    if kind == "bytes":
        return st.binary(max_size=min(limit, 200))
    return {"boolean": st.booleans(), "double": st.floats(allow_nan=False)}[kind]


def random_value(topic: str, rng: random.Random) -> dict[str, Any]:
    """Return a random value, much faster than hypothesis does: for tests that need tens of thousands."""
    return random_record(model_of(topic).root, rng)


def random_record(record: RecordType, rng: random.Random) -> dict[str, Any]:
    """Return a random value of one record, which may be that of an older release."""
    return {
        field.name: None if field.optional and rng.random() < 0.4 else _random(field.type, field, rng)
        for field in record.fields
    }


def _random(kind: Type, field: Field, rng: random.Random) -> Any:
    if isinstance(kind, EnumType):
        return rng.choice(kind.symbols)
    if isinstance(kind, ArrayType):
        return [_random(kind.items, field, rng) for _ in range(rng.randrange(min(kind.max_items, 4) + 1))]
    if isinstance(kind, RecordType):
        return random_record(kind, rng)
    if kind in ("int", "long"):
        bits = rng.randrange(1, 32 if kind == "int" else 64)
        return rng.getrandbits(bits) * rng.choice((1, -1))
    if kind == "string":
        size = min(rng.choice((0, 1, 5, 20, 70)), field.max_length // 4)
        return "".join(rng.choice("aZ09-é€𝄞") for _ in range(size))
    if kind == "bytes":
        return rng.randbytes(min(rng.choice((0, 1, 5, 70)), field.max_length))
    return rng.random() < 0.5 if kind == "boolean" else rng.uniform(-1e9, 1e9)
