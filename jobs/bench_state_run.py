"""The steps of `bench state` on a running stack: fill the trading job's state, watch checkpoints, resume, and ask orders.

An order's answer is the first of its events that says what became of it. Every order here has to rest, so that it is
ROUTED; any other answer ends the run.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import confluent_kafka

from infra.feeds.items import Item
from infra.feeds.many_orders import BenchFlow
from infra.feeds.publisher import Publisher
from jobs.bench_latency import ON_THE_WAY
from jobs.bench_orders import OrderBench
from jobs.bench_run import BenchError, Cpu
from jobs.cli_common import status
from jobs.config import Config
from jobs.flink_rest import TERMINAL, Checkpoint
from jobs.job_state import latest_state, local_path, savepoint_directory
from jobs.submit import submit_job
from schemas.catalogue import TOPICS
from schemas.messages import order_events, orders
from schemas.messages.enums import (
    COMMAND_TYPE_CANCEL,
    ORDER_EVENT_TYPE_NAMES,
    ORDER_EVENT_TYPE_STATUS,
    ORDER_STATUS_NAMES,
    REASON_CODE_NAMES,
)
from schemas.messages.order_events import OrderEvent
from schemas.messages.orders import OrderCommand
from udfs.domain.sharding import shard_of

JOB: Final = "trading"
HOLDINGS: Final = 2
"""Symbols that each account holds and trades."""
SAMPLED: Final = 8_192
"""So many of the resting orders are remembered, evenly over all of them, to be cancelled after a restore."""
SPARE: Final = 500_000
"""Orders that there are for the traffic and for the questions after a restore."""
QUIET_S: Final = 300
"""Without any progress for so long a step is given up. A checkpoint of a large state may take minutes."""
STARTING_S: Final = 900.0
_READ: Final = 2_000
_TELL_S: Final = 10.0
_LOOK_S: Final = 1.0
"""How often Flink is asked for its checkpoints."""
_DRAWN: Final = 64


class Answers:
    """A client that reads `order-events` from some places on, and what it has learned of orders."""

    def __init__(self, config: Config, isolation: str, starts: Mapping[int, int]) -> None:
        settings = config.kafka.confluent() | {
            "group.id": f"bench-state-{isolation}",
            "isolation.level": isolation,
            "enable.auto.commit": "false",
            "fetch.min.bytes": "1",
            "fetch.wait.max.ms": "100",
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


@dataclasses.dataclass(frozen=True, slots=True)
class Traffic:
    """What was seen while checkpoints were watched."""

    checkpoints: list[Checkpoint]
    failed: int
    orders: int
    wait_s_median: float
    wait_s_max: float
    """How long an order of the traffic waited until an uncommitted reader had its answer; 0 without traffic."""


@dataclasses.dataclass(frozen=True, slots=True)
class Restored:
    """One restore. Times of `running` and later are seconds since the submission began, Flink's client included."""

    source: str
    """What was resumed from: `checkpoint` or `savepoint`."""
    bytes: int
    """On disk."""
    taken_s: float
    """What Flink says the checkpoint or savepoint took."""
    ended_s: float
    """Until the job was gone: a cancellation, or a stop with its savepoint."""
    running_s: float
    uncommitted_s: float
    committed_s: float
    """Until orders that were sent when the job ran were answered on every shard, for either reader."""
    asked: int
    """Orders that touched every shard."""
    cancelled: int
    """Resting orders from before whose cancel had the right answer."""


