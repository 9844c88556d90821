"""The match stage once more, slow and obvious: orders are a list that is searched and sorted anew each time.

ReferenceRecords holds the state and writes records, ReferenceOrders moves orders, ReferenceAuctions symbols,
ReferenceAdjusting gives orders the terms of corporate actions; here are the inputs, and time.
"""

from __future__ import annotations

from typing import Any

from reference_adjusting import ReferenceAdjusting
from reference_late import telling_times
from reference_records import NEVER, left
from reference_rules import round_lot


class ReferenceMarket(ReferenceAdjusting):
    """The whole of it."""

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
            s["listing"] = terms["primaryExchange"]
            s["tick"] = terms["tickSize"]
            s["prior"] = terms["priorClose"]
            s["fresh"] = self.phase == "CLOSED"
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
        if self.is_of_before(f) or (s["sequence"] is not None and f["sequence"] <= s["sequence"]):
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
        elif order["place"] == "QUEUE" or self.is_of_before(f):
            self.seen.add("replacement of a queued order" if order["place"] == "QUEUE" else "replacement of before")
            self.tell(order, "refused")
            self.refuse(f, "REPLACE_REJECTED", "REPLACE_NOT_ALLOWED")
        elif f["quantity"] > order["cum"] and f["price"] != order["price"] and self.allowed(s, order, f["price"]):
            self.seen.add("replacement far beyond the national best")
            self.tell(order, "refused")
            self.refuse(f, "REPLACE_REJECTED", "MATCH_LIMIT_PROTECTION")
        else:
            self.replace(s, order, f)
            order["placed"] = max(order["placed"], f["timestamp"])
        self.look(s)

    @staticmethod
    def is_same(order: dict[str, Any], f: dict[str, Any]) -> bool:
        """Whether a command names an order."""
        return bool(order["accountId"] == f["accountId"] and order["orderId"] == f["orderId"])

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
            return min([int(self.session["closeTime"]), *self.telling])
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

    def reach(self, now: int) -> None:
        """Phases begin, one after the other, each at its own time."""
        while self.due() <= now:
            self.day = max(self.day, self.due())
            while self.next_phase() <= self.day:
                in_session = self.tell_prices if self.telling else self.close_market
                {"PRE_OPEN": self.open_market, "OPEN": in_session}.get(self.phase, self.begin_session)()
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
        following = self.next_session()
        assert following is not None
        self.flush()
        actions = self.due_actions(following)
        self.session = following
        self.telling = telling_times(following)
        self.phase = "PRE_OPEN"
        for f in actions:
            self.adjust(f)
        for f in actions:
            self.split_prices(f)
        times = self.session["openTime"], self.session["closeTime"]
        self.breaker.begin_session(*times)
        self.breaker_halted = False
        for s in self.symbols.values():
            s["bands"].begin_session(*times)
            if s["quote"] is not None and s["quote"]["timestamp"] < self.entry(self.session):
                s["quote"] = None
                self.taken = [t for t in self.taken if t["symbol"] != s["symbol"]]
            s["restricted"] = s["fallen"]
            s["fallen"] = s["fresh"] = False
            s["told"] = []
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
            s["fresh"] = False
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
