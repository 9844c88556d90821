"""Corporate actions that both stages of trading apply on the ex-date: which are due, and what they make of an order.

Ordering: the highest version of an action counts; a withdrawn one is dropped. Those that are due when a session begins
take effect by ex-date, then by their identity, before anything else of that session.
Rules: FINRA Rule 5330, Adjustment of Orders.
- Cash dividend: open buy limits, sell stops and sell stop-limits are lowered by the dividend, to the next lower tick
  when the result is none, but for those whose owner said do not reduce. Open sell limits and stops to buy stay (5330(e)),
  and so does everything when the dividend is below `LEAST_DIVIDENDS`.
- Forward split and stock dividend: prices are divided and the open quantity multiplied. Prices of the orders that the
  rule names go to the next lower tick. It exempts sell limits and stops to buy; we adjust them too, as exchanges and
  brokers do, because a position and the orders that would end it are one amount of shares; they go to the next higher
  tick, so that no order becomes better for the market than its owner asked for. Quantities go down to whole shares and
  not to the round lots that the rule speaks of: odd lots trade like any other shares here, and a 3:2 split would cut a
  third off every order of 100.
- Reverse split: open orders are cancelled.
- An order whose price would not be positive is cancelled.
A split is `ratioNumerator` shares in place of `ratioDenominator`; a stock dividend is `ratioNumerator` shares on top of
them, (1 + r):1.
Invariants: an action takes effect once; what an adjusted purchase may cost never grows.
Known limits: the instruction "do not increase" does not exist here. Distributions of other kinds, mergers,
new symbols and delistings change no orders and no positions in trading; reference data says what is traded. An action
has to be known before the session of its ex-date begins. Contracts on the symbol keep their terms until reference data
gives new ones.
Complexity: constant for each record, linear in the pending actions for a session.
"""

from __future__ import annotations

from math import gcd
from typing import Final

from schemas.messages.corporate_actions import CorporateAction
from schemas.messages.enums import (
    CORPORATE_ACTION_TYPE_CASH_DIVIDEND,
    CORPORATE_ACTION_TYPE_NAMES,
    CORPORATE_ACTION_TYPE_SPLIT,
    CORPORATE_ACTION_TYPE_STOCK_DIVIDEND,
    CORPORATE_ACTION_TYPE_UNKNOWN,
)
from udfs.domain.money import money_text, round_down, round_up
from udfs.domain.rules import MAX_PRICE_E4, SUB_DOLLAR_E4, minimum_increment
from udfs.domain.sessions import SessionTable, SessionTimes
from udfs.domain.state_codec import StateReader, StateWriter

MAX_RATIO: Final = 1_000_000
"""Largest number of a ratio in lowest terms that is taken for real."""

KEPT: Final = 0
CHANGED: Final = 1
ENDED: Final = 2
"""What becomes of an order."""


class LeastDividend:
    """From which dividend on prices are adjusted."""

    __slots__ = ("effective_from_ns", "least_e4", "source")

    def __init__(self, effective_from_ns: int, least_e4: int, source: str) -> None:
        self.effective_from_ns = effective_from_ns
        self.least_e4 = least_e4
        self.source = source


LEAST_DIVIDENDS: Final[list[LeastDividend]] = [
    LeastDividend(0, 100, "FINRA Rule 5330(a): not for a cash dividend of less than one cent"),
]


class Action:
    """An action that will change orders or positions. cash_e4: of a dividend; the ratio is 1:1 for one."""

    __slots__ = ("action_id", "cash_e4", "denominator", "ex_date", "kind", "numerator", "symbol")

    def __init__(
        self, action_id: str, kind: int, symbol: str, ex_date: str, cash_e4: int, numerator: int, denominator: int
    ) -> None:
        self.action_id = action_id
        self.kind = kind
        self.symbol = symbol
        self.ex_date = ex_date
        self.cash_e4 = cash_e4
        self.numerator = numerator
        self.denominator = denominator

    def __lt__(self, other: Action) -> bool:
        return (self.ex_date, self.action_id) < (other.ex_date, other.action_id)

    def is_split(self) -> bool:
        """Whether it changes numbers of shares."""
        return self.numerator != self.denominator

    def is_reverse(self) -> bool:
        """Whether it makes fewer shares out of more."""
        return self.numerator < self.denominator

    def scaled(self, shares: int) -> int:
        """What an open quantity becomes: whole shares."""
        return shares * self.numerator // self.denominator

    def text(self) -> str:
        """The action, for people."""
        what = f"action={self.action_id} type={CORPORATE_ACTION_TYPE_NAMES[self.kind]} "
        if self.kind == CORPORATE_ACTION_TYPE_CASH_DIVIDEND:
            return what + f"cash_per_share={money_text(self.cash_e4)}"
        return what + f"ratio={self.numerator}:{self.denominator}"


