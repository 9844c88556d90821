"""How each component of the local stack is run and probed. What it needs on disk is made by infra/stack_files.py."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
import site
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import confluent_kafka.admin
from confluent_kafka import KafkaException

from infra import prometheus
from infra.artifacts import Artifacts
from infra.processes import Processes, Spec, StackError, port_is_free
from jobs.config import Config, project_root

# Java 17 seals these packages; Flink's serializers and the Python bridge reflect into them (Flink's own config.yaml).
_JAVA_BASE = (
    "java.lang java.lang.reflect java.net java.io java.nio java.text java.time java.util java.util.concurrent "
    "java.util.concurrent.atomic java.util.concurrent.locks sun.nio.ch"
)
FLINK_MODULE_OPTIONS = (
    "--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED",
    *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _JAVA_BASE.split()),
)


def java(config: Config) -> str:
    """The java executable to run, Java 17 or later. Raises StackError when there is none."""
    home = config.stack.java_home
    found = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if found is None or not os.access(found, os.X_OK):
        where = f"in stack.java_home ({home})" if home else "on the PATH"
        raise StackError(
            f"there is no java {where}: install a JDK 17 or later (Debian: sudo apt install openjdk-17-jdk-headless; "
            "macOS: brew install openjdk@17) or set JAVA_HOME"
        )
    return found


def flink_home() -> Path:
    """Flink's distribution inside the installed apache-flink package."""
    package = importlib.util.find_spec("pyflink")
    if package is None or package.origin is None:
        raise StackError("the Python package apache-flink is not installed: run ./infra/demo or ./infra/test once")
    return Path(package.origin).parent


def flink_client_environment(config: Config) -> dict[str, str]:
    """Variables with which PyFlink's client and the `flink` script speak to the local cluster with its jars."""
    folder = config.state_dir / "flink"
    home = flink_home()
    return {
        "FLINK_CONF_DIR": str(folder / "conf"),
        "FLINK_LIB_DIR": str(folder / "lib"),
        "FLINK_OPT_DIR": str(home / "opt"),
        "FLINK_PLUGINS_DIR": str(home / "plugins"),
        "FLINK_LOG_DIR": str(config.log_dir),
        "FLINK_HOME": str(home),
    }


# ---------------------------------------------------------------------------------------------------------- Kafka


LATE_OPTIMIZATION: Final = (
    "-XX:Tier4InvocationThreshold=50000",
    "-XX:Tier4MinInvocationThreshold=6000",
    "-XX:Tier4CompileThreshold=150000",
    "-XX:Tier4BackEdgeThreshold=400000",
)
"""Ten times Java's thresholds for its optimizing compiler (C2). At the usual ones a TaskManager's is busy for half a minute with
what only starts a job, class loading, Janino and Java's serialization, while what each record goes through waits in its queue."""


def kafka(config: Config, artifacts: Artifacts) -> Spec:
    """One KRaft node."""
    folder = config.state_dir / "kafka"
    port = config.stack.port("kafka")
    return Spec(
        name="kafka",
        command=(
            java(config),
            f"-Xms{config.stack.kafka_heap_mb // 2}m",
            f"-Xmx{config.stack.kafka_heap_mb}m",
            # Requests die young too: G1 stopped the broker for 10 ms where this takes 3.
            "-XX:+UseParallelGC",
            *LATE_OPTIMIZATION,
            "-XX:+ExitOnOutOfMemoryError",
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={(folder / 'log4j2.properties').as_uri()}",
            "-cp",
            f"{artifacts.kafka_jars}{os.sep}*",
            "kafka.Kafka",
            str(folder / "server.properties"),
        ),
        ready=lambda: _kafka_answers(port),
        ports={"stack.kafka_port": port, "stack.kafka_controller_port": config.stack.port("kafka_controller")},
        url=f"127.0.0.1:{port}",
        stop_timeout_s=30.0,
    )


