"""The small pure modules of the trading domain."""

from __future__ import annotations

from fractions import Fraction
from random import Random

import pytest

from schemas.messages import order_events
from schemas.messages.enums import (
    EXEC_TYPE_NAMES,
    EXEC_TYPE_UNKNOWN,
    ORDER_EVENT_TYPE_NAMES,
    ORDER_EVENT_TYPE_STATUS,
    ORDER_STATUS_NAMES,
    REASON_CODE_NAMES,
)
from schemas.messages.orders import OrderCommand
from udfs.domain import ids
from udfs.domain.book import Book, InvariantViolation, Order
from udfs.domain.frame_orders import order_of
from udfs.domain.frames import (
    DO_NOT_REDUCE,
    FRAME_VERSION,
    HEAD_BYTES,
    IMBALANCE_ONLY,
    PAYS_FEES,
    decode_frame,
    encode_frame,
)
from udfs.domain.lifecycle import (
    FIX_EXEC_TYPE,
    FIX_ORD_STATUS,
    TRANSITIONS,
    exec_type_of,
    is_final,
    is_legal,
    transition,
)
from udfs.domain.money import money_text, round_down, round_up
from udfs.domain.reasons import NOT_REACHABLE, REASONS
from udfs.domain.recent import RecentEnds
from udfs.domain.rules import COLLAR_BANDS, CollarBand, collar_basis_points, collar_price, price_increment
from udfs.domain.sessions import SessionTable, SessionTimes
from udfs.domain.state_codec import StateError, StateReader, StateWriter
from udfs.domain.status_events import encode_status, encode_terms


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0.0000"),
        (1, "0.0001"),
        (9_999, "0.9999"),
        (10_000, "1.0000"),
        (-1, "-0.0001"),
        (-123_456_789, "-12345.6789"),
    ],
)
def test_money_text_is_exact(amount: int, text: str) -> None:
    assert money_text(amount) == text


def test_rounding_goes_the_way_its_name_says() -> None:
    for amount in range(-50, 50):
        for step in (1, 3, 10):
            assert round_up(amount, step) % step == 0 <= round_up(amount, step) - amount < step
            assert round_down(amount, step) % step == 0 <= amount - round_down(amount, step) < step


@pytest.mark.parametrize(
    ("is_buy", "reference", "tick", "collar"),
    [
        (True, 25_0000, 100, 27_5000),
        (True, 25_0100, 100, 26_2700),
        (True, 50_0000, 100, 52_5000),
        (True, 50_0100, 100, 51_5200),
        (False, 25_0000, 100, 22_5000),
        (False, 25_0100, 100, 23_7500),
        (False, 50_0100, 100, 48_5000),
        (True, 9_000, 100, 9_900),
        (True, 9_999, 100, 1_1000),
        (False, 1_0000, 100, 9_000),
        (False, 1, 100, 1),
        (True, 1, 100, 2),
    ],
)
def test_collar_price_at_the_edges_of_the_bands(is_buy: bool, reference: int, tick: int, collar: int) -> None:
    assert collar_price(is_buy, reference, tick, 0) == collar


def test_collar_price_is_the_first_tick_at_or_beyond_the_exact_one() -> None:
    rnd = Random(3)
    for _ in range(2_000):
        reference, tick = rnd.randint(1, 90_0000), rnd.choice((1, 50, 100))
        width = Fraction(collar_basis_points(reference, 0), 10_000)
        buy = collar_price(True, reference, tick, 0)
        assert 0 <= buy - reference * (1 + width) < 1 + price_increment(buy, tick)
        sell = collar_price(False, reference, tick, 0)
        assert sell == 1 or 0 <= reference * (1 - width) - sell < 1 + price_increment(sell, tick)


def test_collar_band_of_a_later_time_replaces_the_table() -> None:
    COLLAR_BANDS.append(CollarBand(1_000, 10_000_0000, 200, "a later rule"))
    try:
        assert [collar_basis_points(10_0000, time) for time in (999, 1_000)] == [1_000, 200]
    finally:
        COLLAR_BANDS.pop()


