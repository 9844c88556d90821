"""Broken references: each takes one rule of the book alone back, and the comparison on the seeded streams must notice.

If one passes unnoticed, the streams have a hole: a real engine with that fault would pass as well.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cache

import match_compare
import pytest
from match_rows import Command, Line
from match_streams import SHAPES, commands
from reference_match import Order, ReferenceMatch, run

SEEDS = 5 * len(SHAPES)
COMMANDS = 1000


class YoungestFirst(ReferenceMatch):
    def priority(self, order: Order) -> tuple[Decimal, int]:
        price, arrival = super().priority(order)
        return price, -arrival


class WorstPriceFirst(ReferenceMatch):
    def priority(self, order: Order) -> tuple[Decimal, int]:
        price, arrival = super().priority(order)
        return -price, arrival


class WorstBidFirst(ReferenceMatch):
    def priority(self, order: Order) -> tuple[Decimal, int]:
        price, arrival = super().priority(order)
        return abs(price), arrival


class LargestFirst(ReferenceMatch):
    def priority(self, order: Order) -> tuple[Decimal, int]:
        return super().priority(order)[0], -order.open


class TakersPrice(ReferenceMatch):
    def trade_price(self, taker: Order, maker: Order) -> Decimal:
        return maker.price if taker.price is None else taker.price


class MidPrice(ReferenceMatch):
    def trade_price(self, taker: Order, maker: Order) -> Decimal:
        return maker.price if taker.price is None else (taker.price + maker.price) / 2


class NoScan(ReferenceMatch):
    def can_fill(self, order: Order) -> bool:
        return True


class ScanOneLevel(ReferenceMatch):
    def can_fill(self, order: Order) -> bool:
        makers = self.side(order.symbol, not order.is_buy())
        return super().can_fill(order) and sum(m.open for m in makers if m.price == makers[0].price) >= order.open


class ScanIgnoresLimit(ReferenceMatch):
    def can_fill(self, order: Order) -> bool:
        price, order.price = order.price, None
        found = super().can_fill(order)
        order.price = price
        return found


class ScanCountsOwn(ReferenceMatch):
    def can_fill(self, order: Order) -> bool:
        stp, order.stp = order.stp, "NONE"
        found = super().can_fill(order)
        order.stp = stp
        return found


class ScanStopsAtOwn(ReferenceMatch):
    def can_fill(self, order: Order) -> bool:
        stp, order.stp = order.stp, "NONE" if order.stp == "NONE" else "EXPIRE_TAKER"
        found = super().can_fill(order)
        order.stp = stp
        return found


class ScanSkipsOwn(ReferenceMatch):
    def can_fill(self, order: Order) -> bool:
        stp, order.stp = order.stp, "NONE" if order.stp == "NONE" else "EXPIRE_MAKER"
        found = super().can_fill(order)
        order.stp = stp
        return found


class CrossesByEquality(ReferenceMatch):
    """An equal price does not trade."""

    def next_maker(self, order: Order) -> Order | None:
        maker = super().next_maker(order)
        return None if maker is None or maker.price == order.price else maker


class StrictTrigger(Order):
    def stop_met(self, last: Decimal | None) -> bool:
        return super().stop_met(last) and last != self.stop


class StopsStrictlyBeyond(ReferenceMatch):
    def new(self, c: Command) -> None:
        super().new(c)
        if c.order_id in self.orders:
            self.orders[c.order_id].__class__ = StrictTrigger


class StopsNeverLookBack(ReferenceMatch):
    """A stop that arrives does not look at the last print."""

    def wait(self, order: Order, keeps: bool = False) -> None:
        last = self.last.pop(order.symbol, None)
        super().wait(order, keeps)
        if last is not None:
            self.last[order.symbol] = last


class ReplacedStopsNeverLookBack(ReferenceMatch):
    def wait(self, order: Order, keeps: bool = False) -> None:
        last = self.last.pop(order.symbol, None) if order.state == "waiting" else None
        super().wait(order, keeps)
        if last is not None:
            self.last[order.symbol] = last


class StopsByArrivalOnly(ReferenceMatch):
    def trigger_order(self, met: list[Order]) -> list[Order]:
        return sorted(met, key=lambda o: o.arrival)


class StopsYoungestFirst(ReferenceMatch):
    def trigger_order(self, met: list[Order]) -> list[Order]:
        buys = sorted((o for o in met if o.is_buy()), key=lambda o: (o.stop, -o.arrival))
        return buys + sorted((o for o in met if not o.is_buy()), key=lambda o: (-o.stop, -o.arrival))


class SellStopsLowestFirst(ReferenceMatch):
    def trigger_order(self, met: list[Order]) -> list[Order]:
        buys = [o for o in super().trigger_order(met) if o.is_buy()]
        return buys + sorted((o for o in met if not o.is_buy()), key=lambda o: (o.stop, o.arrival))


class SellsTriggerFirst(ReferenceMatch):
    def trigger_order(self, met: list[Order]) -> list[Order]:
        return sorted(super().trigger_order(met), key=Order.is_buy)


class StopsInterrupt(ReferenceMatch):
    """A print's stops act before the incoming order is done."""

    def print_at(self, symbol: str, price: Decimal) -> None:
        super().print_at(symbol, price)
        self.work_off_queue()


