"""Orders for fault tests: no faults among them, no market that moves.

The national best quotes stand still and lie outside the usual limit prices, so that orders meet in the book; accounts are
so rich that nothing is ever refused (`QuietMarket`, which the orders of benchmarks share: many_orders.py).

`DeterministicFlow`: what is matched with what does not depend on how Kafka's partitions interleave, so that a run with
faults can be compared with one without, event by event.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from infra.feeds.items import Item
from infra.feeds.partitions import kafka_partition
from infra.feeds.phases import Phase, clock_item, control_item
from infra.feeds.reference import DOLLAR_E4, TICK_SIZE_E4, account, hard_to_borrow, reference_items
from infra.feeds.sessions import NS_PER_MS, NS_PER_SECOND, PRE_OPEN_NS, TradingDay
from infra.feeds.simulator import symbol_names
from schemas.messages import orders, raw_feed
from schemas.messages.enums import (
    COMMAND_TYPE_CANCEL,
    COMMAND_TYPE_NEW,
    COMMAND_TYPE_REPLACE,
    CONTROL_KIND_HALT,
    CONTROL_KIND_KILL,
    CONTROL_KIND_UNHALT,
    CONTROL_SCOPE_ACCOUNT,
    CONTROL_SCOPE_SYMBOL,
    FEED_FORMAT_LEAN_QUOTE,
    ORDER_TYPE_LIMIT,
    ORDER_TYPE_MARKET,
    ORDER_TYPE_STOP,
    ORDER_TYPE_STOP_LIMIT,
    SIDE_BUY,
    SIDE_SELL,
    SIDE_SELL_SHORT,
    STP_MODE_DECREMENT,
    STP_MODE_EXPIRE_BOTH,
    STP_MODE_EXPIRE_MAKER,
    STP_MODE_EXPIRE_TAKER,
    STP_MODE_NONE,
    TIME_IN_FORCE_CLS,
    TIME_IN_FORCE_DAY,
    TIME_IN_FORCE_FOK,
    TIME_IN_FORCE_GTC,
    TIME_IN_FORCE_IOC,
    TIME_IN_FORCE_OPG,
)
from schemas.messages.reference_data import Account, OpeningPosition
from udfs.domain.sharding import shard_of

MID_E4: Final = 1_000_000
"""Every symbol is traded around $100."""
_REACH: Final = 100
"""Limit prices lie within so many ticks of the mid: $99 to $101."""
_NBBO_DISTANCE: Final = 150
"""The national best quotes lie so many ticks from the mid: $98.50 and $101.50."""
_PARKED: Final = (460, 480)
"""Parked orders lie so many ticks from the mid: no execution gets there, because market orders and stops are collared at
3% from a price between the quotes."""
_FAR_STOP: Final = (600, 800)
"""No print gets there either."""
_REPLACE_SHARE: Final = 0.06
_EARLY_NS: Final = 1_200 * NS_PER_SECOND
_SESSION_NS: Final = 1_800 * NS_PER_SECOND
_STP_MODES: Final = (STP_MODE_EXPIRE_TAKER, STP_MODE_EXPIRE_MAKER, STP_MODE_EXPIRE_BOTH, STP_MODE_DECREMENT)
_SESSION_TIMES: Final = (TIME_IN_FORCE_DAY,) * 12 + (
    TIME_IN_FORCE_GTC,
    TIME_IN_FORCE_IOC,
    TIME_IN_FORCE_IOC,
    TIME_IN_FORCE_FOK,
    TIME_IN_FORCE_FOK,
    TIME_IN_FORCE_CLS,
)
"""Times in force of limit orders near the market."""
CASH_E4: Final = 1_000_000_000 * DOLLAR_E4
SHARES: Final = 10_000_000
_SOURCE: Final = "simulator"


class QuietMarket:
    """What the two workloads share: reference data and quotes that stand still."""

    def __init__(
        self,
        day: TradingDay,
        symbols: list[str],
        accounts: Sequence[Account],
        schema_ids: Mapping[str, int],
        run_id: str,
    ) -> None:
        self.day = day
        self.symbols = symbols
        self.accounts = accounts
        self._schema_ids = schema_ids
        self._run_id = run_id

    def setup(self) -> Iterator[Item]:
        """Reference data and one quote for each symbol: play it, and wait until it has been read, before the orders."""
        yield from self.reference()
        yield from self.quotes()

    def reference(self) -> Iterator[Item]:
        """Instruments, accounts and the session."""
        yield from reference_items([self.day], dict.fromkeys(self.symbols, MID_E4), self.accounts, self._schema_ids)

    def quotes(self) -> Iterator[Item]:
        """One quote of one exchange for each symbol, in two lines, at the open."""
        time_ns = self.day.open_ns
        ms = (time_ns - self.day.midnight_ns) // NS_PER_MS
        bid, ask = (MID_E4 + side * _NBBO_DISTANCE * TICK_SIZE_E4 for side in (-1, 1))
        for symbol in self.symbols:
            feed_id = f"{_SOURCE}/{self._run_id}/{symbol}"
            for sequence, line in enumerate(
                (b"%d,%d,1000,0,0,N,1,0" % (ms, bid), b"%d,0,0,%d,1000,N,1,0" % (ms, ask)), 1
            ):
                value = raw_feed.encode_fields(
                    self._schema_ids["raw-feed"],
                    _SOURCE,
                    FEED_FORMAT_LEAN_QUOTE,
                    feed_id,
                    sequence,
                    symbol,
                    self.day.midnight_ns,
                    line,
                )
                yield "raw-feed", symbol.encode(), value, time_ns


class DeterministicFlow(QuietMarket):
    """A day of every kind of order, whose outcome depends on nothing but the order of the commands.

    All accounts that trade a symbol have the same account shard and the same Kafka partition (murmur2, as Java clients
    and our publisher choose it). So the orders of a symbol are read, checked and matched as they were sent. Whatever
    depends on when one stage hears of another is left out or fenced off:

    - stops are triggered by our own prints only, because quotes stand still;
    - replacements are for orders that no price can have reached (`_PARKED`, `_FAR_STOP`), because whether a replacement
      is too late is said by whichever stage knows it first;
    - who sells short never buys, because the marking of a sale depends on fills;
    - the clock and other controls have a phase of their own.

    Ids and positions are the same in two runs, if both start on empty topics and have one producer.
    """

    def __init__(
        self,
        day: TradingDay,
        schema_ids: Mapping[str, int],
        shards: int,
        partitions: int,
        seed: int = 1,
        symbols: int = 24,
        accounts_per_symbol: int = 3,
        cancel_share: float = 0.12,
        run_id: str = "",
    ) -> None:
        """`shards`: account shards of the trading job. `partitions`: of the orders topic.

        The last of a symbol's accounts is a margin account, which sells short.
        """
        if min(shards, partitions, symbols) < 1 or accounts_per_symbol < 2 or not 0 <= cancel_share <= 0.5:
            raise ValueError(
                "shards, partitions and symbols must be positive, accounts at least 2, cancel_share 0 to 0.5"
            )
        names = symbol_names(symbols)
        groups: dict[tuple[int, int], list[str]] = {}
        self._members: dict[str, list[str]] = {}
        candidate = 0
        for number, symbol in enumerate(names):
            group = number % shards, number // shards % partitions
            members = groups.setdefault(group, [])
            while len(members) < accounts_per_symbol:
                candidate += 1
                account_id = f"DET-{candidate:06d}"
                place = shard_of(account_id, shards), kafka_partition(account_id.encode(), partitions)
                groups.setdefault(place, []).append(account_id)
            self._members[symbol] = members[:accounts_per_symbol]
        sellers = {members[-1] for members in self._members.values()}
        accounts = [
            account(
                member,
                CASH_E4,
                [] if member in sellers else [OpeningPosition(s, SHARES) for s in names if member in self._members[s]],
                margin=member in sellers,
            )
            for member in sorted({member for members in self._members.values() for member in members})
        ]
        super().__init__(day, names, accounts, schema_ids, run_id or f"DET{seed}")
        self._seed = seed
        self._cancel_share = cancel_share
        self._hard = frozenset(hard_to_borrow(names))
        self._rng = random.Random(f"deterministic-{seed}")
        self._number = 0
        self._sent: list[_Sent] = []
        self._parked: list[_Sent] = []

    def phases(self, count: int, early: int | None = None) -> Iterator[Phase]:
        """The day with `count` commands; each phase must have been taken before the next one is played.

        early: how many of them come before the opening, a twentieth by default.
        """
        day, prefix = self.day, self._run_id
        early = count // 20 if early is None else early
        pre_open_ns = day.midnight_ns + PRE_OPEN_NS
        yield Phase("reference", self.reference(), ("reference-data",))
        clock = clock_item(self._schema_ids, f"{prefix}-pre-open", pre_open_ns, "orders are taken")
        yield Phase("pre-open", iter((clock,)), ("controls",))
        yield Phase(
            "early", self._commands(early, day.open_ns - _EARLY_NS, _EARLY_NS // 2, self._early_order), ("orders",)
        )
        clock = clock_item(self._schema_ids, f"{prefix}-open", day.open_ns, "the opening")
        yield Phase("opening", iter((clock,)), ("controls",))
        yield Phase("quotes", self.quotes(), ("raw-feed", "nbbo"))
        session = self._commands(count - early, day.open_ns + NS_PER_SECOND, _SESSION_NS, self._session_order)
        yield Phase("session", session, ("orders",))
        yield Phase("close", self._ending(), ("controls",))

    def _ending(self) -> Iterator[Item]:
        """An account is killed, a symbol halted and reopened, and the day ends: in this order, by one topic."""
        day, ids = self.day, self._schema_ids
        time_ns = day.open_ns + _SESSION_NS + NS_PER_SECOND
        killed, halted = self._members[self.symbols[0]][0], self.symbols[-1]
        for kind, scope, target in (
            (CONTROL_KIND_KILL, CONTROL_SCOPE_ACCOUNT, killed),
            (CONTROL_KIND_HALT, CONTROL_SCOPE_SYMBOL, halted),
            (CONTROL_KIND_UNHALT, CONTROL_SCOPE_SYMBOL, halted),
        ):
            yield control_item(ids, kind, f"{self._run_id}-{kind}", time_ns, "test", scope, target)
        yield clock_item(ids, f"{self._run_id}-close", day.close_ns + 1, "the session is over")

    def _commands(self, count: int, from_ns: int, length_ns: int, new: Callable[[int], _Sent]) -> Iterator[Item]:
        """Commands evenly over a time; the same for the same arguments."""
        rng = self._rng
        for number in range(count):
            time_ns = from_ns + length_ns * number // count
            draw = rng.random()
            if draw < self._cancel_share and self._sent:
                sent = self._sent.pop(rng.randrange(len(self._sent)))
                if sent in self._parked:
                    self._parked.remove(sent)
                yield self._item(sent._replace(command=COMMAND_TYPE_CANCEL), time_ns)
            elif draw < self._cancel_share + _REPLACE_SHARE and self._parked:
                yield self._item(self._replacement(), time_ns)
            else:
                sent = new(self._number)
                self._number += 1
                self._sent.append(sent)
                if len(self._sent) > 2_000:
                    self._sent.pop(0)
                yield self._item(sent, time_ns)

    def _item(self, sent: _Sent, time_ns: int) -> Item:
        value = orders.encode_fields(self._schema_ids["orders"], *sent, None, time_ns)
        return "orders", sent.account_id.encode(), value, time_ns

    def _order(
        self, number: int, order_type: int, time_in_force: int, price: int | None, stop_price: int | None, is_buy: bool
    ) -> _Sent:
        """An order of one of its symbol's accounts."""
        rng = self._rng
        symbol = rng.choice(self.symbols)
        members = self._members[symbol]
        side = SIDE_BUY if is_buy else SIDE_SELL
        account_id = rng.choice(members[:-1])
        if not is_buy and symbol not in self._hard and rng.random() < 0.3:
            side, account_id = SIDE_SELL_SHORT, members[-1]
        return _Sent(
            COMMAND_TYPE_NEW,
            f"{self._run_id}-{number:07d}",
            account_id,
            symbol,
            side,
            order_type,
            time_in_force,
            rng.randint(1, 99) if rng.random() < 0.1 else 100 * rng.randint(1, 10),
            price,
            stop_price,
            rng.choice(_STP_MODES) if rng.random() < 0.3 else STP_MODE_NONE,
        )

    def _early_order(self, number: int) -> _Sent:
        """An order before the opening: for its auction, for the close, or for as long as it takes."""
        rng = self._rng
        is_buy = rng.random() < 0.5
        time_in_force = rng.choice((TIME_IN_FORCE_OPG,) * 4 + (TIME_IN_FORCE_CLS, TIME_IN_FORCE_DAY, TIME_IN_FORCE_GTC))
        if time_in_force in (TIME_IN_FORCE_OPG, TIME_IN_FORCE_CLS) and rng.random() < 0.4:
            return self._order(number, ORDER_TYPE_MARKET, time_in_force, None, None, is_buy)
        return self._order(number, ORDER_TYPE_LIMIT, time_in_force, _near(rng, is_buy), None, is_buy)

    def _session_order(self, number: int) -> _Sent:
        """An order of continuous trading."""
        rng = self._rng
        is_buy = rng.random() < 0.5
        away = 1 if is_buy else -1
        draw = rng.random()
        if draw < 0.06:
            distance = rng.randint(*_PARKED)
            sent = self._order(
                number, ORDER_TYPE_LIMIT, _waiting(rng), MID_E4 - away * distance * TICK_SIZE_E4, None, is_buy
            )
            self._parked.append(sent)
            return sent
        if draw < 0.10:
            stop = MID_E4 + away * rng.randint(*_FAR_STOP) * TICK_SIZE_E4
            sent = self._order(
                number, ORDER_TYPE_STOP_LIMIT, _waiting(rng), stop + away * 5 * TICK_SIZE_E4, stop, is_buy
            )
            self._parked.append(sent)
            return sent
        if draw < 0.24:
            stop = MID_E4 + away * rng.randint(5, 30) * TICK_SIZE_E4
            if draw < 0.18:
                return self._order(number, ORDER_TYPE_STOP, _waiting(rng), None, stop, is_buy)
            limit = stop + away * rng.randint(0, 10) * TICK_SIZE_E4
            return self._order(number, ORDER_TYPE_STOP_LIMIT, _waiting(rng), limit, stop, is_buy)
        if draw < 0.28:
            return self._order(number, ORDER_TYPE_MARKET, TIME_IN_FORCE_IOC, None, None, is_buy)
        if draw < 0.31:
            return self._order(number, ORDER_TYPE_MARKET, TIME_IN_FORCE_CLS, None, None, is_buy)
        time_in_force = rng.choice(_SESSION_TIMES)
        return self._order(number, ORDER_TYPE_LIMIT, time_in_force, _near(rng, is_buy), None, is_buy)

    def _replacement(self) -> _Sent:
        """New terms for an order that is parked: smaller, larger, elsewhere, or into the market, from where it is let go."""
        rng = self._rng
        old = self._parked[rng.randrange(len(self._parked))]
        away = 1 if old.side == SIDE_BUY else -1
        draw = rng.random()
        if draw < 0.3:
            new = old._replace(quantity=max(1, old.quantity // 2))
        elif draw < 0.5:
            new = old._replace(quantity=old.quantity + 100)
        elif old.stop_price is None:
            distance = rng.randint(*_PARKED) if draw < 0.75 else rng.randint(-20, 20)
            new = old._replace(price=MID_E4 - away * distance * TICK_SIZE_E4)
        else:
            distance = rng.randint(*_FAR_STOP) if draw < 0.75 else rng.randint(0, 30)
            stop = MID_E4 + away * distance * TICK_SIZE_E4
            new = old._replace(price=stop + away * 5 * TICK_SIZE_E4, stop_price=stop)
        self._parked.remove(old)
        if draw < 0.75:
            self._parked.append(new)
        if old in self._sent:
            self._sent[self._sent.index(old)] = new
        return new._replace(command=COMMAND_TYPE_REPLACE)


class _Sent(NamedTuple):
    """A command as it was sent, in the order of the schema's fields."""

    command: int
    order_id: str
    account_id: str
    symbol: str
    side: int
    order_type: int
    time_in_force: int
    quantity: int
    price: int | None
    stop_price: int | None
    stp: int


def _near(rng: random.Random, is_buy: bool) -> int:
    """A limit price around the mid."""
    lean = -8 if is_buy else 8
    return MID_E4 + TICK_SIZE_E4 * (lean + rng.randint(-20, 20))


def _waiting(rng: random.Random) -> int:
    return TIME_IN_FORCE_GTC if rng.random() < 0.2 else TIME_IN_FORCE_DAY
