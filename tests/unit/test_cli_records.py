"""Reading and writing records from the command line, without a broker: places, conditions, formats, JSON lines."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs.produce import LineError, LineReader
from jobs.tail import (
    Decoder,
    Record,
    Start,
    format_alert,
    format_record,
    format_time,
    key_text,
    parse_condition,
    parse_start,
    record_type,
    to_object,
)
from schemas.catalogue import TOPICS
from schemas.errors import DecodeError
from schemas.messages import dead_letter, orders
from schemas.registry import NOT_FOUND, RegisteredSchema, Registry, RegistryError

EXAMPLES = Path(orders.__file__).resolve().parent.parent / "examples"
ORDER: dict[str, Any] = {
    "command": "NEW",
    "orderId": "O-1",
    "accountId": "ACC-1",
    "symbol": "ACME",
    "side": "BUY",
    "orderType": "LIMIT",
    "timeInForce": "DAY",
    "quantity": 100,
    "price": 1_872_500,
    "stopPrice": None,
    "stp": "NONE",
    "clientId": None,
    "timestamp": 1_381_152_600_123_000_000,
    "locateId": None,
    "imbalanceOnly": None,
    "doNotReduce": None,
}


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("beginning", Start("beginning")),
        ("end", Start("end")),
        ("-100", Start("back", 100)),
        ("2:1500", Start("offset", 1500, 2)),
        ("15m", Start("time", 1_381_151_700_000)),
        ("2013-10-07T09:30:00", Start("time", 1_381_152_600_000)),
        ("2013-10-07T13:30:00+00:00", Start("time", 1_381_152_600_000)),
    ],
)
def test_start_forms_are_understood(text: str, start: Start) -> None:
    assert parse_start(text, datetime(2013, 10, 7, 13, 30, tzinfo=UTC)) == start


@pytest.mark.parametrize("text", ["", "now", "1:2:3", "-", "15w", "2013-13-01"])
def test_start_of_another_form_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(ValueError, match="partition:offset"):
        parse_start(text)


@pytest.mark.parametrize(
    ("time_ns", "utc", "text"),
    [
        (1_381_152_600_123_000_000, False, "2013-10-07T09:30:00.123-04:00"),
        (1_381_152_600_123_000_000, True, "2013-10-07T13:30:00.123Z"),
        (1_381_152_600_123_456_789, True, "2013-10-07T13:30:00.123456789Z"),
        (0, False, "1969-12-31T19:00:00.000-05:00"),
        (-1, True, "1969-12-31T23:59:59.999999999Z"),
        (2**63 - 1, True, "2262-04-11T23:47:16.854775807Z"),
    ],
)
def test_time_is_iso_with_all_digits_that_count(time_ns: int, utc: bool, text: str) -> None:
    assert format_time(time_ns, utc=utc) == text


def test_order_is_shown_with_decimal_price_and_without_empty_fields() -> None:
    assert format_record(record_type(TOPICS["orders"]), ORDER, utc=True) == (
        "command=NEW orderId=O-1 accountId=ACC-1 symbol=ACME side=BUY orderType=LIMIT timeInForce=DAY quantity=100 "
        "price=187.25 stp=NONE timestamp=2013-10-07T13:30:00.123Z"
    )


def test_prices_keep_four_digits_when_they_have_them_and_signs() -> None:
    kind = record_type(TOPICS["orders"])

    for price, text in ((1, "0.0001"), (-1_872_500, "-187.25"), (2**62, "461168601842738.7904"), (0, "0.00")):
        assert f" price={text} " in format_record(kind, ORDER | {"price": price}, utc=True)


def test_number_whose_unit_another_field_tells_is_shown_as_on_the_wire() -> None:
    control = {"kind": "LOCATE", "value": 500}
    assert format_record(record_type(TOPICS["controls"]), control, utc=True) == "kind=LOCATE value=500"
    breach = {"limitValue": 500, "cashChange": 500}
    assert format_record(record_type(TOPICS["risk-events"]), breach, utc=True) == "limitValue=500 cashChange=0.05"


def test_text_that_would_be_ambiguous_is_quoted() -> None:
    assert 'clientId="a \\"b\\"\\n=1"' in format_record(
        record_type(TOPICS["orders"]), ORDER | {"clientId": 'a "b"\n=1'}, utc=True
    )


def test_nested_records_and_bytes_are_shown() -> None:
    quote = {"exchange": "XNYS", "bidPrice": 10_000, "bidSize": 5, "askPrice": None, "askSize": 0, "timestamp": 0}
    text = format_record(record_type(TOPICS["nbbo"]), {"symbol": "A", "quotes": [quote]}, utc=True)
    assert (
        text == "symbol=A quotes=[{exchange=XNYS bidPrice=1.00 bidSize=5 askSize=0 timestamp=1970-01-01T00:00:00.000Z}]"
    )

    kind = record_type(TOPICS["dead-letter"])
    assert format_record(kind, {"payload": b"\x00\xff", "recordKey": b"ACC-1"}, utc=True) == (
        'recordKey="ACC-1" payload=0x00ff'
    )


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("orderId=O-1", True),
        ("orderId=O-2", False),
        ("orderId!=O-2", True),
        ("price=187.25", True),
        ("price=1872500", True),
        ("price!=187.25", False),
        ("clientId=null", True),
        ("side=BUY", True),
        ("timestamp=2013-10-07T09:30:00.123-04:00", True),
    ],
)
def test_condition_compares_with_the_wire_and_with_what_is_shown(text: str, holds: bool) -> None:
    topic = TOPICS["orders"]
    assert parse_condition(text, topic).holds(record_type(topic), ORDER) is holds


def test_condition_reaches_into_records_and_refuses_unknown_fields() -> None:
    topic = TOPICS["reference-data"]
    condition = parse_condition("instrument.symbol=ACME", topic)

    assert condition.holds(record_type(topic), {"instrument": {"symbol": "ACME"}})
    assert not condition.holds(record_type(topic), {"instrument": None})
    with pytest.raises(ValueError, match="it has symbol, name"):
        parse_condition("instrument.ticker=ACME", topic)
    with pytest.raises(ValueError, match="not field=value"):
        parse_condition("instrument", topic)


# ----------------------------------------------------------------------------------------------------------- decoding


class FakeRegistry(Registry):
    """Knows one schema, id 7, and counts what it is asked."""

    def __init__(self, topic: str) -> None:
        super().__init__("http://registry.invalid")
        self.text = TOPICS[topic].schema_file.read_text(encoding="utf-8")
        self.asked: list[int] = []

    def find(self, subject: str, schema: str) -> RegisteredSchema | None:
        return RegisteredSchema(subject, 1, 7, schema) if schema == self.text else None

    def schema(self, schema_id: int) -> str:
        self.asked.append(schema_id)
        if schema_id in (7, 8):
            return self.text
        raise RegistryError("no such schema", NOT_FOUND)


def test_decoder_reads_our_schema_directly_and_others_through_the_registry() -> None:
    registry = FakeRegistry("orders")
    decoder = Decoder(TOPICS["orders"], registry)
    message = orders.from_dict(ORDER)

    assert decoder.decode(orders.encode(message, 7)) == ORDER
    assert registry.asked == []
    assert decoder.decode(orders.encode(message, 8)) == ORDER
    assert registry.asked == [8]
    with pytest.raises(DecodeError, match="9"):
        decoder.decode(orders.encode(message, 9))


def test_decoder_without_a_registry_trusts_this_checkouts_schema() -> None:
    assert Decoder(TOPICS["orders"], None).decode(orders.encode(orders.from_dict(ORDER), 99)) == ORDER


def test_undecodable_record_becomes_an_object_with_reason_and_hex() -> None:
    record = Record("orders", 1, 5, 99, b"\xff", b"\x01\x02", None, "BAD_MAGIC: first byte is 1")

    assert to_object(record) == {
        "topic": "orders",
        "partition": 1,
        "offset": 5,
        "timestamp": 99,
        "key": "0xff",
        "value": None,
        "problem": "BAD_MAGIC: first byte is 1",
        "hex": "0102",
    }
    assert key_text(None) == "-"


# --------------------------------------------------------------------------------------------------------- JSON lines


def _reader(topic: str = "orders") -> tuple[LineReader, list[tuple[int, str]]]:
    bad: list[tuple[int, str]] = []
    return LineReader(topic, 7, lambda number, reason: bad.append((number, reason))), bad


def test_lines_become_frames_and_bad_ones_are_told_with_their_number() -> None:
    reader, bad = _reader()
    lines = [json.dumps(ORDER), "", "{", "[1]", json.dumps(ORDER | {"side": "HOLD"}), json.dumps(ORDER | {"x": 1})]

    ((topic, key, frame, time_ns),) = reader.items(lines)

    assert (topic, key, time_ns) == ("orders", b"ACC-1", ORDER["timestamp"])
    assert orders.to_dict(orders.decode(frame, 7)) == ORDER
    assert [number for number, _ in bad] == [3, 4, 5, 6]
    assert "not JSON" in bad[0][1]
    assert "side" in bad[2][1]
    assert reader.bad == 4


def test_lines_of_tail_are_unwrapped_and_other_topics_refused() -> None:
    reader, _ = _reader()
    wrapped = {"topic": "orders", "partition": 0, "offset": 3, "timestamp": 1, "key": "ACC-1", "value": ORDER}

    assert reader.encode(json.dumps(wrapped)) == reader.encode(json.dumps(ORDER))
    with pytest.raises(LineError, match="of nbbo, not of orders"):
        reader.encode(json.dumps(wrapped | {"topic": "nbbo"}))
    with pytest.raises(LineError, match="BAD_MAGIC"):
        reader.encode(json.dumps(wrapped | {"value": None, "problem": "BAD_MAGIC"}))


@pytest.mark.parametrize("topic", ["orders", "reference-data", "controls"])
def test_every_example_payload_is_taken_with_the_catalogues_key(topic: str) -> None:
    reader, bad = _reader(topic)
    texts = [
        json.dumps(json.loads(file.read_text("utf-8"))) for file in sorted((EXAMPLES / topic / "valid").glob("*.json"))
    ]

    items = list(reader.items(texts))

    assert texts
    assert len(items) == len(texts)
    assert bad == []
    assert all(key for _, key, _, _ in items)


def test_example_messages_survive_tail_and_produce_of_bytes() -> None:
    frame = dead_letter.encode(dead_letter.from_dict(_dead_letter()), 7)
    value = Decoder(TOPICS["dead-letter"], None).decode(frame)
    shown = to_object(Record("dead-letter", 0, 0, 0, None, frame, value))

    assert json.loads(json.dumps(shown))["value"]["payload"] == "\x00ÿ"


def _dead_letter() -> dict[str, Any]:
    file = next(iter(sorted((EXAMPLES / "dead-letter" / "valid").glob("*.json"))))
    value: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return value | {"payload": b"\x00\xff", "recordKey": None}


def test_alert_reads_as_a_sentence_and_one_without_words_does_not() -> None:
    alert = {
        "ruleId": "r1", "ruleVersion": 2, "owner": "desk-1", "symbol": "IBM", "severity": "WARNING", "condition": "PRICE_ABOVE",
        "detail": "IBM at 181.30 is at or above 181.25", "previousE4": 1_812_000, "causeId": "lean-7",
        "causeTopic": "market-data", "causePartition": 3, "causeOffset": 17,
    }  # fmt: skip
    assert format_alert(alert) == (
        "desk-1  warning  IBM at 181.30 is at or above 181.25 (before: 181.20); rule r1 v2, cause lean-7 at market-data 3:17"
    )
    assert "(before: 0.48%)" in format_alert(alert | {"condition": "MOVE_ABOVE", "previousE4": 4_800})
    assert "before" not in format_alert(alert | {"previousE4": None})
    assert format_alert(alert | {"detail": None}) == ""
