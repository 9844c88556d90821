"""Books of exchanges: quotes by round lots, depth, what makes a book unusable, halts, several markets."""

from datetime import date

import pytest

from infra.feeds import itch_writer as itch
from infra.feeds.itch_market import ItchMarket
from infra.feeds.itch_router import route_all
from schemas.messages import raw_feed
from schemas.messages.enums import CONTROL_KIND_HALT, CONTROL_KIND_UNHALT, CONTROL_SCOPE_SYMBOL
from tests.unit.feed_bench import BASE, OPEN, FeedBench
from udfs.domain.normalise import MarketLimits

DIRECTORY = itch.stock_directory(7, OPEN, "AAPL", 100)
WIDE = MarketLimits(max_spread_bps=20_000)


def add(order: int, side: bytes, shares: int, price: int, time_ns: int = OPEN) -> bytes:
    return itch.order_added(7, time_ns, order, side, shares, "AAPL", price)


def quotes(bench: FeedBench) -> list[tuple[int | None, int, int | None, int]]:
    return [(e.bid_price, e.bid_size, e.ask_price, e.ask_size) for e in bench.events() if e.event_id.endswith("-q")]


ROLL_UPS = [
    # round lot, bids (price, shares), quote
    (100, [(1_000_000, 100)], (1_000_000, 100)),
    (100, [(1_000_000, 99)], (None, 0)),
    (100, [(1_000_000, 250)], (1_000_000, 200)),
    (100, [(1_000_000, 60), (1_000_000, 60)], (1_000_000, 100)),
    (100, [(1_000_200, 40), (1_000_100, 30), (1_000_000, 50)], (1_000_000, 100)),
    (100, [(1_000_200, 40), (1_000_000, 500)], (1_000_000, 500)),
    (40, [(1_000_200, 39), (1_000_000, 1)], (1_000_000, 40)),
    (1, [(1_000_200, 3), (1_000_000, 500)], (1_000_200, 3)),
]


@pytest.mark.parametrize(("lot", "bids", "expected"), ROLL_UPS)
def test_quote_is_where_the_orders_make_a_round_lot(
    lot: int, bids: list[tuple[int, int]], expected: tuple[int | None, int]
) -> None:
    bench = FeedBench()
    bench.itch(itch.stock_directory(7, OPEN, "AAPL", lot))
    bench.itch(*(add(number, b"B", shares, price) for number, (price, shares) in enumerate(bids, start=1)))
    best = bench.nbbo()
    found = (best.bid_price, best.bid_size) if best else (None, 0)
    assert found == expected
    # The same orders on the other side, prices mirrored.
    bench = FeedBench()
    bench.itch(itch.stock_directory(7, OPEN, "AAPL", lot))
    asks = ((number, 3_000_000 - price, shares) for number, (price, shares) in enumerate(bids, start=1))
    bench.itch(*(add(number, b"S", shares, price) for number, price, shares in asks))
    best = bench.nbbo()
    found = (best.ask_price, best.ask_size) if best else (None, 0)
    assert found == (None if expected[0] is None else 3_000_000 - expected[0], expected[1])


def test_book_changes_are_quotes_only_when_they_change_the_quote() -> None:
    bench = FeedBench()
    bench.itch(DIRECTORY, add(1, b"B", 300, 1_000_000), add(2, b"B", 100, 999_900), add(3, b"S", 100, 1_000_100))
    bench.itch(itch.order_reduced(7, OPEN, 1, 50), itch.order_reduced(7, OPEN, 1, 100))
    bench.itch(itch.order_replaced(7, OPEN, 1, 4, 100, 999_800), itch.order_deleted(7, OPEN, 2))
    assert quotes(bench) == [
        (1_000_000, 300, None, 0),
        (1_000_000, 300, 1_000_100, 100),
        (1_000_000, 200, 1_000_100, 100),
        (1_000_000, 100, 1_000_100, 100),
        (999_900, 100, 1_000_100, 100),
        (999_800, 100, 1_000_100, 100),
    ]
    assert (bench.counted("orders"), bench.counted("other"), bench.letters()) == (7, 1, [])
    depth = bench.depth()
    assert depth is not None
    assert [(level.price, level.quantity, level.order_count) for level in depth.bids] == [(999_800, 100, 1)]
    assert (depth.venue, depth.symbol, depth.event_id, depth.sequence) == ("XNAS", "AAPL", "XNAS-AAPL-8", 8)


