"""run_shard: the one Python call a micro-batch costs.

A keyed operator (key: shard) that holds one pure engine per shard in memory and makes it durable with a journal:
    journal   ListState<bytes>   every batch that was applied since the snapshot (udfs.operators.journal)
    snapshot  ValueState<bytes>  the engine's own versioned bytes, compressed: a checkpoint writes them again each time
The journal is compacted into a snapshot when it has grown past `compact_bytes` and past the last snapshot, so the work of
writing snapshots stays proportional to the work of applying; with 0 after each batch, so that nothing is left to apply
again. With `hold_ms` what an engine sums up over a batch is summed up over as many as come in that time; the journal says
after which of them it was written, so that applying them again sums up the same. After a restore an engine is rebuilt at
the first batch of its shard: restore the snapshot, apply the journal again, drop what that emits (it was emitted before the
checkpoint).

Small batches that come one right after another have queued up, behind a checkpoint or because the stage is busy. From the
`join_after`th on they wait for a millisecond for those behind them, and what they cause is given out together: most of what a
small batch costs is what becomes of its outputs, in Flink, Kafka's client and the broker. They wait in the journal, marked.

Input rows:  (shard, source, payloads, positions, newest_ms); of a batch that asks for the progress, newest_ms is the watermark.
Output rows: (topic, keys, values), at most `CHUNK` records each, because SQL's UNNEST copies the whole array for every row it
             makes; and, for a stage that has a next stage, side-output rows (shard, frames, newest_ms), whose frames are one
             journal entry. SQL gathers these into micro-batches again: one batch of accounts touches most symbols, so
             without it the next stage would be called for a frame or two at a time.
"""

import gc
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from pyflink.common import Row, Types
from pyflink.datastream import KeyedProcessFunction, OutputTag, RuntimeContext
from pyflink.datastream.state import ListStateDescriptor, ValueStateDescriptor

from udfs.operators.dead_letter_limit import DeadLetterLimit
from udfs.operators.journal import Batch, decode_batch, encode_batch
from udfs.operators.resolve_schemas import SchemaResolution
from udfs.operators.stage_metrics import Measure, StageMetrics

CHUNK: Final = 16
AT_ONCE_S: Final = 0.0001
"""A batch that comes no later after the end of the one before it was waiting in front of the operator."""
SWITCH_S: Final = 0.0005
DEAD_LETTER: Final = "dead-letter"
BYTES = Types.PRIMITIVE_ARRAY(Types.BYTE())
# State is pickled bytes: for a primitive array, PyFlink's thread mode would convert every byte on its own.
STATE_BYTES = Types.PICKLED_BYTE_ARRAY()

INPUT_TYPE = Types.ROW_NAMED(
    ["shard", "source", "payloads", "positions", "newest_ms"],
    [
        Types.INT(),
        Types.INT(),
        Types.OBJECT_ARRAY(BYTES),
        Types.OBJECT_ARRAY(Types.LONG()),
        Types.LONG(),
    ],
)
OUTPUT_TYPE = Types.ROW_NAMED(
    ["topic", "record_keys", "record_values"],
    [
        Types.STRING(),
        Types.OBJECT_ARRAY(BYTES),
        Types.OBJECT_ARRAY(BYTES),
    ],
)
FORWARD_TYPE = Types.ROW_NAMED(["shard", "payload", "newest_ms"], [Types.INT(), BYTES, Types.LONG()])
FORWARD_TAG = OutputTag("forward", FORWARD_TYPE)

_PACKED: Final = b"\xff"
_OFFSET_BITS: Final = 48
_OFFSET_MASK: Final = (1 << _OFFSET_BITS) - 1


class Lane(Protocol):
    """Records for one topic."""

    topic: str
    keys: list[bytes]
    values: list[bytes]


class Outbox(Protocol):
    """What an engine has written since it was last cleared. With a next stage it also has `forward`, frames by shard."""

    def lanes(self) -> Sequence[Lane]:
        """All lanes, in a fixed order."""

    def clear(self) -> None:
        """Forget what was written."""


