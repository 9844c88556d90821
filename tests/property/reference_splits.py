"""Corporate actions in the slow reference of the risk stage: positions, prices and open orders of before and after."""

from __future__ import annotations

from math import ceil, floor
from typing import Any

from reference_actions import Announced, action_text, after, new_terms, ratio
from reference_records import Record
from reference_rules import text


class ReferenceSplits:
    """What the accounts, prices and orders of the risk stage go through; the rest of it is in ReferenceRisk."""

    records: list[Record]
    accounts: dict[str, dict[str, Any]]
    instruments: dict[str, dict[str, Any]]
    sessions: dict[str, dict[str, Any]]
    quotes: dict[str, dict[str, Any]]
    lasts: dict[str, int]
    open: list[dict[str, Any]]
    seen: set[str]
    clock: int
    last_begun: int

    def __init__(self) -> None:
        self.announced = Announced()
        # Splits that have taken effect: action, its session, what a share of before was worth.
        self.splits: list[tuple[dict[str, Any], dict[str, Any], int]] = []
        # Symbols whose close was given since the last session closed: it is the close of before the next one.
        self.fresh: set[str] = set()

    def free(self, account_id: str) -> int:
        """Money promised to nobody."""
        raise NotImplementedError

    def mark(self, symbol: str, ask: bool) -> int | None:
        """What a share costs or brings now."""
        raise NotImplementedError

    def begun_session(self) -> dict[str, Any] | None:
        """The session that has begun last."""
        return next((x for x in self.sessions.values() if x["openTime"] == self.last_begun > 0), None)

    def between_sessions(self, now: int) -> bool:
        """Whether the session that has begun last was closed by now."""
        session = self.begun_session()
        return session is not None and session["closeTime"] <= now

    def action(self, f: dict[str, Any], position: str) -> None:
        """An announcement."""
        if not self.announced.take(f, self.begun_session()):
            self.seen.add("impossible or late corporate action")
            letter = {"eventId": position, "reason": "INVALID_VALUE", "timestamp": f["timestamp"]}
            self.records.append(("dead-letter", letter))

    def begin_actions(self, session: dict[str, Any], now: int) -> None:
        """A session begins."""
        known = sorted(self.sessions.values(), key=lambda x: x["openTime"])
        for f, home in self.announced.due(self.begun_session(), session, known):
            if home is not session:
                self.seen.add("corporate action in a session that passed unnoticed")
            if ratio(f) != 1:
                self.split_all(f, home, now)
            for order in self.open:
                if order["symbol"] == f["symbol"] and self.may_be_adjusted(order, f, home):
                    order["awaited"].append((f, home, self.tick(f["symbol"])))
        self.fresh.clear()

    def begin_unnoticed(self, opening: int) -> None:
        """Matching is in a session that has not begun here: where that changes shares it has to begin here too."""
        session = next(x for x in self.sessions.values() if x["openTime"] == opening)
        if any(f["exDate"] <= session["date"] for f in self.announced.waiting):
            self.seen.add("session begun by an outcome")
            self.advance(self.entry(session))

    def advance(self, now: int) -> None:
        """Time passes."""
        raise NotImplementedError

    def tick(self, symbol: str) -> int:
        """The tick of an instrument."""
        return int(self.instruments[symbol]["tickSize"]) if symbol in self.instruments else 1

    def may_be_adjusted(self, order: dict[str, Any], f: dict[str, Any], home: dict[str, Any]) -> bool:
        """Whether matching changes an order, or a day order may have been filled before: what it has open is more then."""
        if order["timestamp"] >= self.entry(home):
            return False
        if order["timeInForce"] != "GTC":
            return ratio(f) > 1
        waits = order["stopPrice"] is not None
        return new_terms(f, order, waits, self.tick(f["symbol"]), self.entry(home))[0] == "CHANGED"

    @staticmethod
    def entry(session: dict[str, Any]) -> int:
        """From when on a session takes orders."""
        return int(session["openTime"] if session["preOpenTime"] is None else session["preOpenTime"])

    def split_all(self, f: dict[str, Any], home: dict[str, Any], now: int) -> None:
        """Prices and positions of before become those of after; quotes have to come anew."""
        symbol, times = f["symbol"], ratio(f)
        self.seen.add("reverse split" if times < 1 else "forward split")
        terms = self.instruments.get(symbol)
        prior = terms["priorClose"] if terms is not None else 0
        if symbol in self.fresh and prior > 0:
            self.seen.add("close of after the split")
            worth = floor(prior * times)
        else:
            worth = self.lasts.get(symbol) or self.middle(symbol) or 0
        self.splits.append((f, home, worth))
        if symbol in self.quotes:
            self.quotes[symbol] = {**self.quotes[symbol], "bidPrice": None, "askPrice": None}
        if symbol in self.lasts:
            self.lasts[symbol] = after(self.lasts[symbol], times)
        if terms is not None and symbol not in self.fresh:
            volume = floor((terms.get("averageVolume") or 0) * times)
            self.instruments[symbol] = {**terms, "priorClose": after(prior, times), "averageVolume": volume}
        for account_id, account in self.accounts.items():
            if account["shares"].get(symbol):
                self.split(account_id, account["shares"][symbol], f, worth, now)

    def middle(self, symbol: str) -> int | None:
        """The price without a side."""
        raise NotImplementedError

    def split(self, account_id: str, shares: int, f: dict[str, Any], worth: int, now: int) -> int:
        """Shares that an account has got (negative: given away) become others, the fraction money; returns how many."""
        account = self.accounts[account_id]
        exact = abs(shares) * ratio(f)
        whole = floor(exact)
        fraction = (exact - whole) / ratio(f) * worth
        cash, sign = (floor(fraction), 1) if shares > 0 else (-ceil(fraction), -1)
        account["shares"][f["symbol"]] += sign * whole - shares
        account["money"] += cash
        account["notices"] += 1
        detail = f"{action_text(f)} before={shares} after={sign * whole}"
        if exact != whole:
            self.seen.add("cash in lieu of a fraction" if worth else "fraction without a price")
            below = ratio(f).denominator
            detail += f" fraction={(exact - whole) * below}/{below}"
            detail += f" price_before={text(worth) if worth else 'none'}"
        record = {
            "eventId": f"risk-{account_id}-{account['notices']}",
            "type": "SPLIT",
            "accountId": account_id,
            "orderId": None,
            "symbol": f["symbol"],
            "reason": "NONE",
            "detail": detail,
            "limitValue": None,
            "observedValue": None,
            "buyingPower": self.free(account_id),
            "timestamp": now,
            "controlId": None,
            "issuedBy": None,
            "quantity": sign * whole - shares,
            "cashChange": cash,
        }
        self.records.append(("risk-events", record))
        return sign * whole

    def is_of_before(self, symbol: str, now: int) -> bool:
        """Whether a price of this time is one of before the last split of its symbol."""
        last = [home for f, home, _ in self.splits if f["symbol"] == symbol][-1:]
        return bool(last) and now < self.entry(last[0])

    def split_late(self, order: dict[str, Any], filled: int, session: int, now: int) -> None:
        """Fills of before splits are heard of after them."""
        shares = filled if order["side"] == "BUY" else -filled
        for f, home, worth in self.splits:
            if f["symbol"] == order["symbol"] and session < home["openTime"] and shares:
                self.seen.add("fill of before a split heard of after it")
                shares = self.split(order["accountId"], shares, f, worth, now)

    def hear(self, order: dict[str, Any], lines: list[dict[str, Any]], session: int) -> None:
        """A batch of a session is heard of: what is in it is not awaited any more; a changed order has its new prices."""
        ends = any(line["what"] == "end" for line in lines)
        for f, home, tick in order["awaited"]:
            if home["openTime"] <= session and not ends and any(line.get("action") is f for line in lines):
                self.change(order, f, tick, self.entry(home))
        order["awaited"] = [] if ends else [a for a in order["awaited"] if a[1]["openTime"] > session]

    @staticmethod
    def change(order: dict[str, Any], f: dict[str, Any], tick: int, now: int) -> None:
        """The terms of an order that was changed, and what its shares reserve for them."""
        _, times, price, stop = new_terms(f, order, order["stopPrice"] is not None, tick, now)
        buy = order["side"] == "BUY"
        if times != 1:
            order["unit"] = (floor if buy else ceil)(order["unit"] / times)
            order["value"] = after(order["value"], times)
        elif buy and price is not None:
            order["unit"] -= order["price"] - price
            order["value"] -= order["price"] - price
        order["price"], order["stopPrice"] = price, stop

    @staticmethod
    def shares_after(order: dict[str, Any], shares: int) -> int:
        """What open shares may become by the actions that are awaited."""
        for f, _, _ in order["awaited"]:
            shares = max(shares, floor(shares * ratio(f)))
        return shares
