"""Orders in the slow reference of the match stage: how they arrive, trade, are prevented, routed and replaced."""

from __future__ import annotations

from typing import Any

from reference_records import FINAL, INSTRUCTIONS, ReferenceRecords, has_limit, left
from reference_rules import collar, protected, text


class ReferenceOrders(ReferenceRecords):
    """Orders, one at a time."""

    def place(self, s: dict[str, Any], f: dict[str, Any]) -> bool:
        """A new order; True when it met a kill switch."""
        order = {
            **f,
            "status": "PENDING",
            "cum": 0,
            "sequence": 0,
            "decisions": 0,
            "rank": 0,
            "place": None,
            "routed": False,
            "placed": f["timestamp"],
            "triggered": False,
        }
        self.orders.append(order)
        told = [word for name, word in INSTRUCTIONS if order[name]]
        self.event(order, "VALIDATED", "NONE", " ".join(told) or None)
        approval = f"reserved={text(f['reserved'])}"
        if order["side"] != "BUY":
            approval = f"reserved_shares={order['quantity']}"
        self.event(order, "RISK_APPROVED", "NONE", approval)
        if self.is_of_before(f):
            self.seen.add("order of before a corporate action")
            self.finish(order, "CANCELLED", "CANCEL_CORPORATE_ACTION", "the order is of before a corporate action")
            return True
        if order["timeInForce"] == "OPG" and self.phase == "OPEN":
            self.seen.add("order for the opening after it")
            self.finish(order, "CANCELLED", "MATCH_AUCTION_UNFILLED", None)
            return True
        if self.is_killed(order):
            self.seen.add("kill switch met an order on its way")
            self.finish(order, "CANCELLED", "CANCEL_KILL_SWITCH", None)
            return True
        late_from = self.price_late(s, order)
        if late_from:
            self.finish(order, "CANCELLED", "MATCH_AUCTION_UNFILLED", f"late_from_ns={late_from} reference_price=none")
            return True
        allowed = self.allowed(s, order, order["price"])
        if order["close"] <= self.clock:
            self.expire(order)
        elif order["stopPrice"] is not None:
            self.hold(s, order)
        elif allowed is not None:
            self.seen.add("limit far beyond the national best")
            detail = (
                f"price={text(order['price'])} allowed={text(allowed)} national_best={text(self.national(s, order))}"
            )
            self.finish(order, "CANCELLED", "MATCH_LIMIT_PROTECTION", detail)
        else:
            self.arrive(s, order)
        self.work_off(s)
        return False

    @staticmethod
    def national(s: dict[str, Any], order: dict[str, Any]) -> int:
        """What exchanges bid or ask at best on the order's other side; 0 for nothing."""
        return (s["quote"] or {}).get("askPrice" if order["side"] == "BUY" else "bidPrice") or 0

    def allowed(self, s: dict[str, Any], order: dict[str, Any], price: int | None) -> int | None:
        """The worst limit price that is taken in, where the order's, or a new one, is beyond it."""
        best = self.national(s, order)
        if not s["trading"] or order["orderType"] != "LIMIT" or order["timeInForce"] in ("OPG", "CLS"):
            return None
        if best == 0 or price is None:
            return None
        worst = protected(order["side"], best, s["tick"])
        return worst if (price > worst if order["side"] == "BUY" else price < worst) else None

    def hold(self, s: dict[str, Any], order: dict[str, Any]) -> None:
        """A stop waits, unless the last print has reached it already."""
        stop = order["stopPrice"]
        self.decide(order, left(order), "TRDS", "HOLD_STOP", stop)
        self.route_event(order, "TRDS")
        if s["last"] and (s["last"] >= stop if order["side"] == "BUY" else s["last"] <= stop):
            self.seen.add("stop triggered on arrival")
            self.triggered.append(order)
            order["place"] = None
            return
        self.settle_in(order, "WAIT")

    def settle_in(self, order: dict[str, Any], place: str) -> None:
        """The order stays, behind all that came before it."""
        self.ranks += 1
        order["rank"], order["place"] = self.ranks, place

    def trigger(self, s: dict[str, Any], price: int) -> None:
        """A print: the stops that it triggers leave their place and act later, in this order."""
        waiting = [o for o in self.live() if o["symbol"] == s["symbol"] and o["place"] == "WAIT"]
        buys = [o for o in waiting if o["side"] == "BUY" and price >= o["stopPrice"]]
        sells = [o for o in waiting if o["side"] != "BUY" and price <= o["stopPrice"]]
        for order in sorted(buys, key=lambda o: (o["stopPrice"], o["rank"])) + sorted(
            sells, key=lambda o: (-o["stopPrice"], o["rank"])
        ):
            order["place"] = None
            self.triggered.append(order)

    def printed(self, s: dict[str, Any], price: int, quantity: int) -> None:
        """A trade of ours; one of a round lot is a print."""
        if quantity < s["lot"]:
            self.seen.add("odd lot")
            return
        s["last"] = price
        s["prints"].append((price, price, 1))
        self.trigger(s, price)

    def work_off(self, s: dict[str, Any]) -> None:
        """Triggered stops act, first in first out."""
        if len(self.triggered) > 2:
            self.seen.add("several stops at once")
        while self.triggered:
            order = self.triggered.pop(0)
            order["triggered"] = True
            self.event(order, order["status"], "STOP_TRIGGERED", f"print={text(s['last'])}", "TRIGGERED")
            if order["orderType"] == "STOP":
                worst = collar(order["side"], s["last"], s["tick"])
                order["worst"] = (min if order["side"] == "BUY" else max)(worst, order["worst"])
            before = len(self.triggered)
            self.arrive(s, order)
            if len(self.triggered) > before:
                self.seen.add("stop triggered by a triggered stop")

    def arrive(self, s: dict[str, Any], order: dict[str, Any]) -> None:
        """An order that may act now."""
        may_rest = has_limit(order) and order["timeInForce"] in ("DAY", "GTC")
        if order["timeInForce"] in ("OPG", "CLS") or (
            not s["trading"] and not has_limit(order) and order["timeInForce"] in ("DAY", "GTC")
        ):
            self.decide(order, left(order), "TRDS", "QUEUE_AUCTION", order["worst"])
            self.route_event(order, "TRDS")
            self.settle_in(order, "QUEUE")
            return
        if not s["trading"] and not may_rest:
            self.finish(order, "CANCELLED", "MATCH_HALTED", None)
            return
        if s["trading"]:
            self.confine(s, order)
            if order["timeInForce"] == "FOK" and not self.can_fill(s, order):
                self.stop_at(order, "MATCH_FOK_UNFILLED", self.best_opposite(s, order))
                return
            self.take(s, order)
        if order["status"] in FINAL:
            return
        if may_rest:
            self.decide(order, left(order), "TRDS", "POST", order["worst"])
            self.route_event(order, "TRDS")
            self.settle_in(order, "REST")
        else:
            self.cancel_rest(s, order)

    def confine(self, s: dict[str, Any], order: dict[str, Any]) -> None:
        """Price bands: an incoming order does not go beyond them."""
        if order["side"] == "BUY" and s["high"]:
            order["worst"] = min(order["worst"], s["high"])
        elif order["side"] != "BUY":
            order["worst"] = max(order["worst"], s["low"])
            if s["restricted"] and order["side"] == "SELL_SHORT":
                order["worst"] = max(order["worst"], self.lowest_short(s, self.shown(s, "BUY")))

    @staticmethod
    def lowest_short(s: dict[str, Any], displayed: list[int]) -> int:
        """Rule 201: a tick above the best bid of exchanges and of what we display; 0 without any."""
        return max([(s["quote"] or {}).get("bidPrice") or 0, *displayed]) + s["tick"]

    def can_fill(self, s: dict[str, Any], order: dict[str, Any]) -> bool:
        """Whether a fill-or-kill order meets enough, here and at exchanges, in the order in which it would meet it."""
        side, found = order["side"], 0
        makers = self.best_first(s, self.other(side))
        passed: list[str] = []
        while found < left(order):
            venues = [v for v in self.venues(s, side) if v["exchange"] not in passed]
            venue = venues[0] if venues else None
            maker = makers[0] if makers else None
            inside = maker is not None and (venue is None or not self.better(side, venue["price"], maker["worst"]))
            price = maker["worst"] if maker is not None and inside else venue["price"] if venue else None
            if price is None or not self.reaches(side, order["worst"], price):
                break
            if not inside and venue is not None:
                found += venue["left"]
                passed.append(venue["exchange"])
                continue
            assert maker is not None
            makers.pop(0)
            if self.is_own(order, maker):
                if order["stp"] != "EXPIRE_MAKER":
                    self.seen.add("fill-or-kill scan met its own order")
                    break
                continue
            found += left(maker)
        return found >= left(order)

    def is_own(self, order: dict[str, Any], maker: dict[str, Any]) -> bool:
        """Whether self-trade prevention keeps an incoming order from a resting one."""
        return bool(order["stp"] != "NONE" and order["group"] == maker["group"])

    def take(self, s: dict[str, Any], order: dict[str, Any]) -> None:
        """Execute an incoming order as far as it goes."""
        side = order["side"]
        while order["status"] not in FINAL:
            makers = self.best_first(s, self.other(side))
            venue = next(iter(self.venues(s, side)), None)
            inside = makers[0]["worst"] if makers else None
            if inside is not None and (venue is None or not self.better(side, venue["price"], inside)):
                if not self.reaches(side, order["worst"], inside):
                    return
                if self.is_own(order, makers[0]):
                    self.prevent(order, makers[0])
                else:
                    self.execute_level(s, order, [m for m in makers if m["worst"] == inside], inside)
            elif venue is not None and self.reaches(side, order["worst"], venue["price"]):
                self.route(s, order, venue)
            else:
                return

    def prevent(self, order: dict[str, Any], maker: dict[str, Any]) -> None:
        """An incoming order meets one of its own."""
        mode = order["stp"]
        self.seen.add(f"self-trade {mode}")
        if mode == "DECREMENT":
            overlap = min(left(order), left(maker))
            for one in (maker, order):
                if left(one) == overlap:
                    self.finish(one, "CANCELLED", "MATCH_SELF_TRADE", None)
                else:
                    one["quantity"] -= overlap
                    self.tell(one, "restated")
                    self.event(one, one["status"], "MATCH_SELF_TRADE", f"taken_off={overlap}", "RESTATED")
            return
        if mode in ("EXPIRE_MAKER", "EXPIRE_BOTH"):
            self.finish(maker, "CANCELLED", "MATCH_SELF_TRADE", None)
        if mode in ("EXPIRE_TAKER", "EXPIRE_BOTH"):
            self.finish(order, "CANCELLED", "MATCH_SELF_TRADE", None)

    def execute_level(self, s: dict[str, Any], taker: dict[str, Any], makers: list[dict[str, Any]], price: int) -> None:
        """Fill an incoming order at one price, up to the first order of its own."""
        own = next((n for n, maker in enumerate(makers) if self.is_own(taker, maker)), len(makers))
        makers = makers[:own]
        quantity = min(left(taker), sum(left(m) for m in makers))
        self.decide(taker, quantity, "TRDS", "EXECUTE_INTERNAL", price)
        self.route_event(taker, "TRDS")
        for maker in makers:
            part = min(quantity, left(maker))
            if part == 0:
                break
            quantity -= part
            trade = f"T{taker['origin'].removeprefix('orders')}-{taker['sequence'] + 1}"
            self.fill(taker, part, price, trade, maker["orderId"], "TRDS", "REMOVED")
            self.fill(maker, part, price, trade, taker["orderId"], "TRDS", "ADDED")
            self.printed(s, price, part)

    def route(self, s: dict[str, Any], order: dict[str, Any], venue: dict[str, Any]) -> None:
        """Fill an order at an exchange."""
        quantity = min(left(order), venue["left"])
        self.decide(order, quantity, venue["exchange"], "ROUTE_AWAY", venue["price"])
        self.route_event(order, venue["exchange"])
        self.taken.append({**venue, "symbol": s["symbol"], "side": order["side"], "quantity": quantity})
        sign = 1 if order["side"] == "BUY" else -1
        self.street_cash += sign * quantity * venue["price"]
        self.street_shares[s["symbol"]] = self.street_shares.get(s["symbol"], 0) - sign * quantity
        trade = f"T{order['origin'].removeprefix('orders')}-{order['sequence'] + 1}"
        self.fill(order, quantity, venue["price"], trade, None, venue["exchange"], "ROUTED")
        self.printed(s, venue["price"], quantity)

    def sweep(self, s: dict[str, Any]) -> None:
        """Resting orders that exchanges can fill now go there."""
        for side in ("BUY", "SELL"):
            while s["trading"]:
                resting = [o for o in self.best_first(s, side) if not s["restricted"] or o["side"] != "SELL_SHORT"]
                venue = next(iter(self.venues(s, side)), None)
                if not resting or venue is None or not self.reaches(side, resting[0]["worst"], venue["price"]):
                    break
                self.route(s, resting[0], venue)
        self.work_off(s)

    def cancel_rest(self, s: dict[str, Any], order: dict[str, Any]) -> None:
        """What a market or immediate order could not fill."""
        best = self.best_opposite(s, order)
        reason = "MATCH_IOC_REMAINDER"
        if not has_limit(order):
            reason = "MATCH_NO_LIQUIDITY" if best is None else "MATCH_COLLAR"
        if best is not None and order["worst"] == (s["high"] if order["side"] == "BUY" else s["low"]):
            reason = "MATCH_PRICE_BAND"
        if best is not None and s["restricted"] and order["side"] == "SELL_SHORT":
            reason = "MATCH_SHORT_SALE_PRICE"
        self.stop_at(order, reason, best)

    def best_opposite(self, s: dict[str, Any], order: dict[str, Any]) -> int | None:
        """The best price, here or away, that an order could meet."""
        prices = [m["worst"] for m in self.best_first(s, self.other(order["side"]))[:1]]
        prices += [v["price"] for v in self.venues(s, order["side"])[:1]]
        return (min if order["side"] == "BUY" else max)(prices, default=None)

    def stop_at(self, order: dict[str, Any], reason: str, best: int | None) -> None:
        """An order ends with the numbers of what it stopped at."""
        shown = "none" if best is None else text(best)
        detail = f"unfilled={left(order)} worst_price={text(order['worst'])} best_opposite={shown}"
        self.finish(order, "CANCELLED", reason, detail)

    def replace(self, s: dict[str, Any], order: dict[str, Any], f: dict[str, Any]) -> None:
        """New terms for an order that rests or waits."""
        total, price = f["quantity"], f["price"]
        if total <= order["cum"]:
            detail = f"new_quantity={total} filled={order['cum']}"
            self.finish(order, "CANCELLED", "REPLACE_FILLED", detail)
            return
        grows = total > order["quantity"]
        if order["place"] == "WAIT":
            stop = order["stopPrice"] if f["stopPrice"] is None else f["stopPrice"]
            loses = grows or stop != order["stopPrice"]
            order.update(quantity=total, price=price, worst=f["worst"], stopPrice=stop)
            self.seen.add("stop replaced, place lost" if loses else "stop replaced, place kept")
            self.event(order, "REPLACED", "REPLACE_REQUESTED", None)
            self.tell(order, "applied")
            if loses:
                self.hold(s, order)
        elif price == order["price"] and not grows:
            order["quantity"] = total
            self.seen.add("place kept")
            self.event(order, "REPLACED", "REPLACE_REQUESTED", None)
            self.tell(order, "applied")
        else:
            order.update(quantity=total, price=price, worst=f["worst"], place=None)
            self.seen.add("place lost")
            self.event(order, "REPLACED", "REPLACE_REQUESTED", None)
            self.tell(order, "applied")
            self.arrive(s, order)
        self.work_off(s)
