"""The command line against a real broker, registry and Flink cluster: what a data engineer types, in that order."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from kafka.admin import ConfigResource, KafkaAdminClient

from infra.stack import Stack
from jobs.config import Config, project_root
from schemas.catalogue import TOPICS

pytestmark = pytest.mark.timeout(900)

# Topics that no other end-to-end test uses: this one deletes, alters and pollutes them.
TOPIC, OTHER = "controls", "street-files"
CONTROL = {
    "controlId": "C-1",
    "kind": "HALT",
    "scope": "SYMBOL",
    "target": "ACME",
    "value": None,
    "issuedBy": "test",
    "reason": "trial",
    "timestamp": 1_381_152_600_123_000_000,
}

TINY_JOB = '''"""Counts, for trying the life of a job."""
from pyflink.common import Configuration
from pyflink.table import EnvironmentSettings, TableEnvironment

settings = Configuration()
for key, value in {
    "pipeline.name": "tiny_job",
    "execution.checkpointing.interval": "1 s",
    "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
    "restart-strategy.type": "none",
}.items():
    settings.set_string(key, value)
table = TableEnvironment.create(EnvironmentSettings.new_instance().with_configuration(settings).in_streaming_mode().build())
table.execute_sql("CREATE TABLE numbers (n BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '10')")
table.execute_sql("CREATE TABLE nowhere (n BIGINT) WITH ('connector' = 'blackhole')")
table.execute_sql("INSERT INTO nowhere SELECT SUM(n) FROM numbers GROUP BY n")
'''


class Cli:
    """Runs `tradestream` in a process of its own, as a shell does, on one stack."""

    def __init__(self, config: Config) -> None:
        self.words = [sys.executable, "-m", "jobs.cli", "--state-dir", str(config.state_dir)]

    def __call__(self, *words: str, code: int = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self.words, *words], cwd=project_root(), input=stdin, capture_output=True, text=True, timeout=400
        )
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self(*words, "--json", code=code).stdout)


@pytest.fixture(scope="module")
def tradestream(stack: tuple[Config, Stack]) -> Cli:
    config, _ = stack
    return Cli(config)


@pytest.fixture(scope="module")
def admin(stack: tuple[Config, Stack]) -> Iterator[KafkaAdminClient]:
    client = KafkaAdminClient(**stack[0].kafka.kafka_python())
    yield client
    client.close()


@pytest.fixture(scope="module", autouse=True)
def _topics(tradestream: Cli) -> Iterator[None]:
    """The topics and schemas that every test here needs; at the end the polluted topics are made anew for other modules."""
    tradestream("topics", "create")
    tradestream("schemas", "register")
    yield
    tradestream("topics", "delete", TOPIC, OTHER, "--yes")
    tradestream("topics", "create", TOPIC, OTHER)


# ------------------------------------------------------------------------------------------------ topics and schemas


def test_topics_are_created_once_and_match_the_catalogue(tradestream: Cli) -> None:
    assert tradestream.json("topics", "create")["created"] == []
    assert tradestream.json("topics", "diff") == []

    rows = {row["topic"]: row for row in tradestream.json("topics", "list")}
    assert rows.keys() == TOPICS.keys()
    assert all(row["exists"] for row in rows.values())


def test_topics_diff_shows_drift_and_exits_with_one(tradestream: Cli, admin: KafkaAdminClient) -> None:
    wanted = TOPICS[OTHER].settings("local")["retention.ms"]
    admin.alter_configs([ConfigResource("topic", OTHER, {"retention.ms": "60000", "compression.type": "gzip"})])
    try:
        found = tradestream.json("topics", "diff", OTHER, code=1)
    finally:
        admin.alter_configs([ConfigResource("topic", OTHER, TOPICS[OTHER].settings("local"))])

    assert {(row["what"], row["wanted"], row["found"]) for row in found} == {
        ("retention.ms", wanted, "60000"),
        ("compression.type", TOPICS[OTHER].compression, "gzip"),
    }
    assert tradestream.json("topics", "diff", OTHER) == []


def test_topic_is_deleted_only_on_confirmation_and_made_again(tradestream: Cli) -> None:
    assert "--yes" in tradestream("topics", "delete", OTHER, code=2).stderr
    tradestream("topics", "delete", OTHER, "--yes")
    assert [row["what"] for row in tradestream.json("topics", "diff", OTHER, code=1)] == ["topic"]
    assert tradestream.json("topics", "create", OTHER)["created"] == [OTHER]
    assert tradestream.json("topics", "diff", OTHER) == []


def test_production_profile_differs_from_the_local_cluster(tradestream: Cli, stack: tuple[Config, Stack]) -> None:
    config = stack[0]
    endpoints = {
        "kafka.bootstrap": config.kafka.bootstrap,
        "registry.url": config.registry.url,
        "flink.rest_url": config.flink.rest_url,
        "clickhouse.url": config.clickhouse.url,
    }
    words = [word for key, value in endpoints.items() for word in ("--set", f"{key}={value}")]

    found = tradestream.json("--profile", "production", *words, "topics", "diff", "market-data", code=1)

    assert {row["what"] for row in found} >= {"partitions", "replication", "min.insync.replicas"}


def test_schemas_keep_their_ids_when_registered_again(tradestream: Cli) -> None:
    rows = tradestream.json("schemas", "register")

    assert {row["state"] for row in rows} == {"unchanged"}
    listed = {row["subject"]: row for row in tradestream.json("schemas", "list")}
    assert {row["subject"]: row["id"] for row in rows} == {name: row["currentId"] for name, row in listed.items()}
    assert {row["rule"] for row in listed.values()} == {"BACKWARD_TRANSITIVE"}


def test_schemas_check_refuses_what_could_not_read_old_records(tradestream: Cli, tmp_path: Path) -> None:
    """The check runs on a copy of the checkout whose schema gained a field without a default."""
    assert all(problems == [] for problems in tradestream.json("schemas", "check").values())
    changed = json.loads(TOPICS[TOPIC].schema_file.read_text("utf-8"))
    changed["fields"].append({"name": "urgency", "type": "long", "doc": "New, and missing in old records."})
    script = (
        "import sys; from pathlib import Path; import schemas.catalogue as c\n"
        f"c.AVRO = Path({str(tmp_path)!r})\n"
        "from jobs.cli import main; main()\n"
    )
    (tmp_path / f"{TOPIC}.avsc").write_text(json.dumps(changed), encoding="utf-8")

    for command in ("check", "register"):
        done = subprocess.run(
            [sys.executable, "-c", script, *tradestream.words[3:], "schemas", command, TOPIC],
            cwd=project_root(),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1, done.stderr
        assert "urgency" in done.stdout + done.stderr


# ----------------------------------------------------------------------------------------------------- produce, tail


def test_produced_lines_come_back_decoded_and_bad_ones_are_told(tradestream: Cli) -> None:
    lines = [json.dumps(CONTROL | {"controlId": f"C-{n}"}) for n in range(3)]
    text = "\n".join([*lines, "nonsense", json.dumps(CONTROL | {"kind": "NONSENSE"})])

    strict = tradestream("produce", "controls", "--file", "-", "--strict", stdin=text, code=1)
    done = tradestream("produce", "controls", "--file", "-", stdin=text)

    assert "nothing was written" in strict.stderr
    assert "line 4: not JSON" in done.stderr
    assert "line 5: " in done.stderr
    assert "delivered 3 to controls" in done.stdout
    shown = tradestream("tail", TOPIC, "--json", "--no-follow", "--where", "issuedBy=test").stdout.splitlines()
    records = [json.loads(line) for line in shown]
    assert [record["value"]["controlId"] for record in records] == ["C-0", "C-1", "C-2"]
    # Fields that the line leaves out have the schema's defaults.
    optional = ("symbol", "limit", "settlementDate", "failedSale")
    assert records[0]["value"] == CONTROL | {"controlId": "C-0"} | dict.fromkeys(optional)
    assert {record["key"] for record in records} == {"ACME"}


def test_tail_shows_records_for_people_and_hex_with_the_reason(tradestream: Cli, stack: tuple[Config, Stack]) -> None:
    tradestream("produce", "controls", "--file", "-", stdin=json.dumps(CONTROL | {"controlId": "C-human"}))
    producer = Producer(stack[0].kafka.confluent())
    producer.produce(TOPIC, key=b"bad", value=b"\x01\x02")
    assert producer.flush(30) == 0

    good, bad = tradestream("tail", TOPIC, "--from", "-2", "--no-follow").stdout.splitlines()

    assert good.startswith("2013-10-07T09:30:00.123-04:00")
    assert "controlId=C-human kind=HALT scope=SYMBOL target=ACME" in good
    assert "BAD_MAGIC" in bad or "shorter than its header" in bad
    assert bad.endswith("0x0102")
    assert "\x1b" not in good + bad
    offset = json.loads(tradestream("tail", TOPIC, "--from", "-1", "--no-follow", "--json").stdout)["offset"]
    assert len(tradestream("tail", TOPIC, "--from", f"0:{offset}", "-n", "1").stdout.splitlines()) == 1
    assert tradestream("tail", TOPIC, "--key", "bad", "--from", "1h", "--no-follow").stdout.splitlines() == [bad]


def test_tail_views_differ_while_a_transaction_is_open(tradestream: Cli, stack: tuple[Config, Stack]) -> None:
    producer = Producer({**stack[0].kafka.confluent(), "transactional.id": "test-cli-views"})
    producer.init_transactions(30)
    producer.begin_transaction()
    # The frame is undecodable on purpose: what is asked is whether it is seen at all.
    producer.produce(OTHER, key=b"open", value=b"\x05provisional")
    assert producer.flush(30) == 0
    words = ("tail", OTHER, "--key", "open", "--no-follow")

    before = tradestream(*words).stdout
    provisional = tradestream(*words, "--uncommitted").stdout
    producer.commit_transaction(30)

    assert before == ""
    assert len(provisional.splitlines()) == 1
    assert tradestream(*words, "--committed").stdout == provisional


def test_tail_follows_new_records_and_ends_at_an_interrupt(tradestream: Cli) -> None:
    process = subprocess.Popen(
        [*tradestream.words, "tail", TOPIC, "--from", "end", "--where", "controlId=C-follow"],
        cwd=project_root(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = ""
        # The tail has no way to say that it has reached the end, so records are sent until it shows one.
        for _ in range(20):
            tradestream("produce", "controls", "--file", "-", stdin=json.dumps(CONTROL | {"controlId": "C-follow"}))
            if process.poll() is not None:
                break
            if select.select([process.stdout], [], [], 3)[0]:
                found = process.stdout.readline()
                break
        assert "controlId=C-follow" in found
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert error == ""


def test_tail_into_head_is_silent(tradestream: Cli) -> None:
    command = " ".join([*tradestream.words, "tail", TOPIC, "--from", "beginning", "--no-follow", "|", "true"])

    done = subprocess.run(["bash", "-c", command], cwd=project_root(), capture_output=True, text=True, timeout=100)

    assert done.stderr == ""


def test_simulated_day_of_no_events_delivers_nothing(tradestream: Cli) -> None:
    """The records themselves are tested with the publisher; here they would be in the way of other modules."""
    assert "delivered nothing" in tradestream("produce", "simulate", "--symbols", "2", "--events", "0").stdout
    assert "no trading day" in tradestream("produce", "simulate", "--day", "2013-10-06", code=2).stderr


# -------------------------------------------------------------------------------------------------- the life of a job


def test_job_is_submitted_saved_replaced_stopped_and_resumed(tradestream: Cli, tmp_path: Path) -> None:
    script = tmp_path / "tiny_job.py"
    script.write_text(TINY_JOB, encoding="utf-8")
    first = tradestream.json("submit", str(script))
    try:
        second = tradestream("submit", str(script), code=1)
        assert "runs already" in second.stderr
        listed = {row["job"]: row for row in tradestream.json("jobs")}
        assert listed["tiny_job"]["id"] == first["id"]
        assert listed["tiny_job"]["state"] == "RUNNING"
        assert "tiny_job" in tradestream("jobs").stdout
        saved = tradestream("savepoint", first["id"][:8]).stdout.strip()
        assert "/savepoints/tiny_job/savepoint-" in saved

        replaced = tradestream.json("submit", str(script), "--replace")
        assert replaced["id"] != first["id"]
        assert replaced["fromSavepoint"] not in (None, saved)

        stopped = tradestream.json("stop", "tiny_job")
        assert tradestream.json("jobs") == []
        resumed = tradestream.json("resume", str(script))
        assert resumed["fromSavepoint"] == stopped["savepoint"]
    finally:
        tradestream("stop", "tiny_job", "--no-savepoint", "--yes")
    # The cancelled run had checkpoints after the savepoint, so `latest` is one of them.
    assert "/chk-" in tradestream("resume", str(script), "--dry-run").stdout
    refused = tradestream("submit", str(script), code=1).stderr
    assert "write its events a second time" in refused
    assert "tradestream resume tiny_job" in refused


def test_job_that_cannot_be_planned_shows_the_root_cause_only(tradestream: Cli, tmp_path: Path) -> None:
    script = tmp_path / "tiny_job.py"
    script.write_text(TINY_JOB.replace("'datagen'", "'datagn'"), encoding="utf-8")

    done = tradestream("submit", str(script), "--fresh", code=1)

    assert "Could not find any factory for identifier 'datagn'" in done.stderr
    assert "\tat " not in done.stderr
    assert len(done.stderr.splitlines()) < 12


def test_stop_of_an_unknown_job_names_the_running_ones(tradestream: Cli) -> None:
    assert "no running job nothing_such" in tradestream("stop", "nothing_such", code=1).stderr
