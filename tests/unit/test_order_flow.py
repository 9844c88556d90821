"""Order flow and workloads, played through the real engines in one process."""

from collections import Counter
from datetime import date
from pathlib import Path

import pytest

from infra.feeds.items import Item
from infra.feeds.lean import find_lean_files, first_prices, read_lean
from infra.feeds.many_orders import BenchFlow
from infra.feeds.order_faults import FAULTS
from infra.feeds.order_flow import OrderFlow
from infra.feeds.order_mix import DAY_KINDS, EARLY_KINDS
from infra.feeds.partitions import kafka_partition, murmur2
from infra.feeds.sessions import DEFAULT_DAY, NS_PER_SECOND, PRE_OPEN_NS, trading_day
from infra.feeds.simulator import MarketSimulator
from infra.feeds.workloads import DeterministicFlow
from schemas.messages import market_status, order_events, orders
from schemas.messages.enums import (
    COMMAND_TYPE_NEW,
    ORDER_EVENT_TYPE_NAMES,
    ORDER_STATUS_NAMES,
    REASON_CODE_NAMES,
    SIDE_BUY,
    SIDE_NAMES,
    SIDE_SELL,
    SIDE_SELL_SHORT,
    STP_MODE_NONE,
    TIME_IN_FORCE_CLS,
    TIME_IN_FORCE_DAY,
    TIME_IN_FORCE_GTC,
)
from tests.unit.feed_system import SCHEMA_IDS, FeedSystem
from udfs.domain.sharding import shard_of

DAY = trading_day(DEFAULT_DAY)
TICKS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "lean_tick"


def simulated_day(seed: int = 1, events: int = 6_000, count: int = 2_000) -> tuple[MarketSimulator, OrderFlow]:
    simulator = MarketSimulator(DAY, seed=seed, symbols=8, events=events, bad_share=0.02)
    flow = OrderFlow([DAY], simulator.prior_closes(), SCHEMA_IDS, seed=seed, orders=count, accounts=20, bad_share=0.2)
    return simulator, flow


def statuses(system: FeedSystem, time_in_force: int) -> dict[str, list[str]]:
    """The statuses of each order with this time in force, in order."""
    found: dict[str, list[str]] = {}
    for value in system.written["order-events"]:
        event = order_events.decode(value)
        if event.sequence > 0 and event.time_in_force == time_in_force:
            found.setdefault(f"{event.account_id}/{event.order_id}", []).append(ORDER_STATUS_NAMES[event.status])
    return found


def test_simulated_day_ends_in_exactly_the_intended_refusals() -> None:
    simulator, flow = simulated_day()
    system = FeedSystem()
    for phase in flow.phases(simulator.ticks()):
        system.play(phase.items)
    assert flow.commands == 2_000
    assert all(flow.counts[name] > 0 for name in FAULTS), flow.counts
    expected_letters: Counter[str] = Counter(simulator.expected_dead_letters())
    expected_rejects: Counter[str] = Counter()
    for (topic, reason), count in flow.expected_outcomes.items():
        if not reason.startswith(("CANCEL", "REPLACE")):
            (expected_letters if topic == "dead-letter" else expected_rejects)[reason] += count
    assert system.dead_letters() == expected_letters
    rejects = system.rejects()
    # The reasons that the market and the operator decide: no price for a market order, orders of the killed account.
    assert rejects.pop("RISK_KILL_SWITCH") > 0
    rejects.pop("RISK_NO_REFERENCE_PRICE", None)
    assert rejects == expected_rejects
    assert sum(simulator.counts.values()) == 6_000
    assert len(system.written["market-data"]) == simulator.counts["quote"] + simulator.counts["trade"]
    terminal = {"EXECUTED", "REJECTED", "CANCELLED", "EXPIRED"}
    last = Counter(history[-1] for history in statuses(system, TIME_IN_FORCE_DAY).values())
    assert set(last) == terminal, last
    live = Counter(history[-1] for history in statuses(system, TIME_IN_FORCE_GTC).values())
    assert set(live) - terminal, "good till cancelled orders outlive the day"
    assert len(system.written["trade-events"]) > 300


def test_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    def played(seed: int) -> list[Item]:
        simulator, flow = simulated_day(seed, events=1_500, count=500)
        return list(flow.items(simulator.ticks()))

    assert played(3) == played(3)
    assert played(3) != played(4)


