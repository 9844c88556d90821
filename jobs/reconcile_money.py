"""Shares and money are conserved: checks over archived trades, against order events and the opening balances.

The two tables are used against each other: closing balances come from order events (what orders were told), movements from
trade events (what was executed), opening balances, commissions and limits from reference data. Prices are of one unit: a
contract's money is its price times its multiplier. Regulatory fees of sales are computed anew from shares, price and time of
each fill; a contract pays none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from jobs.reconcile import OWN_VENUE, AuctionRow, CashMove, Check, EventRow, OpeningAccount, Problems, TradeRow
from udfs.domain.fees import sale_fees_e4

_IN_THE_BOOK: Final = ({"ADDED", "REMOVED"}, {"AUCTION"})
"""What the two sides of a trade inside say: one rested and one came, or both were in an auction."""


@dataclass(slots=True)
class TradeTotals:
    """Sums over all trades; money in 1/10,000."""

    rows: int = 0
    trades: int = 0
    internal: int = 0
    """Trades between two of our orders; the others were with the street."""
    shares: int = 0
    """Shares that changed hands: a trade inside counts once."""
    notional_e4: int = 0
    commission_e4: int = 0
    """What accounts were charged, regulatory fees within."""
    fees_e4: int = 0
    """Regulatory fees of sales."""
    street_cash_e4: int = 0
    """What accounts paid to the street, net."""
    street_shares: dict[str, int] = field(default_factory=dict)
    """Shares that accounts bought from the street, net, by symbol."""
    auction_shares: dict[tuple[str, int], int] = field(default_factory=dict)
    """Shares that changed hands in auctions, by symbol and price."""
    short_shares: int = 0
    """Shares that were sold short."""


def check_fills(fills: Mapping[tuple[str, bool], EventRow], trades: Iterable[TradeRow]) -> Check:
    """Each fill that an order event reports is a trade event of the same order, shares and price, and the reverse."""
    problems = Problems()
    seen: set[tuple[str, bool]] = set()
    for trade in trades:
        key = (trade.trade_id, trade.side == "BUY")
        name = f"trade event {trade.event_id}"
        problems.expect(key not in seen, f"{name}: trade {trade.trade_id} has two sides {trade.side}")
        seen.add(key)
        fill = fills.get(key)
        if fill is None:
            problems.add(f"{name}: no order event reports this fill of order {trade.order_id}")
            continue
        ordered = (
            fill.order_id,
            fill.account_id,
            fill.symbol,
            fill.side,
            fill.last_quantity,
            fill.price_e4,
            fill.sequence,
        )
        executed = (
            trade.order_id,
            trade.account_id,
            trade.symbol,
            trade.side,
            trade.quantity,
            trade.price_e4,
            trade.order_sequence,
        )
        problems.expect(ordered == executed, f"{name}: executed {executed}, reported to the order as {ordered}")
    for key in fills.keys() - seen:
        fill = fills[key]
        problems.add(f"order event {fill.event_id}: its fill, trade {key[0]} {fill.side}, has no trade event")
    return problems.check("Fills = trades", f"{len(seen):,} fills in order events and in trade events")


def check_pairs(trades: Iterable[TradeRow], multipliers: Mapping[str, int] | None = None) -> tuple[Check, TradeTotals]:
    """A trade in our book has a buyer and a seller with the same shares and price; one with the street has one side.

    multipliers: units of the underlying in one contract, by symbol; 1 where a symbol has none.
    """
    problems = Problems()
    units = multipliers or {}
    totals = TradeTotals()
    waiting: dict[str, TradeRow] = {}
    for trade in trades:
        totals.rows += 1
        totals.commission_e4 += trade.commission_e4
        totals.fees_e4 += trade.fees_e4
        sign = 1 if trade.side == "BUY" else -1
        value_e4 = trade.quantity * trade.price_e4 * units.get(trade.symbol, 1)
        if trade.side not in ("BUY", "SELL"):
            totals.short_shares += trade.quantity
        name = f"trade {trade.trade_id}"
        problems.expect(
            trade.quantity > 0 and trade.price_e4 > 0, f"{name}: {trade.quantity} shares at {money(trade.price_e4)}"
        )
        if trade.venue != OWN_VENUE:
            bought = totals.street_shares.get(trade.symbol, 0)
            totals.street_shares[trade.symbol] = bought + sign * trade.quantity
            totals.street_cash_e4 += sign * value_e4
            problems.expect(
                trade.contra_order_id is None and trade.liquidity == "ROUTED",
                f"{name} at {trade.venue}: contra order {trade.contra_order_id}, liquidity {trade.liquidity}",
            )
        else:
            other = waiting.pop(trade.trade_id, None)
            if other is None:
                waiting[trade.trade_id] = trade
                continue
            totals.internal += 1
            if (
                (trade.side == "BUY") == (other.side == "BUY")
                or {trade.liquidity, other.liquidity} not in _IN_THE_BOOK
                or (trade.symbol, trade.quantity, trade.price_e4) != (other.symbol, other.quantity, other.price_e4)
                or (trade.contra_order_id, other.contra_order_id) != (other.order_id, trade.order_id)
            ):
                problems.add(f"{name}: its two sides do not match: {_side(trade)} against {_side(other)}")
            if trade.liquidity == "AUCTION":
                auction = trade.symbol, trade.price_e4
                totals.auction_shares[auction] = totals.auction_shares.get(auction, 0) + trade.quantity
        totals.trades += 1
        totals.shares += trade.quantity
        totals.notional_e4 += value_e4
    for trade in waiting.values():
        problems.add(f"trade {trade.trade_id}: {_side(trade)} has no other side")
    street = totals.trades - totals.internal
    return problems.check(
        "Buyers = sellers", f"{totals.internal:,} trades inside in pairs, {street:,} with the street"
    ), totals


def check_auctions(auctions: Iterable[AuctionRow], totals: TradeTotals) -> Check:
    """What market-status says of the auctions is what was traded in them, by symbol and price."""
    problems = Problems()
    said: dict[tuple[str, int], int] = {}
    count = 0
    for row in auctions:
        count += 1
        key = row.symbol, row.price_e4
        said[key] = said.get(key, 0) + row.quantity
    for key in sorted(said.keys() | totals.auction_shares.keys()):
        told, traded = said.get(key, 0), totals.auction_shares.get(key, 0)
        problems.expect(
            told == traded, f"{key[0]} at {money(key[1])}: auctions over {told:,} shares, {traded:,} traded in them"
        )
    return problems.check("Auctions add up", f"{count:,} auctions, {sum(said.values()):,} shares, as their trades say")


def _side(trade: TradeRow) -> str:
    return f"{trade.side} {trade.quantity} {trade.symbol} at {money(trade.price_e4)} ({trade.order_id})"


@dataclass(slots=True)
class Balance:
    """An account's cash and shares."""

    cash_e4: int
    positions: dict[str, int]


