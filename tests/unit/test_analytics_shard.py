"""The analytics engine: bars against a plain recomputation, indicators against TA-Lib, late trades, clocks, snapshots."""

from __future__ import annotations

import json
import pickle
import random
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from tick_days import OPENING_NS, SECOND_NS, Tick, expected_bars, random_day

from infra.feeds.lean import find_lean_files, read_lean
from jobs.analytics import engine_settings
from jobs.config import AnalyticsConfig
from schemas.messages import dead_letter, market_analytics, market_data, raw_feed
from schemas.messages.enums import (
    ANALYTICS_KIND_BAR,
    DEAD_LETTER_REASON_NAMES,
    INDICATOR_NAMES,
    MARKET_DATA_KIND_TRADE,
)
from udfs.domain.analytics_settings import INDICATOR_LENGTHS_NS, AnalyticsSettings
from udfs.domain.analytics_shard import AnalyticsShard
from udfs.domain.bars import LENGTHS_NS
from udfs.domain.indicator_specs import IndicatorSet, parse_indicators
from udfs.domain.market_shard import MarketShard
from udfs.domain.normalise import LARGEST_LIMIT, MarketLimits
from udfs.domain.sources import MARKET_DATA
from udfs.domain.state_codec import StateError, StateReader, StateWriter

IDS: Final = {"market-data": 21, "market-analytics": 22, "dead-letter": 23}
INDICATORS: Final = "sma:20,ema:20,rsi:14,atr:14,bbands:20:2,macd:12:26:9,rvol:20,relvol:20"
TICKS: Final = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "lean_tick"
MINUTE_5: Final = 300 * SECOND_NS
Record = market_analytics.MarketAnalytics


class Bench:
    """One shard that is fed with ticks; what it wrote, decoded."""

    def __init__(self, indicators: str = INDICATORS, out_of_order_s: int = 1, lateness_s: int = 300) -> None:
        self.shard = AnalyticsShard(0, 1, IDS, out_of_order_s * SECOND_NS, lateness_s * SECOND_NS, indicators)
        self.frames: list[bytes] = []
        self.letters: list[dead_letter.DeadLetter] = []
        self.decoded: list[Record] = []

    def feed(self, ticks: list[Tick], partition: int = 0) -> Bench:
        for tick in ticks:
            self.shard.apply(MARKET_DATA, tick.frame(21), partition, tick.number, 5)
            self.take()
        return self

    def take(self) -> None:
        self.shard.flush()
        self.frames.extend(self.shard.outbox.market_analytics.values)
        self.letters.extend(dead_letter.decode(value, 23) for value in self.shard.outbox.dead_letter.values)
        self.shard.outbox.clear()

    def records(self) -> list[Record]:
        self.decoded += [market_analytics.decode(frame, 22) for frame in self.frames[len(self.decoded) :]]
        return self.decoded

    def bars(self, length_ns: int) -> dict[tuple[str, int], Record]:
        """The last revision of each bar."""
        return {
            (r.symbol, r.window_start): r
            for r in self.records()
            if r.kind == ANALYTICS_KIND_BAR and r.window_end - r.window_start == length_ns
        }


def facts(bar: Record) -> tuple[int | None, ...]:
    prices = (bar.open_price, bar.high_price, bar.low_price, bar.close_price, bar.vwap_price)
    return (*prices, bar.volume, bar.trade_count)


def closing(ticks: list[Tick]) -> Tick:
    """A quote two hours later, whose time closes every bar of its partition."""
    return Tick(10**6, "CLOSE", 10_000, 0, max(tick.time_ns for tick in ticks) + 7_200 * SECOND_NS)


@pytest.mark.parametrize("seed", range(5))
def test_bars_of_a_disordered_day_equal_a_recomputation(seed: int) -> None:
    day = random_day(random.Random(seed), 3_000, 12, 2.0)
    bench = Bench().feed([*day, closing(day)])
    late = {letter.source_offset for letter in bench.letters}

    assert late, "no trade of this day is late, so this test shows less than it should"
    assert {DEAD_LETTER_REASON_NAMES[letter.reason] for letter in bench.letters} == {"LATE"}
    assert {letter.job for letter in bench.letters} == {"analytics"}
    # Half an hour is too late for a bar of five minutes too, and 200 s are not.
    in_time = [tick for tick in day if tick.number not in late]
    for length in LENGTHS_NS[:3]:
        assert {key: facts(bar) for key, bar in bench.bars(length).items()} == expected_bars(in_time, length)
    assert any(record.revision > 0 for record in bench.records())


def test_late_trade_for_seconds_still_counts_in_the_hour() -> None:
    on_time = [Tick(n, "A", 10_000 + n, 100, OPENING_NS + n * 10 * SECOND_NS) for n in range(60)]
    late = Tick(99, "A", 55_000, 7, OPENING_NS + 5)
    bench = Bench().feed([*on_time, late, closing(on_time)])

    assert [letter.source_offset for letter in bench.letters] == [99]
    assert late.frame(21) == bench.letters[0].payload
    hour = next(iter(bench.bars(LENGTHS_NS[4]).values()))
    assert (hour.high_price, hour.volume) == (55_000, 6_007)
    second = bench.bars(LENGTHS_NS[0])["A", OPENING_NS]
    assert (second.high_price, second.volume, second.revision) == (10_000, 100, 0)


