"""The trading job's inputs in a running Flink: which shard a record goes to."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from jobs import trading
from jobs.config import Config
from jobs.runtime import Environments, create_environments, small_batches, statements
from schemas.catalogue import TOPICS
from udfs.domain.sharding import shard_of, shard_sql

SHARDS = 4


@pytest.fixture
def env() -> Environments:
    return create_environments(Config.load(environment={}), "inputs", {"parallelism.default": "1"})


def rows(env: Environments, view: str) -> list[tuple[Any, ...]]:
    with env.table.sql_query(f"SELECT shard, payload, `position` FROM {view}").execute().collect() as found:
        return [(row[0], bytes(row[1]), row[2]) for row in found]


def test_reference_data_goes_where_it_is_needed_in_the_order_of_its_topic(env: Environments, tmp_path: Path) -> None:
    records = [
        ("instrument:IBM", b"1"),
        ("account:A1", b"2"),
        ("session:2026-11-20", b"3"),
        ("instrument:", b"4"),
        ("snapshot-end", b"5"),
        ("instrument:BRK.A", b"6"),
        ("instrument:IBM", b"7"),
        ("instrument:IBM", None),
        (None, b"9"),
        ("other", b"10"),
    ]
    file = tmp_path / "records.json"
    lines = [
        {"record_key": key, "payload": payload and base64.b64encode(payload).decode(), "position": at}
        for at, (key, payload) in enumerate(records)
    ]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    env.table.execute_sql(
        "CREATE TEMPORARY TABLE reference_source (record_key STRING, payload BYTES, `position` BIGINT, "
        "kafka_time TIMESTAMP_LTZ(3), processed AS PROCTIME()) "
        f"WITH ('connector' = 'filesystem', 'path' = '{file}', 'format' = 'json')"
    )
    every = f"ARRAY[{', '.join(map(str, range(SHARDS)))}]"
    placeholders = {
        "account_shard_of_key": "0",
        "symbol_shard_of_key": "0",
        "account_shard_of_reference": shard_sql("SUBSTRING(record_key FROM 9)", SHARDS),
        "symbol_shard_of_reference": shard_sql("SUBSTRING(record_key FROM 12)", SHARDS),
        "all_account_shards": every,
        "all_symbol_shards": every,
        "symbol_inputs": "",
        "reference_price_window": "1",
    }
    for statement in statements("trading_inputs.sql", **placeholders):
        if "VIEW reference_by_" in statement:
            env.table.execute_sql(statement)

    everyone = range(SHARDS)
    ibm, brk, none = shard_of("IBM", SHARDS), shard_of("BRK.A", SHARDS), shard_of("", SHARDS)
    to_symbols = [
        *[(ibm, b"1", 0)],
        *[(shard, b"3", 2) for shard in everyone],
        *[(none, b"4", 3)],
        *[(shard, b"5", 4) for shard in everyone],
        *[(brk, b"6", 5), (ibm, b"7", 6)],
    ]
    assert rows(env, "reference_by_symbol") == to_symbols
    to_accounts = [
        (shard, payload or b"", at)
        for at, (key, payload) in enumerate(records)
        for shard in (dict.fromkeys((0, shard_of("A1", SHARDS))) if key == "account:A1" else everyone)
    ]
    assert rows(env, "reference_by_account") == to_accounts


@pytest.mark.parametrize(
    ("records", "sizes"),
    [(1, [1]), (4, [4]), (5, [4, 1]), (8, [4, 4]), (12, [4, 4, 4]), (13, [4, 4, 5]), (40, [4, 4, 32])],
)
def test_batches_are_cut_into_parts_that_keep_their_order(env: Environments, records: int, sizes: list[int]) -> None:
    payloads = ", ".join(f"X'{number:02x}'" for number in range(records))
    positions = ", ".join(f"CAST({number} AS BIGINT)" for number in range(records))
    batch = (
        f"SELECT shard, 3 AS source, ARRAY[{payloads}] AS payloads, ARRAY[{positions}] AS positions, "
        "CAST(7 AS BIGINT) AS newest_ms FROM (VALUES (2)) AS batch (shard)"
    )
    with env.table.sql_query(small_batches(batch, most=4, parts=3)).execute().collect() as found:
        parts = [tuple(row) for row in found]
    assert [(shard, source, newest_ms) for shard, source, _, _, newest_ms in parts] == [(2, 3, 7)] * len(sizes)
    assert [len(payloads) for _, _, payloads, _, _ in parts] == sizes
    assert [bytes(payload)[0] for part in parts for payload in part[2]] == list(range(records))
    assert [position for part in parts for position in part[3]] == list(range(records))


def test_catalogue_says_that_the_job_writes_its_outputs() -> None:
    assert [topic for topic in trading.OUTPUTS if trading.NAME not in TOPICS[topic].producers] == []
