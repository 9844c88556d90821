"""The records that a publisher plays, and how streams of them are merged.

An item is a plain tuple, because a benchmark makes hundreds of thousands of them a second.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from schemas.messages import raw_feed
from schemas.messages.raw_feed import RawFeedRecord

Item = tuple[str, bytes, bytes, int]
"""Topic, Kafka key, value (a Confluent frame), event time in UTC ns."""

TOPICS: Final = ("raw-feed", "orders", "reference-data", "controls")
"""Every topic that the feeds write."""


class Tick(NamedTuple):
    """A raw feed record and its event time in UTC ns."""

    time_ns: int
    record: RawFeedRecord


def tick_items(ticks: Iterable[Tick], schema_ids: Mapping[str, int]) -> Iterator[Item]:
    """The ticks as items of the raw-feed topic, keyed by symbol."""
    schema_id = schema_ids["raw-feed"]
    for time_ns, record in ticks:
        yield "raw-feed", record.symbol.encode(), raw_feed.encode(record, schema_id), time_ns


def merge_items(*streams: Iterable[Item]) -> Iterator[Item]:
    """Merge streams that are each in time order; at equal times the earlier argument goes first."""
    return heapq.merge(*streams, key=_time_of)


def _time_of(item: Item) -> int:
    return item[3]
