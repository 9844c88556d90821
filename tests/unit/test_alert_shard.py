"""Alerts: what each kind of rule fires on, hysteresis and cool-down, rules that change, what an alert says, state."""

from __future__ import annotations

import base64
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
from alert_streams import IDS, INDICATORS, random_records, rule
from tick_days import OPENING_NS, SECOND_NS, Tick

from jobs.bench_alerts import measure
from schemas.messages import alert_rules, alerts, dead_letter, market_analytics, market_data, market_status, nbbo
from schemas.messages.enums import (
    ALERT_CONDITION_NAMES,
    DEAD_LETTER_REASON_NAMES,
    MARKET_CAUSE_CODES,
    MARKET_DATA_KIND_STALE,
    MARKET_STATE_CODES,
)
from udfs.domain.alert_shard import ALERTS_KIND
from udfs.domain.alerting_analytics import AlertingAnalytics
from udfs.domain.analytics_shard import AnalyticsShard
from udfs.domain.sharding import shard_of
from udfs.domain.sources import ALERT_RULES, MARKET_DATA, MARKET_STATUS, NBBO, PROGRESS
from udfs.domain.state_codec import StateError

GOLDEN: Final = Path(__file__).resolve().parent.parent / "golden"


def new_engine(shard: int = 0, shards: int = 1, idle_s: int = 60) -> AlertingAnalytics:
    return AlertingAnalytics(shard, shards, IDS, SECOND_NS, 300 * SECOND_NS, INDICATORS, idle_s * SECOND_NS)


class Bench:
    """One shard; what it wrote since it was last asked."""

    def __init__(self, *rules: alert_rules.AlertRule) -> None:
        self.engine = new_engine()
        self.offset = 0
        for each in rules:
            self.change(each)

    def apply(self, source: int, frame: bytes, partition: int = 0, kafka_ms: int = 5) -> list[alerts.Alert]:
        self.offset += 1
        self.engine.apply(source, frame, partition, self.offset, kafka_ms)
        outbox = self.engine.outbox
        found = [alerts.decode(value, IDS["alerts"]) for value in outbox.alerts.values]
        assert outbox.alerts.keys == [alert.symbol.encode() for alert in found]
        outbox.alerts.clear()
        return found

    def change(self, changed: alert_rules.AlertRule) -> list[alerts.Alert]:
        return self.apply(ALERT_RULES, alert_rules.encode(changed, IDS["alert-rules"]))

    def trade(self, price: int, at_s: float, symbol: str = "A", volume: int = 100, **more: Any) -> list[str]:
        return [alert.rule_id for alert in self.traded(price, at_s, symbol, volume, **more)]

    def traded(
        self, price: int, at_s: float, symbol: str = "A", volume: int = 100, partition: int = 0, eligible: bool = True
    ) -> list[alerts.Alert]:
        tick = Tick(self.offset + 1, symbol, price, volume, OPENING_NS + int(at_s * SECOND_NS), eligible)
        return self.apply(MARKET_DATA, tick.frame(IDS["market-data"]), partition)

    def letters(self) -> list[dead_letter.DeadLetter]:
        return [dead_letter.decode(value, IDS["dead-letter"]) for value in self.engine.outbox.dead_letter.values]


def test_price_above_fires_at_the_threshold_and_again_only_after_the_price_was_below() -> None:
    bench = Bench(rule("up", "PRICE_ABOVE", thresholdE4=1_000))
    assert [bench.trade(price, n) for n, price in enumerate([999, 1_000, 1_001, 1_000, 999, 1_500])] == [
        [], ["up"], [], [], [], ["up"],
    ]  # fmt: skip


def test_price_below_fires_at_its_first_value_when_that_is_beyond() -> None:
    bench = Bench(rule("down", "PRICE_BELOW", thresholdE4=1_000))
    assert [bench.trade(price, n) for n, price in enumerate([900, 1_000, 1_001, 1_000])] == [
        ["down"], [], [], ["down"],
    ]  # fmt: skip


def test_price_that_trembles_within_the_hysteresis_fires_once() -> None:
    bench = Bench(rule("up", "PRICE_ABOVE", thresholdE4=1_000, hysteresisE4=10))
    fired = [bench.trade(1_000 - 10 * (n % 2), n) for n in range(50)]
    assert fired == [["up"]] + [[]] * 49
    assert bench.trade(989, 60) == []
    assert bench.trade(1_000, 61) == ["up"]


