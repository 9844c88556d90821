"""The risk stage's state as values of a snapshot, version 1.

Ordering: accounts and open orders in the order in which they came.
Invariant: read after write gives an engine that behaves the same.
Complexity: linear.
"""

from typing import Final

from udfs.domain.accounts import AccountBook, AccountState, OpenOrder, Position
from udfs.domain.order_ids import OrderIds
from udfs.domain.reference import ReferenceBook
from udfs.domain.sessions import SessionTimes
from udfs.domain.state_codec import StateReader, StateWriter

RISK_KIND: Final = 1
RISK_VERSION: Final = 1


def write_reference(writer: StateWriter, reference: ReferenceBook) -> None:
    """Put instruments with their quotes, sessions, and whether the first snapshot has ended."""
    writer.put_flag(reference.complete)
    writer.put(len(reference.instruments))
    for instrument in reference.instruments.values():
        writer.put_text(instrument.symbol)
        writer.put(instrument.tick_e4)
        writer.put_flag(instrument.listed)
        writer.put_flag(instrument.active)
        writer.put(instrument.bid_e4)
        writer.put(instrument.ask_e4)
        writer.put(instrument.quote_sequence)
    writer.put(len(reference.sessions.by_date))
    for session in reference.sessions.by_date.values():
        writer.put_text(session.date)
        writer.put(session.open_ns)
        writer.put(session.close_ns)


def read_reference(reader: StateReader, reference: ReferenceBook) -> None:
    """Take what `write_reference` put."""
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
        close_ns = reader.take()
        reference.sessions.put(SessionTimes(date, open_ns, close_ns))


def write_accounts(writer: StateWriter, book: AccountBook) -> None:
    """Put accounts with positions, then open orders; sums over open orders are not stored."""
    writer.put(len(book.accounts))
    for account in book.accounts.values():
        writer.put_text(account.account_id)
        writer.put_text(account.name)
        writer.put_text(account.desk)
        writer.put_flag(account.active)
        writer.put(account.opening_cash_e4)
        writer.put(account.cash_e4)
        writer.put(account.max_order_quantity)
        writer.put(account.max_order_notional_e4)
        writer.put(account.max_position)
        writer.put(account.commission_e4)
        writer.put(len(account.positions))
        for position in account.positions.values():
            writer.put_text(position.symbol)
            writer.put(position.quantity)
    writer.put(len(book.open))
    for order in book.open.values():
        writer.put_text(order.key)
        writer.put_text(order.order_id)
        writer.put_text(order.account.account_id)
        writer.put_text(order.position.symbol)
        writer.put_flag(order.is_buy)
        writer.put(order.remaining)
        writer.put(order.unit_e4)


def read_accounts(reader: StateReader, book: AccountBook) -> None:
    """Take what `write_accounts` put; reservations are made again from the open orders."""
    for _ in range(reader.take()):
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
            symbol = reader.take_text()
            account.positions[symbol] = Position(symbol, reader.take())
        book.accounts[account_id] = account
    for _ in range(reader.take()):
        key = reader.take_text()
        order_id = reader.take_text()
        account = book.accounts[reader.take_text()]
        position = account.positions[reader.take_text()]
        is_buy = reader.take_flag()
        remaining = reader.take()
        book.reserve(OpenOrder(key, order_id, account, position, is_buy, remaining, reader.take()))


def write_ids(writer: StateWriter, ids: OrderIds) -> None:
    """Put the ids of this session and the one before."""
    writer.put(ids.session_open_ns)
    _write_entries(writer, ids.current)
    _write_entries(writer, ids.previous)


def read_ids(reader: StateReader, ids: OrderIds) -> None:
    """Take what `write_ids` put."""
    ids.session_open_ns = reader.take()
    ids.current = _read_entries(reader)
    ids.previous = _read_entries(reader)


def _write_entries(writer: StateWriter, entries: dict[str, int]) -> None:
    writer.put(len(entries))
    for key, entry in entries.items():
        writer.put_text(key)
        writer.put(entry)


def _read_entries(reader: StateReader) -> dict[str, int]:
    entries: dict[str, int] = {}
    for _ in range(reader.take()):
        key = reader.take_text()
        entries[key] = reader.take()
    return entries
