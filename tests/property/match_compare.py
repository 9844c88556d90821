"""Comparison of two makers of match reports on one stream: the first difference, hashes along the way, the shortest stream.

A maker is a function of commands that returns lines. Everything here only reads what the makers return.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from hashlib import sha256
from itertools import zip_longest

from match_rows import REPORT_HEADER, Command, Line
from match_streams import as_csv
from reference_match import run

Maker = Callable[[Sequence[Command]], list[Line]]

HASH_EVERY = 100
MOST_RUNS = 3000


def run_tool(rows: Sequence[Command]) -> list[Line]:
    """The lines of the tool, in process."""
    from jobs.match_csv import match_stream

    out = io.StringIO()
    match_stream(io.StringIO(as_csv(rows)), out, "bare")
    header, *lines = csv.reader(io.StringIO(out.getvalue(), newline=""))
    assert ",".join(header) == REPORT_HEADER
    return [Line(*line) for line in lines]


def hashes(rows: Sequence[Command], lines: Sequence[Line]) -> list[str]:
    """The running hash of the lines after every HASH_EVERY commands."""
    position = {row.seq: number for number, row in enumerate(rows)}
    running = sha256()
    result: list[str] = []
    for line in lines:
        while position[line.seq] >= (len(result) + 1) * HASH_EVERY:
            result.append(running.hexdigest()[:16])
        running.update((",".join(line) + "\n").encode())
    while len(result) * HASH_EVERY < len(rows):
        result.append(running.hexdigest()[:16])
    return result


def first_difference(want: Sequence[Line], got: Sequence[Line]) -> int | None:
    """Index of the first line that differs, or None."""
    if list(want) == list(got):
        return None
    return next(number for number, (a, b) in enumerate(zip_longest(want, got)) if a != b)


def differs(tool: Maker, rows: Sequence[Command]) -> bool:
    """Whether `tool` says something else than the reference about `rows`, or fails."""
    try:
        return tool(rows) != run(rows, checks=False)
    except Exception:
        return True


def shrink(rows: Sequence[Command], fails: Callable[[Sequence[Command]], bool]) -> list[Command]:
    """A short part of `rows` that still fails: the shortest prefix, then ever smaller chunks left out."""
    low, high = 0, len(rows)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fails(rows[:middle]) else (middle, high)
    kept = list(rows[:high])
    size, runs = max(1, len(kept) // 2), 0
    while runs < MOST_RUNS:
        start, before = 0, len(kept)
        while start < len(kept) and runs < MOST_RUNS:
            shorter = kept[:start] + kept[start + size :]
            runs += 1
            if shorter and fails(shorter):
                kept = shorter
            else:
                start += size
        if size == 1 and len(kept) == before:
            break
        size = max(1, size // 2)
    return kept


def report(name: str, tool: Maker, rows: Sequence[Command]) -> str:
    """What to say about a stream that differs."""
    want = run(rows, checks=False)
    try:
        got = tool(rows)
    except Exception as error:
        got = []
        print(f"the tool failed: {type(error).__name__}: {error}")
    text = [f"{name}: the tool and the reference differ"]
    for number, (a, b) in enumerate(zip_longest(hashes(rows, want), hashes(rows, got))):
        text.append(f"  hash after {min((number + 1) * HASH_EVERY, len(rows))} commands: reference {a}, tool {b}")
        if a != b:
            break
    at = first_difference(want, got)
    if at is not None:
        text += [f"  both:      {','.join(line)}" for line in want[max(0, at - 3) : at]]
        text += [f"  reference: {','.join(line)}" for line in want[at : at + 3]]
        text += [f"  tool:      {','.join(line)}" for line in got[at : at + 3]]
    short = shrink(rows, lambda part: differs(tool, part))
    text.append(f"{len(short)} commands are enough:")
    text.append(as_csv(short))
    text += [f"reference: {','.join(line)}" for line in run(short, checks=False)]
    try:
        text += [f"tool:      {','.join(line)}" for line in tool(short)]
    except Exception as error:
        text.append(f"tool:      {type(error).__name__}: {error}")
    return "\n".join(text)


def compare(name: str, tool: Maker, rows: Sequence[Command]) -> int:
    """Assert that `tool` says what the reference says about `rows`; returns the number of lines."""
    want = run(rows)
    try:
        same = tool(rows) == want
    except Exception:
        same = False
    if not same:
        raise AssertionError(report(name, tool, rows))
    return len(want)
