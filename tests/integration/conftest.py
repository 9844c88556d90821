"""What the integration tests share."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """Give each test the environment that it found.

    Python of a Flink that a test runs in its own process is called back here, and Flink puts the settings of its workers,
    which may not start a gateway, into the environment. Programs that later tests start would inherit them.
    """
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
