"""Reference data of the risk stage's snapshot, from version 2 on, and the small codecs that all of the snapshot uses.

Ordering: instruments, sessions and waiting records in the order in which they are kept.
Invariant: read after write gives the same.
Complexity: linear.
"""

from udfs.domain.instruments import InstrumentState
from udfs.domain.reference import ReferenceBook, WaitingRecord
from udfs.domain.sessions import SessionTimes
from udfs.domain.state_codec import StateReader, StateWriter


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


def write_names(writer: StateWriter, names: dict[str, bool]) -> None:
    writer.put(len(names))
    for name in names:
        writer.put_text(name)


def read_names(reader: StateReader) -> dict[str, bool]:
    names: dict[str, bool] = {}
    for _ in range(reader.take()):
        names[reader.take_text()] = True
    return names


def write_list(writer: StateWriter, values: list[int]) -> None:
    """Put a list of numbers."""
    writer.put(len(values))
    for value in values:
        writer.put(value)


def read_list(reader: StateReader) -> list[int]:
    """Take a list of numbers."""
    count = reader.take()
    return [reader.take() for _ in range(count)]


def write_reference(writer: StateWriter, reference: ReferenceBook) -> None:
    """Put instruments with their prices, sessions, what waits, and whether the first snapshot has ended."""
    writer.put_flag(reference.complete)
    writer.put(reference.arrivals)
    writer.put(len(reference.instruments))
    for instrument in reference.instruments.values():
        writer.put_text(instrument.symbol)
        writer.put_text(instrument.sector)
        writer.put_text(instrument.underlying)
        writer.put_text(instrument.listing)
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
        instrument.moved,
        instrument.quote_sequence,
        int(instrument.fresh_close),
        int(instrument.was_reversed),
    ]


def read_reference(reader: StateReader, reference: ReferenceBook) -> None:
    """Take what `write_reference` put."""
    reference.complete = reader.take_flag()
    reference.arrivals = reader.take()
    for _ in range(reader.take()):
        instrument = reference.instrument(reader.take_text())
        instrument.sector = reader.take_text()
        instrument.underlying = reader.take_text()
        if reader.version > 4:
            instrument.listing = reader.take_text()
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
        instrument.moved = reader.take()
        instrument.quote_sequence = reader.take()
        instrument.fresh_close = reader.take_flag()
        instrument.was_reversed = reader.take_flag()
        if instrument.is_option or instrument.is_future:
            reference.note_contract(instrument)
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
