"""The local stack on this machine: real processes, real faults. One stack serves the module."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from infra.processes import Processes, Spec, port_is_free
from infra.stack import Stack, StackError, free_port_offset, terminate_as_interrupt
from infra.stack_files import password_file
from infra.stack_specs import registered_taskmanagers
from jobs.config import Config, project_root

SCHEMA = json.dumps({"type": "record", "name": "Probe", "fields": [{"name": "x", "type": "int"}]})


def make_stack(state_dir: Path, **overrides: object) -> Stack:
    settings: dict[str, object] = {"state_dir": state_dir, **overrides}
    if "stack.port_offset" not in settings:
        settings["stack.port_offset"] = free_port_offset(Config.load(overrides=settings))
    return Stack(Config.load(overrides=settings), progress=print)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    running = make_stack(tmp_path_factory.mktemp("stack"))
    with terminate_as_interrupt():
        try:
            running.up()
            yield running
        finally:
            running.down(wipe=True)


def our_processes(stack: Stack) -> list[psutil.Process]:
    """Every process whose command line names the state folder: found in another way than the stack finds them."""
    folder = str(stack.config.state_dir)
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(folder in word for word in process.info["cmdline"] or []):
            found.append(process)
    return found


def pids(stack: Stack) -> dict[str, int | None]:
    return {row.name: row.pid for row in stack.status()}


def client_settings(stack: Stack) -> dict[str, str]:
    """For clients that do not report each refused connection while a broker is dead on purpose."""
    return stack.config.kafka.confluent() | {"log_level": "0"}


def create_topic(stack: Stack, name: str, partitions: int) -> None:
    # Kept in a variable until the result is there: the client cancels what it has under way when it is collected.
    admin = AdminClient(client_settings(stack))
    admin.create_topics([NewTopic(name, partitions, 1)])[name].result(30)


def registry(stack: Stack, path: str, body: dict[str, str] | None = None) -> Any:
    """GET, or POST when there is a body."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{stack.config.stack.port('registry')}/apis/ccompat/v7{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
        time.sleep(0.1)


def test_up_makes_every_component_healthy_and_writes_the_endpoints(stack: Stack) -> None:
    states = {row.name: row.state for row in stack.status()}
    names = ["kafka", "registry", "clickhouse", "jobmanager", "taskmanager-1", "taskmanager-2"]
    assert states == dict.fromkeys(names, "healthy")
    seen = Config.load(overrides={"state_dir": stack.config.state_dir}, environment={})
    assert seen.kafka.bootstrap == f"127.0.0.1:{stack.config.stack.port('kafka')}"
    assert seen.stack.port_offset == stack.config.stack.port_offset
    assert seen.sources["registry.url"] == "running local stack"
    assert seen.clickhouse.password.reveal() == password_file(stack.config, "default").read_text()


def test_up_again_starts_nothing(stack: Stack) -> None:
    before = pids(stack)
    begin = time.monotonic()
    stack.up()
    assert pids(stack) == before
    assert time.monotonic() - begin < 10


def test_a_transaction_is_seen_whole_or_not_at_all(stack: Stack) -> None:
    settings = client_settings(stack)
    create_topic(stack, "stack-transactions", partitions=2)
    producer = Producer(settings | {"transactional.id": "stack-test", "transaction.timeout.ms": "3600000"})
    producer.init_transactions(30)
    for decision, commit in (("aborted", False), ("committed", True)):
        producer.begin_transaction()
        for number in range(10):
            producer.produce("stack-transactions", f"{decision}-{number}".encode())
        (producer.commit_transaction if commit else producer.abort_transaction)(30)
    consumer = Consumer(
        settings | {"group.id": "stack-test", "auto.offset.reset": "earliest", "isolation.level": "read_committed"}
    )
    try:
        consumer.subscribe(["stack-transactions"])
        seen: list[str] = []
        deadline = time.monotonic() + 30
        while len(seen) < 10 and time.monotonic() < deadline:
            message = consumer.poll(0.5)
            if message is not None and message.error() is None:
                seen.append((message.value() or b"").decode())
        assert consumer.poll(2.0) is None, "more than the committed ten"
    finally:
        consumer.close()
    assert sorted(seen) == [f"committed-{number}" for number in range(10)]


def test_a_topic_that_does_not_exist_is_not_created(stack: Stack) -> None:
    producer = Producer(client_settings(stack) | {"message.timeout.ms": "5000"})
    errors: list[object] = []
    producer.produce("misspelt", b"x", on_delivery=lambda error, _message: errors.append(error))
    producer.flush(20)
    assert errors
    assert errors[0] is not None
    assert "misspelt" not in AdminClient(client_settings(stack)).list_topics(timeout=10).topics


