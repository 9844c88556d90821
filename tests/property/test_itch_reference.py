"""Books, quotes, trades and halts from ITCH against a slow recomputation that looks at all orders each time."""

import random
from collections.abc import Iterator
from datetime import date

from infra.feeds.itch_market import ItchMarket, ItchStep
from infra.feeds.itch_router import ItchRouter
from schemas.messages import controls, enums, market_data, market_depth, nbbo, raw_feed
from udfs.domain.market_shard import MarketShard
from udfs.domain.normalise import MarketLimits

SCHEMA_IDS = {"raw-feed": 1, "market-data": 2, "nbbo": 3, "dead-letter": 4, "market-depth": 5, "controls": 6}
DAY = date(2026, 1, 5)
LEVELS = 10
WIDE = MarketLimits(max_spread_bps=100_000, stale_after_ns=10**15, silent_after_ns=10**15)


class SlowBook:
    """One symbol by definition: a dictionary of orders, everything else computed from all of them."""

    def __init__(self) -> None:
        self.orders: dict[int, tuple[bool, int, int]] = {}
        self.lot = 100
        self.halted = False
        self.trades: dict[int, tuple[int, int, bool]] = {}
        self.last: list[tuple[int, int]] = []

    def apply(self, step: ItchStep) -> None:
        """Change the orders as a message says."""
        if step.kind in "AF":
            self.orders[step.order] = (step.is_bid, step.price, step.shares)
        elif step.kind in "ECXDU":
            is_bid, price, shares = self.orders.pop(step.order)
            if step.kind == "U":
                self.orders[step.new_order] = (is_bid, step.price, step.shares)
            elif step.kind != "D" and shares > step.shares:
                self.orders[step.order] = (is_bid, price, shares - step.shares)
        elif step.kind == "R":
            self.lot = step.shares
        elif step.kind == "H":
            self.halted = not step.printable

    def printed(self, step: ItchStep) -> bool:
        """Whether a message is a trade."""
        return step.kind in "EP" or (step.kind == "C" and step.printable) or (step.kind == "Q" and step.shares > 0)

    def depth(self, is_bid: bool) -> list[tuple[int, int, int]]:
        """Price, shares and orders of the best prices."""
        prices = sorted({price for side, price, _ in self.orders.values() if side == is_bid}, reverse=is_bid)
        return [
            (
                price,
                sum(s for b, p, s in self.orders.values() if b == is_bid and p == price),
                sum(1 for b, p, s in self.orders.values() if b == is_bid and p == price),
            )
            for price in prices
        ]

    def side(self, is_bid: bool) -> tuple[int | None, int]:
        """The first price at which the shares so far make a round lot, with the whole round lots of them."""
        total = 0
        for price, shares, _ in self.depth(is_bid):
            total += shares
            if total >= self.lot:
                return price, total // self.lot * self.lot
        return None, 0

    def quote(self) -> tuple[int | None, int, int | None, int]:
        """What the exchange shows."""
        bid, bid_size = self.side(True)
        ask, ask_size = self.side(False)
        if self.halted or (bid is not None and ask is not None and bid >= ask):
            return None, 0, None, 0
        return bid, bid_size, ask, ask_size


def market(seed: int) -> tuple[ItchMarket, list[str]]:
    """A small market with its own taste."""
    rng = random.Random(seed)
    symbols = rng.sample(["AAPL", "BRK.A", "MSFT", "ZVZZT"], rng.randint(1, 3))
    lots = rng.sample([1, 10, 40, 100], rng.randint(1, 3))
    return ItchMarket(symbols, seed, lots, spread=rng.choice([2, 6, 30]), may_cross=rng.random() < 0.3), symbols


def frames(seed: int, count: int) -> Iterator[tuple[ItchStep, bytes]]:
    """The steps of a market with their raw feed records."""
    router = ItchRouter(DAY)
    for step in market(seed)[0].steps(count):
        yield step, raw_feed.encode(router.route(step.message).record, 1)


def told(event: market_data.MarketDataEvent) -> tuple[int | None, int, int | None, int]:
    return event.bid_price, event.bid_size, event.ask_price, event.ask_size


