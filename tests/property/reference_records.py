"""What the slow reference of the match stage knows and tells: its state, the records that it writes, and questions to it."""

from __future__ import annotations

from typing import Any

from reference_actions import Announced
from reference_bands import ReferenceBreaker
from reference_rules import sale_fees, venue_fee

FINAL = ("EXECUTED", "REJECTED", "CANCELLED", "EXPIRED")
NEVER = 2**63 - 1
INSTRUCTIONS = (("imbalanceOnly", "imbalance_only"), ("doNotReduce", "do_not_reduce"))
Record = tuple[str, dict[str, Any]]


def left(order: dict[str, Any]) -> int:
    """Open shares."""
    return int(order["quantity"] - order["cum"])


def has_limit(order: dict[str, Any]) -> bool:
    """Whether the order has a limit price."""
    return order["orderType"] in ("LIMIT", "STOP_LIMIT")


class ReferenceRecords:
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
        # When prices for late limit orders for the close are still to be told today.
        self.telling: list[int] = []
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
        # From when on a share of a symbol is what it is, and what will change it.
        self.since: dict[str, int] = {}
        self.announced = Announced()
        self.fees = 0
        self.street_cash = 0
        self.street_shares: dict[str, int] = {}
        # Things that happened, for tests that ask whether they did.
        self.seen: set[str] = set()

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
        fees = sale_fees(quantity, price, self.now) if order["pays"] else 0
        charged = quantity * order["rate"] + fees
        self.fees += charged
        self.tell(order, "fill", quantity, price, charged)
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
                    "commission": charged,
                    "executionTime": self.now,
                    "venue": venue,
                    "liquidity": liquidity,
                    "bidPrice": quote.get("bidPrice"),
                    "askPrice": quote.get("askPrice"),
                    "orderSequence": order["sequence"],
                    "causeId": self.cause,
                    "fees": fees or None,
                },
            )
        )
        if done:
            order["place"] = None
            self.tell(order, "end")

    def tell(
        self, order: dict[str, Any], what: str, quantity: int = 0, price: int = 0, charged: int = 0, **more: Any
    ) -> None:
        """What risk will have to know."""
        line = {"what": what, "order": order, "quantity": quantity, "price": price, "charged": charged, **more}
        session = 0 if self.session is None else self.session["openTime"]
        self.batches[-1].append({**line, "now": self.now, "session": session})

    def flush(self) -> None:
        """A batch ends; what it did says so with the totals of this moment."""
        for line in self.batches[-1]:
            line["total"] = line["order"]["quantity"]
        self.batches.append([])

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

    def is_of_before(self, f: dict[str, Any]) -> bool:
        """Whether an input speaks of shares of before an action of its symbol that has taken effect."""
        return bool(f["timestamp"] < self.since.get(f["symbol"], 0))

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

    def shown(self, s: dict[str, Any], side: str) -> list[int]:
        """What our book adds to the national best: the best price at which, with better ones, a round lot rests."""
        shares = 0
        for order in self.best_first(s, side):
            shares += left(order)
            if shares >= s["lot"]:
                if left(order) < s["lot"]:
                    self.seen.add("odd lots put together")
                return [order["worst"]]
        if shares:
            self.seen.add("odd lots that are not shown")
        return []

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


EXEC_TYPES = {
    "VALIDATED": "PENDING_NEW",
    "RISK_APPROVED": "PENDING_NEW",
    "ROUTED": "NEW",
    "PARTIALLY_FILLED": "TRADE",
    "EXECUTED": "TRADE",
    "REPLACED": "REPLACED",
    "CANCELLED": "CANCELLED",
    "EXPIRED": "EXPIRED",
    "REJECTED": "REJECTED",
}
EVENTS_TELL = {"RESTATED": "RESTATED", "TRIGGERED": "TRIGGERED"}


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
        "execType": EVENTS_TELL.get(kind, EXEC_TYPES.get(f["status"])) if "_REJECTED" not in kind else None,
    }


def refusal(
    records: list[Record], f: dict[str, Any], kind: str, reason: str, detail: str | None, status: str = "REJECTED"
) -> None:
    """The record of a command that was refused: nothing changes."""
    fields = {**f, "status": status, "cum": 0, "leaves": 0, "sequence": 0}
    record = order_event(fields, f["origin"] + "-R", kind, reason, detail, f["origin"], f["timestamp"])
    records.append(("order-events", record))
