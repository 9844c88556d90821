"""The audit trail in a real ClickHouse engine: every way of tampering is found; exports; the life of an order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archive_gateway import NOON_NS, SCHEMA_ID, GatewayProcess, connect, frame, writer
from click.testing import CliRunner

from jobs import migrate
from jobs.audit_reading import clickhouse_links, walk_clickhouse
from jobs.audit_sources import Source, walk_sources
from jobs.cli_audit import audit
from jobs.cli_common import META_OVERRIDES
from jobs.config import Config
from schemas.catalogue import TOPICS
from udfs.domain.audit_shard import AuditShard, envelope
from udfs.domain.audit_verify import SourceRecord
from udfs.domain.sources import AUDIT
from udfs.operators.arrow_blocks import Positions
from udfs.operators.decode_records import Batch

NOON_MS: Final = NOON_NS // 1_000_000
DAY_MS: Final = 86_400_000
RECORDS: Final = 14
"""Records of each chain, a day's ten and four of the next; blocks of four leave two links and then none without a root."""
CHAINS: Final = (("orders", 0), ("orders", 1), ("market-data", 0), ("controls", 0))
LINKS: Final = len(CHAINS) * RECORDS


@pytest.fixture(scope="module")
def database(gateway: GatewayProcess) -> Config:
    config = gateway.config("audit_trail")
    migrate.apply(config, print)
    return config


@pytest.fixture
def config(database: Config) -> Config:
    """The database with a good trail and nothing else."""
    client = connect(database)
    for table in ("audit_records", "audit_roots", "dead_letters"):
        client.command(f"TRUNCATE TABLE {table}")
    shard = AuditShard(0, 1, dict.fromkeys(TOPICS, SCHEMA_ID), 4, "market-data")
    for at in range(RECORDS):
        for topic, partition in CHAINS:
            value = None if at == 3 else frame(topic)
            data = envelope(topic, NOON_MS + at + (DAY_MS if at >= 10 else 0), None if at == 4 else b"\xff key", value)
            # Offsets have gaps, as where the markers of transactions are.
            shard.apply(AUDIT, data, partition, 2 * at, 0)
    for lane in shard.outbox.lanes():
        positions = Positions.of([0] * len(lane.values), range(len(lane.values)), [NOON_MS] * len(lane.values))
        assert writer(database, lane.topic).write(Batch(lane.values, positions)).refused == 0
    return database


def run(config: Config, *words: str) -> tuple[int, dict[str, Any]]:
    """Exit code and the last line's object of a command."""
    parent = click.Context(click.Group())
    parent.meta[META_OVERRIDES] = {
        "clickhouse.url": config.clickhouse.url,
        "clickhouse.database": config.clickhouse.database,
    }
    result = CliRunner().invoke(audit, [*words, "--json"], parent=parent)
    assert result.exit_code in (0, 1), result.output
    return result.exit_code, json.loads(result.stdout.splitlines()[-1])


def test_verify_of_a_good_trail_finds_nothing(config: Config) -> None:
    report = walk_clickhouse(connect(config))
    assert (report.records, report.broken, report.blocks, report.first) == (LINKS, 0, 4 * 4, [])
    assert report.chains == {"orders-0": RECORDS, "orders-1": RECORDS, "market-data-0": RECORDS, "controls-0": RECORDS}


@pytest.mark.parametrize("page", [1, 3, 14, 100])
def test_links_by_pages_are_all_the_links(config: Config, page: int) -> None:
    links = list(clickhouse_links(connect(config), ("orders", 1), page=page))
    assert [link.source_offset for link in links] == [2 * at for at in range(RECORDS)]


ROW: Final = "source_topic = '{topic}' AND source_partition = 0 AND source_offset = {offset}"
ALTERED: Final = {
    "payload": "payload = concat(payload, 'x')",
    "key": "record_key = 'other'",
    "payload taken out": "kept = false, payload = NULL, record_key = NULL",
    "actor": "actor = 'somebody'",
    "type": "event_type = 'OrderCommand.CANCEL'",
    "time": "timestamp = timestamp + 1",
    "kind": "source = 'REPORT'",
    "record hash": "record_hash = reverse(record_hash)",
    "chain hash": "chain_hash = reverse(chain_hash)",
    "identity": "event_id = 'orders-0-99'",
}


# The first link, one within a block, the last ones of a day and of the trail, in turn.
@pytest.mark.parametrize(
    ("change", "offset"),
    [(change, (0, 10, 18, 26)[number % 4]) for number, change in enumerate(ALTERED.values())],
    ids=ALTERED,
)
def test_altered_row_is_found_and_named(config: Config, change: str, offset: int) -> None:
    alter(config, f"UPDATE {change} WHERE {ROW.format(topic='orders', offset=offset)}")
    assert_first(config, "orders", offset)


def test_altered_hash_of_a_record_whose_payload_is_not_kept_is_found(config: Config) -> None:
    alter(config, f"UPDATE record_hash = reverse(record_hash) WHERE {ROW.format(topic='market-data', offset=8)}")
    assert_first(config, "market-data", 8)


