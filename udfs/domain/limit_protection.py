"""Limit prices that are too far beyond the market to be meant, refused while their symbol trades.

A limit order, new or with a new price, is refused when its price is beyond the national best that it meets by more than the
market collar's share and at least 0.15 (rules.py). That is for continuous trading only: before the opening, in halts and in
pauses limits far away are wanted, so that the auction finds a price, and orders for an auction are never refused so.
Ordering and invariants: pure; nothing is remembered.
Source: the exchanges' limit order protections, such as Nasdaq Rule 4757(c) and NYSE Rule 7.31(a)(2)(B), with the numbers of
the latter.
Known limits: a stop-limit order is not looked at again when it is triggered; the national best is that of the exchanges,
without our own book.
Complexity: constant.
"""

from schemas.messages.enums import ORDER_TYPE_LIMIT, TIME_IN_FORCE_OPG
from udfs.domain.book import Order
from udfs.domain.market import Market
from udfs.domain.rules import limit_protection_price, may_break_protection


def national_best(market: Market, is_buy: bool) -> int:
    """The national best that an order on this side meets, as exchanges publish it; 0 when there is none."""
    street = market.street
    return (street.ask_price if is_buy else street.bid_price) or 0


def protected_price(market: Market, order: Order, price_e4: int | None, time_ns: int) -> int:
    """The worst limit price that is taken in now when `price_e4`, the order's or a new one, is beyond it; else 0."""
    if price_e4 is None or not market.trading or order.order_type != ORDER_TYPE_LIMIT:
        return 0
    best = national_best(market, order.is_buy)
    if best == 0 or not may_break_protection(order.is_buy, price_e4, best) or order.time_in_force >= TIME_IN_FORCE_OPG:
        return 0
    allowed = limit_protection_price(order.is_buy, best, market.tick_e4, time_ns)
    return allowed if (price_e4 > allowed if order.is_buy else price_e4 < allowed) else 0
