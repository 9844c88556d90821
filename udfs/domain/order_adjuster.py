"""Corporate actions in the match stage: open orders are adjusted when the session of the ex-date begins.

Ordering: orders of a symbol are taken oldest first, so that adjusted orders keep their order among themselves; they
stand behind what has its price already.
Invariants: only good-till-cancelled orders are adjusted whose own time is before the session, each once for an action;
an order of before the session that comes after it has begun is not taken in, because it speaks of other shares. A sale that
would not bring what it may cost after a split is cancelled, because nobody has reserved for that.
Known limits: an action that is heard of when its session has begun changes nothing here; the risk stage says so.
Complexity: linear in the symbol's open orders, with a sort.
"""

from schemas.messages.corporate_actions import CorporateAction
from schemas.messages.enums import (
    ORDER_STATUS_CANCELLED,
    REASON_CODE_CANCEL_CORPORATE_ACTION,
    TIME_IN_FORCE_GTC,
)
from udfs.domain.book import WAITING, Order
from udfs.domain.corporate_actions import ENDED, KEPT, Action, ActionBook, adjusted_terms
from udfs.domain.fees import fee_allowance_e4
from udfs.domain.market import Market
from udfs.domain.matching import Matcher
from udfs.domain.money import optional_money_text
from udfs.domain.sessions import SessionTable, SessionTimes
from udfs.domain.state_codec import StateReader, StateWriter


class OrderAdjuster:
    """Adjusts the orders of one shard. `since`: entry of the last session in which a symbol's orders were adjusted."""

    __slots__ = ("actions", "late", "matcher", "since")

    def __init__(self, matcher: Matcher) -> None:
        self.matcher = matcher
        self.actions = ActionBook()
        self.since: dict[str, int] = {}
        self.late: int = 0

    def take(self, record: CorporateAction, session: SessionTimes | None) -> None:
        """An action was announced; the risk stage answers for what is wrong with it."""
        if self.actions.take(record, "" if session is None else session.date):
            self.late += 1

    def begin(self, before: SessionTimes | None, session: SessionTimes, sessions: SessionTable) -> list[Action]:
        """Adjust for what takes effect when a session begins; returns it."""
        self.matcher.reporter.session_began(session.open_ns)
        if not self.actions.pending:
            return []
        due = self.actions.due(before, session, sessions)
        for action in due:
            self.since[action.symbol] = session.pre_open_ns
            market = self.matcher.markets.get(action.symbol)
            if market is not None:
                self._adjust(market, action, session.pre_open_ns)
        return due

    def is_too_old(self, symbol: str, placed_ns: int) -> bool:
        """Whether an order that comes now is of before an action that has taken effect."""
        return len(self.since) > 0 and placed_ns < self.since.get(symbol, 0)

    def _adjust(self, market: Market, action: Action, entry_ns: int) -> None:
        """Give the open orders of a symbol their new terms, or end them."""
        matcher = self.matcher
        orders = market.book.bids.orders() + market.book.asks.orders() + market.stops.orders() + market.queue
        by_rank = {order.rank: order for order in orders}
        for rank in sorted(by_rank):
            order = by_rank[rank]
            if order.time_in_force != TIME_IN_FORCE_GTC:
                continue
            if order.placed_ns >= entry_ns:
                matcher.reporter.kept(order)
                continue
            terms = adjusted_terms(
                action,
                order.is_buy,
                order.place == WAITING,
                order.quantity - order.cum_quantity,
                order.limit_price,
                order.stop_price,
                market.tick_e4,
                entry_ns,
                order.do_not_reduce,
            )
            if terms.outcome == KEPT:
                if order.triggered:
                    # The risk stage does not know that the stop waits no more.
                    matcher.reporter.kept(order)
                continue
            place = order.place
            matcher.withdraw(order)
            if terms.outcome == ENDED or _costs_more_than_it_brings(order, terms.price, action):
                matcher.reporter.note = action.text()
                matcher.end(order, ORDER_STATUS_CANCELLED, REASON_CODE_CANCEL_CORPORATE_ACTION, 0, 0)
                continue
            matcher.reporter.note = f"{action.text()} {_terms_text(order)}"
            if order.limit_price is None:
                # What risk has reserved for each share, or no price at all.
                order.worst_price = order.worst_price * action.denominator // action.numerator
            order.quantity = order.cum_quantity + terms.leaves
            order.limit_price = terms.price
            order.stop_price = terms.stop_price
            if terms.price is not None:
                order.worst_price = terms.price
            order.commission_e4 = order.commission_e4 * action.denominator // action.numerator
            matcher.put_back(market, order, place)
            matcher.reporter.adjusted(order, action.action_id)
        matcher.reporter.note = ""

    def write(self, writer: StateWriter) -> None:
        """Put the state into a snapshot."""
        self.actions.write(writer)
        writer.put(self.late)
        writer.put(len(self.since))
        for symbol, entry_ns in self.since.items():
            writer.put_text(symbol)
            writer.put(entry_ns)

    def read(self, reader: StateReader) -> None:
        """Take what `write` put."""
        self.actions.read(reader)
        self.late = reader.take()
        for _ in range(reader.take()):
            symbol = reader.take_text()
            self.since[symbol] = reader.take()


def _costs_more_than_it_brings(order: Order, price: int | None, action: Action) -> bool:
    """Whether a sale's commission and fees may exceed its price after a split: nothing is reserved for that.

    price: its new limit. A share that is sold on its own pays a cent of fees at least, however little it is worth.
    """
    if order.is_buy or not order.pays_fees or not action.is_split():
        return False
    worst = order.worst_price * action.denominator // action.numerator if price is None else price
    commission = order.commission_e4 * action.denominator // action.numerator
    return commission + fee_allowance_e4(worst) > worst


def _terms_text(order: Order) -> str:
    """The terms before the action, for people."""
    text = f"was_quantity={order.quantity}"
    if order.limit_price is not None:
        text += " was_price=" + optional_money_text(order.limit_price)
    if order.stop_price is not None:
        text += " was_stop_price=" + optional_money_text(order.stop_price)
    return text
