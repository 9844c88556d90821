"""ITCH 5.0: every message byte by byte from the specification, and what each one does."""

import gzip
from datetime import date
from pathlib import Path

import pytest

from infra.feeds import itch_writer as itch
from infra.feeds.itch_market import ItchMarket
from infra.feeds.itch_router import ItchError, ItchRouter, read_itch, route_all
from schemas.messages.raw_feed import RawFeedRecord
from tests.unit.feed_bench import BASE, OPEN, FeedBench
from udfs.domain import feed_adapter as events
from udfs.domain.feed_adapter import FeedEvent
from udfs.domain.feed_itch import LENGTHS, ItchMessages
from udfs.domain.normalise import MarketLimits, Refusal

# 34,200,003,584,001 ns since midnight, a little after 09:30.
TIME = "1f1acedb2001"
HEAD = f"0007 0000 {TIME}"
STOCK = "4141504c20202020"  # "AAPL    "

BYTES = [
    # type, all bytes as the specification lays them out, kind, fields of the event
    ("S", f"53 0000 0000 {TIME} 51", events.EVENT_NONE, {}),
    (
        "R",
        f"52 {HEAD} {STOCK} 51 4e 00000028 4e 43 5a20 50 4e 4e 31 4e 00000000 4e",
        events.EVENT_DIRECTORY,
        {"round_lot": 40},
    ),
    ("H", f"48 {HEAD} {STOCK} 50 20 4c554450", events.EVENT_STATE, {"halted": True, "reason": "paused LUDP"}),
    ("H", f"48 {HEAD} {STOCK} 54 20 20202020", events.EVENT_STATE, {"halted": False, "reason": "trading"}),
    ("Y", f"59 {HEAD} {STOCK} 30", events.EVENT_NONE, {}),
    ("L", f"4c {HEAD} 4e495445 {STOCK} 59 4e 41", events.EVENT_NONE, {}),
    (
        "V",
        f"56 0000 0000 {TIME} 0000005d21dba000 000000574fbde600 00000045d964b800",
        events.EVENT_NONE,
        {},
    ),
    ("W", f"57 0000 0000 {TIME} 31", events.EVENT_NONE, {}),
    ("K", f"4b {HEAD} {STOCK} 00008ca0 41 000f4240", events.EVENT_NONE, {}),
    ("J", f"4a {HEAD} {STOCK} 000f4240 00100000 000f0000 00000000", events.EVENT_NONE, {}),
    ("h", f"68 {HEAD} {STOCK} 51 48", events.EVENT_VENUE_STATE, {"halted": True}),
    ("h", f"68 {HEAD} {STOCK} 42 48", events.EVENT_NONE, {}),
    (
        "A",
        f"41 {HEAD} 00000001 00000002 42 0000012c {STOCK} 001c9a1f",
        events.EVENT_ADD,
        {"order_id": 2**32 + 2, "is_bid": True, "size": 300, "price": 1_874_463, "exchange": "XNAS", "locate": 7},
    ),
    (
        "F",
        f"46 {HEAD} ffffffff ffffffff 53 00000001 {STOCK} 00000001 4e495445",
        events.EVENT_ADD,
        {"order_id": 2**64 - 1, "is_bid": False, "size": 1, "price": 1},
    ),
    (
        "E",
        f"45 {HEAD} 0000000000000009 00000064 00000000000f4240",
        events.EVENT_EXECUTE,
        {"order_id": 9, "size": 100, "trade_id": "1000000", "printable": True},
    ),
    (
        "C",
        f"43 {HEAD} 0000000000000009 00000064 00000000000f4240 4e 001c9a1f",
        events.EVENT_EXECUTE_AT,
        {"order_id": 9, "size": 100, "trade_id": "1000000", "printable": False, "price": 1_874_463},
    ),
    ("X", f"58 {HEAD} 0000000000000009 00000032", events.EVENT_REDUCE, {"order_id": 9, "size": 50}),
    ("D", f"44 {HEAD} 0000000000000009", events.EVENT_DELETE, {"order_id": 9}),
    (
        "U",
        f"55 {HEAD} 0000000000000009 000000000000000a 000000c8 001c9a20",
        events.EVENT_REPLACE,
        {"order_id": 9, "new_order_id": 10, "size": 200, "price": 1_874_464},
    ),
    (
        "P",
        f"50 {HEAD} 0000000000000000 42 00000064 {STOCK} 001c9a1f 00000000000f4241",
        events.EVENT_TRADE,
        {"size": 100, "price": 1_874_463, "trade_id": "1000001", "condition": None, "sets_price": True},
    ),
    (
        "Q",
        f"51 {HEAD} 0000000000003039 {STOCK} 001c9a1f 00000000000f4242 4f",
        events.EVENT_TRADE,
        {"size": 12_345, "price": 1_874_463, "trade_id": "1000002", "condition": "O"},
    ),
    ("Q", f"51 {HEAD} 0000000000000000 {STOCK} 00000000 00000000000f4242 43", events.EVENT_NONE, {}),
    ("B", f"42 {HEAD} 00000000000f4241", events.EVENT_CANCEL, {"trade_id": "1000001", "exchange": "XNAS"}),
    (
        "I",
        f"49 {HEAD} 0000000000001388 000000000000012c 42 {STOCK} 001c9a1f 001c9a1f 001c9a1f 4f 4c",
        events.EVENT_NONE,
        {},
    ),
    ("N", f"4e {HEAD} {STOCK} 41", events.EVENT_NONE, {}),
    (
        "O",
        f"4f {HEAD} {STOCK} 59 000f4240 000f4240 000f4240 00001f1acedb2001 000f4240 000f4240",
        events.EVENT_NONE,
        {},
    ),
]


