"""The states of an order and the transitions that exist, as a table; every other transition is a bug.

Ordering: an order starts as PENDING (never published) and ends in exactly one final state.
Invariant: `transition` is called for every order-event that changes an order, so an illegal one cannot be published.
FIX: `FIX_ORD_STATUS` gives tag 39 of each state; VALIDATED and RISK_APPROVED are steps of FIX's pending-new, ROUTED is
new. `FIX_EXEC_TYPE` has tag 150 of what `exec_type_of` says. A client sees the answer to a cancel or a replacement, never a
state in between, so that FIX's pending-cancel and pending-replace have no event here, and one order has one state at a
time.
Complexity: constant.
"""

from typing import Final

from schemas.messages.enums import (
    EXEC_TYPE_CANCELLED,
    EXEC_TYPE_EXPIRED,
    EXEC_TYPE_NEW,
    EXEC_TYPE_PENDING_NEW,
    EXEC_TYPE_REJECTED,
    EXEC_TYPE_REPLACED,
    EXEC_TYPE_RESTATED,
    EXEC_TYPE_TRADE,
    EXEC_TYPE_TRIGGERED,
    EXEC_TYPE_UNKNOWN,
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

FIX_EXEC_TYPE: Final[dict[int, str]] = {
    EXEC_TYPE_PENDING_NEW: "A",
    EXEC_TYPE_NEW: "0",
    EXEC_TYPE_TRADE: "F",
    EXEC_TYPE_CANCELLED: "4",
    EXEC_TYPE_REPLACED: "5",
    EXEC_TYPE_REJECTED: "8",
    EXEC_TYPE_EXPIRED: "C",
    EXEC_TYPE_RESTATED: "D",
    EXEC_TYPE_TRIGGERED: "L",
}
"""Tag 150 (ExecType): FIX 4.4, TRIGGERED of FIX 5.0."""

NO_EXEC_TYPE: Final = -1
"""Of a refused cancel or replacement: that is another message of FIX, 35=9."""

_EXEC_TYPES: Final[dict[int, int]] = {
    ORDER_STATUS_PENDING: EXEC_TYPE_PENDING_NEW,
    ORDER_STATUS_VALIDATED: EXEC_TYPE_PENDING_NEW,
    ORDER_STATUS_RISK_APPROVED: EXEC_TYPE_PENDING_NEW,
    ORDER_STATUS_ROUTED: EXEC_TYPE_NEW,
    ORDER_STATUS_PARTIALLY_FILLED: EXEC_TYPE_TRADE,
    ORDER_STATUS_EXECUTED: EXEC_TYPE_TRADE,
    ORDER_STATUS_REJECTED: EXEC_TYPE_REJECTED,
    ORDER_STATUS_CANCELLED: EXEC_TYPE_CANCELLED,
    ORDER_STATUS_REPLACED: EXEC_TYPE_REPLACED,
    ORDER_STATUS_EXPIRED: EXEC_TYPE_EXPIRED,
}


def _exec_types() -> list[int]:
    """`_EXEC_TYPES` as a list by status."""
    return [_EXEC_TYPES.get(status, EXEC_TYPE_UNKNOWN) for status in range(len(ORDER_STATUS_NAMES))]


_EXEC_TYPE_OF: Final[list[int]] = _exec_types()


def exec_type_of(event_type: int, status: int) -> int:
    """What an order event tells (EXEC_TYPE_*), where its status is how the order stands after it; or NO_EXEC_TYPE.

    A fill is a trade, new terms by a corporate action or by self-trade prevention are RESTATED, both as in FIX 4.4.
    """
    if event_type == ORDER_EVENT_TYPE_STATUS:
        return _EXEC_TYPE_OF[status]
    if event_type == ORDER_EVENT_TYPE_RESTATED:
        return EXEC_TYPE_RESTATED
    return EXEC_TYPE_TRIGGERED if event_type == ORDER_EVENT_TYPE_TRIGGERED else NO_EXEC_TYPE


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
