"""The files of Rule 605: layout, rounding, what is empty, what is added up."""

from __future__ import annotations

from collections import Counter
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from jobs import report_605
from jobs.report_605 import Cell, Month, Sums

# 300 shares of two orders: 200 better by 0.02 after 4 ms, 100 at the quote at once; bid 10.00, ask 10.10.
ROW: dict[str, Any] = {
    "covered_orders": 2, "covered_notional": Decimal("4040.0000"), "covered_shares": 400, "cancelled_shares": 100,
    "filled_orders": 2, "executed_shares": 200, "executed_away_shares": 100, "speed_shares": [100, 0, 200, 0, 0, 0, 0, 0],
    "share_ns": 800_000_000, "realised_shares": [300, 300, 300, 300, 0],
    "realised_amounts": [Decimal(24), Decimal(3), Decimal(0), Decimal(-30), Decimal(0)], "quoted_shares": 300,
    "bid_ask_amount": Decimal(6030), "quoted_amount": Decimal(30), "effective_amount": Decimal(22),
    "improved_shares": 200, "improved_amount": Decimal(4), "improved_share_ns": 800_000_000, "at_quote_shares": 100,
    "at_quote_share_ns": 0, "outside_shares": 0, "outside_amount": Decimal(0), "outside_share_ns": 0,
    "benchmark_shares": 250, "outsized_shares": 50,
}  # fmt: skip


def month(*cells: Cell) -> Month:
    made = Month(date(2026, 11, 1))
    for cell in cells:
        made.cells.setdefault(cell, Sums()).add(ROW)
    return made


def lines(made: Month) -> list[dict[str, str]]:
    head, *rows = (line.split("|") for line in report_605.detailed(made, "T", "TRDS").split("\r\n")[:-1])
    assert tuple(head) == report_605.DETAILED_FIELDS and len(head) == 55
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_detailed_of_a_market_order_has_the_averages_of_its_sums() -> None:
    (row,) = lines(month(Cell("IBM", "ROUND", 1_000, "MXXNN")))
    shown = {name: value for name, value in row.items() if value}
    assert list(shown.items())[:13] == [
        ("DsgntParticipant", "T"), ("RprtEntityCd", "TRDS"), ("RptDate", "202611"), ("Symbol", "IBM"), ("LotSizeFlag", "ROUND"),
        ("OrderSize", "1000"), ("OrderType", "MXXNN"), ("CvrdOrderCnt", "2"), ("CvrdOrderSize", "4040"), ("CvrdOrderQty", "400"),
        ("CvrdOrderCnclQty", "100"), ("CvrdOrderExctdQty", "200"), ("CvrdOrderExctdAwayQty", "100"),
    ]  # fmt: skip
    expected = {
        "CvrdOrderQtyto100microsec": "100", "CvrdOrderQtyto10millisec": "200", "AvgRealSprd50millisec": "0.08",
        "AvgRealSprdPct50millisec": "0.00796", "AvgRealSprd1min": "-0.1", "ExctdOrderMidPtAvg": "10.05",
        "ExctdOrderAvgQuotSprd": "0.1", "AvgEffctvSprd": "0.073333", "AvgEffctvSprdPct": "0.007297", "AvgEFQPct": "0.733333",
        "ExctdPIOrdersQty": "200", "ExctdPIOrdWghtdAvgAmtPerShare": "0.02", "ExctdPIOrdWghtdAvgTime": "4",
        "ExctdOrderAtQuotQty": "100", "ExctdAtQuotOrdWghtdAvgTime": "0", "ExctdOrderSizeBnchmrkQty": "250",
        "ExctdSIOutsizedQty": "50",
    }  # fmt: skip
    assert {name: shown[name] for name in expected} == expected
    # No quote five minutes later, nothing outside: an average of nothing is empty, a sum of nothing 0.
    empty = {"AvgRealSprd5min", "AvgRealSprdPct5min", "ExctdOutQuotOrdWghtdAvgAmt", "FilledOrderCnt"}
    assert not empty & set(shown) and shown["ExctdOrderOutQuotQty"] == "0"


