"""Limit up-limit down: price bands, limit states and trading pauses of one symbol.

Source: the National Market System Plan to Address Extraordinary Market Volatility (File 4-631; sections V to VII and
Appendix A, with Amendment 18 of 2020).
- Bands are the reference price moved by a percentage, or by a fixed amount for low prices, rounded to the cent (half a
  cent up). Tier and prior close decide the percentage; it is doubled in some minutes of the day.
- The reference is the opening price; after that the mean of the eligible trades of the last five minutes, taken over
  only when it is at least 1% away and the old one has lived for 30 seconds.
- A limit state begins when the national ask stands at the lower band or the national bid at the upper one and the two
  do not cross. Bands do not move in it. If it does not end within 15 seconds, trading pauses for five minutes and
  resumes with an auction, which the caller holds. If it ends, the reference becomes the mean of the last five minutes.
- A straddle state is the other case of a market outside the bands (bid below the lower, or ask above the upper); the
  listing exchange may pause, nothing happens by itself. market-status tells it (`straddle_text`), so that an operator
  can pause the symbol (the control PAUSE), or halt it; both end with the auction that reopens it.
- A pause that lives ten minutes before the close is not reopened: the closing auction ends it.

Ordering: calls come in the order of their times; a call with an older time counts as one now. Every call first meets
the deadlines up to its time. The caller looks at `next_deadline_ns`, calls `advance` when it has come, and when
`reopening_due` then says so, holds the auction and calls `reopened` or `extend`: until it does, that deadline stays.
Invariants: the same calls give the same state; bands are whole cents, lower below upper; in a limit state and in a
pause they do not move; a snapshot holds all of it.
Choices: a national ask below the lower band, or a bid above the upper one, counts as one at the band, because trading
centres have to move such quotes there. Until there is an opening price the first trades make the reference.
Known limits: trades are kept by the second, so the window is up to a second longer than five minutes; the mean is
looked at when something happens, not when a trade merely leaves the window. The plan's first phases (2013: some
stocks, 09:45 to 15:30) are not modelled.
Complexity: constant for quotes; each trade enters and leaves the window once; memory is bounded by its seconds (302).
"""

from typing import Final

from udfs.domain.luld_tables import BandTerms, BandWidth, band_terms, band_width
from udfs.domain.money import money_text
from udfs.domain.rules import NEVER_NS
from udfs.domain.state_codec import StateReader, StateWriter
from udfs.domain.trade_window import TradeWindow

NORMAL: Final = 0
LIMIT_STATE: Final = 1
STRADDLE: Final = 2
PAUSED: Final = 3

AT_LOWER: Final = -1
AT_UPPER: Final = 1


