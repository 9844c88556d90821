"""`tradestream bench state`: what a large state costs the trading job.

1. Start a stack of its own; load accounts, symbols and one quote each; start the trading job on them.
2. Send resting limit orders, spread over accounts and symbols, through Kafka, and wait until each is answered ROUTED.
3. Watch checkpoints, with light traffic going on: how long they take, how large they are, how long orders wait meanwhile.
4. Cancel the job and resume it from its newest checkpoint, as after a crash; then stop it with a savepoint and resume it from
   that, as in an upgrade. State is read at the start and rebuilt at the first touch of each shard: both are in the seconds
   until new orders, sent when the job ran, are answered on every shard. Then resting orders from before are cancelled, one of
   each pair of shards, which shows that they are there as they were.
5. Report, with the memory of the TaskManagers at each step.

The steps are in bench_state_run.py.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from jobs.bench_run import BenchError, bench_config, is_disturbed, load_now, own_stack
from jobs.bench_state_run import Restored, StateBench, Traffic
from jobs.cli_common import size, status
from jobs.config import Config

CHECKPOINT_MS: Final = 10_000
BYTES_OF: Final = {"accounts": 500, "symbols": 1_500, "orders": 520}
"""Bytes of snapshots for each, in all shards of both stages, as measured with the engines alone."""
HEAP_TIMES: Final = 3
"""A shard's snapshot, a journal that may be as large, and what a checkpoint still writes while a new snapshot replaces them."""
HEAP_LEAST_MB: Final = 640


@click.command()
@click.option("--accounts", default=1_000_000, show_default=True, help="Accounts, with two symbols each.")
@click.option("--symbols", default=10_000, show_default=True, help="Symbols.")
@click.option("--orders", "count", default=1_000_000, show_default=True, help="Resting limit orders.")
@click.option("--quick", is_flag=True, help="50,000 accounts, 1,000 symbols, 50,000 orders, three checkpoints.")
@click.option("--taskmanagers", default=2, show_default=True, help="TaskManagers, and subtasks of each stage.")
@click.option("--checkpoints", default=6, show_default=True, help="Checkpoints that are watched.")
@click.option("--rate", default=100, show_default=True, help="Orders a second meanwhile; 0: the job is at rest.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line.")
@click.pass_context
def state(
    ctx: click.Context,
    accounts: int,
    symbols: int,
    count: int,
    quick: bool,
    taskmanagers: int,
    checkpoints: int,
    rate: int,
    as_json: bool,
) -> None:
    """Checkpoints, savepoint, restore and memory of the trading job with a large state.

    A checkpoint each ten seconds, and a heap for the TaskManagers that the state fits into, unless they are
    set: --set flink.checkpoint_interval_ms=N, --set stack.taskmanager_heap_mb=N. With a million accounts and as many
    orders two TaskManagers take 9 GB.

    Example: tradestream bench state --quick
    """
    if quick:
        accounts, symbols, count = min(accounts, 50_000), min(symbols, 1_000), min(count, 50_000)
        checkpoints = min(checkpoints, 3)
    if min(accounts, symbols, count, taskmanagers, checkpoints) < 1 or rate < 0:
        raise click.UsageError("all numbers must be at least 1, --rate at least 0")
    config = configured(bench_config(ctx, taskmanagers), accounts, symbols, count)
    load_before = load_now()
    status(f"heap of each TaskManager: {config.stack.taskmanager_heap_mb:,} MB")
    with own_stack(config):
        bench = StateBench(config, accounts, symbols, count)
        try:
            result = measure(bench, checkpoints, rate)
        finally:
            bench.close()
    result = {"accounts": accounts, "symbols": symbols, "orders": count} | settings(config) | result
    result["load_before"] = round(load_before, 2)
    result["disturbed"] = is_disturbed(load_before, result["others_cores"])
    click.echo(render(result))
    if as_json:
        click.echo(json.dumps(result))


def configured(config: Config, accounts: int, symbols: int, count: int) -> Config:
    """The settings of the run: what was not set becomes what suits so large a state."""
    stack, flink = config.stack, config.flink
    if "stack.taskmanager_heap_mb" not in config.sources:
        heap_mb = max(stack.taskmanager_heap_mb, heap_for(accounts, symbols, count, stack.taskmanagers))
        stack = dataclasses.replace(stack, taskmanager_heap_mb=heap_mb)
    if "flink.checkpoint_interval_ms" not in config.sources:
        flink = dataclasses.replace(flink, checkpoint_interval_ms=CHECKPOINT_MS)
    return dataclasses.replace(config, stack=stack, flink=flink)


def heap_for(accounts: int, symbols: int, count: int, taskmanagers: int) -> int:
    """MB of heap that each TaskManager should have for so large a state."""
    amounts = {"accounts": accounts, "symbols": symbols, "orders": count}
    state_mb = sum(amounts[name] * each for name, each in BYTES_OF.items()) / 2**20
    return HEAP_LEAST_MB + round(HEAP_TIMES * state_mb / taskmanagers)


def settings(config: Config) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "taskmanagers": config.stack.taskmanagers,
        "taskmanager_heap_mb": config.stack.taskmanager_heap_mb,
        "account_shards": config.trading.account_shards,
        "symbol_shards": config.trading.symbol_shards,
        "checkpoint_ms": config.flink.checkpoint_interval_ms,
    }


