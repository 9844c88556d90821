"""Runs a demo on a local stack of its own: start, prepare, submit, play, drain. `jobs.demo_result` judges it.

The stack lives in the folder `demo` of the state directory and has its own ports, so that a demo never touches a stack that
somebody works with. Whatever endpoints are configured, a demo speaks to its own stack only.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final, TypeVar

from clickhouse_connect.driver.exceptions import ClickHouseError
from confluent_kafka import KafkaException

from infra.feeds.items import Item
from infra.feeds.phases import Phase
from infra.feeds.publisher import Publisher
from infra.stack import Stack
from jobs import migrate, topics
from jobs.cli_schemas import SETUP_TIMEOUT_S, open_registry, register_all
from jobs.config import Config
from jobs.demo_alerts import demo_rules, rule_items
from jobs.demo_archive import Archive
from jobs.demo_display import Display, View
from jobs.demo_plan import LONGEST_WAIT_S, DemoOptions, Plan, check_options
from jobs.demo_setup import FOLDER, RECORD, DemoError, Played, demo_config
from jobs.demo_watch import GROUPS, KafkaWatch, Probe
from jobs.flink_rest import FlinkError
from jobs.submit import submit_job
from jobs.submit_together import together
from schemas.catalogue import ARCHIVED, TOPICS
from schemas.registry import COMPATIBILITY

JOBS: Final = ("market_data", "trading", "analytics", "archive")
CHECK_PATIENCE_S: Final = 5.0
STUCK_S: Final = 90.0
"""Waiting ends with an explanation when nothing has moved for so long."""
SUBMIT_S: Final = 300.0
"""How long a job may take until all its tasks run, on a slow and busy machine."""
_TICK_S: Final = 0.5
READ_TWICE: Final = frozenset({"controls", "reference-data", "nbbo"})
"""Topics that both stages of the trading job read."""
ANALYSED: Final = ("market-data", "nbbo", "market-status")
"""What the analytics job reads of the day."""
T = TypeVar("T")
_PROBE_S: Final = 2.0


class DemoRun:
    """One demo, step by step: `start`, `play`, `drain`; `close` ends what is ours, whatever happened.

    Methods raise DemoError, or the error of the part that failed, which says what to do.
    """

    def __init__(self, base: Config, overrides: Mapping[str, object], options: DemoOptions, display: Display) -> None:
        self.base = base
        self.options = options
        self.display = display
        self.played = Played()
        self._overrides = overrides
        self._stop = threading.Event()
        self._player: threading.Thread | None = None
        self._watch: KafkaWatch | None = None
        self._stack: Stack | None = None
        self._plan: Plan | None = None
        self._phases: Iterator[Phase] | None = None
        self._probe: Probe | None = None
        self._archive: Archive | None = None
        self._config: Config | None = None

    @property
    def config(self) -> Config:
        """The settings of the demo's stack, once it has been started."""
        return _there(self._config)

    @property
    def watch(self) -> KafkaWatch:
        """The demo's own consumer, once the topics are there."""
        return _there(self._watch)

    @property
    def archive(self) -> Archive:
        """The reader of the archive, once the stack is up."""
        return _there(self._archive)

    @property
    def probe(self) -> Probe:
        """The one who asks Kafka and Flink, once the jobs run."""
        return _there(self._probe)

    # ------------------------------------------------------------------------------------------------- starting

    def start(self) -> None:
        """Bring the stack up empty, make topics, schemas and tables, start the jobs, and prepare what is played."""
        display = self.display
        check_options(self.options)
        display.begin("Starting Kafka, registry, Flink and ClickHouse", "stack")
        folder = self.base.state_dir / FOLDER
        leftover = Stack(Config.load(overrides={"profile": "local", "state_dir": folder}), display.remark)
        if leftover.processes.names():
            display.remark("replacing the stack of an earlier demo")
        leftover.down(wipe=True)
        (folder / RECORD).unlink(missing_ok=True)
        config = demo_config(self.base, len(JOBS), self._overrides)
        # Known before it is up, so that `close` finds it when this is interrupted.
        self._stack = Stack(config, display.remark)
        self._stack.up()
        config = self._connect()

        display.begin("Creating topics, registering schemas, migrating ClickHouse", "tables")
        with topics.admin(config) as client:
            made = topics.create(client, config, list(TOPICS.values()))
        display.remark(f"{len(made)} topics")
        registry = open_registry(config, SETUP_TIMEOUT_S)
        registry.set_compatibility(COMPATIBILITY)
        ids = register_all(registry)
        display.remark(f"{len(ids)} schemas")
        display.remark(f"{len(migrate.apply(config, lambda _line: None))} migrations")
        plan = self._plan = Plan(self.options, ids)
        self._phases = plan.phases()
        self._watch = KafkaWatch(config).__enter__()

        # Reference data and rules before the jobs, so that nobody waits for them when they run.
        reference = next(self._phases)
        rules = demo_rules(plan.prices_e4, plan.days[0].midnight_ns, config.analytics)
        display.begin(f"Playing {reference.name} data and {len(rules)} rules for alerts", "tables")
        self._play_phase(reference.name, reference.items)
        self._play_phase("reference rules", rule_items(rules, ids["alert-rules"]))
        display.begin("Submitting the jobs " + ", ".join(JOBS), "jobs")
        self._submit(config)
        self._probe = Probe(config, self.played.jobs)
        # A rule holds for what is read after it.
        self._wait_for_inputs((*reference.awaits, "alert-rules"), final=False)

    def _submit(self, config: Config) -> None:
        """Submit the jobs, two at a time."""
        calls = {job: partial(submit_job, config, job, timeout_s=SUBMIT_S) for job in JOBS}
        for job, job_id in together(calls, _there(self._stack)):
            self.played.jobs[job] = job_id
            self.display.remark(f"{job} runs")

    def attach(self) -> None:
        """Look at the stack that an earlier demo left with --keep, instead of `start`, `play` and `drain`."""
        self.display.begin("Reading Kafka again", "reading")
        config = self._connect()
        self.played = Played.load(config.state_dir / RECORD)
        self._watch = KafkaWatch(config).__enter__()
        self._probe = Probe(config, self.played.jobs)
        self._wait_for_archive(patience_s=CHECK_PATIENCE_S)
        self.display.end()

    def _connect(self) -> Config:
        self._config = demo_config(self.base, len(JOBS), self._overrides, running=True)
        self._archive = Archive(self._config)
        return self._config

    # -------------------------------------------------------------------------------------------------- playing

    def play(self) -> None:
        """Play the phases of every day, each after the one before it has been processed."""
        plan, played = _there(self._plan), self.played
        played.title, played.symbols, played.speed = plan.title(), plan.symbols, plan.speed
        for name, items, awaits in _there(self._phases):
            pace = f"{plan.speed:,.0f}x real time" if plan.speed else "as fast as possible"
            playing = name.endswith("session")
            self.display.begin(f"Playing {name}, {pace}" if playing else f"Playing {name}", "playing")
            began = time.monotonic()
            self._play_phase(name, items)
            if playing:
                played.play_s += time.monotonic() - began
            # Topics race: the clock must not overtake orders, nor orders the opening.
            if playing:
                self.display.begin("Waiting until every order of the session is processed", "draining")
            self._wait_for_inputs(awaits, final=playing)
        played.controls = plan.flow.control_ids
        played.expected_refusals = plan.expected_refusals()
        played.expected_bad_ticks = plan.expected_bad_ticks()
        played.orders_per_s = played.sent.get("orders", 0) / played.play_s if played.play_s else 0.0

    def _play_phase(self, name: str, items: Iterator[Item]) -> None:
        """Publish in a thread of its own, so that Ctrl-C and the display are always served; `played.sent` grows."""
        config, plan = self.config, _there(self._plan)
        result: dict[str, int] = {}
        failures: list[BaseException] = []

        def run() -> None:
            try:
                # Only the session has a pace: nothing happens before and after it that is worth waiting for.
                speed = plan.speed if name.endswith("session") else 0.0
                with Publisher(config.kafka, self._stop) as publisher:
                    result.update(publisher.play(items, speed, longest_wait_s=LONGEST_WAIT_S).delivered)
            except BaseException as error:  # handed to the main thread, which raises it
                failures.append(error)

        self._player = threading.Thread(target=run, name="demo-player", daemon=True)
        self._player.start()
        meter = _Meter(self)
        while self._player.is_alive():
            self._player.join(_TICK_S)
            meter.show(look=not name.startswith("reference"))
        if failures:
            error = failures[0]
            raise DemoError(f"cannot play {name}: {error}") if isinstance(error, ValueError) else error
        sent = self.played.sent
        for topic, count in result.items():
            sent[topic] = sent.get(topic, 0) + count

    # ------------------------------------------------------------------------------------------------- draining

    def drain(self) -> None:
        """Wait until everything that was sent is processed, committed, read by our consumer, and archived."""
        self.display.begin("Waiting until everything is committed and archived", "draining")
        self._wait_for_inputs(("raw-feed", "nbbo", "orders", "controls"))
        self._wait_for_analytics()
        self._wait_for_archive()
        self.played.jobs = self.probe.job_ids
        self.played.save(self.config.state_dir / RECORD)
        self.display.end()

    def _wait_for_inputs(self, inputs: tuple[str, ...], *, final: bool = True) -> None:
        """Wait until the jobs have taken all of these topics; `final`: until two more checkpoints have made the effects so.

        Without it the next phase need only come after this one. One more checkpoint is waited for then where a topic is read
        in two places, because it counts as taken when one of them has it.
        """
        for topic in inputs:
            self._wait(f"records of {topic} are not taken by the jobs", partial(self.probe.input_lag, topic))
        # The first checkpoint may have begun before the last record was taken; the second one commits what it caused.
        self._wait_for_checkpoints(
            {"market_data": 2, "trading": 2} if final else {"trading": int(not READ_TWICE.isdisjoint(inputs))}
        )

    def _wait_for_checkpoints(self, more: Mapping[str, int]) -> None:
        """Wait until jobs have completed so many checkpoints more."""
        after = {name: self.probe.health(name).checkpoints + count for name, count in more.items()}
        self._wait(
            "checkpoints are missing",
            lambda: sum(max(0, wanted - self.probe.health(name).checkpoints) for name, wanted in after.items()),
        )

    def _wait_for_analytics(self) -> None:
        """Wait until the analytics job has taken what the others have made of the day, and committed what follows."""
        self._wait_for_watch()
        last = self.watch.last_offsets(ANALYSED)
        self._wait(
            "records are not taken by the analytics job",
            lambda: self.probe.untaken(GROUPS["analytics"][0], last),
        )
        self._wait_for_checkpoints({"analytics": 2})

    def _wait_for_watch(self) -> None:
        """Wait until all that was written is committed, and read by the demo's consumer."""

        def uncommitted() -> int:
            written = self.probe.ends(ARCHIVED, committed=False)
            final = self.probe.ends(ARCHIVED, committed=True)
            return sum(written[key] - final[key] for key in written)

        self._wait("records are in open transactions", uncommitted)
        ends = self.probe.ends(ARCHIVED, committed=True)
        self._wait("partitions are not read by the demo's consumer", lambda: self.watch.unread(ends))

    def _wait_for_archive(self, patience_s: float = STUCK_S) -> None:
        """Wait until all is committed, read and archived; rows that never come are for the reconciliation to report."""
        self._wait_for_watch()

        def unarchived() -> int:
            kafka, rows = self.watch.counts(), self.archive.counts()
            return sum(abs(kafka[topic] - rows[topic]) for topic in ARCHIVED)

        self._wait("records are not in ClickHouse", unarchived, patience_s, must=False)

    def _wait(self, what: str, remaining: Callable[[], int], patience_s: float = STUCK_S, *, must: bool = True) -> None:
        """Wait until `remaining()` is 0. When nothing moves for so long: raise DemoError, or go on if it need not be."""
        meter = _Meter(self)
        moved, before = time.monotonic(), -1
        while (left := remaining()) != 0:
            if left != before:
                moved, before = time.monotonic(), left
            meter.show(look=True)
            if time.monotonic() - moved > patience_s:
                if not must:
                    return
                raise DemoError(f"{left:,} {what}, and nothing has moved for {patience_s:.0f} s. {self._explain()}")
            time.sleep(_TICK_S)

    def _explain(self) -> str:
        """How the jobs are, for a message."""
        texts = []
        for name in self.probe.job_ids:
            health = self.probe.health(name)
            age = "has no checkpoint" if health.age_ms is None else f"last checkpoint {health.age_ms / 1e3:.0f} s ago"
            texts.append(f"{name} is {health.state}, {health.restarts} restarts, {age}")
        return f"{'; '.join(texts)}. Logs: {self.config.log_dir}, web UI: {self.config.flink.rest_url}"

    # ---------------------------------------------------------------------------------------------------- ending

    def stop_players(self) -> None:
        """End the threads that send and read."""
        self._stop.set()
        if self._player is not None:
            self._player.join(10.0)
        if self._watch is not None:
            self._watch.__exit__()
        # Kafka's client ends with it; it would complain when the broker goes.
        self._probe = None

    def close(self, *, wipe: bool) -> None:
        """Stop the stack; with `wipe` delete its data and logs."""
        if self._stack is not None:
            self._stack.down(wipe=wipe)

    def kill(self) -> None:
        """End every process of the stack at once."""
        if self._stack is not None:
            self._stack.processes.sweep()


