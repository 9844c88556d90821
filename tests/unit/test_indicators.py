"""Indicators against TA-Lib's figures, at their edges, and through revisions and snapshots, case by case."""

from __future__ import annotations

import itertools
import json
import math
import re
import statistics
from pathlib import Path
from typing import Final

import pytest

from udfs.domain.indicator_specs import EXAMPLE, FORMS, IndicatorError, IndicatorSet, parse_indicators
from udfs.domain.indicators import Ema, Indicator, Macd, Rsi, SeriesIndicator, Sma
from udfs.domain.rolling import MAX_WINDOW, NothingToRevise, RollingMoments, RollingSum, RunningSum
from udfs.domain.spread import DepthImbalance, Spread
from udfs.domain.state_codec import StateError, StateReader, StateWriter
from udfs.domain.volatility import Atr, BollingerBands, RealisedVolatility, TrueRange
from udfs.domain.vwap import RelativeVolume, RollingVwap, SessionVwap

VECTORS: Final = json.loads(
    (Path(__file__).resolve().parent.parent / "golden" / "talib_vectors.json").read_text(encoding="utf-8")
)
BARS: Final[list[tuple[float, float, float, float]]] = list(
    zip(VECTORS["high"], VECTORS["low"], VECTORS["close"], VECTORS["volume"], strict=True)
)
TRUNCATED: Final = 0.01
EXACT: Final = 1e-12
# Every kind, with short periods and the usual ones.
EVERY: Final = (
    "sma:1,sma:7,ema:1,ema:7,rsi:1,rsi:7,macd:3:7:4,macd:1:2:1,bbands:1:2,bbands:7:2.5,tr,atr:1,atr:7,vwap,vwap:1,vwap:7,"
    "rvol:2,rvol:7:390,relvol:1,relvol:7," + EXAMPLE
)


def run(specs: str, bars: list[tuple[float, float, float, float]] = BARS) -> dict[str, list[float | None]]:
    """Every column of a set of indicators over bars of high, low, close and volume."""
    indicators = IndicatorSet(parse_indicators(specs))
    rows = [indicators.update_bar(*bar) for bar in bars]
    return {column: [row[at] for row in rows] for at, column in enumerate(indicators.columns)}


def closes(*values: float) -> list[tuple[float, float, float, float]]:
    """Bars that are one price each."""
    return [(value, value, value, 100.0) for value in values]


def first_index(values: list[float | None]) -> int:
    """Where a column begins; every value after that is there too."""
    first = next(at for at, value in enumerate(values) if value is not None)
    assert all(value is not None for value in values[first:])
    return first


# ------------------------------------------------------------------------------------------------- TA-Lib's figures

FIGURES: Final = {
    "SMA": "sma_{}",
    "EMA": "ema_{}",
    "RSI": "rsi_{}",
    "ATR": "atr_{}",
    "TR": "tr",
    "BBu": "bbands_20_2_upper",
    "BBm": "bbands_20_2_middle",
    "BBl": "bbands_20_2_lower",
    "MACD": "macd_12_26_9",
    "SIG": "macd_12_26_9_signal",
}


@pytest.mark.parametrize(("label", "figure"), VECTORS["expected"], ids=[label for label, _ in VECTORS["expected"]])
def test_figure_of_the_regression_test_of_ta_lib(label: str, figure: float) -> None:
    found = re.fullmatch(r"([A-Za-z]+?)(\d*)\[(\d+)\]", label)
    assert found is not None
    name, period, index = found.groups()
    column = FIGURES[name].format(period)
    specs = {"bbands": "bbands:20:2", "macd": "macd:12:26:9"}.get(column.split("_")[0], column.replace("_", ":"))

    assert run(specs)[column][int(index)] == pytest.approx(figure, abs=TRUNCATED)


