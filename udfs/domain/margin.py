"""Margin requirements of positions: Regulation T (initial) and FINRA 4210 (maintenance), options and futures.

All requirements are what the *equity* of an account has to cover, equity being cash plus what is held less what is
owed, at marks. So the proceeds of a short sale and the premium of a written option, which lie in cash and are owed
again at the mark, need nothing of their own: 150% of a short sale is 50% of equity, a written option's "premium plus"
is the plus, and a long option that is to be paid in full needs 100% of its mark.

Options of one underlying are taken together, contract by contract, in this order: written calls, the lowest strike
first, are covered by shares as far as these go; then each written option that is left (calls by rising strike, puts by
falling strike) is paired with the long option of the same right, multiplier and at least its expiry that leaves the
smallest loss (the nearer expiry, then the first, among equals); the pair needs its largest possible loss less what it
would cost to close now, and is made only when that is less than the two on their own. The rest is naked, or long.
Ordering: none. Invariants: pure; a requirement is never negative; every product of a share of value is rounded up.
Known limits: straddles, butterflies, and puts covered by short shares get no relief beyond this; the pairing is the
rule above, not a search for the cheapest one.
Complexity: a stock and a future are constant; options of one underlying are quadratic in their number.
"""

from udfs.domain.margin_rules import FuturesMargin, OptionMargin, StockMargin


class OptionLeg:
    """Contracts of one option (negative: written) at a mark; `quantity` is used up while pairs are made."""

    __slots__ = ("expiry_ns", "is_broad", "is_call", "mark_e4", "multiplier", "quantity", "strike_e4")

    def __init__(
        self,
        is_call: bool,
        strike_e4: int,
        expiry_ns: int,
        multiplier: int,
        is_broad: bool,
        quantity: int,
        mark_e4: int,
    ) -> None:
        self.is_call = is_call
        self.strike_e4 = strike_e4
        self.expiry_ns = expiry_ns
        self.multiplier = multiplier
        self.is_broad = is_broad
        self.quantity = quantity
        self.mark_e4 = mark_e4


def part(value_e4: int, share: int) -> int:
    """`share` 1/10,000 of a value, rounded up."""
    return -(-value_e4 * share // 10_000)


def stock_initial(rules: StockMargin, quantity: int, mark_e4: int) -> int:
    """Regulation T: what a position in a stock needs of equity when it is opened; never below maintenance."""
    if quantity >= 0:
        return part(quantity * mark_e4, max(rules.initial_long, rules.long))
    return max(part(-quantity * mark_e4, rules.initial_short), stock_maintenance(rules, quantity, mark_e4))


def stock_maintenance(rules: StockMargin, quantity: int, mark_e4: int) -> int:
    """FINRA 4210(c): what a position in a stock needs of equity as long as it is held."""
    if quantity >= 0:
        return part(quantity * mark_e4, rules.long)
    value = -quantity * mark_e4
    if mark_e4 >= rules.low_price_e4:
        return max(part(value, rules.short), -quantity * rules.short_floor_e4)
    return max(part(value, rules.low_short), -quantity * rules.low_floor_e4)


def futures_maintenance(quantity: int, maintenance_e4: int) -> int:
    """The exchange's maintenance margin of a position, long or short."""
    return abs(quantity) * maintenance_e4


def futures_initial(rules: FuturesMargin, quantity: int, maintenance_e4: int) -> int:
    """What a position needs when it is opened, and is topped up to."""
    return part(futures_maintenance(quantity, maintenance_e4), rules.initial_multiple)


def naked_requirement(rules: OptionMargin, leg: OptionLeg, underlying_e4: int) -> int:
    """What one written contract without cover needs besides its value."""
    if leg.is_call:
        out = leg.strike_e4 - underlying_e4
        floor = underlying_e4
    else:
        out = underlying_e4 - leg.strike_e4
        floor = leg.strike_e4
    base = part(underlying_e4 * leg.multiplier, rules.broad_base if leg.is_broad else rules.base)
    if out > 0:
        base -= out * leg.multiplier
    return max(base, part(floor * leg.multiplier, rules.floor))


def long_requirement(rules: OptionMargin, leg: OptionLeg, time_ns: int) -> int:
    """What one long contract needs: all of its value, or less when it has long to run."""
    share = rules.long_term if leg.expiry_ns - time_ns > rules.long_term_ns else rules.long
    return part(leg.mark_e4 * leg.multiplier, share)


def largest_loss(short: OptionLeg, long: OptionLeg) -> int:
    """What a pair of one written and one long contract can lose at expiry, before its premiums."""
    apart = long.strike_e4 - short.strike_e4 if short.is_call else short.strike_e4 - long.strike_e4
    return apart * short.multiplier if apart > 0 else 0


def spread_requirement(short: OptionLeg, long: OptionLeg) -> int:
    """What one pair needs: its largest loss, less what closing it now costs, which is off the equity already."""
    need = largest_loss(short, long) + (long.mark_e4 - short.mark_e4) * short.multiplier
    return need if need > 0 else 0


def options_requirement(
    rules: OptionMargin, legs: list[OptionLeg], shares: int, underlying_e4: int, time_ns: int
) -> int:
    """What all options on one underlying need, with `shares` of it that may cover calls; uses the legs up.

    The same amount is needed initially and as maintenance.
    """
    written = [leg for leg in legs if leg.quantity < 0]
    long = [leg for leg in legs if leg.quantity > 0]
    total = 0
    if written:
        written.sort(key=_rank)
        for leg in written:
            if leg.is_call and not leg.is_broad and shares >= leg.multiplier:
                covered = min(-leg.quantity, shares // leg.multiplier)
                leg.quantity += covered
                shares -= covered * leg.multiplier
        for leg in written:
            total += _pair(rules, leg, long, underlying_e4, time_ns)
    for leg in long:
        total += leg.quantity * long_requirement(rules, leg, time_ns)
    return total


def _rank(leg: OptionLeg) -> int:
    """The written contracts that may cost most come first: calls by rising strike, puts by falling strike."""
    return leg.strike_e4 if leg.is_call else -leg.strike_e4


def _pair(rules: OptionMargin, short: OptionLeg, long: list[OptionLeg], underlying_e4: int, time_ns: int) -> int:
    """Pair one written leg with long ones while that is cheaper; returns what it needs with its partners."""
    total = 0
    naked = naked_requirement(rules, short, underlying_e4)
    while short.quantity < 0:
        best: OptionLeg | None = None
        for leg in long:
            if (
                leg.quantity > 0
                and leg.is_call == short.is_call
                and leg.multiplier == short.multiplier
                and leg.expiry_ns >= short.expiry_ns
                and spread_requirement(short, leg) < naked + long_requirement(rules, leg, time_ns)
                and (best is None or _is_better(short, leg, best))
            ):
                best = leg
        if best is None:
            return total - short.quantity * naked
        paired = min(-short.quantity, best.quantity)
        total += paired * spread_requirement(short, best)
        short.quantity += paired
        best.quantity -= paired
    return total


def _is_better(short: OptionLeg, leg: OptionLeg, best: OptionLeg) -> bool:
    """Whether a partner leaves a smaller loss than the best so far, or the same and expires sooner."""
    loss = largest_loss(short, leg)
    best_loss = largest_loss(short, best)
    return loss < best_loss or (loss == best_loss and leg.expiry_ns < best.expiry_ns)
