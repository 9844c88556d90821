"""Commands of one shard's accounts: judged once each; forwarded to matching, or answered here with the reason.

Ordering: as the commands come. Invariants: each order id is judged once in two sessions, and as long as its order is
open; what is forwarded is reserved before. A command is never judged here when its account belongs to another shard.
Replacements restate the order: side, type, time in force and symbol must be the order's own, the quantity is the new
total, an empty stop price keeps the old one. The difference is judged and reserved at once; the order's next outcome
says whether the replacement took effect (accounts.py).
Known limits: at most `MAX_PENDING` replacements of one order wait for their answer. Cancels of orders for an auction are
taken until the auction.
Complexity: constant but for what risk costs.
"""

import zlib
from typing import Final

from schemas.messages.enums import (
    COMMAND_TYPE_CANCEL,
    COMMAND_TYPE_NEW,
    COMMAND_TYPE_REPLACE,
    DEAD_LETTER_REASON_DUPLICATE_ORDER_ID,
    DEAD_LETTER_REASON_INVALID_VALUE,
    DEAD_LETTER_REASON_REPLAYED_ORDER,
    DEAD_LETTER_REASON_UNSUPPORTED,
    ORDER_EVENT_TYPE_CANCEL_REJECTED,
    ORDER_EVENT_TYPE_REPLACE_REJECTED,
    ORDER_TYPE_MARKET,
    REASON_CODE_CANCEL_TOO_LATE,
    REASON_CODE_CANCEL_UNKNOWN_ORDER,
    REASON_CODE_REPLACE_NOT_ALLOWED,
    REASON_CODE_REPLACE_TOO_LATE,
    REASON_CODE_REPLACE_UNKNOWN_ORDER,
    REASON_CODE_VALIDATION_ACCOUNT_INACTIVE,
    REASON_CODE_VALIDATION_ORDER_ID_INVALID,
    SIDE_SELL,
    TIME_IN_FORCE_FOK,
    TIME_IN_FORCE_GTC,
    TIME_IN_FORCE_IOC,
)
from schemas.messages.orders import OrderCommand
from udfs.domain import ids, sources
from udfs.domain.accounts import AccountBook
from udfs.domain.dead_letters import DeadLetters
from udfs.domain.frames import encode_frame
from udfs.domain.holdings import OpenOrder, Terms
from udfs.domain.instruments import InstrumentState
from udfs.domain.limits import record_order
from udfs.domain.margin_check import power_of
from udfs.domain.margin_groups import group_of
from udfs.domain.order_ids import REJECTED_HERE, OrderIds, entry_of, fingerprint_of, shard_of_entry
from udfs.domain.outbox import Outbox
from udfs.domain.reference import ReferenceBook, is_visible_ascii
from udfs.domain.refusal import Refusal
from udfs.domain.refusals import RefusalReporter
from udfs.domain.risk import Ask, assess
from udfs.domain.rules import MAX_ORDER_ID_LENGTH, NEVER_NS
from udfs.domain.sessions import SessionTimes
from udfs.domain.sharding import shard_of
from udfs.domain.switches import Switches
from udfs.domain.validation import (
    validate,
    validate_instrument,
    validate_long_sale,
    validate_session,
    validate_terms,
)

MAX_PENDING: Final = 64


