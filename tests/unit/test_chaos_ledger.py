"""The checker of `tradestream chaos` on a small log: it accepts what is right, and each way of being wrong is named."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import fastavro
import pytest
from click.testing import CliRunner

from jobs.chaos import chaos
from jobs.chaos_faults import FAULTS, draw
from jobs.chaos_ledger import DECODED, READ, Ack, Ledger, digest_of
from jobs.chaos_load import POISON, poison
from schemas.catalogue import TOPICS

IDS = {topic: number for number, topic in enumerate(sorted(DECODED), 1)}
PRICE = 1_000_000
FEE = 35
AT = 1_803_913_200_000_000_000
"""2027-03-01, 10:00 in New York."""
SALE_FEES = 1_439
"""Of 60 shares at 100.00 on that day: 20.60 a million up to the cent, 0.13, and 60 times 0.000232 down to the unit."""


@cache
def schema_of(topic: str) -> Any:
    return fastavro.parse_schema(json.loads(TOPICS[topic].schema_file.read_text(encoding="utf-8")))


def frame(topic: str, record: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, schema_of(topic), record)
    return b"\0" + IDS[topic].to_bytes(4, "big") + stream.getvalue()


@dataclasses.dataclass
class Entry:
    """A record of a log that tests may change before it is read."""

    topic: str
    key: bytes
    record: dict[str, Any]
    partition: int = 0
    offset: int = -1


def command(kind: str, order: str, account: str, side: str, quantity: int, number: int) -> Entry:
    record = {
        "command": kind,
        "orderId": order,
        "accountId": account,
        "symbol": "AAA",
        "side": side,
        "orderType": "LIMIT",
        "timeInForce": "DAY",
        "quantity": quantity,
        "price": PRICE,
        "stopPrice": None,
        "stp": "NONE",
        "clientId": None,
        "timestamp": number,
    }
    return Entry("orders", account.encode(), record)


def event(origin: int, sequence: int, order: tuple[str, str, str, int], status: str, **changes: Any) -> Entry:
    name, account, side, quantity = order
    record = {
        "eventId": f"orders-0-{origin}-{sequence}",
        "eventType": "STATUS",
        "orderId": name,
        "accountId": account,
        "symbol": "AAA",
        "side": side,
        "orderType": "LIMIT",
        "timeInForce": "DAY",
        "quantity": quantity,
        "price": PRICE,
        "stopPrice": None,
        "status": status,
        "reason": "NONE",
        "reasonText": None,
        "cumQuantity": 0,
        "leavesQuantity": 0 if status in ("EXECUTED", "CANCELLED", "REJECTED", "EXPIRED") else quantity,
        "lastQuantity": 0,
        "lastPrice": None,
        "tradeId": None,
        "venue": None,
        "sequence": sequence,
        "causeId": f"orders-0-{origin}",
        "timestamp": AT,
    } | changes
    return Entry("order-events", name.encode(), record)


def trade(trade_id: str, order: str, contra: str, account: str, side: str, quantity: int, sequence: int) -> Entry:
    record = {
        "eventId": f"{trade_id}-{'B' if side == 'BUY' else 'S'}",
        "tradeId": trade_id,
        "orderId": order,
        "contraOrderId": contra,
        "accountId": account,
        "symbol": "AAA",
        "side": side,
        "quantity": quantity,
        "executionPrice": PRICE,
        "commission": quantity * FEE + (0 if side == "BUY" else SALE_FEES),
        "executionTime": AT,
        "venue": "TRDS",
        "liquidity": "ADDED" if side == "BUY" else "REMOVED",
        "bidPrice": None,
        "askPrice": None,
        "orderSequence": sequence,
        "causeId": "orders-0-1",
        "fees": None if side == "BUY" else SALE_FEES,
    }
    return Entry("trade-events", b"AAA", record)


def accounts() -> list[Entry]:
    return [
        Entry(
            "reference-data",
            f"account:{name}".encode(),
            {
                "kind": "ACCOUNT",
                "key": f"account:{name}",
                "instrument": None,
                "account": {
                    "accountId": name,
                    "name": name,
                    "desk": "d",
                    "cash": 0,
                    "positions": [],
                    "maxOrderQuantity": 1,
                    "maxOrderNotional": 1,
                    "maxPosition": 1,
                    "commissionPerShare": FEE,
                    "active": True,
                    "accountType": "CASH",
                },
                "session": None,
                "effectiveFrom": 0,
                "timestamp": 0,
            },
        )
        for name in ("A", "B")
    ]


BUY = ("ONE", "A", "BUY", 100)
SELL = ("TWO", "B", "SELL", 60)


def log() -> list[Entry]:
    """A buy rests, a sell takes 60 of its 100 shares, and what is left is cancelled."""
    fill = {"lastQuantity": 60, "lastPrice": PRICE, "tradeId": "T-0-1-4", "cumQuantity": 60, "venue": "TRDS"}
    return [
        *accounts(),
        command("NEW", "ONE", "A", "BUY", 100, 1),
        command("NEW", "TWO", "B", "SELL", 60, 2),
        command("CANCEL", "ONE", "A", "BUY", 100, 3),
        *(event(0, n, BUY, s) for n, s in enumerate(("VALIDATED", "RISK_APPROVED", "ROUTED"), 1)),
        *(event(1, n, SELL, s) for n, s in enumerate(("VALIDATED", "RISK_APPROVED", "ROUTED"), 1)),
        event(1, 4, SELL, "EXECUTED", **fill),
        event(0, 4, BUY, "PARTIALLY_FILLED", **fill | {"leavesQuantity": 40}),
        event(0, 5, BUY, "CANCELLED", cumQuantity=60, reason="CANCEL_REQUESTED", causeId="orders-0-2"),
        trade("T-0-1-4", "ONE", "TWO", "A", "BUY", 60, 4),
        trade("T-0-1-4", "TWO", "ONE", "B", "SELL", 60, 4),
    ]


def letter(topic: str, offset: int) -> Entry:
    record = {
        "eventId": f"{topic}-0-{offset}",
        "job": "trading",
        "stage": "check_risk",
        "sourceTopic": topic,
        "sourcePartition": 0,
        "sourceOffset": offset,
        "sourceTimestamp": 1,
        "reason": "UNDECODABLE",
        "detail": "",
        "schemaId": None,
        "recordKey": None,
        "payload": b"",
        "timestamp": 1,
    }
    return Entry("dead-letter", topic.encode(), record)


def read(
    entries: list[Entry], acks: Callable[[list[Ack]], list[Ack]] = lambda acks: acks, closed: bool = True
) -> Ledger:
    """A ledger that has read and checked the log; the acknowledgements are of the commands in the untouched log."""
    ledger = Ledger(IDS)
    ends: dict[str, int] = {}
    for entry in entries:
        offset = entry.offset if entry.offset >= 0 else ends.get(entry.topic, 0)
        ends[entry.topic] = offset + 1
        ledger.take(entry.topic, entry.partition, offset, entry.key, frame(entry.topic, entry.record))
    good = [entry for entry in log() if entry.topic == "orders"]
    sent = [
        Ack("orders", 0, offset, digest_of(entry.key, frame("orders", entry.record)), 0.0, "command")
        for offset, entry in enumerate(good)
    ]
    ledger.acknowledged(acks(sent))
    ledger.check(closed=closed)
    return ledger


def kinds(ledger: Ledger) -> set[str]:
    return {violation.kind for violation in ledger.violations}


def where(entries: list[Entry], topic: str, number: int = 0) -> int:
    """The index of a record of a topic, counted from 0 or, negative, from its end."""
    return [index for index, entry in enumerate(entries) if entry.topic == topic][number]


def test_ledger_of_a_right_log_reports_nothing() -> None:
    ledger = read(log())
    assert ledger.violations == []
    assert ledger.waiting() == {}
    assert len(ledger.orders.lives) == 2 and ledger.orders.trades == 2


def test_ledger_of_a_log_that_is_not_complete_yet_waits() -> None:
    entry = log()[2]
    ledger = Ledger(IDS)
    value = frame("orders", entry.record)
    ledger.acknowledged([Ack("orders", 0, 0, digest_of(entry.key, value), 0.0, "command")])
    assert ledger.waiting() == {"acknowledged commands that are not read or not answered": 1}
    ledger.take("orders", 0, 0, entry.key, value)
    assert ledger.waiting()["commands without an answer"] == 1
    assert ledger.violations == []


def remove(topic: str, number: int) -> Callable[[list[Entry]], None]:
    def change(entries: list[Entry]) -> None:
        at = where(entries, topic, number)
        # The records behind it keep their offsets, as in a log.
        for offset, entry in enumerate(entry for entry in entries if entry.topic == topic):
            entry.offset = offset
        del entries[at]

    return change


def repeat(topic: str, number: int, **changes: Any) -> Callable[[list[Entry]], None]:
    def change(entries: list[Entry]) -> None:
        entry = entries[where(entries, topic, number)]
        entries.append(Entry(topic, entry.key, entry.record | changes))

    return change


def alter(topic: str, number: int, **changes: Any) -> Callable[[list[Entry]], None]:
    def change(entries: list[Entry]) -> None:
        entry = entries[where(entries, topic, number)]
        entry.record = entry.record | changes

    return change


def replay(entries: list[Entry]) -> None:
    """What a sink without transactions does after a failure: everything since the last checkpoint once more."""
    for topic in ("order-events", "trade-events"):
        entries += [Entry(e.topic, e.key, e.record) for e in entries if e.topic == topic]


def random_ids(entries: list[Entry]) -> None:
    """A replay with ids that are drawn at random: other ids for the same events."""
    rng = Random(1)
    for entry in [e for e in entries if e.topic in ("order-events", "trade-events")]:
        entries.append(Entry(entry.topic, entry.key, entry.record | {"eventId": f"{rng.getrandbits(128):032x}"}))


def other_trade_ids(entries: list[Entry], trade_id: str = "T-0-0-1") -> None:
    """Orders and trades agree on an id that is of the right form, and of no fill."""
    for entry in entries:
        if entry.record.get("tradeId"):
            side = {"eventId": f"{trade_id}-{entry.record['side'][0]}"} if entry.topic == "trade-events" else {}
            entry.record = entry.record | {"tradeId": trade_id} | side


def forgotten_counter(entries: list[Entry]) -> None:
    """A second pair of orders trades under the number of the first."""
    other_trade_ids(entries)
    second = [Entry(e.topic, e.key, dict(e.record)) for e in log() if e.topic in ("order-events", "trade-events")]
    for entry in second:
        if entry.topic == "order-events":
            _, _, offset, number = entry.record["eventId"].split("-")
            entry.record["eventId"] = f"orders-0-{int(offset) + 10}-{number}"
        for name in ("orderId", "contraOrderId"):
            if entry.record.get(name):
                entry.record[name] += "-2"
        if entry.topic == "order-events":
            entry.key = entry.record["orderId"].encode()
    other_trade_ids(second)
    entries += second


def swap(topic: str, first: int, second: int) -> Callable[[list[Entry]], None]:
    def change(entries: list[Entry]) -> None:
        one, two = where(entries, topic, first), where(entries, topic, second)
        entries[one], entries[two] = entries[two], entries[one]

    return change


def ghost(entries: list[Entry]) -> None:
    entries.append(command("NEW", "GHOST-1", "A", "BUY", 100, 9))


def ghost_lives(entries: list[Entry]) -> None:
    entries.append(event(77, 1, ("GHOST-1", "A", "BUY", 100), "VALIDATED"))


def dead(entries: list[Entry]) -> None:
    entries.append(letter("orders", 0))


def again(entries: list[Entry]) -> None:
    entries[-1].offset = 0


WRONG: dict[str, tuple[Callable[[list[Entry]], None], str]] = {
    "an event is lost": (remove("order-events", 1), "lost"),
    "the last event is lost": (remove("order-events", -1), "lost"),
    "an event is doubled": (repeat("order-events", 0), "duplicate"),
    "an event is said again, otherwise": (repeat("order-events", 1, price=1), "changed"),
    "a trade side is lost": (remove("trade-events", 0), "lost"),
    "a trade side is doubled": (repeat("trade-events", 1), "duplicate"),
    "a trade side is said again, otherwise": (repeat("trade-events", 1, executionPrice=5), "changed"),
    "the sinks write at least once": (replay, "duplicate"),
    "ids are random": (random_ids, "broken id"),
    "trades have other ids": (other_trade_ids, "broken id"),
    "trades have the ids of a counter that a restart forgot": (forgotten_counter, "duplicate"),
    "an id is of another event": (alter("order-events", 2, sequence=7), "broken id"),
    "a step is skipped": (alter("order-events", 1, status="PARTIALLY_FILLED"), "illegal state"),
    "an order goes on after its end": (
        lambda entries: entries.append(event(1, 5, SELL, "CANCELLED", cumQuantity=60)),
        "illegal state",
    ),
    "a sum is wrong": (alter("order-events", 7, leavesQuantity=41), "illegal state"),
    "events of an order change places": (swap("order-events", 0, 1), "lost"),
    "a fill and its trade differ": (alter("trade-events", 0, quantity=59), "fill and trade differ"),
    "two sides do not fit": (alter("trade-events", 0, contraOrderId="X"), "sides differ"),
    "a commission is wrong": (alter("trade-events", 0, commission=1), "not conserved"),
    "the fees of a sale are forgotten": (alter("trade-events", 1, commission=60 * FEE, fees=None), "not conserved"),
    "the fees of a sale are a unit too low": (
        alter("trade-events", 1, commission=60 * FEE + SALE_FEES - 1, fees=SALE_FEES - 1),
        "not conserved",
    ),
    "a command is written twice": (repeat("orders", 0), "duplicate"),
    "a command is lost": (remove("orders", 0), "lost write"),
    "a command is altered": (alter("orders", 1, quantity=61), "changed"),
    "a cancel is not answered": (alter("order-events", -1, causeId="orders-0-0"), "duplicate"),
    "an aborted command is read": (ghost, "aborted read"),
    "an aborted command is answered": (ghost_lives, "aborted read"),
    "a good command has a dead letter": (dead, "refused"),
    "an offset comes again": (again, "order within a key"),
    "an event has another key": (
        lambda entries: setattr(entries[where(entries, "order-events")], "key", b"X"),
        "order within a key",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_ledger_of_a_wrong_log_names_what_is_wrong(name: str) -> None:
    change, kind = WRONG[name]
    entries = log()
    change(entries)
    found = kinds(read(entries))
    assert kind in found, found


def test_order_still_open_after_the_close_is_reported() -> None:
    entries = log()
    remove("order-events", -1)(entries)
    del entries[where(entries, "orders", -1)]
    ledger = read(entries, acks=lambda acks: acks[:2])
    assert [violation.text for violation in ledger.violations] == [
        "order ONE from orders-0-0 is still PARTIALLY_FILLED after the close"
    ]
    assert read(entries, acks=lambda acks: acks[:2], closed=False).violations == []


def test_many_violations_of_one_kind_do_not_hide_another() -> None:
    ledger = Ledger(IDS)
    for number in range(1_000):
        ledger.report("lost", f"record {number}")
    ledger.report("duplicate", "record 1")
    assert kinds(ledger) == {"lost", "duplicate"}
    assert ledger.violation_count == 1_001 and len(ledger.violations) < 100


def test_second_reading_that_differs_is_reported() -> None:
    ledger = read(log())
    part = ledger.parts["trade-events", 0]
    records = list(zip(part.offsets, part.digests, strict=True))
    ledger.check_again("trade-events", 0, records)
    assert ledger.violations == []
    ledger.check_again("trade-events", 0, records[:1])
    ledger.check_again("trade-events", 0, [records[0], (1, 5)])
    ledger.check_again("trade-events", 0, [*records, (2, 5)])
    assert [violation.kind for violation in ledger.violations] == ["lost", "changed", "changed"]


def test_poisoned_record_without_its_dead_letter_is_reported_and_a_second_letter_too() -> None:
    for letters, found in ((0, {"lost"}), (1, set()), (2, {"duplicate"})):
        ledger = Ledger(IDS)
        ledger.take("controls", 0, 0, b"*", b"poison")
        ledger.acknowledged([Ack("controls", 0, 0, digest_of(b"*", b"poison"), 0.0, "poison")])
        for number in range(letters):
            entry = letter("controls", 0)
            ledger.take("dead-letter", 0, number, entry.key, frame("dead-letter", entry.record))
        ledger.check()
        assert kinds(ledger) == found


def test_tick_is_answered_by_the_event_of_its_feed_and_number() -> None:
    tick = {
        "source": "s",
        "format": "LEAN_QUOTE",
        "feedId": "s/1/AAA",
        "sequence": 7,
        "symbol": "AAA",
        "baseTimeNs": 0,
        "payload": b"",
    }
    value = frame("raw-feed", tick)
    ledger = Ledger(IDS)
    ack = Ack("raw-feed", 0, 0, digest_of(b"AAA", value), 0.0, "tick")
    ledger.acknowledged([ack])
    ledger.take("raw-feed", 0, 0, b"AAA", value)
    assert ledger.waiting() and not ledger.answered(ack)
    quote = {field["name"]: None for field in schema_of("market-data")["fields"]} | {
        "eventId": "s/1/AAA-7",
        "kind": "QUOTE",
        "symbol": "AAA",
        "exchange": "N",
        "bidSize": 1,
        "askSize": 0,
        "volume": 0,
        "suspicious": False,
        "sequence": 7,
        "source": "s",
        "timestamp": 1,
    }
    ledger.take("market-data", 0, 0, b"AAA", frame("market-data", quote))
    assert not ledger.waiting() and ledger.answered(ack)
    ledger.take("market-data", 0, 1, b"AAA", frame("market-data", quote))
    assert kinds(ledger) == {"duplicate"}


def test_poison_is_of_every_topic_and_no_two_records_are_alike() -> None:
    made = [item for number in range(50) for item in poison(Random(number), {}, number)]
    assert {topic for topic, _, _ in made} == set(POISON)
    assert set(POISON) <= set(READ)
    assert len({value for _, _, value in made}) == len(made)


def test_draw_takes_every_kind_before_one_comes_again() -> None:
    drawn = draw(Random(1), 2 * len(FAULTS) + 3)
    for start in (0, len(FAULTS)):
        assert sorted(drawn[start : start + len(FAULTS)]) == sorted(FAULTS)
    assert draw(Random(1), 3, ("clock",)) == ["clock"] * 3
    assert draw(Random(5), 9) == draw(Random(5), 9)


def test_table_is_not_written_to_a_file_that_is_called_like_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(chaos, ["--table", "--json"])
    assert result.exit_code == 2
    assert "--json looks like an option" in result.output
    assert not list(tmp_path.iterdir())
