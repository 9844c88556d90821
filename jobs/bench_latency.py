"""`tradestream bench latency`: from the moment an order is due to be sent until a client has read its answer.

1. Start a stack of its own and the trading job with short windows; one client reads order-events uncommitted, one committed.
2. Warm up with a burst of orders as fast as Kafka takes them, which also tells the maximum rate, and then at a steady rate:
   small batches go other ways through the JVMs than large ones. Three minutes at 1,000 orders/s halve what half a minute
   leaves of P50 and P99: the compilers of the broker and of the TaskManager are half a core before.
3. Send orders at each rate, and note when each reader got each order's answer, the CPU time that it took, and what the job
   itself measures: from Kafka's timestamp of an order until the match stage hands its events on.
4. Do the same with the passthrough, a job in the JVM that writes as many and as large records, and the order itself as its
   answer: what Flink, the broker and the clients need, whatever is done with an order.

An order's answer is its first event that says what became of it: routed to a market, rejected, or cancelled at once. Its time
starts when it was due, not when it was sent, so that orders which wait behind a slow one count their wait (no coordinated
omission). The clients, the broker and the job share the machine, and all read the same clock.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from ctypes import c_int64
from multiprocessing.process import BaseProcess
from typing import Any, Final

import click
import confluent_kafka

from infra.feeds.items import Item
from infra.feeds.publisher import producer_settings
from jobs.bench_cpu import each_us
from jobs.bench_measure import quantile
from jobs.bench_run import bench_config, load_now, numbers, own_stack
from jobs.cli_common import status
from jobs.config import Config
from jobs.submit import submit_job
from schemas.catalogue import TOPICS
from schemas.messages import order_events, orders
from schemas.messages.enums import ORDER_STATUS_PENDING, ORDER_STATUS_RISK_APPROVED, ORDER_STATUS_VALIDATED

TOPIC: Final = "order-events"
READERS: Final = {"uncommitted": "read_uncommitted", "committed": "read_committed"}
ON_THE_WAY: Final = frozenset((ORDER_STATUS_PENDING, ORDER_STATUS_VALIDATED, ORDER_STATUS_RISK_APPROVED))
"""What an order's events say before it has its answer."""
JOBS: Final = ("trading", "passthrough")
QUANTILES: Final = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99, "p999_ms": 0.999}
SETTLE_S: Final = 3.0
"""The first seconds of each rate are not counted: the step from the rate before is in them."""
SETTLE_RATE: Final = 1_000
METRICS_S: Final = 12.0
MOST_RATE: Final = 70_000
STALLED_S: Final = 90.0
_HEAP_MB: Final = 2_048
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
    job: str = "trading"


