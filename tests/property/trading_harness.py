"""Both trading stages joined without Flink: steps as dictionaries in, decoded records out.

A step is (kind, fields) with fields as fastavro has them: `order` (a record of the orders topic), `nbbo`, `clock` (nanoseconds),
`reference` (a record of reference-data), `control`, `action` (a record of corporate-actions), `raw` ((source, payload) as
bytes), or `settle`, which ends the batch of the match stage and delivers its outcomes to the risk stage, as the feedback
topic does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from schemas.messages import (
    controls,
    corporate_actions,
    dead_letter,
    market_status,
    nbbo,
    order_events,
    order_outcomes,
    orders,
    reference_data,
    risk_events,
    routing_decisions,
    trade_events,
)
from udfs.domain import sources
from udfs.domain.match_shard import MatchShard
from udfs.domain.outbox import Outbox
from udfs.domain.risk_shard import RiskShard
from udfs.domain.sharding import shard_of

Step = tuple[str, Any]
Record = tuple[str, dict[str, Any]]

TOPICS = (
    "orders",
    "reference-data",
    "controls",
    "nbbo",
    "order-outcomes",
    "order-events",
    "trade-events",
    "risk-events",
    "routing-decisions",
    "dead-letter",
    "market-status",
    "corporate-actions",
)
SCHEMA_IDS = {topic: 101 + index for index, topic in enumerate(TOPICS)}

_WRITTEN: dict[str, Any] = {
    "order-events": order_events,
    "trade-events": trade_events,
    "risk-events": risk_events,
    "routing-decisions": routing_decisions,
    "order-outcomes": order_outcomes,
    "dead-letter": dead_letter,
    "market-status": market_status,
}

SECOND = 1_000_000_000
OPEN = 1_700_000_000 * SECOND
CLOSE = OPEN + 23_400 * SECOND
NEXT_OPEN = OPEN + 86_400 * SECOND
NEXT_CLOSE = NEXT_OPEN + 23_400 * SECOND


def encode_step(kind: str, fields: Any) -> tuple[int, bytes]:
    """The stream and the bytes of a step."""
    if kind == "raw":
        return fields
    if kind == "order":
        return sources.ORDERS, orders.encode(orders.from_dict(fields), SCHEMA_IDS["orders"])
    if kind == "nbbo":
        return sources.NBBO, nbbo.encode(nbbo.from_dict(fields), SCHEMA_IDS["nbbo"])
    if kind == "reference":
        return sources.REFERENCE, reference_data.encode(reference_data.from_dict(fields), SCHEMA_IDS["reference-data"])
    if kind == "action":
        record = corporate_actions.from_dict(fields)
        return sources.CORPORATE_ACTIONS, corporate_actions.encode(record, SCHEMA_IDS["corporate-actions"])
    if kind == "clock":
        fields = {
            "controlId": f"clock-{fields}",
            "kind": "CLOCK",
            "scope": "ALL",
            "issuedBy": "clock",
            "reason": "",
            "timestamp": fields,
        }
    return sources.CONTROLS, controls.encode(controls.from_dict(fields), SCHEMA_IDS["controls"])


class Desk:
    """`shards` risk shards and as many match shards, with positions counted per stream as Kafka would."""

    def __init__(self, shards: int = 1, check_every_step: bool = False) -> None:
        self.shards = shards
        self.risk = [RiskShard(i, shards, SCHEMA_IDS) for i in range(shards)]
        self.match = [MatchShard(i, shards, SCHEMA_IDS) for i in range(shards)]
        self.offsets: dict[int, int] = {}
        self.records: list[Record] = []
        self.keys: list[bytes] = []
        self.check_every_step = check_every_step
        self.outcomes: list[tuple[int, bytes]] = []

    def run(self, steps: Iterable[Step]) -> list[Record]:
        """Apply steps; returns the records that they caused, outcomes left out."""
        before = len(self.records)
        for kind, fields in steps:
            self.step(kind, fields)
        return self.records[before:]

    def step(self, kind: str, fields: Any) -> None:
        """Apply one step."""
        if kind == "settle":
            self.settle()
        else:
            source, payload = encode_step(kind, fields)
            offset = self.offsets.get(source, 0)
            self.offsets[source] = offset + 1
            self._deliver(source, payload, offset, fields)
        if self.check_every_step:
            self.check()

    def _deliver(self, source: int, payload: bytes, offset: int, fields: Any) -> None:
        if source == sources.REFERENCE:
            self._deliver_to_match(source, payload, offset, fields)
        targets: Sequence[RiskShard] = self.risk
        if source == sources.ORDERS and isinstance(fields, dict):
            targets = [self.risk[shard_of(fields["accountId"], self.shards)]]
        elif source == sources.REFERENCE and isinstance(fields, dict) and fields["account"] is not None:
            shards = dict.fromkeys((0, shard_of(fields["account"]["accountId"], self.shards)))
            targets = [self.risk[shard] for shard in shards]
        for risk in targets:
            risk.apply(source, payload, 0, offset, 1_000)
            risk.flush()
            self._collect(risk.outbox)
            self._forward(risk.outbox)
        if source in (sources.NBBO, sources.CONTROLS, sources.CORPORATE_ACTIONS):
            self._deliver_to_match(source, payload, offset, fields)

    def _deliver_to_match(self, source: int, payload: bytes, offset: int, fields: Any) -> None:
        """Quotes and instruments go to their symbol's shard, accounts to none, everything else to all."""
        symbol = None
        if source == sources.NBBO and isinstance(fields, dict):
            symbol = fields["symbol"]
        elif source == sources.REFERENCE and isinstance(fields, dict):
            if fields["account"] is not None:
                return
            if fields["instrument"] is not None:
                symbol = fields["instrument"]["symbol"]
        for match in self.match:
            if symbol is None or shard_of(symbol, self.shards) == match.shard:
                match.apply(source, payload, 0, offset, 1_000)
                self._collect(match.outbox)

    def _forward(self, outbox: Outbox) -> None:
        for shard, frames in enumerate(outbox.forward):
            match = self.match[shard]
            for frame in frames:
                match.apply(sources.FORWARD, frame, 0, 0, 0)
            self._collect(match.outbox)
        outbox.clear()

    def _collect(self, outbox: Outbox) -> None:
        for lane in outbox.lanes():
            assert len(lane.keys) == len(lane.values)
            for key, value in zip(lane.keys, lane.values, strict=True):
                if lane.topic == "order-outcomes":
                    self.outcomes.append((int(key), value))
                    continue
                module = _WRITTEN[lane.topic]
                self.records.append((lane.topic, module.to_dict(module.decode(value, SCHEMA_IDS[lane.topic]))))
                self.keys.append(key)
            lane.clear()

    def settle(self) -> None:
        """End the match stage's batch and deliver the outcomes."""
        for match in self.match:
            match.flush()
            self._collect(match.outbox)
        outcomes, self.outcomes = self.outcomes, []
        for shard, value in outcomes:
            offset = self.offsets.get(sources.OUTCOMES, 0)
            self.offsets[sources.OUTCOMES] = offset + 1
            self.risk[shard].apply(sources.OUTCOMES, value, 0, offset, 1_000)
            self._collect(self.risk[shard].outbox)
            self._forward(self.risk[shard].outbox)

    def check(self) -> None:
        """Check both stages' invariants."""
        for risk in self.risk:
            risk.check_invariants()
        for match in self.match:
            match.check_invariants()

    def restart(self) -> None:
        """Replace every engine by one restored from its snapshot; ends the match stage's batch first."""
        for match in self.match:
            match.flush()
            self._collect(match.outbox)
        risk = [RiskShard(i, self.shards, SCHEMA_IDS) for i in range(self.shards)]
        match_shards = [MatchShard(i, self.shards, SCHEMA_IDS) for i in range(self.shards)]
        for new, old in zip(risk, self.risk, strict=True):
            new.restore(old.snapshot())
            assert new.snapshot() == old.snapshot()
        for new_match, old_match in zip(match_shards, self.match, strict=True):
            new_match.restore(old_match.snapshot())
            assert new_match.snapshot() == old_match.snapshot()
        self.risk = risk
        self.match = match_shards


