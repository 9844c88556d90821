"""The alerts engine of one shard of symbols: rules, market data and what is made of it in; alerts out.

What a rule watches, when it fires and when it may fire again: alert_rules.py. How it is found: alert_index.py.

Ordering: alerts of one record are written in its order: those of the price, of symbols that fell silent, of analytics; within
one value in the order in which the rules were made. A rule holds for the records that are applied after it.
Time: that of the events, never a wall clock. Silence is measured by the clock of a Kafka partition within the shard, the
newest time of its records: it goes on with the records of other symbols. When all of them are silent and the topic has gone
on for `idle_ns` without the partition (partition_silence.py), it is reckoned to have gone on for as long.
Rules: the latest record of a ruleId is in force whatever its version, because only that one is left after compaction. One that
is not active removes the rule, one that cannot be used removes it too and is a dead letter, one that says nothing new
changes nothing, and any other makes the rule anew. Every shard gets every record of alert-rules, so that a rule whose
symbol changes leaves its old shard; one shard writes the dead letter.
Invariants: the same records in the same order give the same alerts, byte by byte, `restore(snapshot())` at any place included.
An alert's identity is made of the rule and the event that met it.
Cool-down: an alert that comes within it is left out for good, and the rule goes on as if it had been given.
Known limits: a trade that is older than the symbol's last one sets no price; corrections and cancels of trades change nothing;
a symbol that never had a record is not stale. A rule that comes to hold again between two records is not seen.
Complexity: constant for a record of a symbol that no rule fires for, whatever the number of rules.
"""

from typing import Final

from schemas.errors import DecodeError
from schemas.messages import alert_rules, market_status, nbbo
from schemas.messages.enums import (
    ANALYTICS_KIND_BAR,
    DEAD_LETTER_REASON_INVALID_VALUE,
    INDICATOR_NONE,
    MARKET_CAUSE_NAMES,
    MARKET_DATA_KIND_CANCEL,
    MARKET_DATA_KIND_CORRECTION,
    MARKET_DATA_KIND_QUOTE,
    MARKET_DATA_KIND_TRADE,
    MARKET_STATE_HALTED,
    MARKET_STATE_NAMES,
    MARKET_STATE_PAUSED,
)
from schemas.messages.market_analytics import MarketAnalytics
from schemas.messages.market_data import MarketDataEvent
from udfs.domain.alert_index import LOW, Machine, Series
from udfs.domain.alert_rules import (
    EVERY_SYMBOL,
    HALT,
    ONE_E4,
    SPREAD,
    crosses,
    fault_of,
    mirrored,
    same_terms,
    threshold_of,
    watched,
)
from udfs.domain.alert_silence import Clock, see
from udfs.domain.alert_state import read_rule, write_rule
from udfs.domain.alert_symbol import AlertSymbol
from udfs.domain.alert_writer import AlertWriter, Cause
from udfs.domain.analytics_settings import AnalyticsSettings
from udfs.domain.dead_letters import DeadLetters
from udfs.domain.ids import position_id
from udfs.domain.outbox import Lane
from udfs.domain.sharding import shard_of
from udfs.domain.sources import ALERT_RULES, MARKET_DATA, MARKET_STATUS, NBBO, TOPICS
from udfs.domain.state_codec import StateError, StateReader, StateWriter

ALERTS_KIND: Final = 6
_HEARD_VERSION: Final = 2
"""Snapshots of earlier versions do not have Kafka's timestamp of a partition's last record."""
_COUNTED_VERSION: Final = 3
"""Snapshots of earlier versions do not count a partition's silence."""
_VERSION: Final = _COUNTED_VERSION
_NS_PER_S: Final = 1_000_000_000
_RATIO: Final = 1_000_000
_MAX_VALUE: Final = 4e14
_MAX_VOLUME: Final = 4 * 10**14
_MAX_PRICE: Final = 10**12
_MAX_NOTE: Final = 80
_ALIVE: Final = (
    MARKET_DATA_KIND_QUOTE,
    MARKET_DATA_KIND_TRADE,
    MARKET_DATA_KIND_CORRECTION,
    MARKET_DATA_KIND_CANCEL,
)


