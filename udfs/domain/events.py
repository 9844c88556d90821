"""Order events, trades, routing decisions and outcomes of the match stage, from its own objects to framed records.

Ordering: events of one order are written in the order of their sequence.
Invariants: every status change passes `lifecycle.transition`; sequences have no holes; ids follow ids.py.
Complexity: constant for each record; this is where most of the match stage's time goes.
"""

from typing import Final

from schemas.messages import order_events, routing_decisions, trade_events
from schemas.messages.enums import (
    LIQUIDITY_ADDED,
    LIQUIDITY_AUCTION,
    LIQUIDITY_REMOVED,
    LIQUIDITY_ROUTED,
    ORDER_EVENT_TYPE_RESTATED,
    ORDER_EVENT_TYPE_STATUS,
    ORDER_EVENT_TYPE_TRIGGERED,
    ORDER_STATUS_EXECUTED,
    ORDER_STATUS_PARTIALLY_FILLED,
    ORDER_STATUS_REPLACED,
    ORDER_STATUS_RISK_APPROVED,
    ORDER_STATUS_ROUTED,
    ORDER_STATUS_VALIDATED,
    REASON_CODE_CANCEL_CORPORATE_ACTION,
    REASON_CODE_CORPORATE_ACTION,
    REASON_CODE_EXPIRY_INSTRUMENT,
    REASON_CODE_EXPIRY_SESSION_CLOSE,
    REASON_CODE_MATCH_AUCTION_UNFILLED,
    REASON_CODE_MATCH_COLLAR,
    REASON_CODE_MATCH_FOK_UNFILLED,
    REASON_CODE_MATCH_IOC_REMAINDER,
    REASON_CODE_MATCH_LIMIT_PROTECTION,
    REASON_CODE_MATCH_NO_LIQUIDITY,
    REASON_CODE_MATCH_PRICE_BAND,
    REASON_CODE_MATCH_SELF_TRADE,
    REASON_CODE_MATCH_SHORT_SALE_PRICE,
    REASON_CODE_NONE,
    REASON_CODE_REPLACE_FILLED,
    REASON_CODE_REPLACE_REQUESTED,
    REASON_CODE_STOP_TRIGGERED,
)
from udfs.domain.book import Order
from udfs.domain.fees import sale_fees_e4
from udfs.domain.frames import Frame
from udfs.domain.ids import decision_id, order_event_id, refused_command_id, trade_event_id, trade_id
from udfs.domain.lifecycle import is_final, transition
from udfs.domain.market import Market
from udfs.domain.money import money_text
from udfs.domain.outbox import Outbox
from udfs.domain.outcomes import OutcomeLedger
from udfs.domain.reporter import Reporter
from udfs.domain.rules import OWN_VENUE
from udfs.domain.status_events import encode_status, encode_terms

_STOPPED_AT_A_PRICE: Final = (
    REASON_CODE_MATCH_COLLAR,
    REASON_CODE_MATCH_FOK_UNFILLED,
    REASON_CODE_MATCH_IOC_REMAINDER,
    REASON_CODE_MATCH_NO_LIQUIDITY,
    REASON_CODE_MATCH_PRICE_BAND,
    REASON_CODE_MATCH_SHORT_SALE_PRICE,
)


