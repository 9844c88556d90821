"""The steps of `bench state` on a running stack: fill the trading job's state, watch checkpoints, resume, and ask orders.

Every order here has to rest, so that its answer is ROUTED; any other ends the run (bench_state_answers.py).
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from infra.feeds.items import Item
from infra.feeds.publisher import Publisher
from jobs.bench_orders import OrderBench
from jobs.bench_run import BenchError, Cpu
from jobs.bench_state_answers import Answers, complain, one_each, require_shards, wrong_answers
from jobs.cli_common import status
from jobs.config import Config
from jobs.flink_rest import TERMINAL, Checkpoint
from jobs.job_state import latest_state, local_path, savepoint_directory
from jobs.submit import submit_job
from schemas.catalogue import TOPICS
from schemas.messages import orders
from schemas.messages.enums import COMMAND_TYPE_CANCEL
from schemas.messages.orders import OrderCommand

JOB: Final = "trading"
HOLDINGS: Final = 2
"""Symbols that each account holds and trades."""
SAMPLED: Final = 8_192
"""So many of the resting orders are remembered, evenly over all of them, to be cancelled after a restore."""
SPARE: Final = 500_000
"""Orders that there are for the traffic and for the questions after a restore."""
QUIET_S: Final = 600
"""Without any progress for so long a step is given up. A checkpoint of a large state may take minutes."""
STARTING_S: Final = 900.0
_TELL_S: Final = 10.0
_LOOK_S: Final = 1.0
"""How often Flink is asked for its checkpoints."""
_DRAWN: Final = 64


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
    """One restore. Times of `running` and later are seconds since the JobManager had the job, without Flink's client."""

    source: str
    """What was resumed from: `checkpoint` or `savepoint`."""
    bytes: int
    """On disk."""
    taken_s: float
    """What Flink says the checkpoint or savepoint took."""
    ended_s: float
    """Until the job was gone: a cancellation, or a stop with its savepoint."""
    client_s: float
    """What Flink's client took until then."""
    running_s: float
    """Until all tasks had run for a second."""
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
        self._accounts, self._symbols = accounts, symbols
        self._born = 0.0
        self._resting: list[OrderCommand] = []
        self._more: Iterator[Item] = iter(())
        self._readers: dict[str, Answers] = {}
        self._publisher = Publisher(config.kafka)

    def close(self) -> None:
        """End the clients."""
        for reader in self._readers.values():
            reader.close()
        self._publisher.close()

    # ------------------------------------------------------------------------------------------------ steps

    def begin(self) -> float:
        """The job with accounts, symbols and quotes; seconds from its birth in the JobManager until it had read them.

        Orders wait for the end of the reference data in their account shard, so their answers tell when it is read there. The
        lag does not: both stages read the topic under one group, and the match stage, which needs no accounts, is far ahead.
        """
        status(f"loading {self._accounts:,} accounts and {self._symbols:,} symbols")
        flow = self.prepare(self._symbols, self._accounts, min(HOLDINGS, self._symbols))
        self._more = flow.orders(self.count + SPARE, resting=True)
        parts = range(TOPICS["order-events"].partitions(self.config.profile))
        self._readers["committed"] = Answers(self.config, "read_committed", dict.fromkeys(parts, 0))
        self._submit(None)
        self.started_s = time.monotonic() - self._born
        inputs = ("reference-data", "nbbo")
        self._await(lambda: -self.probe.group_lag(JOB, inputs), 0, "records of accounts and symbols left")
        return max(self._ask_every_shard().values()) - self._born

    def _submit(self, path: str | None) -> float:
        """Submit the job and wait until it runs; the seconds that Flink's client took until the JobManager had it."""
        began = time.monotonic()
        self.job_id = submit_job(self.config, JOB, from_savepoint=path, timeout_s=STARTING_S, progress=status)
        age_s = time.time() - self.rest.find(self.job_id).start_ms / 1_000
        self._born = time.monotonic() - age_s
        return self._born - began

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
        committed.counts.clear()
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
        begun_ms, began = time.time() * 1_000, time.monotonic()
        sent_at: dict[str, float] = {}
        failed_before = self.rest.checkpoints(self.job_id).failed
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
                self._publisher.play(items)
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
        self._settle("orders of the traffic without an answer")
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
        client_s = self._submit(path)
        running_s = time.monotonic() - self._born
        status(f"  it runs after {running_s:.1f} s; an order for every shard")
        answered = {name: at - self._born for name, at in self._ask_every_shard().items()}
        status(f"  answered on every shard after {answered['committed']:.1f} s; cancelling orders from before")
        return Restored(
            source,
            sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder else 0,
            taken.duration_ms / 1_000 if taken else 0.0,
            ended_s,
            client_s,
            running_s,
            answered["uncommitted"],
            answered["committed"],
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
        self._publisher.play(items)
        self._settle("orders for every shard without an answer")
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
        self._publisher.play(items)
        self._settle("cancels without an answer")
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
