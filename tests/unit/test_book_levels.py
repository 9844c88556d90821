"""The levels of one side of a book: their heap, and the empty ones that stay for a while."""

from __future__ import annotations

import random

import pytest

from schemas.messages.enums import ORDER_TYPE_LIMIT, SIDE_BUY, SIDE_SELL, STP_MODE_NONE, TIME_IN_FORCE_DAY
from udfs.domain.book import BookSide, InvariantViolation, Level, Order

KEPT = 32


def _order(number: int, is_buy: bool, price: int, quantity: int) -> Order:
    key, side = f"o{number}", SIDE_BUY if is_buy else SIDE_SELL
    terms = (ORDER_TYPE_LIMIT, TIME_IN_FORCE_DAY, quantity, price, price)
    order = Order(key, "", key, "A", "S", side, is_buy, *terms)
    order.rank = number + 1
    return order


@pytest.mark.parametrize("is_bid", [True, False])
@pytest.mark.parametrize("prices", [4, 40, 2_000])
def test_levels_random_orders_come_and_go_best_is_the_best(is_bid: bool, prices: int) -> None:
    rnd = random.Random(f"levels {is_bid} {prices}")
    side = BookSide(is_bid)
    live: list[Order] = []
    for number in range(6_000):
        # Waves of arrivals and of departures, so that books are built up and emptied several times.
        if live and rnd.random() < (0.8 if number // 500 % 2 else 0.3):
            order = live.pop(rnd.randrange(len(live)))
            side.remove(order, order.quantity)
        else:
            order = _order(number, is_bid, rnd.randint(1, prices), rnd.randint(1, 9))
            side.add(order, order.worst_price, order.quantity)
            live.append(order)
        assert side.empty <= KEPT
        if number % 7 == 0:
            found = [order.worst_price for order in live]
            best = side.best()
            assert (best.price if best else None) == ((max if is_bid else min)(found) if found else None)
        if number % 50 == 0:
            side.check()
            limit = rnd.randint(1, prices)
            within = [o.quantity for o in live if (o.worst_price >= limit if is_bid else o.worst_price <= limit)]
            assert side.available(limit, 10**9, STP_MODE_NONE, "") == sum(within)


@pytest.mark.parametrize("best_first", [True, False])
def test_levels_cancelling_a_deep_book_leaves_few_empty_ones_at_every_moment(best_first: bool) -> None:
    side = BookSide(False)
    orders = [_order(number, False, number + 1, 1) for number in range(3_000)]
    for order in orders:
        side.add(order, order.worst_price, 1)
    for order in orders if best_first else reversed(orders):
        before = len(side.heap)
        side.remove(order, 1)
        assert before - len(side.heap) <= 1
    assert (side.empty, len(side.heap), len(side.levels)) == (KEPT, KEPT, KEPT)
    assert side.best() is None
    assert (side.empty, side.heap, side.levels) == (0, [], {})
    side.check()


def test_levels_an_empty_level_is_used_again() -> None:
    side = BookSide(True)
    order = _order(1, True, 500, 1)
    side.add(order, 500, 1)
    level = order.level
    for _ in range(1_000):
        side.remove(order, 1)
        side.add(order, 500, 1)
    assert (order.level is level, side.empty, len(side.heap)) == (True, 0, 1)
    side.check()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda side: side.heap.pop(), "exactly once"),
        (lambda side: side.heap.reverse(), "where it believes"),
        (lambda side: setattr(side.heap[0], "signed", 10**9), "better than the one above"),
        (lambda side: side.emptied.clear(), "was forgotten"),
    ],
)
def test_levels_that_are_out_of_order_are_noticed(fault: object, said: str) -> None:
    side = BookSide(True)
    orders = [_order(number, True, 100 + number, 1) for number in range(9)]
    for order in orders:
        side.add(order, order.worst_price, 1)
    side.remove(orders[4], 1)
    side.check()
    assert callable(fault)
    fault(side)
    with pytest.raises(InvariantViolation, match=said):
        side.check()


def test_levels_new_one_is_outside_of_the_heap() -> None:
    assert (Level(5, -5).at, Level(5, -5).count) == (-1, 0)
