"""Times that no clock tells move no clock: a control or a quote with one must neither stop a stage nor end the day."""

from __future__ import annotations

import pytest
import trading_harness as h

from udfs.domain.rules import LAST_NS


@pytest.mark.parametrize("far", [LAST_NS + 1, 2**63 - 1])
@pytest.mark.parametrize("margin", ["CASH", "MARGIN"])
def test_far_time_of_a_control_or_quote_leaves_the_day_as_it_is(far: int, margin: str) -> None:
    def day(strange: list[h.Step]) -> list[tuple[str, str]]:
        desk = h.Desk(check_every_step=True)
        desk.run([h.instrument("IBM", priorClose=100_0000, easyToBorrow=True)])
        desk.run([h.account("A", 100_000_0000, {"IBM": 100}, accountType=margin)])
        desk.run([h.session("day-1", h.OPEN, h.CLOSE), h.snapshot_end()])
        desk.run([("clock", h.OPEN + 1)])
        desk.run([h.quote("IBM", 1, [("XNYS", 99_9900, 500, 100_0100, 500)], h.OPEN + 1)])
        desk.run(strange)
        desk.run([h.order("o1", "A", "IBM", "BUY", 10, 100_0100, "DAY", timestamp=h.OPEN + 2)])
        desk.run([("clock", h.CLOSE + h.SECOND)])
        return [(r["orderId"], r["status"]) for topic, r in desk.records if topic == "order-events"]

    quote = h.quote("IBM", 2, [("XNYS", 99_9900, 500, 100_0100, 500)], far)
    undisturbed = day([h.quote("IBM", 2, [("XNYS", 99_9900, 500, 100_0100, 500)], h.OPEN + 1)])
    assert undisturbed[-1] == ("o1", "EXECUTED")
    assert day([("clock", far), quote]) == undisturbed
