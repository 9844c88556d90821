"""The day report: one HTML page, complete in itself, about one day of trading in the archive.

It is asked of ClickHouse as any analyst would, without FINAL; the page has no script and loads nothing. Times are New York's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from typing import Any, Final

from jobs import charts

STEP_MINUTES: Final = 15
SYMBOLS: Final = 5
"""Symbols whose prices are drawn: the most traded ones."""
REASONS: Final = 15
_STEP: Final = f"INTERVAL {STEP_MINUTES} MINUTE"


@dataclass(frozen=True, slots=True)
class QualityLine:
    """How many rules of one kind were tried, and how many of them do not hold."""

    kind: str
    rules: int
    failed: int


class NoRowsError(ValueError):
    """The archive has nothing of that day; the message names the days that it has."""


def render(client: Any, day: date, quality: Sequence[QualityLine] | None, made_at: str) -> str:
    """The page. client: clickhouse-connect's. quality: None when the rules were not tried. made_at: when, for people.

    Raises NoRowsError, ClickHouseError.
    """
    asked = _Asked(client, day)
    totals = asked.totals()
    if not totals["orders"] and not totals["ticks"]:
        days = client.query("SELECT DISTINCT event_date FROM order_events ORDER BY event_date DESC LIMIT 5").result_rows
        known = ", ".join(str(row[0]) for row in days) or "none"
        raise NoRowsError(f"nothing of {day} is archived; the newest days with orders: {known}")
    sections = {
        "Market": asked.market(),
        "Orders": asked.orders(),
        "Executions": asked.executions(),
        "Rejects": asked.rejects(),
        "Latency": asked.latency(),
        "Quality": _quality(quality),
    }
    tiles = "".join(
        f"<div class=tile><b>{escape(charts.number(float(value or 0)))}</b><span>{escape(name.replace('_', ' '))}</span></div>"
        for name, value in totals.items()
    )
    body = "".join(
        f'<section id="{name.lower()}"><h2>{name}</h2>{content}</section>' for name, content in sections.items()
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>tradestream {day}</title><style>{_STYLE}</style></head><body><header><h1>Trading day {day}</h1>"
        f"<p>{escape(made_at)}, from the archive in ClickHouse; times of New York</p></header>"
        f'<div class="tiles">{tiles}</div><main>{body}</main></body></html>\n'
    )


_STYLE: Final = """
body{font:14px/1.45 system-ui,sans-serif;color:#111827;background:#fff;max-width:1340px;margin:0 auto;padding:16px}
h1{font-size:22px;margin:0}h2{font-size:17px;border-bottom:1px solid #d1d5db;padding-bottom:4px;margin:22px 0 8px}
header p{color:#4b5563;margin:2px 0 12px}.tiles{display:flex;flex-wrap:wrap;gap:8px}
.tile{border:1px solid #d1d5db;border-radius:6px;padding:6px 12px;min-width:96px}.tile b{display:block;font-size:18px}
.tile span{color:#4b5563}.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:14px}
figure{margin:0}figcaption{font-weight:600;margin:4px 0}svg{width:100%;height:auto;display:block}
svg text{font:11px system-ui,sans-serif;fill:#374151}.grid{stroke:#e5e7eb}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}td,th{padding:3px 8px;text-align:right;white-space:nowrap}
td:first-child,th:first-child{text-align:left}tr:nth-child(even){background:#f3f4f6}th{border-bottom:1px solid #9ca3af}
.bad{color:#b91c1c;font-weight:600}.none{color:#6b7280}
"""


class _Asked:
    """The questions about one day."""

    def __init__(self, client: Any, day: date) -> None:
        self._client = client
        self._day = {"day": day}

    def totals(self) -> dict[str, Any]:
        """The numbers at the top."""
        return self._rows(
            """
            SELECT (SELECT count() FROM market_data WHERE event_date = {day:Date}) AS ticks,
                (SELECT count() FROM order_lifecycle WHERE placed_date = {day:Date}) AS orders,
                (SELECT uniqExact(trade_id) FROM trade_events WHERE event_date = {day:Date}) AS trades,
                (SELECT sum(quantity) FROM trade_events WHERE event_date = {day:Date}) AS shares_both_sides,
                (SELECT sum(notional) FROM executions WHERE event_date = {day:Date}) AS notional_both_sides,
                (SELECT sum(commission) FROM trade_events WHERE event_date = {day:Date}) AS commissions,
                (SELECT sum(fees) FROM trade_events WHERE event_date = {day:Date}) AS regulatory_fees_within,
                (SELECT sum(rejects) FROM rejects_by_reason WHERE event_date = {day:Date}) AS refused,
                (SELECT count() FROM dead_letters WHERE event_date = {day:Date}) AS dead_letters
            """
        )[0]

    def market(self) -> str:
        """Midpoints of the most traded symbols against their first one, and the movers."""
        prices = self._rows(
            f"""
            SELECT {_bucket("timestamp")} AS label, symbol,
                argMax((toFloat64(bid_price) + toFloat64(ask_price)) / 2, sequence) AS mid
            FROM nbbo
            WHERE event_date = {{day:Date}} AND bid_price > 0 AND ask_price > 0 AND symbol IN
            (
                SELECT symbol FROM nbbo WHERE event_date = {{day:Date}}
                GROUP BY symbol ORDER BY count() DESC, symbol LIMIT {SYMBOLS}
            )
            GROUP BY label, symbol ORDER BY label, symbol
            """
        )
        labels = _labels(prices)
        series: dict[str, list[float | None]] = {}
        for symbol in sorted({row["symbol"] for row in prices}):
            found = {row["label"]: row["mid"] for row in prices if row["symbol"] == symbol}
            first = next(iter(found.values()))
            series[symbol] = [100 * (found[label] / first - 1) if label in found else None for label in labels]
        movers = self._rows(
            """
            SELECT symbol, argMin(last_price, (timestamp, sequence)) AS first, argMax(last_price, (timestamp, sequence)) AS last,
                max(last_price) AS high, min(last_price) AS low, sum(volume) AS shares,
                round(100 * (toFloat64(last) / toFloat64(first) - 1), 2) AS percent
            FROM market_data WHERE event_date = {day:Date} AND kind = 'TRADE' AND last_price > 0
            GROUP BY symbol ORDER BY abs(percent) DESC, symbol LIMIT 8
            """
        )
        return _pair(_chart(charts.lines, "Midpoint, % since the first quote", labels, series, "%"), _table(movers))

    def orders(self) -> str:
        """When orders came, and how they ended."""
        placed = self._rows(
            f"""
            SELECT {_bucket("placed_at")} AS label, order_type, count() AS orders FROM order_lifecycle
            WHERE placed_date = {{day:Date}} GROUP BY label, order_type ORDER BY label
            """
        )
        ended = self._rows(
            "SELECT final_status, count() AS orders FROM order_lifecycle WHERE placed_date = {day:Date} GROUP BY final_status"
        )
        return _pair(
            _stacked("New orders by type", placed, "order_type", "orders"),
            charts.across("How they ended", {row["final_status"]: row["orders"] for row in ended}),
        )

    def executions(self) -> str:
        """What was traded, when and where."""
        traded = self._rows(
            f"""
            SELECT {_bucket("execution_time")} AS label, venue, toFloat64(sum(notional)) AS money FROM executions
            WHERE event_date = {{day:Date}} GROUP BY label, venue ORDER BY label
            """
        )
        venues = self._rows(
            """
            SELECT venue, executions, orders, shares, total_notional, total_commission,
                round(average_effective_spread, 4) AS effective_spread
            FROM fills_by_venue WHERE event_date = {day:Date} ORDER BY shares DESC
            """
        )
        return _pair(_stacked("Money of all sides by venue", traded, "venue", "money"), _table(venues))

    def rejects(self) -> str:
        """What was refused, by reason; dead letters beside it."""
        reasons = self._rows(
            f"SELECT reason, sum(rejects) AS count FROM rejects_by_reason WHERE event_date = {{day:Date}} "
            f"GROUP BY reason ORDER BY count DESC, reason LIMIT {REASONS}"
        )
        letters = self._rows(
            f"SELECT concat(source_topic, ' ', reason) AS what, count() AS count FROM dead_letters "
            f"WHERE event_date = {{day:Date}} GROUP BY what ORDER BY count DESC, what LIMIT {REASONS}"
        )
        return _pair(
            charts.across("Orders and commands refused, by reason", {row["reason"]: row["count"] for row in reasons}),
            charts.across("Dead letters, by source", {row["what"]: row["count"] for row in letters}),
        )

    def latency(self) -> str:
        """From Kafka's time of an order to that of the last event that it caused at once."""
        rows = self._rows(
            f"""
            SELECT {_bucket("o.timestamp")} AS label, quantilesExact(0.5, 0.95, 0.99)(
                greatest(0, dateDiff('millisecond', o._kafka_time, a.answered))) AS delays, count() AS orders
            FROM orders AS o INNER JOIN
            (
                SELECT cause_id, max(_kafka_time) AS answered FROM order_events
                WHERE event_date = {{day:Date}} AND startsWith(event_id, concat(cause_id, '-')) GROUP BY cause_id
            ) AS a ON a.cause_id = concat('orders-', toString(o._partition), '-', toString(o._offset))
            WHERE o.event_date = {{day:Date}} AND o.command = 'NEW' GROUP BY label ORDER BY label
            """
        )
        names = ("P50", "P95", "P99")
        series = {name: [float(row["delays"][at]) for row in rows] for at, name in enumerate(names)}
        labels = [row["label"] for row in rows]
        table = [
            {"from": row["label"], **dict(zip(names, row["delays"], strict=True)), "orders": row["orders"]}
            for row in rows
        ]
        return _pair(_chart(charts.lines, "An order until its events, ms", labels, series, ""), _table(table[:12]))

    def _rows(self, sql: str) -> list[dict[str, Any]]:
        return list(self._client.query(sql, parameters=self._day).named_results())


def _bucket(column: str) -> str:
    """SQL: the step of the day that a time is in, as HH:MM in New York."""
    return f"formatDateTime(toStartOfInterval(toTimeZone({column}, 'America/New_York'), {_STEP}), '%H:%i')"


def _labels(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted({row["label"] for row in rows})


def _stacked(title: str, rows: Sequence[Mapping[str, Any]], by: str, value: str) -> str:
    labels = _labels(rows)
    found = {(row["label"], row[by]): float(row[value]) for row in rows}
    totals: dict[str, float] = {}
    for (_, name), amount in found.items():
        totals[name] = totals.get(name, 0) + amount
    names = sorted(totals, key=lambda name: (-totals[name], name))
    # More than the colours can tell apart is one series.
    shown, rest = names[: len(charts.COLOURS) - 1], names[len(charts.COLOURS) - 1 :]
    series = {name: [found.get((label, name), 0.0) for label in labels] for name in shown}
    if rest:
        series["other"] = [sum(found.get((label, name), 0.0) for name in rest) for label in labels]
    return _chart(charts.bars, title, labels, series, "")


def _chart(draw: Any, title: str, labels: Sequence[str], series: Mapping[str, Sequence[Any]], unit: str) -> str:
    return (
        str(draw(title, labels, series, unit))
        if labels
        else f'<p class="none">{escape(title)}: nothing on this day</p>'
    )


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return '<p class="none">nothing on this day</p>'
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_cell(value))}</td>" for value in row.values()) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _pair(left: str, right: str) -> str:
    return f'<div class="pair"><div>{left}</div><div>{right}</div></div>'


def _quality(found: Sequence[QualityLine] | None) -> str:
    if found is None:
        return '<p class="none">the rules were not tried</p>'
    failed = sum(line.failed for line in found)
    tried = sum(line.rules for line in found)
    verdict = f'<p class="bad">{failed} rules do not hold</p>' if failed else f"<p>all {tried} rules hold</p>"
    rows = [{"kind": line.kind, "rules": line.rules, "do not hold": line.failed} for line in found]
    chart = charts.across("Rules tried, by kind", {line.kind: line.rules for line in found})
    return verdict + _pair(chart, _table(rows))
