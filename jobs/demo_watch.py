"""Watches a running demo from outside: its own read_committed consumer, consumer lag, checkpoints and archived rows.

`KafkaWatch` reads every archived topic from the beginning as any downstream consumer would and remembers each position that
it saw, so that in the end the archive can be compared with it record by record.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from jobs.config import Config
from jobs.flink_rest import FlinkError, FlinkRest
from schemas.catalogue import ARCHIVED, TOPICS
from schemas.errors import DecodeError
from schemas.messages import alert_rules, alerts, dead_letter, order_events, reference_data
from schemas.messages.enums import (
    DEAD_LETTER_REASON_NAMES,
    ORDER_EVENT_TYPE_NAMES,
    ORDER_EVENT_TYPE_STATUS,
    ORDER_STATUS_NAMES,
)
from schemas.messages.reference_data import Account

GROUPS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "market_data": ("market_data", ("raw-feed",)),
    "trading": ("trading", ("orders", "nbbo")),
    "analytics": ("analytics", ("nbbo", "alert-rules")),
}
"""Jobs whose lag can be told exactly: consumer group, and inputs without transaction markers."""
_BATCH: Final = 2_000
# Errors come to us through the API; what librdkafka prints besides would tear the display.
_QUIET: Final = {"log_level": "0"}
_POLL_S: Final = 0.25
_TIMEOUT_S: Final = 15.0


class WatchError(RuntimeError):
    """The demo can no longer be watched; the message says why."""


class KafkaWatch:
    """A consumer of all watched topics in a thread of its own. Use it as a context manager."""

    def __init__(self, config: Config) -> None:
        self.positions: dict[tuple[str, int], array[int]] = {}
        """Offsets of the committed records of each topic and partition, as they were read."""
        self.stages: Counter[str] = Counter()
        """Order events by status; those that are no step of an order by their type."""
        self.letters: Counter[str] = Counter()
        """Dead letters by reason."""
        self.accounts: dict[str, Account] = {}
        """Accounts as reference data has them."""
        self.multipliers: dict[str, int] = {}
        """Units in one contract, by symbol; a symbol that is no contract has none."""
        self.filled_shares = 0
        self.alerts: list[dict[str, Any]] = []
        self.rules: dict[str, dict[str, Any]] = {}
        """Alerts, and the latest record of each rule, as messages."""
        self._ends: dict[tuple[str, int], int] = {}
        self._config = config
        self._stopped = threading.Event()
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._run, name="demo-watch", daemon=True)

    def __enter__(self) -> KafkaWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop reading; what was counted stays."""
        self._stopped.set()
        self._thread.join(timeout=_TIMEOUT_S)

    def count(self, topic: str) -> int:
        """Committed records of a topic that were read so far."""
        return sum(len(offsets) for (name, _), offsets in list(self.positions.items()) if name == topic)

    def counts(self) -> dict[str, int]:
        """The same for all watched topics."""
        return {topic: self.count(topic) for topic in ARCHIVED}

    def last_offsets(self, topics: Sequence[str]) -> dict[tuple[str, int], int]:
        """The offset of the last committed record of each partition of some topics that has one, as far as it was read."""
        return {key: offsets[-1] for key, offsets in list(self.positions.items()) if key[0] in topics}

    def check(self) -> None:
        """Raise WatchError when the consumer has failed."""
        if self._failure is not None:
            raise WatchError(f"the demo's own Kafka consumer stopped: {self._failure}")

    def unread(self, ends: Mapping[tuple[str, int], int]) -> int:
        """How many partitions were not yet read up to these end offsets. Raises WatchError."""
        self.check()
        return sum(self._ends.get(key, 0) < end for key, end in ends.items())

    def _run(self) -> None:
        settings = (
            self._config.kafka.confluent()
            | _QUIET
            | {
                "group.id": "tradestream-demo-watch",
                "isolation.level": "read_committed",
                "enable.auto.commit": "false",
                "enable.partition.eof": "true",
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": "200",
                "queued.max.messages.kbytes": "16384",
            }
        )
        try:
            consumer = Consumer(settings)
            try:
                consumer.assign(
                    [
                        TopicPartition(TOPICS[topic].name, partition, 0)
                        for topic in ARCHIVED
                        for partition in range(TOPICS[topic].partitions(self._config.profile))
                    ]
                )
                while not self._stopped.is_set():
                    for message in consumer.consume(_BATCH, _POLL_S):
                        self._take(message)
            finally:
                consumer.close()
        except (KafkaException, DecodeError, WatchError) as error:
            self._failure = str(error)

    def _take(self, message: Message) -> None:
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        error = message.error()
        if topic is None or partition is None or offset is None:
            raise WatchError(str(error))
        key = (topic, partition)
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                self._ends[key] = max(self._ends.get(key, 0), offset)
                return
            if error.retriable() or error.code() == KafkaError._ALL_BROKERS_DOWN:
                return
            raise WatchError(f"{topic}/{partition}: {error}")
        offsets = self.positions.get(key)
        if offsets is None:
            offsets = self.positions[key] = array("q")
        offsets.append(offset)
        value = message.value()
        if value is None:
            return
        if topic == "order-events":
            event = order_events.decode(value)
            status = event.event_type == ORDER_EVENT_TYPE_STATUS
            self.stages[ORDER_STATUS_NAMES[event.status] if status else ORDER_EVENT_TYPE_NAMES[event.event_type]] += 1
            self.filled_shares += event.last_quantity
        elif topic == "dead-letter":
            self.letters[DEAD_LETTER_REASON_NAMES[dead_letter.decode(value).reason]] += 1
        elif topic == "reference-data":
            record = reference_data.decode(value)
            if record.account is not None:
                self.accounts[record.account.account_id] = record.account
            instrument = record.instrument
            if instrument is not None and instrument.contract is not None:
                self.multipliers[instrument.symbol] = instrument.contract.multiplier
        elif topic == "alerts":
            self.alerts.append(alerts.to_dict(alerts.decode(value)))
        elif topic == "alert-rules":
            rule = alert_rules.to_dict(alert_rules.decode(value))
            self.rules[rule["ruleId"]] = rule


