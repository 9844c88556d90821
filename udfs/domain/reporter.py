"""What matching tells about its orders, as an interface: the engine changes orders and books, a reporter writes it down.

Ordering: calls come in the order in which things happen; `cause_id` and `timestamp` are those of the input at work.
Invariant: an order's quantities are changed before the call that reports it; nothing here changes them.
This base class says nothing at all, which is what a benchmark of the engine alone wants.
"""

from __future__ import annotations

from udfs.domain.book import Order
from udfs.domain.market import Market


class Reporter:
    """Base of all reporters. Prices in 1/10,000 of the currency, quantities in shares."""

    __slots__ = ("cause_id", "note", "timestamp")

    def __init__(self) -> None:
        self.cause_id: str = ""
        self.timestamp: int = 0
        # What is said about orders that a corporate action changes or ends.
        self.note: str = ""

    def begin(self, cause_id: str, timestamp: int) -> None:
        """An input is being applied: its identity and its time (UTC ns)."""
        self.cause_id = cause_id
        self.timestamp = timestamp

    def placed(self, order: Order, reserved_e4: int) -> None:
        """An approved order has come; `reserved_e4` is the money that risk reserved for it."""

    def routed(self, order: Order, venue: str) -> None:
        """The order has a place for the first time: our book, or an exchange."""

    def decided(self, order: Order, quantity: int, venue: str, action: int, price: int, fee_e4: int, m: Market) -> None:
        """Where a part of the order goes: called before it is executed, so that books and quotes are as they were."""

    def executed(self, taker: Order, maker: Order, quantity: int, price: int, market: Market) -> None:
        """Two orders met in our book."""

    def executed_away(self, order: Order, venue: str, quantity: int, price: int, market: Market) -> None:
        """An order met the quote of an exchange."""

    def crossed(self, buy: Order, sell: Order, quantity: int, price: int, market: Market) -> None:
        """Two orders met in an auction."""

    def ended(self, order: Order, status: int, reason: int, limit: int, observed: int) -> None:
        """The order ended with shares open; `limit` and `observed` are the numbers of the reason, 0 when it has none."""

    def reduced(self, order: Order, quantity: int) -> None:
        """Shares were taken off the order without a trade; it goes on."""

    def adjusted(self, order: Order, action_id: str) -> None:
        """A corporate action has changed the order's terms; `note` says which."""

    def kept(self, order: Order) -> None:
        """A corporate action has left the order as it is, although one might think otherwise."""

    def session_began(self, open_ns: int) -> None:
        """What is reported from here on happens in the session that opens at this time."""

    def replaced(self, order: Order) -> None:
        """The order has new terms."""

    def replace_refused(self, order: Order) -> None:
        """A replacement of the live order was refused; who asked is answered elsewhere."""

    def triggered(self, order: Order, print_price: int) -> None:
        """A stop order has become a market or limit order."""
