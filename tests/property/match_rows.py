"""The rows of `tradestream match`, as text, and everything that can be said in them with `--rules bare`."""

from __future__ import annotations

from typing import Final, NamedTuple

HEADER: Final = (
    "seq,timestamp_ns,command,order_id,account_id,symbol,side,order_type,time_in_force,quantity,price,stop_price,stp"
)
REPORT_HEADER: Final = "seq,event,order_id,contra_order_id,symbol,side,price,quantity,leaves_quantity,reason"

EVENTS: Final = ("ACCEPTED", "TRADE", "CANCELLED", "REPLACED", "TRIGGERED", "REJECTED")
"""The events of the book alone. It is always open, so that nothing expires."""

REASONS: Final = (
    "VALIDATION_MALFORMED",
    "VALIDATION_ORDER_ID_INVALID",
    "VALIDATION_DUPLICATE_ORDER_ID",
    "VALIDATION_UNSUPPORTED_SIDE",
    "VALIDATION_UNSUPPORTED_ORDER_TYPE",
    "VALIDATION_UNSUPPORTED_TIME_IN_FORCE",
    "VALIDATION_QUANTITY_NOT_POSITIVE",
    "VALIDATION_PRICE_MISSING",
    "VALIDATION_PRICE_NOT_POSITIVE",
    "VALIDATION_PRICE_NOT_ALLOWED",
    "VALIDATION_STOP_PRICE_MISSING",
    "VALIDATION_STOP_PRICE_INVALID",
    "CANCEL_UNKNOWN_ORDER",
    "CANCEL_TOO_LATE",
    "CANCEL_WRONG_ACCOUNT",
    "REPLACE_UNKNOWN_ORDER",
    "REPLACE_TOO_LATE",
    "CANCEL_REQUESTED",
    "REPLACE_FILLED",
    "MATCH_NO_LIQUIDITY",
    "MATCH_IOC_REMAINDER",
    "MATCH_FOK_UNFILLED",
    "MATCH_SELF_TRADE",
)
"""The reasons of the book alone: first those of a REJECTED line, from CANCEL_REQUESTED on those of a CANCELLED line."""

PAIRS: Final = frozenset(
    [(event, "") for event in ("ACCEPTED", "TRADE", "REPLACED", "TRIGGERED")]
    + [("REJECTED", reason) for reason in REASONS[: REASONS.index("CANCEL_REQUESTED")]]
    + [("CANCELLED", reason) for reason in REASONS[REASONS.index("CANCEL_REQUESTED") :]]
)
"""Every pair of event and reason that can come out."""

SIDES: Final = ("BUY", "SELL", "SELL_SHORT")
ORDER_TYPES: Final = ("MARKET", "LIMIT", "STOP", "STOP_LIMIT")
TIMES_IN_FORCE: Final = ("DAY", "GTC", "IOC", "FOK")
STP_MODES: Final = ("NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT")


class Command(NamedTuple):
    """One row of the input, as text."""

    seq: str
    timestamp_ns: str
    command: str
    order_id: str
    account_id: str
    symbol: str
    side: str
    order_type: str
    time_in_force: str
    quantity: str
    price: str
    stop_price: str
    stp: str


class Line(NamedTuple):
    """One row of the output, as text."""

    seq: str
    event: str
    order_id: str
    contra_order_id: str
    symbol: str
    side: str
    price: str
    quantity: str
    leaves_quantity: str
    reason: str


SITUATIONS: Final = frozenset(
    [
        "cancel resting",
        "cancel waiting",
        "stop triggered on arrival",
        "cascade of more than five",
        "FOK filled by several",
    ]
    + ["one print triggers both sides", "one print triggers two at one stop price", "triggered while others are queued"]
    + ["replace asks back what DECREMENT took off"]
    + [f"replace {state} {place} its place" for state in ("resting", "waiting") for place in ("keeps", "loses")]
    + [f"triggered {kind} {tif}" for kind in ("STOP", "STOP_LIMIT") for tif in TIMES_IN_FORCE]
    + [f"self-trade {mode} {kind}" for mode in STP_MODES[1:] for kind in ("limit", "market")]
    + [f"FOK scan meets its own, {mode}" for mode in STP_MODES[1:]]
    + [f"decrement {ends}" for ends in ("equal", "maker", "taker")]
)
"""What a sample of streams has to reach besides PAIRS."""
