"""Turns lines of a vendor's JSON messages into raw feed records: the publisher's side of udfs/domain/feed_json.py.

Each symbol is a feed of its own, `vendor/FEED/AAPL`, and its sequence counts that symbol's lines: 1, 2, 3 ... A line goes
out byte for byte, without its end; what it says is judged by the market data job, which writes refusals to dead-letter.
Only a line that cannot be routed, because it names no symbol or is too long for a record, stays behind and is reported.

Ordering: by line. Complexity: linear in the line; a counter for each symbol is all that is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from infra.feeds.items import Tick
from schemas.messages.enums import FEED_FORMAT_VENDOR_JSON
from schemas.messages.raw_feed import RawFeedRecord
from udfs.domain.feed_adapter import WHOLE_MARKET, FeedEvent
from udfs.domain.feed_json import VendorMessages
from udfs.domain.normalise import MarketLimits
from udfs.domain.symbology import canonical_symbol

SOURCE: Final = "vendor"
MAX_SYMBOL: Final = 64
MAX_PAYLOAD_BYTES: Final = 65_536
"""Both from schemas/avro/raw-feed.avsc."""


class VendorError(ValueError):
    """A line that cannot be routed; the message says why."""


class VendorRouter:
    """Routes the lines of one feed. `feed`: its name; lines that come again under it are dropped as copies by the job."""

    def __init__(self, feed: str, source: str = SOURCE) -> None:
        self._source = source
        self._stem = f"{source}/{feed}"
        self._sequences: dict[str, int] = {}
        self._adapter = VendorMessages()
        self._limits = MarketLimits()
        self._event = FeedEvent()
        self._time_ns = 0

    def route(self, payload: bytes) -> Tick:
        """The record of one line. Raises VendorError.

        The tick's time only paces: where a line tells none that can be read it is that of the line before.
        """
        symbol = _symbol_of(payload)
        sequence = self._sequences.get(symbol, 0) + 1
        self._sequences[symbol] = sequence
        feed_id = f"{self._stem}/{symbol}"
        record = RawFeedRecord(self._source, FEED_FORMAT_VENDOR_JSON, feed_id, sequence, symbol, 0, payload)
        self._event.time_ns = 0
        # Refused or not is the job's to say, and refused lines are published too.
        self._adapter.read(record, symbol, self._limits, self._event)
        self._time_ns = self._event.time_ns or self._time_ns
        return Tick(self._time_ns, record)


def route_lines(lines: Iterable[bytes], router: VendorRouter, on_bad: Callable[[int, str], None]) -> Iterator[Tick]:
    """The records of the lines, in order; `on_bad` takes number and reason of each that cannot be routed. Lazy."""
    for number, line in enumerate(lines, start=1):
        payload = line.rstrip(b"\r\n")
        if not payload.strip():
            continue
        try:
            yield router.route(payload)
        except VendorError as error:
            on_bad(number, str(error))


def _symbol_of(payload: bytes) -> str:
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise VendorError(f"{len(payload)} bytes, a record holds at most {MAX_PAYLOAD_BYTES}")
    try:
        message = json.loads(payload.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise VendorError(f"not JSON: {error}") from None
    spelled = message.get("symbol") if isinstance(message, dict) else None
    if not isinstance(spelled, str) or not spelled.strip() or spelled.strip() == WHOLE_MARKET:
        raise VendorError("names no symbol")
    if len(spelled) > MAX_SYMBOL or not spelled.isascii():
        raise VendorError(f"symbol must be ASCII of at most {MAX_SYMBOL} characters")
    return canonical_symbol(spelled)
