"""`tradestream bench engine`: the matching engine alone, without Flink and Kafka.

1. Make the commands, in every form in which they are run, before the clock starts.
2. Run them through the engine (collector off and on), the sorted lists that it is compared with, rows of text, a file,
   and frames, each in turn in every repetition, so that a load on the machine meets all of them alike.
3. Run them once more with the clock around each command, for the quantiles.
4. Measure single commands on books of 10 to 100,000 levels, and the memory of a million resting orders.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import click

from jobs import bench_depth, bench_measure
from jobs.bench_depth import DEPTHS, KINDS, NAIVE_KINDS, Part
from jobs.bench_flow import RESTING_ORDERS, SHARES, SYMBOLS, frames, mixed_flow, rows
from jobs.bench_measure import Prepared, Run
from jobs.cli_common import duration, size, status
from udfs.domain import matching
from udfs.domain.filling import NEVER

Result = dict[str, Any]
QUANTILES: Final = {"p50": 0.5, "p99": 0.99, "p99_9": 0.999}
_MEMORY_ORDERS: Final = 1_000_000
_MEMORY_BOOKS: Final = 1_000
_DEPTH_COMMANDS: Final = 2_000
_FLOW: Final = ", ".join(f"{share}% {kind}" for kind, share in SHARES.items())
T = TypeVar("T")

_HELP = f"""The matching engine alone: commands a second on one core, without Flink and Kafka.

The flow: {SYMBOLS} symbols with {RESTING_ORDERS:,} resting orders to begin with, then {_FLOW}. Cancels and
replacements name orders that live. It is made before the clock starts, and the same seed makes the same flow.

Rates are of CPU time, so that other work on the machine disturbs them less; medians of the repetitions with the lowest and
the highest. The same flow runs through a book of sorted lists, which must trade exactly the same.

\b
Example:
  tradestream bench engine --quick
