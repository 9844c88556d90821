"""`reconcile` of a compacted topic, with a broker that is made up here: deletions are archived with their keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import confluent_kafka
import pytest
from archive_gateway import SCHEMA_ID, GatewayProcess, connect, frame, writer
from confluent_kafka import OFFSET_END, KafkaError

import jobs.cli_schemas
import jobs.runtime
from jobs import migrate
from jobs.cli_reconcile import compare_topic
from jobs.config import Config
from jobs.reconcile_archive import Tally
from udfs.operators.arrow_blocks import Positions
from udfs.operators.decode_records import Batch

TOPIC = "alert-rules"
KAFKA_MS = 1_767_355_200_123
LOG: list[tuple[bytes | None, bytes | None]] = [
    (b"r1", frame(TOPIC, ruleId="r1")),
    (b"r1", None),
    (b"r2", b""),
    (None, None),
    (b"r3", b"\x01junk"),
    (bytes(range(256)), None),
]
"""Key and value of the record at each offset of the only partition."""
NULL_KEYS = [key for key, value in LOG if value is None]


class Message:
    """What a consumer gives: a record, or that the partition ends here."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def error(self) -> KafkaError | None:
        return None if self._offset < len(LOG) else KafkaError(KafkaError._PARTITION_EOF)

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return LOG[self._offset][0]

    def value(self) -> bytes | None:
        return LOG[self._offset][1]

    def timestamp(self) -> tuple[int, int]:
        return confluent_kafka.TIMESTAMP_CREATE_TIME, KAFKA_MS + self._offset


class Broker:
    """A consumer of the log above that gives two records at a time."""

    def __init__(self, _settings: dict[str, Any]) -> None:
        self._at = 0

    def get_watermark_offsets(self, _place: Any, timeout: float) -> tuple[int, int]:
        assert timeout > 0
        return 0, len(LOG)

    def offsets_for_times(self, places: Sequence[Any], timeout: float) -> list[Any]:
        assert timeout > 0
        (place,) = places
        later = [offset for offset in range(len(LOG)) if KAFKA_MS + offset >= place.offset]
        return [SimpleNamespace(offset=later[0] if later else -1)]

    def list_topics(self, topic: str, timeout: float) -> Any:
        assert timeout > 0
        return SimpleNamespace(topics={topic: SimpleNamespace(error=None, partitions={0: None})})

    def assign(self, places: Sequence[Any]) -> None:
        (place,) = places
        self._at = len(LOG) if place.offset == OFFSET_END else place.offset

    def poll(self, _timeout: float) -> Message:
        return Message(self._at)

    def consume(self, _most: int, _timeout: float) -> list[Message]:
        found = [Message(offset) for offset in range(self._at, min(self._at + 2, len(LOG) + 1))]
        self._at += len(found)
        return found

    def close(self) -> None:
        pass


