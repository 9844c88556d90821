"""Every command is answered once, and every order lives one life: checks over the archived commands and order events.

Ids, as the contract states them: a command's position is `orders-PARTITION-OFFSET`; the order that it places has events
`POSITION-1`, `POSITION-2` ...; a refused cancel or replacement is `POSITION-R`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from jobs.reconcile import TERMINAL, Check, CommandRow, DeadLetterRow, EventRow, Problems

SUCCESSORS: Final[Mapping[str, frozenset[str]]] = {
    "": frozenset({"VALIDATED", "REJECTED"}),
    "VALIDATED": frozenset({"RISK_APPROVED", "REJECTED"}),
    "RISK_APPROVED": frozenset({"ROUTED", "CANCELLED", "EXPIRED"}),
    "ROUTED": frozenset({"PARTIALLY_FILLED", "EXECUTED", "CANCELLED", "EXPIRED"}),
    "PARTIALLY_FILLED": frozenset({"PARTIALLY_FILLED", "EXECUTED", "CANCELLED", "EXPIRED"}),
}
"""The life of an order as README and contract describe it, written down a second time on purpose."""


@dataclass(slots=True)
class OrderLife:
    """What the events of one order add up to."""

    order_id: str
    account_id: str
    quantity: int
    status: str = ""
    reason: str = ""
    cum_quantity: int = 0
    sequence: int = 0
    ended: bool = False


@dataclass(slots=True)
class OrderFindings:
    """What the events say: lives by origin, fills by (trade id, side), refused commands, and the causes of all events."""

    lives: dict[str, OrderLife] = field(default_factory=dict)
    fills: dict[tuple[str, str], EventRow] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    cancels: Counter[str] = field(default_factory=Counter)
    """Cancelled orders by the command that asked for it."""
    stages: Counter[str] = field(default_factory=Counter)
    """Events by status; refused cancels and replacements by their type."""
    refused_reasons: Counter[str] = field(default_factory=Counter)
    """Refused cancels and replacements by reason."""
    problems: Problems = field(default_factory=Problems)


def follow_orders(events: Iterable[EventRow]) -> OrderFindings:
    """Replay every order's events; rows of one order must come in the order of their sequence."""
    findings = OrderFindings()
    for event in events:
        if event.event_type != "STATUS":
            findings.refused[event.event_id.removesuffix("-R")] += 1
            findings.stages[event.event_type] += 1
            findings.refused_reasons[event.reason] += 1
            continue
        findings.stages[event.status] += 1
        _follow(findings, event)
    return findings


def _follow(findings: OrderFindings, event: EventRow) -> None:
    """Apply one event to its order, noting everything that does not follow from the events before it."""
    problems = findings.problems
    origin, _, number = event.event_id.rpartition("-")
    name = f"order {event.order_id} of {event.account_id} ({event.event_id})"
    life = findings.lives.get(origin)
    if life is None:
        life = findings.lives[origin] = OrderLife(event.order_id, event.account_id, event.quantity)
    problems.expect(number == str(event.sequence), f"{name}: its id does not end in its sequence {event.sequence}")
    problems.expect(
        event.sequence == life.sequence + 1, f"{name}: sequence {event.sequence} comes after {life.sequence}"
    )
    if life.ended:
        problems.add(f"{name}: {event.status} comes after the final state {life.status}")
    elif event.status not in SUCCESSORS[life.status]:
        problems.add(f"{name}: {event.status} cannot come after {life.status or 'nothing'}")
    life.sequence = event.sequence
    life.cum_quantity += event.last_quantity
    life.status, life.reason = event.status, event.reason
    life.ended = event.status in TERMINAL
    leaves = 0 if life.ended else life.quantity - life.cum_quantity
    if event.cum_quantity != life.cum_quantity or event.leaves_quantity != leaves:
        problems.add(
            f"{name}: cum {event.cum_quantity} leaves {event.leaves_quantity}, but its fills add up to "
            f"{life.cum_quantity} of {life.quantity}"
        )
    filled = event.status in ("PARTIALLY_FILLED", "EXECUTED")
    problems.expect(
        filled == (event.last_quantity > 0), f"{name}: {event.status} with a fill of {event.last_quantity} shares"
    )
    if filled:
        problems.expect(
            (life.cum_quantity == life.quantity) == (event.status == "EXECUTED"),
            f"{name}: {event.status} with {life.cum_quantity} of {life.quantity} shares filled",
        )
        key = (event.trade_id or "", event.side)
        problems.expect(
            key not in findings.fills, f"{name}: a second fill of trade {event.trade_id} on side {event.side}"
        )
        findings.fills[key] = event
    elif event.status == "CANCELLED" and event.cause_id != origin:
        findings.cancels[event.cause_id] += 1


