"""Keeps the jobs and processes of a chaos run alive, as a supervisor would: systemd, or Kubernetes with Flink's operator.

A process that is dead is started again, a job that is gone is resumed from its newest savepoint or retained checkpoint. What a
fault has taken away on purpose is in `Keeper.away` and left alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from clickhouse_connect.driver.exceptions import ClickHouseError
from confluent_kafka import KafkaException
from kafka.errors import KafkaError

from infra.stack import Stack, StackError
from jobs import migrate, topics
from jobs.cli_schemas import SETUP_TIMEOUT_S, open_registry, register_all
from jobs.config import Config
from jobs.demo_watch import Probe
from jobs.flink_rest import FlinkError, FlinkRest
from jobs.job_state import find_state, savepoint_directory
from jobs.submit import SubmitError, submit_job
from jobs.submit_together import together
from schemas.catalogue import TOPICS
from schemas.registry import COMPATIBILITY, RegistryError

SUBMIT_S: Final = 300.0
"""How long a job may take until all its tasks run, on a slow and busy machine."""
START_S: Final = 600.0
"""How long each step of the set-up may take: nothing has been struck yet, and a busy machine is no finding."""
AWAY: Final = (ClickHouseError, KafkaException, FlinkError, OSError)
"""What clients say of a component that is not there."""
JOBS_EVERY_S: Final = 2.0
_COMMITTED: Final = ("order-events",)
_QUIET_S: Final = 1.5
"""A commit is over when no partition's committed end has moved for so long."""


@dataclass(slots=True)
class KeptJob:
    """A job that is kept running: the settings for its next submission, and the id of the last one."""

    config: Config
    id: str = ""


