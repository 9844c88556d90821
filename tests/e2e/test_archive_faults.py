"""The archive job on the real stack: transactions, aborted ones among them, and a TaskManager killed in the middle."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

import confluent_kafka
import fastavro
import pytest
from conftest import RunningStack

from jobs import migrate, topics
from jobs.cli_schemas import open_registry, register_all
from jobs.config import Config, project_root
from jobs.flink_rest import FlinkRest
from jobs.runtime import schema_ids
from jobs.submit import submit_job
from schemas.catalogue import ARCHIVED, TOPICS
from udfs.operators.arrow_blocks import table_of
from udfs.operators.tombstones import TABLE as TOMBSTONES

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "integration"))
from archive_gateway import example, frame

TRANSACTIONS = 12
RECORDS = 40
"""Records of each topic in one transaction."""
ABORTED = 4
"""Every fourth transaction is aborted."""
PRODUCED = tuple(
    topic
    for topic in ARCHIVED
    if (topic == "orders" or "outside" not in TOPICS[topic].producers)
    and not TOPICS[topic].internal
    and not topic.startswith("audit-")
)
"""Topics that the test writes: none that steers the jobs of other tests (controls, reference data, rules, feeds), and no
links of a chain that another test verifies. All are archived."""
LATER = "report-events"
"""A topic that is made while the job runs."""
DELETED = "prices"
"""A compacted topic that no job of other tests reads: in it a record without a value deletes a key."""
JUNK = 3
"""Undecodable records in one transaction, all in `orders`, which outsiders write."""


def payloads(ids: Mapping[str, int]) -> dict[str, bytes]:
    """A valid record of each topic with its registered schema id."""
    return {topic: b"\0" + ids[topic].to_bytes(4, "big") + frame(topic)[5:] for topic in PRODUCED}


def newer(topic: str) -> tuple[str, bytes]:
    """The schema of a topic with an optional field that this release does not know, and a record of it without a frame."""
    schema = json.loads(TOPICS[topic].schema_file.read_text(encoding="utf-8"))
    field = {"name": "addedLater", "type": ["null", "string"], "doc": "Of a later release.", "default": None}
    schema["fields"].append(field)
    out = io.BytesIO()
    fastavro.schemaless_writer(
        out, fastavro.parse_schema(schema), example(topic, "every_field") | {"addedLater": "new"}
    )
    return json.dumps(schema), out.getvalue()


def produce(config: Config, records: Mapping[str, bytes], part: int) -> None:
    """Write transactions to all of these topics."""
    producer = confluent_kafka.Producer(
        {**config.kafka.confluent(), "transactional.id": f"archive-test-{part}", "linger.ms": 20}
    )
    producer.init_transactions(60)
    for number in range(TRANSACTIONS):
        producer.begin_transaction()
        for topic, record in records.items():
            for index in range(RECORDS):
                # Each record has a key of its own: a compacted topic refuses none, and compacts those that repeat.
                key = f"{part}-{number}-{index}"
                producer.produce(topic, record, key, partition=index % TOPICS[topic].partitions_local)
        for index in range(JUNK):
            producer.produce("orders", b"\x01 not a frame", partition=1)
            producer.produce(DELETED, None, f"gone-{part}-{number}-{index}", partition=0)
        if number % ABORTED == 1:
            producer.flush(60)
            producer.abort_transaction(60)
        else:
            producer.commit_transaction(60)
        time.sleep(0.1)


def committed(config: Config, names: Sequence[str] = ARCHIVED) -> dict[tuple[str, int], set[int]]:
    """The offsets of the committed records by topic and partition, as a read_committed consumer sees them."""
    consumer = confluent_kafka.Consumer(
        {
            **config.kafka.confluent(),
            "group.id": "archive-test",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    parts = [(topic, part) for topic in names for part in range(TOPICS[topic].partitions_local)]
    consumer.assign([confluent_kafka.TopicPartition(topic, part, 0) for topic, part in parts])
    found: dict[tuple[str, int], set[int]] = {part: set() for part in parts}
    ends: set[tuple[str, int]] = set()
    with contextlib.closing(consumer):
        while len(ends) < len(parts):
            message = consumer.poll(30)
            assert message is not None, "Kafka sent nothing for 30 s"
            where = (message.topic(), message.partition())
            if message.error() is None:
                found[where].add(message.offset())
            else:
                assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF, message.error()
                ends.add(where)
    return found


def archived(config: Config) -> dict[tuple[str, int], list[int]]:
    """The offsets in ClickHouse, repeated ones repeated, without FINAL; whatever table has a record, it counts for its topic."""
    client = migrate.endpoint(config).connect()
    found: dict[tuple[str, int], list[int]] = {}
    for table in {TOMBSTONES, *map(table_of, ARCHIVED)}:
        rows = client.query(f"SELECT _topic, _partition, groupArray(_offset) FROM {table} GROUP BY 1, 2").result_rows
        for topic, part, offsets in rows:
            found.setdefault((topic, part), []).extend(offsets)
    return found


def taskmanager_of(config: Config, job_id: str) -> str:
    """The component name of the TaskManager that runs the writer."""
    vertices = FlinkRest(config.flink.rest_url).job(job_id)[1]
    writer = next(vertex for vertex in vertices if "write_clickhouse" in vertex.name)
    url = f"{config.flink.rest_url}/jobs/{job_id}/vertices/{writer.id}/taskmanagers"
    with urllib.request.urlopen(url, timeout=10) as response:
        (entry,) = json.load(response)["taskmanagers"]
    return str(entry["taskmanager-id"]).rpartition("-")[0]


@pytest.mark.timeout(600)
def test_archive_killed_in_the_middle_equals_committed_kafka(stack: RunningStack) -> None:
    config, processes = stack
    there = [topic for topic in ARCHIVED if topic != LATER]
    with topics.admin(config) as admin:
        topics.delete(admin, list(topics.existing(admin, [TOPICS[LATER]])))
        topics.create(admin, config, [TOPICS[topic] for topic in there])
    known = open_registry(config)
    register_all(known)
    migrate.apply(config, print)
    records = payloads(schema_ids(config, PRODUCED))
    # The stack is shared: another test's dead letters are archived like any other record.
    before = sum(map(len, committed(config, there).values()))
    assert example("orders", "every_field")["orderId"]

    job_id = submit_job(config, "archive", timeout_s=240, progress=print)
    rest = FlinkRest(config.flink.rest_url)
    try:
        produce(config, {topic: record for topic, record in records.items() if topic != LATER}, part=1)
        deadline = time.monotonic() + 120
        while not any(topic == "orders" for topic, _ in archived(config)):
            assert time.monotonic() < deadline, rest.failure(job_id) or "nothing was archived in 120 s"
            time.sleep(0.5)
        processes.kill_component(taskmanager_of(config, job_id))
        # From now on a producer of the next release writes a field that this job has never seen.
        schema, body = newer("settlement-events")
        later = known.register(TOPICS["settlement-events"].subject, schema)
        records["settlement-events"] = b"\0" + int(later).to_bytes(4, "big") + body
        with topics.admin(config) as admin:
            topics.create(admin, config, [TOPICS[LATER]])
        produce(config, records, part=2)

        wanted = committed(config)
        total = sum(map(len, wanted.values()))
        one = (TRANSACTIONS - TRANSACTIONS // ABORTED) * (RECORDS * len(PRODUCED) + 2 * JUNK)
        assert total - before == 2 * one - (TRANSACTIONS - TRANSACTIONS // ABORTED) * RECORDS
        deadline = time.monotonic() + 180
        while sum(map(len, archived(config).values())) < total:
            assert time.monotonic() < deadline, (
                rest.failure(job_id) or f"{sum(map(len, archived(config).values()))} of {total}"
            )
            time.sleep(1)
        # Long enough for a repeated batch to arrive, if there were one.
        time.sleep(3)
        found = archived(config)
        assert {where: sorted(offsets) for where, offsets in found.items()} == {
            where: sorted(offsets) for where, offsets in wanted.items() if offsets
        }
        gone = f"SELECT uniqExact(record_key) FROM {TOMBSTONES} WHERE _topic = '{DELETED}' AND startsWith(record_key, 'gone-')"
        deletions = 2 * JUNK * (TRANSACTIONS - TRANSACTIONS // ABORTED)
        assert migrate.endpoint(config).connect().query(gone).result_rows == [(deletions,)]
        assert rest.failure(job_id), "the kill was not noticed, so nothing was tested"
        assert {topic for topic, _ in found} >= set(PRODUCED), "bars and alerts are rows too"
    finally:
        rest.cancel(job_id)
        processes.up()

    # A job that starts without its state reads everything again and adds nothing.
    counts = (
        migrate.endpoint(config).connect().query("SELECT topic, sum(kafka_records) FROM pipeline_counts GROUP BY 1")
    )
    assert sum(count for _, count in counts.result_rows) == total
    again = submit_job(config, "archive", timeout_s=240, progress=print)
    try:
        time.sleep(10)
        assert sum(map(len, archived(config).values())) == total
        assert rest.failure(again) is None
    finally:
        rest.cancel(again)

    # The command sees the same, record by record; and what is wrong when somebody lays hands on the tables.
    assert reconciled(config) == {"compared": total, "missing": 0, "extra": 0, "different": 0}
    client = migrate.endpoint(config).connect()
    first = "_partition = 0 AND _offset = (SELECT min(_offset) FROM {table} WHERE _partition = 0)"
    for table, change in (
        ("trade_events", "DELETE WHERE " + first),
        ("orders", "UPDATE quantity = quantity + 1 WHERE " + first),
    ):
        client.command(f"ALTER TABLE {table} {change.format(table=table)} SETTINGS mutations_sync = 2")
    assert reconciled(config) == {"compared": total, "missing": 1, "extra": 0, "different": 1}


def reconciled(config: Config) -> dict[str, int]:
    """What `tradestream reconcile --json` says, without its lists."""
    settings = ("--state-dir", str(config.state_dir), "--set", f"stack.port_offset={config.stack.port_offset}")
    words = [sys.executable, "-m", "jobs.cli", *settings, "reconcile", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=project_root(), timeout=240)
    answer = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == int(any(answer[name] for name in ("missing", "extra", "different"))), done.stderr
    return {name: answer[name] for name in ("compared", "missing", "extra", "different")}
