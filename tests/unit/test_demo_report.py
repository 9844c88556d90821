"""The demo's report, its progress lines, its options and its plan."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import click
import pytest
from rich.console import Console

from jobs.config import Config
from jobs.demo import _Speed
from jobs.demo_archive import TABLES, Latency, Suggestion, _compare
from jobs.demo_display import Display, View, panel, plain_lines
from jobs.demo_market import FiredRule, LastBar
from jobs.demo_plan import DemoOptions, Plan, PlanError, check_options
from jobs.demo_quality import quality_check
from jobs.demo_report import print_report, report_console
from jobs.demo_result import Market, Refusal, Result, check_feed, list_refusals
from jobs.demo_setup import DemoError, Played, demo_config, only_demo
from jobs.demo_watch import JobHealth
from jobs.quality import Outcome
from jobs.quality_rules import Rule
from jobs.reconcile import Check, DeadLetterRow, TopicCount
from jobs.reconcile_money import TradeTotals
from jobs.reconcile_orders import CommandTally, OrderFindings, OrderLife
from schemas.catalogue import ARCHIVED, TOPICS
from udfs.operators.arrow_blocks import table_of

SCHEMA_IDS = {"orders": 1, "raw-feed": 2, "reference-data": 3, "controls": 4}


def result(*checks: Check) -> Result:
    """A result with plausible numbers."""
    return Result(
        title="2026-11-20, simulated, 40 symbols",
        played=Played(sent={"raw-feed": 160_000, "orders": 40_000}, play_s=100.0, speed=234.0, orders_per_s=400.0),
        tally=CommandTally(40_000, 33_000, 4_900, 2_000, 100, 32_700, 300, 1_200, 3_700, 2_000),
        stages={"VALIDATED": 32_000, "RISK_APPROVED": 31_800, "ROUTED": 31_000, "PARTIALLY_FILLED": 4_000},
        finals={"EXECUTED": 20_000, "CANCELLED": 8_000, "EXPIRED": 4_000, "REJECTED": 700},
        types={"LIMIT": {"DAY": 20_000, "GTC": 4_000, "OPG": 300}, "STOP_LIMIT": {"DAY": 900}},
        market=Market({"opening": 40, "reopening": 1}, {"opening": 52_000, "reopening": 900}, 1, 0, 8_000, {}),
        bars=(
            LastBar("ACME", 1_795_208_100_000_000_000, 2_868_900, 1_234_500, 2_868_750, 286.754, 286.8, 55.12),
            LastBar("BOLT", 1_795_208_100_000_000_000, 182_200, 900, 182_150, None, None, None),
        ),
        rules=(
            FiredRule(
                "demo-price",
                "ACME",
                "price crosses 286.89",
                9,
                "demo  info  ACME at 286.87 crossed",
                1_795_190_401 * 10**9,
            ),
            FiredRule("demo-halt", "*", "halted or paused", 0, None, None),
        ),
        topics=(TopicCount("orders", 40_000, 40_000),),
        totals=TradeTotals(30_000, 24_000, 6_000, 10_000_000, 12_345_678_900_000, 350_000_000),
        checks=checks or (Check("Sent = in Kafka", "200,000 records of 2 topics"),),
        refusals=(
            Refusal("orders", "CANCEL_TOO_LATE", 0, 1_200),
            Refusal("orders", "VALIDATION_QUANTITY_NOT_POSITIVE", 100, 100),
            Refusal("ticks", "LATE", None, 3),
        ),
        latency=Latency(32_700, (8.0, 21.0, 60.0), (9.0, 23.0, 71.0), 310.0),
        suggestions=(Suggestion("Most traded", "SELECT 1", ("symbol", "trades"), (("ACME", "12"), ("BOLT", "7"))),),
        durations={"Starting": 25.0, "Playing": 100.0},
        flink_url="http://127.0.0.1:28681",
        clickhouse_url="http://127.0.0.1:28723",
        clickhouse_user="default",
        password_file="/somewhere/secrets/default",
        state_dir="/somewhere/demo",
        log_dir="/somewhere/demo/logs",
    )


def rendered(value: Result, *, kept: bool = True, encoding: str = "utf-8") -> str:
    """The report as text without colours."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    print_report(report_console(Console(file=stream, no_color=True)), value, kept=kept)
    stream.flush()
    stream.seek(0)
    return stream.read()


