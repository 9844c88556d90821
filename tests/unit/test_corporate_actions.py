"""Corporate actions by hand: what is due when, and what Rule 5330 makes of an order."""

from __future__ import annotations

import pytest

from schemas.messages.corporate_actions import CorporateAction
from schemas.messages.enums import (
    CORPORATE_ACTION_TYPE_CASH_DIVIDEND,
    CORPORATE_ACTION_TYPE_SPLIT,
    CORPORATE_ACTION_TYPE_STOCK_DIVIDEND,
    CORPORATE_ACTION_TYPE_UNKNOWN,
)
from udfs.domain.corporate_actions import (
    CHANGED,
    ENDED,
    KEPT,
    Action,
    ActionBook,
    action_problem,
    adjusted_terms,
    is_date,
    ratio_of,
    scaled_price,
)
from udfs.domain.sessions import SessionTable, SessionTimes
from udfs.domain.state_codec import StateReader, StateWriter


def record(kind: int = CORPORATE_ACTION_TYPE_SPLIT, **fields: object) -> CorporateAction:
    values: dict[str, object] = {
        "actionId": "C1",
        "version": 1,
        "type": kind,
        "symbol": "IBM",
        "newSymbol": None,
        "cashPerShare": None,
        "ratioNumerator": 2,
        "ratioDenominator": 1,
        "exDate": "2026-11-20",
        "recordDate": "2026-11-20",
        "payDate": "2026-11-20",
        "cancelled": False,
        "timestamp": 1,
    }
    return CorporateAction(*(values | fields).values())  # type: ignore[arg-type]


def dividend(cash: int) -> Action:
    return Action("D", CORPORATE_ACTION_TYPE_CASH_DIVIDEND, "IBM", "2026-11-20", cash, 1, 1)


def split(after: int, before: int) -> Action:
    return Action("S", CORPORATE_ACTION_TYPE_SPLIT, "IBM", "2026-11-20", 0, after, before)


BUY, SELL = True, False
STOP, LIMIT = True, False


@pytest.mark.parametrize(
    ("action", "is_buy", "waits", "before", "outcome", "after"),
    [
        # The rule's own example of rounding: 0.375 off a price on a penny goes to the next lower penny.
        (dividend(3_750), BUY, LIMIT, (100, 20_0000, None), CHANGED, (100, 19_6200, None)),
        (dividend(3_700), BUY, LIMIT, (100, 20_0000, None), CHANGED, (100, 19_6300, None)),
        (dividend(100), BUY, LIMIT, (100, 20_0000, None), CHANGED, (100, 19_9900, None)),
        (dividend(99), BUY, LIMIT, (100, 20_0000, None), KEPT, (100, 20_0000, None)),
        (dividend(3_750), SELL, LIMIT, (100, 20_0000, None), KEPT, (100, 20_0000, None)),
        (dividend(3_750), BUY, STOP, (100, None, 20_0000), KEPT, (100, None, 20_0000)),
        (dividend(3_750), BUY, STOP, (100, 21_0000, 20_0000), KEPT, (100, 21_0000, 20_0000)),
        (dividend(3_750), SELL, STOP, (100, None, 20_0000), CHANGED, (100, None, 19_6200)),
        (dividend(3_750), SELL, STOP, (100, 19_0000, 20_0000), CHANGED, (100, 18_6200, 19_6200)),
        # Triggered: the stop price is history.
        (dividend(3_750), SELL, LIMIT, (100, 19_0000, 20_0000), KEPT, (100, 19_0000, 20_0000)),
        (dividend(3_750), BUY, LIMIT, (100, 21_0000, 20_0000), CHANGED, (100, 20_6200, 20_0000)),
        (dividend(3_750), BUY, LIMIT, (100, None, None), KEPT, (100, None, None)),
        # Below a dollar the greater of the two increments is taken.
        (dividend(1_234), BUY, LIMIT, (100, 9_999, None), CHANGED, (100, 8_700, None)),
        (dividend(20_0000), BUY, LIMIT, (100, 20_0000, None), ENDED, (100, 20_0000, None)),
        (dividend(19_9901), BUY, LIMIT, (100, 20_0000, None), ENDED, (100, 20_0000, None)),
        (dividend(30_0000), SELL, STOP, (100, None, 20_0000), ENDED, (100, None, 20_0000)),
        (split(2, 1), BUY, LIMIT, (101, 99_9900, None), CHANGED, (202, 49_9900, None)),
        (split(2, 1), SELL, LIMIT, (101, 99_9900, None), CHANGED, (202, 50_0000, None)),
        (split(2, 1), SELL, STOP, (101, None, 99_9900), CHANGED, (202, None, 49_9900)),
        (split(2, 1), SELL, STOP, (101, 99_8900, 99_9900), CHANGED, (202, 49_9400, 49_9900)),
        (split(2, 1), BUY, STOP, (101, None, 99_9900), CHANGED, (202, None, 50_0000)),
        (split(2, 1), BUY, STOP, (101, 100_0100, 99_9900), CHANGED, (202, 50_0000, 50_0000)),
        (split(3, 2), BUY, LIMIT, (101, 100_0000, None), CHANGED, (151, 66_6600, None)),
        (split(3, 2), BUY, LIMIT, (1, None, None), CHANGED, (1, None, None)),
        (split(100, 1), BUY, LIMIT, (10, 9_900, None), ENDED, (10, 9_900, None)),
        (split(1, 10), BUY, LIMIT, (100, 20_0000, None), ENDED, (100, 20_0000, None)),
        (split(1, 1), BUY, LIMIT, (100, 20_0000, None), KEPT, (100, 20_0000, None)),
    ],
)
def test_terms_after_an_action(
    action: Action,
    is_buy: bool,
    waits: bool,
    before: tuple[int, int | None, int | None],
    outcome: int,
    after: tuple[int, int | None, int | None],
) -> None:
    terms = adjusted_terms(action, is_buy, waits, *before, 100, 1_700_000_000_000_000_000)
    assert (terms.outcome, (terms.leaves, terms.price, terms.stop_price)) == (outcome, after)


