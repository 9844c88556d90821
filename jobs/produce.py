"""JSON lines as Kafka records: what `tradestream produce orders | reference | controls` writes.

A line is a message in the form of the example payloads, or a line of `tradestream tail --json`, whose `value` is taken.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.errors import EncodeError
from schemas.json_form import from_json

KEYS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "orders": lambda message: str(message["accountId"]),
    "reference-data": lambda message: str(message["key"]),
    "controls": lambda message: str(message.get("target") or "*"),
}
"""The topics that are written by hand, and their Kafka keys as the catalogue has them."""

Encoded = tuple[str, bytes, bytes, int]
"""Topic, key, frame, event time in UTC ns: what the publisher of infra.feeds plays."""


class LineError(ValueError):
    """A line that is not a message of the topic; the message says why."""


@dataclass(slots=True)
class LineReader:
    """Encodes lines; a bad one goes to `on_bad(number, reason)` and is left out."""

    topic: str
    schema_id: int
    on_bad: Callable[[int, str], None]
    bad: int = 0
    _module: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._module = importlib.import_module(f"schemas.messages.{self.topic.replace('-', '_')}")

    def items(self, lines: Iterable[str]) -> Iterator[Encoded]:
        """The records of the good lines, in order. Empty lines are passed over."""
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield self.encode(line)
            except LineError as error:
                self.bad += 1
                self.on_bad(number, str(error))

    def encode(self, line: str) -> Encoded:
        """One line. Raises LineError."""
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise LineError(f"not JSON: {error}") from None
        if not isinstance(value, dict):
            raise LineError("not a JSON object")
        value = self._unwrapped(value)
        try:
            message = self._module.from_dict(from_json(self.topic, value))
            frame = self._module.encode(message, self.schema_id)
        except EncodeError as error:
            raise LineError(str(error)) from None
        return self.topic, KEYS[self.topic](value).encode(), bytes(frame), int(value["timestamp"])

    def _unwrapped(self, value: dict[str, Any]) -> dict[str, Any]:
        if not {"topic", "offset", "value"} <= value.keys():
            return value
        if value["topic"] != self.topic:
            raise LineError(f"a record of {value['topic']}, not of {self.topic}")
        if not isinstance(value["value"], dict):
            raise LineError(f"a record without a decoded value: {value.get('problem', 'unknown reason')}")
        return value["value"]