def test_registry_ids_survive_kill_and_restart(stack: Stack) -> None:
    registered = registry(stack, "/subjects/stack-probe-value/versions", {"schema": SCHEMA})["id"]
    # Killed at once: what was acknowledged must be on the disk already.
    stack.kill_component("registry")
    assert stack.component_status("registry").state == "dead"
    stack.up()
    assert json.loads(registry(stack, f"/schemas/ids/{registered}")["schema"])["name"] == "Probe"
    other = SCHEMA.replace("Probe", "Other")
    assert registry(stack, "/subjects/stack-other-value/versions", {"schema": other})["id"] != registered


def test_kafka_data_survives_kill_and_restart(stack: Stack) -> None:
    settings = client_settings(stack)
    create_topic(stack, "stack-durable", partitions=1)
    producer = Producer(settings)
    producer.produce("stack-durable", b"before")
    assert producer.flush(20) == 0
    stack.kill_component("kafka")
    stack.start_component("kafka")
    consumer = Consumer(client_settings(stack) | {"group.id": "durable", "auto.offset.reset": "earliest"})
    try:
        consumer.subscribe(["stack-durable"])
        values: list[bytes | None] = []

        def read() -> bool:
            message = consumer.poll(0.5)
            if message is not None and message.error() is None:
                values.append(message.value())
            return bool(values)

        wait_until(read, 60, "the message from before the kill")
    finally:
        consumer.close()
    assert values == [b"before"]


def test_a_killed_taskmanager_is_reported_and_repaired(stack: Stack) -> None:
    before = pids(stack)
    stack.kill_component("taskmanager-2")
    assert {row.name: row.state for row in stack.status()}["taskmanager-2"] == "dead"
    wait_until(
        lambda: len(registered_taskmanagers(stack.config.flink.rest_url)) == 1, 40, "the JobManager notices the loss"
    )
    stack.up()
    after = pids(stack)
    assert after.pop("taskmanager-2") != before.pop("taskmanager-2")
    assert after == before
    assert len(registered_taskmanagers(stack.config.flink.rest_url)) == 2


def test_add_taskmanager_gives_one_more_slot_and_can_be_stopped(stack: Stack) -> None:
    name = stack.add_taskmanager()
    try:
        assert name == "taskmanager-3"
        overview = json.load(urllib.request.urlopen(f"{stack.config.flink.rest_url}/overview", timeout=10))
        assert overview["slots-total"] == 3
    finally:
        stack.stop_component(name)
    assert name not in pids(stack)