class QueueLastInFirstOut(ReferenceMatch):
    def print_at(self, symbol: str, price: Decimal) -> None:
        waiting, self.queue = self.queue, []
        super().print_at(symbol, price)
        self.queue += waiting


class OnlyTheLastPrintCounts(ReferenceMatch):
    """Stops look at the last print of a command, not at each."""

    def print_at(self, symbol: str, price: Decimal) -> None:
        self.last[symbol] = price

    def work_off_queue(self) -> None:
        while True:
            for symbol, price in self.last.items():
                super().print_at(symbol, price)
            if not self.queue:
                return
            super().work_off_queue()


class StopLimitsBecomeMarket(ReferenceMatch):
    def enter(self, order: Order) -> None:
        if order.is_stop():
            order.price = None
        super().enter(order)


class StopsKeepTheirPriority(ReferenceMatch):
    """A triggered order rests with the time of its first arrival."""

    def enter(self, order: Order) -> None:
        arrivals, first = self.arrivals, order.arrival
        super().enter(order)
        if order.is_stop():
            self.arrivals, order.arrival = max(arrivals, self.arrivals), first


class StopsIgnoreImmediate(ReferenceMatch):
    """What triggers is good for the day."""

    def enter(self, order: Order) -> None:
        if order.is_stop() and order.price is not None:
            order.tif = "DAY"
        super().enter(order)


class IncreaseKeepsPlace(ReferenceMatch):
    def keeps_place(self, order: Order, total: int, price: Decimal | None, stop: Decimal | None) -> bool:
        return super().keeps_place(order, 0, price, stop)


class DecreaseLosesPlace(ReferenceMatch):
    def keeps_place(self, order: Order, total: int, price: Decimal | None, stop: Decimal | None) -> bool:
        return False


class SameTotalLosesPlace(ReferenceMatch):
    def keeps_place(self, order: Order, total: int, price: Decimal | None, stop: Decimal | None) -> bool:
        return super().keeps_place(order, total + 1, price, stop)


class NewPriceKeepsTime(ReferenceMatch):
    """A replaced order that does not trade rests with its old time."""

    def replace(self, c: Command) -> None:
        order = self.orders.get(c.order_id)
        arrival = order.arrival if order is not None else 0
        super().replace(c)
        if order is not None and order.state == "resting":
            order.arrival = arrival


