"""Margin numbers of regulators and of the firm, as effective-dated rows; margin.py is the arithmetic that reads them.

Ordering: rows of a table are in the order of their effective time; the last row that is in force applies, the first one
before its time.
Invariants: shares of value are in 1/10,000, prices in 1/10,000 of the currency; all functions are pure.
Known limits: a broker's house requirements above the rules, portfolio margin and the lists of low-leverage securities
are not here.
Complexity: linear in the rows of a table, which are few.
"""

from typing import Final

from schemas.messages.enums import INTRADAY_RULE_INTRADAY_MARGIN, INTRADAY_RULE_LEGACY_DAY_TRADER
from udfs.domain.rules import instant_ns

DAY_NS: Final = 86_400_000_000_000


class StockMargin:
    """Regulation T and FINRA 4210 for stocks.

    Initial: `initial_long` and `initial_short` of the value (the latter is on top of the proceeds, which makes 150%).
    Maintenance: `long` of the value; of a short position `short` of it but at least `short_floor_e4` a share, from
    `low_price_e4` on; below that price `low_short` but at least `low_floor_e4` a share.
    """

    __slots__ = (
        "effective_from_ns",
        "initial_long",
        "initial_short",
        "long",
        "low_floor_e4",
        "low_price_e4",
        "low_short",
        "minimum_equity_e4",
        "short",
        "short_floor_e4",
        "source",
    )

    def __init__(
        self,
        effective_from_ns: int,
        initial_long: int,
        initial_short: int,
        long: int,
        short: int,
        short_floor_e4: int,
        low_price_e4: int,
        low_short: int,
        low_floor_e4: int,
        minimum_equity_e4: int,
        source: str,
    ) -> None:
        self.effective_from_ns = effective_from_ns
        self.initial_long = initial_long
        self.initial_short = initial_short
        self.long = long
        self.short = short
        self.short_floor_e4 = short_floor_e4
        self.low_price_e4 = low_price_e4
        self.low_short = low_short
        self.low_floor_e4 = low_floor_e4
        self.minimum_equity_e4 = minimum_equity_e4
        self.source = source


STOCK_MARGINS: Final[list[StockMargin]] = [
    StockMargin(
        0,
        5_000,
        5_000,
        2_500,
        3_000,
        50_000,
        50_000,
        10_000,
        25_000,
        20_000_000,
        "12 CFR 220.12 (Regulation T); FINRA Rule 4210(b)(4), (c)(1) to (c)(3)",
    ),
]


class OptionMargin:
    """FINRA 4210(f): premium and naked requirements of options.

    A long option needs `long` of its value, one with more than `long_term_ns` to run `long_term`. A written option needs
    its value and `base` (`broad_base` on a broad index) of the underlying less what it is out of the money, but at least
    `floor`: of the underlying for a call, of the strike for a put.
    """

    __slots__ = (
        "base",
        "broad_base",
        "effective_from_ns",
        "floor",
        "long",
        "long_term",
        "long_term_ns",
        "source",
    )

    def __init__(
        self,
        effective_from_ns: int,
        long: int,
        long_term: int,
        long_term_ns: int,
        base: int,
        broad_base: int,
        floor: int,
        source: str,
    ) -> None:
        self.effective_from_ns = effective_from_ns
        self.long = long
        self.long_term = long_term
        self.long_term_ns = long_term_ns
        self.base = base
        self.broad_base = broad_base
        self.floor = floor
        self.source = source


OPTION_MARGINS: Final[list[OptionMargin]] = [
    OptionMargin(
        0, 10_000, 7_500, 274 * DAY_NS, 2_000, 1_500, 1_000, "FINRA Rule 4210(f)(2); nine months taken as 274 days"
    ),
]


class FuturesMargin:
    """Initial margin of a speculator, as a multiple in 1/10,000 of the exchange's maintenance margin."""

    __slots__ = ("effective_from_ns", "initial_multiple", "source")

    def __init__(self, effective_from_ns: int, initial_multiple: int, source: str) -> None:
        self.effective_from_ns = effective_from_ns
        self.initial_multiple = initial_multiple
        self.source = source


FUTURES_MARGINS: Final[list[FuturesMargin]] = [
    FuturesMargin(0, 11_000, "CME Rule 930.A: initial is 110% of maintenance for non-hedgers"),
]


class CallTerms:
    """When a margin call is due, in sessions after the one in which it was made."""

    __slots__ = ("due_sessions", "effective_from_ns", "source")

    def __init__(self, effective_from_ns: int, due_sessions: int, source: str) -> None:
        self.effective_from_ns = effective_from_ns
        self.due_sessions = due_sessions
        self.source = source


CALL_TERMS: Final[list[CallTerms]] = [
    CallTerms(0, 3, "12 CFR 220.4(c)(3): one payment period, T+1 and two business days"),
]


