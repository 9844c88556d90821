"""What the market data engine knows about one symbol: its feeds, sources, books, quotes, and whether it is halted.

Ordering: feeds are in the order in which they were first seen.
Invariants: a feed that owns a usable book keeps its place while others can make room; an exchange has one book, of the feed
that opened it last.
Known limits: `FEEDS_PER_SYMBOL` feeds, `SOURCES_PER_SYMBOL` sources; the oldest make room.
Complexity: constant, but for the snapshot.
"""

from typing import Final

from schemas.messages.nbbo import Nbbo
from udfs.domain.exchange_book import ExchangeBook
from udfs.domain.nbbo import SymbolQuotes
from udfs.domain.normalise import MarketLimits
from udfs.domain.state_codec import StateReader, StateWriter

FEEDS_PER_SYMBOL: Final = 8
SOURCES_PER_SYMBOL: Final = 8
NO_PARTITION: Final = -1


class Feed:
    """How far one feed has come. lost: its book misses a change. over: another feed tells the orders of its exchange now."""

    __slots__ = ("book", "feed_id", "late_run", "lost", "mark", "over", "sequence", "time_ns")

    def __init__(self, feed_id: str) -> None:
        self.feed_id = feed_id
        self.sequence: int = 0
        self.time_ns: int = 0
        self.late_run: int = 0
        self.lost: bool = False
        self.over: bool = False
        self.book: ExchangeBook | None = None
        self.mark: SourceMark | None = None


class SourceMark:
    """One source of a symbol: the feed that it spoke in last, and whether its silence was told."""

    __slots__ = ("feed", "source", "told")

    def __init__(self, source: str, feed: Feed) -> None:
        self.source = source
        self.feed = feed
        self.told: bool = False


class SymbolState:
    """Everything the engine knows about one symbol. halt_time_ns: when `halted` last changed."""

    __slots__ = (
        "books",
        "changed",
        "feeds",
        "halt_time_ns",
        "halted",
        "key",
        "lot",
        "marks",
        "partition",
        "published",
        "quotes",
        "symbol",
    )

    def __init__(self, symbol: str, limits: MarketLimits) -> None:
        self.symbol = symbol
        self.key: bytes = symbol.encode("utf-8")
        self.quotes = SymbolQuotes(symbol)
        self.feeds: dict[str, Feed] = {}
        self.marks: list[SourceMark] = []
        self.partition: int = NO_PARTITION
        """The Kafka partition of its newest record."""
        self.books: list[ExchangeBook] = []
        self.halted: bool = False
        self.halt_time_ns: int = 0
        self.lot: int = 0
        """Shares of a round lot as a feed's directory states it, 0 when none does."""
        self.published: Nbbo = self.quotes.consolidate(limits)
        self.changed: bool = False

    def new_feed(self, feed_id: str) -> Feed:
        """The marks of a feed that was not seen yet; an old one makes room."""
        feeds = self.feeds
        if len(feeds) >= FEEDS_PER_SYMBOL:
            oldest = next(iter(feeds))
            for known in feeds.values():
                if known.book is None or not known.book.usable:
                    oldest = known.feed_id
                    break
            del feeds[oldest]
        feed = Feed(feed_id)
        feeds[feed_id] = feed
        return feed

    def mark_of(self, source: str, feed: Feed) -> SourceMark:
        """The mark of a source, which speaks in this feed now."""
        for known in self.marks:
            if known.source == source:
                known.feed = feed
                return known
        if len(self.marks) >= SOURCES_PER_SYMBOL:
            del self.marks[0]
        mark = SourceMark(source, feed)
        self.marks.append(mark)
        return mark

    def open_book(self, exchange: str, feed: Feed) -> ExchangeBook:
        """The book of a feed, empty: it takes the place of the exchange's book before, whose feed no longer counts."""
        book = ExchangeBook(self.quotes.venue(exchange), feed.feed_id)
        book.lot = self.lot
        book.halted = self.halted
        feed.book = book
        for at in range(len(self.books)):
            before = self.books[at]
            if before.venue.exchange == exchange:
                book.closed = before.closed
                # What is known to others of this exchange has to be told anew, even if it is nothing.
                book.stirred = True
                book.bids_published = before.bids_published
                book.asks_published = before.asks_published
                if before.feed_id in self.feeds:
                    self.feeds[before.feed_id].over = True
                    self.feeds[before.feed_id].book = None
                self.books[at] = book
                return book
        self.books.append(book)
        return book

    def has_book(self, exchange: str) -> bool:
        """Whether the whole book of an exchange is known."""
        return any(book.usable and book.venue.exchange == exchange for book in self.books)

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        self.quotes.write(out)
        out.put(self.lot)
        out.put_flag(self.halted)
        out.put(self.halt_time_ns)
        out.put(len(self.feeds))
        for feed in self.feeds.values():
            out.put_text(feed.feed_id)
            out.put(feed.sequence)
            out.put(feed.time_ns)
            out.put(feed.late_run)
            out.put_flag(feed.lost)
            out.put_flag(feed.over)
        out.put(len(self.marks))
        for mark in self.marks:
            out.put_text(mark.source)
            out.put_text(mark.feed.feed_id)
            out.put(mark.feed.sequence)
            out.put(mark.feed.time_ns)
            out.put_flag(mark.told)
        out.put(len(self.books))
        for book in self.books:
            book.write(out)
        out.put(self.partition)

    def read(self, reader: StateReader, limits: MarketLimits) -> None:
        """Take the state from a snapshot."""
        self.quotes.read(reader)
        newer = reader.version >= 2
        if newer:
            self.lot = reader.take()
            self.halted = reader.take_flag()
            self.halt_time_ns = reader.take()
        for _ in range(reader.take()):
            feed = self.new_feed(reader.take_text())
            feed.sequence = reader.take()
            feed.time_ns = reader.take()
            feed.late_run = reader.take()
            if newer:
                feed.lost = reader.take_flag()
                feed.over = reader.take_flag()
        if newer:
            self._read_marks(reader)
            for _ in range(reader.take()):
                exchange = reader.take_text()
                feed_id = reader.take_text()
                book = ExchangeBook(self.quotes.venue(exchange), feed_id)
                book.read(reader, limits.depth_levels)
                self.books.append(book)
                if feed_id in self.feeds:
                    self.feeds[feed_id].book = book
        if reader.version >= 3:
            self.partition = reader.take()
        # Between batches, what was published says the same as what the quotes give now.
        self.published = self.quotes.consolidate(limits)

    def _read_marks(self, reader: StateReader) -> None:
        for _ in range(reader.take()):
            source, feed_id = reader.take_text(), reader.take_text()
            sequence, time_ns = reader.take(), reader.take()
            feed = self.feeds.get(feed_id)
            if feed is None:
                # It made room for others; what it said last is still what the source said last.
                feed = Feed(feed_id)
                feed.sequence = sequence
                feed.time_ns = time_ns
            mark = SourceMark(source, feed)
            mark.told = reader.take_flag()
            self.marks.append(mark)
            feed.mark = mark
