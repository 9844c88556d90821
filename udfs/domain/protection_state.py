"""The state of market protection as values of a snapshot.

Versions before 5 of the match stage's state know no listing exchanges and no reference prices for late limit orders.
Ordering: guards in the order in which their symbols came. Invariant: read after write gives the same behaviour.
Complexity: linear in symbols and sessions.
"""

from udfs.domain.protection import OPEN, Protection
from udfs.domain.sessions import SessionTimes
from udfs.domain.state_codec import StateReader, StateWriter


def write_protection(writer: StateWriter, protection: Protection) -> None:
    """Put sessions, breaker and guards; the markets themselves are in match_state."""
    writer.put(len(protection.sessions.by_date))
    for session in protection.sessions.by_date.values():
        writer.put_text(session.date)
        writer.put(session.open_ns)
        writer.put(session.close_ns)
        writer.put(session.pre_open_ns)
    current = protection.session
    writer.put_text("" if current is None else current.date)
    writer.put(protection.phase)
    writer.put(protection.clock_ns)
    writer.put(protection.deadline_ns)
    writer.put_flag(protection.breaker_halted)
    writer.put_flag(protection.halted_all)
    writer.put_text(protection.index_symbol)
    writer.put(protection.late.told)
    protection.breaker.write(writer)
    writer.put(len(protection.guards))
    for symbol, guard in protection.guards.items():
        writer.put_text(symbol)
        writer.put(guard.prior_close_e4)
        writer.put_flag(guard.fresh_close)
        writer.put_flag(guard.halted)
        writer.put_flag(guard.listed)
        writer.put(guard.state)
        writer.put(guard.events)
        guard.bands.write(writer)
        guard.short_sale.write(writer)
        writer.put_text(guard.listing)
        writer.put(guard.late_prices.high_e4)
        writer.put(guard.late_prices.low_e4)
    protection.adjuster.write(writer)


def read_protection(reader: StateReader, protection: Protection) -> None:
    """Take what `write_protection` put; the markets have been read already."""
    for _ in range(reader.take()):
        date = reader.take_text()
        open_ns = reader.take()
        close_ns = reader.take()
        protection.sessions.put(SessionTimes(date, open_ns, close_ns, reader.take()))
    protection.session = protection.sessions.by_date.get(reader.take_text())
    protection.phase = reader.take()
    protection.clock_ns = reader.take()
    protection.deadline_ns = reader.take()
    protection.breaker_halted = reader.take_flag()
    protection.halted_all = reader.take_flag()
    protection.index_symbol = reader.take_text()
    if protection.session is not None:
        protection.late.begin(protection.session.close_ns)
    if reader.version > 4:
        protection.late.told = reader.take()
    elif protection.phase == OPEN:
        protection.deadline_ns = min(protection.deadline_ns, protection.late.next_ns())
    protection.breaker.read(reader)
    for _ in range(reader.take()):
        market = protection.matcher.market(reader.take_text())
        trading = market.trading
        guard = protection.guard(market.symbol)
        guard.prior_close_e4 = reader.take()
        guard.fresh_close = reader.take_flag()
        guard.halted = reader.take_flag()
        guard.listed = reader.take_flag()
        guard.state = reader.take()
        guard.events = reader.take()
        guard.bands.read(reader)
        guard.short_sale.read(reader)
        if reader.version > 4:
            guard.listing = reader.take_text()
            guard.late_prices.high_e4 = reader.take()
            guard.late_prices.low_e4 = reader.take()
        market.trading = trading
    protection.adjuster.read(reader)
