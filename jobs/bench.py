"""`tradestream bench`: how fast the jobs are, as ratios to what the machine could do at best, measured in one run.

bench orders
1. Start a stack of its own, fill `orders` with N new orders, and the reference data and quotes that they need.
2. Run the trading job on them, Kafka to Kafka, exactly once, and watch the ends of its output topics.
3. Run the passthrough on the same orders: a JVM job without Python that writes as many and as large records.
4. Report both rates over the middle of each run (from 20% to 90% of the output), and their ratio.

The broker, the jobs and nothing else share the machine; other load disturbs both runs, and a changed load one of them.

bench engine: the matching engine alone, in jobs/bench_engine.py.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click
import confluent_kafka

from infra.feeds.items import Item
from infra.feeds.publisher import Publisher
from infra.feeds.sessions import DEFAULT_DAY, trading_day
from infra.feeds.workloads import MID_E4, BenchFlow
from infra.stack import Stack, terminate_as_interrupt
from jobs import topics
from jobs.bench_engine import engine
from jobs.cli_common import META_OVERRIDES, load_config, status
from jobs.cli_schemas import open_registry
from jobs.config import Config
from jobs.demo_setup import demo_config
from jobs.demo_watch import Probe
from jobs.flink_rest import FlinkRest
from jobs.submit import submit_job
from schemas.catalogue import TOPICS
from schemas.messages import nbbo

VARIANTS: Final = 16
"""Different records that the passthrough writes in turn, so that compression meets something like the real thing."""
STALLED_S: Final = 120
FROM_SHARE, TO_SHARE = 0.2, 0.9


class BenchError(RuntimeError):
    """A benchmark that could not be run to its end."""


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """One run of a job over all orders."""

    orders_per_s: float
    records: int
    records_per_s: float
    bytes_per_record: float
    seconds: float


@click.group()
def bench() -> None:
    """Measure the jobs against what the machine could do at best, and the matching engine alone.

    `orders` starts a stack of its own and ends it. Nothing else should run on the machine meanwhile.

    Example: tradestream bench orders --quick
    """


bench.add_command(engine)


@bench.command()
@click.option("--orders", "count", default=500_000, show_default=True, help="Orders to preload.")
@click.option("--quick", is_flag=True, help="150,000 orders and one repetition: a first look, within ten minutes.")
@click.option("--parallelism", default=2, show_default=True, help="Subtasks, one TaskManager each.")
@click.option("--repeat", default=1, show_default=True, help="Repetitions; medians are reported.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line.")
@click.pass_context
def orders(ctx: click.Context, count: int, quick: bool, parallelism: int, repeat: int, as_json: bool) -> None:
    """Orders a second through the trading job, Kafka to Kafka, exactly once.

    Beside it runs a passthrough in the JVM that writes as many and as large records: the ratio tells how much the
    validation, risk, matching and Python cost, whatever the machine.

    Example: tradestream bench orders --quick
    """
    if quick:
        count, repeat = min(count, 150_000), 1
    base = load_config(ctx)
    own = dataclasses.replace(base, state_dir=base.state_dir / "bench")
    config = demo_config(own, parallelism, ctx.meta.get(META_OVERRIDES, {}))
    config = dataclasses.replace(config, flink=dataclasses.replace(config.flink, parallelism=parallelism))
    stack = Stack(config, progress=status)
    trading: list[Measured] = []
    passthrough: list[Measured] = []
    load_before = os.getloadavg()[0]
    with terminate_as_interrupt():
        try:
            status("starting Kafka, registry and Flink")
            stack.up(("kafka", "registry", "flink"))
            run = OrderBench(config, count)
            for number in range(repeat):
                status(f"run {number + 1} of {repeat}: loading {count:,} orders")
                run.load()
                trading.append(run.measure("trading"))
                run.record()
                passthrough.append(run.measure("passthrough"))
        finally:
            stack.down(wipe=True)
    result = summary(count, parallelism, trading, passthrough)
    click.echo(render(result, load_before))
    if as_json:
        click.echo(json.dumps(result))


class OrderBench:
    """The steps of `bench orders` on a running stack."""

    def __init__(self, config: Config, count: int) -> None:
        self.config = config
        self.count = count
        self.rest = FlinkRest(config.flink.rest_url)
        self.probe = Probe(config, {})
        # Here, because job modules import PyFlink, which takes seconds.
        from jobs.trading import OUTPUTS

        self.outputs = OUTPUTS

    def load(self) -> None:
        """Empty topics, then everything that the trading job reads."""
        every = list(TOPICS.values())
        with topics.admin(self.config) as admin:
            topics.delete(admin, list(topics.existing(admin, every)))
            _wait(lambda: not topics.existing(admin, every), "the old topics are not deleted")
            topics.create(admin, self.config, every)
        known = open_registry(self.config)
        ids = {
            name: known.register(topic.subject, topic.schema_file.read_text(encoding="utf-8"))
            for name, topic in TOPICS.items()
        }
        flow = BenchFlow(trading_day(DEFAULT_DAY), ids)
        publisher = Publisher(self.config.kafka, linger_ms=50)
        publisher.play(item for item in flow.setup() if item[0] == "reference-data")
        publisher.play(_quotes(flow, ids["nbbo"]))
        publisher.play(
            flow.orders(self.count), progress=lambda done: status(f"  {done.sent:,} orders loaded"), progress_s=5
        )

    def measure(self, job: str) -> Measured:
        """Run a job over all orders and cancel it at their end."""
        status(f"running {job}")
        before, size_before = self._written(), self._bytes()
        job_id = submit_job(self.config, job, timeout_s=300)
        points: list[tuple[float, int]] = []
        last_change = time.monotonic()
        # The job has everything when it has read all orders and its output stands still.
        while True:
            now, written = time.monotonic(), self._written() - before
            if not points or written != points[-1][1]:
                points.append((now, written))
                last_change = now
            elif now - last_change > 5 and written and self.probe.group_lag(job, ("orders",)) == 0:
                break
            elif now - last_change > STALLED_S:
                raise BenchError(
                    f"{job} stands still at {written:,} records: {self.rest.failure(job_id) or 'no failure'}"
                )
            time.sleep(0.2)
        self.rest.cancel(job_id)
        total = points[-1][1]
        begin = next(point for point in points if point[1] >= FROM_SHARE * total)
        end = next(point for point in points if point[1] >= TO_SHARE * total)
        seconds = end[0] - begin[0]
        records_per_s = (end[1] - begin[1]) / seconds
        share = (end[1] - begin[1]) / total
        measured = Measured(
            orders_per_s=self.count * share / seconds,
            records=total,
            records_per_s=records_per_s,
            bytes_per_record=(self._bytes() - size_before) / total,
            seconds=seconds,
        )
        status(f"  {job}: {measured.orders_per_s:,.0f} orders/s, {records_per_s:,.0f} records/s over {seconds:.1f} s")
        return measured

    def record(self) -> None:
        """Take a sample of what the trading job wrote, in its proportions, for the passthrough."""
        from jobs.passthrough import RECORDING

        totals = {topic: self._written((topic,)) for topic in self.outputs}
        wanted = {topic: round(VARIANTS * total / self.count) for topic, total in totals.items()}
        pool: list[tuple[str, str, str]] = []
        for topic, amount in wanted.items():
            pool += [(topic, key.hex(), value.hex()) for key, value in self._sample(topic, amount)]
        # Dealt out in turn, so that every variant has about as many records.
        variants = [pool[number::VARIANTS] for number in range(VARIANTS)]
        (self.config.state_dir / RECORDING).write_text(json.dumps(variants), encoding="utf-8")

    def _sample(self, topic: str, amount: int) -> Iterator[tuple[bytes, bytes]]:
        """Records from the middle of a topic's first partition."""
        consumer = confluent_kafka.Consumer({**self.config.kafka.confluent(), "group.id": "bench-sample"})
        try:
            _, high = consumer.get_watermark_offsets(confluent_kafka.TopicPartition(topic, 0), timeout=30)
            consumer.assign([confluent_kafka.TopicPartition(topic, 0, high // 2)])
            while amount > 0:
                message = consumer.poll(30)
                if message is None or message.error() is not None:
                    raise BenchError(f"cannot sample {topic}: {message.error() if message else 'no record in 30 s'}")
                yield message.key() or b"", message.value()
                amount -= 1
        finally:
            consumer.close()

    def _written(self, names: tuple[str, ...] = ()) -> int:
        """Records in the output topics, committed or not (a transaction's marker counts as one)."""
        return sum(self.probe.ends(names or self.outputs, committed=False).values())

    def _bytes(self) -> int:
        """Bytes of the output topics on the broker's disk, compressed."""
        data = self.config.state_dir / "kafka" / "data"
        folders = [folder for topic in self.outputs for folder in data.glob(f"{topic}-[0-9]*")]
        return sum(_size(file) for folder in folders for file in folder.glob("*.log"))


def _size(file: Path) -> int:
    return file.stat().st_size


def _quotes(flow: BenchFlow, schema_id: int) -> Iterator[Item]:
    """One NBBO for each symbol, far outside the orders' prices."""
    for symbol in flow.symbols:
        bid, ask, size = MID_E4 - 15_000, MID_E4 + 15_000, 500
        quote = nbbo.VenueQuote("XNYS", bid, size, ask, size, flow.day.open_ns)
        record = nbbo.Nbbo(
            f"{symbol}-1", symbol, bid, size, "XNYS", ask, size, "XNYS", [quote], MID_E4, 1, flow.day.open_ns
        )
        yield "nbbo", symbol.encode(), nbbo.encode(record, schema_id), flow.day.open_ns


def _wait(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + STALLED_S
    while not done():
        if time.monotonic() > deadline:
            raise BenchError(f"{what} after {STALLED_S} s")
        time.sleep(0.5)


def summary(
    count: int, parallelism: int, trading: list[Measured], passthrough: list[Measured]
) -> dict[str, float | int | list[float]]:
    """The figures of all repetitions: medians, and each ratio."""
    ratios = [ours.orders_per_s / limit.orders_per_s for ours, limit in zip(trading, passthrough, strict=True)]
    return {
        "orders": count,
        "parallelism": parallelism,
        "orders_per_s": round(statistics.median(run.orders_per_s for run in trading)),
        "records_per_order": round(statistics.median(run.records / count for run in trading), 2),
        "records_per_s": round(statistics.median(run.records_per_s for run in trading)),
        "bytes_per_record": round(statistics.median(run.bytes_per_record for run in trading)),
        "passthrough_orders_per_s": round(statistics.median(run.orders_per_s for run in passthrough)),
        "passthrough_records_per_order": round(statistics.median(run.records / count for run in passthrough), 2),
        "passthrough_bytes_per_record": round(statistics.median(run.bytes_per_record for run in passthrough)),
        "passthrough_ratio": round(statistics.median(ratios), 3),
        "passthrough_ratios": [round(ratio, 3) for ratio in ratios],
    }


def render(result: dict[str, float | int | list[float]], load_before: float) -> str:
    """The figures for a person."""
    lines = [
        "",
        f"{'':<14}{'orders/s':>12}{'records/order':>16}{'bytes/record':>15}",
        f"{'trading':<14}{result['orders_per_s']:>12,}{result['records_per_order']:>16}{result['bytes_per_record']:>15}",
        f"{'passthrough':<14}{result['passthrough_orders_per_s']:>12,}{result['passthrough_records_per_order']:>16}"
        f"{result['passthrough_bytes_per_record']:>15}",
        "",
        f"ratio {result['passthrough_ratio']} ({result['orders']:,} orders, parallelism {result['parallelism']}; bytes as "
        "compressed on the broker)",
    ]
    if load_before > 1.0:
        lines.append(f"disturbed: the load was {load_before:.1f} before the first run; repeat on a quiet machine")
    return "\n".join(lines)
