"""Corrections and cancels of trades: bars and indicators against a recomputation from what the trades are in the end.

The recomputation knows only the last word on each trade that was in time; it sorts, and has no watermark and no revision.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from random import Random
from typing import Final, Self
from zoneinfo import ZoneInfo

import pytest
from tick_days import OPENING_NS, SECOND_NS, Tick, expected_bars, random_day

from schemas.messages import dead_letter, market_analytics, market_data
from schemas.messages.enums import (
    ANALYTICS_KIND_BAR,
    DEAD_LETTER_REASON_NAMES,
    INDICATOR_NAMES,
    INDICATOR_SESSION_VWAP,
    MARKET_DATA_KIND_CANCEL,
    MARKET_DATA_KIND_CORRECTION,
)
from udfs.domain.analytics_settings import INDICATOR_LENGTHS_NS
from udfs.domain.analytics_shard import AnalyticsShard
from udfs.domain.bars import LENGTHS_NS
from udfs.domain.indicator_specs import IndicatorSet, parse_indicators
from udfs.domain.sources import MARKET_DATA

IDS: Final = {"market-data": 21, "market-analytics": 22, "dead-letter": 23}
SPECS: Final = "sma:2,ema:2,rsi:2,atr:2,bbands:2:2,macd:1:2:1,rvol:2,relvol:2"
NAMES: Final = ["SMA2", "EMA2", "RSI2", "ATR2", "BOLLINGER_UPPER2", "", "BOLLINGER_LOWER2", "MACD2", "MACD_SIGNAL2"]
NAMES_ALL: Final = [*NAMES, "MACD_HISTOGRAM2", "VOLATILITY2", "RELATIVE_VOLUME2"]
LATENESS_S: Final = 300
NEW_YORK: Final = ZoneInfo("America/New_York")
Record = market_analytics.MarketAnalytics


@dataclass(frozen=True, slots=True)
class Change:
    """A trade as it was said until now, and as it should be; without `right` it is taken back."""

    number: int
    was: Tick
    right: Tick | None
    time_ns: int

    def frame(self, schema_id: int) -> bytes:
        """The record of market-data."""
        right = self.right
        return market_data.encode_fields(
            schema_id,
            f"change-{self.number}",
            MARKET_DATA_KIND_CANCEL if right is None else MARKET_DATA_KIND_CORRECTION,
            self.was.symbol,
            "XNYS",
            None,
            0,
            None,
            0,
            None if right is None else right.price_e4,
            0 if right is None else right.volume,
            None,
            False,
            self.number,
            "test",
            self.time_ns,
            None if right is None else right.eligible,
            original_event_id=f"tick-{self.was.number}",
            original_price=self.was.price_e4,
            original_volume=self.was.volume,
            original_timestamp=self.was.time_ns,
            original_eligible=self.was.eligible,
        )


class Play:
    """An engine that is fed with ticks and changes; what it wrote."""

    def __init__(self, idle_s: int = 0) -> None:
        self.shard = AnalyticsShard(0, 1, IDS, SECOND_NS, LATENESS_S * SECOND_NS, SPECS, idle_s * SECOND_NS)
        self.frames: list[bytes] = []
        self.letters: list[dead_letter.DeadLetter] = []

    def partition_of(self, record: Tick | Change) -> int:
        """Where a record lies: all in one."""
        return 0

    def put(self, record: Tick | Change) -> None:
        """Give the engine a record."""
        self.shard.apply(MARKET_DATA, record.frame(21), self.partition_of(record), record.number, 5)

    def feed(self, records: list[Tick | Change]) -> Self:
        for record in records:
            self.put(record)
            self.frames += self.shard.outbox.market_analytics.values
            self.letters += [dead_letter.decode(value, 23) for value in self.shard.outbox.dead_letter.values]
            self.shard.outbox.clear()
        return self

    def records(self) -> list[Record]:
        return [market_analytics.decode(frame, 22) for frame in self.frames]

    def bars(self, length_ns: int) -> dict[tuple[str, int], Record]:
        """The highest revision of each bar."""
        last: dict[tuple[str, int], Record] = {}
        for record in self.records():
            if record.kind == ANALYTICS_KIND_BAR and record.window_end - record.window_start == length_ns:
                key = (record.symbol, record.window_start)
                assert record.revision == (last[key].revision + 1 if key in last else 0)
                last[key] = record
        return last


def facts(bar: Record) -> tuple[int | None, ...]:
    prices = (bar.open_price, bar.high_price, bar.low_price, bar.close_price, bar.vwap_price)
    return (*prices, bar.volume, bar.trade_count)


def day_with_changes(seed: int, ticks: int, symbols: int, hours: float) -> tuple[list[Tick | Change], list[Tick]]:
    """Records in the order of their coming, none of whose trades is late, and the ticks without changes."""
    random = Random(seed)
    day = random_day(random, ticks, symbols, hours)
    late = {letter.source_offset for letter in Play().feed([*day]).letters}
    day = [tick for tick in day if tick.number not in late]
    records: list[Tick | Change] = []
    now: dict[int, Tick] = {}
    waiting: list[tuple[int, int]] = []
    newest = number = 0
    for tick in day:
        records.append(tick)
        newest = max(newest, tick.time_ns)
        if tick.volume > 0:
            now[tick.number] = tick
            for _ in range(random.choice((0, 0, 0, 0, 0, 1, 1, 2))):
                waiting.append((tick.time_ns + int(random.expovariate(0.01) * SECOND_NS), tick.number))
        due = sorted(entry for entry in waiting if entry[0] <= newest)
        waiting = [entry for entry in waiting if entry[0] > newest]
        for _, wrong in due:
            was = now.get(wrong)
            if was is None:
                continue
            price, volume = was.price_e4 + random.randrange(-900, 901), random.randrange(1, 900)
            right = replace(was, price_e4=price, volume=volume, eligible=random.random() > 0.2)
            change = Change(10**6 + number, was, None if random.random() < 0.5 else right, newest)
            records.append(change)
            number += 1
            # What market_data says next of this trade begins from here, whether the change was in time or not.
            if change.right is None:
                del now[wrong]
            else:
                now[wrong] = change.right
    return records, day


def in_the_end(records: list[Tick | Change], late: set[int]) -> list[Tick]:
    """The trades with the changes that were in time."""
    trades = {record.number: record for record in records if isinstance(record, Tick)}
    for record in records:
        if isinstance(record, Change) and record.number not in late:
            if record.right is None:
                del trades[record.was.number]
            else:
                trades[record.was.number] = record.right
    return list(trades.values())


def closing(records: list[Tick | Change]) -> Tick:
    return Tick(10**7, "CLOSE", 10_000, 0, max(record.time_ns for record in records) + 7_200 * SECOND_NS)


@pytest.mark.parametrize("seed", range(4))
def test_bars_after_changes_equal_a_recomputation(seed: int) -> None:
    records, _ = day_with_changes(seed, 700, 8, 1.0)
    play = Play().feed([*records, closing(records)])
    reasons = {DEAD_LETTER_REASON_NAMES[letter.reason] for letter in play.letters}
    late = {letter.source_offset for letter in play.letters}

    assert reasons <= {"LATE", "INVALID_VALUE"} and "LATE" in reasons, (
        "no change of this day is late: it shows too little"
    )
    expected_trades = in_the_end(records, late)
    emptied = 0
    for length in LENGTHS_NS:
        bars = play.bars(length)
        expected = expected_bars(expected_trades, length)
        assert {key: facts(bar) for key, bar in bars.items() if bar.trade_count} == expected
        for key, bar in bars.items():
            if not bar.trade_count:
                emptied += 1
                assert key not in expected and facts(bar) == (None, None, None, None, None, 0, 0)
                assert bar.timestamp == bar.window_end
    assert emptied > 0, "no bar of this day has lost all its trades: it shows too little"


@pytest.mark.parametrize("seed", range(3))
def test_indicators_after_changes_equal_those_of_the_final_bars(seed: int) -> None:
    records, _ = day_with_changes(100 + seed, 700, 3, 12.0)
    play = Play().feed([*records, closing(records)])

    taken_back = 0
    for length in INDICATOR_LENGTHS_NS:
        found: dict[tuple[str, int, str], tuple[int, float | None]] = {}
        for r in play.records():
            if r.kind != ANALYTICS_KIND_BAR and r.window_end - r.window_start == length and r.period > 0:
                found[r.symbol, r.window_start, f"{INDICATOR_NAMES[r.indicator]}{r.period}"] = (r.revision, r.value)
                taken_back += r.value is None
        bars = play.bars(length)
        expected: dict[tuple[str, int, str], float | None] = {}
        series = {bar.symbol: IndicatorSet(parse_indicators(SPECS)) for bar in bars.values()}
        for (symbol, start), bar in sorted(bars.items()):
            if not bar.trade_count:
                continue
            high, low, close = bar.high_price or 0, bar.low_price or 0, bar.close_price or 0
            values = series[symbol].update_bar(high / 1e4, low / 1e4, close / 1e4, float(bar.volume))
            expected |= {
                (symbol, start, name): value
                for name, value in zip(NAMES_ALL, values, strict=True)
                if name and value is not None
            }
        assert {key: value for key, (_, value) in found.items() if value is not None} == expected
        for (symbol, start, _), (revision, _) in found.items():
            assert revision <= bars[symbol, start].revision
    assert taken_back > 0, "no indicator lost its bar: it shows too little"


@pytest.mark.parametrize("seed", range(2))
def test_session_vwap_after_changes_is_that_of_the_trades(seed: int) -> None:
    # Fifteen hours from half past nine: two days in New York, without late trades, so that bars hold all trades.
    records, _ = day_with_changes(300 + seed, 500, 2, 16.0)
    play = Play().feed([*records, closing(records)])
    trades = [
        t for t in in_the_end(records, {letter.source_offset for letter in play.letters}) if t.volume and t.eligible
    ]

    days = set()
    for length in INDICATOR_LENGTHS_NS:
        found: dict[tuple[str, int], float | None] = {}
        for r in play.records():
            if r.indicator == INDICATOR_SESSION_VWAP and r.window_end - r.window_start == length:
                found[r.symbol, r.window_start] = r.value
        expected: dict[tuple[str, int], float | None] = {}
        for key, bar in play.bars(length).items():
            day = datetime.fromtimestamp(bar.window_start // SECOND_NS, NEW_YORK).date()
            days.add(day)
            so_far = [
                t
                for t in trades
                if t.symbol == bar.symbol
                and t.time_ns < bar.window_end
                and datetime.fromtimestamp(t.time_ns // SECOND_NS, NEW_YORK).date() == day
            ]
            volume = sum(t.volume for t in so_far)
            # A bar that has lost all its trades has none.
            turnover = sum(t.price_e4 * t.volume for t in so_far)
            expected[key] = turnover / (volume * 10_000) if bar.trade_count else None
        assert {key: value for key, value in found.items() if value is not None} == {
            key: value for key, value in expected.items() if value is not None
        }
        assert all(expected[key] is None for key, value in found.items() if value is None)
        assert len(found) > 20
    assert len(days) == 2


@pytest.mark.parametrize("seed", range(3))
def test_snapshot_between_changes_goes_on_the_same(seed: int) -> None:
    records, _ = day_with_changes(200 + seed, 400, 4, 2.0)
    at = Random(seed).randrange(len(records))
    undisturbed = Play().feed(records)
    before = Play().feed(records[:at])
    after = Play()
    after.shard.restore(before.shard.snapshot())
    after.feed(records[at:])
    assert before.frames + after.frames == undisturbed.frames
    assert after.shard.snapshot() == undisturbed.shard.snapshot()


def test_change_after_the_lateness_is_a_dead_letter_and_no_bar_changes() -> None:
    first = Tick(0, "A", 10_000, 100, OPENING_NS)
    later = [Tick(n, "A", 10_100, 100, OPENING_NS + n * 100 * SECOND_NS) for n in range(1, 5)]
    play = Play().feed([first, *later])
    change = Change(77, first, None, OPENING_NS + 400 * SECOND_NS)
    frames = len(play.frames)
    play.feed([change])

    assert [(letter.source_offset, DEAD_LETTER_REASON_NAMES[letter.reason]) for letter in play.letters] == [
        (77, "LATE")
    ]
    assert "400.000 s behind" in play.letters[0].detail and play.letters[0].payload == change.frame(21)
    assert len(play.frames) == frames


def test_change_of_a_trade_that_never_came_is_a_dead_letter() -> None:
    trade = Tick(0, "A", 10_000, 100, OPENING_NS)
    unknown = replace(trade, number=5, price_e4=11_111)
    play = Play().feed([trade, Change(78, unknown, None, OPENING_NS + SECOND_NS)])

    (letter,) = play.letters
    assert DEAD_LETTER_REASON_NAMES[letter.reason] == "INVALID_VALUE" and "no trade of its second" in letter.detail


def test_cancel_of_the_only_trade_gives_the_bar_again_without_prices() -> None:
    trade = Tick(0, "A", 10_000, 100, OPENING_NS)
    play = Play().feed([trade, Tick(1, "B", 1, 0, OPENING_NS + 2 * SECOND_NS)])
    play.feed([Change(2, trade, None, OPENING_NS + 3 * SECOND_NS)])
    assert [(r.revision, r.close_price, r.trade_count) for r in play.records()] == [(0, 10_000, 1), (1, None, 0)]
