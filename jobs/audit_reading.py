"""Where the links and roots of the audit trail are read: the topics in Kafka, and their tables in ClickHouse."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from jobs.audit_walk import Chain, Report, TrailWalk
from jobs.config import Config
from schemas.errors import DecodeError
from schemas.messages import audit_records, audit_roots
from schemas.messages.audit_records import AuditRecord
from schemas.messages.enums import AUDIT_SOURCE_CODES
from udfs.domain.audit_chain import Block
from udfs.domain.audit_shard import RECORDS, ROOTS

PAGE_ROWS: Final = 5_000
"""Rows of ClickHouse that are held at a time."""
Roots = dict[Chain, list[Block]]

_RECORD_COLUMNS: Final = (
    "event_id, source, source_topic, source_partition, source_offset, record_hash, chain_hash, actor, timestamp, event_type, "
    "kept, record_key, payload, _partition, _offset"
)


class TrailError(RuntimeError):
    """The trail cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """A record of the trail's topics. kafka_ms: its timestamp, UTC milliseconds since the epoch."""

    topic: str
    partition: int
    offset: int
    kafka_ms: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition} offset {self.offset}"


@dataclass(slots=True)
class Behind:
    """Links at the end of a chain that Kafka has and ClickHouse has not: how many, the source offset of the first, its place."""

    links: int
    source_offset: int
    first: Place


def walk_kafka(config: Config, archived: Report | None = None) -> tuple[Report, dict[Chain, Behind]]:
    """Walk along what the topics have for committed readers; beside the report, the chains that go on behind `archived`.

    archived: what was found in ClickHouse a moment before. Raises CliError when Kafka does not answer, RegistryError.
    """
    from confluent_kafka import Consumer, TopicPartition

    from jobs.cli_common import CliError
    from jobs.cli_reconcile import committed_end, consumer_settings, partitions_of, records
    from jobs.cli_schemas import open_registry
    from jobs.runtime import schema_ids
    from schemas.catalogue import TOPICS
    from schemas.resolution import Resolver

    ids = schema_ids(config, (RECORDS, ROOTS))
    lookup = open_registry(config).schema
    resolvers = {topic: Resolver(topic, ids[topic], lookup) for topic in ids}
    with contextlib.closing(Consumer(consumer_settings(config, "audit"))) as consumer:

        def frames(topic: str) -> Iterator[tuple[Place, bytes, bool]]:
            """Place and current frame of each record, and whether the partition's beginning is gone."""
            name = TOPICS[topic].name
            partitions = partitions_of(consumer, name)
            if not partitions:
                raise CliError(
                    f"Kafka has no topic {name}: run `tradestream topics create`, then `tradestream submit audit`"
                )
            for partition in partitions:
                low, _ = consumer.get_watermark_offsets(TopicPartition(name, partition), timeout=30)
                end = committed_end(consumer, name, partition)
                for batch in records(consumer, name, partition, low, end):
                    where = batch.positions
                    for payload, offset, time in zip(batch.payloads, where.offsets, where.kafka_ms, strict=True):
                        yield Place(name, partition, int(offset), int(time)), payload or b"", low > 0

        roots: Roots = {}
        bad: list[tuple[Place, str]] = []
        behind: dict[Chain, Behind] = {}
        for place, payload, _ in frames(ROOTS):
            try:
                root = audit_roots.decode(resolvers[ROOTS].resolve(payload), ids[ROOTS])
                roots.setdefault(chain_of(root.chain), []).append(_block_of(root))
            except (DecodeError, TrailError) as error:
                bad.append((place, str(error)))
        walk: TrailWalk | None = None
        for place, payload, cut in frames(RECORDS):
            if walk is None:
                walk = TrailWalk(roots, cut=cut)
            try:
                link = audit_records.decode(resolvers[RECORDS].resolve(payload), ids[RECORDS])
            except DecodeError as error:
                bad.append((place, str(error)))
                continue
            walk.add(link)
            chain = (link.source_topic, link.source_partition)
            if archived is not None and link.source_offset > archived.last.get(chain, -1):
                behind.setdefault(chain, Behind(0, link.source_offset, place)).links += 1
        walk = walk or TrailWalk(roots)
        for place, why in bad:
            walk.fault(str(place), why)
        return walk.finish(), behind


def tell_lost_ends(
    report: Report, behind: Mapping[Chain, Behind], until_ms: int, has_read: Callable[[Place], bool]
) -> int:
    """Tell of each chain whose end ClickHouse has not although the archive job has read it; how many links are still to come.

    report: ClickHouse's. until_ms: what Kafka took later may be on its way, UTC milliseconds since the epoch. A link that the
    job has read for longer than that was deleted, for it is written within seconds of being read.
    """
    coming = 0
    for (topic, partition), end in sorted(behind.items()):
        if end.first.kafka_ms > until_ms or not has_read(end.first):
            coming += end.links
            continue
        more = f" and {end.links - 1} behind it" if end.links > 1 else ""
        report.broken += 1
        report.first.append(
            f"{topic}-{partition} offset {end.source_offset}: the link is not there{more}, "
            f"and the archive job has read {end.first}"
        )
    return coming


