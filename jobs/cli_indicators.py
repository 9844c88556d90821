"""`tradestream indicators`: technical indicators of bars from a file, with no cluster."""

from __future__ import annotations

import sys
import time
import zlib
from collections.abc import Callable
from typing import Final

import click

from jobs.cli_files import reading, replacing
from jobs.indicators_csv import BAR_HEADER, BarHeaderError, BarRowError, indicator_stream
from udfs.domain.indicator_specs import EXAMPLE, FORMS, IndicatorError, IndicatorSet, parse_indicators

_PROGRESS_S: Final = 0.5
_ALLOWED: Final = "\n".join(f"  {form:<24} {meaning}" for _, form, meaning in FORMS)

_HELP = f"""Compute technical indicators of bars, as TA-Lib defines them.

IN.csv has this header; bars come in the order of time, and a timestamp may be any text, it is copied:

  {BAR_HEADER}

OUT.csv has a line for each bar: its timestamp and a column for each output, in the order asked for (sma_20,
bbands_20_2_upper, macd_12_26_9_signal ...). A value is empty until it is defined; numbers have full double precision.
OUT.csv appears when all of it is written.

\b
Indicators, N being a number of bars:
{_ALLOWED}

A session of vwap is a day: the date that the timestamp begins with, or the date in New York when the time is absolute
(ISO with an offset or Z, or a number since the epoch).

\b
Example:
  tradestream indicators --bars bars.csv --out values.csv --indicators sma:20,rsi:14,bbands:20:2
  zcat bars.csv.gz | tradestream indicators --bars - --out - --indicators vwap
"""


@click.command(help=_HELP, short_help="Compute technical indicators of bars from a file.")
@click.option("--bars", "source", required=True, metavar="IN.csv", help="Bars; - for standard input; gzip works.")
@click.option(
    "--out", "target", required=True, metavar="OUT.csv", help="Values; - for standard output; .gz is compressed."
)
@click.option("--indicators", "wanted", required=True, metavar="LIST", help=f"Indicators, e.g. {EXAMPLE}")
def indicators(source: str, target: str, wanted: str) -> None:
    """Run bars through the indicators."""
    try:
        engine = IndicatorSet(parse_indicators(wanted))
    except IndicatorError as error:
        raise click.UsageError(f"{error}.\nIndicators are:\n{_ALLOWED}\nExample: --indicators {EXAMPLE}") from error
    try:
        with reading(source) as lines, replacing(target) as out:
            started = time.monotonic()
            bars = indicator_stream(lines, out, engine, progress=_progress())
    except BarHeaderError as error:
        raise click.UsageError(f"{source}: {error}") from error
    except BarRowError as error:
        raise click.ClickException(f"{source}: {error}") from error
    except BrokenPipeError:
        raise  # whoever reads our output has seen enough
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise click.ClickException(f"cannot read {source} or write {target}: {error}") from error
    _report(bars, len(engine.columns), time.monotonic() - started)


def _progress() -> Callable[[int], None] | None:
    """A line on the terminal that counts bars; none when nobody looks."""
    if not sys.stderr.isatty():
        return None
    shown = time.monotonic()

    def show(done: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown >= _PROGRESS_S:
            shown = now
            click.echo(f"\r{done:,} bars", nl=False, err=True)

    return show


def _report(bars: int, columns: int, seconds: float) -> None:
    """The result, for people, on standard error."""
    rate = bars / seconds if seconds > 0 else 0.0
    end = "\r" if sys.stderr.isatty() else ""
    click.echo(f"{end}{bars:,} bars, {columns} columns; {seconds:.1f} s, {rate:,.0f} bars/s", err=True)
