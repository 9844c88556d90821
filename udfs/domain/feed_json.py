"""A vendor's JSON messages as feed events, one flat object a record.

    {"type": "quote", "symbol": "BRK/B", "exchange": "NASDAQ", "time": "2026-01-05T14:30:00.123456789Z",
     "bid": "491.25", "bidSize": 200, "ask": 491.3, "askSize": "300"}
    {"type": "trade", "symbol": "BRK/B", "exchange": "Q", "time": 1767623400123456789, "price": "491.27", "size": 100,
     "id": "T-17", "conditions": "@F"}
    {"type": "correction", ... as trade, with the id of the trade that was wrong}
    {"type": "cancel", "symbol": ..., "exchange": ..., "time": ..., "id": "T-17"}
    {"type": "halt", "symbol": ..., "time": ..., "reason": "T1"}, and "resume"

- Numbers may be JSON numbers or texts; prices are plain decimals of at most four places, read without a float.
- `time`: ISO 8601 with seconds, up to nine decimals and an offset, or a whole number since 1970 in `timeUnit`: "ns" (the
  default), "us", "ms" or "s".
- `exchange`: tape letter, ISO 10383 code or a usual name. `conditions`: letters of the consolidated tapes, spaces between
  them do not matter.
- A quote may leave a side out, which then stays; a side with null or size 0 is withdrawn. `firm`: false for a quote that
  cannot be traded with.
- `priceUnit`: "major" (the default, dollars) or "minor" (cents, with at most two decimals). `sizeUnit`: "shares" (the
  default) or "lots", round lots of a quote or trade.
- Other members are not looked at. Messages are UTF-8. Members that come twice, nested values, NaN, and brackets or further
  braces anywhere make the message undecodable.

Ordering: by record. Invariants: those of feed_adapter.py. Known limits: `MarketLimits.max_message_bytes`.
Complexity: linear in the message.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Final

from schemas.messages.enums import (
    DEAD_LETTER_REASON_INVALID_VALUE,
    DEAD_LETTER_REASON_UNDECODABLE,
    DEAD_LETTER_REASON_UNSUPPORTED,
)
from schemas.messages.raw_feed import RawFeedRecord
from udfs.domain.feed_adapter import (
    EVENT_CANCEL,
    EVENT_CORRECTION,
    EVENT_QUOTE,
    EVENT_STATE,
    EVENT_TRADE,
    FeedAdapter,
    FeedEvent,
)
from udfs.domain.normalise import MAX_TIME_NS, MarketLimits, Refusal, letters_set_price, mic_of, price_e4
from udfs.domain.rules import round_lot
from udfs.domain.symbology import canonical_symbol

_UNITS: Final[dict[str, int]] = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_DIGITS: Final = 19
_MAX_TEXT: Final = 64
_MAX_REASON: Final = 256


class VendorMessages(FeedAdapter):
    """Messages of the vendor format."""

    def read(self, raw: RawFeedRecord, symbol: str, limits: MarketLimits, event: FeedEvent) -> Refusal | None:
        """Fill `event` from a message, or say why not."""
        payload = raw.payload
        if len(payload) > limits.max_message_bytes:
            return _undecodable(f"message of {len(payload)} bytes, at most {limits.max_message_bytes} are read")
        # A flat object opens one brace; checked first, because a parser goes into nested ones by recursion.
        if payload.count(b"{") != 1 or b"[" in payload:
            return _undecodable("message is not one flat JSON object")
        try:
            pairs: object = json.loads(
                payload.decode("utf-8"),
                parse_float=str,
                parse_int=str,
                parse_constant=_refuse_constant,
                object_pairs_hook=list,
            )
        except (ValueError, RecursionError) as error:
            return _undecodable(f"message is not JSON: {error}")
        message = _Message(limits)
        if not isinstance(pairs, list) or not message.take(pairs):
            return _undecodable("message is not one flat JSON object whose members come once")
        kind = message.text("type", _MAX_TEXT)
        event.time_ns = message.time_ns()
        spelled = message.text("symbol", _MAX_TEXT)
        event.suspicious = False
        if kind == "quote":
            _read_quote(message, event)
        elif kind == "trade" or kind == "correction":
            event.kind = EVENT_TRADE if kind == "trade" else EVENT_CORRECTION
            _read_trade(message, event)
        elif kind == "cancel":
            event.kind = EVENT_CANCEL
            event.exchange = message.exchange()
            event.trade_id = message.text("id", _MAX_TEXT)
        elif kind == "halt" or kind == "resume":
            event.kind = EVENT_STATE
            event.halted = kind == "halt"
            event.reason = f"{kind} {message.optional_text('reason', _MAX_REASON)}".strip()
        elif message.refusal is None:
            return Refusal(DEAD_LETTER_REASON_UNSUPPORTED, f"message type {kind!r} is not known")
        refusal = message.problem()
        if refusal is not None:
            return refusal
        if canonical_symbol(spelled) != symbol:
            return _invalid(f"the message is about {spelled} but came under symbol {symbol}")
        if event.kind == EVENT_QUOTE:
            return event.check_sides()
        if event.kind == EVENT_TRADE or event.kind == EVENT_CORRECTION:
            return event.check_trade()
        return None


class _Message:
    """The members of one message and the first thing that was wrong with them. A number is kept as its text."""

    __slots__ = ("_limits", "_members", "refusal")

    def __init__(self, limits: MarketLimits) -> None:
        self._limits = limits
        self._members: dict[str, str | bool | None] = {}
        self.refusal: Refusal | None = None

    def take(self, pairs: list[object]) -> bool:
        """Take the members; False when one is nested or comes twice."""
        for pair in pairs:
            if not isinstance(pair, tuple):
                return False
            name: object = pair[0]
            value: object = pair[1]
            if not isinstance(name, str) or name in self._members:
                return False
            if value is not None and not isinstance(value, (str, bool)):
                return False
            self._members[name] = value
        return True

    def problem(self) -> Refusal | None:
        """The first thing that was wrong. A call, because mypyc takes a narrowed attribute for unchanged."""
        return self.refusal

    def has(self, name: str) -> bool:
        """Whether a member is there, null or not."""
        return name in self._members

    def text(self, name: str, longest: int) -> str:
        """A text that must be there; printable, of at most so many bytes."""
        value = self._members.get(name)
        if isinstance(value, str) and value:
            return self._checked(name, value, longest)
        self._refuse(DEAD_LETTER_REASON_UNDECODABLE, f"{name} is missing or no text")
        return ""

    def optional_text(self, name: str, longest: int) -> str:
        """A text, empty when it is not there."""
        value = self._members.get(name)
        if isinstance(value, str):
            return self._checked(name, value, longest)
        if value is not None:
            self._refuse(DEAD_LETTER_REASON_UNDECODABLE, f"{name} is no text")
        return ""

    def flag(self, name: str, default: bool) -> bool:
        """A truth value."""
        value = self._members.get(name)
        if isinstance(value, bool):
            return value
        if value is not None:
            self._refuse(DEAD_LETTER_REASON_UNDECODABLE, f"{name} is neither true nor false")
        return default

    def exchange(self) -> str:
        """The market identifier code of the exchange."""
        spelled = self.text("exchange", _MAX_TEXT)
        mic = mic_of(spelled)
        if not mic:
            self._refuse(DEAD_LETTER_REASON_INVALID_VALUE, f"exchange {spelled!r} is not known")
        return mic

    def price(self, name: str) -> int:
        """A price e4 from 0 to the limit; 0 for null and what is not there."""
        value = self._members.get(name)
        if value is None:
            return 0
        price = price_e4(value) if isinstance(value, str) else -1
        if price >= 0 and self._is_minor():
            price = price // 100 if price % 100 == 0 else -2
        if price > self._limits.max_price_e4:
            self._refuse(DEAD_LETTER_REASON_INVALID_VALUE, f"{name}={value} is above the limit")
        elif price >= 0:
            return price
        elif price == -2:
            self._refuse(DEAD_LETTER_REASON_INVALID_VALUE, f"{name}={value} has more decimals than 1/10,000")
        elif isinstance(value, str) and value[:1] == "-":
            self._refuse(DEAD_LETTER_REASON_INVALID_VALUE, f"{name} is negative: {value[:40]!r}")
        else:
            self._refuse(DEAD_LETTER_REASON_UNDECODABLE, f"{name} is not a plain decimal: {str(value)[:40]!r}")
        return 0

    def size(self, name: str, price: int, time_ns: int) -> int:
        """Shares from 0 to the limit; 0 for null and what is not there. A lot's shares go by price and time."""
        value = self._members.get(name)
        if value is None:
            return 0
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS:
            shares = int(value)
            if self._is_in_lots():
                shares *= round_lot(price, time_ns)
            if shares <= self._limits.max_size:
                return shares
            self._refuse(
                DEAD_LETTER_REASON_INVALID_VALUE, f"{name}={shares} is above the limit {self._limits.max_size}"
            )
        elif isinstance(value, str) and value[:1] == "-":
            self._refuse(DEAD_LETTER_REASON_INVALID_VALUE, f"{name} is negative: {value[:40]!r}")
        else:
            self._refuse(DEAD_LETTER_REASON_UNDECODABLE, f"{name} is not a whole number: {str(value)[:40]!r}")
        return 0

    def time_ns(self) -> int:
        """UTC nanoseconds since the epoch."""
        text = self.text("time", _MAX_TEXT)
        if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS:
            unit = _UNITS.get(self.optional_text("timeUnit", _MAX_TEXT) or "ns", 0)
            if unit == 0:
                self._refuse(DEAD_LETTER_REASON_INVALID_VALUE, "timeUnit is none of ns, us, ms, s")
            time_ns = int(text) * unit
        else:
            time_ns = _iso_time_ns(text)
        if 0 <= time_ns <= MAX_TIME_NS:
            return time_ns
        if time_ns < 0:
            self._refuse(
                DEAD_LETTER_REASON_UNDECODABLE, f"time is neither ISO 8601 with an offset nor a number: {text!r}"
            )
        else:
            self._refuse(DEAD_LETTER_REASON_INVALID_VALUE, f"time={text} is not between 1970 and 2200")
        return 0

    def _is_minor(self) -> bool:
        unit = self.optional_text("priceUnit", _MAX_TEXT)
        if unit == "minor":
            return True
        if unit and unit != "major":
            self._refuse(DEAD_LETTER_REASON_INVALID_VALUE, "priceUnit is neither major nor minor")
        return False

    def _is_in_lots(self) -> bool:
        unit = self.optional_text("sizeUnit", _MAX_TEXT)
        if unit == "lots":
            return True
        if unit and unit != "shares":
            self._refuse(DEAD_LETTER_REASON_INVALID_VALUE, "sizeUnit is neither shares nor lots")
        return False

    def _checked(self, name: str, value: str, longest: int) -> str:
        if len(value) <= longest and value.isascii() and (value.isprintable() or not value):
            return value
        self._refuse(
            DEAD_LETTER_REASON_INVALID_VALUE, f"{name} must be printable ASCII of at most {longest} characters"
        )
        return ""

    def _refuse(self, reason: int, detail: str) -> None:
        if self.refusal is None:
            self.refusal = Refusal(reason, detail)


