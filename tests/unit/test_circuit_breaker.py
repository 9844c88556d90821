"""The market-wide circuit breaker: levels, times of day, once a session."""

from __future__ import annotations

import pytest

from udfs.domain.circuit_breaker import MarketWideBreaker
from udfs.domain.rules import instant_ns
from udfs.domain.state_codec import StateReader, StateWriter

MINUTE = 60_000_000_000
OPEN = instant_ns("2026-11-20T09:30:00-05:00")
CLOSE = instant_ns("2026-11-20T16:00:00-05:00")
HALF_DAY = (instant_ns("2026-11-27T09:30:00-05:00"), instant_ns("2026-11-27T13:00:00-05:00"))
LAST_HALT = instant_ns("2026-11-20T15:25:00-05:00")
PRIOR = 6_000_0000


def begun(open_ns: int = OPEN, close_ns: int = CLOSE) -> MarketWideBreaker:
    """A breaker in its session, with a prior close of 6,000."""
    breaker = MarketWideBreaker()
    breaker.configure(PRIOR)
    breaker.begin_session(open_ns, close_ns)
    return breaker


#  index -> level: 7%, 13%, 20% below 6,000
LEVELS = [
    (5_580_0001, 0),
    (5_580_0000, 1),
    (5_220_0001, 1),
    (5_220_0000, 2),
    (4_800_0001, 2),
    (4_800_0000, 3),
    (1, 3),
    (7_000_0000, 0),
]


@pytest.mark.parametrize(("index", "level"), LEVELS)
def test_levels_by_fall_of_the_index(index: int, level: int) -> None:
    breaker = begun()
    assert breaker.on_level(index, OPEN + MINUTE) == level
    assert breaker.level == level
    assert breaker.halted(OPEN + MINUTE) is (level > 0)


@pytest.mark.parametrize("index", [5_580_0000, 5_220_0000])
def test_levels_one_and_two_halt_for_fifteen_minutes(index: int) -> None:
    breaker = begun()
    breaker.on_level(index, OPEN + MINUTE)
    assert breaker.halt_ends_ns == OPEN + 16 * MINUTE
    assert breaker.halted(OPEN + 16 * MINUTE - 1)
    assert not breaker.halted(OPEN + 16 * MINUTE)


#  session, time, index -> level
TIMES = [
    ((OPEN, CLOSE), OPEN - 1, 5_580_0000, 0),
    ((OPEN, CLOSE), OPEN, 5_580_0000, 1),
    ((OPEN, CLOSE), LAST_HALT - 1, 5_580_0000, 1),
    ((OPEN, CLOSE), LAST_HALT, 5_580_0000, 0),
    ((OPEN, CLOSE), LAST_HALT - 1, 5_220_0000, 2),
    ((OPEN, CLOSE), LAST_HALT, 5_220_0000, 0),
    ((OPEN, CLOSE), LAST_HALT, 4_800_0000, 3),
    ((OPEN, CLOSE), CLOSE - 1, 4_800_0000, 3),
    ((OPEN, CLOSE), CLOSE, 4_800_0000, 0),
    (HALF_DAY, instant_ns("2026-11-27T12:24:59-05:00"), 5_580_0000, 1),
    (HALF_DAY, instant_ns("2026-11-27T12:25:00-05:00"), 5_580_0000, 0),
    (HALF_DAY, instant_ns("2026-11-27T12:25:00-05:00"), 4_800_0000, 3),
]


@pytest.mark.parametrize(("session", "time", "index", "level"), TIMES)
def test_levels_by_time_of_day(session: tuple[int, int], time: int, index: int, level: int) -> None:
    assert begun(*session).on_level(index, time) == level


def test_each_level_once_a_session() -> None:
    breaker = begun()
    steps = [(5_580_0000, 1), (5_500_0000, 0), (5_900_0000, 0), (5_580_0000, 0), (5_220_0000, 2), (5_200_0000, 0)]
    for step, (index, level) in enumerate(steps):
        assert breaker.on_level(index, OPEN + step * 20 * MINUTE) == level
    breaker.begin_session(HALF_DAY[0], HALF_DAY[1])
    assert breaker.level == 0
    assert not breaker.halted(HALF_DAY[0])
    assert breaker.on_level(5_580_0000, HALF_DAY[0]) == 1


def test_a_level_that_was_jumped_over_does_not_halt_later() -> None:
    breaker = begun()
    assert breaker.on_level(5_200_0000, OPEN) == 2
    assert breaker.on_level(5_580_0000, OPEN + 60 * MINUTE) == 0


def test_a_level_in_the_last_minutes_does_not_use_it_up_for_level_three() -> None:
    breaker = begun()
    assert breaker.on_level(5_200_0000, LAST_HALT) == 0
    assert breaker.on_level(4_800_0000, LAST_HALT + MINUTE) == 3
    assert breaker.halt_ends_ns == CLOSE


def test_level_three_halts_to_the_close() -> None:
    breaker = begun()
    assert breaker.on_level(4_000_0000, OPEN) == 3
    assert breaker.halted(CLOSE - 1)
    assert not breaker.halted(CLOSE)
    assert breaker.on_level(1, OPEN + MINUTE) == 0


def test_a_moved_close_moves_the_end_of_level_three() -> None:
    breaker = begun()
    breaker.on_level(4_000_0000, OPEN)
    breaker.begin_session(OPEN, CLOSE + 60 * MINUTE)
    assert breaker.halt_ends_ns == CLOSE + 60 * MINUTE
    assert breaker.level == 3


def test_a_deeper_level_in_a_halt_prolongs_it() -> None:
    breaker = begun()
    breaker.on_level(5_580_0000, OPEN)
    assert breaker.on_level(5_220_0000, OPEN + 5 * MINUTE) == 2
    assert breaker.halt_ends_ns == OPEN + 20 * MINUTE


def test_unknown_prior_close_and_unknown_session_trigger_nothing() -> None:
    breaker = begun()
    breaker.configure(0)
    assert breaker.on_level(1, OPEN) == 0
    fresh = MarketWideBreaker()
    fresh.configure(PRIOR)
    assert fresh.on_level(1, OPEN) == 0


@pytest.mark.parametrize(("time", "level"), [("2013-04-07T23:59:59-04:00", 0), ("2013-04-08T00:00:00-04:00", 1)])
def test_levels_are_those_in_force_since_april_2013(time: str, level: int) -> None:
    open_ns = instant_ns(time)
    assert begun(open_ns, open_ns + 390 * MINUTE).on_level(5_580_0000, open_ns) == level


def test_snapshot_continues() -> None:
    breaker = begun()
    breaker.on_level(5_580_0000, OPEN)
    out = StateWriter()
    breaker.write(out)
    other = MarketWideBreaker()
    reader = StateReader(out.finish(1, 9), 9, 1)
    other.read(reader)
    reader.expect_end()
    for each in (breaker, other):
        assert each.halted(OPEN + 15 * MINUTE - 1)
        assert each.on_level(5_580_0000, OPEN + 30 * MINUTE) == 0
        assert each.on_level(5_220_0000, OPEN + 30 * MINUTE) == 2
