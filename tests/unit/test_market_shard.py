"""The market data engine: golden tables of refusals and of what one line does."""

import base64
from pathlib import Path

import pytest

from schemas.messages import dead_letter, market_data, nbbo, raw_feed
from schemas.messages.enums import (
    DEAD_LETTER_REASON_NAMES,
    FEED_FORMAT_LEAN_QUOTE,
    FEED_FORMAT_LEAN_TRADE,
    FEED_FORMAT_UNKNOWN,
    MARKET_DATA_KIND_GAP,
)
from udfs.domain.market_shard import FEEDS_PER_SYMBOL, MarketShard
from udfs.domain.normalise import MarketLimits
from udfs.domain.sharding import shard_of
from udfs.domain.state_codec import StateError

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
SCHEMA_IDS = {"raw-feed": 11, "market-data": 12, "nbbo": 13, "dead-letter": 14, "market-depth": 15, "controls": 16}
BASE = 1_381_118_400_000_000_000
QUOTE = FEED_FORMAT_LEAN_QUOTE
TRADE = FEED_FORMAT_LEAN_TRADE


class Bench:
    """One shard and an easy way to feed it."""

    def __init__(self, limits: MarketLimits | None = None, shard: int = 0, shards: int = 1) -> None:
        self.shard = MarketShard(shard, shards, SCHEMA_IDS, limits or MarketLimits())
        self.sequence = 0

    def line(
        self,
        line: bytes,
        kind: int = QUOTE,
        sequence: int | None = None,
        feed: str = "f",
        symbol: str = "IBM",
        source: str = "simulator",
        base: int = BASE,
    ) -> None:
        """Apply one line; the sequence goes on by itself."""
        self.sequence = self.sequence + 1 if sequence is None else sequence
        self.raw(raw_feed.encode_fields(11, source, kind, feed, self.sequence, symbol, base, line))

    def raw(self, payload: bytes) -> None:
        """Apply any bytes, at partition 3, offset 77, Kafka time 5 ms."""
        self.shard.apply(1, payload, 3, 77, 5)

    def events(self) -> list[market_data.MarketDataEvent]:
        return [market_data.decode(value, 12) for value in self.shard.outbox.market_data.values]

    def letters(self) -> list[dead_letter.DeadLetter]:
        return [dead_letter.decode(value, 14) for value in self.shard.outbox.dead_letter.values]

    def nbbo(self) -> nbbo.Nbbo | None:
        """End the batch; the NBBO it published, if any."""
        self.shard.flush()
        values = self.shard.outbox.nbbo.values
        self.shard.outbox.clear()
        assert len(values) <= 1
        return nbbo.decode(values[0], 13) if values else None

    def counted(self, name: str) -> int:
        return dict(self.shard.counters.items())[name]


