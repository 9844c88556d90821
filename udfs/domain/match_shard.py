"""The match stage of one shard: bytes in, bytes out, around matching.Matcher.

Ordering: records take effect in the order of `apply`; all events of an approved order are written here, in its
sequence.
Invariants: the same records in the same order give the same outputs, however they are cut into batches (except that the
records of order-outcomes sum up a batch); bad input becomes a dead letter, an exception is a bug and has to stop the
job.
Time: the clock is the highest time of CLOCK controls and of nbbo records of this shard's symbols; times of orders do
not move it, because clients write them.
Known limits: cancels that come too late find the final status of the last `RECENT_ENDS` orders of the shard.
Complexity: see matching.py.

Streams (sources.py): FORWARD frames, NBBO of the shard's symbols, CONTROLS. Reference data is not needed: a frame
carries what matching has to know. It is accepted and ignored, so that a job may send it.
After each batch the operator calls `flush()`, takes the lists of `outbox` and calls `outbox.clear()`.
"""

from typing import Final

from schemas.errors import DecodeError
from schemas.messages import controls, nbbo, order_events
from schemas.messages.enums import (
    COMMAND_TYPE_CANCEL,
    CONTROL_KIND_CLOCK,
    DEAD_LETTER_REASON_INVALID_VALUE,
    ORDER_EVENT_TYPE_CANCEL_REJECTED,
    ORDER_STATUS_REJECTED,
    REASON_CODE_CANCEL_TOO_LATE,
    SIDE_BUY,
)
from udfs.domain import ids, sources
from udfs.domain.book import InvariantViolation, Order
from udfs.domain.dead_letters import DeadLetters
from udfs.domain.events import MatchReporter
from udfs.domain.frames import Frame, decode_frame
from udfs.domain.match_state import MATCH_KIND, MATCH_VERSION, read_matcher, write_matcher
from udfs.domain.matching import Matcher
from udfs.domain.money import money_text
from udfs.domain.outbox import Outbox
from udfs.domain.outcomes import OutcomeLedger
from udfs.domain.recent import RecentEnds
from udfs.domain.state_codec import StateError, StateReader, StateWriter

RECENT_ENDS: Final = 65_536