class AdjustedTerms:
    """What an action makes of an order: KEPT, CHANGED (open shares and prices are the new ones) or ENDED."""

    __slots__ = ("leaves", "outcome", "price", "stop_price")

    def __init__(self, outcome: int, leaves: int, price: int | None, stop_price: int | None) -> None:
        self.outcome = outcome
        self.leaves = leaves
        self.price: int | None = price
        self.stop_price: int | None = stop_price


class ActionBook:
    """The actions that have not taken effect yet, and the versions that were seen."""

    __slots__ = ("pending", "stale", "versions")

    def __init__(self) -> None:
        self.pending: dict[str, Action] = {}
        self.versions: dict[str, int] = {}
        # Actions that were over when the first session began.
        self.stale: int = 0

    def take(self, record: CorporateAction, begun: str) -> str:
        """Take an action over; returns what is impossible about it. `begun`: date of the session that has begun, or ""."""
        if 0 < record.version <= self.versions.get(record.action_id, 0):
            return ""
        problem = action_problem(record)
        if problem:
            return problem
        waited = self.pending.pop(record.action_id, None)
        self.versions[record.action_id] = record.version
        if not _acts(record):
            return ""
        if begun and record.ex_date <= begun:
            if record.cancelled and waited is not None:
                return ""
            return f"too late: the session of {begun} has begun, and the ex-date is {record.ex_date}"
        if not record.cancelled:
            numerator, denominator = ratio_of(record)
            self.pending[record.action_id] = Action(
                record.action_id,
                record.type,
                record.symbol,
                record.ex_date,
                record.cash_per_share or 0 if record.type == CORPORATE_ACTION_TYPE_CASH_DIVIDEND else 0,
                numerator,
                denominator,
            )
        return ""

    def due(self, before: SessionTimes | None, session: SessionTimes, sessions: SessionTable) -> list[Action]:
        """Take out what takes effect when a session begins; `before` is the one that had begun before it.

        An ex-date without a session counts for the next one. In the first session of all, ex-dates before the session
        that precedes it in the calendar are history that the opening positions have in them.
        """
        after = "" if before is None else before.date
        if before is None:
            for known in sessions.sessions:
                if known.open_ns < session.open_ns:
                    after = known.date
        found: list[Action] = []
        for action in sorted(self.pending.values()):
            if action.ex_date > session.date:
                continue
            del self.pending[action.action_id]
            if action.ex_date > after if after else action.ex_date == session.date:
                found.append(action)
            else:
                self.stale += 1
        return found

    def write(self, writer: StateWriter) -> None:
        """Put the state into a snapshot."""
        writer.put(self.stale)
        writer.put(len(self.versions))
        for action_id, version in self.versions.items():
            writer.put_text(action_id)
            writer.put(version)
        writer.put(len(self.pending))
        for action in self.pending.values():
            write_action(writer, action)

    def read(self, reader: StateReader) -> None:
        """Take what `write` put."""
        self.stale = reader.take()
        for _ in range(reader.take()):
            action_id = reader.take_text()
            self.versions[action_id] = reader.take()
        for _ in range(reader.take()):
            action = read_action(reader)
            self.pending[action.action_id] = action


def write_action(writer: StateWriter, action: Action) -> None:
    """Put one action into a snapshot."""
    writer.put_text(action.action_id)
    writer.put(action.kind)
    writer.put_text(action.symbol)
    writer.put_text(action.ex_date)
    writer.put(action.cash_e4)
    writer.put(action.numerator)
    writer.put(action.denominator)


def read_action(reader: StateReader) -> Action:
    """Take what `write_action` put."""
    action_id = reader.take_text()
    kind = reader.take()
    symbol = reader.take_text()
    ex_date = reader.take_text()
    cash_e4 = reader.take()
    numerator = reader.take()
    return Action(action_id, kind, symbol, ex_date, cash_e4, numerator, reader.take())


def ratio_of(record: CorporateAction) -> tuple[int, int]:
    """Shares after and shares before, in lowest terms; 1:1 when the action does not change them."""
    numerator = record.ratio_numerator or 0
    denominator = record.ratio_denominator or 0
    if record.type == CORPORATE_ACTION_TYPE_STOCK_DIVIDEND:
        numerator += denominator
    elif record.type != CORPORATE_ACTION_TYPE_SPLIT:
        return 1, 1
    divisor = gcd(numerator, denominator)
    if divisor == 0:
        return 0, 0
    return numerator // divisor, denominator // divisor


