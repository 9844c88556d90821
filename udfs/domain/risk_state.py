"""The risk stage's state as values of a snapshot, version 2; version 1 is read by risk_state_v1.py.

Ordering: accounts, open orders and instruments in the order in which they came.
Invariant: read after write gives an engine that behaves the same; sums over open orders are not stored, but counted
again.
Complexity: linear.
"""

from typing import Final

from udfs.domain.accounts import AccountBook
from udfs.domain.holdings import AccountState, GroupHold, OpenOrder, Position, Terms, relock
from udfs.domain.instruments import InstrumentState
from udfs.domain.margin_state import Deficit, MarginState, TradingDay
from udfs.domain.order_ids import OrderIds
from udfs.domain.recent import RecentEnds
from udfs.domain.reference import ReferenceBook, WaitingRecord
from udfs.domain.risk_clock import RiskClock
from udfs.domain.risk_state_v1 import read_risk_v1
from udfs.domain.sessions import SessionTimes
from udfs.domain.state_codec import StateReader, StateWriter
from udfs.domain.switches import Switches

RISK_KIND: Final = 1
RISK_VERSION: Final = 2


class RiskState:
    """The parts of a risk shard that have state."""

    __slots__ = ("book", "clock", "ids", "reference", "seen", "switches")

    def __init__(
        self,
        clock: RiskClock,
        reference: ReferenceBook,
        book: AccountBook,
        ids: OrderIds,
        switches: Switches,
        seen: RecentEnds,
    ) -> None:
        self.clock = clock
        self.reference = reference
        self.book = book
        self.ids = ids
        self.switches = switches
        self.seen = seen


def write_risk(writer: StateWriter, state: RiskState) -> None:
    """Put everything."""
    clock = state.clock
    writer.put(clock.now_ns)
    writer.put(clock.closed_ns)
    writer.put(clock.minute_ns)
    _write_reference(writer, state.reference)
    _write_book(writer, state.book)
    writer.put(state.ids.session_open_ns)
    write_numbers(writer, state.ids.current)
    write_numbers(writer, state.ids.previous)
    switches = state.switches
    writer.put(switches.firm)
    writer.put(switches.firm_capital_e4)
    write_numbers(writer, switches.symbols)
    _write_names(writer, switches.restricted)
    seen = state.seen.in_order()
    writer.put(len(seen))
    for control_id in seen:
        writer.put_text(control_id)


def read_risk(reader: StateReader, state: RiskState) -> None:
    """Take what `write_risk` put, or what version 1 did."""
    clock = state.clock
    if reader.version == 1:
        read_risk_v1(reader, state.reference, state.book, state.ids)
        clock.closed_ns = clock.now_ns
        clock.due_ns = -1
        return
    clock.now_ns = reader.take()
    clock.closed_ns = reader.take()
    clock.minute_ns = reader.take()
    _read_reference(reader, state.reference)
    _read_book(reader, state.book, state.reference)
    state.ids.session_open_ns = reader.take()
    state.ids.current = read_numbers(reader)
    state.ids.previous = read_numbers(reader)
    switches = state.switches
    switches.firm = reader.take()
    switches.firm_capital_e4 = reader.take()
    switches.symbols = read_numbers(reader)
    switches.restricted = _read_names(reader)
    switches.refresh()
    for _ in range(reader.take()):
        state.seen.remember(reader.take_text(), 1)


def write_numbers(writer: StateWriter, entries: dict[str, int]) -> None:
    """Put numbers by name."""
    writer.put(len(entries))
    for key, entry in entries.items():
        writer.put_text(key)
        writer.put(entry)


def read_numbers(reader: StateReader) -> dict[str, int]:
    """Take numbers by name."""
    entries: dict[str, int] = {}
    for _ in range(reader.take()):
        key = reader.take_text()
        entries[key] = reader.take()
    return entries


def _write_names(writer: StateWriter, names: dict[str, bool]) -> None:
    writer.put(len(names))
    for name in names:
        writer.put_text(name)


def _read_names(reader: StateReader) -> dict[str, bool]:
    names: dict[str, bool] = {}
    for _ in range(reader.take()):
        names[reader.take_text()] = True
    return names


