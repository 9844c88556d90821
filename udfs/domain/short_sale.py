"""The short-sale price test of one symbol: Rule 201 of Regulation SHO (17 CFR 242.201).

A trade in regular hours at 90% of the prior close or below restricts short sales for the rest of the session and for
the next one: a short order may then execute or be displayed only above the national best bid, unless it is marked
exempt. The fall can trigger again, also while the restriction is in force, and then prolongs it by another session.

Ordering: calls come in the order of their times.
Invariant: restricted if and only if this session or the one before it has triggered.
Known limits: sessions are counted as they are begun; one that never began prolongs the restriction by its length.
Complexity: constant.
"""

from typing import Final

from udfs.domain.rules import instant_ns
from udfs.domain.state_codec import StateReader, StateWriter


class PriceTest:
    """A fall of `basis_points` or more from the prior close triggers the restriction."""

    __slots__ = ("basis_points", "effective_from_ns", "source")

    def __init__(self, effective_from_ns: int, basis_points: int, source: str) -> None:
        self.effective_from_ns = effective_from_ns
        self.basis_points = basis_points
        self.source = source


PRICE_TESTS: Final[list[PriceTest]] = [
    PriceTest(instant_ns("2011-02-28T00:00:00-05:00"), 1_000, "17 CFR 242.201(b)(1), compliance from 2011-02-28"),
]


class ShortSaleTest:
    """The state of one symbol. `restricted`: whether short sales are restricted now."""

    __slots__ = ("_close_ns", "_open_ns", "_triggered", "restricted")

    def __init__(self) -> None:
        self.restricted: bool = False
        self._triggered: bool = False
        self._open_ns: int = 0
        self._close_ns: int = 0

    def begin_session(self, open_ns: int, close_ns: int) -> bool:
        """A new session; returns whether `restricted` has changed. The same opening again only moves the close."""
        self._close_ns = close_ns
        if open_ns == self._open_ns:
            return False
        self._open_ns = open_ns
        before = self.restricted
        self.restricted = self._triggered
        self._triggered = False
        return before != self.restricted

    def on_trade(self, price_e4: int, prior_close_e4: int, time_ns: int) -> bool:
        """A trade (the lowest of several will do); returns whether it triggers, which it does once a session.

        `restricted` is set from then on; it may have been set already by the session before.
        """
        if self._triggered or price_e4 <= 0 or prior_close_e4 <= 0 or not self._open_ns <= time_ns < self._close_ns:
            return False
        for row in PRICE_TESTS:
            if row.effective_from_ns <= time_ns:
                self._triggered = price_e4 * 10_000 <= prior_close_e4 * (10_000 - row.basis_points)
        if self._triggered:
            self.restricted = True
        return self._triggered

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        out.put_flag(self.restricted)
        out.put_flag(self._triggered)
        out.put(self._open_ns)
        out.put(self._close_ns)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot, as `write` put it."""
        self.restricted = reader.take_flag()
        self._triggered = reader.take_flag()
        self._open_ns = reader.take()
        self._close_ns = reader.take()
