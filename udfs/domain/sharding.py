"""Which shard a key belongs to: one function, computed by Flink SQL in the JVM and by Python in the domain.

Ordering: all records of one key go to one shard, so they keep the order that their Kafka partition gave them.
Invariant: `shard_of(key, n)` equals the SQL expression `SHARD_SQL`, for every string; a test compares the two in a running
Flink, and each operator checks the first key of every batch, because state that is looked up under a different
shard than it was stored under would be lost in silence.
Complexity: linear in the length of the key; callers cache it per key.

`HASH_CODE` of Flink is the magnitude of Java's `String.hashCode`: h = 31 h + c over UTF-16 code units, in 32 bits. Its low
bits are poor for ids that differ in a few digits (300 numbered accounts gave one of 16 shards 28 and another 12), so a
multiplication modulo the prime 2^31 - 1 mixes it first; the product stays below 2^62.
"""

from typing import Final

_MULTIPLIER: Final = 1103515245
_MODULUS: Final = 2147483647

SHARD_SQL: Final = "CAST(MOD(MOD(ABS(CAST(HASH_CODE({key}) AS BIGINT)) * 1103515245, 2147483647), {shards}) AS INT)"


def java_hash(text: str) -> int:
    """Java's `String.hashCode` of `text`: a signed 32-bit integer."""
    value = 0
    if text.isascii():
        for code in text.encode("ascii"):
            value = (value * 31 + code) & 0xFFFFFFFF
    else:
        units = text.encode("utf-16-be", "surrogatepass")
        for i in range(0, len(units), 2):
            value = (value * 31 + (units[i] << 8) + units[i + 1]) & 0xFFFFFFFF
    return value - 0x100000000 if value >= 0x80000000 else value


def shard_of(key: str, shards: int) -> int:
    """The shard of `key`, from 0 to `shards` - 1."""
    return abs(java_hash(key)) * _MULTIPLIER % _MODULUS % shards


def shard_sql(key: str, shards: int) -> str:
    """The same as a Flink SQL expression over the string column or expression `key`."""
    return SHARD_SQL.format(key=key, shards=shards)
