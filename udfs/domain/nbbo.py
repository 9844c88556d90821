"""Best bid and offer of one symbol over all exchanges, from the quotes that each exchange showed last.

Ordering: quotes are applied in the order of their feed; times may step back a little without harm. With each state go
the eligible trades since the state before it was published: highest, lowest, number and sum of prices.

Rules:
- An exchange has one bid and one ask; a line replaces the sides that it speaks about.
- A side that is suspicious, or whose condition is not firm, is known to have replaced the old one but cannot be
  trusted: the exchange has no such side until the next good line.
- An exchange cannot lock or cross itself: a new side that reaches the exchange's own other side makes that older side
  void. (Feeds send the two sides as two lines, so a moving quote passes through such a state all the time.)
- The best bid is the highest; between equal prices the larger size wins, then the more recent. The size published is
  that exchange's own, not the sum, because it is what one routed order can meet there. The ask mirrors this.
- A side that was not updated for `stale_after_ns` of the symbol's market time is not used, and neither is one from the
  future (left by a replay of an older day). Both sides of an exchange whose own spread is wider than `max_spread_bps`
  are not used.
- Locked markets (best bid = best ask) are published as they are. In a crossed one (best bid > best ask) the older of
  the two quotes is left out if it is older than `crossed_after_ns`, because a quote that others trade through for so
  long is no longer there; and so on until the market is uncrossed or all of it is fresh. A fresh cross is published as
  it is.
- An exchange whose whole book is known shows what the book says (exchange_book.py); `show` replaces both sides at once,
  and every record of the book confirms them.
- A trade that is taken back or corrected no longer sets the last price: the eligible trade before it does, of the last
  `LAST_TRADES`. What it did to the trades since the state before stays: it did print, and triggered what it triggered.
- Best-quote feeds: some sources (Lean's equity files are one) report only the quotes that are the national best. Each
  line then also says that every better bid (or ask), and every larger one at that price, has gone from the other
  exchanges.

Invariants:
- What `consolidate` says about quotes and the last price is a function of the accepted records so far, so that the
  grouping into batches decides only which of these states are published, never what they say. Its trades are those
  since `trades_published`: over all published states, each trade is told once.
- When there were trades, the last of them is `last_price`, unless it was changed since.
Complexity: a quote costs one pass over the exchanges of its symbol (20 at most), so does a consolidation.
"""

from typing import Final

from schemas.messages.nbbo import Nbbo, VenueQuote
from udfs.domain.feed_adapter import FeedEvent
from udfs.domain.normalise import MarketLimits
from udfs.domain.state_codec import StateReader, StateWriter

LAST_TRADES: Final = 16
"""Eligible trades that are remembered for the last price; those before can be taken back without changing it."""


class VenueSide:
    """One exchange's bid or ask: price e4 (0: none), size in shares, time ns, the symbol's sequence when it came."""

    __slots__ = ("excluded", "price", "sequence", "size", "time_ns")

    def __init__(self) -> None:
        self.price = 0
        self.size = 0
        self.time_ns = 0
        self.sequence = 0
        self.excluded = False

    def clear(self) -> None:
        """The exchange no longer shows this side."""
        self.price = 0
        self.size = 0


class Venue:
    """The two sides of one exchange."""

    __slots__ = ("ask", "bid", "exchange")

    def __init__(self, exchange: str) -> None:
        self.exchange = exchange
        self.bid = VenueSide()
        self.ask = VenueSide()


