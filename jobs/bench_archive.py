"""`tradestream bench archive`: a long history in ClickHouse: how fast questions, how small rows, how fast the archive writes.

1. Start a ClickHouse of its own, make the tables, fill them with a made-up history (sql/clickhouse/bench/history.sql).
2. Ask the common questions (questions.sql), each several times, of the whole history.
3. Take rows in their order of arrival, make Kafka records and a Parquet file of them, and compare bytes a row.
4. Write these records with the archive job's writer, and the same rows with a plain insert loop of clickhouse-connect.

Flink and Kafka are not part of it. The plain loop has its rows ready as Python tuples and decodes nothing; the writer starts
from Avro frames, so that its ratio to the loop is a lower bound of what it saves.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import click
import pyarrow as pa

from infra.feeds.sessions import DEFAULT_DAY
from infra.stack import Stack, terminate_as_interrupt
from jobs import migrate
from jobs.bench_history import QUESTIONS, Question, fill, frames_of, parquet_bytes, sample
from jobs.bench_measure import collector
from jobs.bench_run import load_now
from jobs.cli_common import META_OVERRIDES, load_config, print_table, status
from jobs.config import Config
from jobs.demo_setup import demo_config
from udfs.operators.arrow_blocks import Positions, plan_of, table_of
from udfs.operators.clickhouse_writer import Limits, Writer
from udfs.operators.decode_records import Batch, Decoder

Result = dict[str, Any]
TOPICS_MEASURED: Final = ("market-data", "nbbo", "order-events", "trade-events")
ROWS: Final = 52_000_000
DAYS: Final = 20
QUICK_ROWS: Final = 2_000_000
QUICK_DAYS: Final = 5
SAMPLE: Final = 200_000
QUICK_SAMPLE: Final = 50_000
"""Rows of a topic that are made records and written again."""
BLOCK: Final = Limits().max_rows
"""Rows of one insert, of the writer and of the plain loop alike."""
REPEAT: Final = 5
"""Times that each question is asked; the first one, with cold caches, is reported apart."""
WRITES: Final = 3
"""Times that a sample is written in each way; the best counts."""
WELL_UNDER_S: Final = 0.5
"""What a question may take, median, to be answered in well under a second."""
SCHEMA_ID: Final = 1
INGEST: Final = "bench_ingest"
PLAIN: Final = "bench_plain"


@click.command(name="archive")
@click.option("--rows", default=ROWS, show_default=True, type=click.IntRange(100_000), help="Rows of history.")
@click.option(
    "--quick", is_flag=True, help=f"{QUICK_ROWS:,} rows of {QUICK_DAYS} days: a first look, in a minute or two."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line.")
@click.pass_context
def archive(ctx: click.Context, rows: int, quick: bool, as_json: bool) -> None:
    """Questions, storage and writing of a long history in ClickHouse.

    Starts a ClickHouse of its own and fills it with a made-up history of 20 days. Then: how long the common questions take,
    bytes a row beside raw Avro and Parquet, and rows a second of the archive's writer beside a plain insert loop.

    Example: tradestream bench archive --quick
    """
    days = QUICK_DAYS if quick else DAYS
    rows = min(rows, QUICK_ROWS) if quick else rows
    base = load_config(ctx)
    own = dataclasses.replace(base, state_dir=base.state_dir / "bench")
    overrides = ctx.meta.get(META_OVERRIDES, {})
    stack = Stack(demo_config(own, 1, overrides), progress=status)
    load = load_now()
    with terminate_as_interrupt():
        try:
            status("starting ClickHouse")
            stack.up(("clickhouse",))
            # Loaded again, to have the password that `up` wrote.
            config = demo_config(own, 1, overrides, running=True)
            result = {"load_before": round(load, 1), **measure(config, rows, days, QUICK_SAMPLE if quick else SAMPLE)}
        finally:
            stack.down(wipe=True)
    render(result)
    if as_json:
        click.echo(json.dumps(result))


def measure(config: Config, rows: int, days: int, sampled: int = SAMPLE) -> Result:
    """The whole benchmark on a ClickHouse that is up and empty. Raises ClickHouseError."""
    migrate.apply(config, lambda _line: None)
    client = migrate.endpoint(config).connect()
    dates = trading_days(days)
    began = time.perf_counter()
    fill(client, dates, rows, lambda day: status(f"filling {day}"))
    filled_s = time.perf_counter() - began
    total = stored_rows(client)
    result: Result = {"rows": total, "days": days, "fill_rows_per_s": round(total / filled_s)}
    status(f"asking {len(QUESTIONS)} questions of {total:,} rows, {REPEAT} times each")
    result["questions"] = [ask(client, question) for question in prepared(client, dates[-1])]
    result["slowest_s"] = max(row["median_s"] for row in result["questions"])
    status("taking samples: bytes a row, rows a second")
    result["topics"] = [measure_topic(config, client, topic, sampled) for topic in TOPICS_MEASURED]
    return result


def trading_days(count: int) -> list[date]:
    """The last weekdays up to the demo's day."""
    days: list[date] = []
    day = DEFAULT_DAY
    while len(days) < count:
        if day.weekday() < 5:
            days.append(day)
        day -= timedelta(days=1)
    return days[::-1]


