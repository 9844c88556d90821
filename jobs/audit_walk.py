"""Walks along all chains of an audit trail at once, wherever its links come from: Kafka, ClickHouse or an export.

Links of one chain come in the order in which the trail has them; chains may be mixed. A link that keeps its record is compared
with it: the payload is beside the link, and both are covered by the chain. Memory: the roots, and a few hashes for each chain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from schemas.messages.audit_records import AuditRecord
from udfs.domain.audit_chain import Block
from udfs.domain.audit_shard import details_of
from udfs.domain.audit_verify import ChainVerifier, Link, SourceRecord

Chain = tuple[str, int]
"""Source topic and partition."""


@dataclass(slots=True)
class Report:
    """records: links that were looked at. broken: faults. blocks: roots that were compared. skipped: links before the first
    whole block of a trail whose beginning is gone. first: the first fault of each chain that has one, as text."""

    records: int = 0
    broken: int = 0
    blocks: int = 0
    skipped: int = 0
    first: list[str] = field(default_factory=list)
    chains: dict[str, int] = field(default_factory=dict)
    """Links by chain."""
    last: dict[Chain, int] = field(default_factory=dict)
    """The highest source offset of each chain."""


class _Kept(Iterator[SourceRecord]):
    """The records that links keep, handed from one to the other."""

    def __init__(self) -> None:
        self.waiting: deque[SourceRecord] = deque()

    def __next__(self) -> SourceRecord:
        if not self.waiting:
            raise StopIteration
        return self.waiting.popleft()


class _Walk:
    """One chain."""

    def __init__(self, chain: Chain, blocks: Sequence[Block], after: Block | None) -> None:
        self.kept = _Kept()
        self.verifier = ChainVerifier(*chain, self.kept, blocks, after=after)

    def add(self, record: AuditRecord) -> None:
        if record.kept:
            self.kept.waiting.append(SourceRecord(record.source_offset, record.record_key, record.payload))
        self.verifier.link(
            Link(
                record.event_id,
                record.source_offset,
                record.record_hash,
                record.chain_hash,
                details_of(record),
                alone=not record.kept,
            )
        )


class TrailWalk:
    """The walk: `add` for each link, then `finish`.

    roots: closed blocks of each chain, in rising order. after: the last block of what is not looked at, by chain.
    cut: the trail's beginning may be gone (Kafka deletes what is old): a chain is then followed from its first whole block on.
    """

    def __init__(
        self, roots: Mapping[Chain, Sequence[Block]], after: Mapping[Chain, Block] | None = None, *, cut: bool = False
    ) -> None:
        self._roots = roots
        self._after = dict(after or {})
        self._cut = cut
        self._walks: dict[Chain, _Walk] = {}
        self._report = Report()

    def add(self, record: AuditRecord) -> None:
        """Look at the next link."""
        chain = (record.source_topic, record.source_partition)
        self._report.last[chain] = max(record.source_offset, self._report.last.get(chain, -1))
        walk = self._walks.get(chain)
        if walk is None:
            walk = self._walks[chain] = self._start(chain, record.source_offset)
        if self._cut and (after := self._after.get(chain)) is not None and record.source_offset <= after.last_offset:
            self._report.skipped += 1
            return
        walk.add(record)

    def fault(self, where: str, why: str) -> None:
        """Count a fault that is no chain's: a record that is no link, a file that is another."""
        self._report.broken += 1
        self._report.first.append(f"{where}: {why}")

    def finish(self) -> Report:
        """What was found, after the last link."""
        for chain in self._roots:
            if chain not in self._walks:
                self._walks[chain] = self._start(chain, None)
        report = self._report
        for (topic, partition), walk in sorted(self._walks.items()):
            verdict = walk.verifier.finish()
            report.records += verdict.records
            report.broken += verdict.broken
            report.blocks += verdict.blocks
            report.chains[f"{topic}-{partition}"] = verdict.records
            if verdict.first is not None:
                report.first.append(str(verdict.first))
        return report

    def _start(self, chain: Chain, offset: int | None) -> _Walk:
        """The walk along a chain whose first link has this offset."""
        blocks = list(self._roots.get(chain, ()))
        if self._cut and blocks and (offset is None or offset > blocks[0].first_offset):
            # In the middle of a block its chain hash is not known: the whole blocks after it are looked at.
            gone = [block for block in blocks if offset is None or block.first_offset < offset]
            self._after[chain] = gone[-1]
        after = self._after.get(chain)
        if after is not None:
            blocks = [block for block in blocks if block.first_offset > after.last_offset]
        return _Walk(chain, blocks, after)
