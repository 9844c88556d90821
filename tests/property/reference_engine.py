"""The trading rules once more: slow, obvious, and sharing no code with udfs/domain.

Everything is a list or a dictionary that is searched and sorted anew each time; rates and text are Fraction and Decimal.
It takes the steps of trading_harness (and `hold` and `release`, between which approved commands are on their way to
matching) and gives the records that the real stages have to give, field by field. Cash accounts in stocks only.
"""

from __future__ import annotations

from typing import Any

from reference_market import ReferenceMarket
from reference_risk import ReferenceRisk


class ReferenceEngine:
    """Both stages."""

    def __init__(self) -> None:
        self.records: list[tuple[str, dict[str, Any]]] = []
        self.market = ReferenceMarket(self.records)
        self.risk = ReferenceRisk(self.records, self.forward)
        self.on_the_way: list[dict[str, Any]] = []
        self.holding = False
        self.offsets: dict[str, int] = {}

    def step(self, kind: str, fields: Any) -> None:
        """Apply one step."""
        if kind == "settle":
            self.settle()
        elif kind == "hold":
            self.holding = True
        elif kind == "release":
            self.release()
        elif kind == "reference":
            position = self.position("reference-data")
            if fields["account"] is None:
                self.market.reference(fields, position)
            self.risk.reference(fields)
        elif kind == "action":
            self.risk.action(fields, self.position("corporate-actions"))
            self.market.action(fields)
        elif kind == "clock":
            position = self.position("controls")
            self.risk.advance(fields)
            self.market.advance(fields, position)
        elif kind == "control":
            position = self.position("controls")
            if fields["kind"] == "INDEX_LEVEL" or self.risk.control(fields, position):
                self.market.control(fields, position)
        elif kind == "nbbo":
            self.risk.nbbo(fields)
            self.market.nbbo(fields)
        else:
            self.risk.command(fields, self.position("orders"))

    def position(self, topic: str) -> str:
        """The position of a record in its stream."""
        offset = self.offsets.get(topic, 0)
        self.offsets[topic] = offset + 1
        return f"{topic}-0-{offset}"

    def forward(self, command: dict[str, Any]) -> None:
        """A command goes to matching, now or when it is released."""
        if self.holding:
            self.on_the_way.append(command)
        else:
            self.market.command(command)

    def release(self) -> None:
        """What is on its way arrives."""
        self.holding = False
        commands, self.on_the_way = self.on_the_way, []
        for command in commands:
            self.market.command(command)

    def flush(self) -> None:
        """A batch of matching ends."""
        self.market.flush()

    def settle(self) -> None:
        """The risk stage learns what happened."""
        self.flush()
        batches, self.market.batches = self.market.batches, [[]]
        for batch in batches:
            self.risk.settle(batch)

    def unsettled_fills(self) -> list[dict[str, Any]]:
        """Fills that the risk stage has not been told."""
        return [line for batch in self.market.batches for line in batch if line["what"] == "fill"]
