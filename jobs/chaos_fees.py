"""Regulatory fees of a sale of stock, for the checker of `tradestream chaos`.

Written from the published rates, and not from the tables that the jobs run: what is wrong in one of the two is to show.
Section 31 of the Securities Exchange Act: SEC fee rate advisories for 2025 and 2026, rounded up to the cent for each
execution. Trading Activity Fee: FINRA By-Laws, Schedule A, section 1(b), and its holiday of SR-FINRA-2026-021, rounded down to
1/10,000. A rate holds from midnight in New York. Of years that are not here nothing is said: their fees are 0.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from fractions import Fraction
from math import ceil, floor
from typing import Final
from zoneinfo import ZoneInfo

_NEW_YORK: Final = ZoneInfo("America/New_York")
_SECTION_31: Final = ((date(2026, 4, 4), Fraction("20.60") / 1_000_000),)
"""First day, and what each dollar sold pays."""
_ACTIVITY: Final = (
    (date(2026, 1, 1), Fraction("0.000195"), Fraction("9.79")),
    (date(2026, 10, 1), Fraction(0), Fraction(0)),
    (date(2027, 1, 1), Fraction("0.000232"), Fraction("11.61")),
    (date(2028, 1, 1), Fraction("0.000240"), Fraction("12.05")),
)
"""First day, what each share sold pays, and the most of one trade."""


def regulatory_fees_e4(quantity: int, price_e4: int, time_ns: int) -> int:
    """Both fees, in 1/10,000 of the currency, of one execution at `price_e4` and a time in UTC nanoseconds."""
    day = datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).astimezone(_NEW_YORK).date()
    section_31 = activity = Fraction(0)
    for first, rate in _SECTION_31:
        if first <= day:
            section_31 = Fraction(quantity * price_e4, 10_000) * rate
    for first, rate, most in _ACTIVITY:
        if first <= day:
            activity = min(quantity * rate, most)
    return ceil(section_31 * 100) * 100 + floor(activity * 10_000)
