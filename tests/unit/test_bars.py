"""Bars in event time: by the case, and on random trades against bars made from the whole list of trades."""

from __future__ import annotations

from fractions import Fraction
from random import Random
from typing import Final

import pytest

from udfs.domain.bar_ladder import BarLadder
from udfs.domain.bars import (
    HOUR_NS,
    LATE,
    LENGTHS_NS,
    MINUTE_NS,
    REVISED,
    SECOND_NS,
    TAKEN,
    TRADES_VERSION,
    Bar,
    BarBuilder,
)
from udfs.domain.state_codec import StateReader, StateWriter

Trade = tuple[int, int, int]
# Start and end, open, high, low, close, volume, turnover, trades, first and last time.
Facts = tuple[int, ...]
# 2013-10-07 13:30:00 UTC: half past nine in New York.
OPENING: Final = 1_381_152_600 * SECOND_NS


def facts(bar: Bar) -> Facts:
    """What a bar says, without its revision."""
    prices = (bar.open_e4, bar.high_e4, bar.low_e4, bar.close_e4)
    return (
        *(bar.start_ns, bar.end_ns, *prices, bar.volume, bar.turnover_e4, bar.trades),
        *(bar.first_ns, bar.last_ns),
    )


def bar_of(trades: list[Trade], length_ns: int) -> Facts:
    """The bar of trades, in the order of their coming, by its definition."""
    start = trades[0][2] // length_ns * length_ns
    in_time = sorted(trades, key=lambda trade: trade[2])
    prices = [price for price, _, _ in in_time]
    return (
        *(start, start + length_ns, prices[0], max(prices), min(prices), prices[-1]),
        *(sum(volume for _, volume, _ in trades), sum(price * volume for price, volume, _ in trades), len(trades)),
        *(in_time[0][2], in_time[-1][2]),
    )


def seconds(builder: BarBuilder, *trades: tuple[int, float]) -> list[int]:
    """Trades of one share each, as (price, seconds); what became of each."""
    return [builder.add(price, 1, int(at * SECOND_NS)) for price, at in trades]


def closed(builder: BarBuilder | BarLadder) -> list[tuple[float, int, int]]:
    """(start in seconds, close, revision) of the bars that are given."""
    return [(bar.start_ns / SECOND_NS, bar.close_e4, bar.revision) for bar in builder.take()]


# ---------------------------------------------------------------------------------------------------------- by the case


def test_bar_has_its_figures_exactly() -> None:
    builder = BarBuilder(MINUTE_NS)
    for price, volume, at in ((1_912_500, 300, 0), (1_913_001, 17, 1), (1_911_999, 10**9, 2), (1_912_700, 0, 59)):
        assert builder.add(price, volume, OPENING + at * SECOND_NS) == TAKEN
    builder.finish()
    (bar,) = builder.take()

    assert facts(bar) == (
        *(OPENING, OPENING + MINUTE_NS, 1_912_500, 1_913_001, 1_911_999, 1_912_700, 10**9 + 317),
        *(1_912_500 * 300 + 1_913_001 * 17 + 1_911_999 * 10**9, 4, OPENING, OPENING + 59 * SECOND_NS),
    )
    assert bar.revision == 0


@pytest.mark.parametrize("length_ns", LENGTHS_NS)
def test_bar_begins_at_a_multiple_of_its_length_and_ends_before_the_next(length_ns: int) -> None:
    builder = BarBuilder(length_ns)
    start = OPENING // length_ns * length_ns
    for time_ns in (start, start + length_ns - 1, start + length_ns):
        builder.add(1, 1, time_ns)
    builder.finish()

    assert [(bar.start_ns, bar.end_ns, bar.trades) for bar in builder.take()] == [
        (start, start + length_ns, 2),
        (start + length_ns, start + 2 * length_ns, 1),
    ]


def test_hour_of_the_opening_begins_half_an_hour_before_it() -> None:
    builder = BarBuilder(HOUR_NS)
    builder.add(1, 1, OPENING)
    builder.finish()

    assert builder.take()[0].start_ns == OPENING - 30 * MINUTE_NS


def test_times_before_the_epoch_have_bars_too() -> None:
    builder = BarBuilder(MINUTE_NS)
    builder.add(1, 1, -1)
    builder.finish()

    assert builder.take()[0].start_ns == -MINUTE_NS


def test_bar_is_given_when_the_watermark_has_passed_its_end_and_windows_without_trades_are_not() -> None:
    builder = BarBuilder(MINUTE_NS, out_of_order_ns=5 * SECOND_NS)

    seconds(builder, (10, 3), (11, 60), (12, 64.9))
    assert closed(builder) == []
    seconds(builder, (13, 65))
    assert closed(builder) == [(0, 10, 0)]
    seconds(builder, (14, 600))
    assert closed(builder) == [(60, 13, 0)]
    builder.finish()
    assert closed(builder) == [(600, 14, 0)]


