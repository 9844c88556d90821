"""Snapshots of the risk stage written by version 1: cash accounts with long stocks, market and limit orders of a day.

Ordering: as written. What version 1 did not keep is taken as: a stock, no prior close, no optional limit; of an open
order only what is left is known, so that it cannot be replaced.
Invariant: the engine goes on as the older release would have.
Complexity: linear.
"""

from schemas.messages.enums import ORDER_TYPE_LIMIT, SIDE_BUY, SIDE_SELL, TIME_IN_FORCE_DAY
from udfs.domain.accounts import AccountBook
from udfs.domain.holdings import AccountState, OpenOrder, Position
from udfs.domain.order_ids import REJECTED_HERE, OrderIds, entry_of
from udfs.domain.reference import ReferenceBook
from udfs.domain.risk_state_reference import read_numbers
from udfs.domain.sessions import SessionTimes
from udfs.domain.state_codec import StateReader


def read_risk_v1(reader: StateReader, reference: ReferenceBook, book: AccountBook, ids: OrderIds) -> None:
    """Take everything after the counters and the clock."""
    _read_reference(reader, reference)
    for _ in range(reader.take()):
        account = _read_account(reader, reference)
        book.accounts[account.account_id] = account
        # Cash and shares are as they are; only what moves from now on is counted.
        book.flows.traded_e4 += account.cash_e4 - account.opening_cash_e4
    for _ in range(reader.take()):
        book.reserve(_read_order(reader, book))
    ids.session_open_ns = reader.take()
    current = read_numbers(reader)
    ids.take(current, read_numbers(reader))
    for order in book.open.values():
        entry = ids.find(order.key)
        order.entry = entry if entry >= 0 else entry_of(0, REJECTED_HERE)


def _read_reference(reader: StateReader, reference: ReferenceBook) -> None:
    """Instruments with their quotes, sessions, and whether the first snapshot has ended."""
    reference.complete = reader.take_flag()
    for _ in range(reader.take()):
        instrument = reference.instrument(reader.take_text())
        instrument.tick_e4 = reader.take()
        instrument.listed = reader.take_flag()
        instrument.active = reader.take_flag()
        instrument.bid_e4 = reader.take()
        instrument.ask_e4 = reader.take()
        instrument.quote_sequence = reader.take()
    for _ in range(reader.take()):
        date = reader.take_text()
        open_ns = reader.take()
        reference.sessions.put(SessionTimes(date, open_ns, reader.take()))


def _read_account(reader: StateReader, reference: ReferenceBook) -> AccountState:
    """An account with its positions."""
    account_id = reader.take_text()
    name = reader.take_text()
    desk = reader.take_text()
    active = reader.take_flag()
    account = AccountState(account_id, reader.take())
    account.name = name
    account.desk = desk
    account.active = active
    account.cash_e4 = reader.take()
    account.max_order_quantity = reader.take()
    account.max_order_notional_e4 = reader.take()
    account.max_position = reader.take()
    account.commission_e4 = reader.take()
    for _ in range(reader.take()):
        position = Position(reference.instrument(reader.take_text()))
        position.quantity = reader.take()
        position.loaded = position.quantity
        account.positions[position.symbol] = position
    return account


def _read_order(reader: StateReader, book: AccountBook) -> OpenOrder:
    """An open order; its total is not known."""
    key = reader.take_text()
    order_id = reader.take_text()
    account = book.accounts[reader.take_text()]
    position = account.positions[reader.take_text()]
    side = SIDE_BUY if reader.take_flag() else SIDE_SELL
    remaining = reader.take()
    unit = reader.take()
    order = OpenOrder(
        key, order_id, account, position, side, ORDER_TYPE_LIMIT, TIME_IN_FORCE_DAY, -1, 0, 0, 0, unit, 0, 0
    )
    order.remaining = remaining
    return order
