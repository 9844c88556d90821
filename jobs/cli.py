"""`tradestream`, the command line. Each command lives in its own module and is imported when it is called.

Exit codes: 0 done, 1 failed (or a difference was found), 2 wrong usage or settings, 130 interrupted.
"""

from __future__ import annotations

import dataclasses
import difflib
import errno
import importlib
import importlib.util
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from jobs.cli_common import (
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    META_CONFIG_FILE,
    META_OVERRIDES,
    json_option,
    load_config,
    parse_settings,
    print_json,
    silence_stdout,
)
from jobs.config import SECTIONS, ConfigError, Secret


@dataclasses.dataclass(frozen=True, slots=True)
class _Mount:
    """A command that is imported on first use. Its module may be absent, and then the command is not listed."""

    module: str
    attribute: str
    summary: str


_STACK, _PIPELINE, _DATA, _TRIALS = "The local stack", "Contracts and jobs", "Data", "Trials"
COMMANDS: Final[dict[str, dict[str, _Mount]]] = {
    _STACK: {
        "stack": _Mount("infra.stack_cli", "stack", "Run Kafka, registry, Flink and ClickHouse on this machine."),
        "config": _Mount("jobs.cli", "config", "Show every setting, its value and where it came from."),
    },
    _PIPELINE: {
        "topics": _Mount("jobs.cli_topics", "topics", "Create the topics of the catalogue and compare them."),
        "schemas": _Mount("jobs.cli_schemas", "schemas", "Register the schemas and check their compatibility."),
        "migrate": _Mount("jobs.migrate", "migrate", "Apply the numbered ClickHouse migrations."),
        "submit": _Mount("jobs.cli_jobs", "submit", "Start a job on the Flink cluster."),
        "jobs": _Mount("jobs.cli_jobs", "jobs", "List the jobs of the cluster with their health."),
        "savepoint": _Mount("jobs.cli_jobs", "savepoint", "Take a savepoint of a running job."),
        "stop": _Mount("jobs.cli_jobs", "stop", "Stop a job, with a savepoint to resume from."),
        "resume": _Mount("jobs.cli_jobs", "resume", "Start a job from its newest savepoint."),
    },
    _DATA: {
        "produce": _Mount("jobs.cli_produce", "produce", "Write ticks, orders or reference data to Kafka."),
        "control": _Mount("jobs.cli_control", "control", "Issue a control: kill switch, halts, limits, restrictions."),
        "alerts": _Mount("jobs.cli_alerts", "alerts", "Add, remove and list rules for alerts."),
        "tail": _Mount("jobs.cli_tail", "tail", "Read a topic, decoded."),
        "audit": _Mount(
            "jobs.cli_audit", "audit", "Verify the audit trail, tell the life of an order, export a period."
        ),
        "reconcile": _Mount("jobs.cli_reconcile", "reconcile", "Compare ClickHouse with Kafka, record by record."),
        "report": _Mount("jobs.cli_report", "report", "Write a page about a day from the archive."),
        "quality": _Mount("jobs.cli_quality", "quality", "Try the rules of every archived table, with Data Docs."),
    },
    _TRIALS: {
        "demo": _Mount("jobs.demo", "demo", "Play a market day through the whole system."),
        "match": _Mount(
            "jobs.cli_match", "match", "Run order commands through the matching engine, without a cluster."
        ),
        "indicators": _Mount("jobs.cli_indicators", "indicators", "Compute technical indicators of bars from a file."),
        "bench": _Mount("jobs.bench", "bench", "Measure throughput and latency."),
        "chaos": _Mount("jobs.chaos", "chaos", "Let faults strike a stack under load, and check what it says."),
    },
}


