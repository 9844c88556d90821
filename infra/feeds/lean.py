"""Reads Lean's tick files: a zip for each symbol, day and kind (`20131007_quote.zip`), one CSV in it, without a header.

Lines go out untouched, as payloads of raw feed records: normalising and refusing them is the work of the market
data job. Each file is a feed of its own, `lean/SYMBOL/20131007_quote`, and its sequence is the line number.

Times within a line are milliseconds since midnight in New York. The ticks of one day are merged by time; at equal
times quotes come before trades, and lines of a file keep their order.
"""

from __future__ import annotations

import heapq
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from pathlib import Path
from typing import Final

from infra.feeds.items import Tick
from infra.feeds.sessions import NS_PER_MS, midnight_ns
from schemas.messages.enums import FEED_FORMAT_LEAN_QUOTE, FEED_FORMAT_LEAN_TRADE
from schemas.messages.raw_feed import RawFeedRecord

SOURCE: Final = "lean"
_ZIP_NAME: Final = re.compile(r"(?P<day>\d{8})_(?P<kind>quote|trade)\.zip")
_CSV_NAME: Final = re.compile(r"\d{8}_(?P<symbol>[A-Za-z0-9.]+)_(?:Quote|Trade)_Tick\.csv", re.IGNORECASE)
# The order of the kinds at equal times.
_FORMATS: Final = {"quote": FEED_FORMAT_LEAN_QUOTE, "trade": FEED_FORMAT_LEAN_TRADE}


class LeanError(ValueError):
    """Tick files that cannot be used; the message says which and what is expected."""


@dataclass(frozen=True, slots=True, order=True)
class LeanFile:
    """One tick file. Sorts by day, then quotes before trades, then symbol."""

    day: date
    kind: str
    symbol: str
    path: Path
    member: str


def find_lean_files(paths: Iterable[Path]) -> list[LeanFile]:
    """The tick files among `paths`: zips, or folders that are searched with their subfolders. In the order of LeanFile.

    Raises LeanError when a path does not exist or has none, or a zip is damaged or holds something else.
    """
    found: dict[Path, LeanFile] = {}
    for path in paths:
        if path.is_dir():
            candidates = sorted(p for p in path.rglob("*.zip") if _ZIP_NAME.fullmatch(p.name))
            if not candidates:
                raise LeanError(f"{path} has no files named like 20131007_quote.zip or 20131007_trade.zip")
        elif path.is_file():
            candidates = [path]
        else:
            raise LeanError(f"{path} does not exist: give a tick zip, or a folder with tick zips")
        for candidate in candidates:
            found[candidate.resolve()] = _open_lean_file(candidate)
    if not found:
        raise LeanError("no tick files: give at least one zip or folder")
    return sorted(found.values())


def read_lean(files: Iterable[LeanFile]) -> Iterator[Tick]:
    """The ticks of the files, day after day, merged by time within a day. Lazy; memory is flat.

    A line whose time cannot be read keeps the time of the line before it and goes out like any other.
    """
    for _, of_day in groupby(sorted(files), key=lambda file: file.day):
        yield from heapq.merge(*map(_read_file, of_day), key=lambda tick: tick.time_ns)


def first_prices(files: Iterable[LeanFile]) -> dict[str, int]:
    """A price e4 for each symbol to begin with: its first trade, or the first side it was quoted at.

    Raises LeanError for a symbol without any price.
    """
    prices: dict[str, int] = {}
    of_kind = sorted(files, key=lambda file: (file.kind != "trade", file))
    for file in of_kind:
        if file.symbol in prices:
            continue
        columns = (1,) if file.kind == "trade" else (1, 3)
        for tick in _read_file(file):
            fields = tick.record.payload.split(b",")
            found = [int(fields[c]) for c in columns if c < len(fields) and fields[c].isdigit() and int(fields[c]) > 0]
            if found:
                prices[file.symbol] = found[0]
                break
    missing = {file.symbol for file in of_kind} - set(prices)
    if missing:
        raise LeanError(f"no price in the files of {', '.join(sorted(missing))}")
    return prices


def _open_lean_file(path: Path) -> LeanFile:
    name = _ZIP_NAME.fullmatch(path.name)
    if name is None:
        raise LeanError(f"{path}: the name of a tick file is like 20131007_quote.zip or 20131007_trade.zip")
    try:
        day = datetime.strptime(name["day"], "%Y%m%d").date()
    except ValueError as error:
        raise LeanError(f"{path}: {name['day']} is no date") from error
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.namelist() if not member.endswith("/")]
    except (OSError, zipfile.BadZipFile) as error:
        raise LeanError(f"{path} cannot be read as a zip: {error}") from error
    if len(members) != 1:
        raise LeanError(f"{path} holds {len(members)} files, a tick file holds one CSV")
    csv = _CSV_NAME.fullmatch(Path(members[0]).name)
    symbol = csv["symbol"] if csv else path.resolve().parent.name
    return LeanFile(day, name["kind"], symbol.upper(), path, members[0])


def _read_file(file: LeanFile) -> Iterator[Tick]:
    base_ns = midnight_ns(file.day)
    feed_id = f"{SOURCE}/{file.symbol}/{file.day:%Y%m%d}_{file.kind}"
    kind = _FORMATS[file.kind]
    time_ns = base_ns
    try:
        with zipfile.ZipFile(file.path) as archive, archive.open(file.member) as lines:
            for sequence, raw in enumerate(lines, start=1):
                line = raw.rstrip(b"\r\n")
                milliseconds = line.split(b",", 1)[0]
                if milliseconds.isdigit() and len(milliseconds) <= 8:
                    time_ns = max(time_ns, base_ns + int(milliseconds) * NS_PER_MS)
                yield Tick(time_ns, RawFeedRecord(SOURCE, kind, feed_id, sequence, file.symbol, base_ns, line))
    except (OSError, zipfile.BadZipFile) as error:
        raise LeanError(f"{file.path} is damaged: {error}") from error
