"""`tradestream bench orders`: orders a second through the trading job, as a ratio to what the machine could do at best.

1. Start a stack of its own, fill `orders` with N new orders, and the reference data and quotes that they need.
2. Run the trading job on them, Kafka to Kafka, exactly once, and watch the ends of its output topics; once before for half a
   minute, unmeasured, because the JVM's compilers take half the machine so long.
3. Run the passthrough on the same orders, and once before for its compilers: a JVM job without Python that writes as many and
   as large records.
4. In the first repetition also the trading job with at-least-once sinks, and with one call of Python per record.
5. Report the rates over the second half of each run (from 50% to 90% of the output), their ratios, and where the CPU time went:
   each job has code of its own, which the compilers begin with when it starts.

The broker, the jobs and nothing else share the machine; other load disturbs all runs, and a changed load some of them.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Iterable, Iterator
from typing import Any, Final

import click
import confluent_kafka

from infra.feeds.items import Item
from infra.feeds.many_orders import BenchFlow
from infra.feeds.publisher import Publisher
from infra.feeds.sessions import DEFAULT_DAY, trading_day
from infra.feeds.workloads import MID_E4
from jobs.bench_run import BenchError, BenchRun, Measured, bench_config, load_now, own_stack
from jobs.cli_common import status
from jobs.config import Config
from schemas.messages import nbbo

FROM_SHARE: Final = 0.5
VARIANTS: Final = 16
"""Different records that the passthrough writes in turn, so that compression meets something like the real thing."""
AT_LEAST_ONCE, PER_RECORD = "at least once", "per record"
WARM_UP_S: Final = 30
PER_RECORD_S: Final = 45
"""How long the form with one call per record is measured: it would take many minutes to its end."""


@click.command()
@click.option("--orders", "count", default=1_000_000, show_default=True, help="Orders to preload.")
@click.option("--quick", is_flag=True, help="600,000 orders and one repetition: a first look, within ten minutes.")
@click.option(
    "--parallelism", default=1, show_default=True, help="Subtasks of each stage, one shard and one TaskManager each."
)
@click.option("--window-ms", default=50, show_default=True, help="The job's micro-batch window.")
@click.option("--checkpoint-ms", default=5_000, show_default=True, help="The job's checkpoint interval.")
@click.option("--repeat", default=1, show_default=True, help="Repetitions; medians are reported.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line.")
@click.pass_context
def orders(
    ctx: click.Context,
    count: int,
    quick: bool,
    parallelism: int,
    window_ms: int,
    checkpoint_ms: int,
    repeat: int,
    as_json: bool,
) -> None:
    """Orders a second through the trading job, Kafka to Kafka, exactly once.

    Beside it runs a passthrough in the JVM that writes as many and as large records: the ratio tells how much the
    validation, risk, matching and Python cost, whatever the machine. The same rules with one call of Python per record, and
    with sinks that write at least once, are measured too. Settings are those for throughput, not for latency: long windows
    and few shards make large batches, checkpoints are not frequent, and each stage has an interpreter of its own.

    Example: tradestream bench orders --quick
    """
    if quick:
        count, repeat = min(count, 600_000), 1
    if min(count, parallelism, window_ms, checkpoint_ms, repeat) < 1:
        raise click.UsageError("--orders, --parallelism, --window-ms, --checkpoint-ms and --repeat must be at least 1")
    config = throughput(bench_config(ctx, 2 * parallelism, apart=0), parallelism, window_ms, checkpoint_ms)
    trading: list[Measured] = []
    passthrough: list[Measured] = []
    others: dict[str, Measured] = {}
    load_before = load_now()
    with own_stack(config):
        run = OrderBench(config, count)
        status(f"loading {count:,} orders")
        run.load()
        run.warm_up("trading", WARM_UP_S)
        for number in range(repeat):
            status(f"run {number + 1} of {repeat}: loading {count:,} orders")
            run.load()
            trading.append(run.measure("trading"))
            run.record(count)
            if not number:
                run.warm_up("passthrough", WARM_UP_S)
                run.load()
            passthrough.append(run.measure("passthrough"))
            if not number:
                for name, changed in variants(config).items():
                    status(f"{name}: the trading job again, from empty topics")
                    run.load()
                    cut = (PER_RECORD_S, trading[0].records / count) if name == PER_RECORD else None
                    others[name] = run.measure("trading", changed, cut)
    result = summary(config, count, trading, passthrough, others)
    click.echo(render(result, load_before))
    if as_json:
        click.echo(json.dumps(result))


class OrderBench(BenchRun):
    """The steps of `bench orders` on a running stack."""

    def __init__(self, config: Config, count: int) -> None:
        # Here, because job modules import PyFlink, which takes seconds.
        from jobs.trading import OUTPUTS

        super().__init__(config, count, ("orders",), OUTPUTS)
        self.from_share = FROM_SHARE
        self.schema_ids: dict[str, int] = {}
        """The registry's ids, since `prepare`."""

    def load(self, *, symbol: float = 0.0, account: float = 0.0) -> BenchFlow:
        """Empty topics, then everything that the trading job reads; the flow that the orders came from.

        symbol, account: how skewed the orders are (BenchFlow.orders).
        """
        flow = self.prepare()
        self.publish(flow.orders(self.count, symbol=symbol, account=account), "orders")
        return flow

    def prepare(self, symbols: int = 128, accounts: int = 1_024, holdings: int = 0) -> BenchFlow:
        """Empty topics, then everything that the trading job reads but orders; the arguments are those of BenchFlow."""
        self.schema_ids = self.fresh_topics()
        day = trading_day(DEFAULT_DAY)
        flow = BenchFlow(day, self.schema_ids, symbols=symbols, accounts=accounts, holdings=holdings)
        self.publish(flow.reference(), "records of reference data")
        self.publish(_quotes(flow, self.schema_ids["nbbo"]), "quotes")
        return flow

    def publish(self, items: Iterable[Item], what: str) -> None:
        """Put records into Kafka, and say every five seconds how many. Raises PublishError."""
        with Publisher(self.config.kafka, linger_ms=50) as publisher:
            publisher.play(items, progress=lambda done: status(f"  {done.sent:,} {what} loaded"), progress_s=5)

    def record(self, count: int, answer: str = "") -> None:
        """Take a sample of what the trading job wrote for `count` orders, in its proportions, for the passthrough.

        answer: a topic in which the order itself takes the place of one record of each order.
        """
        from jobs.passthrough import RECORDING, Variant

        totals = {topic: self.written((topic,)) - count * (topic == answer) for topic in self.outputs}
        wanted = {topic: round(VARIANTS * total / count) for topic, total in totals.items()}
        pool: Variant = []
        for topic, amount in wanted.items():
            pool += [(topic, key.hex(), value.hex()) for key, value in self._sample(topic, amount)]
        # Dealt out in turn, so that every variant has about as many records.
        variants = [pool[number::VARIANTS] + [(answer, "", None)] * bool(answer) for number in range(VARIANTS)]
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


