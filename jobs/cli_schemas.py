"""`tradestream schemas`: the Avro schemas of the catalogue in the registry."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import click

from jobs.cli_common import EXIT_FAILED, CliError, json_option, load_config, print_json, print_table, status
from jobs.config import Config
from jobs.topics import chosen
from schemas.catalogue import TOPICS, Topic
from schemas.compatibility import incompatibilities
from schemas.registry import COMPATIBILITY, NOT_FOUND, Registry, RegistryError

SETUP_TIMEOUT_S: Final = 60.0
"""For set-up, which nobody watches: a registry whose JVM has just started on a busy machine needs more than ten seconds."""


def open_registry(config: Config, timeout_s: float = 10.0) -> Registry:
    """A client of the configured registry. timeout_s: of each request."""
    return Registry(config.registry.url, timeout_s, credentials=config.registry.credentials)


def register_all(registry: Registry) -> dict[str, int]:
    """Register this release's schema of every topic of the catalogue; their ids. Raises RegistryError."""
    return {name: registry.register(topic.subject, _text(topic)) for name, topic in TOPICS.items()}


@click.group()
def schemas() -> None:
    """Register the schemas and check their compatibility.

    Each topic has one subject, <topic>-value, under the rule BACKWARD_TRANSITIVE: a new schema must read what every
    earlier one wrote. Producers and jobs need the schemas to be registered.

    \b
    Example:
      tradestream schemas check && tradestream schemas register
    """


@schemas.command("register")
@click.argument("names", nargs=-1, metavar="[TOPIC]...")
@json_option
@click.pass_context
def register_command(ctx: click.Context, names: Sequence[str], as_json: bool) -> None:
    """Register the current schema of every topic, or of those named.

    All are checked first: when one is incompatible nothing is registered. A schema that is registered already keeps its id.

    \b
    Example:
      tradestream schemas register
    """
    topics = chosen(names)
    registry = open_registry(load_config(ctx))
    problems = [line for topic in topics for line in _problems(registry, topic)]
    if problems:
        raise CliError("nothing was registered, because consumers could not read old records:\n" + "\n".join(problems))
    rows: list[dict[str, object]] = []
    for topic in topics:
        text = _text(topic)
        known = registry.find(topic.subject, text)
        if known is None:
            registry.register(topic.subject, text)
            known = registry.find(topic.subject, text) or registry.latest(topic.subject)
            state = "registered"
        else:
            state = "unchanged"
        if _rule(registry, topic) != COMPATIBILITY:
            registry.set_compatibility(COMPATIBILITY, topic.subject)
        rows.append({"subject": topic.subject, "version": known.version, "id": known.schema_id, "state": state})
    if as_json:
        print_json(rows)
        return
    new = [row for row in rows if row["state"] == "registered"]
    if new:
        headings = {"subject": "left", "version": "right", "id": "right", "state": "left"}
        print_table(headings, [[str(value) for value in row.values()] for row in new])
    status(f"{len(new)} registered, {len(rows) - len(new)} unchanged, rule {COMPATIBILITY}, at {registry.url}")


@schemas.command("list")
@json_option
@click.pass_context
def list_command(ctx: click.Context, as_json: bool) -> None:
    """List the subjects of the catalogue with their versions in the registry.

    \b
    Example:
      tradestream schemas list
    """
    registry = open_registry(load_config(ctx))
    rows: list[dict[str, object]] = []
    for topic in chosen(()):
        versions = registry.versions(topic.subject)
        current = registry.find(topic.subject, _text(topic)) if versions else None
        rows.append(
            {
                "subject": topic.subject,
                "record": topic.record,
                "versions": versions,
                "currentVersion": current.version if current else None,
                "currentId": current.schema_id if current else None,
                "rule": _rule(registry, topic) if versions else None,
            }
        )
    if as_json:
        print_json(rows)
        return
    cells = []
    for row in rows:
        versions_ = row["versions"]
        count = str(len(versions_)) if isinstance(versions_, list) else ""
        current_ = "[yellow]not registered[/]" if row["currentId"] is None else str(row["currentId"])
        cells.append([str(row["subject"]), str(row["record"]), count, current_, str(row["rule"] or "")])
    print_table({"subject": "left", "record": "left", "versions": "right", "our id": "right", "rule": "left"}, cells)


@schemas.command("check")
@click.argument("names", nargs=-1, metavar="[TOPIC]...")
@json_option
@click.pass_context
def check_command(ctx: click.Context, names: Sequence[str], as_json: bool) -> None:
    """Check the schemas against the registry without registering; exit with 1 when one is incompatible.

    \b
    Example:
      tradestream schemas check orders
    """
    topics = chosen(names)
    registry = open_registry(load_config(ctx))
    found = {topic.subject: _problems(registry, topic) for topic in topics}
    problems = [line for lines in found.values() for line in lines]
    if as_json:
        print_json(found)
    else:
        for line in problems:
            click.echo(line)
        status(f"{sum(bool(v) for v in found.values())} of {len(topics)} schemas are incompatible with {registry.url}")
    if problems:
        raise SystemExit(EXIT_FAILED)


@schemas.command("show")
@click.argument("name", metavar="TOPIC")
@click.option("--version", "number", type=click.IntRange(1), help="A registered version instead of this checkout's.")
@click.pass_context
def show_command(ctx: click.Context, name: str, number: int | None) -> None:
    """Print a schema as JSON: this checkout's, or a version of the registry.

    \b
    Example:
      tradestream schemas show orders --version 1
    """
    (topic,) = chosen((name,))
    if number is None:
        text = _text(topic)
    else:
        try:
            text = open_registry(load_config(ctx)).version(topic.subject, number).text
        except RegistryError as error:
            if error.status == NOT_FOUND:
                raise CliError(f"{topic.subject} has no version {number}: see `tradestream schemas list`") from error
            raise
    print_json(json.loads(text))


def _text(topic: Topic) -> str:
    return topic.schema_file.read_text(encoding="utf-8")


def _rule(registry: Registry, topic: Topic) -> str:
    """The subject's rule, the registry's own when it has none."""
    try:
        return registry.compatibility(topic.subject)
    except RegistryError as error:
        if error.status == NOT_FOUND:
            return registry.compatibility()
        raise


def _problems(registry: Registry, topic: Topic) -> list[str]:
    """Why the current schema cannot take the place of the registered versions; empty when it can, or is one of them.

    Compared here with every version, because the registry's rule may be weaker than ours; the registry is asked too,
    because it may be stricter.
    """
    text = _text(topic)
    if registry.find(topic.subject, text) is not None:
        return []
    versions = registry.versions(topic.subject)
    reader = json.loads(text)
    problems = [
        f"{topic.subject} version {number}: {reason}"
        for number in versions
        for reason in incompatibilities(reader, json.loads(registry.version(topic.subject, number).text))
    ]
    if not problems and versions and not registry.is_compatible(topic.subject, text):
        problems = [f"{topic.subject}: the registry refuses it by its rule {_rule(registry, topic)}"]
    return problems
