"""No bytes on any topic stop an engine: they are used, refused or dead letters, and the engine's books still add up.

`--mutations N` sends N mutated records through every input of every engine; a failure prints the seed and the bytes.
Frames between the stages are not a topic and are left out; an outcome that contradicts the books stops its shard on purpose.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import trading_harness as h
from examples import module_of, random_value
from simulator import RISK_SOURCES
from test_codec_hostile import mutate
from trading_streams import Stream

from schemas.messages import raw_feed
from schemas.messages.enums import FEED_FORMAT_LEAN_QUOTE, FEED_FORMAT_LEAN_TRADE
from udfs.domain import sources
from udfs.domain.book import InvariantViolation
from udfs.domain.market_shard import MarketShard
from udfs.domain.match_shard import MatchShard
from udfs.domain.normalise import MarketLimits
from udfs.domain.risk_shard import RiskShard

MARKET_IDS = {"raw-feed": 11, "market-data": 12, "nbbo": 13, "dead-letter": 14, "market-depth": 15, "controls": 16}
COMPILED, INTERPRETED = 2_000, 500
BATCH = 50
NOT_MATCHED = (sources.ORDERS, sources.OUTCOMES)


def trading_engine(new: Callable[[], Any], not_read: tuple[int, ...]) -> Any:
    """An engine in the middle of a day: reference data, quotes and orders of a stream."""
    engine = new()
    stream = Stream(1)
    stream.next_day = False
    for offset, (kind, fields) in enumerate(stream.steps(100)[:-20]):
        if kind not in ("settle", "clock"):
            source, payload = h.encode_step(kind, fields)
            if source not in not_read:
                engine.apply(source, payload, 0, offset, 0)
    engine.flush()
    engine.outbox.clear()
    return engine


def new_risk() -> Any:
    """The risk stage's engine."""
    return trading_engine(lambda: RiskShard(0, 1, h.SCHEMA_IDS), ())


def new_match() -> Any:
    """The match stage's engine."""
    return trading_engine(lambda: MatchShard(0, 1, h.SCHEMA_IDS), NOT_MATCHED)


def new_market() -> Any:
    """The market data engine."""
    return MarketShard(0, 1, MARKET_IDS, MarketLimits())


def samples(source: int, rng: random.Random) -> list[bytes]:
    """Records that are valid: those of a stream, and any that the schema allows."""
    topic = sources.TOPICS[source]
    module = module_of(topic)
    if source == sources.RAW_FEED:
        schema_id = MARKET_IDS[topic]
        found = [
            raw_feed.encode_fields(schema_id, "s", kind, "f", number, "IBM", 1_381_118_400_000_000_000, line)
            for number in range(50)
            for kind, line in (
                (FEED_FORMAT_LEAN_QUOTE, b"34200000,1850000,200,1852000,300,N,1,0"),
                (FEED_FORMAT_LEAN_TRADE, b"34200000,1850000,100,N,0,0"),
            )
        ]
    else:
        schema_id = h.SCHEMA_IDS[topic]
        steps = [h.encode_step(*step) for step in Stream(2).steps(200) if step[0] != "settle"]
        found = [payload for kind, payload in steps if kind == source]
    return found + [module.encode(module.from_dict(random_value(topic, rng)), schema_id) for _ in range(50)]


INPUTS = [
    *((new_risk, source) for source in RISK_SOURCES),
    *((new_match, source) for source in RISK_SOURCES if source not in NOT_MATCHED),
    (new_market, sources.RAW_FEED),
]
ANSWERED_ELSEWHERE = [
    (new_risk, sources.NBBO),
    *((new_match, source) for source in RISK_SOURCES if source not in (sources.NBBO, *NOT_MATCHED)),
]


@pytest.mark.parametrize(
    ("new", "source"), INPUTS, ids=[f"{new.__name__[4:]}-{sources.TOPICS[s]}" for new, s in INPUTS]
)
def test_engine_given_mutated_records_goes_on(
    new: Callable[[], Any], source: int, compiled: bool, pytestconfig: pytest.Config
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    records = samples(source, rng)
    engine = new()
    refused = 0
    for number in range(pytestconfig.getoption("--mutations") or (COMPILED if compiled else INTERPRETED)):
        payload = mutate(rng.choice(records), rng)
        try:
            engine.apply(source, payload, 0, 1_000_000 + number, 0)
            if number % BATCH == 0:
                engine.flush()
                refused += len(engine.outbox.dead_letter.values)
                engine.outbox.clear()
        except InvariantViolation:
            # Our own topic: what contradicts the books there is a bug of ours, and going on would make it worse.
            assert source == sources.OUTCOMES, payload.hex()
            engine = new()
        except Exception as error:
            raise AssertionError(f"record {number} of seed {seed}: {payload.hex()}: {error!r}") from error
    engine.flush()
    if hasattr(engine, "check_invariants"):
        engine.check_invariants()
    # A record that both stages read is answered by one of them, once.
    assert (refused > 0) == ((new, source) not in ANSWERED_ELSEWHERE)
