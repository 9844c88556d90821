"""`tradestream produce itch` and `produce vendor`: recorded feeds into raw-feed, untouched; jobs/feeds.md describes them."""

from __future__ import annotations

import re
import sys
from datetime import datetime
from pathlib import Path
from typing import IO

import click

from jobs.cli_common import EXIT_FAILED, load_config, status
from jobs.cli_play import play, speed_option

_FEED_NAME = r"[A-Za-z0-9._-]{1,80}"


@click.command()
@click.option("--file", "path", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--day", required=True, type=click.DateTime(["%Y-%m-%d"]), help="Trading day of the file, in New York.")
@click.option(
    "--source",
    type=click.Choice(["itch", "itch-bx", "itch-psx"]),
    default="itch",
    show_default=True,
    help="Market: Nasdaq, BX or PSX.",
)
@speed_option
@click.pass_context
def itch(ctx: click.Context, path: Path, day: datetime, source: str, speed: float) -> None:
    """Play a recorded day of Nasdaq TotalView-ITCH 5.0.

    The file is Nasdaq's: each message behind its length in 2 bytes, plain or gzipped. A day that is played again is
    dropped as a copy by the market data job.

    \b
    Example:
      tradestream produce itch --file 01302020.NASDAQ_ITCH50.gz --day 2020-01-30 --speed 1
    """
    from infra.feeds.itch_router import read_itch, route_all
    from infra.feeds.items import tick_items
    from infra.feeds.publisher import feed_schema_ids

    config = load_config(ctx)
    ids = feed_schema_ids(config.registry)
    play(ctx, config, tick_items(route_all(read_itch(path), day.date(), source), ids), speed, 5.0)


@click.command()
@click.option("--file", "source", type=click.File("rb"), required=True, help="JSON lines; -: stdin.")
@click.option("--feed", default="", help="Name of the feed; the file's name by default, needed with stdin.")
@speed_option
@click.pass_context
def vendor(ctx: click.Context, source: IO[bytes], feed: str, speed: float) -> None:
    """Play a vendor's JSON messages, one a line.

    Lines go out as they are, and the market data job judges them; one that names no symbol cannot be routed, is reported
    with its number and skipped. A feed that is played again under its name is dropped as a copy by the job.

    \b
    Example:
      tradestream produce vendor --file quotes.jsonl --feed 2026-11-20
    """
    from infra.feeds.items import tick_items
    from infra.feeds.publisher import feed_schema_ids
    from infra.feeds.vendor_router import VendorRouter, route_lines

    from_stdin = source is sys.stdin.buffer
    name = feed or ("" if from_stdin else Path(source.name).name)
    if not re.fullmatch(_FEED_NAME, name):
        raise click.BadParameter(
            f"{name!r} is not 1 to 80 letters, digits, dots, hyphens or underscores", param_hint="--feed"
        )
    bad = 0

    def report(number: int, reason: str) -> None:
        nonlocal bad
        bad += 1
        click.echo(f"line {number}: {reason}", err=True)

    config = load_config(ctx)
    ids = feed_schema_ids(config.registry)
    items = tick_items(route_lines(source, VendorRouter(name), report), ids)
    # A read from a pipe can only be ended by an exception, so Ctrl-C is left to raise one.
    delivered = play(ctx, config, items, speed, 5.0, patient=not from_stdin)
    if bad:
        status(f"{bad} bad lines were skipped")
    if bad and not delivered:
        raise SystemExit(EXIT_FAILED)
