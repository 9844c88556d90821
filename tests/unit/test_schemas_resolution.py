"""Frames of older and newer writers become frames of the current schema; hostile ones become DecodeError."""

from __future__ import annotations

import copy
import io
import json
import random
from typing import Any

import fastavro
import pytest
from examples import SCHEMA_ID, fastavro_bytes, model_of, module_of, random_record, random_value

from schemas.catalogue import TOPICS
from schemas.errors import DecodeError
from schemas.model import ArrayType, RecordType, Type, load
from schemas.registry import RegistryError
from schemas.resolution import Resolver, check_safe

OLD_ID = 3
MODULE = module_of("orders")
CURRENT = json.loads(TOPICS["orders"].schema_file.read_text("utf-8"))
VALUE: dict[str, Any] = {
    "command": "NEW",
    "orderId": "o-1",
    "accountId": "A",
    "symbol": "S",
    "side": "SELL",
    "orderType": "LIMIT",
    "timeInForce": "DAY",
    "quantity": 100,
    "price": 5,
    "stopPrice": None,
    "stp": "NONE",
    "clientId": "me",
    "timestamp": 9,
    "locateId": "L-1",
    "imbalanceOnly": True,
    "doNotReduce": None,
}


def writer_schema(*without: str, **renamed: Any) -> dict[str, Any]:
    """Return the current schema of orders without some fields, and with other types for some."""
    result = copy.deepcopy(CURRENT)
    result["fields"] = [field for field in result["fields"] if field["name"] not in without]
    for field in result["fields"]:
        if field["name"] in renamed:
            field["type"] = renamed[field["name"]]
            field.pop("default", None)
    return result


def frame(schema: dict[str, Any], value: dict[str, Any], schema_id: int = OLD_ID) -> bytes:
    out = io.BytesIO(b"\x00" + schema_id.to_bytes(4, "big"))
    out.seek(5)
    fastavro.schemaless_writer(out, fastavro.parse_schema(copy.deepcopy(schema)), value)
    return out.getvalue()


class Fetch:
    """A registry of texts that counts what it is asked."""

    def __init__(self, *schemas: Any) -> None:
        self.texts = {OLD_ID + index: json.dumps(schema) for index, schema in enumerate(schemas)}
        self.calls: list[int] = []
        self.error: RegistryError | None = None

    def __call__(self, schema_id: int) -> str:
        self.calls.append(schema_id)
        if self.error is not None:
            raise self.error
        if schema_id not in self.texts:
            raise RegistryError("no such schema", 404)
        return self.texts[schema_id]


