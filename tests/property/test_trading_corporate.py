"""Corporate actions on random books over several sessions: both stages agree, nothing is lost, a restored engine goes on
the same."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import pytest
import trading_harness as h

from udfs.domain.book import WAITING

DAY = 86_400 * h.SECOND
DATES = ["2023-11-14", "2023-11-15", "2023-11-16", "2023-11-20", "2023-11-21"]
EX_DATES = ["2023-11-15", "2023-11-16", "2023-11-18", "2023-11-20", "2023-11-21"]
"""The third one is no session: it counts for the next."""
SYMBOLS = ["IBM", "F"]
ACCOUNTS = ["A1", "A2", "A3", "M1", "M2"]
RATIOS = [(2, 1), (3, 1), (3, 2), (7, 5), (1, 10), (1, 3), (1, 1)]
Steps = list[h.Step]


def session_open(day: int) -> int:
    return h.OPEN + day * DAY


def opening(generator: random.Random) -> Steps:
    steps: Steps = []
    for day, date in enumerate(DATES):
        start = session_open(day)
        steps.append(h.session(date, start, start + 23_400 * h.SECOND, start - generator.choice([0, 600]) * h.SECOND))
    steps += [h.instrument("IBM"), h.instrument("F", priorClose=9_0000)]
    for name in ACCOUNTS:
        short = name.startswith("M")
        held = {symbol: generator.randrange(-300 if short else 0, 900) for symbol in SYMBOLS}
        kind: dict[str, Any] = {"accountType": "MARGIN"} if short else {}
        steps.append(h.account(name, generator.choice([20_000, 2_000_000]) * 10_000, held, **kind))
    steps.append(h.snapshot_end())
    return steps


def actions(generator: random.Random) -> Steps:
    steps: Steps = []
    for number, (date, symbol) in enumerate((d, s) for d in EX_DATES for s in SYMBOLS):
        kind = generator.choice(["CASH_DIVIDEND", "SPLIT", "STOCK_DIVIDEND", "SPIN_OFF", "none", "none"])
        for version in range(1, generator.choice([1, 1, 2]) + 1):
            after, before = generator.choice(RATIOS)
            fields: dict[str, Any] = {"version": version, "cancelled": generator.random() < 0.1}
            if kind == "CASH_DIVIDEND":
                fields["cashPerShare"] = generator.choice([0, 99, 100, 3_750, 12_345, 9_0000])
            elif kind == "SPLIT":
                fields |= {"ratioNumerator": after, "ratioDenominator": before}
            elif kind == "STOCK_DIVIDEND":
                fields |= {"ratioNumerator": generator.randrange(1, 4), "ratioDenominator": 20}
            if kind != "none":
                steps.append(h.action(f"C{number}", kind, symbol, date, **fields))
    return steps


class Flow:
    """Random commands around prices that nobody adjusts: most of them are far away after a split, which is the point."""

    def __init__(self, seed: int) -> None:
        self.generator = random.Random(seed)
        self.orders: list[tuple[str, str, str, dict[str, Any]]] = []
        self.sequence = dict.fromkeys(SYMBOLS, 0)

    def steps(self) -> Steps:
        generator = self.generator
        steps = opening(generator) + actions(generator)
        for day in range(len(DATES)):
            now = session_open(day)
            steps.append(("clock", now))
            for _ in range(generator.randrange(10, 40)):
                now += generator.randrange(1, 400) * h.SECOND
                steps.append(self.step(now))
            if generator.random() < 0.6:
                steps.append(("clock", session_open(day) + 23_400 * h.SECOND))
                if generator.random() < 0.5:
                    steps.append(("settle", None))
        steps += [("clock", session_open(len(DATES)) + DAY), ("settle", None)]
        return steps

    def step(self, now: int) -> h.Step:
        generator = self.generator
        kind = generator.choices(["order", "quote", "settle", "cancel", "replace"], [10, 4, 4, 1, 2])[0]
        symbol = generator.choice(SYMBOLS)
        middle = (
            generator.choice([100_0000, 50_0000, 33_3300]) if symbol == "IBM" else generator.choice([9_0000, 90_0000])
        )
        if kind == "settle" or (kind in ("cancel", "replace") and not self.orders):
            return "settle", None
        if kind == "quote":
            self.sequence[symbol] += 1
            bid = middle - generator.randrange(1, 200) * 100
            venues = [("XNYS", bid, 100, bid + generator.randrange(1, 100) * 100, 200)]
            prints = [bid] if generator.random() < 0.5 else []
            return h.quote(symbol, self.sequence[symbol], venues, now, prints=prints)
        if kind in ("cancel", "replace"):
            order_id, account, known, terms = generator.choice(self.orders)
            quantity = generator.randrange(1, 300) if kind == "replace" else 0
            price = terms["price"] + generator.randrange(-5, 6) * 100 if terms["price"] else None
            step = h.order(order_id, account, known, terms["side"], quantity, timestamp=now)
            return step[0], {**step[1], **terms, "command": kind.upper(), "price": price}
        order_id = f"o{len(self.orders)}"
        account = generator.choice(ACCOUNTS)
        side = generator.choice(["BUY", "SELL", "SELL_SHORT"] if account.startswith("M") else ["BUY", "SELL"])
        order_type = generator.choice(["LIMIT", "LIMIT", "STOP", "STOP_LIMIT", "MARKET"])
        away = generator.randrange(-40, 41) * 100
        limit = max(middle + away, 100) if "LIMIT" in order_type else None
        stop = max(middle + away, 100) if "STOP" in order_type else None
        terms = {
            "orderType": order_type,
            "timeInForce": generator.choice(["GTC", "GTC", "DAY"]),
            "price": limit,
            "stopPrice": stop,
            "locateId": "L" if side == "SELL_SHORT" else None,
            "doNotReduce": generator.choice([None, None, True]),
        }
        self.orders.append((order_id, account, symbol, {**terms, "side": side}))
        step = h.order(order_id, account, symbol, side, generator.randrange(1, 150), limit, timestamp=now)
        return step[0], {**step[1], **terms}


def live_terms(desk: h.Desk) -> dict[str, tuple[int, ...]]:
    """Open orders as matching has them."""
    found = {}
    for match in desk.match:
        for key, order in match.matcher.live.items():
            stop = order.stop_price if order.stop_price and order.place == WAITING else 0
            found[key] = (order.quantity, order.cum_quantity, stop)
    return found


def risk_terms(desk: h.Desk, live: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Open orders as risk has them; the stop price only where it waits still."""
    return {
        key: (order.total, order.filled, order.stop_price_e4 if key in live and live[key][2] else 0)
        for risk in desk.risk
        for key, order in risk.book.open.items()
    }


