"""The risk stage of one shard: order commands in; frames for matching, or rejects, out.

Ordering: records take effect in the order of `apply`. Orders that come before the first snapshot of reference data has
ended are held in the order of their arrival and judged when it ends, so that topics may race at the start of a job.
Invariants: as in accounts.py; each order id is judged once in two sessions; the same records in the same order give
the same outputs, however they are cut into batches; bad input becomes a dead letter or a reject, an exception is a bug.
Time: the clock is the highest time of CLOCK controls and nbbo records; orders do not move it, because clients write
them.
Known limits: the number of shards is fixed for the life of the state; at most `MAX_HELD` orders are held.
Complexity: constant for each record, but for the snapshot's end, which judges the held orders.

Streams (sources.py): ORDERS of the shard's accounts; REFERENCE: accounts of the shard, all instruments, sessions and
snapshot ends; CONTROLS; NBBO of all symbols; OUTCOMES of the shard.
After each batch the operator calls `flush()`, takes the lists of `outbox` (and `outbox.forward`) and calls
`outbox.clear()`.
"""

import zlib
from typing import Final

from schemas.errors import DecodeError
from schemas.messages import controls, nbbo, order_outcomes, orders, reference_data
from schemas.messages.enums import (
    COMMAND_TYPE_CANCEL,
    COMMAND_TYPE_NEW,
    COMMAND_TYPE_REPLACE,
    CONTROL_KIND_CLOCK,
    CONTROL_KIND_NAMES,
    DEAD_LETTER_REASON_DUPLICATE_ORDER_ID,
    DEAD_LETTER_REASON_INVALID_VALUE,
    DEAD_LETTER_REASON_REPLAYED_ORDER,
    DEAD_LETTER_REASON_UNSUPPORTED,
    ORDER_EVENT_TYPE_CANCEL_REJECTED,
    ORDER_EVENT_TYPE_REPLACE_REJECTED,
    REASON_CODE_CANCEL_TOO_LATE,
    REASON_CODE_CANCEL_UNKNOWN_ORDER,
    REASON_CODE_VALIDATION_ORDER_ID_INVALID,
    REASON_CODE_VALIDATION_UNSUPPORTED_COMMAND,
    REFERENCE_KIND_ACCOUNT,
    SIDE_BUY,
)
from schemas.messages.orders import OrderCommand
from udfs.domain import ids, sources
from udfs.domain.accounts import AccountBook, AccountState, OpenOrder
from udfs.domain.dead_letters import DeadLetters
from udfs.domain.frames import encode_frame
from udfs.domain.order_ids import REJECTED_HERE, OrderIds, fingerprint_of, shard_of_entry
from udfs.domain.outbox import Outbox
from udfs.domain.reference import InstrumentState, ReferenceBook, is_visible_ascii
from udfs.domain.refusals import RefusalReporter
from udfs.domain.risk import assess, reserve_per_share, worst_price
from udfs.domain.risk_state import (
    RISK_KIND,
    RISK_VERSION,
    read_accounts,
    read_ids,
    read_reference,
    write_accounts,
    write_ids,
    write_reference,
)
from udfs.domain.rules import MAX_ORDER_ID_LENGTH
from udfs.domain.sessions import SessionTimes
from udfs.domain.sharding import shard_of
from udfs.domain.state_codec import StateError, StateReader, StateWriter
from udfs.domain.street import usable_price
from udfs.domain.validation import Refusal, validate

MAX_HELD: Final = 1_000_000


class HeldOrdersOverflow(Exception):
    """Too many orders came before reference data was complete; the message says what to do."""