def test_report_fits_eighty_columns_without_colours() -> None:
    text = rendered(result())
    # A command to copy is not broken, however long the path in it is.
    assert max(len(line) for line in text.splitlines() if "/somewhere" not in line) <= 80
    assert "\x1b" not in text
    for words in ("commands sent", "the market's", "unknown", "71 ms", "61.2%", "all 1 checks hold", "28681"):
        assert words in text
    for words in ("stop-limit", "24,300", "40 over 52,000 shares", "1 over 900 shares", "8,000 shares"):
        assert words in text


def test_report_shows_last_bars_and_what_each_rule_fired() -> None:
    lines = [" ".join(line.split()) for line in rendered(result()).splitlines()]
    assert "ACME 15:55 286.89 1,234,500 286.8750 286.75 286.80 55.1" in lines
    assert "BOLT 15:55 18.22 900 18.2150" in lines, "what is not defined yet is left empty"
    assert "ACME: price crosses 286.89: 9 alerts" in lines
    assert "11:00:01 demo info ACME at 286.87 crossed" in lines
    assert "every symbol: halted or paused: 0 alerts" in lines


def test_quality_names_the_rules_that_do_not_hold(tmp_path: Path) -> None:
    broken = Rule("pairs", "a trade has two sides", "no_rows")
    untried = Rule("columns", "its columns are those of the schema", "columns")
    verdicts = [
        SimpleNamespace(table=table, rule=rule, broken=rows, examples=examples, problem=problem, holds=rows == 0)
        for table, rule, rows, examples, problem in (
            ("trade_events", broken, 2, ("trade_id=7", "trade_id=8"), ""),
            ("orders", untried, None, (), "no such column"),
            ("orders", broken, 0, (), ""),
        )
    ]
    outcome = Outcome("quality-all-1", tmp_path, verdicts, 1_500, None, None, 0)
    check = quality_check(outcome)
    assert check.problems == (
        "trade_events: pairs: a trade has two sides: 2 rows, as trade_id=7",
        "orders: columns: its columns are those of the schema: no such column",
    )
    assert check.summary == "3 rules on 1,500 rows of 2 tables"


def test_report_names_what_differs() -> None:
    problems = tuple(f"orders-0-{number}: NEW has 0 answers instead of one" for number in range(8))
    text = rendered(result(Check("One answer per command", "40,000 commands", problems, 11)), kept=False)
    assert "orders-0-7: NEW has 0 answers" in text
    assert "and 3 more" in text
    assert "1 of 1 checks FAILED" in text
    assert "It does not add up: One answer per command." in text
    assert "/somewhere/demo/logs" in text
    assert "./infra/demo --keep" in text


def test_report_can_be_written_in_ascii() -> None:
    assert "ok Sent = in Kafka" in rendered(result(), encoding="ascii")


def test_report_of_an_empty_day_is_a_report() -> None:
    empty = Market({}, {}, 0, 0, 0, {})
    value = dataclasses.replace(
        result(), latency=None, refusals=(), suggestions=(), finals={}, durations={}, types={}, market=empty
    )
    assert "orders in all" in rendered(dataclasses.replace(value, played=Played()))


def test_json_holds_checks_with_their_outcome() -> None:
    value = json.loads(json.dumps(result(Check("A", "a", ("x",), 1)).as_json()))
    assert value["ok"] is False
    assert value["checks"][0] == {"name": "A", "summary": "a", "problems": ["x"], "problem_count": 1, "ok": False}


def test_feed_must_come_out_as_events_or_dead_letters() -> None:
    letters = [
        DeadLetterRow("dead-letter", "market_data", "raw-feed", 0, 1, "LATE"),
        DeadLetterRow("raw-feed", "archive", "raw-feed", 0, 1, "BAD_MAGIC"),
        DeadLetterRow("dead-letter", "trading", "orders", 0, 1, "BAD_MAGIC"),
    ]
    assert check_feed(10, 9, letters).ok
    assert not check_feed(10, 10, letters).ok


