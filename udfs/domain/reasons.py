"""The reject and end reasons, each with its FIX code and what it means for the person who reads it.

Ordering: rows in the order of the enum. Invariant: every reason of the enum has exactly one row (a test compares).
FIX: tag 103 (OrdRejReason) for a rejected order, tag 102 (CxlRejReason) for a refused cancel or replacement, 0 for
neither (the order changed or ended by itself). Codes from FIX 4.4 and 5.0: 103: 0 broker's option, 1 unknown symbol, 2
exchange closed, 3 order exceeds limit, 4 too late to enter, 5 unknown order, 6 duplicate, 11 unsupported
characteristic, 13 incorrect quantity, 15 unknown account, 16 price exceeds band, 18 invalid price increment, 99 other;
102: 0 too late, 1 unknown order, 2 broker's option, 99 other. A reason of tag 103 that refuses a replacement is
reported as 102=2, broker's option.
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
    Reason("VALIDATION_STOP_PRICE_MISSING", 103, 99, "A stop order has no stop price."),
    Reason(
        "VALIDATION_STOP_PRICE_INVALID", 103, 99, "The stop price is not positive, no tick, or too high to be real."
    ),
    Reason("VALIDATION_AUCTION_CUTOFF", 103, 4, "Orders for this auction are not taken any more."),
    Reason("VALIDATION_DUPLICATE_ORDER_ID", 103, 6, "An order with this id was accepted before."),
    Reason("VALIDATION_MALFORMED", 103, 99, "A field of the command cannot be read."),
    Reason("VALIDATION_INSTRUMENT_EXPIRED", 103, 99, "The option or future has expired."),
    Reason(
        "VALIDATION_SHORT_MARKING", 103, 99, "A sale marked long without the shares, or short with them (Rule 200)."
    ),
    Reason("RISK_KILL_SWITCH", 103, 0, "The firm, the account or the symbol is switched off."),
    Reason("RISK_REDUCE_ONLY", 103, 0, "Only orders that make a position smaller are taken."),
    Reason("RISK_RESTRICTED", 103, 0, "The symbol is on the restricted list of the firm or of the account."),
    Reason("RISK_SHORT_NOT_ALLOWED", 103, 0, "A cash account does not sell short."),
    Reason("RISK_LOCATE_REQUIRED", 103, 0, "The shares of a short sale are not located (Rule 203)."),
    Reason("RISK_PRICE_DEVIATION", 103, 16, "The limit price is too far beyond the market."),
    Reason("RISK_ORDER_RATE", 103, 3, "The account sends more orders in a second than it may."),
    Reason("RISK_DUPLICATE_ORDER", 103, 6, "An order with the same terms was approved a moment ago."),
    Reason("RISK_DAILY_NOTIONAL", 103, 3, "The account's approved orders of the session would exceed its limit."),
    Reason("RISK_FIRM_CAPITAL", 103, 3, "The firm's open and filled orders would exceed its capital threshold."),
    Reason("RISK_CONCENTRATION", 103, 3, "One symbol, sector or day's volume would be too large a part."),
    Reason("RISK_OPEN_ORDERS", 103, 3, "The account has as many open orders as it may have."),
    Reason("RISK_INITIAL_MARGIN", 103, 3, "The account's excess does not carry the order (Regulation T)."),
    Reason("RISK_MINIMUM_EQUITY", 103, 3, "A margin account below the minimum equity only pays in full (FINRA 4210)."),
    Reason("RISK_DAY_TRADING", 103, 3, "A pattern day trader's equity or buying power is too small."),
    Reason("RISK_INTRADAY_MARGIN", 103, 3, "The order would make or enlarge an intraday margin deficit."),
    Reason("RISK_ACCOUNT_FROZEN", 103, 0, "The account is frozen: purchases are paid in full, nothing is sold short."),
    Reason("MATCH_SELF_TRADE", 0, 0, "Taken off so that the account, or its group, does not trade with itself."),
    Reason("MATCH_FOK_UNFILLED", 0, 0, "A fill-or-kill order could not be filled in full."),
    Reason("MATCH_PRICE_BAND", 0, 0, "What could not be filled within the price bands."),
    Reason("MATCH_SHORT_SALE_PRICE", 0, 0, "A short sale may only execute above the best bid now (Rule 201)."),
    Reason("MATCH_HALTED", 0, 0, "The symbol is not trading, and the order does not wait."),
    Reason("MATCH_AUCTION_UNFILLED", 0, 0, "What an order for an auction did not get in it."),
    Reason("REPLACE_REQUESTED", 0, 0, "The client changed the order."),
    Reason("REPLACE_UNKNOWN_ORDER", 102, 1, "The account has no such order to replace."),
    Reason("REPLACE_TOO_LATE", 102, 0, "The order is done already and cannot be replaced."),
    Reason("REPLACE_FILLED", 0, 0, "The new quantity is filled already, so that nothing is left."),
    Reason("REPLACE_NOT_ALLOWED", 102, 2, "The order, or what is to be changed of it, cannot be replaced."),
    Reason("STOP_TRIGGERED", 0, 0, "A trade reached the stop price."),
    Reason("CANCEL_KILL_SWITCH", 0, 0, "An operator switched the firm, the account or the symbol off."),
    Reason(
        "CANCEL_FORCED_REDUCTION",
        0,
        0,
        "Cancelled because the account has to reduce, and the order did not only reduce.",
    ),
    Reason("EXPIRY_INSTRUMENT", 0, 0, "The option or future expired."),
    Reason("EXPIRY_AUCTION", 0, 0, "The auction that the order was for is over."),
    Reason("CORPORATE_ACTION", 0, 0, "A dividend or split changed the order's terms on its ex-date (FINRA 5330)."),
    Reason("CANCEL_CORPORATE_ACTION", 0, 0, "A reverse split, or terms that are not possible after an ex-date."),
    Reason("RISK_CLOSE_OUT", 103, 0, "A fail was not closed out in time, and the shares are not borrowed (Rule 204)."),
    Reason("CANCEL_CLOSE_OUT", 0, 0, "A short sale that was open when the time for closing out a fail had passed."),
    Reason(
        "MATCH_LIMIT_PROTECTION", 0, 0, "The limit price is too far beyond the national best while the symbol trades."
    ),
]

NOT_REACHABLE: Final[dict[str, str]] = {
    "NONE": "not a refusal",
    "UNKNOWN": "never written; what a reader makes of a newer reason",
    "CANCEL_WRONG_ACCOUNT": (
        "order ids belong to their account, so another account's order cannot be named; "
        "to say that it exists would leak it"
    ),
    "VALIDATION_UNSUPPORTED_COMMAND": "an unknown command is a dead letter; all known ones are offered",
    "VALIDATION_DUPLICATE_ORDER_ID": "a second order with an id is a dead letter; only the tool `match` answers so",
    "VALIDATION_MALFORMED": "what cannot be read is a dead letter; only the tool `match` answers so",
    "EXPIRY_AUCTION": (
        "what an auction leaves of its orders is cancelled (MATCH_AUCTION_UNFILLED), as Nasdaq cancels unexecuted MOO, LOO, "
        "MOC and LOC orders (Rules 4752 and 4754); the symbol stays because enums only grow"
    ),
}
"""Reasons that this release never gives, and why; every other one has a golden scenario."""
