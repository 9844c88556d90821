"""Applying the migrations of sql/clickhouse to a database, in order, once each.

The ledger is the table schema_migrations: one row for each time a migration was applied or reverted, never changed.
The last row of a number says whether it is applied. A file that was changed after it was applied is an error: write a
new migration instead.

Several migrators at once: the first makes the table schema_migrations_lock, which ClickHouse does for one of them
only; the others wait until it is gone, and find nothing left to do. A lock whose owner died is taken over after
`STALE_LOCK_S`. Were two to run at once all the same, each statement may be run twice.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
from clickhouse_connect.driver.exceptions import ClickHouseError

from jobs.cli_common import load_config
from jobs.config import Config, ConfigError
from jobs.migrate_columns import add_missing, missing_columns
from jobs.migrations import FOLDER, Migration, MigrationError, find
from udfs.operators.clickhouse_client import Endpoint

__all__ = ["MigrationError", "State", "apply", "down", "endpoint", "migrate", "status"]

Progress = Callable[[str], None]

LOCK_WAIT_S: Final = 120.0
STALE_LOCK_S: Final = 600
_TABLE_EXISTS: Final = 57

_LEDGER: Final = """
CREATE TABLE IF NOT EXISTS schema_migrations
(
    number UInt32 COMMENT 'Number of the migration.',
    name String COMMENT 'Its name.',
    sha256 FixedString(64) COMMENT 'Digest of the file that was run.',
    applied Bool COMMENT 'True: it was applied. False: it was reverted.',
    applied_at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'When, by the clock of the server.'
)
ENGINE = MergeTree
ORDER BY (number, applied_at)
COMMENT 'The ledger of migrations. Grain: one application or reversal; the last row of a number is its state.'
"""
_LOCK: Final = """
CREATE TABLE schema_migrations_lock (owner String COMMENT 'Host and process that holds it.')
ENGINE = MergeTree ORDER BY owner COMMENT '{owner}'
"""


@dataclass(frozen=True, slots=True)
class State:
    """Where one migration stands. `changed`: the file is not the one that was applied."""

    migration: Migration
    applied: bool
    changed: bool


def endpoint(config: Config) -> Endpoint:
    """The ClickHouse endpoint of the configuration."""
    settings = config.clickhouse
    return Endpoint(settings.url, settings.username, settings.password.reveal(), settings.database)


def status(config: Config, folder: Path = FOLDER) -> list[State]:
    """The state of every migration; an absent database or ledger means that none is applied.

    Raises MigrationError, ClickHouseError.
    """
    migrations = find(folder)
    client = endpoint(config).connect(database="")
    ledger = _ledger(client, config.clickhouse.database)
    unknown = sorted(set(ledger) - {migration.number for migration in migrations})
    if unknown:
        raise MigrationError(
            f"database {config.clickhouse.database} has migrations {unknown} that this release does not know: it was "
            "migrated by a newer one; use that release, or revert them with it"
        )
    return [
        State(migration, migration.number in ledger, ledger.get(migration.number, migration.sha256) != migration.sha256)
        for migration in migrations
    ]


def apply(config: Config, progress: Progress, *, dry_run: bool = False, folder: Path = FOLDER) -> list[Migration]:
    """Apply what is missing and return it; `dry_run` only reports. Columns of new optional fields are added too.

    Safe to repeat, and to run from several places at once.

    Raises MigrationError, ClickHouseError.
    """
    if dry_run:
        pending = _pending(status(config, folder))
        for migration in pending:
            progress(f"would apply {migration}: {len(migration.up)} statements")
        return pending
    _create_database(config)
    client = endpoint(config).connect()
    client.command(_LEDGER)
    if not _pending(status(config, folder)) and not missing_columns(client):
        return []
    with _lock(client, progress):
        pending = _pending(status(config, folder))
        for migration in pending:
            progress(f"applying {migration}")
            _run(client, migration, migration.up)
            _record(client, migration, applied=True)
        add_missing(client, progress)
    return pending


def down(config: Config, target: int, progress: Progress, *, folder: Path = FOLDER) -> list[Migration]:
    """Revert all applied migrations above `target`, the last first, and return them.

    Raises MigrationError when one of them has no .down.sql (nothing is reverted then), ClickHouseError.
    """
    client = endpoint(config).connect()
    with _lock(client, progress):
        states = status(config, folder)
        doomed = [state.migration for state in reversed(states) if state.applied and state.migration.number > target]
        for migration in doomed:
            if migration.down is None:
                raise MigrationError(f"{migration} cannot be reverted: there is no {migration.file.stem}.down.sql")
        for migration in doomed:
            progress(f"reverting {migration}")
            _run(client, migration, migration.down or ())
            _record(client, migration, applied=False)
    return doomed


def _pending(states: Sequence[State]) -> list[Migration]:
    """What is not applied. Raises MigrationError when an applied file was changed or a later one came before an earlier."""
    changed = [state.migration.file.name for state in states if state.changed]
    if changed:
        raise MigrationError(
            f"{', '.join(changed)} changed after being applied: restore the file and put the change into a new migration"
        )
    applied = [state.migration.number for state in states if state.applied]
    pending = [state.migration for state in states if not state.applied]
    if applied and pending and pending[0].number < max(applied):
        raise MigrationError(
            f"{pending[0]} is not applied but {max(applied):04d} is: revert what is above it first, which deletes the tables and "
            f"columns that it made (`tradestream migrate --down {pending[0].number - 1}`)"
        )
    return pending


def _create_database(config: Config) -> None:
    name = config.clickhouse.database
    client = endpoint(config).connect(database="")
    if not client.command("EXISTS DATABASE {name:Identifier}", {"name": name}):
        # Asked first, because a user without the right to create databases may work in one that exists.
        client.command("CREATE DATABASE IF NOT EXISTS {name:Identifier}", {"name": name})


def _ledger(client: Any, database: str) -> dict[int, str]:
    """The digest of each applied migration."""
    known = client.query(
        "SELECT count() FROM system.tables WHERE database = {database:String} AND name = 'schema_migrations'",
        {"database": database},
    ).result_rows
    if not known[0][0]:
        return {}
    rows = client.query(
        "SELECT number, argMax(sha256, applied_at) FROM {database:Identifier}.schema_migrations "
        "GROUP BY number HAVING argMax(applied, applied_at)",
        {"database": database},
    ).result_rows
    return {int(number): digest.decode() if isinstance(digest, bytes) else str(digest) for number, digest in rows}


def _run(client: Any, migration: Migration, statements: Sequence[str]) -> None:
    for index, statement in enumerate(statements, 1):
        try:
            client.command(statement)
        except ClickHouseError as error:
            raise MigrationError(
                f"{migration}, statement {index} of {len(statements)}: {error}. Nothing after it was run; mend the cause "
                "and run `tradestream migrate` again"
            ) from error


def _record(client: Any, migration: Migration, *, applied: bool) -> None:
    client.command(
        "INSERT INTO schema_migrations (number, name, sha256, applied) "
        "SELECT {number:UInt32}, {name:String}, {sha256:String}, {applied:Bool}",
        {
            "number": migration.number,
            "name": migration.name,
            "sha256": migration.sha256,
            "applied": applied,
        },
    )


@contextlib.contextmanager
def _lock(client: Any, progress: Progress) -> Iterator[None]:
    """Hold the lock table. Raises MigrationError when another migrator keeps it."""
    owner = re.sub(r"[^\w .-]", "", f"{platform.node()} process {os.getpid()}")
    deadline = time.monotonic() + LOCK_WAIT_S
    told = False
    while not _take_lock(client, owner):
        holder, age_s = _lock_holder(client)
        if age_s > STALE_LOCK_S:
            progress(f"taking over the lock of {holder}, which is {age_s} s old")
            client.command("DROP TABLE IF EXISTS schema_migrations_lock SYNC")
            continue
        if time.monotonic() > deadline:
            raise MigrationError(
                f"{holder} has been migrating for {age_s} s. If it is dead: DROP TABLE schema_migrations_lock, "
                "then try again"
            )
        if not told:
            progress(f"waiting for {holder}, which is migrating")
            told = True
        time.sleep(0.2)
    try:
        yield
    finally:
        client.command("DROP TABLE IF EXISTS schema_migrations_lock SYNC")


def _take_lock(client: Any, owner: str) -> bool:
    try:
        client.command(_LOCK.replace("{owner}", owner))
    except ClickHouseError as error:
        if getattr(error, "code", None) == _TABLE_EXISTS:
            return False
        raise
    return True


def _lock_holder(client: Any) -> tuple[str, int]:
    """Who has the lock and for how many seconds; nobody when it is gone by now."""
    rows = client.query(
        "SELECT comment, dateDiff('second', metadata_modification_time, now()) FROM system.tables "
        "WHERE database = currentDatabase() AND name = 'schema_migrations_lock'"
    ).result_rows
    return (str(rows[0][0]), int(rows[0][1])) if rows else ("nobody", 0)


# -------------------------------------------------------------------------------------------------- command line


@click.command()
@click.option("--status", "show", is_flag=True, help="Show which migrations are applied, and change nothing.")
@click.option("--dry-run", is_flag=True, help="Show what would be applied, and change nothing.")
@click.option("--down", "target", type=click.IntRange(min=0), help="Revert all migrations above this number.")
@click.pass_context
def migrate(context: click.Context, show: bool, dry_run: bool, target: int | None) -> None:
    """Create or update the tables and views in ClickHouse."""
    try:
        config = load_config(context)
        if sum((show, dry_run, target is not None)) > 1:
            raise click.UsageError("--status, --dry-run and --down exclude each other")
        if show:
            for state in status(config):
                word = "changed after it was applied" if state.changed else "applied" if state.applied else "pending"
                click.echo(f"{state.migration}  {word}")
        elif target is not None:
            done = down(config, target, click.echo)
            click.echo(f"{len(done)} migrations reverted in {config.clickhouse.database}")
        else:
            done = apply(config, click.echo, dry_run=dry_run)
            verb = "to apply" if dry_run else "applied"
            click.echo(f"{len(done)} migrations {verb} in {config.clickhouse.database} at {config.clickhouse.url}")
    except (ConfigError, MigrationError) as error:
        raise click.ClickException(str(error)) from error
