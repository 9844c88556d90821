"""Order events and risk events of the risk stage: rejected orders, and refused cancels and replacements.

Ordering: a reject of risk is VALIDATED and then REJECTED; a reject of validation is REJECTED alone. A replacement that
breaks a limit has a risk event too.
Invariants: an order that is rejected here has no other events; a refused command changes no order, so its event has
sequence 0 and an id of its own.
Complexity: constant.
"""

from schemas.messages import order_events, risk_events
from schemas.messages.enums import (
    ORDER_EVENT_TYPE_REPLACE_REJECTED,
    ORDER_EVENT_TYPE_STATUS,
    ORDER_STATUS_PENDING,
    ORDER_STATUS_REJECTED,
    ORDER_STATUS_VALIDATED,
    REASON_CODE_NONE,
    RISK_EVENT_TYPE_ORDER_REJECTED,
)
from schemas.messages.orders import OrderCommand
from udfs.domain import ids
from udfs.domain.lifecycle import NO_EXEC_TYPE, exec_type_of, transition
from udfs.domain.outbox import Outbox
from udfs.domain.refusal import Refusal
from udfs.domain.risk_notices import clamp, clamp_optional


class RefusalReporter:
    """Writes what the risk stage publishes itself."""

    __slots__ = ("event_schema", "outbox", "risk_schema")

    def __init__(self, outbox: Outbox, event_schema: int, risk_schema: int) -> None:
        self.outbox = outbox
        self.event_schema = event_schema
        self.risk_schema = risk_schema

    def reject_invalid(self, command: OrderCommand, refusal: Refusal, cause_id: str) -> None:
        """The order failed validation."""
        transition(ORDER_STATUS_PENDING, ORDER_STATUS_REJECTED)
        self._event(
            command,
            ids.order_event_id(cause_id, 1),
            ORDER_EVENT_TYPE_STATUS,
            ORDER_STATUS_REJECTED,
            refusal.reason,
            refusal.text,
            0,
            1,
            cause_id,
        )

    def reject_risk(self, command: OrderCommand, refusal: Refusal, buying_power_e4: int, cause_id: str) -> None:
        """The order is valid but breaks a limit."""
        transition(ORDER_STATUS_PENDING, ORDER_STATUS_VALIDATED)
        self._event(
            command,
            ids.order_event_id(cause_id, 1),
            ORDER_EVENT_TYPE_STATUS,
            ORDER_STATUS_VALIDATED,
            REASON_CODE_NONE,
            None,
            command.quantity,
            1,
            cause_id,
        )
        transition(ORDER_STATUS_VALIDATED, ORDER_STATUS_REJECTED)
        self._event(
            command,
            ids.order_event_id(cause_id, 2),
            ORDER_EVENT_TYPE_STATUS,
            ORDER_STATUS_REJECTED,
            refusal.reason,
            refusal.text,
            0,
            2,
            cause_id,
        )
        self._risk_event(command, refusal, buying_power_e4, cause_id)

    def refuse_replacement(
        self, command: OrderCommand, refusal: Refusal, is_risk: bool, buying_power_e4: int, cause_id: str
    ) -> None:
        """A replacement is refused by validation or risk; the order stays as it was."""
        self.refuse_command(command, ORDER_EVENT_TYPE_REPLACE_REJECTED, refusal.reason, refusal.text, cause_id)
        if is_risk:
            self._risk_event(command, refusal, buying_power_e4, cause_id)

    def _risk_event(self, command: OrderCommand, refusal: Refusal, buying_power_e4: int, cause_id: str) -> None:
        """What risk management sees of a refusal."""
        self.outbox.risk_events.put(
            command.account_id.encode("utf-8"),
            risk_events.encode_fields(
                self.risk_schema,
                ids.risk_event_id(cause_id),
                RISK_EVENT_TYPE_ORDER_REJECTED,
                command.account_id,
                command.order_id,
                command.symbol,
                refusal.reason,
                refusal.text,
                clamp_optional(refusal.limit),
                clamp_optional(refusal.observed),
                clamp(buying_power_e4),
                command.timestamp,
            ),
        )

    def refuse_command(
        self, command: OrderCommand, event_type: int, reason: int, text: str | None, cause_id: str
    ) -> None:
        """A cancel or a replacement is refused; its status is REJECTED, which FIX uses when the order is unknown."""
        self._event(
            command,
            ids.refused_command_id(cause_id),
            event_type,
            ORDER_STATUS_REJECTED,
            reason,
            text,
            0,
            0,
            cause_id,
        )

    def _event(
        self,
        command: OrderCommand,
        event_id: str,
        event_type: int,
        status: int,
        reason: int,
        text: str | None,
        leaves: int,
        sequence: int,
        cause_id: str,
    ) -> None:
        """Write one order event with the fields of the command."""
        told = exec_type_of(event_type, status)
        self.outbox.order_events.put(
            command.order_id.encode("utf-8"),
            order_events.encode_fields(
                self.event_schema,
                event_id,
                event_type,
                command.order_id,
                command.account_id,
                command.symbol,
                command.side,
                command.order_type,
                command.time_in_force,
                command.quantity,
                command.price,
                command.stop_price,
                status,
                reason,
                text,
                0,
                leaves,
                0,
                None,
                None,
                None,
                sequence,
                cause_id,
                command.timestamp,
                None if told == NO_EXEC_TYPE else told,
            ),
        )