class _Meter:
    """Keeps the display up to date: counts at once, what must be asked for every few seconds."""

    def __init__(self, run: DemoRun) -> None:
        self._run = run
        self._view = View()
        self._probed = 0.0
        self._before: dict[str, int] = {}
        self._before_s = time.monotonic()

    def show(self, *, look: bool) -> None:
        """Show the counts as they are; `look`: also ask Kafka, Flink and ClickHouse when it is time to.

        Raises FlinkError when a job has ended, WatchError when our consumer has.
        """
        run, view, plan = self._run, self._view, self._run._plan
        watch = run.watch
        watch.check()
        view.stages = dict(watch.stages)
        view.dead_letters = watch.count("dead-letter")
        if plan is not None:
            view.sent = {"orders": plan.made["orders"], "ticks": plan.made["raw-feed"]}
            view.event_time_ns = plan.event_time_ns
            view.share = plan.share()
        if look and time.monotonic() - self._probed >= _PROBE_S:
            self._look()
            self._rates()
            self._probed = time.monotonic()
        run.display.show(view)

    def _look(self) -> None:
        view, run = self._view, self._run
        run.probe.require_running()
        try:
            snapshot = run.probe.snapshot()
            read = sum(run.watch.count(topic) for topic in ARCHIVED)
            view.archived = sum(run.archive.counts().values())
            view.lag = {**snapshot.lag, "archive": max(0, read - view.archived)}
            view.jobs = snapshot.jobs
        except (FlinkError, KafkaException, ClickHouseError):
            # A busy machine may answer late; what is shown is a little old then, and the next look tells.
            return

    def _rates(self) -> None:
        now, counts = time.monotonic(), {**self._view.sent, "archived": self._view.archived}
        if self._before:
            passed = now - self._before_s
            self._view.rates = {name: (count - self._before.get(name, 0)) / passed for name, count in counts.items()}
        self._before, self._before_s = counts, now


def _there(value: T | None) -> T:
    """The value, which an earlier step has made."""
    if value is None:
        raise DemoError("the steps of a demo were called in another order than start, play, drain")
    return value
