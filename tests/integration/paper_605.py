"""The scenarios of tests/golden/rule_605.txt, as records to be archived and as lines that the report must have."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

DAY: Final = date(2026, 11, 20)
FILE: Final = Path(__file__).resolve().parent.parent / "golden" / "rule_605.txt"
_NEW_YORK: Final = ZoneInfo("America/New_York")
_QUOTE: Final = re.compile(r"quote (\S+)(?: x (\d+))? / (\S+)(?: x (\d+))?")
_ORDER: Final = re.compile(
    r"(\w) (buys|sells|sells short) (\d+) (?:at the market|(?:at stop (\S+))? ?(?:with limit ([\d.]+))?)(?:, (.+))?"
)
_FILL: Final = re.compile(r"(\w) fills (\d+) at (\S+) on (\w+)")
_REPLACE: Final = re.compile(r"(\w) is replaced by (\d+) with limit (\S+)")
_SIDES: Final = {"buys": "BUY", "sells": "SELL", "sells short": "SELL_SHORT"}
_LIVES: Final = {
    None: "DAY", "immediate or cancel": "IOC", "fill or kill": "FOK", "at the close": "CLS", "good till cancelled": "GTC",
}  # fmt: skip


@dataclass(slots=True)
class Scenario:
    """One scenario: a symbol of its own, records by topic, and what is expected."""

    title: str
    symbol: str
    records: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {"nbbo": [], "order-events": [], "market-status": []}
    )
    rows: dict[tuple[str, str, str], dict[str, str]] = field(default_factory=dict)
    """(order type, size, lot) -> field -> value of the detailed report; "" for none."""
    exclusions: dict[str, str] = field(default_factory=dict)
    """Order -> why it is not covered."""

    def play(self, line: str) -> None:
        """A line of the scenario."""
        if line.startswith("="):
            self._expect(line[1:].strip())
            return
        time, _, what = line.partition(" ")
        time_ns, what = nanoseconds(time), what.strip()
        if found := _QUOTE.fullmatch(what):
            bid, bid_size, ask, ask_size = found.groups()
            self._quote(time_ns, bid, int(bid_size or 0), ask, int(ask_size or 0))
        elif what == "short sales are restricted":
            self.records["market-status"].append(
                {"symbol": self.symbol, "shortSaleRestricted": True, "timestamp": time_ns}
            )
        elif found := _FILL.fullmatch(what):
            order, shares, price, venue = found.groups()
            self._change(order, time_ns, "FILL", last=int(shares), price=price, venue=venue)
        elif found := _REPLACE.fullmatch(what):
            order, total, price = found.groups()
            self._change(order, time_ns, "REPLACED", total=int(total), price=price)
        elif what.endswith((" is cancelled", " is rejected", " is triggered")):
            self._change(what[0], time_ns, what.rpartition(" ")[2].upper())
        elif found := _ORDER.fullmatch(what):
            order, side, shares, stop, limit, life = found.groups()
            self._new(order, time_ns, _SIDES[side], int(shares), stop, limit, _LIVES[life])
        else:
            raise ValueError(f"{self.title}: {line!r} is not understood")

    def _quote(self, time_ns: int, bid: str, bid_size: int, ask: str, ask_size: int) -> None:
        quotes = self.records["nbbo"]
        quotes.append(
            {
                "eventId": f"{self.symbol}-{len(quotes)}", "symbol": self.symbol, "sequence": len(quotes) + 1,
                "timestamp": time_ns, "bidPrice": e4(bid), "bidSize": bid_size, "askPrice": e4(ask), "askSize": ask_size,
            }
        )  # fmt: skip

    def _new(
        self, order: str, time_ns: int, side: str, shares: int, stop: str | None, limit: str | None, life: str
    ) -> None:
        kind = ("STOP_LIMIT" if limit else "STOP") if stop else ("LIMIT" if limit else "MARKET")
        self.records["order-events"].append(
            {
                "eventId": f"{self.symbol}-{order}-1", "eventType": "STATUS", "orderId": f"{self.symbol}-{order}",
                "accountId": "PAPER", "symbol": self.symbol, "side": side, "orderType": kind, "timeInForce": life,
                "quantity": shares, "price": e4(limit or "-"), "stopPrice": e4(stop or "-"), "status": "ROUTED",
                "reason": "NONE", "reasonText": None, "cumQuantity": 0, "leavesQuantity": shares, "lastQuantity": 0,
                "lastPrice": None, "tradeId": None, "venue": "TRDS", "sequence": 1, "timestamp": time_ns,
            }
        )  # fmt: skip

    def _change(self, order: str, time_ns: int, what: str, **given: Any) -> None:
        events = self.records["order-events"]
        event = dict(next(known for known in reversed(events) if known["orderId"] == f"{self.symbol}-{order}"))
        sequence = event["sequence"] + 1
        event |= {
            "eventId": f"{self.symbol}-{order}-{sequence}", "sequence": sequence, "timestamp": time_ns, "venue": None,
            "eventType": "STATUS", "lastQuantity": 0, "lastPrice": None, "tradeId": None,
        }  # fmt: skip
        if what == "FILL":
            event["cumQuantity"] += given["last"]
            event["leavesQuantity"] -= given["last"]
            event |= {
                "lastQuantity": given["last"], "lastPrice": e4(given["price"]), "tradeId": event["eventId"],
                "venue": given["venue"], "status": "PARTIALLY_FILLED" if event["leavesQuantity"] else "EXECUTED",
            }  # fmt: skip
        elif what == "REPLACED":
            leaves = given["total"] - event["cumQuantity"]
            event |= {
                "status": what, "quantity": given["total"], "price": e4(given["price"]), "leavesQuantity": leaves,
            }  # fmt: skip
        elif what == "TRIGGERED":
            event["eventType"] = what
        else:
            event |= {"status": what, "leavesQuantity": 0}
        events.append(event)

    def _expect(self, text: str) -> None:
        what, _, values = text.partition(": ")
        words = what.split()
        if len(words) == 1:
            self.exclusions[words[0]] = values
            return
        kind, size, lot = words
        wanted = self.rows.setdefault((kind, size, lot), {})
        for pair in values.split(", "):
            name, value = pair.split()
            assert name not in wanted, f"{self.title}: {name} is expected twice"
            wanted[name] = "" if value == "-" else value


def scenarios() -> list[Scenario]:
    """All of the file. Raises ValueError for a line that says nothing known."""
    found: list[Scenario] = []
    for line in FILE.read_text(encoding="utf-8").splitlines():
        if line.startswith("Scenario: "):
            found.append(Scenario(line.removeprefix("Scenario: "), f"P{len(found):02}"))
        elif found and line and not line.startswith("#"):
            found[-1].play(line)
    return found


def e4(price: str) -> int | None:
    """A price in 1/10,000; None for "-"."""
    return None if price == "-" else int(Decimal(price) * 10_000)


def nanoseconds(time: str) -> int:
    """A time of the day in New York, with up to nine decimals, as nanoseconds of Unix time."""
    whole, _, rest = time.partition(".")
    hour, minute, second = map(int, whole.split(":"))
    local = datetime(DAY.year, DAY.month, DAY.day, hour, minute, second, tzinfo=_NEW_YORK)
    return int(local.astimezone(UTC).timestamp()) * 10**9 + int(rest.ljust(9, "0"))
