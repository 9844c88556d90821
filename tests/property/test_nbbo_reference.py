"""The NBBO against a slow recomputation that scans the whole history, on random quotes and on real ticks."""

import random
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from schemas.messages import enums, nbbo, raw_feed
from udfs.domain.market_shard import MarketShard
from udfs.domain.normalise import EXCHANGES, MarketLimits

SCHEMA_IDS = {"raw-feed": 1, "market-data": 2, "nbbo": 3, "dead-letter": 4, "market-depth": 5, "controls": 6}
TICKS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "lean_tick" / "ibm"
SECOND = 1_000_000_000
LINES = 50_000
"""From 04:00 to about noon: the whole files pass too, but take half a minute uncompiled."""


@dataclass(frozen=True)
class Line:
    """One accepted quote line as the reference sees it."""

    time_ns: int
    exchange: str
    bid: tuple[int, int] | None
    ask: tuple[int, int] | None
    trusted: bool
    best_of_market: bool


@dataclass(frozen=True)
class Side:
    """A side that one exchange shows: the newest line that speaks about it, if nothing later made it void."""

    exchange: str
    price: int
    size: int
    time_ns: int
    index: int


def shown(history: list[Line], exchange: str, is_bid: bool) -> Side | None:
    """The side of an exchange by the definition: the last line about it, unless a later line contradicts it."""
    newest = None
    for index, line in enumerate(history):
        if line.exchange == exchange and (line.bid if is_bid else line.ask) is not None:
            newest = index
    if newest is None or not history[newest].trusted:
        return None
    line = history[newest]
    side = line.bid if is_bid else line.ask
    assert side is not None
    price, size = side
    if size == 0:
        return None
    for later in history[newest + 1 :]:
        if not later.trusted:
            continue
        other = later.ask if is_bid else later.bid
        crosses = other is not None and other[1] > 0 and ((price >= other[0]) if is_bid else (price <= other[0]))
        if later.exchange == exchange and crosses:
            return None
        same = later.bid if is_bid else later.ask
        if later.exchange != exchange and later.best_of_market and same is not None and same[1] > 0:
            better = price > same[0] if is_bid else price < same[0]
            if better or (price == same[0] and size > same[1]):
                return None
    return Side(exchange, price, size, line.time_ns, newest)


def reference(
    history: list[Line], limits: MarketLimits
) -> tuple[Side | None, Side | None, dict[str, tuple[int, int, int, int]]]:
    """Best bid, best ask and the quotes that count, from the whole history."""
    now = history[-1].time_ns
    bids: dict[str, Side] = {}
    asks: dict[str, Side] = {}
    for exchange in {line.exchange for line in history}:
        for is_bid, sides in ((True, bids), (False, asks)):
            side = shown(history, exchange, is_bid)
            if side and now - limits.stale_after_ns <= side.time_ns <= now + limits.max_regress_ns:
                sides[exchange] = side
    for exchange in set(bids) & set(asks):
        bid, ask = bids[exchange].price, asks[exchange].price
        if (ask - bid) / ((ask + bid) / 2) > limits.max_spread_bps / 10_000:
            del bids[exchange], asks[exchange]
    while True:
        best_bid = max(bids.values(), key=lambda s: (s.price, s.size, s.index), default=None)
        best_ask = max(asks.values(), key=lambda s: (-s.price, s.size, s.index), default=None)
        if best_bid is None or best_ask is None or best_bid.price <= best_ask.price:
            break
        oldest = min(best_bid, best_ask, key=lambda s: s.time_ns)
        if oldest.time_ns >= now - limits.crossed_after_ns:
            break
        del (bids if oldest is best_bid else asks)[oldest.exchange]
    quotes = {}
    for exchange in sorted(set(bids) | set(asks)):
        b, a = bids.get(exchange), asks.get(exchange)
        quotes[exchange] = (b.price if b else 0, b.size if b else 0, a.price if a else 0, a.size if a else 0)
    return best_bid, best_ask, quotes