def check_agreement(desk: h.Desk) -> None:
    """With all outcomes delivered both stages know the same orders, and a purchase has reserved what it may cost."""
    live = live_terms(desk)
    assert risk_terms(desk, live) == live
    for match in desk.match:
        for key, order in match.matcher.live.items():
            known = next(risk.book.open[key] for risk in desk.risk if key in risk.book.open)
            assert known.awaited is None
            if order.is_buy and known.account.margin is None and order.limit_price:
                assert known.unit_e4 >= order.limit_price + order.commission_e4


def shares(desk: h.Desk) -> dict[tuple[str, str], int]:
    return {
        (name, symbol): position.quantity
        for risk in desk.risk
        for name, account in risk.book.accounts.items()
        for symbol, position in account.positions.items()
    }


@pytest.mark.parametrize("seed", range(60))
def test_random_actions_keep_both_stages_in_step(seed: int) -> None:
    desk = h.Desk(shards=1 + seed % 3, check_every_step=True)
    traded: dict[tuple[str, str], Fraction] = {}
    for kind, fields in Flow(seed).steps():
        seen = len(desk.records)
        desk.step(kind, fields)
        for topic, record in desk.records[seen:]:
            if topic == "risk-events" and record["type"] == "SPLIT":
                words = dict(word.split("=") for word in record["detail"].split())
                after, before = map(int, words["ratio"].split(":"))
                exact = Fraction(int(words["before"]) * after, before)
                whole = abs(exact).numerator // abs(exact).denominator
                assert abs(int(words["after"])) == whole
                assert record["quantity"] == int(words["after"]) - int(words["before"])
                assert (record["cashChange"] > 0) <= (exact > 0)
                holding = record["accountId"], record["symbol"]
                traded[holding] = traded.get(holding, Fraction(0)) + record["quantity"]
            elif topic == "trade-events":
                holding = record["accountId"], record["symbol"]
                change = record["quantity"] if record["side"] == "BUY" else -record["quantity"]
                traded[holding] = traded.get(holding, Fraction(0)) + change
        if kind == "settle":
            check_agreement(desk)
    started = {
        (name, symbol): position.loaded
        for risk in desk.risk
        for name, account in risk.book.accounts.items()
        for symbol, position in account.positions.items()
    }
    for holding, quantity in shares(desk).items():
        assert quantity == started[holding] + traded.get(holding, 0)


