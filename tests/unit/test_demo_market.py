"""The demo's rules, bars and alerts: simulated days through the real engines, and what the checks find in tampered ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from infra.feeds.sessions import DEFAULT_DAY, trading_day
from jobs.config import Config
from jobs.demo_alerts import OWNER, demo_rules
from jobs.demo_market import BAR_NS, IndicatorRow, Tape, fired_rules
from jobs.reconcile_market import SECOND_NS, AlertRow, BarRow, WindowRow, check_alerts, check_bars
from schemas.messages import alert_rules
from schemas.messages.enums import INDICATOR_NAMES
from tests.unit.analysed_day import OUT_OF_ORDER_NS, AnalysedDay


@pytest.fixture(scope="module")
def day() -> AnalysedDay:
    """Five symbols, as in the end-to-end test."""
    return AnalysedDay(symbols=5)


def test_simulated_day_fires_every_rule_of_the_demo(day: AnalysedDay) -> None:
    fired = fired_rules(day.by_id(), day.alerts)
    assert [rule.rule_id for rule in fired] == ["demo-price", "demo-move", "demo-rsi", "demo-spread", "demo-halt"]
    assert all(rule.alerts > 0 and rule.first and rule.first.startswith(OWNER) for rule in fired)
    # A report that nobody reads to its end has too many.
    assert sum(rule.alerts for rule in fired) < 200
    check = check_alerts(day.alerts, day.archived_alerts(), day.by_id())
    assert check.problems == ()
    assert check.summary.startswith(f"{len(day.alerts)} alerts of 5 of 5 rules")


@pytest.mark.parametrize("seed", [2, 3])
def test_other_days_fire_every_rule_too(seed: int) -> None:
    day = AnalysedDay(symbols=3, seed=seed)
    assert {alert["ruleId"] for alert in day.alerts} == day.by_id().keys()


def test_simulated_day_has_the_bars_of_its_trades(day: AnalysedDay) -> None:
    check = check_bars(day.bars(), day.windows(), day.newest_ns, OUT_OF_ORDER_NS)
    assert check.problems == ()
    assert day.letters == 0
    finished = int(check.summary.partition(" ")[0].replace(",", ""))
    assert 0.95 * len(day.windows()) < finished <= len(day.bars())


def test_rules_that_the_settings_refuse_are_not_published() -> None:
    settings = Config.load(environment={}, overrides={"analytics.indicators": "sma:20"}).analytics
    rules = demo_rules({"ONLY": 1_000_000}, 7, settings)
    assert [rule["ruleId"] for rule in rules] == ["demo-price", "demo-move", "demo-spread", "demo-halt"]
    assert {rule["symbol"] for rule in rules} == {"ONLY", "*"}
    assert {rule["timestamp"] for rule in rules} == {7}
    assert [alert_rules.from_dict(rule).threshold_e4 for rule in rules] == [1_000_000, 400, 300, 0]


def test_last_bars_are_those_of_the_busiest_symbols_with_their_indicators(day: AnalysedDay) -> None:
    tape = Tape(day.newest_ns, OUT_OF_ORDER_NS)
    bars = day.bars()
    assert list(tape.noting(bars)) == bars
    values = [
        IndicatorRow(r.symbol, r.window_start, INDICATOR_NAMES[r.indicator], r.value)
        for r in day.records
        if r.window_end - r.window_start == BAR_NS and (INDICATOR_NAMES[r.indicator], r.period) in
        (("SMA", 20), ("RSI", 14), ("SESSION_VWAP", 0))
    ]  # fmt: skip
    last = tape.last_bars(values)
    assert [bar.symbol for bar in last] == tape.busiest() and len(last) == 5
    closes = {(bar.symbol, bar.start_ns): bar.close_e4 for bar in bars if bar.length_ns == BAR_NS}
    for bar in last:
        assert bar.end_ns > trading_day(DEFAULT_DAY).close_ns - 1_200 * SECOND_NS
        assert bar.close_e4 == closes[bar.symbol, bar.end_ns - BAR_NS]
        twenty = [close for (symbol, start), close in sorted(closes.items()) if symbol == bar.symbol
                  and start < bar.end_ns][-20:]  # fmt: skip
        assert bar.sma == pytest.approx(sum(twenty) / 20 / 10_000)
        assert bar.rsi is not None and 0 <= bar.rsi <= 100
        assert bar.session_vwap == pytest.approx(bar.close_e4 / 10_000, rel=0.05)


BARS = [
    BarRow("A", 60 * SECOND_NS, 0, 300, 2, 11, 10, 11, 10),
    BarRow("A", 60 * SECOND_NS, 60 * SECOND_NS, 5, 1, 9, 9, 9, 9),
]
WINDOWS = [
    WindowRow("A", 60 * SECOND_NS, 0, 300, 2, 11, 10, 3_100, 0),
    WindowRow("A", 60 * SECOND_NS, 60 * SECOND_NS, 7, 2, 9, 9, 63, 0),
]
NEWEST = {"A": 62 * SECOND_NS}


def test_window_that_is_not_over_may_have_less_than_its_trades() -> None:
    check = check_bars(BARS, WINDOWS, NEWEST, SECOND_NS)
    assert check.ok and check.summary.endswith("1 not over")
    assert check_bars(BARS[:1], WINDOWS, NEWEST, SECOND_NS).ok
    assert not check_bars(BARS, WINDOWS, {"A": 122 * SECOND_NS}, SECOND_NS).ok


@pytest.mark.parametrize(
    ("bars", "windows", "words"),
    [
        (BARS[1:], WINDOWS, "no bar"),
        (BARS, WINDOWS[1:], "300 shares, and there was no trade"),
        ([BARS[0], BARS[0], BARS[1]], WINDOWS, "two bars"),
        ([BARS[0]._replace(volume=299), BARS[1]], WINDOWS, "volume 299 instead of 300"),
        ([BARS[0]._replace(trades=3), BARS[1]], WINDOWS, "number of trades 3 instead of 2"),
        ([BARS[0]._replace(high_e4=12), BARS[1]], WINDOWS, "high 12 instead of 11"),
        ([BARS[0]._replace(low_e4=9), BARS[1]], WINDOWS, "low 9 instead of 10"),
        ([BARS[0]._replace(vwap_e4=11), BARS[1]], WINDOWS, "VWAP 11 instead of 10.33"),
        ([BARS[0], BARS[1]._replace(volume=8)], WINDOWS, "the bar has 8 shares, its trades 7"),
        ([BARS[0]._replace(volume=199), BARS[1]], [WINDOWS[0]._replace(late_volume=100), WINDOWS[1]], "199 shares"),
    ],
)
def test_bar_that_its_trades_do_not_make_is_found(bars: list[BarRow], windows: list[WindowRow], words: str) -> None:
    check = check_bars(bars, windows, NEWEST, SECOND_NS)
    assert check.problem_count == 1 and words in check.problems[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda row: row._replace(rule_id="unknown"), "there is no rule unknown"),
        (lambda row: row._replace(rule_version=2), "version 2, the rule's is 1"),
        (lambda row: row._replace(owner="somebody"), "owner somebody"),
        (lambda row: row._replace(severity="UNKNOWN"), "severity UNKNOWN"),
        (lambda row: row._replace(threshold_e4=row.threshold_e4 + 1), "threshold"),
        (lambda row: row._replace(observed_e4=0, previous_e4=0), "does not meet"),
        (lambda row: row._replace(event_id="another"), "only in ClickHouse"),
    ],
)
@pytest.mark.parametrize("rule_id", ["demo-price", "demo-move", "demo-rsi", "demo-spread", "demo-halt"])
def test_alert_that_its_rule_does_not_give_is_found(
    day: AnalysedDay, rule_id: str, change: Callable[[AlertRow], AlertRow], words: str
) -> None:
    rows = day.archived_alerts()
    place = next(number for number, row in enumerate(rows) if row.rule_id == rule_id)
    rows[place] = change(rows[place])
    check = check_alerts(day.alerts, rows, day.by_id())
    assert any(words in problem for problem in check.problems), check.problems


def test_alert_that_is_lost_or_doubled_is_found(day: AnalysedDay) -> None:
    rows = day.archived_alerts()
    lost = check_alerts(day.alerts, rows[1:], day.by_id())
    assert lost.problems == (f"alert {rows[0].event_id} is 1 times only in Kafka",)
    doubled = check_alerts([*day.alerts, day.alerts[0]], [*rows, rows[0]], day.by_id())
    assert doubled.problems == (f"alert {rows[0].event_id} was given 2 times",)


def test_alert_below_its_threshold_meets_a_rule_that_watches_a_fall() -> None:
    rule = {"version": 1, "owner": "a", "condition": "PRICE_BELOW", "severity": "INFO", "symbol": "A", "thresholdE4": 5}
    row = AlertRow("e", "r", 1, "a", "A", "PRICE_BELOW", "INFO", 5, 4, 6, None)
    alert = {"eventId": "e", "ruleId": "r", "symbol": "A", "observedE4": 4, "detail": None}
    assert check_alerts([alert], [row], {"r": rule}).ok
    assert not check_alerts([alert | {"observedE4": 6}], [row._replace(observed_e4=6)], {"r": rule}).ok
