"""Checks of dictionaries on their way into messages: the slow, friendly path of from_dict.

Every function takes the name of the field as `Record.field` and raises EncodeError with it. Ranges and lengths are
those of the wire; encode checks them too, but a caller with a dictionary deserves the error where he made it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from schemas.errors import EncodeError
from schemas.wire import INT_MAX, INT_MIN, LONG_MAX, LONG_MIN


def as_record(value: object, record: str, required: Collection[str], known: Collection[str]) -> Mapping[str, object]:
    """Return `value` as a mapping that has every required field and no unknown one."""
    if not isinstance(value, Mapping):
        raise EncodeError(f"{_kind(value)} where a dictionary is expected", record)
    for name in required:
        if name not in value:
            raise EncodeError("missing", f"{record}.{name}")
    for name in value:
        if name not in known:
            raise EncodeError("unknown field", f"{record}.{name}")
    return value


def as_long(value: object, field: str) -> int:
    """Return an integer of 64 bits."""
    return _integer(value, field, LONG_MIN, LONG_MAX, "long of 64 bits")


def as_int(value: object, field: str) -> int:
    """Return an integer of 32 bits."""
    return _integer(value, field, INT_MIN, INT_MAX, "int of 32 bits")


def _integer(value: object, field: str, least: int, most: int, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise EncodeError(f"{_kind(value)} where an integer is expected", field)
    if not least <= value <= most:
        raise EncodeError(f"{value} does not fit a {name}", field)
    return value


def as_boolean(value: object, field: str) -> bool:
    """Return a boolean."""
    if not isinstance(value, bool):
        raise EncodeError(f"{_kind(value)} where a boolean is expected", field)
    return value


def as_double(value: object, field: str) -> float:
    """Return a float; an integer is taken as one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise EncodeError(f"{_kind(value)} where a float is expected", field)
    return float(value)


def as_string(value: object, field: str, limit: int) -> str:
    """Return a string of at most `limit` bytes of UTF-8."""
    if not isinstance(value, str):
        raise EncodeError(f"{_kind(value)} where a string is expected", field)
    try:
        size = len(value.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise EncodeError(f"not encodable as UTF-8 ({error.reason})", field) from None
    if size > limit:
        raise EncodeError(f"length {size} is over the limit of {limit} bytes", field)
    return value


def as_bytes(value: object, field: str, limit: int) -> bytes:
    """Return at most `limit` bytes."""
    if not isinstance(value, bytes):
        raise EncodeError(f"{_kind(value)} where bytes are expected", field)
    if len(value) > limit:
        raise EncodeError(f"length {len(value)} is over the limit of {limit} bytes", field)
    return value


def as_code(value: object, field: str, codes: Mapping[str, int]) -> int:
    """Return the code of an enum symbol given by name."""
    if not isinstance(value, str):
        raise EncodeError(f"{_kind(value)} where one of {', '.join(codes)} is expected", field)
    if value not in codes:
        raise EncodeError(f"{value!r} is not one of {', '.join(codes)}", field)
    return codes[value]


def as_items(value: object, field: str, limit: int) -> list[object]:
    """Return a list of at most `limit` items."""
    if not isinstance(value, list | tuple):
        raise EncodeError(f"{_kind(value)} where a list is expected", field)
    if len(value) > limit:
        raise EncodeError(f"{len(value)} items, limit {limit}", field)
    return list(value)


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__
