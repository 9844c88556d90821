"""The report of a demo for people: at most 80 columns, readable without colours."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from jobs.demo_display import NEW_YORK
from jobs.demo_result import Result
from jobs.demo_setup import DOCS
from jobs.reconcile_money import money

WIDTH: Final = 80
_FLOW: Final = (
    ("VALIDATED", "validated"),
    ("RISK_APPROVED", "risk-approved"),
    ("ROUTED", "routed"),
    ("PARTIALLY_FILLED", "partial fills"),
)
_PERCENTILES: Final = ("P50", "P95", "P99")
_FINALS: Final = ("EXECUTED", "CANCELLED", "EXPIRED", "REJECTED", "LIVE")
_TYPES: Final = ("MARKET", "LIMIT", "STOP", "STOP_LIMIT")
_TIMES: Final = ("DAY", "GTC", "IOC", "FOK", "OPG", "CLS")


def print_report(console: Console, result: Result, *, kept: bool) -> None:
    """Print it. `kept`: the stack stays up."""
    console.print()
    console.print(Rule(Text(f"tradestream demo: {result.title}", style="bold")))
    _print_counts(console, result)
    _print_types(console, result)
    _print_market(console, result)
    _print_analytics(console, result)
    _print_refusals(console, result)
    _print_checks(console, result)
    _print_speed(console, result)
    _print_next(console, result, kept=kept)
    _print_verdict(console, result)


def report_console(console: Console) -> Console:
    """A console of the report's width on the same stream."""
    width = min(WIDTH, console.width) if console.is_terminal else WIDTH
    return Console(file=console.file, width=width, highlight=False, no_color=console.no_color)


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, style="bold cyan"))


def _grid(*justify: str) -> Table:
    table = Table.grid(padding=(0, 2))
    for how in justify:
        table.add_column(justify="right" if how == "right" else "left", no_wrap=how != "wrap")
    return table


def _print_counts(console: Console, result: Result) -> None:
    """What happened at each stage, and how the orders ended."""
    sent, tally = result.played.sent, result.tally
    _heading(console, "What happened")
    left = [
        ("ticks sent", sent.get("raw-feed", 0)),
        ("commands sent", sent.get("orders", 0)),
        ("  new orders", tally.orders),
        ("  cancels", tally.cancel),
        ("  replacements", tally.replace),
        ("  to dead letters", tally.dead_letters),
        *((label, result.stages.get(status, 0)) for status, label in _FLOW),
        ("trades", result.totals.trades),
        ("shares traded", result.totals.shares),
    ]
    total = max(1, sum(result.finals.values()))
    right: list[tuple[str, str, str]] = [
        (status.lower(), f"{result.finals[status]:,}", f"{100 * result.finals[status] / total:.1f}%")
        for status in _FINALS
        if result.finals.get(status)
    ]
    right = [
        *right,
        ("orders in all", f"{sum(result.finals.values()):,}", ""),
        ("", "", ""),
        ("cancels done", f"{tally.cancelled:,}", ""),
        ("replacements done", f"{tally.replaced:,}", ""),
        ("either refused", f"{tally.refused:,}", ""),
        ("inside our book", f"{result.totals.internal:,}", "trades"),
        ("with the street", f"{result.totals.trades - result.totals.internal:,}", "trades"),
    ]
    table = _grid("left", "right", "left", "left", "right", "right")
    for index in range(max(len(left), len(right))):
        name, count = left[index] if index < len(left) else ("", None)
        other = right[index] if index < len(right) else ("", "", "")
        table.add_row(name, "" if count is None else f"{count:,}", "  ", *other)
    console.print(Padding(table, (0, 0, 0, 2)))
    console.print(
        f"  traded for {money(result.totals.notional_e4)}, commissions {money(result.totals.commission_e4)}, "
        f"of it regulatory fees {money(result.totals.fees_e4)}",
        style="dim",
    )


