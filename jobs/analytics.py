"""The analytics job: normalised market data and rules in; bars, indicators and alerts out.

1. Read market data, alert rules, the NBBO and trading states from Kafka, as bytes, committed records only; and each second,
   how far market data has come in all its partitions, for the shards whose symbols are silent.
2. Build bars in event time, indicators of them, and the alerts that they and the ticks fire, by symbol shard.
3. Write analytics, alerts and dead letters in one transaction a checkpoint.

Inputs: market-data, alert-rules, market-status (committed), nbbo.
Outputs: market-analytics, alerts, dead-letter (late trades and bad rules among them).
Key: symbol shard in 2; every shard gets every rule and the progress. The number of shards is part of the operator's uid, because
state cannot move between shards.
State: journal and snapshot of each shard's engine (udfs.operators.run_shard).
Delivery: exactly once for read_committed readers, who see a bar or an alert at the checkpoint after it was made. A bar that late
trades correct comes again with the same window and the next revision: the highest revision counts.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from pyflink.table import StatementSet

from jobs.config import AnalyticsConfig, Config
from jobs.runtime import (
    Environments,
    Isolation,
    Progress,
    all_shards,
    create_environments,
    create_sink,
    create_source,
    insert_chunks,
    keyed_batches,
    operator_uid,
    resolution,
    run_statements,
    schema_ids,
    submit,
    view_with_shard,
)
from schemas.catalogue import TOPICS
from udfs.domain import sources
from udfs.domain.alerting_analytics import AlertingAnalytics
from udfs.domain.analytics_settings import AnalyticsSettings
from udfs.operators.run_shard import OUTPUT_TYPE, RunShard, Stage
from udfs.operators.stage_metrics import Measure

NAME: Final = "analytics"
OUTPUTS: Final = ("market-analytics", "alerts", "dead-letter")
SINKS: Final = {"analytics_sink": ("38_sink", "31_sink")}
"""By which names savepoints know the sink, and knew it before the shards were told how far market data has come (`submit`)."""
INPUTS: Final[dict[int, str]] = {
    sources.MARKET_DATA: "market-data",
    sources.ALERT_RULES: "alert-rules",
    sources.NBBO: "nbbo",
    sources.MARKET_STATUS: "market-status",
}


def build(config: Config, env: Environments) -> StatementSet:
    """The graph; the numbers are those of the module's description."""
    settings = config.analytics
    ids = schema_ids(config, (*OUTPUTS, *INPUTS.values()))

    # 1. Sources, and which shard each record goes to.
    shards = settings.symbol_shards
    for view, topic in (
        ("ticks", "market-data"),
        ("rules", "alert-rules"),
        ("quotes", "nbbo"),
        ("states", "market-status"),
    ):
        isolation: Isolation = "read_uncommitted" if TOPICS[topic].at_least_once else "read_committed"
        create_source(
            env,
            config,
            f"{view}_source",
            topic,
            group=NAME,
            isolation=isolation,
            # Rules and trading states too: an input without a watermark would hold back all, and an idle one does not.
            reached="kafka_time",
            extra=idle_option(settings),
        )
        if topic != "alert-rules":
            view_with_shard(env, f"{view}_by_symbol", f"{view}_source", shards)
    every = all_shards(shards)
    run_statements(env, "analytics_inputs.sql", all_shards=every)

    # 2. Bars, indicators and alerts by symbol.
    stage = Stage(
        name="analyse",
        new_engine=partial(AlertingAnalytics, shards=shards, schema_ids=ids, **engine_settings(settings)),
        resolution=resolution(config, ids, INPUTS),
        compact_bytes=config.flink.journal_bytes,
        progress=sources.PROGRESS,
        # From Kafka's timestamp of the tick until its alert is handed on; committed readers have it a checkpoint later.
        measures=(Measure("alert_latency_seconds", sources.MARKET_DATA, lane="alerts"),),
    )
    views = [
        (sources.MARKET_DATA, "ticks_by_symbol"),
        (sources.ALERT_RULES, "rules_by_symbol"),
        (sources.NBBO, "quotes_by_symbol"),
        (sources.MARKET_STATUS, "states_by_symbol"),
    ]
    analysed = (
        keyed_batches(env, views, shards, settings.window_ms, Progress(sources.PROGRESS, "ticks_by_symbol", every))
        .process(RunShard(stage), output_type=OUTPUT_TYPE)
        .name("analyse")
        .uid(operator_uid(config, f"analyse-{shards}"))
    )
    env.table.create_temporary_view("chunks", env.table.from_data_stream(analysed))

    # 3. Sink.
    create_sink(env, config, "analytics_sink", OUTPUTS, transactional_prefix=f"tradestream-{NAME}")
    inserts = env.table.create_statement_set()
    inserts.add_insert_sql(insert_chunks("chunks", "analytics_sink", OUTPUTS))
    return inserts


def idle_option(settings: AnalyticsConfig) -> dict[str, str]:
    """After what time without a record Flink no longer waits for a partition: half of the idle time, by the machine's clock."""
    return {"scan.watermark.idle-timeout": f"{settings.idle_s * 500} ms"} if settings.idle_s else {}


def engine_settings(settings: AnalyticsConfig) -> dict[str, Any]:
    """The engine's settings, in its units. Raises ValueError when one is out of range."""
    checked = AnalyticsSettings(
        settings.out_of_order_ms * 1_000_000,
        settings.lateness_s * 1_000_000_000,
        settings.indicators,
        settings.idle_s * 1_000_000_000,
    )
    return {
        "out_of_order_ns": checked.out_of_order_ns,
        "lateness_ns": checked.lateness_ns,
        "indicators": checked.indicators,
        "idle_ns": checked.idle_ns,
    }


def main() -> None:
    """Submit the job to the cluster that `flink run` points at."""
    config = Config.load()
    env = create_environments(config, NAME)
    submit(env, build(config, env), NAME, SINKS)


if __name__ == "__main__":
    main()
