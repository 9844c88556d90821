"""Controls as messages: how what an operator says becomes a record of the topic controls, and how it gets there.

A control is checked here for its form only. Whether it can be applied (the account exists, the limit makes sense) the risk
stage decides, and says so in risk-events. A control has an identity and is applied once, so that a command of which nobody
knows whether Kafka took it can be repeated.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import shlex
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from jobs.config import Config
from schemas.catalogue import TOPICS
from schemas.messages import controls

TOPIC: Final = TOPICS["controls"]
EVERYTHING: Final = "*"
"""The Kafka key of a control without a target."""

_MAX_LONG: Final = 2**63 - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_NAME_BYTES: Final = 64
_MAX_ID: Final = 128

_MONEY, _SHARES, _ORDERS, _RATIO = "money", "shares", "orders", "ratio"
LIMIT_UNITS: Final[dict[str, str]] = {
    "ORDER_QUANTITY": _SHARES,
    "ORDER_NOTIONAL": _MONEY,
    "POSITION": _SHARES,
    "DAILY_NOTIONAL": _MONEY,
    "ORDER_RATE": _ORDERS,
    "OPEN_ORDERS": _ORDERS,
    "CONCENTRATION": _RATIO,
    "PRICE_DEVIATION": _RATIO,
    "FIRM_CAPITAL": _MONEY,
}
"""In what each limit is counted. FIRM_CAPITAL is the firm's, all others are an account's."""
ALWAYS_LIMITED: Final = frozenset({"ORDER_QUANTITY", "ORDER_NOTIONAL", "POSITION"})
"""The limits that an account always has; the others can be taken away."""
NO_LIMIT: Final = "none"
_UNITS: Final = {
    _MONEY: "money such as 250000 or 99.95",
    _SHARES: "a whole number of shares",
    _ORDERS: "a whole number of orders",
    _RATIO: "a percentage such as 2.5%",
}


def parse_e4(text: str) -> int:
    """Decimal text with up to four places as a count of 1/10,000. Raises ValueError."""
    match = re.fullmatch(r"([0-9]{1,15})(?:\.([0-9]{1,4}))?", text)
    if match is None:
        raise ValueError(f"{text!r} is not a number with at most four decimals and no sign, such as 4800.25")
    value = int(match[1]) * 10_000 + int((match[2] or "").ljust(4, "0"))
    if value > _MAX_LONG:
        raise ValueError(f"{text} is too large")
    return value


def parse_amount(text: str) -> int:
    """Money that moves, as a count of 1/10,000; more than nothing. Raises ValueError."""
    amount = parse_e4(text)
    if amount == 0:
        raise ValueError("nothing would move")
    return amount


def parse_limit(limit: str, text: str) -> int | None:
    """The value of a limit as the topic has it, None to take it away. Raises ValueError that names the unit."""
    if text == NO_LIMIT and limit not in ALWAYS_LIMITED:
        return None
    unit = LIMIT_UNITS[limit]
    try:
        if unit == _MONEY:
            return parse_e4(text)
        if unit == _RATIO:
            if not text.endswith("%"):
                raise ValueError("no percent sign at its end")
            value = parse_e4(text[:-1])
            if value % 100:
                raise ValueError("finer than 0.01%")
            return value // 100
        if re.fullmatch(r"[0-9]{1,15}", text) is None:
            raise ValueError("not a whole number without a sign")
    except ValueError as error:
        raise ValueError(f"{limit} takes {_UNITS[unit]}, not {text!r}: {error}") from None
    return int(text)


def parse_time_ns(text: str) -> int:
    """An ISO 8601 time, of New York when it names no offset, as UTC nanoseconds. Raises ValueError."""
    from jobs.tail import NEW_YORK

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an ISO 8601 time such as 2026-11-20T16:00:00-05:00") from None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=NEW_YORK)
    since = aware.astimezone(UTC) - _EPOCH
    time_ns = since // timedelta(microseconds=1) * 1_000
    if not 0 <= time_ns <= _MAX_LONG:
        raise ValueError(f"{text} is before 1970 or after 2262")
    return time_ns


def parse_date(text: str) -> str:
    """A day as YYYY-MM-DD. Raises ValueError."""
    try:
        return f"{date.fromisoformat(text)}"
    except ValueError:
        raise ValueError(f"{text!r} is not a date such as 2026-11-30") from None


def parse_name(text: str) -> str:
    """An account or a symbol. Raises ValueError."""
    if not text or not text.isprintable() or any(char.isspace() for char in text) or text == EVERYTHING:
        raise ValueError(f"{text!r} is no name: it is empty, {EVERYTHING}, or has spaces or unprintable characters")
    if len(text.encode()) > _MAX_NAME_BYTES:
        raise ValueError(f"a name has at most {_MAX_NAME_BYTES} bytes")
    return text


def parse_identity(text: str) -> str:
    """The identity of a control. Raises ValueError."""
    if re.fullmatch(rf"[\x21-\x7e]{{1,{_MAX_ID}}}", text) is None:
        raise ValueError(f"an id is visible ASCII without spaces, at most {_MAX_ID} characters")
    return text


def parse_words(text: str) -> str:
    """Who or why. Raises ValueError."""
    if not text.strip():
        raise ValueError("it is empty, and the audit needs it")
    return text


def current_user() -> str:
    """The user of the operating system that runs this process; its number when it has no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


