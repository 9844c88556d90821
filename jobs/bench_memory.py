"""What a process holds: memory after a forced collection, classes, threads, open files. Linux, and a JDK's jcmd for JVMs.

Of a JVM the heap is counted after two full collections, because what the first one finds to be unused by finalizers and
cleaners only the second one frees. Then malloc gives back what it keeps of freed memory (JDK 17.0.9 and later can be asked for
it): nobody holds that, and every restart adds to it. The native rest is what no other figure has: the anonymous pages outside
the heap, without metaspace and compiled code; in a TaskManager it is Python, Netty's and Kafka's buffers and the threads'
stacks. Pages of files (jars, libraries, Kafka's indexes) are not in it: the system takes them back when it wants to.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from infra.stack_specs import java
from jobs.bench_cpu import stage_of, thread_times
from jobs.config import Config

MB: Final = 1 << 20
TRIM: Final = "System.trim_native_heap"
COMMANDS: Final = ("GC.run", "GC.run", TRIM, "GC.heap_info", "Compiler.codecache", "VM.metaspace")
_TIMEOUT_S: Final = 120.0
_OWN_THREADS: Final = ("JIT compiler", "garbage collection")
"""Threads that a JVM starts and ends as it likes."""


class MeasureError(RuntimeError):
    """A process cannot be measured; the message says why."""


@dataclass(frozen=True, slots=True)
class Held:
    """One process at one moment. figures: by name, in MB or a number; empty ones are not of this kind of process."""

    pid: int
    figures: Mapping[str, float]
    threads: Mapping[str, int] = field(default_factory=dict)
    """By name, numbers left out."""


class Jvm(NamedTuple):
    """What jcmd says of a JVM, in bytes; `heap_from`, `heap_to`: the addresses that are kept for the heap."""

    heap: int
    heap_from: int
    heap_to: int
    metaspace: int
    metaspace_committed: int
    code: int
    classes: int


def measure(config: Config, processes: Mapping[str, psutil.Process]) -> dict[str, Held]:
    """Every process by its name; all JVMs collect their garbage first, two at a time. Raises MeasureError."""
    jcmd = find_jcmd(config)
    with ThreadPoolExecutor(max_workers=2) as pool:
        return dict(zip(processes, pool.map(lambda one: measure_process(jcmd, one), processes.values()), strict=True))


def find_jcmd(config: Config) -> str:
    """The JDK's jcmd beside the java that runs the stack, or on the PATH. Raises MeasureError when there is none."""
    beside = Path(os.path.realpath(java(config))).parent / "jcmd"
    found = str(beside) if beside.is_file() else shutil.which("jcmd")
    if found is None:
        raise MeasureError(f"there is no jcmd in {beside.parent} nor on the PATH: install a JDK, a JRE is not enough")
    return found


def measure_process(jcmd: str, process: psutil.Process) -> Held:
    """One process, a JVM or another one. Raises MeasureError when it is gone or does not answer."""
    try:
        is_jvm = Path(process.exe()).name == "java"
        jvm = parse_jcmd(_ask(jcmd, process.pid)) if is_jvm else None
        names = Counter(
            re.sub(r"[-#( ]*\d+.*$", "", name)
            for name, _ in thread_times(process.pid).values()
            if not is_jvm or stage_of(name) not in _OWN_THREADS
        )
        figures: dict[str, float] = {"rss MB": process.memory_info().rss / MB}
        with Path(f"/proc/{process.pid}/smaps").open(encoding="utf-8", errors="replace") as lines:
            anonymous = anonymous_outside(lines, *((jvm.heap_from, jvm.heap_to) if jvm else (0, 0)))
        if jvm is None:
            figures["native MB"] = anonymous / MB
        else:
            figures |= {
                "heap MB": jvm.heap / MB,
                "metaspace MB": jvm.metaspace / MB,
                "code MB": jvm.code / MB,
                "native MB": (anonymous - jvm.metaspace_committed - jvm.code) / MB,
                "classes": jvm.classes,
            }
        figures |= {"threads": sum(names.values()), "files": process.num_fds()}
    except (psutil.Error, OSError) as error:
        raise MeasureError(f"process {process.pid} cannot be measured: {error}") from error
    return Held(process.pid, figures, dict(names))


def _ask(jcmd: str, pid: int, commands: Sequence[str] = COMMANDS) -> str:
    """What a JVM answers to all commands; one client for all, because each is a JVM itself."""
    with tempfile.NamedTemporaryFile("w", suffix=".jcmd") as file:
        file.write("\n".join(commands) + "\n")
        file.flush()
        try:
            done = subprocess.run(
                [jcmd, str(pid), "-f", file.name], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise MeasureError(f"the JVM {pid} does not answer jcmd within {_TIMEOUT_S:.0f} s") from error
    if done.returncode and TRIM in commands and "Unknown diagnostic command" in done.stdout + done.stderr:
        return _ask(jcmd, pid, [command for command in commands if command != TRIM])
    if done.returncode:
        raise MeasureError(f"jcmd refuses {pid}: {(done.stderr or done.stdout).strip()[:200]}")
    return done.stdout


_GENERATION: Final = re.compile(r"total (\d+)K, used (\d+)K \[0x([0-9a-f]+), (?:0x[0-9a-f]+, )?0x([0-9a-f]+)\)")
_METASPACE: Final = re.compile(r"Metaspace +used (\d+)K, committed (\d+)K")
_CODE: Final = re.compile(r"^ *Code(?:Heap|Cache).* used=(\d+)Kb", re.MULTILINE)
_CLASSES: Final = re.compile(r"loaders, (\d+) classes")


def parse_jcmd(text: str) -> Jvm:
    """The figures in what jcmd printed, of the serial, parallel and G1 collectors. Raises MeasureError."""
    generations = [(int(used), int(low, 16), int(high, 16)) for _, used, low, high in _GENERATION.findall(text)]
    metaspace = _METASPACE.search(text)
    classes = _CLASSES.search(text)
    if not generations or metaspace is None or classes is None:
        raise MeasureError(f"jcmd says something else than was expected: {text[:300]!r}")
    return Jvm(
        heap=sum(used for used, _, _ in generations) * 1024,
        heap_from=min(low for _, low, _ in generations),
        heap_to=max(high for _, _, high in generations),
        metaspace=int(metaspace.group(1)) * 1024,
        metaspace_committed=int(metaspace.group(2)) * 1024,
        code=sum(map(int, _CODE.findall(text))) * 1024,
        classes=int(classes.group(1)),
    )


_MAPPING: Final = re.compile(r"^([0-9a-f]+)-[0-9a-f]+ ")


def anonymous_outside(smaps: Iterator[str], low: int, high: int) -> int:
    """Bytes of anonymous pages in /proc/PID/smaps whose mapping does not begin in [low, high)."""
    total, counts = 0, False
    for line in smaps:
        mapping = _MAPPING.match(line)
        if mapping:
            counts = not low <= int(mapping.group(1), 16) < high
        elif counts and line.startswith("Anonymous:"):
            total += int(line.split()[1]) * 1024
    return total
