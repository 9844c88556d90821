"""Migrations against a real ClickHouse engine."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import pytest
from archive_gateway import NOON_NS, SCHEMA_ID, GatewayProcess, connect, frame, writer
from click.testing import CliRunner

from jobs import migrate
from jobs.cli_common import META_OVERRIDES
from jobs.config import Config
from jobs.migrations import FOLDER, MigrationError
from schemas.catalogue import TOPICS
from udfs.operators.arrow_blocks import Positions, block, plan_of
from udfs.operators.decode_records import Batch
from udfs.operators.tombstones import layout_of


@pytest.fixture
def config(gateway: GatewayProcess, request: pytest.FixtureRequest) -> Config:
    return gateway.config(request.node.name[:60])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two small migrations that a test may change."""
    (tmp_path / "0001_a.sql").write_text("CREATE TABLE IF NOT EXISTS a (x Int8) ENGINE = MergeTree ORDER BY x;")
    (tmp_path / "0001_a.down.sql").write_text("DROP TABLE IF EXISTS a SYNC;")
    (tmp_path / "0002_b.sql").write_text("CREATE TABLE IF NOT EXISTS b (x Int8) ENGINE = MergeTree ORDER BY x;")
    return tmp_path


def names(config: Config) -> set[str]:
    rows = connect(config).query("SELECT name FROM system.tables WHERE database = currentDatabase()").result_rows
    return {row[0] for row in rows}


def test_apply_twice_creates_all_and_changes_nothing_more(config: Config) -> None:
    assert not any(state.applied for state in migrate.status(config))
    assert len(migrate.apply(config, print, dry_run=True)) == len(migrate.status(config))
    applied = migrate.apply(config, print)
    assert applied == [state.migration for state in migrate.status(config)]
    assert migrate.apply(config, print) == []
    assert all(state.applied and not state.changed for state in migrate.status(config))
    tables = {plan_of(topic).table for topic in TOPICS}
    assert tables | {"schema_migrations", "pipeline_counts"} <= names(config)
    assert "schema_migrations_lock" not in names(config)


def test_apply_tables_have_the_types_of_the_mapping_and_comments(config: Config) -> None:
    migrate.apply(config, print)
    client = connect(config)
    for topic in TOPICS:
        plan = plan_of(topic)
        columns = client.query(
            "SELECT name, type, comment, compression_codec FROM system.columns "
            "WHERE database = currentDatabase() AND table = {table:String}",
            {"table": plan.table},
        ).result_rows
        assert {name: kind for name, kind, _, _ in columns} == plan.clickhouse_types()
        assert [name for name, _, comment, codec in columns if not (comment and codec)] == []
    layouts = client.query(
        "SELECT name, type, comment, compression_codec FROM system.columns "
        "WHERE database = currentDatabase() AND table = 'tombstones'"
    ).result_rows
    assert {name: kind for name, kind, _, _ in layouts} == layout_of("orders").clickhouse_types()
    assert all(comment and codec for _, _, comment, codec in layouts)
    described = (FOLDER / "views.md").read_text(encoding="utf-8")
    views = client.query(
        "SELECT name, comment, engine FROM system.tables WHERE database = currentDatabase() AND name NOT LIKE 'schema_%'"
    ).result_rows
    for name, comment, engine in views:
        assert "Grain:" in comment, name
        if engine == "View":
            assert f"## {name}\n" in described, name
            for (column,) in client.query(
                "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = {table:String}",
                {"table": name},
            ).result_rows:
                assert f"`{column}`" in described.split(f"## {name}\n")[1].split("\n## ")[0], f"{name}.{column}"


def test_apply_several_migrators_at_once_apply_each_once(config: Config) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: migrate.apply(config, print), range(4)))
    numbers = sorted(migration.number for migrations in done for migration in migrations)
    assert numbers == [state.migration.number for state in migrate.status(config)]
    assert connect(config).query("SELECT count() FROM schema_migrations").result_rows == [(len(numbers),)]


