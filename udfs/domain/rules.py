"""Numbers that regulators and venues set, as effective-dated data, and the arithmetic that reads them.

Ordering: rows of a table are in the order of their effective time; the last row that is in force applies. Within one
effective time rows are in the order that their table names.
Invariants: prices and money are integers in 1/10,000 of the currency; all functions are pure. A rule's day begins at
midnight in New York.
Known limits: rows reach back as far as their sources say; a time before the first row gets that row where a number has
to be given (ticks, collars, auctions), and no rule where there was none. The venue fees are the base price for taking
liquidity, without volume tiers and rebates.
Complexity: linear in the rows of a table, which are few.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from schemas.messages.enums import (
    ORDER_TYPE_LIMIT,
    ORDER_TYPE_MARKET,
    TIME_IN_FORCE_CLS,
    TIME_IN_FORCE_OPG,
)
from udfs.domain.money import round_down, round_up

MINUTE_NS: Final = 60_000_000_000
NEVER_NS: Final = 2**63 - 1
"""A time that does not come."""
LAST_NS: Final = 7_258_118_400_000_000_000
"""The year 2200: a later time is a mistake of its sender, and moves no clock."""


def instant_ns(text: str) -> int:
    """UTC nanoseconds of an ISO 8601 time with its offset, in whole seconds: how tables write effective times."""
    moment = datetime.fromisoformat(text)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1) * 1_000_000_000


OWN_VENUE: Final = "TRDS"
"""Code of our own book in venues of events, in the form of an ISO 10383 market identifier."""

MAX_ORDER_ID_LENGTH: Final = 64
MAX_QUANTITY: Final = 999_999
"""Most shares of one order: the field width of Nasdaq OUCH, below which every venue accepts an order."""
MAX_PRICE_E4: Final = 10_000_000_000
"""Highest price that is taken for real, $1,000,000.0000: with `MAX_QUANTITY` every notional fits a 64-bit integer."""
MAX_CASH_E4: Final = 10**17
MAX_SHARES: Final = 10**12

SUB_DOLLAR_E4: Final = 10_000
SUB_DOLLAR_TICK_E4: Final = 1
"""Rule 612 of Regulation NMS (17 CFR 242.612): below $1.00 the increment is $0.0001."""


class CollarBand:
    """A market order may not execute further than `basis_points` beyond a reference of at most `up_to_e4`."""

    __slots__ = ("basis_points", "effective_from_ns", "source", "up_to_e4")

    def __init__(self, effective_from_ns: int, up_to_e4: int, basis_points: int, source: str) -> None:
        self.effective_from_ns = effective_from_ns
        self.up_to_e4 = up_to_e4
        self.basis_points = basis_points
        self.source = source


_CLEARLY_ERRONEOUS: Final = "numerical guidelines for clearly erroneous trades, 75 FR 41914; Nasdaq market collars"

COLLAR_BANDS: Final[list[CollarBand]] = [
    CollarBand(0, 250_000, 1_000, _CLEARLY_ERRONEOUS),
    CollarBand(0, 500_000, 500, _CLEARLY_ERRONEOUS),
    CollarBand(0, MAX_PRICE_E4, 300, _CLEARLY_ERRONEOUS),
]
"""By reference price: 10% up to $25, 5% up to $50, 3% above. Within one effective time rows rise by `up_to_e4`."""


def collar_basis_points(reference_e4: int, time_ns: int) -> int:
    """Width of the market collar around a reference price at a time, in 1/10,000 of the price."""
    width = 0
    found_from = -1
    for band in COLLAR_BANDS:
        if band.effective_from_ns > time_ns or band.effective_from_ns == found_from or reference_e4 > band.up_to_e4:
            continue
        found_from = band.effective_from_ns
        width = band.basis_points
    return width


def price_increment(price_e4: int, tick_e4: int) -> int:
    """The increment that a price must be a multiple of: the instrument's tick, and $0.0001 below $1.00 (Rule 612)."""
    return SUB_DOLLAR_TICK_E4 if price_e4 < SUB_DOLLAR_E4 else tick_e4