def test_price_cross_fires_in_both_directions_and_not_by_its_first_value() -> None:
    bench = Bench(rule("x", "PRICE_CROSS", thresholdE4=1_000))
    assert [bench.trade(price, n) for n, price in enumerate([1_500, 999, 998, 1_000])] == [[], ["x"], [], ["x"]]


def test_alert_within_the_cool_down_is_left_out_and_the_next_comes_after_it() -> None:
    bench = Bench(rule("up", "PRICE_ABOVE", thresholdE4=1_000, cooldownSeconds=10))
    assert bench.trade(1_000, 0) == ["up"]
    bench.trade(900, 1)
    assert bench.trade(1_000, 9.9) == []
    bench.trade(900, 9.95)
    assert bench.trade(1_000, 10) == ["up"]


@pytest.mark.parametrize(
    ("condition", "threshold", "prices", "fired"),
    [
        ("CHANGE_ABOVE", 20_000, [(0, 10_000), (9, 10_199), (10, 10_200)], [10]),
        ("CHANGE_BELOW", -20_000, [(0, 10_000), (9, 9_801), (10, 9_800)], [10]),
        ("MOVE_ABOVE", 20_000, [(0, 10_000), (9, 9_800), (500, 9_800), (505, 9_996)], [9, 505]),
        # The low is out of the window when the price comes up.
        ("CHANGE_ABOVE", 20_000, [(0, 10_000), (5, 10_100), (66, 10_201)], []),
    ],
)
def test_move_within_a_minute(condition: str, threshold: int, prices: list[tuple[int, int]], fired: list[int]) -> None:
    bench = Bench(rule("m", condition, windowSeconds=60, thresholdE4=threshold))
    assert [at for at, price in prices if bench.trade(price, at)] == fired


def test_move_tells_where_it_began() -> None:
    bench = Bench(rule("m", "CHANGE_ABOVE", windowSeconds=60, thresholdE4=20_000))
    bench.trade(10_000, 0)
    (alert,) = bench.traded(10_300, 30)
    assert (alert.observed_e4, alert.previous_e4, alert.reference_e4) == (30_000, 0, 10_000)
    assert alert.detail == "A moved 3.00% from 1.00 within 1 min; the limit is 2.00%"


def test_volume_of_a_bar_is_told_by_the_record_that_closes_it() -> None:
    bench = Bench(rule("v", "VOLUME_ABOVE", windowSeconds=60, thresholdE4=300 * 10_000))
    assert bench.trade(1_000, 0, volume=299) == []
    assert bench.trade(1_000, 59, volume=1) == []
    (alert,) = bench.traded(1_000, 62)
    assert (alert.observed_e4, alert.cause_offset) == (3_000_000, bench.offset)
    assert alert.timestamp == OPENING_NS + 62 * SECOND_NS
    assert alert.cause_id == f"A-60s-{OPENING_NS // SECOND_NS}-BAR-0"
    assert alert.event_id == f"v:{alert.cause_id}"
    assert alert.detail == "A traded 300 shares in 1 min; the limit is 300.00"


def indicator(rule_id: str, condition: str, **fields: Any) -> alert_rules.AlertRule:
    return rule(rule_id, condition, **{"indicator": "SMA", "period": 2, "windowSeconds": 300} | fields)


