"""What became of the orders of `bench state`: a reader of `order-events`, and whether the answers are the right ones.

An order's answer is the first of its events that says what became of it, after the question.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import confluent_kafka

from jobs.bench_latency import ON_THE_WAY
from jobs.bench_run import BenchError
from jobs.config import Config
from schemas.catalogue import TOPICS
from schemas.messages import order_events
from schemas.messages.enums import (
    ORDER_EVENT_TYPE_NAMES,
    ORDER_EVENT_TYPE_STATUS,
    ORDER_STATUS_NAMES,
    REASON_CODE_NAMES,
)
from schemas.messages.order_events import OrderEvent
from schemas.messages.orders import OrderCommand
from udfs.domain.sharding import shard_of

_READ: Final = 2_000


class Answers:
    """A client that reads `order-events` from some places on, and what it has learned of orders."""

    def __init__(self, config: Config, isolation: str, starts: Mapping[int, int]) -> None:
        settings = config.kafka.confluent() | {
            "group.id": f"bench-state-{isolation}",
            "isolation.level": isolation,
            "enable.auto.commit": "false",
            "fetch.min.bytes": "1",
            "fetch.wait.max.ms": "100",
            # Errors come to us through the API.
            "log_level": "0",
        }
        self._consumer = confluent_kafka.Consumer(settings)
        name = TOPICS["order-events"].name
        self._consumer.assign([confluent_kafka.TopicPartition(name, part, at) for part, at in starts.items()])
        self.counts: Counter[str] = Counter()
        """Answers so far by what they say."""
        self.asked: dict[str, tuple[float, OrderEvent] | None] = {}
        """When the orders that are asked for were answered (seconds of the monotonic clock), and how."""

    def ask(self, order_ids: Iterable[str]) -> None:
        """Forget earlier questions, and note the next answers of these orders."""
        self.asked = dict.fromkeys(order_ids)

    def missing(self) -> int:
        """How many of the orders that are asked for have no answer yet."""
        return sum(answer is None for answer in self.asked.values())

    def poll(self, seconds: float) -> None:
        """Read what is there; wait so long when there is nothing. Raises BenchError."""
        first = self._consumer.poll(seconds)
        if first is None:
            return
        now = time.monotonic()
        for message in (first, *self._consumer.consume(_READ, 0)):
            error, value = message.error(), message.value()
            if error is not None or value is None:
                raise BenchError(f"order-events cannot be read: {error.str() if error else 'a record without a value'}")
            event = order_events.decode(value)
            if event.event_type == ORDER_EVENT_TYPE_STATUS and event.status in ON_THE_WAY:
                continue
            self.counts[said(event)] += 1
            if event.order_id in self.asked and self.asked[event.order_id] is None:
                self.asked[event.order_id] = now, event

    def close(self) -> None:
        """End the client."""
        self._consumer.close()


def said(event: OrderEvent) -> str:
    """What an event says: a status, with its reason when it was a refusal; or which command was refused, and why."""
    if event.event_type == ORDER_EVENT_TYPE_STATUS:
        name = ORDER_STATUS_NAMES[event.status]
        return f"{name} {REASON_CODE_NAMES[event.reason]}" if name == "REJECTED" else name
    return f"{ORDER_EVENT_TYPE_NAMES[event.event_type]} {REASON_CODE_NAMES[event.reason]}"


def one_each(commands: Iterable[OrderCommand], account_shards: int, symbol_shards: int) -> list[OrderCommand]:
    """The first command of each pair of an account shard and a symbol shard."""
    found: dict[tuple[int, int], OrderCommand] = {}
    for command in commands:
        found.setdefault(
            (shard_of(command.account_id, account_shards), shard_of(command.symbol, symbol_shards)), command
        )
    return list(found.values())


def require_shards(commands: Sequence[OrderCommand], account_shards: int, symbol_shards: int) -> None:
    """Raises BenchError when a shard of either stage has none of these commands."""
    of_accounts = {shard_of(command.account_id, account_shards) for command in commands}
    of_symbols = {shard_of(command.symbol, symbol_shards) for command in commands}
    if len(of_accounts) < account_shards or len(of_symbols) < symbol_shards:
        raise BenchError(
            f"orders reach {len(of_accounts)} of {account_shards} account shards and {len(of_symbols)} of "
            f"{symbol_shards} symbol shards: take more accounts, symbols and orders, or fewer shards"
        )


def wrong_answers(
    commands: Sequence[OrderCommand], answers: Mapping[str, tuple[float, OrderEvent] | None], wanted: str
) -> list[str]:
    """A line for each order that has another answer than `wanted`, or is not the order that was sent."""
    found = []
    for command in commands:
        answer = answers.get(command.order_id)
        if answer is None:
            found.append(f"{command.order_id} has no answer")
            continue
        event = answer[1]
        leaves = 0 if wanted == "CANCELLED" else command.quantity
        sent = command.account_id, command.symbol, command.side, command.quantity, command.price, 0, leaves
        told = event.account_id, event.symbol, event.side, event.quantity, event.price, event.cum_quantity
        if said(event) != wanted:
            found.append(f"{command.order_id} is {said(event)}, not {wanted}")
        elif (*told, event.leaves_quantity) != sent:
            found.append(f"{command.order_id} was {sent}, and is {(*told, event.leaves_quantity)}")
    return found


def complain(wrong: Sequence[str]) -> None:
    """Raises BenchError with the first of some wrong answers."""
    if wrong:
        raise BenchError(
            f"{len(wrong)} orders have a wrong answer, the state is not what it was: {'; '.join(wrong[:3])}"
        )
