"""Bars as CSV through the indicators, values as CSV out: what `tradestream indicators` runs.

`indicator_stream` takes lines and writes lines; memory is bounded by the longest periods, never by the input.
"""

from __future__ import annotations

import csv
import functools
import math
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Final, TextIO
from zoneinfo import ZoneInfo

from udfs.domain.indicator_specs import IndicatorSet

BAR_HEADER: Final = "timestamp,open,high,low,close,volume"
_COLUMNS: Final = 6
_PROGRESS_BARS: Final = 4_096
_SPECIAL: Final = re.compile(r'[,"\r\n]')
_NEW_YORK: Final = ZoneInfo("America/New_York")
_HOUR_S: Final = 3_600
_DATE_DIGITS: Final = 8
_MAX_DIGITS: Final = 19
_DATE: Final = re.compile(r"\d+[-/.]\d+[-/.]\d+")
# Whole numbers with so many digits are seconds, milliseconds, microseconds or nanoseconds since the epoch.
_EPOCH_UNITS: Final = {9: 1, 10: 1, 11: 1, 12: 10**3, 13: 10**3, 14: 10**3, 15: 10**6, 16: 10**6, 17: 10**6}
_NANOSECONDS: Final = 10**9


class BarHeaderError(ValueError):
    """The first line is not the header of a file of bars."""


class BarRowError(ValueError):
    """A row is not a bar; the message names its line. Nothing after it would be right, so there is no going on."""


def indicator_stream(
    lines: Iterable[str], out: TextIO, indicators: IndicatorSet, progress: Callable[[int], None] | None = None
) -> int:
    """Run bars (CSV with `BAR_HEADER`) through `indicators` and write their values, one line for each bar.

    progress: told the number of bars after each few thousand. Returns the number of bars. Raises BarHeaderError and
    BarRowError.
    """
    rows = csv.reader(lines)
    try:
        _check_header(rows)
    except csv.Error as error:
        raise BarHeaderError(f"the input is not CSV: {error}") from error
    out.write(",".join(["timestamp", *indicators.columns]) + "\n")
    session: str | None = None
    done = 0
    try:
        for row in rows:
            if not row:
                continue
            high, low, close, volume = _numbers(row, rows.line_num)
            if indicators.needs_sessions:
                day = session_of(row[0])
                if day != session:
                    session = day
                    indicators.begin_session()
            values = indicators.update_bar(high, low, close, volume)
            # Not csv.writer, which takes half as long again: these fields never need quotes.
            fields = ["" if value is None else repr(value) for value in values]
            out.write(f"{_quoted(row[0])},{','.join(fields)}\n")
            done += 1
            if progress is not None and done % _PROGRESS_BARS == 0:
                progress(done)
    except csv.Error as error:
        raise BarRowError(f"line {rows.line_num}: this is not CSV: {error}") from error
    return done


def session_of(timestamp: str) -> str:
    """The day that a timestamp belongs to, for VWAP: the date in New York when the time is absolute, else as written.

    Absolute are ISO times with an offset or Z, and numbers of 9 digits and more: seconds, milliseconds, microseconds or
    nanoseconds since the epoch, by their length; a number of 8 digits is a date. What does not begin with a date is all
    of one session.
    """
    text = timestamp.strip()
    if text.isascii() and text.isdigit():
        if len(text) < _DATE_DIGITS:
            return ""
        if len(text) == _DATE_DIGITS or len(text) > _MAX_DIGITS:
            return text
        seconds = int(text) // _EPOCH_UNITS.get(len(text), _NANOSECONDS)
        return _new_york_date(seconds // _HOUR_S)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        date = _DATE.match(text)
        return date.group() if date else ""
    if moment.tzinfo is None:
        return moment.date().isoformat()
    return _new_york_date(int(moment.timestamp() // _HOUR_S))


@functools.lru_cache(maxsize=1_024)
def _new_york_date(hour: int) -> str:
    """The date in New York of an hour since the epoch; its offset changes at full hours only."""
    try:
        return datetime.fromtimestamp(hour * _HOUR_S, UTC).astimezone(_NEW_YORK).date().isoformat()
    except (OverflowError, OSError, ValueError):
        return str(hour)


def _quoted(text: str) -> str:
    """A text as a field of CSV."""
    if _SPECIAL.search(text):
        return '"' + text.replace('"', '""') + '"'
    return text


def _numbers(row: list[str], line: int) -> tuple[float, float, float, float]:
    """High, low, close and volume of a row of numbers. Raises BarRowError."""
    if len(row) != _COLUMNS:
        raise BarRowError(f"line {line}: {len(row)} fields where a bar has {_COLUMNS}: {BAR_HEADER}")
    try:
        open_price, high, low, close, volume = map(float, row[1:])
    except ValueError:
        raise _bad_number(row, line) from None
    # One look at all of them: a sum is finite only if each of them is.
    if not math.isfinite(open_price + high + low + close + volume) or "_" in "".join(row[1:]):
        raise _bad_number(row, line)
    if volume < 0.0:
        raise BarRowError(f"line {line}: volume {row[5]} is negative")
    return high, low, close, volume


def _bad_number(row: list[str], line: int) -> BarRowError:
    """What is wrong with a row that is not made of numbers."""
    for name, text in zip(BAR_HEADER.split(",")[1:], row[1:], strict=True):
        try:
            good = math.isfinite(float(text)) and "_" not in text
        except ValueError:
            good = False
        if not good:
            problem = "is empty" if not text.strip() else f"is {text!r}, which is not a number"
            return BarRowError(f"line {line}: {name} {problem}; every later value depends on it")
    return BarRowError(f"line {line}: the numbers are too large: {','.join(row[1:])}")


def _check_header(rows: Iterator[list[str]]) -> None:
    """The first line names the columns, in their order. Raises BarHeaderError."""
    header = next(rows, None)
    if header is None:
        raise BarHeaderError(f"the input is empty; its first line must be\n{BAR_HEADER}")
    expected = BAR_HEADER.split(",")
    found = [name.strip() for name in header]
    if found:
        found[0] = found[0].removeprefix("\ufeff")
    if found != expected:
        missing = [name for name in expected if name not in found]
        problem = f"it lacks {', '.join(missing)}" if missing else "its columns are others or in another order"
        raise BarHeaderError(f"the first line is not the header of a file of bars: {problem}; it must be\n{BAR_HEADER}")
