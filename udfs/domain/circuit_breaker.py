"""The market-wide circuit breaker: halts of all trading when the S&P 500 falls far below its prior close.

Source: NYSE Rule 7.12 and the like rules of all exchanges (7%, 13% and 20% since 2013-04-08).
- Level 1 and 2: 15 minutes, each once a session, and only earlier than 35 minutes before the close (15:25, or 12:25 on a
  half day). Level 3: the rest of the session, at any time of it.
- A fall that jumps over a level counts as that level too: it does not halt later on.

Ordering: calls come in the order of their times.
Invariants: the same calls give the same state; a level triggers at most once a session; halts do not shorten.
Known limits: the levels of before 2013 (10%, 20%, 30% of the Dow Jones average) are not here: then nothing triggers.
Complexity: constant.
"""

from typing import Final

from udfs.domain.rules import MINUTE_NS, instant_ns
from udfs.domain.state_codec import StateReader, StateWriter


class BreakerLevel:
    """A fall of `basis_points` or more halts trading for `halt_ns` (0: the rest of the session).

    A level with a halt triggers earlier than `before_close_ns` before the close only.
    """

    __slots__ = ("basis_points", "before_close_ns", "effective_from_ns", "halt_ns", "level", "source")

    def __init__(
        self, effective_from_ns: int, level: int, basis_points: int, halt_ns: int, before_close_ns: int, source: str
    ) -> None:
        self.effective_from_ns = effective_from_ns
        self.level = level
        self.basis_points = basis_points
        self.halt_ns = halt_ns
        self.before_close_ns = before_close_ns
        self.source = source


_FROM_NS: Final = instant_ns("2013-04-08T00:00:00-04:00")
_RULE: Final = "NYSE Rule 7.12 (77 FR 33531)"

BREAKER_LEVELS: Final[list[BreakerLevel]] = [
    BreakerLevel(_FROM_NS, 1, 700, 15 * MINUTE_NS, 35 * MINUTE_NS, _RULE),
    BreakerLevel(_FROM_NS, 2, 1_300, 15 * MINUTE_NS, 35 * MINUTE_NS, _RULE),
    BreakerLevel(_FROM_NS, 3, 2_000, 0, 0, _RULE),
]
"""Rows rise by effective time, then by level; a newer effective time replaces all levels."""


class MarketWideBreaker:
    """The state of one session. `level`: the highest that has triggered, 0 for none; `halt_ends_ns`: 0 before any."""

    __slots__ = ("_close_ns", "_open_ns", "halt_ends_ns", "level", "prior_close")

    def __init__(self) -> None:
        self.prior_close: int = 0
        self.level: int = 0
        self.halt_ends_ns: int = 0
        self._open_ns: int = 0
        self._close_ns: int = 0

    def configure(self, prior_close: int) -> None:
        """The index's close of the session before, in the unit of `on_level`; 0: unknown, nothing triggers."""
        self.prior_close = prior_close

    def begin_session(self, open_ns: int, close_ns: int) -> None:
        """A new session: no level has triggered. The same opening again only moves the close."""
        if open_ns == self._open_ns and self._close_ns:
            if self.halt_ends_ns == self._close_ns:
                self.halt_ends_ns = close_ns
            self._close_ns = close_ns
            return
        self._open_ns = open_ns
        self._close_ns = close_ns
        self.level = 0
        self.halt_ends_ns = 0

    def on_level(self, level: int, time_ns: int) -> int:
        """The index stands at `level`: which breaker level this triggers now, 1 to 3, or 0."""
        if self.prior_close <= 0 or not self._open_ns <= time_ns < self._close_ns:
            return 0
        effective_ns = -1
        for row in BREAKER_LEVELS:
            if row.effective_from_ns <= time_ns:
                effective_ns = row.effective_from_ns
        triggered: BreakerLevel | None = None
        for row in BREAKER_LEVELS:
            if row.effective_from_ns != effective_ns or row.level <= self.level:
                continue
            if level * 10_000 > self.prior_close * (10_000 - row.basis_points):
                continue
            if row.halt_ns == 0 or time_ns < self._close_ns - row.before_close_ns:
                triggered = row
        if triggered is None:
            return 0
        self.level = triggered.level
        self.halt_ends_ns = self._close_ns if triggered.halt_ns == 0 else time_ns + triggered.halt_ns
        return triggered.level

    def halted(self, time_ns: int) -> bool:
        """Whether trading is halted at a time that is not before the last call."""
        return time_ns < self.halt_ends_ns

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        out.put(self.prior_close)
        out.put(self.level)
        out.put(self.halt_ends_ns)
        out.put(self._open_ns)
        out.put(self._close_ns)

    def read(self, reader: StateReader) -> None:
        """Take the state from a snapshot, as `write` put it."""
        self.prior_close = reader.take()
        self.level = reader.take()
        self.halt_ends_ns = reader.take()
        self._open_ns = reader.take()
        self._close_ns = reader.take()
