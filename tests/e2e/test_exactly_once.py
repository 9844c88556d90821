"""Exactly once, seen from outside: the trading job is killed and moved in the middle of its work, and says the same.

The same commands are played twice on empty topics: once undisturbed; once with a TaskManager killed with -9 and, later,
a stop with a savepoint and a restart from it. What read_committed consumers see of every topic has to be the
same records, byte by byte. `DeterministicFlow` makes a day of every kind of order, with auctions, a halt and a kill, whose
outcome does not depend on how partitions and topics interleave.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable

import confluent_kafka
import pytest
from conftest import RunningStack

from infra.feeds.publisher import Publisher
from infra.feeds.sessions import DEFAULT_DAY, trading_day
from infra.feeds.workloads import DeterministicFlow
from jobs import topics
from jobs.cli_schemas import open_registry, register_all
from jobs.config import Config
from jobs.demo_watch import Probe
from jobs.flink_rest import FlinkRest
from jobs.job_state import savepoint_directory
from jobs.submit import submit_job
from schemas.catalogue import TOPICS
from schemas.messages import dead_letter, market_status, order_events
from schemas.messages.enums import (
    ORDER_EVENT_TYPE_NAMES,
    ORDER_STATUS_NAMES,
    REASON_CODE_NAMES,
    TIME_IN_FORCE_GTC,
)

COMMANDS = 6_000
SPEED = 90.0
"""Half an hour of commands in twenty seconds, so that there is a middle to strike in."""
SPOKEN = ("order-events", "trade-events", "risk-events", "routing-decisions", "market-status", "dead-letter")
"""What the job says to others. order-outcomes sum up batches, whose cut is a matter of timing."""
PATIENCE_S = 240
TERMINAL = {"EXECUTED", "CANCELLED", "EXPIRED", "REJECTED"}

Records = dict[str, list[tuple[bytes, bytes]]]


def wait_until(what: str, done: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    """Poll until `done`, or fail and say what did not happen."""
    deadline = time.monotonic() + patience_s
    while not done():
        assert time.monotonic() < deadline, f"not within {patience_s} s: {what}"
        time.sleep(0.5)


def read_committed(config: Config, topic: str) -> list[tuple[bytes, bytes]]:
    """Keys and values of all committed records of a topic, sorted."""
    consumer = confluent_kafka.Consumer(
        {
            **config.kafka.confluent(),
            "group.id": "exactly-once-test",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    partitions = range(TOPICS[topic].partitions_local)
    consumer.assign([confluent_kafka.TopicPartition(topic, partition, 0) for partition in partitions])
    records, ended = [], set()
    with contextlib.closing(consumer):
        while len(ended) < len(partitions):
            message = consumer.poll(30)
            assert message is not None, f"Kafka sent nothing of {topic} for 30 s"
            if message.error() is None:
                records.append((message.key(), message.value()))
            else:
                assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF, message.error()
                ended.add(message.partition())
    return sorted(records)


def taskmanager_of(config: Config, job_id: str, operator: str) -> str:
    """The component name of a TaskManager that runs a subtask of an operator."""
    vertex = next(vertex for vertex in FlinkRest(config.flink.rest_url).job(job_id)[1] if operator in vertex.name)
    url = f"{config.flink.rest_url}/jobs/{job_id}/vertices/{vertex.id}/taskmanagers"
    with urllib.request.urlopen(url, timeout=10) as response:
        entry = json.load(response)["taskmanagers"][0]
    return str(entry["taskmanager-id"]).rpartition("-")[0]


class Run:
    """One playing of the commands on empty topics."""

    def __init__(self, stack: RunningStack) -> None:
        config, self.stack = stack
        self.config = dataclasses.replace(config, flink=dataclasses.replace(config.flink, parallelism=2))
        self.rest = FlinkRest(config.flink.rest_url)
        self.job_ids: dict[str, str] = {}
        self.probe = Probe(self.config, {})

    def __enter__(self) -> Run:
        with topics.admin(self.config) as admin:
            topics.delete(admin, list(topics.existing(admin, list(TOPICS.values()))))
            wait_until("topics are deleted", lambda: not topics.existing(admin, list(TOPICS.values())))
            topics.create(admin, self.config, list(TOPICS.values()))
        self.ids = register_all(open_registry(self.config))
        return self

    def __exit__(self, *_: object) -> None:
        for job_id in self.job_ids.values():
            with contextlib.suppress(Exception):  # it may have ended; what failed is raised by the test itself
                self.rest.cancel(job_id)
        self.stack.up()

    def play(self, disturb: Callable[[Run], None] | None = None) -> Records:
        """Play the day, with somebody disturbing it or not, and return what committed readers see."""
        one = dataclasses.replace(self.config, flink=dataclasses.replace(self.config.flink, parallelism=1))
        self.job_ids["market_data"] = submit_job(one, "market_data", timeout_s=PATIENCE_S)
        self.job_ids["trading"] = submit_job(self.config, "trading", timeout_s=PATIENCE_S)
        flow = DeterministicFlow(
            trading_day(DEFAULT_DAY),
            self.ids,
            self.config.trading.account_shards,
            TOPICS["orders"].partitions_local,
            seed=7,
        )
        publisher = Publisher(self.config.kafka)
        for phase in flow.phases(COMMANDS):
            if phase.name != "session":
                publisher.play(phase.items)
            else:
                player = threading.Thread(target=publisher.play, args=(phase.items, SPEED))
                player.start()
                if disturb is not None:
                    disturb(self)
                player.join()
            self.settle(*phase.awaits)
        return {topic: read_committed(self.config, topic) for topic in SPOKEN}

    def kill_taskmanager(self, job_id: str, operator: str) -> None:
        """Kill a TaskManager that runs an operator; return when a checkpoint begun after the failure is complete.

        That the job and its tasks are RUNNING would not do: Flink's REST shows a picture of up to three seconds ago
        (web.refresh-interval), in which nothing has failed yet.
        """
        before = self.rest.restarts(job_id)
        self.stack.kill_component(taskmanager_of(self.config, job_id, operator))
        wait_until("the job restarted", lambda: self.rest.restarts(job_id) > before)
        failed_ms = time.time() * 1e3

        def checkpointed() -> bool:
            last = self.rest.checkpoints(job_id).last
            return last is not None and last.completed_ms - last.duration_ms > failed_ms

        wait_until(f"a checkpoint after the restart; {self.rest.failure(job_id)}", checkpointed)

    def settle(self, *inputs: str) -> None:
        """Wait until the jobs have taken these topics and two more checkpoints have committed the effects."""
        for topic in inputs:
            wait_until(f"{topic} is read", lambda topic=topic: self.probe.input_lag(topic) == 0)
        self.probe.job_ids = dict(self.job_ids)
        wanted = {name: self.probe.health(name).checkpoints + 3 for name in self.job_ids}
        for name, checkpoints in wanted.items():
            wait_until(
                f"{name} has made checkpoints; {self.rest.failure(self.job_ids[name])}",
                lambda name=name, checkpoints=checkpoints: self.probe.health(name).checkpoints >= checkpoints,
            )


def strike(run: Run) -> None:
    """Kill a TaskManager of the trading job, then move the job with a savepoint."""
    trading = run.job_ids["trading"]

    def written(share: float) -> bool:
        ends = run.probe.ends(("order-events",), committed=False)
        return sum(ends.values()) > share * COMMANDS

    wait_until("a fifth of the commands is answered", lambda: written(0.6))
    run.kill_taskmanager(trading, "route_and_match")
    wait_until("the job goes on", lambda: written(1.2))

    savepoint = run.rest.stop(trading, savepoint_directory(run.config, "trading"))
    run.stack.up()
    run.job_ids["trading"] = submit_job(run.config, "trading", from_savepoint=savepoint, timeout_s=PATIENCE_S)


def check_alone(records: Records) -> None:
    """What must hold for one run by itself: unique events, whole histories, one end for each order."""
    events = [order_events.decode(value) for _, value in records["order-events"]]
    repeated = [event_id for event_id, count in Counter(event.event_id for event in events).items() if count > 1]
    assert not repeated, f"{len(repeated)} events are doubled: {repeated[:5]}"
    histories: dict[tuple[str, str], list[order_events.OrderEvent]] = {}
    for event in events:
        if event.sequence:
            histories.setdefault((event.account_id, event.order_id), []).append(event)
    for order, history in histories.items():
        history.sort(key=lambda event: event.sequence)
        assert [event.sequence for event in history] == list(range(1, len(history) + 1)), f"{order}: events are missing"
        ends = [name for event in history if (name := ORDER_STATUS_NAMES[event.status]) in TERMINAL]
        lives_on = not ends and history[-1].time_in_force == TIME_IN_FORCE_GTC
        assert len(ends) == 1 or lives_on, f"{order} ended {len(ends)} times: {ends}"
    assert not [dead_letter.decode(value).detail for _, value in records["dead-letter"]]
    assert len(histories) > COMMANDS / 2
    assert len(records["trade-events"]) > COMMANDS / 4
    told = Counter(ORDER_EVENT_TYPE_NAMES[event.event_type] for event in events)
    assert told["TRIGGERED"] > 50 and told["RESTATED"] > 5 and not told["REPLACE_REJECTED"], told
    reasons = Counter(REASON_CODE_NAMES[event.reason] for event in events)
    for name in ("REPLACE_REQUESTED", "MATCH_FOK_UNFILLED", "MATCH_SELF_TRADE", "CANCEL_KILL_SWITCH"):
        assert reasons[name] > 10, f"{name}: {reasons[name]}"
    said = [market_status.decode(value) for _, value in records["market-status"]]
    assert sum(status.auction_quantity > 0 for status in said) > 20, "symbols open and close by auction"
    assert len(records["risk-events"]) == 3, "the kill, the halt and its end are answered"


@pytest.mark.timeout(1_200)
def test_trading_killed_and_moved_in_the_middle_says_what_an_undisturbed_run_says(stack: RunningStack) -> None:
    with Run(stack) as run:
        undisturbed = run.play()
    check_alone(undisturbed)
    with Run(stack) as run:
        disturbed = run.play(strike)
    check_alone(disturbed)
    for topic in SPOKEN:
        missing = Counter(undisturbed[topic]) - Counter(disturbed[topic])
        extra = Counter(disturbed[topic]) - Counter(undisturbed[topic])
        assert not missing and not extra, (
            f"{topic}: {missing.total()} missing, {extra.total()} extra, e.g. {list(missing)[:1]} {list(extra)[:1]}"
        )
