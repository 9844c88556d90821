"""The numbered migrations of sql/clickhouse as files: finding them, and splitting a file into statements.

NNNN_name.sql brings the database from the state before NNNN to the state after it; NNNN_name.down.sql, where there is
one, back. Statements end with a semicolon and must be safe to run twice (IF NOT EXISTS, OR REPLACE), because
ClickHouse has no transaction over DDL: a file that failed half-way is run again from its beginning.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parent.parent / "sql" / "clickhouse"

_FILE: Final = re.compile(r"(?P<number>\d{4})_(?P<name>[a-z0-9_]+?)(?P<down>\.down)?\.sql")
# What a semicolon means nothing in. An unclosed one runs to the end of the file and is reported.
_TOKEN: Final = re.compile(
    r"""
      (?P<comment>--[^\n]* | \#[!\s][^\n]* | /\*.*?\*/)
    | (?P<quoted>'(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*" | `(?:[^`\\]|\\.|``)*` | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
    | (?P<open>/\* | ['"`] | \$\w*\$)
    | (?P<end>;)
    """,
    re.DOTALL | re.VERBOSE,
)


class MigrationError(RuntimeError):
    """Migrations that are wrong or cannot be applied; the message names the file and what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step. `sha256` is of the file that applies it."""

    number: int
    name: str
    file: Path
    up: tuple[str, ...]
    down: tuple[str, ...] | None
    sha256: str

    def __str__(self) -> str:
        return f"{self.number:04d}_{self.name}"


def find(folder: Path = FOLDER) -> list[Migration]:
    """All migrations, by number; a number may be left out. Raises MigrationError for a wrong name or a repeated number."""
    ups: dict[int, Path] = {}
    downs: dict[int, Path] = {}
    for path in sorted(folder.glob("*.sql")):
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path.name}: migrations are named NNNN_name.sql or NNNN_name.down.sql")
        number, kind = int(match["number"]), downs if match["down"] else ups
        if number in kind:
            raise MigrationError(f"{path.name} and {kind[number].name} have the same number")
        kind[number] = path
    for number, path in downs.items():
        if number not in ups or path.name != f"{ups[number].stem}.down.sql":
            raise MigrationError(f"{path.name} belongs to no migration")
    return [_read(number, ups[number], downs.get(number)) for number in sorted(ups)]


def _read(number: int, up: Path, down: Path | None) -> Migration:
    text = up.read_text(encoding="utf-8")
    statements = split(text, up.name)
    if not statements:
        raise MigrationError(f"{up.name} holds no statement")
    return Migration(
        number=number,
        name=up.stem.partition("_")[2],
        file=up,
        up=tuple(statements),
        down=None if down is None else tuple(split(down.read_text(encoding="utf-8"), down.name)),
        sha256=hashlib.sha256(text.encode()).hexdigest(),
    )


def split(text: str, name: str = "the script") -> list[str]:
    """The statements of a script, without their semicolons; what holds only comments and spaces is none.

    Knows ClickHouse's comments (--, # and ! or a space, /* */), strings with backslashes or doubled quotes, quoted
    identifiers and heredocs. Raises MigrationError for a string or comment that is never closed.
    """
    statements: list[str] = []
    start, blank = 0, True
    at = 0
    for token in _TOKEN.finditer(text):
        blank = blank and not text[at : token.start()].strip()
        at = token.end()
        if token["open"]:
            line = text.count("\n", 0, token.start()) + 1
            raise MigrationError(f"{name}, line {line}: {token['open']} is never closed")
        if token["quoted"]:
            blank = False
        elif token["end"]:
            if not blank:
                statements.append(text[start : token.start()].strip())
            start, blank = at, True
    if not blank or text[at:].strip():
        statements.append(text[start:].strip())
    return statements
