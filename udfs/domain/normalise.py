"""What is common to all feeds: limits, refusals, codes of exchanges, sale conditions, exact prices, and which trades count.

Purpose: adapters (feed_adapter.py and the modules named after it) read the bytes of a source; what their numbers may be,
and what they mean for prices, is decided here, the same for all.

Invariants: nothing here raises for bad input, and no price passes through a float.
Known limits: prices have four decimals; what a round lot is goes by the trade's own price where the feed does not say,
because a feed has no average of the evaluation month.
Complexity: constant, or linear in a text of bounded length.
"""

from typing import Final

from udfs.domain.rules import ROUND_LOT_TIERS, round_lot

DAY_NS: Final = 86_400_000_000_000
NS_PER_MS: Final = 1_000_000
MAX_DEPTH_LEVELS: Final = 64
MAX_TIME_NS: Final = 7_258_118_400_000_000_000
"""Times outside 1970 to 2200 are a broken source, not a market."""

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

_MICS: Final[dict[str, str]] = {
    **{letter.decode("ascii"): mic for letter, mic in EXCHANGES.items()},
    **{mic: mic for mic in EXCHANGES.values()},
    "AMEX": "XASE",
    "ARCA": "ARCX",
    "BATS": "BATS",
    "BX": "XBOS",
    "BYX": "BATY",
    "BZX": "BATS",
    "EDGA": "EDGA",
    "EDGX": "EDGX",
    "FINRA": "FINR",
    "IEX": "IEXG",
    "MEMX": "MEMX",
    "NASDAQ": "XNAS",
    "NYSE": "XNYS",
    "PSX": "XPHL",
    "TRF": "FINR",
}

# Sale conditions as letters of the consolidated tapes (UTP participant specification, "sale condition modifiers"; CTA's
# where they agree) that may not update the last price, conditional cases among them: cash C, price variation H, odd lot
# I, sold last L, official close M, next day N, prior reference price P, official open Q, seller R, form T, extended
# hours U, contingent V and 7, average price W and B, sold out of sequence Z, derivatively priced 4, corrected
# consolidated close 9, bunched sold G.
INELIGIBLE_SALE_LETTERS: Final = frozenset("BCGHILMNPQRTUVWZ479")

_LARGEST_LOT: Final[int] = max([tier.shares for tier in ROUND_LOT_TIERS])
LARGEST_LIMIT: Final = 10**15
"""No price (1/10,000) and no size that passes is more: each must fit 64 bits, and so must sums of thousands of them."""
_MAX_PRICE_TEXT: Final = 20


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
        max_message_bytes: int = 2_048,
        silent_after_ns: int = 600_000_000_000,
        depth_levels: int = 10,
        trades_kept: int = 65_536,
    ) -> None:
        """Limits that are not positive are refused with ValueError.

        max_price_e4, max_size, max_line_bytes: more is absurd and refused. max_regress_ns: how far a record may be
        older than the one before it in its feed; after `resync_after` refusals in a row the feed's clock is believed
        again. max_spread_bps: an exchange whose own quote is wider does not set the NBBO. stale_after_ns: a side that
        was not updated for longer (in the symbol's market time) is dropped. crossed_after_ns: while exchanges cross
        each other, the older quote is dropped when it is older than this. best_quote_sources: comma-separated sources
        whose quote lines state the best quote of the whole market (see nbbo.py), as Lean's equity files do.
        max_message_bytes: longest message of a text feed other than lines. silent_after_ns: a source that says nothing
        about a symbol for longer, while others do, is told to be stale. depth_levels: prices of each side that are
        published of an exchange's book, at most 64. trades_kept: trades of a shard that can still be corrected.
        """
        self.max_price_e4 = max_price_e4
        self.max_size = max_size
        self.max_line_bytes = max_line_bytes
        self.max_regress_ns = max_regress_ns
        self.resync_after = resync_after
        self.max_spread_bps = max_spread_bps
        self.stale_after_ns = stale_after_ns
        self.crossed_after_ns = crossed_after_ns
        self.max_message_bytes = max_message_bytes
        self.silent_after_ns = silent_after_ns
        self.depth_levels = depth_levels
        self.trades_kept = trades_kept
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
            max_message_bytes,
            silent_after_ns,
            depth_levels,
            trades_kept,
        )
        if smallest <= 0:
            raise ValueError(f"every market data limit must be positive, got {smallest}")
        if max(max_price_e4, max_size) > LARGEST_LIMIT:
            raise ValueError(f"max_price_e4={max_price_e4} and max_size={max_size} must be at most {LARGEST_LIMIT}")
        if depth_levels > MAX_DEPTH_LEVELS:
            raise ValueError(f"depth_levels={depth_levels} must be at most {MAX_DEPTH_LEVELS}")


class Refusal:
    """Why a record was refused: a DeadLetterReason code and a sentence with the numbers."""

    __slots__ = ("detail", "reason")

    def __init__(self, reason: int, detail: str) -> None:
        self.reason = reason
        self.detail = detail


def mic_of(text: str) -> str:
    """The market identifier code for a tape letter, a code itself or a usual name; empty when it is not known."""
    return _MICS.get(text, "")


def price_e4(text: str) -> int:
    """A plain decimal as a count of 1/10,000, exactly; -1 when it is none, -2 when it has more than four decimals.

    Zeros behind the fourth decimal do no harm. Signs, exponents, spaces and empty parts are not plain.
    """
    if len(text) > _MAX_PRICE_TEXT or not text.isascii():
        return -1
    whole, point, fraction = text.partition(".")
    if not whole.isdigit() or (point and not fraction.isdigit()):
        return -1
    if len(fraction) > 4 and fraction[4:].strip("0"):
        return -2
    return int(whole) * 10_000 + int((fraction + "0000")[:4])


def letters_set_price(conditions: str) -> bool:
    """Whether a trade with these sale condition letters may update the last price."""
    return not set(conditions) & INELIGIBLE_SALE_LETTERS


def is_eligible(price: int, size: int, lot: int, time_ns: int) -> bool:
    """Whether a good print is large enough to set the last price, trigger stop orders and count for price bands.

    A trade below a round lot is left out whatever its condition says: odd lots do not update the consolidated last, and
    feeds do not all flag them. `lot`: shares of a round lot as the feed states it, 0 when it does not.
    """
    if lot > 0:
        return size >= lot
    # Most trades are no smaller than any round lot: then the table need not be looked at.
    return size >= _LARGEST_LOT or size >= round_lot(price, time_ns)
