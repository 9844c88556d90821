"""Controls in the risk stage: what operators switch, limit, restrict, locate and release.

Ordering: controls take effect in the order of their records, between the commands before and after them.
Invariants: a control with an id that was seen before changes nothing; every control but CLOCK and INDEX_LEVEL is audited
once, by the shard of its account, or by shard 0 when it is about a symbol or about all; a control whose target does not
exist is rejected and changes nothing; an unknown scope is never widened.
Meaning: KILL refuses new orders and replacements, REDUCE those that do not make a position smaller, RESUME ends both in
its scope, and for an account also a forced reduction. HALT, UNHALT and PAUSE are the match stage's; here they are only audited.
RESTRICT lists a symbol for the firm (scope SYMBOL) or for one account (scope ACCOUNT with `symbol`). LIMIT_CHANGE sets a
limit of an account, or FIRM_CAPITAL (scope ALL); without a value it removes a limit that may be missing. LOCATE adds
shares that an account may sell short until the session's end. UNFREEZE ends an account's freeze. DEPOSIT and WITHDRAWAL
move a customer's cash (cash_desk.py). DELIVERY_FAILED, DELIVERY_MADE and BORROW are about fails (close_out.py).
Known limits: the ids of the last `MAX_SEEN` controls are remembered.
Complexity: constant; of cash movements linear in the account's positions.
"""

from typing import Final

from schemas.messages.controls import Control
from schemas.messages.enums import (
    CONTROL_KIND_DEPOSIT,
    CONTROL_KIND_HALT,
    CONTROL_KIND_KILL,
    CONTROL_KIND_LIMIT_CHANGE,
    CONTROL_KIND_LOCATE,
    CONTROL_KIND_PAUSE,
    CONTROL_KIND_REDUCE,
    CONTROL_KIND_RESTRICT,
    CONTROL_KIND_RESUME,
    CONTROL_KIND_UNFREEZE,
    CONTROL_KIND_UNHALT,
    CONTROL_KIND_UNRESTRICT,
    CONTROL_KIND_WITHDRAWAL,
    CONTROL_SCOPE_ACCOUNT,
    CONTROL_SCOPE_ALL,
    CONTROL_SCOPE_SYMBOL,
    CONTROL_SCOPE_UNKNOWN,
    LIMIT_KIND_DAILY_NOTIONAL,
    LIMIT_KIND_FIRM_CAPITAL,
    LIMIT_KIND_UNKNOWN,
)
from udfs.domain.accounts import AccountBook
from udfs.domain.cash_desk import CashDesk
from udfs.domain.close_out import KINDS, FailDesk
from udfs.domain.holdings import MODE_ACTIVE, MODE_KILL, MODE_REDUCE, NO_LIMIT, AccountState
from udfs.domain.limits import FIRST_LIMIT, set_limit
from udfs.domain.margin_check import power_of
from udfs.domain.recent import RecentEnds
from udfs.domain.reference import ReferenceBook
from udfs.domain.risk_notices import ALL_ACCOUNTS, Notices
from udfs.domain.rules import MAX_SHARES
from udfs.domain.sharding import shard_of
from udfs.domain.switches import Switches

MAX_SEEN: Final = 65_536
_APPLIED: Final = 1
_CASH: Final = (CONTROL_KIND_DEPOSIT, CONTROL_KIND_WITHDRAWAL)
_OF_ACCOUNTS: Final = (CONTROL_KIND_LOCATE, CONTROL_KIND_UNFREEZE, CONTROL_KIND_DEPOSIT, CONTROL_KIND_WITHDRAWAL)


