"""Who may do what at the gateway: users and roles, and attacks on the machine behind it.

Each attack must be refused by name; the traces that a success would leave are looked for at the end as well.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from infra.clickhouse_policy import READER_LIMITS
from infra.clickhouse_users import Role, UsersFileError, load_users
from tests.integration.gateway_fixtures import USERS, GatewayProcess, end_gateway, start_gateway

ANALYST = {"user": "analyst", "password": "look"}
AUDITOR = {"user": "auditor", "password": "look"}
WRITER = {"user": "writer", "password": "scribble"}
REFUSALS = {"164", "497", "358", "62", "115", "60", "46", "481"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("access")
    (folder / "users.toml").write_text(USERS)
    (folder / "writer.secret").write_text("scribble\n")
    made = start_gateway(folder / "data", "--users", str(folder / "users.toml"), "--log", str(folder / "access.log"))
    made.sql("CREATE TABLE facts (a Int32) ENGINE = MergeTree ORDER BY a")
    made.sql("INSERT INTO facts VALUES (1), (2)")
    made.sql("CREATE TABLE other (a Int32) ENGINE = MergeTree ORDER BY a")
    (folder / "secret.csv").write_text("top,secret\n")
    yield made
    end_gateway(made)


@pytest.fixture
def outside(gateway: GatewayProcess) -> Path:
    """A folder outside the data folder, with a file that nobody may read."""
    return gateway.folder.parent


READONLY_ATTACKS = [
    "INSERT INTO facts VALUES (3)",
    "INSERT INTO facts SELECT 3",
    "INSERT INTO facts FORMAT CSV\n3\n",
    "/* SELECT */ INSERT INTO facts VALUES (3)",
    "-- SELECT\nINSERT INTO facts VALUES (3)",
    "WITH 3 AS x INSERT INTO facts SELECT x",
    "SELECT 1; INSERT INTO facts VALUES (3)",
    "SELECT 1;;INSERT INTO facts VALUES (3)",
    "SET readonly = 0; INSERT INTO facts VALUES (3)",
    "SET readonly = 0",
    "SET readonly = DEFAULT",
    "SELECT 1 SETTINGS readonly = 0",
    "INSERT INTO facts SETTINGS readonly = 0 VALUES (3)",
    "DROP TABLE facts",
    "TRUNCATE TABLE facts",
    "ALTER TABLE facts DELETE WHERE 1",
    "DELETE FROM facts WHERE 1",
    "ALTER TABLE facts ADD COLUMN b Int8",
    "OPTIMIZE TABLE facts FINAL",
    "RENAME TABLE facts TO gone",
    "EXCHANGE TABLES facts AND other",
    "DETACH TABLE facts",
    "CREATE TABLE mine (a Int8) ENGINE = Memory",
    "CREATE VIEW v AS SELECT 1",
    "CREATE DATABASE d",
    "CREATE FUNCTION f AS (x) -> x",
    "CREATE USER u",
    "GRANT ALL ON *.* TO default",
    "KILL QUERY WHERE 1",
    "SYSTEM FLUSH LOGS",
    "SYSTEM STOP MERGES",
    "BACKUP TABLE facts TO Disk('default', 'x')",
    "CREATE TEMPORARY TABLE t ENGINE = Memory AS SELECT 1 AS a; DROP TABLE facts",
    "EXPLAIN SELECT 1; DROP TABLE facts",
    "EXECUTE AS default",
    "SET ROLE everything",
    "SET/**/ROLE ALL",
    "SET DEFAULT ROLE ALL TO default",
    "SET max_execution_time = 0",
    'SET "max_memory_usage" = 0',
    "SELECT 1 SETTINGS max_execution_time = 0",
    "SELECT * FROM (SELECT 1 SETTINGS max_memory_usage = 0)",
    "SET profile = 'default'",
    "ALTER TABLE facts DELETE WHERE 1 PARALLEL WITH ALTER TABLE other DELETE WHERE 1",
]

MACHINE_ATTACKS = [
    "SELECT * FROM file('{secret}', 'LineAsString')",
    "SELECT * FROM file /* x */ ('{secret}', 'LineAsString')",
    "SELECT * FROM `file`('{secret}', 'LineAsString')",
    "SELECT * FROM \"fi\\x6ce\"('{secret}', 'LineAsString')",
    "SELECT file('{secret}')",
    "SELECT `file`('{secret}')",
    "SELECT `fi\\x6ce`('{secret}')",
    "SELECT file/* /* nested */ */('{secret}')",
    "SELECT length(file('{secret}'))",
    "SELECT * FROM '{secret}'",
    "SELECT * FROM `{secret}`",
    "SELECT * FROM default.`{secret}`",
    "SELECT * FROM facts, '{secret}'",
    "DESCRIBE TABLE '{secret}'",
    "DESCRIBE TABLE file('{secret}')",
    "SELECT * FROM view(SELECT * FROM file('{secret}', 'LineAsString'))",
    "SELECT * FROM loop(file('{secret}', 'LineAsString'))",
    "SELECT * FROM eval('SELECT file(''{secret}'')') SETTINGS allow_experimental_eval_table_function = 1",
    "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
    "SELECT * FROM s3('http://127.0.0.1:1/a.csv')",
    "SELECT * FROM remote('127.0.0.1', 'system.one')",
    "SELECT * FROM cluster('default', system.one)",
    "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
    "SELECT * FROM sqlite('{secret}', 'y')",
    "SELECT * FROM filesystem('{folder}')",
    "SELECT * FROM executable('x.sh', 'TSV', 'a Int8')",
    "SELECT * FROM python('gateway')",
    "SELECT * FROM Python(gateway)",
    "SELECT 1 INTO OUTFILE '{evil}'",
    "SELECT 1 INTO/**/OUTFILE '{evil}' FORMAT CSV",
    "SELECT 1 INTO OUTFILE '{evil}' TRUNCATE",
    "SELECT 1\nINTO -- x\nOUTFILE $${evil}$$",
    "(SELECT 1) INTO OUTFILE '{evil}'",
    "SHOW TABLES INTO OUTFILE '{evil}'",
    "EXPLAIN SELECT 1 INTO OUTFILE '{evil}'",
    "INSERT INTO FUNCTION file('{evil}', 'CSV') SELECT 1",
    "INSERT INTO FUNCTION file('{evil}', 'CSV', 'a Int8') FORMAT CSV\n1\n",
    "INSERT INTO facts FROM INFILE '{secret}' FORMAT CSV",
    "CREATE TEMPORARY TABLE stolen (a String) ENGINE = File(LineAsString, '{secret}')",
    "CREATE TEMPORARY TABLE stolen (a String) ENGINE File(LineAsString, '{secret}')",
    "CREATE TEMPORARY TABLE stolen (a String) ENGINE = URL('http://127.0.0.1:1/', 'CSV')",
    "CREATE TEMPORARY TABLE stolen AS file('{secret}', 'LineAsString')",
    "CREATE TEMPORARY TABLE stolen ENGINE = Memory AS SELECT file('{secret}')",
    "SYSTEM SHUTDOWN",
    "SYSTEM KILL",
]

ADMIN_ATTACKS = [
    "CREATE TABLE stolen (a String) ENGINE = File(LineAsString, '{secret}')",
    "CREATE TABLE stolen (a String) ENGINE = Executable('x', 'CSV')",
    "CREATE DATABASE stolen ENGINE = Filesystem('{folder}')",
    "CREATE DATABASE stolen ENGINE = SQLite('{secret}')",
    "CREATE DICTIONARY stolen (a UInt64, b String) PRIMARY KEY a SOURCE(FILE(path '{secret}' format 'TSV')) "
    "LAYOUT(FLAT()) LIFETIME(1)",
    "CREATE DICTIONARY stolen (a UInt64, b String) PRIMARY KEY a SOURCE(EXECUTABLE(command 'id' format 'TSV')) "
    "LAYOUT(FLAT()) LIFETIME(1)",
    "CREATE FUNCTION stolen AS () -> file('{secret}')",
    "CREATE VIEW stolen AS SELECT file('{secret}')",
]


def fill(attack: str, outside: Path) -> str:
    for name, value in (("{secret}", outside / "secret.csv"), ("{folder}", outside), ("{evil}", outside / "evil.csv")):
        attack = attack.replace(name, str(value))
    return attack


def assert_unharmed(gateway: GatewayProcess, outside: Path) -> None:
    assert not (outside / "evil.csv").exists()
    assert gateway.sql("SELECT count(), sum(a) FROM default.facts") == "2\t3"
    assert gateway.sql("SHOW TABLES FROM default") == "facts\nother"
    assert gateway.sql("SELECT count() FROM system.databases WHERE name IN ('d', 'stolen')") == "0"


@pytest.mark.parametrize("with_session", [False, True])
def test_readonly_role_cannot_change_anything(gateway: GatewayProcess, outside: Path, with_session: bool) -> None:
    params = {"session_id": "attack"} if with_session else {}
    for attack in READONLY_ATTACKS:
        answer = gateway.send(attack, **ANALYST, **params)
        assert answer.status >= 400, f"{attack} was answered with {answer.data!r}"
        assert answer.headers["X-ClickHouse-Exception-Code"] in REFUSALS | {"344", "80", "452"}, (attack, answer.data)
    assert_unharmed(gateway, outside)


@pytest.mark.parametrize("who", [ANALYST, WRITER, {}], ids=["readonly", "writer", "admin"])
def test_nobody_reaches_the_machine(gateway: GatewayProcess, outside: Path, who: dict[str, str]) -> None:
    for attack in MACHINE_ATTACKS + ([] if who else ADMIN_ATTACKS):
        answer = gateway.send(fill(attack, outside), **who)
        assert answer.status >= 400, f"{attack} was answered with {answer.data!r}"
        assert b"top,secret" not in answer.data
        assert answer.headers["X-ClickHouse-Exception-Code"] in REFUSALS, (attack, answer.data)
    # A path given as a parameter is a name like any other.
    hidden = gateway.send("SELECT * FROM {t:Identifier}", **who, param_t=str(outside / "secret.csv"))
    assert hidden.headers["X-ClickHouse-Exception-Code"] == "60"
    assert_unharmed(gateway, outside)


def test_readonly_role_cannot_lift_its_limits_by_url(gateway: GatewayProcess) -> None:
    for params in ({"readonly": 0}, {"readonly": 1, "session_id": "x"}):
        assert gateway.send("SELECT 1", **ANALYST, **params).headers["X-ClickHouse-Exception-Code"] == "164"
    attack = {"max_threads": "1', readonly = '0"}
    assert gateway.send("INSERT INTO facts VALUES (3)", **ANALYST, **attack).status >= 400
    assert gateway.send("SELECT 1", **ANALYST, **{"max_threads = 1, readonly": "0"}).status == 404
    assert gateway.sql("SELECT count() FROM facts") == "2"


def test_readonly_role_has_limits_that_it_can_only_lower(gateway: GatewayProcess) -> None:
    names = ("max_execution_time", "max_memory_usage")
    in_force = "SELECT " + ", ".join(f"getSetting('{name}')" for name in names)
    for params in ({}, {"session_id": "limited"}):
        answer = gateway.send(in_force, **ANALYST, **params)
        assert answer.data.decode().split() == [str(READER_LIMITS[name]) for name in names]
    for name, value in (("max_execution_time", 61), ("max_execution_time", 0), ("profile", "default")):
        assert gateway.send("SELECT 1", **ANALYST, **{name: value}).headers["X-ClickHouse-Exception-Code"] == "452"
    slow = "SELECT sleepEachRow(0.5) FROM numbers(20) SETTINGS max_block_size = 1"
    stopped = gateway.send(slow, **ANALYST, max_execution_time=1, wait_end_of_query=1)
    assert stopped.headers["X-ClickHouse-Exception-Code"] == "159"
    large = "SELECT length(groupArray(number)) FROM numbers(5000000)"
    refused = gateway.send(large, **ANALYST, max_memory_usage=10_000_000)
    assert refused.headers["X-ClickHouse-Exception-Code"] == "241"


@pytest.mark.parametrize("with_session", [False, True])
def test_user_limited_to_tables_reads_these_and_nothing_else(gateway: GatewayProcess, with_session: bool) -> None:
    params = {"session_id": "limits"} if with_session else {}
    gateway.sql("CREATE OR REPLACE VIEW window AS SELECT a FROM facts")
    assert gateway.send("SELECT count() FROM other", **AUDITOR, **params).data == b"0\n"
    assert gateway.send("SHOW TABLES FROM default", **AUDITOR, **params).data == b"other\n"
    for attack in (
        "SET ROLE everything",
        "SELECT count() FROM facts",
        "SELECT a FROM default.facts",
        "SELECT * FROM window",
        "SELECT * FROM view(SELECT a FROM facts)",
        "SELECT 1 WHERE 1 IN (SELECT a FROM facts)",
        "SELECT * FROM mergeTreeIndex(default, facts)",
        "DESCRIBE TABLE facts",
        "INSERT INTO other VALUES (1)",
        "CREATE TEMPORARY TABLE mine AS SELECT a FROM facts",
        "DROP TABLE other",
    ):
        answer = gateway.send(attack, **AUDITOR, **params)
        assert answer.headers.get("X-ClickHouse-Exception-Code") in ("164", "497"), (attack, answer.data)
    assert gateway.send("SELECT count() FROM merge('default', '.*')", **AUDITOR, **params).data == b"0\n"
    # Whoever is not limited is not touched by it.
    assert gateway.send("SELECT count() FROM window", **ANALYST, **params).data == b"2\n"
    gateway.sql("DROP VIEW window")


def test_readonly_role_works_as_an_analyst_needs_it(gateway: GatewayProcess) -> None:
    client = gateway.client(username="analyst", password="look")
    assert client.query("SELECT sum(a) FROM facts SETTINGS max_threads = 1").result_rows == [(3,)]
    assert client.query_df("SELECT a FROM facts ORDER BY a")["a"].tolist() == [1, 2]
    client.command("CREATE TEMPORARY TABLE scratch (a Int32)")
    client.insert("scratch", [[5], [6]], column_names=["a"])
    assert client.query("SELECT sum(a) FROM scratch").result_rows == [(11,)]
    with pytest.raises(DatabaseError) as refused:
        client.insert("facts", [[3]], column_names=["a"])
    assert refused.value.code == 164
    client.close()
    for sql in (
        "SHOW TABLES",
        "DESCRIBE facts",
        "EXISTS facts",
        "EXPLAIN SELECT 1",
        "(SELECT 1)",
        "WITH 1 AS x SELECT x",
    ):
        assert gateway.send(sql, **ANALYST).status == 200, sql


def test_writer_role_inserts_and_changes_no_table(gateway: GatewayProcess) -> None:
    gateway.sql("CREATE TABLE intake (a Int32) ENGINE = MergeTree ORDER BY a")
    client = gateway.client(username="writer", password="scribble")
    client.insert("intake", [[1], [2]], column_names=["a"])
    client.command("INSERT INTO intake SELECT a + 2 FROM intake")
    assert client.query("SELECT sum(a) FROM intake").result_rows == [(10,)]
    client.close()
    for sql in ("DROP TABLE intake", "ALTER TABLE intake DELETE WHERE 1", "CREATE TABLE x (a Int8) ENGINE = Memory",
                "INSERT INTO intake VALUES (9); DROP TABLE intake", "KILL QUERY WHERE 1", "TRUNCATE TABLE intake"):  # fmt: skip
        gateway.send(sql, **WRITER)
    assert gateway.sql("SELECT min(a), max(a) >= 4 FROM intake") == "1\t1"
    for sql in ("DROP TABLE intake", "TRUNCATE TABLE intake", "SYSTEM FLUSH LOGS", "ALTER TABLE intake DELETE WHERE 1"):
        assert gateway.send(sql, **WRITER).headers["X-ClickHouse-Exception-Code"] == "164", sql
    gateway.sql("DROP TABLE intake")


def test_credentials_by_header_basic_and_url(gateway: GatewayProcess) -> None:
    def ask(headers: dict[str, str], query: str = "") -> tuple[int, str | None]:
        url = f"{gateway.url}/?query=SELECT%20currentUser()%20!%3D%20''{query}"
        answer = gateway.pool.request("GET", url, headers=headers)
        return answer.status, answer.headers.get("X-ClickHouse-Exception-Code")

    basic = {"Authorization": "Basic " + base64.b64encode(b"analyst:look").decode()}
    assert ask(basic) == (200, None)
    assert ask({"X-ClickHouse-User": "analyst", "X-ClickHouse-Key": "look"}) == (200, None)
    assert ask({}, "&user=analyst&password=look") == (200, None)
    assert ask({}) == (200, None)
    assert ask({"Authorization": "Basic " + base64.b64encode(b"analyst:wrong").decode()}) == (403, "516")
    assert ask({"X-ClickHouse-User": "nobody"}) == (403, "516")
    assert ask({"X-ClickHouse-User": "writer"}) == (403, "516")
    assert ask({}, "&user=default&password=guess") == (403, "516")
    assert ask(basic, "&user=default") == (403, "516")
    assert ask({"Authorization": "Basic %%%"}) == (403, "516")


def test_sessions_belong_to_their_user(gateway: GatewayProcess) -> None:
    gateway.sql("CREATE TEMPORARY TABLE private (a Int32)", session_id="shared")
    stolen = gateway.send("SELECT * FROM private", **ANALYST, session_id="shared")
    assert stolen.headers["X-ClickHouse-Exception-Code"] == "60"


def test_access_log_has_the_user_and_no_password(gateway: GatewayProcess, outside: Path) -> None:
    url = f"{gateway.url}/?query=SELECT%20123454321&user=analyst&password=look&query_id=logged"
    assert gateway.pool.request("GET", url).status == 200
    deadline = time.monotonic() + 10  # The line is written after the answer has been sent.
    lines: list[str] = []
    while not lines and time.monotonic() < deadline:
        lines = [line for line in (outside / "access.log").read_text().splitlines() if "id=logged" in line]
        time.sleep(0.02)
    (line,) = lines
    assert " analyst GET / 200 code=0 bytes=10 " in line
    assert line.endswith("SELECT 123454321")
    assert "look" not in line


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "no [[user]] entry"),
        ("[[user", "not valid TOML"),
        ('[[user]]\nname = "a"\nrole = "boss"\nno_password = true', "role must be one of admin, writer, readonly"),
        ('[[user]]\nname = "a"\nrole = "admin"', "exactly one of"),
        ('[[user]]\nname = "a"\nrole = "admin"\npassword = "x"', "unknown field password"),
        ('[[user]]\nname = "a"\nrole = "admin"\npassword_sha256 = "12"', "64 hex digits"),
        ('[[user]]\nname = "a"\nrole = "admin"\npassword_file = "gone"', "cannot read password_file gone"),
        ('[[user]]\nname = "a"\nrole = "admin"\nno_password = true\ntables = ["d.t"]', "only a readonly user"),
        ('[[user]]\nname = "a"\nrole = "readonly"\nno_password = true\ntables = []', "tables must be a list"),
        ('[[user]]\nname = "a"\nrole = "readonly"\nno_password = true\ntables = ["t, x.y"]', "is not database.table"),
        ('[[user]]\nname = "a"\nrole = "admin"\nno_password = true\n' * 2, "twice"),
    ],
)
def test_users_file_faults_are_named(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "users.toml"
    path.write_text(text)
    with pytest.raises(UsersFileError) as refused:
        load_users(path)
    assert fault in str(refused.value)


def test_users_file_roles_are_read(tmp_path: Path) -> None:
    (tmp_path / "users.toml").write_text(USERS)
    (tmp_path / "writer.secret").write_text("scribble")
    users = load_users(tmp_path / "users.toml")
    assert users.authenticate("analyst", "look", given=True).role is Role.READONLY
    assert users.authenticate("writer", "scribble", given=True).role is Role.WRITER
    assert users.authenticate("default", "", given=False).role is Role.ADMIN