class ReplacedRestsWithoutTrading(ReferenceMatch):
    def replace(self, c: Command) -> None:
        order = self.orders.get(c.order_id)
        self.passive = order if order is not None and order.state == "resting" else None
        super().replace(c)
        self.passive = None

    passive: Order | None = None

    def next_maker(self, order: Order) -> Order | None:
        return None if order is self.passive else super().next_maker(order)


class TotalMeasuredBeforeDecrement(ReferenceMatch):
    """Whether a replacement asks for more is measured at what was ordered, not at what DECREMENT left."""

    def keeps_place(self, order: Order, total: int, price: Decimal | None, stop: Decimal | None) -> bool:
        return super().keeps_place(order, total - order.cancelled, price, stop)


class QuantityIsLeaves(ReferenceMatch):
    """The quantity of a replacement is what shall be open."""

    def replace(self, c: Command) -> None:
        order = self.orders.get(c.order_id)
        filled = order.filled if order is not None else 0
        if c.quantity.isdigit() and filled and order is not None and order.state != "ended":
            c = c._replace(quantity=str(int(c.quantity) + filled))
        super().replace(c)


class EmptyStopPriceForgets(ReferenceMatch):
    """A replacement without a stop price is refused."""

    def stop_price_refusal(self, c: Command, order_type: str, needed: bool) -> str:
        return super().stop_price_refusal(c, order_type, True)


class NoPrevention(ReferenceMatch):
    def prevent(self, taker: Order, maker: Order) -> None:
        self.trade(taker, maker)


class MakersModeCounts(ReferenceMatch):
    def prevent(self, taker: Order, maker: Order) -> None:
        mode, taker.stp = taker.stp, maker.stp if maker.stp != "NONE" else taker.stp
        super().prevent(taker, maker)
        taker.stp = mode


class MakerExpiresForTaker(ReferenceMatch):
    def prevent(self, taker: Order, maker: Order) -> None:
        mode = taker.stp
        taker.stp = {"EXPIRE_MAKER": "EXPIRE_TAKER", "EXPIRE_TAKER": "EXPIRE_MAKER"}.get(mode, mode)
        super().prevent(taker, maker)
        taker.stp = mode


class BothExpiresMakerOnly(ReferenceMatch):
    def prevent(self, taker: Order, maker: Order) -> None:
        mode = taker.stp
        taker.stp = "EXPIRE_MAKER" if mode == "EXPIRE_BOTH" else mode
        super().prevent(taker, maker)
        taker.stp = mode


class DecrementOneTooFew(ReferenceMatch):
    def overlap(self, taker: Order, maker: Order) -> int:
        return max(1, super().overlap(taker, maker) - 1)


class DecrementPrints(ReferenceMatch):
    def prevent(self, taker: Order, maker: Order) -> None:
        super().prevent(taker, maker)
        if taker.stp == "DECREMENT":
            self.print_at(taker.symbol, maker.price)


class MarketRests(ReferenceMatch):
    """What a market order leaves waits at the last price."""

    def rests(self, order: Order) -> bool:
        if order.price is None and order.tif in ("DAY", "GTC"):
            order.price = self.last.get(order.symbol)
        return super().rests(order)


class ImmediateRests(ReferenceMatch):
    def rests(self, order: Order) -> bool:
        return order.price is not None


class GtcDoesNotRest(ReferenceMatch):
    def rests(self, order: Order) -> bool:
        return super().rests(order) and order.tif == "DAY"


class CancelForgotten(ReferenceMatch):
    def cancel(self, c: Command) -> None:
        kept = len(self.lines)
        super().cancel(c)
        order = self.orders.get(c.order_id)
        if order is not None and self.lines[kept].event == "CANCELLED" and order.triggered:
            order.open, order.state = order.cancelled, "resting"


class WaitingStopsCannotBeCancelled(ReferenceMatch):
    def refused_target(self, c: Command, unknown: str, too_late: str) -> str:
        order = self.orders.get(c.order_id)
        reason = super().refused_target(c, unknown, too_late)
        return unknown if not reason and order is not None and order.state == "waiting" else reason


