"""The market data engine of one shard of symbols: raw feed records in; market-data, nbbo, depth, halts, dead letters out.

Ordering: records of one symbol come in the order of their Kafka partition; everything a record causes is written in
that order. `apply` writes the market data events, controls and dead letters of a record; `flush` writes one NBBO for each
symbol whose market looks different from what was published last, or that had an eligible trade since, and one depth for
each book that does, so a burst within a batch costs one of each (conflation).

Invariants:
- Every record ends in exactly one counter (market_outbox.py); one that is refused is exactly one dead letter.
- A quote or trade of a feed is one market data event. A change of a book is a trade when it prints, and a quote when it
  changes the exchange's; a halt is a control; what is missing before a record is told before it.
- Nothing depends on a clock or on how records are grouped into batches, but for which NBBO and depth states are published.
- Each eligible trade is in exactly one published NBBO: `flush` publishes all that there are and begins anew, so that a
  snapshot, which is taken between batches, has none to remember.
- `restore(snapshot())` gives an engine that continues with identical output.

After a failure nbbo and depth are written again from the last checkpoint, in batches cut elsewhere: sequences are the same
for the same records, so a reader that keeps to rising sequences misses no trade, but may be told one again.

Symbols: the source's spelling is understood (symbology.py). The record's key must be the symbol in our own, because the key
decides the shard.

Duplicates and gaps: sequence numbers count per feed, and a feed carries one symbol. A number at or below the highest
seen is a duplicate (a refused record counts as seen). Numbers that were skipped are told as a GAP event on market-data, at
the place where they are missing, so that who computes from the events knows it in their order; a dead letter would be the
wrong place, because there is no record to keep, and the number of dead letters can stop the job. Nobody can send the missing
ones again: numbers count on. The marks of the last feeds of a symbol are kept (market_symbol.py), so a feed that is replayed
after that many newer ones is taken for new.

Late records: one that is older than the record before it in its feed by more than `max_regress_ns` is refused, so that
one glitch does not rewind the market; when `resync_after` come in a row, it was the earlier time that was wrong, and
they count. In feeds that tell every order, sequence is what counts, and none is late.

Silence: a source that says nothing about a symbol for `silent_after_ns` is told to be STALE, once, whether it is another source
of the symbol that goes on or only other symbols. (Its quotes leave the NBBO after `stale_after_ns` anyway.) Records are the only
clock: that of the symbol's own is looked at with each of them; that of the symbols that share its Kafka partition whenever it
has moved by a sixteenth of `silent_after_ns`, so that what is told depends on the order within a partition only. Where a whole
partition is silent nothing is told, and neither is a source that was last heard on another day in New York.

Halts: whichever source is first to tell a halt or its end counts; what a slower one says of a time before that does not.

Complexity: a record costs one pass over the exchanges of its symbol, or a change of a book (exchange_book.py); state grows
with symbols, exchanges, feeds, orders and known trades, all bounded.
"""

from typing import Final

from schemas.errors import DecodeError
from schemas.messages import raw_feed
from schemas.messages.enums import (
    DEAD_LETTER_REASON_CODES,
    DEAD_LETTER_REASON_DUPLICATE_EVENT,
    DEAD_LETTER_REASON_INVALID_VALUE,
    DEAD_LETTER_REASON_LATE,
    DEAD_LETTER_REASON_UNSUPPORTED,
)
from udfs.domain.book_builder import BookBuilder
from udfs.domain.feed_adapter import (
    EVENT_CANCEL,
    EVENT_CORRECTION,
    EVENT_DIRECTORY,
    EVENT_GAP,
    EVENT_QUOTE,
    EVENT_STATE,
    EVENT_TRADE,
    FeedEvent,
)
from udfs.domain.feed_table import new_adapters
from udfs.domain.market_outbox import MarketCounters, MarketOutbox
from udfs.domain.market_symbol import FEEDS_PER_SYMBOL, Feed, SymbolState
from udfs.domain.market_writer import RAW_FEED_TOPIC, MarketWriter
from udfs.domain.nbbo import same_market
from udfs.domain.new_york import new_york_day
from udfs.domain.normalise import DAY_NS, MAX_TIME_NS, MarketLimits, Refusal
from udfs.domain.sharding import shard_of
from udfs.domain.state_codec import StateError, StateReader, StateWriter
from udfs.domain.symbology import canonical_symbol
from udfs.domain.trade_prints import TradePrints

__all__ = ("FEEDS_PER_SYMBOL", "MAX_FEED_ID", "MAX_SYMBOLS", "RAW_FEED_TOPIC", "MarketShard")

MAX_SYMBOLS: Final = 65_536
MAX_SPELLINGS: Final = 4 * MAX_SYMBOLS
MAX_FEED_ID: Final = 200
"""Longest feed id taken, in bytes: an event id is the feed id, a sequence and a word, and has at most 256 bytes."""

