"""What must hold in each archived table: rules that its schema implies, and those of sql/clickhouse/quality.

A table whose topic is new gets the first kind by itself. They are read from the contract: enum symbols, units, identities and
what a field's doc says of its sign. Topics that outsiders write are archived as they came, bad values included, so of those
only what the archive itself adds is checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from string import Template
from typing import Final, Literal, get_args

from exchange_calendars.errors import DateOutOfBounds

from infra.feeds.sessions import NS_PER_SECOND, midnight_ns, session_of_day
from jobs.reconcile import OWN_VENUE
from schemas import model
from schemas.catalogue import TOPICS, Topic
from schemas.messages.enums import ORDER_STATUS_NAMES
from schemas.messages.reference_data import Session
from udfs.domain.lifecycle import TRANSITIONS
from udfs.operators.arrow_blocks import MIXED_UNITS, plan_of, table_of
from udfs.operators.tombstones import TABLE as TOMBSTONES
from udfs.operators.tombstones import deletes_keys

FOLDER: Final = Path(__file__).resolve().parent.parent / "sql" / "clickhouse" / "quality"
CLOSING_S: Final = 600
"""Seconds after the close in which the closing auction is held: it waits for the first input behind the close."""
REGRESS_S: Final = 60
"""Seconds that a tick may be older than the one before it of its feed (udfs.domain.normalise)."""
LATE_SESSION_HOURS: Final = 20
"""The exchanges' late sessions end at 20:00 New York."""

