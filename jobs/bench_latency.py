"""`tradestream bench latency`: from the moment an order is due to be sent until a client has read its answer.

1. Start a stack of its own and the trading job with short windows; one client reads order-events uncommitted, one committed.
2. Warm up with a burst of orders as fast as Kafka takes them, which also tells the maximum rate, and then at a steady rate:
   small batches go other ways through the JVMs than large ones. Three minutes at 1,000 orders/s halve what half a minute
   leaves of P50 and P99: the compilers of the broker and of the TaskManager are half a core before.
3. Send orders at each rate, and note when each reader got each order's answer.

An order's answer is its first event that says what became of it: routed to a market, rejected, or cancelled at once. Its time
starts when it was due, not when it was sent, so that orders which wait behind a slow one count their wait (no coordinated
omission). The clients, the broker and the job share the machine, and all read the same clock.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from ctypes import c_int64
from multiprocessing.process import BaseProcess
from typing import Any, Final

import click
import confluent_kafka

from infra.feeds.items import Item
from infra.feeds.publisher import producer_settings
from jobs.bench_measure import quantile
from jobs.bench_run import bench_config, load_now, numbers, own_stack
from jobs.cli_common import status
from jobs.config import Config
from jobs.submit import submit_job
from schemas.catalogue import TOPICS
from schemas.messages import order_events
from schemas.messages.enums import ORDER_STATUS_PENDING, ORDER_STATUS_RISK_APPROVED, ORDER_STATUS_VALIDATED

TOPIC: Final = "order-events"
READERS: Final = {"uncommitted": "read_uncommitted", "committed": "read_committed"}
ON_THE_WAY: Final = frozenset((ORDER_STATUS_PENDING, ORDER_STATUS_VALIDATED, ORDER_STATUS_RISK_APPROVED))
"""What an order's events say before it has its answer."""
QUANTILES: Final = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99, "p999_ms": 0.999}
SETTLE_S: Final = 3.0
"""The first seconds of each rate are not counted: the step from the rate before is in them."""
SETTLE_RATE: Final = 1_000
STALLED_S: Final = 90.0
_HEAP_MB: Final = 1_600
_LINGER_MS: Final = 1.0
_NAP_S: Final = 0.0005
_READ: Final = 1_000


class LatencyError(RuntimeError):
    """A latency that could not be measured."""


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    """What one reader saw of one rate; times in milliseconds."""

    rate: int
    reader: str
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    orders: int
    sent_late_ms: float
    """P99 of how much later than due the client sent: what the client itself adds."""


@click.command()
@click.option("--rates", default="100,1000,5000,10000", show_default=True, help="Orders a second, comma-separated.")
@click.option("--seconds", default=30, show_default=True, help="How long each rate is sent.")
@click.option("--burst", default=150_000, show_default=True, help="Orders of the warm-up.")
@click.option("--settle", default=180, show_default=True, help="Seconds of the warm-up at 1,000 orders/s after it.")
@click.option("--window-ms", default=2, show_default=True, help="The job's micro-batch window.")
@click.option("--shards", default=1, show_default=True, help="The job's shards of accounts and of symbols.")
@click.option("--checkpoint-ms", default=1_000, show_default=True, help="The job's checkpoint interval.")
@click.option("--quick", is_flag=True, help="Two rates, 10 s each, and a warm-up of a minute: a first look.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line.")
@click.pass_context
def latency(
    ctx: click.Context,
    rates: str,
    seconds: int,
    burst: int,
    settle: int,
    window_ms: int,
    shards: int,
    checkpoint_ms: int,
    quick: bool,
    as_json: bool,
) -> None:
    """Milliseconds from a due order to its answer, client to client.

    At each of the rates, and at 70% of the maximum that the warm-up found; for readers that see an answer at once
    (uncommitted) and for those that see it at its checkpoint (committed). The job has one TaskManager, so one
    shard is enough: orders that come together are then one batch, and not one for each of their shards.

    Example: tradestream bench latency --rates 100,1000
    """
    wanted = numbers(rates, "--rates")
    if min(wanted) < 1 or seconds <= SETTLE_S or burst < 1_000:
        raise click.UsageError(f"rates must be positive, --seconds above {SETTLE_S:.0f} and --burst at least 1000")
    if quick:
        wanted, seconds, settle = wanted[:2], min(seconds, 10), min(settle, 60)
    config = short_waits(bench_config(ctx, 1), window_ms, shards, checkpoint_ms)
    load_before = load_now()
    with own_stack(config):
        points, most = run(config, wanted, seconds, burst, settle)
    click.echo(render(points, most, load_before, window_ms, checkpoint_ms))
    if as_json:
        result = {
            "points": [dataclasses.asdict(point) for point in points],
            "maximum_orders_per_s": round(most),
            "window_ms": window_ms,
            "shards": shards,
            "checkpoint_ms": checkpoint_ms,
        }
        click.echo(json.dumps(result))