def _print_types(console: Console, result: Result) -> None:
    """Orders by type and time in force, those that were refused among them."""
    _heading(console, "Orders by type")
    types = [*(name for name in _TYPES if name in result.types), *sorted(result.types.keys() - set(_TYPES))]
    found = {time for counts in result.types.values() for time in counts}
    times = [*(time for time in _TIMES if time in found), *sorted(found - set(_TIMES))]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("")
    for heading in (*times, "in all"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name in types:
        counts = result.types[name]
        cells = (f"{counts[time]:,}" if counts.get(time) else "" for time in times)
        table.add_row(name.lower().replace("_", "-"), *cells, f"{sum(counts.values()):,}")
    console.print(Padding(table, (0, 0, 0, 2)))


def _print_market(console: Console, result: Result) -> None:
    """Auctions, halts, and what the rules did to orders."""
    _heading(console, "What the market's rules did")
    market, endings = result.market, result.market.endings
    rows = (
        *(
            (f"{kind} auctions", f"{market.auctions[kind]:,} over {market.auction_shares[kind]:,} shares")
            for kind in ("opening", "closing", "reopening")
            if market.auctions.get(kind)
        ),
        ("halts", f"{market.halts:,} by operators, {market.band_stops:,} by price bands"),
        ("stops triggered", f"{result.stages.get('TRIGGERED', 0):,}"),
        ("sold short", f"{market.short_shares:,} shares"),
        (
            "self-trades",
            f"{endings.get('MATCH_SELF_TRADE', 0):,} orders cancelled, {result.stages.get('RESTATED', 0):,} reduced",
        ),
        ("fill or kill", f"{endings.get('MATCH_FOK_UNFILLED', 0):,} killed"),
        ("kill switch", f"{endings.get('CANCEL_KILL_SWITCH', 0):,} open orders cancelled"),
    )
    table = _grid("left", "wrap")
    for row in rows:
        table.add_row(*row)
    console.print(Padding(table, (0, 0, 0, 2)))


def _print_analytics(console: Console, result: Result) -> None:
    """The last bars of the busiest symbols, and what the rules for alerts fired."""
    _heading(console, "Market and alerts (last finished 5-minute bars; New York time)")
    if result.bars:
        columns = ("symbol", "until", "close", "shares", "VWAP", "day's VWAP", "SMA 20", "RSI 14")
        rows = [
            (
                bar.symbol,
                _clock(bar.end_ns)[:5],
                money(bar.close_e4),
                f"{bar.volume:,}",
                money(bar.vwap_e4),
                *("" if value is None else f"{value:,.2f}" for value in (bar.session_vwap, bar.sma)),
                "" if bar.rsi is None else f"{bar.rsi:.1f}",
            )
            for bar in result.bars
        ]
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
        for number, name in enumerate(columns):
            table.add_column(name, justify="right" if number > 1 else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        console.print(Padding(table, (0, 0, 0, 2)))
    for rule in result.rules:
        symbol = "every symbol" if rule.symbol == "*" else rule.symbol
        _paragraph(console, f"{symbol}: {rule.text}: {rule.alerts:,} alert{'s' if rule.alerts != 1 else ''}")
        if rule.first is not None and rule.first_ns is not None:
            console.print(Padding(Text(f"{_clock(rule.first_ns)}  {rule.first}", style="dim"), (0, 0, 0, 4)))


def _clock(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).astimezone(NEW_YORK).strftime("%H:%M:%S")


def _print_refusals(console: Console, result: Result) -> None:
    """Refused input by reason, planted beside found."""
    _heading(console, "What was refused, and why (planted: bad on purpose)")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("of")
    table.add_column("reason", min_width=34, overflow="fold")
    for heading in ("refused", "planted", "the market's"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in result.refusals:
        planted = "unknown" if row.planted is None else f"{row.planted:,}"
        own = "" if row.planted is None or row.found <= row.planted else f"{row.found - row.planted:,}"
        table.add_row(row.where, row.reason, f"{row.found:,}", planted, own)
    console.print(Padding(table, (0, 0, 0, 2)))


def _print_speed(console: Console, result: Result) -> None:
    """Latency, throughput and where the time went."""
    _heading(console, "How fast")
    latency, played = result.latency, result.played
    if latency is not None:
        table = _grid("left", "right", "right", "right")
        table.add_row(
            Text("an order until its events", style="dim"), *(Text(name, style="dim") for name in _PERCENTILES)
        )
        table.add_row("all", *(f"{value:,.0f} ms" for value in latency.all_ms))
        table.add_row("without the first third, the warm-up", *(f"{value:,.0f} ms" for value in latency.warm_ms))
        console.print(Padding(table, (0, 0, 0, 2)))
        text = (
            f"{latency.orders:,} orders, the longest {latency.max_ms:,.0f} ms. From Kafka's timestamp of the order to that of "
            "the last event it caused at once (its fills, rest or refusal), which read_uncommitted consumers then have; "
            "read_committed ones have it after the next checkpoint. Client, broker, Flink and ClickHouse share this "
            "machine's cores."
        )
        _paragraph(console, text, "dim")
    rows = sum(topic.clickhouse for topic in result.topics)
    if played.play_s:
        ticks = played.sent.get("raw-feed", 0) / played.play_s
        pace = f"at {played.speed:,.0f}x real time" if played.speed else "unpaced"
        _paragraph(
            console,
            f"{played.orders_per_s:,.0f} orders/s and {ticks:,.0f} ticks/s on average, {pace}; {rows:,} rows archived",
        )
    if "playing" in result.durations:
        total = sum(result.durations.values())
        parts = ", ".join(f"{name} {seconds:.0f}" for name, seconds in result.durations.items())
        _paragraph(console, f"{total:.0f} s in all ({parts})")


def _paragraph(console: Console, text: str, style: str = "") -> None:
    console.print(Padding(Text(text, style=style), (0, 0, 0, 2)))


def _print_checks(console: Console, result: Result) -> None:
    """The reconciliation."""
    _heading(console, "Does it add up? (recomputed from the archive and a consumer of its own)")
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, min_width=22)
    table.add_column()
    good, bad = ("✓", "✗") if console.encoding.startswith("utf") else ("ok", "NO")
    for check in result.checks:
        mark = Text(good, style="green") if check.ok else Text(bad, style="bold red")
        table.add_row(mark, check.name, check.summary)
        for problem in check.problems:
            table.add_row("", "", Text(problem, style="red"))
        if check.problem_count > len(check.problems):
            table.add_row("", "", Text(f"and {check.problem_count - len(check.problems):,} more", style="red"))
    console.print(Padding(table, (0, 0, 0, 2)))


def _print_next(console: Console, result: Result, *, kept: bool) -> None:
    """Where to look."""
    _heading(console, "Where to look next")
    if kept:
        lines = (
            f"Flink UI     {result.flink_url}",
            f"ClickHouse   {result.clickhouse_url}  user {result.clickhouse_user}",
            f"password in  {result.password_file}",
            f"Data Docs    {result.state_dir}/{DOCS}/index.html",
            "check again  ./infra/demo --check",
            f"stop it      .venv/bin/tradestream stack down --wipe --state-dir {result.state_dir}",
        )
        for line in lines:
            console.print(Text(f"  {line}"), soft_wrap=True)
    else:
        _paragraph(
            console, "./infra/demo --keep leaves the stack up, with the Flink UI and ClickHouse to look around in."
        )
    for suggestion in result.suggestions:
        console.print()
        console.print(Text(f"  {suggestion.title}", style="bold"))
        for line in suggestion.sql.splitlines():
            console.print(Text(f"  {line}", style="dim"), soft_wrap=True)
        console.print(Padding(_rows(suggestion.columns, suggestion.rows), (0, 0, 0, 4)))


def _rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for index, name in enumerate(columns):
        numeric = all(_is_number(row[index]) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _is_number(text: str) -> bool:
    return not text or text.replace(".", "", 1).replace("-", "", 1).isdigit()


def _print_verdict(console: Console, result: Result) -> None:
    console.print()
    failed = [check.name for check in result.checks if not check.ok]
    if failed:
        console.print(Rule(Text(f"{len(failed)} of {len(result.checks)} checks FAILED", style="bold red"), style="red"))
        console.print(Text(f"It does not add up: {', '.join(failed)}.", style="red"))
        console.print(f"Logs: {result.log_dir}", soft_wrap=True)
    else:
        console.print(Rule(Text(f"all {len(result.checks)} checks hold", style="bold green"), style="green"))
