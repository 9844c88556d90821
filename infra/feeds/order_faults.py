"""Bad order commands, one kind at a time, each with the one outcome that the trading job must give it."""

from __future__ import annotations

import inspect
import random
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from infra.feeds.reference import (
    BARE_ACCOUNT,
    FULL_ACCOUNT,
    LEAN_ACCOUNT,
    LISTED_ACCOUNT,
    LONG_ACCOUNT,
    MAX_ORDER_QUANTITY,
    NEAR_ACCOUNT,
    POOR_ACCOUNT,
    SHORT_ACCOUNT,
    SMALL_ACCOUNT,
    TICK_SIZE_E4,
    hard_to_borrow,
)
from schemas.messages import orders
from schemas.messages.enums import (
    COMMAND_TYPE_CANCEL,
    COMMAND_TYPE_REPLACE,
    ORDER_TYPE_LIMIT,
    ORDER_TYPE_MARKET,
    ORDER_TYPE_STOP,
    SIDE_BUY,
    SIDE_SELL,
    SIDE_SELL_SHORT,
    TIME_IN_FORCE_OPG,
)
from schemas.messages.orders import OrderCommand

FAULTS: Final = {
    "unparseable": ("dead-letter", "UNDECODABLE"),
    "bad_magic": ("dead-letter", "BAD_MAGIC"),
    "unknown_schema": ("dead-letter", "UNKNOWN_SCHEMA"),
    "duplicate_id": ("dead-letter", "DUPLICATE_ORDER_ID"),
    "replayed": ("dead-letter", "REPLAYED_ORDER"),
    "unknown_account": ("order-events", "VALIDATION_UNKNOWN_ACCOUNT"),
    "unknown_symbol": ("order-events", "VALIDATION_UNKNOWN_SYMBOL"),
    "negative_quantity": ("order-events", "VALIDATION_QUANTITY_NOT_POSITIVE"),
    "huge_quantity": ("order-events", "VALIDATION_QUANTITY_TOO_LARGE"),
    "zero_price": ("order-events", "VALIDATION_PRICE_NOT_POSITIVE"),
    "half_tick": ("order-events", "VALIDATION_PRICE_INCREMENT"),
    "priced_market": ("order-events", "VALIDATION_PRICE_NOT_ALLOWED"),
    "stop_without_price": ("order-events", "VALIDATION_STOP_PRICE_MISSING"),
    "wrong_session": ("order-events", "VALIDATION_SESSION_CLOSED"),
    "after_cutoff": ("order-events", "VALIDATION_AUCTION_CUTOFF"),
    "wrong_mark": ("order-events", "VALIDATION_SHORT_MARKING"),
    "over_buying_power": ("order-events", "RISK_BUYING_POWER"),
    "over_margin": ("order-events", "RISK_INITIAL_MARGIN"),
    "over_position": ("order-events", "RISK_POSITION_LIMIT"),
    "without_position": ("order-events", "RISK_INSUFFICIENT_POSITION"),
    "short_in_cash": ("order-events", "RISK_SHORT_NOT_ALLOWED"),
    "without_locate": ("order-events", "RISK_LOCATE_REQUIRED"),
    "oversized": ("order-events", "RISK_ORDER_QUANTITY"),
    "too_far": ("order-events", "RISK_PRICE_DEVIATION"),
    "over_the_day": ("order-events", "RISK_DAILY_NOTIONAL"),
    "restricted": ("order-events", "RISK_RESTRICTED"),
    "cancel_unknown": ("order-events", "CANCEL_UNKNOWN_ORDER"),
    "replace_unknown": ("order-events", "REPLACE_UNKNOWN_ORDER"),
}
"""Kinds of bad commands: the topic that tells, and the reason it gives."""

UNKNOWN_SCHEMA_ID: Final = 0x7FFF0000
# A varint of more than ten bytes: no schema can read it.
_NO_AVRO: Final = b"\xff" * 24
_REMEMBERED: Final = 500
_HUGE_QUANTITY: Final = 5_000_000


