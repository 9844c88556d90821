"""`tradestream match --rules us-equities`: random flow keeps the invariants of both stages, and a day by hand."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from random import Random

import pytest

from infra.feeds.sessions import session_of_day
from jobs.match_csv import match_stream
from udfs.domain.match_csv import COMMAND_HEADER, REPORT_HEADER
from udfs.domain.match_market import MarketDesk

SEEDS = 6
COMMANDS = 1_500
SECOND = 1_000_000_000
TYPES = ("LIMIT",) * 6 + ("MARKET", "STOP", "STOP_LIMIT")
TIMES = ("DAY", "DAY", "DAY", "GTC", "IOC", "FOK", "OPG", "CLS")
STP = ("NONE", "NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT")


def at(text: str) -> int:
    """A UTC time of 2026 as nanoseconds."""
    return int(datetime.fromisoformat(f"2026-{text}").replace(tzinfo=UTC).timestamp()) * SECOND


def random_rows(seed: int) -> list[list[str]]:
    """From an hour before the opening over a close and the next day's opening."""
    rnd = Random(seed)
    time_ns = at("11-09 13:30")
    ids: list[str] = []
    rows = []
    for number in range(COMMANDS):
        time_ns += rnd.randrange(130 * SECOND)
        head = [str(number), str(time_ns)]
        price = f"{100 + rnd.gauss(0, 1):.2f}"
        roll = rnd.random()
        if roll < 0.7 or not ids:
            kind = rnd.choice(TYPES)
            ids.append(f"o{number}")
            terms = [rnd.choice(("BUY", "BUY", "SELL", "SELL", "SELL_SHORT")), kind, rnd.choice(TIMES)]
            limit = price if "LIMIT" in kind else ""
            stop = f"{100 + rnd.gauss(0, 1):.2f}" if "STOP" in kind else ""
            quantity = str(rnd.choice((10, 100, 100, 300)))
            place = ["NEW", ids[-1], f"A{rnd.randrange(8)}", f"S{rnd.randrange(4)}"]
            rows.append([*head, *place, *terms, quantity, limit, stop, rnd.choice(STP)])
        elif roll < 0.9:
            rows.append([*head, "CANCEL", rnd.choice(ids), "", "", "", "", "", "", "", "", ""])
        else:
            quantity = str(rnd.choice((50, 100, 400)))
            rows.append([*head, "REPLACE", rnd.choice(ids), "", "", "", "", "", quantity, price, "", ""])
    return rows


def test_random_flow_keeps_the_invariants_and_accounts_for_every_share() -> None:
    seen: set[str] = set()
    for seed in range(SEEDS):
        desk = MarketDesk(session_of_day)
        lines: list[str] = []
        for number, row in enumerate(random_rows(seed)):
            desk.apply(row)
            lines += desk.take_lines()
            if number % 10 == 0:
                desk.risk.check_invariants()
                desk.market.check_invariants()
        quantity: dict[str, int] = {}
        for line in lines:
            _, event, order_id, contra, _, _, _, shares, leaves, reason = line.strip().split(",")
            seen |= {event, reason}
            if event == "ACCEPTED":
                quantity[order_id] = int(shares)
            elif event == "TRADE":
                quantity[order_id] -= int(shares)
                quantity[contra] -= int(shares)
            elif event in ("CANCELLED", "EXPIRED"):
                quantity[order_id] -= int(shares)
            elif event == "REPLACED":
                quantity[order_id] = int(leaves)
        live = {o.order_id: o.quantity - o.cum_quantity for o in desk.market.matcher.live.values()}
        assert {order_id: left for order_id, left in quantity.items() if left} == live
    assert {"ACCEPTED", "TRADE", "CANCELLED", "REPLACED", "TRIGGERED", "EXPIRED", "REJECTED"} <= seen
    assert {"MATCH_AUCTION_UNFILLED", "MATCH_SELF_TRADE", "MATCH_HALTED", "EXPIRY_SESSION_CLOSE"} <= seen
    assert {"VALIDATION_SHORT_MARKING", "VALIDATION_AUCTION_CUTOFF", "VALIDATION_SESSION_CLOSED"} <= seen


DAY = f"""{COMMAND_HEADER}
1,{at("11-09 14:00")},NEW,p1,A,IBM,BUY,LIMIT,DAY,100,100.00,,
2,{at("11-09 14:00")},NEW,p2,B,IBM,SELL,LIMIT,OPG,60,99.90,,
3,{at("11-09 14:30")},NEW,a,A,IBM,BUY,LIMIT,DAY,100,100.25,,
4,{at("11-09 14:31")},NEW,b,B,IBM,SELL,LIMIT,DAY,150,100.2,,
5,{at("11-09 14:32")},CANCEL,zz,,IBM,,,,,,,
6,{at("11-09 14:32")},NEW,d,A,IBM,BUY,LIMIT,DAY,100,100.255,,
7,{at("11-09 14:32")},NEW,e,A,IBM,BUY,LIMIT,DAY,1000000,100.25,,
8,{at("11-09 14:33")},REPLACE,b,,IBM,,,,200,100.30,,
9,{at("11-09 14:34")},NEW,f,A,IBM,BUY,MARKET,DAY,100,,,
10,{at("11-09 14:35")},NEW,g,C,IBM,SELL_SHORT,LIMIT,GTC,100,101,,
11,{at("11-09 21:01")},NEW,h,A,IBM,BUY,LIMIT,DAY,10,100,,
12,{at("11-10 14:30")},NEW,i,A,IBM,BUY,LIMIT,DAY,10,101,,
13,{at("11-14 15:00")},NEW,j,A,IBM,BUY,LIMIT,DAY,10,101,,
14,{at("11-16 15:00")},CANCEL,g,,IBM,,,,,,,
"""

