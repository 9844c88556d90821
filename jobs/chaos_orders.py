"""The lives of orders, trades and money as committed records tell them, for the checker of `tradestream chaos`.

Written from the published contract (DESIGN.md's flow of an order, FIX 4.4's order states, the form of ids in
README.md), and from nothing that the jobs run: what is wrong in one of the two is to show. Records are plain dictionaries,
decoded by fastavro from the published schemas.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from jobs.chaos_fees import regulatory_fees_e4

Record = Mapping[str, Any]
Report = Callable[[str, str], None]
"""Takes a violation: its kind and a line that names it."""
Place = tuple[int, int]
"""Partition and offset of a command on the topic orders."""

_AT_THE_MARKET: Final = frozenset({"PARTIALLY_FILLED", "EXECUTED", "CANCELLED", "EXPIRED", "REPLACED"})
NEXT: Final[Mapping[str, frozenset[str]]] = {
    "": frozenset({"VALIDATED", "REJECTED"}),
    "VALIDATED": frozenset({"RISK_APPROVED", "REJECTED"}),
    "RISK_APPROVED": frozenset({"ROUTED", "CANCELLED", "EXPIRED"}),
    "ROUTED": _AT_THE_MARKET,
    "PARTIALLY_FILLED": _AT_THE_MARKET,
    # FIX's Replaced reports new terms of an order that goes on.
    "REPLACED": _AT_THE_MARKET,
    "EXECUTED": frozenset(),
    "CANCELLED": frozenset(),
    "EXPIRED": frozenset(),
    "REJECTED": frozenset(),
}
"""OrderPlaced → OrderValidated → RiskChecked → OrderRouted → OrderExecuted, and the ways out."""
FINAL: Final = frozenset(status for status, after in NEXT.items() if not after)
OWN_VENUE: Final = "TRDS"
GHOST: Final = "GHOST-"
"""Orders of transactions that are aborted: nobody may ever hear of them."""
_EVENT_ID: Final = re.compile(r"orders-(\d+)-(\d+)-(\d+)")
_COMMAND_ID: Final = re.compile(r"orders-(\d+)-(\d+)(?:-R)?")


@dataclass(slots=True)
class Life:
    """One order, up to its newest event."""

    order_id: str
    account_id: str
    symbol: str
    side: str
    partition: int
    placed: int
    quantity: int
    status: str = ""
    cum: int = 0
    time_in_force: str = "DAY"
    digests: list[int] = field(default_factory=list)
    """Of each event, so that a repeated one is told from a changed one."""


class Fill(NamedTuple):
    """A fill as an order event or a trade event tells it; the price in 1/10,000."""

    order_id: str
    account_id: str
    symbol: str
    side: str
    quantity: int
    price_e4: int
    sequence: int


class Command(NamedTuple):
    """A command as it lies on the topic orders."""

    kind: str
    order_id: str
    account_id: str
    quantity: int


@dataclass(slots=True)
class Money:
    """Changes of cash by account, in 1/10,000, and of shares by account and symbol."""

    cash: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    shares: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))

    def book(self, fill: Fill, fee_e4: int) -> None:
        """Add a fill and what it was charged."""
        sign = 1 if fill.side == "BUY" else -1
        self.cash[fill.account_id] -= sign * fill.quantity * fill.price_e4 + fee_e4
        self.shares[fill.account_id, fill.symbol] += sign * fill.quantity

    def by_name(self) -> dict[str, int]:
        """All changes, named."""
        cash = {f"cash of {account}": change for account, change in self.cash.items()}
        return cash | {f"{symbol} of {account}": change for (account, symbol), change in self.shares.items()}


class Orders:
    """Follows every order and trade; each breach is told to `report` when it is seen."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.commands: dict[Place, Command] = {}
        self.lives: dict[Place, Life] = {}
        self.answers: Counter[Place] = Counter()
        """How often each command was answered: by its order's first event, by what it asked for, or by a refusal."""
        self._origin_of: dict[tuple[str, str], Place] = {}
        self.open_fills: dict[tuple[str, bool], Fill] = {}
        """Fills that order events told of and no trade event did yet."""
        self.open_trades: dict[tuple[str, bool], Fill] = {}
        self.half_trades: dict[str, Record] = {}
        """Trades inside of which only one side was read yet."""
        self._trade_digests: dict[str, int] = {}
        self._filled: set[tuple[str, bool]] = set()
        self._named: set[str] = set()
        """Trades whose id is that of an event that told of them."""
        self._unnamed: set[str] = set()
        """Trades that were told of, and by no such event yet."""
        self.by_events = Money()
        self.by_trades = Money()
        self.street_shares: defaultdict[str, int] = defaultdict(int)
        self.street_cash_e4 = 0
        self.fees_e4 = 0
        self.commission_e4: dict[str, int] = {}
        """Commission a share, by account, from reference data."""

    @property
    def trades(self) -> int:
        """Sides of executions that were read."""
        return len(self._trade_digests)

    # ------------------------------------------------------------------------------------------------ commands

    def command(self, partition: int, offset: int, record: Record) -> None:
        """A committed record of the topic orders."""
        if record["orderId"].startswith(GHOST):
            self._report("aborted read", f"orders/{partition}/{offset}: {record['orderId']}, of an aborted transaction")
        self.commands[partition, offset] = Command(
            record["command"], record["orderId"], record["accountId"], record["quantity"]
        )

    def _answer(self, command_id: str, what: str) -> None:
        match = _COMMAND_ID.fullmatch(command_id)
        if match is None:
            self._report("broken id", f"{what}: {command_id!r} is not the position of a command")
            return
        place = int(match[1]), int(match[2])
        self.answers[place] += 1
        if self.answers[place] > 1:
            self._report("duplicate", f"{what}: orders-{place[0]}-{place[1]} is answered {self.answers[place]} times")

    # -------------------------------------------------------------------------------------------- order events

    def event(self, partition: int, key: bytes, record: Record, digest: int) -> None:
        """A committed record of order-events, in the order of its partition."""
        event_id, order_id = record["eventId"], record["orderId"]
        name = f"order event {event_id} of {order_id}"
        if order_id.startswith(GHOST):
            self._report("aborted read", f"{name}: its command was in an aborted transaction")
        if key != order_id.encode():
            self._report("order within a key", f"{name}: its key is {key!r}")
        if record["eventType"] in ("CANCEL_REJECTED", "REPLACE_REJECTED"):
            self._answer(event_id, name)
            return
        match = _EVENT_ID.fullmatch(event_id)
        if match is None:
            self._report("broken id", f"{name}: the id is not orders-PARTITION-OFFSET-SEQUENCE")
            return
        origin, number = (int(match[1]), int(match[2])), int(match[3])
        if number != record["sequence"]:
            self._report("broken id", f"{name}: its sequence is {record['sequence']}")
        life = self.lives.get(origin)
        if life is None:
            life = self._begin(name, origin, partition, record)
        if partition != life.partition:
            self._report("order within a key", f"{name}: in partition {partition}, its order is in {life.partition}")
        known = len(life.digests)
        if number <= known:
            same = life.digests[number - 1] == digest
            self._report("duplicate" if same else "changed", f"{name}: event {number} came again, after {known}")
            return
        if number > known + 1:
            self._report("lost", f"{name}: event {number} came after {known}")
        life.digests += [0] * (number - known - 1) + [digest]
        self._step(name, life, record)
        if record["reason"] in ("CANCEL_REQUESTED", "REPLACE_REQUESTED", "REPLACE_FILLED"):
            self._answer(record["causeId"], name)

    def _begin(self, name: str, origin: Place, partition: int, record: Record) -> Life:
        owner = record["accountId"], record["orderId"]
        other = self._origin_of.setdefault(owner, origin)
        if other != origin:
            self._report("duplicate", f"{name}: the order lives already, from {other}")
        self._answer(f"orders-{origin[0]}-{origin[1]}", name)
        quantity = record["quantity"]
        life = Life(owner[1], owner[0], record["symbol"], record["side"], partition, quantity, quantity)
        life.time_in_force = record["timeInForce"]
        self.lives[origin] = life
        return life

    def _step(self, name: str, life: Life, record: Record) -> None:
        """One legal step of one order, and its fill."""
        report, status, kind = self._report, record["status"], record["eventType"]
        if (record["orderId"], record["accountId"], record["symbol"], record["side"]) != (
            life.order_id,
            life.account_id,
            life.symbol,
            life.side,
        ):
            report("changed", f"{name}: it is of another order, account, symbol or side than before")
        if kind == "STATUS":
            if status not in NEXT[life.status]:
                report("illegal state", f"{name}: {status} after {life.status or 'nothing'}")
        elif status != life.status or status in FINAL:
            report("illegal state", f"{name}: {kind} says {status}, the order is {life.status or 'not there'}")
        if status == "REPLACED" or kind == "RESTATED":
            life.quantity = record["quantity"]
        life.status = status
        life.cum += record["lastQuantity"]
        leaves = 0 if status in FINAL else life.quantity - life.cum
        said = record["quantity"], record["cumQuantity"], record["leavesQuantity"]
        if said != (life.quantity, life.cum, leaves):
            report("illegal state", f"{name}: says {said}, its events add up to {(life.quantity, life.cum, leaves)}")
        if life.cum > life.quantity or (status == "EXECUTED" and life.cum != life.quantity):
            report("illegal state", f"{name}: {status} with {life.cum} of {life.quantity} shares")
        filled = kind == "STATUS" and status in ("PARTIALLY_FILLED", "EXECUTED")
        if filled != (record["lastQuantity"] > 0):
            report("illegal state", f"{name}: {status} with a fill of {record['lastQuantity']}")
        if record["lastQuantity"] > 0:
            self._fill(name, record)

    def _fill(self, name: str, record: Record) -> None:
        key = record["tradeId"], record["side"] == "BUY"
        fill = Fill(
            record["orderId"],
            record["accountId"],
            record["symbol"],
            record["side"],
            record["lastQuantity"],
            record["lastPrice"],
            record["sequence"],
        )
        if key in self._filled:
            self._report("duplicate", f"{name}: trade {key[0]} {fill.side} is told to an order a second time")
        self._filled.add(key)
        # T-0-1234-5 is the trade that orders-0-1234-5 tells of, the event of one of its two orders.
        if record["eventId"] == f"orders{key[0][1:]}":
            self._named.add(key[0])
            self._unnamed.discard(key[0])
        elif key[0] not in self._named:
            self._unnamed.add(key[0])
        charged_e4 = fill.quantity * self.commission_e4.get(fill.account_id, 0)
        if fill.side != "BUY":
            # The load trades stocks only, whose sales pay regulatory fees.
            charged_e4 += regulatory_fees_e4(fill.quantity, fill.price_e4, record["timestamp"])
        self.by_events.book(fill, charged_e4)
        traded = self.open_trades.pop(key, None)
        if traded is None:
            self.open_fills[key] = fill
        elif traded != fill:
            self._report("fill and trade differ", f"{name}: {tuple(fill)} in the order, {tuple(traded)} in the trade")

    # ------------------------------------------------------------------------------------------------- trades

    def trade(self, key: bytes, record: Record, digest: int) -> None:
        """A committed record of trade-events."""
        event_id, trade_id = record["eventId"], record["tradeId"]
        name = f"trade event {event_id}"
        before = self._trade_digests.get(event_id)
        if before is not None:
            self._report("duplicate" if before == digest else "changed", f"{name} came again")
            return
        self._trade_digests[event_id] = digest
        is_buy = record["side"] == "BUY"
        if event_id != f"{trade_id}-{'B' if is_buy else 'S'}" or not re.fullmatch(r"T-\d+-\d+-\d+", trade_id):
            self._report("broken id", f"{name} of trade {trade_id}, {record['side']}: not T-PARTITION-OFFSET-SEQUENCE")
        if key != record["symbol"].encode():
            self._report("order within a key", f"{name}: its key is {key!r}")
        fill = Fill(
            record["orderId"],
            record["accountId"],
            record["symbol"],
            record["side"],
            record["quantity"],
            record["executionPrice"],
            record["orderSequence"],
        )
        self.by_trades.book(fill, record["commission"])
        self.fees_e4 += record["commission"]
        told = self.open_fills.pop((trade_id, is_buy), None)
        if told is None:
            self.open_trades[trade_id, is_buy] = fill
        elif told != fill:
            self._report("fill and trade differ", f"{name}: {tuple(told)} in the order, {tuple(fill)} in the trade")
        if record["venue"] != OWN_VENUE:
            sign = 1 if is_buy else -1
            self.street_shares[fill.symbol] += sign * fill.quantity
            self.street_cash_e4 += sign * fill.quantity * fill.price_e4
            return
        other = self.half_trades.pop(trade_id, None)
        if other is None:
            self.half_trades[trade_id] = record
            return
        same = all(record[name] == other[name] for name in ("symbol", "quantity", "executionPrice"))
        crossed = (record["orderId"], record["contraOrderId"]) == (other["contraOrderId"], other["orderId"])
        if not same or not crossed or is_buy == (other["side"] == "BUY"):
            self._report("sides differ", f"trade {trade_id}: its two sides are not of one execution")

    # ------------------------------------------------------------------------------------------- what must hold

    def unfinished(self) -> dict[str, int]:
        """What is read in part, and must be whole when everything is committed and read: names and numbers."""
        unanswered = sum(place not in self.answers for place in self.commands)
        found = {
            "commands without an answer": unanswered,
            "fills without a trade event": len(self.open_fills),
            "trade events without a fill": len(self.open_trades),
            "trades with one side": len(self.half_trades),
        }
        return {name: count for name, count in found.items() if count}

    def check_whole(self, *, closed: bool) -> None:
        """Report everything that is unfinished; to be called when everything is read. `closed`: the session is over."""
        report = self._report
        for place, command in self.commands.items():
            if place not in self.answers:
                report("lost", f"orders-{place[0]}-{place[1]}: {command.kind} {command.order_id} was never answered")
        for key, fill in self.open_fills.items():
            report("lost", f"trade {key[0]} {fill.side} of order {fill.order_id} has no trade event")
        for key, fill in self.open_trades.items():
            report("lost", f"trade {key[0]} {fill.side} of order {fill.order_id} is told by no order event")
        for trade_id in self.half_trades:
            report("lost", f"trade {trade_id} has one side")
        for trade_id in self._unnamed:
            report("broken id", f"trade {trade_id} is not called after the event of a fill of its own")
        self._unnamed.clear()
        for place, life in self.lives.items():
            self._check_life(place, life, closed=closed)
        self._check_conservation()

    def _check_life(self, place: Place, life: Life, *, closed: bool) -> None:
        command = self.commands.get(place)
        name = f"order {life.order_id} from orders-{place[0]}-{place[1]}"
        if command is None:
            self._report("aborted read", f"{name} lives, but no such command is committed")
        elif (command.kind, command.order_id, command.account_id, command.quantity) != (
            "NEW",
            life.order_id,
            life.account_id,
            life.placed,
        ):
            self._report("changed", f"{name}: placed as {tuple(command)}")
        if life.status not in FINAL and (life.status == "VALIDATED" or (closed and life.time_in_force != "GTC")):
            self._report("illegal state", f"{name} is still {life.status}{' after the close' if closed else ''}")

    def _check_conservation(self) -> None:
        """Shares and money by order events and by trade events are the same, and only the street adds any."""
        ours, theirs = self.by_events.by_name(), self.by_trades.by_name()
        for name in ours.keys() | theirs.keys():
            one, two = ours.get(name, 0), theirs.get(name, 0)
            if one != two:
                self._report("not conserved", f"{name}: {one:+,} by order events, {two:+,} by trades")
        shares: Counter[str] = Counter()
        for (_, symbol), change in self.by_events.shares.items():
            shares[symbol] += change
        for symbol in shares.keys() | self.street_shares.keys():
            if shares[symbol] != self.street_shares.get(symbol, 0):
                self._report("not conserved", f"{symbol}: accounts hold {shares[symbol]:+,} more, not from the street")
        gap = sum(self.by_events.cash.values()) + self.fees_e4 + self.street_cash_e4
        if gap:
            self._report("not conserved", f"cash differs by {gap:+,} (1/10,000) from fees and the street")
