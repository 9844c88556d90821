"""Lean's lines, good and mutilated, against a plain reading of them by a pattern."""

from __future__ import annotations

import re
from random import Random
from typing import Final

import pytest

from schemas.messages.enums import FEED_FORMAT_LEAN_QUOTE
from schemas.messages.raw_feed import RawFeedRecord
from udfs.domain.feed_adapter import EVENT_QUOTE, EVENT_TRADE, FeedAdapter, FeedEvent
from udfs.domain.feed_lean import (
    DAY_MS,
    FIRM_QUOTE_CONDITIONS,
    INELIGIBLE_SALE_CONDITIONS,
    LeanQuotes,
    LeanTrades,
)
from udfs.domain.normalise import EXCHANGES, MarketLimits

LINES: Final = 20_000
MIDNIGHT_NS: Final = 1_381_118_400 * 10**9
LIMITS: Final = MarketLimits()
TAIL: Final = rb"([A-Z]),([0-9a-fA-F]{1,16}),([01])"
QUOTE: Final = re.compile(rb"([0-9]{1,15}),([0-9]{1,15}),([0-9]{1,15}),([0-9]{1,15}),([0-9]{1,15})," + TAIL)
TRADE: Final = re.compile(rb"([0-9]{1,15}),([0-9]{1,15}),([0-9]{1,15})," + TAIL)
GOOD_QUOTES: Final = (
    b"34200000,1000000,100,1000100,200,K,1,0",
    b"1,0,0,5,6,P,80000000,1",
    b"0,0,0,0,0,Z,0,0",
    b"86400000,7,0,0,0,N,801,0",
    b"5,9,1,8,1,Q,1,0",
)
GOOD_TRADES: Final = (b"34200000,1000000,100,K,1,0", b"5,2,3,D,ffFF,1", b"0,1,1,Y,0,0", b"9,0,100,Z,80000000,0")
LETTERS: Final = b"0123456789,,,,-KPx aFZ\x00\xff+_."


def mutilated(random: Random, line: bytes) -> bytes:
    """The line, or one with a few bytes changed, put in, many times or once, or left out."""
    found = bytearray(line)
    for _ in range(random.choice((0, 1, 1, 2, 4))):
        place = random.randrange(len(found) + 1)
        chance = random.random()
        if chance < 0.4 and place < len(found):
            found[place] = random.choice(LETTERS)
        elif chance < 0.7:
            found[place:place] = bytes([random.choice(LETTERS)]) * random.choice((1, 1, 16, 300))
        else:
            del found[place : place + random.choice((1, 3))]
    return bytes(found)


def expected(quote: bool, line: bytes) -> dict[str, object] | None:
    """What the line says, None when it must be refused."""
    match = (QUOTE if quote else TRADE).fullmatch(line)
    if match is None or len(line) > LIMITS.max_line_bytes:
        return None
    *numbers, letter, flags, suspicious = match.groups()
    time_ms, *values = map(int, numbers)
    if time_ms > DAY_MS or letter not in EXCHANGES:
        return None
    prices, sizes = values[::2], values[1::2]
    if max(prices) > LIMITS.max_price_e4 or max(sizes) > LIMITS.max_size:
        return None
    said: dict[str, object] = {
        "time_ns": MIDNIGHT_NS + time_ms * 10**6,
        "exchange": EXCHANGES[letter],
        "suspicious": suspicious == b"1",
    }
    conditions = int(flags, 16)
    if not quote:
        if not prices[0] or not sizes[0]:
            return None
        sets_price = conditions & INELIGIBLE_SALE_CONDITIONS == 0
        more = {"kind": EVENT_TRADE, "price": prices[0], "size": sizes[0], "trade_id": ""}
        return said | more | {"sets_price": sets_price, "condition": flags.decode()}
    (bid, ask), (bid_size, ask_size) = prices, sizes
    if (not bid and bid_size) or (not ask and ask_size) or (bid_size and ask_size and bid >= ask):
        return None
    both = not bid and not ask
    more = {"kind": EVENT_QUOTE, "firm": conditions & ~FIRM_QUOTE_CONDITIONS == 0}
    sides = {"bid_present": both or bid > 0, "bid_price": bid, "bid_size": bid_size}
    return said | more | sides | {"ask_present": both or ask > 0, "ask_price": ask, "ask_size": ask_size}


@pytest.mark.parametrize("seed", range(3))
def test_line_good_or_mutilated_says_what_a_plain_reading_says(seed: int) -> None:
    random = Random(seed)
    adapters: dict[bool, FeedAdapter] = {True: LeanQuotes(), False: LeanTrades()}
    taken = 0
    for number in range(LINES):
        quote = random.random() < 0.5
        line = mutilated(random, random.choice(GOOD_QUOTES if quote else GOOD_TRADES))
        raw = RawFeedRecord("lean", FEED_FORMAT_LEAN_QUOTE, "day", 1, "A", MIDNIGHT_NS, line)
        event = FeedEvent()
        refusal = adapters[quote].read(raw, "A", LIMITS, event)
        wanted = expected(quote, line)
        if wanted is None:
            assert refusal is not None and refusal.detail != "line cannot be read", (
                f"seed {seed}, line {number}: {line!r}"
            )
            continue
        taken += 1
        assert refusal is None, f"seed {seed}, line {number}: {line!r} is refused: {refusal.detail}"
        found = {name: getattr(event, name) for name in wanted}
        assert found == wanted, f"seed {seed}, line {number}: {line!r}"
    assert LINES // 8 < taken < LINES * 3 // 4, f"seed {seed}: {taken} lines were good"
