"""The trading rules once more: slow, obvious, and sharing no code with udfs/domain.

Everything is a list or a dictionary that is searched and sorted anew each time; rates and text are Fraction and Decimal.
It takes the steps of trading_harness and gives the records that the real stages have to give, field by field.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from typing import Any

FINAL = ("EXECUTED", "REJECTED", "CANCELLED", "EXPIRED")
CAP_CHARGING = ("XNYS", "XNAS", "ARCX", "BATS")
COLLARS = ((Fraction(25), Fraction(10, 100)), (Fraction(50), Fraction(5, 100)), (Fraction(10**6), Fraction(3, 100)))


def dollars(e4: int) -> Fraction:
    """An amount in 1/10,000 as a fraction of dollars."""
    return Fraction(e4, 10_000)


def text(e4: int) -> str:
    """An amount with four places."""
    return f"{Decimal(e4) / 10_000:.4f}"


class ReferenceEngine:
    """Accounts, orders and quotes of the whole market."""

    def __init__(self) -> None:
        self.accounts: dict[str, dict[str, Any]] = {}
        self.instruments: dict[str, dict[str, Any]] = {}
        self.sessions: list[dict[str, Any]] = []
        self.quotes: dict[str, dict[str, Any]] = {}
        self.taken: list[dict[str, Any]] = []
        self.orders: list[dict[str, Any]] = []
        self.seen: list[tuple[str, str, dict[str, Any], int]] = []
        self.outcomes: list[dict[str, Any]] = []
        self.records: list[tuple[str, dict[str, Any]]] = []
        self.clock = 0
        self.offsets = {"order": 0, "nbbo": 0, "control": 0}
        self.fees = 0
        self.street_cash = 0
        self.street_shares: dict[str, int] = {}
        self.arrivals = 0

    # Inputs

    def step(self, kind: str, fields: Any) -> None:
        """Apply one step."""
        if kind == "settle":
            self.settle()
        elif kind == "reference":
            self.reference(fields)
        elif kind == "clock":
            position = f"controls-0-{self.offsets['control']}"
            self.offsets["control"] += 1
            self.pass_time(fields, position)
        elif kind == "nbbo":
            self.nbbo(fields)
        else:
            position = f"orders-0-{self.offsets['order']}"
            self.offsets["order"] += 1
            if fields["command"] == "NEW":
                self.new(fields, position)
            elif fields["command"] == "CANCEL":
                self.cancel(fields, position)
            else:
                self.refuse(fields, position, "REPLACE_REJECTED", "VALIDATION_UNSUPPORTED_COMMAND", "command=REPLACE")

    def reference(self, fields: dict[str, Any]) -> None:
        if fields["kind"] == "INSTRUMENT":
            self.instruments[fields["instrument"]["symbol"]] = fields["instrument"]
        elif fields["kind"] == "SESSION":
            self.sessions.append(fields["session"])
        elif fields["kind"] == "ACCOUNT":
            record = fields["account"]
            old = self.accounts.get(record["accountId"])
            shares = {p["symbol"]: p["quantity"] for p in record["positions"]}
            cash = record["cash"]
            if old is not None:
                shares, cash = old["shares"], old["money"]
            self.accounts[record["accountId"]] = {**record, "money": cash, "shares": shares}

    def pass_time(self, now: int, cause: str) -> None:
        if now <= self.clock:
            return
        self.clock = now
        for order in self.resting():
            if order["close"] <= now:
                self.expire(order, cause, now)

    def nbbo(self, fields: dict[str, Any]) -> None:
        symbol = fields["symbol"]
        old = self.quotes.get(symbol)
        if old is not None and fields["sequence"] <= old["sequence"]:
            return
        self.pass_time(fields["timestamp"], fields["eventId"])
        self.quotes[symbol] = fields
        for side in ("BUY", "SELL"):
            while True:
                resting = self.best_first(symbol, side)
                venue = self.best_venue(symbol, side)
                if not resting or venue is None or not self.reaches(side, resting[0]["worst"], venue["price"]):
                    break
                self.route(resting[0], venue, fields["eventId"], fields["timestamp"])

    # Risk stage

    def new(self, f: dict[str, Any], position: str) -> None:
        oid = f["orderId"]
        order = {
            **f,
            "origin": position,
            "status": "PENDING",
            "cum": 0,
            "sequence": 0,
            "decisions": 0,
            "arrival": None,
            "unsettled": 0,
            "released": False,
        }
        if not 1 <= len(oid) <= 64 or not all("!" <= c <= "~" for c in oid):
            reason = f"length={len(oid)} max_length=64 allowed=visible-ascii"
            self.event(order, "REJECTED", position, f["timestamp"], "VALIDATION_ORDER_ID_INVALID", reason)
            return
        now_session = self.session_number(self.clock)
        for account_id, order_id, content, session_number in self.seen:
            if (account_id, order_id) == (f["accountId"], oid) and session_number >= now_session - 1:
                same = content == f
                self.records.append(
                    (
                        "dead-letter",
                        {
                            "eventId": position,
                            "reason": "REPLAYED_ORDER" if same else "DUPLICATE_ORDER_ID",
                            "timestamp": f["timestamp"],
                        },
                    )
                )
                return
        self.seen.append((f["accountId"], oid, f, now_session))
        problem = self.invalid(f)
        if problem:
            self.event(order, "REJECTED", position, f["timestamp"], *problem)
            self.orders.append(order)
            return
        account = self.accounts[f["accountId"]]
        order["worst"] = self.worst(f)
        order["rate"] = account["commissionPerShare"]
        order["unit"] = max(0, (order["worst"] or 0) + order["rate"])
        if f["side"] == "SELL":
            order["unit"] = max(0, order["rate"] - (order["worst"] or 0))
        risk = self.too_risky(f, account, order)
        if risk:
            reason, detail, limit, observed = risk
            self.event(order, "VALIDATED", position, f["timestamp"])
            self.event(order, "REJECTED", position, f["timestamp"], reason, detail)
            self.records.append(
                (
                    "risk-events",
                    {
                        "eventId": position + "-K",
                        "type": "ORDER_REJECTED",
                        "accountId": f["accountId"],
                        "orderId": oid,
                        "symbol": f["symbol"],
                        "reason": reason,
                        "detail": detail,
                        "limitValue": limit,
                        "observedValue": observed,
                        "buyingPower": account["money"] - self.reserved(f["accountId"]),
                        "timestamp": f["timestamp"],
                    },
                )
            )
            self.orders.append(order)
            return
        order["close"] = self.session_at(f["timestamp"])["closeTime"]
        self.orders.append(order)
        self.place(order)

    def invalid(self, f: dict[str, Any]) -> tuple[str, str] | None:
        account = self.accounts.get(f["accountId"])
        instrument = self.instruments.get(f["symbol"])
        price = f["price"]
        if account is None:
            return "VALIDATION_UNKNOWN_ACCOUNT", f"account={f['accountId']}"
        if not account["active"]:
            return "VALIDATION_ACCOUNT_INACTIVE", f"account={f['accountId']}"
        if instrument is None:
            return "VALIDATION_UNKNOWN_SYMBOL", f"symbol={f['symbol']}"
        if not instrument["active"]:
            return "VALIDATION_SYMBOL_INACTIVE", f"symbol={f['symbol']}"
        if f["orderType"] not in ("MARKET", "LIMIT"):
            return "VALIDATION_UNSUPPORTED_ORDER_TYPE", f"order_type={f['orderType']}"
        if f["stp"] != "NONE":
            return "VALIDATION_UNSUPPORTED_ORDER_TYPE", f"stp={f['stp']}"
        if f["timeInForce"] not in ("DAY", "IOC"):
            return "VALIDATION_UNSUPPORTED_TIME_IN_FORCE", f"time_in_force={f['timeInForce']}"
        if f["side"] not in ("BUY", "SELL"):
            return "VALIDATION_UNSUPPORTED_SIDE", f"side={f['side']}"
        if f["quantity"] < 1:
            return "VALIDATION_QUANTITY_NOT_POSITIVE", f"quantity={f['quantity']}"
        if f["quantity"] > 999_999:
            return "VALIDATION_QUANTITY_TOO_LARGE", f"quantity={f['quantity']} max_quantity=999999"
        if f["stopPrice"] is not None or (f["orderType"] == "MARKET" and price is not None):
            shown = ["none" if p is None else text(p) for p in (price, f["stopPrice"])]
            return (
                "VALIDATION_PRICE_NOT_ALLOWED",
                f"order_type={f['orderType']} price={shown[0]} stop_price={shown[1]}",
            )
        if f["orderType"] == "LIMIT":
            if price is None:
                return "VALIDATION_PRICE_MISSING", "order_type=LIMIT price=none"
            if price < 1:
                return "VALIDATION_PRICE_NOT_POSITIVE", f"price={text(price)}"
            if dollars(price) > 1_000_000:
                return "VALIDATION_PRICE_NOT_ALLOWED", f"price={text(price)} max_price=1000000.0000"
            tick = instrument["tickSize"] if dollars(price) >= 1 else 1
            if price % tick:
                return "VALIDATION_PRICE_INCREMENT", f"price={text(price)} increment={text(tick)}"
        session = self.session_at(f["timestamp"])
        if session is None:
            return "VALIDATION_SESSION_CLOSED", f"timestamp_ns={f['timestamp']} session=none"
        if self.clock >= session["closeTime"]:
            return (
                "VALIDATION_SESSION_CLOSED",
                f"timestamp_ns={f['timestamp']} session={session['date']} close_ns={session['closeTime']} "
                f"clock_ns={self.clock}",
            )
        return None

    def worst(self, f: dict[str, Any]) -> int | None:
        if f["orderType"] == "LIMIT":
            return f["price"]
        quote = self.quotes.get(f["symbol"])
        reference = None if quote is None else quote["askPrice" if f["side"] == "BUY" else "bidPrice"]
        if reference is None:
            return None
        width = next(share for up_to, share in COLLARS if dollars(reference) <= up_to)
        if f["side"] == "BUY":
            exact = ceil(reference * (1 + width))
            tick = self.instruments[f["symbol"]]["tickSize"] if dollars(exact) >= 1 else 1
            return ceil(Fraction(exact, tick)) * tick
        exact = floor(reference * (1 - width))
        tick = self.instruments[f["symbol"]]["tickSize"] if dollars(exact) >= 1 else 1
        return max(1, floor(Fraction(exact, tick)) * tick)

    def too_risky(
        self, f: dict[str, Any], account: dict[str, Any], order: dict[str, Any]
    ) -> tuple[str, str, int | None, int | None] | None:
        quantity, worst = f["quantity"], order["worst"]
        buy = f["side"] == "BUY"
        if quantity > account["maxOrderQuantity"]:
            limit = account["maxOrderQuantity"]
            return "RISK_ORDER_QUANTITY", f"quantity={quantity} max_order_quantity={limit}", limit, quantity
        if worst is None:
            which = "ask" if buy else "bid"
            return "RISK_NO_REFERENCE_PRICE", f"symbol={f['symbol']} national_best_{which}=none", None, None
        value = worst if buy or f["orderType"] == "LIMIT" else self.quotes[f["symbol"]]["bidPrice"]
        if quantity * value > account["maxOrderNotional"]:
            limit = account["maxOrderNotional"]
            return (
                "RISK_ORDER_NOTIONAL",
                f"notional={text(quantity * value)} max_order_notional={text(limit)} price={text(value)}",
                limit,
                quantity * value,
            )
        held = account["shares"].get(f["symbol"], 0)
        open_buys = self.open_shares(f["accountId"], f["symbol"], "BUY")
        open_sells = self.open_shares(f["accountId"], f["symbol"], "SELL")
        if buy and held + open_buys + quantity > account["maxPosition"]:
            limit = account["maxPosition"]
            return (
                "RISK_POSITION_LIMIT",
                f"position={held} open_buys={open_buys} quantity={quantity} max_position={limit}",
                limit,
                held + open_buys + quantity,
            )
        if not buy and quantity > held - open_sells:
            return (
                "RISK_INSUFFICIENT_POSITION",
                f"position={held} open_sells={open_sells} quantity={quantity}",
                held - open_sells,
                quantity,
            )
        required = quantity * order["unit"]
        reserved = self.reserved(f["accountId"])
        available = account["money"] - reserved
        if required > 0 and required > available:
            return (
                "RISK_BUYING_POWER",
                f"required={text(required)} available={text(available)} cash={text(account['money'])} "
                f"reserved={text(reserved)}",
                available,
                required,
            )
        return None

    def open_orders(self, account_id: str) -> list[dict[str, Any]]:
        """Approved orders whose end the risk stage has not been told."""
        return [
            o for o in self.orders if o["accountId"] == account_id and not o["released"] and o.get("close") is not None
        ]

    def open_quantity(self, order: dict[str, Any]) -> int:
        """Shares open as the risk stage knows them."""
        return order["quantity"] - order["cum"] + order["unsettled"]

    def open_shares(self, account_id: str, symbol: str, side: str) -> int:
        return sum(
            self.open_quantity(o) for o in self.open_orders(account_id) if o["symbol"] == symbol and o["side"] == side
        )

    def reserved(self, account_id: str) -> int:
        return sum(self.open_quantity(o) * o["unit"] for o in self.open_orders(account_id))

    def cancel(self, f: dict[str, Any], position: str) -> None:
        now_session = self.session_number(self.clock)
        known = [s for s in self.seen if s[:2] == (f["accountId"], f["orderId"]) and s[3] >= now_session - 1]
        matches = [o for o in self.orders if (o["accountId"], o["orderId"]) == (f["accountId"], f["orderId"])]
        if not known:
            self.refuse(f, position, "CANCEL_REJECTED", "CANCEL_UNKNOWN_ORDER", None)
            return
        order = matches[-1]
        if order.get("close") is None:
            self.refuse(f, position, "CANCEL_REJECTED", "CANCEL_TOO_LATE", "status=REJECTED")
        elif order["status"] in FINAL:
            self.refuse(f, position, "CANCEL_REJECTED", "CANCEL_TOO_LATE", None, order["status"])
        else:
            self.end(order, "CANCELLED", position, f["timestamp"], "CANCEL_REQUESTED", None)

    def refuse(
        self, f: dict[str, Any], position: str, event: str, reason: str, detail: str | None, status: str = "REJECTED"
    ) -> None:
        order = {**f, "cum": 0, "sequence": -1, "origin": position, "status": status}
        self.event(order, status, position, f["timestamp"], reason, detail)
        self.records[-1][1]["leavesQuantity"] = 0
        self.records[-1][1].update(eventId=position + "-R", eventType=event)

    def settle(self) -> None:
        """The risk stage learns what happened."""
        for outcome in self.outcomes:
            order = outcome["order"]
            account = self.accounts[order["accountId"]]
            if outcome["kind"] == "end":
                order["released"] = True
                continue
            sign = 1 if order["side"] == "BUY" else -1
            quantity, price = outcome["quantity"], outcome["price"]
            account["money"] -= sign * quantity * price + quantity * order["rate"]
            account["shares"][order["symbol"]] = account["shares"].get(order["symbol"], 0) + sign * quantity
            order["unsettled"] -= quantity
        self.outcomes = []

    # Match stage

    def place(self, order: dict[str, Any]) -> None:
        cause, now = order["origin"], order["timestamp"]
        self.event(order, "VALIDATED", cause, now)
        approval = f"reserved={text(order['quantity'] * order['unit'])}"
        if order["side"] == "SELL":
            approval = f"reserved_shares={order['quantity']}"
        self.event(order, "RISK_APPROVED", cause, now, "NONE", approval)
        if order["close"] <= self.clock:
            self.expire(order, cause, now)
            return
        other = "SELL" if order["side"] == "BUY" else "BUY"
        while order["cum"] < order["quantity"]:
            makers = self.best_first(order["symbol"], other)
            venue = self.best_venue(order["symbol"], order["side"])
            inside = makers[0]["worst"] if makers else None
            inside_is_best = inside is not None and (
                venue is None or inside == venue["price"] or self.better(order["side"], inside, venue["price"])
            )
            if inside_is_best and self.reaches(order["side"], order["worst"], inside):
                makers = [m for m in makers if m["worst"] == inside]
                self.execute_level(order, makers, inside, cause, now)
            elif venue is not None and self.reaches(order["side"], order["worst"], venue["price"]):
                self.route(order, venue, cause, now)
            else:
                break
        left = order["quantity"] - order["cum"]
        if left == 0:
            return
        if order["orderType"] == "LIMIT" and order["timeInForce"] == "DAY":
            self.decide(order, left, "TRDS", "POST", order["worst"], now)
            self.routed(order, "TRDS", cause, now)
            self.arrivals += 1
            order["arrival"] = self.arrivals
            return
        makers = self.best_first(order["symbol"], other)
        venue = self.best_venue(order["symbol"], order["side"])
        prices = [m["worst"] for m in makers[:1]] + ([venue["price"]] if venue else [])
        best = (min if order["side"] == "BUY" else max)(prices) if prices else None
        reason = "MATCH_IOC_REMAINDER"
        if order["orderType"] == "MARKET":
            reason = "MATCH_NO_LIQUIDITY" if best is None else "MATCH_COLLAR"
        shown = "none" if best is None else text(best)
        detail = f"unfilled={left} worst_price={text(order['worst'])} best_opposite={shown}"
        self.end(order, "CANCELLED", cause, now, reason, detail)

    def execute_level(
        self, taker: dict[str, Any], makers: list[dict[str, Any]], price: int, cause: str, now: int
    ) -> None:
        total = sum(m["quantity"] - m["cum"] for m in makers)
        quantity = min(taker["quantity"] - taker["cum"], total)
        self.decide(taker, quantity, "TRDS", "EXECUTE_INTERNAL", price, now)
        self.routed(taker, "TRDS", cause, now)
        for maker in makers:
            part = min(quantity, maker["quantity"] - maker["cum"])
            if part == 0:
                break
            quantity -= part
            trade = f"T{taker['origin'].removeprefix('orders')}-{taker['sequence'] + 1}"
            self.fill(taker, part, price, trade, maker["orderId"], "TRDS", "REMOVED", cause, now)
            self.fill(maker, part, price, trade, taker["orderId"], "TRDS", "ADDED", cause, now)

    def route(self, order: dict[str, Any], venue: dict[str, Any], cause: str, now: int) -> None:
        quantity = min(order["quantity"] - order["cum"], venue["left"])
        self.decide(order, quantity, venue["exchange"], "ROUTE_AWAY", venue["price"], now)
        self.routed(order, venue["exchange"], cause, now)
        self.taken.append(
            {
                "symbol": order["symbol"],
                "exchange": venue["exchange"],
                "timestamp": venue["timestamp"],
                "side": order["side"],
                "quantity": quantity,
            }
        )
        sign = 1 if order["side"] == "BUY" else -1
        self.street_cash += sign * quantity * venue["price"]
        self.street_shares[order["symbol"]] = self.street_shares.get(order["symbol"], 0) - sign * quantity
        trade = f"T{order['origin'].removeprefix('orders')}-{order['sequence'] + 1}"
        self.fill(order, quantity, venue["price"], trade, None, venue["exchange"], "ROUTED", cause, now)

    def fill(
        self,
        order: dict[str, Any],
        quantity: int,
        price: int,
        trade: str,
        contra: str | None,
        venue: str,
        liquidity: str,
        cause: str,
        now: int,
    ) -> None:
        order["cum"] += quantity
        order["unsettled"] += quantity
        self.fees += quantity * order["rate"]
        self.outcomes.append({"kind": "fill", "order": order, "quantity": quantity, "price": price})
        done = order["cum"] == order["quantity"]
        self.event(order, "EXECUTED" if done else "PARTIALLY_FILLED", cause, now)
        self.records[-1][1].update(lastQuantity=quantity, lastPrice=price, tradeId=trade, venue=venue)
        quote = self.quotes.get(order["symbol"], {})
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
                    "executionTime": now,
                    "venue": venue,
                    "liquidity": liquidity,
                    "bidPrice": quote.get("bidPrice"),
                    "askPrice": quote.get("askPrice"),
                    "orderSequence": order["sequence"],
                    "causeId": cause,
                },
            )
        )
        if done:
            self.outcomes.append({"kind": "end", "order": order})

    def expire(self, order: dict[str, Any], cause: str, now: int) -> None:
        detail = f"unfilled={order['quantity'] - order['cum']} close_ns={order['close']}"
        self.end(order, "EXPIRED", cause, now, "EXPIRY_SESSION_CLOSE", detail)

    def end(self, order: dict[str, Any], status: str, cause: str, now: int, reason: str, detail: str | None) -> None:
        self.event(order, status, cause, now, reason, detail)
        self.outcomes.append({"kind": "end", "order": order})

    def routed(self, order: dict[str, Any], venue: str, cause: str, now: int) -> None:
        if order["status"] == "RISK_APPROVED":
            self.event(order, "ROUTED", cause, now)
            self.records[-1][1]["venue"] = venue

    def decide(self, order: dict[str, Any], quantity: int, venue: str, action: str, price: int, now: int) -> None:
        order["decisions"] += 1
        quote = self.quotes.get(order["symbol"], {})
        bids = self.best_first(order["symbol"], "BUY")
        asks = self.best_first(order["symbol"], "SELL")
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
                    "timestamp": now,
                    "venueFee": self.fee(order["symbol"], venue, price) if action == "ROUTE_AWAY" else None,
                },
            )
        )

    def fee(self, symbol: str, venue: str, price: int) -> int | None:
        """What an exchange charges for its quote, none when it is free: the cap of Rule 610, in these tests."""
        assert venue in CAP_CHARGING
        return 30 if price >= 10_000 else floor(price * Fraction(3, 1000)) or None

    def event(
        self,
        order: dict[str, Any],
        status: str,
        cause: str,
        now: int,
        reason: str = "NONE",
        detail: str | None = None,
    ) -> None:
        order["status"] = status
        order["sequence"] += 1
        self.records.append(
            (
                "order-events",
                {
                    "eventId": f"{order['origin']}-{order['sequence']}",
                    "eventType": "STATUS",
                    "orderId": order["orderId"],
                    "accountId": order["accountId"],
                    "symbol": order["symbol"],
                    "side": order["side"],
                    "orderType": order["orderType"],
                    "timeInForce": order["timeInForce"],
                    "quantity": order["quantity"],
                    "price": order["price"],
                    "stopPrice": order["stopPrice"],
                    "status": status,
                    "reason": reason,
                    "reasonText": detail,
                    "cumQuantity": order["cum"],
                    "leavesQuantity": 0 if status in FINAL else order["quantity"] - order["cum"],
                    "lastQuantity": 0,
                    "lastPrice": None,
                    "tradeId": None,
                    "venue": None,
                    "sequence": order["sequence"],
                    "causeId": cause,
                    "timestamp": now,
                },
            )
        )

    # Questions

    def session_at(self, now: int) -> dict[str, Any] | None:
        return next((s for s in self.sessions if s["openTime"] <= now < s["closeTime"]), None)

    def session_number(self, now: int) -> int:
        """How many sessions have opened by now."""
        return sum(s["openTime"] <= now for s in self.sessions)

    def resting(self) -> list[dict[str, Any]]:
        """Orders in the book, oldest first."""
        live = [o for o in self.orders if o["arrival"] is not None and o["status"] not in FINAL]
        return sorted(live, key=lambda o: o["arrival"])

    def best_first(self, symbol: str, side: str) -> list[dict[str, Any]]:
        """Resting orders of one side in price-time priority."""
        orders = [o for o in self.resting() if o["symbol"] == symbol and o["side"] == side]
        return sorted(orders, key=lambda o: (-o["worst"] if side == "BUY" else o["worst"], o["arrival"]))

    def best_venue(self, symbol: str, side: str) -> dict[str, Any] | None:
        """The exchange that an order of this side would go to: price, size left, fee, name."""
        found = []
        letter = "ask" if side == "BUY" else "bid"
        for quote in self.quotes.get(symbol, {}).get("quotes", []):
            price = quote[letter + "Price"]
            used = sum(
                t["quantity"]
                for t in self.taken
                if (t["symbol"], t["exchange"], t["timestamp"], t["side"])
                == (symbol, quote["exchange"], quote["timestamp"], side)
            )
            left = quote[letter + "Size"] - used
            if price is not None and left > 0:
                found.append(
                    {
                        "price": price,
                        "left": left,
                        "exchange": quote["exchange"],
                        "timestamp": quote["timestamp"],
                    }
                )
        found.sort(
            key=lambda v: (
                v["price"] if side == "BUY" else -v["price"],
                -v["left"],
                self.fee(symbol, v["exchange"], v["price"]) or 0,
                v["exchange"],
            )
        )
        return found[0] if found else None

    def better(self, side: str, one: int, other: int) -> bool:
        return one < other if side == "BUY" else one > other

    def reaches(self, side: str, worst: int, price: int) -> bool:
        """Whether an order that goes as far as `worst` may execute at `price`."""
        return price <= worst if side == "BUY" else price >= worst
