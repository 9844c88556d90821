"""`tradestream bench scale`: its cases, its figures and what it says; the runs themselves need a stack and minutes."""

import dataclasses

import pytest
from click.testing import CliRunner

from jobs.bench_run import Measured
from jobs.bench_scale import Case, configured, cores_for, name_of, plan, render, scale, summary
from jobs.config import Config

RUN = Measured(
    inputs_per_s=12_000.4,
    records=700,
    records_per_s=84_000,
    bytes_per_record=46,
    seconds=20,
    cores=1.5,
    others_cores=0.02,
    cpu_us={"match": 22.25, "broker": 23.25, "risk": 11.0},
)


def test_plan_managers_shards_and_skew_each_case_once() -> None:
    assert plan((1, 2, 4), (2, 8, 32), 8) == [
        Case(1, 8),
        Case(2, 8),
        Case(4, 8),
        Case(2, 2),
        Case(2, 32),
        Case(2, 8, "symbol"),
        Case(2, 8, "account"),
    ]


def test_plan_one_number_of_managers_is_the_usual_one_too() -> None:
    assert plan((3,), (), 8) == [Case(3, 8), Case(3, 8, "symbol"), Case(3, 8, "account")]


def test_configured_case_sets_parallelism_and_both_shards() -> None:
    config = configured(Config.load(environment={}), Case(4, 32))
    assert (config.flink.parallelism, config.trading.account_shards, config.trading.symbol_shards) == (4, 32, 32)


def test_cores_for_leaves_a_third_of_each_core_idle() -> None:
    # 100,000 x 100 us are 10 cores busy.
    assert cores_for(100_000, 100) == 15
    assert cores_for(100_000, 101) == 16


def test_summary_of_cases_sums_the_cpu_of_all_stages() -> None:
    (case,) = summary([(Case(2, 8, "symbol"), RUN)], 1_000)["cases"]
    assert case == {
        "taskmanagers": 2,
        "shards": 8,
        "skew": "symbol",
        "orders_per_s": 12_000,
        "taskmanager_cores": 1.5,
        "cpu_us_per_order": 56.5,
        "disturbed_cores": 0.02,
    }


def test_render_quiet_run_has_a_line_a_case_and_what_the_goal_needs() -> None:
    text = render([(Case(1, 8), RUN), (Case(2, 8, "account"), RUN)], 1_000, 0.3)
    assert "1 TaskManager, 8 shards " in text
    assert "2 TaskManagers, 8 shards, half of the orders on one account" in text
    assert "12,000" in text
    assert "6 cores busy; 9 cores kept two thirds busy" in text
    assert "disturbed" not in text


@pytest.mark.parametrize(("load", "others"), [(1.5, 0.0), (0.2, 0.4)])
def test_render_disturbed_run_says_so(load: float, others: float) -> None:
    run = dataclasses.replace(RUN, others_cores=others)
    assert "disturbed" in render([(Case(1, 8), run)], 1_000, load)


def test_name_of_case_in_words() -> None:
    assert name_of(Case(1, 2)) == "1 TaskManager, 2 shards"


@pytest.mark.parametrize("text", ["two", "0", "1,-2", ""])
def test_scale_with_numbers_that_are_none_is_refused_before_anything_starts(text: str) -> None:
    result = CliRunner().invoke(scale, ["--taskmanagers", text])
    assert result.exit_code == 2
    assert "--taskmanagers" in result.output
