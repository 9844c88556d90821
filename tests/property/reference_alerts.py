"""A plain alerts engine to compare with: it evaluates every rule at every record, keeps every price, and has no index.

Written from the definitions in jobs/alerts.md. It shares with the engine the codecs and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from schemas.messages.alert_rules import AlertRule, to_dict
from schemas.messages.enums import (
    ALERT_CONDITION_NAMES,
    ANALYTICS_KIND_BAR,
    INDICATOR_NONE,
    MARKET_DATA_KIND_NAMES,
    MARKET_STATE_NAMES,
)
from schemas.messages.market_analytics import MarketAnalytics
from schemas.messages.market_data import MarketDataEvent
from schemas.messages.market_status import MarketStatus
from schemas.messages.nbbo import Nbbo

SECOND: Final = 1_000_000_000
Fired = tuple[str, str, int, int, int | None, int | None, str, int, str]
"""rule, symbol, version, observed, previous, reference, cause, time, topic."""


@dataclass
class Watch:
    """One rule for one symbol."""

    holds: bool | None = None
    last_ns: int | None = None


@dataclass
class Symbol:
    """All that was ever said of a symbol while somebody watched it."""

    watches: dict[str, Watch] = field(default_factory=dict)
    values: dict[tuple[object, ...], int] = field(default_factory=dict)
    prices: list[tuple[int, int]] = field(default_factory=list)
    move_since: dict[int, int] = field(default_factory=dict)
    bars: dict[tuple[object, ...], MarketAnalytics] = field(default_factory=dict)
    newest_bar: dict[tuple[object, ...], int] = field(default_factory=dict)
    price_ns: int | None = None
    seen_ns: int | None = None
    partition: int | None = None
    sequence: int | None = None


def value_key(rule: AlertRule) -> tuple[object, ...]:
    """Rules of the same key look at the same value."""
    name = ALERT_CONDITION_NAMES[rule.condition]
    kind = name.split("_")[0] if name not in ("CHANGE_ABOVE", "CHANGE_BELOW") else name
    if kind == "INDICATOR":
        second = (rule.second_indicator, rule.second_period) if rule.second_indicator else None
        return (kind, rule.window_seconds, rule.indicator, rule.period, second)
    return (kind, rule.window_seconds if kind not in ("PRICE", "SPREAD", "HALTED") else None)


class ReferenceAlerts:
    """The plain engine."""

    def __init__(self, idle_s: int) -> None:
        self.idle_ms = idle_s * 1_000
        self.rules: dict[str, AlertRule] = {}
        self.symbols: dict[str, Symbol] = {}
        self.clocks: dict[int, int] = {}
        self.heard: dict[int, int] = {}
        self.silent_ms: dict[int, int] = {}
        self.reached = 0
        self.fired: list[Fired] = []

    def change(self, rule: AlertRule, usable: bool) -> None:
        old = self.rules.get(rule.rule_id)
        if old is not None:
            if {**to_dict(old), "timestamp": 0} == {**to_dict(rule), "timestamp": 0}:
                return
            del self.rules[rule.rule_id]
            for symbol in self.symbols.values():
                symbol.watches.pop(rule.rule_id, None)
            self.forget()
        if rule.active and usable:
            self.rules[rule.rule_id] = rule
            if rule.symbol != "*":
                self.find(rule.symbol, make=True)
            for name, symbol in self.symbols.items():
                if rule.symbol in ("*", name):
                    symbol.watches[rule.rule_id] = Watch()
                    self.begin(symbol, rule)

    def begin(self, symbol: Symbol, rule: AlertRule) -> None:
        if ALERT_CONDITION_NAMES[rule.condition].startswith(("CHANGE", "MOVE")):
            symbol.move_since.setdefault(rule.window_seconds, len(symbol.prices))

    def forget(self) -> None:
        for name in [name for name, symbol in self.symbols.items() if not symbol.watches]:
            del self.symbols[name]
        for symbol in self.symbols.values():
            keys = {value_key(self.rules[rule]) for rule in symbol.watches}
            for kept in (symbol.values, symbol.newest_bar):
                for key in [key for key in kept if key not in keys]:
                    del kept[key]
            for bar in [bar for bar in symbol.bars if bar[0] not in keys]:
                del symbol.bars[bar]
            lengths = {key[1] for key in keys if str(key[0]).startswith(("CHANGE", "MOVE"))}
            for length in [length for length in symbol.move_since if length not in lengths]:
                del symbol.move_since[length]

    def find(self, name: str, make: bool = False) -> Symbol | None:
        every = [rule for rule in self.rules.values() if rule.symbol == "*"]
        if name not in self.symbols and (every or make):
            symbol = self.symbols[name] = Symbol()
            for rule in every:
                symbol.watches[rule.rule_id] = Watch()
                self.begin(symbol, rule)
        return self.symbols.get(name)

    def market(self, event: MarketDataEvent, partition: int, kafka_ms: int) -> None:
        kind, now = MARKET_DATA_KIND_NAMES[event.kind], event.timestamp
        self.heard[partition] = max(kafka_ms, self.heard.get(partition, kafka_ms))
        self.silent_ms[partition] = 0
        symbol = self.find(event.symbol)
        if symbol is not None and kind in ("QUOTE", "TRADE", "CORRECTION", "CANCEL"):
            symbol.seen_ns = now if symbol.seen_ns is None else max(symbol.seen_ns, now)
            symbol.partition = partition
            for _, watch in self.watching(symbol, "STALE"):
                watch.holds = False
            price = event.last_price
            if kind == "TRADE" and event.eligible and price and (symbol.price_ns is None or now >= symbol.price_ns):
                symbol.price_ns = now
                symbol.prices.append((now, price))
                self.update(event.symbol, "PRICE", price, None, event.event_id, now, now, "market-data")
                for length, since in symbol.move_since.items():
                    step = length * SECOND // 60
                    inside = [p for t, p in symbol.prices[since:] if t // step >= now // step - 60]
                    low, high = min(inside), max(inside)
                    up, down = (price - low) * 1_000_000 // low, (high - price) * 1_000_000 // high
                    moves = {"CHANGE_ABOVE": (up, low), "CHANGE_BELOW": (-down, high)}
                    moves["MOVE"] = max((up, low), (down, high), key=lambda move: move[0])
                    for name, (value, start) in moves.items():
                        self.update(event.symbol, name, value, start, event.event_id, now, now, "market-data", length)
        if partition not in self.clocks or now > self.clocks[partition]:
            self.clocks[partition] = now
            self.silence(partition, now, event.event_id)

    def progress(self, cause: str, kafka_ms: int) -> None:
        before, self.reached = self.reached, max(kafka_ms, self.reached)
        if before == 0:
            return
        for partition, newest in self.clocks.items():
            gone_on = self.reached - max(before, self.heard[partition])
            if gone_on > 0:
                # No report counts for more than half of what makes a partition idle.
                self.silent_ms[partition] += min(gone_on, self.idle_ms // 2 + 1)
                if self.silent_ms[partition] >= self.idle_ms:
                    self.silence(partition, newest + self.silent_ms[partition] * 1_000_000, cause)

    def silence(self, partition: int, now: int, cause: str) -> None:
        for name, other in self.symbols.items():
            if other.partition != partition or other.seen_ns is None:
                continue
            for rule, watch in self.watching(other, "STALE"):
                if not watch.holds and now - other.seen_ns >= rule.window_seconds * SECOND:
                    watch.holds = True
                    silent = (now - other.seen_ns) // 100_000
                    self.alert(rule, watch, name, silent, None, None, cause, now, now, "market-data")

    def analysed(self, record: MarketAnalytics, time_ns: int, partition: int) -> None:
        symbol = self.symbols.get(record.symbol)
        if symbol is None:
            return
        length = (record.window_end - record.window_start) // SECOND
        clock = max(time_ns, self.clocks.get(partition, time_ns))
        for key in {value_key(self.rules[rule]) for rule in symbol.watches}:
            if key[0] == "VOLUME":
                mine = record.kind == ANALYTICS_KIND_BAR and key[1] == length
                parts: list[object] = [None]
            elif key[0] == "INDICATOR":
                parts = [(key[2], key[3]), key[4]]
                mine = key[1] == length and (record.indicator, record.period) in parts and record.value is not None
            else:
                continue
            if not mine or record.window_start < symbol.newest_bar.get(key, record.window_start):
                continue
            symbol.newest_bar[key] = record.window_start
            reference = None
            if key[0] == "VOLUME":
                value = record.volume * 10_000
            elif parts[1] is None:
                value = round((record.value or 0.0) * 10_000)
            else:
                symbol.bars[key, (record.indicator, record.period)] = record
                first, second = symbol.bars.get((key, parts[0])), symbol.bars.get((key, parts[1]))
                if first is None or second is None:
                    continue
                if (first.window_start, first.revision) != (second.window_start, second.revision):
                    continue
                reference = round((second.value or 0.0) * 10_000)
                value = round((first.value or 0.0) * 10_000) - reference
            self.update_key(record.symbol, key, value, reference, record.event_id, time_ns, clock, "market-data")

    def quote(self, quote: Nbbo) -> None:
        if not any(ALERT_CONDITION_NAMES[rule.condition] == "SPREAD_ABOVE" for rule in self.rules.values()):
            return
        symbol = self.find(quote.symbol)
        if symbol is None or not list(self.watching(symbol, "SPREAD_ABOVE")):
            return
        if symbol.sequence is not None and quote.sequence <= symbol.sequence:
            return
        symbol.sequence = quote.sequence
        if quote.bid_price is not None and quote.ask_price is not None:
            bid, ask = quote.bid_price, quote.ask_price
            value = (ask - bid) * 2_000_000 // (ask + bid)
            self.update(quote.symbol, "SPREAD", value, None, quote.event_id, quote.timestamp, quote.timestamp, "nbbo")

    def status(self, status: MarketStatus) -> None:
        if not any(ALERT_CONDITION_NAMES[rule.condition] == "HALTED" for rule in self.rules.values()):
            return
        if self.find(status.symbol) is not None:
            value = 10_000 if MARKET_STATE_NAMES[status.state] in ("HALTED", "PAUSED") else 0
            now = status.timestamp
            self.update(status.symbol, "HALTED", value, None, status.event_id, now, now, "market-status")

    def watching(self, symbol: Symbol, condition: str) -> list[tuple[AlertRule, Watch]]:
        found = [(self.rules[rule], watch) for rule, watch in symbol.watches.items()]
        return [(rule, watch) for rule, watch in found if ALERT_CONDITION_NAMES[rule.condition] == condition]

    def update(
        self,
        name: str,
        kind: str,
        value: int,
        reference: int | None,
        cause: str,
        time_ns: int,
        now_ns: int,
        topic: str,
        length: int | None = None,
    ) -> None:
        self.update_key(name, (kind, length), value, reference, cause, time_ns, now_ns, topic)

    def update_key(
        self,
        name: str,
        key: tuple[object, ...],
        value: int,
        reference: int | None,
        cause: str,
        time_ns: int,
        now_ns: int,
        topic: str,
    ) -> None:
        symbol = self.symbols[name]
        previous = symbol.values.get(key)
        watched = False
        for rule_id, watch in symbol.watches.items():
            rule = self.rules[rule_id]
            if value_key(rule) != key:
                continue
            watched = True
            condition = ALERT_CONDITION_NAMES[rule.condition]
            threshold, slack = rule.threshold_e4, rule.hysteresis_e4 or 0
            if condition == "HALTED":
                threshold = 10_000
            if condition.endswith("BELOW"):
                comes, goes = value <= threshold, value > threshold + slack
            else:
                comes, goes = value >= threshold, value < threshold - slack
            before = watch.holds
            if before:
                watch.holds = not goes
            else:
                watch.holds = comes
            both = condition.endswith("CROSS")
            fires = (watch.holds and not before) or (both and before and not watch.holds)
            if fires and not (both and before is None):
                self.alert(rule, watch, name, value, previous, reference, cause, time_ns, now_ns, topic)
        if watched:
            symbol.values[key] = value

    def alert(
        self,
        rule: AlertRule,
        watch: Watch,
        name: str,
        value: int,
        previous: int | None,
        reference: int | None,
        cause: str,
        time_ns: int,
        now_ns: int,
        topic: str,
    ) -> None:
        cool = rule.cooldown_seconds * SECOND
        if cool and watch.last_ns is not None and now_ns - watch.last_ns < cool:
            return
        watch.last_ns = now_ns
        self.fired.append((rule.rule_id, name, rule.version, value, previous, reference, cause, time_ns, topic))


assert INDICATOR_NONE == 0, "a rule without a second indicator is told by its code being 0 or null"
