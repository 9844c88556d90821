"""Late limit orders for the close at work: the reference prices of the symbols, and what they make of an order.

Ordering: symbols as they came. Invariants: as in late_limits.py, which has the rule and its sources.
Complexity: an auction's work for each symbol that Nasdaq lists when a price is told; constant for an order.
"""

from schemas.messages.enums import ORDER_TYPE_LIMIT, TIME_IN_FORCE_CLS
from udfs.domain.book import Order
from udfs.domain.guard import Guard
from udfs.domain.rules import NASDAQ, auction_clip
from udfs.domain.uncrossing import indicative_price


def tell_reference_prices(guards: dict[str, Guard], time_ns: int) -> None:
    """The time of one of the reference prices has come."""
    for guard in guards.values():
        if guard.listing == NASDAQ:
            reference = guard.auction_reference()
            low, high = auction_clip(reference, guard.market.tick_e4, time_ns)
            guard.late_prices.tell(indicative_price(guard.market, reference, low, high))


def price_late(order: Order, guard: Guard) -> bool:
    """Give a late order the price that it may have; False when it may not be taken. Other orders stay as they are."""
    if order.time_in_force != TIME_IN_FORCE_CLS or order.order_type != ORDER_TYPE_LIMIT or order.imbalance_only:
        return True
    if guard.listing != NASDAQ:
        return True
    price = guard.late_prices.priced(order.is_buy, order.worst_price)
    if price == 0:
        return False
    order.worst_price = price
    return True
