"""No bytes stop what reads every topic: the analytics job, the feeds' readers, the audit trail and the archive.

`--mutations N` sends N mutated records each; a failure prints the seed and the bytes. The trading engines are in
test_engine_hostile.py, the decoders alone in test_codec_hostile.py.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import alert_streams
import pytest
from examples import SCHEMA_ID, TOPIC_NAMES, module_of, random_value
from test_codec_hostile import mutate
from test_itch_reference import frames

from schemas.catalogue import ARCHIVED
from schemas.errors import UNKNOWN_SCHEMA, DecodeError
from schemas.messages import audit_records, raw_feed
from schemas.messages.enums import (
    FEED_FORMAT_ITCH_50,
    FEED_FORMAT_LEAN_QUOTE,
    FEED_FORMAT_LEAN_TRADE,
    FEED_FORMAT_MARKET_DATA,
    FEED_FORMAT_VENDOR_JSON,
)
from udfs.domain import sources
from udfs.domain.alerting_analytics import AlertingAnalytics
from udfs.domain.audit_shard import AUDITED, AuditShard, envelope
from udfs.domain.bars import SECOND_NS
from udfs.domain.market_shard import MarketShard
from udfs.domain.normalise import MarketLimits
from udfs.operators.arrow_blocks import Positions, block, plan_of
from udfs.operators.decode_records import Batch, Decoder

COMPILED, INTERPRETED = 3_000, 300
BATCH = 50
NOW_MS = 1_767_623_400_000
FEED_IDS = {"raw-feed": 11, "market-data": 12, "nbbo": 13, "dead-letter": 14, "market-depth": 15, "controls": 16}
ANALYSED = (sources.MARKET_DATA, sources.ALERT_RULES, sources.NBBO, sources.MARKET_STATUS)
JSON_LINES = (
    b'{"type": "quote", "symbol": "BRK/B", "exchange": "NASDAQ", "time": "2026-01-05T14:30:00.123456789Z",'
    b' "bid": "491.25", "bidSize": 200, "ask": 491.3, "askSize": "300"}',
    b'{"type": "trade", "symbol": "BRK/B", "exchange": "Q", "time": 1767623400123456789, "price": "491.27",'
    b' "size": 100, "id": "T-17", "conditions": "@F"}',
    b'{"type": "correction", "symbol": "BRK/B", "exchange": "Q", "time": 1767623400123456789, "price": "491.28",'
    b' "size": 100, "id": "T-17"}',
    b'{"type": "cancel", "symbol": "BRK/B", "exchange": "Q", "time": 1767623400123456789, "id": "T-17"}',
    b'{"type": "halt", "symbol": "BRK/B", "time": 1767623400123456789, "reason": "T1"}',
)
LEAN_LINES = {
    FEED_FORMAT_LEAN_QUOTE: b"34200000,1850000,200,1852000,300,N,1,0",
    FEED_FORMAT_LEAN_TRADE: b"34200000,1850000,100,N,0,0",
}


@pytest.fixture
def count(compiled: bool, pytestconfig: pytest.Config) -> int:
    """How many hostile records each test makes."""
    return int(pytestconfig.getoption("--mutations") or (COMPILED if compiled else INTERPRETED))


@pytest.fixture
def rng() -> random.Random:
    """A generator whose seed a failure shows."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    return random.Random(seed)


def survive(engine: Any, source: int, records: Callable[[], bytes], count: int) -> Counter[str]:
    """Give an engine `count` records; how many it wrote to each topic. Its state can be restored in the end."""
    written: Counter[str] = Counter()
    for number in range(1, count + 1):
        payload = records()
        try:
            engine.apply(source, payload, number % 2, 1_000_000 + number, NOW_MS)
            if number % BATCH == 0 or number == count:
                engine.flush()
                for lane in engine.outbox.lanes():
                    written[lane.topic] += len(lane.values)
                engine.outbox.clear()
        except Exception as error:
            raise AssertionError(f"record {number}: {payload.hex()}: {error!r}") from error
    state = engine.snapshot()
    engine.restore(state)
    assert engine.snapshot() == state
    return written


@pytest.mark.parametrize("source", ANALYSED, ids=[sources.TOPICS[source] for source in ANALYSED])
def test_analytics_given_mutated_records_goes_on(source: int, count: int, rng: random.Random) -> None:
    engine = AlertingAnalytics(0, 1, alert_streams.IDS, SECOND_NS, 300 * SECOND_NS, alert_streams.INDICATORS)
    topic = sources.TOPICS[source]
    module = module_of(topic)
    day = list(alert_streams.random_records(rng, 1_000, symbols=3, first_rules=10))
    for kind, frame, partition, offset, kafka_ms in day:
        engine.apply(kind, frame, partition, offset, kafka_ms)
    engine.outbox.clear()
    good = [frame for kind, frame, *_ in day if kind == source]
    good += [module.encode(module.from_dict(random_value(topic, rng)), alert_streams.IDS[topic]) for _ in range(50)]
    written = survive(engine, source, lambda: mutate(rng.choice(good), rng), count)
    # Quotes and states are looked into while a rule needs them.
    assert written["dead-letter"] > 0 or source in (sources.NBBO, sources.MARKET_STATUS)


