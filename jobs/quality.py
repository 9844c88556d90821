"""A quality run: measure Kafka, try every rule on ClickHouse, write Data Docs, tell the topic report-events.

What was judged decides the identity of the report: the same rows give the same id, and its event the same eventId.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from jobs.config import Config
from jobs.migrate import endpoint
from jobs.quality_rules import KINDS, Rule, kafka_rules, rules_of
from jobs.reconcile_archive import highest_offsets
from schemas.catalogue import TOPICS
from schemas.messages import enums, report_events
from udfs.operators.arrow_blocks import plan_of, table_of

TOPIC: Final = TOPICS["report-events"]
MAX_DETAIL: Final = 4_096
"""Characters of detail that the contract allows."""
_DAY_NS: Final = 86_400 * 10**9


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run found. rows: how many were looked at. first, last: their days, None without rows. newest_ns: the newest
    Kafka timestamp among them, UTC ns.
    """

    report_id: str
    docs: Path
    verdicts: Sequence[Any]
    rows: int
    first: date | None
    last: date | None
    newest_ns: int

    @property
    def failed(self) -> list[Any]:
        """The verdicts (quality_suites.Verdict) of rules that do not hold or could not be tried."""
        return [verdict for verdict in self.verdicts if not verdict.holds]

    def kinds(self) -> dict[str, int]:
        """How many rules of each kind were tried."""
        counts = Counter(verdict.rule.kind for verdict in self.verdicts)
        return {kind: counts[kind] for kind in KINDS if counts[kind]}

    def summary(self) -> dict[str, object]:
        """The run as one JSON object."""
        tables = sorted({verdict.table for verdict in self.verdicts})
        return {
            "report": self.report_id,
            "rules": len(self.verdicts),
            "failed": len(self.failed),
            "tables": len(tables),
            "rows": self.rows,
            "docs": str(self.docs / "index.html"),
            "kinds": self.kinds(),
            "failures": [
                {
                    "table": verdict.table,
                    "kind": verdict.rule.kind,
                    "rule": verdict.rule.text,
                    "rows": verdict.broken,
                    "problem": verdict.problem or None,
                    "examples": list(verdict.examples),
                }
                for verdict in self.failed
            ],
        }


def run(
    config: Config,
    topics: Sequence[str],
    docs: Path,
    *,
    day: date | None = None,
    kafka: bool = True,
    settle_s: float = 0.0,
    lag_s: float = 60.0,
    progress: Callable[[str], None] = lambda _line: None,
) -> Outcome:
    """Try every rule of the tables of `topics`.

    day: only the rows of that day; what Kafka has is not compared then, because it is not kept by day. settle_s: records that
    Kafka took within the last so many seconds may be missing. lag_s: how far a table may be behind its topic.
    Raises CliError when Kafka does not answer, ClickHouseError, RuleError.
    """
    until = datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=settle_s)
    client = endpoint(config).connect()
    suites: dict[str, list[Rule]] = {}
    days: set[date] = set()
    seen: list[tuple[object, ...]] = []
    rows, newest_ms = 0, 0
    for topic in topics:
        table = table_of(topic)
        condition = "" if day is None else f" WHERE event_date = '{day}'"
        count, newest, digest, found = client.query(
            f"SELECT count(), toUnixTimestamp64Milli(max(_kafka_time)), sum(cityHash64(_topic, _partition, _offset)), "
            f"groupUniqArray(event_date) FROM `{plan_of(topic).table}`{condition}"
        ).result_rows[0]
        rows, newest_ms = rows + int(count), max(newest_ms, int(newest))
        days.update(found)
        seen.append((topic, int(count), int(digest)))
        suites[table] = rules_of(topic, sorted(found))
        if kafka and day is None:
            from jobs.quality_kafka import committed

            progress(f"counting {topic}")
            highest = highest_offsets(client, [plan_of(topic)])
            suites[table] += kafka_rules(topic, committed(config, topic, until), lag_s, highest)
    progress(f"trying {sum(map(len, suites.values()))} rules on {len(suites)} tables")
    from jobs.quality_suites import validate

    verdicts = validate(endpoint(config), suites, docs, day)
    scope = str(day) if day else "all"
    identity = hashlib.sha256(repr((scope, seen)).encode()).hexdigest()[:16]
    return Outcome(
        f"quality-{scope}-{identity}", docs, verdicts, rows, min(days, default=None), max(days, default=None),
        newest_ms * 1_000_000,
    )  # fmt: skip


def event_of(outcome: Outcome) -> report_events.ReportEvent:
    """The summary as a record of report-events: GENERATED when every rule holds, FAILED when not."""
    failed = outcome.failed
    epoch = date(1970, 1, 1)
    words = [f"rules={len(outcome.verdicts)} failed={len(failed)}"]
    words += [
        f"{verdict.table}.{verdict.rule.kind}={'untried' if verdict.broken is None else verdict.broken}"
        for verdict in failed
    ]
    status = enums.REPORT_STATUS_FAILED if failed else enums.REPORT_STATUS_GENERATED
    return report_events.ReportEvent(
        event_id=f"{outcome.report_id}-{enums.REPORT_STATUS_NAMES[status]}",
        report_id=outcome.report_id,
        kind=enums.REPORT_KIND_DATA_QUALITY,
        status=status,
        subject=None,
        period_start=(outcome.first - epoch).days * _DAY_NS if outcome.first else 0,
        period_end=((outcome.last - epoch).days + 1) * _DAY_NS if outcome.last else 0,
        location=str(outcome.docs / "index.html"),
        content_hash=hashlib.sha256((outcome.docs / "index.html").read_bytes()).digest(),
        row_count=outcome.rows,
        detail=" ".join(words)[:MAX_DETAIL],
        timestamp=outcome.newest_ns,
    )


def publish(config: Config, event: report_events.ReportEvent) -> None:
    """Write the summary and wait until Kafka has it. Raises EncodeError, RegistryError, PublishError."""
    from infra.feeds.publisher import Publisher
    from jobs.cli_schemas import open_registry

    schema_id = open_registry(config).register(TOPIC.subject, TOPIC.schema_file.read_text(encoding="utf-8"))
    item = (TOPIC.name, event.report_id.encode(), report_events.encode(event, schema_id), event.timestamp)
    Publisher(config.kafka, linger_ms=0.0).play([item])