def test_lifecycle_table_matches_the_enum_and_fix() -> None:
    known = [code for code, name in enumerate(ORDER_STATUS_NAMES) if name != "UNKNOWN"]
    assert sorted(TRANSITIONS) == sorted(FIX_ORD_STATUS) == known
    for before in known:
        for after in known:
            assert is_legal(before, after) == (after in TRANSITIONS[before])
            if after in TRANSITIONS[before]:
                assert transition(before, after) == after
            else:
                with pytest.raises(InvariantViolation, match=ORDER_STATUS_NAMES[before]):
                    transition(before, after)
    finals = {ORDER_STATUS_NAMES[code] for code in known if is_final(code)}
    assert finals == {"EXECUTED", "REJECTED", "CANCELLED", "EXPIRED"}
    # A replaced order goes on as it was: whatever may follow a fill may follow new terms.
    codes = {name: code for code, name in enumerate(ORDER_STATUS_NAMES)}
    assert sorted(TRANSITIONS[codes["REPLACED"]]) == sorted(TRANSITIONS[codes["PARTIALLY_FILLED"]])
    assert FIX_ORD_STATUS[codes["REPLACED"]] == "5"


def test_exec_types_tell_what_happened_as_fix_does() -> None:
    status = {
        name: FIX_EXEC_TYPE[exec_type_of(0, code)] for code, name in enumerate(ORDER_STATUS_NAMES) if name != "UNKNOWN"
    }
    assert status == {
        "PENDING": "A",
        "VALIDATED": "A",
        "RISK_APPROVED": "A",
        "ROUTED": "0",
        "PARTIALLY_FILLED": "F",
        "EXECUTED": "F",
        "REPLACED": "5",
        "CANCELLED": "4",
        "EXPIRED": "C",
        "REJECTED": "8",
    }
    routed = ORDER_STATUS_NAMES.index("ROUTED")
    told = [exec_type_of(kind, routed) for kind in range(len(ORDER_EVENT_TYPE_NAMES))]
    assert [FIX_EXEC_TYPE.get(exec_type, "") for exec_type in told] == ["0", "", "", "", "L", "D"]
    assert set(FIX_EXEC_TYPE) == set(range(len(EXEC_TYPE_NAMES))) - {EXEC_TYPE_UNKNOWN}


def test_reasons_are_those_of_the_enum_in_its_order() -> None:
    assert [reason.name for reason in REASONS] == list(REASON_CODE_NAMES)
    assert [reason.code for reason in REASONS] == list(range(len(REASON_CODE_NAMES)))
    for reason in REASONS:
        stage = reason.name.split("_")[0]
        assert reason.meaning.endswith(".")
        assert (reason.fix_tag, stage) in {
            (0, "NONE"), (0, "UNKNOWN"), (0, "MATCH"), (0, "EXPIRY"), (0, "CANCEL"), (0, "CORPORATE"),
            (0, "REPLACE"), (0, "STOP"), (102, "CANCEL"), (102, "REPLACE"), (102, "VALIDATION"),
            (103, "VALIDATION"), (103, "RISK"),
        }  # fmt: skip
    assert set(NOT_REACHABLE) <= set(REASON_CODE_NAMES)


def test_status_event_bytes_are_those_of_the_generated_codec() -> None:
    rnd = Random(8)
    for _ in range(500):
        text = rnd.choice((None, "reserved=1.0000", "é" * 3))
        price = rnd.choice((None, 0, 1, 2**62))
        terms = ("o" * rnd.randint(0, 64), "a", "IBM", rnd.randrange(5), rnd.randrange(5), rnd.randrange(7))
        quantity = rnd.randint(0, 10**6)
        rest = (
            rnd.randrange(len(ORDER_STATUS_NAMES)),
            rnd.randrange(len(REASON_CODE_NAMES)),
            text,
            rnd.randint(0, 10**6),
            rnd.randint(0, 10**6),
            rnd.randint(0, 10**6),
            rnd.choice((None, 5)),
            rnd.choice((None, "T-1-2-3")),
            rnd.choice((None, "XNYS")),
            rnd.randint(0, 300),
            "orders-0-1",
            rnd.randint(0, 2**62),
        )
        fast = encode_status(7, "orders-0-1-2", encode_terms(*terms, quantity, price), *rest)
        assert fast == order_events.encode_fields(
            7, "orders-0-1-2", ORDER_EVENT_TYPE_STATUS, *terms, quantity, price, None, *rest, exec_type_of(0, rest[0])
        )