@pytest.mark.parametrize("column", VECTORS["library"])
def test_column_has_the_values_of_the_library_and_begins_where_it_does(column: str) -> None:
    specs = re.sub(r"_(signal|hist|upper|middle|lower)$", "", column).replace("_", ":")
    values = run(specs)[column]
    wanted = {int(index): value for index, value in VECTORS["library"][column].items()}

    for index, value in wanted.items():
        assert values[index] == pytest.approx(value, rel=EXACT, abs=EXACT)
    first = min(wanted)
    if specs.startswith("macd") and column.count("_") == 3:
        # The library holds the line back until the signal begins.
        assert first_index(values) == int(specs.split(":")[2]) - 1
        first += 1 - int(specs.split(":")[3])
    assert first_index(values) == first


def test_figures_are_those_of_the_shared_file() -> None:
    shared = Path(__file__).resolve().parents[3] / "shared" / "data" / "talib_vectors.json"
    if not shared.exists():
        pytest.skip("../shared/data is not there")
    original = json.loads(shared.read_text(encoding="utf-8"))

    for key in ("open", "high", "low", "close", "volume", "expected"):
        assert VECTORS[key] == original[key]
    for label, value in original["computed"].items():
        name, period, index = re.fullmatch(r"([A-Za-z]+?)(\d*)\[(\d+)\]", label).groups()  # type: ignore[union-attr]
        column = FIGURES[name].format(period)
        specs = {"bbands": "bbands:20:2", "macd": "macd:12:26:9"}.get(column.split("_")[0], column.replace("_", ":"))
        assert run(specs)[column][int(index)] == pytest.approx(value, rel=EXACT)


# ------------------------------------------------------------------------------------------------------------- edges


@pytest.mark.parametrize(
    ("specs", "column", "index"),
    [
        ("sma:5", "sma_5", 4),
        ("ema:5", "ema_5", 4),
        ("rsi:5", "rsi_5", 5),
        ("atr:5", "atr_5", 5),
        ("tr", "tr", 1),
        ("bbands:5:2", "bbands_5_2_lower", 4),
        ("macd:3:5:4", "macd_3_5_4", 4),
        ("macd:3:5:4", "macd_3_5_4_signal", 7),
        ("macd:3:5:4", "macd_3_5_4_hist", 7),
        ("vwap", "vwap", 0),
        ("vwap:5", "vwap_5", 4),
        ("rvol:5", "rvol_5", 5),
        ("relvol:5", "relvol_5", 5),
    ],
)
def test_first_value_and_none_when_there_are_fewer_bars(specs: str, column: str, index: int) -> None:
    assert first_index(run(specs)[column]) == index
    assert run(specs, BARS[:index])[column] == [None] * index


def test_period_of_one_is_the_value_itself() -> None:
    values = run("sma:1,ema:1,bbands:1:2,rsi:1,atr:1,tr,vwap:1")

    assert values["sma_1"] == values["ema_1"] == values["bbands_1_2_middle"] == VECTORS["close"]
    assert values["bbands_1_2_upper"] == values["bbands_1_2_lower"] == VECTORS["close"]
    assert values["atr_1"] == values["tr"]
    assert set(values["rsi_1"][1:]) == {0.0, 100.0}
    assert values["vwap_1"] == pytest.approx([(high + low + close) / 3 for high, low, close, _ in BARS], rel=EXACT)


def test_rsi_without_any_change_is_zero_and_at_its_ends_is_0_and_100() -> None:
    assert run("rsi:3", closes(*[5.0] * 6))["rsi_3"] == [None, None, None, 0.0, 0.0, 0.0]
    assert run("rsi:3", closes(1, 2, 3, 4, 5))["rsi_3"][3:] == [100.0, 100.0]
    assert run("rsi:3", closes(5, 4, 3, 2, 1))["rsi_3"][3:] == [0.0, 0.0]
    assert run("rsi:2", closes(1, 2, 1))["rsi_2"][2] == 50.0


def test_rsi_keeps_its_value_while_prices_stand_still_and_is_zero_when_nothing_is_left() -> None:
    rsi = Rsi(2)
    for value in (1.0, 2.0, 1.5):
        rsi.update(value)
    before = rsi.value
    for _ in range(500):
        rsi.update(1.5)
    assert rsi.value == pytest.approx(before, rel=1e-9)
    for _ in range(1_000):
        rsi.update(1.5)
    assert rsi.value == 0.0


