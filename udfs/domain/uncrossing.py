"""Holding an auction in a market: the orders of the book and of the queue meet at one price.

Ordering: market orders first, then better prices, then time; imbalance-only orders last, by price and time among them.
Self-trade prevention does not reach auctions.
Invariants: everything trades at the price of auction.uncross and in its quantity; afterwards nothing of an order that
was only for this auction is left; imbalance-only orders trade on one side only, and only when all others of that side
that the price reaches are filled; while Rule 201 is in force no short sale trades at or below the national best bid
that is not marked exempt, or was displayed above it before the auction.
Source: Nasdaq Rules 4752(a), (d), 4754(a), (b) and 4763; 17 CFR 242.201(b)(1).
Complexity: O(n log n) in the orders that take part.
"""

from typing import Final

from schemas.messages.enums import (
    ORDER_TYPE_LIMIT,
    ORDER_TYPE_STOP_LIMIT,
    REASON_CODE_MATCH_AUCTION_UNFILLED,
    SIDE_SELL_SHORT,
    TIME_IN_FORCE_CLS,
    TIME_IN_FORCE_OPG,
)
from udfs.domain.auction import AuctionResult, uncross
from udfs.domain.book import QUEUED, RESTING, BookSide, InvariantViolation, Order
from udfs.domain.filling import Filler
from udfs.domain.market import Market

OPENING: Final = 1
CLOSING: Final = 2
REOPENING: Final = 3

_MARKET_ORDER: Final = 0
_LIMIT_ORDER: Final = 1
_IMBALANCE_ONLY: Final = 2


def is_for(order: Order, kind: int) -> bool:
    """Whether a queued order takes part: on-open and on-close orders in their own auction, others in any."""
    if order.time_in_force == TIME_IN_FORCE_OPG:
        return kind == OPENING
    if order.time_in_force == TIME_IN_FORCE_CLS:
        return kind == CLOSING
    return True


def _takes_part(order: Order, kind: int, out: set[int]) -> bool:
    """Whether a queued order has open shares for this auction; those of `out` have dropped out of it."""
    return order.cum_quantity < order.quantity and order.rank not in out and is_for(order, kind)


def _is_limit(order: Order) -> bool:
    return order.order_type in (ORDER_TYPE_LIMIT, ORDER_TYPE_STOP_LIMIT)


def prepare_auction(filler: Filler, market: Market, kind: int, short_restricted: bool) -> int:
    """Give the limit orders of an auction the prices that they may have in it; call it before the auction is held.

    An imbalance-only order is not more aggressive than the best price of its side, in our book or at exchanges. Under
    Rule 201 a short sale asks for a tick more than the national best bid, which is that of exchanges, and before the
    close of our book too: until then it is displayed. What rests at the close was displayed above the bid of its time.
    Returns the lowest price for short sales, which hold_auction takes for those without a limit; 0 for none.
    """
    bid, ask = _best_prices(market)
    for order in market.queue:
        if order.imbalance_only and is_for(order, kind):
            order.worst_price = _inside(order, bid, ask)
    if not short_restricted:
        return 0
    floor = market.street.bid_price or 0
    if kind == CLOSING:
        floor = max(floor, market.book.bids.displayed(market.print_lot))
    if floor == 0:
        return 0
    floor += market.tick_e4
    for order in market.queue:
        if order.side == SIDE_SELL_SHORT and _is_limit(order) and is_for(order, kind) and order.worst_price < floor:
            order.worst_price = floor
    if kind != CLOSING:
        for order in market.book.asks.orders():
            if order.side == SIDE_SELL_SHORT and order.worst_price < floor:
                filler.withdraw(order)
                order.worst_price = floor
                filler.put_back(market, order, RESTING)
    return floor


def _best_prices(market: Market) -> tuple[int, int]:
    """The best bid and ask of our book and of exchanges; 0 for none."""
    street = market.street
    bid = market.book.best_bid()
    if street.bid_price is not None and street.bid_price > bid:
        bid = street.bid_price
    ask = market.book.best_ask()
    if street.ask_price is not None and (ask == 0 or street.ask_price < ask):
        ask = street.ask_price
    return bid, ask


def _inside(order: Order, bid: int, ask: int) -> int:
    """The worst price of an imbalance-only order that may be no more aggressive than the best of its side."""
    if order.is_buy:
        return bid if 0 < bid < order.worst_price else order.worst_price
    return ask if ask > order.worst_price else order.worst_price


def indicative_price(market: Market, reference: int, low: int, high: int) -> int:
    """Where the orders for the close would meet by now, the book left out; 0 where they do not.

    It lies between the best bid and ask, of our book and of exchanges. reference, low, high: as hold_auction takes them; they
    count where one of the two is missing, or where they cross.
    Source: Nasdaq Rule 4754(a)(7)(A), the current reference price of its imbalance indicators.
    """
    bid, ask = _best_prices(market)
    if 0 < bid <= ask:
        reference = (bid + ask) // 2
        low = bid
        high = ask
    return _agree(market, CLOSING, reference, low, high, 0, set(), False).price_e4


def hold_auction(
    filler: Filler, market: Market, kind: int, reference: int, low: int, high: int, short_floor: int = 0
) -> AuctionResult:
    """Hold an auction while continuous trading is off; fills are reported, the queue keeps what was not filled.

    A market order takes part as far as the price that risk reserved for: the price is found again without those that
    it is beyond. reference, low, high: as auction.uncross takes them, in 1/10,000 of the currency, 0 for none.
    short_floor: as prepare_auction returns it.
    """
    out: set[int] = set()
    result = _agree(market, kind, reference, low, high, short_floor, out, True)
    if result.quantity > 0:
        _fill(filler, market, kind, result.price_e4, result.quantity, out)
        # At once, not with the end of the auction: a pause that is extended has none.
        market.queue = [order for order in market.queue if order.place == QUEUED]
    return result


