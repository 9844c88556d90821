"""What every job graph is built with: environments, SQL statements from sql/flink, Kafka sources and sinks.

A job module has `NAME`, `build(config, ...)` and a `main` that `flink run -py` calls on the client. Nothing here reads the
environment; the client resolves `jobs.config.Config` once, and operators get plain values.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Final, Literal

from py4j.java_gateway import JavaObject
from pyflink.common import Configuration, TypeInformation, Types
from pyflink.datastream import DataStream, KeyedStream, StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway
from pyflink.table import EnvironmentSettings, StatementSet, StreamTableEnvironment, Table

from jobs.cli_schemas import SETUP_TIMEOUT_S, open_registry
from jobs.config import Config
from schemas.catalogue import TOPICS
from udfs.domain.sharding import shard_sql
from udfs.operators.resolve_schemas import SchemaResolution
from udfs.operators.run_shard import INPUT_TYPE
from udfs.operators.spread_keys import EVEN, FIRST, MAX_PARALLELISM, spread_keys

SQL: Final = Path(__file__).resolve().parent.parent / "sql" / "flink"
SEPARATOR: Final = "\n----\n"

MOST_BESIDE_ORDERS: Final = 128
"""Records of a batch that shares its task with other inputs: one to two milliseconds of a stage."""

Isolation = Literal["read_committed", "read_uncommitted"]


class JobError(RuntimeError):
    """A job that cannot be started; the message says what to do."""


@dataclasses.dataclass(frozen=True, slots=True)
class Environments:
    """The two views of one Flink job that is being built."""

    stream: StreamExecutionEnvironment
    table: StreamTableEnvironment
    shard_keys: str = EVEN
    """Which keys stand for shards (udfs.operators.spread_keys)."""


def create_environments(config: Config, name: str, extra: Mapping[str, str] | None = None) -> Environments:
    """Environments of the job `name` with the settings that every job shares; `extra` overrides single Flink options."""
    flink = config.flink
    options = {
        "pipeline.name": name,
        "python.execution-mode": flink.execution_mode,
        # Process mode buffers 1,000 elements or 1,000 ms by default; elements are whole batches here.
        "python.fn-execution.bundle.size": "16",
        "python.fn-execution.bundle.time": "5",
        "parallelism.default": str(flink.parallelism),
        "pipeline.max-parallelism": str(MAX_PARALLELISM),
        "execution.checkpointing.interval": f"{flink.checkpoint_interval_ms} ms",
        "execution.checkpointing.mode": "EXACTLY_ONCE",
        "execution.checkpointing.min-pause": f"{max(1, flink.checkpoint_interval_ms // 4)} ms",
        "execution.checkpointing.timeout": "5 min",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.checkpointing.dir": flink.checkpoint_dir,
        # A failing job restarts for ever by default, which looks like a hang: ten failures in a row, none more than ten
        # minutes of good work after the one before, stop it.
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": "1 s",
        "restart-strategy.exponential-delay.max-backoff": "30 s",
        "restart-strategy.exponential-delay.backoff-multiplier": "2.0",
        "restart-strategy.exponential-delay.reset-backoff-threshold": "10 min",
        "restart-strategy.exponential-delay.attempts-before-reset-backoff": "10",
        "execution.buffer-timeout.interval": "5 ms",
        # What one operator of a chain hands to the next is not copied. Copies of rows with arrays cost more than the work.
        "pipeline.object-reuse": "true",
        # Sources and sinks get uids from the plan, so that a savepoint finds their state again.
        "table.exec.uid.generation": "ALWAYS",
        "table.local-time-zone": "UTC",
        # Arrays must keep the order of the records of a partition, so nothing is aggregated in two phases.
        "table.optimizer.agg-phase-strategy": "ONE_PHASE",
        **(extra or {}),
    }
    configuration = Configuration()
    for key, value in options.items():
        configuration.set_string(key, value)
    stream = StreamExecutionEnvironment.get_execution_environment(configuration)
    settings = EnvironmentSettings.new_instance().in_streaming_mode().build()
    table = StreamTableEnvironment.create(stream, settings)
    for key, value in options.items():
        if key.startswith("table."):
            table.get_config().set(key, value)
    return Environments(stream, table, flink.shard_keys)


def statements(file: str, **values: str) -> list[str]:
    """The statements of sql/flink/`file` with its placeholders filled in.

    Raises KeyError for a placeholder without a value.
    """
    return Template((SQL / file).read_text(encoding="utf-8")).substitute(values).split(SEPARATOR)


def run_statements(env: Environments, file: str, **values: str) -> None:
    """Execute all statements of a file."""
    for statement in statements(file, **values):
        env.table.execute_sql(statement)


def query(file: str, **values: str) -> str:
    """The one statement of a file."""
    (statement,) = statements(file, **values)
    return statement


def operator_uid(config: Config, name: str) -> str:
    """The name by which a savepoint knows the state of a Python operator that is keyed by shard.

    Another one in each execution mode, because PyFlink's process mode calls each state `python-state-...` (BeamStateStore), so
    that it does not find what thread mode has written, nor the reverse, and begins with nothing and without a word; and with
    each choice of keys, under which the state of shards lies. By another name Flink refuses the savepoint.
    """
    # The first ones, keys and mode, are not named: older savepoints have neither.
    named = (
        choice for choice in (config.flink.shard_keys, config.flink.execution_mode) if choice not in (FIRST, "thread")
    )
    return "-".join((name, *named))


def _options(pairs: Mapping[str, str]) -> str:
    """The inside of a WITH clause."""
    return ",\n    ".join(f"'{key}' = '{_quoted(value)}'" for key, value in pairs.items())


def _quoted(text: str) -> str:
    return text.replace("'", "''")


def create_source(
    env: Environments,
    config: Config,
    table: str,
    *topics: str,
    group: str,
    isolation: Isolation = "read_committed",
    start: Literal["earliest-offset", "latest-offset", "group-offsets"] = "earliest-offset",
    extra: Mapping[str, str] | None = None,
    shape: str = "kafka_source.sql",
    reached: str = "",
) -> None:
    """A source table for topics of the catalogue: raw, unless `shape` names another statement of sql/flink.

    `start` counts only when the job starts without a savepoint. A raw table of several topics has the column `topic`.
    `reached`: of a raw one, what Flink's watermark is made of, in SQL; without it the source has none.
    """
    env.table.execute_sql(
        query(
            shape,
            table=table,
            topics=";".join(TOPICS[topic].name for topic in topics),
            topic_column="\n    topic STRING METADATA VIRTUAL," if len(topics) > 1 else "",
            reached=f",\n    reached AS {reached},\n    WATERMARK FOR reached AS reached" if reached else "",
            options=source_options(config, group, isolation=isolation, start=start, extra=extra),
        )
    )


def source_options(
    config: Config,
    group: str,
    *,
    isolation: Literal["read_committed", "read_uncommitted"] = "read_committed",
    start: Literal["earliest-offset", "latest-offset", "group-offsets"] = "earliest-offset",
    extra: Mapping[str, str] | None = None,
) -> str:
    """Options of a Kafka source table, as the inside of its WITH clause."""
    return _options(
        {
            **config.kafka.flink_sql(),
            "properties.group.id": group,
            "properties.isolation.level": isolation,
            "scan.startup.mode": start,
            # New partitions are found while the job runs.
            "scan.topic-partition-discovery.interval": "60 s",
            **(extra or {}),
        }
    )


def all_shards(shards: int) -> str:
    """SQL's array of the numbers of all shards, for records that go to each of them, which have a `position`.

    One shard has an array that depends on the record: both ways of the CASE around it would be the same constant, and over
    that Flink plans a join with a table of values, which keeps every record in its state for ever.
    """
    if shards == 1:
        return "ARRAY[CAST(MOD(`position`, 1) AS INT)]"
    return f"ARRAY[{', '.join(map(str, range(shards)))}]"


def view_with_shard(env: Environments, view: str, source: str, shards: int) -> None:
    """A view of a table made by `create_source` whose records carry the shard of their key, as `keyed_batches` wants it."""
    shard = shard_sql("COALESCE(record_key, '')", shards)
    env.table.create_temporary_view(
        view,
        env.table.sql_query(
            f"SELECT {shard} AS shard, COALESCE(payload, X'') AS payload, `position`, kafka_time, processed FROM {source}"
        ),
    )


def create_sink(
    env: Environments,
    config: Config,
    table: str,
    topics: Sequence[str],
    *,
    transactional_prefix: str | None,
    extra: Mapping[str, str] | None = None,
    shape: str = "kafka_sink.sql",
) -> None:
    """A sink table over several topics, raw unless `shape` names another statement of sql/flink.

    Exactly-once with a transactional prefix, at least once without.
    """
    delivery = (
        {
            "sink.delivery-guarantee": "exactly-once",
            "sink.transactional-id-prefix": transactional_prefix,
            "properties.transaction.timeout.ms": str(config.flink.transaction_timeout_ms),
        }
        if transactional_prefix and config.flink.delivery == "exactly-once"
        else {"sink.delivery-guarantee": "at-least-once"}
    )
    options = {
        **config.kafka.flink_sql(),
        "properties.linger.ms": "2",
        "properties.batch.size": str(128 * 1024),
        "properties.compression.type": compression_of(topics),
        "properties.max.request.size": str(max(TOPICS[topic].max_message_bytes for topic in topics)),
        **delivery,
        **(extra or {}),
    }
    env.table.execute_sql(
        query(
            shape,
            table=table,
            topics=";".join(TOPICS[topic].name for topic in topics),
            topic_column="topic STRING NOT NULL METADATA," if len(topics) > 1 else "",
            options=_options(options),
        )
    )


def compression_of(topics: Sequence[str]) -> str:
    """The compression of most of these topics, of the first such one when there are several.

    A topic has its own in Kafka's settings, and the broker packs everything anew that comes in another: a third of its CPU time.
    """
    return Counter(TOPICS[topic].compression for topic in topics).most_common(1)[0][0]


def insert_chunks(chunks: str, sink: str, topics: Sequence[str]) -> str:
    """The statement that explodes the chunks of a view for these topics into a sink made by `create_sink`."""
    listed = ", ".join(f"'{_quoted(TOPICS[topic].name)}'" for topic in topics)
    return query(
        "explode_chunks.sql",
        chunks=chunks,
        sink=sink,
        topic_column="topic," if len(topics) > 1 else "",
        condition=f"topic IN ({listed})",
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """An input for every shard each second in which a view had records. source: its own tag; all_shards: SQL.

    How far the view has come by Kafka's time is Flink's watermark when it is read (`Stage.progress`).
    """

    source: int
    view: str
    all_shards: str


def keyed_batches(
    env: Environments,
    inputs: Sequence[tuple[int, str]],
    shards: int,
    window_ms: int,
    progress: Progress | None = None,
    joined: Collection[int] = (),
    at_once: Collection[int] = (),
) -> KeyedStream:
    """One stream of `INPUT_TYPE` rows from several views, each with its source tag, keyed by shard (udfs.operators.spread_keys).

    joined: tags of the inputs that share a window, and with it a task; each has batches of its own all the same. at_once: tags of
    those whose records are batches already, and wait for no window.

    With `window_ms` 0 every record is a batch of its own: one call of Python per record, which is what batches are compared
    with. The plan is another then, so that a job cannot go from one to the other with its state.
    """
    window = f"{window_ms / 1000:.3f}"
    parts = {
        view: query("per_record.sql", source=str(source), view=view)
        if not window_ms or source in at_once
        else query("micro_batch.sql", source=str(source), view=view, window=window, keys="shard")
        for source, view in inputs
        if not window_ms or source not in joined
    }
    if window_ms and joined:
        tagged = [query("tagged.sql", source=str(source), view=view) for source, view in inputs if source in joined]
        records = f"{inputs[0][1]}_and_others"
        env.table.create_temporary_view(records, env.table.sql_query("\nUNION ALL\n".join(tagged)))
        batches = query("micro_batch.sql", source="source", view=records, window=window, keys="shard, source")
        parts[records] = small_batches(batches)
    if progress is not None:
        batches = f"{progress.view}_batches"
        part = parts[progress.view]
        env.table.create_temporary_view(batches, env.table.sql_query(f"SELECT *, PROCTIME() AS made FROM ({part})"))
        values = {"source": str(progress.source), "view": batches, "all_shards": progress.all_shards}
        parts[batches] = query("progress.sql", **values)
    keys = f"ARRAY[{', '.join(map(str, spread_keys(shards, env.shard_keys)))}]"
    table = env.table.sql_query(
        "\nUNION ALL\n".join(query("key_batches.sql", keys=keys, batches=part) for part in parts.values())
    )
    return keyed_rows(env, table, Types.INT(), INPUT_TYPE)


def small_batches(batches: str, most: int = MOST_BESIDE_ORDERS, parts: int = 128) -> str:
    """A query whose batches are cut into so many records at most; into so many parts at most, of which the last is not cut."""
    firsts = range(1, most * parts, most)
    values = {"most": str(most), "last": str(firsts[-1]), "firsts": f"ARRAY[{', '.join(map(str, firsts))}]"}
    return query("small_batches.sql", batches=batches, **values)


def keyed_rows(env: Environments, table: Table, key_type: TypeInformation, row_type: TypeInformation) -> KeyedStream:
    """The rows in the second column of a table as a stream, keyed by the first column.

    PyFlink's key_by would call Python for each row and take all of it there and back, only to learn the key, which SQL knows.
    What it makes of the answer, a row of key and value for Flink's own selector, is made here at once.
    """
    stream = env.table.to_append_stream(table, Types.ROW([key_type, row_type]))
    by_key = stream._j_data_stream.keyBy(
        get_gateway().jvm.KeyByKeySelector(), Types.ROW([key_type]).get_java_type_info()
    )
    return KeyedStream(by_key, row_type, stream)


def name_state(stream: DataStream, after: int, shift: int = 0, prefix: str = "") -> None:
    """Rename, for savepoints, what Flink planned for a stream and numbered above `after`: a prefix, or a lower number.

    Flink numbers what it plans in the order in which it is planned. Without this an input that comes into the middle would
    give its numbers to those behind it, and they would go on reading it from the state of theirs.
    """
    for transformation in stream._j_data_stream.getTransformation().getTransitivePredecessors():
        number, _, rest = (transformation.getUid() or "").partition("_")
        if number.isdigit() and int(number) > after:
            transformation.setUid(f"{prefix}{int(number) - shift}_{rest}")


def schema_ids(config: Config, topics: Sequence[str]) -> dict[str, int]:
    """The registered id of the current schema of each topic.

    Raises JobError when one is not registered, RegistryError when the registry cannot be asked.
    """
    known = open_registry(config, SETUP_TIMEOUT_S)
    ids = {}
    for topic in topics:
        entry = TOPICS[topic]
        found = known.find(entry.subject, entry.schema_file.read_text(encoding="utf-8"))
        if found is None:
            raise JobError(
                f"the registry at {config.registry.url} does not have this release's schema of {entry.subject}: "
                "run `tradestream schemas register`"
            )
        ids[topic] = found.schema_id
    return ids


def resolution(config: Config, ids: Mapping[str, int], streams: Mapping[int, str]) -> SchemaResolution:
    """What reads records of other schema versions; `streams`: topic by source tag."""
    return SchemaResolution(config.registry.url, config.registry.credentials, streams, ids)


def plan(env: Environments, inserts: StatementSet, name: str, sinks: Mapping[str, tuple[str, ...]]) -> JavaObject:
    """The job as it is given to Flink. `sinks`: those of `submit`."""
    inserts.attach_as_datastream()
    found = set()
    for transformation in env.stream._j_stream_execution_environment.getTransformations():
        table = _sink_table(transformation.getName())
        if table in sinks:
            found.add(table)
            transformation.setUid(sinks[table][0])
    if found != sinks.keys():
        raise JobError(f"job {name} has no sink {', '.join(sorted(sinks.keys() - found))} that could be named")
    graph = env.stream._generate_stream_graph(clear_transformations=True, job_name=name)
    for node in graph.getStreamNodes().toArray():
        now, *before = sinks.get(_sink_table(node.getOperatorName()), ("",))
        if before:
            # A sink is two operators, writer and committer, whose uids contain the sink's.
            node.setUserHash(_operator_id(node.getTransformationUID().replace(now, before[0])))
    return graph


def _sink_table(operator: str) -> str:
    """The table of an operator that Flink named "table[number]..."."""
    return operator.partition("[")[0]


def _operator_id(uid: str) -> str:
    """What savepoints have in place of a uid (Flink's StreamGraphHasherV2)."""
    jvm = get_gateway().jvm
    hashing = jvm.org.apache.flink.shaded.guava33.com.google.common.hash.Hashing.murmur3_128(0)
    return str(hashing.hashString(uid, jvm.java.nio.charset.StandardCharsets.UTF_8).toString())


def submit(
    env: Environments, inserts: StatementSet, name: str, sinks: Mapping[str, tuple[str, ...]] | None = None
) -> str:
    """Start the job without waiting for its end, and print its id for `tradestream submit`.

    `sinks`: by which name savepoints know the sink of a table; a second name is what it was called before, so that a savepoint
    of that time is restored too. A sink that is left out is called by its number in Flink's plan, which one more input changes.
    """
    graph = plan(env, inserts, name, sinks or {})
    job_id = str(env.stream._j_stream_execution_environment.executeAsync(graph).getJobID())
    print(f"submitted {name} {job_id}", flush=True)
    return job_id
