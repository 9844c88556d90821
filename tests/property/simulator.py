"""The trading job without processes: the real operators over a simulated log, with checkpoints, transactions and crashes.

What is real: RunShard with its journal, snapshots and output chunks, and both trading engines. What is simulated, from a seed:
Kafka's topics with transactions, Flink's sources, channels, aligned barriers, micro-batch windows, keyed state, timers, the
transactional sink, crashes at any step, restores with another parallelism.

What is proved after a run, by `verify`: the batches that survived (those of the last restored checkpoint and what came after)
are applied to new engines that nothing disturbs, and the committed records of each shard must be theirs, in order, once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from typing import Any

import trading_harness as h
from pyflink.common import Row
from simulator_state import Handles

from udfs.domain import sources
from udfs.domain.sharding import shard_of
from udfs.operators.run_shard import Engine, RunShard, Stage

SHARDS = 2
RISK, MATCH = "risk", "match"
RISK_SOURCES = (
    sources.ORDERS,
    sources.REFERENCE,
    sources.CONTROLS,
    sources.NBBO,
    sources.OUTCOMES,
    sources.CORPORATE_ACTIONS,
)
BARRIER = "barrier"

Place = tuple[str, int]
"""A shard of a stage."""
Item = tuple[Place, int, bytes, int]
"""One record on its way: to which shard, as which source, its bytes, its offset (for frames: the risk shard that sent it)."""

Applied = tuple[int, list[bytes], list[int], bool]
"""A batch that an operator has applied: source, payloads, offsets, and whether its engine holds no sums back after it."""


@dataclass(frozen=True, slots=True)
class Input:
    """A record of an input topic, which shards read it, and where it stands among the records of all topics."""

    rank: int
    source: int
    payload: bytes
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Faults:
    """What is broken on purpose; nothing by default.

    at_least_once: aborted records are read, as from a sink without transactions.
    drop_journal: a restore forgets the journal.
    skip_commit: a restore aborts what the checkpoint had prepared to commit.
    repeat_input: a restore goes back to an offset one before the checkpoint's.
    wrap: makes another engine of a shard's engine.
    """

    at_least_once: bool = False
    drop_journal: bool = False
    skip_commit: bool = False
    repeat_input: bool = False
    wrap: Callable[[Engine], Engine] | None = None


@dataclass(slots=True)
class Written:
    """A record of the output log: its transaction and who wrote it."""

    transaction: int
    place: Place
    topic: str
    key: bytes
    value: bytes


@dataclass(slots=True)
class Checkpoint:
    """What a checkpoint holds; complete when every task has given its part."""

    offsets: dict[int, int] = field(default_factory=dict)
    state: dict[Place, dict[str, Any]] = field(default_factory=dict)
    windows: dict[tuple[Place, int], list[tuple[bytes, int]]] = field(default_factory=dict)
    timers: set[tuple[Place, int]] = field(default_factory=set)
    history: dict[Place, list[Applied]] = field(default_factory=dict)
    transaction: int = -1
    parts: int = 0


class Task:
    """A subtask: its channels, and for a stage the real operator with its windows and timers.

    It is the operator's context too: the current key is the shard, and a timer is due at any time.
    """

    def __init__(self, name: str, operator: RunShard | None, handles: Handles) -> None:
        self.name = name
        self.operator = operator
        self.handles = handles
        self.channels: dict[str, deque[Any]] = {}
        self.windows: dict[tuple[Place, int], list[tuple[bytes, int]]] = {}
        self.timers: set[tuple[Place, int]] = set()
        self.history: dict[Place, list[Applied]] = {}

    def timer_service(self) -> Task:
        """Flink's timers."""
        return self

    def register_processing_time_timer(self, timestamp: int) -> None:
        """Set a timer of the current key."""
        self.timers.add((self.handles.key, timestamp))

    def get_current_key(self) -> int:
        """The shard."""
        return self.handles.key[1]


