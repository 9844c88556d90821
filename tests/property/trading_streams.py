"""Random but reproducible steps for both engines: few accounts, symbols and prices, so that everything meets everything."""

from __future__ import annotations

from random import Random
from typing import Any

from trading_harness import (
    CLOSE,
    NEXT_CLOSE,
    NEXT_OPEN,
    OPEN,
    SECOND,
    Step,
    account,
    instrument,
    order,
    quote,
    session,
    snapshot_end,
)

ACCOUNTS = ("A1", "A2", "A3", "A4", "POOR", "TIGHT", "SHUT")
SYMBOLS = ("IBM", "PENNY", "DEAR")
PRICES = {"IBM": 24_0000, "PENNY": 9900, "DEAR": 612_0000}
TICKS = {"IBM": 100, "PENNY": 100, "DEAR": 500}
EXCHANGES = ("XNYS", "XNAS", "ARCX", "BATS")


def opening() -> list[Step]:
    """Reference data: accounts of several means, one inactive instrument, two sessions."""
    steps = [instrument(s, TICKS[s]) for s in SYMBOLS] + [instrument("DEAD", active=False)]
    for number, name in enumerate(ACCOUNTS[:4]):
        shares = dict.fromkeys(SYMBOLS[: number + 1], 2000)
        steps.append(account(name, cash=5_000_000_0000, positions=shares, commission=number * 35))
    steps.append(account("POOR", cash=20_000_0000, positions={"PENNY": 300}, commission=12_000))
    steps.append(
        account(
            "TIGHT", positions={"IBM": 100}, max_order_quantity=150, max_order_notional=2_400_0000, max_position=400
        )
    )
    steps.append(account("SHUT", active=False))
    steps.append(session("day-1", OPEN, CLOSE))
    steps.append(session("day-2", NEXT_OPEN, NEXT_CLOSE))
    return [*steps, snapshot_end()]


def boundaries() -> list[Step]:
    """Orders that meet each limit exactly, and then by one more share or the smallest step of price."""
    return [
        order("b1", "TIGHT", "IBM", "BUY", 150, 1_0000),
        order("b2", "TIGHT", "IBM", "BUY", 151, 1_0000),
        order("b3", "TIGHT", "IBM", "BUY", 100, 24_0000),
        order("b4", "TIGHT", "IBM", "BUY", 100, 24_0100),
        order("b5", "TIGHT", "IBM", "BUY", 51, 1_0000),
        order("b6", "TIGHT", "IBM", "BUY", 50, 1_0000),
        order("b7", "TIGHT", "IBM", "SELL", 101, 20_0000),
        order("b8", "TIGHT", "IBM", "SELL", 100, 20_0000, timestamp=OPEN + 1),
        order("b9", "POOR", "IBM", "BUY", 100, 198_8100),
        order("b10", "POOR", "IBM", "BUY", 100, 198_8000),
        *(
            order(f"b{n}", account_id, "IBM", "BUY", 0, command="CANCEL")
            for n, account_id in ((1, "TIGHT"), (3, "TIGHT"), (6, "TIGHT"), (8, "TIGHT"), (10, "POOR"))
        ),
        ("settle", None),
    ]


