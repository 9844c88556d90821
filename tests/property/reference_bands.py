"""Price bands and the market-wide breaker for the slow reference: the plan, on plain lists of all trades of the session."""

from __future__ import annotations

from fractions import Fraction
from math import floor

from reference_rules import MINUTE

SECOND = 10**9
NEVER = 2**63 - 1
FALLS = ((1, Fraction(7, 100)), (2, Fraction(13, 100)), (3, Fraction(20, 100)))


class ReferenceBands:
    """One symbol under the plan as it is since 2020."""

    def __init__(self) -> None:
        self.tier, self.leverage, self.prior = 0, 1, 0
        self.open = self.close = self.time = 0
        self.changed = False
        self.clear()

    def clear(self) -> None:
        """No reference, nothing under way."""
        self.lower = self.upper = self.reference = self.since = 0
        self.state = "NORMAL"
        self.pause_ends = 0
        self.suspended = self.waiting = False
        self.limit_side, self.limit_ends = "", 0
        self.bid = self.ask = 0
        # Time, sum of prices, count.
        self.trades: list[tuple[int, int, int]] = []

    def drop(self) -> None:
        """The session is over, or the plan does not cover the symbol."""
        if self.lower or self.upper or self.reference or self.state != "NORMAL":
            self.changed = True
        self.clear()

    def in_force(self) -> bool:
        """Whether the plan covers the symbol now."""
        return self.tier > 0 and self.open <= self.time < self.close

    def frozen(self) -> bool:
        """Whether bands may not move."""
        return self.state in ("LIMIT_STATE", "PAUSED") or self.suspended

    def share(self) -> Fraction:
        """Distance of the bands as a part of the reference, by tier and prior close; a low price has an amount too."""
        basis = self.prior or self.reference
        if basis > 3_0000:
            return Fraction(5 if self.tier == 1 else 10, 100)
        return Fraction(20 if basis >= 7500 else 75, 100)

    def doubles(self) -> bool:
        """Whether the last 25 minutes of the session have double bands."""
        return self.tier == 1 or (self.prior or self.reference) <= 3_0000

    def to_close(self) -> bool:
        """Whether a pause ends with the closing auction only."""
        return self.state == "PAUSED" and self.pause_ends == self.close

    def set_bands(self) -> None:
        """The bands of the reference at this time of day, to the nearest cent."""
        lower = upper = 0
        if self.reference:
            basis = self.prior or self.reference
            width = self.reference * self.share()
            if basis < 7500:
                width = min(width, Fraction(1500))
            width *= max(1, abs(self.leverage)) if self.tier == 2 else 1
            width *= 2 if self.doubles() and self.time >= self.close - 25 * MINUTE else 1
            lower = max(0, floor((self.reference - width) / 100 + Fraction(1, 2)) * 100)
            upper = max(100, floor((self.reference + width) / 100 + Fraction(1, 2)) * 100)
        if (lower, upper) != (self.lower, self.upper):
            self.lower, self.upper, self.changed = lower, upper, True

    def adopt(self, price: int) -> None:
        """A new reference."""
        self.changed = self.changed or price != self.reference
        self.reference, self.since, self.waiting = price, self.time, False
        self.set_bands()

    def kept(self) -> list[tuple[int, int, int]]:
        """Trades of the last five minutes, to the second."""
        first = (self.time - 5 * MINUTE) // SECOND
        return [trade for trade in self.trades if trade[0] // SECOND >= first]

    def mean(self) -> Fraction:
        """Their mean."""
        trades = self.kept()
        return Fraction(sum(t[1] for t in trades), sum(t[2] for t in trades))

    def update(self) -> None:
        """The mean becomes the reference when it is 1% away and the reference is 30 seconds old."""
        if self.frozen():
            return
        self.waiting = False
        if not self.kept():
            return
        mean = self.mean()
        if self.reference:
            if abs(mean - self.reference) * 100 < self.reference:
                return
            if self.time - self.since < 30 * SECOND:
                self.waiting = True
                return
        self.adopt(floor(mean + Fraction(1, 2)))
        self.look()

    def side_of_quote(self) -> str:
        """Which band the national best stands at."""
        if self.ask and self.bid > self.ask:
            return ""
        if 0 < self.ask <= self.lower:
            return "LOWER"
        return "UPPER" if 0 < self.upper <= self.bid else ""

    def look(self) -> None:
        """Limit and straddle states begin and end with the quote."""
        if not self.in_force() or self.suspended or self.state == "PAUSED" or not self.upper:
            return
        side = self.side_of_quote()
        if self.state == "LIMIT_STATE" and side != self.limit_side:
            self.state, self.limit_side, self.limit_ends, self.changed = "NORMAL", "", 0, True
            self.adopt(floor(self.mean() + Fraction(1, 2)) if self.kept() else self.reference)
            side = self.side_of_quote()
        if self.state == "LIMIT_STATE":
            return
        if side:
            self.state, self.limit_side, self.changed, self.waiting = "LIMIT_STATE", side, True, False
            self.limit_ends = self.time + 15 * SECOND
            return
        outside = 0 < self.bid < self.lower or self.ask > self.upper
        state = "STRADDLE" if outside else "NORMAL"
        if state != self.state:
            self.state, self.changed = state, True

    def pause_until(self, end: int) -> None:
        """Trading pauses; what would end in the last ten minutes ends at the close."""
        self.state, self.limit_side, self.limit_ends, self.waiting = "PAUSED", "", 0, False
        self.pause_ends = end if end < self.close - 10 * MINUTE else self.close
        self.changed = True

    # Calls

    def configure(self, tier: int, leverage: int, prior: int) -> None:
        """Terms of the instrument."""
        if (tier, leverage, prior) == (self.tier, self.leverage, self.prior):
            return
        self.tier, self.leverage, self.prior = tier, leverage, prior
        if tier == 0:
            self.drop()
        elif self.reference and self.in_force() and not self.frozen():
            self.set_bands()
            self.look()

    def begin_session(self, open_time: int, close_time: int) -> None:
        """A new session."""
        self.drop()
        self.open, self.close = open_time, close_time

    def open_price(self, price: int, now: int) -> None:
        """The reference at the opening."""
        self.advance(now)
        price = price or self.prior
        if price and self.in_force() and not self.frozen():
            self.adopt(price)
            self.look()

    def on_trades(self, price_sum: int, count: int, now: int) -> None:
        """Prints."""
        self.advance(now)
        if count and self.in_force():
            self.trades.append((self.time, price_sum, count))
            self.update()

    def on_quote(self, bid: int, ask: int, now: int) -> None:
        """The national best, our book in it."""
        self.advance(now)
        if (bid, ask) != (self.bid, self.ask):
            self.bid, self.ask = bid, ask
            self.look()

    def due(self) -> int:
        """When something happens by itself."""
        if self.tier == 0 or not self.close or self.time >= self.close:
            return NEVER
        if not self.reference and self.state == "NORMAL":
            return NEVER
        times = [self.close]
        if self.doubles() and self.time < self.close - 25 * MINUTE:
            times.append(self.close - 25 * MINUTE)
        if self.state == "LIMIT_STATE":
            times.append(self.limit_ends)
        if self.state == "PAUSED" and not self.to_close():
            times.append(self.close - 10 * MINUTE)
        if self.waiting and not self.frozen():
            times.append(self.since + 30 * SECOND)
        return min(times)

    def next_event(self) -> int:
        """The same, and the reopening after a pause."""
        return min(self.due(), self.pause_ends) if self.state == "PAUSED" and not self.to_close() else self.due()

    def advance(self, now: int) -> None:
        """Meet what is due, each at its time."""
        if now < self.time:
            return
        while self.due() <= now:
            self.time = max(self.time, self.due())
            if self.time >= self.close:
                self.drop()
            elif self.state == "LIMIT_STATE" and self.time >= self.limit_ends:
                self.pause_until(self.time + 5 * MINUTE)
            elif self.state == "PAUSED" and not self.to_close() and self.time >= self.close - 10 * MINUTE:
                self.pause_until(self.close)
            elif not self.frozen():
                self.update()
                self.set_bands()
                self.look()
        self.time = now

    def reopening_due(self, now: int) -> bool:
        """Whether the auction after a pause is to be held."""
        return self.state == "PAUSED" and not self.to_close() and not self.suspended and now >= self.pause_ends

    def pause(self, now: int) -> None:
        """The listing exchange's own pause; only in a straddle state, which the caller looks at."""
        self.advance(now)
        self.pause_until(self.time + 5 * MINUTE)

    def extend(self, now: int) -> None:
        """Another pause."""
        self.advance(now)
        if self.state == "PAUSED" and not self.to_close():
            self.pause_until(max(self.pause_ends, self.time) + 5 * MINUTE)

    def suspend(self, now: int) -> None:
        """Another halt takes over."""
        self.advance(now)
        self.changed = self.changed or self.state != "NORMAL"
        self.state, self.pause_ends, self.limit_side, self.limit_ends = "NORMAL", 0, "", 0
        self.waiting, self.suspended = False, True

    def reopened(self, price: int, now: int) -> None:
        """Trading resumes."""
        self.advance(now)
        self.changed = self.changed or self.state != "NORMAL"
        self.state, self.pause_ends, self.limit_side, self.limit_ends = "NORMAL", 0, "", 0
        self.suspended, self.bid, self.ask, self.trades = False, 0, 0, []
        if self.in_force() and (price or self.reference):
            self.adopt(price or self.reference)


class ReferenceBreaker:
    """Market-wide halts of one session."""

    def __init__(self) -> None:
        self.prior = 0
        self.session = (0, 0)
        self.level = self.ends = 0

    def begin_session(self, open_time: int, close_time: int) -> None:
        """No level has triggered."""
        self.session, self.level, self.ends = (open_time, close_time), 0, 0

    def on_level(self, value: int, now: int) -> bool:
        """The index; whether trading halts from now on."""
        open_time, close_time = self.session
        if not self.prior or not open_time <= now < close_time:
            return False
        fallen = [level for level, share in FALLS if value <= self.prior * (1 - share)]
        early = now < close_time - 35 * MINUTE
        found = max((level for level in fallen if level > self.level and (level == 3 or early)), default=0)
        if not found:
            return False
        self.level, self.ends = found, close_time if found == 3 else now + 15 * MINUTE
        return True