def test_refusals_stand_beside_what_was_planted() -> None:
    findings = OrderFindings()
    findings.lives["orders-0-1"] = OrderLife("a", "b", 1, "REJECTED", "RISK_BUYING_POWER", ended=True)
    findings.lives["orders-0-2"] = OrderLife("c", "b", 1, "CANCELLED", "MATCH_NO_LIQUIDITY", ended=True)
    findings.refused_reasons["CANCEL_TOO_LATE"] = 2
    letters = [
        DeadLetterRow("dead-letter", "trading", "orders", 0, 3, "BAD_MAGIC"),
        DeadLetterRow("orders", "archive", "orders", 0, 3, "BAD_MAGIC"),
        DeadLetterRow("dead-letter", "market_data", "raw-feed", 0, 1, "LATE"),
        DeadLetterRow("raw-feed", "archive", "raw-feed", 0, 1, "BAD_MAGIC"),
    ]
    played = Played(expected_refusals={"order-events RISK_BUYING_POWER": 1, "dead-letter REPLAYED_ORDER": 1})
    letters.append(DeadLetterRow("dead-letter", "analytics", "market-data", 0, 9, "LATE"))
    assert list_refusals(findings, letters, played) == [
        Refusal("analytics", "LATE", None, 1),
        Refusal("orders", "CANCEL_TOO_LATE", 0, 2),
        Refusal("orders", "BAD_MAGIC", 0, 1),
        Refusal("orders", "RISK_BUYING_POWER", 1, 1),
        Refusal("orders", "REPLAYED_ORDER", 1, 0),
        Refusal("ticks", "LATE", None, 1),
    ]
    # A simulated day comes in order, so a late tick there is no tick that was planted.
    simulated = dataclasses.replace(played, expected_bad_ticks={"LATE": 1})
    assert Refusal("analytics", "LATE", 0, 1) in list_refusals(findings, letters, simulated)


def view() -> View:
    """A view in mid-run."""
    return View(
        event_time_ns=1_795_190_400_000_000_000,
        share=0.5,
        sent={"orders": 12_000, "ticks": 80_000},
        rates={"orders": 410.0, "ticks": 1_600.0, "archived": 6_000.0},
        stages={"VALIDATED": 9_000, "EXECUTED": 4_000},
        dead_letters=12,
        archived=300_000,
        lag={"trading": 40},
        jobs={"trading": JobHealth("RUNNING", 12, 0, 700, 0), "archive": JobHealth("RESTARTING")},
    )


def test_progress_line_tells_rates_stages_and_lag() -> None:
    line = plain_lines(view())
    for words in ("orders 12,000 (410/s)", "executed 4,000", "trading behind 40", "checkpoints 1 s old", "50%"):
        assert words in line


def test_panel_fits_eighty_columns() -> None:
    stream = io.StringIO()
    Console(file=stream, width=80).print(panel(view()))
    assert max(len(line.rstrip()) for line in stream.getvalue().splitlines()) <= 80
    assert "restarting" in stream.getvalue()


def test_display_without_a_terminal_prints_lines_and_keeps_durations() -> None:
    stream = io.StringIO()
    with Display(Console(file=stream, width=100)) as display:
        display.begin("One", "first")
        display.show(view())
        display.show(view())
        display.begin("Two", "second")
        display.end()
    text = stream.getvalue()
    assert text.count("executed 4,000") == 1, "lines come every few seconds, not with every look"
    assert "✓ One" in text and "Two ..." in text
    assert list(display.durations) == ["first", "second"]


@pytest.mark.parametrize(("text", "speed"), [("max", 0.0), ("60", 60.0), ("1.5x", 1.5)])
def test_speed_is_a_multiple_or_max(text: str, speed: float) -> None:
    assert _Speed().convert(text, None, None) == speed


@pytest.mark.parametrize("text", ["0", "-1", "fast", "inf", "nan"])
def test_speed_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="multiple of real time"):
        _Speed().convert(text, None, None)


def test_plan_of_a_simulated_day_makes_what_it_says() -> None:
    plan = Plan(DemoOptions(orders=500, symbols=3, accounts=20), SCHEMA_IDS)
    topics: dict[str, int] = {}
    names = []
    for name, items, _ in plan.phases():
        names.append(name)
        for item in items:
            topics[item[0]] = topics.get(item[0], 0) + 1
    day = ("pre-open", "early orders", "opening", "session", "close")
    assert names == ["reference", *(f"2026-11-20 {name}" for name in day)]
    assert topics == plan.made and topics["orders"] == 500
    # Three controls of the clock are answered by nobody.
    assert topics["controls"] == len(plan.flow.control_ids) + 3
    assert plan.share() == 1.0
    assert sum(plan.expected_refusals().values()) > 0
    assert plan.expected_bad_ticks() and plan.speed == 292
    assert plan.title() == "2026-11-20, simulated, 3 symbols"
    assert list(plan.prices_e4) == ["ACME", "BOLT", "CRUX"]


