"""ClickHouse against Kafka, for `tradestream chaos`: the same positions, each once, and the same values.

Asked over HTTP as any analyst would, without FINAL. Values are compared for order events and trades, from the Avro schema and
the table's types as they are published, not by what the archive job uses; `tradestream reconcile` compares the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from jobs.chaos_ledger import READ, Ledger
from jobs.chaos_orders import Record
from jobs.config import Config
from jobs.migrate import endpoint
from schemas.catalogue import ARCHIVED, TOPICS

COMPARED: Final = tuple(topic for topic in ARCHIVED if topic in READ)
"""Topics whose rows are compared with what the checker has read."""

_BATCH: Final = 2_000


def table_of(topic: str) -> str:
    """The table of a topic."""
    return "dead_letters" if topic == "dead-letter" else topic.replace("-", "_")


ELSEWHERE: Final = ("dead_letters", "tombstones")
"""Tables that have records of many topics: what could not be decoded, and what deletes a key."""


class Archive:
    """Compares as the run goes on: what was found equal by value is not fetched again; positions always are."""

    def __init__(self, config: Config, ledger: Ledger) -> None:
        self._config, self._ledger = config, ledger
        self._client: Any = None
        self._columns: dict[str, dict[str, str]] = {}

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Rows of a query. Raises ClickHouseError or OSError while the gateway is away; the next call connects anew."""
        try:
            if self._client is None:
                self._client = endpoint(self._config).connect()
            return list(self._client.query(sql, parameters=dict(parameters or {})).result_rows)
        except BaseException:
            self._client = None
            raise

    def holds(self, topic: str, partition: int, offset: int) -> bool:
        """Whether the row of a record is there."""
        sql = f"SELECT count() FROM {table_of(topic)} WHERE _topic = {{t:String}} AND _partition = {{p:UInt16}} "
        sql += "AND _offset = {o:UInt64}"
        return bool(self.query(sql, {"t": topic, "p": partition, "o": offset})[0][0])

    def behind(self) -> int:
        """How many records that were read from Kafka have no row yet, or rows no record; 0 when the numbers agree."""
        with self._ledger.lock:
            wanted = {topic: self._ledger.count(topic) for topic in COMPARED}
        return sum(abs(wanted[topic] - count) for topic, count in self._counts().items())

    def _counts(self) -> dict[str, int]:
        tables = dict.fromkeys((*(table_of(topic) for topic in COMPARED), *ELSEWHERE))
        parts = [f"SELECT _topic, count() FROM {table} GROUP BY _topic" for table in tables]
        counts = dict.fromkeys(COMPARED, 0)
        for topic, count in self.query(" UNION ALL ".join(parts)):
            # The dead letters of topics that the checker does not read are of no run.
            if topic in counts:
                counts[topic] += int(count)
        return counts

    def check(self) -> None:
        """Report every position that is missing, extra or doubled, and every value that differs. The load has to be paused."""
        for topic in COMPARED:
            self._check_positions(topic)
        with self._ledger.lock:
            todo = {part: list(records) for part, records in self._ledger.unarchived.items()}
        for (topic, partition), records in todo.items():
            for start in range(0, len(records), _BATCH):
                self._check_values(topic, partition, records[start : start + _BATCH])
            with self._ledger.lock:
                del self._ledger.unarchived[topic, partition][: len(records)]

    def _check_positions(self, topic: str) -> None:
        """Sums first; the positions themselves are fetched only of a topic whose sums differ."""
        tables = dict.fromkeys((table_of(topic), *ELSEWHERE))
        rows = " UNION ALL ".join(
            f"SELECT _partition, _offset FROM {table} WHERE _topic = {{t:String}}" for table in tables
        )
        sums = f"SELECT _partition, count(), uniqExact(_offset), sum(_offset) FROM ({rows}) GROUP BY _partition"
        stored = {row[0]: tuple(map(int, row[1:])) for row in self.query(sums, {"t": topic})}
        wanted: dict[int, list[int]] = {}
        with self._ledger.lock:
            for partition in range(TOPICS[topic].partitions(self._config.profile)):
                part = self._ledger.parts.get((topic, partition))
                if part is not None:
                    wanted[partition] = list(part.offsets)
        if stored == {key: (len(offsets), len(offsets), sum(offsets)) for key, offsets in wanted.items()}:
            return
        seen: dict[int, Counter[int]] = {}
        for partition, offset in self.query(rows, {"t": topic}):
            seen.setdefault(partition, Counter())[offset] += 1
        for partition in sorted(seen.keys() | wanted.keys()):
            held, offsets = seen.get(partition, Counter()), set(wanted.get(partition, ()))
            doubled = sorted(offset for offset, count in held.items() if count > 1)
            for kind, what, found in (
                ("archive doubled", "positions have several rows", doubled),
                ("archive lost", "records have no row", sorted(offsets - held.keys())),
                ("archive extra", "rows have no committed record", sorted(held.keys() - offsets)),
            ):
                if found:
                    self._ledger.report(
                        kind, f"{table_of(topic)}: {len(found)} {what}: {topic}/{partition}, {found[:5]}"
                    )

    def _types(self, topic: str) -> dict[str, str]:
        """SQL that gives each column's value as the wire has it, by column name."""
        table = table_of(topic)
        if table not in self._columns:
            found = {}
            for name, kind, *_ in self.query(f"DESCRIBE TABLE {table}"):
                if name.startswith("_") or name == "event_date":
                    continue
                if "Decimal" in kind:
                    found[name] = f"toInt64({name} * 10000)"
                elif "DateTime64(9" in kind:
                    found[name] = f"toUnixTimestamp64Nano({name})"
                else:
                    found[name] = name
            self._columns[table] = found
        return self._columns[table]

    def _check_values(self, topic: str, partition: int, records: list[tuple[int, Record]]) -> None:
        columns = self._types(topic)
        sql = (
            f"SELECT _offset, {', '.join(columns.values())} FROM {table_of(topic)} WHERE _topic = {{t:String}} "
            "AND _partition = {p:UInt16} AND _offset BETWEEN {a:UInt64} AND {b:UInt64}"
        )
        rows = self.query(sql, {"t": topic, "p": partition, "a": records[0][0], "b": records[-1][0]})
        found = {row[0]: dict(zip(columns, row[1:], strict=True)) for row in rows}
        for offset, record in records:
            wanted = {_snake(name): value for name, value in record.items()}
            stored = found.get(offset)
            if stored is not None and stored != wanted:
                names = [name for name in stored.keys() | wanted.keys() if stored.get(name) != wanted.get(name)]
                self._ledger.report(
                    "archive changed",
                    f"{topic}/{partition}/{offset}: "
                    + ", ".join(
                        f"{name} is {stored.get(name)!r}, was {wanted.get(name)!r}" for name in sorted(names)[:3]
                    ),
                )


def _snake(name: str) -> str:
    """The column of an Avro field."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
