"""Order flow and workloads, played through the real engines in one process."""

from collections import Counter
from datetime import date
from pathlib import Path

import pytest

from infra.feeds.items import Item
from infra.feeds.lean import find_lean_files, first_prices, read_lean
from infra.feeds.order_faults import FAULTS
from infra.feeds.order_flow import OrderFlow
from infra.feeds.partitions import kafka_partition, murmur2
from infra.feeds.sessions import DEFAULT_DAY, trading_day
from infra.feeds.simulator import MarketSimulator
from infra.feeds.workloads import BenchFlow, DeterministicFlow
from schemas.messages import order_events, orders
from schemas.messages.enums import ORDER_STATUS_NAMES
from tests.unit.feed_system import SCHEMA_IDS, FeedSystem
from udfs.domain.sharding import shard_of

DAY = trading_day(DEFAULT_DAY)
TICKS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "lean_tick"


def simulated_day(seed: int = 1, events: int = 6_000, count: int = 2_000) -> tuple[MarketSimulator, OrderFlow]:
    simulator = MarketSimulator(DAY, seed=seed, symbols=8, events=events, bad_share=0.02)
    flow = OrderFlow([DAY], simulator.prior_closes(), SCHEMA_IDS, seed=seed, orders=count, accounts=20, bad_share=0.2)
    return simulator, flow


def statuses(system: FeedSystem) -> dict[str, list[str]]:
    """The statuses of each order, in order."""
    found: dict[str, list[str]] = {}
    for value in system.written["order-events"]:
        event = order_events.decode(value)
        if event.sequence > 0:
            found.setdefault(f"{event.account_id}/{event.order_id}", []).append(ORDER_STATUS_NAMES[event.status])
    return found


def test_simulated_day_ends_in_exactly_the_intended_refusals() -> None:
    simulator, flow = simulated_day()
    system = FeedSystem()
    system.play(flow.items(simulator.ticks()))
    assert flow.commands == 2_000
    assert all(flow.counts[name] > 0 for name in FAULTS), flow.counts
    expected_letters: Counter[str] = Counter(simulator.expected_dead_letters())
    expected_rejects: Counter[str] = Counter()
    for (topic, reason), count in flow.expected_outcomes.items():
        (expected_letters if topic == "dead-letter" else expected_rejects)[reason] += count
    assert system.dead_letters() == expected_letters
    rejects = system.rejects()
    # The one reason that the market decides: a market order while a symbol has no price.
    rejects.pop("RISK_NO_REFERENCE_PRICE", None)
    assert rejects == expected_rejects
    assert sum(simulator.counts.values()) == 6_000
    assert len(system.written["market-data"]) == simulator.counts["quote"] + simulator.counts["trade"]
    terminal = {"EXECUTED", "REJECTED", "CANCELLED", "EXPIRED"}
    last = Counter(history[-1] for history in statuses(system).values())
    assert set(last) <= terminal, last
    assert all(last[status] > 0 for status in terminal), last
    assert len(system.written["trade-events"]) > 300


def test_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    def played(seed: int) -> list[Item]:
        simulator, flow = simulated_day(seed, events=1_500, count=500)
        return list(flow.items(simulator.ticks()))

    assert played(3) == played(3)
    assert played(3) != played(4)


def test_items_are_in_time_order_and_phases_end_where_they_say() -> None:
    simulator, flow = simulated_day(events=3_000, count=1_000)
    names = []
    last_ns = 0
    for name, items in flow.phases(simulator.ticks()):
        names.append(name)
        topics = set()
        for topic, _, _, time_ns in items:
            assert time_ns >= last_ns
            last_ns = time_ns
            topics.add(topic)
            if name.endswith("session"):
                assert time_ns < DAY.close_ns
            if name.endswith("close"):
                assert time_ns >= DAY.close_ns
        assert (
            topics
            == {
                "reference": {"reference-data"},
                "session": {"raw-feed", "orders"},
                "close": {"orders", "controls"},
            }[name.split()[-1]]
        )
    assert names == ["reference", f"{DEFAULT_DAY} session", f"{DEFAULT_DAY} close"]


def test_reference_data_ends_with_the_end_of_the_snapshot() -> None:
    _, flow = simulated_day()
    keys = [key.decode() for _, key, _, _ in flow.reference()]
    assert keys[-1] == "snapshot-end"
    assert Counter(key.split(":")[0] for key in keys) == {
        "instrument": 8,
        "account": 23,
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


def test_deterministic_flow_matches_the_same_however_partitions_interleave() -> None:
    shards, partitions = 2, 4
    outcomes = []
    for reverse in (False, True):
        flow = DeterministicFlow(DAY, SCHEMA_IDS, shards, partitions, symbols=10)
        system = FeedSystem(shards)
        system.play(flow.setup())
        # Partitions are read one after the other, in one order and in the opposite one.
        commands = list(flow.orders(1_500))
        by_partition = sorted(commands, key=lambda item: kafka_partition(item[1], partitions), reverse=reverse)
        system.play(by_partition)
        assert system.rejects() == {}
        assert system.dead_letters() == {}
        trades = sorted(system.written["trade-events"])
        outcomes.append((trades, sorted(system.written["order-events"]), sorted(system.written["routing-decisions"])))
    assert len(outcomes[0][0]) > 500
    assert outcomes[0] == outcomes[1]


def test_deterministic_flow_gives_each_symbol_one_shard_and_one_partition() -> None:
    flow = DeterministicFlow(DAY, SCHEMA_IDS, shards=4, partitions=3, symbols=24)
    places: dict[str, set[tuple[int, int]]] = {}
    for _, key, value, _ in flow.orders(3_000):
        account_id = key.decode()
        places.setdefault(orders.decode(value).symbol, set()).add((shard_of(account_id, 4), kafka_partition(key, 3)))
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