def test_plan_of_tick_files_takes_days_and_prices_from_them(tmp_path: Path) -> None:
    folder = tmp_path / "ibm"
    folder.mkdir()
    with ZipFile(folder / "20131007_quote.zip", "w") as file:
        file.writestr("20131007_ibm_Quote_Tick.csv", "34200000,1836300,100,0,0,P,1,0\n34200001,0,0,1836500,100,P,1,0\n")
    plan = Plan(DemoOptions(orders=50, accounts=5, ticks=tmp_path), SCHEMA_IDS)
    assert plan.title() == "2013-10-07, real ticks, 1 symbol"
    assert sum(1 for phase in plan.phases() for item in phase.items if item[0] == "raw-feed") == 2
    assert plan.expected_bad_ticks() is None


def test_plan_of_a_folder_without_ticks_says_so(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="no files named like"):
        Plan(DemoOptions(ticks=tmp_path), SCHEMA_IDS)
    with pytest.raises(PlanError, match="no files named like"):
        check_options(DemoOptions(ticks=tmp_path))


def test_demo_never_speaks_to_configured_endpoints(tmp_path: Path) -> None:
    foreign = {"kafka.bootstrap": "prod:9092", "clickhouse.url": "https://prod:8443", "state_dir": tmp_path}
    base = Config.load(overrides=foreign, environment={})
    config = demo_config(base, 3, foreign)
    assert config.kafka.bootstrap.startswith("127.0.0.1:")
    assert config.clickhouse.url.startswith("http://127.0.0.1:")
    assert config.registry.url.startswith("http://127.0.0.1:")
    assert config.flink.rest_url.startswith("http://127.0.0.1:")
    assert config.state_dir == tmp_path / "demo"
    assert config.stack.port("kafka") != base.stack.port("kafka")


def test_demo_has_taskmanagers_for_stages_apart(tmp_path: Path) -> None:
    base = Config.load(overrides={"state_dir": tmp_path}, environment={})
    settings = {"trading.separate_stages": True}
    apart = Config.load(overrides={"state_dir": tmp_path, **settings}, environment={})
    assert demo_config(base, 3, {}).stack.taskmanagers == 3
    assert demo_config(apart, 3, settings).stack.taskmanagers == 4
    assert demo_config(apart, 3, settings, apart=2).stack.taskmanagers == 5


def test_demo_to_check_must_be_up(tmp_path: Path) -> None:
    base = Config.load(overrides={"state_dir": tmp_path}, environment={})
    with pytest.raises(DemoError, match="--keep first"):
        demo_config(base, 3, {}, running=True)
    with pytest.raises(DemoError, match="there is no demo to check"):
        Played.load(tmp_path / "demo.json")


def test_demo_to_check_has_the_ports_that_it_was_started_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADESTREAM_STACK_PORT_OFFSET", "3000")
    base = Config.load(overrides={"state_dir": tmp_path})
    file = Config.load(overrides={"state_dir": tmp_path / "demo"}).endpoints_file
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("[stack]\nport_offset = 3507\n", encoding="utf-8")
    config = demo_config(base, 3, {}, running=True)
    assert config.stack.port_offset == 3507
    assert config.kafka.bootstrap == f"127.0.0.1:{config.stack.port('kafka')}"


def test_played_survives_its_file(tmp_path: Path) -> None:
    played = Played("t", 2, {"orders": 1}, {"order-events X": 1}, None, 1.5, 60.0, {"trading": "id"}, 2.0, ["kill-1"])
    played.save(tmp_path / "demo.json")
    assert Played.load(tmp_path / "demo.json") == played


def test_two_demos_do_not_share_a_folder(tmp_path: Path) -> None:
    with only_demo(tmp_path), pytest.raises(DemoError, match="another demo is running"), only_demo(tmp_path):
        pass
    with only_demo(tmp_path):
        pass


def test_archived_topics_are_all_and_have_their_tables() -> None:
    assert list(TABLES) == list(ARCHIVED) == list(TOPICS)
    assert all(TABLES[topic] == table_of(topic) for topic in ARCHIVED)


def test_positions_are_compared_one_by_one() -> None:
    import numpy as np

    count = _compare("orders", {0: [0, 1, 3], 1: [5]}, {0: np.array([0, 3, 3, 4])})
    assert count == TopicCount("orders", 4, 4, missing=("0/1", "1/5"), surplus=("0/4",), repeated=1)
