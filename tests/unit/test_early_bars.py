"""Bars that are told early because their partition is silent: by example, to alerts, and from states of earlier releases."""

from __future__ import annotations

import base64
from pathlib import Path
from random import Random
from typing import Final

import pytest
from alert_streams import IDS, rule
from tick_days import OPENING_NS, SECOND_NS, Tick, random_day

from schemas.messages import alert_rules, alerts, market_analytics, market_data
from schemas.messages.enums import INDICATOR_NAMES, MARKET_DATA_KIND_CANCEL
from udfs.domain.alerting_analytics import AlertingAnalytics
from udfs.domain.analytics_shard import AnalyticsShard
from udfs.domain.sources import ALERT_RULES, MARKET_DATA, PROGRESS
from udfs.domain.state_codec import StateError

GOLDEN: Final = Path(__file__).resolve().parent.parent / "golden"
SHARD_IDS: Final = {"market-data": 21, "market-analytics": 22, "dead-letter": 23}
SPECS: Final = "sma:2,rsi:2"
FIVE_MINUTES_S: Final = 300


def tick(number: int, symbol: str, price: int, volume: int, at_s: float) -> Tick:
    return Tick(number, symbol, price, volume, OPENING_NS + int(at_s * SECOND_NS))


class Bench:
    """An engine whose partition 0 has what a test is about; the others go on. Kafka's time is that of the ticks."""

    def __init__(self, idle_s: int = 60) -> None:
        self.engine = AnalyticsShard(0, 1, SHARD_IDS, SECOND_NS, 300 * SECOND_NS, SPECS, idle_s * SECOND_NS)
        self.number = 0
        self.reached_ms = 0

    def trade(self, price: int, volume: int, at_s: float, symbol: str = "A") -> list[str]:
        self.number += 1
        return self.apply(tick(self.number, symbol, price, volume, at_s).frame(21), at_s)

    def elsewhere(self, at_s: float) -> list[str]:
        """The topic goes on to a time, which is told each second."""
        until_ms = round(at_s * 1_000)
        while self.reached_ms < until_ms:
            before_ms, self.reached_ms = self.reached_ms, min(self.reached_ms + 1_000, until_ms)
            self.engine.progress(before_ms, self.reached_ms)
        return self.written()

    def apply(self, frame: bytes, at_s: float) -> list[str]:
        """What comes of a record: length, name, revision and value of each bar or indicator."""
        self.engine.apply(MARKET_DATA, frame, 0, self.number, round(at_s * 1_000))
        return self.written()

    def written(self) -> list[str]:
        written = self.engine.outbox.market_analytics.values
        found = [text_of(market_analytics.decode(value, 22)) for value in written]
        self.engine.outbox.clear()
        return found


def text_of(record: market_analytics.MarketAnalytics) -> str:
    length_s = (record.window_end - record.window_start) // SECOND_NS
    if record.indicator:
        value = "none" if record.value is None else f"{record.value:.6g}"
        return f"{length_s} {INDICATOR_NAMES[record.indicator]} r{record.revision} {value}"
    return f"{length_s} bar r{record.revision} close {record.close_price} volume {record.volume}"


def cancel(was: Tick, number: int, at_s: float) -> bytes:
    return market_data.encode_fields(
        21, f"c-{number}", MARKET_DATA_KIND_CANCEL, was.symbol, "XNYS", None, 0, None, 0, None, 0, None, False, number,
        "test", OPENING_NS + int(at_s * SECOND_NS), None, original_event_id=f"tick-{was.number}",
        original_price=was.price_e4, original_volume=was.volume, original_timestamp=was.time_ns, original_eligible=True,
    )  # fmt: skip


def test_last_bar_of_a_silent_partition_comes_when_the_topic_is_a_minute_past_its_end() -> None:
    bench = Bench()
    assert bench.trade(10_000, 100, 297) == []
    assert bench.elsewhere(297 + 59.9) == []
    # The clock stands at 297 s; the bar of the second ends at 298.
    assert bench.elsewhere(298 + 59.9) == []
    assert bench.elsewhere(298 + 60) == ["1 bar r0 close 10000 volume 100"]
    # Minute and five minutes end at 300; the hour of half past nine ends at ten.
    assert bench.elsewhere(359.9) == []
    assert bench.elsewhere(360) == [
        "60 bar r0 close 10000 volume 100",
        "300 bar r0 close 10000 volume 100",
        "300 SESSION_VWAP r0 1",
    ]
    assert bench.elsewhere(900) == []
    assert bench.elsewhere(960) == ["900 bar r0 close 10000 volume 100", "900 SESSION_VWAP r0 1"]
    assert bench.elsewhere(1_860) == ["3600 bar r0 close 10000 volume 100", "3600 SESSION_VWAP r0 1"]
    assert bench.elsewhere(9_000) == []


