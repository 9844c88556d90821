"""The match stage of one shard: bytes in, bytes out, around matching.Matcher and protection.Protection.

Ordering: records take effect in the order of `apply`; all events of an approved order are written here, in its
sequence. Frames that come before the first snapshot of reference data has ended are held in the order of their arrival,
as the risk stage holds orders.
Invariants: the same records in the same order give the same outputs, however they are cut into batches (except that the
records of order-outcomes sum up what came between two calls of `flush`); bad input becomes a dead letter, an exception is
a bug and has to stop the job.
Time: the clock is the highest time of CLOCK controls and of nbbo records of this shard's symbols; times of orders do
not move it, because clients write them.
Known limits: cancels and replacements that come too late find the final status of the last `RECENT_ENDS` orders of the
shard; at most `MAX_HELD` frames are held.
Complexity: see matching.py.

Streams (sources.py): FORWARD, NBBO and instruments of our symbols, sessions, snapshot ends, CONTROLS, CORPORATE_ACTIONS.
The operator calls `flush()` after one batch or several; after each it takes the lists of `outbox` and clears them.
"""

from typing import Final

from schemas.errors import DecodeError
from schemas.messages import controls, corporate_actions, nbbo, reference_data
from schemas.messages.controls import Control
from schemas.messages.enums import (
    ASSET_CLASS_INDEX,
    COMMAND_TYPE_CANCEL,
    COMMAND_TYPE_REPLACE,
    CONTROL_KIND_CLOCK,
    CONTROL_KIND_HALT,
    CONTROL_KIND_INDEX_LEVEL,
    CONTROL_KIND_KILL,
    CONTROL_KIND_PAUSE,
    CONTROL_KIND_RESUME,
    CONTROL_KIND_UNHALT,
    CONTROL_SCOPE_ACCOUNT,
    CONTROL_SCOPE_ALL,
    CONTROL_SCOPE_SYMBOL,
    DEAD_LETTER_REASON_INVALID_VALUE,
    ORDER_EVENT_TYPE_CANCEL_REJECTED,
    ORDER_EVENT_TYPE_REPLACE_REJECTED,
    ORDER_STATUS_REJECTED,
    REASON_CODE_CANCEL_CLOSE_OUT,
    REASON_CODE_CANCEL_CORPORATE_ACTION,
    REASON_CODE_CANCEL_FORCED_REDUCTION,
    REASON_CODE_CANCEL_KILL_SWITCH,
    REASON_CODE_CANCEL_TOO_LATE,
    REASON_CODE_MATCH_AUCTION_UNFILLED,
    REASON_CODE_NONE,
    REASON_CODE_REPLACE_NOT_ALLOWED,
    REASON_CODE_REPLACE_TOO_LATE,
    REFERENCE_KIND_INSTRUMENT,
    REFERENCE_KIND_SESSION,
    REFERENCE_KIND_SNAPSHOT_END,
    TIME_IN_FORCE_OPG,
)
from schemas.messages.reference_data import ReferenceData
from udfs.domain import ids, sources
from udfs.domain.book import InvariantViolation, Order
from udfs.domain.dead_letters import DeadLetters
from udfs.domain.desk_controls import MAX_SEEN
from udfs.domain.events import MatchReporter, refused_command
from udfs.domain.frame_orders import order_of
from udfs.domain.frames import OURS, Frame, decode_frame
from udfs.domain.match_check import check_matcher
from udfs.domain.match_state import MATCH_KIND, MATCH_VERSION, read_matcher, write_matcher
from udfs.domain.matching import Matcher
from udfs.domain.outbox import Outbox
from udfs.domain.outcomes import OutcomeLedger
from udfs.domain.protection import OPEN, Protection
from udfs.domain.protection_state import read_protection, write_protection
from udfs.domain.recent import RecentEnds
from udfs.domain.reporter import Reporter
from udfs.domain.rules import LAST_NS
from udfs.domain.sessions import SessionTimes
from udfs.domain.sharding import shard_of
from udfs.domain.state_codec import StateError, StateReader, StateWriter

RECENT_ENDS: Final = 65_536
MAX_HELD: Final = 1_000_000


class HeldFramesOverflow(Exception):
    """Too many approved orders came before reference data was complete; the message says what to do."""


