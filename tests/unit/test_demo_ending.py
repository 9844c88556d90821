"""How a demo ends, and what its consumer counts: with hand-written stand-ins for the stack and for Kafka's messages."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from jobs import demo_run
from jobs.cli_common import CliError
from jobs.config import Config
from jobs.demo import _ending
from jobs.demo_alerts import demo_rules
from jobs.demo_display import Display
from jobs.demo_plan import DemoOptions
from jobs.demo_watch import JobHealth, KafkaWatch, Probe, WatchError
from schemas.catalogue import TOPICS
from schemas.messages import alert_rules, alerts, order_events
from schemas.messages.enums import (
    ORDER_EVENT_TYPE_CANCEL_REJECTED,
    ORDER_EVENT_TYPE_STATUS,
    ORDER_STATUS_EXECUTED,
    ORDER_STATUS_REJECTED,
    ORDER_TYPE_LIMIT,
    REASON_CODE_NONE,
    SIDE_BUY,
    TIME_IN_FORCE_DAY,
)


class FakeRun:
    """Notes what is asked of a demo; stopping can be interrupted by a signal to ourselves."""

    def __init__(self, state_dir: Path, interrupt_stop: bool = False) -> None:
        self.base = SimpleNamespace(state_dir=state_dir)
        self.calls: list[str] = []
        self._interrupt_stop = interrupt_stop

    def stop_players(self) -> None:
        self.calls.append("stop players")

    def close(self, *, wipe: bool) -> None:
        if self._interrupt_stop:
            os.kill(os.getpid(), signal.SIGINT)
        self.calls.append(f"close wipe={wipe}")

    def kill(self) -> None:
        self.calls.append("kill")


def end(run: FakeRun, *, keep: bool, error: BaseException | None = None, ok: bool | None = None) -> None:
    """Enter and leave `_ending`: with an error, or with a result that holds or does not."""
    with _ending(run, keep=keep) as ending:  # type: ignore[arg-type]
        if error is not None:
            raise error
        if ok is not None:
            ending.result = SimpleNamespace(ok=ok)  # type: ignore[assignment]


def test_demo_that_adds_up_is_stopped_and_deleted(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    end(run, keep=False, ok=True)
    assert run.calls == ["stop players", "close wipe=True"]


def test_demo_that_does_not_add_up_keeps_its_data(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    end(run, keep=False, ok=False)
    assert run.calls == ["stop players", "close wipe=False"]


@pytest.mark.parametrize("ok", [True, False])
def test_keep_leaves_the_stack_up_when_there_is_a_result(tmp_path: Path, ok: bool) -> None:
    run = FakeRun(tmp_path)
    end(run, keep=True, ok=ok)
    assert run.calls == ["stop players"]


def test_interrupt_stops_and_deletes_and_exits_with_130(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    with pytest.raises(click.exceptions.Exit) as caught:
        end(run, keep=True, error=KeyboardInterrupt())
    assert caught.value.exit_code == 130
    assert run.calls == ["stop players", "close wipe=True"]


def test_second_interrupt_kills_what_is_being_stopped(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, interrupt_stop=True)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(click.exceptions.Exit):
        end(run, keep=False, error=KeyboardInterrupt())
    assert run.calls == ["stop players", "kill", "close wipe=True"]
    assert signal.getsignal(signal.SIGINT) is before


def test_failure_stops_keeps_the_data_and_names_the_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = FakeRun(tmp_path)
    with pytest.raises(CliError, match="KafkaException"):
        end(run, keep=True, error=KafkaException("broken"))
    assert run.calls == ["stop players", "close wipe=False"]
    assert str(tmp_path / "demo" / "logs") in capsys.readouterr().err


class FakeMessage:
    """A message of confluent-kafka."""

    def __init__(self, topic: str, offset: int, value: bytes | None = None, error: KafkaError | None = None) -> None:
        self._fields = (topic, 0, offset, value, error)

    def topic(self) -> str:
        return self._fields[0]

    def partition(self) -> int:
        return self._fields[1]

    def offset(self) -> int:
        return self._fields[2]

    def value(self) -> bytes | None:
        return self._fields[3]

    def error(self) -> KafkaError | None:
        return self._fields[4]


def take(watch: KafkaWatch, *messages: FakeMessage) -> None:
    """Let the watch see messages."""
    for message in messages:
        take_one: Any = watch._take
        take_one(message)


def event(event_type: int, status: int, filled: int) -> bytes:
    """An order event in its frame."""
    return order_events.encode_fields(
        1,
        "orders-0-1-1",
        event_type,
        "order",
        "account",
        "ACME",
        SIDE_BUY,
        ORDER_TYPE_LIMIT,
        TIME_IN_FORCE_DAY,
        100,
        10_000,
        None,
        status,
        REASON_CODE_NONE,
        None,
        filled,
        0,
        filled,
        None,
        None,
        None,
        1,
        "orders-0-1",
        0,
    )


def test_watch_counts_stages_and_remembers_positions() -> None:
    watch = KafkaWatch(Config.load(environment={}))
    take(
        watch,
        FakeMessage("order-events", 3, event(ORDER_EVENT_TYPE_STATUS, ORDER_STATUS_EXECUTED, 100)),
        FakeMessage("order-events", 5, event(ORDER_EVENT_TYPE_CANCEL_REJECTED, ORDER_STATUS_REJECTED, 0)),
        FakeMessage("orders", 0, b"not looked at"),
        FakeMessage("order-events", 6, None, KafkaError(KafkaError._PARTITION_EOF)),
    )
    assert watch.stages == {"EXECUTED": 1, "CANCEL_REJECTED": 1}
    assert list(watch.positions["order-events", 0]) == [3, 5]
    assert (watch.count("order-events"), watch.count("orders"), watch.filled_shares) == (2, 1, 100)
    assert watch.unread({("order-events", 0): 6, ("orders", 0): 1}) == 1, "the end of orders was not seen yet"
    assert watch.unread({("order-events", 0): 7}) == 1


def test_watch_keeps_alerts_and_the_latest_record_of_each_rule() -> None:
    watch = KafkaWatch(Config.load(environment={}))
    rules = demo_rules({"ACME": 1_000_000}, 0, Config.load(environment={}).analytics)
    changed = rules[0] | {"version": 2, "thresholdE4": 7}
    frames = [alert_rules.encode(alert_rules.from_dict(rule), 1) for rule in (*rules, changed)]
    example = TOPICS["alerts"].schema_file.parent.parent / "examples" / "alerts" / "valid" / "every_field.json"
    alert = json.loads(example.read_text(encoding="utf-8"))
    take(
        watch,
        *(FakeMessage("alert-rules", offset, frame) for offset, frame in enumerate(frames)),
        FakeMessage("alerts", 4, alerts.encode(alerts.from_dict(alert), 1)),
    )
    assert list(watch.rules) == [rule["ruleId"] for rule in rules]
    assert watch.rules["demo-price"]["thresholdE4"] == 7
    assert watch.alerts == [alerts.to_dict(alerts.from_dict(alert))]
    assert watch.last_offsets(("alerts", "nbbo")) == {("alerts", 0): 4}


class FakeGroup:
    """A consumer group that has committed these offsets by partition; -1001 is Kafka's for none."""

    def __init__(self, offsets: dict[int, int]) -> None:
        self._offsets = offsets

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        assert timeout > 0
        return [TopicPartition(part.topic, part.partition, self._offsets[part.partition]) for part in partitions]


