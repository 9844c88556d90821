"""The small parts of the risk stage: day trades, order rate, sessions, what waits for its time, what is held at the start."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from schemas.messages.enums import LIMIT_KIND_ORDER_RATE
from schemas.messages.orders import OrderCommand
from udfs.domain.day_trading import begin_day, is_pattern, record_fill
from udfs.domain.holdings import AccountState, Position
from udfs.domain.instruments import InstrumentState
from udfs.domain.limits import FIRST_LIMIT, SECOND_NS, check_rate, count_order, set_limit
from udfs.domain.margin_rules import DAY_TRADER_TERMS
from udfs.domain.margin_state import MarginState
from udfs.domain.sessions import SessionTable, SessionTimes

DAY = 86_400 * SECOND_NS


def order_at(time_ns: int) -> OrderCommand:
    """An order sent at a time."""
    return OrderCommand(0, "o", "A", "IBM", 0, 1, 0, 1, 10_000, None, 0, None, time_ns)


def trade(margin: MarginState, position: Position, *changes: int) -> int:
    """Fill one order after the other; returns the day trades so far."""
    for change in changes:
        before = position.quantity
        position.quantity += change
        record_fill(margin, position, before, change, True)
    return margin.today.day_trades


@pytest.mark.parametrize(
    ("held", "changes", "day_trades"),
    [
        (0, (100, -100), 1),
        (0, (-100, 100), 1),
        (0, (100, -50, -50), 1),
        (0, (100, 100, -200), 1),
        (0, (100, -50, 50, -100), 2),
        (0, (100, -100, 100, -100), 2),
        # What was there before the session is no day trade.
        (100, (-100,), 0),
        (100, (50, -100), 1),
        (100, (-100, 100), 0),
        # Turning over closes and opens.
        (0, (100, -150, 50), 2),
    ],
)
def test_day_trades_are_changes_of_direction(held: int, changes: tuple[int, ...], day_trades: int) -> None:
    position = Position(InstrumentState("IBM", 0))
    position.quantity = held
    margin = MarginState()
    assert trade(margin, position, *changes) == day_trades
    assert margin.today.trades == len(changes)
    assert 0 <= position.opened_today <= abs(position.quantity)


def test_day_trades_of_futures_do_not_count() -> None:
    future = InstrumentState("ES", 0)
    future.is_future = True
    assert trade(MarginState(), Position(future), 1, -1) == 0


def test_pattern_day_trader_needs_four_day_trades_in_five_sessions_and_more_than_six_percent() -> None:
    terms = DAY_TRADER_TERMS[0]
    margin = MarginState()
    position = Position(InstrumentState("IBM", 0))
    trade(margin, position, 100, -100, 100, -100, 100, -100)
    assert not is_pattern(margin, terms)
    for session in range(5):
        begin_day(margin, [position], 8)
        if session == 3:
            trade(margin, position, 100, -100)
            # The first session is the fifth back: four in five.
            assert is_pattern(margin, terms)
    # One session later the three of the first are out of the window.
    assert not is_pattern(margin, terms)
    begin_day(margin, [position], 8)
    trade(margin, position, 100, -100, 100, -100, 100, -100, 100, -100)
    margin.today.trades = 83
    assert not is_pattern(margin, terms)
    margin.today.trades = 81
    assert is_pattern(margin, terms)


def test_order_rate_is_that_of_any_second_of_order_time() -> None:
    for seed in range(50):
        rnd = Random(seed)
        account = AccountState("A", 0)
        limit = rnd.randint(1, 4)
        set_limit(account, LIMIT_KIND_ORDER_RATE - FIRST_LIMIT, limit)
        taken: list[int] = []
        now = 10 * SECOND_NS
        for _ in range(60):
            now += rnd.choice((0, SECOND_NS // 4, SECOND_NS // 2, SECOND_NS))
            if rnd.random() < 0.05:
                limit = rnd.randint(1, 4)
                set_limit(account, LIMIT_KIND_ORDER_RATE - FIRST_LIMIT, limit)
                taken = taken[-limit:]
            refused = check_rate(order_at(now), account) is not None
            assert refused == (len([at for at in taken if at > now - SECOND_NS]) >= limit), f"seed {seed}"
            if not refused:
                count_order(order_at(now), account)
                taken.append(now)
    set_limit(account, LIMIT_KIND_ORDER_RATE - FIRST_LIMIT, 0)
    assert check_rate(order_at(now + DAY), account) is not None


def test_sessions_take_orders_from_the_pre_open_and_count_closes() -> None:
    table = SessionTable()
    for number in range(4):
        start = number * DAY
        table.put(SessionTimes(f"d{number}", start + 100, start + 200, start + 50))
    found = [table.taking_at(time) for time in (49, 50, 99, 100, 199, 200, DAY + 50)]
    assert [None if s is None else s.date for s in found] == [None, "d0", "d0", "d0", "d0", None, "d1"]
    assert [None if s is None else s.date for s in map(table.at, (50, 99, 100, 199, 200))] == [
        None,
        None,
        "d0",
        "d0",
        None,
    ]
    assert [table.next_entry_after(t) for t in (0, 50, 3 * DAY + 50)] == [50, DAY + 50, -1]
    assert [table.next_close_after(t) for t in (0, 200, 3 * DAY + 200)] == [200, DAY + 200, -1]
    # In the session and after its close the third session after it is the same one.
    assert [table.close_of_session(t, 3) for t in (100, 200, 300)] == [3 * DAY + 200] * 3
    assert table.close_of_session(DAY + 100, 3) == 4 * DAY + 200
    assert SessionTable().close_of_session(7, 3) == 7 + 3 * DAY


class Shard:
    """A risk shard with a session and two symbols, driven by the steps of the harness."""

    def __init__(self, harness: Any, *steps: Any, end: bool = True) -> None:
        from udfs.domain.risk_shard import RiskShard

        self.h = harness
        self.shard = RiskShard(0, 1, harness.SCHEMA_IDS)
        self.offset = 0
        self.run(
            *steps, harness.instrument("IBM", priorClose=100_0000), harness.session("d", harness.OPEN, harness.CLOSE)
        )
        if end:
            self.run(harness.snapshot_end())

    def run(self, *steps: Any) -> list[dict[str, Any]]:
        """Apply steps; returns the risk events that they caused."""
        from schemas.messages import risk_events

        self.shard.outbox.clear()
        for step in steps:
            self.offset += 1
            self.shard.apply(*self.h.encode_step(*step), 0, self.offset, 0)
            self.shard.check_invariants()
        return [risk_events.to_dict(risk_events.decode(value)) for value in self.shard.outbox.risk_events.values]


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The harness of the property tests."""
    import sys
    from pathlib import Path

    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "property"))
    import trading_harness

    assert "trading_harness" in sys.modules
    return trading_harness


