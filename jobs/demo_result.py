"""Judges a demo: gathers what Kafka and the archive say, runs every check, and measures."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from jobs.config import Config
from jobs.demo_archive import Archive, Latency, Suggestion
from jobs.demo_market import FiredRule, LastBar, Tape, fired_rules
from jobs.demo_plan import ALSO_FROM_THE_MARKET
from jobs.demo_setup import Played
from jobs.demo_watch import KafkaWatch
from jobs.reconcile import (
    AuctionRow,
    Check,
    DeadLetterRow,
    OpeningAccount,
    Problems,
    TopicCount,
    check_archived,
    check_controls,
    check_expected,
    check_sent,
)
from jobs.reconcile_market import check_alerts, check_bars
from jobs.reconcile_money import TradeTotals, check_auctions, check_conservation, check_fills, check_pairs
from jobs.reconcile_orders import (
    CommandTally,
    OrderFindings,
    check_commands,
    check_lives,
    final_states,
    follow_orders,
    orders_by_type,
)
from schemas.messages.enums import ACCOUNT_TYPE_MARGIN
from schemas.messages.reference_data import Account

FEED: Final = "raw-feed"


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason, how often it was provoked, and how often it was given. `planted` is None when it is not known."""

    where: str
    reason: str
    planted: int | None
    found: int


