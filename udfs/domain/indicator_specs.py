"""Indicators by name and parameters, as people and settings write them: `sma:20,bbands:20:2,macd:12:26:9`.

Ordering: outputs come in the order in which the indicators were asked for.
Invariants: a column's name is the indicator's with its parameters, `bbands_20_2.5_upper`; no two columns have one name.
Known limits: parameters are decimal text, periods whole numbers up to rolling.MAX_WINDOW.
Complexity: a bar costs what its indicators cost.
"""

from typing import Final

from udfs.domain.indicators import BarIndicator, Ema, Macd, Rsi, Sma
from udfs.domain.rolling import MAX_WINDOW
from udfs.domain.state_codec import StateError, StateReader, StateWriter
from udfs.domain.volatility import Atr, BollingerBands, RealisedVolatility, TrueRange
from udfs.domain.vwap import RelativeVolume, RollingVwap, SessionVwap

FORMS: Final[tuple[tuple[str, str, str], ...]] = (
    ("sma", "sma:N", "simple moving average"),
    ("ema", "ema:N", "exponential moving average"),
    ("rsi", "rsi:N", "relative strength index (Wilder)"),
    ("macd", "macd:FAST:SLOW:SIGNAL", "line, signal and histogram"),
    ("bbands", "bbands:N:DEVIATIONS", "Bollinger bands: upper, middle, lower"),
    ("tr", "tr", "true range"),
    ("atr", "atr:N", "average true range (Wilder)"),
    ("vwap", "vwap or vwap:N", "volume-weighted average price, of the session or of N bars"),
    ("rvol", "rvol:N or rvol:N:PERIODS", "realised volatility of N log returns, PERIODS bars in a year (252)"),
    ("relvol", "relvol:N", "volume against the mean of the N bars before"),
)
"""Name, how it is written, what it is."""
EXAMPLE: Final = "sma:20,ema:20,rsi:14,atr:14,bbands:20:2,macd:12:26:9"
_DEFAULT_PERIODS: Final = 252.0
_DIGITS: Final = frozenset("0123456789")
_LONGEST: Final = 12


class IndicatorError(ValueError):
    """A specification that is not understood; the message says what is wrong and what is allowed."""


class IndicatorSpec:
    """One indicator that was asked for: its name and its parameters as text."""

    __slots__ = ("name", "parameters")

    def __init__(self, name: str, parameters: list[str]) -> None:
        self.name = name
        self.parameters = parameters

    def text(self) -> str:
        """The specification as it is written."""
        return ":".join([self.name, *self.parameters])

    def columns(self) -> list[str]:
        """The names of its outputs."""
        stem = "_".join([self.name, *self.parameters])
        if self.name == "macd":
            return [stem, stem + "_signal", stem + "_hist"]
        if self.name == "bbands":
            return [stem + "_upper", stem + "_middle", stem + "_lower"]
        return [stem]

    def needs_sessions(self) -> bool:
        """Whether it starts anew with each session."""
        return self.name == "vwap" and not self.parameters

    def create(self) -> BarIndicator:
        """A new indicator. Raises IndicatorError."""
        name = self.name
        if name == "tr":
            self._expect(0, 0)
            return TrueRange()
        if name == "macd":
            self._expect(3, 3)
            fast = self._period(0, 1)
            slow = self._period(1, 1)
            if fast >= slow:
                raise self._error(f"FAST must be shorter than SLOW, and {fast} is not shorter than {slow}")
            return Macd(fast, slow, self._period(2, 1))
        if name == "bbands":
            self._expect(2, 2)
            return BollingerBands(self._period(0, 1), self._decimal(1))
        if name == "rvol":
            self._expect(1, 2)
            period = self._period(0, 2)
            return RealisedVolatility(period, self._decimal(1) if len(self.parameters) == 2 else _DEFAULT_PERIODS)
        if name == "vwap":
            self._expect(0, 1)
            return RollingVwap(self._period(0, 1)) if self.parameters else SessionVwap()
        self._expect(1, 1)
        period = self._period(0, 1)
        if name == "sma":
            return Sma(period)
        if name == "ema":
            return Ema(period)
        if name == "rsi":
            return Rsi(period)
        if name == "atr":
            return Atr(period)
        return RelativeVolume(period)

    def _expect(self, fewest: int, most: int) -> None:
        """Raise IndicatorError unless there are so many parameters."""
        count = len(self.parameters)
        if count < fewest or count > most:
            raise self._error(f"it has {count} parameter{'' if count == 1 else 's'}")

    def _period(self, at: int, lowest: int) -> int:
        """A parameter that is a number of bars."""
        text = self.parameters[at]
        period = int(text) if _is_whole(text) else 0
        if period < lowest or period > MAX_WINDOW:
            raise self._error(f"{text!r} is not a whole number from {lowest} to {MAX_WINDOW}")
        return period

    def _decimal(self, at: int) -> float:
        """A parameter that is a positive number."""
        text = self.parameters[at]
        whole, point, fraction = text.partition(".")
        good = _is_whole(whole) and (not point or _is_whole(fraction))
        if not good or float(text) <= 0.0:
            raise self._error(f"{text!r} is not a positive decimal number")
        return float(text)

    def _error(self, problem: str) -> IndicatorError:
        return IndicatorError(f"{self.text()}: {problem}; it is written {_form(self.name)}")


