"""Primitives of the Confluent wire format: a zero byte, a big-endian schema id of 4 bytes, then Avro binary.

Compiled by mypyc, and used by the generated modules in schemas/messages. A reader takes the frame, a position and the
end of the frame, and returns the value with the next position; nothing is copied but strings and bytes themselves.

Invariants: no reader looks past `end`, allocates more than the frame holds, or raises anything but DecodeError;
no writer raises anything but EncodeError for a value of the declared type. A varint has at most 10 bytes and 64 bits.
Positions in errors are those of the first byte of the value. Source of the format: Avro specification 1.11, "Binary
encoding"; Confluent documentation, "Wire format".
"""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter, read_f64_le, write_f64_le, write_i32_be
from mypy_extensions import i64, u8

from schemas.errors import BAD_MAGIC, TOO_LARGE, UNDECODABLE, UNKNOWN_SCHEMA, DecodeError, EncodeError

HEADER_BYTES: Final = 5
ANY_SCHEMA: Final = -1
"""Schema id that means "do not compare": for readers that resolved the id already."""

INT_MIN: Final = -(2**31)
INT_MAX: Final = 2**31 - 1
LONG_MIN: Final = -(2**63)
LONG_MAX: Final = 2**63 - 1
# The range of mypyc's unboxed integers: within it a comparison is one machine instruction.
_FAST_MIN: Final = -(2**62)
_FAST_MAX: Final = 2**62 - 1


def schema_id_of(data: bytes) -> int:
    """Return the schema id of a frame; DecodeError when it is not one."""
    size = len(data)
    if size < HEADER_BYTES:
        raise DecodeError(UNDECODABLE, f"frame of {size} bytes is shorter than its header of {HEADER_BYTES}", size)
    if data[0] != 0:
        raise DecodeError(BAD_MAGIC, f"first byte is {data[0]}, expected 0", 0)
    return data[1] << 24 | data[2] << 16 | data[3] << 8 | data[4]


# Compiled code checks the types of arguments itself, and an isinstance of an unboxed integer would box it.
_INTERPRETED: Final = type(schema_id_of).__name__ == "function"


def check_frame(data: bytes, schema_id: int, max_bytes: int) -> None:
    """Check size, magic byte and schema id (ANY_SCHEMA: any) of a frame before its body is read."""
    if len(data) > max_bytes:
        raise DecodeError(TOO_LARGE, f"frame of {len(data)} bytes is over the limit of {max_bytes}", 0)
    found = schema_id_of(data)
    if schema_id != ANY_SCHEMA and found != schema_id:
        raise DecodeError(UNKNOWN_SCHEMA, f"schema id is {found}, expected {schema_id}", 1)


def truncated(field: str, position: int) -> DecodeError:
    """Return the error for a frame that ends within a value."""
    return DecodeError(UNDECODABLE, "frame ends within the value", position, field)


def trailing(position: int, end: int) -> DecodeError:
    """Return the error for bytes after the record."""
    return DecodeError(UNDECODABLE, f"{end - position} bytes follow the record", position)


def read_long(data: bytes, pos: i64, end: i64, field: str) -> tuple[i64, i64]:
    """Read a zigzag varint of up to 64 bits."""
    start = pos
    if pos >= end:
        raise truncated(field, start)
    byte: i64 = data[pos]
    pos += 1
    if byte < 128:
        return (byte >> 1) ^ -(byte & 1), pos
    bits: i64 = byte & 127
    shift: i64 = 7
    while shift < 63:
        if pos >= end:
            raise truncated(field, start)
        byte = data[pos]
        pos += 1
        bits |= (byte & 127) << shift
        if byte < 128:
            return (bits >> 1) ^ -(bits & 1), pos
        shift += 7
    # The tenth byte carries bit 63 alone. The value is put together from halves that fit, so that the compiled
    # 64-bit arithmetic and the interpreted one agree.
    if pos >= end:
        raise truncated(field, start)
    byte = data[pos]
    if byte > 1:
        raise DecodeError(UNDECODABLE, "varint is longer than 10 bytes or 64 bits", start, field)
    half: i64 = (bits >> 1) + byte * 4611686018427387904
    return half ^ -(bits & 1), pos + 1


