"""Days whose partitions fall silent and are read ahead of each other, for the tests of bars that are told early."""

from __future__ import annotations

from random import Random
from typing import Final

from test_bar_corrections import Change
from tick_days import SECOND_NS, Tick

from schemas.messages import dead_letter, market_analytics
from schemas.messages.enums import INDICATOR_NAMES
from udfs.domain.analytics_shard import AnalyticsShard
from udfs.domain.sources import MARKET_DATA

IDS: Final = {"market-data": 21, "market-analytics": 22, "dead-letter": 23}
SPECS: Final = "sma:2,ema:2,rsi:2,atr:2,bbands:2:2,macd:1:2:1,rvol:2,relvol:2"
IDLE_S: Final = 60
Record = market_analytics.MarketAnalytics
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


class IdlePlay:
    """An engine of one shard with several partitions; what it wrote. `idle_s` 0: it waits for every partition."""

    def __init__(self, idle_s: int = IDLE_S) -> None:
        self.shard = AnalyticsShard(0, 1, IDS, SECOND_NS, 300 * SECOND_NS, SPECS, idle_s * SECOND_NS)
        self.frames: list[bytes] = []
        self.letters: list[dead_letter.DeadLetter] = []

    def feed(self, records: list[Tick | Change]) -> IdlePlay:
        for record in records:
            self.shard.apply(MARKET_DATA, record.frame(21), partition_of(record), record.number, 5)
            self.frames += self.shard.outbox.market_analytics.values
            self.letters += [dead_letter.decode(value, 23) for value in self.shard.outbox.dead_letter.values]
            self.shard.outbox.clear()
        return self

    def records(self) -> list[Record]:
        return [market_analytics.decode(frame, 22) for frame in self.frames]

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