def archive_reading(config: Config) -> Callable[[Place], bool]:
    """Whether the archive job has read a record, as of its last checkpoint. The answer raises KafkaException."""
    from jobs.archive import GROUP
    from jobs.demo_watch import Probe

    probe = Probe(config, {})
    return lambda place: probe.untaken(GROUP, {(place.topic, place.partition): place.offset}) == 0


def has_tables(client: Any) -> bool:
    """Tell whether the database archives the trail. Raises ClickHouseError."""
    query = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name IN ('audit_records', 'audit_roots')"
    return bool(client.query(query).result_rows[0][0] == 2)


def walk_clickhouse(client: Any) -> Report:
    """Walk along the rows of the tables. Raises ClickHouseError."""
    dated, bad = clickhouse_roots(client)
    walk = TrailWalk({chain: [block for _, block in blocks] for chain, blocks in dated.items()})
    for chain in clickhouse_chains(client):
        for link in clickhouse_links(client, chain):
            walk.add(link)
    for place, why in bad:
        walk.fault(place, why)
    return walk.finish()


def clickhouse_chains(client: Any) -> list[Chain]:
    """The chains that have links. Raises ClickHouseError."""
    query = "SELECT DISTINCT source_topic, source_partition FROM audit_records ORDER BY 1, 2"
    return [(str(topic), int(partition)) for topic, partition in client.query(query).result_rows]


def clickhouse_roots(client: Any) -> tuple[dict[Chain, list[tuple[str, Block]]], list[tuple[str, str]]]:
    """The blocks of each chain with their date, in the order in which the topic had them, and the rows that are no roots."""
    roots: dict[Chain, list[tuple[str, Block]]] = {}
    bad: list[tuple[str, str]] = []
    rows = client.query(
        "SELECT chain, date, first_offset, last_offset, record_count, hex(merkle_root), hex(chain_hash), hex(previous_root) "
        "FROM audit_roots ORDER BY chain, _partition, _offset"
    ).result_rows
    for name, date, first, last, count, root, head, before in rows:
        block = Block(
            int(first),
            int(last),
            int(count),
            bytes.fromhex(root),
            bytes.fromhex(head),
            bytes.fromhex(before) if before else None,
        )
        try:
            roots.setdefault(chain_of(name), []).append((str(date), block))
        except TrailError as error:
            bad.append(("audit_roots", str(error)))
    return roots, bad


def clickhouse_links(
    client: Any, chain: Chain, first: int | None = None, last: int | None = None, page: int = PAGE_ROWS
) -> Iterator[AuditRecord]:
    """The links of a chain in the order of the audit topic, those of source offsets from `first` to `last` when given."""
    from jobs.reconcile_archive import plain_rows

    condition = "source_topic = {topic:String} AND source_partition = {part:Int32}"
    values: dict[str, Any] = {"topic": chain[0], "part": chain[1]}
    for name, bound, sign in (("first", first, ">="), ("last", last, "<=")):
        if bound is not None:
            condition += f" AND source_offset {sign} {{{name}:Int64}}"
            values[name] = bound
    # FINAL is left out on purpose: a row that was put in twice is a fault. So a page begins again at the last position.
    query = (
        f"SELECT {_RECORD_COLUMNS} FROM audit_records WHERE {condition} "
        "AND (_partition, _offset) >= ({at_part:UInt16}, {at:UInt64}) "
        "ORDER BY _partition, _offset LIMIT {page:UInt64} OFFSET {skip:UInt64}"
    )
    at, skip = (0, 0), 0
    while True:
        answer = client.query_arrow(
            query, parameters={**values, "at_part": at[0], "at": at[1], "page": page, "skip": skip}
        )
        rows = plain_rows(answer)
        yield from map(_link_of, rows)
        if len(rows) < page:
            return
        place = (int(rows[-1]["_partition"]), int(rows[-1]["_offset"]))
        here = sum((row["_partition"], row["_offset"]) == place for row in rows)
        skip = here + (skip if place == at else 0)
        at = place


def chain_of(name: str) -> Chain:
    """Topic and partition of a chain's name. Raises TrailError for a name that is none."""
    topic, _, partition = name.rpartition("-")
    if not topic or not partition.isdecimal():
        raise TrailError(f"{name!r} is the name of no chain")
    return topic, int(partition)


def _block_of(root: audit_roots.AuditRoot) -> Block:
    return Block(
        root.first_offset, root.last_offset, root.record_count, root.merkle_root, root.chain_hash, root.previous_root
    )


def _text(value: Any) -> Any:
    # Bytes that are no text cannot be what the job wrote; they stay visible and fail the hash.
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _link_of(row: dict[str, Any]) -> AuditRecord:
    """A row as the link that was archived."""
    return AuditRecord(
        event_id=_text(row["event_id"]),
        source=AUDIT_SOURCE_CODES.get(_text(row["source"]), -1),
        source_topic=_text(row["source_topic"]),
        source_partition=int(row["source_partition"]),
        source_offset=int(row["source_offset"]),
        record_hash=row["record_hash"],
        chain_hash=row["chain_hash"],
        actor=_text(row["actor"]),
        timestamp=int(row["timestamp"]),
        event_type=_text(row["event_type"]),
        kept=row["kept"],
        record_key=row["record_key"],
        payload=row["payload"],
    )