@pytest.mark.parametrize("seed", range(20))
def test_restored_at_random_points_the_engines_go_on_the_same(seed: int) -> None:
    steps = Flow(1_000 + seed).steps()
    whole = h.Desk(shards=1 + seed % 2)
    cut = h.Desk(shards=1 + seed % 2)
    points = random.Random(seed)
    for kind, fields in steps:
        whole.step(kind, fields)
        cut.step(kind, fields)
        if points.random() < 0.15:
            # A restart ends the batch of the match stage, which here only cuts its outcomes differently.
            for match in whole.match:
                match.flush()
                whole._collect(match.outbox)
            cut.restart()
    assert cut.records == whole.records
    assert [engine.snapshot() for engine in cut.risk] == [engine.snapshot() for engine in whole.risk]
    assert [engine.snapshot() for engine in cut.match] == [engine.snapshot() for engine in whole.match]


def test_flows_show_what_they_are_for() -> None:
    """A test of the tests: the random flows do split positions, restate, cancel, pay fractions and split late fills."""
    reasons: dict[str, int] = {}
    for seed in range(12):
        desk = h.Desk()
        desk.run(Flow(seed).steps())
        for topic, record in desk.records:
            if topic == "order-events":
                reasons[record["reason"]] = reasons.get(record["reason"], 0) + 1
            elif topic == "risk-events" and record["type"] == "SPLIT":
                reasons["SPLIT"] = reasons.get("SPLIT", 0) + 1
                if record["cashChange"]:
                    reasons["cash"] = reasons.get("cash", 0) + 1
    assert min(reasons[name] for name in ("CORPORATE_ACTION", "CANCEL_CORPORATE_ACTION", "SPLIT", "cash")) > 5


EARLY = h.OPEN + 600 * h.SECOND
DAY_2 = session_open(1)


def two_days(**account: Any) -> h.Desk:
    """A desk on its first day, with a split 2:1 on the second."""
    desk = h.Desk(check_every_step=True)
    desk.run([h.session(DATES[day], session_open(day), session_open(day) + 23_400 * h.SECOND) for day in (0, 1)])
    desk.run([h.instrument("IBM"), h.account("A1", positions={"IBM": 301}, **account), h.account("B1")])
    desk.run([h.snapshot_end(), ("clock", EARLY)])
    desk.run([h.action("S1", "SPLIT", "IBM", DATES[1], ratioNumerator=2, ratioDenominator=1)])
    return desk


def begin_day_2(desk: h.Desk) -> None:
    desk.run([("clock", DAY_2 - 60_000 * h.SECOND), ("settle", None), ("clock", DAY_2), ("settle", None)])


def test_an_order_is_of_the_session_of_its_own_time_not_of_the_clock() -> None:
    """Whoever sends an order with a time after the split means shares of after it, although the clock lags."""
    desk = two_days()
    early = h.order("new", "B1", "IBM", "BUY", 10, 50_0000, "GTC", timestamp=DAY_2 + 1)
    desk.run([early, h.order("old", "B1", "IBM", "BUY", 10, 50_0000, "GTC", timestamp=EARLY)])
    desk.run([h.order("changed", "B1", "IBM", "BUY", 10, 40_0000, "GTC", timestamp=EARLY), ("settle", None)])
    change = h.order("changed", "B1", "IBM", "BUY", 12, 30_0000, "GTC", timestamp=DAY_2 + 1, command="REPLACE")
    desk.run([change, ("settle", None)])
    desk.restart()
    begin_day_2(desk)
    terms = {order.order_id: (order.quantity, order.limit_price) for order in desk.match[0].matcher.live.values()}
    assert terms == {"new": (10, 50_0000), "old": (20, 25_0000), "changed": (12, 30_0000)}
    check_agreement(desk)
    assert {order.order_id: order.price_e4 for order in desk.risk[0].book.open.values()} == {
        name: price for name, (_, price) in terms.items()
    }


def test_a_margin_account_reserves_the_same_for_an_adjusted_order() -> None:
    desk = two_days(accountType="MARGIN", commission=0)
    desk.run([h.order("b", "A1", "IBM", "BUY", 100, 90_0000, "GTC", timestamp=EARLY), ("settle", None)])
    account = desk.risk[0].book.accounts["A1"]
    before = account.reserved_e4, account.reserved_upkeep_e4
    assert before[0] > 0
    begin_day_2(desk)
    assert (account.reserved_e4, account.reserved_upkeep_e4) == before
    assert next(iter(desk.risk[0].book.open.values())).worst_e4 == 45_0000


