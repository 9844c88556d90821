"""The audit engine of one shard of source partitions: a link for every record, and the root of every block of links.

A chain is that of one source partition, named by topic and partition: a partition is what Kafka orders, so the chain of a
replay is the same chain, whatever the number of shards, the batches or the failures were. A shard has whole chains.

Ordering: links of a chain are written in rising order of offset; a root is written after the last link of its block.
Invariants: every record has one link, whatever its bytes are: one that cannot be decoded is named by its topic only. The
records are those of audit_shard's inputs, byte for byte; the same inputs give the same links and roots.
Blocks: a block is closed when it has `block_records` links, and when a record comes whose UTC day (by Kafka's time) is after
that of the block's first record. The open block of a chain has no root yet.
Identity: of a link, topic, partition and offset; of a root, its chain and first offset.
Known limits: type and actor are read with this release's schema of the topic, so a record of another schema version is named
by its topic only. An offset that is not above the one before it (a topic that was deleted and made again) is an error that
stops the job: its chain cannot go on.
Complexity: five hashes and one reading of the payload for each record.
"""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from schemas.catalogue import TOPICS
from schemas.errors import DecodeError
from schemas.messages import (
    alert_rules,
    alerts,
    controls,
    corporate_actions,
    dead_letter,
    enums,
    market_status,
    order_events,
    orders,
    portfolio_events,
    position_events,
    reference_data,
    report_events,
    risk_events,
    routing_decisions,
    settlement_events,
    surveillance_alerts,
    trade_events,
)
from schemas.messages.audit_records import AuditRecord
from schemas.messages.audit_records import encode as encode_record
from schemas.messages.audit_roots import AuditRoot
from schemas.messages.audit_roots import encode as encode_root
from schemas.messages.enums import (
    AUDIT_SOURCE_COMMAND,
    AUDIT_SOURCE_CONTROL,
    AUDIT_SOURCE_EVENT,
    AUDIT_SOURCE_MARKET_DATA,
    AUDIT_SOURCE_REFERENCE,
    AUDIT_SOURCE_REPORT,
    AUDIT_SOURCE_UNKNOWN,
)
from udfs.domain.audit_chain import AuditChain, entry_hash, record_hash
from udfs.domain.outbox import Lane
from udfs.domain.state_codec import StateError, StateReader, StateWriter

RECORDS: Final = "audit-records"
ROOTS: Final = "audit-roots"
AUDITED: Final = tuple(name for name in TOPICS if name not in (RECORDS, ROOTS))
"""Every topic but the trail's own, which would be endless."""
MAX_KEY_BYTES: Final = 65_536
MAX_PAYLOAD_BYTES: Final = 917_504
"""Longest key and payload that a link keeps, so that it fits a Kafka record of a mebibyte; of longer ones it has the hash."""

_VERSION: Final = 1
_KIND: Final = 66
_DAY_MS: Final = 86_400_000
_MOST_MS: Final = 9_000_000_000_000
_SOURCES: Final[dict[str, int]] = {
    "orders": AUDIT_SOURCE_COMMAND,
    "controls": AUDIT_SOURCE_CONTROL,
    "reference-data": AUDIT_SOURCE_REFERENCE,
    "corporate-actions": AUDIT_SOURCE_REFERENCE,
    "alert-rules": AUDIT_SOURCE_REFERENCE,
    "raw-feed": AUDIT_SOURCE_MARKET_DATA,
    "market-data": AUDIT_SOURCE_MARKET_DATA,
    "nbbo": AUDIT_SOURCE_MARKET_DATA,
    "market-depth": AUDIT_SOURCE_MARKET_DATA,
    "prices": AUDIT_SOURCE_MARKET_DATA,
    "report-events": AUDIT_SOURCE_REPORT,
}
# Readers of the topics whose records say what kind they are, or who caused them.
_DECODERS: Final[dict[str, Callable[[bytes, int], Any]]] = {
    "alert-rules": alert_rules.decode,
    "alerts": alerts.decode,
    "controls": controls.decode,
    "corporate-actions": corporate_actions.decode,
    "dead-letter": dead_letter.decode,
    "market-status": market_status.decode,
    "order-events": order_events.decode,
    "orders": orders.decode,
    "portfolio-events": portfolio_events.decode,
    "position-events": position_events.decode,
    "reference-data": reference_data.decode,
    "report-events": report_events.decode,
    "risk-events": risk_events.decode,
    "routing-decisions": routing_decisions.decode,
    "settlement-events": settlement_events.decode,
    "surveillance-alerts": surveillance_alerts.decode,
    "trade-events": trade_events.decode,
}
# The field that says what kind of event a record is, and the names of its codes.
_KINDS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "orders": ("command", enums.COMMAND_TYPE_NAMES),
    "controls": ("kind", enums.CONTROL_KIND_NAMES),
    "reference-data": ("kind", enums.REFERENCE_KIND_NAMES),
    "corporate-actions": ("type", enums.CORPORATE_ACTION_TYPE_NAMES),
    "order-events": ("event_type", enums.ORDER_EVENT_TYPE_NAMES),
    "risk-events": ("type", enums.RISK_EVENT_TYPE_NAMES),
    "routing-decisions": ("action", enums.ROUTING_ACTION_NAMES),
    "market-status": ("state", enums.MARKET_STATE_NAMES),
    "dead-letter": ("reason", enums.DEAD_LETTER_REASON_NAMES),
    "position-events": ("change", enums.POSITION_CHANGE_NAMES),
    "report-events": ("kind", enums.REPORT_KIND_NAMES),
    "surveillance-alerts": ("pattern", enums.SURVEILLANCE_PATTERN_NAMES),
}
# Fields that say who caused it, the first that a record has and that is not empty.
_ACTORS: Final = ("issued_by", "owner", "account_id", "job")


