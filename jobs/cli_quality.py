"""`tradestream quality`: whether the archived tables hold what they must."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click

from jobs.cli_common import EXIT_FAILED, CliError, OutputPath, json_option, load_config, print_table, status


@click.group()
def quality() -> None:
    """Data quality: rules for every archived table, tried by Great Expectations.

    \b
    Example:
      tradestream quality run trade-events
    """


def _archived(names: Sequence[str]) -> Sequence[str]:
    from schemas.catalogue import ARCHIVED

    wrong = sorted(set(names) - set(ARCHIVED))
    if wrong:
        raise CliError(f"{', '.join(wrong)} is not archived; these are: {', '.join(ARCHIVED)}")
    return names or ARCHIVED


@quality.command()
@click.argument("names", nargs=-1, metavar="[TOPIC]...")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="Only the rows of this day, and nothing of Kafka.")
@click.option(
    "--docs", type=OutputPath(path_type=Path), help="Folder of the Data Docs; quality in the state directory."
)
@click.option("--settle", default=60.0, show_default=True, help="Records newer than so many seconds need not be there.")
@click.option("--lag", default=120.0, show_default=True, help="Seconds that a table may be behind its topic.")
@click.option("--publish/--no-publish", default=True, show_default=True, help="Write a summary to report-events.")
@json_option
@click.pass_context
def run(
    ctx: click.Context,
    names: Sequence[str],
    day: datetime | None,
    docs: Path | None,
    settle: float,
    lag: float,
    publish: bool,
    as_json: bool,
) -> None:
    """Try the rules of every archived table, or of the topics named, and write Data Docs.

    Keys, references, prices, quantities, times, sessions, statuses, pairs, money, and against Kafka: counts and freshness. The
    rules run in ClickHouse. Exit code 1 when one does not hold.

    \b
    Example:
      tradestream quality run --day 2026-11-20
    """
    from jobs import quality as runs

    topics = _archived(names)
    config = load_config(ctx)
    outcome = runs.run(
        config,
        topics,
        (docs or config.state_dir / "quality").resolve(),
        day=day.date() if day else None,
        settle_s=settle,
        lag_s=lag,
        progress=status,
    )
    if publish:
        runs.publish(config, runs.event_of(outcome))
    summary = outcome.summary()
    if as_json:
        click.echo(json.dumps(summary, default=str))
    else:
        for verdict in outcome.failed:
            found = verdict.problem or f"{verdict.broken:,} {'row' if verdict.broken == 1 else 'rows'}"
            click.echo(f"{verdict.table}: {verdict.rule.kind}: {verdict.rule.text}: {found}")
            for example in verdict.examples:
                click.echo(f"    {example}")
        click.echo(
            f"{summary['rules']} rules on {summary['tables']} tables, {outcome.rows:,} rows: "
            + (f"{summary['failed']} do not hold" if outcome.failed else "all hold")
        )
        click.echo(f"Data Docs: {summary['docs']}")
    if outcome.failed:
        ctx.exit(EXIT_FAILED)


@quality.command()
@click.argument("names", nargs=-1, metavar="[TOPIC]...")
@json_option
@click.pass_context
def rules(ctx: click.Context, names: Sequence[str], as_json: bool) -> None:
    """List the rules; with --json their SQL too. Nothing is read.

    \b
    Example:
      tradestream quality rules trade-events
    """
    from jobs.quality_rules import rules_of
    from udfs.operators.arrow_blocks import table_of

    found = [(table_of(topic), rule) for topic in _archived(names) for rule in rules_of(topic)]
    if as_json:
        fields = ("kind", "text", "test", "column", "values", "sql")
        click.echo(
            json.dumps([{"table": table} | {name: getattr(rule, name) for name in fields} for table, rule in found])
        )
    else:
        rows = [[table, rule.kind, rule.text] for table, rule in found]
        print_table({"table": "left", "kind": "left", "rule": "left"}, rows)
