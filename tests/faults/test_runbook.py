"""On demand (`--alerts-proof`): every alert of the runbook is provoked once on a stack with Prometheus, and fires.

Each function says by its name which alerts it provokes. The runbook tells of each how that was done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import re
import signal
import time
from collections.abc import Callable, Iterator

import pytest
from prometheus_api import firing

from infra import prometheus
from infra.stack import terminate_as_interrupt
from jobs.chaos_faults import FAULTS
from jobs.chaos_load import Load
from jobs.chaos_run import ChaosRun, Options
from jobs.config import Config

ALERTS = re.findall(r"^ +- alert: (\w+)$", (prometheus.FOLDER / "alerts.yml").read_text(encoding="utf-8"), re.MULTILINE)
FIRED: dict[str, str] = {}
"""What each alert said when it fired."""
PATIENCE_S = 240.0
SHORT_FREEZE_S = 15.0
"""Long enough for the age of records to show, and less than the heartbeat's timeout."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[ChaosRun]:
    """A stack with Prometheus and jobs under load."""
    if not pytestconfig.getoption("--alerts-proof"):
        pytest.skip("on demand: --alerts-proof")
    with pytest.MonkeyPatch.context() as environment, terminate_as_interrupt():
        environment.setenv("TRADESTREAM_STACK_MONITORING", "true")
        running = ChaosRun(Config.load(), tmp_path_factory.mktemp("alerts"), Options(seed=1, faults=50), print)
        try:
            running.start()
            yield running
        finally:
            running.close()


def load_of(run: ChaosRun) -> Load:
    """The load, which runs."""
    assert run._load is not None
    return run._load


def await_alert(run: ChaosRun, name: str, doing: Callable[[], None] = lambda: None, **labels: str) -> None:
    """Wait until an alert fires, note what it says; `doing` is done again and again meanwhile."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        alerts = [alert for alert in firing(run.config) if alert["alertname"] == name]
        if any(labels.items() <= alert.items() for alert in alerts):
            FIRED[name] = alerts[0]["summary"]
            run.say(f"{name}: {FIRED[name]}")
            return
        assert time.monotonic() < deadline, f"{name} {labels} did not fire; these did: {firing(run.config)}"
        doing()
        run.supervise(1.0)


@contextlib.contextmanager
def frozen(run: ChaosRun, *names: str) -> Iterator[None]:
    """Components stand still, and the supervisor leaves them alone."""
    processes = [process for name in names if (process := run.stack.processes.find(name)) is not None]
    run.away.update(names)
    for name in names:
        run.stack.kill_component(name, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)
        run.away.difference_update(names)


def provoke_dead_letters(run: ChaosRun) -> None:
    """One order in six cannot be decoded."""

    def junk() -> None:
        for number in range(20):
            load_of(run).send("orders", b"junk-%d" % number, b"no order " + random.randbytes(9), "other")

    await_alert(run, "DeadLetters", junk, tradestream="check_risk")


def provoke_process_down_and_job_restarted(run: ChaosRun) -> None:
    """A TaskManager is killed and stays away for a while."""
    (victim,) = run.taskmanagers("trading")
    run.away.add(victim)
    run.stack.kill_component(victim)
    try:
        await_alert(run, "ProcessDown", component=victim)
        await_alert(run, "JobRestarted", job_name="trading")
    finally:
        run.away.discard(victim)
    run.recovered()


def provoke_job_restarting_again_and_again(run: ChaosRun) -> None:
    """The TaskManager that the job is on is killed, wherever it goes."""

    def kill() -> None:
        for name in run.taskmanagers("trading"):
            run.stack.kill_component(name)
        run.recovered()

    await_alert(run, "JobRestartingAgainAndAgain", kill, job_name="trading")


def provoke_checkpoints_fail(run: ChaosRun) -> None:
    """The disk for checkpoints is full for some seconds."""
    run.say(FAULTS["full-disk"][0](run, random.Random(1)))
    await_alert(run, "CheckpointsFail")
    run.recovered()


def provoke_commits_fail(run: ChaosRun) -> None:
    """A transaction is open for longer than the broker allows: it is aborted, and the commit at the checkpoint fails."""
    load = load_of(run)
    before = run.job_config("trading")
    load.paused.set()
    try:
        run.change_job(
            "trading",
            dataclasses.replace(
                before,
                flink=dataclasses.replace(before.flink, checkpoint_interval_ms=30_000, transaction_timeout_ms=2_000),
            ),
        )
        run.move("trading")
        # An order that was there already: its refusal is all that the transaction holds.
        load.send("orders", b"BEN-1", load.samples["orders"], "other")
        await_alert(run, "CommitsFail", job_name="trading")
    finally:
        load.paused.clear()
    run.change_job("trading", before)
    run.move("trading")
    run.recovered()


def provoke_orders_slow_and_market_data_late(run: ChaosRun) -> None:
    """The TaskManagers of both jobs stand still for a while: what waited is old when it is handed on."""
    with frozen(run, *run.taskmanagers("trading"), *run.taskmanagers("market_data")):
        run.supervise(SHORT_FREEZE_S)
    await_alert(run, "OrdersSlow")
    await_alert(run, "MarketDataLate")
    run.recovered()


def provoke_checkpoints_stand_still_consumer_behind_and_archive_behind(run: ChaosRun) -> None:
    """ClickHouse stands still while orders come faster than they are taken."""
    load = load_of(run)
    again = load.samples["orders"]

    def burst() -> None:
        for number in range(20_000):
            load.send("orders", b"burst-%d" % (number % 64), again, "other")

    with frozen(run, "clickhouse"):
        await_alert(run, "ConsumerBehind", burst, job_name="trading")
        await_alert(run, "ArchiveBehind", job_name="archive")
        await_alert(run, "CheckpointsStandStill", job_name="archive")


@pytest.mark.timeout(3_600)
def test_every_alert_of_the_runbook_fires_when_it_is_provoked(run: ChaosRun) -> None:
    for provoke in (
        provoke_dead_letters,
        provoke_orders_slow_and_market_data_late,
        provoke_checkpoints_fail,
        provoke_process_down_and_job_restarted,
        provoke_job_restarting_again_and_again,
        provoke_commits_fail,
        provoke_checkpoints_stand_still_consumer_behind_and_archive_behind,
    ):
        provoke(run)
    assert FIRED.keys() == set(ALERTS)
