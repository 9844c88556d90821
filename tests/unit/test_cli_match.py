"""`tradestream match`: what it reads, what it writes, and how it fails."""

from __future__ import annotations

import gzip
import io
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner, Result

from jobs import cli as cli_module
from jobs import cli_match, match_csv
from jobs.cli import cli
from jobs.match_csv import MatchInputError, match_stream
from udfs.domain.match_csv import COMMAND_HEADER, REPORT_HEADER

ROOT: Final = Path(cli_module.__file__).resolve().parents[1]
BUY: Final = "1,10,NEW,b1,A,S,BUY,LIMIT,DAY,100,10.5,,"
SELL: Final = "2,20,NEW,s1,B,S,SELL,LIMIT,DAY,40,10.00,,"
BOUGHT: Final = "1,ACCEPTED,b1,,S,BUY,10.50,100,100,"
SOLD: Final = "2,ACCEPTED,s1,,S,SELL,10.00,40,40,"
TRADE: Final = "2,TRADE,s1,b1,S,SELL,10.50,40,0,"
COMMANDS: Final = "\n".join([COMMAND_HEADER, BUY, SELL, ""])
REPORTS: Final = "\n".join([REPORT_HEADER, BOUGHT, SOLD, TRADE, ""])


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _match(source: str = "in.csv", target: str = "out.csv", *more: str, given: bytes = b"") -> Result:
    return CliRunner().invoke(cli, ["match", "--commands", source, "--reports", target, *more], input=given)


def _run(*rows: str) -> list[str]:
    """The report lines of rows, in process, without the header."""
    out = io.StringIO()
    match_stream(io.StringIO("\n".join([COMMAND_HEADER, *rows]) + "\n", newline=""), out)
    header, *lines = out.getvalue().splitlines()
    assert header == REPORT_HEADER
    return lines


