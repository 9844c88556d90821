"""Walks one audit chain beside the records that it was made of, and tells what does not fit, the first of it by name.

Ordering: links are given in the order in which the audit topic has them; records are pulled from the source as far as the
links need them.
Invariants: the first fault that is told is where the first change is. Records deleted, altered or exchanged and links deleted,
altered, inserted or exchanged leave the links and blocks behind them good, because the walk goes on from what the rest of the
trail agrees with; behind a record that was put in, the next link and the block are told too. Only SHA-256 is trusted: a link
counts as good when it follows from the one before it and from the record itself.
Known limits: records without a link behind the last link are not broken, they wait for the audit job (`waiting`), unless a
block's root says that they had links. A link whose record the source no longer keeps is checked against the chain and the root
only.
Complexity: three hashes a record and constant memory, beside the blocks, of which the caller holds the list.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from udfs.domain.audit_chain import Block, MerkleTree, entry_hash, first_hash, next_hash, record_hash


class Fault(Enum):
    """What is wrong with a link."""

    NO_LINK = "a record has no link"
    NO_RECORD = "a link has no record"
    ALTERED = "the record and its link differ"
    BROKEN_CHAIN = "the link does not follow the one before it"
    OUT_OF_ORDER = "the offset is not above the one before it"
    WRONG_IDENTITY = "the link's identity is not that of its position"
    WRONG_ROOT = "the block's root does not fit its records"


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A record as the source topic has it; `details`: hash of what its link says beside the record, empty when nothing."""

    offset: int
    key: bytes | None
    value: bytes | None
    details: bytes = b""


@dataclass(frozen=True, slots=True)
class Link:
    """A link as the audit topic has it.

    details: hash of what it says beside the record, empty when nothing. alone: its record is not among those of the source
    (the trail keeps its hash only), so that the chain and the root are all that it can be compared with.
    """

    event_id: str
    offset: int
    record_hash: bytes
    chain_hash: bytes
    details: bytes = b""
    alone: bool = False

    def entry(self, record: bytes) -> bytes:
        """The entry hash of this link with this record hash."""
        return entry_hash(record, self.details)


@dataclass(frozen=True, slots=True)
class Break:
    """One thing that does not fit, at an offset of the source partition."""

    fault: Fault
    topic: str
    partition: int
    offset: int
    detail: str

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition} offset {self.offset}: {self.fault.value} ({self.detail})"


@dataclass(frozen=True, slots=True)
class Verdict:
    """records: links that were looked at. broken: faults found. waiting: records behind the last link. blocks: roots that
    were compared. first: the first fault."""

    records: int
    broken: int
    waiting: int
    blocks: int
    first: Break | None


