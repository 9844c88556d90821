"""The ClickHouse HTTP protocol, end to end: the same tests hold for the gateway and, with --clickhouse-url, a server.

Every test works in the module's own database, which is dropped at the end.
"""

from __future__ import annotations

import datetime as dt
import gzip
import json
import shutil
import subprocess
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import urllib3
from clickhouse_connect.driver.exceptions import DatabaseError
from clickhouse_connect.driver.external import ExternalData

from tests.integration.gateway_fixtures import connect, end_gateway, post, resident_mib, start_gateway

ROWS_STREAMED = 5_000_000
TYPES_TABLE = """CREATE TABLE {name} (
    a Int64, b String, c LowCardinality(Nullable(String)), d Decimal(18, 4), ts DateTime64(9, 'UTC'),
    e Enum('BUY' = 1, 'SELL' = 2), arr Array(Int32), upper_b String MATERIALIZED upper(b), twice Int64 DEFAULT a * 2
) ENGINE = MergeTree ORDER BY a"""


@dataclass
class Target:
    """The server under test; `pid` only when it is the gateway."""

    url: str
    database: str
    pool: urllib3.PoolManager
    pid: int | None

    def send(self, sql: str | bytes, headers: dict[str, str] | None = None, **params: Any) -> urllib3.BaseHTTPResponse:
        return post(self.pool, self.url, sql, headers or {}, {"database": self.database, **params})

    def sql(self, sql: str | bytes, **params: Any) -> str:
        answer = self.send(sql, **params)
        assert answer.status == 200, answer.data.decode()
        return answer.data.decode().rstrip("\n")

    def client(self, **options: Any) -> Any:
        return connect(self.url, database=self.database, **options)


@pytest.fixture(scope="module")
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    url = request.config.getoption("--clickhouse-url")
    gateway = None if url else start_gateway(tmp_path_factory.mktemp("clickhouse") / "data")
    try:
        base = gateway.url if gateway is not None else str(url).rstrip("/")
        found = Target(base, "", urllib3.PoolManager(maxsize=16), gateway.process.pid if gateway else None)
        database = f"gateway_test_{uuid.uuid4().hex[:8]}"
        post(found.pool, base, f"CREATE DATABASE {database}", {}, {})
        found.database = database
        yield found
        post(found.pool, base, f"DROP DATABASE {database}", {}, {})
    finally:
        if gateway is not None:
            end_gateway(gateway)


@pytest.fixture
def client(target: Target) -> Iterator[Any]:
    made = target.client()
    yield made
    made.close()


def test_health_paths_answer_ok(target: Target) -> None:
    for path in ("/ping", "/", "/replicas_status"):
        answer = target.pool.request("GET", target.url + path)
        assert (answer.status, answer.data) == (200, b"Ok.\n"), path
    assert target.pool.request("GET", target.url + "/nowhere").status == 404


def test_client_round_trip_keeps_every_type(target: Target, client: Any) -> None:
    client.command(TYPES_TABLE.format(name="types"))
    day = dt.datetime(2024, 1, 2, 3, 4, 5)
    rows = [[1, "x", "lc", Decimal("1.2345"), day, "BUY", [1, 2]], [2, "é", None, Decimal("-3.0001"), day, "SELL", []]]
    summary = client.insert("types", rows, column_names=["a", "b", "c", "d", "ts", "e", "arr"])
    assert summary.written_rows == 2
    found = client.query("SELECT *, upper_b FROM types ORDER BY a").result_rows
    assert [list(row[:4]) + list(row[5:]) for row in found] == [
        [1, "x", "lc", Decimal("1.2345"), "BUY", [1, 2], 2, "X"],
        [2, "é", None, Decimal("-3.0001"), "SELL", [], 4, "é"],
    ]
    exact = "2024-01-02 03:04:05.123456789"
    target.sql(f"INSERT INTO types (a, ts) VALUES (3, '{exact}')")
    assert target.sql("SELECT toString(ts) FROM types WHERE a = 3") == exact