@pytest.fixture
def config(gateway: GatewayProcess, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A migrated database of the test's own, beside the broker above."""
    settings = gateway.config(request.node.name[:60])
    migrate.apply(settings, print)
    monkeypatch.setattr(confluent_kafka, "Consumer", Broker)
    monkeypatch.setattr(jobs.runtime, "schema_ids", lambda _config, topics: dict.fromkeys(topics, SCHEMA_ID))
    monkeypatch.setattr(jobs.cli_schemas, "open_registry", lambda _config: _NoRegistry())
    return settings


class _NoRegistry:
    def schema(self, schema_id: int) -> str:
        raise AssertionError(f"nobody wrote with schema {schema_id}")


def archive(config: Config, payloads: Sequence[bytes | None], null_keys: Sequence[bytes | None]) -> None:
    times = [KAFKA_MS + offset for offset in range(len(payloads))]
    where = Positions.of([0] * len(payloads), range(len(payloads)), times)
    assert writer(config, TOPIC).write(Batch(payloads, where, null_keys)).rows == len(payloads)


def compare(config: Config) -> tuple[Tally, list[tuple[Any, ...]]]:
    tally = Tally()
    found = [(each["problem"], each["offset"], each["columns"]) for each in compare_topic(config, TOPIC, tally)]
    return tally, found


def test_reconcile_rows_letters_and_tombstones_as_written_differ_in_nothing(config: Config) -> None:
    archive(config, [value for _, value in LOG], NULL_KEYS)
    assert compare(config) == (Tally(compared=len(LOG)), [])


def test_reconcile_tombstone_lost_or_with_another_key_is_found(config: Config) -> None:
    archive(config, [value for _, value in LOG], [b"wrong", *NULL_KEYS[1:]])
    client = connect(config)
    client.command("ALTER TABLE tombstones DELETE WHERE _offset = 3 SETTINGS mutations_sync = 2")
    tally, found = compare(config)
    assert tally == Tally(compared=len(LOG), missing=1, different=1)
    assert found == [
        ("different", 1, ["record_key: b'r1' in Kafka, b'wrong' in ClickHouse"]),
        ("missing", 3, []),
    ]


def test_reconcile_tombstone_that_an_older_release_made_a_dead_letter_is_there(config: Config) -> None:
    archive(config, [value or b"" for _, value in LOG], [])
    assert connect(config).query("SELECT count() FROM tombstones").result_rows == [(0,)]
    assert compare(config) == (Tally(compared=len(LOG)), [])


def test_reconcile_rows_that_claim_a_place_that_kafka_has_not_are_extra(config: Config) -> None:
    archive(config, [value for _, value in LOG], NULL_KEYS)
    client = connect(config)
    # Two rows of one position would become one when parts merge.
    for topic, partition, offset in ((TOPIC, 0, 1_000_000), (TOPIC, 7, 0), ("orders", 0, 1), ("", 0, 3)):
        values = f"'{topic}' AS _topic, {partition} AS _partition, {offset} AS _offset"
        one = "(SELECT * FROM alert_rules WHERE _topic != '' ORDER BY _offset LIMIT 1)"
        client.command(f"INSERT INTO alert_rules SELECT * REPLACE ({values}) FROM {one}")
    client.command(f"INSERT INTO dead_letters (_topic, _offset) VALUES ('{TOPIC}', {len(LOG)})")
    client.command(f"INSERT INTO tombstones (_topic, _partition) VALUES ('{TOPIC}', 3)")
    tally, found = compare(config)
    assert tally == Tally(compared=len(LOG), extra=6)
    assert found == [
        ("extra", 3, ["_topic: '' in alert_rules"]),
        ("extra", 1_000_000, [f"the partition ends at offset {len(LOG)} in Kafka"]),
        ("extra", 0, ["Kafka has no such partition"]),
        ("extra", 1, ["_topic: 'orders' in alert_rules"]),
        ("extra", len(LOG), [f"the partition ends at offset {len(LOG)} in Kafka"]),
        ("extra", 0, ["Kafka has no such partition"]),
    ]
    # Of another period, by the time that they claim to be of.
    day = datetime.fromtimestamp(KAFKA_MS // 1_000, UTC).replace(tzinfo=None)
    assert not list(compare_topic(config, TOPIC, Tally(), since=day + timedelta(days=1)))


def test_reconcile_topic_that_kafka_has_not_is_compared_with_nothing(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
    nothing = SimpleNamespace(topics={TOPIC: SimpleNamespace(error=unknown, partitions={})})
    monkeypatch.setattr(Broker, "list_topics", lambda _self, _topic, timeout: nothing)
    assert compare(config) == (Tally(), [])
    archive(config, [value for _, value in LOG], NULL_KEYS)
    tally, found = compare(config)
    assert tally == Tally(extra=len(LOG))
    assert found[0] == ("extra", 0, [f"Kafka has no topic {TOPIC}"])
