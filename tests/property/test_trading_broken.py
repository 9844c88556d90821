"""Broken engines: each takes one line of the rules back, and the comparison with the reference engine has to notice.

If one of these passes unnoticed, the tests have a hole. The engines are imported from changed sources, uncompiled. What
streams of cash accounts cannot show (short sales, margin calls) is shown by scenarios, or by approved orders in auctions.
"""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest
from broken_engines import BROKEN
from changed_engine import ROOT, changed_engine

STEPS = 300
SEEDS = 60
RELOADED = (
    "udfs",
    "trading_harness",
    "trading_streams",
    "test_trading_reference",
    "test_trading_golden",
    "test_auction_short_sales",
)
BLOTTERS = (
    "risk: until 2026-06-04",
    "risk: from 2027-10-20 on",
    "risk: Rule 204",
    "risk: what a long sale or a market maker",
    "risk: a fail of the firm",
    "corporate: a split ends a sale",
)
"""Golden scenarios of what the random streams do not reach: the file, and how the title begins."""


def blotters(golden: ModuleType) -> None:
    """The golden scenarios of `BLOTTERS` are replayed with the same text."""
    for name in BLOTTERS:
        file, title = name.split(": ")
        text = (ROOT / "tests" / "golden" / f"trading_{file}.txt").read_text(encoding="utf-8")
        scenario = text[text.index(f"Scenario: {title}") :].split("\nScenario:")[0]
        assert golden.replay(scenario).rstrip() == scenario.rstrip(), name


def short_sales(h: ModuleType) -> None:
    """Under Rule 201 a short sale does not execute at the national best bid, unless it is marked exempt."""
    desk = h.Desk(check_every_step=True)
    desk.run(
        [
            h.instrument("IBM", priorClose=100_0000, easyToBorrow=True),
            h.account("SHORT", accountType="MARGIN"),
            h.account("LONG"),
            h.session("day-1", h.OPEN, h.CLOSE),
            h.snapshot_end(),
            h.quote("IBM", 1, [("XNYS", 89_9000, 500, 90_2000, 500)], h.OPEN, prints=[90_0000]),
            h.order("s1", "SHORT", "IBM", "SELL_SHORT", 100, 89_8000, "IOC"),
            h.order("s2", "SHORT", "IBM", "SELL_SHORT_EXEMPT", 100, 89_8000),
            h.order("s3", "SHORT", "IBM", "SELL_SHORT", 100, 89_8000),
            h.order("s3", "SHORT", "IBM", "SELL_SHORT", 100, command="CANCEL"),
            # Our own bid is the national best; then an exchange bids more than the short sale that waits.
            h.order("b1", "LONG", "IBM", "BUY", 100, 90_0000),
            h.order("s4", "SHORT", "IBM", "SELL_SHORT", 100, 89_9500),
            h.quote("IBM", 2, [("XNYS", 90_0500, 500, 90_2000, 500)], h.OPEN + 1),
            ("settle", None),
        ]
    )
    sold = [(r["orderId"], r["executionPrice"]) for topic, r in desk.records if topic == "trade-events"]
    assert sold == [("s2", 89_9000)]
    reasons = [r["reason"] for topic, r in desk.records if topic == "order-events" and r["status"] == "CANCELLED"]
    assert reasons == ["MATCH_SHORT_SALE_PRICE", "CANCEL_REQUESTED"]
    posted = [
        (r["orderId"], r["price"])
        for topic, r in desk.records
        if topic == "routing-decisions" and r["action"] == "POST"
    ]
    assert posted == [("s3", 89_9100), ("b1", 90_0000), ("s4", 90_0100)]


