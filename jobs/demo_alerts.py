"""The rules for alerts that a demo publishes before the day, from the prices that it begins with: one of each kind.

A simulated day fires all of them; what real ticks do is not known beforehand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from infra.feeds.items import Item
from jobs.alerts import TOPIC, complete, fault
from jobs.config import AnalyticsConfig
from schemas.messages import alert_rules

OWNER: Final = "demo"
MOVED_E4: Final = 400
WIDE_E4: Final = 300
"""A move of four cents and a spread of three, 1/10,000 of the currency: the simulated market walks by single cents."""
RSI_E4: Final = 500_000
"""The middle of the RSI, which is crossed when a trend turns."""
_PERCENT_E4: Final = 1_000_000
_HALF_HOUR_S: Final = 1_800
_HOUR_S: Final = 3_600


def demo_rules(prices_e4: Mapping[str, int], time_ns: int, settings: AnalyticsConfig) -> list[dict[str, Any]]:
    """Rules as the topic alert-rules has them, without those that the analytics job with these settings would refuse.

    prices_e4: where each symbol begins, by its name, the busiest first. time_ns: when they were made, UTC.
    """
    names = list(prices_e4)
    crossed, moving, wide = (names[number % len(names)] for number in range(3))
    given: tuple[dict[str, Any], ...] = (
        {
            "ruleId": "demo-price",
            "symbol": crossed,
            "condition": "PRICE_CROSS",
            "thresholdE4": prices_e4[crossed],
            "cooldownSeconds": _HALF_HOUR_S,
        },
        {
            "ruleId": "demo-move",
            "symbol": moving,
            "condition": "MOVE_ABOVE",
            "thresholdE4": _percent(MOVED_E4, prices_e4[moving]),
            "windowSeconds": 300,
            "cooldownSeconds": _HALF_HOUR_S,
        },
        {
            "ruleId": "demo-rsi",
            "symbol": crossed,
            "condition": "INDICATOR_CROSS",
            "indicator": "RSI",
            "period": 14,
            "thresholdE4": RSI_E4,
            "windowSeconds": 300,
            "cooldownSeconds": _HOUR_S,
        },
        {
            "ruleId": "demo-spread",
            "symbol": wide,
            "condition": "SPREAD_ABOVE",
            "thresholdE4": _percent(WIDE_E4, prices_e4[wide]),
            "severity": "WARNING",
            "cooldownSeconds": _HOUR_S,
        },
        {"ruleId": "demo-halt", "symbol": "*", "condition": "HALTED", "severity": "CRITICAL"},
    )
    rules = [complete(fields | {"timestamp": time_ns}, {}, OWNER) for fields in given]
    return [rule for rule in rules if not fault(rule, settings)]


def rule_items(rules: Iterable[Mapping[str, Any]], schema_id: int) -> Iterator[Item]:
    """The rules as items of their topic."""
    for rule in rules:
        message = alert_rules.from_dict(dict(rule))
        yield TOPIC.name, message.rule_id.encode(), alert_rules.encode(message, schema_id), message.timestamp


def _percent(amount_e4: int, price_e4: int) -> int:
    """An amount as percent of a price, in 1/10,000 percent, rounded up."""
    return -(-amount_e4 * _PERCENT_E4 // price_e4)
