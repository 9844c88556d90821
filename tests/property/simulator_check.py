"""The checker of simulated runs: what was committed is what an undisturbed run of the same batches writes, once and in order."""

from __future__ import annotations

from collections import Counter
from functools import cache, partial
from random import Random

import trading_harness as h
from simulator import MATCH, RISK, SHARDS, Faults, Input, Place, Simulator, route
from test_trading_reference import check_orders
from trading_streams import Stream

from schemas.messages import order_events, risk_events, routing_decisions, trade_events
from udfs.domain import sources
from udfs.domain.match_shard import MatchShard
from udfs.domain.risk_shard import RiskShard
from udfs.operators.journal import decode_batch
from udfs.operators.run_shard import Engine, Stage

STEPS = 60
STREAMS = 40
DECODERS = {
    "order-events": order_events,
    "trade-events": trade_events,
    "risk-events": risk_events,
    "routing-decisions": routing_decisions,
}


class Clock:
    """A clock that only goes on when somebody looks, by nothing as often as not."""

    def __init__(self, random: Random) -> None:
        self.now_s = 1.0
        self.random = random

    def __call__(self) -> float:
        self.now_s += self.random.choice((0.0, 0.0, 0.0, 0.002, 0.05))
        return self.now_s


class Violation(AssertionError):
    """A promise of the trading job that a run broke."""


@cache
def inputs_of(stream: int) -> tuple[Input, ...]:
    """The input log of a random stream; runs share a few, because making one costs as much as a run."""
    generator = Stream(stream)
    generator.next_day = False
    return tuple(route(generator.steps(STEPS)))


def new_engine(stage: str, faults: Faults, shard: int) -> Engine:
    """The empty engine of a shard, as jobs/trading.py makes it."""
    engine: Engine
    if stage == RISK:
        engine = RiskShard(shard, shards=SHARDS, schema_ids=h.SCHEMA_IDS, symbol_shards=SHARDS)
    else:
        engine = MatchShard(shard, shards=SHARDS, schema_ids=h.SCHEMA_IDS)
    return faults.wrap(engine) if faults.wrap else engine


def simulate(seed: int, faults: Faults | None = None, crash_rate: float | None = None) -> Simulator:
    """A run and its check: crashes from none to one in 50 steps, journals compacted often or never, outcomes at once or held,
    outputs handed on after each record, a few or the batch, batches that come together joined or not.

    Raises Violation; any other exception is an engine that refused what it was given.
    """
    faults = faults or Faults()
    random = Random(~seed)
    compact = random.choice((0, 2_000, 10_000, 4 * 1024 * 1024))
    part = random.choice((1, 3, 256))
    stage = partial(
        Stage,
        compact_bytes=compact,
        part=part,
        join_after=random.choice((0, 1, 3)),
        keys=tuple(range(SHARDS)),
        clock=Clock(random),
    )
    stages = {
        RISK: stage(RISK, partial(new_engine, RISK, faults), forward=sources.FORWARD),
        MATCH: stage(
            MATCH, partial(new_engine, MATCH, faults), receive=sources.FORWARD, hold_ms=random.choice((0, 100))
        ),
    }
    rate = random.choice((0.0, 0.002, 0.005, 0.02)) if crash_rate is None else crash_rate
    run = Simulator(list(inputs_of(seed % STREAMS)), seed, stages, rate, faults)
    run.run(crashing_steps=1_500)
    verify(run)
    return run


def expect(condition: bool, what: str) -> None:
    """Raise Violation unless the condition holds."""
    if not condition:
        raise Violation(what)


def verify(run: Simulator) -> None:
    """Check everything that a run promises."""
    check_inputs(run)
    check_outputs(run)
    check_records(run)


def check_inputs(run: Simulator) -> None:
    """Each record of each input reached each of its shards once and in order; of the outcomes, each committed one."""
    wanted: dict[tuple[Place, int], list[bytes]] = {}
    for source, topic in run.topics.items():
        for record in topic:
            for place in record.places:
                wanted.setdefault((place, source), []).append(record.payload)
    for record in run.committed():
        if record.topic == "order-outcomes":
            wanted.setdefault(((RISK, int(record.key)), sources.OUTCOMES), []).append(record.value)
    seen: dict[tuple[Place, int], list[bytes]] = {}
    for place, history in run.history().items():
        for source, payloads, *_ in history:
            if source != sources.FORWARD:
                seen.setdefault((place, source), []).extend(payloads)
    for key in wanted.keys() | seen.keys():
        expect(wanted.get(key, []) == seen.get(key, []), f"inputs of {key}")


