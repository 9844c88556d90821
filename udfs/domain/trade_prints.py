"""Trades, and what is said about them later: which of them count, and what they do to the last price.

Ordering: in the order of the feed.
Invariants: a change refers to the trade's own event and says the values that it replaces; after it, they are known as
changed. A change of a trade that is not known any more, or never was, is refused as LATE.
Known limits: as trade_corrections.py. A change moves the last price, not what was told of prints since the NBBO before:
those did print, and what they triggered is not undone here.
Complexity: constant.
"""

from schemas.messages.enums import DEAD_LETTER_REASON_LATE
from schemas.messages.raw_feed import RawFeedRecord
from udfs.domain.feed_adapter import FeedEvent
from udfs.domain.market_outbox import MarketCounters
from udfs.domain.market_symbol import SymbolState
from udfs.domain.market_writer import MarketWriter
from udfs.domain.normalise import Refusal, is_eligible
from udfs.domain.trade_corrections import KnownTrade, TradeMemory, trade_key


class TradePrints:
    """Reports trades and their changes for all symbols of a shard."""

    __slots__ = ("_counters", "_writer", "memory")

    def __init__(self, writer: MarketWriter, counters: MarketCounters, trades_kept: int) -> None:
        self._writer = writer
        self._counters = counters
        self.memory = TradeMemory(trades_kept)

    def trade(self, raw: RawFeedRecord, state: SymbolState, event: FeedEvent) -> None:
        """A trade that was accepted at the symbol's time."""
        self._counters.trades += 1
        if event.suspicious:
            self._counters.suspicious += 1
        quotes = state.quotes
        price, size = event.price, event.size
        eligible = event.sets_price and not event.suspicious and is_eligible(price, size, state.lot, quotes.time_ns)
        event_id = f"{raw.feed_id}-{raw.sequence}"
        key = ""
        if event.trade_id:
            key = trade_key(state.symbol, raw.source, event.trade_id)
            self.memory.remember(key, KnownTrade(event_id, price, size, quotes.time_ns, eligible))
        if eligible:
            quotes.apply_trade(price, key)
        self._writer.trade(event_id, raw, state, event, eligible)

    def correct(self, raw: RawFeedRecord, state: SymbolState, event: FeedEvent) -> None:
        """The right values of a trade that `unknown` did not complain about."""
        key = trade_key(state.symbol, raw.source, event.trade_id)
        original = self.memory.find(key)
        if original is None:
            return
        self._counters.corrections += 1
        quotes = state.quotes
        eligible = (
            event.sets_price
            and not event.suspicious
            and is_eligible(event.price, event.size, state.lot, original.time_ns)
        )
        quotes.change_trade(key, event.price if eligible else 0)
        self._writer.correction(raw, state, event, original, eligible)
        original.price = event.price
        original.size = event.size
        original.eligible = eligible

    def cancel(self, raw: RawFeedRecord, state: SymbolState, event: FeedEvent) -> None:
        """A trade is taken back that `unknown` did not complain about."""
        key = trade_key(state.symbol, raw.source, event.trade_id)
        original = self.memory.find(key)
        if original is None:
            return
        self._counters.cancels += 1
        state.quotes.change_trade(key, 0)
        self._writer.cancel(raw, state, event, original)
        self.memory.forget(key)

    def unknown(self, raw: RawFeedRecord, state: SymbolState, event: FeedEvent) -> Refusal | None:
        """Why a trade cannot be changed, if it cannot."""
        if self.memory.find(trade_key(state.symbol, raw.source, event.trade_id)) is not None:
            return None
        return Refusal(
            DEAD_LETTER_REASON_LATE,
            f"trade {event.trade_id} of source {raw.source} is not known: it was taken back, "
            "did not come, or is older than the trades that are kept",
        )
