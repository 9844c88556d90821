"""Keys that spread the shards of a stage evenly over subtasks.

Flink gives a key to a key group by a hash, and each subtask a range of groups. With a few shards a hash is a poor dealer: of
16 shards two subtasks got 7 and 9, and the one with 9 bounds the whole job. So a stage is keyed not by the number of a
shard but by a number that is chosen to fall into the right key group: shard i of n into group i * 128 / n. Then any
parallelism that divides the number of shards gives every subtask as many.

Source of the hash: Flink's KeyGroupRangeAssignment and MathUtils.murmurHash; a test compares this with the real classes.
"""

from typing import Final

MAX_PARALLELISM: Final = 128
"""Number of key groups; part of the state, so it never changes (jobs set pipeline.max-parallelism to it)."""
_MASK: Final = 0xFFFFFFFF


def _rotated(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (32 - bits))) & _MASK


def key_group(key: int) -> int:
    """The key group that Flink gives to an INT key, from 0 to MAX_PARALLELISM - 1."""
    code = _rotated(key * 0xCC9E2D51 & _MASK, 15) * 0x1B873593 & _MASK
    code = (_rotated(code, 13) * 5 + 0xE6546B64) & _MASK ^ 4
    code = (code ^ code >> 16) * 0x85EBCA6B & _MASK
    code = (code ^ code >> 13) * 0xC2B2AE35 & _MASK
    code ^= code >> 16
    signed = code - (1 << 32) if code >= 1 << 31 else code
    return abs(signed) % MAX_PARALLELISM


def spread_keys(shards: int) -> list[int]:
    """For each shard the key that stands for it.

    Raises ValueError when there are no shards, or more than key groups.
    """
    if not 0 < shards <= MAX_PARALLELISM:
        raise ValueError(f"{shards} shards; 1 to {MAX_PARALLELISM} can be spread over the key groups")
    found: dict[int, int] = {}
    key = 0
    wanted = {shard * MAX_PARALLELISM // shards for shard in range(shards)}
    while len(found) < shards:
        group = key_group(key)
        if group in wanted:
            found.setdefault(group, key)
        key += 1
    return [found[shard * MAX_PARALLELISM // shards] for shard in range(shards)]
