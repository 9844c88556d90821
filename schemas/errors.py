"""Errors of the codec, with what a dead letter needs: a reason for counting, the field, and the byte.

Plain Python on purpose: it is the slow path, and exceptions of interpreted classes pickle and subclass freely.
"""

from __future__ import annotations

from typing import Final

# Symbols of the Avro enum DeadLetterReason, so that a decode error becomes a dead letter without a translation.
BAD_MAGIC: Final = "BAD_MAGIC"
UNKNOWN_SCHEMA: Final = "UNKNOWN_SCHEMA"
UNDECODABLE: Final = "UNDECODABLE"
TOO_LARGE: Final = "TOO_LARGE"
INVALID_VALUE: Final = "INVALID_VALUE"


class CodecError(ValueError):
    """A message that cannot be read or written.

    `reason` is a symbol of DeadLetterReason, `field` is `Record.field` or empty for the frame itself.
    """

    def __init__(self, reason: str, message: str, field: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field


class DecodeError(CodecError):
    """Bytes that are not a message of the expected schema; `position` is the byte of the frame, from 0."""

    def __init__(self, reason: str, message: str, position: int, field: str = "") -> None:
        where = f"{field}: " if field else ""
        super().__init__(reason, f"{where}{message} at byte {position}", field)
        self.position = position

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.__dict__.copy(), self.args)


class EncodeError(CodecError):
    """A value that the schema cannot hold."""

    def __init__(self, message: str, field: str = "", reason: str = INVALID_VALUE) -> None:
        where = f"{field}: " if field else ""
        super().__init__(reason, f"{where}{message}", field)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.__dict__.copy(), self.args)


def _rebuild(kind: type[CodecError], state: dict[str, object], args: tuple[object, ...]) -> CodecError:
    """Unpickle an error without running its constructor, whose message is already complete."""
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error
