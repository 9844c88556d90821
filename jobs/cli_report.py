"""`tradestream report`: pages for people, made from the archive."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from jobs.cli_common import CliError, json_option, load_config, status


@click.group()
def report() -> None:
    """Reports from the archive in ClickHouse.

    \b
    Example:
      tradestream report day --day 2026-11-20
    """


@report.command()
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="The day; the newest with orders.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="The file; day-DATE.html in the state directory."
)
@click.option(
    "--quality/--no-quality", default=True, show_default=True, help="Try the rules of data quality on the day."
)
@json_option
@click.pass_context
def day(ctx: click.Context, day: datetime | None, out: Path | None, quality: bool, as_json: bool) -> None:
    """Write a one-page HTML report of a day: market, orders, executions, rejects, latency, quality.

    The page is complete in itself: it has no script and loads nothing, so that it can be sent and kept.

    \b
    Example:
      tradestream report day --day 2026-11-20 --out day.html
    """
    from jobs import day_report
    from jobs.migrate import endpoint

    config = load_config(ctx)
    client = endpoint(config).connect()
    if day is None:
        (newest,) = client.query("SELECT maxOrNull(event_date) FROM order_events").result_rows[0]
        if newest is None:
            raise CliError("no order is archived, so there is no newest day: name one with --day")
        wanted = newest
    else:
        wanted = day.date()
    lines = None
    if quality:
        from jobs.quality import run
        from schemas.catalogue import ARCHIVED

        outcome = run(config, ARCHIVED, (config.state_dir / "quality").resolve(), day=wanted, progress=status)
        lines = [
            day_report.QualityLine(
                kind,
                count,
                sum(verdict.rule.kind == kind for verdict in outcome.failed),
            )
            for kind, count in outcome.kinds().items()
        ]
    made_at = f"made {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    try:
        page = day_report.render(client, wanted, lines, made_at)
    except day_report.NoRowsError as error:
        raise CliError(str(error)) from None
    file = (out or config.state_dir / f"day-{wanted}.html").resolve()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page, encoding="utf-8")
    if as_json:
        click.echo(json.dumps({"day": str(wanted), "file": str(file), "bytes": len(page.encode())}))
    else:
        click.echo(f"{file} ({len(page.encode()):,} bytes)")
