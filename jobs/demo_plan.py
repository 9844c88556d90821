"""What a demo plays: the options, the market (simulated or real ticks), the orders against it, and what must come of it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.feeds.items import Item, Tick
from infra.feeds.lean import LeanError, LeanFile, find_lean_files, read_lean
from infra.feeds.order_flow import FROM_THE_MARKET, OrderFlow
from infra.feeds.phases import Phase
from infra.feeds.sessions import DEFAULT_DAY, NS_PER_SECOND, TradingDay, trading_day
from infra.feeds.simulator import MarketSimulator
from schemas.messages.enums import FEED_FORMAT_LEAN_QUOTE, FEED_FORMAT_LEAN_TRADE

BAD_SHARE: Final = 0.03
"""Share of commands that are bad on purpose."""
BAD_TICK_SHARE: Final = 0.002
TICKS_PER_SYMBOL: Final = 4_000
PLAY_S: Final = 80.0
"""How long the session takes when no speed is asked for."""
LONGEST_WAIT_S: Final = 1.0
"""Hours without events are cut to this."""
ALSO_FROM_THE_MARKET: Final = frozenset(f"order-events {reason}" for reason in FROM_THE_MARKET)
"""Refusals that good commands may meet too."""
_PEEK: Final = 2_000


class PlanError(ValueError):
    """The options cannot be played; the message says why."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What to play. ticks: Lean files instead of the simulator. speed: event seconds a second, 0 for no pacing, None to
    take about `PLAY_S` seconds."""

    orders: int = 40_000
    symbols: int = 40
    accounts: int = 300
    seed: int = 1
    speed: float | None = None
    ticks: Path | None = None


class Plan:
    """One demo's records, phase by phase, with counts of what was made."""

    def __init__(self, options: DemoOptions, schema_ids: Mapping[str, int]) -> None:
        """Raises PlanError when the tick files or the numbers are of no use."""
        self.made: Counter[str] = Counter()
        """Records handed out so far, by topic."""
        self.event_time_ns = 0
        self.simulator: MarketSimulator | None = None
        try:
            if options.ticks is None:
                days, closes, ticks = self._simulate(options)
            else:
                days, closes, ticks = _read_files(options.ticks)
            self.days: list[TradingDay] = days
            self.symbols = len(closes)
            self.prices_e4: dict[str, int] = closes
            """Where each symbol begins, the busiest of a simulated market first."""
            self.flow = OrderFlow(
                days,
                closes,
                schema_ids,
                seed=options.seed,
                orders=options.orders,
                accounts=options.accounts,
                bad_share=BAD_SHARE,
            )
        except (ValueError, LeanError) as error:
            raise PlanError(str(error)) from error
        self._ticks = ticks
        self._orders = options.orders
        self.speed = self._default_speed() if options.speed is None else options.speed

    def _simulate(self, options: DemoOptions) -> tuple[list[TradingDay], dict[str, int], Iterator[Tick]]:
        day = trading_day(DEFAULT_DAY)
        events = options.symbols * TICKS_PER_SYMBOL
        self.simulator = MarketSimulator(day, options.seed, options.symbols, events, bad_share=BAD_TICK_SHARE)
        return [day], self.simulator.prior_closes(), self.simulator.ticks()

    def _default_speed(self) -> float:
        hours_ns = sum(day.close_ns - day.open_ns for day in self.days)
        return round(hours_ns / NS_PER_SECOND / PLAY_S)

    def phases(self) -> Iterator[Phase]:
        """The phases; what one of them awaits must be taken by the jobs before the next phase is played."""
        for phase in self.flow.phases(self._ticks):
            yield phase._replace(items=self._counted(phase.items))

    def _counted(self, items: Iterator[Item]) -> Iterator[Item]:
        made = self.made
        for item in items:
            made[item[0]] += 1
            self.event_time_ns = item[3]
            yield item

    def expected_refusals(self) -> dict[str, int]:
        """How often each reason must be given for what was made so far, as "topic REASON"."""
        return {f"{topic} {reason}": count for (topic, reason), count in self.flow.expected_outcomes.items()}

    def expected_bad_ticks(self) -> dict[str, int] | None:
        """Dead letters of the market data job by reason; None for real ticks, about which nothing is known."""
        return None if self.simulator is None else self.simulator.expected_dead_letters()

    def share(self) -> float:
        """How much of what will be played was handed out, 0 to 1, by the number of orders."""
        return min(1.0, self.made["orders"] / self._orders) if self._orders else 1.0

    def title(self) -> str:
        """What is played, in a line."""
        days = " and ".join(str(day.day) for day in self.days)
        source = "simulated" if self.simulator is not None else "real ticks"
        return f"{days}, {source}, {self.symbols} symbol{'s' if self.symbols != 1 else ''}"


def check_options(options: DemoOptions) -> None:
    """Raise PlanError when the options cannot be played, before anything is started for them."""
    if options.ticks is not None:
        try:
            _read_files(options.ticks)
        except (ValueError, LeanError) as error:
            raise PlanError(str(error)) from error


def _read_files(path: Path) -> tuple[list[TradingDay], dict[str, int], Iterator[Tick]]:
    """Days, first prices and ticks of the Lean files under a path."""
    files = find_lean_files([path])
    days = [trading_day(day) for day in sorted({file.day for file in files})]
    closes: dict[str, int] = {}
    for symbol, own in itertools.groupby(sorted(files, key=lambda file: file.symbol), key=lambda file: file.symbol):
        price = _first_price(list(own))
        if price:
            closes[symbol] = price
    if not closes:
        raise PlanError(f"no price could be read from the first lines of the tick files in {path}")
    return days, closes, read_lean(files)


def _first_price(files: list[LeanFile]) -> int:
    """A price to start from: the first trade of a symbol, or else its first quote; 0 when there is none."""
    quoted = 0
    for tick in itertools.islice(read_lean(files), _PEEK):
        fields = tick.record.payload.split(b",")
        if tick.record.format == FEED_FORMAT_LEAN_TRADE and len(fields) > 1 and fields[1].isdigit():
            return int(fields[1])
        if tick.record.format == FEED_FORMAT_LEAN_QUOTE and len(fields) > 3:
            quoted = quoted or max(int(field) if field.isdigit() else 0 for field in (fields[1], fields[3]))
    return quoted
