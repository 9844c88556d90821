"""The match stage once more, slow and obvious: orders are a list that is searched and sorted anew each time."""

from __future__ import annotations

from typing import Any

from reference_bands import ReferenceBands, ReferenceBreaker
from reference_rules import auction_range, collar, round_lot, text, uncross, venue_fee

FINAL = ("EXECUTED", "REJECTED", "CANCELLED", "EXPIRED")
NEVER = 2**63 - 1
INSTRUCTIONS = (("imbalanceOnly", "imbalance_only"), ("doNotReduce", "do_not_reduce"))
BOUNDED = ("MATCH_COLLAR", "MATCH_NO_LIQUIDITY", "MATCH_PRICE_BAND", "MATCH_SHORT_SALE_PRICE")
Record = tuple[str, dict[str, Any]]


def left(order: dict[str, Any]) -> int:
    """Open shares."""
    return int(order["quantity"] - order["cum"])


def has_limit(order: dict[str, Any]) -> bool:
    """Whether the order has a limit price."""
    return order["orderType"] in ("LIMIT", "STOP_LIMIT")


class ReferenceMarket:
    """Books, stops, auctions, exchanges and the state of every symbol.

    `batches` holds what risk has to be told: for each batch, order by order, fills and answers and ends as they came.
    """

    def __init__(self, records: list[Record]) -> None:
        self.records = records
        self.clock = 0
        # What the phases of the day have reached: an order of the next session may open it before the clock does.
        self.day = 0
        self.phase = "ANY_TIME"
        self.session: dict[str, Any] | None = None
        self.sessions: dict[str, dict[str, Any]] = {}
        self.symbols: dict[str, dict[str, Any]] = {}
        self.orders: list[dict[str, Any]] = []
        self.triggered: list[dict[str, Any]] = []
        self.taken: list[dict[str, Any]] = []
        self.killed: set[tuple[str, str | None]] = set()
        self.waiting: list[dict[str, Any]] = []
        self.halted_all = False
        self.breaker = ReferenceBreaker()
        self.breaker_halted = False
        self.index = ""
        self.ranks = 0
        self.batches: list[list[dict[str, Any]]] = [[]]
        self.cause = ""
        self.now = 0
        self.fees = 0
        self.street_cash = 0
        self.street_shares: dict[str, int] = {}
        # Things that happened, for tests that ask whether they did.
        self.seen: set[str] = set()

    # Inputs

    def begin(self, cause: str, now: int) -> None:
        """The input that everything until the next one is caused by."""
        self.cause, self.now = cause, now

    def reference(self, f: dict[str, Any], position: str) -> None:
        """Instruments and sessions, now or when they take effect."""
        self.begin(position, f["timestamp"])
        if f["effectiveFrom"] > max(self.clock, f["timestamp"]):
            self.waiting.append(f)
        else:
            self.take_over(f)

    def take_over(self, f: dict[str, Any]) -> None:
        """Reference data that is in force."""
        if f["kind"] == "SESSION":
            self.sessions[f["session"]["date"]] = f["session"]
        elif f["kind"] == "INSTRUMENT":
            terms = f["instrument"]
            if terms["assetClass"] == "INDEX":
                self.index, self.breaker.prior = terms["symbol"], terms["priorClose"]
                return
            s = self.symbol(terms["symbol"])
            s["tick"] = terms["tickSize"]
            s["prior"] = terms["priorClose"]
            bands = s["bands"]
            bands.configure(terms.get("luldTier") or 0, terms.get("leverage") or 1, s["prior"])
            if self.phase == "OPEN" and not bands.reference:
                bands.open_price(0, self.day)
            if s["prior"] > 0:
                s["lot"] = round_lot(s["prior"], self.day)
            self.refresh(s, "REFERENCE")
            self.sweep(s)

    def clock_control(self, f: int, position: str) -> None:
        """Time alone."""
        self.advance(f, position)

    def control(self, f: dict[str, Any], position: str) -> None:
        """What operators say to markets; only controls that risk has not refused come here."""
        self.begin(position, f["timestamp"])
        scope, target = f["scope"], f["target"]
        if f["kind"] == "INDEX_LEVEL":
            if f["symbol"] == self.index and self.breaker.on_level(f["value"], self.day):
                self.seen.add(f"breaker level {self.breaker.level}")
                self.breaker_halted = True
                for s in self.symbols.values():
                    s["bands"].suspend(self.day)
                    self.refresh(s, "CIRCUIT_BREAKER")
            return
        if f["kind"] == "KILL":
            self.killed.add((scope, target))
            for order in self.live():
                if self.is_killed(order):
                    self.finish(order, "CANCELLED", "CANCEL_KILL_SWITCH", None)
        elif f["kind"] == "RESUME":
            self.killed.discard((scope, target))
        elif f["kind"] == "PAUSE":
            s = self.symbol(target)
            straddles = s["bands"].state == "STRADDLE"
            self.seen.add("pause in a straddle state" if straddles else "pause refused")
            if straddles:
                s["bands"].pause(self.day)
                self.refresh(s, "CONTROL")
            else:
                self.publish(s, "CONTROL", None, "no straddle state: PAUSE changes nothing")
        elif f["kind"] in ("HALT", "UNHALT"):
            if scope == "ALL":
                self.halted_all = f["kind"] == "HALT"
            chosen = list(self.symbols.values()) if scope == "ALL" else [self.symbol(target)]
            for s in chosen:
                if f["kind"] == "HALT":
                    s["halted"] = s["halted"] or scope == "SYMBOL"
                    s["bands"].suspend(self.day)
                    self.refresh(s, "CONTROL")
                else:
                    s["halted"] = False
                    self.reopen(s, "CONTROL")

    def is_killed(self, order: dict[str, Any]) -> bool:
        """Whether a kill switch is set for the firm, the order's account or its symbol."""
        ways = (("ALL", None), ("ACCOUNT", order["accountId"]), ("SYMBOL", order["symbol"]))
        return any(way in self.killed for way in ways)

    def nbbo(self, f: dict[str, Any]) -> None:
        """Quotes of exchanges and the trades there."""
        s = self.symbol(f["symbol"])
        if s["sequence"] is not None and f["sequence"] <= s["sequence"]:
            return
        self.advance(f["timestamp"], f["eventId"])
        self.begin(f["eventId"], f["timestamp"])
        s["sequence"] = f["sequence"]
        s["quote"] = f
        low, high, last = f["tradeLow"], f["tradeHigh"], f["lastPrice"]
        if s["trading"] and low is not None and high is not None:
            s["last"] = last if last is not None and low <= last <= high else high
            s["prints"].append((low, f["tradePriceSum"], f["tradeCount"]))
            self.trigger(s, high)
            self.trigger(s, low)
            self.work_off(s)
        self.sweep(s)
        self.look(s)

    def command(self, f: dict[str, Any]) -> None:
        """A command that risk has approved: its fields and what risk has added."""
        self.begin(f["origin"], f["timestamp"])
        order = next((o for o in self.live() if self.is_same(o, f)), None)
        if f["command"] == "CANCEL":
            if order is None:
                self.refuse(f, "CANCEL_REJECTED", "CANCEL_TOO_LATE")
            else:
                self.finish(order, "CANCELLED", "CANCEL_REQUESTED", None)
            return
        s = self.symbol(f["symbol"])
        if not s["trading"]:
            self.session_by_order(f["timestamp"])
        if f["command"] == "NEW":
            if self.place(s, f):
                return
        elif order is None:
            self.refuse(f, "REPLACE_REJECTED", "REPLACE_TOO_LATE")
        elif order["place"] == "QUEUE":
            self.seen.add("replacement of a queued order")
            self.tell(order, "refused")
            self.refuse(f, "REPLACE_REJECTED", "REPLACE_NOT_ALLOWED")
        else:
            self.replace(s, order, f)
        self.look(s)

    @staticmethod
    def is_same(order: dict[str, Any], f: dict[str, Any]) -> bool:
        """Whether a command names an order."""
        return bool(order["accountId"] == f["accountId"] and order["orderId"] == f["orderId"])

    # Orders

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
        }
        self.orders.append(order)
        told = [word for name, word in INSTRUCTIONS if order[name]]
        self.event(order, "VALIDATED", "NONE", " ".join(told) or None)
        approval = f"reserved={text(f['reserved'])}"
        if order["side"] != "BUY":
            approval = f"reserved_shares={order['quantity']}"
        self.event(order, "RISK_APPROVED", "NONE", approval)
        if order["timeInForce"] == "OPG" and self.phase == "OPEN":
            self.seen.add("order for the opening after it")
            self.finish(order, "CANCELLED", "MATCH_AUCTION_UNFILLED", None)
            return True
        if self.is_killed(order):
            self.seen.add("kill switch met an order on its way")
            self.finish(order, "CANCELLED", "CANCEL_KILL_SWITCH", None)
            return True
        if order["close"] <= self.clock:
            self.expire(order)
        elif order["stopPrice"] is not None:
            self.hold(s, order)
        else:
            self.arrive(s, order)
        self.work_off(s)
        return False

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
                order["worst"] = max(
                    order["worst"], self.lowest_short(s, [o["worst"] for o in self.best_first(s, "BUY")])
                )

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

    # Time

    def advance(self, now: int, cause: str) -> None:
        """The clock reaches a time."""
        if now <= self.clock:
            return
        self.begin(cause, now)
        for f in sorted((f for f in self.waiting if f["effectiveFrom"] <= now), key=lambda f: f["effectiveFrom"]):
            self.waiting.remove(f)
            self.reach(f["effectiveFrom"])
            self.take_over(f)
        self.reach(now)
        self.clock = now
        self.expire_all(now)

    def next_phase(self) -> int:
        """When the next phase of the day begins."""
        if self.phase == "PRE_OPEN" and self.session is not None:
            return int(self.session["openTime"])
        if self.phase == "OPEN" and self.session is not None:
            return int(self.session["closeTime"])
        following = self.next_session()
        return NEVER if following is None else self.entry(following)

    def due(self) -> int:
        """When something happens by itself."""
        halt_ends = [self.breaker.ends] if self.breaker_halted else []
        return min([self.next_phase(), *halt_ends, *(s["bands"].next_event() for s in self.symbols.values())])

    def next_session(self) -> dict[str, Any] | None:
        """The first session after the one that is or was."""
        after = -1 if self.session is None else self.session["openTime"]
        later = [x for x in self.sessions.values() if x["openTime"] > after]
        return min(later, key=lambda x: x["openTime"], default=None)

    @staticmethod
    def entry(session: dict[str, Any]) -> int:
        """From when on a session takes orders."""
        return int(session["openTime"] if session["preOpenTime"] is None else session["preOpenTime"])

    def reach(self, now: int) -> None:
        """Phases begin, one after the other, each at its own time."""
        while self.due() <= now:
            self.day = max(self.day, self.due())
            while self.next_phase() <= self.day:
                {"PRE_OPEN": self.open_market, "OPEN": self.close_market}.get(self.phase, self.begin_session)()
            if self.breaker_halted and self.breaker.ends <= self.day:
                self.breaker_halted = False
                for s in self.symbols.values():
                    self.reopen(s, "CIRCUIT_BREAKER")
            for s in self.symbols.values():
                if s["bands"].next_event() <= self.day:
                    s["bands"].advance(self.day)
                    if s["bands"].reopening_due(self.day):
                        self.end_pause(s)
                    self.refresh(s, "PRICE_BAND")
                    self.sweep(s)
        self.day = max(self.day, now)

    def session_by_order(self, now: int) -> None:
        """An order of the next session opens it, when it opens without an auction."""
        following = self.next_session()
        if self.phase != "CLOSED" or following is None or self.entry(following) != following["openTime"]:
            return
        if following["openTime"] <= now < following["closeTime"]:
            self.seen.add("session opened by an order")
            self.reach(following["openTime"])

    def begin_session(self) -> None:
        """A session takes orders: yesterday's quotes are no offers any more."""
        self.session = self.next_session()
        self.phase = "PRE_OPEN"
        assert self.session is not None
        times = self.session["openTime"], self.session["closeTime"]
        self.breaker.begin_session(*times)
        self.breaker_halted = False
        for s in self.symbols.values():
            s["bands"].begin_session(*times)
            if s["quote"] is not None and s["quote"]["timestamp"] < self.entry(self.session):
                s["quote"] = None
                self.taken = [t for t in self.taken if t["symbol"] != s["symbol"]]
            s["restricted"] = s["fallen"]
            s["fallen"] = False
        if self.session["openTime"] <= self.day:
            self.open_market()
            return
        for s in self.symbols.values():
            self.refresh(s, "SESSION")

    def open_market(self) -> None:
        """Opening auctions."""
        self.phase = "OPEN"
        for s in self.symbols.values():
            if self.state(s) == "HALTED":
                self.refresh(s, "SESSION")
            else:
                s["trading"] = False
                result = self.auction(s, "OPENING")
                assert self.session is not None
                s["bands"].open_price(result[0] if result[1] else self.middle(s), self.session["openTime"])
                self.resume(s, "OPENING", "SESSION", result)

    def close_market(self) -> None:
        """Closing auctions; what is left of the day's orders expires."""
        for s in self.symbols.values():
            halted = self.state(s) == "HALTED"
            s["trading"] = False
            result = None if halted else self.auction(s, "CLOSING")
            self.end_auction_orders(s, "CLOSING")
            if result is not None and result[1]:
                s["prior"] = result[0]
            elif s["last"]:
                s["prior"] = s["last"]
            bands = s["bands"]
            bands.configure(bands.tier, bands.leverage, s["prior"])
            self.work_off(s)
            self.test_short_sales(s, self.day)
            bands.advance(self.day)
            bands.changed = False
            s["low"] = s["high"] = 0
            s["state"] = "CLOSED"
            self.publish(s, "SESSION", result)
        self.phase = "CLOSED"
        self.expire_all(self.day)

    def expire_all(self, now: int) -> None:
        """Orders of sessions that have closed."""
        for order in self.live():
            if order["close"] <= now:
                self.expire(order)

    def expire(self, order: dict[str, Any]) -> None:
        """The end of a day order."""
        detail = f"unfilled={left(order)} close_ns={order['close']}"
        self.finish(order, "EXPIRED", "EXPIRY_SESSION_CLOSE", detail)

    # Auctions and the state of a symbol

    def symbol(self, name: str) -> dict[str, Any]:
        """A symbol's own things."""
        if name not in self.symbols:
            s: dict[str, Any] = {
                "symbol": name,
                "tick": 100,
                "prior": 0,
                "quote": None,
                "sequence": None,
                "last": 0,
                "lot": 1,
                "prints": [],
                "bands": ReferenceBands(),
                "halted": False,
                "restricted": False,
                "fallen": False,
                "shown_restricted": False,
                "low": 0,
                "high": 0,
                "events": 0,
            }
            self.symbols[name] = s
            if self.session is not None:
                s["bands"].begin_session(self.session["openTime"], self.session["closeTime"])
            s["state"] = self.state(s)
            s["trading"] = s["state"] == "OPEN"
        return self.symbols[name]

    def state(self, s: dict[str, Any]) -> str:
        """The state of trading."""
        if self.phase == "CLOSED":
            return "CLOSED"
        if s["halted"] or self.halted_all or self.breaker_halted:
            return "HALTED"
        if self.phase == "PRE_OPEN":
            return "PRE_OPEN"
        return str(s["bands"].state) if s["bands"].state in ("PAUSED", "LIMIT_STATE") else "OPEN"

    def look(self, s: dict[str, Any]) -> None:
        """After each input: bands that move let quotes in, which may print, which may move bands."""
        while self.look_once(s):
            self.sweep(s)

    def look_once(self, s: dict[str, Any]) -> bool:
        """What prints and quotes do to price bands and short sales, and whether they do; the lot follows the price."""
        bands = s["bands"]
        if s["prints"]:
            s["lot"] = round_lot(s["prior"] or s["last"], self.day)
            bands.on_trades(sum(p[1] for p in s["prints"]), sum(p[2] for p in s["prints"]), self.day)
        fell = self.test_short_sales(s, self.day)
        if bands.tier:
            quote = s["quote"] or {}
            bids = [o["worst"] for o in self.best_first(s, "BUY")[:1]]
            asks = [o["worst"] for o in self.best_first(s, "SELL")[:1]]
            bids += [quote["bidPrice"]] if quote.get("bidPrice") else []
            asks += [quote["askPrice"]] if quote.get("askPrice") else []
            bands.on_quote(max(bids, default=0), min(asks, default=0), self.day)
        if bands.changed or s["restricted"] != s["shown_restricted"]:
            self.refresh(s, "SHORT_SALE" if fell else "PRICE_BAND")
            return bool(s["trading"])
        return False

    def test_short_sales(self, s: dict[str, Any], now: int) -> bool:
        """Rule 201: a print in the session at 90% of the prior close, or below."""
        lows, s["prints"] = [p[0] for p in s["prints"]], []
        session = self.session
        if not lows:
            return False
        inside = session is not None and session["openTime"] <= now < session["closeTime"]
        if s["fallen"] or not inside or s["prior"] <= 0 or min(lows) * 10 > s["prior"] * 9:
            return False
        s["fallen"] = s["restricted"] = True
        self.seen.add("short sales restricted")
        return True

    def refresh(self, s: dict[str, Any], cause: str, result: tuple[int, int, int] | None = None) -> None:
        """Follow the state, and publish what has changed."""
        state = self.state(s)
        bands = s["bands"]
        s["trading"] = state in ("OPEN", "LIMIT_STATE")
        if state == s["state"] and not bands.changed and not (result is not None and result[1]):
            if s["restricted"] == s["shown_restricted"]:
                return
            cause = "SHORT_SALE"
        s["state"] = state
        bands.changed = False
        s["low"], s["high"] = bands.lower, bands.upper
        self.move_into_bands(s)
        self.publish(s, cause, result)

    def move_into_bands(self, s: dict[str, Any]) -> None:
        """While a market trades, resting orders beyond a band move to it, behind those that are there."""
        for side, band in (("BUY", s["high"]), ("SELL", s["low"])):
            for order in self.best_first(s, side):
                if s["trading"] and band and self.better(side, band, order["worst"]):
                    self.seen.add("resting order moved to a band")
                    order["worst"] = band
                    self.settle_in(order, "REST")

    def straddle(self, bands: ReferenceBands) -> str | None:
        """What of the national best is outside the bands without a limit state."""
        if bands.state != "STRADDLE":
            return None
        self.seen.add("straddle state")
        outside = {"bid": 0 < bands.bid < bands.lower, "ask": bands.ask > bands.upper}
        price = {"bid": bands.bid, "ask": bands.ask}
        shown = [f"{side}={text(price[side])}" for side in ("bid", "ask") if outside[side]]
        return " ".join(["straddle", *shown])

    def publish(
        self, s: dict[str, Any], cause: str, result: tuple[int, int, int] | None, note: str | None = None
    ) -> None:
        """A market-status record."""
        price, quantity, imbalance = result or (0, 0, 0)
        bands, resume = s["bands"], 0
        if s["state"] == "PAUSED":
            resume = bands.pause_ends
        elif s["state"] == "HALTED" and self.breaker_halted:
            resume = self.breaker.ends
        s["events"] += 1
        if s["state"] != "CLOSED":
            s["shown_restricted"] = s["restricted"]
        self.records.append(
            (
                "market-status",
                {
                    "eventId": f"status-{s['symbol']}-{s['events']}",
                    "symbol": s["symbol"],
                    "state": s["state"],
                    "cause": cause,
                    "referencePrice": bands.reference or None,
                    "lowerBand": bands.lower or None,
                    "upperBand": bands.upper or None,
                    "auctionPrice": price or None,
                    "auctionQuantity": quantity,
                    "imbalance": imbalance,
                    "shortSaleRestricted": s["restricted"],
                    "resumeTime": resume or None,
                    "detail": note or self.straddle(bands),
                    "causeId": self.cause,
                    "timestamp": self.now,
                },
            )
        )

    def reopen(self, s: dict[str, Any], cause: str) -> None:
        """A halt has ended."""
        if s["state"] != "HALTED":
            return
        if self.state(s) not in ("OPEN", "LIMIT_STATE", "PAUSED"):
            # Nothing trades yet, but nothing is halted any more either.
            s["bands"].suspended = s["bands"].suspended and self.state(s) == "HALTED"
            self.refresh(s, cause)
            return
        result = self.auction(s, "REOPENING")
        s["bands"].reopened(result[0] if result[1] else self.middle(s), self.day)
        self.resume(s, "REOPENING", cause, result)

    def end_pause(self, s: dict[str, Any]) -> None:
        """The auction after a pause; while it cannot uncross the book near the reference the pause goes on."""
        result = self.auction(s, "REOPENING", must_uncross=False)
        if self.is_crossed(s):
            self.seen.add("pause extended")
            if result[1]:
                self.publish(s, "AUCTION", result)
            s["bands"].extend(self.day)
            return
        self.seen.add("pause ended")
        s["bands"].reopened(result[0] if result[1] else self.middle(s), self.day)
        self.resume(s, "REOPENING", "AUCTION", result)

    def is_crossed(self, s: dict[str, Any]) -> bool:
        """Whether a resting bid meets a resting ask."""
        bids, asks = self.best_first(s, "BUY"), self.best_first(s, "SELL")
        return bool(bids and asks and bids[0]["worst"] >= asks[0]["worst"])

    @staticmethod
    def middle(s: dict[str, Any]) -> int:
        """The middle of the national best, 0 without both sides or when they are crossed."""
        quote = s["quote"] or {}
        bid, ask = quote.get("bidPrice"), quote.get("askPrice")
        return int((bid + ask) // 2) if bid is not None and ask is not None and ask >= bid > 0 else 0

    def resume(self, s: dict[str, Any], kind: str, cause: str, result: tuple[int, int, int]) -> None:
        """Continuous trading begins; what the auction left acts in the order in which it came."""
        self.end_auction_orders(s, kind)
        self.test_short_sales(s, self.day)
        self.refresh(s, cause, result)
        if not s["trading"]:
            return
        for order in self.queued(s):
            if order["timeInForce"] not in ("OPG", "CLS"):
                self.seen.add("queued order acts")
                order["place"] = None
                self.arrive(s, order)
        self.work_off(s)
        self.sweep(s)

    def queued(self, s: dict[str, Any]) -> list[dict[str, Any]]:
        """Orders that wait for an auction, oldest first."""
        return [o for o in self.live() if o["symbol"] == s["symbol"] and o["place"] == "QUEUE"]

    @staticmethod
    def takes_part(order: dict[str, Any], kind: str) -> bool:
        """Whether an order is for an auction of this kind."""
        return order["place"] == "REST" or {"OPG": "OPENING", "CLS": "CLOSING"}.get(order["timeInForce"], kind) == kind

    def end_auction_orders(self, s: dict[str, Any], kind: str) -> None:
        """Orders that were for this auction only."""
        for order in self.queued(s):
            if order["timeInForce"] in ("OPG", "CLS") and self.takes_part(order, kind):
                self.finish(order, "CANCELLED", "MATCH_AUCTION_UNFILLED", None)

    def auction(self, s: dict[str, Any], kind: str, must_uncross: bool = True) -> tuple[int, int, int]:
        """Hold an auction near the reference; what is still crossed then trades at any price."""
        reference = self.middle(s) or s["last"] or s["prior"]
        self.move_inside(s, kind)
        self.move_shorts(s, kind)
        result = self.uncross(s, kind, reference, auction_range(reference, s["tick"]))
        if must_uncross and self.is_crossed(s):
            self.seen.add("auction beyond its range")
            if result[1]:
                self.publish(s, "AUCTION", result)
            result = self.uncross(s, kind, reference, (0, 0))
        return result

    def move_inside(self, s: dict[str, Any], kind: str) -> None:
        """Imbalance-only orders of an auction bid no more than the best bid there is, and ask no less than the best ask."""
        quote = s["quote"] or {}
        bids = [o["worst"] for o in self.best_first(s, "BUY")] + [quote.get("bidPrice") or 0]
        asks = [o["worst"] for o in self.best_first(s, "SELL")] + [quote.get("askPrice") or NEVER]
        for order in self.queued(s):
            if not order["imbalanceOnly"] or not self.takes_part(order, kind):
                continue
            limit = order["worst"]
            if order["side"] == "BUY" and max(bids):
                order["worst"] = min(limit, max(bids))
            elif order["side"] != "BUY" and min(asks) < NEVER:
                order["worst"] = max(limit, min(asks))
            if order["worst"] != limit:
                self.seen.add("imbalance-only order moved to the best price")

    def move_shorts(self, s: dict[str, Any], kind: str) -> None:
        """Rule 201: short sales of an auction ask for more than the best bid, unless they were displayed until now."""
        s["short floor"] = 0
        displayed = [o["worst"] for o in self.best_first(s, "BUY")] if kind == "CLOSING" else []
        lowest = self.lowest_short(s, displayed)
        if not s["restricted"] or lowest == s["tick"]:
            return
        s["short floor"] = lowest
        resting = self.best_first(s, "SELL") if kind != "CLOSING" else []
        for order in [o for o in self.queued(s) if self.takes_part(o, kind) and has_limit(o)] + resting:
            if order["side"] == "SELL_SHORT" and order["worst"] < lowest:
                self.seen.add(f"short sale moved before the {kind.lower()}")
                order["worst"] = lowest
                if order["place"] == "REST":
                    self.settle_in(order, "REST")

    def uncross(self, s: dict[str, Any], kind: str, reference: int, limits: tuple[int, int]) -> tuple[int, int, int]:
        """One auction: price, quantity, imbalance; buys and sells are filled market orders first, then price, then time."""
        meeting = [
            o for o in self.live() if o["symbol"] == s["symbol"] and o["place"] != "WAIT" and self.takes_part(o, kind)
        ]
        while True:
            sides = [[o for o in meeting if (o["side"] == "BUY") == is_buy] for is_buy in (True, False)]
            buys, sells = (
                [(o["worst"] if has_limit(o) else None, left(o)) for o in side if not o["imbalanceOnly"]]
                for side in sides
            )
            fillers = [[(o["worst"], left(o)) for o in side if o["imbalanceOnly"]] for side in sides]
            result = uncross(buys, sells, reference, *limits, s["tick"], (fillers[0], fillers[1]))
            price, quantity, _ = result
            # A market order pays or gets no worse than what was reserved for it; without it the price is another one.
            beyond = [
                o
                for o in meeting
                if not has_limit(o)
                and (
                    not self.reaches(o["side"], o["worst"], price)
                    or (o["side"] == "SELL_SHORT" and price < s["short floor"])
                )
            ]
            if not quantity or not beyond:
                break
            self.seen.add("market order out of its auction")
            meeting = [o for o in meeting if o not in beyond]
        lines = [
            [o for o in self.in_line(side) if not has_limit(o) or self.reaches(o["side"], o["worst"], price)]
            for side in sides
        ]
        if quantity:
            self.seen.add(f"{kind.lower()} auction")
        while quantity:
            buy = next(o for o in lines[0] if left(o))
            sell = next(o for o in lines[1] if left(o))
            part = min(left(buy), left(sell), quantity)
            quantity -= part
            trade = f"T{buy['origin'].removeprefix('orders')}-{buy['sequence'] + 1}"
            if buy["imbalanceOnly"] or sell["imbalanceOnly"]:
                self.seen.add("imbalance-only order filled")
            self.fill(buy, part, price, trade, sell["orderId"], "TRDS", "AUCTION")
            self.fill(sell, part, price, trade, buy["orderId"], "TRDS", "AUCTION")
            self.printed(s, price, part)
        return result

    @staticmethod
    def in_line(orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Orders of one side in the priority of an auction: market orders, then better prices, then time.

        Imbalance-only orders are last.
        """

        def place(o: dict[str, Any]) -> tuple[bool, bool, int, int]:
            price = o["worst"] * (-1 if o["side"] == "BUY" else 1) if has_limit(o) else 0
            return bool(o["imbalanceOnly"]), has_limit(o), price, o["rank"]

        return sorted(orders, key=place)

    # Records

    def fill(
        self,
        order: dict[str, Any],
        quantity: int,
        price: int,
        trade: str,
        contra: str | None,
        venue: str,
        liquidity: str,
    ) -> None:
        """One side of a trade."""
        s = self.symbols[order["symbol"]]
        if liquidity != "AUCTION":
            assert s["low"] <= price <= (s["high"] or NEVER), (
                f"{order['orderId']} trades beyond the price bands at {price}"
            )
        order["cum"] += quantity
        self.fees += quantity * order["rate"]
        self.tell(order, "fill", quantity, price)
        done = left(order) == 0
        self.event(order, "EXECUTED" if done else "PARTIALLY_FILLED")
        self.records[-1][1].update(lastQuantity=quantity, lastPrice=price, tradeId=trade, venue=venue)
        quote = s["quote"] or {}
        self.records.append(
            (
                "trade-events",
                {
                    "eventId": f"{trade}-{order['side'][0]}",
                    "tradeId": trade,
                    "orderId": order["orderId"],
                    "contraOrderId": contra,
                    "accountId": order["accountId"],
                    "symbol": order["symbol"],
                    "side": order["side"],
                    "quantity": quantity,
                    "executionPrice": price,
                    "commission": quantity * order["rate"],
                    "executionTime": self.now,
                    "venue": venue,
                    "liquidity": liquidity,
                    "bidPrice": quote.get("bidPrice"),
                    "askPrice": quote.get("askPrice"),
                    "orderSequence": order["sequence"],
                    "causeId": self.cause,
                },
            )
        )
        if done:
            order["place"] = None
            self.tell(order, "end")

    def tell(self, order: dict[str, Any], what: str, quantity: int = 0, price: int = 0) -> None:
        """What risk will have to know."""
        self.batches[-1].append({"what": what, "order": order, "quantity": quantity, "price": price})

    def finish(self, order: dict[str, Any], status: str, reason: str, detail: str | None) -> None:
        """The end of an order that is not filled."""
        order["place"] = None
        self.event(order, status, reason, detail)
        self.tell(order, "end")

    def route_event(self, order: dict[str, Any], venue: str) -> None:
        """ROUTED, once."""
        if not order["routed"]:
            order["routed"] = True
            self.event(order, "ROUTED")
            self.records[-1][1]["venue"] = venue

    def decide(self, order: dict[str, Any], quantity: int, venue: str, action: str, price: int) -> None:
        """A routing decision."""
        order["decisions"] += 1
        s = self.symbols[order["symbol"]]
        quote = s["quote"] or {}
        bids, asks = self.best_first(s, "BUY"), self.best_first(s, "SELL")
        fee = venue_fee(venue, price, quote["timestamp"]) if action == "ROUTE_AWAY" else 0
        self.records.append(
            (
                "routing-decisions",
                {
                    "eventId": f"{order['origin']}-D{order['decisions']}",
                    "orderId": order["orderId"],
                    "accountId": order["accountId"],
                    "symbol": order["symbol"],
                    "side": order["side"],
                    "quantity": quantity,
                    "limitPrice": order["price"],
                    "venue": venue,
                    "action": action,
                    "price": price,
                    "bidPrice": quote.get("bidPrice"),
                    "bidSize": quote.get("bidSize", 0),
                    "askPrice": quote.get("askPrice"),
                    "askSize": quote.get("askSize", 0),
                    "bookBidPrice": bids[0]["worst"] if bids else None,
                    "bookAskPrice": asks[0]["worst"] if asks else None,
                    "nbboEventId": quote.get("eventId"),
                    "timestamp": self.now,
                    "venueFee": fee or None,
                },
            )
        )

    def refuse(self, f: dict[str, Any], event: str, reason: str) -> None:
        """A cancel or replacement that comes too late, or cannot be."""
        order = next(o for o in reversed(self.orders) if self.is_same(o, f))
        refusal(self.records, f, event, reason, None, order["status"])

    def event(
        self,
        order: dict[str, Any],
        status: str,
        reason: str = "NONE",
        detail: str | None = None,
        kind: str = "STATUS",
    ) -> None:
        """An order event."""
        order["status"] = status
        order["sequence"] += 1
        fields = {**order, "leaves": 0 if status in FINAL else left(order)}
        origin = f"{order['origin']}-{order['sequence']}"
        self.records.append(("order-events", order_event(fields, origin, kind, reason, detail, self.cause, self.now)))

    # Questions

    def live(self) -> list[dict[str, Any]]:
        """Orders that rest, wait or are queued, oldest first."""
        return sorted((o for o in self.orders if o["place"] is not None), key=lambda o: o["rank"])

    def best_first(self, s: dict[str, Any], side: str) -> list[dict[str, Any]]:
        """Resting orders of one side in price-time priority."""
        is_buy = side == "BUY"
        orders = [
            o
            for o in self.orders
            if o["place"] == "REST" and o["symbol"] == s["symbol"] and (o["side"] == "BUY") == is_buy
        ]
        return sorted(orders, key=lambda o: (-o["worst"] if is_buy else o["worst"], o["rank"]))

    def venues(self, s: dict[str, Any], side: str) -> list[dict[str, Any]]:
        """Exchanges that an order of this side could go to, best first: price, size left, fee, name."""
        found = []
        letter = "ask" if side == "BUY" else "bid"
        quote = s["quote"]
        for venue in quote["quotes"] if quote is not None else []:
            price = venue[letter + "Price"]
            used = sum(
                t["quantity"]
                for t in self.taken
                if (t["symbol"], t["exchange"], t["timestamp"], t["side"] == "BUY")
                == (s["symbol"], venue["exchange"], venue["timestamp"], side == "BUY")
            )
            size = venue[letter + "Size"] - used
            if price is not None and price > 0 and size > 0 and s["low"] <= price <= (s["high"] or NEVER):
                fee = venue_fee(venue["exchange"], price, quote["timestamp"])
                rank = (price if side == "BUY" else -price, -size, fee, venue["exchange"])
                found.append(
                    {
                        "rank": rank,
                        "price": price,
                        "left": size,
                        "exchange": venue["exchange"],
                        "timestamp": venue["timestamp"],
                    }
                )
        return sorted(found, key=lambda v: v["rank"])

    @staticmethod
    def other(side: str) -> str:
        """The opposite side."""
        return "SELL" if side == "BUY" else "BUY"

    @staticmethod
    def better(side: str, one: int, other: int) -> bool:
        """Whether an order of this side would rather trade at one price than at another."""
        return one < other if side == "BUY" else one > other

    @staticmethod
    def reaches(side: str, worst: int, price: int) -> bool:
        """Whether an order that goes as far as `worst` may execute at `price`."""
        return price <= worst if side == "BUY" else price >= worst


def order_event(
    f: dict[str, Any], event_id: str, kind: str, reason: str, detail: str | None, cause: str, now: int
) -> dict[str, Any]:
    """The record of an order event."""
    return {
        "eventId": event_id,
        "eventType": kind,
        "orderId": f["orderId"],
        "accountId": f["accountId"],
        "symbol": f["symbol"],
        "side": f["side"],
        "orderType": f["orderType"],
        "timeInForce": f["timeInForce"],
        "quantity": f["quantity"],
        "price": f["price"],
        "stopPrice": f["stopPrice"],
        "status": f["status"],
        "reason": reason,
        "reasonText": detail,
        "cumQuantity": f["cum"],
        "leavesQuantity": f["leaves"],
        "lastQuantity": 0,
        "lastPrice": None,
        "tradeId": None,
        "venue": None,
        "sequence": f["sequence"],
        "causeId": cause,
        "timestamp": now,
    }


def refusal(
    records: list[Record], f: dict[str, Any], kind: str, reason: str, detail: str | None, status: str = "REJECTED"
) -> None:
    """The record of a command that was refused: nothing changes."""
    fields = {**f, "status": status, "cum": 0, "leaves": 0, "sequence": 0}
    record = order_event(fields, f["origin"] + "-R", kind, reason, detail, f["origin"], f["timestamp"])
    records.append(("order-events", record))