def _quotes(flow: BenchFlow, schema_id: int) -> Iterator[Item]:
    """One NBBO for each symbol, far outside the orders' prices."""
    for symbol in flow.symbols:
        bid, ask, size = MID_E4 - 15_000, MID_E4 + 15_000, 500
        quote = nbbo.VenueQuote("XNYS", bid, size, ask, size, flow.day.open_ns)
        record = nbbo.Nbbo(
            f"{symbol}-1", symbol, bid, size, "XNYS", ask, size, "XNYS", [quote], MID_E4, 1, flow.day.open_ns
        )
        yield "nbbo", symbol.encode(), nbbo.encode(record, schema_id), flow.day.open_ns


def throughput(config: Config, parallelism: int, window_ms: int, checkpoint_ms: int) -> Config:
    """The settings with which an order costs the least CPU time (bench.md): few tasks, stages in TaskManagers of their own."""
    return dataclasses.replace(
        config,
        flink=dataclasses.replace(config.flink, parallelism=parallelism, checkpoint_interval_ms=checkpoint_ms),
        trading=dataclasses.replace(
            config.trading,
            account_shards=parallelism,
            symbol_shards=parallelism,
            window_ms=window_ms,
            separate_stages=True,
            inputs="joined",
            gather_frames=parallelism > 1,
        ),
    )