def read_int(data: bytes, pos: i64, end: i64, field: str) -> tuple[i64, i64]:
    """Read a zigzag varint that must fit 32 bits."""
    value, after = read_long(data, pos, end, field)
    if value < INT_MIN or value > INT_MAX:
        raise DecodeError(UNDECODABLE, f"{value} does not fit an int of 32 bits", pos, field)
    return value, after


def read_index(data: bytes, pos: i64, end: i64, count: i64, field: str) -> tuple[i64, i64]:
    """Read the index of an enum symbol or of a union branch, 0 to count - 1."""
    value, after = read_long(data, pos, end, field)
    if value < 0 or value >= count:
        raise DecodeError(UNDECODABLE, f"index {value} is not one of the {count} known", pos, field)
    return value, after


def read_size(data: bytes, pos: i64, end: i64, limit: i64, field: str) -> tuple[i64, i64]:
    """Read the length of a string or of bytes and check that the frame holds as many."""
    size, after = read_long(data, pos, end, field)
    if size < 0:
        raise DecodeError(UNDECODABLE, f"length {size} is negative", pos, field)
    if size > limit:
        raise DecodeError(TOO_LARGE, f"length {size} is over the limit of {limit} bytes", pos, field)
    if size > end - after:
        raise DecodeError(UNDECODABLE, f"length {size} is more than the {end - after} bytes left", pos, field)
    return size, after


def read_string(data: bytes, pos: i64, end: i64, limit: i64, field: str) -> tuple[str, i64]:
    """Read a string of at most `limit` bytes of valid UTF-8."""
    size, start = read_size(data, pos, end, limit, field)
    stop = start + size
    try:
        return data[start:stop].decode("utf-8"), stop
    except UnicodeDecodeError as error:
        raise DecodeError(UNDECODABLE, f"not UTF-8 ({error.reason})", start + error.start, field) from None


def read_bytes(data: bytes, pos: i64, end: i64, limit: i64, field: str) -> tuple[bytes, i64]:
    """Read at most `limit` bytes."""
    size, start = read_size(data, pos, end, limit, field)
    stop = start + size
    return data[start:stop], stop


def read_boolean(data: bytes, pos: i64, end: i64, field: str) -> tuple[bool, i64]:
    """Read a boolean, which is exactly 0 or 1."""
    if pos >= end:
        raise truncated(field, pos)
    byte: i64 = data[pos]
    if byte > 1:
        raise DecodeError(UNDECODABLE, f"boolean is {byte}, expected 0 or 1", pos, field)
    return byte == 1, pos + 1


def read_double(data: bytes, pos: i64, end: i64, field: str) -> tuple[float, i64]:
    """Read a little-endian IEEE 754 double."""
    if end - pos < 8:
        raise truncated(field, pos)
    return read_f64_le(data, pos), pos + 8


def read_block(
    data: bytes, pos: i64, end: i64, total: i64, limit: i64, item_bytes: i64, field: str
) -> tuple[i64, i64, i64]:
    """Read the head of an array block: (items, position after it, end of the block or -1 when it is not stated).

    `total` items were read before, `limit` is the most that the array may have, `item_bytes` the least that one takes.
    A negative count is followed by the block's size in bytes, as the format allows; the reader checks that it holds.
    """
    count, after = read_long(data, pos, end, field)
    stop: i64 = -1
    if count < 0:
        if count < -limit:
            raise DecodeError(TOO_LARGE, f"array block of {count} items, limit {limit}", pos, field)
        count = -count
        size, after = read_size(data, after, end, LONG_MAX, field)
        stop = after + size
    if count > limit - total:
        raise DecodeError(TOO_LARGE, f"array of {total} and {count} more items, limit {limit}", pos, field)
    if count * item_bytes > end - after:
        raise DecodeError(UNDECODABLE, f"array block of {count} items in the {end - after} bytes left", pos, field)
    return count, after, stop


def check_block(pos: i64, stop: i64, field: str) -> None:
    """Check that a block with a stated size ended there."""
    if stop >= 0 and pos != stop:
        raise DecodeError(UNDECODABLE, f"array block should end at byte {stop}", pos, field)


