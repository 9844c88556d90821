"""The checker of `tradestream chaos`: everything that read_committed consumers were given, and what must hold of it.

It is fed with each record once, in the order of its partition, and with what producers were acknowledged; it shares no code
with the jobs. `chaos_orders` follows orders and trades; here are the log's own promises:

- an acknowledged write is in the log, where the acknowledgement says, as it was written, once;
- offsets only grow, and a record that was read once as committed is there, unchanged, when it is read again;
- each tick and each poisoned record has exactly one answer, and event ids are unique.

Not safe for threads by itself: `lock` is for its callers.
"""

from __future__ import annotations

import hashlib
import io
import json
import threading
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import fastavro

from jobs.chaos_orders import Orders, Record
from schemas.catalogue import TOPICS

READ: Final = tuple(TOPICS)
"""Topics that the checker reads: all, so that whatever the archive job holds can be compared with what was read."""
_UNIQUE_IDS: Final = frozenset({"market-data", "risk-events", "routing-decisions", "market-status"})
DECODED: Final = frozenset(
    {"raw-feed", "orders", "order-events", "trade-events", "dead-letter", "reference-data", *_UNIQUE_IDS}
)
_COMPARED: Final = ("order-events", "trade-events")
"""Topics whose rows in ClickHouse are compared value by value."""
_SHOWN: Final = 20
"""Violations of a kind that are kept: many of one must not hide another."""


class Violation(NamedTuple):
    """A promise that was broken."""

    kind: str
    text: str


class Ack(NamedTuple):
    """A record that Kafka acknowledged, and when it was handed over (monotonic seconds)."""

    topic: str
    partition: int
    offset: int
    digest: int
    sent_s: float
    kind: str
    """``command``, ``tick``, ``poison`` or ``other``."""


def digest_of(key: bytes | None, value: bytes | None) -> int:
    """64 bits that stand for a record."""
    mixed = hashlib.blake2b(value or b"", key=(key or b"")[:64], digest_size=8).digest()
    return int.from_bytes(mixed, "big")


class _Part:
    """What was read of one partition: offsets and digests."""

    __slots__ = ("digests", "offsets")

    def __init__(self) -> None:
        self.offsets = array("q")
        self.digests = array("Q")

    def find(self, offset: int) -> int | None:
        """The digest at an offset, or None."""
        at = bisect_left(self.offsets, offset)
        return self.digests[at] if at < len(self.offsets) and self.offsets[at] == offset else None