_SNAPSHOT_VERSION: Final = 3
_SNAPSHOT_KIND: Final = 3
_LOOKS_PER_SILENCE: Final = 16


class MarketShard:
    """Normalises, checks and consolidates the market data of the symbols of one shard; see the module's contract."""

    def __init__(self, shard: int, shards: int, schema_ids: dict[str, int], limits: MarketLimits) -> None:
        """`schema_ids`: registry id of raw-feed and of the topics that are written; KeyError names a missing one."""
        self.outbox = MarketOutbox()
        self.counters = MarketCounters()
        self._shard = shard
        self._shards = shards
        self._limits = limits
        self._raw_schema = schema_ids[RAW_FEED_TOPIC]
        self._writer = MarketWriter(self.outbox, schema_ids)
        self._prints = TradePrints(self._writer, self.counters, limits.trades_kept)
        self._books = BookBuilder(self._writer, self.counters, self._prints)
        self._adapters = new_adapters()
        self._event = FeedEvent()
        self._symbols: dict[str, SymbolState] = {}
        self._spellings: dict[str, SymbolState] = {}
        self._changed: list[SymbolState] = []
        # Time of the record of each Kafka partition with which all its symbols were last looked at.
        self._looked_ns: dict[int, int] = {}
        self._look_every_ns: int = limits.silent_after_ns // _LOOKS_PER_SILENCE

    def apply(self, source: int, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        """Apply one raw feed record (a Confluent frame). There is one input stream, so `source` is not looked at."""
        self.counters.records += 1
        try:
            raw = raw_feed.decode(payload, self._raw_schema)
        except DecodeError as error:
            refusal = Refusal(DEAD_LETTER_REASON_CODES[error.reason], str(error))
            self.counters.refused += 1
            self._writer.refuse(refusal, payload, partition, offset, kafka_timestamp_ms)
            return
        refused = self._accept(raw, partition)
        if refused is not None:
            self.counters.refused += 1
            self._writer.refuse(refused, payload, partition, offset, kafka_timestamp_ms)

    def flush(self) -> None:
        """Publish the NBBO and the books of each symbol whose market has changed since they were last published."""
        counters = self.counters
        levels = self._limits.depth_levels
        for state in self._changed:
            state.changed = False
            for book in state.books:
                if book.is_deep(levels):
                    self._writer.depth(state, book)
                    counters.depth += 1
            latest = state.quotes.consolidate(self._limits)
            if latest.trade_count is None and same_market(latest, state.published):
                continue
            state.quotes.trades_published()
            state.published = latest
            self._writer.best(state, latest)
            counters.nbbo += 1
            bid, ask = latest.bid_price, latest.ask_price
            if bid is not None and ask is not None:
                if bid == ask:
                    counters.locked += 1
                elif bid > ask:
                    counters.crossed += 1
        self._changed = []

    def snapshot(self) -> bytes:
        """The state, between batches. Raises RuntimeError when `flush` was not called after the last `apply`."""
        if self._changed:
            raise RuntimeError("a snapshot is taken between batches: call flush() first")
        out = StateWriter()
        out.put(self._shard)
        out.put(self._shards)
        out.put(len(self._symbols))
        for symbol, state in self._symbols.items():
            out.put_text(symbol)
            state.write(out)
        self._prints.memory.write(out)
        out.put(len(self._looked_ns))
        for partition, looked_ns in self._looked_ns.items():
            out.put(partition)
            out.put(looked_ns)
        return out.finish(_SNAPSHOT_VERSION, _SNAPSHOT_KIND)

    def restore(self, data: bytes) -> None:
        """Replace the state by a snapshot's. Raises StateError when it cannot be used, and is then unchanged."""
        reader = StateReader(data, _SNAPSHOT_KIND, _SNAPSHOT_VERSION)
        shard, shards = reader.take(), reader.take()
        if shard != self._shard or shards != self._shards:
            raise StateError(
                f"snapshot of shard {shard} of {shards} given to shard {self._shard} of {self._shards}: "
                "the number of shards cannot change while the state is kept"
            )
        symbols: dict[str, SymbolState] = {}
        for _ in range(reader.take()):
            symbol = reader.take_text()
            state = SymbolState(symbol, self._limits)
            state.read(reader, self._limits)
            symbols[symbol] = state
        prints = TradePrints(self._writer, self.counters, self._limits.trades_kept)
        if reader.version >= 2:
            prints.memory.read(reader)
        looked: dict[int, int] = {}
        if reader.version >= 3:
            for _ in range(reader.take()):
                partition = reader.take()
                looked[partition] = reader.take()
        reader.expect_end()
        self._looked_ns = looked
        self._prints = prints
        self._books = BookBuilder(self._writer, self.counters, prints)
        self._symbols = symbols
        self._spellings = {}
        self._changed = []
        self.outbox.clear()

    def _accept(self, raw: raw_feed.RawFeedRecord, partition: int) -> Refusal | None:
        """Check the envelope and the sequence, then the payload; write what it says or say why not."""
        state = self._spellings.get(raw.symbol)
        if state is None:
            refusal = self._meet_symbol(raw.symbol)
            if refusal is not None:
                return refusal
            state = self._spellings[raw.symbol]
        feed = state.feeds.get(raw.feed_id)
        if (
            raw.sequence <= 0
            or raw.base_time_ns < 0
            or raw.base_time_ns > MAX_TIME_NS
            or (feed is None and len(raw.feed_id.encode("utf-8")) > MAX_FEED_ID)
        ):
            return Refusal(
                DEAD_LETTER_REASON_INVALID_VALUE,
                f"sequence={raw.sequence} must be positive, baseTimeNs={raw.base_time_ns} between 1970 and 2200, "
                f"feedId at most {MAX_FEED_ID} characters",
            )
        if feed is None:
            feed = state.new_feed(raw.feed_id)
        if raw.sequence <= feed.sequence:
            self.counters.duplicates += 1
            return Refusal(
                DEAD_LETTER_REASON_DUPLICATE_EVENT,
                f"sequence={raw.sequence} of feed {raw.feed_id} was seen, the highest is {feed.sequence}",
            )
        adapter = self._adapters.get(raw.format)
        by_order = adapter is not None and adapter.order_by_order
        if raw.sequence != feed.sequence + 1 and (feed.sequence != 0 or by_order):
            self._miss(raw, state, feed, by_order)
        feed.sequence = raw.sequence
        if adapter is None:
            return Refusal(DEAD_LETTER_REASON_UNSUPPORTED, f"feed format {raw.format} is not known to this release")
        event = self._event
        refusal = adapter.read(raw, state.symbol, self._limits, event)
        if refusal is not None:
            if by_order and refusal.reason != DEAD_LETTER_REASON_UNSUPPORTED:
                self._lose_book(raw, state, feed)
            return refusal
        if not by_order and event.time_ns < feed.time_ns - self._limits.max_regress_ns:
            refusal = self._step_back(event.time_ns, feed)
            if refusal is not None:
                return refusal
        state.partition = partition
        kind = event.kind
        if kind == EVENT_QUOTE:
            self._advance(raw, event.time_ns, state, feed)
            self._apply_quote(raw, state, event)
        elif kind == EVENT_TRADE:
            self._advance(raw, event.time_ns, state, feed)
            self._prints.trade(raw, state, event)
        elif kind >= EVENT_DIRECTORY:
            self._advance(raw, event.time_ns, state, feed)
            return self._books.apply(raw, state, feed, event)
        else:
            if kind in (EVENT_CORRECTION, EVENT_CANCEL):
                refusal = self._prints.unknown(raw, state, event)
                if refusal is not None:
                    return refusal
            self._advance(raw, event.time_ns, state, feed)
            self._apply_other(raw, state, event)
        return None

    def _meet_symbol(self, spelled: str) -> Refusal | None:
        """Find or make the state of a symbol in a spelling that was not seen yet."""
        if not spelled or not spelled.isprintable():
            return Refusal(DEAD_LETTER_REASON_INVALID_VALUE, f"symbol {spelled!r} is empty or not printable")
        symbol = canonical_symbol(spelled)
        state = self._symbols.get(symbol)
        if state is None:
            owner = shard_of(symbol, self._shards)
            if not symbol or owner != self._shard:
                return Refusal(
                    DEAD_LETTER_REASON_INVALID_VALUE,
                    f"symbol {symbol} belongs to shard {owner}, came to {self._shard}: "
                    "the record's key must be its symbol",
                )
            if len(self._symbols) >= MAX_SYMBOLS:
                return Refusal(
                    DEAD_LETTER_REASON_INVALID_VALUE, f"shard {self._shard} holds {MAX_SYMBOLS} symbols already"
                )
            state = SymbolState(symbol, self._limits)
            self._symbols[symbol] = state
        if len(self._spellings) >= MAX_SPELLINGS:
            self._spellings = {}
        self._spellings[spelled] = state
        return None

    def _miss(self, raw: raw_feed.RawFeedRecord, state: SymbolState, feed: Feed, by_order: bool) -> None:
        """Tell that records of a feed are missing before this one."""
        missing = raw.sequence - feed.sequence - 1
        self.counters.gaps += 1
        self.counters.missing += missing
        self._writer.gap(raw, state, missing, feed.time_ns if feed.time_ns else raw.base_time_ns)
        if by_order:
            self._lose_book(raw, state, feed)

    def _lose_book(self, raw: raw_feed.RawFeedRecord, state: SymbolState, feed: Feed) -> None:
        """A record of a feed that tells every order is missing or was refused."""
        # What the exchange shows becomes another without an accepted record: readers go by rising sequences.
        state.quotes.sequence += 1
        self._books.lose(raw, state, feed)
        self._mark_changed(state)

    def _step_back(self, time_ns: int, feed: Feed) -> Refusal | None:
        """Refuse a record that is late, unless it is the feed's clock that was wrong before."""
        feed.late_run += 1
        if feed.late_run < self._limits.resync_after:
            self.counters.late += 1
            return Refusal(
                DEAD_LETTER_REASON_LATE,
                f"time {time_ns} ns is {feed.time_ns - time_ns} ns before the feed's last, "
                f"at most {self._limits.max_regress_ns} ns are taken",
            )
        self.counters.resynchronised += 1
        return None

    def _advance(self, raw: raw_feed.RawFeedRecord, time_ns: int, state: SymbolState, feed: Feed) -> None:
        """Move the feed's and the symbol's time to an accepted record."""
        feed.late_run = 0
        feed.time_ns = time_ns
        quotes = state.quotes
        quotes.time_ns = time_ns
        quotes.sequence += 1
        if not state.changed:
            self._mark_changed(state)
        mark = feed.mark
        if mark is None:
            mark = state.mark_of(raw.source, feed)
            feed.mark = mark
        else:
            mark.feed = feed
        mark.told = False
        if len(state.marks) > 1:
            self._watch_sources(state, time_ns)
        looked_ns = self._looked_ns.get(state.partition, 0)
        if time_ns >= looked_ns + self._look_every_ns:
            self._look_around(state.partition, time_ns)
        elif time_ns < looked_ns - DAY_NS:
            # A time that was wrong, or an earlier day that is played now: the clock begins anew.
            self._looked_ns[state.partition] = time_ns

    def _look_around(self, partition: int, time_ns: int) -> None:
        """Tell the silent sources of all symbols of a partition."""
        self._looked_ns[partition] = time_ns
        for state in self._symbols.values():
            if state.partition == partition:
                self._watch_sources(state, time_ns)

    def _watch_sources(self, state: SymbolState, time_ns: int) -> None:
        """Tell the sources of a symbol that have become silent."""
        for mark in state.marks:
            heard_ns = mark.feed.time_ns
            if not mark.told and time_ns - heard_ns > self._limits.silent_after_ns:
                # Of one that was last heard on another day nothing is told, now or later: its day has ended.
                mark.told = True
                if new_york_day(heard_ns) == new_york_day(time_ns):
                    self.counters.stale += 1
                    self._writer.stale(state, mark, time_ns)

    def _mark_changed(self, state: SymbolState) -> None:
        if not state.changed:
            state.changed = True
            self._changed.append(state)

    def _apply_quote(self, raw: raw_feed.RawFeedRecord, state: SymbolState, quote: FeedEvent) -> None:
        """A quote that was accepted at the symbol's time."""
        counters = self.counters
        counters.quotes += 1
        if quote.suspicious:
            counters.suspicious += 1
        elif not quote.firm:
            counters.not_firm += 1
        best_of_market = raw.source in self._limits.best_quote_sources
        if state.books and state.has_book(quote.exchange):
            # The exchange's own book knows better than what others say that it shows.
            venue = state.quotes.venue(quote.exchange)
        else:
            venue = state.quotes.apply_quote(quote, quote.firm and not quote.suspicious, best_of_market)
        self._writer.quote(raw, state, quote, venue)

    def _apply_other(self, raw: raw_feed.RawFeedRecord, state: SymbolState, event: FeedEvent) -> None:
        """Changes of trades, states of the symbol, losses of the source; all else is only counted."""
        kind = event.kind
        if kind == EVENT_CORRECTION:
            self._prints.correct(raw, state, event)
        elif kind == EVENT_CANCEL:
            self._prints.cancel(raw, state, event)
        else:
            self.counters.other += 1
            if kind == EVENT_STATE:
                self._apply_state(raw, state, event)
            elif kind == EVENT_GAP:
                self.counters.gaps += 1
                self.counters.missing += event.missing
                self._writer.gap(raw, state, event.missing, event.time_ns)

    def _apply_state(self, raw: raw_feed.RawFeedRecord, state: SymbolState, event: FeedEvent) -> None:
        """A halt or its end, when it is news."""
        if event.halted == state.halted or event.time_ns <= state.halt_time_ns:
            return
        state.halted = event.halted
        state.halt_time_ns = event.time_ns
        self.counters.controls += 1
        self._writer.halt(raw, state, event.halted, event.reason, event.time_ns)
        for book in state.books:
            book.halted = event.halted
            book.stirred = True
            self._books.show(raw, state, book)
