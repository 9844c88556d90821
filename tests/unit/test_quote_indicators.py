"""Spread and depth imbalance of market-analytics: against a recomputation that looks at all quotes anew, and by example."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import pytest

from schemas.messages import market_analytics, market_data
from schemas.messages.enums import INDICATOR_NAMES, MARKET_DATA_KIND_QUOTE
from udfs.domain.analytics_settings import INDICATOR_LENGTHS_NS
from udfs.domain.analytics_shard import AnalyticsShard
from udfs.domain.bars import SECOND_NS
from udfs.domain.quote_board import QUOTE_LIFE_NS
from udfs.domain.sources import MARKET_DATA

IDS = {"market-data": 21, "market-analytics": 22, "dead-letter": 23}
NAMES = ("SPREAD", "SPREAD_BPS", "DEPTH_IMBALANCE")
OPENING_NS = 1_381_152_600 * SECOND_NS
FIVE_MINUTES = INDICATOR_LENGTHS_NS[0]

Values = dict[tuple[str, int, int, str], float | None]


@dataclass(frozen=True, slots=True)
class Quote:
    """Both sides of one exchange; a price of None is no quote."""

    symbol: str
    exchange: str
    bid: int | None
    bid_size: int
    ask: int | None
    ask_size: int
    time_ns: int
    suspicious: bool = False

    def frame(self, number: int) -> bytes:
        return market_data.encode_fields(
            21,
            f"q-{number}",
            MARKET_DATA_KIND_QUOTE,
            self.symbol,
            self.exchange,
            self.bid,
            self.bid_size,
            self.ask,
            self.ask_size,
            None,
            0,
            None,
            self.suspicious,
            number + 1,
            "test",
            self.time_ns,
            None,
        )


def shard() -> AnalyticsShard:
    return AnalyticsShard(0, 1, IDS, SECOND_NS, 300 * SECOND_NS, "sma:2")


def play(engine: AnalyticsShard, quotes: list[Quote], first: int = 0) -> list[bytes]:
    for number, quote in enumerate(quotes, first):
        engine.apply(MARKET_DATA, quote.frame(number), 0, number, 5)
    frames = list(engine.outbox.market_analytics.values)
    engine.outbox.clear()
    return frames


def values(frames: list[bytes]) -> Values:
    """By symbol, start and length of the window, and indicator. Nothing is told twice."""
    found: Values = {}
    for frame in frames:
        r = market_analytics.decode(frame, 22)
        key = (r.symbol, r.window_start, r.window_end - r.window_start, INDICATOR_NAMES[r.indicator])
        assert key not in found and (r.revision, r.period) == (0, 0)
        found[key] = r.value
    return found


def recomputed(quotes: list[Quote]) -> Values:
    """For each window that is over: all quotes that had come when the clock passed its end, looked at from the beginning."""
    found: Values = {}
    clock = [max(q.time_ns for q in quotes[: n + 1]) for n in range(len(quotes))]
    for length in INDICATOR_LENGTHS_NS:
        starts = {now - now % length for now in clock}
        for start in starts:
            end = start + length
            if clock[-1] < end:
                continue
            come = [q for q, now in zip(quotes, clock, strict=True) if now < end and not q.suspicious]
            inside = {q.symbol for q, now in zip(quotes, clock, strict=True) if start <= now < end and not q.suspicious}
            for symbol in inside:
                last: dict[str, Quote] = {}
                for q in come:
                    if q.symbol == symbol and (q.exchange not in last or q.time_ns >= last[q.exchange].time_ns):
                        last[q.exchange] = q
                live = [q for q in last.values() if q.time_ns >= end - QUOTE_LIFE_NS]
                bids = [(q.bid, q.bid_size) for q in live if q.bid and q.bid_size]
                asks = [(q.ask, q.ask_size) for q in live if q.ask and q.ask_size]
                if not bids or not asks:
                    continue
                bid, ask = max(price for price, _ in bids), min(price for price, _ in asks)
                bid_size = sum(size for price, size in bids if price == bid)
                ask_size = sum(size for price, size in asks if price == ask)
                spread = ask / 1e4 - bid / 1e4
                key = (symbol, start, length)
                found[*key, "SPREAD"] = spread
                found[*key, "SPREAD_BPS"] = spread / ((bid / 1e4 + ask / 1e4) / 2) * 10_000
                found[*key, "DEPTH_IMBALANCE"] = (bid_size - ask_size) / (bid_size + ask_size)
    return found


def random_quotes(seed: int, count: int) -> list[Quote]:
    """Three hours of quotes, some out of order, some without a side, some suspicious, and a silence of half an hour."""
    random = Random(seed)
    quotes = []
    time_ns = OPENING_NS
    for _ in range(count):
        time_ns += int(random.expovariate(count / (9_000 * SECOND_NS)))
        if time_ns % (3_600 * SECOND_NS) < 60 * SECOND_NS and random.random() < 0.2:
            time_ns += 1_800 * SECOND_NS
        middle = 1_000_000 + random.randrange(-50, 51) * 100
        bid = None if random.random() < 0.05 else middle - random.randrange(1, 5) * 100
        ask = None if random.random() < 0.05 else middle + random.randrange(1, 5) * 100
        late = int(random.uniform(0, 2) * SECOND_NS) if random.random() < 0.1 else 0
        quotes.append(
            Quote(
                random.choice("AAB"),
                random.choice(("XNYS", "XNAS", "ARCX")),
                bid,
                0 if bid is None else random.randrange(1, 9) * 100,
                ask,
                0 if ask is None else random.randrange(1, 9) * 100,
                time_ns - late,
                random.random() < 0.03,
            )
        )
    return quotes


@pytest.mark.parametrize("seed", range(3))
def test_quote_indicators_equal_a_recomputation(seed: int) -> None:
    quotes = random_quotes(seed, 700)
    found = values(play(shard(), quotes))
    assert found == recomputed(quotes)
    assert len(found) > 100 and {name for *_, name in found} == set(NAMES)


@pytest.mark.parametrize("seed", range(3))
def test_quote_indicators_go_on_from_a_snapshot(seed: int) -> None:
    quotes = random_quotes(10 + seed, 300)
    at = Random(seed).randrange(len(quotes))
    whole = play(shard(), quotes)
    before, after = shard(), shard()
    frames = play(before, quotes[:at])
    after.restore(before.snapshot())
    assert frames + play(after, quotes[at:], at) == whole


def test_best_quote_takes_the_sizes_of_all_exchanges_at_its_prices() -> None:
    time_ns = OPENING_NS + SECOND_NS
    quotes = [
        Quote("A", "XNYS", 999_900, 300, 1_000_100, 100, time_ns),
        Quote("A", "XNAS", 999_900, 200, 1_000_200, 900, time_ns),
        Quote("A", "ARCX", 999_800, 800, 1_000_100, 100, time_ns),
        Quote("B", "XNYS", 10_000, 100, None, 0, OPENING_NS + FIVE_MINUTES),
    ]
    found = values(play(shard(), quotes))
    assert found == {
        ("A", OPENING_NS, FIVE_MINUTES, "SPREAD"): pytest.approx(0.02),
        ("A", OPENING_NS, FIVE_MINUTES, "SPREAD_BPS"): pytest.approx(2.0),
        ("A", OPENING_NS, FIVE_MINUTES, "DEPTH_IMBALANCE"): pytest.approx(300 / 700),
    }


def test_window_without_a_quote_or_with_one_side_tells_nothing() -> None:
    quotes = [
        Quote("A", "XNYS", 999_900, 300, None, 0, OPENING_NS),
        Quote("B", "XNYS", 999_900, 300, 1_000_100, 100, OPENING_NS),
        *(Quote("C", "XNYS", None, 0, None, 0, OPENING_NS + n * FIVE_MINUTES) for n in range(1, 4)),
    ]
    found = values(play(shard(), quotes))
    assert {(symbol, start) for symbol, start, length, _ in found if length == FIVE_MINUTES} == {("B", OPENING_NS)}
