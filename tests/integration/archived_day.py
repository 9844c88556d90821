"""A small simulated day, played through the real engines and archived by the real writer, for tests that need whole data.

Kafka's positions and times are made up here, the same in every run: an event is written a few milliseconds after its cause.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from infra.feeds.items import Item
from infra.feeds.order_flow import OrderFlow
from infra.feeds.partitions import kafka_partition
from infra.feeds.sessions import DEFAULT_DAY, trading_day
from infra.feeds.simulator import MarketSimulator
from jobs.config import Config
from jobs.migrate import endpoint
from schemas.errors import UNKNOWN_SCHEMA, DecodeError
from tests.unit.feed_system import PARTITIONS, SCHEMA_IDS, FeedSystem
from udfs.operators.arrow_blocks import Positions, plan_of
from udfs.operators.clickhouse_writer import Limits, Writer
from udfs.operators.decode_records import Batch, Decoder

WRITTEN: Final = (
    "market-data",
    "nbbo",
    "order-events",
    "trade-events",
    "risk-events",
    "routing-decisions",
    "market-status",
    "dead-letter",
)
"""Topics that the engines write and that are archived; `orders` is archived as it was played."""
Placed = dict[int, list[tuple[int, int, bytes]]]
"""Partition -> offset, Kafka's time in ms, payload."""


def play(orders: int = 1_500, symbols: int = 5, ticks: int = 6_000, seed: int = 7) -> dict[str, Placed]:
    """A day of trading: topic -> its records."""
    session = trading_day(DEFAULT_DAY)
    market = MarketSimulator(session, seed=seed, symbols=symbols, events=ticks, bad_share=0.004)
    flow = OrderFlow([session], market.prior_closes(), SCHEMA_IDS, seed=seed, orders=orders, accounts=40)
    system = FeedSystem()
    sent: Placed = defaultdict(list)
    clock = _Clock()

    def watched(items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            topic, key, value, time_ns = item
            if topic == "orders":
                partition = sent[kafka_partition(key, PARTITIONS)]
                partition.append((len(partition), clock.now_ms(time_ns), value))
            yield item

    for phase in flow.phases(market.ticks()):
        system.play(watched(phase.items))
    placed = {topic: _placed(topic, system.written[topic]) for topic in WRITTEN}
    return placed | {"orders": sent}


def _placed(topic: str, values: list[bytes]) -> Placed:
    plan = plan_of(topic)
    times = (getattr(plan.decode(value, SCHEMA_IDS[topic]), plan.event_time) for value in values)
    clock = _Clock()
    return {
        0: [
            (offset, clock.now_ms(time) + 3 + offset % 17, value)
            for offset, (value, time) in enumerate(zip(values, times, strict=True))
        ]
    }


class _Clock:
    """Kafka's: it goes on with the events of the day, and does not follow an absurd one."""

    def __init__(self) -> None:
        day = trading_day(DEFAULT_DAY)
        self._now_ns, self._end_ns = day.midnight_ns, day.midnight_ns + 86_400 * 10**9

    def now_ms(self, time_ns: int) -> int:
        if self._now_ns < time_ns < self._end_ns:
            self._now_ns = time_ns
        return self._now_ns // 1_000_000


def archive(config: Config, records: dict[str, Placed]) -> dict[str, int]:
    """Write records to their tables; topic -> rows, those among them that could not be decoded."""
    rows = {}
    for topic, partitions in records.items():
        decoder = Decoder(plan_of(topic), SCHEMA_IDS[topic], _unknown_schema)
        archiver = Writer(
            name="archive",
            lane=0,
            decoder=decoder,
            refused=plan_of("dead-letter"),
            connect=endpoint(config).connect,
            limits=Limits(),
        )
        rows[topic] = 0
        for partition, placed in partitions.items():
            offsets, times, payloads = ([record[field] for record in placed] for field in range(3))
            batch = Batch(payloads, Positions.of([partition] * len(offsets), offsets, times))
            rows[topic] += archiver.write(batch).rows
    return rows


def _unknown_schema(_frame: bytes) -> bytes:
    raise DecodeError(UNKNOWN_SCHEMA, "a schema that nobody registered", 1)
