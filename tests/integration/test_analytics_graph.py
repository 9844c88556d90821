"""The analytics job's graph as Flink plans it, and which shards a rule for alerts goes to."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

from infra import artifacts
from jobs.config import Config, project_root
from jobs.runtime import create_environments, run_statements

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
print(json.dumps([node.getOperatorName() for node in nodes]))
"""
"""Flink counts what it plans through the life of a JVM, so this needs one of its own, as a submission has."""


def test_every_input_is_read_once_and_none_is_planned_as_a_join() -> None:
    folder = artifacts.ensure(Config.load(environment={}), print).flink_connectors
    connector = next(folder.glob("*kafka*.jar")).as_uri()
    done = subprocess.run(
        [sys.executable, "-c", PLAN, connector], cwd=project_root(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    names: list[str] = json.loads(done.stdout.splitlines()[-1])
    # A join would keep every record in its state for ever.
    assert not [name for name in names if "Join" in name]
    sources = sorted(name.rpartition("default_database.")[2] for name in names if name.startswith("Source: "))
    assert sources == ["quotes_source", "rules_source", "states_source", "ticks_source"]


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