class HeldOrder:
    """A record of the orders topic that waits for reference data."""

    __slots__ = ("kafka_timestamp_ms", "offset", "partition", "payload")

    def __init__(self, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        self.payload = payload
        self.partition = partition
        self.offset = offset
        self.kafka_timestamp_ms = kafka_timestamp_ms


class RiskShard:
    """Engine of the risk stage for the accounts of one shard.

    schema_ids: registry id of each topic by its logical name: orders, reference-data, controls, nbbo and
    order-outcomes are read; order-events, risk-events and dead-letter are written. KeyError names one that is missing.
    symbol_shards: number of shards of the match stage; 0 means as many as account shards.
    """

    def __init__(self, shard: int, shards: int, schema_ids: dict[str, int], symbol_shards: int = 0) -> None:
        self.shard = shard
        self.shards = shards
        self.symbol_shards: int = symbol_shards if symbol_shards > 0 else shards
        self.outbox = Outbox(self.symbol_shards)
        self.book = AccountBook()
        self.reference = ReferenceBook(self.symbol_shards, self.book)
        self.order_ids = OrderIds()
        self.held: list[HeldOrder] = []
        self.clock_ns: int = 0
        self.judged: int = 0
        self.approved: int = 0
        self.unread_quotes: int = 0
        self.reporter = RefusalReporter(self.outbox, schema_ids["order-events"], schema_ids["risk-events"])
        self.dead_letters = DeadLetters(self.outbox.dead_letter, schema_ids["dead-letter"], "risk")
        self._next_open_ns: int = -1
        self._order_schema: int = schema_ids["orders"]
        self._reference_schema: int = schema_ids["reference-data"]
        self._control_schema: int = schema_ids["controls"]
        self._nbbo_schema: int = schema_ids["nbbo"]
        self._outcome_schema: int = schema_ids["order-outcomes"]

    def apply(self, source: int, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        """Apply one record. Raises HeldOrdersOverflow; any other exception is a bug."""
        if source == sources.ORDERS:
            if self.reference.complete:
                self._apply_order(payload, partition, offset, kafka_timestamp_ms)
            else:
                self._hold(payload, partition, offset, kafka_timestamp_ms)
        elif source == sources.NBBO:
            self._apply_nbbo(payload)
        elif source == sources.OUTCOMES:
            self._apply_outcomes(payload, partition, offset, kafka_timestamp_ms)
        elif source == sources.REFERENCE:
            self._apply_reference(payload, partition, offset, kafka_timestamp_ms)
        elif source == sources.CONTROLS:
            self._apply_control(payload, partition, offset, kafka_timestamp_ms)
        else:
            raise ValueError(f"the risk stage does not read stream {source}")

    def flush(self) -> None:
        """End a batch. The risk stage sums nothing up; the method is there for what both stages have in common."""

    def _hold(self, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        """Keep an order until reference data is complete."""
        if len(self.held) >= MAX_HELD:
            raise HeldOrdersOverflow(
                f"{MAX_HELD} orders wait on shard {self.shard} for the first snapshot of reference data to end: publish "
                "reference data with its snapshot-end record (tradestream produce reference-data), then start the job again"
            )
        self.held.append(HeldOrder(payload, partition, offset, kafka_timestamp_ms))

    def _apply_order(self, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        """Judge one record of the orders topic."""
        try:
            command = orders.decode(payload, self._order_schema)
        except DecodeError as error:
            self.dead_letters.put_undecodable(sources.ORDERS, partition, offset, kafka_timestamp_ms, error, payload)
            return
        if command.account_id not in self.book.accounts and shard_of(command.account_id, self.shards) != self.shard:
            # Judged here it could be judged twice: once here as unknown, and once where its account is.
            self.dead_letters.put(
                sources.ORDERS,
                partition,
                offset,
                kafka_timestamp_ms,
                DEAD_LETTER_REASON_INVALID_VALUE,
                f"the record's key does not lead to account {command.account_id}: the key of an order is its account id",
                payload,
                command.timestamp,
            )
            return
        if command.command == COMMAND_TYPE_NEW:
            self._apply_new(command, payload, partition, offset, kafka_timestamp_ms)
        elif command.command == COMMAND_TYPE_CANCEL:
            self._apply_cancel(command, partition, offset)
        elif command.command == COMMAND_TYPE_REPLACE:
            self.reporter.refuse_command(
                command,
                ORDER_EVENT_TYPE_REPLACE_REJECTED,
                REASON_CODE_VALIDATION_UNSUPPORTED_COMMAND,
                "command=REPLACE",
                ids.order_origin(partition, offset),
            )
        else:
            self.dead_letters.put(
                sources.ORDERS,
                partition,
                offset,
                kafka_timestamp_ms,
                DEAD_LETTER_REASON_UNSUPPORTED,
                "the command is not NEW, CANCEL or REPLACE",
                payload,
                command.timestamp,
            )

    def _apply_new(
        self,
        command: OrderCommand,
        payload: bytes,
        partition: int,
        offset: int,
        kafka_timestamp_ms: int,
    ) -> None:
        """Judge a new order: duplicate, reject or forward."""
        order_id = command.order_id
        if len(order_id) > MAX_ORDER_ID_LENGTH or not is_visible_ascii(order_id):
            self.judged += 1
            text = f"length={len(order_id)} max_length={MAX_ORDER_ID_LENGTH} allowed=visible-ascii"
            self.reporter.reject_invalid(
                command, Refusal(REASON_CODE_VALIDATION_ORDER_ID_INVALID, text), ids.order_origin(partition, offset)
            )
            return
        key = ids.order_key(command.account_id, order_id)
        fingerprint = zlib.crc32(payload)
        entry = self.order_ids.find(key)
        if entry >= 0:
            replayed = fingerprint_of(entry) == fingerprint
            self.dead_letters.put(
                sources.ORDERS,
                partition,
                offset,
                kafka_timestamp_ms,
                DEAD_LETTER_REASON_REPLAYED_ORDER if replayed else DEAD_LETTER_REASON_DUPLICATE_ORDER_ID,
                f"order {order_id} of account {command.account_id} "
                + ("came before with the same content" if replayed else "came before with other content"),
                payload,
                command.timestamp,
            )
            return
        self.judged += 1
        account = self.book.accounts.get(command.account_id)
        instrument = self.reference.instruments.get(command.symbol)
        session = self.reference.sessions.at(command.timestamp)
        refusal = validate(command, account, instrument, session, self.clock_ns)
        if refusal is not None or account is None or instrument is None or session is None:
            self.order_ids.remember(key, fingerprint, REJECTED_HERE)
            if refusal is not None:
                self.reporter.reject_invalid(command, refusal, ids.order_origin(partition, offset))
            return
        worst_e4 = worst_price(command, instrument)
        refusal = assess(command, account, instrument, worst_e4)
        if refusal is not None:
            self.order_ids.remember(key, fingerprint, REJECTED_HERE)
            self.reporter.reject_risk(command, refusal, account.buying_power(), ids.order_origin(partition, offset))
            return
        self.order_ids.remember(key, fingerprint, instrument.shard)
        self._approve(command, key, account, instrument, session, worst_e4, partition, offset)

    def _approve(
        self,
        command: OrderCommand,
        key: str,
        account: AccountState,
        instrument: InstrumentState,
        session: SessionTimes,
        worst_e4: int,
        partition: int,
        offset: int,
    ) -> None:
        """Reserve and forward; the match stage publishes the order's events, so that they leave from one place."""
        is_buy = command.side == SIDE_BUY
        unit_e4 = reserve_per_share(is_buy, worst_e4, account.commission_e4)
        position = account.position(command.symbol)
        self.book.reserve(OpenOrder(key, command.order_id, account, position, is_buy, command.quantity, unit_e4))
        self.approved += 1
        self.outbox.forward[instrument.shard].append(
            encode_frame(
                command,
                self.shard,
                partition,
                offset,
                worst_e4,
                account.commission_e4,
                session.close_ns,
                command.quantity * unit_e4,
            )
        )

    def _apply_cancel(self, command: OrderCommand, partition: int, offset: int) -> None:
        """Forward a cancel to the order's symbol shard, or refuse it when this account has no such order."""
        entry = self.order_ids.find(ids.order_key(command.account_id, command.order_id))
        if entry < 0:
            self.reporter.refuse_command(
                command,
                ORDER_EVENT_TYPE_CANCEL_REJECTED,
                REASON_CODE_CANCEL_UNKNOWN_ORDER,
                None,
                ids.order_origin(partition, offset),
            )
            return
        symbol_shard = shard_of_entry(entry)
        if symbol_shard == REJECTED_HERE:
            self.reporter.refuse_command(
                command,
                ORDER_EVENT_TYPE_CANCEL_REJECTED,
                REASON_CODE_CANCEL_TOO_LATE,
                "status=REJECTED",
                ids.order_origin(partition, offset),
            )
            return
        self.outbox.forward[symbol_shard].append(encode_frame(command, self.shard, partition, offset, 0, 0, 0, 0))

    def _apply_nbbo(self, payload: bytes) -> None:
        """Remember the best prices of a symbol, the reference of market orders, and the time."""
        try:
            record = nbbo.decode(payload, self._nbbo_schema)
        except DecodeError:
            # The match stage gets the same record and writes the dead letter; here it is only counted.
            self.unread_quotes += 1
            return
        instrument = self.reference.instrument(record.symbol)
        if record.sequence > instrument.quote_sequence:
            instrument.quote_sequence = record.sequence
            instrument.bid_e4 = usable_price(record.bid_price)
            instrument.ask_e4 = usable_price(record.ask_price)
            self._advance(record.timestamp)

    def _apply_outcomes(self, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        """Settle what a batch of matching did to this shard's orders."""
        try:
            record = order_outcomes.decode(payload, self._outcome_schema)
        except DecodeError as error:
            self.dead_letters.put_undecodable(sources.OUTCOMES, partition, offset, kafka_timestamp_ms, error, payload)
            return
        unknown = 0
        first_unknown = ""
        for line in record.outcomes:
            order = self.book.open.get(ids.order_key(line.account_id, line.order_id))
            if order is None:
                unknown += 1
                if not first_unknown:
                    first_unknown = f"{line.order_id} of account {line.account_id}"
                continue
            self.book.settle(
                order,
                line.filled_quantity,
                line.filled_notional,
                line.commission,
                line.leaves_quantity,
                line.terminal,
            )
        if unknown:
            self.dead_letters.put(
                sources.OUTCOMES,
                partition,
                offset,
                kafka_timestamp_ms,
                DEAD_LETTER_REASON_INVALID_VALUE,
                f"{unknown} of {len(record.outcomes)} outcomes are of orders that are not open here, "
                f"the first is {first_unknown}; the others were applied",
                payload,
                record.timestamp,
            )

    def _apply_reference(self, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        """Take reference data over; the end of the first snapshot releases the held orders."""
        try:
            record = reference_data.decode(payload, self._reference_schema)
        except DecodeError as error:
            self.dead_letters.put_undecodable(sources.REFERENCE, partition, offset, kafka_timestamp_ms, error, payload)
            return
        problem = self.reference.apply(record)
        if problem:
            # Only accounts come to one shard; of what comes to all of them the first one tells.
            if record.kind == REFERENCE_KIND_ACCOUNT or self.shard == 0:
                self.dead_letters.put(
                    sources.REFERENCE,
                    partition,
                    offset,
                    kafka_timestamp_ms,
                    DEAD_LETTER_REASON_INVALID_VALUE,
                    f"{record.key}: {problem}",
                    payload,
                    record.timestamp,
                )
            return
        self._next_open_ns = -1
        self._begin_sessions()
        if self.reference.complete and self.held:
            waiting = self.held
            self.held = []
            for held in waiting:
                self._apply_order(held.payload, held.partition, held.offset, held.kafka_timestamp_ms)

    def _apply_control(self, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        """CLOCK moves the clock; other controls are not offered yet, and the first shard says so for all."""
        try:
            control = controls.decode(payload, self._control_schema)
        except DecodeError as error:
            if self.shard == 0:
                self.dead_letters.put_undecodable(
                    sources.CONTROLS, partition, offset, kafka_timestamp_ms, error, payload
                )
            return
        if control.kind == CONTROL_KIND_CLOCK:
            self._advance(control.timestamp)
        elif self.shard == 0:
            self.dead_letters.put(
                sources.CONTROLS,
                partition,
                offset,
                kafka_timestamp_ms,
                DEAD_LETTER_REASON_UNSUPPORTED,
                f"control {control.control_id} of kind {CONTROL_KIND_NAMES[control.kind]} was not applied: "
                "this release knows CLOCK only",
                payload,
                control.timestamp,
            )

    def _advance(self, time_ns: int) -> None:
        """Input time has reached `time_ns`."""
        if time_ns > self.clock_ns:
            self.clock_ns = time_ns
            if time_ns >= self._next_open_ns:
                self._begin_sessions()

    def _begin_sessions(self) -> None:
        """Let the memory of order ids follow the session that the clock is in, or was in last."""
        session = self.reference.sessions.begun_by(self.clock_ns)
        if session is not None:
            self.order_ids.begin_session(session.open_ns)
        next_open_ns = self.reference.sessions.next_open_after(self.clock_ns)
        self._next_open_ns = next_open_ns if next_open_ns >= 0 else 2**63 - 1

    def check_invariants(self) -> None:
        """Raise InvariantViolation when the state contradicts itself; linear in accounts and open orders."""
        self.book.check()

    def snapshot(self) -> bytes:
        """The state, versioned. Call it between batches."""
        writer = StateWriter()
        writer.put(self.shard)
        writer.put(self.shards)
        writer.put(self.symbol_shards)
        writer.put(self.clock_ns)
        writer.put(self.judged)
        writer.put(self.approved)
        writer.put(self.unread_quotes)
        writer.put(self.dead_letters.count)
        write_reference(writer, self.reference)
        write_accounts(writer, self.book)
        write_ids(writer, self.order_ids)
        writer.put(len(self.held))
        for held in self.held:
            writer.put_bytes(held.payload)
            writer.put(held.partition)
            writer.put(held.offset)
            writer.put(held.kafka_timestamp_ms)
        return writer.finish(RISK_VERSION, RISK_KIND)

    def restore(self, data: bytes) -> None:
        """Take the state of a snapshot into a new engine. Raises StateError when the bytes do not fit it."""
        if self.book.accounts or self.clock_ns or self.held:
            raise StateError("a snapshot can only be restored into a new engine")
        reader = StateReader(data, RISK_KIND, RISK_VERSION)
        shard = reader.take()
        shards = reader.take()
        symbol_shards = reader.take()
        if shard != self.shard or shards != self.shards or symbol_shards != self.symbol_shards:
            raise StateError(
                f"snapshot of shard {shard} of {shards} with {symbol_shards} symbol shards given to shard {self.shard} of "
                f"{self.shards} with {self.symbol_shards}: the numbers of shards are fixed for the life of the state"
            )
        self.clock_ns = reader.take()
        self.judged = reader.take()
        self.approved = reader.take()
        self.unread_quotes = reader.take()
        self.dead_letters.count = reader.take()
        read_reference(reader, self.reference)
        read_accounts(reader, self.book)
        read_ids(reader, self.order_ids)
        for _ in range(reader.take()):
            payload = reader.take_bytes()
            partition = reader.take()
            offset = reader.take()
            self.held.append(HeldOrder(payload, partition, offset, reader.take()))
        reader.expect_end()
        self._begin_sessions()

    def stats(self) -> dict[str, int]:
        """Counters and sizes for metrics, by name."""
        return {
            "orders_judged": self.judged,
            "orders_approved": self.approved,
            "orders_open": len(self.book.open),
            "orders_held": len(self.held),
            "accounts": len(self.book.accounts),
            "order_ids": len(self.order_ids.current) + len(self.order_ids.previous),
            "unread_quotes": self.unread_quotes,
            "dead_letters": self.dead_letters.count,
        }
