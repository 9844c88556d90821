"""A slow, obvious model of fails to deliver and their close-out (17 CFR 242.204): every share is a thing of its own."""

from __future__ import annotations

from typing import Any

Told = tuple[str, str, str, int]
"""Account ("*" for the firm), symbol, type of the event, shares that are still open."""


class Share:
    """One share of a fail: open, bought at a time and not settled, or closed."""

    def __init__(self) -> None:
        self.closed = False
        self.bought_at: int | None = None


class CloseOuts:
    """Fails of accounts and of the firm (owner "*") over `days`: rows of (date, opening, close), in order."""

    def __init__(self, days: list[tuple[str, int, int]], settles_after: int) -> None:
        self.days = days
        self.settles_after = settles_after
        self.fails: list[dict[str, Any]] = []
        self.told: list[Told] = []

    def fail(self, owner: str, symbol: str, shares: int, date: str, sale: str) -> None:
        """A delivery has failed: due at the opening of the first day after its date, or of the third one."""
        after = [opening for day, opening, _ in self.days if day > date]
        due = after[0 if sale == "SHORT" else 2]
        items = [Share() for _ in range(shares)]
        self.fails.append({"owner": owner, "symbol": symbol, "due": due, "shares": items, "missed": False})
        self.told.append((owner, symbol, "FAIL_TO_DELIVER", shares))

    def of(self, owner: str, symbol: str) -> list[dict[str, Any]]:
        """The fails of an owner in a symbol, those that are due first at once."""
        return sorted((f for f in self.fails if (f["owner"], f["symbol"]) == (owner, symbol)), key=lambda f: f["due"])

    def open_shares(self, owner: str, symbol: str) -> int:
        """Shares that are not closed out."""
        return sum(not share.closed for fail in self.of(owner, symbol) for share in fail["shares"])

    def delivered(self, owner: str, symbol: str, shares: int | None) -> None:
        """Clearing says that so many were delivered, or all."""
        for fail in self.of(owner, symbol):
            # What nobody has bought is delivered first.
            for share in sorted(fail["shares"], key=lambda share: share.bought_at is not None):
                if not share.closed and shares != 0:
                    share.closed = True
                    shares = None if shares is None else shares - 1
            self.end(fail)

    def bought(self, owner: str, symbol: str, shares: int, now: int) -> None:
        """An account has bought shares."""
        for fail in self.of(owner, symbol):
            for share in fail["shares"]:
                if shares and not share.closed and share.bought_at is None:
                    shares -= 1
                    share.bought_at = now
                    share.closed = not fail["missed"]
            self.end(fail)

    def reach(self, now: int) -> list[tuple[str, str]]:
        """Time has reached `now`; returns owner and symbol of what was missed."""
        missed = []
        for fail in sorted(self.fails, key=lambda f: f["due"]):
            left = [share for share in fail["shares"] if not share.closed]
            if fail["missed"]:
                if all(share.bought_at is not None and self.settled(share.bought_at) <= now for share in left):
                    for share in left:
                        share.closed = True
                    self.end(fail)
            elif fail["due"] <= now:
                fail["missed"] = True
                missed.append((fail["owner"], fail["symbol"]))
                self.told.append((fail["owner"], fail["symbol"], "CLOSE_OUT_MISSED", len(left)))
        return missed

    def settled(self, bought_at: int) -> int:
        """When a purchase settles: at the close, so many days after its own."""
        day = max(n for n, (_, opening, _) in enumerate(self.days) if opening <= bought_at)
        return self.days[day + self.settles_after][2]

    def end(self, fail: dict[str, Any]) -> None:
        """Forget a fail that is closed out."""
        if all(share.closed for share in fail["shares"]):
            self.fails.remove(fail)
            self.told.append((fail["owner"], fail["symbol"], "CLOSE_OUT_MET", 0))

    def must_borrow(self, account: str, symbol: str) -> bool:
        """Whether the account may sell the symbol short only with borrowed shares."""
        return any(f["missed"] and f["symbol"] == symbol and f["owner"] in ("*", account) for f in self.fails)