def measure(bench: StateBench, checkpoints: int, rate: int) -> dict[str, Any]:
    """All steps on a running stack. Raises BenchError when one stands still or an answer is wrong."""
    memory = {"started": bench.memory_mb()}
    setup_s = bench.begin()
    memory["accounts"] = bench.memory_mb()
    before, began = bench.cpu(), time.monotonic()
    status(f"sending {bench.count:,} resting orders")
    fill_s, fill_checkpoint_s = bench.fill()
    memory["orders"] = bench.memory_mb()
    status(f"  answered after {fill_s:.0f} s; watching {checkpoints} checkpoints, {rate} orders/s meanwhile")
    traffic = bench.watch(checkpoints, rate)
    memory["checkpoints"] = bench.memory_mb()
    # Flink's clients, before and after, would count as strangers when they have ended.
    used = [after - start for start, after in zip(before, bench.cpu(), strict=True)]
    others = max(0.0, used[2] - used[1]) / (time.monotonic() - began)
    restores = []
    for source in ("checkpoint", "savepoint"):
        restores.append(bench.restore(source))
        memory[f"restored from {source}"] = bench.memory_mb()
    return summary(traffic, rate, restores, memory) | {
        "start_s": round(bench.started_s, 1),
        "setup_s": round(setup_s, 1),
        "fill_s": round(fill_s, 1),
        "fill_orders_per_s": round(bench.count / fill_s),
        "fill_checkpoint_s_max": round(fill_checkpoint_s, 2),
        "others_cores": round(others, 2),
    }


def summary(
    traffic: Traffic, rate: int, restores: Sequence[Restored], memory: Mapping[str, Sequence[int]]
) -> dict[str, Any]:
    """The figures of checkpoints and restores. Raises BenchError without a checkpoint."""
    if not traffic.checkpoints:
        raise BenchError("there was no checkpoint to measure")
    durations = [done.duration_ms for done in traffic.checkpoints]
    sizes = [done.state_bytes for done in traffic.checkpoints]
    return {
        "checkpoints": len(durations),
        "checkpoints_failed": traffic.failed,
        "checkpoint_ms_median": round(statistics.median(durations)),
        "checkpoint_ms_max": max(durations),
        "checkpoint_bytes_median": round(statistics.median(sizes)),
        "checkpoint_bytes_max": max(sizes),
        "rate": rate,
        "traffic_orders": traffic.orders,
        "traffic_wait_s_median": round(traffic.wait_s_median, 3),
        "traffic_wait_s_max": round(traffic.wait_s_max, 3),
        "restores": [
            {
                name: round(value, 2) if isinstance(value, float) else value
                for name, value in dataclasses.asdict(one).items()
            }
            for one in restores
        ],
        "memory_mb": {step: list(values) for step, values in memory.items()},
    }


def render(result: Mapping[str, Any]) -> str:
    """The figures for a person."""
    meanwhile = (
        f"{result['rate']} orders/s meanwhile, answered (uncommitted) after {result['traffic_wait_s_median'] * 1e3:,.0f} ms "
        f"in the median, {result['traffic_wait_s_max'] * 1e3:,.0f} ms at worst"
        if result["rate"]
        else "the job at rest"
    )
    lines = [
        "",
        f"{result['accounts']:,} accounts, {result['symbols']:,} symbols, {result['orders']:,} resting orders; "
        f"{result['taskmanagers']} TaskManagers of {result['taskmanager_heap_mb']:,} MB heap, {result['account_shards']} + "
        f"{result['symbol_shards']} shards",
        f"reference data read after {result['setup_s']:.0f} s, orders answered after {result['fill_s']:.0f} s more "
        f"({result['fill_orders_per_s']:,}/s; the longest checkpoint meanwhile {result['fill_checkpoint_s_max']:.1f} s)",
        "",
        f"{'':<14}{'median':>12}{'worst':>12}",
        f"{'checkpoint':<14}{result['checkpoint_ms_median']:>9,} ms{result['checkpoint_ms_max']:>9,} ms",
        f"{'its size':<14}{size(result['checkpoint_bytes_median']):>12}{size(result['checkpoint_bytes_max']):>12}",
        f"({result['checkpoints']} checkpoints, one each {result['checkpoint_ms'] / 1e3:g} s, {result['checkpoints_failed']} "
        f"failed; {meanwhile})",
        "",
        f"{'resumed from':<14}{'on disk':>12}{'taken in':>12}{'job ended':>12}{'runs':>12}{'answers':>12}{'committed':>12}",
    ]
    times = ("taken_s", "ended_s", "running_s", "uncommitted_s", "committed_s")
    lines += [
        f"{one['source']:<14}{size(one['bytes']):>12}" + "".join(f"{one[name]:>10.1f} s" for name in times)
        for one in result["restores"]
    ]
    asked, cancelled = (sum(one[name] for one in result["restores"]) for name in ("asked", "cancelled"))
    lines += [
        "(runs, answers, committed: seconds since the JobManager had the job; the empty one ran after "
        f"{result['start_s']:.1f} s. {asked} orders touched every shard; {cancelled} cancels of orders from before had the "
        "right answer)",
        "",
        f"{'memory of the TaskManagers':<32}{'MiB':>16}",
        *(f"{step:<32}{' + '.join(f'{mb:,}' for mb in values):>16}" for step, values in result["memory_mb"].items()),
    ]
    if result["disturbed"]:
        lines += [
            "",
            f"disturbed: load {result['load_before']:.1f} before, others took {result['others_cores']:.2f} cores; repeat in "
            "quiet",
        ]
    return "\n".join(lines)