def check_outputs(run: Simulator) -> None:
    """Committed records and forwarded frames of each shard are those of new engines that nothing disturbs."""
    committed: dict[tuple[Place, str], list[tuple[bytes, bytes]]] = {}
    for record in run.committed():
        committed.setdefault((record.place, record.topic), []).append((record.key, record.value))
    wanted: dict[tuple[Place, str], list[tuple[bytes, bytes]]] = {}
    sent: dict[tuple[int, int], list[bytes]] = {}
    received: dict[tuple[int, int], list[bytes]] = {}
    for place, history in run.history().items():
        engine = run.stages[place[0]].new_engine(place[1])
        for source, payloads, positions, flushed in history:
            if source == sources.FORWARD:
                for payload, sender in zip(payloads, positions, strict=True):
                    frames = decode_batch(payload).payloads
                    received.setdefault((sender, place[1]), []).extend(frames)
                    for frame in frames:
                        engine.apply(source, frame, 0, 0, 1_000)
            else:
                for payload, offset in zip(payloads, positions, strict=True):
                    engine.apply(source, payload, 0, offset, 1_000)
            if flushed:
                engine.flush()
            for lane in engine.outbox.lanes():
                wanted.setdefault((place, lane.topic), []).extend(zip(lane.keys, lane.values, strict=True))
            if place[0] == RISK:
                for target, frames in enumerate(engine.outbox.forward):  # type: ignore[attr-defined]
                    sent.setdefault((place[1], target), []).extend(frames)
            engine.outbox.clear()
    for key in committed.keys() | wanted.keys():
        expect(committed.get(key, []) == wanted.get(key, []), f"committed records of {key}")
    for way in sent.keys() | received.keys():
        expect(sent.get(way, []) == received.get(way, []), f"frames from and to shards {way}")


def check_records(run: Simulator) -> None:
    """Ids are unique, orders add up, and the accounts' money and shares are the opening ones and the committed trades."""
    records: list[h.Record] = []
    ids: Counter[tuple[str, str]] = Counter()
    for written in run.committed():
        module = DECODERS.get(written.topic)
        if module is not None:
            record = module.to_dict(module.decode(written.value, h.SCHEMA_IDS[written.topic]))  # type: ignore[attr-defined]
            records.append((written.topic, record))
            ids[written.topic, record["eventId"]] += 1
    expect(not [i for i, count in ids.items() if count > 1], "event ids are unique")
    check_orders(records)
    cash: Counter[str] = Counter()
    shares: Counter[tuple[str, str]] = Counter()
    for topic, trade in records:
        if topic == "trade-events":
            sign = 1 if trade["side"] == "BUY" else -1
            shares[trade["accountId"], trade["symbol"]] += sign * trade["quantity"]
            cash[trade["accountId"]] -= sign * trade["executionPrice"] * trade["quantity"] + trade["commission"]
    opened = opening_accounts(run)
    for task in run.tasks.values():
        for shard in task.operator.shards.values() if task.operator and task.name.startswith(RISK) else ():
            shard.engine.check_invariants()  # type: ignore[attr-defined]
            for name, account in shard.engine.book.accounts.items():  # type: ignore[attr-defined]
                money, positions = opened[name]
                expect(account.cash_e4 == money + cash[name], f"cash of {name}")
                for symbol in positions.keys() | account.positions.keys():
                    held = account.positions[symbol].quantity if symbol in account.positions else 0
                    expect(held == positions.get(symbol, 0) + shares[name, symbol], f"{symbol} of {name}")


def opening_accounts(run: Simulator) -> dict[str, tuple[int, dict[str, int]]]:
    """Money (1/10,000) and shares of each account in the first record about it."""
    module = h.reference_data
    result: dict[str, tuple[int, dict[str, int]]] = {}
    for record in run.topics[sources.REFERENCE]:
        account = module.to_dict(module.decode(record.payload))["account"]
        if account is not None and account["accountId"] not in result:
            held = {position["symbol"]: position["quantity"] for position in account["positions"]}
            result[account["accountId"]] = account["cash"], held
    return result