FORMATS = (
    *("Native", "Arrow", "ArrowStream", "Parquet", "RowBinary", "RowBinaryWithNamesAndTypes", "CSV", "CSVWithNames"),
    *("TSVWithNamesAndTypes", "TabSeparated", "JSONEachRow", "JSONCompactEachRow", "JSONColumns", "Avro", "ORC"),
)


@pytest.mark.parametrize("fmt", FORMATS)
def test_format_out_and_in_keeps_rows(target: Target, fmt: str) -> None:
    name = f"f_{fmt.lower()}"
    target.sql(f"CREATE TABLE {name} (a Int64, b String, c Nullable(Float64), d Int64 DEFAULT 7) ENGINE = Memory")
    # More rows than one block, so that headers and footers between blocks would show.
    query = "SELECT number::Int64 AS a, concat('s', toString(number)) AS b, if(number % 3 = 0, NULL, number / 4) AS c"
    data = target.send(f"{query} FROM numbers(150000) FORMAT {fmt}")
    assert data.status == 200
    assert data.headers["X-ClickHouse-Format"] == fmt
    into = target.send(data.data, query=f"INSERT INTO {name} (a, b, c) FORMAT {fmt}")
    assert into.status == 200, into.data
    assert json.loads(into.headers["X-ClickHouse-Summary"])["written_rows"] == "150000"
    figures = "count(), sum(a), uniqExact(b), sum(c), countIf(c IS NULL)"
    expected = target.sql(f"SELECT {figures} FROM ({query} FROM numbers(150000))")
    assert target.sql(f"SELECT {figures} FROM {name}") == expected
    assert target.sql(f"SELECT min(d), max(d) FROM {name}") == "7\t7"


def test_text_formats_join_blocks_with_totals(target: Target) -> None:
    text = target.sql(
        "SELECT number % 2 AS k, count() AS c FROM numbers(10) GROUP BY k WITH TOTALS ORDER BY k FORMAT TSVWithNames"
    )
    assert text.split("\n") == ["k\tc", "0\t5", "1\t5", "", "0\t10"]


def test_json_answers_are_one_document(target: Target) -> None:
    document = json.loads(target.sql("SELECT number AS n FROM numbers(200000) FORMAT JSONCompact"))
    assert document["rows"] == 200_000
    assert document["data"][-1] in ([199_999], ["199999"])


def test_query_in_url_body_and_both(target: Target) -> None:
    url = f"{target.url}/?query={quote('SELECT 40 + ')}"
    assert target.pool.request("POST", url, body=b"2").data == b"42\n"
    assert target.pool.request("GET", f"{target.url}/?query=SELECT%207&default_format=CSV").data == b"7\n"
    target.sql("CREATE TABLE both (a Int32) ENGINE = Memory")
    assert target.send(b"1\n2\n", query="INSERT INTO both FORMAT CSV\n0\n").status == 200
    assert target.sql("SELECT groupArray(a) FROM (SELECT a FROM both ORDER BY a)") == "[0,1,2]"
    assert target.send(b"", query="INSERT INTO both VALUES (10), (5 + 6)").status == 200
    assert target.sql("SELECT sum(a) FROM both") == "24"


def test_get_cannot_write(target: Target) -> None:
    answer = target.pool.request("GET", f"{target.url}/?query=CREATE%20TABLE%20g%20(a%20Int8)%20ENGINE%3DMemory")
    assert answer.headers["X-ClickHouse-Exception-Code"] == "164"


def test_parameters_are_bound_not_spliced(target: Target, client: Any) -> None:
    hostile = "x'; DROP TABLE types; -- \\ \t \n {y:Int8} é"
    found = client.query("SELECT {s:String}, {xs:Array(String)}", parameters={"s": hostile, "xs": [hostile, "b"]})
    assert found.result_rows == [(hostile, [hostile, "b"])]
    assert client.query("SELECT {n:Nullable(Int32)}", parameters={"n": None}).result_rows == [(None,)]
    refused = target.send("SELECT {n:Int32}", param_n="1; DROP TABLE types")
    assert (refused.status, refused.headers["X-ClickHouse-Exception-Code"]) == (400, "457")
    assert target.send("SELECT {n:Int32}").headers["X-ClickHouse-Exception-Code"] == "456"
    target.sql("CREATE TABLE bound (a Int32) ENGINE = Memory")
    assert target.sql("SELECT count() FROM {t:Identifier}", param_t="bound") == "0"