@pytest.mark.parametrize("seed", range(3))
def test_indicators_of_revised_bars_equal_those_of_the_final_ones(seed: int) -> None:
    day = random_day(random.Random(100 + seed), 2_500, 3, 12.0)
    specs = "sma:5,ema:4,rsi:3,atr:3,bbands:4:2,macd:2:4:3,rvol:4,relvol:3"
    bench = Bench(specs).feed([*day, closing(day)])
    names = ["SMA5", "EMA4", "RSI3", "ATR3", "BOLLINGER_UPPER4", "", "BOLLINGER_LOWER4"]
    names += ["MACD4", "MACD_SIGNAL4", "MACD_HISTOGRAM4", "VOLATILITY4", "RELATIVE_VOLUME3"]

    for length in INDICATOR_LENGTHS_NS:
        found: dict[tuple[str, int, str], float | None] = {}
        for r in bench.records():
            if r.kind != ANALYTICS_KIND_BAR and r.window_end - r.window_start == length and r.period > 0:
                found[r.symbol, r.window_start, f"{INDICATOR_NAMES[r.indicator]}{r.period}"] = r.value
        expected: dict[tuple[str, int, str], float | None] = {}
        series = {symbol: IndicatorSet(parse_indicators(specs)) for symbol in ("S0", "S1", "S2")}
        for (symbol, start), bar in sorted(bench.bars(length).items()):
            high, low, close = bar.high_price or 0, bar.low_price or 0, bar.close_price or 0
            values = series[symbol].update_bar(high / 1e4, low / 1e4, close / 1e4, float(bar.volume))
            expected |= {
                (symbol, start, name): value
                for name, value in zip(names, values, strict=True)
                if name and value is not None
            }
        assert found == expected
        assert len(found) > 50


def test_indicators_of_published_bars_equal_ta_lib() -> None:
    golden = Path(__file__).resolve().parent.parent / "golden" / "talib_vectors.json"
    vectors = json.loads(golden.read_text("utf-8"))
    ticks = []
    for place in range(252):
        start = OPENING_NS + place * MINUTE_5
        prices = [round(vectors[name][place] * 10_000) for name in ("open", "high", "low", "close")]
        ticks += [
            Tick(4 * place + n, "T", price, 100, start + n * SECOND_NS + 1)
            for n, price in enumerate(prices)
        ]  # fmt: skip
    bench = Bench("rsi:14,atr:14,bbands:20:2,macd:12:26:9,sma:2,ema:10").feed([*ticks, closing(ticks)])
    found = {
        f"{INDICATOR_NAMES[r.indicator]}{r.period}[{(r.window_start - OPENING_NS) // MINUTE_5}]": r.value
        for r in bench.records()
        if r.kind != ANALYTICS_KIND_BAR and r.window_end - r.window_start == MINUTE_5
    }
    compared = [(name, value) for name, value in vectors["expected"] if name in found]
    assert len(compared) >= 12, sorted(name for name, _ in vectors["expected"])
    for name, value in compared:
        assert found[name] == pytest.approx(value, abs=0.01), name


def test_symbol_that_is_silent_is_closed_by_others_of_its_partition_only() -> None:
    first = Tick(1, "A", 10_000, 100, OPENING_NS)
    later = Tick(2, "B", 20_000, 100, OPENING_NS + 10 * SECOND_NS)
    bench = Bench().feed([first])
    bench.feed([later], partition=1)
    assert not bench.frames
    bench.feed([later], partition=0)
    assert [(r.symbol, r.event_id) for r in bench.records()] == [("A", f"A-1s-{OPENING_NS // SECOND_NS}-BAR-0")]


@pytest.mark.parametrize("seed", range(4))
def test_snapshot_restored_at_any_tick_goes_on_the_same(seed: int) -> None:
    day = random_day(random.Random(200 + seed), 1_000, 5, 8.0)
    at = random.Random(seed).randrange(len(day))
    undisturbed = Bench().feed(day)
    before = Bench().feed(day[:at])
    after = Bench()
    after.shard.restore(before.shard.snapshot())
    after.feed(day[at:])

    assert before.frames + after.frames == undisturbed.frames
    assert after.shard.snapshot() == undisturbed.shard.snapshot()
    ids = [r.event_id for r in undisturbed.records()]
    assert len(set(ids)) == len(ids)


def test_snapshot_of_a_turnover_beyond_64_bits_goes_on_the_same() -> None:
    huge = [Tick(n, "A", LARGEST_LIMIT - n, LARGEST_LIMIT, OPENING_NS + n * SECOND_NS) for n in range(1, 900)]
    undisturbed, after = Bench().feed([*huge, closing(huge)]), Bench()
    before = Bench().feed(huge[:450])
    after.shard.restore(before.shard.snapshot())
    after.frames = before.frames
    after.feed([*huge[450:], closing(huge)])
    assert after.frames == undisturbed.frames
    hour = next(iter(undisturbed.bars(LENGTHS_NS[4]).values()))
    assert (hour.vwap_price, hour.volume) == (LARGEST_LIMIT - 450, 899 * LARGEST_LIMIT)