class _Held:
    """A rule that is in force, and its machines: one, or one for each symbol."""

    __slots__ = ("machines", "rule")

    def __init__(self, rule: alert_rules.AlertRule) -> None:
        self.rule = rule
        self.machines: list[Machine] = []


class AlertShard:
    """Alerts of the symbols of one shard; see the module's contract."""

    def __init__(
        self,
        shard: int,
        shards: int,
        schema_ids: dict[str, int],
        alerts: Lane,
        refused: DeadLetters,
        bar_lengths_s: list[int],
        indicator_lengths_s: list[int],
        settings: AnalyticsSettings,
    ) -> None:
        """`schema_ids`: of alert-rules, nbbo, market-status and alerts; KeyError names a missing one. Lengths: `fault_of`."""
        self.writer = AlertWriter(alerts, schema_ids["alerts"])
        self._shard = shard
        self._shards = shards
        self._rule_id = schema_ids["alert-rules"]
        self._nbbo_id = schema_ids["nbbo"]
        self._status_id = schema_ids["market-status"]
        self._refused = refused
        self._settings = settings
        self._indicators = settings.computed()
        self._bar_lengths_s = bar_lengths_s
        self._indicator_lengths_s = indicator_lengths_s
        self._rules: dict[str, _Held] = {}
        self._every: dict[str, _Held] = {}
        self._symbols: dict[str, AlertSymbol] = {}
        self._keys: dict[bytes, AlertSymbol] = {}
        self._clocks: dict[int, Clock] = {}
        # How many rules watch each kind of value.
        self._kinds: list[int] = [0] * (HALT + 1)
        self._next: int = 0

    def apply(self, source: int, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        """Apply one record of alert-rules, nbbo or market-status (a Confluent frame)."""
        try:
            if source == ALERT_RULES:
                self._change(alert_rules.decode(payload, self._rule_id), payload, partition, offset, kafka_timestamp_ms)
            elif source == NBBO:
                # Not even decoded when nobody watches a spread: there are as many of them as of quotes.
                if self._kinds[SPREAD]:
                    self._spread(nbbo.decode(payload, self._nbbo_id), partition, offset)
            elif self._kinds[HALT]:
                self._halt(market_status.decode(payload, self._status_id), partition, offset)
        except DecodeError as error:
            if source != ALERT_RULES or self._shard == 0:
                self._refused.put_undecodable(source, partition, offset, kafka_timestamp_ms, error, payload)

    def market(self, event: MarketDataEvent, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        """Apply a record of market-data."""
        time_ns = event.timestamp
        clock = self._clocks.get(partition)
        if clock is None:
            clock = self._clocks[partition] = Clock()
        clock.silence.hear(kafka_timestamp_ms)
        symbol = self._find(event.symbol)
        if symbol is not None and event.kind in _ALIVE:
            see(symbol, clock, partition, time_ns)
            price = event.last_price
            if (
                event.kind == MARKET_DATA_KIND_TRADE
                and event.eligible
                and event.volume > 0
                and price is not None
                and 0 < price <= _MAX_PRICE
                and time_ns >= symbol.price_ns
            ):
                self._price(symbol, price, event, partition, offset)
        if time_ns > clock.newest_ns:
            clock.newest_ns = time_ns
            if clock.waiting and clock.waiting[0][0] <= time_ns:
                self._silence(clock, Cause(MARKET_DATA, partition, offset, event.event_id, "", time_ns, time_ns))

    def progress(self, partition: int, offset: int, before_ms: int, now_ms: int) -> None:
        """The topic has come from one Kafka timestamp to a later one, says the record at this place: look at idle partitions."""
        for clock in self._clocks.values():
            silent_ns = clock.silence.go_on(before_ms, now_ms, self._settings.idle_ns)
            now_ns = clock.newest_ns + silent_ns
            if silent_ns and clock.waiting and clock.waiting[0][0] <= now_ns:
                place = position_id(TOPICS[MARKET_DATA], partition, offset)
                self._silence(clock, Cause(MARKET_DATA, partition, offset, place, "", now_ns, now_ns))

    def wants(self, key: bytes) -> bool:
        """Whether a rule looks at bars or indicators of the symbol with this Kafka key."""
        symbol = self._keys.get(key)
        return symbol is not None and len(symbol.outputs) > 0

    def analysed(self, record: MarketAnalytics, time_ns: int, partition: int, offset: int) -> None:
        """Apply a bar or an indicator that the record of market-data at this position made; after `market` for that.

        time_ns: that of the record.
        """
        symbol = self._symbols.get(record.symbol)
        if symbol is None:
            return
        length_s = (record.window_end - record.window_start) // _NS_PER_S
        if record.kind == ANALYTICS_KIND_BAR:
            consumers = symbol.outputs.get((length_s, 0, 0))
            if record.volume > _MAX_VOLUME:
                return
            value = record.volume * ONE_E4
        else:
            consumers = symbol.outputs.get((length_s, record.indicator, record.period))
            number = record.value
            if number is None or not -_MAX_VALUE < number < _MAX_VALUE:
                return
            value = round(number * ONE_E4)
        if consumers is None:
            return
        clock = self._clocks.get(partition)
        now_ns = time_ns if clock is None else max(time_ns, clock.newest_ns)
        cause = Cause(MARKET_DATA, partition, offset, record.event_id, record.event_id, time_ns, now_ns)
        at = (record.window_start, record.revision)
        for series in consumers:
            if record.window_start < series.start_ns:
                # The revision of a bar that is not the last one.
                continue
            series.start_ns = record.window_start
            _, _, code, period, second, _ = series.watched
            if second == INDICATOR_NONE:
                self._update(symbol, series, value, None, cause)
                continue
            if (record.indicator, record.period) == (code, period):
                series.first, series.first_at = value, at
            else:
                series.second, series.second_at = value, at
            # Compared when both are of the same bar in the same revision: one comes after the other.
            if series.first_at == series.second_at:
                self._update(symbol, series, series.first - series.second, series.second, cause)

    # ---------------------------------------------------------------------------------------------------------- values

    def _price(self, symbol: AlertSymbol, price: int, event: MarketDataEvent, partition: int, offset: int) -> None:
        """The price of a symbol, and its moves."""
        time_ns = event.timestamp
        symbol.price_ns = time_ns
        series = symbol.price
        if series is not None:
            previous = series.value if series.known else None
            moved = series.update(price)
            if moved:
                cause = Cause(MARKET_DATA, partition, offset, event.event_id, "", time_ns, time_ns)
                self._fire(moved, symbol, price, previous, None, cause)
        if symbol.moves:
            for window in symbol.windows.values():
                window.add(price, time_ns)
            for series in symbol.moves:
                kind, length = series.watched[0], series.watched[1]
                value, start = symbol.windows[length].value(kind, price)
                previous = series.value if series.known else None
                moved = series.update(value)
                if moved:
                    cause = Cause(MARKET_DATA, partition, offset, event.event_id, "", time_ns, time_ns)
                    self._fire(moved, symbol, value, previous, start, cause)

    def _spread(self, quote: nbbo.Nbbo, partition: int, offset: int) -> None:
        """The NBBO of a symbol; it is written at least once, and the highest sequence is the newest."""
        symbol = self._find(quote.symbol)
        if symbol is None or symbol.spread is None or quote.sequence <= symbol.sequence:
            return
        symbol.sequence = quote.sequence
        bid, ask = quote.bid_price, quote.ask_price
        if bid is None or ask is None or bid + ask <= 0:
            return
        cause = Cause(NBBO, partition, offset, quote.event_id, "", quote.timestamp, quote.timestamp)
        self._update(symbol, symbol.spread, (ask - bid) * 2 * _RATIO // (ask + bid), None, cause)

    def _halt(self, status: market_status.MarketStatus, partition: int, offset: int) -> None:
        """The state of trading in a symbol."""
        symbol = self._find(status.symbol)
        if symbol is None or symbol.halt is None:
            return
        halted = status.state == MARKET_STATE_HALTED or status.state == MARKET_STATE_PAUSED
        note = f"{MARKET_STATE_NAMES[status.state]} ({MARKET_CAUSE_NAMES[status.cause]})"
        if status.detail:
            note = f"{note}: {status.detail[:_MAX_NOTE]}"
        cause = Cause(MARKET_STATUS, partition, offset, status.event_id, "", status.timestamp, status.timestamp)
        self._update(symbol, symbol.halt, ONE_E4 if halted else 0, None, cause, note)

    def _update(
        self, symbol: AlertSymbol, series: Series, value: int, reference: int | None, cause: Cause, note: str = ""
    ) -> None:
        """A value of a symbol, and what it fires."""
        previous = series.value if series.known else None
        self._fire(series.update(value), symbol, value, previous, reference, cause, note)

    def _fire(
        self,
        machines: list[Machine],
        symbol: AlertSymbol,
        value: int,
        previous: int | None,
        reference: int | None,
        cause: Cause,
        note: str = "",
    ) -> None:
        """Alerts of one value."""
        for machine in machines:
            self.writer.put(machine, symbol.key, value, previous, reference, cause, note)

    def _silence(self, clock: Clock, cause: Cause) -> None:
        """The clock has come to the time of this cause, at which a symbol may have become stale."""
        for machine in clock.stale(cause.now_ns, self._symbols):
            symbol = self._symbols[machine.symbol]
            silent_e4 = (cause.now_ns - symbol.seen_ns) * ONE_E4 // _NS_PER_S
            self.writer.put(machine, symbol.key, silent_e4, None, None, cause, "")

    def _find(self, name: str) -> AlertSymbol | None:
        """What is watched of a symbol: of any, when there is a rule for every one."""
        symbol = self._symbols.get(name)
        return self._watch(name) if symbol is None and self._every else symbol

    # ----------------------------------------------------------------------------------------------------------- rules

    def _change(
        self, rule: alert_rules.AlertRule, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int
    ) -> None:
        """A record of alert-rules."""
        every = rule.symbol == EVERY_SYMBOL
        mine = every or shard_of(rule.symbol, self._shards) == self._shard
        held = self._rules.get(rule.rule_id)
        if held is not None:
            if mine and same_terms(held.rule, rule):
                return
            self._remove(held)
        if not mine or not rule.active:
            return
        fault = fault_of(rule, self._indicators, self._bar_lengths_s, self._indicator_lengths_s)
        if fault:
            if not every or self._shard == 0:
                self._refused.put(
                    ALERT_RULES,
                    partition,
                    offset,
                    kafka_timestamp_ms,
                    DEAD_LETTER_REASON_INVALID_VALUE,
                    f"rule {rule.rule_id} of {rule.owner} is not in force: {fault}",
                    payload,
                    rule.timestamp,
                )
            return
        held = self._hold(rule)
        if every:
            for symbol in self._symbols.values():
                self._arm(held, symbol)
        else:
            self._arm(held, self._symbols.get(rule.symbol) or self._watch(rule.symbol))

    def _hold(self, rule: alert_rules.AlertRule) -> _Held:
        held = self._rules[rule.rule_id] = _Held(rule)
        self._kinds[watched(rule)[0]] += 1
        if rule.symbol == EVERY_SYMBOL:
            self._every[rule.rule_id] = held
        return held

    def _watch(self, name: str) -> AlertSymbol:
        """A symbol that was not watched."""
        symbol = self._symbols[name] = AlertSymbol(name)
        self._keys[symbol.key] = symbol
        for held in self._every.values():
            self._arm(held, symbol)
        return symbol

    def _arm(self, held: _Held, symbol: AlertSymbol) -> None:
        """Make the machine of a rule for a symbol."""
        machine = _machine(self._next, held.rule, symbol.name)
        self._next += 1
        self._add(held, symbol, machine)
        if machine.number in symbol.silent and symbol.partition >= 0:
            # The time runs from its last record, but it is not stale before the clock moves on.
            symbol.idle.remove(machine)
            self._clocks[symbol.partition].wait(machine, symbol)

    def _add(self, held: _Held, symbol: AlertSymbol, machine: Machine) -> None:
        held.machines.append(machine)
        symbol.add(machine, watched(held.rule), mirrored(held.rule))

    def _remove(self, held: _Held) -> None:
        """A rule is no longer in force."""
        rule = held.rule
        del self._rules[rule.rule_id]
        self._kinds[watched(rule)[0]] -= 1
        self._every.pop(rule.rule_id, None)
        for machine in held.machines:
            symbol = self._symbols[machine.symbol]
            symbol.remove(machine, watched(rule), mirrored(rule))
            if symbol.machines == 0:
                del self._symbols[symbol.name]
                del self._keys[symbol.key]

    # ----------------------------------------------------------------------------------------------------------- state

    def snapshot(self) -> bytes:
        """The state, between batches."""
        out = StateWriter()
        for number in (self._shard, self._shards, self._next, len(self._clocks), len(self._symbols), len(self._rules)):
            out.put(number)
        for partition, clock in self._clocks.items():
            out.put(partition)
            out.put(clock.newest_ns)
            clock.silence.write(out)
        for symbol in self._symbols.values():
            symbol.write(out)
        for held in self._rules.values():
            write_rule(out, held.rule)
            out.put(len(held.machines))
            for machine in held.machines:
                out.put_text(machine.symbol)
                for number in (machine.number, machine.state, machine.last_ns):
                    out.put(number)
        return out.finish(_VERSION, ALERTS_KIND)

    def restore(self, data: bytes) -> None:
        """Replace the state by a snapshot's. Raises StateError when it cannot be used; this engine is then of no use."""
        reader = StateReader(data, ALERTS_KIND, _VERSION)
        shard, shards = reader.take(), reader.take()
        if shard != self._shard or shards != self._shards:
            raise StateError(
                f"snapshot of shard {shard} of {shards} given to shard {self._shard} of {self._shards}: "
                "the number of shards cannot change while the state is kept"
            )
        self._rules, self._every, self._symbols, self._keys, self._clocks = {}, {}, {}, {}, {}
        self._kinds = [0] * (HALT + 1)
        self._next = reader.take()
        clocks, symbols, rules = reader.take(), reader.take(), reader.take()
        for _ in range(clocks):
            clock = self._clocks[reader.take()] = Clock()
            clock.newest_ns = reader.take()
            if reader.version >= _HEARD_VERSION:
                clock.silence.read(reader, reader.version >= _COUNTED_VERSION)
        for _ in range(symbols):
            symbol = AlertSymbol(reader.take_text())
            symbol.read(reader)
            self._symbols[symbol.name] = symbol
            self._keys[symbol.key] = symbol
        for _ in range(rules):
            held = self._hold(read_rule(reader))
            for _ in range(reader.take()):
                symbol = self._symbols[reader.take_text()]
                machine = _machine(reader.take(), held.rule, symbol.name)
                machine.state = reader.take()
                machine.last_ns = reader.take()
                self._add(held, symbol, machine)
                if machine.state == LOW and machine.number in symbol.silent:
                    self._clocks[symbol.partition].wait(machine, symbol)
        reader.expect_end()


def _machine(number: int, rule: alert_rules.AlertRule, symbol: str) -> Machine:
    """The machine of a rule for a symbol, before it has seen a value."""
    up = -threshold_of(rule) if mirrored(rule) else threshold_of(rule)
    return Machine(number, rule, symbol, up, up - (rule.hysteresis_e4 or 0), crosses(rule))
