"""The analytics job's graph as Flink plans it, and which shards a rule for alerts goes to."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

from infra import artifacts
from jobs.config import Config, project_root
from jobs.runtime import Progress, create_environments, keyed_batches, run_statements, view_with_shard
from udfs.domain.sharding import shard_of
from udfs.domain.sources import MARKET_DATA, PROGRESS

PLAN = """
import json, sys
from jobs import analytics
from jobs.config import Config
from jobs.runtime import create_environments

analytics.schema_ids = lambda config, topics: {topic: number for number, topic in enumerate(topics, start=1)}
config = Config.load(environment={})
env = create_environments(config, "analytics", {"pipeline.jars": sys.argv[1]})
analytics.build(config, env).attach_as_datastream()
nodes = env.stream._j_stream_execution_environment.getStreamGraph(False).getStreamNodes().toArray()
print(json.dumps([(node.getTransformationUID(), node.getOperatorName()) for node in nodes]))
"""
"""Flink counts what it plans through the life of a JVM, so this needs one of its own, as a submission has."""
# What has state that cannot be had again, as in test_trading_graph.py: by these names an earlier savepoint is restored.
UIDS = {
    "1_kafka": "ticks_source",
    "6_kafka": "rules_source",
    "14_kafka": "quotes_source",
    "20_kafka": "states_source",
    "4_window-aggregate": "",
    "11_window-aggregate": "",
    "17_window-aggregate": "",
    "23_window-aggregate": "",
    "28_window-aggregate": "",
    "analyse-8": "",
}


def test_state_keeps_its_name_every_input_is_read_once_and_none_is_planned_as_a_join() -> None:
    folder = artifacts.ensure(Config.load(environment={}), print).flink_connectors
    connector = next(folder.glob("*kafka*.jar")).as_uri()
    done = subprocess.run(
        [sys.executable, "-c", PLAN, connector], cwd=project_root(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    nodes: list[tuple[str | None, str]] = json.loads(done.stdout.splitlines()[-1])
    # A join would keep every record in its state for ever.
    assert not [name for _, name in nodes if "Join" in name]
    # One source and one window of micro-batches for each topic, and the window of the progress, which is made of the first.
    names = {
        uid: name.rpartition("default_database.")[2] if uid.endswith("_kafka") else ""
        for uid, name in nodes
        if uid is not None and uid.endswith(("_kafka", "_window-aggregate", "-8"))
    }
    assert names == UIDS


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
