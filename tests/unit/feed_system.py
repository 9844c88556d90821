"""All engines of the system in one process, without Flink and Kafka: what the feeds are tested against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from infra.feeds.items import Item
from infra.feeds.partitions import kafka_partition
from schemas.messages import dead_letter, order_events
from schemas.messages.enums import (
    DEAD_LETTER_REASON_NAMES,
    ORDER_EVENT_TYPE_STATUS,
    ORDER_STATUS_REJECTED,
    REASON_CODE_NAMES,
)
from udfs.domain import sources
from udfs.domain.market_shard import MarketShard
from udfs.domain.match_shard import MatchShard
from udfs.domain.normalise import MarketLimits
from udfs.domain.risk_shard import RiskShard
from udfs.domain.sharding import shard_of

TOPICS = (
    "raw-feed",
    "market-data",
    "nbbo",
    "market-depth",
    "orders",
    "reference-data",
    "controls",
    "order-events",
    "trade-events",
    "risk-events",
    "routing-decisions",
    "market-status",
    "order-outcomes",
    "dead-letter",
    "corporate-actions",
    "market-analytics",
    "alerts",
    "alert-rules",
)
SCHEMA_IDS = {topic: number for number, topic in enumerate(TOPICS, start=101)}
PARTITIONS = 4


class FeedSystem:
    """Market, risk and match shards wired as the jobs wire them; `written` holds the values of every topic."""

    def __init__(self, shards: int = 2) -> None:
        self.shards = shards
        self.market = [MarketShard(n, shards, SCHEMA_IDS, MarketLimits()) for n in range(shards)]
        self.risk = [RiskShard(n, shards, SCHEMA_IDS) for n in range(shards)]
        self.match = [MatchShard(n, shards, SCHEMA_IDS) for n in range(shards)]
        self.written: dict[str, list[bytes]] = {topic: [] for topic in TOPICS}
        self._offsets: Counter[tuple[str, int]] = Counter()

    def play(self, items: Iterable[Item], batch: int = 64) -> None:
        """Apply items in their order; effects of a batch reach the next stage at its end."""
        number = 0
        for number, item in enumerate(items, start=1):
            self._apply(item)
            if number % batch == 0:
                self.settle()
        self.settle()

    def settle(self) -> None:
        """End the batch in every stage and pass on what they wrote, until nothing moves."""
        moved = True
        while moved:
            moved = False
            for engines in (self.market, self.risk, self.match):
                for engine in engines:
                    moved = self._drain(engine) or moved

    def dead_letters(self) -> Counter[str]:
        """Dead letters by reason."""
        return Counter(
            DEAD_LETTER_REASON_NAMES[dead_letter.decode(value).reason] for value in self.written["dead-letter"]
        )

    def rejects(self) -> Counter[str]:
        """Rejected orders by reason."""
        events = [order_events.decode(value) for value in self.written["order-events"]]
        return Counter(
            REASON_CODE_NAMES[event.reason]
            for event in events
            if event.event_type == ORDER_EVENT_TYPE_STATUS and event.status == ORDER_STATUS_REJECTED
        )

    def _apply(self, item: Item) -> None:
        topic, key, value, _ = item
        partition = 0 if topic == "reference-data" else kafka_partition(key, PARTITIONS)
        offset = self._offsets[topic, partition]
        self._offsets[topic, partition] += 1
        shard = shard_of(key.decode(), self.shards)
        if topic == "raw-feed":
            self.market[shard].apply(sources.RAW_FEED, value, partition, offset, 0)
        elif topic == "orders":
            self.risk[shard].apply(sources.ORDERS, value, partition, offset, 0)
        elif topic == "reference-data":
            kind, _, name = key.decode().partition(":")
            owner = shard_of(name, self.shards)
            for number in range(self.shards):
                if kind != "account" or owner == number:
                    self.risk[number].apply(sources.REFERENCE, value, partition, offset, 0)
                if kind != "account" and (kind != "instrument" or owner == number):
                    self.match[number].apply(sources.REFERENCE, value, partition, offset, 0)
        elif topic == "controls":
            for engine in (*self.risk, *self.match):
                engine.apply(sources.CONTROLS, value, partition, offset, 0)
        else:
            raise AssertionError(f"no feed writes {topic}")

    def _drain(self, engine: MarketShard | RiskShard | MatchShard) -> bool:
        engine.flush()
        outbox = engine.outbox
        lanes = [(lane.topic, list(lane.keys), list(lane.values)) for lane in outbox.lanes()]
        forward = [list(frames) for frames in getattr(outbox, "forward", [])]
        outbox.clear()
        moved = False
        for number, frames in enumerate(forward):
            for frame in frames:
                moved = True
                self.match[number].apply(sources.FORWARD, frame, 0, 0, 0)
        for topic, keys, values in lanes:
            self.written[topic] += values
            for key, value in zip(keys, values, strict=True):
                moved = True
                if topic == "nbbo":
                    for risk in self.risk:
                        risk.apply(sources.NBBO, value, 0, 0, 0)
                    self.match[shard_of(key.decode(), self.shards)].apply(sources.NBBO, value, 0, 0, 0)
                elif topic == "controls":
                    for stage in (*self.risk, *self.match):
                        stage.apply(sources.CONTROLS, value, 0, 0, 0)
                elif topic == "order-outcomes":
                    self.risk[int(key)].apply(sources.OUTCOMES, value, 0, 0, 0)
        return moved
