"""Tags of the input streams that a shard engine applies; they are stored in journals, so a number is never reused."""

from typing import Final

ORDERS: Final = 1
REFERENCE: Final = 2
CONTROLS: Final = 3
NBBO: Final = 4
OUTCOMES: Final = 5
FORWARD: Final = 6
RAW_FEED: Final = 7
CORPORATE_ACTIONS: Final = 8
MARKET_DATA: Final = 9
ALERT_RULES: Final = 10
MARKET_STATUS: Final = 11
# 12 to 19 may be taken by jobs that are being built beside this one.
AUDIT: Final = 20
PROGRESS: Final = 21
"""How far all partitions of a topic have come by Kafka's time, whatever their shard: no payload, the place of a record."""

TOPICS: Final[dict[int, str]] = {
    ORDERS: "orders",
    REFERENCE: "reference-data",
    CONTROLS: "controls",
    NBBO: "nbbo",
    OUTCOMES: "order-outcomes",
    FORWARD: "forward",
    RAW_FEED: "raw-feed",
    CORPORATE_ACTIONS: "corporate-actions",
    MARKET_DATA: "market-data",
    ALERT_RULES: "alert-rules",
    MARKET_STATUS: "market-status",
    AUDIT: "audit",
    PROGRESS: "progress",
}
"""The logical topic of each stream; `forward` is not a topic but the edge from the risk stage to the match stage, `audit` is
the records of all topics in envelopes (audit_shard.py), and `progress` is made of others' timestamps."""
