"""Limit orders for the close of what Nasdaq lists that come after it has begun to tell where the close may be.

Twice before the close, ten and five minutes, the listing exchange tells the price at which its orders for the close could
meet by then: the first and the second reference price. From the second time on a limit order for the close is late. It
gets no more aggressive a price than the more aggressive one of the two, a buy the higher, a sale the lower; where neither
could be told, because nothing meets, it is not taken. Imbalance-only orders are not concerned.
Ordering: none of its own; protection.py takes the prices when their times come.
Invariants: of the two prices `high_e4` is not below `low_e4`, and both or neither are 0.
Source: Nasdaq Rules 4702(b)(12)(A) and 4754(a); one price only, told at 15:55, from 2018-10-19 on (Rel. 34-84454), the second
one since 2019-10-02 (Rel. 34-87198, SR-NASDAQ-2019-064). Times are those before the close of the day, so that half days have
theirs.
Known limits: the price is that of our own book's orders for the close, because our venue holds the auction; participants
who would rather have a late order refused than priced again, as the rule lets them, are not asked. Prices that orders were
entered at, and multiples of the tick, are what the price is chosen from, so that nothing is rounded.
Complexity: constant; taking a price is an auction's work.
"""

from typing import Final

from udfs.domain.rules import MINUTE_NS, instant_ns


class ReferenceTimes:
    """When reference prices for late limit orders are told, in ns before the close; the last of them makes orders late."""

    __slots__ = ("before_ns", "effective_from_ns", "source")

    def __init__(self, effective_from_ns: int, before_ns: list[int], source: str) -> None:
        self.effective_from_ns = effective_from_ns
        self.before_ns = before_ns
        self.source = source


REFERENCE_TIMES: Final[list[ReferenceTimes]] = [
    ReferenceTimes(
        instant_ns("2018-10-19T00:00:00-04:00"),
        [5 * MINUTE_NS],
        "SR-NASDAQ-2018-068, Rel. 34-84454: Nasdaq Rule 4702(b)(12)(A), first reference price at 15:55",
    ),
    ReferenceTimes(
        instant_ns("2019-10-02T00:00:00-04:00"),
        [10 * MINUTE_NS, 5 * MINUTE_NS],
        "SR-NASDAQ-2019-064, Rel. 34-87198: Nasdaq Rule 4702(b)(12)(A), first at 15:50, second at 15:55",
    ),
]
"""A close before the first row has none: until then limit orders for the close ended at 15:50."""


def reference_times(close_ns: int) -> list[int]:
    """The times of the reference prices before a close, in ns, rising."""
    before: list[int] = []
    for row in REFERENCE_TIMES:
        if row.effective_from_ns <= close_ns:
            before = row.before_ns
    return [close_ns - ns for ns in before]


class LateWindow:
    """The times of one session at which reference prices are told; `told`: how many of them have come."""

    __slots__ = ("close_ns", "times", "told")

    def __init__(self) -> None:
        self.close_ns: int = 0
        self.times: list[int] = []
        self.told: int = 0

    def begin(self, close_ns: int) -> bool:
        """A session closes at a time; whether that is news, after which nothing has been told."""
        if close_ns == self.close_ns:
            return False
        self.close_ns = close_ns
        self.times = reference_times(close_ns)
        self.told = 0
        return True

    def next_ns(self) -> int:
        """When the next price is told, or the session closes."""
        return self.times[self.told] if self.told < len(self.times) else self.close_ns

    def is_due(self, time_ns: int) -> bool:
        """Whether a price is to be told by a time."""
        return self.told < len(self.times) and self.times[self.told] <= time_ns

    def late_from_ns(self) -> int:
        """From when on orders are late, once they are; 0 before."""
        return self.times[-1] if self.times and self.told == len(self.times) else 0


class ReferencePrices:
    """The reference prices of one symbol that were told this session: the higher and the lower one, 0 for none."""

    __slots__ = ("high_e4", "low_e4")

    def __init__(self) -> None:
        self.high_e4: int = 0
        self.low_e4: int = 0

    def forget(self) -> None:
        """A new session, or one whose times have changed."""
        self.high_e4 = 0
        self.low_e4 = 0

    def tell(self, price_e4: int) -> None:
        """One more is told; 0 when there is none."""
        if price_e4 <= 0:
            return
        if price_e4 > self.high_e4:
            self.high_e4 = price_e4
        if self.low_e4 == 0 or price_e4 < self.low_e4:
            self.low_e4 = price_e4

    def priced(self, is_buy: bool, price_e4: int) -> int:
        """The price of a late limit order; 0 when it is not taken."""
        if self.high_e4 == 0:
            return 0
        if is_buy:
            return price_e4 if price_e4 < self.high_e4 else self.high_e4
        return price_e4 if price_e4 > self.low_e4 else self.low_e4
