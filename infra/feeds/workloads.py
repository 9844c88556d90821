"""Orders for fault tests and benchmarks: no faults among them, no market that moves.

In both the national best quotes stand still and lie outside every limit price, so that orders meet in the book only;
accounts are so rich that nothing is ever refused.

- `DeterministicFlow`: what is matched with what does not depend on how Kafka's partitions interleave, so that a run
  with faults can be compared with one without, event by event.
- `BenchFlow`: as many orders as wanted, fast to make, about 0.7 trades an order.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Final

from infra.feeds.items import Item
from infra.feeds.partitions import kafka_partition
from infra.feeds.reference import DOLLAR_E4, MAX_POSITION, TICK_SIZE_E4, account, reference_items
from infra.feeds.sessions import NS_PER_MS, NS_PER_SECOND, TradingDay
from infra.feeds.simulator import symbol_names
from schemas.messages import orders, raw_feed
from schemas.messages.enums import (
    COMMAND_TYPE_CANCEL,
    COMMAND_TYPE_NEW,
    FEED_FORMAT_LEAN_QUOTE,
    ORDER_TYPE_LIMIT,
    SIDE_BUY,
    SIDE_SELL,
    STP_MODE_NONE,
    TIME_IN_FORCE_DAY,
    TIME_IN_FORCE_IOC,
)
from schemas.messages.reference_data import Account, OpeningPosition
from udfs.domain.sharding import shard_of

MID_E4: Final = 1_000_000
"""Every symbol is traded around $100."""
_REACH: Final = 100
"""Limit prices lie within so many ticks of the mid: $99 to $101."""
_NBBO_DISTANCE: Final = 150
"""The national best quotes lie so many ticks from the mid: $98.50 and $101.50."""
_CASH: Final = 1_000_000_000 * DOLLAR_E4
_SHARES: Final = 10_000_000
_SOURCE: Final = "simulator"


class _QuietMarket:
    """What the two workloads share: reference data and quotes that stand still."""

    def __init__(
        self, day: TradingDay, symbols: list[str], accounts: list[Account], schema_ids: Mapping[str, int], run_id: str
    ) -> None:
        self.day = day
        self.symbols = symbols
        self.accounts = accounts
        self._schema_ids = schema_ids
        self._run_id = run_id

    def setup(self) -> Iterator[Item]:
        """Reference data and one quote for each symbol: play it, and wait until it has been read, before the orders."""
        yield from reference_items([self.day], dict.fromkeys(self.symbols, MID_E4), self.accounts, self._schema_ids)
        yield from self.quotes()

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


class DeterministicFlow(_QuietMarket):
    """Limit orders and cancels whose outcome depends on nothing but their own order.

    All accounts that trade a symbol have the same account shard and the same Kafka partition (murmur2, as Java clients
    and our publisher choose it). So the orders of a symbol are read, checked and matched as they were sent.
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
        cancel_share: float = 0.15,
        run_id: str = "",
    ) -> None:
        """`shards`: account shards of the trading job. `partitions`: of the orders topic."""
        if min(shards, partitions, symbols, accounts_per_symbol) < 1 or not 0 <= cancel_share <= 0.5:
            raise ValueError("shards, partitions, symbols and accounts must be positive, cancel_share 0 to 0.5")
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
        accounts = [
            account(member, _CASH, [OpeningPosition(s, _SHARES) for s in names if member in self._members[s]])
            for member in sorted({member for members in self._members.values() for member in members})
        ]
        super().__init__(day, names, accounts, schema_ids, run_id or f"DET{seed}")
        self._seed = seed
        self._cancel_share = cancel_share

    def orders(self, count: int) -> Iterator[Item]:
        """`count` commands over the first half hour of the session; the same for the same arguments."""
        rng = random.Random(f"deterministic-{self._seed}")
        schema_id = self._schema_ids["orders"]
        sent: list[tuple[str, str, str, int, int, int]] = []
        for number in range(count):
            time_ns = self.day.open_ns + NS_PER_SECOND + 1_800 * NS_PER_SECOND * number // max(count, 1)
            if sent and rng.random() < self._cancel_share:
                command = COMMAND_TYPE_CANCEL
                order_id, account_id, symbol, side, quantity, price = sent.pop(rng.randrange(len(sent)))
            else:
                command = COMMAND_TYPE_NEW
                symbol = rng.choice(self.symbols)
                account_id = rng.choice(self._members[symbol])
                side = rng.choice((SIDE_BUY, SIDE_SELL))
                quantity = 100 * rng.randint(1, 10)
                lean = -1 if side == SIDE_BUY else 1
                price = MID_E4 + TICK_SIZE_E4 * (lean * 8 + rng.randint(-20, 20))
                order_id = f"{self._run_id}-{number:07d}"
                sent.append((order_id, account_id, symbol, side, quantity, price))
                if len(sent) > 2_000:
                    sent.pop(0)
            value = orders.encode_fields(
                schema_id,
                command,
                order_id,
                account_id,
                symbol,
                side,
                ORDER_TYPE_LIMIT,
                TIME_IN_FORCE_DAY,
                quantity,
                price,
                None,
                STP_MODE_NONE,
                None,
                time_ns,
            )
            yield "orders", account_id.encode(), value, time_ns