class AnyoneMayCancel(ReferenceMatch):
    def refused_target(self, c: Command, unknown: str, too_late: str) -> str:
        reason = super().refused_target(c, unknown, too_late)
        return "" if reason == "CANCEL_WRONG_ACCOUNT" else reason


class EndedIsUnknown(ReferenceMatch):
    def refused_target(self, c: Command, unknown: str, too_late: str) -> str:
        reason = super().refused_target(c, unknown, too_late)
        return unknown if reason == too_late else reason


class EndedIdsFree(ReferenceMatch):
    """The id of an ended order may be used again."""

    def refusal(self, c: Command) -> str:
        order = self.orders.get(c.order_id)
        if order is not None and order.state == "ended":
            del self.orders[c.order_id]
        return super().refusal(c)


class RefusedIdsTaken(ReferenceMatch):
    """The id of a refused order is used up."""

    def __init__(self, checks: bool = True) -> None:
        super().__init__(checks)
        self.refused: set[str] = set()

    def refusal(self, c: Command) -> str:
        reason = super().refusal(c)
        if not reason and c.order_id in self.refused:
            return "VALIDATION_DUPLICATE_ORDER_ID"
        if reason:
            self.refused.add(c.order_id)
        return reason


class OneBookForAll(ReferenceMatch):
    def side(self, symbol: str, buys: bool) -> list[Order]:
        return sorted((o for o in self.live if o.state == "resting" and o.is_buy() == buys), key=self.priority)


class PricesWithTwoPlaces(ReferenceMatch):
    def new(self, c: Command) -> None:
        super().new(c)
        order = self.orders.get(c.order_id)
        if order is not None and order.price is not None:
            order.price = round(order.price, 2)


class ZeroIsAPrice(ReferenceMatch):
    def price_refusal(self, c: Command, order_type: str) -> str:
        reason = super().price_refusal(c, order_type)
        return "" if reason == "VALIDATION_PRICE_NOT_POSITIVE" and Decimal(c.price) == 0 else reason


BROKEN = [
    value
    for value in list(globals().values())
    if isinstance(value, type) and issubclass(value, ReferenceMatch) and value is not ReferenceMatch
]


@cache
def expected(seed: int) -> list[Line]:
    """What the reference says about a seed."""
    return run(commands(seed, COMMANDS), checks=False)


def broken_run(engine: type[ReferenceMatch], rows: list[Command]) -> list[Line] | str:
    """What the broken reference says, or the error that it ends with."""
    try:
        return run(rows, engine, checks=False)
    except Exception as error:
        return type(error).__name__


def noticed(engine: type[ReferenceMatch]) -> int | None:
    """The first seed on which the broken reference says something else than the true one."""
    for seed in range(SEEDS):
        if broken_run(engine, commands(seed, COMMANDS)) != expected(seed):
            return seed
    return None


@pytest.mark.parametrize("engine", BROKEN, ids=lambda engine: engine.__name__)
def test_broken_reference_is_noticed(engine: type[ReferenceMatch]) -> None:
    assert noticed(engine) is not None


def test_reference_subclass_without_a_change_is_not_noticed() -> None:
    assert noticed(type("Same", (ReferenceMatch,), {})) is None


def test_broken_reference_difference_shrinks_to_a_few_rows() -> None:
    def tool(rows: list[Command]) -> list[Line]:
        return run(rows, YoungestFirst, checks=False)

    rows = commands(0, 500)
    assert len(match_compare.shrink(rows, lambda part: match_compare.differs(tool, part))) <= 3


@pytest.mark.parametrize("engine", [YoungestFirst, WorstPriceFirst, LargestFirst, CrossesByEquality, ImmediateRests])
def test_broken_reference_breaks_an_invariant(engine: type[ReferenceMatch]) -> None:
    with pytest.raises(AssertionError):
        for seed in range(SEEDS):
            run(commands(seed, COMMANDS), engine)
