"""`tradestream topics`: the catalogue's topics on the cluster."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import click

from jobs.cli_common import (
    EXIT_FAILED,
    CliError,
    confirm,
    duration,
    json_option,
    load_config,
    print_json,
    print_table,
    status,
)
from jobs.config import Config
from jobs.topics import admin, chosen, create, delete, differences, existing, record_counts
from schemas.catalogue import FOR_EVER, Topic


@click.group()
def topics() -> None:
    """Create the topics of the catalogue and compare them.

    The catalogue in schemas/catalogue.py holds every topic with its partitions, retention and compression for two
    profiles: local (one broker) and production (three or more).

    \b
    Example:
      tradestream --profile production topics diff
    """


@topics.command("create")
@click.argument("names", nargs=-1, metavar="[TOPIC]...")
@json_option
@click.pass_context
def create_command(ctx: click.Context, names: Sequence[str], as_json: bool) -> None:
    """Create the topics that are missing.

    All of the catalogue, or only those named. Topics that exist are left as they are; `diff` compares them.

    \b
    Example:
      tradestream topics create
    """
    config, wanted = load_config(ctx), chosen(names)
    with admin(config) as client:
        made = create(client, config, wanted)
        drift = differences(client, config, wanted)
    if as_json:
        print_json({"created": made, "existing": [topic.name for topic in wanted if topic.name not in made]})
    else:
        click.echo(f"created {len(made)} of {len(wanted)} topics{': ' if made else ''}{', '.join(made)}")
    if drift:
        status(f"{len(drift)} settings of existing topics differ from the catalogue: see `tradestream topics diff`")


@topics.command("list")
@json_option
@click.pass_context
def list_command(ctx: click.Context, as_json: bool) -> None:
    """List the catalogue with what the cluster holds.

    Records are counted as offsets, so that transaction markers are in the figure.

    \b
    Example:
      tradestream topics list
    """
    config, wanted = load_config(ctx), chosen(())
    with admin(config) as client:
        present = existing(client, wanted)
    counts = record_counts(config, present)
    if as_json:
        print_json(
            [
                _facts(topic, config) | {"exists": topic.name in present, "offsets": counts.get(topic.name)}
                for topic in wanted
            ]
        )
        return
    rows = []
    for topic in wanted:
        there = present.get(topic.name)
        rows.append(
            [
                topic.name,
                str(there.partitions) if there else "[red]missing[/]",
                f"{counts[topic.name]:,}" if there else "",
                _retention(topic),
                topic.compression,
                ", ".join(topic.producers),
                ", ".join(topic.consumers),
            ]
        )
    headings = {"topic": "left", "partitions": "right", "offsets": "right", "kept": "left", "codec": "left"}
    print_table(headings | {"written by": "left", "read by": "left"}, rows)


@topics.command("describe")
@click.argument("name", metavar="TOPIC")
@json_option
@click.pass_context
def describe_command(ctx: click.Context, name: str, as_json: bool) -> None:
    """Show one topic: the catalogue's entry, the fields of its record, and the cluster's settings.

    \b
    Example:
      tradestream topics describe order-events
    """
    from schemas.model import load

    config, (topic,) = load_config(ctx), chosen((name,))
    schema = load(topic.schema_file)
    with admin(config) as client:
        there = existing(client, [topic]).get(name)
    facts = _facts(topic, config)
    if as_json:
        print_json(facts | {"cluster": dataclasses.asdict(there) if there else None})
        return
    click.echo(f"{topic.name}: {schema.root.doc}\n")
    for key, value in facts.items():
        text = ", ".join(value) if isinstance(value, list) else str(value)
        click.echo(f"  {key:<14}{text}")
    click.echo(f"\n  {topic.record}")
    width = max(len(field.name) for field in schema.root.fields) + 2
    for field in schema.root.fields:
        click.echo(f"    {field.name:<{width}}{field.doc}{' (optional)' if field.optional else ''}")
    if there is None:
        click.echo(f"\n  not on the cluster {config.kafka.bootstrap}: tradestream topics create {name}")
        return
    click.echo(f"\n  on {config.kafka.bootstrap}: {there.partitions} partitions, {there.replication} replicas")
    for key in topic.settings(config.profile):
        click.echo(f"    {key}={there.settings.get(key)}")


@topics.command("diff")
@click.argument("names", nargs=-1, metavar="[TOPIC]...")
@json_option
@click.pass_context
def diff_command(ctx: click.Context, names: Sequence[str], as_json: bool) -> None:
    """Compare the cluster with the catalogue; exit with 1 when they differ.

    Partitions, replication, retention, compression, clean-up policy and message size of the chosen profile.

    \b
    Example:
      tradestream --profile production topics diff || echo drift
    """
    config, wanted = load_config(ctx), chosen(names)
    with admin(config) as client:
        found = differences(client, config, wanted)
    if as_json:
        print_json([{"topic": d.topic, "what": d.what, "wanted": d.wanted, "found": d.found} for d in found])
    elif found:
        print_table(
            {"topic": "left", "what": "left", "wanted": "right", "found": "right", "remedy": "left"},
            [[d.topic, d.what, d.wanted, d.found or "[red]missing[/]", d.remedy] for d in found],
        )
    else:
        click.echo(f"{len(wanted)} topics are as the catalogue has them (profile {config.profile})")
    if found:
        raise SystemExit(EXIT_FAILED)


@topics.command("delete")
@click.argument("names", nargs=-1, metavar="[TOPIC]...")
@click.option("--all", "everything", is_flag=True, help="All topics of the catalogue.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def delete_command(ctx: click.Context, names: Sequence[str], everything: bool, yes: bool) -> None:
    """Delete topics with all their records.

    Stop the jobs that use them first; their savepoints point at offsets that will be gone.

    \b
    Example:
      tradestream topics delete raw-feed --yes
    """
    if bool(names) == everything:
        raise click.UsageError("name the topics to delete, or say --all")
    config, wanted = load_config(ctx), chosen(names)
    with admin(config) as client:
        present = list(existing(client, wanted))
        if not present:
            raise CliError(f"none of them is on {config.kafka.bootstrap}")
        confirm(f"Delete {', '.join(present)} with all records from {config.kafka.bootstrap}?", yes)
        deleted = delete(client, present)
    click.echo(f"deleted {', '.join(deleted)}")


def _facts(topic: Topic, config: Config) -> dict[str, object]:
    profile = config.profile
    return {
        "topic": topic.name,
        "record": topic.record,
        "key": topic.key,
        "subject": topic.subject,
        "partitions": topic.partitions(profile),
        "replication": topic.replication(profile),
        "settings": [f"{key}={value}" for key, value in topic.settings(profile).items()],
        "producers": list(topic.producers),
        "consumers": list(topic.consumers),
        "view": "last values: read uncommitted"
        if topic.at_least_once
        else "transactional: read committed for final events",
    }


def _retention(topic: Topic) -> str:
    if topic.cleanup == "compact":
        return "newest of each key"
    kept = "for ever" if topic.retention_ms == FOR_EVER else duration(topic.retention_ms).removesuffix(" 0 h")
    return f"{kept}, newest of each key" if topic.cleanup != "delete" else kept
