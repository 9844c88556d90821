"""Reading what Kafka has committed, partition by partition and in batches: for comparisons with ClickHouse."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from confluent_kafka import OFFSET_END, KafkaError, TopicPartition

from jobs.cli_common import CliError
from jobs.config import Config
from udfs.operators.arrow_blocks import Positions

BATCH: Final = 2_000
TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.2


def settings(config: Config, group: str) -> dict[str, Any]:
    """Settings of a consumer that sees committed records only, and is told of the end of a partition."""
    return config.kafka.confluent() | {
        "group.id": group,
        "isolation.level": "read_committed",
        "enable.auto.commit": "false",
        "enable.partition.eof": "true",
        "auto.offset.reset": "earliest",
    }


def records(consumer: Any, topic: str, partition: int, start: int, end: int) -> Iterator[tuple[list[bytes], Any]]:
    """Committed records of [start, end) of a partition, in batches: payloads and positions. Assigns the consumer."""
    if start >= end:
        return
    consumer.assign([TopicPartition(topic, partition, start)])
    done, heard = False, time.monotonic()
    while not done:
        # It waits for a whole batch, and the end of a partition is less than one.
        messages = consumer.consume(BATCH, _POLL_S)
        if messages:
            heard = time.monotonic()
        elif time.monotonic() - heard > TIMEOUT_S:
            raise CliError(f"Kafka sent nothing of {topic}/{partition} for {TIMEOUT_S:.0f} s: is the broker up?")
        payloads, offsets, times = [], [], []
        for message in messages:
            error = message.error()
            if error is not None:
                if error.code() != KafkaError._PARTITION_EOF:
                    raise CliError(f"{topic}/{partition}: {error.str()}")
                done = done or message.offset() >= end
            elif message.offset() >= end:
                done = True
            else:
                payloads.append(message.value() or b"")
                offsets.append(message.offset())
                times.append(message.timestamp()[1])
        if payloads:
            yield payloads, Positions.of([partition] * len(offsets), offsets, times)


def committed_end(consumer: Any, topic: str, partition: int) -> int:
    """The offset behind the last record that a committed reader may see. Assigns the consumer."""
    consumer.assign([TopicPartition(topic, partition, OFFSET_END)])
    message = consumer.poll(TIMEOUT_S)
    if message is None:
        raise CliError(f"Kafka said nothing of {topic}/{partition} for {TIMEOUT_S:.0f} s: is the broker up?")
    error = message.error()
    if error is None or error.code() == KafkaError._PARTITION_EOF:
        return int(message.offset())
    raise CliError(f"{topic}/{partition}: {error.str()}")


def offset_at(consumer: Any, topic: str, partition: int, moment: datetime | None, otherwise: int) -> int:
    """The offset of the first record at or after a time; `otherwise` without one."""
    if moment is None:
        return otherwise
    milliseconds = int(moment.replace(tzinfo=UTC).timestamp() * 1_000)
    (found,) = consumer.offsets_for_times([TopicPartition(topic, partition, milliseconds)], timeout=TIMEOUT_S)
    # Kafka answers -1 when all records are older.
    return int(found.offset) if found.offset >= 0 else 2**62
