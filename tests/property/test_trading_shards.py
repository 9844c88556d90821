"""Both trading stages at their edges: bad input, races at the start, batches, snapshots, memory of ids."""

from __future__ import annotations

import gc
from random import Random
from typing import Any

import pytest
import trading_harness as h
from trading_streams import Stream

from schemas.messages import dead_letter, order_outcomes, orders
from schemas.messages.order_outcomes import OrderOutcome, OrderOutcomes
from udfs.domain import match_shard, risk_shard, sources
from udfs.domain.book import InvariantViolation
from udfs.domain.frames import FrameError
from udfs.domain.order_ids import OrderIds, fingerprint_of, shard_of_entry
from udfs.domain.sharding import shard_of
from udfs.domain.state_codec import StateError


def desk(*accounts: h.Step, end: bool = True) -> h.Desk:
    """A desk with two accounts, IBM and a session."""
    result = h.Desk(check_every_step=True)
    steps = list(accounts) or [h.account("A1"), h.account("A2", positions={"IBM": 1_000})]
    steps += [h.instrument("IBM"), h.session("day-1", h.OPEN, h.CLOSE), h.session("day-2", h.NEXT_OPEN, h.NEXT_CLOSE)]
    result.run([*steps, *([h.snapshot_end()] if end else [])])
    return result


def topics(records: list[h.Record], topic: str) -> list[dict[str, Any]]:
    """The records of one topic."""
    return [record for name, record in records if name == topic]


def test_orders_before_reference_data_wait_and_are_judged_in_order_when_it_ends() -> None:
    early = h.Desk(check_every_step=True)
    steps = [h.order("o1", "A2", "IBM", "SELL", 10, 99_0000), h.order("o2", "A1", "IBM", "BUY", 10, 99_0000)]
    assert early.run(steps) == []
    early.restart()
    assert early.risk[0].stats()["orders_held"] == 2
    late = early.run(
        [
            h.account("A1"),
            h.account("A2", positions={"IBM": 10}),
            h.instrument("IBM"),
            h.session("day-1", h.OPEN, h.CLOSE),
            h.snapshot_end(),
        ]
    )
    in_time = desk(h.account("A1"), h.account("A2", positions={"IBM": 10})).run(steps)
    for topic in h.TOPICS:
        assert topics(late, topic) == topics(in_time, topic)
    assert [t["quantity"] for t in topics(late, "trade-events")] == [10, 10]
    assert early.risk[0].stats()["orders_held"] == 0


def test_held_orders_beyond_the_bound_stop_with_what_to_do(monkeypatch: pytest.MonkeyPatch, compiled: bool) -> None:
    shard = risk_shard.RiskShard(0, 1, h.SCHEMA_IDS)
    _, payload = h.encode_step(*h.order("o1", "A1", "IBM", "BUY", 1, 1_0000))
    count = risk_shard.MAX_HELD if compiled else 3
    if not compiled:
        monkeypatch.setattr(risk_shard, "MAX_HELD", count)
    for offset in range(count):
        shard.apply(sources.ORDERS, payload, 0, offset, 0)
    with pytest.raises(risk_shard.HeldOrdersOverflow, match="snapshot-end"):
        shard.apply(sources.ORDERS, payload, 0, count, 0)


def test_quotes_before_their_instrument_are_a_reference_price_afterwards() -> None:
    early = h.Desk()
    early.run([h.quote("IBM", 1, [("XNYS", 99_0000, 100, 100_0000, 100)], h.OPEN)])
    early.run([h.account("A1"), h.instrument("IBM"), h.session("day-1", h.OPEN, h.CLOSE), h.snapshot_end()])
    events = topics(early.run([h.order("o1", "A1", "IBM", "BUY", 10)]), "order-events")
    assert events[-1]["status"] == "EXECUTED"


