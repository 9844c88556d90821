"""`tradestream bench engine`: the flow, the sorted lists, and what the report says. No figure of this machine is asserted,
but that depth does not cost what it would cost a list.
"""

from __future__ import annotations

import functools
import json
import os
import statistics

import pytest
from click.testing import CliRunner

from jobs import bench_depth, bench_engine, bench_measure
from jobs.bench_flow import SHARES, Flow, apply_command, mixed_flow, rows
from jobs.bench_measure import DisagreementError, check_same, new_matcher
from jobs.bench_naive import NaiveBooks
from jobs.cli import cli
from schemas.messages.enums import COMMAND_TYPE_CANCEL, COMMAND_TYPE_NEW
from udfs.domain.match_check import check_matcher
from udfs.domain.match_csv import BareDesk
from udfs.domain.matching import Matcher


def _flow(count: int = 3_000, seed: int = 5) -> Flow:
    return mixed_flow(count, seed, symbols=4, resting=500)


def _naive(flow: Flow) -> NaiveBooks:
    books = NaiveBooks()
    for command in flow.preload + flow.commands:
        books.apply(command)
    return books


def _engine(flow: Flow) -> Matcher:
    matcher = new_matcher()
    for command in flow.preload + flow.commands:
        apply_command(matcher, command)
    return matcher


# ------------------------------------------------------------------------------------------------------------------ flow


def test_flow_of_a_seed_is_always_the_same_and_of_another_seed_another() -> None:
    assert _flow(seed=5) == _flow(seed=5)
    assert _flow(seed=5).commands != _flow(seed=6).commands


def test_flow_has_the_stated_shares() -> None:
    assert sum(SHARES.values()) == 100
    flow = _flow(20_000)
    for kind, share in SHARES.items():
        assert flow.shares[kind] / 200 == pytest.approx(share, abs=1 + share / 10), kind


def test_flow_names_live_orders_only_and_leaves_sound_books() -> None:
    flow = _flow()
    matcher = new_matcher()
    for command in flow.preload + flow.commands:
        assert command.kind == COMMAND_TYPE_NEW or command.order_id in matcher.live
        apply_command(matcher, command)
    check_matcher(matcher, 0)
    assert 300 < len(matcher.live) < 1_500
    assert any(market.stops.waiting for market in matcher.markets.values())
    assert sum(market.print_count for market in matcher.markets.values()) > 300


def test_flow_as_rows_and_as_frames_does_the_same_as_the_commands() -> None:
    flow = _flow()
    every = flow.preload + flow.commands
    trades = sum(market.print_count for market in _engine(flow).markets.values())
    desk = BareDesk()
    for row in rows(every):
        desk.apply_plain(row)
    assert desk.summary() == (len(every), trades, 0, 0, len(_engine(flow).live))

    shard = bench_measure.new_shard()
    for frame in bench_engine.frames(every, 1, bench_engine.NEVER):
        shard.apply(bench_measure.sources.FORWARD, frame, 0, 0, 0)
    shard.flush()
    # Market orders stop at the collar there, which is wider than these books are.
    assert len(shard.outbox.trade_events.values) == 2 * trades
    assert len(shard.matcher.live) == len(_engine(flow).live)


# ---------------------------------------------------------------------------------------------------------- sorted lists


@pytest.mark.parametrize("seed", range(8))
def test_sorted_lists_trade_as_the_engine_does(seed: int) -> None:
    flow = _flow(seed=seed)
    check_same(_engine(flow), _naive(flow))


def test_sorted_lists_that_trade_otherwise_are_seen() -> None:
    flow = _flow()
    last = next(number for number, command in enumerate(flow.commands) if command.kind == COMMAND_TYPE_CANCEL)
    with pytest.raises(DisagreementError, match="live orders"):
        check_same(_engine(flow), _naive(flow._replace(commands=flow.commands[:last] + flow.commands[last + 1 :])))


# --------------------------------------------------------------------------------------------------------------- figures


