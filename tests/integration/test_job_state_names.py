"""By what names savepoints know the state of each job: they stay, or a job would not find what it has left."""

from __future__ import annotations

import re
from typing import Final

import pytest
from job_plans import Node, plan_of

# What has state that cannot be had again: offsets of sources, open windows, engines, transactions that are to be committed.
# A source that took another's name would go on reading the other's topic. The number is Flink's in its plan, kept by
# jobs.runtime.name_state and the SINKS of each job when one more input would change it.
WINDOW: Final = ""
NAMES: Final = {
    "trading": {
        "1_kafka": "reference_source",
        "8_kafka": "controls_source",
        "16_kafka": "nbbo_source",
        "27_kafka": "outcomes_source",
        "33_kafka": "orders_source",
        "40_kafka": "controls_source",
        "47_kafka": "nbbo_source",
        "59_kafka": "reference_source",
        "67_kafka": "actions_source",
        "risk-1_kafka": "actions_source",
        "6_window-aggregate": WINDOW,
        "13_window-aggregate": WINDOW,
        "19_window-aggregate": WINDOW,
        "24_window-aggregate": WINDOW,
        "30_window-aggregate": WINDOW,
        "36_window-aggregate": WINDOW,
        "45_window-aggregate": WINDOW,
        "50_window-aggregate": WINDOW,
        "56_window-aggregate": WINDOW,
        "64_window-aggregate": WINDOW,
        "72_window-aggregate": WINDOW,
        "risk-6_window-aggregate": WINDOW,
        "check_risk-8-even": "check_risk",
        "route_and_match-8-even": "route_and_match",
        "88_sink": "trading_sink",
        "Sink Committer: 88_sink": "trading_sink",
        "93_sink": "risk_sink",
        "Sink Committer: 93_sink": "risk_sink",
    },
    "market_data": {
        "1_kafka": "feed_source",
        "4_window-aggregate": WINDOW,
        "normalise-8-even": "normalise",
        "11_sink": "ledger_sink",
        "Sink Committer: 11_sink": "ledger_sink",
        "15_sink": "last_values_sink",
        "Sink Committer: 15_sink": "last_values_sink",
    },
    "analytics": {
        "1_kafka": "ticks_source",
        "6_kafka": "rules_source",
        "14_kafka": "quotes_source",
        "20_kafka": "states_source",
        "4_window-aggregate": WINDOW,
        "11_window-aggregate": WINDOW,
        "17_window-aggregate": WINDOW,
        "23_window-aggregate": WINDOW,
        "28_window-aggregate": WINDOW,  # of the progress, which is made of the first
        "analyse-8-even": "analyse",
        "38_sink": "analytics_sink",
        "Sink Committer: 38_sink": "analytics_sink",
    },
    "audit": {
        "1_kafka": "audit_source",
        "4_window-aggregate": WINDOW,
        "chain-8-even": "chain",
        "11_sink": "audit_sink",
        "Sink Committer: 11_sink": "audit_sink",
    },
    "archive": {
        "1_kafka": "archive_source",
        "4_window-aggregate": WINDOW,
        "write_clickhouse": "write_clickhouse",
        "8_sink": "archive_progress",  # has no state
    },
}
_STATELESS: Final = re.compile(r"(risk-)?\d+_(calc|correlate|constraint-validator|external-datastream)")


@pytest.mark.parametrize("job", NAMES)
def test_state_keeps_its_name(job: str) -> None:
    nodes = plan_of(job)
    # Whatever Flink may plan one day: all else than the steps that are known to keep nothing.
    kept = [node for node in nodes if not _STATELESS.fullmatch(node.uid or "") and not _hands_over(node)]
    assert {node.uid: _what(node) for node in kept} == NAMES[job]
    # A join would keep every record in its state for ever.
    assert not [node.name for node in nodes if "Join" in node.name]


@pytest.mark.parametrize(
    ("job", "settings"),
    [
        ("trading", ("TRADING_ACCOUNT_SHARDS=1", "TRADING_SYMBOL_SHARDS=1")),
        ("trading", ("TRADING_ACCOUNT_SHARDS=1", "TRADING_SYMBOL_SHARDS=1", "TRADING_INPUTS=joined")),
        ("market_data", ("MARKET_DATA_SYMBOL_SHARDS=1",)),
        ("analytics", ("ANALYTICS_SYMBOL_SHARDS=1",)),
        ("audit", ("AUDIT_SHARDS=1",)),
    ],
)
def test_a_single_shard_is_planned_without_a_join_too(job: str, settings: tuple[str, ...]) -> None:
    nodes = plan_of(job, *(f"TRADESTREAM_{setting}" for setting in settings))
    assert not [node.name for node in nodes if "Join" in node.name]


def test_joined_inputs_are_half_as_many_and_have_names_of_their_own() -> None:
    nodes = plan_of("trading", "TRADESTREAM_TRADING_INPUTS=joined", "TRADESTREAM_TRADING_GATHER_FRAMES=false")
    kept = {node.uid: _what(node) for node in nodes if not _STATELESS.search(node.uid or "") and not _hands_over(node)}
    sinks = {uid: what for uid, what in NAMES["trading"].items() if "sink" in uid}
    assert kept == {
        "joined-2-1_kafka": "account_inputs",
        "joined-2-3_kafka": "orders_source",
        "joined-2-16_kafka": "nbbo_source",
        "joined-2-38_kafka": "symbol_inputs",
        "joined-2-42_kafka": "nbbo_source",
        "joined-2-6_window-aggregate": WINDOW,
        "joined-2-19_window-aggregate": WINDOW,
        "joined-2-30_window-aggregate": WINDOW,
        "joined-2-55_window-aggregate": WINDOW,
        "check_risk-8-even": "check_risk",
        "route_and_match-8-even": "route_and_match",
        **sinks,
    }


def test_separate_stages_share_no_slot_and_keep_the_names_of_their_state() -> None:
    nodes = {node.uid: node for node in plan_of("trading", "TRADESTREAM_TRADING_SEPARATE_STAGES=true") if node.uid}
    assert nodes["check_risk-8-even"].slots != nodes["route_and_match-8-even"].slots
    # What each stage reads and writes runs with it.
    assert {nodes[uid].slots for uid in ("88_sink", "33_kafka", "6_window-aggregate")} == {
        nodes["route_and_match-8-even"].slots
    }
    assert nodes["93_sink"].slots == nodes["check_risk-8-even"].slots
    usual = {node.uid: node for node in plan_of("trading") if node.uid}
    assert nodes.keys() == usual.keys()
    assert {node.slots for node in usual.values()} == {"default"}


def test_analytics_takes_over_what_its_sink_left_under_another_number() -> None:
    former = {node.uid: node.former for node in plan_of("analytics") if node.former is not None}
    # As Flink's page of a checkpoint and its metadata show the operators "31_sink" and "Sink Committer: 31_sink".
    assert former == {
        "38_sink": "b72602a53d983a82922062df29a0c0f4",
        "Sink Committer: 38_sink": "53757dc7a3792db5fde701e92a940019",
    }


def _hands_over(node: Node) -> bool:
    """Whether the node only hands rows of a table to a stream, or those of a side output on; these have no uid."""
    return node.uid is None and (node.name.startswith("SinkConversion[") or node.name == "Map")


def _what(node: Node) -> str:
    """The table or stage that a node is of."""
    if node.name.startswith("WindowAggregate["):
        return WINDOW
    return node.name.rpartition("default_database.")[2].partition("[")[0]