@dataclass(frozen=True, slots=True)
class Market:
    """What the market protection did: auctions with trades and their shares by kind, halts, and what happened to orders."""

    auctions: Mapping[str, int]
    auction_shares: Mapping[str, int]
    halts: int
    band_stops: int
    short_shares: int
    endings: Mapping[str, int]
    """Cancelled and expired orders by reason."""


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that the report shows."""

    title: str
    played: Played
    tally: CommandTally
    stages: Mapping[str, int]
    finals: Mapping[str, int]
    types: Mapping[str, Mapping[str, int]]
    """Orders by type, and of each type by time in force."""
    market: Market
    bars: tuple[LastBar, ...]
    rules: tuple[FiredRule, ...]
    """Rules for alerts, and what they fired."""
    topics: tuple[TopicCount, ...]
    totals: TradeTotals
    checks: tuple[Check, ...]
    refusals: tuple[Refusal, ...]
    latency: Latency | None
    suggestions: tuple[Suggestion, ...]
    durations: Mapping[str, float]
    flink_url: str
    clickhouse_url: str
    clickhouse_user: str
    password_file: str
    state_dir: str
    log_dir: str

    @property
    def ok(self) -> bool:
        """Whether every check holds."""
        return all(check.ok for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """The report as a JSON object; money in 1/10,000, times in the units that the names say."""
        values = dataclasses.asdict(self)
        values["ok"] = self.ok
        # Its keys are pairs, which JSON does not have; the check has looked at them.
        del values["totals"]["auction_shares"]
        values["checks"] = [{**dataclasses.asdict(check), "ok": check.ok} for check in self.checks]
        return values


def judge(config: Config, watch: KafkaWatch, archive: Archive, played: Played) -> Result:
    """Reconcile a demo that has been drained. Raises ClickHouseError when the archive cannot be read.

    Durations, and the check of data quality, are for the caller to add.
    """
    letters = list(archive.letters())
    findings = follow_orders(archive.events())
    answered, tally = check_commands(archive.commands(), letters, findings)
    trades = list(archive.trades())
    paired, totals = check_pairs(trades, watch.multipliers)
    openings = {key: _opening(account) for key, account in watch.accounts.items()}
    shares, cash = check_conservation(
        openings, findings.fills.values(), totals, watch.multipliers, archive.cash_moves()
    )
    auctions = list(archive.auctions())
    topics = archive.compare(watch.positions)
    refusals = list_refusals(findings, letters, played)
    newest_ns, out_of_order_ns = archive.newest_ticks(), config.analytics.out_of_order_ms * 1_000_000
    tape = Tape(newest_ns, out_of_order_ns)
    checks = (
        check_sent(played.sent, watch.counts()),
        check_feed(watch.count(FEED), watch.count("market-data"), letters),
        answered,
        check_lives(findings, session_over=True),
        check_archived(topics),
        check_fills(findings.fills, trades),
        paired,
        check_auctions(auctions, totals),
        shares,
        cash,
        check_controls(played.controls, archive.controls()),
        check_bars(tape.noting(archive.bars()), archive.windows(), newest_ns, out_of_order_ns),
        check_alerts(watch.alerts, archive.alerts(), watch.rules),
        _check_refusals(refusals, played),
    )
    return Result(
        title=played.title,
        played=played,
        tally=tally,
        stages=dict(findings.stages),
        finals=dict(final_states(findings)),
        types={name: dict(counts) for name, counts in orders_by_type(findings).items()},
        market=describe_market(auctions, archive.halts(), totals, findings),
        bars=tuple(tape.last_bars(archive.indicators(tape.busiest()))),
        rules=tuple(fired_rules(watch.rules, watch.alerts)),
        topics=tuple(topics),
        totals=totals,
        checks=checks,
        refusals=tuple(refusals),
        latency=archive.latency(),
        suggestions=tuple(archive.suggestions()),
        durations={},
        flink_url=config.flink.rest_url,
        clickhouse_url=config.clickhouse.url,
        clickhouse_user=config.clickhouse.username,
        password_file=config.sources.get("clickhouse.password", "").partition(" → ")[2],
        state_dir=str(config.state_dir),
        log_dir=str(config.log_dir),
    )


def describe_market(
    auctions: Iterable[AuctionRow], halts: tuple[int, int], totals: TradeTotals, findings: OrderFindings
) -> Market:
    """Count what market-status and the endings of orders say."""
    counts: Counter[str] = Counter()
    shares: Counter[str] = Counter()
    for row in auctions:
        kind = "reopening"
        if row.cause == "SESSION":
            kind = "closing" if row.state == "CLOSED" else "opening"
        counts[kind] += 1
        shares[kind] += row.quantity
    return Market(dict(counts), dict(shares), *halts, totals.short_shares, dict(findings.endings))


def check_feed(raw: int, normalised: int, letters: Iterable[DeadLetterRow]) -> Check:
    """Every raw feed record became one market data event or one dead letter."""
    # A record that is no frame has another one, of the archive, which could not decode it either.
    refused = sum(letter.source_topic == FEED and letter.topic == "dead-letter" for letter in letters)
    problems = Problems()
    problems.expect(
        raw == normalised + refused,
        f"{raw:,} raw feed records, but {normalised:,} market data events and {refused:,} dead letters",
    )
    return problems.check(
        "One event per tick", f"{raw:,} raw records = {normalised:,} market data + {refused:,} dead letters"
    )


def list_refusals(findings: OrderFindings, letters: Iterable[DeadLetterRow], played: Played) -> list[Refusal]:
    """Rejected orders, refused cancels and dead letters by reason, beside what was planted; the most frequent first."""
    orders = Counter(
        f"order-events {life.reason}" for life in findings.lives.values() if life.status == "REJECTED" and life.ended
    )
    for reason, count in findings.refused_reasons.items():
        orders[f"order-events {reason}"] += count
    ticks: Counter[str] = Counter()
    analysed: Counter[str] = Counter()
    for letter in letters:
        if letter.topic != "dead-letter":
            continue
        if letter.source_topic == FEED:
            ticks[letter.reason] += 1
        elif letter.job == "analytics":
            analysed[letter.reason] += 1
        else:
            orders[f"dead-letter {letter.reason}"] += 1
    rows = [
        Refusal("orders", key.partition(" ")[2], played.expected_refusals.get(key, 0), orders[key])
        for key in orders.keys() | played.expected_refusals.keys()
    ]
    planted = played.expected_bad_ticks
    rows += [
        Refusal("ticks", reason, None if planted is None else planted.get(reason, 0), ticks[reason])
        for reason in ticks.keys() | (planted or {}).keys()
    ]
    # A simulated day is in order; real ticks may be late.
    rows += [Refusal("analytics", reason, None if planted is None else 0, found) for reason, found in analysed.items()]
    return sorted(rows, key=lambda row: (row.where, -row.found, row.reason))


def _check_refusals(refusals: Iterable[Refusal], played: Played) -> Check:
    """Compare what was planted with what was found; of real ticks nothing is known beforehand."""
    known = [row for row in refusals if row.planted is not None]
    also = {f"orders {reason.partition(' ')[2]}" for reason in ALSO_FROM_THE_MARKET}
    return check_expected(
        {f"{row.where} {row.reason}": row.planted or 0 for row in known},
        {f"{row.where} {row.reason}": row.found for row in known},
        also,
    )


def _opening(account: Account) -> OpeningAccount:
    return OpeningAccount(
        account.account_id,
        account.cash,
        account.commission_per_share,
        account.max_position,
        {position.symbol: position.quantity for position in account.positions},
        account.account_type == ACCOUNT_TYPE_MARGIN,
    )
