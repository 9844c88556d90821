"""Every example payload does what its folder says, in fastavro and in the generated codec."""

from __future__ import annotations

import io
import json
from pathlib import Path

import fastavro
import pytest
from examples import SCHEMA_ID, TOPIC_NAMES, example_files, fastavro_bytes, fastavro_schema, fastavro_value, module_of
from fastavro.validation import validate

from schemas.errors import EncodeError
from schemas.json_form import from_json, to_json


def _name(path: Path) -> str:
    return f"{path.parent.parent.name}/{path.stem}"


def test_examples_of_every_topic_exist() -> None:
    for kind, least in (("valid", 1), ("invalid", 3)):
        counts = dict.fromkeys(TOPIC_NAMES, 0)
        for path in example_files(kind):
            counts[path.parent.parent.name] += 1
        assert not [topic for topic, count in counts.items() if count < least], kind


@pytest.mark.parametrize("path", example_files("valid"), ids=_name)
def test_valid_example_round_trips_through_fastavro_and_our_codec(path: Path) -> None:
    topic = path.parent.parent.name
    shown = json.loads(path.read_text("utf-8"))
    value = from_json(topic, shown)
    module = module_of(topic)
    message = module.from_dict(value)
    frame = module.encode(message, SCHEMA_ID)
    assert frame[:5] == b"\x00\x00\x00\x00\x07"
    assert frame[5:] == fastavro_bytes(topic, value)
    assert module.decode(frame, SCHEMA_ID) == message
    assert module.to_dict(module.decode(frame)) == value == fastavro_value(topic, frame[5:])
    assert to_json(module.to_dict(message)) == shown


@pytest.mark.parametrize("path", example_files("invalid"), ids=_name)
def test_invalid_example_is_refused_by_fastavro_and_by_our_codec(path: Path) -> None:
    topic = path.parent.parent.name
    example = json.loads(path.read_text("utf-8"))
    value = from_json(topic, example["value"])
    with pytest.raises(EncodeError) as refusal:
        module_of(topic).from_dict(value)
    assert str(refusal.value) == example["_error"]
    # fastavro knows two refusals: its validation, and for a field too many the strict form of its writer.
    if validate(value, fastavro_schema(topic), raise_errors=False):
        with pytest.raises(ValueError, match="more fields"):
            fastavro.schemaless_writer(io.BytesIO(), fastavro_schema(topic), value, strict=True)
