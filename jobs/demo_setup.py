"""A demo's surroundings: its own folder, ports and settings, and the record of what it has played."""

from __future__ import annotations

import fcntl
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from infra.stack import free_port_offset
from infra.stack_files import password_file
from jobs.config import Config

FOLDER: Final = "demo"
RECORD: Final = "demo.json"
DOCS: Final = "quality"
"""Data Docs of the quality rules, in the folder of the demo."""
PORT_OFFSET: Final = 500
"""The demo's ports, from those of the stack that a checkout has otherwise."""


class DemoError(RuntimeError):
    """The demo cannot go on; the message says why, what to do and where the logs are."""


@dataclass(slots=True)
class Played:
    """What was sent and what must come of it; kept in a file, so that a stack left by --keep can be checked again."""

    title: str = ""
    symbols: int = 0
    sent: dict[str, int] = field(default_factory=dict)
    expected_refusals: dict[str, int] = field(default_factory=dict)
    expected_bad_ticks: dict[str, int] | None = None
    play_s: float = 0.0
    speed: float = 0.0
    jobs: dict[str, str] = field(default_factory=dict)
    orders_per_s: float = 0.0
    controls: list[str] = field(default_factory=list)
    """Ids of the controls that the trading job has to answer."""

    def save(self, file: Path) -> None:
        """Write it as JSON."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> Played:
        """Read it back. Raises DemoError."""
        try:
            return cls(**json.loads(file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise DemoError(f"there is no demo to check in {file.parent}: run one with --keep first") from None
        except (ValueError, TypeError) as error:
            raise DemoError(f"{file} cannot be read ({error}): run a new demo") from error


def demo_config(
    base: Config, taskmanagers: int, overrides: Mapping[str, object], *, apart: int = 1, running: bool = False
) -> Config:
    """The settings of the demo's own stack, whatever endpoints `base` has; `running`: of the one that is up.

    Free ports are searched when those that are meant for the demo are taken. `apart`: how many more TaskManagers there are when
    the stages of trading have TaskManagers of their own (`trading.separate_stages`), one for each of its subtasks.
    """
    own: dict[str, object] = {key: value for key, value in overrides.items() if not key.startswith(_FOREIGN)}
    more = apart if base.trading.separate_stages else 0
    own |= {"profile": "local", "state_dir": base.state_dir / FOLDER, "stack.taskmanagers": taskmanagers + more}
    if running:
        recorded = Config.load(overrides={"profile": "local", "state_dir": own["state_dir"]})
        if not recorded.endpoints_file.is_file():
            raise DemoError(f"the demo's stack in {recorded.state_dir} is not up: run a demo with --keep first")
        # From the file itself: what the environment says goes before it, and is where the search for free ports began.
        offset = tomllib.loads(recorded.endpoints_file.read_text(encoding="utf-8"))["stack"]["port_offset"]
    else:
        wanted = Config.load(overrides=own | {"stack.port_offset": base.stack.port_offset + PORT_OFFSET})
        offset = free_port_offset(wanted, start=base.stack.port_offset + PORT_OFFSET)
    own["stack.port_offset"] = offset
    ports = Config.load(overrides=own).stack
    own |= {
        "kafka.bootstrap": f"127.0.0.1:{ports.port('kafka')}",
        "kafka.security_protocol": "PLAINTEXT",
        "registry.url": f"http://127.0.0.1:{ports.port('registry')}/apis/ccompat/v7",
        "registry.username": "",
        "flink.rest_url": f"http://127.0.0.1:{ports.port('flink_rest')}",
        "flink.parallelism": 1,
        "clickhouse.url": f"http://127.0.0.1:{ports.port('clickhouse')}",
        "clickhouse.username": "default",
        "clickhouse.database": "default",
    }
    state_dir = base.state_dir / FOLDER
    own |= {f"flink.{name}_dir": (state_dir / "flink" / f"{name}s").as_uri() for name in ("checkpoint", "savepoint")}
    secret = password_file(Config.load(overrides=own), "default")
    if secret.is_file():
        own["clickhouse.password_file"] = str(secret)
    return Config.load(overrides=own)


_FOREIGN: Final = ("kafka.", "registry.", "flink.rest_url", "clickhouse.", "profile", "state_dir")


@contextmanager
def only_demo(folder: Path) -> Iterator[None]:
    """Hold the demo's folder. Raises DemoError when another demo has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "demo.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise DemoError(
                f"another demo is running in {folder} (process {file.read().strip() or 'unknown'}): wait for its end, or "
                "give this one a folder of its own (tradestream --state-dir FOLDER demo)"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
