"""What Kafka has committed of an archived topic, as numbers that the rows of its table must match."""

from __future__ import annotations

import contextlib
from datetime import datetime

from confluent_kafka import Consumer, TopicPartition

from jobs import kafka_read
from jobs.config import Config
from jobs.quality_rules import KafkaPartition
from schemas.catalogue import TOPICS

_GROUP = "tradestream-quality"


def committed(config: Config, topic: str, until: datetime) -> list[KafkaPartition]:
    """Each partition's committed records that Kafka had taken before `until` (UTC). Memory is one batch.

    Raises CliError when Kafka does not answer.
    """
    entry = TOPICS[topic]
    found = []
    with contextlib.closing(Consumer(kafka_read.settings(config, _GROUP))) as consumer:
        for partition in range(entry.partitions(config.profile)):
            first, _ = consumer.get_watermark_offsets(
                TopicPartition(entry.name, partition), timeout=kafka_read.TIMEOUT_S
            )
            end = kafka_read.committed_end(consumer, entry.name, partition)
            end = min(end, kafka_read.offset_at(consumer, entry.name, partition, until, end))
            records = offset_sum = newest_ms = 0
            for _payloads, positions in kafka_read.records(consumer, entry.name, partition, first, end):
                records += len(positions)
                offset_sum += int(positions.offsets.sum())
                newest_ms = max(newest_ms, int(positions.kafka_ms.max()))
            found.append(KafkaPartition(partition, first, end, records, offset_sum, newest_ms))
    return found
