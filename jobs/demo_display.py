"""Shows a running demo: a live panel on a terminal, a line every few seconds elsewhere. Writes to stderr only."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Final
from zoneinfo import ZoneInfo

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from jobs.demo_watch import JobHealth

NEW_YORK: Final = ZoneInfo("America/New_York")
LINE_EVERY_S: Final = 10.0
WIDTH: Final = 80


@dataclass(slots=True)
class View:
    """What is known of the run at this moment."""

    event_time_ns: int = 0
    share: float = 0.0
    """How much of the day was played, 0 to 1."""
    sent: Mapping[str, int] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    """Records a second, by the names of `sent` and "archived"."""
    stages: Mapping[str, int] = field(default_factory=dict)
    dead_letters: int = 0
    archived: int = 0
    lag: Mapping[str, int] = field(default_factory=dict)
    jobs: Mapping[str, JobHealth] = field(default_factory=dict)


class Display:
    """Phases with their durations, remarks, and the view of the run while it is played."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.durations: dict[str, float] = {}
        """Seconds of the phases that have ended, by name."""
        self._live: Live | None = None
        self._title = self._name = ""
        self._began = 0.0
        self._view: View | None = None
        self._next_line = 0.0

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=4, transient=True, get_renderable=self._render)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def begin(self, title: str, name: str) -> None:
        """A phase begins, the one before it ends; `name` is what its time is kept under."""
        self.end()
        self._title, self._name, self._began, self._view = title, name, time.monotonic(), None
        if self._live is None:
            self.console.print(f"{title} ...")

    def end(self) -> None:
        """The phase has ended."""
        if not self._title:
            return
        seconds = time.monotonic() - self._began
        self.durations[self._name] = self.durations.get(self._name, 0.0) + seconds
        self.console.print(Text.assemble(("✓ ", "green"), f"{self._title:<68}{seconds:>7.1f} s"))
        self._title, self._view = "", None

    def remark(self, text: str) -> None:
        """A line that stays."""
        self.console.print(Text(f"  {text}", style="dim"))

    def show(self, view: View) -> None:
        """The run as it is now."""
        self._view = view
        if self._live is None and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_EVERY_S
            self.console.print(Text(plain_lines(view)), soft_wrap=True)

    def _render(self) -> RenderableType:
        if not self._title:
            return Text("")
        elapsed = time.monotonic() - self._began
        head = Table.grid(padding=(0, 1))
        head.add_row(Spinner("dots"), Text(self._title, style="bold"), Text(f"{elapsed:.0f} s", style="dim"))
        return head if self._view is None else Group(head, panel(self._view))


def clock(time_ns: int) -> str:
    """The time of day in New York."""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).astimezone(NEW_YORK).strftime("%a %H:%M:%S")


def plain_lines(view: View) -> str:
    """The view in two lines: what went in and came out, then where the orders are."""
    flow = [f"{clock(view.event_time_ns)} {100 * view.share:.0f}%"] if view.event_time_ns else []
    flow += [f"{name} {count:,} ({view.rates.get(name, 0):,.0f}/s)" for name, count in view.sent.items()]
    flow.append(f"archived {view.archived:,} ({view.rates.get('archived', 0):,.0f}/s)")
    flow += [f"{job} behind {count:,}" for job, count in view.lag.items()]
    ages = [health.age_ms for health in view.jobs.values() if health.age_ms is not None]
    if ages:
        flow.append(f"checkpoints {max(ages) / 1_000:.0f} s old")
    stages = [f"{_stage(name)} {view.stages[name]:,}" for name in STAGES if view.stages.get(name)]
    stages.append(f"dead letters {view.dead_letters:,}")
    return f"  {', '.join(flow)}\n      {', '.join(stages)}"


def _stage(name: str) -> str:
    return name.lower().replace("_", "-")


STAGES: Final = (
    "VALIDATED",
    "RISK_APPROVED",
    "ROUTED",
    "TRIGGERED",
    "REPLACED",
    "PARTIALLY_FILLED",
    "EXECUTED",
    "CANCELLED",
    "EXPIRED",
    "REJECTED",
    "CANCEL_REJECTED",
    "REPLACE_REJECTED",
)


def panel(view: View) -> RenderableType:
    """The view as a block, 80 columns wide."""
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        Text("  "),
        ProgressBar(total=1.0, completed=min(1.0, view.share), width=46),
        Text(f"{100 * min(1.0, view.share):3.0f}%"),
        Text(clock(view.event_time_ns) + " New York" if view.event_time_ns else "", style="cyan"),
    )
    flow = Table.grid(padding=(0, 2))
    flow.add_column(min_width=18)
    flow.add_column(justify="right", min_width=11)
    flow.add_column(justify="right", min_width=10, style="dim")
    flow.add_column(min_width=16)
    flow.add_column(justify="right", min_width=11)
    left = [(f"  sent {name}", f"{count:,}", f"{view.rates.get(name, 0):,.0f}/s") for name, count in view.sent.items()]
    left.append(("  archived rows", f"{view.archived:,}", f"{view.rates.get('archived', 0):,.0f}/s"))
    left.append(("  dead letters", f"{view.dead_letters:,}", ""))
    for name, count in view.lag.items():
        left.append((f"  {name} behind", f"{count:,}", ""))
    for name, health in view.jobs.items():
        age = "none yet" if health.age_ms is None else f"{health.age_ms / 1_000:.1f} s old"
        left.append((f"  {name} ckpt", age, "" if health.state == "RUNNING" else health.state.lower()))
    right = [(_stage(name), f"{view.stages.get(name, 0):,}") for name in STAGES]
    for index in range(max(len(left), len(right))):
        first = left[index] if index < len(left) else ("", "", "")
        second = right[index] if index < len(right) else ("", "")
        flow.add_row(*first, *second)
    return Group(bar, flow)
