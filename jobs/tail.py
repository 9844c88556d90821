"""Read a topic and decode it for a person or a program: `tradestream tail`.

The client is confluent-kafka, because topics are compressed with snappy, lz4 and zstd and it brings all three.
Nothing is committed and no consumer group is joined: looking at a topic changes nothing.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from jobs.config import Config
from schemas.catalogue import TOPICS, Topic
from schemas.errors import DecodeError
from schemas.json_form import to_json
from schemas.model import ArrayType, Field, RecordType, Type, load
from schemas.registry import Registry
from schemas.resolution import Resolver
from schemas.wire import schema_id_of
from udfs.domain.alert_rules import number_text

NEW_YORK: Final = ZoneInfo("America/New_York")
_CONNECT_S: Final = 6.0
_BATCH: Final = 500

View = Literal["read_committed", "read_uncommitted"]


class TailError(RuntimeError):
    """The topic cannot be read as asked; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where to begin: `kind` is beginning, end, back (`value` records before the end of each partition), time (`value` ms
    since the epoch) or offset (`value` within `partition` only)."""

    kind: Literal["beginning", "end", "back", "time", "offset"]
    value: int = 0
    partition: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """One record. `value` is the decoded message, or None with `problem` saying why it cannot be decoded."""

    topic: str
    partition: int
    offset: int
    kafka_ms: int
    key: bytes | None
    raw: bytes | None
    value: dict[str, Any] | None
    problem: str = ""


def parse_start(text: str, now: datetime | None = None) -> Start:
    """A ``--from`` value. Raises ValueError with the forms that are understood."""
    if text in ("beginning", "end"):
        return Start("beginning" if text == "beginning" else "end")
    if match := re.fullmatch(r"-(\d+)", text):
        return Start("back", int(match.group(1)))
    if match := re.fullmatch(r"(\d+):(\d+)", text):
        return Start("offset", int(match.group(2)), int(match.group(1)))
    if match := re.fullmatch(r"(\d+)(s|m|h|d)", text):
        unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[match.group(2)]
        then = (now or datetime.now(UTC)) - timedelta(**{unit: int(match.group(1))})
        return Start("time", int(then.timestamp() * 1_000))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is not beginning, end, -N (records before the end), 15m (ago; s, m, h, d), "
            "2013-10-07T09:30:00 (New York, or with an offset), or partition:offset"
        ) from None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=NEW_YORK)
    return Start("time", int(aware.timestamp() * 1_000))


# ----------------------------------------------------------------------------------------------------------- decoding


class Decoder:
    """Turns frames of one topic into dictionaries, whatever version of the schema wrote them."""

    def __init__(self, topic: Topic, registry: Registry | None) -> None:
        self._topic = topic
        self._module = importlib.import_module(topic.module)
        self._direct: set[int] = set()
        self._resolver: Resolver | None = None
        self._trusting = registry is None
        if registry is not None:
            current = registry.find(topic.subject, topic.schema_file.read_text(encoding="utf-8"))
            # Without a registration of our schema every frame is another version's.
            self._direct = {current.schema_id} if current else set()
            self._resolver = Resolver(topic.name, current.schema_id if current else 0, registry.schema)

    def decode(self, frame: bytes) -> dict[str, Any]:
        """The message of a frame. Raises DecodeError for bad bytes, RegistryError when the registry must answer and does not."""
        if self._resolver is not None and schema_id_of(frame) not in self._direct:
            frame = self._resolver.resolve(frame)
        value: dict[str, Any] = self._module.to_dict(self._module.decode(frame))
        return value


# ------------------------------------------------------------------------------------------------------------ reading


def open_consumer(config: Config, view: View) -> Consumer:
    """A consumer that joins no group and commits nothing."""
    return Consumer(
        {
            **config.kafka.confluent(),
            "group.id": "tradestream-tail",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": view,
            "auto.offset.reset": "earliest",
            "allow.auto.create.topics": False,
            "fetch.message.max.bytes": max(topic.max_message_bytes for topic in TOPICS.values()),
            "fetch.wait.max.ms": 50,
            # Its own log would go to stderr, between our lines; errors that matter come as exceptions.
            "log_level": 0,
        }
    )


def read(consumer: Consumer, topic: Topic, start: Start, decoder: Decoder, *, follow: bool) -> Iterator[Record | None]:
    """The records from `start` on, for ever or until the present end. None marks a pause, for flushing what was printed.

    Raises TailError and KafkaException.
    """
    partitions = _partitions(consumer, topic)
    assignment = _positions(consumer, topic, start, partitions)
    consumer.assign(assignment)
    open_ends = {part.partition for part in assignment}
    while open_ends or follow:
        messages = consumer.consume(_BATCH, timeout=0.1)
        for message in messages:
            error = message.error()
            if error is None:
                yield _record(message, decoder)
            elif error.code() == KafkaError._PARTITION_EOF:
                open_ends.discard(message.partition() or 0)
            else:
                raise KafkaException(error)
        if len(messages) < _BATCH:
            yield None


def _partitions(consumer: Consumer, topic: Topic) -> list[int]:
    metadata = consumer.list_topics(topic.name, timeout=_CONNECT_S).topics[topic.name]
    if metadata.error is not None or not metadata.partitions:
        raise TailError(f"{topic.name} is not on this cluster: `tradestream topics create {topic.name}` makes it")
    return sorted(metadata.partitions)


def _positions(consumer: Consumer, topic: Topic, start: Start, partitions: Sequence[int]) -> list[TopicPartition]:
    if start.kind == "offset":
        if start.partition not in partitions:
            raise TailError(f"{topic.name} has no partition {start.partition}, only 0 to {partitions[-1]}")
        return [TopicPartition(topic.name, start.partition, start.value)]
    if start.kind == "time":
        asked = [TopicPartition(topic.name, number, start.value) for number in partitions]
        # A partition without records after that time answers with its end.
        return list(consumer.offsets_for_times(asked, timeout=_CONNECT_S))
    if start.kind == "back":
        found = []
        for number in partitions:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic.name, number), timeout=_CONNECT_S)
            found.append(TopicPartition(topic.name, number, max(low, high - start.value)))
        return found
    offset = OFFSET_BEGINNING if start.kind == "beginning" else OFFSET_END
    return [TopicPartition(topic.name, number, offset) for number in partitions]


def _record(message: Message, decoder: Decoder) -> Record:
    raw, key = message.value(), message.key()
    place = (message.topic() or "", message.partition() or 0, message.offset() or 0, message.timestamp()[1])
    key = key.encode() if isinstance(key, str) else key
    if raw is None:
        return Record(*place, key, None, None, "no value: the key is deleted (tombstone)")
    raw = raw.encode() if isinstance(raw, str) else raw
    try:
        return Record(*place, key, raw, decoder.decode(raw))
    except DecodeError as error:
        return Record(*place, key, raw, None, f"{error.reason}: {error}")


# ---------------------------------------------------------------------------------------------------------- filtering


@dataclass(frozen=True, slots=True)
class Condition:
    """`field=value` or `field!=value`; dots reach into records."""

    path: tuple[str, ...]
    value: str
    equal: bool

    def holds(self, kind: RecordType, value: Mapping[str, Any]) -> bool:
        """Whether the message fits, its field compared as it is on the wire and as it is shown."""
        found: Any = value
        node: Type = kind
        item: Field | None = None
        for name in self.path:
            if not isinstance(found, Mapping) or not isinstance(node, RecordType):
                return not self.equal
            item = next(each for each in node.fields if each.name == name)
            found, node = found.get(name), item.type
        shown = {"null" if found is None else str(found)}
        if item is not None and found is not None:
            shown.add(format_field(item, found, utc=False))
        return (self.value in shown) == self.equal


def parse_condition(text: str, topic: Topic) -> Condition:
    """A ``--where`` value. Raises ValueError for an unknown field or another form."""
    match = re.fullmatch(r"([A-Za-z][\w.]*)(!?=)(.*)", text)
    if match is None:
        raise ValueError(f"{text!r} is not field=value or field!=value")
    path = tuple(match.group(1).split("."))
    node: Type = record_type(topic)
    for name in path:
        fields = {item.name: item for item in node.fields} if isinstance(node, RecordType) else {}
        if name not in fields:
            raise ValueError(f"{topic.name} has no field {match.group(1)}; it has {', '.join(fields) or 'none there'}")
        node = fields[name].type
    return Condition(path, match.group(3), match.group(2) == "=")


@cache
def _record_type(name: str) -> RecordType:
    return load(TOPICS[name].schema_file).root


def record_type(topic: Topic) -> RecordType:
    """The schema of a topic's record."""
    return _record_type(topic.name)


