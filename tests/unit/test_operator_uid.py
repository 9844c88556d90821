"""The names by which savepoints know the state of Python operators."""

from __future__ import annotations

import subprocess
import sys

from jobs.config import project_root

_ASK = """
from jobs.config import Config
from jobs.runtime import operator_uid
for mode in ("thread", "process"):
    print(operator_uid(Config.load(overrides={"profile": "local", "flink.execution_mode": mode}), "check_risk-8"))
"""


def test_operator_uid_in_process_mode_is_another_so_that_flink_refuses_the_state_of_thread_mode() -> None:
    # In a process of its own: the unit tests' one stays without PyFlink.
    done = subprocess.run(
        [sys.executable, "-c", _ASK], cwd=project_root(), capture_output=True, text=True, check=True, timeout=300
    )
    # Thread mode's is that of older savepoints.
    assert done.stdout.split() == ["check_risk-8", "check_risk-8-process"]