class Keeper:
    """The stack and the jobs of one run."""

    def __init__(self, config: Config, limit_s: float, say: Callable[[str], None], scripts: Mapping[str, str]) -> None:
        """`scripts`: other files to submit instead of a job's own, by its name."""
        self.config = config
        self.limit_s = limit_s
        self.say = say
        self.stack = Stack(config, lambda _line: None)
        self.away: set[str] = set()
        self.jobs: dict[str, KeptJob] = {}
        self.scripts = dict(scripts)
        self.recover_from = 0.0
        """When the system had everything again that it needs to recover; monotonic seconds, 0 when no fault said so."""
        self._looked = 0.0

    def start_stack(self) -> None:
        """Bring up the stack, at a second attempt if need be: a process gives up when others are slow to come."""
        try:
            self.stack.up()
        except StackError as error:
            self.say(f"  not started, tried again: {str(error).splitlines()[0]}")
            self.stack.up()

    def set_up(self) -> dict[str, int]:
        """Make topics, schemas and tables; the schemas' ids. What a server does not answer in time is asked again."""
        config = self.config
        deadline = time.monotonic() + START_S
        while True:
            try:
                with topics.admin(config) as client:
                    topics.create(client, config, list(TOPICS.values()))
                known = open_registry(config, SETUP_TIMEOUT_S)
                known.set_compatibility(COMPATIBILITY)
                ids = register_all(known)
                migrate.apply(config, lambda _line: None)
                return ids
            except (*AWAY, KafkaError, RegistryError) as error:
                refused = isinstance(error, RegistryError) and error.status
                if refused or time.monotonic() > deadline:
                    raise
                self.say(f"  not answered, tried again: {error!r:.200}")

    def mend(self) -> None:
        """Start again what is dead, resume jobs that are gone."""
        missing = [
            name
            for name in self.stack.component_names()
            if name not in self.away and self.stack.processes.find(name) is None
        ]
        if missing:
            try:
                self.stack.up(missing)
            except StackError as error:
                self.say(f"not started, tried again: {str(error).splitlines()[0]}")
                return
        if self.away & {"jobmanager", "kafka", "registry"} or time.monotonic() - self._looked < JOBS_EVERY_S:
            return
        self._looked = time.monotonic()
        try:
            live = {job.name for job in self.rest().jobs() if job.live}
        except FlinkError:
            return
        gone = [name for name in self.jobs if name not in live]
        for _ in together({name: partial(self._resume, name) for name in gone}, self.stack):
            pass

    def _resume(self, name: str) -> None:
        """Start a job that is gone from its newest state; one that cannot be started is tried again later."""
        try:
            state = find_state(self.config, self.rest(), name)
            self.say(f"resuming {name} from its newest {state.kind if state else 'nothing'}")
            self.submit(name, state.path if state else None)
        except (FlinkError, SubmitError) as error:
            self.say(f"{name} is not resumed, tried again: {str(error).splitlines()[0]}")

    def submit_all(self) -> None:
        """Start all jobs afresh; on a machine so busy that a client gives up, again. Raises SubmitError or FlinkError."""
        deadline = time.monotonic() + START_S
        while missing := [name for name, job in self.jobs.items() if not job.id]:
            for name, error in together({name: partial(self._try_to_start, name) for name in missing}, self.stack):
                if error is None:
                    self.say(f"{name} runs")
                elif time.monotonic() > deadline:
                    raise error

    def _try_to_start(self, name: str) -> Exception | None:
        """Start a job afresh; what kept it from starting."""
        try:
            # One whose client gave up may have been taken all the same.
            taken = next((job.id for job in self.rest().jobs() if job.name == name and job.live), "")
            if taken:
                self.rest().wait_until_running(taken, SUBMIT_S)
                self.jobs[name].id = taken
            else:
                self.submit(name, None)
        except (SubmitError, FlinkError) as error:
            self.say(f"{name} is not started: {str(error).splitlines()[0]}")
            return error
        return None

    def submit(self, name: str, savepoint: str | None) -> None:
        """Start a job, from a state or afresh; return when its tasks run. Raises SubmitError or FlinkError."""
        job = self.jobs[name]
        job.id = submit_job(job.config, self.scripts.get(name, name), from_savepoint=savepoint, timeout_s=SUBMIT_S)

    def rest(self) -> FlinkRest:
        return FlinkRest(self.config.flink.rest_url)

    def job_config(self, job: str) -> Config:
        """See `chaos_faults.Arena`."""
        return self.jobs[job].config

    def change_job(self, job: str, config: Config) -> None:
        """See `chaos_faults.Arena`."""
        self.jobs[job].config = config

    def taskmanagers(self, job: str) -> list[str]:
        """See `chaos_faults.Arena`."""
        found = self.rest().taskmanagers(self.rest().find(job).id)
        return [name for name in self.stack.component_names() if any(one.startswith(f"{name}-") for one in found)]

    def move(self, job: str) -> None:
        """See `chaos_faults.Arena`."""
        self.returned()
        self.submit(job, self._stop_job(job))

    def _stop_job(self, name: str) -> str:
        """Stop a job with a savepoint; return its path."""
        deadline = time.monotonic() + self.limit_s
        while True:
            try:
                running = self.rest().find(name).id
                return self.rest().stop(running, savepoint_directory(self.config, name), self.limit_s)
            except FlinkError as error:
                # A checkpoint that fails at that moment takes the savepoint with it; the job restarts by itself.
                self.say(f"{name} does not stop, tried again: {str(error).splitlines()[0]}")
                if time.monotonic() > deadline:
                    raise
                time.sleep(1.0)

    def after_commit(self) -> None:
        """See `chaos_faults.Arena`. Raises FlinkError when nothing is committed within the limit."""
        probe = Probe(self.config, {})
        deadline = time.monotonic() + self.limit_s
        ends, moved_s = probe.ends(_COMMITTED, committed=True), 0.0
        while not moved_s or time.monotonic() - moved_s < _QUIET_S:
            if time.monotonic() > deadline:
                raise FlinkError(f"trading has committed nothing for {self.limit_s:.0f} s")
            time.sleep(0.2)
            before, ends = ends, probe.ends(_COMMITTED, committed=True)
            if ends != before:
                moved_s = time.monotonic()

    def stop_jobs(self) -> None:
        """See `chaos_faults.Arena`."""
        self.returned()
        for _ in together({name: partial(self._stop_job, name) for name in self.jobs}, self.stack, len(self.jobs)):
            pass

    def returned(self) -> None:
        """See `chaos_faults.Arena`."""
        self.recover_from = time.monotonic()

    def failed_checkpoints(self) -> int:
        """See `chaos_faults.Arena`."""
        rest = self.rest()
        ids = [job.id for job in rest.jobs()]
        return sum(rest.checkpoints(job_id).failed + rest.restarts(job_id) for job_id in ids)
