"""Random rules, market data, quotes and halts for the tests of alerts: prices that tremble about the rules' thresholds."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, Final

from tick_days import OPENING_NS, SECOND_NS, Tick

from schemas.messages import alert_rules, market_status, nbbo
from schemas.messages.enums import (
    ALERT_CONDITION_CODES,
    ALERT_CONDITION_NAMES,
    ALERT_SEVERITY_INFO,
    INDICATOR_CODES,
    INDICATOR_EMA,
    INDICATOR_NONE,
    INDICATOR_RSI,
    INDICATOR_SMA,
    MARKET_CAUSE_CODES,
    MARKET_STATE_CODES,
)
from udfs.domain.alert_rules import MOVE_WINDOWS_S
from udfs.domain.sources import ALERT_RULES, MARKET_DATA, MARKET_STATUS, NBBO, PROGRESS

IDS: Final = {
    "market-data": 21,
    "market-analytics": 22,
    "dead-letter": 23,
    "alert-rules": 24,
    "alerts": 25,
    "nbbo": 26,
    "market-status": 27,
}
INDICATORS: Final = "sma:2,ema:3,rsi:2"
OUTPUTS: Final = ((INDICATOR_SMA, 2), (INDICATOR_EMA, 3), (INDICATOR_RSI, 2))
PARTITIONS: Final = 2
Record = tuple[int, bytes, int, int, int]
"""Source, frame, partition, offset, Kafka's timestamp in ms."""


def rule(rule_id: str, condition: str, symbol: str = "A", **fields: Any) -> alert_rules.AlertRule:
    """A rule with the defaults of a test."""
    values: dict[str, Any] = {
        "ruleId": rule_id,
        "version": 1,
        "owner": "me",
        "symbol": symbol,
        "condition": condition,
        "indicator": "NONE",
        "period": 0,
        "windowSeconds": 0,
        "thresholdE4": 0,
        "severity": "INFO",
        "cooldownSeconds": 0,
        "active": True,
        "timestamp": 1,
        "hysteresisE4": None,
        "secondIndicator": None,
        "secondPeriod": None,
    }
    assert not fields.keys() - values.keys()
    return alert_rules.from_dict(values | fields)


def random_rule(random: Random, number: int, symbols: int) -> alert_rules.AlertRule:
    """Any rule that can be used, near the prices that `random_records` makes."""
    name = random.choice(ALERT_CONDITION_NAMES[1:])
    found = rule(f"R{number}", name, random.choice([*(f"S{n}" for n in range(symbols)), "*"]))
    found.version = random.randrange(1, 5)
    found.cooldown_seconds = random.choice([0, 0, 0, 5, 600])
    found.hysteresis_e4 = random.choice([None, 0, 3, 500])
    if name.startswith("PRICE"):
        found.threshold_e4 = random.randrange(99_000, 101_000)
    elif name.startswith(("CHANGE", "MOVE")):
        sign = -1 if name == "CHANGE_BELOW" else 1
        found.threshold_e4 = sign * random.randrange(1, 20_000)
        found.window_seconds = random.choice(MOVE_WINDOWS_S[:6])
    elif name.startswith("VOLUME"):
        found.threshold_e4 = random.randrange(1, 1_200) * 10_000
        found.window_seconds = random.choice([1, 60, 300])
    elif name.startswith("INDICATOR"):
        found.indicator, found.period = random.choice(OUTPUTS)
        found.window_seconds = 300
        found.threshold_e4 = random.choice([0, 500_000, random.randrange(99_500, 100_500)])
        if random.random() < 0.5 or name == "INDICATOR_CROSS":
            second = random.choice([output for output in OUTPUTS if output != (found.indicator, found.period)])
            found.second_indicator, found.second_period = second
            found.threshold_e4 = random.choice([0, 100, -100])
    elif name == "SPREAD_ABOVE":
        found.threshold_e4 = random.randrange(1, 20_000)
    else:
        found.hysteresis_e4 = None
        found.window_seconds = random.choice([1, 2, 5, 60]) if name == "STALE" else 0
    return found