class _LazyGroup(click.Group):
    """A group whose commands are imported on first use, and whose errors are one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for section in COMMANDS.values() for name, mount in section.items() if _is_present(mount)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        mounts = {name: mount for section in COMMANDS.values() for name, mount in section.items()}
        mount = mounts.get(cmd_name)
        if mount is None or not _is_present(mount):
            return None
        try:
            command = getattr(importlib.import_module(mount.module), mount.attribute)
        except ModuleNotFoundError as error:
            raise click.ClickException(
                f"`tradestream {cmd_name}` needs the Python package {error.name}, which is not installed: "
                "run ./infra/test once, or pip install -e '.[dev]'"
            ) from error
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise click.UsageError(error.format_message().rstrip(".") + hint, ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(len(name) for name in self.list_commands(ctx))
        for section, mounts in COMMANDS.items():
            rows = [(name.ljust(width), mount.summary) for name, mount in mounts.items() if _is_present(mount)]
            if rows:
                with formatter.section(section):
                    formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(EXIT_INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                silence_stdout()
                ctx.exit(0)
            if ctx.params.get("debug"):
                raise
            raise _one_line(error) from error


class _SettingsError(click.ClickException):
    exit_code = EXIT_USAGE


def _is_present(mount: _Mount) -> bool:
    return mount.module == __name__ or importlib.util.find_spec(mount.module) is not None


def _one_line(error: Exception) -> click.ClickException:
    """The error as a message that says what to do. Errors of our own modules say it themselves."""
    kind = type(error)
    package = kind.__module__.partition(".")[0]
    text = str(error).strip() or kind.__name__
    if isinstance(error, ConfigError):
        return _SettingsError(text)
    if kind.__name__ == "RegistryError" and "cannot be reached" in text:
        return click.ClickException(f"{text}. {_no_answer('it', 'registry.url')}")
    if package in ("jobs", "infra", "schemas", "udfs"):
        return click.ClickException(text)
    if package == "clickhouse_connect":
        return click.ClickException(_clickhouse_text(text))
    if package == "kafka":
        return click.ClickException(f"Kafka: {_kafka_text(error)}")
    if kind.__module__.startswith(("cimpl", "confluent_kafka")):
        reason = error.args[0] if error.args else error
        return click.ClickException(f"Kafka: {_confluent_text(str(getattr(reason, 'str', lambda: reason)()))}")
    if isinstance(error, OSError):
        return click.ClickException(text)
    return click.ClickException(
        f"{kind.__name__}: {text}. This is not expected; `tradestream --debug ...` shows where it happened"
    )


def _no_answer(what: str, setting: str) -> str:
    return f"Is {what} running (`tradestream stack status`) and is {setting} right (`tradestream config`)?"


_NO_ANSWER: Final = _no_answer("the broker", "kafka.bootstrap")


def _clickhouse_text(text: str) -> str:
    """What clickhouse-connect says, without the innards of its HTTP client."""
    if "HTTPConnectionPool" in text or "HTTPSConnectionPool" in text or "timed out" in text.lower():
        reason = re.search(r"\[Errno -?\d+\] [^\"')]+|timed out|Name or service not known", text)
        where = re.search(r"\((https?://[^)]+)\)$", text)
        at = f" at {where.group(1)}" if where else ""
        return f"ClickHouse does not answer{at} ({reason.group(0) if reason else text}). {_no_answer('it', 'clickhouse.url')}"
    if "UNKNOWN_TABLE" in text or "UNKNOWN_DATABASE" in text:
        return f"ClickHouse: {text}. `tradestream migrate` makes the tables"
    return f"ClickHouse: {text}"


def _confluent_text(text: str) -> str:
    return f"no answer ({text}). {_NO_ANSWER}" if "transport failure" in text or "timed out" in text.lower() else text


def _kafka_text(error: Exception) -> str:
    name = type(error).__name__
    if name in ("NoBrokersAvailable", "KafkaConnectionError", "KafkaTimeoutError", "NodeNotReadyError"):
        return f"no answer ({error}). {_NO_ANSWER}"
    if name == "UnknownTopicOrPartitionError":
        return f"{error}. `tradestream topics create` makes the missing topics"
    return f"{name}: {error}"


_EPILOG = """\b
Settings come from the first of these that has them: the options above,
TRADESTREAM_<SECTION>_<KEY> in the environment, the file of --config or
TRADESTREAM_CONFIG or ./tradestream.toml, the running local stack, defaults.
`tradestream config` shows the result. Secrets never go on the command line:
name a file (kafka.sasl_password_file) or use the environment.

\b
Example, from nothing to decoded trades:
  tradestream stack up
  tradestream topics create
  tradestream schemas register
  tradestream migrate
  tradestream submit market_data
  tradestream submit trading
  tradestream tail trade-events --from beginning -n 10

\b
Exit codes: 0 done, 1 failed or different, 2 wrong usage, 130 interrupted.
"""


@click.group(cls=_LazyGroup, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Settings file (TOML).")
@click.option("--profile", type=click.Choice(["local", "production"]), help="Topic sizes and defaults [local].")
@click.option("--state-dir", type=click.Path(path_type=Path), help="Folder of the local stack [.tradestream].")
@click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="One setting; repeatable.")
@click.option("--debug", is_flag=True, help="Show where an unexpected error happened.")
@click.version_option(package_name="tradestream", message="%(prog)s %(version)s")
@click.pass_context
def cli(
    ctx: click.Context,
    config_file: Path | None,
    profile: str | None,
    state_dir: Path | None,
    settings: Sequence[str],
    debug: bool,
) -> None:
    """An event-driven stock trading system: PyFlink jobs over Kafka and ClickHouse.

    The same commands work on the local stack and on a real cluster; only the settings differ.
    """
    overrides = parse_settings(settings)
    overrides |= {key: value for key, value in (("profile", profile), ("state_dir", state_dir)) if value is not None}
    if not debug:
        # Its warnings would stand beside the error, which says the same.
        logging.getLogger("clickhouse_connect").addHandler(logging.NullHandler())
    ctx.meta[META_OVERRIDES] = overrides
    ctx.meta[META_CONFIG_FILE] = config_file


@click.command()
@json_option
@click.pass_context
def config(ctx: click.Context, as_json: bool) -> None:
    """Show every setting, its value and where it came from.

    Secrets are shown as ***. Variables of the environment that look like settings but are none are listed at the end.

    \b
    Example:
      tradestream --set kafka.bootstrap=broker:9092 config
    """
    resolved = load_config(ctx)
    if not as_json:
        click.echo(resolved.describe())
        return
    values: dict[str, object] = {"profile": resolved.profile, "state_dir": str(resolved.state_dir)}
    for name in SECTIONS:
        section = getattr(resolved, name)
        values |= {f"{name}.{item.name}": getattr(section, item.name) for item in dataclasses.fields(section)}
    print_json(
        {
            key: {
                "value": (repr(value) if value else None) if isinstance(value, Secret) else value,
                "source": resolved.sources.get(key, "default"),
            }
            for key, value in values.items()
        }
    )


def main() -> None:
    """Entry point of the console script."""
    try:
        cli(prog_name="tradestream")
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