REFUSED = [
    # line, format, reason, words of the detail
    (b"34200000,1000000,100,0,0,N,1", QUOTE, "UNDECODABLE", "7 fields, expected 8"),
    (b"34200000,1000000,100,0,0,N,1,0,9", QUOTE, "UNDECODABLE", "9 fields, expected 8"),
    (b"", QUOTE, "UNDECODABLE", "1 fields, expected 8"),
    (b"34200000,1000000,100,0,0,N,1,0\n", QUOTE, "UNDECODABLE", "suspicious is neither 0 nor 1"),
    (b"34200000,1000000,100,0,0,N,1,2", QUOTE, "UNDECODABLE", "suspicious is neither 0 nor 1"),
    (b"34200000,1e6,100,0,0,N,1,0", QUOTE, "UNDECODABLE", "bidPrice is not a number"),
    (b"34200000, 1000000,100,0,0,N,1,0", QUOTE, "UNDECODABLE", "bidPrice is not a number"),
    (b"34200000,+1000000,100,0,0,N,1,0", QUOTE, "UNDECODABLE", "bidPrice is not a number"),
    (b"34200000,1_000,100,0,0,N,1,0", QUOTE, "UNDECODABLE", "bidPrice is not a number"),
    (b"34200000,\xd9\xa1,100,0,0,N,1,0", QUOTE, "UNDECODABLE", "bidPrice is not a number"),
    (b",1000000,100,0,0,N,1,0", QUOTE, "UNDECODABLE", "time is not a number"),
    (b"34200000,1000000,100,0,0,N,0x1,0", QUOTE, "UNDECODABLE", "condition is not a hexadecimal number"),
    (b"34200000,1000000,100,0,0,N,,0", QUOTE, "UNDECODABLE", "condition is not a hexadecimal number"),
    (b"34200000,1000000,100,0,0,N,11112222333344445,0", QUOTE, "UNDECODABLE", "condition is not a hexadecimal"),
    (b"9" * 300, QUOTE, "UNDECODABLE", "line of 300 bytes, at most 256"),
    (b"86400001,1000000,100,0,0,N,1,0", QUOTE, "INVALID_VALUE", "time=86400001 is above the limit 86400000"),
    (b"34200000,-1000000,100,0,0,N,1,0", QUOTE, "INVALID_VALUE", "bidPrice is negative"),
    (b"34200000,1000000,-100,0,0,N,1,0", QUOTE, "INVALID_VALUE", "bidSize is negative"),
    (b"34200000,10000000001,100,0,0,N,1,0", QUOTE, "INVALID_VALUE", "bidPrice=10000000001 is above the limit"),
    (b"34200000,1000000,100000001,0,0,N,1,0", QUOTE, "INVALID_VALUE", "bidSize=100000001 is above the limit"),
    (b"34200000,1" + b"0" * 40 + b",100,0,0,N,1,0", QUOTE, "INVALID_VALUE", "bidPrice has 41 digits"),
    (b"34200000,0,100,0,0,N,1,0", QUOTE, "INVALID_VALUE", "bidSize=100 without a bidPrice"),
    (b"34200000,0,0,0,100,N,1,0", QUOTE, "INVALID_VALUE", "askSize=100 without an askPrice"),
    (b"34200000,1000000,100,0,0,5,1,0", QUOTE, "INVALID_VALUE", "exchange code b'5' is not known"),
    (b"34200000,1000000,100,0,0,,1,0", QUOTE, "INVALID_VALUE", "exchange code b'' is not known"),
    (b"34200000,1000001,100,1000000,100,N,1,0", QUOTE, "INVALID_VALUE", "locked or crossed"),
    (b"34200000,1000000,100,1000000,100,N,1,0", QUOTE, "INVALID_VALUE", "locked or crossed"),
    (b"34200000,1000000,100,N,1", TRADE, "UNDECODABLE", "5 fields, expected 6"),
    (b"34200000,-1,100,N,1,0", TRADE, "INVALID_VALUE", "price is negative"),
    (b"34200000,0,100,N,1,0", TRADE, "INVALID_VALUE", "without price or size: price=0 size=100"),
    (b"34200000,1000000,0,N,1,0", TRADE, "INVALID_VALUE", "without price or size: price=1000000 size=0"),
    (b"34200000,1000000,100,N,zz,0", TRADE, "UNDECODABLE", "condition is not a hexadecimal number"),
    (b"34200000,1000000,100,N,1,0", FEED_FORMAT_UNKNOWN, "UNSUPPORTED", "format 0 is not known"),
]


@pytest.mark.parametrize(("line", "kind", "reason", "words"), REFUSED)
def test_refused_line_becomes_one_dead_letter_with_its_reason(line: bytes, kind: int, reason: str, words: str) -> None:
    bench = Bench()
    bench.line(line, kind)
    (letter,) = bench.letters()
    assert DEAD_LETTER_REASON_NAMES[letter.reason] == reason
    assert words in letter.detail
    assert (letter.event_id, letter.source_topic, letter.source_partition) == ("raw-feed-3-77", "raw-feed", 3)
    assert (letter.source_offset, letter.source_timestamp, letter.timestamp) == (77, 5, 5_000_000)
    assert (letter.job, letter.schema_id) == ("market_data", 11)
    assert raw_feed.decode(letter.payload).payload == line
    assert bench.events() == []
    assert bench.nbbo() is None
    assert bench.counted("refused") == bench.counted("records") == 1


