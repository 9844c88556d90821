"""What the demo reads of bars and alerts, on a simulated day in a real ClickHouse engine, and its rules of data quality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from archive_gateway import GatewayProcess
from archived_day import archive

from jobs import migrate, quality
from jobs.config import Config
from jobs.demo_archive import Archive
from jobs.demo_market import Tape
from jobs.demo_quality import check_quality
from jobs.demo_setup import DOCS
from jobs.reconcile_market import check_alerts, check_bars
from schemas.messages import report_events
from schemas.messages.enums import REPORT_STATUS_FAILED, REPORT_STATUS_GENERATED
from tests.unit.analysed_day import OUT_OF_ORDER_NS, AnalysedDay

WRITTEN = ("market-data", "market-analytics", "alerts", "alert-rules")


@pytest.fixture(scope="module")
def day() -> AnalysedDay:
    return AnalysedDay(symbols=3, ticks=1_500)


@pytest.fixture(scope="module")
def config(day: AnalysedDay, gateway: GatewayProcess) -> Config:
    settings = gateway.config("default")
    migrate.apply(settings, print)
    kafka_ms = max(day.newest_ns.values()) // 1_000_000
    placed = {
        topic: {
            partition: [(offset, kafka_ms, frame) for offset, frame in enumerate(frames)]
            for partition, frames in day.frames[topic].items()
        }
        for topic in WRITTEN
    }
    rows = archive(settings, placed)
    assert rows == {topic: sum(map(len, day.frames[topic].values())) for topic in WRITTEN}
    assert min(rows.values()) > 0
    return settings


def test_bars_and_sums_of_trades_come_back_as_they_were_made(config: Config, day: AnalysedDay) -> None:
    found = Archive(config)
    assert list(found.bars()) == day.bars()
    assert found.windows() == day.windows()
    assert found.newest_ticks() == day.newest_ns
    tape = Tape(day.newest_ns, OUT_OF_ORDER_NS)
    check = check_bars(tape.noting(found.bars()), found.windows(), found.newest_ticks(), OUT_OF_ORDER_NS)
    assert check.problems == ()
    last = tape.last_bars(found.indicators(tape.busiest()))
    assert [bar.symbol for bar in last] == tape.busiest()
    assert all(bar.sma and bar.rsi and bar.session_vwap for bar in last)


def test_alerts_come_back_as_they_were_given(config: Config, day: AnalysedDay) -> None:
    found = list(Archive(config).alerts())
    assert sorted(found) == sorted(day.archived_alerts())
    assert check_alerts(day.alerts, found, day.by_id()).problems == ()


def test_rules_of_quality_hold_until_a_row_breaks_one(
    config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    published: list[report_events.ReportEvent] = []
    monkeypatch.setattr(quality, "publish", lambda _config, event: published.append(event))
    found = Archive(config)
    stale = config.state_dir / DOCS / "of-an-earlier-demo.html"
    stale.parent.mkdir(parents=True, exist_ok=True)
    stale.write_text("old", encoding="utf-8")
    check = check_quality(config, found.counts())
    assert check.problems == ()
    assert check.summary.endswith(" rows of 4 tables"), "empty tables are left out"
    assert (config.state_dir / DOCS / "index.html").is_file() and not stale.exists()

    client: Any = found.client
    client.command("INSERT INTO alerts SELECT * REPLACE (_offset + 1000 AS _offset) FROM alerts LIMIT 1")
    check = check_quality(config, found.counts())
    assert check.problem_count == 1 and check.problems[0].startswith("alerts: keys: event_id is unique: 2 rows")
    assert [event.status for event in published] == [REPORT_STATUS_GENERATED, REPORT_STATUS_FAILED]


def test_life_of_the_order_with_the_most_fills_begins_with_its_first_event(config: Config) -> None:
    # A cancel that came too late is answered without a number in the order's sequence: it is no part of its life.
    rows = [
        ("o1", "CANCEL_REJECTED", "EXECUTED", 0, 0),
        ("o1", "STATUS", "VALIDATED", 1, 0),
        ("o1", "STATUS", "PARTIALLY_FILLED", 2, 60),
        ("o1", "STATUS", "EXECUTED", 3, 40),
        ("o2", "STATUS", "EXECUTED", 1, 10),
    ]
    found = Archive(config)
    client: Any = found.client
    values = ", ".join(str(row) for row in rows)
    client.command(f"INSERT INTO order_events (order_id, event_type, status, sequence, last_quantity) VALUES {values}")
    life = next(s for s in found.suggestions() if s.title == "The life of the order with the most fills")
    assert [(row[0], row[1], row[2]) for row in life.rows] == [
        ("1", "VALIDATED", "0"),
        ("2", "PARTIALLY_FILLED", "60"),
        ("3", "EXECUTED", "40"),
    ]
