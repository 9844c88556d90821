"""`tradestream match`: rows that are quoted, cut, huge or no text at all."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from test_cli_match import BOUGHT, BUY, COMMANDS, _match, _run

from jobs.match_csv import match_stream
from udfs.domain.match_csv import COMMAND_HEADER


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_rows_fields_in_quotes_come_out_in_quotes_where_they_are_needed() -> None:
    lines = _run(
        '1,10,"NEW","b,1",A,"S ""X""",BUY,LIMIT,DAY,100,10.5,,',
        '2,20,NEW,"plain",B,"S ""X""",SELL,LIMIT,DAY,40,10.00,,',
        '3,30,CANCEL,"b,1",,,,,,,,,',
    )

    assert lines == [
        '1,ACCEPTED,"b,1",,"S ""X""",BUY,10.50,100,100,',
        '2,ACCEPTED,plain,,"S ""X""",SELL,10.00,40,40,',
        '2,TRADE,plain,"b,1","S ""X""",SELL,10.50,40,0,',
        '3,CANCELLED,"b,1",,"S ""X""",BUY,10.50,60,0,CANCEL_REQUESTED',
    ]


def test_rows_an_id_over_two_lines_is_one_id() -> None:
    out = io.StringIO()
    source = f'{COMMAND_HEADER}\n1,1,NEW,"a\r\nb",A,S,BUY,LIMIT,DAY,1,1,,\n2,2,CANCEL,"a\r\nb",,,,,,,,,\n'

    summary = match_stream(io.StringIO(source, newline=""), out)

    rows = list(csv.reader(io.StringIO(out.getvalue(), newline="")))
    assert [(row[1], row[2]) for row in rows[1:]] == [("ACCEPTED", "a\r\nb"), ("CANCELLED", "a\r\nb")]
    assert (summary.commands, summary.rejected) == (2, 0)


@pytest.mark.parametrize("after", [1, 3, 40])
def test_rows_a_quote_that_is_never_closed_spoils_its_own_row_only(after: int) -> None:
    rest = [f"{n},0,NEW,o{n},A,S,BUY,LIMIT,DAY,1,1,," for n in range(3, 3 + after)]

    lines = _run(BUY, '2,20,NEW,"s1,B,S,SELL,LIMIT,DAY,40,10.00,,', *rest)

    assert lines[:2] == [BOUGHT, '2,REJECTED,"""s1",,S,SELL,10.00,40,0,VALIDATION_MALFORMED']
    assert lines[2:] == [f"{n},ACCEPTED,o{n},,S,BUY,1.00,1,1," for n in range(3, 3 + after)]


def test_rows_two_stray_quotes_spoil_no_row_between_them() -> None:
    lines = _run('1,1,NEW,"x,A,S,BUY,LIMIT,DAY,1,1,,', BUY.replace("1,", "2,", 1), '3,1,NEW,"y,A,S,BUY,LIMIT,DAY,1,1,,')

    assert [line.split(",")[:2] for line in lines] == [["1", "REJECTED"], ["2", "ACCEPTED"], ["3", "REJECTED"]]


def test_rows_bytes_that_are_no_utf8_are_rejected_and_come_out_as_they_went_in() -> None:
    bad = b"3,30,NEW,\xff\x80\xc3,A,S\xfe,BUY,LIMIT,DAY,1,1,,\n"
    good = "4,40,NEW,Zoë,A,S,BUY,LIMIT,DAY,1,1,,\n".encode()
    Path("in.csv").write_bytes(COMMANDS.encode() + bad + good)

    result = _match()

    assert result.exit_code == 0, result.output
    assert Path("out.csv").read_bytes().splitlines()[4:] == [
        b"3,REJECTED,\xff\x80\xc3,,S\xfe,BUY,1,1,0,VALIDATION_MALFORMED",
        "4,ACCEPTED,Zoë,,S,BUY,1.00,1,1,".encode(),
    ]
    assert "1 rows could not be read" in result.stderr
    assert _match("in.csv", "-").stdout_bytes == Path("out.csv").read_bytes()


def test_rows_nul_bytes_are_bytes_like_others() -> None:
    assert _run("1,1,NEW,a\0b,A,S,BUY,LIMIT,DAY,1,1,,", "2,1,NEW,c,A,S,BUY,LIMIT,DAY,1\0,1,,") == [
        "1,ACCEPTED,a\0b,,S,BUY,1.00,1,1,",
        "2,REJECTED,c,,S,BUY,1,1\0,0,VALIDATION_MALFORMED",
    ]


@pytest.mark.parametrize("quote", ["", '"'])
def test_rows_a_huge_field_is_no_crash(quote: str) -> None:
    huge = quote + "7" * (csv.field_size_limit() + 1) + quote

    lines = _run(f"1,1,NEW,a,A,S,BUY,LIMIT,DAY,{huge},1,,", f"2,1,NEW,b,A,S,BUY,LIMIT,DAY,1,{huge},,", BUY)

    assert [line.rpartition(",")[2] for line in lines] == ["VALIDATION_MALFORMED", "VALIDATION_MALFORMED", ""]
    assert lines[2] == BOUGHT


@pytest.mark.parametrize("fields", [1, 2, 12, 14, 40])
def test_rows_with_another_number_of_fields_are_malformed(fields: int) -> None:
    row = (BUY.split(",") + ["x"] * 40)[:fields]

    (line,) = _run(",".join(row))

    assert line.startswith("1,REJECTED,")
    assert line.endswith(",VALIDATION_MALFORMED")


def test_rows_of_another_desk_reach_it_as_they_are() -> None:
    class Recorder:
        def __init__(self) -> None:
            self.rows: list[list[str]] = []

        def apply(self, row: list[str]) -> None:
            self.rows.append(row)

        def take_lines(self) -> list[str]:
            return []

        def summary(self) -> tuple[int, int, int, int, int]:
            return len(self.rows), 0, 0, 0, 0

    desk = Recorder()
    given = f'{COMMAND_HEADER}\n{BUY}\n\n"a,b",c\n'

    assert match_stream(io.StringIO(given), io.StringIO(), desk=desk).commands == 2
    assert desk.rows == [BUY.split(","), ["a,b", "c"]]