def check_lives(findings: OrderFindings, *, session_over: bool) -> Check:
    """Sequences without holes, legal transitions, fills that add up, one final state; none live after the close."""
    problems = findings.problems
    live = [(origin, life) for origin, life in findings.lives.items() if not life.ended]
    if session_over:
        for origin, life in live:
            problems.add(
                f"order {life.order_id} of {life.account_id} ({origin}) is still {life.status} after the close"
            )
    ended = len(findings.lives) - len(live)
    return problems.check("One life per order", f"{len(findings.lives):,} orders: {ended:,} ended, {len(live):,} live")


@dataclass(frozen=True, slots=True)
class CommandTally:
    """How the records of the orders topic were answered."""

    records: int
    new: int
    cancel: int
    replace: int
    unreadable: int
    orders: int
    dead_letters: int
    refused: int
    cancelled: int


def check_commands(
    commands: Iterable[CommandRow], dead_letters: Iterable[DeadLetterRow], findings: OrderFindings
) -> tuple[Check, CommandTally]:
    """Each record of the orders topic has exactly one answer: an order's life, a cancellation, a refusal or a dead letter."""
    problems = Problems()
    answers: Counter[str] = Counter(findings.refused)
    answers.update(findings.lives.keys())
    answers.update(findings.cancels)
    letters: Counter[str] = Counter()
    kinds: dict[str, str] = {}
    for letter in dead_letters:
        if letter.topic == "orders":
            kinds[f"orders-{letter.source_partition}-{letter.source_offset}"] = "unreadable record"
        elif letter.source_topic == "orders":
            letters[f"orders-{letter.source_partition}-{letter.source_offset}"] += 1
    answers.update(letters)
    for row in commands:
        position = f"orders-{row.partition}-{row.offset}"
        kinds[position] = row.command
        life = findings.lives.get(position)
        if life is not None and (life.order_id, life.account_id, life.quantity) != (
            row.order_id,
            row.account_id,
            row.quantity,
        ):
            problems.add(
                f"{position}: {row.order_id} of {row.account_id} over {row.quantity} became order {life.order_id} of "
                f"{life.account_id} over {life.quantity}"
            )
        if answers[position] != 1:
            problems.add(f"{position}: {row.command} {row.order_id} has {answers[position]} answers instead of one")
    for position, kind in kinds.items():
        if kind == "unreadable record":
            problems.expect(
                letters[position] == 1, f"{position}: unreadable record with {letters[position]} dead letters"
            )
    for position in answers.keys() - kinds.keys():
        problems.add(f"{position}: answered, but no such command is archived")
    count = Counter(kinds.values())
    tally = CommandTally(
        records=len(kinds),
        new=count["NEW"],
        cancel=count["CANCEL"],
        replace=count["REPLACE"],
        unreadable=count["unreadable record"],
        orders=len(findings.lives),
        dead_letters=letters.total(),
        refused=findings.refused.total(),
        cancelled=findings.cancels.total(),
    )
    summary = (
        f"{tally.records:,} commands = {tally.orders:,} orders + {tally.cancelled:,} cancellations + "
        f"{tally.refused:,} refused + {tally.dead_letters:,} dead letters"
    )
    return problems.check("One answer per command", summary), tally


def final_states(findings: OrderFindings) -> Counter[str]:
    """Orders by their last state; those that have not ended count as LIVE."""
    return Counter(life.status if life.ended else "LIVE" for life in findings.lives.values())