def quote_line(rng: random.Random, letters: list[bytes], time_ms: int) -> tuple[bytes, Line]:
    """A random line around one price, with its meaning."""
    letter = rng.choice(letters)
    spread = rng.choice([0, 1, 1, 2, 3, 80])
    bid = (1_000 + rng.randint(-4, 4), rng.choice([0, 100, 100, 200, 300]))
    ask = (bid[0] + 1 + spread, rng.choice([0, 100, 100, 200, 300]))
    sides = rng.choice(["bid", "ask", "bid", "ask", "both", "none"])
    fields = (*(bid if sides in ("bid", "both") else (0, 0)), *(ask if sides in ("ask", "both") else (0, 0)))
    suspicious = rng.random() < 0.05
    condition = rng.choice(["1"] * 9 + ["8"])
    line = b"%d,%d,%d,%d,%d,%s,%s,%d" % (time_ms, *fields, letter, condition.encode(), suspicious)
    says_bid = (fields[0], fields[1]) if sides in ("bid", "both", "none") else None
    says_ask = (fields[2], fields[3]) if sides in ("ask", "both", "none") else None
    trusted = not suspicious and condition == "1"
    return line, Line(time_ms * 1_000_000, EXCHANGES[letter], says_bid, says_ask, trusted, False)


def trade_line(rng: random.Random, time_ms: int) -> tuple[bytes, int | None]:
    """A random trade in 2013, and its price when it may set the last price."""
    price, size = 1_000 + rng.randint(-4, 4), rng.choice([1, 99, 100, 100, 100, 250])
    condition, suspicious = rng.choice([b"1", b"1", b"1", b"2000", b"80000001"]), rng.random() < 0.1
    eligible = condition == b"1" and not suspicious and size >= 100
    return b"%d,%d,%d,D,%s,%d" % (time_ms, price, size, condition, suspicious), price if eligible else None


def frame_of(kind: int, feed: str, sequence: int, line: bytes, source: str = "simulator") -> bytes:
    """A raw feed record of IBM, at 1970."""
    return raw_feed.encode_fields(1, source, kind, feed, sequence, "IBM", 0, line)


def random_frames(rng: random.Random, count: int, feeds: int = 1) -> list[bytes]:
    """Quotes and trades in time; some sequences repeat."""
    frames = []
    for sequence in range(1, count + 1):
        number = sequence if feeds == 1 or rng.random() < 0.9 else max(1, sequence - 2)
        if rng.random() < 0.3:
            line, _ = trade_line(rng, 1_000 + sequence * 37)
            frames.append(frame_of(enums.FEED_FORMAT_LEAN_TRADE, f"t{sequence % feeds}", number, line))
        else:
            line, _ = quote_line(rng, [b"N", b"Q", b"P"], 1_000 + sequence * 37)
            frames.append(frame_of(enums.FEED_FORMAT_LEAN_QUOTE, f"q{sequence % feeds}", number, line))
    return frames


def check(published: nbbo.Nbbo, history: list[Line], limits: MarketLimits, context: str) -> None:
    """The shard's NBBO says what the reference says."""
    best_bid, best_ask, quotes = reference(history, limits)
    expected_bid = (best_bid.price, best_bid.size, best_bid.exchange) if best_bid else (None, 0, None)
    expected_ask = (best_ask.price, best_ask.size, best_ask.exchange) if best_ask else (None, 0, None)
    assert (published.bid_price, published.bid_size, published.bid_exchange) == expected_bid, context
    assert (published.ask_price, published.ask_size, published.ask_exchange) == expected_ask, context
    found = {q.exchange: (q.bid_price or 0, q.bid_size, q.ask_price or 0, q.ask_size) for q in published.quotes}
    assert found == quotes, context
    assert [q.exchange for q in published.quotes] == sorted(quotes), context


