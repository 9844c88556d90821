"""Bad order commands, one kind at a time, each with the one outcome that the trading job must give it."""

from __future__ import annotations

import random
from collections import deque
from typing import Final

from infra.feeds.reference import BARE_ACCOUNT, FULL_ACCOUNT, MAX_ORDER_QUANTITY, POOR_ACCOUNT
from schemas.messages import orders
from schemas.messages.enums import ORDER_TYPE_LIMIT, SIDE_BUY, SIDE_SELL
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
    "zero_price": ("order-events", "VALIDATION_PRICE_NOT_POSITIVE"),
    "wrong_session": ("order-events", "VALIDATION_SESSION_CLOSED"),
    "over_buying_power": ("order-events", "RISK_BUYING_POWER"),
    "over_position": ("order-events", "RISK_POSITION_LIMIT"),
    "without_position": ("order-events", "RISK_INSUFFICIENT_POSITION"),
    "oversized": ("order-events", "RISK_ORDER_QUANTITY"),
}
"""Kinds of bad commands: the topic that tells, and the reason it gives."""

UNKNOWN_SCHEMA_ID: Final = 0x7FFF0000
# A varint of more than ten bytes: no schema can read it.
_NO_AVRO: Final = b"\xff" * 24
_REMEMBERED: Final = 500


class FaultMaker:
    """Turns a good order into a bad one. `wrong_session` is made where the session is known, not here."""

    def __init__(self, rng: random.Random, schema_id: int) -> None:
        self._rng = rng
        self._schema_id = schema_id
        self._sent: deque[tuple[OrderCommand, bytes]] = deque(maxlen=_REMEMBERED)

    def remember(self, order: OrderCommand, value: bytes) -> None:
        """A good order was sent: it may be repeated later."""
        self._sent.append((order, value))

    def choose(self) -> str:
        """A kind that can be made now."""
        names = [name for name in FAULTS if name != "wrong_session"]
        if not self._sent:
            names = [name for name in names if name not in ("duplicate_id", "replayed")]
        return self._rng.choice(names)

    def make(self, name: str, order: OrderCommand) -> tuple[str, bytes]:
        """Account id (the Kafka key) and value of a bad command, made from a good order that is not sent itself."""
        if name == "replayed":
            sent, value = self._rng.choice(self._sent)
            return sent.account_id, value
        if name == "duplicate_id":
            sent, _ = self._rng.choice(self._sent)
            return sent.account_id, self._encode(_copy(sent, quantity=sent.quantity + 1))
        if name in ("unparseable", "bad_magic", "unknown_schema"):
            return order.account_id, self._broken_frame(name, self._encode(order))
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


def _copy(
    order: OrderCommand,
    account_id: str | None = None,
    symbol: str | None = None,
    side: int | None = None,
    quantity: int | None = None,
    price: int | None = None,
) -> OrderCommand:
    """The order with some fields changed; with a price it is a limit order."""
    return OrderCommand(
        command=order.command,
        order_id=order.order_id,
        account_id=order.account_id if account_id is None else account_id,
        symbol=order.symbol if symbol is None else symbol,
        side=order.side if side is None else side,
        order_type=order.order_type if price is None else ORDER_TYPE_LIMIT,
        time_in_force=order.time_in_force,
        quantity=order.quantity if quantity is None else quantity,
        price=order.price if price is None else price,
        stop_price=None,
        stp=order.stp,
        client_id=order.client_id,
        timestamp=order.timestamp,
    )


def _priced(order: OrderCommand) -> int:
    """A limit price, so that the refusal does not depend on the market: the order's own, or $10 for a market order."""
    return 100_000 if order.price is None else order.price


_BREAK: Final = {
    "unknown_account": lambda order: _copy(order, account_id="ACC-NOBODY"),
    "unknown_symbol": lambda order: _copy(order, symbol="NOSUCH"),
    "negative_quantity": lambda order: _copy(order, quantity=-order.quantity),
    "zero_price": lambda order: _copy(order, price=0),
    "over_buying_power": lambda order: _copy(order, account_id=POOR_ACCOUNT, side=SIDE_BUY, price=_priced(order)),
    "over_position": lambda order: _copy(order, account_id=FULL_ACCOUNT, side=SIDE_BUY, price=_priced(order)),
    "without_position": lambda order: _copy(order, account_id=BARE_ACCOUNT, side=SIDE_SELL, price=_priced(order)),
    "oversized": lambda order: _copy(order, quantity=MAX_ORDER_QUANTITY * 5, price=_priced(order)),
}
