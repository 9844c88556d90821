"""Trading days of the New York exchanges: midnight, opening and close as UTC ns."""

from __future__ import annotations

import bisect
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo

import exchange_calendars

from schemas.messages.reference_data import Session

NEW_YORK: Final = ZoneInfo("America/New_York")
CALENDAR: Final = "XNYS"
DEFAULT_DAY: Final = date(2026, 11, 20)
"""The day that is simulated when none is given: fixed, so that two runs are the same."""
NS_PER_MS: Final = 1_000_000
NS_PER_SECOND: Final = 1_000_000_000
PRE_OPEN_NS: Final = 4 * 3_600 * NS_PER_SECOND
"""Orders are taken from 04:00 New York, as the exchanges' early sessions do."""
LAST_YEAR: Final = 2250
"""After it there are no sessions: the calendar's own times do not reach further than 2262."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC"))
_STEPS: Final = 2_048


@dataclass(frozen=True, slots=True)
class TradingDay:
    """One session; times in UTC ns."""

    day: date
    midnight_ns: int
    open_ns: int
    close_ns: int
    half_day: bool


@cache
def trading_day(day: date) -> TradingDay:
    """The session of a day. Raises ValueError, naming the nearest sessions, when the exchanges are closed on it."""
    calendar = exchange_calendars.get_calendar(
        CALENDAR, start=str(day - timedelta(days=15)), end=str(day + timedelta(days=15))
    )
    if not calendar.is_session(str(day)):
        before = calendar.date_to_session(str(day), direction="previous").date()
        after = calendar.date_to_session(str(day), direction="next").date()
        raise ValueError(f"{day} is no trading day in New York; the nearest are {before} and {after}")
    open_ns = int(calendar.session_open(str(day)).value)
    close_ns = int(calendar.session_close(str(day)).value)
    return TradingDay(
        day=day,
        midnight_ns=midnight_ns(day),
        open_ns=open_ns,
        close_ns=close_ns,
        half_day=close_ns - open_ns < 6 * 3_600 * NS_PER_SECOND,
    )


@cache
def _calendar(year: int) -> exchange_calendars.ExchangeCalendar:
    """The sessions of a year; one calendar for all of its days, because making one takes a second.

    A calendar answers only between its first session and its last: it reaches into the years beside, so that the first
    of January is a holiday and no error.
    """
    return exchange_calendars.get_calendar(CALENDAR, start=f"{year - 1}-12-01", end=f"{year + 1}-01-31")


def session_of_day(utc_midnight_ns: int) -> Session | None:
    """The session of the day that begins at a UTC midnight, with orders taken from 04:00 New York; None for a holiday.

    None after LAST_YEAR too. A session of New York lies within one UTC day.
    """
    day = (_EPOCH + timedelta(seconds=utc_midnight_ns // NS_PER_SECOND)).date()
    if day.year > LAST_YEAR:
        return None
    calendar = _calendar(day.year)
    if not calendar.is_session(str(day)):
        return None
    open_ns = int(calendar.session_open(str(day)).value)
    close_ns = int(calendar.session_close(str(day)).value)
    half_day = close_ns - open_ns < 6 * 3_600 * NS_PER_SECOND
    return Session(str(day), open_ns, close_ns, half_day, midnight_ns(day) + PRE_OPEN_NS)


def midnight_ns(day: date) -> int:
    """Midnight in New York at the start of a day, UTC ns."""
    # Seconds, not a float timestamp: nanoseconds do not fit a float exactly.
    return (datetime(day.year, day.month, day.day, tzinfo=NEW_YORK) - _EPOCH) // timedelta(seconds=1) * NS_PER_SECOND


@cache
def _arrival_quantiles() -> list[float]:
    """F(x) at x = 0, 1/2048 ... 1 of the intraday density f(x) = 0.5 + 1.5 (2x - 1)^2: busy ends, quiet noon."""
    return [0.5 * x + 0.25 * ((2 * x - 1) ** 3 + 1) for x in (step / _STEPS for step in range(_STEPS + 1))]


def session_times(rng: random.Random, day: TradingDay, count: int, burst_share: float = 0.02) -> Iterator[int]:
    """`count` event times from open to close, in order, in whole milliseconds (as ns), U-shaped over the day.

    A share of the events starts a burst: up to forty events at the same millisecond, as after news. Memory is flat.
    """
    table = _arrival_quantiles()
    length = day.close_ns - day.open_ns - NS_PER_SECOND
    held_until = 0
    time_ns = day.open_ns
    for number in range(count):
        if number >= held_until:
            share = (number + rng.random()) / count
            above = min(max(bisect.bisect_right(table, share), 1), _STEPS)
            low, high = table[above - 1], table[above]
            x = (above - 1 + (share - low) / (high - low)) / _STEPS
            time_ns = max(time_ns, day.open_ns + int(x * length) // NS_PER_MS * NS_PER_MS)
            if rng.random() < burst_share:
                held_until = number + 1 + rng.randint(5, 40)
        yield time_ns