"""


@click.command(name="engine", help=_HELP, short_help="Commands a second through the matching engine alone.")
@click.option("--commands", "count", default=500_000, show_default=True, type=click.IntRange(1), help="Commands.")
@click.option("--seed", default=1, show_default=True, help="Seed of the flow.")
@click.option(
    "--repeat", default=5, show_default=True, type=click.IntRange(1), help="Repetitions; medians are reported."
)
@click.option("--quick", is_flag=True, help="100,000 commands, one repetition, a tenth of the memory: half a minute.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line.")
def engine(count: int, seed: int, repeat: int, quick: bool, as_json: bool) -> None:
    """Measure the engine."""
    if quick:
        count, repeat = min(count, 100_000), 1
    load = os.getloadavg()[0]
    status(f"making {count:,} commands")
    prepared = prepare(count, seed)
    result = machine(load) | {"commands": count, "seed": seed, "repeat": repeat}
    result |= throughput(prepared, repeat, lambda turn: status(f"run {turn + 1} of {repeat}"))
    result |= {"shares": prepared.flow.shares, "latency": latency(prepared, repeat)}
    status("single commands by depth of the book")
    result["depth"] = depth(max(100, _DEPTH_COMMANDS // (10 if quick else 1)))
    scale = 10 if quick else 1
    status(f"memory of {_MEMORY_ORDERS // scale:,} resting orders")
    parts: tuple[Part, ...] = ("engine", "stage")
    result["memory"] = {
        part: bench_depth.memory(_MEMORY_ORDERS // scale, _MEMORY_BOOKS // scale, part) for part in parts
    }
    click.echo(render(result))
    if as_json:
        click.echo(json.dumps(result))


def machine(load: float) -> Result:
    """What the figures depend on besides the engine."""
    cores = len(os.sched_getaffinity(0))
    compiled = not str(matching.__file__).endswith(".py")
    return {"compiled": compiled, "cores": cores, "load_at_start": round(load, 2), "disturbed": load > cores}


def prepare(count: int, seed: int) -> Prepared:
    """A flow and all its forms."""
    flow = mixed_flow(count, seed)
    every = flow.preload + flow.commands
    as_rows = rows(every)
    return Prepared(
        preload=bench_measure.calls(flow.preload),
        commands=bench_measure.calls(flow.commands),
        flow=flow,
        rows=as_rows,
        text=bench_measure.csv_text(as_rows[len(flow.preload) :]),
        frames=frames(every, 1, NEVER),
        preloaded=len(flow.preload),
    )


def throughput(prepared: Prepared, repeat: int, began: Callable[[int], None]) -> Result:
    """Every form of the flow, `repeat` times in turn; rates, and where the time of a command goes."""
    runs: dict[str, list[Run]] = {}
    trades = records = 0

    def keep(name: str, run: Run) -> None:
        runs.setdefault(name, []).append(run)

    for turn in range(repeat):
        began(turn)
        with bench_measure.collector(on=True):
            keep("engine_gc_on", bench_measure.run_engine(prepared)[0])
        with bench_measure.collector(on=False):
            run, matcher = bench_measure.run_engine(prepared)
            keep("engine", run)
            keep("loop", bench_measure.timed(prepared.count, lambda: bench_measure.empty_loop(prepared.commands)))
            run, books = bench_measure.run_naive(prepared)
            keep("sorted_lists", run)
            if turn == 0:
                bench_measure.check_same(matcher, books)
                trades = books.trades
            del matcher, books
            keep("engine_text", bench_measure.run_engine(prepared, bench_measure.plain_reporter())[0])
            keep("engine_events", bench_measure.run_events(prepared))
            keep("rows", bench_measure.run_rows(prepared))
            keep("split", bench_measure.run_split(prepared))
            keep("file", bench_measure.run_text(prepared))
            keep("decode", bench_measure.run_decode(prepared))
            run, records = bench_measure.run_frames(prepared)
            keep("frames", run)
    each = {name: statistics.median(run.each_ns() for run in found) for name, found in runs.items()}
    ratios = [ours.rate() / theirs.rate() for ours, theirs in zip(runs["engine"], runs["sorted_lists"], strict=True)]
    return {
        "rates": {name: _rates(runs[name]) for name in RATE_NAMES},
        "ratio_to_sorted_lists": round(statistics.median(ratios), 2),
        "trades_per_command": round(trades / (prepared.count + prepared.preloaded), 3),
        "records_per_command": round(records / prepared.count, 2),
        "ns_per_command": {name: round(value) for name, value in each.items()},
        "stages": stages(each),
    }


RATE_NAMES: Final = {
    "engine": "engine, collector off",
    "engine_gc_on": "engine, collector on",
    "sorted_lists": "sorted lists (Python)",
    "rows": "fields of text to lines of text",
    "file": "a file to a file, as `match`",
    "frames": "frames to records, as the job",
}


def _rates(runs: Sequence[Run]) -> Result:
    """Median, lowest and highest rate of CPU time, and the median of the wall's."""
    rates = [run.rate() for run in runs]
    return {
        "per_s": round(statistics.median(rates)),
        "lowest": round(min(rates)),
        "highest": round(max(rates)),
        "wall_per_s": round(statistics.median(run.wall_rate() for run in runs)),
    }


def stages(each: dict[str, float]) -> dict[str, dict[str, int]]:
    """Nanoseconds of a command by stage: what a longer chain takes more than a shorter one.

    The engine's own part includes making the order; the benchmark's loop is taken off.
    """
    alone = each["engine"] - each["loop"]
    text = {
        "read the line, split it": each["split"],
        "check the fields, collect the lines": each["file"] - each["split"] - each["engine_text"],
        "engine": alone,
        "make the reports' lines": each["engine_text"] - each["engine"],
    }
    stage = {
        "decode the frame": each["decode"],
        "engine": alone,
        "encode the records": each["engine_events"] - each["engine"],
        "keys, protection, the call": each["frames"] - each["decode"] - each["engine_events"],
    }
    return {
        "file": {name: round(value) for name, value in text.items()},
        "frames": {name: round(value) for name, value in stage.items()},
    }


def latency(prepared: Prepared, repeat: int) -> Result:
    """Quantiles over all commands in ns, medians of the repetitions; the clock's own time is taken off."""
    overhead = bench_measure.clock_ns()
    found: dict[str, list[int]] = {name: [] for name in (*QUANTILES, "max")}
    for _ in range(repeat):
        with bench_measure.collector(on=False):
            taken = bench_measure.latencies(prepared)
        for name, share in QUANTILES.items():
            found[name].append(bench_measure.quantile(taken, share) - overhead)
        found["max"].append(taken[-1] - overhead)
    return {f"{name}_ns": round(statistics.median(values)) for name, values in found.items()} | {"clock_ns": overhead}