def instrument(symbol: str, tick: int = 100, active: bool = True, **fields: Any) -> Step:
    """Reference data of an instrument; `fields` override."""
    return "reference", {
        "kind": "INSTRUMENT",
        "key": f"instrument:{symbol}",
        "instrument": {
            "symbol": symbol,
            "name": symbol,
            "assetClass": "STOCK",
            "currency": "USD",
            "primaryExchange": "XNYS",
            "tickSize": tick,
            "roundLot": 100,
            "priorClose": 100_0000,
            "active": active,
            **fields,
        },
        "account": None,
        "session": None,
        "effectiveFrom": 0,
        "timestamp": OPEN,
    }


def account(
    account_id: str,
    cash: int = 10_000_000_0000,
    positions: dict[str, int] | None = None,
    max_order_quantity: int = 100_000,
    max_order_notional: int = 10_000_000_0000,
    max_position: int = 1_000_000,
    commission: int = 50,
    active: bool = True,
    **fields: Any,
) -> Step:
    """Reference data of an account; `fields` override."""
    return "reference", {
        "kind": "ACCOUNT",
        "key": f"account:{account_id}",
        "instrument": None,
        "account": {
            "accountId": account_id,
            "name": account_id,
            "desk": "d",
            "cash": cash,
            "positions": [{"symbol": s, "quantity": q} for s, q in (positions or {}).items()],
            "maxOrderQuantity": max_order_quantity,
            "maxOrderNotional": max_order_notional,
            "maxPosition": max_position,
            "commissionPerShare": commission,
            "active": active,
            **fields,
        },
        "session": None,
        "effectiveFrom": 0,
        "timestamp": OPEN,
    }


