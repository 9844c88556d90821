"""`tradestream match`: order commands from a file through the matching engine, with no cluster."""

from __future__ import annotations

import contextlib
import errno
import gc
import gzip
import io
import os
import shutil
import stat
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final, TextIO, cast

import click

from jobs.cli_common import CliError
from jobs.match_csv import RULES, MatchInputError, Rules, Summary, match_stream
from udfs.domain.match_csv import COMMAND_HEADER, REPORT_HEADER

_GZIP: Final = b"\x1f\x8b"
_STREAM: Final = "-"
_BUFFER: Final = 1 << 17
_PROGRESS_S: Final = 0.5

_HELP = f"""Run order commands through the matching engine and write what happens to them.

IN.csv has this header (prices are decimal text, empty where they do not apply):

\b
  {COMMAND_HEADER}

command is NEW, CANCEL or REPLACE; side BUY, SELL or SELL_SHORT; order_type MARKET, LIMIT, STOP or STOP_LIMIT;
time_in_force DAY, GTC, IOC or FOK (and OPG, CLS with us-equities); stp NONE, EXPIRE_TAKER, EXPIRE_MAKER, EXPIRE_BOTH
or DECREMENT. A REPLACE gives the order's new total quantity and price. Times are UTC nanoseconds, in order.

OUT.csv has this header, one line for each event, in the order in which they happened:

\b
  {REPORT_HEADER}

event is ACCEPTED, TRADE, CANCELLED, REPLACED, TRIGGERED, EXPIRED or REJECTED. A row that is wrong is answered by
REJECTED with its reason, never by a crash. OUT.csv appears when all is done; what was there before stays until then.

\b
Example:
  tradestream match --commands orders.csv --reports reports.csv
  zcat orders.csv.gz | tradestream match --commands - --reports - | grep TRADE
"""


@click.command(help=_HELP, short_help="Run order commands through the matching engine.")
@click.option(
    "--commands", "source", required=True, metavar="IN.csv", help="Commands; - for standard input; gzip works."
)
@click.option(
    "--reports", "target", required=True, metavar="OUT.csv", help="Reports; - for standard output; .gz is compressed."
)
@click.option(
    "--rules",
    type=click.Choice(RULES),
    default="bare",
    show_default=True,
    help="bare: the book alone, any symbol and account, always open. us-equities: sessions, auctions, ticks, collars, "
    "price bands, risk.",
)
def match(source: str, target: str, rules: Rules) -> None:
    """Run commands through the engine."""
    _refuse_one_file(source, target)
    try:
        with _reading(source) as lines, _writing(target) as out, _without_collector():
            started = time.monotonic()
            summary = match_stream(lines, out, rules, progress=_progress())
    except MatchInputError as error:
        raise CliError(f"{_named(source, 'standard input')}: {error}") from error
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            raise  # Nobody reads any more, which is no failure.
        raise CliError(
            f"cannot read {_named(source, 'standard input')} or write {_named(target, 'standard output')}: {error}"
        ) from error
    _report(summary, time.monotonic() - started)


def _named(path: str, stream: str) -> str:
    return stream if path == _STREAM else path


def _refuse_one_file(source: str, target: str) -> None:
    """Reports must not go where the commands come from, by whatever name. Raises click.UsageError."""

    def identity(path: str, stream: TextIO) -> tuple[int, int] | None:
        try:
            found = os.fstat(stream.fileno()) if path == _STREAM else os.stat(path)
        except (OSError, ValueError):
            return None
        return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None

    commands = identity(source, sys.stdin)
    if commands is not None and commands == identity(target, sys.stdout):
        raise click.UsageError("commands and reports are the same file; give --reports another name")


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """The engine makes no reference cycles, and looking for them would take a fifth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextlib.contextmanager
def _reading(source: str) -> Iterator[TextIO]:
    """The text of a file or of standard input, unpacked when it is gzip, whatever its name."""
    with contextlib.ExitStack() as stack:
        if source == _STREAM:
            raw = io.BufferedReader(cast(io.RawIOBase, sys.stdin.buffer), _BUFFER)
            stack.callback(raw.detach)
        else:
            file = Path(source)
            if not file.exists():
                raise CliError(f"there is no file {source}")
            if file.is_dir():
                raise CliError(f"{source} is a folder, not a file of commands")
            raw = stack.enter_context(io.BufferedReader(cast(io.RawIOBase, file.open("rb", buffering=0)), _BUFFER))
        binary: IO[bytes] = raw
        if raw.peek(2)[:2] == _GZIP:
            binary = io.BufferedReader(cast(io.RawIOBase, stack.enter_context(gzip.open(raw))), _BUFFER)
        # A row with bytes that are no UTF-8 is rejected, and its bytes come out as they went in.
        text = io.TextIOWrapper(binary, encoding="utf-8", errors="surrogateescape", newline="")
        stack.callback(text.detach)
        yield text


@contextlib.contextmanager
def _writing(target: str) -> Iterator[TextIO]:
    """A file, packed when its name ends in .gz, or standard output.

    A file is written beside its place, and takes it when it is complete; after an error nothing is left.
    """
    if target == _STREAM:
        with _text(sys.stdout.buffer) as out:
            yield out
        return
    path = Path(target)
    if path.is_dir():
        raise CliError(f"{target} is a folder; give --reports the name of a file")
    if not path.parent.is_dir():
        raise CliError(f"there is no folder {path.parent} to write {path.name} into")
    # A device or a pipe takes what comes; only a file can be put into its place later.
    in_place = path.exists() and not path.is_file()
    # A link goes on pointing to the file that is replaced.
    path = path if in_place else path.resolve()
    partial = path if in_place else path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb", buffering=_BUFFER) as raw:
            if target.endswith(".gz"):
                # Without a name and a time in its head: the same commands give the same bytes.
                packed = cast(IO[bytes], gzip.GzipFile("", "wb", compresslevel=3, fileobj=raw, mtime=0))
                with packed, _text(packed) as out:
                    yield out
            else:
                with _text(raw) as out:
                    yield out
        if not in_place:
            if path.exists():
                shutil.copymode(path, partial)
            partial.replace(path)
    finally:
        if not in_place:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _text(binary: IO[bytes]) -> Iterator[TextIO]:
    """Text into a binary stream, which stays open."""
    text = io.TextIOWrapper(binary, encoding="utf-8", errors="surrogateescape", newline="", write_through=True)
    try:
        yield text
        text.flush()
    finally:
        with contextlib.suppress(OSError):
            text.detach()


def _progress() -> Callable[[int], None] | None:
    """A line on the terminal that counts commands; none when nobody looks."""
    if not sys.stderr.isatty():
        return None
    shown = time.monotonic()

    def show(done: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown >= _PROGRESS_S:
            shown = now
            click.echo(f"\r{done:,} commands", nl=False, err=True)

    return show


def _report(summary: Summary, seconds: float) -> None:
    """The result, for people, on standard error."""
    rate = summary.commands / seconds if seconds > 0 else 0.0
    end = "\r" if sys.stderr.isatty() else ""
    click.echo(
        f"{end}{summary.commands:,} commands, {summary.trades:,} trades, {summary.rejected:,} rejected, "
        f"{summary.live:,} orders open at the end; {seconds:.1f} s, {rate:,.0f} commands/s",
        err=True,
    )
    if summary.malformed:
        click.echo(f"{summary.malformed:,} rows could not be read (REJECTED, VALIDATION_MALFORMED)", err=True)