class FaultMaker:
    """Turns a good order into a bad one. `wrong_session` is made where the session is known, not here."""

    def __init__(self, rng: random.Random, schema_id: int, symbols: list[str]) -> None:
        self._rng = rng
        self._schema_id = schema_id
        self._sent: deque[tuple[OrderCommand, bytes]] = deque(maxlen=_REMEMBERED)
        self._first_symbol = symbols[0]
        self._hard = hard_to_borrow(symbols)

    def remember(self, order: OrderCommand, value: bytes) -> None:
        """A good order was sent: it may be repeated later."""
        self._sent.append((order, value))

    def choose(self) -> str:
        """A kind that can be made now."""
        names = [name for name in FAULTS if name != "wrong_session"]
        if not self._sent:
            names = [name for name in names if name not in ("duplicate_id", "replayed")]
        if not self._hard:
            names.remove("without_locate")
        return self._rng.choice(names)

    def make(self, name: str, order: OrderCommand) -> tuple[str, bytes]:
        """Account id (the Kafka key) and value of a bad command, made from a plain good order that is not sent itself."""
        if name == "replayed":
            sent, value = self._rng.choice(self._sent)
            return sent.account_id, value
        if name == "duplicate_id":
            sent, _ = self._rng.choice(self._sent)
            return sent.account_id, self._encode(_copy(sent, quantity=sent.quantity + 1))
        if name in ("unparseable", "bad_magic", "unknown_schema"):
            return order.account_id, self._broken_frame(name, self._encode(order))
        if name == "without_locate":
            symbol = self._rng.choice(self._hard)
            bad = _copy(order, account_id=SHORT_ACCOUNT, side=SIDE_SELL_SHORT, symbol=symbol)
        elif name == "restricted":
            bad = _copy(order, account_id=LISTED_ACCOUNT, side=SIDE_BUY, symbol=self._first_symbol)
        else:
            bad = _BREAK[name](order)
        return bad.account_id, self._encode(bad)

    def _broken_frame(self, name: str, frame: bytes) -> bytes:
        if name == "unparseable":
            return frame[:5] + _NO_AVRO
        if name == "bad_magic":
            return b"\x01" + frame[1:]
        return b"\x00" + UNKNOWN_SCHEMA_ID.to_bytes(4, "big") + frame[5:]

    def _encode(self, order: OrderCommand) -> bytes:
        return orders.encode(order, self._schema_id)


_FIELDS: Final = tuple(inspect.signature(OrderCommand).parameters)


def _copy(order: OrderCommand, **changes: Any) -> OrderCommand:
    """The order with some fields changed."""
    return OrderCommand(**{name: getattr(order, name) for name in _FIELDS} | changes)


def _limit(order: OrderCommand, **changes: Any) -> OrderCommand:
    """The same as a limit order at the order's own price."""
    return _copy(order, order_type=ORDER_TYPE_LIMIT, stop_price=None, **changes)


_BREAK: Final[dict[str, Callable[[OrderCommand], OrderCommand]]] = {
    "unknown_account": lambda order: _copy(order, account_id="ACC-NOBODY"),
    "unknown_symbol": lambda order: _copy(order, symbol="NOSUCH"),
    "negative_quantity": lambda order: _copy(order, quantity=-order.quantity),
    "huge_quantity": lambda order: _copy(order, quantity=_HUGE_QUANTITY),
    "zero_price": lambda order: _limit(order, price=0),
    "half_tick": lambda order: _limit(order, price=order.price + TICK_SIZE_E4 // 2),
    "priced_market": lambda order: _copy(order, order_type=ORDER_TYPE_MARKET),
    "stop_without_price": lambda order: _copy(order, order_type=ORDER_TYPE_STOP, price=None),
    "after_cutoff": lambda order: _copy(order, time_in_force=TIME_IN_FORCE_OPG),
    "wrong_mark": lambda order: _limit(order, account_id=LONG_ACCOUNT, side=SIDE_SELL_SHORT),
    "over_buying_power": lambda order: _limit(order, account_id=POOR_ACCOUNT, side=SIDE_BUY),
    "over_margin": lambda order: _limit(order, account_id=LEAN_ACCOUNT, side=SIDE_BUY, quantity=MAX_ORDER_QUANTITY),
    "over_position": lambda order: _limit(order, account_id=FULL_ACCOUNT, side=SIDE_BUY),
    "without_position": lambda order: _limit(order, account_id=BARE_ACCOUNT, side=SIDE_SELL),
    "short_in_cash": lambda order: _limit(order, account_id=BARE_ACCOUNT, side=SIDE_SELL_SHORT),
    "oversized": lambda order: _limit(order, account_id=BARE_ACCOUNT, side=SIDE_BUY, quantity=MAX_ORDER_QUANTITY * 5),
    "too_far": lambda order: _limit(order, account_id=NEAR_ACCOUNT, side=SIDE_BUY, price=order.price * 3),
    "over_the_day": lambda order: _limit(order, account_id=SMALL_ACCOUNT, side=SIDE_BUY),
    "cancel_unknown": lambda order: _copy(order, command=COMMAND_TYPE_CANCEL),
    "replace_unknown": lambda order: _copy(order, command=COMMAND_TYPE_REPLACE),
}
"""A plain order is a limit order for the day at a price of at least a tick."""
