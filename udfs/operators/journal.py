"""The bytes of one micro-batch as they stand in the journal of a shard.

A journal entry holds everything that was given to the engine in one call, so that applying the entries again, in order,
to the last snapshot gives the same engine. Layout, little endian:
    version  u8   1: the engine's sums were written after the batch; 2: they went on (Stage.hold_ms); 3: they went on, and the
                  batch waited to be applied with those behind it, up to the next of version 1 or 2 (Stage.join_after)
    source   u8   tag of the input stream (udfs.domain.sources)
    count    u32  number of records, n
    newest   i64  Kafka timestamp in ms of the newest record of the batch
    lengths  u32 * n
    positions i64 * n   partition << 48 | offset
    payloads, one after the other
"""

import struct
from typing import Final, NamedTuple

FLUSHED: Final = 1
HELD: Final = 2
WAITING: Final = 3
_HEAD: Final = struct.Struct("<BBIq")


class Batch(NamedTuple):
    """Records of one input stream for one shard, in order.

    flushed: whether the engine was told to write its sums after them. waiting: whether they were applied later, with the batches
    behind them.
    """

    source: int
    payloads: list[bytes]
    positions: list[int]
    newest_ms: int
    flushed: bool = True
    waiting: bool = False


def encode_batch(batch: Batch) -> bytes:
    """The journal entry of a batch."""
    count = len(batch.payloads)
    version = WAITING if batch.waiting else FLUSHED if batch.flushed else HELD
    return b"".join(
        (
            _HEAD.pack(version, batch.source, count, batch.newest_ms),
            struct.pack(f"<{count}I", *map(len, batch.payloads)),
            struct.pack(f"<{count}q", *batch.positions),
            *batch.payloads,
        )
    )


def decode_batch(entry: bytes) -> Batch:
    """The batch of a journal entry.

    Raises ValueError when the entry was written by a newer version or is cut off.
    """
    if len(entry) < _HEAD.size:
        raise ValueError(f"journal entry of {len(entry)} bytes is shorter than its head")
    version, source, count, newest_ms = _HEAD.unpack_from(entry)
    if not FLUSHED <= version <= WAITING:
        raise ValueError(f"journal entry of version {version}; this release reads versions {FLUSHED} to {WAITING}")
    at = _HEAD.size
    lengths = struct.unpack_from(f"<{count}I", entry, at)
    at += 4 * count
    positions = list(struct.unpack_from(f"<{count}q", entry, at))
    at += 8 * count
    payloads = []
    for length in lengths:
        payloads.append(entry[at : at + length])
        at += length
    if at != len(entry):
        raise ValueError(f"journal entry of {len(entry)} bytes should have {at}")
    return Batch(source, payloads, positions, newest_ms, version == FLUSHED, version == WAITING)
