"""Price bands under random sequences of calls: what holds after each, by a slow history of all trades and quotes."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from math import floor
from random import Random

import pytest

from udfs.domain.luld import LIMIT_STATE, NORMAL, PAUSED, STRADDLE, PriceBands
from udfs.domain.rules import NEVER_NS, instant_ns
from udfs.domain.state_codec import StateReader, StateWriter

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
DAYS = (
    (instant_ns("2013-10-07T09:30:00-04:00"), instant_ns("2013-10-07T16:00:00-04:00")),
    (instant_ns("2026-11-20T09:30:00-05:00"), instant_ns("2026-11-20T16:00:00-05:00")),
    (instant_ns("2026-11-27T09:30:00-05:00"), instant_ns("2026-11-27T13:00:00-05:00")),
)
OLD_PLAN_ENDS = instant_ns("2020-02-24T00:00:00-05:00")
KIND = 9


def snapshot(bands: PriceBands) -> bytes:
    """The whole state."""
    out = StateWriter()
    bands.write(out)
    return out.finish(1, KIND)


def restored(data: bytes) -> PriceBands:
    """New bands with that state."""
    bands = PriceBands(0, 1, 0)
    reader = StateReader(data, KIND, 1)
    bands.read(reader)
    reader.expect_end()
    return bands


def band(reference: int, sign: int, tier: int, leverage: int, prior: int, open_ns: int, close_ns: int, now: int) -> int:
    """A band by its definition, in fractions."""
    if prior > 3_0000:
        width = reference * Fraction(5 if tier == 1 else 10, 100)
    elif prior >= 7500:
        width = reference * Fraction(20, 100)
    else:
        width = min(Fraction(1500), reference * Fraction(75, 100))
    if tier == 2:
        width *= abs(leverage) or 1
    old_plan = open_ns < OLD_PLAN_ENDS
    if now >= close_ns - 25 * MINUTE and (old_plan or tier == 1 or prior <= 3_0000):
        width *= 2
    if old_plan and now < open_ns + 15 * MINUTE:
        width *= 2
    cents = floor((reference + sign * width) / 100 + Fraction(1, 2))
    return max(cents, 1 if sign > 0 else 0) * 100


class Walk:
    """One session of random trades and quotes, with the checks after each step."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.label = f"seed={seed}"
        self.open_ns, self.close_ns = self.random.choice(DAYS)
        self.tier = self.random.choice((1, 1, 2))
        self.leverage = self.random.choice((1, 1, 2, -3))
        self.prior = self.random.choice((5000, 7500, 2_0000, 3_0000, 3_0100, 20_0000, 250_0000))
        self.price = self.prior
        self.now = self.open_ns
        self.bands = PriceBands(self.tier, self.leverage, self.prior)
        self.bands.begin_session(self.open_ns, self.close_ns)
        self.bands.open_price(self.prior, self.now)
        self.trades: list[tuple[int, int, int]] = []
        self.quote = (0, 0)
        self.adopted_ns = self.now
        self.state_since_ns = self.now
        self.forced = False
        self.seen: Counter[str] = Counter()

    def step(self) -> None:
        """Time passes, then something happens."""
        before = self.remember()
        gap = self.random.choice((0, 1, SECOND // 3, SECOND, 7 * SECOND, 20 * SECOND, 90 * SECOND, 4 * MINUTE))
        target = self.now + gap
        while self.bands.next_deadline_ns() <= target:
            deadline = self.bands.next_deadline_ns()
            assert deadline >= self.now, self.label
            self.now = deadline
            self.bands.advance(deadline)
            self.check(*before)
            if self.bands.reopening_due(deadline):
                self.reopen()
            before = self.remember()
        self.now = target
        self.price = max(200, self.price + self.price * self.random.randrange(-200, 201) // 10_000)
        self.act()
        self.check(*before)

    def remember(self) -> tuple[int, int, int, int]:
        """What the checks compare with."""
        self.forced = False
        return self.bands.state, self.bands.reference_e4, self.bands.lower_e4, self.bands.upper_e4

    def reopen(self) -> None:
        """The auction at the end of a pause, or another pause."""
        if self.random.random() < 0.3:
            end = self.bands.pause_ends_ns
            self.bands.extend(self.now)
            assert self.bands.pause_ends_ns in (end + 5 * MINUTE, self.close_ns), self.label
            self.seen["extended"] += 1
            return
        self.bands.reopened(self.price, self.now)
        assert self.bands.state == NORMAL, self.label
        assert self.bands.reference_e4 == self.price, self.label
        self.trades.clear()
        self.quote = (0, 0)
        self.adopted_ns = self.now
        self.state_since_ns = self.now
        self.seen["reopened"] += 1

    def act(self) -> None:
        """A trade, a quote near the price or at a band, or nothing."""
        choice = self.random.random()
        if choice < 0.4:
            count = self.random.randrange(1, 5)
            self.bands.on_trades(self.price * count, count, self.now)
            if self.now < self.close_ns:
                self.trades.append((self.now, self.price * count, count))
        elif choice < 0.9:
            half = self.random.choice((0, 100, self.price // 50, self.price // 5))
            bid, ask = self.price - half, self.price + half
            where = self.random.random()
            if where < 0.15 and self.bands.lower_e4:
                bid, ask = self.bands.lower_e4 - self.random.choice((-100, 0, 100)), self.bands.lower_e4
            elif where < 0.3 and self.bands.upper_e4:
                bid, ask = self.bands.upper_e4, self.bands.upper_e4 + self.random.choice((-100, 0, 100))
            elif where < 0.35:
                bid = 0
            elif where < 0.4:
                ask = 0
            self.quote = (max(bid, 0), ask)
            self.bands.on_quote(*self.quote, self.now)
        else:
            self.bands.advance(self.now)

    def check(self, state: int, reference: int, lower: int, upper: int) -> None:
        """All that must hold, given what was before."""
        bands = self.bands
        label = f"{self.label} now={self.now - self.open_ns}"
        if self.now >= self.close_ns:
            seen = (bands.state, bands.reference_e4, bands.lower_e4, bands.upper_e4, bands.next_deadline_ns())
            assert seen == (NORMAL, 0, 0, 0, NEVER_NS), label
            return
        if bands.state != state:
            self.state_since_ns = self.now
            self.seen[f"{state} to {bands.state}"] += 1
        self.check_reference(state, reference, label)
        self.check_state(label)
        frozen = state in (LIMIT_STATE, PAUSED) and bands.state in (LIMIT_STATE, PAUSED)
        if frozen and bands.reference_e4 == reference and not self.left_limit_state(state):
            assert (bands.lower_e4, bands.upper_e4) == (lower, upper), label
        elif bands.state in (NORMAL, STRADDLE):
            expected = [
                band(
                    bands.reference_e4,
                    sign,
                    self.tier,
                    self.leverage,
                    self.prior,
                    self.open_ns,
                    self.close_ns,
                    self.now,
                )
                for sign in (-1, 1)
            ]
            assert [bands.lower_e4, bands.upper_e4] == expected, label
        assert bands.lower_e4 % 100 == bands.upper_e4 % 100 == 0 <= bands.lower_e4 < bands.upper_e4, label

    def left_limit_state(self, state: int) -> bool:
        """Whether a limit state may have ended and another begun within the same step."""
        return state == LIMIT_STATE and self.bands.state == LIMIT_STATE

    def mean(self) -> Fraction | None:
        """The mean of the trades whose second was not over five minutes ago."""
        first = (self.now - 5 * MINUTE) // SECOND
        kept = [(price_sum, count) for time, price_sum, count in self.trades if time // SECOND >= first]
        if not kept:
            return None
        return Fraction(sum(price_sum for price_sum, _ in kept), sum(count for _, count in kept))

    def check_reference(self, state: int, reference: int, label: str) -> None:
        """The reference moves only as the plan says, to the mean, and it moves when the plan says."""
        bands = self.bands
        mean = self.mean()
        far = mean is not None and reference > 0 and abs(mean - reference) * 100 >= reference
        old_enough = self.now - self.adopted_ns >= 30 * SECOND
        if bands.reference_e4 != reference:
            assert mean is not None, label
            assert bands.reference_e4 == floor(mean + Fraction(1, 2)), label
            assert state == LIMIT_STATE or (state != PAUSED and far and old_enough), label
            self.adopted_ns = self.now
            self.seen["reference"] += 1
        elif state == LIMIT_STATE and bands.state != LIMIT_STATE:
            # The mean after a limit state may be the reference that there was; it lives anew.
            self.adopted_ns = self.now

    def check_state(self, label: str) -> None:
        """The state is what the quote says, or a pause; limit states do not outlive their 15 seconds."""
        bands = self.bands
        if bands.state == PAUSED:
            start = self.state_since_ns
            last = self.close_ns - 10 * MINUTE
            assert bands.pause_ends_ns >= min(start + 5 * MINUTE, self.close_ns), label
            assert bands.pauses_to_close() is (bands.pause_ends_ns >= last), label
            assert bands.pause_ends_ns < last or bands.pause_ends_ns == self.close_ns, label
            return
        assert bands.pause_ends_ns == 0, label
        bid, ask = self.quote
        crossed = bid > ask > 0
        at_band = not crossed and (0 < ask <= bands.lower_e4 or 0 < bands.upper_e4 <= bid)
        outside = 0 < bid < bands.lower_e4 or ask > bands.upper_e4
        assert bands.state == (LIMIT_STATE if at_band else STRADDLE if outside else NORMAL), label
        if bands.state == LIMIT_STATE:
            assert self.now < bands.next_deadline_ns() <= self.now + 15 * SECOND, label


def test_random_sessions_keep_the_rules_of_the_plan() -> None:
    seen: Counter[str] = Counter()
    for seed in range(150):
        walk = Walk(seed)
        while walk.now < walk.close_ns:
            walk.step()
        seen += walk.seen
    for event in ("reference", "reopened", "extended"):
        assert seen[event] > 50, seen
    for before, after in ((NORMAL, LIMIT_STATE), (LIMIT_STATE, PAUSED), (LIMIT_STATE, NORMAL), (STRADDLE, NORMAL)):
        assert seen[f"{before} to {after}"] > 50, seen


@pytest.mark.parametrize("seed", range(20))
def test_restored_bands_and_bands_advanced_in_small_steps_end_the_same(seed: int) -> None:
    random = Random(seed)
    open_ns, close_ns = random.choice(DAYS)
    one = PriceBands(random.choice((1, 2)), 1, 10_0000)
    one.begin_session(open_ns, close_ns)
    one.open_price(10_0000, open_ns)
    restarted = restored(snapshot(one))
    stepped = restored(snapshot(one))
    now = open_ns
    while now < close_ns + MINUTE:
        later = now + random.choice((1, SECOND, 13 * SECOND, MINUTE))
        for _ in range(random.randrange(3)):
            stepped.advance(random.randrange(now, later + 1))
        if random.random() < 0.2:
            restarted = restored(snapshot(restarted))
        now = later
        kind = random.random()
        price = 10_0000 + random.randrange(-8000, 8000)
        for bands in (one, restarted, stepped):
            bands.advance(now)
            if kind < 0.4:
                bands.on_trades(price, 1, now)
            elif kind < 0.8:
                bands.on_quote(price - 300, price, now)
            elif kind < 0.9 and bands.reopening_due(now):
                bands.reopened(price, now)
            elif kind < 0.91:
                bands.configure(random.choice((1, 2)) if bands is one else one.tier, 1, 10_0000)
        expected = snapshot(one)
        assert snapshot(restarted) == expected, f"seed={seed} now={now}"
        assert snapshot(stepped) == expected, f"seed={seed} now={now}"
