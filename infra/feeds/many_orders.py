"""Orders for benchmarks: as many as wanted, fast to make, from as many accounts; no faults, no market that moves.

The quotes, the reference data and how rich accounts are: as in workloads.py.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, overload

from infra.feeds.items import Item
from infra.feeds.reference import MAX_POSITION, TICK_SIZE_E4, account
from infra.feeds.sessions import NS_PER_SECOND, TradingDay
from infra.feeds.simulator import symbol_names
from infra.feeds.workloads import CASH_E4, MID_E4, SHARES, QuietMarket
from schemas.messages import orders
from schemas.messages.enums import (
    COMMAND_TYPE_NEW,
    ORDER_TYPE_LIMIT,
    SIDE_BUY,
    SIDE_SELL,
    STP_MODE_NONE,
    TIME_IN_FORCE_DAY,
    TIME_IN_FORCE_IOC,
)
from schemas.messages.reference_data import Account, OpeningPosition

_CHUNK: Final = 4_096
_REACH: Final = 10
_LEAN: Final = 2
"""Buys lie around so many ticks above the mid, sells below: found by trying, for 0.7 trades an order."""
_RESTING_LEAN: Final = 30
"""Buys that rest lie around so many ticks below the mid, sells above."""


class BenchFlow(QuietMarket):
    """Limit orders over many symbols and accounts: about 0.7 trades an order, or none at all (`resting`).

    Nothing is drawn that can be prepared.
    """

    def __init__(
        self,
        day: TradingDay,
        schema_ids: Mapping[str, int],
        seed: int = 1,
        symbols: int = 128,
        accounts: int = 1_024,
        run_id: str = "",
        holdings: int = 0,
    ) -> None:
        """`holdings`: how many symbols each account holds and trades, 0 for all.

        Raises ValueError when an account cannot hold so many.
        """
        if not 0 <= holdings <= symbols:
            raise ValueError(f"holdings must be 0 to {symbols}, the number of symbols, not {holdings}")
        names = symbol_names(symbols)
        super().__init__(day, names, _Holders(accounts, names, holdings), schema_ids, run_id or f"BEN{seed}")
        self._seed = seed
        self._holdings = holdings

    def orders(self, count: int, *, symbol: float = 0.0, account: float = 0.0, resting: bool = False) -> Iterator[Item]:
        """`count` new orders, one in eight of them IOC, over the session's first hour.

        symbol, account: the share of the orders that meet in the first symbol, or come from the first account, beyond what
        falls to it anyway; the first symbol is that of all accounts, so that they must hold every symbol. resting: buys lie
        below all sells and none is IOC, so that all of them rest.
        """
        if symbol and self._holdings:
            raise ValueError("orders can meet in one symbol only when every account holds it")
        rng = random.Random(f"bench-{self._seed}")
        schema_id = self._schema_ids["orders"]
        names, holdings = self.symbols, self._holdings
        account_numbers, places = range(len(self.accounts)), range(holdings or len(names))
        account_weights, symbol_weights = _skewed(len(account_numbers), account), _skewed(len(places), symbol)
        offsets = list(range(-_REACH, _REACH + 1))
        lean = -_RESTING_LEAN if resting else _LEAN
        quantities = [100, 100, 200, 300, 500]
        tifs = [TIME_IN_FORCE_DAY] if resting else [TIME_IN_FORCE_DAY] * 7 + [TIME_IN_FORCE_IOC]
        start_ns = self.day.open_ns + NS_PER_SECOND
        step_ns = 3_600 * NS_PER_SECOND // max(count, 1)
        encode = orders.encode_fields
        for first in range(0, count, _CHUNK):
            size = min(_CHUNK, count - first)
            # Drawing by the thousand costs a fifth of drawing one by one.
            drawn = zip(
                rng.choices(account_numbers, cum_weights=account_weights, k=size),
                rng.choices(places, cum_weights=symbol_weights, k=size),
                rng.choices((SIDE_BUY, SIDE_SELL), k=size),
                rng.choices(offsets, k=size),
                rng.choices(quantities, k=size),
                rng.choices(tifs, k=size),
                strict=True,
            )
            for number, (holder, place, side, offset, quantity, tif) in enumerate(drawn, first):
                time_ns = start_ns + step_ns * number
                price = MID_E4 + TICK_SIZE_E4 * (offset + lean if side == SIDE_BUY else offset - lean)
                account_id = _holder_id(holder)
                value = encode(
                    schema_id,
                    COMMAND_TYPE_NEW,
                    f"{self._run_id}-{number}",
                    account_id,
                    names[(holder * holdings + place) % len(names)],
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
                yield "orders", account_id.encode(), value, time_ns


class _Holders(Sequence[Account]):
    """The accounts of `BenchFlow`, each made when it is asked for: a million of them would be half a gigabyte.

    Account n holds `holdings` symbols from number n * `holdings` on, round and round; all of them when it is 0.
    """

    def __init__(self, count: int, symbols: list[str], holdings: int) -> None:
        self._count, self._holdings = count, holdings
        # One list for each account's share of them, because they are only read.
        self._positions = [OpeningPosition(symbol, SHARES) for symbol in symbols]

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, number: int) -> Account: ...
    @overload
    def __getitem__(self, number: slice) -> list[Account]: ...
    def __getitem__(self, number: int | slice) -> Account | list[Account]:
        if isinstance(number, slice):
            return [self[place] for place in range(*number.indices(self._count))]
        if not 0 <= number < self._count:
            raise IndexError(number)
        held, every = self._positions, len(self._positions)
        if self._holdings:
            first = number * self._holdings
            held = [held[(first + place) % every] for place in range(self._holdings)]
        return account(_holder_id(number), CASH_E4, held, max_position=MAX_POSITION)


def _holder_id(number: int) -> str:
    """The id of an account of `BenchFlow`, from 0."""
    return f"BEN-{number + 1:05d}"


def _skewed(places: int, share: float) -> list[float] | None:
    """Cumulative weights that give the first of `places` so large a share, beside its even part; None when all are even."""
    return [share + (1 - share) * place / places for place in range(1, places + 1)] if share else None
