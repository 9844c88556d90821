"""The audit job on the real stack: transactions, aborted ones among them, and a TaskManager killed in the middle.

The committed records of every audited topic are read back from Kafka, other tests' among them, and the links and roots that
committed readers see must be, byte by byte and in order, what an undisturbed engine makes of them. `tradestream audit verify`
finds nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
from typing import Final

import confluent_kafka
import pytest
from conftest import RunningStack
from test_exactly_once import PATIENCE_S, taskmanager_of, wait_until

from jobs import topics
from jobs.cli_schemas import open_registry, register_all
from jobs.config import Config, project_root
from jobs.flink_rest import FlinkRest
from jobs.submit import submit_job
from schemas.catalogue import TOPICS
from udfs.domain.audit_shard import AUDITED, RECORDS, ROOTS, AuditShard, envelope
from udfs.domain.sources import AUDIT

TRANSACTIONS: Final = 24
RECORDS_EACH: Final = 20
"""Records of each topic in one transaction."""
ABORTED: Final = 4
"""Every fourth transaction is aborted."""
BLOCK: Final = 50
Record = tuple[int, int, bytes | None, bytes | None]
"""Offset, time in milliseconds, key and value."""


def prepare(config: Config) -> dict[str, int]:
    """All topics, those of the trail empty, and all schemas; their ids."""
    with topics.admin(config) as admin:
        topics.delete(admin, list(topics.existing(admin, [TOPICS[RECORDS], TOPICS[ROOTS]])))
        wait_until("the trail is deleted", lambda: not topics.existing(admin, [TOPICS[RECORDS], TOPICS[ROOTS]]))
        topics.create(admin, config, list(TOPICS.values()))
    return register_all(open_registry(config))


def produce(config: Config, part: int) -> None:
    """Transactions over all audited topics: payloads that say nothing to a decoder, every byte, absent keys and values."""
    producer = confluent_kafka.Producer(
        {**config.kafka.confluent(), "transactional.id": f"audit-test-{part}", "linger.ms": 20}
    )
    producer.init_transactions(60)
    for number in range(TRANSACTIONS):
        producer.begin_transaction()
        for topic in AUDITED:
            compacted = "compact" in TOPICS[topic].cleanup
            for index in range(RECORDS_EACH):
                unique = f"{part}-{number}-{index} ".encode()
                key = unique if compacted or index % 5 else None
                value = unique + bytes(range(256)) if compacted or index % 7 else None
                producer.produce(topic, value, key, partition=index % TOPICS[topic].partitions_local)
                producer.poll(0)
        if number % ABORTED == 1:
            producer.flush(60)
            producer.abort_transaction(60)
        else:
            producer.commit_transaction(60)


def committed(config: Config, names: tuple[str, ...]) -> dict[tuple[str, int], list[Record]]:
    """The committed records of each partition, in their order."""
    consumer = confluent_kafka.Consumer(
        {
            **config.kafka.confluent(),
            "group.id": "audit-test",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    parts = [(topic, part) for topic in names for part in range(TOPICS[topic].partitions_local)]
    consumer.assign([confluent_kafka.TopicPartition(topic, part, 0) for topic, part in parts])
    found: dict[tuple[str, int], list[Record]] = {part: [] for part in parts}
    ends: set[tuple[str, int]] = set()
    with contextlib.closing(consumer):
        while len(ends) < len(parts):
            for message in consumer.consume(1_000, 1.0):
                where = (message.topic(), message.partition())
                if message.error() is None:
                    found[where].append((message.offset(), message.timestamp()[1], message.key(), message.value()))
                else:
                    assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF, message.error()
                    ends.add(where)
    return found


def chains_of(config: Config, topic: str) -> dict[bytes, list[bytes]]:
    """What committed readers see of a topic of the trail, by chain."""
    found: dict[bytes, list[bytes]] = {}
    for records in committed(config, (topic,)).values():
        for _, _, key, value in records:
            found.setdefault(key or b"", []).append(value or b"")
    return found


def verified(config: Config) -> dict[str, object]:
    """What `tradestream audit verify --json` says of the trail in Kafka."""
    settings = ("--state-dir", str(config.state_dir), "--set", f"stack.port_offset={config.stack.port_offset}")
    words = [sys.executable, "-m", "jobs.cli", *settings, "audit", "verify", "--in", "kafka", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=project_root(), timeout=240, check=False)
    assert done.returncode in (0, 1), done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.timeout(600)
def test_audit_killed_in_the_middle_equals_a_recomputation(stack: RunningStack) -> None:
    config, processes = stack
    ids = prepare(config)
    one = dataclasses.replace(
        config,
        flink=dataclasses.replace(config.flink, parallelism=1),
        audit=dataclasses.replace(config.audit, block_records=BLOCK),
    )
    rest = FlinkRest(config.flink.rest_url)
    job = submit_job(one, "audit", timeout_s=PATIENCE_S)
    try:
        produce(config, 1)
        wait_until("some links are written", lambda: sum(map(len, chains_of(config, RECORDS).values())) > 500)
        processes.kill_component(taskmanager_of(config, job, "chain"))
        produce(config, 2)
        wait_until("the job restarted", lambda: rest.restarts(job) >= 1)

        wanted = AuditShard(0, 1, ids, one.audit.block_records, one.audit.hash_only)
        total = 0
        for (topic, partition), records in committed(config, AUDITED).items():
            total += len(records)
            for offset, time_ms, key, value in records:
                wanted.apply(AUDIT, envelope(topic, time_ms, key, value), partition, offset, 0)
        assert total >= 2 * (TRANSACTIONS - TRANSACTIONS // ABORTED) * RECORDS_EACH * len(AUDITED)
        # A link too few or too many is for the comparison below to tell.
        with contextlib.suppress(AssertionError):
            wait_until(
                "everything is committed",
                lambda: sum(map(len, chains_of(config, RECORDS).values())) >= total,
                PATIENCE_S,
            )
        links, roots = chains_of(config, RECORDS), chains_of(config, ROOTS)
        answer = verified(config)
    finally:
        rest.cancel(job)
        processes.up()

    for lane, seen in ((wanted.outbox.records, links), (wanted.outbox.roots, roots)):
        expected: dict[bytes, list[bytes]] = {}
        for key, value in zip(lane.keys, lane.values, strict=True):
            expected.setdefault(key, []).append(value)
        different = [
            f"{chain.decode()}: {len(expected.get(chain, []))} wanted, {len(seen.get(chain, []))} seen"
            for chain in sorted(expected.keys() | seen.keys())
            if expected.get(chain) != seen.get(chain)
        ]
        assert not different, f"{lane.topic}: {different[:5]}"
    assert len(wanted.outbox.roots.values) > len(AUDITED)
    assert (answer["records"], answer["broken"]) == (total, 0), answer
