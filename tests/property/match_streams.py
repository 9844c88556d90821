"""Random command streams for `tradestream match`: `commands(seed, count)`, the same ones for the same seed.

The seed chooses a shape (SHAPES, in turn) and, within it, all weights. Quantities are small and prices lie close together,
so that exact fills, ties and self-trades are the rule. A stream does not know what became of its orders: cancels and
replacements of ended orders come by themselves.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from match_rows import HEADER, STP_MODES, Command

OPEN_NS: Final = 1_790_000_000_000_000_000


@dataclass(frozen=True)
class Shape:
    """Weights of one kind of flow.

    Limits lie `band` ticks about a point `away` ticks on the passive side of a middle that moves `drift` ticks at once,
    stop prices about one `stop_away` ticks on the other side.
    Cancels and replacements take one of the `recent` last orders.
    """

    name: str
    new: int = 70
    cancel: int = 15
    replace: int = 15
    hostile: int = 2
    market: int = 12
    limit: int = 70
    stop: int = 9
    stop_limit: int = 9
    accounts: int = 8
    symbols: int = 1
    band: int = 6
    away: int = 2
    stop_away: int = 2
    drift: int = 1
    quantity: int = 10
    immediate: int = 25
    stp: int = 40
    recent: int = 60


SHAPES: Final = (
    Shape("mixed"),
    Shape(
        "deep", cancel=5, replace=8, band=30, away=25, drift=0, market=3, stop=3, stop_limit=3, immediate=8, recent=400
    ),
    Shape(
        "self-trades",
        cancel=8,
        replace=30,
        accounts=3,
        stp=70,
        recent=25,
        away=3,
        band=3,
        stop=4,
        stop_limit=4,
        immediate=40,
    ),
    Shape(
        "stop cascades",
        market=8,
        limit=40,
        stop=30,
        stop_limit=30,
        band=10,
        cancel=4,
        replace=6,
        quantity=5,
        recent=200,
    ),
    Shape("replace storm", new=25, cancel=5, replace=70, recent=12, immediate=5, band=4, away=4),
    Shape("hostile", hostile=60, accounts=3, recent=30),
    Shape("many symbols", symbols=12, band=3, away=1, drift=0, accounts=5, recent=200),
    Shape("level churn", new=53, cancel=42, replace=5, market=1, stop=1, stop_limit=1, band=200, away=230, immediate=3),
    Shape(
        "stop churn",
        new=45,
        cancel=38,
        replace=17,
        market=2,
        limit=18,
        stop=40,
        stop_limit=40,
        band=40,
        stop_away=85,
        drift=8,
    ),
)


@dataclass
class Sent:
    """What the stream remembers of an order."""

    id: str
    account: str
    symbol: str
    side: str
    type: str
    tif: str
    quantity: int
    price: int
    stop: int
    stp: str


class Stream:
    """The commands of one seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(f"match {seed}")
        shape = SHAPES[seed % len(SHAPES)]
        names = ("market", "limit", "stop", "stop_limit", "immediate", "stp", "band", "quantity", "recent", "accounts")
        self.shape = replace(
            shape, **{name: max(1, round(getattr(shape, name) * self.random.uniform(0.6, 1.6))) for name in names}
        )
        self.tick = self.random.choice((1, 50, 100, 100, 100))
        self.lot = self.random.choice((1, 1, 1, 7, 100, 1_000_000))
        odd = shape.name == "hostile" and self.random.randrange(2)
        self.marks = ("", "", ",", '"', " ", "é") if odd else ("",)  # Parts of ids that CSV has to quote, or might.
        self.favourite = self.random.choice((*STP_MODES[1:], "DECREMENT"))
        self.opening = self.random.choice(
            (0, 0, 20)
        )  # Stops before the first print: only then one print can meet both sides.
        self.middle = {f"S{n}": self.random.randrange(20_000, 2_000_000, 100) for n in range(self.shape.symbols)}
        self.sent: list[Sent] = []
        self.restate: list[Sent] = []
        self.count = 0

    def next(self) -> Command:
        """The next command."""
        self.count += 1
        shape, random = self.shape, self.random
        if random.randrange(100) < shape.hostile:
            return self.hostile()
        if self.restate and random.randrange(3) == 0:
            return self.row("REPLACE", self.restate.pop())
        kinds = ("NEW", "CANCEL", "REPLACE") if self.sent else ("NEW",)
        kind = random.choices(kinds, (shape.new, shape.cancel, shape.replace)[: len(kinds)])[0]
        if kind == "NEW":
            return self.new()
        order = random.choice(self.sent[-shape.recent :])
        return self.cancel(order) if kind == "CANCEL" else self.replacement(order)

    def new(self) -> Command:
        shape, random = self.shape, self.random
        symbol = random.choice(list(self.middle))
        if random.randrange(4) == 0:
            drift = random.randint(-shape.drift, shape.drift) * self.tick
            self.middle[symbol] = max(50 * self.tick, self.middle[symbol] + drift)
        weights = (shape.market, shape.limit, shape.stop, shape.stop_limit)
        if self.count <= self.opening:
            weights = (0, 1, shape.stop, shape.stop_limit)
        order_type = random.choices(("MARKET", "LIMIT", "STOP", "STOP_LIMIT"), weights)[0]
        side = random.choice(("BUY", "BUY", "SELL", "SELL_SHORT"))
        immediate = random.randrange(100) < shape.immediate
        order = Sent(
            f"o{random.choice(self.marks)}{self.count}",
            f"A{random.randrange(shape.accounts)}",
            symbol,
            side,
            order_type,
            random.choice(("IOC", "FOK")) if immediate else random.choice(("DAY", "GTC")),
            random.randint(1, shape.quantity) * random.choice((1, 1, 1, 3)) * self.lot,
            self.near(symbol, -shape.away if side == "BUY" else shape.away),
            self.near(symbol, shape.stop_away if side == "BUY" else -shape.stop_away),
            random.choice((*STP_MODES[1:], self.favourite, self.favourite))
            if random.randrange(100) < shape.stp
            else random.choice(("NONE", "NONE", "")),
        )
        if order.stp == "DECREMENT" and order_type == "LIMIT" and random.randrange(2):
            self.aim_at_own(order)
        if random.randrange(10) == 0 or order_type.startswith("STOP") or (order_type == "LIMIT" and not immediate):
            self.sent.append(order)  # What never lives is a target only now and then.
        return self.row("NEW", order)

    def near(self, symbol: str, away: int) -> int:
        """A price in the band around the symbol's middle, `away` of the middle in the mean."""
        ticks = self.random.randint(-self.shape.band, self.shape.band) + away
        return max(self.tick, self.middle[symbol] + ticks * self.tick)

    def aim_at_own(self, order: Sent) -> None:
        """Let `order` meet a recent order of its own account, which is soon restated as it once was."""
        buys = order.side == "BUY"
        for other in reversed(self.sent[-self.shape.recent :]):
            ours = other.account == order.account and other.symbol == order.symbol
            if ours and other.type == "LIMIT" and (other.side == "BUY") != buys:
                order.price = other.price
                self.restate.append(other)
                return

    def cancel(self, order: Sent) -> Command:
        """A cancel; only the ids count, so the other cells are empty or repeat the order."""
        row = self.row("CANCEL", order)
        if self.random.randrange(4):
            self.sent.remove(order)  # Few cancel twice.
        if self.random.randrange(2):
            return row._replace(side="", order_type="", time_in_force="", quantity="", price="", stop_price="", stp="")
        return row

    def replacement(self, order: Sent) -> Command:
        """A replacement that mostly changes one thing, so that orders keep their place often enough."""
        random = self.random
        what = random.randrange(8)
        if what < 4:
            change = self.lot * random.choice((-99, -3, -2, -1, -1, -1, 0, 1, 2, 5))
            order.quantity = max(self.lot, order.quantity + change)
        if what in (3, 4, 5):
            order.price = self.near(
                order.symbol, -self.shape.away // 2 if order.side == "BUY" else self.shape.away // 2
            )
        if what in (5, 6):
            away = self.shape.stop_away // 2
            order.stop = self.near(order.symbol, away if order.side == "BUY" else -away)
        row = self.row("REPLACE", order)
        if order.type.startswith("STOP") and random.randrange(2):
            row = row._replace(stop_price="")  # Keeps the old one; after the trigger the only form that is allowed.
        if random.randrange(3) == 0:
            row = row._replace(side="", order_type="", time_in_force="", stp="")
        return row

    def hostile(self) -> Command:
        """A row that is wrong in one or two ways."""
        random = self.random
        row = self.new() if random.randrange(2) or not self.sent else self.target(random.choice(self.sent[-30:]))
        for _ in range(random.choice((1, 1, 2))):
            row = self.spoil(row)
        return row

    def target(self, order: Sent) -> Command:
        return self.row(self.random.choice(("NEW", "CANCEL", "REPLACE", "REPLACE")), order)

    def spoil(self, row: Command) -> Command:
        random = self.random
        cell = random.choice(Command._fields[2:])
        wrong: dict[str, tuple[str, ...]] = {
            "command": ("", "MODIFY", "new"),
            "order_id": ("", "nobody", f"o{random.randint(1, self.count)}", f"o{self.count + 1}"),
            "account_id": ("", "A0", "A1", "stranger"),
            "symbol": ("ELSE", "S0", "S1"),
            "side": ("", "HOLD", "buy"),
            "order_type": ("", "PEGGED", "MARKET", "LIMIT", "STOP", "STOP_LIMIT"),
            "time_in_force": ("", "OPG", "CLS", "GTD", "FOK"),
            "quantity": ("", "0", "-1", "1.5", "ten", "1e3", "1"),
            "price": ("", "0.00", "-1.00", "1.00001", "ten", "1e3", "10.00", "10.5", "10.125"),
            "stop_price": ("", "0.00", "-1.00", "1.00001", "ten", "1e3", "10.00", "10.5", "10.125"),
            "stp": ("", "ALL", "UNKNOWN", "none", "EXPIRE_BOTH", "DECREMENT"),
        }
        return row._replace(**{cell: random.choice(wrong[cell])})

    def row(self, command: str, order: Sent) -> Command:
        limited = order.type in ("LIMIT", "STOP_LIMIT")
        stops = order.type in ("STOP", "STOP_LIMIT")
        return Command(
            str(self.count),
            str(OPEN_NS + self.count * 1_000_000),
            command,
            order.id,
            order.account,
            order.symbol,
            order.side,
            order.type,
            order.tif,
            str(order.quantity),
            self.price(order.price) if limited else "",
            self.price(order.stop) if stops else "",
            order.stp,
        )

    def price(self, value: int) -> str:
        """1/10,000 as decimal text, written in one of the ways that mean the same."""
        text = f"{value // 10_000}.{value % 10_000:04d}"
        shortest = text[:-2] + text[-2:].rstrip("0")
        return self.random.choice((text, shortest, shortest)) if self.shape.name == "hostile" else shortest


def commands(seed: int, count: int) -> list[Command]:
    """The first `count` commands of a seed."""
    stream = Stream(seed)
    return [stream.next() for _ in range(count)]


def as_csv(rows: Sequence[Command]) -> str:
    """The input file."""
    text = io.StringIO()
    text.write(HEADER + "\n")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