def session(date: str, open_time: int, close_time: int, pre_open_time: int | None = None) -> Step:
    """Reference data of a session."""
    return "reference", {
        "kind": "SESSION",
        "key": f"session:{date}",
        "instrument": None,
        "account": None,
        "session": {
            "date": date,
            "openTime": open_time,
            "closeTime": close_time,
            "halfDay": False,
            "preOpenTime": pre_open_time,
        },
        "effectiveFrom": 0,
        "timestamp": OPEN,
    }


def snapshot_end() -> Step:
    """The end of a snapshot of reference data."""
    return "reference", {
        "kind": "SNAPSHOT_END",
        "key": "snapshot-end",
        "instrument": None,
        "account": None,
        "session": None,
        "effectiveFrom": 0,
        "timestamp": OPEN,
    }


def order(
    order_id: str,
    account_id: str,
    symbol: str,
    side: str,
    quantity: int,
    price: int | None = None,
    time_in_force: str = "DAY",
    timestamp: int = OPEN,
    **fields: Any,
) -> Step:
    """A new order: LIMIT when it has a price, else MARKET; `fields` override."""
    return "order", {
        "command": "NEW",
        "orderId": order_id,
        "accountId": account_id,
        "symbol": symbol,
        "side": side,
        "orderType": "MARKET" if price is None else "LIMIT",
        "timeInForce": time_in_force,
        "quantity": quantity,
        "price": price,
        "stopPrice": None,
        "stp": "NONE",
        "clientId": None,
        "timestamp": timestamp,
        "locateId": None,
        "imbalanceOnly": None,
        "doNotReduce": None,
        **fields,
    }


def quote(
    symbol: str,
    sequence: int,
    venues: Sequence[tuple[str, int | None, int, int | None, int]],
    timestamp: int,
    venue_times: dict[str, int] | None = None,
    prints: Sequence[int] = (),
) -> Step:
    """An nbbo record of (exchange, bid, size, ask, size), the national best taken from them; `prints`: eligible trades."""
    times = venue_times or {}
    bids = [(b, s, e) for e, b, s, _, _ in venues if b is not None]
    asks = [(a, s, e) for e, _, _, a, s in venues if a is not None]
    bid = max(bids, default=(None, 0, None), key=lambda x: (x[0], x[1]))
    ask = min(asks, default=(None, 0, None), key=lambda x: (x[0], -x[1]))
    return "nbbo", {
        "eventId": f"{symbol}-{sequence}",
        "symbol": symbol,
        "bidPrice": bid[0],
        "bidSize": bid[1],
        "bidExchange": bid[2],
        "askPrice": ask[0],
        "askSize": ask[1],
        "askExchange": ask[2],
        "quotes": [
            {
                "exchange": e,
                "bidPrice": b,
                "bidSize": bs,
                "askPrice": a,
                "askSize": s,
                "timestamp": times.get(e, timestamp),
            }
            for e, b, bs, a, s in venues
        ],
        "lastPrice": prints[-1] if prints else None,
        "sequence": sequence,
        "timestamp": timestamp,
        "tradeHigh": max(prints, default=None),
        "tradeLow": min(prints, default=None),
        "tradeCount": len(prints) or None,
        "tradePriceSum": sum(prints) or None,
    }


def control(kind: str, target: str | None = None, timestamp: int = OPEN, **fields: Any) -> Step:
    """A control: of the firm without a target; `scope` says what a target is, SYMBOL when it is left out."""
    return "control", {
        "controlId": f"{kind.lower()}-{timestamp}",
        "kind": kind,
        "scope": "ALL" if target is None else "SYMBOL",
        "target": target,
        "value": None,
        "issuedBy": "operator",
        "reason": "test",
        "timestamp": timestamp,
        "symbol": None,
        "limit": None,
        **fields,
    }


def action(action_id: str, kind: str, symbol: str, ex_date: str, **fields: Any) -> Step:
    """A corporate action; `fields` override."""
    return "action", {
        "actionId": action_id,
        "version": 1,
        "type": kind,
        "symbol": symbol,
        "newSymbol": None,
        "cashPerShare": None,
        "ratioNumerator": None,
        "ratioDenominator": None,
        "exDate": ex_date,
        "recordDate": ex_date,
        "payDate": ex_date,
        "cancelled": False,
        "timestamp": OPEN,
        **fields,
    }
