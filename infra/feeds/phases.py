"""The steps of a day that is played, and the controls that lead through it.

Topics race: what one of them says may reach a stage before what another said earlier. Where the order counts, a step ends
only when the jobs have taken what it wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from infra.feeds.items import Item
from schemas.messages import controls
from schemas.messages.enums import CONTROL_KIND_CLOCK, CONTROL_SCOPE_ALL

ISSUER: Final = "tradestream feeds"
EVERYTHING: Final = "*"
"""The Kafka key of a control without a target."""


class Phase(NamedTuple):
    """Some items, and the topics that the jobs must have taken before the next phase is played."""

    name: str
    items: Iterator[Item]
    awaits: tuple[str, ...]


def control_item(
    schema_ids: Mapping[str, int],
    kind: int,
    control_id: str,
    time_ns: int,
    reason: str,
    scope: int = CONTROL_SCOPE_ALL,
    target: str | None = None,
    symbol: str | None = None,
    value: int | None = None,
) -> Item:
    """A control as an item of the topic controls."""
    frame = controls.encode_fields(
        schema_ids["controls"], control_id, kind, scope, target, value, ISSUER, reason, time_ns, symbol
    )
    return "controls", (target or EVERYTHING).encode(), frame, time_ns


def clock_item(schema_ids: Mapping[str, int], control_id: str, time_ns: int, reason: str) -> Item:
    """A CLOCK control: time has reached `time_ns`."""
    return control_item(schema_ids, CONTROL_KIND_CLOCK, control_id, time_ns, reason)