def control(kind: str, **fields: Any) -> tuple[str, dict[str, Any]]:
    """A control of the firm."""
    base = {
        "controlId": kind,
        "kind": kind,
        "scope": "ALL",
        "target": None,
        "value": None,
        "issuedBy": "op",
        "reason": "why",
    }
    return "control", {**base, "timestamp": 5, "symbol": None, "limit": None, **fields}


def test_controls_before_reference_data_wait_with_the_orders_in_their_order(harness: Any) -> None:
    shard = Shard(harness, harness.account("A"), end=False)
    orders = [harness.order(f"o{n}", "A", "IBM", "BUY", 1, 1_0000) for n in range(2)]
    assert shard.run(orders[0], control("KILL", scope="ACCOUNT", target="A"), orders[1]) == []
    events = shard.run(harness.snapshot_end())
    assert [(e["type"], e["reason"]) for e in events] == [
        ("CONTROL_APPLIED", "NONE"),
        ("ORDER_REJECTED", "RISK_KILL_SWITCH"),
    ]
    assert list(shard.shard.book.open) == ["A\no0"]


def test_control_is_audited_with_who_and_why_even_when_the_text_is_long(harness: Any) -> None:
    shard = Shard(harness, harness.account("A"))
    (event,) = shard.run(control("REDUCE", scope="ACCOUNT", target="A", reason="ž" * 500, issuedBy="risk officer"))
    assert (event["type"], event["issuedBy"], event["controlId"]) == ("CONTROL_APPLIED", "risk officer", "REDUCE")
    assert event["eventId"] == "controls-0-5-C-A"
    assert "reason=žžž" in event["detail"]


def test_control_of_another_shards_account_is_left_to_that_shard(harness: Any) -> None:
    from schemas.messages import controls
    from udfs.domain.risk_shard import RiskShard
    from udfs.domain.sharding import shard_of

    audits = []
    for number in range(4):
        shard = RiskShard(number, 4, harness.SCHEMA_IDS)
        if shard_of("A", 4) == number:
            shard.apply(*harness.encode_step(*harness.account("A")), 0, 0, 0)
        shard.apply(*harness.encode_step(*harness.snapshot_end()), 0, 0, 0)
        for step in (
            control("KILL", scope="ACCOUNT", target="A"),
            control("RESUME"),
            control("REDUCE", scope="UNKNOWN"),
        ):
            payload = controls.encode(controls.from_dict(step[1]), harness.SCHEMA_IDS["controls"])
            shard.apply(3, payload, 0, 1, 0)
        audits.append(len(shard.outbox.risk_events.values))
    expected = [0, 0, 0, 0]
    expected[shard_of("A", 4)] += 1
    expected[0] += 2
    assert audits == expected


