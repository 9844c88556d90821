"""The analytics engine of one shard of symbols: market data in; bars, their indicators, and dead letters out.

Bars are those of bars.py, in event time, of the lengths `LENGTHS_NS`, made of eligible trades. The indicators of the
settings (TA-Lib's definitions, indicators.py) are computed of the bars of five minutes and longer, and with them the VWAP of the
session, which is a day in New York. Of the quotes, the spread of the best one and the balance of its sizes (quote_board.py) are
told as they were when the clock passed the end of each window of those lengths in which a quote of the symbol came, once.

Ordering: what one record causes is written in its order, a bar before its indicators, shorter bars before longer ones.
Time: the symbols of this shard that share a Kafka partition have one clock, the newest time of their records, of any kind.
It closes the bars of all of them, so that no symbol waits for one that is silent, and a partition that is read faster than
another one makes nobody late. It stands still when all of them are silent.
Idle partitions: when the topic has gone on for `idle_ns` without a record of a partition in this shard (partition_silence.py),
its clock is reckoned to have gone on for as long, and its bars and windows of quotes that ended `idle_ns` before are told
early (early_bars.py), as they are by then. The clock itself stands where it stood: trades that come later are as late as they
would have been, and it gives these bars again, with the next revision, when it passes their ends. What is told early depends
on the place of the topic's progress among the records; the last revisions do not.
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
    INDICATOR_DEPTH_IMBALANCE,
    INDICATOR_SESSION_VWAP,
    INDICATOR_SPREAD,
    INDICATOR_SPREAD_BPS,
    MARKET_DATA_KIND_CANCEL,
    MARKET_DATA_KIND_CORRECTION,
    MARKET_DATA_KIND_QUOTE,
    MARKET_DATA_KIND_TRADE,
)
from udfs.domain.analytics_settings import INDICATOR_LENGTHS_NS, UNPUBLISHED, AnalyticsSettings
from udfs.domain.analytics_symbol import LONG_AGO, AnalyticsPartition, AnalyticsSymbol
from udfs.domain.analytics_writer import AnalyticsOutbox, AnalyticsWriter
from udfs.domain.bars import LATE, LENGTHS_NS, REVISED, SECOND_NS, TAKEN, UNKNOWN, Bar
from udfs.domain.dead_letters import DeadLetters
from udfs.domain.early_bars import COUNTED_VERSION, EARLY_VERSION, HEARD_VERSION
from udfs.domain.indicator_series import SESSIONS_VERSION
from udfs.domain.normalise import LARGEST_LIMIT
from udfs.domain.state_codec import StateError, StateReader, StateWriter

_VERSION: Final = COUNTED_VERSION
ANALYTICS_STATE_KIND: Final = 4
_NOTHING_DUE: Final = 2**62


def _beyond(price_e4: int | None, volume: int | None) -> bool:
    """Whether a price or a volume is one that no sum could take."""
    return (price_e4 is not None and not -LARGEST_LIMIT <= price_e4 <= LARGEST_LIMIT) or (
        volume is not None and not 0 <= volume <= LARGEST_LIMIT
    )


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
        idle_ns: int = 0,
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
        self._settings = AnalyticsSettings(out_of_order_ns, lateness_ns, indicators, idle_ns)
        self._market_data = schema_ids["market-data"]
        self._writer = AnalyticsWriter(self.outbox, schema_ids["market-analytics"])
        self._refused = DeadLetters(self.outbox.dead_letter, schema_ids["dead-letter"], "analyse", job="analytics")
        self._partitions: dict[int, AnalyticsPartition] = {}

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
        if _beyond(event.last_price, event.volume) or _beyond(event.original_price, event.original_volume):
            detail = (
                f"{event.event_id}: no price and no volume that passed the market data job is above {LARGEST_LIMIT}"
            )
            self._refused.put(
                source, partition, offset, kafka_timestamp_ms, DEAD_LETTER_REASON_INVALID_VALUE, detail, payload, 0
            )
            return
        clock = self._partitions.get(partition)
        if clock is None:
            clock = self._partitions[partition] = AnalyticsPartition()
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
                    if symbol.early.told:
                        self._close_early(symbol)
        clock.due_ns = LONG_AGO
        clock.silence.hear(kafka_timestamp_ms)

    def progress(self, before_ms: int, now_ms: int) -> None:
        """The topic has come from one Kafka timestamp to a later one: tell what is over in the partitions that are idle."""
        idle_ns = self._settings.idle_ns
        for clock in self._partitions.values():
            silent_ns = clock.silence.go_on(before_ms, now_ms, idle_ns)
            if silent_ns and clock.due_ns <= clock.newest_ns + silent_ns:
                clock.due_ns = self._tell(clock, clock.newest_ns + silent_ns - idle_ns) + idle_ns

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
        out.put(self._settings.idle_ns)
        out.put(len(self._partitions))
        for number, clock in self._partitions.items():
            out.put(number)
            out.put(clock.newest_ns)
            out.put(clock.closed_ns)
            out.put(clock.quotes_ns)
            out.put(clock.due_ns)
            clock.silence.write(out)
            out.put(len(clock.symbols))
            for symbol in clock.symbols.values():
                out.put_text(symbol.name)
                symbol.write(out)
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
        idle_ns = reader.take() if reader.version >= EARLY_VERSION else settings.idle_ns
        if (*found, idle_ns) != (settings.out_of_order_ns, settings.lateness_ns, settings.indicators, settings.idle_ns):
            raise StateError(
                f"the state was made with delays of {found[0]}, {found[1]} and {idle_ns} ns and the indicators {found[2]}: "
                "settings of the analytics job cannot change while its state is kept; start it afresh for new ones"
            )
        by_others = EARLY_VERSION <= reader.version < COUNTED_VERSION
        if by_others:
            reader.take()
        partitions: dict[int, AnalyticsPartition] = {}
        for _ in range(reader.take()):
            clock = partitions[reader.take()] = AnalyticsPartition()
            clock.newest_ns = reader.take()
            clock.closed_ns = reader.take()
            if reader.version >= SESSIONS_VERSION:
                clock.quotes_ns = reader.take()
            if reader.version >= EARLY_VERSION:
                if by_others:
                    reader.take()
                clock.due_ns = reader.take()
            if reader.version >= HEARD_VERSION:
                clock.silence.read(reader, reader.version >= COUNTED_VERSION)
            for _ in range(reader.take()):
                symbol = AnalyticsSymbol(reader.take_text(), settings)
                symbol.read(reader)
                clock.symbols[symbol.name] = symbol
        reader.expect_end()
        self._partitions = partitions
        self.outbox.clear()

    def _trade(
        self,
        clock: AnalyticsPartition,
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
        clock: AnalyticsPartition,
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

    def _symbol(self, clock: AnalyticsPartition, name: str) -> AnalyticsSymbol:
        """What is known of a symbol."""
        symbol = clock.symbols.get(name)
        if symbol is None:
            symbol = clock.symbols[name] = AnalyticsSymbol(name, self._settings)
            # A symbol that is met late has the clock of its partition, as if it had been there.
            symbol.ladder.advance(clock.closed_ns)
        return symbol

    def _late(self, clock: AnalyticsPartition, event: market_data.MarketDataEvent, what: str, time_ns: int) -> str:
        """Why a record is late."""
        behind_s = (clock.newest_ns - time_ns) / SECOND_NS
        return f"{what} {event.event_id} of {event.symbol} is {behind_s:.3f} s behind: its bar of a second is final"

    def _publish(self, symbol: AnalyticsSymbol) -> None:
        """Write the bars that are ready, and what follows from them."""
        for bar in symbol.ladder.take():
            self._give(symbol, bar, symbol.early.number(bar) if symbol.early.told else 0)

    def _give(self, symbol: AnalyticsSymbol, bar: Bar, told: int) -> None:
        """Write a bar that its clock gives, and its indicators. `told`: which of them were told early, a bit for each."""
        self._writer.bar(symbol.key, symbol.name, bar)
        series = symbol.series.get(bar.end_ns - bar.start_ns)
        if series is None:
            return
        if bar.trades > 0:
            self._write_values(symbol, bar, series.follow(bar), told, series.session_vwap())
            return
        before = series.take_back(bar)
        if before is not None:
            told |= self._outputs_of(before)
        self._write_values(symbol, bar, [None] * len(self._settings.outputs), told, None)

    def _outputs_of(self, values: list[float | None]) -> int:
        """Which outputs have a value, a bit for each; the session's VWAP is the last one, and always has one."""
        found = 1 << len(values)
        for place, (code, _) in enumerate(self._settings.outputs):
            if code != UNPUBLISHED and values[place] is not None:
                found |= 1 << place
        return found

    def _write_values(
        self,
        symbol: AnalyticsSymbol,
        bar: Bar,
        values: list[float | None] | None,
        taken_back: int,
        session_vwap: float | None,
    ) -> None:
        """The outputs of the indicators at a bar; of those of `taken_back` that have no value, that they are no more."""
        if values is None:
            return
        for place, (code, period) in enumerate(self._settings.outputs):
            value = values[place]
            if code != UNPUBLISHED and (value is not None or taken_back >> place & 1):
                self._write_value(symbol, bar, code, period, value)
        if session_vwap is not None or taken_back >> len(values) & 1:
            self._write_value(symbol, bar, INDICATOR_SESSION_VWAP, 0, session_vwap)

    def _write_value(self, symbol: AnalyticsSymbol, bar: Bar, code: int, period: int, value: float | None) -> None:
        """One output at a bar."""
        time_ns = bar.last_ns if bar.trades > 0 else bar.end_ns
        self._writer.value(
            symbol.key, symbol.name, bar.start_ns, bar.end_ns, bar.revision, code, period, value, time_ns
        )

    def _quote(self, clock: AnalyticsPartition, event: market_data.MarketDataEvent) -> None:
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

    def _close_quotes(self, clock: AnalyticsPartition, time_ns: int) -> None:
        """Time has come to another window of quotes: tell what was in force at the end of those that are over."""
        for symbol in clock.symbols.values():
            if symbol.quoted_ns == LONG_AGO:
                continue
            for length_ns in INDICATOR_LENGTHS_NS:
                start_ns = symbol.quoted_ns - symbol.quoted_ns % length_ns
                end_ns = start_ns + length_ns
                # The end lies between the last look and now, or it was told before.
                if clock.quotes_ns < end_ns <= time_ns:
                    told = symbol.quotes_told.get(length_ns) == end_ns
                    self._write_quotes(symbol, start_ns, end_ns, 1 if told else 0)
        clock.quotes_ns = time_ns

    def _write_quotes(self, symbol: AnalyticsSymbol, start_ns: int, end_ns: int, revision: int) -> None:
        """The indicators of the best quote at the end of a window; of one that was told early, also that they are no more."""
        board = symbol.board
        board.look(end_ns)
        outputs = (
            (INDICATOR_SPREAD, board.spread.value),
            (INDICATOR_SPREAD_BPS, board.spread.basis_points),
            (INDICATOR_DEPTH_IMBALANCE, board.imbalance.value),
        )
        for code, value in outputs:
            if value is not None or revision > 0:
                self._writer.value(symbol.key, symbol.name, start_ns, end_ns, revision, code, 0, value, board.newest_ns)

    # ---------------------------------------------------------------------------------------------------- idle partitions

    def _tell(self, clock: AnalyticsPartition, time_ns: int) -> int:
        """Tell what ended in a partition by a time and its clock has not closed; returns the next such end after it."""
        due_ns = _NOTHING_DUE
        for symbol in clock.symbols.values():
            pending = symbol.ladder.pending(time_ns)
            if pending:
                self._tell_bars(symbol, pending)
            due_ns = min(due_ns, symbol.ladder.pending_end_ns(time_ns))
            if symbol.quoted_ns == LONG_AGO:
                continue
            for length_ns in INDICATOR_LENGTHS_NS:
                start_ns = symbol.quoted_ns - symbol.quoted_ns % length_ns
                end_ns = start_ns + length_ns
                if end_ns > time_ns:
                    due_ns = min(due_ns, end_ns)
                elif end_ns > clock.quotes_ns and symbol.quotes_told.get(length_ns) != end_ns:
                    symbol.quotes_told[length_ns] = end_ns
                    self._write_quotes(symbol, start_ns, end_ns, 0)
        return due_ns

    def _tell_bars(self, symbol: AnalyticsSymbol, pending: list[Bar]) -> None:
        """Write bars that their clock has not closed. Indicators are computed aside: the series goes on with what is closed."""
        for length_ns in LENGTHS_NS:
            bars = [bar for bar in pending if bar.end_ns - bar.start_ns == length_ns]
            news = symbol.early.news(bars)
            if not news:
                continue
            series = symbol.series.get(length_ns)
            aside = None if series is None else series.copy(self._settings.specs)
            for bar in bars:
                values = None if aside is None else aside.follow(bar)
                if bar.start_ns < news[0].start_ns:
                    continue
                self._writer.bar(symbol.key, symbol.name, bar)
                if aside is not None and values is not None:
                    self._write_values(symbol, bar, values, 0, aside.session_vwap())
                    symbol.early.put_outputs(bar, self._outputs_of(values))

    def _close_early(self, symbol: AnalyticsSymbol) -> None:
        """The clock of a symbol with bars that were told early has gone on."""
        watermark_ns = symbol.ladder.watermark_ns()
        for bar in symbol.early.lost(watermark_ns):
            self._give(symbol, bar, symbol.early.number(bar))
        symbol.early.forget(watermark_ns - self._settings.lateness_ns)