class Stream:
    """A generator of steps from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now = OPEN
        self.count = 0
        self.sent: list[dict[str, Any]] = []
        self.sequences = dict.fromkeys(SYMBOLS, 0)
        self.last_quotes: dict[str, dict[str, tuple[int | None, int, int | None, int, int]]] = {}
        self.crossing = self.random.random() < 0.2
        self.next_day = self.random.random() < 0.5

    def steps(self, count: int) -> list[Step]:
        """The opening and then `count` random steps; some streams close the session and go on the next day."""
        result = opening() + boundaries()
        for number in range(count):
            if number == count * 2 // 3 and self.next_day:
                self.now = NEXT_OPEN if self.random.random() < 0.7 else CLOSE
                result.append(("clock", self.now))
                result.append(order("late", "A1", "IBM", "BUY", 1, 20_0000, timestamp=CLOSE - 1))
            self.now += self.random.choice((0, 1_000, 1_000_000, SECOND))
            result.append(self._step())
        result.append(("settle", None))
        result.append(("clock", NEXT_CLOSE))
        result.append(("settle", None))
        return result

    def _step(self) -> Step:
        roll = self.random.random()
        if roll < 0.56:
            return self._new()
        if roll < 0.68:
            return self._cancel()
        if roll < 0.83:
            return self._quote()
        if roll < 0.95:
            return "settle", None
        if roll < 0.97:
            return "clock", self.now - self.random.choice((0, 0, SECOND))
        if roll < 0.985:
            return self._account_terms()
        return self._replace()

    def _price(self, symbol: str) -> int:
        tick = TICKS[symbol]
        price = PRICES[symbol] + self.random.randint(-6, 6) * tick
        if self.random.random() < 0.05:
            # Far away: such an order rests where only a collar can keep a market order from it.
            price = price * self.random.choice((8, 12)) // 10
        return price - price % (tick if price >= 1_0000 else 1)

    def _new(self) -> Step:
        rnd = self.random
        self.count += 1
        symbol = rnd.choice(SYMBOLS)
        kind, step = (
            "order",
            order(
                f"o{self.count}",
                rnd.choices(ACCOUNTS, weights=(5, 5, 5, 5, 3, 3, 1))[0],
                symbol,
                rnd.choice(("BUY", "SELL")),
                rnd.choice((1, 10, 50, 100, 100, 100, 300, 1_000)),
                None if rnd.random() < 0.15 else self._price(symbol),
                "IOC" if rnd.random() < 0.2 else "DAY",
                self.now,
            )[1],
        )
        if rnd.random() < 0.12:
            step.update(rnd.choice(self._faults()))
        if self.sent and rnd.random() < 0.03:
            old = rnd.choice(self.sent)
            step = (
                dict(old) if rnd.random() < 0.5 else {**step, "orderId": old["orderId"], "accountId": old["accountId"]}
            )
        self.sent.append(step)
        return kind, step

    def _faults(self) -> list[dict[str, Any]]:
        """What may be wrong with an order."""
        return [
            {"orderId": ""},
            {"orderId": "with space"},
            {"orderId": "x" * 65},
            {"accountId": "NOBODY"},
            {"symbol": "NONE"},
            {"symbol": "DEAD"},
            {"orderType": "STOP"},
            {"orderType": "STOP_LIMIT", "stopPrice": 24_0000},
            {"stp": "DECREMENT"},
            {"timeInForce": "GTC"},
            {"timeInForce": "FOK"},
            {"side": "SELL_SHORT"},
            {"quantity": 0},
            {"quantity": -5},
            {"quantity": 1_000_000},
            {"quantity": 999_999},
            {"quantity": 100_001},
            {"price": None, "orderType": "LIMIT"},
            {"price": 0, "orderType": "LIMIT"},
            {"price": -100, "orderType": "LIMIT"},
            {"price": 24_0050, "orderType": "LIMIT"},
            {"price": 24_0000, "orderType": "MARKET"},
            {"price": 10_000_000_100, "orderType": "LIMIT"},
            {"stopPrice": 24_0000},
            {"timestamp": OPEN - 1},
            {"timestamp": CLOSE},
            {"timestamp": OPEN + 5},
        ]

    def _cancel(self) -> Step:
        rnd = self.random
        if not self.sent or rnd.random() < 0.05:
            return order("unknown", "A1", "IBM", "BUY", 1, 1_0000, timestamp=self.now, command="CANCEL")
        target = rnd.choice(self.sent[-40:])
        fields = {**target, "command": "CANCEL", "timestamp": self.now, "price": None, "stopPrice": None}
        if rnd.random() < 0.1:
            fields["accountId"] = rnd.choice(ACCOUNTS)
        return "order", fields

    def _replace(self) -> Step:
        return order(f"o{self.count}", "A1", "IBM", "BUY", 7, 24_0000, timestamp=self.now, command="REPLACE")

    def _quote(self) -> Step:
        rnd = self.random
        symbol = rnd.choice(SYMBOLS)
        tick = TICKS[symbol]
        shown = dict(self.last_quotes.get(symbol, {}))
        for exchange in rnd.sample(EXCHANGES, rnd.randint(1, 3)):
            middle = PRICES[symbol] + rnd.randint(-3, 3) * tick
            half = rnd.choice((-1, 0) if self.crossing and rnd.random() < 0.3 else (1, 1, 2, 3)) * tick
            bid = None if rnd.random() < 0.08 else middle - half
            ask = None if rnd.random() < 0.08 else middle + half
            sizes = [0 if side is None else rnd.choice((1, 100, 100, 200, 500)) for side in (bid, ask)]
            shown[exchange] = (bid, sizes[0], ask, sizes[1], self.now)
        self.last_quotes[symbol] = dict(shown)
        if rnd.random() < 0.1:
            shown.pop(rnd.choice(list(shown)))
        if rnd.random() < 0.95:
            self.sequences[symbol] += 1
        venues = [(exchange, *values[:4]) for exchange, values in shown.items()]
        times = {exchange: values[4] for exchange, values in shown.items()}
        return quote(symbol, self.sequences[symbol], venues, self.now, times)

    def _account_terms(self) -> Step:
        rnd = self.random
        return account(
            "TIGHT", cash=1, max_order_quantity=rnd.choice((50, 150, 400)), max_position=rnd.choice((100, 400))
        )
