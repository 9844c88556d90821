"""The trading stages against the reference engine, on random steps: every record equal, and nothing created or lost.

The ordinary run takes some streams of STEPS steps; `--trading-seeds N` takes N streams of LONG steps, in as many
processes as `--trading-workers` says. A failure prints its seed, and `compare(seed, steps)` repeats it.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from random import Random
from typing import Any
from zlib import crc32

import pytest
from reference_engine import ReferenceEngine
from trading_harness import Desk, Record
from trading_streams import Stream

from udfs.domain.outbox import Outbox
from udfs.domain.reasons import NOT_REACHABLE, REASONS

STEPS = 300
LONG = 1_000
SEEDS_COMPILED = 90
SEEDS_INTERPRETED = 45
SEEDS_COVERAGE = 120
HASH_EVERY = 50


class SlowDesk(Desk):
    """A desk on whose way from risk to matching commands can be held up."""

    def __init__(self) -> None:
        super().__init__(check_every_step=True)
        self.on_the_way: list[Outbox] = []
        self.holding = False
        self.frames: list[list[bytes]] = [[]]

    def step(self, kind: str, fields: Any) -> None:
        """Apply one step."""
        if kind == "hold":
            self.holding = True
        elif kind == "release":
            self.holding = False
            self._forward(self.risk[0].outbox)
        else:
            super().step(kind, fields)

    def _forward(self, outbox: Outbox) -> None:
        if not self.holding:
            super()._forward(outbox)

    def restored(self) -> SlowDesk:
        """A desk whose engines were restored from this one's snapshots; what is on its way is on its way there too."""
        other = SlowDesk()
        other.offsets, other.outcomes, other.holding = dict(self.offsets), list(self.outcomes), self.holding
        for new, old in ((other.risk[0], self.risk[0]), (other.match[0], self.match[0])):
            new.restore(old.snapshot())
            assert new.snapshot() == old.snapshot()
        other.risk[0].outbox.forward[0] = list(self.risk[0].outbox.forward[0])
        return other

    def hash(self) -> tuple[int, int]:
        """The checksums of both engines' states; ends the batch of matching first."""
        self.match[0].flush()
        self._collect(self.match[0].outbox)
        return crc32(self.risk[0].snapshot()), crc32(self.match[0].snapshot())


def comparable(records: list[Record]) -> list[Record]:
    """What the reference gives too: of dead letters position, reason and time only."""
    result = []
    for topic, r in records:
        if topic == "dead-letter":
            result.append((topic, {k: r[k] for k in ("eventId", "reason", "timestamp")}))
        else:
            result.append((topic, r))
    return result


def by_topic(records: list[Record]) -> dict[str, list[dict[str, Any]]]:
    """Records in their order within each topic."""
    result: dict[str, list[dict[str, Any]]] = {}
    for topic, record in records:
        result.setdefault(topic, []).append(record)
    return result


def differences(got: dict[str, list[dict[str, Any]]], want: dict[str, list[dict[str, Any]]]) -> str:
    """The records that only one side gives, and the fields in which the first pair of the same identity differs."""
    lines = []
    for topic in sorted(set(got) | set(want)):
        ours, theirs = got.get(topic, []), want.get(topic, [])
        for record in [r for r in ours if r not in theirs][:3]:
            twin = next((r for r in theirs if r["eventId"] == record["eventId"]), None)
            if twin is None:
                lines.append(f"  only the engine: {topic} {record}")
            else:
                fields = {k: (v, twin.get(k)) for k, v in record.items() if v != twin.get(k)}
                lines.append(f"  {topic} {record['eventId']} (engine, reference): {fields}")
        names = {r["eventId"] for r in ours}
        lines += [f"  only the reference: {topic} {r}" for r in theirs if r["eventId"] not in names][:3]
    return "\n".join(lines) or "  the same records in another order"


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
    for line in reference.unsettled_fills():
        order = line["order"]
        sign = 1 if order["side"] == "BUY" else -1
        cash -= sign * line["quantity"] * line["price"] + line["charged"]
        shares[order["symbol"]] = shares.get(order["symbol"], 0) + sign * line["quantity"]
    market = reference.market
    assert cash + market.fees + market.street_cash == opening_cash
    for symbol, quantity in opening_shares.items():
        assert shares.get(symbol, 0) + market.street_shares.get(symbol, 0) == quantity


def check_orders(records: list[Record]) -> None:
    """Filled, open and ended shares of every order are its quantity in each of its events."""
    for topic, r in records:
        if topic == "order-events" and r["eventType"] not in ("CANCEL_REJECTED", "REPLACE_REJECTED"):
            ended = r["status"] in ("CANCELLED", "EXPIRED", "REJECTED")
            assert r["leavesQuantity"] == 0 if ended else r["cumQuantity"] + r["leavesQuantity"] == r["quantity"], r
            assert 0 <= r["cumQuantity"] <= max(r["quantity"], 0) or r["reason"] == "REPLACE_FILLED", r