def read(payload: bytes, symbol: str = "AAPL", source: str = "itch") -> tuple[Refusal | None, FeedEvent]:
    event = FeedEvent()
    raw = RawFeedRecord(source, 3, "itch/AAPL", 1, symbol, BASE, payload)
    return ItchMessages().read(raw, symbol, MarketLimits(), event), event


@pytest.mark.parametrize(("kind", "text", "expected", "fields"), BYTES)
def test_message_of_the_specification_is_read(kind: str, text: str, expected: int, fields: dict[str, object]) -> None:
    payload = bytes.fromhex(text)
    assert len(payload) == LENGTHS[ord(kind)]
    refusal, event = read(payload, "*" if kind in "SVW" else "AAPL")
    assert refusal is None
    assert (event.kind, event.time_ns) == (expected, BASE + 0x1F1ACEDB2001)
    assert {name: getattr(event, name) for name in fields} == fields


def test_every_message_of_the_specification_is_tried() -> None:
    assert {ord(kind) for kind, *_ in BYTES} == set(LENGTHS)


def test_writer_writes_the_bytes_of_the_specification() -> None:
    time_ns = 0x1F1ACEDB2001
    written = [
        itch.system_event(time_ns, b"Q"),
        itch.stock_directory(7, time_ns, "AAPL", 40),
        itch.trading_action(7, time_ns, "AAPL", b"P", "LUDP"),
        itch.trading_action(7, time_ns, "AAPL", b"T"),
        itch.reg_sho(7, time_ns, "AAPL", b"0"),
        itch.participant_position(7, time_ns, "AAPL", "NITE"),
        itch.breaker_levels(time_ns, (0x5D21DBA000, 0x574FBDE600, 0x45D964B800)),
        itch.breaker_status(time_ns, b"1"),
        itch.ipo_quoting(7, time_ns, "AAPL", 36_000, 1_000_000),
        itch.auction_collar(7, time_ns, "AAPL", 1_000_000, 0x100000, 0xF0000),
        itch.operational_halt(7, time_ns, "AAPL", b"Q", b"H"),
        itch.operational_halt(7, time_ns, "AAPL", b"B", b"H"),
        itch.order_added(7, time_ns, 2**32 + 2, b"B", 300, "AAPL", 1_874_463),
        itch.order_added(7, time_ns, 2**64 - 1, b"S", 1, "AAPL", 1, "NITE"),
        itch.order_executed(7, time_ns, 9, 100, 1_000_000),
        itch.order_executed_at(7, time_ns, 9, 100, 1_000_000, 1_874_463, printable=False),
        itch.order_reduced(7, time_ns, 9, 50),
        itch.order_deleted(7, time_ns, 9),
        itch.order_replaced(7, time_ns, 9, 10, 200, 1_874_464),
        itch.trade(7, time_ns, 100, "AAPL", 1_874_463, 1_000_001),
        itch.cross(7, time_ns, 12_345, "AAPL", 1_874_463, 1_000_002, b"O"),
        itch.cross(7, time_ns, 0, "AAPL", 0, 1_000_002, b"C"),
        itch.broken_trade(7, time_ns, 1_000_001),
        itch.imbalance(7, time_ns, "AAPL", 5_000, 300, 1_874_463),
        itch.retail_interest(7, time_ns, "AAPL", b"A"),
        itch.direct_listing(7, time_ns, "AAPL", 1_000_000),
    ]
    assert written == [bytes.fromhex(text) for _, text, *_ in BYTES]


