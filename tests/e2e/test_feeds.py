"""Recorded feeds through the real stack: an ITCH file and a vendor's JSON lines, as a data engineer plays them.

What they say comes out of the market data job as prices, depth and dead letters, and their halts reach the trading job.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import RunningStack
from test_exactly_once import PATIENCE_S, Run, read_committed, wait_until

from infra.feeds import itch_writer as itch
from infra.feeds.publisher import Publisher
from infra.feeds.reference import reference_items
from infra.feeds.sessions import DEFAULT_DAY, midnight_ns, trading_day
from jobs.config import Config, project_root
from jobs.submit import submit_job
from schemas.messages import dead_letter, market_depth, market_status, nbbo
from schemas.messages.enums import DEAD_LETTER_REASON_NAMES, MARKET_STATE_NAMES

OPEN = 34_200_000_000_000
SECOND = 1_000_000_000
AT = midnight_ns(DEFAULT_DAY) + OPEN


def itch_day() -> bytes:
    """A book of AAPL, then its halt."""
    messages = [
        itch.stock_directory(7, OPEN, "AAPL"),
        itch.order_added(7, OPEN + 1, 1, itch.BUY, 300, "AAPL", 999_900, ""),
        itch.order_added(7, OPEN + 2, 2, itch.SELL, 200, "AAPL", 1_000_100, ""),
        itch.trading_action(7, OPEN + SECOND, "AAPL", b"H", "T1"),
    ]
    return b"".join(len(message).to_bytes(2, "big") + message for message in messages)


def vendor_day() -> str:
    """Quotes of MSFT and IBM, one of them wrong, then a halt of MSFT."""
    quote = {"type": "quote", "exchange": "Q", "bid": "199.99", "bidSize": 200, "ask": "200.01", "askSize": 300}
    messages = [
        quote | {"symbol": "MSFT", "time": AT},
        quote | {"symbol": "IBM", "time": AT},
        quote | {"symbol": "IBM", "time": AT + 1, "bid": "-1"},
        {"type": "halt", "symbol": "MSFT", "time": AT + SECOND, "reason": "T1"},
    ]
    return "".join(json.dumps(message) + "\n" for message in messages)


def play(config: Config, *words: str) -> None:
    """`tradestream produce` in a process of its own."""
    command = [sys.executable, "-m", "jobs.cli", "--state-dir", str(config.state_dir), "produce", *words]
    done = subprocess.run(command, cwd=project_root(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"


def told(config: Config) -> set[tuple[str, str, int]]:
    """What trading has told about symbols: symbol, state, time of the cause since the open."""
    records = [market_status.decode(value) for _, value in read_committed(config, "market-status")]
    return {(one.symbol, MARKET_STATE_NAMES[one.state], one.timestamp - AT) for one in records}


@pytest.mark.timeout(600)
def test_feeds_played_into_the_real_jobs_give_prices_and_halt_trading(stack: RunningStack, tmp_path: Path) -> None:
    (tmp_path / "day.itch").write_bytes(itch_day())
    (tmp_path / "day.jsonl").write_text(vendor_day(), encoding="utf-8")
    closes = {"AAPL": 1_000_000, "MSFT": 2_000_000, "IBM": 2_000_000}
    with Run(stack) as run:
        one = dataclasses.replace(run.config, flink=dataclasses.replace(run.config.flink, parallelism=1))
        Publisher(one.kafka).play(reference_items([trading_day(DEFAULT_DAY)], closes, [], run.ids))
        for job in ("market_data", "trading"):
            run.job_ids[job] = submit_job(one, job, timeout_s=PATIENCE_S)

        play(one, "itch", "--file", str(tmp_path / "day.itch"), "--day", DEFAULT_DAY.isoformat())
        play(one, "vendor", "--file", str(tmp_path / "day.jsonl"))

        halts = {("AAPL", "HALTED", SECOND), ("MSFT", "HALTED", SECOND)}
        wait_until("both symbols are halted by their feeds", lambda: halts <= told(one), 120)
        quotes = [nbbo.decode(value) for _, value in read_committed(one, "nbbo")]
        seen = {(q.symbol, q.bid_price, q.bid_size, q.ask_price, q.ask_size) for q in quotes}
        assert ("IBM", 1_999_900, 200, 2_000_100, 300) in seen
        assert {market_depth.decode(value).symbol for _, value in read_committed(one, "market-depth")} == {"AAPL"}
        (letter,) = [dead_letter.decode(value) for _, value in read_committed(one, "dead-letter")]
        assert DEAD_LETTER_REASON_NAMES[letter.reason] == "INVALID_VALUE" and "bid is negative" in letter.detail

        resume = {"type": "resume", "symbol": "MSFT", "time": AT + 2 * SECOND}
        (tmp_path / "later.jsonl").write_text(json.dumps(resume) + "\n", encoding="utf-8")
        play(one, "vendor", "--file", str(tmp_path / "later.jsonl"))
        released = ("MSFT", "OPEN", 2 * SECOND)
        wait_until("MSFT is released by the vendor", lambda: released in told(one), 120)
        assert {state for state in told(one) if state[1] == "HALTED"} == halts
