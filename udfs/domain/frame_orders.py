"""The order that a frame of the risk stage places in the match stage. Complexity: constant."""

from schemas.messages.enums import SIDE_BUY
from udfs.domain.book import Order
from udfs.domain.frames import DO_NOT_REDUCE, IMBALANCE_ONLY, PAYS_FEES, Frame


def order_of(frame: Frame, key: str, origin: str) -> Order:
    """The order that a frame places."""
    order = Order(
        key,
        origin,
        frame.order_id,
        frame.account_id,
        frame.symbol,
        frame.side,
        frame.side == SIDE_BUY,
        frame.order_type,
        frame.time_in_force,
        frame.quantity,
        frame.limit_price if frame.limit_price else None,
        frame.worst_price,
        frame.commission_e4,
        frame.account_shard,
        frame.close_ns,
        frame.stop_price if frame.stop_price else None,
        frame.stp,
        frame.stp_group,
    )
    order.placed_ns = frame.timestamp
    if frame.instructions:
        order.imbalance_only = frame.instructions & IMBALANCE_ONLY != 0
        order.do_not_reduce = frame.instructions & DO_NOT_REDUCE != 0
        order.pays_fees = frame.instructions & PAYS_FEES != 0
    return order
