"""No bytes whatever make a decoder do anything but return a message or raise DecodeError, soon and in little memory."""

from __future__ import annotations

import contextlib
import math
import random
import time
import tracemalloc
from typing import Any

import pytest
from examples import SCHEMA_ID, TOPIC_NAMES, fastavro_value, model_of, module_of, random_value

from schemas.errors import DecodeError

REASONS = {"BAD_MAGIC", "UNKNOWN_SCHEMA", "UNDECODABLE", "TOO_LARGE"}


def zigzag(number: int) -> bytes:
    """Return a varint, as long as it takes."""
    bits = number << 1 if number >= 0 else (-number << 1) - 1
    out = bytearray()
    while bits > 127:
        out.append(bits & 127 | 128)
        bits >>= 7
    return bytes([*out, bits])


def mutate(frame: bytes, rng: random.Random) -> bytes:
    """Return the frame with one to four hostile changes."""
    data = bytearray(frame)
    for _ in range(rng.randrange(1, 5)):
        place = rng.randrange(len(data)) if data else 0
        match rng.randrange(7):
            case 0 if data:
                data[place] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[place] = rng.choice((0, 1, 2, 127, 128, 255))
            case 2:
                del data[place : place + rng.randrange(1, 9)]
            case 3:
                data[place:place] = rng.randbytes(rng.randrange(1, 9))
            case 4:
                data[place:place] = zigzag(rng.choice((-1, -2, 2**31, 2**62, 2**63 - 1, -(2**63), 65537)))
            case 5:
                data[place : place + 1] = b"\xff" * rng.randrange(1, 12)
            case _:
                other = rng.randrange(len(data)) if data else 0
                data[place:place] = data[other : other + rng.randrange(1, 30)]
    return bytes(data)