def _write_reference(writer: StateWriter, reference: ReferenceBook) -> None:
    """Put instruments with their prices, sessions, what waits, and whether the first snapshot has ended."""
    writer.put_flag(reference.complete)
    writer.put(reference.arrivals)
    writer.put(len(reference.instruments))
    for instrument in reference.instruments.values():
        writer.put_text(instrument.symbol)
        writer.put_text(instrument.sector)
        writer.put_text(instrument.underlying)
        for value in _instrument_numbers(instrument):
            writer.put(value)
    sessions = reference.sessions.by_date
    writer.put(len(sessions))
    for session in sessions.values():
        writer.put_text(session.date)
        writer.put(session.open_ns)
        writer.put(session.close_ns)
        writer.put(session.pre_open_ns)
    writer.put(len(reference.waiting))
    for record in reference.waiting:
        writer.put(record.effective_ns)
        writer.put(record.arrival)
        writer.put_bytes(record.payload)


def _instrument_numbers(instrument: InstrumentState) -> list[int]:
    """The numbers of an instrument, in the order in which they are read."""
    return [
        int(instrument.listed),
        int(instrument.active),
        instrument.tick_e4,
        instrument.asset_class,
        instrument.prior_close_e4,
        instrument.average_volume,
        int(instrument.easy_to_borrow),
        int(instrument.is_option),
        int(instrument.is_future),
        int(instrument.is_call),
        instrument.multiplier,
        instrument.expiry_ns,
        instrument.strike_e4,
        int(instrument.broad_index),
        instrument.maintenance_e4,
        instrument.settlement_e4,
        instrument.settlement_ns,
        int(instrument.expired),
        instrument.final_e4,
        instrument.bid_e4,
        instrument.ask_e4,
        instrument.last_e4,
        instrument.quote_sequence,
    ]


def _read_reference(reader: StateReader, reference: ReferenceBook) -> None:
    """Take what `_write_reference` put."""
    reference.complete = reader.take_flag()
    reference.arrivals = reader.take()
    for _ in range(reader.take()):
        instrument = reference.instrument(reader.take_text())
        instrument.sector = reader.take_text()
        instrument.underlying = reader.take_text()
        instrument.listed = reader.take_flag()
        instrument.active = reader.take_flag()
        instrument.tick_e4 = reader.take()
        instrument.asset_class = reader.take()
        instrument.prior_close_e4 = reader.take()
        instrument.average_volume = reader.take()
        instrument.easy_to_borrow = reader.take_flag()
        instrument.is_option = reader.take_flag()
        instrument.is_future = reader.take_flag()
        instrument.is_call = reader.take_flag()
        instrument.multiplier = reader.take()
        instrument.expiry_ns = reader.take()
        instrument.strike_e4 = reader.take()
        instrument.broad_index = reader.take_flag()
        instrument.maintenance_e4 = reader.take()
        instrument.settlement_e4 = reader.take()
        instrument.settlement_ns = reader.take()
        instrument.expired = reader.take_flag()
        instrument.final_e4 = reader.take()
        instrument.bid_e4 = reader.take()
        instrument.ask_e4 = reader.take()
        instrument.last_e4 = reader.take()
        instrument.quote_sequence = reader.take()
        if (instrument.is_option or instrument.is_future) and not instrument.expired:
            reference.contracts[instrument.symbol] = instrument
    reference.find_next_expiry()
    for _ in range(reader.take()):
        date = reader.take_text()
        open_ns = reader.take()
        close_ns = reader.take()
        reference.sessions.put(SessionTimes(date, open_ns, close_ns, reader.take()))
    for _ in range(reader.take()):
        effective_ns = reader.take()
        arrival = reader.take()
        reference.waiting.append(WaitingRecord(effective_ns, arrival, reader.take_bytes()))


def _write_book(writer: StateWriter, book: AccountBook) -> None:
    """Put accounts with positions, then open orders, then what has moved."""
    writer.put(len(book.accounts))
    for account in book.accounts.values():
        _write_account(writer, account)
    writer.put(len(book.margin_accounts))
    for account in book.margin_accounts:
        writer.put_text(account.account_id)
    writer.put(len(book.open))
    for order in book.open.values():
        _write_order(writer, order)
    writer.put(book.filled_value_e4)
    writer.put(book.flows.traded_e4)
    writer.put(book.flows.commission_e4)
    writer.put(book.flows.settled_e4)
    writer.put(book.flows.delivered_e4)
    write_numbers(writer, book.flows.units)


