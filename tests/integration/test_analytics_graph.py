"""The analytics job's inputs in a running Flink: which shards rules and the progress of market data go to."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from jobs.config import Config
from jobs.runtime import Progress, create_environments, keyed_batches, run_statements, view_with_shard
from udfs.domain.sharding import shard_of
from udfs.domain.sources import MARKET_DATA, PROGRESS


def test_rules_go_to_every_shard_in_their_order_and_tombstones_to_one(tmp_path: Path) -> None:
    records = [("r1", b"1"), ("r2", b"2"), ("r1", None), ("r1", b"4"), (None, b"5")]
    file = tmp_path / "records.json"
    lines = [
        {"record_key": key, "payload": payload and base64.b64encode(payload).decode(), "position": at}
        for at, (key, payload) in enumerate(records)
    ]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    env = create_environments(Config.load(environment={}), "inputs", {"parallelism.default": "1"})
    env.table.execute_sql(
        "CREATE TEMPORARY TABLE rules_source (record_key STRING, payload BYTES, `position` BIGINT, "
        "kafka_time TIMESTAMP_LTZ(3), processed AS PROCTIME()) "
        f"WITH ('connector' = 'filesystem', 'path' = '{file}', 'format' = 'json')"
    )
    run_statements(env, "analytics_inputs.sql", all_shards="ARRAY[0, 1, 2]")
    found: dict[int, list[tuple[bytes, int]]] = {}
    with env.table.sql_query("SELECT shard, payload, `position` FROM rules_by_symbol").execute().collect() as rows:
        for shard, payload, position in rows:
            found.setdefault(shard, []).append((bytes(payload), position))
    every = [(b"1", 0), (b"2", 1), (b"4", 3), (b"5", 4)]
    assert found == {0: [*every[:2], (b"", 2), *every[2:]], 1: every, 2: every}


def test_every_shard_is_told_how_far_the_topic_has_come_once_a_second() -> None:
    """Four seconds of records of one symbol, whose Kafka timestamps are 100 ms apart."""
    env = create_environments(Config.load(environment={}), "progress", {"parallelism.default": "1"})
    env.table.execute_sql(
        "CREATE TEMPORARY TABLE ticks_source (number BIGINT, record_key AS 'IBM', payload AS CAST('x' AS BYTES), "
        "`position` AS number, kafka_time AS TO_TIMESTAMP_LTZ(number * 100, 3), processed AS PROCTIME()) "
        "WITH ('connector' = 'datagen', 'rows-per-second' = '25', 'number-of-rows' = '100', "
        "'fields.number.kind' = 'sequence', 'fields.number.start' = '1', 'fields.number.end' = '100')"
    )
    view_with_shard(env, "ticks_by_symbol", "ticks_source", 3)
    inputs = [(MARKET_DATA, "ticks_by_symbol")]
    stream = keyed_batches(env, inputs, 3, 20, Progress(PROGRESS, "ticks_by_symbol", "ARRAY[0, 1, 2]"))
    with stream.execute_and_collect() as collected:
        rows = [tuple(batch) for _, batch in collected]
    batches = [row for row in rows if row[1] == MARKET_DATA]
    assert {row[0] for row in batches} == {shard_of("IBM", 3)}
    newest_of = {position: row[4] for row in batches for position in row[3]}
    told: dict[int, list[tuple[int, int]]] = {0: [], 1: [], 2: []}
    for shard, source, payloads, positions, newest_ms in rows:
        if source == PROGRESS:
            assert list(map(bytes, payloads)) == [b""] and len(positions) == 1
            told[shard].append((positions[0], newest_ms))
    assert told[0] == told[1] == told[2] and len(told[0]) >= 2
    # The place is of a record of that second, and its oldest batch tells the time.
    assert all(newest_ms <= newest_of[position] for position, newest_ms in told[0])
    times = [newest_ms for _, newest_ms in told[0]]
    assert times == sorted(set(times)) and set(times) <= set(newest_of.values())
