"""Order events, trades and routing decisions of the match stage, from its own objects to framed records.

Ordering: events of one order are written in the order of their sequence.
Invariants: every status change passes `lifecycle.transition`; sequences have no holes; ids follow ids.py.
Complexity: constant for each record; this is where most of the match stage's time goes.
"""

from schemas.messages import routing_decisions, trade_events
from schemas.messages.enums import (
    ORDER_STATUS_EXECUTED,
    ORDER_STATUS_PARTIALLY_FILLED,
    REASON_CODE_NONE,
)
from udfs.domain.book import Book, Order
from udfs.domain.ids import decision_id, order_event_id, trade_event_id
from udfs.domain.lifecycle import is_final, transition
from udfs.domain.outbox import Outbox
from udfs.domain.status_events import encode_status
from udfs.domain.street import Street


class MatchReporter:
    """Writes the match stage's records into an outbox."""

    __slots__ = ("decision_schema", "event_schema", "outbox", "trade_schema")

    def __init__(self, outbox: Outbox, event_schema: int, trade_schema: int, decision_schema: int) -> None:
        self.outbox = outbox
        self.event_schema = event_schema
        self.trade_schema = trade_schema
        self.decision_schema = decision_schema

    def status(
        self,
        order: Order,
        status: int,
        reason: int,
        text: str | None,
        venue: str | None,
        cause_id: str,
        timestamp: int,
    ) -> None:
        """The order changes its state without a fill."""
        order.status = transition(order.status, status)
        sequence = order.sequence + 1
        order.sequence = sequence
        self.outbox.order_events.put(
            order.kafka_key,
            encode_status(
                self.event_schema,
                order_event_id(order.origin, sequence),
                order.terms,
                status,
                reason,
                text,
                order.cum_quantity,
                0 if is_final(status) else order.quantity - order.cum_quantity,
                0,
                None,
                None,
                venue,
                sequence,
                cause_id,
                timestamp,
            ),
        )

    def fill(
        self,
        order: Order,
        quantity: int,
        price: int,
        trade: str,
        contra_order_id: str | None,
        venue: str,
        liquidity: int,
        street: Street,
        symbol_key: bytes,
        cause_id: str,
        timestamp: int,
    ) -> None:
        """The order was filled for `quantity` shares: its event and its side of the trade."""
        cum_quantity = order.cum_quantity + quantity
        leaves = order.quantity - cum_quantity
        order.cum_quantity = cum_quantity
        status = ORDER_STATUS_EXECUTED if leaves == 0 else ORDER_STATUS_PARTIALLY_FILLED
        order.status = transition(order.status, status)
        sequence = order.sequence + 1
        order.sequence = sequence
        self.outbox.order_events.put(
            order.kafka_key,
            encode_status(
                self.event_schema,
                order_event_id(order.origin, sequence),
                order.terms,
                status,
                REASON_CODE_NONE,
                None,
                cum_quantity,
                leaves,
                quantity,
                price,
                trade,
                venue,
                sequence,
                cause_id,
                timestamp,
            ),
        )
        self.outbox.trade_events.put(
            symbol_key,
            trade_events.encode_fields(
                self.trade_schema,
                trade_event_id(trade, order.is_buy),
                trade,
                order.order_id,
                contra_order_id,
                order.account_id,
                order.symbol,
                order.side,
                quantity,
                price,
                quantity * order.commission_e4,
                timestamp,
                venue,
                liquidity,
                street.bid_price,
                street.ask_price,
                sequence,
                cause_id,
            ),
        )

    def decision(
        self,
        order: Order,
        quantity: int,
        venue: str,
        action: int,
        price: int,
        book: Book,
        street: Street,
        timestamp: int,
    ) -> None:
        """Where a part of the order goes, with what was known: called before anything is executed."""
        order.decisions += 1
        bid = book.best_bid()
        ask = book.best_ask()
        self.outbox.routing_decisions.put(
            order.kafka_key,
            routing_decisions.encode_fields(
                self.decision_schema,
                decision_id(order.origin, order.decisions),
                order.order_id,
                order.account_id,
                order.symbol,
                order.side,
                quantity,
                order.limit_price,
                venue,
                action,
                price,
                street.bid_price,
                street.bid_size,
                street.ask_price,
                street.ask_size,
                bid if bid else None,
                ask if ask else None,
                street.event_id,
                timestamp,
            ),
        )
