"""`tradestream indicators`: files in, files out, what is refused, and that nothing is left half-written."""

from __future__ import annotations

import csv
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner, Result

from jobs import cli as cli_module
from jobs.cli import cli
from jobs.indicators_csv import BAR_HEADER, session_of
from udfs.domain.indicator_specs import EXAMPLE, IndicatorSet, parse_indicators

VECTORS: Final = json.loads(
    (Path(__file__).resolve().parent.parent / "golden" / "talib_vectors.json").read_text(encoding="utf-8")
)
COLUMNS: Final = [VECTORS[name] for name in ("open", "high", "low", "close", "volume")]
THREE: Final = f"{BAR_HEADER}\na,1,2,1,2,10\nb,2,4,2,4,10\nc,4,4,3,3,20\n"


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(bars: str, out: str, wanted: str, given: str | bytes | None = None) -> Result:
    return CliRunner().invoke(cli, ["indicators", "--bars", bars, "--out", out, "--indicators", wanted], input=given)


def values_of(text: str, wanted: str) -> str:
    """The result for bars given as text."""
    Path("in.csv").write_text(text, encoding="utf-8")
    result = run("in.csv", "out.csv", wanted)
    assert result.exit_code == 0, result.output
    return Path("out.csv").read_text(encoding="utf-8")


def test_values_of_the_vectors_are_those_of_the_engine_to_the_last_bit() -> None:
    lines = [",".join(map(repr, row)) for row in zip(*COLUMNS, strict=True)]
    text = "\n".join([BAR_HEADER, *(f"2024-{at},{line}" for at, line in enumerate(lines))]) + "\n"
    rows = list(csv.reader(values_of(text, EXAMPLE).splitlines()))
    engine = IndicatorSet(parse_indicators(EXAMPLE))

    assert " ".join(rows[0]) == (
        "timestamp sma_20 ema_20 rsi_14 atr_14 bbands_20_2_upper bbands_20_2_middle bbands_20_2_lower "
        "macd_12_26_9 macd_12_26_9_signal macd_12_26_9_hist"
    )
    assert len(rows) == 253
    for at, (row, bar) in enumerate(zip(rows[1:], zip(*COLUMNS, strict=True), strict=True)):
        assert row[0] == f"2024-{at}"
        assert [float(field) if field else None for field in row[1:]] == engine.update_bar(*bar[1:])
    assert {
        name: next(at for at, row in enumerate(rows[1:]) if row[column]) for column, name in enumerate(rows[0])
    } == {
        **dict.fromkeys(rows[0], 19),
        "timestamp": 0,
        "rsi_14": 14,
        "atr_14": 14,
        "macd_12_26_9": 25,
        "macd_12_26_9_signal": 33,
        "macd_12_26_9_hist": 33,
    }
    assert float(rows[34][8]) == pytest.approx(-1.9738314311425853, rel=1e-12)


def test_output_is_exactly_this() -> None:
    assert values_of(THREE, "sma:2,bbands:2:0.5,rsi:1,tr,vwap,relvol:2") == (
        "timestamp,sma_2,bbands_2_0.5_upper,bbands_2_0.5_middle,bbands_2_0.5_lower,rsi_1,tr,vwap,relvol_2\n"
        "a,,,,,,,1.6666666666666667,\n"
        "b,3.0,3.5,3.0,2.5,100.0,2.0,2.5,\n"
        "c,3.5,3.75,3.5,3.25,0.0,1.0,2.916666666666667,2.0\n"
    )


def test_timestamps_are_copied_as_they_are() -> None:
    odd = ['"1, 2"', '"say ""now"""', "", " x ", '"a\nb"', "€"]
    text = f"{BAR_HEADER}\n" + "".join(f"{stamp},1,1,1,1,1\n" for stamp in odd)

    assert values_of(text, "sma:1") == "timestamp,sma_1\n" + "".join(f"{stamp},1.0\n" for stamp in odd)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_line_ends_blank_lines_and_a_byte_order_mark_do_no_harm(ending: str, start: str) -> None:
    text = start + (THREE + "\n").replace("\n", ending)

    assert values_of(text, "sma:3") == "timestamp,sma_3\na,\nb,\nc,3.0\n"


def test_numbers_may_be_written_in_any_usual_way() -> None:
    assert values_of(f"{BAR_HEADER}\na,1e2, 1.5 ,+1,.5,007\n", "sma:1,vwap") == "timestamp,sma_1,vwap\na,0.5,1.0\n"


