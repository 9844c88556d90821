"""The audit job's SQL in a running Flink: envelopes are those of the domain, byte for byte, and a chain stays in one shard."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Final

from jobs.config import Config
from jobs.runtime import create_environments, statements
from schemas.catalogue import TOPICS
from udfs.domain.audit_shard import AUDITED, RECORDS, ROOTS, envelope
from udfs.domain.sharding import shard_of, shard_sql

SHARDS: Final = 5
EVERY_BYTE: Final = bytes(range(256))
RECORDS_OF_ALL_KINDS: Final = [
    ("orders", 0, 7, 1_767_355_200_123, b"A-1", EVERY_BYTE),
    ("orders", 1, 2**40, 0, None, None),
    ("orders", 3, 0, 1, b"", b""),
    ("order-events", 2, 5, 1_767_355_200_000, EVERY_BYTE, b" 1 2 3 "),
    ("dead-letter", 1, 6, 999, "schlüssel €".encode(), EVERY_BYTE * 400),
    ("controls", 0, 1, 1_000, b"*", None),
    ("controls", 0, 2, 1_001, None, b"\0"),
]


def test_envelope_made_by_sql_is_that_of_the_domain(tmp_path: Path) -> None:
    env = create_environments(Config.load(environment={}), "envelopes", {"parallelism.default": "1"})

    def text(data: bytes | None) -> str | None:
        return None if data is None else base64.b64encode(data).decode()

    lines = [
        {
            "topic": topic,
            "kafka_partition": partition,
            "position": partition * 2**48 + offset,
            "ms": ms,
            "record_key": text(key),
            "record_value": text(value),
        }
        for topic, partition, offset, ms, key, value in RECORDS_OF_ALL_KINDS
    ]
    file = tmp_path / "records.json"
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    env.table.execute_sql(
        "CREATE TEMPORARY TABLE audit_source (topic STRING, kafka_partition INT, `position` BIGINT, ms BIGINT, "
        "record_key BYTES, record_value BYTES, kafka_time AS TO_TIMESTAMP_LTZ(ms, 3), processed AS PROCTIME()) "
        f"WITH ('connector' = 'filesystem', 'path' = '{file}', 'format' = 'json')"
    )
    shard = shard_sql("CONCAT(topic, '-', CAST(kafka_partition AS STRING))", SHARDS)
    _, view = statements("audit_source.sql", topics="", options="", shard=shard)
    env.table.execute_sql(view)

    found = []
    with env.table.execute_sql("SELECT shard, payload, `position` FROM audit_inputs").collect() as rows:
        found = [(row[0], bytes(row[1]), row[2]) for row in rows]
    assert sorted(found, key=lambda row: row[2]) == sorted(
        [
            (shard_of(f"{topic}-{partition}", SHARDS), envelope(topic, ms, key, value), partition * 2**48 + offset)
            for topic, partition, offset, ms, key, value in RECORDS_OF_ALL_KINDS
        ],
        key=lambda row: row[2],
    )


def test_catalogue_says_that_the_job_writes_the_trail_and_reads_the_rest() -> None:
    assert [TOPICS[topic].producers for topic in (RECORDS, ROOTS)] == [("audit",), ("audit",)]
    assert {*AUDITED, RECORDS, ROOTS} == set(TOPICS)
