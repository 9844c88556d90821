"""The archive's connections to ClickHouse end with their writer: in thread mode the process outlives the job."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from archive_gateway import SCHEMA_ID, GatewayProcess, connect, offsets_in, trades, writer
from clickhouse_connect.driver.exceptions import OperationalError

from jobs import migrate
from jobs.config import Config
from jobs.migrate import endpoint
from udfs.operators.clickhouse_writer import Limits
from udfs.operators.write_clickhouse import RegistryAddress, WriteClickhouse, WriteSettings


@pytest.fixture
def config(gateway: GatewayProcess, request: pytest.FixtureRequest) -> Config:
    """A database of the test's own, migrated."""
    settings = gateway.config(request.node.name[:60])
    migrate.apply(settings, print)
    return settings


def connections(config: Config) -> int:
    """Sockets of this process to ClickHouse, whatever the other side thinks of them."""
    port = urlsplit(config.clickhouse.url).port
    return sum(bool(one.raddr) and one.raddr.port == port for one in psutil.Process().net_connections("tcp"))


def test_close_gives_the_connection_back_and_the_next_batch_makes_another(config: Config) -> None:
    before = connections(config)
    archive = writer(config, "trade-events")
    archive.write(trades(range(3)))
    assert connections(config) == before + 1
    archive.close()
    assert connections(config) == before
    assert archive.write(trades(range(3, 6))).rows == 3
    archive.close()
    assert connections(config) == before
    assert offsets_in(connect(config), "trade_events") == list(range(6))


def test_write_that_fails_leaves_no_connection_of_its_attempts(config: Config) -> None:
    made: list[Any] = []

    def unlucky() -> Any:
        client = endpoint(config).connect()
        insert = client.insert_arrow

        def broken(*arguments: Any, **options: Any) -> Any:
            if len(made) < 4:
                raise OperationalError("the connection broke")
            return insert(*arguments, **options)

        client.insert_arrow = broken
        made.append(client)
        return client

    before = connections(config)
    archive = writer(config, "trade-events", unlucky, Limits(retry_s=20.0), pause=lambda _seconds: None)
    assert archive.write(trades(range(5))).rows == 5
    assert len(made) == 4
    assert connections(config) == before + 1
    archive.close()
    assert connections(config) == before


def operator_of(config: Config, lanes: int) -> WriteClickhouse:
    """The operator with a writer for each of so many lanes."""
    address = RegistryAddress(config.registry.url, "", "")
    settings = WriteSettings("archive", endpoint(config), address, {"trade-events": SCHEMA_ID}, Limits())
    operator = WriteClickhouse(settings)
    operator._writers = {("trade-events", lane): writer(config, "trade-events") for lane in range(lanes)}
    return operator


def test_operator_that_is_closed_closes_every_writer(config: Config) -> None:
    before = connections(config)
    operator = operator_of(config, 3)
    for lane, archive in enumerate(operator._writers.values()):
        archive.write(trades([lane], partition=lane))
    assert connections(config) == before + 3
    operator.close()
    assert connections(config) == before
    operator.close()


def test_operator_that_is_dropped_without_a_close_leaves_no_connection(config: Config) -> None:
    before = connections(config)
    operator = operator_of(config, 1)
    operator._writers["trade-events", 0].write(trades(range(3)))
    assert connections(config) == before + 1
    del operator
    assert connections(config) == before
