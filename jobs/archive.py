"""The archive job: every committed record of the archived topics becomes one row in ClickHouse.

1. Read the topics from Kafka as bytes, committed records only.
2. Gather the records of each topic into windows of about a second, in lanes (fixed shares of a topic's partitions).
3. Decode each batch and write it to the topic's table, before the next one is taken.

Inputs: every topic of the catalogue; one that is made while the job runs is found within a minute. Outputs: their tables
in ClickHouse (`tradestream migrate` makes them); deletions of keys of compacted topics go to the table tombstones, and what
cannot be decoded goes, byte for byte, to the table dead_letters.
Key: topic and lane in 2 and 3. State: the source's offsets and the open windows. The writer keeps none: the tables know
what they have.
Delivery: each record once. Flink repeats records after a failure, and the writer skips those that the table has
(udfs.operators.clickhouse_writer), so count() without FINAL equals Kafka's committed records. The job may therefore
also be started without a savepoint: it reads everything again and writes only what is missing. After an upgrade that gave
the windows of 2 another column it has to be.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from pyflink.common import Types
from pyflink.table import StatementSet

from jobs.config import Config
from jobs.migrate import endpoint
from jobs.runtime import Environments, create_environments, keyed_rows, query, schema_ids, submit
from schemas.catalogue import ARCHIVED, TOPICS
from udfs.operators.clickhouse_writer import Limits
from udfs.operators.write_clickhouse import INPUT_TYPE, OUTPUT_TYPE, RegistryAddress, WriteClickhouse, WriteSettings

NAME: Final = "archive"
GROUP: Final = f"tradestream-{NAME}"
"""Consumer group, which Kafka knows the job's place by as of its last checkpoint."""
# An outage of ClickHouse, however long, must end by itself: the job tries again for ever, with pauses. Its
# checkpoints hold only offsets and the last second of records, and repeating is free of consequences, so they need
# not be frequent.
FLINK_OPTIONS: Final = {
    "restart-strategy.exponential-delay.max-backoff": "60 s",
    "restart-strategy.exponential-delay.attempts-before-reset-backoff": str(2**31 - 1),
    # A batch may wait for ClickHouse as long as the writer's patience, and a checkpoint waits for the batch.
    "execution.checkpointing.tolerable-failed-checkpoints": "100",
    "execution.checkpointing.timeout": "10 min",
}
CHECKPOINT_INTERVAL_MS: Final = 5_000


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """Shape of the job. window_ms: the age at which a batch is written. lanes: writers per topic (0: the parallelism)."""

    topics: tuple[str, ...] = ARCHIVED
    window_ms: int = 1_000
    lanes: int = 0
    limits: Limits = field(default_factory=Limits)


def build(config: Config, env: Environments, settings: ArchiveSettings | None = None) -> StatementSet:
    """The graph; the numbers are those of the module's description."""
    settings = settings or ArchiveSettings()
    ids = schema_ids(config, tuple(dict.fromkeys((*settings.topics, "dead-letter"))))

    # 1. One source for all topics.
    env.table.execute_sql(
        query(
            "archive_source.sql",
            # A pattern, because a topic of a list that does not exist stops the job.
            topics="|".join(re.escape(TOPICS[topic].name) for topic in settings.topics),
            lanes=str(settings.lanes or config.flink.parallelism),
            options=_source_options(config),
        )
    )

    # 2. Batches.
    window = f"{settings.window_ms / 1000:.3f}"
    batches = keyed_rows(
        env, env.table.sql_query(query("archive_batches.sql", window=window)), Types.STRING(), INPUT_TYPE
    )

    # 3. Write.
    registry = config.registry
    writer = WriteClickhouse(
        WriteSettings(
            name=NAME,
            endpoint=endpoint(config),
            registry=RegistryAddress(registry.url, registry.username, registry.password.reveal()),
            schema_ids=ids,
            limits=settings.limits,
        )
    )
    progress = batches.process(writer, output_type=OUTPUT_TYPE).name("write_clickhouse").uid("write_clickhouse")
    env.table.create_temporary_view("archive_written", env.table.from_data_stream(progress))
    env.table.execute_sql(query("archive_progress.sql"))
    inserts = env.table.create_statement_set()
    inserts.add_insert_sql("INSERT INTO archive_progress SELECT * FROM archive_written")
    return inserts


def _source_options(config: Config) -> str:
    """Options of the source table, as the inside of its WITH clause."""
    options = {
        **config.kafka.flink_sql(),
        "properties.group.id": GROUP,
        # Provisional events of an open or aborted transaction are not part of history.
        "properties.isolation.level": "read_committed",
        "scan.startup.mode": "earliest-offset",
        "scan.topic-partition-discovery.interval": "60 s",
    }
    pairs = ((key, value.replace("'", "''")) for key, value in options.items())
    return ",\n    ".join(f"'{key}' = '{value}'" for key, value in pairs)


def main() -> None:
    """Submit the job to the cluster that `flink run` points at."""
    config = Config.load()
    interval_ms = max(CHECKPOINT_INTERVAL_MS, config.flink.checkpoint_interval_ms)
    options = FLINK_OPTIONS | {"execution.checkpointing.interval": f"{interval_ms} ms"}
    env = create_environments(config, NAME, options)
    submit(env, build(config, env), NAME)


if __name__ == "__main__":
    main()