def check_accounts(desk: Desk, reference: ReferenceEngine, label: str) -> None:
    """Money, shares and reservations of every account are those of the reference."""
    for account_id, account in desk.risk[0].book.accounts.items():
        known = reference.risk.accounts[account_id]
        assert account.cash_e4 == known["money"], f"{label}: cash of {account_id}"
        assert account.reserved_e4 == reference.risk.reserved(account_id), f"{label}: reserved by {account_id}"
        held = {s: p.quantity for s, p in account.positions.items() if p.quantity}
        assert held == {s: q for s, q in known["shares"].items() if q}, f"{label}: shares of {account_id}"


def compare(seed: int, steps: int, restore_at: int = -1) -> ReferenceEngine:
    """Run both engines over a stream and compare after every step; returns the reference, for what it has seen.

    restore_at: from this step on a second desk, restored from snapshots of the first, takes the same steps and has to
    give the same records, and the same state every HASH_EVERY steps.
    """
    desk, twin = SlowDesk(), None
    reference = ReferenceEngine()
    opening_cash = 0
    opening_shares: dict[str, int] = {}
    done = told = twin_done = 0
    for number, (kind, fields) in enumerate(Stream(seed, in_flight=True).steps(steps)):
        label = f"seed {seed} step {number}"
        if (
            kind == "reference"
            and fields["kind"] == "ACCOUNT"
            and fields["account"]["accountId"] not in reference.risk.accounts
        ):
            opening_cash += fields["account"]["cash"]
            for position in fields["account"]["positions"]:
                symbol = position["symbol"]
                opening_shares[symbol] = opening_shares.get(symbol, 0) + position["quantity"]
        if number == restore_at:
            desk.hash()
            reference.flush()
            twin = desk.restored()
        try:
            desk.step(kind, fields)
        except Exception as error:
            raise AssertionError(f"{label}: {kind} {fields}: the engine raised {error!r}") from error
        reference.step(kind, fields)
        fresh = desk.records[done:]
        got, want = by_topic(comparable(fresh)), by_topic(reference.records[told:])
        assert got == want, f"{label}: {kind} {fields}\n{differences(got, want)}"
        done, told = len(desk.records), len(reference.records)
        check_orders(fresh)
        for record in [r for topic, r in fresh if topic == "risk-events"]:
            opening_cash += record["cashChange"] or 0
            if record["quantity"] is not None:
                symbol = record["symbol"]
                opening_shares[symbol] = opening_shares.get(symbol, 0) + record["quantity"]
        check_conservation(desk, reference, opening_cash, opening_shares)
        if number % HASH_EVERY == 0 or kind == "settle":
            check_accounts(desk, reference, label)
        if twin is not None:
            twin.step(kind, fields)
            assert twin.records[twin_done:] == fresh, f"{label}: the restored engine gives other records"
            twin_done = len(twin.records)
            if number % HASH_EVERY == 0:
                reference.flush()
                assert twin.hash() == desk.hash(), f"{label}: the restored engine has another state"
    for account_id, account in desk.risk[0].book.accounts.items():
        assert account.reserved_e4 == 0, f"seed {seed}: all orders are done, {account_id} still reserves"
    return reference


def run_seed(seed: int, steps: int) -> int:
    """One stream, restored at a random step; returns how many records were equal."""
    stream_steps = len(Stream(seed, in_flight=True).steps(steps))
    return len(compare(seed, steps, Random(seed).randrange(stream_steps)).records)


def test_stages_random_steps_equal_reference(compiled: bool) -> None:
    for seed in range(SEEDS_COMPILED if compiled else SEEDS_INTERPRETED):
        run_seed(seed, STEPS)


def test_stages_many_streams_on_demand(pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]) -> None:
    seeds = pytestconfig.getoption("--trading-seeds")
    if not seeds:
        pytest.skip("--trading-seeds N compares N streams of 1,000 steps")
    begin, records = time.monotonic(), 0
    with ProcessPoolExecutor(pytestconfig.getoption("--trading-workers")) as pool:
        for number, found in enumerate(pool.map(run_seed, range(seeds), [LONG] * seeds, chunksize=5), 1):
            records += found
            if number % 100 == 0:
                with capsys.disabled():
                    passed = time.monotonic() - begin
                    print(f"{number} of {seeds} streams, {records} records equal, {passed:.0f} s", flush=True)


