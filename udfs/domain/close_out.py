"""Fails to deliver in the risk stage: until when each has to be closed out, and what follows when it is not.

Clearing tells of a fail by a control, of an account or (scope SYMBOL) of the firm, with the day on which delivery was due and
the sale that it results from. It is to be closed out by the opening of the first session after that day, of the third one when
the sale was long or a market maker's. Purchases of the account close its fails, those that are due first at once; so do
shares that clearing says were delivered. What is open at the deadline is missed: from then on short sales of the symbol are
refused unless their shares were borrowed (BORROW; what was located counts no more), open ones are cancelled, and purchases close
the fail only when they have settled.
Ordering: fails by deadline, then as they came; of the accounts concerned as they came.
Invariants: `close_outs` of an account and of the switches name exactly the symbols of missed fails; shares of a fail are
positive until it is forgotten; every fail is told once when it comes, when it is missed and when it is closed.
Sources: 17 CFR 242.204(a), (a)(1), (a)(3) and (b); settlement cycle 17 CFR 240.15c6-1.
Known limits: sessions stand for settlement days. A fail of an account binds that account, which clearing has allocated it to
(Rule 204(d)); one of the firm binds all accounts, and only clearing closes it, because each shard sees the purchases of its
own accounts only. A sale of the same day takes nothing back of a purchase: the rule has no netting, but a purchase does not
count where such a sale re-establishes the fail without a legitimate economic purpose (Rel. 34-60388, 74 FR 38265), and
purposes are for people to judge. A split does not change a fail.
Complexity: linear in the open fails for a control, a purchase in their symbol and a deadline; in the open orders for a miss.
"""

from bisect import insort
from typing import Final

from schemas.messages.controls import Control
from schemas.messages.enums import (
    CONTROL_KIND_BORROW,
    CONTROL_KIND_DELIVERY_FAILED,
    CONTROL_KIND_DELIVERY_MADE,
    CONTROL_SCOPE_ALL,
    CONTROL_SCOPE_SYMBOL,
    FAILED_SALE_NAMES,
    FAILED_SALE_SHORT,
    FAILED_SALE_UNKNOWN,
    REASON_CODE_RISK_CLOSE_OUT,
    RISK_EVENT_TYPE_CLOSE_OUT_MET,
    RISK_EVENT_TYPE_CLOSE_OUT_MISSED,
    RISK_EVENT_TYPE_FAIL_TO_DELIVER,
    SIDE_SELL,
)
from udfs.domain.accounts import AccountBook
from udfs.domain.frames import CLOSE_OUT
from udfs.domain.holdings import AccountState
from udfs.domain.margin_check import power_of
from udfs.domain.reducing import withdrawal
from udfs.domain.reference import ReferenceBook
from udfs.domain.risk_notices import ALL_ACCOUNTS, Notices
from udfs.domain.rules import MAX_SHARES, NEVER_NS, instant_ns
from udfs.domain.state_codec import StateReader, StateWriter
from udfs.domain.switches import Switches

MAX_FAILS: Final = 10_000
"""Open fails of one account, or of the firm."""
KINDS: Final = (CONTROL_KIND_DELIVERY_FAILED, CONTROL_KIND_DELIVERY_MADE, CONTROL_KIND_BORROW)


class CloseOutTerms:
    """By the opening of which session after the settlement date a fail has to be closed out."""

    __slots__ = ("effective_from_ns", "long_sessions", "short_sessions", "source")

    def __init__(self, effective_from_ns: int, short_sessions: int, long_sessions: int, source: str) -> None:
        self.effective_from_ns = effective_from_ns
        self.short_sessions = short_sessions
        self.long_sessions = long_sessions
        self.source = source


CLOSE_OUT_TERMS: Final[list[CloseOutTerms]] = [
    CloseOutTerms(
        instant_ns("2009-07-31T00:00:00-04:00"),
        1,
        3,
        "17 CFR 242.204(a), (a)(1) for long sales, (a)(3) for market makers; Rel. 34-60388",
    ),
]
"""A time before the first row gets that row: the temporary rule of 2008 had the same days."""


