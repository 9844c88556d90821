"""A market that does not exist but behaves: seeded, deterministic, lazy, with flat memory.

Each symbol has a mid price that walks in ticks of a cent, a half spread, and a quote on each exchange, at the
inside or a few ticks behind it. Before the mid may move again every exchange that the last move would have left
locked or crossed is requoted, so the consolidated market is never crossed for long, as real ones are not. Activity
differs between symbols (a Zipf law), follows a U over the day and comes in bursts. Quotes are one-sided lines in
Lean's format, like those of tick files, but state what each exchange shows (Lean's equity files state only the
national best).

A known share of the records is bad, each kind with one sure outcome in the market data job; `counts` says how many
of what were made so far, exactly, so that a test can compare.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from infra.feeds.items import Tick
from infra.feeds.sessions import NS_PER_MS, NS_PER_SECOND, TradingDay, session_times
from schemas.messages.enums import FEED_FORMAT_LEAN_QUOTE, FEED_FORMAT_LEAN_TRADE, FEED_FORMAT_UNKNOWN
from schemas.messages.raw_feed import RawFeedRecord

SOURCE: Final = "simulator"
TICK_E4: Final = 100
"""Price step of the simulated market, $0.01."""

BAD_KINDS: Final = {
    "truncated": "UNDECODABLE",
    "negative_price": "INVALID_VALUE",
    "duplicate": "DUPLICATE_EVENT",
    "unknown_format": "UNSUPPORTED",
}
"""Kinds of bad records, and the reason of the dead letter that each one becomes."""

_EXCHANGES: Final = (b"N", b"Q", b"P", b"Z", b"K", b"Y", b"J", b"B", b"V", b"U")
_REGULAR: Final = b"1"
_SALE_CONDITIONS: Final = (b"1", b"1", b"1", b"20000020")
_ODD_LOT: Final = b"80000001"
_TRADE_SHARE: Final = 0.15
_MOVE_SHARE: Final = 0.10
_WITHDRAWAL_SHARE: Final = 0.002
_PREOPEN_NS: Final = 60 * NS_PER_SECOND
_STEMS: Final = ("ACME", "BOLT", "CRUX", "DELT", "ECHO", "FLUX", "GRID", "HALO", "IRIS", "JADE")


def symbol_names(count: int) -> list[str]:
    """Invented symbols: ACME, BOLT ... JADE, ACME1, BOLT1 ..., which cannot be taken for real ones."""
    return [_STEMS[i % len(_STEMS)] + (str(i // len(_STEMS)) if i >= len(_STEMS) else "") for i in range(count)]


@dataclass(slots=True)
class SimulatedSymbol:
    """One symbol's market. Prices in ticks (`mid`, `half_spread`, quotes; 0: no quote), sizes in shares."""

    name: str
    mid: int
    half_spread: int
    bids: list[int]
    asks: list[int]
    feed_id: str
    sequence: int = 0
    last: RawFeedRecord | None = field(default=None, repr=False)


