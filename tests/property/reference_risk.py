"""The risk stage of cash accounts once more, slow and obvious: everything that is open is summed up anew each time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reference_records import NEVER, Record, order_event, refusal
from reference_rules import HIGHEST_PRICE, collar, cutoff, fees_of_a_share, quoted_step, text
from reference_splits import ReferenceSplits

MOST_SHARES = 999_999
MOST_MONEY = 10**17
SECOND = 10**9
LIMITS = (
    ("ORDER_QUANTITY", "maxOrderQuantity"),
    ("ORDER_NOTIONAL", "maxOrderNotional"),
    ("POSITION", "maxPosition"),
    ("DAILY_NOTIONAL", "maxDailyNotional"),
    ("ORDER_RATE", "maxOrdersPerSecond"),
    ("OPEN_ORDERS", "maxOpenOrders"),
    ("CONCENTRATION", "maxConcentration"),
    ("PRICE_DEVIATION", "maxPriceDeviation"),
)
Reason = tuple[str, str]
Breach = tuple[str, str, int | None, int | None]


def none_or(amount: int | None) -> str:
    """An amount as text, or none."""
    return "none" if amount is None else text(amount)


class ReferenceRisk(ReferenceSplits):
    """Accounts, what is open, what operators have switched; approved commands go to `send`."""

    def __init__(self, records: list[Record], send: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self.records = records
        self.send = send
        self.accounts: dict[str, dict[str, Any]] = {}
        self.instruments: dict[str, dict[str, Any]] = {}
        self.sessions: dict[str, dict[str, Any]] = {}
        self.quotes: dict[str, dict[str, Any]] = {}
        self.lasts: dict[str, int] = {}
        # Approved orders that risk has not been told the end of.
        self.open: list[dict[str, Any]] = []
        # Everything that was judged: account, order id, content, number of the session, whether it was approved.
        self.judged: list[tuple[str, str, dict[str, Any], int, bool]] = []
        self.begun = 0
        self.last_begun = 0
        self.clock = 0
        self.modes: dict[tuple[str, str | None], str] = {}
        self.restricted: set[tuple[str | None, str]] = set()
        self.firm_capital: int | None = None
        self.filled_value = 0
        self.controls: set[str] = set()
        self.waiting: list[dict[str, Any]] = []
        self.seen: set[str] = set()

    # Inputs

    def reference(self, f: dict[str, Any]) -> None:
        """Instruments, sessions, accounts, now or when they take effect."""
        if f["effectiveFrom"] > max(self.clock, f["timestamp"]):
            self.waiting.append(f)
        else:
            self.take_over(f, self.between_sessions(self.clock))

    def take_over(self, f: dict[str, Any], between: bool) -> None:
        """Reference data that is in force. Money and shares of an account that is known are its own."""
        if f["kind"] == "INSTRUMENT":
            symbol = f["instrument"]["symbol"]
            self.instruments[symbol] = f["instrument"]
            (self.fresh.add if between else self.fresh.discard)(symbol)
        elif f["kind"] == "SESSION":
            self.sessions[f["session"]["date"]] = f["session"]
        elif f["kind"] == "ACCOUNT":
            terms = f["account"]
            account = self.accounts.get(terms["accountId"])
            if account is None:
                account = {
                    "money": terms["cash"],
                    "shares": {p["symbol"]: p["quantity"] for p in terms["positions"]},
                    "limits": {},
                    "published": {},
                    "times": [],
                    "terms": [],
                    "notices": 0,
                    "today": 0,
                }
                self.accounts[terms["accountId"]] = account
            for kind, field in LIMITS:
                if kind not in account["published"] or account["published"][kind] != terms.get(field):
                    self.set_limit(account, kind, terms.get(field))
                account["published"][kind] = terms.get(field)
            account["record"] = terms

    @staticmethod
    def set_limit(account: dict[str, Any], kind: str, value: int | None) -> None:
        """A limit of an account; a new rate looks at the newest orders only."""
        account["limits"][kind] = value
        if kind == "ORDER_RATE":
            account["times"] = account["times"][-value:] if value else []

    def advance(self, now: int) -> None:
        """Time passes: a session that begins forgets the day before."""
        if now <= self.clock:
            return
        self.clock = now
        entered = [x for x in self.sessions.values() if self.entry(x) <= now]
        newest = max(entered, key=lambda x: x["openTime"], default=None)
        if newest is not None and newest["openTime"] > self.last_begun:
            self.take_over_until(self.entry(newest))
            self.begin_actions(newest, self.entry(newest))
            self.last_begun = newest["openTime"]
            self.begun += 1
            self.filled_value = 0
            for account in self.accounts.values():
                account["today"] = 0
        self.take_over_until(now)

    def take_over_until(self, now: int) -> None:
        """Reference data that takes effect by now."""
        for f in sorted((f for f in self.waiting if f["effectiveFrom"] <= now), key=lambda f: f["effectiveFrom"]):
            self.seen.add("reference data took effect later")
            self.waiting.remove(f)
            self.take_over(f, self.between_sessions(f["effectiveFrom"] - 1))

    def nbbo(self, f: dict[str, Any]) -> None:
        """Best prices."""
        old = self.quotes.get(f["symbol"])
        if old is not None and f["sequence"] <= old["sequence"]:
            return
        self.advance(f["timestamp"])
        if self.is_of_before(f["symbol"], f["timestamp"]):
            self.seen.add("quote of before a split")
            kept = {name: (old or {}).get(name) for name in ("bidPrice", "askPrice")}
            self.quotes[f["symbol"]] = {**f, **kept}
            return
        self.quotes[f["symbol"]] = f
        if f["lastPrice"]:
            self.lasts[f["symbol"]] = f["lastPrice"]

    def control(self, f: dict[str, Any], position: str) -> bool:
        """Apply or refuse a control, with a record of it; whether it was applied."""
        account_id = f["target"] if f["scope"] == "ACCOUNT" else None
        power = self.free(account_id) if account_id in self.accounts else 0
        problem = self.control_problem(f)
        most = power if f["kind"] == "WITHDRAWAL" and account_id in self.accounts else None
        if f["controlId"] in self.controls:
            problem = "a control with this id was seen before"
            most = None
        self.controls.add(f["controlId"])
        moved = None
        if not problem and f["kind"] in ("DEPOSIT", "WITHDRAWAL"):
            moved = f["value"] if f["kind"] == "DEPOSIT" else -f["value"]
            power += moved
            self.seen.add(f"cash moved by {f['kind']}")
        words = [f"kind={f['kind']} scope={f['scope']}"]
        for name in ("target", "symbol", "limit", "value"):
            if f[name] is not None:
                words.append(f"{name}={f[name]}")
        if problem:
            words.append(f"problem={problem}")
        else:
            self.apply_control(f, account_id)
        words.append(f"reason={f['reason']}")
        self.records.append(
            (
                "risk-events",
                {
                    "eventId": f"{position}-C" + (f"-{account_id}" if account_id else ""),
                    "type": "CONTROL_REJECTED" if problem else "CONTROL_APPLIED",
                    "accountId": account_id or "*",
                    "orderId": None,
                    "symbol": f["target"] if f["scope"] == "SYMBOL" else f["symbol"],
                    "reason": "NONE",
                    "detail": " ".join(words),
                    "limitValue": most,
                    "observedValue": f["value"],
                    "buyingPower": power,
                    "timestamp": f["timestamp"],
                    "controlId": f["controlId"],
                    "issuedBy": f["issuedBy"],
                    "quantity": None,
                    "cashChange": moved,
                },
            )
        )
        return not problem

    def control_problem(self, f: dict[str, Any]) -> str:
        """Why a control cannot be applied."""
        kind, scope = f["kind"], f["scope"]
        if scope == "ACCOUNT" and f["target"] not in self.accounts:
            return "no such account"
        if scope == "SYMBOL" and f["target"] not in self.instruments:
            return "no such symbol"
        if kind in ("HALT", "UNHALT") and scope == "ACCOUNT":
            return "an account cannot be halted"
        if kind == "PAUSE":
            return "" if scope == "SYMBOL" else "a pause is for one symbol"
        if kind in ("RESTRICT", "UNRESTRICT"):
            if scope == "ALL":
                return "the restricted list names a symbol"
            if scope == "ACCOUNT" and f["symbol"] not in self.instruments:
                return "no such symbol"
        if kind == "LIMIT_CHANGE":
            if f["limit"] is None:
                return "the limit is missing or not known"
            if f["value"] is not None and f["value"] < 0:
                return "a limit is not negative"
            if f["limit"] == "FIRM_CAPITAL":
                return "" if scope == "ALL" else "the firm's capital is for all"
            if scope != "ACCOUNT":
                return "the limit is one of an account"
            if f["value"] is None and f["limit"] in ("ORDER_QUANTITY", "ORDER_NOTIONAL", "POSITION"):
                return "this limit needs a value"
        if kind in ("LOCATE", "UNFREEZE", "DEPOSIT", "WITHDRAWAL"):
            if scope != "ACCOUNT":
                return "the kind is for one account"
            if kind in ("DEPOSIT", "WITHDRAWAL"):
                if f["value"] is None or not 0 < f["value"] <= MOST_MONEY:
                    return "the amount is missing or impossible"
                if kind == "DEPOSIT":
                    too_much = self.accounts[f["target"]]["money"] + f["value"] > MOST_MONEY
                    return "the account would hold an impossible amount" if too_much else ""
                free = self.free(f["target"])
                return "" if f["value"] <= free else f"only {text(free)} can be withdrawn"
            if kind == "UNFREEZE":
                return "the account is not frozen"
            return "no such symbol" if f["symbol"] not in self.instruments else "a cash account does not sell short"
        return ""

    def apply_control(self, f: dict[str, Any], account_id: str | None) -> None:
        """Change what the control says."""
        kind, where = f["kind"], (f["scope"], f["target"])
        if kind == "RESUME":
            self.modes.pop(where, None)
        elif kind == "KILL":
            self.modes[where] = "KILL"
        elif kind == "REDUCE":
            self.modes.setdefault(where, "REDUCE")
        elif kind in ("RESTRICT", "UNRESTRICT"):
            entry = (account_id, f["symbol"] if account_id else f["target"])
            (self.restricted.add if kind == "RESTRICT" else self.restricted.discard)(entry)
        elif kind == "LIMIT_CHANGE" and f["limit"] == "FIRM_CAPITAL":
            self.firm_capital = f["value"]
        elif kind == "LIMIT_CHANGE" and account_id:
            self.set_limit(self.accounts[account_id], f["limit"], f["value"])
        elif kind in ("DEPOSIT", "WITHDRAWAL") and account_id:
            self.accounts[account_id]["money"] += f["value"] if kind == "DEPOSIT" else -f["value"]

    def command(self, f: dict[str, Any], position: str) -> None:
        """A command of the orders topic."""
        f = {**f, "origin": position}
        if f["command"] == "NEW":
            self.new(f)
        elif f["command"] == "CANCEL":
            self.cancel(f)
        else:
            self.replace(f)

    def known(self, f: dict[str, Any]) -> tuple[str, str, dict[str, Any], int, bool] | None:
        """What was judged under an order's id, in this session or the one before, or is still open."""
        found = None
        order = self.open_order(f)
        for entry in self.judged:
            if entry[:2] == (f["accountId"], f["orderId"]) and (entry[3] >= self.begun - 1 or order is not None):
                found = entry
        return found

    def open_order(self, f: dict[str, Any]) -> dict[str, Any] | None:
        """The open order that a command names."""
        for order in self.open:
            if (order["accountId"], order["orderId"]) == (f["accountId"], f["orderId"]):
                return order
        return None

    # New orders

    def new(self, f: dict[str, Any]) -> None:
        """Judge a new order."""
        oid = f["orderId"]
        content = {name: value for name, value in f.items() if name != "origin"}
        if not 1 <= len(oid) <= 64 or not all("!" <= c <= "~" for c in oid):
            problem = f"length={len(oid)} max_length=64 allowed=visible-ascii"
            self.event(f, 1, "REJECTED", "VALIDATION_ORDER_ID_INVALID", problem)
            return
        old = self.known(f)
        if old is not None:
            reason = "REPLAYED_ORDER" if old[2] == content else "DUPLICATE_ORDER_ID"
            letter = {"eventId": f["origin"], "reason": reason, "timestamp": f["timestamp"]}
            self.records.append(("dead-letter", letter))
            return
        invalid = self.invalid(f)
        ask = None if invalid else self.ask(f, None)
        breach = None if ask is None else self.breach(ask)
        self.judged.append((f["accountId"], oid, content, self.begun, not invalid and not breach))
        if invalid:
            self.event(f, 1, "REJECTED", *invalid)
        elif breach is not None:
            self.event(f, 1, "VALIDATED", "NONE", None)
            self.event(f, 2, "REJECTED", *breach[:2])
            self.risk_event(f, breach)
        elif ask is not None:
            account = self.accounts[f["accountId"]]
            account["today"] += f["quantity"] * ask["value"]
            self.remember_terms(f, account)
            session = self.session_at(f["timestamp"])
            assert session is not None
            order = {
                **f,
                "total": f["quantity"],
                "filled": 0,
                "unit": ask["unit"],
                "value": ask["value"],
                "pending": [],
                "awaited": [],
            }
            self.open.append(order)
            close = NEVER if f["timeInForce"] == "GTC" else session["closeTime"]
            self.forward(f, ask, close, f["quantity"] * ask["unit"])

    def forward(self, f: dict[str, Any], ask: dict[str, Any], close: int, reserved: int) -> None:
        """Send an approved command on."""
        terms = self.accounts[f["accountId"]]["record"]
        self.send(
            {
                **f,
                "worst": ask["worst"],
                "rate": terms["commissionPerShare"],
                "pays": f["side"] != "BUY",
                "close": close,
                "reserved": reserved,
                "group": terms.get("stpGroup") or f["accountId"],
            }
        )

    def invalid(self, f: dict[str, Any]) -> Reason | None:
        """The first thing that is wrong with an order."""
        account = self.accounts.get(f["accountId"])
        if account is None:
            return "VALIDATION_UNKNOWN_ACCOUNT", f"account={f['accountId']}"
        if not account["record"]["active"]:
            return "VALIDATION_ACCOUNT_INACTIVE", f"account={f['accountId']}"
        wrong = self.wrong_symbol(f)
        if wrong:
            return wrong
        time_in_force, order_type = f["timeInForce"], f["orderType"]
        if order_type == "UNKNOWN":
            return "VALIDATION_UNSUPPORTED_ORDER_TYPE", "order_type=UNKNOWN"
        if f["stp"] == "UNKNOWN":
            return "VALIDATION_UNSUPPORTED_ORDER_TYPE", "stp=UNKNOWN"
        if time_in_force == "UNKNOWN":
            return "VALIDATION_UNSUPPORTED_TIME_IN_FORCE", "time_in_force=UNKNOWN"
        if time_in_force in ("OPG", "CLS") and order_type in ("STOP", "STOP_LIMIT"):
            return "VALIDATION_UNSUPPORTED_TIME_IN_FORCE", f"time_in_force={time_in_force} order_type={order_type}"
        if f["imbalanceOnly"] and order_type != "LIMIT":
            return "VALIDATION_UNSUPPORTED_ORDER_TYPE", f"order_type={order_type} imbalance_only"
        if f["imbalanceOnly"] and time_in_force not in ("OPG", "CLS"):
            return "VALIDATION_UNSUPPORTED_TIME_IN_FORCE", f"time_in_force={time_in_force} imbalance_only"
        if f["side"] == "UNKNOWN":
            return "VALIDATION_UNSUPPORTED_SIDE", "side=UNKNOWN"
        return self.wrong_terms(f) or self.wrong_time(f)

    def wrong_symbol(self, f: dict[str, Any]) -> Reason | None:
        """The instrument."""
        instrument = self.instruments.get(f["symbol"])
        if instrument is None:
            return "VALIDATION_UNKNOWN_SYMBOL", f"symbol={f['symbol']}"
        if not instrument["active"] or instrument["assetClass"] == "INDEX":
            return "VALIDATION_SYMBOL_INACTIVE", f"symbol={f['symbol']}"
        return None

    def wrong_terms(self, f: dict[str, Any]) -> Reason | None:
        """Quantity and prices."""
        quantity, price, stop, order_type = f["quantity"], f["price"], f["stopPrice"], f["orderType"]
        if quantity < 1:
            return "VALIDATION_QUANTITY_NOT_POSITIVE", f"quantity={quantity}"
        if quantity > MOST_SHARES:
            return "VALIDATION_QUANTITY_TOO_LARGE", f"quantity={quantity} max_quantity={MOST_SHARES}"
        limited, stopped = order_type in ("LIMIT", "STOP_LIMIT"), order_type in ("STOP", "STOP_LIMIT")
        if (stop is not None and not stopped) or (price is not None and not limited):
            shown = f"order_type={order_type} price={none_or(price)} stop_price={none_or(stop)}"
            return "VALIDATION_PRICE_NOT_ALLOWED", shown
        tick = self.instruments[f["symbol"]]["tickSize"]
        if limited:
            if price is None:
                return "VALIDATION_PRICE_MISSING", f"order_type={order_type} price=none"
            if price < 1:
                return "VALIDATION_PRICE_NOT_POSITIVE", f"price={text(price)}"
            if price > HIGHEST_PRICE:
                return "VALIDATION_PRICE_NOT_ALLOWED", f"price={text(price)} max_price={text(HIGHEST_PRICE)}"
            step = quoted_step(price, tick, f["timestamp"])
            if price % step:
                return "VALIDATION_PRICE_INCREMENT", f"price={text(price)} increment={text(step)}"
        if stopped:
            if stop is None:
                return "VALIDATION_STOP_PRICE_MISSING", f"order_type={order_type} stop_price=none"
            if not 1 <= stop <= HIGHEST_PRICE:
                return "VALIDATION_STOP_PRICE_INVALID", f"stop_price={text(stop)} max_price={text(HIGHEST_PRICE)}"
            step = quoted_step(stop, tick, f["timestamp"])
            if stop % step:
                return "VALIDATION_STOP_PRICE_INVALID", f"stop_price={text(stop)} increment={text(step)}"
        return None

    def wrong_time(self, f: dict[str, Any]) -> Reason | None:
        """The session, and the cut-off of auctions."""
        session = self.session_at(f["timestamp"])
        if session is None:
            return "VALIDATION_SESSION_CLOSED", f"timestamp_ns={f['timestamp']} session=none"
        if self.clock >= session["closeTime"]:
            return (
                "VALIDATION_SESSION_CLOSED",
                f"timestamp_ns={f['timestamp']} session={session['date']} close_ns={session['closeTime']} "
                f"clock_ns={self.clock}",
            )
        if f["timeInForce"] in ("OPG", "CLS"):
            terms = self.instruments[f["symbol"]]
            last = cutoff(f["timeInForce"], f["orderType"], session, bool(f["imbalanceOnly"]), terms)
            if max(f["timestamp"], self.clock) >= last:
                return (
                    "VALIDATION_AUCTION_CUTOFF",
                    f"time_in_force={f['timeInForce']} cutoff_ns={last} timestamp_ns={f['timestamp']} clock_ns={self.clock}",
                )
        return None

    # Limits

    def ask(self, f: dict[str, Any], order: dict[str, Any] | None) -> dict[str, Any]:
        """What a command wants: open shares, how many more than now, the worst price, the value and money of a share."""
        quantity = f["quantity"] if order is None else max(0, f["quantity"] - order["filled"])
        extra = quantity - (0 if order is None else self.need(order)[0])
        symbol, buy = f["symbol"], f["side"] == "BUY"
        quote = self.quotes.get(symbol, {})
        session = self.session_at(f["timestamp"])
        assert session is not None
        reference = None
        if f["orderType"] == "STOP":
            reference = f["stopPrice"]
        elif f["orderType"] == "MARKET" and (
            f["timestamp"] < session["openTime"] or f["timeInForce"] in ("OPG", "CLS")
        ):
            reference = self.mark(symbol, buy)
        elif f["orderType"] == "MARKET":
            reference = quote.get("askPrice" if buy else "bidPrice")
        worst = f["price"]
        if worst is None and reference is not None:
            worst = collar(f["side"], reference, self.instruments[symbol]["tickSize"])
        value = worst if buy or f["price"] is not None else reference
        rate = self.accounts[f["accountId"]]["record"]["commissionPerShare"]
        unit = (worst or 0) + rate if buy else max(0, rate + fees_of_a_share(worst or 0) - (worst or 0))
        return {
            "f": f,
            "order": order,
            "quantity": quantity,
            "extra": extra,
            "worst": worst,
            "value": value or 0,
            "unit": unit,
            "buy": buy,
        }

    def mark(self, symbol: str, ask: bool) -> int | None:
        """What a share costs or brings now: the quote, the last trade, the prior close."""
        side = "askPrice" if ask else "bidPrice"
        prior: int = self.instruments[symbol]["priorClose"]
        return self.quotes.get(symbol, {}).get(side) or self.lasts.get(symbol) or (prior if prior > 0 else None)

    def breach(self, ask: dict[str, Any]) -> Breach | None:
        """The first limit that a command breaks."""
        return self.switched_off(ask) or self.too_large(ask) or self.too_much(ask) or self.too_many(ask)

    def switched_off(self, ask: dict[str, Any]) -> Breach | None:
        """Kill switches, restricted lists, reduce-only."""
        f, symbol, account_id = ask["f"], ask["f"]["symbol"], ask["f"]["accountId"]
        places: tuple[tuple[str, str | None], ...] = (("ALL", None), ("ACCOUNT", account_id), ("SYMBOL", symbol))
        shown = [f"scope={scope}" + (f" target={target}" if target else "") for scope, target in places]
        modes = [self.modes.get(place) for place in places]
        if "KILL" in modes:
            return "RISK_KILL_SWITCH", shown[modes.index("KILL")], None, None
        for number, account in enumerate((None, account_id)):
            if (account, symbol) in self.restricted:
                return "RISK_RESTRICTED", f"{shown[number]} symbol={symbol}", None, None
        extra = ask["extra"]
        if "REDUCE" in modes and extra > 0:
            held = self.held(account_id, symbol)
            offered = self.open_shares(account_id, symbol, "SELL")
            if f["side"] == "BUY" or offered + extra > held:
                where = shown[modes.index("REDUCE")]
                return "RISK_REDUCE_ONLY", f"{where} position={held} quantity={extra}", held, extra
        return None

    def too_large(self, ask: dict[str, Any]) -> Breach | None:
        """Limits of one order."""
        f, limits = ask["f"], self.accounts[ask["f"]["accountId"]]["limits"]
        quantity, limit = f["quantity"], limits["ORDER_QUANTITY"]
        if quantity > limit:
            return "RISK_ORDER_QUANTITY", f"quantity={quantity} max_order_quantity={limit}", limit, quantity
        if ask["worst"] is None:
            side = "ask" if ask["buy"] else "bid"
            return "RISK_NO_REFERENCE_PRICE", f"symbol={f['symbol']} national_best_{side}=none", None, None
        notional, limit = quantity * ask["value"], limits["ORDER_NOTIONAL"]
        if notional > limit:
            detail = f"notional={text(notional)} max_order_notional={text(limit)} price={text(ask['value'])}"
            return "RISK_ORDER_NOTIONAL", detail, limit, notional
        return None

    def too_much(self, ask: dict[str, Any]) -> Breach | None:
        """An account's limits that it need not have, but for concentration."""
        f, account = ask["f"], self.accounts[ask["f"]["accountId"]]
        limits = account["limits"]
        return (
            self.too_far(ask, limits["PRICE_DEVIATION"])
            or self.too_fast(f, account, limits["ORDER_RATE"])
            or (self.again(f, account) if ask["order"] is None else None)
            or (self.too_many_open(f, limits["OPEN_ORDERS"]) if ask["order"] is None else None)
            or self.too_much_today(account, self.added(ask), limits["DAILY_NOTIONAL"])
        )

    def too_far(self, ask: dict[str, Any], limit: int | None) -> Breach | None:
        """A limit price too far beyond the market, or beyond its stop price."""
        f = ask["f"]
        if limit is None or f["price"] is None:
            return None
        reference = f["stopPrice"] if f["orderType"] == "STOP_LIMIT" else self.mark(f["symbol"], ask["buy"])
        if reference is None:
            return None
        beyond = (f["price"] - reference) * (1 if ask["buy"] else -1)
        if beyond * 10_000 <= reference * limit:
            return None
        found = -(-beyond * 10_000 // reference)
        detail = f"price={text(f['price'])} reference={text(reference)} max_deviation_bp={limit} deviation_bp={found}"
        return "RISK_PRICE_DEVIATION", detail, limit, found

    @staticmethod
    def too_fast(f: dict[str, Any], account: dict[str, Any], limit: int | None) -> Breach | None:
        """Too many orders in a second; an order that is not counts."""
        if limit is None:
            return None
        times = account["times"]
        if limit == 0 or (len(times) >= limit and abs(f["timestamp"] - times[-limit]) < SECOND):
            detail = f"orders_in_a_second={limit + 1} max_orders_per_second={limit}"
            return "RISK_ORDER_RATE", detail, limit, limit + 1
        account["times"] = [*times, f["timestamp"]][-limit:]
        return None

    @staticmethod
    def terms_of(f: dict[str, Any]) -> tuple[Any, ...]:
        """What makes two orders the same."""
        names = ("symbol", "side", "orderType", "timeInForce", "quantity", "price", "stopPrice")
        return tuple(f[name] for name in names)

    def again(self, f: dict[str, Any], account: dict[str, Any]) -> Breach | None:
        """An order like one that was approved a moment ago."""
        window = account["record"].get("duplicateWindowMs")
        if window is None:
            return None
        for terms, time in account["terms"]:
            if terms == self.terms_of(f) and abs(f["timestamp"] - time) <= window * 10**6:
                age = (f["timestamp"] - time) // 10**6
                return "RISK_DUPLICATE_ORDER", f"age_ms={age} duplicate_window_ms={window}", window, age
        return None

    def remember_terms(self, f: dict[str, Any], account: dict[str, Any]) -> None:
        """Remember an approved order while the window lasts."""
        window = account["record"].get("duplicateWindowMs")
        if window is None:
            return
        terms = [row for row in account["terms"] if row[0] != self.terms_of(f)]
        terms.append((self.terms_of(f), f["timestamp"]))
        while terms[0][1] + window * 10**6 < f["timestamp"]:
            terms.pop(0)
        account["terms"] = terms

    def too_many_open(self, f: dict[str, Any], limit: int | None) -> Breach | None:
        """Open orders of the account."""
        count = sum(o["accountId"] == f["accountId"] for o in self.open)
        if limit is None or count < limit:
            return None
        return "RISK_OPEN_ORDERS", f"open_orders={count} max_open_orders={limit}", limit, count + 1

    @staticmethod
    def too_much_today(account: dict[str, Any], added: int, limit: int | None) -> Breach | None:
        """Value approved in the session."""
        if limit is None or account["today"] + added <= limit:
            return None
        detail = f"approved_today={text(account['today'])} notional={text(added)} max_daily_notional={text(limit)}"
        return "RISK_DAILY_NOTIONAL", detail, limit, account["today"] + added

    def added(self, ask: dict[str, Any]) -> int:
        """Value that a command adds to what is open."""
        held = 0 if ask["order"] is None else self.need(ask["order"])[2]
        return int(max(0, ask["quantity"] * ask["value"] - held))

    def too_many(self, ask: dict[str, Any]) -> Breach | None:
        """Position, short sales, concentration, firm capital, shares and money."""
        f, extra, buy = ask["f"], ask["extra"], ask["buy"]
        account = self.accounts[f["accountId"]]
        held = self.held(f["accountId"], f["symbol"])
        offered = self.open_shares(f["accountId"], f["symbol"], "SELL")
        if extra > 0:
            limit = account["limits"]["POSITION"]
            buys = self.open_shares(f["accountId"], f["symbol"], "BUY")
            if buy and held + buys + extra > limit:
                detail = f"position={held} open_buys={buys} quantity={extra} max_position={limit}"
                return "RISK_POSITION_LIMIT", detail, limit, held + buys + extra
            if f["side"] not in ("BUY", "SELL"):
                return "RISK_SHORT_NOT_ALLOWED", f"side={f['side']} account_type=CASH", None, None
            after = held + buys + extra if buy else max(0, offered + extra - held)
            concentrated = self.concentrated(f, account, after, extra)
            if concentrated is not None:
                return concentrated
        if self.firm_capital is not None:
            used = sum(self.need(o)[2] for o in self.open) + self.filled_value
            if used + self.added(ask) > self.firm_capital:
                limit, capital = self.firm_capital, text(self.firm_capital)
                detail = (
                    f"used={text(used)} value={text(self.added(ask))} firm_capital={capital} shards=1 part={capital}"
                )
                return "RISK_FIRM_CAPITAL", detail, limit, used + self.added(ask)
        if not buy and extra > 0 and extra > held - offered:
            detail = f"position={held} open_sells={offered} quantity={extra}"
            return "RISK_INSUFFICIENT_POSITION", detail, held - offered, extra
        required = ask["quantity"] * ask["unit"] - (0 if ask["order"] is None else self.need(ask["order"])[1])
        available = self.free(f["accountId"])
        if required > 0 and required > available:
            cash = text(account["money"])
            reserved = text(self.reserved(f["accountId"]))
            detail = f"required={text(required)} available={text(available)} cash={cash} reserved={reserved}"
            return "RISK_BUYING_POWER", detail, available, required
        return None

    def concentrated(self, f: dict[str, Any], account: dict[str, Any], after: int, extra: int) -> Breach | None:
        """One symbol, its volume, its sector, as a part of the account's equity."""
        limit = account["limits"]["CONCENTRATION"]
        if limit is None or after == 0:
            return None
        symbol = f["symbol"]
        terms = self.instruments[symbol]
        equity = account["money"] + sum(q * (self.mark(s, False) or 0) for s, q in account["shares"].items() if q)
        value = after * (self.mark(symbol, True) or 0)
        if value * 10_000 > equity * limit:
            return self.too_concentrated("symbol", symbol, value, equity, limit)
        volume = (terms.get("averageVolume") or 0) * 25 // 100
        if volume > 0 and extra > volume:
            detail = f"quantity={extra} average_volume={terms['averageVolume']} max_share_bp=2500"
            return "RISK_CONCENTRATION", detail, volume, extra
        if terms.get("sector"):
            for other, quantity in account["shares"].items():
                if other != symbol and self.instruments.get(other, {}).get("sector") == terms["sector"]:
                    value += quantity * (self.middle(other) or 0)
            if value * 10_000 > equity * limit * 2:
                return self.too_concentrated("sector", terms["sector"], value, equity, limit * 2)
        return None

    def middle(self, symbol: str) -> int | None:
        """The middle of the best prices, or the one that there is, or the last trade, or the prior close."""
        quote = self.quotes.get(symbol, {})
        bid, ask = quote.get("bidPrice"), quote.get("askPrice")
        if bid and ask:
            return int((bid + ask) // 2)
        return bid or ask or self.mark(symbol, True)

    @staticmethod
    def too_concentrated(what: str, name: str, value: int, equity: int, limit: int) -> Breach:
        """The refusal of too large a part."""
        share = 10_000 * value // equity if equity > 0 else 10_000
        detail = f"{what}={name} value={text(value)} equity={text(equity)} max_share_bp={limit}"
        return "RISK_CONCENTRATION", detail, limit, share

    # What is open

    def need(self, order: dict[str, Any]) -> tuple[int, int, int]:
        """Shares, money and value that an open order needs: the largest of its terms and those that may come."""
        now = order["total"] - order["filled"]
        all_terms = [(now, now * order["unit"], now * order["value"])]
        for terms in order["pending"]:
            open_then = max(0, terms["total"] - order["filled"])
            all_terms.append((open_then, open_then * terms["unit"], open_then * terms["value"]))
        shares, money, value = (max(row[n] for row in all_terms) for n in range(3))
        return self.shares_after(order, shares), money, value

    def held(self, account_id: str, symbol: str) -> int:
        """Shares that the account holds."""
        return int(self.accounts[account_id]["shares"].get(symbol, 0))

    def open_shares(self, account_id: str, symbol: str, side: str) -> int:
        """Shares open on one side."""
        wanted = (account_id, symbol, side)
        return sum(self.need(o)[0] for o in self.open if (o["accountId"], o["symbol"], o["side"]) == wanted)

    def reserved(self, account_id: str) -> int:
        """Money promised to open orders."""
        return sum(self.need(o)[1] for o in self.open if o["accountId"] == account_id)

    def free(self, account_id: str) -> int:
        """Money promised to nobody."""
        return int(self.accounts[account_id]["money"] - self.reserved(account_id))

    # Cancels and replacements

    def cancel(self, f: dict[str, Any]) -> None:
        """Forward a cancel of an order that was approved."""
        known = self.known(f)
        if known is None:
            refusal(self.records, f, "CANCEL_REJECTED", "CANCEL_UNKNOWN_ORDER", None)
        elif not known[4]:
            refusal(self.records, f, "CANCEL_REJECTED", "CANCEL_TOO_LATE", "status=REJECTED")
        else:
            self.send(f)

    def replace(self, f: dict[str, Any]) -> None:
        """Judge a replacement, and keep the larger need until it is answered."""
        order, known = self.open_order(f), self.known(f)
        if order is None:
            reason = "REPLACE_UNKNOWN_ORDER" if known is None else "REPLACE_TOO_LATE"
            detail = "status=REJECTED" if known is not None and not known[4] else None
            refusal(self.records, f, "REPLACE_REJECTED", reason, detail)
            return
        problem = self.not_replaceable(f, order)
        if problem is None:
            problem = self.wrong_symbol(f)
        if problem is None:
            if f["stopPrice"] is None and order["stopPrice"]:
                newest = order["pending"][-1] if order["pending"] else order
                f["stopPrice"] = newest["stopPrice"]
            problem = self.wrong_terms(f) or self.wrong_time(f)
        if problem is not None:
            refusal(self.records, f, "REPLACE_REJECTED", *problem)
            return
        ask = self.ask(f, order)
        breach = self.breach(ask)
        if breach is not None:
            refusal(self.records, f, "REPLACE_REJECTED", *breach[:2])
            self.risk_event(f, breach)
            return
        self.accounts[f["accountId"]]["today"] += self.added(ask)
        names = {"total": f["quantity"], "price": f["price"], "stopPrice": f["stopPrice"]}
        order["pending"].append({**names, "unit": ask["unit"], "value": ask["value"]})
        if len(order["pending"]) > 1:
            self.seen.add("several replacements on their way")
        self.forward(f, ask, 0, 0)

    def not_replaceable(self, f: dict[str, Any], order: dict[str, Any]) -> Reason | None:
        """What a replacement may not do."""
        for name, shown in (
            ("symbol", "symbol"),
            ("side", "side"),
            ("orderType", "order_type"),
            ("timeInForce", "time_in_force"),
        ):
            if f[name] != order[name]:
                return "REPLACE_NOT_ALLOWED", f"differs={shown}"
        if f["doNotReduce"] is not None and f["doNotReduce"] != bool(order["doNotReduce"]):
            return "REPLACE_NOT_ALLOWED", "differs=do_not_reduce"
        if order["orderType"] == "MARKET" or order["timeInForce"] in ("IOC", "FOK"):
            return "REPLACE_NOT_ALLOWED", "the order does not wait"
        if order["awaited"]:
            self.seen.add("replacement met a corporate action")
            return "REPLACE_NOT_ALLOWED", "a corporate action changes the order"
        if not self.accounts[f["accountId"]]["record"]["active"]:
            return "VALIDATION_ACCOUNT_INACTIVE", f"account={f['accountId']}"
        return None

    # Outcomes

    def settle(self, batch: list[dict[str, Any]]) -> None:
        """Learn what a batch of matching did: order by order, answers to replacements first, then fills, then the end."""
        session = max((line["session"] for line in batch), default=0)
        told = max((line["now"] for line in batch), default=0)
        if session > self.last_begun:
            self.begin_unnoticed(session)
        touched: list[dict[str, Any]] = []
        for line in batch:
            if not any(line["order"] is order for order in touched):
                touched.append(line["order"])
        for matched in touched:
            lines = [line for line in batch if line["order"] is matched]
            order = self.open_order(matched)
            assert order is not None, f"{matched['orderId']} is not open"
            if order["awaited"]:
                self.hear(order, lines, session)
            self.answer(order, lines)
            for line in lines:
                if line["what"] == "fill":
                    self.fill(order, line["quantity"], line["price"], line["charged"])
            if any(line["what"] in ("applied", "restated") for line in lines):
                order["total"] = line["total"]
            if any(line["what"] == "end" for line in lines):
                self.open.remove(order)
            filled = sum(line["quantity"] for line in lines)
            self.split_late(order, filled, session, max(self.clock, told))

    @staticmethod
    def answer(order: dict[str, Any], lines: list[dict[str, Any]]) -> None:
        """Replacements that took effect, then those that did not; with both, the dearest terms are kept."""
        applied = sum(line["what"] == "applied" for line in lines)
        refused = sum(line["what"] == "refused" for line in lines)
        answered, order["pending"] = order["pending"][: applied + refused], order["pending"][applied + refused :]
        if applied:
            order.update(answered[applied - 1])
            if refused:
                order["unit"] = max(terms["unit"] for terms in answered)

    def fill(self, order: dict[str, Any], quantity: int, price: int, charged: int) -> None:
        """Shares and money move."""
        account = self.accounts[order["accountId"]]
        sign = 1 if order["side"] == "BUY" else -1
        account["money"] -= sign * quantity * price + charged
        account["shares"][order["symbol"]] = account["shares"].get(order["symbol"], 0) + sign * quantity
        order["filled"] += quantity
        self.filled_value += quantity * order["value"]

    # Records

    def event(self, f: dict[str, Any], number: int, status: str, reason: str, detail: str | None) -> None:
        """An event of an order that is refused here."""
        fields = {**f, "status": status, "cum": 0, "sequence": number}
        fields["leaves"] = 0 if status == "REJECTED" else f["quantity"]
        record = order_event(fields, f"{f['origin']}-{number}", "STATUS", reason, detail, f["origin"], f["timestamp"])
        self.records.append(("order-events", record))

    def risk_event(self, f: dict[str, Any], breach: Breach) -> None:
        """What risk management sees of a refusal."""
        reason, detail, limit, observed = breach
        self.records.append(
            (
                "risk-events",
                {
                    "eventId": f["origin"] + "-K",
                    "type": "ORDER_REJECTED",
                    "accountId": f["accountId"],
                    "orderId": f["orderId"],
                    "symbol": f["symbol"],
                    "reason": reason,
                    "detail": detail,
                    "limitValue": limit,
                    "observedValue": observed,
                    "buyingPower": self.free(f["accountId"]),
                    "timestamp": f["timestamp"],
                    "controlId": None,
                    "issuedBy": None,
                    "quantity": None,
                    "cashChange": None,
                },
            )
        )

    def session_at(self, now: int) -> dict[str, Any] | None:
        """The session that takes orders at a time."""
        return next((x for x in self.sessions.values() if self.entry(x) <= now < x["closeTime"]), None)
