"""Percentages and durations of the limit up-limit down plan, as effective-dated data.

Ordering: rows of a table are in the order of their effective time; of those in force the newest apply. Within one
effective time rows rise by tier, then by the prior close from which they hold.
Invariants: pure functions; before the first row the plan does not exist.
Known limits: percentages hold for a whole session, by the plan in force at its opening.
Complexity: linear in the rows.
"""

from typing import Final

from udfs.domain.rules import MINUTE_NS, instant_ns

_PLAN: Final = "LULD Plan, 77 FR 33498, in force from 2013-04-08"
_AMENDED: Final = "LULD Plan, Amendment 18 (83 FR 66464), in force from 2020-02-24"
_PLAN_FROM_NS: Final = instant_ns("2013-04-08T00:00:00-04:00")
_AMENDED_FROM_NS: Final = instant_ns("2020-02-24T00:00:00-05:00")
_SECOND_NS: Final = 1_000_000_000
CENT_E4: Final = 100


class BandTerms:
    """Durations of the plan, in ns, and the share by which a new reference has to differ, in basis points."""

    __slots__ = (
        "effective_from_ns",
        "limit_state_ns",
        "no_reopening_ns",
        "pause_ns",
        "reference_life_ns",
        "reference_step",
        "source",
        "window_ns",
    )

    def __init__(
        self,
        effective_from_ns: int,
        window_ns: int,
        reference_step: int,
        reference_life_ns: int,
        limit_state_ns: int,
        pause_ns: int,
        no_reopening_ns: int,
        source: str,
    ) -> None:
        self.effective_from_ns = effective_from_ns
        self.window_ns = window_ns
        self.reference_step = reference_step
        self.reference_life_ns = reference_life_ns
        self.limit_state_ns = limit_state_ns
        self.pause_ns = pause_ns
        # A pause that lives this long before the close is ended by the closing auction.
        self.no_reopening_ns = no_reopening_ns
        self.source = source


class BandWidth:
    """Distance of the bands of a tier for prior closes of at least `at_least_e4`: a share, or an amount if smaller."""

    __slots__ = (
        "amount_e4",
        "at_least_e4",
        "basis_points",
        "double_after_open_ns",
        "double_before_close_ns",
        "effective_from_ns",
        "source",
        "tier",
    )

    def __init__(
        self,
        effective_from_ns: int,
        tier: int,
        at_least_e4: int,
        basis_points: int,
        amount_e4: int,
        double_after_open_ns: int,
        double_before_close_ns: int,
        source: str,
    ) -> None:
        self.effective_from_ns = effective_from_ns
        self.tier = tier
        self.at_least_e4 = at_least_e4
        self.basis_points = basis_points
        # 0: no amount, the share alone counts.
        self.amount_e4 = amount_e4
        self.double_after_open_ns = double_after_open_ns
        self.double_before_close_ns = double_before_close_ns
        self.source = source

    def is_doubled(self, time_ns: int, open_ns: int, close_ns: int) -> bool:
        """Whether the distance is doubled at a time of a session."""
        return time_ns < open_ns + self.double_after_open_ns or time_ns >= close_ns - self.double_before_close_ns

    def next_edge_ns(self, time_ns: int, open_ns: int, close_ns: int) -> int:
        """When doubling begins or ends next, at the latest the close."""
        if self.double_after_open_ns and time_ns < open_ns + self.double_after_open_ns:
            return min(open_ns + self.double_after_open_ns, close_ns)
        if time_ns < close_ns - self.double_before_close_ns:
            return close_ns - self.double_before_close_ns
        return close_ns

    def bands(self, reference_e4: int, factor: int) -> tuple[int, int]:
        """Lower (0: none) and upper band around a reference, rounded to the cent, half a cent up."""
        # In 1/10,000 of a price unit, so that nothing is rounded before the cent.
        width = reference_e4 * self.basis_points * factor
        if self.amount_e4 and self.amount_e4 * factor * 10_000 < width:
            width = self.amount_e4 * factor * 10_000
        cent = 10_000 * CENT_E4
        lower = (reference_e4 * 10_000 - width + cent // 2) // cent * CENT_E4
        upper = (reference_e4 * 10_000 + width + cent // 2) // cent * CENT_E4
        return max(lower, 0), max(upper, CENT_E4)


BAND_TERMS: Final[list[BandTerms]] = [
    BandTerms(
        _PLAN_FROM_NS,
        5 * MINUTE_NS,
        100,
        30 * _SECOND_NS,
        15 * _SECOND_NS,
        5 * MINUTE_NS,
        10 * MINUTE_NS,
        "LULD Plan, sections V to VII",
    ),
]

_OPEN: Final = 15 * MINUTE_NS
_CLOSE: Final = 25 * MINUTE_NS

BAND_WIDTHS: Final[list[BandWidth]] = [
    BandWidth(_PLAN_FROM_NS, 1, 0, 7_500, 1_500, _OPEN, _CLOSE, _PLAN),
    BandWidth(_PLAN_FROM_NS, 1, 7_500, 2_000, 0, _OPEN, _CLOSE, _PLAN),
    BandWidth(_PLAN_FROM_NS, 1, 30_001, 500, 0, _OPEN, _CLOSE, _PLAN),
    BandWidth(_PLAN_FROM_NS, 2, 0, 7_500, 1_500, _OPEN, _CLOSE, _PLAN),
    BandWidth(_PLAN_FROM_NS, 2, 7_500, 2_000, 0, _OPEN, _CLOSE, _PLAN),
    BandWidth(_PLAN_FROM_NS, 2, 30_001, 1_000, 0, _OPEN, _CLOSE, _PLAN),
    BandWidth(_AMENDED_FROM_NS, 1, 0, 7_500, 1_500, 0, _CLOSE, _AMENDED),
    BandWidth(_AMENDED_FROM_NS, 1, 7_500, 2_000, 0, 0, _CLOSE, _AMENDED),
    BandWidth(_AMENDED_FROM_NS, 1, 30_001, 500, 0, 0, _CLOSE, _AMENDED),
    BandWidth(_AMENDED_FROM_NS, 2, 0, 7_500, 1_500, 0, _CLOSE, _AMENDED),
    BandWidth(_AMENDED_FROM_NS, 2, 7_500, 2_000, 0, 0, _CLOSE, _AMENDED),
    BandWidth(_AMENDED_FROM_NS, 2, 30_001, 1_000, 0, 0, 0, _AMENDED),
]


def band_terms(time_ns: int) -> BandTerms | None:
    """The plan's durations at a time; None before the plan."""
    found: BandTerms | None = None
    for row in BAND_TERMS:
        if row.effective_from_ns <= time_ns:
            found = row
    return found


def band_width(tier: int, prior_close_e4: int, time_ns: int) -> BandWidth | None:
    """The row for a tier and prior close at a time; None before the plan and for other tiers than 1 and 2."""
    found: BandWidth | None = None
    for row in BAND_WIDTHS:
        if row.effective_from_ns <= time_ns and row.tier == tier and prior_close_e4 >= row.at_least_e4:
            found = row
    return found