def _write_account(writer: StateWriter, account: AccountState) -> None:
    """Put one account."""
    writer.put_text(account.account_id)
    writer.put_text(account.name)
    writer.put_text(account.desk)
    writer.put_text(account.stp_group)
    for value in (
        int(account.active),
        account.opening_cash_e4,
        account.cash_e4,
        account.max_order_quantity,
        account.max_order_notional_e4,
        account.max_position,
        account.max_daily_notional_e4,
        account.max_orders_per_second,
        account.max_open_orders,
        account.max_concentration,
        account.max_price_deviation,
        account.duplicate_window_ms,
        account.commission_e4,
        account.mode,
        account.day_notional_e4,
        account.notices,
        account.order_times_at,
        int(account.margin is not None),
    ):
        writer.put(value)
    write_list(writer, account.published)
    write_list(writer, account.order_times)
    _write_names(writer, account.restricted)
    write_numbers(writer, account.locates)
    write_numbers(writer, account.recent_terms)
    margin = account.margin
    if margin is not None:
        _write_margin(writer, margin)
        writer.put(len(account.groups))
        for name, hold in account.groups.items():
            writer.put_text(name)
            writer.put(hold.reserved_e4)
            writer.put(hold.maintenance_e4)
    writer.put(len(account.positions))
    for position in account.positions.values():
        writer.put_text(position.symbol)
        writer.put(position.quantity)
        writer.put(position.loaded)
        writer.put(position.oversold)
        writer.put(position.basis_e4)
        writer.put(position.unpriced)
        writer.put(position.opened_today)
        writer.put_flag(position.closing)


def write_list(writer: StateWriter, values: list[int]) -> None:
    """Put a list of numbers."""
    writer.put(len(values))
    for value in values:
        writer.put(value)


def read_list(reader: StateReader) -> list[int]:
    """Take a list of numbers."""
    count = reader.take()
    return [reader.take() for _ in range(count)]


def _write_margin(writer: StateWriter, margin: MarginState) -> None:
    """Put the margin side of an account."""
    for value in (
        margin.intraday_rule,
        margin.call_kind,
        margin.call_e4,
        margin.call_due_ns,
        int(margin.forced),
        int(margin.reduce_only),
        margin.intraday_deficit_e4,
        margin.frozen_until_ns,
        int(margin.day_trader),
        margin.prior_equity_e4,
        margin.today.day_trades,
        margin.today.trades,
    ):
        writer.put(value)
    write_list(writer, margin.uncured)
    writer.put(len(margin.days))
    for day in margin.days:
        writer.put(day.day_trades)
        writer.put(day.trades)
    writer.put(len(margin.deficits))
    for deficit in margin.deficits:
        writer.put(deficit.amount_e4)
        writer.put(deficit.due_ns)


def _read_margin(reader: StateReader) -> MarginState:
    """Take what `_write_margin` put."""
    margin = MarginState()
    margin.intraday_rule = reader.take()
    margin.call_kind = reader.take()
    margin.call_e4 = reader.take()
    margin.call_due_ns = reader.take()
    margin.forced = reader.take_flag()
    margin.reduce_only = reader.take_flag()
    margin.intraday_deficit_e4 = reader.take()
    margin.frozen_until_ns = reader.take()
    margin.day_trader = reader.take_flag()
    margin.prior_equity_e4 = reader.take()
    margin.today.day_trades = reader.take()
    margin.today.trades = reader.take()
    margin.uncured = read_list(reader)
    for _ in range(reader.take()):
        day_trades = reader.take()
        margin.days.append(TradingDay(day_trades, reader.take()))
    for _ in range(reader.take()):
        amount = reader.take()
        margin.deficits.append(Deficit(amount, reader.take()))
    return margin


