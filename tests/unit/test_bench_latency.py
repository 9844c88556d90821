"""The settings of `bench latency`."""

from pathlib import Path

from jobs.bench_latency import short_waits
from jobs.config import Config


def local(tmp_path: Path, **overrides: object) -> Config:
    given = {key.replace("__", "."): value for key, value in overrides.items()}
    return Config.load(overrides={"profile": "local", "state_dir": tmp_path, **given}, environment={})


def test_bench_latency_asks_for_short_windows_and_a_larger_heap(tmp_path: Path) -> None:
    usual = local(tmp_path)
    config = short_waits(usual, 2, 1, 500)
    assert (config.trading.window_ms, config.trading.account_shards, config.trading.symbol_shards) == (2, 1, 1)
    assert config.flink.checkpoint_interval_ms == 500
    assert config.stack.taskmanager_heap_mb > usual.stack.taskmanager_heap_mb


def test_bench_latency_leaves_a_larger_heap_alone(tmp_path: Path) -> None:
    assert short_waits(local(tmp_path, stack__taskmanager_heap_mb=4_000), 2, 1, 500).stack.taskmanager_heap_mb == 4_000