class IntradayTerms:
    """The intraday margin rule: a deficit above the lesser of `small_share` of equity and `small_e4` is to be cured
    within `cure_sessions`; `pattern` of them uncured within `pattern_ns` freeze the account for `freeze_ns`."""

    __slots__ = (
        "cure_sessions",
        "effective_from_ns",
        "freeze_ns",
        "pattern",
        "pattern_ns",
        "small_e4",
        "small_share",
        "source",
    )

    def __init__(
        self,
        effective_from_ns: int,
        small_share: int,
        small_e4: int,
        cure_sessions: int,
        pattern: int,
        pattern_ns: int,
        freeze_ns: int,
        source: str,
    ) -> None:
        self.effective_from_ns = effective_from_ns
        self.small_share = small_share
        self.small_e4 = small_e4
        self.cure_sessions = cure_sessions
        self.pattern = pattern
        self.pattern_ns = pattern_ns
        self.freeze_ns = freeze_ns
        self.source = source


INTRADAY_TERMS: Final[list[IntradayTerms]] = [
    IntradayTerms(
        instant_ns("2026-06-04T00:00:00-04:00"),
        500,
        10_000_000,
        5,
        2,
        365 * DAY_NS,
        90 * DAY_NS,
        "FINRA Rule 4210 as amended by SR-FINRA-2025-017 (Rel. 34-105226), in force 2026-06-04; two uncured deficits in a "
        "year as the pattern are the firm's reading of it",
    ),
]
"""No account is under the rule before the first row, see `intraday_rule`."""


class DayTraderTerms:
    """The legacy rule: at least `day_trades` in `window_sessions`, and more than `trade_share` of the trades, make a
    pattern day trader, who needs `minimum_equity_e4`, buys up to `multiple` times the excess at the last close, and
    leaves deposits in the account until the close `kept_sessions` after them."""

    __slots__ = (
        "day_trades",
        "effective_from_ns",
        "effective_until_ns",
        "kept_sessions",
        "minimum_equity_e4",
        "multiple",
        "source",
        "trade_share",
        "window_sessions",
    )

    def __init__(
        self,
        effective_from_ns: int,
        effective_until_ns: int,
        day_trades: int,
        window_sessions: int,
        trade_share: int,
        minimum_equity_e4: int,
        multiple: int,
        kept_sessions: int,
        source: str,
    ) -> None:
        self.effective_from_ns = effective_from_ns
        self.effective_until_ns = effective_until_ns
        self.day_trades = day_trades
        self.window_sessions = window_sessions
        self.trade_share = trade_share
        self.minimum_equity_e4 = minimum_equity_e4
        self.multiple = multiple
        self.kept_sessions = kept_sessions
        self.source = source


DAY_TRADER_TERMS: Final[list[DayTraderTerms]] = [
    DayTraderTerms(
        0,
        instant_ns("2027-10-20T00:00:00-04:00"),
        4,
        5,
        600,
        250_000_000,
        4,
        2,
        "FINRA Rule 4210(f)(8)(B) before SR-FINRA-2025-017; firms may phase in the new rule until 2027-10-20",
    ),
]


def stock_margin(time_ns: int) -> StockMargin:
    """The row in force."""
    found = STOCK_MARGINS[0]
    for row in STOCK_MARGINS:
        if row.effective_from_ns <= time_ns:
            found = row
    return found


def option_margin(time_ns: int) -> OptionMargin:
    """The row in force."""
    found = OPTION_MARGINS[0]
    for row in OPTION_MARGINS:
        if row.effective_from_ns <= time_ns:
            found = row
    return found


def futures_margin(time_ns: int) -> FuturesMargin:
    """The row in force."""
    found = FUTURES_MARGINS[0]
    for row in FUTURES_MARGINS:
        if row.effective_from_ns <= time_ns:
            found = row
    return found


def call_terms(time_ns: int) -> CallTerms:
    """The row in force."""
    found = CALL_TERMS[0]
    for row in CALL_TERMS:
        if row.effective_from_ns <= time_ns:
            found = row
    return found


def intraday_rule(flag: int, time_ns: int) -> int:
    """The rule that an account is under: what the firm has flagged it for, as far as the time lets it choose.

    flag: INTRADAY_RULE_* of its reference data. Before the intraday margin rule is in force only the day trader rule is
    there, whatever the flag says; once the period in which firms change over has ended, only the new one.
    Source: SR-FINRA-2025-017, Rel. 34-105226.
    """
    if time_ns < INTRADAY_TERMS[0].effective_from_ns:
        return INTRADAY_RULE_LEGACY_DAY_TRADER
    if flag == INTRADAY_RULE_LEGACY_DAY_TRADER and day_trader_terms(time_ns) is None:
        return INTRADAY_RULE_INTRADAY_MARGIN
    return flag


def intraday_terms(time_ns: int) -> IntradayTerms:
    """The row in force."""
    found = INTRADAY_TERMS[0]
    for row in INTRADAY_TERMS:
        if row.effective_from_ns <= time_ns:
            found = row
    return found


def day_trader_terms(time_ns: int) -> DayTraderTerms | None:
    """The row in force; None once the rule has ended."""
    found: DayTraderTerms | None = None
    for row in DAY_TRADER_TERMS:
        if row.effective_from_ns <= time_ns < row.effective_until_ns:
            found = row
    return found