@pytest.mark.parametrize("late", [False, True])
def test_a_close_that_is_given_after_the_close_is_one_of_after_the_split(late: bool) -> None:
    desk = two_days()
    begin = DAY_2 - 3_600 * h.SECOND
    if late:
        desk.run([("clock", begin), h.instrument("IBM", priorClose=50_0000)])
    else:
        waiting = h.instrument("IBM", priorClose=50_0000)
        waiting[1]["effectiveFrom"] = begin
        desk.run([waiting])
        desk.run([("clock", begin)])
    desk.restart()
    desk.run([("clock", DAY_2)])
    assert desk.risk[0].reference.instruments["IBM"].prior_close_e4 == 50_0000
    assert desk.match[0].protection.guards["IBM"].prior_close_e4 == 50_0000
    # The next split finds it old again.
    desk.run([h.session(DATES[2], session_open(2), session_open(2) + 23_400 * h.SECOND)])
    desk.run([h.action("S2", "SPLIT", "IBM", DATES[2], ratioNumerator=5, ratioDenominator=2)])
    desk.run([("clock", session_open(2))])
    assert desk.risk[0].reference.instruments["IBM"].prior_close_e4 == 20_0000
    assert desk.match[0].protection.guards["IBM"].prior_close_e4 == 20_0000


def test_a_close_of_before_the_split_is_divided_and_pays_fractions_in_both_forms() -> None:
    for given in (None, 40_0000):
        desk = two_days()
        desk.run([h.action("S1", "SPLIT", "IBM", DATES[1], version=2, ratioNumerator=5, ratioDenominator=2)])
        if given:
            desk.run([("clock", DAY_2 - 3_600 * h.SECOND), h.instrument("IBM", priorClose=given)])
        begin_day_2(desk)
        account = desk.risk[0].book.accounts["A1"]
        # 752 shares and a half; half a share is worth 20.00 either way.
        assert account.positions["IBM"].quantity == 752
        assert account.cash_e4 - account.opening_cash_e4 == 20_0000
        assert desk.match[0].protection.guards["IBM"].prior_close_e4 == 40_0000


def ahead(desk: h.Desk) -> None:
    """Matching has reached the second day, risk has not."""
    desk.match[0].apply(*h.encode_step("clock", DAY_2), 0, 77, 1_000)
    desk._collect(desk.match[0].outbox)


def test_what_is_of_before_the_split_and_comes_after_it_is_not_taken_in() -> None:
    desk = two_days()
    desk.run([h.order("b", "B1", "IBM", "BUY", 10, 50_0000, "GTC", timestamp=EARLY), ("settle", None)])
    ahead(desk)
    change = h.order("b", "B1", "IBM", "BUY", 30, 50_0000, "GTC", timestamp=EARLY + 1, command="REPLACE")
    found = desk.run([change, h.order("c", "A1", "IBM", "SELL", 10, 50_0000, "GTC", timestamp=EARLY + 2)])
    events = [(r["orderId"], r["status"], r["reason"]) for topic, r in found if topic == "order-events"]
    assert events[0] == ("b", "ROUTED", "REPLACE_NOT_ALLOWED")
    assert events[-1] == ("c", "CANCELLED", "CANCEL_CORPORATE_ACTION")
    begin_day_2(desk)
    check_agreement(desk)
    order = next(iter(desk.match[0].matcher.live.values()))
    assert (order.quantity, order.limit_price) == (20, 25_0000)


def test_a_fill_of_after_the_split_shows_risk_that_the_session_has_begun() -> None:
    desk = two_days()
    desk.run([h.order("b", "B1", "IBM", "BUY", 10, 50_0000, "GTC", timestamp=EARLY), ("settle", None)])
    ahead(desk)
    asked = h.quote("IBM", 1, [("XNYS", 9_0000, 100, 20_0000, 100)], DAY_2 + 1)
    desk.match[0].apply(*h.encode_step(*asked), 0, 0, 1_000)
    desk.run([("settle", None)])
    positions = [account.positions["IBM"].quantity for account in desk.risk[0].book.accounts.values()]
    assert positions == [602, 20]
    begin_day_2(desk)
    assert positions == [account.positions["IBM"].quantity for account in desk.risk[0].book.accounts.values()]


def test_quotes_of_before_the_split_do_not_count_after_it() -> None:
    desk = two_days()
    desk.run([h.order("b", "B1", "IBM", "BUY", 10, 50_0000, "GTC", timestamp=EARLY)])
    begin_day_2(desk)
    old = h.quote("IBM", 1, [("XNYS", 9_0000, 100, 20_0000, 100)], EARLY + 1)
    assert desk.run([old, ("settle", None)]) == []
    assert desk.risk[0].reference.instruments["IBM"].ask_e4 == 0
    desk.run([h.quote("IBM", 2, [("XNYS", 9_0000, 100, 20_0000, 100)], DAY_2 + 1), ("settle", None)])
    assert desk.risk[0].reference.instruments["IBM"].ask_e4 == 20_0000
    assert desk.risk[0].book.accounts["B1"].positions["IBM"].quantity == 20


