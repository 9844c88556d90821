"""Days whose partitions fall silent and are read ahead of each other, for the tests of bars that are told early."""

from __future__ import annotations

from random import Random
from typing import Final

from test_bar_corrections import Change, Play, Record
from tick_days import Tick

from schemas.messages.enums import INDICATOR_NAMES
from udfs.domain.sources import MARKET_DATA

IDLE_S: Final = 60
Key = tuple[str, int, int, str]
"""Symbol, start and length of the window, indicator with its period."""


def partition_of(record: Tick | Change) -> int:
    """Symbols S0, S1 ... lie in three partitions, all others in a fourth."""
    name = record.symbol if isinstance(record, Tick) else record.was.symbol
    return int(name[1:]) % 3 if name.startswith("S") else 3


def shuffled(random: Random, records: list[Tick | Change]) -> list[Tick | Change]:
    """The same records as a reader of the partitions may get them: each partition in its order, in runs of any length."""
    queues: dict[int, list[Tick | Change]] = {}
    for record in records:
        queues.setdefault(partition_of(record), []).append(record)
    found: list[Tick | Change] = []
    while queues:
        # Near to each other for the most part, and now and then far ahead.
        behind = min(queues, key=lambda number: queues[number][0].time_ns)
        chosen = behind if random.random() < 0.8 else random.choice(list(queues))
        run = random.choice((1, 1, 1, 3, 30))
        found += queues[chosen][:run]
        queues[chosen] = queues[chosen][run:]
        if not queues[chosen]:
            del queues[chosen]
    return found


class IdlePlay(Play):
    """An engine of one shard with several partitions; what it wrote. `idle_s` 0: it waits for every partition.

    Kafka's time is that of the day. Now and then the topic's progress is told: that of the partition that is read least far, or,
    not `exact`, sometimes that of the farthest, as if the reader took all others for idle, which Flink's may do.
    """

    def __init__(self, idle_s: int = IDLE_S, exact: bool = False) -> None:
        super().__init__(idle_s)
        self.random = Random(idle_s)
        self.exact = exact
        self.read_ms: dict[int, int] = {}
        self.reached_ms = 0

    def put(self, record: Tick | Change) -> None:
        partition = self.partition_of(record)
        kafka_ms = max(record.time_ns // 1_000_000, self.read_ms.get(partition, 0))
        self.read_ms[partition] = kafka_ms
        self.shard.apply(MARKET_DATA, record.frame(21), partition, record.number, kafka_ms)
        if self.random.random() < 0.3:
            wrong = not self.exact and self.random.random() < 0.3
            self.go_on(max(self.read_ms.values()) if wrong else min(self.read_ms.values()))

    def go_on(self, reached_ms: int) -> None:
        """Tell the topic's progress, if it is one."""
        before_ms = self.reached_ms
        if reached_ms > before_ms:
            self.reached_ms = reached_ms
            self.shard.progress(before_ms, reached_ms)

    def partition_of(self, record: Tick | Change) -> int:
        return partition_of(record)

    def last(self) -> dict[Key, Record]:
        """The highest revision of everything, which must be the one that was written last."""
        last: dict[Key, Record] = {}
        for record in self.records():
            key = key_of(record)
            assert key not in last or record.revision > last[key].revision, (
                f"{record.event_id} after {last[key].event_id}"
            )
            last[key] = record
        return last


def key_of(record: Record) -> Key:
    name = f"{INDICATOR_NAMES[record.indicator]}{record.period}"
    return record.symbol, record.window_start, record.window_end - record.window_start, name


def said(record: Record) -> tuple[object, ...]:
    """What a record says, but for its revision."""
    prices = (record.open_price, record.high_price, record.low_price, record.close_price, record.vwap_price)
    return (*prices, record.volume, record.trade_count, record.value, record.timestamp)
