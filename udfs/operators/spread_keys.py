"""Keys that spread the shards of a stage evenly over subtasks.

Flink gives a key to a key group by a hash, and each subtask a range of groups. With a few shards a hash is a poor dealer: of
16 shards two subtasks got 7 and 9, and the one with 9 bounds the whole job. So a stage is keyed not by the number of a
shard but by a number that is chosen to fall into the right key group: shard i of n into group i * 128 / n. Then any
parallelism that divides the number of shards gives every subtask as many.

What Flink is given as the key is a row that holds the number (PyFlink's KeyByKeySelector). Releases before this was known
chose numbers for the hash of an INT: of 8 shards two subtasks got 6 and 2. Their state lies under those numbers, which
`FIRST` still gives.

Source of the hash: Flink's Row.hashCode, KeyGroupRangeAssignment and MathUtils.murmurHash; a test compares this with the
real classes.
"""

from typing import Final

EVEN: Final = "even"
FIRST: Final = "first"

MAX_PARALLELISM: Final = 128
"""Number of key groups; part of the state, so it never changes (jobs set pipeline.max-parallelism to it)."""
_MASK: Final = 0xFFFFFFFF
_OF_ROW: Final = 62
"""What the hash of a row of one INT is more than the INT: 31, as an array's hash begins with 1, and 31 again, as a row's does."""


def _rotated(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (32 - bits))) & _MASK


def key_group(key: int) -> int:
    """The key group that Flink gives to a row of one INT, from 0 to MAX_PARALLELISM - 1."""
    return _group_of_hash(key + _OF_ROW)


def _group_of_hash(code: int) -> int:
    """The key group of a key with this hash."""
    code = _rotated(code * 0xCC9E2D51 & _MASK, 15) * 0x1B873593 & _MASK
    code = (_rotated(code, 13) * 5 + 0xE6546B64) & _MASK ^ 4
    code = (code ^ code >> 16) * 0x85EBCA6B & _MASK
    code = (code ^ code >> 13) * 0xC2B2AE35 & _MASK
    code ^= code >> 16
    signed = code - (1 << 32) if code >= 1 << 31 else code
    return abs(signed) % MAX_PARALLELISM


def spread_keys(shards: int, choice: str = EVEN) -> list[int]:
    """For each shard the key that stands for it; `choice`: EVEN, or FIRST for the state of older releases.

    Raises ValueError when there are no shards, or more than key groups.
    """
    if not 0 < shards <= MAX_PARALLELISM:
        raise ValueError(f"{shards} shards; 1 to {MAX_PARALLELISM} can be spread over the key groups")
    found: dict[int, int] = {}
    key = 0
    wanted = {shard * MAX_PARALLELISM // shards for shard in range(shards)}
    while len(found) < shards:
        group = key_group(key) if choice == EVEN else _group_of_hash(key)
        if group in wanted:
            found.setdefault(group, key)
        key += 1
    return [found[shard * MAX_PARALLELISM // shards] for shard in range(shards)]