def test_indicator_threshold_and_cross_of_two_indicators() -> None:
    second = {"secondIndicator": "EMA", "secondPeriod": 3}
    bench = Bench(
        indicator("high", "INDICATOR_ABOVE", thresholdE4=11_000),
        indicator("low", "INDICATOR_BELOW", thresholdE4=10_500),
        indicator("golden", "INDICATOR_CROSS", **second),
        indicator("wide", "INDICATOR_ABOVE", thresholdE4=100, **second),
    )
    fired = [
        (n, bench.trade(price, n * 300 + 2))
        for n, price in enumerate([10_000, 10_000, 10_000, 12_000, 12_000, 9_000, 9_000])
    ]
    assert [(n, rules) for n, rules in fired if rules] == [
        # SMA(2) and EMA(3) of the bars before: 10000, then 11000 against 11000, 12000 against 11500, 10500 against 10250.
        (2, ["low"]),
        (4, ["high"]),
        (5, ["wide"]),
        (6, ["low"]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "threshold_e4", "observed_e4", "words"),
    [
        ("SESSION_VWAP", 10_000, 10_500, "A SESSION_VWAP of 5 min bars at 1.05 is at or above 1.00"),
        ("SPREAD", 100, 200, "A SPREAD of 5 min bars at 0.02 is at or above 0.01"),
        ("SPREAD_BPS", 1_500_000, 2_000_000, "A SPREAD_BPS of 5 min bars at 200.00 is at or above 150.00"),
        ("DEPTH_IMBALANCE", 0, 0, "A DEPTH_IMBALANCE of 5 min bars at 0.00 is at or above 0.00"),
    ],
)
def test_indicators_without_a_period_are_watched_as_any_other(
    name: str, threshold_e4: int, observed_e4: int, words: str
) -> None:
    bench = Bench(indicator("r", "INDICATOR_ABOVE", indicator=name, period=0, thresholdE4=threshold_e4))
    for price, volume, at_s in ((10_000, 100, 1), (11_000, 100, 2), (10_000, 0, 3)):
        assert bench.trade(price, at_s, volume=volume) == []
    (alert,) = bench.traded(9_000, 302, "B")
    assert (alert.rule_id, alert.observed_e4, alert.detail) == ("r", observed_e4, words)


def test_average_less_the_vwap_of_the_session_crosses() -> None:
    second = {"secondIndicator": "SESSION_VWAP", "secondPeriod": 0}
    bench = Bench(indicator("r", "INDICATOR_CROSS", **second))
    # SMA 2 less VWAP of the bars before: 10500 - 10500 only tells the side, then 8500 - 9666.
    fired = [bench.trade(price, n * 300 + 2) for n, price in enumerate([10_000, 11_000, 6_000, 6_000])]
    assert fired == [[], [], [], ["r"]]


def test_spread_is_measured_against_its_middle_and_old_sequences_are_left_out() -> None:
    bench = Bench(rule("s", "SPREAD_ABOVE", thresholdE4=10_000))

    def quote(sequence: int, bid: int | None, ask: int | None) -> list[alerts.Alert]:
        frame = nbbo.encode(
            nbbo.Nbbo(f"A-{sequence}", "A", bid, 1, None, ask, 1, None, [], None, sequence, OPENING_NS), IDS["nbbo"]
        )
        return bench.apply(NBBO, frame)

    assert not quote(1, 99_600, 100_400)
    assert not quote(2, None, 100_400)
    (alert,) = quote(4, 99_500, 100_500)
    assert (alert.observed_e4, alert.previous_e4, alert.cause_topic) == (10_000, 8_000, "nbbo")
    assert not quote(3, 99_900, 100_100)
    assert not quote(5, 99_000, 101_000)


def test_halt_and_pause_fire_and_other_states_end_it() -> None:
    bench = Bench(rule("h", "HALTED", symbol="*", severity="CRITICAL"))

    def state(name: str) -> list[alerts.Alert]:
        record = market_status.MarketStatus(
            f"status-A-{bench.offset}", "A", MARKET_STATE_CODES[name], MARKET_CAUSE_CODES["CONTROL"],
            None, None, None, None, 0, 0, False, None, "news pending " * 70, "c", OPENING_NS,
        )  # fmt: skip
        return bench.apply(MARKET_STATUS, market_status.encode(record, IDS["market-status"]))

    assert [len(state(name)) for name in ("OPEN", "HALTED", "PAUSED", "OPEN", "PAUSED")] == [0, 1, 0, 0, 1]
    state("OPEN")
    (alert,) = state("HALTED")
    assert (alert.detail or "").startswith("A is HALTED (CONTROL): news pending")
    assert (alert.observed_e4, alert.threshold_e4) == (10_000, 10_000)


def test_silence_is_told_by_records_of_others_of_the_partition_once_and_again_after_a_record() -> None:
    bench = Bench(rule("still", "STALE", windowSeconds=5))
    assert bench.trade(1_000, 0) == []
    assert bench.trade(1_000, 4.9, "B") == []
    assert bench.trade(1_000, 60, "C", partition=1) == []
    (alert,) = bench.traded(1_000, 5.5, "B")
    assert (alert.symbol, alert.observed_e4, alert.cause_offset) == ("A", 55_000, bench.offset)
    assert alert.detail == "A has been silent for 5.50 s; the limit is 5 s"
    assert bench.trade(1_000, 30, "B") == []
    assert bench.trade(1_000, 31, "A", volume=0) == []
    assert bench.trade(1_000, 36, "B") == ["still"]


