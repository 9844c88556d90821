"""Deposits and withdrawals of margin accounts against a slow reference: what may leave, and what meets a call.

The reference counts requirements contract by contract (test_margin_reference.py) and shares no code with udfs/domain. A
failure prints its seed.
"""

from __future__ import annotations

from random import Random
from typing import Any

import trading_harness as h
from test_margin_reference import Market

from schemas.messages import risk_events

MINIMUM = 2_000_0000


class Cash:
    """A market with one margin account, to and from which cash moves."""

    def __init__(self, rnd: Random) -> None:
        self.rnd = rnd
        self.market = Market(rnd)
        self.count = 0
        self.cash = 0
        self.owed: dict[str, int] = {}

    def move(self, kind: str, value: int, control_id: str = "") -> list[dict[str, Any]]:
        """Issue a control; returns the risk events that it caused."""
        self.count += 1
        name = control_id or f"c{self.count}"
        lane = self.market.shard.outbox.risk_events
        before = len(lane.values)
        self.market.give(h.control(kind, "A", scope="ACCOUNT", value=value, controlId=name))
        return [risk_events.to_dict(risk_events.decode(v)) for v in lane.values[before:]]

    def free(self) -> int:
        """What may leave: the excess, and of an account that owes anything or works orders not the last 2,000."""
        account = self.market.shard.book.accounts["A"]
        equity, initial, _ = self.market.reference()
        most = equity - initial - account.reserved_e4
        owes = account.open_orders or any(
            p.quantity < 0 or (p.quantity and symbol == "FUT") for symbol, p in account.positions.items()
        )
        above = equity - MINIMUM
        return max(0, min(most, above if owes else max(above, account.cash_e4)))


def test_withdrawals_take_what_is_free_to_the_last_unit_and_no_more() -> None:
    left = refused = 0
    for seed in range(150):
        rnd = Random(seed)
        cash = Cash(rnd)
        positions = {"IBM": rnd.choice((-100, 0, 0, 50, 250)), "O1": rnd.choice((-1, 0, 0, 2))}
        cash.market.open_account(rnd.randint(-10_000, 60_000) * 10_000, positions, rnd.choice((0, 50)))
        account = cash.market.shard.book.accounts["A"]
        # Prices came one after the other; now that all are there the account is looked at once more.
        cash.market.give(("clock", h.OPEN + 120 * h.SECOND))
        for number in range(12):
            if rnd.random() < 0.4:
                cash.market.order(number)
            free, before = cash.free(), account.cash_e4
            (event, *_) = cash.move("WITHDRAWAL", free + 1)
            assert (event["type"], event["limitValue"]) == ("CONTROL_REJECTED", free), f"seed {seed}: {event}"
            assert account.cash_e4 == before
            refused += 1
            if free and rnd.random() < 0.5:
                amount = rnd.choice((free, rnd.randint(1, free)))
                (event,) = cash.move("WITHDRAWAL", amount)
                assert (event["type"], event["cashChange"]) == ("CONTROL_APPLIED", -amount), f"seed {seed}: {event}"
                assert account.cash_e4 == before - amount
                left += 1
            elif rnd.random() < 0.3:
                amount = rnd.randint(1, 20_000_0000)
                event, *_ = cash.move("DEPOSIT", amount, f"d{number}")
                (again,) = cash.move("DEPOSIT", amount, f"d{number}")
                assert (event["cashChange"], again["cashChange"]) == (amount, None), f"seed {seed}"
                assert account.cash_e4 == before + amount
            cash.market.shard.check_invariants()
            cash.market.compare(seed)
    assert left > 200 and refused > 1_000


def test_deposits_meet_a_maintenance_call_exactly_when_the_equity_is_back() -> None:
    met = parts = 0
    for seed in range(120):
        rnd = Random(seed)
        cash = Cash(rnd)
        cash.market.open_account(-rnd.randint(15_000, 30_000) * 10_000, {"IBM": 250}, 0)
        cash.market.give(("clock", h.OPEN + 120 * h.SECOND))
        equity, _, maintenance = cash.market.reference()
        events = [risk_events.to_dict(risk_events.decode(v)) for v in cash.market.shard.outbox.risk_events.values]
        kinds = [e["type"] for e in events if e["type"] != "CONTROL_APPLIED"]
        assert kinds[-1:] == ["MARGIN_CALL"] if equity < maintenance else kinds[-1:] != ["MARGIN_CALL"], f"seed {seed}"
        while equity < maintenance:
            amount = rnd.choice((1, maintenance - equity, rnd.randint(1, maintenance - equity + 1_000)))
            applied, answer = cash.move("DEPOSIT", amount)
            assert (applied["type"], applied["cashChange"]) == ("CONTROL_APPLIED", amount)
            equity, _, maintenance = cash.market.reference()
            back = equity >= maintenance
            assert answer["type"] == ("MARGIN_CALL_MET" if back else "MARGIN_CALL_PART_MET"), f"seed {seed}"
            assert (answer["limitValue"], answer["observedValue"]) == (maintenance, equity), f"seed {seed}"
            assert applied["controlId"] in answer["detail"]
            met, parts = met + back, parts + (not back)
        cash.market.shard.check_invariants()
    assert met > 50 and parts > 50
