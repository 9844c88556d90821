"""flink.changelog: where the local stack's TaskManagers keep changes of state, and the settings of `bench latency`."""

from pathlib import Path

from infra.stack_files import flink_config
from jobs.bench_latency import short_waits
from jobs.config import Config


def local(tmp_path: Path, **overrides: object) -> Config:
    given = {key.replace("__", "."): value for key, value in overrides.items()}
    return Config.load(overrides={"profile": "local", "state_dir": tmp_path, **given}, environment={})


def test_the_local_stack_has_a_place_for_changes_only_when_they_are_asked_for(tmp_path: Path) -> None:
    assert "changelog" not in flink_config(local(tmp_path), ())
    written = flink_config(local(tmp_path, flink__changelog=True), ())
    assert 'state.changelog.storage: "filesystem"' in written
    assert f'dstl.dfs.base-path: "{(tmp_path / "flink" / "changelog").as_uri()}"' in written


def test_bench_latency_asks_for_checkpoints_of_changes_and_rare_snapshots(tmp_path: Path) -> None:
    usual = local(tmp_path)
    config = short_waits(usual, 2, 1, 500)
    assert (config.trading.window_ms, config.trading.account_shards, config.trading.symbol_shards) == (2, 1, 1)
    assert config.flink.changelog and config.flink.checkpoint_interval_ms == 500
    assert config.flink.journal_bytes > usual.flink.journal_bytes
    assert config.stack.taskmanager_heap_mb > usual.stack.taskmanager_heap_mb


def test_bench_latency_leaves_a_larger_heap_alone(tmp_path: Path) -> None:
    assert short_waits(local(tmp_path, stack__taskmanager_heap_mb=4_000), 2, 1, 500).stack.taskmanager_heap_mb == 4_000
