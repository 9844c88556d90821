"""Messages as JSON for people: the dictionaries of to_dict and from_dict, with bytes as text.

Bytes become a string with one character for each byte (ISO 8859-1), which is Avro's own JSON encoding of bytes; all
other values are JSON already. Unlike Avro's JSON encoding, optional values are written plainly, not as {"long": 1}.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from schemas.catalogue import TOPICS
from schemas.errors import EncodeError
from schemas.model import ArrayType, RecordType, Type, load


def to_json(value: Any) -> Any:
    """Return a message's dictionary with every bytes turned into text."""
    if isinstance(value, bytes):
        return value.decode("iso-8859-1")
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {name: to_json(item) for name, item in value.items()}
    return value


def from_json(topic: str, value: Any) -> Any:
    """Return what from_dict of the topic's module takes; EncodeError when text cannot be bytes.

    Whatever else is wrong with the value is left as it is, for from_dict to refuse.
    """
    return _bytes_back(_root(topic), value, topic)


@cache
def _root(topic: str) -> RecordType:
    return load(TOPICS[topic].schema_file).root


def _bytes_back(kind: Type, value: Any, place: str) -> Any:
    if kind == "bytes" and isinstance(value, str):
        try:
            return value.encode("iso-8859-1")
        except UnicodeEncodeError as error:
            raise EncodeError(f"character {value[error.start]!r} is not a byte", place) from None
    if isinstance(kind, RecordType) and isinstance(value, Mapping):
        types = {field.name: field.type for field in kind.fields}
        return {
            name: _bytes_back(types[name], item, f"{kind.name}.{name}") if name in types else item
            for name, item in value.items()
        }
    if isinstance(kind, ArrayType) and isinstance(value, list):
        return [_bytes_back(kind.items, item, place) for item in value]
    return value