def test_executions_are_trades_at_the_orders_price_and_hidden_ones_are_not() -> None:
    bench = FeedBench()
    bench.itch(DIRECTORY, add(1, b"S", 500, 1_000_100))
    bench.itch(itch.order_executed(7, OPEN, 1, 100, 11), itch.order_executed_at(7, OPEN, 1, 100, 12, 1_000_050))
    bench.itch(itch.order_executed_at(7, OPEN, 1, 100, 13, 1_000_000, printable=False))
    bench.itch(itch.trade(7, OPEN, 50, "AAPL", 1_000_000, 14), itch.cross(7, OPEN, 900, "AAPL", 999_900, 15, b"O"))
    trades = [event for event in bench.events() if event.last_price is not None]
    assert [(t.last_price, t.volume, t.trade_id, t.eligible, t.sale_condition) for t in trades] == [
        (1_000_100, 100, "11", True, None),
        (1_000_050, 100, "12", True, None),
        (1_000_000, 50, "14", False, None),
        (999_900, 900, "15", True, "O"),
    ]
    best = bench.nbbo()
    assert best is not None
    assert (best.last_price, best.trade_count, best.trade_high, best.trade_low) == (999_900, 3, 1_000_100, 999_900)
    assert (best.ask_price, best.ask_size) == (1_000_100, 200)
    assert (bench.counted("trades"), bench.counted("orders")) == (4, 2)


def test_broken_trade_takes_the_last_price_back() -> None:
    bench = FeedBench()
    bench.itch(DIRECTORY, itch.trade(7, OPEN, 100, "AAPL", 1_000_000, 1))
    bench.itch(itch.trade(7, OPEN + 1, 200, "AAPL", 2_000_000, 2), itch.broken_trade(7, OPEN + 2, 2))
    cancel = bench.events()[-1]
    assert bench.kinds() == ["TRADE", "TRADE", "CANCEL"]
    assert (cancel.event_id, cancel.original_event_id, cancel.trade_id) == ("itch/AAPL-4", "itch/AAPL-3", "2")
    assert (cancel.original_price, cancel.original_volume, cancel.original_eligible) == (2_000_000, 200, True)
    assert (cancel.original_timestamp, cancel.timestamp) == (BASE + OPEN + 1, BASE + OPEN + 2)
    assert (cancel.last_price, cancel.volume, cancel.eligible) == (None, 0, None)
    best = bench.nbbo()
    assert best is not None and (best.last_price, best.trade_count) == (1_000_000, 2)
    bench.itch(itch.broken_trade(7, OPEN + 3, 2))
    assert bench.letters()[0][0] == "LATE"
    assert (bench.counted("cancels"), bench.counted("refused")) == (1, 1)


