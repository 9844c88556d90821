"""Numbers and arithmetic for the slow reference, written anew: collars, ticks, lots, fees, auctions; Fractions, no tables of
udfs/domain."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from typing import Any

MINUTE = 60 * 10**9
COLLARS = ((Fraction(25), Fraction(10, 100)), (Fraction(50), Fraction(5, 100)), (Fraction(10**6), Fraction(3, 100)))
LOTS = ((250, 100), (1_000, 40), (10_000, 10), (10**6, 1))
CHEAP_VENUES = {"IEXG": 10}
HIGHEST_PRICE = 10**10


def midnight(day: str) -> int:
    """A day's beginning in New York, with its offset, in UTC nanoseconds."""
    return round(datetime.fromisoformat(day).timestamp()) * 10**9


ROUND_LOTS_FROM = midnight("2025-11-03T00:00:00-05:00")
HALF_PENNY_FROM = midnight("2027-11-01T00:00:00-04:00")
NASDAQ_CLOSE_FROM = midnight("2018-10-19T00:00:00-04:00")
SECOND_PRICE_FROM = midnight("2019-10-02T00:00:00-04:00")
SECTION_31_FROM = midnight("2026-04-04T00:00:00-04:00")
SECTION_31_RATE = Fraction(2_060, 100 * 10**6)
ACTIVITY_FEES = (
    (midnight("2028-01-01T00:00:00-05:00"), Fraction("0.000240"), Fraction("12.05")),
    (midnight("2027-01-01T00:00:00-05:00"), Fraction("0.000232"), Fraction("11.61")),
    (midnight("2026-10-01T00:00:00-04:00"), Fraction(0), Fraction(0)),
    (midnight("2026-01-01T00:00:00-05:00"), Fraction("0.000195"), Fraction("9.79")),
    (0, Fraction(0), Fraction(0)),
)
"""From when, dollars a share, and the most of one trade."""


def dollars(e4: int) -> Fraction:
    """An amount in 1/10,000 as a fraction of dollars."""
    return Fraction(e4, 10_000)


def sale_fees(quantity: int, price: int, now: int) -> int:
    """Section 31 to the next cent, and the Trading Activity Fee to the ten-thousandth below."""
    section_31 = dollars(quantity * price) * SECTION_31_RATE if now >= SECTION_31_FROM else Fraction(0)
    _, rate, cap = next(row for row in ACTIVITY_FEES if now >= row[0])
    return ceil(section_31 * 100) * 100 + floor(min(quantity * rate, cap) * 10_000)


def fees_of_a_share(worst: int) -> int:
    """What a share sold on its own can cost at most: a begun cent, its part of the amount, the highest activity fee."""
    return 100 + ceil(worst * SECTION_31_RATE) + ceil(max(rate for _, rate, _ in ACTIVITY_FEES) * 10_000)


def text(e4: int) -> str:
    """An amount with four places."""
    return f"{Decimal(e4) / 10_000:.4f}"


def tick_at(price: Fraction | int, tick: int) -> int:
    """The step between prices at a price: the instrument's tick, 1/10,000 below a dollar."""
    return tick if price >= 10_000 else 1


def up(price: Fraction | int, tick: int) -> int:
    """The next step at or above a price."""
    whole = ceil(price)
    return ceil(Fraction(whole, tick_at(whole, tick))) * tick_at(whole, tick)


def down(price: Fraction | int, tick: int) -> int:
    """The next step at or below a price."""
    whole = floor(price)
    return floor(Fraction(whole, tick_at(whole, tick))) * tick_at(whole, tick)


def collar(side: str, reference: int, tick: int) -> int:
    """The worst price of an order without a limit: the reference moved by the collar, outwards to a tick."""
    width = next(share for up_to, share in COLLARS if dollars(reference) <= up_to)
    if side == "BUY":
        return up(reference * (1 + width), tick)
    return max(1, down(reference * (1 - width), tick))


def protected(side: str, reference: int, tick: int) -> int:
    """The worst limit price that is taken in: the collar's, or 0.15 beyond the reference if that is more."""
    if side == "BUY":
        return max(collar(side, reference, tick), up(reference + 1_500, tick))
    return min(collar(side, reference, tick), max(1, down(reference - 1_500, tick)))


def quoted_step(price: int, tick: int, now: int) -> int:
    """The step that a limit or stop price must be a multiple of: Rule 612."""
    if price < 10_000:
        return 1
    return max(tick, 100 if now < HALF_PENNY_FROM else 50)


def round_lot(price: int, now: int) -> int:
    """Shares of a round lot."""
    if now < ROUND_LOTS_FROM:
        return 100
    return next(shares for up_to, shares in LOTS if dollars(price) <= up_to)


def venue_fee(venue: str, price: int, now: int) -> int:
    """What an exchange charges for a share of its quote: the cap of Rule 610, or less."""
    per_share, share = (30, Fraction(3, 1000)) if now < HALF_PENNY_FROM else (10, Fraction(1, 1000))
    cap = per_share if price >= 10_000 else floor(price * share)
    return min(cap, CHEAP_VENUES.get(venue, cap))


