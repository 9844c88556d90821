"""SEC Rule 605 in its amended form (17 CFR 242.605): the detailed and the summary report of a month, from the archive.

The views of `sql/clickhouse/0028_execution_quality.sql` give exact sums of one day; here days are added up and averages made of
the sums. Layouts: Exhibit A of the Rule 605 NMS plan (Rel. 34-103939) for the detailed file, the SEC's specification of order
execution summaries (github.com/sec-gov/oes) for the other. What could not be verified in the text is in report_605.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import starmap
from operator import add
from typing import Any, Final

ORDER_TYPES: Final[dict[str, str]] = {
    "MXXNN": "market",
    "LYNNN": "marketable limit",
    "LYNYN": "marketable immediate or cancel",
    "LNYNN": "midpoint-or-better limit",
    "LNYYN": "midpoint-or-better limit, immediate or cancel",
    "LNNNN": "executable non-marketable limit",
    "LNNYN": "executable non-marketable, immediate or cancel",
    "MXXNY": "executable stop market",
    "LYNNY": "executable stop marketable limit",
    "LNNNY": "executable stop non-marketable limit",
}
"""Codes of the plan: market or limit, marketable, midpoint or better, immediate or cancel, stop."""
SPEED_FIELDS: Final = tuple(
    f"CvrdOrderQty{step}"
    for step in ("to100microsec", "to1millisec", "to10millisec", "to1sec", "to10sec", "to30sec", "to5min", "Othr")
)
HORIZON_FIELDS: Final = ("50millisec", "1sec", "15sec", "1min", "5min")
DETAILED_FIELDS: Final = (
    "DsgntParticipant", "RprtEntityCd", "RptDate", "Symbol", "LotSizeFlag", "OrderSize", "OrderType", "CvrdOrderCnt",
    "CvrdOrderSize", "CvrdOrderQty", "CvrdOrderCnclQty", "CvrdOrderExctdQty", "CvrdOrderExctdAwayQty", *SPEED_FIELDS,
    *(f"AvgRealSprd{percent}{horizon}" for horizon in HORIZON_FIELDS for percent in ("", "Pct")),
    "ExctdOrderMidPtAvg", "ExctdOrderAvgQuotSprd", "AvgEffctvSprd", "AvgEffctvSprdPct", "AvgEFQPct", "ExctdPIOrdersQty",
    "ExctdPIOrdWghtdAvgAmtPerShare", "ExctdPIOrdWghtdAvgTime", "ExctdOrderAtQuotQty", "ExctdAtQuotOrdWghtdAvgTime",
    "ExctdOrderOutQuotQty", "ExctdOutQuotOrdWghtdAvgAmt", "ExctdOutQuotOrdWghtdAvgTime", "ExctdPIOrderRltvBestPrQty",
    "ExctdPIOrderRltvBestPrWghtdAvg", "ExctdOrderAtBestPrQty", "ExctdOrderOutBestPrQty", "ExctdOrderOutBestPrWghtdAvgAmt",
    "ExctdOrderSizeBnchmrkQty", "ExctdSIOutsizedQty", "FilledOrderCnt", "RegExctdOrderQty", "RegExctdOrderOnXchngQty",
    "FilledOrderWghtdAvgTime",
)  # fmt: skip
SUMMARY_FIELDS: Final = (
    "DsgntParticipant", "RprtEntityCd", "RptDate", "Sp500", "OrderSize", "OrderType", "AvgOrderQty", "AvgOrderSize",
    "ExctdOrderMidPtAvg", "PctExctdAtQuotOrBetter", "PctExctdPI", "WghtdAvgPctPI", "AvgEffctvSprdPct", "AvgPctQuotSprd",
    "AvgEFQPct", "AvgRealSprdPct15sec", "AvgRealSprdPct1min", "WghtdAvgExctnTime",
)  # fmt: skip
SUMMARY_TYPES: Final = {"MXXNN": "M", "LYNNN": "ML"}
ALL_SMALLER: Final = 199_999
"""OrderSize of a summary row for all orders of less than LARGEST."""
LARGEST: Final = 200_000
_KEYS: Final = ("symbol", "lot_size", "order_size", "order_type")
_ARRAYS: Final = ("speed_shares", "realised_shares", "realised_amounts")
_MS: Final = Decimal(1_000_000)
"""Nanoseconds in a millisecond."""


class NotReportableError(ValueError):
    """The archive has nothing to report for the month; the message says why and what there is."""


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One row of the detailed report: what orders are divided by. order_size is the lower end of the band, in dollars."""

    symbol: str
    lot_size: str
    order_size: int
    order_type: str


