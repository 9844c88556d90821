"""`tradestream chaos`: faults strike the whole system under load, and a checker of its own judges what it says.

1. Start a stack on free ports in a temporary folder, submit market_data, trading and archive, open a session.
2. For each fault, drawn from the seed: strike at a random moment, wait until new orders are answered and archived
   again, hold the load until everything is settled, check.
3. Close the session, check again, read everything a second time, compare every column of ClickHouse.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TypeVar

import click

from infra.stack import terminate_as_interrupt
from jobs.chaos_faults import FAULTS, draw
from jobs.chaos_run import ChaosRun, Options, Struck
from jobs.cli_common import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    META_OVERRIDES,
    OutputPath,
    load_config,
    print_table,
    status,
)

_DEFAULTS = Options()
R = TypeVar("R", bound=ChaosRun)


@click.command()
@click.option("--faults", type=click.IntRange(0, 10_000), default=_DEFAULTS.faults, show_default=True, help="How many.")
@click.option("--seed", type=int, help="Draws the kinds, moments and victims; without it one is made up and printed.")
@click.option(
    "--only",
    "only",
    multiple=True,
    type=click.Choice(list(FAULTS)),
    metavar="KIND",
    help="Only these kinds; repeatable.",
)
@click.option("--list", "listed", is_flag=True, help="List the kinds of faults, and do nothing.")
@click.option(
    "--rate", type=click.FloatRange(1, 2_000), default=_DEFAULTS.rate, show_default=True, help="Orders a second."
)
@click.option(
    "--limit",
    "limit_s",
    type=click.FloatRange(10, 3_600),
    default=_DEFAULTS.limit_s,
    show_default=True,
    help="Seconds a recovery may take, or twice as many when every process has to start.",
)
@click.option(
    "--table", type=OutputPath(path_type=Path), help="Also append a Markdown row for each fault to this file."
)
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON object on the last line of stdout.")
@click.pass_context
def chaos(
    ctx: click.Context,
    faults: int,
    seed: int | None,
    only: tuple[str, ...],
    listed: bool,
    rate: float,
    limit_s: float,
    table: Path | None,
    as_json: bool,
) -> None:
    """Let faults strike a running system, and check that it keeps every promise.

    Starts a stack of its own on free ports, in a temporary folder that is kept when something was found. A steady
    load of orders and ticks goes on while processes are killed, frozen, moved, cut off and fed with poison. After each fault
    the checker, which shares no code with the jobs, goes through all that read_committed consumers were given and
    through ClickHouse. Exit code 1 when a promise was broken or a recovery took longer than --limit.

    \b
    Examples:
      tradestream chaos --faults 2 --seed 7 --json
      tradestream chaos --faults 5 --only kill-broker
    """
    if listed:
        print_table({"kind": "left", "what happens": "left"}, [[kind, text] for kind, (_, text) in FAULTS.items()])
        return
    seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    began = time.monotonic()

    def say(text: str) -> None:
        status(f"[{time.monotonic() - began:7.1f} s] {text}")

    say(f"{faults} faults from seed {seed}")
    rng = random.Random(f"chaos-{seed}")
    kinds = draw(rng, faults, only)
    base = load_config(ctx)
    folder = Path(tempfile.mkdtemp(prefix="tradestream-chaos-"))
    with (
        terminate_as_interrupt(),
        ending(
            ChaosRun(
                base,
                folder,
                Options(faults, seed, rate, _DEFAULTS.ticks, limit_s),
                say,
                settings=ctx.meta.get(META_OVERRIDES, {}),
            ),
            folder,
        ) as run,
    ):
        told = 0
        run.start()
        for number, kind in enumerate(kinds, 1):
            run.supervise(rng.uniform(2.0, 6.0))
            say(f"fault {number} of {faults}: {kind}")
            struck = run.strike(kind, rng)
            say(f"  {_told(struck)}")
            told = _tell_violations(run, told, say)
            if table is not None:
                with table.open("a", encoding="utf-8") as stream:
                    stream.write(_row(number, seed, struck))
            if struck.recovery_s is None:
                break
        else:
            run.finish()
        result = run.result()
        _tell_violations(run, told, say)
        summary = ", ".join(
            f"{name} {result[name]}" for name in ("faults", "violations", "recovery_s_max", "orders", "trades")
        )
        say(summary)
        click.echo(json.dumps(result) if as_json else summary)
    if result["violations"]:
        ctx.exit(EXIT_FAILED)


def _tell_violations(run: ChaosRun, told: int, say: Callable[[str], None]) -> int:
    """Name those that were not told yet; return how many were told in all."""
    found = list(run.ledger.violations)
    for violation in found[told:]:
        say(f"VIOLATION {violation.kind}: {violation.text}")
    return len(found)


def _told(struck: Struck) -> str:
    recovery = "NO RECOVERY" if struck.recovery_s is None else f"recovered after {struck.recovery_s:.1f} s"
    return f"{struck.what}: {recovery}, {struck.violations} violations, {struck.orders:,} orders, {struck.trades:,} trade sides"


def _row(number: int, seed: int, struck: Struck) -> str:
    recovery = "none" if struck.recovery_s is None else f"{struck.recovery_s:.1f}"
    return f"| {seed} | {number} | {struck.kind} | {struck.what} | {recovery} | {struck.orders:,} | {struck.violations} |\n"


@contextlib.contextmanager
def ending(run: R, folder: Path) -> Iterator[R]:
    """A run that is ended whatever happens; the first Ctrl-C cleans up, a second one at once. Logs are kept after failures."""
    keep = interrupted = False
    try:
        yield run
        keep = run.ledger.violation_count > 0
    except KeyboardInterrupt:
        interrupted = True
    except BaseException:
        keep = True
        raise
    finally:
        _close(run)
        if keep:
            run.say(f"logs and data are kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if interrupted:
        raise click.exceptions.Exit(EXIT_INTERRUPTED)


def _close(run: ChaosRun) -> None:
    """Stop threads and stack. An interrupt meanwhile kills the stack's processes, and then stopping is quick."""

    def force(_number: int, _frame: FrameType | None) -> None:
        run.say("stopping at once")
        run.stack.processes.sweep()

    previous = {number: signal.signal(number, force) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        run.say("stopping the stack")
        run.close()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
