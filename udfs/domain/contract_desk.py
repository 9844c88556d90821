"""Options and futures over their life: daily settlement, exercise, assignment, expiration.

Ordering: contracts that expire at the same time do so in the order of their symbols' first record, accounts in the order
in which they came.
Rules: a newer settlement price of a future moves variation margin, (settlement - last settlement) x multiplier x
contracts, contracts traded since then counting from their trade price. At expiry a future settles the same way, at the
settlement price struck at or after the expiry, else at the underlying's mark, else at its own last price. An option
that is at least `EXERCISE_BY_EXCEPTION` in the money of its underlying's mark is exercised or assigned: shares at the
strike, or the difference in cash when it is on a broad index, or when a cash account could not pay the strike or
deliver the shares; every other one expires worthless.
Invariants: an account's fills that are heard of after the expiry are settled the same way; each event is published once
and says what moved.
Source: Options Clearing Corporation Rule 805 (exercise by exception at $0.01 in the money).
Known limits: no early exercise and no instructions against an exercise; assignment takes every written contract,
because the other side's holders are exercised too. A future that has no price at all at its expiry ends unpaid.
Complexity: linear in the accounts, for each contract that is settled.
"""

from typing import Final

from schemas.messages.enums import (
    REASON_CODE_NONE,
    RISK_EVENT_TYPE_ASSIGNMENT,
    RISK_EVENT_TYPE_DAILY_SETTLEMENT,
    RISK_EVENT_TYPE_EXERCISE,
    RISK_EVENT_TYPE_EXPIRATION,
)
from udfs.domain.accounts import AccountBook
from udfs.domain.holdings import AccountState, Position, relock
from udfs.domain.instruments import InstrumentState
from udfs.domain.margin_check import power_of
from udfs.domain.money import money_text
from udfs.domain.reference import ReferenceBook
from udfs.domain.risk_notices import Notices


class ExceptionRow:
    """From how far in the money an option is exercised without being asked."""

    __slots__ = ("effective_from_ns", "in_the_money_e4", "source")

    def __init__(self, effective_from_ns: int, in_the_money_e4: int, source: str) -> None:
        self.effective_from_ns = effective_from_ns
        self.in_the_money_e4 = in_the_money_e4
        self.source = source


EXERCISE_BY_EXCEPTION: Final[list[ExceptionRow]] = [ExceptionRow(0, 100, "OCC Rule 805(d)")]


