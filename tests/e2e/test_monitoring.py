"""Monitoring on the real stack: promised metrics count what was sent, dashboard queries run, a kill raises its alert."""

from __future__ import annotations

import dataclasses
import json

import pytest
from conftest import RunningStack
from prometheus_api import ask, firing
from test_exactly_once import PATIENCE_S, Run, taskmanager_of, wait_until

from infra import prometheus
from infra.feeds.many_orders import BenchFlow
from infra.feeds.publisher import Publisher
from infra.feeds.sessions import DEFAULT_DAY, trading_day
from jobs.config import Config
from jobs.submit import submit_job

ORDERS = 2_000


def value(config: Config, expression: str) -> float:
    """The one value of a query; 0 when there is no series yet."""
    result = ask(config, "query", query=expression)["result"]
    return float(result[0]["value"][1]) if result else 0.0


@pytest.mark.timeout(600)
def test_monitoring_counts_what_was_sent_and_raises_the_alert_of_a_kill(stack: RunningStack) -> None:
    if not stack.config.stack.monitoring:
        pytest.skip("Prometheus is not installed and cannot be downloaded")
    with Run(stack) as run:
        one = dataclasses.replace(run.config, flink=dataclasses.replace(run.config.flink, parallelism=1))
        for job in ("market_data", "trading"):
            run.job_ids[job] = submit_job(one, job, timeout_s=PATIENCE_S)
        flow = BenchFlow(trading_day(DEFAULT_DAY), run.ids, symbols=8, accounts=16)
        publisher = Publisher(one.kafka)
        publisher.play(flow.setup())
        wait_until("quotes are in", lambda: run.probe.group_lag("market_data", ("raw-feed",)) == 0)
        publisher.play(flow.orders(ORDERS - 1))
        wait_until("orders are read", lambda: run.probe.group_lag("trading", ("orders",)) == 0)
        # The last counts of a burst are handed over with what comes next.
        publisher.play(BenchFlow(flow.day, run.ids, symbols=8, accounts=16, run_id="LAST").orders(1))

        running = '{job_name="trading"}'
        wait_until("orders are counted", lambda: value(one, f"sum(order_throughput_total{running})") == ORDERS, 120)
        latency = 'sum(order_processing_latency_seconds_bucket{job_name="trading", le="+Inf"})'
        wait_until("all orders have a latency", lambda: value(one, latency) == ORDERS, 60)
        for promised in (
            "trade_execution_latency_seconds_bucket",
            "risk_check_duration_seconds_bucket",
            "market_data_lag_seconds_bucket",
            "flink_jobmanager_job_numberOfCompletedCheckpoints",
        ):
            assert value(one, f"sum({promised})") > 0, promised
        assert ask(one, "query", query=f"kafka_consumer_lag{running}")["result"]

        panels = json.loads((prometheus.FOLDER / "dashboard.json").read_text(encoding="utf-8"))["panels"]
        for expression in {target["expr"] for panel in panels for target in panel["targets"]}:
            ask(one, "query", query=expression)
        loaded = {rule["name"] for group in ask(one, "rules")["groups"] for rule in group["rules"]}
        assert {"ProcessDown", "CommitsFail"} <= loaded

        victim = taskmanager_of(one, run.job_ids["trading"], "check_risk")
        run.stack.kill_component(victim)

        def told() -> bool:
            return any((alert["alertname"], alert.get("component")) == ("ProcessDown", victim) for alert in firing(one))

        wait_until("the alert of the kill fires", told, 120)
    wait_until("the process answers again", lambda: not told(), 60)
