"""How orders are filled: one incoming order against our book and the street, two orders in an auction, and what then
becomes of them. `matching.Matcher` decides which order acts, and when.

Ordering: resting orders in price-time order; prints are looked at one by one, in the order in which they happen.
Invariants: nothing is executed beyond an order's worst price, nor beyond what an exchange displays; an order that rests
has open shares and a rank above all that came before it.
Self-trade prevention follows the incoming order's mode, and never reaches exchanges.
Complexity: a fill costs O(1) in our book and O(exchanges) away; a new price level O(log levels).
"""

from typing import Final

from schemas.messages.enums import (
    ORDER_STATUS_CANCELLED,
    ORDER_STATUS_EXECUTED,
    REASON_CODE_MATCH_COLLAR,
    REASON_CODE_MATCH_IOC_REMAINDER,
    REASON_CODE_MATCH_NO_LIQUIDITY,
    REASON_CODE_MATCH_PRICE_BAND,
    REASON_CODE_MATCH_SELF_TRADE,
    REASON_CODE_MATCH_SHORT_SALE_PRICE,
    ROUTING_ACTION_EXECUTE_INTERNAL,
    ROUTING_ACTION_POST,
    ROUTING_ACTION_QUEUE_AUCTION,
    ROUTING_ACTION_ROUTE_AWAY,
    SIDE_SELL_SHORT,
    STP_MODE_DECREMENT,
    STP_MODE_EXPIRE_MAKER,
    STP_MODE_EXPIRE_TAKER,
    STP_MODE_NONE,
)
from udfs.domain.book import QUEUED, RESTING, WAITING, BookSide, InvariantViolation, Level, Order
from udfs.domain.market import Market
from udfs.domain.recent import RecentEnds
from udfs.domain.reporter import Reporter
from udfs.domain.routing import AWAY, INSIDE, choose
from udfs.domain.rules import OWN_VENUE, venue_fee_e4
from udfs.domain.street import Venue

NEVER: Final = 2**63 - 1
"""A time that does not come."""