# --------------------------------------------------------------------------------------------------------- formatting


def format_time(time_ns: int, *, utc: bool) -> str:
    """ISO 8601 in New York or UTC: milliseconds, or all nine digits when there are more."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    try:
        moment = datetime.fromtimestamp(seconds, UTC if utc else NEW_YORK)
    except (OverflowError, ValueError, OSError):
        return str(time_ns)
    fraction = f"{rest // 1_000_000:03d}" if rest % 1_000_000 == 0 else f"{rest:09d}"
    zone = "Z" if utc else moment.isoformat()[-6:]
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction}{zone}"


def format_field(item: Field, value: Any, *, utc: bool) -> str:
    """A value for a person; the unit is what the schema's doc says."""
    return _format(item.type, item.doc, value, utc)


def _format(kind: Type, doc: str, value: Any, utc: bool) -> str:
    if value is None:
        return "null"
    # A number whose unit another field tells is shown as it is on the wire.
    if kind == "long" and "1/10,000" in doc and "or shares" not in doc and "explain" not in doc:
        return f"{Decimal(value).scaleb(-4).quantize(Decimal('0.0001')):f}".removesuffix("00")
    if kind == "long" and "nanoseconds since" in doc:
        return format_time(value, utc=utc)
    if kind == "long" and "milliseconds since" in doc:
        return format_time(value * 1_000_000, utc=utc)
    if isinstance(value, bytes):
        return format_bytes(value)
    if isinstance(kind, RecordType):
        return "{" + format_record(kind, value, utc=utc) + "}"
    if isinstance(kind, ArrayType):
        return "[" + ", ".join(_format(kind.items, doc, each, utc) for each in value) + "]"
    text = str(value)
    plain = re.fullmatch(r"[^\s\"{}\[\]=,]+", text) or not isinstance(value, str)
    return text if plain else '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def format_record(kind: RecordType, value: Mapping[str, Any], *, utc: bool) -> str:
    """`field=value` pairs; fields without a value are left out."""
    pairs = ((item, value.get(item.name)) for item in kind.fields)
    return " ".join(f"{item.name}={format_field(item, found, utc=utc)}" for item, found in pairs if found is not None)


