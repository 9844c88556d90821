"""Alert rules, dashboard and runbook belong together, and promtool accepts the rules and finds that they fire."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from infra import prometheus
from infra.processes import StackError
from jobs.config import Config

RULES = prometheus.FOLDER / "alerts.yml"
ALERTS = re.findall(r"^ +- alert: (\w+)$", RULES.read_text(encoding="utf-8"), re.MULTILINE)


def test_every_alert_has_its_section_in_the_runbook_and_nothing_else_has() -> None:
    sections = re.findall(r"^## (\w+)$", (prometheus.FOLDER / "runbook.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert ALERTS and sections == ALERTS


def test_every_alert_is_tested_firing_and_silent() -> None:
    tests = (prometheus.FOLDER / "alerts_test.yml").read_text(encoding="utf-8")
    silent = set(re.findall(r"alertname: (\w+), exp_alerts: \[\]", tests))
    firing = set(re.findall(r"alertname: (\w+)\n", tests))
    assert firing == set(ALERTS) and silent == set(ALERTS)


def test_rules_pass_promtool() -> None:
    try:
        promtool = prometheus.program(Config.load(), "promtool")
    except StackError as error:
        pytest.skip(str(error))
    for words in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run(
            [promtool, *words], cwd=prometheus.FOLDER, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_configuration_passes_promtool(tmp_path: Path) -> None:
    try:
        promtool = prometheus.program(Config.load(), "promtool")
    except StackError as error:
        pytest.skip(str(error))
    file = tmp_path / "prometheus.yml"
    file.write_text(prometheus.configuration(Config.load(overrides={"state_dir": tmp_path})), encoding="utf-8")
    done = subprocess.run(
        [promtool, "check", "config", str(file)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("flink", "plain"),
    [
        (
            "flink_taskmanager_job_task_operator_tradestream_le_order_processing_latency_seconds_bucket",
            "order_processing_latency_seconds_bucket",
        ),
        ("flink_taskmanager_job_task_operator_tradestream_order_throughput_total", "order_throughput_total"),
        ("flink_taskmanager_job_task_operator_tradestream_dead_letters", "tradestream_dead_letters_total"),
        ("flink_taskmanager_job_task_operator_pendingRecords", "kafka_consumer_lag"),
        ("flink_jobmanager_job_numRestarts", "flink_jobmanager_job_numRestarts"),
    ],
)
def test_metrics_get_their_plain_names(flink: str, plain: str) -> None:
    name = flink
    for pattern, replacement in prometheus.PLAIN_NAMES:
        found = re.fullmatch(pattern, name)
        if found:
            # Go's words for a group are $1 and ${1}.
            name = found.expand(re.sub(r"\$\{?(\d)\}?", r"\\\1", replacement))
    assert name == plain


def test_a_targets_file_names_the_component_and_is_replaced(tmp_path: Path) -> None:
    config = Config.load(overrides={"state_dir": tmp_path})
    prometheus.write_target(config, "taskmanager-1", 1_234)
    prometheus.write_target(config, "taskmanager-1", 4_321)
    (file,) = (tmp_path / "prometheus" / "targets").iterdir()
    assert json.loads(file.read_text()) == [{"targets": ["127.0.0.1:4321"], "labels": {"component": "taskmanager-1"}}]


def test_dashboard_panels_do_not_overlap_and_all_have_queries() -> None:
    panels = json.loads((prometheus.FOLDER / "dashboard.json").read_text(encoding="utf-8"))["panels"]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels) == len({panel["id"] for panel in panels})
    assert all(target["expr"] for panel in panels for target in panel["targets"])
    assert all(panel["targets"] for panel in panels)
