"""Random corporate actions for the random streams: announced early, late, again, and wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from random import Random
from typing import Any

from trading_harness import SECOND, Step, action

RATIOS = ((2, 1), (2, 1), (3, 2), (7, 5), (1, 4), (4, 4))
SESSIONS = 3


def date_of(time_ns: int, days: int = 0) -> str:
    """The day of a time, or of some days later, in UTC."""
    return (datetime.fromtimestamp(time_ns // SECOND, UTC) + timedelta(days=days)).date().isoformat()


class ActionStream:
    """Actions of one stream, drawn from a seed of their own so that everything else stays what it is without them."""

    def __init__(self, seed: int, open_ns: int, symbols: tuple[str, ...], several_days: bool) -> None:
        self.random = Random(f"corporate actions {seed}")
        self.open = open_ns
        self.symbols = symbols
        self.lively = several_days and self.random.random() < 0.6
        self.follow = self.random.random() < 0.6
        self.announced: list[dict[str, Any]] = []

    def opening(self) -> list[Step]:
        """What is known when the first session begins."""
        return [self.new() for _ in range(self.random.choice((1, 2, 4)))] if self.lively else []

    def keeps_orders(self) -> bool:
        """Whether an order is made to last, so that there are some to adjust."""
        return self.lively and self.random.random() < 0.4

    def leaps(self) -> bool:
        """Whether the next day begins at once, with things of this one on their way."""
        return self.lively and self.random.random() < 0.004

    def step(self, now: int) -> list[Step]:
        """Now and then an action, or a new version of one."""
        rnd = self.random
        if not self.lively or rnd.random() > 0.02:
            return []
        if not self.announced or rnd.random() < 0.5:
            return [self.new(now)]
        old = rnd.choice(self.announced)
        version = old["version"] + rnd.choice((0, 1, 1, 1))
        changed = self.terms() if rnd.random() < 0.5 else {}
        step = action(**{**self.named(old), **changed, "version": version, "timestamp": now})
        step[1]["cancelled"] = rnd.random() < 0.3
        self.announced.append(step[1])
        return [step]

    def new(self, now: int = 0) -> Step:
        """An action that nobody has heard of; some are nonsense."""
        rnd = self.random
        fields = self.terms()
        fields |= {"action_id": f"C{len(self.announced)}", "symbol": rnd.choice(self.symbols)}
        fields["timestamp"] = now or self.open
        if rnd.random() < 0.1:
            wrong: tuple[dict[str, Any], ...] = (
                {"ratioNumerator": 0},
                {"ratioDenominator": None},
                {"ratioNumerator": 1_000_003},
                {"cashPerShare": -1},
                {"cashPerShare": None},
                {"ex_date": "today"},
                {"version": 0},
                {"symbol": ""},
                {"kind": "UNKNOWN"},
            )
            fields |= rnd.choice(wrong)
        step = action(**fields)
        self.announced.append(step[1])
        return step

    def terms(self) -> dict[str, Any]:
        """What an action does, and when."""
        rnd = self.random
        fields: dict[str, Any] = {"ex_date": date_of(self.open, rnd.choice((-1, 0, 1, 1, 1, 2, 2, 2, SESSIONS)))}
        fields["kind"] = rnd.choice(("CASH_DIVIDEND", "CASH_DIVIDEND", "SPLIT", "SPLIT", "STOCK_DIVIDEND", "SPIN_OFF"))
        if fields["kind"] == "CASH_DIVIDEND":
            fields["cashPerShare"] = rnd.choice((0, 99, 100, 750, 2_500, 12_345, 1_0000))
        elif fields["kind"] == "SPLIT":
            fields["ratioNumerator"], fields["ratioDenominator"] = rnd.choice(RATIOS)
        elif fields["kind"] == "STOCK_DIVIDEND":
            fields["ratioNumerator"], fields["ratioDenominator"] = rnd.choice(((1, 20), (1, 10), (1, 2)))
        return fields

    @staticmethod
    def named(record: dict[str, Any]) -> dict[str, Any]:
        """A record as the arguments that make it."""
        renamed = {"actionId": "action_id", "type": "kind", "exDate": "ex_date"}
        return {renamed.get(name, name): value for name, value in record.items()}

    def price_of(self, symbol: str, price: int, before: int, now: int) -> int:
        """A price after the splits whose day has come between two times, in streams whose prices follow them."""
        newest = {f["actionId"]: f for f in self.announced if f["symbol"] == symbol}
        for f in newest.values():
            if not self.follow or f["cancelled"] or not date_of(before) < f["exDate"] <= date_of(now):
                continue
            numerator, denominator = f["ratioNumerator"] or 0, f["ratioDenominator"] or 0
            if f["type"] in ("SPLIT", "STOCK_DIVIDEND") and min(numerator, denominator) > 0:
                times = Fraction(numerator, denominator) + (1 if f["type"] == "STOCK_DIVIDEND" else 0)
                price = max(1, int(price / times))
        return price
