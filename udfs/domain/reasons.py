"""The reject and end reasons, each with its FIX code and what it means for the person who reads it.

Ordering: rows in the order of the enum. Invariant: every reason of the enum has exactly one row (a test compares).
FIX: tag 103 (OrdRejReason) for a rejected order, tag 102 (CxlRejReason) for a refused cancel, 0 for neither (the order
ended by itself). Codes from FIX 4.4: 103: 1 unknown symbol, 2 exchange closed, 3 order exceeds limit, 5 unknown order,
6 duplicate, 11 unsupported characteristic, 13 incorrect quantity, 15 unknown account, 18 invalid price increment, 99
other; 102: 0 too late, 1 unknown order, 99 other.
"""

from typing import Final

from schemas.messages.enums import REASON_CODE_CODES

ORD_REJ_REASON: Final = 103
CXL_REJ_REASON: Final = 102


class Reason:
    """A row: the name in the enum, the FIX tag and its value (0, 0 when none), and a sentence."""

    __slots__ = ("code", "fix_code", "fix_tag", "meaning", "name")

    def __init__(self, name: str, fix_tag: int, fix_code: int, meaning: str) -> None:
        self.name = name
        self.code: int = REASON_CODE_CODES[name]
        self.fix_tag = fix_tag
        self.fix_code = fix_code
        self.meaning = meaning


REASONS: Final[list[Reason]] = [
    Reason("NONE", 0, 0, "The ordinary course."),
    Reason("VALIDATION_UNKNOWN_ACCOUNT", 103, 15, "The account is not in the reference data."),
    Reason("VALIDATION_ACCOUNT_INACTIVE", 103, 15, "The account exists but may not trade."),
    Reason("VALIDATION_UNKNOWN_SYMBOL", 103, 1, "The symbol is not in the reference data."),
    Reason("VALIDATION_SYMBOL_INACTIVE", 103, 1, "The instrument exists but is not traded."),
    Reason("VALIDATION_QUANTITY_NOT_POSITIVE", 103, 13, "The quantity is zero or negative."),
    Reason("VALIDATION_QUANTITY_TOO_LARGE", 103, 13, "The quantity is above what any venue accepts."),
    Reason("VALIDATION_PRICE_MISSING", 103, 99, "A limit order has no limit price."),
    Reason("VALIDATION_PRICE_NOT_POSITIVE", 103, 99, "The limit price is zero or negative."),
    Reason("VALIDATION_PRICE_NOT_ALLOWED", 103, 99, "A price that the type does not take, or one too high to be real."),
    Reason("VALIDATION_PRICE_INCREMENT", 103, 18, "The price is not a multiple of the tick (Rule 612)."),
    Reason("VALIDATION_UNSUPPORTED_ORDER_TYPE", 103, 11, "The order type, or an instruction with it, is not offered."),
    Reason("VALIDATION_UNSUPPORTED_TIME_IN_FORCE", 103, 11, "The time in force is not offered."),
    Reason("VALIDATION_UNSUPPORTED_SIDE", 103, 11, "The side is not offered."),
    Reason("VALIDATION_UNSUPPORTED_COMMAND", 102, 99, "The command is not offered; the order stays as it was."),
    Reason("VALIDATION_SESSION_CLOSED", 103, 2, "No session is open at the order's time, or it has closed since."),
    Reason(
        "VALIDATION_ORDER_ID_INVALID", 103, 99, "The order id is empty, too long or holds other than visible ASCII."
    ),
    Reason("RISK_BUYING_POWER", 103, 3, "The account's free cash does not cover what the order may cost."),
    Reason("RISK_INSUFFICIENT_POSITION", 103, 3, "The account does not hold the shares, or has offered them already."),
    Reason("RISK_POSITION_LIMIT", 103, 3, "With its open purchases the account would hold more than its limit."),
    Reason("RISK_ORDER_NOTIONAL", 103, 3, "The order's value is above the account's limit for one order."),
    Reason("RISK_ORDER_QUANTITY", 103, 3, "The order's quantity is above the account's limit for one order."),
    Reason("RISK_NO_REFERENCE_PRICE", 103, 99, "A market order has no national best price to be collared by."),
    Reason("CANCEL_UNKNOWN_ORDER", 102, 1, "The account has no such order."),
    Reason("CANCEL_TOO_LATE", 102, 0, "The order is done already."),
    Reason("CANCEL_WRONG_ACCOUNT", 102, 99, "The order is another account's."),
    Reason("MATCH_NO_LIQUIDITY", 0, 0, "Nothing was left to execute a market order against."),
    Reason("MATCH_IOC_REMAINDER", 0, 0, "What an immediate-or-cancel order could not fill at once."),
    Reason("MATCH_COLLAR", 0, 0, "What a market order could not fill within its collar."),
    Reason("CANCEL_REQUESTED", 0, 0, "The client cancelled the order."),
    Reason("EXPIRY_SESSION_CLOSE", 0, 0, "A day order reached the close of its session."),
    Reason("UNKNOWN", 0, 0, "A reason of a newer release."),
]

NOT_REACHABLE: Final[dict[str, str]] = {
    "NONE": "not a refusal",
    "UNKNOWN": "never written; what a reader makes of a newer reason",
    "CANCEL_WRONG_ACCOUNT": (
        "order ids belong to their account, so another account's order cannot be named; "
        "to say that it exists would leak it"
    ),
}
"""Reasons that this release never gives, and why; every other one has a golden scenario."""
