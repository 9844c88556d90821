"""`tradestream produce`: ticks, a simulated market, orders and reference data into Kafka."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO

import click

from jobs.cli_common import EXIT_FAILED, CliError, load_config, status
from jobs.cli_play import play, speed_option
from jobs.cli_produce_feeds import itch, vendor
from jobs.produce import Encoded, LineReader


@click.group()
def produce() -> None:
    """Write ticks, recorded feeds, orders or reference data to Kafka.

    Everything is written in the wire format of the catalogue, keyed as the catalogue says; schemas that are not
    registered yet are registered. --speed 1 is the pace of the market, 60 a minute of it each second, 0 (the default) as
    fast as Kafka takes it.

    \b
    Example:
      tradestream produce simulate --symbols 20 --orders 5000 --speed 60
    """


produce.add_command(itch)
produce.add_command(vendor)


@produce.command()
@click.option("--ticks", "paths", multiple=True, required=True, type=click.Path(path_type=Path), metavar="PATH")
@click.option("--longest-gap", default=5.0, show_default=True, help="Seconds that a night or a quiet hour may take.")
@speed_option
@click.pass_context
def ticks(ctx: click.Context, paths: Sequence[Path], longest_gap: float, speed: float) -> None:
    """Play real tick files in the Lean format.

    PATH is a zip such as 20131007_quote.zip or a folder of them; --ticks may be repeated. The lines go to raw-feed
    untouched, merged by time.

    \b
    Example:
      tradestream produce ticks --ticks data/equity/usa/tick --speed 60
    """
    from infra.feeds.items import tick_items
    from infra.feeds.lean import find_lean_files, read_lean
    from infra.feeds.publisher import feed_schema_ids

    files = find_lean_files(paths)
    status(f"{len(files)} tick files of {len({file.symbol for file in files})} symbols")
    config = load_config(ctx)
    ids = feed_schema_ids(config.registry)
    play(ctx, config, tick_items(read_lean(files), ids), speed, longest_gap)


@produce.command()
@click.option("--symbols", type=click.IntRange(1), default=40, show_default=True, help="Invented symbols.")
@click.option("--events", type=click.IntRange(0), default=200_000, show_default=True, help="Raw feed records.")
@click.option("--exchanges", type=click.IntRange(1, 10), default=5, show_default=True, help="Exchanges that quote.")
@click.option("--orders", type=click.IntRange(0), default=0, show_default=True, help="Order commands beside them.")
@click.option("--accounts", type=click.IntRange(1), default=300, show_default=True, help="Accounts that order.")
@click.option("--bad-share", type=click.FloatRange(0, 0.5), default=0.002, show_default=True, help="Bad feed records.")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), default="2013-10-07", show_default=True, help="Trading day.")
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same bytes.")
@click.option("--run-id", default="", help="Part of every order id; a second run needs another.")
@speed_option
@click.pass_context
def simulate(
    ctx: click.Context,
    symbols: int,
    events: int,
    exchanges: int,
    orders: int,
    accounts: int,
    bad_share: float,
    day: datetime,
    seed: int,
    run_id: str,
    speed: float,
) -> None:
    """Play an invented market day.

    Quotes and trades of several exchanges go to raw-feed, with a known share of bad records. With --orders, instruments,
    accounts and sessions go to reference-data first, and order commands to orders as the day goes on.

    \b
    Example:
      tradestream produce simulate --symbols 20 --seed 7 --events 100000 --orders 5000
    """
    from infra.feeds.items import tick_items
    from infra.feeds.order_flow import OrderFlow
    from infra.feeds.publisher import feed_schema_ids
    from infra.feeds.sessions import trading_day
    from infra.feeds.simulator import MarketSimulator

    try:
        session = trading_day(day.date())
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--day") from error
    config = load_config(ctx)
    ids = feed_schema_ids(config.registry)
    market = MarketSimulator(session, seed, symbols, events, exchanges, bad_share)
    items: Iterable[Encoded]
    if orders:
        flow = OrderFlow([session], market.prior_closes(), ids, seed, orders, accounts, run_id=run_id)
        items = flow.items(market.ticks())
    else:
        items = tick_items(market.ticks(), ids)
    play(ctx, config, items, speed, 5.0)


def _lines_command(name: str, topic: str, what: str, example: str) -> None:
    """Add `produce NAME`, which writes JSON lines to `topic`."""

    @produce.command(name)
    @click.option(
        "--file", "source", type=click.File("r", encoding="utf-8"), required=True, help="JSON lines; -: stdin."
    )
    @click.option("--strict", is_flag=True, help="Write nothing when a line is bad.")
    @speed_option
    @click.pass_context
    def command(ctx: click.Context, source: IO[str], strict: bool, speed: float) -> None:
        from infra.feeds.publisher import feed_schema_ids

        def report(number: int, reason: str) -> None:
            click.echo(f"line {number}: {reason}", err=True)

        config = load_config(ctx)
        reader = LineReader(topic, feed_schema_ids(config.registry)[topic], report)
        items: Iterable[Encoded] = reader.items(source)
        if strict:
            items = list(items)
            if reader.bad:
                raise CliError(f"{reader.bad} bad lines, nothing was written (--strict)")
        # A read from a pipe can only be ended by an exception, so Ctrl-C is left to raise one.
        delivered = play(ctx, config, items, speed, 5.0, patient=source is not sys.stdin)
        if reader.bad:
            status(f"{reader.bad} bad lines were skipped")
        if reader.bad and not delivered:
            raise SystemExit(EXIT_FAILED)

    command.help = f"""Write {what} from JSON lines.

    A line is a message in the form of schemas/examples/{topic}/valid, or a line of `tradestream tail {topic} --json`. A
    bad line is reported with its number and skipped; with --strict nothing is written then.

    \b
    Example:
      {example}
    """


_lines_command("orders", "orders", "order commands", "tradestream produce orders --file orders.jsonl --strict")
_lines_command("reference", "reference-data", "reference data", "tradestream produce reference --file accounts.jsonl")
_lines_command("controls", "controls", "controls", "echo '{...}' | tradestream produce controls --file -")