def new_frame(schema_id: int) -> BytesWriter:
    """Return a writer that holds the header of a frame."""
    if schema_id < 0 or schema_id > INT_MAX:
        raise EncodeError(f"schema id {schema_id} is not in 0 to {INT_MAX}")
    writer = BytesWriter()
    writer.append(u8(0))
    write_i32_be(writer, schema_id)
    return writer


def finish(writer: BytesWriter, max_bytes: int, record: str) -> bytes:
    """Return the frame; EncodeError when it is over the limit of the record."""
    size = len(writer)
    if size > max_bytes:
        raise EncodeError(f"frame of {size} bytes is over the limit of {max_bytes}", record, TOO_LARGE)
    return writer.getvalue()


def write_long(writer: BytesWriter, value: int, field: str) -> None:
    """Write a zigzag varint of up to 64 bits."""
    if _INTERPRETED and not isinstance(value, int):
        raise EncodeError(f"{type(value).__name__} where an integer is expected", field)
    # The explicit u8 makes the appends machine code; without it mypyc looks the method up by name.
    if _FAST_MIN <= value <= _FAST_MAX:
        number: i64 = value
        bits: i64 = (number << 1) ^ (number >> 63)
        while bits > 127:
            writer.append(u8((bits & 127) | 128))
            bits >>= 7
        writer.append(u8(bits))
        return
    if value < LONG_MIN or value > LONG_MAX:
        raise EncodeError(f"{value} does not fit a long of 64 bits", field)
    wide = (value << 1) ^ (value >> 63)
    while wide > 127:
        writer.append(u8((wide & 127) | 128))
        wide >>= 7
    writer.append(u8(wide))


def write_int(writer: BytesWriter, value: int, field: str) -> None:
    """Write a zigzag varint of up to 32 bits."""
    if _INTERPRETED and not isinstance(value, int):
        raise EncodeError(f"{type(value).__name__} where an integer is expected", field)
    if value < INT_MIN or value > INT_MAX:
        raise EncodeError(f"{value} does not fit an int of 32 bits", field)
    write_long(writer, value, field)


def write_index(writer: BytesWriter, code: int, count: int, field: str) -> None:
    """Write the index of an enum symbol, 0 to count - 1."""
    if _INTERPRETED and not isinstance(code, int):
        raise EncodeError(f"{type(code).__name__} where the code of a symbol is expected", field)
    if code < 0 or code >= count:
        raise EncodeError(f"code {code} is not one of the {count} known", field)
    write_long(writer, code, field)


def write_count(writer: BytesWriter, count: int, limit: int, field: str) -> None:
    """Write the head of the only block of an array; nothing for an empty one."""
    if count > limit:
        raise EncodeError(f"{count} items, limit {limit}", field, TOO_LARGE)
    if count:
        write_long(writer, count, field)


def write_string(writer: BytesWriter, value: str, limit: int, field: str) -> None:
    """Write a string of at most `limit` bytes of UTF-8."""
    if not isinstance(value, str):
        raise EncodeError(f"{type(value).__name__} where a string is expected", field)
    try:
        encoded = value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise EncodeError(f"not encodable as UTF-8 ({error.reason})", field) from None
    size = len(encoded)
    if size > limit:
        raise EncodeError(f"length {size} is over the limit of {limit} bytes", field, TOO_LARGE)
    write_long(writer, size, field)
    writer.write(encoded)


def write_bytes(writer: BytesWriter, value: bytes, limit: int, field: str) -> None:
    """Write at most `limit` bytes."""
    if not isinstance(value, bytes):
        raise EncodeError(f"{type(value).__name__} where bytes are expected", field)
    size = len(value)
    if size > limit:
        raise EncodeError(f"length {size} is over the limit of {limit} bytes", field, TOO_LARGE)
    write_long(writer, size, field)
    writer.write(value)


def write_boolean(writer: BytesWriter, value: bool, field: str) -> None:
    """Write a boolean as 0 or 1."""
    if not isinstance(value, bool):
        raise EncodeError(f"{type(value).__name__} where a boolean is expected", field)
    writer.append(u8(1) if value else u8(0))


def write_double(writer: BytesWriter, value: float, field: str) -> None:
    """Write a little-endian IEEE 754 double."""
    if not isinstance(value, float):
        raise EncodeError(f"{type(value).__name__} where a float is expected", field)
    write_f64_le(writer, value)