REPORTS = f"""{REPORT_HEADER}
1,ACCEPTED,p1,,IBM,BUY,100.00,100,100,
2,ACCEPTED,p2,,IBM,SELL,99.90,60,60,
3,TRADE,p1,p2,IBM,BUY,100.00,60,40,
3,ACCEPTED,a,,IBM,BUY,100.25,100,100,
4,ACCEPTED,b,,IBM,SELL,100.20,150,150,
4,TRADE,b,a,IBM,SELL,100.25,100,50,
5,REJECTED,zz,,IBM,,,,0,CANCEL_UNKNOWN_ORDER
6,REJECTED,d,,IBM,BUY,100.255,100,0,VALIDATION_PRICE_INCREMENT
7,REJECTED,e,,IBM,BUY,100.25,1000000,0,VALIDATION_QUANTITY_TOO_LARGE
8,REPLACED,b,,IBM,SELL,100.30,200,100,
9,ACCEPTED,f,,IBM,BUY,,100,100,
9,TRADE,f,b,IBM,BUY,100.30,100,0,
10,ACCEPTED,g,,IBM,SELL_SHORT,101.00,100,100,
11,EXPIRED,p1,,IBM,BUY,100.00,40,0,EXPIRY_SESSION_CLOSE
11,REJECTED,h,,IBM,BUY,100,10,0,VALIDATION_SESSION_CLOSED
12,ACCEPTED,i,,IBM,BUY,101.00,10,10,
12,TRADE,i,g,IBM,BUY,101.00,10,0,
13,REJECTED,j,,IBM,BUY,101,10,0,VALIDATION_SESSION_CLOSED
14,CANCELLED,g,,IBM,SELL_SHORT,101.00,90,0,CANCEL_REQUESTED
"""


def test_a_day_by_hand() -> None:
    out = io.StringIO()
    summary = match_stream(DAY.splitlines(keepends=True), out, "us-equities")
    assert out.getvalue() == REPORTS
    assert (summary.commands, summary.trades, summary.rejected, summary.malformed, summary.live) == (14, 4, 5, 0, 0)


@pytest.mark.parametrize(
    "time_ns",
    [0, 10, at("01-01 15:00"), 1_672_444_800 * SECOND, 8_867_000_000 * SECOND],
    ids=["1970-01-01", "ns-10", "2026-01-01", "2022-12-31", "2250-12"],
)
def test_time_without_a_session_is_a_closed_session_and_no_crash(time_ns: int) -> None:
    out = io.StringIO()
    row = f"1,{time_ns},NEW,o1,A,IBM,BUY,LIMIT,DAY,100,10.00,,"

    summary = match_stream([COMMAND_HEADER + "\n", row + "\n"], out, desk=MarketDesk(session_of_day))

    assert out.getvalue().splitlines()[1:] == ["1,REJECTED,o1,,IBM,BUY,10.00,100,0,VALIDATION_SESSION_CLOSED"]
    assert (summary.commands, summary.rejected, summary.malformed) == (1, 1, 0)


@pytest.mark.parametrize(
    "row",
    [
        "1,10,NEW,o1,A,IBM,BUY,LIMIT,DAY,100,10.00,,NONE,x,y",
        "1,10,NEW,o1,A,IBM,BUY,LIMIT,DAY,100,10.00,",
        '1,10,NEW,"o1,A,IBM,BUY,LIMIT,DAY,100,10.00,,NONE',
        '1,10,NEW,"o"1,A,IBM,BUY,LIMIT,DAY,100,10.00,,NONE',
    ],
)
def test_row_that_is_no_row_of_the_header_is_malformed_under_all_rules(row: str) -> None:
    for desk in (None, MarketDesk()):
        out = io.StringIO()
        summary = match_stream([COMMAND_HEADER + "\n", row + "\n"], out, desk=desk)
        assert out.getvalue().splitlines()[1].split(",")[-1] == "VALIDATION_MALFORMED"
        assert (summary.commands, summary.malformed, summary.live) == (1, 1, 0)


@pytest.mark.parametrize(
    ("first", "reasons"),
    [
        # Bought a hundred, sells more: what the account had before is made up with its first sale.
        ("BUY", ["", ""]),
        ("SELL", ["", ""]),
        # Who begins short holds nothing that could be sold long.
        ("SELL_SHORT", ["", "VALIDATION_SHORT_MARKING"]),
    ],
)
def test_shares_are_made_up_with_the_first_sale_unless_it_is_short(first: str, reasons: list[str]) -> None:
    rows = [
        f"1,{at('11-09 15:00')},NEW,o1,A,IBM,{first},LIMIT,DAY,100,100.00,,",
        f"2,{at('11-09 15:01')},NEW,o2,A,IBM,SELL,LIMIT,DAY,500,101.00,,",
    ]
    out = io.StringIO()
    match_stream([f"{line}\n" for line in (COMMAND_HEADER, *rows)], out, "us-equities")
    assert [line.split(",")[-1] for line in out.getvalue().splitlines()[1:]] == reasons
