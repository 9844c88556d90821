"""Broken engines under `tradestream match`: each has one line changed, and the comparison with the reference must notice.

If one passes unnoticed, the streams have a hole. The engines are imported from changed sources, uncompiled. One that does
not come to an end is stopped after a while, and is noticed by that.
"""

from __future__ import annotations

import signal
from types import FrameType

import match_compare
import pytest
from changed_engine import changed_engine
from match_streams import commands
from test_match_broken import COMMANDS, SEEDS, expected

MOST_CPU_S = 5

# (what is wrong, module of udfs.domain, what is there, what is put there)
ENGINES = (
    (
        "youngest first",
        "filling",
        "maker = level.head\n            if maker is None:\n",
        "maker = level.tail\n            if maker is None:\n",
    ),
    (
        "worst bid first",
        "book",
        "level = Level(price, -price if self.is_bid else price)",
        "level = Level(price, price)",
    ),
    ("worse level rises", "book", "heap[child + 1].signed < other.signed", "heap[child + 1].signed > other.signed"),
    ("empty level in the middle leaves a gap", "book", "                self._sink(last, at)", "                pass"),
    ("best price forgotten", "book", "price > top.price if self.is_bid else price < top.price", "False"),
    (
        "levels lost that others were empty after",
        "book",
        "if oldest.count == 0 and oldest.at >= 0",
        "if oldest.at >= 0",
    ),
    (
        "worse price through",
        "filling",
        "level.price > order.worst_price if is_buy",
        "level.price > order.worst_price + 1 if is_buy",
    ),
    (
        "equal price not met",
        "filling",
        "else level.price < order.worst_price)",
        "else level.price <= order.worst_price)",
    ),
    (
        "taker's price",
        "filling",
        "        price = level.price\n",
        "        price = min(order.worst_price, 2 * level.price)\n",
    ),
    ("fill or kill without scan", "matching", "time_in_force == TIME_IN_FORCE_FOK and not", "False and not"),
    (
        "scan a price short",
        "book",
        "(price < worst_price) if self.is_bid else (price > worst_price)",
        "(price <= worst_price) if self.is_bid else (price >= worst_price)",
    ),
    ("scan misses half the heap", "book", "            if child + 1 < size:\n", "            if child + 1 < 0:\n"),
    ("scan goes past its own", "book", "elif stp != STP_MODE_EXPIRE_MAKER:", "elif stp < 0:"),
    ("scan stops at its own", "book", "elif stp != STP_MODE_EXPIRE_MAKER:", "else:"),
    (
        "immediate order rests",
        "matching",
        "may_rest = is_limit and time_in_force in (TIME_IN_FORCE_DAY, TIME_IN_FORCE_GTC)",
        "may_rest = is_limit",
    ),
    (
        "wrong reason for a remainder",
        "filling",
        "        reason = REASON_CODE_MATCH_IOC_REMAINDER\n",
        "        reason = REASON_CODE_MATCH_NO_LIQUIDITY\n",
    ),
    (
        "increase keeps its place",
        "matching",
        "elif limit_price == order.limit_price and quantity <= order.quantity:",
        "elif limit_price == order.limit_price:",
    ),
    (
        "same total loses its place",
        "matching",
        "order.limit_price and quantity <= order.quantity:",
        "order.limit_price and quantity < order.quantity:",
    ),
    (
        "replaced order does not trade",
        "matching",
        "            self.reporter.replaced(order)\n            self.arrive(market, order)\n",
        "            self.reporter.replaced(order)\n            self.rest(market, order)\n",
    ),
    ("level keeps what a replacement took off", "matching", "side.reduce(order, order.quantity - quantity)", "pass"),
    (
        "replacement of one share more ends the order",
        "matching",
        "if quantity <= order.cum_quantity:",
        "if quantity <= order.cum_quantity + 1:",
    ),
    (
        "stop's new limit forgotten",
        "matching",
        "        order.worst_price = worst_price\n        if stop_price is not None:",
        "        if stop_price is not None:",
    ),
    (
        "larger stop keeps its place",
        "matching",
        "stop_price == order.stop_price) and quantity <= order.quantity",
        "stop_price == order.stop_price)",
    ),
    (
        "moved stop keeps its place",
        "matching",
        "stays = (stop_price is None or stop_price == order.stop_price) and",
        "stays =",
    ),
    (
        "buy stop beyond its price on arrival",
        "matching",
        "last >= stop_price if order.is_buy",
        "last > stop_price if order.is_buy",
    ),
    ("stop does not look back", "matching", "if last > 0 and (last", "if last < 0 and (last"),
    ("buy stop beyond its price", "stops", "buys[0][0] <= price", "buys[0][0] < price"),
    ("sell stop beyond its price", "stops", "-sells[0][0] >= price", "-sells[0][0] > price"),
    ("stop acts at its old place", "stops", " and entry[2].rank == entry[1]", ""),
    (
        "stops lost when they are compacted",
        "stops",
        "[entry for entry in self.sells if _is_current(entry)]",
        "self.sells[: self.waiting // 2]",
    ),
    (
        "last triggered first",
        "matching",
        "            order = queue[done]\n            done += 1\n",
        "            order = queue.pop()\n",
    ),
    (
        "stop-limit without its limit",
        "matching",
        "if order.order_type != ORDER_TYPE_STOP_LIMIT:",
        "if order.order_type >= 0:",
    ),
    ("last print forgotten", "filling", "        market.last_price = price\n", ""),
    ("self-trade prevention ignored", "book", "stp_key if stp_key else account_id", "order_id"),
    ("trade with its own behind others", "filling", " and maker.stp_key != order.stp_key:", ":"),
    (
        "both: only the maker",
        "filling",
        "            if mode == STP_MODE_EXPIRE_MAKER:\n                return True\n",
        "            return True\n",
    ),
    ("level keeps what a decrement took off", "filling", "                side.reduce(maker, overlap)\n", ""),
    (
        "taker's shares stay after a decrement",
        "filling",
        "            order.quantity -= overlap\n",
        "            order.quantity -= overlap - (overlap > 1)\n",
    ),
    (
        "cancelled stop still waits",
        "stops",
        "return entry[2].place == WAITING and entry[2].rank == entry[1]",
        "return True",
    ),
    ("ids of ended orders are free", "match_csv", "if order_id in self.known:", "if order_id in self.matcher.live:"),
    (
        "anyone may cancel",
        "match_csv",
        "            return REASON_CODE_CANCEL_WRONG_ACCOUNT\n        self.matcher.cancel(row[3])",
        "            pass\n        self.matcher.cancel(row[3])",
    ),
    (
        "resting order's leaves",
        "match_csv",
        "{taker.quantity - taker.cum_quantity}",
        "{maker.quantity - maker.cum_quantity}",
    ),
    ("hundredths of a cent lost", "match_csv", "(1, 1000, 100, 10, 1)[places]", "(1, 1000, 100, 10, 0)[places]"),
)