def envelope(topic: str, timestamp_ms: int, key: bytes | None, value: bytes | None) -> bytes:
    """A record as the engine takes it: topic, bytes of the key (-1 for none), 1 with a value, Kafka's time; key and value.

    sql/flink/audit_source.sql makes the same bytes in the JVM.
    """
    head = f"{topic} {-1 if key is None else len(key)} {0 if value is None else 1} {timestamp_ms} "
    return head.encode() + (key or b"") + (value or b"")


def open_envelope(data: bytes) -> tuple[str, int, bytes | None, bytes | None]:
    """Topic, Kafka's time, key and value of an envelope."""
    topic, key_bytes, has_value, timestamp_ms, rest = data.split(b" ", 4)
    length = int(key_bytes)
    key = None if length < 0 else rest[:length]
    value = rest[max(length, 0) :] if has_value == b"1" else None
    return topic.decode(), int(timestamp_ms), key, value


def details_of(link: AuditRecord) -> bytes:
    """Hash of what a link says beside its record: kind of source, time, actor, type, and whether the payload is kept."""
    said = [str(link.source), str(link.timestamp), link.actor, link.event_type, str(link.kept)]
    framed = b"".join(b"-" if word is None else b"%d:%s" % (len(word.encode()), word.encode()) for word in said)
    return hashlib.sha256(framed).digest()


class Describer:
    """Makes the links of records, without their chain hash: what they are, who caused them, and what is kept of them.

    schema_ids: registry id by topic, of the topics whose records are to be read for that.
    hash_only: topics of whose records only the hash is kept.
    """

    def __init__(self, schema_ids: dict[str, int], hash_only: frozenset[str]) -> None:
        self._schema_ids = schema_ids
        self._hash_only = hash_only
        self._decoders: dict[str, Callable[[bytes, int], Any]] = {
            topic: decode for topic, decode in _DECODERS.items() if topic in schema_ids and topic not in hash_only
        }

    def link(
        self, topic: str, partition: int, offset: int, timestamp_ms: int, key: bytes | None, value: bytes | None
    ) -> AuditRecord:
        """The link of a record."""
        kept = (
            topic not in self._hash_only
            and (key is None or len(key) <= MAX_KEY_BYTES)
            and (value is None or len(value) <= MAX_PAYLOAD_BYTES)
        )
        event_type, actor = self._named(topic, value) if kept else (_record_name(topic), None)
        return AuditRecord(
            event_id=f"{topic}-{partition}-{offset}",
            source=_source(topic),
            source_topic=topic,
            source_partition=partition,
            source_offset=offset,
            record_hash=record_hash(offset, key, value),
            chain_hash=b"",
            actor=actor,
            # Who writes a record may choose its time; the field holds nanoseconds of about 292 years either way.
            timestamp=min(max(timestamp_ms, -_MOST_MS), _MOST_MS) * 1_000_000,
            event_type=event_type,
            kept=kept,
            record_key=key if kept else None,
            payload=value if kept else None,
        )

    def _named(self, topic: str, value: bytes | None) -> tuple[str, str | None]:
        """Type and actor of a record, as far as they can be read."""
        name = _record_name(topic)
        decode = self._decoders.get(topic)
        if decode is None or value is None:
            return name, None
        try:
            event = decode(value, self._schema_ids[topic])
        except DecodeError:
            # It is a record all the same, and the trail says that it was there.
            return name, None
        actor = None
        for field in _ACTORS:
            found = getattr(event, field, None)
            if found:
                actor = str(found)[:128]
                break
        kind = _KINDS.get(topic)
        if kind is None:
            return name, actor
        said = kind[1][getattr(event, kind[0])]
        if topic == "order-events" and said == "STATUS":
            said = enums.ORDER_STATUS_NAMES[event.status]
        return f"{name}.{said}", actor


def _record_name(topic: str) -> str:
    entry = TOPICS.get(topic)
    return topic if entry is None else entry.record


def _source(topic: str) -> int:
    return _SOURCES.get(topic, AUDIT_SOURCE_EVENT if topic in TOPICS else AUDIT_SOURCE_UNKNOWN)


