"""The analytics job: normalised market data in; bars and indicators out.

1. Read market data from Kafka, as bytes, committed records only.
2. Build bars in event time, and indicators of them, by symbol shard.
3. Write analytics and dead letters in one transaction a checkpoint.

Inputs: market-data (committed).
Outputs: market-analytics, dead-letter (late trades among them).
Key: symbol shard in 2. The number of shards is part of the operator's uid, because state cannot move between shards.
State: journal and snapshot of each shard's engine (udfs.operators.run_shard).
Delivery: exactly once for read_committed readers, who see a bar at the checkpoint after it was closed. A bar that late trades
correct comes again with the same window and the next revision: the highest revision counts.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from pyflink.common import Types
from pyflink.table import StatementSet

from jobs.config import AnalyticsConfig, Config
from jobs.runtime import (
    Environments,
    create_environments,
    create_sink,
    create_source,
    insert_chunks,
    micro_batches,
    resolution,
    schema_ids,
    submit,
    view_with_shard,
)
from udfs.domain import sources
from udfs.domain.analytics_shard import AnalyticsSettings, AnalyticsShard
from udfs.operators.run_shard import OUTPUT_TYPE, RunShard, Stage
from udfs.operators.spread_keys import shard_key

NAME: Final = "analytics"
OUTPUTS: Final = ("market-analytics", "dead-letter")


def build(config: Config, env: Environments) -> StatementSet:
    """The graph; the numbers are those of the module's description."""
    settings = config.analytics
    ids = schema_ids(config, (*OUTPUTS, "market-data"))

    # 1. Source.
    create_source(env, config, "ticks_source", "market-data", group=NAME)
    view_with_shard(env, "ticks_by_symbol", "ticks_source", settings.symbol_shards)

    # 2. Bars and indicators by symbol.
    stage = Stage(
        name="analyse",
        new_engine=partial(AnalyticsShard, shards=settings.symbol_shards, schema_ids=ids, **engine_settings(settings)),
        resolution=resolution(config, ids, {sources.MARKET_DATA: "market-data"}),
    )
    analysed = (
        micro_batches(env, [(sources.MARKET_DATA, "ticks_by_symbol")], settings.window_ms)
        .key_by(shard_key(settings.symbol_shards), key_type=Types.INT())
        .process(RunShard(stage), output_type=OUTPUT_TYPE)
        .name("analyse")
        .uid(f"analyse-{settings.symbol_shards}")
    )
    env.table.create_temporary_view("chunks", env.table.from_data_stream(analysed))

    # 3. Sink.
    create_sink(env, config, "analytics_sink", OUTPUTS, transactional_prefix=f"tradestream-{NAME}")
    inserts = env.table.create_statement_set()
    inserts.add_insert_sql(insert_chunks("chunks", "analytics_sink", OUTPUTS))
    return inserts


def engine_settings(settings: AnalyticsConfig) -> dict[str, Any]:
    """The engine's settings, in its units. Raises ValueError when one is out of range."""
    checked = AnalyticsSettings(
        settings.out_of_order_ms * 1_000_000, settings.lateness_s * 1_000_000_000, settings.indicators
    )
    return {
        "out_of_order_ns": checked.out_of_order_ns,
        "lateness_ns": checked.lateness_ns,
        "indicators": checked.indicators,
    }


def main() -> None:
    """Submit the job to the cluster that `flink run` points at."""
    config = Config.load()
    env = create_environments(config, NAME)
    submit(build(config, env), NAME)


if __name__ == "__main__":
    main()
