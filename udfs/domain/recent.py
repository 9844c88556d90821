"""The last states of orders that ended lately: so that a cancel that comes too late is answered with the right status.

Ordering: first in, first out.
Invariant: holds the newest `capacity` ended orders; older ones are forgotten and answered as unknown.
Complexity: constant; the ring of keys avoids the quadratic cost of taking the oldest key out of a dict.
"""


class RecentEnds:
    """A bounded map from order key to final status."""

    __slots__ = ("at", "capacity", "ring", "statuses")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.ring: list[str] = []
        self.at: int = 0
        self.statuses: dict[str, int] = {}

    def remember(self, key: str, status: int) -> None:
        """Remember an order's end, and forget the oldest when full."""
        ring = self.ring
        if self.capacity == 0:
            return
        if len(ring) < self.capacity:
            ring.append(key)
        else:
            oldest = ring[self.at]
            if oldest in self.statuses:
                del self.statuses[oldest]
            ring[self.at] = key
            self.at += 1
            if self.at == self.capacity:
                self.at = 0
        self.statuses[key] = status

    def status_of(self, key: str, unknown: int) -> int:
        """The final status of an order, or `unknown`."""
        return self.statuses.get(key, unknown)

    def in_order(self) -> list[str]:
        """Keys from the oldest to the newest."""
        return self.ring[self.at :] + self.ring[: self.at]
