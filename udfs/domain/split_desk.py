"""Corporate actions in the risk stage: positions are split when the session of the ex-date begins, and open orders hold
what matching will make of them until it has said so.

Ordering: the actions of a session take effect by ex-date, then identity, before anything else of the session; of each the
prices first, then the accounts in the order in which they came, then their orders.
Rules: a position, held or owed, becomes its whole shares after the split; the fraction is settled in cash at the last
price of before (the close that reference data gave for the ex-date, else the last trade, else the mark), rounded to
our favour: down for who gets it, up for who owes it. Where no price is known the fraction ends unpaid, and the event
says so. A cash dividend moves nothing here; it is paid where portfolios and settlement are kept.
Invariants: units and cash that move are counted in `Flows`. An order holds the larger number of shares, of before or
after, until an outcome of a session that has the action in it comes; its money is scaled only then, and grows only for a
margin account's sale, by the cent of fees that each new share may pay. A cash account's sale needs no more money, because
matching ends those that would cost more than they bring.
Fills of a session before the split that are heard of after it are split as they come. An action counts for the
first session on or after its ex-date, also when the clock passes over that one.
Known limits: an action that is heard of after its session has begun is refused by the first shard; each shard decides
by its own clock.
Contracts on the symbol keep their terms until reference data gives new ones.
Complexity: linear in accounts and open orders for each action that takes effect, constant else.
"""

from typing import Final

from schemas.messages.corporate_actions import CorporateAction
from schemas.messages.enums import REASON_CODE_NONE, RISK_EVENT_TYPE_SPLIT, TIME_IN_FORCE_GTC
from schemas.messages.order_outcomes import OrderOutcome
from udfs.domain.accounts import AccountBook
from udfs.domain.corporate_actions import (
    CHANGED,
    Action,
    ActionBook,
    adjusted_terms,
    read_action,
    scaled_price,
    write_action,
)
from udfs.domain.fees import fee_allowance_e4
from udfs.domain.holdings import AccountState, Awaited, OpenOrder, Position
from udfs.domain.instruments import InstrumentState
from udfs.domain.margin_check import power_of
from udfs.domain.margin_watch import MarginWatch
from udfs.domain.money import money_text
from udfs.domain.reference import ReferenceBook
from udfs.domain.risk_notices import Notices
from udfs.domain.sessions import SessionTimes
from udfs.domain.state_codec import StateReader, StateWriter

_NO_TIME: Final = 0


MAX_SPLITS: Final = 16
"""Splits of one symbol that are remembered, for fills of before them that are heard of late."""


class Split:
    """A split that has taken effect: its session, and what fractions were settled at (0: no price was known)."""

    __slots__ = ("action", "entry_ns", "open_ns", "price_e4")

    def __init__(self, action: Action, open_ns: int, entry_ns: int, price_e4: int) -> None:
        self.action = action
        self.open_ns = open_ns
        self.entry_ns = entry_ns
        self.price_e4 = price_e4


