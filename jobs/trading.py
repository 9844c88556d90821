"""The trading job: orders in, and the public truth about every order out.

1. Read orders, reference data, controls, corporate actions, NBBO and the match stage's own outcomes from Kafka, as raw bytes.
2. Validate and risk-check by account shard; refused orders are answered here, approved ones go on as frames.
3. Route and match by symbol shard; all events of an approved order are written here, in order.
4. Write everything to Kafka, each stage's subtasks in one transaction a checkpoint.

Inputs: orders, reference-data, controls, corporate-actions, nbbo (uncommitted), order-outcomes (committed: only a final
fill moves money).
Outputs: order-events, trade-events, risk-events, routing-decisions, market-status, order-outcomes, dead-letter.
Keys: account shard in 2, symbol shard in 3 (udfs.domain.sharding). The numbers of shards are part of the operators' uids,
because state cannot move between shards: changing one means starting from an empty state.
State: journal and snapshot of each shard's engine (udfs.operators.run_shard).
Delivery: exactly once for readers with isolation.level=read_committed, who see an event at its checkpoint. Readers with
read_uncommitted see the same event within milliseconds, and after a failure they may see it twice (drop repeats by
eventId) or see one that was rolled back.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from pyflink.table import Schema, StatementSet

from jobs.config import Config, TradingConfig
from jobs.runtime import (
    Environments,
    all_shards,
    create_environments,
    create_sink,
    create_source,
    insert_chunks,
    keyed_batches,
    name_state,
    operator_uid,
    resolution,
    run_statements,
    schema_ids,
    submit,
)
from schemas.catalogue import TOPICS
from udfs.domain import sources
from udfs.domain.match_shard import MatchShard
from udfs.domain.risk_shard import RiskShard
from udfs.domain.sharding import shard_sql
from udfs.operators.run_shard import FORWARD_TAG, OUTPUT_TYPE, RunShard, Stage
from udfs.operators.spread_keys import spread_keys
from udfs.operators.stage_metrics import Measure

NAME: Final = "trading"
OUTPUTS: Final = (
    "order-events",
    "trade-events",
    "risk-events",
    "routing-decisions",
    "market-status",
    "order-outcomes",
    "dead-letter",
)
SINKS: Final = {"trading_sink": ("88_sink",), "risk_sink": ("93_sink",)}
"""By which names savepoints know the sinks: the numbers that Flink gave them first."""
FIRST_RISK_INPUTS: Final = 38
"""Flink's last number for the risk stage's first five inputs."""
LATER_RISK_INPUTS: Final = 8
"""How many numbers its later inputs take."""
JOINED: Final = "joined-2-"
"""How the names of what joined inputs keep begin; another number when Flink would number another plan the same."""
SHORT_WINDOW_MS: Final = 5
"""A window that says that latency counts, and not throughput."""
MAX_LINGER_MS: Final = 20
"""How long the sink waits at most for more records of a request, however long the window."""
JOIN_AFTER: Final = 3
"""The first batches of a window, orders and quotes, come together."""
SYMBOL_SIDE: Final = "symbol_"
"""What the match stage's joined tables are called before the names that they share with the risk stage's."""
BESIDE_ORDERS: Final = (sources.REFERENCE, sources.CONTROLS, sources.NBBO, sources.CORPORATE_ACTIONS)
SCHEMAS: Final = (*OUTPUTS, "orders", "nbbo", "reference-data", "controls", "corporate-actions")


def build(config: Config, env: Environments) -> StatementSet:
    """The graph; the numbers are those of the module's description."""
    settings = config.trading
    ids = schema_ids(config, SCHEMAS)
    joined = settings.inputs == "joined"

    # 1. Sources, and which shard each record goes to.
    create_source(env, config, "orders_source", "orders", group=NAME)
    tables = {
        "reference_source": "reference-data",
        "controls_source": "controls",
        "outcomes_source": "order-outcomes",
        "actions_source": "corporate-actions",
    }
    if joined:
        _create_joined(env, config, "account_inputs", tables)
        shared = ("reference_source", "controls_source", "actions_source")
        _create_joined(env, config, "symbol_inputs", {f"{SYMBOL_SIDE}{table}": tables[table] for table in shared})
    else:
        for table, topic in tables.items():
            create_source(env, config, table, topic, group=NAME)
    create_source(env, config, "nbbo_source", "nbbo", group=NAME, isolation="read_uncommitted")
    _create_inputs(env, settings)

    # 2. Validate and risk-check by account. Records of outcomes are batches already (trading.outcomes_ms).
    by_account = keyed_batches(
        env,
        [
            (sources.REFERENCE, "reference_by_account"),
            (sources.CONTROLS, "controls_by_account"),
            (sources.NBBO, "nbbo_by_account"),
            (sources.OUTCOMES, "outcomes_by_account"),
            (sources.ORDERS, "orders_by_account"),
            (sources.CORPORATE_ACTIONS, "actions_by_account"),
        ],
        settings.account_shards,
        settings.window_ms,
        joined=BESIDE_ORDERS if joined else (),
        at_once=(sources.OUTCOMES,) if joined else (),
    )
    if joined:
        name_state(by_account, after=0, prefix=JOINED)
    elif settings.window_ms:
        # What is planned behind an input that came later, the match stage's inputs, keeps the names that it had.
        name_state(by_account, after=FIRST_RISK_INPUTS, shift=FIRST_RISK_INPUTS, prefix="risk-")
    risk = Stage(
        name="check_risk",
        new_engine=partial(
            RiskShard, shards=settings.account_shards, schema_ids=ids, symbol_shards=settings.symbol_shards
        ),
        forward=sources.FORWARD,
        resolution=resolution(
            config,
            ids,
            {
                sources.ORDERS: "orders",
                sources.REFERENCE: "reference-data",
                sources.CONTROLS: "controls",
                sources.NBBO: "nbbo",
                sources.OUTCOMES: "order-outcomes",
                sources.CORPORATE_ACTIONS: "corporate-actions",
            },
        ),
        compact_bytes=config.flink.journal_bytes,
        join_after=JOIN_AFTER if settings.window_ms else 0,
        keys=tuple(spread_keys(settings.account_shards, env.shard_keys)),
        measures=(Measure("risk_check_duration_seconds", sources.ORDERS, "duration"),),
        throughput=("order_throughput_total", sources.ORDERS),
    )
    checked = (
        by_account.process(RunShard(risk), output_type=OUTPUT_TYPE)
        .name("check_risk")
        .uid(operator_uid(config, f"check_risk-{settings.account_shards}"))
    )
    if settings.separate_stages:
        # Threads of one TaskManager take turns at its interpreter; sources and the match stage stay in the default group.
        checked = checked.slot_sharing_group("check_risk")

    # 3. Route and match by symbol.
    processing_time = Schema.new_builder().column_by_expression("processed", "PROCTIME()").build()
    frames = env.table.from_data_stream(checked.get_side_output(FORWARD_TAG), processing_time)
    env.table.create_temporary_view("frames", frames)
    run_statements(env, "trading_frames.sql")
    by_symbol = keyed_batches(
        env,
        [
            (sources.CONTROLS, "controls_by_symbol"),
            (sources.NBBO, "nbbo_by_symbol"),
            (sources.FORWARD, "frames_by_symbol"),
            # Last, because Flink numbers the sources in this order, and their offsets in a savepoint go by the number.
            (sources.REFERENCE, "reference_by_symbol"),
            (sources.CORPORATE_ACTIONS, "actions_by_symbol"),
        ],
        settings.symbol_shards,
        settings.window_ms,
        joined=BESIDE_ORDERS if joined else (),
        at_once=() if settings.gather_frames else (sources.FORWARD,),
    )
    if joined:
        name_state(by_symbol, after=0, prefix=JOINED)
    elif settings.window_ms:
        name_state(by_symbol, after=FIRST_RISK_INPUTS, shift=LATER_RISK_INPUTS)
    match = Stage(
        name="route_and_match",
        new_engine=partial(MatchShard, shards=settings.symbol_shards, schema_ids=ids),
        receive=sources.FORWARD,
        resolution=resolution(
            config,
            ids,
            {
                sources.REFERENCE: "reference-data",
                sources.CONTROLS: "controls",
                sources.NBBO: "nbbo",
                sources.CORPORATE_ACTIONS: "corporate-actions",
            },
        ),
        compact_bytes=config.flink.journal_bytes,
        hold_ms=settings.outcomes_ms if settings.window_ms else 0,
        join_after=JOIN_AFTER if settings.window_ms else 0,
        keys=tuple(spread_keys(settings.symbol_shards, env.shard_keys)),
        measures=(
            Measure("order_processing_latency_seconds", sources.FORWARD),
            Measure("trade_execution_latency_seconds", sources.FORWARD, lane="trade-events"),
        ),
    )
    matched = (
        by_symbol.process(RunShard(match), output_type=OUTPUT_TYPE)
        .name("route_and_match")
        .uid(operator_uid(config, f"route_and_match-{settings.symbol_shards}"))
    )

    if settings.separate_stages:
        # The thread that matches is what limits a symbol: another one makes records of its outputs and gives them to Kafka.
        matched = matched.disable_chaining()

    # 4. A transactional sink of all topics behind each stage: in one task with it, so that nothing is serialized between.
    inserts = env.table.create_statement_set()
    for sink, stream, prefix in (
        ("trading_sink", matched, f"tradestream-{NAME}"),
        ("risk_sink", checked, "tradestream-risk"),
    ):
        chunks = f"{sink}_chunks"
        env.table.create_temporary_view(chunks, env.table.from_data_stream(stream))
        create_sink(env, config, sink, OUTPUTS, transactional_prefix=prefix, extra=linger(settings.window_ms))
        inserts.add_insert_sql(insert_chunks(chunks, sink, OUTPUTS))
    return inserts


