"""The trading stages against the reference engine, on random steps: every record equal, and nothing created or lost.

The ordinary run takes some streams of STEPS steps; for a long one: PYTHONPATH=. python
tests/property/test_trading_reference.py SEEDS STEPS. A failure prints its seed, and `compare(seed, steps)` repeats it.
"""

from __future__ import annotations

import argparse
from random import Random
from typing import Any

from reference_engine import ReferenceEngine
from trading_harness import Desk, Record
from trading_streams import Stream

STEPS = 300
SEEDS_COMPILED = 120
SEEDS_INTERPRETED = 20
RESTARTS = 10


NOT_SET = ("controlId", "issuedBy", "quantity", "cashChange")
"""Fields of risk events about controls and positions: the streams have neither."""


def comparable(records: list[Record]) -> list[Record]:
    """What the reference gives too: of dead letters position, reason and time, and nothing of the state of markets."""
    result = []
    for topic, r in records:
        if topic == "dead-letter":
            result.append((topic, {k: r[k] for k in ("eventId", "reason", "timestamp")}))
        elif topic == "risk-events":
            assert not [name for name in NOT_SET if r[name] is not None]
            result.append((topic, {k: v for k, v in r.items() if k not in NOT_SET}))
        elif topic != "market-status":
            result.append((topic, r))
    return result


def by_topic(records: list[Record]) -> dict[str, list[dict[str, Any]]]:
    """Records in their order within each topic."""
    result: dict[str, list[dict[str, Any]]] = {}
    for topic, record in records:
        result.setdefault(topic, []).append(record)
    return result


def check_conservation(
    desk: Desk, reference: ReferenceEngine, opening_cash: int, opening_shares: dict[str, int]
) -> None:
    """Cash plus fees plus the street's cash, and shares, are what they were; fills on their way are counted in."""
    accounts = desk.risk[0].book.accounts.values()
    cash = sum(a.cash_e4 for a in accounts)
    shares: dict[str, int] = {}
    for a in accounts:
        for symbol, position in a.positions.items():
            shares[symbol] = shares.get(symbol, 0) + position.quantity
    for outcome in reference.outcomes:
        if outcome["kind"] == "fill":
            order = outcome["order"]
            sign = 1 if order["side"] == "BUY" else -1
            cash -= sign * outcome["quantity"] * outcome["price"] + outcome["quantity"] * order["rate"]
            shares[order["symbol"]] = shares.get(order["symbol"], 0) + sign * outcome["quantity"]
    assert cash + reference.fees + reference.street_cash == opening_cash
    for symbol, quantity in opening_shares.items():
        assert shares.get(symbol, 0) + reference.street_shares.get(symbol, 0) == quantity


def compare(seed: int, steps: int, restart_at: int = -1) -> Desk:
    """Run both engines over a stream and compare after every step; returns the desk for more checks."""
    desk = Desk(check_every_step=True)
    reference = ReferenceEngine()
    opening_cash = 0
    opening_shares: dict[str, int] = {}
    done = 0
    told = 0
    for number, (kind, fields) in enumerate(Stream(seed).steps(steps)):
        if (
            kind == "reference"
            and fields["kind"] == "ACCOUNT"
            and fields["account"]["accountId"] not in reference.accounts
        ):
            opening_cash += fields["account"]["cash"]
            for position in fields["account"]["positions"]:
                symbol = position["symbol"]
                opening_shares[symbol] = opening_shares.get(symbol, 0) + position["quantity"]
        if number == restart_at:
            desk.restart()
        desk.step(kind, fields)
        reference.step(kind, fields)
        got = by_topic(comparable(desk.records[done:]))
        want = by_topic(reference.records[told:])
        assert got == want, f"seed {seed} step {number}: {kind} {fields}\n got {got}\nwant {want}"
        done = len(desk.records)
        told = len(reference.records)
        check_conservation(desk, reference, opening_cash, opening_shares)
    for account_id, account in desk.risk[0].book.accounts.items():
        assert account.cash_e4 == reference.accounts[account_id]["money"], f"seed {seed}: cash of {account_id}"
        assert account.reserved_e4 == 0, f"seed {seed}: all orders are done, {account_id} still reserves"
    return desk


def test_stages_random_steps_equal_reference(compiled: bool) -> None:
    for seed in range(SEEDS_COMPILED if compiled else SEEDS_INTERPRETED):
        compare(seed, STEPS)


def test_stages_restarted_at_any_step_equal_reference() -> None:
    for seed in range(RESTARTS):
        steps = len(Stream(seed).steps(STEPS))
        compare(seed, STEPS, restart_at=Random(seed).randrange(steps))


def main() -> None:
    """The long run: python tests/property/test_trading_reference.py 10000 1000."""
    parser = argparse.ArgumentParser(description="Compare the trading stages with the reference engine")
    parser.add_argument("seeds", type=int)
    parser.add_argument("steps", type=int)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    options = parser.parse_args()
    for seed in range(options.first, options.first + options.seeds):
        desk = compare(seed, options.steps, restart_at=Random(seed).randrange(options.steps) if seed % 2 else -1)
        print(f"seed {seed}: {len(desk.records)} records equal", flush=True)


if __name__ == "__main__":
    main()
