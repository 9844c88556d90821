"""Golden scenarios: tests/golden/trading_*.txt, to be read by people who know trading.

A line that begins with `>` is an input; the lines below it are everything that it caused. The test runs the inputs and compares
the whole text. After a wanted change of the rules compile, run `PYTHONPATH=. python
tests/property/test_trading_golden.py --update`, and read the diff.
Every scenario starts with an open session, 09:30 to 16:00, another one on the next day, the symbol IBM (tick 0.01) and
no quotes. Outcomes reach the risk stage after each input, but between `> hold outcomes` and `> settle`.
`NAME=value` words of accounts and instruments that the grammar does not know are fields of the schema: numbers as they are,
`$` before money. `> days 2026-11-30 2026-12-01` puts a scenario on other days than those of 2023. A time of another day is
said with its date, as in 2026-11-30T10:00, in New York. `> preopen 08:00` lets orders in before the opening, which is then
an auction.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import trading_harness as h

from udfs.domain.reasons import NOT_REACHABLE, REASONS

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
INSTRUCTIONS = {"IMBALANCE_ONLY": "imbalanceOnly", "DO_NOT_REDUCE": "doNotReduce"}
FILES = sorted(GOLDEN.glob("trading_*.txt"))
DAY_1 = "2023-11-14"
DAY_2 = "2023-11-15"


def e4(text: str) -> int:
    """Decimal text as 1/10,000."""
    whole, _, fraction = text.removeprefix("-").partition(".")
    value = int(whole) * 10_000 + int((fraction + "0000")[:4])
    return -value if text.startswith("-") else value


def money(value: int | None) -> str:
    """1/10,000 as decimal text, at least two places."""
    if value is None:
        return "-"
    sign, value = ("-", -value) if value < 0 else ("", value)
    text = f"{value // 10_000}.{value % 10_000:04d}"
    return sign + (text[:-2] if text.endswith("00") else text)


def new_york(text: str) -> int:
    """DATETHH:MM in New York as nanoseconds."""
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("America/New_York")).timestamp()) * h.SECOND


def value_of(text: str, at: Callable[[str], int]) -> Any:
    """A field of the schema: true, false, null, $money, @time, a number or a word."""
    if text in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[text]
    if text.startswith("$"):
        return e4(text[1:])
    if text.startswith("@"):
        return at(text[1:])
    return int(text) if text.lstrip("-").isdigit() else text


class Scenario:
    """Runs the inputs of one scenario."""

    def __init__(self) -> None:
        self.now = 0
        self.sequences: dict[str, int] = {}
        self.hold = False
        self.started = False
        self.controls = 0
        self.orders: dict[str, dict[str, Any]] = {}
        self.quotes: dict[str, list[tuple[Any, ...]]] = {}
        self._begin((DAY_1, DAY_2), (h.OPEN, h.NEXT_OPEN))

    def _begin(self, days: tuple[str, str], opens: tuple[int, int]) -> None:
        self.days, self.opens = days, opens
        self.desk = h.Desk(check_every_step=True)
        self.desk.run(
            [
                h.session(self.days[0], self.at("09:30"), self.at("16:00")),
                h.session(self.days[1], self.at("next-09:30"), self.at("next-16:00")),
                h.instrument("IBM"),
            ]
        )
        self.now = self.at("09:30")

    def run(self, line: str) -> list[str]:
        """Apply one input line; returns what to print below it."""
        kind, *words = line.split()
        options = dict(word.split("=", 1) for word in words if "=" in word)
        plain = [word for word in words if "=" not in word]
        if kind not in ("account", "days", "instrument", "preopen") and not self.started:
            self.started = True
            self.desk.run([h.snapshot_end()])
        before = len(self.desk.records)
        shown = getattr(self, f"do_{kind}")(plain, options)
        if not self.hold:
            self.desk.settle()
        return [render(topic, record) for topic, record in self.desk.records[before:]] + (shown or [])

    def at(self, text: str) -> int:
        """HH:MM[:SS] of the first day, next-HH:MM of the second, or DATETHH:MM, all in New York, as nanoseconds."""
        if "T" in text:
            return new_york(text)
        day = self.opens[text.startswith("next-")]
        hour, minute, *rest = (int(part) for part in text.removeprefix("next-").split(":"))
        second = rest[0] if rest else 0
        return day + ((hour - 9) * 3600 + (minute - 30) * 60 + second) * h.SECOND

    def do_days(self, plain: list[str], options: dict[str, str]) -> None:
        """FIRST SECOND: the first line of a scenario that is about other days."""
        first, second = plain
        self._begin((first, second), (new_york(first + "T09:30"), new_york(second + "T09:30")))

    def do_account(self, plain: list[str], options: dict[str, str]) -> None:
        terms: dict[str, Any] = {}
        for name in ("cash", "commission", "max_order_notional"):
            if name in options:
                terms[name] = e4(options[name])
        for name in ("max_order_quantity", "max_position"):
            if name in options:
                terms[name] = int(options[name])
        if "holds" in options:
            terms["positions"] = {s: int(q) for s, q in (p.split(":") for p in options["holds"].split(","))}
        known = (*terms, "holds")
        terms |= {name: value_of(text, self.at) for name, text in options.items() if name not in known}
        self.desk.run([h.account(plain[0], active="inactive" not in plain, **terms)])

    def do_instrument(self, plain: list[str], options: dict[str, str]) -> None:
        fields = {
            name: value_of(text, self.at) for name, text in options.items() if name not in ("tick", "from", "contract")
        }
        if "contract" in options:
            names = ("underlying", "multiplier", "expiryTime", "right", "strike", "broadIndex", "maintenanceMargin")
            names += ("settlementPrice", "settlementTime")
            fields["contract"] = dict(
                zip(names, (value_of(text, self.at) for text in options["contract"].split(",")), strict=True)
            )
        kind, record = h.instrument(plain[0], e4(options.get("tick", "0.01")), "inactive" not in plain, **fields)
        if "from" in options:
            record["effectiveFrom"] = self.at(options["from"])
        self.desk.run([(kind, record)])

    def do_preopen(self, plain: list[str], options: dict[str, str]) -> None:
        self.now = self.at(plain[0])
        self.desk.run([h.session(self.days[0], self.at("09:30"), self.at("16:00"), self.now)])
        self.desk.run(
            [h.session(self.days[1], self.at("next-09:30"), self.at("next-16:00"), self.at("next-" + plain[0]))]
        )

    def do_session(self, plain: list[str], options: dict[str, str]) -> None:
        """NAME OPEN CLOSE: one more session; hours above 24 are of later days."""
        self.desk.run([h.session(plain[0], self.at(plain[1]), self.at(plain[2]))])

    def do_quote(self, plain: list[str], options: dict[str, str]) -> None:
        symbol, *quotes = plain
        self.now = self.at(options["at"]) if "at" in options else self.now
        venues = []
        for text in quotes:
            exchange, _, sides = text.partition(":")
            values: list[Any] = []
            for side in sides.split("/"):
                price, _, size = side.partition("x")
                values += [None, 0] if price == "none" else [e4(price), int(size)]
            venues.append((exchange, *values))
        self.sequences[symbol] = self.sequences.get(symbol, 0) + 1
        times = {v[0]: self.at(options["since"]) for v in venues} if "since" in options else None
        self.quotes[symbol] = venues
        self.desk.run([h.quote(symbol, self.sequences[symbol], venues, self.now, times)])

    def do_print(self, plain: list[str], options: dict[str, str]) -> None:
        """Trades at exchanges, with the quotes as they were."""
        symbol, *prices = plain
        self.now = self.at(options["at"]) if "at" in options else self.now
        self.sequences[symbol] = self.sequences.get(symbol, 0) + 1
        venues = self.quotes.get(symbol, [])
        self.desk.run(
            [h.quote(symbol, self.sequences[symbol], venues, self.now, None, [e4(price) for price in prices])]
        )

    def do_order(self, plain: list[str], options: dict[str, str]) -> None:
        words = [word for word in plain if word not in INSTRUCTIONS]
        order_id, account_id, side, quantity, symbol, order_type, *rest = words
        self.now = self.at(options["at"]) if "at" in options else self.now
        price = e4(rest.pop(0)) if rest and rest[0].lstrip("-")[0].isdigit() else None
        fields: dict[str, Any] = {"orderType": order_type, "stp": options.get("stp", "NONE")}
        fields |= {name: True for word, name in INSTRUCTIONS.items() if word in plain}
        if "locate" in options:
            fields["locateId"] = options["locate"]
        if "stop" in options:
            fields["stopPrice"] = e4(options["stop"])
        if "timestamp" in options:
            fields["timestamp"] = self.at(options["timestamp"])
        else:
            fields["timestamp"] = self.now
        step = h.order(
            order_id.replace("~", " "), account_id, symbol, side, int(quantity), price, rest[0] if rest else "DAY"
        )
        self.desk.run([(step[0], {**step[1], **fields})])
        terms = {name: step[1][name] for name in ("symbol", "side", "timeInForce")}
        self.orders[step[1]["orderId"]] = {**terms, "orderType": order_type}

    def do_cancel(self, plain: list[str], options: dict[str, str]) -> None:
        self._command("CANCEL", plain, 0, None, options)

    def do_replace(self, plain: list[str], options: dict[str, str]) -> None:
        """ORDER ACCOUNT QUANTITY [PRICE] [DO_NOT_REDUCE]; what is not said is as in the order."""
        words = [word for word in plain if word not in INSTRUCTIONS]
        price = e4(words[3]) if len(words) > 3 else None
        self._command("REPLACE", plain, int(words[2]) if len(words) > 2 else 0, price, options)

    def _command(
        self, command: str, plain: list[str], quantity: int, price: int | None, options: dict[str, str]
    ) -> None:
        self.now = self.at(options["at"]) if "at" in options else self.now
        symbol = options.get("symbol", "IBM")
        step = h.order(plain[0], plain[1], symbol, "BUY", quantity, price, timestamp=self.now, command=command)
        if command == "REPLACE":
            step[1].update(self.orders.get(plain[0], {}))
            step[1].update({name: True for word, name in INSTRUCTIONS.items() if word in plain})
        if "stop" in options:
            step[1]["stopPrice"] = e4(options["stop"])
        self.desk.run([step])

    def do_clock(self, plain: list[str], options: dict[str, str]) -> None:
        self.now = self.at(plain[0])
        self.desk.run([("clock", self.now)])

    def do_hold(self, plain: list[str], options: dict[str, str]) -> None:
        self.hold = True

    def do_settle(self, plain: list[str], options: dict[str, str]) -> None:
        self.hold = False

    def do_control(self, plain: list[str], options: dict[str, str]) -> None:
        """KIND [account=A] [symbol=S] [limit=L] [value=N or $N] [id=ID] [settlement=DATE sale=KIND]."""
        self.controls += 1
        self.now = self.at(options["at"]) if "at" in options else self.now
        fields: dict[str, Any] = {"controlId": options.get("id", f"c{self.controls}"), "timestamp": self.now}
        if "value" in options:
            fields["value"] = value_of(options["value"], self.at)
        for option, name in (("limit", "limit"), ("settlement", "settlementDate"), ("sale", "failedSale")):
            if option in options:
                fields[name] = options[option]
        symbol = options.get("symbol")
        if "account" in options:
            fields |= {"scope": "ACCOUNT", "symbol": symbol}
        elif plain[0] == "INDEX_LEVEL":
            fields["symbol"], symbol = symbol, None
        if "scope" in options:
            fields["scope"] = options["scope"]
        self.desk.run([h.control(plain[0], options.get("account", symbol), **fields)])

    def do_action(self, plain: list[str], options: dict[str, str]) -> None:
        """ID TYPE SYMBOL [cash=MONEY] [ratio=N:M] [ex=DATE] [version=N] [cancelled]: a corporate action, of the next day."""
        fields: dict[str, Any] = {"version": int(options.get("version", "1")), "cancelled": "cancelled" in plain}
        if "cash" in options:
            fields["cashPerShare"] = e4(options["cash"])
        if "ratio" in options:
            fields["ratioNumerator"], fields["ratioDenominator"] = map(int, options["ratio"].split(":"))
        self.desk.run([h.action(plain[0], plain[1], plain[2], options.get("ex", self.days[1]), **fields)])

    def do_show(self, plain: list[str], options: dict[str, str]) -> list[str]:
        account = self.desk.risk[0].book.accounts[plain[0]]
        held = [
            f"{p.symbol}:{p.quantity} (buying {p.open_buys}, offering {p.open_sells})"
            for p in account.positions.values()
        ]
        return [
            f"  {plain[0]}  cash {money(account.cash_e4)}  reserved {money(account.reserved_e4)}  "
            f"free {money(account.buying_power())}  holds {', '.join(held) or 'nothing'}"
        ]


def render(topic: str, r: dict[str, Any]) -> str:
    """One record as an aligned line."""
    if topic == "order-events":
        what = "event " if r["eventType"] == "STATUS" else r["eventType"].lower()
        fill = f"{r['lastQuantity']} @ {money(r['lastPrice'])}" if r["lastQuantity"] else ""
        reason = "" if r["reason"] == "NONE" else r["reason"]
        line = f"  {what} {r['orderId'][:12]:<4} #{r['sequence']} {r['status']:<16} done {r['cumQuantity']:>4} open "
        if r["reason"] == "CORPORATE_ACTION":
            price = f" @ {money(r['price'])}" if r["price"] is not None else ""
            fill = f"now {r['quantity']}{price}" + (f" stop {money(r['stopPrice'])}" if r["stopPrice"] else "") + " "
        return (
            f"{line}{r['leavesQuantity']:>4}  {fill:<16}{r['venue'] or '':<5}{reason} {r['reasonText'] or ''}".rstrip()
        )
    if topic == "trade-events":
        fees = f" (regulatory {money(r['fees'])})" if r["fees"] else ""
        return (
            f"  trade  {r['orderId']:<4} {r['side']:<4} {r['quantity']:>4} {r['symbol']} @ {money(r['executionPrice'])} "
            f"{r['venue']:<4} {r['liquidity']:<8} fee {money(r['commission'])}{fees} {r['tradeId']}"
        )
    if topic == "routing-decisions":
        return (
            f"  route  {r['orderId']:<4} {r['side']:<4} {r['quantity']:>4} {r['action']:<16} {r['venue']:<4} "
            f"at {money(r['price'])}  market {money(r['bidPrice'])}/{money(r['askPrice'])}  "
            f"book {money(r['bookBidPrice'])}/{money(r['bookAskPrice'])}"
        )
    if topic == "risk-events":
        return render_risk(r)
    if topic == "market-status":
        bands = (
            f"bands {money(r['lowerBand'])} to {money(r['upperBand'])}  " if r["lowerBand"] or r["upperBand"] else ""
        )
        auction = f"auction {r['auctionQuantity']} @ {money(r['auctionPrice'])} " if r["auctionQuantity"] else ""
        rest = f"imbalance {r['imbalance']} " if r["imbalance"] else ""
        short = "short sales restricted" if r["shortSaleRestricted"] else ""
        detail = r["detail"] or ""
        return f"  status {r['symbol']} {r['state']} ({r['cause']}) {bands}{auction}{rest}{short}{detail}".rstrip()
    return f"  dead letter {r['eventId']} {r['reason']}: {r['detail']}"


def render_risk(r: dict[str, Any]) -> str:
    """A risk event: of an order its limit and what was found, of anything else what it says."""
    if r["orderId"]:
        return (
            f"  risk   {r['orderId']:<4} {r['type']} {r['reason']} limit {r['limitValue']} found {r['observedValue']} "
            f"free {money(r['buyingPower'])}"
        )
    moved = f" quantity {r['quantity']}" if r["quantity"] is not None else ""
    moved += f" cash {money(r['cashChange'])}" if r["cashChange"] is not None else ""
    who = f" by {r['issuedBy']}" if r["issuedBy"] else ""
    reason = "" if r["reason"] == "NONE" else f" {r['reason']}"
    return f"  risk   {r['accountId'] or 'firm'} {r['symbol'] or ''} {r['type']}{reason}{moved}{who}: {r['detail']}"


def replay(text: str) -> str:
    """The golden text as the engines of today make it."""
    result: list[str] = []
    scenario = Scenario()
    for line in text.splitlines():
        if line.startswith("Scenario:"):
            scenario = Scenario()
        if line.startswith(">"):
            result.append(line)
            result.extend(scenario.run(line[1:].strip()))
        elif not line.startswith("  "):
            result.append(line)
    return "\n".join(result) + "\n"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden_scenarios_replayed_give_the_same_text(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert replay(text) == text


def test_golden_scenarios_cover_every_reachable_reason() -> None:
    outputs = "\n".join(
        line for path in FILES for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("  ")
    )
    missing = [
        reason.name for reason in REASONS if reason.name not in NOT_REACHABLE and reason.name not in outputs.split()
    ]
    assert not missing, f"no golden scenario shows {missing}"


def test_golden_scenarios_unreachable_reasons_do_not_appear() -> None:
    words = {word for path in FILES for word in path.read_text(encoding="utf-8").split()}
    assert not [name for name in NOT_REACHABLE if name in words and name != "NONE" and name != "UNKNOWN"]


if __name__ == "__main__":
    if sys.argv[1:] != ["--update"]:
        sys.exit("usage: PYTHONPATH=. python tests/property/test_trading_golden.py --update")
    for golden in FILES:
        golden.write_text(replay(golden.read_text(encoding="utf-8")), encoding="utf-8")
        print(f"written: {golden.name}; read the diff")
