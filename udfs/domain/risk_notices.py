"""Risk events that no order causes: controls, margin calls, settlements, exercises.

Ordering: as written; the events of one account are numbered by its own counter, which is part of the state, so that a
replay gives the same identities.
Invariants: each control of a shard that answers for it is audited exactly once, with who and why.
Complexity: constant.
"""

from typing import Final

from schemas.messages import risk_events
from schemas.messages.controls import Control
from schemas.messages.enums import (
    CONTROL_KIND_NAMES,
    CONTROL_SCOPE_NAMES,
    FAILED_SALE_NAMES,
    LIMIT_KIND_NAMES,
    REASON_CODE_NONE,
    RISK_EVENT_TYPE_CONTROL_APPLIED,
    RISK_EVENT_TYPE_CONTROL_REJECTED,
)
from udfs.domain.holdings import AccountState
from udfs.domain.ids import account_event_id, control_event_id
from udfs.domain.outbox import Outbox

_MAX_DETAIL: Final = 1_024
_LONG_MAX: Final = 2**63 - 1
ALL_ACCOUNTS: Final = "*"


def clamp(value: int) -> int:
    """A number cut to what a record holds."""
    return max(-_LONG_MAX, min(value, _LONG_MAX))


def clamp_optional(value: int | None) -> int | None:
    """The same for a number that may be missing."""
    return None if value is None else clamp(value)


def cut(text: str) -> str:
    """A text cut to the bytes that a record holds."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= _MAX_DETAIL:
        return encoded.decode("utf-8")
    return encoded[:_MAX_DETAIL].decode("utf-8", "ignore")


class Notices:
    """Writes the risk events of one shard."""

    __slots__ = ("outbox", "schema_id")

    def __init__(self, outbox: Outbox, schema_id: int) -> None:
        self.outbox = outbox
        self.schema_id = schema_id

    def put(
        self,
        account: AccountState,
        event_type: int,
        symbol: str | None,
        reason: int,
        detail: str,
        limit: int | None,
        observed: int | None,
        buying_power_e4: int,
        time_ns: int,
        quantity: int | None = None,
        cash_change_e4: int | None = None,
    ) -> None:
        """Write an event of an account."""
        account.notices += 1
        self.outbox.risk_events.put(
            account.account_id.encode("utf-8"),
            risk_events.encode_fields(
                self.schema_id,
                account_event_id(account.account_id, account.notices),
                event_type,
                account.account_id,
                None,
                symbol,
                reason,
                cut(detail),
                clamp_optional(limit),
                clamp_optional(observed),
                clamp(buying_power_e4),
                time_ns,
                None,
                None,
                quantity,
                clamp_optional(cash_change_e4),
            ),
        )

    def control(
        self,
        control: Control,
        position: str,
        problem: str,
        account_id: str,
        symbol: str | None,
        buying_power_e4: int,
        most_e4: int | None = None,
        cash_change_e4: int | None = None,
    ) -> None:
        """Audit a control: applied, or rejected because of `problem`; `most_e4`: the money that it could have moved."""
        limit = control.limit
        parts = [f"kind={CONTROL_KIND_NAMES[control.kind]} scope={CONTROL_SCOPE_NAMES[control.scope]}"]
        if control.target is not None:
            parts.append("target=" + control.target)
        if control.symbol is not None:
            parts.append("symbol=" + control.symbol)
        if limit is not None:
            parts.append("limit=" + LIMIT_KIND_NAMES[limit])
        if control.value is not None:
            parts.append("value=" + str(control.value))
        if control.settlement_date is not None:
            parts.append("settlement=" + control.settlement_date)
        if control.failed_sale is not None:
            parts.append("sale=" + FAILED_SALE_NAMES[control.failed_sale])
        if problem:
            parts.append("problem=" + problem)
        parts.append("reason=" + control.reason)
        self.outbox.risk_events.put(
            account_id.encode("utf-8"),
            risk_events.encode_fields(
                self.schema_id,
                control_event_id(position, "" if account_id == ALL_ACCOUNTS else account_id),
                RISK_EVENT_TYPE_CONTROL_REJECTED if problem else RISK_EVENT_TYPE_CONTROL_APPLIED,
                account_id,
                None,
                symbol,
                REASON_CODE_NONE,
                cut(" ".join(parts)),
                clamp_optional(most_e4),
                control.value,
                clamp(buying_power_e4),
                control.timestamp,
                control.control_id,
                control.issued_by,
                None,
                cash_change_e4,
            ),
        )
