"""One market data engine and easy ways to feed it, for the tests of the feed adapters."""

from __future__ import annotations

import json

from schemas.messages import controls, dead_letter, market_data, market_depth, nbbo, raw_feed
from schemas.messages.enums import (
    DEAD_LETTER_REASON_NAMES,
    FEED_FORMAT_ITCH_50,
    FEED_FORMAT_MARKET_DATA,
    FEED_FORMAT_VENDOR_JSON,
    MARKET_DATA_KIND_NAMES,
)
from udfs.domain.market_shard import MarketShard
from udfs.domain.normalise import MarketLimits

SCHEMA_IDS = {"raw-feed": 11, "market-data": 12, "nbbo": 13, "dead-letter": 14, "market-depth": 15, "controls": 16}
BASE = 1_767_589_200_000_000_000
"""Midnight in New York of 2026-01-05."""
OPEN = 34_200_000_000_000
"""09:30 as nanoseconds since midnight."""


class FeedBench:
    """One shard of one; sequences go on by themselves, for each feed."""

    def __init__(self, limits: MarketLimits | None = None) -> None:
        self.shard = MarketShard(0, 1, SCHEMA_IDS, limits or MarketLimits())
        self.sequences: dict[str, int] = {}

    def record(
        self,
        kind: int,
        payload: bytes,
        symbol: str,
        feed: str,
        source: str,
        sequence: int | None = None,
        partition: int = 3,
    ) -> None:
        """Apply one raw feed record."""
        number = self.sequences.get(feed, 0) + 1 if sequence is None else sequence
        self.sequences[feed] = number
        frame = raw_feed.encode_fields(11, source, kind, feed, number, symbol, BASE, payload)
        self.shard.apply(7, frame, partition, 77, 5)

    def itch(
        self,
        *messages: bytes,
        symbol: str = "AAPL",
        feed: str = "itch/AAPL",
        source: str = "itch",
        sequence: int | None = None,
    ) -> None:
        """Apply ITCH messages."""
        for message in messages:
            self.record(FEED_FORMAT_ITCH_50, message, symbol, feed, source, sequence)

    def json(self, symbol: str = "AAPL", feed: str = "vendor/1", partition: int = 3, **members: object) -> None:
        """Apply a vendor message: the members, with type, symbol, exchange and time where they are not given."""
        filled = {"symbol": symbol, "exchange": "Q", "time": BASE + OPEN} | members
        self.text(
            json.dumps({name: value for name, value in filled.items() if value is not ...}), symbol, feed, partition
        )

    def text(self, message: str, symbol: str = "AAPL", feed: str = "vendor/1", partition: int = 3) -> None:
        """Apply a vendor message as it is."""
        self.record(FEED_FORMAT_VENDOR_JSON, message.encode(), symbol, feed, "vendor", partition=partition)

    def avro(self, payload: bytes, symbol: str = "AAPL", feed: str = "other/1") -> None:
        """Apply an event of another instance."""
        self.record(FEED_FORMAT_MARKET_DATA, payload, symbol, feed, "other")

    def events(self) -> list[market_data.MarketDataEvent]:
        return [market_data.decode(value, 12) for value in self.shard.outbox.market_data.values]

    def kinds(self) -> list[str]:
        return [MARKET_DATA_KIND_NAMES[event.kind] for event in self.events()]

    def letters(self) -> list[tuple[str, str]]:
        """Reason and detail of the dead letters."""
        letters = [dead_letter.decode(value, 14) for value in self.shard.outbox.dead_letter.values]
        return [(DEAD_LETTER_REASON_NAMES[letter.reason], letter.detail) for letter in letters]

    def controls(self) -> list[controls.Control]:
        return [controls.decode(value, 16) for value in self.shard.outbox.controls.values]

    def nbbo(self) -> nbbo.Nbbo | None:
        """End the batch; the NBBO that it published last, if any."""
        self.shard.flush()
        values = self.shard.outbox.nbbo.values
        return nbbo.decode(values[-1], 13) if values else None

    def depth(self) -> market_depth.MarketDepth | None:
        """End the batch; the depth that was published last, if any."""
        self.shard.flush()
        values = self.shard.outbox.market_depth.values
        return market_depth.decode(values[-1], 15) if values else None

    def counted(self, name: str) -> int:
        return dict(self.shard.counters.items())[name]
