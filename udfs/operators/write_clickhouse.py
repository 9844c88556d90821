"""write_clickhouse: a keyed operator that writes each micro-batch into ClickHouse before it asks for the next.

It keeps no Flink state: what has been written is known by the table (udfs.operators.clickhouse_writer), and what has
been read by the Kafka source. Returning only when a batch is on disk makes a checkpoint's barrier, which follows the
batch, mean that it is.

Key: "topic#lane"; a lane is a fixed share of a topic's partitions, so one lane has one writer.
Input rows:  (topic, lane, payloads, positions, kafka_ms, null_keys), position = partition * 2^48 + offset; a payload
             is None for a record without a value; null_keys has the keys of those, in their order
Output rows: (topic, written, known, refused) for each batch
Metrics: archiveRows, archiveKnownRows (skipped, because an earlier run wrote them), archiveDeadLetters, archiveTombstones,
         archiveBatches
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from pyflink.common import Row, Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext

from schemas.registry import Registry
from schemas.resolution import Resolver
from udfs.operators.arrow_blocks import Positions, plan_of
from udfs.operators.clickhouse_client import Endpoint
from udfs.operators.clickhouse_writer import Limits, Writer
from udfs.operators.decode_records import Batch, Decoder
from udfs.operators.run_shard import BYTES

PARTITION_SHIFT: Final = 48
OFFSET_MASK: Final = (1 << PARTITION_SHIFT) - 1
COLLECT_AFTER: Final = 200_000
"""Objects that are made before Python looks for cycles: more than a batch's records, which make none and are gone after it."""

INPUT_TYPE = Types.ROW_NAMED(
    ["topic", "lane", "payloads", "positions", "kafka_ms", "null_keys"],
    [
        Types.STRING(),
        Types.INT(),
        Types.OBJECT_ARRAY(BYTES),
        Types.OBJECT_ARRAY(Types.LONG()),
        Types.OBJECT_ARRAY(Types.LONG()),
        Types.OBJECT_ARRAY(BYTES),
    ],
)
OUTPUT_TYPE = Types.ROW_NAMED(
    ["topic", "written", "known", "refused"], [Types.STRING(), Types.LONG(), Types.LONG(), Types.LONG()]
)


@dataclass(frozen=True, slots=True)
class RegistryAddress:
    """Where to ask for schemas of other versions; an empty username: without credentials."""

    url: str
    username: str
    password: str = field(repr=False)

    def client(self) -> Registry:
        """Return a client."""
        return Registry(self.url, credentials=(self.username, self.password) if self.username else None)


@dataclass(frozen=True, slots=True)
class WriteSettings:
    """What the operator needs on a TaskManager: plain values, resolved by the client that submits the job."""

    name: str
    endpoint: Endpoint
    registry: RegistryAddress
    schema_ids: Mapping[str, int]
    limits: Limits


class WriteClickhouse(KeyedProcessFunction):  # type: ignore[misc]  # PyFlink has no types
    """The operator; one `Writer` for each key."""

    def __init__(self, settings: WriteSettings) -> None:
        self._settings = settings
        self._writers: dict[tuple[str, int], Writer] = {}

    def open(self, runtime_context: RuntimeContext) -> None:
        """Register the metrics. Connections are made at the first batch, where a failure can be waited out."""
        group = runtime_context.get_metrics_group()
        self._rows = group.counter("archiveRows")
        self._known = group.counter("archiveKnownRows")
        self._refused = group.counter("archiveDeadLetters")
        self._tombstones = group.counter("archiveTombstones")
        self._batches = group.counter("archiveBatches")
        self._registry = self._settings.registry.client()
        self._dead_letters = plan_of("dead-letter")
        # By default it would walk the records of a batch a hundred times while they are decoded.
        gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])

    def close(self) -> None:
        """Close the connections. In thread mode nobody calls this when a job is stopped or restarted; see `Writer`."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[Row]:
        """Write one batch."""
        topic, lane, payloads, positions, kafka_ms, null_keys = value
        writer = self._writers.get((topic, lane))
        if writer is None:
            writer = self._writers[topic, lane] = self._writer(topic, lane)
        packed = np.array(positions, dtype=np.int64)
        where = Positions(packed >> PARTITION_SHIFT, packed & OFFSET_MASK, np.array(kafka_ms, dtype=np.int64))
        done = writer.write(Batch(payloads, where, null_keys))
        self._rows.inc(done.rows)
        self._known.inc(done.known)
        self._refused.inc(done.refused)
        self._tombstones.inc(done.tombstones)
        self._batches.inc()
        yield Row(topic, done.rows, done.known, done.refused)

    def _writer(self, topic: str, lane: int) -> Writer:
        settings = self._settings
        schema_id = settings.schema_ids[topic]
        return Writer(
            name=settings.name,
            lane=lane,
            decoder=Decoder(plan_of(topic), schema_id, Resolver(topic, schema_id, self._registry.schema).resolve),
            refused=self._dead_letters,
            connect=settings.endpoint.connect,
            limits=settings.limits,
        )