@dataclass(slots=True)
class Sums:
    """Sums over covered orders and their executions, exact: the columns of the view execution_quality_605, by name."""

    numbers: dict[str, Decimal] = field(default_factory=dict)
    arrays: dict[str, list[Decimal]] = field(default_factory=dict)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row of the view, or the `row` of other sums."""
        for name, value in row.items():
            if name in _ARRAYS:
                new = [Decimal(item) for item in value]
                known = self.arrays.get(name)
                self.arrays[name] = list(starmap(add, zip(known, new, strict=True))) if known else new
            elif name not in _KEYS:
                self.numbers[name] = self.numbers.get(name, Decimal(0)) + Decimal(value)

    @property
    def row(self) -> dict[str, Any]:
        """What `add` takes."""
        return {**self.numbers, **self.arrays}

    def __getitem__(self, name: str) -> Decimal:
        return self.numbers[name]

    def midpoint_amount(self) -> Decimal:
        """Sum of midpoint x shares: the view adds up bid and ask."""
        return self["bid_ask_amount"] / 2


@dataclass(slots=True)
class Month:
    """A month of one market centre."""

    month: date
    """Its first day."""
    cells: dict[Cell, Sums] = field(default_factory=dict)
    exclusions: Counter[str] = field(default_factory=Counter)
    """Orders without a category, by reason."""
    days: list[date] = field(default_factory=list)
    """Days with orders."""
    days_without_quotes: list[date] = field(default_factory=list)
    earlier_fills: int = 0
    """Executions of orders that were received on an earlier day, which are in no report."""

    def notes(self) -> list[str]:
        """What is not in the numbers, for people."""
        lines = [f"{count} orders are not covered: {reason}" for reason, count in sorted(self.exclusions.items())]
        if self.days_without_quotes:
            lines.append(
                f"no NBBO is archived for {', '.join(map(str, self.days_without_quotes))}, so no order of these days has a "
                "category (market data is kept for three years)"
            )
        if self.earlier_fills:
            lines.append(f"{self.earlier_fills} executions of orders that were received on an earlier day are left out")
        return lines


def collect(client: Any, month: date, progress: Callable[[str], None]) -> Month:
    """The sums of a month, day by day. client: clickhouse-connect's; month: any day of it.

    Raises NotReportableError when the amended form is not in force, nothing was archived or no order is covered; ClickHouseError.
    """
    first = month.replace(day=1)
    span = {"first": first, "last": (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)}
    (since,) = client.query("SELECT min(since) FROM rule_605_terms").result_rows[0]
    if span["last"] < since:
        raise NotReportableError(
            f"the amended form of Rule 605 holds from {since:%Y-%m} on, and {first:%Y-%m} is before it"
        )
    found = Month(first)
    within = "event_date BETWEEN {first:Date} AND {last:Date}"
    found.days = _days(client, f"SELECT DISTINCT event_date FROM order_events WHERE {within}", span)
    if not found.days:
        known = _days(client, "SELECT DISTINCT toStartOfMonth(event_date) FROM order_events", {})[-6:]
        raise NotReportableError(
            f"no order of {first:%Y-%m} is archived; the newest months with orders: "
            + (", ".join(f"{day:%Y-%m}" for day in known) or "none")
        )
    quoted = set(_days(client, f"SELECT DISTINCT event_date FROM nbbo WHERE {within}", span))
    found.days_without_quotes = [day for day in found.days if day not in quoted]
    for number, day in enumerate(found.days, start=1):
        progress(f"{day} ({number} of {len(found.days)})")
        _add_day(client, found, day)
    if not found.cells:
        raise NotReportableError("; ".join([f"no order of {first:%Y-%m} is covered", *found.notes()]))
    return found


def _days(client: Any, sql: str, parameters: Mapping[str, date]) -> list[date]:
    return sorted(row[0] for row in client.query(sql, parameters=parameters).result_rows)


def _add_day(client: Any, month: Month, day: date) -> None:
    rows = client.query("SELECT * FROM execution_quality_605(day = {day:Date})", parameters={"day": day})
    for row in rows.named_results():
        month.cells.setdefault(Cell(*(row[key] for key in _KEYS)), Sums()).add(row)
    reasons = client.query(
        "SELECT exclusion, count(), sum(length(fills)) FROM orders_605(day = {day:Date}) GROUP BY exclusion",
        parameters={"day": day},
    ).result_rows
    month.exclusions.update({reason: count for reason, count, _ in reasons if reason})
    (fills,) = client.query(
        "SELECT countIf(last_quantity > 0) FROM order_events WHERE event_date = {day:Date}", parameters={"day": day}
    ).result_rows[0]
    month.earlier_fills += fills - sum(count for _, _, count in reasons)


def detailed(month: Month, participant: str, entity: str) -> str:
    """The detailed report: fields with a header, separated by |, a line for each cell, lines ended by CR LF.

    participant, entity: codes of the designated participant and of the reporter.
    """
    head = (participant, entity, f"{month.month:%Y%m}")
    lines = [
        "|".join((*head, cell.symbol, cell.lot_size, str(cell.order_size), cell.order_type, *_detail(cell, sums)))
        for cell, sums in sorted(month.cells.items())
    ]
    return "".join(f"{line}\r\n" for line in ("|".join(DETAILED_FIELDS), *lines))


def _detail(cell: Cell, sums: Sums) -> list[str]:
    """The fields of a cell from CvrdOrderCnt on."""
    marketable = cell.order_type.startswith(("M", "LY"))
    midpoint_or_better = cell.order_type.startswith("LNY")
    executed = sums["executed_shares"] + sums["executed_away_shares"]
    midpoint = _over(sums.midpoint_amount(), sums["quoted_shares"])
    realised: list[Decimal | None] = []
    for amount, shares in zip(sums.arrays["realised_amounts"], sums.arrays["realised_shares"], strict=True):
        average = _over(amount, shares)
        realised += [average, _over(average, midpoint)]
    shown: list[Decimal | None] = [
        *(sums[name] for name in ("covered_orders", "covered_notional", "covered_shares", "cancelled_shares")),
        *(sums[name] for name in ("executed_shares", "executed_away_shares")),
        *sums.arrays["speed_shares"],
        *realised,
        midpoint,
        _over(sums["quoted_amount"], sums["quoted_shares"]),
        _over(sums["effective_amount"], sums["quoted_shares"]),
        _over(sums["effective_amount"], sums.midpoint_amount()),
        _over(sums["effective_amount"], sums["quoted_amount"]),
    ]
    improvement: list[Decimal | None] = [
        sums["improved_shares"],
        _over(sums["improved_amount"], sums["improved_shares"]),
        _over(sums["improved_share_ns"], sums["improved_shares"] * _MS),
        sums["at_quote_shares"],
        _over(sums["at_quote_share_ns"], sums["at_quote_shares"] * _MS),
        sums["outside_shares"],
        _over(sums["outside_amount"], sums["outside_shares"]),
        _over(sums["outside_share_ns"], sums["outside_shares"] * _MS),
        # Against the best displayed price, odd lots with it: the archive has no quotes of odd lots.
        *[None] * 5,
        sums["benchmark_shares"],
        sums["outsized_shares"],
    ]
    # Executions that others reported at prices that would have filled the order are not looked for.
    filled = [sums["filled_orders"], None, None, _over(sums["share_ns"], executed * _MS)]
    shown += improvement if marketable or midpoint_or_better else [None] * len(improvement)
    shown += [None] * len(filled) if marketable else filled
    return [plain(value) for value in shown]


def summary(month: Month, sp500: Collection[str]) -> list[dict[str, str]]:
    """The rows of the summary report without its first three fields: market and marketable limit orders by band.

    sp500: symbols of the S&P 500 on the first day of the month.
    """
    groups: dict[tuple[str, int, str], Sums] = {}
    for cell, sums in month.cells.items():
        if (kind := SUMMARY_TYPES.get(cell.order_type)) is None:
            continue
        flag = "Y" if cell.symbol in sp500 else "N"
        sizes = [cell.order_size] if cell.order_size >= LARGEST else [cell.order_size, ALL_SMALLER]
        for size in sizes:
            groups.setdefault((flag, size, kind), Sums()).add(sums.row)
    found = []
    for key in sorted(groups, key=lambda key: (key[0] != "Y", key[2] != "M", key[1])):
        values = [key[0], str(key[1]), key[2], *map(plain, _summarised(groups[key]))]
        found.append(dict(zip(SUMMARY_FIELDS[3:], values, strict=True)))
    return found


def _summarised(sums: Sums) -> list[Decimal | None]:
    executed = sums["executed_shares"] + sums["executed_away_shares"]
    quoted = sums["quoted_shares"]
    midpoints = sums.midpoint_amount()
    midpoint = _over(midpoints, quoted)
    realised = {
        horizon: _over(_over(amount, shares), midpoint)
        for horizon, amount, shares in zip(
            HORIZON_FIELDS, sums.arrays["realised_amounts"], sums.arrays["realised_shares"], strict=True
        )
    }
    return [
        _over(sums["covered_shares"], sums["covered_orders"]),
        _over(sums["covered_notional"], sums["covered_orders"]),
        midpoint,
        _over(sums["improved_shares"] + sums["at_quote_shares"], quoted),
        _over(sums["improved_shares"], quoted),
        _over(sums["improved_amount"] - sums["outside_amount"], midpoints),
        _over(sums["effective_amount"], midpoints),
        _over(sums["quoted_amount"], midpoints),
        _over(sums["effective_amount"], sums["quoted_amount"]),
        realised["15sec"],
        realised["1min"],
        _over(sums["share_ns"], executed * _MS),
    ]


def summary_file(month: Month, rows: Iterable[Mapping[str, str]], participant: str, entity: str) -> str:
    """The summary report as the SEC's specification has it: comma-separated with a header, lines ended by CR LF."""
    head = (participant, entity, f"{month.month:%Y%m}")
    lines: list[Sequence[str]] = [SUMMARY_FIELDS, *([*head, *row.values()] for row in rows)]
    return "".join(f"{','.join(line)}\r\n" for line in lines)


def _over(amount: Decimal | None, weight: Decimal | None) -> Decimal | None:
    """An average; None where there is nothing to average."""
    return amount / weight if amount is not None and weight else None


def plain(value: Decimal | None) -> str:
    """At most six decimals, rounded half up, no trailing zeros; empty for None."""
    if value is None:
        return ""
    text = f"{value.quantize(Decimal('0.000001'), ROUND_HALF_UP):f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