class AuditOutbox:
    """What the engine has written since its outputs were last taken."""

    __slots__ = ("records", "roots")

    def __init__(self) -> None:
        self.records = Lane(RECORDS)
        self.roots = Lane(ROOTS)

    def lanes(self) -> list[Lane]:
        """All lanes, in a fixed order."""
        return [self.records, self.roots]

    def clear(self) -> None:
        """Forget what was written."""
        self.records.clear()
        self.roots.clear()


class _Chain:
    """A chain with its name, and the day and newest record of its open block; milliseconds since the epoch."""

    __slots__ = ("chain", "day", "key", "last_ms", "name")

    def __init__(self, topic: str, partition: int) -> None:
        self.chain = AuditChain(topic, partition)
        self.name = f"{topic}-{partition}"
        self.key = self.name.encode()
        self.day = 0
        self.last_ms = 0


class AuditShard:
    """The chains of one shard; see the module's contract."""

    def __init__(
        self, shard: int, shards: int, schema_ids: dict[str, int], block_records: int, hash_only: str = ""
    ) -> None:
        """`schema_ids`: registry ids of the trail's topics (KeyError names a missing one) and of those that are read.

        `hash_only`: topics joined by commas. Raises ValueError for a block without records.
        """
        if block_records < 1:
            raise ValueError(f"a block of {block_records} records; it has at least one")
        self.outbox = AuditOutbox()
        self._shard = shard
        self._shards = shards
        self._records_id = schema_ids[RECORDS]
        self._roots_id = schema_ids[ROOTS]
        self._block_records = block_records
        self._describer = Describer(schema_ids, topics_of(hash_only))
        self._chains: dict[str, _Chain] = {}

    def apply(self, source: int, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        """Add the link of one record, given as an envelope. Raises ChainOrderError when its offset is not above the last."""
        topic, time_ms, key, value = open_envelope(payload)
        name = f"{topic}-{partition}"
        state = self._chains.get(name)
        if state is None:
            state = self._chains[name] = _Chain(topic, partition)
        day = time_ms // _DAY_MS
        if state.chain.tree.count and day > state.day:
            self._close(state)
        if state.chain.tree.count == 0:
            state.day = day
        link = self._describer.link(topic, partition, offset, time_ms, key, value)
        link.chain_hash = state.chain.append(offset, entry_hash(link.record_hash, details_of(link)))
        state.last_ms = time_ms
        self.outbox.records.put(state.key, encode_record(link, self._records_id))
        if state.chain.tree.count >= self._block_records:
            self._close(state)

    def flush(self) -> None:
        """Nothing is written once a batch."""

    def snapshot(self) -> bytes:
        """The state, between batches."""
        out = StateWriter()
        out.put(self._shard)
        out.put(self._shards)
        out.put(len(self._chains))
        for state in self._chains.values():
            out.put_text(state.chain.topic)
            out.put(state.chain.partition)
            out.put(state.day)
            out.put(state.last_ms)
            out.put_bytes(state.chain.snapshot())
        return out.finish(_VERSION, _KIND)

    def restore(self, data: bytes) -> None:
        """Replace the state by a snapshot's. Raises StateError when it cannot be used, and is then unchanged."""
        reader = StateReader(data, _KIND, _VERSION)
        shard, shards = reader.take(), reader.take()
        if shard != self._shard or shards != self._shards:
            raise StateError(
                f"snapshot of shard {shard} of {shards} given to shard {self._shard} of {self._shards}: "
                "the number of shards cannot change while the state is kept"
            )
        chains: dict[str, _Chain] = {}
        for _ in range(reader.take()):
            state = _Chain(reader.take_text(), reader.take())
            state.day = reader.take()
            state.last_ms = reader.take()
            state.chain.restore(reader.take_bytes())
            chains[state.name] = state
        reader.expect_end()
        self._chains = chains
        self.outbox.clear()

    def _close(self, state: _Chain) -> None:
        """Close a chain's open block and write its root."""
        block = state.chain.close_block()
        if block is None:
            return
        root = AuditRoot(
            event_id=f"{state.name}-{block.first_offset}",
            chain=state.name,
            date=_date(state.day),
            first_offset=block.first_offset,
            last_offset=block.last_offset,
            record_count=block.count,
            merkle_root=block.merkle_root,
            chain_hash=block.chain_hash,
            previous_root=block.previous_root,
            timestamp=min(max(state.last_ms, -_MOST_MS), _MOST_MS) * 1_000_000,
        )
        self.outbox.roots.put(state.key, encode_root(root, self._roots_id))


def topics_of(text: str) -> frozenset[str]:
    """The topics of a list joined by commas. Raises ValueError when one is not audited."""
    names = frozenset(word.strip() for word in text.split(",") if word.strip())
    unknown = sorted(names - set(AUDITED))
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is no audited topic")
    return names


def _date(day: int) -> str:
    """A day since the epoch as YYYY-MM-DD; days that the calendar does not have become the epoch's."""
    if not 0 <= day < 2_932_897:
        day = 0
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%d")
