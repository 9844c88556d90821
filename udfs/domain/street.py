"""What other exchanges display in one symbol, less what we have taken from it already.

Ordering: the nbbo record with the highest sequence counts; one with a lower or the same sequence is old news.
Invariants: what we take at one exchange never exceeds the size that it displayed in the quote that we took it from.
Choice for crossed and locked markets: each side of each exchange is taken at its word, alone. A national bid at or
above the national ask is neither repaired nor ignored: a buy order may take the ask and a sell order the bid, each up
to the displayed size, and the street is the other party of every such fill, so money only moves, it is never made.
Known limits: a new timestamp of an exchange's quote makes both its sides whole again, as a quote is one statement;
sizes below a round lot count like any other.
Complexity: an update is linear in the exchanges (at most 32), as is a fill; the best quote is kept.
"""

from __future__ import annotations

from schemas.messages.nbbo import Nbbo, VenueQuote
from udfs.domain.rules import MAX_PRICE_E4, venue_fee_e4


class Venue:
    """The quote of one exchange; a price of 0 means that the side is empty; sizes are what is left of the display."""

    __slots__ = ("ask_price", "ask_size", "ask_taken", "bid_price", "bid_size", "bid_taken", "exchange", "timestamp")

    def __init__(
        self,
        exchange: str,
        bid_price: int,
        bid_size: int,
        ask_price: int,
        ask_size: int,
        timestamp: int,
        bid_taken: int,
        ask_taken: int,
    ) -> None:
        self.exchange = exchange
        self.bid_price = bid_price
        self.bid_size = bid_size
        self.ask_price = ask_price
        self.ask_size = ask_size
        self.timestamp = timestamp
        self.bid_taken = bid_taken
        self.ask_taken = ask_taken


def usable_price(price: int | None) -> int:
    """The price, or 0 when there is none or it cannot be real."""
    if price is None or price <= 0 or price > MAX_PRICE_E4:
        return 0
    return price