class Engine(Protocol):
    """A pure engine of one shard: the same inputs give the same outputs and the same state."""

    @property
    def outbox(self) -> Outbox:
        """Where outputs are written."""

    def apply(
        self,
        source: int,
        payload: bytes,
        partition: int,
        offset: int,
        kafka_timestamp_ms: int,
    ) -> None:
        """Apply one record."""

    def flush(self) -> None:
        """Write what is summed up over a batch, or over several."""

    def snapshot(self) -> bytes:
        """The whole state, with a version."""

    def restore(self, state: bytes) -> None:
        """Take over the state of a snapshot of this or an earlier version."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What one stage of a job runs; pickled to the TaskManagers.

    new_engine: makes the empty engine of a shard.
    forward: source tag of the frames that this stage sends to the next one, None when there is no next stage.
    receive: source tag of the frames that this stage gets from the one before it.
    progress: source tag of the batches that ask how far the inputs have come.
    resolution: reads records that do not start like a current record of their source.
    compact_bytes: size of a journal that is worth a snapshot; 0: whatever its size.
    part: records of a batch whose outputs are handed on together, while the processor has them in its caches: under load a batch
        has 10,000, and as a whole each took a fifth longer in the engine.
    hold_ms: how long an engine's sums wait for those of more batches (`Engine.flush`); 0: they are written after each batch.
    join_after: the how-manieth batch of a shard without a pause before it waits for those behind it; 0: none does.
    keys: Flink's key of each shard, for timers; needed with `hold_ms` and `join_after`.
    clock: seconds since the epoch; for tests.
    measures: histograms for Flink's metrics.
    throughput: the counter of records of one source, and its source tag; none without a name.
    """

    name: str
    new_engine: Callable[[int], Engine]
    forward: int | None = None
    receive: int | None = None
    progress: int | None = None
    resolution: SchemaResolution | None = None
    compact_bytes: int = 4 * 1024 * 1024
    part: int = 256
    hold_ms: int = 0
    join_after: int = 0
    keys: tuple[int, ...] = ()
    clock: Callable[[], float] = time.time
    limit: DeadLetterLimit = field(default_factory=DeadLetterLimit)
    measures: tuple[Measure, ...] = ()
    throughput: tuple[str, int] = ("", 0)


class _Shard:
    """An engine in memory and the size of its durable form.

    flush_ms: when the timer for its sums is due; 0: there is none; None: nobody knows, after a restore.
    waiting: batches that are in the journal, and not applied yet. run, in_row: the last run of batches without a pause that had
    one of this shard, and how many.
    """

    __slots__ = ("engine", "flush_ms", "in_row", "journal_bytes", "run", "snapshot_bytes", "waiting")

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.flush_ms: int | None = None
        self.waiting: list[Batch] = []
        self.run = self.in_row = 0
        self.journal_bytes = 0
        self.snapshot_bytes = 0


