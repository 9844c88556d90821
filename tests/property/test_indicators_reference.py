"""Indicators against a plain recomputation from all bars, on random series; their drift; revisions and snapshots.

The recomputation follows the definitions in closed form, with exact sums over windows, and keeps nothing from bar to bar.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from random import Random
from typing import Final

import pytest

from udfs.domain.indicator_specs import IndicatorSet, parse_indicators
from udfs.domain.indicators import Ema, Rsi
from udfs.domain.rolling import RollingMoments, RollingSum, RunningSum
from udfs.domain.state_codec import StateReader, StateWriter
from udfs.domain.volatility import Atr
from udfs.domain.vwap import SessionVwap

Bar = tuple[float, float, float, float]
Column = list[float | None]

SPECS: Final = (
    "sma:1,sma:2,sma:9,ema:1,ema:9,rsi:1,rsi:2,rsi:9,macd:1:2:1,macd:3:8:5,macd:7:8:2,bbands:1:2,bbands:2:1.5,bbands:9:2,"
    "tr,atr:1,atr:9,vwap,vwap:1,vwap:9,rvol:2,rvol:9:390,relvol:1,relvol:9"
)
CLOSE: Final = 1e-9
UPDATES: Final = 1_000_000


# -------------------------------------------------------------------------------------------- plain recomputation


def windows(values: list[float], size: int, of: Callable[[list[float]], float | None]) -> Column:
    """A function of each full window."""
    return [None if end < size else of(values[end - size : end]) for end in range(1, len(values) + 1)]


def mean(values: list[float]) -> float:
    """The mean, with an exact sum."""
    return math.fsum(values) / len(values)


def deviation(values: list[float], less: int) -> float:
    """The deviation around the mean; divided by the count, less 0 or 1."""
    middle = Fraction(0) + sum(map(Fraction, values)) / len(values)
    square = sum((Fraction(value) - middle) ** 2 for value in values)
    return math.sqrt(square / (len(values) - less))


def faded(values: list[float], size: int, keep: float) -> Column:
    """The mean of the first `size`, and every later value weighed in: the closed form of EMA and of Wilder's mean."""
    column: Column = [None] * min(size - 1, len(values))
    for end in range(size, len(values) + 1):
        later = values[size:end]
        terms = [(1.0 - keep) * keep ** (len(later) - 1 - at) * value for at, value in enumerate(later)]
        column.append(math.fsum([keep ** len(later) * mean(values[:size]), *terms]))
    return column


def exponential(values: list[float], size: int) -> Column:
    return faded(values, size, 1.0 - 2.0 / (size + 1))


def after(count: int, column: Column) -> Column:
    """A column that begins so many bars later."""
    return [None] * count + column


def plain_rsi(prices: list[float], size: int) -> Column:
    changes = [late - early for early, late in itertools.pairwise(prices)]
    gains = faded([max(change, 0.0) for change in changes], size, 1.0 - 1.0 / size)
    losses = faded([max(-change, 0.0) for change in changes], size, 1.0 - 1.0 / size)
    column: Column = []
    for gain, loss in zip(gains, losses, strict=True):
        if gain is None or loss is None:
            column.append(None)
        else:
            column.append(100.0 * gain / (gain + loss) if gain + loss else 0.0)
    return after(1, column)


def plain_macd(prices: list[float], fast: int, slow: int, signal: int) -> list[Column]:
    slow_column = exponential(prices, slow)
    fast_column = after(slow - fast, exponential(prices[slow - fast :], fast))[: len(prices)]
    line = [None if a is None or b is None else a - b for a, b in zip(fast_column, slow_column, strict=True)]
    smooth = after(slow - 1, exponential([value for value in line if value is not None], signal))[: len(prices)]
    histogram = [None if b is None or a is None else a - b for a, b in zip(line, smooth, strict=True)]
    return [line, smooth, histogram]