def test_lost_message_ends_the_belief_in_the_book_until_a_new_feed() -> None:
    bench = FeedBench()
    bench.itch(DIRECTORY, add(1, b"B", 300, 1_000_000), add(2, b"S", 300, 1_000_100))
    assert bench.nbbo() is not None
    bench.itch(itch.order_reduced(7, OPEN, 1, 100), sequence=6)
    gap = bench.events()[-2]
    assert (bench.kinds()[-2:], gap.missing, gap.sequence) == (["GAP", "QUOTE"], 2, 6)
    assert quotes(bench)[-1] == (None, 0, None, 0)
    best, depth = bench.nbbo(), bench.depth()
    assert best is not None and (best.bid_price, best.ask_price, best.quotes) == (None, None, [])
    assert depth is not None and (depth.bids, depth.asks) == ([], [])
    # What follows is skipped, but for trades that say their price.
    bench.itch(add(9, b"B", 100, 1_000_000), itch.order_executed(7, OPEN, 2, 100, 1))
    bench.itch(itch.order_executed_at(7, OPEN, 2, 100, 2, 1_000_200), itch.trade(7, OPEN, 100, "AAPL", 1_000_300, 3))
    assert [event.last_price for event in bench.events() if event.last_price is not None] == [1_000_200, 1_000_300]
    assert (bench.counted("skipped"), bench.counted("books_lost"), bench.letters()) == (3, 1, [])
    # The source sends its book anew.
    bench.itch(DIRECTORY, add(1, b"B", 200, 1_000_000), feed="itch.2/AAPL")
    best = bench.nbbo()
    assert best is not None and (best.bid_price, best.bid_size) == (1_000_000, 200)
    # The feed before it no longer counts.
    bench.itch(add(77, b"B", 100, 1_000_050), sequence=20)
    assert bench.counted("skipped") == 4
    best = bench.nbbo()
    assert best is not None and best.bid_price == 1_000_000


def test_feed_that_is_joined_in_its_middle_has_no_book() -> None:
    bench = FeedBench()
    bench.itch(add(1, b"B", 300, 1_000_000), sequence=5)
    assert (bench.kinds(), bench.events()[0].missing) == (["GAP"], 4)
    assert (bench.counted("skipped"), bench.depth()) == (1, None)


BREAKS = [
    (itch.order_deleted(7, OPEN, 9), "order 9 is not in the book"),
    (itch.order_executed(7, OPEN, 1, 301, 5), "order 1 has 300 shares, not 301"),
    (itch.order_reduced(7, OPEN, 1, 301), "order 1 has 300 shares, not 301"),
    (add(1, b"B", 100, 1_000_000), "order 1 is in the book already"),
    (itch.order_replaced(7, OPEN, 1, 1, 100, 1_000_000), "order 1 is in the book already"),
    (itch.order_deleted(8, OPEN, 1), "locate 8 is not the symbol's, 7"),
    (add(2, b"B", 100, 1_000_000)[:-1], "its length in ITCH 5.0 is 36"),
]


@pytest.mark.parametrize(("message", "words"), BREAKS)
def test_message_that_contradicts_the_book_ends_the_belief_in_it(message: bytes, words: str) -> None:
    bench = FeedBench()
    bench.itch(DIRECTORY, add(1, b"B", 300, 1_000_000), message)
    assert words in bench.letters()[0][1]
    assert quotes(bench) == [(1_000_000, 300, None, 0), (None, 0, None, 0)]
    assert (bench.counted("books_lost"), bench.counted("refused")) == (1, 1)
    best = bench.nbbo()
    assert best is None or best.quotes == []
    # An NBBO that says so is newer than the one before.
    bench.itch(itch.trade(7, OPEN, 100, "AAPL", 1_000_000, 3))
    later = bench.nbbo()
    assert later is not None and (later.bid_price, later.last_price) == (None, 1_000_000)


def test_message_of_an_unknown_type_leaves_the_book_alone() -> None:
    bench = FeedBench()
    bench.itch(DIRECTORY, add(1, b"B", 300, 1_000_000), b"z" + bytes(30))
    assert (bench.letters()[0][0], bench.counted("books_lost")) == ("UNSUPPORTED", 0)


def test_duplicate_message_is_refused_and_leaves_the_book_alone() -> None:
    bench = FeedBench()
    bench.itch(DIRECTORY, add(1, b"B", 300, 1_000_000))
    bench.itch(add(1, b"B", 300, 1_000_000), sequence=2)
    bench.itch(itch.order_executed(7, OPEN, 1, 100, 5), sequence=3)
    assert [reason for reason, _ in bench.letters()] == ["DUPLICATE_EVENT"]
    best = bench.nbbo()
    assert best is not None and (best.bid_size, bench.counted("books_lost")) == (200, 0)


