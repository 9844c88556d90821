"""Reference data in the risk stage: instruments, sessions, and the terms of accounts.

Ordering: the last record of a key counts. An account's cash and positions are taken from its first record only; later
records change its name, limits, commission and whether it may trade, because its money has its own life here since
then.
Invariants: what is refused changes nothing.
Known limits: `effectiveFrom` is recorded by the publisher and not awaited here; one currency.
Complexity: constant for each record, linear in an account's opening positions and in the sessions.
"""

from typing import Final

from schemas.messages.enums import (
    REFERENCE_KIND_ACCOUNT,
    REFERENCE_KIND_INSTRUMENT,
    REFERENCE_KIND_SESSION,
    REFERENCE_KIND_SNAPSHOT_END,
)
from schemas.messages.reference_data import Account, Instrument, ReferenceData, Session
from udfs.domain.accounts import AccountBook, AccountState
from udfs.domain.rules import MAX_CASH_E4, MAX_PRICE_E4, MAX_SHARES
from udfs.domain.sessions import SessionTable, SessionTimes
from udfs.domain.sharding import shard_of

_MAX_COMMISSION_E4: Final = 1_000_000


class InstrumentState:
    """An instrument, and the last national best prices seen for it (0: none).

    Prices may be seen before the instrument: until its record comes it is not `listed`.
    """

    __slots__ = ("active", "ask_e4", "bid_e4", "listed", "quote_sequence", "shard", "symbol", "tick_e4")

    def __init__(self, symbol: str, shard: int) -> None:
        self.symbol = symbol
        self.shard = shard
        self.listed: bool = False
        self.active: bool = False
        self.tick_e4: int = 1
        self.bid_e4: int = 0
        self.ask_e4: int = 0
        self.quote_sequence: int = -1


class ReferenceBook:
    """What the risk stage of one shard knows from reference data."""

    __slots__ = ("accounts", "complete", "instruments", "sessions", "shards")

    def __init__(self, shards: int, accounts: AccountBook) -> None:
        self.shards = shards
        self.accounts = accounts
        self.instruments: dict[str, InstrumentState] = {}
        self.sessions = SessionTable()
        # Whether the end of the first snapshot has been seen.
        self.complete: bool = False

    def apply(self, record: ReferenceData) -> str:
        """Take a record over; returns what is wrong with it, or an empty text."""
        if record.kind == REFERENCE_KIND_SNAPSHOT_END:
            self.complete = True
            return ""
        if record.kind == REFERENCE_KIND_INSTRUMENT:
            return (
                "kind INSTRUMENT without an instrument" if record.instrument is None else self._put(record.instrument)
            )
        if record.kind == REFERENCE_KIND_ACCOUNT:
            return "kind ACCOUNT without an account" if record.account is None else self._put_account(record.account)
        if record.kind == REFERENCE_KIND_SESSION:
            return "kind SESSION without a session" if record.session is None else self._put_session(record.session)
        return "unknown kind of reference data"

    def instrument(self, symbol: str) -> InstrumentState:
        """The state of a symbol, made unlisted when it is new."""
        state = self.instruments.get(symbol)
        if state is None:
            state = InstrumentState(symbol, shard_of(symbol, self.shards))
            self.instruments[symbol] = state
        return state

    def _put(self, instrument: Instrument) -> str:
        """Add or change an instrument."""
        symbol = instrument.symbol
        if not is_visible_ascii(symbol):
            return "symbol is empty or holds other than visible ASCII"
        if instrument.tick_size <= 0 or instrument.tick_size > MAX_PRICE_E4:
            return f"tick size {instrument.tick_size} is not in 1 to {MAX_PRICE_E4}"
        state = self.instrument(symbol)
        state.listed = True
        state.tick_e4 = instrument.tick_size
        state.active = instrument.active
        return ""

    def _put_session(self, session: Session) -> str:
        """Add or change a session."""
        if session.open_time >= session.close_time:
            return f"session {session.date} opens at {session.open_time}, not before its close {session.close_time}"
        self.sessions.put(SessionTimes(session.date, session.open_time, session.close_time))
        return ""

    def _put_account(self, account: Account) -> str:
        """Open an account, or change the terms of an open one."""
        if not is_visible_ascii(account.account_id):
            return "account id is empty or holds other than visible ASCII"
        if account.commission_per_share < 0 or account.commission_per_share > _MAX_COMMISSION_E4:
            return f"commission {account.commission_per_share} is not in 0 to {_MAX_COMMISSION_E4}"
        if account.max_order_quantity < 0 or account.max_order_notional < 0 or account.max_position < 0:
            return "a limit is negative"
        if account.cash < -MAX_CASH_E4 or account.cash > MAX_CASH_E4:
            return f"cash {account.cash} is beyond {MAX_CASH_E4}"
        for opening in account.positions:
            if opening.quantity < 0 or opening.quantity > MAX_SHARES:
                return f"position of {opening.quantity} in {opening.symbol} is not in 0 to {MAX_SHARES}"
        state = self.accounts.accounts.get(account.account_id)
        if state is None:
            state = AccountState(account.account_id, account.cash)
            for opening in account.positions:
                state.position(opening.symbol).quantity += opening.quantity
            self.accounts.accounts[account.account_id] = state
        state.name = account.name
        state.desk = account.desk
        state.active = account.active
        state.max_order_quantity = account.max_order_quantity
        state.max_order_notional_e4 = account.max_order_notional
        state.max_position = account.max_position
        state.commission_e4 = account.commission_per_share
        return ""


def is_visible_ascii(text: str) -> bool:
    """Whether a text is not empty and holds only the visible characters of ASCII, `!` to `~`."""
    return len(text) > 0 and text.isascii() and text.isprintable() and " " not in text
