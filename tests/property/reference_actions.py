"""Corporate actions in the slow reference: what was announced, when it takes effect, and what it makes of an order.

Written from the rules in Fractions; both stages of the reference hold a list of their own, as those of the engine do.
"""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from math import ceil, floor
from typing import Any

from reference_rules import HIGHEST_PRICE, quoted_step, text

LARGEST = 10**6
KINDS = ("CASH_DIVIDEND", "SPLIT", "STOCK_DIVIDEND")
CENT = 100


def ratio(f: dict[str, Any]) -> Fraction:
    """Shares after for each share before."""
    if f["type"] == "CASH_DIVIDEND":
        return Fraction(1)
    share = Fraction(f["ratioNumerator"], f["ratioDenominator"])
    return share if f["type"] == "SPLIT" else 1 + share


def action_text(f: dict[str, Any]) -> str:
    """An action as records tell it."""
    words = f"action={f['actionId']} type={f['type']} "
    if f["type"] == "CASH_DIVIDEND":
        return words + f"cash_per_share={text(f['cashPerShare'])}"
    return words + f"ratio={ratio(f).numerator}:{ratio(f).denominator}"


def is_possible(f: dict[str, Any]) -> bool:
    """Whether an action makes sense by itself."""
    try:
        date.fromisoformat(f["exDate"])
    except ValueError:
        return False
    if not f["actionId"] or not f["symbol"] or f["type"] == "UNKNOWN" or f["version"] < 1:
        return False
    if f["type"] == "CASH_DIVIDEND":
        return f["cashPerShare"] is not None and 0 <= f["cashPerShare"] <= HIGHEST_PRICE
    if f["type"] not in KINDS:
        return True
    if min(f["ratioNumerator"] or 0, f["ratioDenominator"] or 0) < 1:
        return False
    return max(ratio(f).numerator, ratio(f).denominator) <= LARGEST


class Announced:
    """What was announced and has not taken effect: the newest version of each action."""

    def __init__(self) -> None:
        self.versions: dict[str, int] = {}
        self.waiting: list[dict[str, Any]] = []

    def take(self, f: dict[str, Any], begun: dict[str, Any] | None) -> bool:
        """An announcement; whether there was nothing wrong with it. `begun`: the session that has begun last."""
        if 0 < f["version"] <= self.versions.get(f["actionId"], 0):
            return True
        if not is_possible(f):
            return False
        known = [old for old in self.waiting if old["actionId"] == f["actionId"]]
        self.waiting = [old for old in self.waiting if old not in known]
        self.versions[f["actionId"]] = f["version"]
        if f["type"] not in KINDS:
            return True
        if begun is not None and f["exDate"] <= begun["date"]:
            return bool(f["cancelled"] and known)
        if not f["cancelled"]:
            self.waiting.append(f)
        return True

    def due(
        self, begun: dict[str, Any] | None, session: dict[str, Any], sessions: list[dict[str, Any]]
    ) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """What takes effect when a session begins after another: actions, each with the session of its ex-date.

        That is the first one on or after the ex-date, also when it has passed without anybody's noticing.
        """
        earlier = [x for x in sessions if x["openTime"] < session["openTime"]]
        last = begun or max(earlier, key=lambda x: x["openTime"], default=None)
        found = []
        for f in sorted(self.waiting, key=lambda f: (f["exDate"], f["actionId"])):
            if f["exDate"] > session["date"]:
                continue
            self.waiting.remove(f)
            if f["exDate"] > last["date"] if last else f["exDate"] == session["date"]:
                between = [x for x in earlier if last and x["openTime"] > last["openTime"] and x["date"] >= f["exDate"]]
                found.append((f, min([*between, session], key=lambda x: x["openTime"])))
        return found


def new_terms(
    f: dict[str, Any], order: dict[str, Any], waits: bool, tick: int, now: int
) -> tuple[str, Fraction, int | None, int | None]:
    """Whether an order is KEPT, CHANGED or ENDED by an action: how many times its shares, its prices.

    FINRA Rule 5330: dividends of a cent and more lower what rests below the market, a forward split changes everything,
    a reverse split ends everything. To a step of prices above a dollar, downwards what the rule names, upwards the rest.
    """
    buy, step, times = order["side"] == "BUY", quoted_step(10_000, tick, now), ratio(f)
    price, stop = order["price"], order["stopPrice"]
    if f["type"] == "CASH_DIVIDEND":
        below = (buy and not waits and price is not None) or (not buy and waits)
        if order["doNotReduce"] or f["cashPerShare"] < CENT or not below:
            return "KEPT", Fraction(1), price, stop
        price = None if price is None else floor(Fraction(price - f["cashPerShare"], step)) * step
        if waits:
            stop = floor(Fraction(stop - f["cashPerShare"], step)) * step
    elif times < 1:
        return "ENDED", times, price, stop
    elif times > 1:
        low = buy or waits
        if price is not None:
            price = (floor if low else ceil)((floor if low else ceil)(price / times) / Fraction(step)) * step
        if stop is not None:
            stop = (ceil if buy else floor)((ceil if buy else floor)(stop / times) / Fraction(step)) * step
    else:
        return "KEPT", times, price, stop
    if (price is not None and price <= 0) or (waits and stop <= 0):
        return "ENDED", times, price, stop
    return "CHANGED", times, price, stop


def after(price: int, times: Fraction) -> int:
    """A price of before a split as one of after it; there is no price below the smallest."""
    return max(1, floor(price / times)) if price > 0 else price