def test_file_without_bars_has_a_header_only() -> None:
    assert values_of(f"{BAR_HEADER}\n", "sma:3,tr") == "timestamp,sma_3,tr\n"


def test_streams_and_gzip_work_both_ways() -> None:
    Path("in.csv.gz").write_bytes(gzip.compress(THREE.encode()))
    wanted = "timestamp,sma_3\na,\nb,\nc,3.0\n"

    assert run("in.csv.gz", "out.csv.gz", "sma:3").exit_code == 0
    assert gzip.decompress(Path("out.csv.gz").read_bytes()).decode() == wanted
    for given in (THREE.encode(), gzip.compress(THREE.encode())):
        result = run("-", "-", "sma:3", given)
        assert result.exit_code == 0
        assert result.stdout == wanted
        assert "3 bars, 1 columns" in result.stderr


def test_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(f"{BAR_HEADER}\n" + "a,1,2,1,2,10\n" * 50_000, encoding="utf-8")
    script = (
        f"{sys.executable} -m jobs.cli indicators --bars {tmp_path}/in.csv --out - --indicators ema:3 | head -n 1; "
        "echo ${PIPESTATUS[0]}"
    )
    root = Path(cli_module.__file__).parents[1]

    result = subprocess.run(["bash", "-c", script], cwd=root, capture_output=True, text=True, check=True)

    assert result.stdout == "timestamp,ema_3\n0\n"
    assert result.stderr == ""


# ------------------------------------------------------------------------------------------------------------ refusals


def files() -> set[str]:
    """What is in the folder."""
    return {path.name for path in Path().iterdir()}


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("smma:20", "no indicator 'smma'"),
        ("sma", "sma:N"),
        ("sma:20,rsi:0", "rsi:0"),
        ("bbands:20", "bbands:N:DEVIATIONS"),
        ("macd:26:12:9", "shorter"),
        ("sma:20,sma:20", "twice"),
        ("", "without a name"),
    ],
)
def test_wrong_indicators_are_wrong_usage_with_all_that_is_allowed_and_an_example(wanted: str, said: str) -> None:
    Path("in.csv").write_text(THREE, encoding="utf-8")
    result = run("in.csv", "out.csv", wanted)

    assert result.exit_code == 2
    assert said in result.output
    assert "macd:FAST:SLOW:SIGNAL" in result.output
    assert f"--indicators {EXAMPLE}" in result.output
    assert files() == {"in.csv"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("a,1,2,1,2,10\n", "lacks timestamp"),
        ("timestamp,open,high,low,close\n", "lacks volume"),
        ("timestamp,open,low,high,close,volume\n", "another order"),
        (f"{BAR_HEADER},vwap\n", "are others"),
        ("\n" + THREE, "lacks"),
    ],
)
def test_wrong_header_is_wrong_usage(text: str, said: str) -> None:
    Path("in.csv").write_text(text, encoding="utf-8")
    result = run("in.csv", "out.csv", "sma:2")

    assert result.exit_code == 2
    assert said in result.output
    assert BAR_HEADER in result.output
    assert files() == {"in.csv"}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("d,1,2,1,x,10", "close is 'x', which is not a number"),
        ("d,1,2,1,,10", "close is empty"),
        ("d,1,2,nan,2,10", "low is 'nan'"),
        ("d,inf,2,1,2,10", "open is 'inf'"),
        ("d,1,2,1,2,1_000", "volume is '1_000'"),
        ("d,1,2,1,2,-10", "volume -10 is negative"),
        ("d,1e308,1e308,1,2,10", "too large"),
        ("d,1,2,1,2", "5 fields"),
        ("d,1,2,1,2,10,7", "7 fields"),
        ("d", "1 fields"),
    ],
)
def test_row_that_is_no_bar_ends_the_run_with_its_line_and_leaves_the_old_result(row: str, said: str) -> None:
    Path("in.csv").write_text(f'{THREE}\n"two\nlines",1,1,1,1,1\n{row}\ne,1,1,1,1,1\n', encoding="utf-8")
    Path("out.csv").write_text("as it was", encoding="utf-8")
    result = run("in.csv", "out.csv", "sma:2")

    assert result.exit_code == 1
    assert "line 8: " in result.output
    assert said in result.output
    assert Path("out.csv").read_text(encoding="utf-8") == "as it was"
    assert files() == {"in.csv", "out.csv"}