class SettlementCycle:
    """Sessions from a trade to its settlement."""

    __slots__ = ("effective_from_ns", "sessions", "source")

    def __init__(self, effective_from_ns: int, sessions: int, source: str) -> None:
        self.effective_from_ns = effective_from_ns
        self.sessions = sessions
        self.source = source


SETTLEMENT_CYCLES: Final[list[SettlementCycle]] = [
    SettlementCycle(0, 3, "17 CFR 240.15c6-1 as of 1995"),
    SettlementCycle(instant_ns("2017-09-05T00:00:00-04:00"), 2, "17 CFR 240.15c6-1, Rel. 34-80295"),
    SettlementCycle(instant_ns("2024-05-28T00:00:00-04:00"), 1, "17 CFR 240.15c6-1, Rel. 34-96930"),
]


def close_out_sessions(sale: int, time_ns: int) -> int:
    """Sessions after the settlement date at whose opening a fail is due; `sale`: FAILED_SALE_*."""
    found = CLOSE_OUT_TERMS[0]
    for row in CLOSE_OUT_TERMS:
        if row.effective_from_ns <= time_ns:
            found = row
    return found.short_sessions if sale == FAILED_SALE_SHORT else found.long_sessions


def settlement_sessions(time_ns: int) -> int:
    """Sessions from a trade at a time to its settlement."""
    found = SETTLEMENT_CYCLES[0]
    for row in SETTLEMENT_CYCLES:
        if row.effective_from_ns <= time_ns:
            found = row
    return found.sessions


class Fail:
    """Shares that were not delivered; `account` None: the firm's.

    `shares`: what is still to be closed out, of `told`. `bought`: of them bought after the deadline, and `settled_ns` when the
    last of these purchases settles.
    """

    __slots__ = (
        "account",
        "bought",
        "control_id",
        "due_ns",
        "missed",
        "sale",
        "settled_ns",
        "settlement_date",
        "shares",
        "symbol",
        "told",
    )

    def __init__(
        self,
        account: AccountState | None,
        symbol: str,
        sale: int,
        settlement_date: str,
        control_id: str,
        told: int,
        due_ns: int,
    ) -> None:
        self.account = account
        self.symbol = symbol
        self.sale = sale
        self.settlement_date = settlement_date
        self.control_id = control_id
        self.told = told
        self.due_ns = due_ns
        self.shares: int = told
        self.bought: int = 0
        self.missed: bool = False
        self.settled_ns: int = 0

    def __lt__(self, other: "Fail") -> bool:
        return self.due_ns < other.due_ns

    def next_ns(self) -> int:
        """When the clock makes something of it: its deadline, then the settlement of what was bought since."""
        if not self.missed:
            return self.due_ns
        return self.settled_ns if self.bought == self.shares else NEVER_NS

    def text(self) -> str:
        """Its terms, for events."""
        return (
            f"settlement={self.settlement_date} sale={FAILED_SALE_NAMES[self.sale]} shares={self.told} open={self.shares} "
            f"due_ns={self.due_ns} fail={self.control_id}"
        )


