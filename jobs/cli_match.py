"""`tradestream match`: order commands from a file through the matching engine, with no cluster."""

from __future__ import annotations

import contextlib
import gzip
import io
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TextIO, cast

import click

from jobs.match_csv import RULES, MatchInputError, Rules, Summary, match_stream
from udfs.domain.match_csv import COMMAND_HEADER, REPORT_HEADER

_GZIP: Final = b"\x1f\x8b"
_PROGRESS_S: Final = 0.5

_HELP = f"""Run order commands through the matching engine and write what happens to them.

IN.csv has this header (prices are decimal text, empty where they do not apply):

  {COMMAND_HEADER}

command is NEW, CANCEL or REPLACE; side BUY, SELL or SELL_SHORT; order_type MARKET, LIMIT, STOP or STOP_LIMIT;
time_in_force DAY, GTC, IOC or FOK (and OPG, CLS with us-equities); stp NONE, EXPIRE_TAKER, EXPIRE_MAKER, EXPIRE_BOTH
or DECREMENT. A REPLACE gives the order's new total quantity and price. Times are UTC nanoseconds, in order.

OUT.csv has this header, one line for each event, in the order in which they happened:

  {REPORT_HEADER}

event is ACCEPTED, TRADE, CANCELLED, REPLACED, TRIGGERED, EXPIRED or REJECTED. A row that is wrong is answered by
REJECTED with its reason, never by a crash.

\b
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
    try:
        with _reading(source) as lines, _writing(target) as out:
            started = time.monotonic()
            summary = match_stream(lines, out, rules, progress=_progress())
    except MatchInputError as error:
        raise click.UsageError(f"{source}: {error}") from error
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise click.ClickException(f"cannot read {source} or write {target}: {error}") from error
    _report(summary, time.monotonic() - started)


@contextlib.contextmanager
def _reading(source: str) -> Iterator[TextIO]:
    """The text of a file or of standard input, unpacked when it is gzip, whatever its name."""
    with contextlib.ExitStack() as stack:
        if source == "-":
            raw = io.BufferedReader(cast(io.RawIOBase, sys.stdin.buffer))
        else:
            if not Path(source).exists():
                raise click.UsageError(f"there is no file {source}")
            raw = cast(io.BufferedReader, stack.enter_context(Path(source).open("rb")))
        packed = raw.peek(2)[:2] == _GZIP
        binary = stack.enter_context(gzip.open(raw)) if packed else raw
        yield io.TextIOWrapper(cast(io.BufferedReader, binary), encoding="utf-8", newline="")


@contextlib.contextmanager
def _writing(target: str) -> Iterator[TextIO]:
    """A file, packed when its name ends in .gz, or standard output."""
    if target == "-":
        yield sys.stdout
        sys.stdout.flush()
    elif target.endswith(".gz"):
        with gzip.open(target, "wt", encoding="utf-8", newline="", compresslevel=3) as packed:
            yield cast(TextIO, packed)
    else:
        with Path(target).open("w", encoding="utf-8", newline="") as plain:
            yield plain


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
