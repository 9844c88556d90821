"""The risk stage restored from a snapshot at any step goes on as if nothing had happened; versions 1 and 3
restore too.

Random steps of everything that the stage knows: cash and margin accounts, stocks, options and a future, replacements, controls,
fills, prices, settlement prices, sessions that end and contracts that expire. A failure prints its seed.
"""

from __future__ import annotations

import base64
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trading_harness as h
from test_margin_reference import contract

from schemas.messages import order_events, order_outcomes, risk_events
from schemas.messages.enums import COMMAND_TYPE_CANCEL, COMMAND_TYPE_NEW
from schemas.messages.order_outcomes import OrderOutcome, OrderOutcomes
from udfs.domain import sources
from udfs.domain.frames import decode_frame
from udfs.domain.margin_state import Deficit
from udfs.domain.risk_shard import RiskShard
from udfs.domain.risk_state import RISK_VERSION
from udfs.domain.state_codec import StateError

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
V1 = GOLDEN / "risk_state_v1.txt"
V3 = GOLDEN / "risk_state_v3.txt"
V3_SEED = 35
V3_STEPS = 159
"""The stream that the release before deposits had seen when it wrote V3. Of its orders some said do not reduce."""
DAY = 86_400 * h.SECOND
ACCOUNTS = ("CASH", "MARGIN", "BLOCK", "LEGACY")
STOCKS = ("IBM", "LOW")
EXPIRY = h.OPEN + 3 * DAY + 3_600 * h.SECOND
NEW_RULE = 1_112
"""Days after OPEN, in November 2026: flags of accounts choose the intraday rule, which they do not in 2023."""