def test_what_a_group_has_still_to_take_is_counted_to_the_last_record() -> None:
    probe: Any = Probe(Config.load(environment={}), {})
    probe._groups["analytics"] = FakeGroup({0: 10, 1: 7, 2: -1001})
    last = {("market-data", 0): 9, ("market-data", 1): 9, ("market-data", 2): 1}
    assert probe.untaken("analytics", last) == 3 + 2
    assert probe.untaken("analytics", {("market-data", 0): 9}) == 0, "transaction markers behind it are no records"
    assert probe.untaken("analytics", {}) == 0


class FakeProbe:
    """A cluster in which analytics is 7 records behind at first; each look at its health finds one checkpoint more."""

    def __init__(self) -> None:
        self.behind = [7, 7, 0]
        self.checkpoints = 3
        self.asked: list[str] = []

    def ends(self, topics: Sequence[str], *, committed: bool) -> dict[tuple[str, int], int]:
        assert "market-analytics" in topics
        return {("alerts", 0): 4}

    def untaken(self, group: str, last: dict[tuple[str, int], int]) -> int:
        assert (group, last) == ("analytics", {("market-data", 0): 9})
        self.asked.append("untaken")
        return self.behind.pop(0)

    def health(self, name: str) -> JobHealth:
        assert name == "analytics"
        self.asked.append("health")
        self.checkpoints += 1
        return JobHealth("RUNNING", self.checkpoints)


def test_end_of_day_waits_until_analytics_has_taken_it_and_has_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_run, "_TICK_S", 0.0)
    monkeypatch.setattr(demo_run, "_Meter", lambda _run: SimpleNamespace(show=lambda look: None))
    run: Any = demo_run.DemoRun(
        Config.load(environment={}, overrides={"state_dir": tmp_path}), {}, DemoOptions(), Display()
    )
    run._watch = KafkaWatch(run.base)
    take(run._watch, FakeMessage("market-data", 9, b"not looked at"), FakeMessage("orders", 3, b"of no interest"))
    take(run._watch, FakeMessage("alerts", 4, None, KafkaError(KafkaError._PARTITION_EOF)))
    probe = run._probe = FakeProbe()
    run._wait_for_analytics()
    # The first look at its health tells how many checkpoints there were then.
    assert probe.asked == ["untaken"] * 3 + ["health"] * 3
    assert probe.behind == []


def test_watch_stops_at_an_error_that_stays() -> None:
    watch = KafkaWatch(Config.load(environment={}))
    with pytest.raises(WatchError, match="orders/0"):
        take(watch, FakeMessage("orders", 0, None, KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)))
    take(watch, FakeMessage("orders", 0, None, KafkaError(KafkaError._ALL_BROKERS_DOWN)))
