"""The analytics engine of one shard of symbols: market data in; bars, their indicators, and dead letters out.

Bars are those of bars.py, in event time, of the lengths `LENGTHS_NS`, made of eligible trades. The indicators of the
settings (TA-Lib's definitions, indicators.py) are computed of the bars of five minutes and longer, and with them the VWAP of the
session, which is a day in New York. Of the quotes, the spread of the best one and the balance of its sizes (quote_board.py) are
told as they were when the clock passed the end of each window of those lengths in which a quote of the symbol came, once.

Ordering: what one record causes is written in its order, a bar before its indicators, shorter bars before longer ones.
Time: the symbols of this shard that share a Kafka partition have one clock, the newest time of their records, of any kind.
It closes the bars of all of them, so that no symbol waits for one that is silent, and a partition that is read faster than
another one makes nobody late. It stands still when all of them are silent: their last bars come with the next record.
Late trades: a bar that was given is given again with the next revision while the clock is less than `lateness_ns` past its
end, and with it its indicators, revised. A trade that is later than that for its bar of a second is a dead letter (LATE),
even where a longer bar could still take it and does.
Corrections and cancels change the bars that have the trade as if it had been right from the start, while a late trade of its
time would be taken for the bar of a second; after that they are dead letters (LATE) and no bar changes. A bar that was given
and has lost its last trade is given again without prices, and the values of its indicators as null.
Invariants: each record is counted once; no bar is first given without a trade; `restore(snapshot())` gives an engine that
continues with identical output; a revised indicator is the one of a series in which the bar had been right from the start.
Identity of a record: symbol, length, start of the window, indicator and revision.
Known limits: a window without trades has no bar, and indicators count bars. The lateness may not exceed the shortest length
that has indicators, because an indicator can take back its last bar only.
Complexity: constant for a trade, and for each second that passes, one look at each symbol of the clock.
"""

from typing import Final

from schemas.errors import DecodeError
from schemas.messages import market_data
from schemas.messages.enums import (
    DEAD_LETTER_REASON_INVALID_VALUE,
    DEAD_LETTER_REASON_LATE,
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
    MARKET_DATA_KIND_CANCEL,
    MARKET_DATA_KIND_CORRECTION,
    MARKET_DATA_KIND_QUOTE,
    MARKET_DATA_KIND_TRADE,
)
from udfs.domain.analytics_writer import AnalyticsOutbox, AnalyticsWriter
from udfs.domain.bar_ladder import BarLadder
from udfs.domain.bars import (
    LATE,
    LENGTHS_NS,
    MINUTE_NS,
    REVISED,
    SECOND_NS,
    TAKEN,
    UNKNOWN,
    Bar,
)
from udfs.domain.dead_letters import DeadLetters
from udfs.domain.indicator_series import SESSIONS_VERSION, IndicatorSeries
from udfs.domain.indicator_specs import IndicatorError, IndicatorSet, IndicatorSpec, parse_indicators
from udfs.domain.quote_board import QuoteBoard
from udfs.domain.state_codec import StateError, StateReader, StateWriter

INDICATOR_LENGTHS_NS: Final = (5 * MINUTE_NS, 15 * MINUTE_NS, 60 * MINUTE_NS)
"""Lengths of the bars that indicators are computed of."""
MAX_LATENESS_NS: Final = 5 * MINUTE_NS

_VERSION: Final = SESSIONS_VERSION
ANALYTICS_STATE_KIND: Final = 4
_LONG_AGO: Final = -(2**62)
_UNPUBLISHED: Final = -1
# Codes of the outputs of an indicator, in their order.
_OUTPUTS: Final[dict[str, tuple[int, ...]]] = {
    "sma": (INDICATOR_SMA,),
    "ema": (INDICATOR_EMA,),
    "rsi": (INDICATOR_RSI,),
    "atr": (INDICATOR_ATR,),
    "macd": (INDICATOR_MACD, INDICATOR_MACD_SIGNAL, INDICATOR_MACD_HISTOGRAM),
    # The middle band is the SMA of the same period.
    "bbands": (INDICATOR_BOLLINGER_UPPER, _UNPUBLISHED, INDICATOR_BOLLINGER_LOWER),
    "rvol": (INDICATOR_VOLATILITY,),
    "relvol": (INDICATOR_RELATIVE_VOLUME,),
}


