"""Writes Nasdaq TotalView-ITCH 5.0 messages, byte by byte from the specification: for tests and for the demo's feed.

Layout of every message, big endian: type (1), stock locate (2), tracking number (2), nanoseconds since midnight (6), then
what the function says. Prices are integers in 1/10,000, sizes shares, `stock` at most 8 characters.

A recorded day is a sequence of messages, each behind its length in 2 bytes (Nasdaq's BinaryFILE); `framed` writes that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

BUY: Final = b"B"
SELL: Final = b"S"


def _number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big")


def _text(text: str, size: int) -> bytes:
    encoded = text.encode("ascii")
    if len(encoded) > size:
        raise ValueError(f"{text!r} is longer than {size} characters")
    return encoded.ljust(size)


def _head(kind: bytes, locate: int, time_ns: int, tracking: int = 0) -> bytes:
    return kind + _number(locate, 2) + _number(tracking, 2) + _number(time_ns, 6)


def system_event(time_ns: int, code: bytes) -> bytes:
    """S: O, S, Q, M, E or C, the steps of the day. Locate 0."""
    return _head(b"S", 0, time_ns) + code


def stock_directory(locate: int, time_ns: int, stock: str, round_lot: int = 100, *, test: bool = False) -> bytes:
    """R: which stock a locate is, with its round lot; all else as of a common share listed on the Global Select Market."""
    return (
        _head(b"R", locate, time_ns)
        + _text(stock, 8)
        + b"QN"  # market category, financial status
        + _number(round_lot, 4)
        + b"NCZ "  # round lots only, issue classification, issue sub-type
        + (b"T" if test else b"P")  # authenticity
        + b"NN1N"  # short sale threshold, IPO flag, LULD tier, ETP flag
        + _number(0, 4)  # ETP leverage
        + b"N"  # inverse
    )


def trading_action(locate: int, time_ns: int, stock: str, state: bytes, reason: str = "") -> bytes:
    """H: H halted, P paused, Q quotation only, T trading."""
    return _head(b"H", locate, time_ns) + _text(stock, 8) + state + b" " + _text(reason, 4)


def reg_sho(locate: int, time_ns: int, stock: str, action: bytes) -> bytes:
    """Y: 0, 1 or 2, the short sale price test."""
    return _head(b"Y", locate, time_ns) + _text(stock, 8) + action


def participant_position(locate: int, time_ns: int, stock: str, participant: str) -> bytes:
    """L: a market maker, active and in normal mode."""
    return _head(b"L", locate, time_ns) + _text(participant, 4) + _text(stock, 8) + b"YNA"


def breaker_levels(time_ns: int, levels_e8: tuple[int, int, int]) -> bytes:
    """V: levels of the market-wide circuit breaker, price(8). Locate 0."""
    return _head(b"V", 0, time_ns) + b"".join(_number(level, 8) for level in levels_e8)


def breaker_status(time_ns: int, level: bytes) -> bytes:
    """W: 1, 2 or 3, the level that was breached. Locate 0."""
    return _head(b"W", 0, time_ns) + level


def ipo_quoting(locate: int, time_ns: int, stock: str, release_s: int, price: int) -> bytes:
    """K: when quoting of a new issue begins."""
    return _head(b"K", locate, time_ns) + _text(stock, 8) + _number(release_s, 4) + b"A" + _number(price, 4)


def auction_collar(locate: int, time_ns: int, stock: str, reference: int, upper: int, lower: int) -> bytes:
    """J: price range of a reopening auction."""
    prices = _number(reference, 4) + _number(upper, 4) + _number(lower, 4)
    return _head(b"J", locate, time_ns) + _text(stock, 8) + prices + _number(0, 4)


def operational_halt(locate: int, time_ns: int, stock: str, market: bytes, action: bytes) -> bytes:
    """h: market Q, B or X stops (H) or begins again (T) to trade the stock."""
    return _head(b"h", locate, time_ns) + _text(stock, 8) + market + action


def order_added(
    locate: int, time_ns: int, order: int, side: bytes, shares: int, stock: str, price: int, participant: str = ""
) -> bytes:
    """A, or F when a participant is named."""
    body = _number(order, 8) + side + _number(shares, 4) + _text(stock, 8) + _number(price, 4)
    if participant:
        return _head(b"F", locate, time_ns) + body + _text(participant, 4)
    return _head(b"A", locate, time_ns) + body


def order_executed(locate: int, time_ns: int, order: int, shares: int, match: int) -> bytes:
    """E: at the order's own price."""
    return _head(b"E", locate, time_ns) + _number(order, 8) + _number(shares, 4) + _number(match, 8)


def order_executed_at(
    locate: int, time_ns: int, order: int, shares: int, match: int, price: int, printable: bool = True
) -> bytes:
    """C: at another price."""
    body = _number(order, 8) + _number(shares, 4) + _number(match, 8)
    return _head(b"C", locate, time_ns) + body + (b"Y" if printable else b"N") + _number(price, 4)


def order_reduced(locate: int, time_ns: int, order: int, shares: int) -> bytes:
    """X: so many shares were cancelled."""
    return _head(b"X", locate, time_ns) + _number(order, 8) + _number(shares, 4)


def order_deleted(locate: int, time_ns: int, order: int) -> bytes:
    """D."""
    return _head(b"D", locate, time_ns) + _number(order, 8)


def order_replaced(locate: int, time_ns: int, order: int, new_order: int, shares: int, price: int) -> bytes:
    """U: side, stock and participant are those of the order before."""
    body = _number(order, 8) + _number(new_order, 8) + _number(shares, 4) + _number(price, 4)
    return _head(b"U", locate, time_ns) + body


def trade(locate: int, time_ns: int, shares: int, stock: str, price: int, match: int) -> bytes:
    """P: with an order that was not shown; since 2014 the side is always B and the order 0."""
    body = _number(0, 8) + BUY + _number(shares, 4) + _text(stock, 8) + _number(price, 4) + _number(match, 8)
    return _head(b"P", locate, time_ns) + body


def cross(locate: int, time_ns: int, shares: int, stock: str, price: int, match: int, kind: bytes) -> bytes:
    """Q: O opening, C closing, H halt or new issue, I intraday."""
    body = _number(shares, 8) + _text(stock, 8) + _number(price, 4) + _number(match, 8)
    return _head(b"Q", locate, time_ns) + body + kind


def broken_trade(locate: int, time_ns: int, match: int) -> bytes:
    """B: the execution with this match number is taken back."""
    return _head(b"B", locate, time_ns) + _number(match, 8)


def imbalance(locate: int, time_ns: int, stock: str, paired: int, imbalance_shares: int, price: int) -> bytes:
    """I: before a cross."""
    body = _number(paired, 8) + _number(imbalance_shares, 8) + BUY + _text(stock, 8)
    return _head(b"I", locate, time_ns) + body + _number(price, 4) * 3 + b"OL"


def retail_interest(locate: int, time_ns: int, stock: str, flag: bytes) -> bytes:
    """N: B, S, A or N, on which sides there is retail price improvement."""
    return _head(b"N", locate, time_ns) + _text(stock, 8) + flag


def direct_listing(locate: int, time_ns: int, stock: str, price: int) -> bytes:
    """O: price range of a direct listing with a capital raise."""
    body = _text(stock, 8) + b"Y" + _number(price, 4) * 3 + _number(time_ns, 8) + _number(price, 4) * 2
    return _head(b"O", locate, time_ns) + body


def framed(messages: Iterable[bytes]) -> bytes:
    """Messages as a recorded day has them, each behind its length."""
    return b"".join(_number(len(message), 2) + message for message in messages)
