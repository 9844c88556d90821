"""Tombstones in the archive: which null values are deletions, and the table that keeps the keys they delete.

Kafka deletes a key of a compacted topic by a record that has the key and no value. Such a record holds nothing that could be a
row of the topic's table, and is no error either. A null value in a topic that is not compacted deletes nothing: it is bad
input like any other. A value of no bytes is none of both: Kafka keeps it like any other value, and it cannot be decoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from schemas.catalogue import TOPICS
from udfs.operators.arrow_blocks import Column, Layout

TABLE: Final = "tombstones"
COLUMNS: Final = (Column("record_key", "bytes", nullable=True, doc="Key that was deleted; null when it had none."),)


@dataclass(frozen=True, slots=True)
class Tombstone:
    """One deletion. record_key: None when the record had no key. timestamp: its arrival, UTC nanoseconds since the epoch."""

    record_key: bytes | None
    timestamp: int


def deletes_keys(topic: str) -> bool:
    """Whether a null value in the topic is a deletion. Raises KeyError for no topic of the catalogue."""
    return "compact" in TOPICS[topic].cleanup


def layout_of(topic: str) -> Layout:
    """How the tombstones of a topic become rows."""
    return Layout(topic=topic, table=TABLE, columns=COLUMNS, event_time="timestamp")
