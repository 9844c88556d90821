"""`tradestream control`: what each command writes, what is refused, and that nothing is claimed which Kafka did not take."""

from __future__ import annotations

import io
import json
import os
import pwd
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Consumer, TopicPartition

from infra.feeds.publisher import Publisher, PublishError
from jobs import cli_control
from jobs import control as control_module
from jobs.cli import cli
from jobs.config import Config, KafkaConfig
from jobs.control import LIMIT_UNITS, Draft, compose, effects, parse_e4, parse_limit, parse_name, parse_time_ns
from jobs.tail import parse_condition
from schemas.catalogue import TOPICS
from schemas.messages import controls
from schemas.messages.enums import CONTROL_KIND_NAMES, LIMIT_KIND_NAMES
from schemas.registry import RegistryError

AT = ("--at", "2026-11-20T14:30:00+00:00")
AT_NS = 1_795_185_000_000_000_000
WHY = ("--reason", "because", "--by", "ops", "--id", "c-1")


class Written:
    """Stands for Kafka: keeps what was published."""

    def __init__(self) -> None:
        self.records: list[tuple[str, dict[str, Any]]] = []
        self.failure: Exception | None = None

    def __call__(self, _config: Config, key: str, message: dict[str, Any]) -> None:
        controls.encode(controls.from_dict(message), 7)
        if self.failure is not None:
            raise self.failure
        self.records.append((key, message))


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Written:
    kafka = Written()
    monkeypatch.setattr(cli_control, "publish", kafka)
    monkeypatch.chdir(tmp_path)
    return kafka


def run(line: str, *more: str, terminal: str | None = None) -> Result:
    """Run a command line; `terminal`: what is typed there, when there is one."""
    runner = CliRunner()
    return runner.invoke(cli, ["control", *shlex.split(line), *more], input=terminal)


COMMANDS = [
    # command, key, fields that are set besides kind, reason, issuedBy, controlId and timestamp
    ("kill --account ACC-1", "ACC-1", {"kind": "KILL", "scope": "ACCOUNT", "target": "ACC-1"}),
    ("kill --symbol IBM", "IBM", {"kind": "KILL", "scope": "SYMBOL", "target": "IBM"}),
    ("kill --all --yes", "*", {"kind": "KILL", "scope": "ALL"}),
    ("resume --account ACC-1", "ACC-1", {"kind": "RESUME", "scope": "ACCOUNT", "target": "ACC-1"}),
    ("resume --all", "*", {"kind": "RESUME", "scope": "ALL"}),
    ("reduce --account ACC-1", "ACC-1", {"kind": "REDUCE", "scope": "ACCOUNT", "target": "ACC-1"}),
    ("halt --symbol BRK.A", "BRK.A", {"kind": "HALT", "scope": "SYMBOL", "target": "BRK.A"}),
    ("halt --all --yes", "*", {"kind": "HALT", "scope": "ALL"}),
    ("unhalt --symbol IBM", "IBM", {"kind": "UNHALT", "scope": "SYMBOL", "target": "IBM"}),
    ("pause --symbol IBM", "IBM", {"kind": "PAUSE", "scope": "SYMBOL", "target": "IBM"}),
    (
        "limit --account A --limit ORDER_QUANTITY --value 500",
        "A",
        {"kind": "LIMIT_CHANGE", "scope": "ACCOUNT", "target": "A", "limit": "ORDER_QUANTITY", "value": 500},
    ),
    (
        "limit --account A --limit DAILY_NOTIONAL --value 250000.5",
        "A",
        {"kind": "LIMIT_CHANGE", "scope": "ACCOUNT", "target": "A", "limit": "DAILY_NOTIONAL", "value": 2_500_005_000},
    ),
    (
        "limit --limit FIRM_CAPITAL --value 1000000",
        "*",
        {"kind": "LIMIT_CHANGE", "scope": "ALL", "limit": "FIRM_CAPITAL", "value": 10_000_000_000},
    ),
    (
        "limit --account A --limit ORDER_RATE --value none",
        "A",
        {"kind": "LIMIT_CHANGE", "scope": "ACCOUNT", "target": "A", "limit": "ORDER_RATE"},
    ),
    ("restrict --symbol IBM", "IBM", {"kind": "RESTRICT", "scope": "SYMBOL", "target": "IBM"}),
    (
        "restrict --symbol IBM --account A",
        "A",
        {"kind": "RESTRICT", "scope": "ACCOUNT", "target": "A", "symbol": "IBM"},
    ),
    ("unrestrict --symbol IBM", "IBM", {"kind": "UNRESTRICT", "scope": "SYMBOL", "target": "IBM"}),
    (
        "locate --account A --symbol GME --quantity 5000",
        "A",
        {"kind": "LOCATE", "scope": "ACCOUNT", "target": "A", "symbol": "GME", "value": 5_000},
    ),
    (
        "borrow --account A --symbol GME --quantity 50",
        "A",
        {"kind": "BORROW", "scope": "ACCOUNT", "target": "A", "symbol": "GME", "value": 50},
    ),
    (
        "delivery-failed --account A --symbol GME --quantity 300 --settlement-date 2026-11-19 --sale market-maker",
        "A",
        {
            "kind": "DELIVERY_FAILED",
            "scope": "ACCOUNT",
            "target": "A",
            "symbol": "GME",
            "value": 300,
            "settlementDate": "2026-11-19",
            "failedSale": "MARKET_MAKER",
        },
    ),
    (
        "delivery-failed --symbol GME --quantity 1 --settlement-date 2026-11-19 --sale short",
        "GME",
        {
            "kind": "DELIVERY_FAILED",
            "scope": "SYMBOL",
            "target": "GME",
            "value": 1,
            "settlementDate": "2026-11-19",
            "failedSale": "SHORT",
        },
    ),
    ("delivery-made --symbol GME", "GME", {"kind": "DELIVERY_MADE", "scope": "SYMBOL", "target": "GME"}),
    (
        "delivery-made --account A --symbol GME --quantity 30",
        "A",
        {"kind": "DELIVERY_MADE", "scope": "ACCOUNT", "target": "A", "symbol": "GME", "value": 30},
    ),
    ("unfreeze --account A", "A", {"kind": "UNFREEZE", "scope": "ACCOUNT", "target": "A"}),
    (
        "deposit --account A --amount 2500.5",
        "A",
        {"kind": "DEPOSIT", "scope": "ACCOUNT", "target": "A", "value": 25_005_000},
    ),
    (
        "withdraw --account A --amount 0.0001",
        "A",
        {"kind": "WITHDRAWAL", "scope": "ACCOUNT", "target": "A", "value": 1},
    ),
    (
        "index-level --symbol SPX --level 4800.25",
        "*",
        {"kind": "INDEX_LEVEL", "scope": "ALL", "symbol": "SPX", "value": 48_002_500},
    ),
]


