"""The archive's writer against a real ClickHouse engine: each record is one row, whatever fails."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
from archive_gateway import SCHEMA_ID, GatewayProcess, connect, example, frame, offsets_in, trades, writer
from clickhouse_connect.driver.exceptions import OperationalError

from jobs import migrate
from jobs.config import Config
from schemas import model
from schemas.catalogue import TOPICS
from schemas.errors import UNKNOWN_SCHEMA, DecodeError
from schemas.registry import RegistryError
from schemas.resolution import Resolver
from udfs.operators.arrow_blocks import Positions, plan_of
from udfs.operators.clickhouse_writer import ArchiveError, Limits
from udfs.operators.decode_records import Batch, TooManyRefusals

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "archive_rows.json"
# Decimals as text: a JSON number would be read as a float.
EXACT = {"output_format_json_quote_decimals": 1}
KILLS = 3
KAFKA_MS = 1_767_355_200_123


@pytest.fixture
def config(gateway: GatewayProcess, request: pytest.FixtureRequest) -> Config:
    """A database of the test's own, migrated."""
    settings = gateway.config(request.node.name.replace("[", "_").replace("]", "_")[:60])
    migrate.apply(settings, print)
    return settings


class Unreliable:
    """A client whose first inserts fail: before the server has them, after it, or when it has a part of them."""

    def __init__(self, client: Any, failures: list[str]) -> None:
        self.client, self.failures = client, failures

    def query(self, *arguments: Any) -> Any:
        return self.client.query(*arguments)

    def close(self) -> None:
        pass

    def insert_arrow(self, table: str, arrow_table: Any, **options: Any) -> Any:
        failure = self.failures.pop(0) if self.failures else ""
        if failure == "lost_request":
            raise OperationalError("the connection broke before the request")
        if failure == "first_part_only":
            # What a crash between two partitions of a block leaves: the parts of the first days.
            days = arrow_table.column("event_date").to_numpy()
            arrow_table = arrow_table.slice(0, int((days == days[0]).sum()))
        self.client.insert_arrow(table, arrow_table, **options)
        if failure:
            raise OperationalError("the connection broke before the answer")


def test_write_example_payloads_equal_golden_rows(config: Config) -> None:
    client = connect(config)
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    rows: dict[str, Any] = {}
    for topic in golden:
        folder = TOPICS[topic].schema_file.parent.parent / "examples" / topic / "valid"
        names = sorted(file.stem for file in folder.glob("*.json"))
        assert names
        payloads = [frame(topic, **example(topic, name)) for name in names]
        positions = Positions.of([3] * len(names), range(100, 100 + len(names)), [KAFKA_MS] * len(names))
        assert writer(config, topic).write(Batch(payloads, positions)).refused == 0
        table = plan_of(topic).table
        lines = client.raw_query(
            f"SELECT * FROM {table} WHERE _topic = '{topic}' ORDER BY _offset", settings=EXACT, fmt="JSONEachRow"
        )
        found = [
            json.loads(line) for line in lines.decode("utf-8", "backslashreplace").replace("\\x", "\\\\x").splitlines()
        ]
        rows[topic] = dict(zip(names, found, strict=True))
    assert rows == golden


MIXED = ("limitValue", "observedValue", "value")
"""Fields whose unit depends on another field: they are archived as they are on the wire."""


