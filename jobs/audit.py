"""The audit job: every committed record of every topic in; links of hash chains and Merkle roots of their blocks out.

1. Read all topics but the trail's own from Kafka, as bytes with key, position and time, committed records only.
2. Chain the records of each source partition and make the roots of its blocks.
3. Write links and roots in one transaction a checkpoint.

Inputs: udfs.domain.audit_shard.AUDITED (committed).
Outputs: audit-records, audit-roots.
Key: shard of the source's topic and partition in 2; a chain is that of one source partition, and is not divided. The number of
shards is part of the operator's uid, because state cannot move between shards.
State: journal and snapshot of each shard's engine (udfs.operators.run_shard). A chain goes on only with its state: start it
from a savepoint or a checkpoint, as `tradestream submit` insists; started afresh it would write the links once more.
Delivery: exactly once for read_committed readers. A replay gives the same bytes while Kafka has the records.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from pyflink.table import StatementSet

from jobs.config import Config
from jobs.runtime import (
    Environments,
    create_environments,
    create_sink,
    insert_chunks,
    keyed_batches,
    operator_uid,
    run_statements,
    schema_ids,
    source_options,
    submit,
)
from schemas.catalogue import TOPICS
from udfs.domain import sources
from udfs.domain.audit_shard import AUDITED, RECORDS, ROOTS, AuditShard, topics_of
from udfs.domain.sharding import shard_sql
from udfs.operators.run_shard import OUTPUT_TYPE, RunShard, Stage

NAME: Final = "audit"
OUTPUTS: Final = (RECORDS, ROOTS)
SINKS: Final = {"audit_sink": ("11_sink",)}
"""By which names savepoints know the sink: the number that Flink gave it first."""
JOURNAL_BYTES: Final = 256 * 1024
"""A chain's state is some hundred bytes and its journal is the records themselves, so snapshots are made early."""


def build(config: Config, env: Environments) -> StatementSet:
    """The graph; the numbers are those of the module's description."""
    settings = config.audit
    topics_of(settings.hash_only)  # raises ValueError here, and not on the cluster
    ids = schema_ids(config, (*AUDITED, *OUTPUTS))

    # 1. One source for all topics.
    run_statements(
        env,
        "audit_source.sql",
        topics=";".join(TOPICS[topic].name for topic in AUDITED),
        options=source_options(config, NAME),
        shard=shard_sql("CONCAT(topic, '-', CAST(kafka_partition AS STRING))", settings.shards),
    )

    # 2. Chains.
    stage = Stage(
        name="chain",
        new_engine=partial(
            AuditShard,
            shards=settings.shards,
            schema_ids=ids,
            block_records=settings.block_records,
            hash_only=settings.hash_only,
        ),
        compact_bytes=min(JOURNAL_BYTES, config.flink.journal_bytes),
    )
    chained = (
        keyed_batches(env, [(sources.AUDIT, "audit_inputs")], settings.shards, settings.window_ms)
        .process(RunShard(stage), output_type=OUTPUT_TYPE)
        .name("chain")
        .uid(operator_uid(config, f"chain-{settings.shards}"))
    )
    env.table.create_temporary_view("chunks", env.table.from_data_stream(chained))

    # 3. Sink.
    create_sink(env, config, "audit_sink", OUTPUTS, transactional_prefix=f"tradestream-{NAME}")
    inserts = env.table.create_statement_set()
    inserts.add_insert_sql(insert_chunks("chunks", "audit_sink", OUTPUTS))
    return inserts


def main() -> None:
    """Submit the job to the cluster that `flink run` points at."""
    config = Config.load()
    env = create_environments(config, NAME)
    submit(env, build(config, env), NAME, SINKS)


if __name__ == "__main__":
    main()
