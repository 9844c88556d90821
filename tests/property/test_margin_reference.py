"""Margin against a slow reference: requirements contract by contract in fractions, and reservations that are never optimistic.

The reference shares no code with udfs/domain. A failure prints its seed.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from random import Random
from typing import Any

import pytest
import trading_harness as h
from reference_rules import midnight, sale_fees

from schemas.messages import order_outcomes
from schemas.messages.order_outcomes import OrderOutcome, OrderOutcomes
from udfs.domain import sources
from udfs.domain.frames import PAYS_FEES, decode_frame
from udfs.domain.margin_check import worth_of
from udfs.domain.risk_shard import RiskShard

STRIKES = (90, 95, 100, 105, 110)
EXPIRIES = (h.OPEN + 30 * 86_400 * h.SECOND, h.OPEN + 60 * 86_400 * h.SECOND, h.OPEN + 400 * 86_400 * h.SECOND)
NINE_MONTHS = 274 * 86_400 * h.SECOND
FEES_NS = midnight("2028-01-01T00:00:00-05:00")
"""Fills are charged the fees of this day, the highest that the tables have: the orders of 2023 have to cover them."""


def share(value: int, percent: int) -> int:
    """A percentage of an amount in 1/10,000, rounded up."""
    return ceil(Fraction(value * percent, 100))


class Option:
    """Terms and mark of an option of the random chain."""

    def __init__(self, symbol: str, right: str, strike: int, expiry: int, broad: bool) -> None:
        self.symbol, self.right, self.strike, self.expiry, self.broad = symbol, right, strike, expiry, broad
        self.bid = self.ask = 0


def naked(option: Option, price: int) -> int:
    """What one written contract needs besides its value."""
    rate = 15 if option.broad else 20
    away = option.strike - price if option.right == "CALL" else price - option.strike
    base = share(price * 100, rate) - max(away, 0) * 100
    return max(base, share((price if option.right == "CALL" else option.strike) * 100, 10))


def alone(option: Option) -> int:
    """What one long contract needs."""
    return share(option.bid * 100, 75 if option.expiry - h.OPEN > NINE_MONTHS else 100)


def loss(short: Option, long: Option) -> int:
    """The largest loss of a pair."""
    apart = long.strike - short.strike if short.right == "CALL" else short.strike - long.strike
    return max(apart, 0) * 100


def pair(short: Option, long: Option) -> int:
    """What a pair needs."""
    return max(loss(short, long) + (long.bid - short.ask) * 100, 0)


def options_need(held: list[tuple[Option, int]], shares: int, price: int) -> int:
    """All options on one underlying, one contract at a time."""
    longs = [option for option, quantity in held for _ in range(max(quantity, 0))]
    total = 0
    for right, sign in (("CALL", 1), ("PUT", -1)):
        shorts = [option for option, quantity in held for _ in range(max(-quantity, 0)) if option.right == right]
        shorts.sort(key=lambda option: sign * option.strike)
        left = []
        for option in shorts:
            if right == "CALL" and shares >= 100 and not option.broad:
                shares -= 100
            else:
                left.append(option)
        for option in left:
            partners = [
                long
                for long in longs
                if long.right == right
                and long.expiry >= option.expiry
                and pair(option, long) < naked(option, price) + alone(long)
            ]
            if partners:
                best = min(partners, key=lambda long: (loss(option, long), long.expiry))
                longs.remove(best)
                total += pair(option, best)
            else:
                total += naked(option, price)
    return total + sum(alone(option) for option in longs)


def stock_need(quantity: int, bid: int, ask: int) -> tuple[int, int]:
    """Initial and maintenance requirement of shares."""
    if quantity >= 0:
        return share(quantity * bid, 50), share(quantity * bid, 25)
    percent, floor = (30, 5_0000) if ask >= 5_0000 else (100, 2_5000)
    upkeep = max(share(-quantity * ask, percent), -quantity * floor)
    return max(share(-quantity * ask, 50), upkeep), upkeep


class Market:
    """A risk shard with two stocks, options on one of them, a future, and fixed quotes."""

    def __init__(self, rnd: Random) -> None:
        self.rnd = rnd
        self.shard = RiskShard(0, 1, h.SCHEMA_IDS)
        self.quotes: dict[str, tuple[int, int]] = {}
        self.options: dict[str, Option] = {}
        self.positions: dict[str, int] = {}
        self.offset = 0
        self.outcome = 0
        self.basis = 0
        spot = rnd.randint(92_0000, 108_0000) // 100 * 100
        low = rnd.randint(1_0000, 9_0000) // 100 * 100
        for symbol, price in (("IBM", spot), ("LOW", low)):
            self.give(h.instrument(symbol, easyToBorrow=True))
            self.quotes[symbol] = (price, price + rnd.randint(0, 20) * 100)
        for number in range(4):
            right = rnd.choice(("CALL", "PUT"))
            option = Option(
                f"O{number}", right, rnd.choice(STRIKES) * 10_000, rnd.choice(EXPIRIES), rnd.random() < 0.15
            )
            value = max(spot - option.strike if right == "CALL" else option.strike - spot, 0)
            option.bid = (value + rnd.randint(0, 3_0000)) // 100 * 100
            option.bid = max(option.bid, 100)
            option.ask = option.bid + rnd.randint(0, 10) * 100
            self.options[option.symbol] = option
            self.quotes[option.symbol] = (option.bid, option.ask)
            self.give(
                h.instrument(
                    option.symbol,
                    assetClass="OPTION",
                    contract=contract("IBM", 100, option.expiry, right, option.strike, option.broad),
                )
            )
        self.give(
            h.instrument(
                "FUT", assetClass="FUTURE", contract=contract("SPX", 50, EXPIRIES[0], "NONE", 0, False, 900_0000)
            )
        )
        self.quotes["FUT"] = (500_0000, 500_0000 + rnd.randint(0, 5) * 100)

    def give(self, step: h.Step) -> None:
        """Apply a step."""
        source, payload = h.encode_step(*step)
        self.offset += 1
        self.shard.apply(source, payload, 0, self.offset, 0)

    def open_account(self, cash: int, positions: dict[str, int], commission: int) -> None:
        """The account, the session and the quotes."""
        self.positions = dict(positions)
        self.give(
            h.account("A", cash, positions, max_order_notional=10**15, commission=commission, accountType="MARGIN")
        )
        self.give(h.session("day-1", h.OPEN, h.CLOSE))
        self.give(h.snapshot_end())
        for number, (symbol, (bid, ask)) in enumerate(self.quotes.items()):
            self.give(h.quote(symbol, number + 1, [("XNYS", bid, 100, ask, 100)], h.OPEN))

    def reference(self) -> tuple[int, int, int]:
        """Equity, initial and maintenance requirement, by the slow way."""
        account = self.shard.book.accounts["A"]
        quantities = {symbol: position.quantity for symbol, position in account.positions.items()}
        equity = account.cash_e4
        initial = maintenance = 0
        for symbol in ("IBM", "LOW"):
            quantity = quantities.get(symbol, 0)
            bid, ask = self.quotes[symbol]
            equity += quantity * (bid if quantity > 0 else ask)
            need = stock_need(quantity, bid, ask)
            initial += need[0]
            maintenance += need[1]
        held = [(self.options[s], q) for s, q in quantities.items() if s in self.options and q]
        equity += sum(q * (o.bid if q > 0 else o.ask) * 100 for o, q in held)
        price = sum(self.quotes["IBM"]) // 2
        need_options = options_need(held, quantities.get("IBM", 0), price)
        futures = quantities.get("FUT", 0)
        if "FUT" in quantities:
            mark = self.quotes["FUT"][0 if futures >= 0 else 1]
            priced = futures - self.positions.get("FUT", 0)
            equity += min(0, (priced * mark - self.basis) * 50)
        upkeep = abs(futures) * 900_0000
        return equity, initial + need_options + share(upkeep, 110), maintenance + need_options + upkeep

    def compare(self, seed: int) -> None:
        """The engine's numbers are the reference's."""
        shard = self.shard
        worth = worth_of(shard.book.accounts["A"], shard.reference.instruments, h.OPEN)
        got = (worth.equity_e4, worth.initial_e4, worth.maintenance_e4)
        assert got == self.reference(), f"seed {seed}"

    def order(self, number: int) -> Any:
        """A random order; returns its frame when it was approved."""
        rnd = self.rnd
        symbol = rnd.choice(list(self.quotes))
        bid, ask = self.quotes[symbol]
        side = rnd.choice(("BUY", "SELL"))
        if symbol in ("IBM", "LOW") and side == "SELL" and rnd.random() < 0.6:
            side = "SELL_SHORT"
        size = rnd.choice((1, 2, 5)) if symbol in self.options or symbol == "FUT" else rnd.choice((10, 100, 250))
        price = None
        if rnd.random() < 0.8:
            away = rnd.randint(-15, 15) * 100 * (1 if symbol in self.options else 10)
            price = max(100, (ask if side == "BUY" else bid) + away)
        self.give(h.order(f"o{number}", "A", symbol, side, size, price, timestamp=h.OPEN + number))
        frames = self.shard.outbox.forward[0]
        if not frames:
            return None
        return decode_frame(frames.pop())

    def fill(self, frame: Any, done: int, quantity: int, price: int, end: bool) -> None:
        """Tell the risk stage of a fill."""
        left = frame.quantity - done - quantity
        if frame.symbol == "FUT":
            self.basis += (quantity if frame.side == 0 else -quantity) * price
        fees = sale_fees(quantity, price, FEES_NS) if frame.instructions & PAYS_FEES else 0
        line = OrderOutcome(
            "A",
            frame.order_id,
            frame.symbol,
            frame.side,
            quantity,
            quantity * price,
            quantity * frame.commission_e4 + fees,
            0 if end else left,
            end or left == 0,
        )
        value = order_outcomes.encode(OrderOutcomes(0, [line], h.OPEN), h.SCHEMA_IDS["order-outcomes"])
        self.outcome += 1
        self.shard.apply(sources.OUTCOMES, value, 0, self.outcome, 0)


def contract(
    underlying: str, multiplier: int, expiry: int, right: str, strike: int, broad: bool, maintenance: int = 0
) -> dict[str, Any]:
    """Terms of an option or a future."""
    return {
        "underlying": underlying,
        "multiplier": multiplier,
        "expiryTime": expiry,
        "right": right,
        "strike": strike,
        "broadIndex": broad,
        "maintenanceMargin": maintenance,
        "settlementPrice": 0 if right != "NONE" else 500_0000,
        "settlementTime": 0 if right != "NONE" else 1,
    }


def test_requirements_of_random_positions_equal_the_reference() -> None:
    for seed in range(400):
        rnd = Random(seed)
        market = Market(rnd)
        positions = {symbol: rnd.choice((-3, -2, -1, 0, 1, 2, 4)) for symbol in market.options}
        positions |= {"IBM": rnd.choice((-300, -1, 0, 1, 99, 100, 250)), "LOW": rnd.choice((-77, 0, 33))}
        positions["FUT"] = rnd.choice((-2, 0, 3))
        market.open_account(rnd.randint(-50_000, 100_000) * 10_000, positions, 0)
        market.compare(seed)


def test_reservations_cover_every_way_in_which_approved_orders_can_be_filled() -> None:
    approved = 0
    for seed in range(120):
        rnd = Random(seed)
        market = Market(rnd)
        market.open_account(rnd.randint(5_000, 60_000) * 10_000, {}, rnd.choice((0, 50, 6_500)))
        account = market.shard.book.accounts["A"]
        working: dict[str, list[Any]] = {}
        for number in range(60):
            if working and rnd.random() < 0.5:
                name = rnd.choice(list(working))
                frame, done = working[name]
                quantity = rnd.randint(1, frame.quantity - done)
                end = rnd.random() < 0.3
                # At the worst price, or a little better.
                better = rnd.choice((0, 0, 100, 1_000))
                price = max(1, frame.worst_price - better) if frame.side == 0 else frame.worst_price + better
                market.fill(frame, done, quantity, price, end)
                working[name][1] = done + quantity
                if end or done + quantity == frame.quantity:
                    del working[name]
            else:
                frame = market.order(number)
                if frame is not None:
                    approved += 1
                    working[frame.order_id] = [frame, 0]
            market.shard.check_invariants()
            if account.margin is not None:
                # In 2023 four day trades make a day trader, who is not held to the initial requirement.
                account.margin.day_trader = False
            market.compare(seed)
            equity, initial, _ = market.reference()
            assert equity - initial - account.reserved_e4 >= 0, f"seed {seed} step {number}"
        market.shard.outbox.clear()
    assert approved > 800


def test_cash_account_is_never_in_debt_whatever_is_filled() -> None:
    for seed in range(120):
        rnd = Random(seed)
        market = Market(rnd)
        market.give(h.account("A", rnd.randint(1_000, 40_000) * 10_000, {"IBM": 250, "LOW": 77}, commission=6_500))
        market.give(h.session("day-1", h.OPEN, h.CLOSE))
        market.give(h.snapshot_end())
        for number, (symbol, (bid, ask)) in enumerate(market.quotes.items()):
            market.give(h.quote(symbol, number + 1, [("XNYS", bid, 100, ask, 100)], h.OPEN))
        working: dict[str, list[Any]] = {}
        for number in range(60):
            if working and rnd.random() < 0.5:
                name = rnd.choice(list(working))
                frame, done = working.pop(name)
                quantity = rnd.randint(1, frame.quantity - done)
                market.fill(frame, done, quantity, frame.worst_price, True)
            else:
                frame = market.order(number)
                if frame is not None:
                    working[frame.order_id] = [frame, 0]
            # The invariants of a cash account say that it owes neither money nor shares.
            market.shard.check_invariants()


@pytest.mark.parametrize("underlying_first", [True, False])
def test_written_call_uses_the_shares_as_cover_whichever_of_the_two_was_listed_first(underlying_first: bool) -> None:
    stock = h.instrument("IBM")
    call = h.instrument(
        "CALL", assetClass="OPTION", contract=contract("IBM", 100, h.NEXT_CLOSE, "CALL", 90_0000, False)
    )
    desk = h.Desk(check_every_step=True)
    desk.run([stock, call] if underlying_first else [call, stock])
    desk.run(
        [
            h.account("A", 0, {"IBM": 100}, commission=0, accountType="MARGIN"),
            h.session("day-1", h.OPEN, h.CLOSE),
            h.snapshot_end(),
            h.quote("IBM", 1, [("XNYS", 100_0000, 100, 100_0000, 100)], h.OPEN),
            h.quote("CALL", 1, [("XNYS", 10_0000, 100, 10_0000, 100)], h.OPEN),
        ]
    )
    desk.restart()
    # A call that waits is covered by the shares; once these are on offer too, it may be filled without them.
    desk.run([h.order("c1", "A", "CALL", "SELL", 1, 11_0000, "GTC", h.OPEN + 1)])
    held = desk.risk[0].book.accounts["A"].groups
    assert list(held) in ([], ["IBM"])
    alone = held["IBM"].reserved_e4 if held else 0
    desk.run([h.order("s1", "A", "IBM", "SELL", 100, 101_0000, "GTC", h.OPEN + 2)])
    assert list(held) == ["IBM"] and held["IBM"].reserved_e4 > alone, "both orders are of one group"
