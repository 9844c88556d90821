"""The best quote of one symbol from what its exchanges show, for the indicators of quotes.

Ordering: in the order of coming; of one exchange a quote with an earlier time than the one before it is passed over.
Invariants: the best quote is a function of the last quote of each exchange and of the time: the highest bid and the lowest ask
among quotes that are not older than `QUOTE_LIFE_NS`, each with the shares of all exchanges at that price.
Choices: exchanges are believed, crossed ones too, so that a spread can be negative. What is suspicious must not come here.
Known limits: `EXCHANGES_KEPT` exchanges; the oldest makes room. Whether a quote is firm is not known here.
Complexity: constant a quote, one pass over the exchanges for the best.
"""

from typing import Final

from udfs.domain.spread import DepthImbalance, Spread
from udfs.domain.state_codec import StateReader, StateWriter

QUOTE_LIFE_NS: Final = 600_000_000_000
"""As long as the market data job believes a quote by default."""
EXCHANGES_KEPT: Final = 32
_LONG_AGO: Final = -(2**62)
_E4: Final = 10_000.0


class _Shown:
    """What one exchange shows; a price of 0 is a side without a quote."""

    __slots__ = ("ask_e4", "ask_size", "bid_e4", "bid_size", "time_ns")

    def __init__(self) -> None:
        self.bid_e4: int = 0
        self.bid_size: int = 0
        self.ask_e4: int = 0
        self.ask_size: int = 0
        self.time_ns: int = _LONG_AGO


class QuoteBoard:
    """`newest_ns`: time of the newest quote; `spread` and `imbalance` are those of the last `look`."""

    __slots__ = ("_shown", "imbalance", "newest_ns", "spread")

    def __init__(self) -> None:
        self._shown: dict[str, _Shown] = {}
        self.newest_ns: int = _LONG_AGO
        self.spread = Spread()
        self.imbalance = DepthImbalance()

    def quote(self, exchange: str, bid_e4: int, bid_size: int, ask_e4: int, ask_size: int, time_ns: int) -> None:
        """Take both sides of an exchange's quote; a price of 0 withdraws a side."""
        shown = self._shown.get(exchange)
        if shown is None:
            if len(self._shown) >= EXCHANGES_KEPT:
                del self._shown[next(iter(self._shown))]
            shown = _Shown()
            self._shown[exchange] = shown
        elif time_ns < shown.time_ns:
            return
        shown.bid_e4 = bid_e4
        shown.bid_size = bid_size
        shown.ask_e4 = ask_e4
        shown.ask_size = ask_size
        shown.time_ns = time_ns
        if time_ns > self.newest_ns:
            self.newest_ns = time_ns

    def look(self, time_ns: int) -> None:
        """Compute the indicators of the best quote at a time."""
        bid, bid_size, ask, ask_size = 0, 0, 0, 0
        for shown in self._shown.values():
            if shown.time_ns < time_ns - QUOTE_LIFE_NS:
                continue
            if shown.bid_e4 > 0 and shown.bid_size > 0:
                if shown.bid_e4 > bid:
                    bid, bid_size = shown.bid_e4, 0
                if shown.bid_e4 == bid:
                    bid_size += shown.bid_size
            if shown.ask_e4 > 0 and shown.ask_size > 0:
                if ask == 0 or shown.ask_e4 < ask:
                    ask, ask_size = shown.ask_e4, 0
                if shown.ask_e4 == ask:
                    ask_size += shown.ask_size
        self.spread.update(bid / _E4, ask / _E4)
        # Without a two-sided market there is no depth to compare.
        two_sided = bid > 0 and ask > 0
        self.imbalance.update(float(bid_size if two_sided else 0), float(ask_size if two_sided else 0))

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        out.put(self.newest_ns)
        out.put(len(self._shown))
        for exchange, shown in self._shown.items():
            out.put_text(exchange)
            out.put(shown.bid_e4)
            out.put(shown.bid_size)
            out.put(shown.ask_e4)
            out.put(shown.ask_size)
            out.put(shown.time_ns)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot."""
        self.newest_ns = reader.take()
        self._shown = {}
        for _ in range(reader.take()):
            shown = _Shown()
            self._shown[reader.take_text()] = shown
            shown.bid_e4 = reader.take()
            shown.bid_size = reader.take()
            shown.ask_e4 = reader.take()
            shown.ask_size = reader.take()
            shown.time_ns = reader.take()
