"""Cushions of margin accounts: while one stands, the account is worth that much at least, whatever quotes and fills did.

That is all that a decision takes from it, so no decision is another one than with the exact numbers; the engine's other
comparisons (test_margin_reference, test_trading_reference) decide with exact numbers of their own. A failure prints its
seed.
"""

from __future__ import annotations

import importlib
from random import Random
from typing import Any

import pytest
import trading_harness as h
from changed_engine import changed_engine

from schemas.messages import order_outcomes
from schemas.messages.order_outcomes import OrderOutcome, OrderOutcomes
from udfs.domain import sources
from udfs.domain.cushion import Band, Cushion
from udfs.domain.frames import decode_frame
from udfs.domain.margin import stock_initial, stock_maintenance
from udfs.domain.margin_check import worth_of
from udfs.domain.margin_rules import StockMargin
from udfs.domain.risk_shard import RiskShard

STOCKS = {"AAA": 100_0000, "BBB": 52_1300, "LOW": 5_0200, "SUB": 4_8500, "TINY": 300}
"""Two that shorts have the ordinary requirements of, two on both sides of the price where these change, a penny stock."""


class Desk:
    """One risk shard with quotes that move, and accounts whose money just about suffices."""

    def __init__(self, rnd: Random) -> None:
        self.rnd = rnd
        self.shard = RiskShard(0, 1, h.SCHEMA_IDS)
        self.marks = dict(STOCKS)
        self.offset = 0
        self.open: list[tuple[str, Any]] = []
        for symbol in STOCKS:
            self.give(h.instrument(symbol, tick=1, easyToBorrow=True, priorClose=STOCKS[symbol]))
        for name in ("RICH", "POOR"):
            cash = 3_000_000_0000 if name == "RICH" else rnd.randint(-5_500, 2_000) * 10_000
            self.give(h.account(name, cash, {"AAA": 100, "LOW": -300}, accountType="MARGIN"))
        self.give(h.session("day-1", h.OPEN, h.CLOSE))
        self.give(h.snapshot_end())
        for symbol in STOCKS:
            self.quote(symbol)

    def give(self, step: h.Step) -> None:
        """Apply a step."""
        source, payload = h.encode_step(*step)
        self.offset += 1
        self.shard.apply(source, payload, 0, self.offset, 0)

    def quote(self, symbol: str) -> None:
        """The marks move a little, or a lot; sometimes a side is empty."""
        rnd = self.rnd
        far = 50 if rnd.random() < 0.15 else 1
        mark = max(2, self.marks[symbol] * (1000 + rnd.randint(-4 * far, 4 * far)) // 1000)
        mark = min(max(mark, STOCKS[symbol] // 2), STOCKS[symbol] * 2)
        self.marks[symbol] = mark
        bid: int | None = mark - rnd.randint(0, max(1, mark // 500)) or 1
        ask: int | None = mark + rnd.randint(1, max(1, mark // 500))
        if rnd.random() < 0.05:
            bid = None
        if rnd.random() < 0.05:
            ask = None
        prints = [mark] if rnd.random() < 0.3 else []
        self.give(
            h.quote(
                symbol, self.offset, [("XNYS", bid, 100, ask, 100)], h.OPEN + self.offset * 10 * h.SECOND, prints=prints
            )
        )

    def order(self) -> None:
        """A limit order near the market."""
        rnd = self.rnd
        symbol = rnd.choice(list(STOCKS))
        price = max(1, self.marks[symbol] * rnd.randint(980, 1020) // 1000)
        if price >= 1_0000:
            price = price // 100 * 100
        side = rnd.choice(("BUY", "SELL", "SELL_SHORT"))
        account = rnd.choice(("RICH", "POOR"))
        number = f"o{self.offset}"
        self.give(h.order(number, account, symbol, side, rnd.choice((10, 100, 1_000)), price, timestamp=h.OPEN))
        frames = self.shard.outbox.forward[0]
        if frames:
            self.open.append((account, decode_frame(frames.pop())))

    def fill(self) -> None:
        """One order is filled in part, and ends."""
        account, frame = self.open.pop(self.rnd.randrange(len(self.open)))
        quantity = self.rnd.randint(0, frame.quantity)
        line = OrderOutcome(
            account, frame.order_id, frame.symbol, frame.side, quantity, quantity * frame.worst_price, 0, 0, True
        )
        value = order_outcomes.encode(OrderOutcomes(0, [line], h.OPEN), h.SCHEMA_IDS["order-outcomes"])
        self.offset += 1
        self.shard.apply(sources.OUTCOMES, value, 0, self.offset, 0)


def compare(seeds: int) -> tuple[int, int, int, int]:
    """Random days; returns how often a cushion stood (of the account where it did less), fell, orders refused, calls."""
    stood = {"RICH": 0, "POOR": 0}
    fell = refused = calls = 0
    for seed in range(seeds):
        desk = Desk(Random(seed))
        standing: dict[str, bool] = {}
        for step in range(150):
            draw = desk.rnd.random()
            if draw < 0.45:
                desk.quote(desk.rnd.choice(list(STOCKS)))
            elif draw < 0.75 or not desk.open:
                desk.order()
            else:
                desk.fill()
            desk.shard.check_invariants()
            desk.shard.outbox.clear()
            for name, account in desk.shard.book.accounts.items():
                calls += account.margin is not None and account.margin.call_kind != 0
                cushion = account.cushion
                stands = cushion is not None and cushion.stands
                fell += standing.get(name, False) and not stands
                standing[name] = stands
                if cushion is None or not stands:
                    continue
                stood[name] += 1
                worth = worth_of(account, desk.shard.reference.instruments, h.OPEN)
                where = f"seed {seed} step {step} account {name}"
                assert not worth.unmarked, where
                assert cushion.equity_e4 + account.cash_e4 <= worth.equity_e4, where
                assert cushion.excess_e4 + account.cash_e4 <= worth.excess(), where
                assert cushion.upkeep_e4 + account.cash_e4 <= worth.maintenance_excess(), where
        refused += desk.shard.desk.judged - desk.shard.desk.approved
    assert min(stood.values()) > 3_000 and fell > 150 and refused > 300 and calls > 3, (stood, fell, refused, calls)


def test_position_counts_with_the_least_that_it_brings_in_its_band_under_any_rules() -> None:
    rnd = Random(7)
    for number in range(400):
        low_price = rnd.randint(1, 120)
        shares = [rnd.randint(0, 10_000) for _ in range(3)]
        floors = [rnd.randint(0, 90) for _ in range(2)]
        dear, cheap = rnd.randint(0, 30_000), rnd.randint(0, 30_000)
        rules = StockMargin(
            0, shares[0], shares[1], shares[2], dear, floors[0], low_price, cheap, floors[1], 0, "made up"
        )
        band = Band(rnd.randint(1, 120), rnd.randint(1, 120))
        quantity = rnd.choice((-7, -1, 1, 12))
        cushion = Cushion(rules)
        cushion.count(quantity, band, 1)
        prices = range(band.low_e4, band.high_e4 + 1)
        where = f"number {number}"
        assert cushion.equity_e4 == min(quantity * price for price in prices), where
        brought = [quantity * price - stock_initial(rules, quantity, price) for price in prices]
        assert cushion.excess_e4 == min(brought), where
        brought = [quantity * price - stock_maintenance(rules, quantity, price) for price in prices]
        assert cushion.upkeep_e4 == min(brought), where
        cushion.count(quantity, band, -1)
        assert (cushion.equity_e4, cushion.excess_e4, cushion.upkeep_e4) == (0, 0, 0), where


def test_cushion_is_close_to_what_the_account_is_worth() -> None:
    desk = Desk(Random(5))
    account = desk.shard.book.accounts["RICH"]
    desk.give(h.order("first", "RICH", "AAA", "BUY", 100, 90_0000, timestamp=h.OPEN))
    cushion = account.cushion
    assert cushion is not None and cushion.stands
    worth = worth_of(account, desk.shard.reference.instruments, h.OPEN)
    gross = sum(abs(position.quantity) * desk.marks[symbol] for symbol, position in account.positions.items())
    assert 0 <= worth.excess() - cushion.excess_e4 - account.cash_e4 < gross // 8


BROKEN = (
    ("marks leave a band that stays", "risk_shard", "            instrument.check_band()\n", ""),
    (
        "a mark below the band holds",
        "cushion",
        "return low <= long_mark_e4 <= high and low <= short_mark_e4 <= high",
        "return long_mark_e4 <= high and short_mark_e4 <= high",
    ),
    ("what was held is not counted out", "holdings", "                cushion.count(before, band, -1)\n", ""),
    (
        "a short position at the low end",
        "cushion",
        "price = band.low_e4 if quantity > 0 else band.high_e4",
        "price = band.low_e4",
    ),
    ("an account does not wait for the end", "holdings", "            band.cushions.append(cushion)\n", ""),
)


@pytest.mark.parametrize(("module", "old", "new"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_broken_cushion_is_noticed(module: str, old: str, new: str) -> None:
    with changed_engine(module, old, new, ("udfs", "trading_harness", "test_cushions")):
        broken = importlib.import_module("test_cushions").compare
        # AssertionError by the comparison, or InvariantViolation by the engine's own check, whose class is loaded anew.
        with pytest.raises(Exception, match=r"seed|cushion|band"):
            broken(40)
