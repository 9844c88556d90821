"""The trading job's graph as Flink plans it: what goes by number in a savepoint, and which shard a record goes to."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra import artifacts
from jobs import trading
from jobs.config import Config, project_root
from jobs.runtime import Environments, create_environments, statements
from schemas.catalogue import TOPICS
from udfs.domain.sharding import shard_of, shard_sql

SHARDS = 4
# What has state that cannot be had again: offsets of the sources, open windows, the engines. A savepoint of an earlier
# release is restored by these names, and a source that took another's name would go on reading the other's topic.
UIDS = {
    "1_kafka": "reference_source",
    "8_kafka": "controls_source",
    "16_kafka": "nbbo_source",
    "27_kafka": "outcomes_source",
    "33_kafka": "orders_source",
    "40_kafka": "controls_source",
    "47_kafka": "nbbo_source",
    "59_kafka": "reference_source",
    "67_kafka": "actions_source",
    "risk-1_kafka": "actions_source",
    "6_window-aggregate": "",
    "13_window-aggregate": "",
    "19_window-aggregate": "",
    "24_window-aggregate": "",
    "30_window-aggregate": "",
    "36_window-aggregate": "",
    "45_window-aggregate": "",
    "50_window-aggregate": "",
    "56_window-aggregate": "",
    "64_window-aggregate": "",
    "72_window-aggregate": "",
    "risk-6_window-aggregate": "",
    "check_risk-8": "",
    "route_and_match-8": "",
}


PLAN = """
import json, sys
from jobs import trading
from jobs.config import Config
from jobs.runtime import create_environments

trading.schema_ids = lambda config, topics: {topic: number for number, topic in enumerate(topics, start=1)}
config = Config.load(environment={})
env = create_environments(config, "trading", {"pipeline.jars": sys.argv[1]})
trading.build(config, env).attach_as_datastream()
nodes = env.stream._j_stream_execution_environment.getStreamGraph(False).getStreamNodes().toArray()
print(json.dumps([(node.getTransformationUID(), node.getOperatorName()) for node in nodes]))
"""
"""Flink counts what it plans through the life of a JVM, so this needs one of its own, as a submission has."""


@pytest.fixture(scope="module")
def connector() -> str:
    """The URI of the Kafka connector."""
    folder = artifacts.ensure(Config.load(environment={}), print).flink_connectors
    return next(folder.glob("*kafka*.jar")).as_uri()


def test_state_keeps_its_name_and_no_input_is_planned_as_a_join(connector: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PLAN, connector], cwd=project_root(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    nodes: list[tuple[str | None, str]] = json.loads(done.stdout.splitlines()[-1])
    # A join would keep every record in its state for ever.
    assert not [name for _, name in nodes if "Join" in name]
    names = {
        uid: name.rpartition("default_database.")[2] if uid.endswith("_kafka") else ""
        for uid, name in nodes
        if uid is not None and uid.endswith(("_kafka", "_window-aggregate", "-8"))
    }
    assert names == UIDS


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


def test_catalogue_says_that_the_job_writes_its_outputs() -> None:
    assert [topic for topic in trading.OUTPUTS if trading.NAME not in TOPICS[topic].producers] == []
