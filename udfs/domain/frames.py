"""The internal frame from the risk stage to the match stage: an approved command with what risk knew about it.

A frame holds the fields themselves and not the client's payload, so that frames in the journal of the match stage do
not depend on the schema that the client wrote with.

Layout, little endian: version u8; command, side, order type, time in force u8 each (codes of the enums); lengths in
bytes of order id, account id and symbol u8 each; account shard u16; partition i32 and offset i64 of the command on
`orders`; quantity, limit price (0: none), worst price, commission per share, session close, reserved money, timestamp
i64 each; then the three texts in UTF-8. For a cancel, everything after `offset` but the timestamp is 0.
Known limits: read by the release that wrote it, or a newer one; texts are at most 255 bytes, as the schema of orders
has it.
"""

import struct
from typing import Final

FRAME_VERSION: Final = 1
_HEAD: Final = struct.Struct("<BBBBBBBBHiqqqqqqqq")
HEAD_BYTES: Final = 78


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
        "limit_price",
        "offset",
        "order_id",
        "order_type",
        "partition",
        "quantity",
        "reserved_e4",
        "side",
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


def encode_frame(frame: Frame) -> bytes:
    """The bytes of a frame. Raises struct.error when a number does not fit, which the checks of risk rule out."""
    order_id = frame.order_id.encode("utf-8")
    account_id = frame.account_id.encode("utf-8")
    symbol = frame.symbol.encode("utf-8")
    head = _HEAD.pack(
        FRAME_VERSION,
        frame.command,
        frame.side,
        frame.order_type,
        frame.time_in_force,
        len(order_id),
        len(account_id),
        len(symbol),
        frame.account_shard,
        frame.partition,
        frame.offset,
        frame.quantity,
        frame.limit_price,
        frame.worst_price,
        frame.commission_e4,
        frame.close_ns,
        frame.reserved_e4,
        frame.timestamp,
    )
    return head + order_id + account_id + symbol


def decode_frame(data: bytes) -> Frame:
    """Open a frame. Raises FrameError when it is cut off or of an unknown version."""
    if len(data) < HEAD_BYTES:
        raise FrameError(f"frame of {len(data)} bytes is shorter than its head of {HEAD_BYTES}")
    if data[0] != FRAME_VERSION:
        raise FrameError(f"frame of version {data[0]}; this release reads version {FRAME_VERSION}")
    head: tuple[int, int, int, int, int, int, int, int, int, int, int, int, int, int, int, int, int, int] = (
        _HEAD.unpack_from(data)
    )
    order_end = HEAD_BYTES + head[5]
    account_end = order_end + head[6]
    symbol_end = account_end + head[7]
    if symbol_end != len(data):
        raise FrameError(f"frame of {len(data)} bytes should have {symbol_end}")
    return Frame(
        head[1],
        data[HEAD_BYTES:order_end].decode("utf-8"),
        data[order_end:account_end].decode("utf-8"),
        data[account_end:symbol_end].decode("utf-8"),
        head[2],
        head[3],
        head[4],
        head[11],
        head[12],
        head[17],
        head[8],
        head[9],
        head[10],
        head[13],
        head[14],
        head[15],
        head[16],
    )