def variants(config: Config) -> dict[str, Config]:
    """The forms of the trading job that it is compared with, and their settings."""
    once = dataclasses.replace(config, flink=dataclasses.replace(config.flink, delivery="at-least-once"))
    single = dataclasses.replace(config, trading=dataclasses.replace(config.trading, window_ms=0))
    return {AT_LEAST_ONCE: once, PER_RECORD: single}


def summary(
    config: Config,
    count: int,
    trading: list[Measured],
    passthrough: list[Measured],
    others: dict[str, Measured],
) -> dict[str, Any]:
    """The figures of all repetitions: medians, and each ratio; CPU time of the first."""
    ratios = [ours.inputs_per_s / limit.inputs_per_s for ours, limit in zip(trading, passthrough, strict=True)]
    return {
        "orders": count,
        "parallelism": config.flink.parallelism,
        "window_ms": config.trading.window_ms,
        "checkpoint_ms": config.flink.checkpoint_interval_ms,
        "orders_per_s": round(statistics.median(run.inputs_per_s for run in trading)),
        "records_per_order": round(statistics.median(run.records / count for run in trading), 2),
        "records_per_s": round(statistics.median(run.records_per_s for run in trading)),
        "bytes_per_record": round(statistics.median(run.bytes_per_record for run in trading)),
        "passthrough_orders_per_s": round(statistics.median(run.inputs_per_s for run in passthrough)),
        "passthrough_records_per_order": round(statistics.median(run.records / count for run in passthrough), 2),
        "passthrough_bytes_per_record": round(statistics.median(run.bytes_per_record for run in passthrough)),
        "passthrough_ratio": round(statistics.median(ratios), 3),
        "passthrough_ratios": [round(ratio, 3) for ratio in ratios],
        "per_record_orders_per_s": round(others[PER_RECORD].inputs_per_s),
        "at_least_once_orders_per_s": round(others[AT_LEAST_ONCE].inputs_per_s),
        "cpu_us_per_order": trading[0].cpu_us,
        "passthrough_cpu_us_per_order": passthrough[0].cpu_us,
    }


def render(result: dict[str, Any], load_before: float) -> str:
    """The figures for a person."""
    lines = [
        "",
        f"{'':<14}{'orders/s':>12}{'records/order':>16}{'bytes/record':>15}",
        f"{'trading':<14}{result['orders_per_s']:>12,}{result['records_per_order']:>16}{result['bytes_per_record']:>15}",
        f"{'passthrough':<14}{result['passthrough_orders_per_s']:>12,}{result['passthrough_records_per_order']:>16}"
        f"{result['passthrough_bytes_per_record']:>15}",
        f"{AT_LEAST_ONCE:<14}{result['at_least_once_orders_per_s']:>12,}",
        f"{PER_RECORD:<14}{result['per_record_orders_per_s']:>12,}",
        "",
        f"{'CPU, us/order':<24}{'trading':>10}{'passthrough':>14}",
        *(
            f"{stage:<24}{result['cpu_us_per_order'].get(stage, 0):>10}"
            f"{result['passthrough_cpu_us_per_order'].get(stage, 0):>14}"
            for stage in {**result["cpu_us_per_order"], **result["passthrough_cpu_us_per_order"]}
        ),
        "",
        f"ratio {result['passthrough_ratio']} ({result['orders']:,} orders, parallelism {result['parallelism']}, windows of "
        f"{result['window_ms']} ms, a checkpoint each {result['checkpoint_ms']} ms; bytes as compressed on the broker)",
    ]
    if load_before > 1.0:
        lines.append(f"disturbed: the load was {load_before:.1f} before the first run; repeat on a quiet machine")
    return "\n".join(lines)