def _shell(script: str) -> subprocess.CompletedProcess[bytes]:
    """A line of bash, in which $MATCH is the command; the working directory is the test's own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MATCH": f"{sys.executable} -m jobs.cli match"}
    return subprocess.run(["bash", "-c", script], capture_output=True, env=environment, check=False, timeout=120)


# ------------------------------------------------------------------------------------------------------------ whole runs


def test_match_writes_reports_and_says_what_it_did() -> None:
    Path("in.csv").write_text(COMMANDS)

    result = _match()

    assert result.exit_code == 0, result.output
    assert Path("out.csv").read_text() == REPORTS
    assert result.stdout == ""
    assert "2 commands, 1 trades, 0 rejected, 1 orders open at the end" in result.stderr


def test_match_rows_that_cannot_be_read_are_counted_and_no_failure() -> None:
    Path("in.csv").write_text(COMMANDS + "3,30,SHOUT,x,A,S,BUY,LIMIT,DAY,1,1,,\n4,40\n")

    result = _match()

    assert result.exit_code == 0
    assert "2 rejected" in result.stderr
    assert "2 rows could not be read (REJECTED, VALIDATION_MALFORMED)" in result.stderr
    assert Path("out.csv").read_text().splitlines()[4:] == [
        "3,REJECTED,x,,S,BUY,1,1,0,VALIDATION_MALFORMED",
        "4,REJECTED,,,,,,,0,VALIDATION_MALFORMED",
    ]


@pytest.mark.parametrize(
    ("name", "packed"), [("in.csv", False), ("in.csv.gz", True), ("in.csv", True), ("in.csv.gz", False)]
)
def test_match_reads_gzip_by_what_it_is_not_by_its_name(name: str, packed: bool) -> None:
    data = COMMANDS.encode()
    Path(name).write_bytes(gzip.compress(data) if packed else data)

    assert _match(name).exit_code == 0
    assert Path("out.csv").read_text() == REPORTS


def test_match_reads_gzip_of_several_members() -> None:
    first, rest = COMMANDS[:130].encode(), COMMANDS[130:].encode()
    Path("in.csv").write_bytes(gzip.compress(first) + gzip.compress(rest))

    assert _match().exit_code == 0
    assert Path("out.csv").read_text() == REPORTS


def test_match_packs_what_is_named_gz_the_same_way_every_time() -> None:
    Path("in.csv").write_text(COMMANDS)

    assert _match("in.csv", "out.csv.gz").exit_code == 0
    assert _match("in.csv", "again.csv.gz").exit_code == 0

    assert gzip.decompress(Path("out.csv.gz").read_bytes()).decode() == REPORTS
    assert Path("out.csv.gz").read_bytes() == Path("again.csv.gz").read_bytes()


@pytest.mark.parametrize("packed", [False, True])
def test_match_works_between_the_standard_streams(packed: bool) -> None:
    data = COMMANDS.encode()

    result = _match("-", "-", given=gzip.compress(data) if packed else data)

    assert result.exit_code == 0, result.output
    assert result.stdout == REPORTS


def test_match_works_in_a_pipe_of_processes_and_with_named_pipes() -> None:
    Path("in.csv").write_text(COMMANDS)

    piped = _shell("cat in.csv | $MATCH --commands - --reports - | cat")
    named = _shell("$MATCH --commands <(cat in.csv) --reports >(cat > out.csv); wait $!; cat out.csv")

    assert piped.stdout.decode() == REPORTS, piped.stderr.decode()
    assert named.stdout.decode() == REPORTS, named.stderr.decode()


def test_match_whose_reader_goes_away_ends_quietly() -> None:
    rows = [f"{n},0,NEW,o{n},A,S,BUY,LIMIT,DAY,1,1,," for n in range(50_000)]
    Path("in.csv").write_text("\n".join([COMMAND_HEADER, *rows]))

    result = _shell("$MATCH --commands in.csv --reports - | head -1; echo ${PIPESTATUS[0]}")

    assert result.stdout.decode().splitlines() == [REPORT_HEADER, "0"]
    assert result.stderr == b""


def test_match_help_names_both_headers_and_the_forms_of_every_field() -> None:
    text = " ".join(CliRunner().invoke(cli, ["match", "--help"]).output.split())

    for part in (COMMAND_HEADER, REPORT_HEADER, "REPLACE", "STOP_LIMIT", "FOK", "DECREMENT", "us-equities", "gzip"):
        assert part in text


# ---------------------------------------------------------------------------------------------------------------- header


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("", "is not the header"),
        (BUY, "is not the header"),
        (COMMAND_HEADER.replace("seq,", ""), "lacks seq"),
        (COMMAND_HEADER.replace("stop_price,", "").replace("side,", ""), "lacks side, stop_price"),
        (COMMAND_HEADER.replace("seq,timestamp_ns", "timestamp_ns,seq"), "in another order"),
        (COMMAND_HEADER + ",note", "more columns"),
        (COMMAND_HEADER.replace(",", ";"), "is not the header"),
        ("\x00", "is not the header"),
        ("x" * 200_000, "is not CSV"),
        ('"' + "x" * 200_000, "is not CSV"),
    ],
)
def test_match_wrong_header_is_refused_with_what_is_wrong(header: str, said: str) -> None:
    Path("in.csv").write_text(header + "\n" + BUY + "\n")

    result = _match()

    assert result.exit_code == 2
    assert "in.csv: its first line" in result.stderr or "is not CSV" in result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert not Path("out.csv").exists()


def test_match_empty_input_is_refused() -> None:
    Path("in.csv").write_bytes(b"")

    result = _match()

    assert (result.exit_code, Path("out.csv").exists()) == (2, False)
    assert "in.csv: it is empty" in result.stderr
    assert "standard input: it is empty" in _match("-", "out.csv").stderr


def test_match_header_alone_is_no_failure() -> None:
    Path("in.csv").write_text(COMMAND_HEADER)

    assert _match().exit_code == 0
    assert Path("out.csv").read_text() == REPORT_HEADER + "\n"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: "\ufeff" + text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\n\n"),
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("seq,timestamp_ns", '"seq", timestamp_ns'),
        lambda text: "".join('"' + line.replace(",", '","') + '"\r\n' for line in text.splitlines()),
    ],
    ids=["BOM", "CRLF", "CR", "BOM and CRLF", "blank lines", "no last line end", "header with quotes", "all in quotes"],
)
def test_match_reads_what_spreadsheets_write(change: object) -> None:
    assert callable(change)
    Path("in.csv").write_text(change(COMMANDS), encoding="utf-8", newline="")

    result = _match()

    assert result.exit_code == 0, result.stderr
    assert Path("out.csv").read_text() == REPORTS


# ------------------------------------------------------------------------------------------------------------------ rows


def test_progress_counts_the_lines() -> None:
    rows = [f"{n},0,NEW,o{n},A,S,BUY,LIMIT,DAY,1,1,," for n in range(2_000)]
    seen: list[int] = []

    match_stream(io.StringIO("\n".join([COMMAND_HEADER, *rows])), io.StringIO(), progress=seen.append)

    assert seen == sorted(seen)
    assert (len(seen) > 1, seen[-1]) == (True, 2_000)


def test_header_of_a_stream_that_is_wrong_raises() -> None:
    with pytest.raises(MatchInputError, match="lacks stp"):
        match_stream(io.StringIO(COMMAND_HEADER.removesuffix(",stp")), io.StringIO())


# -------------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("source", "target", "code", "said"),
    [
        ("absent.csv", "out.csv", 2, "there is no file absent.csv"),
        ("folder", "out.csv", 2, "folder is a folder"),
        ("in.csv", "folder", 1, "cannot write folder: it is a folder"),
        ("in.csv", "absent/out.csv", 1, "there is no folder absent"),
        ("in.csv", "in.csv", 2, "the same file"),
        ("in.csv", "./folder/../in.csv", 2, "the same file"),
        ("in.csv", "link.csv", 2, "the same file"),
        ("in.csv", "hard.csv", 2, "the same file"),
        ("cut.gz", "out.csv", 1, "cannot read cut.gz"),
        ("broken.gz", "out.csv", 1, "cannot read broken.gz"),
        ("text.gz", "out.csv", 1, "cannot read text.gz"),
    ],
)
def test_match_failure_is_one_message_and_leaves_the_old_reports(
    source: str, target: str, code: int, said: str
) -> None:
    Path("in.csv").write_text(COMMANDS)
    Path("out.csv").write_text("old")
    Path("folder").mkdir()
    Path("link.csv").symlink_to("in.csv")
    Path("hard.csv").hardlink_to("in.csv")
    packed = gzip.compress((COMMANDS + BUY * 1_000).encode() + os.urandom(5_000))
    Path("cut.gz").write_bytes(packed[:-3_000])
    # A block of the type that deflate reserves: damage further on may come out as text before it is noticed.
    Path("broken.gz").write_bytes(packed[:10] + b"\xff" * 50 + packed[60:])
    Path("text.gz").write_bytes(b"\x1f\x8b" + COMMANDS.encode())
    before = sorted(os.listdir())

    result = _match(source, target)

    assert result.exit_code == code, result.output
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert Path("out.csv").read_text() == "old"
    assert Path("in.csv").read_text() == COMMANDS
    assert sorted(os.listdir()) == before


def test_match_same_file_behind_the_standard_streams_is_refused() -> None:
    Path("in.csv").write_text(COMMANDS)

    for script in (
        "$MATCH --commands - --reports in.csv < in.csv",
        "$MATCH --commands in.csv --reports - >> in.csv",
    ):
        result = _shell(script)
        assert result.returncode == 2
        assert b"the same file" in result.stderr
    assert Path("in.csv").read_text() == COMMANDS


@pytest.mark.parametrize(
    "arguments",
    [(), ("--commands", "in.csv"), ("--commands", "in.csv", "--reports", "out.csv", "--rules", "lenient")],
)
def test_match_wrong_usage_exits_with_two(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(cli, ["match", *arguments]).exit_code == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_match_folder_that_may_not_be_written_is_a_message() -> None:
    Path("in.csv").write_text(COMMANDS)
    Path("shut").mkdir(mode=0o500)

    result = _match("in.csv", "shut/out.csv")

    assert (result.exit_code, "shut/out.csv" in result.stderr) == (1, True)


def test_match_full_disk_is_a_message_and_no_crash() -> None:
    Path("in.csv").write_text(COMMANDS)

    result = _match("in.csv", "/dev/full")

    assert result.exit_code == 1
    assert "No space left" in result.stderr
    assert _shell("$MATCH --commands in.csv --reports - > /dev/full").returncode == 1
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_match_interrupted_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("in.csv").write_text(COMMANDS)
    Path("out.csv").write_text("old")

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_match, "match_stream", interrupted)

    assert _match().exit_code == 130
    assert (Path("out.csv").read_text(), sorted(os.listdir())) == ("old", ["in.csv", "out.csv"])


def test_match_terminated_leaves_nothing() -> None:
    Path("out.csv").write_text("old")
    os.mkfifo("in.csv")
    command = [sys.executable, "-m", "jobs.cli", "match", "--commands", "in.csv", "--reports", "out.csv"]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    try:
        with Path("in.csv").open("w") as pipe:
            pipe.write(COMMANDS)
            pipe.flush()
            deadline = time.monotonic() + 60
            while not list(Path().glob(".out.csv.*.partial")):
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.05)
            process.terminate()
            assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait()
    assert (sorted(os.listdir()), Path("out.csv").read_text()) == (["in.csv", "out.csv"], "old")


def test_match_replaces_the_file_behind_a_link_and_keeps_its_mode() -> None:
    Path("in.csv").write_text(COMMANDS)
    Path("real.csv").write_text("old")
    Path("real.csv").chmod(0o640)
    Path("out.csv").symlink_to("real.csv")

    assert _match().exit_code == 0

    assert Path("out.csv").is_symlink()
    assert Path("real.csv").read_text() == REPORTS
    assert stat.S_IMODE(Path("real.csv").stat().st_mode) == 0o640


def test_match_collector_is_as_it_was_afterwards() -> None:
    import gc

    Path("in.csv").write_text(COMMANDS)
    seen: list[bool] = []
    original = match_csv.match_stream

    def watched(*arguments: object, **named: object) -> object:
        seen.append(gc.isenabled())
        return original(*arguments, **named)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli_match, "match_stream", watched)
        assert _match().exit_code == 0
    assert (seen, gc.isenabled()) == ([False], True)


# ---------------------------------------------------------------------------------------------------------------- memory


def test_match_memory_does_not_grow_with_the_input() -> None:
    """Orders that come and go at once, ten times as many: the ids that were used are all that stays."""

    def peak_kib(count: int) -> int:
        name = f"{count}.csv"
        with Path(name).open("w") as file:
            file.write(COMMAND_HEADER + "\n")
            for n in range(0, count, 2):
                file.write(f"{n},0,NEW,{n},A,S,BUY,LIMIT,DAY,1,1,,\n{n + 1},0,CANCEL,{n},,,,,,,,,\n")
        script = (
            "import resource, sys; from jobs.cli import cli; "
            f"cli(['match', '--commands', '{name}', '--reports', '/dev/null'], standalone_mode=False); "
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        output = subprocess.run([sys.executable, "-c", script], capture_output=True, env=environment, check=True)
        return int(output.stdout)

    few, many = 10_000, 100_000
    bytes_per_order = (peak_kib(many) - peak_kib(few)) * 1_024 / ((many - few) / 2)
    assert bytes_per_order < 250