class ContractDesk:
    """Settles the contracts of one shard's accounts."""

    __slots__ = ("book", "notices", "reference")

    def __init__(self, book: AccountBook, reference: ReferenceBook, notices: Notices) -> None:
        self.book = book
        self.reference = reference
        self.notices = notices

    def take_settlement(self, future: InstrumentState, price_e4: int, struck_ns: int, time_ns: int) -> None:
        """A settlement price of a future came with reference data: when it is newer, pay the variation."""
        if price_e4 <= 0 or struck_ns <= future.settlement_ns or future.expired:
            return
        before = future.settlement_e4 or price_e4
        future.settlement_e4 = price_e4
        future.settlement_ns = struck_ns
        for account in self.book.accounts.values():
            position = account.positions.get(future.symbol)
            if position is not None:
                self._pay_variation(account, position, before, price_e4, time_ns)

    def take_terms(self, instrument: InstrumentState, time_ns: int) -> None:
        """Terms of an instrument were taken over: take the settlement price in them, or cover written options anew."""
        if instrument.is_option:
            self._relock(instrument)
        elif instrument.is_future:
            self.take_settlement(
                instrument, instrument.offered_settlement_e4, instrument.offered_settlement_ns, time_ns
            )

    def _relock(self, option: InstrumentState) -> None:
        """The terms of an option have changed: bring what covers it in cash accounts up to date."""
        for account in self.book.accounts.values():
            position = account.positions.get(option.symbol)
            if position is not None and account.margin is None:
                relock(account, position)

    def _pay_variation(
        self, account: AccountState, position: Position, before_e4: int, price_e4: int, time_ns: int
    ) -> int:
        """Pay what a position has gained or lost since its last settlement; returns it."""
        if position.unpriced:
            position.basis_e4 += position.unpriced * before_e4
            position.unpriced = 0
        if position.quantity == 0 and position.basis_e4 == 0:
            return 0
        future = position.instrument
        variation = (position.quantity * price_e4 - position.basis_e4) * future.multiplier
        position.basis_e4 = position.quantity * price_e4
        self.book.move_cash(account, variation, True)
        self.notices.put(
            account,
            RISK_EVENT_TYPE_DAILY_SETTLEMENT,
            future.symbol,
            REASON_CODE_NONE,
            f"settlement_price={money_text(price_e4)} contracts={position.quantity} multiplier={future.multiplier} "
            f"variation={money_text(variation)}",
            None,
            None,
            power_of(account, self.reference.instruments, time_ns),
            time_ns,
            None,
            variation,
        )
        return variation

    def expire_due(self, time_ns: int) -> None:
        """End all contracts that expire by now."""
        due = [contract for contract in self.reference.contracts.values() if contract.expiry_ns <= time_ns]
        for contract in due:
            del self.reference.contracts[contract.symbol]
        self.reference.find_next_expiry()
        for contract in due:
            contract.expired = True
            contract.final_e4 = self._final_price(contract)
            if contract.is_option:
                self._relock(contract)
            for account in self.book.accounts.values():
                position = account.positions.get(contract.symbol)
                if position is not None:
                    self.end_position(account, position, time_ns)

    def _final_price(self, contract: InstrumentState) -> int:
        """Of an option the underlying's mark, of a future what it settles at."""
        underlying = self.reference.instruments.get(contract.underlying)
        price = 0 if underlying is None else underlying.mark()
        if contract.is_option:
            return price
        if contract.settlement_e4 and contract.settlement_ns >= contract.expiry_ns:
            return contract.settlement_e4
        return price or contract.close_price() or contract.mark()

    def end_position(self, account: AccountState, position: Position, time_ns: int) -> None:
        """Settle what an account has in a contract that has expired; also for fills that are heard of later."""
        contract = position.instrument
        if contract.is_future:
            before = contract.settlement_e4 or contract.final_e4
            if contract.final_e4:
                self._pay_variation(account, position, before, contract.final_e4, time_ns)
            if position.quantity:
                self._lapse(account, position, f"final_price={money_text(contract.final_e4)}", time_ns)
            position.basis_e4 = 0
            position.unpriced = 0
            return
        if position.quantity == 0:
            return
        gain = 0
        if contract.final_e4:
            gain = contract.final_e4 - contract.strike_e4
            if not contract.is_call:
                gain = -gain
        if gain < _threshold(time_ns):
            self._lapse(account, position, f"underlying_price={money_text(contract.final_e4)}", time_ns)
            return
        self._exercise(account, position, gain, time_ns)

    def _lapse(self, account: AccountState, position: Position, detail: str, time_ns: int) -> None:
        """A contract ends without exercise."""
        change = -position.quantity
        self.book.move_position(account, position, change)
        self.notices.put(
            account,
            RISK_EVENT_TYPE_EXPIRATION,
            position.symbol,
            REASON_CODE_NONE,
            detail,
            None,
            None,
            power_of(account, self.reference.instruments, time_ns),
            time_ns,
            change,
            None,
        )

    def _exercise(self, account: AccountState, position: Position, gain_e4: int, time_ns: int) -> None:
        """Exercise what is held, or have assigned what is owed."""
        option = position.instrument
        contracts = position.quantity
        units = contracts * option.multiplier
        shares = units if option.is_call else -units
        cash = -shares * option.strike_e4
        in_cash = option.broad_index or not self._can_deliver(account, option, shares, cash)
        self.book.move_position(account, position, -contracts)
        if in_cash:
            shares = 0
            cash = units * gain_e4
        else:
            held = account.position(self.reference.instrument(option.underlying))
            self.book.move_position(account, held, shares)
        self.book.move_cash(account, cash, False)
        self.notices.put(
            account,
            RISK_EVENT_TYPE_EXERCISE if contracts > 0 else RISK_EVENT_TYPE_ASSIGNMENT,
            option.symbol,
            REASON_CODE_NONE,
            f"underlying={option.underlying} underlying_price={money_text(option.final_e4)} "
            f"strike={money_text(option.strike_e4)} shares={shares} settled={'cash' if in_cash else 'shares'}",
            None,
            None,
            power_of(account, self.reference.instruments, time_ns),
            time_ns,
            -contracts,
            cash,
        )

    def _can_deliver(self, account: AccountState, option: InstrumentState, shares: int, cash_e4: int) -> bool:
        """Whether a cash account has what an exercise takes; what it has written is covered by construction."""
        if account.margin is not None:
            return True
        underlying = account.positions.get(option.underlying)
        if shares < 0:
            held = 0 if underlying is None else underlying.quantity - underlying.open_sells
            if not option.is_call:
                held -= 0 if underlying is None else underlying.locked
            return held >= -shares
        covered = account.secured_e4 if not option.is_call else 0
        return account.buying_power() + covered + cash_e4 >= 0


def _threshold(time_ns: int) -> int:
    """From how far in the money an option is exercised."""
    found = EXERCISE_BY_EXCEPTION[0]
    for row in EXERCISE_BY_EXCEPTION:
        if row.effective_from_ns <= time_ns:
            found = row
    return found.in_the_money_e4
