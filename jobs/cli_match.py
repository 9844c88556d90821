"""`tradestream match`: order commands from a file through the matching engine, with no cluster."""

from __future__ import annotations

import contextlib
import gc
import os
import stat
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Final, TextIO

import click

from jobs.cli_common import CliError
from jobs.cli_files import STREAM, reading, replacing
from jobs.match_csv import RULES, MatchInputError, Rules, Summary, match_stream
from udfs.domain.match_csv import COMMAND_HEADER, REPORT_HEADER

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
        # A row with bytes that are no UTF-8 is rejected, and its bytes come out as they went in.
        with reading(source, "surrogateescape") as lines, replacing(target) as out, _without_collector():
            started = time.monotonic()
            summary = match_stream(lines, out, rules, progress=_progress())
    except MatchInputError as error:
        raise click.UsageError(f"{_named(source, 'standard input')}: {error}") from error
    except BrokenPipeError:
        raise  # Nobody reads any more, which is no failure.
    except (OSError, EOFError, zlib.error) as error:
        raise CliError(
            f"cannot read {_named(source, 'standard input')} or write {_named(target, 'standard output')}: {error}"
        ) from error
    _report(summary, time.monotonic() - started)


def _named(path: str, stream: str) -> str:
    return stream if path == STREAM else path


def _refuse_one_file(source: str, target: str) -> None:
    """Reports must not go where the commands come from, by whatever name. Raises click.UsageError."""

    def identity(path: str, stream: TextIO) -> tuple[int, int] | None:
        try:
            found = os.fstat(stream.fileno()) if path == STREAM else os.stat(path)
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