def test_trades_out_of_order_find_their_place() -> None:
    builder = BarBuilder(MINUTE_NS, out_of_order_ns=30 * SECOND_NS)

    assert seconds(builder, (10, 30), (11, 70), (12, 50), (9, 20), (13, 61), (8, 41)) == [TAKEN] * 6
    builder.finish()
    first, second = builder.take()
    assert (first.open_e4, first.close_e4, first.trades) == (9, 12, 4)
    assert (second.open_e4, second.close_e4, second.trades) == (13, 11, 2)


def test_of_trades_at_one_time_the_first_opens_and_the_last_closes() -> None:
    builder = BarBuilder(MINUTE_NS)
    seconds(builder, (10, 5), (11, 5), (12, 5))
    builder.finish()
    (bar,) = builder.take()

    assert (bar.open_e4, bar.close_e4) == (10, 12)


def test_late_trade_revises_its_bar_until_it_is_too_late() -> None:
    builder = BarBuilder(MINUTE_NS, out_of_order_ns=5 * SECOND_NS, lateness_ns=20 * SECOND_NS)
    seconds(builder, (10, 30), (11, 65))
    assert closed(builder) == [(0, 10, 0)]

    assert seconds(builder, (12, 40)) == [REVISED]
    assert closed(builder) == [(0, 12, 1)]
    assert seconds(builder, (13, 84.9), (14, 50), (15, 35)) == [TAKEN, REVISED, REVISED]
    assert closed(builder) == [(0, 14, 2), (0, 14, 3)]
    # The watermark is now 80: the bar's end and the lateness.
    assert seconds(builder, (16, 85), (17, 55)) == [TAKEN, LATE]
    assert builder.late == 1
    builder.finish()
    assert closed(builder) == [(60, 16, 0)]


def test_late_trade_of_a_window_that_had_none_makes_its_first_bar() -> None:
    builder = BarBuilder(MINUTE_NS, lateness_ns=2 * MINUTE_NS)
    seconds(builder, (10, 30), (11, 130))
    assert closed(builder) == [(0, 10, 0)]

    assert seconds(builder, (12, 90), (13, 100)) == [REVISED, REVISED]
    assert closed(builder) == [(60, 12, 0), (60, 13, 1)]


def test_bar_that_was_given_does_not_change_with_its_revision() -> None:
    builder = BarBuilder(MINUTE_NS, lateness_ns=MINUTE_NS)
    seconds(builder, (10, 30), (11, 60))
    (first,) = builder.take()
    seconds(builder, (12, 40))

    assert (first.close_e4, first.trades, first.revision) == (10, 1, 0)


def test_time_from_elsewhere_gives_bars_and_makes_trades_late() -> None:
    builder = BarBuilder(MINUTE_NS, out_of_order_ns=5 * SECOND_NS)
    seconds(builder, (10, 30))

    builder.advance(64 * SECOND_NS)
    assert closed(builder) == []
    builder.advance(65 * SECOND_NS)
    builder.advance(3 * SECOND_NS)
    assert closed(builder) == [(0, 10, 0)]
    assert builder.watermark_ns() == 60 * SECOND_NS
    assert seconds(builder, (11, 59), (12, 60)) == [LATE, TAKEN]


