"""How long a Kafka partition has been silent while its topic has gone on.

Purpose: a symbol whose partition or source has died is told by others; one that is only read later than others is not.
The topic's progress is a Kafka timestamp to which every partition has been read, but for those that have nothing more to read
(Flink's watermark, see jobs/analytics.py). A partition that is behind holds it back, so that its silence is measured by its own
records; one that is ahead of it is not silent before the progress has passed its last record.
A report counts half of the idle time at the most: when all sources come back after a pause, one of them is the first, and its
record moves the progress by the whole pause. It takes a second report, a second later, without a record of the partition.
Invariants: a record of the partition begins the silence anew, whatever its timestamp; silence only grows between two records.
Known limits: Flink has one watermark for all inputs of the job: what another topic says while this one says nothing moves it,
and until the topic has come so far no silence counts. A partition that the reader starves for longer than Flink waits for it
(half of the idle time) counts as one with nothing more.
Complexity: constant.
"""

from typing import Final

from udfs.domain.state_codec import StateReader, StateWriter

UNHEARD: Final = -1
"""No Kafka timestamp: that of the last record is not known, as in the state of a release that did not keep it."""
_NS_PER_MS: Final = 1_000_000


class PartitionSilence:
    """The newest Kafka timestamp of a partition, and for how long (ms) the topic has gone on since its last record."""

    __slots__ = ("heard_ms", "silent_ms")

    def __init__(self) -> None:
        self.heard_ms: int = UNHEARD
        self.silent_ms: int = 0

    def hear(self, kafka_ms: int) -> None:
        """A record of the partition has come."""
        if kafka_ms > self.heard_ms:
            self.heard_ms = kafka_ms
        self.silent_ms = 0

    def go_on(self, before_ms: int, now_ms: int, idle_ns: int) -> int:
        """The topic has come from one Kafka timestamp to a later one; how long, in ns, the partition is idle, 0: it is not.

        idle_ns: how long a partition is silent before it is idle; 0: none ever is.
        """
        since_ms = max(before_ms, self.heard_ms)
        if idle_ns == 0 or now_ms <= since_ms:
            return 0
        # At least a millisecond, so that two reports are enough for the shortest time too.
        self.silent_ms += min(now_ms - since_ms, idle_ns // (2 * _NS_PER_MS) + 1)
        silent_ns = self.silent_ms * _NS_PER_MS
        return silent_ns if silent_ns >= idle_ns else 0

    def write(self, out: StateWriter) -> None:
        """Put the state into a snapshot."""
        out.put(self.heard_ms)
        out.put(self.silent_ms)

    def read(self, reader: StateReader, counted: bool) -> None:
        """Take what `write` put; `counted`: or what a release put that kept only when the partition was heard."""
        self.heard_ms = reader.take()
        self.silent_ms = reader.take() if counted else 0
