"""Client order ids that were used in this session and the one before: the guard against duplicates and replays.

Ordering: a session that begins retires the ids of the session before the last.
Invariants: an id is known from the moment its command was judged until the second session after it begins; a retired
id is never looked up again. The bytes of a session's ids are written as they come, so that a snapshot only copies them.
Known limits: memory grows with the orders of two sessions, about 250 bytes each.
Complexity: constant; retired ids are freed a few at a time, never a million at once.

Layout of the bytes, little endian: entry i64, length of the key i32, the key in UTF-8; one after the other.
"""

from typing import Final

from librt.strings import BytesWriter, read_i32_le, read_i64_le, write_i32_le, write_i64_le

_FREE_AT_ONCE: Final = 16
_HEAD_BYTES: Final = 12

REJECTED_HERE: Final = -1
"""Shard of an order that the risk stage rejected itself."""


class OrderIds:
    """From order key to (fingerprint of the command, symbol shard that it was forwarded to or REJECTED_HERE)."""

    __slots__ = ("_previous_bytes", "_writer", "current", "previous", "retired", "session_open_ns")

    def __init__(self) -> None:
        self.session_open_ns: int = 0
        self.current: dict[str, int] = {}
        self.previous: dict[str, int] = {}
        self.retired: list[dict[str, int]] = []
        self._writer = BytesWriter()
        self._previous_bytes: bytes = b""

    def remember(self, key: str, fingerprint: int, symbol_shard: int) -> None:
        """Remember a command that was judged. The fingerprint has 32 bits, the shard 16."""
        self.put(key, entry_of(fingerprint, symbol_shard))

    def put(self, key: str, entry: int) -> None:
        """Remember what `entry_of` gave."""
        self.current[key] = entry
        data = key.encode("utf-8")
        write_i64_le(self._writer, entry)
        write_i32_le(self._writer, len(data))
        self._writer.write(data)
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
        self._turn()

    def _turn(self) -> None:
        self.previous = self.current
        self.current = {}
        self._previous_bytes = self._writer.getvalue()
        self._writer = BytesWriter()

    def written(self) -> tuple[bytes, bytes]:
        """The ids of this session and of the one before, for `restore`."""
        return self._writer.getvalue(), self._previous_bytes

    def restore(self, current: bytes, previous: bytes) -> None:
        """Take over what `written` gave. Raises ValueError when it is cut off."""
        self.current = _read(current)
        self.previous = _read(previous)
        self._writer = BytesWriter()
        self._writer.write(current)
        self._previous_bytes = previous

    def take(self, current: dict[str, int], previous: dict[str, int]) -> None:
        """Take over entries by key, as older snapshots have them."""
        for entries in (previous, current):
            self._turn()
            for key, entry in entries.items():
                self.put(key, entry)

    def _free_some(self) -> None:
        """Free a bounded number of retired ids."""
        oldest = self.retired[-1]
        for _ in range(_FREE_AT_ONCE):
            if not oldest:
                self.retired.pop()
                return
            oldest.popitem()


def _read(data: bytes) -> dict[str, int]:
    """Entries by key."""
    entries: dict[str, int] = {}
    at = 0
    while at < len(data):
        key_at = at + _HEAD_BYTES
        if key_at > len(data):
            raise ValueError(f"ids of {len(data)} bytes end within an entry")
        entry = read_i64_le(data, at)
        at = key_at + read_i32_le(data, at + 8)
        if at > len(data):
            raise ValueError(f"ids of {len(data)} bytes end within a key")
        entries[data[key_at:at].decode("utf-8")] = entry
    return entries


def entry_of(fingerprint: int, symbol_shard: int) -> int:
    """A fingerprint and a shard as one number."""
    return (fingerprint << 17) | (symbol_shard + 1)


def fingerprint_of(entry: int) -> int:
    """The fingerprint in an entry of OrderIds."""
    return entry >> 17


def shard_of_entry(entry: int) -> int:
    """The symbol shard in an entry of OrderIds, or REJECTED_HERE."""
    return (entry & 0x1FFFF) - 1