class MatchShard:
    """Engine of the match stage for the symbols of one shard.

    schema_ids: registry id of each topic by its logical name: nbbo and controls are read; order-events, trade-events,
    routing-decisions, order-outcomes and dead-letter are written. KeyError names one that is missing.
    """

    def __init__(self, shard: int, shards: int, schema_ids: dict[str, int]) -> None:
        self.shard = shard
        self.shards = shards
        self.outbox = Outbox(0)
        self.clock_ns: int = 0
        self.placed: int = 0
        self.old_quotes: int = 0
        self.ledger = OutcomeLedger(self.outbox.order_outcomes, schema_ids["order-outcomes"])
        self.matcher = Matcher(
            MatchReporter(
                self.outbox, schema_ids["order-events"], schema_ids["trade-events"], schema_ids["routing-decisions"]
            ),
            self.ledger,
            RecentEnds(RECENT_ENDS),
        )
        self.dead_letters = DeadLetters(self.outbox.dead_letter, schema_ids["dead-letter"], "match")
        self._event_schema: int = schema_ids["order-events"]
        self._nbbo_schema: int = schema_ids["nbbo"]
        self._control_schema: int = schema_ids["controls"]

    def apply(self, source: int, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        """Apply one record. For FORWARD, partition, offset and timestamp are in the frame and ignored here."""
        if source == sources.FORWARD:
            self._apply_frame(decode_frame(payload))
        elif source == sources.NBBO:
            self._apply_nbbo(payload, partition, offset, kafka_timestamp_ms)
        elif source == sources.CONTROLS:
            self._apply_control(payload, partition, offset)
        elif source != sources.REFERENCE:
            raise ValueError(f"the match stage does not read stream {source}")

    def flush(self) -> None:
        """End a batch: write what it did to orders for the risk stage."""
        self.ledger.flush()

    def _apply_frame(self, frame: Frame) -> None:
        """Place or cancel."""
        cause_id = ids.order_origin(frame.partition, frame.offset)
        key = ids.order_key(frame.account_id, frame.order_id)
        if frame.command == COMMAND_TYPE_CANCEL:
            if not self.matcher.cancel(key, cause_id, frame.timestamp):
                self._refuse_cancel(frame, key, cause_id)
            return
        self.placed += 1
        is_buy = frame.side == SIDE_BUY
        approval = "reserved=" + money_text(frame.reserved_e4) if is_buy else "reserved_shares=" + str(frame.quantity)
        order = Order(
            key,
            cause_id,
            frame.order_id,
            frame.account_id,
            frame.symbol,
            frame.side,
            is_buy,
            frame.order_type,
            frame.time_in_force,
            frame.quantity,
            frame.limit_price if frame.limit_price else None,
            frame.worst_price,
            frame.commission_e4,
            frame.account_shard,
            frame.close_ns,
        )
        self.matcher.place(order, approval, cause_id, frame.timestamp, self.clock_ns)

    def _refuse_cancel(self, frame: Frame, key: str, cause_id: str) -> None:
        """The order that a cancel names is done already."""
        status = self.matcher.recent.status_of(key, ORDER_STATUS_REJECTED)
        self.outbox.order_events.put(
            frame.order_id.encode("utf-8"),
            order_events.encode_fields(
                self._event_schema,
                ids.refused_command_id(cause_id),
                ORDER_EVENT_TYPE_CANCEL_REJECTED,
                frame.order_id,
                frame.account_id,
                frame.symbol,
                frame.side,
                frame.order_type,
                frame.time_in_force,
                frame.quantity,
                frame.limit_price if frame.limit_price else None,
                None,
                status,
                REASON_CODE_CANCEL_TOO_LATE,
                None,
                0,
                0,
                0,
                None,
                None,
                None,
                0,
                cause_id,
                frame.timestamp,
            ),
        )

    def _apply_nbbo(self, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        """A new national best: time passes, then resting orders may be filled by it."""
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
        market = self.matcher.market(record.symbol)
        if not market.street.is_news(record.sequence):
            self.old_quotes += 1
            return
        self._advance(record.timestamp, record.event_id)
        market.street.update(record)
        self.matcher.quotes_changed(market, record.event_id, record.timestamp)

    def _apply_control(self, payload: bytes, partition: int, offset: int) -> None:
        """CLOCK moves the clock; the risk stage answers for all other controls and for bad ones."""
        try:
            control = controls.decode(payload, self._control_schema)
        except DecodeError:
            # The same record goes to the risk stage, whose first shard writes the dead letter.
            return
        if control.kind == CONTROL_KIND_CLOCK:
            self._advance(control.timestamp, ids.position_id(sources.TOPICS[sources.CONTROLS], partition, offset))

    def _advance(self, time_ns: int, cause_id: str) -> None:
        """Input time has reached `time_ns`."""
        if time_ns > self.clock_ns:
            self.clock_ns = time_ns
            self.matcher.expire_until(time_ns, cause_id, time_ns)

    def check_invariants(self) -> None:
        """Raise InvariantViolation when the state contradicts itself; linear in the resting orders."""
        self.matcher.check(self.clock_ns)

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
        return writer.finish(MATCH_VERSION, MATCH_KIND)

    def restore(self, data: bytes) -> None:
        """Take the state of a snapshot into a new engine. Raises StateError when the bytes do not fit it."""
        if self.matcher.markets or self.clock_ns:
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
        reader.expect_end()

    def stats(self) -> dict[str, int]:
        """Counters and sizes for metrics, by name."""
        return {
            "orders_placed": self.placed,
            "orders_resting": len(self.matcher.live),
            "markets": len(self.matcher.markets),
            "old_quotes": self.old_quotes,
            "dead_letters": self.dead_letters.count,
        }
