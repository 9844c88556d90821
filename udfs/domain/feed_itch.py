"""Nasdaq TotalView-ITCH 5.0 messages as feed events, one message a record.

Source: "Nasdaq TotalView-ITCH 5.0" specification, sections 1 (message formats) and 2 (data types): binary, big endian,
fixed lengths. Every message begins with type (1 byte), stock locate (2), tracking number (2) and nanoseconds since
midnight (6). Price(4) has four decimals, as ours; price(8), in the market-wide circuit breaker levels, is not used. Texts are
ASCII, padded with spaces on the right. Nasdaq BX and PSX send the same messages.

Contract with the publisher (infra/feeds/itch_router.py):
- a record carries one message, without the length or packet header that it came in;
- messages are routed by stock locate: the directory message R of the day says which symbol a locate is, and the record's
  symbol and key are that symbol; messages with locate 0 are about the whole market and go to symbol `*`;
- feed id and sequence are of one symbol: sequence counts the messages of that symbol, 1, 2, 3 ... A loss in the packet
  stream that cannot be recovered may concern any symbol, so it leaves out one number of every symbol; a source that
  sends its books anew takes new feed ids;
- baseTimeNs is midnight in New York.

What the messages do:
- A, F, E, C, X, D, U change the book. E, and C when it is printable, are trades too: at the order's price, or at the one
  that C states. P and Q are trades that the book does not show; a cross without shares is none.
- B takes a trade back, by its match number.
- H halts (H, P: paused, Q: quotes only) and releases (T) the symbol on all markets; h closes and opens it on this
  exchange alone. R says what a round lot is.
- S, Y, L, V, W, K, J, I, N and O say nothing that is passed on; their length and symbol are checked. (What W says comes as
  H for each symbol.)

Ordering: by sequence; times are not looked at for order. Invariants: those of feed_adapter.py.
Complexity: constant.
"""

import struct
from typing import Final

from schemas.messages.enums import (
    DEAD_LETTER_REASON_INVALID_VALUE,
    DEAD_LETTER_REASON_UNDECODABLE,
    DEAD_LETTER_REASON_UNSUPPORTED,
)
from schemas.messages.raw_feed import RawFeedRecord
from udfs.domain.feed_adapter import (
    EVENT_ADD,
    EVENT_CANCEL,
    EVENT_DELETE,
    EVENT_DIRECTORY,
    EVENT_EXECUTE,
    EVENT_EXECUTE_AT,
    EVENT_NONE,
    EVENT_REDUCE,
    EVENT_REPLACE,
    EVENT_STATE,
    EVENT_TRADE,
    EVENT_VENUE_STATE,
    WHOLE_MARKET,
    FeedAdapter,
    FeedEvent,
)
from udfs.domain.normalise import DAY_NS, MarketLimits, Refusal
from udfs.domain.symbology import canonical_symbol

_SYSTEM_EVENT: Final = 0x53
_DIRECTORY: Final = 0x52
_TRADING_ACTION: Final = 0x48
_OPERATIONAL_HALT: Final = 0x68
_ADD: Final = 0x41
_ADD_ATTRIBUTED: Final = 0x46
_EXECUTED: Final = 0x45
_EXECUTED_AT: Final = 0x43
_CANCEL: Final = 0x58
_DELETE: Final = 0x44
_REPLACE: Final = 0x55
_TRADE: Final = 0x50
_CROSS: Final = 0x51
_BROKEN: Final = 0x42

LENGTHS: Final[dict[int, int]] = {
    0x53: 12,  # S system event
    0x52: 39,  # R stock directory
    0x48: 25,  # H trading action
    0x59: 20,  # Y Reg SHO restriction
    0x4C: 26,  # L market participant position
    0x56: 35,  # V market-wide circuit breaker levels
    0x57: 12,  # W market-wide circuit breaker status
    0x4B: 28,  # K IPO quoting period
    0x4A: 35,  # J LULD auction collar
    0x68: 21,  # h operational halt
    0x41: 36,  # A order added
    0x46: 40,  # F order added, with its market participant
    0x45: 31,  # E order executed
    0x43: 36,  # C order executed at another price
    0x58: 23,  # X order reduced
    0x44: 19,  # D order deleted
    0x55: 35,  # U order replaced
    0x50: 44,  # P trade with an order that was not shown
    0x51: 40,  # Q cross
    0x42: 19,  # B broken trade
    0x49: 50,  # I net order imbalance
    0x4E: 20,  # N retail interest
    0x4F: 48,  # O direct listing with capital raise
}
"""Bytes of each message, by its type."""

_STOCK_AT: Final[dict[int, int]] = {0x59: 11, 0x4C: 15, 0x4B: 11, 0x4A: 11, 0x49: 28, 0x4E: 11, 0x4F: 11}
"""Where the symbol is in the messages that are otherwise not read."""