@pytest.mark.parametrize(
    ("frame", "reason", "schema_id"),
    [
        (b"", "UNDECODABLE", None),
        (b"\x01\x00\x00\x00\x0bxx", "BAD_MAGIC", None),
        (b"\x00\x00\x00\x00\x63xx", "UNKNOWN_SCHEMA", 99),
        (b"\x00\x00\x00\x00\x0b\xff\xff\xff", "UNDECODABLE", 11),
        (b"\x00\x00\x00\x00\x0b" + b"x" * 1_100_000, "TOO_LARGE", 11),
    ],
)
def test_frame_that_is_no_raw_record_becomes_a_dead_letter(frame: bytes, reason: str, schema_id: int | None) -> None:
    bench = Bench()
    bench.raw(frame)
    (letter,) = bench.letters()
    assert DEAD_LETTER_REASON_NAMES[letter.reason] == reason
    assert letter.schema_id == schema_id
    assert letter.payload == frame


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sequence": 0}, "sequence=0 must be positive"),
        ({"base": -1}, "baseTimeNs=-1"),
        ({"base": 8_000_000_000_000_000_000}, "between 1970 and 2200"),
        ({"feed": "f" * 201}, "feedId at most 200"),
        ({"symbol": ""}, "symbol '' is empty"),
        ({"symbol": "I\nBM"}, "not printable"),
    ],
)
def test_envelope_out_of_range_becomes_a_dead_letter(changes: dict[str, object], words: str) -> None:
    bench = Bench()
    bench.line(b"34200000,1000000,100,0,0,N,1,0", **changes)  # type: ignore[arg-type]
    (letter,) = bench.letters()
    assert DEAD_LETTER_REASON_NAMES[letter.reason] == "INVALID_VALUE"
    assert words in letter.detail


def test_symbol_of_another_shard_becomes_a_dead_letter() -> None:
    other = 1 - shard_of("IBM", 2)
    bench = Bench(shard=other, shards=2)
    bench.line(b"34200000,1000000,100,0,0,N,1,0")
    assert "the record's key must be its symbol" in bench.letters()[0].detail


def test_quote_lines_of_one_exchange_merge_into_one_quote() -> None:
    bench = Bench()
    bench.line(b"34200000,1000000,100,0,0,N,1,0")
    bench.line(b"34200001,0,0,1000100,300,N,1,0")
    bench.line(b"34200002,1000050,200,0,0,N,1,0")
    bench.line(b"34200003,1000050,0,0,0,N,1,0")
    bench.line(b"34200004,0,0,0,0,N,1,0")
    events = bench.events()
    assert [(e.bid_price, e.bid_size, e.ask_price, e.ask_size) for e in events] == [
        (1_000_000, 100, None, 0),
        (1_000_000, 100, 1_000_100, 300),
        (1_000_050, 200, 1_000_100, 300),
        (None, 0, 1_000_100, 300),
        (None, 0, None, 0),
    ]
    assert [e.event_id for e in events] == ["f-1", "f-2", "f-3", "f-4", "f-5"]
    assert {e.exchange for e in events} == {"XNYS"}
    assert events[0].timestamp == BASE + 34_200_000 * 1_000_000


def test_new_side_that_reaches_the_own_other_side_makes_it_void() -> None:
    bench = Bench()
    bench.line(b"34200000,1000000,100,1000100,100,N,1,0")
    bench.line(b"34200001,1000100,100,0,0,N,1,0")
    assert (bench.events()[-1].bid_price, bench.events()[-1].ask_price) == (1_000_100, None)
    best = bench.nbbo()
    assert best is not None and (best.bid_price, best.ask_price) == (1_000_100, None)


def test_suspicious_and_not_firm_quotes_are_events_but_do_not_set_the_nbbo() -> None:
    bench = Bench()
    bench.line(b"34200000,1000000,100,1000100,100,Q,1,0")
    bench.line(b"34200001,1000050,100,0,0,N,1,1")
    bench.line(b"34200002,1000060,100,0,0,P,8,0")
    assert [(e.bid_price, e.suspicious) for e in bench.events()] == [
        (1_000_000, False),
        (1_000_050, True),
        (1_000_060, False),
    ]
    best = bench.nbbo()
    assert best is not None
    assert (best.bid_price, best.bid_exchange, len(best.quotes)) == (1_000_000, "XNAS", 1)
    assert (bench.counted("suspicious"), bench.counted("not_firm")) == (1, 1)


ELIGIBLE = [
    # sale condition, suspicious, size, eligible
    (b"1", 0, 100, True),  # regular
    (b"20000020", 0, 100, True),
    (b"2000", 0, 100, False),  # extended hours
    (b"20100200", 0, 100, False),  # average price
    (b"80000001", 0, 100, False),  # odd lot by its condition
    (b"80000001", 0, 50, False),
    (b"1", 0, 99, False),  # odd lot by its size
    (b"1", 1, 100, False),  # suspicious
]


