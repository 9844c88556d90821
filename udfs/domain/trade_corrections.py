"""Trades that can still be corrected or taken back: what each one's event says now.

Ordering: trades are remembered in the order in which they came; over all symbols of a shard the oldest make room.
Invariants: an entry holds the event id of the trade itself, however often it was corrected since, and the values that
hold now, so that every change can say what it replaces.
Known limits: `MarketLimits.trades_kept` trades of a shard. Which ones these are is the one thing in the engine of a shard
that depends on how its symbols are mixed. A source's trade ids may begin anew each day: the newest trade counts.
Complexity: constant.
"""

from udfs.domain.state_codec import StateReader, StateWriter


class KnownTrade:
    """One trade: the id of its event, price e4, shares, time in ns, and whether it was eligible."""

    __slots__ = ("eligible", "event_id", "price", "size", "time_ns")

    def __init__(self, event_id: str, price: int, size: int, time_ns: int, eligible: bool) -> None:
        self.event_id = event_id
        self.price = price
        self.size = size
        self.time_ns = time_ns
        self.eligible = eligible


def trade_key(symbol: str, source: str, trade_id: str) -> str:
    """What a trade is found by: ids are unique in a source, not among sources, and outlive its feed ids."""
    return symbol + "\n" + source + "\n" + trade_id


class TradeMemory:
    """The trades of a shard that came with an id."""

    __slots__ = ("_limit", "_trades")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._trades: dict[str, KnownTrade] = {}

    def remember(self, key: str, trade: KnownTrade) -> None:
        """Add a trade."""
        trades = self._trades
        if key in trades:
            del trades[key]
        elif len(trades) >= self._limit:
            del trades[next(iter(trades))]
        trades[key] = trade

    def find(self, key: str) -> KnownTrade | None:
        """The trade, if it is still known."""
        return self._trades.get(key)

    def forget(self, key: str) -> None:
        """A trade was taken back."""
        del self._trades[key]

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        out.put(len(self._trades))
        for key, trade in self._trades.items():
            out.put_text(key)
            out.put_text(trade.event_id)
            out.put(trade.price)
            out.put(trade.size)
            out.put(trade.time_ns)
            out.put_flag(trade.eligible)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot."""
        self._trades = {}
        for _ in range(reader.take()):
            key = reader.take_text()
            event_id = reader.take_text()
            price, size, time_ns = reader.take(), reader.take(), reader.take()
            self._trades[key] = KnownTrade(event_id, price, size, time_ns, reader.take_flag())
