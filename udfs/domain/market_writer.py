"""What the market data engine writes, as records of its topics.

Ordering: in the order of the calls, in each lane.
Invariants: ids are pure functions of the feed and its sequence, or of the symbol and the time: a replay gives the same.

    quote, trade, correction, cancel       FEED-17        the raw feed record with sequence 17
    quote of a book that a record changed  FEED-17-q
    gap before a record                    FEED-17-gap
    silence of a source after a record     FEED-17-stale
    depth                                  XNAS-IBM-17    exchange, symbol and the symbol's own sequence
    halt, release                          HALT-IBM-T, UNHALT-IBM-T    symbol and time: two sources tell one halt

Complexity: constant for each record.
"""

from typing import Final

from schemas.messages import controls, dead_letter, market_data, market_depth, nbbo
from schemas.messages.enums import (
    CONTROL_KIND_HALT,
    CONTROL_KIND_UNHALT,
    CONTROL_SCOPE_SYMBOL,
    MARKET_DATA_KIND_CANCEL,
    MARKET_DATA_KIND_CORRECTION,
    MARKET_DATA_KIND_GAP,
    MARKET_DATA_KIND_QUOTE,
    MARKET_DATA_KIND_STALE,
    MARKET_DATA_KIND_TRADE,
)
from schemas.messages.raw_feed import RawFeedRecord
from udfs.domain.exchange_book import ExchangeBook
from udfs.domain.feed_adapter import FeedEvent
from udfs.domain.market_outbox import MarketOutbox
from udfs.domain.market_symbol import SourceMark, SymbolState
from udfs.domain.nbbo import Venue
from udfs.domain.normalise import NS_PER_MS, Refusal
from udfs.domain.trade_corrections import KnownTrade

RAW_FEED_TOPIC: Final = "raw-feed"
_JOB: Final = "market_data"
_STAGE: Final = "normalise"
_DEAD_LETTER_KEY: Final = RAW_FEED_TOPIC.encode()
_MAX_ISSUER: Final = 128