@pytest.mark.parametrize(
    ("source", "payload", "reason"),
    [
        (sources.ORDERS, b"", "UNDECODABLE"),
        (sources.ORDERS, b"\x01\x00\x00\x00\x65\x00", "BAD_MAGIC"),
        (sources.ORDERS, b"\x00\x00\x00\x03\x09\x00", "UNKNOWN_SCHEMA"),
        (sources.ORDERS, b"\x00\x00\x00\x00\x65\x00\x04", "UNDECODABLE"),
        (sources.REFERENCE, b"\x00\x00\x00\x00\x66\xff", "UNDECODABLE"),
        (sources.CONTROLS, b"junk", "UNDECODABLE"),
        (sources.NBBO, b"junk!", "BAD_MAGIC"),
        (sources.OUTCOMES, b"junk!", "BAD_MAGIC"),
    ],
)
def test_bytes_that_are_no_message_become_one_dead_letter_with_place_and_payload(
    source: int, payload: bytes, reason: str
) -> None:
    records = desk().run([("raw", (source, payload))])
    assert [topic for topic, _ in records] == ["dead-letter"]
    letter = records[0][1]
    assert letter["reason"] == reason
    assert letter["payload"] == payload
    assert letter["sourceTopic"] == sources.TOPICS[source]
    assert letter["eventId"] == f"{sources.TOPICS[source]}-0-{letter['sourceOffset']}"
    assert letter["schemaId"] == (int.from_bytes(payload[1:5], "big") if payload[:1] == b"\x00" else None)


@pytest.mark.parametrize("payload", [b"", b"junk", b"\x00\x00\x00\x00\x66\xff"])
def test_reference_data_that_cannot_be_decoded_is_answered_by_the_first_of_several_shards(payload: bytes) -> None:
    records = h.Desk(shards=4).run([("raw", (sources.REFERENCE, payload))])
    assert [topic for topic, _ in records] == ["dead-letter"]


def test_account_that_comes_to_the_first_shard_too_is_taken_by_its_own_only() -> None:
    shards = 4
    account_id = next(f"A{i}" for i in range(100) if shard_of(f"A{i}", shards) == 2)
    found = h.Desk(shards=shards)
    found.run([h.account(account_id)])
    assert [account_id in shard.book.accounts for shard in found.risk] == [False, False, True, False]


def test_random_bytes_never_raise() -> None:
    rnd = Random(5)
    target = desk()
    _, good = h.encode_step(*h.order("o1", "A1", "IBM", "BUY", 1, 1_0000))
    for _ in range(3_000):
        data = bytearray(good)
        for _ in range(rnd.randint(1, 4)):
            data[rnd.randrange(len(data))] = rnd.randrange(256)
        target.step("raw", (sources.ORDERS, bytes(data[: rnd.randint(0, len(data))])))
    target.check()


def test_huge_payload_is_cut_in_its_dead_letter() -> None:
    records = desk().run([("raw", (sources.ORDERS, b"\x00" * 9_000_000))])
    assert records[0][1]["reason"] == "TOO_LARGE"
    assert len(records[0][1]["payload"]) == 8_000_000
    assert "cut to 8000000" in records[0][1]["detail"]


def test_order_with_the_key_of_another_account_is_a_dead_letter() -> None:
    shards = 4
    account_id = next(f"A{i}" for i in range(100) if shard_of(f"A{i}", shards) != 0)
    shard = risk_shard.RiskShard(0, shards, h.SCHEMA_IDS)
    for step in (h.instrument("IBM"), h.session("day-1", h.OPEN, h.CLOSE), h.snapshot_end()):
        shard.apply(*h.encode_step(*step), 0, 0, 0)
    for step in (
        h.order("o1", account_id, "IBM", "BUY", 1, 1_0000),
        h.order("o1", account_id, "IBM", "BUY", 1, command="CANCEL"),
    ):
        shard.apply(*h.encode_step(*step), 0, 1, 0)
    letters = [dead_letter.decode(value) for value in shard.outbox.dead_letter.values]
    assert ["key of an order is its account id" in letter.detail for letter in letters] == [True, True]
    assert shard.outbox.order_events.values == []