def test_record_of_the_partition_ends_its_silence_and_its_own_clock_gives_the_bars_once_more() -> None:
    bench = Bench()
    bench.trade(10_000, 100, 297)
    assert bench.elsewhere(363)[1:] == [
        "60 bar r0 close 10000 volume 100",
        "300 bar r0 close 10000 volume 100",
        "300 SESSION_VWAP r0 1",
    ]
    assert bench.trade(20_000, 50, 299) == ["1 bar r1 close 10000 volume 100"]
    # It is as old as its timestamp says, but it has only now been read: the silence begins when it came.
    assert bench.elsewhere(363 + 59.9) == []
    assert bench.trade(20_000, 50, 301)[-2:] == ["300 bar r1 close 20000 volume 150", "300 SESSION_VWAP r1 1.33333"]


def test_nothing_is_told_early_when_it_is_off() -> None:
    bench = Bench(0)
    bench.trade(10_000, 100, 297)
    assert bench.elsewhere(9_000) == []
    assert bench.trade(10_000, 100, 299) == ["1 bar r0 close 10000 volume 100"]


def test_partition_that_is_read_ahead_of_the_others_is_not_silent_before_they_have_come_so_far() -> None:
    bench = Bench()
    bench.trade(10_000, 100, 0)
    bench.trade(10_000, 100, 599)
    # The others come from the beginning to the second at which this one was read last, and a minute on.
    assert bench.elsewhere(599) == []
    assert bench.elsewhere(600 + 59.9) == []
    assert "1 bar r0 close 10000 volume 100" in bench.elsewhere(600 + 60)


def test_one_report_however_late_does_not_make_a_partition_idle() -> None:
    bench = Bench()
    bench.trade(10_000, 100, 297)
    bench.elsewhere(298)
    # All sources were silent for an hour. The first of them to speak is heard before this one.
    bench.engine.progress(298_000, 3_898_000)
    assert bench.written() == []
    # Half of the idle time has been counted; the second report completes it.
    bench.engine.progress(3_898_000, 3_926_000)
    assert bench.written() == []
    bench.engine.progress(3_926_000, 3_928_000)
    assert "1 bar r0 close 10000 volume 100" in bench.written()


def test_trade_that_comes_after_its_bar_was_told_is_an_update_of_the_same_key() -> None:
    bench = Bench()
    bench.trade(10_000, 100, 297)
    bench.elsewhere(400)
    # Its own clock has not passed the end: the trade is in time, and the bar waits for it.
    assert bench.trade(30_000, 100, 297.5) == []
    closed = bench.trade(20_000, 7, 302)
    assert closed == [
        "1 bar r1 close 30000 volume 200",
        "60 bar r1 close 30000 volume 200",
        "300 bar r1 close 30000 volume 200",
        "300 SESSION_VWAP r1 2",
    ]
    # After that it is revised as any other.
    assert bench.trade(40_000, 200, 299.5)[-2:] == ["300 bar r2 close 40000 volume 400", "300 SESSION_VWAP r2 3"]
    assert bench.engine.late == 0


def test_bar_told_early_and_unchanged_is_given_once_more_by_its_own_clock() -> None:
    bench = Bench()
    bench.trade(10_000, 100, 58)
    assert bench.elsewhere(125) == ["1 bar r0 close 10000 volume 100", "60 bar r0 close 10000 volume 100"]
    assert bench.trade(10_000, 100, 62) == ["1 bar r1 close 10000 volume 100", "60 bar r1 close 10000 volume 100"]


def test_bar_told_early_whose_trades_were_taken_back_is_given_without_them() -> None:
    bench = Bench()
    only = tick(1, "A", 10_000, 100, 297)
    bench.apply(only.frame(21), 297)
    bench.elsewhere(400)
    assert bench.apply(cancel(only, 2, 297.5), 297.5) == []
    assert bench.trade(20_000, 7, 305, "B") == [
        "1 bar r1 close None volume 0",
        "60 bar r1 close None volume 0",
        "300 bar r1 close None volume 0",
        "300 SESSION_VWAP r1 none",
    ]


