"""Feeds of several sources: our own Avro, symbols in other spellings, gaps, silent sources, halts on their way to trading."""

import base64
from pathlib import Path
from random import Random

import pytest

from infra.feeds import itch_writer as itch
from infra.feeds.itch_router import route_all
from infra.feeds.items import tick_items
from infra.feeds.reference import reference_items
from infra.feeds.sessions import DEFAULT_DAY, trading_day
from jobs.config_sections import MarketDataConfig
from jobs.market_data import limits_of
from schemas.messages import market_data, market_status, risk_events
from schemas.messages.enums import (
    FEED_FORMAT_LEAN_QUOTE,
    MARKET_DATA_KIND_CANCEL,
    MARKET_DATA_KIND_CORRECTION,
    MARKET_DATA_KIND_GAP,
    MARKET_DATA_KIND_QUOTE,
    MARKET_DATA_KIND_STALE,
    MARKET_DATA_KIND_TRADE,
    MARKET_STATE_NAMES,
    RISK_EVENT_TYPE_NAMES,
)
from schemas.messages.market_data import MarketDataEvent
from tests.unit.feed_bench import BASE, OPEN, SCHEMA_IDS, FeedBench
from tests.unit.feed_system import SCHEMA_IDS as FEED_SCHEMA_IDS
from tests.unit.feed_system import FeedSystem
from udfs.domain.feed_table import new_adapters
from udfs.domain.market_shard import MarketShard
from udfs.domain.normalise import MarketLimits
from udfs.domain.symbology import canonical_symbol

SECOND = 1_000_000_000
GOLDEN = Path(__file__).resolve().parent.parent / "golden"


def event(kind: int, **changes: object) -> MarketDataEvent:
    """An event of another instance."""
    values: dict[str, object] = {
        "event_id": "theirs-1",
        "kind": kind,
        "symbol": "AAPL",
        "exchange": "XNYS",
        "bid_price": None,
        "bid_size": 0,
        "ask_price": None,
        "ask_size": 0,
        "last_price": None,
        "volume": 0,
        "sale_condition": None,
        "suspicious": False,
        "sequence": 9,
        "source": "itch",
        "timestamp": BASE + OPEN,
    }
    later = ("eligible", "trade_id", "original_event_id", "original_price", "original_volume", "original_timestamp")
    values |= dict.fromkeys((*later, "original_eligible", "missing"))
    return MarketDataEvent(**(values | changes))  # type: ignore[arg-type]


def frame(kind: int, **changes: object) -> bytes:
    return market_data.encode(event(kind, **changes), 99)


QUOTE = {"bid_price": 1_000_000, "bid_size": 300, "ask_price": 1_000_100, "ask_size": 100}


def test_events_of_another_instance_are_ours_again() -> None:
    bench = FeedBench()
    bench.avro(frame(MARKET_DATA_KIND_QUOTE, **QUOTE))
    bench.avro(frame(MARKET_DATA_KIND_TRADE, event_id="t1", last_price=1_000_050, volume=200, eligible=True))
    bench.avro(frame(MARKET_DATA_KIND_TRADE, event_id="t2", last_price=1_000_060, volume=200, eligible=False))
    bench.avro(frame(MARKET_DATA_KIND_CORRECTION, original_event_id="t1", last_price=1_000_040, volume=200))
    bench.avro(frame(MARKET_DATA_KIND_CANCEL, original_event_id="t1"))
    bench.avro(frame(MARKET_DATA_KIND_GAP, exchange="", missing=4))
    bench.avro(frame(MARKET_DATA_KIND_STALE, exchange=""))
    assert bench.kinds() == ["QUOTE", "TRADE", "TRADE", "CORRECTION", "CANCEL", "GAP"]
    events = bench.events()
    assert [e.event_id for e in events] == [f"other/1-{n}" for n in range(1, 6)] + ["other/1-6-gap"]
    assert (events[0].bid_price, events[0].ask_size, events[0].exchange) == (1_000_000, 100, "XNYS")
    assert (events[1].trade_id, events[1].eligible, events[2].eligible) == ("t1", True, False)
    assert (events[3].original_event_id, events[3].original_price) == ("other/1-2", 1_000_050)
    assert (events[4].original_event_id, events[4].original_price) == ("other/1-2", 1_000_040)
    assert (events[5].missing, bench.counted("missing"), bench.letters()) == (4, 4, [])