def switches(h: ModuleType) -> None:
    """REDUCE does not weaken a KILL of the same account: a sale that would reduce is refused too. A restart weakens none."""
    desk = h.Desk(check_every_step=True)
    desk.run(
        [
            h.instrument("IBM"),
            h.account("A", positions={"IBM": 100}),
            h.session("day-1", h.OPEN, h.CLOSE),
            h.snapshot_end(),
            h.control("KILL", "A", scope="ACCOUNT"),
            h.control("REDUCE", "A", scope="ACCOUNT"),
            h.order("o1", "A", "IBM", "SELL", 100, 100_0000),
        ]
    )
    assert [r["reason"] for topic, r in desk.records if topic == "order-events"][-1] == "RISK_KILL_SWITCH"
    desk.run([h.control("KILL", controlId="kill-all")])
    desk.restart()
    assert all(match.killed_all for match in desk.match)


def margin_calls(h: ModuleType) -> None:
    """A call of the initial requirement is met by deposits of its amount; until then, and below 2,000, nothing leaves."""
    desk = h.Desk(check_every_step=True)

    def move(kind: str, value: int) -> h.Step:
        return h.control(kind, "A", scope="ACCOUNT", value=value, controlId=f"{kind}-{len(desk.records)}")

    steps = [
        h.instrument("IBM"),
        h.account("A", 10_000_0000, commission=0, accountType="MARGIN"),
        h.account("B", 2_500_0000, commission=0, accountType="MARGIN"),
        h.session("day-1", h.OPEN, h.CLOSE),
        h.session("day-2", h.NEXT_OPEN, h.NEXT_CLOSE),
        h.snapshot_end(),
        h.quote("IBM", 1, [("XNYS", 100_0000, 500, 100_0000, 500)], h.OPEN),
        h.order("b1", "B", "IBM", "BUY", 1, 90_0000, "GTC"),
        h.control("WITHDRAWAL", "B", scope="ACCOUNT", value=500_0001),
        h.order("o1", "A", "IBM", "BUY", 200, 100_0000),
        ("settle", None),
        h.quote("IBM", 2, [("XNYS", 90_0000, 500, 90_0100, 500)], h.OPEN + 1),
        ("clock", h.CLOSE),
        h.quote("IBM", 3, [("XNYS", 88_0000, 500, 88_0100, 500)], h.NEXT_OPEN),
    ]
    desk.run(steps)
    desk.run([move("DEPOSIT", 300_0000)])
    # The price is back for a moment, but nobody has looked at the call yet.
    desk.run([h.quote("IBM", 4, [("XNYS", 120_0000, 500, 120_0100, 500)], h.NEXT_OPEN + 1), move("WITHDRAWAL", 100)])
    desk.run([h.quote("IBM", 5, [("XNYS", 88_0000, 500, 88_0100, 500)], h.NEXT_OPEN + 2), move("DEPOSIT", 700_0000)])
    desk.run([move("WITHDRAWAL", 100)])
    told = [(r["accountId"], r["type"], r["cashChange"]) for topic, r in desk.records if topic == "risk-events"]
    assert told == [
        ("B", "CONTROL_REJECTED", None),
        ("A", "MARGIN_CALL", None),
        ("A", "CONTROL_APPLIED", 300_0000),
        ("A", "MARGIN_CALL_PART_MET", None),
        ("A", "CONTROL_REJECTED", None),
        ("A", "CONTROL_APPLIED", 700_0000),
        ("A", "MARGIN_CALL_MET", None),
        ("A", "CONTROL_REJECTED", None),
    ]


