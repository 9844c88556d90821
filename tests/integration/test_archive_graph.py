"""The archive job's SQL in a running Flink: how it is planned, and what reaches the writer of records without a value."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path
from typing import Final

import pytest
from pyflink.common import Row, Types

from infra import artifacts
from jobs.config import Config, project_root
from jobs.runtime import create_environments, query

PLAN: Final = """
import json, sys
from jobs import archive
from jobs.config import Config
from jobs.runtime import create_environments

archive.schema_ids = lambda config, topics: {topic: number for number, topic in enumerate(topics, start=1)}
config = Config.load(environment={})
env = create_environments(config, "archive", {"pipeline.jars": sys.argv[1]})
archive.build(config, env).attach_as_datastream()
nodes = env.stream._j_stream_execution_environment.getStreamGraph(False).getStreamNodes().toArray()
print(json.dumps([(node.getOperatorName(), node.getOperatorDescription()) for node in nodes]))
"""
"""Flink counts what it plans through the life of a JVM, so this needs one of its own, as a submission has."""

EVERY_BYTE: Final = bytes(range(256))
RECORDS: Final[list[tuple[str, int, bytes | None, bytes | None]]] = [
    ("alert-rules", 0, b"r1", b"\0value"),
    ("alert-rules", 0, EVERY_BYTE, None),
    ("orders", 1, b"account", b"\0order"),
    ("alert-rules", 0, b"r2", b""),
    ("alert-rules", 0, None, None),
    ("orders", 1, b"account", None),
    ("alert-rules", 0, b"", None),
    ("prices", 3, b"IBM", EVERY_BYTE),
]
"""Topic, partition, key and value; a record's place in the list is its offset."""


def test_source_is_read_once_and_carries_keys_of_deletions_only() -> None:
    folder = artifacts.ensure(Config.load(environment={}), print).flink_connectors
    connector = next(folder.glob("*kafka*.jar")).as_uri()
    done = subprocess.run(
        [sys.executable, "-c", PLAN, connector], cwd=project_root(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    nodes: list[tuple[str, str]] = json.loads(done.stdout.splitlines()[-1])
    names = [name for name, _ in nodes]
    assert Counter(name.startswith("Source: ") for name in names)[True] == 1, names
    assert not [name for name in names if "Join" in name], "it would keep every record in its state for ever"
    # Behind the first step there is no key of a record that has a value: neither on the way to the window nor in it.
    first, *later = [
        description for _, description in nodes if "record_key" in description or "null_key" in description
    ]
    assert "CASE(payload IS NULL, record_key, null:" in first and ", record_key," not in first.replace(
        "NULL, record_key,", ""
    )
    assert later and not [description for description in later if "record_key" in description], later


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_batches_hold_null_values_and_their_keys_in_order(tmp_path: Path, mode: str) -> None:
    def text(data: bytes | None) -> str | None:
        return None if data is None else base64.b64encode(data).decode()

    lines = [
        {
            "topic": topic,
            "kafka_partition": partition,
            "kafka_offset": offset,
            "kafka_time": f"2026-01-02T12:00:00.{offset:03}Z",
            "record_key": text(key),
            "payload": text(value),
        }
        for offset, (topic, partition, key, value) in enumerate(RECORDS)
    ]
    file = tmp_path / "records.json"
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    # Values come to Python another way in each mode.
    options = {
        "parallelism.default": "1",
        "restart-strategy.type": "none",
        "python.executable": sys.executable,
        "python.pythonpath": sysconfig.get_path("purelib"),
        "python.execution-mode": mode,
    }
    env = create_environments(Config.load(environment={}), "batches", options)
    # The computed columns are the source's own; only where the records come from is another, and the time, because a window of
    # processing time that is open at the end of a file is never closed.
    source = query("archive_source.sql", topics="", options="", lanes="2")
    computed = [line for line in source.splitlines() if " AS " in line and not line.startswith("--")]
    columns = "\n".join(line for line in computed if "PROCTIME" not in line)
    assert "null_key AS" in columns and "lane AS" in columns
    env.table.execute_sql(
        "CREATE TEMPORARY TABLE archive_source (record_key BYTES, payload BYTES, topic STRING, kafka_partition INT, "
        f"kafka_offset BIGINT, kafka_time TIMESTAMP_LTZ(3),\n{columns}\n"
        "processed AS CAST(kafka_time AS TIMESTAMP_LTZ(3)), WATERMARK FOR processed AS processed) WITH "
        f"('connector' = 'filesystem', 'path' = '{file}', 'format' = 'json', 'json.timestamp-format.standard' = 'ISO-8601')"
    )
    batches = env.table.to_data_stream(env.table.sql_query(query("archive_batches.sql", window="1.000")))

    def plain(row: Row) -> str:
        """A batch as the writer gets it, as JSON. Within the test, because the worker cannot import its module."""
        key, topic, lane, payloads, positions, _, null_keys = row

        def texts(values: list[bytes | None]) -> list[str | None]:
            return [value if value is None else base64.b64encode(value).decode() for value in values]

        return json.dumps(
            {
                "key": key,
                "topic": topic,
                "lane": lane,
                "payloads": texts(payloads),
                "positions": list(positions),
                "null_keys": texts(null_keys),
            }
        )

    # Through a Python operator, because the writer is one: what Flink hands to it is not what it shows in a result.
    found = {}
    with batches.map(plain, output_type=Types.STRING()).execute_and_collect() as rows:
        for row in rows:
            batch = json.loads(row)
            assert batch["key"] not in found
            found[batch.pop("key")] = batch
    assert found == {
        f"{topic}#{lane}": {
            "topic": topic,
            "lane": lane,
            "payloads": [text(value) for _, value in records],
            "positions": [partition * 2**48 + offset for offset, _ in numbered],
            "null_keys": [text(key) for key, value in records if value is None],
        }
        for topic, partition, lane in (("alert-rules", 0, 0), ("orders", 1, 1), ("prices", 3, 1))
        for numbered in [[(at, record) for at, record in enumerate(RECORDS) if record[0] == topic]]
        for records in [[(record[2], record[3]) for _, record in numbered]]
    }
