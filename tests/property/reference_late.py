"""Late limit orders for the close in the slow reference of the match stage: what Nasdaq lists has prices for them."""

from __future__ import annotations

from typing import Any

from reference_auctions import ReferenceAuctions
from reference_rules import NASDAQ_CLOSE_FROM, SECOND_PRICE_FROM, auction_range

MINUTE = 60_000_000_000


def telling_times(session: dict[str, Any]) -> list[int]:
    """When prices are told before the close of a session."""
    close = session["closeTime"]
    if close < NASDAQ_CLOSE_FROM:
        return []
    return [close - minutes * MINUTE for minutes in ((10, 5) if close >= SECOND_PRICE_FROM else (5,))]


class ReferenceLate(ReferenceAuctions):
    """Prices ten and five minutes before the close, and orders that come after them."""

    def tell_prices(self) -> None:
        """It is time for the next price: where the orders for the close would meet."""
        self.telling.pop(0)
        for s in self.symbols.values():
            if s["listing"] not in ("XNAS", "Q"):
                continue
            price = self.indication(s)
            self.seen.add("reference price for late orders" if price else "no reference price for late orders")
            s["told"] += [price] if price else []

    def indication(self, s: dict[str, Any]) -> int:
        """Where the orders for the close would meet between the best bid and ask, without the book; 0 for nowhere."""
        quote = s["quote"] or {}
        bids = [o["worst"] for o in self.best_first(s, "BUY")] + [quote.get("bidPrice") or 0]
        asks = [o["worst"] for o in self.best_first(s, "SELL")] + [quote.get("askPrice") or 0]
        bid, ask = max(bids), min((price for price in asks if price), default=0)
        near = self.middle(s) or s["last"] or s["prior"]
        limits = auction_range(near, s["tick"])
        if 0 < bid <= ask:
            near, limits = (bid + ask) // 2, (bid, ask)
        meeting = [{**o} for o in self.queued(s) if self.takes_part(o, "CLOSING")]
        for order in meeting:
            if order["imbalanceOnly"] and order["side"] == "BUY" and bid:
                order["worst"] = min(order["worst"], bid)
            elif order["imbalanceOnly"] and order["side"] != "BUY" and ask:
                order["worst"] = max(order["worst"], ask)
        return self.agree(s, meeting, near, limits, 0)[0][0]

    def price_late(self, s: dict[str, Any], order: dict[str, Any]) -> int:
        """A late limit order gets a price that was told, if its own is beyond; from when on it is late if none was."""
        limited = order["timeInForce"] == "CLS" and order["orderType"] == "LIMIT" and not order["imbalanceOnly"]
        if not limited or s["listing"] not in ("XNAS", "Q") or self.phase != "OPEN" or self.session is None:
            return 0
        times = telling_times(self.session)
        if not times or self.day < times[-1]:
            return 0
        if not s["told"]:
            self.seen.add("late limit order without a price")
            return times[-1]
        own = order["worst"]
        order["worst"] = min(own, max(s["told"])) if order["side"] == "BUY" else max(own, min(s["told"]))
        self.seen.add("late limit order at its price" if order["worst"] == own else "late limit order priced again")
        return 0
