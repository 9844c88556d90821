"""Rule 605 from a real ClickHouse engine: scenarios worked out by hand, a slow recomputation of a day, and broken views."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import pytest
from archive_gateway import NOON_NS, GatewayProcess, connect, frame, writer
from archived_day import archive, play
from paper_605 import DAY, Scenario, scenarios
from reference_605 import recompute

from infra.feeds.sessions import DEFAULT_DAY
from jobs import migrate, report_605
from jobs.config import Config, project_root
from udfs.operators.arrow_blocks import Positions
from udfs.operators.decode_records import Batch

MIGRATION = project_root() / "sql" / "clickhouse" / "0028_execution_quality.sql"
SCENARIOS = scenarios()


@pytest.fixture(scope="module")
def paper(gateway: GatewayProcess) -> Config:
    return archived(gateway, "paper", *SCENARIOS)


def archived(gateway: GatewayProcess, database: str, *played: Scenario) -> Config:
    """A database with these scenarios."""
    config = gateway.config(database)
    migrate.apply(config, print)
    for topic in ("nbbo", "order-events", "market-status"):
        if records := [record for scenario in played for record in scenario.records[topic]]:
            write(config, topic, records)
    return config


def write(config: Config, topic: str, records: list[dict[str, Any]]) -> None:
    frames = [frame(topic, **record) for record in records]
    positions = Positions.of([0] * len(frames), range(len(frames)), [NOON_NS // 10**6] * len(frames))
    assert writer(config, topic).write(Batch(frames, positions)).rows == len(frames)


def reported(client: Any, day: date = DAY) -> dict[tuple[str, ...], dict[str, str]]:
    """The detailed report of the day's month: (symbol, order type, size, lot) -> field -> value."""
    text = report_605.detailed(report_605.collect(client, day, lambda _: None), "T", "TRDS")
    head, *lines = (line.split("|") for line in text.split("\r\n")[:-1])
    assert tuple(head) == report_605.DETAILED_FIELDS
    rows = [dict(zip(head, line, strict=True)) for line in lines]
    return {(row["Symbol"], row["OrderType"], row["OrderSize"], row["LotSizeFlag"]): row for row in rows}


def excluded(client: Any) -> dict[str, str]:
    sql = "SELECT order_id, exclusion FROM orders_605(day = {day:Date}) WHERE exclusion != ''"
    return dict(client.query(sql, parameters={"day": DAY}).result_rows)


def differences(scenario: Scenario, rows: dict[tuple[str, ...], dict[str, str]], left_out: dict[str, str]) -> list[str]:
    """What the archive says otherwise than the paper."""
    found = []
    cells = {key[1:] for key in rows if key[0] == scenario.symbol}
    if cells != set(scenario.rows):
        found.append(f"cells {sorted(cells)}, not {sorted(scenario.rows)}")
    for cell, wanted in scenario.rows.items():
        row = rows.get((scenario.symbol, *cell), {})
        found += [
            f"{cell} {name}: {row.get(name)}, not {value}" for name, value in wanted.items() if row.get(name) != value
        ]
    reasons = {order[-1]: reason for order, reason in left_out.items() if order.startswith(f"{scenario.symbol}-")}
    if reasons != scenario.exclusions:
        found.append(f"left out {reasons}, not {scenario.exclusions}")
    return found


@pytest.fixture(scope="module")
def answered(paper: Config) -> tuple[dict[tuple[str, ...], dict[str, str]], dict[str, str]]:
    client = connect(paper)
    return reported(client), excluded(client)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.title[:60] for scenario in SCENARIOS])
def test_scenario_on_paper_is_what_the_report_says(scenario: Scenario, answered: Any) -> None:
    assert differences(scenario, *answered) == []


def test_paper_shows_every_order_type_field_and_exclusion() -> None:
    cells = [cell for scenario in SCENARIOS for cell in scenario.rows]
    assert {cell[0] for cell in cells} == set(report_605.ORDER_TYPES)
    names = {name for scenario in SCENARIOS for wanted in scenario.rows.values() for name in wanted}
    unshown = {"RptDate", "Symbol", "LotSizeFlag", "OrderSize", "OrderType", "DsgntParticipant", "RprtEntityCd"}
    blank = {name for name in report_605.DETAILED_FIELDS if "BestPr" in name} | {"RegExctdOrderOnXchngQty"}
    percent = {f"AvgRealSprdPct{horizon}" for horizon in report_605.HORIZON_FIELDS[1:]}
    assert names == set(report_605.DETAILED_FIELDS) - unshown - blank - percent
    reasons = {reason for scenario in SCENARIOS for reason in scenario.exclusions.values()}
    known = set(re.findall(r", '([A-Z_]{3,}[A-Z])',\n", MIGRATION.read_text(encoding="utf-8")))
    # No order is of an option, of a symbol that nobody quotes or of a time before the rule here: see the tests below.
    assert reasons == known - {"NOT_A_STOCK", "NO_NBBO", "RULE_NOT_IN_FORCE"}


