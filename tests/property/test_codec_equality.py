"""The generated codec and fastavro are the same function, on random values of every schema."""

from __future__ import annotations

import random
from typing import Any

import pytest
from examples import (
    SCHEMA_ID,
    TOPIC_NAMES,
    fastavro_bytes,
    fastavro_value,
    model_of,
    module_of,
    random_value,
    values_of,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HEADER = b"\x00" + SCHEMA_ID.to_bytes(4, "big")
EXAMPLES_EACH = 40
RANDOM_EACH = 400


def check(topic: str, value: dict[str, Any]) -> None:
    module = module_of(topic)
    message = module.from_dict(value)
    frame = module.encode(message, SCHEMA_ID)
    assert frame == HEADER + fastavro_bytes(topic, value)
    decoded = module.decode(frame, SCHEMA_ID)
    assert module.to_dict(decoded) == value == fastavro_value(topic, frame[5:])
    assert decoded == message
    fields = [getattr(message, field.attribute) for field in model_of(topic).root.fields]
    assert module.encode_fields(SCHEMA_ID, *fields) == frame


@pytest.mark.parametrize("topic", TOPIC_NAMES)
def test_codec_of_chosen_values_equals_fastavro(topic: str) -> None:
    @settings(max_examples=EXAMPLES_EACH, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(values_of(topic))
    def run(value: dict[str, Any]) -> None:
        check(topic, value)

    run()


@pytest.mark.parametrize("topic", TOPIC_NAMES)
def test_codec_of_many_random_values_equals_fastavro(topic: str) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(RANDOM_EACH):
        check(topic, random_value(topic, rng))


@settings(max_examples=500, deadline=None)
@given(st.integers(-(2**63), 2**63 - 1))
def test_every_long_round_trips_as_fastavro_writes_it(number: int) -> None:
    value = {"symbol": "A", "kind": "LAST", "price": number, "currency": "USD", "source": "s"}
    check("prices", value | {"sequence": 1, "causeId": "c", "timestamp": number})
