"""What the market data engine writes and counts.

Ordering: within a lane, the order in which the engine wrote.
Invariant: counters only grow; `quotes` + `trades` + `corrections` + `cancels` + `orders` + `other` + `refused` = `records`.
Complexity: constant for each record.
"""

from udfs.domain.outbox import Lane


class MarketOutbox:
    """What the engine has written since its outputs were last taken, one lane for each topic."""

    __slots__ = ("controls", "dead_letter", "market_data", "market_depth", "nbbo")

    def __init__(self) -> None:
        self.market_data = Lane("market-data")
        self.nbbo = Lane("nbbo")
        self.market_depth = Lane("market-depth")
        self.controls = Lane("controls")
        self.dead_letter = Lane("dead-letter")

    def lanes(self) -> list[Lane]:
        """All lanes, in a fixed order."""
        return [self.market_data, self.nbbo, self.market_depth, self.controls, self.dead_letter]

    def clear(self) -> None:
        """Forget what was written; the operator calls it after it has taken the lists of a batch."""
        for lane in self.lanes():
            if lane.keys:
                lane.clear()


class MarketCounters:
    """What happened since this engine was made, for metrics. Not part of the state: a restored engine has zeroes."""

    __slots__ = (
        "books_lost",
        "cancels",
        "controls",
        "corrections",
        "crossed",
        "depth",
        "duplicates",
        "gaps",
        "late",
        "locked",
        "missing",
        "nbbo",
        "not_firm",
        "orders",
        "other",
        "quotes",
        "records",
        "refused",
        "resynchronised",
        "skipped",
        "stale",
        "suspicious",
        "trades",
    )

    def __init__(self) -> None:
        self.records = 0
        self.quotes = 0
        self.trades = 0
        """Records that were quotes and trades. A trade that an order's execution tells counts here, not in `orders`."""
        self.corrections = 0
        self.cancels = 0
        self.orders = 0
        self.other = 0
        """Changes of books, and records that are for information or about the state of a symbol, or were skipped."""
        self.skipped = 0
        """Changes of a book that misses one already."""
        self.books_lost = 0
        self.refused = 0
        """Dead letters, duplicates and late records among them."""
        self.duplicates = 0
        self.late = 0
        self.gaps = 0
        self.missing = 0
        """Sequence numbers that the gaps skipped."""
        self.stale = 0
        self.controls = 0
        self.depth = 0
        """Records written: silences of a source, halts and releases, depth."""
        self.resynchronised = 0
        self.suspicious = 0
        self.not_firm = 0
        self.nbbo = 0
        self.locked = 0
        self.crossed = 0
        """NBBO records published with best bid = best ask, and with best bid > best ask."""

    def items(self) -> list[tuple[str, int]]:
        """Names and values, in a fixed order."""
        return [
            ("records", self.records),
            ("quotes", self.quotes),
            ("trades", self.trades),
            ("corrections", self.corrections),
            ("cancels", self.cancels),
            ("orders", self.orders),
            ("other", self.other),
            ("skipped", self.skipped),
            ("books_lost", self.books_lost),
            ("refused", self.refused),
            ("duplicates", self.duplicates),
            ("late", self.late),
            ("gaps", self.gaps),
            ("missing", self.missing),
            ("stale", self.stale),
            ("controls", self.controls),
            ("depth", self.depth),
            ("resynchronised", self.resynchronised),
            ("suspicious", self.suspicious),
            ("not_firm", self.not_firm),
            ("nbbo", self.nbbo),
            ("locked", self.locked),
            ("crossed", self.crossed),
        ]