def expected(topic: str, payload: dict[str, Any]) -> dict[str, Any]:
    """What ClickHouse shows of a payload: the mapping told once more, from the schema's text alone."""
    row: dict[str, Any] = {}
    named: dict[str, Any] = {}

    def cell(field: dict[str, Any], kind: Any, value: Any) -> Any:
        if value is None:
            return None
        if kind == "long" and "1/10,000 of the currency" in field["doc"] and field["name"] not in MIXED:
            return Decimal(value) / 10_000
        if kind == "long" and "nanoseconds since the epoch" in field["doc"]:
            seconds, rest = divmod(value, 10**9)
            return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest:09}"
        if kind == "long" and "milliseconds since the epoch" in field["doc"]:
            seconds, rest = divmod(value, 1_000)
            return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest:03}"
        return value.hex() if isinstance(value, bytes) else value

    def add(prefix: str, fields: list[dict[str, Any]], values: dict[str, Any] | None) -> None:
        for field in fields:
            kind, name = field["type"], prefix + model.snake(field["name"])
            kind = kind[1] if isinstance(kind, list) else kind
            value = None if values is None else values.get(field["name"])
            if isinstance(kind, dict) and kind["type"] == "record":
                add(f"{name}_", kind["fields"], value)
            elif isinstance(kind, dict) and kind["type"] == "array" and kind["items"] != "string":
                items = named.get(str(kind["items"]).rpartition(".")[2], kind["items"])
                named[items["name"]] = items
                for item in items["fields"]:
                    union = isinstance(item["type"], list)
                    found = [
                        cell(item, item["type"][1] if union else item["type"], each[item["name"]])
                        for each in value or []
                    ]
                    row[f"{name}.{model.snake(item['name'])}"] = found
            else:
                row[name] = cell(field, kind, value)

    add("", json.loads(TOPICS[topic].schema_file.read_text(encoding="utf-8"))["fields"], payload)
    return row


@pytest.fixture(scope="module")
def shared(gateway: GatewayProcess) -> Config:
    """One migrated database for tests of which each has a table of its own."""
    settings = gateway.config("shared")
    migrate.apply(settings, print)
    return settings


@pytest.mark.parametrize("topic", TOPICS)
def test_write_every_example_of_a_topic_gives_its_row(shared: Config, topic: str) -> None:
    folder = TOPICS[topic].schema_file.parent.parent / "examples" / topic / "valid"
    names = sorted(file.stem for file in folder.glob("*.json"))
    wanted = [expected(topic, example(topic, name)) for name in names]
    positions = Positions.of([1] * len(names), range(len(names)), [KAFKA_MS] * len(names))
    assert (
        writer(shared, topic).write(Batch([frame(topic, **example(topic, n)) for n in names], positions)).refused == 0
    )
    columns = list(wanted[0])
    # Times as text: a Python datetime has no nanoseconds.
    as_text = {"DateTime": "toString(`{}`)", "Array(DateTime": "arrayMap(x -> toString(x), `{}`)"}
    as_text["Nullable(DateTime"] = as_text["DateTime"]
    kinds = plan_of(topic).clickhouse_types()
    binary = {column.name for column in plan_of(topic).columns if column.kind == "bytes"}
    shown = [
        f"lower(hex(`{name}`))" if name in binary else as_text.get(kinds[name].partition("64")[0], "`{}`").format(name)
        for name in columns
    ]
    rows = connect(shared).query(f"SELECT {', '.join(shown)} FROM {plan_of(topic).table} ORDER BY _offset").result_rows
    assert [dict(zip(columns, row, strict=True)) for row in rows] == wanted


def test_write_extreme_numbers_are_stored_exactly(config: Config) -> None:
    values = [2**63 - 1, -(2**63), 0, -1, 10**18]
    payloads = [frame("orders", price=value, timestamp=value, quantity=value) for value in values]
    kafka_ms = [2**62, -(2**62), 0, KAFKA_MS, KAFKA_MS]
    done = writer(config, "orders").write(Batch(payloads, Positions.of([0] * 5, range(5), kafka_ms)))
    assert (done.rows, done.refused) == (5, 0)
    rows = connect(config).query(
        "SELECT reinterpretAsInt64(assumeNotNull(price)), toUnixTimestamp64Nano(timestamp), quantity FROM orders ORDER BY _offset"
    )
    assert [list(row) for row in rows.result_rows] == [[value] * 3 for value in values]


def test_write_same_batch_by_same_and_next_writer_adds_nothing(config: Config) -> None:
    batch = trades(range(500), days=3)
    first = writer(config, "trade-events")
    assert first.write(batch).rows == 500
    again = writer(config, "trade-events").write(batch)
    assert (again.rows, again.known) == (0, 500)
    assert offsets_in(connect(config), "trade_events") == list(range(500))