class Street:
    """The last nbbo record of a symbol and what is left of the quotes in it."""

    __slots__ = (
        "absent",
        "ask",
        "ask_price",
        "ask_size",
        "bid",
        "bid_price",
        "bid_size",
        "event_id",
        "high",
        "known",
        "low",
        "sequence",
        "taken",
        "timestamp",
        "venues",
    )

    def __init__(self) -> None:
        self.event_id: str | None = None
        self.timestamp: int = 0
        # Whether there was a record at all, and the sequence of the last one.
        self.known: bool = False
        self.sequence: int = 0
        # The national best as published, for the record of decisions and trades.
        self.bid_price: int | None = None
        self.bid_size: int = 0
        self.ask_price: int | None = None
        self.ask_size: int = 0
        self.venues: list[Venue] = []
        # Exchanges that we took from and that the last record does not show: their quote may come back unchanged.
        self.absent: list[Venue] = []
        self.taken: bool = False
        # Price bands, 0 for none: a quote outside them is no offer, its exchange has to move it.
        self.low: int = 0
        self.high: int = 0
        # The best venue on each side that has something left.
        self.bid: Venue | None = None
        self.ask: Venue | None = None

    def is_news(self, sequence: int) -> bool:
        """Whether an nbbo record with this sequence is newer than the last one."""
        return not self.known or sequence > self.sequence

    def update(self, nbbo: Nbbo) -> None:
        """Take over an nbbo record that is news."""
        before = self._taken_from() if self.taken else []
        self.known = True
        self.event_id = nbbo.event_id
        self.timestamp = nbbo.timestamp
        self.sequence = nbbo.sequence
        self.bid_price = nbbo.bid_price
        self.bid_size = nbbo.bid_size
        self.ask_price = nbbo.ask_price
        self.ask_size = nbbo.ask_size
        self.taken = False
        venues: list[Venue] = []
        for quote in nbbo.quotes:
            venues.append(self._venue(quote, before))
        self.venues = venues
        if before:
            shown = {venue.exchange for venue in venues}
            self.absent = [venue for venue in before if venue.exchange not in shown]
            if self.absent:
                self.taken = True
        self.find_best()

    def forget(self) -> None:
        """A new session begins: what exchanges displayed in the last one is no offer any more."""
        self.event_id = None
        self.bid_price = None
        self.bid_size = 0
        self.ask_price = None
        self.ask_size = 0
        self.venues = []
        self.absent = []
        self.taken = False
        self.bid = None
        self.ask = None

    def _taken_from(self) -> list[Venue]:
        """Exchanges, shown or absent, whose quote we have taken from: one entry each."""
        shown = {venue.exchange for venue in self.venues}
        found = [venue for venue in self.venues if venue.bid_taken or venue.ask_taken]
        found.extend([venue for venue in self.absent if venue.exchange not in shown])
        return found

    def _venue(self, quote: VenueQuote, before: list[Venue]) -> Venue:
        """The state of an exchange after its quote, with what we took from the very same quote kept."""
        bid_taken = 0
        ask_taken = 0
        for old in before:
            if old.exchange == quote.exchange and old.timestamp == quote.timestamp:
                bid_taken = old.bid_taken
                ask_taken = old.ask_taken
                if bid_taken or ask_taken:
                    self.taken = True
        bid_left = quote.bid_size - bid_taken
        ask_left = quote.ask_size - ask_taken
        return Venue(
            quote.exchange,
            usable_price(quote.bid_price),
            bid_left if bid_left > 0 else 0,
            usable_price(quote.ask_price),
            ask_left if ask_left > 0 else 0,
            quote.timestamp,
            bid_taken,
            ask_taken,
        )

    def confine(self, low: int, high: int) -> None:
        """The price bands have moved."""
        self.low = low
        self.high = high
        self.find_best()

    def is_within(self, price: int) -> bool:
        """Whether there is a price, and the price bands allow an execution at it."""
        return price > 0 and price >= self.low and (self.high == 0 or price <= self.high)

    def find_best(self) -> None:
        """Best price first, then the larger size that is left, then the lower fee, then the exchange's name."""
        bid: Venue | None = None
        ask: Venue | None = None
        for venue in self.venues:
            if (
                venue.bid_size > 0
                and self.is_within(venue.bid_price)
                and (
                    bid is None
                    or venue.bid_price > bid.bid_price
                    or (
                        venue.bid_price == bid.bid_price
                        and (
                            venue.bid_size > bid.bid_size
                            or (venue.bid_size == bid.bid_size and self._is_cheaper(venue, bid, venue.bid_price))
                        )
                    )
                )
            ):
                bid = venue
            if (
                venue.ask_size > 0
                and self.is_within(venue.ask_price)
                and (
                    ask is None
                    or venue.ask_price < ask.ask_price
                    or (
                        venue.ask_price == ask.ask_price
                        and (
                            venue.ask_size > ask.ask_size
                            or (venue.ask_size == ask.ask_size and self._is_cheaper(venue, ask, venue.ask_price))
                        )
                    )
                )
            ):
                ask = venue
        self.bid = bid
        self.ask = ask

    def _is_cheaper(self, venue: Venue, best: Venue, price: int) -> bool:
        """Whether an exchange charges less for its quote than another, or the same and its name comes first."""
        fee = venue_fee_e4(venue.exchange, price, self.timestamp)
        other = venue_fee_e4(best.exchange, price, self.timestamp)
        return fee < other or (fee == other and venue.exchange < best.exchange)

    def take_ask(self, venue: Venue, quantity: int) -> None:
        """A buy order was filled against an exchange's displayed ask."""
        venue.ask_size -= quantity
        venue.ask_taken += quantity
        self.taken = True
        self.find_best()

    def take_bid(self, venue: Venue, quantity: int) -> None:
        """A sell order was filled against an exchange's displayed bid."""
        venue.bid_size -= quantity
        venue.bid_taken += quantity
        self.taken = True
        self.find_best()