@pytest.mark.parametrize(("line", "key", "fields"), COMMANDS, ids=[line for line, _, _ in COMMANDS])
def test_command_writes_its_control_and_says_what_and_where_to_look(
    line: str, key: str, fields: dict[str, Any], written: Written
) -> None:
    result = run(line, *AT, *WHY)
    assert result.exit_code == 0, result.output
    empty = dict.fromkeys(("target", "value", "symbol", "limit", "settlementDate", "failedSale"))
    audit = {"controlId": "c-1", "issuedBy": "ops", "reason": "because", "timestamp": AT_NS}
    assert written.records == [(key, empty | audit | fields)]
    assert f"written to controls, key {key}:" in result.output
    assert f"controlId=c-1 kind={fields['kind']}" in result.output
    assert "issuedBy=ops reason=because timestamp=2026-11-20T09:30:00.000-05:00" in result.output
    shown = [each.strip() for each in result.output.splitlines() if each.startswith("  tradestream ")]
    assert shown == effects(written.records[0][1])
    for command in shown:
        _, *words = shlex.split(command)
        assert CliRunner().invoke(cli, [*words, "--help"]).exit_code == 0
        condition = words[words.index("--where") + 1] if "--where" in words else "eventId=x"
        parse_condition(condition, TOPICS[words[1]])


def test_every_kind_of_control_has_a_command() -> None:
    kinds = {fields["kind"] for _, _, fields in COMMANDS} | {"CLOCK"}
    assert kinds == set(CONTROL_KIND_NAMES) - {"UNKNOWN"}
    assert set(LIMIT_UNITS) == set(LIMIT_KIND_NAMES) - {"UNKNOWN"}


def test_clock_carries_the_time_that_it_tells(written: Written) -> None:
    result = run("clock --time 2026-11-20T16:05:00 --yes", *WHY)
    assert result.exit_code == 0, result.output
    ((key, message),) = written.records
    assert (key, message["kind"], message["scope"]) == ("*", "CLOCK", "ALL")
    assert message["timestamp"] == AT_NS + (6 * 60 + 35) * 60 * 1_000_000_000


def test_json_is_the_message_as_the_other_commands_read_it(written: Written) -> None:
    result = CliRunner().invoke(cli, ["control", "halt", "--symbol", "IBM", "--json", *AT, *WHY])
    shown = json.loads(result.stdout)
    assert (shown["topic"], shown["key"]) == ("controls", "IBM")
    assert shown["value"] == written.records[0][1]
    assert shown["effects"] == effects(shown["value"])


