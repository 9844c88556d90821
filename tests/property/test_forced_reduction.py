"""A forced reduction against a slow reading of the order events: what is cancelled, by which cause, and what stays.

Random open orders of a margin account, then a price that makes a call, and the time at which the call is due. The reference
knows only the published events. A failure prints its seed.
"""

from __future__ import annotations

from random import Random
from typing import Any

import trading_harness as h

SEEDS = 60
PRICES = {"IBM": 100_0000, "XYZ": 50_0000, "LOW": 20_0000}
POSITIONS = {"IBM": 300, "XYZ": -100, "LOW": 0}
DUE = h.OPEN + 10 * 86_400 * h.SECOND


def quotes(number: int, prices: dict[str, int], time: int) -> list[h.Step]:
    """A quote of every symbol that is one dollar wide."""
    return [h.quote(s, number, [("XNYS", p, 900, p + 10_000, 900)], time) for s, p in prices.items()]


def orders(rnd: Random) -> list[h.Step]:
    """Orders that wait: far from the market, of any side."""
    made = []
    for number in range(40):
        symbol = rnd.choice(list(PRICES))
        side = rnd.choice(("BUY", "SELL" if POSITIONS[symbol] > 0 else "SELL_SHORT"))
        price = PRICES[symbol] * (100 - rnd.randint(60, 80) if side == "BUY" else 100 + rnd.randint(20, 40)) // 100
        quantity = rnd.choice((1, 5, 20, 60, 100))
        made.append(
            h.order(f"o{number}", "A", symbol, side, quantity, price // 100 * 100, "GTC", timestamp=h.OPEN + number)
        )
    return made


def beyond(open_orders: dict[str, dict[str, Any]]) -> set[str]:
    """Orders that do not fit behind those before them into what can be closed."""
    gone = set()
    for symbol, held in POSITIONS.items():
        for sides, room in ((("BUY",), max(-held, 0)), (("SELL", "SELL_SHORT"), max(held, 0))):
            for order_id, event in open_orders.items():
                if event["symbol"] == symbol and event["side"] in sides:
                    if event["leavesQuantity"] > room:
                        gone.add(order_id)
                    else:
                        room -= event["leavesQuantity"]
    return gone


def test_forced_reduction_cancels_what_does_not_fit_and_names_its_cause() -> None:
    cancelled_in_all = kept_in_all = 0
    for seed in range(SEEDS):
        rnd = Random(seed)
        desk = h.Desk(shards=rnd.choice((1, 2, 3)), check_every_step=True)
        desk.run([h.instrument(s, priorClose=p, easyToBorrow=True) for s, p in PRICES.items()])
        desk.run([h.account("A", -4_000_0000, POSITIONS, accountType="MARGIN")])
        desk.run([h.session("day-1", h.OPEN, h.CLOSE), h.snapshot_end()])
        desk.run(quotes(1, PRICES, h.OPEN))
        before = desk.run(orders(rnd))
        desk.settle()
        waiting = {r["orderId"]: r for topic, r in before if topic == "order-events" and r["status"] == "ROUTED"}
        assert not [r for topic, r in before if topic == "trade-events"], f"seed {seed}"
        desk.run(quotes(2, PRICES | {"IBM": 45_0000}, h.OPEN + h.SECOND))
        called = desk.run([("clock", h.OPEN + 120 * h.SECOND)])
        assert [r["type"] for topic, r in called if topic == "risk-events"] == ["MARGIN_CALL"], f"seed {seed}"
        if rnd.random() < 0.5:
            desk.restart()
        after = desk.run([("clock", DUE)])
        forced = [r for topic, r in after if topic == "risk-events" and r["type"] == "FORCED_REDUCTION"]
        ended = [r for topic, r in after if topic == "order-events"]
        assert len(forced) == 1, f"seed {seed}"
        expected = beyond(waiting)
        assert {r["orderId"] for r in ended} == expected, f"seed {seed}"
        assert len(ended) == len(expected), f"seed {seed}"
        assert {(r["status"], r["reason"]) for r in ended} <= {("CANCELLED", "CANCEL_FORCED_REDUCTION")}
        assert {(r["causeId"], r["timestamp"]) for r in ended} <= {(forced[0]["eventId"], DUE)}
        if rnd.random() < 0.5:
            desk.restart()
        desk.settle()
        book = next(risk.book for risk in desk.risk if "A" in risk.book.accounts)
        assert {order.order_id for order in book.open.values()} == waiting.keys() - expected, f"seed {seed}"
        again = desk.run([("clock", DUE + 3_600 * h.SECOND)])
        assert not [r for topic, r in again if topic in ("risk-events", "order-events")], f"seed {seed}"
        cancelled_in_all += len(expected)
        kept_in_all += len(waiting) - len(expected)
    assert cancelled_in_all > 5 * SEEDS
    assert kept_in_all > 2 * SEEDS
