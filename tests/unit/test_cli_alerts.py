"""`tradestream alerts`: what each command writes, what is refused, and what is listed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from jobs import cli_alerts
from jobs.alerts import complete, in_force, parse_indicator, parse_number, parse_percentage, parse_span, text_of
from jobs.cli import cli
from jobs.config import Config
from schemas.messages import alert_rules


class Topic:
    """Stands for alert-rules: what was written, the latest of each rule."""

    def __init__(self) -> None:
        self.rules: dict[str, dict[str, Any]] = {}
        self.written: list[dict[str, Any]] = []

    def read(self, _config: Config) -> dict[str, dict[str, Any]]:
        return dict(self.rules)

    def publish(self, _config: Config, rules: list[dict[str, Any]]) -> None:
        for rule in rules:
            message = alert_rules.decode(alert_rules.encode(alert_rules.from_dict(rule), 7), 7)
            self.written.append(alert_rules.to_dict(message))
            self.rules[rule["ruleId"]] = self.written[-1]


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Topic:
    found = Topic()
    monkeypatch.setattr(cli_alerts, "read_rules", found.read)
    monkeypatch.setattr(cli_alerts, "publish", found.publish)
    monkeypatch.chdir(tmp_path)
    return found


def run(line: str) -> Result:
    return CliRunner().invoke(cli, ["alerts", *shlex.split(line)])


@pytest.mark.parametrize(
    ("options", "fields", "shown"),
    [
        ("--above 181.25", {"condition": "PRICE_ABOVE", "thresholdE4": 1_812_500}, "price above 181.25"),
        ("--below 0.5", {"condition": "PRICE_BELOW", "thresholdE4": 5_000}, "price below 0.50"),
        ("--crosses 9", {"condition": "PRICE_CROSS", "thresholdE4": 90_000}, "price crosses 9.00"),
        (
            "--rises 2% --within 5m --cooldown 1h --hysteresis 0.5",
            {"condition": "CHANGE_ABOVE", "thresholdE4": 20_000, "windowSeconds": 300, "cooldownSeconds": 3_600,
             "hysteresisE4": 5_000},
            "rises 2.00% within 5 min, hysteresis 0.50, cool-down 1 h",
        ),
        (
            "--falls 2.5% --within 30s",
            {"condition": "CHANGE_BELOW", "thresholdE4": -25_000, "windowSeconds": 30},
            "falls 2.50% within 30 s",
        ),
        (
            "--moves 1% --within 4h",
            {"condition": "MOVE_ABOVE", "thresholdE4": 10_000, "windowSeconds": 14_400},
            "moves 1.00% within 4 h",
        ),
        (
            "--volume 500 --bar 1m",
            {"condition": "VOLUME_ABOVE", "thresholdE4": 5_000_000, "windowSeconds": 60},
            "volume of 1 min above 500.00",
        ),
        (
            "--volume-spike 3",
            {"condition": "INDICATOR_ABOVE", "thresholdE4": 30_000, "windowSeconds": 300,
             "indicator": "RELATIVE_VOLUME", "period": 20},
            "relative_volume:20 of 5 min above 3.00",
        ),
        (
            "--indicator rsi:14 --below 30 --bar 15m",
            {"condition": "INDICATOR_BELOW", "thresholdE4": 300_000, "windowSeconds": 900, "indicator": "RSI",
             "period": 14},
            "rsi:14 of 15 min below 30.00",
        ),
        (
            "--indicator sma:20 --less ema:20 --crosses 0",
            {"condition": "INDICATOR_CROSS", "windowSeconds": 300, "indicator": "SMA", "period": 20,
             "secondIndicator": "EMA", "secondPeriod": 20},
            "sma:20 less ema:20 of 5 min crosses 0.00",
        ),
        (
            "--indicator spread_bps --above 25 --bar 15m",
            {"condition": "INDICATOR_ABOVE", "thresholdE4": 250_000, "windowSeconds": 900, "indicator": "SPREAD_BPS",
             "period": 0},
            "spread_bps of 15 min above 25.00",
        ),
        (
            "--indicator sma:20 --less session_vwap --crosses 0",
            {"condition": "INDICATOR_CROSS", "indicator": "SMA", "period": 20, "secondIndicator": "SESSION_VWAP",
             "secondPeriod": 0},
            "sma:20 less session_vwap of 5 min crosses 0.00",
        ),
        ("--spread 1%", {"condition": "SPREAD_ABOVE", "thresholdE4": 10_000}, "spread above 1.00%"),
        ("--stale 90s", {"condition": "STALE", "windowSeconds": 90}, "silent for 90 s"),
        ("--halted --severity critical", {"condition": "HALTED", "severity": "CRITICAL"}, "halted or paused"),
    ],
)  # fmt: skip
def test_add_writes_the_rule_that_the_options_say(
    topic: Topic, options: str, fields: dict[str, Any], shown: str
) -> None:
    result = run(f"add --symbol IBM --owner me {options}")
    assert result.exit_code == 0, result.output
    (rule,) = topic.written
    assert fields.items() <= rule.items()
    assert (rule["symbol"], rule["owner"], rule["version"], rule["active"]) == ("IBM", "me", 1, True)
    assert rule["ruleId"].startswith(f"IBM-{fields['condition'].lower().replace('_', '-')}-")
    assert f"written: {rule['ruleId']} (IBM: {shown})" in result.output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--above 1", "one of --symbol and --all-symbols"),
        ("--symbol A --all-symbols --above 1", "one of --symbol and --all-symbols"),
        ("--symbol A", "Say when it fires"),
        ("--symbol A --above 1 --below 2", "Say when it fires"),
        ("--symbol A --moves 2%", "--within"),
        ("--symbol A --moves 2 --within 5m", "is not a percentage"),
        ("--symbol A --moves 2% --within 7m", "MOVE_ABOVE looks at one of"),
        ("--symbol A --above 1 --within 5m", "--within goes with"),
        ("--symbol A --above 1 --bar 5m", "--bar goes with"),
        ("--symbol A --halted --indicator sma:20", "--indicator goes with"),
        ("--symbol A --above 1 --less sma:20", "--less subtracts"),
        ("--symbol A --indicator sma:21 --above 1", "SMA 21 is not computed"),
        ("--symbol A --indicator unknown:2 --above 1", "is not NAME:PERIOD"),
        ("--symbol A --indicator sma --above 1", "needs a period"),
        ("--symbol A --indicator spread:2 --above 1", "needs no period"),
        ("--symbol A --above 0", "the threshold of PRICE_ABOVE is more than 0"),
        ("--symbol A --above 1.23456", "at most four decimals"),
        ("--symbol A --stale 5", "is not a length of time"),
        (f"--symbol A --above 1 --owner {'o' * 200}", "Alert"),
    ],
)
def test_add_refuses_what_could_not_work_and_writes_nothing(topic: Topic, options: str, words: str) -> None:
    result = run(f"add {options}")
    assert result.exit_code == 2, result.output
    assert words in result.output
    assert not topic.written


def test_rule_is_changed_by_its_id_listed_and_removed(topic: Topic) -> None:
    assert run("add --all-symbols --stale 30s --id still --owner me").exit_code == 0
    assert run("add --symbol IBM --above 200 --id up --owner you").exit_code == 0
    assert run("add --symbol IBM --above 210 --id up --owner you").exit_code == 0
    assert topic.rules["up"]["version"] == 2

    listed = run("list")
    assert [line.split()[0] for line in listed.output.splitlines()] == ["rule", "still", "up"]
    assert "price above 210.00" in listed.output
    assert [rule["ruleId"] for rule in json.loads(run("list --owner you --json").output)] == ["up"]
    assert [rule["ruleId"] for rule in json.loads(run("list --symbol MSFT --json").output)] == ["still"]

    assert run("remove up").exit_code == 0
    assert (topic.rules["up"]["active"], topic.rules["up"]["version"]) == (False, 3)
    assert [rule["ruleId"] for rule in json.loads(run("list --json").output)] == ["still"]
    again = run("remove up still")
    assert again.exit_code == 1 and "no rule up is in force" in again.output
    assert topic.rules["still"]["active"], "one was removed although the other is unknown"


def test_same_options_name_the_same_rule(topic: Topic) -> None:
    for _ in range(2):
        assert run("add --symbol IBM --above 200 --owner me").exit_code == 0
    assert [rule["version"] for rule in topic.written] == [1, 2]
    assert len(topic.rules) == 1


def test_file_of_rules_is_written_whole_or_not_at_all(topic: Topic) -> None:
    lines = [
        {"symbol": "IBM", "condition": "PRICE_ABOVE", "thresholdE4": 2_000_000},
        {"ruleId": "old", "symbol": "IBM", "condition": "HALTED", "active": False},
    ]
    file = Path("rules.jsonl")
    file.write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert run("add --file rules.jsonl --owner desk").exit_code == 0
    assert [(rule["owner"], rule["active"]) for rule in topic.written] == [("desk", True), ("desk", False)]
    topic.written.clear()
    for bad, words in (
        ({"symbol": "IBM", "condition": "PRICE_ABOVE"}, "line 3: the threshold"),
        ({"symbol": "IBM", "condition": "NONSENSE"}, "line 3: "),
        ({"symbol": "IBM"}, "line 3: a rule has to have condition"),
        ({"symbol": "IBM", "condition": "HALTED", "price": 3}, "line 3: a rule has no field price"),
        (["IBM"], "line 3: it is no JSON object"),
    ):
        file.write_text("\n".join(map(json.dumps, [*lines, bad])))
        result = run("add --file rules.jsonl")
        assert result.exit_code == 2 and words in result.output, result.output
    assert not topic.written
    assert "leave out --above" in run("add --file rules.jsonl --above 3").output


def test_values_that_are_typed() -> None:
    assert [parse_span(text) for text in ("30s", "5m", "2h", "1d")] == [30, 300, 7_200, 86_400]
    assert [parse_number(text) for text in ("1", "-0.5", "181.2501")] == [10_000, -5_000, 1_812_501]
    assert parse_percentage("0.25%") == 2_500
    assert parse_indicator("depth_imbalance") == ("DEPTH_IMBALANCE", 0)
    assert parse_indicator("bollinger_upper:20") == ("BOLLINGER_UPPER", 20)
    with pytest.raises(ValueError, match="is not NAME:PERIOD"):
        parse_indicator("none:3")


def test_every_condition_reads_well() -> None:
    for name in alert_rules.ALERT_CONDITION_NAMES[1:]:
        rule = complete({"symbol": "A", "condition": name}, {}, "me")
        assert text_of(rule) != name
        assert in_force([rule], "me", "A") == [rule]


def test_webhook_wants_an_address() -> None:
    result = run("webhook ftp://somewhere")
    assert result.exit_code == 2 and "is not an http or https address" in result.output