class DeskControls:
    """Applies the controls of one shard."""

    __slots__ = ("book", "cash", "fails", "notices", "reference", "seen", "shard", "shards", "switches")

    def __init__(
        self,
        shard: int,
        shards: int,
        book: AccountBook,
        reference: ReferenceBook,
        switches: Switches,
        notices: Notices,
        cash: CashDesk,
        fails: FailDesk,
    ) -> None:
        self.shard = shard
        self.shards = shards
        self.book = book
        self.reference = reference
        self.switches = switches
        self.notices = notices
        self.cash = cash
        self.fails = fails
        self.seen = RecentEnds(MAX_SEEN)

    def apply(self, control: Control, position: str, buying_power_e4: int, now_ns: int) -> None:
        """Apply or reject one control; `buying_power_e4`: of the target account before it, for the audit."""
        target = control.target or ""
        account: AccountState | None = None
        answers = self.shard == 0
        if control.scope == CONTROL_SCOPE_ACCOUNT:
            account = self.book.accounts.get(target)
            answers = account is not None or shard_of(target, self.shards) == self.shard
        moves_cash = account is not None and control.kind in _CASH
        most: int | None = None
        moved: int | None = None
        if self.seen.status_of(control.control_id, 0) == _APPLIED:
            problem = "a control with this id was seen before"
        else:
            self.seen.remember(control.control_id, _APPLIED)
            if account is not None and control.kind == CONTROL_KIND_WITHDRAWAL:
                most = self.cash.withdrawable(account, now_ns)
            problem = self._problem(control, account, now_ns)
            if not problem:
                if account is not None and moves_cash:
                    moved = self.cash.move(control, account)
                    buying_power_e4 = power_of(account, self.reference.instruments, now_ns)
                else:
                    self._apply(control, account)
        if answers:
            self._audit(control, position, problem, buying_power_e4, most, moved)
        if not problem and control.kind in KINDS:
            self.fails.apply(control, account, now_ns)
        if account is not None and moved is not None:
            self.cash.follow(control, account, moved, now_ns)

    def _audit(
        self,
        control: Control,
        position: str,
        problem: str,
        buying_power_e4: int,
        most: int | None,
        moved: int | None,
    ) -> None:
        """Tell that a control was applied, or why not."""
        target = control.target or ""
        symbol = control.symbol
        if control.scope == CONTROL_SCOPE_SYMBOL:
            symbol = control.target
        account_id = target if control.scope == CONTROL_SCOPE_ACCOUNT and target else ALL_ACCOUNTS
        self.notices.control(control, position, problem, account_id, symbol, buying_power_e4, most, moved)

    def _problem(self, control: Control, account: AccountState | None, now_ns: int) -> str:
        """Why a control cannot be applied, or an empty text; the same on every shard, but for accounts."""
        kind = control.kind
        scope = control.scope
        if scope == CONTROL_SCOPE_UNKNOWN:
            return "the scope is not known"
        if scope == CONTROL_SCOPE_ACCOUNT and account is None:
            return "no such account"
        if scope == CONTROL_SCOPE_SYMBOL and not self._is_listed(control.target):
            return "no such symbol"
        if kind in (CONTROL_KIND_KILL, CONTROL_KIND_RESUME, CONTROL_KIND_REDUCE):
            return ""
        if kind in (CONTROL_KIND_HALT, CONTROL_KIND_UNHALT):
            return "an account cannot be halted" if scope == CONTROL_SCOPE_ACCOUNT else ""
        if kind == CONTROL_KIND_PAUSE:
            return "" if scope == CONTROL_SCOPE_SYMBOL else "a pause is for one symbol"
        if kind in (CONTROL_KIND_RESTRICT, CONTROL_KIND_UNRESTRICT):
            if scope == CONTROL_SCOPE_ALL:
                return "the restricted list names a symbol"
            if scope == CONTROL_SCOPE_ACCOUNT and not self._is_listed(control.symbol):
                return "no such symbol"
            return ""
        if kind == CONTROL_KIND_LIMIT_CHANGE:
            return _limit_problem(control)
        if kind in KINDS:
            return self.fails.problem(control, account)
        if scope != CONTROL_SCOPE_ACCOUNT or account is None:
            return "the kind is for one account" if kind in _OF_ACCOUNTS else _UNKNOWN
        if kind in _CASH:
            return self.cash.problem(control, account, now_ns)
        if kind == CONTROL_KIND_LOCATE:
            if not self._is_listed(control.symbol):
                return "no such symbol"
            if account.margin is None:
                return "a cash account does not sell short"
            if self.switches.must_borrow(account, control.symbol or ""):
                return "a missed close-out lets only borrowed shares be sold short"
            value = control.value
            return (
                "" if value is not None and 0 < value <= MAX_SHARES else "the number of shares is missing or impossible"
            )
        if kind == CONTROL_KIND_UNFREEZE:
            margin = account.margin
            return "" if margin is not None and margin.frozen_until_ns > 0 else "the account is not frozen"
        return _UNKNOWN

    def _is_listed(self, symbol: str | None) -> bool:
        """Whether a symbol is one of ours."""
        if symbol is None:
            return False
        instrument = self.reference.instruments.get(symbol)
        return instrument is not None and instrument.listed

    def _apply(self, control: Control, account: AccountState | None) -> None:
        """Change what the control says."""
        kind = control.kind
        target = control.target or ""
        if kind == CONTROL_KIND_KILL:
            self._switch(control.scope, target, account, MODE_KILL)
        elif kind == CONTROL_KIND_REDUCE:
            self._switch(control.scope, target, account, MODE_REDUCE)
        elif kind == CONTROL_KIND_RESUME:
            self._switch(control.scope, target, account, MODE_ACTIVE)
        elif kind in (CONTROL_KIND_RESTRICT, CONTROL_KIND_UNRESTRICT):
            self._restrict(account, control.symbol if account is not None else target, kind == CONTROL_KIND_RESTRICT)
        elif kind == CONTROL_KIND_LIMIT_CHANGE:
            value = NO_LIMIT if control.value is None else control.value
            if account is None:
                self.switches.firm_capital_e4 = value
            elif control.limit is not None:
                set_limit(account, control.limit - FIRST_LIMIT, value)
        elif account is not None and kind == CONTROL_KIND_LOCATE:
            symbol = control.symbol or ""
            account.locates[symbol] = account.locates.get(symbol, 0) + (control.value or 0)
        elif account is not None and kind == CONTROL_KIND_UNFREEZE:
            margin = account.margin
            if margin is not None:
                margin.frozen_until_ns = 0
        if account is not None:
            account.refresh_guard()

    def _switch(self, scope: int, target: str, account: AccountState | None, mode: int) -> None:
        """Set or end a switch."""
        if scope == CONTROL_SCOPE_ALL:
            self.switches.set_firm(mode)
        elif scope == CONTROL_SCOPE_SYMBOL:
            self.switches.set_symbol(target, mode)
        elif account is not None:
            account.mode = MODE_ACTIVE if mode == MODE_ACTIVE else max(mode, account.mode)
            margin = account.margin
            if mode == MODE_ACTIVE and margin is not None:
                margin.reduce_only = False

    def _restrict(self, account: AccountState | None, symbol: str | None, restricted: bool) -> None:
        """List or unlist a symbol."""
        if symbol is None:
            return
        if account is None:
            self.switches.restrict(symbol, restricted)
        elif restricted:
            account.restricted[symbol] = True
        else:
            account.restricted.pop(symbol, None)


_UNKNOWN: Final = "the kind is not known to this release, or not for this scope"


def _limit_problem(control: Control) -> str:
    """Why a limit cannot be changed, or an empty text."""
    limit = control.limit
    value = control.value
    if limit is None or limit == LIMIT_KIND_UNKNOWN:
        return "the limit is missing or not known"
    if value is not None and value < 0:
        return "a limit is not negative"
    if limit == LIMIT_KIND_FIRM_CAPITAL:
        return "" if control.scope == CONTROL_SCOPE_ALL else "the firm's capital is for all"
    if control.scope != CONTROL_SCOPE_ACCOUNT:
        return "the limit is one of an account"
    if value is None and limit < LIMIT_KIND_DAILY_NOTIONAL:
        return "this limit needs a value"
    return ""