ADD = itch.order_added(7, OPEN, 1, b"B", 100, "AAPL", 1_000_000)
REFUSED = [
    (b"", "UNSUPPORTED", "message type b'' is not one"),
    (b"Z" + ADD[1:], "UNSUPPORTED", "message type b'Z' is not one of ITCH 5.0"),
    (ADD[:-1], "UNDECODABLE", "message b'A' of 35 bytes, its length in ITCH 5.0 is 36"),
    (ADD + b"\0", "UNDECODABLE", "message b'A' of 37 bytes"),
    (ADD.replace(b"B", b"X"), "INVALID_VALUE", "side b'X' is neither B nor S"),
    (itch.order_added(7, OPEN, 1, b"B", 0, "AAPL", 1_000_000), "INVALID_VALUE", "shares=0 must be 1 to"),
    (itch.order_added(7, OPEN, 1, b"B", 200_000_000, "AAPL", 1), "INVALID_VALUE", "shares=200000000 must be 1 to"),
    (itch.order_added(7, OPEN, 1, b"B", 100, "AAPL", 0), "INVALID_VALUE", "price=0 be 1 to"),
    (itch.order_added(7, OPEN, 1, b"B", 100, "MSFT", 1), "INVALID_VALUE", "is about b'MSFT    ' but came under"),
    (itch.order_added(7, 86_400 * 10**9, 1, b"B", 1, "AAPL", 1), "INVALID_VALUE", "is not within a day"),
    (itch.trading_action(7, OPEN, "AAPL", b"?"), "INVALID_VALUE", "trading state b'?' is not known"),
    (itch.operational_halt(7, OPEN, "AAPL", b"Q", b"?"), "INVALID_VALUE", "action b'?' is neither H nor T"),
    (itch.order_executed_at(7, OPEN, 1, 1, 1, 1)[:31] + b"?" + bytes(4), "INVALID_VALUE", "printable b'?' is neither"),
    (itch.system_event(OPEN, b"O"), "INVALID_VALUE", "whole market came under symbol AAPL"),
    (itch.trade(7, OPEN, 0, "AAPL", 1, 1), "INVALID_VALUE", "shares=0"),
    (itch.cross(7, OPEN, 10**12, "AAPL", 1, 1, b"O"), "INVALID_VALUE", "shares=1000000000000"),
    (itch.order_deleted(7, OPEN, 5), "INVALID_VALUE", "order 5 is not in the book"),
    (itch.broken_trade(7, OPEN, 5), "LATE", "trade 5 of source itch is not known"),
    (itch.stock_directory(7, OPEN, "AAPL", 0), "INVALID_VALUE", "round lot 0 is not 1 to"),
]