def test_items_are_in_time_order_and_phases_end_where_they_say() -> None:
    simulator, flow = simulated_day(events=3_000, count=1_000)
    topics: dict[str, set[str]] = {}
    last_ns = 0
    for phase in flow.phases(simulator.ticks()):
        name = phase.name.split(" ", 1)[-1]
        times = []
        topics[name] = set()
        for topic, _, _, time_ns in phase.items:
            assert time_ns >= last_ns
            last_ns = time_ns
            times.append(time_ns)
            topics[name].add(topic)
        # What a phase writes is taken before the next one begins, or the next one does not care.
        assert topics[name] - set(phase.awaits) <= {"raw-feed"}, name
        pre_open_ns = DAY.midnight_ns + PRE_OPEN_NS
        first, last = {
            "reference": (0, pre_open_ns - 1),
            "pre-open": (DAY.midnight_ns, pre_open_ns),
            # Orders for the opening are taken until 09:28, and the clock must not come near it.
            "early orders": (pre_open_ns, DAY.open_ns - 600 * NS_PER_SECOND),
            "opening": (DAY.open_ns - 600 * NS_PER_SECOND, DAY.open_ns),
            "session": (DAY.open_ns, DAY.close_ns - 1),
            "close": (DAY.close_ns, DAY.midnight_ns + 86_400 * NS_PER_SECOND),
        }[name]
        assert first <= times[0] and times[-1] <= last, name
    assert topics == {
        "reference": {"reference-data"},
        "pre-open": {"orders", "controls"},
        "early orders": {"orders"},
        "opening": {"raw-feed", "controls"},
        "session": {"raw-feed", "orders", "controls"},
        "close": {"orders", "controls"},
    }


def test_orders_come_in_every_kind_and_in_about_their_shares() -> None:
    simulator = MarketSimulator(DAY, seed=1, symbols=10, events=2_000)
    flow = OrderFlow([DAY], simulator.prior_closes(), SCHEMA_IDS, orders=6_000, accounts=60, bad_share=0.0)
    kinds: Counter[tuple[int, int]] = Counter()
    sides: Counter[int] = Counter()
    odd = prevented = located = 0
    for topic, _, value, _ in flow.items(simulator.ticks()):
        if topic == "orders":
            order = orders.decode(value)
            if order.command == COMMAND_TYPE_NEW:
                kinds[order.order_type, order.time_in_force] += 1
                sides[order.side] += 1
                odd += order.quantity < 100
                prevented += order.stp != STP_MODE_NONE
                located += order.locate_id is not None
    new = kinds.total()
    assert kinds.keys() == DAY_KINDS.keys() | EARLY_KINDS.keys()
    for kind, percent in DAY_KINDS.items():
        if kind[1] not in (TIME_IN_FORCE_CLS, TIME_IN_FORCE_DAY):
            assert 0.5 * percent < 100 * kinds[kind] / new < 1.5 * percent, kind
    assert sides.keys() == {SIDE_BUY, SIDE_SELL, SIDE_SELL_SHORT}
    assert sides[SIDE_SELL_SHORT] > 0.05 * new
    assert 0.1 < odd / new < 0.14 and 0.2 < prevented / new < 0.3 and located > 10
    assert 0.06 < flow.counts["replace"] / 6_000 < 0.1 and 0.09 < flow.counts["cancel"] / 6_000 < 0.15


def test_reference_data_ends_with_the_end_of_the_snapshot() -> None:
    _, flow = simulated_day()
    keys = [key.decode() for _, key, _, _ in flow.reference()]
    assert keys[-1] == "snapshot-end"
    assert Counter(key.split(":")[0] for key in keys) == {
        "instrument": 8,
        "account": 29,
        "session": 1,
        "snapshot-end": 1,
    }
    assert len(set(keys)) == len(keys)


def test_orders_follow_real_ticks() -> None:
    if not TICKS.is_dir():
        pytest.skip(f"no real ticks at {TICKS}")
    files = [file for file in find_lean_files([TICKS]) if file.day == date(2013, 10, 7)]
    day = trading_day(date(2013, 10, 7))
    flow = OrderFlow([day], first_prices(files), SCHEMA_IDS, orders=400, accounts=20)
    ticks = (tick for tick in read_lean(files) if tick.time_ns < day.open_ns + 1_200_000_000_000)
    prices = []
    for topic, _, value, time_ns in flow.items(ticks):
        if topic == "orders" and value[:5] == b"\x00" + SCHEMA_IDS["orders"].to_bytes(4, "big"):
            command = orders.decode(value) if value[5:6] != b"\xff" else None
            if command and command.price and time_ns > day.open_ns and command.symbol == "IBM":
                prices.append(command.price)
    # IBM traded from $181.35 to $182.30 on that day.
    assert len(prices) > 200
    assert all(1_800_000 < price < 1_840_000 for price in prices)


def test_deterministic_flow_says_the_same_however_partitions_interleave() -> None:
    shards, partitions = 2, 4
    outcomes = []
    for reverse, batch in ((False, 64), (True, 7)):
        flow = DeterministicFlow(DAY, SCHEMA_IDS, shards, partitions, symbols=10)
        system = FeedSystem(shards)
        for phase in flow.phases(1_500):
            # Partitions are read one after the other, in one order and in the opposite one.
            items = list(phase.items)
            if "orders" in phase.awaits:
                items.sort(key=lambda item: kafka_partition(item[1], partitions), reverse=reverse)
            system.play(items, batch)
        assert system.rejects() == {}
        assert system.dead_letters() == {}
        said = ("trade-events", "order-events", "routing-decisions", "market-status", "risk-events")
        outcomes.append({topic: sorted(system.written[topic]) for topic in said})
    assert len(outcomes[0]["trade-events"]) > 500
    assert outcomes[0] == outcomes[1]