class SymbolQuotes:
    """Quotes of all exchanges for one symbol, its last eligible trade, and the trades that were not published yet."""

    __slots__ = (
        "_by_exchange",
        "last_keys",
        "last_price",
        "last_prices",
        "sequence",
        "settled_price",
        "symbol",
        "time_ns",
        "trade_count",
        "trade_high",
        "trade_low",
        "trade_price_sum",
        "venues",
    )

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.venues: list[Venue] = []
        self._by_exchange: dict[str, Venue] = {}
        self.last_price = 0
        self.settled_price = 0
        """Last price if all trades of `last_keys` were taken back: those can be, each with its price, oldest first."""
        self.last_keys: list[str] = []
        self.last_prices: list[int] = []
        self.time_ns = 0
        self.sequence = 0
        self.trade_count = 0
        self.trade_high = 0
        self.trade_low = 0
        self.trade_price_sum = 0

    def venue(self, exchange: str) -> Venue:
        """The exchange's entry; venues are kept in the order of their names."""
        known = self._by_exchange.get(exchange)
        if known is not None:
            return known
        created = Venue(exchange)
        at = 0
        while at < len(self.venues) and self.venues[at].exchange < exchange:
            at += 1
        self.venues.insert(at, created)
        self._by_exchange[exchange] = created
        return created

    def apply_quote(self, quote: FeedEvent, trusted: bool, best_of_market: bool) -> Venue:
        """Apply a quote that was accepted at `time_ns` with `sequence`; returns the exchange's entry after it."""
        venue = self.venue(quote.exchange)
        if not trusted:
            if quote.bid_present:
                venue.bid.clear()
            if quote.ask_present:
                venue.ask.clear()
            return venue
        if quote.bid_present:
            self._set(venue.bid, quote.bid_price, quote.bid_size)
        if quote.ask_present:
            self._set(venue.ask, quote.ask_price, quote.ask_size)
        if venue.bid.price != 0 and venue.ask.price != 0 and venue.bid.price >= venue.ask.price:
            if quote.bid_present:
                venue.ask.clear()
            else:
                venue.bid.clear()
        if best_of_market:
            if quote.bid_present and quote.bid_size != 0:
                self._retire_better_bids(venue)
            if quote.ask_present and quote.ask_size != 0:
                self._retire_better_asks(venue)
        return venue

    def show(self, venue: Venue, bid_price: int, bid_size: int, ask_price: int, ask_size: int) -> None:
        """Replace both sides of an exchange by those of its book, at `time_ns`; size 0: it has none."""
        bid, ask = venue.bid, venue.ask
        if bid.price != bid_price or bid.size != bid_size:
            self._set(bid, bid_price, bid_size)
        if ask.price != ask_price or ask.size != ask_size:
            self._set(ask, ask_price, ask_size)

    def _set(self, side: VenueSide, price: int, size: int) -> None:
        side.time_ns = self.time_ns
        side.sequence = self.sequence
        if size == 0:
            side.clear()
        else:
            side.price = price
            side.size = size

    def _retire_better_bids(self, best: Venue) -> None:
        price, size = best.bid.price, best.bid.size
        for venue in self.venues:
            bid = venue.bid
            if venue is not best and (bid.price > price or (bid.price == price and bid.size > size)):
                bid.clear()

    def _retire_better_asks(self, best: Venue) -> None:
        price, size = best.ask.price, best.ask.size
        for venue in self.venues:
            ask = venue.ask
            if venue is not best and ask.price != 0 and (ask.price < price or (ask.price == price and ask.size > size)):
                ask.clear()

    def apply_trade(self, price: int, key: str) -> None:
        """Apply an eligible trade; `key`: what it can be taken back by, empty when it cannot be."""
        if key:
            self.last_keys.append(key)
            self.last_prices.append(price)
            if len(self.last_keys) > LAST_TRADES:
                del self.last_keys[0]
                self.settled_price = self.last_prices.pop(0)
        else:
            self.settled_price = price
            if self.last_keys:
                self.last_keys = []
                self.last_prices = []
        self.last_price = price
        if self.trade_count == 0 or price > self.trade_high:
            self.trade_high = price
        if self.trade_count == 0 or price < self.trade_low:
            self.trade_low = price
        self.trade_count += 1
        self.trade_price_sum += price

    def change_trade(self, key: str, price: int) -> None:
        """A trade has this price now and is still eligible; price 0: it no longer is, or was taken back."""
        if key not in self.last_keys:
            return
        at = self.last_keys.index(key)
        if price == 0:
            del self.last_keys[at]
            del self.last_prices[at]
        else:
            self.last_prices[at] = price
        self.last_price = self.last_prices[-1] if self.last_prices else self.settled_price

    def trades_published(self) -> None:
        """The trades so far were published: those of the next state begin."""
        self.trade_count = 0
        self.trade_high = 0
        self.trade_low = 0
        self.trade_price_sum = 0

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot. Trades have no place in it: between batches all have been published."""
        out.put(self.settled_price)
        out.put(len(self.last_keys))
        for at in range(len(self.last_keys)):
            out.put_text(self.last_keys[at])
            out.put(self.last_prices[at])
        out.put(self.time_ns)
        out.put(self.sequence)
        out.put(len(self.venues))
        for venue in self.venues:
            out.put_text(venue.exchange)
            for side in (venue.bid, venue.ask):
                out.put(side.price)
                out.put(side.size)
                out.put(side.time_ns)
                out.put(side.sequence)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot, as `write` put it, or the release of version 1 did."""
        self.settled_price = reader.take()
        self.last_keys = []
        self.last_prices = []
        if reader.version >= 2:
            for _ in range(reader.take()):
                self.last_keys.append(reader.take_text())
                self.last_prices.append(reader.take())
        self.last_price = self.last_prices[-1] if self.last_prices else self.settled_price
        self.time_ns = reader.take()
        self.sequence = reader.take()
        self.venues = []
        self._by_exchange = {}
        for _ in range(reader.take()):
            venue = self.venue(reader.take_text())
            for side in (venue.bid, venue.ask):
                side.price = reader.take()
                side.size = reader.take()
                side.time_ns = reader.take()
                side.sequence = reader.take()

    def consolidate(self, limits: MarketLimits) -> Nbbo:
        """The best bid and offer now, under the rules of this module."""
        self._exclude_unusable(limits)
        bid = self._best_bid()
        ask = self._best_ask()
        oldest = self.time_ns - limits.crossed_after_ns
        while bid is not None and ask is not None and bid.bid.price > ask.ask.price:
            bid_is_older = bid.bid.time_ns <= ask.ask.time_ns
            if min(bid.bid.time_ns, ask.ask.time_ns) >= oldest:
                break
            if bid_is_older:
                bid.bid.excluded = True
                bid = self._best_bid()
            else:
                ask.ask.excluded = True
                ask = self._best_ask()
        return Nbbo(
            event_id=f"{self.symbol}-{self.sequence}",
            symbol=self.symbol,
            bid_price=None if bid is None else bid.bid.price,
            bid_size=0 if bid is None else bid.bid.size,
            bid_exchange=None if bid is None else bid.exchange,
            ask_price=None if ask is None else ask.ask.price,
            ask_size=0 if ask is None else ask.ask.size,
            ask_exchange=None if ask is None else ask.exchange,
            quotes=self._venue_quotes(),
            last_price=None if self.last_price == 0 else self.last_price,
            sequence=self.sequence,
            timestamp=self.time_ns,
            trade_high=None if self.trade_count == 0 else self.trade_high,
            trade_low=None if self.trade_count == 0 else self.trade_low,
            trade_count=None if self.trade_count == 0 else self.trade_count,
            trade_price_sum=None if self.trade_count == 0 else self.trade_price_sum,
        )

    def _exclude_unusable(self, limits: MarketLimits) -> None:
        """Mark the sides that take no part: none, stale, from the future, or part of a quote that is too wide."""
        earliest = self.time_ns - limits.stale_after_ns
        latest = self.time_ns + limits.max_regress_ns
        for venue in self.venues:
            bid, ask = venue.bid, venue.ask
            bid.excluded = bid.price == 0 or bid.time_ns < earliest or bid.time_ns > latest
            ask.excluded = ask.price == 0 or ask.time_ns < earliest or ask.time_ns > latest
            if bid.excluded or ask.excluded:
                continue
            # Spread over mid price above the limit, in whole numbers: both sides of the inequality times 20,000.
            if (ask.price - bid.price) * 20_000 > limits.max_spread_bps * (ask.price + bid.price):
                bid.excluded = True
                ask.excluded = True

    def _best_bid(self) -> Venue | None:
        best: Venue | None = None
        for venue in self.venues:
            bid = venue.bid
            if bid.excluded:
                continue
            if best is None or bid.price > best.bid.price or (bid.price == best.bid.price and _larger(bid, best.bid)):
                best = venue
        return best

    def _best_ask(self) -> Venue | None:
        best: Venue | None = None
        for venue in self.venues:
            ask = venue.ask
            if ask.excluded:
                continue
            if best is None or ask.price < best.ask.price or (ask.price == best.ask.price and _larger(ask, best.ask)):
                best = venue
        return best

    def _venue_quotes(self) -> list[VenueQuote]:
        quotes: list[VenueQuote] = []
        for venue in self.venues:
            bid, ask = venue.bid, venue.ask
            if bid.excluded and ask.excluded:
                continue
            time_ns = 0
            if not bid.excluded:
                time_ns = bid.time_ns
            if not ask.excluded and ask.time_ns > time_ns:
                time_ns = ask.time_ns
            quotes.append(
                VenueQuote(
                    exchange=venue.exchange,
                    bid_price=None if bid.excluded else bid.price,
                    bid_size=0 if bid.excluded else bid.size,
                    ask_price=None if ask.excluded else ask.price,
                    ask_size=0 if ask.excluded else ask.size,
                    timestamp=time_ns,
                )
            )
        return quotes


def same_market(one: Nbbo, other: Nbbo) -> bool:
    """Whether two states say the same of the market to a consumer: all but ids, sequences, times and trades."""
    if (
        one.bid_price != other.bid_price
        or one.bid_size != other.bid_size
        or one.bid_exchange != other.bid_exchange
        or one.ask_price != other.ask_price
        or one.ask_size != other.ask_size
        or one.ask_exchange != other.ask_exchange
        or one.last_price != other.last_price
        or len(one.quotes) != len(other.quotes)
    ):
        return False
    for i in range(len(one.quotes)):
        left, right = one.quotes[i], other.quotes[i]
        if (
            left.exchange != right.exchange
            or left.bid_price != right.bid_price
            or left.bid_size != right.bid_size
            or left.ask_price != right.ask_price
            or left.ask_size != right.ask_size
        ):
            return False
    return True


def _larger(side: VenueSide, than: VenueSide) -> bool:
    """The tie-break between equal prices: size, then recency."""
    return side.size > than.size or (side.size == than.size and side.sequence > than.sequence)
