"""The demo itself, small: the command as a user gives it, on a stack of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from infra.feeds.sessions import midnight_ns
from infra.stack import Stack
from jobs.config import Config, project_root
from jobs.demo_archive import Archive
from jobs.demo_market import BAR_NS, LastBar
from jobs.demo_run import JOBS
from jobs.demo_setup import DOCS, FOLDER, demo_config
from jobs.reconcile_market import SECOND_NS
from udfs.domain.feed_lean import INELIGIBLE_SALE_CONDITIONS

GUIDE = project_root() / "sql" / "clickhouse" / "guide.md"
TICKS = project_root().parent / "shared" / "data" / "lean_tick" / "ibm"
EVERY = 40
"""Of the real ticks, one line in so many is played: the whole day, in little time."""
TIMEOUT_S = 900
"""A deadline for busy machines; on two quiet cores a run takes about a minute."""


def command(state_dir: Path, *arguments: str) -> list[str]:
    """The demo's command line with its own state directory."""
    settings = ["--set", "stack.start_timeout_s=400"]
    return [sys.executable, "-m", "jobs.cli", "--state-dir", str(state_dir), *settings, "demo", *arguments]


def run_demo(state_dir: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, report and progress of one run."""
    done = subprocess.run(
        command(state_dir, "--json", *arguments),
        cwd=project_root(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.stdout, f"no report; exit code {done.returncode}\n{done.stderr}"
    return done.returncode, json.loads(done.stdout), done.stderr


def failed_checks(report: dict[str, Any]) -> dict[str, list[str]]:
    """Problems by the name of the check."""
    return {check["name"]: check["problems"] for check in report["checks"] if not check["ok"]}


def leftovers(state_dir: Path) -> list[int]:
    """Processes of the demo's stack that are still there; they are ended."""
    config = Config.load(overrides={"profile": "local", "state_dir": state_dir / FOLDER})
    return Stack(config).processes.sweep()


def sliced_ticks(folder: Path, names: Sequence[str]) -> Path:
    """Copies of real tick files with one line in `EVERY`."""
    folder.mkdir()
    for name in names:
        with ZipFile(TICKS / name) as source:
            member = source.namelist()[0]
            lines = source.read(member).splitlines(keepends=True)
        with ZipFile(folder / name, "w", ZIP_DEFLATED) as target:
            target.writestr(member, b"".join(lines[::EVERY]))
    return folder


def bars_of_files(folder: Path, day_ns: int) -> list[LastBar]:
    """Every five-minute bar of the files' day that is over, from their lines alone.

    An odd lot or a print of an ineligible condition sets no price. day_ns: midnight in New York.
    """
    lines = {}
    for name in ("quote", "trade"):
        with ZipFile(folder / f"20131007_{name}.zip") as file:
            lines[name] = [line.split(",") for line in file.read(file.namelist()[0]).decode().splitlines()]
    newest_ns = day_ns + max(int(line[0]) for each in lines.values() for line in each) * 1_000_000
    windows: dict[int, list[tuple[int, int]]] = {}
    for ms, price, size, _, condition, _ in lines["trade"]:
        if int(size) >= 100 and not int(condition, 16) & INELIGIBLE_SALE_CONDITIONS:
            at_ns = day_ns + int(ms) * 1_000_000
            windows.setdefault(at_ns - at_ns % BAR_NS, []).append((int(price), int(size)))
    bars: list[LastBar] = []
    closes: list[int] = []
    day_turnover = day_volume = up = down = 0.0
    for start_ns, prints in sorted(windows.items()):
        volume, turnover = sum(size for _, size in prints), sum(price * size for price, size in prints)
        day_turnover, day_volume = day_turnover + turnover, day_volume + volume
        closes.append(prints[-1][0])
        change = closes[-1] - closes[-2] if len(closes) > 1 else 0
        # Wilder's average: the plain one of the first 14 changes, then a fourteenth of each new one.
        kept = 1.0 if len(closes) <= 15 else 13 / 14
        up, down = kept * up + max(change, 0) / 14, kept * down + max(-change, 0) / 14
        if start_ns + BAR_NS + 2 * SECOND_NS <= newest_ns:
            sma = sum(closes[-20:]) / 20 / 10_000 if len(closes) >= 20 else None
            rsi = 100 * up / (up + down) if len(closes) > 14 else None
            day_vwap = day_turnover / day_volume / 10_000
            bars.append(
                LastBar("IBM", start_ns + BAR_NS, closes[-1], volume, round(turnover / volume), day_vwap, sma, rsi)
            )
    return bars


@pytest.mark.timeout(3 * TIMEOUT_S)
def test_demo_adds_up_and_a_row_that_is_lost_afterwards_is_found(tmp_path: Path) -> None:
    try:
        code, report, progress = run_demo(
            tmp_path, "--keep", "--orders", "1500", "--symbols", "5", "--accounts", "40", "--speed", "2000"
        )
        assert failed_checks(report) == {}
        assert code == 0
        assert report["tally"]["records"] == 1_500
        assert report["finals"].keys() >= {"EXECUTED", "CANCELLED", "EXPIRED", "REJECTED"}
        assert report["types"].keys() == {"MARKET", "LIMIT", "STOP", "STOP_LIMIT"}
        assert report["types"]["LIMIT"].keys() == {"DAY", "GTC", "IOC", "FOK", "OPG", "CLS"}
        assert report["market"]["auctions"].keys() >= {"opening", "closing"}
        assert report["market"]["halts"] == 1
        assert report["market"]["short_shares"] > 0
        assert min(report["stages"][name] for name in ("TRIGGERED", "REPLACED")) > 0
        assert report["totals"]["internal"] > 0, "orders must also meet in our own book"
        assert report["totals"]["trades"] > report["totals"]["internal"], "and the street"
        assert sum(row["planted"] for row in report["refusals"]) > 20
        assert report["latency"]["orders"] == report["tally"]["orders"]
        assert all(suggestion["rows"] for suggestion in report["suggestions"])
        assert {check["name"] for check in report["checks"]} >= {"Bars = ticks", "Alerts = rules", "Data quality"}
        assert [rule["rule_id"] for rule in report["rules"] if not rule["alerts"]] == []
        assert len(report["rules"]) == 5
        assert len(report["bars"]) == 5
        assert all(0 < bar["rsi"] < 100 and bar["session_vwap"] > 0 for bar in report["bars"])
        assert "Playing 2026-11-20 session" in progress
        assert "Playing 2026-11-20 opening" in progress

        base = Config.load(overrides={"state_dir": tmp_path}, environment={})
        client = Archive(demo_config(base, len(JOBS), {}, running=True)).client
        asked = re.findall(
            r"^\d+\. (.+?)\n+```sql\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        )
        assert len(asked) == 20
        assert [question for question, sql in asked if not client.query(sql).result_rows] == []
        lost, partition, offset = client.query(
            "SELECT event_id, _partition, _offset FROM trade_events WHERE venue != 'TRDS' ORDER BY event_id LIMIT 1"
        ).result_rows[0]
        client.command(f"ALTER TABLE trade_events DELETE WHERE event_id = '{lost}' SETTINGS mutations_sync = 2")

        code, report, _ = run_demo(tmp_path, "--check")
        assert code == 1
        problems = failed_checks(report)
        assert problems.keys() == {
            "Kafka = ClickHouse",
            "Fills = trades",
            "Shares conserved",
            "Money conserved",
            "Data quality",
        }
        assert {problem.partition(":")[0] for problem in problems["Data quality"]} == {"trade_events", "order_events"}
        docs = (tmp_path / FOLDER / DOCS / "index.html").read_text(encoding="utf-8")
        assert "trade_events" in docs and "market_analytics" in docs
        told = client.query("SELECT kind, toString(status) FROM report_events ORDER BY _offset LIMIT 1").result_rows
        assert told == [("DATA_QUALITY", "GENERATED")], "the first run has published that every rule holds"
        assert f"not archived: {partition}/{offset}" in problems["Kafka = ClickHouse"][0]
        assert "has no trade event" in problems["Fills = trades"][0]
    finally:
        subprocess.run(
            [sys.executable, "-m", "jobs.cli", "stack", "down", "--wipe", "--state-dir", str(tmp_path / FOLDER)],
            cwd=project_root(),
            check=True,
            capture_output=True,
            timeout=TIMEOUT_S,
        )
        assert leftovers(tmp_path) == []


@pytest.mark.timeout(2 * TIMEOUT_S)
def test_demo_plays_real_ticks_and_leaves_nothing(tmp_path: Path) -> None:
    if not TICKS.is_dir():
        pytest.skip("../shared/data/lean_tick is not there")
    ticks = sliced_ticks(tmp_path / "ticks", ["20131007_quote.zip", "20131007_trade.zip"])
    code, report, _ = run_demo(tmp_path, "--ticks", str(ticks), "--orders", "600", "--accounts", "30", "--speed", "max")
    assert failed_checks(report) == {}
    assert code == 0
    assert report["title"] == "2013-10-07, real ticks, 1 symbol"
    assert report["played"]["sent"]["raw-feed"] == -(-109_066 // EVERY) + -(-24_292 // EVERY)
    assert report["totals"]["trades"] > 100
    # Its indicators follow from all bars of the day.
    assert report["bars"] == [
        pytest.approx(dataclasses.asdict(bars_of_files(ticks, midnight_ns(date(2013, 10, 7)))[-1]))
    ]
    assert leftovers(tmp_path) == []
    assert not (tmp_path / FOLDER / "kafka").exists(), "a demo that adds up deletes its data"


@pytest.mark.timeout(TIMEOUT_S)
def test_interrupted_demo_leaves_no_process(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(tmp_path), cwd=project_root(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        records = tmp_path / FOLDER / "processes"
        deadline = time.monotonic() + TIMEOUT_S / 2
        while len(list(records.glob("*.json"))) < 2 and time.monotonic() < deadline:
            assert process.poll() is None, "the demo ended before it could be interrupted"
            time.sleep(0.2)
        os.kill(process.pid, signal.SIGINT)
        _, progress = process.communicate(timeout=TIMEOUT_S / 2)
        assert process.returncode == 130, progress
        assert "Traceback" not in progress
        assert leftovers(tmp_path) == []
    finally:
        process.kill()
        leftovers(tmp_path)
