"""Matching of the symbols of one shard: our book first when it is as good as the street, else the best exchange.

Ordering: commands and quotes take effect one after the other, as they are applied; resting orders in price-time order.
Stops that prints trigger are worked off first in, first out, when the command that caused the prints has finished.
Invariants (checked by `check`): while a market trades continuously its book is not crossed and no resting order could
be executed against what exchanges still display; filled plus open plus ended shares are the order's quantity; an order
that lives belongs to a session that has not closed.
Self-trade prevention follows the incoming order's mode, and never reaches exchanges.
Complexity: an order costs O(log levels) plus O(1) for each fill, and O(exchanges) for each fill away; a fill-or-kill
order looks at as many levels as would fill it, a stop costs O(log waiting stops).
"""

from schemas.messages.enums import (
    ORDER_STATUS_CANCELLED,
    ORDER_STATUS_EXPIRED,
    ORDER_TYPE_LIMIT,
    ORDER_TYPE_STOP_LIMIT,
    REASON_CODE_CANCEL_REQUESTED,
    REASON_CODE_EXPIRY_INSTRUMENT,
    REASON_CODE_EXPIRY_SESSION_CLOSE,
    REASON_CODE_MATCH_FOK_UNFILLED,
    REASON_CODE_MATCH_HALTED,
    REASON_CODE_MATCH_LIMIT_PROTECTION,
    REASON_CODE_NONE,
    REASON_CODE_REPLACE_FILLED,
    REASON_CODE_REPLACE_NOT_ALLOWED,
    ROUTING_ACTION_HOLD_STOP,
    SIDE_SELL_SHORT,
    TIME_IN_FORCE_CLS,
    TIME_IN_FORCE_DAY,
    TIME_IN_FORCE_FOK,
    TIME_IN_FORCE_GTC,
    TIME_IN_FORCE_OPG,
)
from udfs.domain.book import QUEUED, RESTING, WAITING, InvariantViolation, Order
from udfs.domain.filling import NEVER, Filler
from udfs.domain.limit_protection import national_best, protected_price
from udfs.domain.market import NO_PRICE, Market
from udfs.domain.recent import RecentEnds
from udfs.domain.reporter import Reporter
from udfs.domain.rules import OWN_VENUE, collar_price