@pytest.mark.parametrize(("condition", "suspicious", "size", "eligible"), ELIGIBLE)
def test_trade_counts_only_when_it_is_eligible(condition: bytes, suspicious: int, size: int, eligible: bool) -> None:
    bench = Bench()
    bench.line(b"34200000,1000000,%d,D,%s,%d" % (size, condition, suspicious), TRADE)
    (event,) = bench.events()
    assert (event.last_price, event.volume, event.exchange) == (1_000_000, size, "FINR")
    assert (event.sale_condition, event.suspicious) == (condition.decode(), bool(suspicious))
    assert (event.eligible, event.trade_id) == (eligible, None)
    best = bench.nbbo()
    assert (best is not None) == eligible
    if best is not None:
        assert (best.last_price, best.trade_count, best.trade_price_sum) == (1_000_000, 1, 1_000_000)


@pytest.mark.parametrize(
    ("price", "base", "round_lot"),
    [
        (2_500_001, BASE, 100),  # 2013: before the tiers
        (2_500_000, 1_767_225_600_000_000_000, 100),  # 2026-01-01
        (2_500_001, 1_767_225_600_000_000_000, 40),
        (10_000_001, 1_767_225_600_000_000_000, 10),
        (100_000_001, 1_767_225_600_000_000_000, 1),
    ],
)
def test_round_lot_of_a_trade_goes_by_its_price_and_day(price: int, base: int, round_lot: int) -> None:
    for size, eligible in ((round_lot, True), (round_lot - 1, False)):
        if size == 0:
            continue
        bench = Bench()
        bench.line(b"34200000,%d,%d,N,1,0" % (price, size), TRADE, base=base)
        assert (bench.nbbo() is not None) == eligible, size


def test_nbbo_carries_the_eligible_trades_since_the_one_before() -> None:
    bench = Bench()
    bench.line(b"34200000,1000000,100,1000300,100,N,1,0")
    quiet = bench.nbbo()
    assert quiet is not None
    assert (quiet.trade_high, quiet.trade_low, quiet.trade_count, quiet.trade_price_sum) == (None, None, None, None)
    for price, size in ((1_000_200, 100), (1_000_000, 300), (1_000_900, 1), (1_000_100, 200)):
        bench.line(b"34200001,%d,%d,D,1,0" % (price, size), TRADE)
    busy = bench.nbbo()
    assert busy is not None
    assert (busy.trade_high, busy.trade_low, busy.trade_count, busy.trade_price_sum) == (
        1_000_200, 1_000_000, 3, 3_000_300,
    )  # fmt: skip
    assert (busy.last_price, busy.bid_price, busy.sequence) == (1_000_100, 1_000_000, 5)
    # A trade alone is news, at the same price too; and what was told is not told again.
    bench.line(b"34200002,1000100,100,D,1,0", TRADE)
    same = bench.nbbo()
    assert same is not None
    assert (same.trade_high, same.trade_low, same.trade_count, same.sequence) == (1_000_100, 1_000_100, 1, 6)
    bench.line(b"34200003,1000000,200,0,0,N,1,0")
    after = bench.nbbo()
    assert after is not None and (after.bid_size, after.trade_count) == (200, None)
    bench.line(b"34200004,1000000,200,0,0,N,1,0")
    assert bench.nbbo() is None


def test_trades_of_the_smallest_price_are_not_taken_for_none() -> None:
    bench = Bench()
    bench.line(b"34200000,5,100,D,1,0", TRADE)
    bench.line(b"34200000,1,100,D,1,0", TRADE)
    best = bench.nbbo()
    assert best is not None and (best.trade_high, best.trade_low, best.trade_count) == (5, 1, 2)


def test_repeated_sequence_is_a_duplicate_and_a_skipped_one_a_gap() -> None:
    bench = Bench()
    for sequence in (5, 6, 6, 4, 9, 10):
        bench.line(b"34200000,1000000,100,0,0,N,1,0", sequence=sequence)
    bench.line(b"34200000,1000000,100,0,0,N,1,0", sequence=1, feed="other")
    assert [e.event_id for e in bench.events()] == ["f-5", "f-6", "f-9-gap", "f-9", "f-10", "other-1"]
    gap = bench.events()[2]
    assert (gap.kind, gap.exchange, gap.sequence, gap.missing) == (MARKET_DATA_KIND_GAP, "", 9, 2)
    assert gap.timestamp == BASE + 34_200_000 * 1_000_000
    assert [DEAD_LETTER_REASON_NAMES[letter.reason] for letter in bench.letters()] == ["DUPLICATE_EVENT"] * 2
    assert (bench.counted("duplicates"), bench.counted("gaps"), bench.counted("missing")) == (2, 1, 2)


