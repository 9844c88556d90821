"""The contracts in the real registry: every schema registers, and what would break consumers is refused."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from examples import TOPIC_NAMES, fastavro_bytes, module_of, random_value

from infra.stack import Stack, free_port_offset, terminate_as_interrupt
from jobs.config import Config
from schemas.catalogue import TOPICS
from schemas.compatibility import incompatibilities
from schemas.errors import DecodeError
from schemas.registry import COMPATIBILITY, CONFLICT, IncompatibleSchemaError, Registry
from schemas.resolution import Resolver


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Start Kafka and the registry that keeps its schemas in it, with the rule set for all subjects."""
    settings: dict[str, Any] = {"state_dir": tmp_path_factory.mktemp("registry")}
    settings["stack.port_offset"] = free_port_offset(Config.load(overrides=settings))
    config = Config.load(overrides=settings)
    stack = Stack(config, progress=print)
    with terminate_as_interrupt():
        try:
            stack.up(["kafka", "registry"])
            client = Registry(config.registry.url)
            client.set_compatibility(COMPATIBILITY)
            yield client
        finally:
            stack.down(wipe=True)


def text(topic: str) -> str:
    return TOPICS[topic].schema_file.read_text("utf-8")


@pytest.fixture(scope="module")
def ids(registry: Registry) -> dict[str, int]:
    """Register the current schema of every topic."""
    return {topic: registry.register(TOPICS[topic].subject, text(topic)) for topic in TOPIC_NAMES}


def test_rule_is_backward_transitive(registry: Registry) -> None:
    assert registry.compatibility() == COMPATIBILITY


def test_every_schema_registers_once_and_is_found_by_its_id(registry: Registry, ids: dict[str, int]) -> None:
    assert len(set(ids.values())) == len(ids)
    for topic, schema_id in ids.items():
        subject = TOPICS[topic].subject
        assert registry.register(subject, text(topic)) == schema_id
        assert json.loads(registry.schema(schema_id)) == json.loads(text(topic))
        latest = registry.latest(subject)
        assert (latest.schema_id, latest.version) == (schema_id, 1)
        assert registry.versions(subject) == [1]


def changed(topic: str, change: str) -> dict[str, Any]:
    schema: dict[str, Any] = copy.deepcopy(json.loads(text(topic)))
    fields = schema["fields"]
    if change == "required field added":
        fields.append({"name": "added", "type": "long", "doc": "d"})
    elif change == "optional field added":
        fields.append({"name": "added", "type": ["null", "long"], "default": None, "doc": "d"})
    elif change == "long became string":
        next(field for field in fields if field["type"] == "long")["type"] = "string"
    elif change == "field removed":
        fields.pop()
    return schema


@pytest.mark.parametrize("topic", TOPIC_NAMES)
@pytest.mark.parametrize("change", ["required field added", "long became string"])
def test_incompatible_change_is_refused_by_the_registry_and_by_our_rules(
    registry: Registry, ids: dict[str, int], topic: str, change: str
) -> None:
    schema = changed(topic, change)
    subject = TOPICS[topic].subject
    assert incompatibilities(schema, json.loads(text(topic)))
    assert not registry.is_compatible(subject, json.dumps(schema))
    with pytest.raises(IncompatibleSchemaError) as error:
        registry.register(subject, json.dumps(schema))
    assert error.value.status == CONFLICT
    assert registry.latest(subject).schema_id == ids[topic]


@pytest.mark.parametrize("change", ["optional field added", "field removed"])
def test_compatible_change_is_taken_by_the_registry_and_by_our_rules(
    registry: Registry, ids: dict[str, int], change: str
) -> None:
    for topic in ids:
        schema = changed(topic, change)
        assert incompatibilities(schema, json.loads(text(topic))) == []
        assert registry.is_compatible(TOPICS[topic].subject, json.dumps(schema))


def test_rule_looks_back_at_every_version(registry: Registry) -> None:
    def schema(*fields: dict[str, Any]) -> str:
        return json.dumps({"type": "record", "name": "Probe", "namespace": "tradestream", "fields": fields})

    first = {"name": "a", "type": "long"}
    optional = {"name": "b", "type": ["null", "long"], "default": None}
    required = {"name": "b", "type": ["null", "long"]}
    registry.register("probe-value", schema(first))
    registry.register("probe-value", schema(first, optional))
    # The second version could be read with it, the first could not.
    with pytest.raises(IncompatibleSchemaError):
        registry.register("probe-value", schema(first, required))


def test_frames_of_another_version_resolve_through_the_registry(registry: Registry, ids: dict[str, int]) -> None:
    newer = changed("orders", "optional field added")
    newer_id = registry.register(TOPICS["orders"].subject, json.dumps(newer))
    assert newer_id != ids["orders"]
    value = random_value("orders", random.Random(1))
    frame = b"\x00" + newer_id.to_bytes(4, "big") + fastavro_bytes("orders", value) + b"\x00"
    module = module_of("orders")
    resolver = Resolver("orders", ids["orders"], registry.schema)
    assert module.to_dict(module.decode(resolver.resolve(frame), ids["orders"])) == value
    with pytest.raises(DecodeError) as error:
        resolver.resolve(b"\x00" + (2**31 - 1).to_bytes(4, "big") + frame[5:])
    assert error.value.reason == "UNKNOWN_SCHEMA"