TYPES = {"STATUS", "CANCEL_REJECTED", "REPLACE_REJECTED", "TRIGGERED", "RESTATED"}
STATUSES = {
    "VALIDATED",
    "RISK_APPROVED",
    "ROUTED",
    "PARTIALLY_FILLED",
    "EXECUTED",
    "REPLACED",
    "CANCELLED",
    "EXPIRED",
    "REJECTED",
}
NOT_IN_STREAMS = {
    "CANCEL_CLOSE_OUT": "a cash account does not sell short",
    "CANCEL_FORCED_REDUCTION": "margin",
    "EXPIRY_AUCTION": "contracts",
    "EXPIRY_INSTRUMENT": "contracts",
    "MATCH_SHORT_SALE_PRICE": "a cash account does not sell short",
    "RISK_ACCOUNT_FROZEN": "margin",
    "RISK_CLOSE_OUT": "a cash account does not sell short",
    "RISK_DAY_TRADING": "margin",
    "RISK_INITIAL_MARGIN": "margin",
    "RISK_INTRADAY_MARGIN": "margin",
    "RISK_LOCATE_REQUIRED": "a cash account does not sell short",
    "RISK_MINIMUM_EQUITY": "margin",
    "VALIDATION_INSTRUMENT_EXPIRED": "contracts",
    "VALIDATION_SHORT_MARKING": "a cash account does not sell short",
}
SITUATIONS = {
    "CASH_DIVIDEND leaves an order CHANGED",
    "CASH_DIVIDEND leaves an order KEPT",
    "SPLIT leaves an order CHANGED",
    "SPLIT leaves an order ENDED",
    "SPLIT leaves an order KEPT",
    "STOCK_DIVIDEND leaves an order CHANGED",
    "breaker level 1",
    "breaker level 2",
    "breaker level 3",
    "cash in lieu of a fraction",
    "cash moved by DEPOSIT",
    "cash moved by WITHDRAWAL",
    "close of after the split",
    "closing auction",
    "corporate action in a session that passed unnoticed",
    "fill of before a split heard of after it",
    "fill-or-kill scan met its own order",
    "forward split",
    "imbalance-only order filled",
    "imbalance-only order moved to the best price",
    "impossible or late corporate action",
    "kill switch met an order on its way",
    "limit far beyond the national best",
    "market order out of its auction",
    "odd lot",
    "odd lots put together",
    "odd lots that are not shown",
    "opening auction",
    "order of after an action that came before it",
    "order of before a corporate action",
    "pause ended",
    "pause in a straddle state",
    "pause refused",
    "place kept",
    "place lost",
    "queued order acts",
    "quote of before a split",
    "reference data took effect later",
    "reopening auction",
    "replacement far beyond the national best",
    "replacement met a corporate action",
    "replacement of a queued order",
    "replacement of before",
    "reverse split",
    "self-trade DECREMENT",
    "self-trade EXPIRE_BOTH",
    "self-trade EXPIRE_MAKER",
    "self-trade EXPIRE_TAKER",
    "sale that a split made cost more than it brings",
    "session begun by an outcome",
    "session opened by an order",
    "several replacements on their way",
    "several stops at once",
    "short sales restricted",
    "stop replaced, place kept",
    "stop replaced, place lost",
    "stop triggered by a triggered stop",
    "stop triggered on arrival",
    "straddle state",
}
"""Rare meetings of rules, which the sample has to hold; also: an auction beyond its range, a pause that is extended."""


def test_streams_reach_every_event_status_reason_and_rare_situation() -> None:
    found: dict[str, set[str]] = {}
    situations: set[str] = set()
    for seed in range(SEEDS_COVERAGE):
        reference = ReferenceEngine()
        for kind, fields in Stream(seed, in_flight=True).steps(STEPS):
            reference.step(kind, fields)
        situations |= reference.market.seen | reference.risk.seen
        for topic, record in reference.records:
            for name in ("eventType", "status", "reason", "action", "liquidity", "state", "cause", "type"):
                if name in record:
                    found.setdefault(f"{topic} {name}", set()).add(record[name])
    assert found["order-events eventType"] == TYPES
    assert found["order-events status"] == STATUSES
    missing = [
        reason.name
        for reason in REASONS
        if reason.name not in found["order-events reason"] | set(NOT_REACHABLE) | set(NOT_IN_STREAMS)
    ]
    assert not missing
    assert found["routing-decisions action"] == {"EXECUTE_INTERNAL", "ROUTE_AWAY", "POST", "QUEUE_AUCTION", "HOLD_STOP"}
    assert found["trade-events liquidity"] == {"ADDED", "REMOVED", "ROUTED", "AUCTION"}
    assert found["market-status state"] == {"PRE_OPEN", "OPEN", "LIMIT_STATE", "PAUSED", "HALTED", "CLOSED"}
    assert found["market-status cause"] >= {
        "SESSION",
        "PRICE_BAND",
        "CIRCUIT_BREAKER",
        "CONTROL",
        "AUCTION",
        "SHORT_SALE",
    }
    assert found["risk-events type"] == {"ORDER_REJECTED", "CONTROL_APPLIED", "CONTROL_REJECTED", "SPLIT"}
    assert situations >= SITUATIONS, SITUATIONS - situations


def test_streams_same_seed_same_steps() -> None:
    assert Stream(3).steps(200) == Stream(3).steps(200) != Stream(4).steps(200)
