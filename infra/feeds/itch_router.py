"""Turns a stream of ITCH messages into raw feed records: the publisher's side of the contract in udfs/domain/feed_itch.py.

Messages are routed by stock locate: the directory message of the day says which symbol a locate is. Each symbol is a feed
of its own, `itch/20260105/AAPL`, and its sequence counts that symbol's messages. Messages of the whole market go to `*`.
A loss that cannot be recovered may concern any symbol: `lost` leaves out one number of each, so that the market data job
stops believing the books; `restart` begins new feeds, after which the source sends its books anew.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import BinaryIO, Final

from infra.feeds.items import Tick
from infra.feeds.sessions import midnight_ns
from schemas.messages.enums import FEED_FORMAT_ITCH_50
from schemas.messages.raw_feed import RawFeedRecord
from udfs.domain.symbology import canonical_symbol

SOURCE: Final = "itch"
WHOLE_MARKET: Final = "*"
_DIRECTORY: Final = 0x52
_SHORTEST: Final = 11


class ItchError(ValueError):
    """A stream that cannot be routed; the message says where."""


class ItchRouter:
    """Routes the messages of one day. `source`: itch for Nasdaq, itch-bx, itch-psx for the other two markets."""

    def __init__(self, day: date, source: str = SOURCE) -> None:
        self._base_ns = midnight_ns(day)
        self._source = source
        self._stem = f"{source}/{day:%Y%m%d}"
        self._part = 1
        self._symbols: dict[int, str] = {0: WHOLE_MARKET}
        self._sequences: dict[str, int] = {}

    def route(self, message: bytes) -> Tick:
        """The record of one message. Raises ItchError when it has no head or its locate was not introduced."""
        if len(message) < _SHORTEST:
            raise ItchError(f"a message of {len(message)} bytes has no head")
        locate = int.from_bytes(message[1:3], "big")
        if message[0] == _DIRECTORY:
            self._symbols[locate] = canonical_symbol(message[11:19].decode("ascii", "replace"))
        symbol = self._symbols.get(locate)
        if symbol is None:
            raise ItchError(f"message {message[:1]!r} of locate {locate} came before its directory message")
        sequence = self._sequences.get(symbol, 0) + 1
        self._sequences[symbol] = sequence
        time_ns = self._base_ns + int.from_bytes(message[5:11], "big")
        feed_id = f"{self._stem}/{symbol}" if self._part == 1 else f"{self._stem}.{self._part}/{symbol}"
        record = RawFeedRecord(self._source, FEED_FORMAT_ITCH_50, feed_id, sequence, symbol, self._base_ns, message)
        return Tick(time_ns, record)

    def lost(self) -> None:
        """Messages were lost for good: no symbol's book is whole any more."""
        for symbol in set(self._symbols.values()):
            self._sequences[symbol] = self._sequences.get(symbol, 0) + 1

    def restart(self) -> None:
        """The source is about to send its books anew."""
        self._part += 1
        self._sequences = {}


def route_all(messages: Iterable[bytes], day: date, source: str = SOURCE) -> Iterator[Tick]:
    """The records of a whole day's messages. Lazy."""
    router = ItchRouter(day, source)
    for message in messages:
        yield router.route(message)


def read_itch(path: Path) -> Iterator[bytes]:
    """The messages of a recorded day, plain or gzipped, each behind its length in 2 bytes. Lazy; memory is flat.

    Raises ItchError when the file ends within a message.
    """
    with path.open("rb") as plain:
        packed = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        if packed:
            with gzip.open(plain) as unpacked:
                yield from _messages(unpacked, path)
        else:
            yield from _messages(plain, path)


def _messages(file: BinaryIO | gzip.GzipFile, path: Path) -> Iterator[bytes]:
    while head := file.read(2):
        length = int.from_bytes(head, "big")
        message = file.read(length)
        if len(head) < 2 or len(message) < length:
            raise ItchError(f"{path} ends within a message")
        if length:
            yield message