def test_event_of_the_first_release_is_read() -> None:
    bench = FeedBench()
    whole = frame(MARKET_DATA_KIND_TRADE, last_price=1_000_050, volume=200)
    bench.avro(whole[:-8])
    (trade,) = bench.events()
    assert (trade.last_price, trade.eligible) == (1_000_050, True)
    for cut in range(1, 8):
        bench.avro(whole[:-cut])
    assert len(bench.letters()) == 7


AVRO_REFUSED = [
    (b"", "UNDECODABLE", "event of another instance"),
    (b"\x01" + bytes(40), "BAD_MAGIC", "first byte is 1"),
    (frame(MARKET_DATA_KIND_QUOTE, symbol="MSFT", **QUOTE), "INVALID_VALUE", "about MSFT but came under symbol AAPL"),
    (frame(MARKET_DATA_KIND_QUOTE, exchange="XXXX", **QUOTE), "INVALID_VALUE", "exchange 'XXXX' is not known"),
    (frame(MARKET_DATA_KIND_QUOTE, timestamp=-1, **QUOTE), "INVALID_VALUE", "timestamp=-1 must be between"),
    (frame(MARKET_DATA_KIND_QUOTE, bid_price=-5, bid_size=1), "INVALID_VALUE", "is negative or above the limits"),
    (frame(MARKET_DATA_KIND_QUOTE, **QUOTE | {"bid_price": 1_000_100}), "INVALID_VALUE", "locked or crossed"),
    (frame(MARKET_DATA_KIND_TRADE, last_price=5), "INVALID_VALUE", "trade without price or size"),
    (frame(MARKET_DATA_KIND_TRADE, last_price=-5, volume=1), "INVALID_VALUE", "is negative or above the limits"),
    (frame(MARKET_DATA_KIND_CANCEL), "INVALID_VALUE", "without originalEventId"),
    (frame(MARKET_DATA_KIND_GAP), "INVALID_VALUE", "missing=0 must be positive"),
    (frame(0), "UNSUPPORTED", "kind 0 is not known"),
]


@pytest.mark.parametrize(("payload", "reason", "words"), AVRO_REFUSED)
def test_refused_event_becomes_one_dead_letter(payload: bytes, reason: str, words: str) -> None:
    bench = FeedBench()
    bench.avro(payload)
    ((found, detail),) = bench.letters()
    assert (found, words in detail) == (reason, True), detail


SPELLINGS = [
    ("BRK.B", ["BRK/B", "BRK B", "BRK.B", " BRK.B "]),
    ("BAC-K", ["BACpK", "BAC PRK", "BAC.PRK", "BAC/PRK", "BAC-K"]),
    ("ABC-", ["ABCp", "ABC PR", "ABC-"]),
    ("ABC.WS", ["ABC+", "ABC WS", "ABC/WS", "ABC.WS"]),
    ("ABC.U", ["ABC=", "ABC U", "ABC/U"]),
    ("ABC.RT", ["ABC^", "ABCr", "ABC RT"]),
    ("ABC.WI", ["ABC#", "ABCw", "ABC WI"]),
    ("AAPL", ["AAPL"]),
    ("ACME12", ["ACME12"]),
    ("AAPL  260116C00150000", ["AAPL  260116C00150000"]),
    ("Ünlü/B", ["Ünlü/B"]),
    ("abc", ["abc"]),
    (".B", [".B"]),
    ("BRK/BB", ["BRK/BB"]),
    ("ABC*", ["ABC*"]),
]


@pytest.mark.parametrize(("ours", "spellings"), SPELLINGS)
def test_spellings_of_a_symbol_are_one(ours: str, spellings: list[str]) -> None:
    assert {canonical_symbol(text) for text in spellings} == {ours}
    assert canonical_symbol(ours) == ours