class MatchShard:
    """Engine of the match stage for the symbols of one shard.

    schema_ids: registry id of each topic by its logical name: nbbo, controls, corporate-actions and reference-data
    are read; order-events, trade-events, routing-decisions, market-status, order-outcomes and dead-letter are written.
    KeyError names one that is missing.
    """

    def __init__(self, shard: int, shards: int, schema_ids: dict[str, int]) -> None:
        self.shard = shard
        self.shards = shards
        self.outbox = Outbox(0)
        self.clock_ns: int = 0
        self.placed: int = 0
        self.old_quotes: int = 0
        self.complete: bool = False
        self.held: list[bytes] = []
        # Reference data that is not in force yet, by its time.
        self.pending: list[tuple[int, bytes]] = []
        self.controls_seen = RecentEnds(MAX_SEEN)
        self.killed_all: bool = False
        self.killed_accounts: dict[str, bool] = {}
        self.killed_symbols: dict[str, bool] = {}
        self.ledger = OutcomeLedger(self.outbox.order_outcomes, schema_ids["order-outcomes"])
        self.reporter: Reporter = MatchReporter(
            self.outbox,
            self.ledger,
            schema_ids["order-events"],
            schema_ids["trade-events"],
            schema_ids["routing-decisions"],
        )
        self.matcher = Matcher(self.reporter, RecentEnds(RECENT_ENDS))
        self.protection = Protection(self.matcher, self.outbox.market_status, schema_ids["market-status"])
        self.dead_letters = DeadLetters(self.outbox.dead_letter, schema_ids["dead-letter"], "match")
        self._event_schema: int = schema_ids["order-events"]
        self._nbbo_schema: int = schema_ids["nbbo"]
        self._control_schema: int = schema_ids["controls"]
        self._reference_schema: int = schema_ids["reference-data"]
        self._action_schema: int = schema_ids["corporate-actions"]

    def apply(self, source: int, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        """Apply one record. For FORWARD, partition, offset and timestamp are in the frame and ignored here.

        Raises HeldFramesOverflow; any other exception is a bug.
        """
        if source == sources.FORWARD:
            if self.complete:
                self._apply_frame(decode_frame(payload))
            elif len(self.held) < MAX_HELD:
                self.held.append(payload)
            else:
                raise HeldFramesOverflow(
                    f"{MAX_HELD} orders wait on shard {self.shard} for the first snapshot of reference data to end: publish "
                    "reference data with its snapshot-end record (tradestream produce reference-data)"
                )
        elif source == sources.NBBO:
            self._apply_nbbo(payload, partition, offset, kafka_timestamp_ms)
        elif source == sources.CONTROLS:
            self._apply_control(payload, partition, offset)
        elif source == sources.REFERENCE:
            self._apply_reference(payload, partition, offset)
        elif source == sources.CORPORATE_ACTIONS:
            self._apply_action(payload)
        else:
            raise ValueError(f"the match stage does not read stream {source}")

    def report_to(self, reporter: Reporter) -> None:
        """Have another reporter write down what becomes of orders; it has to keep the ledger, as MatchReporter does."""
        self.reporter = reporter
        self.matcher.reporter = reporter

    def flush(self) -> None:
        """Write for the risk stage what was done to orders since the last call."""
        self.ledger.flush()

    def _apply_frame(self, frame: Frame) -> None:
        """Place, cancel or replace."""
        key = ids.order_key(frame.account_id, frame.order_id)
        matcher = self.matcher
        if frame.partition < 0:
            # No client waits for an answer: an order that is done meanwhile has told so itself.
            self.reporter.begin(ids.account_event_id(frame.account_id, frame.offset), frame.timestamp)
            reduces = frame.partition == OURS
            matcher.cancel(key, REASON_CODE_CANCEL_FORCED_REDUCTION if reduces else REASON_CODE_CANCEL_CLOSE_OUT)
            return
        cause_id = ids.order_origin(frame.partition, frame.offset)
        self.reporter.begin(cause_id, frame.timestamp)
        if frame.command == COMMAND_TYPE_CANCEL:
            if not matcher.cancel(key):
                self._refuse(frame, key, cause_id, ORDER_EVENT_TYPE_CANCEL_REJECTED, REASON_CODE_CANCEL_TOO_LATE)
            return
        market = matcher.markets.get(frame.symbol)
        if market is None or frame.symbol not in self.protection.guards:
            market = self.protection.guard(frame.symbol).market
        if not market.trading:
            self.protection.order_came(frame.timestamp)
        if frame.command == COMMAND_TYPE_REPLACE:
            reason = REASON_CODE_REPLACE_TOO_LATE
            if key in matcher.live:
                reason = self._replace(frame, matcher.live[key])
            if reason != REASON_CODE_NONE:
                self._refuse(frame, key, cause_id, ORDER_EVENT_TYPE_REPLACE_REJECTED, reason)
        else:
            self.placed += 1
            order = order_of(frame, key, cause_id)
            if self.protection.adjuster.is_too_old(frame.symbol, frame.timestamp):
                self.reporter.note = "the order is of before a corporate action"
                matcher.refuse(order, frame.reserved_e4, REASON_CODE_CANCEL_CORPORATE_ACTION)
                return
            # An order for the opening that was approved in time, and comes after it.
            late = frame.time_in_force == TIME_IN_FORCE_OPG and self.protection.phase == OPEN
            if late or self._is_killed(frame.account_id, frame.symbol):
                reason = REASON_CODE_MATCH_AUCTION_UNFILLED if late else REASON_CODE_CANCEL_KILL_SWITCH
                matcher.refuse(order, frame.reserved_e4, reason)
                return
            late_from_ns = self.protection.admit(order)
            if late_from_ns:
                matcher.refuse(order, frame.reserved_e4, REASON_CODE_MATCH_AUCTION_UNFILLED, late_from_ns)
                return
            matcher.place(order, frame.reserved_e4, self.clock_ns)
        self.protection.traded(market)

    def _replace(self, frame: Frame, order: Order) -> int:
        """Give a live order new terms; the reason why not, or REASON_CODE_NONE."""
        if self.protection.adjuster.is_too_old(frame.symbol, frame.timestamp):
            self.reporter.replace_refused(order)
            return REASON_CODE_REPLACE_NOT_ALLOWED
        reason = self.matcher.replace(
            order.key,
            frame.quantity,
            frame.limit_price if frame.limit_price else None,
            frame.stop_price if frame.stop_price else None,
            frame.worst_price,
        )
        if reason == REASON_CODE_NONE and frame.timestamp > order.placed_ns:
            order.placed_ns = frame.timestamp
        return reason

    def _refuse(self, frame: Frame, key: str, cause_id: str, event_type: int, reason: int) -> None:
        """A cancel or replacement that cannot be: the order it names is done already, or may not change now."""
        live = self.matcher.live.get(key)
        status = self.matcher.recent.status_of(key, ORDER_STATUS_REJECTED) if live is None else live.status
        event = refused_command(self._event_schema, frame, cause_id, event_type, status, reason)
        self.outbox.order_events.put(frame.order_id.encode("utf-8"), event)

    def _apply_nbbo(self, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        """A new national best: time passes, prints trigger stops, then resting orders may be filled by it."""
        try:
            record = nbbo.decode(payload, self._nbbo_schema)
        except DecodeError as error:
            self.dead_letters.put_undecodable(sources.NBBO, partition, offset, kafka_timestamp_ms, error, payload)
            return
        detail = ""
        for quote in record.quotes:
            if quote.bid_size < 0 or quote.ask_size < 0:
                detail = "negative size at exchange " + quote.exchange
        if not record.symbol:
            detail = "the symbol is empty"
        if detail:
            self.dead_letters.put(
                sources.NBBO,
                partition,
                offset,
                kafka_timestamp_ms,
                DEAD_LETTER_REASON_INVALID_VALUE,
                detail,
                payload,
                record.timestamp,
            )
            return
        market = self.protection.guard(record.symbol).market
        old = self.protection.adjuster.is_too_old(record.symbol, record.timestamp)
        if old or not market.street.is_news(record.sequence):
            self.old_quotes += 1
            return
        self.advance(record.timestamp, record.event_id)
        self.reporter.begin(record.event_id, record.timestamp)
        market.street.update(record)
        low = record.trade_low
        high = record.trade_high
        if market.trading and low is not None and high is not None and 0 < low <= high:
            last = record.last_price
            market.last_price = high if last is None or not low <= last <= high else last
            market.print_count += record.trade_count or 0
            market.print_sum += record.trade_price_sum or 0
            if market.print_low == 0 or low < market.print_low:
                market.print_low = low
            self.matcher.street_printed(market, low, high)
        self.matcher.quotes_changed(market)
        self.protection.traded(market)

    def _apply_control(self, payload: bytes, partition: int, offset: int) -> None:
        """What concerns markets; the risk stage answers for everything else, for bad records, and for the audit."""
        try:
            control = controls.decode(payload, self._control_schema)
        except DecodeError:
            # The same record goes to the risk stage, whose first shard writes the dead letter.
            return
        cause_id = ids.position_id(sources.TOPICS[sources.CONTROLS], partition, offset)
        if control.kind == CONTROL_KIND_CLOCK:
            self.advance(control.timestamp, cause_id)
            return
        self.reporter.begin(cause_id, control.timestamp)
        if control.kind == CONTROL_KIND_INDEX_LEVEL:
            if control.value is not None and control.symbol == self.protection.index_symbol:
                self.protection.index_level(control.value)
            return
        # As in the risk stage, which audits: an id that comes again changes nothing, nor does an unknown symbol.
        if self.controls_seen.status_of(control.control_id, 0):
            return
        self.controls_seen.remember(control.control_id, 1)
        if control.scope == CONTROL_SCOPE_SYMBOL and not self.protection.is_listed(control.target or ""):
            return
        if control.kind in (CONTROL_KIND_HALT, CONTROL_KIND_UNHALT):
            self._halt(control)
        elif control.kind == CONTROL_KIND_PAUSE:
            if control.scope == CONTROL_SCOPE_SYMBOL:
                self.protection.pause(control.target or "")
        elif control.kind == CONTROL_KIND_KILL:
            self._kill(control)
        elif control.kind == CONTROL_KIND_RESUME:
            self._resume(control)

    def _halt(self, control: Control) -> None:
        """Halt or reopen one symbol, or all."""
        symbol = control.target
        if control.scope == CONTROL_SCOPE_ALL:
            symbol = None
        elif control.scope != CONTROL_SCOPE_SYMBOL:
            return
        if control.kind == CONTROL_KIND_HALT:
            self.protection.halt(symbol)
        else:
            self.protection.unhalt(symbol)

    def _is_killed(self, account_id: str, symbol: str) -> bool:
        """Whether the kill switch holds for an order."""
        return self.killed_all or account_id in self.killed_accounts or symbol in self.killed_symbols

    def _kill(self, control: Control) -> None:
        """Cancel what is open, and remember that what is still on its way has to be cancelled too."""
        target = control.target
        if control.scope == CONTROL_SCOPE_ALL:
            self.killed_all = True
        elif control.scope == CONTROL_SCOPE_ACCOUNT and target is not None:
            self.killed_accounts[target] = True
        elif control.scope == CONTROL_SCOPE_SYMBOL and target is not None:
            self.killed_symbols[target] = True
        else:
            return
        doomed = [order.key for order in self.matcher.live.values() if self._is_killed(order.account_id, order.symbol)]
        for key in doomed:
            self.matcher.cancel(key, REASON_CODE_CANCEL_KILL_SWITCH)

    def _resume(self, control: Control) -> None:
        """Take orders again; what was cancelled stays cancelled."""
        target = control.target
        if control.scope == CONTROL_SCOPE_ALL:
            self.killed_all = False
        elif control.scope == CONTROL_SCOPE_ACCOUNT and target in self.killed_accounts:
            del self.killed_accounts[target]
        elif control.scope == CONTROL_SCOPE_SYMBOL and target in self.killed_symbols:
            del self.killed_symbols[target]

    def _apply_reference(self, payload: bytes, partition: int, offset: int) -> None:
        """Instruments, sessions, and the end of the snapshot; the risk stage answers for bad records."""
        try:
            record = reference_data.decode(payload, self._reference_schema)
        except DecodeError:
            return
        self.reporter.begin(ids.position_id(sources.TOPICS[sources.REFERENCE], partition, offset), record.timestamp)
        if record.kind == REFERENCE_KIND_SNAPSHOT_END:
            self.complete = True
            waiting = self.held
            self.held = []
            for frame in waiting:
                self._apply_frame(decode_frame(frame))
        elif record.effective_from > self.clock_ns and record.effective_from > record.timestamp:
            self.pending.append((record.effective_from, payload))
            # By time; what came first stays first among equals.
            self.pending.sort(key=_effective_ns)
        else:
            self._put_reference(record)

    def _apply_action(self, payload: bytes) -> None:
        """A corporate action of one of our symbols; the risk stage answers for bad records, and for late ones."""
        try:
            record = corporate_actions.decode(payload, self._action_schema)
        except DecodeError:
            return
        if shard_of(record.symbol, self.shards) == self.shard:
            self.protection.adjuster.take(record, self.protection.session)

    def _put_reference(self, record: ReferenceData) -> None:
        """Take a record over that is in force."""
        session = record.session
        instrument = record.instrument
        if record.kind == REFERENCE_KIND_SESSION and session is not None:
            if session.open_time < session.close_time:
                early = session.pre_open_time
                pre_open = session.open_time if early is None or early > session.open_time else early
                self.protection.put_session(SessionTimes(session.date, session.open_time, session.close_time, pre_open))
        elif record.kind == REFERENCE_KIND_INSTRUMENT and instrument is not None and instrument.tick_size > 0:
            if instrument.asset_class == ASSET_CLASS_INDEX:
                self.protection.set_index(instrument.symbol, instrument.prior_close)
            elif instrument.symbol and shard_of(instrument.symbol, self.shards) == self.shard:
                self.protection.configure(instrument)

    def advance(self, time_ns: int, cause_id: str) -> None:
        """Input time has reached `time_ns`."""
        if time_ns <= self.clock_ns or time_ns > LAST_NS:
            return
        self.reporter.begin(cause_id, time_ns)
        while self.pending and self.pending[0][0] <= time_ns:
            self.protection.advance(self.pending[0][0])
            self._put_reference(reference_data.decode(self.pending.pop(0)[1], self._reference_schema))
        self.protection.advance(time_ns)
        self.clock_ns = time_ns
        self.matcher.expire_until(time_ns)

    def check_invariants(self) -> None:
        """Raise InvariantViolation when the state contradicts itself; linear in the live orders."""
        check_matcher(self.matcher, self.clock_ns)

    def snapshot(self) -> bytes:
        """The state, versioned. Call it between batches, after `flush`; InvariantViolation otherwise."""
        if self.ledger.touched:
            raise InvariantViolation("snapshot was taken within a batch; call flush() first")
        writer = StateWriter()
        writer.put(self.shard)
        writer.put(self.shards)
        writer.put(self.clock_ns)
        writer.put(self.placed)
        writer.put(self.old_quotes)
        writer.put(self.dead_letters.count)
        write_matcher(writer, self.matcher)
        writer.put_flag(self.complete)
        writer.put(len(self.held))
        for frame in self.held:
            writer.put_bytes(frame)
        writer.put(len(self.pending))
        for effective_ns, payload in self.pending:
            writer.put(effective_ns)
            writer.put_bytes(payload)
        controls_seen = self.controls_seen.in_order()
        writer.put(len(controls_seen))
        for control_id in controls_seen:
            writer.put_text(control_id)
        writer.put_flag(self.killed_all)
        for killed in (self.killed_accounts, self.killed_symbols):
            writer.put(len(killed))
            for name in killed:
                writer.put_text(name)
        write_protection(writer, self.protection)
        return writer.finish(MATCH_VERSION, MATCH_KIND)

    def restore(self, data: bytes) -> None:
        """Take the state of a snapshot into a new engine. Raises StateError when the bytes do not fit it."""
        if self.matcher.markets or self.clock_ns or self.held:
            raise InvariantViolation("a snapshot can only be restored into a new engine")
        reader = StateReader(data, MATCH_KIND, MATCH_VERSION)
        shard = reader.take()
        shards = reader.take()
        if shard != self.shard or shards != self.shards:
            raise StateError(
                f"snapshot of shard {shard} of {shards} given to shard {self.shard} of {self.shards}: "
                "the number of shards is fixed for the life of the state"
            )
        self.clock_ns = reader.take()
        self.placed = reader.take()
        self.old_quotes = reader.take()
        self.dead_letters.count = reader.take()
        read_matcher(reader, self.matcher)
        if reader.version == 1:
            # That release did not read reference data here; what it published before is not read again.
            self.complete = True
        else:
            self._restore_rest(reader)
        reader.expect_end()

    def _restore_rest(self, reader: StateReader) -> None:
        """What came with version 2."""
        self.complete = reader.take_flag()
        for _ in range(reader.take()):
            self.held.append(reader.take_bytes())
        for _ in range(reader.take()):
            effective_ns = reader.take()
            self.pending.append((effective_ns, reader.take_bytes()))
        for _ in range(reader.take()):
            self.controls_seen.remember(reader.take_text(), 1)
        self.killed_all = reader.take_flag()
        for killed in (self.killed_accounts, self.killed_symbols):
            for _ in range(reader.take()):
                killed[reader.take_text()] = True
        read_protection(reader, self.protection)
        session = self.protection.session
        if session is not None:
            self.ledger.session_ns = session.open_ns

    def stats(self) -> dict[str, int]:
        """Counters and sizes for metrics, by name."""
        return {
            "orders_placed": self.placed,
            "orders_resting": len(self.matcher.live),
            "markets": len(self.matcher.markets),
            "old_quotes": self.old_quotes,
            "frames_held": len(self.held),
            "late_actions": self.protection.adjuster.late,
            "dead_letters": self.dead_letters.count,
        }


def _effective_ns(waiting: tuple[int, bytes]) -> int:
    """When a record that waits takes effect."""
    return waiting[0]
