"""`tradestream bench market-data`: ticks a second through the market data job, against what the JVM alone could do.

1. Start a stack of its own; fill raw-feed with N ticks, evenly spread over the symbols; warm both jobs up, and fill it again.
2. Run the market data job on them, Kafka to Kafka, exactly once; then, on the same records, a SQL job in the JVM that only
   decodes and encodes them again (jobs/market_passthrough.py). Their ratio says what normalising, the NBBO and Python cost.
3. The same number of ticks with half of them on one symbol: whether the other symbols wait for it.
4. Ticks of one symbol only: as fast as it goes, and live at several rates, watching how far the job is behind.

Progress is the end of market-data, which gets one record for each tick. All figures are of jobs and broker on one machine.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import time
from typing import Any, Final

import click

from infra.artifacts import AVRO_FORMAT, ensure_jar
from infra.feeds.partitions import kafka_partition
from infra.feeds.publisher import Progress, Publisher
from infra.feeds.sessions import DEFAULT_DAY, trading_day
from infra.feeds.tick_load import TickLoad
from jobs.bench_run import BenchError, BenchRun, Measured, bench_config, is_disturbed, load_now, own_stack
from jobs.cli_common import status
from jobs.config import Config
from schemas.catalogue import TOPICS
from udfs.domain import market_shard

Result = dict[str, Any]
SYMBOLS: Final = 128
HOT_SHARE: Final = 0.5
"""Part of the ticks that one symbol has in the skewed run."""
RATES_PER_S: Final = (1_000, 5_000, 20_000)
"""Live updates a second of one symbol."""
LOAD_PER_S: Final = 5_000.0
"""Ticks in a second of event time where the pace does not matter."""
WARM_UP_S: Final = 20
"""How long each job runs unmeasured before: with cold compilers it is half as fast."""
KEEPS_UP_S: Final = 1.0
"""So far behind a job may be, and still keeps up: a checkpoint."""


@dataclasses.dataclass(frozen=True, slots=True)
class Live:
    """One live run: rate that was sent, the most that the job was behind, and how long it needed after the last tick."""

    per_s: float
    sent: int
    most_behind: int
    caught_up_s: float

    @property
    def keeps_up(self) -> bool:
        """Whether it was never further behind than a moment, and was soon through."""
        return self.most_behind <= self.per_s * KEEPS_UP_S and self.caught_up_s <= KEEPS_UP_S


@click.command(name="market-data")
@click.option(
    "--ticks", "count", default=1_500_000, show_default=True, type=click.IntRange(10_000), help="Ticks to load."
)
@click.option("--quick", is_flag=True, help="800,000 ticks and one repetition: a first look, within ten minutes.")
@click.option("--parallelism", default=2, show_default=True, help="Subtasks, one TaskManager each.")
@click.option(
    "--repeat", default=1, show_default=True, type=click.IntRange(1), help="Repetitions; medians are reported."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line.")
@click.pass_context
def market_data(ctx: click.Context, count: int, quick: bool, parallelism: int, repeat: int, as_json: bool) -> None:
    """Ticks a second through the market data job, Kafka to Kafka, exactly once.

    In the same run a SQL job in the JVM only decodes and encodes the same records: the ratio tells how much normalising, the
    NBBO and Python cost, whatever the machine. Then half of the traffic on one symbol, and one symbol alone, live.

    Example: tradestream bench market-data --quick
    """
    if quick:
        count, repeat = min(count, 800_000), 1
    config = bench_config(ctx, parallelism)
    load_before = load_now()
    ensure_jar(config, AVRO_FORMAT, status)
    runs: list[Result] = []
    with own_stack(config):
        for number in range(repeat):
            status(f"run {number + 1} of {repeat}: {count:,} ticks")
            runs.append(MarketBench(config, count).run(live_s=5.0 if quick else 15.0))
    result = summary(count, parallelism, runs, load_before)
    click.echo(render(result))
    if as_json:
        click.echo(json.dumps(result))


class MarketBench(BenchRun):
    """The steps of `bench market-data` on a running stack."""

    def __init__(self, config: Config, count: int) -> None:
        super().__init__(config, count, ("raw-feed",), ("market-data",))

    def run(self, live_s: float) -> Result:
        """All runs, one after the other; `live_s`: length of each live one."""
        found: Result = {}
        self.load(SYMBOLS, None)
        for job in ("market_data", "market_passthrough"):
            self.warm_up(job, WARM_UP_S)
        self.load(SYMBOLS, None)
        found["market_data"] = self.measure("market_data")
        found["passthrough"] = self.measure("market_passthrough")
        hot = self.load(SYMBOLS, HOT_SHARE).symbols[0]
        found["skewed"] = self.measure("market_data")
        found["others_done"] = self.others_done(hot)
        load = self.load(1, None)
        job_id, found["one_symbol"] = self.start("market_data")
        found["live"] = [self.live(load, rate, live_s) for rate in RATES_PER_S]
        self.rest.cancel(job_id)
        return found

    def load(self, symbols: int, first_share: float | None) -> TickLoad:
        """Empty topics, then ticks."""
        ids = self.fresh_topics()
        load = TickLoad(trading_day(DEFAULT_DAY), ids["raw-feed"], symbols, first_share)
        with Publisher(self.config.kafka, linger_ms=50) as publisher:
            publisher.play(
                load.ticks(self.count, LOAD_PER_S),
                progress=lambda done: status(f"  {done.sent:,} ticks loaded"),
                progress_s=5,
            )
        return load

    def others_done(self, hot: str) -> float:
        """When in the last run the partitions without a symbol were through, as a share of the time of the whole run."""
        partition = kafka_partition(hot.encode(), TOPICS["market-data"].partitions_local)
        begin = next(point.at_s for point in self.points if point.written > 0)
        total = self.points[-1].at_s - begin
        others = [at_s for (_, number), at_s in self.last_written.items() if number != partition]
        return (max(others) - begin) / total if others and total > 0 else 0.0

    def live(self, load: TickLoad, per_s: int, seconds: float) -> Live:
        """Send ticks at a rate while the job runs."""
        status(f"one symbol, live at {per_s:,}/s")
        before = self.written()
        most_behind = 0

        def watch(done: Progress) -> None:
            nonlocal most_behind
            most_behind = max(most_behind, done.sent - (self.written() - before))

        count = round(per_s * seconds)
        with Publisher(self.config.kafka) as publisher:
            publisher.play(load.ticks(count, per_s), speed=1.0, progress=watch, progress_s=0.25)
        sent_at = time.monotonic()
        while self.written() - before < count:
            if time.monotonic() - sent_at > 120:
                raise BenchError(f"market_data is {count - (self.written() - before):,} of {count:,} ticks behind")
            time.sleep(0.02)
        return Live(per_s, count, most_behind, time.monotonic() - sent_at)


def summary(count: int, parallelism: int, runs: list[Result], load_before: float) -> Result:
    """The figures of all repetitions: medians, and each ratio."""

    def median(name: str, of: str = "inputs_per_s") -> float:
        return statistics.median(float(getattr(run[name], of)) for run in runs)

    measured: list[Measured] = [
        run[name] for run in runs for name in ("market_data", "passthrough", "skewed", "one_symbol")
    ]
    others = max(one.others_cores for one in measured)
    ratios = [run["market_data"].inputs_per_s / run["passthrough"].inputs_per_s for run in runs]
    by_cpu = [run["market_data"].inputs_per_core_s / run["passthrough"].inputs_per_core_s for run in runs]
    return {
        "ticks": count,
        "symbols": SYMBOLS,
        "parallelism": parallelism,
        "cores": os.cpu_count() or 1,
        "compiled": not str(market_shard.__file__).endswith(".py"),
        "ticks_per_s": round(median("market_data")),
        "ticks_per_core_s": round(median("market_data", "inputs_per_core_s")),
        "cores_used": round(median("market_data", "cores"), 2),
        "passthrough_ticks_per_s": round(median("passthrough")),
        "passthrough_ticks_per_core_s": round(median("passthrough", "inputs_per_core_s")),
        "passthrough_cores_used": round(median("passthrough", "cores"), 2),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "ratio_per_core": round(statistics.median(by_cpu), 3),
        "skewed_ticks_per_s": round(median("skewed")),
        "skewed_others_done": round(statistics.median(run["others_done"] for run in runs), 2),
        "one_symbol_ticks_per_s": round(median("one_symbol")),
        "one_symbol_live": [_live([run["live"][place] for run in runs]) for place in range(len(RATES_PER_S))],
        "load_at_start": round(load_before, 2),
        "others_cores": round(others, 2),
        "disturbed": is_disturbed(load_before, others),
    }


def _live(same: list[Live]) -> Result:
    """Repetitions of a live run; of what is behind the worst counts."""
    rate = same[0].per_s
    return {
        "per_s": round(rate),
        "most_behind_ms": round(max(one.most_behind for one in same) / rate * 1_000),
        "caught_up_ms": round(max(one.caught_up_s for one in same) * 1_000),
        "keeps_up": all(one.keeps_up for one in same),
    }


def render(result: Result) -> str:
    """The figures for a person."""
    lines = [
        "",
        f"{result['ticks']:,} ticks of {result['symbols']} symbols, parallelism {result['parallelism']}, "
        f"{result['cores']} cores for jobs and broker",
        "hot modules: compiled"
        if result["compiled"]
        else "hot modules: INTERPRETED, several times slower; `python -m infra.compile` compiles them",
    ]
    if result["disturbed"]:
        lines.append(
            f"disturbed: the load was {result['load_at_start']} at the start, and others used up to "
            f"{result['others_cores']} cores during a measurement; repeat on a quiet machine"
        )
    lines += ["", f"{'':<22}{'ticks/s':>12}{'per CPU s':>12}{'cores used':>12}"]
    for label, prefix in (("market_data", ""), ("decode and encode", "passthrough_")):
        lines.append(
            f"{label:<22}{result[prefix + 'ticks_per_s']:>12,}{result[prefix + 'ticks_per_core_s']:>12,}"
            f"{result[prefix + 'cores_used']:>12}"
        )
    lines += [
        "",
        f"ratio {result['ratio']} of the JVM's ticks/s, {result['ratio_per_core']} of its ticks a CPU second",
        f"half of the ticks on one symbol: {result['skewed_ticks_per_s']:,} ticks/s; the partitions without it are through "
        f"after {result['skewed_others_done']:.0%} of the time",
        f"one symbol alone: {result['one_symbol_ticks_per_s']:,} ticks/s",
    ]
    for live in result["one_symbol_live"]:
        lines.append(
            f"  live at {live['per_s']:,}/s: at most {live['most_behind_ms']:,} ms behind, through "
            f"{live['caught_up_ms']:,} ms after the last tick: " + ("keeps up" if live["keeps_up"] else "FALLS BEHIND")
        )
    return "\n".join(lines)