def test_url_settings_last_for_one_request(target: Target) -> None:
    assert target.sql("SELECT getSetting('max_block_size')", max_block_size=1234) == "1234"
    assert target.sql("SELECT getSetting('max_block_size')") != "1234"
    unknown = target.send("SELECT 1", no_such_setting=1)
    assert (unknown.status, unknown.headers["X-ClickHouse-Exception-Code"]) == (404, "115")


def test_session_keeps_its_state_and_shares_it_with_nobody(target: Target) -> None:
    mine, other = {"session_id": uuid.uuid4().hex}, {"session_id": uuid.uuid4().hex}
    target.sql("CREATE TEMPORARY TABLE mine (a Int32)", **mine)
    target.sql("INSERT INTO mine VALUES (5)", **mine)
    target.sql("SET max_block_size = 777", **mine)
    assert target.sql("SELECT a, getSetting('max_block_size') FROM mine", **mine) == "5\t777"
    assert target.sql("SELECT getSetting('max_block_size')", max_block_size=99, **mine) == "99"
    assert target.sql("SELECT getSetting('max_block_size')", **mine) == "777"
    # A SET under an overriding URL setting is meant for the session, and is still there afterwards.
    target.sql("SET max_block_size = 778", max_block_size=99, **mine)
    assert target.sql("SELECT getSetting('max_block_size')", **mine) == "778"
    for params in (other, {}):
        assert target.send("SELECT * FROM mine", **params).headers["X-ClickHouse-Exception-Code"] == "60"
        assert target.sql("SELECT getSetting('max_block_size')", **params) not in ("777", "778")
    assert target.send("SELECT 1", session_id="never", session_check=1).headers["X-ClickHouse-Exception-Code"] == "372"


def test_session_refuses_a_second_request_at_a_time(target: Target) -> None:
    session = {"session_id": uuid.uuid4().hex}
    header = "X-ClickHouse-Exception-Code"
    target.sql("SELECT 1", **session)

    def occupy() -> None:
        # The other thread's request may be the one that is there first.
        while target.send("SELECT sleep(1.5)", **session).headers.get(header) == "373":
            pass

    slow = threading.Thread(target=occupy)
    slow.start()
    codes = set()
    while slow.is_alive():
        codes.add(target.send("SELECT 1", **session).headers.get(header))
    slow.join()
    assert "373" in codes
    assert target.sql("SELECT 1", **session) == "1"


@pytest.mark.parametrize(
    ("sql", "code", "status"),
    [
        ("SELECT * FROM no_such_table", 60, 404),
        ("SELECT no_such_column", 47, 404),
        ("SELEC 1", 62, 400),
        ("", 62, 400),
        ("SELECT 1; SELECT 2", 62, 400),
        ("SELECT sleep(2) SETTINGS max_execution_time = 1", 159, 408),
        ("SELECT 1 FORMAT NoSuchFormat", 73, 404),
        ("SELECT throwIf(1)", 395, 500),
        ("INSERT INTO no_such_table FORMAT CSV\n1\n", 60, 404),
    ],
)
def test_errors_have_code_status_and_text(target: Target, sql: str, code: int, status: int) -> None:
    answer = target.send(sql)
    assert (int(answer.headers["X-ClickHouse-Exception-Code"]), answer.status) == (code, status)
    text = answer.data.decode()
    assert text.startswith(f"Code: {code}. DB::Exception: ")
    assert "(version " in text


def test_error_in_the_middle_of_a_stream_reaches_the_client(target: Target, client: Any) -> None:
    sql = "SELECT throwIf(number = 3000000), number FROM numbers(5000000)"
    with pytest.raises(Exception, match="395"), client.query_row_block_stream(sql) as stream:
        for _ in stream:
            pass
    with pytest.raises(DatabaseError) as refused:
        client.query(sql)
    assert refused.value.code == 395
    curl = subprocess.run([_curl(), "-s", target.url, "-d", sql], capture_output=True, check=False)
    assert curl.returncode != 0 or b"Code: 395" in curl.stdout


