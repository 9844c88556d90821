"""Matching of the symbols of one shard: our book first when it is as good as the street, else the best exchange.

Ordering: commands and quotes take effect one after the other, as they are applied; resting orders in price-time order.
Invariants (checked by `check`): no book is crossed; no resting order could be executed against what exchanges still
display; filled plus open plus ended shares are the order's quantity; an order that rests belongs to a session that has
not closed.
Known limits: an account may trade with itself (self-trade prevention is refused before it comes here); halts are not
here yet.
Complexity: an order costs O(log levels) plus O(1) for each fill, and O(exchanges) for each fill away.
"""

from typing import Final

from schemas.messages.enums import (
    LIQUIDITY_ADDED,
    LIQUIDITY_REMOVED,
    LIQUIDITY_ROUTED,
    ORDER_STATUS_CANCELLED,
    ORDER_STATUS_EXECUTED,
    ORDER_STATUS_EXPIRED,
    ORDER_STATUS_PARTIALLY_FILLED,
    ORDER_STATUS_RISK_APPROVED,
    ORDER_STATUS_ROUTED,
    ORDER_STATUS_VALIDATED,
    ORDER_TYPE_LIMIT,
    REASON_CODE_CANCEL_REQUESTED,
    REASON_CODE_EXPIRY_SESSION_CLOSE,
    REASON_CODE_MATCH_COLLAR,
    REASON_CODE_MATCH_IOC_REMAINDER,
    REASON_CODE_MATCH_NO_LIQUIDITY,
    REASON_CODE_NONE,
    ROUTING_ACTION_EXECUTE_INTERNAL,
    ROUTING_ACTION_POST,
    ROUTING_ACTION_ROUTE_AWAY,
    TIME_IN_FORCE_DAY,
)
from udfs.domain import ids
from udfs.domain.book import Book, InvariantViolation, Level, Order
from udfs.domain.events import MatchReporter
from udfs.domain.money import money_text
from udfs.domain.outcomes import OutcomeLedger
from udfs.domain.recent import RecentEnds
from udfs.domain.routing import AWAY, INSIDE, choose
from udfs.domain.rules import OWN_VENUE
from udfs.domain.street import Street, Venue

NEVER: Final = 2**63 - 1
"""A time that does not come."""


class Market:
    """One symbol: our book and the street."""

    __slots__ = ("book", "kafka_key", "street", "symbol")

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.kafka_key: bytes = symbol.encode("utf-8")
        self.book = Book()
        self.street = Street()