def test_apply_changed_file_is_an_error_that_names_it(config: Config, folder: Path) -> None:
    migrate.apply(config, print, folder=folder)
    with (folder / "0002_b.sql").open("a") as file:
        file.write("-- changed\n")
    assert [state.changed for state in migrate.status(config, folder)] == [False, True]
    with pytest.raises(MigrationError, match=r"0002_b\.sql changed after being applied"):
        migrate.apply(config, print, folder=folder)


def test_apply_older_release_refuses_newer_database(config: Config, folder: Path) -> None:
    migrate.apply(config, print, folder=folder)
    (folder / "0002_b.sql").unlink()
    with pytest.raises(MigrationError, match=r"migrations \[2\] that this release does not know"):
        migrate.apply(config, print, folder=folder)


def test_apply_failing_statement_is_named_and_can_be_repeated(config: Config, folder: Path) -> None:
    bad = folder / "0003_c.sql"
    bad.write_text("CREATE TABLE IF NOT EXISTS c (x Int8) ENGINE = MergeTree ORDER BY x; SELECT nothing;")
    with pytest.raises(MigrationError, match="0003_c, statement 2 of 2"):
        migrate.apply(config, print, folder=folder)
    assert [state.applied for state in migrate.status(config, folder)] == [True, True, False]
    bad.write_text("CREATE TABLE IF NOT EXISTS c (x Int8) ENGINE = MergeTree ORDER BY x; SELECT 1;")
    assert [str(migration) for migration in migrate.apply(config, print, folder=folder)] == ["0003_c"]


def test_down_reverts_to_target_and_apply_brings_back(config: Config, tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "sql")
    everything = migrate.apply(config, print, folder=tmp_path / "sql")
    reverted = migrate.down(config, 2, print, folder=tmp_path / "sql")
    assert [migration.number for migration in reverted] == [m.number for m in reversed(everything) if m.number > 2]
    assert names(config) == {"market_data", "nbbo", "schema_migrations"}
    assert migrate.apply(config, print, folder=tmp_path / "sql") == everything[2:]


OLD_RELEASE = 9
"""The last migration of the first release."""
NEW_COLUMNS = {
    "market_data": [
        *("eligible", "trade_id", "original_event_id", "original_price", "original_volume", "original_timestamp"),
        *("original_eligible", "missing"),
    ],
    "orders": ["locate_id", "imbalance_only", "do_not_reduce"],
    "nbbo": ["trade_high", "trade_low", "trade_count", "trade_price_sum"],
    "risk_events": ["control_id", "issued_by", "quantity", "cash_change"],
    "routing_decisions": ["venue_fee"],
    "trade_events": ["fees"],
}


