"""The rules of data quality as a check of the demo: those of every table that has rows, on all that was archived."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from jobs import quality
from jobs.config import Config
from jobs.demo_setup import DOCS
from jobs.reconcile import Check, Problems


def check_quality(config: Config, rows: Mapping[str, int]) -> Check:
    """Try the rules, write Data Docs, publish the summary. Everything must be archived already.

    rows: how many rows each topic has. An empty table breaks no rule, and trying takes time. What Kafka has is not
    compared either: `check_archived` does that by position. Raises ClickHouseError, and EncodeError, RegistryError or
    PublishError when the summary cannot be published.
    """
    docs = config.state_dir / DOCS
    # The pages are of this demo alone.
    shutil.rmtree(docs, ignore_errors=True)
    outcome = quality.run(config, [topic for topic, count in rows.items() if count], docs, kafka=False)
    quality.publish(config, quality.event_of(outcome))
    return quality_check(outcome)


def quality_check(outcome: quality.Outcome) -> Check:
    """What a run of the rules found, as a check."""
    problems = Problems()
    for verdict in outcome.failed:
        found = verdict.problem or f"{verdict.broken:,} rows, as {verdict.examples[0]}"
        problems.add(f"{verdict.table}: {verdict.rule.kind}: {verdict.rule.text}: {found}")
    tables = len({verdict.table for verdict in outcome.verdicts})
    return problems.check(
        "Data quality", f"{len(outcome.verdicts):,} rules on {outcome.rows:,} rows of {tables} tables"
    )
