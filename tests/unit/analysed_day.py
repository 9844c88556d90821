"""A simulated day as the demo plays it, through the engines of market data and analytics, with the demo's rules for alerts."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from infra.feeds.items import tick_items
from infra.feeds.partitions import kafka_partition
from infra.feeds.sessions import DEFAULT_DAY, trading_day
from infra.feeds.simulator import MarketSimulator
from jobs.analytics import engine_settings
from jobs.config import Config
from jobs.demo_alerts import demo_rules, rule_items
from jobs.reconcile_market import SECOND_NS, AlertRow, BarRow, WindowRow
from schemas.messages import alerts, market_analytics, market_data, market_status
from schemas.messages.enums import ANALYTICS_KIND_BAR, MARKET_CAUSE_CODES, MARKET_DATA_KIND_TRADE, MARKET_STATE_CODES
from tests.unit.feed_system import PARTITIONS, SCHEMA_IDS
from udfs.domain import sources
from udfs.domain.alerting_analytics import AlertingAnalytics
from udfs.domain.market_shard import MarketShard
from udfs.domain.normalise import MarketLimits
from udfs.domain.sharding import shard_of

SHARDS = 2
LENGTHS_NS = tuple(seconds * SECOND_NS for seconds in (1, 60, 300, 900, 3_600))
SETTINGS = Config.load(environment={}).analytics
OUT_OF_ORDER_NS = SETTINGS.out_of_order_ms * 1_000_000


class AnalysedDay:
    """A simulated day as the demo plays it, its bars and alerts, and the sums of its trades."""

    def __init__(self, symbols: int, seed: int = 1, ticks: int = 4_000) -> None:
        day = trading_day(DEFAULT_DAY)
        simulator = MarketSimulator(day, seed=seed, symbols=symbols, events=ticks * symbols)
        self.rules = demo_rules(simulator.prior_closes(), day.midnight_ns, SETTINGS)
        self.newest_ns: dict[str, int] = {}
        self.letters = 0
        self.frames: dict[str, dict[int, list[bytes]]] = defaultdict(lambda: defaultdict(list))
        """What was written, by topic and partition."""
        self._market = [MarketShard(n, SHARDS, SCHEMA_IDS, MarketLimits()) for n in range(SHARDS)]
        self._analytics = [AlertingAnalytics(n, SHARDS, SCHEMA_IDS, **engine_settings(SETTINGS)) for n in range(SHARDS)]
        self._offsets: Counter[int] = Counter()
        self._events: list[market_data.MarketDataEvent] = []
        for topic, _, value, _ in rule_items(self.rules, SCHEMA_IDS["alert-rules"]):
            self.frames[topic][0].append(value)
            for engine in self._analytics:
                engine.apply(sources.ALERT_RULES, value, 0, 0, 0)
        for number, (_, key, value, _) in enumerate(tick_items(simulator.ticks(), SCHEMA_IDS), start=1):
            shard = shard_of(key.decode(), SHARDS)
            self._market[shard].apply(sources.RAW_FEED, value, kafka_partition(key, PARTITIONS), number, 0)
            if number % 64 == 0:
                self._hand_on()
        self._hand_on()
        halted = next(iter(simulator.prior_closes()))
        self._analytics[shard_of(halted, SHARDS)].apply(sources.MARKET_STATUS, halt(halted, day.open_ns), 0, 1, 0)
        written = [engine.outbox for engine in self._analytics]
        for lane in (lane for outbox in written for lane in outbox.lanes()):
            for key, value in zip(lane.keys, lane.values, strict=True):
                self.frames[lane.topic][kafka_partition(key, PARTITIONS)].append(value)
        self.letters = sum(len(outbox.dead_letter.keys) for outbox in written)
        self.alerts = [
            alerts.to_dict(alerts.decode(value, SCHEMA_IDS["alerts"]))
            for outbox in written
            for value in outbox.alerts.values
        ]
        self.records = [
            market_analytics.decode(value, SCHEMA_IDS["market-analytics"])
            for outbox in written
            for value in outbox.market_analytics.values
        ]

    def _hand_on(self) -> None:
        """What the market data engines wrote goes to the analytics engines."""
        for shard, engine in enumerate(self._market):
            engine.flush()
            for lane in engine.outbox.lanes():
                for key, value in zip(lane.keys, lane.values, strict=True):
                    partition = kafka_partition(key, PARTITIONS)
                    self._offsets[partition] += 1
                    if lane.topic == "market-data":
                        event = market_data.decode(value, SCHEMA_IDS["market-data"])
                        self._events.append(event)
                        self.newest_ns[event.symbol] = max(event.timestamp, self.newest_ns.get(event.symbol, 0))
                        self.frames[lane.topic][partition].append(value)
                        source = sources.MARKET_DATA
                    elif lane.topic == "nbbo":
                        source = sources.NBBO
                    else:
                        continue
                    self._analytics[shard].apply(source, value, partition, self._offsets[partition], 0)
            engine.outbox.clear()

    def bars(self) -> list[BarRow]:
        """The last revision of each bar, as the archive gives them."""
        last: dict[tuple[str, int, int], market_analytics.MarketAnalytics] = {}
        for record in sorted(self.records, key=lambda record: record.revision):
            if record.kind == ANALYTICS_KIND_BAR:
                last[record.symbol, record.window_end - record.window_start, record.window_start] = record
        return [
            BarRow(*key, r.volume, r.trade_count, r.high_price, r.low_price, r.close_price, r.vwap_price)
            for key, r in sorted(last.items())
        ]

    def windows(self) -> list[WindowRow]:
        """What the trades say of each window."""
        prints: defaultdict[tuple[str, int, int], list[tuple[int, int]]] = defaultdict(list)
        for event in self._events:
            if event.kind == MARKET_DATA_KIND_TRADE and event.eligible and event.last_price is not None:
                for length in LENGTHS_NS:
                    start = event.timestamp - event.timestamp % length
                    prints[event.symbol, length, start].append((event.last_price, event.volume))
        return [
            WindowRow(
                *key,
                sum(volume for _, volume in trades),
                len(trades),
                max(price for price, _ in trades),
                min(price for price, _ in trades),
                sum(price * volume for price, volume in trades),
                0,
            )
            for key, trades in sorted(prints.items())
        ]

    def archived_alerts(self) -> list[AlertRow]:
        """The alerts as rows of their table."""
        names = (
            "eventId", "ruleId", "ruleVersion", "owner", "symbol", "condition", "severity", "thresholdE4", "observedE4",
            "previousE4", "detail",
        )  # fmt: skip
        return [AlertRow(*(alert[name] for name in names)) for alert in self.alerts]

    def by_id(self) -> dict[str, dict[str, Any]]:
        """The rules as the demo's consumer has them."""
        return {rule["ruleId"]: rule for rule in self.rules}


def halt(symbol: str, time_ns: int) -> bytes:
    """A halt as the trading job tells it."""
    status = market_status.from_dict(
        {
            "eventId": f"{symbol}-1",
            "symbol": symbol,
            "state": "HALTED",
            "cause": "CONTROL",
            "causeId": "control-1",
            "detail": "news pending",
            "auctionQuantity": 0,
            "imbalance": 0,
            "shortSaleRestricted": False,
            "timestamp": time_ns,
        }
    )
    assert status.state == MARKET_STATE_CODES["HALTED"] and status.cause == MARKET_CAUSE_CODES["CONTROL"]
    return market_status.encode(status, SCHEMA_IDS["market-status"])