def test_write_overlapping_batches_with_gaps_add_only_the_missing(config: Config) -> None:
    # Transaction markers take offsets, so those of records have gaps.
    offsets = [offset for offset in range(1000) if offset % 7 != 3]
    writer(config, "trade-events").write(trades(offsets[:400], days=3))
    after = writer(config, "trade-events")
    assert after.write(trades(offsets[250:600], days=3)).rows == 200
    assert after.write(trades(offsets[600:], days=3)).rows == len(offsets) - 600
    assert offsets_in(connect(config), "trade_events") == offsets


def test_write_holes_below_the_highest_offset_are_filled(config: Config) -> None:
    batch = trades(range(300), days=3)
    broken = Unreliable(connect(config), ["first_part_only"])
    crashed = writer(config, "trade-events", lambda: broken, Limits(retry_s=0.0))
    with pytest.raises(ArchiveError, match="no success in 0 s"):
        crashed.write(batch)
    there = offsets_in(connect(config), "trade_events")
    assert 0 < len(there) < 300 and max(there) > 290
    assert writer(config, "trade-events").write(batch).rows == 300 - len(there)
    assert offsets_in(connect(config), "trade_events") == list(range(300))


@pytest.mark.parametrize("failure", ["lost_request", "lost_answer", "first_part_only"])
def test_write_retry_after_error_gives_each_row_once(config: Config, failure: str) -> None:
    client = Unreliable(connect(config), [failure, failure, failure])
    pauses: list[float] = []
    done = writer(config, "trade-events", lambda: client, pause=pauses.append).write(trades(range(90), days=3))
    assert done.rows == 90
    assert offsets_in(connect(config), "trade_events") == list(range(90))
    assert pauses


def test_write_waits_for_inserts_of_an_earlier_run(config: Config) -> None:
    client = connect(config)
    answers = [2, 1, 0]

    class Busy:
        def query(self, text: str, parameters: Any = None) -> Any:
            result = client.query(text, parameters)
            if "system.processes" in text:
                assert parameters == {"prefix": "archive-trade-events-0-"}
                return type("Result", (), {"result_rows": [(answers.pop(0),)]})
            assert not answers, "the fence was read while an insert was running"
            return result

        def insert_arrow(self, *arguments: Any, **options: Any) -> Any:
            return client.insert_arrow(*arguments, **options)

        def close(self) -> None:
            pass

    pauses: list[float] = []
    assert writer(config, "trade-events", Busy, pause=pauses.append).write(trades(range(3))).rows == 3
    assert len(pauses) == 2


@pytest.mark.parametrize("moment", ["within a batch", "between batches"])
def test_write_after_the_process_was_frozen_adds_nothing_to_what_its_successor_wrote(
    config: Config, moment: str
) -> None:
    first, second, third = trades(range(100)), trades(range(100, 200)), trades(range(200, 300))
    looks, freeze_at = 0, 2 if moment == "within a batch" else 1

    def clock() -> float:
        nonlocal looks
        looks += 1
        if looks == freeze_at:
            # Stopped here for a minute; meanwhile the job has moved to another process.
            successor = writer(config, "trade-events")
            successor.write(second)
            successor.write(third)
        return 0.0 if looks < freeze_at else 60.0

    frozen = writer(config, "trade-events", clock=lambda: 0.0)
    frozen.write(first)
    frozen._clock = clock
    frozen.write(second)
    frozen.write(third)
    assert looks > freeze_at
    assert offsets_in(connect(config), "trade_events") == list(range(300))


def test_write_missing_table_fails_at_once_and_says_what_to_do(gateway: GatewayProcess, config: Config) -> None:
    connect(config).command("DROP TABLE trade_events SYNC")
    with pytest.raises(ArchiveError, match=r"the table is missing.*tradestream migrate"):
        writer(config, "trade-events", pause=lambda _: pytest.fail("it waited")).write(trades(range(3)))


