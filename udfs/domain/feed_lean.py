"""Lean's tick lines as feed events: two formats, one line a record, comma-separated, no header.

- trade: ``ms, price_e4, size, exchange letter, sale condition (hex flags), suspicious``
- quote: ``ms, bid_price_e4, bid_size, ask_price_e4, ask_size, exchange letter, condition (hex flags), suspicious``

``ms`` counts from midnight in New York. A quote line usually carries one side, the other being ``0,0``, which means
"not in this line", not "gone". A side with a price and size 0 is a withdrawal of that side; a line of four zeroes
withdraws both sides.

Ordering: by line, as in the file. Invariants: those of feed_adapter.py. Known limits: one session day a file; no trade
ids, so that no trade can be corrected.
Complexity: linear in the length of the line, which is bounded by `MarketLimits.max_line_bytes`. Numbers are read byte by byte,
and what comes behind them (exchange, condition, suspicious: few lines differ in it) once for each way in which it is written.
"""

from typing import Final

from mypy_extensions import i64

from schemas.messages.enums import (
    DEAD_LETTER_REASON_INVALID_VALUE,
    DEAD_LETTER_REASON_UNDECODABLE,
)
from schemas.messages.raw_feed import RawFeedRecord
from udfs.domain.feed_adapter import EVENT_QUOTE, EVENT_TRADE, FeedAdapter, FeedEvent
from udfs.domain.normalise import EXCHANGES, NS_PER_MS, MarketLimits, Refusal

DAY_MS: Final = 86_400_000

# Quote conditions that still promise an execution (flags of Lean's QuoteConditionFlags): regular, opening quote,
# resume, fast trading. Every other flag marks a quote as slow, closing, halted, indicative or not firm, so that it may
# not set the NBBO.
FIRM_QUOTE_CONDITIONS: Final = 0x1 | 0x800 | 0x2000 | 0x200000

# Sale conditions that may not update the last price (flags of Lean's TradeConditionFlags; the rule is the consolidated
# plans' table of what updates the consolidated last, without its conditional cases): cash 1, next day 2, seller 3,
# derivatively priced 9, form T 10, sold late 11, extended hours 13, out of sequence 14, stock-option 18, average price
# 20, price variation 22, official close 24, prior reference price 25, official open 26, odd lot 31.
INELIGIBLE_SALE_CONDITIONS: Final = (
    1 << 1 | 1 << 2 | 1 << 3 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 13 | 1 << 14
    | 1 << 18 | 1 << 20 | 1 << 22 | 1 << 24 | 1 << 25 | 1 << 26 | 1 << 31
)  # fmt: skip

_MAX_DIGITS: Final = 15
_MAX_CONDITION_DIGITS: Final = 16
_TRADE_FIELDS: Final = 6
_QUOTE_FIELDS: Final = 8
_TAIL_FIELDS: Final = 3
_MAX_TAILS: Final = 4_096
_COMMA: Final = 0x2C
_ZERO: Final = 0x30
_NINE: Final = 0x39


