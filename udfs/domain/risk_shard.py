"""The risk stage of one shard: order commands in; frames for matching, or rejects, out.

Ordering: records take effect in the order of `apply`. Orders and controls (but for CLOCK) that come before the first
snapshot of reference data has ended are held in the order of their arrival and judged when it ends, so that topics may
race at the start of a job.
Invariants: as in accounts.py; each order id is judged once in two sessions and while its order is open; the same
records in the same order give the same outputs, however they are cut into batches; bad input becomes a dead letter or a
reject, an exception is a bug.
Time: the clock is the highest time of CLOCK controls and nbbo records; orders do not move it, because clients write
them. It passes before the prices of its record count (risk_clock.py says what falls due). An outcome of a session with a
corporate action shows that the session has begun.
Known limits: the number of shards is fixed for the life of the state; at most `MAX_HELD` records are held.
Complexity: constant for each record, but for the snapshot's end, which judges what was held, for the passing of time,
and for margin accounts.

Streams (sources.py): ORDERS of the shard's accounts; REFERENCE: accounts of the shard, all instruments, sessions and
snapshot ends, to shard 0 everything, because it answers for what cannot be decoded; CONTROLS; CORPORATE_ACTIONS; NBBO of
all symbols; OUTCOMES of the shard.
After each batch the operator calls `flush()`, takes the lists of `outbox` (and `outbox.forward`) and calls
`outbox.clear()`.
"""

from typing import Final

from schemas.errors import DecodeError
from schemas.messages import controls, corporate_actions, nbbo, order_outcomes, orders, reference_data
from schemas.messages.controls import Control
from schemas.messages.enums import (
    CONTROL_KIND_CLOCK,
    CONTROL_KIND_INDEX_LEVEL,
    CONTROL_SCOPE_ACCOUNT,
    DEAD_LETTER_REASON_INVALID_VALUE,
    REFERENCE_KIND_ACCOUNT,
)
from schemas.messages.order_outcomes import OrderOutcome
from udfs.domain import ids, sources
from udfs.domain.account_check import check_accounts
from udfs.domain.accounts import AccountBook
from udfs.domain.cash_desk import CashDesk
from udfs.domain.close_out import KINDS, FailDesk
from udfs.domain.contract_desk import ContractDesk
from udfs.domain.dead_letters import DeadLetters
from udfs.domain.desk_controls import DeskControls
from udfs.domain.holdings import OpenOrder
from udfs.domain.margin_check import power_of
from udfs.domain.margin_watch import MarginWatch
from udfs.domain.order_desk import OrderDesk
from udfs.domain.outbox import Outbox
from udfs.domain.reference import ReferenceBook
from udfs.domain.refusals import RefusalReporter
from udfs.domain.risk_clock import RiskClock
from udfs.domain.risk_notices import Notices
from udfs.domain.risk_state import RISK_KIND, RISK_VERSION, RiskState, read_risk, write_risk
from udfs.domain.sharding import shard_of
from udfs.domain.split_desk import SplitDesk
from udfs.domain.state_codec import StateError, StateReader, StateWriter
from udfs.domain.street import usable_price
from udfs.domain.switches import Switches

MAX_HELD: Final = 1_000_000


class HeldOrdersOverflow(Exception):
    """Too many orders came before reference data was complete; the message says what to do."""


