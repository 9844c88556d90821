"""The detailed report of Rule 605 once more: one order and one quote after the other, from the rows of the archive's tables.

Slow and obvious. It shares no code with the views and none with jobs.report_605; the numbers of the rule are written out again.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

BANDS: Final = [0, 250, 1_000, 5_000, 10_000, 20_000, 50_000, 200_000]
HORIZONS: Final = {
    "50millisec": 50_000_000,
    "1sec": 10**9,
    "15sec": 15 * 10**9,
    "1min": 60 * 10**9,
    "5min": 300 * 10**9,
}
SPEEDS: Final = {
    "to100microsec": 100_000, "to1millisec": 10**6, "to10millisec": 10**7, "to1sec": 10**9, "to10sec": 10**10,
    "to30sec": 3 * 10**10, "to5min": 3 * 10**11,
}  # fmt: skip
Rows = list[dict[str, Any]]


@dataclass(slots=True)
class Quote:
    """The NBBO from a time on."""

    at: int
    bid: Decimal
    bid_size: int
    ask: Decimal
    ask_size: int

    @property
    def both(self) -> bool:
        """Both sides are there."""
        return self.bid > 0 and self.ask > 0

    @property
    def mid(self) -> Decimal:
        """The midpoint."""
        return (self.bid + self.ask) / 2


class Market:
    """The quotes of a symbol, in time."""

    def __init__(self, rows: Rows) -> None:
        last: dict[int, dict[str, Any]] = {}
        for row in sorted(rows, key=lambda row: (row["at"], row["sequence"], row["_offset"])):
            last[row["at"]] = row
        self.quotes = [
            Quote(at, row["bid_price"] or Decimal(0), row["bid_size"], row["ask_price"] or Decimal(0), row["ask_size"])
            for at, row in last.items()
        ]

    def as_of(self, at: int) -> Quote | None:
        """The newest quote at a time."""
        found = None
        for quote in self.quotes:
            if quote.at <= at:
                found = quote
        return found


@dataclass(slots=True)
class Received:
    """An order as received or replaced, with what became of it until it ended or was replaced."""

    events: Rows = field(default_factory=list)
    replaced_at: int | None = None
    triggered_before: bool = False


def received(events: Rows) -> list[Received]:
    """The orders that were received on the day; `events` are those of one order in sequence."""
    found: list[Received] = []
    triggered = False
    for event in events:
        if event["event_type"] in ("CANCEL_REJECTED", "REPLACE_REJECTED"):
            continue
        if event["sequence"] == 1 or (event["event_type"] == "STATUS" and event["status"] == "REPLACED"):
            if found:
                found[-1].replaced_at = event["at"]
            found.append(Received([], None, triggered))
        triggered = triggered or event["event_type"] == "TRIGGERED"
        if found:
            found[-1].events.append(event)
    return found


@dataclass(slots=True)
class Cell:
    """What is counted for one row of the report."""

    n: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))


def recompute(client: Any, day: date) -> dict[tuple[str, str, str, str], dict[str, str]]:
    """(symbol, order type, size, lot) -> field -> value, for the fields that depend on the orders."""

    def rows(sql: str) -> Rows:
        return list(client.query(sql, parameters={"day": day}).named_results())

    quotes: dict[str, Rows] = defaultdict(list)
    for row in rows("SELECT *, toUnixTimestamp64Nano(timestamp) AS at FROM nbbo WHERE event_date = {day:Date}"):
        quotes[row["symbol"]].append(row)
    markets = {symbol: Market(found) for symbol, found in quotes.items()}
    restricted: dict[str, list[tuple[int, int, bool]]] = defaultdict(list)
    for row in rows(
        "SELECT *, toUnixTimestamp64Nano(timestamp) AS at FROM market_status WHERE event_date = {day:Date}"
    ):
        restricted[row["symbol"]].append((row["at"], row["_offset"], row["short_sale_restricted"]))
    orders: dict[tuple[str, str], Rows] = defaultdict(list)
    for row in rows(
        "SELECT *, toUnixTimestamp64Nano(timestamp) AS at FROM order_events WHERE event_date = {day:Date} "
        "ORDER BY sequence, _offset"
    ):
        orders[row["account_id"], row["order_id"]].append(row)
    zone = ZoneInfo("America/New_York")
    opens, closes = (
        int(datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone).timestamp()) * 10**9
        for hour, minute in ((9, 30), (16, 0))
    )
    cells: dict[tuple[str, str, str, str], Cell] = defaultdict(Cell)
    for events in orders.values():
        for order in received(events):
            market = markets.get(order.events[0]["symbol"], Market([]))
            flags = [
                flag for at, _, flag in sorted(restricted[order.events[0]["symbol"]]) if at <= order.events[0]["at"]
            ]
            _count(order, market, bool(flags and flags[-1]), opens, closes, cells)
    return {key: _fields(key[1], cell.n) for key, cell in cells.items()}


def _count(
    order: Received, market: Market, short_restricted: bool, opens: int, closes: int, cells: dict[Any, Cell]
) -> None:
    first, last = order.events[0], order.events[-1]
    fills = [event for event in order.events if event["last_quantity"] > 0]
    buys = first["side"] == "BUY"
    limit = first["price"]
    stop = first["order_type"] in ("STOP", "STOP_LIMIT") and not order.triggered_before
    if any(event["status"] == "REJECTED" for event in order.events) or first["time_in_force"] in ("OPG", "CLS", "FOK"):
        return
    if first["side"] == "SELL_SHORT" and short_restricted:
        return
    if any(not opens <= fill["at"] < closes for fill in fills):
        return
    begins = first["at"]
    if stop:
        triggers = [event["at"] for event in order.events if event["event_type"] == "TRIGGERED"]
        if not triggers or not opens <= triggers[0] < closes:
            return
        begins = triggers[0]
    moment = max(begins, opens)
    quote = market.as_of(moment)
    at_once = moment < closes and quote is not None and quote.both
    if at_once:
        classified_at = moment
    else:
        later = [known for known in market.quotes if known.both and known.at >= moment and opens <= known.at < closes]
        if not later:
            return
        quote = later[0]
        classified_at = quote.at
    assert quote is not None
    is_market = first["order_type"] in ("MARKET", "STOP")
    marketable = not is_market and (limit >= quote.ask if buys else limit <= quote.bid)
    in_hours = at_once and opens <= first["at"] < closes
    if not stop and not in_hours and (is_market or marketable):
        return
    ioc = first["time_in_force"] == "IOC"
    if is_market:
        kind = "MXXNY" if stop else "MXXNN"
    elif stop:
        kind = "LYNNY" if marketable else "LNNNY"
    elif marketable:
        kind = "LYNYN" if ioc else "LYNNN"
    elif limit >= quote.mid if buys else limit <= quote.mid:
        kind = "LNYYN" if ioc else "LNYNN"
    else:
        kind = "LNNYN" if ioc else "LNNNN"
    executable_at = classified_at
    if kind in ("LNNYN", "LNNNN") and (limit < quote.bid if buys else limit > quote.ask):
        ended = (
            order.replaced_at if order.replaced_at is not None else closes if last["leaves_quantity"] else last["at"]
        )
        times = [
            known.at
            for known in market.quotes
            if known.both and classified_at < known.at <= min(ended, closes)
            and (limit >= known.bid if buys else limit <= known.ask)
        ] + [fill["at"] for fill in fills]  # fmt: skip
        if not times:
            return
        executable_at = min(times)
    shares = first["quantity"] if first["sequence"] == 1 else first["leaves_quantity"]
    notional = shares * ((quote.ask if buys else quote.bid) if is_market else limit)
    mid = quote.mid
    round_lot = 100 if mid <= 250 else 40 if mid <= 1_000 else 10 if mid <= 10_000 else 1
    size = max(band for band in BANDS if band <= notional)
    n = cells[first["symbol"], kind, str(size), "ODD" if shares < round_lot else "ROUND"].n
    n["orders"] += 1
    n["notional"] += notional
    n["shares"] += shares
    executed = sum(fill["last_quantity"] for fill in fills)
    still_open = 0 if order.replaced_at is not None else last["leaves_quantity"]
    n["cancelled"] += shares - executed - still_open
    n["filled"] += bool(fills)
    at = market.as_of(executable_at)
    well = 0
    for fill in fills:
        quantity, price = fill["last_quantity"], fill["last_price"]
        sign = 1 if buys else -1
        waited = max(0, fill["at"] - executable_at)
        n["here" if fill["venue"] == "TRDS" else "away"] += quantity
        n["speed " + next((name for name, step in SPEEDS.items() if waited < step), "Othr")] += quantity
        n["ns"] += waited * quantity
        for name, horizon in HORIZONS.items():
            then = market.as_of(min(fill["at"] + horizon, closes - 1))
            if then is not None and then.both:
                n["real " + name] += 2 * sign * (price - then.mid) * quantity
                n["real shares " + name] += quantity
        if at is None or not at.both:
            continue
        n["quoted"] += quantity
        n["mid"] += at.mid * quantity
        n["spread"] += (at.ask - at.bid) * quantity
        n["effective"] += 2 * sign * (price - at.mid) * quantity
        better = at.ask - price if buys else price - at.bid
        well += quantity if better >= 0 else 0
        which = "PI" if better > 0 else "at" if better == 0 else "out"
        n[which] += quantity
        n[which + " amount"] += abs(better) * quantity
        n[which + " ns"] += waited * quantity
    displayed = 0 if at is None else at.ask_size if buys else at.bid_size
    if fills:
        n["benchmark"] += min(shares, displayed)
    if shares > displayed:
        n["outsized"] += max(0, well - displayed)


def _fields(kind: str, n: dict[str, Decimal]) -> dict[str, str]:
    def mean(amount: str, weight: str, scale: int = 1) -> Decimal | None:
        return n[amount] / n[weight] / scale if n[weight] else None

    mid = mean("mid", "quoted")
    effective = mean("effective", "quoted")
    n["executed"] = n["here"] + n["away"]
    found: dict[str, Decimal | None] = {
        "CvrdOrderCnt": n["orders"], "CvrdOrderSize": n["notional"], "CvrdOrderQty": n["shares"],
        "CvrdOrderCnclQty": n["cancelled"], "CvrdOrderExctdQty": n["here"], "CvrdOrderExctdAwayQty": n["away"],
        "ExctdOrderMidPtAvg": mid, "ExctdOrderAvgQuotSprd": mean("spread", "quoted"), "AvgEffctvSprd": effective,
        "AvgEffctvSprdPct": effective / mid if effective is not None and mid else None, "AvgEFQPct": mean("effective", "spread"),
    }  # fmt: skip
    for name in (*SPEEDS, "Othr"):
        found[f"CvrdOrderQty{name}"] = n["speed " + name]
    for name in HORIZONS:
        real = mean("real " + name, "real shares " + name)
        found[f"AvgRealSprd{name}"] = real
        found[f"AvgRealSprdPct{name}"] = real / mid if real is not None and mid else None
    waiting = not kind.startswith(("M", "LY"))
    if not waiting or kind.startswith("LNY"):
        found |= {
            "ExctdPIOrdersQty": n["PI"], "ExctdPIOrdWghtdAvgAmtPerShare": mean("PI amount", "PI"),
            "ExctdPIOrdWghtdAvgTime": mean("PI ns", "PI", 10**6), "ExctdOrderAtQuotQty": n["at"],
            "ExctdAtQuotOrdWghtdAvgTime": mean("at ns", "at", 10**6), "ExctdOrderOutQuotQty": n["out"],
            "ExctdOutQuotOrdWghtdAvgAmt": mean("out amount", "out"),
            "ExctdOutQuotOrdWghtdAvgTime": mean("out ns", "out", 10**6), "ExctdOrderSizeBnchmrkQty": n["benchmark"],
            "ExctdSIOutsizedQty": n["outsized"],
        }  # fmt: skip
    if waiting:
        found |= {"FilledOrderCnt": n["filled"], "FilledOrderWghtdAvgTime": mean("ns", "executed", 10**6)}
    return {name: _text(value) for name, value in found.items()}


def _text(value: Decimal | None) -> str:
    if value is None:
        return ""
    return f"{value.quantize(Decimal('0.000001'), ROUND_HALF_UP).normalize() + 0:f}"
