"""A ClickHouse gateway of a test's own, which it may kill, and records of the archived topics."""

from __future__ import annotations

import functools
import importlib
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.config import Config, project_root
from jobs.migrate import endpoint
from schemas.catalogue import TOPICS
from schemas.json_form import from_json
from udfs.operators.arrow_blocks import Positions, plan_of
from udfs.operators.clickhouse_writer import Limits, Writer
from udfs.operators.decode_records import Batch, Decoder

SCHEMA_ID = 7
NOON_NS = 1_767_355_200_000_000_000  # 2026-01-02 12:00 UTC
DAY_NS = 86_400_000_000_000


class GatewayProcess:
    """The gateway over one folder; it can be killed and started again on the same folder and port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start and wait until it is ready."""
        command = [sys.executable, "-m", "infra.clickhouse_gateway", "--path", str(self.folder)]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port)], stdout=subprocess.PIPE, text=True, cwd=project_root()
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("ready "), line
        self.url = line.split("url=")[1].split()[0]
        self.port = int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        """End it without warning, like a power cut."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End it in order."""
        self.process.terminate()
        self.process.wait(timeout=60)

    def config(self, database: str) -> Config:
        """A configuration that points to it."""
        settings = {"clickhouse.url": self.url, "clickhouse.database": database}
        return Config.load(overrides=settings, environment={})


def connect(config: Config) -> Any:
    """A client of the configured database."""
    return endpoint(config).connect()


def frame(topic: str, **changes: Any) -> bytes:
    """A valid record of a topic: its richest example with some fields changed."""
    module = importlib.import_module(TOPICS[topic].module)
    return bytes(module.encode(module.from_dict(example(topic, "every_field") | changes), SCHEMA_ID))


@functools.cache
def example(topic: str, name: str) -> dict[str, Any]:
    """An example payload in fastavro's form."""
    file = TOPICS[topic].schema_file.parent.parent / "examples" / topic / "valid" / f"{name}.json"
    payload = from_json(topic, json.loads(file.read_text(encoding="utf-8")))
    return dict(payload)  # shared: callers make changed copies


def trades(offsets: Sequence[int], partition: int = 0, days: int = 1) -> Batch:
    """Trades at some offsets of one partition; the offset decides everything in them, and so their day."""
    payloads = [
        frame(
            "trade-events",
            eventId=f"e-{partition}-{offset}",
            tradeId=f"t-{offset}",
            executionTime=NOON_NS + offset % days * DAY_NS + offset,
        )
        for offset in offsets
    ]
    kafka_ms = NOON_NS // 1_000_000 + days * 86_400_000
    return Batch(payloads, Positions.of([partition] * len(offsets), offsets, [kafka_ms] * len(offsets)))


def writer(config: Config, topic: str, connect_: Any = None, limits: Limits | None = None, **options: Any) -> Writer:
    """A writer as the job makes it; `resolve` is for frames of other schemas."""

    def no_resolution(data: bytes) -> bytes:
        raise AssertionError("no frame of another schema was expected")

    decoder = Decoder(plan_of(topic), SCHEMA_ID, options.pop("resolve", no_resolution), **options.pop("refusals", {}))
    return Writer(
        name="archive",
        lane=0,
        decoder=decoder,
        refused=plan_of("dead-letter"),
        connect=connect_ or endpoint(config).connect,
        limits=limits or Limits(retry_s=20.0),
        **options,
    )


def offsets_in(client: Any, table: str, partition: int = 0) -> list[int]:
    """The offsets of a partition that are in a table, repeated ones repeated, without FINAL."""
    rows = client.query(f"SELECT _offset FROM {table} WHERE _partition = {partition} ORDER BY _offset").result_rows
    return [row[0] for row in rows]
