"""Writing micro-batches of Kafka records into ClickHouse so that each record is one row, whatever fails in between.

Flink delivers every record at least once: after a failure it repeats what came after the last checkpoint. A MergeTree
insert is not atomic over several partitions, and a lost answer says nothing about whether the insert happened. So the
table itself is asked. The fence of a topic, read once after each start, is the highest offset of each Kafka partition
that any earlier run wrote. A record above the fence is new. For records at or below it the table is asked which exact
offsets it has, and only the missing ones are written: a highest offset alone would hide the part of a block that a
crash kept from being written.

The same question is asked before an insert is repeated after an error, and for CAUTION_S after the writer has shown no life
for LEASE_S: a process that was frozen for longer has a successor, which may have written the batch. In all cases inserts
that may still be running on the server are waited for first; they are found by their query id, which starts with the
name of the writer and its lane.

Ordering: none is needed; blocks may overlap and come in any order, as long as one lane of a topic has one writer at a
time. Invariant: after `write` returns, each record of the batch is in one of three tables, once: in that of its topic, in
tombstones if it deletes a key, or in dead_letters if it cannot be decoded. Known limit: a request of a dead process that
the network delivers after its successor has read the fence is not seen; its rows collapse when parts merge
(ReplacingMergeTree), and until then count() without FINAL is too high. Memory: a batch and one Arrow block of at most
`max_rows` rows. Time blocked: at most `retry_s` without success.
"""

from __future__ import annotations

import logging
import math
import time
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.registry import RegistryError
from udfs.operators import tombstones
from udfs.operators.arrow_blocks import Layout, Plan, Positions, block
from udfs.operators.decode_records import Batch, Decoder

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 5.0
LEASE_S: Final = 10.0
"""How long a writer takes itself for the only one of its lane without having done anything. Less than Flink waits for a sign of
life (heartbeat.timeout, 30 s in the local stack, 50 s by default) before it gives the lane to another process."""
CAUTION_S: Final = 60.0
"""Until then a process that was frozen has learnt that it was replaced."""
INSERT_TIME_S: Final = 60
"""The server ends an insert after this long, so that what a dead writer left behind cannot run for ever."""

# Answers that trying again cannot change: the tables, the types or the rights are not what this release expects.
_PERMANENT: Final[Mapping[int, str]] = {
    16: "a column is missing",
    20: "the number of columns differs",
    47: "an identifier is unknown",
    53: "a type does not match",
    60: "the table is missing",
    62: "a statement is refused",
    70: "a type cannot be converted",
    81: "the database is missing",
    164: "the user may only read",
    192: "the user is unknown",
    193: "the password is wrong",
    497: "the user has no right to do this",
    516: "user or password is wrong",
}


class ArchiveError(RuntimeError):
    """ClickHouse cannot be written to; the message says why and what to do. The job restarts and loses nothing."""


