"""Which partition Kafka's clients choose for a key: murmur2, as the Java client and `partitioner=murmur2_random` do."""

from __future__ import annotations

from typing import Final

_SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Kafka's 32-bit murmur2 of `data`, unsigned."""
    length = len(data)
    value = (_SEED ^ length) & _MASK
    aligned = length - length % 4
    for i in range(0, aligned, 4):
        k = int.from_bytes(data[i : i + 4], "little") * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        value = (value * _M & _MASK) ^ k
    tail = data[aligned:]
    if tail:
        value = (value ^ int.from_bytes(tail, "little")) * _M & _MASK
    value = (value ^ value >> 13) * _M & _MASK
    return value ^ value >> 15


def kafka_partition(key: bytes, partitions: int) -> int:
    """The partition of a key, from 0 to `partitions` - 1."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