def check_conservation(
    openings: Mapping[str, OpeningAccount],
    fills: Iterable[EventRow],
    totals: TradeTotals,
    multipliers: Mapping[str, int] | None = None,
    moves: Iterable[CashMove] = (),
) -> tuple[Check, Check]:
    """Shares and money: closing balances of all accounts, recomputed, equal the opening ones plus what the street gave.

    moves: what customers brought and took out. Each control moves cash once.

    Also no account may end beyond its position limit, and no cash account with negative cash or shares, unless it began so.
    """
    shares, cash = Problems(), Problems()
    units = multipliers or {}
    balances = {key: Balance(account.cash_e4, dict(account.positions)) for key, account in openings.items()}
    commission_e4 = regulatory_e4 = 0
    for fill in fills:
        account, balance = openings.get(fill.account_id), balances.get(fill.account_id)
        if account is None or balance is None or fill.price_e4 is None:
            cash.add(f"order event {fill.event_id}: fill of account {fill.account_id}, which has no opening balance")
            continue
        sign = 1 if fill.side == "BUY" else -1
        fee_e4 = 0
        if fill.side != "BUY" and fill.symbol not in units:
            fee_e4 = sale_fees_e4(fill.last_quantity, fill.price_e4, fill.time_ns)
            regulatory_e4 += fee_e4
        fee_e4 += fill.last_quantity * account.commission_e4
        commission_e4 += fee_e4
        balance.cash_e4 -= sign * fill.last_quantity * fill.price_e4 * units.get(fill.symbol, 1) + fee_e4
        balance.positions[fill.symbol] = balance.positions.get(fill.symbol, 0) + sign * fill.last_quantity
    moved_e4 = _move_cash(balances, moves, cash)
    _check_limits(openings, balances, shares, cash)

    opening_shares, closing_shares = _sum_shares(openings.values()), _sum_shares(balances.values())
    for symbol in sorted(opening_shares.keys() | closing_shares.keys() | totals.street_shares.keys()):
        opening, closing = opening_shares.get(symbol, 0), closing_shares.get(symbol, 0)
        street = totals.street_shares.get(symbol, 0)
        shares.expect(
            opening + street == closing,
            f"{symbol}: {opening:,} at the open {street:+,} from the street is not {closing:,} at the close",
        )
    opening_e4 = sum(account.cash_e4 for account in openings.values())
    closing_e4 = sum(balance.cash_e4 for balance in balances.values())
    cash.expect(
        commission_e4 == totals.commission_e4,
        f"commissions: {money(totals.commission_e4)} in trade events, {money(commission_e4)} by the accounts' rates and fees",
    )
    cash.expect(
        regulatory_e4 == totals.fees_e4,
        f"regulatory fees: {money(totals.fees_e4)} in trade events, {money(regulatory_e4)} by the tables",
    )
    gap_e4 = closing_e4 + totals.street_cash_e4 + totals.commission_e4 - opening_e4 - moved_e4
    cash.expect(
        gap_e4 == 0, f"closing cash + street + commissions differ from opening cash + deposits by {money(gap_e4)}"
    )
    share_summary = (
        f"{sum(opening_shares.values()):,} at the open {sum(totals.street_shares.values()):+,} from the street = "
        f"{sum(closing_shares.values()):,}"
    )
    deposits = f" {_signed(moved_e4)} deposits" if moved_e4 else ""
    cash_summary = (
        f"{money(opening_e4)}{deposits} = {money(closing_e4)} held {_signed(totals.street_cash_e4)} street "
        f"+ {money(totals.commission_e4)} fees"
    )
    return shares.check("Shares conserved", share_summary), cash.check("Money conserved", cash_summary)


