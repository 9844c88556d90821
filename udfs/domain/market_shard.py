"""The market data engine of one shard of symbols: raw feed records in, market-data, nbbo and dead-letter out.

Ordering: records of one symbol come in the order of their Kafka partition; everything a record causes is written in
that order. `apply` writes the market data events and dead letters of a record; `flush` writes one NBBO for each symbol
whose market looks different from what was published last, or that had an eligible trade since, so a burst within a batch
costs one NBBO (conflation).

Invariants:
- Every record ends as exactly one market data event or exactly one dead letter.
- Nothing depends on a clock or on how records are grouped into batches, but for which NBBO states are published.
- Each eligible trade is in exactly one published NBBO: `flush` publishes all that there are and begins anew, so that a
  snapshot, which is taken between batches, has none to remember.
- `restore(snapshot())` gives an engine that continues with identical output.

After a failure nbbo is written again from the last checkpoint, in batches cut elsewhere: sequences are the same for the
same records, so a reader that keeps to rising sequences misses no trade, but may be told one again.

Duplicates and gaps: sequence numbers count per feed, and a feed carries one symbol. A number at or below the highest
seen is a duplicate (a refused record counts as seen); numbers that were skipped are counted as missing, not refused:
nobody can send them again. The marks of the last `FEEDS_PER_SYMBOL` feeds of a symbol are kept, so a feed that is
replayed after that many newer ones is taken for new.

Late records: one that is older than the record before it in its feed by more than `max_regress_ns` is refused, so that
one glitch does not rewind the market; when `resync_after` come in a row, it was the earlier time that was wrong, and
they count.

Complexity: a record costs one pass over the exchanges of its symbol; state grows with symbols, exchanges and feeds,
all bounded.
"""

from typing import Final

from schemas.errors import DecodeError
from schemas.messages import dead_letter, market_data, nbbo, raw_feed
from schemas.messages.enums import (
    DEAD_LETTER_REASON_CODES,
    DEAD_LETTER_REASON_DUPLICATE_EVENT,
    DEAD_LETTER_REASON_INVALID_VALUE,
    DEAD_LETTER_REASON_LATE,
    DEAD_LETTER_REASON_UNSUPPORTED,
    FEED_FORMAT_LEAN_QUOTE,
    FEED_FORMAT_LEAN_TRADE,
    MARKET_DATA_KIND_QUOTE,
    MARKET_DATA_KIND_TRADE,
)
from udfs.domain.market_outbox import MarketCounters, MarketOutbox
from udfs.domain.nbbo import SymbolQuotes, Venue, same_market
from udfs.domain.normalise import (
    FIRM_QUOTE_CONDITIONS,
    NS_PER_MS,
    MarketLimits,
    QuoteLine,
    Refusal,
    TradeLine,
    is_eligible,
    parse_quote,
    parse_trade,
)
from udfs.domain.sharding import shard_of
from udfs.domain.state_codec import StateError, StateReader, StateWriter

RAW_FEED_TOPIC: Final = "raw-feed"
FEEDS_PER_SYMBOL: Final = 8
MAX_SYMBOLS: Final = 65_536
MAX_FEED_ID: Final = 200
"""Longest feed id taken: an event id is the feed id and a sequence, and has at most 256 bytes."""

# Base times outside are a broken adapter, not a market: 1970 to 2200.
_MAX_BASE_TIME_NS: Final = 7_258_118_400_000_000_000
_SNAPSHOT_VERSION: Final = 1
_SNAPSHOT_KIND: Final = 3
_JOB: Final = "market_data"
_STAGE: Final = "normalise"
_DEAD_LETTER_KEY: Final = RAW_FEED_TOPIC.encode()


class _Feed:
    """How far one feed has come."""

    __slots__ = ("late_run", "sequence", "time_ns")

    def __init__(self) -> None:
        self.sequence = 0
        self.time_ns = 0
        self.late_run = 0


