"""Days of trades for the tests of analytics: made from a seed, out of order, with late ones, and the bars they should make.

`expected_bars` is an independent recomputation: it sorts all trades by time and knows nothing of watermarks or revisions.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from random import Random
from typing import Final

from schemas.messages import market_data
from schemas.messages.enums import MARKET_DATA_KIND_QUOTE, MARKET_DATA_KIND_TRADE

SECOND_NS: Final = 1_000_000_000
OPENING_NS: Final = 1_381_152_600 * SECOND_NS
"""Half past nine in New York on 2013-10-07."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A trade, or a quote when `volume` is 0, in the order of its coming."""

    number: int
    symbol: str
    price_e4: int
    volume: int
    time_ns: int
    eligible: bool = True

    def frame(self, schema_id: int) -> bytes:
        """The record of market-data."""
        trade = self.volume > 0
        return market_data.encode_fields(
            schema_id,
            f"tick-{self.number}",
            MARKET_DATA_KIND_TRADE if trade else MARKET_DATA_KIND_QUOTE,
            self.symbol,
            "XNYS",
            None if trade else self.price_e4 - 100,
            0 if trade else 100,
            None if trade else self.price_e4 + 100,
            0 if trade else 100,
            self.price_e4 if trade else None,
            self.volume,
            None,
            False,
            self.number,
            "test",
            self.time_ns,
            self.eligible if trade else None,
        )


def random_day(random: Random, ticks: int, symbols: int, hours: float) -> list[Tick]:
    """Ticks in the order of their coming: one in ten is up to 0.9 s late, one in a hundred up to 200 s, few half an hour.

    No two trades have one time, so that open and close do not depend on which came first.
    """
    step = int(hours * 3_600 * SECOND_NS / ticks)
    prices = {f"S{number}": random.randrange(50_000, 2_000_000) for number in range(symbols)}
    day = []
    for number in range(ticks):
        symbol = f"S{min(int(random.expovariate(0.3)), symbols - 1)}"
        prices[symbol] = max(10_000, prices[symbol] + random.randrange(-500, 501))
        chance = random.random()
        behind_s = 0.0
        if chance < 0.1:
            behind_s = random.uniform(0, 0.9)
        elif chance < 0.11:
            behind_s = random.uniform(1, 200)
        elif chance < 0.111:
            behind_s = random.uniform(1_300, 2_000)
        time_ns = OPENING_NS + number * step - int(behind_s * SECOND_NS) // 1_000 * 1_000 + number % 1_000
        volume = 0 if random.random() < 0.3 else random.randrange(1, 900)
        day.append(Tick(number, symbol, prices[symbol], volume, time_ns, random.random() > 0.05))
    return day


Facts = tuple[int, int, int, int, int, int, int]


def expected_bars(trades: list[Tick], length_ns: int) -> dict[tuple[str, int], Facts]:
    """(open, high, low, close, vwap, volume, count) by symbol and start, of eligible trades."""
    bars: dict[tuple[str, int], Facts] = {}
    taken = sorted((t for t in trades if t.volume > 0 and t.eligible), key=lambda t: (t.symbol, t.time_ns))
    for key, group in groupby(taken, key=lambda t: (t.symbol, t.time_ns - t.time_ns % length_ns)):
        of_bar = list(group)
        prices = [t.price_e4 for t in of_bar]
        volume = sum(t.volume for t in of_bar)
        # Exact: Python rounds a fraction of integers half to even only when told so.
        vwap, rest = divmod(sum(t.price_e4 * t.volume for t in of_bar), volume)
        if 2 * rest > volume or (2 * rest == volume and vwap % 2):
            vwap += 1
        bars[key] = (prices[0], max(prices), min(prices), prices[-1], vwap, volume, len(of_bar))
    return bars
