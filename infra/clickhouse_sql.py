"""What the gateway must know of a statement before the engine sees it: its tokens, where its data starts, its format.

The lexer follows ClickHouse's: nested comments, doubled and escaped quotes, typographic quotes, heredocs. It never
decides alone whether a statement is safe: `clickhouse_policy` combines it with the engine's own classification.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
      (?P<space>[\s\u00a0\u200b\ufeff]+)
    | (?P<comment>--[^\n]*|\#[ !][^\n]*)
    | (?P<block>/\*)
    | (?P<word>[A-Za-z_][A-Za-z0-9_$]*)
    | (?P<heredoc>\$(?P<tag>[A-Za-z0-9_]*)\$.*?\$(?P=tag)\$)
    | (?P<number>\.?[0-9][A-Za-z0-9_.]*)
    | (?P<string>'(?:[^'\\]|\\.|'')*'|\u2018[^\u2019]*\u2019)
    | (?P<quoted>"(?:[^"\\]|\\.|"")*"|`(?:[^`\\]|\\.|``)*`|\u201c[^\u201d]*\u201d)
    | (?P<symbol>.)
    """,
    re.X | re.S,
)
_BLOCK_EDGE = re.compile(r"/\*|\*/")


@dataclass(frozen=True, slots=True)
class Token:
    """One significant token: kind is word, quoted, string, heredoc, number or symbol; offsets are in characters."""

    kind: str
    text: str
    start: int
    end: int

    def is_word(self, *words: str) -> bool:
        """Whether this is one of the bare words (given in upper case)."""
        return self.kind == "word" and self.text.upper() in words

    @property
    def identifier(self) -> str:
        """The name that a word or a quoted identifier stands for, in lower case; empty for every other token."""
        if self.kind == "word":
            return self.text.lower()
        return self.text[1:-1].lower() if self.kind == "quoted" else ""


def tokens(text: str) -> Iterator[Token]:
    """The significant tokens of a statement, lazily, so that the data of an INSERT is never looked at."""
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        assert found is not None  # The last alternative takes any character.
        kind = found.lastgroup or "symbol"
        if kind == "tag":
            kind = "heredoc"
        position = found.end()
        if kind == "block":
            position = _end_of_comment(text, position)
        elif kind not in ("space", "comment"):
            yield Token(kind, found.group(0), found.start(), position)


def _end_of_comment(text: str, position: int) -> int:
    depth = 1
    while depth:
        edge = _BLOCK_EDGE.search(text, position)
        if edge is None:
            return len(text)
        depth += 1 if edge.group(0) == "/*" else -1
        position = edge.end()
    return position


@dataclass(frozen=True, slots=True)
class InsertWithData:
    """An INSERT whose rows follow in the request: `head` without FORMAT or VALUES, and where the data begins."""

    head: str
    format: str
    data_start: int


def insert_with_data(text: str) -> InsertWithData | None:
    """Recognise `INSERT ... FORMAT x <data>` and `INSERT ... VALUES <data>`; None for every other statement.

    The data begins as in ClickHouse: after the format's name, the blanks behind it, and one line end.
    """
    stream = tokens(text)
    first = next(stream, None)
    if first is None or not first.is_word("INSERT"):
        return None
    depth = 0
    previous = first
    named = False  # The word behind INTO is a name, even when it is called values or format.
    for token in stream:
        if token.text == "(" or token.text == ")":
            depth += 1 if token.text == "(" else -1
        elif depth == 0 and token.kind == "word" and previous.text != ".":
            if not named and token.is_word("INTO", "TABLE", "FUNCTION"):
                pass
            elif not named:
                named = True
            elif token.is_word("SELECT", "WITH", "INFILE"):
                return None
            elif token.is_word("VALUES"):
                return InsertWithData(text[: previous.end], "Values", token.end)
            elif token.is_word("FORMAT"):
                name = next(stream, None)
                if name is None or name.kind != "word":
                    return None
                return InsertWithData(text[: previous.end], name.text, _data_start(text, name.end))
        elif token.kind == "quoted":
            named = True
        previous = token
    return None


def _data_start(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\f":
        position += 1
    if text[position : position + 1] == "\r":
        position += 1
    return position + 1 if text[position : position + 1] == "\n" else position


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement without data: its text up to the last significant token, its tokens and its output format."""

    text: str
    tokens: tuple[Token, ...]
    format: str | None
    format_start: int | None

    @property
    def lead(self) -> str:
        """The first word in upper case, seen through opening parentheses; empty when there is none."""
        for token in self.tokens:
            if token.text != "(":
                return token.text.upper() if token.kind == "word" else ""
        return ""

    def words(self, count: int) -> tuple[str, ...]:
        """The first tokens in upper case."""
        return tuple(token.text.upper() for token in self.tokens[:count])

    def with_outfile(self, path: str, default_format: str) -> str:
        """The same query writing its result into a file, in the format that it asked for."""
        target = f" INTO OUTFILE '{escape(path)}' COMPRESSION 'none' "
        if self.format_start is None:
            return f"{self.text}{target}FORMAT {default_format}"
        return f"{self.text[: self.format_start]}{target}{self.text[self.format_start :]}"


def statement(text: str) -> Statement:
    """Read a whole statement; closing semicolons and comments are cut off."""
    found = list(tokens(text))
    while found and found[-1].text == ";":
        found.pop()
    name, start = None, None
    depth = 0
    for index, token in enumerate(found):
        if token.text in "([":
            depth += 1
        elif token.text in ")]":
            depth -= 1
        elif depth == 0 and token.is_word("FORMAT") and index + 1 < len(found) and found[index + 1].kind == "word":
            follower = found[index + 2] if index + 2 < len(found) else None
            if follower is None or follower.is_word("SETTINGS"):
                name, start = found[index + 1].text, token.start
    return Statement(text[: found[-1].end] if found else "", tuple(found), name, start)


def names(text: str) -> frozenset[str]:
    """A set of names from a text that lists them with blanks between."""
    return frozenset(text.split())


def escape(value: str) -> str:
    """A value as the inside of a single-quoted ClickHouse string."""
    return value.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0")


def quote_identifier(name: str) -> str:
    """A name in backticks."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
