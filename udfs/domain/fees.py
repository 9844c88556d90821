"""Regulatory fees of a sale: Section 31 of the Securities Exchange Act, and FINRA's Trading Activity Fee.

Only sales are charged, long and short; the caller asks for sales of stocks only. A fee is of one execution, at the time
of the execution: an order that is filled in parts pays for each. A rule's day begins at midnight in New York.
Rounding: the Section 31 fee of a trade is rounded up to the cent, as firms pass it on. The Trading Activity Fee is
rounded down to 1/10,000 of the currency, so that the cap is reached exactly when shares times rate reach it.
Ordering: rows of a table are in the order of their effective time; the last row that is in force applies.
Invariants: exact integers; fees are not negative and do not fall when the sale grows; pure functions.
Known limits: there are no rows for years before 2026, so fees of earlier sales are 0 (which the Section 31 fee really
was from 2025-05-14); options pay the Trading Activity Fee by another table, which is not here, so that contracts are not
charged at all.
Complexity: linear in the rows of a table, which are few.
"""

from typing import Final

from udfs.domain.money import round_up
from udfs.domain.rules import instant_ns

CENT_E4: Final = 100


class SaleFeeRate:
    """Section 31: cents of fee for each million of the currency sold."""

    __slots__ = ("cents_per_million", "effective_from_ns", "source")

    def __init__(self, effective_from_ns: int, cents_per_million: int, source: str) -> None:
        self.effective_from_ns = effective_from_ns
        self.cents_per_million = cents_per_million
        self.source = source


class ActivityFeeRate:
    """Trading Activity Fee: millionths of the currency for each share sold, and the most for one trade."""

    __slots__ = ("cap_e4", "effective_from_ns", "millionths_per_share", "source")

    def __init__(self, effective_from_ns: int, millionths_per_share: int, cap_e4: int, source: str) -> None:
        self.effective_from_ns = effective_from_ns
        self.millionths_per_share = millionths_per_share
        self.cap_e4 = cap_e4
        self.source = source


SECTION_31_RATES: Final[list[SaleFeeRate]] = [
    SaleFeeRate(0, 0, "SEC fee rate advisory for fiscal year 2025: $0.00 until 2026-04-03"),
    SaleFeeRate(instant_ns("2026-04-04T00:00:00-04:00"), 2_060, "SEC order of 2026, FR Doc. 2026-04233: $20.60"),
]

_SCHEDULE_A: Final = "FINRA By-Laws, Schedule A, section 1(b)"

TAF_RATES: Final[list[ActivityFeeRate]] = [
    ActivityFeeRate(0, 0, 0, "no row for earlier years"),
    ActivityFeeRate(instant_ns("2026-01-01T00:00:00-05:00"), 195, 97_900, _SCHEDULE_A),
    ActivityFeeRate(instant_ns("2026-10-01T00:00:00-04:00"), 0, 0, "SR-FINRA-2026-021: holiday to the year's end"),
    ActivityFeeRate(instant_ns("2027-01-01T00:00:00-05:00"), 232, 116_100, _SCHEDULE_A),
    ActivityFeeRate(instant_ns("2028-01-01T00:00:00-05:00"), 240, 120_500, _SCHEDULE_A),
]


_HIGHEST_CENTS_PER_MILLION: Final = max([row.cents_per_million for row in SECTION_31_RATES])
_HIGHEST_ACTIVITY_FEE_E4: Final = max([-(-row.millionths_per_share // 100) for row in TAF_RATES])


def sale_fees_e4(quantity: int, price_e4: int, time_ns: int) -> int:
    """Both fees of one execution that sells so many shares of a stock at this price, at this time."""
    return section_31_fee_e4(quantity * price_e4, time_ns) + taf_e4(quantity, time_ns)


def fee_allowance_e4(worst_e4: int) -> int:
    """What has to be reserved for the fees of each share that is offered at `worst_e4` or better.

    A share that is sold on its own pays a cent of Section 31 fee at least, so a cent is in it beside both rates. The
    highest rates of the tables count, because an order may wait beyond the day on which a rate changes. What a better
    price adds to the fee is less than what it adds to the proceeds.
    """
    return CENT_E4 - (-worst_e4 * _HIGHEST_CENTS_PER_MILLION // 100_000_000) + _HIGHEST_ACTIVITY_FEE_E4


def section_31_fee_e4(notional_e4: int, time_ns: int) -> int:
    """Section 31 fee of a sale of this amount, rounded up to the cent."""
    rate = 0
    for row in SECTION_31_RATES:
        if row.effective_from_ns <= time_ns:
            rate = row.cents_per_million
    if notional_e4 <= 0 or rate == 0:
        return 0
    # notional_e4 / 10,000 currency units, times rate / 1,000,000 cents, times 100 for the unit of the result.
    return round_up(-(-notional_e4 * rate // 100_000_000), CENT_E4)


def taf_e4(quantity: int, time_ns: int) -> int:
    """Trading Activity Fee of one trade that sells this many shares."""
    rate = 0
    cap = 0
    for row in TAF_RATES:
        if row.effective_from_ns <= time_ns:
            rate = row.millionths_per_share
            cap = row.cap_e4
    if quantity <= 0:
        return 0
    fee = quantity * rate // 100
    return fee if fee < cap else cap