def _read_account(reader: StateReader, reference: ReferenceBook) -> AccountState:
    """Take what `_write_account` put."""
    account_id = reader.take_text()
    name = reader.take_text()
    desk = reader.take_text()
    stp_group = reader.take_text()
    active = reader.take_flag()
    account = AccountState(account_id, reader.take())
    account.name = name
    account.desk = desk
    account.stp_group = stp_group
    account.active = active
    account.cash_e4 = reader.take()
    account.max_order_quantity = reader.take()
    account.max_order_notional_e4 = reader.take()
    account.max_position = reader.take()
    account.max_daily_notional_e4 = reader.take()
    account.max_orders_per_second = reader.take()
    account.max_open_orders = reader.take()
    account.max_concentration = reader.take()
    account.max_price_deviation = reader.take()
    account.duplicate_window_ms = reader.take()
    account.commission_e4 = reader.take()
    account.mode = reader.take()
    account.day_notional_e4 = reader.take()
    account.notices = reader.take()
    account.order_times_at = reader.take()
    is_margin = reader.take_flag()
    account.published = read_list(reader)
    account.order_times = read_list(reader)
    account.restricted = _read_names(reader)
    account.locates = read_numbers(reader)
    account.recent_terms = read_numbers(reader)
    if is_margin:
        account.margin = _read_margin(reader)
        for _ in range(reader.take()):
            name = reader.take_text()
            reserved = reader.take()
            hold = GroupHold(reserved, reader.take())
            account.groups[name] = hold
            account.reserved_e4 += hold.reserved_e4
            account.reserved_upkeep_e4 += hold.maintenance_e4
    for _ in range(reader.take()):
        position = Position(reference.instrument(reader.take_text()))
        position.quantity = reader.take()
        position.loaded = reader.take()
        position.oversold = reader.take()
        position.basis_e4 = reader.take()
        position.unpriced = reader.take()
        position.opened_today = reader.take()
        position.closing = reader.take_flag()
        account.positions[position.symbol] = position
    account.refresh_guard()
    return account


def _write_order(writer: StateWriter, order: OpenOrder) -> None:
    """Put one open order with the replacements that wait."""
    writer.put_text(order.key)
    writer.put_text(order.order_id)
    writer.put_text(order.account.account_id)
    writer.put_text(order.position.symbol)
    for value in (
        order.side,
        order.order_type,
        order.time_in_force,
        order.total,
        order.filled,
        order.remaining,
        order.price_e4,
        order.stop_price_e4,
        order.worst_e4,
        order.unit_e4,
        order.value_e4,
        order.entry,
        order.located,
    ):
        writer.put(value)
    pending = order.pending or []
    writer.put(len(pending))
    for terms in pending:
        writer.put(terms.total)
        writer.put(terms.price_e4)
        writer.put(terms.stop_price_e4)
        writer.put(terms.worst_e4)
        writer.put(terms.unit_e4)
        writer.put(terms.value_e4)


def _read_order(reader: StateReader, book: AccountBook) -> OpenOrder:
    """Take what `_write_order` put."""
    key = reader.take_text()
    order_id = reader.take_text()
    account = book.accounts[reader.take_text()]
    position = account.positions[reader.take_text()]
    side = reader.take()
    order_type = reader.take()
    time_in_force = reader.take()
    total = reader.take()
    filled = reader.take()
    remaining = reader.take()
    price = reader.take()
    stop_price = reader.take()
    worst = reader.take()
    unit = reader.take()
    value = reader.take()
    entry = reader.take()
    order = OpenOrder(
        key,
        order_id,
        account,
        position,
        side,
        order_type,
        time_in_force,
        total,
        price,
        stop_price,
        worst,
        unit,
        value,
        entry,
    )
    order.filled = filled
    order.remaining = remaining
    order.located = reader.take()
    pending: list[Terms] = []
    for _ in range(reader.take()):
        new_total = reader.take()
        new_price = reader.take()
        new_stop = reader.take()
        new_worst = reader.take()
        new_unit = reader.take()
        pending.append(Terms(new_total, new_price, new_stop, new_worst, new_unit, reader.take()))
    order.pending = pending if pending else None
    return order


def _read_book(reader: StateReader, book: AccountBook, reference: ReferenceBook) -> None:
    """Take what `_write_book` put."""
    for _ in range(reader.take()):
        account = _read_account(reader, reference)
        book.accounts[account.account_id] = account
    for _ in range(reader.take()):
        book.margin_accounts.append(book.accounts[reader.take_text()])
    for _ in range(reader.take()):
        book.reserve(_read_order(reader, book))
    book.filled_value_e4 = reader.take()
    book.flows.traded_e4 = reader.take()
    book.flows.commission_e4 = reader.take()
    book.flows.settled_e4 = reader.take()
    book.flows.delivered_e4 = reader.take()
    book.flows.units = read_numbers(reader)
    for account in book.accounts.values():
        if account.margin is None:
            for position in account.positions.values():
                if position.instrument.is_option:
                    relock(account, position)
