"""What happened to approved orders, collected for the risk stage: one line for each order that was touched since the last
`flush`, after a batch or several.

Ordering: lines stand in the order in which their orders were first touched; a record holds the lines of one account shard
and one session.
Invariants: a line's fills are the sum since then; `leaves_quantity` is what is open after it, so that the risk
stage can see when a record was lost or applied twice.
Known limits: more than `MAX_LINES` lines for one shard become several records, so that each is soon applied: an order
waits behind it.
Complexity: constant for each fill.
"""

from typing import Final

from schemas.messages.order_outcomes import OrderOutcome, OrderOutcomes, encode
from udfs.domain.book import Order
from udfs.domain.outbox import Lane

MAX_LINES: Final = 128


class OutcomeLedger:
    """The lines since the last flush."""

    __slots__ = ("lane", "schema_id", "session_ns", "timestamp", "touched")

    def __init__(self, lane: Lane, schema_id: int) -> None:
        self.lane = lane
        self.schema_id = schema_id
        self.touched: list[Order] = []
        self.timestamp: int = 0
        # Opening of the session that the lines are of; 0 before the first one.
        self.session_ns: int = 0

    def _line(self, order: Order, timestamp: int) -> OrderOutcome:
        """The order's line, made when it is the first touch."""
        if timestamp > self.timestamp:
            self.timestamp = timestamp
        line = order.outcome
        if line is None:
            line = OrderOutcome(order.account_id, order.order_id, order.symbol, order.side, 0, 0, 0, 0, False)
            order.outcome = line
            self.touched.append(order)
        return line

    def fill(self, order: Order, quantity: int, price: int, charged_e4: int, timestamp: int) -> None:
        """Shares of the order were filled and charged for; its cumulative quantity holds them already."""
        line = self._line(order, timestamp)
        line.filled_quantity += quantity
        line.filled_notional += quantity * price
        line.commission += charged_e4
        line.leaves_quantity = order.quantity - order.cum_quantity
        if line.leaves_quantity == 0:
            line.terminal = True

    def restate(self, order: Order, timestamp: int) -> None:
        """Self-trade prevention changed the order's quantity; it has the new one already."""
        line = self._line(order, timestamp)
        line.quantity = order.quantity
        line.leaves_quantity = order.quantity - order.cum_quantity

    def adjust(self, order: Order, action_id: str, timestamp: int) -> None:
        """A corporate action gave the order new terms; it has them already."""
        self.restate(order, timestamp)
        line = self._line(order, timestamp)
        before = line.action_ids
        line.action_ids = before + "\n" + action_id if before else action_id

    def keep(self, order: Order, timestamp: int) -> None:
        """A corporate action has left the order as it was."""
        line = self._line(order, timestamp)
        if line.action_ids is None:
            line.action_ids = ""
        line.leaves_quantity = order.quantity - order.cum_quantity

    def replace(self, order: Order, applied: bool, timestamp: int) -> None:
        """A replacement of the live order was answered; when it was applied the order has its new terms already."""
        line = self._line(order, timestamp)
        if applied:
            line.replaces_applied = (line.replaces_applied or 0) + 1
            line.quantity = order.quantity
        else:
            line.replaces_refused = (line.replaces_refused or 0) + 1
        line.leaves_quantity = order.quantity - order.cum_quantity

    def end(self, order: Order, timestamp: int) -> None:
        """The order is done without being filled to the end: what it still reserves is to be released."""
        line = self._line(order, timestamp)
        line.leaves_quantity = 0
        line.terminal = True

    def begin_session(self, open_ns: int) -> None:
        """A session begins: what happened before is written, because a share may not be the same share after it."""
        self.flush()
        self.session_ns = open_ns

    def flush(self) -> None:
        """Write the records, by shard, and begin anew."""
        if not self.touched:
            return
        by_shard: dict[int, list[OrderOutcome]] = {}
        for order in self.touched:
            line = order.outcome
            order.outcome = None
            if line is not None:
                lines = by_shard.get(order.account_shard)
                if lines is None:
                    lines = []
                    by_shard[order.account_shard] = lines
                lines.append(line)
        session = self.session_ns if self.session_ns else None
        for shard in sorted(by_shard):
            lines = by_shard[shard]
            key = str(shard).encode("ascii")
            for start in range(0, len(lines), MAX_LINES):
                record = OrderOutcomes(shard, lines[start : start + MAX_LINES], self.timestamp, session)
                self.lane.put(key, encode(record, self.schema_id))
        self.touched = []
        self.timestamp = 0
