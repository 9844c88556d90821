"""One real stack for all end-to-end tests of a run."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Generator, Iterator
from typing import Final, NamedTuple

import pytest

from infra import prometheus
from infra.stack import Stack, StackError, free_port_offset, terminate_as_interrupt
from jobs.bench_memory import find_jcmd
from jobs.config import Config

_COMPLAINTS: Final = 8
_FRAMES: Final = 14


class RunningStack(NamedTuple):
    """What the `stack` fixture yields: ``config, stack = stack``."""

    config: Config
    stack: Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """Start the whole stack in a temporary folder on free ports; end it whatever happens.

    Four TaskManagers: a slot each for market_data, trading and archive, and a spare for the one that a test kills.
    """
    state_dir = tmp_path_factory.mktemp("stack")
    settings = {"state_dir": state_dir, "stack.taskmanagers": 4, "stack.monitoring": True}
    try:
        prometheus.program(Config.load(overrides=settings), progress=print)
    except StackError as error:
        print(f"without monitoring: {error}")
        settings["stack.monitoring"] = False
    config = Config.load(overrides=settings | {"stack.port_offset": free_port_offset(Config.load(overrides=settings))})
    running = Stack(config, progress=print)
    with terminate_as_interrupt():
        try:
            running.up()
            # Loaded again, to have the endpoints and the password that `up` wrote.
            yield RunningStack(
                Config.load(overrides=settings | {"stack.port_offset": config.stack.port_offset}), running
            )
        finally:
            running.down(wipe=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show, with a failure, what the stack's processes complain of and what tasks that have not started are doing.

    The stack and its logs are gone when the run is over, and some failures come once in a hundred runs.
    """
    report = yield
    running = getattr(item, "funcargs", {}).get("stack")
    if report.when == "call" and report.failed and isinstance(running, RunningStack):
        report.sections.append(("the stack", "\n".join(_told(running))))
    return report


def _told(running: RunningStack) -> Iterator[str]:
    """Of each process: its newest warnings and errors, and the stacks of threads that start tasks."""
    for name in running.stack.component_names():
        for path in running.stack.log_files(name):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            complaints = [line for line in lines if re.search(r"\b(WARN|ERROR|FATAL)\b", line)]
            yield from (f"{name}: {line[:300]}" for line in complaints[-_COMPLAINTS:])
        process = running.stack.processes.find(name)
        if name.startswith("taskmanager") and process is not None:
            words = [find_jcmd(running.config), str(process.pid), "Thread.print"]
            dump = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False).stdout
            for thread in dump.split("\n\n"):
                if "StreamTask.restore" in thread or "Task.doCancel" in thread or "TaskCanceler" in thread:
                    yield "\n".join([f"{name} starts or ends a task:", *thread.splitlines()[:_FRAMES]])
