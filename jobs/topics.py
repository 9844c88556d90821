"""The topic catalogue against a cluster: what is missing, what differs, what is there. kafka-python's admin client."""

from __future__ import annotations

import contextlib
import difflib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kafka import KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, KafkaAdminClient
from kafka.errors import KafkaError, for_code

from jobs.config import Config
from schemas.catalogue import TOPICS, Topic

_TIMEOUT_MS = 15_000
_CONNECT_MS = 6_000


class TopicError(RuntimeError):
    """A topic operation failed; the message says which topic and what to do."""


@dataclass(frozen=True, slots=True)
class Existing:
    """A topic as the cluster has it."""

    name: str
    partitions: int
    replication: int
    settings: dict[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which the cluster differs from the catalogue; `found` is None for a topic that is not there."""

    topic: str
    what: str
    wanted: str
    found: str | None

    @property
    def remedy(self) -> str:
        """What an engineer would do about it."""
        if self.found is None:
            return f"tradestream topics create {self.topic}"
        if self.what == "partitions":
            return "a new number moves keys to other partitions: make a new topic, or agree on it in the catalogue"
        if self.what == "replication":
            return "reassign the replicas with kafka-reassign-partitions"
        return f"kafka-configs --alter --entity-type topics --entity-name {self.topic} --add-config {self.what}={self.wanted}"


def chosen(names: Sequence[str]) -> list[Topic]:
    """The topics of the catalogue called `names`, or all. Raises TopicError for an unknown one."""
    for name in names:
        if name not in TOPICS:
            close = difflib.get_close_matches(name, TOPICS, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(TOPICS)}"
            raise TopicError(f"the catalogue has no topic {name}; {hint}")
    return [TOPICS[name] for name in names] or list(TOPICS.values())


@contextlib.contextmanager
def admin(config: Config) -> Iterator[KafkaAdminClient]:
    """An admin client that is closed at the end."""
    client = KafkaAdminClient(
        **config.kafka.kafka_python(),
        client_id="tradestream",
        request_timeout_ms=_TIMEOUT_MS,
        bootstrap_timeout_ms=_CONNECT_MS,
    )
    try:
        yield client
    finally:
        client.close()


def existing(client: KafkaAdminClient, topics: Sequence[Topic]) -> dict[str, Existing]:
    """What the cluster has of `topics`, by name."""
    present = set(client.list_topics()) & {topic.name for topic in topics}
    if not present:
        return {}
    configs = client.describe_configs([ConfigResource("topic", name) for name in sorted(present)], config_filter="all")
    found = {}
    for row in client.describe_topics(sorted(present)):
        partitions = row["partitions"]
        values = configs["topic"][row["name"]]
        found[row["name"]] = Existing(
            name=row["name"],
            partitions=len(partitions),
            replication=min((len(part["replica_nodes"]) for part in partitions), default=0),
            settings={key: str(value["value"]) for key, value in values.items()},
        )
    return found


def create(client: KafkaAdminClient, config: Config, topics: Sequence[Topic]) -> list[str]:
    """Create the missing ones with the profile's settings, wait until they can be used, return their names."""
    present = existing(client, topics)
    missing = {
        topic.name: {
            "num_partitions": topic.partitions(config.profile),
            "replication_factor": topic.replication(config.profile),
            "configs": topic.settings(config.profile),
        }
        for topic in topics
        if topic.name not in present
    }
    if not missing:
        return []
    answer = client.create_topics(missing, timeout_ms=_TIMEOUT_MS, raise_errors=False)
    for row in answer["topics"]:
        error = for_code(row["error_code"])
        # Somebody else made it in between, which is what was wanted.
        if row["error_code"] and error.__name__ != "TopicAlreadyExistsError":
            raise TopicError(_creation_failed(config, row["name"], error, row.get("error_message")))
    client.wait_for_topics(list(missing), timeout_ms=_TIMEOUT_MS)
    return list(missing)


def differences(client: KafkaAdminClient, config: Config, topics: Sequence[Topic]) -> list[Difference]:
    """Every way in which the cluster differs from the catalogue's profile, in the catalogue's order."""
    present = existing(client, topics)
    found: list[Difference] = []
    for topic in topics:
        there = present.get(topic.name)
        if there is None:
            found.append(Difference(topic.name, "topic", "present", None))
            continue
        wanted = {
            "partitions": str(topic.partitions(config.profile)),
            "replication": str(topic.replication(config.profile)),
            **topic.settings(config.profile),
        }
        actual = {
            "partitions": str(there.partitions),
            "replication": str(there.replication),
            **there.settings,
        }
        for what, value in wanted.items():
            if _comparable(what, actual.get(what, "")) != _comparable(what, value):
                found.append(Difference(topic.name, what, value, actual.get(what, "(unset)")))
    return found


def delete(client: KafkaAdminClient, names: Sequence[str]) -> list[str]:
    """Delete those of `names` that exist, with all their records, wait until they are gone, return them."""
    present = sorted(set(client.list_topics()) & set(names))
    if not present:
        return []
    client.delete_topics(present, timeout_ms=_TIMEOUT_MS)
    deadline = time.monotonic() + _TIMEOUT_MS / 1_000
    while left := set(client.list_topics()) & set(present):
        if time.monotonic() > deadline:
            raise TopicError(
                f"the cluster has taken the deletion of {', '.join(sorted(left))}, but they are still listed"
            )
        time.sleep(0.1)
    return present


def record_counts(config: Config, found: dict[str, Existing]) -> dict[str, int]:
    """Offsets between the beginning and the end of each topic: records, with transaction markers and compacted gaps."""
    if not found:
        return {}
    consumer = KafkaConsumer(
        **config.kafka.kafka_python(), enable_auto_commit=False, bootstrap_timeout_ms=_CONNECT_MS, group_id=None
    )
    try:
        parts = [TopicPartition(topic.name, number) for topic in found.values() for number in range(topic.partitions)]
        begin, end = consumer.beginning_offsets(parts), consumer.end_offsets(parts)
    finally:
        consumer.close()
    counts = dict.fromkeys(found, 0)
    for part in parts:
        counts[part.topic] += end[part] - begin[part]
    return counts


def _comparable(what: str, value: str) -> str:
    """A list of policies has no order."""
    return ",".join(sorted(value.split(","))) if what == "cleanup.policy" else value


def _creation_failed(config: Config, name: str, error: type[KafkaError], message: str | None) -> str:
    text = f"cannot create {name}: {message or error.__name__}"
    if error.__name__ == "InvalidReplicationFactorError":
        text += f". Profile {config.profile} asks for {TOPICS[name].replication(config.profile)} brokers; see --profile"
    return text
