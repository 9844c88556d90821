"""The topic catalogue: every topic, its schema, its settings in both profiles, who writes and who reads it.

`local` is the embedded stack (one broker, few partitions), `production` a cluster of three brokers or more. Code names
topics by this catalogue only; a prefix for a shared cluster is a matter of configuration, not of this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

AVRO: Final = Path(__file__).resolve().parent / "avro"
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
YEAR_MS: Final = 365 * DAY_MS
FOR_EVER: Final = -1
KIBIBYTE: Final = 1024
DEFAULT_MESSAGE_BYTES: Final = 1024 * KIBIBYTE + 4 * KIBIBYTE
"""A frame of the codec's default limit, 1 MiB, and what Kafka puts around it."""

Profile = Literal["local", "production"]
Cleanup = Literal["delete", "compact", "compact,delete"]
Compression = Literal["lz4", "snappy", "zstd"]


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic.

    retention_ms: how long records are kept, FOR_EVER for no limit; with `compact` alone it does not apply.
    key: what the Kafka key holds, as UTF-8 text.
    producers, consumers: job names; `outside` stands for clients and loaders that are no job.
    internal: feedback within one job, of no meaning to others.
    at_least_once: last-value data that is read uncommitted; every other topic is written in transactions.
    """

    name: str
    record: str
    key: str
    partitions_local: int
    partitions_production: int
    retention_ms: int
    compression: Compression
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    cleanup: Cleanup = "delete"
    internal: bool = False
    at_least_once: bool = False
    max_message_bytes: int = DEFAULT_MESSAGE_BYTES

    @property
    def subject(self) -> str:
        """Subject of the schema registry."""
        return f"{self.name}-value"

    @property
    def schema_file(self) -> Path:
        """The Avro schema."""
        return AVRO / f"{self.name}.avsc"

    @property
    def module(self) -> str:
        """Import path of the generated module with encode, decode, to_dict and from_dict."""
        return f"schemas.messages.{self.name.replace('-', '_')}"

    @property
    def message(self) -> str:
        """Import path of the generated class."""
        return f"{self.module}.{self.record}"

    def partitions(self, profile: Profile) -> int:
        """Return the number of partitions."""
        return self.partitions_local if profile == "local" else self.partitions_production

    def replication(self, profile: Profile) -> int:
        """Return the replication factor."""
        return 1 if profile == "local" else 3

    def settings(self, profile: Profile) -> dict[str, str]:
        """Return the topic's Kafka configuration, as the admin API takes it."""
        return {
            "cleanup.policy": self.cleanup,
            "retention.ms": str(self.retention_ms),
            "compression.type": self.compression,
            "max.message.bytes": str(self.max_message_bytes),
            "min.insync.replicas": "1" if profile == "local" else "2",
        }


_ORDER_READERS: Final = ("surveillance", "archive", "reports")

