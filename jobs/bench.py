"""`tradestream bench`: how fast the jobs, the engine and the archive are, as ratios that one run measures.

orders: the trading job; latency: from client to client; market-data: the market data job; scale: more TaskManagers, other
shards, skew; state: a large state; engine: the matching engine alone; alerts: many rules; archive: ClickHouse; soak: whether
memory grows while jobs restart. What they measure and found is in jobs/bench.md.
"""

from __future__ import annotations

import click

from jobs.bench_alerts import alerts
from jobs.bench_archive import archive
from jobs.bench_engine import engine
from jobs.bench_latency import latency
from jobs.bench_market import market_data
from jobs.bench_orders import orders
from jobs.bench_scale import scale
from jobs.bench_soak import soak
from jobs.bench_state import state


@click.group()
def bench() -> None:
    """Measure the jobs against what the machine could do at best, the matching engine alone, and the archive.

    All but `engine` and `alerts` start a stack of their own and end it. Nothing else should run on the machine
    meanwhile.

    Example: tradestream bench orders --quick
    """


for _command in (orders, latency, market_data, scale, state, engine, alerts, archive, soak):
    bench.add_command(_command)