def short_waits(config: Config, window_ms: int, shards: int, checkpoint_ms: int) -> Config:
    """The settings with which an order waits least (bench.md): short windows, few shards, and a heap whose young part is
    collected every few seconds instead of every second.
    """
    return dataclasses.replace(
        config,
        flink=dataclasses.replace(config.flink, checkpoint_interval_ms=checkpoint_ms),
        trading=dataclasses.replace(config.trading, window_ms=window_ms, account_shards=shards, symbol_shards=shards),
        stack=dataclasses.replace(config.stack, taskmanager_heap_mb=max(_HEAP_MB, config.stack.taskmanager_heap_mb)),
    )


def run(config: Config, rates: Sequence[int], seconds: int, burst: int, settle: int) -> tuple[list[Point], float]:
    """All rates on a running stack, and the maximum rate in orders a second. Raises LatencyError."""
    from jobs.bench_orders import OrderBench

    # The rate of 70% is not known yet; the numbers of its orders are those behind all others.
    known = burst + settle * SETTLE_RATE + sum(rate * seconds for rate in rates)
    flow = OrderBench(config, 0).load()
    orders = flow.orders(known + 70_000 * seconds)
    with Clients(config, known + 70_000 * seconds) as clients:
        job_id = submit_job(config, "trading", timeout_s=300)
        status(f"warming up with {burst:,} orders")
        most = clients.burst(list(itertools.islice(orders, burst)))
        status(f"  {most:,.0f} orders/s")
        if settle:
            status(f"warming up with {SETTLE_RATE:,} orders/s for {settle} s")
            clients.send(list(itertools.islice(orders, settle * SETTLE_RATE)), SETTLE_RATE)
        points = []
        for rate in [*rates, min(70_000, max(1, round(0.7 * most)))]:
            status(f"{rate:,} orders/s for {seconds} s")
            for point in clients.at_rate(list(itertools.islice(orders, rate * seconds)), rate):
                points.append(point)
                status(f"  {point.reader}: P50 {point.p50_ms:.1f} ms, P99 {point.p99_ms:.1f} ms")
        clients.rest.cancel(job_id)
    return points, most