def test_crossed_book_shows_no_quote_but_its_depth() -> None:
    bench = FeedBench()
    bench.itch(DIRECTORY, add(1, b"B", 300, 1_000_000), add(2, b"S", 100, 1_000_000))
    assert quotes(bench) == [(1_000_000, 300, None, 0), (None, 0, None, 0)]
    depth = bench.depth()
    assert depth is not None and (len(depth.bids), len(depth.asks)) == (1, 1)
    bench.itch(itch.order_deleted(7, OPEN, 1))
    assert quotes(bench)[-1] == (None, 0, 1_000_000, 100)


def test_halt_is_a_control_and_takes_the_quote_away() -> None:
    bench = FeedBench()
    bench.itch(DIRECTORY, itch.trading_action(7, OPEN, "AAPL", b"T"), add(1, b"B", 300, 1_000_000))
    bench.itch(itch.trading_action(7, OPEN + 1, "AAPL", b"H", "T1"))
    bench.itch(itch.trading_action(7, OPEN + 2, "AAPL", b"Q", "T3"), add(2, b"B", 300, 1_000_100, OPEN + 3))
    assert quotes(bench) == [(1_000_000, 300, None, 0), (None, 0, None, 0)]
    bench.itch(itch.trading_action(7, OPEN + 4, "AAPL", b"T"))
    assert quotes(bench)[-1] == (1_000_100, 300, None, 0)
    halt, release = bench.controls()
    assert (halt.kind, halt.scope, halt.target) == (CONTROL_KIND_HALT, CONTROL_SCOPE_SYMBOL, "AAPL")
    assert (halt.control_id, halt.issued_by) == (f"HALT-AAPL-{BASE + OPEN + 1}", "itch/AAPL")
    assert (halt.reason, halt.timestamp) == ("halted T1", BASE + OPEN + 1)
    assert (release.kind, release.control_id) == (CONTROL_KIND_UNHALT, f"UNHALT-AAPL-{BASE + OPEN + 4}")
    assert bench.shard.outbox.controls.keys == [b"AAPL", b"AAPL"]


def test_slower_source_does_not_tell_a_halt_again() -> None:
    bench = FeedBench()
    bench.itch(DIRECTORY, itch.trading_action(7, OPEN + 1, "AAPL", b"H", "T1"))
    bench.json(type="halt", exchange=..., time=BASE + OPEN + 1, reason="T1")
    bench.itch(itch.trading_action(7, OPEN + 9, "AAPL", b"T"))
    bench.json(type="halt", exchange=..., time=BASE + OPEN + 5)
    bench.json(type="resume", exchange=..., time=BASE + OPEN + 9)
    assert [control.kind for control in bench.controls()] == [CONTROL_KIND_HALT, CONTROL_KIND_UNHALT]
    bench.json(type="halt", exchange=..., time=BASE + OPEN + 20, reason="LUDP")
    assert (len(bench.controls()), bench.controls()[-1].reason) == (3, "halt LUDP")


def test_operational_halt_takes_one_market_away_and_is_no_control() -> None:
    bench = FeedBench()
    for source, feed in (("itch", "n"), ("itch-bx", "b")):
        bench.itch(DIRECTORY, add(1, b"B", 300, 1_000_000), feed=feed, source=source)
    bench.itch(itch.operational_halt(7, OPEN, "AAPL", b"Q", b"H"), feed="n")
    best = bench.nbbo()
    assert best is not None and [quote.exchange for quote in best.quotes] == ["XBOS"]
    bench.itch(itch.operational_halt(7, OPEN, "AAPL", b"Q", b"T"), feed="n")
    best = bench.nbbo()
    assert best is not None and [quote.exchange for quote in best.quotes] == ["XBOS", "XNAS"]
    assert bench.controls() == []


