"""`tradestream chaos` as a user gives it, and, on demand, the proof that its checker catches broken builds of the jobs.

The long form is the command itself: `tradestream chaos --faults 200`; what came of it is in jobs/chaos.md.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from infra.stack import Stack, terminate_as_interrupt
from jobs.chaos_faults import Arena, Fault
from jobs.chaos_run import ChaosRun, Options
from jobs.config import Config, project_root
from jobs.migrate import endpoint

BROKEN = Path(__file__).resolve().parent / "broken"
TIMEOUT_S = 1_500
"""A deadline for busy machines; two faults take about two and a half minutes on two quiet cores."""


def command(*arguments: str) -> list[str]:
    """The command line."""
    return [sys.executable, "-m", "jobs.cli", "chaos", *arguments]


def environment(folder: Path) -> dict[str, str]:
    """Ours, with a folder for temporary files."""
    return {**os.environ, "TMPDIR": str(folder)}


def leftovers(folder: Path) -> list[int]:
    """Processes of stacks in a folder of temporary files; they are ended."""
    return [
        pid
        for state_dir in folder.glob("tradestream-chaos-*/demo")
        for pid in Stack(Config.load(overrides={"profile": "local", "state_dir": state_dir})).processes.sweep()
    ]


@pytest.mark.timeout(TIMEOUT_S + 60)
def test_chaos_of_two_kills_breaks_no_promise(tmp_path: Path) -> None:
    arguments = ("--faults", "2", "--seed", "3", "--only", "kill-taskmanager", "--only", "kill-broker", "--json")
    done = subprocess.run(
        command(*arguments),
        cwd=project_root(),
        env=environment(tmp_path),
        # What it says on the way is seen at once with `pytest -s`, and of a failure in any case.
        stdout=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["faults"], result["violations"], result["found"]) == (2, 0, [])
    assert {struck["kind"] for struck in result["struck"]} == {"kill-taskmanager", "kill-broker"}
    assert 0 < result["recovery_s_max"] <= Options().limit_s
    assert result["orders"] > 300 and result["trades"] > 100, "so little was done that nothing was tested"
    assert not list(tmp_path.glob("tradestream-chaos-*")), "the stack's folder is left"


@pytest.mark.timeout(400)
def test_chaos_that_is_interrupted_leaves_neither_processes_nor_files(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command("--seed", "1"), cwd=project_root(), env=environment(tmp_path), stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 200
        while not list(tmp_path.glob("tradestream-chaos-*/demo/processes/*.json")):
            assert process.poll() is None and time.monotonic() < deadline, "it did not start a stack"
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=200)
        assert process.returncode == 130, said
        assert not list(tmp_path.glob("tradestream-chaos-*")), said
    finally:
        process.kill()
        assert not leftovers(tmp_path)


def kill_worker_of(job: str) -> Fault:
    """A fault: kill -9 of the TaskManager that a job runs on."""

    def strike(arena: Arena, rng: Random) -> str:
        (target,) = arena.taskmanagers(job)
        arena.supervise(rng.uniform(0.5, 3.0))
        arena.stack.kill_component(target)
        return f"kill -9 {target} ({job})"

    return strike


class Build(NamedTuple):
    """A release that is broken on purpose: whose file it replaces, and the violation that gives it away."""

    job: str
    script: str
    kind: str
    text: str
    right_at_first: bool
    """Whether it is right until its job restarts."""


BUILDS = (
    # Readers are given the events since the last checkpoint a second time.
    Build("trading", "trading.py", "duplicate", "came again", right_at_first=True),
    # Rows that were written after the last checkpoint are written a second time.
    Build("archive", "archive.py", "archive doubled", "have several rows", right_at_first=True),
    # The counter begins anew: trades after the restart have the ids of those before it.
    Build("trading", "trading_ids.py", "duplicate", "is told to an order a second time", right_at_first=False),
)


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("build", BUILDS, ids=[build.script.removesuffix(".py") for build in BUILDS])
def test_chaos_of_a_broken_build_is_caught(build: Build, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    if not pytestconfig.getoption("--chaos-proof"):
        pytest.skip("on demand: --chaos-proof")
    options = Options(seed=5)
    run = ChaosRun(Config.load(), tmp_path, options, print, {build.job: str(BROKEN / build.script)})
    rng = Random(5)

    def caught() -> list[str]:
        return [found.text for found in run.ledger.violations if found.kind == build.kind and build.text in found.text]

    with terminate_as_interrupt():
        try:
            run.start()
            run.settle("before the kill")
            # What is written twice would collapse whenever ClickHouse merges parts; here it stays to be seen.
            endpoint(run.config).connect().command("SYSTEM STOP MERGES")
            before = {violation.kind for violation in run.ledger.violations}
            assert before == (set() if build.right_at_first else {"broken id"}), run.ledger.violations
            run.ledger.violations.clear()
            run.enough = lambda: bool(caught())
            for _ in range(4):
                print(run.inflict(f"kill {build.job}", kill_worker_of(build.job), rng))
                if caught():
                    break
            assert caught(), run.ledger.violations
            print(caught()[0])
        finally:
            run.close()
