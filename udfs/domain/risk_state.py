"""The risk stage's state as values of a snapshot, version 7; versions 2 to 6 are read too, and version 1 by
risk_state_v1.py. Version 2 had no orders with the instruction do not reduce; version 3 no deposits: nothing that has moved
so, nothing paid against deficits, nothing that has to stay; version 4 no listing exchange of an instrument, which is unknown
until its reference data comes again; version 5 no fails to deliver; version 6 had the ids of orders one by one.

Ordering: accounts, open orders and instruments in the order in which they came.
Invariant: read after write gives an engine that behaves the same; sums over open orders are not stored, but counted
again.
Complexity: linear.
"""

from typing import Final

from udfs.domain.accounts import AccountBook
from udfs.domain.close_out import FailDesk
from udfs.domain.corporate_actions import read_action, write_action
from udfs.domain.holdings import AccountState, Awaited, GroupHold, OpenOrder, Position, Terms, relock
from udfs.domain.margin_state import Deficit, KeptDeposit, MarginState, TradingDay
from udfs.domain.order_ids import OrderIds
from udfs.domain.recent import RecentEnds
from udfs.domain.reference import ReferenceBook
from udfs.domain.risk_clock import RiskClock
from udfs.domain.risk_state_reference import (
    read_list,
    read_names,
    read_numbers,
    read_reference,
    write_list,
    write_names,
    write_numbers,
    write_reference,
)
from udfs.domain.risk_state_v1 import read_risk_v1
from udfs.domain.split_desk import SplitDesk
from udfs.domain.state_codec import StateReader, StateWriter
from udfs.domain.switches import Switches

RISK_KIND: Final = 1
RISK_VERSION: Final = 7


class RiskState:
    """The parts of a risk shard that have state."""

    __slots__ = ("book", "clock", "fails", "ids", "reference", "seen", "splits", "switches")

    def __init__(
        self,
        clock: RiskClock,
        reference: ReferenceBook,
        book: AccountBook,
        ids: OrderIds,
        switches: Switches,
        seen: RecentEnds,
        splits: SplitDesk,
        fails: FailDesk,
    ) -> None:
        self.clock = clock
        self.reference = reference
        self.book = book
        self.ids = ids
        self.switches = switches
        self.seen = seen
        self.splits = splits
        self.fails = fails


def write_risk(writer: StateWriter, state: RiskState) -> None:
    """Put everything."""
    clock = state.clock
    writer.put(clock.now_ns)
    writer.put(clock.closed_ns)
    writer.put(clock.minute_ns)
    write_reference(writer, state.reference)
    _write_book(writer, state.book)
    writer.put(state.ids.session_open_ns)
    for ids in state.ids.written():
        writer.put_bytes(ids)
    switches = state.switches
    writer.put(switches.firm)
    writer.put(switches.firm_capital_e4)
    write_numbers(writer, switches.symbols)
    write_names(writer, switches.restricted)
    seen = state.seen.in_order()
    writer.put(len(seen))
    for control_id in seen:
        writer.put_text(control_id)
    state.splits.write(writer)
    state.fails.write(writer)


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
    read_reference(reader, state.reference)
    _read_book(reader, state.book, state.reference)
    state.ids.session_open_ns = reader.take()
    if reader.version > 6:
        written = reader.take_bytes()
        state.ids.restore(written, reader.take_bytes())
    else:
        numbers = read_numbers(reader)
        state.ids.take(numbers, read_numbers(reader))
    switches = state.switches
    switches.firm = reader.take()
    switches.firm_capital_e4 = reader.take()
    switches.symbols = read_numbers(reader)
    switches.restricted = read_names(reader)
    switches.refresh()
    for _ in range(reader.take()):
        state.seen.remember(reader.take_text(), 1)
    state.splits.read(reader)
    if reader.version > 5:
        state.fails.read(reader)


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
    writer.put(book.flows.in_lieu_e4)
    writer.put(book.flows.deposited_e4)


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
    write_names(writer, account.restricted)
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
        writer.put(deficit.paid_e4)
    writer.put(len(margin.kept))
    for deposit in margin.kept:
        writer.put(deposit.amount_e4)
        writer.put(deposit.until_ns)


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
        due_ns = reader.take()
        margin.deficits.append(Deficit(amount, due_ns, reader.take() if reader.version > 3 else 0))
    if reader.version > 3:
        for _ in range(reader.take()):
            kept = reader.take()
            margin.kept.append(KeptDeposit(kept, reader.take()))
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
    account.restricted = read_names(reader)
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
        order.placed_ns,
        int(order.do_not_reduce),
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
    awaited = order.awaited or []
    writer.put(len(awaited))
    for waiting in awaited:
        write_action(writer, waiting.action)
        writer.put(waiting.open_ns)
        writer.put(waiting.entry_ns)
        writer.put(waiting.tick_e4)
        # Releases before this one kept a total here.
        writer.put(0)


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
    order.placed_ns = reader.take()
    if reader.version > 2:
        order.do_not_reduce = reader.take_flag()
    pending: list[Terms] = []
    for _ in range(reader.take()):
        new_total = reader.take()
        new_price = reader.take()
        new_stop = reader.take()
        new_worst = reader.take()
        new_unit = reader.take()
        pending.append(Terms(new_total, new_price, new_stop, new_worst, new_unit, reader.take()))
    order.pending = pending if pending else None
    awaited: list[Awaited] = []
    for _ in range(reader.take()):
        action = read_action(reader)
        open_ns = reader.take()
        entry_ns = reader.take()
        awaited.append(Awaited(action, open_ns, entry_ns, reader.take()))
        reader.take()
    order.awaited = awaited if awaited else None
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
    book.flows.in_lieu_e4 = reader.take()
    if reader.version > 3:
        book.flows.deposited_e4 = reader.take()
    for account in book.accounts.values():
        if account.margin is None:
            for position in account.positions.values():
                if position.instrument.is_option:
                    relock(account, position)
