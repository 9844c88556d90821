"""The page of the trading rules names modules, golden scenarios and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent.parent
DOMAIN: Final = ROOT / "udfs" / "domain"
PAGE: Final = (DOMAIN / "rules.md").read_text(encoding="utf-8")
COLUMNS: Final = 5
ROWS: Final = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| Rule |")
]
SPAN: Final = re.compile(r"`([^`]+)`")
SCENARIO: Final = re.compile(r"([a-z]+): (.+)")
TEST: Final = re.compile(r"((?:unit|property)/test_\w+\.py)::(test_\w+)")


def problem(span: str) -> str:
    """Why a code span of the page leads nowhere, or ""."""
    if test := TEST.fullmatch(span):
        file = ROOT / "tests" / test[1]
        return "" if file.is_file() and f"def {test[2]}(" in file.read_text(encoding="utf-8") else "no such test"
    if scenario := SCENARIO.fullmatch(span):
        file = ROOT / "tests" / "golden" / f"trading_{scenario[1]}.txt"
        titles = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        found = [title for title in titles if title.startswith(f"Scenario: {scenario[2]}")]
        return "" if len(found) == 1 else f"{len(found)} scenarios begin so"
    return "" if (DOMAIN / span).is_file() else "no such module"


def test_page_has_a_row_for_every_rule_with_all_columns() -> None:
    assert len(ROWS) > 40
    assert [row[0] for row in ROWS if len(row) != COLUMNS or not row[0]] == []


@pytest.mark.parametrize("row", ROWS, ids=[row[0][:40] for row in ROWS])
def test_row_names_what_exists_and_what_is_built_is_shown(row: list[str]) -> None:
    _, _, built, shown, missing = row
    assert {span: problem(span) for span in SPAN.findall(built + shown) if problem(span)} == {}
    if not missing.startswith("not built"):
        assert SPAN.findall(built) and SPAN.findall(shown)
        assert all(not problem(span) and span.endswith(".py") for span in SPAN.findall(built))


def test_other_code_spans_of_the_page_exist() -> None:
    text = "\n".join(line for line in PAGE.splitlines() if not line.startswith("|"))
    spans = [span for span in SPAN.findall(text) if TEST.fullmatch(span) or SCENARIO.fullmatch(span)]
    assert spans and {span: problem(span) for span in spans if problem(span)} == {}


@pytest.mark.parametrize(
    "span", ["orders: nobody sells", "nothing: a stop buys", "unit/test_luld.py::test_no", "no.py"]
)
def test_a_name_that_leads_nowhere_is_a_problem(span: str) -> None:
    assert problem(span)