class StateBench(OrderBench):
    """A trading job with a large state. Use `close` at the end."""

    def __init__(self, config: Config, accounts: int, symbols: int, count: int) -> None:
        super().__init__(config, count)
        self.job_id = ""
        self.started_s = 0.0
        """How long the job took to run when it had no state."""
        self._size = {"accounts": accounts, "symbols": symbols, "holdings": min(HOLDINGS, symbols)}
        self._resting: list[OrderCommand] = []
        self._more: Iterator[Item] = iter(())
        self._readers: dict[str, Answers] = {}

    def close(self) -> None:
        """End the clients."""
        for reader in self._readers.values():
            reader.close()

    # ------------------------------------------------------------------------------------------------ steps

    def start(self) -> float:
        """The job with accounts, symbols and quotes; seconds from its submission until it had read them."""
        status(f"loading {self._size['accounts']:,} accounts and {self._size['symbols']:,} symbols")
        flow: BenchFlow = self.prepare(**self._size)
        self._more = flow.orders(self.count + SPARE, resting=True)
        parts = range(TOPICS["order-events"].partitions(self.config.profile))
        self._readers["committed"] = Answers(self.config, "read_committed", dict.fromkeys(parts, 0))
        began = time.monotonic()
        self.job_id = submit_job(self.config, JOB, timeout_s=STARTING_S, progress=status)
        self.started_s = time.monotonic() - began
        inputs = ("reference-data", "nbbo")
        self._await(lambda: -self.probe.group_lag(JOB, inputs), 0, "records of accounts and symbols left")
        return time.monotonic() - began

    def fill(self) -> tuple[float, float]:
        """All resting orders; the seconds until they were answered, and the longest checkpoint meanwhile, in seconds."""
        stride = max(1, self.count // SAMPLED)

        def noted() -> Iterator[Item]:
            for number, item in enumerate(itertools.islice(self._more, self.count)):
                if number % stride == 0:
                    self._resting.append(orders.decode(item[2]))
                yield item

        began = time.monotonic()
        self.publish(noted(), "resting orders")
        committed = self._readers["committed"]
        longest, asked_at = 0, began

        def answered() -> int:
            nonlocal longest, asked_at
            committed.poll(0.2)
            if time.monotonic() - asked_at > _LOOK_S:
                asked_at = time.monotonic()
                longest = max([longest, *(done.duration_ms for done in self.rest.recent_checkpoints(self.job_id))])
            return committed.counts.total()

        self._await(answered, self.count, "resting orders answered", pause_s=0.0)
        taken = time.monotonic() - began
        if committed.counts != {"ROUTED": self.count}:
            raise BenchError(f"every order had to rest, but the answers are {dict(committed.counts)}")
        return taken, longest / 1_000

    def watch(self, count: int, rate: int) -> Traffic:
        """`count` checkpoints from now on, with `rate` orders a second going on (0: at rest)."""
        uncommitted = self._reader_of_now()
        begun_ms, began, sent_at = time.time() * 1_000, time.monotonic(), {}
        failed_before = self.rest.checkpoints(self.job_id).failed
        publisher = Publisher(self.config.kafka)
        seen: dict[int, Checkpoint] = {}
        uncommitted.ask(())
        asked_at = last_change = began
        while len(seen) < count:
            now = time.monotonic()
            due = int((now - began) * rate) - len(sent_at)
            if due > 0:
                items = self._take(due)
                for item in items:
                    order_id = orders.decode(item[2]).order_id
                    sent_at[order_id] = now
                    uncommitted.asked[order_id] = None
                publisher.play(items)
            uncommitted.poll(0.02)
            if now - asked_at < _LOOK_S:
                continue
            asked_at = now
            for done in self.rest.recent_checkpoints(self.job_id):
                # One that began earlier has none of the traffic in it.
                if done.id not in seen and done.completed_ms - done.duration_ms >= begun_ms:
                    seen[done.id], last_change = done, now
                    status(f"  checkpoint {done.id}: {done.duration_ms:,} ms, {done.state_bytes / 2**20:,.0f} MiB")
            if now - last_change > QUIET_S + self.config.flink.checkpoint_interval_ms / 1_000:
                raise BenchError(f"no checkpoint was complete for {now - last_change:.0f} s: {self._failure()}")
        self._settle("orders of the traffic answered")
        self._require_whole()
        waits = sorted(answer[0] - sent_at[order_id] for order_id, answer in uncommitted.asked.items() if answer)
        return Traffic(
            list(seen.values())[:count],
            self.rest.checkpoints(self.job_id).failed - failed_before,
            len(waits),
            statistics.median(waits) if waits else 0.0,
            waits[-1] if waits else 0.0,
        )

    def restore(self, source: str) -> Restored:
        """End the job, resume it, and ask it. source: `checkpoint`, after a cancellation, or `savepoint`, after a stop."""
        status(f"ending the job, to resume from a {source}")
        began = time.monotonic()
        if source == "savepoint":
            path = self.rest.stop(self.job_id, savepoint_directory(self.config, JOB), timeout_s=STARTING_S)
            taken = self.rest.checkpoints(self.job_id).last_savepoint
        else:
            self.rest.cancel(self.job_id)
            self.rest.wait_for(self.job_id, lambda state: state in TERMINAL, STARTING_S)
            path, taken = latest_state(self.config, self.rest, JOB).path, self.rest.checkpoints(self.job_id).last
        ended_s = time.monotonic() - began
        folder = local_path(path)
        status(f"  it took {ended_s:.1f} s; resuming from {Path(path).name}")
        began = time.monotonic()
        self.job_id = submit_job(self.config, JOB, from_savepoint=path, timeout_s=STARTING_S, progress=status)
        running_s = time.monotonic() - began
        status(f"  it runs after {running_s:.1f} s; an order for every shard")
        answered = self._ask_every_shard()
        status(f"  answered on every shard after {max(answered.values()) - began:.1f} s; cancelling orders from before")
        return Restored(
            source,
            sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder else 0,
            taken.duration_ms / 1_000 if taken else 0.0,
            ended_s,
            running_s,
            answered["uncommitted"] - began,
            answered["committed"] - began,
            len(self._readers["committed"].asked),
            self._cancel_from_before(),
        )

    def memory_mb(self) -> list[int]:
        """Resident memory of each TaskManager, in MiB."""
        return [round(process.memory_info().rss / 2**20) for process in self.taskmanagers()]

    def cpu(self) -> Cpu:
        """CPU used so far."""
        return self.point(0.0, 0).cpu

    # ------------------------------------------------------------------------------------------------ questions

    def _ask_every_shard(self) -> dict[str, float]:
        """Send new orders to every shard; when the last of their answers came, for either reader."""
        uncommitted = self._reader_of_now()
        trading = self.config.trading
        shards = trading.account_shards, trading.symbol_shards
        items: list[Item] = []
        commands: list[OrderCommand] = []
        while len(one_each(commands, *shards)) < shards[0] * shards[1] and len(items) < 32 * shards[0] * shards[1]:
            more = self._take(_DRAWN)
            items += more
            commands += [orders.decode(item[2]) for item in more]
        require_shards(commands, *shards)
        for reader in (uncommitted, self._readers["committed"]):
            reader.ask(command.order_id for command in commands)
        Publisher(self.config.kafka).play(items)
        self._settle("orders after the restore answered")
        complain(wrong_answers(commands, uncommitted.asked, "ROUTED"))
        complain(wrong_answers(commands, self._readers["committed"].asked, "ROUTED"))
        return {
            name: max(answer[0] for answer in reader.asked.values() if answer) for name, reader in self._readers.items()
        }

    def _cancel_from_before(self) -> int:
        """Cancel resting orders, one of each pair of shards; how many. Raises BenchError when one is not there as it was."""
        trading = self.config.trading
        commands = one_each(self._resting, trading.account_shards, trading.symbol_shards)
        require_shards(commands, trading.account_shards, trading.symbol_shards)
        chosen = {command.order_id for command in commands}
        self._resting = [command for command in self._resting if command.order_id not in chosen]
        for reader in self._readers.values():
            reader.ask(chosen)
        items = []
        for command in commands:
            command.command = COMMAND_TYPE_CANCEL
            value = orders.encode(command, self.schema_ids["orders"])
            items.append(("orders", command.account_id.encode(), value, command.timestamp))
        Publisher(self.config.kafka).play(items)
        self._settle("cancels answered")
        for reader in self._readers.values():
            complain(wrong_answers(commands, reader.asked, "CANCELLED"))
        return len(commands)

    def _take(self, count: int) -> list[Item]:
        """The next orders. Raises BenchError when they are used up."""
        items = list(itertools.islice(self._more, count))
        if len(items) < count:
            raise BenchError(f"all {self.count + SPARE:,} orders are used up: a lower --rate, or fewer --checkpoints")
        return items

    def _reader_of_now(self) -> Answers:
        """The uncommitted reader, anew from the end on."""
        if "uncommitted" in self._readers:
            self._readers.pop("uncommitted").close()
        ends = self.probe.ends(("order-events",), committed=False)
        starts = {part: end for (_, part), end in ends.items()}
        self._readers["uncommitted"] = Answers(self.config, "read_uncommitted", starts)
        return self._readers["uncommitted"]

    # ------------------------------------------------------------------------------------------------ waiting

    def _settle(self, what: str) -> None:
        """Until both readers have all that they asked for."""

        def answered() -> int:
            for reader in self._readers.values():
                reader.poll(0.02)
            return -sum(reader.missing() for reader in self._readers.values())

        self._await(answered, 0, what, pause_s=0.0)

    def _await(self, progress: Callable[[], int], goal: int, what: str, pause_s: float = 0.5) -> None:
        """Until `progress` is `goal`; said every ten seconds. Raises BenchError when it stands still or the job fails."""
        reached, last_change, told = None, time.monotonic(), time.monotonic()
        while (found := progress()) < goal:
            now = time.monotonic()
            if found != reached:
                reached, last_change = found, now
            if now - told > _TELL_S:
                told = now
                status(f"  {abs(found):,} {what}" + (f", of {goal:,}" if goal else ""))
                self._require_whole()
            if now - last_change > QUIET_S:
                raise BenchError(f"nothing moved for {QUIET_S} s at {abs(found):,} {what}: {self._failure()}")
            time.sleep(pause_s)

    def _require_whole(self) -> None:
        """Raises BenchError when the job has failed, even if Flink has restarted it: its figures would be of something else."""
        if self.rest.restarts(self.job_id):
            raise BenchError(f"the job failed: {self._failure()}")

    def _failure(self) -> str:
        """What Flink knows, and what may be wrong."""
        managers = self.config.stack.taskmanagers
        alive = len(self.taskmanagers())
        heap = self.config.stack.taskmanager_heap_mb
        gone = (
            f"; {managers - alive} of {managers} TaskManagers have ended: their heap of {heap} MB may be too small "
            "(tradestream --set stack.taskmanager_heap_mb=N bench state)"
            if alive < managers
            else ""
        )
        return (self.rest.failure(self.job_id) or "Flink knows of no failure") + gone


# ---------------------------------------------------------------------------------------------------- pure parts


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