def route(steps: list[h.Step]) -> list[Input]:
    """The input log of steps, with the shards that sql/flink/trading_inputs.sql sends each record to."""
    everywhere = tuple((stage, shard) for stage in (RISK, MATCH) for shard in range(SHARDS))
    all_risk, all_match = everywhere[:SHARDS], everywhere[SHARDS:]
    inputs = []
    for kind, fields in steps:
        if kind == "settle":
            continue
        source, payload = h.encode_step(kind, fields)
        places = everywhere
        if source == sources.ORDERS:
            places = ((RISK, shard_of(fields["accountId"], SHARDS)),)
        elif source == sources.NBBO:
            places = (*all_risk, (MATCH, shard_of(fields["symbol"], SHARDS)))
        elif source == sources.REFERENCE and fields["account"] is not None:
            shards = dict.fromkeys((0, shard_of(fields["account"]["accountId"], SHARDS)))
            places = tuple((RISK, shard) for shard in shards)
        elif source == sources.REFERENCE and fields["instrument"] is not None:
            places = (*all_risk, (MATCH, shard_of(fields["instrument"]["symbol"], SHARDS)))
        else:
            assert len(places) == len(all_risk) + len(all_match)
        inputs.append(Input(len(inputs), source, payload, places))
    return inputs


class Simulator:
    """One run of the job over an input log; every choice is the seed's."""

    def __init__(
        self,
        inputs: list[Input],
        seed: int,
        stages: dict[str, Stage],
        crash_rate: float,
        faults: Faults,
    ) -> None:
        self.random = Random(seed)
        # How far a topic may be ahead of another: a clock that is days ahead would leave nothing of the orders.
        self.skew = self.random.choice((0, 3, 10, 30))
        self.topics: dict[int, list[Input]] = {}
        for record in inputs:
            self.topics.setdefault(record.source, []).append(record)
        self.stages = stages
        self.crash_rate = crash_rate
        self.faults = faults
        self.log: list[Written] = []
        self.states: dict[int, str] = {}
        self.transactions = 0
        self.completed: Checkpoint | None = None
        self.running: Checkpoint | None = None
        self.to_commit: int | None = None
        self.joined = self.crashes = self.checkpoints = self.uncommitted_restores = self.rescales = 0
        self.parallelism = 0
        self._start(Checkpoint())

    # Life of the job

    def _start(self, checkpoint: Checkpoint) -> None:
        """New tasks from a checkpoint, with one subtask or two for each stage."""
        before, self.parallelism = self.parallelism, self.random.choice((1, 2))
        self.rescales += before not in (0, self.parallelism)
        self.offsets = dict(checkpoint.offsets)
        if self.faults.repeat_input:
            self.offsets = {s: max(0, o - 1) if s == sources.ORDERS else o for s, o in self.offsets.items()}
        self.running = None
        self.tasks: dict[str, Task] = {}
        for stage in (RISK, MATCH):
            for number in range(self.parallelism):
                operator = RunShard(self.stages[stage])
                task = Task(f"{stage}{number}", operator, Handles(self.faults.drop_journal))
                self.tasks[task.name] = task
                for shard in range(number, SHARDS, self.parallelism):
                    place = (stage, shard)
                    task.handles.restore(place, checkpoint.state.get(place, {}))
                    task.history[place] = list(checkpoint.history.get(place, []))
                task.timers = {timer for timer in checkpoint.timers if self._owner(timer[0]) == task.name}
                task.windows = {k: list(v) for k, v in checkpoint.windows.items() if self._owner(k[0]) == task.name}
                operator.open(task.handles)
                task.channels = {"source": deque()}
        sink = self.tasks["sink"] = Task("sink", None, Handles(False))
        for name in list(self.tasks)[:-1]:
            sink.channels[name] = deque()
            if name.startswith(RISK):
                for number in range(self.parallelism):
                    self.tasks[f"{MATCH}{number}"].channels[name] = deque()
        self._begin()

    def _begin(self) -> None:
        self.transactions += 1
        self.states[self.transactions] = "open"

    def _owner(self, place: Place) -> str:
        return f"{place[0]}{place[1] % self.parallelism}"

    def crash(self) -> None:
        """Everything in memory is lost; the last complete checkpoint comes back and its transaction is committed."""
        self.crashes += 1
        checkpoint = self.completed or Checkpoint()
        if self.states.get(checkpoint.transaction) == "open":
            self.uncommitted_restores += 1
            self.states[checkpoint.transaction] = "aborted" if self.faults.skip_commit else "committed"
        for transaction, state in self.states.items():
            if state == "open":
                self.states[transaction] = "aborted"
        self.to_commit = None
        self._start(checkpoint)

    # Steps

    def run(self, crashing_steps: int = 100_000) -> None:
        """Take random steps until every input was read and everything that it caused is committed."""
        for step in range(1_000_000):
            if step < crashing_steps and self.random.random() < self.crash_rate:
                self.crash()
            elif not self._step():
                return
        raise AssertionError("the run does not come to an end")

    def _step(self) -> bool:
        """One random step that is possible; False when there is nothing left to do."""
        steps: list[Callable[[], None]] = []
        heads = {s: head.rank for s in (*self.topics, sources.OUTCOMES) if (head := self._peek(s)) is not None}
        first = min((rank for rank in heads.values() if rank >= 0), default=0)
        readable = [source for source, rank in heads.items() if rank <= first + self.skew]
        if readable:
            steps += [lambda: self._read(self.random.choice(readable))] * 3
        for task in self.tasks.values():
            for name, channel in task.channels.items():
                if channel and channel[0] is not BARRIER:
                    steps.append(lambda task=task, name=name: self._take(task, name))  # type: ignore[misc]
            if all(channel and channel[0] is BARRIER for channel in task.channels.values()):
                steps.append(lambda task=task: self._snapshot(task))  # type: ignore[misc]
            if task.windows:
                steps.append(lambda task=task: self._fire(task))  # type: ignore[misc]
            if task.timers:
                steps.append(lambda task=task: self._ring(task))  # type: ignore[misc]
        if self.to_commit is not None:
            steps.append(self._commit)
        idle = not steps
        uncommitted = any(self.states[w.transaction] == "open" for w in self.log[-1:])
        if self.running is None and self.to_commit is None and (uncommitted if idle else self.random.random() < 0.1):
            steps = [self._trigger]
        if steps:
            self.random.choice(steps)()
        return bool(steps)

    def _peek(self, source: int) -> Input | None:
        """The next record of a source; outcomes are read committed, so not beyond the first open transaction."""
        offset = self.offsets.get(source, 0)
        if source != sources.OUTCOMES:
            return self.topics[source][offset] if offset < len(self.topics[source]) else None
        for index in range(offset, len(self.log)):
            record = self.log[index]
            state = self.states[record.transaction]
            if state == "open":
                return None
            if record.topic == "order-outcomes" and self._visible(record):
                self.offsets[source] = index
                return Input(-1, source, record.value, ((RISK, int(record.key)),))
        return None

    def _visible(self, record: Written) -> bool:
        state = self.states[record.transaction]
        return state == "committed" or (self.faults.at_least_once and state == "aborted")

    def _read(self, source: int) -> None:
        record = self._peek(source)
        assert record is not None
        offset = self.offsets.get(source, 0)
        self.offsets[source] = offset + 1
        for place in record.places:
            self.tasks[self._owner(place)].channels["source"].append((place, source, record.payload, offset))

    def _take(self, task: Task, name: str) -> None:
        """An element out of a channel: into its window, or into the sink's transaction."""
        for _ in range(self.random.randint(1, 12)):
            channel = task.channels[name]
            if not channel or channel[0] is BARRIER:
                return
            element = channel.popleft()
            if task.operator is None:
                place, topic, keys, values = element
                self.log += [Written(self.transactions, place, topic, k, v) for k, v in zip(keys, values, strict=True)]
            else:
                place, source, payload, offset = element
                task.windows.setdefault((place, source), []).append((payload, offset))

    def _fire(self, task: Task) -> None:
        """A window becomes a micro-batch of any size for the real operator."""
        place, source = self.random.choice(list(task.windows))
        window = task.windows.pop((place, source))
        count = self.random.randint(1, len(window))
        if count < len(window):
            task.windows[place, source] = window[count:]
        payloads = [payload for payload, _ in window[:count]]
        positions = [offset for _, offset in window[:count]]
        task.handles.key = place
        assert task.operator is not None
        row = Row(place[1], source, payloads, positions, 1_000)
        self._emit(task, place, task.operator.process_element(row, task), (source, payloads, positions))

    def _ring(self, task: Task) -> None:
        """A timer is due."""
        place = self.random.choice(sorted({place for place, _ in task.timers}))
        first = min(timer for timer in task.timers if timer[0] == place)
        task.timers.remove(first)
        task.handles.key = place
        assert task.operator is not None
        self._emit(task, place, task.operator.on_timer(first[1], task), (0, [], []))

    def _emit(
        self, task: Task, place: Place, outputs: Iterator[Any], applied: tuple[int, list[bytes], list[int]]
    ) -> None:
        """What an operator gives out goes on its way."""
        assert task.operator is not None
        for out in outputs:
            if isinstance(out, tuple):
                target = (MATCH, out[1][0])
                item: Item = (target, sources.FORWARD, bytes(out[1][1]), place[1])
                self.tasks[self._owner(target)].channels[task.name].append(item)
            else:
                self.tasks["sink"].channels[task.name].append((place, out[0], out[1], out[2]))
        shard = task.operator.shards[place[1]]
        flushed = place[0] == RISK or not shard.engine.ledger.touched  # type: ignore[attr-defined]
        self.joined += bool(shard.waiting)
        task.history[place].append((*applied, flushed and not shard.waiting))

    # Checkpoints

    def _trigger(self) -> None:
        """A checkpoint begins: the sources' offsets, and a barrier behind what they have read."""
        self.running = Checkpoint(offsets=dict(self.offsets))
        for task in self.tasks.values():
            if "source" in task.channels:
                task.channels["source"].append(BARRIER)

    def _snapshot(self, task: Task) -> None:
        """All barriers are there: the task's part of the checkpoint, and the barrier goes on."""
        checkpoint = self.running
        assert checkpoint is not None
        for channel in task.channels.values():
            assert channel.popleft() is BARRIER
        if task.operator is None:
            checkpoint.transaction = self.transactions
            self._begin()
        else:
            for place, history in task.history.items():
                checkpoint.history[place] = list(history)
                checkpoint.state[place] = deepcopy(task.handles.state.get(place, {}))
            checkpoint.timers |= task.timers
            for key, window in task.windows.items():
                checkpoint.windows[key] = list(window)
        for other in self.tasks.values():
            if task.name in other.channels:
                other.channels[task.name].append(BARRIER)
        checkpoint.parts += 1
        if checkpoint.parts == len(self.tasks):
            self.checkpoints += 1
            self.completed, self.running = checkpoint, None
            self.to_commit = checkpoint.transaction

    def _commit(self) -> None:
        assert self.to_commit is not None
        self.states[self.to_commit] = "committed"
        self.to_commit = None

    # Results

    def committed(self) -> list[Written]:
        """What readers with read_committed see."""
        return [record for record in self.log if self._visible(record)]

    def history(self) -> dict[Place, list[Applied]]:
        """The batches that survived, by shard."""
        return {place: history for task in self.tasks.values() for place, history in task.history.items()}