@pytest.mark.parametrize("price", [0.1, 93.15, 1e9 / 3.0])
def test_equal_prices_have_no_spread_at_all_whatever_came_before(price: float) -> None:
    values = run("bbands:7:2,atr:7,rvol:7,sma:7", closes(5e11, -3.0, 7e-9, 1.0, *[price] * 20))

    assert values["sma_7"][-1] == pytest.approx(price, rel=1e-15)
    assert values["bbands_7_2_upper"][10:] == values["bbands_7_2_lower"][10:] == values["bbands_7_2_middle"][10:]
    assert values["rvol_7"][-1] == 0.0


def test_bands_use_the_population_deviation_and_have_the_simple_average_in_the_middle() -> None:
    values = run("bbands:4:3,sma:4", closes(2, 4, 4, 10))

    assert values["bbands_4_3_middle"][3] == values["sma_4"][3] == 5.0
    assert values["bbands_4_3_upper"][3] == pytest.approx(5.0 + 3 * 3.0)
    assert values["bbands_4_3_lower"][3] == pytest.approx(5.0 - 3 * 3.0)


def test_fast_average_of_macd_begins_with_the_bars_just_before_the_slow_one() -> None:
    values = run("macd:2:4:1", closes(100, 100, 3, 5, 7))

    # Slow: mean of 100, 100, 3, 5. Fast: mean of 3, 5, not of the first two.
    assert values["macd_2_4_1"][3] == 4.0 - 52.0
    assert values["macd_2_4_1_signal"][3] == -48.0
    assert values["macd_2_4_1_hist"][3] == 0.0
    assert values["macd_2_4_1"][4] == pytest.approx((4 + 2 / 3 * (7 - 4)) - (52 + 2 / 5 * (7 - 52)))


def test_true_range_reaches_over_gaps_to_either_side() -> None:
    reach = TrueRange()

    assert reach.update(10.0, 9.0, 9.5) is None
    assert reach.update(12.0, 11.0, 11.5) == 2.5
    assert reach.update(8.0, 7.0, 7.5) == 4.5
    assert reach.update(9.0, 6.0, 6.5) == 3.0


def test_realised_volatility_is_the_scaled_sample_deviation_of_log_returns() -> None:
    prices = [100.0, 101.0, 99.5, 99.5, 103.0]
    returns = [math.log(after / before) for before, after in itertools.pairwise(prices)]
    values = run("rvol:4,rvol:4:390,rvol:2:1", closes(*prices))

    assert values["rvol_4"][4] == pytest.approx(statistics.stdev(returns) * math.sqrt(252), rel=EXACT)
    assert values["rvol_4_390"][4] == pytest.approx(statistics.stdev(returns) * math.sqrt(390), rel=EXACT)
    assert values["rvol_2_1"][2] == pytest.approx(statistics.stdev(returns[:2]), rel=EXACT)


def test_realised_volatility_has_no_value_until_all_its_returns_exist() -> None:
    values = run("rvol:2", closes(1, 2, 3, 0, 4, 5, 6, -1, 7, 8, 9))["rvol_2"]

    assert [value is not None for value in values] == [at in (2, 6, 10) for at in range(11)]


def test_vwap_without_volume_has_no_value() -> None:
    session, rolling = SessionVwap(), RollingVwap(2)

    assert [session.update(10.0, 0.0), rolling.update(10.0, 0.0)] == [None, None]
    assert [session.update(10.0, 0.0), rolling.update(10.0, 0.0)] == [None, None]
    assert [session.update(11.0, 3.0), rolling.update(11.0, 3.0)] == [11.0, 11.0]
    assert [session.update(12.0, 1.0), rolling.update(12.0, 1.0)] == [11.25, 11.25]
    assert [session.update(15.0, 0.0), rolling.update(15.0, 0.0)] == [11.25, 12.0]
    assert [session.update(15.0, 0.0), rolling.update(15.0, 0.0)] == [11.25, None]


def test_session_vwap_begins_anew_with_the_update_after_the_begin_of_a_session() -> None:
    vwap = SessionVwap()
    vwap.update(10.0, 1.0)
    vwap.begin_session()

    assert vwap.value == 10.0
    assert vwap.revise(12.0, 1.0) == 12.0
    assert vwap.update(20.0, 5.0) == 20.0
    assert vwap.revise(30.0, 5.0) == 30.0
    assert vwap.update(40.0, 5.0) == 35.0