def test_every_listening_socket_is_on_loopback(stack: Stack) -> None:
    listening = {
        connection.laddr.ip
        for process in our_processes(stack)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_secrets_are_readable_by_the_owner_only(stack: Stack) -> None:
    secret = password_file(stack.config, "analyst")
    for file in (secret, stack.config.endpoints_file, stack.config.state_dir / "clickhouse" / "users.toml"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    words = [word for process in our_processes(stack) for word in process.cmdline()]
    assert secret.read_text() not in " ".join(words)


@pytest.mark.parametrize("user", ["default", "writer", "analyst", "auditor"])
def test_clickhouse_lets_the_generated_users_in_and_nobody_else(stack: Stack, user: str) -> None:
    def answer(password: str) -> int:
        request = urllib.request.Request(
            f"http://127.0.0.1:{stack.config.stack.port('clickhouse')}/?query=SELECT%201",
            headers={"X-ClickHouse-User": user, "X-ClickHouse-Key": password},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code

    assert answer(password_file(stack.config, user).read_text()) == 200
    assert answer("guess") in (401, 403)


def test_a_second_state_folder_runs_beside_the_first(stack: Stack, tmp_path: Path) -> None:
    before = pids(stack)
    second = make_stack(tmp_path / "second")
    try:
        second.up(["registry"])
        assert second.component_status("registry").state == "healthy"
        assert registry(second, "/subjects") == []
    finally:
        second.down(wipe=True)
    assert our_processes(second) == []
    assert not (tmp_path / "second").exists()
    assert pids(stack) == before


def test_a_taken_port_names_the_port_the_setting_and_the_holder(stack: Stack, tmp_path: Path) -> None:
    other = make_stack(tmp_path / "other", **{"stack.port_offset": stack.config.stack.port_offset})
    port = stack.config.stack.port("registry")
    with pytest.raises(
        StackError, match=rf"port {port} \(registry\) is taken by pid \d+ \(java\).*stack\.registry_port"
    ):
        other.up(["registry"])
    assert our_processes(other) == []


def test_changed_ports_of_a_running_stack_are_refused(stack: Stack) -> None:
    moved = make_stack(stack.config.state_dir, **{"stack.port_offset": stack.config.stack.port_offset + 2})
    with pytest.raises(StackError, match="running on other ports"):
        moved.up()


def test_an_interrupted_up_leaves_nothing_running(tmp_path: Path, stack: Stack) -> None:
    state_dir = tmp_path / "interrupted"
    offset = free_port_offset(stack.config)
    script = (
        "from jobs.config import Config; from infra.stack import Stack, terminate_as_interrupt\n"
        f"config = Config.load(overrides={{'state_dir': {str(state_dir)!r}, 'stack.port_offset': {offset}}})\n"
        "with terminate_as_interrupt(): Stack(config, print).up(['kafka', 'jobmanager'])\n"
    )
    caller = subprocess.Popen(
        [sys.executable, "-c", script], cwd=project_root(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    interrupted = make_stack(state_dir, **{"stack.port_offset": offset})
    wait_until(lambda: len(interrupted.processes.names()) == 2, 60, "both components are being started")
    caller.terminate()
    _, errors = caller.communicate(timeout=60)
    assert b"KeyboardInterrupt" in errors
    assert our_processes(interrupted) == []
    assert not interrupted.config.endpoints_file.exists()


def test_down_ends_orphans_and_refuses_to_touch_a_recycled_pid(tmp_path: Path) -> None:
    processes = Processes(tmp_path, tmp_path / "logs")
    # The shell starts a child in the background and is killed: the child is an orphan that ignores SIGTERM.
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    command = ("/bin/sh", "-c", f"{sys.executable} -c '{child}' & wait")
    processes.spawn(Spec("worker", command, ready=lambda: True))
    shell = processes.find("worker")
    assert shell is not None
    wait_until(lambda: len(shell.children()) == 1, 10, "the child runs")
    orphan = shell.children()[0]
    processes.kill("worker")
    assert processes.find("worker") is None
    assert orphan.is_running()
    processes.stop("worker", timeout_s=1.0)
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE

    innocent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        record = {"pid": innocent.pid, "started": psutil.Process(innocent.pid).create_time(), "note": ""}
        (tmp_path / "processes" / "worker.json").write_text(json.dumps(record))
        assert processes.find("worker") is None
        processes.stop("worker", timeout_s=1.0)
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()


def test_a_component_that_fails_to_start_shows_its_last_words(tmp_path: Path) -> None:
    broken = make_stack(tmp_path / "broken", **{"stack.registry_heap_mb": 1, "stack.start_timeout_s": 60})
    with pytest.raises(StackError, match=r"registry ended while it was starting\.\n--- the end of .*registry\.out"):
        broken.up(["registry"])
    assert our_processes(broken) == []


def test_an_unknown_component_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"there is no component zookeeper; there are kafka, registry, .*flink"):
        make_stack(tmp_path / "unknown").up(["zookeeper"])


def test_two_processes_that_search_at_once_find_different_ports(tmp_path: Path) -> None:
    code = (
        "from infra.stack import free_port_offset; from jobs.config import Config; import sys\n"
        "print(free_port_offset(Config.load(), start=2600), flush=True); sys.stdin.read()"
    )
    searching = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=project_root(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    try:
        # None has opened a port when the last one searches.
        offsets = [int(process.stdout.readline()) for process in searching if process.stdout]
    finally:
        for process in searching:
            process.communicate()
    assert len(set(offsets)) == len(searching)
    # What has ended keeps nothing.
    assert free_port_offset(Config.load(overrides={"state_dir": tmp_path}), start=2600) <= min(offsets)


def test_port_is_free_tells_a_listening_port() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert not port_is_free(port)
    assert port_is_free(port)


def test_down_leaves_no_process_and_up_finds_the_data_again(stack: Stack) -> None:
    """Last in the module, because it restarts the stack."""
    registered = registry(stack, "/subjects/stack-last-value/versions", {"schema": SCHEMA.replace("Probe", "Last")})[
        "id"
    ]
    secret = password_file(stack.config, "default").read_text()
    stack.down()
    assert our_processes(stack) == []
    assert not stack.config.endpoints_file.exists()
    assert {row.state for row in stack.status()} == {"stopped"}
    stack.up(["registry", "clickhouse"])
    assert "Last" in registry(stack, f"/schemas/ids/{registered}")["schema"]
    assert password_file(stack.config, "default").read_text() == secret