def test_frame_goes_there_and_back() -> None:
    command = OrderCommand(0, "o-1", "ACC", "BRK.A", 1, 1, 2, 999_999, 10**10, None, 0, None, 2**62)
    data = encode_frame(command, 32_767, 2**31 - 1, 2**48 - 1, 10**10, 10**6, 2**62, 10**17)
    frame = decode_frame(data)
    assert len(data) == HEAD_BYTES + 3 + 3 + 5
    assert (frame.command, frame.order_id, frame.account_id, frame.symbol) == (0, "o-1", "ACC", "BRK.A")
    assert (frame.side, frame.order_type, frame.time_in_force) == (1, 1, 2)
    assert (frame.quantity, frame.limit_price, frame.timestamp) == (999_999, 10**10, 2**62)
    assert (frame.account_shard, frame.partition, frame.offset) == (32_767, 2**31 - 1, 2**48 - 1)
    assert (frame.worst_price, frame.commission_e4, frame.close_ns, frame.reserved_e4) == (10**10, 10**6, 2**62, 10**17)


@pytest.mark.parametrize(
    ("imbalance_only", "do_not_reduce", "instructions"),
    [
        (None, None, 0),
        (False, False, 0),
        (True, None, IMBALANCE_ONLY),
        (False, True, DO_NOT_REDUCE),
        (True, True, IMBALANCE_ONLY + DO_NOT_REDUCE),
    ],
)
def test_frame_carries_the_instructions_to_the_order(
    imbalance_only: bool | None, do_not_reduce: bool | None, instructions: int
) -> None:
    command = OrderCommand(0, "o", "A", "IBM", 0, 1, 4, 1, 100, None, 0, None, 1, None, imbalance_only, do_not_reduce)
    frame = decode_frame(encode_frame(command, 0, 0, 0, 100, 0, 1, 0, "G"))
    assert (frame.instructions, frame.stp_group) == (instructions, "G")
    order = order_of(frame, "k", "orders-0-0")
    assert (order.imbalance_only, order.do_not_reduce) == (bool(imbalance_only), bool(do_not_reduce))


def test_frame_tells_the_order_that_it_pays_fees() -> None:
    command = OrderCommand(0, "o", "A", "IBM", 1, 1, 4, 1, 100, None, 0, None, 1, None, True, None)
    for pays in (False, True):
        frame = decode_frame(encode_frame(command, 0, 0, 0, 100, 0, 1, 0, "G", pays))
        assert frame.instructions == IMBALANCE_ONLY + (PAYS_FEES if pays else 0)
        order = order_of(frame, "k", "orders-0-0")
        assert (order.pays_fees, order.imbalance_only, order.do_not_reduce) == (pays, True, False)


FRAME_2 = (
    "02000101020303050700030000000c000000000000003f420f000000000000e40b540200000000e40b54020000002300000000000000"
    "00000000000000400010a5d4e80000000000000000000040050000000000000002016f2d3141434342524b2e4147"
)
"""Written by the release whose frames were of version 2."""


def test_frame_of_version_2_reads_as_it_was_written() -> None:
    frame = decode_frame(bytes.fromhex(FRAME_2))
    assert FRAME_VERSION == 3
    assert (frame.order_id, frame.account_id, frame.symbol, frame.stp_group) == ("o-1", "ACC", "BRK.A", "G")
    assert (frame.stop_price, frame.stp, frame.instructions) == (5, 2, 0)
    assert (frame.account_shard, frame.partition, frame.offset, frame.close_ns) == (7, 3, 12, 2**62)


def test_ids_are_as_documented() -> None:
    origin = ids.order_origin(3, 1234)
    assert origin == "orders-3-1234"
    assert [ids.order_event_id(origin, n) for n in (5, 300)] == ["orders-3-1234-5", "orders-3-1234-300"]
    assert [ids.trade_id(origin, n) for n in (5, 300)] == ["T-3-1234-5", "T-3-1234-300"]
    assert ids.trade_event_id("T-3-1234-5", False) == "T-3-1234-5-S"
    assert ids.decision_id(origin, 2) == "orders-3-1234-D2"
    assert ids.refused_command_id(origin) == "orders-3-1234-R"
    assert ids.risk_event_id(origin) == "orders-3-1234-K"


