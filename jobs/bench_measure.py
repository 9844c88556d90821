"""What `tradestream bench engine` measures, one function a figure; jobs/bench_engine.py says it.

Times are CPU time of this thread where load on the machine must not count, and the wall's beside it. What is measured
was made before: the measured loops read prepared commands, make the orders and call the engine.
"""

from __future__ import annotations

import contextlib
import gc
import io
import statistics
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jobs.bench_flow import Command, Flow
from jobs.bench_naive import NaiveBooks
from jobs.match_csv import match_stream
from schemas.catalogue import TOPICS
from schemas.messages import reference_data
from schemas.messages.enums import (
    COMMAND_TYPE_CANCEL,
    COMMAND_TYPE_NEW,
    REFERENCE_KIND_SNAPSHOT_END,
    SIDE_BUY,
    SIDE_SELL,
)
from udfs.domain import sources
from udfs.domain.book import Order
from udfs.domain.events import MatchReporter
from udfs.domain.filling import NEVER
from udfs.domain.frames import decode_frame
from udfs.domain.match_csv import COMMAND_HEADER, BareDesk, CsvReporter
from udfs.domain.match_shard import MatchShard
from udfs.domain.matching import Matcher
from udfs.domain.outbox import Outbox
from udfs.domain.outcomes import OutcomeLedger
from udfs.domain.recent import RecentEnds
from udfs.domain.reporter import Reporter

SCHEMA_IDS: Final = {name: number for number, name in enumerate(TOPICS, 1)}
_BATCH: Final = 500
"""Frames between two flushes of the match stage."""

Call = tuple[int, Any]
"""A kind of command, and the arguments of the engine's method for it."""


class DisagreementError(RuntimeError):
    """The two ways of matching do not trade the same: a figure of either would mean nothing."""


@dataclass(frozen=True, slots=True)
class Run:
    """One pass over commands."""

    commands: int
    cpu_ns: int
    wall_ns: int

    def rate(self) -> float:
        """Commands a second of CPU time."""
        return self.commands / self.cpu_ns * 1e9

    def wall_rate(self) -> float:
        """Commands a second of the wall's clock."""
        return self.commands / self.wall_ns * 1e9

    def each_ns(self) -> float:
        """CPU time of one command."""
        return self.cpu_ns / self.commands


def timed(count: int, body: Callable[[], object]) -> Run:
    """Run `body` once."""
    wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
    body()
    cpu_ns, wall_ns = time.thread_time_ns() - cpu, time.perf_counter_ns() - wall
    return Run(count, max(cpu_ns, 1), max(wall_ns, 1))


@contextlib.contextmanager
def collector(on: bool) -> Iterator[None]:
    """Python's collector of cycles on or off, with all that exists now kept out of its way; as before afterwards."""
    was_on = gc.isenabled()
    gc.collect()
    gc.freeze()
    if on:
        gc.enable()
    else:
        gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_on:
            gc.enable()
        else:
            gc.disable()


def calls(commands: Sequence[Command]) -> list[Call]:
    """Commands as the engine's arguments."""
    result: list[Call] = []
    for c in commands:
        if c.kind == COMMAND_TYPE_NEW:
            side = SIDE_BUY if c.is_buy else SIDE_SELL
            terms = (c.order_type, c.time_in_force, c.quantity, c.price, c.worst_price, 0, 0, NEVER, c.stop_price)
            result.append((c.kind, (c.order_id, "", c.order_id, c.account_id, c.symbol, side, c.is_buy, *terms)))
        elif c.kind == COMMAND_TYPE_CANCEL:
            result.append((c.kind, c.order_id))
        else:
            result.append((c.kind, (c.order_id, c.quantity, c.price, None, c.worst_price)))
    return result


def drive(matcher: Matcher, prepared: Sequence[Call]) -> None:
    """Run prepared commands through an engine: the loop that is measured."""
    new, cancelled = COMMAND_TYPE_NEW, COMMAND_TYPE_CANCEL
    place, cancel, replace = matcher.place, matcher.cancel, matcher.replace
    for kind, arguments in prepared:
        if kind == new:
            place(Order(*arguments), 0, 0)
        elif kind == cancelled:
            cancel(arguments)
        else:
            replace(*arguments)


