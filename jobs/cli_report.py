"""`tradestream report`: pages for people, made from the archive."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from jobs.cli_common import CliError, OutputPath, json_option, load_config, print_json, print_table, status


@click.group()
def report() -> None:
    """Reports from the archive in ClickHouse.

    \b
    Example:
      tradestream report day --day 2026-11-20
      tradestream report 605 --month 2026-11
    """


@report.command()
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="The day; the newest with orders.")
@click.option(
    "--out", type=OutputPath(dir_okay=False, path_type=Path), help="The file; day-DATE.html in the state directory."
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


@report.command("605")
@click.option(
    "--month",
    required=True,
    type=click.DateTime(["%Y-%m"]),
    help="The calendar month of trading, 2026-08 at the earliest.",
)
@click.option(
    "--out",
    type=OutputPath(dir_okay=False, path_type=Path),
    help="The file; ENTITYYYYYMM.txt or .csv in the state directory.",
)
@click.option("--summary", is_flag=True, help="The summary report by size and S&P 500 instead of the detailed one.")
@click.option(
    "--sp500",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Symbols of the S&P 500 on the month's first day, one a line; without it every stock counts as another.",
)
@click.option("--participant", default="T", show_default=True, help="Code of the designated participant; T is FINRA.")
@click.option("--entity", default="TRDS", show_default=True, help="Code of the market center that reports.")
@json_option
@click.pass_context
def rule_605(
    ctx: click.Context,
    month: datetime,
    out: Path | None,
    summary: bool,
    sp500: Path | None,
    participant: str,
    entity: str,
    as_json: bool,
) -> None:
    """Write the execution quality of a month in the form of SEC Rule 605, amended.

    The detailed report has a line for each symbol, lot size, size band and order type; report_605.md explains its fields.

    \b
    Example:
      tradestream report 605 --month 2026-11 --out TRDS202611.txt
      tradestream report 605 --month 2026-11 --summary
    """
    from jobs import report_605
    from jobs.migrate import endpoint

    config = load_config(ctx)
    members = frozenset(sp500.read_text(encoding="utf-8").split()) if sp500 else frozenset()
    try:
        found = report_605.collect(endpoint(config).connect(), month.date(), status)
    except report_605.NotReportableError as error:
        raise CliError(str(error)) from None
    notes = found.notes()
    rows: list[dict[str, str]] = []
    if summary:
        rows = report_605.summary(found, members)
        text = report_605.summary_file(found, rows, participant, entity)
        if not members:
            notes.append("no --sp500 was given, so every stock counts as outside of the S&P 500")
    else:
        text = report_605.detailed(found, participant, entity)
    file = (out or config.state_dir / f"{entity}{month:%Y%m}.{'csv' if summary else 'txt'}").resolve()
    file.parent.mkdir(parents=True, exist_ok=True)
    # Lines end with CR LF as the specification has it, on every system.
    file.write_text(text, encoding="ascii", newline="")
    lines = text.count("\r\n") - 1
    if as_json:
        print_json(
            {
                "month": f"{month:%Y-%m}", "file": str(file), "rows": lines, "days": len(found.days), "notes": notes,
                **({"summary": rows} if summary else {}),
            }
        )  # fmt: skip
        return
    if rows:
        left = ("Sp500", "OrderType")
        print_table(
            {name: "left" if name in left else "right" for name in rows[0]}, [list(row.values()) for row in rows]
        )
    for note in notes:
        status(note)
    click.echo(f"{file} ({lines} rows of {len(found.days)} days)")
