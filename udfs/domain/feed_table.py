"""Which adapter reads which format: the one place where a source is registered.

Ordering, invariants: those of feed_adapter.py. Complexity: constant.
"""

from schemas.messages.enums import (
    FEED_FORMAT_ITCH_50,
    FEED_FORMAT_LEAN_QUOTE,
    FEED_FORMAT_LEAN_TRADE,
    FEED_FORMAT_MARKET_DATA,
    FEED_FORMAT_VENDOR_JSON,
)
from udfs.domain.feed_adapter import FeedAdapter
from udfs.domain.feed_avro import MarketDataEvents
from udfs.domain.feed_itch import ItchMessages
from udfs.domain.feed_json import VendorMessages
from udfs.domain.feed_lean import LeanQuotes, LeanTrades


def new_adapters() -> dict[int, FeedAdapter]:
    """An adapter for each FeedFormat, of one engine."""
    return {
        FEED_FORMAT_LEAN_QUOTE: LeanQuotes(),
        FEED_FORMAT_LEAN_TRADE: LeanTrades(),
        FEED_FORMAT_ITCH_50: ItchMessages(),
        FEED_FORMAT_VENDOR_JSON: VendorMessages(),
        FEED_FORMAT_MARKET_DATA: MarketDataEvents(),
    }