def test_deterministic_flow_reaches_every_rule_that_can_be_told_twice() -> None:
    flow = DeterministicFlow(DAY, SCHEMA_IDS, 2, 4, symbols=10)
    system = FeedSystem()
    for phase in flow.phases(3_000):
        system.play(phase.items)
    events = [order_events.decode(value) for value in system.written["order-events"]]
    types = {ORDER_EVENT_TYPE_NAMES[event.event_type] for event in events}
    assert types == {"STATUS", "TRIGGERED", "RESTATED", "CANCEL_REJECTED"}, "no replacement may come too late"
    assert {ORDER_STATUS_NAMES[event.status] for event in events} >= {"REPLACED", "EXPIRED", "EXECUTED"}
    reasons = {REASON_CODE_NAMES[event.reason] for event in events}
    assert reasons >= {"MATCH_FOK_UNFILLED", "MATCH_SELF_TRADE", "MATCH_AUCTION_UNFILLED", "CANCEL_KILL_SWITCH"}
    sides = {SIDE_NAMES[event.side] for event in events}
    assert sides == {"BUY", "SELL", "SELL_SHORT"}
    auctions = [
        record for record in map(market_status.decode, system.written["market-status"]) if record.auction_quantity
    ]
    assert len(auctions) > 15


def test_deterministic_flow_gives_each_symbol_one_shard_and_one_partition() -> None:
    flow = DeterministicFlow(DAY, SCHEMA_IDS, shards=4, partitions=3, symbols=24)
    places: dict[str, set[tuple[int, int]]] = {}
    for phase in flow.phases(3_000):
        for topic, key, value, _ in phase.items:
            if topic == "orders":
                place = shard_of(key.decode(), 4), kafka_partition(key, 3)
                places.setdefault(orders.decode(value).symbol, set()).add(place)
    assert all(len(found) == 1 for found in places.values())
    assert len(set.union(*places.values())) == 12


def test_bench_flow_makes_about_seven_trades_in_ten_orders_and_no_refusal() -> None:
    flow = BenchFlow(DAY, SCHEMA_IDS, symbols=8, accounts=32)
    system = FeedSystem()
    system.play(flow.setup())
    system.play(flow.orders(4_000))
    assert system.rejects() == {}
    assert system.dead_letters() == {}
    # Each trade is told twice, once for each side.
    assert 0.6 < len(system.written["trade-events"]) / 2 / 4_000 < 0.8
    assert {shard_of(symbol, 2) for symbol in flow.symbols} == {0, 1}


@pytest.mark.parametrize(
    ("key", "hashed"),
    # From Kafka's own UtilsTest.testMurmur2.
    [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536), (b"abc", 479470107)],
)
def test_kafka_partition_is_the_java_clients(key: bytes, hashed: int) -> None:
    assert murmur2(key) == hashed & 0xFFFFFFFF
    assert kafka_partition(key, 7) == (hashed & 0x7FFFFFFF) % 7


@pytest.mark.parametrize("skew", ["symbol", "account"])
def test_bench_flow_skewed_has_half_of_its_orders_on_the_first(skew: str) -> None:
    flow = BenchFlow(DAY, SCHEMA_IDS, symbols=8, accounts=32)
    found = [orders.decode(value) for _, _, value, _ in flow.orders(4_000, **{skew: 0.5})]
    first = {"symbol": flow.symbols[0], "account": flow.accounts[0].account_id}[skew]
    places = {"symbol": 8, "account": 32}[skew]
    share = sum((order.symbol if skew == "symbol" else order.account_id) == first for order in found) / len(found)
    assert share == pytest.approx(0.5 + 0.5 / places, abs=0.03)


def test_bench_flow_resting_orders_of_what_each_account_holds_all_rest() -> None:
    flow = BenchFlow(DAY, SCHEMA_IDS, symbols=24, accounts=100, holdings=2)
    system = FeedSystem()
    system.play(flow.setup())
    items = list(flow.orders(3_000, resting=True))
    system.play(items)
    assert system.rejects() == {}
    assert system.dead_letters() == {}
    assert system.written["trade-events"] == []
    assert sum(match.stats()["orders_resting"] for match in system.match) == 3_000
    held = {holder.account_id: {position.symbol for position in holder.positions} for holder in flow.accounts}
    assert all(len(symbols) == 2 for symbols in held.values())
    sent = [orders.decode(item[2]) for item in items]
    assert all(order.symbol in held[order.account_id] for order in sent)
    assert {order.symbol for order in sent} == set(flow.symbols)


@pytest.mark.parametrize("holdings", [-1, 9])
def test_bench_flow_with_holdings_that_cannot_be_is_refused(holdings: int) -> None:
    with pytest.raises(ValueError, match="holdings must be 0 to 8"):
        BenchFlow(DAY, SCHEMA_IDS, symbols=8, accounts=4, holdings=holdings)


def test_bench_flow_skewed_to_a_symbol_that_few_hold_is_refused() -> None:
    flow = BenchFlow(DAY, SCHEMA_IDS, symbols=8, accounts=4, holdings=2)
    with pytest.raises(ValueError, match="only when every account holds it"):
        next(flow.orders(10, symbol=0.5))
