"""`tradestream bench orders` without a stack: the settings of its runs, and what its options refuse."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from jobs.bench_orders import AT_LEAST_ONCE, PER_RECORD, throughput, variants
from jobs.cli import cli
from jobs.config import Config


def test_throughput_has_one_shard_for_each_subtask_and_two_interpreters() -> None:
    config = throughput(Config.load(environment={}), 3, 50, 5_000)
    assert (config.flink.parallelism, config.flink.checkpoint_interval_ms) == (3, 5_000)
    assert (config.trading.account_shards, config.trading.symbol_shards) == (3, 3)
    assert config.trading.window_ms == 50
    assert config.trading.separate_stages
    assert (config.trading.inputs, config.trading.gather_frames) == ("joined", True)
    assert not throughput(config, 1, 50, 5_000).trading.gather_frames


def test_variants_differ_from_the_measured_job_in_one_setting_each() -> None:
    config = throughput(Config.load(environment={}), 1, 50, 5_000)
    found = variants(config)
    assert found[AT_LEAST_ONCE].flink.delivery == "at-least-once"
    assert found[AT_LEAST_ONCE].trading == config.trading
    assert found[PER_RECORD].trading.window_ms == 0
    assert found[PER_RECORD].trading.separate_stages
    assert found[PER_RECORD].flink == config.flink


@pytest.mark.parametrize("option", ["--orders", "--parallelism", "--window-ms", "--checkpoint-ms", "--repeat"])
def test_bench_orders_refuses_numbers_below_one(option: str) -> None:
    result = CliRunner().invoke(cli, ["bench", "orders", option, "0"])
    assert result.exit_code == 2
    assert "must be at least 1" in result.output
