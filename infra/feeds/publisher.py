"""Plays items to Kafka at a chosen speed.

Speed 1 is the pace of the market, 60 a minute of it each second, 0 as fast as Kafka takes it. Event times set the pace
only; Kafka stamps the records with its own time, because retention counts from there and a day of 2013 would be
deleted at once.

Records of one key keep their order: the producer is idempotent, and its partitioner is that of the Java client, so that
all writers agree on the partition of a key.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from infra.feeds.items import TOPICS, Item
from jobs.config import KafkaConfig, RegistryConfig
from schemas.catalogue import TOPICS as CATALOGUE
from schemas.registry import Registry

_SLICE_NS: Final = 2_000_000
"""How far ahead of its time a record may go out: the largest burst that pacing makes, 2 ms."""
_PROGRESS_S: Final = 0.5
_POLL_EVERY: Final = 512
_DELIVERY_TIMEOUT_MS: Final = 60_000
# A stop must not hang on a broker that is gone; what it did not confirm by then is counted as not delivered.
_STOP_FLUSH_S: Final = 5.0


class PublishError(RuntimeError):
    """Kafka did not take a record; the message says which topic, why, and what to look at."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is: records handed over so far, records a second since the last report, event time reached."""

    sent: int
    rate: float
    event_time_ns: int
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Published:
    """What a run delivered: records that Kafka confirmed, by topic."""

    delivered: dict[str, int]
    elapsed_s: float
    stopped: bool
    """The stop event ended the run before its items did."""

    @property
    def total(self) -> int:
        """Records in all topics."""
        return sum(self.delivered.values())


def feed_schema_ids(registry: RegistryConfig) -> dict[str, int]:
    """The ids of the schemas that the feeds write, registered if they are not yet.

    Raises RegistryError when the registry cannot be reached or refuses a schema.
    """
    password = registry.password.reveal()
    client = Registry(registry.url, credentials=(registry.username, password) if registry.username else None)
    return {
        topic: client.register(CATALOGUE[topic].subject, CATALOGUE[topic].schema_file.read_text(encoding="utf-8"))
        for topic in TOPICS
    }


def producer_settings(kafka: KafkaConfig, linger_ms: float = 5.0) -> dict[str, str | int | float | bool]:
    """confluent-kafka's settings of the publisher; small `linger_ms` for latency, more for throughput."""
    return {
        **kafka.confluent(),
        "client.id": "tradestream-feeds",
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
        "compression.type": "lz4",
        "linger.ms": linger_ms,
        "batch.size": 262_144,
        "queue.buffering.max.messages": 200_000,
        "queue.buffering.max.kbytes": 262_144,
        "delivery.timeout.ms": _DELIVERY_TIMEOUT_MS,
        # Errors, but no warnings: that a broker which has just started is not ready yet is tried again, and nobody has to act.
        "log_level": 3,
    }


