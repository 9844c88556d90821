"""One run of `tradestream chaos`: a stack of its own, a workload, faults one after the other, a check after each.

`start` brings everything up and opens the session; `strike` lets one fault happen, waits until new orders are answered and
archived again, holds the load until everything is settled, and checks; `finish` closes the session and reads
everything again. `close` ends what was started, whatever happened.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from infra.feeds.items import Item
from infra.feeds.phases import Phase
from infra.feeds.sessions import DEFAULT_DAY, trading_day
from infra.feeds.workloads import DeterministicFlow
from jobs import chaos_load
from jobs.chaos_archive import Archive
from jobs.chaos_faults import FAULTS, JOBS, PATIENCE, Fault
from jobs.chaos_keep import AWAY, START_S, Keeper, KeptJob
from jobs.chaos_ledger import DECODED, READ, Ledger
from jobs.chaos_load import Ghosts, Load, Reader
from jobs.cli_reconcile import compare_topic
from jobs.config import Config
from jobs.demo_setup import demo_config
from jobs.demo_watch import Probe
from jobs.reconcile_archive import Tally
from schemas.catalogue import ARCHIVED, TOPICS

TASKMANAGERS: Final = 4
"""A slot for each job and a spare one: for the one that is struck, and for a rescaled job."""
_TICK_S: Final = 0.5
_EARLY: Final = 200
_FIRST: Final = 1_000
T = TypeVar("T")


class ChaosError(RuntimeError):
    """The run cannot go on; the message says why."""


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault that happened. `recovery_s` is None when the system did not recover in time."""

    kind: str
    what: str
    at_s: float
    recovery_s: float | None
    violations: int
    orders: int
    trades: int


@dataclass(frozen=True, slots=True)
class Options:
    """rate, ticks: commands and quotes a second. limit_s: a recovery that takes longer is a violation.

    lasts_s: for how long there is load beside the faults. taskmanagers: of one slot each. apart: that of `demo_config`; trading
    has two subtasks after a rescale.
    """

    faults: int = 2
    seed: int = 1
    rate: float = 40.0
    ticks: float = 30.0
    limit_s: float = 240.0
    lasts_s: float = 600.0
    taskmanagers: int = TASKMANAGERS
    apart: int = 2


