"""Broken engines: each takes one line of the rules back, and the comparison with the reference engine has to notice.

If one of these passes unnoticed, the tests have a hole. The engines are imported from changed sources, uncompiled.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
STEPS = 300
SEEDS = 12
RELOADED = ("udfs", "trading_harness", "trading_streams", "test_trading_reference", "reference_engine")

# (name, module, what is there, what is put there)
BROKEN = (
    (
        "youngest order first",
        "matching",
        "maker = level.head",
        "maker = level.tail",
    ),
    (
        "worst bid first",
        "book",
        "heapq.heappush(self.heap, -price if self.is_bid else price)",
        "heapq.heappush(self.heap, price)",
    ),
    (
        "trade at the taker's price",
        "matching",
        "        price = level.price\n",
        "        price = order.worst_price\n",
    ),
    (
        "trade through a better quote",
        "routing",
        "inside_price <= worst_price and (street_price == 0 or inside_price <= street_price)",
        "inside_price <= worst_price",
    ),
    (
        "purchase away beyond its limit",
        "routing",
        "street_price > 0 and street_price <= worst_price",
        "street_price > 0",
    ),
    (
        "cancel without release",
        "matching",
        "        self.ledger.end(order, timestamp)\n",
        "",
    ),
    (
        "fill without release",
        "accounts",
        "released = order.remaining if terminal else quantity",
        "released = order.remaining if terminal else 0",
    ),
    (
        "commission not charged",
        "accounts",
        "account.cash_e4 -= notional_e4 + commission_e4",
        "account.cash_e4 -= notional_e4",
    ),
    (
        "shares on offer not reserved",
        "accounts",
        "            order.position.open_sells += order.remaining\n",
        "            pass\n",
    ),
    (
        "open purchases not counted",
        "risk",
        "if held + open_buys + quantity > account.max_position",
        "if held + quantity > account.max_position",
    ),
    (
        "commission not reserved",
        "risk",
        "return worst_e4 + commission_e4",
        "return worst_e4",
    ),
    (
        "collar rounded inwards",
        "rules",
        "return round_up(raw, price_increment(raw, tick_e4))",
        "return round_down(raw, price_increment(raw, tick_e4))",
    ),
    (
        "notional limit not inclusive",
        "risk",
        "if notional > account.max_order_notional_e4",
        "if notional >= account.max_order_notional_e4",
    ),
    (
        "displayed size used twice",
        "street",
        "        venue.ask_size -= quantity\n",
        "",
    ),
    (
        "same quote used again",
        "street",
        "old.exchange == quote.exchange and old.timestamp == quote.timestamp",
        "False",
    ),
    (
        "smaller exchange first",
        "street",
        "venue.bid_size > bid.bid_size",
        "venue.bid_size < bid.bid_size",
    ),
    (
        "immediate order rests",
        "matching",
        "order.order_type == ORDER_TYPE_LIMIT and order.time_in_force == TIME_IN_FORCE_DAY",
        "order.order_type == ORDER_TYPE_LIMIT",
    ),
    (
        "expiry a moment late",
        "matching",
        "            if order.close_ns <= clock_ns:\n                ended",
        "            if order.close_ns < clock_ns:\n                ended",
    ),
    (
        "order accepted at the close",
        "validation",
        "if clock_ns >= session.close_ns:",
        "if clock_ns > session.close_ns:",
    ),
    (
        "duplicates accepted",
        "order_ids",
        "        entry = self.current.get(key, -1)\n",
        "        entry = -1\n",
    ),
    (
        "street sweep youngest first",
        "matching",
        'order = level.head\n            if order is None:\n                raise InvariantViolation(f"the best bid',
        'order = level.tail\n            if order is None:\n                raise InvariantViolation(f"the best bid',
    ),
    (
        "old quotes accepted",
        "street",
        "return self.event_id is None or sequence > self.sequence",
        "return True",
    ),
)


class Changed(SourceFileLoader):
    """Loads a module's source with one text replaced."""

    replace: tuple[str, str] | None = None

    def get_code(self, fullname: str) -> CodeType:
        source = Path(self.path).read_text(encoding="utf-8")
        if self.replace is not None:
            assert source.count(self.replace[0]) == 1, f"{self.replace[0]!r} is not there exactly once"
            source = source.replace(*self.replace)
        return compile(source, self.path, "exec")


class Finder:
    """Finds sources of udfs, one of them changed."""

    def __init__(self, module: str, old: str, new: str) -> None:
        self.module, self.replace = f"udfs.domain.{module}", (old, new)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module of udfs."""
        if name.split(".")[0] != "udfs":
            return None
        file = ROOT / (name.replace(".", "/") + ".py")
        if not file.exists():
            package = ROOT / name.replace(".", "/")
            return spec_from_file_location(name, package / "__init__.py", submodule_search_locations=[str(package)])
        loader = Changed(name, str(file))
        if name == self.module:
            loader.replace = self.replace
        return spec_from_file_location(name, file, loader=loader)


def notices(module: str, old: str, new: str) -> str | None:
    """What the comparison says about the broken engine, or None."""
    kept = {name: m for name, m in sys.modules.items() if name.split(".")[0] in RELOADED}
    for name in kept:
        del sys.modules[name]
    finder = Finder(module, old, new)
    sys.meta_path.insert(0, finder)
    try:
        compare = importlib.import_module("test_trading_reference").compare
        for seed in range(SEEDS):
            try:
                compare(seed, STEPS)
            except Exception as error:
                return f"seed {seed}: {type(error).__name__} {str(error)[:80]}"
        return None
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.split(".")[0] in RELOADED]:
            del sys.modules[name]
        sys.modules.update(kept)


@pytest.mark.parametrize(("module", "old", "new"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_broken_engine_is_noticed(module: str, old: str, new: str) -> None:
    assert notices(module, old, new) is not None


def test_engine_loaded_the_same_way_without_a_change_is_not_noticed() -> None:
    line = "maker = level.head"
    assert notices("matching", line, line) is None