@pytest.mark.parametrize(
    ("kind", "improvement", "fills"),
    [(kind, not kind.startswith("LNN"), kind.startswith("LN")) for kind in report_605.ORDER_TYPES],
)
def test_detailed_fields_of_a_type_are_those_that_apply(kind: str, improvement: bool, fills: bool) -> None:
    (row,) = lines(month(Cell("IBM", "ROUND", 0, kind)))
    assert bool(row["ExctdPIOrdersQty"]) is bool(row["ExctdOrderSizeBnchmrkQty"]) is improvement
    assert bool(row["FilledOrderCnt"]) is bool(row["FilledOrderWghtdAvgTime"]) is fills


def test_detailed_lines_are_sorted_and_days_added_up() -> None:
    small, large = Cell("IBM", "ROUND", 250, "MXXNN"), Cell("IBM", "ROUND", 1_000, "MXXNN")
    rows = lines(month(large, Cell("AAPL", "ROUND", 1_000, "MXXNN"), small, large))
    assert [(row["Symbol"], row["OrderSize"], row["CvrdOrderCnt"], row["AvgEffctvSprd"]) for row in rows] == [
        ("AAPL", "1000", "2", "0.073333"), ("IBM", "250", "2", "0.073333"), ("IBM", "1000", "4", "0.073333"),
    ]  # fmt: skip


def test_summary_has_market_and_marketable_limits_by_band_and_all_below_the_largest() -> None:
    made = month(
        Cell("IBM", "ROUND", 1_000, "MXXNN"), Cell("IBM", "ODD", 250, "MXXNN"), Cell("IBM", "ROUND", 200_000, "MXXNN"),
        Cell("ZZZ", "ROUND", 250, "LYNNN"), Cell("ZZZ", "ROUND", 250, "LYNYN"), Cell("ZZZ", "ROUND", 250, "LNNNN"),
    )  # fmt: skip
    rows = report_605.summary(made, {"IBM"})
    assert [(row["Sp500"], row["OrderType"], row["OrderSize"]) for row in rows] == [
        ("Y", "M", "250"), ("Y", "M", "1000"), ("Y", "M", "199999"), ("Y", "M", "200000"),
        ("N", "ML", "250"), ("N", "ML", "199999"),
    ]  # fmt: skip
    assert rows[2] == {
        "Sp500": "Y", "OrderSize": "199999", "OrderType": "M", "AvgOrderQty": "200", "AvgOrderSize": "2020",
        "ExctdOrderMidPtAvg": "10.05", "PctExctdAtQuotOrBetter": "1", "PctExctdPI": "0.666667", "WghtdAvgPctPI": "0.001327",
        "AvgEffctvSprdPct": "0.007297", "AvgPctQuotSprd": "0.00995", "AvgEFQPct": "0.733333", "AvgRealSprdPct15sec": "0",
        "AvgRealSprdPct1min": "-0.00995", "WghtdAvgExctnTime": "2.666667",
    }  # fmt: skip
    head, first, *_ = report_605.summary_file(made, rows, "T", "TRDS").split("\r\n")
    assert tuple(head.split(",")) == report_605.SUMMARY_FIELDS and first.startswith("T,TRDS,202611,Y,250,M,200,2020,")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""), ("0", "0"), ("-0.0000001", "0"), ("0.0000005", "0.000001"), ("-0.0000005", "-0.000001"),
        ("1.2345674", "1.234567"),
        ("100", "100"), ("1E+3", "1000"), ("0.10", "0.1"),
    ],
)  # fmt: skip
def test_numbers_have_six_decimals_rounded_half_up_without_trailing_zeros(value: str | None, text: str) -> None:
    assert report_605.plain(None if value is None else Decimal(value)) == text


def test_notes_tell_what_is_left_out() -> None:
    made = month(Cell("IBM", "ROUND", 0, "MXXNN"))
    assert made.notes() == []
    made.exclusions = Counter(REJECTED=2, ALL_OR_NONE=1)
    made.days_without_quotes = [date(2026, 11, 20)]
    made.earlier_fills = 3
    assert [note.split(" (")[0] for note in made.notes()] == [
        "1 orders are not covered: ALL_OR_NONE",
        "2 orders are not covered: REJECTED",
        "no NBBO is archived for 2026-11-20, so no order of these days has a category",
        "3 executions of orders that were received on an earlier day are left out",
    ]
