"""Files that commands read and write: `-` for the standard streams, gzip, and results that are there whole or not."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, TextIO, cast

import click

from jobs.cli_common import CliError

STREAM: Final = "-"
"""The name of the standard streams."""
_GZIP: Final = b"\x1f\x8b"
_LEVEL: Final = 3
_BUFFER: Final = 1 << 17


@contextlib.contextmanager
def reading(source: str, errors: str = "strict") -> Iterator[TextIO]:
    """The text of a file or of standard input (`-`), unpacked when it is gzip, whatever its name.

    errors: what bytes that are no UTF-8 become, as in `open`. Raises click.UsageError when there is no such file.
    """
    with contextlib.ExitStack() as stack:
        if source == STREAM:
            raw = io.BufferedReader(cast(io.RawIOBase, sys.stdin.buffer), _BUFFER)
            stack.callback(raw.detach)
        else:
            file = Path(source)
            if not file.exists():
                raise click.UsageError(f"there is no file {source}")
            if file.is_dir():
                raise click.UsageError(f"{source} is a folder, not a file")
            raw = stack.enter_context(io.BufferedReader(cast(io.RawIOBase, file.open("rb", buffering=0)), _BUFFER))
        binary: IO[bytes] = raw
        if raw.peek(2)[:2] == _GZIP:
            binary = io.BufferedReader(cast(io.RawIOBase, stack.enter_context(gzip.open(raw))), _BUFFER)
        text = io.TextIOWrapper(binary, encoding="utf-8", errors=errors, newline="")
        stack.callback(text.detach)
        yield text


@contextlib.contextmanager
def replacing(target: str) -> Iterator[TextIO]:
    """A file, packed when its name ends in .gz, that takes its name when all of it is written; `-`: standard output.

    When the body raises, the file that was there before stays as it was. What is no regular file (a pipe, a device) is
    written as it comes, like standard output: there is nothing to rename. What was read as surrogate escapes is written
    as the bytes that it was. Raises CliError when there can be no such file.
    """
    if target == STREAM:
        with _text(sys.stdout.buffer) as out:
            yield out
        return
    path = Path(target)
    if path.is_dir():
        raise CliError(f"cannot write {target}: it is a folder")
    if not path.parent.is_dir():
        raise CliError(f"cannot write {target}: there is no folder {path.parent}")
    if path.exists() and not path.is_file():
        with path.open("wb", buffering=_BUFFER) as device, _text(device) as out:
            yield out
        return
    # A link goes on pointing to the file that is replaced.
    path = path.resolve()
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with _interruptible():
        try:
            with partial.open("xb", buffering=_BUFFER) as raw, _packed(raw, target) as binary, _text(binary) as out:
                yield out
            if path.exists():
                shutil.copymode(path, partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM is like Ctrl-C within this block, so that nothing is left half written."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _packed(raw: IO[bytes], target: str) -> Iterator[IO[bytes]]:
    """Where to write the bytes of a file: into gzip when its name says so."""
    if not target.endswith(".gz"):
        yield raw
        return
    # Without a name and a time in its head, so that the same contents are the same bytes.
    with gzip.GzipFile("", "wb", compresslevel=_LEVEL, fileobj=raw, mtime=0) as packed:
        yield cast(IO[bytes], packed)


@contextlib.contextmanager
def _text(binary: IO[bytes]) -> Iterator[TextIO]:
    """Text into a binary stream, which stays open; lines end as they are given."""
    text = io.TextIOWrapper(binary, encoding="utf-8", errors="surrogateescape", newline="")
    try:
        yield text
        text.flush()
    finally:
        with contextlib.suppress(OSError):
            text.detach()
