"""Parse feed lines into normalised quotes and trades: strict, bounded, one precise reason for every refusal.

Purpose: turn one source line (bytes, as it came) into the numbers of a quote or a trade. Formats known so far are
Lean's two tick formats (one day of one symbol per file, comma-separated, no header):

- trade: ``ms, price_e4, size, exchange letter, sale condition (hex flags), suspicious``
- quote: ``ms, bid_price_e4, bid_size, ask_price_e4, ask_size, exchange letter, condition (hex flags), suspicious``

``ms`` counts from midnight in New York. A quote line usually carries one side, the other being ``0,0``, which means
"not in this line", not "gone". A side with a price and size 0 is a withdrawal of that side; a line of four zeroes
withdraws both sides.

Invariants: a parser either fills all fields of its result and returns None, or returns a Refusal and the result must
not be read. No input raises. Known limits: prices have four decimals and there is one session day per feed file; what
a round lot is goes by the trade's own price, because a feed has no average of the evaluation month.
Complexity: linear in the length of the line, which is bounded by `MarketLimits.max_line_bytes`.
"""

from typing import Final

from schemas.messages.enums import (
    DEAD_LETTER_REASON_INVALID_VALUE,
    DEAD_LETTER_REASON_UNDECODABLE,
)
from udfs.domain.rules import round_lot

DAY_MS: Final = 86_400_000
NS_PER_MS: Final = 1_000_000

# One letter per participant, as on the consolidated tapes (CTA and UTP plans' participant codes; Lean uses the same
# letters, see Common/Exchange.cs there), with the market identifier code of ISO 10383 that we publish. In 2013's data
# C is the National Stock Exchange, M the Chicago Stock Exchange, W CBOE's stock exchange: their successors keep letter
# and code.
EXCHANGES: Final = {
    b"A": "XASE",  # NYSE American
    b"B": "XBOS",  # Nasdaq BX
    b"C": "XCIS",  # NYSE National (National Stock Exchange)
    b"D": "FINR",  # FINRA: trades off exchange
    b"H": "EPRL",  # MIAX Pearl Equities
    b"I": "XISE",  # International Securities Exchange, equities
    b"J": "EDGA",  # Cboe EDGA
    b"K": "EDGX",  # Cboe EDGX
    b"L": "LTSE",  # Long-Term Stock Exchange
    b"M": "XCHI",  # NYSE Chicago (Chicago Stock Exchange)
    b"N": "XNYS",  # New York Stock Exchange
    b"P": "ARCX",  # NYSE Arca
    b"Q": "XNAS",  # Nasdaq
    b"T": "XNAS",  # Nasdaq, for securities of other listing markets
    b"U": "MEMX",  # MEMX
    b"V": "IEXG",  # IEX
    b"W": "CBSX",  # CBOE Stock Exchange
    b"X": "XPHL",  # Nasdaq PSX
    b"Y": "BATY",  # Cboe BYX
    b"Z": "BATS",  # Cboe BZX
}

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


class MarketLimits:
    """What market data is accepted, and how long it is believed. Prices e4, sizes shares, durations ns."""

    def __init__(
        self,
        max_price_e4: int = 10_000_000_000,
        max_size: int = 100_000_000,
        max_line_bytes: int = 256,
        max_regress_ns: int = 60_000_000_000,
        resync_after: int = 16,
        max_spread_bps: int = 500,
        stale_after_ns: int = 600_000_000_000,
        crossed_after_ns: int = 1_000_000_000,
        best_quote_sources: str = "lean",
    ) -> None:
        """Limits that are not positive are refused with ValueError.

        max_price_e4, max_size, max_line_bytes: more is absurd and refused. max_regress_ns: how far a record may be
        older than the one before it in its feed; after `resync_after` refusals in a row the feed's clock is believed
        again. max_spread_bps: an exchange whose own quote is wider does not set the NBBO. stale_after_ns: a side that
        was not updated for longer (in the symbol's market time) is dropped. crossed_after_ns: while exchanges cross
        each other, the older quote is dropped when it is older than this. best_quote_sources: comma-separated sources
        whose quote lines state the best quote of the whole market (see nbbo.py), as Lean's equity files do.
        """
        self.max_price_e4 = max_price_e4
        self.max_size = max_size
        self.max_line_bytes = max_line_bytes
        self.max_regress_ns = max_regress_ns
        self.resync_after = resync_after
        self.max_spread_bps = max_spread_bps
        self.stale_after_ns = stale_after_ns
        self.crossed_after_ns = crossed_after_ns
        self.best_quote_sources = [name for name in best_quote_sources.split(",") if name]
        smallest = min(
            max_price_e4,
            max_size,
            max_line_bytes,
            max_regress_ns,
            resync_after,
            max_spread_bps,
            stale_after_ns,
            crossed_after_ns,
        )
        if smallest <= 0:
            raise ValueError(f"every market data limit must be positive, got {smallest}")


