"""Checks of what the analytics job made: bars against the ticks, alerts against their rules.

Pure functions, as in `reconcile.py`; they share no code with the engine whose work they judge.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final, NamedTuple

from jobs.reconcile import Check, Problems

SECOND_NS: Final = 1_000_000_000
_FIXED_E4: Final = {"HALTED": 10_000}
"""Conditions without a threshold of their own, and what they compare with."""


class BarRow(NamedTuple):
    """The last revision of a bar in table market_analytics. Prices in 1/10,000, None when all its trades were taken back."""

    symbol: str
    length_ns: int
    start_ns: int
    volume: int
    trades: int
    high_e4: int | None
    low_e4: int | None
    close_e4: int | None
    vwap_e4: int | None


class WindowRow(NamedTuple):
    """What the eligible trades of table market_data say of the window of a bar. Prices in 1/10,000.

    late_volume: shares of trades that the job refused as late; a longer bar has them all the same when it was still open.
    """

    symbol: str
    length_ns: int
    start_ns: int
    volume: int
    trades: int
    high_e4: int
    low_e4: int
    turnover_e4: int
    late_volume: int


class AlertRow(NamedTuple):
    """A row of table alerts; numbers in 1/10,000 of their unit."""

    event_id: str
    rule_id: str
    rule_version: int
    owner: str
    symbol: str
    condition: str
    severity: str
    threshold_e4: int
    observed_e4: int
    previous_e4: int | None
    detail: str | None


def is_over(start_ns: int, length_ns: int, newest_ns: int, out_of_order_ns: int) -> bool:
    """Whether a symbol's own ticks, the newest at `newest_ns`, have closed the bar of a window for certain.

    Other symbols of its partition may have closed it before; the job's clock counts whole seconds.
    """
    return start_ns + length_ns + out_of_order_ns + SECOND_NS <= newest_ns


def check_bars(
    bars: Iterable[BarRow], windows: Iterable[WindowRow], newest_ns: Mapping[str, int], out_of_order_ns: int
) -> Check:
    """Every window that is over has the bar that its trades make; what is told of another has no share too many.

    Both sides come ordered by symbol, length and start, and are held one window at a time. newest_ns: by symbol, the time of
    its last tick.
    """
    problems = Problems()
    equal = trades = still_open = 0
    merged: Iterable[BarRow | WindowRow] = heapq.merge(bars, windows, key=_key)
    for (symbol, length_ns, start_ns), rows in groupby(merged, key=_key):
        name = f"{symbol}, {length_ns // SECOND_NS} s from {_time(start_ns)}"
        bar: BarRow | None = None
        window: WindowRow | None = None
        for row in rows:
            if isinstance(row, BarRow):
                problems.expect(bar is None, f"{name}: two bars")
                bar = row
            else:
                window = row
        over = is_over(start_ns, length_ns, newest_ns.get(symbol, 0), out_of_order_ns)
        if window is None:
            volume = 0 if bar is None else bar.volume
            problems.expect(volume == 0, f"{name}: the bar has {volume:,} shares, and there was no trade")
            continue
        if not over or window.late_volume:
            still_open += 1
            least = window.volume - window.late_volume if over else 0
            told = 0 if bar is None else bar.volume
            problems.expect(
                least <= told <= window.volume, f"{name}: the bar has {told:,} shares, its trades {window.volume:,}"
            )
            continue
        difference = "no bar" if bar is None else _difference(bar, window)
        problems.expect(not difference, f"{name}: {difference}, where {window.volume:,} shares were traded")
        if not difference:
            equal += 1
            trades += window.trades if length_ns == SECOND_NS else 0
    summary = f"{equal:,} bars are what the archived ticks make, of {trades:,} trades"
    return problems.check("Bars = ticks", summary + (f"; {still_open:,} not over" if still_open else ""))


def _key(row: BarRow | WindowRow) -> tuple[str, int, int]:
    return (row.symbol, row.length_ns, row.start_ns)


def _difference(bar: BarRow, window: WindowRow) -> str:
    """How a bar differs from its trades, or an empty text."""
    for name, found, right in (
        ("volume", bar.volume, window.volume),
        ("number of trades", bar.trades, window.trades),
        ("high", bar.high_e4, window.high_e4),
        ("low", bar.low_e4, window.low_e4),
    ):
        if found != right:
            return f"{name} {found} instead of {right}"
    # Rounded to the nearest, so at most half a unit away.
    if bar.vwap_e4 is None or abs(2 * (bar.vwap_e4 * window.volume - window.turnover_e4)) > window.volume:
        return f"VWAP {bar.vwap_e4} instead of {window.turnover_e4 / window.volume:.2f}"
    return ""


def check_alerts(
    in_kafka: Sequence[Mapping[str, Any]], archived: Iterable[AlertRow], rules: Mapping[str, Mapping[str, Any]]
) -> Check:
    """Every alert has a rule that says what it says, and was met by what it saw; Kafka and the archive have the same ones.

    in_kafka, rules: messages of alerts and alert-rules, the latter by id.
    """
    problems = Problems()
    rows = list(archived)
    sent = Counter(_said(alert) for alert in in_kafka)
    kept = Counter((row.event_id, row.rule_id, row.symbol, row.observed_e4, row.detail) for row in rows)
    for found, where in ((sent - kept, "only in Kafka"), (kept - sent, "only in ClickHouse")):
        for said, count in found.items():
            problems.add(f"alert {said[0]} is {count} times {where}")
    for event_id, count in Counter(row.event_id for row in rows).items():
        problems.expect(count == 1, f"alert {event_id} was given {count} times")
    for row in rows:
        wrong = _unlike(row, rules.get(row.rule_id))
        problems.expect(not wrong, f"alert {row.event_id}: {wrong}")
    fired = len({row.rule_id for row in rows})
    summary = (
        f"{len(rows):,} alerts of {fired} of {len(rules)} rules, each met by what was seen; in Kafka as in ClickHouse"
    )
    return problems.check("Alerts = rules", summary)


def _said(alert: Mapping[str, Any]) -> tuple[str, str, str, int, str | None]:
    return (alert["eventId"], alert["ruleId"], alert["symbol"], alert["observedE4"], alert["detail"])


def _unlike(row: AlertRow, rule: Mapping[str, Any] | None) -> str:
    """What an alert says that its rule does not, or an empty text."""
    if rule is None:
        return f"there is no rule {row.rule_id}"
    threshold = _FIXED_E4.get(row.condition, rule["thresholdE4"])
    for name, found, right in (
        ("version", row.rule_version, rule["version"]),
        ("owner", row.owner, rule["owner"]),
        ("condition", row.condition, rule["condition"]),
        ("severity", row.severity, rule["severity"]),
        ("symbol", row.symbol, row.symbol if rule["symbol"] == "*" else rule["symbol"]),
        ("threshold", row.threshold_e4, threshold),
    ):
        if found != right:
            return f"{name} {found}, the rule's is {right}"
    if row.condition.endswith("_CROSS"):
        before = row.previous_e4
        met = before is not None and min(before, row.observed_e4) <= threshold <= max(before, row.observed_e4)
    elif row.condition.endswith("_BELOW"):
        met = row.observed_e4 <= threshold
    else:
        met = row.observed_e4 >= threshold
    return "" if met else f"{row.observed_e4} after {row.previous_e4} does not meet {row.condition} {threshold}"


def _time(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // SECOND_NS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