def stored_rows(client: Any) -> int:
    """Rows of all tables of the archive."""
    sql = "SELECT sum(rows) FROM system.parts WHERE database = currentDatabase() AND active"
    return int(client.query(sql).result_rows[0][0])


# --------------------------------------------------------------------------------------------------------- questions


def prepared(client: Any, day: date) -> Iterator[Question]:
    """The questions about things that exist."""
    order, account, symbol = client.query(
        f"SELECT order_id, account_id, symbol FROM trade_events WHERE event_date = '{day}' ORDER BY execution_time LIMIT 1"
    ).result_rows[0]
    values = {"day": str(day), "noon": f"{day} 17:00:00", "order": order, "account": account, "symbol": symbol}
    for question in QUESTIONS:
        yield question.about(values)


def ask(client: Any, question: Question) -> Result:
    """One question several times, as an analyst's client asks it, with the rows that ClickHouse read for it."""
    seconds, found, read = [], 0, 0
    for _ in range(REPEAT):
        began = time.perf_counter()
        answer = client.query(question.sql)
        seconds.append(time.perf_counter() - began)
        found, read = len(answer.result_rows), int(answer.summary.get("read_rows", 0))
    return {
        "question": question.text,
        "first_s": round(seconds[0], 3),
        "median_s": round(statistics.median(seconds[1:]), 3),
        "worst_s": round(max(seconds), 3),
        "answers": found,
        "read_rows": read,
    }


# ----------------------------------------------------------------------------------------------- storage and writing


def measure_topic(config: Config, client: Any, topic: str, sampled: int) -> Result:
    """Bytes a row of one topic in three forms; rows a second in two ways."""
    table = table_of(topic)
    stored = client.query(
        "SELECT sum(rows), sum(data_compressed_bytes), sum(bytes_on_disk) FROM system.parts "
        "WHERE database = currentDatabase() AND active AND table = {table:String}",
        {"table": table},
    ).result_rows[0]
    rows = sample(client, topic, sampled)
    frames = frames_of(topic, rows, SCHEMA_ID)
    ways = (
        frames_writing(_fresh(config, INGEST), topic, rows, frames),
        rows_inserting(_fresh(config, PLAIN), topic, rows),
    )
    # In turn, and the best of each, so that what else the machine does weighs on both alike.
    seconds = [[_seconds(way, topic, len(frames)) for way in ways] for _ in range(WRITES)]
    ours, plain = (min(each) for each in zip(*seconds, strict=True))
    return {
        "topic": topic,
        "rows": int(stored[0]),
        "avro_bytes": round(sum(map(len, frames)) / len(frames), 1),
        "parquet_bytes": round(parquet_bytes(rows) / len(frames), 1),
        "clickhouse_bytes": round(int(stored[2]) / int(stored[0]), 1),
        "archive_rows_per_s": round(len(frames) / ours),
        "plain_rows_per_s": round(len(frames) / plain),
        "ratio": round(plain / ours, 2),
    }


@dataclass(frozen=True, slots=True)
class Way:
    """A way of writing the rows of a sample into a database of its own, whose tables are those of the archive."""

    config: Config
    run: Callable[[], None]


