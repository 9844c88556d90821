"""What a reconciliation is made of: the rows that it reads, the findings that it makes, and the comparison of counts.

All functions of `reconcile*.py` are pure: rows in, `Check`s out. They know the published contracts (topics, Avro fields,
the form of ids) and share no code with the jobs whose work they judge. A check that fails says what differs, by id and number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

SHOWN_PROBLEMS: Final = 8
"""Problems of one check that are kept as text; all are counted."""
TERMINAL: Final = frozenset({"EXECUTED", "CANCELLED", "EXPIRED", "REJECTED"})
"""REPLACED is none of them: an order goes on with its new terms."""
OWN_VENUE: Final = "TRDS"


class CommandRow(NamedTuple):
    """A row of table orders: a command as a client sent it."""

    partition: int
    offset: int
    command: str
    order_id: str
    account_id: str
    quantity: int


class EventRow(NamedTuple):
    """A row of table order_events. Prices in 1/10,000; `price_e4` is the price of the fill, None when it is none.

    time_ns: the time of its input, of a fill also of the execution; UTC nanoseconds.
    """

    event_id: str
    event_type: str
    order_id: str
    account_id: str
    symbol: str
    side: str
    order_type: str
    time_in_force: str
    quantity: int
    status: str
    reason: str
    cum_quantity: int
    leaves_quantity: int
    last_quantity: int
    price_e4: int | None
    trade_id: str | None
    sequence: int
    cause_id: str
    time_ns: int


class TradeRow(NamedTuple):
    """A row of table trade_events: one side of one execution. Of `commission_e4` are `fees_e4` regulatory."""

    event_id: str
    trade_id: str
    order_id: str
    contra_order_id: str | None
    account_id: str
    symbol: str
    side: str
    quantity: int
    price_e4: int
    commission_e4: int
    venue: str
    liquidity: str
    order_sequence: int
    fees_e4: int


class DeadLetterRow(NamedTuple):
    """A row of table dead_letters. `topic` is dead-letter, or the topic of a record that the archive could not decode."""

    topic: str
    job: str
    source_topic: str
    source_partition: int
    source_offset: int
    reason: str


class AuctionRow(NamedTuple):
    """A row of table market_status that tells of an auction in which something traded. The price in 1/10,000."""

    event_id: str
    symbol: str
    state: str
    cause: str
    price_e4: int
    quantity: int


class ControlRow(NamedTuple):
    """A row of table risk_events that answers a control."""

    control_id: str
    type: str
    detail: str


class CashMove(NamedTuple):
    """A row of table risk_events that says that a customer's cash came (negative: went); 1/10,000 of the currency."""

    control_id: str
    account_id: str
    amount_e4: int


@dataclass(frozen=True, slots=True)
class OpeningAccount:
    """What reference data says of an account. Money in 1/10,000; a margin account may owe money and shares."""

    account_id: str
    cash_e4: int
    commission_e4: int
    max_position: int
    positions: Mapping[str, int]
    margin: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `summary` is a line with the numbers; `problems` the first differences, `problem_count` all of them."""

    name: str
    summary: str
    problems: tuple[str, ...] = ()
    problem_count: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return self.problem_count == 0


@dataclass(slots=True)
class Problems:
    """Collects differences: the first few as text, the rest as a number."""

    texts: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, text: str) -> None:
        """Note one."""
        self.count += 1
        if len(self.texts) < SHOWN_PROBLEMS:
            self.texts.append(text)

    def expect(self, holds: bool, text: str) -> None:
        """Note one unless `holds`."""
        if not holds:
            self.add(text)

    def check(self, name: str, summary: str) -> Check:
        """The finding."""
        return Check(name, summary, tuple(self.texts), self.count)


@dataclass(frozen=True, slots=True)
class TopicCount:
    """One archived topic. `missing` and `surplus`: first positions ("partition/offset") only in Kafka, only in ClickHouse."""

    topic: str
    kafka: int
    clickhouse: int
    missing: tuple[str, ...] = ()
    surplus: tuple[str, ...] = ()
    repeated: int = 0
    """Rows of positions that the table holds already."""


def check_sent(sent: Mapping[str, int], in_kafka: Mapping[str, int]) -> Check:
    """Every record that the player sent, and that the broker acknowledged, is in Kafka, and nothing else is."""
    problems = Problems()
    for topic, count in sent.items():
        there = in_kafka.get(topic, 0)
        problems.expect(count == there, f"{topic}: {count:,} sent and acknowledged, {there:,} in Kafka")
    return problems.check("Sent = in Kafka", f"{sum(sent.values()):,} records of {len(sent)} topics")


def check_archived(counts: Sequence[TopicCount]) -> Check:
    """Each archived topic has as many committed records as its table has rows, at the same positions, without FINAL."""
    problems = Problems()
    for count in counts:
        if count.kafka == count.clickhouse and not (count.missing or count.surplus or count.repeated):
            continue
        parts = [f"{count.topic}: {count.kafka:,} committed in Kafka, {count.clickhouse:,} rows in ClickHouse"]
        if count.missing:
            parts.append(f"not archived: {', '.join(count.missing)}")
        if count.surplus:
            parts.append(f"archived but not in Kafka: {', '.join(count.surplus)}")
        if count.repeated:
            parts.append(f"{count.repeated:,} rows repeat a position")
        problems.add("; ".join(parts))
    total = sum(count.clickhouse for count in counts)
    return problems.check("Kafka = ClickHouse", f"{total:,} rows of {len(counts)} topics, by position, without FINAL")


def check_controls(sent: Sequence[str], answers: Iterable[ControlRow]) -> Check:
    """Each control that was sent is answered once, as applied: controls are never lost, doubled or refused here."""
    problems = Problems()
    found: dict[str, list[str]] = {}
    for answer in answers:
        found.setdefault(answer.control_id, []).append(answer.type)
        problems.expect(
            answer.type == "CONTROL_APPLIED", f"control {answer.control_id}: {answer.type} ({answer.detail})"
        )
    for control_id in sent:
        count = len(found.pop(control_id, []))
        problems.expect(count == 1, f"control {control_id} has {count} answers instead of one")
    for control_id in found:
        problems.add(f"control {control_id} is answered, but was not sent")
    return problems.check("Controls audited", f"{len(sent):,} controls, each applied once, with who and why")


def check_expected(expected: Mapping[str, int], found: Mapping[str, int], also: Iterable[str] = ()) -> Check:
    """Bad input came out as what it is: as many refusals of each reason as the player made records to provoke it.

    also: reasons that good input may meet too (a limit reached, say), of which at least the expected number must be there.
    """
    problems = Problems()
    at_least = frozenset(also)
    for reason in sorted(expected.keys() | found.keys()):
        wanted, there = expected.get(reason, 0), found.get(reason, 0)
        if reason in at_least:
            problems.expect(there >= wanted, f"{reason}: at least {wanted:,} expected, {there:,} found")
        else:
            problems.expect(there == wanted, f"{reason}: {wanted:,} expected, {there:,} found")
    return problems.check(
        "Bad input refused", f"{sum(expected.values()):,} planted records, each refused with its own reason"
    )
