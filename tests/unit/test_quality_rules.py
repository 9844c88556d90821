"""Rules of data quality as text: what a schema implies, how the files are read, which files are refused; and charts."""

from __future__ import annotations

from datetime import date

import pytest

from jobs import charts
from jobs.quality_rules import FOLDER, KINDS, RuleError, derived, read_rules, rules_of, values
from schemas.catalogue import ARCHIVED, TOPICS
from udfs.operators.arrow_blocks import table_of

SESSION, SUNDAY = date(2026, 11, 20), date(2026, 11, 22)


@pytest.mark.parametrize("topic", ARCHIVED)
def test_rules_of_every_archived_topic_are_of_known_kinds(topic: str) -> None:
    rules = rules_of(topic, [SESSION])
    assert {rule.kind for rule in rules} <= set(KINDS)
    assert len({(rule.kind, rule.text) for rule in rules}) == len(rules), "a rule's words name it"
    assert all("$" not in rule.sql for rule in rules)


def test_every_file_of_rules_belongs_to_an_archived_table() -> None:
    assert {file.stem for file in FOLDER.glob("*.sql")} <= {table_of(topic) for topic in ARCHIVED}


def test_derived_rules_follow_the_schema() -> None:
    found = {(rule.kind, rule.column, rule.test) for rule in derived(TOPICS["trade-events"])}
    assert ("keys", "event_id", "unique") in found
    assert ("prices", "execution_price", "positive") in found
    assert ("statuses", "side", "in_set") in found
    # What may be repeated or signed, or came from outside as it was, has no such rule.
    assert ("keys", "event_id", "unique") not in {(r.kind, r.column, r.test) for r in derived(TOPICS["nbbo"])}
    assert "quantity" not in {rule.column for rule in derived(TOPICS["risk-events"])}
    assert {rule.kind for rule in derived(TOPICS["orders"])} == {"columns", "keys", "times"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT 1\n-- rule: keys: words\nSELECT 1 FROM {batch}", "before the first rule"),
        ("-- rule: words without a kind\nSELECT 1 FROM {batch}", "does not begin with one of"),
        ("-- rule: keys: words\nSELECT 1 FROM trade_events", "does not read {batch}"),
        ("-- rule: keys: words\nSELECT $nothing FROM {batch}", r"unknown \$'nothing'"),
    ],
)
def test_file_of_rules_with_a_mistake_is_refused(text: str, message: str) -> None:
    with pytest.raises(RuleError, match=message):
        read_rules(text, "here.sql", {})


def test_values_of_a_day_without_a_session_let_no_time_through() -> None:
    known = values([SESSION, SUNDAY])
    assert known["close"].startswith("transform(toString(event_date), ['2026-11-20', '2026-11-22'], [toInt64(17")
    assert known["close"].endswith(", toInt64(0)], toInt64(0))")
    assert "toInt64(0)]" in values([date(2000, 1, 1)])["open"], "a day before the calendar's first has none either"
    assert "('ROUTED', 'EXECUTED')" in known["transitions"]
    assert "('EXECUTED'," not in known["transitions"], "nothing follows a final state"


def test_charts_escape_what_data_says() -> None:
    hostile = '<script>"&'
    for drawn in (
        charts.lines(hostile, ["a", "b"], {hostile: [1.0, None]}),
        charts.bars(hostile, [hostile], {hostile: [1.0]}),
        charts.across(hostile, {hostile: 1.0}),
    ):
        assert "<script" not in drawn
        assert "&lt;script&gt;" in drawn


def test_lines_of_another_length_than_the_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="2 values for 1 labels"):
        charts.lines("title", ["a"], {"s": [1.0, 2.0]})


def test_numbers_are_short() -> None:
    assert [charts.number(value) for value in (0, 1_234_567, 25e6, 31e9, 1.5, 0.01234)] == [
        "0", "1,234,567", "25M", "31B", "1.50", "0.0123",
    ]  # fmt: skip