def plain_ranges(bars: list[Bar]) -> list[float]:
    return [
        max(bar[0] - bar[1], abs(bar[0] - before[2]), abs(bar[1] - before[2]))
        for before, bar in itertools.pairwise(bars)
    ]


def plain_vwap(bars: list[Bar]) -> float | None:
    volume = sum(Fraction(bar[3]) for bar in bars)
    turnover = sum((Fraction(bar[0]) + Fraction(bar[1]) + Fraction(bar[2])) / 3 * Fraction(bar[3]) for bar in bars)
    return float(turnover / volume) if volume else None


def plain_session(bars: list[Bar], starts: list[bool]) -> Column:
    """VWAP since the last bar that starts a session."""
    begins = [max((at for at in range(end + 1) if starts[at]), default=0) for end in range(len(bars))]
    return [plain_vwap(bars[begin : end + 1]) for end, begin in enumerate(begins)]


def plain_volatility(prices: list[float], size: int, periods: float) -> Column:
    column: Column = []
    for end in range(len(prices)):
        used = prices[end - size : end + 1] if end >= size else []
        if not used or min(used) <= 0.0:
            column.append(None)
        else:
            returns = [math.log(late / early) for early, late in itertools.pairwise(used)]
            column.append(deviation(returns, 1) * math.sqrt(periods))
    return column


def plain_relative(volumes: list[float], size: int) -> Column:
    column: Column = []
    for at, volume in enumerate(volumes):
        usual = mean(volumes[at - size : at]) if at >= size else 0.0
        column.append(volume / usual if usual > 0.0 else None)
    return column


def plain(spec: str, bars: list[Bar], starts: list[bool]) -> list[Column]:
    """The columns of one indicator."""
    name, *parameters = spec.split(":")
    sizes = [int(float(parameter)) for parameter in parameters]
    prices = [bar[2] for bar in bars]
    if name == "sma":
        return [windows(prices, sizes[0], mean)]
    if name == "ema":
        return [exponential(prices, sizes[0])]
    if name == "rsi":
        return [plain_rsi(prices, sizes[0])]
    if name == "macd":
        return plain_macd(prices, *sizes)
    if name == "bbands":
        middle = windows(prices, sizes[0], mean)
        reach = windows(prices, sizes[0], lambda values: deviation(values, 0) * float(parameters[1]))
        both = list(zip(middle, reach, strict=True))
        upper = [None if a is None or b is None else a + b for a, b in both]
        lower = [None if a is None or b is None else a - b for a, b in both]
        return [upper, middle, lower]
    if name == "tr":
        return [after(1, list(plain_ranges(bars)))]
    if name == "atr":
        return [after(1, faded(plain_ranges(bars), sizes[0], 1.0 - 1.0 / sizes[0]))]
    if name == "rvol":
        return [plain_volatility(prices, sizes[0], float(parameters[1]) if len(parameters) > 1 else 252.0)]
    if name == "relvol":
        return [plain_relative([bar[3] for bar in bars], sizes[0])]
    if not sizes:
        return [plain_session(bars, starts)]
    ends = range(1, len(bars) + 1)
    return [[None if end < sizes[0] else plain_vwap(bars[end - sizes[0] : end]) for end in ends]]


# --------------------------------------------------------------------------------------------------------- random bars


def random_bars(random: Random, count: int) -> tuple[list[Bar], list[bool]]:
    """Bars of a random walk with still stretches, jumps and bars without volume, and where sessions start."""
    scale = random.choice([0.01, 1.0, 100.0, 70_000.0])
    price = scale * random.uniform(0.5, 2.0)
    bars: list[Bar] = []
    still = 0
    for _ in range(count):
        still = still - 1 if still > 0 else random.choice([0] * 30 + [15])
        if still == 0:
            step = random.choice([0.001, 0.001, 0.01, 0.3])
            price = max(scale * 0.01, price * (1.0 + random.gauss(0.0, step)))
        price = round(price, 4)
        reach = 0.0 if still else abs(random.gauss(0.0, scale * 0.01))
        volume = float(random.choice([0, 0, 1, 100, random.randrange(1_000_000)]))
        bars.append((price + reach * random.random(), price - reach * random.random(), price, volume))
    return bars, [random.random() < 0.05 for _ in range(count)]