def empty_loop(prepared: Sequence[Call]) -> None:
    """The same loop without the engine, and without making orders: the benchmark's own cost."""
    new, cancelled = COMMAND_TYPE_NEW, COMMAND_TYPE_CANCEL
    for kind, _ in prepared:
        if kind == new:
            continue
        if kind == cancelled:
            continue


def new_matcher(reporter: Reporter | None = None) -> Matcher:
    """An engine without collars, with a reporter that says nothing by default."""
    return Matcher(Reporter() if reporter is None else reporter, RecentEnds(0), collared=False)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A flow in all the forms in which it is run; `text` is of the measured commands, `rows` and `frames` are of all."""

    preload: list[Call]
    commands: list[Call]
    flow: Flow
    rows: list[list[str]]
    text: str
    frames: list[bytes]
    preloaded: int

    @property
    def count(self) -> int:
        """Measured commands."""
        return len(self.commands)


def run_engine(prepared: Prepared, reporter: Reporter | None = None) -> tuple[Run, Matcher]:
    """The engine alone; with a reporter of text or of events, that too."""
    matcher = new_matcher(reporter)
    drive(matcher, prepared.preload)
    return timed(prepared.count, lambda: drive(matcher, prepared.commands)), matcher


def run_naive(prepared: Prepared) -> tuple[Run, NaiveBooks]:
    """The sorted lists."""
    books = NaiveBooks()
    for command in prepared.flow.preload:
        books.apply(command)

    def body() -> None:
        apply = books.apply
        for command in prepared.flow.commands:
            apply(command)

    return timed(prepared.count, body), books


def check_same(matcher: Matcher, books: NaiveBooks) -> None:
    """Raise DisagreementError when the engine and the sorted lists have not done the same."""
    trades = sum(market.print_count for market in matcher.markets.values())
    ours = {key: order.quantity - order.cum_quantity for key, order in matcher.live.items()}
    theirs = {key: order.leaves for key, order in books.live.items()}
    if trades != books.trades or ours != theirs:
        raise DisagreementError(
            f"the engine made {trades:,} trades and has {len(ours):,} live orders, the sorted lists made {books.trades:,} "
            f"and have {len(theirs):,}"
        )


def preloaded_desk(prepared: Prepared) -> BareDesk:
    """A desk of `match` that has the resting orders."""
    desk = BareDesk()
    for row in prepared.rows[: prepared.preloaded]:
        desk.apply_plain(row)
    desk.take_lines()
    return desk


def run_rows(prepared: Prepared) -> Run:
    """Fields of text to lines of text."""
    desk = preloaded_desk(prepared)
    rows = prepared.rows[prepared.preloaded :]

    def body() -> None:
        apply = desk.apply_plain
        for row in rows:
            apply(row)

    return timed(prepared.count, body)


def run_text(prepared: Prepared) -> Run:
    """A file of commands to a file of reports, both in memory: all that `tradestream match` does."""
    desk = preloaded_desk(prepared)
    lines = io.TextIOWrapper(io.BytesIO(prepared.text.encode()), encoding="utf-8", newline="")
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="")
    return timed(prepared.count, lambda: match_stream(lines, out, desk=desk))


def run_split(prepared: Prepared) -> Run:
    """Lines of the file to fields."""
    lines = io.TextIOWrapper(io.BytesIO(prepared.text.encode()), encoding="utf-8", newline="")

    def body() -> None:
        for line in lines:
            if '"' not in line and line.isascii():
                line.rstrip("\r\n").split(",")

    return timed(prepared.count, body)


def csv_text(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a file of commands."""
    return "\n".join([COMMAND_HEADER, *(",".join(row) for row in rows)]) + "\n"