class _Fields:
    """The fields of one line and the first thing that was wrong with them."""

    __slots__ = ("_refusal", "parts")

    def __init__(self, line: bytes, limits: MarketLimits, expected: int) -> None:
        self.parts: list[bytes] = []
        self._refusal: Refusal | None = None
        if len(line) > limits.max_line_bytes:
            self._refuse(
                DEAD_LETTER_REASON_UNDECODABLE, f"line of {len(line)} bytes, at most {limits.max_line_bytes} are read"
            )
            return
        self.parts = line.split(b",")
        if len(self.parts) != expected:
            self._refuse(DEAD_LETTER_REASON_UNDECODABLE, f"line has {len(self.parts)} fields, expected {expected}")

    def problem(self) -> Refusal | None:
        """The first thing that was wrong. A call, because mypyc takes a narrowed attribute for unchanged."""
        return self._refusal

    def refusal(self) -> Refusal:
        """What was wrong; of a line that something was wrong with."""
        found = self._refusal
        return Refusal(DEAD_LETTER_REASON_UNDECODABLE, "line cannot be read") if found is None else found

    def number(self, index: int, name: str, largest: int) -> None:
        """Expect a decimal number from 0 to `largest`."""
        part = self.parts[index]
        if part.isdigit() and len(part) <= _MAX_DIGITS:
            value = int(part)
            if value > largest:
                self._refuse(DEAD_LETTER_REASON_INVALID_VALUE, f"{name}={value} is above the limit {largest}")
        elif part[:1] == b"-" and part[1:].isdigit():
            self._refuse(DEAD_LETTER_REASON_INVALID_VALUE, f"{name} is negative: {_shown(part)}")
        elif part.isdigit():
            self._refuse(
                DEAD_LETTER_REASON_INVALID_VALUE, f"{name} has {len(part)} digits, at most {_MAX_DIGITS} are read"
            )
        else:
            self._refuse(DEAD_LETTER_REASON_UNDECODABLE, f"{name} is not a number: {_shown(part)}")

    def flags(self, index: int, name: str) -> None:
        """Expect hexadecimal flags without a prefix."""
        part = self.parts[index]
        if _flags(part) < 0:
            self._refuse(DEAD_LETTER_REASON_UNDECODABLE, f"{name} is not a hexadecimal number: {_shown(part)}")

    def boolean(self, index: int, name: str) -> None:
        """Expect 0 or 1."""
        part = self.parts[index]
        if part not in (b"0", b"1"):
            self._refuse(DEAD_LETTER_REASON_UNDECODABLE, f"{name} is neither 0 nor 1: {_shown(part)}")

    def exchange(self, index: int) -> None:
        """Expect the letter of an exchange."""
        if self.parts[index] not in EXCHANGES:
            self._refuse(DEAD_LETTER_REASON_INVALID_VALUE, f"exchange code {_shown(self.parts[index])} is not known")

    def _refuse(self, reason: int, detail: str) -> None:
        if self._refusal is None:
            self._refusal = Refusal(reason, detail)


class _Tail:
    """What a line ends with: exchange, flags and whether it is suspicious."""

    __slots__ = ("condition", "exchange", "flags", "suspicious")

    def __init__(self, exchange: str, flags: int, condition: str, suspicious: bool) -> None:
        self.exchange = exchange
        self.flags = flags
        self.condition = condition
        self.suspicious = suspicious


class LeanLines(FeedAdapter):
    """Lines of either kind."""

    __slots__ = ("_tails",)

    def __init__(self) -> None:
        self._tails: dict[bytes, _Tail] = {}

    def _tail(self, line: bytes, at: i64) -> _Tail | None:
        """The end of a line, None when it is not regular."""
        spelled = line[at:]
        tail = self._tails.get(spelled)
        if tail is None:
            tail = _read_tail(spelled)
            if tail is not None:
                if len(self._tails) >= _MAX_TAILS:
                    self._tails = {}
                self._tails[spelled] = tail
        return tail


class LeanQuotes(LeanLines):
    """Quote lines."""

    __slots__ = ()

    def read(self, raw: RawFeedRecord, symbol: str, limits: MarketLimits, event: FeedEvent) -> Refusal | None:
        """Fill `event` from a quote line, or say why not."""
        line = raw.payload
        time_ms, at = _number(line, 0)
        bid_price, at = _number(line, at)
        bid_size, at = _number(line, at)
        ask_price, at = _number(line, at)
        ask_size, at = _number(line, at)
        tail = None if at < 0 or len(line) > limits.max_line_bytes else self._tail(line, at)
        largest = limits.max_price_e4
        if (
            tail is None
            or time_ms > DAY_MS
            or bid_price > largest
            or ask_price > largest
            or bid_size > limits.max_size
            or ask_size > limits.max_size
        ):
            return _explain_quote(line, limits)
        event.kind = EVENT_QUOTE
        event.time_ns = raw.base_time_ns + time_ms * NS_PER_MS
        event.exchange = tail.exchange
        event.firm = tail.flags & ~FIRM_QUOTE_CONDITIONS == 0
        event.suspicious = tail.suspicious
        event.bid_price = bid_price
        event.bid_size = bid_size
        event.ask_price = ask_price
        event.ask_size = ask_size
        empty = bid_price == 0 and ask_price == 0
        event.bid_present = empty or bid_price != 0
        event.ask_present = empty or ask_price != 0
        return event.check_sides()