def test_an_adjusted_purchase_never_costs_more() -> None:
    for after in range(1, 30):
        for before in range(1, after):
            for price in (1_0000, 1_0100, 33_3300, 99_9900, 1234_5600):
                terms = adjusted_terms(split(after, before), True, False, 137, price, None, 100, 1)
                assert terms.outcome == CHANGED
                assert terms.price is not None and terms.leaves * terms.price <= 137 * price


def test_ratios_of_splits_replace_and_those_of_stock_dividends_are_added() -> None:
    assert ratio_of(record()) == (2, 1)
    assert ratio_of(record(ratioNumerator=6, ratioDenominator=4)) == (3, 2)
    assert ratio_of(record(CORPORATE_ACTION_TYPE_STOCK_DIVIDEND, ratioNumerator=5, ratioDenominator=100)) == (21, 20)
    assert ratio_of(record(CORPORATE_ACTION_TYPE_CASH_DIVIDEND)) == (1, 1)


@pytest.mark.parametrize(
    "fields",
    [
        {"actionId": ""},
        {"symbol": ""},
        {"type": CORPORATE_ACTION_TYPE_UNKNOWN},
        {"version": 0},
        {"exDate": "2026-11-2"},
        {"ratioNumerator": 0},
        {"ratioDenominator": None},
        {"ratioNumerator": -2},
        {"ratioNumerator": 1_000_001},
        {"type": CORPORATE_ACTION_TYPE_CASH_DIVIDEND},
        {"type": CORPORATE_ACTION_TYPE_CASH_DIVIDEND, "cashPerShare": -1},
    ],
)
def test_impossible_records_are_told(fields: dict[str, object]) -> None:
    assert action_problem(record(**fields))
    assert ActionBook().take(record(**fields), "")


def test_a_date_is_four_two_two_digits() -> None:
    assert is_date("2026-11-20")
    assert not any(map(is_date, ("", "2026-11-2x", "20261120", "2026/11/20", "2026-1-200", "\u0662026-11-20")))


def test_a_price_of_before_never_vanishes() -> None:
    assert [scaled_price(price, split(3, 1)) for price in (0, 1, 3, 100)] == [0, 1, 1, 33]


def table() -> tuple[SessionTable, list[SessionTimes]]:
    sessions = [SessionTimes(f"2026-11-{day}", day * 100, day * 100 + 50) for day in (18, 19, 20, 23)]
    known = SessionTable()
    for session in sessions:
        known.put(session)
    return known, sessions


def test_an_action_is_due_in_the_session_of_its_ex_date_or_the_next_one() -> None:
    known, days = table()
    book = ActionBook()
    for name, date in (("C1", "2026-11-20"), ("C0", "2026-11-20"), ("C2", "2026-11-21"), ("C3", "2026-11-19")):
        assert book.take(record(actionId=name, exDate=date), "2026-11-18") == ""
    assert [action.action_id for action in book.due(days[0], days[1], known)] == ["C3"]
    assert [action.action_id for action in book.due(days[1], days[2], known)] == ["C0", "C1"]
    assert [action.action_id for action in book.due(days[2], days[3], known)] == ["C2"]
    assert not book.pending and not book.stale


def test_sessions_that_were_not_seen_do_not_lose_an_action() -> None:
    known, days = table()
    book = ActionBook()
    assert book.take(record(exDate="2026-11-19"), "2026-11-18") == ""
    assert len(book.due(days[0], days[3], known)) == 1


def test_history_is_not_applied_in_the_first_session() -> None:
    known, days = table()
    book = ActionBook()
    for name, date in (("old", "2020-01-02"), ("yesterday", "2026-11-19"), ("today", "2026-11-20")):
        assert book.take(record(actionId=name, exDate=date), "") == ""
    assert [action.action_id for action in book.due(None, days[2], known)] == ["today"]
    assert book.stale == 2


def test_versions_withdrawals_and_late_records() -> None:
    known, days = table()
    book = ActionBook()
    assert book.take(record(version=2, ratioNumerator=3), "2026-11-19") == ""
    assert book.take(record(version=1), "2026-11-19") == ""
    assert book.pending["C1"].numerator == 3
    assert book.take(record(version=3, cancelled=True), "2026-11-19") == ""
    assert not book.pending
    assert book.take(record(version=4), "2026-11-19") == ""
    assert len(book.due(days[1], days[2], known)) == 1
    # Once it has taken effect only what is new is answered.
    assert book.take(record(version=4), "2026-11-20") == ""
    assert book.take(record(version=5, cancelled=True), "2026-11-20").startswith("too late")


def test_the_book_restores() -> None:
    book = ActionBook()
    book.take(record(), "")
    book.take(record(CORPORATE_ACTION_TYPE_CASH_DIVIDEND, actionId="D1", cashPerShare=5_000), "")
    book.take(record(actionId="gone", cancelled=True), "")
    writer = StateWriter()
    book.write(writer)
    restored = ActionBook()
    restored.read(StateReader(writer.finish(1, 9), 9, 1))
    again = StateWriter()
    restored.write(again)
    assert again.finish(1, 9) == writer.finish(1, 9)
    assert restored.pending["D1"].cash_e4 == 5_000 and restored.versions == book.versions