@pytest.mark.parametrize("best_quotes", [False, True])
def test_nbbo_on_random_quotes_equals_the_scan_of_history(best_quotes: bool) -> None:
    limits = MarketLimits(stale_after_ns=20 * SECOND, crossed_after_ns=SECOND, best_quote_sources="lean")
    source = "lean" if best_quotes else "simulator"
    published_total = 0
    for seed in range(150):
        rng = random.Random(seed)
        shard = MarketShard(0, 1, SCHEMA_IDS, limits)
        letters = rng.sample([b"N", b"Q", b"P", b"Z", b"K"], rng.randint(1, 5))
        history: list[Line] = []
        latest: nbbo.Nbbo | None = None
        time_ms = 1_000
        for sequence in range(1, 60):
            time_ms += rng.choice([0, 0, 1, 300, 900, 1_500, 8_000, -200])
            payload, line = quote_line(rng, letters, max(0, time_ms))
            history.append(Line(line.time_ns, line.exchange, line.bid, line.ask, line.trusted, best_quotes))
            frame = raw_feed.encode_fields(1, source, enums.FEED_FORMAT_LEAN_QUOTE, "f", sequence, "IBM", 0, payload)
            shard.apply(1, frame, 0, sequence, 0)
            shard.flush()
            for value in shard.outbox.nbbo.values:
                latest = nbbo.decode(value, 3)
                assert latest.sequence == sequence
                published_total += 1
            shard.outbox.clear()
            context = f"seed {seed} record {sequence} {payload!r}"
            if latest is None:
                assert reference(history, limits) == (None, None, {}), context
            else:
                check(latest, history, limits, context)
        assert shard.counters.refused == 0
    assert published_total > 4_000


def trades_of(record: nbbo.Nbbo) -> tuple[int | None, int | None, int | None, int | None]:
    return record.trade_high, record.trade_low, record.trade_count, record.trade_price_sum


def test_nbbo_carries_each_eligible_trade_once_however_records_are_batched() -> None:
    published_total = 0
    for seed in range(100):
        rng = random.Random(seed)
        shard = MarketShard(0, 1, SCHEMA_IDS, MarketLimits())
        since: list[int] = []
        last: int | None = None
        for sequence in range(1, 120):
            time_ms = 1_000 + sequence * 37
            if rng.random() < 0.4:
                payload, price = trade_line(rng, time_ms)
                last = last if price is None else price
                since += [] if price is None else [price]
                shard.apply(1, frame_of(enums.FEED_FORMAT_LEAN_TRADE, "t", sequence, payload), 0, sequence, 0)
            else:
                payload, _ = quote_line(rng, [b"N", b"Q"], time_ms)
                shard.apply(1, frame_of(enums.FEED_FORMAT_LEAN_QUOTE, "q", sequence, payload), 0, sequence, 0)
            if rng.random() < 0.6:
                continue
            shard.flush()
            records = [nbbo.decode(value, 3) for value in shard.outbox.nbbo.values]
            shard.outbox.clear()
            context = f"seed {seed} record {sequence}"
            assert records or not since, context
            for record in records:
                told = (max(since), min(since), len(since), sum(since)) if since else (None,) * 4
                assert (trades_of(record), record.last_price) == (told, last), context
                published_total += 1
            since = []
    assert published_total > 2_000


def test_nbbo_states_do_not_depend_on_how_records_are_batched() -> None:
    for seed in range(40):
        rng = random.Random(seed)
        by_one, by_batch = (MarketShard(0, 1, SCHEMA_IDS, MarketLimits()) for _ in range(2))
        for offset, frame in enumerate(random_frames(rng, 80)):
            by_one.apply(1, frame, 0, offset, 0)
            by_one.flush()
            by_batch.apply(1, frame, 0, offset, 0)
            if rng.random() < 0.2:
                by_batch.flush()
        by_batch.flush()
        every_state = [nbbo.decode(v) for v in by_one.outbox.nbbo.values]
        conflated = [nbbo.decode(v) for v in by_batch.outbox.nbbo.values]
        assert len(conflated) < len(every_state)
        before = 0
        for record in conflated:
            part = [state for state in every_state if before < state.sequence <= record.sequence and state.trade_count]
            high = max((state.trade_high for state in part if state.trade_high is not None), default=None)
            low = min((state.trade_low for state in part if state.trade_low is not None), default=None)
            count, total = sum(s.trade_count or 0 for s in part), sum(s.trade_price_sum or 0 for s in part)
            assert trades_of(record) == (high, low, count or None, total or None), f"seed {seed} {record.event_id}"
            # A state that came back to what was published before is not published again one by one.
            for state in every_state:
                if state.sequence == record.sequence:
                    told = nbbo.to_dict(state) | {
                        key: value for key, value in nbbo.to_dict(record).items() if "trade" in key
                    }
                    assert told == nbbo.to_dict(record), f"seed {seed} {record.event_id}"
            before = record.sequence
        assert by_one.outbox.market_data.values == by_batch.outbox.market_data.values
        assert by_one.snapshot() == by_batch.snapshot()


