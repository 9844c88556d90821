"""Identities of everything the trading job writes: pure functions of the input's position and of indices in the order.

Ordering: none; every function depends on its arguments only, so a replay gives the same ids.
Invariants: ids are unique for ever, although client order ids are only unique in their account and may be used again
after two sessions, because each id starts with the position of the command that placed the order.

    position of a command         orders-3-1234        (topic, partition, offset; the `causeId` of what it causes)
    order event                   orders-3-1234-5      fifth event of the order placed by that command
    rejected cancel or replace    orders-3-1300-R      position of the refused command
    trade                         T-3-1234-5           the order event that reports the incoming order's fill
    trade event                   T-3-1234-5-B, -S     the trade's buy and sell side
    routing decision              orders-3-1234-D2     second decision about the order
    risk event                    orders-3-1234-K      one for a command at most
                                  risk-ACC-1-7         seventh of an account that no command caused
"""

from typing import Final

_ORDERS_PREFIX: Final = "orders-"
# The usual indices as text, because making it costs as much as the rest of an id.
_SUFFIXES: Final[list[str]] = ["-" + str(number) for number in range(256)]


def position_id(topic: str, partition: int, offset: int) -> str:
    """Identity of an input record."""
    return topic + "-" + str(partition) + "-" + str(offset)


def order_origin(partition: int, offset: int) -> str:
    """Identity of a command on the orders topic; the stem of all ids about the order that it places."""
    return _ORDERS_PREFIX + str(partition) + "-" + str(offset)


def order_event_id(origin: str, sequence: int) -> str:
    """Identity of the event number `sequence` (from 1) of the order placed at `origin`."""
    return origin + (_SUFFIXES[sequence] if sequence < 256 else "-" + str(sequence))


def refused_command_id(position: str) -> str:
    """Identity of the event that refuses the cancel or replace at `position`."""
    return position + "-R"


def trade_id(origin: str, sequence: int) -> str:
    """Identity of a match: the incoming order's origin and the sequence of the event that reports its fill."""
    return "T" + origin[6:] + (_SUFFIXES[sequence] if sequence < 256 else "-" + str(sequence))


def trade_event_id(trade: str, is_buy: bool) -> str:
    """Identity of one side of a trade."""
    return trade + ("-B" if is_buy else "-S")


def decision_id(origin: str, index: int) -> str:
    """Identity of the routing decision number `index` (from 1) about an order."""
    return origin + "-D" + str(index)


def risk_event_id(position: str) -> str:
    """Identity of the risk event that a command caused."""
    return position + "-K"


def account_event_id(account_id: str, number: int) -> str:
    """Identity of the risk event number `number` (from 1) of an account that no command caused."""
    return "risk-" + account_id + "-" + str(number)


def order_key(account_id: str, order_id: str) -> str:
    """Key of an order in the engines: client order ids are unique within an account, not among accounts.

    The newline cannot be in a valid order id nor in the id of a known account, so two orders never share a key.
    """
    return account_id + "\n" + order_id


def market_event_id(symbol: str, index: int) -> str:
    """Identity of the market status event number `index` (from 1) of a symbol."""
    return "status-" + symbol + "-" + str(index)


def control_event_id(position: str, account_id: str) -> str:
    """Identity of the risk event that says what a control did to an account, or to all (empty)."""
    return position + "-C" + (("-" + account_id) if account_id else "")