class FailDesk:
    """Keeps the fails of one shard's accounts, and those of the firm. `next_ns`: when the clock has to look again."""

    __slots__ = ("book", "fails", "firm", "next_ns", "notices", "reference", "shard", "switches")

    def __init__(
        self, shard: int, book: AccountBook, reference: ReferenceBook, switches: Switches, notices: Notices
    ) -> None:
        self.shard = shard
        self.book = book
        self.reference = reference
        self.switches = switches
        self.notices = notices
        self.fails: list[Fail] = []
        # Stands for the firm in events: it only counts them.
        self.firm = AccountState(ALL_ACCOUNTS, 0)
        self.next_ns: int = NEVER_NS

    def problem(self, control: Control, account: AccountState | None) -> str:
        """Why a control of `KINDS` cannot be applied, or an empty text; its target exists."""
        kind = control.kind
        if control.scope == CONTROL_SCOPE_ALL or (account is None and kind == CONTROL_KIND_BORROW):
            return (
                "the kind is for one account" if kind == CONTROL_KIND_BORROW else "a failed delivery is of one symbol"
            )
        symbol = _symbol_of(control)
        instrument = self.reference.instruments.get(symbol)
        if instrument is None or not instrument.listed:
            return "no such symbol"
        if instrument.is_option or instrument.is_future:
            return "only stocks are delivered"
        shares = control.value
        if shares is None:
            if kind != CONTROL_KIND_DELIVERY_MADE:
                return "the number of shares is missing or impossible"
        elif shares <= 0 or shares > MAX_SHARES:
            return "the number of shares is missing or impossible"
        if kind == CONTROL_KIND_BORROW:
            return "a cash account does not sell short" if account is not None and account.margin is None else ""
        if kind == CONTROL_KIND_DELIVERY_MADE:
            left = 0
            for fail in self.fails:
                if fail.account is account and fail.symbol == symbol:
                    left += fail.shares
            if left == 0:
                return "no failed delivery of the symbol is open"
            return f"only {left} shares are open" if shares is not None and shares > left else ""
        if control.failed_sale is None or control.failed_sale == FAILED_SALE_UNKNOWN:
            return "what sale the fail results from is missing or not known"
        if not _is_date(control.settlement_date or "") or not self.reference.sessions.sessions:
            return "the settlement date is missing, or there is no calendar"
        own = [fail for fail in self.fails if fail.account is account]
        return "" if len(own) < MAX_FAILS else "too many fails are open"

    def apply(self, control: Control, account: AccountState | None, now_ns: int) -> None:
        """Apply a control without a problem, after its audit."""
        symbol = _symbol_of(control)
        shares = control.value or 0
        if control.kind == CONTROL_KIND_BORROW:
            if account is not None:
                account.locates[symbol] = account.locates.get(symbol, 0) + shares
        elif control.kind == CONTROL_KIND_DELIVERY_FAILED:
            self._take(control, account, symbol, shares, now_ns)
        else:
            for fail in [fail for fail in self.fails if fail.account is account and fail.symbol == symbol]:
                part = fail.shares if control.value is None else min(shares, fail.shares)
                shares -= part
                self._close(fail, part, "delivery control=" + control.control_id, now_ns)
        self._look_again()

    def bought(self, account: AccountState, symbol: str, shares: int, now_ns: int) -> None:
        """An account has bought shares of a symbol, which close its fails; call it when `account.fails` is not 0."""
        for fail in list(self.fails):
            if fail.account is not account or fail.symbol != symbol or shares <= 0:
                continue
            part = min(shares, fail.shares - fail.bought)
            shares -= part
            if not fail.missed:
                self._close(fail, part, "purchase", now_ns)
            elif part:
                fail.bought += part
                fail.settled_ns = self.reference.sessions.close_of_session(now_ns, settlement_sessions(now_ns))
        self._look_again()

    def pass_time(self, now_ns: int) -> None:
        """Time has reached `next_ns`: deadlines pass, and late purchases settle."""
        for fail in list(self.fails):
            if fail.next_ns() > now_ns:
                continue
            if fail.missed:
                self._close(fail, fail.shares, "purchase settled", now_ns)
            else:
                self._miss(fail, now_ns)
        self._look_again()

    def _take(self, control: Control, account: AccountState | None, symbol: str, shares: int, now_ns: int) -> None:
        """A delivery has failed."""
        sale = FAILED_SALE_UNKNOWN if control.failed_sale is None else control.failed_sale
        date = control.settlement_date or ""
        due_ns = self.reference.sessions.opening_after(date, close_out_sessions(sale, control.timestamp))
        fail = Fail(account, symbol, sale, date, control.control_id, shares, due_ns)
        insort(self.fails, fail)
        if account is not None:
            account.fails += 1
        self._tell(fail, RISK_EVENT_TYPE_FAIL_TO_DELIVER, fail.text(), now_ns)

    def _close(self, fail: Fail, shares: int, cause: str, now_ns: int) -> None:
        """Shares of a fail are closed out; with the last of them it is over."""
        fail.shares -= shares
        fail.bought = min(fail.bought, fail.shares)
        if fail.shares:
            return
        self.fails.remove(fail)
        account = fail.account
        if account is not None:
            account.fails -= 1
        self.refuse_again()
        self._tell(fail, RISK_EVENT_TYPE_CLOSE_OUT_MET, f"{fail.text()} cause={cause}", now_ns)

    def _miss(self, fail: Fail, now_ns: int) -> None:
        """A deadline has passed: no short sales without borrowed shares, and none that are open."""
        fail.missed = True
        self.refuse_again()
        self._tell(fail, RISK_EVENT_TYPE_CLOSE_OUT_MISSED, fail.text(), now_ns)
        accounts = list(self.book.accounts.values()) if fail.account is None else [fail.account]
        for account in accounts:
            account.locates.pop(fail.symbol, None)
            notice = 0 if fail.account is None else account.notices
            for order in list(account.orders.values()):
                if order.position.symbol != fail.symbol or order.side <= SIDE_SELL:
                    continue
                if notice == 0:
                    self._notify(account, fail, RISK_EVENT_TYPE_CLOSE_OUT_MISSED, "firm " + fail.text(), now_ns)
                    notice = account.notices
                order.located = min(order.located, order.filled)
                frame = withdrawal(order, self.shard, notice, now_ns, CLOSE_OUT)
                self.notices.outbox.forward[order.position.instrument.shard].append(frame)

    def refuse_again(self) -> None:
        """Look again which symbols nobody, or which account, may sell short unless they are borrowed."""
        self.switches.close_outs = {}
        for account in self.book.accounts.values():
            if account.close_outs:
                account.close_outs = {}
        for fail in self.fails:
            if fail.missed:
                owed = self.switches.close_outs if fail.account is None else fail.account.close_outs
                owed[fail.symbol] = True

    def _look_again(self) -> None:
        """When something is due next."""
        self.next_ns = NEVER_NS
        for fail in self.fails:
            self.next_ns = min(self.next_ns, fail.next_ns())

    def _tell(self, fail: Fail, event_type: int, detail: str, now_ns: int) -> None:
        """Publish an event about a fail; of the firm's the first shard tells."""
        if fail.account is not None:
            self._notify(fail.account, fail, event_type, detail, now_ns)
        elif self.shard == 0:
            self._notify(self.firm, fail, event_type, detail, now_ns)

    def _notify(self, account: AccountState, fail: Fail, event_type: int, detail: str, now_ns: int) -> None:
        """Publish an event of an account, or of what stands for the firm."""
        power = 0 if account is self.firm else power_of(account, self.reference.instruments, now_ns)
        reason = REASON_CODE_RISK_CLOSE_OUT
        self.notices.put(account, event_type, fail.symbol, reason, detail, fail.told, fail.shares, power, now_ns)

    def write(self, writer: StateWriter) -> None:
        """Put the state into a snapshot."""
        writer.put(self.firm.notices)
        writer.put(len(self.fails))
        for fail in self.fails:
            writer.put_text("" if fail.account is None else fail.account.account_id)
            writer.put_text(fail.symbol)
            writer.put_text(fail.settlement_date)
            writer.put_text(fail.control_id)
            for value in (
                fail.sale,
                fail.told,
                fail.due_ns,
                fail.shares,
                fail.bought,
                int(fail.missed),
                fail.settled_ns,
            ):
                writer.put(value)

    def read(self, reader: StateReader) -> None:
        """Take what `write` put; the accounts are there already."""
        self.firm.notices = reader.take()
        for _ in range(reader.take()):
            account_id = reader.take_text()
            symbol = reader.take_text()
            date = reader.take_text()
            control_id = reader.take_text()
            sale = reader.take()
            told = reader.take()
            account = self.book.accounts[account_id] if account_id else None
            fail = Fail(account, symbol, sale, date, control_id, told, reader.take())
            fail.shares = reader.take()
            fail.bought = reader.take()
            fail.missed = reader.take_flag()
            fail.settled_ns = reader.take()
            self.fails.append(fail)
            if account is not None:
                account.fails += 1
        self.refuse_again()
        self._look_again()


def _symbol_of(control: Control) -> str:
    """The symbol that a control is about."""
    symbol = control.target if control.scope == CONTROL_SCOPE_SYMBOL else control.symbol
    return symbol or ""


def _is_date(text: str) -> bool:
    """Whether a text has the form YYYY-MM-DD."""
    if len(text) != 10 or text[4] != "-" or text[7] != "-":
        return False
    digits = text[:4] + text[5:7] + text[8:]
    return digits.isascii() and digits.isdigit()
