"""What must hold of the match stage between inputs, checked: for tests, and for a state that is under suspicion.

Invariant: raises InvariantViolation, with the order or symbol, or returns. Complexity: linear in the live orders.
"""

from typing import Final

from schemas.messages.enums import (
    ORDER_STATUS_PARTIALLY_FILLED,
    ORDER_STATUS_PENDING,
    ORDER_STATUS_REPLACED,
    ORDER_STATUS_ROUTED,
)
from udfs.domain.book import QUEUED, RESTING, InvariantViolation, Order
from udfs.domain.filling import Filler
from udfs.domain.market import Market

_LIVE_STATES: Final = (ORDER_STATUS_ROUTED, ORDER_STATUS_PARTIALLY_FILLED, ORDER_STATUS_REPLACED)


def check_matcher(matcher: Filler, clock_ns: int) -> None:
    """Raise InvariantViolation when books, stops, queues and the list of live orders contradict each other."""
    found = 0
    for symbol, market in matcher.markets.items():
        market.book.check(may_cross=not market.trading)
        market.stops.check()
        _check_street(symbol, market)
        orders = market.book.bids.orders() + market.book.asks.orders()
        for order in orders:
            if order.place != RESTING:
                raise InvariantViolation(f"order {order.order_id} rests but does not know it")
        for order in market.queue:
            if order.place != QUEUED:
                raise InvariantViolation(f"order {order.order_id} is queued but does not know it")
        for order in orders + market.stops.orders() + market.queue:
            found += 1
            _check_order(matcher, order, symbol, clock_ns)
    if found != len(matcher.live):
        raise InvariantViolation(f"{len(matcher.live)} orders live, {found} are in books, stops and queues")
    if matcher.triggered:
        raise InvariantViolation(f"{len(matcher.triggered)} triggered stops have not acted")


def _check_street(symbol: str, market: Market) -> None:
    """No more was taken than displayed, and nothing rests that an exchange could fill."""
    street = market.street
    for venue in street.venues:
        if venue.bid_size < 0 or venue.ask_size < 0 or venue.bid_taken < 0 or venue.ask_taken < 0:
            raise InvariantViolation(f"more was taken from {venue.exchange} in {symbol} than it displayed")
    if not market.trading or market.short_restricted:
        return
    book = market.book
    if street.ask is not None and book.best_bid() >= street.ask.ask_price:
        raise InvariantViolation(f"a bid for {symbol} rests although {street.ask.exchange} offers at its price")
    if street.bid is not None and 0 < book.best_ask() <= street.bid.bid_price:
        raise InvariantViolation(f"an ask for {symbol} rests although {street.bid.exchange} bids its price")


def _check_order(matcher: Filler, order: Order, symbol: str, clock_ns: int) -> None:
    """An order that lives is known, open, in a live state, and its session has not closed."""
    if matcher.live.get(order.key) is not order or order.symbol != symbol:
        raise InvariantViolation(f"order {order.order_id} is in the market of {symbol} but not known as live there")
    if order.quantity <= order.cum_quantity or not order.routed or order.rank > matcher.rank:
        raise InvariantViolation(f"order {order.order_id} lives although it is filled, or has no place")
    # A reporter that publishes no states leaves them at PENDING.
    if order.status != ORDER_STATUS_PENDING and order.status not in _LIVE_STATES:
        raise InvariantViolation(f"order {order.order_id} lives in a state that cannot live")
    if order.close_ns <= clock_ns or order.close_ns < matcher.next_close_ns:
        raise InvariantViolation(f"order {order.order_id} has outlived its session")
