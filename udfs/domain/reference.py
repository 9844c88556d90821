"""Reference data in the risk stage: instruments, sessions, and the terms of accounts, with changes over time.

Ordering: the last record of a key counts. A record whose `effectiveFrom` is later than both the time it was published
at and the clock waits until the clock gets there; waiting records take effect in the order of those times, then of
their arrival. An account's cash and positions are taken from its first record only; later records change its name,
limits, commission and whether it may trade, because its money has its own life here since then. A limit that an
operator has changed stays until reference data gives another value for it than before.
Invariants: what is refused changes nothing; a margin account stays one.
Known limits: one currency.
Complexity: constant for each record, linear in an account's opening positions, in the sessions and in what waits.
"""

from bisect import insort
from typing import Final

from schemas.messages.enums import (
    ACCOUNT_TYPE_CASH,
    ACCOUNT_TYPE_MARGIN,
    INTRADAY_RULE_INTRADAY_MARGIN,
    INTRADAY_RULE_LEGACY_DAY_TRADER,
    REFERENCE_KIND_ACCOUNT,
    REFERENCE_KIND_INSTRUMENT,
    REFERENCE_KIND_SESSION,
    REFERENCE_KIND_SNAPSHOT_END,
)
from schemas.messages.reference_data import Account, Instrument, ReferenceData, Session
from udfs.domain.accounts import AccountBook
from udfs.domain.holdings import NO_LIMIT, AccountState
from udfs.domain.instruments import InstrumentState, terms_problem
from udfs.domain.limits import published_limits, set_limit
from udfs.domain.margin_state import MarginState
from udfs.domain.rules import MAX_CASH_E4, MAX_SHARES, NEVER_NS
from udfs.domain.sessions import SessionTable, SessionTimes
from udfs.domain.sharding import shard_of

_MAX_COMMISSION_E4: Final = 1_000_000
MAX_WAITING: Final = 1_000_000


class WaitingRecord:
    """A record that takes effect later, as the bytes that it came in."""

    __slots__ = ("arrival", "effective_ns", "payload")

    def __init__(self, effective_ns: int, arrival: int, payload: bytes) -> None:
        self.effective_ns = effective_ns
        self.arrival = arrival
        self.payload = payload

    def __lt__(self, other: "WaitingRecord") -> bool:
        return (self.effective_ns, self.arrival) < (other.effective_ns, other.arrival)


