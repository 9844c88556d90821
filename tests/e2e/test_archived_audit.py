"""The audit and the archive job together on the real stack: ClickHouse's trail verifies, and each way of tampering is named.

The tampering is done to a copy in a database of its own, because other tests share the stack. Runs before `test_audit`, whose
records are no Avro, which stops an archive job.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from conftest import RunningStack
from test_archive_faults import PRODUCED, committed, payloads, produce
from test_exactly_once import PATIENCE_S, wait_until

from jobs import archive, migrate, topics
from jobs.cli_schemas import open_registry, register_all
from jobs.config import Config, project_root
from jobs.demo_watch import Probe
from jobs.flink_rest import FlinkRest
from jobs.runtime import schema_ids
from jobs.submit import submit_job
from schemas.catalogue import TOPICS
from udfs.domain.audit_shard import AUDITED, RECORDS, ROOTS

BLOCK: Final = 50
COPY: Final = "audit_copy"
CHAINS: Final = {"orders": "DELETE", "order-events": "UPDATE", "trade-events": "INSERT", "risk-events": "EXCHANGE"}
"""What is done to the rows of partition 0 of each topic."""


def command(config: Config, *words: str) -> tuple[int, dict[str, Any]]:
    """Exit code and the object of `tradestream ... --json`."""
    settings = ("--state-dir", str(config.state_dir), "--set", f"stack.port_offset={config.stack.port_offset}")
    settings = (*settings, "--set", f"clickhouse.database={config.clickhouse.database}")
    line = [sys.executable, "-m", "jobs.cli", *settings, *words, "--json"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=project_root(), timeout=240, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


def prepare(config: Config) -> None:
    """All topics and schemas, tables, and a trail that is empty in both places."""
    trail = [TOPICS[RECORDS], TOPICS[ROOTS]]
    with topics.admin(config) as admin:
        topics.delete(admin, list(topics.existing(admin, trail)))
        wait_until("the trail is deleted", lambda: not topics.existing(admin, trail))
        topics.create(admin, config, list(TOPICS.values()))
    register_all(open_registry(config))
    migrate.apply(config, print)
    client = migrate.endpoint(config).connect()
    for table in ("audit_records", "audit_roots"):
        client.command(f"TRUNCATE TABLE {table}")


def tampered_copy(config: Config) -> tuple[Config, dict[str, int], str]:
    """A database with a copy of the trail: an administrator has changed four chains and cut off the last link of another.

    The offsets that must be named, and the place of the link that was cut off, which no root covers.
    """
    copy = dataclasses.replace(config, clickhouse=dataclasses.replace(config.clickhouse, database=COPY))
    own = config.clickhouse.database
    client = migrate.endpoint(config).connect()
    client.command(f"DROP DATABASE IF EXISTS {COPY} SYNC")
    client.command(f"CREATE DATABASE {COPY}")
    for table in ("audit_records", "audit_roots"):
        client.command(f"CREATE TABLE {COPY}.{table} AS {own}.{table}")
        client.command(f"INSERT INTO {COPY}.{table} SELECT * FROM {own}.{table}")
    client = migrate.endpoint(copy).connect()
    named = {}
    for topic, what in CHAINS.items():
        chain = f"source_topic = '{topic}' AND source_partition = 0"
        rows = client.query(
            f"SELECT source_offset, _offset FROM audit_records WHERE {chain} ORDER BY 1 LIMIT 3 OFFSET 2"
        )
        (third, _), (fourth, place), (fifth, other) = rows.result_rows
        chosen = f"{chain} AND source_offset = {fourth}"
        match what:
            case "DELETE":
                client.command(f"ALTER TABLE audit_records DELETE WHERE {chosen} SETTINGS mutations_sync = 2")
                named[topic] = fifth
            case "UPDATE":
                change = "payload = concat(assumeNotNull(payload), 'x')"
                client.command(f"ALTER TABLE audit_records UPDATE {change} WHERE {chosen} SETTINGS mutations_sync = 2")
                named[topic] = fourth
            case "INSERT":
                # At the end of the chain, as if it had come twice; at its own place a merge would take it away again.
                again = f"SELECT * FROM audit_records WHERE {chain} AND source_offset = {third}"
                client.command(
                    f"INSERT INTO audit_records SELECT * REPLACE (_offset + 1000000000 AS _offset) FROM ({again})"
                )
                named[topic] = third
            case "EXCHANGE":
                rows = f"SELECT * FROM audit_records WHERE {chain} AND source_offset IN ({fourth}, {fifth})"
                moved = f"toUInt64(if(source_offset = {fourth}, {other}, {place})) AS _offset"
                client.command(f"CREATE TABLE moved ENGINE = Memory AS SELECT * REPLACE ({moved}) FROM ({rows})")
                gone = f"{chain} AND source_offset IN ({fourth}, {fifth})"
                client.command(f"ALTER TABLE audit_records DELETE WHERE {gone} SETTINGS mutations_sync = 2")
                client.command("INSERT INTO audit_records SELECT * FROM moved")
                named[topic] = fifth
    topic, partition, last = client.query(
        "SELECT source_topic, source_partition, max(source_offset) FROM audit_records GROUP BY 1, 2 "
        f"HAVING count() % {BLOCK} != 0 AND source_topic NOT IN {tuple(CHAINS)} ORDER BY 1, 2 LIMIT 1"
    ).result_rows[0]
    end = f"source_topic = '{topic}' AND source_partition = {partition} AND source_offset = {last}"
    client.command(f"ALTER TABLE audit_records DELETE WHERE {end} SETTINGS mutations_sync = 2")
    return copy, named, f"{topic}-{partition} offset {last}"


@pytest.mark.timeout(600)
def test_archived_trail_verifies_and_each_way_of_tampering_is_named(stack: RunningStack, tmp_path: Path) -> None:
    config, _ = stack
    prepare(config)
    produce(config, payloads(schema_ids(config, PRODUCED)), part=3)
    one = dataclasses.replace(
        config,
        flink=dataclasses.replace(config.flink, parallelism=1),
        audit=dataclasses.replace(config.audit, block_records=BLOCK),
    )
    client = migrate.endpoint(config).connect()
    rest = FlinkRest(config.flink.rest_url)
    jobs = []
    try:
        jobs.append(submit_job(one, "audit", timeout_s=PATIENCE_S))
        jobs.append(submit_job(one, "archive", timeout_s=PATIENCE_S))
        total = sum(map(len, committed(config, AUDITED).values()))
        count = "SELECT count() FROM audit_records"
        wait_until("all links are archived", lambda: client.query(count).result_rows[0][0] >= total)
        roots = "SELECT sum(record_count) FROM audit_roots"
        chains = "SELECT count() AS links FROM audit_records GROUP BY source_topic, source_partition"
        whole = f"SELECT sum(intDiv(links, {BLOCK}) * {BLOCK}) FROM ({chains})"
        wait_until("all roots are archived", lambda: client.query(roots).result_rows >= client.query(whole).result_rows)
        ends = client.query("SELECT _topic, _partition, max(_offset) FROM audit_records GROUP BY 1, 2").result_rows
        taken = {(TOPICS[topic].name, int(partition)): int(offset) for topic, partition, offset in ends}
        probe = Probe(config, {})
        wait_until("Kafka knows that they are", lambda: probe.untaken(archive.GROUP, taken) == 0)
    finally:
        for job in jobs:
            rest.cancel(job)

    code, answer = command(config, "audit", "verify")
    assert (code, answer["records"], answer["broken"], answer["notArchived"]) == (0, total, 0, 0), answer
    assert {name: answer[name]["records"] for name in ("kafka", "clickhouse")} == {"kafka": total, "clickhouse": total}
    assert answer["kafka"]["roots"] == answer["clickhouse"]["roots"] > len(AUDITED)

    copy, named, cut_off = tampered_copy(config)
    code, answer = command(copy, "audit", "verify", "--in", "clickhouse")
    assert (code, answer["clickhouse"]["broken"]) == (1, answer["broken"])
    found = [line.partition(":")[0] for line in answer["clickhouse"]["first"]]
    assert found == sorted(f"{topic}-0 offset {offset}" for topic, offset in named.items()), answer

    # Beside Kafka's trail the end that was cut off is seen as well, once it has had the time to arrive.
    code, answer = command(copy, "audit", "verify", "--settle", "3600")
    assert (code, answer["notArchived"]) == (1, 1), answer
    code, answer = command(copy, "audit", "verify", "--settle", "0")
    assert (code, answer["notArchived"], answer["kafka"]["broken"]) == (1, 0, 0), answer
    assert answer["clickhouse"]["first"][-1].startswith(
        f"{cut_off}: the link is not there, and the archive job has read"
    ), answer
    assert len(answer["clickhouse"]["first"]) == len(named) + 1

    today = datetime.now(UTC).date()
    days = ("--from", str(today - timedelta(days=1)), "--to", str(today))
    for database, good in ((config, True), (copy, False)):
        out = tmp_path / database.clickhouse.database
        code, answer = command(database, "audit", "export", *days, "--out", str(out))
        assert (code == 0) == good == (answer["broken"] == 0), answer
        code, checked = command(config, "audit", "verify-export", str(out))
        assert (code, checked["records"], checked["broken"]) == (int(not good), answer["records"], answer["broken"])
        assert not good or answer["records"] == total
    client.command(f"DROP DATABASE {COPY} SYNC")