def _move_cash(balances: Mapping[str, Balance], moves: Iterable[CashMove], cash: Problems) -> int:
    """Apply what customers brought and took out; returns its sum."""
    seen: set[str] = set()
    moved_e4 = 0
    for move in moves:
        balance = balances.get(move.account_id)
        if balance is None:
            cash.add(f"control {move.control_id}: cash of account {move.account_id}, which has no opening balance")
            continue
        cash.expect(move.control_id not in seen, f"control {move.control_id} moved cash twice")
        seen.add(move.control_id)
        balance.cash_e4 += move.amount_e4
        moved_e4 += move.amount_e4
    return moved_e4


def _check_limits(
    openings: Mapping[str, OpeningAccount], balances: Mapping[str, Balance], shares: Problems, cash: Problems
) -> None:
    for key, balance in balances.items():
        account = openings[key]
        cash.expect(
            account.margin or balance.cash_e4 >= 0 or balance.cash_e4 >= account.cash_e4,
            f"account {key} ends with {money(balance.cash_e4)} in cash",
        )
        for symbol, quantity in balance.positions.items():
            before = account.positions.get(symbol, 0)
            shares.expect(
                account.margin or quantity >= min(0, before),
                f"account {key} ends with {quantity:,} shares of {symbol}: it sold more than it had",
            )
            shares.expect(
                abs(quantity) <= max(account.max_position, abs(before)),
                f"account {key} ends with {quantity:,} shares of {symbol}, its limit is {account.max_position:,}",
            )


def _sum_shares(holders: Iterable[OpeningAccount | Balance]) -> dict[str, int]:
    sums: dict[str, int] = defaultdict(int)
    for holder in holders:
        for symbol, quantity in holder.positions.items():
            sums[symbol] += quantity
    return sums


def money(amount_e4: int) -> str:
    """An amount in words of people: thousands separated, two decimals, or four when they matter."""
    sign = "-" if amount_e4 < 0 else ""
    whole, part = divmod(abs(amount_e4), 10_000)
    decimals = f"{part:04d}"
    return f"{sign}{whole:,}.{decimals[:2] if decimals.endswith('00') else decimals}"


def _signed(amount_e4: int) -> str:
    return f"- {money(-amount_e4)}" if amount_e4 < 0 else f"+ {money(amount_e4)}"
