"""Submitting a job: what is run with which environment, secrets, and the state that `latest` means."""

from __future__ import annotations

import dataclasses
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from jobs import submit
from jobs.config import Config
from jobs.flink_rest import Checkpoint, Checkpoints, FlinkRest, Job, Overview, Vertex
from jobs.job_state import StateError, latest_state, remember_job, savepoint_directory
from jobs.submit import (
    JobScript,
    Plan,
    SubmitError,
    check_slots,
    child_settings,
    find_script,
    freed_slots,
    job_scripts,
    make_plan,
    pack,
    refuse_second_instance,
    run_plan,
    slots_needed,
)


def _config(
    tmp_path: Path, settings: Mapping[str, object] | None = None, env: Mapping[str, str] | None = None
) -> Config:
    return Config.load(overrides={"state_dir": tmp_path / "state"} | dict(settings or {}), environment=dict(env or {}))


class FakeFlink(FlinkRest):
    """A cluster with given jobs."""

    def __init__(
        self, *jobs: tuple[str, str, str], stats: Mapping[str, Checkpoints] | None = None, free: int = 2
    ) -> None:
        super().__init__("http://127.0.0.1:1")
        self._rows = [Job(job_id, name, state, 1, -1, 1, 1, 1) for job_id, name, state in jobs]
        self._stats = dict(stats or {})
        self._free = free

    def jobs(self) -> list[Job]:
        return self._rows

    def checkpoints(self, job_id: str) -> Checkpoints:
        return self._stats.get(job_id, Checkpoints(0, 0, None, None))

    def overview(self) -> Overview:
        return Overview("2.3.0", 2, 2, self._free)


class PlacedFlink(FakeFlink):
    """A cluster whose one job has the instances of its tasks on these TaskManagers."""

    def __init__(self, places: Mapping[str, list[str]]) -> None:
        super().__init__()
        self._places = places

    def job(self, job_id: str) -> tuple[str, list[Vertex]]:
        return "RUNNING", [Vertex(name, name, "RUNNING", len(at), 0, 0) for name, at in self._places.items()]

    def _call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        return {"taskmanagers": [{"taskmanager-id": place} for place in self._places[path.split("/")[4]]]}


def _saved(folder: Path, name: str, age_s: int) -> str:
    metadata = folder / name / "_metadata"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("x", encoding="utf-8")
    moment = 1_000_000 - age_s
    os.utime(metadata, (moment, moment))
    return metadata.parent.as_uri().replace("file:///", "file:/")


@pytest.fixture(autouse=True)
def _client_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Plans need a Flink distribution and the client's jars, which a unit test does not download."""
    home = tmp_path / "flink-home"
    (home / "conf").mkdir(parents=True)
    monkeypatch.setattr(submit, "flink_home", lambda: home)
    monkeypatch.setattr(submit, "_client_lib", lambda _config, _home, folder: folder / "lib")
    monkeypatch.chdir(tmp_path)


def test_jobs_are_found_without_importing_them() -> None:
    scripts = job_scripts()

    assert {"market_data", "trading"} <= scripts.keys()
    assert scripts["trading"].name == "trading"
    assert scripts["trading"].summary
    assert "cli" not in scripts


def test_unknown_job_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SubmitError, match=r"no job tradng; there are: .*trading"):
        find_script("tradng")


def test_broken_file_is_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "good.py").write_text('"""Good job."""\nNAME = "good"\ndef build(): ...\n', encoding="utf-8")
    (tmp_path / "broken.py").write_text("def build(:\n", encoding="utf-8")
    monkeypatch.setattr(submit, "_FOLDER", tmp_path)

    assert {key: script.summary for key, script in job_scripts().items()} == {"good": "Good job."}


