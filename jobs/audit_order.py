"""The life of an order from ClickHouse's archive: every command, check, routing decision, fill and event, in their order.

Each step has its cause (the identity of the input that made it), the position of its record in Kafka, under which the audit
trail has it, and the national best bid and offer that was known at its time.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

from schemas.messages.enums import ORDER_STATUS_NAMES

# By table: the columns of a step, in the order of _FIELDS, and the column that is its time.
_STEPS: Final = {
    "orders": (
        "command AS what, '' AS event_id, '' AS cause, side, order_type, time_in_force, quantity, price, stop_price, "
        "NULL AS reason, NULL AS detail, NULL AS venue, NULL AS trade_id, 0 AS sequence",
        "timestamp",
    ),
    "order_events": (
        "if(event_type = 'STATUS', status, event_type) AS what, event_id, cause_id AS cause, side, order_type, time_in_force, "
        "if(last_quantity > 0, last_quantity, leaves_quantity) AS quantity, if(last_quantity > 0, last_price, price) AS price, "
        "stop_price, nullIf(reason, 'NONE') AS reason, reason_text AS detail, venue, trade_id, sequence",
        "timestamp",
    ),
    "risk_events": (
        "type AS what, event_id, '' AS cause, '' AS side, '' AS order_type, '' AS time_in_force, quantity, NULL AS price, "
        "NULL AS stop_price, nullIf(reason, 'NONE') AS reason, detail, NULL AS venue, NULL AS trade_id, 0 AS sequence",
        "timestamp",
    ),
    "routing_decisions": (
        "action AS what, event_id, '' AS cause, side, '' AS order_type, '' AS time_in_force, quantity, limit_price AS price, "
        "NULL AS stop_price, NULL AS reason, NULL AS detail, venue, NULL AS trade_id, 0 AS sequence",
        "timestamp",
    ),
    "trade_events": (
        "'TRADE' AS what, event_id, cause_id AS cause, side, '' AS order_type, '' AS time_in_force, quantity, "
        "execution_price AS price, NULL AS stop_price, NULL AS reason, "
        "concat('commission ', toDecimalString(commission, 4), ', liquidity ', liquidity) AS detail, venue, trade_id, "
        "order_sequence AS sequence",
        "execution_time",
    ),
}
_PLACE: Final = "symbol, account_id, _topic, _partition, _offset"
_FIELDS: Final = (
    "what",
    "eventId",
    "cause",
    "side",
    "orderType",
    "timeInForce",
    "quantity",
    "price",
    "stopPrice",
    "reason",
    "detail",
    "venue",
    "tradeId",
    "sequence",
)


def lives(client: Any, order_id: str, account: str | None = None) -> list[dict[str, Any]]:
    """The lives of the orders of this id, one for each account that has one. Raises ClickHouseError."""
    steps: dict[str, list[dict[str, Any]]] = {}
    for table, (columns, time) in _STEPS.items():
        rows = client.query(
            f"SELECT {columns}, {_PLACE}, toUnixTimestamp64Nano({time}), toString({time}) FROM {table} "
            "WHERE order_id = {order:String}" + (" AND account_id = {account:String}" if account else ""),
            parameters={"order": order_id, "account": account or ""},
        ).result_rows
        for row in rows:
            symbol, owner, topic, partition, offset, time_ns, when = row[len(_FIELDS) :]
            step = {name: value for name, value in zip(_FIELDS, row, strict=False) if value not in (None, "")}
            step |= {"symbol": symbol, "time": when, "timeNs": int(time_ns)}
            step |= {"record": f"{topic}-{partition}-{offset}", "source": table}
            steps.setdefault(owner, []).append(step)
    found = []
    for owner, of in sorted(steps.items()):
        of.sort(key=_Place(of).of)
        for step in of:
            step["market"] = _market(client, step["symbol"], step["timeNs"]) if step["symbol"] else None
        found.append({"orderId": order_id, "accountId": owner, "steps": of})
    return found


class _Place:
    """Where a step belongs: what inputs of one time cause has that time, so within it the order's own sequence tells the order.

    A command comes before what it causes; a routing decision and a risk event before the state that they lead to; a trade behind
    the event of its fill, whose sequence it has. Refused cancels and replacements have no place in the sequence: they come last.
    """

    _LEADS_TO: Final = {"routing_decisions": ("ROUTED",), "risk_events": ("REJECTED", "RISK_APPROVED")}
    _LAST: Final = 1e9

    def __init__(self, steps: list[dict[str, Any]]) -> None:
        events = [step for step in steps if step["source"] == "order_events"]
        self._states = {(step["timeNs"], step["what"]): step.get("sequence", 0) for step in events}
        self._answers: dict[str, float] = {}
        for step in sorted(events, key=self._of_event):
            self._answers.setdefault(step.get("cause", ""), self._of_event(step))

    def of(self, step: dict[str, Any]) -> tuple[int, float, str]:
        """The key to sort by."""
        source = step["source"]
        if source in self._LEADS_TO:
            known = [self._states.get((step["timeNs"], state)) for state in self._LEADS_TO[source]]
            sequence = next((number - 0.5 for number in known if number is not None), self._LAST)
        elif source == "trade_events":
            sequence = step["sequence"] + 0.25
        elif source == "orders":
            sequence = self._answers.get(step["record"], 0 if step["what"] == "NEW" else self._LAST) - 0.6
        else:
            sequence = self._of_event(step)
        return step["timeNs"], sequence, step["record"]

    def _of_event(self, step: dict[str, Any]) -> float:
        return float(step.get("sequence", 0)) or self._LAST


def _market(client: Any, symbol: str, time_ns: int) -> dict[str, Any] | None:
    """The NBBO of a symbol as of a time, None when there was none."""
    rows = client.query(
        "SELECT bid_price, bid_size, ask_price, ask_size, event_id, toString(timestamp) FROM nbbo "
        "WHERE symbol = {symbol:String} AND timestamp <= fromUnixTimestamp64Nano({at:Int64}, 'UTC') "
        "ORDER BY timestamp DESC, sequence DESC LIMIT 1",
        parameters={"symbol": symbol, "at": time_ns},
    ).result_rows
    if not rows:
        return None
    bid, bid_size, ask, ask_size, event_id, when = rows[0]
    return {"bid": bid, "bidSize": bid_size, "ask": ask, "askSize": ask_size, "eventId": event_id, "time": when}


def told(life: dict[str, Any]) -> Iterator[str]:
    """A life as lines for people."""
    steps = life["steps"]
    placed = next((step for step in steps if step["source"] == "orders"), steps[0])
    yield f"Order {life['orderId']} of account {life['accountId']}: {_terms(placed)}"
    day = ""
    for step in steps:
        date, _, time = step["time"].partition(" ")
        if date != day:
            day = date
            yield ""
            yield f"{day} (UTC)"
        yield f"  {time}  {_headline(step)}"
        lines = [f"market  {_quote(step['market'])}"]
        if "detail" in step:
            lines.append(f"detail  {step['detail']}")
        if "cause" in step:
            lines.append(f"cause   {step['cause']}")
        lines.append(f"record  {step['record']}" + (f", event {step['eventId']}" if "eventId" in step else ""))
        yield from (f"{' ' * 22}{line}" for line in lines)
    fills = [step for step in steps if step["source"] == "trade_events"]
    shares = sum(step["quantity"] for step in fills)
    # A refused cancel or a trigger is an event of the order, and no state of it.
    states = [step["what"] for step in steps if step["source"] == "order_events" and step["what"] in ORDER_STATUS_NAMES]
    yield ""
    if shares:
        value = sum(Decimal(step["price"]) * step["quantity"] for step in fills)
        yield f"{shares} filled in {len(fills)} {'trade' if len(fills) == 1 else 'trades'} at {value / shares:.4f} on average"
    yield f"{len(steps)} steps; the last state is {states[-1] if states else 'unknown: nobody has answered it'}"


def _headline(step: dict[str, Any]) -> str:
    kind = {
        "orders": "command",
        "order_events": "order",
        "risk_events": "risk",
        "routing_decisions": "routing",
        "trade_events": "trade",
    }[step["source"]]
    words = [f"{kind:<8}{step['what']}"]
    if step["source"] == "orders":
        words.append(_terms(step))
    elif step.get("quantity"):
        words.append(f"{step['quantity']}" + (f" at {step['price']}" if "price" in step else ""))
    if "venue" in step:
        words.append(f"on {step['venue']}")
    if "tradeId" in step:
        words.append(f"trade {step['tradeId']}")
    if "reason" in step:
        words.append(f"because {step['reason']}")
    return "  ".join(words)


def _terms(step: dict[str, Any]) -> str:
    words = [str(step.get(name, "")) for name in ("side", "quantity", "symbol", "orderType", "timeInForce")]
    if "price" in step:
        words.append(f"limit {step['price']}")
    if "stopPrice" in step:
        words.append(f"stop {step['stopPrice']}")
    return " ".join(word for word in words if word)


def _quote(market: dict[str, Any] | None) -> str:
    if market is None:
        return "no quote yet"
    bid = f"{market['bid']} x {market['bidSize']}" if market["bid"] is not None else "no bid"
    ask = f"{market['ask']} x {market['askSize']}" if market["ask"] is not None else "no offer"
    return f"{bid} / {ask}  ({market['eventId']})"
