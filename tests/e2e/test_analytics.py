"""The analytics job on the real stack: a disordered day with a TaskManager killed in its middle, and an upgrade from a savepoint
whose transactions are left out, against two recomputations.

The records of each partition are read back from Kafka in their order, and what committed readers see of market-analytics and
dead-letter must be, byte by byte, what an undisturbed engine says of them; and the bars what a plain sort of the trades makes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import confluent_kafka
import pytest
from conftest import RunningStack
from test_exactly_once import PATIENCE_S, Run, read_committed, wait_until
from tick_days import SECOND_NS, Tick, expected_bars, random_day

from jobs.analytics import engine_settings
from jobs.config import Config
from jobs.job_state import savepoint_directory
from jobs.sealed_transactions import OPEN, TransactionsError, transactions, without_transactions
from jobs.submit import find_script, make_plan, submit_job
from schemas.messages import dead_letter, market_analytics
from schemas.messages.enums import ANALYTICS_KIND_BAR, DEAD_LETTER_REASON_NAMES
from udfs.domain.analytics_shard import AnalyticsShard
from udfs.domain.bars import LENGTHS_NS
from udfs.domain.sharding import shard_of
from udfs.domain.sources import MARKET_DATA

OLDER: Final = Path(__file__).with_name("older_analytics.py")
TICKS: Final = 20_000
SYMBOLS: Final = 12
PACED_S: Final = 15.0
"""So long that several savepoints can be made meanwhile."""


def produce(run: Run, ticks: Iterable[Tick]) -> dict[int, list[tuple[int, bytes, bytes]]]:
    """Send ticks in order; what Kafka has of them, as (offset, key, value) by partition."""
    sent: dict[int, list[tuple[int, bytes, bytes]]] = {}
    failures: list[str] = []

    def delivered(error: confluent_kafka.KafkaError | None, message: confluent_kafka.Message) -> None:
        if error is not None:
            failures.append(str(error))
        else:
            sent.setdefault(message.partition(), []).append((message.offset(), message.key(), message.value()))

    producer = confluent_kafka.Producer({**run.config.kafka.confluent(), "enable.idempotence": True, "linger.ms": 5})
    for tick in ticks:
        producer.produce(
            "market-data", key=tick.symbol, value=tick.frame(run.ids["market-data"]), on_delivery=delivered
        )
        producer.poll(0)
    assert producer.flush(60) == 0 and not failures, failures[:3]
    return sent


def paced(ticks: list[Tick], seconds: float) -> Iterator[Tick]:
    """Ticks spread over a time."""
    for tick in ticks:
        yield tick
        time.sleep(seconds / len(ticks))


def refuses(run: Run, config: Config, job: str, folder: Path) -> bool:
    """Whether a savepoint that the job makes now is left as it is when all that Kafka remembers counts as open.

    One without a record since the checkpoint before has sealed nothing.
    """
    savepoint = run.rest.savepoint(job, savepoint_directory(config, "analytics"))
    environment = make_plan(config, find_script("analytics"), folder).environment
    try:
        without_transactions(savepoint, environment, transactions(config))
    except TransactionsError as error:
        return "sealed (tradestream-analytics-0-" in str(error)
    return False


@pytest.mark.timeout(600)
def test_analytics_killed_in_the_middle_and_upgraded_equals_two_recomputations(
    stack: RunningStack, tmp_path: Path
) -> None:
    day = random_day(random.Random(11), TICKS, SYMBOLS, 3.0)
    final = max(tick.time_ns for tick in day) + 7_200 * SECOND_NS
    closing = [Tick(TICKS + n, f"S{n}", 10_000, 0, final) for n in range(SYMBOLS)]
    with Run(stack) as run:
        # What is told early depends on how the reader mixes partitions, and the comparison below is byte by byte.
        run.config = one = dataclasses.replace(
            run.config,
            flink=dataclasses.replace(run.config.flink, parallelism=1),
            analytics=dataclasses.replace(run.config.analytics, idle_s=0),
        )
        job = run.job_ids["analytics"] = submit_job(one, str(OLDER), timeout_s=PATIENCE_S)
        parts = [produce(run, day[: TICKS // 2])]
        wait_until(
            "the first half is read", lambda: sum(run.probe.ends(("market-analytics",), committed=False).values()) > 500
        )
        second = paced(day[TICKS // 2 : TICKS * 3 // 4], PACED_S)
        feeding = threading.Thread(target=lambda: parts.append(produce(run, second)))
        feeding.start()
        wait_until("open transactions of a job that writes are seen", lambda: transactions(one, OPEN) != [])
        wait_until("sealed transactions that are open keep a state as it is", lambda: refuses(run, one, job, tmp_path))
        feeding.join()
        run.kill_taskmanager(job, "analyse")
        savepoint = run.rest.stop(job, savepoint_directory(run.config, "analytics"))
        parts.append(produce(run, [*day[TICKS * 3 // 4 :], *closing]))
        # What the savepoint has sealed was committed when the job stopped, so that nothing is missing without it.
        run.job_ids["analytics"] = submit_job(
            one, "analytics", from_savepoint=savepoint, forget_transactions=True, timeout_s=PATIENCE_S
        )
        run.probe.job_ids = dict(run.job_ids)

        settings = engine_settings(run.config.analytics)
        analytics: list[tuple[bytes, bytes]] = []
        letters: list[tuple[bytes, bytes]] = []
        shards = run.config.analytics.symbol_shards
        engines: dict[tuple[int, int], AnalyticsShard] = {}
        for partition, (offset, key, value) in (
            (partition, record) for part in parts for partition, sent in part.items() for record in sent
        ):
            # Clocks are those of a partition within a shard, so each may have an engine of its own.
            shard = shard_of(key.decode(), shards)
            engine = engines.setdefault((partition, shard), AnalyticsShard(shard, shards, run.ids, **settings))
            engine.apply(MARKET_DATA, value, partition, offset, 0)
        for engine in engines.values():
            analytics += zip(engine.outbox.market_analytics.keys, engine.outbox.market_analytics.values, strict=True)
            letters += zip(engine.outbox.dead_letter.keys, engine.outbox.dead_letter.values, strict=True)
        # A record too few or too many is for the comparison below to tell.
        with contextlib.suppress(AssertionError):
            wait_until(
                "everything is committed",
                lambda: len(read_committed(run.config, "market-analytics")) >= len(analytics),
                120,
            )
        seen = read_committed(run.config, "market-analytics")
        refused = [dead_letter.decode(value) for _, value in read_committed(run.config, "dead-letter")]

    missing, extra = Counter(analytics) - Counter(seen), Counter(seen) - Counter(analytics)
    assert not missing and not extra, (
        f"{missing.total()} missing, {extra.total()} extra of {len(analytics)}; "
        f"{[market_analytics.decode(value).event_id for _, value in [*list(missing)[:3], *list(extra)[:3]]]}"
    )
    late = {(letter.source_partition, letter.source_offset) for letter in refused}
    assert len(late) == len(refused) == len(letters) > 0
    assert {DEAD_LETTER_REASON_NAMES[letter.reason] for letter in refused} == {"LATE"}

    records = [market_analytics.decode(value) for _, value in seen]
    assert len({record.event_id for record in records}) == len(records)
    numbers = {
        value: (partition, offset) for part in parts for partition, sent in part.items() for offset, _, value in sent
    }
    frame_id = run.ids["market-data"]
    in_time = [tick for tick in day if numbers[tick.frame(frame_id)] not in late]
    for length in LENGTHS_NS[:3]:
        last: dict[tuple[str, int], market_analytics.MarketAnalytics] = {}
        for record in sorted(records, key=lambda r: r.revision):
            if record.kind == ANALYTICS_KIND_BAR and record.window_end - record.window_start == length:
                last[record.symbol, record.window_start] = record
        found = {
            key: (r.open_price, r.high_price, r.low_price, r.close_price, r.vwap_price, r.volume, r.trade_count)
            for key, r in last.items()
        }
        assert found == expected_bars(in_time, length)