def test_write_undecodable_records_become_dead_letters_once(config: Config) -> None:
    good = frame("orders", orderId="good")
    payloads = [good, b"", b"\x01junk", good + b"!", good[:-3], b"\0\0\0\0\x63unknown", b"\0\xff\xff\xff\xffbeyond"]

    def resolve(data: bytes) -> bytes:
        raise DecodeError(UNKNOWN_SCHEMA, "schema id 99 is not registered", 1)

    batch = Batch(payloads, Positions.of([2] * 7, range(10, 17), [KAFKA_MS] * 7))
    for rows in (7, 0):
        done = writer(config, "orders", resolve=resolve).write(batch)
        assert (done.rows, done.refused) == (rows, 6)
    client = connect(config)
    assert offsets_in(client, "orders", 2) == [10]
    found = client.query(
        "SELECT source_offset, reason, hex(payload), _topic, event_id, schema_id FROM dead_letters ORDER BY _offset"
    ).result_rows
    assert [row[0] for row in found] == [11, 12, 13, 14, 15, 16]
    undecodable, unknown = "UNDECODABLE", "UNKNOWN_SCHEMA"
    assert [row[1] for row in found] == [undecodable, "BAD_MAGIC", undecodable, undecodable, unknown, unknown]
    # The last id is none that the registry could give out, and more than the column holds.
    assert [row[5] for row in found][-2:] == [99, None]
    assert [bytes.fromhex(row[2]) for row in found] == payloads[1:]
    assert {row[3] for row in found} == {"orders"} and found[0][4] == "orders-2-11"
    counts = client.query("SELECT archived_rows, undecodable_rows, kafka_records FROM pipeline_counts").result_rows
    assert [tuple(row) for row in counts] == [(1, 6, 7)]


def test_write_null_values_of_a_compacted_topic_become_tombstones_with_their_keys_once(config: Config) -> None:
    payloads = [frame("alert-rules", ruleId="kept"), None, b"", None, b"\x01junk", None]
    keys = [b"rule-1", None, bytes(range(256))]
    batch = Batch(payloads, Positions.of([2] * 6, range(10, 16), [KAFKA_MS, 2**62, 0, KAFKA_MS, KAFKA_MS, 0]), keys)
    for rows in (6, 0):
        done = writer(config, "alert-rules").write(batch)
        assert (done.rows, done.known, done.refused, done.tombstones) == (rows, 6 - rows, 2, 3)
    client = connect(config)
    found = client.query("SELECT _offset, hex(record_key), _topic FROM tombstones ORDER BY _offset").result_rows
    wanted = [None if key is None else key.hex().upper() for key in keys]
    assert found == [(offset, key, "alert-rules") for offset, key in zip((11, 13, 15), wanted, strict=True)]
    assert offsets_in(client, "alert_rules", 2) == [10] and offsets_in(client, "dead_letters", 2) == [12, 14]
    (day,) = client.query("SELECT toString(event_date) FROM tombstones WHERE _offset = 13").result_rows
    assert day == ("2026-01-02",)
    counts = "SELECT archived_rows, undecodable_rows, tombstone_rows, kafka_records, first_offset, last_offset"
    assert client.query(f"{counts} FROM pipeline_counts").result_rows == [(1, 2, 3, 6, 10, 15)]


def test_write_null_value_of_a_topic_that_is_not_compacted_is_a_dead_letter_with_its_key(config: Config) -> None:
    batch = Batch([frame("orders"), None, b""], Positions.of([0] * 3, range(3), [KAFKA_MS] * 3), [b"account-1"])
    done = writer(config, "orders").write(batch)
    assert (done.rows, done.refused, done.tombstones) == (3, 2, 0)
    found = connect(config).query("SELECT _offset, record_key, payload FROM dead_letters ORDER BY _offset").result_rows
    assert found == [(1, "account-1", ""), (2, None, "")]


