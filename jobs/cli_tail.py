"""`tradestream tail`: a topic, decoded."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from jobs.cli_common import EXIT_INTERRUPTED, load_config, status
from jobs.cli_schemas import open_registry
from jobs.config import Config
from jobs.tail import (
    Condition,
    Decoder,
    Record,
    Start,
    View,
    format_alert,
    format_record,
    format_time,
    key_text,
    open_consumer,
    parse_condition,
    parse_start,
    read,
    record_type,
    to_object,
)
from jobs.topics import chosen
from schemas.catalogue import TOPICS, Topic
from schemas.registry import RegistryError


class _StartType(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic in newer releases only
    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Start:
        if isinstance(value, Start):
            return value
        try:
            return parse_start(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _TopicName(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic in newer releases only
    name = "topic"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in TOPICS if name.startswith(incomplete)]


@click.command()
@click.argument("topic_name", metavar="TOPIC", type=_TopicName())
@click.option("--from", "start", type=_StartType(), help="Where to begin [end; with --no-follow: beginning].")
@click.option("-n", "--records", type=click.IntRange(1), help="Stop after so many records.")
@click.option("--key", help="Only records with this key.")
@click.option("--where", "conditions", multiple=True, metavar="FIELD=VALUE", help="Only such records; repeatable.")
@click.option("--follow/--no-follow", default=True, help="Wait for new records, or stop at the end [follow].")
@click.option("--committed/--uncommitted", default=None, help="Which of the two views, see above.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, values as they are on the wire.")
@click.option("--utc", is_flag=True, help="Times in UTC instead of New York.")
@click.pass_context
def tail(
    ctx: click.Context,
    topic_name: str,
    start: Start | None,
    records: int | None,
    key: str | None,
    conditions: Sequence[str],
    follow: bool,
    committed: bool | None,
    as_json: bool,
    utc: bool,
) -> None:
    """Read a topic, decoded.

    One line a record: time, partition:offset, key, then field=value; alerts are said in words, and all fields by --json.
    Prices are shown in the currency, times in New York; fields without a value are left out. A record that cannot be decoded
    is shown as hex with the reason.

    Two views of what a job writes. --committed (read_committed) shows final events: each exactly once, visible when the
    checkpoint that covers them is complete, about a second later. --uncommitted (read_uncommitted) shows the same events
    within milliseconds, but provisionally: after a failure some are taken back and written again, so a reader must drop
    repeated eventIds. Positions, settlement and reports use the first, screens may use the second. The default is
    committed, except for last-value topics such as nbbo, which have no transactions.

    \b
    PLACE is one of:
      beginning, end
      -100                  a hundred records before the end of each partition
      15m                   fifteen minutes ago (s, m, h, d), by Kafka's timestamp
      2013-10-07T09:30:00   that time in New York, or with an offset (+00:00)
      2:1500                partition 2 from offset 1500, only that partition

    \b
    Examples:
      tradestream tail trade-events --from beginning -n 10
      tradestream tail order-events --where orderId=O-17 --no-follow
      tradestream tail orders --json --from -1000 --no-follow | jq .value.symbol
    """
    (topic,) = chosen((topic_name,))
    try:
        parsed = [parse_condition(text, topic) for text in conditions]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--where") from error
    config = load_config(ctx)
    view: View = (
        "read_committed" if (not topic.at_least_once if committed is None else committed) else "read_uncommitted"
    )
    place = start or Start("end" if follow else "beginning")
    decoder = _decoder(config, topic)
    consumer = open_consumer(config, view)
    printer = _Printer(topic, as_json=as_json, utc=utc)
    shown = 0
    try:
        for record in read(consumer, topic, place, decoder, follow=follow):
            if record is None:
                sys.stdout.flush()
            elif _wanted(topic, record, key, parsed):
                printer.print(record)
                shown += 1
                if shown == records:
                    break
        sys.stdout.flush()
    except KeyboardInterrupt:
        # How one ends a `tail`: nothing to say about it.
        ctx.exit(EXIT_INTERRUPTED)
    finally:
        consumer.close()


def _decoder(config: Config, topic: Topic) -> Decoder:
    try:
        return Decoder(topic, open_registry(config))
    except RegistryError as error:
        if error.status:
            raise
        status(f"{error}\nreading on with this checkout's schemas, as if every record were written with them")
        return Decoder(topic, None)


def _wanted(topic: Topic, record: Record, key: str | None, conditions: Sequence[Condition]) -> bool:
    if key is not None and key_text(record.key) != key:
        return False
    if not conditions:
        return True
    return record.value is not None and all(
        condition.holds(record_type(topic), record.value) for condition in conditions
    )


class _Printer:
    """Writes lines without flushing each: a topic may hold millions."""

    def __init__(self, topic: Topic, *, as_json: bool, utc: bool) -> None:
        self._kind = record_type(topic)
        self._alerts = topic.name == "alerts"
        self._json, self._utc = as_json, utc
        self._colour = sys.stdout.isatty() and not as_json

    def print(self, record: Record) -> None:
        line = json.dumps(to_object(record), ensure_ascii=False) if self._json else self._text(record)
        sys.stdout.write(line + "\n")

    def _text(self, record: Record) -> str:
        time_ns = record.value.get("timestamp") if record.value else None
        place = f"{record.partition}:{record.offset}"
        moment = format_time(record.kafka_ms * 1_000_000 if time_ns is None else time_ns, utc=self._utc)
        head = f"{moment}  {place:<10}  {key_text(record.key):<12}"
        if record.value is not None:
            shown = {name: value for name, value in record.value.items() if name != "timestamp"}
            body = (format_alert(record.value) if self._alerts else "") or format_record(
                self._kind, shown, utc=self._utc
            )
            return f"{self._style(head, dim=True)}  {body}"
        raw = "" if record.raw is None else f"  0x{record.raw.hex()}"
        return f"{self._style(head, dim=True)}  {self._style(record.problem, fg='red')}{raw}"

    def _style(self, text: str, **style: Any) -> str:
        return click.style(text, **style) if self._colour else text
