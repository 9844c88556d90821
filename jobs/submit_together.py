"""Several submissions at once: most of each is a JVM and PyFlink starting, and Flink's client waiting."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import psutil

from infra.stack import Stack

T = TypeVar("T")


def together(calls: Mapping[str, Callable[[], T]], stack: Stack, workers: int = 2) -> Iterator[tuple[str, T]]:
    """Make calls that submit jobs, `workers` at a time; yield each name and result, in the order of `calls`.

    An error of one, or an interrupt, ends the clients of all: child processes of ours that are not the stack's.
    """
    with ThreadPoolExecutor(max_workers=workers) as pool:
        running = {name: pool.submit(call) for name, call in calls.items()}
        try:
            for name, submission in running.items():
                yield name, submission.result()
        except BaseException:
            # The pool waits for its threads, and they for their clients, which would not hear of an interrupt.
            pool.shutdown(wait=False, cancel_futures=True)
            _kill_clients(stack)
            raise


def _kill_clients(stack: Stack) -> None:
    """End the child processes that are not the stack's: Flink's clients."""
    processes = stack.processes
    ours = {process.pid for process in map(processes.find, processes.names()) if process is not None}
    for child in psutil.Process().children():
        if child.pid not in ours:
            for process in (*child.children(recursive=True), child):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