@pytest.mark.parametrize(("topic", "offset"), [("orders", 0), ("market-data", 6), ("orders", 10), ("orders", 18)])
def test_deleted_row_is_found_at_the_link_that_follows(config: Config, topic: str, offset: int) -> None:
    alter(config, f"DELETE WHERE {ROW.format(topic=topic, offset=offset)}")
    assert_first(config, topic, offset + 2)


def test_deleted_last_row_is_found_by_the_root(config: Config) -> None:
    alter(config, f"DELETE WHERE {ROW.format(topic='orders', offset=26)}")
    assert_first(config, "orders", 26)


def test_deleted_chain_is_found_by_its_roots(config: Config) -> None:
    alter(config, "DELETE WHERE source_topic = 'controls'")
    assert_first(config, "controls", 6)


def test_inserted_row_is_found(config: Config) -> None:
    insert(config, "orders", 10, "11 AS source_offset, 'orders-0-11' AS event_id, _offset + 1 AS _offset")
    assert_first(config, "orders", 11)


def test_row_that_is_there_twice_is_found(config: Config) -> None:
    insert(config, "orders", 10, "'orders-0-10' AS event_id")
    assert_first(config, "orders", 10)


def test_exchanged_rows_are_found(config: Config) -> None:
    (first,), (second,) = (
        connect(config)
        .query(f"SELECT _offset FROM audit_records WHERE {ROW.format(topic='orders', offset=o)}")
        .result_rows
        for o in (8, 12)
    )
    insert(config, "orders", 8, f"toUInt64({second[0]}) AS _offset")
    insert(config, "orders", 12, f"toUInt64({first[0]}) AS _offset")
    for offset, place in ((8, first[0]), (12, second[0])):
        alter(config, f"DELETE WHERE {ROW.format(topic='orders', offset=offset)} AND _offset = {place}")
    assert walk_clickhouse(connect(config)).records == LINKS
    assert_first(config, "orders", 12)


@pytest.mark.parametrize(
    ("change", "offset"),
    [
        ("UPDATE merkle_root = reverse(merkle_root)", 14),
        ("UPDATE chain_hash = reverse(chain_hash)", 14),
        ("UPDATE record_count = 5", 14),
        ("DELETE", 18),
    ],
)
def test_tampered_root_is_found(config: Config, change: str, offset: int) -> None:
    alter(config, f"{change} WHERE chain = 'orders-0' AND first_offset = 8", table="audit_roots")
    assert_first(config, "orders", offset)


def alter(config: Config, change: str, table: str = "audit_records") -> None:
    connect(config).command(f"ALTER TABLE {table} {change} SETTINGS mutations_sync = 2")


def insert(config: Config, topic: str, offset: int, replaced: str) -> None:
    """Put in a copy of a row with some columns replaced."""
    where = ROW.format(topic=topic, offset=offset)
    # The inner query keeps the condition away from the columns that are replaced.
    connect(config).command(
        f"INSERT INTO audit_records SELECT * REPLACE ({replaced}) FROM (SELECT * FROM audit_records WHERE {where})"
    )


def assert_first(config: Config, topic: str, offset: int) -> None:
    """The walk finds something, in this chain alone, first at this offset."""
    report = walk_clickhouse(connect(config))
    assert report.broken > 0
    assert [line.partition(":")[0] for line in report.first] == [f"{topic}-0 offset {offset}"], report.first


def test_command_tells_records_and_broken(config: Config) -> None:
    code, answer = run(config, "verify", "--in", "clickhouse")
    assert (code, answer["records"], answer["broken"]) == (0, LINKS, 0)
    alter(config, f"DELETE WHERE {ROW.format(topic='orders', offset=6)}")
    code, answer = run(config, "verify", "--in", "clickhouse")
    assert (code, answer["records"]) == (1, LINKS - 1) and answer["broken"] > 0
    assert answer["clickhouse"]["first"][0].startswith("orders-0 offset 8: the link does not follow the one before it")


def sources(first: int = 0, more: int = 0, **changed: Any) -> Iterator[Source]:
    """The topics as Kafka has them from an offset on, `more` records behind the last link; changed: values by "o<offset>"."""
    for topic, partition in CHAINS:
        records = []
        for at in range(RECORDS + more):
            value = changed.get(f"o{2 * at}", None if at == 3 else frame(topic))
            records.append(SourceRecord(2 * at, None if at == 4 else b"\xff key", value))
        kept = [record for record in records if record.offset >= first and record.value != b"gone"]
        yield Source((topic, partition), first, iter(kept))