def test_best_of_books_and_quotes_is_the_nbbo_and_a_book_knows_its_exchange_best() -> None:
    bench = FeedBench(WIDE)
    bench.itch(DIRECTORY, add(1, b"B", 300, 1_000_000), add(2, b"S", 300, 1_000_300))
    bench.json(type="quote", exchange="N", bid="100.01", bidSize=200, ask="100.02", askSize=400)
    bench.json(type="quote", exchange="Q", bid="100.05", bidSize=200)
    best = bench.nbbo()
    assert best is not None
    assert (best.bid_price, best.bid_size, best.bid_exchange) == (1_000_100, 200, "XNYS")
    assert (best.ask_price, best.ask_size, best.ask_exchange) == (1_000_200, 400, "XNYS")
    assert [(quote.exchange, quote.bid_price) for quote in best.quotes] == [("XNAS", 1_000_000), ("XNYS", 1_000_100)]


def test_depth_is_the_best_prices_once_a_batch_and_only_when_they_changed() -> None:
    bench = FeedBench(MarketLimits(depth_levels=3))
    bench.itch(DIRECTORY, *(add(n, b"B", 100, 1_000_000 - 100 * n) for n in range(1, 6)))
    depth = bench.depth()
    assert depth is not None and [level.price for level in depth.bids] == [999_900, 999_800, 999_700]
    assert bench.counted("depth") == 1
    bench.itch(add(10, b"B", 100, 999_500), itch.order_reduced(7, OPEN, 4, 50))
    bench.depth()
    assert bench.counted("depth") == 1
    bench.itch(itch.order_deleted(7, OPEN, 2))
    depth = bench.depth()
    assert depth is not None and [level.price for level in depth.bids] == [999_900, 999_700, 999_600]
    assert bench.counted("depth") == 2


def test_feed_with_a_book_keeps_its_place_among_many() -> None:
    bench = FeedBench()
    bench.itch(DIRECTORY, add(1, b"B", 300, 1_000_000))
    for number in range(20):
        bench.json(type="quote", exchange="N", bid="99", bidSize=100, feed=f"vendor/{number}")
    bench.itch(itch.order_executed(7, OPEN, 1, 100, 5))
    assert (bench.counted("gaps"), bench.counted("skipped"), bench.counted("trades")) == (0, 0, 1)


def test_trade_of_an_earlier_session_of_the_source_can_still_be_broken() -> None:
    bench = FeedBench()
    bench.itch(DIRECTORY, itch.trade(7, OPEN, 100, "AAPL", 1_000_000, 1))
    bench.itch(DIRECTORY, itch.broken_trade(7, OPEN, 1), feed="itch.2/AAPL")
    assert bench.events()[-1].original_event_id == "itch/AAPL-2"


def test_trades_beyond_those_kept_cannot_be_broken() -> None:
    bench = FeedBench(MarketLimits(trades_kept=2))
    bench.itch(DIRECTORY, *(itch.trade(7, OPEN, 100, "AAPL", 1_000_000, match) for match in (1, 2, 3)))
    bench.itch(itch.broken_trade(7, OPEN, 1), itch.broken_trade(7, OPEN, 2))
    assert (bench.counted("cancels"), [reason for reason, _ in bench.letters()]) == (1, ["LATE"])


def test_messages_of_the_whole_market_are_counted_and_nothing_else() -> None:
    bench = FeedBench()
    for step in ItchMarket([], seed=1).steps(0):
        bench.itch(step.message, symbol="*", feed="itch/*")
    bench.itch(itch.breaker_status(OPEN, b"1"), symbol="*", feed="itch/*")
    assert (bench.counted("other"), bench.events(), bench.letters(), bench.nbbo()) == (2, [], [], None)


def test_simulated_nasdaq_is_taken_whole() -> None:
    bench = FeedBench()
    steps = list(ItchMarket(["AAPL", "MSFT", "ABC+"], seed=5).steps(500))
    for tick in route_all((step.message for step in steps), date(2026, 1, 5)):
        bench.shard.apply(7, raw_feed.encode(tick.record, 11), 0, 0, 0)
    assert bench.letters() == []
    assert {event.symbol for event in bench.events()} == {"AAPL", "MSFT", "ABC.WS"}