class MatchReporter(Reporter):
    """Writes the match stage's records into an outbox, and what risk has to know into the ledger."""

    __slots__ = ("decision_schema", "event_schema", "ledger", "outbox", "trade_schema")

    def __init__(
        self, outbox: Outbox, ledger: OutcomeLedger, event_schema: int, trade_schema: int, decision_schema: int
    ) -> None:
        super().__init__()
        self.outbox = outbox
        self.ledger = ledger
        self.event_schema = event_schema
        self.trade_schema = trade_schema
        self.decision_schema = decision_schema

    def placed(self, order: Order, reserved_e4: int) -> None:
        """VALIDATED and RISK_APPROVED: both leave from here, so that all events of an order leave from one place."""
        order.kafka_key = order.order_id.encode("utf-8")
        set_terms(order)
        instructions: str | None = None
        if order.imbalance_only or order.do_not_reduce:
            instructions = _instructions_text(order)
        self._status(order, ORDER_STATUS_VALIDATED, REASON_CODE_NONE, instructions, None)
        text = "reserved=" + money_text(reserved_e4) if order.is_buy else "reserved_shares=" + str(order.quantity)
        self._status(order, ORDER_STATUS_RISK_APPROVED, REASON_CODE_NONE, text, None)

    def routed(self, order: Order, venue: str) -> None:
        """ROUTED, once, before the first fill or rest."""
        self._status(order, ORDER_STATUS_ROUTED, REASON_CODE_NONE, None, venue)

    def executed(self, taker: Order, maker: Order, quantity: int, price: int, market: Market) -> None:
        """Both sides of a trade in our book, the incoming order's first."""
        trade = trade_id(taker.origin, taker.sequence + 1)
        self._fill(taker, quantity, price, trade, maker.order_id, OWN_VENUE, LIQUIDITY_REMOVED, market)
        self._fill(maker, quantity, price, trade, taker.order_id, OWN_VENUE, LIQUIDITY_ADDED, market)

    def executed_away(self, order: Order, venue: str, quantity: int, price: int, market: Market) -> None:
        """Our side of a trade at an exchange."""
        trade = trade_id(order.origin, order.sequence + 1)
        self._fill(order, quantity, price, trade, None, venue, LIQUIDITY_ROUTED, market)

    def crossed(self, buy: Order, sell: Order, quantity: int, price: int, market: Market) -> None:
        """Both sides of a trade in an auction, the buyer's first."""
        trade = trade_id(buy.origin, buy.sequence + 1)
        self._fill(buy, quantity, price, trade, sell.order_id, OWN_VENUE, LIQUIDITY_AUCTION, market)
        self._fill(sell, quantity, price, trade, buy.order_id, OWN_VENUE, LIQUIDITY_AUCTION, market)

    def ended(self, order: Order, status: int, reason: int, limit: int, observed: int) -> None:
        """CANCELLED or EXPIRED, with the numbers of the reason."""
        text = self.note if reason == REASON_CODE_CANCEL_CORPORATE_ACTION else _ending(order, reason, limit, observed)
        self._status(order, status, reason, text, None)
        self.ledger.end(order, self.timestamp)

    def reduced(self, order: Order, quantity: int) -> None:
        """RESTATED: the order's total is smaller by the shares that would have met their own account."""
        set_terms(order)
        self._event(order, ORDER_EVENT_TYPE_RESTATED, REASON_CODE_MATCH_SELF_TRADE, "taken_off=" + str(quantity), None)
        self.ledger.restate(order, self.timestamp)

    def adjusted(self, order: Order, action_id: str) -> None:
        """RESTATED: a corporate action gave the order new terms."""
        set_terms(order)
        self._event(order, ORDER_EVENT_TYPE_RESTATED, REASON_CODE_CORPORATE_ACTION, self.note, None)
        self.ledger.adjust(order, action_id, self.timestamp)

    def kept(self, order: Order) -> None:
        """No event, but an outcome: the risk stage may wait for one."""
        self.ledger.keep(order, self.timestamp)

    def session_began(self, open_ns: int) -> None:
        """Outcomes of different sessions are not in one record."""
        self.ledger.begin_session(open_ns)

    def replaced(self, order: Order) -> None:
        """REPLACED: from here on the order's events carry the new terms."""
        set_terms(order)
        self._status(order, ORDER_STATUS_REPLACED, REASON_CODE_REPLACE_REQUESTED, None, None)
        self.ledger.replace(order, True, self.timestamp)

    def replace_refused(self, order: Order) -> None:
        """The risk stage gives back what it reserved for the replacement."""
        self.ledger.replace(order, False, self.timestamp)

    def triggered(self, order: Order, print_price: int) -> None:
        """TRIGGERED: the order acts as a market or limit order from now on."""
        self._event(
            order, ORDER_EVENT_TYPE_TRIGGERED, REASON_CODE_STOP_TRIGGERED, "print=" + money_text(print_price), None
        )

    def decided(self, order: Order, quantity: int, venue: str, action: int, price: int, fee_e4: int, m: Market) -> None:
        """Where a part of the order goes, with what was known."""
        order.decisions += 1
        street = m.street
        bid = m.book.best_bid()
        ask = m.book.best_ask()
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
                self.timestamp,
                fee_e4 if fee_e4 else None,
            ),
        )

    def _status(self, order: Order, status: int, reason: int, text: str | None, venue: str | None) -> None:
        """The order changes its state without a fill."""
        order.status = transition(order.status, status)
        self._event(order, ORDER_EVENT_TYPE_STATUS, reason, text, venue)

    def _event(self, order: Order, event_type: int, reason: int, text: str | None, venue: str | None) -> None:
        """An event of the order in its present state."""
        sequence = order.sequence + 1
        order.sequence = sequence
        self.outbox.order_events.put(
            order.kafka_key,
            encode_status(
                self.event_schema,
                order_event_id(order.origin, sequence),
                order.terms,
                order.status,
                reason,
                text,
                order.cum_quantity,
                0 if is_final(order.status) else order.quantity - order.cum_quantity,
                0,
                None,
                None,
                venue,
                sequence,
                self.cause_id,
                self.timestamp,
                event_type,
            ),
        )

    def _fill(
        self,
        order: Order,
        quantity: int,
        price: int,
        trade: str,
        contra_order_id: str | None,
        venue: str,
        liquidity: int,
        market: Market,
    ) -> None:
        """The order was filled for `quantity` shares: its event, its side of the trade, its line for risk."""
        fees_e4 = sale_fees_e4(quantity, price, self.timestamp) if order.pays_fees else 0
        charged_e4 = quantity * order.commission_e4 + fees_e4
        leaves = order.quantity - order.cum_quantity
        order.status = transition(order.status, ORDER_STATUS_EXECUTED if leaves == 0 else ORDER_STATUS_PARTIALLY_FILLED)
        sequence = order.sequence + 1
        order.sequence = sequence
        self.outbox.order_events.put(
            order.kafka_key,
            encode_status(
                self.event_schema,
                order_event_id(order.origin, sequence),
                order.terms,
                order.status,
                REASON_CODE_NONE,
                None,
                order.cum_quantity,
                leaves,
                quantity,
                price,
                trade,
                venue,
                sequence,
                self.cause_id,
                self.timestamp,
            ),
        )
        self.outbox.trade_events.put(
            market.kafka_key,
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
                charged_e4,
                self.timestamp,
                venue,
                liquidity,
                market.street.bid_price,
                market.street.ask_price,
                sequence,
                self.cause_id,
                fees_e4 if fees_e4 else None,
            ),
        )
        self.ledger.fill(order, quantity, price, charged_e4, self.timestamp)


