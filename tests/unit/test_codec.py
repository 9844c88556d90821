"""What the codec refuses, in which words and at which byte."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from examples import SCHEMA_ID, module_of

from schemas import wire
from schemas.errors import DecodeError, EncodeError
from schemas.messages import orders
from schemas.messages.enums import ORDER_TYPE_LIMIT, SIDE_NAMES, SIDE_SELL, TIME_IN_FORCE_DAY


def command(**changes: Any) -> orders.OrderCommand:
    values: dict[str, Any] = {
        "command": 0,
        "order_id": "o-1",
        "account_id": "A",
        "symbol": "S",
        "side": SIDE_SELL,
        "order_type": ORDER_TYPE_LIMIT,
        "time_in_force": TIME_IN_FORCE_DAY,
        "quantity": 100,
        "price": 5,
        "stop_price": None,
        "stp": 0,
        "client_id": None,
        "timestamp": 9,
        "locate_id": None,
        "imbalance_only": None,
        "do_not_reduce": None,
    }
    return orders.OrderCommand(**(values | changes))


# 5 command, 6 orderId (1 + 3), 10 accountId (1 + 1), 12 symbol, 14 side, 15 orderType, 16 timeInForce, 17 quantity (2),
# 19 price (1 + 1), 21 stopPrice, 22 stp, 23 clientId, 24 timestamp, 25 locateId, 26 imbalanceOnly,
# 27 doNotReduce; 28 bytes in all.
FRAME = orders.encode(command(), SCHEMA_ID)


def test_frame_is_laid_out_as_documented_above() -> None:
    assert FRAME.hex() == "0000000007" + "00" + "066f2d31" + "0241" + "0253" + "02" + "02" + "00" + "c801" + (
        "020a" + "00" + "00" + "00" + "12" + "00" + "0000"
    )


def patched(place: int, replacement: bytes, removed: int = 1) -> bytes:
    return FRAME[:place] + replacement + FRAME[place + removed :]


OVERLONG = b"\x80" * 10 + b"\x00"


@pytest.mark.parametrize(
    ("data", "reason", "message"),
    [
        (b"", "UNDECODABLE", "frame of 0 bytes is shorter than its header of 5 at byte 0"),
        (FRAME[:4], "UNDECODABLE", "frame of 4 bytes is shorter than its header of 5 at byte 4"),
        (patched(0, b"\x01"), "BAD_MAGIC", "first byte is 1, expected 0 at byte 0"),
        (patched(4, b"\x08"), "UNKNOWN_SCHEMA", "schema id is 8, expected 7 at byte 1"),
        (FRAME[:5], "UNDECODABLE", "OrderCommand.command: frame ends within the value at byte 5"),
        (FRAME[:8], "UNDECODABLE", "OrderCommand.orderId: length 3 is more than the 1 bytes left at byte 6"),
        (FRAME + b"\x00\x00", "UNDECODABLE", "2 bytes follow the record at byte 28"),
        (FRAME + bytes(70_000), "TOO_LARGE", "frame of 70028 bytes is over the limit of 65536 at byte 0"),
        (patched(5, b"\x08"), "UNDECODABLE", "OrderCommand.command: index 4 is not one of the 4 known at byte 5"),
        (patched(5, b"\x01"), "UNDECODABLE", "OrderCommand.command: index -1 is not one of the 4 known at byte 5"),
        (patched(6, b"\x01"), "UNDECODABLE", "OrderCommand.orderId: length -1 is negative at byte 6"),
        (
            patched(6, b"\x82\x02"),
            "TOO_LARGE",
            "OrderCommand.orderId: length 129 is over the limit of 128 bytes at byte 6",
        ),
        (patched(8, b"\xff"), "UNDECODABLE", "OrderCommand.orderId: not UTF-8 (invalid start byte) at byte 8"),
        (patched(11, b"\xc3"), "UNDECODABLE", "OrderCommand.accountId: not UTF-8 (unexpected end of data) at byte 11"),
        (patched(14, b"\x0a"), "UNDECODABLE", "OrderCommand.side: index 5 is not one of the 5 known at byte 14"),
        (
            patched(17, OVERLONG, 2),
            "UNDECODABLE",
            "OrderCommand.quantity: varint is longer than 10 bytes or 64 bits at byte 17",
        ),
        (
            patched(17, b"\xff" * 9 + b"\x02", 2),
            "UNDECODABLE",
            "OrderCommand.quantity: varint is longer than 10 bytes or 64 bits at byte 17",
        ),
        (patched(19, b"\x04"), "UNDECODABLE", "OrderCommand.price: index 2 is not one of the 2 known at byte 19"),
        (FRAME[:24] + b"\x80", "UNDECODABLE", "OrderCommand.timestamp: frame ends within the value at byte 24"),
    ],
)
def test_bad_frame_is_refused_with_reason_field_and_byte(data: bytes, reason: str, message: str) -> None:
    with pytest.raises(DecodeError) as error:
        orders.decode(data, SCHEMA_ID)
    assert str(error.value) == message
    assert error.value.reason == reason
    assert error.value.field == message.rpartition(": ")[0].partition(":")[0]
    assert message.endswith(f"at byte {error.value.position}")


def test_varints_longer_than_needed_are_read_as_the_format_allows() -> None:
    assert orders.decode(patched(17, b"\xc8\x81\x80\x00", 2), SCHEMA_ID).quantity == 100
    assert orders.decode(patched(17, b"\xff" * 9 + b"\x01", 2), SCHEMA_ID).quantity == -(2**63)
    assert orders.decode(patched(17, b"\xfe" + b"\xff" * 8 + b"\x01", 2), SCHEMA_ID).quantity == 2**63 - 1


def test_any_schema_id_is_taken_when_none_is_asked_for() -> None:
    assert orders.decode(patched(1, b"\xff\xff\xff\xff", 4)) == command()
    assert wire.schema_id_of(patched(1, b"\xff\xff\xff\xff", 4)) == 2**32 - 1


def test_int_of_more_than_32_bits_is_refused() -> None:
    module = module_of("order-outcomes")
    body = bytes([0, 0, 0, 0, 7]) + b"\x80\x80\x80\x80\x10" + b"\x00" + b"\x00"
    with pytest.raises(DecodeError, match=r"OrderOutcomes\.shard: 2147483648 does not fit an int of 32 bits at byte 5"):
        module.decode(body)


def test_boolean_is_zero_or_one() -> None:
    module = module_of("market-data")
    value = dict.fromkeys(("bidSize", "askSize", "volume", "sequence", "timestamp"), 0)
    texts = {"eventId": "", "symbol": "", "exchange": "", "source": "", "kind": "QUOTE", "suspicious": True}
    frame = module.encode(module.from_dict(value | texts), SCHEMA_ID)
    place = len(frame) - 4 - 8  # eight nulls follow the last required fields
    assert frame[place] == 1
    with pytest.raises(DecodeError, match=f"suspicious: boolean is 2, expected 0 or 1 at byte {place}"):
        module.decode(frame[:place] + b"\x02" + frame[place + 1 :])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quantity": 2**63}, "OrderCommand.quantity: 9223372036854775808 does not fit a long of 64 bits"),
        ({"quantity": -(2**63) - 1}, "OrderCommand.quantity: -9223372036854775809 does not fit a long of 64 bits"),
        ({"price": 2**63}, "OrderCommand.price: 9223372036854775808 does not fit a long of 64 bits"),
        ({"side": 5}, "OrderCommand.side: code 5 is not one of the 5 known"),
        ({"side": -1}, "OrderCommand.side: code -1 is not one of the 5 known"),
        ({"order_id": "x" * 129}, "OrderCommand.orderId: length 129 is over the limit of 128 bytes"),
        ({"order_id": "é" * 65}, "OrderCommand.orderId: length 130 is over the limit of 128 bytes"),
        ({"client_id": "\ud800"}, "OrderCommand.clientId: not encodable as UTF-8 (surrogates not allowed)"),
    ],
)
def test_value_that_the_schema_cannot_hold_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(EncodeError) as error:
        orders.encode(command(**changes), SCHEMA_ID)
    assert str(error.value) == message


@pytest.mark.parametrize("changes", [{"quantity": "100"}, {"order_id": 1}, {"price": 1.5}, {"side": None}])
def test_value_of_the_wrong_type_is_refused(changes: dict[str, Any], compiled: bool) -> None:
    # Compiled, the class refuses it when the message is made; interpreted, encode does, and knows the field.
    with pytest.raises(TypeError if compiled else EncodeError):
        orders.encode(command(**changes), SCHEMA_ID)


@pytest.mark.parametrize("schema_id", [-1, 2**31])
def test_schema_id_out_of_range_is_refused(schema_id: int) -> None:
    with pytest.raises(EncodeError, match="schema id"):
        orders.encode(command(), schema_id)


def test_frame_over_the_limit_of_its_record_is_refused() -> None:
    module = module_of("dead-letter")
    value = dict.fromkeys(("sourcePartition", "sourceOffset", "sourceTimestamp", "timestamp"), 0)
    texts = dict.fromkeys(("eventId", "job", "stage", "sourceTopic"), "x") | {"reason": "UNKNOWN", "detail": "x"}
    fits = module.from_dict(value | texts | {"payload": bytes(8 << 20)})
    assert len(module.encode(fits, SCHEMA_ID)) > 8 << 20
    fits.payload = bytes((8 << 20) + 1)
    with pytest.raises(EncodeError, match=r"DeadLetter\.payload: length 8388609 is over the limit of 8388608 bytes"):
        module.encode(fits, SCHEMA_ID)


def test_messages_compare_by_value_and_show_themselves() -> None:
    assert command() == command()
    assert command() != command(quantity=1)
    assert command() != "an order"
    assert "'quantity': 100" in repr(command())
    assert SIDE_NAMES[command().side] == "SELL"
    with pytest.raises(TypeError):
        hash(command())


@pytest.mark.parametrize("error", [DecodeError("TOO_LARGE", "big", 7, "R.f"), EncodeError("bad", "R.f")])
def test_errors_survive_pickling(error: DecodeError | EncodeError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.__dict__ == error.__dict__
