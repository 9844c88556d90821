"""The one interface between sources and the market data engine: the payload of a raw feed record becomes a feed event.

Purpose: a new source is one module with a `FeedAdapter`, one line in feed_table.py and one symbol of FeedFormat.

Ordering: an adapter sees one record at a time and remembers nothing of what records said.
Invariants: `read` fills the fields of the event's kind and returns None, or returns why the record is refused, and then
the event must not be read. No payload makes it raise. Prices are in 1/10,000 of the currency, sizes in shares, exchanges
are ISO 10383 codes, times are UTC nanoseconds, whatever the source says.
Known limits: one event a record; a source whose packets carry several messages is taken apart by its publisher.
Complexity: linear in the payload.

Fields by kind, besides `kind` and `time_ns`:
- EVENT_NONE: none; the message says nothing that is passed on.
- EVENT_QUOTE: exchange, bid_present, bid_price, bid_size, the same of ask, firm, suspicious. A side that is present
  replaces the exchange's, with size 0 it is withdrawn.
- EVENT_TRADE: exchange, price, size, condition, sets_price, suspicious, trade_id.
- EVENT_CORRECTION: as EVENT_TRADE, the right values, with the trade_id of the trade that was wrong.
- EVENT_CANCEL: exchange, trade_id.
- EVENT_STATE: halted, reason; what may be done in the symbol on all markets.
- EVENT_GAP: missing; the source itself lost records here.
- order by order only, all with exchange and locate: EVENT_ADD: order_id, is_bid, price, size. EVENT_EXECUTE: order_id,
  size, trade_id; EVENT_EXECUTE_AT: and price, printable. EVENT_REDUCE: order_id, size. EVENT_DELETE: order_id.
  EVENT_REPLACE: order_id, new_order_id, price, size. EVENT_DIRECTORY: round_lot. EVENT_VENUE_STATE: halted; of this
  exchange alone. EVENT_STATE counts for its book too.
"""

from typing import Final

from schemas.messages.enums import DEAD_LETTER_REASON_INVALID_VALUE
from schemas.messages.raw_feed import RawFeedRecord
from udfs.domain.normalise import MarketLimits, Refusal

EVENT_NONE: Final = 0
EVENT_QUOTE: Final = 1
EVENT_TRADE: Final = 2
EVENT_CORRECTION: Final = 3
EVENT_CANCEL: Final = 4
EVENT_STATE: Final = 5
EVENT_GAP: Final = 6
EVENT_DIRECTORY: Final = 7
EVENT_VENUE_STATE: Final = 8
EVENT_ADD: Final = 9
EVENT_EXECUTE: Final = 10
EVENT_EXECUTE_AT: Final = 11
EVENT_REDUCE: Final = 12
EVENT_DELETE: Final = 13
EVENT_REPLACE: Final = 14

WHOLE_MARKET: Final = "*"
"""Symbol of records that are about no symbol: they are only counted."""


class FeedEvent:
    """What one record says; one object is filled again and again, see the module for which fields count."""

    __slots__ = (
        "ask_present",
        "ask_price",
        "ask_size",
        "bid_present",
        "bid_price",
        "bid_size",
        "condition",
        "exchange",
        "firm",
        "halted",
        "is_bid",
        "kind",
        "locate",
        "missing",
        "new_order_id",
        "order_id",
        "price",
        "printable",
        "reason",
        "round_lot",
        "sets_price",
        "size",
        "suspicious",
        "time_ns",
        "trade_id",
    )

    def __init__(self) -> None:
        self.kind: int = EVENT_NONE
        self.time_ns: int = 0
        self.exchange: str = ""
        self.bid_present: bool = False
        self.bid_price: int = 0
        self.bid_size: int = 0
        self.ask_present: bool = False
        self.ask_price: int = 0
        self.ask_size: int = 0
        self.firm: bool = True
        self.suspicious: bool = False
        self.price: int = 0
        self.size: int = 0
        self.condition: str | None = None
        self.sets_price: bool = True
        self.trade_id: str = ""
        self.locate: int = 0
        self.order_id: int = 0
        self.new_order_id: int = 0
        self.is_bid: bool = False
        self.printable: bool = True
        self.halted: bool = False
        self.reason: str = ""
        self.round_lot: int = 0
        self.missing: int = 0

    def check_sides(self) -> Refusal | None:
        """Refuse a quote whose sides contradict themselves."""
        if self.bid_price == 0 and self.bid_size != 0:
            return Refusal(DEAD_LETTER_REASON_INVALID_VALUE, f"bidSize={self.bid_size} without a bidPrice")
        if self.ask_price == 0 and self.ask_size != 0:
            return Refusal(DEAD_LETTER_REASON_INVALID_VALUE, f"askSize={self.ask_size} without an askPrice")
        if self.bid_size != 0 and self.ask_size != 0 and self.bid_price >= self.ask_price:
            return Refusal(
                DEAD_LETTER_REASON_INVALID_VALUE,
                f"one exchange's quote is locked or crossed: bidPrice={self.bid_price} askPrice={self.ask_price}",
            )
        return None

    def check_trade(self) -> Refusal | None:
        """Refuse a trade of nothing or for nothing."""
        if self.price == 0 or self.size == 0:
            return Refusal(
                DEAD_LETTER_REASON_INVALID_VALUE, f"trade without price or size: price={self.price} size={self.size}"
            )
        return None


class FeedAdapter:
    """Reads the payloads of one format.

    order_by_order: the feed tells every change of every order, so that a record that is missing or refused makes the
    exchange's book unusable, and its order, not its times, is what counts.
    """

    order_by_order: bool = False

    def read(self, raw: RawFeedRecord, symbol: str, limits: MarketLimits, event: FeedEvent) -> Refusal | None:
        """Fill `event` from the payload, or say why the record is refused. `symbol`: the record's, in our spelling."""
        raise NotImplementedError