class BenchFlow(_QuietMarket):
    """Limit orders over many symbols and accounts, for throughput: nothing is drawn that can be prepared."""

    def __init__(
        self,
        day: TradingDay,
        schema_ids: Mapping[str, int],
        seed: int = 1,
        symbols: int = 128,
        accounts: int = 1_024,
        run_id: str = "",
    ) -> None:
        """Accounts hold every symbol."""
        names = symbol_names(symbols)
        # One list for all: it is only read, and a million positions would take a while to make.
        positions = [OpeningPosition(symbol, _SHARES) for symbol in names]
        holders = [account(f"BEN-{n:05d}", _CASH, positions, max_position=MAX_POSITION) for n in range(1, accounts + 1)]
        super().__init__(day, names, holders, schema_ids, run_id or f"BEN{seed}")
        self._seed = seed

    def orders(self, count: int) -> Iterator[Item]:
        """`count` new orders, one in eight of them IOC, over the session's first hour."""
        rng = random.Random(f"bench-{self._seed}")
        schema_id = self._schema_ids["orders"]
        account_ids = [holder.account_id for holder in self.accounts]
        keys = {account_id: account_id.encode() for account_id in account_ids}
        offsets = list(range(-_BENCH_REACH, _BENCH_REACH + 1))
        quantities = [100, 100, 200, 300, 500]
        tifs = [TIME_IN_FORCE_DAY] * 7 + [TIME_IN_FORCE_IOC]
        start_ns = self.day.open_ns + NS_PER_SECOND
        step_ns = 3_600 * NS_PER_SECOND // max(count, 1)
        encode = orders.encode_fields
        for first in range(0, count, _BENCH_CHUNK):
            size = min(_BENCH_CHUNK, count - first)
            # Drawing by the thousand costs a fifth of drawing one by one.
            drawn = zip(
                rng.choices(account_ids, k=size),
                rng.choices(self.symbols, k=size),
                rng.choices((SIDE_BUY, SIDE_SELL), k=size),
                rng.choices(offsets, k=size),
                rng.choices(quantities, k=size),
                rng.choices(tifs, k=size),
                strict=True,
            )
            for number, (account_id, symbol, side, offset, quantity, tif) in enumerate(drawn, first):
                time_ns = start_ns + step_ns * number
                price = MID_E4 + TICK_SIZE_E4 * (offset + _BENCH_LEAN if side == SIDE_BUY else offset - _BENCH_LEAN)
                value = encode(
                    schema_id,
                    COMMAND_TYPE_NEW,
                    f"{self._run_id}-{number}",
                    account_id,
                    symbol,
                    side,
                    ORDER_TYPE_LIMIT,
                    tif,
                    quantity,
                    price,
                    None,
                    STP_MODE_NONE,
                    None,
                    time_ns,
                )
                yield "orders", keys[account_id], value, time_ns


_BENCH_CHUNK: Final = 4_096
_BENCH_REACH: Final = 10
_BENCH_LEAN: Final = 2
"""Buys lie around so many ticks above the mid, sells below: found by trying, for 0.7 trades an order."""