def test_session_vwap_takes_a_cancelled_trade_out() -> None:
    vwap = SessionVwap()
    for price, volume in ((10.0, 2.0), (99.0, 7.0), (11.0, 2.0), (99.0, -7.0)):
        vwap.update(price, volume)

    assert vwap.value == 10.5
    vwap.update(10.0, -2.0)
    assert vwap.update(11.0, -2.0) is None
    assert vwap.update(11.0, -1.0) is None


def test_running_sum_keeps_what_a_larger_value_swallows() -> None:
    running = RunningSum()
    for value in (1.0, 1e100, 1.0, -1e100):
        running.push(value)

    assert running.total() == 2.0


def test_relative_volume_leaves_the_bar_itself_out_of_the_mean() -> None:
    volume = RelativeVolume(2)

    assert [volume.update(value) for value in (10.0, 30.0, 60.0, 0.0, 0.0, 5.0)] == [None, None, 3.0, 0.0, 0.0, None]
    assert volume.update(4.0) == 4.0 / 2.5


def test_spread_is_absolute_and_in_basis_points_of_the_mid() -> None:
    spread = Spread()

    assert spread.update(99.0, 101.0) == 2.0
    assert spread.basis_points == pytest.approx(200.0)
    assert spread.revise(101.0, 99.0) == -2.0
    assert spread.update(0.0, 101.0) is None
    assert spread.basis_points is None


def test_depth_imbalance_is_between_minus_one_and_one() -> None:
    imbalance = DepthImbalance()

    assert imbalance.update(300.0, 100.0) == 0.5
    assert imbalance.update(0.0, 100.0) == -1.0
    assert imbalance.update(0.0, 0.0) is None
    assert imbalance.update_levels([100, 200, 900], [100], 2) == 0.5
    assert imbalance.revise(100.0, 0.0) == 1.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: Sma(0),
        lambda: Ema(0),
        lambda: Rsi(-1),
        lambda: Atr(MAX_WINDOW + 1),
        lambda: RealisedVolatility(1),
        lambda: Macd(5, 5, 3),
        lambda: Macd(3, 5, 0),
        lambda: BollingerBands(0, 2.0),
        lambda: RollingVwap(0),
        lambda: RelativeVolume(0),
    ],
)
def test_period_that_makes_no_sense_is_refused(make: object) -> None:
    with pytest.raises(ValueError):
        make()  # type: ignore[operator]


# ---------------------------------------------------------------------------------------------- revisions, snapshots


def test_revision_without_an_update_is_an_error() -> None:
    for spec in parse_indicators(EVERY):
        with pytest.raises(NothingToRevise):
            spec.create().revise_bar(1.0, 1.0, 1.0, 1.0)
    for window in (RollingSum(3), RollingMoments(3)):
        with pytest.raises(NothingToRevise):
            window.replace(1.0)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8, 9])
def test_revision_of_the_last_value_reaches_it_and_nothing_else(count: int) -> None:
    for make in (lambda: Sma(3), lambda: Ema(3), lambda: Rsi(3), lambda: Macd(2, 3, 2), lambda: BollingerBands(3, 2.0)):
        revised: SeriesIndicator = make()
        plain: SeriesIndicator = make()
        for at in range(count):
            plain.update(float(at * at % 7))
            revised.update(float(at * at % 7) if at < count - 1 else 1e6)
        revised.revise(-3.0)
        assert revised.revise((count - 1) ** 2 % 7) == plain.value
        assert revised.update(2.0) == plain.update(2.0)


def test_revision_may_undefine_a_value() -> None:
    volatility = RealisedVolatility(2)
    for price in (1.0, 2.0, 3.0):
        volatility.update(price)

    assert volatility.revise(-1.0) is None
    assert volatility.revise(3.0) is not None


def snapshot(indicator: Indicator | IndicatorSet) -> bytes:
    """The bytes of an indicator's state."""
    out = StateWriter()
    indicator.write(out)
    return out.finish(1, 77)


