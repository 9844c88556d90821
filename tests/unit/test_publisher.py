"""The publisher, against the mock broker that is built into librdkafka: the real protocol, no server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from confluent_kafka import Consumer, TopicPartition

from infra.feeds.items import Item
from infra.feeds.publisher import Progress, Publisher, PublishError
from jobs.config import KafkaConfig

SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class MockKafka(KafkaConfig):
    """A broker inside the producer."""

    def confluent(self) -> dict[str, str]:
        return {"bootstrap.servers": "mock", "test.mock.num.brokers": "1"}


class SlowClock:
    """Items at given event seconds."""

    def __init__(self, seconds: list[float]) -> None:
        self.seconds = seconds

    def items(self) -> Iterator[Item]:
        for number, second in enumerate(self.seconds):
            yield "orders", b"key-%d" % (number % 7), b"value-%d" % number, int(second * SECOND)


def read_back(publisher: Publisher, topic: str, count: int) -> list[tuple[int, bytes, bytes]]:
    """Partition, key and value of every record of a topic."""
    metadata = publisher._producer.list_topics(topic, timeout=10)
    broker = next(iter(metadata.brokers.values()))
    consumer = Consumer({"bootstrap.servers": f"{broker.host}:{broker.port}", "group.id": "test"})
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in metadata.topics[topic].partitions])
        found: list[tuple[int, bytes, bytes]] = []
        deadline = time.monotonic() + 20
        while len(found) < count and time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is not None and message.error() is None:
                found.append((message.partition(), message.key(), message.value()))
        return found
    finally:
        consumer.close()


def test_everything_is_delivered_once_in_order_of_its_key() -> None:
    publisher = Publisher(MockKafka())
    seen: list[Progress] = []
    published = publisher.play(
        SlowClock([float(n) for n in range(3_000)]).items(), progress=seen.append, progress_s=0.0
    )
    assert published.delivered == {"orders": 3_000}
    assert published.total == 3_000
    assert not published.stopped
    assert seen[-1].sent == 3_000
    assert seen[-1].event_time_ns == 2_999 * SECOND
    records = read_back(publisher, "orders", 3_000)
    assert len(records) == 3_000
    for key in {key for _, key, _ in records}:
        values = [value for _, found, value in records if found == key]
        assert values == sorted(values, key=lambda value: int(value.split(b"-")[1]))
        assert len({partition for partition, found, _ in records if found == key}) == 1


def test_second_run_counts_its_own_records() -> None:
    publisher = Publisher(MockKafka())
    publisher.play(SlowClock([0.0] * 5).items())
    assert publisher.play(SlowClock([0.0] * 3).items()).delivered == {"orders": 3}


def test_speed_paces_by_event_time_without_spinning() -> None:
    publisher = Publisher(MockKafka())
    processor_before = time.process_time()
    published = publisher.play(SlowClock([n * 0.1 for n in range(51)]).items(), speed=5.0)
    assert 0.95 < published.elapsed_s < 2.5
    assert time.process_time() - processor_before < 0.5 * published.elapsed_s
    assert published.total == 51


def test_records_leave_steadily_and_never_early() -> None:
    publisher = Publisher(MockKafka())
    start = time.monotonic()
    late: list[float] = []

    def items() -> Iterator[Item]:
        for number in range(101):
            # An item is asked for when the one before has gone out.
            if number:
                late.append(time.monotonic() - start - (number - 1) * 0.01)
            yield "orders", b"k", b"v", int(number * 0.01 * SECOND)

    publisher.play(items(), speed=1.0)
    assert min(late) > -0.003
    # Generous, because test machines are busy: what must not happen is that a second's records go out together.
    assert sorted(late)[len(late) // 2] < 0.2


def test_long_gaps_are_cut_down() -> None:
    publisher = Publisher(MockKafka())
    published = publisher.play(SlowClock([0, 0.1, 50_000, 50_000.1]).items(), speed=1.0, longest_wait_s=0.2)
    assert 0.3 < published.elapsed_s < 3.0
    assert published.total == 4


def test_stop_ends_a_waiting_run_at_once_and_tells_what_was_delivered() -> None:
    stop = threading.Event()
    publisher = Publisher(MockKafka(), stop)
    timer = threading.Timer(0.3, stop.set)
    timer.start()
    try:
        published = publisher.play(SlowClock([0, 0.01, 1_000]).items(), speed=1.0)
    finally:
        timer.cancel()
    assert published.stopped
    assert published.delivered == {"orders": 2}
    assert published.elapsed_s < 3.0


def test_stop_ends_a_run_without_pacing() -> None:
    stop = threading.Event()
    publisher = Publisher(MockKafka(), stop)

    def items() -> Iterator[Item]:
        for number in range(10**9):
            if number == 1_000:
                stop.set()
            yield "orders", b"k", b"v", number

    published = publisher.play(items())
    assert published.stopped
    assert published.total == 1_001


def test_record_that_is_too_large_is_an_error_that_names_the_topic() -> None:
    publisher = Publisher(MockKafka())
    with pytest.raises(PublishError, match="2000000 bytes for orders"):
        publisher.play([("orders", b"k", b"x" * 2_000_000, 0)])


def test_error_of_the_items_goes_through() -> None:
    def items() -> Iterator[Item]:
        yield "orders", b"k", b"v", 0
        raise LookupError("the feed broke")

    with pytest.raises(LookupError, match="the feed broke"):
        Publisher(MockKafka()).play(items())


def test_negative_speed_is_refused() -> None:
    with pytest.raises(ValueError, match="speed must be 0"):
        Publisher(MockKafka()).play([], speed=-1)