class SplitDesk:
    """Applies corporate actions to the accounts of one shard. `splits`: the last ones of each symbol, oldest first."""

    __slots__ = ("actions", "book", "notices", "reference", "splits", "watch")

    def __init__(self, book: AccountBook, reference: ReferenceBook, notices: Notices, watch: MarginWatch) -> None:
        self.book = book
        self.reference = reference
        self.notices = notices
        self.watch = watch
        self.actions = ActionBook()
        self.splits: dict[str, list[Split]] = {}

    def take(self, record: CorporateAction, begun_ns: int) -> str:
        """An action was announced; returns what is impossible about it. `begun_ns`: opening of the session that has begun."""
        begun = self._session(begun_ns)
        return self.actions.take(record, "" if begun is None else begun.date)

    def begin(self, begun_ns: int, session: SessionTimes, time_ns: int) -> None:
        """A session begins, after the one that opened at `begun_ns`."""
        if self.actions.pending:
            before = self._session(begun_ns)
            for action in self.actions.due(before, session, self.reference.sessions):
                instrument = self.reference.instrument(action.symbol)
                if not instrument.is_option and not instrument.is_future:
                    self._apply(action, instrument, self._home(action, before, session), time_ns)
        for instrument in self.reference.instruments.values():
            instrument.fresh_close = False

    def _home(self, action: Action, before: SessionTimes | None, session: SessionTimes) -> SessionTimes:
        """The session in which matching applies an action that takes effect now: no session passes unnoticed there."""
        for known in self.reference.sessions.sessions:
            if known.open_ns >= session.open_ns:
                break
            if known.date >= action.ex_date and (before is None or known.open_ns > before.open_ns):
                return known
        return session

    def begun_elsewhere(self, session_ns: int) -> int:
        """When the session began that matching is in, if it has actions in it that are still pending here; else -1."""
        session = self._session(session_ns)
        if session is None or not self.actions.pending:
            return -1
        for action in self.actions.pending.values():
            if action.ex_date <= session.date:
                return session.pre_open_ns
        return -1

    def price_counts(self, symbol: str, time_ns: int) -> bool:
        """Whether a price of this time is one of today's shares."""
        if not self.splits:
            return True
        splits = self.splits.get(symbol)
        return splits is None or time_ns >= splits[-1].entry_ns

    def answered(self, order: OpenOrder, line: OrderOutcome, session_ns: int) -> None:
        """An outcome of a session comes, before it is settled: what it has in it does not have to be awaited any more."""
        awaited = order.awaited
        if awaited is None:
            return
        left: list[Awaited] = []
        for waiting in awaited:
            if waiting.open_ns > session_ns:
                left.append(waiting)
            elif not line.terminal and _changed_by(waiting.action, line):
                rescale(order, waiting.action, waiting.tick_e4, waiting.entry_ns)
        order.awaited = left or None

    def filled(self, order: OpenOrder, quantity: int, session_ns: int, time_ns: int) -> None:
        """Shares were filled, after they were settled: those of before a split are split."""
        position = order.position
        splits = self.splits.get(position.symbol)
        if splits is None or session_ns >= splits[-1].open_ns:
            return
        shares = quantity if order.is_buy else -quantity
        for split in splits:
            if session_ns < split.open_ns and shares:
                shares = self._split(order.account, position, shares, split, time_ns)

    def _session(self, open_ns: int) -> SessionTimes | None:
        """The session that opens at a time."""
        session = self.reference.sessions.begun_by(open_ns)
        return session if session is not None and session.open_ns == open_ns and open_ns > _NO_TIME else None

    def _apply(self, action: Action, instrument: InstrumentState, session: SessionTimes, time_ns: int) -> None:
        """One action takes effect."""
        if action.is_split():
            split = Split(action, session.open_ns, session.pre_open_ns, _fraction_price(instrument, action))
            splits = self.splits.setdefault(action.symbol, [])
            splits.append(split)
            if len(splits) > MAX_SPLITS:
                del splits[0]
            _split_prices(instrument, action)
            for account in self.book.accounts.values():
                position = account.positions.get(action.symbol)
                if position is not None and position.quantity:
                    self._split(account, position, position.quantity, split, time_ns)
        for order in self.book.open.values():
            if order.position.instrument is instrument and self._is_adjusted(order, action, session.pre_open_ns):
                waiting = Awaited(action, session.open_ns, session.pre_open_ns, instrument.tick_e4)
                if order.awaited is None:
                    order.awaited = [waiting]
                else:
                    order.awaited.append(waiting)
                self.book.hold(order)
        if action.is_split():
            for account in self.book.margin_accounts:
                position = account.positions.get(action.symbol)
                if position is not None:
                    self.watch.rehold(account, position, time_ns)

    def _is_adjusted(self, order: OpenOrder, action: Action, entry_ns: int) -> bool:
        """Whether matching will give an order new terms, as far as it is known here.

        A day order of before a split that is open here has ended there, and its last fills will be split as they come.
        """
        if order.placed_ns >= entry_ns:
            return False
        if order.time_in_force != TIME_IN_FORCE_GTC or order.total < 0:
            return action.is_split() and not action.is_reverse()
        terms = adjusted_terms(
            action,
            order.is_buy,
            order.stop_price_e4 > 0,
            order.remaining,
            order.price_e4 or None,
            order.stop_price_e4 or None,
            order.position.instrument.tick_e4,
            entry_ns,
            order.do_not_reduce,
        )
        return terms.outcome == CHANGED

    def _split(self, account: AccountState, position: Position, quantity: int, split: Split, time_ns: int) -> int:
        """Split a position, or a part of it that came late; returns the shares that it is now."""
        action = split.action
        shares = abs(quantity) * action.numerator
        whole = shares // action.denominator
        rest = shares % action.denominator
        # The price is that of a share of before, of which the fraction is rest / numerator.
        cash = rest * split.price_e4 // action.numerator
        if quantity < 0:
            whole = -whole
            cash = -_up(rest * split.price_e4, action)
        change = whole - quantity
        self.book.move_position(account, position, change)
        self.book.pay_in_lieu(account, cash)
        detail = f"{action.text()} before={quantity} after={whole}"
        if rest:
            price = money_text(split.price_e4) if split.price_e4 else "none"
            detail += f" fraction={rest}/{action.denominator} price_before={price}"
        self.notices.put(
            account,
            RISK_EVENT_TYPE_SPLIT,
            position.symbol,
            REASON_CODE_NONE,
            detail,
            None,
            None,
            power_of(account, self.reference.instruments, time_ns),
            time_ns,
            change,
            cash,
        )
        return whole

    def write(self, writer: StateWriter) -> None:
        """Put the state into a snapshot; what orders await is in them."""
        self.actions.write(writer)
        writer.put(sum([len(splits) for splits in self.splits.values()]))
        for splits in self.splits.values():
            for split in splits:
                write_action(writer, split.action)
                writer.put(split.open_ns)
                writer.put(split.entry_ns)
                writer.put(split.price_e4)

    def read(self, reader: StateReader) -> None:
        """Take what `write` put."""
        self.actions.read(reader)
        for _ in range(reader.take()):
            action = read_action(reader)
            open_ns = reader.take()
            entry_ns = reader.take()
            splits = self.splits.setdefault(action.symbol, [])
            splits.append(Split(action, open_ns, entry_ns, reader.take()))