@pytest.mark.parametrize(("message", "reason", "words"), REFUSED)
def test_refused_message_becomes_one_dead_letter(message: bytes, reason: str, words: str) -> None:
    bench = FeedBench()
    bench.itch(message)
    ((found, detail),) = bench.letters()
    assert found == reason
    assert words in detail
    assert bench.events() == []
    assert bench.counted("refused") == bench.counted("records") == 1


def test_bx_and_psx_are_other_exchanges() -> None:
    for source, exchange, market in (("itch-bx", "XBOS", b"B"), ("itch-psx", "XPHL", b"X")):
        assert read(ADD, source=source)[1].exchange == exchange
        assert read(itch.operational_halt(7, OPEN, "AAPL", market, b"H"), source=source)[1].kind == (
            events.EVENT_VENUE_STATE
        )


def test_stock_in_the_exchanges_spelling_is_ours() -> None:
    refusal, _ = read(itch.order_added(7, OPEN, 1, b"B", 100, "ABC+", 1), symbol="ABC.WS")
    assert refusal is None


def test_router_gives_each_symbol_its_own_sequence() -> None:
    messages = [
        itch.system_event(OPEN, b"O"),
        itch.stock_directory(3, OPEN, "BRK.B"),
        itch.stock_directory(9, OPEN, "ABC="),
        itch.order_added(3, OPEN + 5, 1, b"B", 100, "BRK.B", 4_900_000),
        itch.order_deleted(3, OPEN + 6, 1),
        itch.system_event(OPEN, b"Q"),
    ]
    ticks = list(route_all(messages, date(2026, 1, 5)))
    assert [(tick.record.symbol, tick.record.sequence) for tick in ticks] == [
        ("*", 1),
        ("BRK.B", 1),
        ("ABC.U", 1),
        ("BRK.B", 2),
        ("BRK.B", 3),
        ("*", 2),
    ]
    assert ticks[3].time_ns == BASE + OPEN + 5
    assert (ticks[3].record.feed_id, ticks[3].record.base_time_ns) == ("itch/20260105/BRK.B", BASE)
    assert [tick.record.payload for tick in ticks] == messages


def test_router_tells_a_loss_to_every_symbol_and_a_restart_as_a_new_feed() -> None:
    router = ItchRouter(date(2026, 1, 5))
    for locate, name in ((1, "AAPL"), (2, "MSFT")):
        router.route(itch.stock_directory(locate, OPEN, name))
    router.lost()
    assert router.route(itch.order_deleted(1, OPEN, 1)).record.sequence == 3
    assert router.route(itch.order_deleted(2, OPEN, 1)).record.sequence == 3
    router.restart()
    record = router.route(itch.stock_directory(1, OPEN, "AAPL")).record
    assert (record.feed_id, record.sequence) == ("itch/20260105.2/AAPL", 1)
    with pytest.raises(ItchError, match="locate 77 came before its directory message"):
        router.route(itch.order_deleted(77, OPEN, 1))
    with pytest.raises(ItchError, match="5 bytes has no head"):
        router.route(b"D1234")


@pytest.mark.parametrize("packed", [False, True])
def test_recorded_day_is_read_message_by_message(tmp_path: Path, packed: bool) -> None:
    messages = [step.message for step in ItchMarket(["AAPL", "MSFT"]).steps(50)]
    path = tmp_path / "01052026.NASDAQ_ITCH50"
    data = itch.framed(messages)
    path.write_bytes(gzip.compress(data) if packed else data)
    assert list(read_itch(path)) == messages
    path.write_bytes(data[:-1])
    with pytest.raises(ItchError, match="ends within a message"):
        list(read_itch(path))
