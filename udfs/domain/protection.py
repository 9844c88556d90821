"""When a market trades, and within which prices: sessions, auctions, halts, price bands, pauses, circuit breakers.

Ordering: deadlines that the clock has passed are met one by one, each at its own time, before the input that moved the
clock takes effect; at one moment sessions come first, then breakers, then the pauses of symbols in the order in which
the symbols came.
Invariants: `market.trading` is what `state_of` says; every change of state or of the bands is published once.
Until the clock has reached the first session nothing is known about the time of day, and markets trade: an order was
taken because a session is open at its own time.
Known limits: our venue opens and closes every symbol by its own auction, whoever lists it; the index that circuit
breakers watch comes as INDEX_LEVEL controls.
Complexity: constant for an input that meets no deadline, linear in the symbols of the shard for one that does.
"""

from typing import Final

from schemas.messages.enums import (
    MARKET_CAUSE_AUCTION,
    MARKET_CAUSE_CIRCUIT_BREAKER,
    MARKET_CAUSE_CONTROL,
    MARKET_CAUSE_PRICE_BAND,
    MARKET_CAUSE_REFERENCE,
    MARKET_CAUSE_SESSION,
    MARKET_CAUSE_SHORT_SALE,
    MARKET_STATE_CLOSED,
    MARKET_STATE_HALTED,
    MARKET_STATE_LIMIT_STATE,
    MARKET_STATE_OPEN,
    MARKET_STATE_PAUSED,
    MARKET_STATE_PRE_OPEN,
    TIME_IN_FORCE_CLS,
    TIME_IN_FORCE_OPG,
)
from schemas.messages.reference_data import Instrument
from udfs.domain.auction import AuctionResult
from udfs.domain.book import Order
from udfs.domain.circuit_breaker import MarketWideBreaker
from udfs.domain.filling import NEVER
from udfs.domain.guard import Guard
from udfs.domain.late_limits import LateWindow
from udfs.domain.late_pricing import price_late, tell_reference_prices
from udfs.domain.luld import LIMIT_STATE, PAUSED, STRADDLE
from udfs.domain.market import Market
from udfs.domain.matching import Matcher
from udfs.domain.order_adjuster import OrderAdjuster
from udfs.domain.outbox import Lane
from udfs.domain.rules import auction_clip, listing_exchange, round_lot
from udfs.domain.sessions import SessionTable, SessionTimes
from udfs.domain.uncrossing import CLOSING, OPENING, REOPENING, end_auction_only, hold_auction, prepare_auction

ANY_TIME: Final = 0
PRE_OPEN: Final = 1
OPEN: Final = 2
CLOSED: Final = 3
"""Phases of the day, the same for all symbols; ANY_TIME until the clock has reached a session."""


