"""What the risk stage remembers of a margin account beyond money and positions: calls, deficits, day trades.

Ordering: days of trading, open deficits and deposits that have to stay from the oldest to the newest.
Invariant: holds values only; margin_watch.py and day_trading.py are what changes them.
Complexity: constant.
"""

from typing import Final

from schemas.messages.enums import INTRADAY_RULE_INTRADAY_MARGIN

CALL_NONE: Final = 0
CALL_MAINTENANCE: Final = 1
CALL_INITIAL: Final = 2

UNKNOWN_E4: Final = -(2**62)
"""No equity was recorded at a close yet."""


class Deficit:
    """An intraday margin deficit that has to be cured by `due_ns`; `paid_e4` was deposited since it was called."""

    __slots__ = ("amount_e4", "due_ns", "paid_e4")

    def __init__(self, amount_e4: int, due_ns: int, paid_e4: int = 0) -> None:
        self.amount_e4 = amount_e4
        self.due_ns = due_ns
        self.paid_e4 = paid_e4


class KeptDeposit:
    """A deposit of a pattern day trader that has to stay in the account until `until_ns`."""

    __slots__ = ("amount_e4", "until_ns")

    def __init__(self, amount_e4: int, until_ns: int) -> None:
        self.amount_e4 = amount_e4
        self.until_ns = until_ns


class TradingDay:
    """Trades and day trades of one session."""

    __slots__ = ("day_trades", "trades")

    def __init__(self, day_trades: int = 0, trades: int = 0) -> None:
        self.day_trades = day_trades
        self.trades = trades


class MarginState:
    """The margin side of an account; money in 1/10,000, times in UTC ns (0: none)."""

    __slots__ = (
        "call_due_ns",
        "call_e4",
        "call_kind",
        "day_trader",
        "days",
        "deficits",
        "forced",
        "frozen_until_ns",
        "intraday_deficit_e4",
        "intraday_rule",
        "kept",
        "prior_equity_e4",
        "reduce_only",
        "today",
        "uncured",
    )

    def __init__(self) -> None:
        self.intraday_rule: int = INTRADAY_RULE_INTRADAY_MARGIN
        self.call_kind: int = CALL_NONE
        self.call_e4: int = 0
        self.call_due_ns: int = 0
        # Whether the reduction of this call was proposed.
        self.forced: bool = False
        # Set with a forced reduction, until the call is met or an operator resumes the account.
        self.reduce_only: bool = False
        self.intraday_deficit_e4: int = 0
        self.deficits: list[Deficit] = []
        # Times (UTC ns) at which a deficit came due without a cure, within the period that makes a pattern.
        self.uncured: list[int] = []
        self.frozen_until_ns: int = 0
        self.day_trader: bool = False
        self.today = TradingDay()
        self.days: list[TradingDay] = []
        self.prior_equity_e4: int = UNKNOWN_E4
        self.kept: list[KeptDeposit] = []