def random_records(
    random: Random, count: int, symbols: int, first_rules: int, progress: bool = True
) -> Iterator[Record]:
    """Rules, then a disordered day of `symbols` S0, S1 ... with rules that come, change and go, quotes and halts.

    Kafka's time is that of the day. A partition whose symbols are all in other shards tells how far it has come.
    """
    rules: dict[str, alert_rules.AlertRule] = {}
    offsets = [0] * (PARTITIONS + 3)
    now, price, sequence = OPENING_NS, [100_000] * symbols, [0] * symbols
    codes = list(range(1, len(MARKET_STATE_CODES)))

    def rule_record(changed: alert_rules.AlertRule) -> Record:
        rules[changed.rule_id] = changed
        offsets[-1] += 1
        return ALERT_RULES, alert_rules.encode(changed, IDS["alert-rules"]), 0, offsets[-1], now // 1_000_000

    for number in range(first_rules):
        yield rule_record(random_rule(random, number, symbols))
    for number in range(count):
        chance = random.random()
        at = random.randrange(symbols)
        # Half seconds, so that times meet the ends of windows and each other.
        now += int(random.expovariate(0.7)) * SECOND_NS // 2 + (400 * SECOND_NS if random.random() < 0.01 else 0)
        if chance < 0.05:
            yield rule_record(random_rule(random, random.randrange(first_rules * 2), symbols))
        elif chance < 0.07:
            old = rules[random.choice(list(rules))]
            again = alert_rules.from_dict(alert_rules.to_dict(old))
            again.active, again.timestamp = random.random() < 0.5, number
            yield rule_record(again)
        elif chance < 0.15:
            offsets[-2] += 1
            sequence[at] += random.choice([1, 1, 1, 0, -1])
            bid = price[at] - random.randrange(1, 900) if random.random() < 0.9 else None
            ask = price[at] + random.randrange(1, 900) if random.random() < 0.9 else None
            quote = nbbo.Nbbo(
                f"S{at}-{sequence[at]}", f"S{at}", bid, 1, None, ask, 1, None, [], None, sequence[at], now
            )
            yield NBBO, nbbo.encode(quote, IDS["nbbo"]), 0, offsets[-2], now // 1_000_000
        elif chance < 0.18:
            offsets[-3] += 1
            status = market_status.MarketStatus(
                f"status-S{at}-{number}", f"S{at}", random.choice(codes), MARKET_CAUSE_CODES["CONTROL"],
                None, None, None, None, 0, 0, False, None, "news pending", "c", now,
            )  # fmt: skip
            yield MARKET_STATUS, market_status.encode(status, IDS["market-status"]), 0, offsets[-3], now // 1_000_000
        elif chance < 0.30 and progress:
            for report in range(random.choice([1, 1, 1, 3])):
                now += report * SECOND_NS
                yield PROGRESS, b"", PARTITIONS, 10 * number + report, now // 1_000_000 - random.choice([0, 0, 900])
        else:
            price[at] = min(max(price[at] + random.randrange(-300, 301), 98_500), 101_500)
            behind = random.choice([0, 0, 0, 0, SECOND_NS // 2, 3 * SECOND_NS])
            volume = 0 if random.random() < 0.3 else random.randrange(1, 900)
            tick = Tick(number, f"S{at}", price[at], volume, now - behind, random.random() > 0.05)
            partition = at % PARTITIONS
            offsets[partition] += 1
            yield MARKET_DATA, tick.frame(IDS["market-data"]), partition, offsets[partition], now // 1_000_000


assert ALERT_CONDITION_CODES["UNKNOWN"] == 0
assert ALERT_SEVERITY_INFO == 0
assert INDICATOR_CODES["NONE"] == INDICATOR_NONE