class OrderDesk:
    """Judges the commands of one shard."""

    __slots__ = (
        "approved",
        "book",
        "dead_letters",
        "judged",
        "order_ids",
        "outbox",
        "reference",
        "reporter",
        "shard",
        "shards",
        "switches",
    )

    def __init__(
        self,
        shard: int,
        shards: int,
        outbox: Outbox,
        book: AccountBook,
        reference: ReferenceBook,
        switches: Switches,
        reporter: RefusalReporter,
        dead_letters: DeadLetters,
    ) -> None:
        self.shard = shard
        self.shards = shards
        self.outbox = outbox
        self.book = book
        self.reference = reference
        self.switches = switches
        self.reporter = reporter
        self.dead_letters = dead_letters
        self.order_ids = OrderIds()
        self.judged: int = 0
        self.approved: int = 0

    def apply(
        self,
        command: OrderCommand,
        payload: bytes,
        partition: int,
        offset: int,
        kafka_timestamp_ms: int,
        clock_ns: int,
    ) -> None:
        """Judge one command that came as `payload`."""
        if command.account_id not in self.book.accounts and shard_of(command.account_id, self.shards) != self.shard:
            # Judged here it could be judged twice: once here as unknown, and once where its account is.
            reason = DEAD_LETTER_REASON_INVALID_VALUE
            text = (
                f"the record's key does not lead to account {command.account_id}: the key of an order is its account id"
            )
        elif command.command == COMMAND_TYPE_NEW:
            self._new(command, payload, partition, offset, kafka_timestamp_ms, clock_ns)
            return
        elif command.command == COMMAND_TYPE_CANCEL:
            self._cancel(command, partition, offset)
            return
        elif command.command == COMMAND_TYPE_REPLACE:
            self._replace(command, partition, offset, clock_ns)
            return
        else:
            reason = DEAD_LETTER_REASON_UNSUPPORTED
            text = "the command is not NEW, CANCEL or REPLACE"
        self.dead_letters.put(
            sources.ORDERS, partition, offset, kafka_timestamp_ms, reason, text, payload, command.timestamp
        )

    def _new(
        self,
        command: OrderCommand,
        payload: bytes,
        partition: int,
        offset: int,
        kafka_timestamp_ms: int,
        clock_ns: int,
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
        if entry < 0:
            # An order of a session long ago may still be open.
            known = self.book.open.get(key)
            if known is not None:
                entry = known.entry
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
        session = self.reference.sessions.taking_at(command.timestamp)
        refusal = validate(command, account, instrument, session, clock_ns)
        if refusal is not None or account is None or instrument is None or session is None:
            self.order_ids.remember(key, fingerprint, REJECTED_HERE)
            if refusal is not None:
                self.reporter.reject_invalid(command, refusal, ids.order_origin(partition, offset))
            return
        ask = Ask(command, account, instrument, command.timestamp < session.open_ns)
        refusal = self._assess(ask, clock_ns)
        if refusal is not None:
            self.order_ids.remember(key, fingerprint, REJECTED_HERE)
            power = power_of(account, self.reference.instruments, clock_ns)
            self.reporter.reject_risk(command, refusal, power, ids.order_origin(partition, offset))
            return
        entry = entry_of(fingerprint, instrument.shard)
        self.order_ids.put(key, entry)
        self._approve(ask, key, entry, session, partition, offset)

    def _assess(self, ask: Ask, clock_ns: int) -> Refusal | None:
        """The first limit that a command breaks."""
        book = self.book
        used = book.open_value_e4 + book.filled_value_e4
        return assess(ask, self.switches, used, self.shards, self.reference.instruments, clock_ns)

    def _approve(self, ask: Ask, key: str, entry: int, session: SessionTimes, partition: int, offset: int) -> None:
        """Reserve and forward; the match stage publishes the order's events, so that they leave from one place."""
        command = ask.command
        account = ask.account
        quantity = command.quantity
        order = OpenOrder(
            key,
            command.order_id,
            account,
            account.position(ask.instrument),
            command.side,
            command.order_type,
            command.time_in_force,
            quantity,
            command.price or 0,
            command.stop_price or 0,
            ask.worst_e4,
            ask.unit_e4,
            ask.value_e4,
            entry,
        )
        order.placed_ns = command.timestamp
        if command.do_not_reduce:
            order.do_not_reduce = True
        if command.side > SIDE_SELL:
            self._take_locates(order, quantity)
        self.book.reserve(order)
        if account.margin is not None:
            self.book.hold_group(account, group_of(ask.instrument), ask.group_e4, ask.group_upkeep_e4)
        account.day_notional_e4 += quantity * ask.value_e4
        if account.duplicate_window_ms >= 0:
            record_order(command, account)
        self.approved += 1
        close_ns = _last_moment(command, session, ask.instrument)
        self.outbox.forward[ask.instrument.shard].append(
            encode_frame(
                command,
                self.shard,
                partition,
                offset,
                ask.worst_e4,
                account.commission_e4,
                close_ns,
                ask.reserved_e4(),
                account.stp_group,
                not ask.is_buy and ask.instrument.pays_fees(),
            )
        )

    def _take_locates(self, order: OpenOrder, total: int) -> None:
        """A short sale uses up what was located for it."""
        position = order.position
        if position.instrument.easy_to_borrow and not self.switches.must_borrow(order.account, position.symbol):
            return
        locates = order.account.locates
        wanted = total - order.located
        if wanted > 0:
            locates[position.symbol] = locates.get(position.symbol, 0) - wanted
            order.located = total

    def _cancel(self, command: OrderCommand, partition: int, offset: int) -> None:
        """Forward a cancel to the order's symbol shard, or refuse it when this account has no such order."""
        key = ids.order_key(command.account_id, command.order_id)
        order = self.book.open.get(key)
        if order is None:
            entry = self.order_ids.find(key)
            if entry < 0:
                self._refuse_cancel(command, REASON_CODE_CANCEL_UNKNOWN_ORDER, None, partition, offset)
                return
            symbol_shard = shard_of_entry(entry)
            if symbol_shard == REJECTED_HERE:
                self._refuse_cancel(command, REASON_CODE_CANCEL_TOO_LATE, "status=REJECTED", partition, offset)
                return
        else:
            symbol_shard = order.position.instrument.shard
        self.outbox.forward[symbol_shard].append(encode_frame(command, self.shard, partition, offset, 0, 0, 0, 0))

    def _refuse_cancel(self, command: OrderCommand, reason: int, text: str | None, partition: int, offset: int) -> None:
        """Answer a cancel here."""
        self.reporter.refuse_command(
            command, ORDER_EVENT_TYPE_CANCEL_REJECTED, reason, text, ids.order_origin(partition, offset)
        )

    def _replace(self, command: OrderCommand, partition: int, offset: int, clock_ns: int) -> None:
        """Judge a replacement: refuse it, or reserve the larger need and forward it."""
        cause_id = ids.order_origin(partition, offset)
        key = ids.order_key(command.account_id, command.order_id)
        order = self.book.open.get(key)
        if order is None:
            entry = self.order_ids.find(key)
            known = entry >= 0
            rejected = known and shard_of_entry(entry) == REJECTED_HERE
            self.reporter.refuse_command(
                command,
                ORDER_EVENT_TYPE_REPLACE_REJECTED,
                REASON_CODE_REPLACE_TOO_LATE if known else REASON_CODE_REPLACE_UNKNOWN_ORDER,
                "status=REJECTED" if rejected else None,
                cause_id,
            )
            return
        session = self.reference.sessions.taking_at(command.timestamp)
        refusal = self._replacement_problem(command, order, session, clock_ns)
        if refusal is not None or session is None:
            if refusal is not None:
                self.reporter.refuse_replacement(command, refusal, False, 0, cause_id)
            return
        account = order.account
        ask = Ask(command, account, order.position.instrument, command.timestamp < session.open_ns, order)
        refusal = self._assess(ask, clock_ns)
        if refusal is not None:
            self.reporter.refuse_replacement(
                command, refusal, True, power_of(account, self.reference.instruments, clock_ns), cause_id
            )
            return
        account.day_notional_e4 += ask.added_value()
        if command.side > SIDE_SELL:
            self._take_locates(order, command.quantity)
        self.book.replace(
            order,
            Terms(
                command.quantity,
                command.price or 0,
                command.stop_price or 0,
                ask.worst_e4,
                ask.unit_e4,
                ask.value_e4,
            ),
        )
        if account.margin is not None:
            self.book.hold_group(account, group_of(ask.instrument), ask.group_e4, ask.group_upkeep_e4)
        close_ns = _last_moment(command, session, ask.instrument)
        self.outbox.forward[ask.instrument.shard].append(
            encode_frame(
                command,
                self.shard,
                partition,
                offset,
                ask.worst_e4,
                account.commission_e4,
                close_ns,
                order.held_e4 + ask.required_e4,
                account.stp_group,
            )
        )

    def _replacement_problem(
        self, command: OrderCommand, order: OpenOrder, session: SessionTimes | None, clock_ns: int
    ) -> Refusal | None:
        """What is wrong with the form of a replacement; fills in the stop price that it keeps."""
        instrument = order.position.instrument
        fixed = (
            ("symbol", command.symbol == instrument.symbol),
            ("side", command.side == order.side),
            ("order_type", command.order_type == order.order_type),
            ("time_in_force", command.time_in_force == order.time_in_force),
            # What a replacement leaves out stays.
            ("do_not_reduce", command.do_not_reduce is None or command.do_not_reduce == order.do_not_reduce),
        )
        for name, same in fixed:
            if not same:
                return Refusal(REASON_CODE_REPLACE_NOT_ALLOWED, "differs=" + name)
        if order.order_type == ORDER_TYPE_MARKET or order.time_in_force in (TIME_IN_FORCE_IOC, TIME_IN_FORCE_FOK):
            return Refusal(REASON_CODE_REPLACE_NOT_ALLOWED, "the order does not wait")
        if order.total < 0:
            return Refusal(REASON_CODE_REPLACE_NOT_ALLOWED, "the order was placed under an older release")
        if order.awaited is not None:
            return Refusal(REASON_CODE_REPLACE_NOT_ALLOWED, "a corporate action changes the order")
        pending = order.pending
        if pending is not None and len(pending) >= MAX_PENDING:
            return Refusal(REASON_CODE_REPLACE_NOT_ALLOWED, f"pending={len(pending)} max_pending={MAX_PENDING}")
        if not order.account.active:
            return Refusal(REASON_CODE_VALIDATION_ACCOUNT_INACTIVE, "account=" + command.account_id)
        refusal = validate_instrument(command, instrument, clock_ns)
        if refusal is not None:
            return refusal
        if command.stop_price is None and order.stop_price_e4:
            newest = order.stop_price_e4
            if pending:
                newest = pending[-1].stop_price_e4
            command.stop_price = newest
        refusal = validate_terms(command, instrument)
        if refusal is None:
            refusal = validate_session(command, session, clock_ns, instrument.listing)
        if refusal is None and order.side == SIDE_SELL:
            refusal = validate_long_sale(
                order.account, order.position, command.quantity - order.filled - order.held_shares
            )
        return refusal


def _last_moment(command: OrderCommand, session: SessionTimes, instrument: InstrumentState) -> int:
    """When an order ends if nothing ends it before: with its session or its contract, whichever is first."""
    end_ns = NEVER_NS if command.time_in_force == TIME_IN_FORCE_GTC else session.close_ns
    return instrument.expiry_ns if instrument.expiry_ns < end_ns else end_ns
