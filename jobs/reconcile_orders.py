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

_FROM_THE_BOOK: Final = frozenset({"PARTIALLY_FILLED", "EXECUTED", "CANCELLED", "EXPIRED", "REPLACED"})
SUCCESSORS: Final[Mapping[str, frozenset[str]]] = {
    "": frozenset({"VALIDATED", "REJECTED"}),
    "VALIDATED": frozenset({"RISK_APPROVED", "REJECTED"}),
    "RISK_APPROVED": frozenset({"ROUTED", "CANCELLED", "EXPIRED"}),
    "ROUTED": _FROM_THE_BOOK,
    "PARTIALLY_FILLED": _FROM_THE_BOOK,
    "REPLACED": _FROM_THE_BOOK,
}
"""The life of an order as README and contract describe it, written down a second time on purpose."""
STOPS: Final = frozenset({"STOP", "STOP_LIMIT"})
_NO_STEP: Final = frozenset({"TRIGGERED", "RESTATED"})
"""Events of an order that leave its state as it is."""


@dataclass(slots=True)
class OrderLife:
    """What the events of one order add up to."""

    order_id: str
    account_id: str
    quantity: int
    """Shares in all: as ordered, or as the last replacement or restatement left them."""
    status: str = ""
    reason: str = ""
    cum_quantity: int = 0
    sequence: int = 0
    ended: bool = False
    order_type: str = "LIMIT"
    time_in_force: str = "DAY"
    side: str = "BUY"
    placed_quantity: int = 0
    """Shares that were ordered."""
    triggered: bool = False


@dataclass(slots=True)
class OrderFindings:
    """What the events say: lives by origin, fills by (trade id, bought or sold), answers to other commands."""

    lives: dict[str, OrderLife] = field(default_factory=dict)
    fills: dict[tuple[str, bool], EventRow] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    cancels: Counter[str] = field(default_factory=Counter)
    """Cancelled orders by the command that asked for it."""
    replaces: Counter[str] = field(default_factory=Counter)
    """Replaced orders by the command that asked for it, those among them that had no shares left to live on."""
    stages: Counter[str] = field(default_factory=Counter)
    """Events by status; all that are no step in an order's life by their type."""
    refused_reasons: Counter[str] = field(default_factory=Counter)
    """Refused cancels and replacements by reason."""
    endings: Counter[str] = field(default_factory=Counter)
    """Cancelled and expired orders by reason."""
    problems: Problems = field(default_factory=Problems)


def follow_orders(events: Iterable[EventRow]) -> OrderFindings:
    """Replay every order's events; rows of one order must come in the order of their sequence."""
    findings = OrderFindings()
    for event in events:
        if event.event_type == "STATUS":
            findings.stages[event.status] += 1
            _follow(findings, event)
        elif event.event_type in _NO_STEP:
            findings.stages[event.event_type] += 1
            _follow(findings, event)
        else:
            findings.refused[event.event_id.removesuffix("-R")] += 1
            findings.stages[event.event_type] += 1
            findings.refused_reasons[event.reason] += 1
    return findings


def _follow(findings: OrderFindings, event: EventRow) -> None:
    """Apply one event to its order, noting everything that does not follow from the events before it."""
    problems = findings.problems
    origin, _, number = event.event_id.rpartition("-")
    name = f"order {event.order_id} of {event.account_id} ({event.event_id})"
    life = findings.lives.get(origin)
    if life is None:
        life = findings.lives[origin] = OrderLife(
            event.order_id,
            event.account_id,
            event.quantity,
            order_type=event.order_type,
            time_in_force=event.time_in_force,
            side=event.side,
            placed_quantity=event.quantity,
        )
    problems.expect(number == str(event.sequence), f"{name}: its id does not end in its sequence {event.sequence}")
    problems.expect(
        event.sequence == life.sequence + 1, f"{name}: sequence {event.sequence} comes after {life.sequence}"
    )
    if event.event_type in _NO_STEP:
        _follow_note(problems, name, life, event)
    else:
        _follow_step(problems, name, life, event)
    life.sequence = event.sequence
    _follow_shares(problems, name, life, event)
    if event.last_quantity > 0:
        key = (event.trade_id or "", event.side == "BUY")
        problems.expect(
            key not in findings.fills, f"{name}: a second fill of trade {event.trade_id} on side {event.side}"
        )
        findings.fills[key] = event
    if event.event_type == "STATUS" and event.status in ("CANCELLED", "EXPIRED"):
        findings.endings[event.reason] += 1
    if event.reason == "CANCEL_REQUESTED":
        findings.cancels[event.cause_id] += 1
    elif event.reason in ("REPLACE_REQUESTED", "REPLACE_FILLED"):
        findings.replaces[event.cause_id] += 1


def _follow_step(problems: Problems, name: str, life: OrderLife, event: EventRow) -> None:
    """The order goes to its next state."""
    if life.ended:
        problems.add(f"{name}: {event.status} comes after the final state {life.status}")
    elif event.status not in SUCCESSORS[life.status]:
        problems.add(f"{name}: {event.status} cannot come after {life.status or 'nothing'}")
    if event.status == "REPLACED":
        life.quantity = event.quantity
    life.status, life.reason = event.status, event.reason
    life.ended = event.status in TERMINAL