_IN_PERCENT: Final = ("CHANGE_", "MOVE_", "SPREAD_")
"""How conditions begin whose numbers are percent."""


def format_alert(value: Mapping[str, Any]) -> str:
    """An alert as a sentence: for whom, what happened, the value before, its rule, and the event that caused it.

    Empty for an alert without words, of an early release: it is to be shown as any other record.
    """
    if not value.get("detail"):
        return ""
    unit = "%" if value["condition"].startswith(_IN_PERCENT) else ""
    before = "" if value.get("previousE4") is None else f" (before: {number_text(value['previousE4'])}{unit})"
    place = f"{value['causeTopic']} {value['causePartition']}:{value['causeOffset']}"
    return (
        f"{value['owner']}  {value['severity'].lower()}  {value['detail']}{before}; "
        f"rule {value['ruleId']} v{value['ruleVersion']}, cause {value['causeId']} at {place}"
    )


def format_bytes(data: bytes) -> str:
    """Printable ASCII as quoted text, anything else as hex."""
    if data and all(32 <= byte < 127 for byte in data):
        return '"' + data.decode("ascii").replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"0x{data.hex()}"


def key_text(key: bytes | None) -> str:
    """A record's key for a person."""
    if key is None:
        return "-"
    try:
        return key.decode("utf-8")
    except UnicodeDecodeError:
        return format_bytes(key)


def to_object(record: Record) -> dict[str, Any]:
    """The record as one JSON object, `value` in the form of the example payloads."""
    found: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.kafka_ms,
        "key": None if record.key is None else key_text(record.key),
    }
    if record.value is not None:
        return found | {"value": to_json(record.value)}
    return found | {"value": None, "problem": record.problem, "hex": None if record.raw is None else record.raw.hex()}