class Matcher(Filler):
    """Takes commands, quotes, prints and the time, and lets orders act.

    collared: market orders and triggered stops stop at the market collar; without it they take any price.
    """

    __slots__ = ("collared",)

    def __init__(self, reporter: Reporter, recent: RecentEnds, collared: bool = True) -> None:
        super().__init__(reporter, recent)
        self.collared = collared

    def place(self, order: Order, reserved_e4: int, clock_ns: int) -> None:
        """Take an approved order in: execute what can be, and rest, cancel or expire what is left."""
        if order.key in self.live:
            raise InvariantViolation(f"order {order.order_id} of {order.account_id} is already in the book")
        self.reporter.placed(order, reserved_e4)
        if order.close_ns <= clock_ns:
            self._expire(order)
            return
        market = self.markets.get(order.symbol)
        if market is None:
            market = self.market(order.symbol)
        if order.stop_price is not None:
            self._hold(market, order, order.stop_price)
        else:
            allowed = protected_price(market, order, order.limit_price, self.reporter.timestamp)
            if allowed:
                best = national_best(market, order.is_buy)
                self.end(order, ORDER_STATUS_CANCELLED, REASON_CODE_MATCH_LIMIT_PROTECTION, allowed, best)
                return
            self.arrive(market, order)
        if self.triggered:
            self.work_off(market)

    def refuse(self, order: Order, reserved_e4: int, reason: int, limit: int = 0) -> None:
        """Take an approved order in only to end it, because of what has changed since it was approved.

        limit: the number behind the reason, as Reporter.ended takes it.
        """
        self.reporter.placed(order, reserved_e4)
        self.end(order, ORDER_STATUS_CANCELLED, reason, limit, 0)

    def cancel(self, key: str, reason: int = REASON_CODE_CANCEL_REQUESTED) -> bool:
        """End a live order; False when there is none."""
        order = self.live.get(key)
        if order is None:
            return False
        self.withdraw(order)
        self.end(order, ORDER_STATUS_CANCELLED, reason, 0, 0)
        return True

    def replace(
        self, key: str, quantity: int, limit_price: int | None, stop_price: int | None, worst_price: int
    ) -> int:
        """Give a live order new terms; the reason why not, or REASON_CODE_NONE. The order must be live.

        quantity: the new total. A stop price of None keeps a waiting order's own.
        """
        order = self.live[key]
        market = self.market(order.symbol)
        if order.place == QUEUED:
            self.reporter.replace_refused(order)
            return REASON_CODE_REPLACE_NOT_ALLOWED
        if quantity <= order.cum_quantity:
            self.withdraw(order)
            self.end(order, ORDER_STATUS_CANCELLED, REASON_CODE_REPLACE_FILLED, quantity, order.cum_quantity)
            return REASON_CODE_NONE
        if limit_price != order.limit_price and protected_price(market, order, limit_price, self.reporter.timestamp):
            self.reporter.replace_refused(order)
            return REASON_CODE_MATCH_LIMIT_PROTECTION
        if order.place == WAITING:
            self._replace_waiting(market, order, quantity, limit_price, stop_price, worst_price)
        elif limit_price == order.limit_price and quantity <= order.quantity:
            if quantity < order.quantity:
                side = market.book.bids if order.is_buy else market.book.asks
                side.reduce(order, order.quantity - quantity)
                order.quantity = quantity
            self.reporter.replaced(order)
        else:
            self.withdraw(order)
            order.quantity = quantity
            order.limit_price = limit_price
            order.worst_price = worst_price
            self.reporter.replaced(order)
            self.arrive(market, order)
        if self.triggered:
            self.work_off(market)
        return REASON_CODE_NONE

    def _replace_waiting(
        self,
        market: Market,
        order: Order,
        quantity: int,
        limit_price: int | None,
        stop_price: int | None,
        worst_price: int,
    ) -> None:
        """New terms for a stop that waits: it keeps its place when its stop price stays and it does not grow."""
        stays = (stop_price is None or stop_price == order.stop_price) and quantity <= order.quantity
        if not stays:
            self.withdraw(order)
        order.quantity = quantity
        order.limit_price = limit_price
        order.worst_price = worst_price
        if stop_price is not None:
            order.stop_price = stop_price
        self.reporter.replaced(order)
        if not stays and order.stop_price is not None:
            self._hold(market, order, order.stop_price)

    def quotes_changed(self, market: Market) -> None:
        """Route resting orders that exchanges can now fill, best price and oldest first, buys before sells."""
        if not market.trading:
            return
        bids = market.book.bids
        street = market.street
        while True:
            level = bids.best()
            venue = street.ask
            if level is None or venue is None or venue.ask_price > level.price:
                break
            order = level.head
            if order is None:
                raise InvariantViolation(f"the best bid of {market.symbol} has no order")
            self._route(market, order, venue)
        if market.short_restricted:
            self._route_long_sales(market)
        else:
            self._route_sales(market)
        if self.triggered:
            self.work_off(market)

    def _route_sales(self, market: Market) -> None:
        """Route resting sales to bids of exchanges that reach them."""
        asks = market.book.asks
        street = market.street
        while True:
            level = asks.best()
            venue = street.bid
            if level is None or venue is None or venue.bid_price < level.price:
                return
            order = level.head
            if order is None:
                raise InvariantViolation(f"the best ask of {market.symbol} has no order")
            self._route(market, order, venue)

    def _route_long_sales(self, market: Market) -> None:
        """The same under Rule 201: a short sale may wait above the bid, but is not sent to one."""
        best = market.street.bid
        ask = market.book.best_ask()
        if best is None or ask == 0 or best.bid_price < ask:
            return
        for order in market.book.asks.orders():
            if order.side == SIDE_SELL_SHORT:
                continue
            while order.cum_quantity < order.quantity:
                venue = market.street.bid
                if venue is None or venue.bid_price < order.worst_price:
                    return
                self._route(market, order, venue)

    def bands_moved(self, market: Market) -> None:
        """Resting orders that stand beyond a band move to it, in their priority, behind those that are there."""
        market.street.confine(market.low, market.high)
        if not market.trading:
            return
        for side, band in ((market.book.bids, market.high), (market.book.asks, market.low)):
            best = side.best()
            if band == 0 or best is None or (best.price <= band if side.is_bid else best.price >= band):
                continue
            for order in side.orders():
                if order.worst_price > band if side.is_bid else order.worst_price < band:
                    self.withdraw(order)
                    order.worst_price = band
                    self.put_back(market, order, RESTING)

    def street_printed(self, market: Market, low: int, high: int) -> None:
        """Exchanges have printed trades between two prices: stops look at both ends."""
        if market.stops.waiting:
            market.stops.take_triggered(high, self.triggered)
            if low != high:
                market.stops.take_triggered(low, self.triggered)
        if self.triggered:
            self.work_off(market)

    def work_off(self, market: Market) -> None:
        """Let triggered stops act, first in, first out; what they print triggers more."""
        queue = self.triggered
        done = 0
        while done < len(queue):
            order = queue[done]
            done += 1
            del self.live[order.key]
            order.triggered = True
            self.reporter.triggered(order, market.last_price)
            if order.order_type != ORDER_TYPE_STOP_LIMIT:
                order.worst_price = self._stop_worst(market, order)
            self.arrive(market, order)
        self.triggered = []

    def _stop_worst(self, market: Market, order: Order) -> int:
        """The worst price of a stop that was triggered: the collar around the last print, within what was reserved."""
        if not self.collared:
            return NO_PRICE if order.is_buy else 1
        price = collar_price(order.is_buy, market.last_price, market.tick_e4, self.reporter.timestamp)
        reserved_at = order.worst_price
        if reserved_at > 0 and (reserved_at < price if order.is_buy else reserved_at > price):
            return reserved_at
        return price

    def expire_until(self, clock_ns: int) -> None:
        """Expire the orders of sessions that have closed by now, oldest order first."""
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
            self.withdraw(order)
            self._expire(order)

    def restore(self, order: Order) -> None:
        """Put an order of a snapshot back; orders come oldest first, and each level gets them in its own order."""
        market = self.market(order.symbol)
        if order.place == RESTING:
            side = market.book.bids if order.is_buy else market.book.asks
            side.add(order, order.worst_price, order.quantity - order.cum_quantity)
        elif order.place == WAITING and order.stop_price is not None:
            market.stops.add(order, order.stop_price)
        else:
            market.queue.append(order)
        self.keep(order)

    def _hold(self, market: Market, order: Order, stop_price: int) -> None:
        """Let a stop order wait, or trigger it when the last print has reached its price already."""
        self.reporter.decided(
            order, order.quantity - order.cum_quantity, OWN_VENUE, ROUTING_ACTION_HOLD_STOP, stop_price, 0, market
        )
        if not order.routed:
            order.routed = True
            self.reporter.routed(order, OWN_VENUE)
        self.keep(order)
        last = market.last_price
        if last > 0 and (last >= stop_price if order.is_buy else last <= stop_price):
            self.triggered.append(order)
            return
        self.rank += 1
        order.rank = self.rank
        market.stops.add(order, stop_price)

    def arrive(self, market: Market, order: Order) -> None:
        """An order that may act now: a new one, a replaced one, a triggered stop, or what an auction left."""
        time_in_force = order.time_in_force
        is_limit = order.order_type == ORDER_TYPE_LIMIT or order.order_type == ORDER_TYPE_STOP_LIMIT
        may_rest = is_limit and time_in_force in (TIME_IN_FORCE_DAY, TIME_IN_FORCE_GTC)
        if time_in_force in (TIME_IN_FORCE_OPG, TIME_IN_FORCE_CLS):
            self.queue(market, order)
            return
        if not market.trading:
            if may_rest:
                self.rest(market, order)
            elif not is_limit and time_in_force in (TIME_IN_FORCE_DAY, TIME_IN_FORCE_GTC):
                self.queue(market, order)
            else:
                self.end(order, ORDER_STATUS_CANCELLED, REASON_CODE_MATCH_HALTED, 0, 0)
            return
        if market.low or market.high or market.short_restricted:
            self._confine(market, order)
        if time_in_force == TIME_IN_FORCE_FOK and not self._can_fill(market, order):
            best = self._best_opposite(market, order.is_buy)
            self.end(order, ORDER_STATUS_CANCELLED, REASON_CODE_MATCH_FOK_UNFILLED, order.worst_price, best)
            return
        if not self.take(market, order) or order.cum_quantity == order.quantity:
            return
        if may_rest:
            self.rest(market, order)
        else:
            self.cancel_remainder(market, order, is_limit)

    def _confine(self, market: Market, order: Order) -> None:
        """Keep an order within the price bands, and a short sale above the national best bid under Rule 201.

        A price beyond is moved to the nearest one that is allowed; the order keeps it for as long as it rests.
        """
        if order.is_buy:
            if 0 < market.high < order.worst_price:
                order.worst_price = market.high
            return
        if order.worst_price < market.low:
            order.worst_price = market.low
        if market.short_restricted and order.side == SIDE_SELL_SHORT:
            bid = market.street.bid_price
            own = market.book.bids.displayed(market.print_lot)
            floor = (own if bid is None or own > bid else bid) + market.tick_e4
            if order.worst_price < floor:
                order.worst_price = floor

    def _can_fill(self, market: Market, order: Order) -> bool:
        """Whether a fill-or-kill order could be filled to the end, here and at exchanges."""
        need = order.quantity - order.cum_quantity
        worst = order.worst_price
        opposite = market.book.asks if order.is_buy else market.book.bids
        found = opposite.available(worst, need, order.stp, order.stp_key)
        if found >= need:
            return True
        # At an own order that stops it the order would end: only exchanges with a better price are met before.
        blocked = opposite.blocked
        for venue in market.street.venues:
            if order.is_buy:
                price = venue.ask_price
                if price <= worst and market.street.is_within(price) and (blocked == 0 or price < blocked):
                    found += venue.ask_size
            else:
                price = venue.bid_price
                if price >= worst and market.street.is_within(price) and price > blocked:
                    found += venue.bid_size
        return found >= need

    def _expire(self, order: Order) -> None:
        """End an order at the close of its session; what outlives sessions ends with its instrument."""
        reason = REASON_CODE_EXPIRY_SESSION_CLOSE
        if order.time_in_force == TIME_IN_FORCE_GTC:
            reason = REASON_CODE_EXPIRY_INSTRUMENT
        self.end(order, ORDER_STATUS_EXPIRED, reason, 0, order.close_ns)
