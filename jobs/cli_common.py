"""What the commands of `tradestream` share: settings from the global options, output, and errors in one line.

Mounted commands of other packages find the global options in click's context: ``ctx.meta["tradestream.overrides"]`` is
the mapping for `Config.load(overrides=...)`, ``ctx.meta["tradestream.config_file"]`` its ``config_file``.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from jobs.config import Config

if TYPE_CHECKING:
    from rich.console import Console

META_OVERRIDES = "tradestream.overrides"
META_CONFIG_FILE = "tradestream.config_file"

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130

F = TypeVar("F", bound=Callable[..., Any])
_JSON_HELP = "Print JSON for a program instead of text for a person."


class CliError(click.ClickException):
    """A failure with one clear message that says what to do; exit code 1."""


class OutputPath(click.Path):
    """A file or folder to write. click takes what follows an option for its value: `--table --json` was a file `--json`."""

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """The path, unless it is called like an option."""
        if str(value).startswith("-"):
            self.fail(f"{value} looks like an option; a file of that name is ./{value}", param, ctx)
        return super().convert(value, param, ctx)


def load_config(ctx: click.Context, **overrides: object) -> Config:
    """The settings under the global options and a command's own `overrides` (dots spelt ``__``, None: not given).

    Raises ConfigError.
    """
    given: dict[str, object] = dict(ctx.meta.get(META_OVERRIDES, {}))
    given |= {key.replace("__", "."): value for key, value in overrides.items() if value is not None}
    return Config.load(overrides=given, config_file=ctx.meta.get(META_CONFIG_FILE))


def parse_settings(pairs: Sequence[str]) -> dict[str, object]:
    """``section.key=value`` arguments as overrides. Raises click.BadParameter for another form."""
    settings: dict[str, object] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not re.fullmatch(r"[a-z_]+(\.[a-z_0-9]+)?", key):
            raise click.BadParameter(f"{pair!r} is not section.key=value, e.g. --set kafka.bootstrap=broker:9092")
        settings[key] = value
    return settings


def json_option(command: F) -> F:
    """Add ``--json`` as the argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help=_JSON_HELP)(command)


def print_json(value: object) -> None:
    """Print one JSON document, indented."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def console(*, stderr: bool = False) -> Console:
    """A rich console; colours only on a terminal, and no wrapping where a program reads."""
    from rich.console import Console

    plain = Console(stderr=stderr, highlight=False)
    return plain if plain.is_terminal else Console(stderr=stderr, highlight=False, width=10_000)


def print_table(headings: Mapping[str, str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under `headings` (heading -> "left" or "right"). Cells may hold rich markup."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    output = console()
    for heading, justify in headings.items():
        table.add_column(heading, justify="right" if justify == "right" else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    if output.is_terminal:
        output.print(table)
        return
    with output.capture() as capture:
        output.print(table)
    # Lines are padded to the width of the table, which is of no use in a file.
    click.echo("\n".join(line.rstrip() for line in capture.get().rstrip("\n").split("\n")))


def status(message: str) -> None:
    """A line about what happens, on stderr, so that stdout holds results only."""
    click.echo(message, err=True)


def confirm(question: str, yes: bool) -> None:
    """Ask before something that cannot be undone; without a terminal ``--yes`` is needed."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Say --yes to confirm; there is no terminal to ask on.")
    click.confirm(question, abort=True, err=True)


def duration(milliseconds: float) -> str:
    """A short human form: 850 ms, 12.3 s, 4 min 5 s, 2 h 3 min, 3 d 4 h."""
    if milliseconds < 1_000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1_000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def size(count: int) -> str:
    """Bytes in a short human form, binary units."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1_024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1_024
    return f"{value:.1f} TiB"


def silence_stdout() -> None:
    """Point stdout to nowhere, after its reader has gone (``| head``), so that the final flush cannot fail."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)


def existing_file(path: str) -> Path:
    """A path that must be a readable file. Raises CliError."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise CliError(f"there is no file {file}")
    return file
