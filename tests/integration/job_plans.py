"""A job as Flink plans it, without a cluster."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Final

from infra import artifacts
from jobs.config import Config, project_root

_PLAN: Final = """
import importlib, json, sys
from jobs.config import Config
from jobs.runtime import create_environments, plan

job = importlib.import_module(f"jobs.{sys.argv[1]}")
job.schema_ids = lambda config, topics: {topic: number for number, topic in enumerate(topics, start=1)}
config = Config.load(environment=dict(pair.split("=", 1) for pair in sys.argv[3:]))
env = create_environments(config, job.NAME, {"pipeline.jars": sys.argv[2]})
graph = plan(env, job.build(config, env), job.NAME, getattr(job, "SINKS", {}))
print(json.dumps([
    (
        node.getTransformationUID(),
        node.getUserHash(),
        node.getOperatorName(),
        node.getOperatorDescription(),
        node.getSlotSharingGroup(),
    )
    for node in graph.getStreamNodes().toArray()
]))
"""


@dataclass(frozen=True, slots=True)
class Node:
    """An operator.

    uid: by what savepoints know it; former: Flink's id of what older ones knew it by; slots: its slot sharing group.
    """

    uid: str | None
    former: str | None
    name: str
    description: str
    slots: str


@functools.cache
def plan_of(job: str, *settings: str) -> list[Node]:
    """The operators of jobs/`job`.py, with settings as TRADESTREAM_...=value.

    Flink counts what it plans through the life of a JVM, so this takes one of its own, as a submission does.
    """
    folder = artifacts.ensure(Config.load(environment={}), print).flink_connectors
    connector = next(folder.glob("*kafka*.jar")).as_uri()
    command = [sys.executable, "-c", _PLAN, job, connector, *settings]
    done = subprocess.run(command, cwd=project_root(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [Node(*fields) for fields in json.loads(done.stdout.splitlines()[-1])]
