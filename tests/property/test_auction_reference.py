"""The uncross against a slow one that tries every price, rule by rule, on random order books."""

from __future__ import annotations

from fractions import Fraction
from random import Random
from typing import Any

import pytest

from udfs.domain.auction import AuctionResult, uncross

Levels = list[tuple[int, int]]


def buys_at(bids: Levels, market_buy: int, price: int) -> int:
    """Shares that would buy at a price."""
    return market_buy + sum(shares for level, shares in bids if level >= price)


def sells_at(asks: Levels, market_sell: int, price: int) -> int:
    """Shares that would sell at a price."""
    return market_sell + sum(shares for level, shares in asks if level <= price)


def with_fillers(buys: int, sells: int, filling_buys: int, filling_sells: int) -> tuple[int, int]:
    """Buys and sells with imbalance-only orders, which fill what is lacking on their side and no more."""
    return max(buys, min(sells, buys + filling_buys)), max(sells, min(buys, sells + filling_sells))


def slow_uncross(
    bids: Levels,
    asks: Levels,
    market_buy: int,
    market_sell: int,
    reference: int,
    low: int,
    high: int,
    tick: int,
    filling_bids: Levels = [],  # noqa: B006 - never changed
    filling_asks: Levels = [],  # noqa: B006 - never changed
) -> tuple[int, int]:
    """Price and quantity by the definition: each rule keeps some of the candidates."""
    if reference == 0 and bids and asks:
        reference = (bids[0][0] + asks[0][0]) // 2
    elif reference == 0:
        reference = bids[0][0] if bids else asks[0][0] if asks else 0
    if reference == 0:
        return 0, 0
    entered = {price for price, _ in bids + asks}
    top = max([*entered, reference, low, high, *(price for price, _ in filling_bids + filling_asks)]) + 2 * tick
    candidates = [
        price
        for price in range(1, top + 1)
        if (price in entered or price % tick == 0) and price >= low and (high == 0 or price <= high)
    ]

    def totals(price: int) -> tuple[int, int]:
        return with_fillers(
            buys_at(bids, market_buy, price),
            sells_at(asks, market_sell, price),
            buys_at(filling_bids, 0, price),
            sells_at(filling_asks, 0, price),
        )

    def executed(price: int) -> int:
        return min(totals(price))

    def imbalance(price: int) -> int:
        return totals(price)[0] - totals(price)[1]

    most = max((executed(price) for price in candidates), default=0)
    if most == 0:
        return 0, 0
    kept = [price for price in candidates if executed(price) == most]
    least = min(abs(imbalance(price)) for price in kept)
    kept = [price for price in kept if abs(imbalance(price)) == least]
    # Limit orders remain unexecuted where one side exceeds the other and is not made of market orders alone.
    too_many_buys = [p for p in kept if imbalance(p) > 0 and any(level >= p for level, _ in bids)]
    too_many_sells = [p for p in kept if imbalance(p) < 0 and any(level <= p for level, _ in asks)]
    pressed = [max(too_many_buys)] if too_many_buys else []
    pressed += [min(too_many_sells)] if too_many_sells else []
    kept = pressed or kept
    nearest = min(abs(price - reference) for price in kept)
    return min(price for price in kept if abs(price - reference) == nearest), most


def random_levels(random: Random, count: int, tick: int, span: int) -> Levels:
    """Distinct prices, a few of them off the tick, with small and often equal sizes, so that rules tie."""
    prices: set[int] = set()
    while len(prices) < count:
        prices.add(random.randrange(1, span) * tick + (random.randrange(tick) if random.random() < 0.05 else 0))
    return [(price, random.choice((100, 100, 200, 300, random.randrange(1, 500)))) for price in sorted(prices)]


def random_market(random: Random) -> int:
    """Shares of market orders, often none."""
    return random.choice((0, 0, 0, 100, 200, random.randrange(1, 900)))


