"""What the local stack's components need on disk before they start: configuration, formatted folders, passwords."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from pathlib import Path

from infra import prometheus
from infra.artifacts import Artifacts
from infra.processes import StackError
from infra.stack_specs import FLINK_MODULE_OPTIONS, flink_home, java
from jobs.config import Config

CLICKHOUSE_ROLES = {"default": "admin", "writer": "writer", "analyst": "readonly", "auditor": "readonly"}
AUDITOR_TABLES = ("audit_records", "audit_roots", "controls", "schema_migrations")
"""All that the user auditor reads, as sql/clickhouse/roles grants it on a server."""


def prepare(name: str, config: Config, artifacts: Artifacts) -> None:
    """Make what the component `name` needs. Safe to repeat; data is never touched. Raises StackError."""
    if name == "kafka":
        _prepare_kafka(config, artifacts)
    elif name == "registry":
        (config.state_dir / "registry").mkdir(parents=True, exist_ok=True)
    elif name == "clickhouse":
        write_users(config)
    elif name == prometheus.NAME:
        write_if_changed(config.state_dir / name / "prometheus.yml", prometheus.configuration(config))
    else:
        _prepare_flink(config, artifacts)
        # A fixed resource id makes Flink keep its working folder; ours is new at each start, so the old ones are waste.
        for leftover in (config.state_dir / "flink" / "tmp").glob(f"tm_{name}-*"):
            shutil.rmtree(leftover, ignore_errors=True)


def _prepare_kafka(config: Config, artifacts: Artifacts) -> None:
    """Write Kafka's files and give a new data folder its cluster id."""
    folder = config.state_dir / "kafka"
    properties, log4j = folder / "server.properties", folder / "log4j2.properties"
    write_if_changed(properties, kafka_properties(config, folder / "data"))
    write_if_changed(log4j, kafka_log4j(config.log_dir / "kafka.log"))
    if (folder / "data" / "meta.properties").is_file():
        return
    # What an interrupted attempt left would be refused.
    shutil.rmtree(folder / "data", ignore_errors=True)
    classpath = f"{artifacts.kafka_jars}{os.sep}*"
    command = [java(config), "-Xmx256m", f"-Dlog4j2.configurationFile={log4j.as_uri()}", "-cp", classpath]
    # Kafka's cluster id is 16 random bytes in URL-safe Base64; one that begins with a dash would look like an option.
    command += [
        "kafka.tools.StorageTool",
        "format",
        f"--cluster-id={secrets.token_urlsafe(16)}",
        f"--config={properties}",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False, start_new_session=True)
    if result.returncode != 0:
        raise StackError(f"kafka: its data folder cannot be formatted: {(result.stderr or result.stdout).strip()}")


def _prepare_flink(config: Config, artifacts: Artifacts) -> None:
    """Write Flink's configuration and link its jars, the connector and the Python bridge into one lib folder.

    The bridge must be in lib, not shipped with each job: its native library can be loaded by one class loader only.
    """
    folder = config.state_dir / "flink"
    write_if_changed(folder / "conf" / "config.yaml", flink_config(config, FLINK_MODULE_OPTIONS))
    for name in ("log4j.properties", "log4j-cli.properties", "log4j-console.properties"):
        write_if_changed(folder / "conf" / name, rolling_log4j("${sys:log.file}"))
    for name in ("checkpoints", "savepoints", "web", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    home = flink_home()
    jars = [*(home / "lib").glob("*.jar"), *(home / "opt").glob("flink-python-*.jar")]
    jars += artifacts.flink_connectors.glob("*.jar")
    # The connector can read zstd only with this library beside it; Flink itself brings those of lz4 and snappy.
    jars += artifacts.kafka_jars.glob("zstd-jni-*.jar")
    wanted = {jar.name: jar for jar in jars}
    lib = folder / "lib"
    lib.mkdir(parents=True, exist_ok=True)
    for link in lib.iterdir():
        if link.name not in wanted or link.resolve() != wanted[link.name].resolve():
            link.unlink()
    for name, jar in wanted.items():
        if not (lib / name).exists():
            (lib / name).symlink_to(jar)


def password_file(config: Config, user: str) -> Path:
    """Where the generated password of a local ClickHouse user is, readable by its owner only."""
    return config.state_dir / "clickhouse" / "secrets" / user


def write_users(config: Config) -> None:
    """Make the users file of the ClickHouse gateway and a password for each user; passwords that exist are kept."""
    lines = []
    for user, role in CLICKHOUSE_ROLES.items():
        secret = password_file(config, user)
        secret.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not secret.is_file():
            write_private(secret, secrets.token_urlsafe(24))
        lines += ["[[user]]", f'name = "{user}"', f'role = "{role}"', f'password_file = "secrets/{user}"']
        if user == "auditor":
            lines.append(
                f"tables = {json.dumps([f'{config.clickhouse.database}.{table}' for table in AUDITOR_TABLES])}"
            )
        lines.append("")
    write_private(config.state_dir / "clickhouse" / "users.toml", "\n".join(lines))


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read, never for a moment with wider permissions."""
    temporary = file.with_name(f"{file.name}.tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    temporary.replace(file)


def write_if_changed(file: Path, text: str) -> None:
    """Write a generated file, leaving an identical one alone."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")