class Clients:
    """The client that sends and those that read, and when each order was due, sent and answered (nanoseconds)."""

    def __init__(self, config: Config, most: int) -> None:
        from jobs.flink_rest import FlinkRest

        self.rest = FlinkRest(config.flink.rest_url)
        self._config = config
        self._producer = confluent_kafka.Producer(producer_settings(config.kafka, _LINGER_MS))
        spawn = multiprocessing.get_context("spawn")
        self._stop = spawn.Event()
        # Shared with the readers; 0 is no answer yet. Orders have the numbers of their places.
        self.answered = {name: spawn.RawArray(c_int64, most) for name in READERS}
        self.due: list[int] = []
        self.sent: list[int] = []
        self._readers: list[BaseProcess] = [
            spawn.Process(
                target=read_answers,
                args=(
                    config.kafka.confluent() | {"isolation.level": isolation, "group.id": f"bench-latency-{name}"},
                    TOPICS[TOPIC].partitions(config.profile),
                    self.answered[name],
                    self._stop,
                ),
                daemon=True,
            )
            for name, isolation in READERS.items()
        ]

    def __enter__(self) -> Clients:
        for reader in self._readers:
            reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for reader in self._readers:
            reader.join(10)
            if reader.is_alive():
                reader.terminate()

    def burst(self, items: Sequence[Item]) -> float:
        """Send orders as fast as Kafka takes them; the rate at which the middle of them was answered, in orders a second."""
        first = len(self.due)
        for topic, key, value, _ in items:
            self.due.append(time.time_ns())
            self._send(topic, key, value)
        self.sent += self.due[first:]
        self._wait(first)
        times = sorted(self.answered["uncommitted"][first : len(self.due)])
        begin, end = int(0.5 * len(times)), int(0.95 * len(times))
        # The first half is left out: the compilers of the JVM are at work.
        return (end - begin) / (times[end] - times[begin]) * 1e9

    def at_rate(self, items: Sequence[Item], rate: int) -> Iterator[Point]:
        """Send orders evenly, wait for their answers, and say how long they took, for each reader."""
        first = self.send(items, rate)
        counted = range(first + int(SETTLE_S * rate), len(self.due))
        late = sorted(self.sent[n] - self.due[n] for n in counted)
        for name, answered in self.answered.items():
            taken = sorted(answered[n] - self.due[n] for n in counted)
            values = {key: round(quantile(taken, share) / 1e6, 2) for key, share in QUANTILES.items()}
            yield Point(
                rate,
                name,
                **values,
                max_ms=round(taken[-1] / 1e6, 2),
                orders=len(taken),
                sent_late_ms=round(quantile(late, 0.99) / 1e6, 2),
            )

    def send(self, items: Sequence[Item], rate: int) -> int:
        """Send orders evenly and wait for their answers; the number of the first."""
        first = len(self.due)
        start_ns, step_ns = time.time_ns() + 50_000_000, 1_000_000_000 / rate
        poll = self._producer.poll
        for number, (topic, key, value, _) in enumerate(items):
            due_ns = start_ns + int(number * step_ns)
            while (now_ns := time.time_ns()) < due_ns:
                poll(0)
                time.sleep(min(_NAP_S, (due_ns - now_ns) / 1e9))
            self.due.append(due_ns)
            self.sent.append(now_ns)
            self._send(topic, key, value)
        self._wait(first)
        return first

    def _send(self, topic: str, key: bytes, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(topic, value=value, key=key, on_delivery=_delivered)
                return
            except BufferError:
                self._producer.poll(0.01)

    def _wait(self, first: int) -> None:
        """Until all orders from `first` on were answered for both readers."""
        self._producer.flush(60)
        last_change, missing_before = time.monotonic(), -1
        while missing := sum(answered[first : len(self.due)].count(0) for answered in self.answered.values()):
            if missing != missing_before:
                last_change, missing_before = time.monotonic(), missing
            if time.monotonic() - last_change > STALLED_S:
                raise LatencyError(f"{missing:,} answers did not come within {STALLED_S:.0f} s; see the stack's logs")
            if not all(reader.is_alive() for reader in self._readers):
                raise LatencyError("a reading client ended by itself; its error is printed above")
            time.sleep(0.5)


def _delivered(error: confluent_kafka.KafkaError | None, _message: object) -> None:
    if error is not None:
        raise LatencyError(f"Kafka did not take an order: {error}")


def read_answers(settings: dict[str, Any], partitions: int, answered: Any, stop: Any) -> None:
    """A reading client, in a process of its own: notes in `answered` when each order's answer came, until `stop` is set."""
    consumer = confluent_kafka.Consumer(
        # A record is to be had as soon as it is there, and not when there are more.
        settings | {"fetch.min.bytes": 1, "fetch.wait.max.ms": 100, "enable.auto.commit": False, "log_level": "3"}
    )
    name = TOPICS[TOPIC].name
    consumer.assign([confluent_kafka.TopicPartition(name, part, 0) for part in range(partitions)])
    decode, now = order_events.decode, time.time_ns
    while not stop.is_set():
        message = consumer.poll(0.1)
        messages = [] if message is None else [message, *consumer.consume(_READ, 0)]
        arrived_ns = now()
        for message in messages:
            error = message.error()
            if error is not None:
                raise LatencyError(f"{name}: {error.str()}")
            event = decode(message.value())
            if event.status not in ON_THE_WAY:
                place = int(event.order_id.rpartition("-")[2])
                if not answered[place]:
                    answered[place] = arrived_ns
    consumer.close()


def render(points: Sequence[Point], most: float, load_before: float, window_ms: int, checkpoint_ms: int) -> str:
    """The figures for a person."""
    lines = [
        "",
        f"{'orders/s':>10}  {'reader':<12}{'P50 ms':>10}{'P95 ms':>10}{'P99 ms':>10}{'P99.9 ms':>10}{'max ms':>10}",
    ]
    lines += [
        f"{point.rate:>10,}  {point.reader:<12}{point.p50_ms:>10}{point.p95_ms:>10}{point.p99_ms:>10}{point.p999_ms:>10}"
        f"{point.max_ms:>10}"
        for point in points
    ]
    lines += ["", f"maximum {most:,.0f} orders/s; windows of {window_ms} ms, a checkpoint each {checkpoint_ms} ms"]
    if load_before > 1.0:
        lines.append(f"disturbed: the load was {load_before:.1f} before the first run; repeat on a quiet machine")
    return "\n".join(lines)
