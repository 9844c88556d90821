"""The book of one exchange for one symbol, built from the changes of its orders: depth, and the quote that counts.

Ordering: changes in the order of the feed.

Rules:
- The quote of a side is the first price, from the best one down, at which the orders so far add up to a round lot; its
  size is that sum in whole round lots. Odd lots at better prices are part of the sum: exchanges roll them up to the least
  aggressive of their prices (UTP and CTA participant specifications, quotes; 17 CFR 242.600(b)(93) for the lot).
- A book that misses a change cannot be believed any more, and no later change mends it: it is dropped, shows nothing, and
  stays so until the source sends the book anew under a new feed id.
- While the exchange does not trade, its orders are known, but its quote is not firm and does not count. Neither does one
  whose two sides lock or cross each other, as books do before an opening.

Invariants: shares and number of orders of each price are the sums over `orders`; `keys` are sorted, the best price last.
Known limits: at most `MAX_ORDERS` orders; more are refused, which makes the book unusable.
Complexity: a change costs a binary search among the prices of its side, and where it touches the quote a walk over the
better prices, which is short. `depth` costs the levels that it returns.
"""

from bisect import bisect_left, insort
from typing import Final

from schemas.messages.market_depth import DepthLevel
from udfs.domain.nbbo import Venue
from udfs.domain.rules import round_lot
from udfs.domain.state_codec import StateReader, StateWriter

MAX_ORDERS: Final = 262_144
_EVERYTHING: Final = -(2**62)


class ShownOrder:
    """One order that an exchange shows: side, price e4, shares that are left."""

    __slots__ = ("is_bid", "price", "shares")

    def __init__(self, is_bid: bool, price: int, shares: int) -> None:
        self.is_bid = is_bid
        self.price = price
        self.shares = shares


class Level:
    """One price of one side."""

    __slots__ = ("orders", "shares")

    def __init__(self, shares: int) -> None:
        self.shares = shares
        self.orders = 1


class BookSide:
    """Bids or asks. A key is the price of a bid and the negated price of an ask, so that the best one is the largest.

    quote_key, quote_size: the quote (size 0: none). touched: it may have changed. floor_key: the worst key that was in
    the depth when it was last taken; deep: it may have changed.
    """

    __slots__ = ("deep", "floor_key", "keys", "levels", "quote_key", "quote_size", "touched")

    def __init__(self) -> None:
        self.keys: list[int] = []
        self.levels: dict[int, Level] = {}
        self.quote_key: int = 0
        self.quote_size: int = 0
        self.touched: bool = False
        self.floor_key: int = _EVERYTHING
        self.deep: bool = False

    def add(self, key: int, shares: int) -> None:
        """A new order."""
        level = self.levels.get(key)
        if level is None:
            self.levels[key] = Level(shares)
            insort(self.keys, key)
        else:
            level.shares += shares
            level.orders += 1
        self._mark(key)

    def take(self, key: int, shares: int, gone: bool) -> None:
        """Fewer shares of an order that is there, and with `gone` the order itself."""
        level = self.levels[key]
        level.shares -= shares
        if gone:
            level.orders -= 1
            if level.orders == 0:
                del self.levels[key]
                del self.keys[bisect_left(self.keys, key)]
        self._mark(key)

    def requote(self, lot: int, time_ns: int) -> None:
        """Find the quote again. `lot`: shares of a round lot, 0 to go by the price and the day."""
        self.touched = False
        total = 0
        key = 0
        size = 0
        at = len(self.keys)
        while at > 0:
            at -= 1
            key = self.keys[at]
            total += self.levels[key].shares
            needed = lot if lot > 0 else round_lot(abs(key), time_ns)
            if total >= needed:
                size = total - total % needed
                break
        self.quote_key = key if size else 0
        self.quote_size = size

    def depth(self, levels: int) -> list[DepthLevel]:
        """The best prices, best first."""
        self.deep = False
        found: list[DepthLevel] = []
        at = len(self.keys)
        self.floor_key = self.keys[at - levels] if at >= levels else _EVERYTHING
        while at > 0 and len(found) < levels:
            at -= 1
            key = self.keys[at]
            level = self.levels[key]
            found.append(DepthLevel(price=abs(key), quantity=level.shares, order_count=level.orders))
        return found

    def _mark(self, key: int) -> None:
        if self.quote_size == 0 or key >= self.quote_key:
            self.touched = True
        if key >= self.floor_key:
            self.deep = True