class Refusal:
    """Why a record was refused: a DeadLetterReason code and a sentence with the numbers."""

    __slots__ = ("detail", "reason")

    def __init__(self, reason: int, detail: str) -> None:
        self.reason = reason
        self.detail = detail


class QuoteLine:
    """One parsed quote line. A side is `present` when the line speaks about it; then size 0 withdraws it."""

    __slots__ = (
        "ask_present",
        "ask_price",
        "ask_size",
        "bid_present",
        "bid_price",
        "bid_size",
        "condition",
        "exchange",
        "suspicious",
        "time_ms",
    )

    def __init__(self) -> None:
        self.time_ms = 0
        self.bid_present = False
        self.bid_price = 0
        self.bid_size = 0
        self.ask_present = False
        self.ask_price = 0
        self.ask_size = 0
        self.exchange = ""
        self.condition = 0
        self.suspicious = False


class TradeLine:
    """One parsed trade line; `condition_text` is the source's spelling."""

    __slots__ = ("condition", "condition_text", "exchange", "price", "size", "suspicious", "time_ms")

    def __init__(self) -> None:
        self.time_ms = 0
        self.price = 0
        self.size = 0
        self.exchange = ""
        self.condition = 0
        self.condition_text = ""
        self.suspicious = False


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

    def number(self, index: int, name: str, largest: int) -> int:
        """A decimal number from 0 to `largest`; 0 and a problem when it is not one."""
        part = self.parts[index]
        if part.isdigit() and len(part) <= _MAX_DIGITS:
            value = int(part)
            if value <= largest:
                return value
            self._refuse(DEAD_LETTER_REASON_INVALID_VALUE, f"{name}={value} is above the limit {largest}")
        elif part[:1] == b"-" and part[1:].isdigit():
            self._refuse(DEAD_LETTER_REASON_INVALID_VALUE, f"{name} is negative: {_shown(part)}")
        elif part.isdigit():
            self._refuse(
                DEAD_LETTER_REASON_INVALID_VALUE, f"{name} has {len(part)} digits, at most {_MAX_DIGITS} are read"
            )
        else:
            self._refuse(DEAD_LETTER_REASON_UNDECODABLE, f"{name} is not a number: {_shown(part)}")
        return 0

    def flags(self, index: int, name: str) -> int:
        """Hexadecimal flags without a prefix."""
        part = self.parts[index]
        if part.isdigit() and len(part) <= _MAX_CONDITION_DIGITS:
            return int(part, 16)
        # int() would also take signs, spaces, underscores and 0x: only letters and digits may reach it.
        if part.isalnum() and len(part) <= _MAX_CONDITION_DIGITS and not part.strip(b"0123456789abcdefABCDEF"):
            return int(part, 16)
        self._refuse(DEAD_LETTER_REASON_UNDECODABLE, f"{name} is not a hexadecimal number: {_shown(part)}")
        return 0

    def boolean(self, index: int, name: str) -> bool:
        """0 or 1."""
        part = self.parts[index]
        if part == b"0":
            return False
        if part == b"1":
            return True
        self._refuse(DEAD_LETTER_REASON_UNDECODABLE, f"{name} is neither 0 nor 1: {_shown(part)}")
        return False

    def exchange(self, index: int) -> str:
        """The market identifier code of the exchange letter."""
        code = EXCHANGES.get(self.parts[index])
        if code is None:
            self._refuse(DEAD_LETTER_REASON_INVALID_VALUE, f"exchange code {_shown(self.parts[index])} is not known")
            return ""
        return code

    def time_ms(self) -> int:
        """Milliseconds since midnight; the whole day, its end included."""
        return self.number(0, "time", DAY_MS)

    def _refuse(self, reason: int, detail: str) -> None:
        if self._refusal is None:
            self._refusal = Refusal(reason, detail)


