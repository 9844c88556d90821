"""`tradestream bench alerts`: what rules for alerts cost, with no cluster.

One run feeds the same trades to the alerts engine without rules, with 100,000 rules on 1,000 symbols, and to a loop that looks at
every rule of the symbol, alternating, so that a busy machine is equally unfair to all. The best of the rounds counts.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from typing import Final

import click

from schemas.messages import alert_rules, market_data
from schemas.messages.alert_rules import AlertRule
from schemas.messages.enums import (
    ALERT_CONDITION_PRICE_ABOVE,
    ALERT_CONDITION_PRICE_BELOW,
    ALERT_SEVERITY_INFO,
    INDICATOR_NONE,
    MARKET_DATA_KIND_TRADE,
)
from udfs.domain import alert_shard
from udfs.domain.alert_shard import AlertShard
from udfs.domain.analytics_settings import AnalyticsSettings
from udfs.domain.dead_letters import DeadLetters
from udfs.domain.outbox import Lane
from udfs.domain.sources import ALERT_RULES

SYMBOLS: Final = 1_000
RULES: Final = 100_000
TRADES: Final = 100_000
ROUNDS: Final = 3
IDS: Final = {"alert-rules": 1, "alerts": 2, "nbbo": 3, "market-status": 4, "dead-letter": 5}
COMPILED: Final = not alert_shard.__file__.endswith(".py")
_START_NS: Final = 1_381_152_600_000_000_000


def make_rules(chance: random.Random, count: int) -> list[AlertRule]:
    """Prices above and below, up to 20 percent away from where the symbol begins, with hysteresis and cool-down."""
    found = []
    for number in range(count):
        above = chance.random() < 0.5
        threshold = int(1_000_000 * (1 + (1 if above else -1) * chance.uniform(0.0005, 0.2)))
        condition = ALERT_CONDITION_PRICE_ABOVE if above else ALERT_CONDITION_PRICE_BELOW
        terms = (condition, INDICATOR_NONE, 0, 0, threshold, ALERT_SEVERITY_INFO, 300, True, 1, 500, None, None)
        found.append(AlertRule(f"rule-{number}", 1, f"user-{number % 5_000}", f"S{number % SYMBOLS}", *terms))
    return found


def make_trades(chance: random.Random, count: int) -> list[market_data.MarketDataEvent]:
    """Random walks of all symbols by hundredths of a percent, a trade each 0.1 ms; the first ones are one of each symbol."""
    prices = [1_000_000] * SYMBOLS
    found = []
    for number in range(count):
        at = number if number < SYMBOLS else chance.randrange(SYMBOLS)
        prices[at] += chance.randrange(-3, 4) * 100
        quote = (None, 0, None, 0, prices[at], 100, None, False, number, "bench", _START_NS + number * 100_000, True)
        event = market_data.MarketDataEvent(f"t{number}", MARKET_DATA_KIND_TRADE, f"S{at}", "XNYS", *quote)
        found.append(event)
    return found


def new_engine(rules: Sequence[AlertRule]) -> AlertShard:
    """An engine with these rules in force."""
    refused = DeadLetters(Lane("dead-letter"), IDS["dead-letter"], "alert", job="analytics")
    settings = AnalyticsSettings(0, 0, "sma:20")
    engine = AlertShard(0, 1, IDS, Lane("alerts"), refused, [], [], settings)
    for offset, rule in enumerate(rules):
        engine.apply(ALERT_RULES, alert_rules.encode(rule, IDS["alert-rules"]), 0, offset, 0)
    assert not refused.count
    return engine


def indexed(rules: Sequence[AlertRule], trades: Sequence[market_data.MarketDataEvent]) -> tuple[float, int]:
    """Seconds that the engine takes for the trades, and the alerts that it gives."""
    engine = new_engine(rules)
    begun = 0.0
    for offset, trade in enumerate(trades):
        if offset == SYMBOLS:
            # By its first price a symbol sorts its rules, once: that belongs to reading them.
            begun = time.process_time()
        engine.market(trade, 0, offset, 0)
    return time.process_time() - begun, engine.writer.given + engine.writer.cooling


def naive(rules: Sequence[AlertRule], trades: Sequence[market_data.MarketDataEvent]) -> tuple[float, int]:
    """The same by looking at every rule of the symbol; it writes nothing, which is in its favour."""
    by_symbol: dict[str, list[tuple[AlertRule, list[bool]]]] = {}
    for rule in rules:
        by_symbol.setdefault(rule.symbol, []).append((rule, [False]))
    fired = 0
    begun = 0.0
    for offset, trade in enumerate(trades):
        if offset == SYMBOLS:
            begun = time.process_time()
        price = trade.last_price or 0
        for rule, holds in by_symbol.get(trade.symbol, ()):
            if rule.condition == ALERT_CONDITION_PRICE_ABOVE:
                comes, goes = price >= rule.threshold_e4, price < rule.threshold_e4 - (rule.hysteresis_e4 or 0)
            else:
                comes, goes = price <= rule.threshold_e4, price > rule.threshold_e4 + (rule.hysteresis_e4 or 0)
            if holds[0]:
                holds[0] = not goes
            elif comes:
                holds[0] = True
                fired += 1
    return time.process_time() - begun, fired


def measure(rule_count: int = RULES, trade_count: int = TRADES, rounds: int = ROUNDS) -> dict[str, tuple[float, int]]:
    """Best seconds and alerts of each way, from the same trades. Raises RuntimeError when two ways fire differently."""
    chance = random.Random(1)
    rules, trades = make_rules(chance, rule_count), make_trades(chance, SYMBOLS + trade_count)
    ways: dict[str, Callable[[], tuple[float, int]]] = {
        "no rules": lambda: indexed([], trades),
        "index": lambda: indexed(rules, trades),
        "every rule": lambda: naive(rules, trades),
    }
    best: dict[str, tuple[float, int]] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            best[name] = min(best.get(name, (1e9, 0)), way())
    if best["index"][1] != best["every rule"][1]:
        raise RuntimeError(
            f"the index fired {best['index'][1]} times, every rule looked at {best['every rule'][1]} times"
        )
    return best


@click.command(name="alerts", short_help="What 100,000 rules for alerts cost an update.")
@click.option("--rules", "rule_count", default=RULES, show_default=True, type=click.IntRange(1), help="Rules.")
@click.option("--trades", "trade_count", default=TRADES, show_default=True, type=click.IntRange(1), help="Trades.")
@click.option("--repeat", default=ROUNDS, show_default=True, type=click.IntRange(1), help="Rounds; the best counts.")
@click.option("--quick", is_flag=True, help="20,000 trades, one round: a few seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on the last line.")
def alerts(rule_count: int, trade_count: int, repeat: int, quick: bool, as_json: bool) -> None:
    """The alerts engine alone: what an update costs without rules, with many rules on 1,000 symbols, and when every rule of the
    symbol is looked at, as a simple program would. All three see the same trades, and the last two must fire the same.

    Times are of the CPU, in one thread.

    \b
    Example:
      tradestream bench alerts --quick
    """
    if quick:
        trade_count, repeat = min(trade_count, 20_000), 1
    began = time.process_time()
    new_engine(make_rules(random.Random(1), rule_count))
    loaded_s = time.process_time() - began
    best = measure(rule_count, trade_count, repeat)
    result: dict[str, object] = {"rules": rule_count, "symbols": SYMBOLS, "trades": trade_count, "compiled": COMPILED}
    click.echo(
        f"{trade_count:,} trades of {SYMBOLS:,} symbols, {rule_count:,} rules, which were read in {loaded_s:.1f} s"
    )
    for name, (seconds, fired) in best.items():
        each_us = seconds / trade_count * 1e6
        click.echo(
            f"{name:<12}{each_us:>9.2f} us an update {trade_count / seconds:>12,.0f} updates/s {fired:>8,} fired"
        )
        result[name.replace(" ", "_")] = {"us": round(each_us, 3), "fired": fired}
    if not COMPILED:
        click.echo("The engine runs interpreted.")
    if as_json:
        click.echo(json.dumps(result))