def restore(indicator: Indicator | IndicatorSet, data: bytes) -> None:
    """Put a state into a new indicator; all of it is used."""
    reader = StateReader(data, 77, 1)
    indicator.read(reader)
    reader.expect_end()


def test_state_of_other_parameters_is_refused() -> None:
    for spec in parse_indicators("sma:3,ema:3,rsi:3,macd:2:3:3,bbands:3:2,atr:3,vwap:3,rvol:3,relvol:3"):
        data = snapshot(spec.create())
        (other,) = parse_indicators(spec.text().replace("3", "4"))
        with pytest.raises(StateError):
            restore(other.create(), data)


def test_state_of_a_set_names_its_columns() -> None:
    data = snapshot(IndicatorSet(parse_indicators("sma:3,rsi:3")))

    with pytest.raises(StateError, match=r"sma_3, rsi_3.*rsi_3, sma_3"):
        restore(IndicatorSet(parse_indicators("rsi:3,sma:3")), data)


def test_begin_of_a_session_goes_through_a_snapshot() -> None:
    before, after = SessionVwap(), SessionVwap()
    before.update(10.0, 1.0)
    before.begin_session()
    restore(after, snapshot(before))

    assert after.value == 10.0
    assert after.update(20.0, 1.0) == 20.0


def test_quotes_go_through_snapshots() -> None:
    spread, imbalance = Spread(), DepthImbalance()
    spread.update(99.9, 100.1)
    imbalance.update(1.0, 2.0)
    again, lean = Spread(), DepthImbalance()
    restore(again, snapshot(spread))
    restore(lean, snapshot(imbalance))

    assert (again.value, again.basis_points, lean.value) == (spread.value, spread.basis_points, imbalance.value)


# ----------------------------------------------------------------------------------------------------- specifications


def test_columns_come_in_the_order_asked_for_and_bear_their_parameters() -> None:
    indicators = IndicatorSet(
        parse_indicators(" RSI:014, bbands:20:2.5,macd:12:26:9,vwap,vwap:5,rvol:20:390,tr,relvol:3")
    )

    assert indicators.columns == [
        "rsi_14",
        "bbands_20_2.5_upper",
        "bbands_20_2.5_middle",
        "bbands_20_2.5_lower",
        "macd_12_26_9",
        "macd_12_26_9_signal",
        "macd_12_26_9_hist",
        "vwap",
        "vwap_5",
        "rvol_20_390",
        "tr",
        "relvol_3",
    ]
    assert indicators.needs_sessions
    assert not IndicatorSet(parse_indicators("vwap:5")).needs_sessions


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "without a name"),
        ("sma:20,", "without a name"),
        ("smma:20", "no indicator 'smma'"),
        ("sma", "sma:N"),
        ("sma:20:3", "2 parameters"),
        ("sma:0", "whole number from 1"),
        ("sma:-5", "'-5'"),
        ("sma:2.5", "'2.5'"),
        ("sma:100001", "100000"),
        ("sma:٣", "whole number"),
        ("sma:99999999999999999999", "whole number"),
        ("tr:14", "1 parameter;"),
        ("rvol:1", "from 2"),
        ("rvol:20:0", "positive decimal"),
        ("bbands:20", "bbands:N:DEVIATIONS"),
        ("bbands:20:-2", "positive decimal"),
        ("bbands:20:nan", "positive decimal"),
        ("bbands:20:2e1", "positive decimal"),
        ("bbands:20:2.", "positive decimal"),
        ("macd:12:26", "FAST:SLOW:SIGNAL"),
        ("macd:26:12:9", "shorter than SLOW"),
        ("sma:20,ema:5,sma:020", "sma:20 is asked for twice"),
    ],
)
def test_specification_that_is_wrong_is_refused_with_what_would_be_right(text: str, said: str) -> None:
    with pytest.raises(IndicatorError) as caught:
        IndicatorSet(parse_indicators(text))
    assert said in str(caught.value)


def test_every_form_is_one_that_can_be_made() -> None:
    assert {name for name, _, _ in FORMS} == {spec.name for spec in parse_indicators(EVERY)}
    assert len(IndicatorSet(parse_indicators(EXAMPLE)).columns) == 10