class RunShard(KeyedProcessFunction):  # type: ignore[misc]  # PyFlink has no types
    """Runs the engines of the shards that this subtask owns."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.shards: dict[int, _Shard] = {}

    def open(self, runtime_context: RuntimeContext) -> None:
        """Get the state handles and the metrics; engines are loaded at their first batch."""
        self.shards = {}
        self.run = 0
        self.ended_s = 0.0
        self.journal = runtime_context.get_list_state(ListStateDescriptor("journal", STATE_BYTES))
        self.snapshot = runtime_context.get_state(ValueStateDescriptor("snapshot", STATE_BYTES))
        self.prefixes = self.stage.resolution.prefixes() if self.stage.resolution else {}
        self.guard = self.stage.limit.start(self.stage.name)
        group = runtime_context.get_metrics_group().add_group("tradestream", self.stage.name)
        self.records = group.counter("records")
        self.dead_letters = group.counter("dead_letters")
        self.metrics = StageMetrics(group, self.stage.measures)
        name, self.counted = self.stage.throughput
        self.throughput = group.counter(name) if name else None
        # Engines hold millions of live objects and make no cycles (a test says so); walking them would double their cost.
        gc.collect()
        gc.freeze()
        gc.disable()
        # Stages share an interpreter. One that is busy, with all outcomes since a checkpoint, gave the other the lock for one
        # step in each 5 ms, and a batch has several.
        sys.setswitchinterval(SWITCH_S)

    def close(self) -> None:
        """Give the engines' memory back: the interpreter outlives the job in thread mode."""
        self.shards = {}
        gc.enable()
        gc.unfreeze()
        gc.collect()

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[Any]:
        """Apply a micro-batch, make it durable, and give out what it caused; or have it wait."""
        now_s = self.stage.clock()
        if now_s - self.ended_s > AT_ONCE_S:
            self.run += 1
        shard = self._shard(value[0])
        flushed = not self.stage.hold_ms
        if value[1] == self.stage.receive:
            frames = [frame for entry in value[2] for frame in decode_batch(entry).payloads]
            batch = Batch(value[1], frames, [0] * len(frames), value[4], flushed)
        else:
            newest_ms = value[4]
            if value[1] == self.stage.progress:
                # None of the inputs has a record before it on its way here, so that it is later than all that a shard knows.
                # After a restore there is none yet, a large negative number.
                newest_ms = max(0, ctx.timer_service().current_watermark())
            batch = Batch(value[1], self._current(value[1], value[2]), list(value[3]), newest_ms, flushed)
        if self._has_to_wait(shard, batch):
            if not shard.waiting:
                # Flink's timers are late by a millisecond at least.
                ctx.timer_service().register_processing_time_timer(int(now_s * 1_000))
            self._wait(shard, batch)
        else:
            yield from self._run(shard, batch)
        if not flushed and not shard.flush_ms:
            shard.flush_ms = int(now_s * 1_000) + self.stage.hold_ms
            ctx.timer_service().register_processing_time_timer(shard.flush_ms)
        self.ended_s = self.stage.clock()

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> Iterator[Any]:
        """Apply what waits, and have an engine write its sums when it is time: a batch without records."""
        shard = self._shard(self.stage.keys.index(ctx.get_current_key()))
        due = self.stage.hold_ms > 0 and (shard.flush_ms is None or 0 < shard.flush_ms <= timestamp)
        if due:
            shard.flush_ms = 0
        if due or shard.waiting:
            yield from self._run(shard, Batch(0, [], [], timestamp, due or not self.stage.hold_ms))
        self.ended_s = self.stage.clock()

    def _has_to_wait(self, shard: _Shard, batch: Batch) -> bool:
        """Whether there may be more behind a batch that is worth waiting for."""
        if shard.run != self.run:
            shard.run, shard.in_row = self.run, 0
        shard.in_row += 1
        if not self.stage.join_after or (shard.in_row < self.stage.join_after and not shard.waiting):
            return False
        return sum(len(one.payloads) for one in (*shard.waiting, batch)) < self.stage.part

    def _wait(self, shard: _Shard, batch: Batch) -> None:
        """Make a batch durable, to be applied later."""
        batch = batch._replace(flushed=False, waiting=True)
        entry = encode_batch(batch)
        self.journal.add(entry)
        shard.journal_bytes += len(entry)
        shard.waiting.append(batch)

    def _run(self, shard: _Shard, batch: Batch) -> Iterator[Any]:
        """Apply what waits and a batch, make the batch durable, and give out what they caused."""
        entry = encode_batch(batch)
        shard.journal_bytes += len(entry)
        least = self.stage.compact_bytes
        compact = shard.journal_bytes > least and (least == 0 or shard.journal_bytes > shard.snapshot_bytes)
        if compact:
            # A snapshot holds no sums.
            batch = batch._replace(flushed=True)
        batches, shard.waiting = [*shard.waiting, batch], []
        outbox, tag = shard.engine.outbox, self.stage.forward
        forward: list[list[bytes]] = [] if tag is None else [[] for _ in outbox.forward]  # type: ignore[attr-defined]
        dead_letters: list[bytes] = []
        for part in _parts(batches, self.stage.part):
            began_s = time.perf_counter()
            for piece in part:
                _apply(shard.engine, piece)
            applied_s = time.perf_counter() - began_s
            written: dict[str, int] = {}
            for lane in outbox.lanes():
                keys, values, topic = lane.keys, lane.values, lane.topic
                if topic == DEAD_LETTER:
                    dead_letters += values
                written[topic] = written.get(topic, 0) + len(values)
                for start in range(0, len(values), CHUNK):
                    yield Row(topic, keys[start : start + CHUNK], values[start : start + CHUNK])
            for target, frames in enumerate(forward):
                frames += outbox.forward[target]  # type: ignore[attr-defined]
            outbox.clear()
            self._measure(part, applied_s, written)
        newest_ms = max((one.newest_ms for one in batches if one.payloads), default=batch.newest_ms)
        for target, frames in enumerate(forward):
            if frames and tag is not None:
                forwarded = Batch(tag, frames, [0] * len(frames), newest_ms)
                yield FORWARD_TAG, Row(target, encode_batch(forwarded), newest_ms)
        records = sum(len(one.payloads) for one in batches)
        self.records.inc(records)
        if self.throughput is not None:
            # Each call to the JVM costs as much as an order, and most batches have none.
            counted = sum(len(one.payloads) for one in batches if one.source == self.counted)
            if counted:
                self.throughput.inc(counted)
        if dead_letters:
            self.dead_letters.inc(len(dead_letters))
        self.guard.count(records, dead_letters)
        if compact:
            self._compact(shard)
        else:
            self.journal.add(entry)

    def _measure(self, part: Sequence[Batch], applied_s: float, written: dict[str, int]) -> None:
        """Tell the histograms what was applied together and handed on. What it wrote counts for the last batch of each source."""
        records = sum(len(piece.payloads) for piece in part)
        last = {piece.source: piece for piece in part if piece.payloads}
        for piece in part:
            count = len(piece.payloads)
            if count:
                lanes = written if last[piece.source] is piece else {}
                self.metrics.count(piece.source, count, piece.newest_ms, applied_s * count / records, lanes)

    def _shard(self, number: int) -> _Shard:
        """A shard of this subtask; loaded when it is touched first, by a batch or by a timer that was restored with the job."""
        shard = self.shards.get(number)
        if shard is None:
            shard = self.shards[number] = self._load(number)
        return shard

    def _load(self, number: int) -> _Shard:
        """The engine of a shard as it was at the last checkpoint: empty when the shard is new."""
        shard = _Shard(self.stage.new_engine(number))
        state = self.snapshot.value()
        if state is not None:
            state = _unpacked(bytes(state))
            shard.engine.restore(state)
            shard.snapshot_bytes = len(state)
        for entry in self.journal.get():
            batch = decode_batch(bytes(entry))
            shard.journal_bytes += len(entry)
            shard.waiting.append(batch)
            if not batch.waiting:
                for applied in shard.waiting:
                    _apply(shard.engine, applied)
                shard.waiting = []
                # These outputs were committed, or are waiting to be, with the checkpoint that the journal came from.
                shard.engine.outbox.clear()
        return shard

    def _compact(self, shard: _Shard) -> None:
        """Replace the journal by a snapshot."""
        state = shard.engine.snapshot()
        self.snapshot.update(_PACKED + zlib.compress(state, 1))
        self.journal.clear()
        shard.snapshot_bytes = len(state)
        shard.journal_bytes = 0

    def _current(self, source: int, payloads: Sequence[bytes]) -> list[bytes]:
        """The payloads, with those of another writer schema rewritten in the current one."""
        prefix = self.prefixes.get(source)
        resolve = self.stage.resolution
        if prefix is None or resolve is None:
            return list(payloads)
        return [payload if payload.startswith(prefix) else resolve(source, payload) for payload in payloads]