def test_silence_of_a_whole_partition_is_told_by_the_time_that_others_have_gone_on_without_it() -> None:
    bench = Bench(rule("still", "STALE", windowSeconds=5), rule("long", "STALE", windowSeconds=90))
    bench.trade(1_000, 0, partition=3)
    bench.trade(1_000, 2, "B", partition=3)
    # Kafka had both at 5 ms; the topic goes on elsewhere, in no partition of this shard, and is told of each second.
    for second in range(60):
        assert bench.apply(PROGRESS, b"", 7, kafka_ms=5 + 1_000 * second) == []
    (alert,) = bench.apply(PROGRESS, b"", 7, kafka_ms=60_005)
    # Its clock stood at 2 s, and a minute has passed without it.
    assert (alert.rule_id, alert.symbol, alert.observed_e4) == ("still", "A", 620_000)
    assert alert.timestamp == OPENING_NS + 62 * SECOND_NS
    assert (alert.cause_id, alert.cause_topic) == (f"market-data-7-{bench.offset}", "market-data")
    assert (alert.cause_partition, alert.cause_offset) == (7, bench.offset)
    assert alert.detail == "A has been silent for 62.00 s; the limit is 5 s"
    assert [found.rule_id for found in bench.apply(PROGRESS, b"", 7, kafka_ms=88_005)] == ["long"]
    assert bench.apply(PROGRESS, b"", 7, kafka_ms=500_000) == []
    # It speaks again, at a time that its clock has not passed.
    assert bench.trade(1_000, 3, partition=3) == []
    assert bench.trade(1_000, 8, "B", partition=3) == ["still"]


def test_silence_of_a_partition_is_not_told_by_others_when_idle_time_is_off() -> None:
    bench = Bench()
    bench.engine = new_engine(idle_s=0)
    bench.change(rule("still", "STALE", windowSeconds=5))
    bench.trade(1_000, 0)
    for second in range(300):
        assert bench.apply(PROGRESS, b"", 7, kafka_ms=1_000 * second) == []


@pytest.mark.parametrize("version", [1, 2])
def test_state_of_an_earlier_release_is_continued(version: int) -> None:
    """Written after 250 records of this day in two partitions. The first kept no times of Kafka, the second no silence."""
    data = base64.decodebytes((GOLDEN / f"alerts_state_v{version}.txt").read_bytes())
    restored, undisturbed = new_engine(), new_engine()
    restored.restore(data)
    records = list(random_records(Random(77), 400, 3, 30, progress=False))
    for source, frame, partition, offset, _ in records[:250]:
        undisturbed.apply(source, frame, partition, offset, 5)
    undisturbed.outbox.clear()
    for engine in (restored, undisturbed):
        engine.apply(PROGRESS, b"", 2, 0, 5)
        for source, frame, partition, offset, _ in records[250:]:
            engine.apply(source, frame, partition, offset, 6)
        for second in range(900):
            engine.apply(PROGRESS, b"", 2, 1 + second, 1_000 * second)
    # Those releases told bars early by other rules: what is said of them is the same in the end, in other revisions.
    bars, fired, letters = zip(*map(what_was_said, (restored, undisturbed)), strict=True)
    assert bars[0] == bars[1] and len(bars[0]) > 100
    assert fired[0] == fired[1] and len(fired[0]) > 50
    assert letters[0] == letters[1]


def what_was_said(engine: AlertingAnalytics) -> tuple[dict[str, Any], list[Any], list[bytes]]:
    """The last revision of each bar and indicator; the alerts that no bar caused; the dead letters."""
    bars = {}
    for record in map(market_analytics.decode, engine.outbox.market_analytics.values):
        bars[record.event_id.rpartition("-")[0]] = {**market_analytics.to_dict(record), "eventId": 0, "revision": 0}
    fired = [alerts.to_dict(alert) for alert in map(alerts.decode, engine.outbox.alerts.values)]
    of_others = [alert for alert in fired if alert["causeId"].rpartition("-")[0] not in bars]
    return bars, of_others, engine.outbox.dead_letter.values