def test_indicators_told_early_do_not_move_the_series_of_closed_bars() -> None:
    bench = Bench()
    for number in range(3):
        bench.trade(10_000 + 10_000 * number, 100, 10 + number * FIVE_MINUTES_S)
    told = bench.elsewhere(1_000)
    assert "300 SMA r0 2.5" in told and "300 bar r0 close 30000 volume 100" in told
    # The bar before it is revised all the same, because to its clock it is the last one that was closed.
    revised = bench.trade(40_000, 100, 599)
    assert "300 bar r1 close 40000 volume 200" in revised and "300 SMA r1 2.5" in revised
    closed = bench.trade(30_000, 100, 905)
    assert "300 bar r1 close 30000 volume 100" in closed and "300 SMA r1 3.5" in closed


def test_quotes_of_a_silent_partition_are_told_and_told_again_by_its_clock() -> None:
    bench = Bench()
    bench.trade(10_000, 0, 10)
    told = bench.elsewhere(361)
    assert told == ["300 SPREAD r0 0.02", "300 SPREAD_BPS r0 200", "300 DEPTH_IMBALANCE r0 0"]
    assert bench.elsewhere(400) == []
    bench.trade(20_000, 0, 20)
    assert bench.trade(20_000, 0, 301) == [
        "300 SPREAD r1 0.02",
        "300 SPREAD_BPS r1 100",
        "300 DEPTH_IMBALANCE r1 0",
    ]


def test_bar_told_early_fires_its_alert_by_the_record_that_told_it() -> None:
    engine = AlertingAnalytics(0, 1, IDS, SECOND_NS, 300 * SECOND_NS, SPECS, 60 * SECOND_NS)
    watch = rule("spike", "VOLUME_ABOVE", "A", thresholdE4=500 * 10_000, windowSeconds=60)
    engine.apply(ALERT_RULES, alert_rules.encode(watch, IDS["alert-rules"]), 0, 0, 5)
    engine.apply(MARKET_DATA, tick(1, "A", 10_000, 600, 58).frame(IDS["market-data"]), 0, 1, 58_000)
    for second in range(130):
        engine.apply(PROGRESS, b"", 1, second, 1_000 + 1_000 * second)

    (frame,) = engine.outbox.alerts.values
    alert = alerts.decode(frame, IDS["alerts"])
    assert alert.cause_id == f"A-60s-{OPENING_NS // SECOND_NS}-BAR-0"
    # The clock stood at 58 s, where Kafka's time was 58 s too; the minute was over at 60 s, and another one after that.
    assert (alert.cause_partition, alert.cause_offset, alert.timestamp) == (1, 119, OPENING_NS + 60 * SECOND_NS)
    # When its own clock gives the bar again, the rule holds as before and says nothing.
    engine.apply(MARKET_DATA, tick(3, "A", 10_000, 1, 70).frame(IDS["market-data"]), 0, 2, 70_000)
    assert len(engine.outbox.alerts.values) == 1


def test_state_of_the_release_without_idle_partitions_is_continued() -> None:
    """tests/golden/analytics_state_v3.txt was written by that release after 250 ticks of this day in two partitions."""
    day = random_day(Random(9), 400, 3, 2.0)
    data = base64.decodebytes((GOLDEN / "analytics_state_v3.txt").read_bytes())
    frames = []
    for state in (data, None):
        engine = AnalyticsShard(0, 1, SHARD_IDS, SECOND_NS, 300 * SECOND_NS, SPECS, 0)
        if state is not None:
            engine.restore(state)
        for each in day[250:] if state is not None else day:
            engine.apply(MARKET_DATA, each.frame(21), int(each.symbol[1:]) % 2, each.number, 5)
        frames.append(list(engine.outbox.market_analytics.values))
    assert len(frames[0]) > 100
    assert frames[0] == frames[1][-len(frames[0]) :]


def test_state_with_another_idle_time_is_refused() -> None:
    with pytest.raises(StateError, match="start it afresh"):
        Bench(30).engine.restore(Bench(60).engine.snapshot())
