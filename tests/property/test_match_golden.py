"""Golden scenarios of the book alone: tests/golden/match_bare_*.txt, to be read by people who know trading.

A line that begins with `>` is a command, the lines below it are everything that it caused:
  > new ID ACCOUNT SIDE QUANTITY SYMBOL TYPE [LIMIT] [TIME IN FORCE, else DAY] [stop=PRICE] [stp=MODE] [CELL=TEXT]
  > cancel ID ACCOUNT
  > replace ID ACCOUNT NEW-TOTAL [LIMIT] [stop=PRICE]
  EVENT ID SIDE QUANTITY SYMBOL @ PRICE leaves SHARES [against ID | REASON]
A cell that is empty is shown as `-`. The texts were written by hand from the rules, before there was an engine: correct an
engine that disagrees. `PYTHONPATH=. python tests/property/test_match_golden.py --align` aligns the columns, and changes nothing
else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import match_compare
import pytest
from match_rows import EVENTS, PAIRS, REASONS, Command, Line
from reference_match import run

from schemas.messages.enums import REASON_CODE_NAMES

FILES = sorted((Path(__file__).resolve().parent.parent / "golden").glob("match_bare_*.txt"))

# What the book alone cannot say: it knows no reference data, sessions, risk, collars, bands, halts, auctions, controls or
# corporate actions.
NOT_BARE = frozenset(
    [name for name in REASON_CODE_NAMES if name.startswith(("RISK_", "EXPIRY_"))]
    + [name for name in REASON_CODE_NAMES if name.endswith("CORPORATE_ACTION")]
    + ["NONE", "UNKNOWN", "REPLACE_REQUESTED", "REPLACE_NOT_ALLOWED", "STOP_TRIGGERED"]
    + ["CANCEL_KILL_SWITCH", "CANCEL_FORCED_REDUCTION", "CANCEL_CLOSE_OUT"]
    + [
        f"MATCH_{name}"
        for name in ("COLLAR", "PRICE_BAND", "SHORT_SALE_PRICE", "HALTED", "AUCTION_UNFILLED", "LIMIT_PROTECTION")
    ]
    + [f"VALIDATION_{name}" for name in ("UNKNOWN_ACCOUNT", "ACCOUNT_INACTIVE", "UNKNOWN_SYMBOL", "SYMBOL_INACTIVE")]
    + [f"VALIDATION_{name}" for name in ("QUANTITY_TOO_LARGE", "PRICE_INCREMENT", "SESSION_CLOSED", "AUCTION_CUTOFF")]
    + [f"VALIDATION_{name}" for name in ("UNSUPPORTED_COMMAND", "SHORT_MARKING")]
    + ["VALIDATION_INSTRUMENT_EXPIRED"]
)


class Scenario:
    """The commands of one scenario, from their text."""

    def __init__(self) -> None:
        self.rows: list[Command] = []

    def add(self, text: str) -> None:
        """Append the command that a line states."""
        kind, name, account, *words = text.split()
        cells = dict.fromkeys(Command._fields, "")
        cells |= {"command": kind.upper(), "order_id": name, "account_id": account, "symbol": "XYZ"}
        cells |= {"seq": str(len(self.rows) + 1), "timestamp_ns": str(len(self.rows) + 1)}
        for row in self.rows:
            if row.order_id == name:
                cells |= {"symbol": row.symbol, "side": row.side}
        order = ["side", "quantity", "symbol", "order_type"] if kind == "new" else ["quantity"] if words else []
        cells |= dict(zip(order, words, strict=False))
        if kind == "new":
            cells["time_in_force"] = "DAY"
        for word in words[len(order) :]:
            cell, _, value = word.rpartition("=")
            if cell:
                cells["stop_price" if cell == "stop" else cell] = value
            else:
                cells["time_in_force" if word.isalpha() and word.isupper() else "price"] = word
        self.rows.append(Command(**cells))


def render(line: Line) -> str:
    """A line of the report, aligned."""
    tail = f"  against {line.contra_order_id}" if line.contra_order_id else f"  {line.reason}"
    return (
        f"  {line.event:<9} {line.order_id or '-':<3} {line.side or '-':<10} {line.quantity or '-':>4} {line.symbol} "
        f"@ {line.price or '-':<7} leaves {line.leaves_quantity:>3}{tail}"
    ).rstrip()


def replay(text: str, maker: Callable[[Sequence[Command]], list[Line]]) -> str:
    """The golden text as `maker` makes it."""
    result: list[str] = []
    for number, part in enumerate(text.split("Scenario:")):
        if number == 0:
            result.append(part)
            continue
        inputs = [line for line in part.splitlines() if line.startswith(">")]
        scenario = Scenario()
        for line in inputs:
            scenario.add(line[1:])
        caused: dict[str, list[str]] = {}
        for line in maker(scenario.rows):
            caused.setdefault(line.seq, []).append(render(line))
        shown = [part.splitlines()[0]]
        for row, line in zip(scenario.rows, inputs, strict=True):
            shown += [line, *caused.get(row.seq, ["  nothing"])]
        result.append("\n".join(shown) + "\n\n")
    return "Scenario:".join(result).rstrip("\n") + "\n"


def aligned(text: str) -> str:
    """The text with the columns of its report lines aligned; no word changes."""
    lines = []
    for line in text.splitlines():
        words = line.split()
        if line.startswith("  "):
            event, name, side, quantity, symbol, _, price, _, leaves, *tail = words
            contra = tail[1] if tail[:1] == ["against"] else ""
            reason = tail[0] if tail and not contra else ""
            cells = [cell.replace("-", "") if cell == "-" else cell for cell in (name, side, price, quantity)]
            new = render(Line("", event, cells[0], contra, symbol, *cells[1:], leaves, reason))
            assert new.split() == words, line
            line = new
        lines.append(line)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_match_golden_scenarios_reference_gives_the_same_text(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert replay(text, run) == text


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_match_golden_scenarios_tool_gives_the_same_text(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert replay(text, match_compare.run_tool) == text


def test_match_golden_scenarios_show_every_event_with_every_reason_of_it() -> None:
    shown: set[tuple[str, str]] = set()
    for path in FILES:
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("  "):
                words = line.split()
                shown.add((words[0], words[9] if len(words) == 10 else ""))
    assert PAIRS - shown == set(), "no golden scenario shows these"
    assert shown - PAIRS == set(), "unknown to the reference"
    assert {event for event, _ in shown} == set(EVENTS)


def test_match_golden_every_reason_code_is_bare_or_known_not_to_be() -> None:
    assert set(REASONS) | NOT_BARE == set(REASON_CODE_NAMES)
    assert not set(REASONS) & NOT_BARE


if __name__ == "__main__":
    if sys.argv[1:] != ["--align"]:
        sys.exit("usage: PYTHONPATH=. python tests/property/test_match_golden.py --align")
    for golden in FILES:
        golden.write_text(aligned(golden.read_text(encoding="utf-8")), encoding="utf-8")
