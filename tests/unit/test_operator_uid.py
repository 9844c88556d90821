"""The names by which savepoints know the state of Python operators."""

from __future__ import annotations

import subprocess
import sys

from jobs.config import project_root

_ASK = """
from jobs.config import Config
from jobs.runtime import operator_uid
for keys in ("even", "first"):
    for mode in ("thread", "process"):
        settings = {"profile": "local", "flink.execution_mode": mode, "flink.shard_keys": keys}
        print(operator_uid(Config.load(overrides=settings), "check_risk-8"))
"""


def test_operator_uid_is_another_in_each_mode_and_for_each_choice_of_keys_so_that_flink_refuses_their_state() -> None:
    # In a process of its own: the unit tests' one stays without PyFlink.
    done = subprocess.run(
        [sys.executable, "-c", _ASK], cwd=project_root(), capture_output=True, text=True, check=True, timeout=300
    )
    # Those of the first keys are the names of older savepoints.
    assert done.stdout.split() == [
        "check_risk-8-even",
        "check_risk-8-even-process",
        "check_risk-8",
        "check_risk-8-process",
    ]
