"""Options of every test run: which form of the hot modules is tested."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
for folder in (ROOT, ROOT / "tests"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from uncompiled import use_sources  # noqa: E402

from infra import compile as hot  # noqa: E402

_form = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    parser.addoption(
        "--uncompiled", action="store_true", help="import the sources of schemas and udfs, not what mypyc made of them"
    )
    parser.addoption(
        "--compiled", action="store_true", help="fail at once unless the compiled modules are there and up to date"
    )
    parser.addoption(
        "--mutations", type=int, default=0, metavar="N", help="hostile frames for each schema (default: a few thousand)"
    )
    parser.addoption(
        "--match-seeds",
        type=int,
        default=0,
        metavar="N",
        help="command streams for the match tool (default: some tens)",
    )
    parser.addoption(
        "--match-workers", type=int, default=1, metavar="N", help="processes that share these streams (default: 1)"
    )
    parser.addoption(
        "--trading-seeds",
        type=int,
        default=0,
        metavar="N",
        help="streams of 1,000 steps for both trading stages (default: none of these)",
    )
    parser.addoption(
        "--trading-workers", type=int, default=2, metavar="N", help="processes that share these streams (default: 2)"
    )
    parser.addoption(
        "--simulator-seeds",
        type=int,
        default=0,
        metavar="N",
        help="simulated runs of the trading job with crashes, in --trading-workers processes (default: some tens)",
    )
    parser.addoption(
        "--chaos-proof",
        action="store_true",
        help="also run the chaos checker against jobs that are broken on purpose, on a stack (several minutes)",
    )
    parser.addoption(
        "--alerts-proof",
        action="store_true",
        help="also provoke every alert of the runbook on a stack with Prometheus (a quarter of an hour)",
    )
    parser.addoption(
        "--clickhouse-url",
        metavar="URL",
        help="run the gateway's protocol tests against this ClickHouse server instead",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Decide which form is imported, before any test module is; stale machine code is never tested."""
    current = hot.is_current()
    if config.getoption("--compiled") and not current:
        raise pytest.UsageError("the compiled modules are missing or stale: run `python -m infra.compile`")
    if config.getoption("--uncompiled") or not current:
        use_sources()
        form = "interpreted" if current or not hot.compiled_files() else "interpreted (the compiled ones are stale)"
    else:
        form = "compiled"
    config.stash[_form] = form


def pytest_report_header(config: pytest.Config) -> str:
    """Say which form is tested."""
    return f"hot modules: {config.stash[_form]}"


@pytest.fixture(scope="session")
def compiled(pytestconfig: pytest.Config) -> bool:
    """Tell whether the compiled hot modules are tested."""
    return pytestconfig.stash[_form] == "compiled"