class AnalyticsSettings:
    """How long to wait for trades, and which indicators; checked.

    out_of_order_ns: a bar is given when the clock is so far past its end. lateness_ns: how long after that it is revised.
    indicators: as indicator_specs.py has them, `sma:20,rsi:14`. Raises ValueError (IndicatorError) when one is out of range.
    """

    __slots__ = ("indicators", "lateness_ns", "out_of_order_ns", "outputs", "specs")

    def __init__(self, out_of_order_ns: int, lateness_ns: int, indicators: str) -> None:
        if out_of_order_ns < 0 or not 0 <= lateness_ns <= MAX_LATENESS_NS:
            raise ValueError(f"lateness must be from 0 to {MAX_LATENESS_NS // SECOND_NS} s, and no delay negative")
        self.out_of_order_ns = out_of_order_ns
        self.lateness_ns = lateness_ns
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
                if code != _UNPUBLISHED and (code, period) in self.outputs:
                    raise IndicatorError(f"{spec.text()} has the name of one before it: one of a kind and period")
                self.outputs.append((code, period))


class _Symbol:
    """What is known of one symbol. `quoted_ns`: the time of its clock when its last quote came."""

    __slots__ = ("board", "key", "ladder", "name", "quoted_ns", "series")

    def __init__(self, name: str, settings: AnalyticsSettings) -> None:
        self.name = name
        self.key: bytes = name.encode("utf-8")
        self.board = QuoteBoard()
        self.quoted_ns: int = _LONG_AGO
        self.ladder = BarLadder(list(LENGTHS_NS), settings.out_of_order_ns, settings.lateness_ns)
        self.series: dict[int, IndicatorSeries] = {
            length: IndicatorSeries(settings.specs) for length in INDICATOR_LENGTHS_NS
        }


class _Partition:
    """A clock and its symbols. `closed_ns`: the second up to which bars were looked at; `quotes_ns`: the time of quotes."""

    __slots__ = ("closed_ns", "newest_ns", "quotes_ns", "symbols")

    def __init__(self) -> None:
        self.newest_ns: int = _LONG_AGO
        self.closed_ns: int = _LONG_AGO
        self.quotes_ns: int = _LONG_AGO
        self.symbols: dict[str, _Symbol] = {}


