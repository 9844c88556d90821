"""The schemas as a whole: documented, alike where they share a type, current with the code made from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from examples import TOPIC_NAMES, model_of, module_of

from schemas import codegen
from schemas.catalogue import AVRO, DEFAULT_MESSAGE_BYTES, TOPICS
from schemas.compatibility import check_topic, released
from schemas.errors import (
    BAD_MAGIC,
    INVALID_VALUE,
    TOO_LARGE,
    UNDECODABLE,
    UNKNOWN_SCHEMA,
)
from schemas.messages import enums
from schemas.model import SchemaError, load


def named_types(node: Any) -> list[dict[str, Any]]:
    """Return every record and enum of a schema, fields and all."""
    if isinstance(node, list):
        return [found for item in node for found in named_types(item)]
    if not isinstance(node, dict):
        return []
    own = [node] if node.get("type") in ("record", "enum") else []
    inner = [node[key] for key in ("items", "type") if key in node] + [f["type"] for f in node.get("fields", ())]
    return own + named_types(inner)


def test_types_of_one_name_are_identical_in_all_files() -> None:
    seen: dict[str, tuple[str, dict[str, Any]]] = {}
    for path in sorted(AVRO.glob("*.avsc")):
        for node in named_types(json.loads(path.read_text("utf-8"))):
            other, first = seen.setdefault(node["name"], (path.name, node))
            assert node == first, f"{node['name']} differs between {other} and {path.name}"


def test_catalogue_and_schema_files_name_the_same_topics_and_records() -> None:
    assert sorted(path.stem for path in AVRO.glob("*.avsc")) == TOPIC_NAMES
    for name, topic in TOPICS.items():
        assert model_of(name).root.name == topic.record
        assert name == module_of(name).TOPIC
        assert hasattr(module_of(name), topic.record)


@pytest.mark.parametrize("topic", TOPIC_NAMES)
def test_largest_frame_fits_what_kafka_takes(topic: str) -> None:
    assert model_of(topic).root.max_bytes < TOPICS[topic].max_message_bytes
    assert TOPICS[topic].max_message_bytes >= DEFAULT_MESSAGE_BYTES


@pytest.mark.parametrize("topic", TOPIC_NAMES)
def test_money_and_times_are_longs_and_say_their_unit(topic: str) -> None:
    for record in model_of(topic).records:
        for field in record.fields:
            if field.type == "double":
                assert "Not money" in field.doc, f"{record.name}.{field.name}"
            if field.name.lower().endswith(("price", "pnl", "notional", "commission", "cash", "marketvalue")):
                assert field.type == "long", f"{record.name}.{field.name}"
                assert "of the currency" in field.doc, f"{record.name}.{field.name} does not say its unit"
            if field.name == "timestamp":
                assert field.type == "long"
                assert "UTC nanoseconds" in field.doc, f"{record.name}.{field.name} does not say its unit"


def test_generated_modules_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert codegen.main(["--check"]) == 0, f"run python -m schemas.codegen: {capsys.readouterr().out}"


def test_reasons_of_the_codec_are_symbols_of_dead_letters() -> None:
    for reason in (BAD_MAGIC, UNKNOWN_SCHEMA, UNDECODABLE, TOO_LARGE, INVALID_VALUE):
        assert reason in enums.DEAD_LETTER_REASON_CODES


@pytest.mark.parametrize("topic", TOPIC_NAMES)
def test_current_schema_is_the_last_released_and_reads_all_before(topic: str) -> None:
    history = released(topic)
    assert history, "release it: python -m schemas.compatibility --release"
    assert [version for version, _ in history] == list(range(1, len(history) + 1))
    current = json.loads((AVRO / f"{topic}.avsc").read_text("utf-8"))
    assert history[-1][1] == current, "the schema changed: python -m schemas.compatibility --release"
    assert check_topic(topic) == []


def test_every_enum_has_a_default_that_claims_nothing() -> None:
    for topic in TOPIC_NAMES:
        for enum in model_of(topic).enums:
            assert enum.default == "UNKNOWN", f"{enum.name}: an unknown symbol must not turn into {enum.default}"


ENUM = {"type": "enum", "name": "E", "namespace": "tradestream", "doc": "d", "symbols": ["A"], "default": "A"}


def record(*fields: dict[str, Any], **extra: Any) -> dict[str, Any]:
    return {"type": "record", "name": "R", "namespace": "tradestream", "doc": "d", "fields": list(fields), **extra}


def field(kind: Any, name: str = "value", **extra: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "doc": "d", **extra}


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (record(field(["null", "R"], default=None)), "R contains itself"),
        (record(field({"type": "array", "items": "R"})), "R contains itself"),
        (record(field({"type": "array", "items": {**record(), "name": "Empty"}})), "at least one byte"),
        (record(field({"type": "array", "items": "null"})), "'null' is not supported"),
        (record(field({"type": "map", "values": "long"})), "type 'map' is not supported"),
        (record(field({"type": "fixed", "name": "F", "size": 4})), "type 'fixed' is not supported"),
        (record(field("float")), "'float' is not supported"),
        (record(field(["null", "long"])), "must have the default null"),
        (record(field(["long", "null"], default=0)), "is not [null, T]"),
        (record(field(["null", "long", "string"], default=None)), "is not [null, T]"),
        (record(field("long", default=0)), "only optional fields may have a default"),
        (record(field({**ENUM, "default": "B"})), "needs a default"),
        (record({"name": "value", "type": "long"}), "no doc"),
        (record(field("long", name="Value")), "not camelCase"),
        (record(field("long", name="data")), "uses that name itself"),
        (record(field("long"), field("long")), "two fields have the same name"),
        (record(field({**ENUM, "namespace": "other"})), "must state the namespace"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unsupported_schema_is_refused_with_its_place(schema: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "orders.avsc"
    path.write_text(json.dumps(schema), encoding="utf-8")
    with pytest.raises(SchemaError, match=r"^orders\.avsc, ") as refusal:
        load(path)
    assert message in str(refusal.value)
