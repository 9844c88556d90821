"""The market data job: raw feeds in; normalised market data, the NBBO, depth and halts out.

1. Read raw feed records from Kafka, as bytes.
2. Normalise, drop duplicates, refuse bad records and consolidate the NBBO, by symbol shard.
3. Write market data, halts and dead letters in one transaction a checkpoint.
4. Write the NBBO and depth at once.

Inputs: raw-feed.
Outputs: market-data, controls (halts that feeds tell), dead-letter, nbbo, market-depth.
Key: symbol shard in 2. The number of shards is part of the operator's uid, because state cannot move between shards.
State: journal and snapshot of each shard's engine (udfs.operators.run_shard).
Delivery: market-data, controls and dead-letter exactly once for read_committed readers. nbbo and market-depth are last-value
data: at least once, to be read uncommitted and conflated, so that nobody trades on prices that are a checkpoint old; readers
keep the highest sequence.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from pyflink.table import StatementSet

from jobs.config import Config
from jobs.config_sections import MarketDataConfig
from jobs.runtime import (
    Environments,
    create_environments,
    create_sink,
    create_source,
    insert_chunks,
    keyed_batches,
    operator_uid,
    resolution,
    schema_ids,
    submit,
    view_with_shard,
)
from udfs.domain import sources
from udfs.domain.market_shard import MarketShard
from udfs.domain.normalise import MarketLimits
from udfs.operators.run_shard import OUTPUT_TYPE, RunShard, Stage
from udfs.operators.stage_metrics import Measure

NAME: Final = "market_data"
LEDGER: Final = ("market-data", "controls", "dead-letter")
LAST_VALUES: Final = ("nbbo", "market-depth")
SINKS: Final = {"ledger_sink": ("11_sink",), "last_values_sink": ("15_sink",)}
"""By which names savepoints know the sinks: the numbers that Flink gave them first."""
_NS_PER_S: Final = 1_000_000_000


def build(config: Config, env: Environments) -> StatementSet:
    """The graph; the numbers are those of the module's description."""
    settings = config.market_data
    ids = schema_ids(config, (*LEDGER, *LAST_VALUES, "raw-feed"))

    # 1. Source.
    create_source(env, config, "feed_source", "raw-feed", group=NAME)
    view_with_shard(env, "feed_by_symbol", "feed_source", settings.symbol_shards)

    # 2. Normalise and consolidate by symbol.
    stage = Stage(
        name="normalise",
        new_engine=partial(MarketShard, shards=settings.symbol_shards, schema_ids=ids, limits=limits_of(settings)),
        resolution=resolution(config, ids, {sources.RAW_FEED: "raw-feed"}),
        compact_bytes=config.flink.journal_bytes,
        measures=(Measure("market_data_lag_seconds", sources.RAW_FEED),),
    )
    normalised = (
        keyed_batches(env, [(sources.RAW_FEED, "feed_by_symbol")], settings.symbol_shards, settings.window_ms)
        .process(RunShard(stage), output_type=OUTPUT_TYPE)
        .name("normalise")
        .uid(operator_uid(config, f"normalise-{settings.symbol_shards}"))
    )
    env.table.create_temporary_view("chunks", env.table.from_data_stream(normalised))
    inserts = env.table.create_statement_set()

    # 3. The ledger, exactly once.
    create_sink(env, config, "ledger_sink", LEDGER, transactional_prefix=f"tradestream-{NAME}")
    inserts.add_insert_sql(insert_chunks("chunks", "ledger_sink", LEDGER))

    # 4. Last values, at once.
    create_sink(env, config, "last_values_sink", LAST_VALUES, transactional_prefix=None)
    inserts.add_insert_sql(insert_chunks("chunks", "last_values_sink", LAST_VALUES))
    return inserts


def limits_of(settings: MarketDataConfig) -> MarketLimits:
    """The engine's limits, in its units. Raises ValueError when one is out of range."""
    return MarketLimits(
        max_price_e4=settings.max_price * 10_000,
        max_size=settings.max_size,
        max_regress_ns=settings.late_after_s * _NS_PER_S,
        max_spread_bps=settings.max_spread_bps,
        stale_after_ns=settings.stale_after_s * _NS_PER_S,
        crossed_after_ns=settings.crossed_after_ms * 1_000_000,
        silent_after_ns=settings.silent_after_s * _NS_PER_S,
        depth_levels=settings.depth_levels,
        trades_kept=settings.trades_kept,
    )


def main() -> None:
    """Submit the job to the cluster that `flink run` points at."""
    config = Config.load()
    env = create_environments(config, NAME)
    submit(env, build(config, env), NAME, SINKS)


if __name__ == "__main__":
    main()
