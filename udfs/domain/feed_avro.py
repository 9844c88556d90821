"""Market data events of another instance of this system as feed events: our own Avro, one event a record.

The payload is a frame of the topic market-data as that instance wrote it; its schema id is of another registry and is not
compared, so what counts is the shape: the current schema's, or that of the first release, which ends before `eligible`.
Feed id and sequence are of the record that carries it, not of the event inside. A trade is known by its event id there.

Ordering: by record. Invariants: those of feed_adapter.py.
Known limits: events of a release newer than ours are refused; they cannot be told from damaged ones.
Complexity: linear in the payload.
"""

from typing import Final

from schemas.errors import DecodeError
from schemas.messages import market_data
from schemas.messages.enums import (
    DEAD_LETTER_REASON_CODES,
    DEAD_LETTER_REASON_INVALID_VALUE,
    DEAD_LETTER_REASON_UNSUPPORTED,
    MARKET_DATA_KIND_CANCEL,
    MARKET_DATA_KIND_CORRECTION,
    MARKET_DATA_KIND_GAP,
    MARKET_DATA_KIND_QUOTE,
    MARKET_DATA_KIND_STALE,
    MARKET_DATA_KIND_TRADE,
)
from schemas.messages.market_data import MarketDataEvent
from schemas.messages.raw_feed import RawFeedRecord
from udfs.domain.feed_adapter import (
    EVENT_CANCEL,
    EVENT_CORRECTION,
    EVENT_GAP,
    EVENT_NONE,
    EVENT_QUOTE,
    EVENT_TRADE,
    FeedAdapter,
    FeedEvent,
)
from udfs.domain.normalise import MAX_TIME_NS, MarketLimits, Refusal, mic_of
from udfs.domain.symbology import canonical_symbol

# The fields that the second release added are all null by default: a null is one zero byte.
_LATER_NULLS: Final = bytes(8)


class MarketDataEvents(FeedAdapter):
    """Frames of the topic market-data."""

    def read(self, raw: RawFeedRecord, symbol: str, limits: MarketLimits, event: FeedEvent) -> Refusal | None:
        """Fill `event` from a frame, or say why not."""
        try:
            told = market_data.decode(raw.payload)
        except DecodeError as error:
            first = _of_first_release(raw.payload)
            if first is None:
                return Refusal(DEAD_LETTER_REASON_CODES[error.reason], f"event of another instance: {error}")
            told = first
        if canonical_symbol(told.symbol) != symbol:
            return _invalid(f"the event is about {told.symbol} but came under symbol {symbol}")
        if told.timestamp < 0 or told.timestamp > MAX_TIME_NS:
            return _invalid(f"timestamp={told.timestamp} must be between 1970 and 2200")
        event.time_ns = told.timestamp
        event.suspicious = told.suspicious
        kind = told.kind
        if kind == MARKET_DATA_KIND_GAP:
            event.kind = EVENT_GAP
            event.missing = told.missing or 0
            return None if event.missing > 0 else _invalid(f"missing={event.missing} must be positive")
        if kind == MARKET_DATA_KIND_STALE:
            event.kind = EVENT_NONE
            return None
        event.exchange = mic_of(told.exchange)
        if not event.exchange:
            return _invalid(f"exchange {told.exchange!r} is not known")
        if kind == MARKET_DATA_KIND_QUOTE:
            return _quote(told, limits, event)
        if kind == MARKET_DATA_KIND_CANCEL:
            event.kind = EVENT_CANCEL
        elif kind == MARKET_DATA_KIND_CORRECTION:
            event.kind = EVENT_CORRECTION
        elif kind == MARKET_DATA_KIND_TRADE:
            event.kind = EVENT_TRADE
            event.trade_id = told.event_id
            return _trade(told, limits, event)
        else:
            return Refusal(DEAD_LETTER_REASON_UNSUPPORTED, f"kind {kind} is not known to this release")
        event.trade_id = told.original_event_id or ""
        if not event.trade_id:
            return _invalid("a change of a trade without originalEventId")
        return None if kind == MARKET_DATA_KIND_CANCEL else _trade(told, limits, event)


def _quote(told: MarketDataEvent, limits: MarketLimits, event: FeedEvent) -> Refusal | None:
    event.kind = EVENT_QUOTE
    event.firm = True
    event.bid_present = True
    event.bid_price = told.bid_price or 0
    event.bid_size = told.bid_size
    event.ask_present = True
    event.ask_price = told.ask_price or 0
    event.ask_size = told.ask_size
    if (
        min(event.bid_price, event.bid_size, event.ask_price, event.ask_size) < 0
        or max(event.bid_price, event.ask_price) > limits.max_price_e4
        or max(event.bid_size, event.ask_size) > limits.max_size
    ):
        return _invalid(
            f"a price or size is negative or above the limits: bid {event.bid_price} x {event.bid_size}, "
            f"ask {event.ask_price} x {event.ask_size}"
        )
    return event.check_sides()


def _trade(told: MarketDataEvent, limits: MarketLimits, event: FeedEvent) -> Refusal | None:
    event.price = told.last_price or 0
    event.size = told.volume
    event.condition = told.sale_condition
    event.sets_price = told.eligible is not False
    if event.price < 0 or event.size < 0 or event.price > limits.max_price_e4 or event.size > limits.max_size:
        return _invalid(f"price={event.price} or volume={event.size} is negative or above the limits")
    return event.check_trade()


def _of_first_release(payload: bytes) -> MarketDataEvent | None:
    """The event when the payload has the shape of the first release."""
    try:
        return market_data.decode(payload + _LATER_NULLS)
    except DecodeError:
        return None


def _invalid(detail: str) -> Refusal:
    return Refusal(DEAD_LETTER_REASON_INVALID_VALUE, detail)
