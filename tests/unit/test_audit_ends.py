"""Ends of chains that Kafka's audit trail has and ClickHouse's has not: deleted, or still on their way."""

from __future__ import annotations

import pytest

from jobs.audit_reading import Behind, Place, tell_lost_ends
from jobs.audit_walk import Report

UNTIL_MS = 1_000
ORDERS = ("orders", 3)


def place(offset: int, kafka_ms: int = UNTIL_MS) -> Place:
    return Place("audit-records", 1, offset, kafka_ms)


@pytest.mark.parametrize(
    ("kafka_ms", "read_up_to", "coming"),
    [
        (UNTIL_MS, 40, 0),
        # Kafka took it a moment ago.
        (UNTIL_MS + 1, 40, 2),
        # The job has read all before it.
        (UNTIL_MS, 39, 2),
    ],
)
def test_end_of_a_chain_that_is_not_there_is_a_fault_when_the_archive_has_read_it(
    kafka_ms: int, read_up_to: int, coming: int
) -> None:
    report = Report()
    behind = {ORDERS: Behind(2, 17, place(40, kafka_ms))}
    assert tell_lost_ends(report, behind, UNTIL_MS, lambda asked: asked.offset <= read_up_to) == coming
    found = [] if coming else [
        "orders-3 offset 17: the link is not there and 1 behind it, and the archive job has read audit-records-1 offset 40"
    ]  # fmt: skip
    assert (report.broken, report.first) == (len(found), found)


def test_each_chain_is_judged_by_its_own_end() -> None:
    report = Report(broken=1, first=["orders-0 offset 2: something else"])
    behind = {ORDERS: Behind(1, 17, place(40)), ("controls", 0): Behind(5, 0, place(90))}
    assert tell_lost_ends(report, behind, UNTIL_MS, lambda asked: asked.offset < 50) == 5
    assert report.broken == 2
    assert [line.partition(":")[0] for line in report.first] == ["orders-0 offset 2", "orders-3 offset 17"]
