"""The limit that stops a job when the share of bad records says that it is the job that is wrong.

One bad record is the sender's fault and goes to the dead-letter topic. When most records are bad, a deployment is: a wrong
topic, a wrong registry, a broken release. Stopping loses nothing, because the offsets stay where they are; draining the
topic into the dead letters would.
"""

from dataclasses import dataclass

from schemas.messages.dead_letter import decode
from schemas.messages.enums import (
    DEAD_LETTER_REASON_DUPLICATE_EVENT,
    DEAD_LETTER_REASON_DUPLICATE_ORDER_ID,
    DEAD_LETTER_REASON_REPLAYED_ORDER,
)

# Records that were sent again are answered, not used, and say nothing about the job.
_HARMLESS = frozenset(
    {
        DEAD_LETTER_REASON_DUPLICATE_EVENT,
        DEAD_LETTER_REASON_DUPLICATE_ORDER_ID,
        DEAD_LETTER_REASON_REPLAYED_ORDER,
    }
)


class TooManyDeadLetters(RuntimeError):
    """The share of bad records passed the limit."""


@dataclass(frozen=True, slots=True)
class DeadLetterLimit:
    """At most `share` of bad records among any `window` consecutive records of a subtask."""

    share: float = 0.5
    window: int = 10_000

    def start(self, stage: str) -> "DeadLetterCount":
        """A running count for one subtask."""
        return DeadLetterCount(self, stage)


class DeadLetterCount:
    """Counts of the current window of records."""

    def __init__(self, limit: DeadLetterLimit, stage: str) -> None:
        self.limit = limit
        self.stage = stage
        self.records = 0
        self.bad = 0
        self.last_detail = ""

    def count(self, records: int, dead_letters: list[bytes]) -> None:
        """Count a batch: its records and what it wrote to the dead-letter topic.

        Raises TooManyDeadLetters when a window is full and more than the limit's share of it is bad.
        """
        self.records += records
        for value in dead_letters:
            letter = decode(value)
            if letter.reason not in _HARMLESS:
                self.bad += 1
                self.last_detail = letter.detail
        if self.records >= self.limit.window:
            if self.bad > self.limit.share * self.records:
                raise TooManyDeadLetters(
                    f"{self.bad} of the last {self.records} records of stage {self.stage} could not be used, more than "
                    f"the limit of {self.limit.share:.0%}; the last one: {self.last_detail}. Check that topics, schema "
                    "registry and release belong together, then start again: nothing was skipped."
                )
            self.records = self.bad = 0
