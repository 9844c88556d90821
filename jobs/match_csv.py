"""Order commands as CSV through the matching engine, reports as CSV out: what `tradestream match` runs.

`match_stream` takes lines and writes lines; memory is bounded by the live orders and the ids seen, never by the input.
A row that is wrong is answered by a report, whatever it holds; a quote that is never closed spoils its own line only.
"""

from __future__ import annotations

import csv
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TextIO

from udfs.domain.match_csv import COMMAND_HEADER, FIELDS, REPORT_HEADER, BareDesk

Rules = Literal["bare", "us-equities"]
RULES: Final[tuple[Rules, ...]] = ("bare", "us-equities")
_BATCH: Final = 512
"""Lines between two writes: few enough to stay in the processor's caches."""
_MOST_LINES: Final = 16
"""A row whose fields in quotes hold line ends may have so many lines."""


class MatchInputError(ValueError):
    """The input is not a file of commands; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run did. `malformed` rows are among the `rejected` ones; `live` orders are open at the end."""

    commands: int
    trades: int
    rejected: int
    malformed: int
    live: int


class Desk(Protocol):
    """An engine that takes rows and gives lines."""

    def apply(self, row: list[str]) -> None:
        """Apply the fields of one command; a row that has not `FIELDS` of them is malformed, and rejected."""

    def take_lines(self) -> list[str]:
        """The lines that were reported since they were last taken."""

    def summary(self) -> tuple[int, int, int, int, int]:
        """Commands, trades, rejected, malformed, live."""


def match_stream(
    lines: Iterable[str],
    out: TextIO,
    rules: Rules = "bare",
    desk: Desk | None = None,
    progress: Callable[[int], None] | None = None,
) -> Summary:
    """Run commands (CSV with `COMMAND_HEADER`) through a new engine and write its reports (CSV with `REPORT_HEADER`).

    lines: as a file opened with newline="" gives them; bytes that are no UTF-8 come as surrogate escapes. desk: an engine
    that was prepared before; else one is made for `rules`. progress: told the number of lines after each few hundred.
    Raises MatchInputError when the header is not the one expected.
    """
    engine = new_desk(rules) if desk is None else desk
    again: deque[str] = deque()
    source = _with_returned(lines, again)
    _check_header(source)
    out.write(REPORT_HEADER + "\n")
    apply = engine.apply
    apply_plain = engine.apply_plain if isinstance(engine, BareDesk) else engine.apply
    done = 0
    while True:
        before = done
        for line in itertools.islice(source, _BATCH):
            done += 1
            if '"' not in line and line.isascii():
                text = line.rstrip("\r\n")
                if text:
                    apply_plain(text.split(","))
            elif row := _careful_row(line, source, again):
                apply(row)
        if done == before:
            if not again:
                break
            # The input ended within a quote that nothing closed; the lines after it have still to be read.
            source = _with_returned([again.popleft()], again)
            continue
        out.write("".join(engine.take_lines()))
        if progress is not None:
            progress(done)
    return Summary(*engine.summary())


def new_desk(rules: Rules) -> Desk:
    """A new engine."""
    if rules == "bare":
        return BareDesk()
    # Both stages and the calendar take a second to import: only who asks for them pays.
    from infra.feeds.sessions import session_of_day
    from udfs.domain.match_market import MarketDesk

    return MarketDesk(session_of_day)


def _with_returned(lines: Iterable[str], again: deque[str]) -> Iterator[str]:
    """The lines; those that are put into `again` come next."""
    for line in lines:
        yield line
        while again:
            yield again.popleft()


def _careful_row(line: str, source: Iterator[str], again: deque[str]) -> list[str]:
    """The fields of a line with quotes or with more than ASCII, and of the lines on which its quotes go on.

    What is no UTF-8 or no CSV becomes a row with a wrong number of fields. An empty line has none.
    """
    more: list[str] = []
    row: list[str] = []
    try:
        row = (
            next(csv.reader(_row_lines(line, source, more), strict=True))
            if '"' in line
            else line.rstrip("\r\n").split(",")
        )
        wrong = bool(more) and len(row) != FIELDS
    except csv.Error:
        wrong = True
    if wrong:
        again.extendleft(reversed(more))
        return _spoilt(line.rstrip("\r\n").split(","))
    try:
        "".join(row).encode("utf-8")
    except UnicodeEncodeError:
        return _spoilt(row)
    return row


def _row_lines(line: str, source: Iterator[str], more: list[str]) -> Iterator[str]:
    """A line and those after it, which are kept in `more`; csv.Error when the row does not end."""
    yield line
    for following in itertools.islice(source, _MOST_LINES - 1):
        more.append(following)
        yield following
    raise csv.Error("a quote is not closed")


def _spoilt(row: list[str]) -> list[str]:
    """The fields of a row that must not be applied."""
    return row + [""] * (FIELDS + 1 - len(row))


def _check_header(lines: Iterator[str]) -> None:
    """The first line names the columns, in their order."""
    line = next(lines, None)
    if line is None:
        raise MatchInputError(f"it is empty; its first line must be\n{COMMAND_HEADER}")
    try:
        header = next(csv.reader([line.removeprefix("\ufeff")]), [])
    except csv.Error as error:
        raise MatchInputError(f"it is not CSV: {error}") from error
    expected = COMMAND_HEADER.split(",")
    found = [name.strip() for name in header]
    if found != expected:
        raise MatchInputError(f"its first line {_header_fault(found, expected)}; it must be\n{COMMAND_HEADER}")


def _header_fault(found: list[str], expected: list[str]) -> str:
    """What is wrong with a header."""
    missing = [name for name in expected if name not in found]
    if len(missing) == len(expected):
        return "is not the header of a file of commands"
    if missing:
        return f"lacks {', '.join(missing)}"
    if len(found) > len(expected):
        return "has more columns than it should"
    return "has its columns in another order"
