"""`tradestream control`: an operator's commands to the running system."""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections.abc import Callable
from typing import Any, Final

import click

from jobs.cli_common import CliError, F, confirm, json_option, load_config, print_json, status
from jobs.control import (
    TOPIC,
    Draft,
    compose,
    current_user,
    effects,
    parse_amount,
    parse_date,
    parse_e4,
    parse_identity,
    parse_limit,
    parse_name,
    parse_time_ns,
    parse_words,
    publish,
)
from schemas.errors import EncodeError
from schemas.messages.enums import LIMIT_KIND_NAMES

_DAY_NS: Final = 86_400_000_000_000


class Parsed(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic in newer releases only
    """A type made of a function that raises ValueError."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_NAME, _TIME, _WORDS = Parsed("name", parse_name), Parsed("time", parse_time_ns), Parsed("text", parse_words)

_account = click.option("--account", type=_NAME, help="One account.")
_symbol = click.option("--symbol", type=_NAME, help="One symbol.")
_all = click.option("--all", "everything", is_flag=True, help="The whole firm, all symbols.")
_the_account = click.option("--account", type=_NAME, required=True, help="The account.")
_the_symbol = click.option("--symbol", type=_NAME, required=True, help="The symbol.")
_only_account = click.option("--account", type=_NAME, help="Only this account [the firm].")
_at = click.option("--at", "time_ns", type=_TIME, help="When it was issued, for a day that is not today [now].")
_yes = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


def _options(*own: Callable[[F], F]) -> Callable[[F], F]:
    """The options of a command, and after them those of every control. All reach it as one dictionary."""

    def decorate(command: F) -> F:
        audit = (
            click.option("--reason", type=_WORDS, required=True, help="Why, for the audit."),
            click.option("--by", "issued_by", type=_WORDS, help="Who issues it [the user of the operating system]."),
            click.option("--id", "control_id", type=Parsed("id", parse_identity), help="Identity [made of the rest]."),
            json_option,
        )
        for option in reversed((*own, *audit)):
            command = option(command)
        return command

    return decorate


def _chosen(kind: str, options: dict[str, Any]) -> Draft:
    """A control of one account, one symbol or everything: exactly one of them has to be said."""
    account, symbol, everything = options.get("account"), options["symbol"], options["everything"]
    if (account is not None) + (symbol is not None) + everything != 1:
        choices = "--account, --symbol and --all" if "account" in options else "--symbol and --all"
        raise click.UsageError(f"Say what it is for, with one of {choices}.")
    if everything:
        return Draft(kind, time_ns=options["time_ns"])
    scope, target = ("ACCOUNT", account) if account is not None else ("SYMBOL", symbol)
    return Draft(kind, scope, target, time_ns=options["time_ns"])


def _issue(ctx: click.Context, draft: Draft, options: dict[str, Any]) -> None:
    """Write the control, and print it when Kafka has it."""
    from infra.feeds.publisher import PublishError
    from jobs.tail import format_record, record_type

    message = compose(draft, options["reason"], options["issued_by"] or current_user(), options["control_id"])
    config = load_config(ctx)
    # Said first, so that it is known when this is interrupted.
    status(f"writing control {message['controlId']}")
    try:
        publish(config, draft.key, message)
    except EncodeError as error:
        raise click.UsageError(f"The topic {TOPIC.name} cannot hold this: {error}") from error
    except PublishError as error:
        raise CliError(
            f"{error}\nThe control may have been written or not. To repeat it, give the same command its id, and it is "
            f"applied once: --id {shlex.quote(message['controlId'])}"
        ) from error
    if options["as_json"]:
        print_json({"topic": TOPIC.name, "key": draft.key, "value": message, "effects": effects(message)})
        return
    click.echo(f"written to {TOPIC.name}, key {draft.key}:")
    click.echo("  " + format_record(record_type(TOPIC), message, utc=False))
    click.echo("see what it does (at the next checkpoint; with --uncommitted at once):")
    for command in effects(message):
        click.echo("  " + command)


@click.group()
def control() -> None:
    """Issue a control: kill switch, halts, limits, restrictions, customers' cash.

    A control is written to the topic controls, acts within a batch of the trading job, and is answered in risk-events,
    with who issued it and why. It is applied once, however often it is sent with the same --id.

    \b
    Example:
      tradestream control kill --account ACC-1 --reason "runaway algorithm"
    """


@control.command()
@_options(_account, _symbol, _all, _at, _yes)
@click.pass_context
def kill(ctx: click.Context, /, **options: Any) -> None:
    """Refuse new orders and cancel what is open.

    \b
    Example:
      tradestream control kill --all --reason "lost the market data" --yes
    """
    draft = _chosen("KILL", options)
    if options["everything"]:
        confirm("Kill everything: refuse every new order of the firm and cancel all that are open?", options["yes"])
    _issue(ctx, draft, options)


@control.command()
@_options(_account, _symbol, _all, _at)
@click.pass_context
def resume(ctx: click.Context, /, **options: Any) -> None:
    """End a kill or a reduce; what was cancelled stays cancelled.

    \b
    Example:
      tradestream control resume --account ACC-1 --reason "algorithm mended"
    """
    _issue(ctx, _chosen("RESUME", options), options)


@control.command()
@_options(_account, _symbol, _all, _at)
@click.pass_context
def reduce(ctx: click.Context, /, **options: Any) -> None:
    """Take only orders that make a position smaller.

    \b
    Example:
      tradestream control reduce --account ACC-1 --reason "winding down"
    """
    _issue(ctx, _chosen("REDUCE", options), options)


@control.command()
@_options(_symbol, _all, _at, _yes)
@click.pass_context
def halt(ctx: click.Context, /, **options: Any) -> None:
    """Stop trading in a symbol.

    \b
    Example:
      tradestream control halt --symbol IBM --reason "news pending"
    """
    draft = _chosen("HALT", options)
    if options["everything"]:
        confirm("Halt everything: stop trading in all symbols?", options["yes"])
    _issue(ctx, draft, options)


@control.command()
@_options(_symbol, _all, _at)
@click.pass_context
def unhalt(ctx: click.Context, /, **options: Any) -> None:
    """Reopen a halted symbol, by an auction.

    \b
    Example:
      tradestream control unhalt --symbol IBM --reason "news is out"
    """
    _issue(ctx, _chosen("UNHALT", options), options)


@control.command()
@_options(_the_symbol, _at)
@click.pass_context
def pause(ctx: click.Context, /, **options: Any) -> None:
    """Pause a symbol that is in a straddle state, as its listing exchange may.

    The pause lasts five minutes and ends with an auction by itself. In any other state nothing is paused: market-status
    says so. To stop trading for as long as you like, see halt.

    \b
    Example:
      tradestream control pause --symbol IBM --reason "bid far below the bands"
    """
    draft = Draft("PAUSE", "SYMBOL", options["symbol"], time_ns=options["time_ns"])
    _issue(ctx, draft, options)


@control.command()
@_options(
    click.option("--account", type=_NAME, help="The account; not for FIRM_CAPITAL."),
    click.option("--limit", type=click.Choice(LIMIT_KIND_NAMES[1:]), metavar="LIMIT", required=True, help="See above."),
    click.option("--value", required=True, help="Shares, orders, money (250000.00), a percentage (2.5%) or none."),
    _at,
)
@click.pass_context
def limit(ctx: click.Context, /, **options: Any) -> None:
    """Set a limit of an account, or the firm's capital.

    \b
    ORDER_QUANTITY, POSITION     shares
    ORDER_NOTIONAL               money of one order
    DAILY_NOTIONAL               money of a session's orders
    ORDER_RATE, OPEN_ORDERS      orders a second, orders at once
    CONCENTRATION                percentage of the account's equity
    PRICE_DEVIATION              percentage of the market's price
    FIRM_CAPITAL                 money, of all accounts together

    --value none takes a limit away; quantity, position and money of one order are always limited.

    \b
    Example:
      tradestream control limit --account ACC-1 --limit ORDER_QUANTITY --value 500 --reason "new client"
    """
    kind, account = options["limit"], options["account"]
    firm = kind == "FIRM_CAPITAL"
    if firm == (account is not None):
        raise click.UsageError("FIRM_CAPITAL is the firm's: no --account." if firm else f"{kind} needs --account.")
    try:
        value = parse_limit(kind, options["value"])
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--value") from error
    scope = "ALL" if firm else "ACCOUNT"
    _issue(ctx, Draft("LIMIT_CHANGE", scope, account, None, kind, value, options["time_ns"]), options)


def _restriction(kind: str, options: dict[str, Any]) -> Draft:
    """The restricted list of an account, or of the firm."""
    if options["account"] is None:
        return Draft(kind, "SYMBOL", options["symbol"], time_ns=options["time_ns"])
    return Draft(kind, "ACCOUNT", options["account"], options["symbol"], time_ns=options["time_ns"])


@control.command()
@_options(_the_symbol, _only_account, _at)
@click.pass_context
def restrict(ctx: click.Context, /, **options: Any) -> None:
    """Put a symbol on the restricted list.

    \b
    Example:
      tradestream control restrict --symbol IBM --reason "research report tomorrow"
    """
    _issue(ctx, _restriction("RESTRICT", options), options)


@control.command()
@_options(_the_symbol, _only_account, _at)
@click.pass_context
def unrestrict(ctx: click.Context, /, **options: Any) -> None:
    """Take a symbol off the restricted list.

    \b
    Example:
      tradestream control unrestrict --symbol IBM --reason "report published"
    """
    _issue(ctx, _restriction("UNRESTRICT", options), options)


@control.command()
@_options(
    _the_account,
    _the_symbol,
    click.option("--quantity", type=click.IntRange(1, 10**12), required=True, help="Shares that may be sold short."),
    _at,
)
@click.pass_context
def locate(ctx: click.Context, /, **options: Any) -> None:
    """Tell that shares were located for short sales of an account.

    \b
    Example:
      tradestream control locate --account ACC-1 --symbol GME --quantity 5000 --reason "lender 17"
    """
    draft = Draft("LOCATE", "ACCOUNT", options["account"], options["symbol"], None, options["quantity"])
    _issue(ctx, dataclasses.replace(draft, time_ns=options["time_ns"]), options)


_shares = click.option("--quantity", type=click.IntRange(1, 10**12), required=True, help="Shares.")


def _shares_of(kind: str, options: dict[str, Any]) -> Draft:
    """Shares of a symbol, of one account or else of the firm."""
    symbol, account = options["symbol"], options["account"]
    scope, target, symbol = ("SYMBOL", symbol, None) if account is None else ("ACCOUNT", account, symbol)
    return Draft(kind, scope, target, symbol, value=options["quantity"], time_ns=options["time_ns"])


@control.command()
@_options(_the_account, _the_symbol, _shares, _at)
@click.pass_context
def borrow(ctx: click.Context, /, **options: Any) -> None:
    """Tell that shares were borrowed for short sales of an account.

    They serve as located ones do, until the end of the session, and also where a missed close-out (Rule 204) lets nothing
    else be sold short.

    \b
    Example:
      tradestream control borrow --account ACC-1 --symbol GME --quantity 5000 --reason "loan 4711"
    """
    _issue(ctx, _shares_of("BORROW", options), options)


@control.command("delivery-failed")
@_options(
    _the_symbol,
    _only_account,
    _shares,
    click.option(
        "--settlement-date", type=Parsed("date", parse_date), required=True, help="When it was due, YYYY-MM-DD."
    ),
    click.option(
        "--sale", type=click.Choice(["short", "long", "market-maker"]), required=True, help="What sale it results from."
    ),
    _at,
)
@click.pass_context
def delivery_failed(ctx: click.Context, /, **options: Any) -> None:
    """Tell that shares were not delivered at settlement, as clearing says.

    They have to be closed out by the opening of the next session, of the third one for a long sale or a market maker (Rule
    204 of Regulation SHO); else only borrowed shares of the symbol are sold short, by the account or by the firm.

    \b
    Example:
      tradestream control delivery-failed --account ACC-1 --symbol GME --quantity 300 --settlement-date 2026-11-30 \\
        --sale short --reason "CNS fail"
    """
    sale = options["sale"].upper().replace("-", "_")
    draft = _shares_of("DELIVERY_FAILED", options)
    _issue(ctx, dataclasses.replace(draft, settlement_date=options["settlement_date"], failed_sale=sale), options)


@control.command("delivery-made")
@_options(
    _the_symbol,
    _only_account,
    click.option("--quantity", type=click.IntRange(1, 10**12), help="Shares [all that are open]."),
    _at,
)
@click.pass_context
def delivery_made(ctx: click.Context, /, **options: Any) -> None:
    """Tell that shares of a failed delivery were delivered since: by a loan, a purchase that settled, or late.

    \b
    Example:
      tradestream control delivery-made --account ACC-1 --symbol GME --quantity 300 --reason "CNS delivery"
    """
    _issue(ctx, _shares_of("DELIVERY_MADE", options), options)


@control.command()
@_options(_the_account, _at)
@click.pass_context
def unfreeze(ctx: click.Context, /, **options: Any) -> None:
    """End the freeze of an account early.

    \b
    Example:
      tradestream control unfreeze --account ACC-1 --reason "extension granted"
    """
    _issue(ctx, Draft("UNFREEZE", "ACCOUNT", options["account"], time_ns=options["time_ns"]), options)


_amount = click.option("--amount", type=Parsed("money", parse_amount), required=True, help="Money, such as 2500.00.")


def _cash(kind: str, options: dict[str, Any]) -> Draft:
    """Cash of one account that moves."""
    draft = Draft(kind, "ACCOUNT", options["account"], value=options["amount"])
    return dataclasses.replace(draft, time_ns=options["time_ns"])


@control.command()
@_options(_the_account, _amount, _at)
@click.pass_context
def deposit(ctx: click.Context, /, **options: Any) -> None:
    """Bring a customer's cash to an account; it meets margin calls and deficits, or a part of them.

    \b
    Example:
      tradestream control deposit --account ACC-1 --amount 2500.00 --reason "wire 4711 answers the margin call"
    """
    _issue(ctx, _cash("DEPOSIT", options), options)


@control.command()
@_options(_the_account, _amount, _at)
@click.pass_context
def withdraw(ctx: click.Context, /, **options: Any) -> None:
    """Take a customer's cash out of an account; refused when more than is free.

    \b
    Example:
      tradestream control withdraw --account ACC-1 --amount 1000.00 --reason "client's request 12"
    """
    _issue(ctx, _cash("WITHDRAWAL", options), options)


@control.command("index-level")
@_options(
    click.option("--symbol", type=_NAME, required=True, help="The index that market-wide circuit breakers watch."),
    click.option("--level", type=Parsed("points", parse_e4), required=True, help="Points, such as 4800.25."),
    _at,
)
@click.pass_context
def index_level(ctx: click.Context, /, **options: Any) -> None:
    """Tell a level of the index.

    \b
    Example:
      tradestream control index-level --symbol SPX --level 4800.25 --reason "index feed"
    """
    if options["level"] == 0:
        raise click.BadParameter("a level is above 0", param_hint="--level")
    draft = Draft("INDEX_LEVEL", symbol=options["symbol"], value=options["level"], time_ns=options["time_ns"])
    _issue(ctx, draft, options)


@control.command()
@_options(
    click.option("--time", "time_ns", type=_TIME, required=True, help="ISO 8601; New York's without an offset."), _yes
)
@click.pass_context
def clock(ctx: click.Context, /, **options: Any) -> None:
    """Tell that a time has been reached; the clock cannot be turned back.

    \b
    Example:
      tradestream control clock --time 2026-11-20T16:05:00 --reason "end of the day"
    """
    if options["time_ns"] > time.time_ns() + _DAY_NS:
        confirm("This is more than a day ahead, and the clock cannot be turned back. Is it meant?", options["yes"])
    _issue(ctx, Draft("CLOCK", time_ns=options["time_ns"]), options)
