"""A floor under what a margin account of stocks is worth, so that most orders and fills need no look at its positions.

An account is worth its cash and its positions at marks, which move with every quote; to value it anew for each order is
linear in what it holds. So each instrument has a band around its marks, and a cushion is what an account's positions are
worth at the worst price of their bands: equity, and equity less the initial and less the maintenance requirement. As
long as no mark has left its band the account is worth the cushion and its cash at least, and what that allows is
allowed; what it does not allow is decided by the exact numbers (margin_check.py). A decision is never another one than
without cushions.
Ordering: none. Invariants: a cushion that stands is the sum over the account's positions at the instruments' bands; it
ends with the first mark that leaves its band, with other terms of an instrument, with a contract that is not a stock,
and with other margin rules. Nothing of it is in a snapshot: it follows from the rest.
Complexity: a change of a position is constant; the end of a band is linear in the accounts that were valued since it
began, each of which has paid for it by a valuation.
"""

from __future__ import annotations

from typing import Final

from udfs.domain.margin import stock_initial, stock_maintenance
from udfs.domain.margin_rules import StockMargin

_WIDTH: Final = 32
"""A band reaches 1/32, about 3%, beyond the marks: wide enough to last, and little of an account's worth."""


class Band:
    """Prices of one unit (1/10,000) that both marks of an instrument are between, as long as the band is its band."""

    __slots__ = ("cushions", "high_e4", "low_e4")

    def __init__(self, long_mark_e4: int, short_mark_e4: int) -> None:
        low = min(long_mark_e4, short_mark_e4)
        high = max(long_mark_e4, short_mark_e4)
        self.low_e4: int = max(1, low - low // _WIDTH - 1)
        self.high_e4: int = high + high // _WIDTH + 1
        # Those that count on it; one that is there twice is only ended twice.
        self.cushions: list[Cushion] = []

    def holds(self, long_mark_e4: int, short_mark_e4: int) -> bool:
        """Whether both marks are in it."""
        low = self.low_e4
        high = self.high_e4
        return low <= long_mark_e4 <= high and low <= short_mark_e4 <= high

    def end(self) -> None:
        """The marks have left it: what counted on it does not stand any more."""
        for cushion in self.cushions:
            cushion.stands = False
        self.cushions = []


class Cushion:
    """What the positions of an account are worth at least, in 1/10,000 and without its cash, while it `stands`.

    `excess_e4` and `upkeep_e4`: less the initial and less the maintenance requirement under `rules`.
    """

    __slots__ = ("equity_e4", "excess_e4", "rules", "stands", "upkeep_e4")

    def __init__(self, rules: StockMargin) -> None:
        self.rules = rules
        self.stands: bool = False
        self.equity_e4: int = 0
        self.excess_e4: int = 0
        self.upkeep_e4: int = 0

    def begin(self, rules: StockMargin) -> None:
        """Start again with no positions."""
        self.rules = rules
        self.stands = False
        self.equity_e4 = 0
        self.excess_e4 = 0
        self.upkeep_e4 = 0

    def count(self, quantity: int, band: Band, sign: int) -> None:
        """Count a position in (`sign` 1) or out (-1), at the price of its band that is the worst for it."""
        rules = self.rules
        price = band.low_e4 if quantity > 0 else band.high_e4
        value = quantity * price
        excess = value - stock_initial(rules, quantity, price)
        upkeep = value - stock_maintenance(rules, quantity, price)
        if quantity < 0 and band.low_e4 < rules.low_price_e4 <= price:
            # Below this price shorts have requirements of their own, which nothing says are smaller.
            below = rules.low_price_e4 - 1
            excess = min(excess, quantity * below - stock_initial(rules, quantity, below))
            upkeep = min(upkeep, quantity * below - stock_maintenance(rules, quantity, below))
        self.equity_e4 += sign * value
        self.excess_e4 += sign * excess
        self.upkeep_e4 += sign * upkeep