def test_reference_data_takes_effect_in_the_order_of_its_times(harness: Any) -> None:
    shard = Shard(harness, harness.account("A"))
    shard.run(("clock", harness.OPEN))
    for hours, tick in ((2, 200), (1, 500), (3, 300)):
        step = harness.instrument("IBM", tick=tick)
        step[1]["effectiveFrom"] = harness.OPEN + hours * 3_600 * SECOND_NS
        shard.run(step)
    state = shard.shard.reference.instruments["IBM"]
    seen = [state.tick_e4]
    for hours in (1, 2, 3):
        shard.run(("clock", harness.OPEN + hours * 3_600 * SECOND_NS))
        seen.append(state.tick_e4)
    assert seen == [100, 500, 200, 300]
    assert shard.shard.reference.waiting == []


def test_locates_end_with_the_session_and_are_not_given_back_by_an_older_order(harness: Any) -> None:
    shard = Shard(harness, harness.account("A", accountType="MARGIN"))
    shard.run(harness.session("d2", harness.NEXT_OPEN, harness.NEXT_CLOSE), ("clock", harness.OPEN))
    shard.run(control("LOCATE", scope="ACCOUNT", target="A", symbol="IBM", value=100))
    shard.run(harness.order("o1", "A", "IBM", "SELL_SHORT", 60, 100_0000, "GTC", locateId="desk"))
    account = shard.shard.book.accounts["A"]
    assert account.locates == {"IBM": 40}
    shard.run(("clock", harness.NEXT_OPEN))
    assert account.locates == {}
    order = shard.shard.book.open["A\no1"]
    shard.shard.book.settle(order, 0, 0, 0, 0, True)
    assert account.locates == {}


def test_good_till_cancelled_order_of_long_ago_is_still_found(harness: Any) -> None:
    shard = Shard(harness, harness.account("A"))
    for day in range(1, 5):
        start = harness.OPEN + day * DAY
        shard.run(harness.session(f"d{day}", start, start + 100 * SECOND_NS))
    shard.run(("clock", harness.OPEN), harness.order("o1", "A", "IBM", "BUY", 10, 1_0000, "GTC"))
    later = harness.OPEN + 4 * DAY
    for day in range(1, 5):
        shard.run(("clock", harness.OPEN + day * DAY))
    assert shard.shard.desk.order_ids.find("A\no1") == -1
    again = harness.order("o1", "A", "IBM", "BUY", 10, 1_0000, "GTC")
    shard.run(again)
    assert len(shard.shard.outbox.dead_letter.values) == 1
    shard.run(harness.order("o1", "A", "IBM", "BUY", 1, command="CANCEL", timestamp=later))
    assert len(shard.shard.outbox.forward[0]) == 1
    assert shard.shard.outbox.order_events.values == []


def test_margin_account_is_not_called_while_a_position_has_no_price(harness: Any) -> None:
    shard = Shard(harness, harness.account("A", -1_000_0000, {"XYZ": 100}, accountType="MARGIN"))
    assert shard.run(harness.instrument("XYZ", priorClose=0), ("clock", harness.OPEN)) == []
    quote = harness.quote("XYZ", 1, [("XNYS", 11_0000, 100, 12_0000, 100)], harness.OPEN)
    events = shard.run(quote, ("clock", harness.OPEN + 60 * SECOND_NS))
    assert [(e["type"], e["limitValue"], e["observedValue"]) for e in events] == [("MARGIN_CALL", 275_0000, 100_0000)]


def test_cash_account_can_become_a_margin_account_but_not_the_other_way(harness: Any) -> None:
    shard = Shard(harness, harness.account("A"))
    shard.run(harness.order("o1", "A", "IBM", "BUY", 10, 1_0000))
    shard.run(harness.account("A", accountType="MARGIN"))
    assert shard.shard.book.accounts["A"].margin is not None
    shard.run(harness.account("A", accountType="CASH"))
    assert shard.shard.book.accounts["A"].margin is not None
    assert len(shard.shard.outbox.dead_letter.values) == 1
