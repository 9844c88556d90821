"""What analysts are given, on a simulated day in a real ClickHouse engine: the guide, and that the day is in order."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import date
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from archive_gateway import GatewayProcess, connect
from archived_day import WRITTEN, archive, play

from infra.feeds.sessions import DEFAULT_DAY
from jobs import day_report, migrate
from jobs.config import Config, project_root
from jobs.day_report import QualityLine

SECTIONS = ("market", "orders", "executions", "rejects", "latency", "quality")
GUIDE = project_root() / "sql" / "clickhouse" / "guide.md"
QUESTIONS = re.findall(
    r"^(\d+)\. (.+?)\n+```sql\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


@pytest.fixture(scope="module")
def config(gateway: GatewayProcess) -> Config:
    settings = gateway.config("default")
    migrate.apply(settings, print)
    rows = archive(settings, play())
    assert rows["orders"] == 1_500
    assert min(rows[topic] for topic in WRITTEN) > 0
    return settings


@pytest.fixture(scope="module")
def client(config: Config) -> Any:
    return connect(config)


def test_guide_asks_twenty_questions_in_order() -> None:
    assert [int(number) for number, _, _ in QUESTIONS] == list(range(1, 21))
    assert all(question.endswith("?") for _, question, _ in QUESTIONS)


@pytest.mark.parametrize("number", range(1, 21))
def test_question_of_the_guide_is_answered(client: Any, number: int) -> None:
    (sql,) = [sql for found, _, sql in QUESTIONS if int(found) == number]
    answer = client.query(sql)
    assert answer.result_rows, f"question {number} has no answer"
    for index, name in enumerate(answer.column_names):
        assert any(row[index] is not None for row in answer.result_rows), f"question {number}: {name} is always empty"


@pytest.fixture(scope="module")
def page(client: Any) -> str:
    lines = [QualityLine("keys", 12, 0), QualityLine("money", 2, 1)]
    return day_report.render(client, DEFAULT_DAY, lines, "made in a test")


def test_day_report_shows_what_the_archive_has(client: Any, page: str) -> None:
    for section in SECTIONS:
        assert f'<section id="{section}">' in page
    assert "nothing on this day" not in page
    ((orders, refused),) = client.query(
        "SELECT (SELECT count() FROM order_lifecycle), (SELECT sum(rejects) FROM rejects_by_reason)"
    ).result_rows
    for name, value in {"orders": orders, "refused": refused}.items():
        assert f"<b>{value:,}</b><span>{name}</span>" in page
    assert "1 rules do not hold" in page
    assert page.count("<svg") == 8


def test_day_report_loads_nothing_and_runs_nothing(page: str) -> None:
    assert "<script" not in page
    assert not re.search(r"(?:src|href)\s*=|url\(|@import|https?:", page)


def test_day_report_of_a_day_without_rows_names_the_days_there_are(client: Any) -> None:
    with pytest.raises(day_report.NoRowsError, match=str(DEFAULT_DAY)):
        day_report.render(client, date(2020, 1, 2), None, "")


# Run in the page: what a person would notice. Left out of the report itself, which has no script.
LOOK = """<script>addEventListener('load', () => {
const wrong = [];
const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
if (wide > 1) wrong.push('wider than the window by ' + wide);
for (const svg of document.querySelectorAll('svg')) {
  const box = svg.getBoundingClientRect(), name = svg.getAttribute('aria-label');
  if (box.width < 300 || box.height < 40) wrong.push(name + ' is ' + box.width + ' by ' + box.height);
  const marks = svg.querySelectorAll('rect,polyline,circle').length;
  if (!marks) wrong.push(name + ' is empty');
  for (const item of svg.querySelectorAll('text,rect,polyline')) {
    const inner = item.getBoundingClientRect();
    if (inner.left < box.left - 1 || inner.right > box.right + 1 || inner.top < box.top - 1 || inner.bottom > box.bottom + 1)
      wrong.push(name + ': ' + item.tagName + ' ' + item.textContent + ' is outside');
  }
}
for (const section of document.querySelectorAll('section'))
  if (section.getBoundingClientRect().height < 60) wrong.push(section.id + ' is flat');
document.body.dataset.looked = JSON.stringify({charts: document.querySelectorAll('svg').length, wrong});
})</script>"""
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine (Debian: apt install chromium)")
@pytest.mark.parametrize("width", [1400, 800])
def test_day_report_looks_right_in_a_browser(page: str, tmp_path: Path, width: int) -> None:
    seen = browse(page + LOOK, tmp_path, "--dump-dom", f"--window-size={width},1000")
    found = re.search(r'data-looked="([^"]*)"', seen)
    assert found, seen[-2_000:]
    looked = json.loads(unescape(found[1]))
    assert looked == {"charts": 8, "wrong": []}
    picture = tmp_path / "page.png"
    browse(page, tmp_path, f"--screenshot={picture}", f"--window-size={width},3000")
    # A page without a chart is a fraction of it: text and white.
    assert picture.stat().st_size > 40_000


def browse(page: str, folder: Path, *options: str) -> str:
    """What headless Chromium says of a page."""
    file = folder / "page.html"
    file.write_text(page, encoding="utf-8")
    quiet = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")
    done = subprocess.run(
        [
            str(BROWSER),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            *quiet,
            f"--user-data-dir={folder / 'profile'}",
            *options,
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return done.stdout
