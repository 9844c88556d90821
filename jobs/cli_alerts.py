"""`tradestream alerts`: the rules that alerts are given for."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from jobs.alerts import (
    TOPIC,
    complete,
    fault,
    in_force,
    parse_indicator,
    parse_number,
    parse_percentage,
    parse_span,
    publish,
    read_rules,
    removal,
    text_of,
)
from jobs.cli_common import CliError, json_option, load_config, print_json, print_table, status
from jobs.cli_control import Parsed
from jobs.control import current_user, parse_identity, parse_name
from schemas.errors import EncodeError
from schemas.json_form import to_json

_PRICE, _SPAN, _PERCENT = (
    Parsed("number", parse_number),
    Parsed("span", parse_span),
    Parsed("percentage", parse_percentage),
)
_INDICATOR = Parsed("indicator", parse_indicator)


@click.group()
def alerts() -> None:
    """Add, remove and list rules for alerts.

    Rules are records of the topic alert-rules; the analytics job applies them while it runs, and `tradestream tail alerts`
    shows what they fire. A rule that it cannot use goes to dead-letter with the reason.

    \b
    Example:
      tradestream alerts add --symbol IBM --above 181.25 --cooldown 5m
    """


@alerts.command()
@click.option("--symbol", type=Parsed("name", parse_name), help="The symbol.")
@click.option("--all-symbols", is_flag=True, help="Every symbol, each by itself.")
@click.option("--above", type=_PRICE, metavar="NUMBER", help="The value comes to this or above it.")
@click.option("--below", type=_PRICE, metavar="NUMBER", help="The value comes to this or below it.")
@click.option("--crosses", type=_PRICE, metavar="NUMBER", help="The value crosses this, in either direction.")
@click.option(
    "--indicator", type=_INDICATOR, metavar="NAME[:PERIOD]", help="The value is an indicator's, not the price."
)
@click.option(
    "--less", "second", type=_INDICATOR, metavar="NAME:PERIOD", help="Subtract this indicator; 0 is its cross."
)
@click.option("--rises", type=_PERCENT, metavar="PERCENT", help="The price rises so much, with --within.")
@click.option("--falls", type=_PERCENT, metavar="PERCENT", help="The price falls so much, with --within.")
@click.option("--moves", type=_PERCENT, metavar="PERCENT", help="The price rises or falls so much, with --within.")
@click.option("--within", type=_SPAN, metavar="SPAN", help="10s, 30s, 1m, 5m, 15m, 30m, 1h or 4h.")
@click.option("--volume", type=click.IntRange(1, 10**14), metavar="SHARES", help="A bar has so much volume.")
@click.option("--volume-spike", type=_PRICE, metavar="NUMBER", help="A bar has so many times the average volume.")
@click.option("--bar", type=_SPAN, metavar="SPAN", help="Length of the bars of volume and indicators [5m].")
@click.option("--spread", type=_PERCENT, metavar="PERCENT", help="The NBBO's spread is so much of its middle.")
@click.option("--stale", type=_SPAN, metavar="SPAN", help="No record of the symbol for so long.")
@click.option("--halted", is_flag=True, help="Trading in the symbol is halted or paused.")
@click.option("--hysteresis", type=_PRICE, metavar="NUMBER", help="How far it must come back before it fires again.")
@click.option("--cooldown", type=_SPAN, metavar="SPAN", help="Least time between two alerts of the rule for a symbol.")
@click.option("--severity", type=click.Choice(["info", "warning", "critical"]), default="info", show_default=True)
@click.option("--owner", help="Who is to be told [the user of the operating system].")
@click.option("--id", "rule_id", type=Parsed("id", parse_identity), help="Identity [made of the rest].")
@click.option(
    "--file", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Rules as JSON lines."
)
@json_option
@click.pass_context
def add(ctx: click.Context, /, **options: Any) -> None:
    """Add a rule, or change the one of that id.

    A file has one JSON object a line with the fields of the topic: symbol and condition, and what else the condition
    needs; ruleId, owner, severity and the rest have defaults.

    \b
    Examples:
      tradestream alerts add --symbol IBM --above 181.25 --hysteresis 0.10 --cooldown 5m
      tradestream alerts add --symbol IBM --moves 2% --within 5m --severity warning
      tradestream alerts add --symbol IBM --indicator rsi:14 --above 70 --bar 15m
      tradestream alerts add --symbol IBM --indicator sma:20 --less ema:20 --crosses 0
      tradestream alerts add --symbol IBM --indicator spread_bps --above 25
      tradestream alerts add --all-symbols --stale 30s --cooldown 10m
      tradestream alerts add --file rules.jsonl
    """
    owner = options["owner"] or current_user()
    given = _of_file(options) if options["file"] is not None else [_of_options(options)]
    config = load_config(ctx)
    known = read_rules(config)
    rules = []
    for place, fields in enumerate(given, 1):
        where = f"{options['file']}, line {place}: " if options["file"] is not None else ""
        try:
            rule = complete(fields, known, owner)
            wrong = fault(rule, config.analytics)
        except (EncodeError, ValueError, TypeError) as error:
            raise click.UsageError(f"{where}{error}") from error
        if wrong and rule["active"]:
            raise click.UsageError(f"{where}{wrong}")
        known[rule["ruleId"]] = rule
        rules.append(rule)
    publish(config, rules)
    _say(rules, "written", options["as_json"])


@alerts.command()
@click.argument("rule_ids", metavar="RULE...", nargs=-1, required=True)
@json_option
@click.pass_context
def remove(ctx: click.Context, rule_ids: tuple[str, ...], as_json: bool) -> None:
    """Remove rules, by their ids.

    \b
    Example:
      tradestream alerts remove IBM-price-above-1a2b3c4d
    """
    config = load_config(ctx)
    known = read_rules(config)
    missing = [rule_id for rule_id in rule_ids if not known.get(rule_id, {}).get("active", False)]
    if missing:
        raise CliError(f"no rule {', '.join(missing)} is in force: `tradestream alerts list` shows those that are")
    rules = [removal(known[rule_id]) for rule_id in dict.fromkeys(rule_ids)]
    publish(config, rules)
    _say(rules, "removed", as_json)


@alerts.command(name="list")
@click.option("--owner", help="Only this owner's.")
@click.option("--symbol", help="Only those for this symbol, those for every symbol among them.")
@json_option
@click.pass_context
def list_(ctx: click.Context, owner: str | None, symbol: str | None, as_json: bool) -> None:
    """List the rules that are in force, as the topic has them.

    \b
    Example:
      tradestream alerts list --symbol IBM
    """
    rules = in_force(read_rules(load_config(ctx)).values(), owner, symbol)
    if as_json:
        print_json([to_json(rule) for rule in rules])
        return
    columns = {"rule": "left", "symbol": "left", "fires when": "left", "severity": "left", "owner": "left"}
    rows = [[r["ruleId"], r["symbol"], text_of(r), r["severity"].lower(), r["owner"]] for r in rules]
    print_table(columns, [[_plain(cell) for cell in row] for row in rows])


@alerts.command()
@click.argument("url", metavar="URL")
@click.option("--group", default="alerts-webhook", show_default=True, help="Consumer group, which keeps the place.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0.1, 600), default=10.0, show_default=True, help="Seconds."
)
@click.pass_context
def webhook(ctx: click.Context, url: str, group: str, timeout_s: float) -> None:
    """Post each alert to URL as JSON, until interrupted: an example of a consumer.

    At least once: a receiver drops repetitions by the header Idempotency-Key, which is the alert's eventId. One that is away,
    or answers 5xx, 3xx, 408, 425 or 429, is asked again after 0.5 s, 1 s, 2 s ... 30 s; other 4xx refuse the alert.

    \b
    Example:
      tradestream alerts webhook http://127.0.0.1:8080/alerts
    """
    from jobs.alert_webhook import TOPIC as ALERTS
    from jobs.alert_webhook import Webhook, open_consumer, run
    from jobs.cli_schemas import open_registry
    from jobs.tail import Decoder

    if not url.startswith(("http://", "https://")):
        raise click.BadParameter(f"{url!r} is not an http or https address", param_hint="URL")
    config = load_config(ctx)
    sender = Webhook(url, threading.Event(), status, timeout_s)
    decoder = Decoder(ALERTS, open_registry(config))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sender.stop.set())
    run(open_consumer(config, group), decoder, sender)
    status(f"{sender.sent} alerts posted, {sender.refused} refused, {sender.retries} attempts repeated")


def _plain(text: str) -> str:
    """Text that is no markup of rich."""
    return text.replace("[", "\\[")


def _say(rules: list[dict[str, Any]], done: str, as_json: bool) -> None:
    if as_json:
        print_json([to_json(rule) for rule in rules])
        return
    for rule in rules[:10]:
        click.echo(f"{done}: {rule['ruleId']} ({rule['symbol']}: {text_of(rule)})")
    if len(rules) > 10:
        click.echo(f"... and {len(rules) - 10} more")
    status(f"{len(rules)} to {TOPIC.name}; what they fire: tradestream tail alerts --where owner={rules[-1]['owner']}")


def _of_file(options: dict[str, Any]) -> list[dict[str, Any]]:
    """The rules of a file of JSON lines."""
    alone = ("file", "owner", "as_json", "severity")
    others = [name for name, value in options.items() if value is not None and value is not False and name not in alone]
    if others:
        raise click.UsageError(f"--file has whole rules; leave out --{others[0].replace('_', '-')}.")
    found = []
    lines = options["file"].read_text(encoding="utf-8").splitlines()
    for place, line in enumerate(lines, 1):
        try:
            rule = json.loads(line)
        except ValueError as error:
            raise click.UsageError(f"{options['file']}, line {place}: {error}") from error
        if not isinstance(rule, dict):
            raise click.UsageError(f"{options['file']}, line {place}: it is no JSON object")
        found.append(rule)
    if not found:
        raise click.UsageError(f"{options['file']} has no rules")
    return found


def _of_options(options: dict[str, Any]) -> dict[str, Any]:
    """The fields of the rule that the options say."""
    if (options["symbol"] is not None) + options["all_symbols"] != 1:
        raise click.UsageError("Say which symbol, with one of --symbol and --all-symbols.")
    kinds: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "above": lambda o: _level("ABOVE", o["above"], o),
        "below": lambda o: _level("BELOW", o["below"], o),
        "crosses": lambda o: _level("CROSS", o["crosses"], o),
        "rises": lambda o: _move("CHANGE_ABOVE", o["rises"], o),
        "falls": lambda o: _move("CHANGE_BELOW", -o["falls"], o),
        "moves": lambda o: _move("MOVE_ABOVE", o["moves"], o),
        "volume": lambda o: {"condition": "VOLUME_ABOVE", "thresholdE4": o["volume"] * 10_000, **_bar(o)},
        "volume_spike": lambda o: {
            "condition": "INDICATOR_ABOVE",
            "indicator": "RELATIVE_VOLUME",
            "period": 20,
            "thresholdE4": o["volume_spike"],
            **_bar(o),
        },
        "spread": lambda o: {"condition": "SPREAD_ABOVE", "thresholdE4": o["spread"]},
        "stale": lambda o: {"condition": "STALE", "windowSeconds": o["stale"]},
        "halted": lambda o: {"condition": "HALTED"},
    }
    # Not `in (None, False)`: a threshold of 0 equals False.
    said = [name for name in kinds if options[name] is not None and options[name] is not False]
    if len(said) != 1:
        raise click.UsageError(
            f"Say when it fires, with one of --{', --'.join(kinds).replace('_', '-')}; or give rules with --file."
        )
    if options["second"] is not None and options["indicator"] is None:
        raise click.UsageError("--less subtracts from --indicator, which is missing.")
    _needs("indicator", said[0], options, ("above", "below", "crosses"))
    _needs("within", said[0], options, ("rises", "falls", "moves"))
    if options["indicator"] is None:
        _needs("bar", said[0], options, ("volume", "volume_spike"))
    return {
        **kinds[said[0]](options),
        "symbol": "*" if options["all_symbols"] else options["symbol"],
        "severity": options["severity"].upper(),
        "cooldownSeconds": options["cooldown"] or 0,
        "hysteresisE4": options["hysteresis"],
        "ruleId": options["rule_id"],
    }


def _needs(option: str, kind: str, options: dict[str, Any], kinds: tuple[str, ...]) -> None:
    """Refuse an option that goes with other kinds."""
    if options[option] is not None and kind not in kinds:
        raise click.UsageError(f"--{option} goes with --{', --'.join(kinds).replace('_', '-')}.")


def _level(side: str, threshold: int, options: dict[str, Any]) -> dict[str, Any]:
    if options["indicator"] is None:
        return {"condition": f"PRICE_{side}", "thresholdE4": threshold}
    name, period = options["indicator"]
    fields = {"condition": f"INDICATOR_{side}", "thresholdE4": threshold, "indicator": name, "period": period}
    if options["second"] is not None:
        fields["secondIndicator"], fields["secondPeriod"] = options["second"]
    return fields | _bar(options)


def _move(condition: str, threshold: int, options: dict[str, Any]) -> dict[str, Any]:
    if options["within"] is None:
        raise click.UsageError("Say within what time, with --within.")
    return {"condition": condition, "thresholdE4": threshold, "windowSeconds": options["within"]}


def _bar(options: dict[str, Any]) -> dict[str, Any]:
    return {"windowSeconds": 300 if options["bar"] is None else options["bar"]}