def test_one_shard_alone_tells_of_a_bad_or_late_action() -> None:
    desk = h.Desk(shards=3)
    desk.run([h.session(DATES[0], h.OPEN, h.CLOSE), h.snapshot_end(), ("clock", EARLY)])
    found = desk.run(
        [
            h.action("late", "SPLIT", "IBM", DATES[0], ratioNumerator=2, ratioDenominator=1),
            ("raw", (h.sources.CORPORATE_ACTIONS, b"no record")),
        ]
    )
    assert [(topic, record["reason"]) for topic, record in found] == [
        ("dead-letter", "INVALID_VALUE"),
        ("dead-letter", found[1][1]["reason"]),
    ]
    assert "too late" in found[0][1]["detail"]
    assert sum(match.stats()["late_actions"] for match in desk.match) == 1


def three_days() -> h.Desk:
    """A desk on its first day, orders taken ten minutes before each opening; a split 2:1 on the second day."""
    desk = h.Desk(check_every_step=True)
    for day in range(3):
        start = session_open(day)
        desk.run([h.session(DATES[day], start, start + 23_400 * h.SECOND, start - 600 * h.SECOND)])
    desk.run([h.instrument("IBM"), h.account("A1", positions={"IBM": 300}), h.account("B1"), h.snapshot_end()])
    split = h.action("S1", "SPLIT", "IBM", DATES[1], ratioNumerator=2, ratioDenominator=1)
    desk.run([("clock", EARLY), split])
    return desk


def test_a_fill_in_a_session_that_passed_unnoticed_is_one_of_after_its_split() -> None:
    """The clock leaps over the second day; matching has opened it on the way, with orders that were meant for it."""
    desk = three_days()
    desk.run([("clock", h.CLOSE)])
    for name, account, side in (("b", "B1", "BUY"), ("s", "A1", "SELL")):
        desk.run([h.order(name, account, "IBM", side, 10, 50_0000, "GTC", timestamp=DAY_2 - 60 * h.SECOND)])
    found = desk.run([("clock", session_open(2)), ("settle", None)])
    assert [r["quantity"] for topic, r in found if topic == "trade-events"] == [10, 10]
    holdings = {name: account.positions["IBM"].quantity for name, account in desk.risk[0].book.accounts.items()}
    assert holdings == {"A1": 590, "B1": 10}


def test_a_fill_that_is_heard_of_after_two_splits_is_split_twice() -> None:
    desk = three_days()
    desk.run([h.action("S2", "SPLIT", "IBM", DATES[2], ratioNumerator=3, ratioDenominator=1)])
    asked = h.quote("IBM", 1, [("XNYS", 9_0000, 100, 20_0000, 100)], EARLY)
    desk.run([asked, h.order("b", "B1", "IBM", "BUY", 10, 20_0000, timestamp=EARLY)])
    desk.run([("clock", session_open(1)), ("clock", session_open(2))])
    desk.restart()
    found = desk.run([("settle", None)])
    splits = [(r["accountId"], r["quantity"]) for topic, r in found if topic == "risk-events"]
    assert splits == [("B1", 10), ("B1", 40)]
    assert desk.risk[0].book.accounts["B1"].positions["IBM"].quantity == 60


def test_a_replacement_under_a_split_that_is_not_heard_of_holds_all_shares() -> None:
    """A fill and a replacement of before the split come in batches of their own, after it; then all is filled at once."""
    desk = three_days()
    sale = h.order("s", "A1", "IBM", "SELL", 100, 50_0000, "GTC", timestamp=EARLY)
    desk.run([sale, ("settle", None), h.quote("IBM", 1, [("XNYS", 50_0000, 10, 60_0000, 100)], EARLY)])
    desk.match[0].flush()
    desk._collect(desk.match[0].outbox)
    change = h.order("s", "A1", "IBM", "SELL", 200, 50_0000, "GTC", timestamp=EARLY, command="REPLACE")
    desk.run([change, ("clock", DAY_2)])
    desk.run([h.quote("IBM", 2, [("XNYS", 25_0000, 1_000, 60_0000, 100)], DAY_2), ("settle", None)])
    account = desk.risk[0].book.accounts["A1"]
    assert (account.positions["IBM"].quantity, len(desk.risk[0].book.open)) == (200, 0)