class AnalyticsShard:
    """Bars and indicators of the symbols of one shard; see the module's contract."""

    def __init__(
        self,
        shard: int,
        shards: int,
        schema_ids: dict[str, int],
        out_of_order_ns: int,
        lateness_ns: int,
        indicators: str,
    ) -> None:
        """`schema_ids`: registry ids of market-data and of the topics that are written; KeyError names a missing one.

        The others are AnalyticsSettings', as plain values, because a compiled object cannot travel to the cluster.
        """
        self.outbox = AnalyticsOutbox()
        self.trades: int = 0
        self.late: int = 0
        self.changes: int = 0
        """Trades taken, trades and changes refused as late, corrections and cancels taken, since this engine was made."""
        self._shard = shard
        self._shards = shards
        self._settings = AnalyticsSettings(out_of_order_ns, lateness_ns, indicators)
        self._market_data = schema_ids["market-data"]
        self._writer = AnalyticsWriter(self.outbox, schema_ids["market-analytics"])
        self._refused = DeadLetters(self.outbox.dead_letter, schema_ids["dead-letter"], "analyse", job="analytics")
        self._partitions: dict[int, _Partition] = {}

    def apply(self, source: int, payload: bytes, partition: int, offset: int, kafka_timestamp_ms: int) -> None:
        """Apply one record of market-data (a Confluent frame)."""
        try:
            event = market_data.decode(payload, self._market_data)
        except DecodeError as error:
            self._refused.put_undecodable(source, partition, offset, kafka_timestamp_ms, error, payload)
            return
        self.apply_event(event, source, payload, partition, offset, kafka_timestamp_ms)

    def apply_event(
        self,
        event: market_data.MarketDataEvent,
        source: int,
        payload: bytes,
        partition: int,
        offset: int,
        kafka_timestamp_ms: int,
    ) -> None:
        """Apply a record that is decoded already."""
        clock = self._partitions.get(partition)
        if clock is None:
            clock = self._partitions[partition] = _Partition()
        if event.timestamp - event.timestamp % INDICATOR_LENGTHS_NS[0] > clock.quotes_ns:
            self._close_quotes(clock, event.timestamp - event.timestamp % INDICATOR_LENGTHS_NS[0])
        if event.kind == MARKET_DATA_KIND_QUOTE:
            if not event.suspicious:
                self._quote(clock, event)
        elif event.kind == MARKET_DATA_KIND_TRADE:
            if event.eligible and event.last_price is not None and event.volume > 0:
                self._trade(clock, event, source, payload, partition, offset, kafka_timestamp_ms)
        elif event.kind == MARKET_DATA_KIND_CORRECTION or event.kind == MARKET_DATA_KIND_CANCEL:
            self._change(clock, event, source, payload, partition, offset, kafka_timestamp_ms)
        if event.timestamp > clock.newest_ns:
            clock.newest_ns = event.timestamp
            second = event.timestamp - event.timestamp % SECOND_NS
            if second > clock.closed_ns:
                # Here and not once a batch, so that what is late does not depend on where batches are cut.
                clock.closed_ns = second
                for symbol in clock.symbols.values():
                    symbol.ladder.advance(second)
                    self._publish(symbol)

    def flush(self) -> None:
        """Nothing is written once a batch."""

    def snapshot(self) -> bytes:
        """The state, between batches."""
        out = StateWriter()
        out.put(self._shard)
        out.put(self._shards)
        out.put(self._settings.out_of_order_ns)
        out.put(self._settings.lateness_ns)
        out.put_text(self._settings.indicators)
        out.put(len(self._partitions))
        for number, clock in self._partitions.items():
            out.put(number)
            out.put(clock.newest_ns)
            out.put(clock.closed_ns)
            out.put(clock.quotes_ns)
            out.put(len(clock.symbols))
            for symbol in clock.symbols.values():
                out.put_text(symbol.name)
                symbol.ladder.write(out)
                for length in INDICATOR_LENGTHS_NS:
                    symbol.series[length].write(out)
                out.put(symbol.quoted_ns)
                symbol.board.write(out)
        return out.finish(_VERSION, ANALYTICS_STATE_KIND)

    def restore(self, data: bytes) -> None:
        """Replace the state by a snapshot's. Raises StateError when it cannot be used, and is then unchanged."""
        reader = StateReader(data, ANALYTICS_STATE_KIND, _VERSION)
        shard, shards = reader.take(), reader.take()
        if shard != self._shard or shards != self._shards:
            raise StateError(
                f"snapshot of shard {shard} of {shards} given to shard {self._shard} of {self._shards}: "
                "the number of shards cannot change while the state is kept"
            )
        settings = self._settings
        found = (reader.take(), reader.take(), reader.take_text())
        if found != (settings.out_of_order_ns, settings.lateness_ns, settings.indicators):
            raise StateError(
                f"the state was made with delays of {found[0]} and {found[1]} ns and the indicators {found[2]}: "
                "settings of the analytics job cannot change while its state is kept; start it afresh for new ones"
            )
        partitions: dict[int, _Partition] = {}
        for _ in range(reader.take()):
            clock = partitions[reader.take()] = _Partition()
            clock.newest_ns = reader.take()
            clock.closed_ns = reader.take()
            if reader.version >= SESSIONS_VERSION:
                clock.quotes_ns = reader.take()
            for _ in range(reader.take()):
                symbol = _Symbol(reader.take_text(), settings)
                symbol.ladder.read(reader)
                for length in INDICATOR_LENGTHS_NS:
                    symbol.series[length].read(reader)
                if reader.version >= SESSIONS_VERSION:
                    symbol.quoted_ns = reader.take()
                    symbol.board.read(reader)
                clock.symbols[symbol.name] = symbol
        reader.expect_end()
        self._partitions = partitions
        self.outbox.clear()

    def _trade(
        self,
        clock: _Partition,
        event: market_data.MarketDataEvent,
        source: int,
        payload: bytes,
        partition: int,
        offset: int,
        kafka_timestamp_ms: int,
    ) -> None:
        """An eligible trade."""
        symbol = self._symbol(clock, event.symbol)
        price = event.last_price
        if symbol.ladder.add(0 if price is None else price, event.volume, event.timestamp) == LATE:
            self.late += 1
            detail = self._late(clock, event, "trade", event.timestamp)
            self._refused.put(
                source, partition, offset, kafka_timestamp_ms, DEAD_LETTER_REASON_LATE, detail, payload, event.timestamp
            )
        else:
            self.trades += 1
        self._publish(symbol)

    def _change(
        self,
        clock: _Partition,
        event: market_data.MarketDataEvent,
        source: int,
        payload: bytes,
        partition: int,
        offset: int,
        kafka_timestamp_ms: int,
    ) -> None:
        """A correction or a cancel of a trade: at the trade's own time, as if it had been right from the start."""
        time_ns, price, volume = event.original_timestamp, event.original_price, event.original_volume
        if time_ns is None or price is None or volume is None:
            status = UNKNOWN
        else:
            new_price, new_volume = event.last_price, event.volume
            if event.kind == MARKET_DATA_KIND_CANCEL or new_price is None or not event.eligible:
                new_price = new_volume = 0
            symbol = self._symbol(clock, event.symbol)
            if event.original_eligible and volume > 0:
                status = symbol.ladder.change(time_ns, price, volume, new_price, new_volume)
            elif new_volume > 0:
                # A late change changes no bar, not even a longer one that is open.
                final = symbol.ladder.is_final(time_ns)
                status = LATE if final else symbol.ladder.add(new_price, new_volume, time_ns)
            else:
                status = TAKEN
            self._publish(symbol)
        if status in (TAKEN, REVISED):
            self.changes += 1
            return
        if status == LATE:
            self.late += 1
            reason = DEAD_LETTER_REASON_LATE
            detail = self._late(clock, event, f"change of {event.original_event_id}", 0 if time_ns is None else time_ns)
        else:
            reason = DEAD_LETTER_REASON_INVALID_VALUE
            detail = (
                f"{event.event_id} changes {event.original_event_id} of {event.symbol}, which is no trade of its second"
            )
        self._refused.put(source, partition, offset, kafka_timestamp_ms, reason, detail, payload, event.timestamp)

    def _symbol(self, clock: _Partition, name: str) -> _Symbol:
        """What is known of a symbol."""
        symbol = clock.symbols.get(name)
        if symbol is None:
            symbol = clock.symbols[name] = _Symbol(name, self._settings)
            # A symbol that is met late has the clock of its partition, as if it had been there.
            symbol.ladder.advance(clock.closed_ns)
        return symbol

    def _late(self, clock: _Partition, event: market_data.MarketDataEvent, what: str, time_ns: int) -> str:
        """Why a record is late."""
        behind_s = (clock.newest_ns - time_ns) / SECOND_NS
        return f"{what} {event.event_id} of {event.symbol} is {behind_s:.3f} s behind: its bar of a second is final"

    def _publish(self, symbol: _Symbol) -> None:
        """Write the bars that are ready, and what follows from them."""
        for bar in symbol.ladder.take():
            self._writer.bar(symbol.key, symbol.name, bar)
            series = symbol.series.get(bar.end_ns - bar.start_ns)
            if series is not None and bar.trades > 0:
                values = series.follow(bar)
                self._write_values(symbol, bar, values, False, series.session_vwap())
            elif series is not None:
                self._write_values(symbol, bar, series.take_back(bar), True, None)

    def _write_values(
        self, symbol: _Symbol, bar: Bar, values: list[float | None] | None, taken_back: bool, session_vwap: float | None
    ) -> None:
        """The outputs of the indicators at a bar; of one that was taken back, that they are no more."""
        if values is None:
            return
        for place, (code, period) in enumerate(self._settings.outputs):
            value = values[place]
            if code != _UNPUBLISHED and value is not None:
                self._write_value(symbol, bar, code, period, None if taken_back else value)
        self._write_value(symbol, bar, INDICATOR_SESSION_VWAP, 0, None if taken_back else session_vwap)

    def _write_value(self, symbol: _Symbol, bar: Bar, code: int, period: int, value: float | None) -> None:
        """One output at a bar."""
        time_ns = bar.last_ns if bar.trades > 0 else bar.end_ns
        self._writer.value(
            symbol.key, symbol.name, bar.start_ns, bar.end_ns, bar.revision, code, period, value, time_ns
        )

    def _quote(self, clock: _Partition, event: market_data.MarketDataEvent) -> None:
        """A quote of an exchange."""
        symbol = self._symbol(clock, event.symbol)
        bid, ask = event.bid_price, event.ask_price
        symbol.board.quote(
            event.exchange,
            0 if bid is None else bid,
            event.bid_size,
            0 if ask is None else ask,
            event.ask_size,
            event.timestamp,
        )
        # By the clock and not by its own time, so that no window is told twice.
        symbol.quoted_ns = max(event.timestamp, clock.newest_ns)

    def _close_quotes(self, clock: _Partition, time_ns: int) -> None:
        """Time has come to another window of quotes: tell what was in force at the end of those that are over."""
        for symbol in clock.symbols.values():
            if symbol.quoted_ns == _LONG_AGO:
                continue
            for length_ns in INDICATOR_LENGTHS_NS:
                start_ns = symbol.quoted_ns - symbol.quoted_ns % length_ns
                end_ns = start_ns + length_ns
                # The end lies between the last look and now, or it was told before.
                if clock.quotes_ns < end_ns <= time_ns:
                    self._write_quotes(symbol, start_ns, end_ns)
        clock.quotes_ns = time_ns

    def _write_quotes(self, symbol: _Symbol, start_ns: int, end_ns: int) -> None:
        """The indicators of the best quote at the end of a window."""
        board = symbol.board
        board.look(end_ns)
        outputs = (
            (INDICATOR_SPREAD, board.spread.value),
            (INDICATOR_SPREAD_BPS, board.spread.basis_points),
            (INDICATOR_DEPTH_IMBALANCE, board.imbalance.value),
        )
        for code, value in outputs:
            if value is not None:
                self._writer.value(symbol.key, symbol.name, start_ns, end_ns, 0, code, 0, value, board.newest_ns)
