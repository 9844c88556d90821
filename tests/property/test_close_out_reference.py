"""Fails to deliver on random days: what the engines tell and refuse, against a model that keeps every share by itself."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import trading_harness as h
from reference_close_outs import CloseOuts, Told
from reference_rules import midnight

ACCOUNTS = ("LEFT", "RIGHT", "CASH")
SYMBOLS = ("IBM", "GE")
DATES = ("2026-11-23", "2026-11-24", "2026-11-25", "2026-11-27", "2026-11-30", "2026-12-01", "2026-12-02", "2026-12-03")
DAYS = [(date, midnight(f"{date}T09:30:00-05:00"), midnight(f"{date}T16:00:00-05:00")) for date in DATES]
HOLIDAY = "2026-11-26"
SEEDS = 40
STEPS = 140
TYPES = ("FAIL_TO_DELIVER", "CLOSE_OUT_MISSED", "CLOSE_OUT_MET")


class World:
    """The engines and the model, fed the same."""

    def __init__(self, seed: int, shards: int) -> None:
        self.rnd = Random(seed)
        self.desk = h.Desk(shards, check_every_step=True)
        self.model = CloseOuts(DAYS, settles_after=1)
        self.now = DAYS[0][1]
        self.count = 0
        self.borrowed: dict[tuple[str, str], int] = {}
        # Short sales that rest, by account and symbol: their ids, with the borrowed shares that they hold.
        self.resting: dict[tuple[str, str], dict[str, int]] = {}
        self.told: list[Told] = []
        # Orders that the engines have taken off since time passed last.
        self.ended: set[str] = set()
        self.refused = 0
        self.withdrawn = 0
        for date, opening, close in DAYS:
            self.desk.run([h.session(date, opening, close)])
        self.desk.run([h.instrument(symbol, easyToBorrow=True) for symbol in SYMBOLS])
        short = dict.fromkeys(SYMBOLS, -5_000)
        for name in ("LEFT", "RIGHT"):
            self.desk.run([h.account(name, 90_000_000_0000, short, commission=0, accountType="MARGIN")])
        self.desk.run([h.account("CASH", commission=0), h.snapshot_end(), ("clock", self.now)])

    def run(self, steps: list[h.Step]) -> list[h.Record]:
        """Apply steps and keep what is told about fails."""
        records = self.desk.run([*steps, ("settle", None)])
        self.told += [
            (r["accountId"], r["symbol"], r["type"], r["observedValue"])
            for topic, r in records
            if topic == "risk-events" and r["type"] in TYPES and not r["detail"].startswith("firm ")
        ]
        self.ended |= {
            r["orderId"]
            for topic, r in records
            if topic == "order-events" and (r["status"], r["reason"]) == ("CANCELLED", "CANCEL_CLOSE_OUT")
        }
        return records

    def control(self, kind: str, owner: str, symbol: str, value: int | None, **fields: Any) -> bool:
        """Issue a control; returns whether it was applied."""
        self.count += 1
        scope = {"scope": "SYMBOL"} if owner == "*" else {"scope": "ACCOUNT", "symbol": symbol}
        target = symbol if owner == "*" else owner
        step = h.control(kind, target, self.now, controlId=f"c{self.count}", value=value, **scope, **fields)
        records = self.run([step])
        return any(topic == "risk-events" and r["type"] == "CONTROL_APPLIED" for topic, r in records)

    def go_to(self, time_ns: int) -> None:
        """Let time pass."""
        entered = [n for n, (_, opening, _) in enumerate(DAYS) if self.now < opening <= time_ns]
        self.now = time_ns
        if entered:
            self.borrowed = {}
            self.resting = {key: dict.fromkeys(orders, 0) for key, orders in self.resting.items()}
        before = {key: set(orders) for key, orders in self.resting.items()}
        gone: set[str] = set()
        for owner, symbol in self.model.reach(time_ns):
            for account in ACCOUNTS if owner == "*" else (owner,):
                self.borrowed.pop((account, symbol), None)
                gone |= before.get((account, symbol), set())
                self.resting.pop((account, symbol), None)
        self.run([("clock", time_ns)])
        assert self.ended == gone
        self.ended = set()
        self.withdrawn += len(gone)

    def step(self) -> None:
        """One random step."""
        rnd = self.rnd
        account, symbol = rnd.choice(ACCOUNTS[:2]), rnd.choice(SYMBOLS)
        roll = rnd.random()
        if roll < 0.16:
            later = [opening for _, opening, _ in DAYS[:6] if opening > self.now]
            leap = later[0] - rnd.choice((0, 0, 1)) if later and rnd.random() < 0.4 else self.now + h.SECOND
            closes = [close for _, _, close in DAYS[:6] if close > self.now]
            self.go_to(closes[0] if closes and rnd.random() < 0.2 else max(leap, self.now))
        elif roll < 0.32:
            self.fail(rnd.choice((*ACCOUNTS, "*")), symbol)
        elif roll < 0.44:
            self.deliver(rnd.choice((*ACCOUNTS, "*")), symbol)
        elif roll < 0.52:
            shares = rnd.choice((5, 10, 25))
            assert self.control("BORROW", account, symbol, shares)
            self.borrowed[account, symbol] = self.borrowed.get((account, symbol), 0) + shares
        elif roll < 0.76:
            self.buy(rnd.choice(ACCOUNTS), symbol)
        else:
            self.sell_short(account, symbol)

    def fail(self, owner: str, symbol: str) -> None:
        """A delivery has failed, on a day of the calendar or on a holiday."""
        date = self.rnd.choice((*DATES[:4], HOLIDAY))
        sale = self.rnd.choice(("SHORT", "SHORT", "LONG", "MARKET_MAKER"))
        shares = self.rnd.choice((1, 10, 40, 100))
        assert self.control("DELIVERY_FAILED", owner, symbol, shares, settlementDate=date, failedSale=sale)
        self.model.fail(owner, symbol, shares, date, sale)
        # One that is told late is missed at once.
        self.go_to(self.now)

    def deliver(self, owner: str, symbol: str) -> None:
        """Clearing says that shares were delivered."""
        left = self.model.open_shares(owner, symbol)
        shares = self.rnd.choice((None, 1, 10, left, left + 1))
        possible = left > 0 and (shares is None or 0 < shares <= left)
        assert self.control("DELIVERY_MADE", owner, symbol, shares) == possible
        if possible:
            self.model.delivered(owner, symbol, shares)
            self.go_to(self.now)

    def buy(self, account: str, symbol: str) -> None:
        """A purchase that the street fills at once, in trading hours."""
        if not any(opening <= self.now < close for _, opening, close in DAYS):
            return
        self.count += 1
        shares = self.rnd.choice((1, 10, 30))
        self.run(
            [
                h.quote(symbol, self.count, [("XNYS", 99_9000, 10_000, 100_0000, 10_000)], self.now),
                h.order(f"o{self.count}", account, symbol, "BUY", shares, 100_0000, "IOC", self.now),
            ]
        )
        self.model.bought(account, symbol, shares, self.now)

    def sell_short(self, account: str, symbol: str) -> None:
        """A short sale that nobody buys: for the moment, or to stay."""
        if not any(opening <= self.now < close for _, opening, close in DAYS):
            return
        self.count += 1
        name, shares = f"o{self.count}", self.rnd.choice((1, 5, 10, 20))
        stays = self.rnd.random() < 0.4
        free = self.borrowed.get((account, symbol), 0)
        bound = self.model.must_borrow(account, symbol)
        step = h.order(name, account, symbol, "SELL_SHORT", shares, 105_0000, "GTC" if stays else "IOC", self.now)
        reasons = {r["reason"] for topic, r in self.run([step]) if topic == "order-events"}
        refused = bound and free < shares
        assert ("RISK_CLOSE_OUT" in reasons) == refused
        self.refused += refused
        if stays and not refused:
            self.resting.setdefault((account, symbol), {})[name] = shares if bound else 0
            if bound:
                self.borrowed[account, symbol] = free - shares


@pytest.mark.parametrize("shards", [1, 3])
def test_fails_of_random_days_equal_the_model_of_every_share(shards: int) -> None:
    seen: set[str] = set()
    refused = withdrawn = late = 0
    for seed in range(SEEDS):
        world = World(seed, shards)
        for number in range(STEPS):
            world.step()
            assert world.told == world.model.told, f"seed {seed} step {number}"
            if world.rnd.random() < 0.03:
                world.desk.restart()
        seen |= {kind for _, _, kind, _ in world.told}
        refused += world.refused
        withdrawn += world.withdrawn
        late += any(share.bought_at for fail in world.model.fails for share in fail["shares"] if not share.closed)
    # The streams have to reach what the rule is about, else this says little.
    assert seen == set(TYPES)
    assert min(refused, withdrawn) > 50 and late > 5