class Matcher:
    """The markets of a shard and the orders that rest in them."""

    __slots__ = ("ledger", "live", "markets", "next_close_ns", "recent", "reporter")

    def __init__(self, reporter: MatchReporter, ledger: OutcomeLedger, recent: RecentEnds) -> None:
        self.reporter = reporter
        self.ledger = ledger
        self.recent = recent
        self.markets: dict[str, Market] = {}
        # Resting orders by key, oldest first.
        self.live: dict[str, Order] = {}
        # No resting order's session closes before this time.
        self.next_close_ns: int = NEVER

    def market(self, symbol: str) -> Market:
        """The market of a symbol, made when it is new."""
        market = self.markets.get(symbol)
        if market is None:
            market = Market(symbol)
            self.markets[symbol] = market
        return market

    def place(self, order: Order, approval: str, cause_id: str, timestamp: int, clock_ns: int) -> None:
        """Take an approved order in: execute what can be, and rest, cancel or expire what is left."""
        if order.key in self.live:
            raise InvariantViolation(f"order {order.order_id} of {order.account_id} is already in the book")
        self.reporter.status(order, ORDER_STATUS_VALIDATED, REASON_CODE_NONE, None, None, cause_id, timestamp)
        self.reporter.status(order, ORDER_STATUS_RISK_APPROVED, REASON_CODE_NONE, approval, None, cause_id, timestamp)
        if order.close_ns <= clock_ns:
            self._expire(order, cause_id, timestamp)
            return
        market = self.market(order.symbol)
        self._take(market, order, cause_id, timestamp)
        leaves = order.quantity - order.cum_quantity
        if leaves == 0:
            return
        if order.order_type == ORDER_TYPE_LIMIT and order.time_in_force == TIME_IN_FORCE_DAY:
            self._rest(market, order, leaves, cause_id, timestamp)
        else:
            self._cancel_remainder(market, order, leaves, cause_id, timestamp)

    def cancel(self, key: str, cause_id: str, timestamp: int) -> bool:
        """Cancel a resting order at its client's wish; False when there is none."""
        order = self.live.get(key)
        if order is None:
            return False
        self._leave_book(order)
        self._end(order, ORDER_STATUS_CANCELLED, REASON_CODE_CANCEL_REQUESTED, None, cause_id, timestamp)
        return True

    def quotes_changed(self, market: Market, cause_id: str, timestamp: int) -> None:
        """Route resting orders that exchanges can now fill, best price and oldest first, buys before sells."""
        book = market.book
        street = market.street
        while True:
            level = book.bids.best()
            venue = street.ask
            if level is None or venue is None or venue.ask_price > level.price:
                break
            order = level.head
            if order is None:
                raise InvariantViolation(f"the best bid of {market.symbol} has no order")
            self._route(market, order, venue, cause_id, timestamp)
        while True:
            level = book.asks.best()
            venue = street.bid
            if level is None or venue is None or venue.bid_price < level.price:
                break
            order = level.head
            if order is None:
                raise InvariantViolation(f"the best ask of {market.symbol} has no order")
            self._route(market, order, venue, cause_id, timestamp)

    def expire_until(self, clock_ns: int, cause_id: str, timestamp: int) -> None:
        """Expire the day orders of sessions that have closed by now, oldest order first."""
        if clock_ns < self.next_close_ns:
            return
        ended: list[Order] = []
        next_close_ns = NEVER
        for order in self.live.values():
            if order.close_ns <= clock_ns:
                ended.append(order)
            elif order.close_ns < next_close_ns:
                next_close_ns = order.close_ns
        self.next_close_ns = next_close_ns
        for order in ended:
            self._leave_book(order)
            self._expire(order, cause_id, timestamp)

    def rest_restored(self, order: Order) -> None:
        """Put an order of a snapshot back; orders come oldest first, and each level gets them in its own order."""
        market = self.market(order.symbol)
        side = market.book.bids if order.is_buy else market.book.asks
        side.add(order, order.worst_price, order.quantity - order.cum_quantity)
        self.live[order.key] = order
        if order.close_ns < self.next_close_ns:
            self.next_close_ns = order.close_ns

    def _take(self, market: Market, order: Order, cause_id: str, timestamp: int) -> None:
        """Execute an incoming order as far as its worst price allows."""
        street = market.street
        opposite = market.book.asks if order.is_buy else market.book.bids
        while order.cum_quantity < order.quantity:
            level = opposite.best()
            venue = street.ask if order.is_buy else street.bid
            street_price = 0
            if venue is not None:
                street_price = venue.ask_price if order.is_buy else venue.bid_price
            choice = choose(order.is_buy, order.worst_price, 0 if level is None else level.price, street_price)
            if choice == INSIDE and level is not None:
                self._execute(market, order, level, cause_id, timestamp)
            elif choice == AWAY and venue is not None:
                self._route(market, order, venue, cause_id, timestamp)
            else:
                return

    def _execute(self, market: Market, order: Order, level: Level, cause_id: str, timestamp: int) -> None:
        """Fill an incoming order from one level of our book."""
        quantity = order.quantity - order.cum_quantity
        if quantity > level.quantity:
            quantity = level.quantity
        price = level.price
        reporter = self.reporter
        reporter.decision(
            order, quantity, OWN_VENUE, ROUTING_ACTION_EXECUTE_INTERNAL, price, market.book, market.street, timestamp
        )
        self._routed(order, OWN_VENUE, cause_id, timestamp)
        side = market.book.asks if order.is_buy else market.book.bids
        while quantity > 0:
            maker = level.head
            if maker is None:
                raise InvariantViolation(f"the level at {price} of {market.symbol} holds less than it says")
            maker_leaves = maker.quantity - maker.cum_quantity
            slice_quantity = quantity if quantity < maker_leaves else maker_leaves
            trade = ids.trade_id(order.origin, order.sequence + 1)
            side.reduce(maker, slice_quantity)
            reporter.fill(
                order,
                slice_quantity,
                price,
                trade,
                maker.order_id,
                OWN_VENUE,
                LIQUIDITY_REMOVED,
                market.street,
                market.kafka_key,
                cause_id,
                timestamp,
            )
            reporter.fill(
                maker,
                slice_quantity,
                price,
                trade,
                order.order_id,
                OWN_VENUE,
                LIQUIDITY_ADDED,
                market.street,
                market.kafka_key,
                cause_id,
                timestamp,
            )
            self.ledger.fill(order, slice_quantity, price, timestamp)
            self.ledger.fill(maker, slice_quantity, price, timestamp)
            quantity -= slice_quantity
            if slice_quantity == maker_leaves:
                side.remove(maker, 0)
                del self.live[maker.key]
                self.recent.remember(maker.key, ORDER_STATUS_EXECUTED)
        if order.cum_quantity == order.quantity:
            self.recent.remember(order.key, ORDER_STATUS_EXECUTED)

    def _route(self, market: Market, order: Order, venue: Venue, cause_id: str, timestamp: int) -> None:
        """Fill an order, incoming or resting, against what one exchange displays."""
        street = market.street
        price = venue.ask_price if order.is_buy else venue.bid_price
        displayed = venue.ask_size if order.is_buy else venue.bid_size
        quantity = order.quantity - order.cum_quantity
        if quantity > displayed:
            quantity = displayed
        self.reporter.decision(
            order, quantity, venue.exchange, ROUTING_ACTION_ROUTE_AWAY, price, market.book, street, timestamp
        )
        self._routed(order, venue.exchange, cause_id, timestamp)
        if order.is_buy:
            street.take_ask(venue, quantity)
        else:
            street.take_bid(venue, quantity)
        level = order.level
        if level is not None:
            side = market.book.bids if order.is_buy else market.book.asks
            side.reduce(order, quantity)
        self.reporter.fill(
            order,
            quantity,
            price,
            ids.trade_id(order.origin, order.sequence + 1),
            None,
            venue.exchange,
            LIQUIDITY_ROUTED,
            street,
            market.kafka_key,
            cause_id,
            timestamp,
        )
        self.ledger.fill(order, quantity, price, timestamp)
        if order.cum_quantity == order.quantity:
            if level is not None:
                side = market.book.bids if order.is_buy else market.book.asks
                side.remove(order, 0)
                del self.live[order.key]
            self.recent.remember(order.key, ORDER_STATUS_EXECUTED)

    def _routed(self, order: Order, venue: str, cause_id: str, timestamp: int) -> None:
        """Publish ROUTED once, before the first fill or rest."""
        if order.status == ORDER_STATUS_RISK_APPROVED:
            self.reporter.status(order, ORDER_STATUS_ROUTED, REASON_CODE_NONE, None, venue, cause_id, timestamp)

    def _rest(self, market: Market, order: Order, leaves: int, cause_id: str, timestamp: int) -> None:
        """Leave what is open of an order in our book."""
        self.reporter.decision(
            order,
            leaves,
            OWN_VENUE,
            ROUTING_ACTION_POST,
            order.worst_price,
            market.book,
            market.street,
            timestamp,
        )
        self._routed(order, OWN_VENUE, cause_id, timestamp)
        side = market.book.bids if order.is_buy else market.book.asks
        side.add(order, order.worst_price, leaves)
        self.live[order.key] = order
        if order.close_ns < self.next_close_ns:
            self.next_close_ns = order.close_ns

    def _cancel_remainder(self, market: Market, order: Order, leaves: int, cause_id: str, timestamp: int) -> None:
        """Cancel what a market or immediate order could not fill, with the price that it stopped at."""
        best = self._best_opposite(market, order.is_buy)
        text = "unfilled=" + str(leaves) + " worst_price=" + money_text(order.worst_price)
        text += " best_opposite=" + (money_text(best) if best else "none")
        reason = REASON_CODE_MATCH_IOC_REMAINDER
        if order.order_type != ORDER_TYPE_LIMIT:
            reason = REASON_CODE_MATCH_COLLAR if best else REASON_CODE_MATCH_NO_LIQUIDITY
        self._end(order, ORDER_STATUS_CANCELLED, reason, text, cause_id, timestamp)

    def _best_opposite(self, market: Market, is_buy: bool) -> int:
        """The best price, here or away, that an order of this side could meet; 0 when there is none."""
        if is_buy:
            inside = market.book.best_ask()
            venue = market.street.ask
            away = 0 if venue is None else venue.ask_price
            return inside if away == 0 or (inside and inside < away) else away
        inside = market.book.best_bid()
        venue = market.street.bid
        away = 0 if venue is None else venue.bid_price
        return inside if inside > away else away

    def _leave_book(self, order: Order) -> None:
        """Take a resting order out of its book."""
        book = self.market(order.symbol).book
        side = book.bids if order.is_buy else book.asks
        side.remove(order, order.quantity - order.cum_quantity)
        del self.live[order.key]

    def _expire(self, order: Order, cause_id: str, timestamp: int) -> None:
        """End a day order at the close of its session."""
        text = "unfilled=" + str(order.quantity - order.cum_quantity) + " close_ns=" + str(order.close_ns)
        self._end(order, ORDER_STATUS_EXPIRED, REASON_CODE_EXPIRY_SESSION_CLOSE, text, cause_id, timestamp)

    def _end(self, order: Order, status: int, reason: int, text: str | None, cause_id: str, timestamp: int) -> None:
        """End an order that is not (or no longer) in the book and release what it reserves."""
        self.reporter.status(order, status, reason, text, None, cause_id, timestamp)
        self.ledger.end(order, timestamp)
        self.recent.remember(order.key, status)

    def check(self, clock_ns: int) -> None:
        """Raise InvariantViolation when the state contradicts itself; linear in the resting orders."""
        resting = 0
        for symbol, market in self.markets.items():
            book = market.book
            book.check()
            street = market.street
            if street.ask is not None and book.best_bid() >= street.ask.ask_price:
                raise InvariantViolation(f"a bid for {symbol} rests although {street.ask.exchange} offers at its price")
            if street.bid is not None and 0 < book.best_ask() <= street.bid.bid_price:
                raise InvariantViolation(f"an ask for {symbol} rests although {street.bid.exchange} bids its price")
            for venue in street.venues:
                if venue.bid_size < 0 or venue.ask_size < 0 or venue.bid_taken < 0 or venue.ask_taken < 0:
                    raise InvariantViolation(f"more was taken from {venue.exchange} in {symbol} than it displayed")
            for order in book.bids.orders() + book.asks.orders():
                resting += 1
                if self.live.get(order.key) is not order or order.symbol != symbol:
                    raise InvariantViolation(f"order {order.order_id} rests in a book but is not known as live there")
                if order.status not in (ORDER_STATUS_ROUTED, ORDER_STATUS_PARTIALLY_FILLED):
                    raise InvariantViolation(f"order {order.order_id} rests in a state that cannot rest")
                if order.close_ns <= clock_ns or order.close_ns < self.next_close_ns:
                    raise InvariantViolation(f"order {order.order_id} has outlived its session")
        if resting != len(self.live):
            raise InvariantViolation(f"{len(self.live)} orders are live, {resting} rest in books")