@dataclasses.dataclass(frozen=True, slots=True)
class Cost:
    """What one rate took: cores of the whole machine, clients included, and CPU microseconds an order by stage.

    Until committed readers had the last answer: with rare checkpoints a good part of that time has no orders.
    """

    job: str
    rate: int
    cores: float
    us_per_order: dict[str, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Own:
    """order_processing_latency_seconds of one rate, in milliseconds, within the bounds of its buckets; None: above the last."""

    rate: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


@click.command()
@click.option("--rates", default="100,1000,5000,10000", show_default=True, help="Orders a second, comma-separated.")
@click.option("--seconds", default=30, show_default=True, help="How long each rate is sent.")
@click.option("--burst", default=150_000, show_default=True, help="Orders of the warm-up.")
@click.option("--settle", default=180, show_default=True, help="Seconds of the warm-up at 1,000 orders/s after it.")
@click.option("--window-ms", default=2, show_default=True, help="The job's micro-batch window.")
@click.option("--shards", default=1, show_default=True, help="The job's shards of accounts and of symbols.")
@click.option("--checkpoint-ms", default=30_000, show_default=True, help="The job's checkpoint interval.")
@click.option("--linger-ms", default=1.0, show_default=True, help="How long the sending client waits for more orders.")
@click.option("--maximum/--no-maximum", default=True, show_default=True, help="Also 70% of the maximum rate.")
@click.option(
    "--passthrough/--no-passthrough",
    default=True,
    show_default=True,
    help="Also the latency of a job without Python and rules.",
)
@click.option("--quick", is_flag=True, help="Two rates and a warm-up of a minute: a first look.")
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
    linger_ms: float,
    maximum: bool,
    passthrough: bool,
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
        wanted, settle = wanted[:2], min(settle, 60)
    config = short_waits(bench_config(ctx, 1), window_ms, shards, checkpoint_ms)
    load_before = load_now()
    run = LatencyBench(config, seconds, burst, settle, linger_ms)
    with own_stack(config):
        most = run.measure("trading", wanted, maximum=maximum)
        if passthrough:
            run.measure("passthrough", wanted)
    click.echo(render(run, most, load_before, window_ms, checkpoint_ms))
    if as_json:
        points = {job: [dataclasses.asdict(point) for point in run.points if point.job == job] for job in JOBS}
        result = {
            "points": points["trading"],
            "passthrough_points": points["passthrough"],
            "maximum_orders_per_s": round(most),
            "window_ms": window_ms,
            "shards": shards,
            "checkpoint_ms": checkpoint_ms,
            "order_processing_latency": [dataclasses.asdict(own) for own in run.own],
            "cpu": [dataclasses.asdict(cost) for cost in run.costs],
        }
        click.echo(json.dumps(result))


def short_waits(config: Config, window_ms: int, shards: int, checkpoint_ms: int) -> Config:
    """The settings with which an order waits least (bench.md): short windows, few shards and tasks, and heaps whose young part
    is collected every few seconds instead of every second.
    """
    return dataclasses.replace(
        config,
        flink=dataclasses.replace(config.flink, checkpoint_interval_ms=checkpoint_ms),
        trading=dataclasses.replace(
            config.trading,
            window_ms=window_ms,
            account_shards=shards,
            symbol_shards=shards,
            inputs="joined",
            # Each frame of the risk stage is a batch already: one shard of accounts hands on one in each window.
            gather_frames=shards > 1,
        ),
        stack=dataclasses.replace(
            config.stack,
            taskmanager_heap_mb=max(_HEAP_MB, config.stack.taskmanager_heap_mb),
            kafka_heap_mb=max(_HEAP_MB, config.stack.kafka_heap_mb),
        ),
    )


class LatencyBench:
    """The measurements on a running stack, and what they found."""

    def __init__(self, config: Config, seconds: int, burst: int, settle: int, linger_ms: float) -> None:
        """`seconds`: of each rate; `burst`, `settle`: orders and seconds of the warm-up."""
        from jobs.bench_orders import OrderBench

        self.points: list[Point] = []
        self.costs: list[Cost] = []
        self.own: list[Own] = []
        self._orders = OrderBench(config, 0)
        self._config, self._seconds, self._burst, self._settle = config, seconds, burst, settle
        self._linger_ms = linger_ms

    def measure(self, job: str, rates: Sequence[int], *, maximum: bool = False) -> float:
        """All rates through a job, from empty topics; the maximum rate in orders a second. Raises LatencyError.

        maximum: also at 70% of it.
        """
        # The rate of 70% is not known yet; the numbers of its orders are those behind all others.
        known = self._burst + self._settle * SETTLE_RATE + (sum(rates) + maximum * MOST_RATE) * self._seconds
        orders = self._orders.load().orders(known)
        schema = b"\0" + self._orders.schema_ids["orders"].to_bytes(4, "big")
        answer_of = answered_by_event if job == "trading" else functools.partial(answered_by_order, schema)
        with Clients(self._config, known, answer_of, self._linger_ms) as clients:
            job_id = submit_job(self._config, job, timeout_s=300)
            status(f"{job}: warming up with {self._burst:,} orders")
            most = clients.burst(list(itertools.islice(orders, self._burst)))
            status(f"  {most:,.0f} orders/s")
            if self._settle:
                status(f"warming up with {SETTLE_RATE:,} orders/s for {self._settle} s")
                clients.send(list(itertools.islice(orders, self._settle * SETTLE_RATE)), SETTLE_RATE)
            for rate in [*rates, *[min(MOST_RATE, max(1, round(0.7 * most)))] * maximum]:
                status(f"{rate:,} orders/s for {self._seconds} s")
                before = self._histogram(clients, job_id) if job == "trading" else {}
                self._at_rate(clients, list(itertools.islice(orders, rate * self._seconds)), rate, job)
                if before:
                    after = self._histogram(clients, job_id)
                    self._tell_own(rate, {bound: after[bound] - before[bound] for bound in after})
            clients.rest.cancel(job_id)
        if job == "trading":
            self._orders.record(len(clients.due), answer=TOPIC)
        return most

    def _histogram(self, clients: Clients, job_id: str) -> dict[float, float]:
        """order_processing_latency_seconds so far; what it was 10 s ago is what Flink's REST may show, so wait for longer."""
        time.sleep(METRICS_S)
        return clients.rest.histogram(job_id, "order_processing_latency_seconds")

    def _tell_own(self, rate: int, counts: dict[float, float]) -> None:
        found = [histogram_quantile(counts, share) for share in (0.5, 0.95, 0.99)]
        values = [None if math.isinf(seconds) else round(seconds * 1e3, 2) for seconds in found]
        self.own.append(Own(rate, *values))
        status(f"  order_processing_latency: P50 {values[0]} ms, P99 {values[2]} ms")

    def _at_rate(self, clients: Clients, items: Sequence[Item], rate: int, job: str) -> None:
        before = self._orders.point(time.monotonic(), 0)
        points = list(clients.at_rate(items, rate, job))
        after = self._orders.point(time.monotonic(), 0)
        self.points += points
        used = after.cpu.machine - before.cpu.machine
        stages = each_us(before.stages, after.stages, len(items))
        self.costs.append(Cost(job, rate, round(used / (after.at_s - before.at_s), 2), stages))
        for point in points:
            status(f"  {point.reader}: P50 {point.p50_ms:.1f} ms, P99 {point.p99_ms:.1f} ms")


class Clients:
    """The client that sends and those that read, and when each order was due, sent and answered (nanoseconds)."""

    def __init__(self, config: Config, most: int, answer_of: Callable[[bytes], str], linger_ms: float) -> None:
        from jobs.flink_rest import FlinkRest

        self.rest = FlinkRest(config.flink.rest_url)
        self._config = config
        self._producer = confluent_kafka.Producer(producer_settings(config.kafka, linger_ms))
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
                    answer_of,
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

    def at_rate(self, items: Sequence[Item], rate: int, job: str) -> Iterator[Point]:
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
                job=job,
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


def histogram_quantile(counts: Mapping[float, float], share: float) -> float:
    """The quantile of a Prometheus histogram, as its histogram_quantile has it: evenly within a bucket; inf above the last bound.

    counts: how many values were not above each bound, inf among the bounds.
    """
    wanted, below_bound, below = share * counts[math.inf], 0.0, 0.0
    for bound, count in sorted(counts.items()):
        if count >= wanted and count > below:
            if math.isinf(bound):
                return bound
            return below_bound + (bound - below_bound) * (wanted - below) / (count - below)
        below_bound, below = bound, count
    return math.inf


def answered_by_event(value: bytes) -> str:
    """The order that an event answers; empty when it does not say yet what becomes of it."""
    event = order_events.decode(value)
    return "" if event.status in ON_THE_WAY else event.order_id


def answered_by_order(schema: bytes, value: bytes) -> str:
    """The order that the passthrough has written as its own answer; empty for its other records, which are events.

    schema: what an order's frame begins with.
    """
    return orders.decode(value).order_id if value.startswith(schema) else ""


def read_answers(
    settings: dict[str, Any], partitions: int, answer_of: Callable[[bytes], str], answered: Any, stop: Any
) -> None:
    """A reading client, in a process of its own: notes in `answered` when each order's answer came, until `stop` is set."""
    if settings["isolation.level"] == "read_committed":
        # It gets everything of a checkpoint at once, and takes a whole core for that, which a client elsewhere would not take
        # from the job. At the lowest priority (nice) it still took one, half of the time.
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    consumer = confluent_kafka.Consumer(
        # A record is to be had as soon as it is there, and not when there are more.
        settings | {"fetch.min.bytes": 1, "fetch.wait.max.ms": 100, "enable.auto.commit": False, "log_level": "3"}
    )
    name = TOPICS[TOPIC].name
    consumer.assign([confluent_kafka.TopicPartition(name, part, 0) for part in range(partitions)])
    now = time.time_ns
    while not stop.is_set():
        message = consumer.poll(0.1)
        messages = [] if message is None else [message, *consumer.consume(_READ, 0)]
        arrived_ns = now()
        for message in messages:
            error = message.error()
            if error is not None:
                raise LatencyError(f"{name}: {error.str()}")
            if order_id := answer_of(message.value()):
                place = int(order_id.rpartition("-")[2])
                if not answered[place]:
                    answered[place] = arrived_ns
    consumer.close()


def render(run: LatencyBench, most: float, load_before: float, window_ms: int, checkpoint_ms: int) -> str:
    """The figures for a person."""
    lines = [
        "",
        f"{'job':<13}{'orders/s':>9}  {'reader':<12}{'P50 ms':>10}{'P95 ms':>10}{'P99 ms':>10}{'P99.9 ms':>10}{'max ms':>10}",
    ]
    lines += [
        f"{point.job:<13}{point.rate:>9,}  {point.reader:<12}{point.p50_ms:>10}{point.p95_ms:>10}{point.p99_ms:>10}"
        f"{point.p999_ms:>10}{point.max_ms:>10}"
        for point in run.points
    ]
    lines += [
        f"{'trading':<13}{own.rate:>9,}  {'itself':<12}{own.p50_ms:>10}{own.p95_ms:>10}{own.p99_ms:>10}"
        for own in run.own
    ]
    lines += ["", f"{'CPU':<13}{'orders/s':>9}{'cores':>8}  us an order, where most of it goes"]
    for cost in run.costs:
        most_us = sorted(cost.us_per_order.items(), key=lambda item: -item[1])[:6]
        shown = ", ".join(f"{stage} {used:.0f}" for stage, used in most_us)
        lines.append(f"{cost.job:<13}{cost.rate:>9,}{cost.cores:>8}  {shown}")
    lines += ["", f"maximum {most:,.0f} orders/s; windows of {window_ms} ms, a checkpoint each {checkpoint_ms} ms"]
    if load_before > 1.0:
        lines.append(f"disturbed: the load was {load_before:.1f} before the first run; repeat on a quiet machine")
    return "\n".join(lines)