class Client(Protocol):
    """What the writer needs of a clickhouse-connect client."""

    def query(self, query: str, parameters: dict[str, Any] | None = None) -> Any: ...

    def insert_arrow(self, table: str, arrow_table: pa.Table, *, settings: dict[str, Any]) -> Any: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """max_rows and max_dates bound one insert; retry_s bounds how long an outage of ClickHouse is waited out."""

    max_rows: int = 65_536
    # ClickHouse refuses a block of more than 100 partitions (max_partitions_per_insert_block).
    max_dates: int = 50
    retry_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a batch: rows written, rows that were there already; of both, how many are dead letters or tombstones."""

    rows: int
    known: int
    refused: int
    tombstones: int


class Writer:
    """The writer of one lane (some partitions of one topic). `connect` makes a client and may raise ClickHouseError."""

    def __init__(
        self,
        *,
        name: str,
        lane: int,
        decoder: Decoder,
        refused: Plan,
        connect: Callable[[], Client],
        limits: Limits,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._decoder = decoder
        self._plan = decoder.plan
        self._refused = refused
        self._connect = connect
        self._limits = limits
        self._pause = pause
        self._clock = clock
        self._query_prefix = f"{name}-{self._plan.topic}-{lane}-"
        self._client: Client | None = None
        self._closing: weakref.finalize[..., Writer] | None = None
        self._fence: dict[int, int] | None = None
        self._alive_at = clock()
        self._cautious_until = -math.inf
        self._deleted = tombstones.layout_of(self._plan.topic)
        # Of every topic all three: an older release, or one with another cleanup policy, may have put a record elsewhere.
        self._tables = tuple(dict.fromkeys((self._plan.table, refused.table, self._deleted.table)))

    def write(self, batch: Batch) -> Written:
        """Write what is not there yet; returns when it is durable. Raises ArchiveError when that cannot be achieved."""
        self._show_life()
        decoded = self._patiently("decoding", lambda: self._decoder.decode(batch))
        blocks = [
            (layout.table, rows)
            for layout, messages, positions in (
                (self._plan, decoded.messages, decoded.positions),
                (self._refused, decoded.letters, decoded.letter_positions),
                (self._deleted, decoded.tombstones, decoded.tombstone_positions),
            )
            for rows in self._blocks(layout, messages, positions)
        ]
        if self._fence is None:
            self._fence = self._patiently("reading the fence", self._read_fence)
        written = sum(self._write_block(table, rows, self._fence) for table, rows in blocks)
        return Written(written, len(batch.payloads) - written, len(decoded.letters), len(decoded.tombstones))

    def close(self) -> None:
        """Give the connection back. clickhouse-connect remembers the pool of each client until it is closed."""
        self._client = None
        if self._closing is not None:
            self._closing()

    def _blocks(self, layout: Layout, messages: Sequence[Any], positions: Positions) -> Iterator[pa.Table]:
        """Arrow blocks within the limits."""
        for start in range(0, len(messages), self._limits.max_rows):
            end = min(start + self._limits.max_rows, len(messages))
            rows = block(layout, messages[start:end], positions.take(np.arange(start, end)), self._plan.topic)
            yield from _by_dates(rows, self._limits.max_dates)

    # ------------------------------------------------------------------------------------------------------- writing

    def _write_block(self, table: str, rows: pa.Table, fence: Mapping[int, int]) -> int:
        """Insert the rows of a block that ClickHouse does not have; return their number."""
        pending = rows
        partitions, offsets = _column(rows, "_partition"), _column(rows, "_offset")
        if any((offsets[partitions == partition] <= highest).any() for partition, highest in fence.items()):
            pending = self._patiently("asking what is there", lambda: self._missing(rows))
        count = int(pending.num_rows)
        if count == 0:
            return 0
        in_doubt = False

        def insert() -> None:
            nonlocal pending, in_doubt
            if self._show_life() or in_doubt:
                self._wait_for_running_inserts()
                pending = self._missing(pending)
            if pending.num_rows:
                # From here on an error leaves open whether the rows arrived.
                in_doubt = True
                self._connected().insert_arrow(table, pending, settings=self._insert_settings())

        self._patiently(f"writing {count} rows to {table}", insert)
        return count

    def _show_life(self) -> bool:
        """Note that this writer is at work; return whether it may have a successor by now."""
        now = self._clock()
        if now - self._alive_at > LEASE_S:
            self._cautious_until = now + CAUTION_S
        self._alive_at = now
        return now < self._cautious_until

    def _insert_settings(self) -> dict[str, Any]:
        return {
            "query_id": f"{self._query_prefix}{uuid.uuid4().hex}",
            # One answer for one block that is on disk: no buffering on the server, no deduplication by content.
            "async_insert": 0,
            "insert_deduplicate": 0,
            "max_execution_time": INSERT_TIME_S,
        }

    def _read_fence(self) -> dict[int, int]:
        """The highest offset of each partition of the topic that any earlier run wrote."""
        self._wait_for_running_inserts()
        fence: dict[int, int] = {}
        for table in self._tables:
            result = self._connected().query(
                f"SELECT _partition, max(_offset) FROM {table} WHERE _topic = {{topic:String}} "
                "GROUP BY _topic, _partition",
                {"topic": self._plan.topic},
            )
            for partition, offset in result.result_rows:
                fence[partition] = max(offset, fence.get(partition, -1))
        return fence

    def _missing(self, rows: pa.Table) -> pa.Table:
        """The rows of a block that ClickHouse has neither in the topic's table nor as dead letters or tombstones."""
        partitions, offsets = _column(rows, "_partition"), _column(rows, "_offset")
        missing = np.ones(rows.num_rows, dtype=bool)
        for partition in np.unique(partitions):
            here = partitions == partition
            present = self._present(int(partition), int(offsets[here].min()), int(offsets[here].max()))
            missing[here] = ~np.isin(offsets[here], present)
        return rows.filter(pa.array(missing))

    def _present(self, partition: int, first: int, last: int) -> npt.NDArray[np.int64]:
        """The offsets in [first, last] that are there, in any date: an older release may have filed a record elsewhere."""
        found: list[int] = []
        for table in self._tables:
            result = self._connected().query(
                f"SELECT _offset FROM {table} WHERE _topic = {{topic:String}} AND _partition = {{partition:UInt16}} "
                "AND _offset BETWEEN {first:UInt64} AND {last:UInt64}",
                {"topic": self._plan.topic, "partition": partition, "first": first, "last": last},
            )
            found += [row[0] for row in result.result_rows]
        return np.array(found, dtype=np.int64)

    def _wait_for_running_inserts(self) -> None:
        """Return when no insert of this lane is running on the server. Raises ArchiveError after INSERT_TIME_S."""
        deadline = self._clock() + INSERT_TIME_S + LONGEST_PAUSE_S
        while True:
            (row,) = (
                self._connected()
                .query(
                    "SELECT count() FROM system.processes WHERE startsWith(query_id, {prefix:String})",
                    {"prefix": self._query_prefix},
                )
                .result_rows
            )
            if row[0] == 0:
                return
            if self._clock() > deadline:
                raise ArchiveError(
                    f"{row[0]} inserts of an earlier run are still running on ClickHouse: "
                    f"KILL QUERY WHERE startsWith(query_id, '{self._query_prefix}')"
                )
            self._pause(FIRST_PAUSE_S)

    # ------------------------------------------------------------------------------------------------------ patience

    def _connected(self) -> Client:
        if self._client is None:
            self._client = self._connect()
            # PyFlink's thread mode closes a function at the end of a bounded input only: a job that is stopped, cancelled or
            # restarted just lets go of it, in a process that lives on.
            self._closing = weakref.finalize(self, _close, self._client)
        return self._client

    def _patiently(self, what: str, action: Callable[[], T]) -> T:
        """Run `action` until it succeeds, with growing pauses, for at most `retry_s`; then raise ArchiveError."""
        deadline = self._clock() + self._limits.retry_s
        pause = FIRST_PAUSE_S
        while True:
            try:
                return action()
            except (ClickHouseError, RegistryError, OSError) as error:
                code = None if isinstance(error, RegistryError) else getattr(error, "code", None)
                reason = _PERMANENT.get(code or 0)
                if reason is not None:
                    raise ArchiveError(
                        f"{what}: {reason} ({error}). Run `tradestream migrate` and check the user's rights"
                    ) from error
                if self._clock() + pause > deadline:
                    raise ArchiveError(
                        f"{what}: no success in {self._limits.retry_s:.0f} s; the last error was: {error}. The job "
                        "restarts from its last checkpoint; nothing is lost while Kafka keeps the records"
                    ) from error
                log.warning("%s failed, next attempt in %.1f s: %s", what, pause, error)
                # A broken connection is not used again.
                self.close()
                self._pause(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)


def _close(client: Client) -> None:
    try:
        client.close()
    except Exception:  # whatever is wrong with a connection, it is not used again
        log.warning("a connection to ClickHouse did not close", exc_info=True)


def _column(rows: pa.Table, name: str) -> npt.NDArray[np.int64]:
    values: npt.NDArray[np.int64] = rows.column(name).to_numpy().astype(np.int64)
    return values


def _by_dates(rows: pa.Table, most: int) -> Iterator[pa.Table]:
    """Slices of a block that is ordered by event_date, with at most `most` dates each."""
    dates = rows.column("event_date").cast(pa.int32()).to_numpy()
    firsts = np.flatnonzero(np.concatenate((np.ones(1, dtype=bool), dates[1:] != dates[:-1])))
    starts = [int(firsts[i]) for i in range(0, len(firsts), most)]
    for start, end in zip(starts, [*starts[1:], rows.num_rows], strict=True):
        yield rows.slice(start, end - start)
