"""What the integration tests share."""

import os
from collections.abc import Iterator

import pytest
from archive_gateway import GatewayProcess


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


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A ClickHouse engine of the module's own, with empty databases."""
    process = GatewayProcess(tmp_path_factory.mktemp("clickhouse"))
    yield process
    process.stop()