def lines_of(feed: int, rng: random.Random) -> list[raw_feed.RawFeedRecord]:
    """Good records of a feed's format."""
    if feed == FEED_FORMAT_ITCH_50:
        return [raw_feed.decode(frame) for _, frame in frames(rng.randrange(100), 300)]
    if feed == FEED_FORMAT_VENDOR_JSON:
        payloads: list[bytes] = list(JSON_LINES)
    elif feed == FEED_FORMAT_MARKET_DATA:
        module = module_of("market-data")
        payloads = [module.encode(module.from_dict(random_value("market-data", rng)), 12) for _ in range(100)]
        payloads += [frame for kind, frame, *_ in alert_streams.random_records(rng, 100, 1, 1) if kind == 9]
    else:
        payloads = [LEAN_LINES[feed]]
    symbol = {FEED_FORMAT_VENDOR_JSON: "BRK.B", FEED_FORMAT_MARKET_DATA: "S0"}.get(feed, "IBM")
    return [
        raw_feed.RawFeedRecord("s", feed, f"f/{feed}", 0, symbol, 1_767_571_200_000_000_000, line) for line in payloads
    ]


FEEDS = {
    "lean-quote": FEED_FORMAT_LEAN_QUOTE,
    "lean-trade": FEED_FORMAT_LEAN_TRADE,
    "itch": FEED_FORMAT_ITCH_50,
    "json": FEED_FORMAT_VENDOR_JSON,
    "market-data": FEED_FORMAT_MARKET_DATA,
}


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
def test_market_data_given_mutated_feed_messages_goes_on(feed: int, count: int, rng: random.Random) -> None:
    engine = MarketShard(0, 1, FEED_IDS, MarketLimits())
    good = lines_of(feed, rng)
    sequence = 0

    def hostile() -> bytes:
        nonlocal sequence
        # Each comes next in its feed: what comes again is a copy, whose bytes nobody looks at.
        sequence += 1
        line = rng.choice(good)
        payload = mutate(line.payload, rng) if rng.random() < 0.9 else line.payload
        return raw_feed.encode(
            raw_feed.RawFeedRecord(
                line.source, line.format, line.feed_id, sequence, line.symbol, line.base_time_ns, payload
            ),
            FEED_IDS["raw-feed"],
        )

    written = survive(engine, sources.RAW_FEED, hostile, count)
    assert written["dead-letter"] > 0 and written["market-data"] > 0, written


def test_audit_trail_given_mutated_records_of_every_topic_links_each(count: int, rng: random.Random) -> None:
    ids = dict.fromkeys(TOPIC_NAMES, SCHEMA_ID)
    engine = AuditShard(0, 1, ids, 64, "raw-feed,market-data")
    good = {
        topic: [
            module_of(topic).encode(module_of(topic).from_dict(random_value(topic, rng)), SCHEMA_ID) for _ in "12345"
        ]
        for topic in AUDITED
    }

    def hostile() -> bytes:
        topic = rng.choice(AUDITED)
        return envelope(topic, NOW_MS, rng.choice((None, b"", rng.randbytes(20))), mutate(rng.choice(good[topic]), rng))

    assert survive(engine, sources.AUDIT, hostile, count)["audit-records"] == count


def test_audit_trail_links_say_the_topic_of_what_cannot_be_decoded() -> None:
    engine = AuditShard(0, 1, dict.fromkeys(TOPIC_NAMES, SCHEMA_ID), 64, "")
    for number, topic in enumerate(AUDITED):
        engine.apply(sources.AUDIT, envelope(topic, NOW_MS, b"k", b"\xff" * 40), 0, number, 0)
    links = [audit_records.decode(value) for value in engine.outbox.records.values]
    assert [link.source_topic for link in links] == list(AUDITED)


def no_resolution(frame: bytes) -> bytes:
    """As a registry that knows no other schema."""
    raise DecodeError(UNKNOWN_SCHEMA, "an unknown schema", 1)


@pytest.mark.parametrize("topic", ARCHIVED)
def test_archive_given_mutated_records_has_a_row_for_each(topic: str, count: int, rng: random.Random) -> None:
    module = module_of(topic)
    decoder = Decoder(plan_of(topic), SCHEMA_ID, no_resolution, most_refused=1.0)
    good = [module.encode(module.from_dict(random_value(topic, rng)), SCHEMA_ID) for _ in range(50)]
    refused = 0
    for start in range(0, count, BATCH):
        payloads = [mutate(rng.choice(good), rng) for _ in range(BATCH)]
        where = Positions.of([1] * BATCH, list(range(start, start + BATCH)), [NOW_MS] * BATCH)
        try:
            decoded = decoder.decode(Batch(payloads, where))
            rows = block(decoder.plan, decoded.messages, decoded.positions, topic)
            letters = block(plan_of("dead-letter"), decoded.letters, decoded.letter_positions, topic)
        except Exception as error:
            raise AssertionError(f"{[payload.hex() for payload in payloads]}: {error!r}") from error
        assert rows.num_rows + letters.num_rows == BATCH
        refused += letters.num_rows
    assert refused > 0
