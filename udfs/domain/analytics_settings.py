"""Settings of the analytics engine, checked: delays, and which indicators are published under which code.

Complexity: done once.
"""

from typing import Final

from schemas.messages.enums import (
    INDICATOR_ATR,
    INDICATOR_BOLLINGER_LOWER,
    INDICATOR_BOLLINGER_UPPER,
    INDICATOR_DEPTH_IMBALANCE,
    INDICATOR_EMA,
    INDICATOR_MACD,
    INDICATOR_MACD_HISTOGRAM,
    INDICATOR_MACD_SIGNAL,
    INDICATOR_RELATIVE_VOLUME,
    INDICATOR_RSI,
    INDICATOR_SESSION_VWAP,
    INDICATOR_SMA,
    INDICATOR_SPREAD,
    INDICATOR_SPREAD_BPS,
    INDICATOR_VOLATILITY,
)
from udfs.domain.bars import MINUTE_NS, SECOND_NS
from udfs.domain.indicator_specs import IndicatorError, IndicatorSet, IndicatorSpec, parse_indicators

INDICATOR_LENGTHS_NS: Final = (5 * MINUTE_NS, 15 * MINUTE_NS, 60 * MINUTE_NS)
"""Lengths of the bars that indicators are computed of."""
MAX_LATENESS_NS: Final = 5 * MINUTE_NS
UNPUBLISHED: Final = -1
ALWAYS: Final = (INDICATOR_SESSION_VWAP, INDICATOR_SPREAD, INDICATOR_SPREAD_BPS, INDICATOR_DEPTH_IMBALANCE)
"""Codes of the indicators that have no period and are published whatever the settings say."""
# Codes of the outputs of an indicator, in their order.
_OUTPUTS: Final[dict[str, tuple[int, ...]]] = {
    "sma": (INDICATOR_SMA,),
    "ema": (INDICATOR_EMA,),
    "rsi": (INDICATOR_RSI,),
    "atr": (INDICATOR_ATR,),
    "macd": (INDICATOR_MACD, INDICATOR_MACD_SIGNAL, INDICATOR_MACD_HISTOGRAM),
    # The middle band is the SMA of the same period.
    "bbands": (INDICATOR_BOLLINGER_UPPER, UNPUBLISHED, INDICATOR_BOLLINGER_LOWER),
    "rvol": (INDICATOR_VOLATILITY,),
    "relvol": (INDICATOR_RELATIVE_VOLUME,),
}


class AnalyticsSettings:
    """How long to wait for trades and for silent sources, and which indicators; checked.

    out_of_order_ns: a bar is given when the clock is so far past its end. lateness_ns: how long after that it is revised.
    idle_ns: a partition is idle when others have gone on for so long without it; 0: none ever is.
    indicators: as indicator_specs.py has them, `sma:20,rsi:14`. Raises ValueError (IndicatorError) when one is out of range.
    """

    __slots__ = ("idle_ns", "indicators", "lateness_ns", "out_of_order_ns", "outputs", "specs")

    def __init__(self, out_of_order_ns: int, lateness_ns: int, indicators: str, idle_ns: int = 0) -> None:
        if out_of_order_ns < 0 or idle_ns < 0 or not 0 <= lateness_ns <= MAX_LATENESS_NS:
            raise ValueError(f"lateness must be from 0 to {MAX_LATENESS_NS // SECOND_NS} s, and no delay negative")
        self.out_of_order_ns = out_of_order_ns
        self.lateness_ns = lateness_ns
        self.idle_ns = idle_ns
        self.indicators = indicators
        self.specs: list[IndicatorSpec] = parse_indicators(indicators)
        # Their parameters are checked where they are made.
        IndicatorSet(self.specs)
        self.outputs: list[tuple[int, int]] = []
        """Code and period of each output, in the order of the indicators' values."""
        for spec in self.specs:
            codes = _OUTPUTS.get(spec.name)
            if codes is None:
                raise IndicatorError(f"{spec.text()} is not published; these are: {', '.join(_OUTPUTS)}")
            # The period that decides where MACD begins is the slow one.
            period = int(spec.parameters[1] if spec.name == "macd" else spec.parameters[0])
            for code in codes:
                if code != UNPUBLISHED and (code, period) in self.outputs:
                    raise IndicatorError(f"{spec.text()} has the name of one before it: one of a kind and period")
                self.outputs.append((code, period))

    def computed(self) -> list[tuple[int, int]]:
        """Code and period of every indicator that is published."""
        return [output for output in self.outputs if output[0] != UNPUBLISHED] + [(code, 0) for code in ALWAYS]