def test_write_keys_that_do_not_belong_to_the_null_values_are_refused(config: Config) -> None:
    where = Positions.of([0] * 2, range(2), [KAFKA_MS] * 2)
    for keys in ([], [b"1"], [b"1", b"2", b"3"]):
        with pytest.raises(ValueError, match="zip"):
            writer(config, "alert-rules").write(Batch([None, None], where, keys))
    assert connect(config).query("SELECT count() FROM tombstones").result_rows == [(0,)]


def test_write_tombstone_that_an_older_release_made_a_dead_letter_is_not_written_again(config: Config) -> None:
    where = Positions.of([0] * 3, range(3), [KAFKA_MS] * 3)
    # That release gave the writer an empty value for none.
    assert writer(config, "alert-rules").write(Batch([frame("alert-rules"), b"", b""], where)).refused == 2
    again = writer(config, "alert-rules").write(Batch([frame("alert-rules"), None, None], where, [b"1", b"2"]))
    assert (again.rows, again.known, again.tombstones) == (0, 3, 2)
    assert connect(config).query("SELECT kafka_records FROM pipeline_counts").result_rows == [(3,)]


@pytest.mark.parametrize("failure", ["lost_request", "lost_answer"])
def test_write_tombstones_retried_are_there_once(config: Config, failure: str) -> None:
    client = Unreliable(connect(config), [failure, failure])
    batch = Batch([None] * 9, Positions.of([0] * 9, range(9), [KAFKA_MS] * 9), [b"key"] * 9)
    assert writer(config, "prices", lambda: client, pause=lambda _: None).write(batch).rows == 9
    assert offsets_in(connect(config), "tombstones") == list(range(9))
    # They are no bad input, so a topic of them alone does not stop the archive.
    limited = writer(config, "prices", refusals={"refused_window": 5})
    assert limited.write(batch).refused == 0


def test_write_records_with_a_new_optional_field_are_rows_like_the_others(config: Config) -> None:
    schema = json.loads(TOPICS["alerts"].schema_file.read_text(encoding="utf-8"))
    field = {"name": "addedLater", "type": ["null", "string"], "doc": "Of a later release.", "default": None}
    schema["fields"].append(field)
    out = io.BytesIO()
    fastavro.schemaless_writer(
        out, fastavro.parse_schema(schema), example("alerts", "every_field") | {"addedLater": "x"}
    )
    newer = b"\0" + (SCHEMA_ID + 1).to_bytes(4, "big") + out.getvalue()
    asked: list[int] = []

    def fetch(schema_id: int) -> str:
        asked.append(schema_id)
        return json.dumps(schema)

    batch = Batch([frame("alerts"), newer, newer], Positions.of([0] * 3, range(3), [KAFKA_MS] * 3))
    done = writer(config, "alerts", resolve=Resolver("alerts", SCHEMA_ID, fetch).resolve).write(batch)
    assert (done.rows, done.refused, asked) == (3, 0, [SCHEMA_ID + 1])
    columns = ", ".join(column.name for column in plan_of("alerts").columns)
    assert connect(config).query("SELECT count() FROM alerts").result_rows == [(3,)]
    assert len(connect(config).query(f"SELECT DISTINCT {columns} FROM alerts").result_rows) == 1


def test_write_column_of_a_new_optional_field_is_made_by_migrate_without_a_migration(config: Config) -> None:
    client = connect(config)
    described = (
        "SELECT type, comment, compression_codec FROM system.columns WHERE table = 'orders' AND name = 'locate_id'"
    )
    before = client.query(f"{described} AND database = currentDatabase()").result_rows
    # A table as the release before has it, whose orders had no locate.
    client.command("ALTER TABLE orders DROP COLUMN locate_id")
    batch = Batch([frame("orders")], Positions.of([0], [0], [KAFKA_MS]))
    with pytest.raises(ArchiveError, match="Run `tradestream migrate`"):
        writer(config, "orders", pause=lambda _: pytest.fail("it waited")).write(batch)
    assert migrate.apply(config, print) == []
    found = client.query(f"{described} AND database = currentDatabase()").result_rows
    assert [row[0::2] for row in found] == [row[0::2] for row in before] and found[0][1]
    assert writer(config, "orders").write(batch).rows == 1
    assert client.query("SELECT locate_id FROM orders").result_rows == [(example("orders", "every_field")["locateId"],)]
    said: list[str] = []
    assert migrate.apply(config, said.append) == [] and said == []