class Feed:
    """Random inputs of a risk shard as (source, payload), with matching played by chance."""

    kinds: tuple[str, ...] = (
        "KILL",
        "REDUCE",
        "RESTRICT",
        "UNRESTRICT",
        "UNRESTRICT",
        "LIMIT_CHANGE",
        "LOCATE",
        "LOCATE",
        "UNFREEZE",
        "DEPOSIT",
        "DEPOSIT",
        "WITHDRAWAL",
    )
    values: tuple[int | None, ...] = (None, 100, 5_000, 10**7, 10**8)

    def __init__(self, seed: int, later_days: int = 0) -> None:
        self.rnd = Random(seed)
        self.open = h.OPEN + later_days * DAY
        self.close = h.CLOSE + later_days * DAY
        self.expiry = EXPIRY + later_days * DAY
        self.now = self.open
        self.count = 0
        self.sequence = 0
        self.settlements = 1
        self.working: dict[tuple[str, str], list[int]] = {}
        self.terms: dict[tuple[str, str], Any] = {}

    def opening(self) -> list[tuple[int, bytes]]:
        """Reference data."""
        steps = [h.instrument(s, priorClose=100_0000, easyToBorrow=s == "LOW", sector="tech") for s in STOCKS]
        for name, right, strike in (("C100", "CALL", 100_0000), ("C105", "CALL", 105_0000), ("P95", "PUT", 95_0000)):
            terms = contract("IBM", 100, self.expiry, right, strike, False)
            steps.append(h.instrument(name, assetClass="OPTION", priorClose=3_0000, contract=terms))
        steps.append(self.future(500_0000))
        limits = {"maxOrdersPerSecond": 2, "duplicateWindowMs": 400, "maxOpenOrders": 12, "maxConcentration": 40_000}
        rules = {"MARGIN": "INTRADAY_MARGIN", "BLOCK": "BLOCK", "LEGACY": "LEGACY_DAY_TRADER"}
        for name in ACCOUNTS:
            extra: dict[str, Any] = {} if name == "CASH" else {"accountType": "MARGIN", "intradayRule": rules[name]}
            positions = {"IBM": 200} if name == "CASH" else {"FUT": 1, "IBM": 300}
            steps.append(
                h.account(
                    name,
                    60_000_0000 if name != "MARGIN" else 9_000_0000,
                    positions,
                    commission=50,
                    **(limits if name == "CASH" else {}),
                    **extra,
                )
            )
        for day in range(9):
            steps.append(h.session(f"day-{day}", self.open + day * DAY, self.close + day * DAY))
        return [h.encode_step(*step) for step in [*steps, h.snapshot_end()]]

    def future(self, price: int) -> h.Step:
        """The future with a settlement price."""
        self.settlements += 1
        terms = {**contract("IBM", 50, self.expiry, "NONE", 0, False, 900_0000)}
        terms |= {"settlementPrice": price, "settlementTime": self.settlements}
        return h.instrument("FUT", assetClass="FUTURE", contract=terms)

    def step(self) -> tuple[int, bytes]:
        """One input."""
        rnd = self.rnd
        self.now += rnd.choice((0, 1_000, h.SECOND, 30 * h.SECOND))
        if rnd.random() < 0.02:
            self.now += rnd.choice((3_600 * h.SECOND, DAY // 4, DAY // 2))
        day = (self.now - self.open) // DAY
        if self.now >= self.close + day * DAY and rnd.random() < 0.5:
            self.now = self.open + (day + 1) * DAY
        roll = rnd.random()
        if roll < 0.3:
            return h.encode_step(*self.order())
        if roll < 0.36 and self.terms:
            return h.encode_step(*self.replace())
        if roll < 0.6 and self.working:
            return self.outcome()
        if roll < 0.8:
            return h.encode_step(*self.quote())
        if roll < 0.88:
            return h.encode_step("clock", self.now)
        if roll < 0.9:
            return h.encode_step(*self.future(rnd.randint(450_0000, 550_0000)))
        if roll < 0.93:
            later = h.instrument("LOW", tick=rnd.choice((100, 500)), priorClose=100_0000, easyToBorrow=True)
            later[1]["effectiveFrom"] = self.now + rnd.choice((0, DAY // 3))
            later[1]["timestamp"] = self.now
            return h.encode_step(*later)
        return h.encode_step(*self.control())

    def order(self) -> h.Step:
        rnd = self.rnd
        self.count += 1
        symbol = rnd.choice((*STOCKS, *STOCKS, "C100", "C105", "P95", "FUT"))
        size = rnd.choice((10, 100, 200)) if symbol in STOCKS else rnd.choice((1, 2, 3))
        base = {"FUT": 500_0000}.get(symbol, 100_0000 if symbol in STOCKS else 3_0000)
        price = None if rnd.random() < 0.2 else (base + rnd.randint(-2_0000, 2_0000)) // 500 * 500
        extra: dict[str, Any] = {"locateId": "desk"} if rnd.random() < 0.5 else {}
        if rnd.random() < 0.1:
            extra |= {"orderType": "STOP" if price is None else "STOP_LIMIT", "stopPrice": base}
        side = rnd.choice(("BUY", "BUY", "SELL", "SELL", "SELL_SHORT" if symbol in STOCKS else "SELL"))
        tif = rnd.choice(("DAY", "DAY", "GTC", "IOC"))
        step = h.order(f"o{self.count}", rnd.choice(ACCOUNTS), symbol, side, size, price, tif, self.now, **extra)
        self.terms[(step[1]["accountId"], step[1]["orderId"])] = step[1]
        return step

    def replace(self) -> h.Step:
        rnd = self.rnd
        key = rnd.choice(list(self.terms)[-30:])
        terms = {**self.terms[key], "command": rnd.choice(("REPLACE", "REPLACE", "CANCEL")), "timestamp": self.now}
        terms["quantity"] = max(1, terms["quantity"] + rnd.choice((-50, -1, 0, 1, 100)))
        if terms["price"]:
            terms["price"] += rnd.choice((-5_000, 0, 5_000))
        return "order", terms

    def quote(self) -> h.Step:
        rnd = self.rnd
        self.sequence += 1
        symbol = rnd.choice((*STOCKS, "C100", "C105", "P95", "FUT"))
        base = {"FUT": 500_0000}.get(symbol, 100_0000 if symbol in STOCKS else 3_0000)
        bid = max(100, base * rnd.randint(70, 130) // 100 // 100 * 100)
        venues = [("XNYS", None if rnd.random() < 0.05 else bid, 100, bid + rnd.choice((100, 1_000)), 100)]
        return h.quote(symbol, self.sequence, venues, self.now)

    def control(self) -> h.Step:
        rnd = self.rnd
        kind = rnd.choice((*self.kinds, *["RESUME"] * 12))
        symbol = rnd.choice(STOCKS)
        fields: dict[str, Any] = {
            "controlId": f"c{rnd.randint(1, 400)}",
            "kind": kind,
            "scope": rnd.choice(("ALL", "ALL", "ACCOUNT", "ACCOUNT", "SYMBOL", "SYMBOL")),
            "target": None,
            "value": rnd.choice(self.values),
            "issuedBy": "operator",
            "reason": "test",
            "timestamp": self.now,
            "symbol": symbol,
            "limit": rnd.choice((None, "ORDER_RATE", "POSITION", "CONCENTRATION", "FIRM_CAPITAL", "DAILY_NOTIONAL")),
        }
        if fields["scope"] != "ALL":
            fields["target"] = rnd.choice(ACCOUNTS) if fields["scope"] == "ACCOUNT" else symbol
        return "control", fields

    def forwarded(self, frames: list[bytes]) -> None:
        """Take what the shard approved."""
        for data in frames:
            frame = decode_frame(data)
            key = (frame.account_id, frame.order_id)
            if frame.command == COMMAND_TYPE_NEW:
                self.working[key] = [frame.quantity, 0, frame.worst_price, frame.side, frame.commission_e4, 0, 0]
            elif key in self.working:
                if frame.command == COMMAND_TYPE_CANCEL:
                    self.working[key][6] = 1
                else:
                    self.working[key][5] += 1
                    self.working[key][0] = frame.quantity
                    self.working[key][2] = frame.worst_price

    def outcome(self) -> tuple[int, bytes]:
        """What matching may have done to one order: replacements answered, some of it filled, perhaps its end."""
        rnd = self.rnd
        key = rnd.choice(list(self.working))
        total, done, worst, side, commission, replaces, cancelled = self.working[key]
        left = total - done
        fill = rnd.randint(0, left) if left > 0 else 0
        end = bool(cancelled) or left <= fill or rnd.random() < 0.2
        line = OrderOutcome(*key, "X", side, fill, fill * worst, fill * commission, 0 if end else left - fill, end)
        if replaces:
            line.quantity = total
            line.replaces_applied = replaces
            self.working[key][5] = 0
        self.working[key][1] = done + fill
        if end:
            del self.working[key]
        value = order_outcomes.encode(OrderOutcomes(0, [line], self.now), h.SCHEMA_IDS["order-outcomes"])
        return sources.OUTCOMES, value


def taken(shard: RiskShard) -> tuple[list[bytes], list[Any]]:
    """What the shard has written: frames, and everything."""
    frames = shard.outbox.forward[0]
    lanes = [(lane.topic, lane.keys, lane.values) for lane in shard.outbox.lanes()]
    shard.outbox.clear()
    return frames, [frames, lanes]


def test_risk_stage_restored_at_any_step_goes_on_the_same() -> None:
    kinds: set[str] = set()
    reasons: set[str] = set()
    for seed in range(30):
        feed = Feed(seed, seed % 2 * NEW_RULE)
        shard = RiskShard(0, 1, h.SCHEMA_IDS)
        copy = RiskShard(0, 1, h.SCHEMA_IDS)
        inputs = feed.opening()
        restart_at = {feed.rnd.randint(0, 20 + 400) for _ in range(6)}
        for number in range(420):
            source, payload = inputs[number] if number < len(inputs) else feed.step()
            if number in restart_at:
                restored = RiskShard(0, 1, h.SCHEMA_IDS)
                restored.restore(copy.snapshot())
                copy = restored
            shard.apply(source, payload, 0, number, 1)
            copy.apply(source, payload, 0, number, 1)
            frames, written = taken(shard)
            assert taken(copy)[1] == written, f"seed {seed} step {number}"
            feed.forwarded(frames)
            shard.check_invariants()
            kinds |= {risk_events.to_dict(risk_events.decode(v))["type"] for v in written[1][2][2]}
            reasons |= {order_events.to_dict(order_events.decode(v))["reason"] for v in written[1][0][2]}
        assert shard.snapshot() == copy.snapshot(), f"seed {seed}"
    # The streams have to reach most of what the stage can do, else this test says little.
    assert {
        "MARGIN_CALL",
        "MARGIN_CALL_MET",
        "MARGIN_CALL_PART_MET",
        "INTRADAY_DEFICIT",
        "DAILY_SETTLEMENT",
        "EXPIRATION",
        "CONTROL_APPLIED",
        "CONTROL_REJECTED",
    } <= kinds
    assert {"RISK_INITIAL_MARGIN", "RISK_KILL_SWITCH", "RISK_ORDER_RATE", "VALIDATION_SHORT_MARKING"} <= reasons


def test_snapshot_of_version_1_restores_and_its_orders_go_on() -> None:
    shard = RiskShard(0, 1, h.SCHEMA_IDS)
    shard.restore(base64.b64decode("".join(V1.read_text(encoding="ascii").split())))
    shard.check_invariants()
    book = shard.book
    assert book.accounts and book.open
    for order in list(book.open.values()):
        account = order.account
        before = (account.cash_e4, account.reserved_e4, order.position.quantity)
        quantity = order.remaining
        price = order.unit_e4 if order.is_buy else 1_0000
        line = OrderOutcome(account.account_id, order.order_id, "X", order.side, quantity, quantity * price, 0, 0, True)
        value = order_outcomes.encode(OrderOutcomes(0, [line], h.OPEN), h.SCHEMA_IDS["order-outcomes"])
        shard.apply(sources.OUTCOMES, value, 0, 0, 0)
        sign = 1 if order.is_buy else -1
        assert account.cash_e4 == before[0] - sign * quantity * price
        assert order.position.quantity == before[2] + sign * quantity
        shard.check_invariants()
    assert all(account.reserved_e4 == 0 for account in book.accounts.values())
    again = RiskShard(0, 1, h.SCHEMA_IDS)
    again.restore(shard.snapshot())
    assert again.snapshot() == shard.snapshot()


def test_snapshot_of_version_1_knows_the_ids_and_refuses_replacements_of_its_orders() -> None:
    shard = RiskShard(0, 1, h.SCHEMA_IDS)
    shard.restore(base64.b64decode("".join(V1.read_text(encoding="ascii").split())))
    order = next(iter(shard.book.open.values()))
    side, now = ("BUY" if order.is_buy else "SELL"), shard.clock.now_ns
    for command in ("REPLACE", "NEW"):
        step = h.order(
            order.order_id,
            order.account.account_id,
            order.position.symbol,
            side,
            1,
            1_0000,
            timestamp=now,
            command=command,
        )
        shard.apply(*h.encode_step(*step), 0, 1, 0)
    (event,) = [order_events.to_dict(order_events.decode(v)) for v in shard.outbox.order_events.values]
    assert event["reason"] == "REPLACE_NOT_ALLOWED"
    assert len(shard.outbox.dead_letter.values) == 1
    shard.check_invariants()


def holdings(shard: RiskShard) -> list[Any]:
    """Accounts and open orders with all that money hangs on."""
    accounts = [
        (
            account.account_id,
            account.cash_e4,
            account.reserved_e4,
            account.reserved_upkeep_e4,
            account.open_orders,
            account.day_notional_e4,
            [(p.symbol, p.quantity, p.open_buys, p.open_sells, p.open_shorts) for p in account.positions.values()],
        )
        for account in shard.book.accounts.values()
    ]
    orders = [
        (key, o.side, o.remaining, o.filled, o.total, o.price_e4, o.stop_price_e4, o.unit_e4, o.value_e4, o.held_e4)
        for key, o in shard.book.open.items()
    ]
    return [accounts, orders, shard.clock.now_ns, shard.stats()]


def release_fees(shard: RiskShard) -> None:
    """Let go of what open sales reserve for regulatory fees: the release that wrote version 3 charged none."""
    for order in shard.book.open.values():
        if order.is_buy or not order.position.instrument.pays_fees():
            continue
        for terms in (order, *(order.pending or [])):
            plain = order.account.commission_e4
            terms.unit_e4 = plain if order.account.margin is not None else max(0, plain - terms.worst_e4)
        shard.book.hold(order)


def call_deficits(shard: RiskShard, older: RiskShard) -> None:
    """Call the intraday deficits that the release of version 3 called: it did so in 2023 too, before the rule was there."""
    called = 0
    for account in older.book.margin_accounts:
        own = shard.book.accounts[account.account_id]
        if account.margin is None or own.margin is None:
            continue
        called += len(account.margin.deficits)
        own.margin.deficits = [Deficit(d.amount_e4, d.due_ns) for d in account.margin.deficits]
        own.notices = account.notices
    assert called == 1


def test_snapshot_of_version_3_goes_on_as_the_run_that_it_was_taken_from() -> None:
    feed = Feed(V3_SEED)
    feed.kinds, feed.values = Feed.kinds[:9], (None, 100, 5_000, 10**12)
    shard = RiskShard(0, 1, h.SCHEMA_IDS)
    inputs = feed.opening()
    for number in range(V3_STEPS):
        shard.apply(*(inputs[number] if number < len(inputs) else feed.step()), 0, number, 1)
        feed.forwarded(taken(shard)[0])
    release_fees(shard)
    restored = RiskShard(0, 1, h.SCHEMA_IDS)
    restored.restore(base64.b64decode("".join(V3.read_text(encoding="ascii").split())))
    restored.check_invariants()
    call_deficits(shard, restored)
    assert len(restored.book.open) == 12
    assert holdings(restored) == holdings(shard)
    # From here on cash moves too, which that release did not know.
    feed.kinds, feed.values = Feed.kinds, Feed.values
    kinds: set[str] = set()
    for number in range(V3_STEPS, V3_STEPS + 400):
        source, payload = feed.step()
        for engine in (shard, restored):
            engine.apply(source, payload, 0, number, 1)
        frames, written = taken(shard)
        assert taken(restored)[1] == written, f"step {number}"
        feed.forwarded(frames)
        restored.check_invariants()
        kinds |= {risk_events.to_dict(risk_events.decode(v))["type"] for v in written[1][2][2]}
    assert holdings(restored) == holdings(shard)
    assert {"CONTROL_APPLIED", "ORDER_REJECTED"} <= kinds
    again = RiskShard(0, 1, h.SCHEMA_IDS)
    again.restore(restored.snapshot())
    assert again.snapshot() == restored.snapshot()


@pytest.mark.parametrize("version", [0, RISK_VERSION + 1])
def test_snapshot_of_another_version_is_refused(version: int) -> None:
    data = RiskShard(0, 1, h.SCHEMA_IDS).snapshot()
    with pytest.raises(StateError, match=f"version {version}"):
        RiskShard(0, 1, h.SCHEMA_IDS).restore(bytes([version]) + data[1:])
