"""Leaving a state's sealed transactions out, where it needs no Kafka; with one: tests/e2e/test_analytics.py."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs.cli import cli
from jobs.config import Config
from jobs.sealed_transactions import FILE, TransactionsError, without_transactions
from jobs.submit import find_script, make_plan


def environment(tmp_path: Path) -> dict[str, str]:
    config = Config.load(overrides={"state_dir": tmp_path / "state"}, environment={})
    return dict(make_plan(config, find_script("analytics"), tmp_path).environment)


def test_state_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        TransactionsError, match=r"nothing-here cannot be read or written: .*Cannot find checkpoint or savepoint"
    ):
        without_transactions((tmp_path / "nothing-here").as_uri(), environment(tmp_path), [])


def test_file_that_is_no_metadata_is_refused_and_left_alone(tmp_path: Path) -> None:
    state = tmp_path / "savepoint-1"
    state.mkdir()
    written = struct.pack(">ii", 0x12345678, 5) + b"something else"
    (state / "_metadata").write_bytes(written)

    with pytest.raises(TransactionsError, match="cannot be read or written"):
        without_transactions(state.as_uri(), environment(tmp_path), [])

    assert (state / "_metadata").read_bytes() == written
    assert not (state / FILE).exists()


def test_leaving_out_needs_a_state() -> None:
    done = CliRunner().invoke(cli, ["submit", "analytics", "--forget-transactions"])
    assert done.exit_code == 2
    assert "--from-savepoint PATH" in done.output