class ExchangeBook:
    """All orders that one exchange shows in one symbol.

    feed_id: whose changes these are. locate: the feed's number of the symbol, 0 before it was told. lot: shares of a round
    lot, 0 when the feed does not say. usable: no change was missed. halted, closed: the symbol does not trade, or not on
    this exchange. bids_published, asks_published: the depth that was published last.
    """

    __slots__ = (
        "asks",
        "asks_published",
        "bids",
        "bids_published",
        "closed",
        "feed_id",
        "halted",
        "locate",
        "lot",
        "orders",
        "stirred",
        "usable",
        "venue",
    )

    def __init__(self, venue: Venue, feed_id: str) -> None:
        self.venue = venue
        self.feed_id = feed_id
        self.locate: int = 0
        self.lot: int = 0
        self.usable: bool = True
        self.halted: bool = False
        self.closed: bool = False
        self.stirred: bool = False
        self.orders: dict[int, ShownOrder] = {}
        self.bids = BookSide()
        self.asks = BookSide()
        self.bids_published: list[DepthLevel] = []
        self.asks_published: list[DepthLevel] = []

    def add(self, order_id: int, is_bid: bool, price: int, shares: int) -> str:
        """A new order; returns why it cannot be, or an empty text."""
        if order_id in self.orders:
            return f"order {order_id} is in the book already"
        if len(self.orders) >= MAX_ORDERS:
            return f"the book holds {MAX_ORDERS} orders already"
        self.orders[order_id] = ShownOrder(is_bid, price, shares)
        if is_bid:
            self.bids.add(price, shares)
        else:
            self.asks.add(-price, shares)
        return ""

    def take(self, order: ShownOrder, order_id: int, shares: int) -> None:
        """Take shares off an order, at most what it has; an order without shares is gone."""
        order.shares -= shares
        gone = order.shares == 0
        if gone:
            del self.orders[order_id]
        if order.is_bid:
            self.bids.take(order.price, shares, gone)
        else:
            self.asks.take(-order.price, shares, gone)

    def drop(self) -> None:
        """Forget all orders for good: a change was missed."""
        self.usable = False
        self.stirred = True
        self.orders = {}
        self.bids = BookSide()
        self.asks = BookSide()

    def is_stirred(self) -> bool:
        """Whether what the exchange shows may have changed since `requote`."""
        return self.stirred or self.bids.touched or self.asks.touched

    def requote(self, time_ns: int) -> None:
        """Find the quotes that were touched again."""
        self.stirred = False
        if self.bids.touched:
            self.bids.requote(self.lot, time_ns)
        if self.asks.touched:
            self.asks.requote(self.lot, time_ns)

    def relot(self, lot: int) -> None:
        """A round lot has this many shares now."""
        if lot != self.lot:
            self.lot = lot
            self.bids.touched = True
            self.asks.touched = True

    def is_deep(self, levels: int) -> bool:
        """Whether the depth is another than was published; then `bids_published` and `asks_published` are the new one."""
        changed = False
        if self.bids.deep or (not self.usable and self.bids_published):
            bids = self.bids.depth(levels)
            changed = not same_depth(bids, self.bids_published)
            self.bids_published = bids
        if self.asks.deep or (not self.usable and self.asks_published):
            asks = self.asks.depth(levels)
            changed = changed or not same_depth(asks, self.asks_published)
            self.asks_published = asks
        return changed

    def is_firm(self) -> bool:
        """Whether the quote counts."""
        if not self.usable or self.halted or self.closed:
            return False
        bids, asks = self.bids, self.asks
        return bids.quote_size == 0 or asks.quote_size == 0 or bids.quote_key < -asks.quote_key

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        out.put_text(self.venue.exchange)
        out.put_text(self.feed_id)
        out.put(self.locate)
        out.put(self.lot)
        out.put_flag(self.usable)
        out.put_flag(self.halted)
        out.put_flag(self.closed)
        for side in (self.bids, self.asks):
            out.put(side.quote_key)
            out.put(side.quote_size)
        out.put(len(self.orders))
        for order_id, order in self.orders.items():
            # References are unsigned, numbers of the state are not; the side goes into the sign of the price.
            out.put(order_id - 2**64 if order_id >= 2**63 else order_id)
            out.put(order.price if order.is_bid else -order.price)
            out.put(order.shares)

    def read(self, reader: StateReader, levels: int) -> None:
        """Take the state from a snapshot, after exchange and feed id; `levels`: of the depth that was published."""
        self.locate = reader.take()
        self.lot = reader.take()
        self.usable = reader.take_flag()
        self.halted = reader.take_flag()
        self.closed = reader.take_flag()
        quotes = [reader.take() for _ in range(4)]
        for _ in range(reader.take()):
            order_id = reader.take()
            price = reader.take()
            self.add(order_id + 2**64 if order_id < 0 else order_id, price > 0, abs(price), reader.take())
        for at, side in enumerate((self.bids, self.asks)):
            side.quote_key = quotes[2 * at]
            side.quote_size = quotes[2 * at + 1]
            side.touched = False
            side.deep = False
        self.bids_published = self.bids.depth(levels)
        self.asks_published = self.asks.depth(levels)


def same_depth(one: list[DepthLevel], other: list[DepthLevel]) -> bool:
    """Whether two sides say the same."""
    if len(one) != len(other):
        return False
    for at in range(len(one)):
        left, right = one[at], other[at]
        if left.price != right.price or left.quantity != right.quantity or left.order_count != right.order_count:
            return False
    return True