def _follow_note(problems: Problems, name: str, life: OrderLife, event: EventRow) -> None:
    """The order stays in its state: a stop is triggered, or a restatement takes shares off it."""
    problems.expect(
        not life.ended and event.status == life.status,
        f"{name}: {event.event_type} says {event.status}, the order is {life.status or 'not there'}",
    )
    if event.event_type == "TRIGGERED":
        problems.expect(
            life.order_type in STOPS and not life.triggered,
            f"{name}: TRIGGERED, but it is {'triggered already' if life.triggered else 'a ' + life.order_type}",
        )
        life.triggered = True
    else:
        # Self-trade prevention takes shares off; another cause, such as a split, may also add some.
        problems.expect(
            life.cum_quantity < event.quantity
            and (event.quantity < life.quantity or event.reason != "MATCH_SELF_TRADE"),
            f"{name}: RESTATED from {life.quantity} to {event.quantity} shares, {life.cum_quantity} of them filled",
        )
        life.quantity = event.quantity


def _follow_shares(problems: Problems, name: str, life: OrderLife, event: EventRow) -> None:
    """Ordered, filled and open shares follow from each other."""
    problems.expect(
        event.quantity == life.quantity, f"{name}: it is over {event.quantity} shares, but was over {life.quantity}"
    )
    life.cum_quantity += event.last_quantity
    leaves = 0 if life.ended else life.quantity - life.cum_quantity
    if event.cum_quantity != life.cum_quantity or event.leaves_quantity != leaves:
        problems.add(
            f"{name}: cum {event.cum_quantity} leaves {event.leaves_quantity}, but its fills add up to "
            f"{life.cum_quantity} of {life.quantity}"
        )
    filled = event.event_type == "STATUS" and event.status in ("PARTIALLY_FILLED", "EXECUTED")
    problems.expect(
        filled == (event.last_quantity > 0), f"{name}: {event.status} with a fill of {event.last_quantity} shares"
    )
    if filled:
        problems.expect(
            (life.cum_quantity == life.quantity) == (event.status == "EXECUTED"),
            f"{name}: {event.status} with {life.cum_quantity} of {life.quantity} shares filled",
        )
        problems.expect(
            life.triggered or life.order_type not in STOPS, f"{name}: {event.status}, but the stop was not triggered"
        )
    elif life.time_in_force == "FOK" and life.ended:
        problems.expect(
            life.cum_quantity == 0, f"{name}: fill or kill, but {event.status} with {life.cum_quantity} shares filled"
        )


def check_lives(findings: OrderFindings, *, session_over: bool) -> Check:
    """Sequences without holes, legal transitions, fills that add up, one final state; after the close only GTC lives."""
    problems = findings.problems
    live = [(origin, life) for origin, life in findings.lives.items() if not life.ended]
    if session_over:
        for origin, life in live:
            problems.expect(
                life.time_in_force == "GTC",
                f"order {life.order_id} of {life.account_id} ({origin}) is still {life.status} after the close",
            )
    ended = len(findings.lives) - len(live)
    good_till_cancelled = (
        f" (good till cancelled: {sum(life.time_in_force == 'GTC' for _, life in live):,})" if live else ""
    )
    return problems.check(
        "One life per order",
        f"{len(findings.lives):,} orders: {ended:,} ended, {len(live):,} live{good_till_cancelled}",
    )


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
    replaced: int


def check_commands(
    commands: Iterable[CommandRow], dead_letters: Iterable[DeadLetterRow], findings: OrderFindings
) -> tuple[Check, CommandTally]:
    """Each record of the orders topic has exactly one answer: an order's life, what was asked for, a refusal or a
    dead letter."""
    problems = Problems()
    answers: Counter[str] = Counter(findings.refused)
    answers.update(findings.lives.keys())
    answers.update(findings.cancels)
    answers.update(findings.replaces)
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
        if life is not None and (life.order_id, life.account_id, life.placed_quantity) != (
            row.order_id,
            row.account_id,
            row.quantity,
        ):
            problems.add(
                f"{position}: {row.order_id} of {row.account_id} over {row.quantity} became order {life.order_id} of "
                f"{life.account_id} over {life.placed_quantity}"
            )
        if answers[position] != 1:
            problems.add(f"{position}: {row.command} {row.order_id} has {answers[position]} answers instead of one")
        for what, given in (("CANCEL", findings.cancels), ("REPLACE", findings.replaces)):
            problems.expect(
                not given[position] or row.command == what,
                f"{position}: {row.command} {row.order_id} is answered as a {what}",
            )
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
        replaced=findings.replaces.total(),
    )
    summary = (
        f"{tally.records:,} commands = {tally.orders:,} orders + {tally.cancelled:,} cancellations + "
        f"{tally.replaced:,} replacements + {tally.refused:,} refused + {tally.dead_letters:,} dead letters"
    )
    return problems.check("One answer per command", summary), tally


def final_states(findings: OrderFindings) -> Counter[str]:
    """Orders by their last state; those that have not ended count as LIVE."""
    return Counter(life.status if life.ended else "LIVE" for life in findings.lives.values())


def orders_by_type(findings: OrderFindings) -> dict[str, Counter[str]]:
    """Orders by type, and of each type by time in force."""
    found: dict[str, Counter[str]] = {}
    for life in findings.lives.values():
        found.setdefault(life.order_type, Counter())[life.time_in_force] += 1
    return found