def test_plan_for_a_local_cluster_runs_the_script_in_place(tmp_path: Path) -> None:
    config = _config(tmp_path, {"flink.parallelism": 3, "flink.rest_url": "http://127.0.0.1:8081"})
    folder = tmp_path / "plan"

    plan = make_plan(config, find_script("trading"), folder, from_savepoint="file:/s", allow_non_restored_state=True)

    assert plan.command[1:] == ("run", "-d", "-p", "3", "-s", "file:/s", "-n", "-py", str(find_script("trading").file))
    assert not plan.remote
    written = (folder / "conf" / "config.yaml").read_text(encoding="utf-8")
    assert 'rest.address: "127.0.0.1"\nrest.port: 8081\n' in written
    assert plan.environment["TRADESTREAM_FLINK_PARALLELISM"] == "3"


def test_plan_for_a_remote_cluster_brings_our_packages(tmp_path: Path) -> None:
    settings = {"flink.rest_url": "https://flink.example.org/prod", "flink.checkpoint_dir": "s3://b/c"}
    folder = tmp_path / "plan"

    plan = make_plan(_config(tmp_path, settings), find_script("trading"), folder)

    assert plan.remote
    assert ("-pyfs", str(folder / "tradestream.zip")) == plan.command[5:7]
    written = (folder / "conf" / "config.yaml").read_text(encoding="utf-8")
    assert 'rest.path: "/prod"' in written
    assert "rest.port: 443" in written
    assert 'python.executable: "python3"' in written


def test_plan_for_a_remote_cluster_needs_a_shared_checkpoint_folder(tmp_path: Path) -> None:
    config = _config(tmp_path, {"flink.rest_url": "http://flink.example.org:8081"})

    with pytest.raises(SubmitError, match=r"flink\.checkpoint_dir"):
        make_plan(config, find_script("trading"), tmp_path / "plan")


def test_package_holds_what_a_job_imports(tmp_path: Path) -> None:
    pack(tmp_path / "p.zip")

    names = zipfile.ZipFile(tmp_path / "p.zip").namelist()
    assert {"jobs/trading.py", "udfs/operators/run_shard.py", "schemas/catalogue.py"} <= set(names)
    assert any(name.startswith("sql/flink/") for name in names)
    assert not any("__pycache__" in name or name.startswith("tests/") for name in names)


