"""Records and the real gateway's rows compared: each kind of defect is found, and nothing else."""

from __future__ import annotations

import pytest
from archive_gateway import SCHEMA_ID, GatewayProcess, connect, frame, trades, writer

from jobs import migrate
from jobs.config import Config
from jobs.reconcile_archive import Finding, Row, Tally, merge, plain_rows, stored_rows
from schemas.catalogue import TOPICS
from udfs.operators.arrow_blocks import Positions, block, plan_of
from udfs.operators.decode_records import Batch

PLAN = plan_of("trade-events")


def _row(offset: int, **values: object) -> Row:
    return {"_offset": offset, "price": 1} | values


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ([_row(1), _row(2), _row(4)], []),
        ([_row(1), _row(4)], [Finding("missing", 2)]),
        ([_row(1), _row(2)], [Finding("missing", 4)]),
        ([_row(1), _row(2), _row(3), _row(4)], [Finding("extra", 3)]),
        ([_row(1), _row(2), _row(2), _row(4)], [Finding("extra", 2)]),
        ([_row(1), _row(2), _row(4), _row(9)], [Finding("extra", 9)]),
        ([_row(1), _row(2, price=7), _row(4)], [Finding("different", 2, (("price", 1, 7),))]),
    ],
)
def test_merge_with_one_defect_finds_exactly_it(stored: list[Row], expected: list[Finding]) -> None:
    tally = Tally()
    kafka = [_row(1), _row(2), _row(4)]
    assert list(merge(iter(kafka), iter(stored), tally)) == expected
    assert (tally.compared, tally.missing + tally.extra + tally.different) == (3, len(expected))


def test_merge_of_a_stream_out_of_order_is_refused() -> None:
    with pytest.raises(ValueError, match="ClickHouse gives offset 1 after 2"):
        list(merge(iter([]), iter([_row(2), _row(1)]), Tally()))


@pytest.fixture(scope="module")
def archived(gateway: GatewayProcess) -> Config:
    """Twelve trades over two days, written by the archive's writer into a gateway of our own."""
    config = gateway.config("reconciled")
    migrate.apply(config, print)
    writer(config, "trade-events").write(BATCH)
    return config


BATCH = trades(range(0, 24, 2), days=2)


def _kafka() -> list[Row]:
    messages = [PLAN.decode(payload, SCHEMA_ID) for payload in BATCH.payloads]
    return sorted(plain_rows(block(PLAN, messages, BATCH.positions)), key=lambda row: row["_offset"])


def _compare(config: Config, page: int = 5) -> tuple[Tally, list[Finding]]:
    tally = Tally()
    found = list(merge(iter(_kafka()), stored_rows(connect(config), PLAN, 0, 0, 1_000, page), tally))
    return tally, found


def test_archive_as_written_equals_its_records(archived: Config) -> None:
    tally, found = _compare(archived)
    assert (tally, found) == (Tally(compared=12), [])


@pytest.mark.parametrize("topic", [topic for topic in TOPICS if topic != "trade-events"])
def test_archive_of_every_field_of_a_topic_equals_its_record(archived: Config, topic: str) -> None:
    plan, payload = plan_of(topic), frame(topic)
    positions = Positions.of([0], [3], [1_767_355_200_123])
    writer(archived, topic).write(Batch([payload], positions))
    kafka = plain_rows(block(plan, [plan.decode(payload, SCHEMA_ID)], positions))
    tally = Tally()
    assert list(merge(iter(kafka), stored_rows(connect(archived), plan, 0, 0, 10), tally)) == []
    assert tally.compared == 1


def test_archive_with_each_defect_gives_each_finding(archived: Config) -> None:
    client, table = connect(archived), PLAN.table
    # The subquery keeps the condition from meaning the replaced column.
    where = f"INSERT INTO {table} SELECT * REPLACE"
    client.command(f"CREATE TABLE kept AS {table} ENGINE = MergeTree ORDER BY _offset")
    client.command(f"INSERT INTO kept SELECT * FROM {table}")
    client.command(f"TRUNCATE TABLE {table}")
    client.command(f"INSERT INTO {table} SELECT * FROM kept WHERE _offset NOT IN (4, 10)")
    client.command(
        f"{where} (execution_price + 0.0001 AS execution_price) FROM (SELECT * FROM kept WHERE _offset = 10)"
    )
    client.command(f"{where} (toUInt64(7) AS _offset) FROM (SELECT * FROM kept WHERE _offset = 6)")
    client.command(f"{where} (toUInt64(99) AS _offset) FROM (SELECT * FROM kept WHERE _offset = 6)")
    tally, found = _compare(archived)
    assert tally == Tally(compared=12, missing=1, extra=2, different=1)
    assert [(each.problem, each.offset) for each in found] == [
        ("missing", 4),
        ("extra", 7),
        ("different", 10),
        ("extra", 99),
    ]
    assert [name for name, _, _ in found[2].columns] == ["execution_price"]
    assert [found[at].names["trade_id"] for at in (0, 2)] == ["t-4", "t-10"]
    assert found[0].names.keys() == {"order_id", "trade_id", "account_id", "event_id"}