def rescale(order: OpenOrder, action: Action, tick_e4: int, entry_ns: int) -> None:
    """Give an order the prices that matching gave it, and its shares the reservations that follow from them."""
    terms = adjusted_terms(
        action,
        order.is_buy,
        order.stop_price_e4 > 0,
        order.remaining,
        order.price_e4 or None,
        order.stop_price_e4 or None,
        tick_e4,
        entry_ns,
        order.do_not_reduce,
    )
    if terms.outcome != CHANGED:
        return
    before = order.price_e4
    order.price_e4 = terms.price or 0
    order.stop_price_e4 = terms.stop_price or 0
    if action.is_split():
        # Rounded down for a purchase, whose cost does not grow; the rest of what is reserved is for costs, not for shares.
        order.unit_e4 = (
            order.unit_e4 * action.denominator // action.numerator if order.is_buy else _up_unit(order.unit_e4, action)
        )
        if not order.is_buy and order.account.margin is not None and order.position.instrument.pays_fees():
            # The cent of fees that a share sold on its own pays does not get smaller with the share.
            order.unit_e4 += fee_allowance_e4(0)
        order.value_e4 = scaled_price(order.value_e4, action)
        order.worst_e4 = scaled_price(order.worst_e4, action)
        return
    if order.is_buy and order.price_e4:
        lower = before - order.price_e4
        order.worst_e4 -= lower
        order.value_e4 -= lower
        if order.account.margin is None:
            order.unit_e4 -= lower


def _changed_by(action: Action, line: OrderOutcome) -> bool:
    """Whether matching gave an order new terms by an action; releases before this one named no actions."""
    changed_by = line.action_ids
    if changed_by is None:
        return line.quantity is not None
    return action.action_id in changed_by.split("\n")


def _up_unit(unit_e4: int, action: Action) -> int:
    """A reservation of a share of before as one of a share after it, rounded up."""
    return -(-unit_e4 * action.denominator // action.numerator)


def _up(amount_e4: int, action: Action) -> int:
    """Money for so many parts of a share of before, rounded up."""
    return -(-amount_e4 // action.numerator)


def _fraction_price(instrument: InstrumentState, action: Action) -> int:
    """What a share of before the split was worth."""
    if instrument.fresh_close and instrument.prior_close_e4:
        return instrument.prior_close_e4 * action.numerator // action.denominator
    return instrument.last_e4 or instrument.mark()


def _split_prices(instrument: InstrumentState, action: Action) -> None:
    """Prices of before the split become those of after it; quotes have to come anew."""
    if action.is_reverse():
        instrument.was_reversed = True
    instrument.end_band()
    instrument.bid_e4 = 0
    instrument.ask_e4 = 0
    instrument.last_e4 = scaled_price(instrument.last_e4, action)
    if not instrument.fresh_close:
        instrument.prior_close_e4 = scaled_price(instrument.prior_close_e4, action)
        instrument.average_volume = instrument.average_volume * action.numerator // action.denominator
