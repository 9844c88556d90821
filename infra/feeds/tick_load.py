"""Ticks for benchmarks of the market data job: many, cheap to make, all of them good, in the form of Lean's files.

One line in five is a trade of a round lot, the others are two-sided quotes of one of five exchanges around a price that stands
nearly still, so that no exchange crosses another. Each symbol is a feed of its own, whose sequence has no holes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

from infra.feeds.items import Item
from infra.feeds.sessions import NS_PER_MS, TradingDay
from infra.feeds.simulator import symbol_names
from schemas.messages import raw_feed
from schemas.messages.enums import FEED_FORMAT_LEAN_QUOTE, FEED_FORMAT_LEAN_TRADE

_SOURCE: Final = "bench"
_EXCHANGES: Final = ("K", "N", "P", "Q", "Z")
_MID_E4: Final = 1_000_000
_TICK_E4: Final = 100
_CHUNK: Final = 4_096
_TRADE_SHARE: Final = 0.2


class TickLoad:
    """Ticks of some symbols; the first one may have a share of the traffic of its own."""

    def __init__(
        self, day: TradingDay, schema_id: int, symbols: int = 128, first_share: float | None = None, seed: int = 1
    ) -> None:
        """first_share: part of the ticks that are the first symbol's; None: all symbols have alike.

        Raises ValueError when it is not between 0 and 1, or there is no symbol.
        """
        if symbols < 1 or (first_share is not None and not 0.0 <= first_share <= 1.0):
            raise ValueError(f"symbols={symbols} must be positive and first_share={first_share} between 0 and 1")
        self.symbols = symbol_names(symbols)
        self._day = day
        self._schema_id = schema_id
        self._seed = seed
        self._run = f"{_SOURCE}/{seed}"
        self._sequences = dict.fromkeys(self.symbols, 0)
        rest = symbols - 1
        if first_share is None or rest == 0:
            self._weights = [1.0] * symbols
        else:
            self._weights = [first_share, *[(1.0 - first_share) / rest] * rest]
        self._time_ns = day.open_ns

    def ticks(self, count: int, per_s: float) -> Iterator[Item]:
        """`count` more ticks, `per_s` in a second of event time; times go on where the last call ended."""
        rng = random.Random(f"{self._run}-{self._time_ns}")
        step_ns = round(1e9 / per_s)
        encode, schema_id, midnight_ns = raw_feed.encode_fields, self._schema_id, self._day.midnight_ns
        keys = {symbol: symbol.encode() for symbol in self.symbols}
        for first in range(0, count, _CHUNK):
            size = min(_CHUNK, count - first)
            # Drawing by the thousand costs a fifth of drawing one by one.
            drawn = zip(
                rng.choices(self.symbols, self._weights, k=size),
                rng.choices(_EXCHANGES, k=size),
                rng.choices(range(3, 8), k=size),
                rng.choices((100, 200, 300, 500), k=size),
                rng.choices((True, False), (_TRADE_SHARE, 1.0 - _TRADE_SHARE), k=size),
                strict=True,
            )
            for symbol, exchange, distance, shares, trade in drawn:
                self._time_ns += step_ns
                ms = (self._time_ns - midnight_ns) // NS_PER_MS
                if trade:
                    kind = FEED_FORMAT_LEAN_TRADE
                    line = f"{ms},{_MID_E4 + (distance - 5) * _TICK_E4},{shares},{exchange},0,0"
                else:
                    kind = FEED_FORMAT_LEAN_QUOTE
                    away = distance * _TICK_E4
                    line = f"{ms},{_MID_E4 - away},{shares},{_MID_E4 + away},{shares},{exchange},1,0"
                sequence = self._sequences[symbol] = self._sequences[symbol] + 1
                value = encode(
                    schema_id, _SOURCE, kind, f"{self._run}/{symbol}", sequence, symbol, midnight_ns, line.encode()
                )
                yield "raw-feed", keys[symbol], value, self._time_ns