class _SymbolState:
    """Everything the engine knows about one symbol."""

    __slots__ = ("changed", "feeds", "key", "published", "quotes")

    def __init__(self, symbol: str, limits: MarketLimits) -> None:
        self.key = symbol.encode("utf-8")
        self.quotes = SymbolQuotes(symbol)
        self.feeds: dict[str, _Feed] = {}
        self.published: nbbo.Nbbo = self.quotes.consolidate(limits)
        self.changed = False

    def feed(self, feed_id: str) -> _Feed:
        """The feed's marks; the oldest feed makes room for a new one."""
        feed = self.feeds.get(feed_id)
        if feed is None:
            if len(self.feeds) >= FEEDS_PER_SYMBOL:
                del self.feeds[next(iter(self.feeds))]
            feed = _Feed()
            self.feeds[feed_id] = feed
        return feed


class MarketShard:
    """Normalises, checks and consolidates the market data of the symbols of one shard; see the module's contract."""

    def __init__(self, shard: int, shards: int, schema_ids: dict[str, int], limits: MarketLimits) -> None:
        """`schema_ids`: registry id of raw-feed, market-data, nbbo and dead-letter; KeyError names a missing one."""
        self.outbox = MarketOutbox()
        self.counters = MarketCounters()
        self._shard = shard
        self._shards = shards
        self._limits = limits
        self._raw_schema = schema_ids[RAW_FEED_TOPIC]
        self._event_schema = schema_ids["market-data"]
        self._nbbo_schema = schema_ids["nbbo"]
        self._dead_letter_schema = schema_ids["dead-letter"]
        self._symbols: dict[str, _SymbolState] = {}
        self._changed: list[_SymbolState] = []
        self._quote = QuoteLine()
        self._trade = TradeLine()

    def apply(self, source: int, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        """Apply one raw feed record (a Confluent frame). There is one input stream, so `source` is not looked at."""
        self.counters.records += 1
        try:
            raw = raw_feed.decode(payload, self._raw_schema)
        except DecodeError as error:
            refusal = Refusal(DEAD_LETTER_REASON_CODES[error.reason], str(error))
            self._dead_letter(refusal, payload, partition, offset, kafka_timestamp_ms)
            return
        refused = self._accept(raw)
        if refused is not None:
            self._dead_letter(refused, payload, partition, offset, kafka_timestamp_ms)

    def flush(self) -> None:
        """Publish the NBBO of each symbol whose market has changed since it was last published."""
        counters = self.counters
        for state in self._changed:
            state.changed = False
            latest = state.quotes.consolidate(self._limits)
            if latest.trade_count is None and same_market(latest, state.published):
                continue
            state.quotes.trades_published()
            state.published = latest
            self.outbox.nbbo.put(state.key, nbbo.encode(latest, self._nbbo_schema))
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
            state.quotes.write(out)
            out.put(len(state.feeds))
            for feed_id, feed in state.feeds.items():
                out.put_text(feed_id)
                out.put(feed.sequence)
                out.put(feed.time_ns)
                out.put(feed.late_run)
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
        symbols: dict[str, _SymbolState] = {}
        for _ in range(reader.take()):
            symbol = reader.take_text()
            state = _SymbolState(symbol, self._limits)
            state.quotes.read(reader)
            for _feed in range(reader.take()):
                feed = state.feed(reader.take_text())
                feed.sequence = reader.take()
                feed.time_ns = reader.take()
                feed.late_run = reader.take()
            # Between batches, what was published says the same as what the quotes give now.
            state.published = state.quotes.consolidate(self._limits)
            symbols[symbol] = state
        reader.expect_end()
        self._symbols = symbols
        self._changed = []
        self.outbox.clear()

    def _accept(self, raw: raw_feed.RawFeedRecord) -> Refusal | None:
        """Check the envelope and the sequence, then the line; write the event or say why not."""
        state = self._symbols.get(raw.symbol)
        if state is None:
            refusal = self._check_new_symbol(raw.symbol)
            if refusal is not None:
                return refusal
            state = _SymbolState(raw.symbol, self._limits)
            self._symbols[raw.symbol] = state
        if (
            raw.sequence <= 0
            or raw.base_time_ns < 0
            or raw.base_time_ns > _MAX_BASE_TIME_NS
            or len(raw.feed_id) > MAX_FEED_ID
        ):
            return Refusal(
                DEAD_LETTER_REASON_INVALID_VALUE,
                f"sequence={raw.sequence} must be positive, baseTimeNs={raw.base_time_ns} between 1970 and 2200, "
                f"feedId at most {MAX_FEED_ID} characters",
            )
        feed = state.feed(raw.feed_id)
        if raw.sequence <= feed.sequence:
            self.counters.duplicates += 1
            return Refusal(
                DEAD_LETTER_REASON_DUPLICATE_EVENT,
                f"sequence={raw.sequence} of feed {raw.feed_id} was seen, the highest is {feed.sequence}",
            )
        if feed.sequence != 0 and raw.sequence != feed.sequence + 1:
            self.counters.gaps += 1
            self.counters.missing += raw.sequence - feed.sequence - 1
        feed.sequence = raw.sequence
        if raw.format == FEED_FORMAT_LEAN_QUOTE:
            return self._apply_quote(raw, state, feed)
        if raw.format == FEED_FORMAT_LEAN_TRADE:
            return self._apply_trade(raw, state, feed)
        return Refusal(DEAD_LETTER_REASON_UNSUPPORTED, f"feed format {raw.format} is not known to this release")

    def _check_new_symbol(self, symbol: str) -> Refusal | None:
        if not symbol or not symbol.isprintable():
            return Refusal(DEAD_LETTER_REASON_INVALID_VALUE, f"symbol {symbol!r} is empty or not printable")
        owner = shard_of(symbol, self._shards)
        if owner != self._shard:
            return Refusal(
                DEAD_LETTER_REASON_INVALID_VALUE,
                f"symbol {symbol} belongs to shard {owner}, came to {self._shard}: the record's key must be its symbol",
            )
        if len(self._symbols) >= MAX_SYMBOLS:
            return Refusal(DEAD_LETTER_REASON_INVALID_VALUE, f"shard {self._shard} holds {MAX_SYMBOLS} symbols already")
        return None

    def _apply_quote(self, raw: raw_feed.RawFeedRecord, state: _SymbolState, feed: _Feed) -> Refusal | None:
        quote = self._quote
        refusal = parse_quote(raw.payload, self._limits, quote)
        if refusal is None:
            refusal = self._advance(raw, quote.time_ms, state, feed)
        if refusal is not None:
            return refusal
        counters = self.counters
        counters.quotes += 1
        firm = quote.condition & ~FIRM_QUOTE_CONDITIONS == 0
        if quote.suspicious:
            counters.suspicious += 1
        elif not firm:
            counters.not_firm += 1
        best_of_market = raw.source in self._limits.best_quote_sources
        venue = state.quotes.apply_quote(quote, firm and not quote.suspicious, best_of_market)
        self._write_quote(raw, quote, venue, state)
        return None

    def _write_quote(self, raw: raw_feed.RawFeedRecord, quote: QuoteLine, venue: Venue, state: _SymbolState) -> None:
        """The exchange's quote after the line: the line's own sides, and what stood on the other."""
        bid_price = quote.bid_price if quote.bid_present else venue.bid.price
        bid_size = quote.bid_size if quote.bid_present else venue.bid.size
        ask_price = quote.ask_price if quote.ask_present else venue.ask.price
        ask_size = quote.ask_size if quote.ask_present else venue.ask.size
        event = market_data.encode_fields(
            self._event_schema,
            event_id=f"{raw.feed_id}-{raw.sequence}",
            kind=MARKET_DATA_KIND_QUOTE,
            symbol=raw.symbol,
            exchange=quote.exchange,
            bid_price=None if bid_size == 0 else bid_price,
            bid_size=bid_size,
            ask_price=None if ask_size == 0 else ask_price,
            ask_size=ask_size,
            last_price=None,
            volume=0,
            sale_condition=None,
            suspicious=quote.suspicious,
            sequence=raw.sequence,
            source=raw.source,
            timestamp=state.quotes.time_ns,
            eligible=None,
            trade_id=None,
            original_event_id=None,
            original_price=None,
            original_volume=None,
            original_timestamp=None,
            original_eligible=None,
            missing=None,
        )
        self.outbox.market_data.put(state.key, event)

    def _apply_trade(self, raw: raw_feed.RawFeedRecord, state: _SymbolState, feed: _Feed) -> Refusal | None:
        trade = self._trade
        refusal = parse_trade(raw.payload, self._limits, trade)
        if refusal is None:
            refusal = self._advance(raw, trade.time_ms, state, feed)
        if refusal is not None:
            return refusal
        self.counters.trades += 1
        if trade.suspicious:
            self.counters.suspicious += 1
        if is_eligible(trade, state.quotes.time_ns):
            state.quotes.apply_trade(trade.price)
        event = market_data.encode_fields(
            self._event_schema,
            event_id=f"{raw.feed_id}-{raw.sequence}",
            kind=MARKET_DATA_KIND_TRADE,
            symbol=raw.symbol,
            exchange=trade.exchange,
            bid_price=None,
            bid_size=0,
            ask_price=None,
            ask_size=0,
            last_price=trade.price,
            volume=trade.size,
            sale_condition=trade.condition_text,
            suspicious=trade.suspicious,
            sequence=raw.sequence,
            source=raw.source,
            timestamp=state.quotes.time_ns,
            eligible=None,
            trade_id=None,
            original_event_id=None,
            original_price=None,
            original_volume=None,
            original_timestamp=None,
            original_eligible=None,
            missing=None,
        )
        self.outbox.market_data.put(state.key, event)
        return None

    def _advance(self, raw: raw_feed.RawFeedRecord, time_ms: int, state: _SymbolState, feed: _Feed) -> Refusal | None:
        """Move the feed's and the symbol's time to an accepted record, or refuse one that is late."""
        time_ns = raw.base_time_ns + time_ms * NS_PER_MS
        if time_ns < feed.time_ns - self._limits.max_regress_ns:
            feed.late_run += 1
            if feed.late_run < self._limits.resync_after:
                self.counters.late += 1
                return Refusal(
                    DEAD_LETTER_REASON_LATE,
                    f"time {time_ns} ns is {feed.time_ns - time_ns} ns before the feed's last, "
                    f"at most {self._limits.max_regress_ns} ns are taken",
                )
            self.counters.resynchronised += 1
        feed.late_run = 0
        feed.time_ns = time_ns
        quotes = state.quotes
        quotes.time_ns = time_ns
        quotes.sequence += 1
        if not state.changed:
            state.changed = True
            self._changed.append(state)
        return None

    def _dead_letter(
        self, refusal: Refusal, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int
    ) -> None:
        self.counters.refused += 1
        schema_id: int | None = None
        if len(payload) >= 5 and payload[0] == 0:
            schema_id = int.from_bytes(payload[1:5], "big", signed=True)
        letter = dead_letter.encode_fields(
            self._dead_letter_schema,
            event_id=f"{RAW_FEED_TOPIC}-{partition}-{offset}",
            job=_JOB,
            stage=_STAGE,
            source_topic=RAW_FEED_TOPIC,
            source_partition=partition,
            source_offset=offset,
            source_timestamp=kafka_timestamp_ms,
            reason=refusal.reason,
            detail=refusal.detail,
            schema_id=schema_id,
            record_key=None,
            payload=payload,
            timestamp=kafka_timestamp_ms * NS_PER_MS,
        )
        self.outbox.dead_letter.put(_DEAD_LETTER_KEY, letter)
