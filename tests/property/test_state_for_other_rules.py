"""A state that a release with other rules takes over: without a journal nothing is applied again, by rules of another time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from pyflink.common import Row
from simulator_state import Handles

from udfs.operators.run_shard import RunShard, Stage

TOPIC = "totals"


class _Lane:
    topic = TOPIC

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.values: list[bytes] = []


class _Outbox:
    def __init__(self) -> None:
        self.totals = _Lane()

    def lanes(self) -> Sequence[_Lane]:
        return [self.totals]

    def clear(self) -> None:
        self.totals = _Lane()


class _Engine:
    """Adds a record's number as often as its release's rules say, and publishes the total."""

    def __init__(self, shard: int, *, times: int) -> None:
        self.times = times
        self.total = 0
        self.outbox = _Outbox()

    def apply(self, source: int, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        self.total += self.times * int(payload)
        self.outbox.totals.keys.append(b"")
        self.outbox.totals.values.append(b"%d" % self.total)

    def flush(self) -> None:
        """Nothing is written once a batch."""

    def snapshot(self) -> bytes:
        return b"%d" % self.total

    def restore(self, state: bytes) -> None:
        self.total = int(state)


def run(handles: Handles, times: int, compact_bytes: int, *batches: list[bytes]) -> list[int]:
    """What a job with these rules publishes, started with the state that there is and stopped after the batches."""
    operator = RunShard(Stage("add", partial(_Engine, times=times), compact_bytes=compact_bytes))
    operator.open(handles)
    published: list[int] = []
    try:
        for payloads in batches:
            row: Any = Row(0, 1, payloads, list(range(len(payloads))), 0)
            for topic, _, values in operator.process_element(row, None):
                assert topic == TOPIC
                published.extend(map(int, values))
    finally:
        operator.close()
    return published


@pytest.mark.parametrize(("compact_bytes", "first_total"), [(0, 15 + 2), (4 * 1024 * 1024, 2 * 15 + 2)])
def test_other_rules_go_on_from_what_was_published_only_without_a_journal(compact_bytes: int, first_total: int) -> None:
    handles = Handles(drop_journal=False)
    handles.key = ("add", 0)
    old = run(handles, 1, 4 * 1024 * 1024, [b"1", b"2"], [b"4"])
    assert old == [1, 3, 7]
    # The old release once more, as it is told before an upgrade: a batch is enough to leave no journal.
    assert run(handles, 1, compact_bytes, [b"8"]) == [15]
    journal = handles.state[handles.key].get("journal", [])
    assert (not journal) == (compact_bytes == 0)
    # The new rules count twice: from the 15 that was published, or from what all before would have come to by them.
    assert run(handles, 2, 4 * 1024 * 1024, [b"1"]) == [first_total]