def _fresh(config: Config, database: str) -> Config:
    """An empty database with all tables."""
    client = migrate.endpoint(config).connect("")
    client.command(f"DROP DATABASE IF EXISTS {database} SYNC")
    own = dataclasses.replace(config, clickhouse=dataclasses.replace(config.clickhouse, database=database))
    migrate.apply(own, lambda _line: None)
    return own


def frames_writing(own: Config, topic: str, rows: pa.Table, frames: Sequence[bytes]) -> Way:
    """The archive's writer with these records: decoding, the fence, Arrow blocks, inserts."""
    partitions, offsets = rows.column("_partition").to_pylist(), rows.column("_offset").to_pylist()
    kafka_ms = rows.column("_kafka_time").cast(pa.int64()).to_pylist()

    def resolve(_frame: bytes) -> bytes:
        raise AssertionError("all records are of this release's schema")

    def run() -> None:
        writer = Writer(
            name="bench",
            lane=0,
            decoder=Decoder(plan_of(topic), SCHEMA_ID, resolve),
            refused=plan_of("dead-letter"),
            connect=migrate.endpoint(own).connect,
            limits=Limits(),
        )
        for at in range(0, len(frames), BLOCK):
            where = Positions.of(*(values[at : at + BLOCK] for values in (partitions, offsets, kafka_ms)))
            writer.write(Batch(frames[at : at + BLOCK], where))

    return Way(own, run)


def rows_inserting(own: Config, topic: str, rows: pa.Table) -> Way:
    """A loop that anybody would write first: `client.insert` of tuples, in blocks of the same size."""
    names = rows.column_names
    table = table_of(topic)
    tuples = list(zip(*(rows.column(name).to_pylist() for name in names), strict=True))

    def run() -> None:
        client = migrate.endpoint(own).connect()
        for at in range(0, len(tuples), BLOCK):
            client.insert(table, tuples[at : at + BLOCK], column_names=names)

    return Way(own, run)


def _seconds(way: Way, topic: str, wanted: int) -> float:
    """Seconds of one writing into the empty table, which must have all rows after it."""
    client = migrate.endpoint(way.config).connect()
    client.command(f"TRUNCATE TABLE {table_of(topic)}")
    # The tuples and frames of the other way lie in this process; neither is to pay for Python walking them.
    with collector(on=True):
        began = time.perf_counter()
        way.run()
        seconds = time.perf_counter() - began
    (row,) = client.query(f"SELECT count() FROM {table_of(topic)}").result_rows
    if row[0] != wanted:
        raise RuntimeError(f"{row[0]} of {wanted} rows of {topic} were written")
    return seconds


# ------------------------------------------------------------------------------------------------------------ showing


def render(result: Result) -> None:
    """The figures for a person."""
    click.echo(f"\n{result['rows']:,} rows of {result['days']} days, filled at {result['fill_rows_per_s']:,} rows/s\n")
    headings = dict.fromkeys(("first s", "median s", "worst s", "rows read", "answers"), "right")
    print_table(
        {"question": "left", **headings},
        [
            [row["question"], f"{row['first_s']:.3f}", f"{row['median_s']:.3f}", f"{row['worst_s']:.3f}",
             f"{row['read_rows']:,}", f"{row['answers']:,}"]
            for row in result["questions"]
        ],
    )  # fmt: skip
    slow = [row["question"] for row in result["questions"] if row["median_s"] > WELL_UNDER_S]
    click.echo(f"\nslower than {WELL_UNDER_S} s: {'; '.join(slow) if slow else 'none'}\n")
    names = ("avro_bytes", "parquet_bytes", "clickhouse_bytes", "archive_rows_per_s", "plain_rows_per_s", "ratio")
    headings = {"topic": "left", **dict.fromkeys((name.replace("_", " ") for name in names), "right")}
    print_table(headings, [[row["topic"], *(f"{row[name]:,}" for name in names)] for row in result["topics"]])
    if result["load_before"] > 1.0:
        click.echo(f"\ndisturbed: the load was {result['load_before']} before it began; repeat on a quiet machine")