@pytest.mark.parametrize("seed", range(12))
def test_uncross_random_books_equal_the_trial_of_every_price(seed: int) -> None:
    random = Random(seed)
    crossed = 0
    for round_number in range(300):
        tick = random.choice((1, 2, 5))
        span = random.choice((8, 20, 40))
        bids = random_levels(random, random.randrange(5), tick, span)[::-1]
        asks = random_levels(random, random.randrange(5), tick, span)
        market_buy = random_market(random)
        market_sell = random_market(random)
        reference = random.choice((0, random.randrange(1, span * tick + 9)))
        low = random.choice((0, 0, random.randrange(1, span * tick)))
        high = random.choice((0, 0, low + random.randrange(1, span * tick)))
        case = (bids, asks, market_buy, market_sell, reference, low, high, tick)
        result = uncross(*case)
        assert (result.price_e4, result.quantity) == slow_uncross(*case), f"seed={seed} round={round_number} {case}"
        if result.quantity:
            crossed += 1
            price = result.price_e4
            expected = buys_at(bids, market_buy, price) - sells_at(asks, market_sell, price)
            assert result.imbalance == expected, f"seed={seed} round={round_number} {case}"
            assert low <= price and (high == 0 or price <= high)
    assert crossed > 100


@pytest.mark.parametrize("seed", range(8))
def test_uncross_imbalance_only_orders_fill_imbalances_and_add_to_none(seed: int) -> None:
    random = Random(100 + seed)
    filled = 0
    for round_number in range(300):
        tick = random.choice((1, 2, 5))
        span = random.choice((8, 20, 40))
        bids, filling_bids = (random_levels(random, random.randrange(4), tick, span)[::-1] for _ in range(2))
        asks, filling_asks = (random_levels(random, random.randrange(4), tick, span) for _ in range(2))
        market_buy = random_market(random)
        market_sell = random_market(random)
        reference = random.choice((0, random.randrange(1, span * tick + 9)))
        low = random.choice((0, 0, random.randrange(1, span * tick)))
        high = random.choice((0, 0, low + random.randrange(1, span * tick)))
        plain = (bids, asks, market_buy, market_sell, reference, low, high, tick)
        case = (*plain, filling_bids, filling_asks)
        message = f"seed={seed} round={round_number} {case}"
        result = uncross(*case)
        price, quantity = result.price_e4, result.quantity
        assert (price, quantity) == slow_uncross(*case), message
        without = uncross(*plain)
        assert quantity >= without.quantity, message
        if not quantity:
            assert result.imbalance == without.imbalance, message
            continue
        buys, sells = buys_at(bids, market_buy, price), sells_at(asks, market_sell, price)
        # What they do not fill of an imbalance stays, with its sign.
        assert abs(result.imbalance) <= abs(buys - sells) and result.imbalance * (buys - sells) >= 0, message
        part = quantity - min(buys, sells)
        assert (
            0 <= part <= sells_at(filling_asks, 0, price) if buys > sells else part <= buys_at(filling_bids, 0, price)
        )
        filled += part > 0
    assert filled > 30


