"""Auctions: short sales under Rule 201, imbalance-only orders, late limits for the close; matching against the reference market.

Approved orders go straight to both, because the reference's risk stage knows only cash accounts, which do not sell short.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import trading_harness as h
from reference_market import ReferenceMarket
from test_trading_reference import by_topic, check_orders, differences

from schemas.messages import orders
from schemas.messages.enums import TIME_IN_FORCE_GTC
from udfs.domain import sources
from udfs.domain.frames import encode_frame
from udfs.domain.rules import NEVER_NS

SYMBOL = "IBM"
TICK = 100
CLOSE_BEFORE = 20_0000
EARLY = 3_600 * h.SECOND
STEPS = 130
BEFORE_THE_CLOSE = (700, 500, 280)
"""Seconds, around the two times at which Nasdaq tells reference prices."""
SIDES = ("BUY", "BUY", "BUY", "SELL", "SELL_SHORT", "SELL_SHORT", "SELL_SHORT_EXEMPT")


class Approved:
    """Two days of approved orders, quotes and halts, of which the second begins under Rule 201."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now = h.OPEN - EARLY
        self.sequence = 0
        self.count = 0
        self.price = CLOSE_BEFORE
        self.halted = False
        # Some days have so few orders for the close that nothing meets before it.
        self.for_close = self.random.choice((25, 25, 3))

    def steps(self) -> list[h.Step]:
        """All steps: reference data, each day's pre-open, trading and closing auction."""
        steps = [
            h.instrument(
                SYMBOL,
                TICK,
                priorClose=CLOSE_BEFORE,
                luldTier=self.random.choice((None, None, 1)),
                primaryExchange=self.random.choice(("XNYS", "XNAS", "Q")),
            ),
            h.session("day-1", h.OPEN, h.CLOSE, h.OPEN - EARLY),
            h.session("day-2", h.NEXT_OPEN, h.NEXT_CLOSE, h.NEXT_OPEN - EARLY),
            h.snapshot_end(),
        ]
        for begin, end in ((h.OPEN, h.CLOSE), (h.NEXT_OPEN, h.NEXT_CLOSE)):
            self.now = begin - EARLY
            steps.append(("clock", self.now))
            steps += [self.step() for _ in range(STEPS // 6)]
            self.now = begin
            steps.append(("clock", self.now))
            if begin == h.OPEN:
                # A fall of a tenth and more, by a print of an exchange.
                self.price = CLOSE_BEFORE * 88 // 100
                steps.append(self.quote([self.price]))
            steps += [self.step() for _ in range(STEPS // 3)]
            for before in BEFORE_THE_CLOSE:
                self.now = max(self.now, end - before * h.SECOND)
                steps.append(("clock", self.now))
                steps += [self.step() for _ in range(STEPS // 12)]
            if self.halted:
                self.halted = False
                steps.append(h.control("UNHALT", SYMBOL, self.now))
            self.now = end
            steps.append(("clock", self.now))
        return steps

    def step(self) -> h.Step:
        """An order, most of the time."""
        self.now += self.random.choice((0, 1_000, h.SECOND, 20 * h.SECOND))
        roll = self.random.random()
        if roll < 0.72:
            return self.order()
        if roll < 0.9:
            return self.quote([])
        if roll < 0.93:
            return "clock", self.now
        self.halted = not self.halted
        self.count += 1
        return h.control("HALT" if self.halted else "UNHALT", SYMBOL, self.now, controlId=f"c{self.count}")

    def near(self) -> int:
        """A price near the market."""
        return self.price + self.random.randint(-6, 6) * TICK

    def quote(self, prints: list[int]) -> h.Step:
        """Quotes of one or two exchanges, sometimes of one side only."""
        rnd = self.random
        self.sequence += 1
        venues = []
        for exchange in rnd.sample(("XNYS", "XNAS", "ARCX"), rnd.randint(1, 2)):
            middle = self.price + rnd.randint(-3, 3) * TICK
            bid = None if rnd.random() < 0.1 else middle - TICK
            ask = None if rnd.random() < 0.1 else middle + TICK
            venues.append(
                (exchange, bid, 0 if bid is None else rnd.choice((1, 100, 200)), ask, 0 if ask is None else 100)
            )
        return h.quote(SYMBOL, self.sequence, venues, self.now, None, prints)

    def order(self) -> h.Step:
        """An approved new order, with what risk adds."""
        rnd = self.random
        self.count += 1
        side = rnd.choice(SIDES)
        kind = rnd.choices(("LIMIT", "MARKET"), weights=(75, 25))[0]
        time_in_force = rnd.choices(("DAY", "GTC", "IOC", "OPG", "CLS"), weights=(30, 15, 5, 25, self.for_close))[0]
        price = self.near() if kind == "LIMIT" else None
        fields = h.order(
            f"o{self.count}",
            rnd.choice(("A1", "A2", "A3")),
            SYMBOL,
            side,
            rnd.choice((10, 50, 100, 100, 200, 300, 700)),
            price,
            time_in_force,
            self.now,
        )[1]
        if kind == "LIMIT" and time_in_force in ("OPG", "CLS") and rnd.random() < 0.4:
            fields["imbalanceOnly"] = True
        worst = price if price is not None else self.price * (11 if side == "BUY" else 9) // 10
        session_close = h.CLOSE if self.now < h.CLOSE else h.NEXT_CLOSE
        return "approved", {
            **fields,
            "origin": f"orders-0-{self.count}",
            "worst": worst,
            "rate": 5,
            "pays": side != "BUY",
            "group": fields["accountId"],
            "close": NEVER_NS if time_in_force == "GTC" else session_close,
            "reserved": 0,
        }


class MatchDesk(h.Desk):
    """The match stage behind approved orders."""

    def step(self, kind: str, fields: Any) -> None:
        """Apply one step."""
        if kind != "approved":
            super().step(kind, fields)
            return
        names = ("origin", "worst", "rate", "pays", "group", "close", "reserved")
        command = orders.from_dict({name: value for name, value in fields.items() if name not in names})
        assert (command.time_in_force == TIME_IN_FORCE_GTC) == (fields["close"] == NEVER_NS)
        offset = int(fields["origin"].rsplit("-", 1)[1])
        frame = encode_frame(
            command, 0, 0, offset, fields["worst"], fields["rate"], fields["close"], 0, "", fields["pays"]
        )
        self.match[0].apply(sources.FORWARD, frame, 0, 0, 0)
        self._collect(self.match[0].outbox)
        self.match[0].check_invariants()


class Reference:
    """The reference market behind approved orders."""

    def __init__(self) -> None:
        self.records: list[h.Record] = []
        self.market = ReferenceMarket(self.records)
        self.offsets: dict[str, int] = {}

    def position(self, topic: str) -> str:
        """The position of a record in its stream."""
        offset = self.offsets.get(topic, 0)
        self.offsets[topic] = offset + 1
        return f"{topic}-0-{offset}"

    def step(self, kind: str, fields: Any) -> None:
        """Apply one step."""
        if kind == "approved":
            self.market.command(fields)
        elif kind == "reference":
            self.market.reference(fields, self.position("reference-data"))
        elif kind == "clock":
            self.market.advance(fields, self.position("controls"))
        elif kind == "control":
            self.market.control(fields, self.position("controls"))
        else:
            self.market.nbbo(fields)


def compare(seed: int) -> set[str]:
    """One stream through both; returns what the reference has seen."""
    desk, reference = MatchDesk(), Reference()
    done = told = 0
    for number, (kind, fields) in enumerate(Approved(seed).steps()):
        label = f"seed {seed} step {number}: {kind} {fields}"
        restricted = SYMBOL in reference.market.symbols and reference.market.symbols[SYMBOL]["restricted"]
        desk.step(kind, fields)
        reference.step(kind, fields)
        fresh = [record for record in desk.records[done:] if record[0] != "risk-events"]
        got, want = by_topic(fresh), by_topic(reference.records[told:])
        assert got == want, f"{label}\n{differences(got, want)}"
        check_orders(fresh)
        if restricted:
            check_short_sales(fresh, reference.market, label)
        done, told = len(desk.records), len(reference.records)
    desk.restart()
    return reference.market.seen


def check_short_sales(records: list[h.Record], market: ReferenceMarket, label: str) -> None:
    """No short sale of an auction is at or below the bid of exchanges, but what was displayed until the close."""
    kinds = {o["orderId"]: o["timeInForce"] for o in market.orders}
    for topic, trade in records:
        if topic == "trade-events" and trade["liquidity"] == "AUCTION" and trade["side"] == "SELL_SHORT":
            at_close = trade["executionTime"] in (h.CLOSE, h.NEXT_CLOSE)
            if trade["bidPrice"] is None or (at_close and kinds[trade["orderId"]] != "CLS"):
                continue
            assert trade["executionPrice"] > trade["bidPrice"], f"{label}\n{trade}"
            market.seen.add("short sale in an auction")


SITUATIONS = {
    "imbalance-only order filled",
    "imbalance-only order moved to the best price",
    "late limit order at its price",
    "late limit order priced again",
    "late limit order without a price",
    "no reference price for late orders",
    "reference price for late orders",
    "short sale in an auction",
    "short sale moved before the closing",
    "short sale moved before the opening",
    "short sale moved before the reopening",
    "short sales restricted",
}


def test_auctions_of_random_days_equal_the_reference_market() -> None:
    seen: set[str] = set()
    for seed in range(40):
        seen |= compare(seed)
    assert seen >= SITUATIONS, SITUATIONS - seen


def desk_under_rule_201(second_day: bool) -> h.Desk:
    """A desk whose symbol fell by a tenth on the first day; `second_day`: before the opening of the next one."""
    desk = h.Desk(check_every_step=True)
    desk.run(
        [
            h.instrument(SYMBOL, priorClose=100_0000, easyToBorrow=True),
            h.account("SHORT", accountType="MARGIN"),
            h.account("BUYER"),
            h.account("SELLER", positions={SYMBOL: 1_000}),
            h.session("day-1", h.OPEN, h.CLOSE, h.OPEN - EARLY),
            h.session("day-2", h.NEXT_OPEN, h.NEXT_CLOSE, h.NEXT_OPEN - EARLY),
            h.snapshot_end(),
            ("clock", h.OPEN),
            h.quote(SYMBOL, 1, [("XNYS", 89_9000, 500, 90_2000, 500)], h.OPEN, prints=[90_0000]),
        ]
    )
    if second_day:
        desk.run([("clock", h.NEXT_OPEN - EARLY)])
    return desk


def traded(records: list[h.Record]) -> list[tuple[str, int, int]]:
    """Sales of auctions: order, shares, price."""
    return [
        (r["orderId"], r["quantity"], r["executionPrice"])
        for topic, r in records
        if topic == "trade-events" and r["liquidity"] == "AUCTION" and r["side"] != "BUY"
    ]


@pytest.mark.parametrize(
    ("side", "bid", "sold"),
    [
        ("SELL_SHORT", 90_0000, [("l1", 50, 90_0000)]),
        # All of the short sale, and nothing of the dearer long one: no imbalance below its price.
        ("SELL_SHORT_EXEMPT", 90_0000, [("s1", 100, 89_9400)]),
        ("SELL_SHORT", None, [("s1", 100, 89_9400)]),
        # A tick above the bid: the long sale is the cheaper one then.
        ("SELL_SHORT", 89_9900, [("l1", 50, 90_0000), ("s1", 50, 90_0000)]),
    ],
)
def test_short_sale_in_the_opening_needs_a_price_above_the_bid(
    side: str, bid: int | None, sold: list[tuple[str, int, int]]
) -> None:
    desk = desk_under_rule_201(second_day=True)
    at = h.NEXT_OPEN - EARLY + 1
    desk.run(
        [
            h.quote(SYMBOL, 2, [("XNYS", bid, 500 if bid else 0, 90_2000, 500)], at),
            h.order("b1", "BUYER", SYMBOL, "BUY", 100, 90_0000, "OPG", at),
            h.order("s1", "SHORT", SYMBOL, side, 100, 89_0000, "DAY", at),
            h.order("l1", "SELLER", SYMBOL, "SELL", 50, 89_9500, "OPG", at),
        ]
    )
    records = desk.run([("clock", h.NEXT_OPEN), ("settle", None)])
    assert traded(records) == sold


def test_short_sale_that_waited_for_the_opening_rests_above_the_bid_afterwards() -> None:
    desk = desk_under_rule_201(second_day=True)
    at = h.NEXT_OPEN - EARLY + 1
    desk.run(
        [
            h.quote(SYMBOL, 2, [("XNYS", 90_0000, 500, 90_2000, 500)], at),
            h.order("s1", "SHORT", SYMBOL, "SELL_SHORT", 100, 89_0000, "DAY", at),
            ("clock", h.NEXT_OPEN),
        ]
    )
    (order,) = desk.match[0].matcher.live.values()
    assert (order.worst_price, order.limit_price) == (90_0100, 89_0000)
    assert desk.match[0].matcher.markets[SYMBOL].book.best_ask() == 90_0100


def test_short_market_order_on_close_does_not_trade_at_our_own_bid() -> None:
    desk = desk_under_rule_201(second_day=False)
    at = h.OPEN + 1
    desk.run(
        [
            h.order("b1", "BUYER", SYMBOL, "BUY", 100, 90_0000, "DAY", at),
            h.order("s1", "SHORT", SYMBOL, "SELL_SHORT", 100, None, "CLS", at),
            h.order("s2", "SHORT", SYMBOL, "SELL_SHORT", 100, 89_0000, "CLS", at, imbalanceOnly=True),
        ]
    )
    records = desk.run([("clock", h.CLOSE), ("settle", None)])
    assert traded(records) == []
    reasons = {r["orderId"]: r["reason"] for topic, r in records if topic == "order-events"}
    assert reasons["s1"] == reasons["s2"] == "MATCH_AUCTION_UNFILLED"