def auction_range(reference: int, tick: int) -> tuple[int, int]:
    """Lowest and highest price of an auction: half a dollar or a tenth around the reference, inwards to ticks."""
    if reference <= 0:
        return 0, 0
    width = max(5_000, floor(Fraction(reference, 10)))
    low = reference - width
    return (up(low, tick) if low > 0 else 1), down(reference + width, tick)


def cutoff(
    time_in_force: str, order_type: str, session: dict[str, Any], imbalance_only: bool, instrument: dict[str, Any]
) -> int:
    """From when on orders for an auction are not taken: at Nasdaq's close five minutes, or two with a limit, since 2018."""
    if imbalance_only:
        return int(session["openTime"] if time_in_force == "OPG" else session["closeTime"])
    if time_in_force == "OPG":
        return int(session["openTime"]) - 2 * MINUTE
    if instrument["primaryExchange"] in ("XNAS", "Q") and session["closeTime"] > NASDAQ_CLOSE_FROM:
        return int(session["closeTime"]) - (5 if order_type == "MARKET" else 2) * MINUTE
    return int(session["closeTime"]) - 10 * MINUTE


def uncross(
    buys: list[tuple[int | None, int]],
    sells: list[tuple[int | None, int]],
    reference: int,
    low: int,
    high: int,
    tick: int,
    fillers: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], []),
) -> tuple[int, int, int]:
    """Price, quantity and imbalance of an auction of (limit or None for a market order, shares): every price is tried.

    `fillers`: imbalance-only buys and sells, which at each price are as many as the others lack, and no more.

    Most shares; then the least imbalance; then, where limit orders stay unexecuted, the price under pressure; then the
    price nearest to the reference, the lower of two.
    """
    bids = sorted({price for price, _ in buys if price is not None}, reverse=True)
    asks = sorted({price for price, _ in sells if price is not None})
    middle = reference
    if not middle and bids and asks:
        middle = (bids[0] + asks[0]) // 2
    elif not middle:
        middle = (bids or asks or [0])[0]
    bottom, top = low or 1, high or HIGHEST_PRICE

    def wanted(price: int) -> int:
        plain = sum(shares for limit, shares in buys if limit is None or limit >= price)
        lacking = sum(shares for limit, shares in sells if limit is None or limit <= price) - plain
        return plain + max(0, min(lacking, sum(shares for limit, shares in fillers[0] if limit >= price)))

    def offered(price: int) -> int:
        plain = sum(shares for limit, shares in sells if limit is None or limit <= price)
        lacking = sum(shares for limit, shares in buys if limit is None or limit >= price) - plain
        return plain + max(0, min(lacking, sum(shares for limit, shares in fillers[1] if limit <= price)))

    if not middle or (not buys and not sells):
        return 0, 0, imbalance_at(buys, sells, reference, bottom, top)
    centre = min(max(middle, bottom), top)
    entered = {price for price in bids + asks if bottom <= price <= top}
    # Beyond all prices that were entered nothing changes, so one tick further out stands for all of them.
    steps = [*entered, centre, *(price for side in fillers for price, _ in side)]
    first = min(steps) // tick * tick - tick
    last = -(-max(steps) // tick) * tick + tick
    prices = entered | {
        price
        for price in (
            *range(first, last + 1, tick),
            -(-bottom // tick) * tick,
            top // tick * tick,
        )
        if bottom <= price <= top
    }
    tried = [(price, wanted(price), offered(price)) for price in sorted(prices)]
    most = max((min(b, s) for _, b, s in tried), default=0)
    if most == 0:
        return 0, 0, imbalance_at(buys, sells, reference, bottom, top)
    tried = [row for row in tried if min(row[1], row[2]) == most]
    least = min(abs(b - s) for _, b, s in tried)
    tried = [row for row in tried if abs(row[1] - row[2]) == least]
    market_buys = sum(shares for limit, shares in buys if limit is None)
    market_sells = sum(shares for limit, shares in sells if limit is None)
    pressed = [row for row in tried if row[1] > row[2] and row[1] > market_buys][-1:]
    pressed += [row for row in tried if row[2] > row[1] and row[2] > market_sells][:1]
    price, b, s = min(pressed or tried, key=lambda row: (abs(row[0] - middle), row[0]))
    return price, most, b - s


def imbalance_at(
    buys: list[tuple[int | None, int]], sells: list[tuple[int | None, int]], reference: int, low: int, high: int
) -> int:
    """What buys exceed sells by at the reference price; of market orders alone without one."""
    price = min(max(reference, low), high)
    bought = sum(shares for limit, shares in buys if limit is None or (reference and limit >= price))
    return bought - sum(shares for limit, shares in sells if limit is None or (reference and limit <= price))
