"""What `tradestream chaos` writes while faults strike, and the reader of what comes of it: plain Kafka clients.

`Load` sends orders and ticks at a steady pace with an idempotent producer that never gives up: whatever Kafka acknowledged is
remembered with its place. `Ghosts` writes orders in transactions that it aborts. `Reader` is a read_committed consumer of
everything, which tells the ledger.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from infra.feeds.items import Item
from infra.feeds.publisher import producer_settings
from infra.feeds.sessions import NS_PER_MS, NS_PER_SECOND
from infra.feeds.workloads import MID_E4, DeterministicFlow
from jobs.chaos_ledger import READ, Ack, Ledger, digest_of
from jobs.chaos_orders import GHOST
from jobs.config import Config
from schemas.catalogue import TOPICS
from schemas.messages import orders, raw_feed
from schemas.messages.enums import (
    COMMAND_TYPE_NEW,
    FEED_FORMAT_LEAN_QUOTE,
    ORDER_TYPE_LIMIT,
    SIDE_BUY,
    STP_MODE_NONE,
    TIME_IN_FORCE_DAY,
)

_QUIET: Final = {"log_level": "0"}
_TICK_E4: Final = 100
_FEED: Final = "chaos"
_QUOTE_DISTANCE: Final = 150
"""As in DeterministicFlow: quotes stand still, so many ticks from the middle."""
_RECENT: Final = 100_000
"""Many enough that what was sent first after a fault is still known when it is answered and archived, minutes later."""
POISON: Final = ("orders", "raw-feed", "reference-data", "controls", "corporate-actions")
"""Every topic that outsiders write and a running job reads."""


class Load:
    """A thread that sends commands and ticks. `paused` holds it, `skew_ms` shifts the time stamps of its records."""

    def __init__(
        self, config: Config, items: Iterator[Item], ticks: Iterator[Item], rate: float, tick_rate: float
    ) -> None:
        self.paused = threading.Event()
        self.skew_ms = 0
        self.sent = 0
        self.samples: dict[str, bytes] = {}
        """A record of each topic that was sent, the newest."""
        self.failure: str | None = None
        self._streams = ((items, rate, "command"), (ticks, tick_rate, "tick"))
        self._stop = threading.Event()
        self._acks: list[Ack] = []
        self._acks_lock = threading.Lock()
        self.recent: deque[Ack] = deque(maxlen=_RECENT)
        """The newest acknowledged commands and ticks, oldest first."""
        # Infinite patience: what was handed over is written, however long the broker is away.
        settings = producer_settings(config.kafka) | _QUIET | {"delivery.timeout.ms": 0}
        self._producer = Producer(settings | {"error_cb": self._on_error})
        self._thread = threading.Thread(target=self._run, name="chaos-load", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what is under way stays so."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10.0)
        self._producer.purge()
        self._producer.flush(2.0)

    def acks(self) -> list[Ack]:
        """What was acknowledged since the last call."""
        with self._acks_lock:
            taken, self._acks = self._acks, []
        return taken

    def flush(self) -> int:
        """Wait a second for acknowledgements; return how many are missing."""
        return int(self._producer.flush(1.0))

    def pending(self) -> int:
        """Records that were handed over and are not acknowledged."""
        return len(self._producer)

    def send(self, topic: str, key: bytes, value: bytes, kind: str) -> None:
        """Hand over one record. May be called from any thread."""
        began = time.monotonic()

        def delivered(error: KafkaError | None, message: Message) -> None:
            partition, offset = message.partition(), message.offset()
            if error is not None or partition is None or offset is None:
                if not self._stop.is_set():
                    self.failure = f"a {kind} for {topic} was given up: {error}"
                return
            ack = Ack(topic, partition, offset, digest_of(key, value), began, kind)
            with self._acks_lock:
                self._acks.append(ack)
                if kind in ("command", "tick"):
                    self.recent.append(ack)

        if kind != "poison":
            self.samples[topic] = value
        stamp = {"timestamp": int(time.time() * 1_000) + self.skew_ms} if self.skew_ms else {}
        while not self._stop.is_set():
            try:
                self._producer.produce(topic, value=value, key=key, on_delivery=delivered, **stamp)
                return
            except BufferError:
                self._producer.poll(0.1)

    def _on_error(self, error: KafkaError) -> None:
        # What is not fatal is retried for ever.
        if error.fatal():
            self.failure = f"the producer cannot go on: {error.str()}"

    def _run(self) -> None:
        try:
            self._send_all()
        except Exception as error:  # a thread has nobody else to tell; the run ends with it
            self.failure = f"the load stopped: {type(error).__name__}: {error}"

    def _send_all(self) -> None:
        due = [time.monotonic()] * len(self._streams)
        while not self._stop.is_set():
            self._producer.poll(0.01)
            now = time.monotonic()
            for number, (items, rate, kind) in enumerate(self._streams):
                if self.paused.is_set():
                    due[number] = now
                while due[number] < now and not self._stop.is_set():
                    due[number] += 1 / rate
                    item = next(items, None)
                    if item is None:
                        due[number] = float("inf")
                        break
                    self.send(item[0], item[1], item[2], kind)
                    self.sent += 1


def ticks_of(flow: DeterministicFlow, schema_id: int, run_id: str) -> Iterator[Item]:
    """Quotes that repeat the prices that stand, without end: one side of one symbol after the other, sizes change."""
    ms = (flow.day.open_ns - flow.day.midnight_ns) // NS_PER_MS + 2_000
    bid, ask = (MID_E4 + side * _QUOTE_DISTANCE * _TICK_E4 for side in (-1, 1))
    sequence = 0
    began = time.monotonic()
    while True:
        sequence += 1
        now_ms = ms + int((time.monotonic() - began) * 1_000)
        size = 100 * (1 + sequence % 50)
        for symbol in flow.symbols:
            line = b"%d,%d,%d,0,0,N,1,0" % (now_ms, bid, size)
            if sequence % 2:
                line = b"%d,0,0,%d,%d,N,1,0" % (now_ms, ask, size)
            value = raw_feed.encode_fields(
                schema_id,
                "simulator",
                FEED_FORMAT_LEAN_QUOTE,
                f"{_FEED}/{run_id}/{symbol}",
                sequence,
                symbol,
                flow.day.midnight_ns,
                line,
            )
            yield "raw-feed", symbol.encode(), value, 0


def poison(rng: random.Random, samples: Mapping[str, bytes], number: int) -> Iterator[tuple[str, bytes, bytes]]:
    """Records that nobody can use, for each topic that outsiders write; `samples`: a good record of each."""
    for topic in POISON:
        # Of a topic that nobody writes now the beginning of a frame does.
        good = samples.get(topic, b"\0\0\0\0\1\x08none")
        mark = b"%d-%d" % (number, rng.getrandbits(32))
        for value in (
            b"not a frame " + mark,
            b"\x01" + good + mark,
            b"\0\x7f\xff\xff\xf0" + good[5:] + mark,
            b"\0\xff\xff\xff\xf0" + good[5:] + mark,
            good[:5] + mark + rng.randbytes(40),
            good + b"trailing" + mark,
            good[:5] + b"\xff" * 4_000 + mark,
        ):
            yield topic, b"chaos-%d" % rng.getrandbits(20), value


class Ghosts:
    """A thread that writes orders in transactions and aborts them: no committed reader may hear of any."""

    def __init__(self, config: Config, flow: DeterministicFlow, schema_id: int, every_s: float = 3.0) -> None:
        self.written = 0
        self._settings = (
            config.kafka.confluent()
            | _QUIET
            | {
                "transactional.id": "tradestream-chaos-ghosts",
                "transaction.timeout.ms": 10_000,
            }
        )
        self._flow, self._schema_id, self._every_s = flow, schema_id, every_s
        self.paused = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos-ghosts", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread. A transaction that is open is aborted by the broker in ten seconds."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(15.0)

    def _run(self) -> None:
        producer: Producer | None = None
        while not self._stop.wait(self._every_s):
            if self.paused.is_set():
                continue
            try:
                if producer is None:
                    producer = Producer(self._settings)
                    producer.init_transactions(10.0)
                producer.begin_transaction()
                for _ in range(3):
                    key, value = self._order()
                    producer.produce("orders", value, key)
                producer.flush(5.0)
                producer.abort_transaction(10.0)
            except KafkaException:
                # The broker is away or the transaction timed out: a new producer fences the old one and aborts it.
                producer = None

    def _order(self) -> tuple[bytes, bytes]:
        holder = self._flow.accounts[self.written % len(self._flow.accounts)]
        self.written += 1
        value = orders.encode_fields(
            self._schema_id,
            COMMAND_TYPE_NEW,
            f"{GHOST}{self.written}",
            holder.account_id,
            self._flow.symbols[0],
            SIDE_BUY,
            ORDER_TYPE_LIMIT,
            TIME_IN_FORCE_DAY,
            100,
            MID_E4,
            None,
            STP_MODE_NONE,
            None,
            self._flow.day.open_ns + NS_PER_SECOND,
        )
        return holder.account_id.encode(), value


def _consumer(config: Config, group: str) -> Consumer:
    settings: dict[str, Any] = (
        config.kafka.confluent()
        | _QUIET
        | {
            "group.id": group,
            "isolation.level": "read_committed",
            "enable.auto.commit": "false",
            "enable.partition.eof": "true",
            # A log that is shorter than what was read of it is a finding, not a reason to begin anew.
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": "200",
        }
    )
    return Consumer(settings)


def _parts(config: Config) -> list[tuple[str, int]]:
    return [(topic, part) for topic in READ for part in range(TOPICS[topic].partitions(config.profile))]


class Reader:
    """A thread that reads every committed record from the beginning, through all faults."""

    def __init__(self, config: Config, ledger: Ledger) -> None:
        self._config, self._ledger = config, ledger
        self.failure: str | None = None
        self._stop = threading.Event()
        self.ends: dict[tuple[str, int], int] = {}
        """The end of each partition when it was last reached."""
        self._thread = threading.Thread(target=self._run, name="chaos-reader", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(15.0)

    def _run(self) -> None:
        try:
            with contextlib.closing(_consumer(self._config, "tradestream-chaos")) as consumer:
                consumer.assign([TopicPartition(topic, part, 0) for topic, part in _parts(self._config)])
                while not self._stop.is_set():
                    messages = consumer.consume(500, 0.2)
                    with self._ledger.lock:
                        for message in messages:
                            self._take(message)
        except Exception as error:  # a thread has nobody else to tell; the run ends with it
            self.failure = f"{type(error).__name__}: {error}"

    def _take(self, message: Message) -> None:
        topic, partition, offset, error = message.topic(), message.partition(), message.offset(), message.error()
        if error is None:
            assert topic is not None and partition is not None and offset is not None
            self._ledger.take(topic, partition, offset, message.key(), message.value())
        elif error.code() == KafkaError._PARTITION_EOF:
            assert topic is not None and partition is not None and offset is not None
            self.ends[topic, partition] = offset
        elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            self._ledger.report("lost", f"{topic}/{partition}: the log ends before what was read: {error.str()}")


def read_again(config: Config, ledger: Ledger, patience_s: float) -> None:
    """Read everything a second time, and report what is not as it was. The load has to be paused."""
    found: dict[tuple[str, int], list[tuple[int, int]]] = {part: [] for part in _parts(config)}
    ended: set[tuple[str, int]] = set()
    deadline = time.monotonic() + patience_s
    with contextlib.closing(_consumer(config, "tradestream-chaos-again")) as consumer:
        consumer.assign([TopicPartition(topic, part, 0) for topic, part in found])
        while len(ended) < len(found):
            if time.monotonic() > deadline:
                ledger.report("stall", f"everything could not be read again within {patience_s:.0f} s")
                return
            for message in consumer.consume(2_000, 0.2):
                where, error = (message.topic() or "", message.partition() or 0), message.error()
                if error is None:
                    found[where].append((message.offset() or 0, digest_of(message.key(), message.value())))
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended.add(where)
    with ledger.lock:
        for (topic, part), records in found.items():
            ledger.check_again(topic, part, records)
