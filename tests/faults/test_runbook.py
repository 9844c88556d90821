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
from confluent_kafka import Producer
from prometheus_api import firing

from infra import prometheus
from infra.feeds.publisher import producer_settings
from infra.stack import terminate_as_interrupt
from jobs.chaos_faults import FAULTS
from jobs.chaos_load import Load
from jobs.chaos_run import ChaosRun, Options
from jobs.config import Config
from schemas.messages import orders

ALERTS = re.findall(r"^ +- alert: (\w+)$", (prometheus.FOLDER / "alerts.yml").read_text(encoding="utf-8"), re.MULTILINE)
FIRED: dict[str, str] = {}
"""What each alert said when it fired."""
PATIENCE_S = 400.0
LATE_MS = 5_000
REPEATS = 3_000_000
"""Orders of a burst: many enough that no machine takes them within the half minute that the alert waits."""


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


def order_again(load: Load) -> tuple[bytes, bytes]:
    """Key and value of a command that was sent before: it is answered, and changes nothing."""
    value = load.samples["orders"]
    return orders.decode(value).account_id.encode(), value


def await_alert(run: ChaosRun, name: str, doing: Callable[[], None] = lambda: None, **labels: str) -> None:
    """Wait until an alert fires, note what it says; `doing` is done again and again meanwhile."""
    began = time.monotonic()
    deadline = began + PATIENCE_S
    while True:
        alerts = [alert for alert in firing(run.config) if alert["alertname"] == name]
        if any(labels.items() <= alert.items() for alert in alerts):
            FIRED[name] = next(alert["summary"] for alert in alerts if labels.items() <= alert.items())
            run.say(f"{name} after {time.monotonic() - began:.0f} s: {FIRED[name]}")
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
    """Of what the risk stage reads, quotes for every shard among it, a tenth cannot be decoded, or more."""

    def junk() -> None:
        for number in range(100):
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
                flink=dataclasses.replace(before.flink, checkpoint_interval_ms=60_000, transaction_timeout_ms=2_000),
            ),
        )
        run.move("trading")
        # An order that was there already: its refusal is all that the transaction holds.
        load.send("orders", *order_again(load), "other")
        await_alert(run, "CommitsFail", job_name="trading")
    finally:
        load.paused.clear()
    run.change_job("trading", before)
    run.move("trading")
    run.recovered()


def provoke_orders_slow_and_market_data_late(run: ChaosRun) -> None:
    """Orders and ticks come five seconds late: so old are they by Kafka's time stamps when the jobs get them."""
    run.skew(-LATE_MS)
    await_alert(run, "OrdersSlow")
    await_alert(run, "MarketDataLate")
    run.skew(0)


def provoke_consumer_behind_archive_behind_and_checkpoints_stand_still(run: ChaosRun) -> None:
    """Orders come faster than they are taken; ClickHouse takes them every other second only, and then stands still."""
    assert run._reader is not None
    # The checker would have to remember each of them.
    run._reader.stop()
    key, value = order_again(load_of(run))
    producer = Producer(producer_settings(run.config.kafka))
    for _ in range(REPEATS):
        while True:
            try:
                producer.produce("orders", value=value, key=key)
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(60.0) == 0
    with frozen(run, "clickhouse"):

        def breathe() -> None:
            # A job that waits for ClickHouse reads nothing, and its lag stays that of when it last read.
            run.stack.kill_component("clickhouse", signal.SIGCONT)
            time.sleep(1.0)
            run.stack.kill_component("clickhouse", signal.SIGSTOP)

        await_alert(run, "ConsumerBehind", breathe, job_name="trading")
        await_alert(run, "ArchiveBehind", breathe, job_name="archive")
        await_alert(run, "CheckpointsStandStill", job_name="archive")


PROVOCATIONS = (
    provoke_dead_letters,
    provoke_orders_slow_and_market_data_late,
    provoke_checkpoints_fail,
    provoke_process_down_and_job_restarted,
    provoke_job_restarting_again_and_again,
    provoke_commits_fail,
    provoke_consumer_behind_archive_behind_and_checkpoints_stand_still,
)


@pytest.mark.timeout(1_500)
@pytest.mark.parametrize("provoke", PROVOCATIONS, ids=[one.__name__.removeprefix("provoke_") for one in PROVOCATIONS])
def test_alerts_fire_when_they_are_provoked(run: ChaosRun, provoke: Callable[[ChaosRun], None]) -> None:
    provoke(run)


def test_alerts_of_the_runbook_have_all_fired(run: ChaosRun) -> None:
    del run
    assert FIRED.keys() == set(ALERTS)