class Filler:
    """The markets of a shard, the orders that live in them, and how they trade."""

    __slots__ = ("live", "markets", "next_close_ns", "rank", "recent", "reporter", "triggered")

    def __init__(self, reporter: Reporter, recent: RecentEnds) -> None:
        self.reporter = reporter
        self.recent = recent
        self.markets: dict[str, Market] = {}
        # Resting, waiting and queued orders by key, oldest first.
        self.live: dict[str, Order] = {}
        # No live order's session closes before this time.
        self.next_close_ns: int = NEVER
        # The youngest time priority that was given.
        self.rank: int = 0
        # Stops that were triggered and have not acted yet.
        self.triggered: list[Order] = []

    def market(self, symbol: str) -> Market:
        """The market of a symbol, made when it is new."""
        market = self.markets.get(symbol)
        if market is None:
            market = Market(symbol)
            self.markets[symbol] = market
        return market

    def take(self, market: Market, order: Order) -> bool:
        """Execute an incoming order as far as its worst price allows; False when self-trade prevention ended it."""
        street = market.street
        is_buy = order.is_buy
        opposite = market.book.asks if is_buy else market.book.bids
        while order.cum_quantity < order.quantity:
            level = opposite.best()
            venue = street.ask if is_buy else street.bid
            if venue is None:
                # Most of the time nothing is left of the street, or there is none.
                if level is None or (level.price > order.worst_price if is_buy else level.price < order.worst_price):
                    return True
            else:
                street_price = venue.ask_price if is_buy else venue.bid_price
                choice = choose(is_buy, order.worst_price, 0 if level is None else level.price, street_price)
                if choice == AWAY:
                    self._route(market, order, venue)
                    continue
                if choice != INSIDE or level is None:
                    return True
            if order.stp != STP_MODE_NONE:
                maker = level.head
                if maker is not None and maker.stp_key == order.stp_key:
                    if not self._prevent(opposite, order, maker):
                        return False
                    continue
            self._execute(market, opposite, order, level)
        return True

    def _execute(self, market: Market, opposite: BookSide, order: Order, level: Level) -> None:
        """Fill an incoming order from one level of our book, up to the first order that it may not meet."""
        quantity = order.quantity - order.cum_quantity
        if quantity > level.quantity:
            quantity = level.quantity
        price = level.price
        reporter = self.reporter
        if order.stp != STP_MODE_NONE:
            quantity = self._run_before_own(order, level, quantity)
        reporter.decided(order, quantity, OWN_VENUE, ROUTING_ACTION_EXECUTE_INTERNAL, price, 0, market)
        if not order.routed:
            order.routed = True
            reporter.routed(order, OWN_VENUE)
        while quantity > 0:
            maker = level.head
            if maker is None:
                raise InvariantViolation(f"the level at {price} of {market.symbol} holds less than it says")
            maker_leaves = maker.quantity - maker.cum_quantity
            part = quantity if quantity < maker_leaves else maker_leaves
            opposite.reduce(maker, part)
            order.cum_quantity += part
            maker.cum_quantity += part
            reporter.executed(order, maker, part, price, market)
            quantity -= part
            if part == maker_leaves:
                opposite.remove(maker, 0)
                maker.place = 0
                del self.live[maker.key]
                self.recent.remember(maker.key, ORDER_STATUS_EXECUTED)
            if part >= market.print_lot:
                self._print(market, price)
        if order.cum_quantity == order.quantity:
            self.recent.remember(order.key, ORDER_STATUS_EXECUTED)

    def _run_before_own(self, order: Order, level: Level, quantity: int) -> int:
        """Shares of a level, up to `quantity`, that stand before the first order of the same self-trade key."""
        found = 0
        maker = level.head
        while maker is not None and found < quantity and maker.stp_key != order.stp_key:
            found += maker.quantity - maker.cum_quantity
            maker = maker.next
        return found if found < quantity else quantity

    def _prevent(self, side: BookSide, order: Order, maker: Order) -> bool:
        """An incoming order meets one of its own; False when the incoming order has ended."""
        mode = order.stp
        if mode == STP_MODE_DECREMENT:
            leaves = order.quantity - order.cum_quantity
            overlap = maker.quantity - maker.cum_quantity
            if overlap > leaves:
                overlap = leaves
                side.reduce(maker, overlap)
                maker.quantity -= overlap
                self.reporter.reduced(maker, overlap)
            else:
                self._end_maker(side, maker)
            if overlap == leaves:
                self.end(order, ORDER_STATUS_CANCELLED, REASON_CODE_MATCH_SELF_TRADE, 0, 0)
                return False
            order.quantity -= overlap
            self.reporter.reduced(order, overlap)
            return True
        if mode != STP_MODE_EXPIRE_TAKER:
            self._end_maker(side, maker)
            if mode == STP_MODE_EXPIRE_MAKER:
                return True
        self.end(order, ORDER_STATUS_CANCELLED, REASON_CODE_MATCH_SELF_TRADE, 0, 0)
        return False

    def _end_maker(self, side: BookSide, maker: Order) -> None:
        """Self-trade prevention ends a resting order."""
        side.remove(maker, maker.quantity - maker.cum_quantity)
        maker.place = 0
        del self.live[maker.key]
        self.end(maker, ORDER_STATUS_CANCELLED, REASON_CODE_MATCH_SELF_TRADE, 0, 0)

    def _route(self, market: Market, order: Order, venue: Venue) -> None:
        """Fill an order, incoming or resting, against what one exchange displays."""
        street = market.street
        price = venue.ask_price if order.is_buy else venue.bid_price
        displayed = venue.ask_size if order.is_buy else venue.bid_size
        quantity = order.quantity - order.cum_quantity
        if quantity > displayed:
            quantity = displayed
        reporter = self.reporter
        fee_e4 = venue_fee_e4(venue.exchange, price, street.timestamp)
        reporter.decided(order, quantity, venue.exchange, ROUTING_ACTION_ROUTE_AWAY, price, fee_e4, market)
        if not order.routed:
            order.routed = True
            reporter.routed(order, venue.exchange)
        if order.is_buy:
            street.take_ask(venue, quantity)
        else:
            street.take_bid(venue, quantity)
        side = market.book.bids if order.is_buy else market.book.asks
        rests = order.level is not None
        if rests:
            side.reduce(order, quantity)
        order.cum_quantity += quantity
        reporter.executed_away(order, venue.exchange, quantity, price, market)
        if order.cum_quantity == order.quantity:
            if rests:
                side.remove(order, 0)
                order.place = 0
                del self.live[order.key]
            self.recent.remember(order.key, ORDER_STATUS_EXECUTED)
        if quantity >= market.print_lot:
            self._print(market, price)

    def _print(self, market: Market, price: int) -> None:
        """A trade of a round lot or more: what stops and price bands look at."""
        market.last_price = price
        market.print_count += 1
        market.print_sum += price
        if market.print_low == 0 or price < market.print_low:
            market.print_low = price
        if market.stops.waiting:
            market.stops.take_triggered(price, self.triggered)

    def auctioned(self, market: Market, buy: Order, sell: Order, quantity: int, price: int) -> None:
        """Fill two orders with each other in an auction, wherever they are, and take them out when they are done."""
        for order in (buy, sell):
            if order.place == RESTING:
                side = market.book.bids if order.is_buy else market.book.asks
                side.reduce(order, quantity)
            order.cum_quantity += quantity
            if not order.routed:
                order.routed = True
                self.reporter.routed(order, OWN_VENUE)
        self.reporter.crossed(buy, sell, quantity, price, market)
        for order in (buy, sell):
            if order.cum_quantity == order.quantity:
                if order.place == RESTING:
                    side = market.book.bids if order.is_buy else market.book.asks
                    side.remove(order, 0)
                order.place = 0
                del self.live[order.key]
                self.recent.remember(order.key, ORDER_STATUS_EXECUTED)
        if quantity >= market.print_lot:
            self._print(market, price)

    def queue(self, market: Market, order: Order) -> None:
        """Keep an order for the next auction."""
        leaves = order.quantity - order.cum_quantity
        self.reporter.decided(order, leaves, OWN_VENUE, ROUTING_ACTION_QUEUE_AUCTION, order.worst_price, 0, market)
        if not order.routed:
            order.routed = True
            self.reporter.routed(order, OWN_VENUE)
        self.rank += 1
        order.rank = self.rank
        order.place = QUEUED
        market.queue.append(order)
        self.keep(order)

    def rest(self, market: Market, order: Order) -> None:
        """Leave what is open of an order in our book."""
        leaves = order.quantity - order.cum_quantity
        reporter = self.reporter
        reporter.decided(order, leaves, OWN_VENUE, ROUTING_ACTION_POST, order.worst_price, 0, market)
        if not order.routed:
            order.routed = True
            reporter.routed(order, OWN_VENUE)
        self.rank += 1
        order.rank = self.rank
        order.place = RESTING
        side = market.book.bids if order.is_buy else market.book.asks
        side.add(order, order.worst_price, leaves)
        self.live[order.key] = order
        if order.close_ns < self.next_close_ns:
            self.next_close_ns = order.close_ns

    def keep(self, order: Order) -> None:
        """The order lives on."""
        self.live[order.key] = order
        if order.close_ns < self.next_close_ns:
            self.next_close_ns = order.close_ns

    def put_back(self, market: Market, order: Order, place: int) -> None:
        """Put a withdrawn order back where it was, behind all others that have its price."""
        self.rank += 1
        order.rank = self.rank
        if place == RESTING:
            order.place = RESTING
            side = market.book.bids if order.is_buy else market.book.asks
            side.add(order, order.worst_price, order.quantity - order.cum_quantity)
        elif place == WAITING and order.stop_price is not None:
            market.stops.add(order, order.stop_price)
        else:
            order.place = QUEUED
            market.queue.append(order)
        self.keep(order)

    def cancel_remainder(self, market: Market, order: Order, is_limit: bool) -> None:
        """Cancel what a market or immediate order could not fill, with the price that it stopped at."""
        best = self._best_opposite(market, order.is_buy)
        reason = REASON_CODE_MATCH_IOC_REMAINDER
        if not is_limit:
            reason = REASON_CODE_MATCH_COLLAR if best else REASON_CODE_MATCH_NO_LIQUIDITY
        if best and market.short_restricted and order.side == SIDE_SELL_SHORT:
            reason = REASON_CODE_MATCH_SHORT_SALE_PRICE
        elif best and order.worst_price == (market.high if order.is_buy else market.low):
            reason = REASON_CODE_MATCH_PRICE_BAND
        self.end(order, ORDER_STATUS_CANCELLED, reason, order.worst_price, best)

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

    def withdraw(self, order: Order) -> None:
        """Take a live order out of its place."""
        if order.place == RESTING:
            book = self.market(order.symbol).book
            side = book.bids if order.is_buy else book.asks
            side.remove(order, order.quantity - order.cum_quantity)
        elif order.place == WAITING:
            self.market(order.symbol).stops.remove(order)
        elif order.place == QUEUED:
            self.market(order.symbol).queue.remove(order)
        order.place = 0
        del self.live[order.key]

    def end(self, order: Order, status: int, reason: int, limit: int, observed: int) -> None:
        """End an order that is not (or no longer) in the book and release what it reserves."""
        self.reporter.ended(order, status, reason, limit, observed)
        self.recent.remember(order.key, status)

    def end_queued(self, order: Order, reason: int) -> None:
        """End an order that an auction did not fill; the caller takes it out of the queue."""
        order.place = 0
        del self.live[order.key]
        self.end(order, ORDER_STATUS_CANCELLED, reason, 0, 0)