REFUSED = [
    ("kill --account A", "Missing option '--reason'"),
    ("kill --account A --reason ' '", "it is empty"),
    ("kill --reason r", "one of --account, --symbol and --all"),
    ("kill --account A --symbol IBM --reason r", "one of --account, --symbol and --all"),
    ("resume --all --account A --reason r", "one of --account, --symbol and --all"),
    ("halt --reason r", "one of --symbol and --all"),
    ("halt --account A --reason r", "No such option"),
    ("kill --account '' --reason r", "is no name"),
    ("kill --account '*' --reason r", "is no name"),
    ("halt --symbol 'I BM' --reason r", "is no name"),
    (f"halt --symbol {'X' * 65} --reason r", "at most 64 bytes"),
    ("halt --symbol IBM --reason r --id 'a b'", "visible ASCII"),
    (f"halt --symbol IBM --reason {'r' * 1_025}", "Control.reason: length 1025 is over the limit"),
    ("halt --symbol IBM --reason r --at noon", "not an ISO 8601 time"),
    ("halt --symbol IBM --reason r --at 1969-12-31", "before 1970"),
    ("clock --time 2263-01-01 --reason r", "after 2262"),
    ("clock --reason r", "Missing option '--time'"),
    ("limit --account A --value 1 --reason r", "Missing option '--limit'"),
    ("limit --account A --limit SIZE --value 1 --reason r", "'SIZE' is not one of 'ORDER_QUANTITY'"),
    ("limit --account A --limit UNKNOWN --value 1 --reason r", "'UNKNOWN' is not one of"),
    ("limit --limit POSITION --value 1 --reason r", "POSITION needs --account"),
    ("limit --account A --limit FIRM_CAPITAL --value 1 --reason r", "no --account"),
    ("limit --account A --limit POSITION --value -1 --reason r", "POSITION takes a whole number of shares"),
    ("locate --account A --symbol X --quantity 0 --reason r", "0 is not in the range"),
    (
        "delivery-failed --symbol X --quantity 1 --settlement-date 30.11.2026 --sale short --reason r",
        "not a date such as 2026-11-30",
    ),
    (
        "delivery-failed --symbol X --quantity 1 --settlement-date 2026-11-30 --sale other --reason r",
        "'other' is not one of",
    ),
    ("index-level --symbol SPX --level 0 --reason r", "above 0"),
    ("index-level --symbol SPX --level 1e4 --reason r", "four decimals"),
]


@pytest.mark.parametrize(("line", "words"), REFUSED, ids=[line[:60] for line, _ in REFUSED])
def test_command_that_is_wrong_writes_nothing_and_says_why(line: str, words: str, written: Written) -> None:
    result = run(line)
    assert result.exit_code == 2, result.output
    assert words in result.output
    assert written.records == []


@pytest.mark.parametrize("line", ["kill --all", "halt --all", "clock --time 2200-01-01T00:00:00"])
def test_what_stops_everything_is_confirmed_first(line: str, written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(line, *WHY)
    assert result.exit_code == 2 and "--yes" in result.output
    assert written.records == []

    asked: list[str] = []

    def ask(question: str, **_options: object) -> None:
        asked.append(question)
        if len(asked) == 1:
            raise click.Abort

    monkeypatch.setattr("click.confirm", ask)
    monkeypatch.setattr("jobs.cli_common.sys", type("Terminal", (), {"stdin": Terminal()}))
    assert run(line, *WHY).exit_code == 1
    assert written.records == []
    assert run(line, *WHY).exit_code == 0
    assert len(written.records) == 1
    assert len(asked) == 2
    assert run(line, "--yes", *WHY).exit_code == 0
    assert len(asked) == 2


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_user_of_the_operating_system_issues_it_whatever_the_environment_says(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOGNAME", "USER", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    assert run("halt --symbol IBM --reason r").exit_code == 0
    assert written.records[0][1]["issuedBy"] == pwd.getpwuid(os.getuid()).pw_name


def test_default_id_tells_what_and_when_and_differs_with_everything_that_is_said() -> None:
    draft = Draft("KILL", "ACCOUNT", "ACC-1", time_ns=AT_NS + 5)
    message = compose(draft, "r", "ops", None)
    assert message["controlId"].startswith("kill-ACC-1-20261120T143000.000000005Z-")
    others = [
        compose(draft, "other", "ops", None),
        compose(draft, "r", "other", None),
        compose(Draft("KILL", "SYMBOL", "ACC-1", time_ns=AT_NS + 5), "r", "ops", None),
        compose(Draft("KILL", "ACCOUNT", "ACC-1", value=1, time_ns=AT_NS + 5), "r", "ops", None),
        compose(Draft("KILL", "ACCOUNT", "ACC-1", time_ns=AT_NS + 6), "r", "ops", None),
    ]
    assert len({each["controlId"] for each in [message, *others]}) == 6
    assert compose(draft, "r", "ops", None) == message
    longest = compose(Draft("LIMIT_CHANGE", "ACCOUNT", "X" * 64, time_ns=AT_NS), "r", "ops", None)
    controls.encode(controls.from_dict(longest), 7)


def test_failure_names_the_id_to_repeat_it_with(written: Written) -> None:
    written.failure = PublishError("the broker is away")
    result = run("kill --account A --reason r", "--id", "once")
    assert result.exit_code == 1
    assert "the broker is away" in result.output and "--id once" in result.output
    assert "written to" not in result.output
    written.failure = RegistryError("the registry is away")
    result = run("kill --account A --reason r")
    assert result.exit_code == 1
    assert "the registry is away" in result.output and "may have been written" not in result.output


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0), ("4800.25", 48_002_500), ("0.0001", 1), ("99999999999999", 999_999_999_999_990_000)]
)
def test_decimal_text_is_exact(text: str, value: int) -> None:
    assert parse_e4(text) == value


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1.", ".5", "1.00001", "1e3", "1,000", "９", "9" * 16, "999999999999999"]
)
def test_decimal_text_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"four decimals|too large"):
        parse_e4(text)


