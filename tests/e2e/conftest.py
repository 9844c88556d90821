"""One real stack for all end-to-end tests of a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from infra import prometheus
from infra.stack import Stack, StackError, free_port_offset, terminate_as_interrupt
from jobs.config import Config


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