@pytest.mark.parametrize(
    "step",
    [
        h.account("A 1"),
        h.account(""),
        h.account("A1", cash=10**18),
        h.account("A1", commission=-1),
        h.account("A1", positions={"IBM": -1}),
        h.account("A1", max_position=-1),
        h.instrument("IBM", tick=0),
        h.instrument(""),
        h.session("day-9", 5, 5),
        ("reference", {**h.account("A1")[1], "account": None}),
        ("reference", {**h.snapshot_end()[1], "kind": "UNKNOWN"}),
    ],
)
def test_impossible_reference_data_is_a_dead_letter_and_changes_nothing(step: h.Step) -> None:
    target = desk()
    before = target.risk[0].book.accounts["A1"].cash_e4, target.risk[0].reference.instruments["IBM"].tick_e4
    records = target.run([step])
    assert [(topic, r["reason"]) for topic, r in records] == [("dead-letter", "INVALID_VALUE")]
    assert (target.risk[0].book.accounts["A1"].cash_e4, target.risk[0].reference.instruments["IBM"].tick_e4) == before


def test_account_record_again_changes_terms_but_not_money() -> None:
    target = desk(h.account("A1", cash=100_0000, positions={"IBM": 5}))
    target.run([h.account("A1", cash=999_0000, positions={"IBM": 500}, max_order_quantity=1)])
    account = target.risk[0].book.accounts["A1"]
    assert (account.cash_e4, account.positions["IBM"].quantity, account.max_order_quantity) == (100_0000, 5, 1)


def test_outcome_that_comes_twice_stops_the_shard() -> None:
    target = desk()
    target.run([h.order("o1", "A2", "IBM", "SELL", 100, 99_0000), h.order("o2", "A1", "IBM", "BUY", 40, 99_0000)])
    target.match[0].flush()
    (value,) = target.match[0].outbox.order_outcomes.values
    target.risk[0].apply(sources.OUTCOMES, value, 0, 0, 0)
    with pytest.raises(InvariantViolation, match="lost or applied twice"):
        target.risk[0].apply(sources.OUTCOMES, value, 0, 1, 0)


def test_outcome_of_an_order_that_is_not_open_is_a_dead_letter() -> None:
    line = OrderOutcome("A1", "o9", "IBM", 0, 1, 1, 1, 0, True)
    value = order_outcomes.encode(OrderOutcomes(0, [line], h.OPEN), h.SCHEMA_IDS["order-outcomes"])
    records = desk().run([("raw", (sources.OUTCOMES, value))])
    assert [(topic, r["reason"]) for topic, r in records] == [("dead-letter", "INVALID_VALUE")]
    assert "o9 of account A1" in records[0][1]["detail"]


def test_frame_that_is_damaged_stops_the_shard() -> None:
    shard = match_shard.MatchShard(0, 1, h.SCHEMA_IDS)
    shard.apply(*h.encode_step(*h.snapshot_end()), 0, 0, 0)
    for frame in (b"", b"\x01" * 20, b"\x03" + b"\x00" * 90, b"\x02" + b"\x00" * 80, b"\x01" + b"\x00" * 80):
        with pytest.raises(FrameError):
            shard.apply(sources.FORWARD, frame, 0, 0, 0)


def test_stream_of_another_stage_is_a_bug() -> None:
    with pytest.raises(ValueError, match="does not read stream"):
        risk_shard.RiskShard(0, 1, h.SCHEMA_IDS).apply(sources.FORWARD, b"", 0, 0, 0)
    with pytest.raises(ValueError, match="does not read stream"):
        match_shard.MatchShard(0, 1, h.SCHEMA_IDS).apply(sources.ORDERS, b"", 0, 0, 0)


def test_nbbo_with_negative_size_is_a_dead_letter_and_not_used() -> None:
    target = desk()
    records = target.run([h.quote("IBM", 1, [("XNYS", 99_0000, -1, 100_0000, 100)], h.OPEN)])
    assert [(topic, r["stage"]) for topic, r in records] == [("dead-letter", "match")]
    assert target.match[0].matcher.markets["IBM"].street.event_id is None