def test_child_gets_every_setting_and_secrets_stay_where_they_are(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("from-file\n", encoding="utf-8")
    env = {
        "TRADESTREAM_KAFKA_SASL_PASSWORD": "hunter2",
        "TRADESTREAM_CLICKHOUSE_PASSWORD_FILE": str(file),
        "TRADESTREAM_KAFKA_SASL_USERNAME": "me",
    }
    config = _config(tmp_path, {"kafka.bootstrap": "b:1", "kafka.security_protocol": "SASL_SSL"}, env)

    values, shown = child_settings(config)

    assert Config.load(environment=values) == dataclasses.replace(config)
    assert values["TRADESTREAM_KAFKA_SASL_PASSWORD"] == "hunter2"
    assert values["TRADESTREAM_CLICKHOUSE_PASSWORD_FILE"] == str(file)
    assert "TRADESTREAM_CLICKHOUSE_PASSWORD" not in values
    assert not {"hunter2", "from-file"} & set(shown.values())


def test_second_instance_is_refused_while_the_first_may_write() -> None:
    script = JobScript("trading", "trading", Path("trading.py"), "")

    refuse_second_instance(FakeFlink(("a", "trading", "FAILED"), ("b", "archive", "RUNNING")), script)
    for state in ("RUNNING", "RESTARTING", "CREATED"):
        with pytest.raises(SubmitError, match=r"runs already .*--replace"):
            refuse_second_instance(FakeFlink(("a", "trading", state)), script)


def test_missing_slots_are_told_before_submitting(tmp_path: Path) -> None:
    config = _config(tmp_path)

    check_slots(config, FakeFlink(free=1), 1)
    check_slots(config, FakeFlink(free=0), 1, freed=1)
    with pytest.raises(SubmitError, match=r"needs 2 slots and 1 of 2 are free: .*--taskmanagers 3"):
        check_slots(config, FakeFlink(free=1), 2)


def test_stages_apart_take_a_slot_each(tmp_path: Path) -> None:
    config = _config(tmp_path, {"flink.parallelism": 3, "trading.separate_stages": True})

    assert slots_needed(config, "trading") == 6
    assert slots_needed(config, "archive") == 3
    assert slots_needed(_config(tmp_path, {"flink.parallelism": 3}), "trading") == 3


def test_slots_of_a_running_job_are_counted_by_its_taskmanagers_too() -> None:
    job = Job("x", "trading", "RUNNING", 1, -1, 1, 1, 1)

    assert freed_slots(PlacedFlink({"source": ["a", "b"], "sink": ["c"]}), [job]) == 3
    assert freed_slots(PlacedFlink({"source": ["(unassigned)", "(unassigned)"]}), [job]) == 2
    assert freed_slots(PlacedFlink({}), [job]) == 0
    assert freed_slots(PlacedFlink({"source": ["a"]}), []) == 0


# ---------------------------------------------------------------------------------------------------- latest state


def test_latest_is_the_newest_savepoint_of_that_job(tmp_path: Path) -> None:
    config = _config(tmp_path)
    folder = config.state_dir / "flink" / "savepoints"
    assert savepoint_directory(config, "trading") == (folder / "trading").as_uri()
    _saved(folder / "trading", "savepoint-1", 50)
    newest = _saved(folder / "trading", "savepoint-2", 20)
    _saved(folder / "archive", "savepoint-3", 10)
    (folder / "trading" / "savepoint-9-incomplete").mkdir()

    state = latest_state(config, FakeFlink(), "trading")

    assert (state.path, state.kind) == (newest, "savepoint")


def test_latest_prefers_a_retained_checkpoint_that_is_newer(tmp_path: Path) -> None:
    config = _config(tmp_path)
    _saved(config.state_dir / "flink" / "savepoints" / "trading", "savepoint-1", 50)
    ours = _saved(config.state_dir / "flink" / "checkpoints" / "aaaa", "chk-7", 5)
    _saved(config.state_dir / "flink" / "checkpoints" / "of-another-job", "chk-9", 1)
    remember_job(config, "trading", "aaaa")
    remember_job(config, "archive", "bbbb")

    state = latest_state(config, FakeFlink(), "trading")

    assert (state.path, state.kind) == (ours, "checkpoint")


def test_latest_asks_the_cluster_for_jobs_that_are_over(tmp_path: Path) -> None:
    config = _config(tmp_path, {"flink.savepoint_dir": "s3://b/savepoints", "flink.checkpoint_dir": "s3://b/c"})
    stats = {
        "a": Checkpoints(3, 0, Checkpoint(3, 100, 1, 1, "s3://b/c/a/chk-3"), None),
        "b": Checkpoints(9, 0, Checkpoint(9, 900, 1, 1, "s3://b/c/b/chk-9"), None),
    }
    rest = FakeFlink(("a", "trading", "FAILED"), ("b", "trading", "RUNNING"), stats=stats)

    assert latest_state(config, rest, "trading").path == "s3://b/c/a/chk-3"


def test_latest_without_any_state_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"no savepoint .*--from-savepoint PATH.*tradestream submit trading"):
        latest_state(_config(tmp_path), FakeFlink(), "trading")


@pytest.mark.parametrize(("keys", "hinted"), [("even", True), ("first", False)])
def test_a_refused_state_of_an_older_release_says_which_setting_takes_it(
    tmp_path: Path, keys: str, hinted: bool
) -> None:
    config = _config(tmp_path, {"flink.shard_keys": keys})
    said = "java.lang.IllegalStateException: Failed to rollback to checkpoint/savepoint x. Cannot map checkpoint/savepoint state"
    plan = Plan(find_script("trading"), ("sh", "-c", f"echo '{said} for operator y'; exit 1"), {}, {}, False)
    with pytest.raises(SubmitError, match="Cannot map") as refused:
        run_plan(config, plan)
    assert ("flink.shard_keys=first" in str(refused.value)) is hinted