def test_bad_inserts_change_nothing(target: Target, client: Any) -> None:
    target.sql("CREATE TABLE strict (a Int32, b String) ENGINE = MergeTree ORDER BY a")
    with pytest.raises((ValueError, TypeError, DatabaseError)):
        client.insert("strict", [["not a number", "y"]], column_names=["a", "b"])
    with pytest.raises(DatabaseError) as refused:
        client.raw_insert("strict", ["a", "b"], b"1,x\nnot a number,y\n", fmt="CSV")
    assert refused.value.code in (27, 6, 72)
    assert target.send(b"garbage" * 50, query="INSERT INTO strict FORMAT Native").status >= 400
    assert (
        target.send(b"\x1f\x8bgarbage", {"Content-Encoding": "gzip"}, query="INSERT INTO strict FORMAT CSV").status
        >= 400
    )
    assert target.sql("SELECT count() FROM strict") == "0"


@pytest.mark.parametrize("compress", ["lz4", "zstd", "gzip", True, False])
def test_client_compressions_both_ways(target: Target, compress: str | bool) -> None:
    client = target.client(compress=compress)
    table = f"compressed_{str(compress).lower()}"
    client.command(f"CREATE TABLE {table} (a Int64, s String) ENGINE = MergeTree ORDER BY a")
    client.insert(table, [[i, f"text {i}"] for i in range(50_000)], column_names=["a", "s"])
    found = client.query(f"SELECT a, s FROM {table} ORDER BY a").result_columns
    assert list(found[0]) == list(range(50_000))
    assert found[1][-1] == "text 49999"
    client.close()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_response_encodings(target: Target, encoding: str) -> None:
    sql = "SELECT number FROM numbers(100000) FORMAT CSV"
    answer = target.send(sql, {"Accept-Encoding": encoding}, enable_http_compression=1)
    assert answer.headers["Content-Encoding"] == encoding
    assert answer.data == target.send(sql).data


def test_pandas_and_arrow_both_ways(target: Target, client: Any) -> None:
    client.command("CREATE TABLE frames (a Int64, p Decimal(18, 4), s String, f Float64) ENGINE = MergeTree ORDER BY a")
    table = pa.table(
        {
            "a": pa.array(np.arange(1000)),
            "p": pa.array([Decimal(i).scaleb(-4) for i in range(1000)], pa.decimal128(18, 4)),
            "s": pa.array([f"s{i}" for i in range(1000)]),
            "f": pa.array(np.arange(1000) / 4),
        }
    )
    assert client.insert_arrow("frames", table).written_rows == 1000
    assert client.query_arrow("SELECT * FROM frames ORDER BY a").column("p").to_pylist() == table["p"].to_pylist()
    frame = pd.DataFrame({"a": np.arange(1000, 1500), "s": "x", "f": 0.5})
    assert client.insert_df("frames", frame).written_rows == 500
    back = client.query_df("SELECT a, s, f FROM frames WHERE a >= 1000 ORDER BY a")
    assert back["a"].tolist() == frame["a"].tolist()
    assert back["f"].sum() == 250.0


def test_external_data_is_a_table_of_one_query(client: Any) -> None:
    rows = ExternalData(data=b"1\n2\n3\n", file_name="ext.csv", fmt="CSV", structure="v Int32")
    assert client.query("SELECT sum(v) FROM ext", external_data=rows).result_rows == [(6,)]
    with pytest.raises(DatabaseError, match="ext"):
        client.query("SELECT sum(v) FROM ext")


