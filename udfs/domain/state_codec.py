"""The bytes of a shard's snapshot: integers and texts in the order in which they were put.

Ordering: a reader takes values in exactly the order in which the writer put them.
Invariants: the first byte is the version; the last four are a CRC-32 of all before, so that damaged state is an error
and not a wrong position.
Known limits: integers are signed 64 bit, above -2^63; `put_wide` takes twice as much, for sums of products.
Complexity: linear; a tenth of a microsecond for each value, because a stage stands still for it.

Layout, little endian: version u8, kind u8, count of integers u32, count of texts u32, integers i64 each, lengths of
the texts u32 each, texts in UTF-8 one after the other, crc32 u32.
"""

import struct
import zlib
from typing import Final

from librt.strings import BytesWriter, write_i32_le, write_i64_le

_HEAD: Final = struct.Struct("<BBII")
_CRC: Final = struct.Struct("<I")
_WORD: Final = 2**63
_LOW_BITS: Final = 62
_LOW_MASK: Final = 2**62 - 1


class StateError(ValueError):
    """Snapshot bytes that cannot be used: damaged, of another kind, or of a version that this release cannot read."""


class StateWriter:
    """Collects values; `finish` gives the bytes."""

    __slots__ = ("_blobs", "_ints", "_lengths")

    def __init__(self) -> None:
        self._ints = BytesWriter()
        self._lengths = BytesWriter()
        self._blobs = BytesWriter()

    def put(self, value: int) -> None:
        """Add an integer. Raises OverflowError when it does not fit 64 bits."""
        try:
            write_i64_le(self._ints, value)
        except (OverflowError, ValueError) as error:
            raise OverflowError(f"{value}, a number of the state, does not fit 64 bits") from error

    def put_wide(self, value: int) -> None:
        """Add an integer of up to 124 bits: as `put` does where 64 are enough, or as three numbers."""
        if -_WORD < value < _WORD:
            self.put(value)
        else:
            self.put(-_WORD)
            self.put(value >> _LOW_BITS)
            self.put(value & _LOW_MASK)

    def put_flag(self, value: bool) -> None:
        """Add a truth value."""
        self.put(1 if value else 0)

    def put_text(self, value: str) -> None:
        """Add a text."""
        self.put_bytes(value.encode("utf-8", "surrogatepass"))

    def put_bytes(self, value: bytes) -> None:
        """Add bytes."""
        write_i32_le(self._lengths, len(value))
        self._blobs.write(value)

    def finish(self, version: int, kind: int) -> bytes:
        """The snapshot."""
        head = _HEAD.pack(version, kind, len(self._ints) // 8, len(self._lengths) // 4)
        parts = (head, self._ints.getvalue(), self._lengths.getvalue(), self._blobs.getvalue())
        checksum = 0
        for part in parts:
            checksum = zlib.crc32(part, checksum)
        return b"".join((*parts, _CRC.pack(checksum)))


class StateReader:
    """Gives the values back. The constructor raises StateError; so does reading past the end."""

    __slots__ = ("_blob_at", "_blobs", "_int_at", "_ints", "version")

    def __init__(self, data: bytes, kind: int, newest_version: int) -> None:
        if len(data) < _HEAD.size + _CRC.size:
            raise StateError(f"a snapshot of {len(data)} bytes is too short to be one")
        version, found_kind, int_count, blob_count = _HEAD.unpack_from(data)
        if version == 0 or version > newest_version:
            raise StateError(
                f"snapshot of version {version}, but this release reads versions 1 to {newest_version}: "
                "restore it with the release that wrote it, or with a newer one"
            )
        if found_kind != kind:
            raise StateError(f"snapshot of kind {found_kind} given to an engine of kind {kind}")
        (checksum,) = _CRC.unpack_from(data, len(data) - _CRC.size)
        if zlib.crc32(data[: -_CRC.size]) != checksum:
            raise StateError("the checksum of the snapshot is wrong: it was damaged; restore an older checkpoint")
        at = _HEAD.size
        self.version: int = version
        self._ints: list[int] = list(struct.unpack_from(f"<{int_count}q", data, at))
        at += 8 * int_count
        lengths = struct.unpack_from(f"<{blob_count}I", data, at)
        at += 4 * blob_count
        blobs: list[bytes] = []
        for length in lengths:
            blobs.append(data[at : at + length])
            at += length
        self._blobs = blobs
        self._int_at = 0
        self._blob_at = 0

    def take(self) -> int:
        """The next integer."""
        if self._int_at >= len(self._ints):
            raise StateError("the snapshot holds fewer integers than its reader expects")
        value = self._ints[self._int_at]
        self._int_at += 1
        return value

    def take_wide(self) -> int:
        """The next integer that `put_wide` added, or `put` one above -2^63."""
        value = self.take()
        if value != -_WORD:
            return value
        high = self.take()
        return high << _LOW_BITS | self.take()

    def take_flag(self) -> bool:
        """The next truth value."""
        return self.take() != 0

    def take_text(self) -> str:
        """The next text."""
        return self.take_bytes().decode("utf-8", "surrogatepass")

    def take_bytes(self) -> bytes:
        """The next bytes."""
        if self._blob_at >= len(self._blobs):
            raise StateError("the snapshot holds fewer texts than its reader expects")
        value = self._blobs[self._blob_at]
        self._blob_at += 1
        return value

    def expect_end(self) -> None:
        """Raise StateError when values are left over."""
        if self._int_at != len(self._ints) or self._blob_at != len(self._blobs):
            raise StateError("the snapshot holds more values than its reader expects")