def test_trade_that_is_late_for_a_longer_bar_too_is_in_none() -> None:
    ladder = BarLadder([SECOND_NS, MINUTE_NS, HOUR_NS])

    assert ladder.add(10, 1, 600 * SECOND_NS) == TAKEN
    assert ladder.add(11, 1, 30 * SECOND_NS) == LATE
    assert ladder.add(12, 1, 599 * SECOND_NS) == LATE
    ladder.finish()
    # Only the hour was still open to them.
    assert [(bar.start_ns // SECOND_NS, bar.end_ns // SECOND_NS, bar.trades) for bar in ladder.take()] == [
        (600, 601, 1),
        (600, 660, 1),
        (0, 3_600, 3),
    ]


def test_memory_holds_only_what_can_still_change() -> None:
    builder = BarBuilder(SECOND_NS, out_of_order_ns=2 * SECOND_NS, lateness_ns=3 * SECOND_NS)
    for at in range(1_000):
        builder.add(1, 1, at * SECOND_NS)
        out = StateWriter()
        builder.take()
        builder.write(out)
        reader = StateReader(out.finish(1, 1), 1, 1)
        assert [reader.take() for _ in range(4)][3] <= 7


@pytest.mark.parametrize(("turnover", "volume"), [(5, 2), (7, 2), (10, 4), (-5, 2), (-7, 2), (7, 3), (8, 3), (9, 3)])
def test_vwap_is_rounded_half_to_even(turnover: int, volume: int) -> None:
    bar = Bar(0, 1)
    bar.volume, bar.turnover_e4 = volume, turnover

    assert bar.vwap_e4() == round(Fraction(turnover, volume))


def test_vwap_without_volume_is_none() -> None:
    builder = BarBuilder(MINUTE_NS)
    builder.add(10, 0, 0)
    builder.finish()

    assert builder.take()[0].vwap_e4() is None


def test_settings_that_make_no_sense_are_refused() -> None:
    for length_ns, out_of_order_ns, lateness_ns in ((0, 0, 0), (1, -1, 0), (1, 0, -1)):
        with pytest.raises(ValueError):
            BarBuilder(length_ns, out_of_order_ns, lateness_ns)
    with pytest.raises(ValueError, match="do not make"):
        BarLadder([2, 3])


def test_bar_across_the_border_of_a_longer_one_is_refused() -> None:
    bar = Bar(50 * SECOND_NS, 70 * SECOND_NS)
    bar.add(1, 1, 55 * SECOND_NS)

    with pytest.raises(ValueError, match="does not lie within"):
        BarBuilder(MINUTE_NS).add_bar(bar)


# ------------------------------------------------------------------------------------------------------ random trades


def random_trades(random: Random, count: int, disorder_ns: int) -> list[Trade]:
    """Trades with ties and gaps; most come about `disorder_ns` out of order, a few much later."""
    time_ns = OPENING
    trades: list[Trade] = []
    keys: list[int] = []
    for _ in range(count):
        time_ns += random.choice([0, 1, 10**6, 10**8, 3 * 10**8, random.choice([10**9, 10**10, 4 * 10**11])])
        trades.append((1_900_000 + random.randrange(-300, 300), random.choice([0, 1, 100, 12_345]), time_ns))
        delay = random.randrange(disorder_ns + 1) if random.random() < 0.9 else random.randrange(8 * disorder_ns + 1)
        keys.append(time_ns + delay)
    return [trades[at] for at in sorted(range(count), key=lambda at: keys[at])]


def reference(trades: list[Trade], length_ns: int, out_of_order_ns: int, lateness_ns: int) -> list[tuple[Facts, int]]:
    """Bars with revisions, in the order in which they are given: everything is looked up in the list of trades."""
    given: list[tuple[Facts, int]] = []
    revisions: dict[int, int] = {}
    taken: list[Trade] = []

    def give(start: int) -> None:
        revisions[start] = revisions.get(start, -1) + 1
        own = [trade for trade in taken if trade[2] // length_ns * length_ns == start]
        given.append((bar_of(own, length_ns), revisions[start]))

    highest = -(2**62)
    for trade in [*trades, None]:
        if trade is not None:
            start = trade[2] // length_ns * length_ns
            if start + length_ns + lateness_ns <= highest - out_of_order_ns:
                continue
            taken.append(trade)
            if start + length_ns <= highest - out_of_order_ns:
                give(start)
            highest = max(highest, trade[2])
        else:
            highest = 2**62
        starts = {known[2] // length_ns * length_ns for known in taken}
        for start in sorted(starts - set(revisions)):
            if start + length_ns <= highest - out_of_order_ns:
                give(start)
    return given


@pytest.mark.parametrize("seed", range(20))
def test_bars_are_those_of_the_list_of_trades(seed: int) -> None:
    random = Random(seed)
    length_ns = random.choice([SECOND_NS, MINUTE_NS, 5 * MINUTE_NS])
    disorder_ns = random.choice([0, SECOND_NS, MINUTE_NS])
    lateness_ns = random.choice([0, 2 * SECOND_NS, 3 * MINUTE_NS])
    trades = random_trades(random, 250, disorder_ns)
    builder = BarBuilder(length_ns, disorder_ns, lateness_ns)
    given: list[Bar] = []
    for trade in trades:
        builder.add(*trade)
        given += builder.take()
    builder.finish()
    given += builder.take()

    wanted = reference(trades, length_ns, disorder_ns, lateness_ns)
    assert [(facts(bar), bar.revision) for bar in given] == wanted, f"seed {seed}"


@pytest.mark.parametrize("seed", range(10))
def test_any_order_of_coming_within_bounds_gives_the_same_last_bars(seed: int) -> None:
    random = Random(100 + seed)
    trades = random_trades(random, 300, 0)
    # No two at one time, where the order of coming does count.
    trades = [(price, volume, time_ns + at) for at, (price, volume, time_ns) in enumerate(trades)]
    last: list[dict[int, Facts]] = []
    for spread_ns, lateness_ns in ((0, 0), (30 * SECOND_NS, 0), (90 * SECOND_NS, 90 * SECOND_NS)):
        coming = sorted(trades, key=lambda trade: trade[2] + random.randrange(spread_ns + 1))
        builder = BarBuilder(MINUTE_NS, max(0, spread_ns - lateness_ns), lateness_ns)
        for trade in coming:
            assert builder.add(*trade) != LATE
        builder.finish()
        last.append({bar.start_ns: facts(bar) for bar in builder.take()})

    assert last[0] == last[1] == last[2]


@pytest.mark.parametrize("seed", range(20))
def test_longer_bars_put_together_are_those_built_from_trades(seed: int) -> None:
    random = Random(200 + seed)
    disorder_ns = random.choice([0, 2 * SECOND_NS, MINUTE_NS])
    lateness_ns = random.choice([0, 5 * SECOND_NS, 10 * MINUTE_NS])
    trades = random_trades(random, 400, disorder_ns)
    ladder = BarLadder(list(LENGTHS_NS), disorder_ns, lateness_ns)
    builders = {length_ns: BarBuilder(length_ns, disorder_ns, lateness_ns) for length_ns in LENGTHS_NS}
    found: dict[int, list[tuple[Facts, int]]] = {length_ns: [] for length_ns in LENGTHS_NS}

    def collect() -> None:
        for bar in ladder.take():
            found[bar.end_ns - bar.start_ns].append((facts(bar), bar.revision))

    for at, trade in enumerate(trades):
        assert ladder.add(*trade) == builders[SECOND_NS].add(*trade)
        for length_ns in LENGTHS_NS[1:]:
            builders[length_ns].add(*trade)
        if at % 50 == 0:
            elsewhere = trade[2] + random.randrange(10 * SECOND_NS)
            ladder.advance(elsewhere)
            for builder in builders.values():
                builder.advance(elsewhere)
        if at % 7 == 0:
            collect()
            # Nothing is given later than by a builder of its own.
            given = {length_ns: len(builder.ready) for length_ns, builder in builders.items()}
            assert {length_ns: len(bars) for length_ns, bars in found.items()} == given
        if at % 31 == 0:
            ladder = restored_ladder(ladder, disorder_ns, lateness_ns)
    ladder.finish()
    collect()

    for length_ns, builder in builders.items():
        builder.finish()
        wanted = [(facts(bar), bar.revision) for bar in builder.take()]
        assert found[length_ns] == wanted, f"seed {seed}, bars of {length_ns} ns"


def restored_ladder(ladder: BarLadder, disorder_ns: int, lateness_ns: int) -> BarLadder:
    """A new ladder that goes on from a snapshot of another, whose bars were not all taken."""
    out = StateWriter()
    ladder.write(out)
    reader = StateReader(out.finish(TRADES_VERSION, 9), 9, TRADES_VERSION)
    again = BarLadder(list(LENGTHS_NS), disorder_ns, lateness_ns)
    again.read(reader)
    reader.expect_end()
    return again


@pytest.mark.parametrize("seed", range(5))
def test_merged_bars_of_a_second_are_the_minute(seed: int) -> None:
    trades = random_trades(Random(300 + seed), 200, 0)
    second, minute, merged = (BarBuilder(SECOND_NS), BarBuilder(MINUTE_NS), BarBuilder(MINUTE_NS))
    for trade in trades:
        second.add(*trade)
        minute.add(*trade)
    for builder in (second, minute):
        builder.finish()
    for bar in second.take():
        assert merged.add_bar(bar) == TAKEN
    merged.finish()

    assert list(map(facts, merged.take())) == list(map(facts, minute.take()))


@pytest.mark.parametrize("seed", range(5))
def test_builder_goes_on_from_a_snapshot_as_if_nothing_had_been(seed: int) -> None:
    random = Random(400 + seed)
    trades = random_trades(random, 200, 5 * SECOND_NS)
    straight, crooked = (BarBuilder(MINUTE_NS, 5 * SECOND_NS, MINUTE_NS) for _ in range(2))
    for trade in trades:
        straight.add(*trade)
        crooked.add(*trade)
        if random.random() < 0.2:
            out = StateWriter()
            crooked.write(out)
            reader = StateReader(out.finish(TRADES_VERSION, 9), 9, TRADES_VERSION)
            crooked = BarBuilder(MINUTE_NS, 5 * SECOND_NS, MINUTE_NS)
            crooked.read(reader)
            reader.expect_end()

    assert [(facts(bar), bar.revision) for bar in crooked.take()] == [
        (facts(bar), bar.revision) for bar in straight.take()
    ]
    assert (crooked.late, crooked.watermark_ns()) == (straight.late, straight.watermark_ns())