def test_feeds_that_spell_a_symbol_differently_make_one_nbbo() -> None:
    bench = FeedBench()
    bench.json(symbol="BRK/B", type="quote", exchange="N", bid="490", bidSize=100, feed="v")
    bench.record(FEED_FORMAT_LEAN_QUOTE, b"34200000,0,0,4901000,100,P,1,0", "BRK.B", "l", "simulator")
    bench.json(symbol="BRK B", type="trade", exchange="NYSE", price="490.05", size=40, feed="w")
    assert {e.symbol for e in bench.events()} == {"BRK.B"}
    assert set(bench.shard.outbox.market_data.keys) == {b"BRK.B"}
    best = bench.nbbo()
    assert best is not None and (best.symbol, best.sequence) == ("BRK.B", 3)
    assert (best.bid_price, best.ask_price, best.last_price) == (4_900_000, 4_901_000, 4_900_500)
    assert bench.letters() == []


def test_silent_source_is_told_once_and_again_after_it_spoke() -> None:
    bench = FeedBench(MarketLimits(silent_after_ns=60 * SECOND))
    times = [("v", 0), ("w", 30), ("w", 61), ("w", 90), ("v", 100), ("w", 130), ("w", 161)]
    for feed, seconds in times:
        time = BASE + OPEN + seconds * SECOND
        if feed == "v":
            bench.json(type="quote", exchange="N", bid="100", bidSize=100, feed="v", time=time)
        else:
            line = b"%d,1000000,100,0,0,P,1,0" % (OPEN // 1_000_000 + seconds * 1_000)
            bench.record(FEED_FORMAT_LEAN_QUOTE, line, "AAPL", "w", "simulator")
    stale = [e for e in bench.events() if e.kind == MARKET_DATA_KIND_STALE]
    assert [(e.event_id, e.source, e.sequence, e.exchange) for e in stale] == [
        ("v-1-stale", "vendor", 1, ""),
        ("v-2-stale", "vendor", 2, ""),
    ]
    assert [e.timestamp for e in stale] == [BASE + OPEN + 61 * SECOND, BASE + OPEN + 161 * SECOND]
    assert bench.counted("stale") == 2


def quote_at(bench: FeedBench, symbol: str, seconds: float, partition: int = 3) -> None:
    """A quote of a symbol's only source, in a partition."""
    bench.json(
        symbol,
        symbol,
        type="quote",
        bid="100",
        bidSize=100,
        time=BASE + OPEN + int(seconds * SECOND),
        partition=partition,
    )


def stale_events(bench: FeedBench) -> list[tuple[str, int]]:
    """Symbol and second since the open of what was told to be stale."""
    return [
        (e.symbol, (e.timestamp - BASE - OPEN) // SECOND) for e in bench.events() if e.kind == MARKET_DATA_KIND_STALE
    ]


def test_only_source_of_a_symbol_is_told_to_be_silent_when_other_symbols_go_on() -> None:
    bench = FeedBench(MarketLimits(silent_after_ns=60 * SECOND))
    quote_at(bench, "A", 0)
    for seconds in range(0, 200, 2):
        quote_at(bench, "B", seconds)
    assert stale_events(bench) == [("A", 64)]

    quote_at(bench, "A", 200)
    quote_at(bench, "B", 230)
    assert stale_events(bench) == [("A", 64)]
    quote_at(bench, "B", 270)
    assert stale_events(bench) == [("A", 64), ("A", 270)]


def test_source_that_speaks_again_after_its_silence_is_not_told_with_its_own_record() -> None:
    bench = FeedBench(MarketLimits(silent_after_ns=60 * SECOND))
    quote_at(bench, "A", 0)
    quote_at(bench, "A", 500)
    assert stale_events(bench) == []


def test_symbols_of_another_partition_tell_nothing_of_a_silence() -> None:
    bench = FeedBench(MarketLimits(silent_after_ns=60 * SECOND))
    quote_at(bench, "A", 0)
    quote_at(bench, "B", 500, partition=4)
    assert stale_events(bench) == []


def test_days_that_are_played_one_symbol_after_the_other_show_no_silence() -> None:
    bench = FeedBench(MarketLimits(silent_after_ns=60 * SECOND))
    for symbol in ("A", "B", "C"):
        for seconds in range(0, 20_000, 50):
            quote_at(bench, symbol, seconds)
    # An earlier day comes after it, and then has a clock of its own.
    quote_at(bench, "D", -200_000)
    for seconds in range(-200_000, -199_800, 2):
        quote_at(bench, "E", seconds)
    assert [symbol for symbol, _ in stale_events(bench)] == ["D"]


def test_source_of_another_day_is_not_silent_when_others_begin_the_next() -> None:
    bench = FeedBench(MarketLimits(silent_after_ns=60 * SECOND))
    # 20:00 in New York, the end of the late session; then 04:00.
    quote_at(bench, "A", 10.5 * 3_600)
    quote_at(bench, "B", 18.5 * 3_600)
    quote_at(bench, "B", 18.6 * 3_600)
    assert stale_events(bench) == []


def test_silences_are_told_the_same_after_a_snapshot_at_any_record() -> None:
    limits = MarketLimits(silent_after_ns=60 * SECOND)
    random = Random(4)
    records = [(random.choice("AABBBC"), seconds) for seconds in range(0, 1_500, 3)]
    records = [(symbol, seconds) for symbol, seconds in records if symbol != "C" or seconds % 300 < 60]
    whole = FeedBench(limits)
    for symbol, seconds in records:
        quote_at(whole, symbol, seconds)
    expected = stale_events(whole)
    assert len(expected) > 3
    for at in (1, 50, 200, len(records) - 1):
        before, after = FeedBench(limits), FeedBench(limits)
        for symbol, seconds in records[:at]:
            quote_at(before, symbol, seconds)
        before.shard.flush()
        after.shard.restore(before.shard.snapshot())
        after.sequences = before.sequences
        for symbol, seconds in records[at:]:
            quote_at(after, symbol, seconds)
        assert stale_events(before) + stale_events(after) == expected


def test_source_of_another_day_is_not_silent() -> None:
    bench = FeedBench(MarketLimits(silent_after_ns=60 * SECOND))
    bench.json(type="quote", bid="100", bidSize=100, time=BASE + OPEN - 17 * 3_600 * SECOND)
    bench.record(FEED_FORMAT_LEAN_QUOTE, b"34200000,1000000,100,0,0,P,1,0", "AAPL", "w", "simulator")
    assert bench.counted("stale") == 0


def full_state(limits: MarketLimits) -> FeedBench:
    """A halted symbol with a book, trades of two sources that can be taken back, and a silent source."""
    bench = FeedBench(limits)
    bench.itch(itch.stock_directory(7, OPEN, "AAPL", 40), itch.trading_action(7, OPEN, "AAPL", b"H", "T1"))
    bench.itch(itch.order_added(7, OPEN, 2**64 - 1, b"B", 100, "AAPL", 1_000_000))
    bench.itch(itch.trade(7, OPEN, 100, "AAPL", 1_000_000, 1), itch.trade(7, OPEN, 100, "AAPL", 1_000_200, 2))
    bench.json(type="trade", price="100.05", size=100, id="T-1", time=BASE + OPEN + 61 * SECOND)
    bench.shard.flush()
    return bench


def test_state_with_everything_in_it_restores_and_goes_on() -> None:
    limits = MarketLimits(silent_after_ns=60 * SECOND)
    bench = full_state(limits)
    saved = bench.shard.snapshot()
    other = FeedBench(limits)
    other.sequences = dict(bench.sequences)
    other.shard.restore(saved)
    assert other.shard.snapshot() == saved
    for each in (bench, other):
        each.shard.outbox.clear()
        each.json(type="cancel", id="T-1", time=BASE + OPEN + 61 * SECOND)
        each.itch(itch.trading_action(7, OPEN + 1, "AAPL", b"T"), itch.order_executed(7, OPEN, 2**64 - 1, 60, 9))
        each.itch(itch.broken_trade(7, OPEN, 2), itch.order_deleted(7, OPEN, 2**64 - 1))
        each.shard.flush()
    for left, right in zip(bench.shard.outbox.lanes(), other.shard.outbox.lanes(), strict=True):
        assert left.values == right.values, left.topic
    assert bench.kinds() == ["CANCEL", "QUOTE", "TRADE", "QUOTE", "CANCEL", "QUOTE"]
    assert len(bench.controls()) == 1


@pytest.mark.parametrize(("version", "current"), [(2, False), (3, True)])
def test_snapshot_of_a_release_restores(version: int, current: bool) -> None:
    """tests/golden/market_state_v<version>.txt is that form's snapshot of `full_state`."""
    data = base64.decodebytes((GOLDEN / f"market_state_v{version}.txt").read_bytes())
    bench = FeedBench()
    bench.shard.restore(data)
    assert (bench.shard.snapshot() == data) == current
    bench.itch(itch.broken_trade(7, OPEN, 2), sequence=6)
    bench.itch(itch.trading_action(7, OPEN + 1, "AAPL", b"T"), sequence=7)
    assert bench.kinds() == ["CANCEL", "QUOTE"]
    assert (bench.events()[1].bid_price, bench.events()[1].bid_size) == (1_000_000, 80)
    assert len(bench.controls()) == 1


def test_halt_of_a_feed_stops_trading_in_its_symbol_alone() -> None:
    day = trading_day(DEFAULT_DAY)
    system = FeedSystem()
    system.play(reference_items([day], {"AAPL": 1_000_000, "MSFT": 2_000_000}, [], FEED_SCHEMA_IDS))
    messages = [itch.stock_directory(7, OPEN, "AAPL"), itch.stock_directory(8, OPEN, "MSFT")]
    messages += [itch.trade(7, OPEN + 1, 100, "AAPL", 1_000_000, 1), itch.trade(8, OPEN + 1, 100, "MSFT", 2_000_000, 2)]
    messages += [itch.trading_action(7, OPEN + SECOND, "AAPL", b"H", "T1")]
    system.play(tick_items(route_all(messages, DEFAULT_DAY), FEED_SCHEMA_IDS))
    status = [market_status.decode(value) for value in system.written["market-status"]]
    states = {one.symbol: MARKET_STATE_NAMES[one.state] for one in status}
    assert states["AAPL"] == "HALTED" and states.get("MSFT") != "HALTED"
    (audit,) = [risk_events.decode(value) for value in system.written["risk-events"]]
    assert RISK_EVENT_TYPE_NAMES[audit.type] == "CONTROL_APPLIED"
    halted_at = day.midnight_ns + OPEN + SECOND
    assert (audit.control_id, audit.issued_by) == (f"HALT-AAPL-{halted_at}", "itch/20261120/AAPL")
    assert system.dead_letters() == {}


def test_limits_of_the_configuration_are_the_engines() -> None:
    names = ("max_price_e4", "max_size", "max_regress_ns", "max_spread_bps", "stale_after_ns", "crossed_after_ns")
    for name in (*names, "silent_after_ns", "depth_levels", "trades_kept"):
        assert getattr(limits_of(MarketDataConfig()), name) == getattr(MarketLimits(), name), name
    settings = MarketDataConfig(max_price=50, max_size=9, late_after_s=2, silent_after_s=3, crossed_after_ms=4)
    limits = limits_of(settings)
    assert (limits.max_price_e4, limits.max_size, limits.max_regress_ns) == (500_000, 9, 2 * SECOND)
    assert (limits.silent_after_ns, limits.crossed_after_ns) == (3 * SECOND, 4_000_000)
    with pytest.raises(ValueError, match="depth_levels=65 must be at most 64"):
        limits_of(MarketDataConfig(depth_levels=65))
    with pytest.raises(ValueError, match="must be at most 1000000000000000"):
        limits_of(MarketDataConfig(max_price=10**12))
    bench = FeedBench(limits)
    bench.json(type="trade", price="50.0001", size=1)
    bench.json(type="trade", price="50", size=10)
    assert [reason for reason, _ in bench.letters()] == ["INVALID_VALUE"] * 2


def test_every_format_has_its_adapter_and_every_topic_its_schema() -> None:
    assert sorted(new_adapters()) == [1, 2, 3, 4, 5]
    for topic in SCHEMA_IDS:
        with pytest.raises(KeyError, match=topic):
            MarketShard(0, 1, {name: n for name, n in SCHEMA_IDS.items() if name != topic}, MarketLimits())


def test_feed_id_too_long_for_an_event_id_is_refused() -> None:
    bench = FeedBench()
    bench.json(type="trade", price=100, size=100, feed="ü" * 101)
    assert "feedId at most 200" in bench.letters()[0][1]
    bench.json(type="trade", price=100, size=100, feed="ü" * 100)
    assert bench.kinds() == ["TRADE"]
