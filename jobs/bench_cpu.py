"""Where a job's CPU time goes, read from Linux: the threads of the TaskManagers by stage, and the broker beside them.

In thread mode Python runs inside the thread of its operator, which Flink names after the operator, so the time of a stage is
that of its threads. Linux keeps fifteen characters of a thread's name, which is enough.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

STAGES: Final[tuple[tuple[str, str], ...]] = (
    ("check_risk", "risk"),
    ("route_and_match", "match"),
    ("Source:", "sources"),
    ("GroupWindow", "batching"),
    ("GlobalWindow", "batching"),
    ("LocalWindow", "batching"),
    ("WindowTable", "batching"),
    ("Window", "batching"),
    ("ConstraintEnfor", "batching"),
    ("Time Trigger fo", "batching"),
    ("OutputFlusher f", "network"),
    ("Flink Netty", "network"),
    ("DataStreamToTab", "explode and sink"),
    ("Correlate", "explode and sink"),
    ("Calc", "explode and sink"),
    ("trading_sink", "explode and sink"),
    ("passthrough_si", "explode and sink"),
    ("Sink", "explode and sink"),
    ("kafka-producer", "Kafka client"),
    ("kafka-coordinat", "Kafka client"),
    ("Kafka Fetcher", "Kafka client"),
    ("Source Data Fet", "Kafka client"),
    ("C1 Compiler", "JIT compiler"),
    ("C2 Compiler", "JIT compiler"),
    ("GC Thread", "garbage collection"),
    ("G1 ", "garbage collection"),
    ("VM Thread", "garbage collection"),
)
"""How a thread's name begins, and what it belongs to; the first that fits counts."""
OTHER: Final = "other threads"
BROKER: Final = "broker"
_TICK_NS: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def stage_of(thread: str) -> str:
    """The stage of a thread of a TaskManager."""
    return next((stage for start, stage in STAGES if thread.startswith(start)), OTHER)


def thread_times(pid: int, proc: Path = Path("/proc")) -> dict[int, tuple[str, int]]:
    """Name and CPU nanoseconds of each thread of a process; none when the process is gone."""
    found = {}
    for folder in (proc / str(pid) / "task").glob("[0-9]*"):
        try:
            text = (folder / "stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue  # The thread ended between the listing and the reading.
        name, _, rest = text.partition("(")[2].rpartition(")")
        fields = rest.split()
        # utime and stime are the 14th and 15th of the line; the first two are the number and the name.
        found[int(folder.name)] = name, (int(fields[11]) + int(fields[12])) * _TICK_NS
    return found


def stage_times(taskmanagers: Iterable[int], broker: int | None) -> Counter[str]:
    """CPU nanoseconds that processes have used so far, by stage."""
    total: Counter[str] = Counter()
    for pid in taskmanagers:
        for name, used_ns in thread_times(pid).values():
            total[stage_of(name)] += used_ns
    if broker is not None:
        total[BROKER] = sum(used_ns for _, used_ns in thread_times(broker).values())
    return total


def each_us(before: Mapping[str, int], after: Mapping[str, int], orders: float) -> dict[str, float]:
    """Microseconds of CPU an order by stage, largest first; stages that used none are left out.

    A thread that ended in between takes its time with it: what is negative then is left out too.
    """
    used = {stage: (after[stage] - before.get(stage, 0)) / orders / 1e3 for stage in after}
    return {stage: round(us, 2) for stage, us in sorted(used.items(), key=lambda item: -item[1]) if us > 0}
