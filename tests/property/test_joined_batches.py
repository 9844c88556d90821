"""Batches that have queued up in front of a stage are given out together, once and in order, also when it restarts meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

import pytest
from pyflink.common import Row
from simulator_state import Handles

from udfs.operators.run_shard import CHUNK, RunShard, Stage

NOW_MS = 5_000


class _Lane:
    topic = "seen"

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.values: list[bytes] = []


class _Outbox:
    def __init__(self) -> None:
        self.seen = _Lane()

    def lanes(self) -> Sequence[_Lane]:
        return [self.seen]

    def clear(self) -> None:
        self.seen = _Lane()

    def write(self, value: bytes) -> None:
        self.seen.keys.append(b"")
        self.seen.values.append(value)


class _Engine:
    """Publishes what it is given, and how many records those were when it is told to write its sums."""

    def __init__(self, shard: int) -> None:
        self.count = 0
        self.outbox = _Outbox()

    def apply(self, source: int, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        self.count += 1
        self.outbox.write(payload)

    def flush(self) -> None:
        if self.count:
            self.outbox.write(b"sum of %d" % self.count)
        self.count = 0

    def snapshot(self) -> bytes:
        return b"%d" % self.count

    def restore(self, state: bytes) -> None:
        self.count = int(state)


class Job:
    """The operator on a clock of our own, its timers, and what it has given out: the values of each row."""

    def __init__(self, handles: Handles, *, part: int = 256, hold_ms: int = 0) -> None:
        self.now_s = NOW_MS / 1_000
        self.timers: set[int] = set()
        self.handles = handles
        stage = Stage(
            "see", _Engine, part=part, hold_ms=hold_ms, join_after=3, keys=(handles.key[1],), clock=lambda: self.now_s
        )
        self.operator = RunShard(stage)
        self.operator.open(handles)

    def timer_service(self) -> Job:
        return self

    def register_processing_time_timer(self, timestamp: int) -> None:
        self.timers.add(timestamp)

    def get_current_key(self) -> int:
        return self.handles.key[1]

    def send(self, *payloads: bytes) -> list[list[bytes]]:
        row: Any = Row(0, 1, list(payloads), list(range(len(payloads))), 0)
        return _values(self.operator.process_element(row, self))

    def ring(self) -> list[list[bytes]]:
        """The next timer is due."""
        timestamp = min(self.timers)
        self.timers.remove(timestamp)
        self.now_s = max(self.now_s, timestamp / 1_000)
        return _values(self.operator.on_timer(timestamp, self))


def _values(rows: Iterator[Any]) -> list[list[bytes]]:
    return [row[2] for row in rows]


@pytest.fixture
def handles() -> Iterator[Handles]:
    """State of the one shard; the operators that run on it have switched the garbage collector off."""
    handles = Handles(drop_journal=False)
    handles.key = ("see", 0)
    yield handles
    RunShard(Stage("see", _Engine)).close()


def test_batches_that_have_queued_up_are_given_out_together(handles: Handles) -> None:
    job = Job(handles)
    assert job.send(b"1") == [[b"1", b"sum of 1"]]
    assert job.send(b"2") == [[b"2", b"sum of 1"]]
    assert job.send(b"3", b"4") == []
    assert job.timers == {NOW_MS}
    assert job.send(b"5") == []
    assert job.timers == {NOW_MS}
    assert job.ring() == [[b"3", b"4", b"5", b"sum of 3"]]
    # The queue is empty: what comes later does not wait.
    job.now_s += 0.001
    assert job.send(b"6") == [[b"6", b"sum of 1"]]
    assert job.timers == set()


def test_batches_with_pauses_between_them_do_not_wait(handles: Handles) -> None:
    job = Job(handles)
    for number in range(10):
        job.now_s += 0.001
        assert len(job.send(b"%d" % number)) == 1


def test_batch_that_fills_the_part_ends_the_wait(handles: Handles) -> None:
    job = Job(handles, part=8)
    for _ in range(2):
        job.send(b"x")
    assert job.send(b"1", b"2", b"3") == []
    assert job.send(b"4", b"5", b"6", b"7") == []
    assert job.send(b"8", b"9") == [[b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"8"], [b"9", b"sum of 9"]]
    # Its timer has nothing left to do.
    assert job.ring() == []
    assert len(handles.state[handles.key]["journal"]) == 5


def test_large_batch_never_waits(handles: Handles) -> None:
    job = Job(handles)
    for number in range(5):
        rows = job.send(*[b"%d" % number] * 256)
        assert sum(map(len, rows)) == 257
        assert max(map(len, rows)) == CHUNK


@pytest.mark.parametrize("by_timer", [True, False])
def test_job_restored_while_batches_wait_gives_them_out_once(handles: Handles, by_timer: bool) -> None:
    job = Job(handles)
    for number in range(4):
        job.send(b"%d" % number)
    checkpoint, timers = deepcopy(handles.state[handles.key]), set(job.timers)
    # What the crash takes back.
    assert job.ring() == [[b"2", b"3", b"sum of 2"]]
    again = Handles(drop_journal=False)
    again.key = handles.key
    again.restore(again.key, checkpoint)
    restored = Job(again)
    restored.timers = timers
    if by_timer:
        assert restored.ring() == [[b"2", b"3", b"sum of 2"]]
    else:
        assert restored.send(b"4") == []
        assert restored.ring() == [[b"2", b"3", b"4", b"sum of 3"]]
    restored.now_s += 0.001
    assert restored.send(b"5") == [[b"5", b"sum of 1"]]


def test_sums_are_written_at_their_own_time(handles: Handles) -> None:
    job = Job(handles, hold_ms=100)
    for number in range(4):
        job.send(b"%d" % number)
    assert job.timers == {NOW_MS, NOW_MS + 100}
    assert job.ring() == [[b"2", b"3"]]
    job.now_s += 0.001
    assert job.send(b"4") == [[b"4"]]
    assert job.ring() == [[b"sum of 5"]]
    assert job.timers == set()