# Locate, the high 16 and the low 32 bits of the time, then what the type adds.
_HEAD_FIELDS: Final = struct.Struct(">xHxxHI")
_ADD_FIELDS: Final = struct.Struct(">xHxxHIQcI8sI")
_EXECUTED_FIELDS: Final = struct.Struct(">xHxxHIQIQ")
_EXECUTED_AT_FIELDS: Final = struct.Struct(">xHxxHIQIQcI")
_CANCEL_FIELDS: Final = struct.Struct(">xHxxHIQI")
_DELETE_FIELDS: Final = struct.Struct(">xHxxHIQ")
_REPLACE_FIELDS: Final = struct.Struct(">xHxxHIQQII")
_TRADE_FIELDS: Final = struct.Struct(">xHxxHIQcI8sIQ")
_CROSS_FIELDS: Final = struct.Struct(">xHxxHIQ8sIQc")
_ACTION_FIELDS: Final = struct.Struct(">xHxxHI8scx4s")
_OPERATIONAL_FIELDS: Final = struct.Struct(">xHxxHI8scc")
_DIRECTORY_FIELDS: Final = struct.Struct(">xHxxHI8sxxI")

_EXCHANGES: Final[dict[str, str]] = {"itch-bx": "XBOS", "itch-psx": "XPHL"}
_NASDAQ: Final = "XNAS"
"""The exchange of every other source that sends this format."""
_MARKET_CODES: Final[dict[str, bytes]] = {"XNAS": b"Q", "XBOS": b"B", "XPHL": b"X"}
_STATES: Final[dict[bytes, str]] = {b"H": "halted", b"P": "paused", b"Q": "quotation only", b"T": "trading"}
_MAX_SPELLINGS: Final = 65_536