def _agree(
    market: Market, kind: int, reference: int, low: int, high: int, short_floor: int, out: set[int], with_book: bool
) -> AuctionResult:
    """The auction's price and quantity; `out` gets the ranks of the market orders that it would be too bad for."""
    while True:
        result = _find_price(market, kind, reference, low, high, out, with_book)
        beyond = len(out)
        if result.quantity > 0:
            for order in market.queue:
                if _is_limit(order) or not _takes_part(order, kind, out):
                    continue
                if _is_beyond(order, result.price_e4) or _is_short_below(order, result.price_e4, short_floor):
                    out.add(order.rank)
        if len(out) == beyond:
            return result


def _is_beyond(order: Order, price: int) -> bool:
    """Whether a price is worse than an order may pay or get."""
    return price > order.worst_price if order.is_buy else price < order.worst_price


def _is_short_below(order: Order, price: int, short_floor: int) -> bool:
    """Whether Rule 201 bars an order from a price."""
    return price < short_floor and order.side == SIDE_SELL_SHORT


def _find_price(
    market: Market, kind: int, reference: int, low: int, high: int, out: set[int], with_book: bool
) -> AuctionResult:
    """The auction's price and quantity without the market orders whose ranks are in `out`."""
    bids: dict[int, int] = {}
    asks: dict[int, int] = {}
    imbalance_bids: dict[int, int] = {}
    imbalance_asks: dict[int, int] = {}
    market_buy = 0
    market_sell = 0
    bid, ask = _best_prices(market)
    if with_book:
        _add_levels(bids, market.book.bids)
        _add_levels(asks, market.book.asks)
    for order in market.queue:
        if not _takes_part(order, kind, out):
            continue
        leaves = order.quantity - order.cum_quantity
        if _is_limit(order):
            levels = bids if order.is_buy else asks
            price = order.worst_price
            if order.imbalance_only:
                levels = imbalance_bids if order.is_buy else imbalance_asks
                if not with_book:
                    # An auction's own orders have been moved by prepare_auction; these may move again until it is held.
                    price = _inside(order, bid, ask)
            levels[price] = levels.get(price, 0) + leaves
        elif order.is_buy:
            market_buy += leaves
        else:
            market_sell += leaves
    return uncross(
        [(price, bids[price]) for price in sorted(bids, reverse=True)],
        [(price, asks[price]) for price in sorted(asks)],
        market_buy,
        market_sell,
        reference,
        low,
        high,
        market.tick_e4,
        [(price, imbalance_bids[price]) for price in sorted(imbalance_bids, reverse=True)],
        [(price, imbalance_asks[price]) for price in sorted(imbalance_asks)],
    )


def end_auction_only(filler: Filler, market: Market, kind: int) -> None:
    """End the orders that were for the auction that is over."""
    queue: list[Order] = []
    for order in market.queue:
        if order.time_in_force in (TIME_IN_FORCE_OPG, TIME_IN_FORCE_CLS) and is_for(order, kind):
            filler.end_queued(order, REASON_CODE_MATCH_AUCTION_UNFILLED)
        else:
            queue.append(order)
    market.queue = queue


def _add_levels(into: dict[int, int], side: BookSide) -> None:
    for price, level in side.levels.items():
        if level.count > 0:
            into[price] = level.quantity


def _fill(filler: Filler, market: Market, kind: int, price: int, quantity: int, out: set[int]) -> None:
    """Fill buys with sells, each in its priority, until the auction's quantity is done."""
    buys = _in_priority(market, kind, True, price, out)
    sells = _in_priority(market, kind, False, price, out)
    buy_at = 0
    sell_at = 0
    while quantity > 0:
        if buy_at >= len(buys) or sell_at >= len(sells):
            raise InvariantViolation(f"the auction of {market.symbol} has fewer shares than its price was made from")
        buy = buys[buy_at]
        sell = sells[sell_at]
        part = buy.quantity - buy.cum_quantity
        if sell.quantity - sell.cum_quantity < part:
            part = sell.quantity - sell.cum_quantity
        if part > quantity:
            part = quantity
        filler.auctioned(market, buy, sell, part, price)
        quantity -= part
        if buy.cum_quantity == buy.quantity:
            buy_at += 1
        if sell.cum_quantity == sell.quantity:
            sell_at += 1


def _in_priority(market: Market, kind: int, is_buy: bool, price: int, out: set[int]) -> list[Order]:
    """The orders of one side that may trade at the auction's price, those that come first at the front."""
    found: list[tuple[int, int, int, Order]] = []
    side = market.book.bids if is_buy else market.book.asks
    candidates = side.orders()
    for order in market.queue:
        if order.is_buy == is_buy and _takes_part(order, kind, out):
            candidates.append(order)
    for order in candidates:
        if not _is_limit(order):
            found.append((_MARKET_ORDER, 0, order.rank, order))
        elif order.worst_price >= price if is_buy else order.worst_price <= price:
            signed = -order.worst_price if is_buy else order.worst_price
            found.append((_IMBALANCE_ONLY if order.imbalance_only else _LIMIT_ORDER, signed, order.rank, order))
    # Ranks are unique, so orders themselves are never compared.
    found.sort()
    return [entry[3] for entry in found]