def test_books_quotes_and_trades_equal_the_slow_book() -> None:
    checked = {"quotes": 0, "trades": 0, "cancels": 0, "depth": 0, "nbbo": 0, "halts": 0}
    for seed in range(25):
        rng = random.Random(f"batches-{seed}")
        shard = MarketShard(0, 1, SCHEMA_IDS, WIDE)
        books: dict[str, SlowBook] = {}
        quotes: dict[str, tuple[int | None, int, int | None, int]] = {}
        depths: dict[str, tuple[object, object]] = {}
        for step, frame in frames(seed, 400):
            context = f"seed {seed} {step}"
            book = books.setdefault(step.symbol, SlowBook())
            was_halted = book.halted
            before = book.orders.get(step.order)
            book.apply(step)
            events_before = len(shard.outbox.market_data.values)
            controls_before = len(shard.outbox.controls.values)
            shard.apply(7, frame, 0, 0, 0)
            found = [market_data.decode(value) for value in shard.outbox.market_data.values[events_before:]]
            if book.printed(step):
                trade = found.pop(0)
                price = before[1] if step.kind == "E" and before else step.price
                assert trade.kind == enums.MARKET_DATA_KIND_TRADE, context
                assert (trade.last_price, trade.volume, trade.trade_id) == (price, step.shares, str(step.match)), (
                    context
                )
                assert trade.eligible == (step.shares >= book.lot), context
                book.trades[step.match] = (price, step.shares, bool(trade.eligible))
                if trade.eligible:
                    book.last.append((step.match, price))
                checked["trades"] += 1
            elif step.kind == "B":
                cancel = found.pop(0)
                assert cancel.kind == enums.MARKET_DATA_KIND_CANCEL, context
                original = (cancel.original_price, cancel.original_volume, cancel.original_eligible)
                assert original == book.trades.pop(step.match), context
                book.last = [trade for trade in book.last if trade[0] != step.match]
                checked["cancels"] += 1
            expected = book.quote() if step.symbol else (None, 0, None, 0)
            if expected != quotes.get(step.symbol, (None, 0, None, 0)):
                assert [told(event) for event in found] == [expected], context
                assert found[0].exchange == "XNAS" and found[0].event_id.endswith("-q"), context
                quotes[step.symbol] = expected
                checked["quotes"] += 1
            else:
                assert found == [], context
            said = [controls.decode(value) for value in shard.outbox.controls.values[controls_before:]]
            if step.kind == "H" and was_halted != book.halted:
                kind = enums.CONTROL_KIND_HALT if book.halted else enums.CONTROL_KIND_UNHALT
                assert [(c.kind, c.target) for c in said] == [(kind, step.symbol)], context
                checked["halts"] += 1
            else:
                assert said == [], context
            if rng.random() < 0.3:
                shard.flush()
                for value in shard.outbox.market_depth.values:
                    depth = market_depth.decode(value)
                    depths[depth.symbol] = (depth.bids, depth.asks)
                    checked["depth"] += 1
                for symbol, slow in books.items():
                    for at, is_bid in enumerate((True, False)):
                        shown = depths.get(symbol, ([], []))[at]
                        assert isinstance(shown, list)
                        levels = [(level.price, level.quantity, level.order_count) for level in shown]
                        assert levels == slow.depth(is_bid)[:LEVELS], context
                for value in shard.outbox.nbbo.values:
                    best = nbbo.decode(value)
                    assert (best.bid_price, best.bid_size, best.ask_price, best.ask_size) == books[
                        best.symbol
                    ].quote(), context
                    if len(books[best.symbol].trades) < 16:
                        last = books[best.symbol].last
                        assert best.last_price == (last[-1][1] if last else None), context
                    checked["nbbo"] += 1
                shard.outbox.clear()
        counted = dict(shard.counters.items())
        assert shard.counters.refused == 0, f"seed {seed}"
        parts = ("quotes", "trades", "corrections", "cancels", "orders", "other", "refused")
        assert sum(counted[part] for part in parts) == counted["records"], f"seed {seed}"
    assert min(checked.values()) > 15, checked


def test_itch_snapshot_at_a_random_cut_continues_with_identical_output() -> None:
    for seed in range(30):
        rng = random.Random(seed)
        whole, cut = (MarketShard(0, 1, SCHEMA_IDS, WIDE) for _ in range(2))
        at = rng.randint(1, 250)
        lost = rng.randint(1, 250)
        for number, (_, frame) in enumerate(frames(seed, 250), start=1):
            if number == lost:
                continue
            if number == at:
                whole.outbox.clear()
                saved = cut.snapshot()
                cut = MarketShard(0, 1, SCHEMA_IDS, WIDE)
                cut.restore(saved)
                assert cut.snapshot() == saved
            for shard in (whole, cut):
                shard.apply(7, frame, 0, number, number)
                shard.flush()
        for left, right in zip(whole.outbox.lanes(), cut.outbox.lanes(), strict=True):
            assert left.values == right.values, f"seed {seed} cut {at} {left.topic}"
        assert whole.snapshot() == cut.snapshot()


def test_itch_events_do_not_depend_on_how_records_are_batched() -> None:
    for seed in range(20):
        rng = random.Random(seed)
        by_one, by_batch = (MarketShard(0, 1, SCHEMA_IDS, WIDE) for _ in range(2))
        for offset, (_, frame) in enumerate(frames(seed, 200)):
            for shard, ends in ((by_one, True), (by_batch, rng.random() < 0.1)):
                shard.apply(7, frame, 0, offset, 0)
                if ends:
                    shard.flush()
        by_one.flush()
        by_batch.flush()
        for topic in ("market_data", "controls", "dead_letter"):
            assert getattr(by_one.outbox, topic).values == getattr(by_batch.outbox, topic).values
        assert len(by_batch.outbox.nbbo.values) < len(by_one.outbox.nbbo.values)
        assert by_one.snapshot() == by_batch.snapshot()


def test_hostile_messages_end_as_dead_letters_and_never_raise() -> None:
    refused = 0
    for seed in range(40):
        rng = random.Random(seed)
        shard = MarketShard(0, 1, SCHEMA_IDS, WIDE)
        router = ItchRouter(DAY)
        for step in market(seed)[0].steps(60):
            record = router.route(step.message).record
            payload = bytearray(record.payload)
            for _ in range(rng.choice((0, 0, 1, 3))):
                payload[rng.randrange(len(payload))] = rng.randrange(256)
            if rng.random() < 0.1:
                payload = payload[: rng.randrange(len(payload) + 1)] + bytes(rng.randrange(3))
            record.payload = bytes(payload)
            shard.apply(7, raw_feed.encode(record, 1), 0, 0, 0)
            if rng.random() < 0.3:
                shard.flush()
        shard.flush()
        letters = len(shard.outbox.dead_letter.values)
        shard.restore(shard.snapshot())
        counted = dict(shard.counters.items())
        assert counted["refused"] == letters
        parts = ("quotes", "trades", "corrections", "cancels", "orders", "other", "refused")
        assert sum(counted[part] for part in parts) == counted["records"]
        refused += counted["refused"]
    assert refused > 100
