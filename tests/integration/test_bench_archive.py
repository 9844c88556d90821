"""The benchmark of the archive, small: its history fills the tables, every question has an answer, its records are rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from archive_gateway import GatewayProcess, connect

from jobs.bench_archive import QUESTIONS, TOPICS_MEASURED, measure
from jobs.config import Config


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Config]:
    """A gateway of the test's own, with an empty database."""
    gateway = GatewayProcess(tmp_path / "clickhouse")
    try:
        client = connect(gateway.config("default"))
        client.command("CREATE DATABASE bench")
        yield gateway.config("bench")
    finally:
        gateway.stop()


def test_bench_of_a_small_history_answers_every_question_and_measures_every_topic(config: Config) -> None:
    result = measure(config, rows=40_000, days=2, sampled=2_000)
    client = connect(config)
    per_table = dict(
        client.query("SELECT table, sum(rows) FROM system.parts WHERE database = 'bench' GROUP BY table").result_rows
    )
    assert per_table["market_data"] == 18_400
    assert per_table["nbbo"] == 9_600
    assert per_table["order_events"] == 7_200
    assert 0 < per_table["trade_events"] < per_table["orders"] == 1_800
    assert per_table["bar_states"] > 0
    assert result["rows"] > 36_000
    assert [row["question"] for row in result["questions"]] == [question.text for question in QUESTIONS]
    assert {row["question"] for row in result["questions"] if not row["answers"]} == set()
    rejected = client.query("SELECT count() FROM order_lifecycle WHERE final_status = 'REJECTED'").result_rows[0][0]
    assert rejected == pytest.approx(180, abs=60), "one order in ten is refused"
    assert [row["topic"] for row in result["topics"]] == list(TOPICS_MEASURED)
    for row in result["topics"]:
        assert min(row["avro_bytes"], row["parquet_bytes"], row["clickhouse_bytes"], row["ratio"]) > 0, row
