"""Broken alerts engines: each has one line changed, and the comparison with the plain reference must notice.

If one passes unnoticed, the streams of the comparison have a hole. The engines are imported from changed sources,
uncompiled. One that does not come to an end is stopped after a while, and is noticed by that.
"""

from __future__ import annotations

import importlib
import signal
from types import FrameType

import pytest
from changed_engine import changed_engine

SEEDS = 4
MOST_CPU_S = 20
RELOADED = ("udfs", "test_alerts_reference", "reference_alerts", "alert_streams")

# (what is wrong, module of udfs.domain, what is there, what is put there)
ENGINES = (
    ("the threshold itself does not fire", "alert_index", "low[0][0] <= value:", "low[0][0] < value:"),
    ("fires again at the threshold", "alert_index", "high[0][0] < -value:", "high[0][0] <= -value:"),
    ("no hysteresis", "alert_shard", "up - (rule.hysteresis_e4 or 0)", "up"),
    ("hysteresis on the wrong side", "alert_shard", "up - (rule.hysteresis_e4 or 0)", "up + (rule.hysteresis_e4 or 0)"),
    ("no cool-down", "alert_writer", "if rule.cooldown_seconds and", "if rule.cooldown_seconds < 0 and"),
    ("an alert left out begins a cool-down", "alert_writer", "self.cooling += 1\n", "machine.last_ns = cause.now_ns\n"),
    ("a cross fires at its first value", "alert_index", "HIGH and not machine.both:", "HIGH:"),
    ("a cross fires upwards only", "alert_index", "if machine.both:", "if False:"),
    ("a rule waits for its second value", "alert_index", "if machine.state == HIGH and", "if False and"),
    ("falling values rise", "alert_index", "self.falling.update(-value, moved)", "self.falling.update(value, moved)"),
    ("no value before", "alert_index", "        self.known = True\n", ""),
    ("a move's window is a step short", "alert_symbol", "STEPS: Final = 60", "STEPS: Final = 59"),
    ("a move's lows are not kept apart", "alert_symbol", "lows[-1][1] >= price", "lows"),
    ("a move looks at rises only", "alert_symbol", "if rise >= fall else", "if True else"),
    ("a window is never forgotten", "alert_symbol", "            del self.windows[length]", "            pass"),
    ("a removed rule still fires", "alert_index", "        machine.alive = False\n        self.dead", "        self.dead"),
    ("removed rules' silences are told", "alert_symbol", "            machine.alive = False\n", ""),
    ("old trades set the price", "alert_shard", "and time_ns >= symbol.price_ns", "and time_ns > 0"),
    ("trades of one time do not", "alert_shard", "and time_ns >= symbol.price_ns", "and time_ns > symbol.price_ns"),
    ("ineligible trades set the price", "alert_shard", "and event.eligible\n", "and True\n"),
    ("old quotes widen the spread", "alert_shard", " or quote.sequence <= symbol.sequence", ""),
    ("spread of the bid", "alert_shard", "(ask - bid) * 2 * _RATIO // (ask + bid)", "(ask - bid) * _RATIO // bid"),
    ("pauses are no halts", "alert_shard", " or status.state == MARKET_STATE_PAUSED", ""),
    ("revisions of old bars count", "alert_shard", "if record.window_start < series.start_ns:", "if False:"),
    ("the last bar's revisions do not", "alert_shard", "record.window_start < series", "record.window_start <= series"),
    ("indicators of different bars are compared", "alert_shard", "if series.first_at == series.second_at:", "if True:"),
    ("second less first", "alert_shard", "series.first - series.second", "series.second - series.first"),
    ("stale a moment too late", "alert_shard", "clock.waiting[0][0] <= time_ns", "clock.waiting[0][0] < time_ns"),
    ("a record does not end silence", "alert_silence", "            if machine.alive:\n", "            if False:\n"),
    ("stale by the first record", "alert_silence", "if time_ns > symbol.seen_ns:", "if symbol.seen_ns < 0:"),
    ("silence told of others' partitions", "alert_shard", "get(partition)\n        if clock", "get(0)\n        if clock"),
    ("a silent partition's clock stands", "alert_shard", "now_ns = clock.newest_ns + silent_ns", "now_ns = clock.newest_ns"),
    ("silent at once when others go on", "partition_silence", "if silent_ns >= idle_ns else 0", ""),
    ("one report proves a silence", "partition_silence", "min(now_ms - since_ms, ", "max(now_ms - since_ms, "),
    ("silent before the others came so far", "partition_silence", "max(before_ms, self.heard_ms)", "before_ms"),
    ("a record does not begin the silence anew", "partition_silence", "        self.silent_ms = 0\n\n", "\n"),
    ("a partition's last record is not noted", "alert_shard", "clock.silence.hear(kafka_timestamp_ms)", "pass"),
    ("rules for all forget symbols met later", "alert_shard", "for held in self._every.values():", "for held in ():"),
    ("a rule that says nothing new begins anew", "alert_shard", "if mine and same_terms(held.rule, rule)", "if False"),
    ("a rule that is not active stays", "alert_shard", "if not mine or not rule.active:", "if not mine:"),
)  # fmt: skip


def give_up(number: int, frame: FrameType | None) -> None:
    """Stop an engine that does not end by itself."""
    raise TimeoutError(f"more than {MOST_CPU_S} s of computing for one stream")


def notices(module: str, old: str, new: str) -> str | None:
    """What the comparison says about the broken engine, or None."""
    handler = signal.signal(signal.SIGVTALRM, give_up)
    try:
        with changed_engine(module, old, new, RELOADED):
            compare = importlib.import_module("test_alerts_reference").difference_of
            for seed in range(SEEDS):
                signal.setitimer(signal.ITIMER_VIRTUAL, MOST_CPU_S)
                try:
                    difference: str = compare(seed)
                except Exception as error:
                    return f"seed {seed}: {error!r}"
                finally:
                    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
                if difference:
                    return difference
        return None
    finally:
        signal.signal(signal.SIGVTALRM, handler)


@pytest.mark.parametrize(("wrong", "module", "old", "new"), ENGINES, ids=[engine[0] for engine in ENGINES])
def test_broken_alerts_engine_is_noticed(wrong: str, module: str, old: str, new: str) -> None:
    assert notices(module, old, new), f"nothing differs when {wrong}"


def test_unbroken_alerts_engine_differs_in_nothing() -> None:
    assert notices("alert_index", "NEW: Final = 0", "NEW: Final = 0") is None
