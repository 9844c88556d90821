"""Order commands of a few hundred accounts against a market that is being played, with a known share of bad input.

Everything is drawn from a seed and from the ticks themselves, so the same seed and ticks give the same bytes. A day
has three phases, and each may be waited out before the next begins:

1. reference: instruments, accounts, sessions, the end of the snapshot;
2. session: ticks and orders up to the close, merged in time order; orders stop `QUIET_NS` before the close, because
   ticks move the clock of the trading job and could overtake orders that wait in Kafka;
3. close: ticks after the close, orders that come too late, and the CLOCK control that ends the day.

Good orders are good for certain: what an account has promised to pay or deliver is added up here and never exceeds
what it opened with. So every reject and every dead letter comes from an intended fault, and `counts` says how many
of each were made. Two things are left to the market: whether a cancel comes too late, and whether a market order
finds a price.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from infra.feeds.items import Item, Tick
from infra.feeds.order_faults import FAULTS, FaultMaker
from infra.feeds.reference import COMMISSION_E4, TICK_SIZE_E4, limit_accounts, ordinary_accounts, reference_items
from infra.feeds.sessions import NS_PER_SECOND, TradingDay, session_times
from schemas.messages import controls, orders, raw_feed
from schemas.messages.enums import (
    COMMAND_TYPE_CANCEL,
    COMMAND_TYPE_NEW,
    CONTROL_KIND_CLOCK,
    CONTROL_SCOPE_ALL,
    FEED_FORMAT_LEAN_QUOTE,
    ORDER_TYPE_LIMIT,
    ORDER_TYPE_MARKET,
    SIDE_BUY,
    SIDE_SELL,
    STP_MODE_NONE,
    TIME_IN_FORCE_DAY,
    TIME_IN_FORCE_IOC,
)
from schemas.messages.orders import OrderCommand

QUIET_NS: Final = 300 * NS_PER_SECOND
MARKET_ORDERS_FROM_NS: Final = 600 * NS_PER_SECOND
"""Market orders begin this long after the open, when every symbol has a price."""
CLOSE_CLOCK_NS: Final = 300 * NS_PER_SECOND
"""The CLOCK that ends the day reads the close plus this."""
_PLAUSIBLE: Final = 5
_DRAWS: Final = 200
_LIVE_CANDIDATES: Final = 4_000


class OrderFlow:
    """One run of orders over one or more trading days. Use each phase once, in the order of `phases`."""

    def __init__(
        self,
        days: Sequence[TradingDay],
        prior_closes: Mapping[str, int],
        schema_ids: Mapping[str, int],
        seed: int = 1,
        orders: int = 20_000,
        accounts: int = 300,
        bad_share: float = 0.03,
        cancel_share: float = 0.15,
        run_id: str = "",
    ) -> None:
        """`prior_closes`: price e4 of each symbol that is traded. `orders`: commands in all, over all days.

        `run_id` is part of every order id: a second run on the same topics needs another, or its orders are replays.
        Raises ValueError when an argument is out of range.
        """
        if not days or not prior_closes:
            raise ValueError("order flow needs at least one trading day and one symbol")
        if accounts < 1 or orders < 0:
            raise ValueError(f"accounts must be positive ({accounts}), orders not negative ({orders})")
        if not (bad_share >= 0 and cancel_share >= 0 and bad_share + cancel_share <= 0.9):
            raise ValueError(f"bad_share ({bad_share}) and cancel_share ({cancel_share}) must leave room for orders")
        self.days = list(days)
        self.counts: Counter[str] = Counter()
        """Commands made so far: `new`, `cancel`, and the names of FAULTS."""
        self._schema_ids = schema_ids
        self._orders = orders
        self._bad_share = bad_share
        self._cancel_share = cancel_share
        self._rng = random.Random(f"orders-{seed}")
        self._prior_closes = dict(prior_closes)
        self._symbols = list(prior_closes)
        self._bids = dict(prior_closes)
        self._asks = dict(prior_closes)
        self._prefix = run_id or f"S{seed}"
        self._number = 0
        self._accounts = ordinary_accounts(seed, accounts, self._symbols, orders)
        self._cash = {account.account_id: account.cash for account in self._accounts}
        self._shares = {
            (account.account_id, opening.symbol): opening.quantity
            for account in self._accounts
            for opening in account.positions
        }
        self._live: list[OrderCommand] = []
        self._faults = FaultMaker(self._rng, schema_ids["orders"])

    @property
    def expected_outcomes(self) -> dict[tuple[str, str], int]:
        """How many commands made so far must end in each (topic, reason): dead letters and rejects."""
        expected: Counter[tuple[str, str]] = Counter()
        for name, outcome in FAULTS.items():
            if self.counts[name]:
                expected[outcome] += self.counts[name]
        return dict(expected)

    @property
    def commands(self) -> int:
        """Records written to the orders topic so far."""
        return sum(self.counts.values())

    def phases(self, ticks: Iterator[Tick]) -> Iterator[tuple[str, Iterator[Item]]]:
        """(name, items) of each phase: `reference`, then `DATE session` and `DATE close` of each day.

        Play a phase to its end before you ask for the next. `ticks` must be in time order.
        """
        yield "reference", self.reference()
        source = _Pushback(ticks)
        for index, day in enumerate(self.days):
            is_last = index == len(self.days) - 1
            count = self._orders // len(self.days) + (self._orders % len(self.days) if is_last else 0)
            late = int(count * self._bad_share / len(FAULTS) / 2)
            yield f"{day.day} session", self._session(day, source, count - late, late)
            until_ns = None if is_last else self.days[index + 1].midnight_ns
            yield f"{day.day} close", self._close(day, source, late, until_ns)

    def items(self, ticks: Iterator[Tick]) -> Iterator[Item]:
        """All phases one after the other, without waiting between them."""
        for _, phase in self.phases(ticks):
            yield from phase

    def reference(self) -> Iterator[Item]:
        """Reference data: what `phases` begins with."""
        accounts = [*self._accounts, *limit_accounts(self._symbols)]
        return reference_items(self.days, self._prior_closes, accounts, self._schema_ids)

    def _session(self, day: TradingDay, source: _Pushback, count: int, early: int) -> Iterator[Item]:
        """Ticks before the close and `count` commands, the first `early` of them before the open."""
        early = min(early, count)
        rng = self._rng
        active = TradingDay(day.day, day.midnight_ns, day.open_ns, day.close_ns - QUIET_NS, day.half_day)
        before = sorted(day.open_ns - rng.randint(1, 120) * NS_PER_SECOND for _ in range(early))
        self._live.clear()
        for time_ns in before:
            yield from self._ticks_until(source, time_ns)
            yield self._wrong_session(time_ns)
        for time_ns in session_times(random.Random(rng.random()), active, count - early, burst_share=0.01):
            yield from self._ticks_until(source, time_ns)
            yield self._command(time_ns, day)
        yield from self._ticks_until(source, day.close_ns - 1)

    def _close(self, day: TradingDay, source: _Pushback, late: int, until_ns: int | None) -> Iterator[Item]:
        clock_ns = day.close_ns + CLOSE_CLOCK_NS
        for number in range(late):
            time_ns = day.close_ns + CLOSE_CLOCK_NS * number // late
            yield from self._ticks_until(source, time_ns)
            yield self._wrong_session(time_ns)
        yield from self._ticks_until(source, clock_ns)
        yield clock_item(clock_ns, f"{self._prefix}-{day.day}-close", "end of the trading day", self._schema_ids)
        yield from self._ticks_until(source, until_ns)

    def _ticks_until(self, source: _Pushback, time_ns: int | None) -> Iterator[Item]:
        """Ticks up to a time, included; all that are left when it is None."""
        schema_id = self._schema_ids["raw-feed"]
        while (tick := source.take(time_ns)) is not None:
            self._observe(tick)
            yield "raw-feed", tick.record.symbol.encode(), raw_feed.encode(tick.record, schema_id), tick.time_ns

    def _observe(self, tick: Tick) -> None:
        """Follow the market roughly: the last plausible bid and ask of each symbol."""
        record = tick.record
        if record.format != FEED_FORMAT_LEAN_QUOTE or record.symbol not in self._bids:
            return
        fields = record.payload.split(b",")
        if len(fields) < 5:
            return
        for field, side in ((fields[1], self._bids), (fields[3], self._asks)):
            known = side[record.symbol]
            if field.isdigit() and known < int(field) * _PLAUSIBLE and int(field) < known * _PLAUSIBLE:
                side[record.symbol] = int(field)

    def _command(self, time_ns: int, day: TradingDay) -> Item:
        """One command: a fault, a cancel or a new order."""
        draw = self._rng.random()
        if draw < self._bad_share:
            name = self._faults.choose()
            self.counts[name] += 1
            account_id, value = self._faults.make(name, self._good_order(time_ns, day))
            return "orders", account_id.encode(), value, time_ns
        if draw < self._bad_share + self._cancel_share and self._live:
            return self._cancel(time_ns)
        order = self._good_order(time_ns, day)
        self._spend(order)
        value = orders.encode(order, self._schema_ids["orders"])
        self.counts["new"] += 1
        self._faults.remember(order, value)
        if order.order_type == ORDER_TYPE_LIMIT and order.time_in_force == TIME_IN_FORCE_DAY:
            self._live.append(order)
            if len(self._live) > _LIVE_CANDIDATES:
                self._live[self._rng.randrange(_LIVE_CANDIDATES)] = self._live.pop()
        return "orders", order.account_id.encode(), value, time_ns

    def _cancel(self, time_ns: int) -> Item:
        at = self._rng.randrange(len(self._live))
        self._live[at], self._live[-1] = self._live[-1], self._live[at]
        order = self._live.pop()
        self.counts["cancel"] += 1
        value = orders.encode_fields(
            self._schema_ids["orders"],
            COMMAND_TYPE_CANCEL,
            order.order_id,
            order.account_id,
            order.symbol,
            order.side,
            order.order_type,
            order.time_in_force,
            order.quantity,
            order.price,
            None,
            STP_MODE_NONE,
            None,
            time_ns,
        )
        return "orders", order.account_id.encode(), value, time_ns

    def _wrong_session(self, time_ns: int) -> Item:
        """An order outside the session; it would be good within."""
        order = self._good_order(time_ns, None)
        self.counts["wrong_session"] += 1
        return "orders", order.account_id.encode(), orders.encode(order, self._schema_ids["orders"]), time_ns

    def _good_order(self, time_ns: int, day: TradingDay | None) -> OrderCommand:
        """An order that its account can pay or deliver. Nothing is set aside yet, see `_spend`."""
        rng = self._rng
        for _ in range(_DRAWS):
            account = rng.choice(self._accounts)
            symbol = rng.choice(self._symbols)
            is_buy = rng.random() < 0.5
            if not is_buy:
                symbol = rng.choice(account.positions).symbol
            quantity = rng.randint(1, 99) if rng.random() < 0.1 else 100 * rng.randint(1, 10)
            is_market = rng.random() < 0.15 and day is not None and time_ns >= day.open_ns + MARKET_ORDERS_FROM_NS
            price = None if is_market else self._limit_price(symbol, is_buy)
            order = OrderCommand(
                command=COMMAND_TYPE_NEW,
                order_id=f"{self._prefix}-{self._number + 1:07d}",
                account_id=account.account_id,
                symbol=symbol,
                side=SIDE_BUY if is_buy else SIDE_SELL,
                order_type=ORDER_TYPE_MARKET if is_market else ORDER_TYPE_LIMIT,
                time_in_force=TIME_IN_FORCE_IOC if rng.random() < 0.25 else TIME_IN_FORCE_DAY,
                quantity=quantity,
                price=price,
                stop_price=None,
                stp=STP_MODE_NONE,
                client_id=account.desk if rng.random() < 0.2 else None,
                timestamp=time_ns,
            )
            if self._affordable(order):
                self._number += 1
                return order
        raise ValueError(f"{len(self._accounts)} accounts cannot afford {self._orders} orders: give more accounts")

    def _limit_price(self, symbol: str, is_buy: bool) -> int:
        """Four in ten reach through the other side's price, the rest wait at or behind their own."""
        rng = self._rng
        bid, ask = self._bids[symbol], self._asks[symbol]
        if rng.random() < 0.4:
            price = ask + TICK_SIZE_E4 * rng.randint(0, 10) if is_buy else bid - TICK_SIZE_E4 * rng.randint(0, 10)
        else:
            behind = TICK_SIZE_E4 * rng.choice((-1, 0, 0, 1, 2, 4, 8, 16))
            price = bid - behind if is_buy else ask + behind
        return max(TICK_SIZE_E4, price // TICK_SIZE_E4 * TICK_SIZE_E4)

    def _affordable(self, order: OrderCommand) -> bool:
        if order.side == SIDE_BUY:
            return self._cost(order) <= self._cash[order.account_id]
        return order.quantity <= self._shares.get((order.account_id, order.symbol), 0)

    def _spend(self, order: OrderCommand) -> None:
        """Set aside what the order may cost, for good: what is cancelled or unfilled is not given back."""
        if order.side == SIDE_BUY:
            self._cash[order.account_id] -= self._cost(order)
        else:
            self._shares[order.account_id, order.symbol] -= order.quantity

    def _cost(self, order: OrderCommand) -> int:
        # A market order may be collared 10% from the price; the price may have moved meanwhile.
        price = order.price if order.price is not None else self._asks[order.symbol] * 5 // 4
        return order.quantity * (price + COMMISSION_E4)


class _Pushback:
    """An iterator of ticks that can be read up to a time."""

    def __init__(self, ticks: Iterator[Tick]) -> None:
        self._ticks = ticks
        self._next: Tick | None = next(ticks, None)

    def take(self, until_ns: int | None) -> Tick | None:
        """The next tick when it is not after `until_ns`, else None."""
        tick = self._next
        if tick is None or (until_ns is not None and tick.time_ns > until_ns):
            return None
        self._next = next(self._ticks, None)
        return tick


def clock_item(time_ns: int, control_id: str, reason: str, schema_ids: Mapping[str, int]) -> Item:
    """A CLOCK control: time has reached `time_ns`."""
    value = controls.encode_fields(
        schema_ids["controls"],
        control_id,
        CONTROL_KIND_CLOCK,
        CONTROL_SCOPE_ALL,
        None,
        None,
        "tradestream feeds",
        reason,
        time_ns,
    )
    return "controls", b"*", value, time_ns
