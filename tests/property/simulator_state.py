"""Flink's keyed state, runtime context and metrics, as far as RunShard uses them."""

from __future__ import annotations

from typing import Any


class Handles:
    """A runtime context whose state is a dictionary by key; `key` is the current one."""

    def __init__(self, drop_journal: bool) -> None:
        self.state: dict[tuple[str, int], dict[str, Any]] = {}
        self.key = ("", 0)
        self.drop_journal = drop_journal

    def restore(self, key: tuple[str, int], state: dict[str, Any]) -> None:
        """Take over a key's state of a checkpoint."""
        self.state[key] = {
            name: list(value) if isinstance(value, list) else value
            for name, value in state.items()
            if not (self.drop_journal and name == "journal")
        }

    def get_list_state(self, descriptor: Any) -> ListHandle:
        """A ListState."""
        return ListHandle(self, descriptor.get_name())

    def get_state(self, descriptor: Any) -> ValueHandle:
        """A ValueState."""
        return ValueHandle(self, descriptor.get_name())

    def get_metrics_group(self) -> Metrics:
        """Metrics that nobody reads."""
        return Metrics()


class ListHandle:
    """ListState of the current key."""

    def __init__(self, handles: Handles, name: str) -> None:
        self.handles = handles
        self.name = name

    def get(self) -> list[bytes]:
        """All elements."""
        return self.handles.state.get(self.handles.key, {}).get(self.name, [])

    def add(self, value: bytes) -> None:
        """One more element."""
        self.handles.state.setdefault(self.handles.key, {}).setdefault(self.name, []).append(value)

    def clear(self) -> None:
        """No elements."""
        self.handles.state.setdefault(self.handles.key, {}).pop(self.name, None)


class ValueHandle:
    """ValueState of the current key."""

    def __init__(self, handles: Handles, name: str) -> None:
        self.handles = handles
        self.name = name

    def value(self) -> bytes | None:
        """The value, None when there is none."""
        return self.handles.state.get(self.handles.key, {}).get(self.name)

    def update(self, value: bytes) -> None:
        """Another value."""
        self.handles.state.setdefault(self.handles.key, {})[self.name] = value


class Metrics:
    """A metric group and its counters."""

    def __init__(self) -> None:
        self.count = 0

    def add_group(self, *names: str) -> Metrics:
        """A group below this one."""
        return self

    def counter(self, name: str) -> Metrics:
        """A new counter."""
        return Metrics()

    def inc(self, number: int) -> None:
        """Count."""
        self.count += number