def test_release_before_upgrades_with_its_rows_and_goes_on_writing(config: Config, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(FOLDER, old, ignore=lambda _, names: [name for name in names if name[:4] > f"{OLD_RELEASE:04d}"])
    migrate.apply(config, print, folder=old)
    client = connect(config)

    def write_as_the_old_release(offset: int) -> None:
        for table in NEW_COLUMNS:
            client.insert(table, [["AAPL", 7, offset]], column_names=["symbol", "_partition", "_offset"])

    def rows() -> dict[str, int]:
        return {table: client.query(f"SELECT count() FROM {table}").result_rows[0][0] for table in NEW_COLUMNS}

    write_as_the_old_release(1)
    upgraded = migrate.apply(config, print)
    assert upgraded == [s.migration for s in migrate.status(config) if s.migration.number > OLD_RELEASE]
    write_as_the_old_release(2)
    for table, columns in NEW_COLUMNS.items():
        assert client.query(f"SELECT {', '.join(columns)} FROM {table}").result_rows == [(None,) * len(columns)] * 2
        topic = next(topic for topic in TOPICS if plan_of(topic).table == table)
        positions = Positions.of([7], [3], [NOON_NS // 1_000_000])
        assert writer(config, topic).write(Batch([frame(topic)], positions)).rows == 1
        (found,) = client.query(f"SELECT {', '.join(columns)} FROM {table} WHERE _offset = 3").result_rows
        assert None not in found

    # Back, where the release before knows its tables and views again, and forth.
    assert [m.number for m in migrate.down(config, OLD_RELEASE, print)] == [m.number for m in reversed(upgraded)]
    write_as_the_old_release(4)
    assert rows() == dict.fromkeys(NEW_COLUMNS, 4)
    assert client.query("SELECT count() FROM order_lifecycle").result_rows == [(0,)]
    assert {"market_status", "market_states", "controls_audit"}.isdisjoint(names(config))
    assert migrate.apply(config, print) == upgraded
    assert rows() == dict.fromkeys(NEW_COLUMNS, 4)


def test_latest_prices_know_what_was_archived_before_they_had_a_table_and_survive_going_back(
    config: Config, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    shutil.copytree(FOLDER, old, ignore=lambda _, names: [name for name in names if name[:4] > "0021"])
    migrate.apply(config, print, folder=old)
    client = connect(config)
    states = [("A", 1, None), ("A", 3, 30_0000), ("A", 2, 20_0000), ("B", 5, None)]
    plan = plan_of("nbbo")
    records = [
        plan.decode(frame("nbbo", symbol=name, sequence=number, bidPrice=bid), SCHEMA_ID)
        for name, number, bid in states
    ]
    client.insert_arrow("nbbo", block(plan, records, Positions.of([0] * 4, range(4), [NOON_NS // 1_000_000] * 4)))
    query = "SELECT symbol, toString(best_bid), last_sequence FROM latest_prices ORDER BY symbol"
    wanted = [("A", "30", 3), ("B", None, 5)]
    assert client.query(query).result_rows == wanted
    upgraded = migrate.apply(config, print)
    assert client.query("SELECT count() FROM latest_nbbo").result_rows == [(2,)]
    assert client.query(query).result_rows == wanted
    # A migration that failed half-way is run again from its beginning.
    for statement in next(migration for migration in upgraded if migration.name == "latest_nbbo").up:
        client.command(statement)
    assert client.query(query).result_rows == wanted
    migrate.down(config, 21, print)
    assert "latest_nbbo" not in names(config)
    assert client.query(query).result_rows == wanted


def test_down_without_down_file_reverts_nothing(config: Config, folder: Path) -> None:
    migrate.apply(config, print, folder=folder)
    with pytest.raises(MigrationError, match=r"there is no 0002_b\.down\.sql"):
        migrate.down(config, 0, print, folder=folder)
    assert {"a", "b"} <= names(config)


def test_apply_lock_of_a_dead_migrator_is_taken_over(
    config: Config, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate.apply(config, print, folder=folder)
    (folder / "0003_c.sql").write_text("CREATE TABLE IF NOT EXISTS c (x Int8) ENGINE = MergeTree ORDER BY x;")
    connect(config).command(
        "CREATE TABLE schema_migrations_lock (owner String) ENGINE = MergeTree ORDER BY owner COMMENT 'host process 1'"
    )
    monkeypatch.setattr(migrate, "LOCK_WAIT_S", 0.0)
    with pytest.raises(MigrationError, match="host process 1 has been migrating"):
        migrate.apply(config, print, folder=folder)
    monkeypatch.setattr(migrate, "STALE_LOCK_S", -1)
    said: list[str] = []
    assert len(migrate.apply(config, said.append, folder=folder)) == 1
    assert any("taking over the lock of host process 1" in line for line in said)


def test_command_status_and_errors_read_well(gateway: GatewayProcess) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        parent = click.Context(click.Group())
        parent.meta[META_OVERRIDES] = {"clickhouse.url": gateway.url, "clickhouse.database": "by_command"}
        result = CliRunner().invoke(migrate.migrate, list(arguments), parent=parent)
        return result.exit_code, result.output

    code, text = run("--status")
    assert code == 0 and "0001_market_data  pending" in text
    code, text = run()
    assert code == 0 and "applying 0009_views" in text and "migrations applied in by_command" in text
    code, text = run("--status", "--down", "1")
    assert code == 2 and "exclude each other" in text