def test_snapshot_at_a_random_cut_continues_with_identical_output() -> None:
    for seed in range(60):
        rng = random.Random(seed)
        whole, cut = (MarketShard(0, 1, SCHEMA_IDS, MarketLimits()) for _ in range(2))
        at = rng.randint(0, 59)
        for sequence, frame in enumerate(random_frames(rng, 60, feeds=3), start=1):
            if sequence == at:
                saved = cut.snapshot()
                # What was published before the cut is the uninterrupted run's too.
                before = [list(lane.values) for lane in cut.outbox.lanes()]
                cut = MarketShard(0, 1, SCHEMA_IDS, MarketLimits())
                cut.restore(saved)
                assert cut.snapshot() == saved
                for lane, values in zip(cut.outbox.lanes(), before, strict=True):
                    lane.values.extend(values)
            for shard in (whole, cut):
                shard.apply(1, frame, 0, sequence, sequence)
                shard.flush()
        for left, right in zip(whole.outbox.lanes(), cut.outbox.lanes(), strict=True):
            assert left.values == right.values, f"seed {seed} cut {at} {left.topic}"


@pytest.mark.parametrize("day", ["20131007", "20131008"])
def test_nbbo_on_real_ticks_equals_the_best_quotes_of_the_file(day: str) -> None:
    """The file is itself a record of the national best quotes: a bid line and an ask line for each change."""
    if not TICKS.is_dir():
        pytest.skip(f"no real ticks at {TICKS}")
    with zipfile.ZipFile(TICKS / f"{day}_quote.zip") as archive:
        lines = archive.read(archive.namelist()[0]).splitlines()[:LINES]
    shard = MarketShard(0, 1, SCHEMA_IDS, MarketLimits())
    latest: nbbo.Nbbo | None = None
    pairs = 0
    previous: list[bytes] | None = None
    for sequence, line in enumerate(lines, start=1):
        frame = raw_feed.encode_fields(1, "lean", enums.FEED_FORMAT_LEAN_QUOTE, day, sequence, "IBM", 0, line)
        shard.apply(1, frame, 0, sequence, 0)
        shard.flush()
        if shard.outbox.nbbo.values:
            latest = nbbo.decode(shard.outbox.nbbo.values[-1])
            shard.outbox.clear()
        fields = line.split(b",")
        is_pair = previous is not None and previous[0] == fields[0] and previous[1] != b"0" and fields[3] != b"0"
        if is_pair and previous is not None and latest is not None and fields[6:] == previous[6:] == [b"1", b"0"]:
            pairs += 1
            bid = (int(previous[1]), int(previous[2]), EXCHANGES[previous[5]])
            ask = (int(fields[3]), int(fields[4]), EXCHANGES[fields[5]])
            found = (
                (latest.bid_price, latest.bid_size, latest.bid_exchange),
                (latest.ask_price, latest.ask_size, latest.ask_exchange),
            )
            assert found == (bid, ask), f"line {sequence} {line!r}"
        previous = fields
    assert shard.counters.quotes == len(lines)
    assert shard.counters.refused == 0
    assert pairs > 20_000