def _unpacked(state: bytes) -> bytes:
    """An engine's snapshot. Older releases kept it as it is: its first byte is its version, which is never 255."""
    return zlib.decompress(state[1:]) if state.startswith(_PACKED) else state


def _parts(batches: Sequence[Batch], most: int) -> Iterator[list[Batch]]:
    """Batches in their order, so many records together at most; of one that is cut the sums are written after the last piece."""
    part: list[Batch] = []
    room = most
    for batch in batches:
        payloads, positions, first = batch.payloads, batch.positions, 0
        while len(payloads) - first > room:
            end = first + room
            part.append(Batch(batch.source, payloads[first:end], positions[first:end], batch.newest_ms, flushed=False))
            yield part
            part, room, first = [], most, end
        part.append(batch._replace(payloads=payloads[first:], positions=positions[first:]) if first else batch)
        room -= len(payloads) - first
    yield part


def _apply(engine: Engine, batch: Batch) -> None:
    """Apply a batch to an engine."""
    source, newest_ms, apply = batch.source, batch.newest_ms, engine.apply
    for payload, position in zip(batch.payloads, batch.positions, strict=True):
        apply(
            source,
            payload,
            position >> _OFFSET_BITS,
            position & _OFFSET_MASK,
            newest_ms,
        )
    if batch.flushed:
        engine.flush()