_COORDINATOR_AWAY: Final = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.UNSTABLE_OFFSET_COMMIT,
)


@dataclass(frozen=True, slots=True)
class JobHealth:
    """A job as Flink tells it; times in ms. `age_ms`: since the last completed checkpoint, None before the first."""

    state: str
    checkpoints: int = 0
    failed_checkpoints: int = 0
    age_ms: int | None = None
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look at everything; what could not be asked for is absent."""

    taken_s: float
    lag: Mapping[str, int] = field(default_factory=dict)
    jobs: Mapping[str, JobHealth] = field(default_factory=dict)


class Probe:
    """Asks Kafka and Flink how far the jobs are. Methods may be called from one thread at a time."""

    def __init__(self, config: Config, job_ids: Mapping[str, str]) -> None:
        self._config = config
        self._admin = self._new_admin()
        self._groups: dict[str, Consumer] = {}
        self.flink = FlinkRest(config.flink.rest_url)
        self.job_ids = dict(job_ids)

    def snapshot(self) -> Snapshot:
        """Lag and health of the jobs. Raises FlinkError, KafkaException."""
        return Snapshot(time.monotonic(), self.lag(), {name: self.health(name) for name in self.job_ids})

    def ends(self, topics: Sequence[str], *, committed: bool) -> dict[tuple[str, int], int]:
        """End offset of each partition: of what is committed, or of all that was written."""
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        asked = {part: OffsetSpec.latest() for part in self._partitions(topics)}
        try:
            answers = self._admin.list_offsets(asked, isolation_level=level, request_timeout=_TIMEOUT_S)
            return {(part.topic, part.partition): answer.result().offset for part, answer in answers.items()}
        except KafkaException:
            # A client that has seen a broker start again may ask with the leader epochs of before for ever (librdkafka 2.16
            # learns no new ones from FENCED_LEADER_EPOCH): whoever asks again does so with another one.
            self._admin = self._new_admin()
            raise

    def _new_admin(self) -> AdminClient:
        return AdminClient(self._config.kafka.confluent() | _QUIET)

    def lag(self) -> dict[str, int]:
        """Records that each job has not yet taken, as of its last checkpoint."""
        return {job: self.group_lag(group, topics) for job, (group, topics) in GROUPS.items()}

    def input_lag(self, topic: str) -> int:
        """Records of one input that its job has not yet taken, as of the last checkpoint."""
        group = next((group for group, topics in GROUPS.values() if topic in topics), "trading")
        return self.group_lag(group, (topic,))

    def group_lag(self, group: str, topics: Sequence[str]) -> int:
        """Committed records of some topics that a consumer group has not yet taken, as of its last commit."""
        ends = self.ends(topics, committed=True)
        taken = self._committed(group, self._partitions(topics))
        return sum(ends[part.topic, part.partition] - max(0, part.offset) for part in taken)

    def untaken(self, group: str, last: Mapping[tuple[str, int], int]) -> int:
        """How many offsets a group has to go to have taken these last records of partitions, as of its last commit.

        Where transactions end in markers this comes to 0 exactly, and the lag does not.
        """
        if not last:
            return 0
        taken = self._committed(group, [TopicPartition(*key) for key in last])
        return sum(max(0, last[part.topic, part.partition] + 1 - max(0, part.offset)) for part in taken)

    def places(self, group: str, topic: str) -> dict[int, int]:
        """The offset that a group will read next of each partition, as of its last commit; 0 where it has read nothing."""
        taken = self._committed(group, self._partitions((topic,)))
        return {part.partition: max(0, part.offset) for part in taken}

    def _committed(self, name: str, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """What a group has committed; a coordinator that moves or loads is waited for."""
        if name not in self._groups:
            # Never subscribed: it only asks what the group has committed. The admin client's own call for that crashes the
            # process when the group's coordinator is not there yet (librdkafka 2.16, a null group in rd_kafka_cgrp_op).
            settings = {**self._config.kafka.confluent(), **_QUIET, "group.id": name, "enable.auto.commit": False}
            self._groups[name] = Consumer(settings)
        deadline = time.monotonic() + _TIMEOUT_S
        while True:
            try:
                return self._groups[name].committed(partitions, timeout=_TIMEOUT_S)
            except KafkaException as error:
                if error.args[0].code() not in _COORDINATOR_AWAY or time.monotonic() > deadline:
                    raise
            time.sleep(0.25)

    def health(self, name: str) -> JobHealth:
        """State and checkpoints of one job. Raises FlinkError."""
        job_id = self.job_ids[name]
        state, _ = self.flink.job(job_id)
        checkpoints = self.flink.checkpoints(job_id)
        last = checkpoints.last
        return JobHealth(
            state,
            checkpoints.completed,
            checkpoints.failed,
            None if last is None else max(0, int(time.time() * 1_000) - last.completed_ms),
            self.flink.restarts(job_id),
        )

    def require_running(self) -> None:
        """Raise FlinkError, with the cause, when a job has ended."""
        for name, job_id in self.job_ids.items():
            state, _ = self.flink.job(job_id)
            if state in ("FAILED", "CANCELED", "FINISHED"):
                cause = self.flink.failure(job_id) or "Flink gives no reason"
                raise FlinkError(f"job {name} is {state}: {cause}")

    def _partitions(self, topics: Sequence[str]) -> list[TopicPartition]:
        return [
            TopicPartition(TOPICS[topic].name, partition)
            for topic in topics
            for partition in range(TOPICS[topic].partitions(self._config.profile))
        ]
