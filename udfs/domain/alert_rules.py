"""Rules for alerts: what one watches, whether it can be used, and how its alert reads.

A rule compares one value of one symbol with one threshold. What the value is (`Watched`) decides which record changes it:

    PRICE_ABOVE, _BELOW, _CROSS       price of the last eligible trade, currency
    CHANGE_ABOVE, _BELOW              percent from the lowest (highest) price of the last `window_seconds` to the last
    MOVE_ABOVE                        the larger of the two, in either direction
    VOLUME_ABOVE                      shares of a bar of `window_seconds`
    INDICATOR_ABOVE, _BELOW, _CROSS   an indicator of bars of `window_seconds`, or the first less the second of two
    SPREAD_ABOVE                      NBBO spread in percent of its middle
    STALE                             seconds since the symbol's last record; the threshold is `window_seconds`
    HALTED                            1 while our venue halts or pauses the symbol, else 0

ABOVE and BELOW hold at the threshold too. A rule fires when it comes to hold, then not until the value was behind the
threshold by more than `hysteresis_e4`. A CROSS fires in both directions, and its first value only tells the side.
Complexity: constant.
"""

from typing import Final

from schemas.messages.alert_rules import AlertRule, to_dict
from schemas.messages.enums import (
    ALERT_CONDITION_CHANGE_ABOVE,
    ALERT_CONDITION_CHANGE_BELOW,
    ALERT_CONDITION_HALTED,
    ALERT_CONDITION_INDICATOR_ABOVE,
    ALERT_CONDITION_INDICATOR_BELOW,
    ALERT_CONDITION_INDICATOR_CROSS,
    ALERT_CONDITION_MOVE_ABOVE,
    ALERT_CONDITION_NAMES,
    ALERT_CONDITION_PRICE_ABOVE,
    ALERT_CONDITION_PRICE_BELOW,
    ALERT_CONDITION_PRICE_CROSS,
    ALERT_CONDITION_SPREAD_ABOVE,
    ALERT_CONDITION_STALE,
    ALERT_CONDITION_VOLUME_ABOVE,
    ALERT_SEVERITY_UNKNOWN,
    INDICATOR_NAMES,
    INDICATOR_NONE,
)
from udfs.domain.money import money_text

EVERY_SYMBOL: Final = "*"
MOVE_WINDOWS_S: Final = (10, 30, 60, 300, 900, 1_800, 3_600, 14_400)
"""Lengths that a move can be looked for in. A fixed list, so that rules share windows and an update costs a few of them."""
MAX_SILENCE_S: Final = 86_400
MAX_COOLDOWN_S: Final = 30 * 86_400
ONE_E4: Final = 10_000

# Kinds of values.
PRICE: Final = 1
RISE: Final = 2
FALL: Final = 3
MOVE: Final = 4
VOLUME: Final = 5
INDICATOR: Final = 6
SPREAD: Final = 7
SILENCE: Final = 8
HALT: Final = 9

_KINDS: Final[dict[int, int]] = {
    ALERT_CONDITION_PRICE_ABOVE: PRICE,
    ALERT_CONDITION_PRICE_BELOW: PRICE,
    ALERT_CONDITION_PRICE_CROSS: PRICE,
    ALERT_CONDITION_CHANGE_ABOVE: RISE,
    ALERT_CONDITION_CHANGE_BELOW: FALL,
    ALERT_CONDITION_MOVE_ABOVE: MOVE,
    ALERT_CONDITION_VOLUME_ABOVE: VOLUME,
    ALERT_CONDITION_INDICATOR_ABOVE: INDICATOR,
    ALERT_CONDITION_INDICATOR_BELOW: INDICATOR,
    ALERT_CONDITION_INDICATOR_CROSS: INDICATOR,
    ALERT_CONDITION_SPREAD_ABOVE: SPREAD,
    ALERT_CONDITION_STALE: SILENCE,
    ALERT_CONDITION_HALTED: HALT,
}

Watched = tuple[int, int, int, int, int, int]
"""A value of a symbol: its kind, window in seconds, indicator and period, second indicator and period; 0 for what it has not."""


def watched(rule: AlertRule) -> Watched:
    """The value that a rule compares. Raises KeyError for a condition that is not known."""
    kind = _KINDS[rule.condition]
    window = rule.window_seconds if kind in (RISE, FALL, MOVE, VOLUME, INDICATOR, SILENCE) else 0
    if kind != INDICATOR:
        return (kind, window, 0, 0, 0, 0)
    second = rule.second_indicator
    if second is None or second == INDICATOR_NONE:
        return (kind, window, rule.indicator, rule.period, 0, 0)
    return (kind, window, rule.indicator, rule.period, second, rule.second_period or 0)


def mirrored(rule: AlertRule) -> bool:
    """Whether the rule watches for a value that falls."""
    return rule.condition in (
        ALERT_CONDITION_PRICE_BELOW,
        ALERT_CONDITION_CHANGE_BELOW,
        ALERT_CONDITION_INDICATOR_BELOW,
    )


def crosses(rule: AlertRule) -> bool:
    """Whether the rule fires in both directions."""
    return rule.condition == ALERT_CONDITION_PRICE_CROSS or rule.condition == ALERT_CONDITION_INDICATOR_CROSS


def threshold_of(rule: AlertRule) -> int:
    """What the value is compared with."""
    if rule.condition == ALERT_CONDITION_HALTED:
        return ONE_E4
    return rule.window_seconds * ONE_E4 if rule.condition == ALERT_CONDITION_STALE else rule.threshold_e4