def linger(window_ms: int) -> dict[str, str]:
    """How long a sink waits for more records of a request, as options of it.

    Outputs of one window go to Kafka together: each request costs the broker as much as dozens of records. With a short window
    they wait for the request before them instead: a request goes out at once when there is none, and under load each takes what
    has come meanwhile.
    """
    if window_ms <= SHORT_WINDOW_MS:
        return {"properties.linger.ms": "0", "properties.max.in.flight.requests.per.connection": "1"}
    return {"properties.linger.ms": str(min(MAX_LINGER_MS, window_ms // 2))}


def pace(window_ms: int) -> dict[str, str]:
    """How long Flink may hold back what one task sends to the next: no longer than the micro-batch's window.

    With short windows everything is sent at once: an order crosses seven tasks, each of which would wait (4 ms each were
    20 of the 34 ms that an order took, 100 a second). Most records are batches, and the threads that flush each task's
    buffers every few milliseconds are not needed then.
    """
    return {"execution.buffer-timeout.interval": f"{window_ms if window_ms > SHORT_WINDOW_MS else 0} ms"}


def _create_joined(env: Environments, config: Config, source: str, tables: Mapping[str, str]) -> None:
    """One source of several topics, and for each of them the table that it would have had of its own."""
    create_source(env, config, source, *tables.values(), group=NAME)
    for table, topic in tables.items():
        run_statements(env, "one_topic.sql", table=table, source=source, topic=TOPICS[topic].name)


def _create_inputs(env: Environments, settings: TradingConfig) -> None:
    """The views of sql/flink/trading_inputs.sql."""

    key = "COALESCE(record_key, '')"
    run_statements(
        env,
        "trading_inputs.sql",
        account_shard_of_key=shard_sql(key, settings.account_shards),
        account_shard_of_reference=shard_sql("SUBSTRING(record_key FROM 9)", settings.account_shards),
        symbol_shard_of_key=shard_sql(key, settings.symbol_shards),
        symbol_shard_of_reference=shard_sql("SUBSTRING(record_key FROM 12)", settings.symbol_shards),
        all_account_shards=all_shards(settings.account_shards),
        all_symbol_shards=all_shards(settings.symbol_shards),
        symbol_inputs=SYMBOL_SIDE if settings.inputs == "joined" else "",
        reference_price_window=f"{settings.reference_price_window_ms / 1000:.3f}",
    )


def main() -> None:
    """Submit the job to the cluster that `flink run` points at."""
    config = Config.load()
    env = create_environments(config, NAME, pace(config.trading.window_ms))
    submit(env, build(config, env), NAME, SINKS)


if __name__ == "__main__":
    main()
