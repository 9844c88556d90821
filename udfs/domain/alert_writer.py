"""Alerts as records: what caused them, what they say, and how long a rule keeps quiet after one.

Invariant: an alert's bytes depend on the rule, the values and the place of the record that caused it, and on nothing else.
Complexity: constant.
"""

from typing import Final

from schemas.messages.alerts import encode_fields
from udfs.domain.alert_index import HIGH, Machine
from udfs.domain.alert_rules import INDICATOR, alert_text, threshold_of, watched
from udfs.domain.ids import position_id
from udfs.domain.outbox import Lane
from udfs.domain.sources import TOPICS

_NS_PER_S: Final = 1_000_000_000


class Cause:
    """The record that is being applied.

    cause_id: identity of the event. named: what the alert is named by besides its rule, when it is not the record's place, as
    for one of several bars that one record closes. time_ns: the event's. now_ns: by which a cool-down is measured.
    """

    __slots__ = ("cause_id", "named", "now_ns", "offset", "partition", "source", "time_ns")

    def __init__(
        self, source: int, partition: int, offset: int, cause_id: str, named: str, time_ns: int, now_ns: int
    ) -> None:
        self.source = source
        self.partition = partition
        self.offset = offset
        self.cause_id = cause_id
        self.named = named
        self.time_ns = time_ns
        self.now_ns = now_ns


class AlertWriter:
    """Writes alerts. given, cooling: alerts written, and left out in a cool-down, since it was made."""

    __slots__ = ("cooling", "given", "lane", "schema_id")

    def __init__(self, lane: Lane, schema_id: int) -> None:
        self.lane = lane
        self.schema_id = schema_id
        self.given: int = 0
        self.cooling: int = 0

    def put(
        self,
        machine: Machine,
        key: bytes,
        value: int,
        previous: int | None,
        reference: int | None,
        cause: Cause,
        note: str,
    ) -> None:
        """Write an alert, unless the rule's last one for the symbol was too short a time ago."""
        rule = machine.rule
        if rule.cooldown_seconds and cause.now_ns - machine.last_ns < rule.cooldown_seconds * _NS_PER_S:
            self.cooling += 1
            return
        machine.last_ns = cause.now_ns
        self.given += 1
        topic = TOPICS[cause.source]
        named = cause.named or f"{machine.symbol}:{position_id(topic, cause.partition, cause.offset)}"
        of_indicator = watched(rule)[0] == INDICATOR
        frame = encode_fields(
            self.schema_id,
            f"{rule.rule_id}:{named}",
            rule.rule_id,
            rule.version,
            rule.owner,
            machine.symbol,
            rule.condition,
            rule.severity,
            threshold_of(rule),
            value,
            cause.cause_id,
            cause.time_ns,
            previous,
            reference,
            rule.window_seconds,
            rule.indicator if of_indicator else None,
            rule.period if of_indicator else None,
            rule.second_indicator if of_indicator else None,
            rule.second_period if of_indicator else None,
            topic,
            cause.partition,
            cause.offset,
            alert_text(rule, machine.symbol, value, reference, machine.state == HIGH, note),
        )
        self.lane.put(key, frame)