@dataclass(frozen=True, slots=True)
class Draft:
    """What a control says, without who, why and which. `time_ns` None: now."""

    kind: str
    scope: str = "ALL"
    target: str | None = None
    symbol: str | None = None
    limit: str | None = None
    value: int | None = None
    time_ns: int | None = None
    settlement_date: str | None = None
    failed_sale: str | None = None

    @property
    def key(self) -> str:
        """Its Kafka key."""
        return self.target or EVERYTHING


def compose(draft: Draft, reason: str, issued_by: str, control_id: str | None) -> dict[str, Any]:
    """The message, in the form of the example payloads. Without an id it gets one that is made of everything else."""
    time_ns = time.time_ns() if draft.time_ns is None else draft.time_ns
    about = draft.target or draft.symbol or "all"
    if not (about.isascii() and len(about) <= _MAX_NAME_BYTES):
        about = "-"
    fail = (draft.settlement_date, draft.failed_sale) if draft.failed_sale else ()
    rest = (draft.scope, draft.target, draft.symbol, draft.limit, draft.value, *fail, issued_by, reason)
    digest = hashlib.sha256("\n".join(map(str, rest)).encode()).hexdigest()[:8]
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    moment = f"{_EPOCH + timedelta(seconds=seconds):%Y%m%dT%H%M%S}.{fraction:09d}Z"
    return {
        "controlId": control_id or f"{draft.kind.lower()}-{about}-{moment}-{digest}",
        "kind": draft.kind,
        "scope": draft.scope,
        "target": draft.target,
        "value": draft.value,
        "issuedBy": issued_by,
        "reason": reason,
        "timestamp": time_ns,
        "symbol": draft.symbol,
        "limit": draft.limit,
        "settlementDate": draft.settlement_date,
        "failedSale": draft.failed_sale,
    }


def publish(config: Config, key: str, message: dict[str, Any]) -> None:
    """Write a control and wait until Kafka has it.

    Raises EncodeError when the schema cannot hold it, RegistryError, PublishError.
    """
    from infra.feeds.publisher import Publisher
    from jobs.cli_schemas import open_registry

    control = controls.from_dict(message)
    schema_id = open_registry(config).register(TOPIC.subject, TOPIC.schema_file.read_text(encoding="utf-8"))
    item = (TOPIC.name, key.encode(), controls.encode(control, schema_id), control.timestamp)
    Publisher(config.kafka, linger_ms=0.0).play([item])


def effects(message: dict[str, Any]) -> list[str]:
    """Commands that show what a control did."""
    tail = "tradestream tail {} --from 5m --where {}={}"
    answer = tail.format("risk-events", "controlId", shlex.quote(message["controlId"]))
    states = "tradestream tail market-status --from 5m"
    if message["scope"] == "SYMBOL":
        states = tail.format("market-status", "symbol", shlex.quote(message["target"]))
    # The account's events: calls that a deposit has met, or a part of them.
    calls = tail.format("risk-events", "accountId", shlex.quote(message["target"] or "*"))
    fails = tail.format("risk-events", "reason", "RISK_CLOSE_OUT")
    shown = {
        "KILL": [answer, tail.format("order-events", "reason", "CANCEL_KILL_SWITCH")],
        "HALT": [answer, states],
        "UNHALT": [answer, states],
        "PAUSE": [answer, states],
        "INDEX_LEVEL": [states],
        "DELIVERY_FAILED": [answer, fails],
        "DELIVERY_MADE": [answer, fails],
        "DEPOSIT": [answer, calls],
        "WITHDRAWAL": [answer, calls],
        "CLOCK": [states, tail.format("order-events", "reason", "EXPIRY_SESSION_CLOSE")],
    }
    return shown.get(message["kind"], [answer])