def test_links_beside_their_topics_are_complete_and_true(config: Config) -> None:
    client = connect(config)
    report, waiting = walk_sources(client, sources())
    assert (report.records, report.broken, waiting) == (LINKS, 0, 0), report.first
    assert report.blocks == walk_clickhouse(client).blocks
    # What Kafka has deleted is compared with the chain only; what has no link yet waits.
    report, waiting = walk_sources(client, sources(first=10, more=2))
    assert (report.records, report.broken, waiting) == (LINKS, 0, 2 * len(CHAINS)), report.first


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"o8": b"altered"}, "offset 8: the record and its link differ"),
        ({"o8": b"gone"}, "offset 8: a link has no record"),
    ],
)
def test_topic_that_was_tampered_with_is_found_beside_the_links(config: Config, changed: Any, fault: str) -> None:
    report, _ = walk_sources(connect(config), sources(**changed))
    assert report.broken == len(CHAINS)
    found = [line.partition("-")[2].partition(" ")[2] for line in report.first]
    assert all(line.startswith(fault) for line in found), report.first


def test_record_without_a_link_is_found_beside_its_topic(config: Config) -> None:
    alter(config, f"DELETE WHERE {ROW.format(topic='orders', offset=6)}")
    report, _ = walk_sources(connect(config), sources())
    assert report.first[0].startswith("orders-0 offset 6: a record has no link"), report.first
    assert {line.partition(" ")[0] for line in report.first} == {"orders-0"}


@pytest.mark.parametrize(
    ("days", "links", "roots"),
    [
        (("2026-01-02", "2026-01-02"), 40, 12),
        (("2026-01-03", "2026-01-03"), 16, 4),
        (("2026-01-01", "2026-01-03"), LINKS, 16),
        (("2026-01-04", "2026-02-01"), 0, 0),
    ],
)
def test_export_of_days_has_their_links_and_verifies_by_itself(
    config: Config, tmp_path: Path, days: tuple[str, str], links: int, roots: int
) -> None:
    out = tmp_path / "out"
    code, answer = run(config, "export", "--from", days[0], "--to", days[1], "--out", str(out))
    assert (code, answer["records"], answer["roots"], answer["broken"]) == (0, links, roots, 0)
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["from"], manifest["to"], manifest["records"], manifest["roots"]) == (*days, links, roots)
    assert sum(pq.ParquetFile(file).metadata.num_rows for file in (out / "records").glob("*.parquet")) == links
    code, answer = run(config, "verify-export", str(out))
    assert (code, answer["records"], answer["roots"], answer["broken"]) == (0, links, roots, 0)


def change_rows(file: Path, change: str) -> None:
    """Rewrite a Parquet file with one thing changed."""
    table = pq.read_table(file)
    rows = table.to_pylist()
    if change == "delete":
        del rows[5]
    elif change == "insert":
        rows.insert(5, rows[4] | {"source_offset": 9})
    elif change == "exchange":
        rows[4], rows[5] = rows[5], rows[4]
    else:
        rows[5]["actor"] = "somebody"
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), file)


@pytest.mark.parametrize(
    ("change", "known"), [("alter", True), ("delete", False), ("insert", False), ("exchange", False), ("alter", False)]
)
def test_tampered_export_is_found_even_when_its_manifest_was_adapted(
    config: Config, tmp_path: Path, change: str, known: bool
) -> None:
    out = tmp_path / "out"
    run(config, "export", "--from", "2026-01-02", "--to", "2026-01-03", "--out", str(out))
    change_rows(out / "records" / "orders.parquet", change)
    if not known:
        manifest = json.loads((out / "manifest.json").read_text())
        data = (out / "records" / "orders.parquet").read_bytes()
        manifest["files"]["records/orders.parquet"]["sha256"] = hashlib.sha256(data).hexdigest()
        (out / "manifest.json").write_text(json.dumps(manifest))
    code, answer = run(config, "verify-export", str(out))
    assert code == 1 and answer["broken"] > 0
    assert any("orders-0" in line for line in answer["first"])
    assert any("not the one that was exported" in line for line in answer["first"]) == known


def test_export_that_lacks_a_file_or_has_one_more_is_found(config: Config, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(config, "export", "--from", "2026-01-02", "--to", "2026-01-03", "--out", str(out))
    (out / "records" / "controls.parquet").unlink()
    (out / "more.txt").write_text("put in")
    code, answer = run(config, "verify-export", str(out))
    assert code == 1
    assert any(line == "records/controls.parquet: the file is not there" for line in answer["first"])
    assert any(line == "more.txt: the manifest does not have it" for line in answer["first"])


def test_export_into_a_folder_that_is_not_empty_is_refused(config: Config, tmp_path: Path) -> None:
    (tmp_path / "old").write_text("here")
    parent = click.Context(click.Group())
    parent.meta[META_OVERRIDES] = {
        "clickhouse.url": config.clickhouse.url,
        "clickhouse.database": config.clickhouse.database,
    }
    words = ["export", "--from", "2026-01-02", "--to", "2026-01-02", "--out", str(tmp_path)]
    result = CliRunner().invoke(audit, words, parent=parent)
    assert result.exit_code == 1 and "is not empty" in result.output