def test_order_that_reaches_matching_after_the_close_expires_at_once() -> None:
    target = desk()
    target.match[0].apply(*h.encode_step("clock", h.CLOSE), 0, 0, 0)
    events = topics(target.run([h.order("o1", "A1", "IBM", "BUY", 10, 99_0000), ("settle", None)]), "order-events")
    assert [e["status"] for e in events] == ["VALIDATED", "RISK_APPROVED", "EXPIRED"]
    assert target.risk[0].book.accounts["A1"].reserved_e4 == 0


def test_batches_cut_differently_give_the_same_outputs() -> None:
    steps = Stream(77).steps(350)
    inputs: list[tuple[int, bytes]] = []
    for kind, fields in steps:
        if kind != "settle":
            source, payload = h.encode_step(kind, fields)
            inputs.append((source, payload))
    results = []
    for seed in range(4):
        rnd = Random(seed)
        risk = risk_shard.RiskShard(0, 1, h.SCHEMA_IDS)
        match = match_shard.MatchShard(0, 1, h.SCHEMA_IDS)
        out: dict[str, list[bytes]] = {}
        filled: dict[tuple[str, str], list[int]] = {}
        for offset, (source, payload) in enumerate(inputs):
            risk.apply(source, payload, 0, offset, 0)
            for frame in risk.outbox.forward[0]:
                match.apply(sources.FORWARD, frame, 0, 0, 0)
            risk.outbox.forward[0] = []
            if source in (sources.NBBO, sources.CONTROLS, sources.REFERENCE):
                match.apply(source, payload, 0, offset, 0)
            if rnd.random() < 0.2 * seed or offset == len(inputs) - 1:
                for stage, engine in (("risk", risk), ("match", match)):
                    engine.flush()
                    for lane in engine.outbox.lanes():
                        if lane.topic != "order-outcomes":
                            out.setdefault(f"{stage} {lane.topic}", []).extend(lane.values)
                            continue
                        for value in lane.values:
                            for line in order_outcomes.decode(value).outcomes:
                                sums = filled.setdefault((line.account_id, line.order_id), [0, 0, 0, 0])
                                sums[0] += line.filled_quantity
                                sums[1] += line.filled_notional
                                sums[2] += line.commission
                                sums[3] += line.terminal
                    engine.outbox.clear()
        results.append((out, filled))
    assert len(results[0][0]["match order-events"]) > 300
    assert all(result == results[0] for result in results[1:])


def test_more_shards_give_the_same_events_of_each_order() -> None:
    # Within one session: quotes move the clock of their own symbols' shards only, so shards close at their own time.
    stream = Stream(4)
    stream.next_day = False
    steps = stream.steps(250)
    seen = []
    for shards in (1, 4):
        target = h.Desk(shards)
        target.run(steps)
        target.settle()
        target.check()
        # Dead letters of broadcast records aside, every record belongs to an order, and orders to one shard each.
        by_order: dict[str, list[h.Record]] = {}
        for topic, record in target.records:
            if topic == "order-events":
                by_order.setdefault(record["accountId"] + record["orderId"], []).append((topic, record))
        seen.append(by_order)
    assert seen[0] == seen[1]
    assert len(seen[0]) > 100


def test_snapshot_within_a_batch_is_refused() -> None:
    target = desk()
    target.run([h.order("o1", "A2", "IBM", "SELL", 10, 99_0000), h.order("o2", "A1", "IBM", "BUY", 10, 99_0000)])
    with pytest.raises(InvariantViolation, match="flush"):
        target.match[0].snapshot()