class IndicatorSet:
    """Indicators that see the same bars; `columns` names what `update_bar` returns. Raises IndicatorError."""

    __slots__ = ("_indicators", "columns", "needs_sessions")

    def __init__(self, specs: list[IndicatorSpec]) -> None:
        self.columns: list[str] = []
        self.needs_sessions: bool = False
        self._indicators: list[BarIndicator] = []
        for spec in specs:
            self._indicators.append(spec.create())
            if spec.needs_sessions():
                self.needs_sessions = True
            for column in spec.columns():
                if column in self.columns:
                    raise IndicatorError(f"{spec.text()} is asked for twice")
                self.columns.append(column)

    def begin_session(self) -> None:
        """The next bar is the first of a session."""
        for indicator in self._indicators:
            indicator.begin_session()

    def update_bar(self, high: float, low: float, close: float, volume: float) -> list[float | None]:
        """Take a bar; returns all outputs, None where one is not defined."""
        for indicator in self._indicators:
            indicator.update_bar(high, low, close, volume)
        return self.values()

    def revise_bar(self, high: float, low: float, close: float, volume: float) -> list[float | None]:
        """Take a bar in the place of the last one; returns all outputs. Raises NothingToRevise."""
        for indicator in self._indicators:
            indicator.revise_bar(high, low, close, volume)
        return self.values()

    def values(self) -> list[float | None]:
        """All outputs after the last bar."""
        values: list[float | None] = []
        for indicator in self._indicators:
            indicator.put_values(values)
        return values

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        out.put(len(self.columns))
        for column in self.columns:
            out.put_text(column)
        for indicator in self._indicators:
            indicator.write(out)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot of a set with the same columns. Raises StateError."""
        found = [reader.take_text() for _ in range(reader.take())]
        if found != self.columns:
            raise StateError(f"the snapshot is one of {', '.join(found)}, not of {', '.join(self.columns)}")
        for indicator in self._indicators:
            indicator.read(reader)


def parse_indicators(text: str) -> list[IndicatorSpec]:
    """The indicators of a comma-separated text. Raises IndicatorError; parameters are checked by `IndicatorSet`."""
    specs: list[IndicatorSpec] = []
    for item in text.split(","):
        words = [word.strip() for word in item.split(":")]
        name = words[0].lower()
        if not name:
            raise IndicatorError("an indicator without a name")
        if not _form(name):
            raise IndicatorError(f"there is no indicator {name!r}")
        specs.append(IndicatorSpec(name, [_plain(word) for word in words[1:]]))
    return specs


def _form(name: str) -> str:
    """How an indicator is written; empty for one that there is not."""
    for known, form, _ in FORMS:
        if known == name:
            return form
    return ""


def _is_whole(text: str) -> bool:
    """Whether a text is a whole number of plain digits, and not absurdly long."""
    return 0 < len(text) <= _LONGEST and all(letter in _DIGITS for letter in text)


def _plain(text: str) -> str:
    """A whole number without leading zeros, so that one indicator has one name."""
    return str(int(text)) if _is_whole(text) else text