class Ledger:
    """All that is known, and the violations so far."""

    def __init__(self, schema_ids: Mapping[str, int]) -> None:
        """`schema_ids`: the registered id of each topic that is decoded; other bytes are no record of it."""
        self._schema_ids = schema_ids
        self.lock = threading.RLock()
        self.violations: list[Violation] = []
        self.violation_count = 0
        self._reported: Counter[str] = Counter()
        self.parts: dict[tuple[str, int], _Part] = {}
        self.orders = Orders(self.report)
        self.letters: Counter[tuple[str, int, int]] = Counter()
        self._tick_ids: dict[tuple[int, int], int] = {}
        """The event that a tick becomes, by the tick's place on raw-feed: its feed and its number in it, as digests."""
        self.unarchived: dict[tuple[str, int], list[tuple[int, Record]]] = {}
        """Records of the topics that are compared by value, until their rows were seen."""
        self._ids: dict[str, set[int]] = {topic: set() for topic in _UNIQUE_IDS}
        self._written: dict[str, set[int]] = {"orders": set(), "raw-feed": set()}
        self._poison: set[tuple[str, int, int]] = set()
        self._pending: list[Ack] = []
        self._schemas: dict[str, Any] = {}

    def report(self, kind: str, text: str) -> None:
        """Count a violation, and keep the first ones of its kind."""
        self.violation_count += 1
        self._reported[kind] += 1
        if self._reported[kind] <= _SHOWN:
            self.violations.append(Violation(kind, text))

    def count(self, topic: str) -> int:
        """Records of a topic that were read."""
        return sum(len(part.offsets) for (name, _), part in self.parts.items() if name == topic)

    # --------------------------------------------------------------------------------------------------- reading

    def take(self, topic: str, partition: int, offset: int, key: bytes | None, value: bytes | None) -> None:
        """A record that a read_committed consumer was given."""
        part = self.parts.setdefault((topic, partition), _Part())
        if part.offsets and offset <= part.offsets[-1]:
            self.report("order within a key", f"{topic}/{partition}: offset {offset} came after {part.offsets[-1]}")
            return
        digest = digest_of(key, value)
        part.offsets.append(offset)
        part.digests.append(digest)
        written = self._written.get(topic)
        if written is not None:
            # No two records that are sent are alike, so a second one was written twice.
            if digest in written:
                self.report("duplicate", f"{topic}/{partition}/{offset}: the same record was written before")
            written.add(digest)
        if topic in DECODED:
            self._decoded(topic, partition, offset, key or b"", value, digest)

    def _decoded(self, topic: str, partition: int, offset: int, key: bytes, value: bytes | None, digest: int) -> None:
        record = self._decode(topic, value)
        if record is None:
            if "outside" not in TOPICS[topic].producers:
                self.report("changed", f"{topic}/{partition}/{offset} cannot be decoded")
            return
        orders = self.orders
        if topic == "orders":
            orders.command(partition, offset, record)
        elif topic == "raw-feed":
            self._tick_ids[partition, offset] = digest_of(None, f"{record['feedId']}-{record['sequence']}".encode())
        elif topic == "order-events":
            orders.event(partition, key, record, digest)
        elif topic == "trade-events":
            orders.trade(key, record, digest)
        elif topic == "dead-letter":
            self._letter(record)
        elif topic == "reference-data":
            account = record["account"]
            if account is not None:
                orders.commission_e4[account["accountId"]] = account["commissionPerShare"]
        else:
            self._unique(topic, record["eventId"])
        if topic in _COMPARED:
            self.unarchived.setdefault((topic, partition), []).append((offset, record))

    def _decode(self, topic: str, value: bytes | None) -> Record | None:
        if value is None or value[:5] != b"\0" + self._schema_ids[topic].to_bytes(4, "big"):
            return None
        schema = self._schemas.get(topic)
        if schema is None:
            text = TOPICS[topic].schema_file.read_text(encoding="utf-8")
            schema = self._schemas[topic] = fastavro.parse_schema(json.loads(text))
        stream = io.BytesIO(value[5:])
        try:
            record: Any = fastavro.schemaless_reader(stream, schema, None)
        except Exception:  # fastavro raises whatever the bytes lead it into; the caller judges that there is no record
            return None
        return record if stream.read(1) == b"" else None

    def _letter(self, record: Record) -> None:
        place = record["sourceTopic"], record["sourcePartition"], record["sourceOffset"]
        self.letters[place] += 1
        if self.letters[place] > 1:
            self.report("duplicate", f"{place[0]}/{place[1]}/{place[2]} has {self.letters[place]} dead letters")

    def _unique(self, topic: str, event_id: str) -> None:
        digest = digest_of(None, event_id.encode())
        if digest in self._ids[topic]:
            self.report("duplicate", f"{topic}: event {event_id} came again")
        self._ids[topic].add(digest)

    # ----------------------------------------------------------------------------------------- acknowledged writes

    def acknowledged(self, acks: Iterable[Ack]) -> None:
        """Writes that were acknowledged since the last call."""
        for ack in acks:
            self._pending.append(ack)
            if ack.kind == "poison":
                self._poison.add(ack[:3])

    def waiting(self) -> dict[str, int]:
        """What was written and is not read, answered or whole yet: names and numbers, empty when all is settled."""
        self._settle_acks()
        found = Counter(self.orders.unfinished())
        for ack in self._pending:
            found[f"acknowledged {ack.kind}s that are not read or not answered"] += 1
        return dict(found)

    def _settle_acks(self) -> None:
        """Forget acknowledged writes that are read and answered; report those that are not what was written."""
        pending, self._pending = self._pending, []
        for ack in pending:
            part = self.parts.get((ack.topic, ack.partition))
            found = None if part is None else part.find(ack.offset)
            name = f"{ack.topic}/{ack.partition}/{ack.offset}"
            if found is None:
                if part is not None and part.offsets and part.offsets[-1] > ack.offset:
                    self.report("lost write", f"{name} was acknowledged ({ack.kind}), and what came after it is read")
                else:
                    self._pending.append(ack)
            elif found != ack.digest:
                self.report("changed", f"{name} is not what was acknowledged ({ack.kind})")
            elif not self._answered(ack):
                self._pending.append(ack)

    def _answered(self, ack: Ack) -> bool:
        if ack.kind == "command":
            return (ack.partition, ack.offset) in self.orders.answers
        if ack.kind == "tick":
            return self._tick_ids.get((ack.partition, ack.offset)) in self._ids["market-data"]
        return ack.kind != "poison" or ack[:3] in self.letters

    def answered(self, ack: Ack) -> bool:
        """Whether a command or tick is answered for committed readers."""
        return self._answered(ack)

    def check(self, *, closed: bool = False) -> None:
        """Report what is still missing; to be called when everything that was written must be there."""
        self._settle_acks()
        for ack in self._pending:
            self.report("lost", f"{ack.topic}/{ack.partition}/{ack.offset}: this {ack.kind} was never read or answered")
        self._pending = []
        for place in self.letters.keys() - self._poison:
            self.report("refused", f"{place[0]}/{place[1]}/{place[2]} was good and has a dead letter")
        self.orders.check_whole(closed=closed)

    def check_again(self, topic: str, partition: int, records: Sequence[tuple[int, int]]) -> None:
        """Compare with a second reading of a partition from its beginning: offsets and digests of what is there now."""
        part = self.parts.get((topic, partition), _Part())
        again = dict(records)
        compacted = "compact" in TOPICS[topic].cleanup
        for offset, digest in zip(part.offsets, part.digests, strict=True):
            found = again.pop(offset, None)
            if found is None and compacted:
                continue
            if found is None:
                self.report("lost", f"{topic}/{partition}/{offset} was read as committed and is gone")
            elif found != digest:
                self.report("changed", f"{topic}/{partition}/{offset} was read as committed and is another record now")
        for offset in again:
            self.report("changed", f"{topic}/{partition}/{offset} is there now and was passed over before")