def plain(value: Any) -> Any:
    """Return the value with every NaN turned into something that equals itself."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def survive(topic: str, data: bytes) -> bool:
    """Decode hostile bytes; True when they were a message after all, and then the one that fastavro sees."""
    module = module_of(topic)
    try:
        message = module.decode(data)
    except DecodeError as error:
        assert error.reason in REASONS
        assert 0 <= error.position <= len(data)
        assert f"at byte {error.position}" in str(error)
        return False
    value = plain(module.to_dict(message))
    assert value == plain(fastavro_value(topic, data[5:]))
    assert plain(module.to_dict(module.decode(module.encode(message, SCHEMA_ID)))) == value
    return True


@pytest.mark.parametrize("topic", TOPIC_NAMES)
def test_truncation_at_every_byte_is_an_error_with_its_place(topic: str) -> None:
    rng = random.Random(1)
    module = module_of(topic)
    for _ in range(5):
        frame = module.encode(module.from_dict(random_value(topic, rng)), SCHEMA_ID)
        for length in range(len(frame)):
            with pytest.raises(DecodeError) as error:
                module.decode(frame[:length])
            assert error.value.reason == "UNDECODABLE"
            assert error.value.position <= length
        with pytest.raises(DecodeError, match=f"1 bytes follow the record at byte {len(frame)}"):
            module.decode(frame + b"\x00")


@pytest.mark.parametrize("topic", TOPIC_NAMES)
def test_mutated_frames_never_crash(topic: str, pytestconfig: pytest.Config, compiled: bool) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    module = module_of(topic)
    frames = [module.encode(module.from_dict(random_value(topic, rng)), SCHEMA_ID) for _ in range(200)]
    count = pytestconfig.getoption("--mutations") or (20_000 if compiled else 3_000)
    alive = sum(survive(topic, mutate(rng.choice(frames), rng)) for _ in range(count))
    assert alive < count, "the mutations change nothing"


@pytest.mark.parametrize("topic", TOPIC_NAMES)
def test_random_bytes_never_crash(topic: str) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(1000):
        survive(topic, b"\x00\x00\x00\x00\x07" + rng.randbytes(rng.randrange(300)))
        survive(topic, rng.randbytes(rng.randrange(40)))


BOMBS = [
    b"\xff" * 20,
    b"\xff" * 100_000,
    b"\x80" * 100_000,
    zigzag(2**63 - 1) * 1000,
    zigzag(-(2**63)) * 1000,
    zigzag(2**31) * 1000,
    zigzag(-1000) + zigzag(2**62) + b"\x00" * 1000,
    zigzag(60_000) + b"\x00" * 60_000,
    zigzag(1) * 60_000,
    b"\x00" * 60_000,
    b"\x02" * 60_000,
]


@pytest.mark.parametrize("topic", TOPIC_NAMES)
def test_bombs_at_every_field_cost_little_time_and_memory(topic: str) -> None:
    rng = random.Random(2)
    module = module_of(topic)
    frame = module.encode(module.from_dict(random_value(topic, rng)), SCHEMA_ID)
    module.decode(frame)
    tracemalloc.start()
    try:
        started = time.process_time()
        tried = 0
        for place in range(5, min(len(frame), 65)):
            for bomb in BOMBS:
                data = frame[:place] + bomb
                tried += 1
                # A payload may hold a bomb and be right.
                with contextlib.suppress(DecodeError):
                    module.decode(data)
        spent_s = time.process_time() - started
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert spent_s / tried < 0.5
    # A frame of 100 kB may hold as many array items as its bytes allow, and no more than the schema does.
    assert peak < 64 * 1024 * 1024


def test_array_blocks_of_other_writers_are_read() -> None:
    module = module_of("order-outcomes")
    outcome = zigzag(3) + b"ACC" + zigzag(1) + b"o" + zigzag(1) + b"s" + b"\x00" + zigzag(5) * 4 + b"\x01" + b"\x00" * 4
    head, tail = b"\x00\x00\x00\x00\x07" + zigzag(3), zigzag(99) + b"\x00"
    size = zigzag(len(outcome))
    several = [
        zigzag(2) + outcome * 2 + b"\x00",
        zigzag(1) + outcome + zigzag(1) + outcome + b"\x00",
        zigzag(-2) + zigzag(2 * len(outcome)) + outcome * 2 + b"\x00",
        zigzag(-1) + size + outcome + zigzag(1) + outcome + b"\x00",
    ]
    expected = module.to_dict(module.decode(head + several[0] + tail))
    assert len(expected["outcomes"]) == 2
    for blocks in several[1:]:
        data = head + blocks + tail
        assert module.to_dict(module.decode(data)) == expected == fastavro_value("order-outcomes", data[5:])
    wrong = {
        zigzag(-1) + zigzag(len(outcome) + 1) + outcome + b"\x00": "array block should end at byte",
        zigzag(-1) + zigzag(len(outcome) - 1) + outcome + b"\x00": "array block should end at byte",
        zigzag(-1) + zigzag(-1) + outcome + b"\x00": "length -1 is negative",
        zigzag(-1) + zigzag(10_000) + outcome + b"\x00": "is more than the",
        zigzag(-(2**63)) + size + outcome + b"\x00": "limit 65536",
        zigzag(65_537) + outcome * 20: "limit 65536",
        zigzag(65_536) + outcome * 20: "array block of 65536 items in the",
    }
    for blocks, message in wrong.items():
        with pytest.raises(DecodeError, match=message) as error:
            module.decode(head + blocks + tail)
        assert error.value.field == "OrderOutcomes.outcomes"


def test_array_over_the_limit_in_many_small_blocks_is_refused() -> None:
    module = module_of("nbbo")
    limit = next(field for field in model_of("nbbo").root.fields if field.name == "quotes").type.max_items
    quote = zigzag(1) + b"Q" + b"\x00" + zigzag(1) + b"\x00" + zigzag(1) + zigzag(1)
    head = b"\x00\x00\x00\x00\x07" + zigzag(1) + b"e" + zigzag(1) + b"s" + b"\x00\x00\x00\x00\x00\x00"
    tail = b"\x00\x00" + zigzag(1) + zigzag(1) + b"\x00" * 4
    assert len(module.decode(head + (zigzag(1) + quote) * limit + tail).quotes) == limit
    with pytest.raises(DecodeError, match=f"array of {limit} and 1 more items, limit {limit}") as error:
        module.decode(head + (zigzag(1) + quote) * (limit + 1) + tail)
    assert error.value.reason == "TOO_LARGE"
