"""The internal frame from the risk stage to the match stage: an approved command with what risk knew about it.

A frame holds the fields themselves and not the client's payload, so that frames in the journal of the match stage do
not depend on the schema that the client wrote with.

Layout, little endian: version u8; command, side, order type, time in force u8 each (codes of the enums); lengths in
bytes of order id, account id and symbol u8 each; account shard i16; partition i32 and offset i64 of the command on
`orders`; quantity, limit price (0: none), worst price, commission per share, session close, reserved money, timestamp
i64 each; then, since version 2, stop price i64 (0: none), self-trade prevention u8 and the length of its group u8; then,
since version 3, the sum of IMBALANCE_ONLY, DO_NOT_REDUCE and PAYS_FEES u8; then the texts in UTF-8: order id, account id, symbol
and group. A cancel has 0 in worst price, commission, close and
reserved money. A partition of `OURS` or `CLOSE_OUT` marks a cancel that no client sent; its offset is the number of the
account's risk event.
Known limits: read by the release that wrote it, or a newer one; texts are at most 255 bytes, which the schema of
orders sees to; shards are at most 32,767.
"""

from typing import Final

from librt.strings import (
    BytesWriter,
    read_i16_le,
    read_i32_le,
    read_i64_le,
    write_i16_le,
    write_i32_le,
    write_i64_le,
)

from schemas.messages.enums import STP_MODE_NONE
from schemas.messages.orders import OrderCommand

FRAME_VERSION: Final = 3
OURS: Final = -1
"""Partition of a cancel by the risk stage itself, which came from no record of `orders`: a forced reduction."""
CLOSE_OUT: Final = -2
"""The same of a short sale that a missed close-out does not let stay."""
HEAD_BYTES: Final = 89
_HEAD_BYTES_1: Final = 78
_HEAD_BYTES_2: Final = 88
IMBALANCE_ONLY: Final = 1
DO_NOT_REDUCE: Final = 2
PAYS_FEES: Final = 4
"""A new sale that regulatory fees are charged for. No client says so: the risk stage knows the instrument."""


class FrameError(ValueError):
    """A frame that this release cannot read: a bug or a downgrade, because only the risk stage writes frames."""


class Frame:
    """A command on its way to matching; see the module's description for the fields."""

    __slots__ = (
        "account_id",
        "account_shard",
        "close_ns",
        "command",
        "commission_e4",
        "instructions",
        "limit_price",
        "offset",
        "order_id",
        "order_type",
        "partition",
        "quantity",
        "reserved_e4",
        "side",
        "stop_price",
        "stp",
        "stp_group",
        "symbol",
        "time_in_force",
        "timestamp",
        "worst_price",
    )

    def __init__(
        self,
        command: int,
        order_id: str,
        account_id: str,
        symbol: str,
        side: int,
        order_type: int,
        time_in_force: int,
        quantity: int,
        limit_price: int,
        timestamp: int,
        account_shard: int,
        partition: int,
        offset: int,
        worst_price: int,
        commission_e4: int,
        close_ns: int,
        reserved_e4: int,
        stop_price: int,
        stp: int,
        stp_group: str,
        instructions: int,
    ) -> None:
        self.command = command
        self.order_id = order_id
        self.account_id = account_id
        self.symbol = symbol
        self.side = side
        self.order_type = order_type
        self.time_in_force = time_in_force
        self.quantity = quantity
        self.limit_price = limit_price
        self.timestamp = timestamp
        self.account_shard = account_shard
        self.partition = partition
        self.offset = offset
        self.worst_price = worst_price
        self.commission_e4 = commission_e4
        self.close_ns = close_ns
        self.reserved_e4 = reserved_e4
        self.stop_price = stop_price
        self.stp = stp
        self.stp_group = stp_group
        self.instructions = instructions


def encode_frame(
    command: OrderCommand,
    account_shard: int,
    partition: int,
    offset: int,
    worst_price: int,
    commission_e4: int,
    close_ns: int,
    reserved_e4: int,
    stp_group: str = "",
    pays_fees: bool = False,
) -> bytes:
    """The frame of a command. Raises OverflowError when a number does not fit, which the checks of risk rule out."""
    order_id = command.order_id.encode("utf-8")
    account_id = command.account_id.encode("utf-8")
    symbol = command.symbol.encode("utf-8")
    group = stp_group.encode("utf-8")
    price = command.price
    stop_price = command.stop_price
    writer = BytesWriter()
    writer.append(FRAME_VERSION)
    writer.append(command.command)
    writer.append(command.side)
    writer.append(command.order_type)
    writer.append(command.time_in_force)
    writer.append(len(order_id))
    writer.append(len(account_id))
    writer.append(len(symbol))
    write_i16_le(writer, account_shard)
    write_i32_le(writer, partition)
    write_i64_le(writer, offset)
    write_i64_le(writer, command.quantity)
    write_i64_le(writer, 0 if price is None else price)
    write_i64_le(writer, worst_price)
    write_i64_le(writer, commission_e4)
    write_i64_le(writer, close_ns)
    write_i64_le(writer, reserved_e4)
    write_i64_le(writer, command.timestamp)
    write_i64_le(writer, 0 if stop_price is None else stop_price)
    writer.append(command.stp)
    writer.append(len(group))
    instructions = (IMBALANCE_ONLY if command.imbalance_only else 0) + (DO_NOT_REDUCE if command.do_not_reduce else 0)
    writer.append(instructions + (PAYS_FEES if pays_fees else 0))
    writer.write(order_id)
    writer.write(account_id)
    writer.write(symbol)
    writer.write(group)
    return writer.getvalue()


def decode_frame(data: bytes) -> Frame:
    """Open a frame. Raises FrameError when it is cut off or of an unknown version."""
    if len(data) < _HEAD_BYTES_1:
        raise FrameError(f"frame of {len(data)} bytes is shorter than its head of {_HEAD_BYTES_1}")
    version = data[0]
    if version == 0 or version > FRAME_VERSION:
        raise FrameError(f"frame of version {version}; this release reads versions 1 to {FRAME_VERSION}")
    head = HEAD_BYTES
    if version < FRAME_VERSION:
        head = _HEAD_BYTES_1 if version == 1 else _HEAD_BYTES_2
    if len(data) < head:
        raise FrameError(f"frame of {len(data)} bytes is shorter than its head of {head}")
    order_end = head + data[5]
    account_end = order_end + data[6]
    symbol_end = account_end + data[7]
    group_end = symbol_end if version == 1 else symbol_end + data[87]
    if group_end != len(data):
        raise FrameError(f"frame of {len(data)} bytes should have {group_end}")
    return Frame(
        data[1],
        data[head:order_end].decode("utf-8"),
        data[order_end:account_end].decode("utf-8"),
        data[account_end:symbol_end].decode("utf-8"),
        data[2],
        data[3],
        data[4],
        read_i64_le(data, 22),
        read_i64_le(data, 30),
        read_i64_le(data, 70),
        read_i16_le(data, 8),
        read_i32_le(data, 10),
        read_i64_le(data, 14),
        read_i64_le(data, 38),
        read_i64_le(data, 46),
        read_i64_le(data, 54),
        read_i64_le(data, 62),
        0 if version == 1 else read_i64_le(data, 78),
        STP_MODE_NONE if version == 1 else data[86],
        data[symbol_end:group_end].decode("utf-8"),
        0 if version < FRAME_VERSION else data[88],
    )
