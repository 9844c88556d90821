"""The webhook consumer: a real HTTP server that fails, a real Kafka client over a mock broker, groups that go on."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from confluent_kafka import Producer

from jobs.alert_webhook import Webhook, open_consumer, run
from jobs.config import Config, KafkaConfig
from jobs.tail import Decoder
from schemas.catalogue import TOPICS
from schemas.messages import alerts
from schemas.messages.enums import ALERT_CONDITION_PRICE_ABOVE, ALERT_SEVERITY_INFO


@dataclass
class Receiver:
    """What a server got; it answers with `answers` in turn, then with 204. 0: it hangs up."""

    answers: list[int] = field(default_factory=list)
    got: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving(receiver: Receiver) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.headers["Content-Type"] == "application/json"
            receiver.got.append((self.headers["Idempotency-Key"], body))
            answer = receiver.answers.pop(0) if receiver.answers else 204
            if answer:
                self.send_response(answer)
                if 300 <= answer < 400:
                    self.send_header("Location", receiver.url)
                self.end_headers()
            else:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Nothing to stderr."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/alerts"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def alert(number: int) -> alerts.Alert:
    return alerts.Alert(
        f"r:A:market-data-0-{number}", "r", 1, "me", "A", ALERT_CONDITION_PRICE_ABOVE, ALERT_SEVERITY_INFO, 1_000,
        1_000 + number, f"tick-{number}", 1_000_000_000 + number,
    )  # fmt: skip


def hook(url: str, said: list[str] | None = None) -> Webhook:
    return Webhook(url, threading.Event(), (said if said is not None else []).append, 5.0, 0.01)


def test_alert_is_posted_as_json_with_its_identity() -> None:
    with serving(Receiver()) as receiver:
        sender = hook(receiver.url)
        assert sender.send(alerts.to_dict(alert(3)))
    ((key, body),) = receiver.got
    assert key == body["eventId"] == "r:A:market-data-0-3"
    assert (body["condition"], body["observedE4"], sender.sent) == ("PRICE_ABOVE", 1_003, 1)


def test_receiver_that_fails_is_asked_again_with_the_same_identity() -> None:
    said: list[str] = []
    with serving(Receiver([503, 0, 429, 500])) as receiver:
        sender = hook(receiver.url, said)
        assert sender.send(alerts.to_dict(alert(3)))
    assert [key for key, _ in receiver.got] == ["r:A:market-data-0-3"] * 5
    assert (sender.sent, sender.retries, sender.refused) == (1, 4, 0)
    # Each time it waits twice as long.
    assert [line.rpartition("again in ")[2] for line in said] == ["0.01 s", "0.02 s", "0.04 s", "0.08 s"]


def test_receiver_that_refuses_is_not_asked_again() -> None:
    said: list[str] = []
    with serving(Receiver([422])) as receiver:
        sender = hook(receiver.url, said)
        assert sender.send(alerts.to_dict(alert(3)))
    assert len(receiver.got) == 1
    assert (sender.sent, sender.refused) == (0, 1)
    assert "is refused: 422" in said[0]


@pytest.mark.parametrize("answer", [301, 302, 303, 307, 308])
def test_receiver_that_has_moved_is_not_followed_and_the_alert_not_lost(answer: int) -> None:
    said: list[str] = []
    with serving(Receiver([answer])) as receiver:
        sender = hook(receiver.url, said)
        assert sender.send(alerts.to_dict(alert(3)))
    assert [key for key, _ in receiver.got] == ["r:A:market-data-0-3"] * 2
    assert (sender.sent, sender.retries, sender.refused) == (1, 1, 0)
    assert f"it has moved to {receiver.url}" in said[0]


def test_receiver_that_is_not_there_is_waited_for_until_it_is_stopped() -> None:
    with serving(Receiver()) as receiver:
        pass
    sender = hook(receiver.url)
    threading.Timer(0.3, sender.stop.set).start()
    assert not sender.send(alerts.to_dict(alert(3)))
    assert sender.retries >= 2


@dataclass(frozen=True, slots=True)
class MockKafka(KafkaConfig):
    """A broker inside a producer."""

    def confluent(self) -> dict[str, str]:
        return {"bootstrap.servers": self.bootstrap}


class TrustingDecoder(Decoder):
    """Without a registry."""

    def __init__(self) -> None:
        super().__init__(TOPICS["alerts"], None)


@contextmanager
def consuming(config: Config, sender: Webhook) -> Iterator[None]:
    failures: list[BaseException] = []

    def target() -> None:
        try:
            run(open_consumer(config, "test"), TrustingDecoder(), sender)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    try:
        yield
    finally:
        sender.stop.set()
        thread.join(60)
    assert not thread.is_alive() and not failures, failures


def wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline, "nothing more comes"
        time.sleep(0.02)


@pytest.mark.timeout(240)
def test_consumer_that_is_stopped_before_an_answer_repeats_that_alert_and_no_other() -> None:
    producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": "1"})
    metadata = producer.list_topics("alerts", timeout=20)
    broker = next(iter(metadata.brokers.values()))
    config = Config.load(environment={})
    object.__setattr__(config, "kafka", MockKafka(bootstrap=f"{broker.host}:{broker.port}"))

    def produce(numbers: range) -> None:
        for number in numbers:
            producer.produce("alerts", key=b"A", value=alerts.encode(alert(number), 7), partition=0)
        producer.produce("alerts", key=b"A", value=b"no alert", partition=0)
        assert producer.flush(20) == 0

    produce(range(4))
    # The fourth is never answered.
    said: list[str] = []
    with serving(Receiver([204, 400, 204, *[503] * 1_000])) as receiver:
        first = hook(receiver.url, said)
        with consuming(config, first):
            wait(lambda: len(receiver.got) >= 6)
    assert [body["observedE4"] - 1_000 for _, body in receiver.got[:4]] == [0, 1, 2, 3]
    assert (first.sent, first.refused) == (2, 1)

    produce(range(4, 6))
    with serving(Receiver()) as again:
        second = hook(again.url, said)
        with consuming(config, second):
            wait(lambda: len(again.got) >= 3)
    assert [body["observedE4"] - 1_000 for _, body in again.got] == [3, 4, 5]
    assert any("cannot be read" in line for line in said)
