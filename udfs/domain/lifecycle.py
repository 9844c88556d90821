"""The states of an order and the transitions that exist, as a table; every other transition is a bug.

Ordering: an order starts as PENDING (never published) and ends in exactly one final state.
Invariant: `transition` is called for every order-event that changes an order, so an illegal one cannot be published.
FIX: `FIX_ORD_STATUS` gives tag 39 of each state; VALIDATED and RISK_APPROVED are steps of FIX's pending-new, ROUTED is
new. `fix_exec_type` gives tag 150 of an event. A client sees the answer to a cancel or a replacement, never a state in
between, so that FIX's pending-cancel and pending-replace have no event here, and one order has one state at a time.
Complexity: constant.
"""

from typing import Final

from schemas.messages.enums import (
    ORDER_EVENT_TYPE_RESTATED,
    ORDER_EVENT_TYPE_STATUS,
    ORDER_EVENT_TYPE_TRIGGERED,
    ORDER_STATUS_CANCELLED,
    ORDER_STATUS_EXECUTED,
    ORDER_STATUS_EXPIRED,
    ORDER_STATUS_NAMES,
    ORDER_STATUS_PARTIALLY_FILLED,
    ORDER_STATUS_PENDING,
    ORDER_STATUS_REJECTED,
    ORDER_STATUS_REPLACED,
    ORDER_STATUS_RISK_APPROVED,
    ORDER_STATUS_ROUTED,
    ORDER_STATUS_VALIDATED,
)
from udfs.domain.book import InvariantViolation

TRANSITIONS: Final[dict[int, list[int]]] = {
    ORDER_STATUS_PENDING: [ORDER_STATUS_VALIDATED, ORDER_STATUS_REJECTED],
    ORDER_STATUS_VALIDATED: [ORDER_STATUS_RISK_APPROVED, ORDER_STATUS_REJECTED],
    ORDER_STATUS_RISK_APPROVED: [ORDER_STATUS_ROUTED, ORDER_STATUS_CANCELLED, ORDER_STATUS_EXPIRED],
    ORDER_STATUS_ROUTED: [
        ORDER_STATUS_PARTIALLY_FILLED,
        ORDER_STATUS_EXECUTED,
        ORDER_STATUS_CANCELLED,
        ORDER_STATUS_EXPIRED,
        ORDER_STATUS_REPLACED,
    ],
    ORDER_STATUS_PARTIALLY_FILLED: [
        ORDER_STATUS_PARTIALLY_FILLED,
        ORDER_STATUS_EXECUTED,
        ORDER_STATUS_CANCELLED,
        ORDER_STATUS_EXPIRED,
        ORDER_STATUS_REPLACED,
    ],
    # An order with new terms goes on: what was a final state in FIX 4.2 is only a step here, as in FIX 4.4.
    ORDER_STATUS_REPLACED: [
        ORDER_STATUS_PARTIALLY_FILLED,
        ORDER_STATUS_EXECUTED,
        ORDER_STATUS_CANCELLED,
        ORDER_STATUS_EXPIRED,
        ORDER_STATUS_REPLACED,
    ],
    ORDER_STATUS_EXECUTED: [],
    ORDER_STATUS_REJECTED: [],
    ORDER_STATUS_CANCELLED: [],
    ORDER_STATUS_EXPIRED: [],
}

FIX_ORD_STATUS: Final[dict[int, str]] = {
    ORDER_STATUS_PENDING: "A",
    ORDER_STATUS_VALIDATED: "A",
    ORDER_STATUS_RISK_APPROVED: "A",
    ORDER_STATUS_ROUTED: "0",
    ORDER_STATUS_PARTIALLY_FILLED: "1",
    ORDER_STATUS_EXECUTED: "2",
    ORDER_STATUS_REJECTED: "8",
    ORDER_STATUS_CANCELLED: "4",
    ORDER_STATUS_REPLACED: "5",
    ORDER_STATUS_EXPIRED: "C",
}
"""FIX 4.4 tag 39 (OrdStatus)."""

_FIX_TRADE: Final = "F"
_FIX_RESTATED: Final = "D"
_FIX_TRIGGERED: Final = "L"


def fix_exec_type(event_type: int, status: int) -> str:
    """FIX tag 150 (ExecType) of an order event: what happened, where tag 39 is how the order stands after it.

    A fill is F, new terms by a corporate action or by self-trade prevention D, both as in FIX 4.4; a stop that was
    triggered is L, from FIX 5.0. "" for a refused cancel or replacement: that is another message, 35=9.
    """
    if event_type == ORDER_EVENT_TYPE_RESTATED:
        return _FIX_RESTATED
    if event_type == ORDER_EVENT_TYPE_TRIGGERED:
        return _FIX_TRIGGERED
    if event_type != ORDER_EVENT_TYPE_STATUS:
        return ""
    if status in (ORDER_STATUS_PARTIALLY_FILLED, ORDER_STATUS_EXECUTED):
        return _FIX_TRADE
    return FIX_ORD_STATUS[status]


def _masks() -> list[int]:
    """The table as one bit mask of successors for each state."""
    masks: list[int] = []
    for status in range(len(ORDER_STATUS_NAMES)):
        mask = 0
        for successor in TRANSITIONS.get(status, []):
            mask |= 1 << successor
        masks.append(mask)
    return masks


_MASKS: Final[list[int]] = _masks()


def is_legal(before: int, after: int) -> bool:
    """Whether an order in state `before` may go to state `after`."""
    return (_MASKS[before] >> after) & 1 == 1


def is_final(status: int) -> bool:
    """Whether an order in this state is done."""
    return _MASKS[status] == 0 and status in TRANSITIONS


def transition(before: int, after: int) -> int:
    """Return `after`; raise InvariantViolation when the table does not hold the transition."""
    if (_MASKS[before] >> after) & 1 == 0:
        raise InvariantViolation(f"an order cannot go from {ORDER_STATUS_NAMES[before]} to {ORDER_STATUS_NAMES[after]}")
    return after