Kind = Literal[
    "columns", "keys", "references", "prices", "quantities", "times", "session", "statuses", "counts", "pairs", "money",
    "freshness",
]  # fmt: skip
KINDS: Final[tuple[str, ...]] = get_args(Kind)
Test = Literal["columns", "unique", "in_set", "positive", "not_negative", "not_empty", "no_rows"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that must hold of a table; `text` says it in words.

    test: how it is tried, on `column`, and for `in_set` and `columns` with `values`; `no_rows`: `sql` selects nothing, where
    ``{batch}`` stands for the rows of the table that are looked at.
    """

    kind: str
    text: str
    test: Test
    column: str = ""
    values: tuple[str, ...] = ()
    sql: str = ""


class RuleError(ValueError):
    """A file of rules that cannot be used; the message says where and why."""


@dataclass(frozen=True, slots=True)
class KafkaPartition:
    """What a partition has committed, of the offsets that the table should hold: how many records, their offsets' sum.

    newest_ms: Kafka's timestamp of the last of them. committed_end: the offset behind the last committed record of all.
    """

    partition: int
    first: int
    end: int
    records: int
    offset_sum: int
    newest_ms: int
    committed_end: int


# These are not unique by themselves, and why.
_REPEATED_IDS: Final = {
    "dead-letter": "a record that two stages cannot use has a letter of each; the table's own rule says what is unique"
}
# Echoes of what a client sent are judged by the table's own rules, which leave rejected orders out.
_ECHOED: Final = {"order-events": frozenset({"price", "stopPrice", "quantity"})}


def rules_of(topic: str, days: Sequence[date] = ()) -> list[Rule]:
    """Every rule of a topic's table except those that need Kafka. days: the days of the rows, for the sessions.

    Raises RuleError for a file that cannot be read as rules.
    """
    table = table_of(topic)
    file = FOLDER / f"{table}.sql"
    written = read_rules(file.read_text(encoding="utf-8"), file.name, values(days)) if file.is_file() else []
    return [*derived(TOPICS[topic]), *written]


def derived(topic: Topic) -> Iterator[Rule]:
    """The rules that a topic's contract implies."""
    plan = plan_of(topic.name)
    yield Rule("columns", "its columns are those of the schema", "columns", values=tuple(plan.clickhouse_types()))
    yield Rule(
        "keys",
        "a record of Kafka is one row",
        "no_rows",
        sql="SELECT _topic, _partition, _offset, count() AS repeats FROM {batch} "
        "GROUP BY _topic, _partition, _offset HAVING repeats > 1",
    )
    known = ", ".join(f"'{name}'" for name in (TOPICS if topic.name == "dead-letter" else (topic.name,)))
    yield Rule(
        "keys",
        "a row is of a topic that the table is for",
        "no_rows",
        sql=f"SELECT _topic, _partition, _offset FROM {{batch}} WHERE _topic NOT IN ({known})",
    )
    if deletes_keys(topic.name):
        gone = f"SELECT _partition, _offset FROM {TOMBSTONES} WHERE _topic = '{topic.name}'"
        yield Rule(
            "keys",
            "a tombstone is one row of tombstones, and its position in no other table",
            "no_rows",
            sql=f"SELECT _partition, _offset, count() AS places FROM ({gone} UNION ALL "
            f"SELECT _partition, _offset FROM {{batch}} WHERE (_partition, _offset) IN ({gone}) UNION ALL "
            f"SELECT _partition, _offset FROM dead_letters WHERE _topic = '{topic.name}' AND (_partition, _offset) IN ({gone})) "
            "GROUP BY _partition, _offset HAVING places > 1",
        )
    time = f"`{plan.event_time}`"
    yield Rule(
        "times",
        "the partition's day is that of the event, or of its arrival when the event's is absurd",
        "no_rows",
        sql=f"SELECT event_date, {time}, _kafka_time FROM {{batch}} "
        f"WHERE event_date NOT IN (toDate({time}), toDate(_kafka_time))",
    )
    if "outside" in topic.producers:
        return
    root = model.load(topic.schema_file).root
    for field in root.fields:
        yield from _of_field(topic, root.name, field)


def _of_field(topic: Topic, record: str, field: model.Field) -> Iterator[Rule]:
    name, doc = field.attribute, field.doc.lower()
    if name == "event_id" and not topic.at_least_once and topic.name not in _REPEATED_IDS:
        yield Rule("keys", "event_id is unique", "unique", name)
    if isinstance(field.type, model.EnumType):
        yield Rule(
            "statuses", f"{name} is one of its {len(field.type.symbols)} values", "in_set", name, field.type.symbols
        )
    elif field.type == "string" and name.endswith("_id") and not field.optional:
        yield Rule("keys", f"{name} is not empty", "not_empty", name)
    elif field.type == "long" and f"{record}.{field.name}" not in MIXED_UNITS:
        if field.name in _ECHOED.get(topic.name, ()) or "signed" in doc or "negative" in doc:
            return
        if name.endswith("price") and "0 when" not in doc:
            yield Rule("prices", f"{name} is positive", "positive", name)
        elif name.endswith(("_size", "quantity", "volume", "price")):
            yield Rule("quantities", f"{name} is not negative", "not_negative", name)


def read_rules(text: str, name: str, known: dict[str, str] | None = None) -> list[Rule]:
    """The rules of a file: each begins with ``-- rule: KIND: words`` and is one statement that selects what breaks it.

    known: what ``$name`` in a statement stands for. Raises RuleError.
    """
    head, *parts = text.split("-- rule:")
    if not all(line.startswith("--") or not line.strip() for line in head.splitlines()):
        raise RuleError(f"{name}: there is a statement before the first rule")
    rules = []
    for part in parts:
        first, _, sql = part.partition("\n")
        kind, colon, words = first.strip().partition(": ")
        if not colon or kind not in KINDS:
            raise RuleError(f"{name}: {first.strip()!r} does not begin with one of {', '.join(KINDS)} and a colon")
        if "{batch}" not in sql:
            raise RuleError(f"{name}: the rule {words!r} does not read {{batch}}")
        try:
            sql = Template(sql).substitute(known or {})
        except (KeyError, ValueError) as error:
            raise RuleError(f"{name}: the rule {words!r} has an unknown ${error}") from None
        rules.append(Rule(kind, words, "no_rows", sql=sql.strip().rstrip(";")))
    return rules


def values(days: Sequence[date]) -> dict[str, str]:
    """What ``$name`` stands for in the files of rules; the sessions of `days` as expressions over event_date."""
    sessions = [_session(day) for day in days]
    opens = [session.open_time if session else 0 for session in sessions]
    closes = [session.close_time if session else 0 for session in sessions]
    early = [(session.pre_open_time or session.open_time) if session else 0 for session in sessions]
    late = [midnight_ns(day) + LATE_SESSION_HOURS * 3_600 * NS_PER_SECOND if session else 0
            for day, session in zip(days, sessions, strict=True)]  # fmt: skip
    pairs = [
        f"('{ORDER_STATUS_NAMES[before]}', '{ORDER_STATUS_NAMES[after]}')"
        for before, successors in TRANSITIONS.items()
        for after in successors
    ]
    return {
        "open": _by_day(days, opens),
        "close": _by_day(days, closes),
        "early": _by_day(days, early),
        "late": _by_day(days, late),
        "closing": str(CLOSING_S * NS_PER_SECOND),
        "transitions": ", ".join(pairs),
        "regress": str(REGRESS_S),
        "own_venue": OWN_VENUE,
        "topics": ", ".join(f"'{topic}'" for topic in TOPICS),
    }


def _session(day: date) -> Session | None:
    """The session of a day; None for a day without one, and for one that the calendar does not know."""
    try:
        return session_of_day((day - date(1970, 1, 1)).days * 86_400 * NS_PER_SECOND)
    except DateOutOfBounds:
        return None


def _by_day(days: Sequence[date], moments: Sequence[int]) -> str:
    """An expression: the moment, in UTC ns, that belongs to event_date; 0 for a day without a session."""
    if not days:
        return "0"
    names = ", ".join(f"'{day}'" for day in days)
    return f"transform(toString(event_date), [{names}], [{', '.join(f'toInt64({moment})' for moment in moments)}], toInt64(0))"


def kafka_rules(
    topic: str, partitions: Sequence[KafkaPartition], lag_s: float, highest: Mapping[int, int]
) -> list[Rule]:
    """The rules that compare a table with what Kafka has committed; none of `partitions`: Kafka has no such topic.

    lag_s: how far the archive may be behind, in s. highest: the highest offset of each partition that the table had before Kafka
    was asked.
    """
    if not partitions:
        words = "it is empty, because Kafka has no such topic"
        return [Rule("counts", words, "no_rows", sql="SELECT count() AS rows FROM {batch} HAVING rows > 0")]
    compacted = "compact" in TOPICS[topic].cleanup
    known = ", ".join(
        f"({item.partition}, {item.first}, {item.end}, {item.records}, {item.offset_sum}, {item.newest_ms})"
        for item in partitions
    )
    names = [item.partition for item in partitions]
    first, end = (
        f"transform(toInt64(_partition), {names}, {[getattr(item, edge) for item in partitions]}, 0)"
        for edge in ("first", "end")
    )
    # What the archive could not decode is among the dead letters, under its own topic and position; a tombstone likewise.
    elsewhere = (TOMBSTONES,) if topic == "dead-letter" else ("dead_letters", TOMBSTONES)
    own = "".join(
        f" UNION ALL SELECT _partition, _offset, _kafka_time FROM {table} WHERE _topic = '{topic}'"
        for table in elsewhere
    )
    rows = f"(SELECT _partition, _offset, _kafka_time FROM {{batch}} WHERE _topic = '{topic}'{own})"
    kafka = (
        "(SELECT toInt64(row.1) AS part, toUInt64(row.4) AS records, toUInt64(row.5) AS offset_sum, "
        f"toInt64(row.6) AS newest_ms FROM (SELECT arrayJoin([{known}]) AS row))"
    )
    # Compaction takes records away that were archived before.
    wrong = "archived < records" if compacted else "archived != records OR archived_sum != offset_sum"
    counts = (
        f"SELECT part, records, archived, offset_sum, archived_sum FROM {kafka} AS kafka LEFT JOIN "
        f"(SELECT toInt64(_partition) AS archive_part, count() AS archived, sum(_offset) AS archived_sum FROM {rows} "
        f"WHERE _offset >= {first} AND _offset < {end} GROUP BY archive_part) AS archive ON archive_part = part WHERE {wrong}"
    )
    behind = " AND ".join(
        f"_offset {sign} transform(toUInt64(_partition), {list(places)}, {list(places.values())}, toUInt64(0))"
        for sign, places in ((">=", {item.partition: item.committed_end for item in partitions}), ("<=", highest))
    )
    fresh = (
        f"SELECT newest, archived, newest - archived AS behind_ms FROM (SELECT max(newest_ms) AS newest FROM {kafka}) AS kafka, "
        f"(SELECT max(toUnixTimestamp64Milli(_kafka_time)) AS archived FROM {rows}) AS archive "
        f"WHERE newest > 0 AND behind_ms > {int(lag_s * 1000)}"
    )
    return [
        Rule(
            "counts",
            "its rows are the records that Kafka has committed, by partition and offset",
            "no_rows",
            sql=counts,
        ),
        Rule(
            "counts",
            "no row is behind the end of its partition, or of a partition that Kafka has not",
            "no_rows",
            sql=f"SELECT _topic, _partition, _offset FROM {{batch}} WHERE _topic = '{topic}' AND {behind}",
        ),
        Rule("freshness", f"it is not more than {lag_s:g} s behind its topic", "no_rows", sql=fresh),
    ]
