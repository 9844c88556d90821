"""What the analytics engine writes: bars and values of indicators as records of market-analytics.

Ordering: in the order of the calls.
Invariants: the identity of a record is its symbol, the length and start of its window, the indicator with its period, and the
revision; it is the same after a replay.
Complexity: constant a record.
"""

from schemas.messages.enums import (
    ANALYTICS_KIND_BAR,
    ANALYTICS_KIND_INDICATOR,
    INDICATOR_NAMES,
    INDICATOR_NONE,
)
from schemas.messages.market_analytics import encode_fields
from udfs.domain.bars import SECOND_NS, Bar
from udfs.domain.outbox import Lane


class AnalyticsOutbox:
    """What the engine has written since its outputs were last taken."""

    __slots__ = ("dead_letter", "market_analytics")

    def __init__(self) -> None:
        self.market_analytics = Lane("market-analytics")
        self.dead_letter = Lane("dead-letter")

    def lanes(self) -> list[Lane]:
        """All lanes, in a fixed order."""
        return [self.market_analytics, self.dead_letter]

    def clear(self) -> None:
        """Forget what was written."""
        for lane in self.lanes():
            if lane.keys:
                lane.clear()


class AnalyticsWriter:
    """Writes into the outbox of one engine; `schema_id` is the registry's of market-analytics."""

    __slots__ = ("_lane", "_schema_id")

    def __init__(self, outbox: AnalyticsOutbox, schema_id: int) -> None:
        self._lane = outbox.market_analytics
        self._schema_id = schema_id

    def bar(self, key: bytes, symbol: str, bar: Bar) -> None:
        """A bar; one that has lost all its trades has no prices."""
        has_prices = bar.trades > 0
        frame = encode_fields(
            self._schema_id,
            _event_id(symbol, bar.start_ns, bar.end_ns, "BAR", bar.revision),
            ANALYTICS_KIND_BAR,
            symbol,
            bar.start_ns,
            bar.end_ns,
            bar.revision,
            bar.open_e4 if has_prices else None,
            bar.high_e4 if has_prices else None,
            bar.low_e4 if has_prices else None,
            bar.close_e4 if has_prices else None,
            bar.vwap_e4() if has_prices else None,
            bar.volume,
            bar.trades,
            INDICATOR_NONE,
            0,
            None,
            bar.last_ns if has_prices else bar.end_ns,
        )
        self._lane.put(key, frame)

    def value(
        self,
        key: bytes,
        symbol: str,
        start_ns: int,
        end_ns: int,
        revision: int,
        code: int,
        period: int,
        value: float | None,
        time_ns: int,
    ) -> None:
        """The value of an indicator at a window, None when it is no more; `time_ns`: of the last tick that it is of."""
        frame = encode_fields(
            self._schema_id,
            _event_id(symbol, start_ns, end_ns, f"{INDICATOR_NAMES[code]}{period}", revision),
            ANALYTICS_KIND_INDICATOR,
            symbol,
            start_ns,
            end_ns,
            revision,
            None,
            None,
            None,
            None,
            None,
            0,
            0,
            code,
            period,
            value,
            time_ns,
        )
        self._lane.put(key, frame)


def _event_id(symbol: str, start_ns: int, end_ns: int, name: str, revision: int) -> str:
    return f"{symbol}-{(end_ns - start_ns) // SECOND_NS}s-{start_ns // SECOND_NS}-{name}-{revision}"
