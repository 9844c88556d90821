"""Input time in the risk stage: what begins, ends and falls due as it passes.

Ordering: what is due is done in the order of its times; at one time reference data takes effect first, then contracts
expire, then a session ends, then one begins, with its corporate actions before anything else, then fails to deliver fall
due. After that, at most once
a minute, margin accounts are looked at.
Invariants: time never goes back; the same input gives the same events at the same places. The first time that is seen
only starts the clock: sessions that ended before are not ended again.
Known limits: contracts and margin are looked at with the prices that were known when the clock got there.
Complexity: constant until something is due; a session's begin and end are linear in the accounts.
"""

from typing import Final

from schemas.messages import reference_data
from udfs.domain.accounts import AccountBook
from udfs.domain.close_out import FailDesk
from udfs.domain.contract_desk import ContractDesk
from udfs.domain.margin_watch import MarginWatch
from udfs.domain.order_ids import OrderIds
from udfs.domain.reference import ReferenceBook
from udfs.domain.rules import LAST_NS, MINUTE_NS, NEVER_NS
from udfs.domain.split_desk import SplitDesk

_REFERENCE: Final = 0
_EXPIRY: Final = 1
_CLOSE: Final = 2
_BEGIN: Final = 3
_CLOSE_OUT: Final = 4


class RiskClock:
    """The clock of one shard. `closed_ns`: the last close that was processed."""

    __slots__ = (
        "book",
        "closed_ns",
        "contracts",
        "due_ns",
        "fails",
        "minute_ns",
        "now_ns",
        "order_ids",
        "reference",
        "reference_schema",
        "splits",
        "watch",
    )

    def __init__(
        self,
        book: AccountBook,
        reference: ReferenceBook,
        order_ids: OrderIds,
        contracts: ContractDesk,
        watch: MarginWatch,
        splits: SplitDesk,
        fails: FailDesk,
        reference_schema: int,
    ) -> None:
        self.book = book
        self.reference = reference
        self.order_ids = order_ids
        self.contracts = contracts
        self.watch = watch
        self.splits = splits
        self.fails = fails
        self.reference_schema = reference_schema
        self.now_ns: int = 0
        self.closed_ns: int = 0
        self.minute_ns: int = 0
        self.due_ns: int = -1

    def advance(self, time_ns: int) -> None:
        """Input time has reached `time_ns`; one beyond LAST_NS is no time."""
        if time_ns <= self.now_ns or time_ns > LAST_NS:
            return
        if self.now_ns == 0:
            self.closed_ns = time_ns
        self.now_ns = time_ns
        if time_ns >= self.due_ns:
            self._pass()

    def reschedule(self) -> None:
        """Reference data has changed: look again at what is due, now or later."""
        self._pass()

    def _pass(self) -> None:
        """Do what is due by now."""
        while True:
            kind, at_ns = self._next()
            if at_ns > self.now_ns:
                break
            if kind == _REFERENCE:
                waiting = self.reference.waiting.pop(0)
                instrument = self.reference.apply(reference_data.decode(waiting.payload, self.reference_schema))
                if instrument is not None:
                    instrument.fresh_close = self.is_between()
                    self.contracts.take_terms(instrument, at_ns)
            elif kind == _EXPIRY:
                self.contracts.expire_due(at_ns)
            elif kind == _CLOSE:
                self.closed_ns = at_ns
                self.watch.end_session(at_ns)
            elif kind == _BEGIN:
                self._begin(at_ns)
            else:
                self.fails.pass_time(self.now_ns)
        due = at_ns
        if self.book.margin_accounts and self.now_ns > 0 and self.reference.complete:
            if self.now_ns >= self.minute_ns:
                self.minute_ns = self.now_ns - self.now_ns % MINUTE_NS + MINUTE_NS
                self.watch.look(self.now_ns)
            due = min(due, self.minute_ns)
        self.due_ns = due

    def _next(self) -> tuple[int, int]:
        """What is due next, and when; NEVER_NS when nothing is."""
        kind = _REFERENCE
        at_ns = self.reference.next_due_ns()
        expiry_ns = self.reference.next_expiry_ns
        if expiry_ns < at_ns:
            kind = _EXPIRY
            at_ns = expiry_ns
        sessions = self.reference.sessions
        close_ns = sessions.next_close_after(self.closed_ns) if self.now_ns > 0 else -1
        if 0 <= close_ns < at_ns:
            kind = _CLOSE
            at_ns = close_ns
        begin_ns = self._next_begin_ns()
        if begin_ns < at_ns:
            kind = _BEGIN
            at_ns = begin_ns
        if self.fails.next_ns < at_ns and self.now_ns > 0:
            kind = _CLOSE_OUT
            at_ns = self.fails.next_ns
        return kind, at_ns

    def is_between(self) -> bool:
        """Whether the session that has begun last has closed, so that a close is that of the next one's prior day."""
        begun = self.reference.sessions.begun_by(self.order_ids.session_open_ns)
        return self.order_ids.session_open_ns > 0 and begun is not None and self.closed_ns >= begun.close_ns

    def _next_begin_ns(self) -> int:
        """When the next session begins to take orders: now, if the one that the clock is in has not begun here yet."""
        sessions = self.reference.sessions
        session = sessions.entered_by(self.now_ns)
        if session is not None and session.open_ns > self.order_ids.session_open_ns:
            return session.pre_open_ns
        entry_ns = sessions.next_entry_after(self.now_ns)
        return NEVER_NS if entry_ns < 0 else entry_ns

    def _begin(self, time_ns: int) -> None:
        """A session begins to take orders: the day's counters start again."""
        session = self.reference.sessions.entered_by(time_ns)
        if session is None:
            return
        self.splits.begin(self.order_ids.session_open_ns, session, time_ns)
        self.order_ids.begin_session(session.open_ns)
        self.book.filled_value_e4 = 0
        for account in self.book.accounts.values():
            account.day_notional_e4 = 0
            account.locates = {}
        for order in self.book.open.values():
            order.located = 0
        self.watch.begin_session()