@pytest.mark.parametrize(("price", "volume"), [(LARGEST_LIMIT + 1, 1), (1, LARGEST_LIMIT + 1), (2**63 - 1, 2**63 - 1)])
def test_trade_beyond_what_sums_can_take_is_a_dead_letter(price: int, volume: int) -> None:
    bench = Bench().feed([Tick(1, "A", price, volume, OPENING_NS), closing([Tick(1, "A", 1, 1, OPENING_NS)])])
    assert [DEAD_LETTER_REASON_NAMES[letter.reason] for letter in bench.letters] == ["INVALID_VALUE"]
    assert bench.records() == []


@pytest.mark.parametrize(
    "value", [0, -1, 2**62, 2**63 - 1, 2**63, -(2**63) + 1, -(2**63), -(2**63) - 1, 2**123, -(2**123)]
)
def test_wide_number_is_read_as_it_was_written(value: int) -> None:
    out = StateWriter()
    out.put_wide(value)
    out.put(7)
    reader = StateReader(out.finish(1, 1), 1, 1)
    assert (reader.take_wide(), reader.take()) == (value, 7)
    reader.expect_end()


def test_snapshot_of_other_settings_is_refused_with_what_to_do() -> None:
    snapshot = Bench().shard.snapshot()
    with pytest.raises(StateError, match="start it afresh"):
        Bench(lateness_s=60).shard.restore(snapshot)
    with pytest.raises(StateError, match="number of shards"):
        AnalyticsShard(1, 2, IDS, 0, 0, "sma:2").restore(snapshot)


@pytest.mark.parametrize(
    ("out_of_order", "lateness", "indicators", "message"),
    [
        (-1, 0, "sma:2", "no delay negative"),
        (0, 301 * SECOND_NS, "sma:2", "from 0 to 300 s"),
        (0, 0, "sma:x", "not a whole number"),
        (0, 0, "tr", "not published"),
        (0, 0, "macd:3:6:2,macd:4:6:2", "one of a kind"),
    ],
)
def test_settings_out_of_range_are_refused(out_of_order: int, lateness: int, indicators: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AnalyticsSettings(out_of_order, lateness, indicators)


def test_engine_travels_to_the_cluster_as_pickle() -> None:
    make = partial(AnalyticsShard, shards=1, schema_ids=IDS, **engine_settings(AnalyticsConfig()))
    assert pickle.loads(pickle.dumps(make))(0).snapshot() == make(0).snapshot()


def test_bytes_that_are_no_record_are_dead_letters() -> None:
    bench = Bench()
    bench.shard.apply(MARKET_DATA, b"\x00nonsense", 2, 7, 5)
    bench.take()
    assert [(letter.source_topic, letter.source_offset, letter.payload) for letter in bench.letters] == [
        ("market-data", 7, b"\x00nonsense")
    ]


@pytest.mark.skipif(not TICKS.is_dir(), reason="the real ticks of ../shared/data are not here")
def test_bars_of_the_real_ibm_day_equal_a_recomputation_of_the_file() -> None:
    """All prints through both engines; the expected bars from what the market data engine says of each print."""
    ids = {"raw-feed": 11, "market-data": 21, "nbbo": 13, "dead-letter": 23, "market-depth": 15, "controls": 16}
    market = MarketShard(0, 1, ids, MarketLimits())
    bench = Bench()
    trades: list[Tick] = []
    files = [file for file in find_lean_files([TICKS]) if file.kind == "trade" and f"{file.day:%Y%m%d}" == "20131007"]
    for number, tick in enumerate(read_lean(files)):
        record = tick.record
        payload = raw_feed.encode_fields(
            11, record.source, record.format, record.feed_id, record.sequence, record.symbol, record.base_time_ns, record.payload
        )  # fmt: skip
        market.apply(7, payload, 0, number, 5)
        for frame in market.outbox.market_data.values:
            event = market_data.decode(frame, 21)
            bench.shard.apply(MARKET_DATA, frame, 0, number, 5)
            if event.kind == MARKET_DATA_KIND_TRADE:
                # Sorting is stable: of prints at one time the first opens and the last closes, as in the engine.
                trades.append(
                    Tick(number, "IBM", event.last_price or 0, event.volume, event.timestamp, event.eligible is True)
                )
        market.outbox.clear()
    bench.feed([closing(trades)])

    assert len(trades) > 5_000 and not bench.letters
    for length in LENGTHS_NS:
        expected = expected_bars(trades, length)
        assert {key: facts(bar) for key, bar in bench.bars(length).items()} == expected
    assert len(bench.bars(LENGTHS_NS[1])) > 380, "a day has 390 minutes"