def test_large_result_streams_in_flat_memory(target: Target, client: Any) -> None:
    sql = f"SELECT number AS a, toString(number) AS s, number / 3 AS f FROM numbers({ROWS_STREAMED})"
    before = resident_mib(target.pid) if target.pid else 0
    peak, rows, total = before, 0, 0
    with client.query_column_block_stream(sql) as stream:
        for block in stream:
            rows += len(block[0])
            total += int(np.sum(block[0]))
            peak = max(peak, resident_mib(target.pid) if target.pid else 0)
    assert (rows, total) == (ROWS_STREAMED, ROWS_STREAMED * (ROWS_STREAMED - 1) // 2)
    assert peak - before < 150, f"the gateway grew from {before} to {peak} MiB"


def test_slow_reader_does_not_hold_up_others(target: Target) -> None:
    slow = target.pool.request(
        "POST", target.url, body=b"SELECT number FROM numbers(50000000) FORMAT RowBinary", preload_content=False
    )
    slow.read(1000)
    assert target.sql("SELECT count() FROM numbers(1000)") == "1000"
    slow.close()


def test_many_clients_lose_and_double_nothing(target: Target) -> None:
    target.sql("CREATE TABLE crowd (thread Int32, n Int64) ENGINE = MergeTree ORDER BY (thread, n)")
    failures: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            client = target.client()
            for batch in range(5):
                rows = [[thread, batch * 1000 + i] for i in range(1000)]
                client.insert("crowd", rows, column_names=["thread", "n"])
                seen = client.query("SELECT count() FROM crowd WHERE thread = {t:Int32}", parameters={"t": thread})
                assert seen.result_rows == [((batch + 1) * 1000,)]
            client.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]
    assert target.sql("SELECT count(), uniqExact(thread, n), sum(n) FROM crowd") == "40000\t40000\t99980000"


def test_headers_and_summary_tell_what_happened(target: Target) -> None:
    answer = target.send("SELECT count() FROM numbers(1000000)", query_id="my-query-1", wait_end_of_query=1)
    assert answer.headers["X-ClickHouse-Query-Id"] == "my-query-1"
    assert answer.headers["X-ClickHouse-Timezone"]
    assert answer.headers["X-ClickHouse-Server-Display-Name"]
    summary = json.loads(answer.headers["X-ClickHouse-Summary"])
    assert (summary["read_rows"], summary["read_bytes"]) == ("1000000", "8000000")
    target.sql("CREATE TABLE copied (a Int64) ENGINE = Memory")
    copied = target.send("INSERT INTO copied SELECT number FROM numbers(1000)", wait_end_of_query=1)
    assert json.loads(copied.headers["X-ClickHouse-Summary"])["written_rows"] == "1000"


def _curl() -> str:
    found = shutil.which("curl")
    assert found, "curl is needed for these tests; install it"
    return found


def test_curl_reads_writes_and_compresses(target: Target, tmp_path: Path) -> None:
    def curl(*arguments: str) -> str:
        return subprocess.run([_curl(), "-sS", *arguments], capture_output=True, check=True, text=True).stdout

    base = f"{target.url}/?database={target.database}"
    assert curl(f"{base}&query=SELECT%20'%C3%A9'") == "é\n"
    curl(base, "-d", "CREATE TABLE curled (a Int32, b String) ENGINE = MergeTree ORDER BY a")
    plain, packed = tmp_path / "plain.csv", tmp_path / "packed.csv.gz"
    plain.write_text('1,"a;b"\n2,c\n')
    packed.write_bytes(gzip.compress(b"3,d\n4,e\n"))
    insert = f"{base}&query=INSERT%20INTO%20curled%20FORMAT%20CSV"
    curl(insert, "--data-binary", f"@{plain}")
    curl(insert, "-H", "Content-Encoding: gzip", "--data-binary", f"@{packed}")
    chunked = tmp_path / "chunked.csv"
    chunked.write_text("5,f\n")
    curl(insert, "-H", "Transfer-Encoding: chunked", "--data-binary", f"@{chunked}")
    assert (
        curl("--compressed", f"{base}&enable_http_compression=1", "-d", "SELECT sum(a), min(b) FROM curled")
        == "15\ta;b\n"
    )
    assert curl(base, "-d", "INSERT INTO curled VALUES (6, 'g')") == ""
    assert curl(base, "-d", "SELECT count() FROM curled") == "6\n"