class PriceBands:
    """The plan for one symbol. tier 0: the plan does not cover it, everything is open.

    For the caller to read: `lower_e4`, `upper_e4` (0: none), `reference_e4`, `state`, `pause_ends_ns` (the close when
    the closing auction ends the pause; 0 when not paused), and `changed`, which is set whenever one of these changes
    and which the caller resets.
    """

    __slots__ = (
        "_ask_e4",
        "_bid_e4",
        "_close_ns",
        "_deadline_ns",
        "_limit_ends_ns",
        "_limit_side",
        "_open_ns",
        "_pending",
        "_reference_since_ns",
        "_row",
        "_suspended",
        "_terms",
        "_time_ns",
        "_to_close",
        "_trades",
        "changed",
        "leverage",
        "lower_e4",
        "pause_ends_ns",
        "prior_close_e4",
        "reference_e4",
        "state",
        "tier",
        "upper_e4",
    )

    def __init__(self, tier: int, leverage: int, prior_close_e4: int) -> None:
        self.tier = tier
        self.leverage = leverage
        self.prior_close_e4 = prior_close_e4
        self.changed: bool = False
        self._terms: BandTerms | None = None
        # The row of the table of widths that holds, once there is a price to find it by.
        self._row: BandWidth | None = None
        # The next moment at which something happens by itself.
        self._deadline_ns: int = NEVER_NS
        self._open_ns: int = 0
        self._close_ns: int = 0
        self._time_ns: int = 0
        self._trades = TradeWindow()
        self._clear()

    def _clear(self) -> None:
        """No reference, no bands, no trades, nothing under way."""
        self.lower_e4: int = 0
        self.upper_e4: int = 0
        self.reference_e4: int = 0
        self.state: int = NORMAL
        self.pause_ends_ns: int = 0
        self._to_close: bool = False
        self._suspended: bool = False
        self._limit_side: int = 0
        self._limit_ends_ns: int = 0
        self._reference_since_ns: int = 0
        # The mean is far enough from the reference, which has not lived long enough yet.
        self._pending: bool = False
        self._bid_e4: int = 0
        self._ask_e4: int = 0
        self._trades.clear()

    def configure(self, tier: int, leverage: int, prior_close_e4: int) -> None:
        """Take over what reference data says; bands follow at once, but not in a limit state or a pause."""
        if tier == self.tier and leverage == self.leverage and prior_close_e4 == self.prior_close_e4:
            return
        self.tier = tier
        self.leverage = leverage
        self.prior_close_e4 = prior_close_e4
        self._find_row()
        if tier == 0:
            self._drop_plan()
        elif self.reference_e4 > 0 and self._applies() and not self._frozen():
            self._set_bands()
            self._look_at_quote()
        self._schedule()

    def begin_session(self, open_ns: int, close_ns: int) -> None:
        """A new session: everything starts anew. The same opening again only moves the close."""
        if open_ns == self._open_ns and self._terms is not None:
            self._close_ns = close_ns
            if self._time_ns >= close_ns:
                self._drop_plan()
            elif self._to_close and self.pause_ends_ns != close_ns:
                self.pause_ends_ns = close_ns
                self.changed = True
            self._schedule()
            return
        self._drop_plan()
        self._open_ns = open_ns
        self._close_ns = close_ns
        self._terms = band_terms(open_ns)
        self._find_row()
        self._schedule()

    def open_price(self, price_e4: int, time_ns: int) -> None:
        """The reference at the opening: the auction's price, or else the quote's midpoint; 0 takes the prior close."""
        self.advance(time_ns)
        if price_e4 <= 0:
            price_e4 = self.prior_close_e4
        if price_e4 > 0 and self._applies() and not self._frozen():
            self._adopt(price_e4)
            self._look_at_quote()
            self._schedule()

    def on_trades(self, price_sum: int, count: int, time_ns: int) -> None:
        """Eligible trades: how many, and the sum of their prices e4."""
        self.advance(time_ns)
        if count <= 0 or price_sum <= 0 or not self._applies():
            return
        self._trades.add(price_sum, count, self._time_ns)
        self._update_reference()
        self._schedule()

    def on_quote(self, national_bid_e4: int, national_ask_e4: int, time_ns: int) -> None:
        """The national best bid and ask, 0 for none: may begin or end a limit or straddle state."""
        self.advance(time_ns)
        if national_bid_e4 == self._bid_e4 and national_ask_e4 == self._ask_e4:
            return
        self._bid_e4 = national_bid_e4
        self._ask_e4 = national_ask_e4
        if self._look_at_quote():
            self._schedule()

    def advance(self, time_ns: int) -> None:
        """Meet the deadlines up to a time, each at its own."""
        if time_ns < self._time_ns:
            return
        while self._deadline_ns <= time_ns:
            if self._deadline_ns > self._time_ns:
                self._time_ns = self._deadline_ns
            self._meet()
            self._schedule()
        self._time_ns = time_ns

    def next_deadline_ns(self) -> int:
        """When `advance` (or the reopening) is due next; NEVER_NS when nothing is under way."""
        if self.state == PAUSED and not self._to_close and self.pause_ends_ns < self._deadline_ns:
            return self.pause_ends_ns
        return self._deadline_ns

    def reopening_due(self, time_ns: int) -> bool:
        """Whether the pause is over and the reopening auction is to be held; never when the closing auction ends it."""
        return self.state == PAUSED and not self._to_close and not self._suspended and time_ns >= self.pause_ends_ns

    def pauses_to_close(self) -> bool:
        """Whether the closing auction ends the pause."""
        return self.state == PAUSED and self._to_close

    def straddle_text(self) -> str | None:
        """Which side of the national best is outside the bands, for people; None when this is no straddle state."""
        if self.state != STRADDLE:
            return None
        parts = ["straddle"]
        if 0 < self._bid_e4 < self.lower_e4:
            parts.append("bid=" + money_text(self._bid_e4))
        if self._ask_e4 > self.upper_e4:
            parts.append("ask=" + money_text(self._ask_e4))
        return " ".join(parts)

    def pause(self, time_ns: int) -> None:
        """The listing exchange declares a pause, as it may in a straddle state."""
        self.advance(time_ns)
        if self._applies() and self.state != PAUSED:
            self._pause()
            self._schedule()

    def extend(self, time_ns: int) -> None:
        """The reopening auction could not be held: another pause follows the one that has ended."""
        self.advance(time_ns)
        terms = self._terms
        if terms is not None and self.state == PAUSED and not self._to_close:
            begin = self.pause_ends_ns if self.pause_ends_ns > self._time_ns else self._time_ns
            self._pause_until(begin + terms.pause_ns)
            self._schedule()

    def suspend(self, time_ns: int) -> None:
        """Another halt takes over (regulatory or market-wide): no limit state, no pause until `reopened`."""
        self.advance(time_ns)
        if self.state != NORMAL:
            self.changed = True
        self.state = NORMAL
        self.pause_ends_ns = 0
        self._to_close = False
        self._limit_side = 0
        self._limit_ends_ns = 0
        self._pending = False
        self._suspended = True
        self._schedule()

    def release(self, time_ns: int) -> None:
        """The other halt has ended while nothing trades: the opening will give the reference, and looks at the quote."""
        self.advance(time_ns)
        self._suspended = False
        self._schedule()

    def reopened(self, price_e4: int, time_ns: int) -> None:
        """Trading resumes after a pause or halt: at the auction's price, or 0 to keep the reference there was."""
        self.advance(time_ns)
        if self.state != NORMAL:
            self.changed = True
        self.state = NORMAL
        self.pause_ends_ns = 0
        self._to_close = False
        self._suspended = False
        self._limit_side = 0
        self._limit_ends_ns = 0
        self._bid_e4 = 0
        self._ask_e4 = 0
        self._trades.clear()
        if self._applies():
            reference = price_e4 if price_e4 > 0 else self.reference_e4
            if reference > 0:
                self._adopt(reference)
        self._schedule()

    def _applies(self) -> bool:
        """Whether the plan covers the symbol at this moment."""
        return self.tier != 0 and self._terms is not None and self._open_ns <= self._time_ns < self._close_ns

    def _frozen(self) -> bool:
        """Whether the bands may not move now."""
        return self.state == LIMIT_STATE or self.state == PAUSED or self._suspended

    def _find_row(self) -> None:
        """Find the width of the bands; the reference decides where there was no prior close."""
        basis = self.prior_close_e4 if self.prior_close_e4 > 0 else self.reference_e4
        self._row = band_width(self.tier, basis, self._open_ns)

    def _schedule(self) -> None:
        """Find the next moment at which something happens by itself; whoever changes a part of it calls this."""
        terms = self._terms
        self._deadline_ns = NEVER_NS
        if self.tier == 0 or terms is None or self._time_ns >= self._close_ns:
            return
        if self.reference_e4 == 0 and self.state == NORMAL:
            return
        deadline = self._close_ns
        if self._row is not None:
            deadline = self._row.next_edge_ns(self._time_ns, self._open_ns, self._close_ns)
        if self.state == LIMIT_STATE and self._limit_ends_ns < deadline:
            deadline = self._limit_ends_ns
        if self.state == PAUSED and not self._to_close and self._close_ns - terms.no_reopening_ns < deadline:
            deadline = self._close_ns - terms.no_reopening_ns
        if self._pending and not self._frozen() and self._reference_since_ns + terms.reference_life_ns < deadline:
            deadline = self._reference_since_ns + terms.reference_life_ns
        self._deadline_ns = deadline

    def _meet(self) -> None:
        """Do what is due at the present time."""
        terms = self._terms
        if terms is None:
            return
        if self._time_ns >= self._close_ns:
            self._drop_plan()
        elif self.state == LIMIT_STATE and self._time_ns >= self._limit_ends_ns:
            self._pause()
        elif self.state == PAUSED and not self._to_close and self._time_ns >= self._close_ns - terms.no_reopening_ns:
            self._pause_until(self._close_ns)
        elif not self._frozen():
            self._pending = False
            self._update_reference()
            self._set_bands()
            self._look_at_quote()

    def _drop_plan(self) -> None:
        """The session is over or the plan does not cover the symbol: nothing is left of the bands."""
        if self.lower_e4 or self.upper_e4 or self.reference_e4 or self.state != NORMAL:
            self.changed = True
        self._clear()

    def _pause(self) -> None:
        """Trading pauses from now on."""
        terms = self._terms
        if terms is None:
            return
        self.state = PAUSED
        self._limit_side = 0
        self._limit_ends_ns = 0
        self._pending = False
        self._pause_until(self._time_ns + terms.pause_ns)

    def _pause_until(self, end_ns: int) -> None:
        """The pause ends then, or with the closing auction when that is too late for a reopening."""
        terms = self._terms
        self._to_close = terms is None or end_ns >= self._close_ns - terms.no_reopening_ns
        self.pause_ends_ns = self._close_ns if self._to_close else end_ns
        self.changed = True

    def _adopt(self, price_e4: int) -> None:
        """A new reference, from now on."""
        if price_e4 != self.reference_e4:
            self.changed = True
        self.reference_e4 = price_e4
        if self.prior_close_e4 <= 0:
            self._find_row()
        self._reference_since_ns = self._time_ns
        self._pending = False
        self._set_bands()

    def _set_bands(self) -> None:
        """Compute the bands from the reference and the time of day."""
        lower = 0
        upper = 0
        row = self._row
        if row is not None and self.reference_e4 > 0:
            factor = abs(self.leverage) if self.tier == 2 and self.leverage != 0 else 1
            if row.is_doubled(self._time_ns, self._open_ns, self._close_ns):
                factor *= 2
            lower, upper = row.bands(self.reference_e4, factor)
        if lower != self.lower_e4 or upper != self.upper_e4:
            self.lower_e4 = lower
            self.upper_e4 = upper
            self.changed = True

    def _update_reference(self) -> None:
        """Take the mean over as the reference when it is far enough away and the old one has lived long enough."""
        terms = self._terms
        if terms is None or self._frozen():
            return
        trades = self._trades
        trades.drop_before(self._time_ns - terms.window_ns)
        count = trades.count
        self._pending = False
        if count == 0:
            return
        reference = self.reference_e4
        if reference > 0:
            base = reference * count
            if abs(trades.price_sum - base) * 10_000 < terms.reference_step * base:
                return
            if self._time_ns - self._reference_since_ns < terms.reference_life_ns:
                self._pending = True
                return
        self._adopt(trades.mean_e4())
        self._look_at_quote()

    def _limit_side_of_quote(self) -> int:
        """Which band the national best stands at, uncrossed; 0 for none."""
        bid = self._bid_e4
        ask = self._ask_e4
        if ask > 0 and bid > ask:
            return 0
        if 0 < ask <= self.lower_e4:
            return AT_LOWER
        if 0 < self.upper_e4 <= bid:
            return AT_UPPER
        return 0

    def _look_at_quote(self) -> bool:
        """Begin or end a limit or straddle state, as the last quote says; returns whether it did."""
        terms = self._terms
        if terms is None or not self._applies() or self._suspended or self.state == PAUSED or self.upper_e4 == 0:
            return False
        left = False
        side = self._limit_side_of_quote()
        if self.state == LIMIT_STATE and side != self._limit_side:
            left = True
            self.state = NORMAL
            self.changed = True
            self._limit_side = 0
            self._limit_ends_ns = 0
            trades = self._trades
            trades.drop_before(self._time_ns - terms.window_ns)
            # The plan asks for the mean here, however near the old reference it is.
            self._adopt(trades.mean_e4() if trades.count else self.reference_e4)
            side = self._limit_side_of_quote()
        if self.state == LIMIT_STATE:
            return False
        if side != 0:
            self.state = LIMIT_STATE
            self._limit_side = side
            self._limit_ends_ns = self._time_ns + terms.limit_state_ns
            self._pending = False
            self.changed = True
            return True
        outside = 0 < self._bid_e4 < self.lower_e4 or self._ask_e4 > self.upper_e4
        state = STRADDLE if outside else NORMAL
        if state == self.state:
            return left
        self.state = state
        self.changed = True
        return True

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        for value in (
            self.tier,
            self.leverage,
            self.prior_close_e4,
            self._open_ns,
            self._close_ns,
            self._time_ns,
            self.lower_e4,
            self.upper_e4,
            self.reference_e4,
            self._reference_since_ns,
            self.state,
            self.pause_ends_ns,
            self._limit_side,
            self._limit_ends_ns,
            self._bid_e4,
            self._ask_e4,
        ):
            out.put(value)
        out.put_flag(self.changed)
        out.put_flag(self._to_close)
        out.put_flag(self._suspended)
        out.put_flag(self._pending)
        self._trades.write(out)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot, as `write` put it."""
        self.tier = reader.take()
        self.leverage = reader.take()
        self.prior_close_e4 = reader.take()
        self._clear()
        self._open_ns = reader.take()
        self._close_ns = reader.take()
        self._terms = band_terms(self._open_ns)
        self._time_ns = reader.take()
        self.lower_e4 = reader.take()
        self.upper_e4 = reader.take()
        self.reference_e4 = reader.take()
        self._reference_since_ns = reader.take()
        self.state = reader.take()
        self.pause_ends_ns = reader.take()
        self._limit_side = reader.take()
        self._limit_ends_ns = reader.take()
        self._bid_e4 = reader.take()
        self._ask_e4 = reader.take()
        self.changed = reader.take_flag()
        self._to_close = reader.take_flag()
        self._suspended = reader.take_flag()
        self._pending = reader.take_flag()
        self._trades.read(reader)
        self._find_row()
        self._schedule()
