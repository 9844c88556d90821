"""Files that commands read and write: `-` for the standard streams, gzip, and results that are there whole or not."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TextIO, cast

import click

_GZIP: Final = b"\x1f\x8b"
_LEVEL: Final = 3


@contextlib.contextmanager
def reading(source: str) -> Iterator[TextIO]:
    """The text of a file or of standard input (`-`), unpacked when it is gzip, whatever its name.

    Raises click.UsageError when there is no such file.
    """
    with contextlib.ExitStack() as stack:
        raw: io.BufferedReader[Any]
        if source == "-":
            raw = io.BufferedReader(cast(io.RawIOBase, sys.stdin.buffer))
        else:
            if not Path(source).exists():
                raise click.UsageError(f"there is no file {source}")
            raw = stack.enter_context(Path(source).open("rb"))
        packed = raw.peek(2)[:2] == _GZIP
        binary = stack.enter_context(gzip.open(raw)) if packed else raw
        yield io.TextIOWrapper(cast(io.BufferedReader, binary), encoding="utf-8", newline="")


@contextlib.contextmanager
def replacing(target: str) -> Iterator[TextIO]:
    """A file, packed when its name ends in .gz, that takes its name when all of it is written; `-`: standard output.

    When the body raises, the file that was there before stays as it was. What is no regular file (a pipe, a device) is
    written as it comes, like standard output: there is nothing to rename.
    """
    if target == "-":
        yield sys.stdout
        sys.stdout.flush()
        return
    # A link goes on pointing to the file that is replaced.
    path = Path(target).resolve()
    if path.exists() and not path.is_file():
        with _opened(path, "w", packed=False) as stream:
            yield stream
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with _opened(partial, "x", packed=target.endswith(".gz")) as stream:
            yield stream
        if path.exists():
            partial.chmod(stat.S_IMODE(path.stat().st_mode))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _opened(path: Path, mode: str, *, packed: bool) -> TextIO:
    """A text file for writing; lines end as they are given."""
    if packed:
        return cast(TextIO, gzip.open(path, f"{mode}t", encoding="utf-8", newline="", compresslevel=_LEVEL))
    return cast(TextIO, path.open(mode, encoding="utf-8", newline=""))
