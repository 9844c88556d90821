"""The market simulator and the trading days it plays."""

import itertools
import random
from collections import Counter
from datetime import date, timedelta

import pytest

from infra.feeds.items import tick_items
from infra.feeds.sessions import DEFAULT_DAY, session_of_day, session_times, trading_day
from infra.feeds.simulator import MarketSimulator
from schemas.messages import dead_letter, nbbo
from schemas.messages.enums import DEAD_LETTER_REASON_NAMES
from tests.unit.feed_system import SCHEMA_IDS
from udfs.domain.market_shard import MarketShard
from udfs.domain.normalise import MarketLimits

DAY = trading_day(DEFAULT_DAY)
HALF_HOUR = 1_800_000_000_000


def test_trading_day_knows_daylight_saving_half_days_and_holidays() -> None:
    summer = trading_day(date(2013, 10, 7))
    assert (summer.open_ns, summer.close_ns) == (1_381_152_600_000_000_000, 1_381_176_000_000_000_000)
    assert not summer.half_day
    half = trading_day(date(2026, 11, 27))
    assert half.half_day
    assert half.close_ns - half.open_ns == 7 * HALF_HOUR
    with pytest.raises(ValueError, match=r"2026-11-26 is no trading day.*2026-11-25 and 2026-11-27"):
        trading_day(date(2026, 11, 26))


HOLIDAYS = """
    2026-01-01 2026-01-19 2026-02-16 2026-04-03 2026-05-25 2026-06-19 2026-07-03 2026-09-07 2026-11-26 2026-12-25
    2027-01-01 2027-01-18 2027-02-15 2027-03-26 2027-05-31 2027-06-18 2027-07-05 2027-09-06 2027-11-25 2027-12-24
    2028-01-17 2028-02-21 2028-04-14 2028-05-29 2028-06-19 2028-07-04 2028-09-04 2028-11-23 2028-12-25
"""
"""NYSE's holidays; 2028 has no holiday for the new year, which is a Saturday."""
HALF_DAYS = "2026-11-27 2026-12-24 2027-11-26 2028-07-03 2028-11-24"


def test_calendar_is_that_of_the_exchanges_until_2028() -> None:
    closed, early = [], []
    day = date(2026, 1, 1)
    while day < date(2029, 1, 1):
        if day.weekday() < 5:
            found = session_of_day((day - date(1970, 1, 1)).days * 48 * HALF_HOUR)
            if found is None:
                closed.append(str(day))
            elif found.half_day:
                early.append(str(day))
                assert found.close_time - found.open_time == 7 * HALF_HOUR
            else:
                assert found.close_time - found.open_time == 13 * HALF_HOUR
        day += timedelta(days=1)
    assert closed == HOLIDAYS.split()
    assert early == HALF_DAYS.split()


def test_session_times_follow_a_u_with_bursts() -> None:
    times = list(session_times(random.Random(5), DAY, 20_000))
    assert len(times) == 20_000
    assert times == sorted(times)
    assert DAY.open_ns <= times[0] and times[-1] < DAY.close_ns
    assert all(time % 1_000_000 == 0 for time in times)
    per_half_hour = Counter((time - DAY.open_ns) // HALF_HOUR for time in times)
    assert per_half_hour[0] > 2 * per_half_hour[6] < per_half_hour[12]
    assert max(Counter(times).values()) >= 20


def test_simulated_market_is_read_without_a_refusal_that_was_not_intended() -> None:
    simulator = MarketSimulator(DAY, seed=7, symbols=10, events=12_000, bad_share=0.03)
    shard = MarketShard(0, 1, SCHEMA_IDS, MarketLimits())
    best: dict[str, nbbo.Nbbo] = {}
    two_sided = published = 0
    for offset, (_, _, value, _) in enumerate(tick_items(simulator.ticks(), SCHEMA_IDS)):
        shard.apply(7, value, 0, offset, 0)
        shard.flush()
        for state in shard.outbox.nbbo.values:
            record = nbbo.decode(state)
            best[record.symbol] = record
            published += 1
            if record.bid_price is not None and record.ask_price is not None:
                two_sided += 1
                assert record.bid_price < record.ask_price
                assert record.ask_price - record.bid_price <= 20 * 100
        shard.outbox.nbbo.clear()
    letters = Counter(DEAD_LETTER_REASON_NAMES[dead_letter.decode(v).reason] for v in shard.outbox.dead_letter.values)
    assert letters == simulator.expected_dead_letters()
    assert sum(letters.values()) == pytest.approx(12_000 * 0.03, rel=0.25)
    assert sum(simulator.counts.values()) == 12_000
    counters = dict(shard.counters.items())
    assert (counters["quotes"], counters["trades"]) == (simulator.counts["quote"], simulator.counts["trade"])
    assert counters["gaps"] == counters["late"] == 0
    assert len(best) == 10
    assert two_sided > 0.95 * published
    assert all(record.last_price for record in best.values())


def test_same_seed_gives_the_same_ticks_whatever_is_asked_meanwhile() -> None:
    one, two = (MarketSimulator(DAY, seed=3, symbols=4, events=800) for _ in range(2))
    two.prior_closes()
    assert [(t, r.payload, r.sequence) for t, r in one.ticks()] == [(t, r.payload, r.sequence) for t, r in two.ticks()]
    other = MarketSimulator(DAY, seed=4, symbols=4, events=800)
    assert [t.record.payload for t in other.ticks()] != [
        t.record.payload for t in MarketSimulator(DAY, seed=3, symbols=4, events=800).ticks()
    ]


def test_ticks_are_lazy_and_end_at_the_number_of_events() -> None:
    endless = MarketSimulator(DAY, symbols=3, events=10**12)
    assert len(list(itertools.islice(endless.ticks(), 1_000))) == 1_000
    for events in (0, 1, 29, 31):
        assert len(list(MarketSimulator(DAY, symbols=3, events=events).ticks())) == events


def test_a_simulator_is_used_once_and_checks_its_arguments() -> None:
    simulator = MarketSimulator(DAY, symbols=["ONE"], events=5)
    list(simulator.ticks())
    with pytest.raises(RuntimeError, match="once"):
        list(simulator.ticks())
    for wrong in ({"symbols": 0}, {"symbols": ["A", "A"]}, {"exchanges": 0}, {"bad_share": 0.9}, {"events": -1}):
        with pytest.raises(ValueError, match=r"must be|at least"):
            MarketSimulator(DAY, **wrong)  # type: ignore[arg-type]