def _acts(record: CorporateAction) -> bool:
    """Whether an action changes orders or positions here."""
    return record.type in (
        CORPORATE_ACTION_TYPE_CASH_DIVIDEND,
        CORPORATE_ACTION_TYPE_SPLIT,
        CORPORATE_ACTION_TYPE_STOCK_DIVIDEND,
    )


def action_problem(record: CorporateAction) -> str:
    """What is impossible about an action's record, or an empty text."""
    if not record.action_id or not record.symbol:
        return "the action id or the symbol is empty"
    if record.type == CORPORATE_ACTION_TYPE_UNKNOWN:
        return "the type of the action is not known to this release"
    if record.version <= 0:
        return f"version {record.version} is not positive"
    if not is_date(record.ex_date):
        return f"ex-date {record.ex_date} is not YYYY-MM-DD"
    if record.type == CORPORATE_ACTION_TYPE_CASH_DIVIDEND:
        cash = record.cash_per_share
        if cash is None or cash < 0 or cash > MAX_PRICE_E4:
            return f"a cash dividend of {cash} is not in 0 to {MAX_PRICE_E4}"
    elif _acts(record):
        given = (record.ratio_numerator or 0, record.ratio_denominator or 0)
        numerator, denominator = ratio_of(record)
        if min(given) <= 0 or numerator > MAX_RATIO or denominator > MAX_RATIO:
            return f"ratio {given[0]}:{given[1]} is not in 1 to {MAX_RATIO}"
    return ""


def is_date(text: str) -> bool:
    """Whether a text has the form YYYY-MM-DD, so that dates compare as texts."""
    if len(text) != 10 or not text.isascii() or text[4] != "-" or text[7] != "-":
        return False
    return (text[:4] + text[5:7] + text[8:]).isdigit()


def adjusted_terms(
    action: Action,
    is_buy: bool,
    waits: bool,
    leaves: int,
    price: int | None,
    stop_price: int | None,
    tick_e4: int,
    time_ns: int,
    do_not_reduce: bool = False,
) -> AdjustedTerms:
    """What an action makes of an open order; `waits`: it is a stop that was not triggered yet.

    do_not_reduce: its owner's instruction, which cash dividends obey and splits do not.
    """
    # Where prices have two ticks, the rule takes the greater one.
    step = minimum_increment(SUB_DOLLAR_E4, tick_e4, time_ns)
    kept = AdjustedTerms(KEPT, leaves, price, stop_price)
    if action.kind == CORPORATE_ACTION_TYPE_CASH_DIVIDEND:
        if (
            do_not_reduce
            or action.cash_e4 < _least_dividend(time_ns)
            or is_buy == waits
            or (price is None and not waits)
        ):
            return kept
        if price is not None:
            price = round_down(price - action.cash_e4, step)
        if waits and stop_price is not None:
            stop_price = round_down(stop_price - action.cash_e4, step)
    elif action.is_reverse():
        return AdjustedTerms(ENDED, leaves, price, stop_price)
    elif action.is_split():
        leaves = action.scaled(leaves)
        if price is not None:
            price = _divided(price, action, is_buy or waits, step)
        if stop_price is not None:
            stop_price = _divided(stop_price, action, not is_buy, step)
    else:
        return kept
    if (price is not None and price <= 0) or (waits and stop_price is not None and stop_price <= 0):
        return AdjustedTerms(ENDED, kept.leaves, kept.price, kept.stop_price)
    return AdjustedTerms(CHANGED, leaves, price, stop_price)


def _divided(price: int, action: Action, down: bool, step: int) -> int:
    """A price after a split, on a tick."""
    if down:
        return round_down(price * action.denominator // action.numerator, step)
    return round_up(-(-price * action.denominator // action.numerator), step)


def scaled_price(price_e4: int, action: Action) -> int:
    """A known price of before a split, as one of after it; 0 stays 0."""
    if price_e4 <= 0:
        return price_e4
    return max(price_e4 * action.denominator // action.numerator, 1)


def _least_dividend(time_ns: int) -> int:
    """The smallest dividend that prices are adjusted for."""
    least = 0
    for row in LEAST_DIVIDENDS:
        if row.effective_from_ns <= time_ns:
            least = row.least_e4
    return least
