"""What the commands of `tradestream produce` share: pace, progress, an orderly end, and the summary."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import click

from jobs.cli_common import EXIT_INTERRUPTED, F, status
from jobs.config import Config
from jobs.produce import Encoded

if TYPE_CHECKING:
    from infra.feeds.publisher import Progress, Published


def speed_option(command: F) -> F:
    """Add ``--speed`` as the argument `speed`."""
    return click.option(
        "--speed",
        type=click.FloatRange(0),
        default=0.0,
        show_default=True,
        help="Market seconds a second; 0: no pacing.",
    )(command)


def play(
    ctx: click.Context, config: Config, items: Iterable[Encoded], speed: float, longest_gap: float, patient: bool = True
) -> int:
    """Publish with progress and return how many were delivered; Ctrl-C stops in order, a second one at once."""
    from infra.feeds.publisher import Publisher

    stop = threading.Event()
    publisher = Publisher(config.kafka, stop)
    with _stopping(stop) if patient else contextlib.nullcontext():
        done = publisher.play(items, speed, _progress_line(), longest_wait_s=longest_gap)
    _summary(done)
    if done.stopped:
        status("interrupted")
        ctx.exit(EXIT_INTERRUPTED)
    return done.total


@contextlib.contextmanager
def _stopping(stop: threading.Event) -> Iterator[None]:
    def handle(_number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _progress_line() -> Callable[[Progress], None]:
    """One line that is overwritten on a terminal; elsewhere a line every ten seconds."""
    from jobs.tail import format_time

    terminal = sys.stderr.isatty()
    told = 0.0

    def show(progress: Progress) -> None:
        nonlocal told
        line = f"{progress.sent:,} records, {progress.rate:,.0f}/s, market time "
        line += format_time(progress.event_time_ns, utc=False)[:19] if progress.event_time_ns else "-"
        if terminal:
            click.echo(f"\r\x1b[K{line}", err=True, nl=False)
        elif progress.elapsed_s - told >= 10:
            told = progress.elapsed_s
            status(line)

    return show


def _summary(done: Published) -> None:
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", err=True, nl=False)
    parts = ", ".join(f"{count:,} to {topic}" for topic, count in done.delivered.items()) or "nothing"
    rate = done.total / done.elapsed_s if done.elapsed_s > 0 else 0.0
    click.echo(f"delivered {parts} in {done.elapsed_s:.1f} s ({rate:,.0f}/s)")