def _kafka_answers(port: int) -> bool:
    """Whether the broker lists its metadata; asked when it listens only, because the client waits long otherwise."""
    if port_is_free(port):
        return False
    settings: dict[str, str | int | float | bool] = {"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0}
    try:
        brokers = confluent_kafka.admin.AdminClient(settings).list_topics(timeout=2.0).brokers
    except KafkaException:
        return False
    return len(brokers) > 0


# ------------------------------------------------------------------------------------------------------- registry


def registry(config: Config, artifacts: Artifacts) -> Spec:
    """Apicurio Registry over an H2 file database, which keeps its ids through restarts and kills."""
    folder = config.state_dir / "registry"
    port = config.stack.port("registry")
    environment = {
        "APICURIO_STORAGE_KIND": "sql",
        "APICURIO_STORAGE_SQL_KIND": "h2",
        # WRITE_DELAY=0 syncs at each commit: an id that a producer was told must never be given out again.
        "APICURIO_DATASOURCE_URL": f"jdbc:h2:file:{folder / 'db'};WRITE_DELAY=0;DB_CLOSE_ON_EXIT=FALSE",
        "APICURIO_DATASOURCE_USERNAME": "sa",
        "APICURIO_DATASOURCE_PASSWORD": "sa",
        "QUARKUS_HTTP_HOST": "127.0.0.1",
        "QUARKUS_HTTP_PORT": str(port),
        "QUARKUS_HTTP_ACCESS_LOG_ENABLED": "false",
        "QUARKUS_BANNER_ENABLED": "false",
        "QUARKUS_LOG_CONSOLE_LEVEL": "WARN",
        "QUARKUS_LOG_FILE_ENABLE": "true",
        "QUARKUS_LOG_FILE_JSON": "false",
        "QUARKUS_LOG_FILE_PATH": str(config.log_dir / "registry.log"),
        "QUARKUS_LOG_FILE_ROTATION_MAX_FILE_SIZE": "8M",
        "QUARKUS_LOG_FILE_ROTATION_MAX_BACKUP_INDEX": "2",
    }
    url = f"http://127.0.0.1:{port}"
    return Spec(
        name="registry",
        command=(
            java(config),
            "-Xms64m",
            f"-Xmx{config.stack.registry_heap_mb}m",
            "-XX:+UseSerialGC",
            # A registry answers a few hundred requests in its life: the first compiler's code is enough.
            "-XX:TieredStopAtLevel=1",
            "-XX:+ExitOnOutOfMemoryError",
            "-jar",
            str(artifacts.registry_jar),
        ),
        environment=environment,
        ready=lambda: http_get(f"{url}/health/ready") is not None and _lists_subjects(url),
        ports={"stack.registry_port": port},
        url=f"{url}/apis/ccompat/v7",
    )


def _lists_subjects(url: str) -> bool:
    return http_get(f"{url}/apis/ccompat/v7/subjects") is not None


# ---------------------------------------------------------------------------------------------------------- Flink


def jobmanager(config: Config) -> Spec:
    """Flink's session cluster: dispatcher, resource manager, REST API and web UI."""
    heap = config.stack.jobmanager_heap_mb
    port = config.stack.port("flink_rest")
    url = f"http://127.0.0.1:{port}"
    metrics_port, metrics = _metrics(config)
    return Spec(
        name="jobmanager",
        command=_flink_command(
            config,
            "jobmanager",
            "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint",
            (
                f"-Xms{heap // 2}m",
                f"-Xmx{heap}m",
                "-XX:MaxMetaspaceSize=320m",
                "-XX:+UseSerialGC",
                # What it runs, it runs a few times: plans of jobs and counts of checkpoints are not worth a second compiler.
                "-XX:TieredStopAtLevel=1",
            ),
            metrics,
        ),
        environment=_flink_environment(config),
        ready=lambda: http_get(f"{url}/overview") is not None,
        ports={
            "stack.flink_rest_port": port,
            "stack.flink_rpc_port": config.stack.port("flink_rpc"),
            "stack.flink_blob_port": config.stack.port("flink_blob"),
        },
        url=url,
        metrics_port=metrics_port,
    )


def taskmanager(config: Config, name: str, processes: Processes) -> Spec:
    """A TaskManager with one slot. Its Python code runs in the JVM itself (thread mode) or in children of it.

    Each start has a resource id of its own, so that the probe does not take the JobManager's memory of a killed
    TaskManager for the new one.
    """
    heap = config.stack.taskmanager_heap_mb
    resource_id = f"{name}-{secrets.token_hex(4)}"
    url = f"http://127.0.0.1:{config.stack.port('flink_rest')}"
    metrics_port, metrics = _metrics(config)

    def registered() -> bool:
        return processes.note(name) in registered_taskmanagers(url)

    return Spec(
        name=name,
        command=_flink_command(
            config,
            name,
            "org.apache.flink.runtime.taskexecutor.TaskManagerRunner",
            (
                f"-Xms{heap // 2}m",
                f"-Xmx{heap}m",
                "-XX:MaxDirectMemorySize=512m",
                "-XX:MaxMetaspaceSize=320m",
                # Rows die young. G1 costs an order 7 us of CPU more here: its collections, and what it adds to each write.
                "-XX:+UseParallelGC",
                *LATE_OPTIMIZATION,
            ),
            {"taskmanager.resource-id": resource_id, **metrics},
        ),
        environment=_flink_environment(config),
        ready=registered,
        note=resource_id,
        metrics_port=metrics_port,
    )


def _metrics(config: Config) -> tuple[int, dict[str, str]]:
    """A port for a process's metrics and the option that sets it; 0 and none without monitoring."""
    if not config.stack.monitoring:
        return 0, {}
    port = prometheus.free_port()
    return port, {"metrics.reporter.prometheus.port": str(port)}


def registered_taskmanagers(rest_url: str) -> set[str]:
    """The resource ids of the TaskManagers whose slot the JobManager knows; empty when it does not answer."""
    body = http_get(f"{rest_url}/taskmanagers")
    entries = [] if body is None else json.loads(body)["taskmanagers"]
    return {str(entry["id"]) for entry in entries if entry["slotsNumber"] > 0}


def _flink_command(
    config: Config, name: str, main: str, options: tuple[str, ...], dynamic: Mapping[str, str]
) -> tuple[str, ...]:
    """The JVM that Flink's scripts would start, without the two helper JVMs that they run first to compute this."""
    folder = config.state_dir / "flink"
    log4j = (folder / "conf" / "log4j.properties").as_uri()
    return (
        java(config),
        *options,
        "-XX:+ExitOnOutOfMemoryError",
        "-Djava.awt.headless=true",
        *FLINK_MODULE_OPTIONS,
        f"-Dlog.file={config.log_dir / f'{name}.log'}",
        f"-Dlog4j.configurationFile={log4j}",
        "-cp",
        f"{folder / 'lib'}{os.sep}*",
        main,
        "--configDir",
        str(folder / "conf"),
        *(item for key, value in dynamic.items() for item in ("-D", f"{key}={value}")),
    )


def _flink_environment(config: Config) -> dict[str, str]:
    """Flink's folders, and the Python path: in thread mode the interpreter in the JVM knows no virtual environment."""
    packages = [path for path in site.getsitepackages() if Path(path).is_dir()]
    bin_folder = Path(config.flink.python_executable or sys.executable).parent
    return {
        **flink_client_environment(config),
        "PYTHONPATH": os.pathsep.join([str(project_root()), *packages]),
        "PATH": os.pathsep.join([str(bin_folder), os.defpath, str(Path(java(config)).parent)]),
        # One arena per thread would multiply the native memory that Python and RocksDB never give back.
        "MALLOC_ARENA_MAX": "2",
    }


# ----------------------------------------------------------------------------------------------------- ClickHouse


def clickhouse(config: Config) -> Spec:
    """The ClickHouse engine behind our HTTP gateway."""
    folder = config.state_dir / "clickhouse"
    port = config.stack.port("clickhouse")
    url = f"http://127.0.0.1:{port}"
    return Spec(
        name="clickhouse",
        command=(
            sys.executable,
            "-m",
            "infra.clickhouse_gateway",
            "--path",
            str(folder / "data"),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--users",
            str(folder / "users.toml"),
            "--log",
            str(config.log_dir / "clickhouse.log"),
        ),
        environment={"PYTHONPATH": str(project_root()), "PYTHONUNBUFFERED": "1"},
        ready=lambda: (http_get(f"{url}/ping") or "").startswith("Ok"),
        ports={"stack.clickhouse_port": port},
        url=url,
        stop_timeout_s=30.0,
    )


def http_get(url: str, timeout_s: float = 3.0) -> str | None:
    """The body of a successful GET on loopback, proxies aside, or None."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout_s) as response:
            body: bytes = response.read()
    except (urllib.error.URLError, OSError, ValueError):
        return None
    return body.decode("utf-8", "replace")
