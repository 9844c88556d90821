"""Order commands of a few hundred accounts against a market that is being played, with a known share of bad input.

Everything is drawn from a seed and from the ticks themselves, so the same seed and ticks give the same bytes. A day
has these phases, and each may be waited out before the next begins:

1. reference, once: instruments, accounts, sessions, the end of the snapshot;
2. pre-open: orders that come too early, the CLOCK that begins the session, shares located for short sales, a restriction;
3. early orders: orders for the opening auction and others that wait for it, the ticks of the morning;
4. opening: ticks up to the opening, and the CLOCK that opens every symbol at once;
5. session: ticks and orders merged in time order; one symbol is halted and reopened, one account killed and resumed;
6. close: ticks after the close, orders that come too late, and the CLOCK control that ends the day.

Orders stop `QUIET_NS` before the close, because ticks move the clock of the trading job and could overtake orders that wait
in Kafka; those for an auction end long before their cut-off for the same reason.

Good orders are good for certain (order_mix.py). So every reject and every dead letter comes from an intended fault, and
`counts` says how many of each were made. `FROM_THE_MARKET` names what is left to the market and to the operator's hand.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from infra.feeds.items import Item, Tick
from infra.feeds.order_faults import FAULTS, FaultMaker
from infra.feeds.order_mix import DAY_KINDS, EARLY_KINDS, LOCATED_SHARES, PLAIN_KINDS, LiveOrder, OrderMix
from infra.feeds.phases import Phase, clock_item, control_item
from infra.feeds.reference import DOLLAR_E4, LISTED_ACCOUNT, limit_accounts, ordinary_accounts, reference_items
from infra.feeds.sessions import NS_PER_SECOND, PRE_OPEN_NS, TradingDay, session_times
from schemas.messages import orders, raw_feed
from schemas.messages.enums import (
    COMMAND_TYPE_CANCEL,
    CONTROL_KIND_DEPOSIT,
    CONTROL_KIND_HALT,
    CONTROL_KIND_KILL,
    CONTROL_KIND_LOCATE,
    CONTROL_KIND_RESTRICT,
    CONTROL_KIND_RESUME,
    CONTROL_KIND_UNHALT,
    CONTROL_KIND_WITHDRAWAL,
    CONTROL_SCOPE_ACCOUNT,
    CONTROL_SCOPE_SYMBOL,
    FEED_FORMAT_LEAN_QUOTE,
)
from schemas.messages.orders import OrderCommand

QUIET_NS: Final = 300 * NS_PER_SECOND
CLOSE_CLOCK_NS: Final = 300 * NS_PER_SECOND
"""The CLOCK that ends the day reads the close plus this."""
EARLY_SHARE: Final = 0.04
"""Share of the commands that come between one hour and a quarter of an hour before the opening."""
EARLY_FROM_NS: Final = 3_600 * NS_PER_SECOND
EARLY_UNTIL_NS: Final = 900 * NS_PER_SECOND
HALTED: Final = (0.30, 0.36)
KILLED: Final = (0.50, 0.58)
"""Between these shares of the session a symbol is halted and an account killed."""
CASH_MOVED: Final = (0.42, 0.62)
DEPOSITED_E4: Final = 2_500 * DOLLAR_E4
WITHDRAWN_E4: Final = 1_000 * DOLLAR_E4
"""At these shares of the session a customer brings cash and takes some of it out."""
FROM_THE_MARKET: Final = (
    "RISK_NO_REFERENCE_PRICE",
    "RISK_KILL_SWITCH",
    "CANCEL_TOO_LATE",
    "REPLACE_TOO_LATE",
    "REPLACE_NOT_ALLOWED",
    "VALIDATION_AUCTION_CUTOFF",
)
"""Reasons that good commands may be refused for too: a market order before its symbol has a price, an order of the killed
account, a cancel or replacement after the fill, of a stop that was triggered in a halt, an order that waited too long."""
_PLAUSIBLE: Final = 5
_LIVE_CANDIDATES: Final = 4_000
_KILLED_SHARE: Final = 0.04
"""While it is killed the account goes on sending: so many of the orders are its own."""
_HALTED_SHARE: Final = 0.1
"""While a symbol is halted, with news pending, more orders than usual are in it."""
_CHASED_SHARE: Final = 0.3
"""Of the orders that should trade at once so many are cancelled or replaced later; of those that wait, all may be."""


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
        cancel_share: float = 0.12,
        run_id: str = "",
        replace_share: float = 0.08,
    ) -> None:
        """`prior_closes`: price e4 of each symbol that is traded. `orders`: commands in all, over all days.

        `run_id` is part of every order id: a second run on the same topics needs another, or its orders are replays.
        Raises ValueError when an argument is out of range.
        """
        if not days or not prior_closes:
            raise ValueError("order flow needs at least one trading day and one symbol")
        if accounts < 1 or orders < 0:
            raise ValueError(f"accounts must be positive ({accounts}), orders not negative ({orders})")
        shares = bad_share, cancel_share, replace_share
        if min(shares) < 0 or sum(shares) > 0.9:
            raise ValueError(
                f"the shares of bad commands, cancels and replacements {shares} must leave room for orders"
            )
        self.days = list(days)
        self.counts: Counter[str] = Counter()
        """Commands made so far: `new`, `cancel`, `replace`, and the names of FAULTS."""
        self.control_ids: list[str] = []
        """Controls made so far that the trading job answers: all but the clock's."""
        self._schema_ids = schema_ids
        self._orders = orders
        self._bad_share = bad_share
        self._cancel_share = cancel_share
        self._replace_share = replace_share
        self._rng = random.Random(f"orders-{seed}")
        self._prior_closes = dict(prior_closes)
        self._bids = dict(prior_closes)
        self._asks = dict(prior_closes)
        self._prefix = run_id or f"S{seed}"
        self._accounts = ordinary_accounts(seed, accounts, list(prior_closes), orders)
        self._mix = OrderMix(self._rng, self._accounts, self._bids, self._asks, self._prefix)
        self._killed = self._accounts[0]
        self._halted = next(iter(prior_closes))
        self._live: list[LiveOrder] = []
        self._faults = FaultMaker(self._rng, schema_ids["orders"], list(prior_closes))

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

    def phases(self, ticks: Iterator[Tick]) -> Iterator[Phase]:
        """The phases, `reference` first; those of a day are named `DATE session` and so on.

        Play a phase to its end before you ask for the next. `ticks` must be in time order.
        """
        yield Phase("reference", self.reference(), ("reference-data",))
        source = _Pushback(ticks)
        for index, day in enumerate(self.days):
            is_last = index == len(self.days) - 1
            count = self._orders // len(self.days) + (self._orders % len(self.days) if is_last else 0)
            wrong = min(count // 4, self._wrong_sessions(count))
            early = int((count - 2 * wrong) * EARLY_SHARE)
            until_ns = None if is_last else self.days[index + 1].midnight_ns
            yield Phase(f"{day.day} pre-open", self._pre_open(day, source, wrong), ("orders", "controls"))
            yield Phase(f"{day.day} early orders", self._early(day, source, early), ("orders",))
            yield Phase(f"{day.day} opening", self._opening(day, source), ("raw-feed", "nbbo", "controls"))
            yield Phase(
                f"{day.day} session",
                self._session(day, source, count - 2 * wrong - early),
                ("raw-feed", "nbbo", "orders", "controls"),
            )
            yield Phase(
                f"{day.day} close",
                self._close(day, source, wrong, until_ns),
                ("raw-feed", "nbbo", "orders", "controls"),
            )

    def items(self, ticks: Iterator[Tick]) -> Iterator[Item]:
        """All phases one after the other, without waiting between them."""
        for phase in self.phases(ticks):
            yield from phase.items

    def reference(self) -> Iterator[Item]:
        """Reference data: what `phases` begins with."""
        accounts = [*self._accounts, *limit_accounts(self._prior_closes)]
        return reference_items(self.days, self._prior_closes, accounts, self._schema_ids)

    def _wrong_sessions(self, count: int) -> int:
        """Orders before the pre-open, and as many after the close: a fair part of the bad ones."""
        share = count * self._bad_share / len(FAULTS) / 2
        return max(1, int(share)) if share else 0

    def _pre_open(self, day: TradingDay, source: _Pushback, too_early: int) -> Iterator[Item]:
        """Orders before the session takes any, the clock at its pre-open, and what operations prepare for the day."""
        pre_open_ns = day.midnight_ns + PRE_OPEN_NS
        for time_ns in sorted(pre_open_ns - self._rng.randint(1, 600) * NS_PER_SECOND for _ in range(too_early)):
            yield from self._ticks_until(source, time_ns)
            yield self._wrong_session(time_ns)
        yield from self._ticks_until(source, pre_open_ns)
        yield clock_item(self._schema_ids, f"{self._prefix}-{day.day}-pre-open", pre_open_ns, "orders are taken")
        symbol = next(iter(self._prior_closes))
        yield self._control(
            day, CONTROL_KIND_RESTRICT, pre_open_ns, "knows too much", CONTROL_SCOPE_ACCOUNT, LISTED_ACCOUNT, symbol
        )
        for account_id, located in self._mix.purse.locates:
            yield self._control(
                day,
                CONTROL_KIND_LOCATE,
                pre_open_ns,
                "shares located for short sales",
                CONTROL_SCOPE_ACCOUNT,
                account_id,
                located,
                LOCATED_SHARES,
            )

    def _early(self, day: TradingDay, source: _Pushback, count: int) -> Iterator[Item]:
        """Orders before the opening, evenly over their time, with the ticks up to its end."""
        self._keep_good_till_cancelled()
        length = EARLY_FROM_NS - EARLY_UNTIL_NS
        for number in range(count):
            time_ns = day.open_ns - EARLY_FROM_NS + length * number // count
            yield from self._ticks_until(source, time_ns)
            yield self._new_order(self._mix.draw(time_ns, EARLY_KINDS))
        yield from self._ticks_until(source, day.open_ns - EARLY_UNTIL_NS)

    def _opening(self, day: TradingDay, source: _Pushback) -> Iterator[Item]:
        """The last ticks before the opening, and the clock."""
        yield from self._ticks_until(source, day.open_ns - 1)
        yield clock_item(self._schema_ids, f"{self._prefix}-{day.day}-open", day.open_ns, "the opening")

    def _session(self, day: TradingDay, source: _Pushback, count: int) -> Iterator[Item]:
        """Ticks before the close, `count` commands, and the operator's controls."""
        active = TradingDay(day.day, day.midnight_ns, day.open_ns, day.close_ns - QUIET_NS, day.half_day)
        planned = deque(self._operations(day))
        for time_ns in session_times(random.Random(self._rng.random()), active, count, burst_share=0.01):
            while planned and planned[0][3] <= time_ns:
                yield from self._ticks_until(source, planned[0][3])
                yield planned.popleft()
            yield from self._ticks_until(source, time_ns)
            yield self._command(time_ns, day)
        for control in planned:
            yield from self._ticks_until(source, control[3])
            yield control
        yield from self._ticks_until(source, day.close_ns - 1)

    def _operations(self, day: TradingDay) -> Iterator[Item]:
        """One symbol is halted and reopened, one account killed and resumed; a customer brings cash and takes some out."""
        symbol, account_id = self._halted, self._killed.account_id
        for kind, share, reason, scope, target, *value in (
            (CONTROL_KIND_HALT, HALTED[0], "news pending", CONTROL_SCOPE_SYMBOL, symbol),
            (CONTROL_KIND_UNHALT, HALTED[1], "news is out", CONTROL_SCOPE_SYMBOL, symbol),
            (CONTROL_KIND_DEPOSIT, CASH_MOVED[0], "wire 4711", CONTROL_SCOPE_ACCOUNT, LISTED_ACCOUNT, DEPOSITED_E4),
            (CONTROL_KIND_KILL, KILLED[0], "runaway algorithm", CONTROL_SCOPE_ACCOUNT, account_id),
            (CONTROL_KIND_RESUME, KILLED[1], "algorithm repaired", CONTROL_SCOPE_ACCOUNT, account_id),
            (CONTROL_KIND_WITHDRAWAL, CASH_MOVED[1], "request 12", CONTROL_SCOPE_ACCOUNT, LISTED_ACCOUNT, WITHDRAWN_E4),
        ):
            yield self._control(day, kind, _at(day, share), reason, scope, target, None, *value)

    def _close(self, day: TradingDay, source: _Pushback, late: int, until_ns: int | None) -> Iterator[Item]:
        clock_ns = day.close_ns + CLOSE_CLOCK_NS
        for number in range(late):
            time_ns = day.close_ns + CLOSE_CLOCK_NS * number // late
            yield from self._ticks_until(source, time_ns)
            yield self._wrong_session(time_ns)
        yield from self._ticks_until(source, clock_ns)
        yield clock_item(self._schema_ids, f"{self._prefix}-{day.day}-close", clock_ns, "end of the trading day")
        yield from self._ticks_until(source, until_ns)

    def _control(
        self,
        day: TradingDay,
        kind: int,
        time_ns: int,
        reason: str,
        scope: int,
        target: str,
        symbol: str | None = None,
        value: int | None = None,
    ) -> Item:
        """A control that the trading job answers."""
        control_id = f"{self._prefix}-{day.day}-{len(self.control_ids) + 1}"
        self.control_ids.append(control_id)
        return control_item(self._schema_ids, kind, control_id, time_ns, reason, scope, target, symbol, value)

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
        """One command: a fault, a cancel, a replacement or a new order."""
        rng = self._rng
        draw = rng.random()
        if draw < self._bad_share:
            name = self._faults.choose()
            self.counts[name] += 1
            plain = self._mix.draw(time_ns, PLAIN_KINDS, day)
            account_id, value = self._faults.make(name, plain)
            return "orders", account_id.encode(), value, time_ns
        draw -= self._bad_share
        if draw < self._cancel_share and self._live:
            return self._cancel(time_ns)
        if draw < self._cancel_share + self._replace_share and self._live:
            return self._replace(time_ns)
        account, symbol = None, None
        if _at(day, KILLED[0]) <= time_ns < _at(day, KILLED[1]) and rng.random() < _KILLED_SHARE:
            account = self._killed
        elif _at(day, HALTED[0]) <= time_ns < _at(day, HALTED[1]) and rng.random() < _HALTED_SHARE:
            symbol = self._halted
        return self._new_order(self._mix.draw(time_ns, DAY_KINDS, day, account, symbol=symbol))

    def _new_order(self, order: OrderCommand) -> Item:
        """Send a good order, and remember it when it may rest or wait."""
        live = self._mix.spend(order)
        value = orders.encode(order, self._schema_ids["orders"])
        self.counts["new"] += 1
        self._faults.remember(order, value)
        if self._mix.may_live(order) and (self._mix.waits(order) or self._rng.random() < _CHASED_SHARE):
            self._live.append(live)
            if len(self._live) > _LIVE_CANDIDATES:
                self._live[self._rng.randrange(_LIVE_CANDIDATES)] = self._live.pop()
        return "orders", order.account_id.encode(), value, order.timestamp

    def _cancel(self, time_ns: int) -> Item:
        at = self._rng.randrange(len(self._live))
        self._live[at], self._live[-1] = self._live[-1], self._live[at]
        order = self._live.pop().order
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
            order.stop_price,
            order.stp,
            None,
            time_ns,
        )
        return "orders", order.account_id.encode(), value, time_ns

    def _replace(self, time_ns: int) -> Item:
        """Replace one of the orders that came last, which are the likeliest to live."""
        recent = min(len(self._live), 1 + len(self._live) // 3)
        live = self._live[-self._rng.randint(1, recent)]
        order = self._mix.replacement(live, time_ns)
        self.counts["replace"] += 1
        return "orders", order.account_id.encode(), orders.encode(order, self._schema_ids["orders"]), time_ns

    def _keep_good_till_cancelled(self) -> None:
        """Of the orders of the session before only those live on."""
        self._live = [live for live in self._live if self._mix.outlives_the_day(live.order)]

    def _wrong_session(self, time_ns: int) -> Item:
        """An order outside the session; it would be good within."""
        order = self._mix.draw(time_ns, PLAIN_KINDS)
        self.counts["wrong_session"] += 1
        return "orders", order.account_id.encode(), orders.encode(order, self._schema_ids["orders"]), time_ns


def _at(day: TradingDay, share: float) -> int:
    """The time at a share of the session."""
    return day.open_ns + int((day.close_ns - day.open_ns) * share)


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