def same_terms(one: AlertRule, other: AlertRule) -> bool:
    """Whether two records say the same of a rule but for their time, so that the second changes nothing."""
    return {**to_dict(one), "timestamp": 0} == {**to_dict(other), "timestamp": 0}


def fault_of(
    rule: AlertRule, indicators: list[tuple[int, int]], bar_lengths_s: list[int], indicator_lengths_s: list[int]
) -> str:
    """Why a rule cannot be used, for people, or an empty text.

    indicators: code and period of those that are computed; then the lengths of bars, and of bars that have indicators.
    """
    if not rule.rule_id or not rule.owner or not rule.symbol:
        return "a rule has a ruleId, an owner and a symbol"
    kind = _KINDS.get(rule.condition)
    if kind is None:
        return "its condition is not one that this release knows"
    name = ALERT_CONDITION_NAMES[rule.condition]
    if rule.severity == ALERT_SEVERITY_UNKNOWN:
        return "its severity is none that this release knows"
    if not 0 <= rule.cooldown_seconds <= MAX_COOLDOWN_S:
        return f"a cool-down is from 0 to {MAX_COOLDOWN_S} s, not {rule.cooldown_seconds}"
    hysteresis = rule.hysteresis_e4 or 0
    if hysteresis < 0 or (hysteresis > 0 and kind in (SILENCE, HALT)):
        return f"{name} takes no hysteresis of {money_text(hysteresis)}"
    if kind in (PRICE, RISE, MOVE, VOLUME, SPREAD) and rule.threshold_e4 <= 0:
        return f"the threshold of {name} is more than 0, not {money_text(rule.threshold_e4)}"
    if kind == FALL and rule.threshold_e4 >= 0:
        return f"the threshold of {name} is less than 0, not {money_text(rule.threshold_e4)}"
    window = rule.window_seconds
    if kind in (RISE, FALL, MOVE) and window not in MOVE_WINDOWS_S:
        return f"{name} looks at one of {_listed(list(MOVE_WINDOWS_S))} s, not {window}"
    if kind == SILENCE and not 0 < window <= MAX_SILENCE_S:
        return f"a symbol is stale after 1 to {MAX_SILENCE_S} s, not {window}"
    if kind == VOLUME and window not in bar_lengths_s:
        return f"there are bars of {_listed(bar_lengths_s)} s, not {window}"
    return _indicator_fault(rule, indicators, indicator_lengths_s) if kind == INDICATOR else ""


def _indicator_fault(rule: AlertRule, indicators: list[tuple[int, int]], lengths_s: list[int]) -> str:
    if rule.window_seconds not in lengths_s:
        return f"indicators are of bars of {_listed(lengths_s)} s, not {rule.window_seconds}"
    _, _, first, first_period, second, second_period = watched(rule)
    for code, period in ((first, first_period), (second, second_period)):
        if code != INDICATOR_NONE and (code, period) not in indicators:
            known = ", ".join([indicator_text(one, other) for one, other in indicators if one >= 0])
            return f"{indicator_text(code, period)} is not computed; these are: {known}"
    if first == INDICATOR_NONE:
        return "it names no indicator"
    return "it compares an indicator with itself" if (first, first_period) == (second, second_period) else ""


def _listed(numbers: list[int]) -> str:
    return ", ".join([str(number) for number in numbers])


def indicator_text(code: int, period: int) -> str:
    """An indicator for people: `SMA 20`, `SPREAD`."""
    return f"{INDICATOR_NAMES[code]} {period}" if period else INDICATOR_NAMES[code]


def number_text(value_e4: int) -> str:
    """A number of 1/10,000 for people, with the decimals that it has, two of them always."""
    text = money_text(value_e4)
    return text[:-2] if text.endswith("00") else text


def span_text(seconds: int) -> str:
    """A length of time for people: `5 min`."""
    if seconds % 3_600 == 0:
        return f"{seconds // 3_600} h"
    return f"{seconds // 60} min" if seconds % 60 == 0 else f"{seconds} s"


def alert_text(rule: AlertRule, symbol: str, observed_e4: int, reference_e4: int | None, above: bool, note: str) -> str:
    """What happened, for people. `above`: the value is now at or above the threshold. `note`: of a halt, its numbers."""
    kind, window, code, period, second, second_period = watched(rule)
    observed, threshold = number_text(observed_e4), number_text(rule.threshold_e4)
    if crosses(rule):
        side = f"crossed {'above' if above else 'below'}"
    else:
        side = "is at or below" if mirrored(rule) else "is at or above"
    if kind == PRICE:
        return f"{symbol} at {observed} {side} {threshold}"
    if kind in (RISE, FALL, MOVE):
        start = number_text(reference_e4 or 0)
        return f"{symbol} moved {observed}% from {start} within {span_text(window)}; the limit is {threshold}%"
    if kind == VOLUME:
        return f"{symbol} traded {observed_e4 // ONE_E4} shares in {span_text(window)}; the limit is {threshold}"
    if kind == INDICATOR:
        name = indicator_text(code, period)
        if second:
            name = f"{name} less {indicator_text(second, second_period)}"
        return f"{symbol} {name} of {span_text(window)} bars at {observed} {side} {threshold}"
    if kind == SPREAD:
        return f"{symbol} has a spread of {observed}%; the limit is {threshold}%"
    if kind == SILENCE:
        return f"{symbol} has been silent for {observed} s; the limit is {window} s"
    return f"{symbol} is {note}"
