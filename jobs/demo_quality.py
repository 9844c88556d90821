"""The rules of data quality as a check of the demo: all of them, on everything that was archived."""

from __future__ import annotations

from jobs import quality
from jobs.config import Config
from jobs.demo_setup import DOCS
from jobs.demo_watch import ARCHIVED
from jobs.reconcile import Check, Problems


def check_quality(config: Config) -> Check:
    """Try every rule, write Data Docs, publish the summary. Everything must be archived already.

    Raises CliError when Kafka does not answer, ClickHouseError.
    """
    outcome = quality.run(config, ARCHIVED, config.state_dir / DOCS)
    quality.publish(config, quality.event_of(outcome))
    problems = Problems()
    for verdict in outcome.failed:
        found = verdict.problem or f"{verdict.broken:,} rows, as {verdict.examples[0]}"
        problems.add(f"{verdict.table}: {verdict.rule.kind}: {verdict.rule.text}: {found}")
    tables = len({verdict.table for verdict in outcome.verdicts})
    return problems.check(
        "Data quality",
        f"{len(outcome.verdicts):,} rules on {outcome.rows:,} rows of {tables} tables (Great Expectations)",
    )