def test_notice_of_a_stale_feed_is_no_sign_of_life() -> None:
    bench = Bench(rule("still", "STALE", windowSeconds=5))
    bench.trade(1_000, 0)
    notice = market_data.decode(Tick(9, "A", 1_000, 0, OPENING_NS + 6 * SECOND_NS).frame(IDS["market-data"]))
    notice.kind = MARKET_DATA_KIND_STALE
    assert len(bench.apply(MARKET_DATA, market_data.encode(notice, IDS["market-data"]))) == 1


def test_trade_that_is_old_or_not_eligible_sets_no_price() -> None:
    bench = Bench(rule("up", "PRICE_ABOVE", thresholdE4=1_000))
    bench.trade(900, 10)
    assert bench.trade(1_100, 9) == []
    assert bench.trade(1_100, 11, eligible=False) == []
    assert bench.trade(1_100, 11) == ["up"]


def test_rule_added_changed_and_removed_while_it_runs() -> None:
    bench = Bench()
    assert bench.trade(1_100, 0) == []
    assert bench.change(rule("r", "PRICE_ABOVE", thresholdE4=1_000)) == []
    assert bench.trade(1_100, 1) == ["r"]
    bench.change(rule("r", "PRICE_ABOVE", thresholdE4=1_000, timestamp=99))
    assert bench.trade(1_100, 2) == [], "a record that says nothing new begins a rule anew"
    bench.change(rule("r", "PRICE_ABOVE", thresholdE4=1_050, version=2))
    (alert,) = bench.traded(1_100, 3)
    assert (alert.rule_version, alert.threshold_e4) == (2, 1_050)
    bench.change(rule("r", "PRICE_ABOVE", thresholdE4=1_050, version=3, active=False))
    bench.trade(900, 4)
    assert bench.trade(1_100, 5) == []
    assert bench.engine.alerts._symbols == {}, "what nobody watches is kept"


def test_rule_that_moves_to_a_symbol_of_another_shard_leaves_its_old_one() -> None:
    shards = 4
    engines = [new_engine(shard, shards) for shard in range(shards)]
    names = {shard_of(name, shards): name for name in "ABCDEFGHIJ"}
    for offset, shard in enumerate((0, 1)):
        frame = alert_rules.encode(rule("r", "PRICE_ABOVE", names[shard], thresholdE4=1_000), IDS["alert-rules"])
        for engine in engines:
            engine.apply(ALERT_RULES, frame, 0, offset, 5)
    for shard in (0, 1):
        tick = Tick(1, names[shard], 1_100, 100, OPENING_NS)
        engines[shard].apply(MARKET_DATA, tick.frame(IDS["market-data"]), 0, 1, 5)
    assert [len(engine.outbox.alerts.values) for engine in engines] == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"condition": "UNKNOWN"}, "condition is not one"),
        ({"owner": ""}, "has a ruleId, an owner and a symbol"),
        ({"thresholdE4": 0}, "the threshold of PRICE_ABOVE is more than 0, not 0.0000"),
        ({"severity": "UNKNOWN"}, "severity"),
        ({"cooldownSeconds": -1}, "cool-down is from 0"),
        ({"hysteresisE4": -1}, "takes no hysteresis of -0.0001"),
        ({"condition": "CHANGE_BELOW", "windowSeconds": 60}, "threshold of CHANGE_BELOW is less than 0"),
        ({"condition": "MOVE_ABOVE", "windowSeconds": 61}, "looks at one of 10, 30, 60"),
        ({"condition": "VOLUME_ABOVE", "windowSeconds": 2}, "bars of 1, 60, 300, 900, 3600 s, not 2"),
        ({"condition": "STALE"}, "stale after 1 to 86400 s, not 0"),
        ({"condition": "STALE", "windowSeconds": 5, "hysteresisE4": 1}, "STALE takes no hysteresis"),
        ({"condition": "INDICATOR_ABOVE", "windowSeconds": 60}, "indicators are of bars of 300, 900, 3600 s, not 60"),
        ({"condition": "INDICATOR_ABOVE", "windowSeconds": 300}, "it names no indicator"),
        (
            {"condition": "INDICATOR_ABOVE", "windowSeconds": 300, "indicator": "SMA", "period": 21},
            "SMA 21 is not computed; these are: SMA 2, EMA 3, RSI 2, SESSION_VWAP, SPREAD, SPREAD_BPS, DEPTH_IMBALANCE",
        ),
        ({"condition": "INDICATOR_ABOVE", "windowSeconds": 300, "indicator": "SPREAD", "period": 1}, "SPREAD 1 is not"),
        (
            {"condition": "INDICATOR_CROSS", "windowSeconds": 300, "indicator": "SMA", "period": 2,
             "secondIndicator": "SMA", "secondPeriod": 2},
            "compares an indicator with itself",
        ),
    ],
)  # fmt: skip
def test_rule_that_cannot_be_used_is_a_dead_letter_and_removes_the_one_before(
    changes: dict[str, Any], words: str
) -> None:
    good = {"condition": "PRICE_ABOVE", "thresholdE4": 1_000}
    bench = Bench(rule("r", **good))  # type: ignore[arg-type]
    bench.change(rule("r", **(good | changes)))  # type: ignore[arg-type]
    (letter,) = bench.letters()
    assert words in letter.detail
    assert (letter.job, letter.stage, letter.source_topic) == ("analytics", "alert", "alert-rules")
    assert DEAD_LETTER_REASON_NAMES[letter.reason] == "INVALID_VALUE"
    assert bench.trade(2_000, 0) == []