class ChaosRun(Keeper):
    """The arena of the faults (`chaos_faults.Arena`)."""

    def __init__(
        self,
        base: Config,
        folder: Path,
        options: Options,
        say: Callable[[str], None],
        scripts: Mapping[str, str] | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        """`scripts`: other files to submit instead of a job's own, by its name: builds that tests have broken. `settings`: of the
        stack and the jobs, by key.
        """
        self._settings = dict(settings or {})
        config = demo_config(
            _in(base, folder),
            options.taskmanagers,
            {"stack.start_timeout_s": 400, **self._settings},
            apart=options.apart,
        )
        super().__init__(config, options.limit_s, say, scripts or {})
        self.options = options
        self.struck: list[Struck] = []
        self.ledger = Ledger({})
        self._base, self._folder = base, folder
        self._began = time.monotonic()
        self._load: Load | None = None
        self._ghosts: Ghosts | None = None
        self._reader: Reader | None = None
        self._archive: Archive | None = None
        self._probe: Probe | None = None
        self._phases: Iterator[Phase] = iter(())
        self._poisoned = 0
        self._recovery_s = 0.0
        """Of a part of the present fault."""
        self.enough: Callable[[], bool] = lambda: False
        """Whether what a broken build was to be caught at has been found: nobody waits for what will never settle then."""

    # ------------------------------------------------------------------------------------------------- beginning

    def start(self) -> None:
        """Bring up the stack, topics, schemas, tables and jobs, and open the session under load."""
        self.say("starting Kafka, registry, Flink and ClickHouse")
        self.start_stack()
        # Loaded again, to have the password that `up` made.
        self.config = demo_config(
            _in(self._base, self._folder),
            self.options.taskmanagers,
            self._settings,
            apart=self.options.apart,
            running=True,
        )
        config = self.config
        self.say("creating topics, schemas and tables")
        ids = self.set_up()
        self.ledger = Ledger({topic: ids[topic] for topic in DECODED})
        self._reader = Reader(config, self.ledger)
        self._reader.start()
        self._archive = Archive(config, self.ledger)
        flow = DeterministicFlow(
            trading_day(DEFAULT_DAY),
            ids,
            config.trading.account_shards,
            TOPICS["orders"].partitions_local,
            seed=self.options.seed,
            run_id=f"CHAOS{self.options.seed}",
        )
        longest_s = self.options.lasts_s + self.options.faults * (2 * self.options.limit_s + 60)
        self._phases = flow.phases(int(self.options.rate * longest_s), early=_EARLY)
        ticks = chaos_load.ticks_of(flow, ids["raw-feed"], f"CHAOS{self.options.seed}")
        # The load sends the first phases too: what it sent is what was acknowledged.
        self._load = Load(config, self._session(), ticks, self.options.rate, self.options.ticks)
        self._ghosts = Ghosts(config, flow, ids["orders"])
        self._send_phases("reference")
        for job in JOBS:
            self.jobs[job] = KeptJob(config)
        self.submit_all()
        self._await_inputs(("reference-data",))
        self._send_phases("quotes")
        self._load.start()
        self._ghosts.start()
        if self._await_fresh(time.monotonic(), START_S) is None:
            raise ChaosError(f"no order was answered and archived within {START_S:.0f} s; {self._logs()}")
        self.say("the session is open, orders are answered and archived")

    def _session(self) -> Iterator[Item]:
        phase = next(self._phases)
        assert phase.name == "session", phase.name
        yield from phase.items

    def _send_phases(self, last: str) -> None:
        """Play phases up to the one called `last`, each when the one before it has been taken."""
        load = _there(self._load)
        for phase in self._phases:
            if phase.name == "session":
                continue
            for topic, key, value, _ in phase.items:
                load.send(topic, key, value, {"orders": "command", "raw-feed": "tick"}.get(topic, "other"))
            deadline = time.monotonic() + START_S
            while load.flush():
                self._expect(deadline, "Kafka does not take what is sent")
            if self.jobs:
                self._await_inputs(phase.awaits)
            if phase.name == last:
                return

    def _await_inputs(self, inputs: tuple[str, ...]) -> None:
        """Wait until the jobs have taken these topics, and for one more checkpoint: some are read in two places."""
        probe = Probe(self.config, {name: job.id for name, job in self.jobs.items()})
        deadline = time.monotonic() + START_S
        for topic in inputs:
            while probe.input_lag(topic):
                self._expect(deadline, f"the jobs do not take {topic}")
        before = probe.health("trading").checkpoints
        while probe.health("trading").checkpoints < before + 1:
            self._expect(deadline, "trading makes no checkpoint")

    def _expect(self, deadline: float, what: str) -> None:
        if time.monotonic() > deadline:
            raise ChaosError(f"{what} within {START_S:.0f} s; {self._logs()}")
        self._watch()
        time.sleep(_TICK_S)

    def _logs(self) -> str:
        return f"the logs are in {self.config.log_dir}"

    def _watch(self) -> None:
        """Hand acknowledgements to the ledger. Raises ChaosError when a thread of ours has failed."""
        load, reader = _there(self._load), _there(self._reader)
        failure = load.failure or reader.failure
        if failure:
            raise ChaosError(failure)
        with self.ledger.lock:
            self.ledger.acknowledged(load.acks())

    # --------------------------------------------------------------------------------------------------- striking

    def strike(self, kind: str, rng: random.Random) -> Struck:
        """Let a fault of a kind of FAULTS happen, wait for the recovery, settle, check."""
        return self.inflict(kind, FAULTS[kind][0], rng)

    def inflict(self, kind: str, fault: Fault, rng: random.Random) -> Struck:
        """The same with any fault."""
        violations = self.ledger.violation_count
        at_s = time.monotonic() - self._began
        self.recover_from = self._recovery_s = 0.0
        what = fault(self, rng)
        since = self.recover_from or time.monotonic()
        limit_s = self.options.limit_s * PATIENCE.get(kind, 1.0)
        recovered = self._await_fresh(since, limit_s)
        recovery_s = None if recovered is None else max(recovered - since, self._recovery_s)
        if recovery_s is None:
            self.ledger.report("stall", f"{kind}: no new order was answered and archived in {limit_s:.0f} s")
        else:
            self.settle(kind)
        struck = Struck(
            kind,
            what,
            at_s,
            recovery_s,
            self.ledger.violation_count - violations,
            len(self.ledger.orders.lives),
            self.ledger.orders.trades,
        )
        self.struck.append(struck)
        return struck

    def _await_fresh(self, since: float, limit_s: float) -> float | None:
        """When the first order and the first tick sent after `since` were answered and the order archived; None: never."""
        load, archive = _there(self._load), _there(self._archive)
        deadline = time.monotonic() + limit_s
        wanted = {"command", "tick"}
        while time.monotonic() < deadline:
            self.mend()
            self._watch()
            # The first ones are answered first.
            fresh = [ack for ack in list(load.recent) if ack.sent_s > since][:_FIRST]
            with self.ledger.lock:
                answered = [ack for ack in fresh if self.ledger.answered(ack)]
            if wanted == {ack.kind for ack in answered}:
                order = next(ack for ack in answered if ack.kind == "command")
                with contextlib.suppress(*AWAY):
                    if archive.holds(order.topic, order.partition, order.offset):
                        return time.monotonic()
            time.sleep(_TICK_S / 2)
        return None

    def settle(self, what: str, *, closed: bool = False, go_on: bool = True) -> None:
        """Hold the load until everything is acknowledged, answered, committed, read and archived; check; `go_on` then."""
        load, ghosts, archive = _there(self._load), _there(self._ghosts), _there(self._archive)
        load.paused.set()
        ghosts.paused.set()
        deadline = time.monotonic() + self.options.limit_s
        left: dict[str, int] = {}
        settled = 0
        began = time.monotonic()
        try:
            while time.monotonic() < deadline:
                self.mend()
                self._watch()
                left = self._unsettled(load, archive)
                # Twice in a row: what nobody waits for any more could still come.
                settled = settled + 1 if not left else 0
                if settled == 2 or self.enough():
                    break
                time.sleep(_TICK_S)
            if left and not self.enough():
                self.ledger.report("stall", f"{what}: not settled within {self.options.limit_s:.0f} s: {left}")
            settled_s = time.monotonic() - began
            with self.ledger.lock:
                self.ledger.check(closed=closed)
            self._check_archive(archive)
            self.say(f"  settled in {settled_s:.1f} s, checked in {time.monotonic() - began - settled_s:.1f} s")
            if not closed:
                self.held(what)
        finally:
            if go_on:
                load.paused.clear()
                ghosts.paused.clear()

    def held(self, what: str) -> None:
        """Called when all is settled and checked after `what`, the load held and the session open: to measure in quiet."""

    def _unsettled(self, load: Load, archive: Archive) -> dict[str, int]:
        """What is still on its way: names and numbers."""
        if load.pending():
            return {"records are not acknowledged": load.pending()}
        with self.ledger.lock:
            left = self.ledger.waiting()
        if left:
            return left
        try:
            if self._probe is None:
                self._probe = Probe(self.config, {})
            ends = self._probe.ends(READ, committed=False)
            unread = sum(_there(self._reader).ends.get(part, 0) < end for part, end in ends.items())
            if unread:
                return {"partitions are not read to their ends": unread}
            behind = archive.behind()
            return {"records and rows do not agree": behind} if behind else {}
        except AWAY as error:
            return {f"no answer: {error}": 1}

    def _check_archive(self, archive: Archive) -> None:
        for attempt in range(5):
            try:
                archive.check()
                return
            except AWAY as error:
                self.say(f"ClickHouse does not answer ({error}), attempt {attempt + 1}")
                time.sleep(2.0)
        self.ledger.report("stall", "ClickHouse could not be asked")

    def finish(self) -> None:
        """Close the session, settle, read everything again, and compare every column of ClickHouse."""
        _there(self._ghosts).stop()
        self.say("closing the session")
        self.settle("before the close", go_on=False)
        # The close must not overtake orders: all are answered now.
        self._send_phases("close")
        self.settle("after the close", closed=True, go_on=False)
        self.say("reading everything again")
        chaos_load.read_again(self.config, self.ledger, self.options.limit_s)
        self.say("comparing every column of ClickHouse")
        for topic in ARCHIVED:
            for difference in compare_topic(self.config, topic, Tally()):
                self.ledger.report("archive differs", json.dumps(difference, default=str))

    def result(self) -> dict[str, object]:
        """What the run found, for the JSON line."""
        recoveries = [struck.recovery_s for struck in self.struck if struck.recovery_s is not None]
        return {
            "faults": len(self.struck),
            "violations": self.ledger.violation_count,
            "recovery_s_max": round(max(recoveries, default=0.0), 1),
            "orders": len(self.ledger.orders.lives),
            "trades": self.ledger.orders.trades,
            "seed": self.options.seed,
            "struck": [dataclasses.asdict(struck) for struck in self.struck],
            "found": [violation._asdict() for violation in self.ledger.violations],
        }

    def close(self) -> None:
        """End threads, clients and the stack; its folder goes too, unless something was found."""
        for part in (self._ghosts, self._load, self._reader):
            if part is not None:
                part.stop()
        self.stack.down()

    # ------------------------------------------------------------------------------------------------ supervising

    def supervise(self, seconds: float) -> None:
        """See `chaos_faults.Arena`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.mend()
            self._watch()
            time.sleep(min(_TICK_S, max(0.0, deadline - time.monotonic())))

    def recovered(self) -> None:
        """See `chaos_faults.Arena`."""
        since = time.monotonic()
        recovered = self._await_fresh(since, self.options.limit_s)
        if recovered is None:
            raise ChaosError(f"no recovery within {self.options.limit_s:.0f} s; {self._logs()}")
        self._recovery_s = recovered - since

    def skew(self, milliseconds: int) -> None:
        """See `chaos_faults.Arena`."""
        _there(self._load).skew_ms = milliseconds

    def poison(self, rng: random.Random) -> int:
        """See `chaos_faults.Arena`."""
        load = _there(self._load)
        self._poisoned += 1
        records = list(chaos_load.poison(rng, load.samples, self._poisoned))
        for topic, key, value in records:
            load.send(topic, key, value, "poison")
        return len(records)


def _in(base: Config, folder: Path) -> Config:
    """The settings with another state folder."""
    return dataclasses.replace(base, state_dir=folder)


def _there(value: T | None) -> T:
    """The value, which `start` has made."""
    if value is None:
        raise ChaosError("the run has not been started")
    return value