def test_write_mostly_bad_internal_topic_stops_before_writing(config: Config) -> None:
    refusals = {"refused_window": 100}
    bad = Batch([b"\x01"] * 100, Positions.of([0] * 100, range(100), [KAFKA_MS] * 100))
    with pytest.raises(TooManyRefusals, match="100 of 100 records of trade-events"):
        writer(config, "trade-events", refusals=refusals).write(bad)
    assert connect(config).query("SELECT count() FROM dead_letters").result_rows == [(0,)]
    # Anyone may write to orders, so nobody can stop the archive with it.
    assert writer(config, "orders", refusals=refusals).write(bad).refused == 100


def test_write_registry_away_waits_and_calls_no_record_bad(config: Config) -> None:
    answers: list[Exception | None] = [RegistryError("away"), RegistryError("away"), None]

    def resolve(data: bytes) -> bytes:
        answer = answers.pop(0)
        if answer:
            raise answer
        return b"\0" + SCHEMA_ID.to_bytes(4, "big") + data[5:]

    other = b"\0" + (SCHEMA_ID + 1).to_bytes(4, "big") + frame("trade-events")[5:]
    batch = Batch([other], Positions.of([0], [0], [KAFKA_MS]))
    done = writer(config, "trade-events", resolve=resolve, pause=lambda _: None).write(batch)
    assert (done.rows, done.refused, answers) == (1, 0, [])


def test_write_many_days_and_rows_respects_the_limits_of_an_insert(config: Config) -> None:
    sizes: list[tuple[int, int]] = []
    client = connect(config)

    class Watching:
        query = client.query

        def insert_arrow(self, table: str, arrow_table: Any, **options: Any) -> Any:
            days = np.unique(arrow_table.column("event_date").to_numpy())
            sizes.append((arrow_table.num_rows, len(days)))
            return client.insert_arrow(table, arrow_table, **options)

    batch = trades(range(700), days=200)
    assert writer(config, "trade-events", Watching, Limits(max_rows=300, max_dates=40)).write(batch).rows == 700
    assert max(rows for rows, _ in sizes) <= 300 and max(days for _, days in sizes) == 40
    assert offsets_in(client, "trade_events") == list(range(700))


def test_write_through_kills_of_clickhouse_loses_and_repeats_nothing(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path / "data")
    config = gateway.config("killed")
    migrate.apply(config, print)
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}")
    random = np.random.default_rng(seed)
    over = threading.Event()
    kills: list[int] = []

    def killer() -> None:
        try:
            for number in range(KILLS):
                time.sleep(float(random.uniform(0.3, 1.5)))
                gateway.kill()
                gateway.start()
                kills.append(number)
        finally:
            over.set()

    thread = threading.Thread(target=killer)
    thread.start()
    try:
        written, start = 0, 0
        current = writer(config, "trade-events", limits=Limits(retry_s=120.0))
        while not over.is_set() or start < 4_000:
            written += current.write(trades(range(start, start + 400), days=20)).rows
            start += 400
            if random.random() < 0.2:
                # The job restarts from a checkpoint: some of what was written comes again.
                current = writer(config, "trade-events", limits=Limits(retry_s=120.0))
                start = max(0, start - int(random.integers(1, 900)))
        thread.join()
        assert len(kills) == KILLS, "the gateway did not start again"
        # Whatever is above `start` had been written before the last rewind.
        written += writer(config, "trade-events").write(trades(range(start), days=20)).rows
        found = offsets_in(connect(config), "trade_events")
        assert found == list(range(len(found))) and len(found) >= start
        assert len(found) == written
    finally:
        thread.join()
        gateway.stop()
