"""Auctions and the state of a symbol in the slow reference of the match stage."""

from __future__ import annotations

from typing import Any

from reference_bands import ReferenceBands
from reference_orders import ReferenceOrders
from reference_records import NEVER, has_limit, left
from reference_rules import auction_range, round_lot, text, uncross


class ReferenceAuctions(ReferenceOrders):
    """Halts, bands, pauses, and the auctions that end them."""

    def symbol(self, name: str) -> dict[str, Any]:
        """A symbol's own things."""
        if name not in self.symbols:
            s: dict[str, Any] = {
                "symbol": name,
                "tick": 100,
                "prior": 0,
                "fresh": False,
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
                "listing": "",
                "told": [],
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
            bids, asks = self.shown(s, "BUY"), self.shown(s, "SELL")
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
            s["bands"].extend(self.day)
            if result[1]:
                self.publish(s, "AUCTION", result)
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
        displayed = self.shown(s, "BUY") if kind == "CLOSING" else []
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
        result, sides = self.agree(s, meeting, reference, limits, s["short floor"])
        price, quantity, _ = result
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

    def agree(
        self,
        s: dict[str, Any],
        meeting: list[dict[str, Any]],
        reference: int,
        limits: tuple[int, int],
        floor: int,
    ) -> tuple[tuple[int, int, int], list[list[dict[str, Any]]]]:
        """What orders agree on, and those of them that take part, buys and sells; `floor`: the lowest price of short sales."""
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
                and (not self.reaches(o["side"], o["worst"], price) or (o["side"] == "SELL_SHORT" and price < floor))
            ]
            if not quantity or not beyond:
                return result, sides
            self.seen.add("market order out of its auction")
            meeting = [o for o in meeting if o not in beyond]

    @staticmethod
    def in_line(orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Orders of one side in the priority of an auction: market orders, then better prices, then time.

        Imbalance-only orders are last.
        """

        def place(o: dict[str, Any]) -> tuple[bool, bool, int, int]:
            price = o["worst"] * (-1 if o["side"] == "BUY" else 1) if has_limit(o) else 0
            return bool(o["imbalanceOnly"]), has_limit(o), price, o["rank"]

        return sorted(orders, key=place)