def kafka_properties(config: Config, data: Path) -> str:
    """server.properties of a single KRaft node: broker and controller in one process, replication 1 everywhere."""
    broker, controller = config.stack.port("kafka"), config.stack.port("kafka_controller")
    settings: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listeners": f"PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{broker}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": data,
        "auto.create.topics.enable": "false",
        "num.partitions": 1,
        "default.replication.factor": 1,
        "min.insync.replicas": 1,
        "offsets.topic.num.partitions": 4,
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        # Flink's sinks ask for up to an hour, so that a long outage does not abort what a checkpoint has sealed.
        "transaction.max.timeout.ms": 3_600_000,
        # Each checkpoint's transaction has a producer of its own, which is done with a second later. Kafka keeps them for a day,
        # 0.3 GB of heap; one whose transaction is open is kept in any case.
        "producer.id.expiration.ms": 3_600_000,
        "share.coordinator.state.topic.num.partitions": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        # Where the topic catalogue does not say otherwise.
        "log.retention.hours": 168,
        "log.segment.bytes": 256 * 2**20,
        "log.cleaner.dedupe.buffer.size": 16 * 2**20,
        # Each request changes thread twice, and small ones are what short windows make: a tenth less CPU than with 3 and 4.
        "num.network.threads": 1,
        "num.io.threads": 2,
        "num.recovery.threads.per.data.dir": 2,
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def kafka_log4j(log_file: Path) -> str:
    """Log4j for Kafka: as `rolling_log4j`, without the broker's line for each segment, index and state change."""
    return rolling_log4j(str(log_file)) + (
        "logger.state.name = state.change.logger\n"
        "logger.state.level = WARN\n"
        "logger.log.name = org.apache.kafka.storage.internals.log\n"
        "logger.log.level = WARN\n"
    )


def rolling_log4j(log_file: str) -> str:
    """A Log4j configuration that keeps at most 60 MB of a component's log."""
    return (
        "rootLogger.level = INFO\n"
        "rootLogger.appenderRef.rolling.ref = Rolling\n"
        "appender.rolling.name = Rolling\n"
        "appender.rolling.type = RollingFile\n"
        f"appender.rolling.fileName = {log_file}\n"
        f"appender.rolling.filePattern = {log_file}.%i\n"
        "appender.rolling.layout.type = PatternLayout\n"
        "appender.rolling.layout.pattern = %d{yyyy-MM-dd HH:mm:ss,SSS} %-5p %-50.50c - %m%n\n"
        "appender.rolling.policies.type = Policies\n"
        "appender.rolling.policies.size.type = SizeBasedTriggeringPolicy\n"
        "appender.rolling.policies.size.size = 20MB\n"
        "appender.rolling.strategy.type = DefaultRolloverStrategy\n"
        "appender.rolling.strategy.max = 2\n"
    )


def flink_config(config: Config, module_options: tuple[str, ...]) -> str:
    """config.yaml of the session cluster: everything on loopback, durable checkpoints, bounded restarts."""
    folder = config.state_dir / "flink"
    python = config.flink.python_executable
    settings: dict[str, object] = {
        "jobmanager.rpc.address": "127.0.0.1",
        "jobmanager.rpc.port": config.stack.port("flink_rpc"),
        "jobmanager.bind-host": "127.0.0.1",
        "blob.server.port": config.stack.port("flink_blob"),
        "blob.storage.directory": str(folder / "tmp"),
        "rest.address": "127.0.0.1",
        "rest.bind-address": "127.0.0.1",
        "rest.port": config.stack.port("flink_rest"),
        "rest.bind-port": config.stack.port("flink_rest"),
        "web.upload.dir": str(folder / "web"),
        "web.tmpdir": str(folder / "web"),
        "io.tmp.dirs": str(folder / "tmp"),
        "taskmanager.host": "127.0.0.1",
        "taskmanager.bind-host": "127.0.0.1",
        "taskmanager.numberOfTaskSlots": 1,
        "parallelism.default": config.flink.parallelism,
        # A killed TaskManager is noticed by its closed connection within two heartbeats; a slow one, on a machine
        # that is busy with all of this, is left alone for half a minute.
        "heartbeat.interval": "2 s",
        "heartbeat.timeout": "30 s",
        # By default a process ends when its actor system needs more than ten seconds, which a busy machine gives it.
        "pekko.startup-timeout": "60 s",
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": "500 ms",
        "restart-strategy.exponential-delay.max-backoff": "10 s",
        "restart-strategy.exponential-delay.reset-backoff-threshold": "2 min",
        "restart-strategy.exponential-delay.attempts-before-reset-backoff": 8,
        "state.backend.type": "hashmap",
        "execution.checkpointing.storage": "filesystem",
        "execution.checkpointing.dir": config.flink.checkpoint_dir,
        "execution.checkpointing.savepoint-dir": config.flink.savepoint_dir,
        "execution.checkpointing.num-retained": 3,
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "python.executable": python,
        "python.client.executable": python,
        "python.execution-mode": config.flink.execution_mode,
        **(prometheus.flink_settings() if config.stack.monitoring else {}),
        **_taskmanager_memory(config.stack.taskmanager_heap_mb),
        "env.java.opts.all": " ".join(module_options),
        "env.log.dir": str(config.log_dir),
    }
    # JSON's strings and numbers are YAML's.
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items())


def _taskmanager_memory(heap_mb: int) -> dict[str, object]:
    """Every pool in figures, because we start the JVM ourselves; state is on the heap, so managed memory is small."""
    return {
        "taskmanager.cpu.cores": 1.0,
        "taskmanager.memory.framework.heap.size": "128m",
        "taskmanager.memory.task.heap.size": f"{heap_mb - 128}m",
        "taskmanager.memory.framework.off-heap.size": "128m",
        "taskmanager.memory.task.off-heap.size": "256m",
        "taskmanager.memory.network.min": "128m",
        "taskmanager.memory.network.max": "128m",
        "taskmanager.memory.managed.size": "128m",
        "taskmanager.memory.jvm-metaspace.size": "320m",
        "taskmanager.memory.jvm-overhead.min": "192m",
        "taskmanager.memory.jvm-overhead.max": "192m",
    }