class MarketSimulator:
    """Makes the ticks of one trading day. One use: `ticks()` may be iterated once."""

    def __init__(
        self,
        day: TradingDay,
        seed: int = 1,
        symbols: int | Sequence[str] = 40,
        events: int = 200_000,
        exchanges: int = 5,
        bad_share: float = 0.002,
    ) -> None:
        """`events`: records in all, bad ones among them. `bad_share`: share of bad ones, 0 to 0.5.

        Raises ValueError when an argument is out of range.
        """
        names = symbol_names(symbols) if isinstance(symbols, int) else list(symbols)
        if not names or len(set(names)) != len(names):
            raise ValueError("the simulator needs at least one symbol, each of them once")
        if not 1 <= exchanges <= len(_EXCHANGES):
            raise ValueError(f"exchanges must be 1 to {len(_EXCHANGES)}, not {exchanges}")
        if events < 0 or not 0 <= bad_share <= 0.5:
            raise ValueError(f"events must not be negative ({events}), bad_share must be 0 to 0.5 ({bad_share})")
        self.day = day
        self.events = events
        self.bad_share = bad_share
        self.counts: Counter[str] = Counter()
        """Records made so far: `quote`, `trade`, and the kinds of BAD_KINDS."""
        self._rng = random.Random(f"market-{seed}-{day.day}")
        self._exchanges = _EXCHANGES[:exchanges]
        self.symbols = [self._new_symbol(name, seed) for name in names]
        self._weights = list(accumulate(1 / (rank + 5) for rank in range(len(names))))
        self._started = False

    def prior_closes(self) -> dict[str, int]:
        """Close of the day before by symbol, price e4: where the walk begins. Call it before `ticks`."""
        return {symbol.name: symbol.mid * TICK_E4 for symbol in self.symbols}

    def expected_dead_letters(self) -> dict[str, int]:
        """Dead letters of the market data job for the records made so far, by reason."""
        return {reason: self.counts[kind] for kind, reason in BAD_KINDS.items() if self.counts[kind]}

    def ticks(self) -> Iterator[Tick]:
        """The day in time order: every exchange's first quotes in the minute before the open, then the session."""
        if self._started:
            raise RuntimeError("a simulator plays its day once; make a new one with the same seed to play it again")
        self._started = True
        opening = self._opening()
        made = 0
        for tick in opening:
            if made == self.events:
                return
            made += 1
            yield tick
        rng = self._rng
        total = self._weights[-1]
        # Times have a generator of their own, so that they do not depend on what happens at them.
        clock = session_times(random.Random(rng.random()), self.day, self.events - made)
        for time_ns in clock:
            symbol = self.symbols[bisect_right(self._weights, rng.random() * total)]
            bad = rng.random() < self.bad_share
            record = self._bad_record(symbol, time_ns) if bad else self._good_record(symbol, time_ns)
            yield Tick(time_ns, record)

    def _new_symbol(self, name: str, seed: int) -> SimulatedSymbol:
        rng = self._rng
        count = len(self._exchanges)
        return SimulatedSymbol(
            name=name,
            mid=rng.randint(1_500, 40_000),
            half_spread=rng.choice((1, 1, 2, 3)),
            bids=[0] * count,
            asks=[0] * count,
            feed_id=f"{SOURCE}/{seed}/{self.day.day}/{name}",
        )

    def _opening(self) -> Iterator[Tick]:
        lines = len(self.symbols) * len(self._exchanges) * 2
        number = 0
        for exchange in range(len(self._exchanges)):
            for symbol in self.symbols:
                for is_bid in (True, False):
                    step = _PREOPEN_NS * number // lines // NS_PER_MS * NS_PER_MS
                    time_ns = self.day.open_ns - _PREOPEN_NS + step
                    number += 1
                    yield Tick(time_ns, self._quote(symbol, exchange, is_bid, time_ns))

    def _good_record(self, symbol: SimulatedSymbol, time_ns: int) -> RawFeedRecord:
        rng = self._rng
        if rng.random() < _TRADE_SHARE:
            return self._trade(symbol, time_ns)
        mid = symbol.mid
        for exchange in range(len(self._exchanges)):
            # An exchange that a move left at or through the mid follows at once.
            if symbol.bids[exchange] >= mid:
                return self._quote(symbol, exchange, True, time_ns)
            if 0 < symbol.asks[exchange] <= mid:
                return self._quote(symbol, exchange, False, time_ns)
        if rng.random() < _MOVE_SHARE:
            symbol.mid = max(100, mid + rng.choice((-1, 1)))
            symbol.half_spread = max(1, min(5, symbol.half_spread + rng.choice((-1, 0, 0, 0, 1))))
        return self._quote(symbol, rng.randrange(len(self._exchanges)), rng.random() < 0.5, time_ns)

    def _quote(self, symbol: SimulatedSymbol, exchange: int, is_bid: bool, time_ns: int) -> RawFeedRecord:
        rng = self._rng
        distance = symbol.half_spread + rng.choice((0, 0, 1, 1, 2, 3))
        price = max(1, symbol.mid - distance) if is_bid else symbol.mid + distance
        size = 0 if rng.random() < _WITHDRAWAL_SHARE else 100 * rng.choice((1, 1, 2, 3, 5, 8))
        (symbol.bids if is_bid else symbol.asks)[exchange] = price if size else 0
        sides = (price * TICK_E4, size, 0, 0) if is_bid else (0, 0, price * TICK_E4, size)
        line = b"%d,%d,%d,%d,%d,%s,%s,0" % (self._ms(time_ns), *sides, self._exchanges[exchange], _REGULAR)
        self.counts["quote"] += 1
        return self._record(symbol, FEED_FORMAT_LEAN_QUOTE, line)

    def _trade(self, symbol: SimulatedSymbol, time_ns: int) -> RawFeedRecord:
        rng = self._rng
        price = max(1, symbol.mid + rng.choice((-1, 1)) * symbol.half_spread)
        size, condition = 100 * rng.choice((1, 1, 1, 2, 3, 5)), rng.choice(_SALE_CONDITIONS)
        if rng.random() < 0.1:
            size, condition = rng.randint(1, 99), _ODD_LOT
        line = b"%d,%d,%d,%s,%s,0" % (self._ms(time_ns), price * TICK_E4, size, rng.choice(self._exchanges), condition)
        self.counts["trade"] += 1
        return self._record(symbol, FEED_FORMAT_LEAN_TRADE, line)

    def _bad_record(self, symbol: SimulatedSymbol, time_ns: int) -> RawFeedRecord:
        """A record that must become a dead letter. It says nothing about the market that the simulation believes."""
        rng = self._rng
        kind = rng.choice(tuple(BAD_KINDS))
        if kind == "duplicate" and symbol.last is None:
            kind = "truncated"
        self.counts[kind] += 1
        if kind == "duplicate" and symbol.last is not None:
            return symbol.last
        price = symbol.mid * TICK_E4
        fields = [b"%d" % self._ms(time_ns), b"%d" % price, b"100", b"0", b"0", self._exchanges[0], _REGULAR, b"0"]
        record_format = FEED_FORMAT_LEAN_QUOTE
        if kind == "truncated":
            fields = fields[: rng.randint(1, 7)]
        elif kind == "negative_price":
            fields[1] = b"-" + fields[1]
        else:
            record_format = FEED_FORMAT_UNKNOWN
        return self._record(symbol, record_format, b",".join(fields))

    def _record(self, symbol: SimulatedSymbol, record_format: int, line: bytes) -> RawFeedRecord:
        symbol.sequence += 1
        symbol.last = RawFeedRecord(
            SOURCE, record_format, symbol.feed_id, symbol.sequence, symbol.name, self.day.midnight_ns, line
        )
        return symbol.last

    def _ms(self, time_ns: int) -> int:
        return (time_ns - self.day.midnight_ns) // NS_PER_MS
