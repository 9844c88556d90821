"""`tradestream bench scale`: what the trading job gains from TaskManagers and shards, and loses to skew.

1. Start one stack with as many TaskManagers as the largest case needs, of one slot each; warm the JVMs up, unmeasured.
2. For each case fill empty topics with the same number of orders, and run the trading job over them.
3. Report orders a second, the cores that were used and the CPU time of an order, broker included; and from the CPU time what
   a larger machine or cluster needs.

Cases: each number of TaskManagers with the shards as configured; each number of shards with the TaskManagers of the second
number; the same with half of all orders on one symbol, and with half of all orders from one account.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import click

from jobs.bench_orders import WARM_UP_S, OrderBench
from jobs.bench_run import Measured, bench_config, is_disturbed, load_now, numbers, own_stack
from jobs.cli_common import status
from jobs.config import Config

GOAL_ORDERS_PER_S: Final = 100_000
SKEWED: Final = 0.5
"""The share of the orders that meet in one symbol or account."""


class Case(NamedTuple):
    """One setting that is measured."""

    taskmanagers: int
    shards: int
    """Of accounts and of symbols."""
    skew: str = ""
    """`symbol` or `account`: half of the orders have the same."""


@click.command()
@click.option("--orders", "count", default=300_000, show_default=True, help="Orders of each case.")
@click.option("--taskmanagers", default="1,2,4", show_default=True, help="Numbers of TaskManagers, comma-separated.")
@click.option("--shards", default="2,8,32", show_default=True, help="Numbers of shards, comma-separated.")
@click.option("--quick", is_flag=True, help="60,000 orders, one and two TaskManagers, no other shards: a first look.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line.")
@click.pass_context
def scale(ctx: click.Context, count: int, taskmanagers: str, shards: str, quick: bool, as_json: bool) -> None:
    """Orders a second against TaskManagers and shards, and with skew.

    On a machine with few cores more TaskManagers cannot be faster; the CPU time of an order then says what
    they cost.

    Example: tradestream bench scale --quick
    """
    managers, parts = _numbers(taskmanagers, "--taskmanagers"), _numbers(shards, "--shards")
    if quick:
        count, managers, parts = min(count, 60_000), managers[:2], ()
    config = bench_config(ctx, max(managers))
    cases = plan(managers, parts, config.trading.account_shards)
    load_before = load_now()
    found: list[tuple[Case, Measured]] = []
    with own_stack(config):
        for number, case in enumerate(cases, 1):
            status(f"case {number} of {len(cases)}: {name_of(case)}")
            bench = OrderBench(configured(config, case), count)
            bench.load(**{case.skew: SKEWED} if case.skew else {})
            if number == 1:
                # On all TaskManagers: those of later cases must be as warm as the first's.
                bench.warm_up("trading", WARM_UP_S, configured(config, Case(max(managers), max(managers) * 2)))
                bench.load()
            found.append((case, bench.measure("trading")))
    click.echo(render(found, count, load_before))
    if as_json:
        click.echo(json.dumps(summary(found, count)))


def _numbers(text: str, option: str) -> tuple[int, ...]:
    """The distinct numbers of a list, in rising order. Raises click.BadParameter."""
    found = sorted(set(numbers(text, option)))
    if found[0] < 1:
        raise click.BadParameter("numbers must be positive", param_hint=option)
    return tuple(found)


def plan(managers: Sequence[int], parts: Sequence[int], shards: int) -> list[Case]:
    """The cases: `managers` with `shards` each; then, with the second of them, every other number of shards, and skew.

    A number of shards below that of the TaskManagers leaves some idle, which is what the case shows.
    """
    usual = managers[min(1, len(managers) - 1)]
    return [
        *(Case(number, shards) for number in managers),
        *(Case(usual, number) for number in parts if number != shards),
        *(Case(usual, shards, skew) for skew in ("symbol", "account")),
    ]


def configured(config: Config, case: Case) -> Config:
    """The settings of a case."""
    return dataclasses.replace(
        config,
        flink=dataclasses.replace(config.flink, parallelism=case.taskmanagers),
        trading=dataclasses.replace(config.trading, account_shards=case.shards, symbol_shards=case.shards),
    )


def name_of(case: Case) -> str:
    """A case in words."""
    managers = f"{case.taskmanagers} TaskManager{'s' if case.taskmanagers > 1 else ''}"
    return f"{managers}, {case.shards} shards" + (f", half of the orders on one {case.skew}" if case.skew else "")


def cores_for(orders_per_s: float, us_per_order: float) -> int:
    """Whole cores that so many orders a second need, at so much CPU time an order, kept two thirds busy."""
    return math.ceil(orders_per_s * us_per_order / 1e6 * 1.5)


def summary(found: Sequence[tuple[Case, Measured]], count: int) -> dict[str, Any]:
    """The figures for a machine."""
    return {
        "orders": count,
        "cases": [
            {
                **case._asdict(),
                "orders_per_s": round(measured.inputs_per_s),
                "taskmanager_cores": round(measured.cores, 2),
                "cpu_us_per_order": round(sum(measured.cpu_us.values()), 1),
                "disturbed_cores": round(measured.others_cores, 2),
            }
            for case, measured in found
        ],
    }


def render(found: Sequence[tuple[Case, Measured]], count: int, load_before: float) -> str:
    """The figures for a person."""
    width = max(len(name_of(case)) for case, _ in found)
    lines = ["", f"{'':<{width}}{'orders/s':>12}{'TM cores':>12}{'CPU us/order':>16}"]
    lines += [
        f"{name_of(case):<{width}}{measured.inputs_per_s:>12,.0f}{measured.cores:>12.2f}{sum(measured.cpu_us.values()):>16.0f}"
        for case, measured in found
    ]
    _, first = found[0]
    each_us = sum(first.cpu_us.values())
    lines += [
        "",
        f"{GOAL_ORDERS_PER_S:,} orders/s x {each_us:.0f} us (the first line, broker and compilers included) = "
        f"{GOAL_ORDERS_PER_S * each_us / 1e6:.0f} cores busy; {cores_for(GOAL_ORDERS_PER_S, each_us)} cores kept two "
        "thirds busy",
        f"{count:,} orders a case",
    ]
    disturbed = max(measured.others_cores for _, measured in found)
    if is_disturbed(load_before, disturbed):
        lines.append(
            f"disturbed: load {load_before:.1f} before, others took up to {disturbed:.2f} cores; repeat in quiet"
        )
    return "\n".join(lines)