class LeanTrades(LeanLines):
    """Trade lines."""

    __slots__ = ()

    def read(self, raw: RawFeedRecord, symbol: str, limits: MarketLimits, event: FeedEvent) -> Refusal | None:
        """Fill `event` from a trade line, or say why not."""
        line = raw.payload
        time_ms, at = _number(line, 0)
        price, at = _number(line, at)
        size, at = _number(line, at)
        tail = None if at < 0 or len(line) > limits.max_line_bytes else self._tail(line, at)
        if tail is None or time_ms > DAY_MS or price > limits.max_price_e4 or size > limits.max_size:
            return _explain_trade(line, limits)
        event.kind = EVENT_TRADE
        event.time_ns = raw.base_time_ns + time_ms * NS_PER_MS
        event.price = price
        event.size = size
        event.exchange = tail.exchange
        event.sets_price = tail.flags & INELIGIBLE_SALE_CONDITIONS == 0
        event.suspicious = tail.suspicious
        event.condition = tail.condition
        event.trade_id = ""
        return event.check_trade()


def _number(line: bytes, at: i64) -> tuple[i64, i64]:
    """The decimal number at a place and the place behind its comma; no place (-1) when there is none, or no place was given."""
    value: i64 = 0
    start = at
    end: i64 = len(line)
    while 0 <= at < end:
        digit: i64 = line[at]
        if digit == _COMMA:
            return value, at + 1 if at > start else -1
        if digit < _ZERO or digit > _NINE or at - start >= _MAX_DIGITS:
            break
        value = value * 10 + digit - _ZERO
        at += 1
    return 0, -1


def _read_tail(spelled: bytes) -> _Tail | None:
    """What comes behind the numbers of a line: a known exchange, hexadecimal flags, and 0 or 1; None when it does not."""
    parts = spelled.split(b",")
    if len(parts) != _TAIL_FIELDS or (parts[2] != b"0" and parts[2] != b"1"):
        return None
    exchange = EXCHANGES.get(parts[0])
    flags = _flags(parts[1])
    if exchange is None or flags < 0:
        return None
    return _Tail(exchange, flags, parts[1].decode("ascii"), parts[2] == b"1")


def _flags(part: bytes) -> int:
    """Hexadecimal flags without a prefix; -1 when they are none."""
    # int() would also take signs, spaces, underscores and 0x: only letters and digits may reach it.
    if len(part) <= _MAX_CONDITION_DIGITS and (
        part.isdigit() or (part.isalnum() and not part.strip(b"0123456789abcdefABCDEF"))
    ):
        return int(part, 16)
    return -1


def _explain_quote(line: bytes, limits: MarketLimits) -> Refusal:
    """What is wrong with a quote line, the first thing of it."""
    fields = _Fields(line, limits, _QUOTE_FIELDS)
    if fields.problem() is None:
        fields.number(0, "time", DAY_MS)
        fields.number(1, "bidPrice", limits.max_price_e4)
        fields.number(2, "bidSize", limits.max_size)
        fields.number(3, "askPrice", limits.max_price_e4)
        fields.number(4, "askSize", limits.max_size)
        fields.exchange(5)
        fields.flags(6, "condition")
        fields.boolean(7, "suspicious")
    return fields.refusal()


def _explain_trade(line: bytes, limits: MarketLimits) -> Refusal:
    """What is wrong with a trade line, the first thing of it."""
    fields = _Fields(line, limits, _TRADE_FIELDS)
    if fields.problem() is None:
        fields.number(0, "time", DAY_MS)
        fields.number(1, "price", limits.max_price_e4)
        fields.number(2, "size", limits.max_size)
        fields.exchange(3)
        fields.flags(4, "condition")
        fields.boolean(5, "suspicious")
    return fields.refusal()


def _shown(part: bytes) -> str:
    """A short printable form of untrusted bytes."""
    return repr(part[:40])