def dividends(h: ModuleType) -> None:
    """A cash dividend lowers a purchase that is good till cancelled, unless its owner said do not reduce, and no sale."""
    desk = h.Desk(check_every_step=True)
    desk.run(
        [
            h.instrument("IBM"),
            h.account("A"),
            h.account("B", positions={"IBM": 100}),
            h.session("2023-11-14", h.OPEN, h.CLOSE),
            h.session("2023-11-15", h.NEXT_OPEN, h.NEXT_CLOSE),
            h.snapshot_end(),
            h.action("D1", "CASH_DIVIDEND", "IBM", "2023-11-15", cashPerShare=5_000),
            h.order("o1", "A", "IBM", "BUY", 100, 99_0000, "GTC", doNotReduce=True),
            h.order("o2", "A", "IBM", "BUY", 100, 99_0000, "GTC"),
            h.order("o3", "B", "IBM", "SELL", 100, 101_0000, "GTC"),
            ("clock", h.CLOSE),
            ("clock", h.NEXT_OPEN),
            ("settle", None),
        ]
    )
    restated = [
        (r["orderId"], r["price"])
        for topic, r in desk.records
        if topic == "order-events" and r["eventType"] == "RESTATED"
    ]
    assert restated == [("o2", 98_5000)]


def splits(h: ModuleType) -> None:
    """A fill in a session that the clock leapt over is one of after the split of that session."""
    day = h.NEXT_OPEN - h.OPEN
    desk = h.Desk(check_every_step=True)
    for number, date in enumerate(("2023-11-14", "2023-11-15", "2023-11-16")):
        begin = h.OPEN + number * day
        desk.run([h.session(date, begin, begin + 23_400 * h.SECOND, begin - 600 * h.SECOND)])
    desk.run([h.instrument("IBM"), h.account("A", positions={"IBM": 300}), h.account("B"), h.snapshot_end()])
    desk.run([("clock", h.OPEN), h.action("S", "SPLIT", "IBM", "2023-11-15", ratioNumerator=2, ratioDenominator=1)])
    desk.run([("clock", h.CLOSE)])
    for account, side in (("B", "BUY"), ("A", "SELL")):
        desk.run([h.order(side, account, "IBM", side, 10, 50_0000, "GTC", timestamp=h.NEXT_OPEN - h.SECOND)])
    desk.run([("clock", h.OPEN + 2 * day), ("settle", None)])
    held = [account.positions["IBM"].quantity for account in desk.risk[0].book.accounts.values()]
    assert held == [590, 10]


def pauses(h: ModuleType) -> None:
    """A pause that the listing exchange declares in a straddle state ends by itself after five minutes."""
    desk = h.Desk(check_every_step=True)
    desk.run([h.instrument("IBM", luldTier=1), h.session("2023-11-14", h.OPEN, h.CLOSE), h.snapshot_end()])
    desk.run([("clock", h.OPEN), h.quote("IBM", 1, [("XNYS", 94_9000, 100, 100_0200, 100)], h.OPEN + h.SECOND)])
    desk.run([h.control("PAUSE", "IBM", h.OPEN + 2 * h.SECOND), ("clock", h.OPEN + 400 * h.SECOND)])
    states = [r["state"] for topic, r in desk.records if topic == "market-status"]
    assert states[-2:] == ["PAUSED", "OPEN"]


def notices(module: str, old: str, new: str, seeds: int = SEEDS) -> str | None:
    """What the comparison says about the broken engine, or None."""
    with changed_engine(module, old, new, RELOADED):
        run_seed = importlib.import_module("test_trading_reference").run_seed
        try:
            for scenario in (short_sales, switches, margin_calls, dividends, splits, pauses):
                scenario(importlib.import_module("trading_harness"))
            blotters(importlib.import_module("test_trading_golden"))
        except Exception as error:
            return f"scenario: {error!r}"
        auctions = importlib.import_module("test_auction_short_sales").compare
        for seed in range(seeds):
            try:
                run_seed(seed, STEPS)
                auctions(seed)
            except Exception as error:
                return f"seed {seed}: {error!r}"
    return None


@pytest.mark.parametrize(("module", "old", "new"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_broken_engine_is_noticed(module: str, old: str, new: str) -> None:
    assert notices(module, old, new) is not None


def test_engine_loaded_the_same_way_without_a_change_is_not_noticed() -> None:
    line = "may_rest = is_limit"
    assert notices("matching", line, line, seeds=5) is None
