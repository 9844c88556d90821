"""Lean's tick lines as feed events: two formats, one line a record, comma-separated, no header.

- trade: ``ms, price_e4, size, exchange letter, sale condition (hex flags), suspicious``
- quote: ``ms, bid_price_e4, bid_size, ask_price_e4, ask_size, exchange letter, condition (hex flags), suspicious``

``ms`` counts from midnight in New York. A quote line usually carries one side, the other being ``0,0``, which means
"not in this line", not "gone". A side with a price and size 0 is a withdrawal of that side; a line of four zeroes
withdraws both sides.

Ordering: by line, as in the file. Invariants: those of feed_adapter.py. Known limits: one session day a file; no trade
ids, so that no trade can be corrected.
Complexity: linear in the length of the line, which is bounded by `MarketLimits.max_line_bytes`.
"""

from typing import Final

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


class LeanQuotes(FeedAdapter):
    """Quote lines."""

    def read(self, raw: RawFeedRecord, symbol: str, limits: MarketLimits, event: FeedEvent) -> Refusal | None:
        """Fill `event` from a quote line, or say why not."""
        parts = raw.payload.split(b",")
        if not _is_regular(raw.payload, parts, _QUOTE_FIELDS, 5, limits):
            return _explain_quote(raw.payload, limits)
        time_ms = int(parts[0])
        bid_price = int(parts[1])
        bid_size = int(parts[2])
        ask_price = int(parts[3])
        ask_size = int(parts[4])
        condition = _flags(parts[6])
        largest = limits.max_price_e4
        if (
            time_ms > DAY_MS
            or bid_price > largest
            or ask_price > largest
            or bid_size > limits.max_size
            or ask_size > limits.max_size
            or condition < 0
        ):
            return _explain_quote(raw.payload, limits)
        event.kind = EVENT_QUOTE
        event.time_ns = raw.base_time_ns + time_ms * NS_PER_MS
        event.exchange = EXCHANGES[parts[5]]
        event.firm = condition & ~FIRM_QUOTE_CONDITIONS == 0
        event.suspicious = parts[7] == b"1"
        event.bid_price = bid_price
        event.bid_size = bid_size
        event.ask_price = ask_price
        event.ask_size = ask_size
        empty = bid_price == 0 and ask_price == 0
        event.bid_present = empty or bid_price != 0
        event.ask_present = empty or ask_price != 0
        return event.check_sides()


class LeanTrades(FeedAdapter):
    """Trade lines."""

    def read(self, raw: RawFeedRecord, symbol: str, limits: MarketLimits, event: FeedEvent) -> Refusal | None:
        """Fill `event` from a trade line, or say why not."""
        parts = raw.payload.split(b",")
        if not _is_regular(raw.payload, parts, _TRADE_FIELDS, 3, limits):
            return _explain_trade(raw.payload, limits)
        time_ms = int(parts[0])
        price = int(parts[1])
        size = int(parts[2])
        condition = _flags(parts[4])
        if time_ms > DAY_MS or price > limits.max_price_e4 or size > limits.max_size or condition < 0:
            return _explain_trade(raw.payload, limits)
        event.kind = EVENT_TRADE
        event.time_ns = raw.base_time_ns + time_ms * NS_PER_MS
        event.price = price
        event.size = size
        event.exchange = EXCHANGES[parts[3]]
        event.sets_price = condition & INELIGIBLE_SALE_CONDITIONS == 0
        event.suspicious = parts[5] == b"1"
        event.condition = parts[4].decode("ascii")
        event.trade_id = ""
        return event.check_trade()


def _is_regular(line: bytes, parts: list[bytes], expected: int, numbers: int, limits: MarketLimits) -> bool:
    """Whether a line has all its fields, the first of them numbers, then a known exchange, and 0 or 1 at the end.

    Both forms end with exchange, condition and suspicious.
    """
    return (
        len(parts) == expected
        and len(line) <= limits.max_line_bytes
        and b"" not in parts
        and b"".join(parts[:numbers]).isdigit()
        and parts[numbers] in EXCHANGES
        and (parts[-1] == b"0" or parts[-1] == b"1")
    )


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
