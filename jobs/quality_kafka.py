"""What Kafka has committed of an archived topic, as numbers that the rows of its table must match."""

from __future__ import annotations

import contextlib
from datetime import datetime

from confluent_kafka import Consumer, TopicPartition

from jobs.cli_reconcile import TIMEOUT_S, committed_end, consumer_settings, offset_at, partitions_of, records
from jobs.config import Config
from jobs.quality_rules import KafkaPartition
from schemas.catalogue import TOPICS


def committed(config: Config, topic: str, until: datetime) -> list[KafkaPartition]:
    """Each partition's committed records that Kafka had taken before `until` (UTC); none when it has no such topic.

    Memory is one batch. Raises CliError when Kafka does not answer.
    """
    entry = TOPICS[topic]
    found = []
    with contextlib.closing(Consumer(consumer_settings(config, "quality"))) as consumer:
        for partition in partitions_of(consumer, entry.name):
            first, _ = consumer.get_watermark_offsets(TopicPartition(entry.name, partition), timeout=TIMEOUT_S)
            committed = committed_end(consumer, entry.name, partition)
            end = min(committed, offset_at(consumer, entry.name, partition, until, committed))
            count = offset_sum = newest_ms = 0
            for batch in records(consumer, entry.name, partition, first, end):
                count += len(batch.positions)
                offset_sum += int(batch.positions.offsets.sum())
                newest_ms = max(newest_ms, int(batch.positions.kafka_ms.max()))
            found.append(KafkaPartition(partition, first, end, count, offset_sum, newest_ms, committed))
    return found
