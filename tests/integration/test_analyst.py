"""What analysts are given, on a simulated day in a real ClickHouse engine: the guide, and that the day is in order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archive_gateway import GatewayProcess, connect
from archived_day import WRITTEN, archive, play

from infra.feeds.sessions import DEFAULT_DAY
from jobs import migrate, quality
from jobs.config import Config, project_root

GUIDE = project_root() / "sql" / "clickhouse" / "guide.md"
QUESTIONS = re.findall(
    r"^(\d+)\. (.+?)\n+```sql\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Config]:
    gateway = GatewayProcess(tmp_path_factory.mktemp("clickhouse"))
    settings = gateway.config("default")
    migrate.apply(settings, print)
    rows = archive(settings, play())
    assert rows["orders"] == 1_500
    assert min(rows[topic] for topic in WRITTEN) > 0
    yield settings
    gateway.stop()


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


def test_simulated_day_holds_every_rule_of_quality(config: Config, tmp_path: Path) -> None:
    outcome = quality.run(config, [*WRITTEN, "orders"], tmp_path, kafka=False)
    assert outcome.summary()["failures"] == []
    assert outcome.first == outcome.last == DEFAULT_DAY