def test_input_that_is_damaged_or_absent_is_one_clear_line() -> None:
    Path("cut.gz").write_bytes(gzip.compress(THREE.encode() * 100)[:-12])
    Path("bytes.csv").write_bytes(f"{BAR_HEADER}\n".encode() + b"\xff,1,1,1,1,1\n")
    Path("long.csv").write_text(f"{BAR_HEADER}\n{'9' * 200_000},1,1,1,1,1\n", encoding="utf-8")
    before = files()

    for source, code, said in (
        ("cut.gz", 1, "cut.gz"),
        ("bytes.csv", 1, "bytes.csv"),
        ("long.csv", 1, "line 2: this is not CSV"),
        ("absent.csv", 2, "there is no file absent.csv"),
    ):
        result = run(source, "out.csv", "sma:2")
        assert result.exit_code == code, result.output
        assert said in result.output
        assert "Traceback" not in result.output
        assert files() == before


def test_output_that_cannot_be_written_is_one_clear_line() -> None:
    Path("in.csv").write_text(THREE, encoding="utf-8")
    Path("folder").mkdir()

    for target in ("absent/out.csv", "folder"):
        result = run("in.csv", target, "sma:2")
        assert result.exit_code == 1
        assert target in result.output
    assert files() == {"in.csv", "folder"}


def test_result_keeps_the_mode_and_the_link_of_the_file_before() -> None:
    Path("in.csv").write_text(THREE, encoding="utf-8")
    Path("real.csv").write_text("old", encoding="utf-8")
    Path("real.csv").chmod(0o640)
    Path("out.csv").symlink_to("real.csv")

    assert run("in.csv", "out.csv", "sma:3").exit_code == 0
    assert Path("out.csv").is_symlink()
    assert Path("real.csv").read_text(encoding="utf-8").endswith("c,3.0\n")
    assert Path("real.csv").stat().st_mode & 0o777 == 0o640


def test_result_may_take_the_place_of_the_bars_and_go_to_a_device() -> None:
    Path("same.csv").write_text(THREE, encoding="utf-8")

    assert run("same.csv", os.devnull, "sma:3").exit_code == 0
    assert run("same.csv", "same.csv", "sma:3").exit_code == 0
    assert Path("same.csv").read_text(encoding="utf-8") == "timestamp,sma_3\na,\nb,\nc,3.0\n"


# ------------------------------------------------------------------------------------------------------------ sessions


@pytest.mark.parametrize(
    ("timestamp", "session"),
    [
        ("2024-03-08 09:30:00", "2024-03-08"),
        ("2024-03-08T23:59:59.999999", "2024-03-08"),
        ("2024-03-08", "2024-03-08"),
        ("20240308", "20240308"),
        ("3/8/2024 9:30", "3/8/2024"),
        # After midnight in UTC, before it in New York; the offset changed on 2024-03-10.
        ("2024-03-09T04:59:59Z", "2024-03-08"),
        ("2024-03-09T05:00:00+00:00", "2024-03-09"),
        ("2024-03-12T03:59:59Z", "2024-03-11"),
        ("1709960399", "2024-03-08"),
        ("1709960400", "2024-03-09"),
        ("1709960400000", "2024-03-09"),
        ("1709960399999999", "2024-03-08"),
        ("1709960400000000000", "2024-03-09"),
        ("17", ""),
        ("09:30:00", ""),
        ("monday", ""),
        ("", ""),
    ],
)
def test_session_of_a_timestamp(timestamp: str, session: str) -> None:
    assert session_of(timestamp) == session


def test_timestamps_that_are_absurd_are_sessions_too() -> None:
    for timestamp in ("9" * 19, "9" * 5_000, "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2024-13-45"):
        assert isinstance(session_of(timestamp), str)


def test_vwap_begins_anew_with_each_day() -> None:
    text = f"{BAR_HEADER}\n" + "".join(
        f"{stamp},1,{price},{price},{price},{volume}\n"
        for stamp, price, volume in (
            ("2024-03-08 15:58", 10, 1),
            ("2024-03-08 15:59", 20, 1),
            ("2024-03-11 09:30", 30, 0),
            ("2024-03-11 09:31", 40, 3),
        )
    )

    assert values_of(text, "vwap,vwap:2").splitlines()[1:] == [
        "2024-03-08 15:58,10.0,",
        "2024-03-08 15:59,15.0,15.0",
        "2024-03-11 09:30,,20.0",
        "2024-03-11 09:31,40.0,40.0",
    ]
