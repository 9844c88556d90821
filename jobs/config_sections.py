"""The sections of the configuration, with their defaults. `jobs.config` fills them; nothing here reads anything."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from jobs.config_kafka import NO_SECRET, Secret, kafka_confluent, kafka_flink_sql, kafka_python

__all__ = ["ClickHouseConfig", "FlinkConfig", "KafkaConfig", "RegistryConfig", "Secret", "StackConfig"]


@dataclass(frozen=True, slots=True)
class KafkaConfig:
    """How to reach Kafka; the methods translate it for each client library."""

    bootstrap: str = ""
    """Comma-separated host:port list. Default: the local stack's broker."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = ""
    sasl_username: str = ""
    sasl_password: Secret = NO_SECRET
    ssl_cafile: str = ""
    """PEM file of the certificate authorities to trust; empty: those of the system."""
    ssl_certfile: str = ""
    ssl_keyfile: str = ""
    """PEM client certificate and its unencrypted PKCS#8 key, for mutual TLS."""

    def kafka_python(self) -> dict[str, Any]:
        """Keyword arguments of kafka-python's clients."""
        return kafka_python(self)

    def confluent(self) -> dict[str, str]:
        """Settings of confluent-kafka's clients."""
        return kafka_confluent(self)

    def flink_sql(self) -> dict[str, str]:
        """Options of the Flink SQL Kafka connector (``properties.*``), secrets included: do not log them."""
        return kafka_flink_sql(self)


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """The schema registry's Confluent-compatible API."""

    url: str = ""
    """Base URL up to, not including, ``/subjects``. Default: the local stack's registry."""
    username: str = ""
    password: Secret = NO_SECRET

    @property
    def credentials(self) -> tuple[str, str] | None:
        """User and password, for a registry that asks for them."""
        return (self.username, self.password.reveal()) if self.username else None


@dataclass(frozen=True, slots=True)
class FlinkConfig:
    """The Flink cluster and what jobs ask of it."""

    rest_url: str = ""
    parallelism: int = 1
    checkpoint_interval_ms: int = 1_000
    transaction_timeout_ms: int = 900_000
    """How long an exactly-once sink's transaction may stay open: longer than any outage and the restart after it, or what was
    checkpointed is lost. Brokers allow 15 minutes by default (transaction.max.timeout.ms)."""
    checkpoint_dir: str = ""
    """URI that JobManager and TaskManagers can write. Default: a folder of the state directory."""
    savepoint_dir: str = ""
    journal_bytes: int = 4 * 1024 * 1024
    """How many bytes of a shard's last inputs are kept to be applied again after a restart, before its state is written whole. 0:
    none, its state is written after each batch: slow, to leave a state that a release with other rules takes over."""
    delivery: Literal["exactly-once", "at-least-once"] = "exactly-once"
    """How jobs write to Kafka; at least once repeats records after a failure, and is there to be compared with."""
    execution_mode: Literal["thread", "process"] = "thread"
    """How Python runs. PyFlink keeps state under other names in each mode, so that a job resumes only in the one it had."""
    shard_keys: Literal["even", "first"] = "even"
    """Which keys stand for shards in Flink. first: those of releases that spread shards unevenly over TaskManagers (of 8 shards 6
    and 2); a job that resumes from a state of theirs needs it."""
    python_executable: str = ""
    """Interpreter on the TaskManagers (process mode). Default: the one that runs this command."""


@dataclass(frozen=True, slots=True)
class ClickHouseConfig:
    """ClickHouse over HTTP: the local gateway or a real server."""

    url: str = ""
    username: str = "default"
    password: Secret = NO_SECRET
    database: str = "default"


@dataclass(frozen=True, slots=True)
class MarketDataConfig:
    """The market_data job. Shards bound its parallelism and are fixed for the life of its state."""

    symbol_shards: int = 8
    window_ms: int = 10
    """How long records are gathered for one call of Python: longer is faster under load, shorter is quicker to answer."""
    max_price: int = 1_000_000
    """Prices above it, in the currency, are absurd, and their records refused; so are sizes above `max_size`."""
    max_size: int = 100_000_000
    max_spread_bps: int = 500
    """An exchange whose own quote is wider, in 1/10,000 of the price, does not set the best bid and offer."""
    late_after_s: int = 60
    """A record that is older by more than the one before it in its feed is refused."""
    stale_after_s: int = 600
    """A quote that was not confirmed for longer does not count."""
    silent_after_s: int = 600
    """A source that says nothing about a symbol for longer, while others do, is told to be stale."""
    crossed_after_ms: int = 1_000
    """While exchanges cross each other, the older quote does not count when it is older than this."""
    depth_levels: int = 10
    """Prices of each side that are published of an exchange's book, at most 64."""
    trades_kept: int = 65_536
    """Trades of a shard that can still be corrected or taken back."""