@pytest.mark.parametrize("stage", ["risk", "match"])
def test_snapshot_that_does_not_fit_is_refused(stage: str) -> None:
    source = desk()
    shard = source.risk[0] if stage == "risk" else source.match[0]
    new = risk_shard.RiskShard if stage == "risk" else match_shard.MatchShard
    data = shard.snapshot()
    with pytest.raises(StateError, match=r"numbers? of shards"):
        new(1, 2, h.SCHEMA_IDS).restore(data)
    with pytest.raises(StateError, match="checksum"):
        new(0, 1, h.SCHEMA_IDS).restore(data[:-9] + b"x" + data[-8:])
    with pytest.raises(StateError, match="version 9"):
        new(0, 1, h.SCHEMA_IDS).restore(b"\x09" + data[1:])
    with pytest.raises(StateError, match="too short"):
        new(0, 1, h.SCHEMA_IDS).restore(b"")
    other = source.match[0] if stage == "risk" else source.risk[0]
    foreign = bytearray(other.snapshot())
    foreign[0] = 1
    with pytest.raises(StateError, match="kind"):
        new(0, 1, h.SCHEMA_IDS).restore(bytes(foreign))


def test_order_ids_are_known_for_two_sessions_and_then_free() -> None:
    target = desk()
    third = h.NEXT_OPEN + (h.NEXT_OPEN - h.OPEN)
    target.run([h.session("day-3", third, third + h.SECOND * 100), ("clock", h.OPEN)])

    def place(timestamp: int) -> str:
        records = target.run([h.order("o1", "A1", "IBM", "BUY", 1, 1_0000, timestamp=timestamp), ("settle", None)])
        return records[0][1].get("status") or records[0][1]["reason"]

    assert place(h.OPEN) == "VALIDATED"
    target.run([("clock", h.NEXT_OPEN)])
    target.restart()
    assert place(h.NEXT_OPEN) == "DUPLICATE_ORDER_ID"
    target.run([("clock", third)])
    assert place(third) == "VALIDATED"


def test_order_ids_retired_are_freed_a_few_at_a_time() -> None:
    ids = OrderIds()
    for number in range(1_000):
        ids.remember(f"k{number}", number, number % 7 - 1)
    entry = ids.find("k13")
    assert (fingerprint_of(entry), shard_of_entry(entry)) == (13, 5)
    ids.begin_session(1)
    ids.begin_session(2)
    assert ids.find("k13") == -1
    assert len(ids.retired[0]) == 1_000
    ids.remember("new", 1, 1)
    assert len(ids.retired[0]) == 984
    for number in range(70):
        ids.remember(f"n{number}", 1, 1)
    assert ids.retired == []


def test_order_ids_written_as_they_come_are_restored() -> None:
    ids = OrderIds()
    ids.remember("A1\nö1", 2**32 - 1, -1)
    ids.begin_session(1)
    ids.remember("A1\no2", 7, 127)
    current, previous = ids.written()
    restored = OrderIds()
    restored.restore(current, previous)
    restored.remember("A1\no3", 8, 0)
    assert restored.current == {**ids.current, "A1\no3": restored.find("A1\no3")}
    assert restored.previous == ids.previous
    assert restored.written()[0].startswith(current)
    older = OrderIds()
    older.take(ids.current, ids.previous)
    assert older.written() == ids.written()
    for cut in range(1, len(current)):
        with pytest.raises(ValueError, match="end within"):
            OrderIds().restore(current[:cut], b"")


def test_replay_is_found_by_content_and_not_by_schema() -> None:
    target = desk()
    step = h.order("o1", "A1", "IBM", "BUY", 1, 1_0000)
    target.run([step])
    (letter,) = topics(target.run([step]), "dead-letter")
    assert letter["reason"] == "REPLAYED_ORDER"
    assert orders.to_dict(orders.decode(letter["payload"])) == step[1]


def test_engines_leave_nothing_cyclic_to_the_garbage_collector() -> None:
    # The operators switch the collector off, so a cycle for each order would be a leak.
    target = h.Desk()
    inputs = [
        (kind, fields) if kind == "settle" else ("raw", h.encode_step(kind, fields))
        for kind, fields in Stream(9).steps(600)
    ]
    gc.collect()
    gc.disable()
    try:
        for kind, fields in inputs:
            target.step(kind, fields)
        assert len(target.records) > 1_000
        assert gc.collect() == 0
    finally:
        gc.enable()
