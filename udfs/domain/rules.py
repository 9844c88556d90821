"""Numbers that regulators and venues set, as effective-dated data, and the arithmetic that reads them.

Ordering: rows of a table are in the order of their effective time; the last row that is in force applies.
Invariants: prices and money are integers in 1/10,000 of the currency; all functions are pure.
Known limits: the half-penny tick of Rule 612 (deferred to November 2027) and auction collars are not here yet.
Complexity: linear in the rows of a table, which are few.
"""

from typing import Final

from udfs.domain.money import round_down, round_up

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
