"""Books from feeds that tell every change of every order: what one record does to its exchange's book and quote.

Ordering: by the feed's sequence.
Invariants:
- A book exists from the first record of its feed; a new feed of the exchange begins a new one, and the feed before it no
  longer counts.
- A record that is missing or cannot be applied makes the book unusable, and with it the exchange's quote: nothing is better
  than something wrong. What the feed says about orders from then on is skipped and counted. Trades that state their price
  are still told.
- The exchange's quote is told, as an event and to the NBBO, whenever it becomes another.

Known limits: see exchange_book.py.
Complexity: see exchange_book.py.
"""

from typing import Final

from schemas.messages.enums import DEAD_LETTER_REASON_INVALID_VALUE
from schemas.messages.raw_feed import RawFeedRecord
from udfs.domain.exchange_book import ExchangeBook, ShownOrder
from udfs.domain.feed_adapter import (
    EVENT_ADD,
    EVENT_DELETE,
    EVENT_DIRECTORY,
    EVENT_EXECUTE,
    EVENT_EXECUTE_AT,
    EVENT_REPLACE,
    EVENT_VENUE_STATE,
    FeedEvent,
)
from udfs.domain.market_outbox import MarketCounters
from udfs.domain.market_symbol import Feed, SymbolState
from udfs.domain.market_writer import MarketWriter
from udfs.domain.normalise import Refusal
from udfs.domain.trade_prints import TradePrints

_MAX_LOT: Final = 10_000


class BookBuilder:
    """Applies order-by-order records for all symbols of a shard."""

    __slots__ = ("_counters", "_prints", "_writer")

    def __init__(self, writer: MarketWriter, counters: MarketCounters, prints: TradePrints) -> None:
        self._writer = writer
        self._counters = counters
        self._prints = prints

    def apply(self, raw: RawFeedRecord, state: SymbolState, feed: Feed, event: FeedEvent) -> Refusal | None:
        """Apply an event of a kind from EVENT_DIRECTORY on, at the symbol's time; or say why not."""
        if feed.over:
            self._skip(raw, state, event)
            return None
        book = self._book_of(state, feed, event)
        if event.locate != book.locate:
            if book.locate != 0:
                return self.refuse(raw, state, feed, f"locate {event.locate} is not the symbol's, {book.locate}")
            book.locate = event.locate
        kind = event.kind
        if kind == EVENT_DIRECTORY:
            if not 0 < event.round_lot <= _MAX_LOT:
                return self.refuse(raw, state, feed, f"round lot {event.round_lot} is not 1 to {_MAX_LOT}")
            self._counters.other += 1
            state.lot = event.round_lot
            book.relot(event.round_lot)
        elif kind == EVENT_VENUE_STATE:
            self._counters.other += 1
            book.closed = event.halted
            book.stirred = True
        elif book.usable:
            problem = self._change(raw, state, book, event)
            if problem:
                return self.refuse(raw, state, feed, problem)
        else:
            self._skip(raw, state, event)
        self.show(raw, state, book)
        return None

    def _book_of(self, state: SymbolState, feed: Feed, event: FeedEvent) -> ExchangeBook:
        """The book of a feed, which its first record opens."""
        book = feed.book
        if book is None:
            book = state.open_book(event.exchange, feed)
            if feed.lost:
                book.drop()
        return book

    def lose(self, raw: RawFeedRecord, state: SymbolState, feed: Feed) -> None:
        """A record of the feed is missing or was refused: its book cannot be believed any more."""
        feed.lost = True
        book = feed.book
        if book is not None and book.usable:
            self._counters.books_lost += 1
            book.drop()
            self.show(raw, state, book)

    def refuse(self, raw: RawFeedRecord, state: SymbolState, feed: Feed, detail: str) -> Refusal:
        """Refuse a record, with what that means for the book."""
        self.lose(raw, state, feed)
        return Refusal(DEAD_LETTER_REASON_INVALID_VALUE, detail)

    def show(self, raw: RawFeedRecord, state: SymbolState, book: ExchangeBook) -> None:
        """Tell the exchange's quote if it is another; confirm it if not."""
        venue = book.venue
        bid, ask = venue.bid, venue.ask
        quotes = state.quotes
        if book.is_stirred():
            book.requote(quotes.time_ns)
            bids, asks = book.bids, book.asks
            firm = book.is_firm()
            bid_size = bids.quote_size if firm else 0
            ask_size = asks.quote_size if firm else 0
            bid_price = bids.quote_key if bid_size else 0
            ask_price = -asks.quote_key if ask_size else 0
            if bid.price != bid_price or bid.size != bid_size or ask.price != ask_price or ask.size != ask_size:
                quotes.show(venue, bid_price, bid_size, ask_price, ask_size)
                self._writer.book_quote(raw, state, venue)
        bid.time_ns = quotes.time_ns
        ask.time_ns = quotes.time_ns

    def _skip(self, raw: RawFeedRecord, state: SymbolState, event: FeedEvent) -> None:
        """A record of a feed without a book: a trade that says its price is told, all else is not looked at."""
        if event.kind == EVENT_EXECUTE_AT and event.printable:
            self._prints.trade(raw, state, event)
        else:
            self._counters.other += 1
            self._counters.skipped += 1

    def _change(self, raw: RawFeedRecord, state: SymbolState, book: ExchangeBook, event: FeedEvent) -> str:
        """Change the orders; returns why they cannot be, or an empty text, and then they are as before."""
        kind = event.kind
        if kind == EVENT_ADD:
            problem = book.add(event.order_id, event.is_bid, event.price, event.size)
            if not problem:
                self._counters.orders += 1
            return problem
        order = book.orders.get(event.order_id)
        if order is None:
            return f"order {event.order_id} is not in the book"
        if kind == EVENT_DELETE:
            book.take(order, event.order_id, order.shares)
        elif kind == EVENT_REPLACE:
            return self._replace(book, order, event)
        elif event.size > order.shares:
            return f"order {event.order_id} has {order.shares} shares, not {event.size}"
        else:
            book.take(order, event.order_id, event.size)
            if kind == EVENT_EXECUTE:
                event.price = order.price
                self._prints.trade(raw, state, event)
                return ""
            if kind == EVENT_EXECUTE_AT and event.printable:
                self._prints.trade(raw, state, event)
                return ""
        self._counters.orders += 1
        return ""

    def _replace(self, book: ExchangeBook, order: ShownOrder, event: FeedEvent) -> str:
        """An order gives way to a new one of its side."""
        if event.new_order_id in book.orders:
            return f"order {event.new_order_id} is in the book already"
        book.take(order, event.order_id, order.shares)
        self._counters.orders += 1
        return book.add(event.new_order_id, order.is_bid, event.price, event.size)
