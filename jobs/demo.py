"""`tradestream demo`: a market day through the whole system, and a report that adds up or says what differs.

1. Start a stack of its own, make topics, schemas and tables, submit the jobs.
2. Play the day: reference data, then ticks and orders merged by time; then the close.
3. Wait until everything is processed, committed and archived.
4. Reconcile, measure, try the rules of data quality, report. Exit 1 when something does not add up.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Final

import click
from clickhouse_connect.driver.exceptions import ClickHouseError
from confluent_kafka import KafkaException
from rich.console import Console

from infra.stack import terminate_as_interrupt
from jobs.cli_common import EXIT_FAILED, EXIT_INTERRUPTED, META_OVERRIDES, CliError, load_config, print_json, status
from jobs.demo_display import Display
from jobs.demo_plan import DemoOptions
from jobs.demo_quality import check_quality
from jobs.demo_report import print_report, report_console
from jobs.demo_result import Result, judge
from jobs.demo_run import DemoRun
from jobs.demo_setup import FOLDER, only_demo

REPORT: Final = "report.json"
DEFAULTS: Final = DemoOptions()


class _Speed(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic in newer releases only
    """A multiple of real time, or `max`."""

    name = "N|max"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """0 for max."""
        if value == "max":
            return 0.0
        try:
            speed = float(str(value).removesuffix("x"))
        except ValueError:
            speed = 0.0
        if not 0 < speed < 1e9:
            self.fail(f"{value!r} is neither a positive multiple of real time nor max", param, ctx)
        return speed


@click.command()
@click.option(
    "--ticks", type=click.Path(path_type=Path, exists=True), help="Real ticks: a Lean zip, or a folder of them."
)
@click.option("--speed", type=_Speed(), help="Multiple of real time, or max. [default: the day in under two minutes]")
@click.option("--orders", type=click.IntRange(0, 20_000_000), default=DEFAULTS.orders, show_default=True)
@click.option(
    "--symbols", type=click.IntRange(1, 2_000), default=DEFAULTS.symbols, show_default=True, help="If simulated."
)
@click.option("--accounts", type=click.IntRange(1, 20_000), default=DEFAULTS.accounts, show_default=True)
@click.option("--seed", type=int, default=DEFAULTS.seed, show_default=True, help="Another seed, another day.")
@click.option("--keep", is_flag=True, help="Leave the stack up afterwards, to look around.")
@click.option("--check", is_flag=True, help="Play nothing: reconcile again what a demo with --keep has left.")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON on stdout; progress goes to stderr.")
@click.pass_context
def demo(
    ctx: click.Context,
    ticks: Path | None,
    speed: float | None,
    orders: int,
    symbols: int,
    accounts: int,
    seed: int,
    keep: bool,
    check: bool,
    as_json: bool,
) -> None:
    """Play a market day through the whole system.

    Starts Kafka, a schema registry, Flink and ClickHouse in a folder and on ports of its own, submits the jobs, plays a
    simulated day (or --ticks) with a known share of bad input, and reports what happened and whether it adds up:
    every order, trade, share and cent. Ctrl-C ends it cleanly at any moment; a second one at once.

    \b
    Examples:
      tradestream demo
      tradestream demo --keep --orders 100000
      tradestream demo --ticks ../shared/data/lean_tick --speed max

    Exit codes: 0 it adds up, 1 it does not or something failed, 130 interrupted.
    """
    options = DemoOptions(orders, symbols, accounts, seed, speed, ticks)
    base = load_config(ctx)
    display = Display()
    run = DemoRun(base, ctx.meta.get(META_OVERRIDES, {}), options, display)
    with terminate_as_interrupt(), only_demo(base.state_dir / FOLDER), _ending(run, keep=keep or check) as ending:
        with display:
            if check:
                run.attach()
            else:
                run.start()
                run.play()
                run.drain()
            display.begin("Reconciling", "reconciling")
            result = judge(run.config, run.watch, run.archive, run.played)
            display.begin("Trying the rules of data quality", "quality")
            quality = check_quality(run.config, run.archive.counts())
            display.end()
            result = dataclasses.replace(result, checks=(*result.checks, quality), durations=dict(display.durations))
        ending.result = result
        file = run.config.state_dir / REPORT
        file.write_text(json.dumps(result.as_json(), indent=2) + "\n", encoding="utf-8")
        if as_json:
            print_json(result.as_json())
        else:
            print_report(report_console(Console()), result, kept=keep or check)
    if not result.ok:
        ctx.exit(EXIT_FAILED)


class _Ending:
    """What is known when the demo ends."""

    def __init__(self) -> None:
        self.result: Result | None = None


@contextlib.contextmanager
def _ending(run: DemoRun, *, keep: bool) -> Iterator[_Ending]:
    """Stop what was started, whatever happens; a second interrupt does it at once. Failures say where to look."""
    ending = _Ending()
    interrupted = failed = False
    try:
        yield ending
    except KeyboardInterrupt:
        interrupted = True
    except (KafkaException, ClickHouseError) as error:
        failed = True
        raise CliError(f"{type(error).__name__}: {error}") from error
    except BaseException:
        failed = True
        raise
    finally:
        result = ending.result
        # A stack without a result is of no use to anybody, so --keep counts only with one. What failed is kept on disk.
        _end(run, keep=keep and result is not None, wipe=interrupted or (result is not None and result.ok))
        if failed:
            status(f"the logs are in {run.base.state_dir / FOLDER / 'logs'}")
    if interrupted:
        raise click.exceptions.Exit(EXIT_INTERRUPTED)


def _end(run: DemoRun, *, keep: bool, wipe: bool) -> None:
    """Stop threads and stack. An interrupt meanwhile kills the stack's processes, and then stopping is quick."""

    def force(_number: int, _frame: FrameType | None) -> None:
        status("stopping at once")
        run.kill()

    previous = {number: signal.signal(number, force) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        run.stop_players()
        if not keep:
            status("stopping the stack (Ctrl-C: at once) ...")
            run.close(wipe=wipe)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