def depth(count: int) -> Result:
    """Medians of single commands by number of levels; of `cancel all` the mean, and the longest."""
    overhead = bench_measure.clock_ns()
    result: Result = {"commands": count, "levels": list(DEPTHS), "engine": {}, "sorted_lists": {}, "longest_us": []}
    with bench_measure.collector(on=False):
        for levels in DEPTHS:
            costs = bench_depth.depth_costs(levels, count, overhead)
            for kind in KINDS:
                middle = statistics.fmean if kind == "cancel all" else statistics.median
                result["engine"].setdefault(kind, []).append(round(middle(costs[kind])))
            result["longest_us"].append(round(max(costs["cancel all"]) / 1_000))
            naive = bench_depth.naive_depth_costs(levels, count, overhead)
            for kind in NAIVE_KINDS:
                result["sorted_lists"].setdefault(kind, []).append(round(statistics.median(naive[kind])))
    return result


# ---------------------------------------------------------------------------------------------------------------- report


def render(result: Result) -> str:
    """The figures for a person."""
    lines = [
        "",
        f"{result['commands']:,} commands, {result['trades_per_command']} trades each, seed {result['seed']}, "
        f"{result['repeat']} repetitions, one core",
        "hot modules: compiled"
        if result["compiled"]
        else "hot modules: INTERPRETED, several times slower; `python -m infra.compile` compiles them",
    ]
    if result["disturbed"]:
        lines.append(
            f"disturbed: the load was {result['load_at_start']} on {result['cores']} cores at the start; repeat on a "
            "quiet machine"
        )
    lines += ["", f"{'':<34}{'commands/s':>11}{'lowest':>11}{'highest':>11}{'by the wall':>13}"]
    for name, label in RATE_NAMES.items():
        found = result["rates"][name]
        lines.append(
            f"{label:<34}{found['per_s']:>11,}{found['lowest']:>11,}{found['highest']:>11,}{found['wall_per_s']:>13,}"
        )
    lines += [f"engine to sorted lists: {result['ratio_to_sorted_lists']} (the same trades)", "", *_latency(result)]
    lines += ["", *_stages(result), "", *_depth(result), "", *_memory(result)]
    return "\n".join(lines)


def _latency(result: Result) -> list[str]:
    found = result["latency"]
    quantiles = [f"P{name[1:].replace('_', '.')} {found[f'{name}_ns'] / 1_000:.2f} µs" for name in QUANTILES]
    longest = duration(found["max_ns"] / 1e6) if found["max_ns"] >= 1_000_000 else f"{found['max_ns'] // 1_000} µs"
    return [f"one command, collector off: {', '.join(quantiles)}, longest {longest}"]


def _stages(result: Result) -> list[str]:
    lines = ["where a command's CPU time goes, ns (differences of medians)"]
    for chain, label in (("file", "file to file"), ("frames", "frames to records")):
        parts = result["stages"][chain]
        total = sum(parts.values())
        lines.append(f"  {label}: {total:,}")
        lines += [f"    {name:<36}{value:>7,}{value / total:>7.0%}" for name, value in parts.items()]
    return lines


def _depth(result: Result) -> list[str]:
    found = result["depth"]
    width, label_width = 11, 31
    lines = [
        f"one command on a book of so many levels a side, ns (medians of {found['commands']:,}; cancel all: mean)",
        f"  {'':<{label_width}}" + "".join(f"{levels:>{width},}" for levels in found["levels"]),
    ]
    for kind in KINDS:
        lines.append(f"  {kind:<{label_width}}" + "".join(f"{value:>{width},}" for value in found["engine"][kind]))
    for kind in NAIVE_KINDS:
        label = f"sorted lists: {kind}"
        lines.append(
            f"  {label:<{label_width}}" + "".join(f"{value:>{width},}" for value in found["sorted_lists"][kind])
        )
    longest = "".join(f"{value:>{width},}" for value in found["longest_us"])
    return [*lines, f"  {'longest of cancel all, µs':<{label_width}}{longest}"]


def _memory(result: Result) -> list[str]:
    labels = {"engine": "engine", "stage": "match stage, with what its events repeat"}
    return [
        f"memory of {found['orders']:,} resting orders in {found['books']:,} books: {labels[part]}: "
        f"{size(found['bytes'])}, {found['bytes_per_order']:,} bytes an order"
        for part, found in result["memory"].items()
    ]