def test_uncross_merged_levels_change_nothing() -> None:
    random = Random(5)
    for _ in range(200):
        bids = random_levels(random, 4, 1, 12)[::-1]
        asks = random_levels(random, 4, 1, 12)
        halves = [(price, part) for price, shares in bids for part in (shares // 2, shares - shares // 2)]
        one = uncross(bids, asks, 0, 0, 6, 0, 0, 1)
        other = uncross(halves, asks, 0, 0, 6, 0, 0, 1)
        assert (one.price_e4, one.quantity, one.imbalance) == (other.price_e4, other.quantity, other.imbalance)


def show(result: AuctionResult) -> tuple[int, int, int]:
    """Price, quantity, imbalance."""
    return result.price_e4, result.quantity, result.imbalance


#  name: bids, asks, market buy and sell, reference, low, high -> price, quantity, imbalance; prices in cents, tick 1
GOLDEN: dict[str, tuple[tuple[Any, ...], tuple[int, int, int]]] = {
    "most shares: 300 trade at 10.02 only": (
        ([(1003, 100), (1002, 200)], [(1001, 100), (1002, 200)], 0, 0, 1000, 0, 0),
        (1002, 300, 0),
    ),
    "least imbalance: 100 trade at 10.00 to 10.03, nothing is left over above 10.01": (
        ([(1003, 100), (1001, 50)], [(1000, 100)], 0, 0, 1000, 0, 0),
        (1002, 100, 0),
    ),
    "pressure of buys: the highest price, whatever the reference": (
        ([(1005, 300)], [(1000, 100)], 0, 0, 1000, 0, 0),
        (1005, 100, 200),
    ),
    "pressure of sells: the lowest price, whatever the reference": (
        ([(1005, 100)], [(1000, 300)], 0, 0, 1005, 0, 0),
        (1000, 100, -200),
    ),
    "no imbalance: closest to the reference": (
        ([(1005, 100)], [(1000, 100)], 0, 0, 1003, 0, 0),
        (1003, 100, 0),
    ),
    "no imbalance: the reference lies above": (
        ([(1005, 100)], [(1000, 100)], 0, 0, 1100, 0, 0),
        (1005, 100, 0),
    ),
    "no reference: the middle of best bid and ask": (
        ([(1005, 100)], [(1000, 100)], 0, 0, 0, 0, 0),
        (1002, 100, 0),
    ),
    "equal imbalance of both signs: the neighbour closer to the reference": (
        ([(1002, 100), (1001, 100)], [(1001, 100), (1002, 100)], 0, 0, 1009, 0, 0),
        (1002, 100, -100),
    ),
    "equal imbalance of both signs: the other neighbour": (
        ([(1002, 100), (1001, 100)], [(1001, 100), (1002, 100)], 0, 0, 990, 0, 0),
        (1001, 100, 100),
    ),
    "only market orders: at the reference": (([], [], 500, 300, 1234, 0, 0), (1234, 300, 200)),
    "only market orders, no reference: no price": (([], [], 500, 300, 0, 0, 0), (0, 0, 200)),
    "market buys beyond all asks: no limit order is left, so the reference decides": (
        ([], [(1000, 100)], 500, 0, 1010, 0, 0),
        (1010, 100, 400),
    ),
    "market buys beyond all asks: but never below the ask": (
        ([], [(1000, 100)], 500, 0, 990, 0, 0),
        (1000, 100, 400),
    ),
    "clip: buys beyond it trade at the highest price allowed": (
        ([(1100, 300)], [(1000, 100)], 0, 0, 1000, 950, 1050),
        (1050, 100, 200),
    ),
    "clip: what asks for more than the clip does not trade": (
        ([(1100, 300)], [(1000, 100), (1080, 200)], 0, 0, 1000, 950, 1050),
        (1050, 100, 200),
    ),
    "clip: nothing trades within it": (([(1100, 300)], [(1080, 200)], 0, 0, 1000, 950, 1050), (0, 0, 300)),
    "nothing crosses": (([(1000, 100)], [(1001, 100)], 0, 0, 1000, 0, 0), (0, 0, 100)),
    "one side alone": (([(1000, 100)], [], 0, 0, 1000, 0, 0), (0, 0, 100)),
    "nothing at all": (([], [], 0, 0, 1000, 0, 0), (0, 0, 0)),
    "imbalance-only sells fill what market buys lack": (
        ([], [], 500, 0, 1000, 0, 0, 1, [], [(1003, 300)]),
        (1003, 300, 200),
    ),
    "imbalance-only sells fill no more than what buys exceed by, and do not press the price": (
        ([(1005, 300)], [(1000, 100)], 0, 0, 1004, 0, 0, 1, [], [(1001, 900)]),
        (1004, 300, 0),
    ),
    "imbalance-only buys on the side that exceeds change nothing": (
        ([(1005, 300)], [(1000, 100)], 0, 0, 1000, 0, 0, 1, [(1005, 500)], []),
        (1005, 100, 200),
    ),
    "imbalance-only orders do not meet each other": (
        ([], [], 0, 0, 1000, 0, 0, 1, [(1005, 500)], [(1000, 500)]),
        (0, 0, 0),
    ),
    "imbalance-only sells that ask for too much are not reached": (
        ([(1005, 300)], [(1000, 100)], 0, 0, 1000, 0, 0, 1, [], [(1006, 500)]),
        (1005, 100, 200),
    ),
    "market orders meet limits of the other side": (
        ([(1000, 100)], [(1010, 100)], 50, 50, 1004, 0, 0),
        (1004, 50, 0),
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_uncross_golden(name: str) -> None:
    case, expected = GOLDEN[name]
    assert show(uncross(*(case if len(case) > 7 else (*case, 1)))) == expected


def test_uncross_many_levels_is_linear_in_the_levels() -> None:
    random = Random(3)
    bids = [(price, random.randrange(1, 1_000) * 100) for price in range(3_000_000, 1_000_000, -100)]
    asks = [(price, random.randrange(1, 1_000) * 100) for price in range(1_000_000, 3_000_000, 100)]
    result = uncross(bids, asks, 0, 0, 2_000_000, 0, 0, 100)
    assert result.quantity == min(buys_at(bids, 0, result.price_e4), sells_at(asks, 0, result.price_e4))
    assert Fraction(result.price_e4, 2_000_000) > Fraction(9, 10)
