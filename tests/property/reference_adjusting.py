"""Corporate actions in the slow reference of the match stage: open orders and prices when the session of the ex-date begins."""

from __future__ import annotations

from math import floor
from typing import Any

from reference_actions import action_text, after, new_terms, ratio
from reference_late import ReferenceLate
from reference_records import has_limit, left
from reference_rules import fees_of_a_share, round_lot, text


class ReferenceAdjusting(ReferenceLate):
    """What an action makes of orders, prices and bands."""

    def action(self, f: dict[str, Any]) -> None:
        """An announcement; the risk stage answers for what is wrong with it."""
        self.announced.take(f, self.session)

    def due_actions(self, following: dict[str, Any]) -> list[dict[str, Any]]:
        """What takes effect when the next session begins."""
        known = sorted(self.sessions.values(), key=lambda x: x["openTime"])
        return [f for f, _ in self.announced.due(self.session, following, known)]

    @staticmethod
    def entry(session: dict[str, Any]) -> int:
        """From when on a session takes orders."""
        return int(session["openTime"] if session["preOpenTime"] is None else session["preOpenTime"])

    def adjust(self, f: dict[str, Any]) -> None:
        """Every open order that is good till cancelled and of before the session, oldest first."""
        assert self.session is not None
        entry = self.entry(self.session)
        self.since[f["symbol"]] = entry
        for order in [o for o in self.live() if o["symbol"] == f["symbol"] and o["timeInForce"] == "GTC"]:
            if order["placed"] >= entry:
                self.seen.add("order of after an action that came before it")
                self.tell(order, "kept")
                continue
            tick = self.symbols[f["symbol"]]["tick"]
            outcome, times, price, stop = new_terms(f, order, order["place"] == "WAIT", tick, entry)
            self.seen.add(f"{f['type']} leaves an order {outcome}")
            if outcome == "ENDED":
                self.finish(order, "CANCELLED", "CANCEL_CORPORATE_ACTION", action_text(f))
            elif outcome == "CHANGED" and ratio(f) != 1 and self.costs_too_much(order, f, price):
                self.seen.add("sale that a split made cost more than it brings")
                self.finish(order, "CANCELLED", "CANCEL_CORPORATE_ACTION", action_text(f))
            elif outcome == "CHANGED":
                self.change(order, f, floor(left(order) * times), price, stop)
            elif order["triggered"]:
                self.tell(order, "kept")

    @staticmethod
    def costs_too_much(order: dict[str, Any], f: dict[str, Any], price: int | None) -> bool:
        """Whether commission and fees of a share sold on its own may be more than it brings after a split."""
        if order["side"] == "BUY" or not order["pays"]:
            return False
        worst = floor(order["worst"] / ratio(f)) if price is None else price
        return floor(order["rate"] / ratio(f)) + fees_of_a_share(worst) > worst

    def change(
        self, order: dict[str, Any], f: dict[str, Any], open_shares: int, price: int | None, stop: int | None
    ) -> None:
        """Give an order new terms: it stands behind what has its price already."""
        words = [action_text(f), f"was_quantity={order['quantity']}"]
        words += [f"was_price={text(order['price'])}"] if order["price"] is not None else []
        words += [f"was_stop_price={text(order['stopPrice'])}"] if order["stopPrice"] is not None else []
        worst = price if has_limit(order) else floor(order["worst"] / ratio(f))
        order.update(quantity=order["cum"] + open_shares, price=price, stopPrice=stop, worst=worst)
        order["rate"] = floor(order["rate"] / ratio(f))
        self.settle_in(order, order["place"])
        self.event(order, order["status"], "CORPORATE_ACTION", " ".join(words), "RESTATED")
        self.tell(order, "restated", action=f)

    def split_prices(self, f: dict[str, Any]) -> None:
        """The last price, and the close unless it is one of after the split already."""
        s = self.symbols.get(f["symbol"])
        if s is None or ratio(f) == 1:
            return
        s["last"] = after(s["last"], ratio(f))
        if s["fresh"] or s["prior"] <= 0:
            return
        s["prior"] = after(s["prior"], ratio(f))
        s["lot"] = round_lot(s["prior"], self.day)
        s["bands"].configure(s["bands"].tier, s["bands"].leverage, s["prior"])