class MarketWriter:
    """Writes to the lanes of an outbox."""

    __slots__ = ("_controls", "_dead_letter", "_depth", "_event", "_nbbo", "outbox")

    def __init__(self, outbox: MarketOutbox, schema_ids: dict[str, int]) -> None:
        """`schema_ids`: registry id of each topic that is written; KeyError names a missing one."""
        self.outbox = outbox
        self._event = schema_ids["market-data"]
        self._nbbo = schema_ids["nbbo"]
        self._depth = schema_ids["market-depth"]
        self._controls = schema_ids["controls"]
        self._dead_letter = schema_ids["dead-letter"]

    def quote(self, raw: RawFeedRecord, state: SymbolState, quote: FeedEvent, venue: Venue) -> None:
        """The exchange's quote after a record: the record's own sides, and what stood on the other."""
        bid_price = quote.bid_price if quote.bid_present else venue.bid.price
        bid_size = quote.bid_size if quote.bid_present else venue.bid.size
        ask_price = quote.ask_price if quote.ask_present else venue.ask.price
        ask_size = quote.ask_size if quote.ask_present else venue.ask.size
        event = market_data.encode_fields(
            self._event,
            f"{raw.feed_id}-{raw.sequence}",
            MARKET_DATA_KIND_QUOTE,
            state.symbol,
            quote.exchange,
            None if bid_size == 0 else bid_price,
            bid_size,
            None if ask_size == 0 else ask_price,
            ask_size,
            None,
            0,
            None,
            quote.suspicious,
            raw.sequence,
            raw.source,
            state.quotes.time_ns,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
        )
        self.outbox.market_data.put(state.key, event)

    def book_quote(self, raw: RawFeedRecord, state: SymbolState, venue: Venue) -> None:
        """The quote that an exchange's book gives after a record."""
        bid, ask = venue.bid, venue.ask
        event = market_data.encode_fields(
            self._event,
            f"{raw.feed_id}-{raw.sequence}-q",
            MARKET_DATA_KIND_QUOTE,
            state.symbol,
            venue.exchange,
            None if bid.size == 0 else bid.price,
            bid.size,
            None if ask.size == 0 else ask.price,
            ask.size,
            None,
            0,
            None,
            False,
            raw.sequence,
            raw.source,
            state.quotes.time_ns,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
        )
        self.outbox.market_data.put(state.key, event)

    def trade(self, event_id: str, raw: RawFeedRecord, state: SymbolState, trade: FeedEvent, eligible: bool) -> None:
        """A trade."""
        event = market_data.encode_fields(
            self._event,
            event_id,
            MARKET_DATA_KIND_TRADE,
            state.symbol,
            trade.exchange,
            None,
            0,
            None,
            0,
            trade.price,
            trade.size,
            trade.condition,
            trade.suspicious,
            raw.sequence,
            raw.source,
            state.quotes.time_ns,
            eligible,
            trade.trade_id if trade.trade_id else None,
            None,
            None,
            None,
            None,
            None,
            None,
        )
        self.outbox.market_data.put(state.key, event)

    def correction(
        self, raw: RawFeedRecord, state: SymbolState, trade: FeedEvent, original: KnownTrade, eligible: bool
    ) -> None:
        """A trade as it should have been; `original`: as it was known until now."""
        event = market_data.encode_fields(
            self._event,
            f"{raw.feed_id}-{raw.sequence}",
            MARKET_DATA_KIND_CORRECTION,
            state.symbol,
            trade.exchange,
            None,
            0,
            None,
            0,
            trade.price,
            trade.size,
            trade.condition,
            trade.suspicious,
            raw.sequence,
            raw.source,
            state.quotes.time_ns,
            eligible,
            trade.trade_id,
            original.event_id,
            original.price,
            original.size,
            original.time_ns,
            original.eligible,
            None,
        )
        self.outbox.market_data.put(state.key, event)

    def cancel(self, raw: RawFeedRecord, state: SymbolState, trade: FeedEvent, original: KnownTrade) -> None:
        """A trade that was taken back."""
        event = market_data.encode_fields(
            self._event,
            f"{raw.feed_id}-{raw.sequence}",
            MARKET_DATA_KIND_CANCEL,
            state.symbol,
            trade.exchange,
            None,
            0,
            None,
            0,
            None,
            0,
            None,
            False,
            raw.sequence,
            raw.source,
            state.quotes.time_ns,
            None,
            trade.trade_id,
            original.event_id,
            original.price,
            original.size,
            original.time_ns,
            original.eligible,
            None,
        )
        self.outbox.market_data.put(state.key, event)

    def gap(self, raw: RawFeedRecord, state: SymbolState, missing: int, time_ns: int) -> None:
        """Numbers of a feed that were skipped before a record, or that its source says it lost."""
        self._status(
            f"{raw.feed_id}-{raw.sequence}-gap",
            MARKET_DATA_KIND_GAP,
            state,
            raw.sequence,
            raw.source,
            time_ns,
            missing,
        )

    def stale(self, state: SymbolState, mark: SourceMark, time_ns: int) -> None:
        """A source that says nothing while others do; `time_ns`: of the record of another that showed it."""
        feed = mark.feed
        self._status(
            f"{feed.feed_id}-{feed.sequence}-stale",
            MARKET_DATA_KIND_STALE,
            state,
            feed.sequence,
            mark.source,
            time_ns,
            None,
        )

    def _status(
        self,
        event_id: str,
        kind: int,
        state: SymbolState,
        sequence: int,
        source: str,
        time_ns: int,
        missing: int | None,
    ) -> None:
        event = market_data.encode_fields(
            self._event,
            event_id,
            kind,
            state.symbol,
            "",
            None,
            0,
            None,
            0,
            None,
            0,
            None,
            False,
            sequence,
            source,
            time_ns,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            missing,
        )
        self.outbox.market_data.put(state.key, event)

    def best(self, state: SymbolState, latest: nbbo.Nbbo) -> None:
        """The best bid and offer of a symbol."""
        self.outbox.nbbo.put(state.key, nbbo.encode(latest, self._nbbo))

    def depth(self, state: SymbolState, book: ExchangeBook) -> None:
        """The depth of an exchange's book."""
        venue, sequence = book.venue.exchange, state.quotes.sequence
        record = market_depth.encode_fields(
            self._depth,
            f"{venue}-{state.symbol}-{sequence}",
            state.symbol,
            venue,
            book.bids_published,
            book.asks_published,
            sequence,
            state.quotes.time_ns,
        )
        self.outbox.market_depth.put(state.key, record)

    def halt(self, raw: RawFeedRecord, state: SymbolState, halted: bool, reason: str, time_ns: int) -> None:
        """A halt of a symbol on all markets, or its end, as a control."""
        issuer = raw.feed_id if len(raw.feed_id.encode("utf-8")) <= _MAX_ISSUER else raw.source
        record = controls.encode_fields(
            self._controls,
            control_id=f"{'HALT' if halted else 'UNHALT'}-{state.symbol}-{time_ns}",
            kind=CONTROL_KIND_HALT if halted else CONTROL_KIND_UNHALT,
            scope=CONTROL_SCOPE_SYMBOL,
            target=state.symbol,
            value=None,
            issued_by=issuer,
            reason=reason,
            timestamp=time_ns,
            symbol=None,
            limit=None,
        )
        self.outbox.controls.put(state.key, record)

    def refuse(self, refusal: Refusal, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        """A record that cannot be used."""
        schema_id: int | None = None
        if len(payload) >= 5 and payload[0] == 0:
            schema_id = int.from_bytes(payload[1:5], "big", signed=True)
        letter = dead_letter.encode_fields(
            self._dead_letter,
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
