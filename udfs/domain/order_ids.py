"""Client order ids that were used in this session and the one before: the guard against duplicates and replays.

Ordering: a session that begins retires the ids of the session before the last.
Invariants: an id is known from the moment its command was judged until the second session after it begins; a retired
id is never looked up again.
Known limits: memory grows with the orders of two sessions, about 200 bytes each.
Complexity: constant; retired ids are freed a few at a time, never a million at once.
"""

from typing import Final

_FREE_AT_ONCE: Final = 16

REJECTED_HERE: Final = -1
"""Shard of an order that the risk stage rejected itself."""


class OrderIds:
    """From order key to (fingerprint of the command, symbol shard that it was forwarded to or REJECTED_HERE)."""

    __slots__ = ("current", "previous", "retired", "session_open_ns")

    def __init__(self) -> None:
        self.session_open_ns: int = 0
        self.current: dict[str, int] = {}
        self.previous: dict[str, int] = {}
        self.retired: list[dict[str, int]] = []

    def remember(self, key: str, fingerprint: int, symbol_shard: int) -> None:
        """Remember a command that was judged. The fingerprint has 32 bits, the shard 16."""
        self.put(key, entry_of(fingerprint, symbol_shard))

    def put(self, key: str, entry: int) -> None:
        """Remember what `entry_of` gave."""
        self.current[key] = entry
        if self.retired:
            self._free_some()

    def find(self, key: str) -> int:
        """What is remembered of an id, for `fingerprint_of` and `shard_of_entry`; -1 when it is new."""
        entry = self.current.get(key, -1)
        if entry < 0 and self.previous:
            entry = self.previous.get(key, -1)
        return entry

    def begin_session(self, open_ns: int) -> None:
        """A session that opens at `open_ns` has begun; the same or an earlier one again is ignored."""
        if open_ns <= self.session_open_ns:
            return
        self.session_open_ns = open_ns
        if self.previous:
            self.retired.append(self.previous)
        self.previous = self.current
        self.current = {}

    def _free_some(self) -> None:
        """Free a bounded number of retired ids."""
        oldest = self.retired[-1]
        for _ in range(_FREE_AT_ONCE):
            if not oldest:
                self.retired.pop()
                return
            oldest.popitem()


def entry_of(fingerprint: int, symbol_shard: int) -> int:
    """A fingerprint and a shard as one number."""
    return (fingerprint << 17) | (symbol_shard + 1)


def fingerprint_of(entry: int) -> int:
    """The fingerprint in an entry of OrderIds."""
    return entry >> 17


def shard_of_entry(entry: int) -> int:
    """The symbol shard in an entry of OrderIds, or REJECTED_HERE."""
    return (entry & 0x1FFFF) - 1