class Publisher:
    """One producer. Use it for any number of runs, from one thread; `stop` may be set from any. As a context it is closed at the
    end: one that outlives its broker complains about that on standard error.
    """

    def __init__(self, kafka: KafkaConfig, stop: threading.Event | None = None, linger_ms: float = 5.0) -> None:
        self.stop = stop or threading.Event()
        self._bootstrap = kafka.bootstrap
        self._delivered: Counter[str] = Counter()
        self._failure: PublishError | None = None
        self._producer = Producer(producer_settings(kafka, linger_ms) | {"error_cb": self._on_error})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect; what was played is delivered already."""
        self._producer.close()

    def play(
        self,
        items: Iterable[Item],
        speed: float = 0.0,
        progress: Callable[[Progress], None] | None = None,
        progress_s: float = _PROGRESS_S,
        longest_wait_s: float = math.inf,
    ) -> Published:
        """Publish items in their order and wait until Kafka has confirmed them.

        speed: event seconds per second, 0 for no pacing. progress: called about every `progress_s` seconds, and at the
        end. longest_wait_s: gaps between events (nights) are cut down to so many seconds of waiting.

        Raises PublishError when a record cannot be delivered; ValueError for a negative speed. After `stop` was set it
        returns what had been delivered, at once or after the few seconds that the records under way need.
        """
        if speed < 0:
            raise ValueError(f"speed must be 0 (no pacing) or positive, not {speed}")
        self._delivered.clear()
        self._failure = None
        pace = _Pace(speed, longest_wait_s)
        report = _Report(progress, progress_s)
        sent = 0
        event_ns = 0
        for topic, key, value, event_ns in items:
            if speed and not self._wait(pace, event_ns, report, sent):
                break
            self._send(topic, key, value)
            sent += 1
            if sent % _POLL_EVERY == 0:
                self._producer.poll(0)
                report.maybe(sent, event_ns)
                if self._failure is not None:
                    raise self._failure
            if self.stop.is_set():
                break
        self._flush()
        report.now(sent, event_ns)
        return Published(dict(self._delivered), report.elapsed_s(), self.stop.is_set())

    def _wait(self, pace: _Pace, event_ns: int, report: _Report, sent: int) -> bool:
        """Wait until the time of an event; False when stop was set meanwhile."""
        while (ahead_ns := pace.ahead_ns(event_ns)) > _SLICE_NS:
            self._producer.poll(0)
            if self._failure is not None:
                raise self._failure
            report.maybe(sent, event_ns)
            # At most a tenth of a second, so that progress and delivery reports go on in quiet hours.
            if self.stop.wait(min(ahead_ns / 1e9, 0.1)):
                return False
        return True

    def _send(self, topic: str, key: bytes, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(topic, value=value, key=key, on_delivery=self._on_delivery)
            except BufferError:
                # The queue is full: Kafka is the slower one. Waiting for deliveries makes room.
                self._producer.poll(0.05)
                if self._failure is not None:
                    raise self._failure from None
                if self.stop.is_set():
                    return
            except KafkaException as error:
                raise PublishError(f"a record of {len(value)} bytes for {topic} was refused: {error}") from error
            else:
                return

    def _flush(self) -> None:
        deadline = time.monotonic() + _DELIVERY_TIMEOUT_MS / 1e3 + 5
        stop_deadline: float | None = None
        while len(self._producer) > 0:
            self._producer.flush(0.1)
            now = time.monotonic()
            if self._failure is not None:
                raise self._failure
            if self.stop.is_set() and stop_deadline is None:
                stop_deadline = now + _STOP_FLUSH_S
            if stop_deadline is not None and now > stop_deadline:
                self._producer.purge()
                self._producer.flush(1.0)
                return
            if now > deadline:
                raise PublishError(
                    f"{len(self._producer)} records were not confirmed by {self._bootstrap} in time: is the broker up? "
                    "(`tradestream stack status`)"
                )
        if self._failure is not None:
            raise self._failure

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        topic = message.topic() or ""
        if error is None:
            self._delivered[topic] += 1
        elif not self.stop.is_set() and self._failure is None:
            self._failure = PublishError(
                f"Kafka at {self._bootstrap} did not take a record for topic {topic}: {error.str()}. "
                + _advice(error, topic)
            )

    def _on_error(self, error: KafkaError) -> None:
        # Others are retried by the client until the delivery timeout, which then tells through _on_delivery.
        if error.fatal() and self._failure is None:
            self._failure = PublishError(f"the producer cannot go on: {error.str()}")


class _Pace:
    """When an event is due: the first one now, the others by their distance from it."""

    def __init__(self, speed: float, longest_wait_s: float) -> None:
        self._speed = speed
        self._longest_ns = longest_wait_s * 1e9
        self._first_event_ns: int | None = None
        self._newest_ns = 0
        self._start_ns = 0

    def ahead_ns(self, event_ns: int) -> int:
        """How long until an event is due; negative when it is late."""
        now = time.monotonic_ns()
        if self._first_event_ns is None:
            self._first_event_ns = self._newest_ns = event_ns
            self._start_ns = now
        if event_ns > self._newest_ns:
            # A gap that is too long is cut once, when its end is first seen.
            excess = (event_ns - self._newest_ns) / self._speed - self._longest_ns
            self._newest_ns = event_ns
            if excess > 0:
                self._start_ns -= int(excess)
        return self._start_ns + int((event_ns - self._first_event_ns) / self._speed) - now


class _Report:
    """Calls the progress callback not more often than asked for."""

    def __init__(self, progress: Callable[[Progress], None] | None, every_s: float) -> None:
        self._progress = progress
        self._every_s = every_s
        self._start = self._last = time.monotonic()
        self._last_sent = 0

    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._start

    def maybe(self, sent: int, event_ns: int) -> None:
        """Report when it is time to."""
        if time.monotonic() - self._last >= self._every_s:
            self.now(sent, event_ns)

    def now(self, sent: int, event_ns: int) -> None:
        """Report."""
        now = time.monotonic()
        rate = (sent - self._last_sent) / max(now - self._last, 1e-6)
        self._last, self._last_sent = now, sent
        if self._progress is not None:
            self._progress(Progress(sent, rate, event_ns, now - self._start))


_ADVICE: Final[Mapping[int, str]] = {
    KafkaError.UNKNOWN_TOPIC_OR_PART: "Create the topics: `tradestream topics create`.",
    KafkaError._UNKNOWN_TOPIC: "Create the topics: `tradestream topics create`.",
    KafkaError._UNKNOWN_PARTITION: "Create the topics: `tradestream topics create`.",
    KafkaError._MSG_TIMED_OUT: "The broker did not answer in time: is it up? (`tradestream stack status`)",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "The configured Kafka user may not write to it.",
    KafkaError.MSG_SIZE_TOO_LARGE: "The topic's max.message.bytes is too small: `tradestream topics create` sets it.",
}


def _advice(error: KafkaError, topic: str) -> str:
    return _ADVICE.get(error.code(), f"Look at the broker's log and at the settings of {topic}.")
