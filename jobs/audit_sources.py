"""The audit trail beside what it is about: whether each committed record that Kafka still has of a topic has its link.

The links are those of ClickHouse, chain by chain. Topics that Kafka compacts are left out: it takes records away there whose
links stay. Memory: a page of links, a batch of records, and the roots.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from jobs.audit_reading import clickhouse_links, clickhouse_roots
from jobs.audit_walk import Chain, Report
from jobs.config import Config
from udfs.domain.audit_shard import details_of
from udfs.domain.audit_verify import ChainVerifier, Link, SourceRecord


@dataclass(frozen=True, slots=True)
class Source:
    """The committed records of a partition from offset `first` on, the first that Kafka still has."""

    chain: Chain
    first: int
    records: Iterator[SourceRecord]


def kafka_sources(config: Config) -> Iterator[Source]:
    """The partitions of the topics that the audit job reads; each is to be read before the next is asked for.

    Raises CliError when Kafka does not answer.
    """
    from confluent_kafka import Consumer, TopicPartition

    from jobs.cli_reconcile import TIMEOUT_S, committed_end, consumer_settings, messages, partitions_of
    from schemas.catalogue import TOPICS
    from udfs.domain.audit_shard import AUDITED

    with contextlib.closing(Consumer(consumer_settings(config, "audit"))) as consumer:

        def read(topic: str, partition: int, first: int, end: int) -> Iterator[SourceRecord]:
            for batch in messages(consumer, topic, partition, first, end):
                for message in batch:
                    yield SourceRecord(message.offset(), message.key(), message.value())

        for topic in AUDITED:
            if "compact" in TOPICS[topic].cleanup:
                continue
            name = TOPICS[topic].name
            for partition in partitions_of(consumer, name):
                first, _ = consumer.get_watermark_offsets(TopicPartition(name, partition), timeout=TIMEOUT_S)
                end = committed_end(consumer, name, partition)
                yield Source((topic, partition), first, read(name, partition, first, end))


def walk_sources(client: Any, sources: Iterable[Source]) -> tuple[Report, int]:
    """Walk along ClickHouse's links beside their records; how many records wait behind the last link of their chain.

    Raises ClickHouseError, and what reading the sources raises.
    """
    roots, _ = clickhouse_roots(client)
    report, waiting = Report(), 0
    for source in sources:
        topic, partition = source.chain
        blocks = [block for _, block in roots.get(source.chain, ())]
        verifier = ChainVerifier(topic, partition, source.records, blocks, first_retained=source.first)
        for link in clickhouse_links(client, source.chain):
            verifier.link(Link(link.event_id, link.source_offset, link.record_hash, link.chain_hash, details_of(link)))
        verdict = verifier.finish()
        waiting += verdict.waiting
        report.records += verdict.records
        report.broken += verdict.broken
        report.blocks += verdict.blocks
        report.chains[f"{topic}-{partition}"] = verdict.records
        if verdict.first is not None:
            report.first.append(str(verdict.first))
    return report, waiting