def set_terms(order: Order) -> None:
    """Encode what all events of the order repeat; again whenever its terms change."""
    order.terms = encode_terms(
        order.order_id,
        order.account_id,
        order.symbol,
        order.side,
        order.order_type,
        order.time_in_force,
        order.quantity,
        order.limit_price,
        order.stop_price,
    )


def _instructions_text(order: Order) -> str:
    """The client's instructions, as the order's first event repeats them."""
    text = ""
    if order.imbalance_only:
        text = "imbalance_only"
    if order.do_not_reduce:
        text += " do_not_reduce" if text else "do_not_reduce"
    return text


def refused_command(schema_id: int, frame: Frame, cause_id: str, event_type: int, status: int, reason: int) -> bytes:
    """CANCEL_REJECTED or REPLACE_REJECTED with the command's own terms, and the status of the order that it names."""
    return order_events.encode_fields(
        schema_id,
        refused_command_id(cause_id),
        event_type,
        frame.order_id,
        frame.account_id,
        frame.symbol,
        frame.side,
        frame.order_type,
        frame.time_in_force,
        frame.quantity,
        frame.limit_price if frame.limit_price else None,
        frame.stop_price if frame.stop_price else None,
        status,
        reason,
        None,
        0,
        0,
        0,
        None,
        None,
        None,
        0,
        cause_id,
        frame.timestamp,
    )


def _ending(order: Order, reason: int, limit: int, observed: int) -> str | None:
    """The numbers that explain why an order ended."""
    open_shares = order.quantity - order.cum_quantity
    if reason in _STOPPED_AT_A_PRICE:
        text = "unfilled=" + str(open_shares) + " worst_price=" + money_text(limit)
        return text + " best_opposite=" + (money_text(observed) if observed else "none")
    if reason in (REASON_CODE_EXPIRY_SESSION_CLOSE, REASON_CODE_EXPIRY_INSTRUMENT):
        return "unfilled=" + str(open_shares) + " close_ns=" + str(observed)
    if reason == REASON_CODE_MATCH_LIMIT_PROTECTION:
        return f"price={money_text(order.worst_price)} allowed={money_text(limit)} national_best={money_text(observed)}"
    if reason == REASON_CODE_REPLACE_FILLED:
        return "new_quantity=" + str(limit) + " filled=" + str(observed)
    if reason == REASON_CODE_MATCH_AUCTION_UNFILLED and limit:
        return "late_from_ns=" + str(limit) + " reference_price=none"
    return None
