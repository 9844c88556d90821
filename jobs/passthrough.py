"""The passthrough job: the limit that `tradestream bench orders` and `bench latency` compare the trading job with.

1. Read orders from Kafka, as raw bytes.
2. For each order, write as many records as the trading job wrote, each as large, to the same topics. No Python, no state.
3. Write them in one transaction a checkpoint; all of it is one task. Its sink waits for more records as the trading job's does
   with a short window; with a longer one for 2 ms, because it has no batches.

Inputs: orders, and `<state dir>/passthrough.json` with the records to write: variants, a list of lists of
[topic, key in hex, value in hex], recorded from a run of the trading job; the orders take the variants in turn. Instead
of a record whose value is null the order itself is written, by which a client knows its answer.
Outputs: those of the trading job.
Delivery: exactly once.
"""

from __future__ import annotations

import json
from typing import Final

from pyflink.table import StatementSet

from jobs.config import Config
from jobs.runtime import Environments, JobError, create_environments, create_sink, create_source, submit
from jobs.trading import OUTPUTS, SHORT_WINDOW_MS, linger
from schemas.catalogue import TOPICS

NAME: Final = "passthrough"
RECORDING: Final = "passthrough.json"

Variant = list[tuple[str, str, str | None]]


def build(config: Config, env: Environments) -> StatementSet:
    """The graph; the numbers are those of the module's description."""
    # 1. The source of the trading job's orders.
    create_source(env, config, "orders_source", "orders", group=NAME)

    # 2. A constant array for each variant, chosen by the order's offset.
    file = config.state_dir / RECORDING
    if not file.is_file():
        raise JobError(f"{file} is missing: the passthrough is started by `tradestream bench`, which records it")
    variants: list[Variant] = json.loads(file.read_text(encoding="utf-8"))
    cases = " ".join(
        f"WHEN MOD(kafka_offset, {len(variants)}) = {number} THEN {records_of(variant)}"
        for number, variant in enumerate(variants[:-1])
    )
    records = f"CASE {cases} ELSE {records_of(variants[-1])} END" if cases else records_of(variants[-1])

    # 3. The sink of the trading job.
    window_ms = config.trading.window_ms
    create_sink(
        env,
        config,
        "passthrough_sink",
        OUTPUTS,
        transactional_prefix=f"tradestream-{NAME}",
        extra=linger(window_ms) if window_ms <= SHORT_WINDOW_MS else None,
    )
    inserts = env.table.create_statement_set()
    inserts.add_insert_sql(
        f"INSERT INTO passthrough_sink SELECT record.topic, record.record_key, record.payload "
        f"FROM orders_source CROSS JOIN UNNEST({records}) AS record (topic, record_key, payload)"
    )
    return inserts


def records_of(variant: Variant) -> str:
    """A SQL array of rows."""
    rows = ", ".join(
        f"ROW(CAST('{TOPICS[topic].name}' AS STRING), {_record(key, value)})" for topic, key, value in variant
    )
    return f"ARRAY[{rows}]"


def _record(key: str, value: str | None) -> str:
    """Key and value in SQL: those that were recorded, or the order's."""
    if value is None:
        return "CAST(record_key AS BYTES), payload"
    return f"CAST(X'{key}' AS BYTES), CAST(X'{value}' AS BYTES)"


def main() -> None:
    """Submit the job to the cluster that `flink run` points at."""
    config = Config.load()
    env = create_environments(config, NAME)
    submit(env, build(config, env), NAME)


if __name__ == "__main__":
    main()
