"""`tradestream stack`: the local stack from the command line. jobs/cli.py mounts the group."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

from infra.artifacts import ArtifactError
from infra.stack import ComponentStatus, Stack, StackError, terminate_as_interrupt
from jobs.config import Config, ConfigError

F = TypeVar("F", bound=Callable[..., Any])
_COLOURS = {"healthy": "green", "unhealthy": "yellow", "dead": "red", "stopped": "dim"}


def _stack_options(command: F) -> F:
    """The options that every subcommand has: which stack it speaks of."""
    command = click.option(
        "--state-dir", type=click.Path(path_type=Path), help="Folder of the stack's data [default: .tradestream]."
    )(command)
    return click.option("--port-offset", type=int, help="Add this to every port, to run beside another checkout.")(
        command
    )


def _stack(state_dir: Path | None, port_offset: int | None, **overrides: object) -> Stack:
    """The stack that the command's own options and those before the word `stack` speak of (jobs/cli_common.py)."""
    context = click.get_current_context()
    own = {"state_dir": state_dir, "stack.port_offset": port_offset, **overrides}
    settings = dict(context.meta.get("tradestream.overrides", {}))
    settings |= {key: value for key, value in own.items() if value is not None}
    try:
        config = Config.load(overrides=settings, config_file=context.meta.get("tradestream.config_file"))
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    return Stack(config, progress=click.echo)


@click.group()
def stack() -> None:
    """Run Kafka, schema registry, Flink and the ClickHouse engine on this machine."""


@stack.command()
@click.argument("components", nargs=-1)
@click.option("--taskmanagers", type=click.IntRange(1, 64), help="One-slot TaskManagers to have [default: 2].")
@click.option(
    "--monitoring", is_flag=True, default=None, help="Also a Prometheus, with alert rules, that watches Flink."
)
@_stack_options
def up(
    components: tuple[str, ...],
    taskmanagers: int | None,
    monitoring: bool | None,
    state_dir: Path | None,
    port_offset: int | None,
) -> None:
    """Start what is not running: all, or only COMPONENTS (kafka, registry, clickhouse, flink, taskmanager-3 ...)."""
    begin = time.monotonic()
    target = _stack(state_dir, port_offset, **{"stack.taskmanagers": taskmanagers, "stack.monitoring": monitoring})
    try:
        with terminate_as_interrupt():
            target.up(components or None)
    except (StackError, ArtifactError) as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        raise click.ClickException("interrupted; what had been started is stopped again") from None
    click.echo(f"up after {time.monotonic() - begin:.1f} s. `tradestream stack status` shows it, `stack down` ends it.")


@stack.command()
@click.option(
    "--wipe", is_flag=True, help="Also delete the data: topics, schemas, tables, checkpoints, passwords, logs."
)
@_stack_options
def down(wipe: bool, state_dir: Path | None, port_offset: int | None) -> None:
    """End every process of the stack. Its data stays for the next `up`."""
    try:
        _stack(state_dir, port_offset).down(wipe=wipe)
    except StackError as error:
        raise click.ClickException(str(error)) from error


@stack.command()
@_stack_options
def status(state_dir: Path | None, port_offset: int | None) -> None:
    """Show each component; exit with 1 unless all are healthy."""
    try:
        rows = _stack(state_dir, port_offset).status()
    except StackError as error:
        raise click.ClickException(str(error)) from error
    table = Table(box=None, pad_edge=False)
    for heading in ("component", "state", "pid", "port", "memory", "up", "url"):
        right = heading in ("pid", "port", "memory", "up")
        table.add_column(heading, justify="right" if right else "left", overflow="fold", no_wrap=heading != "url")
    for row in rows:
        table.add_row(*_cells(row))
    Console().print(table)
    if any(row.state != "healthy" for row in rows):
        raise SystemExit(1)


def _cells(row: ComponentStatus) -> list[str]:
    def text(value: object) -> str:
        return "" if value is None else str(value)

    memory = "" if row.memory_mb is None else f"{row.memory_mb} MB"
    uptime = "" if row.uptime_s is None else _duration(row.uptime_s)
    state = f"[{_COLOURS[row.state]}]{row.state}[/]"
    return [row.name, state, text(row.pid), text(row.port), memory, uptime, row.url]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


@stack.command()
@click.argument("component", required=False)
@click.option("-n", "--lines", type=click.IntRange(0), default=30, show_default=True, help="Lines of each file.")
@click.option("-f", "--follow", is_flag=True, help="Go on as the files grow, until Ctrl-C.")
@_stack_options
def logs(component: str | None, lines: int, follow: bool, state_dir: Path | None, port_offset: int | None) -> None:
    """Show the end of the logs: of COMPONENT, or of all."""
    target = _stack(state_dir, port_offset)
    files = target.log_files(component)
    if not files:
        raise click.ClickException(
            f"there is no log{f' of {component}' if component else ''} in {target.config.log_dir}"
        )
    tail = shutil.which("tail")
    if tail is None:
        raise click.ClickException("the program `tail` is not installed; the logs are in " + str(target.config.log_dir))
    command = [tail, "-n", str(lines), *(["-F"] if follow else []), *map(str, files)]
    try:
        raise SystemExit(subprocess.run(command, check=False).returncode)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