def collar_price(is_buy: bool, reference_e4: int, tick_e4: int, time_ns: int) -> int:
    """The worst price of a market order: the reference moved by the collar, rounded outwards to a tick.

    Outwards means up for a buy and down for a sell, so that a tick inside the band is never cut off; a sell never goes
    below the smallest increment.
    """
    width = collar_basis_points(reference_e4, time_ns)
    if is_buy:
        raw = -(-reference_e4 * (10_000 + width) // 10_000)
        return round_up(raw, price_increment(raw, tick_e4))
    raw = reference_e4 * (10_000 - width) // 10_000
    price = round_down(raw, price_increment(raw, tick_e4))
    return price if price > 0 else SUB_DOLLAR_TICK_E4


class TickFloor:
    """Prices of at least `at_least_e4` may not be quoted in steps below `increment_e4`."""

    __slots__ = ("at_least_e4", "effective_from_ns", "increment_e4", "source")

    def __init__(self, effective_from_ns: int, at_least_e4: int, increment_e4: int, source: str) -> None:
        self.effective_from_ns = effective_from_ns
        self.at_least_e4 = at_least_e4
        self.increment_e4 = increment_e4
        self.source = source


HALF_PENNY_FROM_NS: Final = instant_ns("2027-11-01T00:00:00-04:00")
"""First business day of November 2027, to which Rel. 34-105656 moved the amended Rules 610 and 612."""

TICK_FLOORS: Final[list[TickFloor]] = [
    TickFloor(0, 0, 1, "17 CFR 242.612"),
    TickFloor(0, SUB_DOLLAR_E4, 100, "17 CFR 242.612"),
    TickFloor(HALF_PENNY_FROM_NS, 0, 1, "17 CFR 242.612 as amended, Rel. 34-101070; deferred by Rel. 34-105656"),
    TickFloor(
        HALF_PENNY_FROM_NS, SUB_DOLLAR_E4, 50, "17 CFR 242.612 as amended, Rel. 34-101070; deferred by Rel. 34-105656"
    ),
]
"""Within one effective time rows rise by `at_least_e4`. Which instruments have the half penny is reference data: their
tick says so (time-weighted average quoted spread of at most $0.015)."""


def minimum_increment(price_e4: int, tick_e4: int, time_ns: int) -> int:
    """The smallest step of a quoted price: the instrument's tick, never below Rule 612, and $0.0001 below $1.00."""
    floor = SUB_DOLLAR_TICK_E4
    for row in TICK_FLOORS:
        if row.effective_from_ns <= time_ns and price_e4 >= row.at_least_e4:
            floor = row.increment_e4
    if price_e4 < SUB_DOLLAR_E4 or tick_e4 < floor:
        return floor
    return tick_e4


class RoundLotTier:
    """Stocks whose price is at most `up_to_e4` trade in round lots of `shares`."""

    __slots__ = ("effective_from_ns", "shares", "source", "up_to_e4")

    def __init__(self, effective_from_ns: int, up_to_e4: int, shares: int, source: str) -> None:
        self.effective_from_ns = effective_from_ns
        self.up_to_e4 = up_to_e4
        self.shares = shares
        self.source = source


_ROUND_LOT: Final = "17 CFR 242.600(b)(93), Rel. 34-101070"
_ROUND_LOT_FROM_NS: Final = instant_ns("2025-11-03T00:00:00-05:00")

ROUND_LOT_TIERS: Final[list[RoundLotTier]] = [
    RoundLotTier(0, MAX_PRICE_E4, 100, "custom of the exchanges before the definition of 2025"),
    RoundLotTier(_ROUND_LOT_FROM_NS, 2_500_000, 100, _ROUND_LOT),
    RoundLotTier(_ROUND_LOT_FROM_NS, 10_000_000, 40, _ROUND_LOT),
    RoundLotTier(_ROUND_LOT_FROM_NS, 100_000_000, 10, _ROUND_LOT),
    RoundLotTier(_ROUND_LOT_FROM_NS, MAX_PRICE_E4, 1, _ROUND_LOT),
]
"""Within one effective time rows rise by `up_to_e4`. The rule's price is the average close of an evaluation month; the
caller gives the nearest that it has, the prior close."""


def round_lot(price_e4: int, time_ns: int) -> int:
    """Shares of one round lot of a stock at this price and time."""
    shares = 1
    found_from = -1
    for tier in ROUND_LOT_TIERS:
        if tier.effective_from_ns > time_ns or tier.effective_from_ns == found_from or price_e4 > tier.up_to_e4:
            continue
        found_from = tier.effective_from_ns
        shares = tier.shares
    return shares


class WidthFloor:
    """A distance from a reference price: a share of it, in basis points (0: see the table), but not below a minimum."""

    __slots__ = ("basis_points", "effective_from_ns", "minimum_e4", "source")

    def __init__(self, effective_from_ns: int, basis_points: int, minimum_e4: int, source: str) -> None:
        self.effective_from_ns = effective_from_ns
        self.basis_points = basis_points
        self.minimum_e4 = minimum_e4
        self.source = source


LIMIT_PROTECTION: Final[list[WidthFloor]] = [
    WidthFloor(
        0,
        0,
        1_500,
        "limit order protection of the exchanges, NYSE Rule 7.31(a)(2)(B): the collar's share, at least $0.15",
    ),
]


_LEAST_PROTECTED_E4: Final = min([row.minimum_e4 for row in LIMIT_PROTECTION])
_LEAST_PROTECTED_SHARE: Final = min([row.basis_points for row in COLLAR_BANDS])


def may_break_protection(is_buy: bool, price_e4: int, reference_e4: int) -> bool:
    """Whether a limit price is so far beyond a reference that its protection has to be worked out: most are not."""
    beyond = price_e4 - reference_e4 if is_buy else reference_e4 - price_e4
    return beyond >= _LEAST_PROTECTED_E4 and beyond * 10_000 >= reference_e4 * _LEAST_PROTECTED_SHARE


def limit_protection_price(is_buy: bool, reference_e4: int, tick_e4: int, time_ns: int) -> int:
    """The worst limit price that is taken in: the reference moved by the collar or its minimum, rounded outwards."""
    minimum = 0
    for row in LIMIT_PROTECTION:
        if row.effective_from_ns <= time_ns:
            minimum = row.minimum_e4
    collar = collar_price(is_buy, reference_e4, tick_e4, time_ns)
    if is_buy:
        raw = reference_e4 + minimum
        price = round_up(raw, price_increment(raw, tick_e4))
        return price if price > collar else collar
    raw = reference_e4 - minimum
    if raw <= 0:
        return SUB_DOLLAR_TICK_E4
    price = round_down(raw, price_increment(raw, tick_e4))
    price = price if price > 0 else SUB_DOLLAR_TICK_E4
    return price if price < collar else collar


AUCTION_CLIP: Final[list[WidthFloor]] = [
    WidthFloor(0, 1_000, 5_000, "Nasdaq Rules 4752-4754: thresholds of the crosses, the greater of $0.50 and 10%"),
]


def auction_clip(reference_e4: int, tick_e4: int, time_ns: int) -> tuple[int, int]:
    """Lowest and highest price of an auction around a midpoint or reference price; (0, 0) without a reference.

    Rounded inwards to ticks, so that no auction price lies outside the rule's range.
    """
    if reference_e4 <= 0:
        return 0, 0
    width = 0
    for row in AUCTION_CLIP:
        if row.effective_from_ns <= time_ns:
            width = reference_e4 * row.basis_points // 10_000
            if width < row.minimum_e4:
                width = row.minimum_e4
    low = reference_e4 - width
    low = SUB_DOLLAR_TICK_E4 if low <= 0 else round_up(low, price_increment(low, tick_e4))
    high = reference_e4 + width
    return low, round_down(high, price_increment(high, tick_e4))


NASDAQ: Final = "XNAS"

NASDAQ_NAMES: Final[tuple[str, ...]] = ("XNAS", "XNGS", "XNMS", "XNCM", "Q")
"""How reference data may name Nasdaq: its ISO 10383 code, those of its segments, its letter on the consolidated tape."""


def listing_exchange(name: str) -> str:
    """The exchange that lists an instrument, by one name for each that has rows of its own in a table."""
    return NASDAQ if name in NASDAQ_NAMES else name


class AuctionCutoff:
    """Orders of a kind for an auction are taken until `before_ns` before it; `listing`: of its instruments only, or ""."""

    __slots__ = ("before_ns", "effective_from_ns", "imbalance_only", "listing", "order_type", "source", "time_in_force")

    def __init__(
        self,
        effective_from_ns: int,
        time_in_force: int,
        order_type: int,
        before_ns: int,
        source: str,
        imbalance_only: bool = False,
        listing: str = "",
    ) -> None:
        self.effective_from_ns = effective_from_ns
        self.time_in_force = time_in_force
        self.order_type = order_type
        self.before_ns = before_ns
        self.source = source
        self.imbalance_only = imbalance_only
        self.listing = listing


_NASDAQ_CLOSE_FROM_NS: Final = instant_ns("2018-10-19T00:00:00-04:00")
_NASDAQ_CLOSE: Final = "SR-NASDAQ-2018-068, Rel. 34-84454 (approved 2018-10-19); "


AUCTION_CUTOFFS: Final[list[AuctionCutoff]] = [
    AuctionCutoff(0, TIME_IN_FORCE_OPG, ORDER_TYPE_MARKET, 2 * MINUTE_NS, "Nasdaq Rule 4702(b)(8): MOO until 09:28"),
    AuctionCutoff(0, TIME_IN_FORCE_OPG, ORDER_TYPE_LIMIT, 2 * MINUTE_NS, "Nasdaq Rule 4702(b)(9): LOO until 09:28"),
    AuctionCutoff(0, TIME_IN_FORCE_CLS, ORDER_TYPE_MARKET, 10 * MINUTE_NS, "NYSE Rule 7.35B: MOC until 15:50"),
    AuctionCutoff(0, TIME_IN_FORCE_CLS, ORDER_TYPE_LIMIT, 10 * MINUTE_NS, "NYSE Rule 7.35B: LOC until 15:50"),
    AuctionCutoff(0, TIME_IN_FORCE_OPG, ORDER_TYPE_LIMIT, 0, "Nasdaq Rule 4752(a): OIO until the opening cross", True),
    AuctionCutoff(0, TIME_IN_FORCE_CLS, ORDER_TYPE_LIMIT, 0, "Nasdaq Rule 4754(a): IO until the closing cross", True),
    AuctionCutoff(
        _NASDAQ_CLOSE_FROM_NS,
        TIME_IN_FORCE_CLS,
        ORDER_TYPE_MARKET,
        5 * MINUTE_NS,
        _NASDAQ_CLOSE + "Nasdaq Rule 4702(b)(11): MOC until 15:55",
        listing=NASDAQ,
    ),
    AuctionCutoff(
        _NASDAQ_CLOSE_FROM_NS,
        TIME_IN_FORCE_CLS,
        ORDER_TYPE_LIMIT,
        2 * MINUTE_NS,
        _NASDAQ_CLOSE + "Nasdaq Rule 4702(b)(12): LOC until 15:58",
        listing=NASDAQ,
    ),
]
"""Rows of one listing exchange come after those of all, which they replace."""


def auction_cutoff_ns(
    time_in_force: int,
    order_type: int,
    open_ns: int,
    close_ns: int,
    imbalance_only: bool = False,
    listing: str = "",
) -> int:
    """From this time on orders for the auction are neither taken nor changed; NEVER_NS for other orders.

    listing: what `listing_exchange` says about the instrument; "" where that is not known.
    """
    auction_ns = open_ns if time_in_force == TIME_IN_FORCE_OPG else close_ns
    cutoff = NEVER_NS
    for row in AUCTION_CUTOFFS:
        if (
            row.time_in_force == time_in_force
            and row.order_type == order_type
            and row.imbalance_only == imbalance_only
            and (not row.listing or row.listing == listing)
            and (row.effective_from_ns <= auction_ns or cutoff == NEVER_NS)
        ):
            cutoff = auction_ns - row.before_ns
    return cutoff


class AccessFeeCap:
    """Most that a venue may charge for access to a quote: for a share of $1.00 or more, and of the price below."""

    __slots__ = ("basis_points", "effective_from_ns", "per_share_e4", "source")

    def __init__(self, effective_from_ns: int, per_share_e4: int, basis_points: int, source: str) -> None:
        self.effective_from_ns = effective_from_ns
        self.per_share_e4 = per_share_e4
        self.basis_points = basis_points
        self.source = source


ACCESS_FEE_CAPS: Final[list[AccessFeeCap]] = [
    AccessFeeCap(0, 30, 30, "17 CFR 242.610(c)"),
    AccessFeeCap(
        HALF_PENNY_FROM_NS, 10, 10, "17 CFR 242.610(c) as amended, Rel. 34-101070; deferred by Rel. 34-105656"
    ),
]


def access_fee_cap_e4(price_e4: int, time_ns: int) -> int:
    """The cap of the fee per share for taking a quote at this price, rounded down to 1/10,000 of the currency."""
    cap = 0
    for row in ACCESS_FEE_CAPS:
        if row.effective_from_ns <= time_ns:
            cap = row.per_share_e4 if price_e4 >= SUB_DOLLAR_E4 else price_e4 * row.basis_points // 10_000
    return cap


class VenueFee:
    """What an exchange charges for each share taken from its book."""

    __slots__ = ("effective_from_ns", "per_share_e4", "source", "venue")

    def __init__(self, effective_from_ns: int, venue: str, per_share_e4: int, source: str) -> None:
        self.effective_from_ns = effective_from_ns
        self.venue = venue
        self.per_share_e4 = per_share_e4
        self.source = source


_BASE_FEE: Final = "model: base fee of the exchange's price list, whole 1/10,000 of the currency"

VENUE_FEES: Final[list[VenueFee]] = [
    VenueFee(0, OWN_VENUE, 0, "our own book: the commission covers it"),
    VenueFee(0, "IEXG", 10, _BASE_FEE),
    VenueFee(0, "XBOS", 7, _BASE_FEE),
    VenueFee(0, "BATY", 5, _BASE_FEE),
    VenueFee(0, "EDGA", 16, _BASE_FEE),
    VenueFee(0, "LTSE", 0, _BASE_FEE),
]
"""Exchanges that are not in the table charge the cap, as most do."""


def venue_fee_e4(venue: str, price_e4: int, time_ns: int) -> int:
    """Fee per share for taking a quote of a venue, never above the access fee cap; what routing compares."""
    cap = access_fee_cap_e4(price_e4, time_ns)
    fee = cap
    for row in VENUE_FEES:
        if row.venue == venue and row.effective_from_ns <= time_ns:
            fee = row.per_share_e4
    return fee if fee < cap else cap