def plain_reporter() -> CsvReporter:
    """A reporter of text that knows that nothing needs quotes."""
    reporter = CsvReporter()
    reporter.quoting = False
    return reporter


def event_reporter() -> MatchReporter:
    """A reporter of the match stage's records."""
    outbox = Outbox(0)
    ledger = OutcomeLedger(outbox.order_outcomes, SCHEMA_IDS["order-outcomes"])
    names = ("order-events", "trade-events", "routing-decisions")
    return MatchReporter(outbox, ledger, *(SCHEMA_IDS[name] for name in names))


def new_shard() -> MatchShard:
    """A match stage that has its reference data: none, so that no session, band or lot is in the way."""
    shard = MatchShard(0, 1, SCHEMA_IDS)
    end = reference_data.ReferenceData(REFERENCE_KIND_SNAPSHOT_END, "snapshot-end", None, None, None, 0, 0)
    shard.apply(sources.REFERENCE, reference_data.encode(end, SCHEMA_IDS["reference-data"]), 0, 0, 0)
    return shard


def drive_shard(shard: MatchShard, frames: Sequence[bytes]) -> int:
    """Run frames through a match stage as the job does, and throw away what it writes; returns the records."""
    apply, forward, records = shard.apply, sources.FORWARD, 0
    for first in range(0, len(frames), _BATCH):
        for frame in frames[first : first + _BATCH]:
            apply(forward, frame, 0, 0, 0)
        shard.flush()
        records += sum(len(lane.values) for lane in shard.outbox.lanes())
        shard.outbox.clear()
    return records


def run_frames(prepared: Prepared) -> tuple[Run, int]:
    """The match stage: frames of bytes to records of bytes; also how many records."""
    shard = new_shard()
    drive_shard(shard, prepared.frames[: prepared.preloaded])
    frames = prepared.frames[prepared.preloaded :]
    records = 0

    def body() -> None:
        nonlocal records
        records = drive_shard(shard, frames)

    return timed(prepared.count, body), records


def run_decode(prepared: Prepared) -> Run:
    """Frames to fields."""
    frames = prepared.frames[prepared.preloaded :]

    def body() -> None:
        for frame in frames:
            decode_frame(frame)

    return timed(prepared.count, body)


def run_events(prepared: Prepared) -> Run:
    """The engine with a reporter of records, which are thrown away in batches as the job takes them."""
    reporter = event_reporter()
    matcher = new_matcher(reporter)

    def batches(all_calls: Sequence[Call]) -> None:
        for first in range(0, len(all_calls), _BATCH):
            drive(matcher, all_calls[first : first + _BATCH])
            reporter.ledger.flush()
            reporter.outbox.clear()

    reporter.begin("bench/0/0", 0)
    batches(prepared.preload)
    return timed(prepared.count, lambda: batches(prepared.commands))


# --------------------------------------------------------------------------------------------------------------- latency


def latencies(prepared: Prepared) -> array[int]:
    """Nanoseconds of each command, sorted; what reading the clock takes is in them."""
    matcher = new_matcher()
    drive(matcher, prepared.preload)
    new, cancelled = COMMAND_TYPE_NEW, COMMAND_TYPE_CANCEL
    place, cancel, replace, clock = matcher.place, matcher.cancel, matcher.replace, time.perf_counter_ns
    taken = array("q", bytes(8 * prepared.count))
    for number, (kind, arguments) in enumerate(prepared.commands):
        before = clock()
        if kind == new:
            place(Order(*arguments), 0, 0)
        elif kind == cancelled:
            cancel(arguments)
        else:
            replace(*arguments)
        taken[number] = clock() - before
    return array("q", sorted(taken))


def clock_ns() -> int:
    """What reading the clock twice takes."""
    clock = time.perf_counter_ns
    return int(statistics.median([-(clock() - clock()) for _ in range(20_000)]))


def quantile(taken: Sequence[int], share: float) -> int:
    """The value below which a share of sorted values lies."""
    return taken[min(len(taken) - 1, int(share * len(taken)))]
