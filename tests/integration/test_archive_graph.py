"""The archive job's SQL in a running Flink: how it is planned, and what reaches the writer of records without a value."""

from __future__ import annotations

import base64
import json
import sys
import sysconfig
from pathlib import Path
from typing import Final

import pytest
from job_plans import plan_of
from pyflink.common import Row, Types

from jobs.config import Config
from jobs.runtime import create_environments, keyed_rows, query
from udfs.operators.write_clickhouse import INPUT_TYPE

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


def test_plan_carries_keys_of_deletions_only() -> None:
    nodes = plan_of("archive")
    # Behind the first step there is no key of a record that has a value: neither on the way to the window nor in it.
    first, *later = [
        node.description for node in nodes if "record_key" in node.description or "null_key" in node.description
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
    table = env.table.sql_query(query("archive_batches.sql", window="1.000"))
    batches = keyed_rows(env, table, Types.STRING(), INPUT_TYPE)

    def plain(row: Row) -> str:
        """A batch as the writer gets it, as JSON. Within the test, because the worker cannot import its module."""
        topic, lane, payloads, positions, _, null_keys = row

        def texts(values: list[bytes | None]) -> list[str | None]:
            return [value if value is None else base64.b64encode(value).decode() for value in values]

        return json.dumps(
            {
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
            key = f"{batch['topic']}#{batch['lane']}"
            assert key not in found
            found[key] = batch
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