def parse_quote(line: bytes, limits: MarketLimits, quote: QuoteLine) -> Refusal | None:
    """Fill `quote` from a Lean quote line, or say why not."""
    fields = _Fields(line, limits, _QUOTE_FIELDS)
    refusal = fields.problem()
    if refusal is not None:
        return refusal
    quote.time_ms = fields.time_ms()
    quote.bid_price = fields.number(1, "bidPrice", limits.max_price_e4)
    quote.bid_size = fields.number(2, "bidSize", limits.max_size)
    quote.ask_price = fields.number(3, "askPrice", limits.max_price_e4)
    quote.ask_size = fields.number(4, "askSize", limits.max_size)
    quote.exchange = fields.exchange(5)
    quote.condition = fields.flags(6, "condition")
    quote.suspicious = fields.boolean(7, "suspicious")
    refusal = fields.problem()
    if refusal is not None:
        return refusal
    return _check_sides(quote)


def parse_trade(line: bytes, limits: MarketLimits, trade: TradeLine) -> Refusal | None:
    """Fill `trade` from a Lean trade line, or say why not."""
    fields = _Fields(line, limits, _TRADE_FIELDS)
    refusal = fields.problem()
    if refusal is not None:
        return refusal
    trade.time_ms = fields.time_ms()
    trade.price = fields.number(1, "price", limits.max_price_e4)
    trade.size = fields.number(2, "size", limits.max_size)
    trade.exchange = fields.exchange(3)
    trade.condition = fields.flags(4, "condition")
    trade.suspicious = fields.boolean(5, "suspicious")
    refusal = fields.problem()
    if refusal is not None:
        return refusal
    if trade.price == 0 or trade.size == 0:
        return Refusal(
            DEAD_LETTER_REASON_INVALID_VALUE, f"trade without price or size: price={trade.price} size={trade.size}"
        )
    trade.condition_text = fields.parts[4].decode("ascii")
    return None


def is_eligible(trade: TradeLine, time_ns: int) -> bool:
    """Whether a trade may set the last price, trigger stop orders and count for price bands: a good print of a round lot.

    A trade below a round lot is left out whatever its condition says: odd lots do not update the consolidated last, and
    feeds do not all flag them.
    """
    return (
        not trade.suspicious
        and trade.condition & INELIGIBLE_SALE_CONDITIONS == 0
        and trade.size >= round_lot(trade.price, time_ns)
    )


def _check_sides(quote: QuoteLine) -> Refusal | None:
    """Decide which sides the line speaks about, and refuse sides that contradict themselves."""
    if quote.bid_price == 0 and quote.bid_size != 0:
        return Refusal(DEAD_LETTER_REASON_INVALID_VALUE, f"bidSize={quote.bid_size} without a bidPrice")
    if quote.ask_price == 0 and quote.ask_size != 0:
        return Refusal(DEAD_LETTER_REASON_INVALID_VALUE, f"askSize={quote.ask_size} without an askPrice")
    if quote.bid_size != 0 and quote.ask_size != 0 and quote.bid_price >= quote.ask_price:
        return Refusal(
            DEAD_LETTER_REASON_INVALID_VALUE,
            f"one exchange's quote is locked or crossed: bidPrice={quote.bid_price} askPrice={quote.ask_price}",
        )
    empty = quote.bid_price == 0 and quote.ask_price == 0
    quote.bid_present = empty or quote.bid_price != 0
    quote.ask_present = empty or quote.ask_price != 0
    return None


def _shown(part: bytes) -> str:
    """A short printable form of untrusted bytes."""
    return repr(part[:40])