def resolve(schema: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    resolved = Resolver("orders", SCHEMA_ID, Fetch(schema)).resolve(frame(schema, value))
    result: dict[str, Any] = MODULE.to_dict(MODULE.decode(resolved, SCHEMA_ID))
    return result


def test_frame_of_the_current_schema_is_returned_as_it_is() -> None:
    fetch = Fetch()
    data = frame(CURRENT, VALUE, SCHEMA_ID)
    assert Resolver("orders", SCHEMA_ID, fetch).resolve(data) is data
    assert fetch.calls == []


def test_record_of_an_older_writer_gets_defaults() -> None:
    old = writer_schema("clientId", "stopPrice")
    value = {name: item for name, item in VALUE.items() if name not in ("clientId", "stopPrice")}
    assert resolve(old, value) == VALUE | {"clientId": None, "stopPrice": None}


def test_narrower_type_of_an_older_writer_is_widened() -> None:
    assert resolve(writer_schema(quantity="int"), VALUE) == VALUE


def test_symbol_of_a_newer_writer_becomes_the_default() -> None:
    side = copy.deepcopy(next(field for field in CURRENT["fields"] if field["name"] == "side")["type"])
    side["symbols"].append("CROSS")
    assert resolve(writer_schema(side=side), VALUE | {"side": "CROSS"}) == VALUE | {"side": "UNKNOWN"}


def test_field_of_a_newer_writer_is_dropped() -> None:
    newer = copy.deepcopy(CURRENT)
    newer["fields"].append({"name": "colour", "type": ["null", "string"], "default": None})
    assert resolve(newer, VALUE | {"colour": "red"}) == VALUE


def test_every_released_version_of_every_topic_resolves() -> None:
    rng = random.Random(4)
    for name, topic in TOPICS.items():
        for path in sorted((topic.schema_file.parent / "history" / name).glob("*.avsc")):
            written = json.loads(path.read_text("utf-8"))
            resolver = Resolver(name, SCHEMA_ID, Fetch(written))
            module = module_of(name)
            for _ in range(20):
                value = random_record(load(path).root, rng)
                resolved = resolver.resolve(frame(written, value))
                assert module.to_dict(module.decode(resolved, SCHEMA_ID)) == grown(value, model_of(name).root)


def grown(value: Any, kind: Type) -> Any:
    """Return a value of an older release with the fields that came later, which are all null."""
    if isinstance(kind, RecordType) and value is not None:
        return {field.name: grown(value.get(field.name), field.type) for field in kind.fields}
    if isinstance(kind, ArrayType) and value is not None:
        return [grown(item, kind.items) for item in value]
    return value


def test_writer_schema_is_fetched_once() -> None:
    fetch = Fetch(CURRENT)
    resolver = Resolver("orders", SCHEMA_ID, fetch)
    for _ in range(3):
        resolver.resolve(frame(CURRENT, VALUE))
    assert fetch.calls == [OLD_ID]


def test_unknown_id_is_a_dead_letter_asked_for_again_only_now_and_then() -> None:
    fetch = Fetch()
    resolver = Resolver("orders", SCHEMA_ID, fetch, retries=10)
    for _ in range(11):
        with pytest.raises(DecodeError) as error:
            resolver.resolve(frame(CURRENT, VALUE))
        assert error.value.reason == "UNKNOWN_SCHEMA"
        # The archive's dead letters hold it, and are compared with a second reading: it may not depend on what came before.
        assert str(error.value) == f"schema id {OLD_ID} is not registered at byte 1"
    assert fetch.calls == [OLD_ID]
    fetch.texts[OLD_ID] = json.dumps(CURRENT)
    assert resolver.resolve(frame(CURRENT, VALUE)) == frame(CURRENT, VALUE, SCHEMA_ID)
    assert fetch.calls == [OLD_ID, OLD_ID]


def test_registry_that_is_down_is_not_the_fault_of_the_record() -> None:
    fetch = Fetch(CURRENT)
    fetch.error = RegistryError("cannot be reached")
    resolver = Resolver("orders", SCHEMA_ID, fetch)
    with pytest.raises(RegistryError):
        resolver.resolve(frame(CURRENT, VALUE))
    fetch.error = None
    assert resolver.resolve(frame(CURRENT, VALUE)) == frame(CURRENT, VALUE, SCHEMA_ID)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (json.loads(TOPICS["nbbo"].schema_file.read_text("utf-8")), "describes Nbbo, not OrderCommand"),
        ({**CURRENT, "fields": [{"name": "next", "type": ["null", "OrderCommand"]}]}, "OrderCommand contains itself"),
        ({**CURRENT, "fields": [{"name": "x", "type": {"type": "array", "items": "null"}}]}, "items of no bytes"),
        ("string", "describes None"),
        ({"type": "record"}, "is of no use here"),
        ([], "describes None"),
    ],
)
def test_writer_schema_that_is_foreign_or_hostile_is_refused(schema: Any, message: str) -> None:
    fetch = Fetch(schema)
    resolver = Resolver("orders", SCHEMA_ID, fetch)
    told = set()
    for _ in range(2):
        with pytest.raises(DecodeError) as error:
            resolver.resolve(frame(CURRENT, VALUE))
        assert error.value.reason == "UNKNOWN_SCHEMA"
        told.add(str(error.value))
    assert len(told) == 1
    assert fetch.calls == [OLD_ID]
    with pytest.raises(DecodeError, match=message):
        Resolver("orders", SCHEMA_ID, Fetch(schema)).resolve(frame(CURRENT, VALUE))


def test_value_over_our_limits_is_refused_with_its_field() -> None:
    with pytest.raises(DecodeError, match=r"OrderCommand\.orderId: length 129 is over the limit") as error:
        resolve(CURRENT, VALUE | {"orderId": "x" * 129})
    assert error.value.field == "OrderCommand.orderId"


def test_frame_over_the_limit_is_refused_before_it_is_read() -> None:
    fetch = Fetch(CURRENT)
    with pytest.raises(DecodeError, match="over the limit of 65536"):
        Resolver("orders", SCHEMA_ID, fetch).resolve(frame(CURRENT, VALUE) + bytes(70_000))
    assert fetch.calls == []


def test_trailing_bytes_are_refused() -> None:
    with pytest.raises(DecodeError, match="1 bytes follow the record"):
        Resolver("orders", SCHEMA_ID, Fetch(CURRENT)).resolve(frame(CURRENT, VALUE) + b"\x00")


@pytest.mark.parametrize("topic", ["orders", "nbbo", "reference-data", "dead-letter"])
def test_hostile_bytes_are_refused_or_read_and_nothing_else(topic: str) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    module = module_of(topic)
    schema = json.loads(TOPICS[topic].schema_file.read_text("utf-8"))
    resolver = Resolver(topic, SCHEMA_ID, Fetch(schema))
    header = b"\x00" + OLD_ID.to_bytes(4, "big")
    refused = 0
    for _ in range(2000):
        data = bytearray(header + fastavro_bytes(topic, random_value(topic, rng)))
        for _ in range(rng.randrange(1, 4)):
            place = rng.randrange(5, len(data))
            data[place : place + rng.randrange(2)] = rng.choice(
                (b"\xff" * 9 + b"\x01", b"\xfe\xff\xff\xff\x0f", b"\x01")
            )
        try:
            module.decode(resolver.resolve(bytes(data)), SCHEMA_ID)
        except DecodeError:
            refused += 1
    assert refused > 0


def test_safe_schemas_are_those_that_are_bounded_by_their_data() -> None:
    empty = {"type": "record", "name": "Empty", "fields": []}
    for safe in ("long", ["null", "string"], {"type": "map", "values": "long"}, {"type": "array", "items": ["null"]}):
        check_safe(safe)
    for unsafe in (empty, {"type": "fixed", "name": "F", "size": 0}, "null"):
        with pytest.raises(ValueError, match="no bytes"):
            check_safe({"type": "array", "items": unsafe})
