"""Trading sessions of reference data: which one a time falls into.

Ordering: sessions are kept by opening time; a session that comes again with the same date replaces the older one.
Invariant: pre-open <= open < close (checked where reference data comes in).
Known limits: a session takes orders from its pre-open on, which must not lie before the close of the one before.
Complexity: constant for a time in the session that was asked for last, logarithmic else.
"""

from bisect import bisect_right


class SessionTimes:
    """One session: UTC ns, the opening included and the close excluded; from `pre_open_ns` on orders are taken."""

    __slots__ = ("close_ns", "date", "open_ns", "pre_open_ns")

    def __init__(self, date: str, open_ns: int, close_ns: int, pre_open_ns: int = -1) -> None:
        self.date = date
        self.open_ns = open_ns
        self.close_ns = close_ns
        self.pre_open_ns: int = open_ns if pre_open_ns < 0 else pre_open_ns


class SessionTable:
    """All known sessions."""

    __slots__ = ("by_date", "closes", "entries", "last", "opens", "sessions")

    def __init__(self) -> None:
        self.by_date: dict[str, SessionTimes] = {}
        self.sessions: list[SessionTimes] = []
        self.opens: list[int] = []
        self.entries: list[int] = []
        self.closes: list[int] = []
        self.last: SessionTimes | None = None

    def put(self, session: SessionTimes) -> None:
        """Add or replace a session."""
        self.by_date[session.date] = session
        opens: list[int] = []
        by_open: dict[int, SessionTimes] = {}
        for known in self.by_date.values():
            by_open[known.open_ns] = known
        for open_ns in sorted(by_open):
            opens.append(open_ns)
        self.opens = opens
        self.sessions = [by_open[open_ns] for open_ns in opens]
        self.entries = [known.pre_open_ns for known in self.sessions]
        self.closes = [known.close_ns for known in self.sessions]
        self.last = None

    def at(self, time_ns: int) -> SessionTimes | None:
        """The session that is open at a time, or None."""
        session = self.taking_at(time_ns)
        return None if session is None or time_ns < session.open_ns else session

    def taking_at(self, time_ns: int) -> SessionTimes | None:
        """The session that takes orders at a time, from its pre-open to its close, or None."""
        last = self.last
        if last is not None and last.pre_open_ns <= time_ns < last.close_ns:
            return last
        session = self.entered_by(time_ns)
        if session is None or time_ns >= session.close_ns:
            return None
        self.last = session
        return session

    def begun_by(self, time_ns: int) -> SessionTimes | None:
        """The newest session that has opened at or before a time, or None."""
        index = bisect_right(self.opens, time_ns)
        return self.sessions[index - 1] if index > 0 else None

    def entered_by(self, time_ns: int) -> SessionTimes | None:
        """The newest session whose pre-open has begun at or before a time, or None."""
        index = bisect_right(self.entries, time_ns)
        return self.sessions[index - 1] if index > 0 else None

    def index_after(self, session: SessionTimes | None) -> int:
        """Index of the first session after another, or of all for None; -1 when there is none."""
        for index, known in enumerate(self.sessions):
            if session is None or known.open_ns > session.open_ns:
                return index
        return -1

    def next_open_after(self, time_ns: int) -> int:
        """Opening of the first session that opens after a time; -1 when none is known."""
        index = bisect_right(self.opens, time_ns)
        return self.opens[index] if index < len(self.opens) else -1

    def next_entry_after(self, time_ns: int) -> int:
        """Pre-open of the first session that takes orders only after a time; -1 when none is known."""
        index = bisect_right(self.entries, time_ns)
        return self.entries[index] if index < len(self.entries) else -1

    def next_close_after(self, time_ns: int) -> int:
        """Close of the first session that closes after a time; -1 when none is known."""
        index = bisect_right(self.closes, time_ns)
        return self.closes[index] if index < len(self.closes) else -1

    def opening_after(self, date: str, sessions: int) -> int:
        """Opening of the session so many sessions after a date, YYYY-MM-DD; a date without a session counts as the one before.

        Where the calendar ends too early each missing session counts as a day. There is a calendar.
        """
        index = sessions - 1
        for session in self.sessions:
            if session.date <= date:
                index += 1
        if index < len(self.opens):
            return self.opens[index]
        return self.opens[-1] + (index - len(self.opens) + 1) * 86_400_000_000_000

    def close_of_session(self, time_ns: int, sessions: int) -> int:
        """Close of the session so many sessions after the one that a time falls into or follows.

        Where the calendar ends too early each missing session counts as a day.
        """
        index = bisect_right(self.opens, time_ns) - 1 + sessions
        if 0 <= index < len(self.closes):
            return self.closes[index]
        if not self.closes:
            return time_ns + sessions * 86_400_000_000_000
        beyond = index - len(self.closes) + 1
        return self.closes[-1] + beyond * 86_400_000_000_000
