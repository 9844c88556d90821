"""`tradestream reconcile`: the committed records of Kafka against the rows of ClickHouse, one by one."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from jobs.cli_common import EXIT_FAILED, CliError, json_option, load_config, print_table, status
from jobs.config import Config

if TYPE_CHECKING:
    # The command line is not to wait for numpy and Arrow when it only says what it can do.
    from jobs.reconcile_archive import Tally
    from udfs.operators.decode_records import Batch

_BATCH: Final = 2_000
TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.1
_MOMENTS: Final = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f"]
LISTED: Final = 20
"""Differences of a topic that are listed; all are counted."""


@click.command()
@click.argument("names", nargs=-1, metavar="[TOPIC]...")
@click.option(
    "--from", "since", type=click.DateTime(_MOMENTS), help="Records from this time on, by Kafka's timestamp, UTC."
)
@click.option(
    "--to", "until", type=click.DateTime(_MOMENTS), help="Records before this time, UTC; all that are committed."
)
@json_option
@click.pass_context
def reconcile(
    ctx: click.Context, names: Sequence[str], since: datetime | None, until: datetime | None, as_json: bool
) -> None:
    """Compare ClickHouse with what Kafka has committed, record by record and column by column.

    Every archived topic, or those named. A record without its row is missing (or not archived yet, when the archive job is
    behind); a row without a record, a second one, or one that names no place of its topic is extra; a row whose columns are not
    those of the record is different. What Kafka has deleted cannot be compared. Memory is a few thousand rows, whatever there is
    to compare. With --json `waiting` says how many of the missing ones the archive job has not read yet. Exit code 1 when
    anything differs.

    \b
    Example:
      tradestream reconcile order-events trade-events --from 2026-11-20
    """
    from jobs.reconcile_archive import Tally
    from schemas.catalogue import ARCHIVED

    wrong = sorted(set(names) - set(ARCHIVED))
    if wrong:
        raise CliError(f"{', '.join(wrong)} is not archived; these are: {', '.join(ARCHIVED)}")
    config = load_config(ctx)
    total = Tally()
    waiting = 0
    rows: list[dict[str, object]] = []
    listed: list[dict[str, Any]] = []
    for topic in names or ARCHIVED:
        status(f"comparing {topic}")
        tally = Tally()
        places: dict[int, int] | None = None
        for number, found in enumerate(compare_topic(config, topic, tally, since, until)):
            if found["problem"] == "missing":
                places = archive_places(config, topic) if places is None else places
                waiting += found["offset"] >= places.get(found["partition"], 0)
            if number < LISTED:
                listed.append(found)
        rows.append({"topic": topic, **dataclasses.asdict(tally)})
        for field in dataclasses.fields(Tally):
            setattr(total, field.name, getattr(total, field.name) + getattr(tally, field.name))
    differing = total.missing + total.extra + total.different
    if as_json:
        summary = {**dataclasses.asdict(total), "waiting": waiting}
        click.echo(json.dumps({**summary, "topics": rows, "differences": listed}, default=str))
    else:
        headings = dict.fromkeys(("topic", "compared", "missing", "extra", "different"), "right") | {"topic": "left"}
        print_table(headings, [[str(row[name]) for name in headings] for row in rows])
        for found in listed:
            names = " ".join(f"{name}={value}" for name, value in found.items() if name != "columns")
            click.echo("; ".join([names, *found["columns"]]))
        if differing > len(listed):
            click.echo(f"... and {differing - len(listed)} more")
        if waiting:
            click.echo(f"{waiting} of the missing ones the archive job has not read yet: it is behind, or not running")
        click.echo("nothing differs" if not differing else f"{differing} records differ")
    if differing:
        ctx.exit(EXIT_FAILED)


def archive_places(config: Config, topic: str) -> dict[int, int]:
    """Up to which offset of each partition the archive job has read, as of its last checkpoint. Raises KafkaException."""
    from jobs.archive import GROUP
    from jobs.demo_watch import Probe

    return Probe(config, {}).places(GROUP, topic)


def compare_topic(
    config: Config, topic: str, tally: Tally, since: datetime | None = None, until: datetime | None = None
) -> Iterator[dict[str, Any]]:
    """The differences of one topic, as they are found; `tally` counts on. Bounded memory.

    Raises CliError when Kafka does not answer, ClickHouseError, RegistryError.
    """
    from confluent_kafka import Consumer, TopicPartition

    from jobs.cli_schemas import open_registry
    from jobs.migrate import endpoint
    from jobs.reconcile_archive import (
        Row,
        highest_offsets,
        is_letter_of_old,
        merge,
        plain_rows,
        stored_rows,
        strays,
    )
    from jobs.runtime import schema_ids
    from schemas.catalogue import ARCHIVED, TOPICS
    from schemas.resolution import Resolver
    from udfs.operators.arrow_blocks import Layout, block, plan_of
    from udfs.operators.decode_records import Decoder
    from udfs.operators.tombstones import layout_of

    client, entry, plan = endpoint(config).connect(), TOPICS[topic], plan_of(topic)
    # What cannot be decoded is archived among the dead letters, under its own topic and position; a tombstone likewise.
    letters_plan = dataclasses.replace(plan_of("dead-letter"), topic=topic)
    deletions = layout_of(topic)
    layouts: tuple[Layout, ...] = (plan, letters_plan, deletions)
    highest = highest_offsets(client, layouts)
    schema_id = schema_ids(config, (topic,))[topic]
    resolve = Resolver(topic, schema_id, open_registry(config).schema).resolve
    counts = [0, 0, 0]

    def rows_of(partition: int, start: int, end: int, kind: int) -> Iterator[Row]:
        # However many are refused, all are to be compared.
        decoder = Decoder(plan, schema_id, resolve, most_refused=1.0)
        for batch in records(consumer, entry.name, partition, start, end):
            decoded = decoder.decode(batch)
            parts = (
                (decoded.messages, decoded.positions),
                (decoded.letters, decoded.letter_positions),
                (decoded.tombstones, decoded.tombstone_positions),
            )
            for number, (items, _) in enumerate(parts):
                counts[number] += len(items)
            items, positions = parts[kind]
            yield from sorted(plain_rows(block(layouts[kind], items, positions)), key=lambda row: int(row["_offset"]))

    # One consumer for all partitions, one after another: each new one costs more than a small partition's records.
    with contextlib.closing(Consumer(consumer_settings(config, "reconcile"))) as consumer:
        partitions = partitions_of(consumer, entry.name)
        for partition in partitions:
            place = TopicPartition(entry.name, partition)
            low, high = consumer.get_watermark_offsets(place, timeout=TIMEOUT_S)
            end = committed_end(consumer, entry.name, partition) if low < high else low
            start = max(low, offset_at(consumer, entry.name, partition, since, low))
            end = min(end, offset_at(consumer, entry.name, partition, until, end))
            if start >= end:
                continue
            counts[:] = 0, 0, 0
            for kind, layout in enumerate(layouts):
                if layout is letters_plan and topic == "dead-letter":
                    continue
                # The first reading has counted what is refused or deleted: without any, Kafka has none to show.
                kafka = rows_of(partition, start, end, kind) if layout is plan or counts[kind] else iter(())
                seen = _Seen(kafka)
                for finding in merge(seen, stored_rows(client, layout, partition, start, end), tally):
                    if finding.problem == "extra" and "compact" in entry.cleanup and finding.offset != seen.last:
                        # Kafka may have compacted the record away; a second row of one that it has is extra all the same.
                        tally.extra -= 1
                        continue
                    if (
                        layout is deletions
                        and finding.problem == "missing"
                        and is_letter_of_old(client, topic, partition, finding.offset)
                    ):
                        tally.missing -= 1
                        continue
                    yield {
                        "topic": topic,
                        "partition": partition,
                        "offset": finding.offset,
                        "problem": finding.problem,
                        **finding.names,
                        "columns": [
                            f"{name}: {ours!r} in Kafka, {theirs!r} in ClickHouse"
                            for name, ours, theirs in finding.columns
                        ],
                    }
        ends = {partition: committed_end(consumer, entry.name, partition) for partition in partitions}
    for layout in layouts:
        # Letters and tombstones of all topics share a table: who has no place there is told with the dead letters.
        owners: Sequence[str] = (topic,) if layout is plan else ()
        if topic == "dead-letter":
            if layout is letters_plan:
                continue
            owners = ARCHIVED
        found = strays(client, layout, ends, highest, since, until, owners)
        tally.extra += found.rows
        for claimed, at, offset in found.first:
            if claimed != topic:
                why = f"_topic: {claimed!r} in {layout.table}"
            elif at in ends:
                why = f"the partition ends at offset {ends[at]} in Kafka"
            else:
                why = "Kafka has no such partition" if ends else f"Kafka has no topic {entry.name}"
            yield {"topic": topic, "partition": at, "offset": offset, "problem": "extra", "columns": [why]}


class _Seen:
    """An iterator that knows the offset before the one it gave last: merge() looks one record ahead."""

    def __init__(self, rows: Iterator[dict[str, Any]]) -> None:
        self._rows = rows
        self.last = self._next = -1

    def __iter__(self) -> _Seen:
        return self

    def __next__(self) -> dict[str, Any]:
        self.last = self._next
        row = next(self._rows)
        self._next = int(row["_offset"])
        return row


def consumer_settings(config: Config, name: str) -> dict[str, Any]:
    """Settings of a consumer that reads committed records to the end of a partition and remembers no place."""
    return config.kafka.confluent() | {
        "group.id": f"tradestream-{name}",
        "isolation.level": "read_committed",
        "enable.auto.commit": "false",
        "enable.partition.eof": "true",
        "auto.offset.reset": "earliest",
        # The end of each partition is asked for; a broker that has nothing more waits half a second before it says so.
        "fetch.wait.max.ms": 10,
    }


def records(consumer: Any, topic: str, partition: int, start: int, end: int) -> Iterator[Batch]:
    """Committed records of [start, end) of a partition, in batches. Assigns the consumer."""
    from udfs.operators.arrow_blocks import Positions
    from udfs.operators.decode_records import Batch

    for found in messages(consumer, topic, partition, start, end):
        payloads = [message.value() for message in found]
        offsets, times = [message.offset() for message in found], [message.timestamp()[1] for message in found]
        null_keys = [message.key() for message in found if message.value() is None]
        yield Batch(payloads, Positions.of([partition] * len(offsets), offsets, times), null_keys)


def messages(consumer: Any, topic: str, partition: int, start: int, end: int) -> Iterator[list[Any]]:
    """The same as confluent_kafka gives them. Raises CliError when Kafka sends nothing or an error."""
    from confluent_kafka import KafkaError, TopicPartition

    if start >= end:
        return
    consumer.assign([TopicPartition(topic, partition, start)])
    done, heard = False, time.monotonic()
    while not done:
        # It waits for a whole batch, and the end of a partition is less than one.
        found = consumer.consume(_BATCH, _POLL_S)
        if found:
            heard = time.monotonic()
        elif time.monotonic() - heard > TIMEOUT_S:
            raise CliError(f"Kafka sent nothing of {topic}/{partition} for {TIMEOUT_S:.0f} s: is the broker up?")
        wanted = []
        for message in found:
            error = message.error()
            if error is not None:
                if error.code() != KafkaError._PARTITION_EOF:
                    raise CliError(f"{topic}/{partition}: {error.str()}")
                done = done or message.offset() >= end
            elif message.offset() >= end:
                done = True
            else:
                wanted.append(message)
        if wanted:
            yield wanted


def partitions_of(consumer: Any, topic: str) -> list[int]:
    """The partitions that Kafka has of a topic; none when it has no such topic. Raises CliError."""
    from confluent_kafka import KafkaError

    found = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
    if found.error is not None and found.error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
        raise CliError(f"{topic}: {found.error.str()}")
    return sorted(found.partitions)


def committed_end(consumer: Any, topic: str, partition: int) -> int:
    """The offset behind the last record that a committed reader may see. Assigns the consumer."""
    from confluent_kafka import OFFSET_END, KafkaError, TopicPartition

    consumer.assign([TopicPartition(topic, partition, OFFSET_END)])
    message = consumer.poll(TIMEOUT_S)
    if message is None:
        raise CliError(f"Kafka said nothing of {topic}/{partition} for {TIMEOUT_S:.0f} s: is the broker up?")
    error = message.error()
    if error is None or error.code() == KafkaError._PARTITION_EOF:
        return int(message.offset())
    raise CliError(f"{topic}/{partition}: {error.str()}")


def offset_at(consumer: Any, topic: str, partition: int, moment: datetime | None, otherwise: int) -> int:
    """The offset of the first record at or after a time; `otherwise` without one."""
    from confluent_kafka import TopicPartition

    if moment is None:
        return otherwise
    milliseconds = int(moment.replace(tzinfo=UTC).timestamp() * 1_000)
    (found,) = consumer.offsets_for_times([TopicPartition(topic, partition, milliseconds)], timeout=TIMEOUT_S)
    # Kafka answers -1 when all records are older.
    return int(found.offset) if found.offset >= 0 else 2**62