@dataclass(frozen=True, slots=True)
class TradingConfig:
    """The trading job. Shards bound its parallelism and are fixed for the life of its state."""

    account_shards: int = 8
    symbol_shards: int = 8
    window_ms: int = 10
    """How long records are gathered for one call of Python: longer is faster under load, shorter is quicker to answer.
    0: one call per record, many times slower; a job cannot change to it or from it with its state."""
    separate_stages: bool = False
    """Whether the risk and the match stage run in TaskManagers of their own, with an interpreter each, and the match stage's sink
    in a thread of its own: a quarter faster under load, and twice as many slots."""
    inputs: Literal["apart", "joined"] = "apart"
    """joined: one source and one window for all inputs of a stage but orders and quotes: half as many tasks, from which short
    windows and frequent checkpoints gain. Fixed for the life of the state."""
    gather_frames: bool = True
    """Whether the match stage gathers what the risk stage hands on for one more window. False is quicker by that window, and
    makes a batch of each: for one shard of accounts, or few. Fixed for the life of the state."""
    outcomes_ms: int = 100
    """How long the match stage sums up what became of orders before it tells the risk stage, which hears of it at the next
    checkpoint anyway. 0: after each batch, a record for every few orders of a short window."""
    reference_price_window_ms: int = 250
    """How often the risk stage learns the last NBBO of a symbol, which market orders are reserved at."""

    def slots(self, subtasks: int) -> int:
        """Slots that the job takes with so many subtasks of each operator."""
        return subtasks * (2 if self.separate_stages else 1)


@dataclass(frozen=True, slots=True)
class AnalyticsConfig:
    """The analytics job. All but `window_ms` are fixed for the life of its state."""

    symbol_shards: int = 8
    window_ms: int = 20
    """How long records are gathered for one call of Python: longer is faster under load, shorter is quicker to answer."""
    out_of_order_ms: int = 1_000
    """A bar is given when the newest time of its partition is so far past its end."""
    lateness_s: int = 300
    """How long after that late trades still correct it, at most 300."""
    idle_s: int = 60
    """Bars of a partition that is silent are given when all others are so far past their end; 0 waits for it."""
    indicators: str = "sma:20,ema:20,rsi:14,atr:14,bbands:20:2,macd:12:26:9,rvol:20,relvol:20"
    """Of the bars of 5 and 15 minutes and an hour, written as for `tradestream indicators`; one of a kind and period."""


@dataclass(frozen=True, slots=True)
class AuditConfig:
    """The audit job. `shards` is fixed for the life of its state."""

    shards: int = 8
    window_ms: int = 200
    """How long records are gathered for one call of Python."""
    block_records: int = 1_000
    """Links of a chain between two Merkle roots; a new UTC day begins another block all the same."""
    hash_only: str = "raw-feed,market-data,nbbo,market-depth,prices,market-analytics,order-outcomes"
    """Topics of whose records the trail keeps only the hash, joined by commas; of all others it keeps every byte."""


@dataclass(frozen=True, slots=True)
class StackConfig:
    """The local stack. Ports are moved together by `port_offset`, so that a second checkout runs beside the first."""

    port_offset: int = 0
    kafka_port: int = 28_092
    kafka_controller_port: int = 28_093
    registry_port: int = 28_081
    flink_rest_port: int = 28_181
    flink_rpc_port: int = 28_123
    flink_blob_port: int = 28_124
    clickhouse_port: int = 28_223
    prometheus_port: int = 28_335
    monitoring: bool = False
    """Run a Prometheus beside the stack (`stack up --monitoring`), and have Flink's processes serve their metrics."""
    taskmanagers: int = 2
    """One-slot TaskManagers that `stack up` starts: one slot runs one parallel instance of one job."""
    kafka_heap_mb: int = 768
    registry_heap_mb: int = 320
    jobmanager_heap_mb: int = 640
    taskmanager_heap_mb: int = 896
    start_timeout_s: int = 180
    """How long a component may take until it answers, on a slow and busy machine."""
    cache_dir: str = ""
    """Where downloaded artifacts live, shared by all checkouts. Default: ``$XDG_CACHE_HOME/tradestream``."""
    java_home: str = ""
    """JDK 17 or later. Default: ``$JAVA_HOME``, else ``java`` on the PATH."""

    def port(self, name: str) -> int:
        """The effective port of ``kafka``, ``kafka_controller``, ``registry``, ``flink_rest`` ..., offset included."""
        return int(getattr(self, f"{name}_port")) + self.port_offset

    def port_names(self) -> tuple[str, ...]:
        """The names that `port` knows."""
        return tuple(f.name.removesuffix("_port") for f in dataclasses.fields(self) if f.name.endswith("_port"))