def test_bad_bytes_of_a_rule_are_one_dead_letter_of_all_shards() -> None:
    engines = [new_engine(shard, 3) for shard in range(3)]
    for engine in engines:
        engine.apply(ALERT_RULES, b"", 0, 7, 5)
        engine.apply(ALERT_RULES, alert_rules.encode(rule("r", "PRICE_ABOVE", "*"), IDS["alert-rules"]), 0, 8, 5)
    assert [len(engine.outbox.dead_letter.values) for engine in engines] == [2, 0, 0]


def test_rule_for_every_symbol_fires_for_each_with_an_identity_of_its_own() -> None:
    bench = Bench(rule("all", "PRICE_ABOVE", "*", thresholdE4=1_000))
    (one,), (other,) = bench.traded(1_000, 0, "A"), bench.traded(1_000, 0, "B")
    assert (one.event_id, other.event_id) == ("all:A:market-data-0-2", "all:B:market-data-0-3")
    assert (one.cause_id, one.cause_topic, one.cause_partition, one.cause_offset) == ("tick-2", "market-data", 0, 2)
    assert one.detail == "A at 0.10 is at or above 0.10"
    assert (one.indicator, one.second_indicator, one.previous_e4) == (None, None, None)


def test_snapshot_of_another_shard_or_damaged_is_refused() -> None:
    state = new_engine(1, 2).snapshot()
    with pytest.raises(StateError, match="snapshot of shard 1 of 2"):
        new_engine(0, 2).restore(state)
    with pytest.raises(StateError, match="checksum"):
        new_engine(1, 2).restore(state[:-1] + bytes([state[-1] ^ 1]))


def test_snapshot_of_the_release_without_alerts_is_continued() -> None:
    before = AnalyticsShard(0, 1, IDS, SECOND_NS, 300 * SECOND_NS, INDICATORS, 60 * SECOND_NS)
    ticks = [Tick(n, "A", 1_000 + n, 10, OPENING_NS + n * 40 * SECOND_NS).frame(IDS["market-data"]) for n in range(30)]
    undisturbed = new_engine()
    for n, frame in enumerate(ticks):
        undisturbed.apply(MARKET_DATA, frame, 0, n, 5)
    for n, frame in enumerate(ticks[:17]):
        before.apply(MARKET_DATA, frame, 0, n, 5)
    after = new_engine()
    after.restore(before.snapshot())
    for n, frame in enumerate(ticks[17:], 17):
        after.apply(MARKET_DATA, frame, 0, n, 5)
    assert before.outbox.market_analytics.values + after.outbox.market_analytics.values == (
        undisturbed.outbox.market_analytics.values
    )


def test_every_condition_of_the_schema_has_a_kind() -> None:
    from udfs.domain.alert_rules import watched

    kinds = {watched(rule("r", name))[0] for name in ALERT_CONDITION_NAMES[1:]}
    assert len(kinds) == 9
    assert ALERTS_KIND == 6, "states that were kept would be of another kind"


def test_index_fires_what_looking_at_every_rule_fires() -> None:
    best = measure(2_000, 3_000, 1)
    assert best["index"][1] == best["every rule"][1] > 0
    assert best["no rules"][1] == 0
