"""What the report of a demo says of the market and of alerts: the last bars of the busiest symbols, and what each rule fired."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from jobs.alerts import text_of
from jobs.reconcile_market import SECOND_NS, BarRow, is_over
from jobs.tail import format_alert

BAR_NS: Final = 300 * SECOND_NS
SHOWN_SYMBOLS: Final = 5


class IndicatorRow(NamedTuple):
    """The last revision of the value of an indicator at a bar of `BAR_NS`; None when its trades were taken back."""

    symbol: str
    start_ns: int
    indicator: str
    value: float | None


@dataclass(frozen=True, slots=True)
class LastBar:
    """The last finished bar of a symbol, and the indicators at it, None while there are too few bars. Prices in 1/10,000,
    indicators in their units (currency; RSI 0 to 100), times UTC ns.
    """

    symbol: str
    end_ns: int
    close_e4: int
    volume: int
    vwap_e4: int
    session_vwap: float | None
    sma: float | None
    rsi: float | None


@dataclass(frozen=True, slots=True)
class FiredRule:
    """A rule, how many alerts it gave, and its first one, as `tradestream tail alerts` says it, with its time, UTC ns."""

    rule_id: str
    symbol: str
    text: str
    alerts: int
    first: str | None
    first_ns: int | None


class Tape:
    """Notes the bars of `BAR_NS` that pass by on their way to a check."""

    def __init__(self, newest_ns: Mapping[str, int], out_of_order_ns: int) -> None:
        """`newest_ns`: by symbol, the time of its last tick."""
        self._newest_ns = newest_ns
        self._out_of_order_ns = out_of_order_ns
        self._volumes: Counter[str] = Counter()
        self._last: dict[str, BarRow] = {}

    def noting(self, bars: Iterable[BarRow]) -> Iterator[BarRow]:
        """The same bars."""
        for bar in bars:
            newest_ns = self._newest_ns.get(bar.symbol, 0)
            if (
                bar.length_ns == BAR_NS
                and bar.trades
                and is_over(bar.start_ns, BAR_NS, newest_ns, self._out_of_order_ns)
            ):
                self._volumes[bar.symbol] += bar.volume
                before = self._last.get(bar.symbol)
                if before is None or bar.start_ns > before.start_ns:
                    self._last[bar.symbol] = bar
            yield bar

    def busiest(self) -> list[str]:
        """The symbols of the largest volume, the largest first."""
        return [symbol for symbol, _ in self._volumes.most_common(SHOWN_SYMBOLS)]

    def last_bars(self, indicators: Iterable[IndicatorRow]) -> list[LastBar]:
        """The last finished bar of each of them."""
        values = {(row.symbol, row.start_ns, row.indicator): row.value for row in indicators}
        return [
            LastBar(
                symbol,
                bar.start_ns + BAR_NS,
                bar.close_e4 or 0,
                bar.volume,
                bar.vwap_e4 or 0,
                *(values.get((symbol, bar.start_ns, name)) for name in ("SESSION_VWAP", "SMA", "RSI")),
            )
            for symbol, bar in ((symbol, self._last[symbol]) for symbol in self.busiest())
        ]


def fired_rules(rules: Mapping[str, Mapping[str, Any]], alerts: Sequence[Mapping[str, Any]]) -> list[FiredRule]:
    """What each rule fired, in the order of the rules. rules, alerts: messages of their topics, rules by id."""
    given: dict[str, list[Mapping[str, Any]]] = {}
    for alert in alerts:
        given.setdefault(alert["ruleId"], []).append(alert)
    found = []
    for rule_id, rule in rules.items():
        of_rule = given.get(rule_id, [])
        first = min(of_rule, key=lambda alert: (alert["timestamp"], alert["eventId"]), default=None)
        found.append(
            FiredRule(
                rule_id,
                rule["symbol"],
                text_of(rule),
                len(of_rule),
                None if first is None else format_alert(first),
                None if first is None else first["timestamp"],
            )
        )
    return found
