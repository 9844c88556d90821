"""Day trades of margin accounts, and the legacy pattern day trader.

A day trade closes what was opened in the same session in the same security. Closing it in several sales, with no
opening in between, is one day trade (the account changes its direction once).
Ordering: fills count in the order in which their outcomes arrive; several fills of one order in one batch are one.
Invariants: `opened_today` of a position is never above what is held or owed of it; trades are counted once an order.
Source: FINRA Rule 4210(f)(8)(B) before SR-FINRA-2025-017, and Regulatory Notice 21-13 for the counting.
Known limits: futures are not securities and do not count.
Complexity: constant for a fill.
"""

from udfs.domain.holdings import Position
from udfs.domain.margin_rules import DayTraderTerms
from udfs.domain.margin_state import MarginState, TradingDay


def record_fill(margin: MarginState, position: Position, before: int, change: int, is_first: bool) -> None:
    """A fill changed a position from `before` by `change`; `is_first`: the first one of its order."""
    if position.instrument.is_future or change == 0:
        return
    if is_first:
        margin.today.trades += 1
    closed = 0
    if before * change < 0:
        closed = min(abs(change), abs(before))
    opened = abs(change) - closed
    if closed:
        from_today = min(closed, position.opened_today)
        if from_today:
            position.opened_today -= from_today
            if not position.closing:
                position.closing = True
                margin.today.day_trades += 1
    if opened:
        # What turns to the other side is all from today.
        position.opened_today = opened if closed else position.opened_today + opened
        position.closing = False


def is_pattern(margin: MarginState, terms: DayTraderTerms) -> bool:
    """Whether the day trades of the last sessions make a pattern day trader."""
    day_trades, trades = window_counts(margin, terms)
    return day_trades >= terms.day_trades and day_trades * 10_000 > trades * terms.trade_share


def window_counts(margin: MarginState, terms: DayTraderTerms) -> tuple[int, int]:
    """Day trades and trades of this session and those before it within the window."""
    day_trades = margin.today.day_trades
    trades = margin.today.trades
    for day in margin.days[max(len(margin.days) - terms.window_sessions + 1, 0) :]:
        day_trades += day.day_trades
        trades += day.trades
    return day_trades, trades


def begin_day(margin: MarginState, positions: list[Position], keep: int) -> None:
    """A session begins: keep the counts of `keep` sessions before it."""
    margin.days.append(margin.today)
    margin.days = margin.days[max(len(margin.days) - keep, 0) :]
    margin.today = TradingDay()
    for position in positions:
        position.opened_today = 0
        position.closing = False