@pytest.mark.parametrize(
    ("limit", "text", "value"),
    [
        ("ORDER_NOTIONAL", "99.95", 999_500),
        ("OPEN_ORDERS", "20", 20),
        ("CONCENTRATION", "25%", 2_500),
        ("PRICE_DEVIATION", "0.01%", 1),
        ("PRICE_DEVIATION", "none", None),
    ],
)
def test_limit_has_the_unit_of_its_kind(limit: str, text: str, value: int | None) -> None:
    assert parse_limit(limit, text) == value


@pytest.mark.parametrize(
    ("limit", "text", "words"),
    [
        ("ORDER_QUANTITY", "10.5", "whole number of shares"),
        ("ORDER_RATE", "5%", "whole number of orders"),
        ("POSITION", "none", "whole number of shares"),
        ("CONCENTRATION", "25", "percentage such as 2.5%"),
        ("PRICE_DEVIATION", "0.001%", "finer than 0.01%"),
        ("FIRM_CAPITAL", "much", "money such as"),
    ],
)
def test_limit_of_another_unit_is_refused_with_its_own(limit: str, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_limit(limit, text)


def test_time_without_an_offset_is_new_yorks() -> None:
    assert parse_time_ns("2026-11-20T09:30:00") == parse_time_ns("2026-11-20T14:30:00+00:00") == AT_NS
    assert parse_time_ns("2026-07-01T09:30:00.000001") == parse_time_ns("2026-07-01T13:30:00Z") + 1_000


def test_names_keep_what_symbols_have() -> None:
    for name in ("BRK.A", "ESZ6", "IBM_261218C00240000", "Ä-1"):
        assert parse_name(name) == name


@dataclass(frozen=True, slots=True)
class MockKafka(KafkaConfig):
    """A broker inside the producer."""

    def confluent(self) -> dict[str, str]:
        return {"bootstrap.servers": "mock", "test.mock.num.brokers": "1"}


def test_publish_returns_when_the_broker_has_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    publishers: list[Publisher] = []

    class Kept(Publisher):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            publishers.append(self)

    class FakeRegistry:
        def register(self, subject: str, schema: str) -> int:
            assert (subject, schema) == (TOPICS["controls"].subject, TOPICS["controls"].schema_file.read_text("utf-8"))
            return 42

    monkeypatch.setattr("infra.feeds.publisher.Publisher", Kept)
    monkeypatch.setattr("jobs.cli_schemas.open_registry", lambda _config: FakeRegistry())
    config = Config.load(environment={})
    object.__setattr__(config, "kafka", MockKafka())
    message = compose(Draft("HALT", "SYMBOL", "IBM", time_ns=AT_NS), "r", "ops", None)

    control_module.publish(config, "IBM", message)

    (publisher,) = publishers
    metadata = publisher._producer.list_topics("controls", timeout=10)
    broker = next(iter(metadata.brokers.values()))
    consumer = Consumer({"bootstrap.servers": f"{broker.host}:{broker.port}", "group.id": "test"})
    try:
        consumer.assign([TopicPartition("controls", number, 0) for number in metadata.topics["controls"].partitions])
        record = consumer.poll(20)
    finally:
        consumer.close()
    assert record is not None and record.error() is None
    assert record.key() == b"IBM"
    assert controls.to_dict(controls.decode(record.value(), 42)) == message