class Protection:
    """Protection of the markets of one shard."""

    __slots__ = (
        "adjuster",
        "breaker",
        "breaker_halted",
        "clock_ns",
        "deadline_ns",
        "guards",
        "halted_all",
        "index_symbol",
        "lane",
        "late",
        "matcher",
        "phase",
        "schema_id",
        "session",
        "sessions",
    )

    def __init__(self, matcher: Matcher, lane: Lane, schema_id: int) -> None:
        self.matcher = matcher
        self.adjuster = OrderAdjuster(matcher)
        self.lane = lane
        self.schema_id = schema_id
        self.sessions = SessionTable()
        self.breaker = MarketWideBreaker()
        self.breaker_halted: bool = False
        self.halted_all: bool = False
        self.index_symbol: str = ""
        self.guards: dict[str, Guard] = {}
        self.session: SessionTimes | None = None
        self.late = LateWindow()
        self.phase: int = ANY_TIME
        self.clock_ns: int = 0
        self.deadline_ns: int = NEVER

    def guard(self, symbol: str) -> Guard:
        """The guard of a symbol; a new one takes over the phase of the day."""
        guard = self.guards.get(symbol)
        if guard is None:
            guard = Guard(self.matcher.market(symbol))
            self.guards[symbol] = guard
            session = self.session
            if session is not None:
                guard.begin_session(session.open_ns, session.close_ns)
            guard.market.trading = self.state_of(guard) in (MARKET_STATE_OPEN, MARKET_STATE_LIMIT_STATE)
            guard.state = self.state_of(guard)
        return guard

    def configure(self, instrument: Instrument) -> None:
        """Take over an instrument's terms."""
        guard = self.guard(instrument.symbol)
        market = guard.market
        guard.listed = True
        guard.listing = listing_exchange(instrument.primary_exchange)
        market.tick_e4 = instrument.tick_size
        guard.prior_close_e4 = instrument.prior_close
        guard.fresh_close = self.phase == CLOSED
        tier = instrument.luld_tier
        leverage = instrument.leverage
        guard.bands.configure(
            0 if tier is None else tier, 1 if leverage is None or leverage == 0 else leverage, instrument.prior_close
        )
        if self.phase == OPEN and guard.bands.reference_e4 == 0 and instrument.prior_close > 0:
            guard.bands.open_price(0, self.clock_ns)
        if instrument.prior_close > 0:
            market.print_lot = round_lot(instrument.prior_close, self.clock_ns)
        self.refresh(guard, MARKET_CAUSE_REFERENCE)
        self.matcher.quotes_changed(market)

    def set_index(self, symbol: str, prior_close_e4: int) -> None:
        """The index that market-wide circuit breakers watch, with its close of the session before."""
        self.index_symbol = symbol
        self.breaker.configure(prior_close_e4)

    def put_session(self, session: SessionTimes) -> None:
        """Add or change a session."""
        self.sessions.put(session)
        current = self.session
        if current is not None and current.date == session.date:
            self._take_times(session)
            for guard in self.guards.values():
                guard.begin_session(session.open_ns, session.close_ns)
        self.deadline_ns = self._next_deadline()
        # A session may come after the clock has reached it.
        self.advance(self.clock_ns)

    def advance(self, time_ns: int) -> None:
        """The clock has reached a time: meet what was due."""
        while self.deadline_ns <= time_ns:
            if self.deadline_ns > self.clock_ns:
                self.clock_ns = self.deadline_ns
            self._meet(self.clock_ns)
            self.deadline_ns = self._next_deadline()
        if time_ns > self.clock_ns:
            self.clock_ns = time_ns

    def order_came(self, time_ns: int) -> None:
        """An approved order is for a session that opens without an auction and that the clock has not reached.

        Only the opening itself is taken from it, never its own time, which is the client's.
        """
        if self.phase != CLOSED or self.session is None:
            return
        index = self.sessions.index_after(self.session)
        if index < 0:
            return
        session = self.sessions.sessions[index]
        if session.pre_open_ns == session.open_ns and session.open_ns <= time_ns < session.close_ns:
            self.advance(session.open_ns)

    def traded(self, market: Market) -> None:
        """An input has been applied to a market: look at what was printed and quoted."""
        guard = self.guards.get(market.symbol)
        if guard is None:
            return
        # Bands that move let quotes in or shut them out, which may print, which may move bands: until nothing changes.
        while self._look(guard):
            self.matcher.quotes_changed(market)

    def _look(self, guard: Guard) -> bool:
        """Take prints and quotes in; whether the bands or Rule 201 have changed and trading goes on."""
        market = guard.market
        time_ns = self.clock_ns
        cause = MARKET_CAUSE_PRICE_BAND
        if market.print_count:
            guard.bands.on_trades(market.print_sum, market.print_count, time_ns)
            if guard.short_sale.on_trade(market.print_low, guard.prior_close_e4, time_ns):
                cause = MARKET_CAUSE_SHORT_SALE
            # The rule looks at last month's average close; the prior close is nearer to it than the last price.
            price = guard.prior_close_e4 if guard.prior_close_e4 > 0 else market.last_price
            market.print_lot = round_lot(price, time_ns)
            market.print_count = 0
            market.print_sum = 0
            market.print_low = 0
        if guard.bands.tier:
            bid = market.street.bid_price
            ask = market.street.ask_price
            own_bid = market.book.bids.displayed(market.print_lot)
            own_ask = market.book.asks.displayed(market.print_lot)
            national_bid = own_bid if bid is None or own_bid > bid else bid
            national_ask = own_ask if ask is None or 0 < own_ask < ask else ask
            guard.bands.on_quote(national_bid, national_ask, time_ns)
            deadline = guard.bands.next_deadline_ns()
            if deadline < self.deadline_ns:
                self.deadline_ns = deadline
        if guard.bands.changed or guard.short_sale.restricted != market.short_restricted:
            self.refresh(guard, cause)
            return market.trading
        return False

    def is_listed(self, symbol: str) -> bool:
        """Whether the symbol is one of this shard whose terms are known."""
        guard = self.guards.get(symbol)
        return guard is not None and guard.listed

    def halt(self, symbol: str | None) -> None:
        """Halt one symbol, or all of them."""
        if symbol is not None:
            guard = self.guard(symbol)
            guard.halted = True
            self._halted(guard, MARKET_CAUSE_CONTROL)
            return
        self.halted_all = True
        for guard in self.guards.values():
            self._halted(guard, MARKET_CAUSE_CONTROL)

    def unhalt(self, symbol: str | None) -> None:
        """End a halt, and reopen by auction what may trade now."""
        if symbol is None:
            self.halted_all = False
        for guard in [self.guard(symbol)] if symbol is not None else list(self.guards.values()):
            guard.halted = False
            self._reopen(guard, MARKET_CAUSE_CONTROL)
        # Bands that have a reference again may have something due, even if nothing trades until then.
        self.deadline_ns = self._next_deadline()

    def pause(self, symbol: str) -> None:
        """The listing exchange declares a pause, which it may only in a straddle state; the record answers either way.

        Source: the Limit Up-Limit Down plan, section VII(A)(2).
        """
        guard = self.guard(symbol)
        if guard.bands.state != STRADDLE:
            self._publish(guard, MARKET_CAUSE_CONTROL, None, "no straddle state: PAUSE changes nothing")
            return
        guard.bands.pause(self.clock_ns)
        self.refresh(guard, MARKET_CAUSE_CONTROL)
        self.deadline_ns = self._next_deadline()

    def index_level(self, level_e4: int) -> None:
        """The index that circuit breakers watch stands at a level."""
        if self.breaker.on_level(level_e4, self.clock_ns):
            self.breaker_halted = True
            for guard in self.guards.values():
                self._halted(guard, MARKET_CAUSE_CIRCUIT_BREAKER)
            self.deadline_ns = self._next_deadline()

    def state_of(self, guard: Guard) -> int:
        """The state of trading in a symbol at this moment."""
        if self.phase == CLOSED:
            return MARKET_STATE_CLOSED
        if guard.halted or self.halted_all or self.breaker_halted:
            return MARKET_STATE_HALTED
        if self.phase == PRE_OPEN:
            return MARKET_STATE_PRE_OPEN
        if guard.bands.state == PAUSED:
            return MARKET_STATE_PAUSED
        return MARKET_STATE_LIMIT_STATE if guard.bands.state == LIMIT_STATE else MARKET_STATE_OPEN

    def refresh(self, guard: Guard, cause: int, auction: AuctionResult | None = None) -> None:
        """Let the market follow its guard, and publish what has changed."""
        market = guard.market
        bands = guard.bands
        state = self.state_of(guard)
        market.trading = state in (MARKET_STATE_OPEN, MARKET_STATE_LIMIT_STATE)
        held = auction is not None and auction.quantity > 0
        if state == guard.state and not bands.changed and not held:
            if guard.short_sale.restricted == market.short_restricted:
                return
            cause = MARKET_CAUSE_SHORT_SALE
        guard.state = state
        bands.changed = False
        market.low = bands.lower_e4
        market.high = bands.upper_e4
        market.short_restricted = guard.short_sale.restricted
        self.matcher.bands_moved(market)
        self._publish(guard, cause, auction)

    def _publish(self, guard: Guard, cause: int, auction: AuctionResult | None, note: str | None = None) -> None:
        """Write a market-status record; `note`: what people should know, instead of a straddle state."""
        resume_ns = 0
        if guard.state == MARKET_STATE_PAUSED:
            resume_ns = guard.bands.pause_ends_ns
        elif guard.state == MARKET_STATE_HALTED and self.breaker_halted:
            resume_ns = self.breaker.halt_ends_ns
        reporter = self.matcher.reporter
        if note is None:
            note = guard.bands.straddle_text()
        status = guard.next_status(
            self.schema_id, cause, auction, resume_ns, note, reporter.cause_id, reporter.timestamp
        )
        self.lane.put(guard.market.kafka_key, status)

    def _next_deadline(self) -> int:
        """When the clock makes something happen next."""
        session = self.session
        deadline = NEVER
        if session is not None and self.phase == PRE_OPEN:
            deadline = session.open_ns
        elif session is not None and self.phase == OPEN:
            deadline = self.late.next_ns()
        else:
            index = self.sessions.index_after(session)
            if index >= 0:
                deadline = self.sessions.sessions[index].pre_open_ns
        if self.breaker_halted and self.breaker.halt_ends_ns < deadline:
            deadline = self.breaker.halt_ends_ns
        for guard in self.guards.values():
            if guard.bands.tier:
                own = guard.bands.next_deadline_ns()
                if own < deadline:
                    deadline = own
        return deadline

    def _meet(self, now: int) -> None:
        """Do what is due at a time."""
        session = self.session
        if self.phase == PRE_OPEN and session is not None and now >= session.open_ns:
            self._open(session)
        if self.phase == OPEN and self.late.is_due(now):
            self.late.told += 1
            tell_reference_prices(self.guards, now)
        if self.phase == OPEN and session is not None and now >= session.close_ns:
            self._close()
        if self.phase in (ANY_TIME, CLOSED):
            index = self.sessions.index_after(session)
            if index >= 0 and now >= self.sessions.sessions[index].pre_open_ns:
                self._begin(self.sessions.sessions[index])
        if self.breaker_halted and not self.breaker.halted(now):
            self.breaker_halted = False
            for guard in self.guards.values():
                self._reopen(guard, MARKET_CAUSE_CIRCUIT_BREAKER)
        for guard in self.guards.values():
            if guard.bands.tier and guard.bands.next_deadline_ns() <= now:
                guard.bands.advance(now)
                if guard.bands.reopening_due(now):
                    self._end_pause(guard, now)
                self.refresh(guard, MARKET_CAUSE_PRICE_BAND)
                self.matcher.quotes_changed(guard.market)

    def _begin(self, session: SessionTimes) -> None:
        """A session's orders are taken from now on; without a time before the opening it opens at once."""
        actions = self.adjuster.begin(self.session, session, self.sessions)
        self._take_times(session)
        self.breaker_halted = False
        for action in actions:
            if action.is_split() and action.symbol in self.guards:
                self.guards[action.symbol].split(action, self.clock_ns)
        for guard in self.guards.values():
            if guard.market.street.timestamp < session.pre_open_ns:
                guard.market.street.forget()
            guard.begin_session(session.open_ns, session.close_ns)
            guard.fresh_close = False
        self.phase = PRE_OPEN
        if self.clock_ns >= session.open_ns:
            self._open(session)
            return
        for guard in self.guards.values():
            self.refresh(guard, MARKET_CAUSE_SESSION)

    def _take_times(self, session: SessionTimes) -> None:
        """A session begins, or its times change."""
        self.session = session
        self.breaker.begin_session(session.open_ns, session.close_ns)
        if self.late.begin(session.close_ns):
            for guard in self.guards.values():
                guard.late_prices.forget()

    def admit(self, order: Order) -> int:
        """Whether an order may come in: 0, or from when on orders are late of which it is one that may not.

        A late one gets the price that it may have.
        """
        late_from_ns = self.late.late_from_ns() if self.phase == OPEN else 0
        return late_from_ns if late_from_ns and not price_late(order, self.guards[order.symbol]) else 0

    def _open(self, session: SessionTimes) -> None:
        """The opening: an auction in every symbol that is not halted, then continuous trading."""
        self.phase = OPEN
        for guard in self.guards.values():
            if self.state_of(guard) == MARKET_STATE_HALTED:
                self.refresh(guard, MARKET_CAUSE_SESSION)
                continue
            market = guard.market
            market.trading = False
            result = self._auction(guard, OPENING, True)
            guard.bands.open_price(result.price_e4 if result.quantity else guard.midpoint(), session.open_ns)
            self._resume(guard, OPENING, MARKET_CAUSE_SESSION, result)

    def _close(self) -> None:
        """The close: an auction in every symbol that is not halted, then orders of the session expire."""
        for guard in self.guards.values():
            market = guard.market
            halted = self.state_of(guard) == MARKET_STATE_HALTED
            market.trading = False
            result = None if halted else self._auction(guard, CLOSING, True)
            end_auction_only(self.matcher, market, CLOSING)
            guard.fresh_close = False
            if result is not None and result.quantity:
                guard.prior_close_e4 = result.price_e4
            elif market.last_price:
                guard.prior_close_e4 = market.last_price
            guard.bands.configure(guard.bands.tier, guard.bands.leverage, guard.prior_close_e4)
            if self.matcher.triggered:
                self.matcher.work_off(market)
            guard.settle_prints(self.clock_ns)
            guard.bands.advance(self.clock_ns)
            guard.state = MARKET_STATE_CLOSED
            market.low = 0
            market.high = 0
            market.street.confine(0, 0)
            guard.bands.changed = False
            self._publish(guard, MARKET_CAUSE_SESSION, result)
        self.phase = CLOSED
        self.matcher.expire_until(self.clock_ns)

    def _halted(self, guard: Guard, cause: int) -> None:
        """Trading in a symbol was stopped."""
        guard.bands.suspend(self.clock_ns)
        self.refresh(guard, cause)

    def _reopen(self, guard: Guard, cause: int) -> None:
        """A halt has ended for a symbol; another may still be in force."""
        if guard.state != MARKET_STATE_HALTED:
            return
        state = self.state_of(guard)
        if state not in (MARKET_STATE_OPEN, MARKET_STATE_LIMIT_STATE, MARKET_STATE_PAUSED):
            if state != MARKET_STATE_HALTED:
                guard.bands.release(self.clock_ns)
            self.refresh(guard, cause)
            return
        result = self._auction(guard, REOPENING, True)
        guard.bands.reopened(result.price_e4 if result.quantity else guard.midpoint(), self.clock_ns)
        self._resume(guard, REOPENING, cause, result)

    def _end_pause(self, guard: Guard, now: int) -> None:
        """The auction after a trading pause; the pause goes on when its range does not let the book be uncrossed."""
        result = self._auction(guard, REOPENING, False)
        if guard.market.book.is_crossed():
            guard.bands.extend(now)
            if result.quantity:
                self._publish(guard, MARKET_CAUSE_AUCTION, result)
            return
        guard.bands.reopened(result.price_e4 if result.quantity else guard.midpoint(), now)
        self._resume(guard, REOPENING, MARKET_CAUSE_AUCTION, result)

    def _auction(self, guard: Guard, kind: int, must_uncross: bool) -> AuctionResult:
        """Hold an auction near the reference; when that leaves the book crossed, and it must not be, at any price."""
        market = guard.market
        reference = guard.auction_reference()
        low, high = auction_clip(reference, market.tick_e4, self.clock_ns)
        short_floor = prepare_auction(self.matcher, market, kind, guard.short_sale.restricted)
        result = hold_auction(self.matcher, market, kind, reference, low, high, short_floor)
        if must_uncross and market.book.is_crossed():
            if result.quantity:
                self._publish(guard, MARKET_CAUSE_AUCTION, result)
            result = hold_auction(self.matcher, market, kind, reference, 0, 0, short_floor)
        return result

    def _resume(self, guard: Guard, kind: int, cause: int, result: AuctionResult) -> None:
        """Continuous trading begins (again): what the auction left acts in the order in which it came."""
        market = guard.market
        matcher = self.matcher
        end_auction_only(matcher, market, kind)
        guard.settle_prints(self.clock_ns)
        self.refresh(guard, cause, result)
        if not market.trading:
            return
        waiting: list[Order] = []
        kept: list[Order] = []
        for order in market.queue:
            if order.limit_price is None and not _is_auction_only(order):
                waiting.append(order)
            else:
                kept.append(order)
        market.queue = kept
        for order in waiting:
            order.place = 0
            del matcher.live[order.key]
            matcher.arrive(market, order)
        if matcher.triggered:
            matcher.work_off(market)
        matcher.quotes_changed(market)


def _is_auction_only(order: Order) -> bool:
    """Whether an order is for one auction and nothing else."""
    return order.time_in_force in (TIME_IN_FORCE_OPG, TIME_IN_FORCE_CLS)