def feed(indicators: IndicatorSet, bar: Bar, starts: bool) -> Column:
    """The next bar."""
    if starts:
        indicators.begin_session()
    return indicators.update_bar(*bar)


def same(found: float | None, wanted: float | None, scale: float) -> bool:
    """Whether a value is the one wanted, within rounding of numbers of that scale."""
    if found is None or wanted is None:
        return found is wanted
    return math.isclose(found, wanted, rel_tol=CLOSE, abs_tol=scale * 1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_every_value_is_that_of_a_plain_recomputation(seed: int) -> None:
    random = Random(seed)
    bars, starts = random_bars(random, random.choice([1, 5, 40, 120, 160]))
    indicators = IndicatorSet(parse_indicators(SPECS))
    rows = [feed(indicators, bar, start) for bar, start in zip(bars, starts, strict=True)]
    wanted = [column for spec in SPECS.split(",") for column in plain(spec, bars, starts)]
    scale = max(bar[0] for bar in bars)

    for at, name in enumerate(indicators.columns):
        for index, row in enumerate(rows):
            # Differences of averages cancel, and so do gains that have faded: measured against the prices there.
            size = 100.0 if name.startswith("rsi") else 1.0 if name.startswith("r") else scale
            assert same(row[at], wanted[at][index], size), (
                f"seed {seed}: {name}[{index}] is {row[at]!r}, recomputed {wanted[at][index]!r}"
            )


@pytest.mark.parametrize("seed", range(6))
def test_revisions_and_snapshots_change_no_bit(seed: int) -> None:
    random = Random(1_000 + seed)
    bars, starts = random_bars(random, 150)
    straight = IndicatorSet(parse_indicators(SPECS))
    crooked = IndicatorSet(parse_indicators(SPECS))
    for index, (bar, start) in enumerate(zip(bars, starts, strict=True)):
        wanted = feed(straight, bar, start)
        if random.random() < 0.5:
            wrong = random_bars(random, 1)[0][0]
            feed(crooked, wrong, start)
            for _ in range(random.randrange(3)):
                crooked.revise_bar(*random_bars(random, 1)[0][0])
            found = crooked.revise_bar(*bar)
        else:
            found = feed(crooked, bar, start)
        assert found == wanted, f"seed {seed}: differs at {index}"
        if random.random() < 0.3:
            crooked = restored(crooked)
            assert crooked.values() == wanted
            if random.random() < 0.5:
                # The first thing after a restart may be a revision.
                crooked.revise_bar(1.0, 1.0, 1.0, 1.0)
                assert crooked.revise_bar(*bar) == wanted


def restored(indicators: IndicatorSet) -> IndicatorSet:
    """A new set that goes on from a snapshot of another."""
    out = StateWriter()
    indicators.write(out)
    reader = StateReader(out.finish(1, 5), 5, 1)
    again = IndicatorSet(parse_indicators(SPECS))
    again.read(reader)
    reader.expect_end()
    return again


def test_wrong_recomputation_is_seen() -> None:
    """The comparison can fail: a window one bar longer, and a deviation of the other kind, are told apart."""
    bars, starts = random_bars(Random(5), 60)
    scale = max(bar[0] for bar in bars)
    wanted = plain("bbands:9:2", bars, starts)

    assert not all(map(same, plain("bbands:10:2", bars, starts)[1], wanted[1], [scale] * 60))
    sample = windows([bar[2] for bar in bars], 9, lambda values: mean(values) + 2.0 * deviation(values, 1))
    assert not all(map(same, sample, wanted[0], [scale] * 60))


# ---------------------------------------------------------------------------------------------------------------- drift


def hostile_values(random: Random, count: int) -> list[float]:
    """Prices with rare enormous ones, which leave large errors behind where sums are kept by subtraction."""
    return [
        random.choice([1e12, 1e15]) * random.random() if random.random() < 0.001 else 100.0 + 0.01 * random.random()
        for _ in range(count)
    ]


@pytest.mark.parametrize("size", [20, 997])
def test_rolling_sum_does_not_drift_in_a_million_updates(size: int) -> None:
    values = hostile_values(Random(size), UPDATES)
    rolling = RollingSum(size)
    worst = 0.0
    naive = 0.0
    astray = 0.0
    for at, value in enumerate(values):
        rolling.push(value)
        naive += value - (values[at - size] if at >= size else 0.0)
        if at % 9_973 == 0 and at >= size:
            exact = math.fsum(values[at + 1 - size : at + 1])
            worst = max(worst, abs(rolling.total() - exact) / exact)
            astray = max(astray, abs(naive - exact) / exact)

    assert worst < 1e-12
    # The values are ones with which adding and subtracting does go astray.
    assert astray > CLOSE


def test_rolling_moments_do_not_drift_in_a_million_updates() -> None:
    size = 50
    random = Random(3)
    rolling = RollingMoments(size)
    recent: deque[float] = deque(maxlen=size)
    checked = 0
    for at in range(UPDATES):
        value = 1e9 * random.random() if random.random() < 0.001 else 100.0 + 0.01 * random.random()
        rolling.push(value)
        recent.append(value)
        if at % 9_973 == 0 and at >= size:
            middle = sum(map(Fraction, recent)) / size
            exact = sum((Fraction(item) - middle) ** 2 for item in recent)
            assert abs(Fraction(rolling.squares()) - exact) <= exact * Fraction(1, 10**9), f"update {at}"
            checked += 1
    assert checked > 90


def test_running_sum_is_exact_after_a_million_updates() -> None:
    random = Random(4)
    running = RunningSum()
    vwap = SessionVwap()
    values: list[float] = []
    volumes: list[float] = []
    for _ in range(UPDATES // 4):
        values.append(random.choice([0.1, 123.45, 1e10]) * random.random())
        volumes.append(float(random.randrange(1_000)))
        running.push(values[-1])
        vwap.update(values[-1], volumes[-1])

    exact = math.fsum(values)
    assert math.isclose(running.total(), exact, rel_tol=1e-15)
    turnover = math.fsum(value * volume for value, volume in zip(values, volumes, strict=True))
    assert vwap.value == pytest.approx(turnover / math.fsum(volumes), rel=1e-15)


def test_averages_without_a_window_do_not_drift_in_a_million_updates() -> None:
    """Of a long series only the last values weigh: what remains of the others is below the last bit."""
    random = Random(6)
    ema, rsi, atr = Ema(20), Rsi(14), Atr(14)
    prices = [round(100.0 + 20.0 * math.sin(at / 5_000.0) + random.gauss(0.0, 0.5), 4) for at in range(UPDATES)]
    for price in prices:
        ema.update(price)
        rsi.update(price)
        atr.update(price + 0.25, price - 0.25, price)

    tail = prices[-2_000:]
    keep = 1.0 - 2.0 / 21.0
    exact = math.fsum((1.0 - keep) * keep ** (len(tail) - 1 - at) * price for at, price in enumerate(tail))
    assert ema.value == pytest.approx(exact, rel=CLOSE)
    assert rsi.value == pytest.approx(plain_rsi(tail, 14)[-1], rel=CLOSE)
    ranges = plain_ranges([(price + 0.25, price - 0.25, price, 0.0) for price in tail])
    assert atr.value == pytest.approx(faded(ranges, 14, 1.0 - 1.0 / 14)[-1], rel=CLOSE)