_ALL: Final = (
    Topic("raw-feed", "RawFeedRecord", "symbol", 4, 100, DAY_MS, "lz4", ("outside",), ("market_data", "archive")),
    Topic(
        "market-data",
        "MarketDataEvent",
        "symbol",
        4,
        100,
        DAY_MS,
        "lz4",
        ("market_data",),
        ("analytics", "surveillance", "archive"),
    ),
    Topic(
        "nbbo",
        "Nbbo",
        "symbol",
        4,
        100,
        DAY_MS,
        "lz4",
        ("market_data",),
        ("trading", "analytics", "archive"),
        cleanup="compact,delete",
        at_least_once=True,
    ),
    Topic("orders", "OrderCommand", "accountId", 4, 50, 30 * DAY_MS, "lz4", ("outside",), ("trading", "archive")),
    Topic(
        "reference-data",
        "ReferenceData",
        "account:ID, instrument:SYMBOL, session:YYYY-MM-DD or snapshot-end",
        1,
        1,
        FOR_EVER,
        "zstd",
        ("outside",),
        ("market_data", "trading", "portfolio", "settlement", "archive"),
        cleanup="compact",
    ),
    Topic(
        "controls",
        "Control",
        "target, or * for all",
        1,
        1,
        30 * DAY_MS,
        "lz4",
        ("outside", "market_data"),
        ("trading", "archive"),
    ),
    Topic("order-events", "OrderEvent", "orderId", 4, 50, 30 * DAY_MS, "snappy", ("trading",), _ORDER_READERS),
    Topic(
        "trade-events",
        "TradeExecutedEvent",
        "symbol",
        4,
        50,
        YEAR_MS,
        "snappy",
        ("trading",),
        ("analytics", "portfolio", "settlement", *_ORDER_READERS),
    ),
    Topic("risk-events", "RiskEvent", "accountId", 2, 10, 30 * DAY_MS, "lz4", ("trading",), ("archive",)),
    Topic(
        "routing-decisions",
        "RoutingDecision",
        "orderId",
        4,
        50,
        YEAR_MS,
        "snappy",
        ("trading",),
        ("archive", "reports"),
    ),
    Topic(
        "market-status",
        "MarketStatus",
        "symbol",
        2,
        20,
        YEAR_MS,
        "lz4",
        ("trading",),
        ("analytics", "surveillance", "archive"),
    ),
    Topic(
        "order-outcomes",
        "OrderOutcomes",
        "account shard as text",
        4,
        50,
        DAY_MS,
        "lz4",
        ("trading",),
        ("trading", "archive"),
        internal=True,
        max_message_bytes=8196 * KIBIBYTE,
    ),
    Topic(
        "dead-letter",
        "DeadLetter",
        "source topic",
        2,
        10,
        30 * DAY_MS,
        "zstd",
        ("market_data", "analytics", "trading", "portfolio", "settlement", "surveillance"),
        ("archive",),
        max_message_bytes=8708 * KIBIBYTE,
    ),
    Topic(
        "market-analytics",
        "MarketAnalytics",
        "symbol",
        4,
        20,
        30 * DAY_MS,
        "lz4",
        ("analytics",),
        ("surveillance", "archive"),
    ),
    Topic("alerts", "Alert", "symbol", 2, 10, 30 * DAY_MS, "lz4", ("analytics",), ("archive",)),
    Topic(
        "alert-rules",
        "AlertRule",
        "ruleId",
        1,
        1,
        FOR_EVER,
        "zstd",
        ("outside",),
        ("analytics", "archive"),
        cleanup="compact",
    ),
    Topic(
        "market-depth",
        "MarketDepth",
        "symbol",
        4,
        100,
        DAY_MS,
        "lz4",
        ("market_data", "trading"),
        ("surveillance", "archive"),
        at_least_once=True,
    ),
    Topic(
        "position-events",
        "PositionUpdatedEvent",
        "accountId",
        4,
        20,
        YEAR_MS,
        "snappy",
        ("portfolio",),
        ("archive", "reports"),
    ),
    Topic(
        "portfolio-events",
        "PortfolioEvent",
        "accountId",
        2,
        20,
        YEAR_MS,
        "snappy",
        ("portfolio",),
        ("archive", "reports"),
    ),
    Topic(
        "prices",
        "Price",
        "symbol",
        4,
        50,
        FOR_EVER,
        "lz4",
        ("market_data",),
        ("portfolio", "archive"),
        cleanup="compact",
        at_least_once=True,
    ),
    Topic(
        "corporate-actions",
        "CorporateAction",
        "actionId",
        1,
        1,
        FOR_EVER,
        "zstd",
        ("outside",),
        ("trading", "portfolio", "settlement", "archive"),
        cleanup="compact",
    ),
    Topic(
        "settlement-events",
        "SettlementEvent",
        "obligationId",
        2,
        20,
        YEAR_MS,
        "snappy",
        ("settlement",),
        ("archive", "reports"),
    ),
    Topic(
        "street-files",
        "StreetFileRecord",
        "counterparty",
        2,
        10,
        30 * DAY_MS,
        "zstd",
        ("outside",),
        ("settlement", "archive"),
    ),
    Topic(
        "surveillance-alerts",
        "SurveillanceAlert",
        "symbol",
        2,
        10,
        YEAR_MS,
        "zstd",
        ("surveillance",),
        ("archive", "reports"),
    ),
    Topic(
        "audit-records",
        "AuditRecord",
        "source topic and partition joined by a dash",
        4,
        50,
        YEAR_MS,
        "zstd",
        ("audit",),
        ("archive",),
    ),
    Topic("audit-roots", "AuditRoot", "chain", 1, 1, FOR_EVER, "zstd", ("audit",), ("archive", "reports")),
    Topic("report-events", "ReportEvent", "reportId", 1, 1, YEAR_MS, "zstd", ("reports",), ("archive",)),
)

TOPICS: Final[dict[str, Topic]] = {topic.name: topic for topic in _ALL}

ARCHIVED: Final = tuple(TOPICS)
"""Topics that the archive job writes to ClickHouse, each to its table: all of them."""