class ChainVerifier:
    """The walk along one chain: `link` for each link, then `finish`.

    source: the partition's records from `first_retained`, the lowest offset that the source still has.
    blocks: the chain's closed blocks in rising order.
    after: the last block of the part that was verified before, or that the audit topic no longer has; None to begin at the
    chain's start.
    """

    def __init__(
        self,
        topic: str,
        partition: int,
        source: Iterator[SourceRecord],
        blocks: Sequence[Block] = (),
        first_retained: int = 0,
        after: Block | None = None,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.first_retained = first_retained
        self.records = 0
        self.broken = 0
        self.checked_blocks = 0
        self.first: Break | None = None
        self._source = source
        self._blocks = blocks
        # Where a link's chain hash was altered the next one follows the right hash; where a link is lost for ever it
        # follows the one that is written. Both may be followed.
        self._heads: list[bytes] = [first_hash(topic, partition) if after is None else after.chain_hash]
        self._last_link = -1 if after is None else after.last_offset
        self._last_source = self._last_link
        self._previous_root: bytes | None = None if after is None else after.merkle_root
        self._tree = MerkleTree()
        self._block_first = -1
        self._last_taken = self._last_link
        self._ahead: SourceRecord | None = None
        self._pull()

    def link(self, link: Link) -> None:
        """Look at the next link."""
        self.records += 1
        offset = link.offset
        if offset <= self._last_link:
            self._tell(Fault.OUT_OF_ORDER, offset, f"it comes after offset {self._last_link}")
            return
        if link.event_id != f"{self.topic}-{self.partition}-{offset}":
            self._tell(Fault.WRONG_IDENTITY, offset, f"it says {link.event_id}")
        if self._ahead is None:
            # A source that is filled beside the links may have more by now.
            self._pull()
        while self._ahead is not None and self._ahead.offset < offset:
            self._take_unlinked(self._ahead)
        if link.alone or offset < self.first_retained:
            self._follow(link, link.entry(link.record_hash))
        elif self._ahead is None or self._ahead.offset > offset:
            self._without_record(link)
        else:
            self._compare(link, self._ahead)
            self._pull()
        self._last_link = offset

    def finish(self) -> Verdict:
        """The result, after the last link."""
        waiting = 0
        covered = self._blocks[-1].last_offset if self._blocks else -1
        while self._ahead is not None:
            if self._ahead.offset <= covered:
                self._take_unlinked(self._ahead)
            else:
                waiting += 1
                self._pull()
        while self.checked_blocks < len(self._blocks):
            self._check_block(self._blocks[self.checked_blocks])
        return Verdict(self.records, self.broken, waiting, self.checked_blocks, self.first)

    def _pull(self) -> None:
        """Make the source's next record in rising order the one ahead."""
        for record in self._source:
            if record.offset > self._last_source:
                self._last_source = record.offset
                self._ahead = record
                return
            self._tell(Fault.OUT_OF_ORDER, record.offset, f"the source has it after offset {self._last_source}")
        self._ahead = None

    def _take_unlinked(self, record: SourceRecord) -> None:
        """A record whose link is missing: what its link would have been is known, so the walk goes on as if it were there."""
        self._tell(Fault.NO_LINK, record.offset, "the audit topic goes on behind it")
        digest = entry_hash(record_hash(record.offset, record.key, record.value), record.details)
        self._take(record.offset, digest, [next_hash(head, digest) for head in self._heads])
        self._pull()

    def _without_record(self, link: Link) -> None:
        """A link to nothing: the record was taken away when the link fits the chain, the link was put in when not."""
        entry = link.entry(link.record_hash)
        if self._fits(link, entry):
            self._tell(Fault.NO_RECORD, link.offset, "the link fits the chain: the record was removed")
            self._take(link.offset, entry, [link.chain_hash])
        else:
            self._tell(Fault.NO_RECORD, link.offset, "the link does not fit the chain: it was inserted")

    def _compare(self, link: Link, record: SourceRecord) -> None:
        """A link and its record."""
        digest = record_hash(record.offset, record.key, record.value)
        said, true = link.entry(link.record_hash), link.entry(digest)
        if digest == link.record_hash:
            self._follow(link, said, entry_hash(digest, record.details))
        elif self._fits(link, said):
            self._tell(Fault.ALTERED, link.offset, "the link fits the chain: the record was altered")
            self._take(link.offset, said, [link.chain_hash])
        elif self._fits(link, true):
            self._tell(Fault.ALTERED, link.offset, "the record fits the chain: the link was altered")
            self._take(link.offset, true, [link.chain_hash])
        else:
            self._tell(Fault.ALTERED, link.offset, "neither fits the chain")
            self._take(link.offset, true, [next_hash(self._heads[0], true), link.chain_hash])

    def _follow(self, link: Link, entry: bytes, derived: bytes | None = None) -> None:
        """Check that a link with the right record hash follows the link before it; `derived`: the entry hash with the details
        that the record itself gives."""
        if self._fits(link, entry):
            self._take(link.offset, entry, [link.chain_hash])
        elif derived is not None and derived != entry and self._fits(link, derived):
            self._tell(Fault.ALTERED, link.offset, "its time, type, actor or payload are not those that the chain has")
            self._take(link.offset, derived, [link.chain_hash])
        else:
            self._tell(Fault.BROKEN_CHAIN, link.offset, "its chain hash is another")
            self._take(link.offset, entry, [next_hash(self._heads[0], entry), link.chain_hash])

    def _fits(self, link: Link, entry: bytes) -> bool:
        return any(next_hash(head, entry) == link.chain_hash for head in self._heads)

    def _take(self, offset: int, digest: bytes, heads: list[bytes]) -> None:
        """Go on to a record: compare the block that ends before it, and add it to the open one."""
        while self.checked_blocks < len(self._blocks) and self._blocks[self.checked_blocks].last_offset < offset:
            self._check_block(self._blocks[self.checked_blocks])
        if self._tree.count == 0:
            self._block_first = offset
        self._tree.add(digest)
        self._last_taken = offset
        self._heads = heads

    def _check_block(self, block: Block) -> None:
        """Compare a block with the records since the one before it."""
        self.checked_blocks += 1
        different: list[str] = []
        if (block.first_offset, block.last_offset) != (self._block_first, self._last_taken):
            different.append(f"it has offsets {block.first_offset} to {block.last_offset}")
        if block.count != self._tree.count:
            different.append(f"it has {block.count} records, found {self._tree.count}")
        if block.merkle_root != self._tree.root():
            different.append("another Merkle root")
        if block.chain_hash not in self._heads:
            different.append("another chain hash")
        if block.previous_root != self._previous_root:
            different.append("another root before it")
        if different:
            self._tell(Fault.WRONG_ROOT, block.last_offset, "; ".join(different))
        self._previous_root = block.merkle_root
        self._tree = MerkleTree()

    def _tell(self, fault: Fault, offset: int, detail: str) -> None:
        self.broken += 1
        if self.first is None:
            self.first = Break(fault, self.topic, self.partition, offset, detail)
