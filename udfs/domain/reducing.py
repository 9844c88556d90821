"""Open orders that an account may not keep when it has to reduce, and the withdrawal that the risk stage sends for them.

Rule: what reduce-only refuses of new orders (switches.py) is taken off of open ones. On each side of an instrument,
orders stay as long as all of them together, filled, leave the position smaller or at 0 and on its side. Those that came
first stay; an order that does not fit in whole goes in whole, and a later, smaller one may still fit.
Ordering: as the account's orders were approved. Invariant: what stays passes the check of reduce-only.
Known limits: an order that reduces risk without reducing a position (a hedge) goes too, as reduce-only refuses it.
Complexity: linear in the account's open orders.
"""

from schemas.messages.enums import COMMAND_TYPE_CANCEL, STP_MODE_NONE
from schemas.messages.orders import OrderCommand
from udfs.domain.frames import OURS, encode_frame
from udfs.domain.holdings import AccountState, OpenOrder


def beyond_reduction(account: AccountState) -> list[OpenOrder]:
    """The open orders of a margin account that do not only reduce; empty for a cash account, whose orders it lacks."""
    buying: dict[str, int] = {}
    selling: dict[str, int] = {}
    found: list[OpenOrder] = []
    for order in account.orders.values():
        kept = buying if order.is_buy else selling
        symbol = order.position.symbol
        quantity = order.position.quantity
        room = (-quantity if order.is_buy else quantity) - kept.get(symbol, 0)
        if order.held_shares <= room:
            kept[symbol] = kept.get(symbol, 0) + order.held_shares
        else:
            found.append(order)
    return found


def withdrawal(order: OpenOrder, account_shard: int, notice: int, time_ns: int, cause: int = OURS) -> bytes:
    """The frame that takes an order off; `notice`: number of the account's risk event that is the cause, OURS or CLOSE_OUT."""
    command = OrderCommand(
        COMMAND_TYPE_CANCEL,
        order.order_id,
        order.account.account_id,
        order.position.symbol,
        order.side,
        order.order_type,
        order.time_in_force,
        order.total if order.total > 0 else order.held_shares,
        None,
        None,
        STP_MODE_NONE,
        None,
        time_ns,
    )
    return encode_frame(command, account_shard, cause, notice, 0, 0, 0, 0)