def test_depth_costs_the_engine_less_than_a_list() -> None:
    overhead = bench_measure.clock_ns()
    shallow, deep = (bench_depth.depth_costs(levels, 200, overhead) for levels in (10, 10_000))
    assert set(shallow) == set(bench_depth.KINDS)
    assert {kind: len(values) for kind, values in shallow.items()} == {
        kind: 10 if kind == "cancel all" else 200 for kind in bench_depth.KINDS
    }
    for kind in bench_depth.KINDS:
        # A thousand times as many levels: ten times the logarithm, and fewer hits in the processor's caches.
        assert statistics.median(deep[kind]) < 20 * statistics.median(shallow[kind]), kind


def test_latencies_are_sorted_and_one_for_each_command() -> None:
    prepared = bench_engine.prepare(500, 1)
    taken = bench_measure.latencies(prepared)
    assert list(taken) == sorted(taken)
    assert (len(taken), min(taken) > 0) == (500, True)


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 51), (0.99, 100), (1.0, 100)])
def test_quantile_is_the_value_at_its_place(share: float, value: int) -> None:
    assert bench_measure.quantile(range(1, 101), share) == value


def test_stages_add_up_to_the_whole_chains() -> None:
    each = {"loop": 50, "engine": 950, "split": 400, "engine_text": 1_700, "rows": 2_300, "file": 3_000}
    each |= {"decode": 300, "engine_events": 4_000, "frames": 5_000}
    found = bench_engine.stages({name: float(value) for name, value in each.items()})
    assert sum(found["file"].values()) == each["file"] - each["loop"]
    assert sum(found["frames"].values()) == each["frames"] - each["loop"]
    assert found["file"]["engine"] == found["frames"]["engine"] == 900


@pytest.mark.parametrize("part", ["engine", "stage"])
def test_memory_of_orders_is_measured_in_a_process_of_its_own(part: bench_depth.Part) -> None:
    found = bench_depth.memory(20_000, 20, part)
    assert (found["orders"], found["books"]) == (20_000, 20)
    assert 200 < found["bytes_per_order"] < 5_000
    assert found["bytes"] == pytest.approx(found["bytes_per_order"] * 20_000, rel=0.01)


# --------------------------------------------------------------------------------------------------------------- command


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_engine, "mixed_flow", functools.partial(mixed_flow, symbols=4, resting=500))
    monkeypatch.setattr(bench_engine, "DEPTHS", (10, 20))
    monkeypatch.setattr(bench_engine, "_DEPTH_COMMANDS", 10)
    monkeypatch.setattr(bench_engine, "_MEMORY_ORDERS", 20_000)
    monkeypatch.setattr(bench_engine, "_MEMORY_BOOKS", 20)


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(("load", "disturbed"), [(0.0, False), (99.5, True)])
def test_command_reports_every_figure_and_whether_it_was_disturbed(
    load: float, disturbed: bool, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, load, load))

    run = CliRunner().invoke(cli, ["bench", "engine", "--commands", "2000", "--repeat", "2", "--json"])

    assert run.exit_code == 0, run.output
    *text, last = run.stdout.splitlines()
    result = json.loads(last)
    said = "\n".join(text)
    assert (result["commands"], result["repeat"], result["seed"]) == (2_000, 2, 1)
    assert (result["compiled"], result["disturbed"]) == (compiled, disturbed)
    assert ("disturbed: the load was 99.5" in said) == disturbed
    assert ("python -m infra.compile" in said) == (not compiled)
    for rate in result["rates"].values():
        assert 0 < rate["lowest"] <= rate["per_s"] <= rate["highest"]
    latency = result["latency"]
    assert 0 < latency["p50_ns"] <= latency["p99_ns"] <= latency["p99_9_ns"] <= latency["max_ns"]
    assert {len(values) for values in result["depth"]["engine"].values()} == {2}
    assert result["memory"]["stage"]["bytes_per_order"] > result["memory"]["engine"]["bytes_per_order"]
    for label in (*bench_engine.RATE_NAMES.values(), "P99.9", "engine to sorted lists", "bytes an order", "take best"):
        assert label in said


def test_command_says_the_shares_of_its_flow() -> None:
    text = " ".join(CliRunner().invoke(cli, ["bench", "engine", "--help"]).output.split()).replace("- ", "-")
    for kind, share in SHARES.items():
        assert f"{share}% {kind}" in text