def test_state_codec_goes_there_and_back_and_refuses_what_does_not_fit() -> None:
    writer = StateWriter()
    for value in (0, -1, 2**63 - 1, -(2**63)):
        writer.put(value)
    writer.put_flag(True)
    writer.put_text("žluť\ud800")
    writer.put_bytes(b"\x00\xff")
    data = writer.finish(1, 9)
    reader = StateReader(data, 9, 1)
    assert [reader.take() for _ in range(4)] == [0, -1, 2**63 - 1, -(2**63)]
    with pytest.raises(StateError, match="more values"):
        reader.expect_end()
    assert reader.take_flag() is True
    assert reader.take_text() == "žluť\ud800"
    assert reader.take_bytes() == b"\x00\xff"
    reader.expect_end()
    with pytest.raises(StateError, match="fewer integers"):
        reader.take()
    with pytest.raises(StateError, match="fewer texts"):
        reader.take_bytes()
    for at in range(len(data)):
        with pytest.raises(StateError):
            StateReader(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], 9, 1)
    with pytest.raises(OverflowError, match="64 bits"):
        writer.put(2**63)


def test_recent_ends_forgets_the_oldest() -> None:
    recent = RecentEnds(3)
    for number in range(5):
        recent.remember(f"k{number}", number)
    assert recent.in_order() == ["k2", "k3", "k4"]
    assert [recent.status_of(f"k{n}", -1) for n in range(5)] == [-1, -1, 2, 3, 4]
    assert len(recent.statuses) == 3


def test_sessions_are_found_by_time_and_replaced_by_date() -> None:
    table = SessionTable()
    table.put(SessionTimes("b", 200, 300))
    table.put(SessionTimes("a", 100, 150))
    found = [table.at(time) for time in (99, 100, 149, 150, 199, 200, 299, 300)]
    assert [None if s is None else s.date for s in found] == [None, "a", "a", None, None, "b", "b", None]
    table.put(SessionTimes("b", 200, 250))
    assert table.at(299) is None
    assert [table.next_open_after(time) for time in (0, 100, 200)] == [100, 200, -1]


def make_order(number: int, is_buy: bool, price: int, quantity: int) -> Order:
    """A resting order."""
    side = 0 if is_buy else 1
    return Order(
        f"k{number}",
        f"orders-0-{number}",
        f"o{number}",
        "A",
        "IBM",
        side,
        is_buy,
        1,
        0,
        quantity,
        price,
        price,
        0,
        0,
        10,
    )


def test_book_keeps_price_time_order_under_random_adds_and_removes() -> None:
    rnd = Random(11)
    book = Book()
    expected: list[Order] = []
    for number in range(4_000):
        if expected and rnd.random() < 0.48:
            order = expected.pop(rnd.randrange(len(expected)))
            (book.bids if order.is_buy else book.asks).remove(order, order.quantity)
        else:
            is_buy = rnd.random() < 0.5
            order = make_order(
                number, is_buy, rnd.randint(1, 300) if is_buy else rnd.randint(301, 600), rnd.randint(1, 9)
            )
            order.rank = number + 1
            (book.bids if is_buy else book.asks).add(order, order.worst_price, order.quantity)
            expected.append(order)
        if number % 50 == 0:
            book.check()
            bids = sorted((o for o in expected if o.is_buy), key=lambda o: -o.worst_price)
            asks = sorted((o for o in expected if not o.is_buy), key=lambda o: o.worst_price)
            assert book.bids.orders() == bids
            assert book.asks.orders() == asks
            assert book.best_bid() == (bids[0].worst_price if bids else 0)
            assert book.best_ask() == (asks[0].worst_price if asks else 0)
    assert len(book.bids.levels) < 300 + 1


def test_book_does_not_grow_when_one_level_comes_and_goes() -> None:
    book = Book()
    book.bids.add(make_order(0, True, 500, 1), 500, 1)
    for number in range(10_000):
        order = make_order(number, True, 1 + number % 400, 1)
        book.bids.add(order, order.worst_price, 1)
        book.bids.remove(order, 1)
    assert len(book.bids.heap) == len(book.bids.levels) < 200
    book.check()


def test_book_crossed_or_badly_summed_is_noticed() -> None:
    book = Book()
    book.bids.add(make_order(1, True, 100, 5), 100, 5)
    book.check()
    book.asks.add(make_order(2, False, 100, 5), 100, 5)
    with pytest.raises(InvariantViolation, match="crossed"):
        book.check()
    with pytest.raises(InvariantViolation, match="not in the book"):
        book.bids.remove(make_order(3, True, 100, 5), 5)