class HeldRecord:
    """An order or a control that waits for reference data."""

    __slots__ = ("kafka_timestamp_ms", "offset", "partition", "payload", "source")

    def __init__(self, source: int, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        self.source = source
        self.payload = payload
        self.partition = partition
        self.offset = offset
        self.kafka_timestamp_ms = kafka_timestamp_ms


class RiskShard:
    """Engine of the risk stage for the accounts of one shard.

    schema_ids: registry id of each topic by its logical name: orders, reference-data, controls,
    corporate-actions, nbbo and order-outcomes are read; order-events, risk-events and dead-letter are written. KeyError
    names one that is missing.
    symbol_shards: number of shards of the match stage; 0 means as many as account shards.
    """

    def __init__(self, shard: int, shards: int, schema_ids: dict[str, int], symbol_shards: int = 0) -> None:
        self.shard = shard
        self.shards = shards
        self.symbol_shards: int = symbol_shards if symbol_shards > 0 else shards
        self.outbox = Outbox(self.symbol_shards)
        self.book = AccountBook()
        self.reference = ReferenceBook(self.symbol_shards, self.book)
        self.switches = Switches()
        self.held: list[HeldRecord] = []
        self.unread_quotes: int = 0
        self.reporter = RefusalReporter(self.outbox, schema_ids["order-events"], schema_ids["risk-events"])
        self.notices = Notices(self.outbox, schema_ids["risk-events"])
        self.dead_letters = DeadLetters(self.outbox.dead_letter, schema_ids["dead-letter"], "risk")
        self.desk = OrderDesk(
            shard, shards, self.outbox, self.book, self.reference, self.switches, self.reporter, self.dead_letters
        )
        self.contracts = ContractDesk(self.book, self.reference, self.notices)
        self.watch = MarginWatch(shard, self.book, self.reference, self.notices)
        cash = CashDesk(self.book, self.reference, self.watch)
        self.fails = FailDesk(shard, self.book, self.reference, self.switches, self.notices)
        self.controls = DeskControls(
            shard, shards, self.book, self.reference, self.switches, self.notices, cash, self.fails
        )
        self._order_schema: int = schema_ids["orders"]
        self._reference_schema: int = schema_ids["reference-data"]
        self._control_schema: int = schema_ids["controls"]
        self._nbbo_schema: int = schema_ids["nbbo"]
        self._outcome_schema: int = schema_ids["order-outcomes"]
        self._action_schema: int = schema_ids["corporate-actions"]
        self.splits = SplitDesk(self.book, self.reference, self.notices, self.watch)
        self.clock = RiskClock(
            self.book,
            self.reference,
            self.desk.order_ids,
            self.contracts,
            self.watch,
            self.splits,
            self.fails,
            self._reference_schema,
        )

    def apply(self, source: int, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        """Apply one record. Raises HeldOrdersOverflow; any other exception is a bug."""
        if source == sources.ORDERS:
            if self.reference.complete:
                self._apply_order(payload, partition, offset, kafka_timestamp_ms)
            else:
                self._hold(source, payload, partition, offset, kafka_timestamp_ms)
        elif source == sources.NBBO:
            self._apply_nbbo(payload)
        elif source == sources.OUTCOMES:
            self._apply_outcomes(payload, partition, offset, kafka_timestamp_ms)
        elif source == sources.REFERENCE:
            self._apply_reference(payload, partition, offset, kafka_timestamp_ms)
        elif source == sources.CONTROLS:
            self._apply_control(payload, partition, offset, kafka_timestamp_ms)
        elif source == sources.CORPORATE_ACTIONS:
            self._apply_action(payload, partition, offset, kafka_timestamp_ms)
        else:
            raise ValueError(f"the risk stage does not read stream {source}")

    def flush(self) -> None:
        """End a batch. The risk stage sums nothing up; the method is there for what both stages have in common."""

    def _hold(self, source: int, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        """Keep an order or a control until reference data is complete."""
        if len(self.held) >= MAX_HELD:
            raise HeldOrdersOverflow(
                f"{MAX_HELD} orders wait on shard {self.shard} for the first snapshot of reference data to end: publish "
                "reference data with its snapshot-end record (tradestream produce reference-data), then start the job again"
            )
        self.held.append(HeldRecord(source, payload, partition, offset, kafka_timestamp_ms))

    def _apply_order(self, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        """Judge one record of the orders topic."""
        try:
            command = orders.decode(payload, self._order_schema)
        except DecodeError as error:
            self.dead_letters.put_undecodable(sources.ORDERS, partition, offset, kafka_timestamp_ms, error, payload)
            return
        self.desk.apply(command, payload, partition, offset, kafka_timestamp_ms, self.clock.now_ns)

    def _apply_nbbo(self, payload: bytes) -> None:
        """Let time pass, then remember the best prices of a symbol: references of market orders, and marks."""
        try:
            record = nbbo.decode(payload, self._nbbo_schema)
        except DecodeError:
            # The match stage gets the same record and writes the dead letter; here it is only counted.
            self.unread_quotes += 1
            return
        instrument = self.reference.instrument(record.symbol)
        if record.sequence > instrument.quote_sequence:
            self.clock.advance(record.timestamp)
            instrument.quote_sequence = record.sequence
            if not self.splits.price_counts(record.symbol, record.timestamp):
                return
            instrument.bid_e4 = usable_price(record.bid_price)
            instrument.ask_e4 = usable_price(record.ask_price)
            last = usable_price(record.last_price)
            if last:
                instrument.last_e4 = last
            instrument.check_band()

    def _apply_outcomes(self, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        """Settle what a batch of matching did to this shard's orders."""
        try:
            record = order_outcomes.decode(payload, self._outcome_schema)
        except DecodeError as error:
            self.dead_letters.put_undecodable(sources.OUTCOMES, partition, offset, kafka_timestamp_ms, error, payload)
            return
        session_ns = record.session_open or 0
        if session_ns > self.desk.order_ids.session_open_ns:
            # Its shares are those of after the actions of that session, so ours have to be.
            self.clock.advance(self.splits.begun_elsewhere(session_ns))
        unknown = 0
        first_unknown = ""
        for line in record.outcomes:
            order = self.book.open.get(ids.order_key(line.account_id, line.order_id))
            if order is None:
                if line.filled_quantity == 0 and (line.replaces_refused or line.replaces_applied):
                    # The answer to a replacement that met its order's end on the way.
                    continue
                unknown += 1
                if not first_unknown:
                    first_unknown = f"{line.order_id} of account {line.account_id}"
                continue
            if order.awaited is not None:
                self.splits.answered(order, line, session_ns)
            if order.account.margin is None and not order.position.instrument.expired:
                self._settle(order, line)
            else:
                self._settle_watched(order, line, record.timestamp)
            if order.account.fails and order.is_buy and line.filled_quantity:
                now_ns = max(self.clock.now_ns, record.timestamp)
                self.fails.bought(order.account, order.position.symbol, line.filled_quantity, now_ns)
                self.clock.reschedule()
            if self.splits.splits and line.filled_quantity:
                self.splits.filled(order, line.filled_quantity, session_ns, max(self.clock.now_ns, record.timestamp))
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

    def _settle(self, order: OpenOrder, line: OrderOutcome) -> None:
        """Apply one line."""
        total = line.quantity
        self.book.settle(
            order,
            line.filled_quantity,
            line.filled_notional,
            line.commission,
            line.leaves_quantity,
            line.terminal,
            -1 if total is None else total,
            line.replaces_applied or 0,
            line.replaces_refused or 0,
        )

    def _settle_watched(self, order: OpenOrder, line: OrderOutcome, timestamp: int) -> None:
        """Apply one line of a margin account, or of a contract that has expired meanwhile."""
        now_ns = max(self.clock.now_ns, timestamp)
        account = order.account
        position = order.position
        margin = account.margin
        held = position.quantity
        is_first = order.filled == 0
        if margin is None:
            self._settle(order, line)
        elif line.filled_quantity == 0:
            self._settle(order, line)
            self.watch.rehold(account, position, now_ns)
        else:
            before_e4 = self.watch.upkeep_excess(account, now_ns)
            self._settle(order, line)
            self.watch.rehold(account, position, now_ns)
            self.watch.after_fill(account, margin, position, held, is_first, before_e4, now_ns)
        if position.instrument.expired and line.filled_quantity:
            self.contracts.end_position(account, position, now_ns)

    def _apply_reference(self, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        """Take reference data over, now or when it takes effect; the end of the first snapshot releases what is held."""
        try:
            record = reference_data.decode(payload, self._reference_schema)
        except DecodeError as error:
            # All records come to the first shard, so that one that says nothing has one answer, whatever its key.
            if self.shard == 0:
                self.dead_letters.put_undecodable(
                    sources.REFERENCE, partition, offset, kafka_timestamp_ms, error, payload
                )
            return
        if self.shard == 0 and record.account is not None and shard_of(record.account.account_id, self.shards) != 0:
            return
        problem = self.reference.problem(record)
        if not problem and self.reference.waits(record, self.clock.now_ns):
            if self.reference.wait(record, payload):
                self.clock.reschedule()
                return
            problem = "too many records wait for their time"
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
        instrument = self.reference.apply(record)
        if instrument is not None:
            instrument.fresh_close = self.clock.is_between()
            self.contracts.take_terms(instrument, max(self.clock.now_ns, record.timestamp))
        self.clock.reschedule()
        if self.reference.complete and self.held:
            waiting = self.held
            self.held = []
            for held in waiting:
                self.apply(held.source, held.payload, held.partition, held.offset, held.kafka_timestamp_ms)

    def _apply_action(self, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        """A corporate action was announced; it takes effect when the session of its ex-date begins."""
        try:
            record = corporate_actions.decode(payload, self._action_schema)
        except DecodeError as error:
            if self.shard == 0:
                self.dead_letters.put_undecodable(
                    sources.CORPORATE_ACTIONS, partition, offset, kafka_timestamp_ms, error, payload
                )
            return
        problem = self.splits.take(record, self.desk.order_ids.session_open_ns)
        if problem and self.shard == 0:
            self.dead_letters.put(
                sources.CORPORATE_ACTIONS,
                partition,
                offset,
                kafka_timestamp_ms,
                DEAD_LETTER_REASON_INVALID_VALUE,
                f"{record.action_id}: {problem}",
                payload,
                record.timestamp,
            )

    def _apply_control(self, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        """CLOCK moves the clock; the index's level is for matching; everything else is applied here and audited."""
        try:
            control = controls.decode(payload, self._control_schema)
        except DecodeError as error:
            if self.shard == 0:
                self.dead_letters.put_undecodable(
                    sources.CONTROLS, partition, offset, kafka_timestamp_ms, error, payload
                )
            return
        if control.kind == CONTROL_KIND_CLOCK:
            self.clock.advance(control.timestamp)
        elif control.kind == CONTROL_KIND_INDEX_LEVEL:
            return
        elif not self.reference.complete:
            self._hold(sources.CONTROLS, payload, partition, offset, kafka_timestamp_ms)
        else:
            position = ids.position_id(sources.TOPICS[sources.CONTROLS], partition, offset)
            self.controls.apply(control, position, self._power_of_target(control), self.clock.now_ns)
            if control.kind in KINDS:
                self.clock.reschedule()

    def _power_of_target(self, control: Control) -> int:
        """Buying power of the account that a control names, for its audit; 0 when it names none."""
        if control.scope != CONTROL_SCOPE_ACCOUNT or control.target is None:
            return 0
        account = self.book.accounts.get(control.target)
        return 0 if account is None else power_of(account, self.reference.instruments, self.clock.now_ns)

    def check_invariants(self) -> None:
        """Raise InvariantViolation when the state contradicts itself; linear in accounts and open orders."""
        check_accounts(self.book)

    def snapshot(self) -> bytes:
        """The state, versioned. Call it between batches."""
        writer = StateWriter()
        writer.put(self.shard)
        writer.put(self.shards)
        writer.put(self.symbol_shards)
        writer.put(self.desk.judged)
        writer.put(self.desk.approved)
        writer.put(self.unread_quotes)
        writer.put(self.dead_letters.count)
        write_risk(writer, self._state())
        writer.put(len(self.held))
        for held in self.held:
            writer.put(held.source)
            writer.put_bytes(held.payload)
            writer.put(held.partition)
            writer.put(held.offset)
            writer.put(held.kafka_timestamp_ms)
        return writer.finish(RISK_VERSION, RISK_KIND)

    def restore(self, data: bytes) -> None:
        """Take the state of a snapshot into a new engine. Raises StateError when the bytes do not fit it."""
        if self.book.accounts or self.clock.now_ns or self.held:
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
        if reader.version == 1:
            self.clock.now_ns = reader.take()
        self.desk.judged = reader.take()
        self.desk.approved = reader.take()
        self.unread_quotes = reader.take()
        self.dead_letters.count = reader.take()
        read_risk(reader, self._state())
        for _ in range(reader.take()):
            source = sources.ORDERS if reader.version == 1 else reader.take()
            payload = reader.take_bytes()
            partition = reader.take()
            offset = reader.take()
            self.held.append(HeldRecord(source, payload, partition, offset, reader.take()))
        reader.expect_end()

    def _state(self) -> RiskState:
        """The parts that a snapshot holds."""
        return RiskState(
            self.clock,
            self.reference,
            self.book,
            self.desk.order_ids,
            self.switches,
            self.controls.seen,
            self.splits,
            self.fails,
        )

    def stats(self) -> dict[str, int]:
        """Counters and sizes for metrics, by name."""
        return {
            "orders_judged": self.desk.judged,
            "orders_approved": self.desk.approved,
            "orders_open": len(self.book.open),
            "orders_held": len(self.held),
            "accounts": len(self.book.accounts),
            "order_ids": len(self.desk.order_ids.current) + len(self.desk.order_ids.previous),
            "unread_quotes": self.unread_quotes,
            "dead_letters": self.dead_letters.count,
        }
