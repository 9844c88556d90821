"""`tradestream audit`: walk the audit trail, tell the life of an order, take a period out of it."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from jobs.audit_walk import Report
from jobs.cli_common import EXIT_FAILED, CliError, OutputPath, json_option, load_config, status

_DAY: Final = click.DateTime(["%Y-%m-%d"])
LISTED: Final = 20
"""Faults that are listed; all are counted."""


@click.group()
def audit() -> None:
    """Verify the audit trail, tell the life of an order, export a period.

    \b
    Example:
      tradestream audit verify
    """


@audit.command()
@click.option(
    "--in",
    "place",
    type=click.Choice(["both", "kafka", "clickhouse"]),
    default="both",
    show_default=True,
    help="Where the links and roots are read.",
)
@click.option(
    "--settle", default=60.0, show_default=True, help="Links newer than so many seconds need not be archived."
)
@click.option("--sources", is_flag=True, help="Compare ClickHouse's links with the records that Kafka still has, too.")
@json_option
@click.pass_context
def verify(ctx: click.Context, place: str, settle: float, sources: bool, as_json: bool) -> None:
    """Walk every chain of the audit trail and compare links, kept payloads and Merkle roots.

    A link that was deleted, altered, put in or moved is named, with the first fault of each chain. A link at a chain's end that
    Kafka has and ClickHouse has not was deleted when the archive job has read it; when not, it is counted as not archived.
    --sources proves that the trail is complete: each record that Kafka still has must have its link, and be what the link says.
    Exit code 1 when anything is broken.

    \b
    Example:
      tradestream audit verify --in clickhouse
    """
    from jobs.audit_reading import archive_reading, has_tables, tell_lost_ends, walk_clickhouse, walk_kafka
    from jobs.migrate import endpoint

    config = load_config(ctx)
    until_ms = int((time.time() - settle) * 1_000)
    stored: Report | None = None
    if place != "kafka":
        client = endpoint(config).connect()
        if has_tables(client):
            status("walking along audit_records in ClickHouse")
            stored = walk_clickhouse(client)
        elif place == "clickhouse":
            raise CliError(f"{config.clickhouse.database} has no tables of the audit trail: run `tradestream migrate`")
        else:
            status("ClickHouse has no tables of the audit trail: Kafka's is walked alone")
    reports: dict[str, Report] = {}
    coming = unlinked = 0
    if place != "clickhouse":
        status("walking along audit-records in Kafka")
        reports["kafka"], behind = walk_kafka(config, stored)
        if stored is not None and behind:
            coming = tell_lost_ends(stored, behind, until_ms, archive_reading(config))
    if stored is not None:
        reports["clickhouse"] = stored
    if sources:
        from jobs.audit_sources import kafka_sources, walk_sources

        if stored is None:
            raise click.UsageError("--sources needs the links of ClickHouse")
        status("comparing the links with the records of their topics")
        reports["sources"], unlinked = walk_sources(client, kafka_sources(config))
    broken = sum(report.broken for report in reports.values())
    if as_json:
        parts = {name: _as_dict(report) for name, report in reports.items()}
        records = max(report.records for report in reports.values())
        waiting = {"notArchived": coming} | ({"notLinked": unlinked} if sources else {})
        click.echo(json.dumps({"records": records, "broken": broken, **waiting, **parts}))
    else:
        for name, report in reports.items():
            say(name, report)
        if coming:
            click.echo(f"{coming} links are not archived yet: the archive job is behind, or not running")
        if unlinked:
            click.echo(
                f"{unlinked} records have no link in ClickHouse yet: the audit or the archive job is behind, or not running"
            )
        click.echo("nothing is broken" if not broken else f"{broken} faults")
    if broken:
        ctx.exit(EXIT_FAILED)


@audit.command()
@click.argument("order_id", metavar="ID")
@click.option("--account", metavar="ID", help="The account, when several have an order of this id.")
@json_option
@click.pass_context
def order(ctx: click.Context, order_id: str, account: str | None, as_json: bool) -> None:
    """Tell the whole life of an order: commands, checks, routing, fills, each with its cause and the market at its time.

    Read from ClickHouse's archive. Each step names its event, the input that caused it, and the position of its record in
    Kafka, under which the audit trail has it.

    \b
    Example:
      tradestream audit order O-000123 --account A-7
    """
    from jobs.audit_order import lives, told
    from jobs.migrate import endpoint

    found = lives(endpoint(load_config(ctx)).connect(), order_id, account)
    if not found:
        owner = f" of account {account}" if account else ""
        raise CliError(f"ClickHouse has no order {order_id}{owner}: is the archive job running?")
    if as_json:
        # Prices are decimals, which JSON has as text.
        click.echo(json.dumps(found, default=str))
        return
    for life in found:
        for line in told(life):
            click.echo(line)


@audit.command()
@click.option("--from", "since", type=_DAY, required=True, help="First day, UTC.")
@click.option("--to", "until", type=_DAY, required=True, help="Last day, UTC; it is part of the export.")
@click.option("--out", type=OutputPath(file_okay=False, path_type=Path), required=True, help="Folder, new or empty.")
@json_option
@click.pass_context
def export(ctx: click.Context, since: datetime, until: datetime, out: Path, as_json: bool) -> None:
    """Write the links and roots of some days as Parquet files with a manifest: counts, hashes of the files, roots.

    Blocks end with the day, so the days have whole blocks, and the links of the newest block, which has no root yet. The links
    are verified while they are written, and an export of a broken trail says so and exits with 1.

    \b
    Example:
      tradestream audit export --from 2026-11-20 --to 2026-11-21 --out evidence
    """
    from jobs.audit_export import ExportError, write
    from jobs.migrate import endpoint

    if until < since:
        raise click.UsageError("--to is before --from")
    try:
        report, manifest = write(endpoint(load_config(ctx)).connect(), since.date(), until.date(), out)
    except ExportError as error:
        raise CliError(str(error)) from error
    _conclude(ctx, "export", report, as_json, {"manifest": str(manifest)})


@audit.command("verify-export")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@json_option
@click.pass_context
def verify_export(ctx: click.Context, folder: Path, as_json: bool) -> None:
    """Verify an export by itself: the files' hashes and counts, and the chains and roots in them.

    \b
    Example:
      tradestream audit verify-export evidence
    """
    from jobs.audit_export import ExportError, check

    try:
        report = check(folder)
    except ExportError as error:
        raise CliError(str(error)) from error
    _conclude(ctx, "export", report, as_json, {})


def say(name: str, report: Report) -> None:
    """Print a report for people."""
    click.echo(
        f"{name}: {report.records} links of {len(report.chains)} chains, {report.blocks} roots, {report.broken} faults"
        + (f", {report.skipped} links before the first whole block" if report.skipped else "")
    )
    for line in report.first[:LISTED]:
        click.echo(f"  {line}")
    if len(report.first) > LISTED:
        click.echo(f"  ... and {len(report.first) - LISTED} more chains")


def _conclude(ctx: click.Context, name: str, report: Report, as_json: bool, more: dict[str, Any]) -> None:
    if as_json:
        click.echo(json.dumps({**_as_dict(report), **more}))
    else:
        say(name, report)
        for key, value in more.items():
            click.echo(f"{key}: {value}")
        click.echo("nothing is broken" if not report.broken else f"{report.broken} faults")
    if report.broken:
        ctx.exit(EXIT_FAILED)


def _as_dict(report: Report) -> dict[str, Any]:
    return {
        "records": report.records,
        "broken": report.broken,
        "chains": len(report.chains),
        "roots": report.blocks,
        "skipped": report.skipped,
        "first": report.first[:LISTED],
    }