BROKEN = {
    "midpoint of the execution's own time": ("b.timestamp <= o.executable_at", "b.timestamp <= o.fills[1].1"),
    "receipt instead of executability": ("b.timestamp <= o.executable_at", "b.timestamp <= o.received_at"),
    "half of the effective spread": ("(2 * e.price - e.bid - e.ask)) AS effective", "(e.price - e.bid)) AS effective"),
    "a buyer waits for the offer": (
        "AND if(c.buys, c.limit_price >= q.bid, c.limit_price <= q.ask)",
        "AND if(c.buys, c.limit_price >= q.ask, c.limit_price <= q.bid)",
    ),
    "horizons go on after the close": (
        "least(addNanoseconds(executed_at, horizon_ns), subtractNanoseconds(closes, 1))",
        "addNanoseconds(executed_at, horizon_ns)",
    ),
    "a step of speed has its upper end": ("step -> step <= waited_ns", "step -> step < waited_ns"),
    "a band of size has its upper end": ("step -> step > o.notional", "step -> step >= o.notional"),
    "a round lot is an odd one": ("o.shares < arrayElement", "o.shares <= arrayElement"),
    "replaced orders are received once": ("sequence = 1 OR (event_type = 'STATUS' AND status = 'REPLACED')", "sequence = 1"),
    "the midpoint is not midpoint or better": ("2 * r.limit_price >= r.bid + r.ask", "2 * r.limit_price > r.bid + r.ask"),
    "executed away is our own": ("sumIf(quantity, venue != 'TRDS')", "sumIf(quantity, venue = 'TRDS')"),
    "cancelled shares are the open ones": ("executed_shares - o.open_shares AS cancelled", "executed_shares AS cancelled"),
    "improvement is against the wrong side": ("e.ask - e.price, e.price - e.bid", "e.price - e.bid, e.ask - e.price"),
    "any horizon does for all": ("found -> tupleElement(found, 1), groupArray", "found -> -tupleElement(found, 1), groupArray"),
    "an open stop is executable": ("o.is_stop AND (o.triggered_at < o.opens", "o.is_stop AND (false"),
    "the opening quote is nobody's": (
        "greatest(if(is_stop, triggered_at, received_at), opens)", "if(is_stop, triggered_at, received_at)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_view_differs_from_the_paper(paper: Config, name: str) -> None:
    old, new = BROKEN[name]
    sql = MIGRATION.read_text(encoding="utf-8")
    assert sql.count(old) == 1
    client = connect(paper)
    try:
        views(client, sql.replace(old, new))
        left_out = excluded(client)
        rows = reported(client)
        assert any(differences(scenario, rows, left_out) for scenario in SCENARIOS)
    finally:
        views(client, sql)


@pytest.fixture(scope="module")
def simulated(gateway: GatewayProcess) -> Config:
    config = gateway.config("simulated")
    migrate.apply(config, print)
    archive(config, play())
    return config


def test_report_of_a_simulated_day_equals_the_slow_recomputation(simulated: Config) -> None:
    client = connect(simulated)
    rows = reported(client, DEFAULT_DAY)
    expected = recompute(client, DEFAULT_DAY)
    assert len(expected) > 100 and set(rows) == set(expected)
    assert {key: {name: row[name] for name in expected[key]} for key, row in rows.items()} == expected
    # The fields that no order could fill are empty, not 0.
    blank = {"RegExctdOrderQty", "RegExctdOrderOnXchngQty"} | {
        name for name in report_605.DETAILED_FIELDS if "BestPr" in name
    }
    assert {row[name] for row in rows.values() for name in blank} == {""}


def test_report_on_paper_equals_the_slow_recomputation(paper: Config, answered: Any) -> None:
    expected = recompute(connect(paper), DAY)
    rows = {key: {name: row[name] for name in expected[key]} for key, row in answered[0].items()}
    assert rows == expected


def test_executions_and_orders_add_up_to_the_tables(simulated: Config) -> None:
    client = connect(simulated)
    fills, reported_fills, left_out = client.query(
        "SELECT (SELECT count() FROM trade_events WHERE event_date = {day:Date}), "
        "(SELECT count() FROM executions_605(day = {day:Date})), "
        "(SELECT sum(length(fills)) FROM orders_605(day = {day:Date}) WHERE exclusion != '')",
        parameters={"day": DEFAULT_DAY},
    ).result_rows[0]
    assert reported_fills > 500 and fills == reported_fills + left_out


def test_summary_adds_up_symbols_by_index_band_and_type(simulated: Config) -> None:
    month = report_605.collect(connect(simulated), DEFAULT_DAY, lambda _: None)
    symbol = min(cell.symbol for cell in month.cells)
    rows = report_605.summary(month, {symbol})
    keys = [(row["Sp500"], row["OrderType"], int(row["OrderSize"])) for row in rows]
    assert (
        len(keys) == len(set(keys))
        and {key[0] for key in keys} == {"Y", "N"}
        and {key[1] for key in keys} == {"M", "ML"}
    )
    kinds = {"MXXNN": "M", "LYNNN": "ML"}
    for row in rows:
        cells = [
            sums
            for cell, sums in month.cells.items()
            if kinds.get(cell.order_type) == row["OrderType"] and (cell.symbol == symbol) == (row["Sp500"] == "Y")
            and (cell.order_size == int(row["OrderSize"]) or (row["OrderSize"] == "199999" and cell.order_size < 200_000))
        ]  # fmt: skip
        orders, shares = (sum(float(sums[name]) for sums in cells) for name in ("covered_orders", "covered_shares"))
        assert float(row["AvgOrderQty"]) == pytest.approx(shares / orders, abs=1e-6)
        quoted, amount, spread = (
            sum(float(sums[name]) for sums in cells) for name in ("quoted_shares", "effective_amount", "quoted_amount")
        )
        assert float(row["AvgEFQPct"]) == pytest.approx(amount / spread, abs=1e-6)
        better = sum(float(sums["improved_shares"]) for sums in cells)
        assert float(row["PctExctdPI"]) == pytest.approx(better / quoted, abs=1e-6)
    text = report_605.summary_file(month, rows, "T", "TRDS")
    assert text.startswith("DsgntParticipant,RprtEntityCd,RptDate,Sp500,") and text.count("\r\n") == len(rows) + 1


def test_month_without_quotes_says_that_they_are_gone(gateway: GatewayProcess) -> None:
    config = gateway.config("unquoted")
    migrate.apply(config, print)
    write(config, "order-events", SCENARIOS[0].records["order-events"])
    with pytest.raises(
        report_605.NotReportableError, match="1 orders are not covered: NO_NBBO; no NBBO is archived for 2026-11-20"
    ):
        report_605.collect(connect(config), DAY, print)


@pytest.mark.parametrize(
    ("month", "message"),
    [
        (date(2026, 7, 31), "holds from 2026-08 on, and 2026-07 is before it"),
        (date(2027, 2, 1), "no order of 2027-02 is archived; the newest months with orders: 2026-11"),
    ],
)
def test_month_without_a_report_says_why(paper: Config, month: date, message: str) -> None:
    with pytest.raises(report_605.NotReportableError, match=message):
        report_605.collect(connect(paper), month, print)


def test_instruments_decide_what_is_a_stock_and_a_round_lot(paper: Config, gateway: GatewayProcess) -> None:
    bands = SCENARIOS[-1]
    client = connect(archived(gateway, "instruments", bands))

    def lots() -> dict[str, str]:
        sql = "SELECT order_id, if(exclusion = '', lot_size, exclusion) FROM orders_605(day = {day:Date})"
        return {order[-1]: found for order, found in client.query(sql, parameters={"day": DAY}).result_rows}

    assert lots() == {"A": "ROUND", "B": "ROUND", "C": "ODD", "D": "ODD", "E": "ODD"}
    for offset, (close, kind) in enumerate([("300", "STOCK"), ("10", "OPTION")]):
        client.command(
            "INSERT INTO reference_data (kind, key, instrument_symbol, instrument_prior_close, instrument_asset_class, "
            f"effective_from, event_date, _offset) VALUES ('INSTRUMENT', 'instrument:{bands.symbol}', '{bands.symbol}', {close}, "
            f"'{kind}', '2026-11-{19 + offset} 05:00:00', '2026-11-19', {offset})"
        )
        # 40 shares at a prior close of 300; then the instrument is an option.
        stock = {"A": "ROUND", "B": "ROUND", "C": "ODD", "D": "ODD", "E": "ROUND"}
        assert lots() == (stock if kind == "STOCK" else dict.fromkeys("ABCDE", "NOT_A_STOCK"))


def test_session_of_the_day_decides_regular_hours(gateway: GatewayProcess) -> None:
    client = connect(archived(gateway, "sessions", SCENARIOS[-2]))
    assert excluded(client) == {}
    client.command(
        "INSERT INTO reference_data (kind, key, session_date, session_open_time, session_close_time, event_date) "
        "VALUES ('SESSION', 'session:2026-11-20', '2026-11-20', '2026-11-20 14:30:00', '2026-11-20 18:00:00', '2026-11-19')"
    )
    assert list(excluded(client).values()) == ["EXECUTED_OUTSIDE_HOURS"]


def views(client: Any, sql: str) -> None:
    """Make the views of the migration anew."""
    for statement in re.split(r";\s*\n", sql):
        if "CREATE" in statement:
            client.command(statement)
