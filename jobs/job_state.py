"""What a job can resume from: its savepoints, and the checkpoints that were retained when it ended.

Savepoints of a job lie in a folder of its own, `flink.savepoint_dir/<job>`. Checkpoints are kept by Flink under the
job's id; which ids were whose is noted at submission in the state folder, and the cluster is asked too.
"""

from __future__ import annotations

import json
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jobs.config import Config
from jobs.flink_rest import FlinkRest

_HISTORY: Final = "submissions.jsonl"


class StateError(RuntimeError):
    """There is nothing to resume from; the message says what to do."""


@dataclass(frozen=True, slots=True)
class SavedState:
    """Something to resume from: a savepoint or a retained checkpoint."""

    path: str
    kind: str
    taken_ms: int


def savepoint_directory(config: Config, name: str) -> str:
    """Where savepoints of the job `name` go: a folder of its own, so that the newest one is easy to find."""
    return f"{config.flink.savepoint_dir.rstrip('/')}/{name}"


def latest_state(config: Config, rest: FlinkRest, name: str) -> SavedState:
    """The newest savepoint or retained checkpoint of the job `name`.

    A checkpoint that is newer than the newest savepoint wins: resuming from before it would write events a second time.
    Raises StateError when nothing is found.
    """
    state = find_state(config, rest, name)
    if state is None:
        raise StateError(
            f"there is no savepoint and no retained checkpoint of {name} under {savepoint_directory(config, name)} or in the "
            f"cluster's memory: name one (--from-savepoint PATH), or start afresh (`tradestream submit {name}`)"
        )
    return state


def find_state(config: Config, rest: FlinkRest, name: str) -> SavedState | None:
    """The same, or None when nothing is found."""
    found = _states_on_disk(config, name)
    for job in rest.jobs():
        if job.name == name and not job.live:
            stats = rest.checkpoints(job.id)
            for kind, checkpoint in (("savepoint", stats.last_savepoint), ("checkpoint", stats.last)):
                if checkpoint and checkpoint.path and _still_there(checkpoint.path):
                    found.append(SavedState(checkpoint.path, kind, checkpoint.completed_ms))
    return max(found, key=lambda state: state.taken_ms, default=None)


def _states_on_disk(config: Config, name: str) -> list[SavedState]:
    """What this machine's folders hold, when the cluster writes to them."""
    states = []
    savepoints = local_path(savepoint_directory(config, name))
    if savepoints:
        states += [_state(file, "savepoint") for file in savepoints.glob("*/_metadata")]
    checkpoints = local_path(config.flink.checkpoint_dir)
    if checkpoints:
        for job_id in _remembered(config, name):
            states += [_state(file, "checkpoint") for file in (checkpoints / job_id).glob("chk-*/_metadata")]
    return states


def _state(metadata: Path, kind: str) -> SavedState:
    # As Flink spells it, so that a state found both ways has one name.
    path = metadata.parent.as_uri().replace("file:///", "file:/")
    return SavedState(path, kind, int(metadata.stat().st_mtime * 1_000))


def _still_there(path: str) -> bool:
    local = local_path(path)
    return local is None or (local / "_metadata").is_file()


def local_path(uri: str) -> Path | None:
    """The folder of a URI that means this machine, else None."""
    parts = urllib.parse.urlsplit(uri)
    return Path(urllib.parse.unquote(parts.path)) if parts.scheme in ("file", "") and parts.path else None


def remember_job(config: Config, name: str, job_id: str) -> None:
    """Note which job an id is of, because folders of checkpoints are named by ids only."""
    file = config.state_dir / "flink" / _HISTORY
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"job": name, "id": job_id, "submitted": int(time.time())}) + "\n")


def _remembered(config: Config, name: str) -> list[str]:
    file = config.state_dir / "flink" / _HISTORY
    if not file.is_file():
        return []
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [str(row["id"]) for row in rows if row["job"] == name]
