"""`tradestream match --rules bare` against its reference, line by line, on random command streams.

The ordinary run takes SEEDS streams of COMMANDS commands. The long one:
`pytest --uncompiled tests/property/test_match_reference.py -k equal_reference --match-seeds 10000 --match-workers 2`.
A failure prints its seed, the hashes along the way and the shortest stream that still differs, as CSV.
"""

from __future__ import annotations

import io
import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path

import match_compare
import pytest
from match_rows import EVENTS, HEADER, PAIRS, REASONS, REPORT_HEADER, SITUATIONS, Command, Line
from match_streams import SHAPES, as_csv, commands
from reference_match import ReferenceMatch, run

COMMANDS = 1000
SEEDS = 10 * len(SHAPES)


def compare_seed(seed: int, count: int = COMMANDS) -> tuple[int, int, str]:
    """Compare one seed; returns it with the number of lines, and the report when they differ."""
    try:
        return seed, match_compare.compare(f"seed {seed}", match_compare.run_tool, commands(seed, count)), ""
    except AssertionError as error:
        return seed, 0, str(error)


def results(seeds: int, workers: int) -> Iterator[tuple[int, int, str]]:
    """The results of all seeds, in any order."""
    if workers == 1:
        yield from map(compare_seed, range(seeds))
        return
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        yield from pool.imap_unordered(compare_seed, range(seeds), chunksize=10)


def test_tool_random_streams_equal_reference(pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = pytestconfig.getoption("--match-seeds")
    seeds, workers = wanted or SEEDS, pytestconfig.getoption("--match-workers")
    begin, lines = time.monotonic(), 0
    for number, (_, found, difference) in enumerate(results(seeds, workers), 1):
        assert not difference, difference
        lines += found
        if wanted and number % 100 == 0:
            with capsys.disabled():
                print(f"{number} of {seeds} seeds, {lines} lines equal, {time.monotonic() - begin:.0f} s", flush=True)


def test_tool_long_stream_equals_reference() -> None:
    assert match_compare.compare("seed 6", match_compare.run_tool, commands(6, 5 * COMMANDS)) > 5 * COMMANDS


def test_tool_rows_of_another_width_or_in_quotes() -> None:
    rows = [
        "1,1,NEW,a",
        "2,1,NEW,a,A,X,BUY,MARKET,DAY,1,,,,extra",
        "",
        '4,1,NEW,"a,1",A,"X""Y",SELL,LIMIT,DAY,2,1.00,,',
        '"5",1,NEW,b,A,"X""Y",BUY,MARKET,DAY,1,,,\r',
        "6,1,CANCEL,b,A,,,,,,,,",
    ]
    from jobs.match_csv import match_stream

    out = io.StringIO()
    summary = match_stream(io.StringIO("\n".join([HEADER, *rows]) + "\n", newline=""), out, "bare")
    assert out.getvalue().splitlines() == [
        REPORT_HEADER,
        "1,REJECTED,a,,,,,,0,VALIDATION_MALFORMED",
        "2,REJECTED,a,,X,BUY,,1,0,VALIDATION_MALFORMED",
        '4,ACCEPTED,"a,1",,"X""Y",SELL,1.00,2,2,',
        '5,ACCEPTED,b,,"X""Y",BUY,,1,1,',
        '5,TRADE,b,"a,1","X""Y",BUY,1.00,1,0,',
        "6,REJECTED,b,,,,,,0,CANCEL_TOO_LATE",
    ]
    assert (summary.commands, summary.trades, summary.rejected, summary.malformed, summary.live) == (5, 1, 3, 2, 1)


def test_reference_streams_reach_every_event_reason_and_situation() -> None:
    pairs: set[tuple[str, str]] = set()
    situations: set[str] = set()
    for seed in range(SEEDS // 2):
        book = ReferenceMatch()
        for row in commands(seed, COMMANDS):
            pairs.update((line.event, line.reason) for line in book.apply(row))
        situations |= book.seen
    assert pairs == PAIRS
    assert situations == SITUATIONS
    assert {event for event, _ in pairs} == set(EVENTS)
    assert {reason for _, reason in pairs} - {""} == set(REASONS)


def test_streams_same_seed_same_commands_and_other_seeds_others() -> None:
    assert commands(7, 300) == commands(7, 300)
    assert len({tuple(commands(seed, 50)) for seed in range(SEEDS)}) == SEEDS
    assert commands(7, 100) == commands(7, 300)[:100]


@pytest.mark.parametrize("seed", range(len(SHAPES)), ids=[shape.name for shape in SHAPES])
def test_reference_lines_add_up(seed: int) -> None:
    """Fold the lines alone: shares open, done and taken off follow from them, whatever the engine holds."""
    open_shares: dict[str, int] = {}
    filled: dict[str, int] = {}
    for line in run(commands(seed, COMMANDS)):
        name, quantity, leaves = line.order_id, line.quantity, line.leaves_quantity
        if line.event == "REJECTED":
            assert leaves == "0"
            continue
        if line.event == "ACCEPTED":
            assert name not in open_shares
            open_shares[name], filled[name] = int(quantity), 0
        elif line.event == "REPLACED":
            assert int(quantity) > filled[name]
            open_shares[name] = int(quantity) - filled[name]
        elif line.event == "CANCELLED":
            open_shares[name] -= int(quantity)
        elif line.event == "TRADE":
            assert int(quantity) > 0
            for order in (name, line.contra_order_id):
                open_shares[order] -= int(quantity)
                filled[order] += int(quantity)
                assert open_shares[order] >= 0
        assert open_shares[name] == int(leaves) >= 0, line


def test_shrink_finds_the_rows_that_matter() -> None:
    rows = commands(0, 400)
    wanted = {rows[17].seq, rows[203].seq, rows[204].seq}
    short = match_compare.shrink(rows, lambda part: wanted <= {row.seq for row in part})
    assert {row.seq for row in short} == wanted


def test_report_of_a_difference_names_the_line_and_the_rows() -> None:
    def forgetful(rows: list[Command]) -> list[Line]:
        return [line for line in run(rows, checks=False) if line.reason != "CANCEL_REQUESTED"]

    with pytest.raises(AssertionError) as caught:
        match_compare.compare("seed 0", forgetful, commands(0, 300))
    text = str(caught.value)
    assert "2 commands are enough" in text
    assert "hash after 100 commands" in text
    assert "CANCEL_REQUESTED" in text


def test_tool_file_to_file_equals_reference(tmp_path: Path) -> None:
    from jobs.match_csv import match_stream

    rows = commands(3, 300)
    source, sink = tmp_path / "IN.csv", tmp_path / "OUT.csv"
    source.write_text(as_csv(rows), encoding="utf-8")
    with source.open(encoding="utf-8", newline="") as lines, sink.open("w", encoding="utf-8", newline="") as out:
        match_stream(lines, out, "bare")
    assert sink.read_text(encoding="utf-8").splitlines()[1:] == [",".join(line) for line in run(rows)]
