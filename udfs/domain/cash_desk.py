"""Cash that customers bring to an account and take out of it: how much may leave, and what a deposit does to calls.

Ordering: a control moves the money between the commands before and after it; the events of calls come after its audit.
Rules: a cash account gives what nothing is promised to. A margin account gives the excess over the initial requirement
(Regulation T) that no open order has reserved, nothing while a call or an intraday deficit is open; an account with a
debit, a short position, a future or open orders keeps the minimum equity; a frozen account does not go into debit; a pattern
day trader leaves deposits in for two sessions. Deposits count against a call of the initial requirement and against
intraday deficits by their amount, and against everything by what they do to the equity (margin_watch.py).
Invariants: after a withdrawal the account still carries its positions and its open orders at the prices that are known;
what moved is counted in `Flows`. A position without a price lets nothing out of a margin account.
Sources: 12 CFR 220.4, FINRA Rule 4210(b), (d)(2), (f)(8)(B).
Known limits: money is at hand when the control says so, clearing of cheques and the settlement of sales (T+1) are not
looked at; securities are not brought or taken out.
Complexity: linear in the account's positions.
"""

from schemas.messages.controls import Control
from schemas.messages.enums import CONTROL_KIND_DEPOSIT, CONTROL_KIND_WITHDRAWAL
from udfs.domain.accounts import AccountBook
from udfs.domain.holdings import AccountState
from udfs.domain.margin_check import worth_of
from udfs.domain.margin_rules import stock_margin
from udfs.domain.margin_state import CALL_NONE, MarginState
from udfs.domain.margin_watch import MarginWatch
from udfs.domain.money import money_text
from udfs.domain.reference import ReferenceBook
from udfs.domain.risk_money import uncommitted_cash
from udfs.domain.rules import MAX_CASH_E4


class CashDesk:
    """Judges and makes the cash movements of one shard."""

    __slots__ = ("book", "reference", "watch")

    def __init__(self, book: AccountBook, reference: ReferenceBook, watch: MarginWatch) -> None:
        self.book = book
        self.reference = reference
        self.watch = watch

    def problem(self, control: Control, account: AccountState, now_ns: int) -> str:
        """Why the money cannot move, or an empty text."""
        amount = control.value
        if amount is None or amount <= 0 or amount > MAX_CASH_E4:
            return "the amount is missing or impossible"
        if control.kind == CONTROL_KIND_DEPOSIT:
            return "" if account.cash_e4 + amount <= MAX_CASH_E4 else "the account would hold an impossible amount"
        free = self.withdrawable(account, now_ns)
        return "" if amount <= free else f"only {money_text(free)} can be withdrawn"

    def withdrawable(self, account: AccountState, now_ns: int) -> int:
        """Money that may leave the account now, in 1/10,000; never negative."""
        margin = account.margin
        if margin is None:
            return max(account.buying_power(), 0)
        if margin.call_kind != CALL_NONE or margin.deficits:
            return 0
        worth = worth_of(account, self.reference.instruments, now_ns)
        if worth.unmarked:
            return 0
        free = min(worth.excess() - account.reserved_e4, worth.maintenance_excess() - account.reserved_upkeep_e4)
        above_minimum = worth.equity_e4 - stock_margin(now_ns).minimum_equity_e4
        free = min(free, above_minimum if _has_commitments(account) else max(above_minimum, account.cash_e4))
        if margin.frozen_until_ns > now_ns:
            free = min(free, uncommitted_cash(account, None, 0))
        return max(free - _kept(margin, now_ns), 0)

    def move(self, control: Control, account: AccountState) -> int:
        """Move the money of a control without a problem; returns the change of the account's cash."""
        amount = control.value or 0
        if control.kind == CONTROL_KIND_WITHDRAWAL:
            amount = -amount
        self.book.deposit(account, amount)
        return amount

    def follow(self, control: Control, account: AccountState, amount_e4: int, now_ns: int) -> None:
        """Let the margin watch see a movement that was made and audited."""
        margin = account.margin
        if margin is not None:
            self.watch.after_cash(account, margin, amount_e4, control.control_id, now_ns)


def _has_commitments(account: AccountState) -> bool:
    """Whether the account owes shares or contracts, holds futures, or has open orders."""
    if account.open_orders > 0:
        return True
    for position in account.positions.values():
        if position.quantity < 0 or (position.quantity > 0 and position.instrument.is_future):
            return True
    return False


def _kept(margin: MarginState, now_ns: int) -> int:
    """Deposits of a pattern day trader that have to stay for now."""
    kept = 0
    for deposit in margin.kept:
        if deposit.until_ns > now_ns:
            kept += deposit.amount_e4
    return kept