class ItchMessages(FeedAdapter):
    """Messages of TotalView-ITCH 5.0."""

    __slots__ = ("_symbols",)

    order_by_order: bool = True

    def __init__(self) -> None:
        self._symbols: dict[bytes, str] = {}

    def read(self, raw: RawFeedRecord, symbol: str, limits: MarketLimits, event: FeedEvent) -> Refusal | None:
        """Fill `event` from a message, or say why not."""
        payload = raw.payload
        kind = payload[0] if payload else 0
        length = LENGTHS.get(kind, 0)
        if length == 0 or len(payload) != length:
            return _bad_length(payload, length)
        if kind in (_ADD, _ADD_ATTRIBUTED):
            locate, high, low, order_id, side, size, stock, price = _ADD_FIELDS.unpack_from(payload)
            event.kind = EVENT_ADD
            event.order_id = order_id
            event.is_bid = side == b"B"
            event.size = size
            event.price = price
            if side != b"B" and side != b"S":
                return _invalid(f"side {side!r} is neither B nor S")
            if self._symbol(stock) != symbol:
                return _wrong_stock(stock, symbol)
        elif kind == _DELETE:
            locate, high, low, order_id = _DELETE_FIELDS.unpack(payload)
            event.kind = EVENT_DELETE
            event.order_id = order_id
            # What a message does not say is set to what passes the checks below.
            event.size = 1
            event.price = 1
        elif kind == _REPLACE:
            locate, high, low, order_id, new_order_id, size, price = _REPLACE_FIELDS.unpack(payload)
            event.kind = EVENT_REPLACE
            event.order_id = order_id
            event.new_order_id = new_order_id
            event.size = size
            event.price = price
        elif kind == _EXECUTED:
            locate, high, low, order_id, size, match = _EXECUTED_FIELDS.unpack(payload)
            event.kind = EVENT_EXECUTE
            event.order_id = order_id
            event.size = size
            event.price = 1
            event.trade_id = str(match)
            event.condition = None
            event.printable = True
        elif kind == _CANCEL:
            locate, high, low, order_id, size = _CANCEL_FIELDS.unpack(payload)
            event.kind = EVENT_REDUCE
            event.order_id = order_id
            event.size = size
            event.price = 1
        elif kind == _EXECUTED_AT:
            locate, high, low, order_id, size, match, printable, price = _EXECUTED_AT_FIELDS.unpack(payload)
            event.kind = EVENT_EXECUTE_AT
            event.order_id = order_id
            event.size = size
            event.price = price
            event.trade_id = str(match)
            event.condition = None
            event.printable = printable == b"Y"
            if printable != b"Y" and printable != b"N":
                return _invalid(f"printable {printable!r} is neither Y nor N")
        else:
            return self._read_other(raw, kind, symbol, limits, event)
        event.locate = locate
        event.exchange = _EXCHANGES.get(raw.source, _NASDAQ)
        event.suspicious = False
        event.sets_price = True
        if event.size <= 0 or event.size > limits.max_size or event.price <= 0 or event.price > limits.max_price_e4:
            return _beyond(event, limits)
        return _set_time(event, raw, high, low)

    def _read_other(
        self, raw: RawFeedRecord, kind: int, symbol: str, limits: MarketLimits, event: FeedEvent
    ) -> Refusal | None:
        """The messages that do not change the book."""
        payload = raw.payload
        exchange = _EXCHANGES.get(raw.source, _NASDAQ)
        event.exchange = exchange
        event.suspicious = False
        event.sets_price = True
        event.condition = None
        stock = b""
        if kind == _TRADE:
            event.locate, high, low, _, _, event.size, stock, event.price, match = _TRADE_FIELDS.unpack(payload)
            event.kind = EVENT_TRADE
            event.trade_id = str(match)
            if event.size <= 0 or event.size > limits.max_size or event.price <= 0 or event.price > limits.max_price_e4:
                return _beyond(event, limits)
        elif kind == _CROSS:
            event.locate, high, low, event.size, stock, event.price, match, cross = _CROSS_FIELDS.unpack(payload)
            event.kind = EVENT_TRADE if event.size else EVENT_NONE
            event.trade_id = str(match)
            event.condition = cross.decode("ascii", "replace")
            if event.size and (event.size > limits.max_size or event.price <= 0 or event.price > limits.max_price_e4):
                return _beyond(event, limits)
        elif kind == _BROKEN:
            event.locate, high, low, match = _DELETE_FIELDS.unpack(payload)
            event.kind = EVENT_CANCEL
            event.trade_id = str(match)
        elif kind == _TRADING_ACTION:
            event.locate, high, low, stock, state, reason = _ACTION_FIELDS.unpack(payload)
            said = _STATES.get(state)
            if said is None:
                return _invalid(f"trading state {state!r} is not known")
            event.kind = EVENT_STATE
            event.halted = state != b"T"
            event.reason = f"{said} {reason.decode('ascii', 'replace')}".strip()
        elif kind == _OPERATIONAL_HALT:
            event.locate, high, low, stock, market, action = _OPERATIONAL_FIELDS.unpack(payload)
            if action != b"H" and action != b"T":
                return _invalid(f"operational halt action {action!r} is neither H nor T")
            event.kind = EVENT_VENUE_STATE if market == _MARKET_CODES[exchange] else EVENT_NONE
            event.halted = action == b"H"
        elif kind == _DIRECTORY:
            event.locate, high, low, stock, event.round_lot = _DIRECTORY_FIELDS.unpack_from(payload)
            event.kind = EVENT_DIRECTORY
        else:
            event.locate, high, low = _HEAD_FIELDS.unpack_from(payload)
            event.kind = EVENT_NONE
            at = _STOCK_AT.get(kind, 0)
            if at:
                stock = payload[at : at + 8]
        if stock and self._symbol(stock) != symbol:
            return _wrong_stock(stock, symbol)
        if not stock and kind != _BROKEN and symbol != WHOLE_MARKET:
            return _invalid(f"a message about the whole market came under symbol {symbol}, not {WHOLE_MARKET}")
        return _set_time(event, raw, high, low)

    def _symbol(self, stock: bytes) -> str:
        """Our spelling of a stock field."""
        symbol = self._symbols.get(stock)
        if symbol is None:
            if len(self._symbols) >= _MAX_SPELLINGS:
                self._symbols = {}
            symbol = canonical_symbol(stock.decode("ascii", "replace"))
            self._symbols[stock] = symbol
        return symbol


def _set_time(event: FeedEvent, raw: RawFeedRecord, high: int, low: int) -> Refusal | None:
    """The time of the event: nanoseconds since midnight in 48 bits."""
    since_midnight = high << 32 | low
    if since_midnight >= DAY_NS:
        return _invalid(f"time={since_midnight} ns since midnight is not within a day")
    event.time_ns = raw.base_time_ns + since_midnight
    return None


def _invalid(detail: str) -> Refusal:
    return Refusal(DEAD_LETTER_REASON_INVALID_VALUE, detail)


def _wrong_stock(stock: bytes, symbol: str) -> Refusal:
    return _invalid(f"the message is about {stock!r} but came under symbol {symbol}: it was routed wrongly")


def _beyond(event: FeedEvent, limits: MarketLimits) -> Refusal:
    return _invalid(
        f"shares={event.size} must be 1 to {limits.max_size}, price={event.price} be 1 to {limits.max_price_e4}"
    )


def _bad_length(payload: bytes, length: int) -> Refusal:
    kind = payload[:1]
    if length == 0:
        return Refusal(DEAD_LETTER_REASON_UNSUPPORTED, f"message type {kind!r} is not one of ITCH 5.0")
    return Refusal(
        DEAD_LETTER_REASON_UNDECODABLE, f"message {kind!r} of {len(payload)} bytes, its length in ITCH 5.0 is {length}"
    )