def test_refused_record_counts_as_seen() -> None:
    bench = Bench()
    bench.line(b"junk", sequence=1)
    bench.line(b"34200000,1000000,100,0,0,N,1,0", sequence=1)
    bench.line(b"34200000,1000000,100,0,0,N,1,0", sequence=2)
    assert [DEAD_LETTER_REASON_NAMES[letter.reason] for letter in bench.letters()] == ["UNDECODABLE", "DUPLICATE_EVENT"]
    assert bench.counted("gaps") == 0


def test_marks_of_old_feeds_make_room_for_new_ones() -> None:
    bench = Bench()
    for number in range(FEEDS_PER_SYMBOL + 1):
        bench.line(b"34200000,1000000,100,0,0,N,1,0", sequence=1, feed=f"day-{number}")
    bench.line(b"34200000,1000000,100,0,0,N,1,0", sequence=1, feed="day-1")
    assert bench.counted("duplicates") == 1
    bench.line(b"34200000,1000000,100,0,0,N,1,0", sequence=1, feed="day-0")
    assert bench.counted("duplicates") == 1


def test_late_record_is_refused_until_the_clock_is_seen_to_be_wrong() -> None:
    bench = Bench(MarketLimits(max_regress_ns=1_000_000_000, resync_after=3))
    bench.line(b"80000000,1000000,100,0,0,N,1,0")
    bench.line(b"79999000,1000000,100,0,0,N,1,0")  # one second back is taken
    for _ in range(4):
        bench.line(b"34200000,1000000,100,0,0,N,1,0")
    assert [DEAD_LETTER_REASON_NAMES[letter.reason] for letter in bench.letters()] == ["LATE", "LATE"]
    assert (bench.counted("late"), bench.counted("resynchronised"), bench.counted("quotes")) == (2, 1, 4)


def test_best_size_is_the_exchanges_own_and_the_larger_wins_a_tie() -> None:
    bench = Bench()
    bench.line(b"34200000,1000000,100,1000200,100,N,1,0")
    bench.line(b"34200001,1000000,400,1000100,100,Q,1,0")
    bench.line(b"34200002,1000000,400,1000100,100,Z,1,0")
    best = bench.nbbo()
    assert best is not None
    assert (best.bid_price, best.bid_size, best.bid_exchange) == (1_000_000, 400, "BATS")
    assert (best.ask_price, best.ask_size, best.ask_exchange) == (1_000_100, 100, "BATS")
    assert [q.exchange for q in best.quotes] == ["BATS", "XNAS", "XNYS"]
    assert (best.sequence, best.event_id, best.timestamp) == (3, "IBM-3", BASE + 34_200_002 * 1_000_000)


def test_stale_wide_and_long_crossed_quotes_drop_out() -> None:
    bench = Bench(MarketLimits(stale_after_ns=60_000_000_000, crossed_after_ns=1_000_000_000, max_spread_bps=500))
    bench.line(b"34200000,1000000,100,1000100,100,N,1,0")
    bench.line(b"34200500,1000200,100,1000300,100,Q,1,0")
    fresh_cross = bench.nbbo()
    assert fresh_cross is not None and (fresh_cross.bid_price, fresh_cross.ask_price) == (1_000_200, 1_000_100)
    bench.line(b"34201001,1000200,200,0,0,Q,1,0")
    uncrossed = bench.nbbo()
    assert uncrossed is not None and (uncrossed.bid_price, uncrossed.ask_price) == (1_000_200, 1_000_300)
    assert [(q.exchange, q.bid_price, q.ask_price) for q in uncrossed.quotes] == [
        ("XNAS", 1_000_200, 1_000_300),
        ("XNYS", 1_000_000, None),
    ]
    bench.line(b"34261000,900000,100,1100000,100,P,1,0")
    wide = bench.nbbo()
    assert wide is not None and [(q.exchange, q.bid_price, q.ask_price) for q in wide.quotes] == [
        ("XNAS", 1_000_200, None)
    ]
    bench.line(b"34400000,900000,100,1100000,100,P,1,0")
    empty = bench.nbbo()
    assert empty is not None and (empty.bid_price, empty.ask_price, empty.quotes) == (None, None, [])


