"""The audit trail's arithmetic: a hash chain over the records of one partition, and a Merkle root for each block of them.

Ordering: a chain takes the records of its partition in rising order of offset; gaps are normal, because the markers of
transactions take offsets too.
Invariants: hashes are SHA-256 (FIPS 180-4). A record's hash covers its offset, key and value, each with its length, so that
no two different records are the same bytes. What a link says beyond that (its details: time, type, actor) is hashed too and
covered by the chain, so that it cannot be altered either. A chain starts with the hash of its topic and partition, so that
the links of one cannot pass for those of another. The tree is that of RFC 6962, section 2.1: leaves are hashed after a 0x00
and nodes after a 0x01, so that a node cannot pass for a leaf.
Known limits: a hash shows that something was changed, not by whom. Whoever can rewrite the records, the links and the roots
can make a new consistent trail; therefore roots belong where they cannot be changed.
Complexity: a record costs four hashes on average; a chain's memory grows with the logarithm of the records of its open block.
"""

import hashlib
import struct
from dataclasses import dataclass
from typing import Final

from udfs.domain.state_codec import StateError, StateReader, StateWriter

HASH_BYTES: Final = 32
STATE_VERSION: Final = 1
STATE_KIND: Final = 65
_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"
_CHAIN: Final = b"tradestream audit chain\x00"
_NUMBER: Final = struct.Struct(">q")
_ABSENT: Final = _NUMBER.pack(-1)


class ChainOrderError(ValueError):
    """A record whose offset is not above that of the record before it."""


def record_hash(offset: int, key: bytes | None, value: bytes | None) -> bytes:
    """Hash of a record. None, a key or value that is not there, differs from an empty one."""
    return hashlib.sha256(_NUMBER.pack(offset) + _framed(key) + _framed(value)).digest()


def entry_hash(record: bytes, details: bytes) -> bytes:
    """What a chain and its tree are made of: a record hash with the hash of the link's details; without any, the record hash."""
    return hashlib.sha256(record + details).digest() if details else record


def first_hash(topic: str, partition: int) -> bytes:
    """What a chain's first link follows."""
    return hashlib.sha256(_CHAIN + _framed(topic.encode()) + _NUMBER.pack(partition)).digest()


def next_hash(previous: bytes, record: bytes) -> bytes:
    """Chain hash of the link that follows `previous` with the entry hash (or record hash) `record`."""
    return hashlib.sha256(previous + record).digest()


def _framed(data: bytes | None) -> bytes:
    return _ABSENT if data is None else _NUMBER.pack(len(data)) + data


class MerkleTree:
    """Root of a growing list of leaves, RFC 6962 section 2.1, with one hash kept for each full subtree."""

    __slots__ = ("count", "peaks")

    def __init__(self) -> None:
        self.count = 0
        # Roots of full subtrees, largest first: one for each bit that is set in `count`.
        self.peaks: list[bytes] = []

    def add(self, leaf: bytes) -> None:
        """Append a leaf's data."""
        node = hashlib.sha256(_LEAF + leaf).digest()
        count = self.count
        while count & 1:
            node = hashlib.sha256(_NODE + self.peaks.pop() + node).digest()
            count >>= 1
        self.peaks.append(node)
        self.count += 1

    def root(self) -> bytes:
        """Root of what was added; the hash of nothing for an empty tree."""
        if not self.peaks:
            return hashlib.sha256(b"").digest()
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = hashlib.sha256(_NODE + peak + root).digest()
        return root


@dataclass(frozen=True, slots=True)
class Block:
    """A closed block of a chain: offsets of its first and last record, both included, and how many it has."""

    first_offset: int
    last_offset: int
    count: int
    merkle_root: bytes
    chain_hash: bytes
    previous_root: bytes | None


class AuditChain:
    """The chain of one partition, and its open block."""

    __slots__ = ("block_first", "chain_hash", "last_offset", "partition", "previous_root", "topic", "tree")

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.chain_hash = first_hash(topic, partition)
        self.last_offset = -1
        self.block_first = -1
        self.previous_root: bytes | None = None
        self.tree = MerkleTree()

    def append(self, offset: int, record: bytes) -> bytes:
        """Add a link for the record with this hash and return its chain hash. Raises ChainOrderError, and changes nothing,
        when `offset` is not above the last."""
        if offset <= self.last_offset:
            raise ChainOrderError(f"{self.topic}-{self.partition}: offset {offset} comes after {self.last_offset}")
        if self.tree.count == 0:
            self.block_first = offset
        self.tree.add(record)
        self.chain_hash = next_hash(self.chain_hash, record)
        self.last_offset = offset
        return self.chain_hash

    def close_block(self) -> Block | None:
        """The open block, closed; None when it has no record. The next record opens another."""
        if self.tree.count == 0:
            return None
        root = self.tree.root()
        block = Block(self.block_first, self.last_offset, self.tree.count, root, self.chain_hash, self.previous_root)
        self.previous_root = root
        self.tree = MerkleTree()
        self.block_first = -1
        return block

    def snapshot(self) -> bytes:
        """The whole state, with a version."""
        state = StateWriter()
        state.put_text(self.topic)
        state.put(self.partition)
        state.put(self.last_offset)
        state.put(self.block_first)
        state.put_bytes(self.chain_hash)
        state.put_bytes(self.previous_root or b"")
        state.put(self.tree.count)
        for peak in self.tree.peaks:
            state.put_bytes(peak)
        return state.finish(STATE_VERSION, STATE_KIND)

    def restore(self, state: bytes) -> None:
        """Take over the state of a snapshot of this or an earlier version. Raises StateError, and changes nothing, when it is
        not one of this chain."""
        reader = StateReader(state, STATE_KIND, STATE_VERSION)
        topic, partition = reader.take_text(), reader.take()
        if topic != self.topic or partition != self.partition:
            raise StateError(f"a snapshot of chain {topic}-{partition} given to {self.topic}-{self.partition}")
        last_offset, block_first = reader.take(), reader.take()
        chain_hash, previous_root = reader.take_bytes(), reader.take_bytes()
        tree = MerkleTree()
        tree.count = reader.take()
        tree.peaks = [reader.take_bytes() for _ in range(tree.count.bit_count())]
        reader.expect_end()
        self.last_offset = last_offset
        self.block_first = block_first
        self.chain_hash = chain_hash
        self.previous_root = previous_root or None
        self.tree = tree
