"""Random but reproducible steps for both engines: few accounts, symbols and prices, so that everything meets everything."""

from __future__ import annotations

from random import Random
from typing import Any

from action_streams import ActionStream, date_of
from trading_faults import DAY, LENGTH, order_faults
from trading_harness import (
    OPEN,
    SECOND,
    Step,
    account,
    control,
    instrument,
    order,
    quote,
    session,
    snapshot_end,
)
from trading_world import (
    ACCOUNTS,
    CLOSES,
    ERAS,
    EXCHANGES,
    LIMITS,
    LISTED_AT,
    MINUTE,
    PRICES,
    SYMBOLS,
    TICKS,
    WEIGHTS,
)


class Stream:
    """A generator of steps from a seed. Some streams go on for several days, with all that comes with them.

    in_flight: with the steps `hold` and `release`, between which approved commands are on their way to matching.
    """

    def __init__(self, seed: int, in_flight: bool = False) -> None:
        self.random = Random(seed)
        self.in_flight = in_flight
        self.count = 0
        self.sent: list[dict[str, Any]] = []
        self.sequences = dict.fromkeys(SYMBOLS, 0)
        self.last_quotes: dict[str, dict[str, tuple[int | None, int, int | None, int, int]]] = {}
        self.controls: list[str] = []
        # Controls that end what others began.
        self.undo: list[tuple[str, dict[str, Any]]] = []
        self.crossing = self.random.random() < 0.2
        self.next_day = self.random.random() < 0.7
        self.pre_open = self.random.random() < 0.6
        # In quiet streams exchanges show little, so that orders meet each other.
        self.quiet = self.random.random() < 0.4
        self.holding = False
        # In wild streams prices run away, and what protects markets is in force.
        self.wild = self.next_day and self.random.random() < 0.5
        # A symbol whose quotes were just made to lie beyond its bands.
        self.straddles = ""
        self.prices = dict(PRICES)
        self.tiers = {"IBM": 1, "PENNY": 2, "DEAR": self.random.choice((0, 2))} if self.wild else {}
        self.open = OPEN + self.random.choice(ERAS) * DAY
        self.now = self.open
        self.actions = ActionStream(seed, self.open, SYMBOLS, self.next_day)

    def steps(self, count: int) -> list[Step]:
        """Reference data, orders at the edges of limits, and then `count` random steps."""
        if not self.next_day:
            # The simulator, whose check knows no splits, takes a stream's next day away after it was made.
            self.wild, self.tiers, self.actions.lively = False, {}, False
        result = self.opening()
        if not self.next_day:
            result.append(("clock", self.open))
        result += self.boundaries()
        jumps = self._jumps(count) if self.next_day else {}
        for number in range(count):
            if number in jumps and jumps[number] > self.now:
                self._go_to(jumps[number])
                if self.random.random() < 0.8:
                    result.append(("clock", self.now))
                    result.append(self._new())
                    # A moment too late for the session before, and perhaps for this one.
                    result.append(("order", {**self._new()[1], "timestamp": self.now - 1}))
            self.now += self.random.choice(
                (0, 1_000, 1_000_000, self.random.choice((6, 14, 90)) * SECOND if self.wild else SECOND)
            )
            result.append(self._step())
            result += self.actions.step(self.now)
            if self.actions.leaps():
                result += self._leap()
        if self.in_flight:
            result.append(("release", None))
        result.append(("settle", None))
        result.append(("clock", self.open + 2 * DAY + LENGTH))
        result += [self._cancel_again(fields) for fields in self.sent if fields["timeInForce"] == "GTC"]
        result.append(("settle", None))
        return result

    def _go_to(self, now: int) -> None:
        """Time makes a leap; prices follow the splits on the way."""
        for symbol, price in self.prices.items():
            moved = self.actions.price_of(symbol, price, self.now, now)
            self.prices[symbol] = max(20 * TICKS[symbol], moved - moved % TICKS[symbol])
        self.now = now

    def _leap(self) -> list[Step]:
        """The next day begins while commands and a quote of this one are on their way."""
        following = [begin for begin in (self.open + DAY, self.open + 2 * DAY) if begin > self.now]
        if not following:
            return []
        late = [self._new(), self._replace(), self._new()]
        quoted = self._quote()
        self._go_to(following[0])
        if not self.in_flight:
            return [*late, ("clock", self.now), quoted]
        self.holding = False
        return [("hold", None), *late, ("clock", self.now), quoted, ("release", None)]

    def opening(self) -> list[Step]:
        """Reference data: accounts of several means, one inactive instrument, three sessions."""
        steps = [self._instrument(symbol) for symbol in SYMBOLS]
        steps.append(instrument("DEAD", active=False))
        steps.append(instrument("SPX", assetClass="INDEX", priorClose=5_000_0000))
        for number, name in enumerate(ACCOUNTS[:4]):
            shares = dict.fromkeys(SYMBOLS[: number + 1], 3_000)
            group = "G" if number < 2 else None
            steps.append(account(name, cash=5_000_000_0000, positions=shares, commission=number * 35, stpGroup=group))
        steps.append(account("POOR", cash=20_000_0000, positions={"PENNY": 300}, commission=12_000))
        steps.append(
            account(
                "TIGHT", positions={"IBM": 100}, max_order_quantity=150, max_order_notional=2_400_0000, max_position=400
            )
        )
        steps.append(self._guard())
        steps.append(account("SHUT", active=False))
        for day in range(3):
            begin = self.open + day * DAY
            early = begin - 3_600 * SECOND if self.pre_open and self.next_day else None
            steps.append(session(date_of(begin), begin, begin + LENGTH, early))
        return [*steps, *self.actions.opening(), snapshot_end()]

    def _instrument(self, symbol: str, close: int = 0, active: bool = True) -> Step:
        return instrument(
            symbol,
            TICKS[symbol],
            active,
            priorClose=close or CLOSES[symbol],
            sector="tech" if symbol != "PENNY" else None,
            averageVolume=1_000 if symbol == "PENNY" else None,
            luldTier=self.tiers.get(symbol),
            leverage=-2 if symbol == "DEAR" else None,
            primaryExchange=LISTED_AT[symbol],
        )

    def _guard(self) -> Step:
        """An account with all the limits that an account need not have."""
        rnd = self.random
        return account(
            "GUARD",
            cash=500_000_0000,
            positions={"IBM": 500, "PENNY": 500, "DEAR": 150},
            maxDailyNotional=rnd.choice((None, 50_000_0000)),
            maxOrdersPerSecond=rnd.choice((None, 2, 5)),
            maxOpenOrders=rnd.choice((None, 3)),
            maxConcentration=rnd.choice((None, 1_000, 2_000)),
            maxPriceDeviation=rnd.choice((None, 30)),
            duplicateWindowMs=rnd.choice((None, 5, 2_000)),
        )

    def boundaries(self) -> list[Step]:
        """Orders that meet each limit exactly, and then by one more share or the smallest step of price."""
        at = self.open
        return [
            order("b1", "TIGHT", "IBM", "BUY", 150, 1_0000, timestamp=at),
            order("b2", "TIGHT", "IBM", "BUY", 151, 1_0000, timestamp=at),
            order("b3", "TIGHT", "IBM", "BUY", 100, 24_0000, timestamp=at),
            order("b4", "TIGHT", "IBM", "BUY", 100, 24_0100, timestamp=at),
            order("b5", "TIGHT", "IBM", "BUY", 51, 1_0000, timestamp=at),
            order("b6", "TIGHT", "IBM", "BUY", 50, 1_0000, timestamp=at),
            order("b7", "TIGHT", "IBM", "SELL", 101, 20_0000, timestamp=at),
            order("b8", "TIGHT", "IBM", "SELL", 100, 20_0000, timestamp=at + 1),
            order("b9", "POOR", "IBM", "BUY", 100, 198_8100, timestamp=at),
            order("b10", "POOR", "IBM", "BUY", 100, 198_8000, timestamp=at),
            order("b10", "POOR", "IBM", "BUY", 100, 198_8100, timestamp=at, command="REPLACE"),
            order("b10", "POOR", "IBM", "BUY", 99, 200_0000, timestamp=at, command="REPLACE"),
            *(
                order(f"b{n}", account_id, "IBM", "BUY", 0, command="CANCEL", timestamp=at)
                for n, account_id in ((1, "TIGHT"), (3, "TIGHT"), (6, "TIGHT"), (8, "TIGHT"), (10, "POOR"))
            ),
            ("settle", None),
        ]

    def _jumps(self, count: int) -> dict[int, int]:
        """Where time makes a leap: to the cut-offs, the opening and the close of each day."""
        first = self.open
        times = []
        for day in range(3):
            begin = first + day * DAY
            if self.pre_open:
                times += [begin - 3_600 * SECOND] * 2 + [begin - 90 * SECOND]
            times += [begin] * 3 + [begin + LENGTH - 11 * MINUTE] * 2 + [begin + LENGTH - 5 * MINUTE, begin + LENGTH]
        if self.random.random() < 0.5:
            # A day that nobody hears of.
            times = [t for t in times if not first + DAY - 3_600 * SECOND <= t <= first + DAY + LENGTH]
        skipped = 0 if self.random.random() < 0.5 else 1
        return {round(count * (n + skipped) / (len(times) + skipped)): time for n, time in enumerate(times)}

    def _step(self) -> Step:
        rnd = self.random
        if self.holding and rnd.random() < 0.2:
            self.holding = False
            return "release", None
        if self.holding and rnd.random() < 0.1:
            return self._operate()
        if self.undo and rnd.random() < 0.12:
            kind, fields = self.undo.pop(rnd.randrange(len(self.undo)))
            return self._control(kind, **fields)
        if self.straddles:
            symbol, self.straddles = self.straddles, ""
            return self._control("PAUSE", scope="SYMBOL", target=symbol)
        roll = rnd.random()
        if roll < 0.46:
            return self._new()
        if roll < 0.54:
            return self._cancel()
        if roll < 0.67:
            return self._replace()
        if roll < 0.82:
            return self._new() if self.quiet and rnd.random() < 0.8 else self._quote()
        if roll < 0.92:
            return "settle", None
        if roll < 0.94:
            return "clock", self.now - rnd.choice((0, 0, SECOND))
        if roll < 0.96:
            return self._terms()
        if roll < 0.985:
            return self._operate()
        if self.in_flight:
            self.holding = True
            return "hold", None
        return self._new()

    def _price(self, symbol: str) -> int:
        rnd = self.random
        tick = TICKS[symbol]
        price = self.prices[symbol] + rnd.randint(-6, 6) * tick
        if rnd.random() < (0.12 if self.wild else 0.05):
            # Far away: such an order rests where only a collar can keep a market order from it.
            price = price * rnd.choice((8, 12)) // 10
        step = 1 if price < 1_0000 else max(tick, 100)
        return price - price % step

    def _new(self) -> Step:
        rnd = self.random
        self.count += 1
        symbol = rnd.choice(SYMBOLS)
        order_type = rnd.choices(("LIMIT", "MARKET", "STOP", "STOP_LIMIT"), weights=(60, 14, 13, 13))[0]
        time_in_force = rnd.choices(("DAY", "GTC", "IOC", "FOK", "OPG", "CLS"), weights=(46, 18, 12, 10, 7, 7))[0]
        if time_in_force in ("OPG", "CLS") and rnd.random() < 0.9:
            order_type = rnd.choice(("LIMIT", "MARKET"))
        fields: dict[str, Any] = {"orderType": order_type, "stp": "NONE"}
        if order_type in ("STOP", "STOP_LIMIT"):
            fields["stopPrice"] = self._price(symbol)
        if rnd.random() < 0.5:
            fields["stp"] = rnd.choice(("EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT"))
        account_id = rnd.choices(ACCOUNTS, weights=WEIGHTS)[0]
        step = order(
            f"o{self.count}",
            account_id,
            symbol,
            rnd.choice(("BUY", "SELL")),
            rnd.choice((1, 10, 50, 100, 100, 100, 200, 300, 1_000)),
            self._price(symbol) if order_type in ("LIMIT", "STOP_LIMIT") else None,
            time_in_force,
            self.now,
            **fields,
        )[1]
        if order_type == "LIMIT" and time_in_force in ("OPG", "CLS") and rnd.random() < 0.4:
            step["imbalanceOnly"] = True
        if step["timeInForce"] == "DAY" and self.actions.keeps_orders():
            step["timeInForce"] = "GTC"
        step["doNotReduce"] = rnd.choice((None, None, None, None, None, None, False, True))
        if rnd.random() < 0.08:
            step.update(rnd.choice(order_faults(self.open, self.now)))
        if self.sent and rnd.random() < 0.03:
            old = rnd.choice(self.sent)
            step = (
                dict(old) if rnd.random() < 0.5 else {**step, "orderId": old["orderId"], "accountId": old["accountId"]}
            )
        elif self.sent and account_id == "GUARD" and rnd.random() < 0.4:
            # The same terms once more.
            old = next((f for f in reversed(self.sent) if f["accountId"] == "GUARD"), step)
            step = {**old, "orderId": step["orderId"], "timestamp": step["timestamp"]}
        self.sent.append(dict(step))
        return "order", step

    def _cancel(self) -> Step:
        rnd = self.random
        if not self.sent or rnd.random() < 0.05:
            return order("unknown", "A1", "IBM", "BUY", 1, 1_0000, timestamp=self.now, command="CANCEL")
        target = self.sent[self._some_order()]
        fields = {**target, "command": "CANCEL", "timestamp": self.now, "price": None, "stopPrice": None}
        if rnd.random() < 0.1:
            fields["accountId"] = rnd.choice(ACCOUNTS)
        return "order", fields

    def _some_order(self) -> int:
        """One of the last orders, most of the time one that may still be open."""
        rnd = self.random
        last = range(max(0, len(self.sent) - rnd.choice((10, 30, 100))), len(self.sent))
        waits = [
            n for n in last if self.sent[n]["timeInForce"] in ("DAY", "GTC") and self.sent[n]["orderType"] != "MARKET"
        ]
        return rnd.choice(waits if waits and rnd.random() < 0.85 else last)

    def _cancel_again(self, fields: dict[str, Any]) -> Step:
        return "order", {**fields, "command": "CANCEL", "timestamp": self.now, "price": None, "stopPrice": None}

    def _replace(self) -> Step:
        rnd = self.random
        if not self.sent or rnd.random() < 0.03:
            return order("unknown", "A1", "IBM", "BUY", 7, 24_0000, timestamp=self.now, command="REPLACE")
        number = self._some_order()
        old = self.sent[number]
        quantity = old["quantity"]
        fields = {
            **old,
            "command": "REPLACE",
            "timestamp": self.now,
            "quantity": rnd.choice(
                (quantity, quantity, quantity - 1, quantity // 2, quantity // 10, quantity + 100, 1, quantity * 2)
            ),
        }
        if fields["price"] is not None and rnd.random() < 0.5 and fields["symbol"] in PRICES:
            fields["price"] = self._price(fields["symbol"])
        if fields["stopPrice"] is not None:
            if rnd.random() < 0.4:
                fields["stopPrice"] = None
            elif rnd.random() < 0.5 and fields["symbol"] in PRICES:
                fields["stopPrice"] = self._price(fields["symbol"])
        if rnd.random() < 0.06:
            fields["doNotReduce"] = rnd.choice((None, True, False))
        if rnd.random() < 0.08:
            faults = [
                {"side": "SELL" if fields["side"] == "BUY" else "BUY"},
                {"symbol": rnd.choice(SYMBOLS)},
                {"orderType": rnd.choice(("LIMIT", "STOP", "STOP_LIMIT"))},
                {"timeInForce": rnd.choice(("DAY", "GTC", "CLS"))},
                {"accountId": rnd.choice(ACCOUNTS)},
                {"quantity": rnd.choice((0, -1, 1_000_000, 100_001))},
                {"price": rnd.choice((None, 0, -100, 24_0050))},
                {"stopPrice": rnd.choice((0, 24_0025, 24_0000))},
                {"timestamp": rnd.choice((self.open - 3_601 * SECOND, self.open + LENGTH))},
            ]
            fields.update(rnd.choice(faults))
        elif fields["command"] == "REPLACE" and fields["quantity"] > 0:
            stop = old["stopPrice"] if fields["stopPrice"] is None else fields["stopPrice"]
            self.sent[number] = {**old, "quantity": fields["quantity"], "price": fields["price"], "stopPrice": stop}
        return "order", fields

    def _quote(self) -> Step:
        rnd = self.random
        symbol = rnd.choice(SYMBOLS)
        tick = TICKS[symbol]
        if self.wild and rnd.random() < 0.35:
            moved = self.prices[symbol] * rnd.choice((91, 94, 97, 103, 107, 110)) // 100
            if PRICES[symbol] * 7 < moved * 10 < PRICES[symbol] * 14:
                self.prices[symbol] = moved - moved % tick
        shown = dict(self.last_quotes.get(symbol, {}))
        if not shown or rnd.random() < 0.8:
            for exchange in rnd.sample(EXCHANGES, rnd.randint(1, 3)):
                middle = self.prices[symbol] + rnd.randint(-3, 3) * tick
                half = rnd.choice((-1, 0) if self.crossing and rnd.random() < 0.3 else (1, 1, 2, 3)) * tick
                bid = None if rnd.random() < 0.08 else middle - half
                ask = None if rnd.random() < 0.08 else middle + half
                sizes = [0 if side is None else rnd.choice((1, 100, 100, 200, 500)) for side in (bid, ask)]
                shown[exchange] = (bid, sizes[0], ask, sizes[1], self.now)
            self.last_quotes[symbol] = dict(shown)
            if rnd.random() < 0.1:
                shown.pop(rnd.choice(list(shown)))
        if self.wild and rnd.random() < 0.06:
            # The best bid, or the best ask, far beyond the bands: a straddle state, if nothing of ours is better.
            price = self.prices[symbol]
            far = price * 7 // 10, price + tick
            bid, ask = rnd.choice((far, (price - tick, price * 13 // 10)))
            shown = dict.fromkeys(EXCHANGES[:2], (bid - bid % tick, 100, ask - ask % tick, 100, self.now))
            self.last_quotes[symbol] = dict(shown)
            self.straddles = symbol
        prints = []
        if rnd.random() < 0.4:
            prints = [self.prices[symbol] + rnd.randint(-5, 5) * tick for _ in range(rnd.choice((1, 1, 2, 3)))]
            if rnd.random() < 0.04:
                prints.append(self.prices[symbol] * rnd.choice((8, 11)) // 10)
        if rnd.random() < 0.95:
            self.sequences[symbol] += 1
        venues = [(exchange, *values[:4]) for exchange, values in shown.items()]
        times = {exchange: values[4] for exchange, values in shown.items()}
        return quote(symbol, self.sequences[symbol], venues, self.now, times, prints)

    def _terms(self) -> Step:
        """Reference data that changes, now or later."""
        kind, record = self._changed_terms()
        if self.next_day and self.random.random() < 0.5:
            record["effectiveFrom"] = self.random.choice(
                (self.now + SECOND, self.now - 1, self.open + DAY, self.open + 2 * DAY)
            )
            record["timestamp"] = self.now
        return kind, record

    def _changed_terms(self) -> Step:
        rnd = self.random
        roll = rnd.random()
        if roll < 0.4:
            return account(
                "TIGHT", cash=1, max_order_quantity=rnd.choice((50, 150, 400)), max_position=rnd.choice((100, 400))
            )
        if roll < 0.7:
            return self._guard()
        if roll < 0.8:
            name = rnd.choice(("A3", "SHUT"))
            return account(name, active=rnd.random() < 0.7, commission=rnd.choice((0, 70)))
        symbol = rnd.choice(SYMBOLS)
        close = CLOSES[symbol] * rnd.choice((8, 10, 10, 11)) // 10
        return self._instrument(symbol, close, symbol != "DEAR" or rnd.random() < 0.5)

    def _operate(self) -> Step:
        """A control, most of them with one that ends it later."""
        rnd = self.random
        account_id, symbol = rnd.choice((*ACCOUNTS[:7], "NOBODY")), rnd.choice(SYMBOLS)
        scopes: list[dict[str, Any]] = [
            {"scope": "ALL", "target": None},
            {"scope": "ACCOUNT", "target": account_id},
            {"scope": "SYMBOL", "target": symbol},
        ]
        where = rnd.choice(scopes[1:] * 2 + scopes[:1])
        if self.wild and rnd.random() < 0.3:
            level = 5_000_0000 * rnd.choice((94, 93, 93, 90, 87, 85, 80)) // 100
            return self._control("INDEX_LEVEL", scope="ALL", symbol=rnd.choice(("SPX", "SPX", "DJI")), value=level)
        if self.wild and rnd.random() < 0.1:
            return self._control("PAUSE", **rnd.choice(scopes))
        roll = rnd.random()
        killed = [place for kind, place in self.undo if kind == "RESUME"]
        if killed and roll < 0.08:
            return self._control("REDUCE", **rnd.choice(killed))
        if roll < 0.3:
            self.undo.append(("RESUME", where))
            return self._control("KILL", **where)
        if roll < 0.4:
            self.undo.append(("RESUME", where))
            return self._control("REDUCE", **where)
        if roll < 0.62:
            where = rnd.choice((scopes[0], scopes[2], scopes[2], scopes[2]))
            self.undo.append(("UNHALT", rnd.choice((where, where, scopes[0]))))
            return self._control("HALT", **(where if rnd.random() < 0.95 else scopes[1]))
        if roll < 0.76:
            where = rnd.choice((*scopes[1:], *scopes[1:], scopes[0]))
            fields = {**where, "symbol": symbol if where["scope"] == "ACCOUNT" else None}
            self.undo.append(("UNRESTRICT", fields))
            return self._control("RESTRICT", **fields)
        if roll < 0.8:
            return self._move_cash(scopes)
        if roll < 0.95:
            limit, values = rnd.choice(LIMITS)
            if self.next_day and rnd.random() < 0.15:
                self.undo.append(("LIMIT_CHANGE", {**scopes[0], "limit": "FIRM_CAPITAL"}))
                value = rnd.choice((0, 100_000_0000, -1))
                return self._control("LIMIT_CHANGE", **scopes[0], limit="FIRM_CAPITAL", value=value)
            target = rnd.choice(("GUARD", "GUARD", "TIGHT", "A4", "NOBODY"))
            scope = scopes[0] if rnd.random() < 0.05 else {"scope": "ACCOUNT", "target": target}
            chosen = None if rnd.random() < 0.05 else limit
            value = rnd.choice((*values, *values, None, -1))
            return self._control("LIMIT_CHANGE", **scope, limit=chosen, value=value)
        return self._control(
            rnd.choice(("LOCATE", "UNFREEZE")), **where, symbol=rnd.choice((symbol, "NONE")), value=100
        )

    def _move_cash(self, scopes: list[dict[str, Any]]) -> Step:
        scope = self.random.choice(scopes) if self.random.random() < 0.05 else scopes[1]
        value = self.random.choice((1, 50_0000, 5_000_0000, 5_000_0000, 10_000_000_0000, 10**17, 0, -1, None))
        return self._control(self.random.choice(("DEPOSIT", "WITHDRAWAL", "WITHDRAWAL")), **scope, value=value)

    def _control(self, kind: str, target: str | None = None, **fields: Any) -> Step:
        rnd = self.random
        control_id = f"c{len(self.controls)}"
        if self.controls and rnd.random() < 0.04:
            control_id = rnd.choice(self.controls)
        self.controls.append(control_id)
        return control(kind, target, self.now, **{"controlId": control_id, **fields})
