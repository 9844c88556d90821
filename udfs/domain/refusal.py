"""Why a command is refused: one reason with the numbers behind it.

Invariant: values only.
"""


class Refusal:
    """The reason, its numbers as text, and (for risk) the limit and what was found."""

    __slots__ = ("limit", "observed", "reason", "text")

    def __init__(self, reason: int, text: str, limit: int | None = None, observed: int | None = None) -> None:
        self.reason = reason
        self.text = text
        self.limit: int | None = limit
        self.observed: int | None = observed