def test_locked_and_crossed_markets_are_published_and_counted() -> None:
    bench = Bench()
    bench.line(b"34200000,1000000,100,1000100,100,N,1,0")
    bench.line(b"34200000,1000100,100,0,0,Q,1,0")
    locked = bench.nbbo()
    bench.line(b"34200000,1000200,100,0,0,Q,1,0")
    crossed = bench.nbbo()
    assert locked is not None and locked.bid_price == locked.ask_price == 1_000_100
    assert crossed is not None and (crossed.bid_price, crossed.ask_price) == (1_000_200, 1_000_100)
    assert (bench.counted("locked"), bench.counted("crossed")) == (1, 1)


def test_best_quote_source_retires_what_is_better_than_its_line() -> None:
    for source, expected in (("simulator", 1_000_100), ("lean", 1_000_000)):
        bench = Bench()
        bench.line(b"34200000,1000100,100,0,0,N,1,0", source=source)
        bench.line(b"34200001,1000000,100,0,0,Q,1,0", source=source)
        best = bench.nbbo()
        assert best is not None and best.bid_price == expected, source


def test_batch_publishes_one_nbbo_per_changed_symbol_and_none_without_change() -> None:
    bench = Bench()
    for price in range(1_000_000, 1_000_050):
        bench.line(b"34200000,%d,100,0,0,N,1,0" % price)
    best = bench.nbbo()
    assert best is not None and (best.bid_price, best.sequence) == (1_000_049, 50)
    bench.line(b"34200001,1000049,100,0,0,N,1,0")
    assert bench.nbbo() is None


def test_replay_of_an_older_day_does_not_see_quotes_from_its_future() -> None:
    bench = Bench()
    bench.line(b"34200000,1000000,100,1000100,100,N,1,0", feed="new")
    bench.line(b"34200000,900000,100,900100,100,Q,1,0", feed="old", sequence=1, base=BASE - 86_400_000_000_000)
    best = bench.nbbo()
    assert best is not None and [q.exchange for q in best.quotes] == ["XNAS"]


def test_snapshot_within_a_batch_or_for_another_shard_is_refused() -> None:
    bench = Bench()
    bench.line(b"34200000,1000000,100,0,0,N,1,0")
    with pytest.raises(RuntimeError, match="flush"):
        bench.shard.snapshot()
    bench.nbbo()
    saved = bench.shard.snapshot()
    with pytest.raises(StateError, match="shard 0 of 1"):
        MarketShard(1, 2, SCHEMA_IDS, MarketLimits()).restore(saved)
    with pytest.raises(StateError, match="checksum"):
        MarketShard(0, 1, SCHEMA_IDS, MarketLimits()).restore(saved[:-1] + bytes([saved[-1] ^ 1]))


def test_snapshot_of_the_first_release_restores_and_goes_on() -> None:
    """tests/golden/market_state_v1.txt was written by that release after quotes and trades of IBM, BRK.A and TRADED."""
    data = base64.decodebytes((GOLDEN / "market_state_v1.txt").read_bytes())
    bench = Bench()
    bench.shard.restore(data)
    again = Bench()
    again.shard.restore(bench.shard.snapshot())
    assert again.shard.snapshot() == bench.shard.snapshot()
    bench.line(b"34200100,0,0,1872500,300,N,1,0", sequence=4, feed="ibm-quotes")
    assert bench.nbbo() is None  # the exchange's quote as it was: what was published is known
    bench.line(b"34200101,1872400,300,D,1,0", TRADE, sequence=3, feed="ibm-trades")
    best = bench.nbbo()
    assert best is not None
    assert (best.bid_price, best.bid_exchange, best.ask_price, best.ask_exchange) == (
        1_872_100,
        "XNAS",
        1_872_400,
        "BATS",
    )
    assert (best.last_price, best.trade_high, best.trade_count, best.sequence) == (1_872_400, 1_872_400, 1, 7)
    bench.line(b"34200102,1872400,300,D,1,0", TRADE, sequence=2, feed="ibm-trades")
    assert DEAD_LETTER_REASON_NAMES[bench.letters()[0].reason] == "DUPLICATE_EVENT"


def test_counters_add_up() -> None:
    bench = Bench()
    bench.line(b"34200000,1000000,100,0,0,N,1,0")
    bench.line(b"34200000,1000000,100,N,1,0", TRADE)
    bench.line(b"junk")
    assert bench.counted("quotes") + bench.counted("trades") + bench.counted("refused") == bench.counted("records") == 3


def test_limits_that_are_not_positive_are_refused() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        MarketLimits(max_price_e4=0)
