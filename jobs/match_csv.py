"""Order commands as CSV through the matching engine, reports as CSV out: what `tradestream match` runs.

`match_stream` takes lines and writes lines; memory is bounded by the live orders and the ids seen, never by the input.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TextIO

from udfs.domain.match_csv import COMMAND_HEADER, REPORT_HEADER, BareDesk

Rules = Literal["bare", "us-equities"]
RULES: Final[tuple[Rules, ...]] = ("bare", "us-equities")
_BATCH: Final = 4_096


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
        """Apply the fields of one command."""

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

    desk: an engine that was prepared before; else one is made for `rules`. progress: told the number of commands after
    each few thousand. Raises MatchInputError when the header is not the one expected.
    """
    engine = new_desk(rules) if desk is None else desk
    rows = csv.reader(lines)
    _check_header(rows)
    out.write(REPORT_HEADER + "\n")
    done = 0
    while batch := list(itertools.islice(rows, _BATCH)):
        for row in batch:
            if row:
                engine.apply(row)
        out.write("".join(engine.take_lines()))
        done += len(batch)
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


def _check_header(rows: Iterator[list[str]]) -> None:
    """The first line names the columns, in their order."""
    try:
        header = next(rows, None)
    except csv.Error as error:
        raise MatchInputError(f"the input is not CSV: {error}") from error
    if header is None:
        raise MatchInputError(f"the input is empty; its first line must be\n{COMMAND_HEADER}")
    if header:
        header[0] = header[0].removeprefix("\ufeff")
    expected = COMMAND_HEADER.split(",")
    if [name.strip() for name in header] != expected:
        missing = [name for name in expected if name not in header]
        problem = f"it lacks {', '.join(missing)}" if missing else "its columns are in another order"
        raise MatchInputError(
            f"the first line is not the header of a file of commands: {problem}; it must be\n{COMMAND_HEADER}"
        )