def give_up(number: int, frame: FrameType | None) -> None:
    """Stop an engine that does not end by itself."""
    raise TimeoutError(f"more than {MOST_CPU_S} s of computing for one stream")


def engine_noticed(module: str, old: str, new: str) -> int | None:
    """The first seed on which the tool with the broken engine says something else than the reference."""
    handler = signal.signal(signal.SIGVTALRM, give_up)
    try:
        with changed_engine(module, old, new, ("udfs", "jobs.match_csv")):
            for seed in range(SEEDS):
                signal.setitimer(signal.ITIMER_VIRTUAL, MOST_CPU_S)
                try:
                    if match_compare.run_tool(commands(seed, COMMANDS)) != expected(seed):
                        return seed
                except Exception:
                    return seed
                finally:
                    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        return None
    finally:
        signal.signal(signal.SIGVTALRM, handler)


@pytest.mark.parametrize(("module", "old", "new"), [row[1:] for row in ENGINES], ids=[row[0] for row in ENGINES])
def test_broken_engine_of_the_tool_is_noticed(module: str, old: str, new: str) -> None:
    assert engine_noticed(module, old, new) is not None


def test_engine_of_the_tool_loaded_the_same_way_without_a_change_is_not_noticed() -> None:
    line = "maker = level.head\n            if maker is None:\n"
    assert engine_noticed("filling", line, line) is None
