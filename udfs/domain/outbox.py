"""What a shard engine has written since its outputs were last taken: keys and values by topic, and frames by shard.

Ordering: within a lane, the order in which the engine wrote; all events of one order are written by one engine in
order.
Invariant: `keys` and `values` of a lane have the same length.
Complexity: constant for each record.
"""


class Lane:
    """Records for one topic: Kafka keys and Confluent-framed values."""

    __slots__ = ("keys", "topic", "values")

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.keys: list[bytes] = []
        self.values: list[bytes] = []

    def put(self, key: bytes, value: bytes) -> None:
        """Add a record."""
        self.keys.append(key)
        self.values.append(value)

    def clear(self) -> None:
        """Start new lists; lists that were taken before stay as they are."""
        self.keys = []
        self.values = []


class Outbox:
    """One lane for each topic the trading job writes, and `forward[symbol_shard]`: frames for the match stage."""

    __slots__ = (
        "dead_letter",
        "forward",
        "market_status",
        "order_events",
        "order_outcomes",
        "risk_events",
        "routing_decisions",
        "trade_events",
    )

    def __init__(self, shards: int) -> None:
        self.order_events = Lane("order-events")
        self.trade_events = Lane("trade-events")
        self.risk_events = Lane("risk-events")
        self.routing_decisions = Lane("routing-decisions")
        self.market_status = Lane("market-status")
        self.order_outcomes = Lane("order-outcomes")
        self.dead_letter = Lane("dead-letter")
        self.forward: list[list[bytes]] = [[] for _ in range(shards)]

    def lanes(self) -> list[Lane]:
        """All lanes, in a fixed order."""
        return [
            self.order_events,
            self.trade_events,
            self.risk_events,
            self.routing_decisions,
            self.market_status,
            self.order_outcomes,
            self.dead_letter,
        ]

    def clear(self) -> None:
        """Forget what was written; the operator calls it after it has taken the lists of a batch."""
        for lane in self.lanes():
            if lane.keys:
                lane.clear()
        for i in range(len(self.forward)):
            if self.forward[i]:
                self.forward[i] = []