def _read_quote(message: _Message, event: FeedEvent) -> None:
    event.kind = EVENT_QUOTE
    event.exchange = message.exchange()
    event.firm = message.flag("firm", True)
    event.bid_present = message.has("bid") or message.has("bidSize")
    event.bid_price = message.price("bid")
    event.bid_size = message.size("bidSize", event.bid_price, event.time_ns)
    event.ask_present = message.has("ask") or message.has("askSize")
    event.ask_price = message.price("ask")
    event.ask_size = message.size("askSize", event.ask_price, event.time_ns)
    if not event.bid_present and not event.ask_present and message.refusal is None:
        message.refusal = _undecodable("a quote without any side")


def _read_trade(message: _Message, event: FeedEvent) -> None:
    event.exchange = message.exchange()
    event.price = message.price("price")
    event.size = message.size("size", event.price, event.time_ns)
    conditions = message.optional_text("conditions", _MAX_TEXT)
    event.condition = conditions or None
    event.sets_price = letters_set_price(conditions)
    if event.kind == EVENT_CORRECTION:
        event.trade_id = message.text("id", _MAX_TEXT)
    else:
        event.trade_id = message.optional_text("id", _MAX_TEXT)


def _iso_time_ns(text: str) -> int:
    """Nanoseconds of an ISO 8601 time with an offset, -1 when it is none."""
    point = text.find(".")
    nanoseconds = 0
    if point >= 0:
        end = point + 1
        while end < len(text) and "0" <= text[end] <= "9":
            end += 1
        digits = text[point + 1 : end]
        if not digits or len(digits) > 9:
            return -1
        nanoseconds = int((digits + "000000000")[:9])
        text = text[:point] + text[end:]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return -1
    if moment.tzinfo is None or len(text) < 20 or "," in text:
        return -1
    return (moment - _EPOCH) // timedelta(seconds=1) * 1_000_000_000 + nanoseconds


def _refuse_constant(text: str) -> str:
    """NaN and the infinities are no JSON."""
    raise ValueError(f"{text} is not a value of JSON")


def _undecodable(detail: str) -> Refusal:
    return Refusal(DEAD_LETTER_REASON_UNDECODABLE, detail)


def _invalid(detail: str) -> Refusal:
    return Refusal(DEAD_LETTER_REASON_INVALID_VALUE, detail)