class ReferenceBook:
    """What the risk stage of one shard knows from reference data."""

    __slots__ = (
        "accounts",
        "arrivals",
        "complete",
        "contracts",
        "instruments",
        "next_expiry_ns",
        "optioned",
        "sessions",
        "shards",
        "waiting",
    )

    def __init__(self, shards: int, accounts: AccountBook) -> None:
        self.shards = shards
        self.accounts = accounts
        self.instruments: dict[str, InstrumentState] = {}
        # Options and futures that have not expired yet.
        self.contracts: dict[str, InstrumentState] = {}
        self.next_expiry_ns: int = NEVER_NS
        # Symbols that options are on, whether they are known already or not.
        self.optioned: dict[str, bool] = {}
        self.sessions = SessionTable()
        self.waiting: list[WaitingRecord] = []
        self.arrivals: int = 0
        # Whether the end of the first snapshot has been seen.
        self.complete: bool = False

    def problem(self, record: ReferenceData) -> str:
        """What is impossible about a record, or an empty text."""
        if record.kind == REFERENCE_KIND_SNAPSHOT_END:
            return ""
        if record.kind == REFERENCE_KIND_INSTRUMENT:
            if record.instrument is None:
                return "kind INSTRUMENT without an instrument"
            if not is_visible_ascii(record.instrument.symbol):
                return "symbol is empty or holds other than visible ASCII"
            return terms_problem(record.instrument)
        if record.kind == REFERENCE_KIND_ACCOUNT:
            return (
                "kind ACCOUNT without an account" if record.account is None else self._account_problem(record.account)
            )
        if record.kind == REFERENCE_KIND_SESSION:
            return "kind SESSION without a session" if record.session is None else _session_problem(record.session)
        return "unknown kind of reference data"

    def waits(self, record: ReferenceData, clock_ns: int) -> bool:
        """Whether a record takes effect only later."""
        return record.effective_from > clock_ns and record.effective_from > record.timestamp

    def wait(self, record: ReferenceData, payload: bytes) -> bool:
        """Keep a record until its time; False when too many wait already."""
        if len(self.waiting) >= MAX_WAITING:
            return False
        self.arrivals += 1
        insort(self.waiting, WaitingRecord(record.effective_from, self.arrivals, payload))
        return True

    def next_due_ns(self) -> int:
        """When the first waiting record takes effect."""
        return self.waiting[0].effective_ns if self.waiting else NEVER_NS

    def apply(self, record: ReferenceData) -> InstrumentState | None:
        """Take a record over that `problem` has nothing against; returns the instrument whose terms it gives."""
        if record.kind == REFERENCE_KIND_SNAPSHOT_END:
            self.complete = True
        elif record.kind == REFERENCE_KIND_INSTRUMENT and record.instrument is not None:
            return self._put(record.instrument)
        elif record.kind == REFERENCE_KIND_ACCOUNT and record.account is not None:
            self._put_account(record.account)
        elif record.kind == REFERENCE_KIND_SESSION and record.session is not None:
            session = record.session
            entry_ns = session.open_time if session.pre_open_time is None else session.pre_open_time
            self.sessions.put(SessionTimes(session.date, session.open_time, session.close_time, entry_ns))
        return None

    def instrument(self, symbol: str) -> InstrumentState:
        """The state of a symbol, made unlisted when it is new."""
        state = self.instruments.get(symbol)
        if state is None:
            state = InstrumentState(symbol, shard_of(symbol, self.shards))
            state.has_options = symbol in self.optioned
            self.instruments[symbol] = state
        return state

    def _put(self, instrument: Instrument) -> InstrumentState:
        """Add or change an instrument."""
        state = self.instrument(instrument.symbol)
        state.take_terms(instrument)
        if state.is_option or state.is_future:
            self.note_contract(state)
            self.find_next_expiry()
        return state

    def note_contract(self, contract: InstrumentState) -> None:
        """Remember an option or a future that may expire, and what an option is on."""
        if not contract.expired:
            self.contracts[contract.symbol] = contract
        if contract.is_option:
            self.optioned[contract.underlying] = True
            basis = self.instruments.get(contract.underlying)
            if basis is not None:
                basis.has_options = True

    def find_next_expiry(self) -> None:
        """Look again when the next contract expires."""
        soonest = NEVER_NS
        for contract in self.contracts.values():
            soonest = min(soonest, contract.expiry_ns)
        self.next_expiry_ns = soonest

    def _account_problem(self, account: Account) -> str:
        """What is impossible about an account's record."""
        if not is_visible_ascii(account.account_id):
            return "account id is empty or holds other than visible ASCII"
        if account.commission_per_share < 0 or account.commission_per_share > _MAX_COMMISSION_E4:
            return f"commission {account.commission_per_share} is not in 0 to {_MAX_COMMISSION_E4}"
        if account.max_order_quantity < 0 or account.max_order_notional < 0 or account.max_position < 0:
            return "a limit is negative"
        for limit in (
            account.max_daily_notional,
            account.max_orders_per_second,
            account.max_open_orders,
            account.max_concentration,
            account.max_price_deviation,
            account.duplicate_window_ms,
        ):
            if limit is not None and limit < 0:
                return "a limit is negative"
        if account.cash < -MAX_CASH_E4 or account.cash > MAX_CASH_E4:
            return f"cash {account.cash} is beyond {MAX_CASH_E4}"
        account_type = account.account_type
        is_margin = account_type == ACCOUNT_TYPE_MARGIN
        if account_type is not None and account_type != ACCOUNT_TYPE_CASH and not is_margin:
            return "the account type is not known to this release"
        rule = account.intraday_rule
        if rule is not None and rule > INTRADAY_RULE_LEGACY_DAY_TRADER:
            return "the intraday rule is not known to this release"
        for opening in account.positions:
            least = -MAX_SHARES if is_margin else 0
            if opening.quantity < least or opening.quantity > MAX_SHARES:
                return f"position of {opening.quantity} in {opening.symbol} is not in {least} to {MAX_SHARES}"
        state = self.accounts.accounts.get(account.account_id)
        if state is not None and state.margin is not None and not is_margin:
            return "a margin account does not become a cash account"
        return ""

    def _put_account(self, account: Account) -> None:
        """Open an account, or change the terms of an open one."""
        state = self.accounts.accounts.get(account.account_id)
        if state is None:
            state = AccountState(account.account_id, account.cash)
            for opening in account.positions:
                position = state.position(self.instrument(opening.symbol))
                position.quantity += opening.quantity
                position.loaded += opening.quantity
                position.unpriced += opening.quantity
            self.accounts.accounts[account.account_id] = state
        state.name = account.name
        state.desk = account.desk
        state.active = account.active
        state.commission_e4 = account.commission_per_share
        state.stp_group = account.stp_group or ""
        limits = published_limits(account)
        for kind in range(len(limits)):
            if not state.published or state.published[kind] != limits[kind]:
                set_limit(state, kind, limits[kind])
        state.published = limits
        state.duplicate_window_ms = NO_LIMIT if account.duplicate_window_ms is None else account.duplicate_window_ms
        if account.account_type == ACCOUNT_TYPE_MARGIN:
            self._make_margin(state, account)
        state.refresh_guard()

    def _make_margin(self, state: AccountState, account: Account) -> None:
        """Give the account its margin side, or change its rule."""
        margin = state.margin
        if margin is None:
            margin = MarginState()
            state.margin = margin
            self.accounts.margin_accounts.append(state)
            state.secured_e4 = 0
            for position in state.positions.values():
                position.locked = 0
            for order in self.accounts.open.values():
                if order.account is state:
                    state.orders[order.key] = order
                    order.position.orders[order.key] = order
        rule = account.intraday_rule
        margin.intraday_rule = INTRADAY_RULE_INTRADAY_MARGIN if rule is None else rule


def _session_problem(session: Session) -> str:
    """What is impossible about a session."""
    if session.open_time >= session.close_time:
        return f"session {session.date} opens at {session.open_time}, not before its close {session.close_time}"
    if session.pre_open_time is not None and not 0 <= session.pre_open_time <= session.open_time:
        return (
            f"session {session.date} takes orders from {session.pre_open_time}, after its opening {session.open_time}"
        )
    return ""


def is_visible_ascii(text: str) -> bool:
    """Whether a text is not empty and holds only the visible characters of ASCII, `!` to `~`."""
    return len(text) > 0 and text.isascii() and text.isprintable() and " " not in text
