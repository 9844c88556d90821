"""What depth and size of the books cost: nanoseconds a command by levels, bytes an order by orders.

The memory is measured in a process of its own, `python -m jobs.bench_depth ORDERS BOOKS engine|stage`, because a process
that has done other things before has holes that new orders fill.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

from jobs.bench_flow import MID_E4, TICK_E4, Command, apply_command, frames
from jobs.bench_measure import drive_shard, new_matcher, new_shard
from jobs.bench_naive import NaiveBooks
from schemas.messages.enums import (
    COMMAND_TYPE_NEW,
    ORDER_TYPE_LIMIT,
    SIDE_BUY,
    SIDE_SELL,
    TIME_IN_FORCE_DAY,
    TIME_IN_FORCE_IOC,
)
from udfs.domain.book import Order
from udfs.domain.filling import NEVER

ROOT: Final = Path(__file__).resolve().parents[1]
DEPTHS: Final = (10, 100, 1_000, 10_000, 100_000)
NAIVE_KINDS: Final = ("cancel best", "new best", "cancel anywhere", "new anywhere")
KINDS: Final = (*NAIVE_KINDS, "cancel worst", "new worst", "new price", "cancel it", "take best", "cancel all")
LEVELS_A_SIDE: Final = 50
Part = Literal["engine", "stage"]
_PRIME: Final = 7_919
_BATCH: Final = 500


def depth_costs(levels: int, count: int, overhead_ns: int) -> dict[str, list[int]]:
    """Nanoseconds of each of `count` commands of each kind on a book with so many levels a side, one order in each.

    Best and worst: at the same price every time, so that the processor's caches hold what is needed. Anywhere: at the
    prices of the worse half of the book in turn, so that in large books they do not. New price: one that had no level
    before, and a cancel of that order. Take best: an IOC order that takes all of the best level. Cancel all: the bids of
    the whole book at the end, the worst first; clearing away their levels is in some of them, so it is of CPU time.
    """
    matcher = new_matcher()
    base = MID_E4 + 4 * levels * TICK_E4
    for number in range(levels):
        matcher.place(_limit(f"b{number}", True, base - (number + 1) * 2 * TICK_E4), 0, 0)
        matcher.place(_limit(f"a{number}", False, base + (number + 1) * 2 * TICK_E4), 0, 0)
    best_price = base - 2 * TICK_E4
    taken: dict[str, list[int]] = {kind: [] for kind in KINDS}
    clock = time.perf_counter_ns

    def cancel(kind: str, key: str) -> None:
        before = clock()
        matcher.cancel(key)
        taken[kind].append(clock() - before - overhead_ns)

    def place(kind: str, order: Order) -> None:
        before = clock()
        matcher.place(order, 0, 0)
        taken[kind].append(clock() - before - overhead_ns)

    for name, where in (("best", 0), ("worst", levels - 1)):
        for _ in range(count):
            cancel(f"cancel {name}", f"b{where}")
            place(f"new {name}", _limit(f"b{where}", True, base - (where + 1) * 2 * TICK_E4))
    for number in range(count):
        where = _deep(number, levels)
        cancel("cancel anywhere", f"b{where}")
        place("new anywhere", _limit(f"b{where}", True, base - (where + 1) * 2 * TICK_E4))
    for number in range(count):
        place("take best", _limit(f"t{number}", False, best_price, TIME_IN_FORCE_IOC))
        matcher.place(_limit("b0", True, best_price), 0, 0)
    for number in range(count):
        # Between two levels: what is cancelled there leaves an empty level behind, until those are cleared away.
        place("new price", _limit("n", True, base - (2 * _deep(number, levels) + 1) * TICK_E4 - 1 - number % 50))
        cancel("cancel it", "n")
    cpu = time.thread_time_ns
    for number in reversed(range(levels)):
        before = cpu()
        matcher.cancel(f"b{number}")
        taken["cancel all"].append(cpu() - before)
    return taken


def naive_depth_costs(levels: int, count: int, overhead_ns: int) -> dict[str, list[int]]:
    """NAIVE_KINDS with sorted lists."""
    books = NaiveBooks()
    base = MID_E4 + 4 * levels * TICK_E4
    for number in range(levels):
        books.apply(_command(number, f"b{number}", "S", True, base - (number + 1) * 2 * TICK_E4))
    taken: dict[str, list[int]] = {kind: [] for kind in NAIVE_KINDS}
    clock = time.perf_counter_ns
    for number in range(count):
        for kind, where in (("best", 0), ("anywhere", _deep(number, levels))):
            new = _command(where, f"b{where}", "S", True, base - (where + 1) * 2 * TICK_E4)
            before = clock()
            books.cancel(new.order_id)
            between = clock()
            books.apply(new)
            taken[f"new {kind}"].append(clock() - between - overhead_ns)
            taken[f"cancel {kind}"].append(between - before - overhead_ns)
    return taken


def _deep(number: int, levels: int) -> int:
    """A level of the worse half of the book, spread evenly."""
    return levels - 1 - number * _PRIME % max(1, levels // 2)


def _limit(order_id: str, is_buy: bool, price: int, tif: int = TIME_IN_FORCE_DAY) -> Order:
    side = SIDE_BUY if is_buy else SIDE_SELL
    kind = ORDER_TYPE_LIMIT
    return Order(order_id, "", order_id, "A", "S", side, is_buy, kind, tif, 100, price, price, 0, 0, NEVER, None)


def _command(number: int, order_id: str, symbol: str, is_buy: bool, price: int) -> Command:
    account = f"ACC-{number % 1_000:04d}"
    terms = (ORDER_TYPE_LIMIT, TIME_IN_FORCE_DAY, 100, price, price, None)
    return Command(COMMAND_TYPE_NEW, order_id, account, symbol, is_buy, *terms)


# ---------------------------------------------------------------------------------------------------------------- memory


def memory(orders: int, books: int, part: Part) -> dict[str, int]:
    """Resident bytes that so many resting orders in so many books take, measured in a process of its own."""
    command = [sys.executable, "-m", "jobs.bench_depth", str(orders), str(books), part]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    result = json.loads(output)
    assert isinstance(result, dict)
    return result


def _resting(orders: int, books: int) -> Iterable[Command]:
    """Orders that do not meet, on LEVELS_A_SIDE levels of each side, made one by one."""
    symbols = [f"S{number:04d}" for number in range(books)]
    for number in range(orders):
        turn = number // books
        away = (turn // 2 % LEVELS_A_SIDE + 1) * TICK_E4
        is_buy = turn % 2 == 0
        price = MID_E4 - away if is_buy else MID_E4 + away
        yield _command(number, f"ORD-{number:08d}", symbols[number % books], is_buy, price)


def _fill(orders: int, books: int, part: Part) -> dict[str, int]:
    """Fill books in this process."""
    gc.disable()
    if part == "engine":
        matcher = new_matcher()
        before = _resident()
        for command in _resting(orders, books):
            apply_command(matcher, command)
        live = len(matcher.live)
    else:
        shard = new_shard()
        before = _resident()
        source = iter(_resting(orders, books))
        while batch := list(itertools.islice(source, _BATCH)):
            drive_shard(shard, frames(batch, shard.placed, NEVER))
        live = len(shard.matcher.live)
    grown = _resident() - before
    return {"orders": live, "books": books, "bytes": grown, "bytes_per_order": round(grown / live)}


def _resident() -> int:
    """Bytes of this process in memory (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main(arguments: list[str]) -> None:
    """Print the figures of one filling as JSON."""
    orders, books, part = arguments
    print(json.dumps(_fill(int(orders), int(books), "engine" if part == "engine" else "stage")))


if __name__ == "__main__":
    main(sys.argv[1:])
